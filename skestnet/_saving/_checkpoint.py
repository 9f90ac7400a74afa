"""A file that keeps a training: an estimator that `load` reads, and beside it what training needs.

What training needs are numbers in JSON and arrays in safetensors, as with everything that is saved.
"""

from __future__ import annotations

import json
import warnings
from os import PathLike
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch

from skestnet._network import TwoStageRegressor
from skestnet._saving._container import (
    check_place,
    remove_leftovers,
    unsealed,
    write_atomically,
)
from skestnet._saving._load import build, import_skops, loading
from skestnet._saving._networks import check_net_params
from skestnet._saving._save import packed, saving, seal
from skestnet._training_state import TrainingState

NUMBERS, ARRAYS = "training.json", "training.safetensors"
PLAIN = ("stage", "n_epochs", "finished", "batch_size", "early_stopping", "history")
# What may be another when a training goes on.
FREE = {"checkpoint", "device", "n_draws", "verbose"}
SHARED = (
    "(The fits of a search, a cross-validation or an ensemble cannot share one: each needs a file "
    "of its own.)"
)
Stamp = tuple[int, int, int] | None


class Checkpoint:
    """The file of one training.

    Parameters
    ----------
    path : str or path-like
        The file.
    regressor : TwoStageRegressor
        What is trained; only its parameters matter.

    Raises
    ------
    ImportError
        If skops or safetensors is not installed.
    ValueError
        If it is no name of a file.
    OSError
        If there is no such folder, or nothing can be written to it.
    TypeError
        If a parameter cannot be saved.
    """

    def __init__(self, path: str | PathLike[str], regressor: TwoStageRegressor) -> None:
        if not isinstance(path, str | PathLike):
            raise ValueError(f"checkpoint={path!r}: expected the name of a file, or None.")
        import_skops()
        self.path = Path(path)
        check_place(self.path, f"checkpoint={str(path)!r}")
        with saving("the training"):  # what cannot be saved is to fail before it
            check_net_params(regressor.net_params)
            self.wanted = build(packed(self.bare_copy(regressor)))
        self.digest = ""
        self.known: Stamp = None

    @staticmethod
    def bare_copy(regressor: TwoStageRegressor) -> TwoStageRegressor:
        """Return an unfitted one, without what scikit-learn attaches while a pipeline is running.

        Parameters
        ----------
        regressor : TwoStageRegressor
            With which parameters.

        Returns
        -------
        TwoStageRegressor
            Another one.
        """
        return type(regressor)(**regressor.get_params(deep=False))

    def read(self, digest: str) -> tuple[TwoStageRegressor, TrainingState] | tuple[None, None]:
        """Return what the file holds, None if there is none.

        Parameters
        ----------
        digest : str
            That of the training data.

        Returns
        -------
        estimator : TwoStageRegressor
            As fitted so far.
        state : TrainingState
            From which to go on.

        Raises
        ------
        ValueError
            If the file is damaged, or holds another training; the message says what is different.
        """
        self.digest = digest
        remove_leftovers(self.path)
        if not self.path.exists():
            return None, None
        self.known, content = _stamp(self.path), self.path.read_bytes()
        with loading(self.path) as versions:
            members, found = unsealed(content)
            versions.update(found)
            estimator = build(members)
            if NUMBERS not in members:
                raise ValueError("it is no checkpoint, but a model of skestnet.save")
            numbers = json.loads(members[NUMBERS])
            state = _unpacked(numbers, members[ARRAYS], estimator)
        different = changes(estimator, self.wanted)
        if numbers["data"] != digest:
            different.append("other data (X, y or sample_weight)")
        if different:
            raise ValueError(
                f"The checkpoint {self.path} is of a fit with {'; '.join(different)}. To go on "
                f"from it, fit as before; to begin anew, delete it or name another file. {SHARED}"
            )
        return estimator, state

    def write(self, estimator: TwoStageRegressor, state: TrainingState) -> None:
        """Replace the file as a whole.

        Parameters
        ----------
        estimator : TwoStageRegressor
            As fitted so far.
        state : TrainingState
            From which to go on.

        Raises
        ------
        ValueError
            If someone else has written it since.

        Warns
        -----
        UserWarning
            If it could not be written.
        """
        if _stamp(self.path) != self.known:
            raise ValueError(f"Another fit writes to the checkpoint {self.path}, too. {SHARED}")
        numbers = {name: getattr(state, name) for name in PLAIN}
        arrays, optimizer = _flat(state)
        numbers |= {"data": self.digest, "optimizer": optimizer}
        from safetensors.torch import save

        members = packed(estimator)
        members[NUMBERS] = json.dumps(numbers, default=float).encode()
        members[ARRAYS] = save(arrays)
        try:
            write_atomically(self.path, seal(members))
        except OSError as error:  # a full disk is no reason to lose the training
            warnings.warn(
                f"The checkpoint {self.path} could not be written after epoch "
                f"{len(state.history)} ({error}). The training goes on, and tries again after the "
                "next.",
                stacklevel=2,
            )
        self.known = _stamp(self.path)


