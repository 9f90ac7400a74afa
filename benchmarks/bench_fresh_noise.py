"""Does it help to draw the noise anew in every training step?

White dwarfs from the closed-form grid of the package, put to survey quality (LAMOST-like noise, sky
residuals, cosmic rays, gaps, flux calibration errors; S/N 1 to 10 per pixel of 8 Angstrom). Held
fixed: the stars, their velocities and dust, the network, its preprocessing and number of epochs,
and the 1000 test spectra. The noise of the training spectra is drawn once, or anew in every step
(``augment``). Few stars and more stars, three seeds.

About 8 minutes on two cores; ``--quick`` a few seconds (few stars and epochs, saves nothing).
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from _results import paper_metrics, print_table, save_table
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skestnet import EstNetRegressor
from skestnet.datasets import make_white_dwarf_grid
from skestnet.spectra import FluxScaler, MaskedPixelImputer
from skestnet.templates import SpectrumDegrader, simulate_survey

PIXELS = np.arange(4050.0, 7950.0, 8.0)
STARS = {"teff": (8_000, 40_000), "logg": (7.0, 9.0)}
LABELS = ("log10 teff", "logg")
SIZES = (500, 2000)
SEEDS = (0, 1, 2)


def clean_spectra(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    models = make_white_dwarf_grid()
    off = {"warp": 0, "sky_residual": 0, "cosmic_rays": 0, "missing": 0}
    degrader = SpectrumDegrader(models.wavelength, PIXELS, snr=np.inf, **off)
    labels, spectra, _ = simulate_survey(
        models, n, labels=STARS, degrader=degrader, random_state=seed
    )
    return np.array(spectra.flux), np.column_stack([np.log10(labels[:, 0]), labels[:, 1]])


def network(seed: int, epochs: int, **params) -> EstNetRegressor:
    clip = FunctionTransformer(np.clip, kw_args={"a_min": -5, "a_max": 5})
    prepare = make_pipeline(MaskedPixelImputer(), FluxScaler("median"), StandardScaler(), clip)
    return EstNetRegressor(preprocess=prepare, max_epochs=epochs, random_state=seed, **params)


def compare(n: int, n_test: int, epochs: int, seed: int) -> list[dict]:
    noise = SpectrumDegrader(PIXELS, PIXELS, resolution=None, snr=(1, 10), ebv=0, velocity=0)
    clean, y = clean_spectra(n, seed)
    clean_test, y_test = clean_spectra(n_test, 1000 + seed)
    X_test = noise(clean_test, random_state=seed)
    cases = {
        "drawn once": (noise(clean, random_state=seed), None),
        "fresh": (clean, noise),
    }
    rows = []
    for name, (X, augment) in cases.items():
        start = time.perf_counter()
        fitted = network(seed, epochs, augment=augment).fit(X, y)
        about = {"noise": name, "n_train": n, "seed": seed}
        about |= {"epochs": fitted.n_iter_, "fit_s": time.perf_counter() - start}
        metrics = paper_metrics(y_test, fitted.predict(X_test))
        rows += [
            {**about, "label": label, **{m: values[k] for m, values in metrics.items()}}
            for k, label in enumerate(LABELS)
        ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, saves nothing")
    quick = parser.parse_args().quick
    rows = []
    for n in (100,) if quick else SIZES:
        for seed in SEEDS[:1] if quick else SEEDS:
            rows += compare(n, 100 if quick else 1000, 1 if quick else 15, seed)
            print_table(rows[-4:])
    if not quick:
        print("saved", save_table("fresh_noise", rows).name)


if __name__ == "__main__":
    main()
