import sys
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import trapezoid
from scipy.stats import binom, gaussian_kde, norm
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import BayesianRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skestnet import CalibratedRegressor, PredictiveDistribution, predict_dist
from skestnet.metrics import coverage_by_group
from skestnet.plotting import (
    DistributionDisplay,
    JointDistributionDisplay,
    ReliabilityDisplay,
    SNRDisplay,
    UncertaintyDisplay,
)
from skestnet.plotting._shared import PALETTE

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.colors import same_color  # noqa: E402

N_SAMPLES = 240
SNR = np.random.default_rng(9).uniform(2, 30, N_SAMPLES)
TEFF, LOG_G = "Teff (K)", "log g (dex)"
CORRELATION = np.array([[1, 0.6, -0.3], [0.6, 1, 0.2], [-0.3, 0.2, 1]])


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close("all")


def truths(n_outputs=None, seed=0):
    rng = np.random.default_rng(seed)
    return 5 + rng.standard_normal(N_SAMPLES if n_outputs is None else (N_SAMPLES, n_outputs))


def calibrated(y_true, claimed=1.0, seed=1):
    """Normal distributions that claim errors `claimed` times as large as they are."""
    rng = np.random.default_rng(seed)
    scale = np.expand_dims(rng.uniform(0.5, 2, y_true.shape), 1)
    centre = np.expand_dims(y_true, 1) + scale * rng.standard_normal(scale.shape)
    return PredictiveDistribution(centre, claimed * scale)


def draws(n_outputs=None, n_draws=40):
    rng = np.random.default_rng(2)
    shape = (N_SAMPLES, n_draws) + (() if n_outputs is None else (n_outputs,))
    return PredictiveDistribution(5 + rng.standard_normal(shape))


