"""The data sets that benchmarks compare methods on: spectra, labels and truth, split already."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skestnet.datasets import make_white_dwarfs
from skestnet.templates import (
    SimulatedSurvey,
    SpectrumDegrader,
    TemplateGrid,
    simulate_survey,
)

FloatArray = NDArray[np.float64]

LABELS = ("teff", "logg")
# Real DA white dwarfs whose labels the Koester grid holds with room to spare.
TEFF_RANGE = (8_000, 50_000)
LOGG_RANGE = (6.75, 9.25)
MEDIAN_SNR = 3.5
SNR_SCATTER = 1.0  # of ln(S/N): the paper's median of 3.1 and mode of 1.2


class Part(NamedTuple):
    """Spectra of a training or a test set; bad pixels are NaN."""

    X: NDArray[np.float32]
    y: FloatArray  # labels as a catalogue has them
    truth: FloatArray  # labels of the models
    snr: FloatArray


def embedded(n_train: int, n_test: int, seed: int, n_pixels: int = 163) -> tuple[Part, Part]:
    """White dwarfs of the package, with label errors, without wrong labels; 163 pixels of 25 A."""
    data = make_white_dwarfs(
        n_train + n_test,
        n_pixels=n_pixels,
        snr=MEDIAN_SNR,
        snr_scatter=SNR_SCATTER,
        outlier_fraction=0,
        random_state=seed,
    )
    return _split(Part(data.data, data.target, data.truth, data.snr), n_train)


def koester(
    folder: Path, n_train: int, n_test: int, seed: int, averaged: int = 12
) -> tuple[Part, Part]:
    """Koester models at LAMOST quality with the labels of real DA stars.

    The labels are those of Kepler et al. (2019), corrected for 3D effects, without errors. The S/N
    is log-normal with median 3.5 per LAMOST pixel; so many pixels are then averaged: twelve make
    325 of 12 Angstrom, four 977.
    """
    survey = koester_survey(folder, n_train + n_test, seed)
    flux = np.where(survey.spectra.mask, np.nan, survey.spectra.flux)
    truth, snr = survey.labels, np.array(survey.truth["snr"])
    return _split(Part(mean_of(flux, averaged), truth, truth, snr), n_train)


def koester_survey(folder: Path, n: int, seed: int) -> SimulatedSurvey:
    """Koester models with the labels of real DA stars, on LAMOST's pixels and of its quality."""
    labels = real_da_labels(folder)
    models = koester_models(folder)
    degrader = SpectrumDegrader(models.wavelength, snr=_log_normal)
    return simulate_survey(
        models,
        n,
        labels=lambda rng, n: labels[rng.choice(len(labels), n, replace=False)],
        degrader=degrader,
        random_state=seed,
    )


def koester_models(folder: Path) -> TemplateGrid:
    return TemplateGrid.read(folder / "models_da_koester2010_svo.npz").select(teff=(6e3, 6e4))


def _log_normal(rng: np.random.Generator, n: int) -> FloatArray:
    return MEDIAN_SNR * np.exp(SNR_SCATTER * rng.standard_normal(n))


def real_da_labels(folder: Path) -> FloatArray:
    """Teff and log g of real DA stars (Kepler et al. 2019, corrected for 3D effects)."""
    table = pd.read_parquet(folder / "catalog_kepler2019_da_fit.parquet")
    stars = table[
        (table["type"].str.strip() == "DA")
        & table["teff_3d"].between(*TEFF_RANGE)
        & table["logg_3d"].between(*LOGG_RANGE)
    ]
    return stars[["teff_3d", "logg_3d"]].to_numpy(dtype=float)


def mean_of(flux: NDArray[np.float64], n: int) -> NDArray[np.float32]:
    """Average neighbouring pixels, the good ones among them."""
    whole = flux[:, : flux.shape[1] // n * n].reshape(len(flux), -1, n)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty slice")
        return np.nanmean(whole, axis=2).astype(np.float32)


def _split(part: Part, n_train: int) -> tuple[Part, Part]:
    train, test = (Part(*(array[rows] for array in part)) for rows in _rows(n_train))
    return train, test


def _rows(n_train: int) -> tuple[slice, slice]:
    return slice(None, n_train), slice(n_train, None)


def shift_labels(
    y: FloatArray, size: float, scatter: float, seed: int, share: float = 0.2
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Add N(size, scatter**2) to a random share of the labels; say to which (section 4.5)."""
    rng = np.random.default_rng(seed)
    shifted = np.zeros(len(y), dtype=bool)
    shifted[rng.choice(len(y), round(share * len(y)), replace=False)] = True
    return y + shifted * rng.normal(size, scatter, len(y)), shifted
