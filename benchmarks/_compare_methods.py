"""The methods of bench_compare.py: scikit-learn pipelines, each with a grid to search over.

A search takes up to eleven minutes of one core, for each label and split; EstNet's is the longest,
and those of the fast methods are as fine as makes sense. Grids reach from what suits good labels to
what suits labels with large errors: fewer trees, larger leaves, fewer epochs, stronger penalties.
Ridge finds its penalty by itself; the paper's EstNet has the paper's settings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
from catboost import CatBoostRegressor
from lightgbm import LGBMRegressor
from ngboost import NGBRegressor
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import BaggingRegressor, RandomForestRegressor
from sklearn.linear_model import BayesianRidge, RidgeCV
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeRegressor
from xgboost import XGBRegressor

from skestnet import AdaptiveMLPRegressor, EstNetRegressor, predict_dist
from skestnet.spectra import AddedNoise, ContinuumNormalizer, FluxScaler, MaskedPixelImputer

Grid = dict[str, list[Any]] | list[dict[str, list[Any]]]
PIXELS = "passthrough"


class Method(NamedTuple):
    """A pipeline for one label, what to choose on the validation spectra, and what to set then."""

    pipeline: Pipeline
    grid: Grid = {}  # noqa: RUF012
    then: dict[str, Any] = {}  # noqa: RUF012


def pipeline(regressor: Any, *, pca: int | None = None, scale: str = "standard") -> Pipeline:
    """Fill gaps, scale each spectrum and each pixel, cut outliers; perhaps components; regress."""
    clip = FunctionTransformer(np.clip, kw_args={"a_min": -5, "a_max": 5})
    reduce = PIXELS if pca is None else _pca(pca)
    return Pipeline(
        [
            ("fill", MaskedPixelImputer()),
            ("scale", FluxScaler(scale)),
            ("standardise", StandardScaler()),
            ("clip", clip),
            ("pca", reduce),
            ("regressor", regressor),
        ]
    )


def _on_pixels(**grid: list[Any]) -> dict[str, list[Any]]:
    """Return a grid for pixels in place of components, of spectra with either of two scalings."""
    return {"pca": [PIXELS], "scale": _scalers("standard", "median"), **grid}


def _pca(n_components: int) -> PCA:
    return PCA(n_components, svd_solver="randomized", random_state=0)


def _pcas(*numbers: int) -> list[PCA]:
    return [_pca(n) for n in numbers]


# ---- Networks of this package ------------------------------------------------------------------


# Chosen on other draws: LONG for good labels (bench_uncertainty.py), SHORT for a catalogue's log g.
# Its errors are as large as its spread, so that longer training learns them by heart.
ESTNET = {"shortcut": 8, "dropout": 0.02}
LONG = {"max_epochs": 15, "validation_fraction": 0.1, "weight_decay": 0.0003}
SHORT = {"max_epochs": 8, "validation_fraction": 0.0, "weight_decay": 0.03}


def estnet(label: str, seed: int) -> Method:  # noqa: ARG001
    network = fresh(EstNetRegressor, seed, lr=0.004, **ESTNET, **LONG)
    scale = {"scale": _scalers("standard", "median")}
    settings = [{f"regressor__{n}": [value] for n, value in one.items()} for one in (LONG, SHORT)]
    return Method(pipeline(network), [one | scale for one in settings])


def estnet_of_both(label: str, seed: int) -> Method:  # noqa: ARG001
    """Train three networks for both labels together, with LONG, which suited them on another draw.

    The scaling is chosen with one of them.
    """
    one = estnet("teff", seed).pipeline[-1]
    ensemble = BaggingRegressor(one, 1, bootstrap=False, random_state=seed)
    grid: Grid = {"scale": _scalers("standard", "median")}
    return Method(pipeline(ensemble), grid, then={"regressor__n_estimators": 3})


def fresh_mlp(label: str, seed: int) -> Method:  # noqa: ARG001
    network = fresh(AdaptiveMLPRegressor, seed, lr=0.003)
    decays = [0.0003, 0.003, 0.03]
    grid = {"regressor__max_epochs": [8, 20, 50], "regressor__weight_decay": decays}
    return Method(pipeline(network), grid | {"scale": _scalers("standard", "median")})


def fresh(kind: Any, seed: int, **params: Any) -> Any:
    """Build a network that sees other noise in every step, and estimates that of each spectrum."""
    settings = {"noise": "heteroscedastic", "weighter": None, "augment": AddedNoise()}
    settings |= {"batch_size": 64, "weight_decay": 0.0003}
    return kind(**{**settings, **params}, random_state=seed)


def paper_estnet(label: str, seed: int) -> Method:
    """Depth, loss, weights and preprocessing of the paper, at an eighth of its width."""
    network = EstNetRegressor.paper(label, width=8, max_epochs=12, random_state=seed)
    return Method(_as_in_the_paper(network, label))


def paper_mlp(label: str, seed: int) -> Method:
    """Four linear layers with the paper's weights between two stages."""
    network = AdaptiveMLPRegressor(
        noise="none", weighter=EstNetRegressor.paper(label).weighter, random_state=seed
    )
    grid = {"regressor__lr": [0.001, 0.003], "regressor__weight_decay": [0.0008, 0.01, 0.03]}
    return Method(_as_in_the_paper(network, label), grid)


