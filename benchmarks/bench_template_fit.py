"""How close does the traditional fit come to the limit, and can its errors be believed?

TemplateFitRegressor on spectra simulated from the same Koester (2010) models that it fits (grid:
SKESTNET_DATA), at LAMOST's pixels and resolution, 3850-5300 Angstrom. Held fixed: the range of the
2000 stars (8,000-40,000 K, log g 7-9) and white noise; each S/N per pixel has its own stars. The
bound is that of Cramer and Rao for the same windows and continua, see cramer_rao_bound.

- without noise: largest relative error of a label;
- with noise: bias and scatter of the labels in units of their estimated errors (width 1 if these
  are honest), and the scatter over the bound. Widths are half the range of the central 68%, known
  to 0.02. The median error stands beside that of normal errors of the bound's size. Fits that end
  more than five bounds away (the other side of the Balmer maximum, the limits of the grid) are
  counted apart: "astray".

About a minute on two cores; ``--quick`` a few seconds (20 stars, saves nothing).
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from _results import RESULTS, data_folder, print_table, save_table
from sklearn.exceptions import ConvergenceWarning

from skestnet.templates import (
    SpectrumDegrader,
    TemplateFitRegressor,
    TemplateGrid,
    cramer_rao_bound,
    simulate_survey,
)

LABELS = ("teff", "logg")
RANGES = {"teff": (8_000, 40_000), "logg": (7.0, 9.0)}
PIXELS = 10 ** np.arange(np.log10(3850), np.log10(5300), 1e-4)
RESOLUTION = 1800
SNR = (np.inf, 100, 50, 20, 10, 5, 3)
OFF = {"ebv": 0, "velocity": 0, "warp": 0, "sky_residual": 0, "cosmic_rays": 0, "missing": 0}


def continua(fit: TemplateFitRegressor) -> np.ndarray:
    """Return a straight line for each window, which the fit marginalises over."""
    x = (PIXELS - PIXELS[0]) / np.ptp(PIXELS)
    inside = [(low <= PIXELS) & (high >= PIXELS) for _, low, high in fit.windows_]
    return np.array([shape * window for window in inside for shape in (np.ones_like(x), x)])


def bound(grid: TemplateGrid, fit: TemplateFitRegressor, labels: np.ndarray, ivar: np.ndarray):
    """Compute the smallest possible errors from the pixels that the fit uses."""
    shapes = continua(fit)
    sigma = np.where(shapes.any(axis=0), ivar**-0.5, np.inf)
    return cramer_rao_bound(grid, labels, sigma, nuisances=[shapes])


def half_width(values: np.ndarray) -> float:
    return float(np.diff(np.quantile(values, [0.16, 0.84]))[0] / 2)


def normal_median(std: np.ndarray) -> float:
    """Return the median absolute value of normal errors with these standard deviations."""
    draws = np.random.default_rng(0).standard_normal((200, len(std)))
    return float(np.median(np.abs(draws * std)))


def measure(
    models: TemplateGrid,
    grid: TemplateGrid,
    fit: TemplateFitRegressor,
    snr: float,
    n: int,
    seed: int,
) -> list[dict[str, Any]]:
    degrader = SpectrumDegrader(
        models.wavelength, PIXELS, resolution=RESOLUTION, snr=snr, noise="white",
        snr_band=(4000, 5200), **OFF,
    )  # fmt: skip
    truth, spectra, _ = simulate_survey(
        models, n, labels=RANGES, degrader=degrader, random_state=seed
    )
    flux, ivar = np.array(spectra.flux), np.array(spectra.ivar)
    start = time.perf_counter()
    labels, std = fit.predict(flux, ivar=ivar, return_std=True)
    seconds = time.perf_counter() - start
    error = labels - truth
    if np.isinf(snr):
        largest = np.abs(error / truth).max(axis=0)
        return [row(snr, n, seconds, k, largest_relative_error=largest[k]) for k in (0, 1)]
    limit = bound(grid, fit, truth, ivar)
    astray = (np.abs(error) > 5 * limit).any(axis=1)
    error, std, limit = error[~astray], std[~astray], limit[~astray]
    pull, against = error / std, error / limit
    return [
        row(
            snr, n, seconds, k,
            astray=astray.mean(), bias=np.median(pull[:, k]), pull_width=half_width(pull[:, k]),
            scatter_over_bound=half_width(against[:, k]),
            median_error=np.median(np.abs(error[:, k])),
            median_error_at_bound=normal_median(limit[:, k]),
        )
        for k in (0, 1)
    ]  # fmt: skip


COLUMNS = (
    "largest_relative_error", "astray", "bias", "pull_width", "scatter_over_bound", "median_error",
    "median_error_at_bound",
)  # fmt: skip


def row(snr: float, n: int, seconds: float, k: int, **values: float) -> dict[str, Any]:
    about = {"snr": snr, "label": LABELS[k], "n": n, "spectra_per_s": n / seconds}
    return about | {name: values.get(name, "") for name in COLUMNS}


def draw(rows: list[dict]) -> None:
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.5))
    for k, (label, unit) in enumerate(zip(LABELS, ("Teff [K]", "log g [dex]"), strict=True)):
        part = [r for r in rows if r["label"] == label and np.isfinite(r["snr"])]
        snr = [r["snr"] for r in part]
        axes[k].loglog(snr, [r["median_error"] for r in part], "o-", label="template fit")
        axes[k].loglog(snr, [r["median_error_at_bound"] for r in part], "k--", label="bound")
        axes[k].set_xlabel("S/N per pixel")
        axes[k].set_ylabel(f"median absolute error of {unit}")
    axes[0].legend(frameon=False)
    fig.tight_layout()
    fig.savefig(RESULTS / "template_fit.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 stars, saves nothing")
    quick = parser.parse_args().quick
    # Fits that end at the limits of the grid are counted as astray.
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    models = TemplateGrid.read(data_folder() / "models_da_koester2010_svo.npz")
    models = models.select(teff=(6_000, 80_000))
    grid = models.observe(PIXELS, resolution=RESOLUTION)
    fit = TemplateFitRegressor.from_grid(grid)
    rows = []
    for seed, snr in enumerate((np.inf, 20) if quick else SNR):
        rows += measure(models, grid, fit, snr, 20 if quick else 2000, seed)
        print_table(rows[-2:])
    if not quick:
        print("saved", save_table("template_fit", rows).name)
        draw(rows)


if __name__ == "__main__":
    main()
