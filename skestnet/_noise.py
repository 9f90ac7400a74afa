"""How wide the noise of the labels is, from residuals on samples that were set aside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from skestnet._distribution import PredictiveDistribution

FloatArray = NDArray[np.float64]

NOISES = ("none", "constant", "heteroscedastic")
# Range of the logarithm of the factor; standardised labels have residuals of order one at most.
LOG_FACTORS = (-9.0, 4.0)


def noise_factor(
    residual: FloatArray, variance: FloatArray, std: FloatArray, weight: FloatArray
) -> FloatArray:
    """Find by what the noise has to be multiplied, for each label.

    The factor minimises the weighted CRPS of normal distributions with the variance
    ``variance + (factor * std)**2``. Unlike the mean square it does not follow a few outliers.

    Parameters
    ----------
    residual : ndarray of shape (n_samples, n_outputs)
        Labels minus means.
    variance : ndarray of shape (n_samples, n_outputs)
        Epistemic variances.
    std : ndarray of shape (n_samples, n_outputs)
        Standard deviations of the noise so far.
    weight : ndarray of shape (n_samples,)
        Weights of the samples.

    Returns
    -------
    ndarray of shape (n_outputs,)
        Factors.
    """
    columns = zip(residual.T, variance.T, std.T, strict=True)
    return np.array([_factor_of_label(*column, _some(weight)) for column in columns])


def _factor_of_label(
    residual: FloatArray, variance: FloatArray, std: FloatArray, weight: FloatArray
) -> float:
    def score(log_factor: float) -> float:
        total = np.sqrt(variance + (np.exp(log_factor) * std) ** 2)
        normal = PredictiveDistribution(np.zeros((len(total), 1)), total[:, np.newaxis])
        return float(weight @ normal.crps(residual))

    return float(np.exp(minimize_scalar(score, bounds=LOG_FACTORS, method="bounded").x))


def correlation_of(residual: FloatArray, weight: FloatArray) -> FloatArray:
    """Compute the correlations of residuals (n_samples, n_outputs); a label without any has none.

    They are as if ``n_outputs + 1`` further samples had shown none, which is what a prior adds that
    holds all values of a correlation for equally likely (Barnard, McCulloch and Meng 2000): one
    sample alone would say that its residuals are correlated exactly.
    """
    weight = _some(weight)
    covariance = np.einsum("n,nj,nk->jk", weight, residual, residual)
    width = np.sqrt(np.diag(covariance))
    product = np.outer(width, width)
    own = np.eye(len(width))
    seen = np.divide(covariance, product, out=own.copy(), where=product > 0)
    n_effective = weight.sum() ** 2 / (weight**2).sum()
    share = n_effective / (n_effective + len(width) + 1)
    return share * seen + (1 - share) * own


def _some(weight: FloatArray) -> FloatArray:
    """Return the weights, equal ones if all are zero, as those of a few anomalies may be."""
    return weight if weight.any() else np.ones_like(weight)
