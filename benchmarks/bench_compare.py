"""Which method estimates best? (tables 1 and 2 of the paper)

Effective temperature and surface gravity of the reference sets (see _reference.py): 5965 or 2000
spectra of LAMOST quality, split 8:1:1, averaged to 977 pixels, one model for each label, or for
both where a method's name says so: its times are then those of both. Every method is a scikit-learn
pipeline. Its parameters are searched for with GridSearchCV: fitted to the training spectra, judged
by the mean absolute error on the validation spectra (for both labels, by the mean of those over the
labels' spread), whose labels are the catalogue's, then refitted to both; a search takes up to
eleven minutes of one core, that of EstNet, which has four settings to choose from, the longest. The
test spectra are judged once, against the catalogue's labels and against the true ones. Held fixed:
spectra, splits (by their digest), ln Teff as the label. Three splits; standard errors are of a
bootstrap over the test spectra, with the same draws for all methods, so that those of the
differences ("behind": error less that of three EstNets) are of pairs; "behind se of splits" is from
the scatter of the splits instead.

The traditional method, TemplateFitRegressor, knows the models and the noise of every pixel, which
the others do not, and sees no training spectra. "over bound" is the median of error over
Cramer-Rao bound, of the spectra with S/N above 5, in units of that of a normal error.

``--data koester`` needs SKESTNET_DATA. ``--seeds``, ``--labels`` and ``--methods`` run some of the
work, so that processes can share it: give each OMP_NUM_THREADS=1, and end with a run that has none
of them, which collects. A run that was killed goes on where it stopped. ``--keep`` takes what the
saved tables have for done, whatever the version, and adds to them, one process at a time: every row
has its commit, versions and hardware, the head of the tables those of the last run.
``--averaged 1`` keeps all 3909 pixels, for tables of their own. MiniRocket needs aeon, see
README.md. Seven and a half hours of one core for the Koester set, which has three times the
spectra of the other; ``--quick`` takes three minutes and saves nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _compare_methods import BOTH, METHODS, POINTS, of_label
from _compare_plots import plot_pareto
from _compare_tables import methods_in, read, save, summary
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
    template_grid,
)
from _results import RESULTS, Progress, last_of_each, print_table, provenance
from _uncertain_methods import of_log_teff
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from tqdm.auto import tqdm

from skestnet import predict_dist
from skestnet.templates import TemplateFitRegressor, TemplateGrid, cramer_rao_bound

SEEDS = (0, 1, 2)
TEMPLATE_FIT = "template fit, knows the models"
LINES = ("H-alpha", "H-beta", "H-gamma", "H-delta")
NAMES = (*METHODS, TEMPLATE_FIT)
TOGETHER = (*BOTH, TEMPLATE_FIT)  # one fit estimates both labels
GOOD = 5.0  # S/N from which errors are compared with the bound
NORMAL_MEDIAN = 0.6745  # median absolute value of a standard normal number
KEY = ("method", "label", "seed", "pixels")
Rows = list[dict[str, Any]]
Labels = tuple[str, ...]


# ---- One method --------------------------------------------------------------------------------


def search(method: str, label: str, seed: int, quick: bool) -> tuple[Any, dict[str, Any]]:
    """Build the regressor of a label, with the search around it, and what is to be set then."""
    pipeline, grid, then = METHODS[method](label, seed)
    if quick:
        pipeline, grid = small(pipeline), {}
    model = of_log_teff(pipeline) if method in BOTH else of_label(label, pipeline)
    prefix = "" if model is pipeline else "regressor__"
    then = {prefix + name: value for name, value in then.items()}
    if not grid:
        return model, then
    grids = [grid] if isinstance(grid, dict) else grid
    named = [{prefix + name: values for name, values in one.items()} for one in grids]
    scoring = negative_error if method in BOTH else "neg_mean_absolute_error"
    return GridSearchCV(model, named, scoring=scoring, error_score="raise", refit=False), then


def negative_error(model: Any, X: Any, y: Any) -> float:
    """Score by mean absolute errors, each in units of its label's spread."""
    return -float((np.abs(model.predict(X) - y).mean(axis=0) / y.std(axis=0)).mean())


def small(pipeline: Any) -> Any:
    """Let a method run through in seconds."""
    fast = {"max_epochs": 1, "n_estimators": 10, "iterations": 10, "max_iter": 5}
    own = {name: (value, name.split("__")[-1]) for name, value in pipeline.get_params().items()}
    changed = {n: min(value or 10, fast[last]) for n, (value, last) in own.items() if last in fast}
    return pipeline.set_params(**changed)


