"""AdaptiveWeighter: adaptive sample weights as a scikit-learn transformer of labels to weights."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.multioutput import MultiOutputRegressor
from sklearn.utils import TransformerTags, _safe_indexing
from sklearn.utils.validation import check_is_fitted, validate_data

from skestnet._first_stage import FirstStageFits, cut_folds
from skestnet._labels import LabelScale
from skestnet._rows import canonical_rows
from skestnet._weights import (
    Control,
    adaptive_weights,
    check_errors,
    check_snr,
    check_weight,
    check_weight_params,
    columns,
)

FloatArray = NDArray[np.float64]

PAPER_GAMMA = {"teff": 0.0, "logg": 0.1}


class AdaptiveWeighter(BaseEstimator):
    """Sample weights that are small where a first fit says that a label is anomalous.

    A first-stage regressor is fitted; samples that it misses by much get little weight, as do, for
    ``gamma > 0``, samples with rare labels (see :func:`~skestnet.adaptive_weights`). Hand the
    result to any regressor's `sample_weight`, or let
    :class:`~skestnet.AdaptiveWeightRegressor` do so. Labels are standardised inside, so that the
    weights do not depend on their units.

    :class:`~skestnet.EstNetRegressor` takes an unfitted one as its `weighter` and is then its own
    first stage. :meth:`paper` gives the published settings.

    Parameters
    ----------
    regressor : estimator, default=None
        First stage. None stands for gradient boosting
        (:class:`~sklearn.ensemble.HistGradientBoostingRegressor`, one for each label); inside
        :class:`~skestnet.AdaptiveWeightRegressor` for the regressor that is weighted.
    gamma : float, default=0.0
        Share of the label density in the weight, in [0, 1]. The paper's is 0 for the
        effective temperature and 0.1 for the surface gravity.
    bandwidth : float or {"scott", "silverman"}, default="scott"
        Standard deviation of the density's Gaussian kernel, in standard deviations of the labels.
    bias_score : {"mixture", "minmax"}, default="mixture"
        How a residual becomes a bias score: "mixture" is the probability that it is an anomaly,
        "minmax" the paper's formula (eq. 13).
    phi1 : {"identity", "sqrt", "log1p"} or callable, default="identity"
        Control function of the label density (eq. 16).
    phi2 : {"linear", "square", "step"} or callable, default="linear"
        Control function of the bias score (eq. 16).
    cv : int, KFold, "auto" or None, default="auto"
        None takes the residuals of the samples that the first stage was fitted to, as the paper
        does. A number of folds, or a :class:`~sklearn.model_selection.KFold`, takes out-of-fold
        residuals, at the cost of that many more fits: needed where the first stage could learn
        wrong labels by heart. "auto" is 5 inside :class:`~skestnet.AdaptiveWeightRegressor` and
        None elsewhere. There are at most as many folds as distinct samples. Repeated samples always
        share a fold; the order of the samples does not matter.
    verbose : int, default=0
        1 shows a progress bar over the folds.

    Attributes
    ----------
    regressor_ : estimator
        The first stage, fitted to all samples.
    label_mean_, label_scale_ : ndarray of shape (n_outputs,)
        Mean and standard deviation of the training labels; a constant label has scale 0.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`, where `X` has such.

    See Also
    --------
    AdaptiveWeightRegressor : Any regressor, with these weights.
    adaptive_weights : The formula alone.

    References
    ----------
    Xie et al. (2025), A&A 704, A37, section 2.3. Hogg, Bovy & Lang (2010), arXiv:1008.4686.

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
        bias_score: str = "mixture",
        phi1: str | Control = "identity",
        phi2: str | Control = "linear",
        cv: Any = "auto",
        verbose: int = 0,
    ) -> None:
        self.regressor = regressor
        self.gamma = gamma
        self.bandwidth = bandwidth
        self.bias_score = bias_score
        self.phi1 = phi1
        self.phi2 = phi2
        self.cv = cv
        self.verbose = verbose

    @classmethod
    def paper(cls, label: str = "teff", **params: Any) -> Self:
        """Set up the weights of the paper: eqs. 12 to 17, residuals of the training samples.

        Parameters
        ----------
        label : {"teff", "logg"}, default="teff"
            Effective temperature (``gamma=0``) or surface gravity (``gamma=0.1``).
        **params : object
            Parameters that differ from the paper's or that it does not give.

        Returns
        -------
        AdaptiveWeighter
            An unfitted weighter.

        Raises
        ------
        ValueError
            If there are no published settings for `label`.

        Examples
        --------
        >>> from skestnet import AdaptiveWeighter
        >>> AdaptiveWeighter.paper("logg")
        AdaptiveWeighter(bias_score='minmax', cv=None, gamma=0.1)
        """
        if label not in list(PAPER_GAMMA):
            raise ValueError(f"label={label!r}: expected one of {sorted(PAPER_GAMMA)}.")
        settings = {"gamma": PAPER_GAMMA[label], "bias_score": "minmax", "cv": None}
        return cls(**{**settings, **params})

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        y_err: ArrayLike | None = None,
        snr: ArrayLike | None = None,
    ) -> Self:
        """Fit the first stage and remember its residuals and the labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra or other features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights for the first stage, the label density and the bias score.
        y_err : array-like of the shape of `y`, default=None
            Standard errors of the labels, in their units.
        snr : array-like of shape (n_samples,), default=None
            Signal-to-noise ratios of the spectra, for ``bias_score="mixture"``.

        Returns
        -------
        self : AdaptiveWeighter
            The fitted weighter.

        Raises
        ------
        ValueError
            If a parameter is out of its range, `X` or `y` is not finite (NaN in `X` may pass
            where the first stage takes it), weights are negative or all zero, or the first stage
            takes no weights but needs them.
        """
        self._fit(X, y, sample_weight, y_err, snr)
        return self

    def transform(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        y_err: ArrayLike | None = None,
        snr: ArrayLike | None = None,
    ) -> FloatArray:
        """Weigh samples by the first stage that was fitted to all training samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra or other features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their labels.
        y_err : array-like of the shape of `y`, default=None
            Standard errors of the labels, if `fit` knew them.
        snr : array-like of shape (n_samples,), default=None
            Signal-to-noise ratios of the spectra, if `fit` knew them.

        Returns
        -------
        ndarray of shape (n_samples,)
            Weights, at least 0.
        """
        check_is_fitted(self)
        features, target = self._validated(X, y, reset=False)
        labels = self._check_outputs(columns(target))
        samples = _Known.of(labels, target.shape, y_err, snr)
        return self._weigh_known(samples, columns(self.regressor_.predict(_named(X, features))))

    def fit_transform(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        y_err: ArrayLike | None = None,
        snr: ArrayLike | None = None,
    ) -> FloatArray:
        """Fit to the samples and weigh the same samples.

        With `cv` this differs from `fit` and then `transform`: each sample is judged by a first
        stage that did not see it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra or other features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights for the first stage, the label density and the bias score.
        y_err : array-like of the shape of `y`, default=None
            Standard errors of the labels, in their units.
        snr : array-like of shape (n_samples,), default=None
            Signal-to-noise ratios of the spectra, for ``bias_score="mixture"``.

        Returns
        -------
        ndarray of shape (n_samples,)
            Weights, at least 0. Samples of `sample_weight` zero have weight zero.
        """
        inverse = self._fit(X, y, sample_weight, y_err, snr)
        weights = self._weigh_known(*self._train)
        return np.where(inverse >= 0, weights[inverse], 0.0)

    def weigh(
        self,
        y: ArrayLike,
        y_pred: ArrayLike,
        *,
        train: tuple[ArrayLike | None, ...] | None = None,
        sample_weight: ArrayLike | None = None,
        y_err: ArrayLike | None = None,
        snr: ArrayLike | None = None,
    ) -> FloatArray:
        """Apply :func:`~skestnet.adaptive_weights` with this weighter's parameters.

        Parameters
        ----------
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Standardised labels.
        y_pred : array-like of the shape of `y`
            Predictions of a first stage.
        train : tuple of array-like, default=None
            `y` and `y_pred` of the training set, where it is another; then its `y_err` and `snr`.
        sample_weight : array-like of shape (n_train,), default=None
            Weights of the training set.
        y_err : array-like of the shape of `y`, default=None
            Standard errors of the labels, in the units of `y`.
        snr : array-like of shape (n_samples,), default=None
            Signal-to-noise ratios of the spectra.

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
            bias_score=self.bias_score,
            phi1=self.phi1,
            phi2=self.phi2,
            sample_weight=sample_weight,
            y_err=y_err,
            snr=snr,
        )

    def check_params(self) -> None:
        """Check all parameters but `regressor` and `cv`.

        Raises
        ------
        ValueError
            If a parameter is out of its range; the message says what was expected.
        """
        check_weight_params(self.gamma, self.bandwidth, self.bias_score, self.phi1, self.phi2)

    def _fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        y_err: ArrayLike | None,
        snr: ArrayLike | None,
    ) -> NDArray[np.intp]:
        """Fit to the distinct samples; tell which of them each sample is, -1 for weight zero."""
        self.check_params()
        features, target = self._validated(X, y, reset=True)
        samples = _Known.of(columns(target), target.shape, y_err, snr)
        # Weight 2 is a repeated sample, and repeats must not fall into different folds.
        rows = canonical_rows(
            features, np.column_stack(samples.parts()), check_weight(sample_weight, features)
        )
        samples = samples.rows(rows.source)
        features, target = _named(X, features), target[rows.source]
        distinct = _safe_indexing(features, rows.source)
        first_stage = FirstStageFits(self._first_stage(target.ndim), distinct, target, rows.weight)
        folds = cut_folds(self.cv, len(target))
        self.regressor_ = first_stage.fit(np.arange(len(target)))
        if folds is None:
            predictions = self.regressor_.predict(distinct)
        else:
            predictions = first_stage.out_of_fold(folds, self.verbose)
        self.label_mean_, self.label_scale_ = LabelScale.of(samples.y, rows.weight)
        self._train, self._train_weight = (samples, columns(predictions)), rows.weight
        return rows.inverse

    def _validated(
        self, X: ArrayLike, y: ArrayLike, reset: bool
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        # Whether NaN may pass in X is for the first stage to say.
        return validate_data(
            self,
            X,
            y,
            ensure_all_finite="allow-nan",
            multi_output=True,
            y_numeric=True,
            reset=reset,
        )

    def _first_stage(self, y_ndim: int) -> Any:
        if self.regressor is not None:
            return clone(self.regressor)
        boosting = HistGradientBoostingRegressor(early_stopping=False, random_state=0)
        if y_ndim == 1:
            return boosting
        if get_config()["enable_metadata_routing"]:
            boosting.set_fit_request(sample_weight=True)
        return MultiOutputRegressor(boosting)

    def _weigh_known(self, samples: _Known, predictions: FloatArray) -> FloatArray:
        """Weigh samples in the units of the user by the training set that `fit` left."""
        scale = LabelScale(self.label_mean_, self.label_scale_)
        y, y_pred, y_err, snr = samples.standardised(scale, predictions)
        return self.weigh(
            y,
            y_pred,
            train=self._train[0].standardised(scale, self._train[1]),
            sample_weight=self._train_weight,
            y_err=y_err,
            snr=snr,
        )

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


def _named(X: ArrayLike, validated: NDArray[Any]) -> Any:
    """Return a data frame as it is: the first stage may know its columns by name."""
    return X if hasattr(X, "columns") else validated


class _Known(NamedTuple):
    """What is known of samples beside their features, in the units of the user."""

    y: FloatArray
    y_err: FloatArray | None
    snr: FloatArray | None

    @classmethod
    def of(
        cls,
        labels: FloatArray,
        shape: tuple[int, ...],
        y_err: ArrayLike | None,
        snr: ArrayLike | None,
    ) -> Self:
        labels = labels.astype(np.float64)
        return cls(labels, check_errors(y_err, shape), check_snr(snr, len(labels)))

    def parts(self) -> list[FloatArray]:
        """Return what is there, as columns."""
        return [columns(part) for part in self if part is not None]

    def rows(self, index: NDArray[np.intp]) -> Self:
        known = [None if part is None else part[index] for part in (self.y_err, self.snr)]
        return type(self)(self.y[index], *known)

    def standardised(
        self, scale: LabelScale, predictions: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray | None, FloatArray | None]:
        error = None if self.y_err is None else self.y_err / np.where(scale.std > 0, scale.std, 1.0)
        return scale.standardise(self.y), scale.standardise(predictions), error, self.snr
