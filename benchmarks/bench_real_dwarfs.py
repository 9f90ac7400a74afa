"""Do methods that saw nothing but models read real white dwarfs right? Does fresh noise help?

Gemini, MMT, SOAR and IMACS spectra of hot DA flux standards (Narayan et al. 2019;
``real_wd_narayan2019_*`` in SKESTNET_DATA) have published labels with errors, from fits of the same
spectra together with Hubble Space Telescope photometry. Held fixed: the Koester (2010) models;
wavelengths converted from air to vacuum (checked by the Balmer lines).

1. fit: TemplateFitRegressor on H-beta to H-epsilon with a radial velocity, on the spectrum's own
   pixels (resampled ones have correlated noise); models blurred to the resolution of each spectrum;
   errors from its own inverse variances. chi2_dof tells what those are worth.
2. networks: EstNet on pixels of 2 Angstrom at 3900-5200, which all spectra cover, trained on
   simulated spectra of the same models with random resolution, velocity, reddening, flux
   calibration and S/N, for several seeds; with the noise drawn once ("one noise") and anew in every
   training step ("fresh noise"). Both are also judged on 1000 simulated spectra.

Two stars sit on the edge of the published fit's grid. Without both, 50 of the 54 spectra are left,
the sample of the tables; 52 with sdssj172135, of which one spectrum of two is off the edge: the
summary has that sample too. Repeated spectra share a star: the bootstrap draws stars, not spectra.

About 30 minutes on two cores (``--only fit``: a minute); ``--quick`` under a minute (one seed, few
epochs, nothing saved). The summary and the figure join the latest tables of both questions.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from _results import RESULTS, data_folder, paper_metrics, print_table, save_table
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skestnet import EstNetRegressor, PredictiveDistribution
from skestnet.spectra import (
    FluxScaler,
    MaskedPixelImputer,
    Spectra,
    check_balmer_lines,
    read_spectra,
)
from skestnet.templates import (
    Normal,
    SpectrumDegrader,
    TemplateFitRegressor,
    TemplateGrid,
    simulate_survey,
)

LABELS = ("teff", "logg")
SEEDS = (0, 1, 2)
# Stars on the edge of the published grid: by both spectra, by one of two.
EDGE = {"52 spectra": ("sdssj041053",), "50 spectra": ("sdssj041053", "sdssj172135")}
GRID = np.arange(3901.0, 5200.0, 2.0)
FIT_RANGE = (3900.0, 5100.0)  # H-beta to H-epsilon, with room for velocities
RANGES = {"teff": (15_000, 80_000), "logg": (6.5, 9.5)}
SNR = (15.0, 300.0)
N_TRAIN, N_TEST = 4000, 1000


def real(folder: Path) -> tuple[Spectra, pd.DataFrame]:
    """Return the spectra and the published table."""
    spectra = read_spectra(folder / "real_wd_narayan2019_spectra.npz")
    return in_vacuum(spectra), pd.read_parquet(folder / "real_wd_narayan2019_meta.parquet")


def in_vacuum(spectra: Spectra) -> Spectra:
    found = check_balmer_lines(spectra)
    print(found)
    found.require("air")
    converted = spectra.to_vacuum()
    check_balmer_lines(converted).require("vacuum")
    return converted


# ---- 1. the traditional fit ----------------------------------------------------------------


def fit_templates(
    models: TemplateGrid, spectra: Spectra, table: pd.DataFrame
) -> list[dict[str, Any]]:
    """Fit each spectrum with models blurred to its own resolution and averaged over its pixels."""
    fits = []
    for i, fwhm in enumerate(table["fwhm_A"]):
        pixels = spectra.wavelength[i]
        used = (pixels > FIT_RANGE[0]) & (pixels < FIT_RANGE[1])
        grid = models.observe(pixels[used], fwhm=fwhm)
        weight = np.where(spectra.mask[i], 0, spectra.ivar[i])[used]
        fit = TemplateFitRegressor.from_grid(grid, max_velocity=300)
        fits.append(fit.measure(spectra.flux[i][np.newaxis, used], ivar=weight[np.newaxis]))
    mean, std = (np.array([getattr(fit, name) for fit in fits]) for name in ("labels", "std"))
    chi2_dof = [float(fit.chi2[0] / fit.dof[0]) for fit in fits]
    return spectrum_rows("template fit", "-", table, PredictiveDistribution(mean, std), chi2_dof)


# ---- 2. the network ------------------------------------------------------------------------


def noiseless(models: TemplateGrid, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw stars as such spectrographs would see them without noise."""
    off = {"ebv": 0, "warp": 0, "sky_residual": 0, "cosmic_rays": 0, "missing": 0}
    degrader = SpectrumDegrader(
        models.wavelength, GRID, fwhm=(5.5, 12.5), velocity=Normal(0, 80), snr=np.inf, **off
    )
    labels, spectra, _ = simulate_survey(models, n, degrader=degrader, random_state=seed)
    return np.array(spectra.flux), labels


