"""
What a network looks at
=======================

A network that estimates surface gravity well may look at the lines, or at something else that
happens to go with gravity in the training spectra. Gradients tell: by how much does each pixel move
the estimate? After figure 6 of Xie et al. (2025, A&A 704, A37), with simulated spectra. Less than a
minute on one core.
"""

# %%
# A small network
# ---------------
# Simulated white dwarfs. The network sees fluxes divided by their continuum, with other noise in
# every training step, so that it cannot rely on what a single pixel happens to show.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline

from skestnet import EstNetRegressor
from skestnet.datasets import make_white_dwarfs
from skestnet.inspection import feature_maps, saliency
from skestnet.plotting import SaliencyDisplay
from skestnet.spectra import ContinuumNormalizer

stars = make_white_dwarfs(2000, n_pixels=325, snr=30.0, snr_scatter=0.3, random_state=0)
X, X_test = stars.data[:1800], stars.data[1800:]
y, y_test = stars.target[:1800], stars.target[1800:]
network = EstNetRegressor(
    depth=12,
    width=8,
    dropout=0.2,
    weighter=None,
    max_epochs=12,
    batch_size=32,
    lr=0.006,
    augment=0.05,
    random_state=0,
)
model = make_pipeline(ContinuumNormalizer(stars.wavelength), network).fit(X, y)
for name, spread, error in zip(
    ("Teff (K)", "log g (dex)"),
    y_test.std(axis=0),
    (model.predict(X_test) - y_test).std(axis=0),
    strict=True,
):
    print(f"{name:12} spread of labels {spread:8.3g}, of errors {error:8.3g}")

# %%
# Saliency
# --------
# The absolute gradient of each label with respect to the flux, and its mean over the test stars:
# by how much the label moves per unit of flux in one pixel, where the continuum is 1. The network
# looks at the Balmer lines and nowhere else, for the gravity also at their wings, which it widens.

SaliencyDisplay.from_estimator(
    model,
    X_test,
    wavelength=stars.wavelength,
    label_names=("Teff (K)", "log g (dex)"),
    lines="balmer",
)
plt.show()

# %%
# How many times larger it is within 80 Å of a Balmer line than elsewhere:

balmer = np.array([4102.9, 4341.7, 4862.7, 6564.6])
near = (np.abs(stars.wavelength[:, np.newaxis] - balmer) < 80).any(axis=1)
mean = saliency(model, X_test).mean(axis=0)
for name, inside, outside in zip(
    ("Teff", "log g"), mean[near].mean(axis=0), mean[~near].mean(axis=0), strict=True
):
    print(f"{name:6} {inside / outside:.1f}")

# %%
# From module to module
# ---------------------
# What becomes of one spectrum on its way. The input module gives eight maps that still look like
# the spectrum. The PRSE module makes 64 of them, a sixteenth as long; the lines are still in their
# places. The GRU reads these maps one after the other and leaves as many numbers as they have
# positions. Each of these is made of all positions and has no place along the spectrum; the output
# module makes the labels of them.

star = np.argmin(np.abs(y_test[:, 0] - 13_000))  # strong lines
maps = feature_maps(model, X_test[[star]])


def show(ax, rows, step):
    """Show maps as an image, each on a scale of its own, a position at every `step` pixels."""
    scaled = (rows - rows.mean(axis=1, keepdims=True)) / (rows.std(axis=1, keepdims=True) + 1e-6)
    width = step * (stars.wavelength[1] - stars.wavelength[0])
    left = stars.wavelength[0] - width / 2
    extent = (left, left + width * rows.shape[1], -0.5, len(rows) - 0.5)
    style = {"aspect": "auto", "origin": "lower", "interpolation": "nearest", "cmap": "cividis"}
    return ax.imshow(scaled, extent=extent, vmin=-2.5, vmax=2.5, **style)


fig, axes = plt.subplots(4, 1, figsize=(8, 8.5), layout="constrained")
axes[0].plot(stars.wavelength, model[:-1].transform(X_test[[star]])[0], color="0.3", lw=1)
axes[0].set_ylabel("flux / continuum")
image = show(axes[1], maps.input[0], step=1)
show(axes[2], maps.prse[0], step=16)
axes[1].set_ylabel("map after\ninput module")
axes[2].set_ylabel("map after\nPRSE module")
for ax in axes[:3]:
    ax.set(xlim=stars.wavelength[[0, -1]], xlabel="wavelength (Å)" if ax is axes[2] else None)
fig.colorbar(image, ax=axes[1:3], label="standard deviations above the map's mean")
axes[3].bar(np.arange(maps.gru.shape[1]), maps.gru[0], color="#0072B2")
axes[3].axhline(0, color="black", lw=0.8)
axes[3].set(xlabel="number after the GRU", ylabel="value", ylim=(-1, 1))
plt.show()
