"""
Wrong labels: let a regressor learn less from them
==================================================

Catalogues hold wrong labels, and a regressor learns them as eagerly as the right ones. The paper's
remedy works for any regressor that takes weights: fit once, look at which labels the fit misses,
and fit again with little weight on those. Less than a minute on two cores.
"""

# %%
# A catalogue with wrong labels
# -----------------------------
# Simulated white dwarfs, with a fifth of the training temperatures 7000 K too high. The test stars
# keep their true temperatures.

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

from skestnet import AdaptiveWeighter, AdaptiveWeightRegressor
from skestnet.datasets import make_white_dwarfs
from skestnet.spectra import FluxScaler

stars = make_white_dwarfs(5000, n_pixels=325, snr=5.0, random_state=0)
prepare = make_pipeline(FluxScaler("median"), PCA(20, random_state=0))
X = prepare.fit(stars.data[:2000]).transform(stars.data)
y, truth, snr = stars.target[:2000, 0], stars.truth[2000:, 0], stars.snr[:2000]
X_train, X_test = X[:2000], X[2000:]

rng = np.random.default_rng(1)
order = rng.permutation(2000)


def spoil(share):
    """Shift the temperatures of the first stars in a random order; say which."""
    wrong = np.zeros(2000, dtype=bool)
    wrong[order[: round(share * 2000)]] = True
    return y + wrong * rng.normal(7000, 100, 2000), wrong


labels, wrong = spoil(0.2)
boosting = HistGradientBoostingRegressor(max_iter=60, early_stopping=False, random_state=0)

# %%
# What a first fit says
# ---------------------
# Each star is predicted by a fit to the other folds, so that no wrong label can be learnt by heart.
# Wrong labels make a second population of residuals. How clearly it stands apart depends on the
# star: cool stars are fitted more tightly than hot ones, bright ones more tightly than faint ones.

predicted = cross_val_predict(boosting, X_train, labels, cv=5)
residual = labels - predicted

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for rows, colour, name in ((~wrong, "C0", "right labels"), (wrong, "C1", "wrong labels")):
    left.plot(predicted[rows] / 1000, residual[rows] / 1000, ".", ms=3, color=colour, label=name)
    right.hist(residual[rows] / 1000, np.arange(-15, 20), color=colour, alpha=0.6)
left.set(xlabel="predicted Teff (1000 K)", ylabel="label - prediction (1000 K)", ylim=(-15, 20))
right.set(xlabel="label - prediction (1000 K)", ylabel="number of stars")
left.legend(frameon=False, markerscale=2)
plt.show()

# %%
# From residuals to weights
# -------------------------
# The paper scales the residuals so that the largest gets weight 0 and the smallest weight 1. One
# extreme residual then lifts all others towards 1. The default takes the residuals in units of what
# is usual at the same prediction (and S/N, where it is passed) and asks how probable it is that a
# residual belongs to the second population.

weighters = {
    "paper: min-max": AdaptiveWeighter.paper(regressor=boosting, cv=5),
    "default: mixture": AdaptiveWeighter(boosting, cv=5),
}
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
for ax, (name, weighter) in zip(axes, weighters.items(), strict=True):
    weights = weighter.fit_transform(X_train, labels, **({"snr": snr} if "mix" in name else {}))
    for rows, colour in ((~wrong, "C0"), (wrong, "C1")):
        ax.plot(labels[rows] / 1000, weights[rows], ".", ms=3, color=colour)
    kept, left_over = weights[~wrong].mean(), weights[wrong].mean()
    ax.set(title=f"{name}\nmean weight {kept:.2f} (right), {left_over:.2f} (wrong)")
    ax.set_xlabel("label: Teff (1000 K)")
axes[0].set_ylabel("weight")
plt.show()

# %%
# Fit with the weights
# --------------------
# ``AdaptiveWeightRegressor`` does both fits, inside cross-validation on the training folds alone.
# Left: the more labels are wrong, the more it is worth. Right: its price, by the surface gravity
# of the star. All labels are right there, and most gravities are near 8. Stars with rare gravities
# are hard to fit, are taken for anomalies, and are estimated worse; typical stars gain. ``gamma``,
# the share of the density of labels in the weight, sharpens both. Where the rare objects are what
# you look for, do not weigh them down.

models = {
    "plain": boosting,
    "paper's weights": AdaptiveWeightRegressor(boosting, weighters["paper: min-max"]),
    "adaptive weights": AdaptiveWeightRegressor(boosting),
}
shares = (0.0, 0.1, 0.2, 0.3)
errors = {name: [] for name in models}
for share in shares:
    labels, wrong = spoil(share)
    for name, model in models.items():
        estimate = model.fit(X_train, labels).predict(X_test)
        errors[name].append(mean_absolute_error(truth, estimate))

logg, logg_truth = stars.target[:2000, 1], stars.truth[2000:, 1]
edges = np.array([6.5, 7.1, 7.6, 8.4, 9.0, 9.5])
part = np.digitize(logg_truth, edges[1:-1])


def error_of_logg(model):
    error = np.abs(model.fit(X_train, logg).predict(X_test) - logg_truth)
    return np.array([error[part == k].mean() for k in range(5)])


plain = error_of_logg(boosting)
excess = {
    gamma: 100 * (error_of_logg(AdaptiveWeightRegressor(boosting, weighter)) / plain - 1)
    for gamma in (0.0, 0.3, 0.95)
    for weighter in [AdaptiveWeighter(gamma=gamma, cv=5)]
}

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for (name, values), marker in zip(errors.items(), "osD", strict=True):
    left.plot(100 * np.array(shares), values, marker + "-", label=name)
for k, (gamma, values) in enumerate(excess.items()):
    right.plot(values, "D^v"[k] + "-", label=f"gamma = {gamma:g}", color=f"C{2 + k}")
left.set(xlabel="wrong labels (%)", ylabel="MAE of Teff (K)", ylim=(0, None))
right.set_xticks(range(5), [f"{low}-{high}" for low, high in pairwise(edges)])
right.axhline(0, color="0.7", lw=1, zorder=0)
right.set(xlabel="true log g", ylabel="MAE against plain (%)", title="all labels right")
left.legend(frameon=False)
right.legend(frameon=False)
plt.show()
