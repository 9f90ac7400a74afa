"""JointDistributionDisplay: the joint predictive distribution of the labels of one spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skestnet._distribution import PredictiveDistribution
from skestnet._predict_dist import predict_dist
from skestnet.metrics._checks import checked_labels
from skestnet.plotting import _shared

FloatArray = NDArray[np.float64]

N_POINTS = 1000
REGIONS = ((0.68, "-"), (0.95, "--"))
PANEL_INCHES = 2.6
MAX_STEPS = 3  # between ticks of a panel


class JointDistributionDisplay:
    """Joint predictive distribution of the labels of one sample, as a corner plot.

    On the diagonal is the predictive density of each label with its mean and one standard deviation
    on either side, dashed. Below, each pair of labels has its draws, and the ellipses that hold 68%
    and 95% of the distribution of this pair (:meth:`skestnet.PredictiveDistribution.region`).

    Create one by `from_estimator` or `from_predictions`. Several models can be drawn into the same
    axes.

    Parameters
    ----------
    dist : PredictiveDistribution
        Distribution of one sample and two labels or more.
    y_true : ndarray of shape (n_outputs,), default=None
        True labels.
    name : str, default=None
        Name of the model for the legend.
    label_names : sequence of str, default=None
        Names of the labels with their units, such as ``("Teff (K)", "log g (dex)")``. None is
        "label 0" and so on.

    Attributes
    ----------
    points : ndarray of shape (n_points, n_outputs)
        The draws, or where the components of the distribution have errors of their own, 1000
        random values, always the same.
    axes_ : ndarray of Axes of shape (n_outputs, n_outputs)
        The panels; those above the diagonal are empty.
    figure_ : Figure
        The figure that holds them.

    Raises
    ------
    ValueError
        If there are several samples or one label, or names or truths do not match the labels.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from skestnet import PredictiveDistribution
    >>> from skestnet.plotting import JointDistributionDisplay
    >>> rng = np.random.default_rng(0)
    >>> draws = rng.normal([12000.0, 8.0], [500.0, 0.1], (3, 100, 2))
    >>> display = JointDistributionDisplay.from_predictions(
    ...     PredictiveDistribution(draws), row=1, label_names=("Teff (K)", "log g (dex)")
    ... )
    >>> display.axes_[1, 0].get_xlabel(), display.axes_[1, 0].get_ylabel()
    ('Teff (K)', 'log g (dex)')
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        dist: PredictiveDistribution,
        *,
        y_true: FloatArray | None = None,
        name: str | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        if len(dist.shape) != 2 or dist.shape[1] < 2:
            raise ValueError(
                f"dist has shape {dist.shape}: expected that of a sample with two labels or more. "
                "For one label, take DistributionDisplay."
            )
        if len(dist) != 1:
            raise ValueError(f"dist has {len(dist)} samples: expected one, such as dist[0].")
        n_outputs = dist.shape[1]
        for given, what in ((label_names, "label_names"), (y_true, "y_true")):
            if given is not None and len(given) != n_outputs:
                raise ValueError(f"{what}={given!r}: expected one for each of {n_outputs} labels.")
        self.dist = dist
        self.y_true = y_true
        self.name = name
        self.label_names = label_names
        self.points = (dist.rvs(N_POINTS, random_state=0) if dist.scale.any() else dist.loc)[0]

    def plot(self, axes: Any = None, *, color: Any = None) -> Self:
        """Draw all panels.

        Parameters
        ----------
        axes : array-like of Axes of shape (n_outputs, n_outputs), default=None
            Where to draw, such as `axes_` of another model's display. None makes a figure.
        color : color, default=None
            Colour of the model. None takes one that the axes do not show yet.

        Returns
        -------
        self : JointDistributionDisplay
            The display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `axes` has not as many axes, or a label has no spread.
        """
        n_outputs = self.dist.shape[1]
        given = _new_corner(n_outputs) if axes is None else axes
        flat = _shared.given_or_new_axes(given, n_outputs, n_outputs)
        self.axes_ = flat.reshape(n_outputs, n_outputs)
        self.figure_ = flat[0].figure
        color = _shared.next_color(flat[0], color)
        for j, k in combinations(range(n_outputs), 2):
            self.axes_[j, k].set_axis_off()
            self._plot_pair(self.axes_[k, j], j, k, color)
        for k in range(n_outputs):
            self._plot_marginal(self.axes_[k, k], k, color)
        self._name_axes()
        place = {"loc": "upper right", "borderaxespad": 0.0}
        _shared.add_legend(self.axes_[0, -1], source=self.axes_[1, 0], **place)
        return self

    def _plot_marginal(self, ax: Any, k: int, color: Any) -> None:
        one = self.dist.output(k)
        grid, density = _shared.density_on_grid(one)
        ax.plot(grid, density, color=color)
        mean, std = one.mean()[0], one.std()[0]
        for value in (mean - std, mean, mean + std):
            ax.axvline(value, color=color, ls="--", lw=1)
        if self.y_true is not None:
            ax.axvline(self.y_true[k], color=_shared.TRUTH, lw=1)
        ax.set_ylim(0, 1.1 * ax.dataLim.ymax)
        ax.set_yticks([])

    def _plot_pair(self, ax: Any, j: int, k: int, color: Any) -> None:
        """Draw label k against label j."""
        if self.name:
            ax.plot([], [], color=color, lw=4, label=self.name)
        points = {"s": 5, "alpha": 0.25, "lw": 0, "color": color}
        ax.scatter(self.points[:, j], self.points[:, k], **points)
        pair = _pair(self.dist, j, k)
        for confidence, dashes in REGIONS:
            outline = pair.region(confidence).boundary()[0]
            style = {"color": color, "ls": dashes, "lw": 1.5}
            ax.plot(*outline.T, **style, label=f"{confidence:.0%} region")
        if self.y_true is not None:
            truth = {"color": _shared.TRUTH, "lw": 1}
            ax.axvline(self.y_true[j], **truth, label="truth")
            ax.axhline(self.y_true[k], **truth)

    def _name_axes(self) -> None:
        names = self.label_names or [f"label {k}" for k in range(len(self.axes_))]
        default = self.label_names is None
        for k, name in enumerate(names):
            _shared.name_axes(self.axes_[-1, k], default=default, xlabel=name)
            if k > 0:
                _shared.name_axes(self.axes_[k, 0], default=default, ylabel=name)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        row: int = 0,
        y: ArrayLike | None = None,
        predict_params: dict[str, Any] | None = None,
        **params: Any,
    ) -> Self:
        """Draw the joint distribution that a fitted estimator predicts for one sample.

        Parameters
        ----------
        estimator : estimator
            Fitted estimator that :func:`skestnet.predict_dist` takes.
        X : array-like of shape (n_samples, n_features)
            Samples, of which only the wanted one is predicted.
        row : int, default=0
            Which sample.
        y : array-like of shape (n_samples, n_outputs), default=None
            True labels of the samples of `X`.
        predict_params : dict, default=None
            Passed on to :func:`skestnet.predict_dist`, such as ``{"snr": snr}`` for a
            :class:`~skestnet.CalibratedRegressor` that was fitted with `snr`. Arrays with an entry
            for each sample of `X` are cut to the row.
        **params : object
            As in `from_predictions`; `name` is the estimator's class unless given.

        Returns
        -------
        JointDistributionDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the true labels are passed as `y_true`, as `from_predictions` calls them, or the
            estimator can give no distribution.
        ValueError
            Where `from_predictions` raises it.
        """
        params = _shared.params_for(estimator, params)
        X, y, predict_params = _shared.one_sample(X, y, row, predict_params)
        return cls.from_predictions(
            predict_dist(estimator, X, **predict_params), y_true=y, **params
        )

    @classmethod
    def from_predictions(
        cls,
        dist: PredictiveDistribution,
        *,
        row: int = 0,
        y_true: ArrayLike | None = None,
        name: str | None = None,
        label_names: Sequence[str] | None = None,
        axes: Any = None,
        color: Any = None,
    ) -> Self:
        """Draw one of many joint predictive distributions.

        Parameters
        ----------
        dist : PredictiveDistribution
            Distributions of two labels or more.
        row : int, default=0
            Which sample.
        y_true : array-like of shape (n_samples, n_outputs), default=None
            True labels of all samples of `dist`.
        name : str, default=None
            Name of the model for the legend.
        label_names : sequence of str, default=None
            Names of the labels with their units. None is "label 0" and so on.
        axes : array-like of Axes of shape (n_outputs, n_outputs), default=None
            Where to draw, such as `axes_` of another model's display. None makes a figure.
        color : color, default=None
            Colour of the model. None takes one that the axes do not show yet.

        Returns
        -------
        JointDistributionDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If shapes do not match, there is no such sample, there is one label, or a label has no
            spread.
        """
        truth = None if y_true is None else checked_labels(y_true, dist)
        _shared.check_row(row, dist)
        display = cls(
            dist[row],
            y_true=None if truth is None else np.atleast_1d(truth[row]),
            name=name,
            label_names=label_names,
        )
        return display.plot(axes, color=color)


def _new_corner(n_outputs: int) -> Any:
    """Make axes that share what they show: x along columns, y along rows up to the diagonal."""
    size = PANEL_INCHES * n_outputs
    plt = _shared.pyplot()
    _, axes = plt.subplots(
        n_outputs, n_outputs, sharex="col", figsize=(size, size), layout="constrained"
    )
    for j, k in combinations(range(1, n_outputs), 2):
        axes[k, j].sharey(axes[k, 0])
        axes[k, j].tick_params(labelleft=False)
    for ax in axes[-1]:
        ax.locator_params(axis="x", nbins=MAX_STEPS)  # Teff in K has five digits
    return axes


def _pair(dist: PredictiveDistribution, j: int, k: int) -> PredictiveDistribution:
    """Return the joint distribution of two of the labels."""
    both = [j, k]
    correlation = dist.correlation
    if correlation is not None:
        correlation = correlation[..., both, :][..., both]
    return PredictiveDistribution(dist.loc[..., both], dist.scale[..., both], correlation)
