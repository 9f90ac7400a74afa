"""AdaptiveWeightRegressor: adaptive sample weights around any regressor."""

from __future__ import annotations

import inspect
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from skestnet._distribution import PredictiveDistribution
from skestnet._first_stage import takes_weights
from skestnet._predict_dist import predict_dist
from skestnet._weighter import AdaptiveWeighter

FloatArray = NDArray[np.float64]

DEFAULT_FOLDS = 5


class AdaptiveWeightRegressor(RegressorMixin, MetaEstimatorMixin, BaseEstimator):
    """Any regressor, taught to learn little from anomalous samples.

    `fit` weighs the training samples by an :class:`~skestnet.AdaptiveWeighter`, multiplies the
    weights by the given `sample_weight`, and fits the regressor with them. Inside cross-validation
    the weights are made of the training folds alone.

    Preprocessing goes before it: ``make_pipeline(scaler, AdaptiveWeightRegressor(regressor))``.

    Parameters
    ----------
    regressor : estimator
        Regressor whose `fit` takes `sample_weight`: gradient boosting of any library, random
        forests, linear models, :class:`~skestnet.EstNetRegressor` with ``weighter=None``.
    weighter : AdaptiveWeighter or None, default=None
        How to weigh. None is ``AdaptiveWeighter()``. The residuals are those of five folds unless
        its `cv` says otherwise, since a flexible regressor can learn wrong labels by heart. Where
        it has no `regressor` of its own, a clone of `regressor` is the first stage. To search for
        its parameters (``weighter__gamma``), pass one.

    Attributes
    ----------
    regressor_ : estimator
        The fitted regressor.
    weighter_ : AdaptiveWeighter
        The fitted weighter; its `transform` weighs other samples.
    sample_weight_ : ndarray of shape (n_samples,)
        Adaptive weight of each sample passed to `fit`, before the product with the given
        `sample_weight`. Samples of `sample_weight` zero have weight zero.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`, where `X` has such.

    See Also
    --------
    AdaptiveWeighter : The weights alone.
    EstNetRegressor : Weighs between its own two stages, without this class.

    Notes
    -----
    The regressor gets ``sample_weight * sample_weight_``, scaled so that the sum is that of
    `sample_weight`: penalties and smallest leaf weights keep their meaning.

    References
    ----------
    Xie et al. (2025), A&A 704, A37, section 2.3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import RandomForestRegressor
    >>> from skestnet import AdaptiveWeightRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (300, 2))
    >>> y = X[:, 0] + 0.02 * rng.standard_normal(300)
    >>> y[:40] += 3  # wrong labels
    >>> forest = RandomForestRegressor(30, min_samples_leaf=3, random_state=0)
    >>> model = AdaptiveWeightRegressor(forest).fit(X, y)
    >>> bool(model.sample_weight_[:40].max() < 0.1)
    True
    >>> truth = X[40:, 0]
    >>> plain = forest.fit(X, y).predict(X[40:]) - truth
    >>> robust = model.predict(X[40:]) - truth
    >>> bool(np.abs(robust).mean() < np.abs(plain).mean() / 3)
    True
    """

    def __init__(self, regressor: Any, weighter: Any = None) -> None:
        self.regressor = regressor
        self.weighter = weighter

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        y_err: ArrayLike | None = None,
        snr: ArrayLike | None = None,
    ) -> Self:
        """Weigh the samples and fit the regressor with the weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra or other features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels; as many as the regressor takes.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, at least 0, that multiply the adaptive ones.
        y_err : array-like of the shape of `y`, default=None
            Standard errors of the labels, in their units, for the weighter.
        snr : array-like of shape (n_samples,), default=None
            Signal-to-noise ratios of the spectra, for the weighter.

        Returns
        -------
        self : AdaptiveWeightRegressor
            The fitted regressor.

        Raises
        ------
        ValueError
            If the regressor takes no `sample_weight` or weighs samples itself, if `weighter` is
            not an AdaptiveWeighter, or where AdaptiveWeighter raises it.
        """
        self._check_regressor()
        weighter = self._new_weighter()
        adaptive = weighter.fit_transform(X, y, sample_weight, y_err=y_err, snr=snr)
        given = np.ones(len(adaptive))
        if sample_weight is not None:
            given = np.broadcast_to(np.asarray(sample_weight, dtype=np.float64), adaptive.shape)
        self.regressor_ = clone(self.regressor).fit(X, y, sample_weight=_product(given, adaptive))
        self.weighter_, self.sample_weight_ = weighter, adaptive
        self.n_features_in_ = weighter.n_features_in_
        if hasattr(weighter, "feature_names_in_"):
            self.feature_names_in_ = weighter.feature_names_in_
        return self

    def predict(
        self, X: ArrayLike, return_std: bool = False
    ) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Estimate labels by the fitted regressor.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra or other features.
        return_std : bool, default=False
            Whether to return standard deviations too, if the regressor has them.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Estimated labels.
        y_std : ndarray of the shape of `y_pred`
            Standard deviations, only with ``return_std=True``.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        TypeError
            If the regressor has no standard deviations to return.
        """
        check_is_fitted(self)
        if not return_std:
            return self.regressor_.predict(X)
        if "return_std" not in inspect.signature(self.regressor_.predict).parameters:
            raise TypeError(
                f"{type(self.regressor_).__name__}.predict knows no return_std: expected a "
                "regressor such as EstNetRegressor or BayesianRidge."
            )
        return self.regressor_.predict(X, return_std=True)

    def predict_dist(self, X: ArrayLike, **params: Any) -> PredictiveDistribution:
        """Predict distributions by :func:`skestnet.predict_dist` of the fitted regressor.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra or other features.
        **params : object
            Passed on, for example `n_draws` and `random_state`.

        Returns
        -------
        PredictiveDistribution
            One distribution for each sample, in the units of the labels.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        TypeError
            If the regressor can give no distribution.
        """
        check_is_fitted(self)
        return predict_dist(self.regressor_, X, **params)

    def _check_regressor(self) -> None:
        name = type(self.regressor).__name__
        if not (hasattr(self.regressor, "fit") and hasattr(self.regressor, "predict")):
            raise ValueError(f"regressor={self.regressor!r}: expected a regressor.")
        if isinstance(self.regressor, Pipeline):
            raise ValueError(
                "The regressor is a Pipeline, whose fit takes no sample_weight. Put the steps "
                "before this estimator: make_pipeline(scaler, AdaptiveWeightRegressor(regressor))."
            )
        if getattr(self.regressor, "weighter", None) is not None:
            raise ValueError(
                f"{name} weighs its samples already, between its own two stages. Use it by itself, "
                f"or pass {name}(weighter=None)."
            )
        if not takes_weights(self.regressor):
            raise ValueError(
                f"{name} takes no sample_weight in fit: expected a "
                "regressor that does, such as gradient boosting, a random forest, Ridge or "
                "EstNetRegressor."
            )

    def _new_weighter(self) -> AdaptiveWeighter:
        given = AdaptiveWeighter() if self.weighter is None else self.weighter
        if not isinstance(given, AdaptiveWeighter):
            raise ValueError(f"weighter={self.weighter!r}: expected an AdaptiveWeighter or None.")
        weighter = clone(given)
        if weighter.cv == "auto":
            weighter.set_params(cv=DEFAULT_FOLDS)
        if weighter.regressor is None:
            weighter.set_params(regressor=clone(self.regressor))
        return weighter

    def __sklearn_tags__(self) -> Any:
        """Take over from the regressor what it says of labels and features."""
        tags = super().__sklearn_tags__()
        if not hasattr(self.regressor, "fit"):
            return tags
        inner = get_tags(self.regressor)
        tags.target_tags.multi_output = inner.target_tags.multi_output
        tags.target_tags.single_output = inner.target_tags.single_output
        tags.input_tags.allow_nan = inner.input_tags.allow_nan
        return tags


def _product(given: FloatArray, adaptive: FloatArray) -> FloatArray:
    """Multiply weights, keeping the sum of those given."""
    product = given * adaptive
    total = product.sum()
    # All adaptive weights may be zero where a control function says so.
    if total == 0:
        raise ValueError(
            "All adaptive weights are zero: nothing is left to learn from. Lower gamma, or take "
            "another control function phi2."
        )
    return product * (given.sum() / total)
