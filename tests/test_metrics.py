import builtins
import pickle

import numpy as np
import pytest
import scoringrules
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import chi2, kstest, multivariate_normal, norm
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import BayesianRidge, LinearRegression
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate

from skestnet import PredictiveDistribution
from skestnet.metrics import (
    calibration_error,
    coverage_by_group,
    coverage_scorer,
    crps,
    crps_scorer,
    energy_score,
    interval_coverage,
    log_score,
    mean_interval_width,
    pit,
    region_coverage,
)

SCORES = [crps, log_score]
OF_LABELS = [crps, log_score, interval_coverage, calibration_error]
WITH_Y = [*OF_LABELS, energy_score, region_coverage]


def normal_case(n_samples=3000, width=1.0, shift=0.0, n_outputs=None, seed=0):
    """Labels drawn from normal distributions, and distributions `width` times as wide."""
    shape = (n_samples,) + (() if n_outputs is None else (n_outputs,))
    rng = np.random.default_rng(seed)
    loc, scale = rng.normal(8, 2, shape), rng.uniform(0.5, 2, shape)
    y = rng.normal(loc, scale)
    loc = loc + shift * scale
    return y, PredictiveDistribution(loc[:, None], width * scale[:, None])


def mixture_case(n_samples=50, n_draws=7, seed=0):
    rng = np.random.default_rng(seed)
    loc = rng.normal(8, 1, (n_samples, n_draws))
    return rng.normal(8, 2, n_samples), PredictiveDistribution(loc, rng.uniform(0.1, 1, loc.shape))


# Scores against other libraries and the literature


@pytest.mark.parametrize("kind", ["draws", "normal", "mixture"])
def test_crps_against_scoringrules(kind):
    y, dist = mixture_case(n_draws=1 if kind == "normal" else 7)
    loc, scale = dist.loc, dist.scale
    if kind == "draws":
        dist, expected = PredictiveDistribution(loc), scoringrules.crps_ensemble(y, loc)
    elif kind == "normal":
        expected = scoringrules.crps_normal(y, loc[:, 0], scale[:, 0])
    else:
        expected = scoringrules.crps_mixnorm(y, loc, scale)
    assert crps(y, dist) == pytest.approx(expected.mean(), rel=1e-9)


def test_log_score_against_scoringrules():
    y, dist = mixture_case()
    expected = scoringrules.logs_mixnorm(y, dist.loc, dist.scale)
    assert log_score(y, dist) == pytest.approx(expected.mean(), rel=1e-9)


def test_values_of_gneiting_and_raftery():
    # Eq. 21 at z = 0, where it is sigma (sqrt(2) - 1) / sqrt(pi); logarithmic score, section 4.1.
    dist = PredictiveDistribution([[3.0]], 2.0)
    assert crps([3.0], dist) == pytest.approx(2 * (2**0.5 - 1) / np.pi**0.5)
    assert log_score([3.0], dist) == pytest.approx(np.log(2 * (2 * np.pi) ** 0.5))
    # Expected scores of the true distribution: half of E|Y - Y'|, and the entropy.
    y, dist = normal_case(20_000)
    unit = dist.scale.mean()
    assert crps(y, dist) == pytest.approx(unit / np.pi**0.5, rel=0.02)
    entropy = 0.5 * np.log(2 * np.pi * np.e * dist.scale**2).mean()
    assert log_score(y, dist) == pytest.approx(entropy, abs=0.03)


def test_crps_of_points_is_the_mean_absolute_error():
    y, dist = normal_case(20, n_outputs=2)
    points = PredictiveDistribution(dist.loc)
    for how in ("uniform_average", "raw_values", [1.0, 3.0]):
        expected = mean_absolute_error(y, dist.loc[:, 0], multioutput=how)
        assert_allclose(crps(y, points, multioutput=how), expected)


WRONG = [(1.0, 0.5), (1.0, -0.5), (0.5, 0.0), (2.0, 0.0)]  # width, shift


