"""predict_dist: distributions from whatever an estimator is wrapped in."""

from __future__ import annotations

import inspect
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skestnet._distribution import PredictiveDistribution

FloatArray = NDArray[np.float64]

# How far from the centre of a distribution a target transformation must be straight.
PROBED_SIGMAS = 5.0


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
        Passed on to the estimator's `predict_dist`, for example `n_draws` and `random_state`; or
        to its `predict` beside `return_std`.

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
    if hasattr(fitted, "predict_dist"):
        return fitted.predict_dist(X, **params)
    predict = getattr(fitted, "predict", None)
    if predict is None or "return_std" not in inspect.signature(predict).parameters:
        raise TypeError(
            f"{type(fitted).__name__} gives no distributions: expected an estimator with a "
            "predict_dist method or predict(X, return_std=True). Teach the function others with "
            "skestnet.predict_dist.register(type)."
        )
    check_is_fitted(fitted)
    mean, std = predict(X, return_std=True, **params)
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
    inner = _as_trained(fitted, predict_dist(fitted.regressor_, X, **params))
    if not inner.scale.any():
        return PredictiveDistribution(_inverse(fitted, inner.loc))
    return _affine(fitted, inner)


def _as_trained(
    fitted: TransformedTargetRegressor, inner: PredictiveDistribution
) -> PredictiveDistribution:
    """Undo the squeeze of a single column of labels that scikit-learn before 1.7 makes."""
    if fitted._training_dim == 2 and inner.loc.ndim == 2:
        return PredictiveDistribution(inner.loc[..., None], inner.scale[..., None])
    return inner


def _inverse(fitted: TransformedTargetRegressor, values: FloatArray) -> FloatArray:
    """Apply the inverse of the target transformation, which may bend draws as it likes."""
    n_outputs = values.shape[2] if values.ndim == 3 else 1
    columns = fitted.transformer_.inverse_transform(values.reshape(-1, n_outputs))
    return np.asarray(columns).reshape(values.shape)


def _affine(
    fitted: TransformedTargetRegressor, inner: PredictiveDistribution
) -> PredictiveDistribution:
    """Transform smooth distributions, for which the transformation has to be a straight line."""
    zero, one = (_inverse(fitted, np.full_like(inner.loc[:1], value))[0, 0] for value in (0.0, 1.0))
    outer = inner.rescale(one - zero, zero)
    for step in (-PROBED_SIGMAS, 0.0, PROBED_SIGMAS):
        seen = _inverse(fitted, inner.loc + step * inner.scale)
        line = outer.loc + step * np.sign(one - zero) * outer.scale
        if not np.allclose(seen, line, rtol=1e-6, atol=1e-6 * np.ptp(line)):
            raise ValueError(
                "TransformedTargetRegressor transforms the labels by a function that is not "
                "affine, and the regressor gives smooth distributions, not draws. Use an affine "
                "transformer (StandardScaler), or a regressor that draws (EstNetRegressor)."
            )
    return outer
