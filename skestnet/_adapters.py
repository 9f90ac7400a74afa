"""Distributions from estimators of other libraries, recognised by name: nothing is imported."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted, validate_data

from skestnet._distribution import PredictiveDistribution
from skestnet._quantiles import even_levels

Adapter = Callable[..., PredictiveDistribution]
# Root of the module and name of a class: what subclasses, too, can be recognised by.
AdapterTable = Mapping[tuple[str, str], Adapter]

# Evenly spaced levels at which distributions of other shapes than the normal one are read.
LEVELS = even_levels(200)


class NoDistributionError(TypeError):
    """The estimator, or the estimator as it is configured, gives no distribution."""


def find_adapter(fitted: Any, table: AdapterTable) -> Adapter | None:
    """Look up the adapter of an estimator's class, or of the nearest class it inherits from."""
    return next((table[name] for name in _lineage(fitted) if name in table), None)


def from_forest(fitted: Any, X: ArrayLike, **params: Any) -> PredictiveDistribution:
    """Take each tree of a scikit-learn forest for a draw."""
    check_is_fitted(fitted)
    if params:
        raise TypeError(
            f"{type(fitted).__name__} takes no {', '.join(params)} in predict_dist: each tree is a "
            "draw. Leave such parameters out; n_estimators is the number of trees."
        )
    # What the forest does to X before the trees, which know no feature names, see it.
    checked = validate_data(
        fitted, X, reset=False, accept_sparse="csr", dtype=np.float32, ensure_all_finite=False
    )
    trees = [tree.predict(checked) for tree in fitted.estimators_]
    return PredictiveDistribution(np.stack(trees, axis=1))


def from_ngboost(fitted: Any, X: ArrayLike, **params: Any) -> PredictiveDistribution:
    """Read NGBoost's distribution: normal as it is, others by evenly spaced quantiles."""
    # scikit-learn's own check does not know what NGBoost sets in fit.
    if getattr(fitted, "init_params", None) is None:
        raise NotFittedError(f"This {type(fitted).__name__} is not fitted yet: call fit first.")
    dist = fitted.pred_dist(X, **params)
    if ("ngboost", "Normal") in _lineage(dist):
        return PredictiveDistribution(dist.loc[:, np.newaxis], dist.scale[:, np.newaxis])
    if getattr(dist, "multi_output", False):
        return _multivariate_normal(dist.loc, dist.cov)
    ppf = getattr(dist, "ppf", None)
    if ppf is None:
        raise NoDistributionError(
            f"NGBRegressor(Dist={fitted.Dist.__name__}) has no quantiles: expected a distribution "
            "with a ppf, such as Normal, LogNormal or Laplace, or MultivariateNormal(k)."
        )
    return PredictiveDistribution(ppf(LEVELS[:, np.newaxis]).T, parts_known=False)


def from_catboost(fitted: Any, X: ArrayLike, **params: Any) -> PredictiveDistribution:
    """Read CatBoost's mean and variance, from virtual ensembles where it has them, or quantiles."""
    check_is_fitted(fitted)
    settings = fitted.get_all_params()
    loss, _, text = settings["loss_function"].partition(":")
    if loss == "MultiQuantile":
        options = dict(option.split("=") for option in text.split(";"))
        levels = [float(level) for level in options["alpha"].split(",")]
        return _from_quantiles(fitted.predict(X, **params), levels)
    if loss != "RMSEWithUncertainty":
        raise NoDistributionError(
            f"CatBoostRegressor(loss_function={settings['loss_function']!r}) gives no "
            "distributions: use loss_function='RMSEWithUncertainty' or "
            "'MultiQuantile:alpha=0.16,0.5,0.84'."
        )
    if settings.get("posterior_sampling"):
        pairs = fitted.virtual_ensembles_predict(X, prediction_type="VirtEnsembles", **params)
    else:
        pairs = fitted.predict(X, prediction_type=loss, **params)[:, np.newaxis]
    return PredictiveDistribution(pairs[..., 0], np.sqrt(pairs[..., 1]))


def from_xgboost(fitted: Any, X: ArrayLike, **params: Any) -> PredictiveDistribution:
    """Read the quantiles of XGBoost, if it was trained on several."""
    # The booster knows its levels also after load_model, the estimator does not.
    objective = json.loads(fitted.get_booster().save_config())["learner"]["objective"]
    levels = json.loads(objective.get("quantile_loss_param", {}).get("quantile_alpha", "[]"))
    if np.size(levels) < 2:
        raise NoDistributionError(
            f"{type(fitted).__name__} with objective={objective['name']!r} and the levels {levels} "
            "gives no distributions: use objective='reg:quantileerror' and several levels, such as "
            "quantile_alpha=[0.16, 0.5, 0.84]."
        )
    return _from_quantiles(fitted.predict(X, **params), levels)


def from_mapie(fitted: Any, X: ArrayLike, **params: Any) -> PredictiveDistribution:
    """Take the bounds of MAPIE's intervals for quantiles, and its point prediction for the median.

    With one confidence level this makes a normal distribution of two widths, one on either side.
    """
    if params.get("minimize_interval_width"):
        raise ValueError(
            "minimize_interval_width=True makes intervals with unequal tails, whose bounds are no "
            "known quantiles: expected False."
        )
    # MAPIE raises an error with advice where it is not fitted or not conformalized.
    point, interval = fitted.predict_interval(X, **params)
    kept = ("_alphas", "_alpha", "alpha")  # the name depends on the class
    alphas = np.atleast_1d(next(getattr(fitted, name) for name in kept if hasattr(fitted, name)))
    values = np.concatenate([interval[:, 0], point.reshape(-1, 1), interval[:, 1]], axis=1)
    return _from_quantiles(values, [*alphas / 2, 0.5, *1 - alphas / 2])


LIBRARIES: AdapterTable = {
    ("sklearn", "RandomForestRegressor"): from_forest,
    ("sklearn", "ExtraTreesRegressor"): from_forest,
    ("ngboost", "NGBRegressor"): from_ngboost,
    ("catboost", "CatBoostRegressor"): from_catboost,
    ("xgboost", "XGBRegressor"): from_xgboost,
    ("mapie", "SplitConformalRegressor"): from_mapie,
    ("mapie", "CrossConformalRegressor"): from_mapie,
    ("mapie", "JackknifeAfterBootstrapRegressor"): from_mapie,
    ("mapie", "ConformalizedQuantileRegressor"): from_mapie,
    ("mapie", "CrossConformalizedQuantileRegressor"): from_mapie,
}


def _lineage(instance: Any) -> list[tuple[str, str]]:
    return [(cls.__module__.partition(".")[0], cls.__name__) for cls in type(instance).__mro__]


def _from_quantiles(values: ArrayLike, levels: ArrayLike) -> PredictiveDistribution:
    """Sort levels, which the libraries take in any order and repeated, with their quantiles."""
    unique, first = np.unique(np.asarray(levels, dtype=np.float64), return_index=True)
    return PredictiveDistribution.from_quantiles(np.asarray(values)[:, first], unique)


def _multivariate_normal(
    loc: NDArray[np.float64], covariance: NDArray[np.float64]
) -> PredictiveDistribution:
    scale = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    correlation = covariance / (scale[:, :, np.newaxis] * scale[:, np.newaxis])
    loc, scale, correlation = (a[:, np.newaxis] for a in (loc, scale, correlation))
    return PredictiveDistribution(loc, scale, correlation)