@pytest.mark.parametrize("score", [*SCORES, energy_score])
@pytest.mark.parametrize("wrong", WRONG)
def test_scores_are_proper(score, wrong):
    y, honest = normal_case(500)
    _, other = normal_case(500, *wrong)
    options = {"n_draws": 50} if score is energy_score else {}
    assert score(y, honest, **options) < score(y, other, **options)


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(1e-3, 1e3), offset=st.floats(-1e3, 1e3))
def test_change_of_units(factor, offset):
    y, dist = mixture_case()
    other, changed = factor * y + offset, dist.rescale(factor, offset)
    assert crps(other, changed) == pytest.approx(factor * crps(y, dist), rel=1e-6)
    assert log_score(other, changed) == pytest.approx(log_score(y, dist) + np.log(factor), abs=1e-6)
    assert_allclose(pit(other, changed), pit(y, dist), atol=1e-6)


def test_log_score_of_points():
    points = PredictiveDistribution([[8.0], [8.5]])
    assert log_score([8.1, 8.6], points) == np.inf
    assert log_score([8.1, 8.6], points, sample_weight=[1, 0]) == np.inf
    with pytest.raises(ValueError, match=r"infinite at 1 label.*Use crps"):
        log_score([8.0, 8.6], points)


def test_weight_zero_leaves_out_an_infinite_score():
    dist = PredictiveDistribution([[8.0], [8.5]], [[0.0], [1.0]])
    assert log_score([7.0, 8.5], dist, sample_weight=[0, 1]) == pytest.approx(-norm.logpdf(0))


# Energy score


def test_energy_score_against_a_double_loop():
    rng = np.random.default_rng(0)
    y, loc = rng.normal(size=(4, 2)) * [1000, 0.1], rng.normal(size=(4, 6, 2)) * [1000, 0.1]
    a, b = y / y.std(axis=0), loc / y.std(axis=0)
    expected = [
        np.mean([np.linalg.norm(draw - truth) for draw in draws])
        - np.mean([np.linalg.norm(d - e) for d in draws for e in draws]) / 2
        for truth, draws in zip(a, b, strict=True)
    ]
    dist, weight = PredictiveDistribution(loc), [1, 2, 0, 1]
    assert energy_score(y, dist, n_draws=6) == pytest.approx(np.mean(expected))
    value = energy_score(y, dist, n_draws=6, sample_weight=weight)
    assert value == pytest.approx(np.average(expected, weights=weight))


def test_energy_score_of_one_label_is_the_crps():
    y, dist = normal_case(40)
    assert energy_score(y, dist) == pytest.approx(crps(y, dist) / y.std(), rel=2e-3)


def test_energy_score_is_repeatable_free_of_units_and_of_blocks(monkeypatch):
    y, dist = normal_case(30, n_outputs=2)
    value = energy_score(y, dist, n_draws=20)
    assert energy_score(y, dist, n_draws=20) == value
    factor = np.array([1000.0, 0.1])
    assert energy_score(factor * y, dist.rescale(factor), n_draws=20) == pytest.approx(value)
    monkeypatch.setattr("skestnet.metrics._scores.MAX_DIFFERENCES", 3000)
    assert energy_score(y, dist, n_draws=20) == pytest.approx(value, rel=1e-12)


def correlated_case(n_samples=2000, predicted=0.9):
    rng = np.random.default_rng(0)
    y = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], n_samples)
    loc = np.zeros((n_samples, 1, 2))
    return y, PredictiveDistribution(loc, 1.0, [[1, predicted], [predicted, 1]])


def test_energy_score_sees_correlation_and_crps_does_not():
    y, right = correlated_case(500)
    for predicted in (-0.9, 0.0):
        _, wrong = correlated_case(500, predicted)
        assert crps(y, right) == crps(y, wrong)
        assert energy_score(y, right, n_draws=50) < energy_score(y, wrong, n_draws=50) - 0.01


def test_energy_score_without_scoringrules(monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name == "scoringrules":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError, match=r'pip install "skestnet\[uncertainty\]"'):
        energy_score(*normal_case(5))


