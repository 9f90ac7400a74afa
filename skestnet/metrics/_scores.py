"""Proper scores: the true distribution has the smallest, on average."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import gen_batches

from skestnet._distribution import PredictiveDistribution
from skestnet.metrics._checks import average, checked_labels, label_spread, over_samples

FloatArray = NDArray[np.float64]

# Largest number of differences between draws held in memory at once.
MAX_DIFFERENCES = 2**22


def crps(
    y_true: ArrayLike,
    dist: PredictiveDistribution,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: ArrayLike = "uniform_average",
) -> float | FloatArray:
    """Mean continuous ranked probability score; smaller is better.

    It is in the units of the label and generalises the mean absolute error, which it is for
    predictions without spread. Labels of different units are better not averaged: use
    ``multioutput="raw_values"``.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
        True labels.
    dist : PredictiveDistribution
        Their predictive distributions.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.
    multioutput : {"uniform_average", "raw_values"} or array-like, default="uniform_average"
        Mean over labels, one score for each label, or weights for the mean, (n_outputs,).

    Returns
    -------
    float or ndarray of shape (n_outputs,)
        The score, at least 0.

    Raises
    ------
    TypeError
        If `dist` is no PredictiveDistribution.
    ValueError
        If shapes do not match, or a label is not finite.

    References
    ----------
    Gneiting and Raftery (2007), J. Am. Stat. Assoc. 102, 359, section 4.2.

    Examples
    --------
    >>> from skestnet import PredictiveDistribution
    >>> from skestnet.metrics import crps
    >>> dist = PredictiveDistribution([[8.0], [8.5]], scale=0.1)
    >>> round(crps([8.0, 8.4], dist), 4)
    0.0418
    """
    y = checked_labels(y_true, dist)
    return average(dist.crps(y), sample_weight, multioutput)


def log_score(
    y_true: ArrayLike,
    dist: PredictiveDistribution,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: ArrayLike = "uniform_average",
) -> float | FloatArray:
    """Mean negative logarithm of the predictive density, in nats; smaller is better.

    It punishes a label far in the tail more than `crps` does. A single label where the density
    vanishes makes it infinite. Draws are smoothed by a Gaussian kernel, see
    :meth:`skestnet.PredictiveDistribution.logpdf`.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
        True labels.
    dist : PredictiveDistribution
        Their predictive distributions.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.
    multioutput : {"uniform_average", "raw_values"} or array-like, default="uniform_average"
        Mean over labels, one score for each label, or weights for the mean, (n_outputs,).

    Returns
    -------
    float or ndarray of shape (n_outputs,)
        The score. A change of units by a factor adds the factor's logarithm.

    Raises
    ------
    TypeError
        If `dist` is no PredictiveDistribution.
    ValueError
        If shapes do not match, a label is not finite, or meets a prediction without spread, whose
        density is infinite there.

    References
    ----------
    Gneiting and Raftery (2007), J. Am. Stat. Assoc. 102, 359, section 4.1.

    Examples
    --------
    >>> from skestnet import PredictiveDistribution
    >>> from skestnet.metrics import log_score
    >>> dist = PredictiveDistribution([[8.0], [8.5]], scale=0.1)
    >>> round(log_score([8.0, 8.4], dist), 4)
    -1.1336
    """
    y = checked_labels(y_true, dist)
    density = dist.logpdf(y)
    infinite = np.isposinf(density)
    if infinite.any():
        raise ValueError(
            f"The density is infinite at {infinite.sum()} label(s), where a prediction without "
            "spread meets the truth: there is no log score. Use crps."
        )
    return average(-density, sample_weight, multioutput)


def energy_score(
    y_true: ArrayLike,
    dist: PredictiveDistribution,
    *,
    n_draws: int = 200,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Mean energy score, which judges several labels together; smaller is better.

    It is the CRPS with the Euclidean distance in place of the absolute difference, and sees
    whether the predicted correlations are right. Labels and predictions are divided by the
    standard deviation of `y_true`, so that units do not matter; scores of different test sets
    are therefore not in the same unit.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
        True labels.
    dist : PredictiveDistribution
        Their predictive distributions.
    n_draws : int, default=200
        Number of draws that stand for each distribution, at least its number of components. They
        are evenly spread and not random, see :meth:`skestnet.PredictiveDistribution.as_draws`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    float
        The score, at least 0, in standard deviations of the labels.

    Raises
    ------
    ImportError
        If scoringrules is not installed.
    TypeError
        If `dist` is no PredictiveDistribution.
    ValueError
        If shapes do not match, a label is not finite or constant, or `n_draws` below 1.

    References
    ----------
    Gneiting and Raftery (2007), J. Am. Stat. Assoc. 102, 359, section 4.3. Computed by
    scoringrules.

    Examples
    --------
    >>> from skestnet import PredictiveDistribution
    >>> from skestnet.metrics import energy_score
    >>> y = [[9000.0, 8.0], [11000.0, 7.8], [10000.0, 8.2]]
    >>> dist = PredictiveDistribution([[row] for row in y], [500.0, 0.1])
    >>> round(energy_score(y, dist), 2)
    0.22
    """
    scoringrules = _import_scoringrules()
    if n_draws < 1:
        raise ValueError(f"n_draws={n_draws!r}: expected at least 1.")
    y = checked_labels(y_true, dist)
    spread = label_spread(y)
    y, dist = y / spread, dist.rescale(1 / spread)
    differences = max(n_draws, dist.n_draws) ** 2 * y[0].size
    batches = gen_batches(len(y), max(1, MAX_DIFFERENCES // differences))
    scores = [
        scoringrules.es_ensemble(
            y[batch].reshape(-1, y[0].size), _draws(dist[batch], n_draws, y[0].size)
        )
        for batch in batches
    ]
    return float(over_samples(np.concatenate(scores), sample_weight))


def _draws(dist: PredictiveDistribution, n_draws: int, n_outputs: int) -> FloatArray:
    return dist.as_draws(n_draws).loc.reshape(len(dist), -1, n_outputs)


def _import_scoringrules() -> ModuleType:
    try:
        import scoringrules
    except ImportError as error:
        raise ImportError(
            'energy_score needs scoringrules: pip install "skestnet[uncertainty]".'
        ) from error
    return scoringrules
