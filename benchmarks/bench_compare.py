"""Which method estimates best? (tables 1 and 2 of the paper)

Effective temperature and surface gravity of the reference sets (see _reference.py): 5965 spectra of
LAMOST quality, split 8:1:1, averaged to 977 pixels, one model for each label. Every method is a
scikit-learn pipeline. Its parameters are searched for with GridSearchCV: fitted to the training
spectra, judged by the mean absolute error on the validation spectra, then refitted to both; a
search takes about a hundred seconds of one core. The test spectra are judged once, against the
catalogue's labels and against the true ones. Held fixed: spectra, splits (by their digest), ln Teff
as the label. Three splits.

The traditional method, TemplateFitRegressor, knows the models and the noise of every pixel, which
the others do not, and sees no training spectra. "over bound" is the median absolute error of the
spectra with S/N above 5, in units of that of normal errors of the Cramer-Rao bound's size.

``--data koester`` needs SKESTNET_DATA. ``--seeds`` and ``--methods`` run some of the work, so that
processes can share it: give each OMP_NUM_THREADS=1, and end with a run without them, which
collects. ``--tune`` tries settings of EstNet for both labels on another draw of the set, from
which those for log g were chosen, by errors against the truth (two hours of one core).
``--averaged 1`` keeps all 3909 pixels. MiniRocket needs aeon, see README.md. A run that
was killed goes on where it stopped. About four hours of one core for each set; ``--quick`` takes
three minutes and saves nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _compare_methods import METHODS, TRIED, estnet_with, of_label
from _compare_plots import plot_pareto
from _data import LABELS
from _reference import N_SPECTRA, REFERENCES, Reference, folder_of, split, template_grid
from _results import RESULTS, Progress, paper_metrics, print_table, save_table
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from tqdm.auto import tqdm

from skestnet import predict_dist
from skestnet.metrics import crps
from skestnet.templates import TemplateFitRegressor, TemplateGrid, cramer_rao_bound

SEEDS = (0, 1, 2)
TUNING_DRAW = 2024
TEMPLATE_FIT = "template fit, knows the models"
LINES = ("H-alpha", "H-beta", "H-gamma", "H-delta")
NAMES = (*METHODS, TEMPLATE_FIT)
GOOD = 5.0  # S/N from which errors are compared with the bound
NORMAL_MEDIAN = 0.6745  # median absolute value of a standard normal number
Rows = list[dict[str, Any]]


# ---- One method --------------------------------------------------------------------------------


def search(method: str, label: str, seed: int, quick: bool) -> Any:
    """Build the regressor of a label, with the search around it."""
    pipeline, grid = METHODS[method](label, seed)
    if quick:
        pipeline, grid = small(pipeline), {}
    model = of_label(label, pipeline)
    if not grid:
        return model
    prefix = "" if model is pipeline else "regressor__"
    grids = [grid] if isinstance(grid, dict) else grid
    named = [{prefix + name: values for name, values in one.items()} for one in grids]
    scoring = {"scoring": "neg_mean_absolute_error", "error_score": "raise"}
    return GridSearchCV(model, named, **scoring, refit=False)


def small(pipeline: Any) -> Any:
    """Let a method run through in seconds."""
    fast = {"max_epochs": 1, "n_estimators": 10, "iterations": 10, "max_iter": 5}
    own = {name: (value, name.split("__")[-1]) for name, value in pipeline.get_params().items()}
    changed = {n: min(value or 10, fast[last]) for n, (value, last) in own.items() if last in fast}
    return pipeline.set_params(**changed)


def fit(
    model: Any, train: Reference, validation: Reference, k: int
) -> tuple[Any, dict[str, float | str]]:
    """Search, then fit what was chosen; say what it was, and the seconds that each of them took."""
    X = np.concatenate([train.X, validation.X])
    y = np.concatenate([train.y, validation.y])[:, k]
    start, chosen = core_seconds(), {}
    if isinstance(model, GridSearchCV):
        fold = np.repeat([-1, 0], [len(train.y), len(validation.y)])
        model.set_params(cv=PredefinedSplit(fold)).fit(X, y)
        chosen, model = model.best_params_, model.estimator.set_params(**model.best_params_)
    searched = core_seconds()
    model.fit(X, y)
    seconds = {"search_s": searched - start, "fit_s": core_seconds() - searched}
    return model, {**seconds, "chosen": str(chosen)}


def core_seconds() -> float:
    """Return the seconds of one core so far: what else the machine does is not in them."""
    return time.process_time()


def judge(data: str, label: str, test: Reference, predicted: Any, dist: Any) -> dict[str, float]:
    k = LABELS.index(label)
    found: dict[str, float] = {}
    for against, y in (("catalogue", test.y[:, k]), ("truth", test.truth[:, k])):
        found |= {f"{m} {against}": float(v[0]) for m, v in paper_metrics(y, predicted).items()}
        found[f"CRPS {against}"] = np.nan if dist is None else float(crps(y, dist))
    good = test.snr > GOOD
    grid = template_grid(data, folder_of(data), test.wavelength)
    noise = noise_level(grid, test)[good]
    bound = cramer_rao_bound(grid, test.truth[good], noise, nuisances=[("continuum", 3)])[:, k]
    error = np.median(np.abs(predicted - test.truth[:, k])[good])
    return found | {"over bound": float(error / (NORMAL_MEDIAN * np.median(bound)))}


def noise_level(grid: TemplateGrid, test: Reference) -> Any:
    """Return the noise in units of the models' flux."""
    scale = np.nanmedian(test.X / grid.interpolate(test.truth), axis=1, keepdims=True)
    return test.sigma / np.abs(scale)