def test_bad_energy_scores():
    with pytest.raises(ValueError, match="n_draws=0: expected at least 1"):
        energy_score(*normal_case(5), n_draws=0)
    y, dist = normal_case(5, n_outputs=2)
    y[:, 1] = 8.1
    with pytest.raises(ValueError, match="same value in all samples"):
        energy_score(y, dist)


# Coverage and calibration, with the control: a distribution that is too narrow must fail

CHECKS = {
    "interval": lambda y, dist: sigmas(interval_coverage(y, dist, 0.68), 0.68, len(y)),
    "interval of 0.95": lambda y, dist: sigmas(interval_coverage(y, dist, 0.95), 0.95, len(y)),
    "region": lambda y, dist: sigmas(region_coverage(y, dist, 0.68), 0.68, len(y)),
    "calibration": lambda y, dist: calibration_error(y, dist) * len(y) ** 0.5 / 0.2,
    "pit": lambda y, dist: -np.log10(kstest(pit(y, dist), "uniform").pvalue),
}


def sigmas(share, level, n_samples):
    return abs(share - level) / (level * (1 - level) / n_samples) ** 0.5


@pytest.mark.parametrize("check", CHECKS)
def test_an_honest_distribution_passes(check):
    assert CHECKS[check](*normal_case()) < 3


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("width", [0.4, 2.5])
def test_a_dishonest_distribution_fails(check, width):
    assert CHECKS[check](*normal_case(width=width)) > 12


def test_coverage_against_the_normal_distribution():
    y, dist = normal_case(width=0.5)
    inside = 2 * norm.cdf(0.5 * norm.ppf(0.84)) - 1
    assert sigmas(interval_coverage(y, dist, 0.68), inside, len(y)) < 3
    low, high = norm(dist.loc[:, 0], dist.scale[:, 0]).interval(0.9)
    expected = ((y >= low) & (y <= high)).mean()
    assert interval_coverage(y, dist, 0.9) == pytest.approx(expected)
    assert mean_interval_width(dist, 0.9) == pytest.approx((high - low).mean())


def test_bounds_are_inside():
    dist = PredictiveDistribution([[7.0, 8.0, 9.0]] * 4)
    y = [7.0, 9.0, 6.999, 9.001]
    assert interval_coverage(y, dist, 1.0) == 0.5
    assert mean_interval_width(dist, 1.0) == 2


def test_coverage_of_draws_is_what_the_notes_say():
    rng = np.random.default_rng(0)
    y, draws = rng.standard_normal(20_000), rng.standard_normal((20_000, 11))
    share = interval_coverage(y, PredictiveDistribution(draws), 0.8)
    assert sigmas(share, 0.8 * 10 / 12, 20_000) < 3


@pytest.mark.parametrize("predicted", [0.9, 0.0, -0.9])
def test_region_coverage_of_correlated_labels(predicted):
    y, dist = correlated_case(500, predicted)
    density = multivariate_normal([0, 0], [[1, predicted], [predicted, 1]])
    inside = density.logpdf(y) >= density.logpdf([0, 0]) - chi2.ppf(0.68, 2) / 2
    assert region_coverage(y, dist, 0.68) == pytest.approx(inside.mean(), abs=0.01)
    # A correlation of the wrong sign fails; a missing one hardly shows in the share.
    assert (sigmas(inside.mean(), 0.68, 500) < 3) == (predicted >= 0)


def test_pit_of_normal_distributions():
    y, dist = normal_case(6, n_outputs=2)
    assert_allclose(pit(y, dist), norm.cdf(y, dist.loc[:, 0], dist.scale[:, 0]))


@pytest.mark.parametrize("levels", [None, [0.1, 0.5, 0.8]])
def test_calibration_error_against_quantiles(levels):
    y, dist = mixture_case()
    used = np.linspace(0.05, 0.95, 19) if levels is None else levels
    expected = np.mean([abs((y <= dist.ppf(level)).mean() - level) for level in used])
    assert calibration_error(y, dist, levels=levels) == pytest.approx(expected)


