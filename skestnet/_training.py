"""Training a network with skorch: weighted batches, learning-rate decay, early stopping, seeding.

The only file that imports skorch.
"""

from __future__ import annotations

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
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm.auto import tqdm

# Share of a stage's steps over which the learning rate rises, and its first and last value
# relative to `lr`.
WARM_UP = 0.1
LR_FLOOR = 0.01

# Rows in a batch of predictions: small enough that padding a single spectrum to it is cheap.
PREDICT_BATCH = 32

SEEDING = threading.RLock()

FloatArray = NDArray[np.float64]
Rows = NDArray[np.intp]
Batch = tuple[Tensor, tuple[Tensor, Tensor]]
Fresh = Callable[[Rows, int], NDArray[np.float32]]


class WeightedRows(Dataset[Batch]):
    """Rows of a matrix with labels and weights; a batch is fetched at once and copied once.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Spectra, float32; only the rows of `index` are read.
    y : ndarray of shape (n_rows, n_outputs)
        Standardised labels of the rows.
    weight : ndarray of shape (n_rows,)
        Their weights.
    index : ndarray of shape (n_rows,)
        Where the rows are in `X`.
    fresh : callable, default=None
        ``fresh(index, seed)`` gives another realisation of the spectra; each batch then gets one,
        its seed drawn from torch's generator. None takes them from `X`.
    """

    def __init__(
        self,
        X: NDArray[np.float32],
        y: FloatArray | Tensor,
        weight: FloatArray | Tensor,
        index: Rows,
        fresh: Fresh | None = None,
    ) -> None:
        self.X = X
        self.y = torch.as_tensor(y, dtype=torch.float32)
        self.weight = torch.as_tensor(weight, dtype=torch.float32)
        self.index = index
        self.fresh = fresh

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int) -> Batch:
        return self.__getitems__([item])

    def __getitems__(self, rows: list[int]) -> Batch:
        """Fetch a batch: spectra, and their labels with weights."""
        X = torch.from_numpy(self._spectra(self.index[rows]))
        return X, (self.y[rows], self.weight[rows])

    def _spectra(self, index: Rows) -> NDArray[np.float32]:
        if self.fresh is None:
            return self.X[index]
        return self.fresh(index, int(torch.randint(2**63 - 1, ())))

    def subset(self, rows: Rows, *, fresh: bool = False) -> WeightedRows:
        """Return some of the rows; to train on they may be fresh, to validate they must not."""
        new = self.fresh if fresh else None
        return WeightedRows(self.X, self.y[rows], self.weight[rows], self.index[rows], new)

    def reweighted(self, factor: FloatArray) -> WeightedRows:
        """Return the same rows, their weights multiplied by a factor each."""
        weight = self.weight.numpy() * factor
        return WeightedRows(self.X, self.y, weight, self.index, self.fresh)


