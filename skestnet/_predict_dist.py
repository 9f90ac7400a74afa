"""predict_dist: distributions from whatever an estimator is wrapped in."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skestnet._distribution import PredictiveDistribution


@singledispatch
def predict_dist(fitted: Any, X: ArrayLike, **params: Any) -> PredictiveDistribution:
    """Predict distributions with a fitted estimator, through what it is wrapped in.

    Pipelines, searches (:class:`~sklearn.model_selection.GridSearchCV` and its like) and
    :class:`~sklearn.compose.TransformedTargetRegressor` forward `predict` only; this function
    reaches through them. Other estimators need a `predict_dist` method, or a `predict` with
    `return_std` as Gaussian processes and Bayesian linear models have; their distributions are
    then normal.

    Parameters
    ----------
    fitted : estimator
        Fitted estimator. Users can teach the function further types by
        ``predict_dist.register``.
    X : array-like of shape (n_samples, n_features)
        Samples, as `fitted.predict` takes them.
    **params : object
        Passed on to the estimator's `predict_dist`, for example `n_draws` and `random_state`.

    Returns
    -------
    PredictiveDistribution
        One distribution for each sample, in the units of the labels.

    Raises
    ------
    TypeError
        If the estimator at the core can give no distribution.
    ValueError
        If a target transformation is neither affine nor applied to draws.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skestnet import predict_dist
    >>> X = np.arange(10.0).reshape(-1, 1)
    >>> model = make_pipeline(StandardScaler(), BayesianRidge()).fit(X, 2 * X.ravel())
    >>> predict_dist(model, X[:2])
    PredictiveDistribution(shape=(2,), n_draws=1)
    """
    check_is_fitted(fitted)
    if hasattr(fitted, "predict_dist"):
        return fitted.predict_dist(X, **params)
    try:
        mean, std = fitted.predict(X, return_std=True, **params)
    except TypeError as error:
        raise TypeError(
            f"{type(fitted).__name__} gives no distributions: expected an estimator with a "
            "predict_dist method or predict(X, return_std=True). Teach the function others with "
            "skestnet.predict_dist.register(type)."
        ) from error
    return PredictiveDistribution(np.expand_dims(mean, 1), np.expand_dims(std, 1))


@predict_dist.register
def _(fitted: Pipeline, X: ArrayLike, **params: Any) -> PredictiveDistribution:
    return predict_dist(fitted[-1], fitted[:-1].transform(X) if len(fitted) > 1 else X, **params)


@predict_dist.register
def _(fitted: BaseSearchCV, X: ArrayLike, **params: Any) -> PredictiveDistribution:
    check_is_fitted(fitted, "best_estimator_")
    return predict_dist(fitted.best_estimator_, X, **params)


@predict_dist.register
def _(fitted: TransformedTargetRegressor, X: ArrayLike, **params: Any) -> PredictiveDistribution:
    check_is_fitted(fitted)
    inner = predict_dist(fitted.regressor_, X, **params)
    if not inner.scale.any():
        return PredictiveDistribution(_inverse(fitted, inner.loc))
    return _affine(fitted, inner)


def _inverse(fitted: TransformedTargetRegressor, values: np.ndarray[Any, Any]) -> Any:
    """Apply the inverse of the target transformation to draws, which it may bend as it likes."""
    n_outputs = values.shape[2] if values.ndim == 3 else 1
    columns = fitted.transformer_.inverse_transform(values.reshape(-1, n_outputs))
    return np.asarray(columns).reshape(values.shape)


def _affine(
    fitted: TransformedTargetRegressor, inner: PredictiveDistribution
) -> PredictiveDistribution:
    """Transform smooth distributions, for which the transformation has to be a straight line."""
    n_outputs = inner.loc.shape[2] if inner.loc.ndim == 3 else 1
    zero, one, two = fitted.transformer_.inverse_transform(
        np.arange(3.0)[:, None] * np.ones(n_outputs)
    )
    if not np.allclose(two - one, one - zero, rtol=1e-6):
        raise ValueError(
            "TransformedTargetRegressor transforms the labels by a function that is not affine, "
            "and the regressor gives smooth distributions, not draws. Use an affine transformer "
            "(StandardScaler), or a regressor that draws (EstNetRegressor)."
        )
    factor, offset = (one - zero, zero) if inner.loc.ndim == 3 else ((one - zero)[0], zero[0])
    return inner.rescale(factor, offset)