def test_calibration_error_by_chance_is_what_the_notes_say():
    rng = np.random.default_rng(0)
    dist = PredictiveDistribution(np.zeros((100, 1)), 1.0)
    errors = 10 * np.array([calibration_error(rng.standard_normal(100), dist) for _ in range(400)])
    assert errors.mean() == pytest.approx(0.33, abs=0.03)
    assert np.quantile(errors, 0.95) == pytest.approx(0.62, abs=0.08)


def test_calibration_error_of_few_draws_is_what_the_notes_say():
    rng = np.random.default_rng(0)
    y, draws = rng.standard_normal(20_000), rng.standard_normal((20_000, 20))
    assert calibration_error(y, PredictiveDistribution(draws)) == pytest.approx(0.5 / 20, abs=0.01)


def test_levels_that_are_shares_of_the_draws():
    dist = PredictiveDistribution(np.tile(np.arange(20.0), (20, 1)))
    # Shares of the draws up to the labels are 1/20, 2/20, ...: as many labels are below each level.
    assert calibration_error(np.arange(20.0), dist) == pytest.approx(0, abs=1e-12)


# Averages


@pytest.mark.parametrize("metric", OF_LABELS)
def test_averages_over_labels(metric):
    y, dist = normal_case(30, n_outputs=2)
    each = [metric(y[:, k], dist.output(k)) for k in range(2)]
    assert isinstance(metric(y, dist), float)
    assert metric(y, dist) == pytest.approx(np.mean(each))
    assert_allclose(metric(y, dist, multioutput="raw_values"), each)
    assert metric(y, dist, multioutput=[3, 1]) == pytest.approx(0.75 * each[0] + 0.25 * each[1])
    assert metric(y[:, 0], dist.output(0), multioutput="raw_values").shape == (1,)


def test_mean_width_of_two_labels():
    dist = PredictiveDistribution(np.zeros((3, 1, 2)), [1.0, 10.0])
    widths = np.array([2, 20]) * norm.ppf(0.9)
    assert_allclose(mean_interval_width(dist, 0.8, multioutput="raw_values"), widths)
    assert mean_interval_width(dist, 0.8) == pytest.approx(widths.mean())
    wider = PredictiveDistribution(np.zeros((2, 1)), [[1.0], [3.0]])
    value = mean_interval_width(wider, 0.8, sample_weight=[1, 3])
    assert value == pytest.approx(2.5 * widths[0])


@pytest.mark.parametrize("metric", [*OF_LABELS, region_coverage])
def test_weight_two_is_a_repeated_sample(metric):
    y, dist = normal_case(30)
    weight = np.arange(30) % 3
    rows = np.repeat(np.arange(30), weight)
    assert metric(y, dist, sample_weight=weight) == pytest.approx(metric(y[rows], dist[rows]))


@pytest.mark.parametrize("how", ["raw", [1, 1, 1], [0, 0], [-1, 2], 1.0])
def test_bad_multioutput(how):
    with pytest.raises(ValueError, match=r"multioutput=.*for 2 label"):
        crps(*normal_case(5, n_outputs=2), multioutput=how)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1, 2], "sample_weight"),
        ([1, -1, 1], "egative"),
        ([0, 0, 0], "zero"),
        ([1, 1, np.nan], "NaN"),
    ],
)
def test_bad_weights(weight, message):
    with pytest.raises(ValueError, match=message):
        crps(*normal_case(3), sample_weight=weight)


# Checks of the labels


@pytest.mark.parametrize("metric", [*WITH_Y, pit])
def test_a_single_label_may_be_a_column(metric):
    y, dist = normal_case(20)
    column = PredictiveDistribution(dist.loc[..., None], dist.scale[..., None])
    assert_array_equal(metric(y[:, None], dist), metric(y, dist))
    assert_array_equal(np.ravel(metric(y, column)), np.ravel(metric(y, dist)))
    assert np.shape(pit(y[:, None], dist)) == (20,)


