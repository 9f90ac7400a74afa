"""The methods of bench_uncertainty.py: regressors with distributions, calibrated or as they are."""

from __future__ import annotations

from functools import partial
from typing import Any, Self

import joblib
import numpy as np
import torch
from catboost import CatBoostRegressor
from lightgbm import LGBMRegressor
from ngboost import NGBRegressor
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingRegressor, RandomForestRegressor
from sklearn.linear_model import BayesianRidge
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeRegressor

from skestnet import (
    AdaptiveMLPRegressor,
    CalibratedRegressor,
    EstNetRegressor,
    MultiQuantileRegressor,
    PredictiveDistribution,
    predict_dist,
)
from skestnet.spectra import AddedNoise, FluxScaler, MaskedPixelImputer, estimate_snr

Part = dict[str, Any]

# The best by CRPS of what `bench_uncertainty.py --tune` tries, see uncertainty_tuning_*.csv.
TREES = {
    "CatBoost": {"n_components": 60, "iterations": 600, "learning_rate": 0.03, "depth": 5},
    "LightGBM quantiles": {"n_components": 60, "n_estimators": 250, "num_leaves": 8},
    "random forest": {"n_components": 60, "min_samples_leaf": 5, "max_features": 0.6},
    "Bayesian ridge": {"n_components": 100},
}
CHOSEN: dict[str, dict[str, dict[str, Any]]] = {
    "embedded": {
        **TREES,
        "MLP": {"max_epochs": 20, "lr": 0.003},
        "NGBoost": {"n_components": 30, "n_estimators": 200, "max_depth": 3},
    },
    "koester": {
        **TREES,
        "MLP": {"max_epochs": 20, "lr": 0.003},
        "NGBoost": {"n_components": 30, "n_estimators": 100, "max_depth": 3},
    },
}


def log_teff(y: Any) -> Any:
    return np.column_stack([np.log(y[:, 0]), y[:, 1]])


def plain_teff(y: Any) -> Any:
    return np.column_stack([np.exp(y[:, 0]), y[:, 1]])


def of_log_teff(regressor: Any) -> TransformedTargetRegressor:
    """Let a regressor learn ln(Teff) and log g, and give distributions of Teff in K."""
    return TransformedTargetRegressor(
        regressor, func=log_teff, inverse_func=plain_teff, check_inverse=False
    )


def preparation(n_components: int | None = None) -> Pipeline:
    """Scale spectra; with `n_components` give their principal components."""
    clip = FunctionTransformer(np.clip, kw_args={"a_min": -5, "a_max": 5})
    steps = [MaskedPixelImputer(), FluxScaler("standard"), StandardScaler(), clip]
    if n_components is None:
        return make_pipeline(*steps)
    return make_pipeline(*steps, PCA(n_components, svd_solver="full"))


# ---- Regressors, by their settings -------------------------------------------------------------


def estnet(seed: int, **params: Any) -> Pipeline:
    settings = {"max_epochs": 15, "lr": 0.004, "shortcut": 8, "dropout": 0.02, **params}
    return _network(EstNetRegressor, seed, settings)


def mlp(seed: int, **params: Any) -> Pipeline:
    return _network(AdaptiveMLPRegressor, seed, {"max_epochs": 40, "lr": 0.001, **params})


def _network(kind: Any, seed: int, params: dict[str, Any]) -> Pipeline:
    """Build a network that sees other noise in every step: it can learn none of it by heart."""
    settings = {"noise": "heteroscedastic", "weighter": None, "augment": AddedNoise()}
    # All spectra are for training: what is calibrated needs no validation samples of its own.
    settings |= {"validation_fraction": 0, "batch_size": 64, "weight_decay": 0.0003}
    return make_pipeline(preparation(), kind(**{**settings, **params}, random_state=seed))


