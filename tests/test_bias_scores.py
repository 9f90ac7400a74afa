import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from skestnet._bias_scores import (
    FirstStage,
    TwoPopulations,
    minmax_score,
    mixture_score,
    weighted_quantiles,
)


def mixture(n_samples=500, share=0.1, mean=4.0, std=3.0, seed=0):
    """Draw from a standard normal core and wider anomalies, which come first."""
    rng = np.random.default_rng(seed)
    n_anomalies = round(share * n_samples)
    wide, core = rng.normal(mean, std, n_anomalies), rng.standard_normal(n_samples - n_anomalies)
    return np.r_[wide, core], np.arange(n_samples) < n_anomalies


def first_stage(residual, y_pred=None, snr=None):
    """Predictions that tell nothing of the residuals, unless given."""
    residual = np.reshape(residual, (len(residual), -1)).astype(float)
    if y_pred is None:
        y_pred = np.random.default_rng(99).standard_normal(residual.shape)
    log_snr = None if snr is None else np.log(snr)
    return FirstStage(residual, np.reshape(y_pred, residual.shape).astype(float), log_snr)


def score(samples, weight=None, scorer=mixture_score):
    """Judge samples of one label by themselves."""
    weight = np.ones(len(samples.residual)) if weight is None else weight
    return scorer(samples, samples, weight)[:, 0]


def random_weights(n_samples=500, seed=7):
    return np.random.default_rng(seed).uniform(0.5, 2, n_samples)


# Two populations


def plain_likelihood(populations, z, weight):
    share, core, wide = populations
    density = (1 - share) * norm.pdf(z, *core) + share * norm.pdf(z, *wide)
    return weight @ np.log(density) / weight.sum()


def directly_maximised(z, weight, start):
    """Climb the likelihood by a simplex, with neither half of EM."""

    def populations(x):
        share, core_std = 0.5 / (1 + np.exp(-x[0])), np.exp(x[2])
        return share, (x[1], core_std), (x[3], core_std + np.exp(x[4]))

    x = [np.log(start[0] / (0.5 - start[0])), start[1][0], np.log(start[1][1])]
    x += [start[2][0], np.log(start[2][1] - start[1][1])]
    accurate = {"xatol": 1e-7, "fatol": 1e-12, "maxiter": 10_000, "maxfev": 10_000}
    found = minimize(
        lambda x: -plain_likelihood(populations(x), z, weight),
        x,
        method="Nelder-Mead",
        options=accurate,
    )
    return populations(found.x)


def plain_em(z, weight, start, n_iterations):
    """Fit two populations one sample at a time."""
    share, core, wide = start
    for _ in range(n_iterations):
        sums = np.zeros((2, 3))
        for x, w in zip(z, weight, strict=True):
            parts = (1 - share) * norm.pdf(x, *core), share * norm.pdf(x, *wide)
            for k in range(2):
                sums[k] += w * parts[k] / sum(parts) * np.array([1, x, x**2])
        (n, mean, square), (n_wide, mean_wide, square_wide) = sums
        share = n_wide / (n + n_wide)
        core = mean / n, (square / n - (mean / n) ** 2) ** 0.5
        wide = mean_wide / n_wide, (square_wide / n_wide - (mean_wide / n_wide) ** 2) ** 0.5
    return share, *core, *wide


@pytest.mark.parametrize(
    ("share", "mean", "std"), [(0.1, 0, 6), (0.2, 5, 3), (0.3, 0, 3), (0.05, -10, 2)]
)
@pytest.mark.parametrize("seed", range(2))
def test_likelihood_is_as_high_as_by_direct_maximisation(share, mean, std, seed):
    z, _ = mixture(400, share, mean, std, seed)
    weight = random_weights(400)
    fitted = TwoPopulations.fit(z, weight)
    assert 1e-6 < fitted.share < 0.5
    direct = directly_maximised(z, weight, (0.1, (0.0, 0.8), (mean / 2, 2.0)))
    best = plain_likelihood(direct, z, weight)
    assert plain_likelihood(fitted, z, weight) == pytest.approx(best, abs=1e-7)
    assert_allclose(fitted.flat, np.hstack(direct), atol=2e-3)


def test_fit_is_a_fixed_point_of_plain_em():
    z, _ = mixture(150, 0.2, 6, 3)
    weight = random_weights(150)
    fitted = TwoPopulations.fit(z, weight)
    again = plain_em(z, weight, (fitted.share, fitted.core, fitted.wide), 3)
    assert_allclose(again, fitted.flat, atol=1e-5)


