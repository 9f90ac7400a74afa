"""A second head for the noise of the labels: standard deviations and correlations."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

HIDDEN = 32
# Standard deviation before training, and the smallest, in standard deviations of the labels.
FIRST_STD = 0.5
LEAST_STD = 1e-3


class NoiseHead(nn.Module):
    """From features to standard deviations and correlations of the labels' noise.

    Parameters
    ----------
    length : int
        Number of features.
    n_outputs : int
        Number of labels K.

    Examples
    --------
    >>> import torch
    >>> from skestnet.nn import NoiseHead
    >>> std, factor = NoiseHead(62, 2)(torch.zeros(3, 62))
    >>> std.shape, factor.shape
    (torch.Size([3, 2]), torch.Size([3, 2, 2]))
    """

    def __init__(self, length: int, n_outputs: int) -> None:
        super().__init__()
        self.n_outputs = n_outputs
        n_correlations = n_outputs * (n_outputs - 1) // 2
        self.hidden = nn.Sequential(nn.Linear(length, HIDDEN), nn.PReLU())
        self.last = nn.Linear(HIDDEN, n_outputs + n_correlations)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the noise.

        Parameters
        ----------
        h : Tensor of shape (B, L)
            Features before dropout.

        Returns
        -------
        std : Tensor of shape (B, K)
            Standard deviations.
        factor : Tensor of shape (B, K, K)
            Lower triangular factors of the correlation matrices, their rows of length one.
        """
        raw = self.last(self.hidden(h))
        width, below = raw[:, : self.n_outputs], raw[:, self.n_outputs :]
        shift = torch.tensor(FIRST_STD, dtype=h.dtype).expm1().log()
        std = LEAST_STD + softplus(width + shift)
        factor = torch.eye(self.n_outputs, dtype=h.dtype, device=h.device).repeat(len(h), 1, 1)
        row, column = torch.tril_indices(self.n_outputs, self.n_outputs, offset=-1)
        factor[:, row, column] = below
        return std, factor / factor.norm(dim=2, keepdim=True)


class WithNoise(nn.Module):
    """A network and, beside its output module, a head for the noise.

    Parameters
    ----------
    network : type of nn.Module
        A network with a method `features` and an output module named `output`.
    n_outputs : int, default=1
        Number of labels K.
    **params : object
        The network's other parameters.

    Examples
    --------
    >>> import torch
    >>> from skestnet.nn import EstNet, WithNoise
    >>> net = WithNoise(EstNet, n_pixels=100, n_outputs=2, depth=12, width=4).eval()
    >>> mean, centre, std, factor = net(torch.zeros(3, 100))
    >>> mean.shape, std.shape, factor.shape
    (torch.Size([3, 2]), torch.Size([3, 2]), torch.Size([3, 2, 2]))
    """

    def __init__(self, network: type[nn.Module], n_outputs: int = 1, **params: Any) -> None:
        super().__init__()
        self.network: Any = network(n_outputs=n_outputs, **params)
        self.noise = NoiseHead(self.output.linear.in_features, n_outputs)

    @property
    def n_largest(self) -> int:
        """Numbers in the largest feature map of a spectrum."""
        return int(self.network.n_largest)

    @property
    def output(self) -> Any:
        """The network's output module."""
        return self.network.output

    def features(self, x: Tensor) -> Tensor:
        """Compute what enters both heads.

        Parameters
        ----------
        x : Tensor of shape (B, L)
            Spectra.

        Returns
        -------
        Tensor of shape (B, H)
            Features before dropout.
        """
        return self.network.features(x)

    def descriptors(self, x: Tensor) -> Tensor:
        """Compute what tells spectra of another kind from those trained on.

        Parameters
        ----------
        x : Tensor of shape (B, L)
            Spectra.

        Returns
        -------
        Tensor of shape (B, D)
            The network's descriptors.
        """
        return self.network.descriptors(x)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Estimate the labels and their noise.

        Parameters
        ----------
        x : Tensor of shape (B, L)
            Spectra.

        Returns
        -------
        mean : Tensor of shape (B, K)
            Standardised labels; in training mode with dropout.
        centre : Tensor of shape (B, K)
            Standardised labels without dropout, from which nothing is learnt.
        std : Tensor of shape (B, K)
            Standard deviations of their noise.
        factor : Tensor of shape (B, K, K)
            Factors of the correlation matrices of their noise.
        """
        h = self.features(x)
        # What dropout adds to residuals is in the draws already: noise is measured without it.
        return self.output(h), self.output.linear(h).detach(), *self.noise(h)


def noise_columns(head: NoiseHead) -> Callable[[Tensor], Tensor]:
    """Return the head as a map of features (B, H), in float64, to columns (B, K + K * K).

    The first K are standard deviations, the others correlation matrices, row by row.
    """
    head = deepcopy(head).double().eval()

    def columns(h: Tensor) -> Tensor:
        std, factor = head(h)
        return torch.cat([std, (factor @ factor.transpose(1, 2)).flatten(1)], dim=1)

    return columns