@pytest.mark.parametrize("metric", [*WITH_Y, pit])
@pytest.mark.parametrize("shape", [(), (1,), (4, 2), (5, 1), (5, 2, 1), (2, 5)])
def test_labels_of_another_shape(metric, shape):
    _, dist = normal_case(5, n_outputs=2)
    with pytest.raises(
        ValueError, match=r"y_true has shape .* and dist \(5, 2\): expected the same"
    ):
        metric(np.zeros(shape), dist)


@pytest.mark.parametrize("metric", [*WITH_Y, pit])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_labels_that_are_not_finite(metric, value):
    y, dist = normal_case(5, n_outputs=2)
    y[3, 1] = value
    with pytest.raises(ValueError, match="in 1 of 5 samples, the first in row 3"):
        metric(y, dist)


@pytest.mark.parametrize("metric", [*WITH_Y, pit])
def test_predictions_in_place_of_distributions(metric):
    with pytest.raises(TypeError, match=r"ndarray: expected a skestnet.PredictiveDistribution"):
        metric(np.zeros(3), np.zeros(3))


def test_width_of_no_distribution():
    with pytest.raises(TypeError, match="PredictiveDistribution"):
        mean_interval_width(np.zeros(3))
    with pytest.raises(ValueError, match=r"shape \(0,\): expected at least one sample"):
        mean_interval_width(PredictiveDistribution(np.zeros((0, 1))))


def test_no_samples():
    with pytest.raises(ValueError, match=r"shape \(0,\): expected at least one sample"):
        crps([], PredictiveDistribution(np.zeros((0, 1))))


@pytest.mark.parametrize("levels", [[], 0.5, [0, 0.5], [1.2], [np.nan]])
def test_bad_levels(levels):
    with pytest.raises(ValueError, match=r"levels=.*probabilities between 0 and 1"):
        calibration_error(*normal_case(3), levels=levels)


# Groups


@pytest.mark.parametrize("n_outputs", [None, 2])
def test_groups_against_a_loop(n_outputs):
    y, dist = normal_case(40, n_outputs=n_outputs)
    snr = np.random.default_rng(1).permutation(40) + 1.0
    table = coverage_by_group(y, dist, snr, n_groups=3)
    labels = () if n_outputs is None else (2,)
    assert_allclose(table.edges, [1, 14, 27, 40])
    assert_array_equal(table.count, [13, 13, 14])
    assert_array_equal(table.confidence, [0.5, 0.68, 0.9, 0.95])
    assert (
        table.coverage.shape == table.width.shape == table.standard_error.shape == (3, 4, *labels)
    )
    for g, (low, high) in enumerate([(0, 14), (14, 27), (27, 99)]):
        rows = (snr >= low) & (snr < high)
        truth, part = y[rows], dist[rows]
        scores = crps(truth, part, multioutput="raw_values")
        assert_allclose(np.ravel(table.crps[g]), scores)
        error = mean_absolute_error(truth, part.loc[:, 0], multioutput="raw_values")
        assert_allclose(np.ravel(table.mean_absolute_error[g]), error)
        for c, level in enumerate(table.confidence):
            share = interval_coverage(truth, part, level, multioutput="raw_values")
            width = mean_interval_width(part, level, multioutput="raw_values")
            assert_allclose(np.ravel(table.coverage[g, c]), share)
            assert_allclose(np.ravel(table.width[g, c]), width)


def test_standard_error_is_binomial():
    y, dist = normal_case(5000)
    table = coverage_by_group(y, dist, np.arange(5000), n_groups=50)
    # 100 samples each: the scatter of the groups is the standard error.
    assert_allclose(table.coverage.std(axis=0), table.standard_error.mean(axis=0), rtol=0.3)
    sure = coverage_by_group(y[:4], dist.rescale()[:4], np.arange(4), confidence=1.0, n_groups=1)
    assert sure.coverage == 1
    assert sure.standard_error == pytest.approx((0.75 * 0.25 / 8) ** 0.5)  # 6 of 8 inside