@pytest.mark.parametrize(("share", "mean", "std"), [(0.2, 5, 2), (0.3, 0, 5), (0.1, -8, 3)])
def test_parameters_of_a_simulated_mixture_are_recovered(share, mean, std):
    z, _ = mixture(20_000, share, mean, std)
    fitted = TwoPopulations.fit(z, np.ones(20_000))
    assert fitted.share == pytest.approx(share, abs=0.015)
    assert_allclose(fitted.core, (0, 1), atol=0.05)
    assert_allclose(fitted.wide, (mean, std), atol=0.2)


def test_weight_two_is_a_repeated_residual():
    z, _ = mixture()
    weight = np.random.default_rng(1).integers(1, 4, 500)
    fitted = TwoPopulations.fit(z, weight.astype(float))
    repeated = TwoPopulations.fit(np.repeat(z, weight), np.ones(weight.sum()))
    assert_allclose(fitted.flat, repeated.flat, rtol=1e-9)


def test_weight_zero_is_an_absent_residual():
    z, _ = mixture()
    weight = np.ones(500)
    weight[::3], z[0] = 0, 1000
    absent = TwoPopulations.fit(z[weight > 0], np.ones(np.count_nonzero(weight)))
    assert_allclose(TwoPopulations.fit(z, weight).flat, absent.flat, rtol=1e-9)


def test_order_of_the_residuals_does_not_matter():
    z, _ = mixture()
    weight, order = random_weights(), np.random.default_rng(1).permutation(500)
    permuted = TwoPopulations.fit(z[order], weight[order])
    assert_allclose(permuted.flat, TwoPopulations.fit(z, weight).flat, rtol=1e-9)


@pytest.mark.parametrize(("factor", "shift"), [(1, 5), (10, 0), (-1, 0), (-3, -2)])
def test_populations_follow_a_shift_and_a_scale(factor, shift):
    z, _ = mixture()
    weight = random_weights()
    fitted, moved = TwoPopulations.fit(z, weight), TwoPopulations.fit(factor * z + shift, weight)
    to = np.array([factor, abs(factor)]), np.array([shift, 0])
    assert moved.share == pytest.approx(fitted.share, abs=1e-5)
    assert_allclose(moved.core, fitted.core * to[0] + to[1], atol=1e-3)
    assert_allclose(moved.wide, fitted.wide * to[0] + to[1], atol=1e-3)
    probability = moved.probability_of_anomaly(factor * z + shift)
    assert_allclose(probability, fitted.probability_of_anomaly(z), atol=1e-4)


@pytest.mark.parametrize("n_samples", [20, 100, 1000])
def test_normal_residuals_are_one_population(n_samples):
    fits = [
        TwoPopulations.fit(mixture(n_samples, 0, seed=seed)[0], np.ones(n_samples))
        for seed in range(20)
    ]
    assert sum(fit.share > 1e-6 for fit in fits) <= 2
    z, _ = mixture(n_samples, 0.2, 8, 1)
    assert TwoPopulations.fit(z, np.ones(n_samples)).share == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("n_samples", [1, 2, 50])
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_equal_residuals_hold_no_anomaly(n_samples, value):
    z = np.full(n_samples, value)
    fitted = TwoPopulations.fit(z, np.ones(n_samples))
    assert np.isfinite(fitted.flat).all()
    assert fitted.probability_of_anomaly(z).max() < 1e-4
    assert fitted.probability_of_anomaly(np.array([value + 1]))[0] > 0.99


def test_probability_is_that_of_bayes():
    populations = TwoPopulations(0.2, (0.5, 1.0), (3.0, 4.0))
    z = np.linspace(-4, 4, 20)
    core = 0.8 * norm.pdf(z, 0.5, 1)
    # ... with a background of 1e-4 as wide as ten cores, whose share the core's does not pay.
    wide = 0.2 * norm.pdf(z, 3, 4) + 1e-4 * norm.pdf(z, 0.5, 10)
    assert_allclose(populations.probability_of_anomaly(z), wide / (core + wide), rtol=1e-12)


@pytest.mark.parametrize("z", [-6.0, 6.0, -1e6, 1e6])
def test_residual_of_six_core_widths_is_an_anomaly_on_either_side(z):
    one_sided = TwoPopulations(0.1, (0.0, 1.0), (20.0, 1.5))
    none = TwoPopulations(1e-12, (0.0, 1.0), (0.0, 1.0))
    for populations in (one_sided, none):
        low, high = populations.probability_of_anomaly(np.array([1.0, z]))
        assert low < 0.01
        assert high > 0.99


