"""
Models but no labels: train on a simulated survey
=================================================

Whoever has a grid of model spectra needs no labelled sample. The models are put to the quality of
the survey: its resolution and pixels, its noise, its dust and its mistakes. EstNet learns from them
with fresh noise in every training step, so that it never sees the same spectrum twice. The
traditional fit of line profiles and the Cramer-Rao bound stand beside it. About a minute on two
cores.
"""

# %%
# A grid of models
# ----------------
# ``make_white_dwarf_grid`` comes with the package. Its closed-form spectra follow model atmospheres
# to 1.3% rms, and it is there to try things out; for science, read a real grid with
# ``TemplateGrid.read``.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skestnet import EstNetRegressor
from skestnet.datasets import make_white_dwarf_grid
from skestnet.spectra import FluxScaler, MaskedPixelImputer, lamost_grid
from skestnet.templates import (
    SpectrumDegrader,
    TemplateFitRegressor,
    cramer_rao_bound,
    simulate_survey,
)

models = make_white_dwarf_grid()
print(models)

# %%
# What a survey makes of a spectrum
# ---------------------------------
# ``SpectrumDegrader`` does it all in the order in which it happens to the light. Each effect is a
# parameter: a number, a range to draw from, or a distribution.

wavelength = lamost_grid(1000, 4050, 7950)
star = models.interpolate([[14_000, 8.0]])

fig, axes = plt.subplots(4, 1, figsize=(8, 7), sharex=True, layout="constrained")
for ax, snr in zip(axes, (np.inf, 30, 8, 3), strict=True):
    degrader = SpectrumDegrader(models.wavelength, wavelength, snr=snr)
    spectrum = degrader(star, random_state=2)[0]
    ax.plot(wavelength, spectrum, lw=0.6, color="C0")
    ax.set_ylim(0, 1.15 * np.nanquantile(spectrum, 0.995))
    ax.set_ylabel("flux")
    ax.text(0.98, 0.85, f"S/N {snr:g}", transform=ax.transAxes, ha="right")
axes[-1].set_xlabel("wavelength [Angstrom]")
axes[0].set_title("Teff = 14,000 K, log g = 8")
plt.show()

# %%
# Two surveys
# -----------
# To train: stars without noise, at random velocities and behind random dust. Noise, errors of the
# flux calibration, sky residuals, cosmic rays and gaps are left to ``noise``, which EstNet calls
# for each batch anew. To test: the same kind of stars, noise included.

stars = {"teff": (8_000, 40_000), "logg": (7.0, 9.0)}
clean = SpectrumDegrader(
    models.wavelength, wavelength, snr=np.inf, warp=0, sky_residual=0, cosmic_rays=0, missing=0
)
noise = SpectrumDegrader(wavelength, wavelength, resolution=None, snr=(3, 30), ebv=0, velocity=0)

train = simulate_survey(models, 1500, labels=stars, degrader=clean, random_state=0)
X_train = np.array(train.spectra.flux)

test = simulate_survey(models, 600, labels=stars, degrader=clean, random_state=1)
observed = noise.degrade(np.array(test.spectra.flux), random_state=1)
X_test = np.where(observed.mask, np.nan, observed.flux)  # bad pixels travel as NaN
snr = observed.truth["snr"]

# %%
# Two methods
# -----------
# EstNet's preprocessing comes after the noise, so it is a parameter here rather than a step before
# it. The temperatures are learnt in the logarithm. The template fit needs the inverse variances; it
# is told the resolution of the survey through the grid it gets.

prepare = make_pipeline(
    MaskedPixelImputer(),
    FluxScaler("median"),
    StandardScaler(),
    FunctionTransformer(np.clip, kw_args={"a_min": -5, "a_max": 5}),
)
y_train = np.column_stack([np.log10(train.labels[:, 0]), train.labels[:, 1]])
network = EstNetRegressor(
    preprocess=prepare, augment=noise, weighter=None, max_epochs=15, random_state=0
)
network.fit(X_train, y_train)
by_network = network.predict(X_test)
by_network[:, 0] = 10 ** by_network[:, 0]

grid = models.observe(wavelength, resolution=1800)
lines = ("H-alpha", "H-beta", "H-gamma")
fit = TemplateFitRegressor.from_grid(grid, lines=lines, half_width=150, max_velocity=300)
found = fit.measure(X_test, ivar=observed.ivar)

# %%
# Errors against signal-to-noise ratio
# ------------------------------------
# The bound is what noise alone allows, if all pixels are used and nothing but scale, velocity, dust
# and a slowly varying calibration is unknown. It holds for unbiased methods: at low S/N EstNet gets
# below it, since it has learnt which labels there are and leans towards their middle.

sigma = np.where(observed.mask, np.inf, 1 / np.sqrt(np.maximum(observed.ivar, 1e-30)))
bound = cramer_rao_bound(
    grid, test.labels, sigma, nuisances=["velocity", "reddening", ("continuum", 3)]
)
bins = np.quantile(snr, np.linspace(0, 1, 7))
middle = np.sqrt(bins[1:] * bins[:-1])
part = np.clip(np.digitize(snr, bins) - 1, 0, 5)


def median_in_bins(values):
    return [np.median(values[part == k]) for k in range(6)]


fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
units = ("relative error of Teff", "error of log g")
for k, (ax, unit) in enumerate(zip(axes, units, strict=True)):
    scale = test.labels[:, 0] if k == 0 else 1.0
    for name, labels in {"EstNet": by_network, "template fit": found.labels}.items():
        error = np.abs(labels[:, k] - test.labels[:, k]) / scale
        ax.loglog(middle, median_in_bins(error), "o-", label=name)
    # 0.6745: the median of |x| for a normal error of standard deviation 1
    ax.loglog(middle, 0.6745 * np.array(median_in_bins(bound[:, k] / scale)), "k--", label="bound")
    ax.set(xlabel="S/N", ylabel=f"median absolute {unit}")
axes[0].legend(frameon=False)
plt.show()
