"""DistributionDisplay: the predictive distribution of one label of one spectrum."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skestnet._distribution import PredictiveDistribution
from skestnet._predict_dist import predict_dist
from skestnet.plotting import _shared

FloatArray = NDArray[np.float64]

CONFIDENCE = (0.68, 0.95)


class DistributionDisplay:
    """Predictive distribution of one label of one sample, with mean, intervals and truth.

    The density is that of :meth:`skestnet.PredictiveDistribution.logpdf`: of the mixture, or of
    draws smoothed by a Gaussian kernel. Central 68% and 95% intervals are shaded. Dashed lines are
    the mean and one standard deviation on either side.

    Create one by `from_estimator` or `from_predictions`. Several models can be drawn into the same
    axes.

    Parameters
    ----------
    grid : ndarray of shape (n_points,)
        Values of the label, increasing.
    density : ndarray of shape (n_points,)
        Predictive density there.
    mean, std : float
        Mean and standard deviation.
    intervals : ndarray of shape (2, 2)
        Bounds of the central 68% interval (first row) and of the 95% interval.
    y_true : float, default=None
        True value.
    name : str, default=None
        Name of the model for the legend.
    label_name : str, default="label"
        Name of the label with its unit, such as "Teff (K)".

    Attributes
    ----------
    ax_ : Axes
        The axes.
    figure_ : Figure
        The figure that holds them.
    line_ : Line2D
        The density.

    References
    ----------
    Xie et al. (2025), A&A 704, A37, figure 5.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from skestnet import PredictiveDistribution
    >>> from skestnet.plotting import DistributionDisplay
    >>> rng = np.random.default_rng(0)
    >>> dist = PredictiveDistribution(rng.normal(8.0, 0.1, (5, 200)))
    >>> display = DistributionDisplay.from_predictions(dist, row=2, label_name="log g (dex)")
    >>> display.ax_.get_xlabel()
    'log g (dex)'
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        grid: FloatArray,
        density: FloatArray,
        mean: float,
        std: float,
        intervals: FloatArray,
        y_true: float | None = None,
        name: str | None = None,
        label_name: str = _shared.LABEL,
    ) -> None:
        self.grid = grid
        self.density = density
        self.mean = mean
        self.std = std
        self.intervals = intervals
        self.y_true = y_true
        self.name = name
        self.label_name = label_name

    def plot(self, ax: Any = None, *, color: Any = None) -> Self:
        """Draw the density with mean, intervals and truth.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw. None makes a figure.
        color : color, default=None
            Colour of the model. None takes one that the axes do not show yet.

        Returns
        -------
        self : DistributionDisplay
            The display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        (ax,) = _shared.given_or_new_axes(ax, 1, 1)
        color = _shared.next_color(ax, color)
        (self.line_,) = ax.plot(
            self.grid, self.density, color=color, label=self.name or "predictive density"
        )
        self._shade_intervals(ax, color)
        height = 1.05 * self.density.max()
        lines = self.mean + self.std * np.array([-1, 0, 1])
        style = {"color": color, "ls": "--", "lw": 1.2, "label": "mean ± standard deviation"}
        ax.vlines(lines, 0, height, **style)
        if self.y_true is not None:
            style = {"color": _shared.TRUTH, "lw": 1.5, "label": "truth"}
            ax.plot([self.y_true, self.y_true], [0, height], **style)
        default = self.label_name == _shared.LABEL
        _shared.name_axes(ax, default=default, xlabel=self.label_name)
        _shared.name_axes(ax, default=True, ylabel="probability density")
        _shared.leave_room_for_legend(ax)
        _shared.add_legend(ax, ncols=2)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _shade_intervals(self, ax: Any, color: Any) -> None:
        at = np.union1d(self.grid, self.intervals)
        height = np.interp(at, self.grid, self.density)
        (inner, outer) = self.intervals
        core = (inner[0] <= at) & (at <= inner[1])
        wings = (outer[0] <= at) & (at <= outer[1]) & ~((inner[0] < at) & (at < inner[1]))
        for where, alpha, confidence in zip((core, wings), (0.4, 0.15), CONFIDENCE, strict=True):
            style = {"color": color, "alpha": alpha, "lw": 0, "label": f"{confidence:.0%} interval"}
            ax.fill_between(at, height, where=where, **style)

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
        """Draw the distribution that a fitted estimator predicts for one sample.

        Parameters
        ----------
        estimator : estimator
            Fitted estimator that :func:`skestnet.predict_dist` takes.
        X : array-like of shape (n_samples, n_features)
            Samples, of which only the wanted one is predicted.
        row : int, default=0
            Which sample.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            True labels of the samples of `X`.
        predict_params : dict, default=None
            Passed on to :func:`skestnet.predict_dist`, such as ``{"snr": snr}`` for a
            :class:`~skestnet.CalibratedRegressor` that was fitted with `snr`. Arrays with an entry
            for each sample of `X` are cut to the row.
        **params : object
            As in `from_predictions`; `name` is the estimator's class unless given.

        Returns
        -------
        DistributionDisplay
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
        output: int | None = None,
        y_true: ArrayLike | None = None,
        name: str | None = None,
        label_name: str = _shared.LABEL,
        ax: Any = None,
        color: Any = None,
    ) -> Self:
        """Draw one of many predictive distributions.

        Parameters
        ----------
        dist : PredictiveDistribution
            Distributions.
        row : int, default=0
            Which sample.
        output : int, default=None
            Which label, where there are several.
        y_true : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            True labels of all samples of `dist`.
        name : str, default=None
            Name of the model for the legend.
        label_name : str, default="label"
            Name of the label with its unit, such as "Teff (K)".
        ax : Axes, default=None
            Where to draw. None makes a figure.
        color : color, default=None
            Colour of the model. None takes one that the axes do not show yet.

        Returns
        -------
        DistributionDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If shapes do not match, there is no such sample, there are several labels and no
            `output`, or the distribution has no spread.
        """
        truth = None if y_true is None else _shared.truth_of(y_true, dist, output)
        _shared.check_row(row, dist)
        one = _shared.one_label(dist, output)[row]
        grid, density = _shared.density_on_grid(one)
        display = cls(
            grid=grid,
            density=density,
            mean=one.mean()[0],
            std=one.std()[0],
            intervals=np.array([np.concatenate(one.interval(c)) for c in CONFIDENCE]),
            y_true=None if truth is None else truth[row],
            name=name,
            label_name=label_name,
        )
        return display.plot(ax, color=color)
