"""Bias scores: how anomalous a residual of the first stage is, from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

FloatArray = NDArray[np.float64]

MAX_ITERATIONS = 300
CONVERGED = 1e-6
NORMAL_MAD = 0.6745  # median absolute deviation of a normal distribution, in standard deviations
# The largest share of anomalies that is believed, and the smallest that keeps the sums defined.
SHARE_LIMITS = (1e-12, 0.5)
EXTRA_PARAMETERS = 3  # of two populations over one: a share, a mean, a standard deviation
# Share and width, in widths of the core, of a background that makes a residual of more than about
# five core widths an anomaly on either side, whatever the populations say.
BACKGROUND = (1e-4, 10.0)
ROUNDING = 1e-12  # residuals of standardised labels that differ by less are equal


class FirstStage(NamedTuple):
    """What the first stage left of each sample.

    Attributes
    ----------
    residual : ndarray of shape (n_samples, n_outputs)
        Label minus prediction, in standard deviations of the labels, or of their expected error
        where the labels' errors are known.
    y_pred : ndarray of shape (n_samples, n_outputs)
        Prediction, in the same units.
    log_snr : ndarray of shape (n_samples,) or None
        Logarithm of the signal-to-noise ratio, where it is known.
    """

    residual: FloatArray
    y_pred: FloatArray
    log_snr: FloatArray | None

    def context(self, k: int) -> FloatArray:
        """Return what the size of the residuals of label `k` may depend on, a column each."""
        columns = [self.y_pred[:, k]] + ([] if self.log_snr is None else [self.log_snr])
        return np.column_stack(columns)


def minmax_score(new: FirstStage, train: FirstStage, weight: FloatArray) -> FloatArray:  # noqa: ARG001
    """Scale absolute residuals to [0, 1] over the training set (eqs. 12, 13).

    Equal residuals score 0; those beyond the training set's get the score of the nearest one.
    """
    alpha = np.abs(train.residual)
    low, high = alpha.min(axis=0), alpha.max(axis=0)
    scaled = (np.abs(new.residual) - low) / np.where(high - low > ROUNDING, high - low, 1.0)
    return np.clip(scaled, 0.0, 1.0)


def mixture_score(new: FirstStage, train: FirstStage, weight: FloatArray) -> FloatArray:
    """Probability that a residual is an anomaly, of each label by itself.

    Residuals are measured from their local median in units of their local spread, both functions
    of the prediction and of the S/N where it is known. Two normal populations are then fitted to
    them, a core and a wider one of anomalies (Hogg, Bovy & Lang 2010, section 3), or one where a
    second is not called for.
    """
    columns = []
    for k in range(train.residual.shape[1]):
        centre_and_spread = _local_scale(train.context(k), train.residual[:, k], weight)
        populations = TwoPopulations.fit(_standardise(train, k, centre_and_spread), weight)
        columns.append(populations.probability_of_anomaly(_standardise(new, k, centre_and_spread)))
    return np.column_stack(columns)


BIAS_SCORES: dict[str, Callable[[FirstStage, FirstStage, FloatArray], FloatArray]] = {
    "minmax": minmax_score,
    "mixture": mixture_score,
}

LocalScale = Callable[[FloatArray], tuple[FloatArray, FloatArray]]


def _standardise(samples: FirstStage, k: int, centre_and_spread: LocalScale) -> FloatArray:
    centre, spread = centre_and_spread(samples.context(k))
    return (samples.residual[:, k] - centre) / spread


def _local_scale(context: FloatArray, residual: FloatArray, weight: FloatArray) -> LocalScale:
    """Learn the median of the residuals and of their absolute deviation as functions."""
    # A few columns and small trees: more threads would only wait for each other.
    with threadpool_limits(1, user_api="openmp"):
        centre = _median_tree().fit(context, residual, weight)
        deviation = np.abs(residual - centre.predict(context))
        spread = _median_tree().fit(context, deviation, weight)
    # Where a first stage fits exactly the spread is no measure: that of all samples is its floor.
    floor = max(1e-3 * float(np.average(deviation, weights=weight)), 1e-9)
    return lambda at: (centre.predict(at), np.maximum(spread.predict(at), floor))


def _median_tree() -> HistGradientBoostingRegressor:
    """Boost small trees to a smooth conditional median, constant for less than 200 samples."""
    return HistGradientBoostingRegressor(
        loss="absolute_error",
        max_iter=30,
        learning_rate=0.2,
        max_leaf_nodes=8,
        min_samples_leaf=100,
        early_stopping=False,
        random_state=0,
    )


class TwoPopulations(NamedTuple):
    """Normal core of the residuals and normal, wider population of anomalies.

    Attributes
    ----------
    share : float
        Share of anomalies.
    core, wide : tuple of float
        Mean and standard deviation of each population.
    """

    share: float
    core: tuple[float, float]
    wide: tuple[float, float]

    @classmethod
    def fit(cls, z: FloatArray, weight: FloatArray) -> Self:
        """Fit residuals, where the Bayesian information criterion prefers two populations to one.

        Clean residuals of a small sample would otherwise be split at random.
        """
        one, two = cls._one(z, weight), cls._two(z, weight)
        gain = weight @ (two.log_likelihood(z) - one.log_likelihood(z))
        return two if 2 * gain > EXTRA_PARAMETERS * np.log(weight.sum()) else one

    @classmethod
    def _one(cls, z: FloatArray, weight: FloatArray) -> Self:
        core = _moments(z, weight)
        return cls(SHARE_LIMITS[0], core, core)

    @classmethod
    def _two(cls, z: FloatArray, weight: FloatArray) -> Self:
        """Maximise the likelihood by expectation maximisation."""
        populations = cls._start(z, weight)
        for _ in range(MAX_ITERATIONS):
            core, wide = populations._log_parts(z)
            q = expit(wide - core)
            updated = cls._maximise(z, q, weight)
            settled = np.allclose(updated.flat, populations.flat, rtol=CONVERGED, atol=CONVERGED)
            populations = updated
            if settled:
                break
        return populations

    @property
    def flat(self) -> tuple[float, ...]:
        """All numbers in a row."""
        return (self.share, *self.core, *self.wide)

    @classmethod
    def _start(cls, z: FloatArray, weight: FloatArray) -> Self:
        """Put the anomalies on the side of the longer tail."""
        low, middle, high = weighted_quantiles(z, weight, (0.02, 0.5, 0.98))
        std = weighted_quantiles(np.abs(z - middle), weight, (0.5,))[0] / NORMAL_MAD or 1.0
        tail = high if high - middle > middle - low else low
        return cls(0.1, (middle, 0.8 * std), ((tail + middle) / 2, 2 * std))

    @classmethod
    def _maximise(cls, z: FloatArray, q: FloatArray, weight: FloatArray) -> Self:
        share = float(np.clip(np.average(q, weights=weight), *SHARE_LIMITS))
        core = _moments(z, weight * (1 - q))
        mean, std = _moments(z, weight * q)
        return cls(share, core, (mean, max(std, core[1])))

    def probability_of_anomaly(self, z: FloatArray) -> FloatArray:
        """Compute the posterior probability of the wider population or the background."""
        core, wide = self._log_parts(z)
        share, width = BACKGROUND
        background = np.log(share) + _log_normal(z, self.core[0], width * self.core[1])
        return expit(np.logaddexp(wide, background) - core)

    def log_likelihood(self, z: FloatArray) -> FloatArray:
        """Compute the logarithm of the density of each residual, up to a constant."""
        return np.logaddexp(*self._log_parts(z))

    def _log_parts(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        core = np.log1p(-self.share) + _log_normal(z, *self.core)
        return core, np.log(self.share) + _log_normal(z, *self.wide)


def _moments(z: FloatArray, weight: FloatArray) -> tuple[float, float]:
    """Mean and standard deviation, the latter kept from collapsing onto one sample."""
    total = weight.sum() or 1.0
    mean = float(weight @ z / total)
    return mean, max(float(np.sqrt(weight @ (z - mean) ** 2 / total)), 1e-3)


def _log_normal(z: FloatArray, mean: float, std: float) -> FloatArray:
    """Logarithm of the normal density, up to a constant."""
    return -0.5 * ((z - mean) / std) ** 2 - np.log(std)


def weighted_quantiles(
    values: FloatArray, weight: FloatArray, levels: tuple[float, ...]
) -> FloatArray:
    """Invert the weighted distribution function: weight 2 is a repeated value.

    Where a level falls between two values it is their mean, as for the usual median.
    """
    order = np.argsort(values)
    cumulative = np.cumsum(weight[order])
    at = np.asarray(levels) * cumulative[-1]
    below = np.searchsorted(cumulative, at, side="left")
    above = np.minimum(np.searchsorted(cumulative, at, side="right"), len(values) - 1)
    return (values[order[below]] + values[order[above]]) / 2
