import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.stats import ecdf, gaussian_kde, norm

from skestnet import PredictiveDistribution


def draws(n_samples=4, n_draws=30, n_outputs=None, seed=0):
    shape = (n_samples, n_draws) + (() if n_outputs is None else (n_outputs,))
    return np.random.default_rng(seed).standard_normal(shape) + 5


def mixture(n_samples=4, n_draws=6, n_outputs=None, seed=0):
    loc = draws(n_samples, n_draws, n_outputs, seed)
    return PredictiveDistribution(loc, np.random.default_rng(1).uniform(0.1, 1, loc.shape))


def normal(n_samples=5):
    rng = np.random.default_rng(0)
    loc, scale = rng.standard_normal(n_samples), rng.uniform(0.5, 2, n_samples)
    return PredictiveDistribution(loc[:, None], scale[:, None]), norm(loc, scale)


KINDS = {
    "draws": lambda: PredictiveDistribution(draws()),
    "normal": lambda: normal()[0],
    "mixture": mixture,
    "draws of two": lambda: PredictiveDistribution(draws(n_outputs=2)),
    "mixture of two": lambda: mixture(n_outputs=2),
}


@pytest.fixture(params=KINDS)
def dist(request):
    return KINDS[request.param]()


# Against scipy


def test_normal_against_scipy():
    dist, expected = normal()
    y = np.linspace(-2, 2, 5)
    assert_allclose(dist.mean(), expected.mean())
    assert_allclose(dist.std(), expected.std())
    assert_allclose(dist.var(), expected.var())
    assert_allclose(dist.cdf(y), expected.cdf(y), rtol=1e-12)
    assert_allclose(dist.logpdf(y), expected.logpdf(y), rtol=1e-12)
    for q in (1e-6, 0.025, 0.5, 0.9, 1 - 1e-6):
        assert_allclose(dist.ppf(q), expected.ppf(q), rtol=1e-9)
    assert_allclose(dist.interval(0.9), expected.interval(0.9), rtol=1e-9)
    # Gneiting and Raftery (2007), eq. 21.
    z = (y - expected.mean()) / expected.std()
    crps = expected.std() * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - np.pi**-0.5)
    assert_allclose(dist.crps(y), crps, rtol=1e-12)


def test_draws_against_scipy():
    loc = draws()
    dist = PredictiveDistribution(loc)
    assert_allclose(dist.mean(), loc.mean(axis=1))
    assert_allclose(dist.var(), loc.var(axis=1, ddof=1))
    y = np.array([4.0, 5.0, loc[2, 7], 6.0])  # at a draw too
    expected = [ecdf(row).cdf.evaluate(value) for row, value in zip(loc, y, strict=True)]
    assert_allclose(dist.cdf(y), expected)
    for q in (0, 0.1, 0.5, 0.77, 1):
        assert_allclose(dist.ppf(q), np.quantile(loc, q, axis=1))
    kernel = [gaussian_kde(row).logpdf(value)[0] for row, value in zip(loc, y, strict=True)]
    assert_allclose(dist.logpdf(y), kernel)


def test_median_lies_in_the_middle(dist):
    mirrored = dist.rescale(-1.0)
    assert_allclose(dist.median(), -mirrored.median(), rtol=1e-9)
    assert_allclose(PredictiveDistribution([[1.0, 2.0, 9.0]]).median(), [2.0])


def test_mixture_against_its_components():
    dist = mixture()
    y = np.linspace(4, 6, 4)
    parts = norm(dist.loc, dist.scale)
    assert_allclose(dist.cdf(y), parts.cdf(y[:, None]).mean(axis=1), rtol=1e-12)
    assert_allclose(dist.logpdf(y), np.log(parts.pdf(y[:, None]).mean(axis=1)), rtol=1e-12)
    assert_allclose(dist.mean(), dist.loc.mean(axis=1))
    within, between = (dist.scale**2).mean(axis=1), dist.loc.var(axis=1, ddof=1)
    assert_allclose(dist.var(), within + between)


# Consistency


@pytest.mark.parametrize("kind", ["normal", "mixture", "mixture of two"])
@pytest.mark.parametrize("q", [1e-8, 0.01, 0.3, 0.5, 0.999])
def test_cdf_inverts_ppf(kind, q):
    dist = KINDS[kind]()
    assert_allclose(dist.cdf(dist.ppf(q)), np.full(dist.shape, q), rtol=1e-6)


