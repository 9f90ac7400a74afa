"""How many spectra a second do the transformers prepare, and with how much memory?

Held fixed: float32 spectra of 3909 pixels with white dwarf lines, at signal-to-noise 10. "With
gaps", 40 neighbouring pixels of each are NaN, and another 300 of every seventh. The
control is what one would write without the package: a loop over spectra with scipy's
`LSQUnivariateSpline`, with the same knots and the same rejection of lines, on the same spectra
(those with gaps by their good pixels). Transformers and loop
alternate in one process, and the ratios are taken round by round. First the results are compared:
every transformer with a plain loop over a few spectra. Memory is the peak of all allocations during
`transform`, output included, over the size of the input.

About two minutes on two cores; ``--quick`` a few seconds.
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


def with_gaps(X: np.ndarray) -> np.ndarray:
    """Lose 40 neighbouring pixels of every spectrum, and another 300 of every seventh."""
    rng, X = np.random.default_rng(1), X.copy()
    for width, step in ((40, 1), (300, 7)):
        for row in X[::step]:
            start = rng.integers(row.size - width)
            row[start : start + width] = np.nan
    return X


def spline_loop(X: np.ndarray, settings: ContinuumNormalizer) -> np.ndarray:
    """Normalise one spectrum at a time, the way of a script."""
    inner = np.quantile(GRID, np.linspace(0, 1, settings.n_knots))[1:-1]
    rows = []
    for row in X.astype(np.float64):
        known = ~np.isnan(row)
        x, f = GRID[known], row[known]
        fit = LSQUnivariateSpline(x, f, inner)(x)
        good = np.ones(f.size, dtype=bool)
        for _ in range(settings.n_iter):
            residual = f - fit
            sigma = np.sqrt(np.mean(residual[good] ** 2))
            good = (residual >= -settings.lower * sigma) & (residual <= settings.upper * sigma)
            fit = LSQUnivariateSpline(x, np.where(good, f, fit), inner)(x)
        row[known] = f / np.maximum(fit, settings.floor * np.median(np.abs(f)))
        rows.append(row)
    return np.array(rows)


def interpolate_loop(X: np.ndarray) -> np.ndarray:
    return np.array([np.interp(GRID, NATIVE, row) for row in X])


def overlap_loop(X: np.ndarray) -> np.ndarray:
    """Average over pixels by the cumulative flux at their edges, and that of good pixels."""
    edges, new = (
        np.interp(np.arange(-0.5, grid.size), np.arange(grid.size), grid) for grid in (NATIVE, GRID)
    )
    new[[0, -1]] = 1.5 * GRID[[0, -1]] - 0.5 * GRID[[1, -2]]  # NATIVE reaches farther anyway

    def average(row: np.ndarray) -> np.ndarray:
        total = np.concatenate([[0], np.cumsum(row * np.diff(edges))])
        return np.diff(np.interp(new, edges, total)) / np.diff(new)

    flux = np.array([average(row) for row in np.nan_to_num(X.astype(float))])
    share = np.array([average(row) for row in (~np.isnan(X)).astype(float)])
    return np.where(share >= 0.5 - 1e-6, flux, np.nan) / np.maximum(share, 0.1)


def by_row(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Apply a function to the good pixels of one spectrum after the other."""

    def loop(X: np.ndarray) -> np.ndarray:
        result = X.astype(np.float64)
        for row in result:
            good = ~np.isnan(row)
            row[good] = function(row[good])
        return result

    return loop


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
    expected = loop(X)
    difference = float(np.sqrt(np.nanmean((result - expected) ** 2)))
    assert np.array_equal(np.isnan(result), np.isnan(expected)), f"{name}: NaN in other pixels"
    assert result.dtype == np.float32, f"{name}: float32 became {result.dtype}"
    assert difference < tolerance, f"{name}: rms difference {difference} from the plain loop"
    return difference


def measure(n: int, n_loop: int, repeats: int) -> list[dict[str, Any]]:
    whole = spectra(n)
    X = {"": whole, ", with gaps": with_gaps(whole)}
    ready = {(name, gaps): parts for gaps in X for name, parts in contenders().items()}
    rms = {key: compare("".join(key), *ready[key], X[key[1]][:N_COMPARED]) for key in ready}
    memory = {key: peak_ratio(parts[0].transform, X[key[1]]) for key, parts in ready.items()}
    speed: dict[tuple[str, str], list[float]] = {key: [] for key in ready}
    control: dict[str, list[float]] = {gaps: [] for gaps in X}
    for _ in range(repeats):
        for gaps in X:
            loop = ready["ContinuumNormalizer", gaps][1]
            control[gaps].append(n_loop / seconds(loop, X[gaps][:n_loop]))
        for key, parts in ready.items():
            speed[key].append(n / seconds(parts[0].transform, X[key[1]]))
    return [
        row("".join(key), n, speed[key], control[key[1]], memory[key], rms[key]) for key in ready
    ]


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
