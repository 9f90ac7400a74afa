"""Adaptive sample weights, section 2.3 of the paper: the maths, and its scikit-learn face."""

from __future__ import annotations

from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.multioutput import MultiOutputRegressor
from sklearn.utils import TransformerTags
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from skestnet._labels import LabelScale

FloatArray = NDArray[np.float64]

# Above this many pairs of labels the exact kernel sum gives way to a histogram.
MAX_EXACT_PAIRS = 2**24
BINS_PER_BANDWIDTH = 20


def adaptive_weights(
    y: ArrayLike,
    y_pred: ArrayLike,
    *,
    train: tuple[ArrayLike, ArrayLike] | None = None,
    gamma: float = 0.0,
    bandwidth: float | str = "scott",
    sample_weight: ArrayLike | None = None,
) -> FloatArray:
    """Weigh labels by how far a first fit is from them and by how common they are.

    ``s = gamma * g(y) + (1 - gamma) * (1 - beta)`` (eq. 17), where ``beta`` is the absolute
    residual, scaled to [0, 1] over the training set (eqs. 12, 13), and ``g`` the Gaussian kernel
    density of the training labels (eqs. 14, 15). Residuals beyond those of the training set get
    the bias score of the nearest one. With several labels the result is the mean of their weights.
    The control functions of eq. 16 are fixed to those of eq. 17, as in the paper's experiments.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Labels, standardised over the training set.
    y_pred : array-like of the shape of `y`
        What the first stage predicts for them, in the same units.
    train : tuple of two array-like, default=None
        `y` and `y_pred` of the training set, where it is not `y` and `y_pred` themselves.
    gamma : float, default=0.0
        Share of the label density, in [0, 1]. The paper's is 0 for the effective temperature
        and 0.1 for the surface gravity.
    bandwidth : float or {"scott", "silverman"}, default="scott"
        Standard deviation of the density's kernel, in standard deviations of the labels.
    sample_weight : array-like of shape (n_train,), default=None
        Weights of the training set in the density: weight 2 is a repeated sample.

    Returns
    -------
    ndarray of shape (n_samples,)
        Weights, at least 0. They are at most 1 for ``gamma=0``.

    Raises
    ------
    ValueError
        If shapes do not match, or `gamma` or `bandwidth` is out of its range.

    References
    ----------
    Xie et al. (2025), A&A 704, A37, eqs. 12-17.

    Examples
    --------
    >>> from skestnet import adaptive_weights
    >>> adaptive_weights([-1.0, 0.0, 1.0], [-1.0, 0.1, -1.0])
    array([1.  , 0.95, 0.  ])
    """
    check_gamma(gamma)
    check_bandwidth(bandwidth)
    labels, predictions = _pair_of_columns(y, y_pred)
    reference = (labels, predictions) if train is None else _pair_of_columns(*train)
    train_labels, train_predictions = reference
    density_weight = _density_weight(sample_weight, len(train_labels))
    alpha_train = np.abs(train_labels - train_predictions)[density_weight > 0]  # eq. 12
    beta = _bias_score(np.abs(labels - predictions), alpha_train)
    weights = (1 - gamma) * (1 - beta)
    if gamma > 0:
        weights += gamma * _density_columns(labels, train_labels, bandwidth, density_weight)
    return weights.mean(axis=1)


def _pair_of_columns(y: ArrayLike, y_pred: ArrayLike) -> tuple[FloatArray, FloatArray]:
    labels, predictions = np.asarray(y, dtype=np.float64), np.asarray(y_pred, dtype=np.float64)
    if labels.shape != predictions.shape or labels.ndim not in (1, 2) or not len(labels):
        raise ValueError(
            f"y has shape {labels.shape} and y_pred has shape {predictions.shape}: expected both "
            "to be (n_samples,) or both (n_samples, n_outputs), with a sample at least."
        )
    if not (np.isfinite(labels).all() and np.isfinite(predictions).all()):
        raise ValueError("y or y_pred holds NaN or infinite values: expected finite numbers.")
    return _columns(labels), _columns(predictions)


def _columns(y: FloatArray) -> FloatArray:
    return y.reshape(len(y), -1)


def _density_weight(sample_weight: ArrayLike | None, n_train: int) -> FloatArray:
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


def _bias_score(alpha: FloatArray, alpha_train: FloatArray) -> FloatArray:
    """Scale residuals to [0, 1] over the training set (eq. 13); equal residuals score 0."""
    low, high = alpha_train.min(axis=0), alpha_train.max(axis=0)
    return np.clip((alpha - low) / np.where(high > low, high - low, 1.0), 0.0, 1.0)


