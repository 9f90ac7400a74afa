"""Does anything get lost, whatever goes wrong?

Three parts. "training": a training with a checkpoint is killed (SIGKILL) at random moments of its
whole course, and each time started again, until it is done; then again from the beginning, until
there were enough kills. "survey": the same for a catalogue of `predict_survey`. In both the end
result is compared with that of a run that nobody killed, and the folder is looked at for files that
do not belong there. "soak": a tiny network is fitted and predicts again and again; memory and open
files are noted, and a line is fitted to the second half of the cycles: what they grow by in a
thousand cycles, with the standard error of the slope from the mean of ten blocks.

Processes are forked, so that a kill may also come within milliseconds of the start. Needs Linux and
the extra save. About fifteen minutes on one core; ``--quick`` takes a minute and saves nothing.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import random
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _results import print_table, save_table
from sklearn.linear_model import BayesianRidge
from tqdm.auto import tqdm

import skestnet
from skestnet.datasets import make_white_dwarfs

PARTS = ("training", "survey", "soak")
Rows = list[dict[str, Any]]


# ---- Kills -------------------------------------------------------------------------------------


def train(name: str) -> None:
    """Train with a checkpoint; the model appears when it is done."""
    X, y = make_white_dwarfs(60, n_pixels=64, return_X_y=True, random_state=0)
    network = skestnet.EstNetRegressor(
        width=2, max_epochs=8, random_state=0, device="cpu", checkpoint=f"{name}.checkpoint"
    )
    skestnet.save(network.fit(X / X.mean(), y), f"{name}.done")


def same_models(name: str, other: str) -> bool:
    one, two = (skestnet.load(f"{each}.done") for each in (name, other))
    states = one.net_.module_.state_dict(), two.net_.module_.state_dict()
    same = all(torch.equal(states[0][key], states[1][key]) for key in states[1])
    losses = [[epoch["train_loss"] for epoch in each.history_] for each in (one, two)]
    return same and losses[0] == losses[1] and bool((one.noise_scale_ == two.noise_scale_).all())


class Slow(BayesianRidge):
    """A model that is worth interrupting."""

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict after a while."""
        time.sleep(0.005)
        return super().predict(X, return_std=return_std)


def survey(name: str) -> None:
    """Predict a catalogue; it appears when it is done."""
    X = np.random.default_rng(0).normal(size=(400, 8))
    model = Slow().fit(X, X[:, 0])
    X[::7] = np.nan
    skestnet.predict_survey(model, X, f"{name}.fits", chunk_size=10, verbose=0)
    Path(f"{name}.fits").rename(f"{name}.done")


def same_catalogues(name: str, other: str) -> bool:
    pairs = [(f"{name}{end}", f"{other}{end}") for end in (".done", "_errors.fits")]
    return all(Path(one).read_bytes() == Path(two).read_bytes() for one, two in pairs)


def kill_and_resume(work: Callable[[str], None], n_kills: int, seed: int) -> dict[str, Any]:
    """Kill and go on, in the present folder; return how often, and how many runs were done."""
    start = time.perf_counter()
    _forked(work, "whole").join()
    seconds = time.perf_counter() - start
    rng, killed, n_runs, name = random.Random(seed), 0, 0, "0"
    bar = tqdm(total=n_kills, desc=work.__name__, unit="kill")
    while killed < n_kills or name == str(n_runs):
        name = str(n_runs)
        child = _forked(work, name)
        # Several kills in a run, and each moment as likely as any other.
        child.join(rng.uniform(0, 0.7 * seconds) if killed < n_kills else None)
        if child.is_alive():
            os.kill(child.pid or 0, signal.SIGKILL)
            child.join()
            killed += 1
            bar.update()
        n_runs += Path(f"{name}.done").exists()
    bar.close()
    return {"kills": killed, "runs_finished": n_runs, "seconds_of_a_run": seconds}


def _forked(work: Callable[[str], None], name: str) -> Any:
    child = multiprocessing.get_context("fork").Process(target=work, args=(name,))
    child.start()
    return child


def kills(part: str, n_kills: int, seed: int) -> Rows:
    work, same = {"training": (train, same_models), "survey": (survey, same_catalogues)}[part]
    with tempfile.TemporaryDirectory() as folder:
        before = Path.cwd()
        os.chdir(folder)
        try:
            skestnet.save(BayesianRidge(), "warm-up.done")  # imports what each child would
            found = kill_and_resume(work, n_kills, seed)
            n_runs = found["runs_finished"]
            identical = sum(same(str(k), "whole") for k in range(n_runs))
            ends = (".checkpoint", ".done", ".fits")
            strange = [path.name for path in Path().iterdir() if not path.name.endswith(ends)]
        finally:
            os.chdir(before)
    return [{"part": part, **found, "runs_identical": identical, "files_left": len(strange)}]


# ---- Soak --------------------------------------------------------------------------------------


def soak(n_cycles: int) -> Rows:
    """Fit and predict over and over."""
    X, y = make_white_dwarfs(20, n_pixels=32, return_X_y=True, random_state=0)
    X = X / X.mean()
    memory, files, threads = [], [], []
    for _ in tqdm(range(n_cycles), desc="soak", unit="cycle"):
        network = skestnet.EstNetRegressor(width=1, max_epochs=1, random_state=0, device="cpu")
        network.fit(X, y).predict_dist(X, 10)
        del network
        gc.collect()
        memory.append(_resident_mb())
        files.append(len(os.listdir("/proc/self/fd")))
        threads.append(threading.active_count())
    slope, error = growth(np.array(memory[n_cycles // 2 :]))
    return [
        {
            "part": "soak",
            "cycles": n_cycles,
            "MB_first": memory[0],
            "MB_half": memory[n_cycles // 2],
            "MB_last": memory[-1],
            "MB_per_1000_cycles": 1000 * slope,
            "MB_per_1000_cycles_se": 1000 * error,
            "files_grown": files[-1] - files[n_cycles // 2],
            "threads_grown": threads[-1] - threads[n_cycles // 2],
        }
    ]


def growth(values: Any) -> tuple[float, float]:
    """Fit a slope per cycle to the means of ten blocks; return it with its standard error."""
    blocks = np.array([block.mean() for block in np.array_split(values, 10)])
    at = (np.arange(10) + 0.5) * len(values) / 10
    (slope, _), covariance = np.polyfit(at, blocks, 1, cov=True)
    return float(slope), float(covariance[0, 0] ** 0.5)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


# ---- All of them -------------------------------------------------------------------------------


def run(part: str, quick: bool) -> Rows:
    if part == "soak":
        return soak(40 if quick else 1000)
    return kills(part, 5 if quick else 30, seed=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--quick", action="store_true", help="small, saves nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # threads do not survive a fork
    tqdm.monitor_interval = 0
    warnings.simplefilter("ignore")
    for part in arguments.parts:
        tqdm.set_lock(threading.RLock())  # its own would stay locked by a child that was killed
        rows = run(part, arguments.quick)
        print_table(rows)
        if not arguments.quick:
            print("saved", save_table(f"faults_{part}", rows).name)


if __name__ == "__main__":
    main()
