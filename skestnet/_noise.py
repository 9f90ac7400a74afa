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
    return np.array([_factor_of_label(*column, weight) for column in columns])


def _factor_of_label(
    residual: FloatArray, variance: FloatArray, std: FloatArray, weight: FloatArray
) -> float:
    def score(log_factor: float) -> float:
        total = np.sqrt(variance + (np.exp(log_factor) * std) ** 2)
        normal = PredictiveDistribution(np.zeros((len(total), 1)), total[:, np.newaxis])
        return float(weight @ normal.crps(residual))

    return float(np.exp(minimize_scalar(score, bounds=LOG_FACTORS, method="bounded").x))


def correlation_of(residual: FloatArray, weight: FloatArray) -> FloatArray:
    """Compute the correlations of residuals; a label without any has none."""
    covariance = np.einsum("n,nj,nk->jk", weight, residual, residual)
    width = np.sqrt(np.diag(covariance))
    product = np.outer(width, width)
    correlation = np.divide(covariance, product, out=np.eye(len(width)), where=product > 0)
    np.fill_diagonal(correlation, 1.0)
    return np.clip(correlation, -1.0, 1.0)