# The score


@pytest.mark.parametrize("n_samples", [40, 100, 300, 1000])
def test_clean_normal_residuals_are_normal(n_samples):
    for seed in range(5):
        beta = score(first_stage(mixture(n_samples, 0, seed=seed)[0]))
        assert np.median(beta) < 0.01
        assert beta.mean() < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_one_sided_anomalies_are_found(seed):
    residual, anomalous = mixture(600, 0.2, 8, 1, seed)
    beta = score(first_stage(residual))
    assert roc_auc_score(anomalous, beta) > 0.99
    assert beta[anomalous].min() > 0.5
    assert np.mean(beta[~anomalous] < 0.1) > 0.95


@pytest.mark.parametrize("seed", range(3))
def test_two_sided_anomalies_are_found(seed):
    residual, anomalous = mixture(600, 0.2, 0, 6, seed)
    beta = score(first_stage(residual))
    # Some of them are as small as usual residuals: no score can find those.
    best = roc_auc_score(anomalous, np.abs(residual))
    assert roc_auc_score(anomalous, beta) > best - 0.02 > 0.8
    assert np.median(beta[anomalous]) > 0.9
    assert np.mean(beta[~anomalous] < 0.2) > 0.9


@pytest.mark.parametrize("n_samples", [60, 600])
def test_one_extreme_residual_does_not_make_others_look_normal(n_samples):
    residual, _ = mixture(n_samples, 0)
    residual[:3] = -8, 8, 9
    extreme = residual.copy()
    extreme[3] = 1e4
    assert score(first_stage(extreme))[:4].min() > 0.9
    assert np.median(score(first_stage(extreme))) < 0.05
    assert score(first_stage(residual), scorer=minmax_score)[:3].min() > 0.85
    assert score(first_stage(extreme), scorer=minmax_score)[:3].max() < 0.01


@pytest.mark.parametrize("seed", range(3))
def test_residuals_are_judged_by_their_size_at_the_same_prediction(seed):
    rng = np.random.default_rng(seed)
    y_pred = rng.uniform(-2, 2, 1000)
    size = np.where(y_pred > 0, 1.0, 0.1)
    residual, anomalous = size * rng.standard_normal(1000), np.arange(1000) % 20 == 0
    residual[anomalous] = 8 * size[anomalous] * rng.choice([-1, 1], 50)
    beta = score(first_stage(residual, y_pred))
    assert roc_auc_score(anomalous, beta) > 0.99
    assert np.median(beta[~anomalous]) < 0.05
    for blind in (
        score(first_stage(residual)),
        score(first_stage(residual, y_pred), None, minmax_score),
    ):
        assert roc_auc_score(anomalous, blind) < 0.95


@pytest.mark.parametrize("seed", range(3))
def test_residuals_are_judged_by_their_size_at_the_same_snr(seed):
    rng = np.random.default_rng(seed)
    snr = np.exp(rng.uniform(0, 4, 1000))
    residual, anomalous = rng.standard_normal(1000) / snr, np.arange(1000) % 20 == 0
    residual[anomalous] = 8 / snr[anomalous]
    beta = score(first_stage(residual, snr=snr))
    assert roc_auc_score(anomalous, beta) > 0.99
    assert roc_auc_score(anomalous, score(first_stage(residual))) < 0.95
    same = first_stage([0.5, 0.5], np.zeros(2), [2.0, 50.0])
    low, high = mixture_score(same, first_stage(residual, snr=snr), np.ones(1000))[:, 0]
    assert low < 0.1
    assert high > 0.9


def test_median_of_the_residuals_may_depend_on_the_prediction():
    rng = np.random.default_rng(0)
    y_pred = rng.uniform(-2, 2, 1000)
    offset = np.where(y_pred > 0, 3.0, -3.0)  # a first stage that is biased
    residual = offset + 0.3 * rng.standard_normal(1000)
    residual[:2], y_pred[:2] = 3, (1, -1)
    usual, unusual = score(first_stage(residual, y_pred))[:2]
    assert usual < 0.1
    assert unusual > 0.9


def test_new_samples_are_judged_by_the_training_set():
    train, new = first_stage(mixture(seed=0)[0]), first_stage(mixture(seed=1)[0])
    together = mixture_score(new, train, np.ones(500))
    alone = [
        mixture_score(FirstStage(r[None], p[None], None), train, np.ones(500))[0]
        for r, p in zip(new.residual[:5], new.y_pred[:5], strict=True)
    ]
    assert_allclose(alone, together[:5], rtol=1e-12)
    assert_array_equal(mixture_score(train, train, np.ones(500))[:, 0], score(train))


