import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import trapezoid
from scipy.stats import gaussian_kde

from skestnet import adaptive_weights
from skestnet._density import _binned_density, _exact_density, kernel_bandwidth, label_density


def exact_and_binned(y, y_train, bandwidth, weight):
    exact = _exact_density(y, y_train, bandwidth, weight)
    return exact, _binned_density(y, y_train, bandwidth, weight)


def test_binned_density_is_close_to_the_exact_one():
    rng = np.random.default_rng(0)
    y_train = np.r_[rng.standard_normal(3000), rng.normal(4, 0.2, 500)]
    weight = rng.uniform(0, 2, 3500)
    y = np.linspace(-6, 8, 500)
    for bandwidth in (0.05, kernel_bandwidth("scott", 3500)):
        exact, binned = exact_and_binned(y, y_train, bandwidth, weight)
        assert_allclose(binned, exact, rtol=0.01, atol=0.01 * exact.max())
        assert_allclose(trapezoid(binned, y), 1, rtol=0.01)


def test_binned_density_of_labels_on_a_grid():
    # As template grids have: all labels of a node fall on one side of their bin's centre.
    y_train = np.repeat(np.arange(-2, 2.01, 0.25), 200)
    exact, binned = exact_and_binned(np.linspace(-2, 2, 301), y_train, 0.1, np.ones(len(y_train)))
    assert np.abs(binned - exact).max() < 0.01 * exact.max()


def test_density_far_from_every_label_is_zero():
    exact, binned = exact_and_binned(np.array([-50.0, 50.0]), np.zeros(5), 0.1, np.ones(5))
    assert_array_equal(exact, [0, 0])
    assert_array_equal(binned, [0, 0])


def test_large_sets_are_binned(monkeypatch):
    y_train = np.random.default_rng(0).standard_normal(200)
    exact = label_density(y_train, y_train, 0.3, np.ones(200))
    monkeypatch.setattr("skestnet._density.MAX_EXACT_PAIRS", 100)
    binned = label_density(y_train, y_train, 0.3, np.ones(200))
    assert_allclose(binned, exact, rtol=0.02)
    assert not np.array_equal(binned, exact)


@pytest.mark.slow
def test_a_million_labels():
    y = np.random.default_rng(0).standard_normal(10**6)
    weights = adaptive_weights(y, np.zeros(10**6), gamma=1)
    expected = np.exp(-0.5 * y**2) / np.sqrt(2 * np.pi)
    assert np.abs(weights - expected).max() < 0.01


@pytest.mark.parametrize("n_samples", [1, 50, 70.5])
def test_bandwidth_rules_for_labels_of_standard_deviation_one(n_samples):
    # scipy's factors: n**(-1 / (d + 4)) and (n * (d + 2) / 4)**(-1 / (d + 4)) in d = 1 dimension.
    assert kernel_bandwidth("scott", n_samples) == pytest.approx(n_samples ** (-1 / 5))
    assert kernel_bandwidth("silverman", n_samples) == pytest.approx(
        (n_samples * 3 / 4) ** (-1 / 5)
    )
    assert kernel_bandwidth(0.3, n_samples) == 0.3


def test_exact_density_against_scipy():
    rng = np.random.default_rng(0)
    y_train, weight = rng.standard_normal(40), rng.uniform(0.5, 2, 40)
    kernel = gaussian_kde(y_train, weights=weight)
    bandwidth = np.sqrt(kernel.covariance[0, 0])
    at = np.linspace(-4, 4, 50)
    assert_allclose(_exact_density(at, y_train, bandwidth, weight), kernel(at), rtol=1e-12)


@pytest.mark.parametrize("density", [_exact_density, _binned_density])
def test_density_of_weight_two_is_that_of_a_repeated_label(density):
    y_train, at = np.random.default_rng(0).standard_normal(20), np.linspace(-3, 3, 30)
    weight = np.r_[np.full(5, 2.0), np.ones(15)]
    repeated = density(at, np.r_[y_train, y_train[:5]], 0.2, np.ones(25))
    assert_allclose(density(at, y_train, 0.2, weight), repeated, rtol=1e-10)


@pytest.mark.parametrize("density", [_exact_density, _binned_density])
def test_density_of_equal_labels_is_the_kernel(density):
    at = np.linspace(-1, 1, 21)
    kernel = np.exp(-2 * at**2) / np.sqrt(np.pi / 2)
    values = density(at, np.zeros(7), 0.5, np.ones(7))
    assert_allclose(values, kernel, atol=0.02 * kernel.max())  # they may be half a bin off
