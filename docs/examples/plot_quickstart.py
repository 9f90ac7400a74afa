"""
Quick start: white dwarfs from poor spectra
===========================================

Estimate effective temperature and surface gravity of 2000 simulated white dwarfs, whose spectra
have a median S/N of 3 in the blue and of whose catalogue labels every tenth belongs to another
star. EstNet and gradient boosting get the same pipeline and the same split, and are judged by the
true labels of the test set. Two to three minutes on two cores.
"""

# %%
# Spectra with known truth
# ------------------------
# The embedded data set needs no download. ``target`` holds what a catalogue would say, with errors
# and wrong labels; ``truth`` is what the spectra were computed with. We train on the former and
# test on the latter.

import sys
import time
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import (
    mean_absolute_error,
    mean_absolute_percentage_error,
    median_absolute_error,
    root_mean_squared_error,
)
from sklearn.model_selection import train_test_split
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skestnet import EstNetRegressor, PredictiveDistribution, predict_dist
from skestnet.datasets import make_white_dwarfs
from skestnet.metrics import interval_coverage
from skestnet.spectra import FluxScaler

try:
    from lightgbm import LGBMRegressor

    boosting_name, boosting = "LightGBM", LGBMRegressor(verbose=-1, n_jobs=2)
except ImportError:
    from sklearn.ensemble import HistGradientBoostingRegressor

    boosting_name, boosting = "HistGradientBoosting", HistGradientBoostingRegressor()

data = make_white_dwarfs(2000, snr=3.0, outlier_fraction=0.1, random_state=0)
train, test = train_test_split(np.arange(2000), test_size=0.2, random_state=0)
truth = data.truth[test]

# %%
# Two models, one pipeline
# ------------------------
# Each spectrum is divided by its median, each pixel is brought to mean 0 and standard deviation 1
# over the training set, and what is beyond five standard deviations, such as cosmic rays, is cut
# off. EstNet estimates both labels with one network; at this signal-to-noise ratio it needs a
# larger ``weight_decay`` than by default, lest it learns the noise.


def model(regressor):
    clip = FunctionTransformer(np.clip, kw_args={"a_min": -5, "a_max": 5})
    return make_pipeline(FluxScaler("median"), StandardScaler(), clip, regressor)


progress = int(sys.stderr.isatty())  # a bar for people, none in a log
models = {
    "EstNet": model(EstNetRegressor(weight_decay=0.01, random_state=0, verbose=progress)),
    boosting_name: model(MultiOutputRegressor(boosting)),
}
predicted, seconds = {}, {}
for name, pipeline in models.items():
    start = time.perf_counter()
    pipeline.fit(data.data[train], data.target[train])
    seconds[name] = time.perf_counter() - start
    predicted[name] = pipeline.predict(data.data[test])

# %%
# The paper's four metrics
# ------------------------
# Mean absolute error, root mean square error, mean absolute percentage error and median absolute
# error, against the truth. "mean label" predicts the mean of the training labels for every star.

predicted["mean label"] = np.tile(data.target[train].mean(axis=0), (len(test), 1))
metrics = {
    "MAE": mean_absolute_error,
    "RMSE": root_mean_squared_error,
    "MAPE": mean_absolute_percentage_error,
    "ME": median_absolute_error,
}
units = {"Teff": ("K", "{:10.0f}"), "log g": ("dex", "{:10.3f}")}
for k, (label, (unit, number)) in enumerate(units.items()):
    print(f"\n{label + ' [' + unit + ']':22}" + "".join(f"{name:>10}" for name in metrics))
    for name, values in predicted.items():
        row = {key: metric(truth[:, k], values[:, k]) for key, metric in metrics.items()}
        cells = [f"{v:10.1%}" if key == "MAPE" else number.format(v) for key, v in row.items()]
        print(f"{name:22}" + "".join(cells))
print("\nfitted in " + ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()))

# %%
# Intervals, and how often they hold
# ----------------------------------
# ``predict_dist`` reaches through the pipeline and returns 200 Monte Carlo dropout draws for each
# spectrum, which express what the network does not know, with noise around them, which was
# measured on spectra set aside. The draws alone, the paper's intervals, are too narrow. The table
# says by how much, and `plot_uncertainty.py` how to get intervals that hold for faint stars too.

dist = predict_dist(models["EstNet"], data.data[test])
intervals = {"interval": dist, "of dropout alone": PredictiveDistribution(dist.loc)}
print(f"{'share of truths inside':22}{'Teff':>10}{'log g':>10}")
for (name, some), confidence in product(intervals.items(), (0.68, 0.95)):
    inside = interval_coverage(truth, some, confidence, multioutput="raw_values")
    print(f"{confidence:.0%} {name:18}" + "".join(f"{share:10.1%}" for share in inside))

# %%
# A picture
# ---------
# Predicted against true labels with residuals, and one spectrum with its predictive distribution.

blue, orange, grey = "#0072B2", "#D55E00", "0.55"
fig = plt.figure(figsize=(13, 6), layout="constrained")
grid = fig.add_gridspec(2, 3, height_ratios=[2, 1])
for k, (label, (unit, _)) in enumerate(units.items()):
    scale = 1000 if unit == "K" else 1
    unit = "1000 K" if unit == "K" else unit
    top = fig.add_subplot(grid[0, k])
    bottom = fig.add_subplot(grid[1, k], sharex=top)
    true = truth[:, k] / scale
    for name, colour in ((boosting_name, orange), ("EstNet", blue)):
        value = predicted[name][:, k] / scale
        top.scatter(true, value, s=9, alpha=0.6, color=colour, label=name, linewidths=0)
        bottom.scatter(true, value - true, s=9, alpha=0.6, color=colour, linewidths=0)
    ends = [true.min(), true.max()]
    top.plot(ends, ends, color="black", lw=1)
    bottom.axhline(0, color="black", lw=1)
    top.set(ylabel=f"predicted {label} [{unit}]")
    bottom.set(xlabel=f"true {label} [{unit}]", ylabel="residual")
    top.legend(loc="upper left", markerscale=2)

star = int(np.argmin(np.abs(data.snr[test] - 5)))
spectrum = fig.add_subplot(grid[0, 2])
flux = data.data[test[star]]
spectrum.plot(data.wavelength, flux / np.median(flux), color=grey, lw=0.6)
spectrum.set(xlabel="wavelength [Å]", ylabel="flux / median", xlim=(4000, 8000))
spectrum.set_title(f"one spectrum, S/N {data.snr[test[star]]:.1f}", fontsize=10)
histogram = fig.add_subplot(grid[1, 2])
draws = dist[star].output(0).rvs(5000, random_state=0)[0] / 1000
histogram.hist(draws, bins=40, color=blue, alpha=0.6, density=True)
mean, std = draws.mean(), draws.std(ddof=1)
for edge in (mean - std, mean + std):
    histogram.axvline(edge, color=grey, ls="--")
histogram.axvline(mean, color=blue, label="mean ± one sigma")
histogram.axvline(truth[star, 0] / 1000, color="black", label="truth")
histogram.set(xlabel="Teff [1000 K]", ylabel="density")
histogram.legend(fontsize=8, loc="upper right")
fig.savefig("quickstart.png", dpi=110)
plt.show()