def test_cdf_and_ppf_are_monotonic(dist):
    values = [dist.cdf(np.full(dist.shape, y)) for y in np.linspace(0, 10, 21)]
    assert (np.diff(values, axis=0) >= 0).all()
    quantiles = [dist.ppf(q) for q in np.linspace(0.01, 0.99, 21)]
    assert (np.diff(quantiles, axis=0) >= 0).all()
    low, high = dist.interval(0.5)
    wide_low, wide_high = dist.interval(0.9)
    assert (wide_low <= low).all()
    assert (low <= high).all()
    assert (high <= wide_high).all()


def test_ppf_at_the_ends():
    assert_array_equal(mixture().ppf(0), np.full(4, -np.inf))
    assert_array_equal(mixture().ppf(1), np.full(4, np.inf))
    loc = draws()
    assert_array_equal(PredictiveDistribution(loc).ppf(0), loc.min(axis=1))
    assert_array_equal(PredictiveDistribution(loc).ppf(1), loc.max(axis=1))


@pytest.mark.parametrize("kind", ["draws", "normal", "mixture"])
def test_density_integrates_to_one(kind):
    dist = KINDS[kind]()[1:2]
    points = np.sort(dist.loc.ravel())
    edges = np.r_[-20, points, 30]
    total = sum(
        quad(lambda y: np.exp(dist.logpdf(y)[0]), a, b)[0] for a, b in itertools.pairwise(edges)
    )
    assert total == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("kind", ["draws", "normal", "mixture"])
@pytest.mark.parametrize("y", [2.0, 5.1, 9.0])
def test_crps_against_numerical_integration(kind, y):
    dist = KINDS[kind]()[1:2]
    kinks = np.sort(np.r_[dist.loc.ravel(), y])

    def squared(z):
        return (dist.cdf(z)[0] - (z >= y)) ** 2

    edges = np.r_[-10, kinks, 20]
    total = sum(quad(squared, a, b)[0] for a, b in itertools.pairwise(edges))
    assert_allclose(dist.crps(y), [total], rtol=1e-6)


def test_crps_of_draws_against_a_double_loop():
    dist = PredictiveDistribution(draws(n_samples=3, n_draws=12, n_outputs=2))
    y = draws(3, 1, 2, seed=3)[:, 0]
    for i, k in itertools.product(range(3), range(2)):
        row = dist.loc[i, :, k]
        to_truth = np.mean([abs(a - y[i, k]) for a in row])
        spread = np.mean([abs(a - b) for a in row for b in row])
        assert dist.crps(y)[i, k] == pytest.approx(to_truth - spread / 2, rel=1e-12)


def test_crps_of_a_mixture_against_a_double_loop():
    dist = mixture(n_samples=3, n_outputs=2)
    y = draws(3, 1, 2, seed=3)[:, 0]

    def mean_abs(mean, std):
        return mean * (2 * norm.cdf(mean / std) - 1) + 2 * std * norm.pdf(mean / std)

    for i, k in itertools.product(range(3), range(2)):
        parts = list(zip(dist.loc[i, :, k], dist.scale[i, :, k], strict=True))
        to_truth = np.mean([mean_abs(m - y[i, k], s) for m, s in parts])
        spread = np.mean([mean_abs(m - n, np.hypot(s, t)) for m, s in parts for n, t in parts])
        assert dist.crps(y)[i, k] == pytest.approx(to_truth - spread / 2, rel=1e-12)


def test_crps_of_a_point_is_the_absolute_error():
    dist = PredictiveDistribution([[3.0], [3.0]])
    assert_allclose(dist.crps([5.0, 3.0]), [2, 0])


def test_crps_in_blocks(monkeypatch):
    dist = mixture(n_samples=7)
    y = np.linspace(3, 7, 7)
    expected = dist.crps(y)
    monkeypatch.setattr("skestnet._distribution.MAX_TRIPLES", 80)
    assert_allclose(dist.crps(y), expected, rtol=1e-12)


def test_crps_prefers_the_true_distribution():
    rng = np.random.default_rng(0)
    y = rng.standard_normal(4000)
    scores = {
        (loc, scale): PredictiveDistribution(np.full((4000, 1), loc), scale).crps(y).mean()
        for loc, scale in [(0.0, 1.0), (0.5, 1.0), (0.0, 0.5), (0.0, 2.0)]
    }
    assert min(scores, key=scores.get) == (0.0, 1.0)


def test_interval_covers_what_is_drawn_from_it_and_nothing_else():
    dist = mixture(n_samples=2000)
    y = dist.rvs(random_state=0)[:, 0]
    low, high = dist.interval(0.68)
    error = 4 * (0.68 * 0.32 / 2000) ** 0.5
    assert abs(((y > low) & (y < high)).mean() - 0.68) < error
    control = dist.rescale(2.0, -dist.loc.mean()).rvs(random_state=0)[:, 0]
    assert abs(((control > low) & (control < high)).mean() - 0.68) > error


