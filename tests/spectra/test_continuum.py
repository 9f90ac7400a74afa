import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.interpolate import LSQUnivariateSpline

from skestnet.spectra import ContinuumNormalizer, lamost_grid
from skestnet.spectra._continuum import absolute_level
from skestnet.spectra._spline import BinnedSpline, fit_spline, spline_basis

BALMER = (4102, 4341, 4861, 6563)


@pytest.fixture
def stars():
    """Return (wavelength, continuum, line profile) of ten slopes with deep Balmer lines."""
    wavelength = lamost_grid(1000)
    slope = np.linspace(-3, 1, 10)[:, np.newaxis]
    width = 15
    dips = [0.5 * np.exp(-0.5 * ((wavelength - centre) / width) ** 2) for centre in BALMER]
    return wavelength, (wavelength / 6000) ** slope, 1 - np.sum(dips, axis=0)


def test_one_fit_is_the_least_squares_spline_of_scipy(stars):
    wavelength, continuum, line = stars
    flux = continuum * line
    basis = spline_basis(wavelength, 8)
    inner = np.quantile(wavelength, np.linspace(0, 1, 8))[1:-1]
    plain = [LSQUnivariateSpline(wavelength, row, inner)(wavelength) for row in flux]
    fit = fit_spline(flux, np.ones_like(flux), basis, n_iter=0, lower=2, upper=3) @ basis.T
    assert_allclose(fit, plain, rtol=1e-8)
    assert_allclose(basis.T @ basis, np.eye(10), atol=1e-12)


def test_rejection_against_a_loop(stars):
    wavelength, continuum, line = stars
    flux = continuum * line + 0.02 * np.random.default_rng(0).normal(size=continuum.shape)
    share = np.random.default_rng(1).choice([0, 0.5, 1], p=[0.1, 0.1, 0.8], size=flux.shape)
    basis = spline_basis(wavelength, 6)
    projector = basis @ np.linalg.pinv(basis)
    fitted = fit_spline(flux, share, basis, n_iter=4, lower=2, upper=3) @ basis.T
    for row, weight, result in zip(flux, share, fitted, strict=True):
        fit, good = projector @ row, weight
        for _ in range(4):
            sigma = np.sqrt(np.average((row - fit) ** 2, weights=good))
            good = weight * ((row - fit >= -2 * sigma) & (row - fit <= 3 * sigma))
            fit = projector @ (good * row + (1 - good) * fit)
        assert_allclose(result, fit, rtol=1e-9)


@pytest.mark.parametrize(("n_pixels", "widths"), [(300, {1}), (900, {2, 3}), (3909, {7, 8})])
def test_bins(n_pixels, widths):
    """A spline has the same coefficients in bins and at pixels, NaN or not."""
    spline = BinnedSpline.from_basis(spline_basis(np.arange(n_pixels), 8))
    assert set(spline.size.tolist()) <= widths
    assert spline.size.sum() == n_pixels
    assert_allclose(spline.on_bins.T @ spline.on_bins, np.eye(10), atol=1e-12)
    flux = np.random.default_rng(0).normal(size=(3, 10)) @ spline.on_pixels.T
    means, share = spline.bin(flux)
    assert_allclose(means @ spline.on_bins @ spline.on_pixels.T, flux, atol=1e-11)
    assert_array_equal(share, 1)
    flux[0, 20:60] = np.nan
    plain = np.split(flux, np.cumsum(spline.size)[:-1], axis=1)
    counts = np.array([np.isfinite(part).sum(axis=1) for part in plain]).T
    sums = np.array([np.nansum(part, axis=1) for part in plain]).T
    means, share = spline.bin(flux)
    assert_allclose(share, counts / spline.size)
    assert_allclose(means[counts > 0], (sums / np.maximum(counts, 1))[counts > 0], atol=1e-13)
    assert_array_equal(np.isnan(means), counts == 0)