def _as_in_the_paper(network: Any, label: str) -> Pipeline:
    """Min-max scaling for Teff, continuum for log g (section 3)."""
    steps = pipeline(network, scale="minmax")
    return steps if label == "teff" else steps.set_params(scale=ContinuumNormalizer())


# ---- Trees -------------------------------------------------------------------------------------


def random_forest(label: str, seed: int) -> Method:  # noqa: ARG001
    forest = RandomForestRegressor(200, n_jobs=1, random_state=seed)
    leaves = {"regressor__min_samples_leaf": [1, 3, 10, 30], "regressor__max_features": [0.3]}
    grid = [
        {"pca": _pcas(30, 60), **leaves, "scale": _scalers()},
        _on_pixels(
            regressor__min_samples_leaf=[3],
            regressor__max_features=[0.03],
        ),
    ]
    return Method(pipeline(forest, pca=30), grid)


def xgboost(label: str, seed: int) -> Method:  # noqa: ARG001
    trees = XGBRegressor(subsample=0.6, learning_rate=0.05, n_jobs=1, random_state=seed)
    depth = {"regressor__max_depth": [3, 5]}
    grid = [
        {
            "pca": _pcas(30, 60),
            "regressor__n_estimators": [50, 100, 300, 1000],
            **depth,
            "scale": _scalers(),
        },
        _on_pixels(
            regressor__n_estimators=[100, 300, 1000],
            **depth,
            regressor__colsample_bytree=[0.1],
        ),
    ]
    return Method(pipeline(trees, pca=30), grid)


def lightgbm(label: str, seed: int) -> Method:  # noqa: ARG001
    trees = LGBMRegressor(
        min_child_samples=50, learning_rate=0.05, n_jobs=1, random_state=seed, verbose=-1
    )
    grid = [
        {
            "pca": _pcas(30, 60),
            "regressor__n_estimators": [50, 100, 300, 1000],
            "regressor__num_leaves": [8, 15, 31],
            "scale": _scalers(),
        },
        _on_pixels(
            regressor__n_estimators=[50, 100, 300, 1000, 3000],
            regressor__num_leaves=[8, 15],
            regressor__colsample_bytree=[0.1],
        ),
    ]
    return Method(pipeline(trees, pca=30), grid)


def catboost(label: str, seed: int) -> Method:  # noqa: ARG001
    trees = CatBoostRegressor(
        loss_function="RMSEWithUncertainty",
        verbose=0,
        thread_count=1,
        allow_writing_files=False,
        random_seed=seed,
    )
    grid = [
        {
            "pca": _pcas(60),
            "regressor__iterations": [100, 400, 1000, 2500],
            "regressor__learning_rate": [0.05],
            "regressor__depth": [4, 6],
            "scale": _scalers("standard", "median"),
        },
        _on_pixels(
            regressor__iterations=[50, 200, 1000, 2500],
            regressor__learning_rate=[0.1],
            regressor__depth=[4],
            regressor__rsm=[0.1],
        ),
    ]
    grids = [_inside(one) for one in grid]
    return Method(pipeline(ByDistribution(trees), pca=30), grids)


def ngboost(label: str, seed: int) -> Method:  # noqa: ARG001
    trees = NGBRegressor(
        Base=DecisionTreeRegressor(criterion="squared_error", max_depth=3),
        learning_rate=0.05,
        minibatch_frac=0.5,
        verbose=False,
        random_state=seed,
    )
    grid = [
        {
            "pca": _pcas(15, 30, 60),
            "regressor__n_estimators": [50, 100, 200, 500],
            "scale": _scalers(),
        },
        _on_pixels(
            regressor__n_estimators=[50, 200, 1000],
            regressor__col_sample=[0.05],
        ),
    ]
    return Method(pipeline(ByDistribution(trees), pca=30), [_inside(one) for one in grid])


