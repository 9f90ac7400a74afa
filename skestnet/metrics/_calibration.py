"""Whether all quantiles of predictive distributions are where they should be."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skestnet._distribution import PredictiveDistribution
from skestnet.metrics._checks import checked_labels, over_outputs, over_samples

FloatArray = NDArray[np.float64]

LEVELS = np.arange(1, 20) / 20
ROUNDING = 1e-9  # probabilities that differ by less are equal, as 3 / 20 of the draws and 0.15


def pit(y_true: ArrayLike, dist: PredictiveDistribution) -> FloatArray:
    """Compute probability integral transforms: the predicted probabilities of less than the truth.

    Of distributions that tell the truth they are uniform between 0 and 1. A histogram with a hump
    says too wide, one with raised ends too narrow, and a slope that the model is biased.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
        True labels.
    dist : PredictiveDistribution
        Their predictive distributions.

    Returns
    -------
    ndarray of the shape of `dist`
        Probabilities; of draws without an error of their own they are shares of the draws.

    Raises
    ------
    TypeError
        If `dist` is no PredictiveDistribution.
    ValueError
        If shapes do not match, or a label is not finite.

    References
    ----------
    Dawid (1984), J. R. Stat. Soc. A 147, 278. Gneiting, Balabdaoui and Raftery (2007), J. R. Stat.
    Soc. B 69, 243.

    Examples
    --------
    >>> from skestnet import PredictiveDistribution
    >>> from skestnet.metrics import pit
    >>> dist = PredictiveDistribution([[8.0], [8.5]], scale=0.1)
    >>> pit([8.0, 8.6], dist).round(3)
    array([0.5 , 0.841])
    """
    y = checked_labels(y_true, dist)
    return dist.cdf(y)


def calibration_error(
    y_true: ArrayLike,
    dist: PredictiveDistribution,
    *,
    levels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    multioutput: ArrayLike = "uniform_average",
) -> float | FloatArray:
    """Mean distance between probabilities and how often they come true; smaller is better.

    For each level, the share of the labels below the predicted quantile of that level is compared
    with the level itself.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
        True labels.
    dist : PredictiveDistribution
        Their predictive distributions.
    levels : array-like of shape (n_levels,), default=None
        Probabilities in (0, 1). None stands for 0.05, 0.10 and so on to 0.95.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.
    multioutput : {"uniform_average", "raw_values"} or array-like, default="uniform_average"
        Mean over labels, one error for each label, or weights for the mean, (n_outputs,).

    Returns
    -------
    float or ndarray of shape (n_outputs,)
        The error, from 0 to about 0.5.

    Raises
    ------
    TypeError
        If `dist` is no PredictiveDistribution.
    ValueError
        If shapes do not match, a label is not finite, or `levels` are no probabilities.

    Notes
    -----
    By chance, a perfectly calibrated model has an error of ``0.33 / sqrt(n_samples)`` on average,
    and one below ``0.61 / sqrt(n_samples)`` in 95% of cases (at the default levels). T draws of
    scale zero add ``0.3 / T`` to ``0.5 / T``, since they have no finer quantiles
    (``benchmarks/bench_quoted.py``).

    References
    ----------
    Kuleshov, Fenner and Ermon (2018), Proc. ICML, PMLR 80, 2796, section 3.5, who sum the squares.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet import PredictiveDistribution
    >>> from skestnet.metrics import calibration_error
    >>> y = np.random.default_rng(0).standard_normal(1000)
    >>> honest = PredictiveDistribution(np.zeros((1000, 1)), scale=1.0)
    >>> overconfident = PredictiveDistribution(np.zeros((1000, 1)), scale=0.3)
    >>> calibration_error(y, honest) < 0.02, calibration_error(y, overconfident) > 0.1
    (True, True)
    """
    below = pit(y_true, dist)
    error = [
        np.abs(over_samples(below <= level + ROUNDING, sample_weight) - level)
        for level in _checked_levels(levels)
    ]
    return over_outputs(np.mean(error, axis=0), multioutput)


def _checked_levels(levels: ArrayLike | None) -> FloatArray:
    if levels is None:
        return LEVELS
    given = np.asarray(levels, dtype=np.float64)
    if given.ndim != 1 or given.size == 0 or not ((given > 0) & (given < 1)).all():
        raise ValueError(f"levels={levels!r}: expected probabilities between 0 and 1 in a list.")
    return given
