import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.spectra import FluxScaler

PLAIN = {
    "minmax": lambda f: (f - f.min()) / (f.max() - f.min()),
    "median": lambda f: f / abs(np.median(f)),
    "standard": lambda f: (f - f.mean()) / f.std(),
}
METHODS = list(PLAIN)


@pytest.fixture
def flux():
    return np.random.default_rng(3).normal(2, 1, (12, 31))


@pytest.mark.parametrize("method", METHODS)
def test_against_a_loop(flux, method):
    out = FluxScaler(method).fit_transform(flux)
    assert_allclose(out, [PLAIN[method](row) for row in flux], rtol=1e-12, atol=1e-13)
    single = FluxScaler(method).fit_transform(flux.astype("f4"))
    assert single.dtype == np.float32
    assert_allclose(single, out, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("unit", [1e-19, 1e-17, 1e5])
def test_the_unit_of_the_flux_does_not_matter(flux, method, unit):
    scaled = FluxScaler(method).fit_transform((flux * unit).astype("f4"))
    assert_allclose(scaled, FluxScaler(method).fit_transform(flux), rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_no_fit_needed_and_rows_do_not_influence_each_other(flux, method):
    out = FluxScaler(method).transform(flux)
    assert_array_equal(out[3:4], FluxScaler(method).fit(flux[:2]).transform(flux[3:4]))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e30])
@pytest.mark.parametrize("n_pixels", [1, 9])
def test_constant_spectra(value, n_pixels, dtype):
    flux = np.full((1, n_pixels), value, dtype=dtype)
    for method in ("minmax", "standard"):
        assert_array_equal(FluxScaler(method).fit_transform(flux), np.zeros_like(flux))
    expected = np.full_like(flux, np.sign(value))
    assert_allclose(FluxScaler("median").fit_transform(flux), expected, rtol=1e-6)


def test_median_near_zero_is_floored():
    flux = np.array([[-1.0, 1e-30, 1.0], [0.0, 0.0, 3.0], [-1.0, -2.0, -3.0]], dtype="f4")
    out = FluxScaler("median").fit_transform(flux)
    assert_allclose(out[0], [-1500, 0, 1500], rtol=1e-4, atol=1e-20)
    assert_allclose(out[1], [0, 0, 3000], rtol=1e-4)
    assert_allclose(out[2], [-0.5, -1, -1.5])  # stays upright


def test_messages():
    with pytest.raises(ValueError, match=r"method='max' .* \['median', 'minmax', 'standard'\]"):
        FluxScaler("max").fit([[1.0]])
    with pytest.raises(ValueError, match="infinity"):
        FluxScaler().fit([[np.inf]])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("method", METHODS)
def test_bad_pixels_stay_bad_and_do_not_count(flux, method, dtype):
    flux = flux.astype(dtype)
    expected = FluxScaler(method).fit_transform(flux[:, :20])
    longer = np.insert(flux[:, :20], [0, 3, 3, 7, 20], np.nan, axis=1)
    longer = np.vstack([longer, np.full_like(longer[:2], np.nan), longer])
    scaled = FluxScaler(method).fit_transform(longer)
    assert scaled.dtype == dtype
    assert_array_equal(np.isnan(scaled), np.isnan(longer))
    kept = scaled[~np.isnan(longer)].reshape(24, 20)
    assert_allclose(kept, np.vstack([expected] * 2), rtol=1e-4 if dtype == "f4" else 1e-12)
    # A spectrum without bad pixels is scaled as if there were none in the others.
    mixed = np.vstack([flux, np.full_like(flux[:1], np.nan)])
    assert_array_equal(FluxScaler(method).transform(mixed)[:12], FluxScaler(method).transform(flux))
