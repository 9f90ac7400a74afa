"""The four modules of EstNet, named as in figure 3 of the paper.

Shapes: B spectra in a batch, L pixels, C channels, K labels.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

# Hu et al. (2018) squeeze by 16; below 64 channels that would leave fewer than these units.
MIN_SQUEEZED = 4


class InputModule(nn.Module):
    """Lift the flux to `channels` feature maps of the same length (eq. 5).

    Parameters
    ----------
    channels : int
        Number of feature maps.

    Examples
    --------
    >>> import torch
    >>> from skestnet.nn import InputModule
    >>> InputModule(64)(torch.zeros(2, 1, 977)).shape
    torch.Size([2, 64, 977])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, channels, kernel_size=3, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(channels)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 1, L) to (B, C, L)."""
        return self.act(self.norm(self.conv(x)))


class SqueezeExcitation(nn.Module):
    """Weigh the channels of a feature map by what all its pixels say (Hu et al. 2018)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        squeezed = max(channels // reduction, MIN_SQUEEZED)
        self.squeeze = nn.Linear(channels, squeezed)
        self.act = nn.PReLU()
        self.excite = nn.Linear(squeezed, channels)

    def forward(self, y: Tensor) -> Tensor:
        """Map (B, C, L) to channel weights in (0, 1), shape (B, C, 1)."""
        pooled = y.mean(dim=-1)  # (B, C)
        return self.excite(self.act(self.squeeze(pooled))).sigmoid().unsqueeze(-1)


class PRSEBlock(nn.Module):
    """Two chained residual connections: convolutions, then squeeze and excitation.

    ``y = PReLU(f(x) + shortcut(x))`` and ``z = y + SE(y) * y`` (figure 3, panel 6).

    Parameters
    ----------
    in_channels, out_channels : int
        Number of feature maps of the input and the output. The shortcut holds a 1x1 convolution
        only where the two differ.
    stride : {1, 2}
        2 halves the length, L to ceil(L/2).
    reduction : int
        Squeeze factor of the channel weights.

    Examples
    --------
    >>> import torch
    >>> from skestnet.nn import PRSEBlock
    >>> PRSEBlock(64, 128, 2, 16)(torch.zeros(2, 64, 489)).shape
    torch.Size([2, 128, 245])
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, reduction: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm1d(out_channels)
        self.act1 = nn.PReLU()
        self.conv2 = nn.Conv1d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm1d(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride)
        self.act2 = nn.PReLU()
        self.se = SqueezeExcitation(out_channels, reduction)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, L) to (B, C_out, ceil(L / stride))."""
        f = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x)))))
        y = self.act2(f + self.shortcut(x))
        return y + self.se(y) * y


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if in_channels != out_channels:
        projection = nn.Conv1d(in_channels, out_channels, 1, stride, bias=False)
        return nn.Sequential(projection, nn.BatchNorm1d(out_channels))
    if stride > 1:
        return nn.AvgPool1d(stride, ceil_mode=True)
    return nn.Identity()


class PRSEModule(nn.Sequential):
    """Four stages of PRSE blocks; each halves the length, each after the first doubles the width.

    Maps (B, C, L) to (B, 8 C, L/16), every halving rounded up (eq. 6).

    Parameters
    ----------
    channels : int
        Number of feature maps of the input.
    blocks : sequence of four int
        Number of blocks in each stage, at least one.
    reduction : int
        Squeeze factor of the channel weights.

    Examples
    --------
    >>> import torch
    >>> from skestnet.nn import PRSEModule
    >>> PRSEModule(4, (1, 1, 1, 1), 16)(torch.zeros(2, 4, 977)).shape
    torch.Size([2, 32, 62])
    """

    def __init__(self, channels: int, blocks: Sequence[int], reduction: int) -> None:
        stages = []
        in_channels = channels
        for stage, n_blocks in enumerate(blocks):
            out_channels = channels * 2**stage
            first = PRSEBlock(in_channels, out_channels, 2, reduction)
            others = (
                PRSEBlock(out_channels, out_channels, 1, reduction) for _ in range(1, n_blocks)
            )
            stages.append(nn.Sequential(first, *others))
            in_channels = out_channels
        super().__init__(*stages)


class GRUModule(nn.Module):
    """Read the channels one after the other and keep the last hidden state (eqs. 3, 4, 7).

    The channels are the time steps, the positions are the features: the result is one feature
    vector that has seen every channel.

    Parameters
    ----------
    length : int
        Number of positions, the size of the input features and of the hidden state.

    Examples
    --------
    >>> import torch
    >>> from skestnet.nn import GRUModule
    >>> GRUModule(62)(torch.zeros(2, 512, 62)).shape
    torch.Size([2, 1, 62])
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.gru = nn.GRU(length, length, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, L) to (B, 1, L)."""
        _, last = self.gru(x)  # (1, B, L)
        return last.transpose(0, 1)


class OutputModule(nn.Module):
    """Monte Carlo dropout and one linear layer (eq. 8).

    Parameters
    ----------
    length : int
        Number of features.
    n_outputs : int
        Number of labels.
    dropout : float
        Probability of dropping a feature.

    Examples
    --------
    >>> import torch
    >>> from skestnet.nn import OutputModule
    >>> OutputModule(62, 1, 0.6)(torch.zeros(2, 62)).shape
    torch.Size([2, 1])
    """

    def __init__(self, length: int, n_outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(length, n_outputs)

    def forward(self, h: Tensor) -> Tensor:
        """Map (B, L) to (B, K)."""
        return self.linear(self.dropout(h))
