"""UncertaintyDisplay: for which labels predictions are uncertain."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skestnet._distribution import Part, PredictiveDistribution
from skestnet._predict_dist import predict_dist
from skestnet.plotting import _shared

FloatArray = NDArray[np.float64]

MIN_WINDOW = 20
STEPS_PER_WINDOW = 5
BAND = (0.025, 0.975)
# Height of the histogram of labels, as a share of the axes'.
HISTOGRAM_HEIGHT = 0.25


class UncertaintyDisplay:
    """Predicted standard deviation against the label: its running median and 95% band.

    The band holds 95% of the standard deviations predicted for labels close to a value. At the
    bottom is a histogram of the labels, of arbitrary height: uncertainty grows where there are few.

    Create one by `from_estimator` or `from_predictions`. Several models, or the parts of the
    uncertainty of one, can be drawn into the same axes.

    Parameters
    ----------
    label : ndarray of shape (n_samples,)
        Labels, true or predicted.
    std : ndarray of shape (n_samples,)
        Predicted standard deviations.
    n_bins : int, default=10
        The running window holds ``n_samples / n_bins`` samples that follow each other in order of
        the label, and 20 at least.
    part : {"total", "epistemic", "aleatoric"}, default="total"
        What the standard deviations are of.
    against : {"true", "predicted"}, default="true"
        What the labels are.
    name : str, default=None
        Name of the model for the legend.
    label_name : str, default="label"
        Name of the label with its unit, such as "Teff (K)".

    Attributes
    ----------
    position, median, low, high : ndarray of shape (n_windows,)
        Median label of each window, and median and 2.5 and 97.5 percentiles of the standard
        deviations in it.
    ax_ : Axes
        The axes.
    figure_ : Figure
        The figure that holds them.
    line_ : Line2D
        The running median.
    band_ : PolyCollection
        The band.

    References
    ----------
    Xie et al. (2025), A&A 704, A37, figure 7.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from skestnet import PredictiveDistribution
    >>> from skestnet.plotting import UncertaintyDisplay
    >>> rng = np.random.default_rng(0)
    >>> teff = rng.uniform(8000, 30000, 200)
    >>> draws = teff[:, None] * rng.normal(1, 0.1, (200, 50))
    >>> display = UncertaintyDisplay.from_predictions(
    ...     teff, PredictiveDistribution(draws), label_name="Teff (K)"
    ... )
    >>> display.ax_.get_xlabel()
    'true Teff (K)'
    >>> bool(display.median[-1] > 2 * display.median[0])
    True
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        label: FloatArray,
        std: FloatArray,
        n_bins: int = 10,
        part: Part = "total",
        against: Literal["true", "predicted"] = "true",
        name: str | None = None,
        label_name: str = _shared.LABEL,
    ) -> None:
        self.label = label
        self.std = std
        self.n_bins = n_bins
        self.part = part
        self.against = against
        self.name = name
        self.label_name = label_name
        windows = _windows(label, n_bins)
        self.position = np.median(label[windows], axis=1)
        self.median = np.median(std[windows], axis=1)
        self.low, self.high = np.quantile(std[windows], BAND, axis=1)

    def plot(self, ax: Any = None, *, color: Any = None) -> Self:
        """Draw the median, the band and the histogram of the labels.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw. None makes a figure.
        color : color, default=None
            Colour of the model. None takes one that the axes do not show yet.

        Returns
        -------
        self : UncertaintyDisplay
            The display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        (ax,) = _shared.given_or_new_axes(ax, 1, 1)
        color = _shared.next_color(ax, color)
        what = ", ".join(filter(None, [self.name, self.part, "running median"]))
        (self.line_,) = ax.plot(self.position, self.median, color=color, label=what)
        style = {"color": color, "alpha": 0.25, "lw": 0, "label": "95% band"}
        self.band_ = ax.fill_between(self.position, self.low, self.high, **style)
        self._plot_labels(ax)
        _shared.name_axes(
            ax,
            default=self.label_name == _shared.LABEL,
            xlabel=f"{self.against} {self.label_name}",
            ylabel=f"standard deviation of {self.label_name}",
        )
        _shared.leave_room_for_legend(ax)
        _shared.add_legend(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _plot_labels(self, ax: Any) -> None:
        """Draw the histogram along the bottom, in shares of the height of the axes."""
        count, edges = np.histogram(self.label, bins="auto")
        ax.stairs(
            HISTOGRAM_HEIGHT * count / count.max(),
            edges,
            fill=True,
            color=_shared.BACKGROUND,
            transform=ax.get_xaxis_transform(),
            zorder=0,
            label="distribution of labels",
        )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None,
        *,
        predict_params: dict[str, Any] | None = None,
        **params: Any,
    ) -> Self:
        """Draw the uncertainty of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted estimator that :func:`skestnet.predict_dist` takes.
        X : array-like of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), or None
            True labels; None is allowed with ``against="predicted"``.
        predict_params : dict, default=None
            Passed on to :func:`skestnet.predict_dist`, such as ``{"snr": snr}`` for a
            :class:`~skestnet.CalibratedRegressor` that was fitted with `snr`.
        **params : object
            As in `from_predictions`; `name` is the estimator's class unless given.

        Returns
        -------
        UncertaintyDisplay
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
        y_true: ArrayLike | None,
        dist: PredictiveDistribution,
        *,
        output: int | None = None,
        part: Part = "total",
        against: Literal["true", "predicted"] = "true",
        n_bins: int = 10,
        name: str | None = None,
        label_name: str = _shared.LABEL,
        ax: Any = None,
        color: Any = None,
    ) -> Self:
        """Draw the uncertainty of predictive distributions.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,) or (n_samples, n_outputs), or None
            True labels; None is allowed with ``against="predicted"``.
        dist : PredictiveDistribution
            Their distributions.
        output : int, default=None
            Which label, where there are several.
        part : {"total", "epistemic", "aleatoric"}, default="total"
            What the standard deviations are of, as in :meth:`skestnet.PredictiveDistribution.var`.
        against : {"true", "predicted"}, default="true"
            Whether the horizontal axis is the true label or the mean of its distribution.
        n_bins : int, default=10
            The running window holds ``n_samples / n_bins`` samples, and 20 at least.
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
        UncertaintyDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If shapes do not match, there are several labels and no `output`, or `part`, `against`
            or `n_bins` is none of the choices.
        """
        one = _shared.one_label(dist, output)
        display = cls(
            label=_label(y_true, dist, output, against),
            std=one.std(part),
            n_bins=n_bins,
            part=part,
            against=against,
            name=name,
            label_name=label_name,
        )
        return display.plot(ax, color=color)


def _label(
    y_true: ArrayLike | None, dist: PredictiveDistribution, output: int | None, against: str
) -> FloatArray:
    if against == "predicted":
        return _shared.one_label(dist, output).mean()
    if against != "true":
        raise ValueError(f"against={against!r}: expected 'true' or 'predicted'.")
    if y_true is None:
        raise ValueError("y_true is None: pass true labels, or against='predicted'.")
    return _shared.truth_of(y_true, dist, output)


def _windows(label: FloatArray, n_bins: int) -> NDArray[np.intp]:
    """Return which samples are in each window, (n_windows, size of a window)."""
    if n_bins < 1:
        raise ValueError(f"n_bins={n_bins!r}: expected at least 1.")
    size = min(len(label), max(MIN_WINDOW, len(label) // n_bins))
    n_windows = 1 + STEPS_PER_WINDOW * (len(label) - size) // size
    first = np.linspace(0, len(label) - size, n_windows).astype(int)
    return np.argsort(label, kind="stable")[first[:, np.newaxis] + np.arange(size)]
