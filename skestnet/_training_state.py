"""Where a training is after an epoch: all that is needed to go on as if it had not stopped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

FloatArray = NDArray[np.float64]
EARLY_STOPPING = ("misses_", "dynamic_threshold_", "best_epoch_")
RECORD = ("stage", "train_loss", "valid_loss", "lr")


class Position(NamedTuple):
    """What does not change in a stage of a training.

    Attributes
    ----------
    stage : int
        Number of the stage.
    first_epoch : int
        Number of epochs before it.
    sample_factor : ndarray of shape (n_rows,)
        The adaptive weights of all rows in this stage.
    """

    stage: int
    first_epoch: int
    sample_factor: FloatArray


class TrainingState(NamedTuple):
    """The state of a training between two epochs.

    Attributes
    ----------
    stage, n_epochs : int
        Number of the stage, and of the epochs that it has had.
    finished : bool
        Whether the training is at its end.
    batch_size : int
        Rows in a batch.
    sample_factor : ndarray of shape (n_rows,)
        The adaptive weights of all rows.
    weights, best : dict of Tensor
        Those of the network, now and after the best epoch of the stage.
    optimizer : dict
        What the optimiser keeps for each parameter, by number and name.
    early_stopping : dict
        Numbers by which the stage is stopped.
    rng : dict of Tensor
        State of torch's generators, by device.
    history : list of dict
        What is known about each epoch.
    """

    stage: int
    n_epochs: int
    finished: bool
    batch_size: int
    sample_factor: FloatArray
    weights: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: dict[int, dict[str, Any]]
    early_stopping: dict[str, float]
    rng: dict[str, Tensor]
    history: list[dict[str, Any]]

    @classmethod
    def of(cls, net: Any, early_stopping: Any, here: Position) -> Self:
        """Return a copy of the state of a net."""
        return cls(
            stage=here.stage,
            n_epochs=len(net.history) - here.first_epoch,
            finished=False,
            batch_size=net.batch_size,
            sample_factor=here.sample_factor,
            weights=on_cpu(net.module_.state_dict()),
            best=early_stopping.best_model_weights_,
            optimizer=_optimizer_state(net),
            early_stopping={name: getattr(early_stopping, name) for name in EARLY_STOPPING},
            rng=_generators(net.device),
            history=[epoch_record(epoch) for epoch in net.history],
        )

    @classmethod
    def at_the_end(cls, net: Any, sample_factor: FloatArray) -> Self:
        """Return the state of a net whose training is finished."""
        optimizer = _optimizer_state(net)
        weights = on_cpu(net.module_.state_dict())
        history = [epoch_record(epoch) for epoch in net.history]
        ends = (2, 0, True, net.batch_size, sample_factor, weights, weights, optimizer)
        return cls(*ends, early_stopping={}, rng={}, history=history)

    def restore(self, net: Any) -> None:
        """Bring network, optimiser, generators and history back to this state."""
        net.module_.load_state_dict(self.weights)
        groups = net.optimizer_.state_dict()["param_groups"]
        state = {"state": deepcopy(self.optimizer), "param_groups": groups}
        net.optimizer_.load_state_dict(state)
        net.batch_size = min(net.batch_size, self.batch_size)
        if "cpu" in self.rng:
            torch.set_rng_state(self.rng["cpu"])
        if (device := str(net.device)) != "cpu" and device in self.rng:
            torch.cuda.set_rng_state(self.rng[device], device)
        del net.history[len(self.history) :]
        for epoch in self.history[len(net.history) :]:
            remember(net.history, epoch)

    def restore_early_stopping(self, early_stopping: Any) -> None:
        """Bring early stopping back to this state."""
        for name, value in self.early_stopping.items():
            setattr(early_stopping, name, value)
        early_stopping.best_model_weights_ = self.best


def on_cpu(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return copies of tensors outside the memory of a GPU, and what else there is."""
    return {
        name: value.detach().cpu().clone() if isinstance(value, Tensor) else value
        for name, value in values.items()
    }


def _optimizer_state(net: Any) -> dict[int, dict[str, Any]]:
    state = net.optimizer_.state_dict()["state"]
    return {number: on_cpu(kept) for number, kept in state.items()}


def _generators(device: str) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if str(device).startswith("cuda"):
        states[str(device)] = torch.cuda.get_rng_state(device)
    return states


@contextmanager
def lent_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Give a network other weights for a while."""
    own = on_cpu(module.state_dict())
    module.load_state_dict(weights)
    try:
        yield
    finally:
        module.load_state_dict(own)


def epoch_record(epoch: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `history_` tells about an epoch of a skorch net."""
    return {**{name: epoch.get(name) for name in RECORD}, "seconds": epoch["dur"]}


def remember(history: Any, epoch: Mapping[str, Any]) -> None:
    """Add an epoch of `history_` to the history of a net."""
    history.new_epoch()
    history.record("epoch", len(history))
    history.record("dur", epoch["seconds"])
    for name in RECORD:
        history.record(name, epoch[name])