def labels_in(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def line_named(ax, label):
    (line,) = [line for line in ax.lines if line.get_label() == label]
    return line


# What all displays have in common

DISPLAYS = {
    ReliabilityDisplay: lambda y, dist, **params: ReliabilityDisplay.from_predictions(
        y, dist, **params
    ),
    UncertaintyDisplay: lambda y, dist, **params: UncertaintyDisplay.from_predictions(
        y, dist, **params
    ),
    DistributionDisplay: lambda y, dist, **params: DistributionDisplay.from_predictions(
        dist, y_true=y, row=3, **params
    ),
    SNRDisplay: lambda y, dist, **params: SNRDisplay.from_predictions(y, dist, SNR, **params),
}
ALL_DISPLAYS = DISPLAYS | {
    JointDistributionDisplay: lambda y, dist, **params: JointDistributionDisplay.from_predictions(
        dist, y_true=y, row=3, **params
    ),
}


def axes_of(display):
    return np.ravel([display.ax_]) if hasattr(display, "ax_") else display.axes_.ravel()


def drawn_into(display):
    return {"ax": display.ax_} if hasattr(display, "ax_") else {"axes": display.axes_}


@pytest.mark.parametrize("cls", ALL_DISPLAYS)
def test_models_share_axes(cls):
    draw, y = ALL_DISPLAYS[cls], truths(2)
    output = {} if cls is JointDistributionDisplay else {"output": 0}
    first = draw(y, calibrated(y), name="first", **output)
    second = draw(y, draws(2), name="second", **output, **drawn_into(first))
    draw(y, draws(2), name="third", color="red", **output, **drawn_into(first))
    assert isinstance(second, cls)
    assert list(axes_of(second)) == list(axes_of(first))
    assert second.figure_ is first.figure_
    assert len(plt.get_fignums()) == 1
    assert sum(ax.get_visible() for ax in second.figure_.axes) == len(axes_of(first))
    top = axes_of(first)[0]
    colors = [line.get_color() for line in top.lines]
    for color in (*PALETTE[:2], "red"):
        assert any(same_color(color, used) for used in colors)
    assert not any(same_color(PALETTE[2], used) for used in colors)
    named = [labels_in(ax) for ax in axes_of(first) if ax.get_legend()]
    assert all(len(labels) == len(set(labels)) for labels in named)
    models = [label.split(",")[0] for label in named[0]]
    assert models[:3] == ["first", "second", "third"]


@pytest.mark.parametrize("cls", DISPLAYS)
def test_label_is_chosen_by_output(cls):
    y = truths(2)
    dist = calibrated(y)
    alone = DISPLAYS[cls](y[:, 1], dist.output(1))
    for output in (1, -1, np.int64(1)):
        chosen = DISPLAYS[cls](y, dist, output=output)
        assert_same_curves(chosen, alone)
    one_column = DISPLAYS[cls](
        y[:, 1:], PredictiveDistribution(dist.loc[..., 1:], dist.scale[..., 1:])
    )
    assert_same_curves(one_column, alone)
    with pytest.raises(
        ValueError, match=r"distribution of 2 labels: choose .* output=0 to output=1"
    ):
        DISPLAYS[cls](y, dist)
    with pytest.raises(ValueError, match="output=2 for a distribution of 2 labels"):
        DISPLAYS[cls](y, dist, output=2)


def assert_same_curves(one, other):
    for ax, other_ax in zip(axes_of(one), axes_of(other), strict=True):
        for line, other_line in zip(ax.lines, other_ax.lines, strict=True):
            assert_array_equal(line.get_xydata(), other_line.get_xydata())


@pytest.mark.parametrize("cls", ALL_DISPLAYS)
def test_wrong_input(cls):
    draw, n_outputs = ALL_DISPLAYS[cls], 2 if cls is JointDistributionDisplay else None
    dist = draws(n_outputs)
    y = truths(n_outputs)
    with pytest.raises(ValueError, match=r"y_true has shape \(239,.*and dist \(240,"):
        draw(y[1:], dist)
    y[7] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite values in 1 of 240 samples"):
        draw(y, dist)
    with pytest.raises(TypeError, match=r"expected a skestnet\.PredictiveDistribution"):
        draw(truths(n_outputs), dist.loc)
    _, three = plt.subplots(3)
    wrong = {"ax": three} if cls in (UncertaintyDisplay, DistributionDisplay) else {"axes": three}
    with pytest.raises(ValueError, match=r"axes holds 3 axes: expected \d, for example"):
        draw(truths(n_outputs), dist, **wrong)


@pytest.mark.parametrize("cls", ALL_DISPLAYS)
def test_missing_matplotlib(cls, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    n_outputs = 2 if cls is JointDistributionDisplay else None
    with pytest.raises(ImportError, match=r'pip install "skestnet\[plot\]"'):
        ALL_DISPLAYS[cls](truths(n_outputs), draws(n_outputs))
    given = [None, np.ones((N_SAMPLES, 1)), truths(), SNR]
    n_given = {DistributionDisplay: 2, JointDistributionDisplay: 2, SNRDisplay: 4}.get(cls, 3)
    with pytest.raises(ImportError, match="not installed"):  # before anything is predicted
        cls.from_estimator(*given[:n_given])


@pytest.fixture(scope="module")
def bayesian():
    X = np.random.default_rng(3).standard_normal((N_SAMPLES, 2))
    y = X[:, 0] + truths()
    return make_pipeline(StandardScaler(), BayesianRidge()).fit(X, y), X, y


@pytest.mark.parametrize("cls", [ReliabilityDisplay, UncertaintyDisplay, SNRDisplay])
def test_from_estimator(cls, bayesian):
    model, X, y = bayesian
    more = (SNR,) if cls is SNRDisplay else ()
    display = cls.from_estimator(model, X, y, *more)
    assert display.name == "BayesianRidge"
    assert_same_curves(display, DISPLAYS[cls](y, predict_dist(model, X), name="BayesianRidge"))
    assert cls.from_estimator(model, X, y, *more, name="mine").name == "mine"


class Recording:
    """An estimator of two labels that remembers the samples it saw."""

    def predict_dist(self, X):
        self.seen = X
        rng = np.random.default_rng(0)
        return PredictiveDistribution(np.asarray(X)[:, None] + rng.standard_normal((1, 50, 2)))


@pytest.mark.parametrize("cls", [DistributionDisplay, JointDistributionDisplay])
@pytest.mark.parametrize("row", [2, -1])
def test_from_estimator_predicts_one_sample(cls, row):
    estimator, X = Recording(), np.arange(10.0).reshape(5, 2)
    y = X + 0.5
    output = {"output": 1} if cls is DistributionDisplay else {}
    display = cls.from_estimator(estimator, X, row=row, y=y, **output)
    assert_array_equal(estimator.seen, X[[row]])
    assert_array_equal(display.y_true, y[row, 1] if output else y[row])
    assert display.name == "Recording"
    with pytest.raises(ValueError, match="row=5: expected the position of one of 5 samples"):
        cls.from_estimator(estimator, X, row=5, y=y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        cls.from_estimator(estimator, X, row=0, y=y[1:])


class NeedsSNR:
    """An estimator whose distributions depend on more than the samples."""

    def predict_dist(self, X, snr, factor=1.0):
        assert np.shape(snr) == (len(X),)
        scale = factor / np.asarray(snr)[:, None, None]
        return PredictiveDistribution(np.asarray(X)[:, None], scale * np.ones((1, 1, 2)))


@pytest.mark.parametrize("cls", [ReliabilityDisplay, UncertaintyDisplay, SNRDisplay])
def test_what_a_prediction_needs_beside_samples(cls):
    X, y = truths(2), truths(2, seed=1)
    more = (SNR,) if cls is SNRDisplay else ()
    params = {"predict_params": {"snr": SNR, "factor": 3.0}, "output": 1}
    display = cls.from_estimator(NeedsSNR(), X, y, *more, **params)
    dist = NeedsSNR().predict_dist(X, SNR, 3.0)
    expected = DISPLAYS[cls](y, dist, output=1, name="NeedsSNR")
    assert_same_curves(display, expected)
    with pytest.raises(TypeError, match="snr"):
        cls.from_estimator(NeedsSNR(), X, y, *more, output=1)


@pytest.mark.parametrize("cls", [DistributionDisplay, JointDistributionDisplay])
@pytest.mark.parametrize("factor", [3.0, np.float64(3.0)])
def test_what_the_prediction_of_one_sample_needs(cls, factor):
    X, output = truths(2), {"output": 1} if cls is DistributionDisplay else {}
    params = {"predict_params": {"snr": SNR, "factor": factor}, **output}
    display = cls.from_estimator(NeedsSNR(), X, row=7, **params)
    dist = NeedsSNR().predict_dist(X, SNR, 3.0)
    expected = cls.from_predictions(dist, row=7, name="NeedsSNR", **output)
    assert_same_curves(display, expected)


def test_model_that_was_calibrated_by_signal_to_noise(bayesian):
    pytest.importorskip("crepes")
    model, X, y = bayesian
    calibrated = CalibratedRegressor(FrozenEstimator(model), n_groups=2).fit(X, y, snr=SNR)
    params = {"predict_params": {"snr": SNR}, "name": None}
    display = SNRDisplay.from_estimator(calibrated, X, y, SNR, **params)
    expected = SNRDisplay.from_predictions(y, calibrated.predict_dist(X, SNR), SNR)
    assert_same_curves(display, expected)
    one = DistributionDisplay.from_estimator(calibrated, X, row=3, **params)
    assert one.mean == pytest.approx(calibrated.predict(X, SNR)[3])


@pytest.mark.parametrize("cls", ALL_DISPLAYS)
def test_truths_of_an_estimator_are_called_y(cls, bayesian):
    model, X, y = bayesian
    given = {"y": y} if cls in DISPLAYS and cls is not DistributionDisplay else {}
    given |= {"snr": SNR} if cls is SNRDisplay else {}
    with pytest.raises(TypeError, match="takes the true labels as y, and no y_true"):
        cls.from_estimator(model, X, **given, y_true=y)


@pytest.mark.parametrize("cls", ALL_DISPLAYS)
def test_names_of_axes_stay_unless_others_are_given(cls):
    y, dist = truths(2), calibrated(truths(2))
    joint, unnamed = cls is JointDistributionDisplay, cls is ReliabilityDisplay
    params = {} if joint else {"output": 0}

    def names(first, second=None):
        given = {"label_names": (first, second)} if joint else {"label_name": first}
        return params if unnamed else params | given

    first = ALL_DISPLAYS[cls](y, dist, **names(TEFF, LOG_G))
    shown = axis_names(first)
    assert unnamed or any(TEFF in name for name in shown)
    second = ALL_DISPLAYS[cls](y, draws(2), **params, **drawn_into(first))
    assert axis_names(second) == shown
    third = ALL_DISPLAYS[cls](y, dist, **names("ln Teff", LOG_G), **drawn_into(first))
    assert axis_names(third) == [name.replace(TEFF, "ln Teff") for name in shown]
    first.figure_.axes[-1].set_xlabel("mine")
    ALL_DISPLAYS[cls](y, dist, **params, **drawn_into(first))
    assert first.figure_.axes[-1].get_xlabel() == "mine"


def axis_names(display):
    return [name for ax in axes_of(display) for name in (ax.get_xlabel(), ax.get_ylabel())]


@pytest.mark.parametrize("cls", [DistributionDisplay, JointDistributionDisplay])
def test_row_must_exist(cls):
    with pytest.raises(ValueError, match="row=240: expected the position of one of 240 samples"):
        cls.from_predictions(draws(2), row=240)


# ReliabilityDisplay


@pytest.mark.parametrize("kind", ["normal", "mixture", "draws"])
def test_coverage_against_intervals_one_by_one(kind):
    y = truths()
    normal = calibrated(y, 0.6)
    dist = {
        "normal": normal,
        "mixture": PredictiveDistribution.mixture([normal, calibrated(y, 0.9).rescale(1, 0.3)]),
        "draws": draws(n_draws=7),
    }[kind]
    levels = [0.3, 0.68, 0.9]
    display = ReliabilityDisplay.from_predictions(y, dist, confidence=levels)
    for level, share in zip(levels, display.coverage, strict=True):
        low, high = dist.interval(level)
        assert share == np.mean([a <= value <= b for a, value, b in zip(low, y, high, strict=True)])
    assert_allclose(display.pit, dist.cdf(y))
    assert_array_equal(display.line_.get_xdata(), levels)
    assert_array_equal(display.line_.get_ydata(), display.coverage)


def test_histogram_has_density_one_on_average():
    y = truths()
    dist = calibrated(y)
    display = ReliabilityDisplay.from_predictions(y, dist, n_bins=5)
    density, edges, _ = display.histogram_.get_data()
    below = norm.cdf(y, dist.loc[:, 0], dist.scale[:, 0])
    counts = [np.sum((a <= below) & (below < a + 0.2)) for a in (0, 0.2, 0.4, 0.6, 0.8)]
    assert_allclose(density, np.array(counts) * 5 / N_SAMPLES)
    assert_allclose(edges, [0, 0.2, 0.4, 0.6, 0.8, 1])
    assert display.axes_[1].get_ylim()[1] > density.max()


@pytest.mark.parametrize("n_draws", [1, 4, 7, 200])
def test_histogram_is_flat_where_truths_are_as_often_between_all_draws(n_draws):
    dist = PredictiveDistribution(np.tile(np.arange(1.0, n_draws + 1), (n_draws + 1, 1)))
    y = np.arange(n_draws + 1) + 0.5
    display = ReliabilityDisplay.from_predictions(y, dist)
    assert_allclose(display.histogram_.get_data().values, 1)


def test_truths_beyond_the_draws_are_at_the_ends_of_the_histogram():
    dist = PredictiveDistribution([np.arange(1.0, 10)] * 4)  # nine draws have ten places between
    display = ReliabilityDisplay.from_predictions([0, 0, 0, 9.5], dist)
    assert_allclose(display.histogram_.get_data().values, [7.5, *[0] * 8, 2.5], atol=1e-12)


def band_at(collection, x):
    """Lower and upper bound of a band at one of its own positions."""
    vertices = collection.get_paths()[0].vertices
    found = vertices[np.isclose(vertices[:, 0], x), 1]
    return found.min(), found.max()


def test_bands_hold_what_chance_makes():
    y = truths()
    display = ReliabilityDisplay.from_predictions(y, calibrated(y))
    for ax, share, unit in zip(display.axes_, (0.7, 0.1), (1, 10), strict=True):
        (band,) = ax.collections
        low, high = np.array(band_at(band, share if unit == 1 else 1)) * N_SAMPLES / unit
        counts = binom(N_SAMPLES, share)
        assert counts.cdf(low - 1) <= 0.025 < counts.cdf(low)
        assert counts.cdf(high - 1) < 0.975 <= counts.cdf(high)
        assert "95% scatter, n = 240" in labels_in(ax)


def outside_band(claimed):
    """Share of the points of the curve outside the grey band, over several sets of labels."""
    outside = []
    for seed in range(5):
        y = truths(seed=seed)
        display = ReliabilityDisplay.from_predictions(y, calibrated(y, claimed, seed=10 + seed))
        (band,) = display.axes_[0].collections
        for level, share in zip(display.confidence, display.coverage, strict=True):
            low, high = band_at(band, level)
            outside.append(not low <= share <= high)
    return np.mean(outside)


def test_only_calibrated_models_are_in_the_band():
    assert outside_band(1.0) < 0.2
    assert outside_band(0.7) > 0.7
    assert outside_band(1.5) > 0.7


@pytest.mark.parametrize("confidence", [0.68, [], [0.5, 1.2], [[0.5]]])
def test_confidence_must_be_probabilities(confidence):
    with pytest.raises(ValueError, match="expected probabilities such as"):
        ReliabilityDisplay.from_predictions(truths(), draws(), confidence=confidence)


def test_number_of_bins_is_checked():
    with pytest.raises(ValueError, match="n_bins=0: expected at least 1"):
        ReliabilityDisplay.from_predictions(truths(), draws(), n_bins=0)


# UncertaintyDisplay


def test_windows_against_a_loop():
    y, dist = truths(), draws()
    display = UncertaintyDisplay.from_predictions(y, dist, n_bins=6, label_name=TEFF)
    order = sorted(range(N_SAMPLES), key=lambda i: y[i])
    size = N_SAMPLES // 6
    windows = [order[start : start + size] for start in range(0, N_SAMPLES - size + 1, size // 5)]
    assert len(display.position) == len(windows) == 26
    std = [np.std(row, ddof=1) for row in dist.loc]
    for i, window in enumerate(windows):
        spread = [std[j] for j in window]
        assert display.position[i] == np.median([y[j] for j in window])
        assert display.median[i] == pytest.approx(np.median(spread))
        assert display.low[i] == pytest.approx(np.percentile(spread, 2.5))
        assert display.high[i] == pytest.approx(np.percentile(spread, 97.5))
    assert_array_equal(display.line_.get_xydata().T, [display.position, display.median])
    assert band_at(display.band_, display.position[3]) == (display.low[3], display.high[3])
    assert display.ax_.get_xlabel() == "true Teff (K)"
    assert display.ax_.get_ylabel() == "standard deviation of Teff (K)"
    assert labels_in(display.ax_) == ["total, running median", "95% band", "distribution of labels"]


@pytest.mark.parametrize(("n_samples", "n_windows"), [(1, 1), (19, 1), (20, 1), (60, 11)])
def test_windows_are_not_too_small(n_samples, n_windows):
    y, dist = truths()[:n_samples], draws()[:n_samples]
    display = UncertaintyDisplay.from_predictions(y, dist)
    assert len(display.position) == n_windows
    assert display.position[0] == np.median(np.sort(y)[:20])


def test_parts_of_the_uncertainty():
    y = truths()
    dist = PredictiveDistribution(draws().loc, 0.7)
    std = {}
    ax = None
    for part in ("total", "epistemic", "aleatoric"):
        display = UncertaintyDisplay.from_predictions(y, dist, part=part, name="net", ax=ax)
        ax, std[part] = display.ax_, display.std
    assert_allclose(std["total"] ** 2, std["epistemic"] ** 2 + std["aleatoric"] ** 2)
    assert_allclose(display.median, 0.7)
    running = "running median"
    assert labels_in(ax)[:3] == [f"net, {part}, {running}" for part in std]
    with pytest.raises(ValueError, match="part='both'"):
        UncertaintyDisplay.from_predictions(y, dist, part="both")


def test_no_uncertainty_at_all_is_drawn():
    display = UncertaintyDisplay.from_predictions(truths(), draws(), part="aleatoric")
    assert_array_equal(display.high, 0)
    assert display.ax_.get_ylim() == (0, 1)


def test_against_predictions_without_truth():
    dist = draws(2)
    display = UncertaintyDisplay.from_predictions(None, dist, output=1, against="predicted")
    assert_allclose(display.label, dist.mean()[:, 1])
    assert display.ax_.get_xlabel() == "predicted label"
    with pytest.raises(ValueError, match="y_true is None: pass true labels, or against='predicted"):
        UncertaintyDisplay.from_predictions(None, dist, output=1)
    with pytest.raises(ValueError, match="against='both': expected 'true' or 'predicted'"):
        UncertaintyDisplay.from_predictions(None, dist, output=1, against="both")
    with pytest.raises(ValueError, match="n_bins=0: expected at least 1"):
        UncertaintyDisplay.from_predictions(truths(2), dist, output=1, n_bins=0)


def test_histogram_of_labels_is_along_the_bottom():
    y = truths()
    display = UncertaintyDisplay.from_predictions(y, draws())
    (histogram,) = display.ax_.patches
    height, edges, _ = histogram.get_data()
    assert (edges[0], edges[-1]) == (y.min(), y.max())
    assert_allclose(height / height.sum(), np.histogram(y, edges)[0] / N_SAMPLES)
    assert height.max() == 0.25
    across, up = display.ax_.transAxes.inverted().transform(
        histogram.get_data_transform().transform((5, 0.25))
    )
    assert up == pytest.approx(0.25)
    assert across == pytest.approx(display.ax_.transLimits.transform((5, 0))[0])


# DistributionDisplay


def test_density_of_draws_is_a_kernel_density():
    y, dist = truths(), draws()
    display = DistributionDisplay.from_predictions(dist, row=3, y_true=y, label_name=LOG_G)
    sample = dist.loc[3]
    assert_allclose(display.density, gaussian_kde(sample)(display.grid), rtol=1e-10)
    assert trapezoid(display.density, display.grid) == pytest.approx(1, abs=0.005)
    assert display.mean == pytest.approx(np.mean(sample))
    assert display.std == pytest.approx(np.std(sample, ddof=1))
    for bounds, tail in zip(display.intervals, (0.16, 0.025), strict=True):
        assert_allclose(bounds, np.quantile(sample, [tail, 1 - tail]))
    ax = display.ax_
    assert_array_equal(display.line_.get_ydata(), display.density)
    assert_array_equal(line_named(ax, "truth").get_xdata(), [y[3], y[3]])
    (dashed,) = [c for c in ax.collections if c.get_label() == "mean ± standard deviation"]
    at = [segment[0, 0] for segment in dashed.get_segments()]
    assert_allclose(at, [display.mean + k * display.std for k in (-1, 0, 1)])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("log g (dex)", "probability density")
    expected = ["predictive density", "68% interval", "95% interval"]
    assert labels_in(ax) == [*expected, "mean ± standard deviation", "truth"]


def area(collection):
    """Area of the polygons of a filled curve, by the shoelace formula."""
    total = 0
    for path in collection.get_paths():
        x, y = path.vertices.T
        total += abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    return total


def test_shaded_areas_are_probabilities():
    dist = PredictiveDistribution([[8.0]], scale=0.1)
    display = DistributionDisplay.from_predictions(dist)
    shaded = {c.get_label(): area(c) for c in display.ax_.collections}
    assert shaded["68% interval"] == pytest.approx(0.68, abs=1e-3)
    assert shaded["95% interval"] == pytest.approx(0.95 - 0.68, abs=1e-3)
    assert "truth" not in labels_in(display.ax_)


def test_narrow_components_are_not_missed():
    loc = np.array([[0.0, 1.0, 1000.0]])
    display = DistributionDisplay.from_predictions(PredictiveDistribution(loc, 1e-3))
    peak = norm.pdf(0, scale=1e-3) / 3
    assert_allclose(display.density[np.isin(display.grid, loc)], peak)


@pytest.mark.parametrize("scale", [0.0, [[0.0, 1.0]]])
def test_no_density_without_spread(scale):
    dist = PredictiveDistribution([[8.0, 8.0]], scale)
    with pytest.raises(ValueError, match="has no spread, and so no density to draw"):
        DistributionDisplay.from_predictions(dist)


# JointDistributionDisplay


def joint(n_outputs=3):
    rng = np.random.default_rng(4)
    loc = rng.standard_normal((N_SAMPLES, 5, n_outputs))
    correlation = CORRELATION[:n_outputs, :n_outputs]
    return PredictiveDistribution(loc, rng.uniform(0.5, 2, loc.shape), correlation)


@pytest.mark.parametrize("n_outputs", [2, 3])
def test_ellipses_are_those_of_each_pair(n_outputs):
    dist = joint(n_outputs)
    display = JointDistributionDisplay.from_predictions(dist, row=3)
    assert display.axes_.shape == (n_outputs, n_outputs)
    sample = dist[3].rvs(100_000, random_state=1)[0]
    for k in range(n_outputs):
        for j in range(k):
            both = sample[:, [j, k]]
            inverse = np.linalg.inv(dist.covariance()[3][np.ix_([j, k], [j, k])])
            centre = dist.mean()[3, [j, k]]
            distance = squared_distance(both - centre, inverse)
            for confidence in (0.68, 0.95):
                line = line_named(display.axes_[k, j], f"{confidence:.0%} region")
                radius = squared_distance(line.get_xydata() - centre, inverse)
                assert_allclose(radius, radius[0])
                assert np.mean(distance <= radius[0]) == pytest.approx(confidence, abs=0.015)


def squared_distance(offset, inverse):
    return np.einsum("pj,jk,pk->p", offset, inverse, offset)


def test_two_labels_have_their_region():
    dist = joint(2)
    display = JointDistributionDisplay.from_predictions(dist, row=3)
    outline = line_named(display.axes_[1, 0], "68% region").get_xydata()
    assert_allclose(outline, dist.region(0.68).boundary()[3])


def test_panels_of_a_corner():
    dist, y = joint(), truths(3)
    names = (TEFF, LOG_G, "[Fe/H] (dex)")
    display = JointDistributionDisplay.from_predictions(
        dist, row=3, y_true=y, label_names=names, name="net"
    )
    for k, name in enumerate(names):
        assert display.axes_[2, k].get_xlabel() == name
        assert display.axes_[k, 0].get_ylabel() == (name if k else "")
        grid, density = display.axes_[k, k].lines[0].get_data()
        one = dist[3].output(k)
        assert_allclose(np.log(density), [one.logpdf(value)[0] for value in grid])
        at = [line.get_xdata()[0] for line in display.axes_[k, k].lines[1:]]
        mean, std = one.mean()[0], one.std()[0]
        assert_allclose(at, [mean - std, mean, mean + std, y[3, k]])
        assert all(display.axes_[j, k].axison == (j >= k) for j in range(3))
    assert labels_in(display.axes_[0, 2]) == ["net", "68% region", "95% region", "truth"]
    assert_array_equal(line_named(display.axes_[2, 1], "truth").get_xdata(), [y[3, 1]] * 2)
    assert display.axes_[2, 0].get_ylim() == display.axes_[2, 1].get_ylim()
    assert display.axes_[0, 0].get_xlim() == display.axes_[2, 0].get_xlim()


@pytest.mark.parametrize("spread", [3000, 4500, 6000, 9000])
def test_numbers_along_temperature_do_not_overlap(spread):
    rng = np.random.default_rng(0)
    dist = PredictiveDistribution(rng.normal([25_000, 8], [spread, 0.1], (1, 200, 2)))
    display = JointDistributionDisplay.from_predictions(dist, label_names=(TEFF, LOG_G))
    display.figure_.canvas.draw()
    for ax in display.axes_[-1]:
        low, high = ax.get_xlim()
        axis = zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)
        boxes = [label.get_window_extent() for place, label in axis if low <= place <= high]
        assert len(boxes) > 1
        for left, right in pairwise(boxes):
            assert right.x0 - left.x1 > 5


def test_points_are_the_draws_where_there_are_such():
    dist = draws(2)
    display = JointDistributionDisplay.from_predictions(dist, row=3)
    assert_array_equal(display.points, dist.loc[3])
    (scatter,) = display.axes_[1, 0].collections
    assert_array_equal(scatter.get_offsets(), dist.loc[3])
    smooth = joint()
    one, other = (JointDistributionDisplay(smooth[3]).points for _ in range(2))
    assert_array_equal(one, other)
    spread = smooth.covariance()[3]
    assert_allclose(np.cov(one.T), spread, atol=0.15 * spread.max())


def test_joint_display_wants_one_sample_of_several_labels():
    with pytest.raises(ValueError, match="For one label, take DistributionDisplay"):
        JointDistributionDisplay.from_predictions(draws())
    with pytest.raises(ValueError, match=r"dist has 240 samples: expected one, such as dist\[0\]"):
        JointDistributionDisplay(draws(2))
    with pytest.raises(ValueError, match=r"label_names=\('Teff',\): expected one for each of 2"):
        JointDistributionDisplay.from_predictions(draws(2), label_names=("Teff",))
    with pytest.raises(ValueError, match="no spread"):
        JointDistributionDisplay.from_predictions(PredictiveDistribution(np.ones((1, 4, 2))))


# SNRDisplay


def test_groups_against_loops():
    y = truths()
    dist = calibrated(y, 0.7)
    display = SNRDisplay.from_predictions(
        y, dist, SNR, confidence=(0.5, 0.9), n_groups=3, label_name=TEFF
    )
    top, bottom = display.axes_
    order = np.argsort(SNR)
    error, half = [], []
    for g in range(3):
        group = order[80 * g : 80 * (g + 1)]
        error.append(np.mean([abs(y[i] - dist.loc[i, 0]) for i in group]))
        half.append(np.mean([norm.ppf(0.75) * dist.scale[i, 0] for i in group]))
        for container, level in zip(display.coverages_, (0.5, 0.9), strict=True):
            z = norm.ppf((1 + level) / 2)
            inside = [abs(y[i] - dist.loc[i, 0]) <= z * dist.scale[i, 0] for i in group]
            assert container[0].get_ydata()[g] == pytest.approx(np.mean(inside))
            bar = container[2][0].get_segments()[g][:, 1]
            assert np.mean(bar) == pytest.approx(np.mean(inside))
            assert 0 < np.ptp(bar) / 2 < 0.06
    assert_allclose(display.errors_.get_ydata(), error)
    assert_allclose(display.widths_.get_ydata(), half)
    edges = np.quantile(SNR, [0, 1 / 3, 2 / 3, 1])
    assert_allclose(display.errors_.get_xdata() ** 2, edges[:-1] * edges[1:])
    dashed = [line.get_ydata()[0] for line in bottom.lines if line.get_label() == "claimed"]
    assert dashed == [0.5, 0.9]
    assert top.get_xscale() == bottom.get_xscale() == "log"
    assert (top.get_ylabel(), bottom.get_xlabel()) == ("error of Teff (K)", "S/N")
    assert labels_in(top) == ["mean absolute error", "half width of 50% intervals"]
    assert sorted(labels_in(bottom)) == ["50% intervals", "90% intervals", "claimed"]


def test_numbers_along_the_signal_to_noise_ratio():
    display = SNRDisplay.from_predictions(truths(), draws(), SNR)
    display.figure_.canvas.draw()
    axis = display.axes_[1].xaxis
    low, high = display.axes_[1].get_xlim()
    shown = [
        label.get_text()
        for place, label in zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
        if low <= place <= high
    ]
    assert shown == ["2", "5", "10", "20"]


def test_edges_can_be_given():
    display = SNRDisplay.from_predictions(truths(), draws(), SNR, n_groups=[1, 10, 100])
    assert_allclose(display.position, [np.sqrt(10), np.sqrt(1000)])
    assert_array_equal(display.groups.count, [np.sum(SNR < 10), np.sum(SNR >= 10)])


def test_signal_to_noise_must_be_positive():
    snr = SNR.copy()
    snr[5] = -1.5
    with pytest.raises(ValueError, match=r"goes from -1\.5 to .* leave other spectra out"):
        SNRDisplay.from_predictions(truths(), draws(), snr)
    with pytest.raises(ValueError, match=r"values has shape \(239,\)"):
        SNRDisplay.from_predictions(truths(), draws(), snr[1:])
    groups = coverage_by_group(truths(2), draws(2), SNR)
    with pytest.raises(ValueError, match="groups are of several labels: expected those of one"):
        SNRDisplay(groups)
