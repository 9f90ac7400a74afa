"""The weighted Huber loss of both training stages."""

from __future__ import annotations

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