def evaluate(
    data: str, reference: Reference, method: str, label: str, seed: int, quick: bool
) -> dict[str, Any]:
    """Search, refit and test one method: in a process of its own, whose memory is measured."""
    train, validation, test = split(reference, seed)
    k, before = LABELS.index(label), peak_mb()
    if method == TEMPLATE_FIT:
        grid = template_grid(data, folder_of(data), test.wavelength)
        fitted: Any = TemplateFitRegressor.from_grid(grid, lines=LINES)
        about: dict[str, Any] = {"search_s": 0.0, "fit_s": 0.0, "chosen": "{}"}
    else:
        fitted, about = fit(search(method, label, seed, quick), train, validation, k)
    start = core_seconds()
    predicted, dist = predictions(fitted, test, k)
    predict_seconds = core_seconds() - start
    peak = peak_mb() - before
    return {
        "data": data,
        "pixels": len(test.wavelength),
        "seed": seed,
        "digest": "-".join(part.digest() for part in (train, validation, test)),
        "method": method,
        "label": label,
        **judge(data, label, test, predicted, dist),
        **about,
        "predict_s": predict_seconds,
        "peak_MB": peak,
    }


def predictions(fitted: Any, test: Reference, k: int) -> tuple[Any, Any]:
    """Predict labels, and distributions where a method has them."""
    if isinstance(fitted, TemplateFitRegressor):
        return fitted.predict(test.X, ivar=test.sigma**-2.0)[:, k], None
    predicted = fitted.predict(test.X)
    try:
        return predicted, predict_dist(fitted, test.X)
    except TypeError:  # it has none
        return predicted, None


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---- All of them -------------------------------------------------------------------------------


def run(arguments: argparse.Namespace, progress: Progress | None) -> Rows:
    """Run what is not in the progress file yet."""
    quick = arguments.quick
    rows = progress.rows() if progress else []
    done = {(row["method"], row["label"], row["seed"], row["pixels"]) for row in rows}
    n_pixels = 3909 // arguments.averaged
    tasks = [
        (method, label, seed)
        for seed in arguments.seeds
        for method in arguments.methods
        for label in LABELS
        if (method, label, seed, n_pixels) not in done
    ]
    start = evaluate if quick else in_own_process
    reference = REFERENCES[arguments.data](
        folder_of(arguments.data), 400 if quick else N_SPECTRA
    ).averaged(arguments.averaged)
    for task in (bar := tqdm(tasks, desc=arguments.data)):
        bar.set_postfix_str(", ".join(map(str, task)))
        row = start(arguments.data, reference, *task, quick)
        rows.append(row)
        if progress:
            progress.add([row])
    check_same_splits(rows)
    return rows


def in_own_process(*task: Any) -> dict[str, Any]:
    # A fork has the spectra already.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(evaluate, *task).result()


def check_same_splits(rows: Rows) -> None:
    """Make sure that all methods saw the same spectra, labels and splits."""
    seen: dict[Any, set[str]] = {}
    for row in rows:
        seen.setdefault((row["data"], row["pixels"], row["seed"]), set()).add(row["digest"])
    different = {key: digests for key, digests in seen.items() if len(digests) > 1}
    assert not different, f"methods saw different spectra: {different}"


# ---- Settings of EstNet ------------------------------------------------------------------------


