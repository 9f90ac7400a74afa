"""PredictiveDistribution: one predictive distribution for each sample, vectorised."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, ndtr
from sklearn.utils import check_random_state

FloatArray = NDArray[np.float64]

BISECTIONS = 60
# Largest number of (row, component, component) triples held in memory at once.
MAX_TRIPLES = 2**24


class PredictiveDistribution:
    """Predictive distributions of many samples: equally likely draws, each with a normal error.

    The distribution of a sample is the mixture ``1/T sum_t N(loc_t, scale_t**2)``. Monte Carlo
    dropout gives draws of scale zero; a normal distribution is a single draw with its standard
    deviation as scale. Method names are those of scipy's frozen distributions. Arrays have the
    samples first and, where there are several labels, the labels last; labels are described one
    by one (their draws stay paired in `rvs` and `loc`).

    Parameters
    ----------
    loc : array-like of shape (n_samples, n_draws) or (n_samples, n_draws, n_outputs)
        Centres of the components.
    scale : array-like, default=0.0
        Standard deviation of each component, at least 0, broadcast to `loc`.

    Attributes
    ----------
    loc, scale : ndarray of the shape of the given `loc`
        The components.
    shape : tuple
        Shape of a prediction, (n_samples,) or (n_samples, n_outputs).

    Raises
    ------
    ValueError
        If `loc` has neither two nor three dimensions, or a component is not finite or its scale
        negative.

    Examples
    --------
    >>> from skestnet import PredictiveDistribution
    >>> dist = PredictiveDistribution([[9000.0, 10000.0, 11000.0]])
    >>> dist.mean(), dist.std()
    (array([10000.]), array([1000.]))
    >>> dist.interval(0.5)
    (array([9500.]), array([10500.]))
    >>> normal = PredictiveDistribution([[8.0]], scale=0.1)
    >>> normal.ppf(0.975).round(3)
    array([8.196])
    """

    def __init__(self, loc: ArrayLike, scale: ArrayLike = 0.0) -> None:
        self.loc = np.asarray(loc, dtype=np.float64)
        if self.loc.ndim not in (2, 3) or self.loc.shape[1] == 0:
            raise ValueError(
                f"loc has shape {self.loc.shape}: expected (n_samples, n_draws) or (n_samples, "
                "n_draws, n_outputs) with a draw at least. For one normal distribution per sample, "
                "pass loc[:, None] and scale[:, None]."
            )
        self.scale = np.broadcast_to(np.asarray(scale, dtype=np.float64), self.loc.shape)
        if not (np.isfinite(self.loc).all() and np.isfinite(self.scale).all()):
            raise ValueError("loc or scale holds NaN or infinite values: expected finite numbers.")
        if (self.scale < 0).any():
            raise ValueError(f"scale holds {self.scale.min():.3g}: expected values of at least 0.")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a prediction: samples, and labels where there are several."""
        return self.loc.shape[:1] + self.loc.shape[2:]

    @property
    def n_draws(self) -> int:
        """Number of components of each mixture."""
        return self.loc.shape[1]

    def __len__(self) -> int:
        return len(self.loc)

    def __getitem__(self, rows: Any) -> PredictiveDistribution:
        """Select samples by a slice, a mask or an array of indices; an integer keeps one row."""
        if isinstance(rows, int | np.integer):
            rows = [range(len(self))[rows]]
        if isinstance(rows, tuple):
            raise TypeError(
                "Only samples can be selected: use dist[rows], and output(k) for a label."
            )
        return PredictiveDistribution(self.loc[rows], self.scale[rows])

    def __repr__(self) -> str:
        return f"PredictiveDistribution(shape={self.shape}, n_draws={self.n_draws})"

    def output(self, k: int) -> PredictiveDistribution:
        """Select a label.

        Parameters
        ----------
        k : int
            Its position.

        Returns
        -------
        PredictiveDistribution
            The marginal distributions of this label, of shape (n_samples,).
        """
        if self.loc.ndim == 2:
            raise ValueError("The distribution has one label only: there is no output to select.")
        return PredictiveDistribution(self.loc[..., k], self.scale[..., k])

    def rescale(self, factor: ArrayLike = 1.0, offset: ArrayLike = 0.0) -> PredictiveDistribution:
        """Return the distribution of ``factor * y + offset``.

        Parameters
        ----------
        factor, offset : array-like, default=1.0 and 0.0
            Numbers, or one for each label.

        Returns
        -------
        PredictiveDistribution
            The transformed distributions.
        """
        factor = np.asarray(factor, dtype=np.float64)
        return PredictiveDistribution(self.loc * factor + offset, self.scale * np.abs(factor))

    def mean(self) -> FloatArray:
        """Compute means (eq. 20).

        Returns
        -------
        ndarray of shape `shape`
            Means.
        """
        return self.loc.mean(axis=1)

    def var(self) -> FloatArray:
        """Compute variances (eq. 21): of the draws, over T - 1, plus the components' own.

        Returns
        -------
        ndarray of shape `shape`
            Variances.
        """
        within = (self.scale**2).mean(axis=1)
        if self.n_draws == 1:
            return within
        return self.loc.var(axis=1, ddof=1) + within

    def std(self) -> FloatArray:
        """Compute standard deviations.

        Returns
        -------
        ndarray of shape `shape`
            Standard deviations.
        """
        return np.sqrt(self.var())

    def cdf(self, y: ArrayLike) -> FloatArray:
        """Compute the probability of values up to `y`.

        Parameters
        ----------
        y : array-like
            Values, broadcast to `shape`.

        Returns
        -------
        ndarray of shape `shape`
            Probabilities.
        """
        return _component_cdf(self._expand(y), self.loc, self.scale).mean(axis=1)

    def logpdf(self, y: ArrayLike) -> FloatArray:
        """Compute the logarithm of the density.

        Draws without an error of their own have no density: a Gaussian kernel with Scott's
        bandwidth then smooths each sample's draws. Where they have no spread either, the result is
        infinite.

        Parameters
        ----------
        y : array-like
            Values, broadcast to `shape`.

        Returns
        -------
        ndarray of shape `shape`
            Natural logarithms of densities.
        """
        scale = np.sqrt(self.scale**2 + self._kernel_width() ** 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (self._expand(y) - self.loc) / scale
            # 0 / 0: a value that meets a draw without any spread.
            z = np.where(np.isnan(z), 0.0, z)
            log_density = -0.5 * z**2 - np.log(scale) - 0.5 * np.log(2 * np.pi)
        log_density = np.where(np.isinf(z), -np.inf, log_density)
        return logsumexp(log_density, axis=1) - np.log(self.n_draws)

    def ppf(self, q: float) -> FloatArray:
        """Compute quantiles.

        Parameters
        ----------
        q : float
            Probability, in [0, 1]; one number.

        Returns
        -------
        ndarray of shape `shape`
            Quantiles; of draws without an error of their own those of :func:`numpy.quantile`.

        Raises
        ------
        ValueError
            If `q` is not in [0, 1].
        """
        if not 0 <= q <= 1:
            raise ValueError(f"q={q!r}: expected a probability in [0, 1].")
        of_draws = np.quantile(self.loc, q, axis=1)
        if not self.scale.any():
            return of_draws
        smooth = np.inf * (2 * q - 1) if q in (0, 1) else self._bisect(q)
        return np.where(self.scale.any(axis=1), smooth, of_draws)

    def interval(self, confidence: float = 0.68) -> tuple[FloatArray, FloatArray]:
        """Compute central intervals.

        Parameters
        ----------
        confidence : float, default=0.68
            Probability inside, in [0, 1].

        Returns
        -------
        low, high : ndarray of shape `shape`
            Bounds; equally much probability lies below `low` as above `high`.

        Raises
        ------
        ValueError
            If `confidence` is not in [0, 1].
        """
        if not 0 <= confidence <= 1:
            raise ValueError(f"confidence={confidence!r}: expected a probability, such as 0.68.")
        return self.ppf((1 - confidence) / 2), self.ppf((1 + confidence) / 2)

    def rvs(self, size: int = 1, random_state: Any = None) -> FloatArray:
        """Draw random values; those of several labels come from the same component.

        Parameters
        ----------
        size : int, default=1
            Number of values for each sample.
        random_state : int, RandomState instance or None, default=None
            Seed.

        Returns
        -------
        ndarray of shape (n_samples, size) or (n_samples, size, n_outputs)
            Random values.
        """
        rng = check_random_state(random_state)
        component = rng.randint(self.n_draws, size=(len(self), size))
        rows = np.arange(len(self))[:, None]
        loc, scale = self.loc[rows, component], self.scale[rows, component]
        return loc + scale * rng.standard_normal(loc.shape)

    def crps(self, y: ArrayLike) -> FloatArray:
        """Compute continuous ranked probability scores, in the units of `y`; less is better.

        ``E|Y - y| - E|Y - Y'| / 2`` over independent `Y`, `Y'` from the distribution, in closed
        form (Grimit et al. 2006 for mixtures of normal distributions).

        Parameters
        ----------
        y : array-like
            True values, broadcast to `shape`.

        Returns
        -------
        ndarray of shape `shape`
            Scores, at least 0.

        References
        ----------
        Gneiting and Raftery (2007), J. Am. Stat. Assoc. 102, 359. Grimit et al. (2006), Q. J. R.
        Meteorol. Soc. 132, 2925.
        """
        to_truth = _mean_abs_normal(self._expand(y) - self.loc, self.scale).mean(axis=1)
        if not self.scale.any():
            return to_truth - 0.5 * _mean_abs_difference(self.loc)
        return to_truth - 0.5 * self._mean_abs_difference_of_mixture()

    def _expand(self, y: ArrayLike) -> FloatArray:
        values = np.asarray(y, dtype=np.float64)
        try:
            return np.expand_dims(np.broadcast_to(values, self.shape), 1)
        except ValueError as error:
            raise ValueError(
                f"y has shape {values.shape}: expected one that broadcasts to {self.shape}."
            ) from error

    def _kernel_width(self) -> FloatArray:
        """Return Scott's bandwidth where all components of a sample are without error, else 0."""
        if self.n_draws == 1:
            return np.zeros_like(self.loc)
        scott = self.loc.std(axis=1, ddof=1, keepdims=True) * self.n_draws**-0.2
        return np.where(self.scale.any(axis=1, keepdims=True), 0.0, scott)

    def _bisect(self, q: float) -> FloatArray:
        low = (self.loc - 40 * self.scale).min(axis=1)
        high = (self.loc + 40 * self.scale).max(axis=1)
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            below = self.cdf(middle) < q
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return 0.5 * (low + high)

    def _mean_abs_difference_of_mixture(self) -> FloatArray:
        rows = max(1, MAX_TRIPLES // (self.n_draws**2 * int(np.prod(self.shape[1:]))))
        blocks = (slice(i, i + rows) for i in range(0, len(self), rows))
        return np.concatenate([_pairwise(self.loc[block], self.scale[block]) for block in blocks])


def _component_cdf(y: FloatArray, loc: FloatArray, scale: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        smooth = ndtr((y - loc) / scale)
    return np.where(scale > 0, smooth, y >= loc)


def _mean_abs_normal(mean: FloatArray, std: FloatArray) -> FloatArray:
    """Compute E|Z| for normal Z."""
    with np.errstate(divide="ignore", invalid="ignore"):
        z = mean / std
        density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
        smooth = mean * (2 * ndtr(z) - 1) + 2 * std * density
    return np.where(std > 0, smooth, np.abs(mean))


def _mean_abs_difference(draws: FloatArray) -> FloatArray:
    """Compute the mean of |a - b| over all pairs of draws, by sorting."""
    n_draws = draws.shape[1]
    rank = 2 * np.arange(1, n_draws + 1) - n_draws - 1
    return 2 * np.tensordot(np.sort(draws, axis=1), rank, axes=(1, 0)) / n_draws**2


def _pairwise(loc: FloatArray, scale: FloatArray) -> FloatArray:
    difference = loc[:, :, None] - loc[:, None]
    spread = np.sqrt(scale[:, :, None] ** 2 + scale[:, None] ** 2)
    return _mean_abs_normal(difference, spread).mean(axis=(1, 2))
