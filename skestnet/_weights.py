"""Adaptive sample weights, section 2.3 of the paper: the maths on arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import _check_sample_weight

from skestnet._bias_scores import BIAS_SCORES, NORMAL_MAD, FirstStage, weighted_quantiles
from skestnet._density import kernel_bandwidth, label_density

FloatArray = NDArray[np.float64]
Control = Callable[[FloatArray], Any]

PHI1: dict[str, Control] = {"identity": lambda g: g, "sqrt": np.sqrt, "log1p": np.log1p}
PHI2: dict[str, Control] = {
    "linear": lambda beta: 1 - beta,
    "square": lambda beta: (1 - beta) ** 2,
    "step": lambda beta: (beta < 0.5).astype(np.float64),
}


def adaptive_weights(
    y: ArrayLike,
    y_pred: ArrayLike,
    *,
    train: tuple[ArrayLike | None, ...] | None = None,
    gamma: float = 0.0,
    bandwidth: float | str = "scott",
    bias_score: str = "minmax",
    phi1: str | Control = "identity",
    phi2: str | Control = "linear",
    sample_weight: ArrayLike | None = None,
    y_err: ArrayLike | None = None,
    snr: ArrayLike | None = None,
) -> FloatArray:
    """Weigh labels by how far a first fit is from them and by how common they are.

    ``s = gamma * phi1(g(y)) + (1 - gamma) * phi2(beta)`` (eq. 16), where ``beta`` in [0, 1] says
    how anomalous the residual ``y - y_pred`` is and ``g`` is the Gaussian kernel density of the
    training labels (eqs. 14, 15). The defaults are the paper's (eq. 17): ``beta`` is the absolute
    residual, scaled to [0, 1] over the training set (eqs. 12, 13), ``phi1(g) = g`` and
    ``phi2(beta) = 1 - beta``. With several labels the result is the mean of their weights.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Labels, standardised over the training set.
    y_pred : array-like of the shape of `y`
        What the first stage predicts for them, in the same units.
    train : tuple of array-like, default=None
        `y` and `y_pred` of the training set, where it is not `y` and `y_pred` themselves. Where
        `y_err` or `snr` is given, those of the training set are the third and the fourth.
    gamma : float, default=0.0
        Share of the label density, in [0, 1]. The paper's is 0 for the effective temperature
        and 0.1 for the surface gravity.
    bandwidth : float or {"scott", "silverman"}, default="scott"
        Standard deviation of the density's kernel, in standard deviations of the labels.
    bias_score : {"minmax", "mixture"}, default="minmax"
        How a residual becomes ``beta``:

        - "minmax" is the paper's. One extreme residual brings all other weights close to one.
        - "mixture" is the probability that the residual is an anomaly. The residuals, in units of
          their usual size at the same prediction and S/N, are taken for a mix of two normal
          populations, a core and a wider one with a mean of its own (Hogg, Bovy & Lang 2010), if
          the Bayesian information criterion prefers two to one.
    phi1 : {"identity", "sqrt", "log1p"} or callable, default="identity"
        Control function of the density. A callable maps an array of densities to one of the same
        shape, at least 0.
    phi2 : {"linear", "square", "step"} or callable, default="linear"
        Control function of ``beta``: ``1 - beta``, ``(1 - beta)**2``, or 1 below 0.5 and 0 from
        there on. A callable maps an array to one of the same shape, at least 0.
    sample_weight : array-like of shape (n_train,), default=None
        Weights of the training set. They count samples: weight 2 is a repeated sample (nearly so
        for "mixture", whose trees count rows), and the sum is the size of the set.
    y_err : array-like of the shape of `y`, default=None
        Standard errors of the labels, in the units of `y`. Residuals are then judged in units of
        the label's error and the first stage's own, added in quadrature.
    snr : array-like of shape (n_samples,), default=None
        Signal-to-noise ratios of the spectra, above 0, for "mixture": a residual that is large for
        a good spectrum may be usual for a poor one. "minmax" takes no notice of them.

    Returns
    -------
    ndarray of shape (n_samples,)
        Weights, at least 0. They are at most 1 for ``gamma=0`` and named control functions.

    Raises
    ------
    ValueError
        If shapes do not match, a parameter is out of its range, or a control function returns
        something else than numbers of at least 0.

    References
    ----------
    Xie et al. (2025), A&A 704, A37, eqs. 12-17. Hogg, Bovy & Lang (2010), arXiv:1008.4686,
    section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet import adaptive_weights
    >>> adaptive_weights([-1.0, 0.0, 1.0], [-1.0, 0.1, -1.0])
    array([1.  , 0.95, 0.  ])

    One extreme residual (the last) and another bad one (the first). Scaled by the extreme one, the
    other looks normal; as a member of a second population it does not:

    >>> y, y_pred = np.zeros(100), np.random.default_rng(0).normal(0, 0.1, 100)
    >>> y[[0, -1]] = 2, 50
    >>> adaptive_weights(y, y_pred)[[0, 1, -1]].round(2)
    array([0.96, 1.  , 0.  ])
    >>> adaptive_weights(y, y_pred, bias_score="mixture")[[0, 1, -1]].round(2)
    array([0., 1., 0.])
    """
    check_weight_params(gamma, bandwidth, bias_score, phi1, phi2)
    samples = _Samples.of(y, y_pred, y_err, snr)
    reference = samples if train is None else _train_samples(train)
    _check_same_kind(samples, reference)
    weight = _train_weight(sample_weight, len(reference.y))
    reference, weight = reference.rows(weight > 0), weight[weight > 0]
    error = _FitError.of(reference, weight)
    beta = BIAS_SCORES[bias_score](samples.judged(error), reference.judged(error), weight)
    weights = (1 - gamma) * _controlled(phi2, PHI2, beta, "phi2")
    if gamma > 0:
        density = _density_columns(samples.y, reference.y, bandwidth, weight)
        weights = weights + gamma * _controlled(phi1, PHI1, density, "phi1")
    return weights.mean(axis=1)


class _Samples(NamedTuple):
    """Labels, what the first stage made of them, and what else is known; columns are labels."""

    y: FloatArray
    y_pred: FloatArray
    y_err: FloatArray | None
    snr: FloatArray | None

    @classmethod
    def of(
        cls,
        y: ArrayLike | None,
        y_pred: ArrayLike | None,
        y_err: ArrayLike | None = None,
        snr: ArrayLike | None = None,
    ) -> Self:
        labels, predictions = np.asarray(y, np.float64), np.asarray(y_pred, np.float64)
        if labels.shape != predictions.shape or labels.ndim not in (1, 2) or not len(labels):
            raise ValueError(
                f"y has shape {labels.shape} and y_pred has shape {predictions.shape}: expected "
                "both to be (n_samples,) or both (n_samples, n_outputs), with a sample at least."
            )
        if not (np.isfinite(labels).all() and np.isfinite(predictions).all()):
            raise ValueError("y or y_pred holds NaN or infinite values: expected finite numbers.")
        return cls(
            columns(labels),
            columns(predictions),
            check_errors(y_err, labels.shape),
            check_snr(snr, len(labels)),
        )

    def rows(self, chosen: NDArray[np.bool_]) -> Self:
        """Return some of the samples."""
        known = [None if part is None else part[chosen] for part in (self.y_err, self.snr)]
        return type(self)(self.y[chosen], self.y_pred[chosen], *known)

    def judged(self, error: _FitError) -> FirstStage:
        """Return residuals in units of what they should be, given the labels' errors."""
        residual = self.y - self.y_pred
        if self.y_err is not None:
            residual = residual / error.total(self.y_err)
        return FirstStage(residual, self.y_pred, None if self.snr is None else np.log(self.snr))