def catboost(seed: int, n_components: int | None = 30, **params: Any) -> Pipeline:
    settings = {"iterations": 300, "learning_rate": 0.06, "depth": 4, **params}
    regressor = CatBoostRegressor(
        loss_function="RMSEWithUncertainty",
        verbose=0,
        thread_count=torch.get_num_threads(),
        allow_writing_files=False,
        random_seed=seed,
        **settings,
    )
    return make_pipeline(preparation(n_components), MultiOutputRegressor(regressor))


def ngboost(
    seed: int, n_components: int | None = 30, max_depth: int = 3, **params: Any
) -> Pipeline:
    settings = {"n_estimators": 300, "learning_rate": 0.05, **params}
    tree = DecisionTreeRegressor(criterion="squared_error", max_depth=max_depth)
    regressor = NGBRegressor(
        Base=tree, minibatch_frac=0.5, verbose=False, random_state=seed, **settings
    )
    return make_pipeline(preparation(n_components), MultiOutputRegressor(regressor))


def quantile_lightgbm(seed: int, n_components: int | None = 30, **params: Any) -> Pipeline:
    settings = {"n_estimators": 150, "learning_rate": 0.05, "num_leaves": 8, **params}
    regressor = LGBMRegressor(
        objective="quantile",
        n_jobs=torch.get_num_threads(),
        random_state=seed,
        verbose=-1,
        **settings,
    )
    quantiles = MultiQuantileRegressor(regressor)
    return make_pipeline(preparation(n_components), MultiOutputRegressor(quantiles))


def forest(seed: int, n_components: int | None = 30, **params: Any) -> Pipeline:
    settings = {"min_samples_leaf": 3, "max_features": 0.3, **params}
    regressor = RandomForestRegressor(
        200, n_jobs=torch.get_num_threads(), random_state=seed, **settings
    )
    return make_pipeline(preparation(n_components), regressor)


def ridge(_: int, n_components: int | None = 30) -> Pipeline:
    return make_pipeline(preparation(n_components), MultiOutputRegressor(BayesianRidge()))


class Catalogue(RegressorMixin, BaseEstimator):
    """The labels of the training set, for every spectrum: what is known without looking."""

    def fit(self, X: Any, y: Any) -> Self:  # noqa: ARG002
        self.labels_ = np.asarray(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.broadcast_to(self.labels_.mean(axis=0), (len(X), self.labels_.shape[1]))

    def predict_dist(self, X: Any) -> PredictiveDistribution:
        return PredictiveDistribution(np.broadcast_to(self.labels_, (len(X), *self.labels_.shape)))


REGRESSORS = {
    "EstNet": estnet,
    "MLP": mlp,
    "CatBoost": catboost,
    "NGBoost": ngboost,
    "LightGBM quantiles": quantile_lightgbm,
    "random forest": forest,
    "Bayesian ridge": ridge,
}


# ---- What becomes of them ----------------------------------------------------------------------


class Remembered(RegressorMixin, BaseEstimator):
    """A regressor that is fitted once to the same data in a process, however often it is asked."""

    fits: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, regressor: Any) -> None:
        self.regressor = regressor

    def fit(self, X: Any, y: Any) -> Self:
        key = joblib.hash((self.regressor, X, y))
        if key not in self.fits:
            self.fits[key] = clone(self.regressor).fit(X, y)
        self.fitted_ = self.fits[key]
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X: Any) -> Any:
        return self.fitted_.predict(X)

    def predict_dist(self, X: Any) -> PredictiveDistribution:
        return predict_dist(self.fitted_, X)


class Inside(RegressorMixin, BaseEstimator):
    """What is inside a calibrated regressor, trained on the same spectra but not calibrated."""

    def __init__(self, calibrated: CalibratedRegressor) -> None:
        self.calibrated = calibrated

    def fit(self, X: Any, y: Any) -> Self:
        (self.fitted_,) = clone(self.calibrated).fit(X, y).regressors_
        return self

    def predict(self, X: Any) -> Any:
        return self.fitted_.predict(X)

    def predict_dist(self, X: Any) -> PredictiveDistribution:
        return predict_dist(self.fitted_, X)


