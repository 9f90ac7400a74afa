"""How do time and memory grow with the number of spectra, of pixels, of layers and of draws?

time: a fit of the default network (depth 12, width 16) with a fixed number of epochs, without a
second stage and validation, on more spectra, on longer ones, and with deeper networks; and
`predict_dist` with more draws. Everything else is held fixed: 977 pixels, 1024 spectra. The points
of a curve are measured one after the other, then all of them again, every other time from the last
to the first. Exponents are slopes of log median time on log size; nothing is subtracted, so that
what does not grow lowers them. That of the pixels is given for all sizes, and from 977 on.

steps: seconds of all that a fit to 50,000 spectra of 977 pixels does beside running the network.
Their share is of the time of that fit with the default settings, 2 x 15 epochs, which is not run:
it is the time of an epoch on some of the spectra, times epochs and spectra. A fit that stops early
has larger shares.

memory: the peak in a process of its own, above what the imports need: of a fit to a memmap of
50,000 spectra of 3909 pixels (782 MB), and of `predict_survey` over a memmap of 20,000 and of
200,000 spectra of 200 pixels, with the smallest of networks, on which memory does not depend.
"resident" has the pages of the file that happen to be in memory, "own" does not. Linux only; needs
about 800 MB of disk for a while.

A run that was killed goes on where it stopped; ``--parts`` runs some of the parts. About 25 minutes
on two cores; ``--quick`` one minute, and it saves nothing.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from _results import RESULTS, Progress, print_table, save_table
from _speed import (
    BATCH,
    Rows,
    alternate,
    of_part,
    one_stage,
    peak_memory,
    run_tasks,
    spectra,
    spread,
)
from numpy.lib.format import open_memmap
from scipy.stats import linregress
from sklearn.utils import check_X_y

from skestnet import AdaptiveWeighter, EstNetRegressor, predict_survey
from skestnet._labels import LabelScale
from skestnet._noise import noise_factor
from skestnet._rows import canonical_rows

EPOCHS = 2
SMALLEST = {"depth": 12, "width": 2}

# ---- Time --------------------------------------------------------------------------------------


class Axis(NamedTuple):
    """What grows, between which exponents it should, and from which sizes on to fit them."""

    name: str
    sizes: tuple[int, ...]
    target: tuple[float, float] | None = None
    starts: tuple[int, ...] = (0,)


PIXELS = (250, 500, 977, 1954, 3909, 7818)
AXES = {
    "spectra": Axis("number of spectra", (1024, 2048, 4096, 8192), (0.9, 1.1)),
    "pixels": Axis("pixels of a spectrum", PIXELS, (0.9, 1.1), (0, 977)),
    "depth": Axis("depth (convolutions)", (12, 20, 34, 66)),
    "draws": Axis("draws of predict_dist", (50, 100, 200, 400, 800, 1600)),
}
REPEATS = 3


class Fixed(NamedTuple):
    """What does not grow."""

    spectra: int = 1024
    pixels: int = 977
    depth: int = 12
    width: int = 16


QUICK = Fixed(64, 60, 12, 2)
QUICK_SIZES = {"spectra": (64, 128, 256), "pixels": (50, 100), "depth": (12, 16), "draws": (50, 99)}


def one_round(axis: str, sizes: tuple[int, ...], fixed: Fixed, repeat: int) -> Rows:
    """Time every point of a curve once."""
    make = predicting if axis == "draws" else fitting
    calls = {str(size): make(axis, size, fixed) for size in sizes[:: (-1) ** repeat]}
    return [
        {"axis": axis, "size": int(size), "repeat": repeat, "seconds": float(timed.seconds[0])}
        for size, timed in alternate(calls, 1).items()
    ]


def fitting(axis: str, size: int, fixed: Fixed) -> Callable[[], Any]:
    now = fixed._replace(**{axis: size})
    X, y = spectra(now.spectra, now.pixels)
    regressor = one_stage(EPOCHS, depth=now.depth, width=now.width)
    one_stage(1, depth=now.depth, width=now.width).fit(X[:BATCH], y[:BATCH])  # once in a process
    return lambda: regressor.fit(X, y)


def predicting(axis: str, size: int, fixed: Fixed) -> Callable[[], Any]:
    assert axis == "draws"
    X, y = spectra(fixed.spectra, fixed.pixels)
    regressor = one_stage(1, depth=fixed.depth, width=fixed.width).fit(X[:BATCH], y[:BATCH])
    regressor.predict_dist(X[:BATCH], n_draws=size)
    return lambda: regressor.predict_dist(X, n_draws=size)


def points(rows: Rows) -> Rows:
    """Return the median over the repeats of every point."""
    table = []
    for axis, size in dict.fromkeys((row["axis"], row["size"]) for row in rows):
        seconds = [r["seconds"] for r in rows if (r["axis"], r["size"]) == (axis, size)]
        line = {"axis": axis, "size": size, "repeats": len(seconds), "threads": rows[0]["threads"]}
        table.append({**line, **spread("seconds", np.array(seconds))})
    return sorted(table, key=lambda line: (list(AXES).index(line["axis"]), line["size"]))


def slopes(table: Rows) -> Rows:
    """Return the exponents of every curve, with standard errors from the scatter of points."""
    found = []
    curves = dict.fromkeys(line["axis"] for line in table)
    for axis, start in [(name, start) for name in curves for start in AXES[name].starts]:
        mine = [line for line in table if line["axis"] == axis and line["size"] >= start]
        if len(mine) < 2:  # as in the quick run
            continue
        size, seconds = (np.log([line[name] for line in mine]) for name in ("size", "seconds"))
        line = linregress(size, seconds)
        target = AXES[axis].target
        found.append(
            {
                "axis": axis,
                "from": mine[0]["size"],
                "to": mine[-1]["size"],
                "exponent": line.slope,
                "exponent_se": line.stderr if len(mine) > 2 else np.nan,
                "intercept": line.intercept,
                "target": f"{target[0]} to {target[1]}" if target else "",
                "met": bool(target[0] <= line.slope <= target[1]) if target else "",
            }
        )
    return found


def plot(table: Rows, path: Path) -> None:
    """Draw time against size, a panel for each curve, with the fitted power laws."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
    laws = slopes(table)
    for ax, axis in zip(axes.flat, AXES, strict=True):
        mine = [row for row in table if row["axis"] == axis]
        size, middle, low, high = (
            np.array([row[name] for row in mine])
            for name in ("size", "seconds", "seconds_min", "seconds_max")
        )
        for line, style in zip((law for law in laws if law["axis"] == axis), STYLES, strict=False):
            draw_law(ax, line, style)
        ax.errorbar(
            size, middle, (middle - low, high - middle), fmt="o", color="#0072B2", capsize=3,
            label="median, smallest and largest",
        )  # fmt: skip
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xticks(size, [str(n) for n in size])
        ax.minorticks_off()
        ticks = nice_ticks(low.min(), high.max())
        ax.set_ylim(ticks[0], ticks[-1])
        ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.set_xlabel(AXES[axis].name)
        ax.set_ylabel("time of a " + ("prediction (s)" if axis == "draws" else "fit (s)"))
        ax.grid(alpha=0.3)
        ax.legend(loc="lower right")
    figure.savefig(path, dpi=110)
    plt.close(figure)