# Samples


def test_random_values_have_the_distribution():
    dist = mixture(n_samples=3)
    values = dist.rvs(20_000, random_state=0)
    assert values.shape == (3, 20_000)
    error = dist.std() / 20_000**0.5
    assert (np.abs(values.mean(axis=1) - dist.mean()) < 4 * error).all()
    for q in (0.1, 0.5, 0.9):
        assert_allclose((values <= dist.ppf(q)[:, None]).mean(axis=1), q, atol=0.012)


def test_random_values_repeat():
    dist = mixture()
    assert_array_equal(dist.rvs(5, random_state=1), dist.rvs(5, random_state=1))
    assert not np.array_equal(dist.rvs(5, random_state=1), dist.rvs(5, random_state=2))
    assert dist.rvs(random_state=0).shape == (4, 1)


def test_random_values_of_two_labels_stay_paired():
    loc = draws(3, 50, 1)
    dist = PredictiveDistribution(np.concatenate([loc, 10 * loc], axis=2))
    values = dist.rvs(200, random_state=0)
    assert values.shape == (3, 200, 2)
    assert_allclose(values[..., 1], 10 * values[..., 0])
    assert all(np.isin(values[i], dist.loc[i]).all() for i in range(3))
    assert len(np.unique(values[0, :, 0])) > 30
    # Errors of the labels are independent within a component.
    smooth = PredictiveDistribution(np.zeros((1, 1, 2)), 1.0).rvs(5000, random_state=0)[0]
    assert abs(np.corrcoef(smooth.T)[0, 1]) < 0.06


# Selection


def test_selection_of_samples(dist):
    n_samples = len(dist)
    mask = np.arange(n_samples) % 2 == 0
    selections = [slice(1, 3), slice(None, None, -1), mask, [2, 0], np.array([1, 1]), []]
    for rows in selections:
        index = np.arange(n_samples)[np.asarray(rows, int) if isinstance(rows, list) else rows]
        some = dist[np.asarray(rows, int) if isinstance(rows, list) else rows]
        assert len(some) == len(index)
        assert some.shape == (len(index), *dist.shape[1:])
        assert_array_equal(some.loc, dist.loc[index])
        assert_array_equal(some.scale, dist.scale[index])
        assert_allclose(some.mean(), dist.mean()[index])


def test_an_integer_keeps_one_sample(dist):
    n_samples = len(dist)
    for i in (0, 2, n_samples - 1, -1, -2, -n_samples, np.int64(1)):
        assert_array_equal(dist[i].loc, dist.loc[[i]])
        assert len(dist[i]) == 1


def test_an_integer_beyond_the_samples_is_an_error(dist):
    for i in (len(dist), 100, -len(dist) - 1):
        with pytest.raises(IndexError):
            dist[i]


def test_iteration_ends(dist):
    rows = list(itertools.islice(dist, len(dist) + 3))
    assert len(rows) == len(dist)
    assert_array_equal(rows[1].loc, dist.loc[[1]])


def test_selection_of_two_axes_is_refused(dist):
    with pytest.raises(TypeError, match=r"output\(k\)"):
        dist[0, 1]


def test_a_sample_does_not_depend_on_its_neighbours(dist):
    y = np.full(dist.shape[1:], 5.3)
    for i in range(len(dist)):
        assert_allclose(dist[i].crps(y)[0], dist.crps(y)[i], rtol=1e-12)
        assert_allclose(dist[i].cdf(y)[0], dist.cdf(y)[i], rtol=1e-12)
        assert_allclose(dist[i].ppf(0.3)[0], dist.ppf(0.3)[i], rtol=1e-12)
        assert_allclose(dist[i].logpdf(y)[0], dist.logpdf(y)[i], rtol=1e-12)


def test_draws_and_smooth_samples_side_by_side():
    # The first sample has no errors of its own, the second has.
    loc = draws(2, 5)
    scale = np.repeat([[0.0], [0.5]], 5, axis=1)
    both = PredictiveDistribution(loc, scale)
    y = np.array([5.0, 5.5])
    for i in range(2):
        alone = PredictiveDistribution(loc[[i]], scale[[i]])
        assert_allclose(both.crps(y)[i], alone.crps(y[i])[0])
        assert_allclose(both.cdf(y)[i], alone.cdf(y[i])[0])
        assert_allclose(both.logpdf(y)[i], alone.logpdf(y[i])[0])
        for q in (0, 0.1, 0.5, 0.77, 1):
            assert_allclose(both.ppf(q)[i], alone.ppf(q)[0])