def test_groups_show_what_the_mean_hides():
    rng = np.random.default_rng(0)
    snr = rng.uniform(2, 20, 4000)
    y = rng.standard_normal(4000) / snr
    constant = PredictiveDistribution(np.zeros((4000, 1)), np.quantile(np.abs(y), 0.68))
    assert interval_coverage(y, constant, 0.68) == pytest.approx(0.68, abs=0.01)
    table = coverage_by_group(y, constant, snr)
    sigma = (table.coverage - table.confidence[:, None].T) / table.standard_error
    assert sigma[0, 1] < -15
    assert sigma[-1, 1] > 15
    honest = PredictiveDistribution(np.zeros((4000, 1)), 1 / snr[:, None])
    table = coverage_by_group(y, honest, snr)
    assert (np.abs(table.coverage - table.confidence) < 3.5 * table.standard_error).all()


def test_given_edges():
    y, dist = normal_case(6)
    values = [1, 2, 3, 3, 4, 5]
    table = coverage_by_group(y, dist, values, n_groups=[-np.inf, 1, 3, 5], confidence=0.5)
    assert_array_equal(table.count, [0, 2, 4])  # inner edges open a group, the last one closes it
    assert table.coverage.shape == (3, 1)
    for name in ("coverage", "standard_error", "width", "crps", "mean_absolute_error"):
        assert_array_equal(np.isnan(table[name]).reshape(3, -1).any(axis=1), [True, False, False])


def test_one_group_of_equal_values():
    y, dist = normal_case(5)
    table = coverage_by_group(y, dist, np.ones(5), n_groups=1)
    assert_array_equal(table.count, [5])
    assert table.crps == pytest.approx([crps(y, dist)])


@pytest.mark.parametrize(
    ("values", "n_groups", "message"),
    [
        ([1, 1, 1, 1, 2], 4, "parted into 4 groups .* since 1 occurs too often"),
        ([1, 1, 1, 1, 1], 2, "since 1 occurs too often"),
        ([1, 2, 3, 4, 9], [0, 2, 5], r"1 of 5 values, which range from 1 to 9.*edges 0 to 5"),
        ([1, 2, 3, 4, 5], [0, 3, 3, 6], "increasing edges"),
        ([1, 2, 3, 4, 5], [3], "increasing edges"),
        ([1, 2, 3, 4, 5], 0, "n_groups=0: expected a whole number from 1 to .* 5"),
        ([1, 2, 3, 4, 5], 6, "n_groups=6"),
        ([1, 2, 3, 4, 5], 2.0, r"n_groups=2\.0"),
        ([1, 2, 3, 4, np.nan], 2, "values holds 1 NaN or infinite"),
        ([1, 2, 3], 2, r"values has shape \(3,\): expected \(5,\)"),
    ],
)
def test_bad_groups(values, n_groups, message):
    with pytest.raises(ValueError, match=message):
        coverage_by_group(*normal_case(5), values, n_groups=n_groups)


@pytest.mark.parametrize("confidence", [[], [[0.5]], 1.5, [0.5, np.nan]])
def test_bad_confidence(confidence):
    y, dist = normal_case(5)
    with pytest.raises(ValueError, match=r"confidence=.*probability|probabilities"):
        coverage_by_group(y, dist, np.arange(5), confidence=confidence)


# Scorers


class NormalRegressor(RegressorMixin, BaseEstimator):
    """Distributions about the mean label, `width` times as wide as that of the labels."""

    def __init__(self, width=1.0):
        self.width = width

    def fit(self, X, y):  # noqa: ARG002
        self.loc_, self.scale_ = y.mean(axis=0), y.std(axis=0)
        return self

    def predict(self, X):
        return np.repeat(self.loc_[None], len(X), axis=0)

    def predict_dist(self, X):
        return PredictiveDistribution(self.predict(X)[:, None], self.width * self.scale_)


@pytest.fixture
def labels():
    rng = np.random.default_rng(0)
    return np.arange(400.0)[:, None], rng.normal([10_000, 8], [3000, 0.3], (400, 2))


