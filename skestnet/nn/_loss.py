"""The weighted losses of both training stages: Huber, and the likelihood where noise is learnt."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss


class WeightedHuberLoss(nn.Module):
    """Mean of ``weight * huber(y_pred - y)``, eq. 18 of Xie et al. (2025); weight 1 is eq. 9.

    The paper's eq. 18 leaves the constant ``delta**2 / 2`` unweighted, so that its value jumps at
    ``|r| = delta``. Here the weight multiplies the whole loss: the gradients are the same.

    Parameters
    ----------
    delta : float, default=1.0
        Residual, in standard deviations of the labels, from which the loss grows linearly.

    Examples
    --------
    >>> import torch
    >>> from skestnet.nn import WeightedHuberLoss
    >>> y, weight = torch.zeros(2, 1), torch.tensor([1.0, 0.5])
    >>> WeightedHuberLoss(delta=1.0)(torch.tensor([[1.0], [2.0]]), (y, weight))
    tensor(0.6250)
    """

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        self.delta = delta

    def forward(self, y_pred: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
        """Compute the loss of a batch.

        Parameters
        ----------
        y_pred : Tensor of shape (B, K)
            Estimated labels.
        target : tuple of Tensor of shapes (B, K) and (B,)
            Labels and weights.

        Returns
        -------
        Tensor of shape ()
            Mean over the batch of the weighted loss, itself the mean over the labels.
        """
        y, weight = target
        loss = huber_loss(y_pred, y, reduction="none", delta=self.delta)  # (B, K)
        return (weight * loss.mean(dim=1)).mean()


class BetaNLLLoss(nn.Module):
    """Weighted likelihood of normal labels, in parts: for the mean and for the noise.

    The mean is taught by squared residuals times ``std**(2 beta - 2)``. In the plain likelihood
    (``beta=0``) large residuals at first hardly count, since they are divided by their variance;
    with ``beta=1`` all count alike. The power is a constant for the gradients (Seitzer et al.
    2022). Standard deviations and correlations are taught by the likelihood of the residuals of
    the mean without dropout.

    In evaluation mode it is the continuous ranked probability score instead: the two parts of the
    training loss add up to no score of distributions, so that it is no measure to stop by.

    Parameters
    ----------
    beta : float, default=0.5
        Power, in [0, 1].

    References
    ----------
    Seitzer et al. (2022), "On the pitfalls of heteroscedastic uncertainty estimation with
    probabilistic neural networks", ICLR.

    Examples
    --------
    >>> import torch
    >>> from skestnet.nn import BetaNLLLoss
    >>> mean, std, factor = torch.zeros(1, 1), torch.full((1, 1), 2.0), torch.ones(1, 1, 1)
    >>> y, weight = torch.full((1, 1), 2.0), torch.ones(1)
    >>> BetaNLLLoss(beta=0)((mean, mean, std, factor), (y, weight))  # 1/2 + log 2 + 1/2
    tensor(1.6931)
    """

    def __init__(self, beta: float = 0.5) -> None:
        super().__init__()
        self.beta = beta

    def forward(
        self, predicted: tuple[Tensor, Tensor, Tensor, Tensor], target: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Compute the loss of a batch.

        Parameters
        ----------
        predicted : tuple of Tensor of shapes (B, K), (B, K), (B, K) and (B, K, K)
            Means with dropout and without, standard deviations, and lower triangular factors of
            the correlations.
        target : tuple of Tensor of shapes (B, K) and (B,)
            Labels and weights.

        Returns
        -------
        Tensor of shape ()
            Mean over the batch of the weighted loss, itself the mean over the labels.
        """
        mean, centre, std, factor = predicted
        y, weight = target
        z = (y - centre) / std
        if not self.training:
            return (weight * (std * _standard_crps(z)).mean(dim=1)).mean()
        of_mean = 0.5 * (y - mean) ** 2 * std.detach() ** (2 * self.beta - 2)
        of_noise = std.log() + 0.5 * z**2 + _correlation_loss(z.detach(), factor)
        return (weight * (of_mean + of_noise).mean(dim=1)).mean()


def _standard_crps(z: Tensor) -> Tensor:
    """Compute the CRPS of the standard normal distribution (Gneiting and Raftery 2007)."""
    inside = torch.erf(z / math.sqrt(2))
    density = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    return z * inside + 2 * density - 1 / math.sqrt(math.pi)


def _correlation_loss(z: Tensor, factor: Tensor) -> Tensor:
    """Compute what correlations add to the negative log likelihood of each label."""
    white = torch.linalg.solve_triangular(factor, z.unsqueeze(2), upper=False).squeeze(2)
    return factor.diagonal(dim1=1, dim2=2).log() + 0.5 * (white**2 - z**2)