@pytest.mark.parametrize("n_pixels", [3, 5000, 6001])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_bins_with_gaps_against_a_loop(n_pixels, dtype):
    rng = np.random.default_rng(0)
    flux = rng.normal(2, 1, (12, n_pixels)).astype(dtype)
    flux[rng.random(flux.shape) < 0.02] = np.nan
    flux[3, n_pixels // 3 : n_pixels // 2] = flux[4, -1] = flux[5] = np.nan
    flux[6] = 1
    spline = BinnedSpline.from_basis(spline_basis(np.arange(n_pixels, dtype=float), 8))
    means, share = spline.bin(flux)
    parts = np.split(flux, np.cumsum(spline.size)[:-1], axis=1)
    good = np.transpose([(~np.isnan(part)).sum(axis=1) for part in parts])
    total = np.transpose([np.nansum(part, axis=1) for part in parts])
    expected = np.divide(total, good, out=np.full_like(means, np.nan), where=good > 0)
    assert_allclose(means, expected, rtol=1e-4 if dtype == "f4" else 1e-10, atol=1e-6)
    assert_allclose(share, good / spline.size, rtol=1e-15)


def test_lines_are_recovered(stars):
    wavelength, continuum, line = stars
    normal = ContinuumNormalizer(wavelength).fit_transform(continuum * line)
    inside = (wavelength > 4200) & (wavelength < 7900)
    assert np.abs(normal - line)[:, inside].max() < 0.005
    # the control: without rejection the lines pull the continuum down
    plain = ContinuumNormalizer(wavelength, n_iter=0).fit_transform(continuum * line)
    assert np.abs(plain - line)[:, inside].max() > 0.03


def test_noise_and_cosmic_rays_do_not_move_the_continuum(stars):
    wavelength, continuum, line = stars
    rng = np.random.default_rng(4)
    flux = continuum * line + 0.1 * rng.normal(size=continuum.shape)
    flux[:, 500] = 1e4
    normal = ContinuumNormalizer(wavelength).fit_transform(flux)
    free = (wavelength > 5200) & (wavelength < 6200)
    free[500] = False
    assert_allclose(normal[:, free].mean(axis=1), 1, atol=0.03)


def test_scale_of_the_flux_does_not_matter(stars):
    wavelength, continuum, line = stars
    normaliser = ContinuumNormalizer(wavelength).fit(continuum)
    expected = normaliser.transform(continuum * line)
    assert_allclose(normaliser.transform(1e-17 * continuum * line), expected, rtol=1e-9)
    tiny = (1e-19 * continuum * line).astype("f4")
    assert_allclose(normaliser.transform(tiny), expected, rtol=1e-4)


@pytest.mark.parametrize("n_pixels", [1000, 3909])
def test_spectra_do_not_influence_each_other(n_pixels):
    rng = np.random.default_rng(5)
    flux = rng.normal(1, 0.3, (150, n_pixels)).astype("f4")
    flux[3, 100:200] = np.nan
    normaliser = ContinuumNormalizer().fit(flux)
    together = normaliser.transform(flux)
    alone = np.vstack([normaliser.transform(row[np.newaxis]) for row in flux])
    assert together.dtype == np.float32
    assert_allclose(together, alone, rtol=1e-6)
    threads = normaliser.set_params(n_jobs=2).transform(np.asfortranarray(flux))
    assert_array_equal(threads, together)


def test_bad_pixels_stay_bad_and_do_not_count(stars):
    wavelength, continuum, line = stars
    flux = continuum * line
    normaliser = ContinuumNormalizer(wavelength).fit(flux)
    bad = np.random.default_rng(7).random(flux.shape) < 0.05
    bad[:, 480:600] = True  # between the lines
    bad[4] = True
    normal = normaliser.transform(np.where(bad, np.nan, flux))
    assert_array_equal(np.isnan(normal), bad)
    assert_allclose(normal[~bad], normaliser.transform(flux)[~bad], atol=0.01)
    # the control: what is at the bad pixels would matter
    assert np.abs(normaliser.transform(np.where(bad, 0.0, flux)) - line)[~bad].max() > 0.1


def test_no_wavelength_means_evenly_spaced_pixels(stars):
    wavelength, continuum, line = stars
    expected = ContinuumNormalizer(wavelength).fit_transform(continuum * line)
    assert_allclose(ContinuumNormalizer().fit_transform(continuum * line), expected, rtol=1e-6)


@pytest.mark.parametrize("n_pixels", [*range(1, 41), 300])
def test_any_length(n_pixels):
    flux = np.random.default_rng(n_pixels).normal(5, 1, (3, n_pixels))
    normaliser = ContinuumNormalizer().fit(flux)
    assert np.isfinite(normaliser.transform(flux)).all()
    assert normaliser.basis_.shape[1] <= max(1, n_pixels // 4)
    assert_allclose(normaliser.transform(np.full((1, n_pixels), 3.0)), 1, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_hopeless_spectra_stay_finite(dtype):
    rng = np.random.default_rng(6)
    flux = np.zeros((6, 200), dtype=dtype)
    flux[1] = -5
    flux[2] = rng.normal(size=200)
    flux[3, 7] = 1e30
    flux[4] = np.linspace(-1, 1, 200)
    flux[5] = 1e-40
    flux[5, 7] = 1
    normal = ContinuumNormalizer().fit_transform(flux)
    assert np.isfinite(normal).all()
    assert_array_equal(normal[0], 0)
    assert_allclose(normal[1], -20)  # 1 / floor
    level = absolute_level(flux.astype("f8"), np.empty(flux.shape))
    assert (np.abs(normal) <= np.abs(flux) / (0.049 * level)).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_knots": 1}, "n_knots=1: expected an integer of at least 2"),
        ({"n_iter": -1}, "n_iter=-1: expected an integer of at least 0"),
        ({"n_iter": 1.5}, "n_iter=1.5: expected an integer"),
        ({"n_knots": "a"}, "n_knots='a': expected an integer"),
        ({"lower": 0}, "lower=0: expected a number above 0"),
        ({"upper": -1.0}, "upper=-1.0: expected"),
        ({"floor": np.nan}, "floor=nan: expected"),
        ({"wavelength": [1.0, 2.0]}, "wavelength has 2 wavelengths, but X has 3 features"),
        ({"wavelength": [1.0, 2.0, 2.0]}, "strictly increasing"),
    ],
)
def test_messages(params, message):
    with pytest.raises(ValueError, match=message):
        ContinuumNormalizer(**params).fit(np.ones((2, 3)))


def test_infinite_flux_is_refused():
    with pytest.raises(ValueError, match="infinity"):
        ContinuumNormalizer().fit([[1.0, np.inf]])


def test_real_model_spectra(data_dir):
    """A hot star's lines come out with the continuum between them near 1."""
    with np.load(data_dir / "models_da_koester2010_svo.npz") as models:
        pick = (models["teff"] == 20000) & (models["logg"] == 8)
        wavelength, flux = models["wavelength"], models["flux"][pick]
    inside = (wavelength > 4200) & (wavelength < 8000)
    wavelength, flux = wavelength[inside], flux[:, inside]
    normal = ContinuumNormalizer(wavelength).fit_transform(flux)[0]
    assert_allclose(normal[(wavelength > 5200) & (wavelength < 6200)], 1, atol=0.01)
    assert normal[np.abs(wavelength - 4862.7) < 3].max() < 0.7
