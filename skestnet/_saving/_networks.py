"""The trained networks of an estimator: their architecture as JSON, their weights as safetensors.

The skorch net itself is not stored. It is built again by the code that `fit` uses.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from numbers import Number
from typing import Any

import torch
from torch import nn

from skestnet._network import TwoStageRegressor
from skestnet._saving._contents import NET, objects_in
from skestnet._training import build_net, resolve_device, seeded
from skestnet._training_state import remember
from skestnet.nn import MLP, BetaNLLLoss, EstNet, WeightedHuberLoss, WithNoise

NETWORKS: dict[str, type[nn.Module]] = {"EstNet": EstNet, "MLP": MLP}
# Of the arguments of skorch those that only set numbers, the optimiser, and how to compile.
NET_PARAMS = re.compile(
    r"lr|batch_size|optimizer(__\w+)?|module__\w+|iterator_(train|valid)__\w+"
    r"|compile(__(mode|backend|dynamic|fullgraph))?"
)
LARGEST_SIZE = 2**31 - 1


def networks(root: Any) -> list[TwoStageRegressor]:
    """Return the networks in an estimator, trained or not."""
    return [each for each in objects_in(root) if isinstance(each, TwoStageRegressor)]


def fitted_networks(root: Any) -> list[TwoStageRegressor]:
    """Return the trained networks in an estimator."""
    return [each for each in networks(root) if NET in vars(each)]


def pack_network(regressor: TwoStageRegressor) -> tuple[bytes, bytes]:
    """Return the architecture of a trained network and its weights.

    Raises
    ------
    TypeError
        If `net_params` made it something else than a network of ours.
    """
    from safetensors.torch import save

    net = regressor.net_
    check_net_params(regressor.net_params)
    head = isinstance(net.module_, WithNoise)
    network = net.module_.network if head else net.module_
    name = type(network).__name__
    if NETWORKS.get(name) is not type(network):
        raise TypeError(
            f"The network is a {type(network)}, by net_params: only those of skestnet can be saved."
        )
    params = {
        key.removeprefix("module__"): value
        for key, value in vars(net).items()
        if key.startswith("module__") and key != "module__network"
    }
    architecture = {"network": name, "noise_head": head, "params": params}
    weights = {key: value.cpu().contiguous() for key, value in net.module_.state_dict().items()}
    return json.dumps(architecture, default=_as_number).encode(), save(weights)


def _as_number(value: Any) -> Any:
    return value.item()


def check_net_params(net_params: Any) -> None:
    """Refuse arguments of skorch that could not be saved.

    Raises
    ------
    TypeError
        If there are such.
    """
    for name, value in (net_params or {}).items():
        plain = value is None or isinstance(value, Number | str | tuple | list)
        plain = plain or (isinstance(value, type) and issubclass(value, torch.optim.Optimizer))
        if not NET_PARAMS.fullmatch(name) or not plain:
            raise TypeError(
                f"net_params has {name}={value!r}: only numbers and torch's optimisers, for the "
                "optimiser, the network, the batches and torch.compile, can be saved."
            )


def rebuild_network(regressor: TwoStageRegressor, architecture: bytes, weights: bytes) -> Any:
    """Build the skorch net of a regressor anew and give it its weights.

    Raises
    ------
    ValueError
        If architecture and weights do not belong together.
    """
    from safetensors.torch import load

    tensors = load(weights)
    module, params = _described(json.loads(architecture), len(tensors))
    with torch.device("meta"):  # which takes no memory, whatever sizes are claimed
        expected = module(**params).state_dict()
    if _shapes(expected) != _shapes(tensors):
        raise ValueError("a network's weights are not those of its architecture")
    device = _device(regressor.device)
    check_net_params(regressor.net_params)
    head = module is WithNoise
    with seeded(0, device):
        net = build_net(
            module,
            module_params=params,
            criterion=BetaNLLLoss() if head else WeightedHuberLoss(regressor.huber_delta),
            batch_size=regressor.batch_size,
            lr=regressor.lr,
            weight_decay=regressor.weight_decay,
            device=device,
            net_params=_of_the_net(regressor.net_params),
        )
    net.module_.load_state_dict(tensors)
    for epoch in regressor.history_:
        remember(net.history, epoch)
    return net


def _device(wanted: Any) -> str:
    try:
        return resolve_device(wanted)
    except ValueError:
        warnings.warn(
            f"device={wanted!r} is not there: the loaded network computes on the CPU.", stacklevel=5
        )
        return "cpu"


def _described(
    architecture: dict[str, Any], n_tensors: int
) -> tuple[type[nn.Module], dict[str, Any]]:
    """Return the network that is described, if it can be one of `n_tensors` tensors."""
    network, params = NETWORKS[architecture["network"]], architecture["params"]
    for name, value in params.items():
        _check_size(name, value, n_tensors)
    if architecture["noise_head"]:
        return WithNoise, {"network": network, **params}
    return network, params


def _check_size(name: str, value: Any, n_tensors: int) -> None:
    sizes = value if isinstance(value, list) else [value]
    loops = name in ("depth", "blocks")  # each takes a tensor at least
    largest = n_tensors if loops else LARGEST_SIZE
    fits = all(size is None or 0 <= size <= largest for size in sizes)
    if len(sizes) > n_tensors or not fits:
        raise ValueError(f"a network has {name}={value!r}, but {n_tensors} tensors")


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def _of_the_net(net_params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the arguments that are neither in the architecture nor for training alone."""
    items = (net_params or {}).items()
    return {name: value for name, value in items if not name.startswith(("module__", "compile"))}
