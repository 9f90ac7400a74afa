"""How much can anyone know from such spectra?

The posterior distribution of Teff and log g for spectra of bench_uncertainty.py (Koester models at
LAMOST quality, median S/N 3.5, 977 pixels), given everything that its methods have to learn: the
models, the noise of every pixel, the distribution of the labels, and the sizes of the errors of the
flux calibration, which are integrated over. Not modelled are cosmic rays, residuals of the sky and
radial velocities, so that the best possible CRPS may be somewhat lower still. Beside it stands the
CRPS of the labels alone. What a method with 4772 training spectra can gain lies between the two.

The prior is 12,000 labels of real stars, spread a little; the likelihood of each is normal, with a
factor for each spectrum that is one plus a polynomial of fifth degree and a step where LAMOST's
arms meet, of a few percent, in closed form.

Needs SKESTNET_DATA. About four minutes on one core; ``--quick`` takes 20 seconds and saves nothing.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from _data import LABELS, koester_models, koester_survey, real_da_labels
from _reference import Reference
from _results import data_folder, print_table, save_table
from numpy.polynomial.legendre import legvander
from scipy.stats import bootstrap
from tqdm.auto import tqdm

from skestnet import PredictiveDistribution

TUNING_DRAW = 100  # no draw of bench_uncertainty.py, which learns from the labels of its own
N_TRAIN = 4772
N_STARS = 400
N_PRIOR = 12_000
PRIOR_SPREAD = (0.02, 0.04)  # of ln Teff, of log g in dex
WARPS = (10.0, 0.06, 0.04, 0.03, 0.02, 0.02, 0.02)  # widths of the factor's parts; first: the level
ARMS_JOIN = 5800.0  # Angstrom
BLOCK = 50


def spectra(n_stars: int) -> tuple[Reference, Any]:
    """Return test spectra with their noise, and the models at their pixels."""
    survey = koester_survey(data_folder(), N_TRAIN + n_stars, TUNING_DRAW)
    chosen = survey.spectra[N_TRAIN:]
    ivar = np.where(chosen.mask, 0, chosen.ivar)
    with np.errstate(divide="ignore"):
        sigma = ivar**-0.5
    flux = np.where(ivar > 0, chosen.flux, np.nan)
    truth = survey.labels[N_TRAIN:]
    wavelength = np.asarray(chosen.wavelength)[0]
    snr = np.array(survey.truth["snr"])[N_TRAIN:]
    stars = Reference(flux, truth, truth, snr, sigma, wavelength)
    grid = koester_models(data_folder()).observe(wavelength, resolution=1800)
    return stars.averaged(4), grid


def prior(n: int, rng: np.random.Generator) -> Any:
    labels = real_da_labels(data_folder())
    chosen = labels[rng.choice(len(labels), n)]
    teff = chosen[:, 0] * np.exp(PRIOR_SPREAD[0] * rng.standard_normal(n))
    logg = chosen[:, 1] + PRIOR_SPREAD[1] * rng.standard_normal(n)
    return np.column_stack([teff, logg.clip(6.6, 9.4)])


def templates(grid: Any, labels: Any) -> Any:
    """Return models of unit level, at averaged pixels."""
    blocks = [grid.interpolate(some) for some in np.array_split(labels, 12)]
    native = np.concatenate(blocks)
    mean = native[:, : native.shape[1] // 4 * 4].reshape(len(native), -1, 4).mean(axis=2)
    return (mean / np.median(mean, axis=1, keepdims=True)).astype(np.float32)


def shapes(wavelength: Any) -> Any:
    """Return the parts of the unknown factor, one a row."""
    smooth = legvander(np.linspace(-1, 1, len(wavelength)), 5).T
    step = 0.5 * np.tanh((wavelength - ARMS_JOIN) / 60)
    return np.vstack([smooth, step]).astype(np.float32)


def posterior(stars: Reference, models: Any) -> Any:
    """Return the probability of each model for each star, of shape (n_stars, n_models)."""
    parts = shapes(stars.wavelength)
    weight = stars.sigma**-2.0
    flux = np.where(weight > 0, stars.X, 0)
    # Of unit level, so that the widths of the factor's parts are relative.
    level = ((weight * flux).sum(axis=1) / weight.sum(axis=1))[:, np.newaxis]
    weight, flux = (weight * level**2).astype(np.float32), (flux / level).astype(np.float32)
    log = [
        _log_likelihood(weight[i : i + BLOCK], flux[i : i + BLOCK], models, parts)
        for i in tqdm(range(0, len(flux), BLOCK), desc="posterior")
    ]
    log_p = np.concatenate(log)
    p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def _log_likelihood(weight: Any, flux: Any, models: Any, parts: Any) -> Any:
    """Integrate over the factor, a sum of normal variables times parts (to a constant)."""
    k, squares = len(parts), (models**2).T
    A = np.empty((len(flux), len(models), k, k), dtype=np.float32)
    b = np.empty((len(flux), len(models), k), dtype=np.float32)
    for i in range(k):
        b[..., i] = (weight * flux * parts[i]) @ models.T
        for j in range(i, k):
            A[..., i, j] = A[..., j, i] = (weight * parts[i] * parts[j]) @ squares
    penalty = np.diag(np.array(WARPS) ** -2.0)
    log = np.empty(b.shape[:2])
    for block in np.array_split(np.arange(len(models)), max(1, len(models) // 2000)):
        full = A[:, block].astype(np.float64) + penalty
        right = b[:, block].astype(np.float64)[..., np.newaxis]
        fit = (right * np.linalg.solve(full, right)).sum(axis=(2, 3))
        log[:, block] = 0.5 * (fit - np.linalg.slogdet(full)[1])
    return log


def judge(values: Any, p: Any, truth: Any) -> tuple[Any, Any]:
    """Return the CRPS of each star, and whether its 68% interval holds the truth."""
    order = np.argsort(values)
    values, cdf = values[order], np.cumsum(p[:, order], axis=1)
    above = values[np.newaxis, :-1] >= truth[:, np.newaxis]
    crps = ((cdf[:, :-1] - above) ** 2 * np.diff(values)).sum(axis=1)
    at = np.array([np.interp(t, values, own) for t, own in zip(truth, cdf, strict=True)])
    return crps, np.abs(at - 0.5) < 0.34


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, saves nothing")
    quick = parser.parse_args().quick
    stars, grid = spectra(20 if quick else N_STARS)
    labels = prior(1000 if quick else N_PRIOR, np.random.default_rng(0))
    p = posterior(stars, templates(grid, labels))
    alone = PredictiveDistribution(np.broadcast_to(labels[:1000], (len(p), 1000, 2)))
    rows = []
    for k, label in enumerate(LABELS):
        scores, inside = judge(labels[:, k], p, stars.truth[:, k])
        interval = bootstrap((scores,), np.mean, random_state=0).confidence_interval
        rows.append(
            {
                "label": label,
                "stars": len(p),
                "CRPS": scores.mean(),
                "95% low": interval.low,
                "95% high": interval.high,
                "coverage68": inside.mean(),
                "CRPS of the labels alone": alone.output(k).crps(stars.truth[:, k]).mean(),
                "least effective models": (1 / (p**2).sum(axis=1)).min(),
            }
        )
    print_table(rows)
    if not quick:
        print("saved", save_table("information", rows).name)


if __name__ == "__main__":
    main()
