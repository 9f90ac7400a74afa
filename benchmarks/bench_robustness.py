"""How much do wrong labels cost, and who can find them? (figures 8 and 9 of the paper)

20% of the training labels are shifted by N(7000 K, 100 K) in Teff, or by N(1 dex, 0.1 dex) in
log g. Every method is trained on the labels as they were and on the shifted ones, one label at a
time, and tested on spectra with true labels. Held fixed: spectra, splits, preprocessing, and each
method's parameters. Its variants differ in the weights alone; networks with two stages share the
epochs of one between them. Degradation is RMSE after / RMSE before - 1, each variant against
itself. Detection: how well a low weight tells the shifted labels, against cleanlab's label quality
scores of out-of-fold predictions by LightGBM, and cleanlab's own procedure with LightGBM. Five
draws of the data.

``--data embedded``: simulated stars of the package, 1000 to train. ``--data koester`` (needs
SKESTNET_DATA): 4772 models at LAMOST quality with the labels of real stars. ``--seeds`` runs some
of the draws, so that processes can share the work: give each OMP_NUM_THREADS=1, and end with a run
without it, which collects. A run that was killed goes on where it stopped. About 30 and 90 minutes
on two cores; ``--quick`` takes a minute and saves nothing.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _data import LABELS, Part, embedded, koester, shift_labels
from _results import RESULTS, Progress, data_folder, paper_metrics, print_table, save_table
from _robustness_plots import plot_degradation, plot_weights
from catboost import CatBoostRegressor
from cleanlab.regression.learn import CleanLearning
from cleanlab.regression.rank import get_label_quality_scores
from lightgbm import LGBMRegressor
from sklearn.base import clone
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from tqdm.auto import tqdm
from xgboost import XGBRegressor

from skestnet import (
    AdaptiveMLPRegressor,
    AdaptiveWeighter,
    AdaptiveWeightRegressor,
    EstNetRegressor,
)
from skestnet.spectra import FluxScaler, MaskedPixelImputer

SHIFTS = {"teff": (7000.0, 100.0), "logg": (1.0, 0.1)}
SEEDS = (0, 1, 2, 3, 4)
SIZES = {"embedded": (1000, 1000), "koester": (4772, 1193)}
EPOCHS = {"embedded": 10, "koester": 8}
BATCHES = {"embedded": 32, "koester": 64}
STATES = ("before", "after")
WEIGHTS_SHOWN = ("EstNet, paper's weights", "EstNet, mixture weights")
Rows = list[dict[str, Any]]


# ---- Methods -------------------------------------------------------------------------------


def boosting(seed: int, quick: bool) -> LGBMRegressor:
    return LGBMRegressor(
        n_estimators=10 if quick else 150,
        learning_rate=0.06,
        num_leaves=15,
        colsample_bytree=0.3,
        verbose=-1,
        n_jobs=torch.get_num_threads(),
        random_state=seed,
    )


def trees(seed: int, quick: bool) -> dict[str, Any]:
    """Return the regressors that are run with and without AdaptiveWeightRegressor."""
    threads = torch.get_num_threads()
    return {
        "LightGBM": boosting(seed, quick),
        "CatBoost": CatBoostRegressor(
            iterations=10 if quick else 200,
            learning_rate=0.1,
            depth=4,
            verbose=0,
            thread_count=threads,
            allow_writing_files=False,
            random_seed=seed,
        ),
        "XGBoost": XGBRegressor(
            n_estimators=10 if quick else 150,
            learning_rate=0.08,
            max_depth=4,
            colsample_bytree=0.3,
            n_jobs=threads,
            random_state=seed,
        ),
        "random forest": RandomForestRegressor(
            5 if quick else 50,
            max_features=0.1,
            min_samples_leaf=3,
            n_jobs=threads,
            random_state=seed,
        ),
    }


def networks(seed: int, epochs: int, batch_size: int) -> dict[str, Callable[..., Any]]:
    """Return the networks; they are also run with weights between their two stages."""
    common = {"batch_size": batch_size, "weight_decay": 0.01, "random_state": seed}
    return {
        "EstNet": partial(EstNetRegressor, lr=0.004, max_epochs=epochs, **common),
        "MLP": partial(AdaptiveMLPRegressor, lr=0.001, max_epochs=2 * epochs, **common),
    }


def methods(data: str, label: str, seed: int, quick: bool) -> dict[str, Any]:
    variants: dict[str, Any] = {}
    for name, regressor in trees(seed, quick).items():
        variants[name] = regressor
        variants[f"{name}, adaptive"] = AdaptiveWeightRegressor(clone(regressor))
    outside = AdaptiveWeighter(boosting(seed, quick), cv=5)  # cheaper than five networks
    epochs = 2 if quick else EPOCHS[data]
    for name, network in networks(seed, epochs, BATCHES[data]).items():
        variants[name] = network(weighter=None)
        variants[f"{name}, adaptive"] = AdaptiveWeightRegressor(network(weighter=None), outside)
        # Two stages share the epochs.
        two_stages = partial(network, max_epochs=network.keywords["max_epochs"] // 2)
        variants[f"{name}, paper's weights"] = two_stages(weighter=AdaptiveWeighter.paper(label))
        variants[f"{name}, mixture weights"] = two_stages(weighter=AdaptiveWeighter())
    return variants


def preparation() -> Pipeline:
    clip = FunctionTransformer(np.clip, kw_args={"a_min": -5, "a_max": 5})
    return make_pipeline(MaskedPixelImputer(), FluxScaler("median"), StandardScaler(), clip)


# ---- One draw of the data ------------------------------------------------------------------


class Task:
    """A draw of the data and a label: spectra ready for the methods, labels before and after."""

    def __init__(self, data: str, label: str, seed: int, quick: bool) -> None:
        n_train, n_test = (300, 100) if quick else SIZES[data]
        train, test = draw(data, n_train, n_test, seed)
        k = LABELS.index(label)
        prepare = preparation().fit(train.X)
        self.X, self.snr = prepare.transform(train.X), train.snr
        self.X_test, self.truth = prepare.transform(test.X), test.truth[:, k]
        after, self.shifted = shift_labels(train.y[:, k], *SHIFTS[label], seed=seed)
        self.y = {"before": train.y[:, k], "after": after}
        self.about = {"data": data, "label": label, "seed": seed}


def draw(data: str, n_train: int, n_test: int, seed: int) -> tuple[Part, Part]:
    if data == "embedded":
        return embedded(n_train, n_test, seed)
    return koester(data_folder(), n_train, n_test, seed)


def evaluate(task: Task, name: str, model: Any, state: str) -> Rows:
    known = {"snr": task.snr} if isinstance(model, AdaptiveWeightRegressor) else {}
    start = time.perf_counter()
    fitted = clone(model).fit(task.X, task.y[state], **known)
    seconds = time.perf_counter() - start
    metrics = paper_metrics(task.truth[:, None], fitted.predict(task.X_test)[:, None])
    weight = getattr(fitted, "sample_weight_", None)
    row = {**task.about, "method": name, "labels": state, "fit_s": seconds}
    row |= {metric: float(values[0]) for metric, values in metrics.items()}
    row |= detection(task, weight, state)
    if task.about["seed"] == SEEDS[0] and name in WEIGHTS_SHOWN:
        row["weights"] = np.round(weight, 4).tolist()
    return [row]


def detection(task: Task, quality: Any, state: str) -> dict[str, float | None]:
    """Tell how well low values mark the shifted labels; plain fits have equal weights."""
    if state == "before" or quality is None or np.ptp(quality) == 0:
        return {"AUROC": None, "AP": None}
    return {
        "AUROC": float(roc_auc_score(task.shifted, -np.asarray(quality))),
        "AP": float(average_precision_score(task.shifted, -np.asarray(quality))),
    }


def cleanlab_scores(task: Task, seed: int, quick: bool) -> Rows:
    """Score labels from out-of-fold predictions; standardised, since one score is exp(-|r|)."""
    scale = task.y["after"].std()
    folds = KFold(5, shuffle=True, random_state=seed)
    predicted = cross_val_predict(boosting(seed, quick), task.X, task.y["after"], cv=folds)
    return [
        _quality_row(task, f"cleanlab, {method}", quality)
        for method in ("residual", "outre")
        for quality in [
            get_label_quality_scores(task.y["after"] / scale, predicted / scale, method=method)
        ]
    ]


def cleanlab_procedure(task: Task, seed: int, quick: bool) -> Rows:
    """Let cleanlab do all: its folds, its bootstraps, its search for the number of wrong labels."""
    cleaner = CleanLearning(boosting(seed, quick), seed=seed, n_boot=2 if quick else 5)
    issues = cleaner.find_label_issues(task.X, task.y["after"])
    return [_quality_row(task, "cleanlab, CleanLearning", issues["label_quality"])]


def _quality_row(task: Task, name: str, quality: Any) -> dict[str, Any]:
    return {**task.about, "method": name, "labels": "after", **detection(task, quality, "after")}


def jobs(data: str, label: str, seed: int, quick: bool) -> dict[str, Callable[[Task], Rows]]:
    """Return everything to do for a label of a draw, under names to know it by."""
    todo: dict[str, Callable[[Task], Rows]] = {
        f"{name}, {state}": partial(evaluate, name=name, model=model, state=state)
        for name, model in methods(data, label, seed, quick).items()
        for state in STATES
    }
    outside = {"cleanlab scores": cleanlab_scores, "cleanlab procedure": cleanlab_procedure}
    return {name: partial(job, seed=seed, quick=quick) for name, job in outside.items()} | todo


def run(data: str, seeds: list[int], quick: bool, progress: Progress | None) -> Rows:
    """Run what is not in the progress file yet."""
    rows = progress.rows() if progress else []
    for seed, label in product(seeds, LABELS):
        done = {row["job"] for row in rows if (row["seed"], row["label"]) == (seed, label)}
        todo = {
            name: job for name, job in jobs(data, label, seed, quick).items() if name not in done
        }
        if not todo:
            continue
        task = Task(data, label, seed, quick)
        for name, job in tqdm(todo.items(), desc=f"{data}, seed {seed}, {label}"):
            new = [{"job": name, **row} for row in job(task)]
            rows += new
            if progress:
                progress.add(new)
    return rows


# ---- Summary -------------------------------------------------------------------------------


def summary(rows: Rows) -> Rows:
    """Summarise over the draws: medians of errors and of degradations, means of detection."""
    table = []
    for label in LABELS:
        mine = [row for row in rows if row["label"] == label]
        for name in dict.fromkeys(row["method"] for row in mine):
            one = [row for row in mine if row["method"] == name]
            table.append({"label": label, "method": name, **_degradation(one), **_detected(one)})
    return table


def _degradation(rows: Rows) -> dict[str, Any]:
    errors = {
        state: {row["seed"]: row["RMSE"] for row in rows if row["labels"] == state}
        for state in STATES
        if "RMSE" in rows[0]
    }
    if not errors:
        return dict.fromkeys(("RMSE before", "RMSE after", "degradation", "lowest", "highest"))
    seeds = sorted(errors["after"])
    before, after = (np.array([errors[state][seed] for seed in seeds]) for state in STATES)
    worse = after / before - 1
    return {
        "RMSE before": np.median(before),
        "RMSE after": np.median(after),
        "degradation": np.median(worse),
        "lowest": worse.min(),
        "highest": worse.max(),
    }


def _detected(rows: Rows) -> dict[str, Any]:
    found = {}
    for score in ("AUROC", "AP"):
        values = [row[score] for row in rows if row.get(score) is not None]
        found[score] = np.mean(values) if values else None
        found[f"{score} lowest"] = np.min(values) if values else None
    return found


def save(data: str, rows: Rows) -> None:
    shown = [row for row in rows if row.get("weights")]
    kept = ("label", "seed", "method", "labels", "MAE", "RMSE", "MAPE", "ME", "AUROC", "AP")
    rows = sorted(rows, key=lambda row: (row["label"] != "teff", row["seed"]))
    table = [{key: row.get(key) for key in (*kept, "fit_s", "commit")} for row in rows]
    print("saved", save_table(f"robustness_{data}", table).name)
    print("saved", save_table(f"robustness_{data}_summary", summary(rows)).name)
    plot_degradation(rows, RESULTS / f"robustness_{data}.png")
    labels = {label: Task(data, label, SEEDS[0], quick=False) for label in LABELS}
    plot_weights(shown, labels, RESULTS / f"robustness_{data}_weights.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=tuple(SIZES), default="embedded")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="some of 0 to 4")
    parser.add_argument("--quick", action="store_true", help="small, saves nothing")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    if arguments.quick:
        print_table(summary(run(arguments.data, [0], quick=True, progress=None)))
        return
    here = Path(__file__)
    progress = Progress(f"robustness_{arguments.data}", here, here.with_name("_data.py"))
    rows = run(arguments.data, arguments.seeds, False, progress)
    print_table(summary([row for row in rows if row["seed"] in arguments.seeds]))
    if {row["seed"] for row in rows} == set(SEEDS) == set(arguments.seeds):
        save(arguments.data, rows)
        progress.path.unlink()


if __name__ == "__main__":
    main()
