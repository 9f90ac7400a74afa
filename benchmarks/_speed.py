"""What the benchmarks of speed share: spectra, a bare training loop, fair timing, and memory."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _results import Progress
from numpy.typing import NDArray
from torch.nn.functional import huber_loss
from tqdm.auto import tqdm

from skestnet import EstNetRegressor

Rows = list[dict[str, Any]]
Spectra = NDArray[np.float32]
Labels = NDArray[np.float64]

# What regressor and bare loop have in common.
BATCH = 32
LR = 0.003
WEIGHT_DECAY = 0.0008
DROPOUT = 0.2


def spectra(n: int, n_pixels: int, seed: int = 0) -> tuple[Spectra, Labels]:
    """Draw noise for spectra, and two labels: what an epoch costs does not depend on them."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, n_pixels), dtype=np.float32), rng.standard_normal((n, 2))


def one_stage(epochs: int, **params: Any) -> EstNetRegressor:
    """Build a regressor that trains for so many epochs, without anything around them."""
    plain = {"weighter": None, "noise": "none", "validation_fraction": 0.0, "random_state": 0}
    stop = {"max_epochs": epochs, "n_iter_no_change": epochs}
    shared = {"batch_size": BATCH, "lr": LR, "weight_decay": WEIGHT_DECAY, "dropout": DROPOUT}
    return EstNetRegressor(**{**plain, **stop, **shared, **params})


def bare_training(
    module: torch.nn.Module, X: Spectra, y: Labels, epochs: int, device: str = "cpu", lr: float = LR
) -> list[dict[str, float]]:
    """Train as a script in plain torch would; return loss and seconds of each epoch.

    `y` is standardised. Batches, optimiser and loss are those of `one_stage`.
    """
    module.to(device).train()
    optimizer = torch.optim.Adam(module.parameters(), lr=lr, weight_decay=WEIGHT_DECAY)
    target = torch.as_tensor(y, dtype=torch.float32)
    history = []
    for _ in range(epochs):
        start, total = time.perf_counter(), 0.0
        for rows in torch.randperm(len(X)).split(BATCH):
            batch = torch.from_numpy(X[rows.numpy()]).to(device)
            optimizer.zero_grad()
            loss = huber_loss(module(batch), target[rows].to(device))
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        history.append({"train_loss": total / len(X), "seconds": time.perf_counter() - start})
    return history


# ---- Time --------------------------------------------------------------------------------------


class Timed(NamedTuple):
    """Seconds of each call, and what the calls returned."""

    seconds: NDArray[np.float64]
    results: list[Any]


def alternate(functions: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, Timed]:
    """Call functions in turn, every other round backwards, and time each call."""
    calls: dict[str, list[tuple[float, Any]]] = {name: [] for name in functions}
    for k in range(repeats):
        for name in list(functions)[:: (-1) ** k]:
            start = time.perf_counter()
            result = functions[name]()
            calls[name].append((time.perf_counter() - start, result))
    return {
        name: Timed(np.array([s for s, _ in some]), [result for _, result in some])
        for name, some in calls.items()
    }


def spread(name: str, values: NDArray[np.float64]) -> dict[str, float]:
    """Return median, smallest and largest value as columns."""
    return {
        name: float(np.median(values)),
        f"{name}_min": float(values.min()),
        f"{name}_max": float(values.max()),
    }


def run_tasks(
    tasks: Mapping[tuple[Hashable, ...], Callable[[], Rows]], progress: Progress | None
) -> Rows:
    """Run what is not in the progress file yet, and return the rows of all tasks in their order.

    Rows that another number of threads computed do not count.
    """
    threads = torch.get_num_threads()
    found: dict[str, Rows] = {}
    for row in progress.rows() if progress else []:
        if row["threads"] == threads:
            found.setdefault(row["task"], []).append(row)
    names = {" ".join(map(str, key)): task for key, task in tasks.items()}
    for name, task in (bar := tqdm(names.items())):
        bar.set_description(name)
        if name not in found:
            found[name] = [{"task": name, "threads": threads, **row} for row in task()]
            if progress:
                progress.add(found[name])
    return [row for name in names for row in found[name]]


def of_part(rows: Rows, part: str) -> Rows:
    """Return the rows of the tasks of a part, without the name of the task."""
    mine = [row for row in rows if row["task"].split()[0] == part]
    return [{key: value for key, value in row.items() if key != "task"} for row in mine]


# ---- Memory ------------------------------------------------------------------------------------


def peak_memory(function: Callable[..., Any], *arguments: Any) -> dict[str, float]:
    """Call a function in a process of its own; return the peak of its memory in MB (Linux).

    "resident" counts pages of mapped files that are in memory at the moment, which the system takes
    back where it needs them. "own" does not: it is looked at a hundred times a second. Both begin
    after the imports, and "process" is the resident memory with them.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_watched, function, *arguments).result()


def _watched(function: Callable[..., Any], *arguments: Any) -> dict[str, float]:
    before, own, done = _status(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            own.append(_status()["RssAnon"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    try:
        function(*arguments)
    finally:
        done.set()
        watcher.join()
    peak = _status()["VmHWM"]
    return {
        "resident_MB": peak - before["VmRSS"],
        "own_MB": max(own) - before["RssAnon"],
        "process_MB": peak,
        "seconds": time.perf_counter() - start,
    }


def _status() -> dict[str, float]:
    # getrusage would do, but a new process inherits its ru_maxrss from the one that started it.
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) / 1024 for name in ("VmHWM", "VmRSS", "RssAnon")}