def survey_noise() -> SpectrumDegrader:
    """Everything that differs from one exposure of a star to the next."""
    return SpectrumDegrader(
        GRID, GRID, resolution=None, velocity=0, snr=SNR, noise="white", ebv=(0, 0.3), missing=0,
        snr_band=(4000, 5000),
    )  # fmt: skip


def network(seed: int, quick: bool, **params: Any) -> EstNetRegressor:
    prepare = make_pipeline(MaskedPixelImputer(), FluxScaler("median"), StandardScaler())
    epochs = 2 if quick else 15
    return EstNetRegressor(preprocess=prepare, max_epochs=epochs, random_state=seed, **params)


def train_networks(
    models: TemplateGrid, seed: int, quick: bool
) -> dict[str, tuple[EstNetRegressor, list[dict]]]:
    """Train with one noise and with fresh noise; judge both on simulated spectra."""
    n_train, n_test = (300, 100) if quick else (N_TRAIN, N_TEST)
    clean, y = noiseless(models, n_train, seed)
    clean_test, y_test = noiseless(models, n_test, 1000 + seed)
    noise = survey_noise()
    X_test = noise(clean_test, random_state=seed)
    fits = {
        "EstNet, one noise": network(seed, quick).fit(noise(clean, random_state=seed), in_dex(y)),
        "EstNet, fresh noise": network(seed, quick, augment=noise).fit(clean, in_dex(y)),
    }
    return {name: (net, on_simulated(net, X_test, y_test)) for name, net in fits.items()}


def in_dex(labels: np.ndarray) -> np.ndarray:
    return np.column_stack([np.log10(labels[:, 0]), labels[:, 1]])


def predicted(net: EstNetRegressor, flux: np.ndarray) -> PredictiveDistribution:
    """Return draws in K and dex."""
    draws = net.predict_dist(flux).loc.copy()
    draws[..., 0] = 10 ** draws[..., 0]
    return PredictiveDistribution(draws)


def on_simulated(net: EstNetRegressor, X: np.ndarray, y: np.ndarray) -> list[dict]:
    metrics = paper_metrics(y, predicted(net, X).mean())
    return [
        {"label": label, **{name: values[k] for name, values in metrics.items()}}
        for k, label in enumerate(LABELS)
    ]


# ---- tables and figure ---------------------------------------------------------------------


def spectrum_rows(
    method: str,
    seed: int | str,
    table: pd.DataFrame,
    dist: PredictiveDistribution,
    chi2_dof: list[float] | None = None,
) -> list[dict]:
    rows = []
    mean, std = dist.mean(), dist.std()
    for i, published in table.iterrows():
        for k, label in enumerate(LABELS):
            truth, error = published[label], published[f"e_{label}"]
            pull = (mean[i, k] - truth) / np.hypot(std[i, k], error)
            about = {"method": method, "seed": seed, "object": published["object"]}
            about |= {"instrument": published["instrument"], "fwhm_A": published["fwhm_A"]}
            about |= {"snr": published["snr_4000_5500"], "label": label}
            values = {"published": truth, "published_error": error}
            values |= {"predicted": mean[i, k], "std": std[i, k], "pull": pull}
            rows.append(about | values | {"chi2_dof": chi2_dof[i] if chi2_dof else ""})
    return rows


def summary_rows(table: pd.DataFrame) -> list[dict]:
    """Errors of each method, all seeds together, with 95% intervals over stars."""
    return [row for sample, edge in EDGE.items() for row in summary_of(sample, edge, table)]


def summary_of(sample: str, edge: tuple[str, ...], table: pd.DataFrame) -> list[dict]:
    table = table[~table["object"].isin(edge)]
    found = []
    for (method, label), part in table.groupby(["method", "label"], sort=False):
        error = part["predicted"] - part["published"]
        scaled = error / part["published"] if label == "teff" else error
        published = part["published_error"] / (part["published"] if label == "teff" else 1)
        low, high = interval_over_stars(scaled.abs(), part["object"])
        about = {"sample": sample, "method": method, "label": label, "n": len(part)}
        about |= {"unit": "relative" if label == "teff" else "dex"}
        about |= {"median_abs_error": scaled.abs().median(), "low95": low, "high95": high}
        about |= {"median_error": scaled.median(), "published_median_error": published.median()}
        found.append(about | {"pull_median": part["pull"].median(), "pull_width": width(part)})
    return found