def tune(arguments: argparse.Namespace, progress: Progress | None) -> Rows:
    """Try settings on a draw of their own: fitted to its training spectra, judged on the others."""
    rows = progress.rows() if progress else []
    quick = arguments.quick
    n = 400 if quick else N_SPECTRA
    reference = REFERENCES[arguments.data](folder_of(arguments.data), n, TUNING_DRAW)
    train, *others = split(reference.averaged(arguments.averaged), 0)
    X, truth = (np.concatenate([getattr(part, of) for part in others]) for of in ("X", "truth"))
    done = {(row["label"], row["settings"]) for row in rows}
    tasks = [(label, tried) for label in LABELS for tried in (TRIED[-2:] if quick else TRIED)]
    for label, tried in tqdm([task for task in tasks if (task[0], str(task[1])) not in done]):
        pipeline, k = estnet_with(0, **tried), LABELS.index(label)
        model = of_label(label, small(pipeline) if quick else pipeline)
        start = core_seconds()
        model.fit(train.X, train.y[:, k])
        seconds = core_seconds() - start
        errors = {m: float(v[0]) for m, v in paper_metrics(truth[:, k], model.predict(X)).items()}
        row = {"label": label, "settings": str(tried), **errors}
        row |= {"CRPS": float(crps(truth[:, k], predict_dist(model, X))), "fit_s": seconds}
        rows.append(row)
        if progress:
            progress.add([row])
    return rows


# ---- Tables ------------------------------------------------------------------------------------

MEASURED = (
    *(f"{m} truth" for m in ("MAE", "RMSE", "MAPE", "ME", "CRPS")),
    *(f"{m} catalogue" for m in ("MAE", "RMSE", "MAPE", "ME", "CRPS")),
    "over bound",
    "search_s",
    "fit_s",
    "predict_s",
    "peak_MB",
)


def summary(rows: Rows) -> Rows:
    """Average over the splits; standard errors follow the means of the metrics against truth."""
    table = []
    for label in LABELS:
        for method in dict.fromkeys(row["method"] for row in rows):
            some = [r for r in rows if r["method"] == method and r["label"] == label]
            if not some:
                continue
            line: dict[str, Any] = {"label": label, "method": method, "splits": len(some)}
            for name in MEASURED:
                values = np.array([row[name] for row in some], dtype=float)
                line[name] = values.mean()
                if name.endswith("truth"):
                    line[f"{name} se"] = values.std(ddof=min(1, len(some) - 1)) / len(some) ** 0.5
            table.append(line)
    return table


def save(data: str, pixels: int, rows: Rows) -> None:
    order = list(NAMES)
    rows = sorted(rows, key=lambda r: (r["label"] != "teff", order.index(r["method"]), r["seed"]))
    name = f"compare_{data}" + ("" if pixels == 977 else f"_{pixels}")
    print("saved", save_table(name, rows).name)
    print("saved", save_table(f"{name}_summary", summary(rows)).name)
    plot_pareto(summary(rows), RESULTS / f"{name}_pareto.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=tuple(REFERENCES), default="embedded")
    parser.add_argument("--methods", nargs="+", default=None, metavar="METHOD", choices=NAMES)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="some of 0 to 2")
    parser.add_argument("--averaged", type=int, default=4, help="pixels that are averaged")
    parser.add_argument("--tune", action="store_true", help="try settings of EstNet instead")
    parser.add_argument("--quick", action="store_true", help="small, saves nothing")
    arguments = parser.parse_args()
    everything = arguments.methods is None and set(arguments.seeds) == set(SEEDS)
    arguments.methods = arguments.methods or list(available())
    torch.set_num_threads(1)  # as those of the trees
    torch.set_flush_denormal(True)  # strong weight decay leads to such numbers: twice the time
    tqdm.monitor_interval = 0  # no thread, so that processes can be forked
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    if arguments.quick:
        arguments.seeds = [0]
        print_table(tune(arguments, None) if arguments.tune else summary(run(arguments, None)))
        return
    here, name = Path(__file__), f"compare_{'tuning_' if arguments.tune else ''}{arguments.data}"
    scripts = ("_data.py", "_reference.py", "_compare_methods.py")
    progress = Progress(name, here, *map(here.with_name, scripts))
    if arguments.tune:
        rows = tune(arguments, progress)
        print_table(rows)
        print("saved", save_table(name, rows).name)
        return
    rows = [row for row in run(arguments, progress) if row["pixels"] == 3909 // arguments.averaged]
    print_table(summary(rows))
    if everything:
        save(arguments.data, 3909 // arguments.averaged, rows)


def available() -> list[str]:
    """Leave out, with a word, what needs a library that is not there."""
    try:
        import aeon  # noqa: F401
    except ImportError:
        print("MiniRocket is left out: it needs aeon, see benchmarks/README.md.")
        return [name for name in NAMES if not name.startswith("MiniRocket")]
    return list(NAMES)


if __name__ == "__main__":
    main()
