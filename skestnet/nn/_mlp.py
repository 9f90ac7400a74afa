"""The paper's baseline: a multilayer perceptron of linear layers and PReLU."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from skestnet.nn._blocks import OutputModule


class MLP(nn.Module):
    """Linear layers with PReLU between them, from a spectrum to its standardised labels.

    Parameters
    ----------
    n_pixels : int
        Number of pixels L of a spectrum, at least 1.
    n_outputs : int, default=1
        Number of labels K.
    hidden : sequence of int, default=(256, 128, 64)
        Number of features after each layer but the last. Three of them make the paper's four
        linear layers; it does not give their sizes.
    dropout : float, default=0.2
        Probability of dropping a feature before the last layer.

    References
    ----------
    Xie et al. (2025), A&A 704, A37, section 4.4.

    Examples
    --------
    >>> import torch
    >>> from skestnet.nn import MLP
    >>> MLP(n_pixels=977)(torch.zeros(2, 977)).shape
    torch.Size([2, 1])
    """

    def __init__(
        self,
        n_pixels: int,
        n_outputs: int = 1,
        *,
        hidden: Sequence[int] = (256, 128, 64),
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.n_largest = max((n_pixels, *hidden))  # numbers in the largest layer of a spectrum
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise((n_pixels, *hidden)):
            layers += [nn.Linear(n_in, n_out), nn.PReLU()]
        self.hidden = nn.Sequential(*layers)
        self.output = OutputModule((n_pixels, *hidden)[-1], n_outputs, dropout)
        self.apply(_init_normal)

    def features(self, x: Tensor) -> Tensor:
        """Compute what enters the output module; nothing in it is random.

        Parameters
        ----------
        x : Tensor of shape (B, L)
            Spectra.

        Returns
        -------
        Tensor of shape (B, hidden[-1])
            Features before dropout.
        """
        return self.hidden(x)

    def descriptors(self, x: Tensor) -> Tensor:
        """Compute what tells spectra of another kind from those trained on: the features.

        Parameters
        ----------
        x : Tensor of shape (B, L)
            Spectra.

        Returns
        -------
        Tensor of shape (B, hidden[-1])
            Features before dropout.
        """
        return self.features(x)

    def forward(self, x: Tensor) -> Tensor:
        """Estimate the labels.

        Parameters
        ----------
        x : Tensor of shape (B, L)
            Spectra.

        Returns
        -------
        Tensor of shape (B, K)
            Standardised labels.
        """
        return self.output(self.features(x))


@torch.no_grad()
def _init_normal(module: nn.Module) -> None:
    """Draw weights from normal distributions (section 2.3), scaled to keep the variance."""
    if isinstance(module, nn.Linear):
        nn.init.kaiming_normal_(module.weight, a=0.25)  # 0.25 is PReLU's first slope
        nn.init.zeros_(module.bias)