def test_selection_of_a_label():
    dist = mixture(n_outputs=2)
    y = np.array([5.0, 6.0])
    for k in (0, 1, -1):
        one = dist.output(k)
        assert one.shape == (4,)
        assert_allclose(one.mean(), dist.mean()[:, k])
        assert_allclose(one.crps(y[k]), dist.crps(y)[:, k])
        assert_allclose(one.ppf(0.2), dist.ppf(0.2)[:, k])
    with pytest.raises(ValueError, match="one label only"):
        mixture().output(0)


@pytest.mark.parametrize("k", [2, -3, "teff", 0.5])
def test_a_label_that_is_not_there(k):
    with pytest.raises(IndexError, match=f"k={k!r}: .* Choose from 0 to 1"):
        mixture(n_outputs=2).output(k)


@pytest.mark.parametrize(("factor", "offset"), [(3.0, 1.0), (-2.0, 5.0), ([1.0, -10.0], [0.0, 3])])
def test_rescale(factor, offset):
    dist = mixture(n_outputs=2)
    other = dist.rescale(factor, offset)
    factor, offset = np.broadcast_to(factor, 2), np.broadcast_to(offset, 2)
    assert_allclose(other.mean(), factor * dist.mean() + offset)
    assert_allclose(other.std(), np.abs(factor) * dist.std())
    low, high = dist.interval(0.8)
    ends = np.sort([factor * low + offset, factor * high + offset], axis=0)
    assert_allclose(other.interval(0.8), ends, rtol=1e-9)
    y = np.array([4.0, 6.0])
    assert_allclose(other.crps(factor * y + offset), np.abs(factor) * dist.crps(y))
    assert_allclose(other.logpdf(factor * y + offset), dist.logpdf(y) - np.log(np.abs(factor)))


def test_rescale_by_nothing_changes_nothing(dist):
    assert_array_equal(dist.rescale().loc, dist.loc)
    assert_array_equal(dist.rescale().scale, dist.scale)


# Degenerate cases


def test_points():
    dist = PredictiveDistribution([[3.0, 3.0], [4.0, 4.0]])
    assert_array_equal(dist.std(), [0, 0])
    assert_array_equal(dist.interval(0.9), [[3, 4], [3, 4]])
    assert_array_equal(dist.cdf([2.9, 4.0]), [0, 1])
    assert_array_equal(dist.crps([3.0, 6.0]), [0, 2])


def test_equal_draws_have_no_variance_at_all():
    loc = np.full((3, 200, 2), 9876.54321)  # whose mean is another number
    assert loc.var(axis=1, ddof=1).any()
    loc[1, :, 1] = draws(1, 200)
    dist = PredictiveDistribution(loc)
    assert_array_equal(dist.std() > 0, [[False, False], [False, True], [False, False]])
    expected = np.zeros((3, 2, 2))
    expected[1, 1, 1] = loc[1, :, 1].var(ddof=1)
    assert_array_equal(dist.covariance() == 0, expected == 0)
    assert_allclose(dist.covariance(), expected)
    assert_array_equal(dist.logpdf(loc[:, 0])[0], np.inf)
    noisy = PredictiveDistribution(loc, 0.5)
    assert_array_equal(noisy.var("epistemic"), dist.var())
    assert_array_equal(noisy.var()[0], 0.25)


@pytest.mark.parametrize("n_draws", [1, 3])
def test_density_of_a_point_is_infinite_there_and_zero_elsewhere(n_draws):
    dist = PredictiveDistribution(np.full((3, n_draws), 7.3))
    assert_array_equal(dist.logpdf([7.3, 7.2, 9.0]), [np.inf, -np.inf, -np.inf])


def test_one_exact_component_among_smooth_ones():
    dist = PredictiveDistribution([[4.0, 6.0]], [[0.0, 1.0]])
    assert_allclose(dist.cdf(4.0), [0.5 + norm.cdf(-2) / 2])
    assert_allclose(dist.cdf(3.9), [norm.cdf(-2.1) / 2])
    width = 2**0.5 * 2**-0.2  # the exact one has no density: Scott's kernel smooths it
    assert_allclose(dist.logpdf(5.0), [np.log((norm.pdf(5, 4, width) + norm.pdf(1)) / 2)])
    expected = np.mean([1, 1 * (2 * norm.cdf(1) - 1) + 2 * norm.pdf(1)])
    spread = np.mean([0, 2 / np.pi**0.5] + 2 * [2 * (2 * norm.cdf(2) - 1) + 2 * norm.pdf(2)])
    assert_allclose(dist.crps(5.0), [expected - spread / 2])


