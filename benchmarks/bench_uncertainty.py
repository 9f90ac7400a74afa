"""Do the intervals hold what they promise, and whose distributions are best?

Effective temperature and surface gravity of 2000 test spectra, after training on 4772, five draws
of the data. All methods learn ln(Teff) and log g from the same spectra and are judged in K and
dex, against the labels of the test spectra: coverage of 50, 68, 90 and 95% intervals overall and
in each quartile of S/N, their widths, CRPS, and coverage of the joint 68 and 95% regions. EstNet:
with Monte Carlo dropout alone (the paper's way, with a dropout of 0.2), with heteroscedastic noise,
three such networks as an ensemble, and these calibrated by a split, also by groups of S/N. Others:
as they are, and calibrated in the same way. Held fixed: spectra, splits, scaling of spectra and
labels.

``--data embedded``: simulated stars of the package at 163 pixels, labels with errors. ``--data
koester`` (needs SKESTNET_DATA): models at LAMOST quality, 977 pixels, with the labels of real
stars. Settings were chosen once, on another draw, by ``--tune``; those of EstNet by hand.
``--seeds`` runs some of the draws, so that processes can share the work: give each
OMP_NUM_THREADS=1, and end with a run that has no ``--seeds``, which collects. A run that was killed
goes on where it stopped. About 25 and 85 minutes on two cores; ``--quick`` takes a minute and saves
nothing.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from _data import LABELS, Part, embedded, koester
from _results import RESULTS, Progress, data_folder, print_table, save_table
from _uncertain_methods import CHOSEN, GRIDS, REGRESSORS, methods, of_log_teff
from _uncertainty_plots import plot_summary
from sklearn.base import clone
from tqdm.auto import tqdm

from skestnet import PredictiveDistribution, predict_dist
from skestnet.metrics import (
    calibration_error,
    coverage_by_group,
    crps,
    interval_coverage,
    mean_interval_width,
    region_coverage,
)

SEEDS = (0, 1, 2, 3, 4)
TUNING_DRAW = 100
LEVELS = (0.5, 0.68, 0.9, 0.95)
QUARTILES = (1, 2, 3, 4)
Rows = list[dict[str, Any]]


def draw(data: str, seed: int, quick: bool) -> tuple[Part, Part]:
    n_train, n_test = (640, 200) if quick else (4772, 2000)
    if data == "embedded":
        return embedded(n_train, n_test, seed)
    return koester(data_folder(), n_train, n_test, seed, averaged=12 if quick else 4)


# ---- One method on one draw --------------------------------------------------------------------


def evaluate(model: Any, train: Part, test: Part) -> Rows:
    start = time.perf_counter()
    fitted = clone(model).fit(train.X, train.y)
    fitted_at = time.perf_counter()
    dist = predict_dist(fitted, test.X)
    seconds = {"fit_s": fitted_at - start, "predict_s": time.perf_counter() - fitted_at}
    joint = {
        f"joint{round(100 * level)}": float(region_coverage(test.y, dist, level))
        for level in (0.68, 0.95)
    }
    marginal = (judge(dist.output(k), test.y[:, k], test.snr) for k in range(len(LABELS)))
    return [
        {"label": label, **values, **joint, **seconds}
        for label, values in zip(LABELS, marginal, strict=True)
    ]


def judge(dist: PredictiveDistribution, y: Any, snr: Any) -> dict[str, float]:
    row = {
        "MAE": np.abs(dist.ppf(0.5) - y).mean(),
        "CRPS": crps(y, dist),
        "calibration_error": calibration_error(y, dist),
    }
    groups = coverage_by_group(y, dist, snr, confidence=LEVELS)
    for i, level in enumerate(LEVELS):
        name = round(100 * level)
        row[f"coverage{name}"] = interval_coverage(y, dist, level)
        row[f"width{name}"] = mean_interval_width(dist, level)
        row |= {f"coverage{name}_q{q}": groups.coverage[q - 1, i] for q in QUARTILES}
    row |= {f"CRPS_q{q}": groups.crps[q - 1] for q in QUARTILES}
    return {name: float(value) for name, value in row.items()}


def run(data: str, seeds: list[int], quick: bool, progress: Progress | None) -> Rows:
    """Run what is not in the progress file yet."""
    rows = progress.rows() if progress else []
    for seed in seeds:
        done = {row["method"] for row in rows if row["seed"] == seed}
        todo = {k: v for k, v in methods(data, seed, quick).items() if k not in done}
        if not todo:
            continue
        train, test = draw(data, seed, quick)
        for name, model in tqdm(todo.items(), desc=f"{data}, seed {seed}"):
            about = {"data": data, "seed": seed, "method": name}
            new = [{**about, **row} for row in evaluate(model, train, test)]
            rows += new
            if progress:
                progress.add(new)
    return rows


# ---- Choosing settings -------------------------------------------------------------------------


def tune(data: str, names: list[str]) -> None:
    """Try settings on a draw of their own; the best has the least CRPS in units of the spread."""
    train, rest = draw(data, TUNING_DRAW, quick=False)
    spread = rest.y.std(axis=0)
    rows = []
    for name in names:
        for setting in tqdm(GRIDS[name], desc=f"{data}, {name}"):
            model = of_log_teff(REGRESSORS[name](TUNING_DRAW, **setting))
            start = time.perf_counter()
            dist = predict_dist(model.fit(train.X, train.y), rest.X)
            score = crps(rest.y, dist, multioutput="raw_values")
            rows.append(
                {
                    "data": data,
                    "method": name,
                    **{f"CRPS {label}": s for label, s in zip(LABELS, score, strict=True)},
                    "relative": float((score / spread).mean()),
                    "seconds": time.perf_counter() - start,
                    "setting": setting,
                }
            )
    print_table(rows)
    which = "_".join(["", *names]) if len(names) < len(GRIDS) else ""
    print("saved", save_table(f"uncertainty_tuning_{data}{which}", rows).name)


# ---- Summary -----------------------------------------------------------------------------------


def summary(rows: Rows) -> Rows:
    """Average over the draws; `worst` is a quartile's largest deviation from the claim."""
    table: Rows = []
    for label in LABELS:
        mine = [row for row in rows if row["label"] == label]
        names = dict.fromkeys(row["method"] for row in mine)
        table += [{"label": label, "method": name, **_mean_row(mine, name)} for name in names]
    return table


