"""Does it work on real survey spectra, from the raw FITS files on?

Three questions, on the data folder that SKESTNET_DATA names:

1. files: does every LAMOST, SDSS and DESI file load?
2. stars: how well do EstNet and baselines estimate Teff and log g of the 131 real LAMOST stars that
   have pipeline labels, or of those that pass the paper's quality cuts and reach down to the
   grid's 4135 A (the script says how many)? Held fixed: the Pipeline, the folds (5, shuffled anew
   for each seed), the labels. So few stars are not what a network is made for.
3. dwarf: what does EstNet say of a real SDSS white dwarf, having seen only Koester (2010) models
   degraded to LAMOST quality (SpectrumDegrader, with noise and gaps sampled from real LAMOST
   spectra)? A test set of the same kind, with known truth, stands beside it.

About 12 minutes on two cores; ``--quick`` under a minute (one seed, few epochs, nothing saved).
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _results import data_folder, paper_metrics, print_table, save_table
from lightgbm import LGBMRegressor
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skestnet import EstNetRegressor, PredictiveDistribution, predict_dist
from skestnet.spectra import (
    FluxScaler,
    MaskedPixelImputer,
    Spectra,
    lamost_grid,
    read_spectra,
    usable_spectra,
)
from skestnet.templates import NoisePatterns, SpectrumDegrader, TemplateGrid, simulate_survey

LABELS = ("teff", "logg")
SEEDS = (0, 1, 2)
N_FOLDS = 5
BINNING = 4
GRID = lamost_grid(977 * BINNING)
STAR_GRID = GRID[-944 * BINNING :]  # from 4135 A: some of the stars have no blue end
DWARF_FILE = "spec-sdss-wdtools-sample.fits"

RANGES = {"teff": (6_000, 50_000), "logg": (7.0, 9.0)}


def matrix(spectra: Spectra, grid: np.ndarray, masked: str = "bridge") -> np.ndarray:
    """Interpolate to a grid and average four pixels; bad ones are bridged or filled."""
    flux = spectra.to_matrix(grid, masked=masked)
    if masked == "nan":
        flux = MaskedPixelImputer().fit_transform(flux)
    return flux.reshape(len(flux), -1, BINNING).mean(axis=2)


def pipeline(regressor: Any) -> Pipeline:
    return make_pipeline(FluxScaler("median"), StandardScaler(), regressor)


def metric_rows(about: dict[str, Any], y_true: np.ndarray, y_pred: np.ndarray) -> list[dict]:
    metrics = paper_metrics(y_true, y_pred)
    return [
        {**about, "label": label, **{name: values[k] for name, values in metrics.items()}}
        for k, label in enumerate(LABELS)
    ]


# ---- 1. files ------------------------------------------------------------------------------


def files(folder: Path) -> list[dict]:
    spectra = read_spectra(sorted((folder / "fits").glob("*.fits*")), verbose=1)
    return [
        {
            "file": Path(row["file"]).name,
            "layout": row["layout"],
            "pixels": len(spectra.flux[i]),
            "first_A": spectra.wavelength[i][0],
            "last_A": spectra.wavelength[i][-1],
            "bad_pixels": int(spectra.mask[i].sum()),
            "snr_g": float(row["snr_g"]),
        }
        for i, row in enumerate(spectra.meta)
    ]


# ---- 2. stars ------------------------------------------------------------------------------


def labelled_stars(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    meta = pd.read_parquet(folder / "real_lamost_lrs_stars_meta.parquet")
    rows = np.flatnonzero(meta[list(LABELS)].notna().all(axis=1))
    with np.load(folder / "real_lamost_lrs_stars.npz") as stored:
        arrays = [stored["wavelength"]] * len(rows), stored["flux"][rows], stored["ivar"][rows]
    spectra = Spectra(*(list(array) for array in arrays))
    y, snr = meta.iloc[rows][list(LABELS)].to_numpy(float), meta.iloc[rows]["sn_med_g"].to_numpy()
    limits = (STAR_GRID[0], STAR_GRID[-1])
    keep, report = usable_spectra(spectra, labels=y, snr=snr, wavelength_range=limits)
    X = matrix(spectra, STAR_GRID)
    whole = np.isfinite(X).all(axis=1)
    print(report)
    print(f"{np.sum(keep & ~whole)} of the usable stars do not reach {limits[0]:.0f} Angstrom")
    return X[keep & whole], y[keep & whole]


def methods(quick: bool) -> dict[str, Any]:
    epochs = 3 if quick else 25
    return {
        "mean": DummyRegressor(),
        "ridge on 20 principal components": make_pipeline(PCA(20), RidgeCV(np.logspace(-2, 4, 13))),
        "LightGBM": MultiOutputRegressor(LGBMRegressor(min_child_samples=5, verbose=-1, n_jobs=2)),
        "EstNet, one stage": EstNetRegressor(max_epochs=epochs, batch_size=16, weighter=None),
        "EstNet": EstNetRegressor(max_epochs=epochs, batch_size=16),
    }


def cross_validated(model: Any, X: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Predict each star by a model that saw other folds only."""
    predicted = np.empty_like(y)
    for train, test in KFold(N_FOLDS, shuffle=True, random_state=seed).split(X):
        fitted = clone(model).fit(X[train], y[train])
        predicted[test] = fitted.predict(X[test])
    return predicted


