"""Monte Carlo dropout of the output module, whose features are computed once (eqs. 20, 21)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skestnet.nn._blocks import OutputModule


def dropout_moments(output: OutputModule, features: Tensor) -> Tensor:
    """Compute mean and variance of the labels over the dropout masks, (B, H) to (B, 2 K).

    With one linear layer behind the dropout both are exact: the mean is the output without
    dropout, the variance ``p / (1 - p) sum_j (w_j h_j)**2``.
    """
    weight, bias, p = _head(output)
    mean = features @ weight.T + bias
    variance = (features**2) @ (weight**2).T * (p / (1 - p))
    return torch.cat([mean, variance], dim=1)


def thinned_heads(output: OutputModule, uniform: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the linear layers that T dropout masks leave, as a map of (B, H) to (B, T K).

    `uniform` holds random numbers in [0, 1), shape (T, H): a feature is dropped where one is
    below the probability of dropping.
    """
    weight, bias, p = _head(output)
    masks = (uniform >= p).double() / (1 - p)  # (T, H)
    heads = (masks.to(weight.device).unsqueeze(1) * weight).flatten(0, 1)  # (T K, H)
    return lambda features: features @ heads.T + bias.repeat(len(masks))


def _head(output: OutputModule) -> tuple[Tensor, Tensor, float]:
    linear = output.linear
    return linear.weight.detach().double(), linear.bias.detach().double(), output.dropout.p