def width(part: pd.DataFrame) -> float:
    """Half the range of the central 68% of the normalised residuals."""
    return float(np.diff(np.quantile(part["pull"], [0.16, 0.84]))[0] / 2)


def interval_over_stars(error: pd.Series, star: pd.Series, n: int = 2000) -> np.ndarray:
    rng = np.random.default_rng(0)
    groups = [group.to_numpy() for _, group in error.groupby(star)]
    drawn = rng.integers(len(groups), size=(n, len(groups)))
    medians = [np.median(np.concatenate([groups[i] for i in draw])) for draw in drawn]
    return np.quantile(medians, [0.025, 0.975])


def draw(table: pd.DataFrame, path: Path) -> None:
    """Predicted against published labels, and their relative or absolute difference."""
    table = table[~table["object"].isin(EDGE["50 spectra"])]
    methods = [name for name in table["method"].unique() if "one noise" not in name]
    fig, axes = plt.subplots(2, 2, figsize=(9, 6), height_ratios=[2, 1], sharex="col")
    for k, (label, unit) in enumerate(zip(LABELS, ("Teff [K]", "log g [dex]"), strict=True)):
        for colour, marker, method in zip(("C0", "C1"), "os", methods, strict=True):
            part = table[(table["method"] == method) & (table["label"] == label)]
            part = part[part["seed"] == part["seed"].iloc[0]]
            x, y = part["published"].to_numpy(), part["predicted"].to_numpy()
            style = {"fmt": marker, "color": colour, "ms": 4, "lw": 0.8, "alpha": 0.7}
            errors = {"xerr": part["published_error"], "yerr": part["std"]}
            axes[0, k].errorbar(x, y, **errors, label=method, **style)
            off = (y - x) / (x if label == "teff" else 1)
            axes[1, k].plot(x, off, marker, color=colour, ms=4, alpha=0.7)
        axes[0, k].axline((x.mean(), x.mean()), slope=1, color="0.6", lw=1, zorder=0)
        axes[1, k].axhline(0, color="0.6", lw=1, zorder=0)
        axes[0, k].set_ylabel(f"predicted {unit}")
        axes[1, k].set_ylabel("relative difference" if label == "teff" else "difference [dex]")
        axes[1, k].set_xlabel(f"published {unit}")
    axes[0, 0].legend(frameon=False)
    fig.tight_layout()
    fig.savefig(path, dpi=110)


def networks(
    models: TemplateGrid, spectra: Spectra, table: pd.DataFrame, quick: bool
) -> tuple[list[dict], list[dict]]:
    """Return what the networks say of the real spectra, and how they do on simulated ones."""
    flux, rows, simulated = spectra.to_matrix(GRID, method="flux-conserving"), [], []
    for seed in SEEDS[:1] if quick else SEEDS:
        for method, (net, errors) in train_networks(models, seed, quick).items():
            rows += spectrum_rows(method, seed, table, predicted(net, flux))
            simulated += [{"method": method, "seed": seed, **row} for row in errors]
            print_table(simulated[-2:])
    return rows, simulated


def latest_tables() -> pd.DataFrame:
    """Join the saved tables of both questions."""
    paths = [RESULTS / f"real_dwarfs_{name}.csv" for name in ("fit", "networks")]
    return pd.concat([pd.read_csv(path, comment="#") for path in paths if path.exists()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, saves nothing")
    parser.add_argument("--only", choices=("fit", "networks"), help="one question only")
    arguments = parser.parse_args()
    folder, quick = data_folder(), arguments.quick
    spectra, table = real(folder)
    models = TemplateGrid.read(folder / "models_da_koester2010_svo.npz").select(**RANGES)
    found = []
    if arguments.only != "networks":
        found = fit_templates(models, spectra, table)
        if not quick:
            save_table("real_dwarfs_fit", found)
    if arguments.only != "fit":
        rows, simulated = networks(models, spectra, table, quick)
        found += rows
        if not quick:
            save_table("real_dwarfs_networks", rows)
            save_table("real_dwarfs_simulated", simulated)
    everything = pd.DataFrame(found) if quick else latest_tables()
    summary = summary_rows(everything)
    print_table(summary)
    if not quick:
        print("saved", save_table("real_dwarfs", summary).name)
        draw(everything, RESULTS / "real_dwarfs.png")


if __name__ == "__main__":
    main()
