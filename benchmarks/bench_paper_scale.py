"""Does the paper's network do better at the paper's scale, and what does it cost?

EstNet34 for Teff and EstNet66 for log g, 64 feature maps, 3909 pixels, up to 100 epochs in each of
two stages: on the reference set (see _reference.py), with the paper's preprocessing, weights and
dropout, ln Teff as the label. Training and validation spectra of the split go to `fit`, which sets
a ninth of them aside for early stopping: 8:1:1. Errors are against the true labels and against the
catalogue's; CRPS and coverage are those of dropout alone, as in the paper. Seconds are those of
training epochs only.

``--width``, ``--depth`` and ``--averaged`` give other sizes for comparison, on the same split:
``--width 8 --averaged 4`` is the laptop's, with as many epochs as the paper's. The table keeps the
rows of all sizes, each with its commit and its device. Whatever ends the training (a kill, Ctrl-C,
``timeout 1h``), the same command goes on after the last whole epoch; the trained networks stay in
results/*.checkpoint, for skestnet.load. Another version of package or scripts starts anew.

Needs the extras save and baselines, and ``--data koester`` SKESTNET_DATA. Minutes are expected on a
GPU (not measured); two cores take about ten minutes for an epoch of EstNet34 at width 64. Without a
GPU a few steps tell at first how long an epoch will be. ``--quick`` takes half a minute and saves
nothing.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _compare_methods import of_label, paper_estnet
from _data import LABELS
from _reference import (
    N_SPECTRA,
    REFERENCES,
    Reference,
    check_same_splits,
    digest,
    errors,
    folder_of,
    split,
)
from _results import RESULTS, Progress, print_table, provenance, save_table
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skestnet import EstNetRegressor, predict_dist
from skestnet.metrics import interval_coverage

KEY = ("data", "label", "depth", "width", "pixels", "max_epochs", "batch_size", "seed")
SMALL = {"width": 2, "depth": 12, "averaged": 12, "epochs": 1}  # --quick
FEW = 10  # training steps that tell how long an epoch will be
Row = dict[str, Any]


# ---- One network -------------------------------------------------------------------------------


def build(label: str, arguments: argparse.Namespace) -> EstNetRegressor:
    depth = {} if arguments.depth is None else {"depth": arguments.depth}
    return EstNetRegressor.paper(
        label,
        width=arguments.width,
        max_epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        validation_fraction=1 / 9,
        random_state=arguments.seed,
        verbose=1,
        **depth,
    )


def model_of(label: str, network: EstNetRegressor) -> Any:
    """Put the paper's preprocessing before a network."""
    return of_label(label, paper_estnet(label, 0).pipeline.set_params(regressor=network))


def evaluate(label: str, network: EstNetRegressor, parts: tuple[Reference, ...]) -> Row:
    """Train, or go on training, and test."""
    train, validation, test = parts
    X, k = np.concatenate([train.X, validation.X]), LABELS.index(label)
    y = np.concatenate([train.y, validation.y])[:, k]
    if not torch.cuda.is_available() and not Path(network.checkpoint).exists():
        announce(label, network, X, y)
    fitted = model_of(label, network).fit(X, y)
    trained = getattr(fitted, "regressor_", fitted)[-1]
    return {
        "digest": digest(parts),
        **cost(trained),
        **judge(fitted, test, k),
        "device": provenance()["hardware"],
    }


def announce(label: str, network: EstNetRegressor, X: Any, y: Any) -> None:
    """Say how long training will be, by an epoch of a few steps."""
    n = min(len(X), FEW * network.batch_size)
    short = clone(network).set_params(max_epochs=1, weighter=None, checkpoint=None, verbose=0)
    fitted = model_of(label, short).fit(X[:n], y[:n])
    (epoch,) = getattr(fitted, "regressor_", fitted)[-1].history_
    minutes = epoch["seconds"] * len(X) / n / 60
    print(
        f"There is no GPU. An epoch of EstNet{network.depth} at width {network.width} takes about "
        f"{minutes:.1f} minutes here: {2 * network.max_epochs * minutes / 60:.1f} hours if no "
        "stage stops early. The same command goes on after an interruption.",
        flush=True,
    )


def cost(trained: Any) -> dict[str, float]:
    seconds = np.array([epoch["seconds"] for epoch in trained.history_])
    stages = [epoch["stage"] for epoch in trained.history_]
    return {
        "parameters": sum(p.numel() for p in trained.net_.module_.parameters()),
        "epochs stage 1": stages.count(1),
        "epochs stage 2": stages.count(2),
        "last batch_size": trained.net_.batch_size,  # smaller where a GPU's memory was too small
        "epoch_s": float(np.median(seconds)),
        "training_s": float(seconds.sum()),
    }


