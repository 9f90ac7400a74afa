"""Coverage of subgroups: intervals that are right on average may be wrong where it matters."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import Bunch

from skestnet._distribution import PredictiveDistribution
from skestnet.metrics._checks import checked_labels

FloatArray = NDArray[np.float64]


def coverage_by_group(
    y_true: ArrayLike,
    dist: PredictiveDistribution,
    values: ArrayLike,
    *,
    confidence: ArrayLike = (0.5, 0.68, 0.9, 0.95),
    n_groups: ArrayLike = 4,
) -> Bunch:
    """Compare coverage, width and errors between groups of samples, by S/N for instance.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
        True labels.
    dist : PredictiveDistribution
        Their predictive distributions.
    values : array-like of shape (n_samples,)
        What to group by: signal-to-noise ratios, a predicted label, a magnitude.
    confidence : array-like of shape (n_confidence,), default=(0.5, 0.68, 0.9, 0.95)
        Probabilities inside the central intervals, or one such.
    n_groups : int or array-like of shape (n_groups + 1,), default=4
        Number of groups of about the same size, bounded by quantiles of `values`; or the
        increasing edges of the groups, which have to enclose all `values` (the outermost may be
        infinite). A value at an inner edge belongs to the group above.

    Returns
    -------
    Bunch
        Dictionary-like, with one entry for each group and, in brackets, label:

        - ``edges``: ndarray of shape (n_groups + 1,), bounds of the groups in `values`;
        - ``count``: ndarray of shape (n_groups,), number of samples in each;
        - ``confidence``: ndarray of shape (n_confidence,), the probabilities;
        - ``coverage``: ndarray of shape (n_groups, n_confidence[, n_outputs]), share of labels
          inside their intervals, bounds included;
        - ``standard_error``: ndarray of the shape of ``coverage``, its binomial standard error;
        - ``width``: ndarray of the shape of ``coverage``, mean width of the intervals;
        - ``crps``: ndarray of shape (n_groups[, n_outputs]), mean CRPS;
        - ``mean_absolute_error``: ndarray of shape (n_groups[, n_outputs]), of the median.

        A group between given edges may be empty: its count is 0, and the rest of it NaN.

    Raises
    ------
    TypeError
        If `dist` is no PredictiveDistribution.
    ValueError
        If shapes do not match, a label or one of `values` is not finite, `values` are outside the
        given edges, or so many of them are equal that quantiles cannot part them.

    Notes
    -----
    The standard error is ``sqrt(p * (1 - p) / (count + 4))``, where two samples inside and two
    outside were added to the share p (Agresti and Coull 1998). Without them it would be zero, and
    the share seem exact, where all samples of a small group are inside.

    References
    ----------
    Agresti and Coull (1998), Am. Stat. 52, 119.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet import PredictiveDistribution
    >>> from skestnet.metrics import coverage_by_group
    >>> rng = np.random.default_rng(0)
    >>> snr = rng.uniform(2, 20, 4000)
    >>> y = 8 + rng.standard_normal(4000) / snr
    >>> dist = PredictiveDistribution(np.full((4000, 1), 8.0), scale=0.1)
    >>> table = coverage_by_group(y, dist, snr, confidence=0.68, n_groups=[2, 5, 10, 20])
    >>> table.count
    array([ 683, 1136, 2181])
    >>> table.coverage[:, 0].round(2)  # too narrow at low S/N, too wide at high S/N
    array([0.28, 0.54, 0.85])
    """
    y = checked_labels(y_true, dist)
    value = _checked_values(values, len(y))
    levels = _checked_confidence(confidence)
    edges = _edges(value, n_groups)
    # The last group includes its upper edge.
    group = np.minimum(np.searchsorted(edges, value, side="right"), len(edges) - 1) - 1
    count = np.bincount(group, minlength=len(edges) - 1)
    low, high = np.stack([dist.interval(level) for level in levels.tolist()], axis=2)
    inside = (low <= np.expand_dims(y, 1)) & (np.expand_dims(y, 1) <= high)
    coverage = _means(inside, group, len(count))
    return Bunch(
        edges=edges,
        count=count,
        confidence=levels,
        coverage=coverage,
        standard_error=_standard_error(coverage, count),
        width=_means(high - low, group, len(count)),
        crps=_means(dist.crps(y), group, len(count)),
        mean_absolute_error=_means(np.abs(y - dist.ppf(0.5)), group, len(count)),
    )


def _checked_values(values: ArrayLike, n_samples: int) -> FloatArray:
    value = np.asarray(values, dtype=np.float64)
    if value.shape != (n_samples,):
        raise ValueError(f"values has shape {value.shape}: expected ({n_samples},).")
    unknown = ~np.isfinite(value)
    if unknown.any():
        raise ValueError(
            f"values holds {unknown.sum()} NaN or infinite numbers: leave these samples out of "
            "y_true, dist and values, or give them a value of their own."
        )
    return value


def _checked_confidence(confidence: ArrayLike) -> FloatArray:
    levels = np.atleast_1d(np.asarray(confidence, dtype=np.float64))
    if levels.ndim != 1 or levels.size == 0:
        raise ValueError(f"confidence={confidence!r}: expected one or several probabilities.")
    return levels


def _edges(value: FloatArray, n_groups: ArrayLike) -> FloatArray:
    if np.ndim(n_groups) > 0:
        return _given_edges(value, np.asarray(n_groups, dtype=np.float64))
    if not isinstance(n_groups, int | np.integer) or not 1 <= n_groups <= len(value):
        raise ValueError(
            f"n_groups={n_groups!r}: expected a whole number from 1 to the number of samples, "
            f"{len(value)}, or the edges of the groups."
        )
    edges = np.quantile(value, np.linspace(0, 1, int(n_groups) + 1))
    if n_groups > 1 and not (np.diff(edges) > 0).all():
        tied = edges[:-1][np.diff(edges) == 0][0]
        raise ValueError(
            f"values cannot be parted into {n_groups} groups of the same size, since {tied:g} "
            "occurs too often. Take fewer groups, or pass their edges as n_groups."
        )
    return edges


def _given_edges(value: FloatArray, edges: FloatArray) -> FloatArray:
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise ValueError(f"n_groups={edges!r}: expected at least two increasing edges.")
    outside = (value < edges[0]) | (value > edges[-1])
    if outside.any():
        raise ValueError(
            f"{outside.sum()} of {len(value)} values, which range from {value.min():g} to "
            f"{value.max():g}, are outside the edges {edges[0]:g} to {edges[-1]:g}: widen them, "
            "to -np.inf and np.inf if need be."
        )
    return edges


def _means(values: NDArray[Any], group: NDArray[np.intp], n_groups: int) -> FloatArray:
    """Average over the samples of each group; NaN where there are none."""
    means = np.full((n_groups, *values.shape[1:]), np.nan)
    for k in np.unique(group):
        means[k] = values[group == k].mean(axis=0)
    return means


def _standard_error(coverage: FloatArray, count: NDArray[np.intp]) -> FloatArray:
    n_samples = count.reshape(-1, *[1] * (coverage.ndim - 1))
    share = (coverage * n_samples + 2) / (n_samples + 4)
    return np.sqrt(share * (1 - share) / (n_samples + 4))