class EvenBatches(Sampler[list[int]]):
    """Batches whose sizes differ by one at most, so that none is a single row.

    Batch normalisation fails on one row, and dropping a short last batch would train on nothing
    where there are fewer rows than `batch_size`.

    Parameters
    ----------
    n_rows : int
        Number of rows to share out.
    batch_size : int
        Largest size wanted; exceeded by one where a single row would be left over.
    shuffle : bool
        Whether each epoch has its own random order, from torch's generator.
    """

    def __init__(self, n_rows: int, batch_size: int, shuffle: bool) -> None:
        self.n_rows = n_rows
        self.n_batches = max(1, min(-(-n_rows // batch_size), n_rows // 2))
        self.shuffle = shuffle

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self.n_rows) if self.shuffle else torch.arange(self.n_rows)
        return iter([batch.tolist() for batch in order.tensor_split(self.n_batches)])


def iterate_batches(
    dataset: Dataset[Any], batch_size: int, shuffle: bool = False, **kwargs: Any
) -> DataLoader[Any]:
    """Loop over batches; data that are not ours (``net_.predict(X)``) take torch's own way."""
    if not isinstance(dataset, WeightedRows):
        return DataLoader(dataset, batch_size=batch_size, shuffle=shuffle, **kwargs)
    batches = EvenBatches(len(dataset), batch_size, shuffle)
    return DataLoader(dataset, batch_sampler=batches, collate_fn=_as_is, **kwargs)


def _as_is(batch: Any) -> Any:
    return batch


class LearningRateDecay(Callback):
    """Warm up linearly, then decay along a half cosine to a hundredth by the stage's last step.

    Parameters
    ----------
    lr : float
        Largest learning rate.
    n_steps : int
        Number of batches in the stage.
    """

    def __init__(self, lr: float, n_steps: int) -> None:
        self.lr = lr
        self.n_steps = n_steps

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:  # noqa: ARG002
        """Start the stage."""
        self.step_ = 0

    def on_batch_begin(self, net: NeuralNet, training: bool = False, **kwargs: Any) -> None:  # noqa: ARG002
        """Set the rate of the coming step."""
        if not training:
            return
        for group in net.optimizer_.param_groups:
            group["lr"] = self.lr * self._factor(self.step_ / self.n_steps)
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
    return NeuralNet(**params).initialize()


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
    """

    max_epochs: int
    n_iter_no_change: int
    tol: float
    bar: Any


def train_two_stages(
    net: NeuralNet,
    samples: WeightedRows,
    train: Rows,
    valid: Rows,
    weigh: Callable[[], FloatArray] | None,
    settings: StageSettings,
) -> FloatArray:
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

    Returns
    -------
    ndarray of shape (len(samples),)
        The adaptive weights, ones where there was no second stage.
    """
    weights = np.ones(len(samples))
    finished = _train_stage(net, samples, train, valid, 1, settings)
    if weigh is None or not finished:
        return weights
    try:
        weights = weigh()
    except KeyboardInterrupt:
        _warn_interrupted(len(net.history), stage=1)
        return weights
    _train_stage(net, samples.reweighted(weights), train, valid, 2, settings)
    return weights


def _train_stage(
    net: NeuralNet,
    samples: WeightedRows,
    train: Rows,
    valid: Rows,
    stage: int,
    settings: StageSettings,
) -> bool:
    """Train until the monitored loss stops improving; tell whether the user let it finish."""
    n_batches = len(EvenBatches(len(train), net.batch_size, shuffle=True))
    early_stopping = EarlyStopping(
        monitor="valid_loss" if len(valid) else "train_loss",
        patience=settings.n_iter_no_change,
        threshold=settings.tol,
        sink=_discard,
        load_best=True,
    )
    callbacks = [
        ("decay", LearningRateDecay(net.lr, settings.max_epochs * n_batches)),
        ("guard", DivergenceGuard(stage)),
        ("log", StageLog(stage, settings.bar)),
        ("early_stopping", early_stopping),
    ]
    with _lent(net, callbacks, samples.subset(valid)):
        interrupted = _run(
            net, samples.subset(train, fresh=True), settings.max_epochs, early_stopping
        )
    if interrupted:
        _warn_interrupted(len(net.history), stage)
    return not interrupted


def _warn_interrupted(epoch: int, stage: int) -> None:
    warnings.warn(
        f"Interrupted in epoch {epoch} (stage {stage}): the best weights so far are kept. Fit "
        "again with warm_start=True to go on from them.",
        ConvergenceWarning,
        stacklevel=6,
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
    net: NeuralNet, train: WeightedRows, max_epochs: int, early_stopping: EarlyStopping
) -> bool:
    """Run the epochs; tell whether the user interrupted them."""
    interrupted = False
    net.notify("on_train_begin", X=train, y=None)
    # What an interrupted first epoch falls back on.
    early_stopping.best_model_weights_ = deepcopy(net.module_.state_dict())
    try:
        net.fit_loop(train, None, epochs=max_epochs)
    except KeyboardInterrupt:
        # skorch stops early by the same exception that Ctrl-C raises.
        interrupted = early_stopping.misses_ < early_stopping.patience
    net.notify("on_train_end", X=train, y=None)
    return interrupted


def _discard(text: str) -> None:
    """Swallow what a callback would print."""


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


@torch.no_grad()
def map_features(
    net: NeuralNet,
    X: NDArray[np.float32],
    fn: Callable[[Tensor], Tensor],
    index: Rows | None = None,
    method: str = "features",
) -> FloatArray:
    """Apply `fn` to the network features of rows of `X`, batch by batch, and stack the results.

    Another method of the network than `features` may be named in its place.

    """
    net.module_.eval()
    results = []
    for rows, batch in padded_batches(X, net.device, index):
        features = getattr(net.module_, method)(batch)
        results.append(fn(features.double())[: rows.stop - rows.start].cpu().numpy())
    return np.concatenate(results)


def padded_batches(
    X: NDArray[np.float32], device: Any, index: Rows | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """Yield which rows (of `index`), and a tensor that begins with them.

    Every batch has the same shape, the last one padded: sums inside the matrix products then do
    not depend on how many rows were asked for, nor on their neighbours.
    """
    n_rows = len(X) if index is None else len(index)
    for start in range(0, n_rows, PREDICT_BATCH):
        rows = slice(start, min(start + PREDICT_BATCH, n_rows))
        batch = np.zeros((PREDICT_BATCH, X.shape[1]), dtype=np.float32)
        batch[: rows.stop - start] = X[rows] if index is None else X[index[rows]]
        yield rows, torch.from_numpy(batch).to(device)