def fit(
    model: Any, then: dict[str, Any], train: Reference, validation: Reference, k: int | list[int]
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
    model.set_params(**then).fit(X, y)
    seconds = {"search_s": searched - start, "fit_s": core_seconds() - searched}
    return model, {**seconds, "chosen": str(chosen)}


def core_seconds() -> float:
    """Return the seconds of one core so far: what else the machine does is not in them."""
    return time.process_time()


def judge(data: str, label: str, test: Reference, predicted: Any, dist: Any) -> dict[str, float]:
    k = LABELS.index(label)
    good = test.snr > GOOD
    grid = template_grid(data, folder_of(data), test.wavelength)
    noise = noise_level(grid, test)[good]
    bound = cramer_rao_bound(grid, test.truth[good], noise, nuisances=[("continuum", 3)])[:, k]
    over = np.median(np.abs(predicted - test.truth[:, k])[good] / bound) / NORMAL_MEDIAN
    return {**errors(test, k, predicted, dist), "over bound": float(over)}


def noise_level(grid: TemplateGrid, test: Reference) -> Any:
    """Return the noise in units of the models' flux."""
    scale = np.nanmedian(test.X / grid.interpolate(test.truth), axis=1, keepdims=True)
    return test.sigma / np.abs(scale)


def evaluate(
    data: str, reference: Reference, method: str, labels: Labels, seed: int, quick: bool
) -> Rows:
    """Search, refit and test one method: in a process of its own, whose memory is measured."""
    train, validation, test = split(reference, seed)
    positions, before = [LABELS.index(label) for label in labels], peak_mb()
    if method == TEMPLATE_FIT:
        grid = template_grid(data, folder_of(data), test.wavelength)
        fitted: Any = TemplateFitRegressor.from_grid(grid, lines=LINES)
        about: dict[str, Any] = {"search_s": 0.0, "fit_s": 0.0, "chosen": "{}"}
    else:
        learnt = positions if method in BOTH else positions[0]
        fitted, about = fit(*search(method, labels[0], seed, quick), train, validation, learnt)
    start = core_seconds()
    predicted = estimates(fitted, test)
    about["predict_s"] = core_seconds() - start
    dist = None if method in (*POINTS, TEMPLATE_FIT) else predict_dist(fitted, test.X)
    about["peak_MB"] = peak_mb() - before
    about |= {name: provenance()[name] for name in ("versions", "hardware")}
    of_split = {"data": data, "pixels": len(test.wavelength), "seed": seed}
    of_split["digest"] = digest((train, validation, test))
    rows = []
    for k in positions:
        mine = predicted if predicted.ndim == 1 else predicted[:, k]
        its = dist.output(k) if dist is not None and len(dist.shape) == 2 else dist
        rows.append(
            {
                **of_split,
                "method": method,
                "label": LABELS[k],
                **judge(data, LABELS[k], test, mine, its),
                **about,
                "estimates": np.asarray(mine, dtype=float).tolist(),
                "true labels": test.truth[:, k].tolist(),
            }
        )
    return rows


def estimates(fitted: Any, test: Reference) -> Any:
    if isinstance(fitted, TemplateFitRegressor):
        return fitted.predict(test.X, ivar=test.sigma**-2.0)
    return fitted.predict(test.X)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---- All of them -------------------------------------------------------------------------------


class MethodError(RuntimeError):
    """The process of a method ended without a result."""


def run(arguments: argparse.Namespace, progress: Progress | None) -> Rows:
    """Run what is not done yet; return all rows of this number of pixels."""
    quick, n_pixels = arguments.quick, 3909 // arguments.averaged
    reference = REFERENCES[arguments.data](
        folder_of(arguments.data), 400 if quick else N_SPECTRA[arguments.data]
    ).averaged(arguments.averaged)
    rows = done_before(arguments, n_pixels, progress)
    check_same_splits([*rows, *all_splits(arguments.data, reference, n_pixels)])
    done = {(row["method"], row["label"], row["seed"]) for row in rows}
    tasks = [
        (method, labels, seed)
        for seed in arguments.seeds
        for method in arguments.methods
        for labels in ([LABELS] if method in TOGETHER else [(one,) for one in arguments.labels])
        if any((method, label, seed) not in done for label in labels)
    ]
    failed = []
    start = evaluate if quick else in_own_process
    for task in (bar := tqdm(tasks, desc=arguments.data)):
        method, labels, seed = task
        bar.set_postfix_str(", ".join([method, *labels, str(seed)]))
        try:
            new = start(arguments.data, reference, *task, quick)
        except MethodError as error:
            bar.write(str(error))
            failed.append(task)
            continue
        rows += new
        if progress:
            progress.add(new)
    if failed:
        sys.exit(f"{failed} failed, see above. All other rows are kept: run the command again.")
    if progress:  # others may have added some
        rows = done_before(arguments, n_pixels, progress)
        check_same_splits(rows)
    return rows


def done_before(arguments: argparse.Namespace, n_pixels: int, progress: Progress | None) -> Rows:
    """Return the rows of the progress file, and with --keep those of the saved tables."""
    rows = read(table_name(arguments.data, n_pixels)) if arguments.keep else []
    rows += progress.rows() if progress else []
    last = last_of_each([row for row in rows if row["pixels"] == n_pixels], KEY)
    unknown = {row["method"] for row in last} - set(NAMES)
    if unknown:
        sys.exit(f"The saved tables have methods of other names: {', '.join(sorted(unknown))}.")
    return last


def check_nothing_is_lost(arguments: argparse.Namespace, name: str) -> None:
    """Refuse to replace tables by some with fewer methods, such as without MiniRocket."""
    lost = set() if arguments.keep else methods_in(name) - set(arguments.methods)
    if lost:
        sys.exit(f"{name}.csv also has {', '.join(sorted(lost))}: add to it with --keep.")


def all_splits(data: str, reference: Reference, n_pixels: int) -> Rows:
    """Say what the splits of the data are now, for a comparison with what is done."""
    about = {"data": data, "pixels": n_pixels}
    return [{**about, "seed": s, "digest": digest(split(reference, s))} for s in SEEDS]


def in_own_process(*task: Any) -> Rows:
    """Evaluate in a process of its own: a fork has the spectra already."""
    context = multiprocessing.get_context("fork")
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=lambda: its.send(evaluate(*task)), daemon=True)
    process.start()
    its.close()  # the process has a copy; when it ends, mine has nothing more to wait for
    try:
        return mine.recv()
    except EOFError:
        raise MethodError(f"{task[2:5]} ended without a result: see above.") from None
    finally:
        process.kill()  # where this one was interrupted
        process.join()