class _FitError(NamedTuple):
    """The first stage's own error of each label; where there is none, the labels' smallest."""

    spread: FloatArray
    smallest: FloatArray

    @classmethod
    def of(cls, train: _Samples, weight: FloatArray) -> Self:
        """Estimate the spread of the residuals beyond what the labels' errors explain."""
        if train.y_err is None:
            return cls(np.zeros(train.y.shape[1]), np.ones(train.y.shape[1]))
        deviation = np.abs(train.y - train.y_pred)
        pairs = zip(deviation.T, train.y_err.T, strict=True)
        medians = [[weighted_quantiles(v, weight, (0.5,))[0] for v in pair] for pair in pairs]
        spread, error = np.array(medians).T * [[1 / NORMAL_MAD], [1.0]]
        # Where the errors explain all of the spread, or more, a tenth of it is kept as the fit's.
        spread = np.sqrt(np.maximum(spread**2 - error**2, (0.1 * spread) ** 2))
        smallest = train.y_err.min(axis=0, initial=1.0, where=train.y_err > 0)
        return cls(spread, np.where(spread > 0, 0.0, smallest))

    def total(self, y_err: FloatArray) -> FloatArray:
        """Add in quadrature; exact labels, exactly fitted, count as the most exact others."""
        return np.maximum(np.hypot(self.spread, y_err), self.smallest)


def _train_samples(train: tuple[ArrayLike | None, ...]) -> _Samples:
    if not 2 <= len(train) <= 4:
        raise ValueError(
            f"train has {len(train)} parts: expected y and y_pred, and then y_err and snr where "
            "they are given."
        )
    return _Samples.of(*train)


def columns(y: FloatArray) -> FloatArray:
    """Return labels with one column each."""
    return y.reshape(len(y), -1)


