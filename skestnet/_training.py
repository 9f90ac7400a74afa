"""Training a network with skorch in two stages, which can be interrupted and gone on with.

No other file but _callbacks.py imports skorch.
"""

from __future__ import annotations

import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping
from skorch.helper import predefined_split
from torch import nn
from tqdm.auto import tqdm

from skestnet._batches import FEWEST_ROWS, WeightedRows, iterate_batches
from skestnet._callbacks import DivergenceGuard, LearningRateDecay, StageLog
from skestnet._training_state import Position, TrainingState

SEEDING = threading.RLock()

FloatArray = NDArray[np.float64]
Rows = NDArray[np.intp]

COMPILE = re.compile(r"compile(__\w+)?")


def build_net(
    module: type[nn.Module],
    *,
    module_params: Mapping[str, Any],
    criterion: nn.Module,
    batch_size: int,
    lr: float,
    weight_decay: float,
    device: str,
    net_params: Mapping[str, Any] | None,
) -> NeuralNet:
    """Build and initialise the skorch net; `net_params` overrides any of its arguments."""
    params: dict[str, Any] = {
        "module": module,
        "criterion": criterion,
        "optimizer": torch.optim.Adam,
        "optimizer__weight_decay": weight_decay,
        "lr": lr,
        "batch_size": batch_size,
        "iterator_train": iterate_batches,
        "iterator_train__shuffle": True,
        "iterator_valid": iterate_batches,
        "train_split": None,
        "device": device,
        "verbose": 0,
        **{f"module__{name}": value for name, value in module_params.items()},
        **(net_params or {}),
    }
    how = {name: params.pop(name) for name in list(params) if COMPILE.fullmatch(name)}
    net = NeuralNet(**params).initialize()
    if how.pop("compile", False):
        # Not by skorch, which puts the network into another module: that has other names for the
        # weights, and is no EstNet. Training alone calls the module; predictions call its parts.
        net.module_.compile(**{key.removeprefix("compile__"): how[key] for key in how})
    return net


class StageSettings(NamedTuple):
    """What both stages have in common.

    Attributes
    ----------
    max_epochs : int
        Largest number of epochs in a stage.
    n_iter_no_change : int
        Epochs without improvement after which a stage stops.
    tol : float
        Relative improvement of the monitored loss that counts as such.
    bar : tqdm
        Progress bar over the epochs.
    keep : callable or None
        Called with the :class:`~skestnet._training_state.TrainingState` after each epoch.
    """

    max_epochs: int
    n_iter_no_change: int
    tol: float
    bar: Any
    keep: Callable[[TrainingState], None] | None = None


class Outcome(NamedTuple):
    """How a training ended.

    Attributes
    ----------
    weights : ndarray of shape (n_rows,)
        The adaptive weights, ones where there was no second stage.
    finished : bool
        Whether it came to its end; else the net has the best weights so far.
    error : FloatingPointError or None
        What ended it, if it diverged after some good epochs.
    """

    weights: FloatArray
    finished: bool = True
    error: FloatingPointError | None = None


def train_two_stages(
    net: NeuralNet,
    samples: WeightedRows,
    train: Rows,
    valid: Rows,
    weigh: Callable[[], FloatArray] | None,
    settings: StageSettings,
    state: TrainingState | None = None,
) -> Outcome:
    """Train plainly, weigh the samples by what was learnt, and go on with these weights.

    Parameters
    ----------
    net : NeuralNet
        Initialised net.
    samples : WeightedRows
        All samples.
    train, valid : ndarray of int
        Which of them to train on, and which to stop by (none: stop by the training loss).
    weigh : callable or None
        Gives the adaptive weights of all samples after the first stage. None leaves out the
        second stage.
    settings : StageSettings
        When to stop.
    state : TrainingState, default=None
        Where a training with the same arguments was; it goes on from there. None begins.

    Returns
    -------
    Outcome
        The adaptive weights, and how it ended.
    """
    if state is not None:
        state.restore(net)
        _show_progress(settings.bar, state)
    if state is not None and state.finished:
        return Outcome(state.sample_factor)
    weights = np.ones(len(samples)) if state is None else state.sample_factor
    if state is None or state.stage == 1:
        outcome = _train_stage(net, samples, train, valid, 1, weights, settings, state)
        if weigh is None or not outcome.finished:
            return outcome
        try:
            weights = weigh()
        except KeyboardInterrupt:
            _warn_interrupted(len(net.history), 1, settings, stacklevel=5)
            return outcome._replace(finished=False)
        state = None
    return _train_stage(net, samples, train, valid, 2, weights, settings, state)


def _train_stage(
    net: NeuralNet,
    samples: WeightedRows,
    train: Rows,
    valid: Rows,
    stage: int,
    weights: FloatArray,
    settings: StageSettings,
    state: TrainingState | None,
) -> Outcome:
    """Train until the monitored loss stops improving."""
    samples = samples.reweighted(weights) if stage == 2 else samples
    early_stopping = EarlyStopping(
        monitor="valid_loss" if len(valid) else "train_loss",
        patience=settings.n_iter_no_change,
        threshold=settings.tol,
        sink=_discard,
        load_best=True,
    )
    first = len(net.history) - (state.n_epochs if state else 0)
    callbacks = [
        ("decay", LearningRateDecay(net.lr, settings.max_epochs, first)),
        ("guard", DivergenceGuard(stage)),
        ("log", StageLog(stage, settings.bar)),
        ("early_stopping", early_stopping),
    ]
    here = Position(stage, first, weights)
    with _lent(net, callbacks, samples.subset(valid)):
        try:
            ended = _run(
                net, samples.subset(train, fresh=True), settings, early_stopping, here, state
            )
        except FloatingPointError as error:
            if not any("stage" in epoch for epoch in net.history[first:]) and stage == 1:
                raise
            net.notify("on_train_end", X=None, y=None)
            _forget_cut_epochs(net)
            return Outcome(weights, finished=False, error=error)
    if not ended:
        _warn_interrupted(len(net.history), stage, settings, stacklevel=6)
        _forget_cut_epochs(net)
    return Outcome(weights, finished=ended)