def in_order(rows: Rows) -> Rows:
    return sorted(rows, key=lambda r: (r["label"] != "teff", NAMES.index(r["method"]), r["seed"]))


def table_name(data: str, n_pixels: int) -> str:
    return f"compare_{data}" + ("" if n_pixels == 977 else f"_{n_pixels}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=tuple(REFERENCES), default="embedded")
    parser.add_argument("--methods", nargs="+", default=None, metavar="METHOD", choices=NAMES)
    parser.add_argument("--labels", nargs="+", default=LABELS, choices=LABELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, choices=SEEDS)
    parser.add_argument("--averaged", type=int, default=4, help="pixels that are averaged")
    parser.add_argument("--keep", action="store_true", help="add to the saved tables")
    parser.add_argument("--quick", action="store_true", help="small, saves nothing")
    arguments = parser.parse_args()
    parts = (set(arguments.seeds) == set(SEEDS), set(arguments.labels) == set(LABELS))
    everything = arguments.methods is None and all(parts)
    arguments.methods = arguments.methods or available()
    torch.set_num_threads(1)  # as those of the trees
    torch.set_flush_denormal(True)  # strong weight decay leads to such numbers: twice the time
    tqdm.monitor_interval = 0  # no thread, so that processes can be forked
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    if arguments.quick:
        arguments.seeds, arguments.keep = [0], False
        print_table(summary(run(arguments, None)))
        return
    # As an error, so that the process of a method is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    here = Path(__file__)
    shared = ("_data.py", "_reference.py", "_results.py")
    scripts = (*shared, "_compare_methods.py", "_uncertain_methods.py")
    progress = Progress(f"compare_{arguments.data}", here, *map(here.with_name, scripts), key=KEY)
    name = table_name(arguments.data, 3909 // arguments.averaged)
    if everything:
        check_nothing_is_lost(arguments, name)
    rows = in_order(run(arguments, progress))
    if everything or arguments.keep:
        table = save(name, rows)
        plot_pareto(table, RESULTS / f"{name}_pareto.png")
    else:
        table = summary([row for row in rows if row["seed"] in arguments.seeds])
    print_table(table)


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
