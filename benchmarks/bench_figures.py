"""What do the data and the estimates look like? (figures 1, 2, 4, 5, 6, 7 and 10 of the paper)

One EstNet for both labels, with the settings that suit Teff (LONG and median scaling, which the
searches of bench_compare.py choose for Teff), trained on the reference set (see _reference.py;
split 0, 977 pixels), and TemplateFitRegressor, which knows the models and the noise, on the same
test spectra:

- fig1_data: S/N and labels of the set;
- fig2_spectra: from good spectra to poor ones, with the models, which have no errors of the flux
  calibration;
- fig4_predictions: predicted against true labels, with residuals;
- fig5_distribution: the predictive distributions of one spectrum, by themselves and together;
- fig6_saliency, fig6_maps: what the network looks at, and what it makes of a spectrum;
- fig7_uncertainty: predicted uncertainty against the label;
- fig10_template_fit: EstNet and the template fit against the truth, by S/N.

``--data koester`` needs SKESTNET_DATA. About ten minutes on one core; ``--quick`` takes half a
minute and saves the figures in a temporary folder.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from _compare_methods import estnet
from _reference import N_SPECTRA, REFERENCES, Reference, folder_of, split, template_grid
from _results import RESULTS, print_table, save_table
from _uncertain_methods import of_log_teff
from bench_compare import LINES
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skestnet import PredictiveDistribution, predict_dist
from skestnet.inspection import feature_maps
from skestnet.plotting import (
    DistributionDisplay,
    JointDistributionDisplay,
    SaliencyDisplay,
    UncertaintyDisplay,
)
from skestnet.spectra import FluxScaler
from skestnet.templates import TemplateFitRegressor

NAMES = ("Teff (K)", "log g (dex)")
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"
SNR_EDGES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, np.inf)


class Fitted(NamedTuple):
    """All that the figures show."""

    data: str
    folder: Path | None
    train: Reference
    test: Reference
    model: Any
    dist: PredictiveDistribution
    fitted_lines: Any  # labels of the template fit


def prepare(data: str, quick: bool) -> Fitted:
    folder = folder_of(data)
    reference = REFERENCES[data](folder, 600 if quick else N_SPECTRA[data]).averaged(4)
    train, validation, test = split(reference, 0)
    X, y = np.concatenate([train.X, validation.X]), np.concatenate([train.y, validation.y])
    pipeline = clone(estnet("teff", 0).pipeline)
    pipeline.set_params(scale=FluxScaler("median"), regressor__verbose=1)
    if quick:
        pipeline.set_params(regressor__max_epochs=2)
    model = of_log_teff(pipeline).fit(X, y)
    grid = template_grid(data, folder, test.wavelength)
    fit = TemplateFitRegressor.from_grid(grid, lines=LINES)
    by_lines = fit.predict(test.X, ivar=test.sigma**-2.0)
    return Fitted(data, folder, train, test, model, predict_dist(model, test.X), by_lines)


# ---- The figures -------------------------------------------------------------------------------


def fig1_data(f: Fitted) -> Any:
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    axes[0].hist(f.train.snr, np.geomspace(0.1, 100, 40), color=BLUE)
    axes[0].set_xscale("log")
    axes[0].set_xlabel(f"S/N per LAMOST pixel (median {np.median(f.train.snr):.1f})")
    for ax, k in ((axes[1], 0), (axes[2], 1)):
        both = np.concatenate([f.train.truth[:, k], f.train.y[:, k]])
        bins = np.linspace(*np.quantile(both, [0.001, 0.999]), 45)
        ax.hist(f.train.truth[:, k], bins, color=BLUE, label="true")
        ax.hist(f.train.y[:, k], bins, color=ORANGE, histtype="step", label="in the catalogue")
        ax.set_xlabel(NAMES[k])
    axes[1].legend()
    axes[0].set_ylabel("training spectra")
    return figure


def fig2_spectra(f: Fitted) -> Any:
    """Show spectra at quantiles of S/N."""
    order = np.argsort(f.test.snr)
    chosen = order[(np.array([0.99, 0.75, 0.5, 0.25, 0.05]) * (len(order) - 1)).astype(int)]
    models = template_grid(f.data, f.folder, f.test.wavelength).interpolate(f.test.truth)
    figure, axes = plt.subplots(len(chosen), 1, figsize=(9, 10), sharex=True, layout="constrained")
    for ax, row in zip(axes, chosen, strict=True):
        flux = f.test.X[row] / np.nanmedian(f.test.X[row])
        model = models[row] / np.median(models[row])
        ax.plot(f.test.wavelength, flux, color=GREY, linewidth=0.7, label="spectrum")
        ax.plot(f.test.wavelength, model, color=ORANGE, linewidth=1.4, label="model")
        teff, logg = f.test.truth[row]
        title = f"S/N {f.test.snr[row]:.1f}, Teff {teff:.0f} K, log g {logg:.2f} dex"
        ax.set_title(title, fontsize=10, loc="left")
        low, high = np.nanpercentile(flux, [1, 99])
        ax.set_ylim(low - 0.3 * (high - low), high + 0.3 * (high - low))
    axes[0].legend(loc="upper right", ncols=2)
    axes[2].set_ylabel("flux / median")
    axes[-1].set_xlabel("wavelength (Å)")
    return figure


def fig4_predictions(f: Fitted) -> Any:
    figure, axes = plt.subplots(
        2, 2, figsize=(11, 8), sharex="col", height_ratios=(2, 1), layout="constrained"
    )
    mean = f.model.predict(f.test.X)
    color = np.log10(f.test.snr)
    for k, (top, bottom) in enumerate(axes.T):
        x, y = f.test.truth[:, k], mean[:, k]
        style = {"c": color, "cmap": "cividis", "s": 9, "vmin": -0.3, "vmax": 1.5}
        points = top.scatter(x, y, **style)
        bottom.scatter(x, y - x, **style)
        ends = (x.min(), x.max())
        top.plot(ends, ends, color="k", linewidth=1)
        bottom.axhline(0, color="k", linewidth=1)
        mae, unit = np.abs(y - x).mean(), NAMES[k].split("(")[1][:-1]
        top.set_title(f"EstNet: mean absolute error {mae:.4g} {unit}", fontsize=10)
        top.set_ylabel(f"predicted {NAMES[k]}")
        bottom.set_ylabel(f"predicted - true ({NAMES[k].split('(')[1]}")
        bottom.set_xlabel(f"true {NAMES[k]}")
    bar = figure.colorbar(points, ax=axes, label="S/N per LAMOST pixel")
    bar.set_ticks(np.log10([0.5, 1, 2, 5, 10, 20]), labels=["0.5", "1", "2", "5", "10", "20"])
    return figure


def fig5_distribution(f: Fitted) -> Any:
    row = int(np.argmin(np.abs(f.test.snr - np.median(f.test.snr))))
    figure = plt.figure(figsize=(13, 8), layout="constrained")
    left, right = figure.subfigures(1, 2)
    for ax, k in zip(left.subplots(2, 1), (0, 1), strict=True):
        DistributionDisplay.from_predictions(
            f.dist, row=row, output=k, y_true=f.test.truth, label_name=NAMES[k], ax=ax
        )
    JointDistributionDisplay.from_predictions(
        f.dist, row=row, y_true=f.test.truth, label_names=NAMES, axes=right.subplots(2, 2)
    )
    left.suptitle(f"a spectrum of S/N {f.test.snr[row]:.1f}", fontsize=11)
    return figure


def fig6_saliency(f: Fitted) -> Any:
    names = ("ln Teff", "log g (dex)")
    display = SaliencyDisplay.from_estimator(
        f.model,
        f.test.X,
        wavelength=f.test.wavelength,
        flux=_observed(f.test),
        flux_name="flux / median",
        label_names=names,
        lines="balmer",
        name="EstNet",
    )
    for ax, name in zip(display.axes_[1:], names, strict=True):  # StandardScaler, see `saliency`
        ax.set_ylabel(f"saliency of {name}\nper standard\ndeviation of a pixel")
    return display.figure_


def _observed(test: Reference) -> Any:
    """Return bright spectra over their medians, without gaps, for the eye."""
    flux = test.X[test.snr > 5]
    flux = flux / np.nanmedian(flux, axis=1, keepdims=True)
    return np.nanmedian(flux, axis=0)


def fig6_maps(f: Fitted) -> Any:
    bright = np.where(f.test.snr > 10, np.abs(f.test.truth[:, 0] - 13_000), np.inf)
    row = int(np.argmin(bright))
    maps = feature_maps(f.model, f.test.X[[row]])
    figure, axes = plt.subplots(
        4, 1, figsize=(9, 11), height_ratios=(2, 2, 4, 2), layout="constrained"
    )
    flux = f.test.X[row] / np.nanmedian(f.test.X[row])
    axes[0].plot(f.test.wavelength, flux, color=GREY, linewidth=0.9)
    axes[0].set_ylabel("flux / median")
    ends = (f.test.wavelength[0], f.test.wavelength[-1])
    parts = ((axes[1], maps.input[0], "input", 1), (axes[2], maps.prse[0], "PRSE", 16))
    for ax, values, name, step in parts:
        scaled = values - values.mean(axis=1, keepdims=True)
        scaled /= values.std(axis=1, keepdims=True) + 1e-6
        width = step * (f.test.wavelength[1] - f.test.wavelength[0])  # of a position
        left = ends[0] - width / 2
        extent = (left, left + width * values.shape[1], -0.5, len(values) - 0.5)
        style = {"aspect": "auto", "cmap": "cividis", "vmin": -2.5, "vmax": 2.5}
        image = ax.imshow(scaled, extent=extent, interpolation="nearest", origin="lower", **style)
        ax.set_ylabel(f"map after the\n{name} module")
    for ax in axes[:3]:
        ax.set_xlim(ends)
    axes[2].set_xlabel("wavelength (Å)")
    figure.colorbar(image, ax=axes[1:3], label="standard deviations from the map's mean")
    axes[3].bar(np.arange(maps.gru.shape[1]), maps.gru[0], color=BLUE)
    axes[3].axhline(0, color="k", linewidth=0.8)
    axes[3].set(xlabel="position in the state of the GRU", ylabel="value (no unit)", ylim=(-1, 1))
    return figure


def fig7_uncertainty(f: Fitted) -> Any:
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for k, ax in enumerate(axes):
        UncertaintyDisplay.from_predictions(
            f.test.truth, f.dist, output=k, label_name=NAMES[k], name="EstNet", ax=ax
        )
    return figure


def fig10_template_fit(f: Fitted) -> Any:
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    rows = by_snr(f)
    for ax, name in zip(axes, NAMES, strict=True):
        mine = [row for row in rows if row["label"] == name]
        x = [row["S/N"] for row in mine]
        ax.plot(x, [row["EstNet"] for row in mine], "o-", color=BLUE, label="EstNet")
        fit = [row["template fit"] for row in mine]
        ax.plot(x, fit, "s--", color=ORANGE, label="template fit, knows models and noise")
        ax.set(xscale="log", yscale="log", xlabel="median S/N per LAMOST pixel")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(ScalarFormatter())
            axis.set_minor_formatter(NullFormatter())
        ax.set_ylabel(f"median absolute error of {name}")
        ax.grid(which="both", alpha=0.3)
        ax.legend()
    return figure


def by_snr(f: Fitted) -> list[dict[str, Any]]:
    """Return median absolute errors of both methods in bins of S/N."""
    mean = f.model.predict(f.test.X)
    rows = []
    for k, name in enumerate(NAMES):
        for low, high in pairwise(SNR_EDGES):
            some = (f.test.snr >= low) & (f.test.snr < high)
            if some.sum() < 5:
                continue
            truth = f.test.truth[some, k]
            rows.append(
                {
                    "label": name,
                    "S/N": float(np.median(f.test.snr[some])),
                    "n": int(some.sum()),
                    "EstNet": float(np.median(np.abs(mean[some, k] - truth))),
                    "template fit": float(np.median(np.abs(f.fitted_lines[some, k] - truth))),
                }
            )
    return rows


FIGURES = (
    fig1_data,
    fig2_spectra,
    fig4_predictions,
    fig5_distribution,
    fig6_saliency,
    fig6_maps,
    fig7_uncertainty,
    fig10_template_fit,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=tuple(REFERENCES), default="embedded")
    parser.add_argument("--quick", action="store_true", help="small, in a temporary folder")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    fitted = prepare(arguments.data, arguments.quick)
    folder = Path(tempfile.mkdtemp()) if arguments.quick else RESULTS / "figures"
    folder.mkdir(exist_ok=True)
    for draw in FIGURES:
        figure = draw(fitted)
        figure.savefig(folder / f"{draw.__name__}_{arguments.data}.png", dpi=100)
        plt.close(figure)
    rows = by_snr(fitted)
    print_table(rows)
    if not arguments.quick:
        print("saved", save_table(f"figures_{arguments.data}", rows).name)
    print("figures in", folder.name if not arguments.quick else folder)


if __name__ == "__main__":
    main()
