"""SNRDisplay: errors and coverage against the signal-to-noise ratio."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from skestnet._distribution import PredictiveDistribution
from skestnet._predict_dist import predict_dist
from skestnet.metrics import coverage_by_group
from skestnet.plotting import _shared

MARKERS = "osD^v"


class SNRDisplay:
    """Errors, widths of intervals and their coverage, in groups of similar signal-to-noise ratio.

    Above, the mean absolute error, and half the mean width of the central intervals of the first
    confidence: of calibrated predictions both fall with S/N. Below, the share of truths inside the
    intervals, with its standard error, against the claimed share (dashed). Vertical lines
    are the edges of the groups.

    Create one by `from_estimator` or `from_predictions`. Several models can be drawn into the same
    axes.

    Parameters
    ----------
    groups : Bunch
        What :func:`skestnet.metrics.coverage_by_group` returns for one label and S/N above 0.
    name : str, default=None
        Name of the model for the legend.
    label_name : str, default="label"
        Name of the label with its unit, such as "Teff (K)".

    Attributes
    ----------
    position : ndarray of shape (n_groups,)
        Where the groups are drawn, at the geometric means of their edges.
    axes_ : ndarray of 2 Axes
        Errors above and coverage below.
    figure_ : Figure
        The figure that holds them.
    errors_, widths_ : Line2D
        Mean absolute errors and half widths.
    coverages_ : list of ErrorbarContainer
        Coverage, for each confidence.

    Raises
    ------
    ValueError
        If the groups are of several labels, or their S/N is not above 0 and finite.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from skestnet import PredictiveDistribution
    >>> from skestnet.plotting import SNRDisplay
    >>> rng = np.random.default_rng(0)
    >>> snr = rng.uniform(2, 20, 200)
    >>> sigma = 1 / snr
    >>> log_g = rng.uniform(7.5, 8.5, 200)
    >>> dist = PredictiveDistribution(rng.normal(log_g, sigma)[:, None], sigma[:, None])
    >>> display = SNRDisplay.from_predictions(log_g, dist, snr, label_name="log g (dex)")
    >>> bool((np.diff(display.groups.mean_absolute_error) < 0).all())
    True
    >>> plt.close(display.figure_)
    """

    def __init__(
        self, groups: Bunch, *, name: str | None = None, label_name: str = _shared.LABEL
    ) -> None:
        edges = groups.edges
        if groups.coverage.ndim != 2:
            raise ValueError("groups are of several labels: expected those of one, dist.output(k).")
        if not (edges[0] > 0 and np.isfinite(edges[-1])):
            raise ValueError(
                f"The S/N of the groups goes from {edges[0]:g} to {edges[-1]:g}, but a logarithmic "
                "axis shows finite numbers above 0: leave other spectra out, or give other edges."
            )
        self.groups = groups
        self.position = np.sqrt(edges[:-1] * edges[1:])
        self.name = name
        self.label_name = label_name

    def plot(self, axes: Any = None, *, color: Any = None) -> Self:
        """Draw errors and coverage.

        Parameters
        ----------
        axes : array-like of 2 Axes, default=None
            Where to draw, such as `axes_` of another model's display. None makes a figure.
        color : color, default=None
            Colour of the model. None takes one that the axes do not show yet.

        Returns
        -------
        self : SNRDisplay
            The display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `axes` does not hold two axes.
        """
        size = {"sharex": True, "figsize": (6.4, 6.4)}
        top, bottom = self.axes_ = _shared.given_or_new_axes(axes, 2, 1, **size)
        self.figure_ = top.figure
        color = _shared.next_color(top, color)
        self._plot_errors(top, color)
        self._plot_coverage(bottom, color)
        for ax in self.axes_:
            _logarithmic(ax)
            for edge in self.groups.edges:
                ax.axvline(edge, color=_shared.BACKGROUND, lw=1, zorder=0)
        _shared.add_legend(top)
        _shared.add_legend(bottom, loc="upper center", ncols=3)
        _shared.name_axes(bottom, default=True, xlabel="S/N", ylabel="share of truths inside")
        return self

    def _plot_errors(self, ax: Any, color: Any) -> None:
        if self.name:
            ax.plot([], [], color=color, lw=4, label=self.name)
        groups = self.groups
        errors = {"color": color, "marker": "o", "label": "mean absolute error"}
        (self.errors_,) = ax.plot(self.position, groups.mean_absolute_error, **errors)
        what = f"half width of {_shared.percent(groups.confidence[0])} intervals"
        widths = {"color": color, "marker": "s", "mfc": "white", "ls": ":", "label": what}
        (self.widths_,) = ax.plot(self.position, groups.width[:, 0] / 2, **widths)
        default = self.label_name == _shared.LABEL
        _shared.name_axes(ax, default=default, ylabel=f"error of {self.label_name}")
        _shared.leave_room_for_legend(ax)

    def _plot_coverage(self, ax: Any, color: Any) -> None:
        groups = self.groups
        self.coverages_ = []
        for i, confidence in enumerate(groups.confidence):
            style = {"color": color, "marker": MARKERS[i % len(MARKERS)], "ms": 5, "capsize": 2}
            points = ax.errorbar(
                self.position,
                groups.coverage[:, i],
                groups.standard_error[:, i],
                **style,
                label=f"{_shared.percent(confidence)} intervals",
            )
            self.coverages_.append(points)
        for confidence in groups.confidence:
            ax.axhline(confidence, color=_shared.FRAME, ls="--", lw=1, zorder=1, label="claimed")
        ax.set(ylim=(0, 1.25), yticks=np.linspace(0, 1, 6))

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        snr: ArrayLike,
        *,
        predict_params: dict[str, Any] | None = None,
        **params: Any,
    ) -> Self:
        """Draw errors and coverage of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted estimator that :func:`skestnet.predict_dist` takes.
        X : array-like of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True labels.
        snr : array-like of shape (n_samples,)
            Signal-to-noise ratios, above 0.
        predict_params : dict, default=None
            Passed on to :func:`skestnet.predict_dist`, such as ``{"snr": snr}`` for a
            :class:`~skestnet.CalibratedRegressor` that was fitted with `snr`.
        **params : object
            As in `from_predictions`; `name` is the estimator's class unless given.

        Returns
        -------
        SNRDisplay
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
        dist = predict_dist(estimator, X, **(predict_params or {}))
        return cls.from_predictions(y, dist, snr, **params)

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        dist: PredictiveDistribution,
        snr: ArrayLike,
        *,
        output: int | None = None,
        confidence: ArrayLike = (0.68, 0.95),
        n_groups: ArrayLike = 4,
        name: str | None = None,
        label_name: str = _shared.LABEL,
        axes: Any = None,
        color: Any = None,
    ) -> Self:
        """Draw errors and coverage of predictive distributions.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True labels.
        dist : PredictiveDistribution
            Their distributions.
        snr : array-like of shape (n_samples,)
            Signal-to-noise ratios, above 0.
        output : int, default=None
            Which label, where there are several.
        confidence : array-like of shape (n_confidence,), default=(0.68, 0.95)
            Probabilities that the central intervals claim. The widths shown are those of the first.
        n_groups : int or array-like of shape (n_groups + 1,), default=4
            Number of groups, of about equally many samples; or their edges, above 0.
        name : str, default=None
            Name of the model for the legend.
        label_name : str, default="label"
            Name of the label with its unit, such as "Teff (K)".
        axes : array-like of 2 Axes, default=None
            Where to draw, such as `axes_` of another model's display. None makes a figure.
        color : color, default=None
            Colour of the model. None takes one that the axes do not show yet.

        Returns
        -------
        SNRDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If shapes do not match, an S/N is not above 0, or there are several labels and no
            `output`.
        """
        truth, dist = _shared.truth_of(y_true, dist, output), _shared.one_label(dist, output)
        groups = coverage_by_group(truth, dist, snr, confidence=confidence, n_groups=n_groups)
        return cls(groups, name=name, label_name=label_name).plot(axes, color=color)


def _logarithmic(ax: Any) -> None:
    """Make the horizontal axis logarithmic, with plain numbers at 1, 2, 5, 10 and so on."""
    from matplotlib.ticker import LogLocator, NullFormatter

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
