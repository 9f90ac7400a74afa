"""estimate_noise, estimate_snr and AddedNoise against spectra whose noise is known."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skestnet.spectra import AddedNoise, estimate_noise, estimate_snr


def spectra(sigma, n_pixels=4000, seed=0):
    """Flux 10 with a broad absorption line, and normal noise."""
    sigma = np.asarray(sigma, dtype=float)
    pixels = np.arange(n_pixels)
    flux = 10 - 4 * np.exp(-0.5 * ((pixels - n_pixels / 2) / (n_pixels / 40)) ** 2)
    rng = np.random.default_rng(seed)
    return flux + sigma[:, None] * rng.standard_normal((len(sigma), n_pixels))


def plain_noise(flux):
    """Stoehr et al. (2008), one spectrum at a time, from the good triples."""
    found = []
    for row in flux:
        triples = 2 * row[2:-2] - row[:-4] - row[4:]
        good = triples[np.isfinite(triples)]
        found.append(0.6052697 * np.median(np.abs(good)) if good.size else np.nan)
    return np.array(found)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4"])
def test_noise_is_that_of_the_published_formula(dtype):
    flux = spectra([0.1, 1.0, 5.0], n_pixels=301).astype(dtype)
    flux[1, 40:90] = np.nan
    assert_allclose(estimate_noise(flux), plain_noise(flux), rtol=1e-5)


def test_noise_and_snr_are_recovered():
    sigma = np.array([0.5, 2.0, 8.0])
    flux = spectra(sigma, n_pixels=20_000)
    assert_allclose(estimate_noise(flux), sigma, rtol=0.03)
    assert_allclose(estimate_snr(flux), 10 / sigma, rtol=0.04)


def test_a_few_bad_pixels_do_not_matter():
    flux = spectra([1.0])
    flux[0, 50:2000:100] += 500
    assert_allclose(estimate_noise(flux), 1, rtol=0.1)


def test_spectra_without_signal_noise_or_data():
    empty = np.full(50, np.nan)
    flux = np.stack([np.full(50, 3.0), np.full(50, -3.0), np.zeros(50), empty])
    assert_array_equal(estimate_snr(flux), [np.inf, 0, 0, np.nan])
    assert_array_equal(estimate_noise(flux), [0, 0, 0, np.nan])


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_noise_is_added_in_proportion(factor):
    sigma = np.array([0.5, 4.0])
    flux = spectra(sigma, n_pixels=20_000)
    noisier = AddedNoise(factor)(flux, np.random.default_rng(1))
    added = (noisier - flux).std(axis=1)
    assert_allclose(added, factor * estimate_noise(flux), rtol=0.03)
    assert abs(np.corrcoef(noisier[0] - flux[0], noisier[1] - flux[1])[0, 1]) < 0.03


def test_added_noise_leaves_what_it_should():
    flux = spectra([1.0, 1.0]).astype(np.float32)
    flux[0, 10:20] = np.nan
    flux[1] = np.nan
    flux[1, 7] = 5.0  # nothing to see the noise by
    before = flux.copy()
    noisier = AddedNoise()(flux, np.random.default_rng(0))
    assert noisier.dtype == np.float32
    assert_array_equal(flux, before)
    assert_array_equal(np.isnan(noisier), np.isnan(flux))
    assert noisier[1, 7] == 5.0
    assert_array_equal(AddedNoise(0)(flux, np.random.default_rng(0)), flux)


def test_added_noise_repeats_and_can_be_searched_over():
    flux = spectra([1.0], n_pixels=100)
    first, second, other = (AddedNoise()(flux, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert_array_equal(first, second)
    assert not np.allclose(first, other)
    assert clone(AddedNoise(0.3)).get_params() == {"factor": 0.3}


@pytest.mark.parametrize("function", [estimate_noise, estimate_snr])
def test_errors(function):
    with pytest.raises(ValueError, match="Spectra of 4 pixels: expected at least 5"):
        function(np.ones((2, 4)))
    with pytest.raises(ValueError, match="infinity"):
        function([[1.0, np.inf, 1, 1, 1]])
    with pytest.raises(ValueError, match="Expected 2D array"):
        function(np.ones(10))


def test_a_negative_factor_is_refused():
    with pytest.raises(ValueError, match="factor == -1, must be >= 0"):
        AddedNoise(-1)(np.ones((1, 10)), np.random.default_rng(0))
