"""What happens at batches and epochs of training, as callbacks of skorch."""

from __future__ import annotations

from typing import Any

import numpy as np
from skorch import NeuralNet
from skorch.callbacks import Callback

from skestnet._batches import EvenBatches

# Share of a stage's steps over which the learning rate rises, and its first and last value
# relative to `lr`.
WARM_UP = 0.1
LR_FLOOR = 0.01


class LearningRateDecay(Callback):
    """Warm up linearly, then decay along a half cosine to a hundredth by the stage's last step.

    Parameters
    ----------
    lr : float
        Largest learning rate.
    max_epochs : int
        Number of epochs in the stage.
    first_epoch : int, default=0
        Number of epochs before the stage.
    """

    def __init__(self, lr: float, max_epochs: int, first_epoch: int = 0) -> None:
        self.lr = lr
        self.max_epochs = max_epochs
        self.first_epoch = first_epoch

    def on_epoch_begin(self, net: NeuralNet, dataset_train: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        """Count the steps of the epoch; an epoch that is repeated has the same rates."""
        n_batches = len(EvenBatches(len(dataset_train), net.batch_size, shuffle=True))
        self.n_steps_ = self.max_epochs * n_batches
        self.step_ = (len(net.history) - 1 - self.first_epoch) * n_batches

    def on_batch_begin(self, net: NeuralNet, training: bool = False, **kwargs: Any) -> None:  # noqa: ARG002
        """Set the rate of the coming step."""
        if not training:
            return
        for group in net.optimizer_.param_groups:
            group["lr"] = self.lr * self._factor(self.step_ / self.n_steps_)
        self.step_ += 1

    def _factor(self, progress: float) -> float:
        if progress < WARM_UP:
            return LR_FLOOR + (1 - LR_FLOOR) * progress / WARM_UP
        phase = min(1.0, (progress - WARM_UP) / (1 - WARM_UP))
        return LR_FLOOR + (1 - LR_FLOOR) * 0.5 * (1 + float(np.cos(np.pi * phase)))


class DivergenceGuard(Callback):
    """Stop at the first loss that is not finite, with an error that says where and what to try.

    Parameters
    ----------
    stage : int
        Number of the training stage, for the message.
    """

    def __init__(self, stage: int) -> None:
        self.stage = stage

    def on_batch_end(self, net: NeuralNet, training: bool = False, **kwargs: Any) -> None:  # noqa: ARG002
        """Check the batch's loss."""
        name = "train_loss" if training else "valid_loss"
        loss = net.history[-1, "batches", -1, name]
        if not np.isfinite(loss):
            lr = net.optimizer_.param_groups[0]["lr"]
            raise FloatingPointError(
                f"{name} became {loss} in epoch {len(net.history)} (stage {self.stage}, learning "
                f"rate {lr:.2g}). Lower lr, or bring the features to order one "
                "(StandardScaler after the flux scaling)."
            )


class StageLog(Callback):
    """Note stage and learning rate in the history, and advance the bar over both stages.

    Parameters
    ----------
    stage : int
        Number of the training stage.
    bar : tqdm
        The bar to advance.
    """

    def __init__(self, stage: int, bar: Any) -> None:
        self.stage = stage
        self.bar = bar

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:  # noqa: ARG002
        """Record the epoch's stage and last learning rate."""
        net.history.record("stage", self.stage)
        net.history.record("lr", net.optimizer_.param_groups[0]["lr"])
        self._show(net.history[-1])

    def _show(self, epoch: dict[str, Any]) -> None:
        losses = {key: f"{epoch[key]:.4f}" for key in ("train_loss", "valid_loss") if key in epoch}
        self.bar.set_description(f"stage {self.stage}", refresh=False)
        self.bar.set_postfix(losses, refresh=False)
        self.bar.update()
