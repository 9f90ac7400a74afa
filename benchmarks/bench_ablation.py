"""What of the network's design earns its place?

EstNet for both labels at once on the reference set (see _reference.py), 325 pixels of 12 Angstrom,
and variants of it, most of which differ in one thing: without the GRU, without squeeze and
excitation, with the adaptive second stage, with more or less dropout (EstNet's is 0.02), other
losses, depths, widths and scalings, and one label at a time. Held fixed: spectra, splits, fresh
noise, 15 epochs (two stages have 8 each), learning rate. These suit Teff. A catalogue's log g is
learnt better in 8 epochs with a weight decay of 0.03, the variant "against overfitting": what helps
log g may do so by learning less. Fitted to training and validation spectra, judged on the test
spectra against the true labels. "worse" is the relative change of an error against EstNet's on the
same splits. Three splits.

``--data koester`` needs SKESTNET_DATA. ``--seeds`` runs some of the splits, so that processes can
share the work: end with a run that has no ``--seeds``, which collects. A run that was killed goes
on where it stopped. ``--keep`` takes what the saved table has for done, whatever the version, and
adds to it, one process at a time: every row has its commit. About two hours of one core for the
Koester set, 40 minutes for the other; ``--quick`` takes two minutes and saves nothing.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from _ablation import variants
from _compare_tables import read_table
from _data import LABELS
from _reference import (
    N_SPECTRA,
    REFERENCES,
    Reference,
    check_same_splits,
    digest,
    folder_of,
    split,
)
from _results import RESULTS, Progress, last_of_each, paper_metrics, print_table, save_table
from _uncertain_methods import of_log_teff
from scipy.stats import sem
from tqdm.auto import tqdm

from skestnet import predict_dist
from skestnet.metrics import crps

SEEDS = (0, 1, 2)
AVERAGED = 12
KEY = ("variant", "label", "seed")
UNITS = {"teff": "Teff", "logg": "log g"}
Rows = list[dict[str, Any]]


def evaluate(model: Any, train: Reference, validation: Reference, test: Reference) -> Rows:
    X, y = np.concatenate([train.X, validation.X]), np.concatenate([train.y, validation.y])
    start = time.process_time()
    fitted = of_log_teff(model).fit(X, y)
    seconds = time.process_time() - start
    errors = paper_metrics(test.truth, fitted.predict(test.X))
    scores = crps(test.truth, predict_dist(fitted, test.X), multioutput="raw_values")
    return [
        {
            "label": label,
            **{name: float(values[k]) for name, values in errors.items()},
            "CRPS": float(scores[k]),
            "fit_s": seconds,
        }
        for k, label in enumerate(LABELS)
    ]


def run(data: str, seeds: list[int], quick: bool, progress: Progress | None, kept: Rows) -> Rows:
    """Run what is neither kept nor in the progress file yet."""
    new = progress.rows() if progress else []
    before = [*kept, *(row for row in new if row["seed"] in seeds)]
    rows = last_of_each(before, KEY)
    n = 300 if quick else N_SPECTRA[data]
    reference = REFERENCES[data](folder_of(data), n).averaged(AVERAGED)
    small = {"max_epochs": 1} if quick else {}
    for seed in seeds:
        done = {row["variant"] for row in rows if row["seed"] == seed}
        todo = {k: v for k, v in variants(seed, **small).items() if k not in done}
        parts = split(reference, seed)
        for name, model in tqdm(todo.items(), desc=f"{data}, split {seed}"):
            about = {"data": data, "pixels": len(reference.wavelength), "seed": seed}
            about |= {"digest": digest(parts), "variant": name}
            new = [{**about, **row} for row in evaluate(model, *parts)]
            check_same_splits([*rows, *new])
            rows += new
            if progress:
                progress.add(new)
    check_same_splits(rows)  # of other processes, too
    return rows


def saved(name: str) -> Rows:
    """Read the rows of a saved table, none where there is none."""
    path = RESULTS / f"{name}.csv"
    return read_table(path).astype(object).to_dict("records") if path.exists() else []


def summary(rows: Rows) -> Rows:
    table = []
    for label in LABELS:
        mine = [row for row in rows if row["label"] == label]
        for name in dict.fromkeys(row["variant"] for row in mine):
            some = [row for row in mine if row["variant"] == name]
            line: dict[str, Any] = {"label": label, "variant": name, "splits": len(some)}
            for metric in ("MAE", "RMSE", "MAPE", "ME", "CRPS", "fit_s"):
                line[metric] = np.mean([row[metric] for row in some])
            for metric in ("MAE", "CRPS"):
                change = _changes(mine, name, metric)
                line[f"{metric} worse"] = change.mean()
                line[f"{metric} worse se"] = sem(change) if len(change) > 1 else np.nan
            table.append(line)
    return table


def _changes(rows: Rows, name: str, metric: str) -> Any:
    """Return relative changes against EstNet, split by split."""
    base = {row["seed"]: row[metric] for row in rows if row["variant"] == "EstNet"}
    some = [row for row in rows if row["variant"] == name and row["seed"] in base]
    return np.array([row[metric] / base[row["seed"]] - 1 for row in some])


def plot(table: Rows, path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(11, 7), sharey=True, layout="constrained")
    for ax, label in zip(axes, LABELS, strict=True):
        rows = [row for row in table if row["label"] == label and row["variant"] != "EstNet"][::-1]
        place = np.arange(len(rows))
        for metric, color, marker, shift in (
            ("MAE", "#0072B2", "o", 0.15),
            ("CRPS", "#D55E00", "s", -0.15),
        ):
            worse = [100 * row[f"{metric} worse"] for row in rows]
            error = [100 * row[f"{metric} worse se"] for row in rows]
            style = {"color": color, "fmt": marker, "capsize": 2, "label": metric}
            ax.errorbar(worse, place + shift, xerr=error, **style)
        ax.axvline(0, color="k", linewidth=0.8)
        ax.set_yticks(place, [row["variant"] for row in rows])
        ax.set_xlabel(f"change of the error of {UNITS[label]} (%)\nright: worse than EstNet")
        ax.grid(axis="x", alpha=0.3)
    axes[0].legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=tuple(REFERENCES), default="embedded")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, choices=SEEDS)
    parser.add_argument("--keep", action="store_true", help="add to the saved table")
    parser.add_argument("--quick", action="store_true", help="small, saves nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as for processes that share the work
    torch.set_flush_denormal(True)  # strong weight decay leads to such numbers: twice the time
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    if arguments.quick:
        print_table(summary(run(arguments.data, [0], quick=True, progress=None, kept=[])))
        return
    here = Path(__file__)
    scripts = ("_ablation.py", "_compare_methods.py", "_data.py", "_reference.py", "_results.py")
    name = f"ablation_{arguments.data}"
    progress = Progress(name, here, *map(here.with_name, scripts), key=KEY)
    kept = saved(name) if arguments.keep else []
    rows = run(arguments.data, arguments.seeds, False, progress, kept)
    table = summary(rows)
    print_table(table)
    if arguments.keep or set(arguments.seeds) == set(SEEDS):
        order = sorted(rows, key=lambda row: (row["label"] != "teff", row["seed"]))
        print("saved", save_table(name, order).name)
        print("saved", save_table(f"{name}_summary", table).name)
        plot(table, RESULTS / f"{name}.png")


if __name__ == "__main__":
    main()