def judge(fitted: Any, test: Reference, k: int) -> dict[str, float]:
    predicted, dist = fitted.predict(test.X), predict_dist(fitted, test.X)
    found = errors(test, k, predicted, dist)
    for against, y in (("truth", test.truth[:, k]), ("catalogue", test.y[:, k])):
        found[f"68% {against}"] = float(interval_coverage(y, dist, 0.68))
    return found


# ---- All of them -------------------------------------------------------------------------------


def run(arguments: argparse.Namespace, progress: Progress | None, folder: Path) -> list[Row]:
    """Train what is not in the progress file yet; checkpoints go to the folder."""
    n = N_SPECTRA[arguments.data] if progress else 300
    reference = REFERENCES[arguments.data](folder_of(arguments.data), n)
    parts = split(reference.averaged(arguments.averaged), arguments.seed)
    rows = progress.rows() if progress else []
    for label in arguments.labels:
        network = build(label, arguments)
        size = {name: getattr(network, name) for name in ("depth", "width")}
        limits = {name: getattr(network, name) for name in ("max_epochs", "batch_size")}
        about = {"data": arguments.data, "label": label, **size, "pixels": parts[0].X.shape[1]}
        about |= {**limits, "seed": arguments.seed}
        if key_of(about) not in map(key_of, rows):
            version = progress.version if progress else ""
            network.set_params(checkpoint=str(folder / checkpoint_name(about, version)))
            row = {**about, **evaluate(label, network, parts)}
            check_same_splits([*rows, row])
            rows.append(row)
            if progress:
                progress.add([row])
        if progress:
            save(arguments.data, progress.rows())
    return rows


def key_of(row: Row) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in KEY)


def checkpoint_name(about: Row, version: str) -> str:
    """Name what is trained, and the device and the code, which are not to change half-way."""
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    return "_".join(["paper_scale", *key_of(about), kind, version]) + ".checkpoint"


# ---- Table -------------------------------------------------------------------------------------


def save(data: str, rows: list[Row]) -> None:
    name = f"paper_scale_{data}"
    print("saved", save_table(name, merged(RESULTS / f"{name}.csv", rows)).name)


def merged(path: Path, rows: list[Row]) -> list[Row]:
    """Add rows to those of a saved table, in the place of older ones of the same key."""
    found: dict[tuple[str, ...], Row] = {key_of(row): row for row in saved(path)}
    found |= {key_of(row): row for row in rows}
    numbers = KEY[2:]
    return sorted(
        found.values(), key=lambda r: (r["label"] != "teff", *(int(r[name]) for name in numbers))
    )


def saved(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=tuple(REFERENCES), default="embedded")
    parser.add_argument("--labels", nargs="+", choices=LABELS, default=list(LABELS))
    parser.add_argument("--width", type=int, default=64, help="feature maps; the paper's is 64")
    parser.add_argument("--depth", type=int, help="convolutions; the paper's are 34 and 66")
    parser.add_argument("--averaged", type=int, default=1, help="pixels that are averaged")
    parser.add_argument("--epochs", type=int, default=100, help="at most, in each stage")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0, help="of the split and the training")
    parser.add_argument("--quick", action="store_true", help="small, saves nothing")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    torch.set_flush_denormal(True)  # deep networks start with such numbers: a fifth of the time
    # Ctrl-C would otherwise end a stage with the best weights so far, and the table tell of them.
    warnings.filterwarnings("error", "Interrupted", category=ConvergenceWarning)
    if arguments.quick:
        vars(arguments).update(SMALL)
        with tempfile.TemporaryDirectory() as folder:
            print_table(run(arguments, None, Path(folder)))
        return
    here = Path(__file__)
    scripts = ("_data.py", "_reference.py", "_results.py", "_compare_methods.py")
    name = f"paper_scale_{arguments.data}"
    progress = Progress(name, here, *map(here.with_name, scripts), key=KEY)
    RESULTS.mkdir(exist_ok=True)
    try:
        print_table(run(arguments, progress, RESULTS))
    except (ConvergenceWarning, KeyboardInterrupt):
        sys.exit("Interrupted: the same command goes on after the last whole epoch.")


if __name__ == "__main__":
    main()