STYLES: tuple[dict[str, Any], ...] = (
    {"linestyle": "--", "color": "#E69F00"},
    {"linestyle": "-", "color": "#009E73"},
)


def draw_law(ax: Any, line: dict[str, Any], style: dict[str, Any]) -> None:
    size = np.array([line["from"], line["to"]])
    error = f" ± {line['exponent_se']:.2f}" if np.isfinite(line["exponent_se"]) else ""
    label = f"exponent {line['exponent']:.2f}{error}, from {line['from']}"
    ax.plot(size, np.exp(line["intercept"]) * size ** line["exponent"], **style, label=label)


def nice_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2, 5 times powers of ten around a range."""
    ticks = [m * 10.0**k for k in range(-6, 6) for m in (1, 2, 5)]
    below = max(tick for tick in ticks if tick <= low)
    above = min(tick for tick in ticks if tick >= high)
    return [tick for tick in ticks if below <= tick <= above]


# ---- Steps -------------------------------------------------------------------------------------

N_STEPS = 50_000
TIMED_ON = 4096
DEFAULT_EPOCHS = 2 * EstNetRegressor().max_epochs
SHARE_TARGET = 0.02
EXTRA = "weights by the mixture, with density (not the default)"


def steps(n: int, timed_on: int, n_pixels: int, width: int, repeats: int) -> Rows:
    X, y = spectra(n, n_pixels)
    rng = np.random.default_rng(1)
    scale = LabelScale.of(y, np.ones(n))
    labels = scale.standardise(y)
    fitted = labels + 0.3 * rng.standard_normal(labels.shape)
    aside = slice(n // 10)  # validation samples, on which the noise is measured
    residual, variance = (labels - fitted)[aside], rng.uniform(0, 0.1, labels[aside].shape)

    def weigh(weighter: AdaptiveWeighter) -> Any:
        return weighter.weigh(labels, fitted, train=(labels, fitted), sample_weight=np.ones(n))

    calls: dict[str, Callable[[], Any]] = {
        "check of X and y": lambda: check_X_y(X, y, dtype=np.float32, multi_output=True),
        "canonical rows": lambda: canonical_rows(X, y, np.ones(n)),
        "label scale": lambda: LabelScale.of(y, np.ones(n)).standardise(y),
        "weights by the paper, with density": lambda: weigh(AdaptiveWeighter.paper("logg")),
        "width of the noise": lambda: noise_factor(
            residual, variance, np.ones_like(residual), np.ones(len(residual))
        ),
        EXTRA: lambda: weigh(AdaptiveWeighter(gamma=0.1)),
    }
    seconds = {name: timed.seconds for name, timed in alternate(calls, repeats).items()}
    whole = fit_seconds(X[:timed_on], y[:timed_on], width) * n / timed_on
    rows = [{"step": name, **spread("seconds", some)} for name, some in seconds.items()]
    together = sum(some for name, some in seconds.items() if name != EXTRA)
    rows.append({"step": "all but the mixture", **spread("seconds", np.asarray(together))})
    common = {"n_spectra": n, "n_pixels": n_pixels, "repeats": repeats, "fit_s": whole}
    return [{**common, **row, **share_of(row, whole)} for row in rows]


def fit_seconds(X: Any, y: Any, width: int) -> float:
    """Time an epoch of the default regressor, validation included, and multiply by their number."""
    regressor = EstNetRegressor(width=width, max_epochs=2, weighter=None, random_state=0).fit(X, y)
    return DEFAULT_EPOCHS * float(np.median([epoch["seconds"] for epoch in regressor.history_]))


def share_of(row: dict[str, Any], whole: float) -> dict[str, Any]:
    share = row["seconds"] / whole
    if not row["step"].startswith("all"):
        return {"share_of_fit": share, "target": "", "met": ""}
    return {
        "share_of_fit": share,
        "target": f"under {SHARE_TARGET}",
        "met": bool(share < SHARE_TARGET),
    }


# ---- Memory ------------------------------------------------------------------------------------

FIT_TARGET_MB = 1000
SURVEY_TARGET = 0.05
Shape = tuple[int, int]


def memory_of_fit(shape: Shape) -> Rows:
    with tempfile.TemporaryDirectory() as folder:
        file = write_spectra(Path(folder), shape)
        peak = peak_memory(fit_memmap, str(file))
    target = {"target": f"resident under {FIT_TARGET_MB} MB"}
    return [memory_row("fit", shape, peak, target, bool(peak["resident_MB"] < FIT_TARGET_MB))]


def memory_of_survey(shapes: tuple[Shape, Shape]) -> Rows:
    peaks = []
    for shape in shapes:
        with tempfile.TemporaryDirectory() as folder:
            file = write_spectra(Path(folder), shape)
            peaks.append(peak_memory(predict_memmap, str(file), str(Path(folder, "out.fits"))))
    # Of the process, which is what has to fit into a machine.
    growth = peaks[1]["process_MB"] / peaks[0]["process_MB"] - 1
    target = {"target": f"process grows by less than {100 * SURVEY_TARGET:g}%"}
    few, many = (partial(memory_row, "predict_survey", s) for s in shapes)
    return [
        few(peaks[0], {"target": ""}, ""),
        many(peaks[1], target, bool(growth < SURVEY_TARGET)),
    ]


def memory_row(
    what: str, shape: Shape, peak: dict[str, float], target: dict[str, str], met: Any
) -> dict[str, Any]:
    file_mb = 4 * shape[0] * shape[1] / 2**20
    about = {"what": what, "n_spectra": shape[0], "n_pixels": shape[1], "file_MB": file_mb}
    return {**about, **peak, **target, "met": met}


def write_spectra(folder: Path, shape: Shape) -> Path:
    """Write noise as a file that can be mapped, some rows at a time."""
    path = folder / "spectra.npy"
    array = open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    rng = np.random.default_rng(0)
    for start in range(0, len(array), 10_000):
        rows = array[start : start + 10_000]
        rows[:] = rng.standard_normal(rows.shape, dtype=np.float32)
    array.flush()
    return path


def fit_memmap(file: str) -> None:
    X = np.load(file, mmap_mode="r")
    y = np.random.default_rng(0).standard_normal((len(X), 2))
    EstNetRegressor(**SMALLEST, max_epochs=1, random_state=0).fit(X, y)


def predict_memmap(file: str, out: str) -> None:
    X = np.load(file, mmap_mode="r")
    regressor = EstNetRegressor(**SMALLEST, max_epochs=1, random_state=0)
    regressor.fit(X[:64], spectra(64, 1)[1])
    predict_survey(regressor, X, out, verbose=0)


# ---- All of them -------------------------------------------------------------------------------

PARTS = ("time", "steps", "memory")


def tasks(parts: list[str], quick: bool) -> dict[tuple[Any, ...], Callable[[], Rows]]:
    """List what there is to do."""
    fixed = QUICK if quick else Fixed()
    todo: dict[tuple[Any, ...], Callable[[], Rows]] = {}
    for axis, about in AXES.items():
        sizes = QUICK_SIZES[axis] if quick else about.sizes
        for repeat in range(2 if quick else REPEATS):
            todo["time", axis, repeat] = partial(one_round, axis, sizes, fixed, repeat)
    of_steps = (500, 200, 60, 2, 2) if quick else (N_STEPS, TIMED_ON, 977, 16, 5)
    todo["steps", of_steps[0]] = partial(steps, *of_steps)
    todo["memory", "fit"] = partial(memory_of_fit, (400, 60) if quick else (50_000, 3909))
    surveys = ((200, 60), (400, 60)) if quick else ((20_000, 200), (200_000, 200))
    todo["memory", "survey"] = partial(memory_of_survey, surveys)
    return {key: todo[key] for part in parts for key in todo if key[0] == part}


def tables(rows: Rows, parts: list[str]) -> dict[str, Rows]:
    """Return what was measured, by the name of its table."""
    found = {}
    if "time" in parts:
        found["scaling"] = points(of_part(rows, "time"))
        found["scaling_exponents"] = slopes(found["scaling"])
    for part in ("steps", "memory"):
        if part in parts:
            found[f"scaling_{part}"] = of_part(rows, part)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="small, saves nothing")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    here = Path(__file__)
    progress = None if arguments.quick else Progress("scaling", here, here.with_name("_speed.py"))
    found = tables(run_tasks(tasks(arguments.parts, arguments.quick), progress), arguments.parts)
    for name, table in found.items():
        print_table(table)
        if not arguments.quick:
            print("saved", save_table(name, table).name)
    if "scaling" in found and not arguments.quick:
        plot(found["scaling"], RESULTS / "scaling.png")


if __name__ == "__main__":
    main()
