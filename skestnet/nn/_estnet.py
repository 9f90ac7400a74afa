"""EstNet: input, PRSE, GRU and output module in a row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skestnet.nn._blocks import GRUModule, InputModule, OutputModule, PRSEModule

N_STAGES = 4
# Convolutions beside the blocks' own two: the input's, and a projection at each change of width.
N_OTHER_CONVS = 1 + (N_STAGES - 1)
MIN_DEPTH = N_OTHER_CONVS + 2 * N_STAGES


class EstNet(nn.Module):
    """Network of Xie et al. (2025), section 2.2: from a spectrum to its standardised labels.

    Parameters
    ----------
    n_pixels : int
        Number of pixels L of a spectrum, at least 1.
    n_outputs : int, default=1
        Number of labels K.
    depth : int, default=34
        Number of one-dimensional convolutions, even and at least 12. The paper's networks are 34
        (effective temperature) and 66 (surface gravity).
    width : int, default=64
        Number of feature maps after the input module; the last stage has eight times as many. The
        paper's is 64.
    dropout : float, default=0.6
        Probability of dropping a feature before the last linear layer.
    reduction : int, default=16
        Squeeze factor of the channel weights.
    blocks : sequence of four int, default=None
        PRSE blocks in each stage. None spreads the blocks that `depth` asks for evenly.
    shortcut : int, default=0
        Number of maps, mixed from the last ones, that reach the output module past the GRU, which
        leaves L / 16 features only. The paper's network has none.

    Raises
    ------
    ValueError
        If `depth` is odd or below 12, or if `blocks` is given and does not add up to `depth`.

    References
    ----------
    Xie et al. (2025), A&A 704, A37, section 2.2 and figure 3.

    Examples
    --------
    >>> import torch
    >>> from skestnet.nn import EstNet
    >>> net = EstNet(n_pixels=977, depth=12, width=4).eval()
    >>> net(torch.zeros(2, 977)).shape
    torch.Size([2, 1])
    >>> net.features(torch.zeros(2, 977)).shape  # 977 / 16, rounded up
    torch.Size([2, 62])
    >>> net.descriptors(torch.zeros(2, 977)).shape
    torch.Size([2, 32])
    """

    def __init__(
        self,
        n_pixels: int,
        n_outputs: int = 1,
        *,
        depth: int = 34,
        width: int = 64,
        dropout: float = 0.6,
        reduction: int = 16,
        blocks: Sequence[int] | None = None,
        shortcut: int = 0,
    ) -> None:
        super().__init__()
        length = -(-n_pixels // 2**N_STAGES)  # every halving rounds up
        self.n_largest = width * n_pixels  # numbers in the largest feature map of a spectrum
        self.input = InputModule(width)
        self.prse = PRSEModule(width, _blocks_per_stage(depth, blocks), reduction)
        self.gru = GRUModule(length)
        self.shortcut = _mix(8 * width, shortcut) if shortcut else None
        self.output = OutputModule(length * (1 + shortcut), n_outputs, dropout)
        self.apply(_init_normal)

    def features(self, x: Tensor) -> Tensor:
        """Compute what enters the output module; nothing in it is random.

        Parameters
        ----------
        x : Tensor of shape (B, L)
            Spectra.

        Returns
        -------
        Tensor of shape (B, ceil(L / 16) * (1 + shortcut))
            Features before dropout.
        """
        maps = self._maps(x)
        read = self.gru(maps).flatten(1)  # (B, L/16)
        if self.shortcut is None:
            return read
        return torch.cat([read, self.shortcut(maps).flatten(1)], dim=1)

    def descriptors(self, x: Tensor) -> Tensor:
        """Compute how much each of the last feature maps varies along the spectrum.

        They tell spectra of another kind from those trained on better than `features` do, which
        keep little beside the labels.

        Parameters
        ----------
        x : Tensor of shape (B, L)
            Spectra.

        Returns
        -------
        Tensor of shape (B, 8 * width)
            Standard deviations over the positions; zeros where there is a single one.
        """
        return self._maps(x).std(dim=-1, unbiased=False)

    def _maps(self, x: Tensor) -> Tensor:
        maps = self.input(x.unsqueeze(1))  # (B, C, L)
        return self.prse(maps)  # (B, 8 C, L/16)

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


def _blocks_per_stage(depth: int, blocks: Sequence[int] | None) -> tuple[int, ...]:
    if depth < MIN_DEPTH or depth % 2:
        raise ValueError(
            f"depth={depth!r}: expected an even number of at least {MIN_DEPTH} (it counts the "
            f"convolutions). Try {MIN_DEPTH} for a laptop; the paper's are 34 and 66."
        )
    n_blocks = (depth - N_OTHER_CONVS) // 2
    if blocks is None:
        return _spread(n_blocks)
    if len(blocks) != N_STAGES or min(blocks) < 1 or sum(blocks) != n_blocks:
        raise ValueError(
            f"blocks={tuple(blocks)!r}: expected {N_STAGES} positive numbers with the sum "
            f"(depth - {N_OTHER_CONVS}) / 2 = {n_blocks} for depth={depth}."
        )
    return tuple(blocks)


def _spread(n_blocks: int) -> tuple[int, ...]:
    """Share blocks evenly; the remainder goes to the later stages, where a block costs least."""
    base, extra = divmod(n_blocks, N_STAGES)
    return tuple(base + (stage >= N_STAGES - extra) for stage in range(N_STAGES))


def _mix(n_in: int, n_out: int) -> nn.Module:
    return nn.Sequential(nn.Conv1d(n_in, n_out, 1), nn.BatchNorm1d(n_out), nn.PReLU())


@torch.no_grad()
def _init_normal(module: nn.Module) -> None:
    """Draw weights from normal distributions (section 2.3), scaled to keep the variance."""
    if isinstance(module, nn.Conv1d):
        nn.init.kaiming_normal_(module.weight, a=0.25)  # 0.25 is PReLU's first slope
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=module.in_features**-0.5)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.GRU):
        for name, parameter in module.named_parameters():
            if "weight" in name:
                nn.init.normal_(parameter, std=module.hidden_size**-0.5)
            else:
                nn.init.zeros_(parameter)