def _stamp(path: Path) -> Stamp:
    """Return what changes whenever a file is replaced; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def changes(old: TwoStageRegressor, new: TwoStageRegressor) -> list[str]:
    """Say which parameters of two regressors differ, and how."""
    if type(old) is not type(new):
        return [f"{type(old).__name__}, not {type(new).__name__}"]
    before, now = old.get_params(), new.get_params()
    return [
        f"{name}={before.get(name)!r}, not {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if name not in FREE and _differ(name, before.get(name), now.get(name))
    ]


def _differ(name: str, old: Any, new: Any) -> bool:
    if hasattr(old, "get_params"):  # whose parameters are among those that are compared
        return type(old) is not type(new)
    if name.rpartition("__")[2] == "random_state" and not (_is_seed(old) or _is_seed(new)):
        return False  # a generator moves on with every fit: that of the checkpoint is kept
    return bool(joblib.hash(old) != joblib.hash(new))


def _is_seed(random_state: Any) -> bool:
    return isinstance(random_state, int | np.integer)


def _flat(state: TrainingState) -> tuple[dict[str, torch.Tensor], list[list[Any]]]:
    """Return the arrays of a state by name, and what else the optimiser keeps."""
    factor = torch.from_numpy(np.ascontiguousarray(state.sample_factor))
    arrays = {"sample_factor": factor}
    arrays |= {f"weights/{name}": tensor for name, tensor in state.weights.items()}
    arrays |= {f"rng/{device}": generator for device, generator in state.rng.items()}
    others: list[list[Any]] = []
    for number, kept in state.optimizer.items():
        for name, value in kept.items():
            if isinstance(value, torch.Tensor):
                arrays[f"optimizer/{number}/{name}"] = value
            else:
                others.append([number, name, value])
    return {name: tensor.contiguous() for name, tensor in arrays.items()}, others


def _unpacked(numbers: dict[str, Any], content: bytes, estimator: Any) -> TrainingState:
    from safetensors.torch import load

    arrays = load(content)
    optimizer: dict[int, dict[str, Any]] = {}
    for number, name, value in numbers["optimizer"]:
        optimizer.setdefault(number, {})[name] = value
    for name, tensor in _below("optimizer", arrays).items():
        number, _, kept = name.partition("/")
        optimizer.setdefault(int(number), {})[kept] = tensor
    return TrainingState(
        **{name: numbers[name] for name in PLAIN},
        sample_factor=arrays["sample_factor"].numpy(),
        weights=_below("weights", arrays),
        best=estimator.net_.module_.state_dict(),
        optimizer=optimizer,
        rng=_below("rng", arrays),
    )


def _below(folder: str, arrays: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    start = f"{folder}/"
    return {name[len(start) :]: arrays[name] for name in arrays if name.startswith(start)}