# Monte Carlo dropout needs more of it to spread at all; 0.2 is the package's default.
PAPER = {
    "estnetregressor__noise": "none",
    "estnetregressor__dropout": 0.2,
    "estnetregressor__shortcut": 0,
}


def methods(data: str, seed: int, quick: bool) -> dict[str, TransformedTargetRegressor]:
    """Return all methods; those around the same networks share their fits."""
    settings = {name: dict(CHOSEN[data].get(name, {})) for name in REGRESSORS}
    if quick:
        for name, small in QUICK.items():
            settings[name] |= small
    built = {name: build(seed, **settings[name]) for name, build in REGRESSORS.items()}
    split = partial(
        CalibratedRegressor, method="split", calibration_fraction=0.25, random_state=seed
    )
    by_snr = partial(split, n_groups=4, group_by=estimate_snr)
    ensemble = Remembered(
        BaggingRegressor(built["EstNet"], 2 if quick else 3, bootstrap=False, random_state=seed)
    )
    # By themselves networks need validation samples, to measure the noise on.
    alone = clone(built["EstNet"]).set_params(estnetregressor__validation_fraction=0.1)
    found = {
        "EstNet, dropout alone": clone(alone).set_params(**PAPER),
        "EstNet": alone,
        "EstNet, ensemble": Inside(split(ensemble)),
        "EstNet, ensemble, calibrated": split(ensemble),
        "EstNet, ensemble, calibrated by S/N": by_snr(ensemble),
    }
    for name, regressor in built.items():
        if name != "EstNet":
            found[name] = regressor
        if name in ("MLP", "CatBoost", "NGBoost"):
            found[f"{name}, calibrated by S/N"] = by_snr(regressor)
    found["labels alone"] = Catalogue()
    return {name: of_log_teff(regressor) for name, regressor in found.items()}


QUICK: dict[str, dict[str, Any]] = {
    "EstNet": {"max_epochs": 2},
    "MLP": {"max_epochs": 2},
    "CatBoost": {"iterations": 20},
    "NGBoost": {"n_estimators": 10},
    "LightGBM quantiles": {"n_estimators": 10},
    "random forest": {},
    "Bayesian ridge": {},
}

# What --tune tries, about equally long for each of the fast methods. EstNet's settings were chosen
# on the same draw by hand, among about fifteen: epochs, decay of weights, how noise is added, and
# what is below.
GRIDS: dict[str, list[dict[str, Any]]] = {
    "EstNet": [
        {},
        {"augment": None},
        {"shortcut": 0},
        {"shortcut": 0, "dropout": 0.2},
    ],
    "MLP": [
        {"max_epochs": epochs, "lr": lr} for epochs, lr in ((20, 0.001), (40, 0.001), (20, 0.003))
    ],
    "CatBoost": [
        {"n_components": n, "iterations": count, "learning_rate": rate, "depth": depth}
        for n, count, rate, depth in (
            (15, 300, 0.06, 4),
            (30, 300, 0.06, 4),
            (30, 600, 0.03, 5),
            (60, 300, 0.06, 4),
            (60, 600, 0.03, 5),
            (None, 300, 0.06, 4),
        )
    ],
    "NGBoost": [
        {"n_components": n, "n_estimators": count, "max_depth": depth}
        for n in (15, 30)
        for count, depth in ((100, 3), (200, 2), (200, 3))
    ],
    "LightGBM quantiles": [
        {"n_components": n, "n_estimators": count, "num_leaves": leaves}
        for n in (15, 30, 60)
        for count, leaves in ((150, 8), (250, 8))
    ],
    "random forest": [
        {"n_components": n, "min_samples_leaf": leaf, "max_features": share}
        for n, leaf, share in ((30, 5, 0.3), (30, 5, 0.6), (60, 5, 0.6), (60, 10, 0.6))
    ],
    "Bayesian ridge": [{"n_components": n} for n in (15, 30, 60, 100)],
}