def test_no_samples():
    dist = PredictiveDistribution(np.empty((0, 5)))
    assert len(dist) == 0
    assert dist.shape == (0,)
    for values in (dist.mean(), dist.std(), dist.ppf(0.3), dist.crps([]), dist.cdf([])):
        assert values.shape == (0,)
    assert dist.rvs(3).shape == (0, 3)


def test_large_offsets_keep_precision():
    dist = mixture().rescale(1.0, 1e6)
    assert_allclose(dist.ppf(0.3), mixture().ppf(0.3) + 1e6, rtol=1e-12)
    assert_allclose(dist.crps(1e6 + 5), mixture().crps(5), rtol=1e-8)


def test_values_broadcast():
    dist = mixture(n_outputs=2)
    assert dist.cdf(5.0).shape == (4, 2)
    assert_allclose(dist.cdf([4.0, 6.0]), dist.cdf(np.tile([4.0, 6.0], (4, 1))))
    assert_allclose(dist.crps(5.0), dist.crps(np.full((4, 2), 5.0)))


def test_arrays_are_kept_and_not_changed():
    loc = draws()
    loc.flags.writeable = False
    dist = PredictiveDistribution(loc, 0.5)
    dist.crps(5.0), dist.ppf(0.3), dist.rvs(2)
    assert dist.scale.shape == loc.shape
    assert dist.n_draws == 30
    assert repr(dist) == "PredictiveDistribution(shape=(4,), n_draws=30)"


def test_ten_thousand_samples():
    dist = PredictiveDistribution(draws(10_000, 200))
    low, high = dist.interval(0.95)
    assert_allclose((dist.loc > low[:, None]).mean(), 0.975, atol=0.006)
    assert_allclose((dist.loc < high[:, None]).mean(), 0.975, atol=0.006)
    assert dist.crps(np.full(10_000, 5.0)).mean() == pytest.approx(0.234, abs=0.01)


def test_ten_thousand_smooth_samples():
    loc = draws(10_000, 200)
    quantile = PredictiveDistribution(loc[:, :20], 0.3).ppf(0.1)
    assert_allclose(PredictiveDistribution(loc[:5, :20], 0.3).ppf(0.1), quantile[:5])


# Errors


@pytest.mark.parametrize("shape", [(), (3,), (3, 0), (2, 2, 2, 2)])
def test_bad_shape(shape):
    with pytest.raises(ValueError, match=r"loc has shape .*pass loc\[:, None\]"):
        PredictiveDistribution(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_components_that_are_not_finite(value):
    with pytest.raises(ValueError, match="NaN or infinite"):
        PredictiveDistribution([[1.0, value]])
    with pytest.raises(ValueError, match="NaN or infinite"):
        PredictiveDistribution([[1.0, 2.0]], value)


def test_bad_scale():
    with pytest.raises(ValueError, match=r"scale holds -0\.5"):
        PredictiveDistribution([[1.0, 2.0]], [[0.5, -0.5]])
    with pytest.raises(ValueError, match=r"shape|broadcast"):
        PredictiveDistribution([[1.0, 2.0]], [1.0, 2.0, 3.0])


@pytest.mark.parametrize("q", [-0.1, 1.1, np.nan])
def test_bad_probability(dist, q):
    with pytest.raises(ValueError, match=r"q=.*\[0, 1\]"):
        dist.ppf(q)
    with pytest.raises(ValueError, match="confidence="):
        dist.interval(q)


def test_values_of_another_shape(dist):
    for method in (dist.cdf, dist.logpdf, dist.crps):
        with pytest.raises(ValueError, match=r"y has shape \(17,\): expected one that broadcasts"):
            method(np.zeros(17))


@pytest.mark.parametrize("several", [[0.68, 0.95], np.array([0.5]), (0.16, 0.84)])
def test_several_probabilities_at_once(dist, several):
    for method in (dist.ppf, dist.interval, dist.region):
        with pytest.raises(ValueError, match=r"expected one probability at a time\. Loop"):
            method(several)
    assert_array_equal(dist.ppf(np.array(0.16)), dist.ppf(0.16))


@pytest.mark.parametrize("size", [(3, 4), 2.5, -1, None])
def test_bad_number_of_random_values(dist, size):
    with pytest.raises(ValueError, match=r"size=.*expected an integer, .* reshape"):
        dist.rvs(size)
    assert dist.rvs(np.int64(2)).shape[:2] == (len(dist), 2)


def test_region_says_what_it_is_in_short():
    assert repr(mixture(n_outputs=2).region(0.9)) == "JointRegion(shape=(4, 2), confidence=0.9)"