def test_each_label_is_judged_by_itself():
    both = first_stage(np.column_stack([mixture(seed=0)[0], mixture(share=0.3, seed=1)[0]]))
    beta = mixture_score(both, both, random_weights())
    for k in range(2):
        alone = first_stage(both.residual[:, k], both.y_pred[:, k])
        assert_array_equal(beta[:, k], score(alone, random_weights()))


@pytest.mark.parametrize("n_samples", [80, 600])
def test_score_follows_the_samples(n_samples):
    samples = first_stage(mixture(n_samples)[0], snr=random_weights(n_samples, seed=1))
    weight = random_weights(n_samples)
    order = np.random.default_rng(1).permutation(n_samples)
    permuted = FirstStage(*[part[order] for part in samples])
    assert_allclose(score(permuted, weight[order]), score(samples, weight)[order], atol=1e-6)


@pytest.mark.parametrize(("factor", "shift"), [(1024, 0), (1, 16), (-1, 0), (-4, 2)])
def test_unit_and_sign_of_the_residuals_do_not_matter(factor, shift):
    # An odd number of samples of equal weight, too few for the local scale to vary, so that no
    # median lies between two of them.
    residual, _ = mixture(99)
    samples = first_stage(residual)
    moved = first_stage(factor * residual + shift, samples.y_pred)
    assert_allclose(score(moved), score(samples), atol=1e-5)


def test_weight_two_scores_like_a_repeated_sample():
    # Few enough for the local scale to be constant also where they are repeated.
    residual, y_pred = mixture(60)[0], np.zeros(60)
    weight = np.random.default_rng(1).integers(1, 4, 60)
    repeated = first_stage(np.repeat(residual, weight), np.zeros(weight.sum()))
    beta = mixture_score(first_stage(residual, y_pred), repeated, np.ones(weight.sum()))[:, 0]
    assert_allclose(score(first_stage(residual, y_pred), weight.astype(float)), beta, atol=1e-9)


@pytest.mark.parametrize("residual", [np.zeros(50), np.full(50, 2.0), np.zeros(1)])
def test_equal_residuals_score_nothing(residual):
    samples = first_stage(residual)
    assert score(samples).max() < 1e-4
    assert_array_equal(score(samples, scorer=minmax_score), np.zeros(len(residual)))


def test_residuals_next_to_many_exact_ones():
    residual = np.zeros(100)
    residual[:2] = 0.1, 3
    beta = score(first_stage(residual))
    assert beta[1] > 0.99
    assert beta[2:].max() < 1e-3


# Weighted quantiles

LEVELS = (0.02, 0.25, 0.5, 0.75, 0.98)


@pytest.mark.parametrize("n_samples", [1, 2, 5, 40])
def test_weighted_quantiles_are_those_of_repeated_values(n_samples):
    rng = np.random.default_rng(n_samples)
    for _ in range(50):
        values = rng.integers(0, 9, n_samples) / 4
        weight = rng.integers(0, 4, n_samples)
        weight[0] += 1
        expected = np.quantile(np.repeat(values, weight), LEVELS, method="averaged_inverted_cdf")
        assert_allclose(weighted_quantiles(values, weight.astype(float), LEVELS), expected)


def plain_quantile(values, weight, level):
    """Add weights, from the smallest value on, until the level is passed."""
    reached, wanted = 0.0, level * sum(weight)
    for value, w in sorted(zip(values, weight, strict=True)):
        reached += w
        if reached > wanted:
            return value
    raise AssertionError


def test_weighted_quantiles_of_any_weights():
    values, weight = np.random.default_rng(0).standard_normal(101), random_weights(101)
    expected = [plain_quantile(values, weight, level) for level in LEVELS]
    assert_array_equal(weighted_quantiles(values, weight, LEVELS), expected)
    assert_array_equal(weighted_quantiles(values, 8 * weight, LEVELS), expected)


def test_weighted_median_between_two_values():
    values = np.array([4.0, 1.0, 3.0, 2.0])
    assert weighted_quantiles(values, np.ones(4), (0.5,)) == 2.5
    assert weighted_quantiles(values, np.array([1.0, 1, 0, 1]), (0.5,)) == 2
    assert weighted_quantiles(values, np.array([1.0, 1, 0, 0]), (0.5,)) == 2.5