def test_crps_scorer_of_one_label(labels):
    X, y = labels
    model = NormalRegressor().fit(X, y[:, 0])
    assert crps_scorer(model, X, y[:, 0]) == pytest.approx(-crps(y[:, 0], model.predict_dist(X)))
    ridge = BayesianRidge().fit(X, y[:, 1])
    mean, std = ridge.predict(X, return_std=True)
    expected = PredictiveDistribution(mean[:, None], std[:, None])
    assert crps_scorer(ridge, X, y[:, 1]) == pytest.approx(-crps(y[:, 1], expected))


def test_crps_scorer_of_two_labels_is_free_of_units(labels):
    X, y = labels
    model = NormalRegressor().fit(X, y)
    dist = model.predict_dist(X)
    expected = [crps(y[:, k], dist.output(k)) / y[:, k].std() for k in range(2)]
    assert crps_scorer(model, X, y) == pytest.approx(-np.mean(expected))
    other = y * [0.001, 50]
    assert crps_scorer(NormalRegressor().fit(X, other), X, other) == pytest.approx(
        crps_scorer(model, X, y)
    )


def test_coverage_scorer(labels):
    X, y = labels
    model = NormalRegressor(0.5).fit(X, y)
    coverage = interval_coverage(y, model.predict_dist(X), 0.9, multioutput="raw_values")
    assert coverage_scorer(0.9)(model, X, y) == pytest.approx(-np.mean(np.abs(coverage - 0.9)))
    # One label too wide and one too narrow do not make up for each other.
    dist_scale = model.scale_.copy()
    model.scale_ = dist_scale * [10, 0.1]
    assert coverage_scorer(0.5)(model, X, y) < -0.4


@pytest.mark.parametrize("scoring", [crps_scorer, coverage_scorer(0.68)])
def test_grid_search_finds_the_honest_width(labels, scoring):
    X, y = labels
    search = GridSearchCV(NormalRegressor(), {"width": [0.3, 1.0, 3.0]}, scoring=scoring, cv=3)
    assert search.fit(X, y).best_params_ == {"width": 1.0}
    assert search.score(X, y) == pytest.approx(scoring(search.best_estimator_, X, y))


def test_several_scorers_at_once(labels):
    X, y = labels
    scoring = {"crps": crps_scorer, "coverage": coverage_scorer(0.9), "r2": "r2"}
    scores = cross_validate(NormalRegressor(), X, y, scoring=scoring, cv=4)
    for name in ("crps", "coverage"):
        expected = cross_val_score(NormalRegressor(), X, y, scoring=scoring[name], cv=4)
        assert_array_equal(scores[f"test_{name}"], expected)
    search = GridSearchCV(
        NormalRegressor(), {"width": [0.3, 1.0]}, scoring=scoring, refit="crps", cv=3
    )
    assert search.fit(X, y).best_params_ == {"width": 1.0}


def test_scorers_can_be_pickled_and_name_themselves(labels):
    X, y = labels
    model = NormalRegressor(0.7).fit(X, y)
    for scorer in (crps_scorer, coverage_scorer(level=0.9)):
        assert pickle.loads(pickle.dumps(scorer))(model, X, y) == scorer(model, X, y)
    assert repr(coverage_scorer(0.9)) == "coverage_scorer(level=0.9)"
    assert coverage_scorer(0.9) == coverage_scorer(0.9) != coverage_scorer()
    assert "crps_scorer" in repr(crps_scorer)


def test_scorers_of_a_gaussian_process():
    X = np.linspace(0, 1, 12)[:, None]
    y = np.column_stack([np.sin(5 * X.ravel()), X.ravel() ** 2])
    model = GaussianProcessRegressor(alpha=1e-3, optimizer=None).fit(X, y)
    assert -0.1 < crps_scorer(model, X, y) < 0


def test_bad_scorers(labels):
    X, y = labels
    with pytest.raises(ValueError, match=r"level=1: expected a probability in \(0, 1\)"):
        coverage_scorer(1)
    model = NormalRegressor().fit(X, y)
    with pytest.raises(ValueError, match="same value in all samples"):
        crps_scorer(model, X[:1], y[:1])
    with pytest.raises(TypeError, match="LinearRegression gives no distributions"):
        crps_scorer(LinearRegression().fit(X, y), X, y)