def _density_columns(
    y: FloatArray, y_train: FloatArray, bandwidth: float | str, weight: FloatArray
) -> FloatArray:
    h = kernel_bandwidth(bandwidth, weight.sum())
    pairs = zip(y.T, y_train.T, strict=True)
    return np.column_stack([label_density(column, train, h, weight) for column, train in pairs])


def _is_number(value: Any) -> bool:
    return isinstance(value, Real)


def check_gamma(gamma: Any) -> None:
    """Raise where `gamma` is not a share."""
    if not (_is_number(gamma) and 0 <= gamma <= 1):
        raise ValueError(
            f"gamma={gamma!r}: expected a number in [0, 1], the share of the label density. The "
            "paper's is 0 for Teff and 0.1 for log g."
        )


def check_bandwidth(bandwidth: Any) -> None:
    """Raise where `bandwidth` is neither the name of a rule nor positive and finite."""
    if isinstance(bandwidth, str) and bandwidth in ("scott", "silverman"):
        return
    if not (_is_number(bandwidth) and 0 < bandwidth < np.inf):
        raise ValueError(
            f"bandwidth={bandwidth!r}: expected 'scott', 'silverman' or a positive number in "
            "standard deviations of the labels."
        )


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


def kernel_bandwidth(bandwidth: float | str, n_samples: float) -> float:
    """Resolve a bandwidth for standardised labels: a number, Scott's or Silverman's rule."""
    if bandwidth == "scott":
        return float(n_samples) ** -0.2
    if bandwidth == "silverman":
        return (0.75 * float(n_samples)) ** -0.2
    return float(bandwidth)


def label_density(
    y: FloatArray, y_train: FloatArray, bandwidth: float, weight: FloatArray
) -> FloatArray:
    """Evaluate the kernel density of `y_train` at `y` (eqs. 14, 15), binned for large sets."""
    if len(y) * len(y_train) <= MAX_EXACT_PAIRS:
        return _exact_density(y, y_train, bandwidth, weight)
    return _binned_density(y, y_train, bandwidth, weight)


def _exact_density(
    y: FloatArray, y_train: FloatArray, bandwidth: float, weight: FloatArray
) -> FloatArray:
    kernel = np.exp(-0.5 * ((y[:, None] - y_train) / bandwidth) ** 2) / np.sqrt(2 * np.pi)
    return kernel @ weight / (bandwidth * weight.sum())


def _binned_density(
    y: FloatArray, y_train: FloatArray, bandwidth: float, weight: FloatArray
) -> FloatArray:
    """Smooth a fine histogram of the labels: linear in their number."""
    from scipy.ndimage import gaussian_filter1d

    margin = 5 * bandwidth
    step = bandwidth / BINS_PER_BANDWIDTH
    edges = np.arange(y_train.min() - margin, y_train.max() + margin + step, step)
    counts, _ = np.histogram(y_train, edges, weights=weight)
    density = gaussian_filter1d(counts, BINS_PER_BANDWIDTH, truncate=5, mode="constant")
    density /= weight.sum() * step
    return np.interp(y, (edges[:-1] + edges[1:]) / 2, density, left=0.0, right=0.0)