def _forget_cut_epochs(net: NeuralNet) -> None:
    """Drop from the history what was not finished; skorch looks at it until the end."""
    net.history[:] = [epoch for epoch in net.history if "stage" in epoch]


def _warn_interrupted(epoch: int, stage: int, settings: StageSettings, stacklevel: int) -> None:
    way = "from them with warm_start=True" if settings.keep is None else "from its checkpoint"
    warnings.warn(
        f"Interrupted in epoch {epoch} (stage {stage}): the best weights so far are kept. Fit "
        f"again to go on {way}.",
        ConvergenceWarning,
        stacklevel=stacklevel,
    )


@contextmanager
def _lent(
    net: NeuralNet, callbacks: list[tuple[str, Callback]], valid: WeightedRows
) -> Iterator[None]:
    """Lend the net a stage's callbacks and validation rows; it must not keep the data."""
    own = net.callbacks_
    net.callbacks_ = [*own, *callbacks]
    net.train_split = predefined_split(valid) if len(valid) else None
    try:
        yield
    finally:
        net.callbacks_ = own
        net.train_split = None


def _run(
    net: NeuralNet,
    train: WeightedRows,
    settings: StageSettings,
    early_stopping: EarlyStopping,
    here: Position,
    state: TrainingState | None,
) -> bool:
    """Run the epochs of a stage; tell whether the user let it end."""
    net.notify("on_train_begin", X=train, y=None)
    # What an interrupted first epoch falls back on.
    early_stopping.best_model_weights_ = deepcopy(net.module_.state_dict())
    if state is not None:
        state.restore_early_stopping(early_stopping)
    state, ended = TrainingState.of(net, early_stopping, here), True
    try:
        while state.n_epochs < settings.max_epochs:
            _run_epoch(net, train, state)
            state = TrainingState.of(net, early_stopping, here)
            if settings.keep is not None:
                settings.keep(state)
    except KeyboardInterrupt:
        # skorch stops early by the same exception that Ctrl-C raises.
        ended = early_stopping.misses_ >= early_stopping.patience
    net.notify("on_train_end", X=train, y=None)
    return ended


def _run_epoch(net: NeuralNet, train: WeightedRows, before: TrainingState) -> None:
    """Run an epoch; where the memory of a GPU is too small, again with half the batch size."""
    while (reason := _without_memory(net, train)) is not None:
        # Here, where the error no longer holds on to the memory.
        torch.cuda.empty_cache()
        warnings.warn(
            f"The memory of the device is too small for batches of {net.batch_size} spectra "
            f"({reason}): training goes on with batch_size={net.batch_size // 2}.",
            stacklevel=7,
        )
        net.batch_size //= 2
        before.restore(net)


def _without_memory(net: NeuralNet, train: WeightedRows) -> str | None:
    """Run an epoch; tell if there was no memory for it, but might be for smaller batches."""
    try:
        net.fit_loop(train, None, epochs=1)
    except torch.cuda.OutOfMemoryError as error:
        fixed = "iterator_train__batch_size" in vars(net)  # by net_params
        if fixed or net.batch_size < 2 * FEWEST_ROWS:
            raise
        return str(error).partition(".")[0]
    return None


def _discard(text: str) -> None:
    """Swallow what a callback would print."""


def _show_progress(bar: Any, state: TrainingState) -> None:
    """Let a bar begin where a training was, and say so."""
    bar.n = bar.initial = len(state.history)
    if not bar.disable:
        then = "it is finished" if state.finished else f"goes on in stage {state.stage}"
        bar.write(f"Found {bar.n} epochs in the checkpoint: {then}.", file=sys.stderr)
        bar.refresh()


def progress_bar(total: int, verbose: int) -> Any:
    """Open a bar over epochs, silent for ``verbose=0``."""
    return tqdm(total=total, unit="epoch", disable=not verbose, leave=True)


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Seed torch for a while and leave its generators as they were.

    The generators belong to the whole process: threads that train at once take turns.
    """
    devices = [torch.device(device)] if device.startswith("cuda") else []
    with SEEDING, torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU
        for gpu in devices:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield


def resolve_device(device: str) -> str:
    """Turn "auto" into a GPU where there is one, and refuse what is not there."""
    has_gpu = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if has_gpu else "cpu"
    kind = device.partition(":")[0] if isinstance(device, str) else None
    if kind == "cpu" or (kind == "cuda" and has_gpu):
        return device
    raise ValueError(
        f"device={device!r}: expected 'auto', 'cpu' or, with a GPU that torch can use "
        f"({'there is one' if has_gpu else 'there is none'}), 'cuda' or 'cuda:0'. Try 'auto'."
    )
