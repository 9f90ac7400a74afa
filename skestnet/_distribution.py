"""PredictiveDistribution: one predictive distribution for each sample, vectorised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, ndtr, ndtri
from sklearn.utils import check_random_state

from skestnet._quantiles import draws_of_quantiles, even_normals
from skestnet._region import JointRegion

FloatArray = NDArray[np.float64]
Part = Literal["total", "epistemic", "aleatoric"]

BISECTIONS = 45
# Number of (row, component, component) triples worked on at once: they stay in the cache.
MAX_TRIPLES = 2**18


class PredictiveDistribution:
    """Predictive distributions of many samples: equally likely draws, each with a normal error.

    The distribution of a sample is the mixture ``1/T sum_t N(loc_t, scale_t**2)``. Monte Carlo
    dropout gives draws of scale zero; a normal distribution is a single draw with its standard
    deviation as scale. What scipy's frozen distributions can do too has the same name here, such
    as `ppf`, `interval` and `rvs`. Arrays have the samples first and, where there are several
    labels, the labels last. Most methods describe labels one by one; `covariance`, `region` and
    `rvs` describe them together. ``len(dist)`` is the number of samples, and ``dist[rows]`` selects
    some of them: by a slice, a mask or indices.

    The centres of the components differ by what the model does not know (epistemic uncertainty),
    their scales are the noise that remains for a given model (aleatoric uncertainty): `var` and
    `std` give both parts and their total.

    Parameters
    ----------
    loc : array-like of shape (n_samples, n_draws) or (n_samples, n_draws, n_outputs)
        Centres of the components.
    scale : array-like, default=0.0
        Standard deviation of each component, at least 0, broadcast to `loc`.
    correlation : array-like of shape (..., n_outputs, n_outputs), default=None
        Correlation of the labels within each component, broadcast to the components. None stands
        for labels whose errors are independent within a component.
    parts_known : bool, default=True
        Whether the spread of the components is epistemic and their own scale aleatoric. False for
        draws of the whole distribution, such as quantiles or calibrated ones: `var`, `std` and
        `covariance` then give the total only.

    Attributes
    ----------
    loc, scale : ndarray of the shape of the given `loc`
        The components.
    correlation : ndarray of shape (n_samples, n_draws, n_outputs, n_outputs) or None
        Their correlations.
    shape : tuple
        Shape of a prediction, (n_samples,) or (n_samples, n_outputs).

    Raises
    ------
    ValueError
        If `loc` has neither two nor three dimensions, a component is not finite or its scale
        negative, or `correlation` does not hold correlation matrices of the labels.

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

    Several samples, and one of them:

    >>> several = PredictiveDistribution([[8.0], [8.5], [9.0]], scale=0.1)
    >>> len(several), several[1].mean()
    (3, array([8.5]))

    Two labels whose errors are correlated:

    >>> joint = PredictiveDistribution([[[9000.0, 8.0]]], [500.0, 0.1], [[1, 0.6], [0.6, 1]])
    >>> joint.covariance()
    array([[[2.5e+05, 3.0e+01],
            [3.0e+01, 1.0e-02]]])
    >>> joint.region(0.68).contains([[9400.0, 8.1]])
    array([ True])
    """

    def __init__(
        self,
        loc: ArrayLike,
        scale: ArrayLike = 0.0,
        correlation: ArrayLike | None = None,
        parts_known: bool = True,
    ) -> None:
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
        self.correlation = _checked_correlation(correlation, self.loc.shape)
        self.parts_known = parts_known

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
        correlation = None if self.correlation is None else self.correlation[rows]
        return self._with(self.loc[rows], self.scale[rows], correlation)

    def __repr__(self) -> str:
        return f"PredictiveDistribution(shape={self.shape}, n_draws={self.n_draws})"

    @classmethod
    def from_quantiles(
        cls, values: ArrayLike, levels: ArrayLike, n_draws: int = 200
    ) -> PredictiveDistribution:
        """Describe distributions of which some quantiles are known.

        Between the known quantiles, and beyond the outermost ones, the quantile function is a
        straight line on normal probability paper. Quantiles that cross are sorted (Chernozhukov,
        Fernandez-Val and Galichon 2010).

        Parameters
        ----------
        values : array-like of shape (n_samples, n_levels) or (n_samples, n_levels, n_outputs)
            Quantiles.
        levels : array-like of shape (n_levels,)
            Their probabilities, increasing, in (0, 1); at least two.
        n_draws : int, default=200
            Number of evenly spaced quantiles that stand for the distribution.

        Returns
        -------
        PredictiveDistribution
            Draws of scale zero, sorted.

        Raises
        ------
        ValueError
            If `levels` are not at least two increasing probabilities, or do not match `values`.

        References
        ----------
        Chernozhukov, Fernandez-Val and Galichon (2010), Econometrica 78, 1093.

        Examples
        --------
        >>> from skestnet import PredictiveDistribution
        >>> dist = PredictiveDistribution.from_quantiles([[7.9, 8.0, 8.2]], [0.16, 0.5, 0.84])
        >>> dist.ppf(0.84).round(2)
        array([8.2])
        """
        return cls(draws_of_quantiles(values, levels, n_draws), parts_known=False)

    @classmethod
    def mixture(cls, distributions: Sequence[PredictiveDistribution]) -> PredictiveDistribution:
        """Mix distributions of the same samples, each with the same weight, as ensembles do.

        Parameters
        ----------
        distributions : sequence of PredictiveDistribution
            Distributions of the same shape; numbers of draws may differ.

        Returns
        -------
        PredictiveDistribution
            The mixtures. How far the members' means differ is part of the epistemic variance.

        Raises
        ------
        ValueError
            If there are none, or their shapes differ.
        """
        members = list(distributions)
        shapes = sorted({member.shape for member in members})
        if len(shapes) != 1:
            raise ValueError(f"distributions of shapes {shapes}: expected some, of one shape.")
        # Components are equally likely: members with fewer of them repeat theirs.
        n_draws = math.lcm(*(member.n_draws for member in members))
        repeated = [member._repeat(n_draws // member.n_draws) for member in members]
        return cls._join(repeated, axis=1)

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

        Raises
        ------
        ValueError
            If there is one label only.
        IndexError
            If there is no such label.
        """
        if self.loc.ndim == 2:
            raise ValueError("The distribution has one label only: there is no output to select.")
        n_outputs = self.loc.shape[2]
        if not isinstance(k, Integral) or not -n_outputs <= k < n_outputs:
            raise IndexError(
                f"k={k!r}: expected the position of a label, an integer. Choose from 0 to "
                f"{n_outputs - 1}."
            )
        return self._with(self.loc[..., k], self.scale[..., k])

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
        correlation = self.correlation
        if correlation is not None:
            sign = np.broadcast_to(np.where(factor < 0, -1.0, 1.0), self.loc.shape[-1:])
            correlation = correlation * np.outer(sign, sign)
        return self._with(self.loc * factor + offset, self.scale * np.abs(factor), correlation)

    def mean(self) -> FloatArray:
        """Compute means (eq. 20).

        Returns
        -------
        ndarray of shape `shape`
            Means.
        """
        return self.loc.mean(axis=1)

    def median(self) -> FloatArray:
        """Compute medians.

        Returns
        -------
        ndarray of shape `shape`
            Medians, ``ppf(0.5)``.
        """
        return self.ppf(0.5)

    def var(self, part: Part = "total") -> FloatArray:
        """Compute variances (eq. 21): of the draws, over T - 1, plus the components' own.

        Parameters
        ----------
        part : {"total", "epistemic", "aleatoric"}, default="total"
            "epistemic" is the variance of the components' centres, "aleatoric" the mean of their
            own variances, and the total their sum.

        Returns
        -------
        ndarray of shape `shape`
            Variances.

        Raises
        ------
        ValueError
            If `part` is none of the three, or the parts are not known.
        """
        if part not in ("total", "epistemic", "aleatoric"):
            raise ValueError(f"part={part!r}: expected 'total', 'epistemic' or 'aleatoric'.")
        if part != "total" and not self.parts_known:
            raise ValueError(
                f"part={part!r}: these are draws of the whole distribution (quantiles, calibrated "
                "or transformed ones), which do not tell its parts apart. Ask the regressor "
                "inside, or for part='total'."
            )
        within = (self.scale**2).mean(axis=1)
        if part == "aleatoric":
            return within
        between = self._between()
        return between if part == "epistemic" else between + within

    def std(self, part: Part = "total") -> FloatArray:
        """Compute standard deviations.

        Parameters
        ----------
        part : {"total", "epistemic", "aleatoric"}, default="total"
            What they are of, as in `var`; the squares of the two parts add up to that of the total.

        Returns
        -------
        ndarray of shape `shape`
            Standard deviations.

        Raises
        ------
        ValueError
            If `part` is none of the three, or the parts are not known.
        """
        return np.sqrt(self.var(part))

    def covariance(self, part: Part = "total") -> FloatArray:
        """Compute the covariances of the labels.

        Parameters
        ----------
        part : {"total", "epistemic", "aleatoric"}, default="total"
            What they are of, as in `var`.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs, n_outputs)
            Covariance matrices; on their diagonals are the variances.

        Raises
        ------
        ValueError
            If `part` is none of the three, or the parts are not known.
        """
        loc, scale = self._split(self.loc), self._split(self.scale)
        covariance = _diagonal(self._flat(self.var(part)))
        off = ~np.eye(loc.shape[2], dtype=bool)
        if part != "aleatoric" and self.n_draws > 1:
            centred = np.where(_all_equal(loc), 0.0, loc - loc.mean(axis=1, keepdims=True))
            between = np.einsum("ntj,ntk->njk", centred, centred) / (self.n_draws - 1)
            covariance += between * off
        if part != "epistemic" and self.correlation is not None:
            within = np.einsum("ntj,ntk,ntjk->njk", scale, scale, self.correlation)
            covariance += within * off / self.n_draws
        return covariance

    def region(self, confidence: float = 0.68) -> JointRegion:
        """Compute the joint region of all labels: an ellipse, or an ellipsoid of more than two.

        Its centre and shape are the mean and the covariance. Its size is such that the
        distribution, which need not be normal, has the probability `confidence` inside.

        Parameters
        ----------
        confidence : float, default=0.68
            Probability inside, in (0, 1).

        Returns
        -------
        JointRegion
            One region for each sample.

        Raises
        ------
        ValueError
            If `confidence` is not in (0, 1), or a label has no spread.
        """
        _check_single("confidence", confidence)
        if not 0 < confidence < 1:
            raise ValueError(f"confidence={confidence!r}: expected a probability, such as 0.68.")
        draws = self if self._is_draws() else self.as_draws()
        points = draws._split(draws.loc)
        return JointRegion.around(self._flat(self.mean()), self.covariance(), points, confidence)

    def as_draws(self, n_draws: int = 1000) -> PredictiveDistribution:
        """Replace components by draws of scale zero, evenly spread and not random.

        For what takes draws only, such as a transformation that bends. What is epistemic and what
        aleatoric can no longer be told.

        Parameters
        ----------
        n_draws : int, default=1000
            Number of draws, rounded up to a multiple of the number of components.

        Returns
        -------
        PredictiveDistribution
            Draws, the same quasi-random points of the components for each sample.
        """
        per_component = -(-n_draws // self.n_draws)
        n_outputs = self._flat(self.mean()).shape[1]
        # A component's points follow each other, and are as evenly spread as all of them.
        normal = even_normals(per_component * self.n_draws, n_outputs)
        normal = normal.reshape(1, self.n_draws, per_component, n_outputs).swapaxes(1, 2)
        loc, scale = (self._split(x)[:, np.newaxis] for x in (self.loc, self.scale))
        draws = loc + scale * self._correlated(normal, np.s_[:, np.newaxis])
        shape = (len(self), draws.shape[1] * draws.shape[2], *self.loc.shape[2:])
        return PredictiveDistribution(draws.reshape(shape), parts_known=False)

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
            If `q` is not one number in [0, 1].
        """
        _check_single("q", q)
        if not 0 <= q <= 1:
            raise ValueError(f"q={q!r}: expected a probability in [0, 1].")
        of_draws = np.quantile(self.loc, q, axis=1)
        if self._is_draws():
            return of_draws
        smooth = np.inf * (2 * q - 1) if q in (0, 1) else self._bisect(q)
        return np.where(self.scale.any(axis=1), smooth, of_draws)

    def interval(self, confidence: float = 0.68) -> tuple[FloatArray, FloatArray]:
        """Compute central intervals.

        Parameters
        ----------
        confidence : float, default=0.68
            Probability inside, in [0, 1]; one number.

        Returns
        -------
        low, high : ndarray of shape `shape`
            Bounds; equally much probability lies below `low` as above `high`.

        Raises
        ------
        ValueError
            If `confidence` is not one number in [0, 1].
        """
        _check_single("confidence", confidence)
        if not 0 <= confidence <= 1:
            raise ValueError(f"confidence={confidence!r}: expected a probability, such as 0.68.")
        return self.ppf((1 - confidence) / 2), self.ppf((1 + confidence) / 2)

    def rvs(self, size: int = 1, random_state: Any = None) -> FloatArray:
        """Draw random values; those of several labels are drawn together.

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

        Raises
        ------
        ValueError
            If `size` is not an integer of at least 0.
        """
        if not isinstance(size, Integral) or size < 0:
            raise ValueError(
                f"size={size!r}: expected an integer, the number of values for each of the "
                f"{len(self)} samples. For other shapes, reshape the result."
            )
        rng = check_random_state(random_state)
        component = rng.randint(self.n_draws, size=(len(self), size))
        rows = np.arange(len(self))[:, None]
        loc, scale = self.loc[rows, component], self.scale[rows, component]
        normal = self._correlated(rng.standard_normal(loc.shape), np.s_[rows, component])
        return loc + scale * normal

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
        if self._is_draws():
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

    @classmethod
    def _join(cls, members: Sequence[PredictiveDistribution], axis: int) -> PredictiveDistribution:
        """Put samples (axis 0) or components (axis 1) of several distributions side by side."""
        loc, scale = (
            np.concatenate([getattr(member, name) for member in members], axis=axis)
            for name in ("loc", "scale")
        )
        known = all(member.parts_known for member in members)
        if all(member.correlation is None for member in members):
            return cls(loc, scale, parts_known=known)
        correlation = np.concatenate([member._own_correlation() for member in members], axis=axis)
        return cls(loc, scale, correlation, known)

    def _repeat(self, times: int) -> PredictiveDistribution:
        if times == 1:
            return self
        correlation = self.correlation
        if correlation is not None:
            correlation = np.repeat(correlation, times, axis=1)
        loc, scale = (np.repeat(array, times, axis=1) for array in (self.loc, self.scale))
        return self._with(loc, scale, correlation)

    def _with(
        self, loc: FloatArray, scale: FloatArray, correlation: FloatArray | None = None
    ) -> PredictiveDistribution:
        """Return other components of the same kind."""
        return PredictiveDistribution(loc, scale, correlation, self.parts_known)

    def _own_correlation(self) -> FloatArray:
        if self.correlation is not None:
            return self.correlation
        n_outputs = self.loc.shape[2]
        return np.broadcast_to(np.eye(n_outputs), (*self.loc.shape, n_outputs))

    def _between(self) -> FloatArray:
        """Compute the variance of the components' centres: 0 where equal, without rounding."""
        equal = _all_equal(self.loc)[:, 0]
        return np.where(equal, 0.0, self.loc.var(axis=1, ddof=min(1, self.n_draws - 1)))

    def _is_draws(self) -> bool:
        return not self.scale.any()

    def _flat(self, values: FloatArray) -> FloatArray:
        """Bring one value for each sample and label to two dimensions."""
        return values.reshape(len(self), math.prod(self.shape[1:]))

    def _split(self, components: FloatArray) -> FloatArray:
        """Bring components to three dimensions, also where there is one label."""
        return components.reshape(len(self), self.n_draws, math.prod(self.shape[1:]))

    def _correlated(self, normal: FloatArray, components: Any) -> FloatArray:
        """Correlate standard normal values of some components."""
        if self.correlation is None:
            return normal
        factor = _cholesky(self.correlation)[components]
        return np.einsum("...jk,...k->...j", factor, normal)

    def _kernel_width(self) -> FloatArray:
        """Return Scott's bandwidth for components without an error of their own, 0 for others."""
        scott = np.expand_dims(np.sqrt(self._between()), 1) * self.n_draws**-0.2
        return np.where(self.scale > 0, 0.0, scott)

    def _bisect(self, q: float) -> FloatArray:
        # A quantile of a mixture lies among those of its components.
        of_components = self.loc + self.scale * ndtri(q)
        low, high = of_components.min(axis=1), of_components.max(axis=1)
        if self.n_draws == 1:
            return low
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            below = self.cdf(middle) < q
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return 0.5 * (low + high)

    def _mean_abs_difference_of_mixture(self) -> FloatArray:
        rows = max(1, MAX_TRIPLES // (self.n_draws**2 * int(np.prod(self.shape[1:]))))
        blocks = (slice(i, i + rows) for i in range(0, len(self), rows))
        return np.concatenate([_pairwise(self.loc[block], self.scale[block]) for block in blocks])


def _check_single(name: str, probability: Any) -> None:
    if np.ndim(probability):
        raise ValueError(
            f"{name}={probability!r}: expected one probability at a time. Loop over several."
        )


def _all_equal(loc: FloatArray) -> NDArray[np.bool_]:
    return (loc == loc[:, :1]).all(axis=1, keepdims=True)


def _checked_correlation(
    correlation: ArrayLike | None, shape: tuple[int, ...]
) -> FloatArray | None:
    if correlation is None:
        return None
    given = np.asarray(correlation, dtype=np.float64)
    if len(shape) == 2:
        raise ValueError("correlation was given, but loc has one label: expected None.")
    n_outputs = shape[2]
    if given.ndim < 2 or given.shape[-2:] != (n_outputs, n_outputs):
        raise ValueError(
            f"correlation has shape {given.shape}: expected (..., {n_outputs}, {n_outputs}), one "
            "matrix for all components, or something that broadcasts to them."
        )
    diagonal = np.diagonal(given, axis1=-2, axis2=-1)
    symmetric = np.allclose(given, np.swapaxes(given, -1, -2))
    if not (np.allclose(diagonal, 1) and symmetric and (np.abs(given) <= 1 + 1e-9).all()):
        raise ValueError(
            "correlation holds matrices that are no correlations: expected symmetric ones with 1 "
            "on the diagonal and values between -1 and 1."
        )
    return np.broadcast_to(given, (*shape, n_outputs))


def _cholesky(correlation: FloatArray) -> FloatArray:
    try:
        # A correlation of one exactly is allowed; the tiny addition lets it have a factor.
        regular = correlation + 1e-12 * np.eye(correlation.shape[-1])
        return np.asarray(np.linalg.cholesky(regular), dtype=np.float64)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            "correlation holds matrices that are no correlations: they are not positive definite."
        ) from error


def _diagonal(variance: FloatArray) -> FloatArray:
    return variance[..., np.newaxis] * np.eye(variance.shape[-1])


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
    """Compute the mean of E|Y - Y'| over all pairs of components; each pair of two counts twice."""
    n_draws = loc.shape[1]
    one, other = np.triu_indices(n_draws, 1)
    spread = np.hypot(scale[:, one], scale[:, other])
    unlike = _mean_abs_normal(loc[:, one] - loc[:, other], spread).sum(axis=1)
    like = (2 / np.sqrt(np.pi)) * scale.sum(axis=1)  # E|Y - Y'| of two from one component
    return (2 * unlike + like) / n_draws**2