class AdaptiveWeighter(BaseEstimator):
    """Sample weights that are small where a first fit says that a label is anomalous.

    A first-stage regressor is fitted; samples that it misses by much get little weight, as do, for
    ``gamma > 0``, samples with rare labels (see :func:`~skestnet.adaptive_weights`). Hand the
    result to any regressor's `sample_weight`. Labels are standardised inside, so that the weights
    do not depend on their units.

    :class:`~skestnet.EstNetRegressor` takes an unfitted one as its `weighter` and is then its own
    first stage.

    Parameters
    ----------
    regressor : estimator, default=None
        First stage. None stands for gradient boosting
        (:class:`~sklearn.ensemble.HistGradientBoostingRegressor`, one for each label).
    gamma : float, default=0.0
        Share of the label density in the weight, in [0, 1]. The paper's is 0 for the
        effective temperature and 0.1 for the surface gravity.
    bandwidth : float or {"scott", "silverman"}, default="scott"
        Standard deviation of the density's Gaussian kernel, in standard deviations of the labels.

    Attributes
    ----------
    regressor_ : estimator
        The fitted first stage.
    label_mean_, label_scale_ : ndarray of shape (n_outputs,)
        Mean and standard deviation of the training labels; a constant label has scale 0.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`, where `X` has such.

    References
    ----------
    Xie et al. (2025), A&A 704, A37, section 2.3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skestnet import AdaptiveWeighter
    >>> X = np.arange(20.0).reshape(-1, 1)
    >>> y = 3 * X.ravel()
    >>> y[7] += 50  # a wrong label
    >>> weights = AdaptiveWeighter(Ridge()).fit_transform(X, y)
    >>> int(weights.argmin())
    7
    """

    def __init__(
        self,
        regressor: Any = None,
        *,
        gamma: float = 0.0,
        bandwidth: float | str = "scott",
    ) -> None:
        self.regressor = regressor
        self.gamma = gamma
        self.bandwidth = bandwidth

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the first stage and remember its residuals and the labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra or other features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights for the first stage and the label density.

        Returns
        -------
        self : AdaptiveWeighter
            The fitted weighter.

        Raises
        ------
        ValueError
            If a parameter is out of its range, `X` or `y` is not finite, or weights are negative or
            all zero.
        """
        self.check_params()
        features, labels = validate_data(self, X, y, multi_output=True, y_numeric=True)
        weight = check_weight(sample_weight, features)
        weighted = {} if sample_weight is None else {"sample_weight": weight}
        self.regressor_ = self._first_stage(labels.ndim).fit(features, labels, **weighted)
        predictions = self.regressor_.predict(features)
        self._remember(_columns(labels), _columns(predictions), weight)
        return self

    def transform(self, X: ArrayLike, y: ArrayLike) -> FloatArray:
        """Weigh samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra or other features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their labels.

        Returns
        -------
        ndarray of shape (n_samples,)
            Weights, at least 0.
        """
        check_is_fitted(self)
        features, target = validate_data(self, X, y, multi_output=True, y_numeric=True, reset=False)
        labels = self._standardise(self._check_outputs(_columns(target)))
        predictions = self._standardise(_columns(self.regressor_.predict(features)))
        return self.weigh(labels, predictions, train=self._train, sample_weight=self._train_weight)

    def fit_transform(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> FloatArray:
        """Fit to the samples and weigh the same samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra or other features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights for the first stage and the label density.

        Returns
        -------
        ndarray of shape (n_samples,)
            Weights, at least 0.
        """
        return self.fit(X, y, sample_weight).transform(X, y)

    def weigh(
        self,
        y: ArrayLike,
        y_pred: ArrayLike,
        *,
        train: tuple[ArrayLike, ArrayLike] | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> FloatArray:
        """Apply :func:`~skestnet.adaptive_weights` with this weighter's parameters.

        Parameters
        ----------
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Standardised labels.
        y_pred : array-like of the shape of `y`
            Predictions of a first stage.
        train : tuple of two array-like, default=None
            `y` and `y_pred` of the training set, where it is another.
        sample_weight : array-like of shape (n_train,), default=None
            Weights of the training set.

        Returns
        -------
        ndarray of shape (n_samples,)
            Weights.
        """
        return adaptive_weights(
            y,
            y_pred,
            train=train,
            gamma=self.gamma,
            bandwidth=self.bandwidth,
            sample_weight=sample_weight,
        )

    def check_params(self) -> None:
        """Check `gamma` and `bandwidth`.

        Raises
        ------
        ValueError
            If `gamma` is not in [0, 1], or `bandwidth` is neither positive nor the name of a rule.
        """
        check_gamma(self.gamma)
        check_bandwidth(self.bandwidth)

    def _first_stage(self, y_ndim: int) -> Any:
        if self.regressor is not None:
            return clone(self.regressor)
        boosting = HistGradientBoostingRegressor(early_stopping=False)
        return boosting if y_ndim == 1 else MultiOutputRegressor(boosting)

    def _remember(self, labels: FloatArray, predictions: FloatArray, weight: FloatArray) -> None:
        self.label_mean_, self.label_scale_ = LabelScale.of(labels, weight)
        self._train = self._standardise(labels), self._standardise(predictions)
        self._train_weight = weight

    def _standardise(self, labels: FloatArray) -> FloatArray:
        return LabelScale(self.label_mean_, self.label_scale_).standardise(labels)

    def _check_outputs(self, labels: FloatArray) -> FloatArray:
        if labels.shape[1] != len(self.label_mean_):
            raise ValueError(
                f"y has {labels.shape[1]} labels per sample, but fit saw {len(self.label_mean_)}."
            )
        return labels

    def __sklearn_tags__(self) -> Any:
        """Say that labels are needed, of one or several kinds."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags = TransformerTags()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags
