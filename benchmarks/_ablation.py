"""EstNet without some of its parts, and other variants, for bench_ablation.py."""

from __future__ import annotations

from typing import Any

import torch
from _compare_methods import ESTNET, SHORT, fresh, pipeline
from sklearn.multioutput import MultiOutputRegressor
from torch import Tensor, nn

from skestnet import AdaptiveWeighter, EstNetRegressor
from skestnet.nn import EstNet
from skestnet.nn._blocks import SqueezeExcitation
from skestnet.spectra import ContinuumNormalizer


class Nothing(nn.Module):
    """Channel weights of zero: y + SE(y) y is then y."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[..., :1])


class EstNetWithoutSE(EstNet):
    """The network without squeeze and excitation."""

    def __init__(self, *args: Any, **params: Any) -> None:
        super().__init__(*args, **params)
        for block in list(self.modules()):
            if isinstance(getattr(block, "se", None), SqueezeExcitation):
                block.se = Nothing()


class EstNetWithoutGRU(EstNet):
    """The network with one weighted sum of the last maps in place of the GRU."""

    def __init__(self, *args: Any, **params: Any) -> None:
        super().__init__(*args, **params)
        self.gru = nn.Sequential(nn.LazyConv1d(1, 1), nn.BatchNorm1d(1), nn.PReLU())
        self.eval()
        with torch.no_grad():
            self(torch.zeros(1, args[0] if args else params["n_pixels"]))
        self.train()


class WithoutSE(EstNetRegressor):
    """EstNetRegressor without squeeze and excitation."""

    def _module(self) -> tuple[type[nn.Module], dict[str, Any]]:
        return EstNetWithoutSE, super()._module()[1]


class WithoutGRU(EstNetRegressor):
    """EstNetRegressor without the GRU."""

    def _module(self) -> tuple[type[nn.Module], dict[str, Any]]:
        return EstNetWithoutGRU, super()._module()[1]


EPOCHS = 15
HALF = 8  # epochs of each of two stages


def variants(seed: int, **small: Any) -> dict[str, Any]:
    """Return regressors of ln Teff and log g together: 15 epochs, 2 x 8 or 8 as SHORT says."""

    def network(kind: Any = EstNetRegressor, **params: Any) -> Any:
        return fresh(kind, seed, **{"max_epochs": EPOCHS, "lr": 0.004, **ESTNET, **params, **small})

    def weighed(weighter: Any) -> Any:
        return pipeline(network(weighter=weighter, max_epochs=HALF))

    scaled = pipeline(network())
    return {
        "EstNet": scaled,
        "without GRU": pipeline(network(WithoutGRU)),
        "without GRU, without shortcut": pipeline(network(WithoutGRU, shortcut=0)),
        "without SE": pipeline(network(WithoutSE)),
        "without shortcut, as in the paper": pipeline(network(shortcut=0)),
        "without fresh noise": pipeline(network(augment=None)),
        "adaptive stage, the paper's": weighed(AdaptiveWeighter.paper()),
        "adaptive stage, mixture": weighed(AdaptiveWeighter()),
        "against overfitting": pipeline(network(**SHORT)),
        "without dropout": pipeline(network(dropout=0.0)),
        "dropout 0.2": pipeline(network(dropout=0.2)),
        "dropout 0.6": pipeline(network(dropout=0.6)),
        "Huber loss, constant noise": pipeline(network(noise="constant")),
        "Huber loss, dropout 0.2 alone": pipeline(network(noise="none", dropout=0.2)),
        "depth 20": pipeline(network(depth=20)),
        "depth 34": pipeline(network(depth=34)),
        "width 8": pipeline(network(width=8)),
        "width 32": pipeline(network(width=32)),
        "min-max scaling": pipeline(network(), scale="minmax"),
        "median scaling": pipeline(network(), scale="median"),
        "continuum divided out": pipeline(network()).set_params(scale=ContinuumNormalizer()),
        "one label at a time": pipeline(MultiOutputRegressor(network())),
    }