def _controlled(phi: str | Control, named: Mapping[str, Control], x: FloatArray, name: str) -> Any:
    """Apply a control function (eq. 16) and look at what it returns."""
    values = np.asarray((named[phi] if isinstance(phi, str) else phi)(x), dtype=np.float64)
    if values.shape != x.shape or not np.isfinite(values).all() or (values < 0).any():
        raise ValueError(
            f"{name} returned an array of shape {values.shape}, smallest value "
            f"{values.min() if values.size else None}, for one of shape {x.shape}: expected the "
            "same shape and finite numbers of at least 0."
        )
    return values


def _density_columns(
    y: FloatArray, y_train: FloatArray, bandwidth: float | str, weight: FloatArray
) -> FloatArray:
    h = kernel_bandwidth(bandwidth, weight.sum())
    pairs = zip(y.T, y_train.T, strict=True)
    return np.column_stack([label_density(column, train, h, weight) for column, train in pairs])


def check_weight_params(gamma: Any, bandwidth: Any, bias_score: Any, phi1: Any, phi2: Any) -> None:
    """Raise where a parameter of :func:`adaptive_weights` is out of its range."""
    if not (_is_number(gamma) and 0 <= gamma <= 1):
        raise ValueError(
            f"gamma={gamma!r}: expected a number in [0, 1], the share of the label density. The "
            "paper's is 0 for Teff and 0.1 for log g."
        )
    _check_bandwidth(bandwidth)
    if not (isinstance(bias_score, str) and bias_score in BIAS_SCORES):
        raise ValueError(f"bias_score={bias_score!r}: expected one of {sorted(BIAS_SCORES)}.")
    for name, phi, named in (("phi1", phi1, PHI1), ("phi2", phi2, PHI2)):
        if not (callable(phi) or (isinstance(phi, str) and phi in named)):
            raise ValueError(f"{name}={phi!r}: expected one of {sorted(named)} or a function.")


def _check_bandwidth(bandwidth: Any) -> None:
    if isinstance(bandwidth, str) and bandwidth in ("scott", "silverman"):
        return
    if not (_is_number(bandwidth) and 0 < bandwidth < np.inf):
        raise ValueError(
            f"bandwidth={bandwidth!r}: expected 'scott', 'silverman' or a positive number in "
            "standard deviations of the labels."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real)


def check_errors(y_err: ArrayLike | None, shape: tuple[int, ...]) -> FloatArray | None:
    """Return errors of labels of this shape with one column for each label, or None."""
    if y_err is None:
        return None
    errors = np.asarray(y_err, dtype=np.float64)
    if errors.shape != shape:
        raise ValueError(f"y_err has shape {errors.shape}: expected that of y, {shape}.")
    if not (np.isfinite(errors).all() and (errors >= 0).all()):
        raise ValueError(
            "y_err holds negative, NaN or infinite values: expected standard errors of at least 0, "
            "in the units of y. For a label of unknown error pass a typical one."
        )
    return columns(errors)


def check_snr(snr: ArrayLike | None, n_samples: int) -> FloatArray | None:
    """Return signal-to-noise ratios as an array, or None."""
    if snr is None:
        return None
    ratios = np.asarray(snr, dtype=np.float64)
    if ratios.shape != (n_samples,):
        raise ValueError(f"snr has shape {ratios.shape}: expected ({n_samples},), one a spectrum.")
    if not (np.isfinite(ratios).all() and (ratios > 0).all()):
        raise ValueError(
            "snr holds NaN, infinite values, or values that are not above 0: expected a positive "
            "number for each spectrum. Drop spectra without one (skestnet.spectra.usable_spectra)."
        )
    return ratios


def check_weight(sample_weight: ArrayLike | None, X: NDArray[Any]) -> FloatArray:
    """Return sample weights as an array, all at least 0 and one above it."""
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
    _check_signs(weight)
    return weight


def _check_signs(weight: FloatArray) -> None:
    if weight.min() < 0:
        raise ValueError(
            f"sample_weight holds negative values (smallest: {weight.min():.3g}): expected weights "
            "of at least 0. Drop samples by weight 0."
        )
    if not weight.any():
        raise ValueError("sample_weight is zero for every sample: expected one above 0 at least.")


def _train_weight(sample_weight: ArrayLike | None, n_train: int) -> FloatArray:
    if sample_weight is None:
        return np.ones(n_train)
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n_train,):
        raise ValueError(
            f"sample_weight has shape {weight.shape}: expected ({n_train},), one weight for each "
            "sample of the training set."
        )
    _check_signs(weight)
    return weight


def _check_same_kind(samples: _Samples, train: _Samples) -> None:
    if samples.y.shape[1] != train.y.shape[1]:
        raise ValueError(
            f"y has {samples.y.shape[1]} labels per sample and that of train {train.y.shape[1]}: "
            "expected the same number."
        )
    for name in ("y_err", "snr"):
        here, there = (getattr(part, name) is not None for part in (samples, train))
        if here != there:
            raise ValueError(
                f"{name} is known for {'these samples' if here else 'the training set'} only: pass "
                "it for both, or for neither."
            )