def stars(folder: Path, quick: bool) -> list[dict]:
    X, y = labelled_stars(folder)
    rows = []
    for seed in SEEDS[:1] if quick else SEEDS:
        for name, regressor in methods(quick).items():
            model = pipeline(regressor)
            seedable = {key: seed for key in model.get_params() if key.endswith("random_state")}
            predicted = cross_validated(model.set_params(**seedable), X, y, seed)
            about = {"method": name, "seed": seed, "n": len(y)}
            rows += metric_rows(about, y, predicted)
            print_table(rows[-2:])
    return rows


# ---- 3. dwarf ------------------------------------------------------------------------------


def degraded(folder: Path, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw white dwarfs and put their model spectra to LAMOST quality, S/N 1 to 60."""
    models = TemplateGrid.read(folder / "models_da_koester2010_svo.npz").select(**RANGES)
    stars = read_spectra(folder / "real_lamost_lrs_stars.npz")
    degrader = SpectrumDegrader(
        models.wavelength, GRID, snr=(1, 60), noise=NoisePatterns.from_spectra(stars, GRID)
    )
    survey = simulate_survey(models, n, degrader=degrader, random_state=seed)
    return matrix(survey.spectra, GRID, masked="nan"), survey.labels


def catalogue_row(folder: Path, obsid: str) -> pd.Series:
    """Look up a white dwarf in Kepler et al. (2019)."""
    table = pd.read_parquet(folder / "catalog_kepler2019_da_fit.parquet")
    return table[table["pmf"] == obsid].iloc[0]


def dwarf(folder: Path, quick: bool) -> list[dict]:
    X, y = degraded(folder, 300 if quick else 6000, seed=0)
    X_test, y_test = degraded(folder, 100 if quick else 1000, seed=1)
    network = EstNetRegressor(
        noise="none", max_epochs=2 if quick else 10, random_state=0, verbose=1
    )
    model = pipeline(network).fit(X, y)
    real = read_spectra(folder / "fits" / DWARF_FILE)
    published = catalogue_row(folder, real.meta["obsid"][0])
    rows = interval_rows(predict_dist(model, matrix(real, GRID)), published)
    simulated = predict_dist(model, X_test)
    for k, row in enumerate(rows):
        low, high = simulated.output(k).interval(0.68)
        error = np.abs(simulated.output(k).mean() - y_test[:, k])
        row["simulated_MAE"] = error.mean()
        row["simulated_coverage68"] = np.mean((low <= y_test[:, k]) & (y_test[:, k] <= high))
    return rows


def interval_rows(dist: PredictiveDistribution, published: pd.Series) -> list[dict[str, Any]]:
    rows = []
    for k, name in enumerate(LABELS):
        one = dist.output(k)
        bounds = {}
        for level in (68, 95):
            low, high = one.interval(level / 100)
            bounds |= {f"low{level}": low[0], f"high{level}": high[0]}
        about = {"object": f"SDSS J{published['coord']}", "label": name}
        kepler = {"Kepler2019": float(published[f"{name}_3d"]), "error": published[f"e_{name}"]}
        rows.append({**about, **kepler, "EstNet": one.mean()[0], "std": one.std()[0], **bounds})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, few epochs, saves nothing")
    parser.add_argument("--only", choices=("files", "stars", "dwarf"), help="one question only")
    arguments = parser.parse_args()
    folder = data_folder()
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    questions = {
        "files": lambda: files(folder),
        "stars": lambda: stars(folder, arguments.quick),
        "dwarf": lambda: dwarf(folder, arguments.quick),
    }
    for name, answer in questions.items():
        if arguments.only in (None, name):
            print(f"\n== {name} ==")
            rows = answer()
            print_table(rows)
            if not arguments.quick:
                print("saved", save_table(f"real_lamost_{name}", rows).name)


if __name__ == "__main__":
    main()
