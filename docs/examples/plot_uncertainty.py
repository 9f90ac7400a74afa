"""
How much to trust an interval
=============================

A network gives a number for every spectrum, also for one that shows nothing. What is worth
publishing is an interval that keeps its promise: of a hundred 68% intervals, about 68 hold the
truth, among faint stars as among bright ones. Here such intervals are made and checked. About a
minute on two cores.
"""

# %%
# Spectra, and some set aside
# ---------------------------
# Simulated white dwarfs with a median S/N of 3.5, many of them worse. The test stars take no part
# in anything until the end.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.ensemble import BaggingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skestnet import CalibratedRegressor, EstNetRegressor, OutOfDomainDetector, predict_dist
from skestnet.datasets import make_white_dwarfs
from skestnet.metrics import interval_coverage
from skestnet.plotting import (
    DistributionDisplay,
    JointDistributionDisplay,
    ReliabilityDisplay,
    SNRDisplay,
)
from skestnet.spectra import AddedNoise, FluxScaler, estimate_snr

stars = make_white_dwarfs(
    3500, n_pixels=163, snr=3.5, snr_scatter=1.0, outlier_fraction=0, random_state=0
)
X, X_test = stars.data[:1500], stars.data[1500:]
y, y_test = stars.target[:1500], stars.target[1500:]
snr_test = stars.snr[1500:]

# %%
# Dropout alone: too narrow
# -------------------------
# The paper's intervals come from Monte Carlo dropout. They say how far thinned networks disagree,
# and nothing of the noise.

scale = make_pipeline(FluxScaler("standard"), StandardScaler())
network = EstNetRegressor(
    shortcut=8,  # with few pixels: more features for the output than the paper's network
    max_epochs=8,
    batch_size=64,
    lr=0.004,
    weighter=None,
    preprocess=scale,
    augment=AddedNoise(),  # other noise in every step: less to learn by heart
    random_state=0,
)
dropout = network.set_params(noise="none").fit(X, y)
interval_coverage(y_test, predict_dist(dropout, X_test), 0.68, multioutput="raw_values")

# %%
# With noise, and calibrated
# --------------------------
# With ``noise="heteroscedastic"`` a second head of the network estimates the noise of each
# spectrum's labels. :class:`~skestnet.CalibratedRegressor` then compares the predictions with
# labels that were set aside, and puts the errors found there around each prediction. It does so in
# four groups of S/N, since what is right on average can be wrong for the faint and the bright.

noisy = clone(network).set_params(noise="heteroscedastic")
calibrated = CalibratedRegressor(
    noisy,
    method="split",
    calibration_fraction=0.3,
    n_groups=4,
    group_by=estimate_snr,
    random_state=0,
).fit(X, y)
dist = predict_dist(calibrated, X_test)
interval_coverage(y_test, dist, 0.68, multioutput="raw_values")

# %%
# The reliability curve shows this for all intervals at once. Left: how many intervals hold the
# truth, against how many should. Right: where the truth lies within its distribution; calibrated,
# it is anywhere with the same probability. Dropout alone has it outside, at either end.

fig, axes = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
for name, model in {"dropout alone": dropout, "calibrated EstNet": calibrated}.items():
    display = ReliabilityDisplay.from_estimator(
        model, X_test, y_test, output=0, name=name, axes=axes
    )
fig.suptitle("Effective temperature")

# %%
# Faint and bright
# ----------------
# Calibrated intervals are wide for faint stars and narrow for bright ones, and hold as many of
# both.

fig, axes = plt.subplots(2, 1, figsize=(6, 6), sharex=True, layout="constrained")
SNRDisplay.from_predictions(y_test, dist, snr_test, output=0, axes=axes, label_name="Teff (K)")

# %%
# One star
# --------
# A distribution says more than an interval; for two labels more than two intervals.

star = np.flatnonzero((snr_test > 5) & (y_test[:, 0] < 20_000))[0]
JointDistributionDisplay.from_predictions(
    dist, row=star, y_true=y_test, label_names=["Teff (K)", "log g (dex)"]
)

# %%
DistributionDisplay.from_predictions(dist, row=star, output=0, y_true=y_test, label_name="Teff (K)")

# %%
# Two kinds of uncertainty
# ------------------------
# Distributions of networks have two parts. What they do not know (epistemic) shrinks when they are
# trained on more spectra. What the noise hides (aleatoric) seems to shrink too while the networks
# are still learning to read the spectra, but then it stays, and it is larger for fainter stars. The
# first part is seen best by several networks, which differ where they do not know: an ensemble,
# which scikit-learn's :class:`~sklearn.ensemble.BaggingRegressor` makes of any regressor.

sizes, parts = (200, 600, 1500), {"epistemic": [], "aleatoric": []}
small = clone(noisy).set_params(width=8)
for size in sizes:
    ensemble = BaggingRegressor(small, n_estimators=3, bootstrap=False, random_state=0)
    some = predict_dist(ensemble.fit(X[:size], y[:size]), X_test)
    for part, values in parts.items():
        values.append(some.std(part)[:, 0].mean())

faintness = np.argsort(snr_test)
by_snr = [
    (snr_test[rows].mean(), some.std("aleatoric")[rows, 0].mean())
    for rows in np.array_split(faintness, 6)
]

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for (part, values), style in zip(parts.items(), ("o-", "s--"), strict=True):
    left.plot(sizes, values, style, label=part)
left.set(xscale="log", xlabel="training spectra", ylabel="mean standard deviation of Teff (K)")
left.set_xticks(sizes, [str(size) for size in sizes])
left.minorticks_off()
left.legend()
right.plot(*zip(*by_snr, strict=True), "s--", color="C1")
right.set(xscale="log", xlabel="S/N", ylabel="aleatoric standard deviation of Teff (K)")

# %%
# Spectra that do not belong
# --------------------------
# No interval means anything for a spectrum of another kind. A fibre that looked at empty sky gives
# noise, and the network gives it a temperature all the same. :class:`~skestnet.OutOfDomainDetector`
# looks at what the network makes of a spectrum, and flags what it has not seen the like of.

rng = np.random.default_rng(0)
empty = rng.standard_normal((500, X.shape[1]))
detector = OutOfDomainDetector(calibrated, random_state=0).fit(X)
print(f"flagged: {(detector.predict(empty) == -1).mean():.0%} of the empty fibres,")
print(f"{(detector.predict(X_test) == -1).mean():.0%} of the good spectra")