def _mean_row(rows: Rows, name: str) -> dict[str, float]:
    some = [row for row in rows if row["method"] == name]
    mean = {key: np.mean([row[key] for row in some]) for key in some[0] if key not in ABOUT}
    error = np.std([row["CRPS"] for row in some], ddof=min(1, len(some) - 1)) / len(some) ** 0.5
    found = {"CRPS": mean["CRPS"], "CRPS se": error, "MAE": mean["MAE"]}
    for level in LEVELS:
        key = f"coverage{round(100 * level)}"
        found[key] = mean[key]
    for level in LEVELS[1:]:
        key = f"coverage{round(100 * level)}"
        worst = max((mean[f"{key}_q{q}"] - level for q in QUARTILES), key=abs)
        found[f"worst{round(100 * level)}"] = worst
    kept = ("width68", "width95", "calibration_error", "joint68", "joint95", "fit_s", "predict_s")
    return found | {key: mean[key] for key in kept}


ABOUT = ("data", "seed", "method", "label", "commit")


def save(data: str, rows: Rows) -> None:
    rows = sorted(rows, key=lambda row: (row["label"] != "teff", row["seed"]))
    print("saved", save_table(f"uncertainty_{data}", rows).name)
    print("saved", save_table(f"uncertainty_{data}_summary", summary(rows)).name)
    plot_summary(rows, RESULTS / f"uncertainty_{data}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=tuple(CHOSEN), default="embedded")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="some of 0 to 4")
    parser.add_argument("--tune", nargs="*", metavar="METHOD", help="try settings, of all methods")
    parser.add_argument("--quick", action="store_true", help="small, saves nothing")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    if arguments.tune is not None:
        tune(arguments.data, arguments.tune or list(GRIDS))
        return
    if arguments.quick:
        print_table(summary(run(arguments.data, [0], quick=True, progress=None)))
        return
    here = Path(__file__)
    scripts = (here, here.with_name("_data.py"), here.with_name("_uncertain_methods.py"))
    progress = Progress(f"uncertainty_{arguments.data}", *scripts)
    rows = run(arguments.data, arguments.seeds, False, progress)
    print_table(summary([row for row in rows if row["seed"] in arguments.seeds]))
    if {row["seed"] for row in rows} == set(SEEDS) == set(arguments.seeds):
        save(arguments.data, rows)
        progress.path.unlink()


if __name__ == "__main__":
    main()
