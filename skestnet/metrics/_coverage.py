"""Whether intervals and joint regions hold the truth as often as they say, and their widths."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skestnet._distribution import PredictiveDistribution
from skestnet.metrics._checks import average, check_dist, checked_labels, over_samples

FloatArray = NDArray[np.float64]


def interval_coverage(
    y_true: ArrayLike,
    dist: PredictiveDistribution,
    confidence: float = 0.68,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: ArrayLike = "uniform_average",
) -> float | FloatArray:
    """Share of the labels inside their central intervals, bounds included.

    Intervals that tell the truth hold a share of `confidence`, give or take
    ``sqrt(confidence * (1 - confidence) / n_samples)``. A larger share is no merit: the intervals
    are then wider than need be.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
        True labels.
    dist : PredictiveDistribution
        Their predictive distributions.
    confidence : float, default=0.68
        Probability inside, in [0, 1].
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.
    multioutput : {"uniform_average", "raw_values"} or array-like, default="uniform_average"
        Mean over labels, one share for each label, or weights for the mean, (n_outputs,).

    Returns
    -------
    float or ndarray of shape (n_outputs,)
        The share, between 0 and 1.

    Raises
    ------
    TypeError
        If `dist` is no PredictiveDistribution.
    ValueError
        If shapes do not match, a label is not finite, or `confidence` no probability.

    Notes
    -----
    Intervals between T draws of scale zero are a little narrow: also where the truth is one more
    such draw, they hold a share of about ``confidence * (T - 1) / (T + 1)`` only, 0.67 rather than
    0.68 for 100 draws.

    Examples
    --------
    >>> from skestnet import PredictiveDistribution
    >>> from skestnet.metrics import interval_coverage
    >>> dist = PredictiveDistribution([[8.0], [8.5], [8.2]], scale=0.1)
    >>> round(interval_coverage([8.05, 8.45, 8.5], dist, 0.68), 2)
    0.67
    """
    y = checked_labels(y_true, dist)
    low, high = dist.interval(confidence)
    return average((low <= y) & (y <= high), sample_weight, multioutput)


def mean_interval_width(
    dist: PredictiveDistribution,
    confidence: float = 0.68,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: ArrayLike = "uniform_average",
) -> float | FloatArray:
    """Mean width of the central intervals, in the units of the label.

    Of two models whose intervals hold what they say, that with the narrower ones is better.
    Labels of different units are better not averaged: use ``multioutput="raw_values"``.

    Parameters
    ----------
    dist : PredictiveDistribution
        Predictive distributions.
    confidence : float, default=0.68
        Probability inside, in [0, 1].
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.
    multioutput : {"uniform_average", "raw_values"} or array-like, default="uniform_average"
        Mean over labels, one width for each label, or weights for the mean, (n_outputs,).

    Returns
    -------
    float or ndarray of shape (n_outputs,)
        The mean width, from the lower to the upper bound.

    Raises
    ------
    TypeError
        If `dist` is no PredictiveDistribution.
    ValueError
        If `confidence` is no probability, or there are no samples.

    Examples
    --------
    >>> from skestnet import PredictiveDistribution
    >>> from skestnet.metrics import mean_interval_width
    >>> dist = PredictiveDistribution([[8.0], [8.5]], scale=[[0.1], [0.2]])
    >>> round(mean_interval_width(dist, 0.95), 3)
    0.588
    """
    check_dist(dist)
    low, high = dist.interval(confidence)
    return average(high - low, sample_weight, multioutput)


def region_coverage(
    y_true: ArrayLike,
    dist: PredictiveDistribution,
    confidence: float = 0.68,
    *,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Share of the samples whose labels are together inside their joint region.

    The region is the ellipse, or ellipsoid, of :meth:`skestnet.PredictiveDistribution.region`. The
    share hardly shows where a correlation of the labels was left out: `energy_score` does.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
        True labels.
    dist : PredictiveDistribution
        Their predictive distributions.
    confidence : float, default=0.68
        Probability inside, in (0, 1).
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    float
        The share, between 0 and 1.

    Raises
    ------
    TypeError
        If `dist` is no PredictiveDistribution.
    ValueError
        If shapes do not match, a label is not finite, `confidence` is no probability, or a
        predicted label has no spread.

    Examples
    --------
    >>> from skestnet import PredictiveDistribution
    >>> from skestnet.metrics import region_coverage
    >>> dist = PredictiveDistribution([[[9000.0, 8.0]], [[9500.0, 8.1]]], [500.0, 0.1])
    >>> region_coverage([[9100.0, 8.05], [9500.0, 8.4]], dist)
    0.5
    """
    y = checked_labels(y_true, dist).reshape(len(dist), -1)
    return float(over_samples(dist.region(confidence).contains(y), sample_weight))
