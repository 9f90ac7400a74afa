"""How many spectra a second do the transformers prepare, and with how much memory?

Held fixed: float32 spectra of 3909 pixels with white dwarf lines, at signal-to-noise 10. The
control is what one would write without the package: a loop over spectra with scipy's
`LSQUnivariateSpline`, with the same knots and the same rejection of lines. Transformers and loop
alternate in one process, and the ratios are taken round by round. First the results are compared:
every transformer with a plain loop over a few spectra. Memory is the peak of all allocations during
`transform`, output included, over the size of the input.

About a minute on two cores; ``--quick`` a few seconds.
"""

from __future__ import annotations

import argparse
import os
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
from _results import print_table, save_table
from scipy.interpolate import LSQUnivariateSpline

from skestnet.spectra import ContinuumNormalizer, FluxScaler, Resampler, lamost_grid

GRID = lamost_grid()
NATIVE = 10 ** np.linspace(
    np.log10(3950.0), np.log10(8050.0), GRID.size
)  # evenly in log, as LAMOST
BALMER = (4102.9, 4341.7, 4862.7, 6564.6)
N_COMPARED = 20


def spectra(n: int) -> np.ndarray:
    """Make noisy DA-like spectra: slopes and Balmer lines of all depths."""
    rng = np.random.default_rng(0)
    slope, depth = rng.uniform(-3, 1, (n, 1)), rng.uniform(0, 0.6, (n, 1))
    lines = sum(np.exp(-0.5 * ((GRID - centre) / 25) ** 2) for centre in BALMER)
    flux = (GRID / 6000) ** slope * (1 - depth * lines)
    flux *= 1 + 0.1 * rng.standard_normal(flux.shape)
    return flux.astype(np.float32)


def spline_loop(X: np.ndarray, settings: ContinuumNormalizer) -> np.ndarray:
    """Normalise one spectrum at a time, the way of a script."""
    inner = np.quantile(GRID, np.linspace(0, 1, settings.n_knots))[1:-1]
    rows = []
    for row in X.astype(np.float64):
        fit = LSQUnivariateSpline(GRID, row, inner)(GRID)
        good = np.ones(row.size, dtype=bool)
        for _ in range(settings.n_iter):
            residual = row - fit
            sigma = np.sqrt(np.mean(residual[good] ** 2))
            good = (residual >= -settings.lower * sigma) & (residual <= settings.upper * sigma)
            fit = LSQUnivariateSpline(GRID, np.where(good, row, fit), inner)(GRID)
        rows.append(row / np.maximum(fit, settings.floor * np.median(np.abs(row))))
    return np.array(rows)


def interpolate_loop(X: np.ndarray) -> np.ndarray:
    return np.array([np.interp(GRID, NATIVE, row) for row in X])


def overlap_loop(X: np.ndarray) -> np.ndarray:
    """Average over pixels by the cumulative flux at their edges."""
    edges, new = (
        np.interp(np.arange(-0.5, grid.size), np.arange(grid.size), grid) for grid in (NATIVE, GRID)
    )
    new[[0, -1]] = 1.5 * GRID[[0, -1]] - 0.5 * GRID[[1, -2]]  # NATIVE reaches farther anyway
    total = [np.concatenate([[0], np.cumsum(row * np.diff(edges))]) for row in X.astype(float)]
    return np.array([np.diff(np.interp(new, edges, row)) / np.diff(new) for row in total])


def by_row(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda X: np.array([function(row) for row in X.astype(np.float64)])


def contenders() -> dict[str, tuple[Any, Callable[[np.ndarray], np.ndarray], float]]:
    """List transformers, the loops they must agree with, and to which rms difference."""
    normaliser = ContinuumNormalizer(GRID)
    threads = ContinuumNormalizer(GRID, n_jobs=os.cpu_count())

    def plain(X: np.ndarray) -> np.ndarray:
        return spline_loop(X, normaliser)

    return {
        'FluxScaler("minmax")': (
            FluxScaler("minmax"), by_row(lambda f: (f - f.min()) / np.ptp(f)), 1e-6,
        ),
        'FluxScaler("median")': (FluxScaler("median"), by_row(lambda f: f / np.median(f)), 1e-6),
        'FluxScaler("standard")': (
            FluxScaler("standard"), by_row(lambda f: (f - f.mean()) / f.std()), 1e-5,
        ),
        'Resampler("linear")': (Resampler(NATIVE, GRID), interpolate_loop, 1e-6),
        'Resampler("flux-conserving")': (
            Resampler(NATIVE, GRID, method="flux-conserving"), overlap_loop, 1e-6,
        ),
        # The noise of bins is less than that of pixels, and so is what it does to the rejection.
        "ContinuumNormalizer": (normaliser, plain, 0.03),
        f"ContinuumNormalizer, n_jobs={os.cpu_count()}": (threads, plain, 0.03),
    }  # fmt: skip


def seconds(function: Callable[[np.ndarray], Any], X: np.ndarray) -> float:
    start = time.perf_counter()
    function(X)
    return time.perf_counter() - start


def peak_ratio(function: Callable[[np.ndarray], Any], X: np.ndarray) -> float:
    tracemalloc.start()
    function(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / X.nbytes


def compare(name: str, transformer: Any, loop: Callable, tolerance: float, X: np.ndarray) -> float:
    """Return the rms difference from the loop, having checked it."""
    result = transformer.fit(X).transform(X)
    difference = float(np.sqrt(np.mean((result - loop(X)) ** 2)))
    assert result.dtype == np.float32, f"{name}: float32 became {result.dtype}"
    assert difference < tolerance, f"{name}: rms difference {difference} from the plain loop"
    return difference


def measure(n: int, n_loop: int, repeats: int) -> list[dict[str, Any]]:
    X = spectra(n)
    ready = contenders()
    rms = {name: compare(name, *parts, X[:N_COMPARED]) for name, parts in ready.items()}
    memory = {name: peak_ratio(parts[0].transform, X) for name, parts in ready.items()}
    speed: dict[str, list[float]] = {name: [] for name in ready}
    control = []
    for _ in range(repeats):
        control.append(n_loop / seconds(ready["ContinuumNormalizer"][1], X[:n_loop]))
        for name, parts in ready.items():
            speed[name].append(n / seconds(parts[0].transform, X))
    return [row(name, n, speed[name], control, memory[name], rms[name]) for name in ready]


def row(
    name: str, n: int, speed: list[float], control: list[float], memory: float, rms: float
) -> dict[str, Any]:
    ratio = np.array(speed) / np.array(control)
    return {
        "transformer": name,
        "n_spectra": n,
        "n_pixels": GRID.size,
        "repeats": len(speed),
        "per_second_median": np.median(speed),
        "per_second_min": np.min(speed),
        "per_second_max": np.max(speed),
        "spline_loop_per_second": np.median(control),
        "times_the_loop_median": np.median(ratio),
        "times_the_loop_min": ratio.min(),
        "peak_memory_over_input": memory,
        "rms_difference_from_loop": rms,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer spectra and repeats")
    quick = parser.parse_args().quick
    rows = measure(500, 5, 2) if quick else measure(10000, 100, 7)
    print_table(rows)
    if not quick:
        print("saved", save_table("preprocessing", rows).name)


if __name__ == "__main__":
    main()