class ByDistribution(RegressorMixin, BaseEstimator):
    """A regressor whose `predict` scikit-learn does not take for one: the mean of its distribution.

    NGBoost does not count as a regressor and does not tell when it is fitted; CatBoost with a loss
    for distributions predicts two columns.
    """

    def __init__(self, regressor: Any) -> None:
        self.regressor = regressor

    def fit(self, X: Any, y: Any) -> Self:
        self.regressor_ = clone(self.regressor).fit(np.asarray(X), np.asarray(y))
        return self

    def predict(self, X: Any) -> Any:
        return self.predict_dist(X).mean()

    def predict_dist(self, X: Any) -> Any:
        return predict_dist(self.regressor_, np.asarray(X))


def _inside(grid: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Name the parameters of the regressor that is inside another."""
    return {name.replace("regressor__", "regressor__regressor__"): v for name, v in grid.items()}


def _scalers(*methods: str) -> list[FluxScaler]:
    """Return scalings to choose from; that by the median keeps depths of lines and noise."""
    return [FluxScaler(method) for method in methods or ("standard", "minmax", "median")]


# ---- Others ------------------------------------------------------------------------------------


def ridge(label: str, seed: int) -> Method:  # noqa: ARG001
    grid = {"pca": _pcas(15, 30, 60, 120, 240), "scale": _scalers()}
    return Method(pipeline(BayesianRidge(), pca=60), grid)


def sklearn_mlp(label: str, seed: int) -> Method:  # noqa: ARG001
    sizes = [(64,), (128, 64), (256, 128)]
    grid = {"regressor__alpha": [0.01, 1.0, 10.0], "regressor__hidden_layer_sizes": sizes}
    return Method(pipeline(_sklearn_mlp(seed)), _inside(grid) | {"scale": _scalers()})


def pca_mlp(label: str, seed: int) -> Method:  # noqa: ARG001
    """Components, of min-max spectra unless the search finds better."""
    grid = {
        "pca": _pcas(15, 30, 60, 120),
        "scale": _scalers(),
        "regressor__alpha": [0.1, 1.0, 10.0],
        "regressor__hidden_layer_sizes": [(64,), (64, 64), (128, 128)],
    }
    return Method(pipeline(_sklearn_mlp(seed), pca=30, scale="minmax"), _inside(grid))


def _sklearn_mlp(seed: int) -> TransformedTargetRegressor:
    network = MLPRegressor(
        early_stopping=True, max_iter=200, n_iter_no_change=10, random_state=seed
    )
    # It does not standardise labels itself, and is far off without.
    return TransformedTargetRegressor(network, transformer=StandardScaler())


def minirocket(label: str, seed: int) -> Method:  # noqa: ARG001
    """Random convolutions and ridge regression; needs aeon, see README.md."""
    from aeon.transformations.collection.convolution_based import MiniRocket

    steps = pipeline(RidgeCV(np.logspace(0, 6, 13)))
    rocket = MiniRocket(n_kernels=5000, random_state=seed)
    steps.set_params(standardise=rocket, clip=StandardScaler(), pca=PIXELS)
    return Method(steps, {"standardise__n_kernels": [2500, 5000], "scale": _scalers()})


def mean(label: str, seed: int) -> Method:  # noqa: ARG001
    return Method(Pipeline([("regressor", DummyRegressor())]))


METHODS: dict[str, Callable[[str, int], Method]] = {
    "EstNet": estnet,
    "EstNet, three networks, both labels": estnet_of_both,
    "EstNet of the paper, width 8": paper_estnet,
    "MLP of the paper": paper_mlp,
    "MLP, fresh noise": fresh_mlp,
    "MLP, fresh noise, both labels": fresh_mlp,
    "MLP, scikit-learn": sklearn_mlp,
    "MLP on components": pca_mlp,
    "ridge on components": ridge,
    "random forest": random_forest,
    "XGBoost": xgboost,
    "NGBoost": ngboost,
    "CatBoost": catboost,
    "LightGBM": lightgbm,
    "MiniRocket and ridge": minirocket,
    "mean label": mean,
}


# What learns both labels together, also where only one of them is asked for.
BOTH = tuple(name for name in METHODS if name.endswith("both labels"))

# What estimates labels without a distribution.
POINTS = ("MLP, scikit-learn", "MLP on components", "XGBoost", "LightGBM", "MiniRocket and ridge")


def of_label(label: str, regressor: Any) -> Any:
    """Let a regressor learn ln(Teff), and answer in K; log g is left as it is."""
    if label == "logg":
        return regressor
    return TransformedTargetRegressor(regressor, func=np.log, inverse_func=np.exp)
