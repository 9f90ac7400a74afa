import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.interpolate import LSQUnivariateSpline

from skestnet.spectra import ContinuumNormalizer, lamost_grid
from skestnet.spectra._continuum import absolute_level, fit_continuum, spline_basis

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
    fit = fit_continuum(flux, basis, n_iter=0, lower=2, upper=3)
    assert_allclose(fit, plain, rtol=1e-8)
    assert_allclose(basis.T @ basis, np.eye(10), atol=1e-12)


def test_rejection_against_a_loop(stars):
    wavelength, continuum, line = stars
    flux = continuum * line + 0.02 * np.random.default_rng(0).normal(size=continuum.shape)
    basis = spline_basis(wavelength, 6)
    projector = basis @ np.linalg.pinv(basis)
    for row, fitted in zip(
        flux, fit_continuum(flux, basis, n_iter=4, lower=2, upper=3), strict=True
    ):
        fit, good = projector @ row, np.ones(row.size, dtype=bool)
        for _ in range(4):
            sigma = np.sqrt(np.mean((row - fit)[good] ** 2))
            good = (row - fit >= -2 * sigma) & (row - fit <= 3 * sigma)
            fit = projector @ np.where(good, row, fit)
        assert_allclose(fitted, fit, rtol=1e-9)


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


def test_spectra_do_not_influence_each_other(stars):
    wavelength, continuum, line = stars
    flux = (continuum * line + 0.3 * np.random.default_rng(5).normal(size=(10, 1000))).astype("f4")
    normaliser = ContinuumNormalizer(wavelength).fit(flux)
    together = normaliser.transform(flux)
    alone = np.vstack([normaliser.transform(row[np.newaxis]) for row in flux])
    assert together.dtype == np.float32
    assert_allclose(together, alone, rtol=1e-6)


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
    assert (np.abs(normal) <= np.abs(flux) / (0.049 * absolute_level(flux.astype("f8")))).all()


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
