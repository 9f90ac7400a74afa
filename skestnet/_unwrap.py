"""The trained networks inside an estimator, each with the samples as it sees them."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted, validate_data

from skestnet._calibrated import CalibratedRegressor
from skestnet._weight_regressor import AdaptiveWeightRegressor

Members = list[tuple[Any, Any]]


def members(fitted: Any, X: Any) -> Members:
    """Return what is inside wrappers, with `X` as it sees it: several where there are several.

    Pipelines, searches, frozen estimators, transformed targets and adaptive weights hold one
    estimator; calibrated regressors and bagging may hold more.
    """
    check_is_fitted(fitted)
    return _members(fitted, X)


@singledispatch
def _members(fitted: Any, X: Any) -> Members:
    return [(fitted, X)]


@_members.register
def _(fitted: Pipeline, X: Any) -> Members:
    return members(fitted[-1], fitted[:-1].transform(X) if len(fitted) > 1 else X)


@_members.register
def _(fitted: BaseSearchCV, X: Any) -> Members:
    check_is_fitted(fitted, "best_estimator_")
    return members(fitted.best_estimator_, X)


@_members.register
def _(fitted: FrozenEstimator, X: Any) -> Members:
    return members(fitted.estimator, X)


@_members.register(TransformedTargetRegressor)
@_members.register(AdaptiveWeightRegressor)
def _(fitted: Any, X: Any) -> Members:
    return members(fitted.regressor_, X)


@_members.register
def _(fitted: CalibratedRegressor, X: Any) -> Members:
    return [pair for regressor in fitted.regressors_ for pair in members(regressor, X)]


@_members.register
def _(fitted: BaggingRegressor, X: Any) -> Members:
    checked = validate_data(fitted, X, reset=False, dtype=None, ensure_all_finite=False)
    pairs = zip(fitted.estimators_, fitted.estimators_features_, strict=True)
    return [pair for member, columns in pairs for pair in members(member, checked[:, columns])]
