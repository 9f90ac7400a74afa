"""The networks inside an estimator, and the flux that they see."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skestnet._network import TwoStageRegressor
from skestnet._unwrap import members

Flux = NDArray[np.float32]


def networks(fitted: Any, X: Any) -> list[tuple[TwoStageRegressor, Flux]]:
    """Return the fitted regressors inside an estimator, each with the flux its network sees."""
    if not hasattr(fitted, "fit"):
        raise TypeError(
            f"{type(fitted).__name__} is no estimator: expected (fitted, X), a fitted estimator "
            "first and then spectra."
        )
    return [(_checked(model), model._check_flux(seen)) for model, seen in members(fitted, X)]


def seen_flux(fitted: Any, X: Any) -> Flux:
    """Return the flux that the network inside an estimator sees, of several the first."""
    return networks(fitted, X)[0][1]


def _checked(model: Any) -> TwoStageRegressor:
    if not isinstance(model, TwoStageRegressor):
        raise TypeError(
            f"{type(model).__name__} is no network that can be inspected: expected a fitted "
            "EstNetRegressor or AdaptiveMLPRegressor, by itself or inside a pipeline, a search, a "
            "TransformedTargetRegressor, a FrozenEstimator, an AdaptiveWeightRegressor, a "
            "CalibratedRegressor or a BaggingRegressor. Pass the regressor inside."
        )
    return model


def module_copy(model: TwoStageRegressor) -> Any:
    """Return a copy of the trained network that predicts, and learns nothing from gradients."""
    # To the device where it is already: a copied GRU is compacted there, and does not warn.
    module = deepcopy(model.net_.module_).to(model.net_.device)
    return module.eval().requires_grad_(False)
