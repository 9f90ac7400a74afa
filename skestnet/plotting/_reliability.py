"""ReliabilityDisplay: whether intervals hold as often as they say."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

from skestnet._distribution import PredictiveDistribution
from skestnet._predict_dist import predict_dist
from skestnet.metrics import interval_coverage, pit
from skestnet.plotting import _shared

FloatArray = NDArray[np.float64]

SCATTER = 0.95


class ReliabilityDisplay:
    """Reliability of predictive distributions: coverage of intervals, and PIT histogram.

    On the left the share of truths inside central intervals against the probability that the
    intervals claim: below the diagonal they are too narrow, above it too wide. On the right the
    histogram of the probability integral transform (PIT), the predicted probability of values up to
    the truth: flat where the distributions are calibrated, a valley where they are too narrow, a
    hill where they are too wide, a slope where they are biased. Grey bands hold 95% of what chance
    makes of calibrated distributions, at each place by itself.

    Create one by `from_estimator` or `from_predictions`. Several models can be drawn into the same
    axes.

    Parameters
    ----------
    confidence : ndarray of shape (n_confidences,)
        Probabilities that the central intervals claim.
    coverage : ndarray of shape (n_confidences,)
        Shares of truths inside them.
    pit : ndarray of shape (n_samples,)
        Probability integral transforms of the truths.
    n_draws : int, default=None
        Number of draws, where these have no errors of their own. The transform then takes
        ``n_draws + 1`` values only, and the histogram spreads each evenly over a range as wide as
        that of the others (Czado, Gneiting and Held 2009). None is for smooth distributions.
    name : str, default=None
        Name of the model for the legend.

    Attributes
    ----------
    axes_ : ndarray of 2 Axes
        Coverage and histogram.
    figure_ : Figure
        The figure that holds them.
    line_ : Line2D
        The coverage.
    histogram_ : StepPatch
        The histogram, of density 1 on average.

    References
    ----------
    Czado, Gneiting and Held (2009), Biometrics 65, 1254.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from skestnet import PredictiveDistribution
    >>> from skestnet.plotting import ReliabilityDisplay
    >>> rng = np.random.default_rng(0)
    >>> centre = rng.normal(size=(300, 1))
    >>> y_true = rng.normal(centre[:, 0])
    >>> narrow = PredictiveDistribution(centre, scale=0.5)
    >>> display = ReliabilityDisplay.from_predictions(y_true, narrow, confidence=[0.5, 0.9])
    >>> bool((display.coverage < display.confidence).all())
    True
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        confidence: FloatArray,
        coverage: FloatArray,
        pit: FloatArray,
        n_draws: int | None = None,
        name: str | None = None,
    ) -> None:
        self.confidence = confidence
        self.coverage = coverage
        self.pit = pit
        self.n_draws = n_draws
        self.name = name

    def plot(self, axes: Any = None, *, n_bins: int = 10, color: Any = None) -> Self:
        """Draw coverage and histogram.

        Parameters
        ----------
        axes : array-like of 2 Axes, default=None
            Where to draw, such as `axes_` of another model's display. None makes a figure.
        n_bins : int, default=10
            Number of bins of the histogram.
        color : color, default=None
            Colour of the model. None takes one that the axes do not show yet.

        Returns
        -------
        self : ReliabilityDisplay
            The display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `axes` does not hold two axes, or `n_bins` is below 1.
        """
        if n_bins < 1:
            raise ValueError(f"n_bins={n_bins!r}: expected at least 1.")
        left, right = self.axes_ = _shared.given_or_new_axes(axes, 1, 2, figsize=(9, 4.2))
        self.figure_ = left.figure
        color = _shared.next_color(left, color)
        self._plot_coverage(left, color)
        self._plot_pit(right, n_bins, color)
        for ax in self.axes_:
            _shared.add_legend(ax)
        return self

    def _plot_coverage(self, ax: Any, color: Any) -> None:
        style = {"marker": "o", "ms": 3.5, "color": color, "label": self.name or "observed"}
        (self.line_,) = ax.plot(self.confidence, self.coverage, **style)
        nominal = np.linspace(0, 1, 201)
        self._plot_calibrated(ax, nominal, nominal, self._chance(nominal) / len(self.pit))
        ax.set(xlim=(0, 1), ylim=(0, 1))
        names = {
            "xlabel": "claimed probability of central interval",
            "ylabel": "share of truths inside",
        }
        _shared.name_axes(ax, default=True, **names)

    def _plot_pit(self, ax: Any, n_bins: int, color: Any) -> None:
        edges = np.linspace(0, 1, n_bins + 1)
        density = np.diff(self._share_below(edges)) * n_bins
        style = {"color": color, "lw": 1.5, "label": self.name or "observed"}
        self.histogram_ = ax.stairs(density, edges, **style)
        ax.stairs(density, edges, color=color, alpha=0.15, fill=True)
        chance = self._chance(np.full(2, 1 / n_bins)) * n_bins / len(self.pit)
        self._plot_calibrated(ax, np.array([0, 1]), np.ones(2), chance)
        ax.set_xlim(0, 1)
        names = {"xlabel": "probability integral transform", "ylabel": "density"}
        _shared.name_axes(ax, default=True, **names)
        _shared.leave_room_for_legend(ax)

    def _share_below(self, edges: FloatArray) -> FloatArray:
        """Return the shares of samples whose transform is below each edge, all below the last."""
        if self.n_draws is None:
            return np.append(np.searchsorted(np.sort(self.pit), edges[:-1]) / len(self.pit), 1.0)
        n_below = np.rint(self.pit * self.n_draws).astype(int)
        share = np.bincount(n_below, minlength=self.n_draws + 1) / len(self.pit)
        ranges = np.linspace(0, 1, self.n_draws + 2)
        return np.interp(edges, ranges, np.append(0.0, np.cumsum(share)))

    def _chance(self, probability: FloatArray) -> FloatArray:
        """Return between which two counts chance lies where samples count with a probability."""
        tails = np.array([[1 - SCATTER], [1 + SCATTER]]) / 2
        return binom.ppf(tails, len(self.pit), probability)

    def _plot_calibrated(self, ax: Any, x: FloatArray, ideal: FloatArray, band: Any) -> None:
        """Draw, behind the data, what calibrated distributions give."""
        ax.plot(x, ideal, color=_shared.FRAME, ls="--", lw=1, zorder=1.5, label="calibrated")
        style = {"color": _shared.BACKGROUND, "lw": 0, "zorder": 0}
        ax.fill_between(x, *band, **style, label=f"{SCATTER:.0%} scatter, n = {len(self.pit)}")

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        predict_params: dict[str, Any] | None = None,
        **params: Any,
    ) -> Self:
        """Draw the reliability of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted estimator that :func:`skestnet.predict_dist` takes.
        X : array-like of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True labels.
        predict_params : dict, default=None
            Passed on to :func:`skestnet.predict_dist`, such as ``{"snr": snr}`` for a
            :class:`~skestnet.CalibratedRegressor` that was fitted with `snr`.
        **params : object
            As in `from_predictions`; `name` is the estimator's class unless given.

        Returns
        -------
        ReliabilityDisplay
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
        return cls.from_predictions(y, dist, **params)

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        dist: PredictiveDistribution,
        *,
        output: int | None = None,
        confidence: ArrayLike | None = None,
        n_bins: int = 10,
        name: str | None = None,
        axes: Any = None,
        color: Any = None,
    ) -> Self:
        """Draw the reliability of predictive distributions.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True labels.
        dist : PredictiveDistribution
            Their distributions.
        output : int, default=None
            Which label, where there are several.
        confidence : array-like of shape (n_confidences,), default=None
            Probabilities of the central intervals, in (0, 1). None is 0.05, 0.1, ..., 0.95.
        n_bins : int, default=10
            Number of bins of the histogram.
        name : str, default=None
            Name of the model for the legend.
        axes : array-like of 2 Axes, default=None
            Where to draw, such as `axes_` of another model's display. None makes a figure.
        color : color, default=None
            Colour of the model. None takes one that the axes do not show yet.

        Returns
        -------
        ReliabilityDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If shapes do not match, there are several labels and no `output`, `confidence` does not
            hold probabilities, or `n_bins` is below 1.
        """
        truth, dist = _shared.truth_of(y_true, dist, output), _shared.one_label(dist, output)
        levels = np.linspace(0.05, 0.95, 19) if confidence is None else _checked(confidence)
        transform = pit(truth, dist)
        smooth = bool(dist.scale.any())
        if smooth:  # the same, without a search for the bounds of the intervals
            inside = np.abs(2 * transform - 1) <= levels[:, np.newaxis]
            coverage = inside.mean(axis=1)
        else:
            coverage = np.array([interval_coverage(truth, dist, level) for level in levels])
        display = cls(
            confidence=levels,
            coverage=coverage,
            pit=transform,
            n_draws=None if smooth else dist.n_draws,
            name=name,
        )
        return display.plot(axes, n_bins=n_bins, color=color)


def _checked(confidence: ArrayLike) -> FloatArray:
    levels = np.asarray(confidence, dtype=np.float64)
    if levels.ndim != 1 or levels.size == 0 or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"confidence={confidence!r}: expected probabilities such as [0.68, 0.95].")
    return levels
