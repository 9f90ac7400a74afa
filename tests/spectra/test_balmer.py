import re

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.spectra import Spectra
from skestnet.spectra._balmer import (
    _LINES,
    _decide,
    _median,
    _weighted_median,
    check_balmer_lines,
)
from skestnet.spectra._line_fit import (
    _least_chi_square,
    line_gain,
    line_offsets,
    peak_velocity,
)
from skestnet.spectra._medium import air_from_vacuum
from skestnet.spectra._pixels import gaussian_sigma, pixel_edges, pixel_matrix
from skestnet.spectra._redshift import SPEED_OF_LIGHT

GRID = 10 ** np.arange(3.56, 3.84, 1e-4)
AIR = SPEED_OF_LIGHT * (air_from_vacuum(4862.69) / 4862.69 - 1)


def star(velocity=0.0, width=20.0):
    """Spectra of Gaussian cores with exponential wings: not what is fitted."""
    flux = 1 + 0.1 * (GRID - GRID[0]) / np.ptp(GRID)
    for i, line in enumerate(_LINES.values()):
        x = (GRID - line * (1 + velocity / SPEED_OF_LIGHT)) / width
        flux -= (0.4 - 0.05 * i) * (0.5 * np.exp(-0.5 * (3 * x) ** 2) + 0.5 / np.cosh(x))
    return flux


def noisy(n_spectra, snr, velocity=0.0, seed=0):
    noise = np.random.default_rng(seed).normal(size=(n_spectra, GRID.size)) / snr
    return star(velocity) + noise


@pytest.mark.parametrize("velocity", [-250.0, -83.0, 0.0, 12.0, 71.0])
@pytest.mark.parametrize("width", [8.0, 20.0, 40.0])
def test_closed_form_lines(velocity, width):
    check = check_balmer_lines(GRID, star(velocity, width))
    assert_allclose(check.velocity, velocity, atol=3)
    assert_allclose(check.lines["velocity"], velocity, atol=9)
    expected = np.multiply(velocity / SPEED_OF_LIGHT, list(_LINES.values()))
    assert_allclose(check.lines["shift"], expected, atol=0.15)
    assert_allclose(check.shift_angstrom, 4862.69 * check.velocity / SPEED_OF_LIGHT)
    assert check.n_spectra == 1
    assert check.lines["n_spectra"].tolist() == [1] * 5


@pytest.mark.parametrize("snr", [5.0, 20.0])
def test_many_noisy_spectra(snr):
    flux = noisy(100, snr)
    check = check_balmer_lines(GRID, flux)
    assert check.verdict == "vacuum"
    assert abs(check.velocity) < 4 * check.velocity_error + 2
    in_air = check_balmer_lines(air_from_vacuum(GRID), flux)
    assert in_air.verdict == "air"
    assert abs(in_air.velocity - AIR) < 4 * in_air.velocity_error + 2
    assert in_air.odds < 0.05 < 20 < check.odds


def test_errors_predict_the_scatter():
    velocity, error = peak_velocities(noisy(400, 10.0))
    pull = velocity / error
    assert 0.8 < 1.4826 * np.median(abs(pull - np.median(pull))) < 1.5


def peak_velocities(flux):
    rows = [check_balmer_lines(GRID, row) for row in flux[:60]]
    return np.array([row.velocity for row in rows]), np.array([row.velocity_error for row in rows])


def test_units_levels_and_masks_do_not_matter():
    flux = noisy(20, 20.0)
    plain = check_balmer_lines(GRID, flux)
    scaled = check_balmer_lines(GRID / 10 * u.nm, 1e-16 * flux, np.full(flux.shape, 1e30))
    assert_allclose(scaled.velocity, plain.velocity, atol=0.05)
    spoilt = flux.copy()
    spoilt[:, 1200::100] = 1e4
    ivar = np.where(spoilt == flux, 1.0, 0.0)
    assert_allclose(check_balmer_lines(GRID, spoilt, ivar).velocity, plain.velocity, atol=15)
    container = Spectra.from_matrix(GRID, spoilt, ivar)
    assert check_balmer_lines(container).velocity == check_balmer_lines(GRID, spoilt, ivar).velocity


def test_spectra_with_their_own_pixels():
    flux = noisy(6, 30.0)
    ragged = Spectra([GRID[i:] for i in range(6)], [row[i:] for i, row in enumerate(flux)],
                     [np.ones(GRID.size - i) for i in range(6)])  # fmt: skip
    assert check_balmer_lines(ragged).velocity == check_balmer_lines(GRID, flux).velocity


def test_a_few_odd_stars_do_not_matter():
    flux = np.concatenate([noisy(40, 20.0), noisy(8, 20.0, velocity=500.0, seed=1)])
    assert abs(check_balmer_lines(GRID, flux).velocity) < 10


def test_one_star_alone_decides_little():
    approaching = check_balmer_lines(GRID, star(-50.0))
    assert approaching.verdict == "undecided"
    assert 0.1 < approaching.odds < 10
    with pytest.raises(ValueError, match=r"-0\.8\d A at H-beta.*undecided, but vacuum is needed"):
        approaching.require("vacuum")
    trusted = check_balmer_lines(GRID, star(-80.0), velocity_scatter=10.0, velocity_offset=5.0)
    assert trusted.verdict == "air"


def test_a_velocity_that_is_neither():
    check = check_balmer_lines(GRID, noisy(30, 20.0, velocity=300.0))
    assert check.verdict == "undecided"
    assert_allclose(check.velocity, 300, atol=10)


@pytest.mark.parametrize("n_spectra", [1, 300])
def test_noise_is_undecided(n_spectra):
    rng = np.random.default_rng(2)
    check = check_balmer_lines(GRID, 1 + 0.1 * rng.normal(size=(n_spectra, GRID.size)))
    assert check.verdict == "undecided"
    assert check.n_spectra == 0
    assert np.isnan(check.velocity)
    assert str(check) == "No spectrum shows Balmer lines, so that the medium stays undecided."
    with pytest.raises(ValueError, match=r"No spectrum shows Balmer lines.*Try more spectra"):
        check.require("air")


@pytest.mark.parametrize(
    ("wavelength", "flux"),
    [
        (GRID, np.zeros(GRID.size)),
        (GRID, np.ones(GRID.size)),
        (GRID, np.full(GRID.size, np.nan)),
        (np.linspace(7000, 8000, 500), np.ones(500)),
        (np.array([4862.0]), np.ones(1)),
    ],
)
def test_degenerate_spectra(wavelength, flux):
    assert check_balmer_lines(wavelength, flux).n_spectra == 0
    assert check_balmer_lines(Spectra([], [], [])).verdict == "undecided"


def test_some_lines_suffice():
    blue = GRID < 4500
    check = check_balmer_lines(GRID[blue], noisy(50, 50.0)[:, blue])
    assert check.verdict == "vacuum"
    assert check.lines["n_spectra"].tolist() == [0, 0, 50, 50, 50]
    assert "H-alpha" not in str(check)


def test_report():
    check = check_balmer_lines(air_from_vacuum(GRID), noisy(50, 50.0))
    lines = str(check).splitlines()
    assert len(lines) == 6
    assert "-84 km/s being expected in air: the wavelengths are in air." in lines[0]
    assert re.match(r"  H-beta +-[89]\d \+- +\d km/s \(-1\.\d\d A, n = 50\)", lines[2])
    check.require("air")
    with pytest.raises(ValueError, match=r"The Balmer lines lie at -8\d .*Try spectra.to_vacuum"):
        check.require("vacuum")
    with pytest.raises(ValueError, match="medium='Vacuum': expected 'vacuum' or 'air'"):
        check.require("Vacuum")


def test_one_vector_of_weights_serves_all_spectra():
    flux = noisy(3, 30.0)
    weight = np.where(abs(GRID - 5500) < 50, 0.0, 2.0)
    flux[:, weight == 0] = 1e3
    for ivar in (weight, weight[np.newaxis]):
        found = check_balmer_lines(GRID, flux, ivar)
        assert found.velocity == check_balmer_lines(GRID, flux, np.tile(weight, (3, 1))).velocity


def test_standard_deviations_with_units():
    flux = noisy(3, 30.0)
    units = {"velocity_scatter": 40e3 * u.m / u.s, "velocity_offset": 10e3 * u.m / u.s}
    found = check_balmer_lines(GRID, flux, **units)
    assert (
        found.odds
        == check_balmer_lines(GRID, flux, velocity_scatter=40.0, velocity_offset=10.0).odds
    )
    with pytest.raises(ValueError, match="velocity_scatter is in Angstrom, but a unit like km / s"):
        check_balmer_lines(GRID, flux, velocity_scatter=1 * u.AA)


def test_messages():
    spectra = Spectra.from_matrix(GRID, noisy(1, 10.0))
    with pytest.raises(TypeError, match="flux and ivar are part of the Spectra"):
        check_balmer_lines(spectra, np.ones(3))
    with pytest.raises(TypeError, match="flux is missing"):
        check_balmer_lines(GRID)
    with pytest.raises(ValueError, match="flux of spectrum 0 has 3 pixels"):
        check_balmer_lines(GRID, np.ones(3))
    with pytest.raises(ValueError, match=r"min_odds=1: expected a ratio above 1"):
        check_balmer_lines(spectra, min_odds=1)
    with pytest.raises(ValueError, match=r"velocity_offset=-1.0: expected a standard deviation"):
        check_balmer_lines(spectra, velocity_offset=-1.0)


def test_chi_square_against_lstsq():
    rng = np.random.default_rng(0)
    flux, ivar = rng.normal(size=(4, 30)), rng.uniform(0.2, 2, size=(4, 30))
    terms = rng.normal(size=(3, 30, 5))
    for row, weight, found in zip(flux, ivar, _least_chi_square(flux, ivar, terms), strict=True):
        root = np.sqrt(weight)
        expected = [np.linalg.lstsq(t * root[:, None], row * root, rcond=None)[1][0] for t in terms]
        assert_allclose(found, expected, rtol=1e-6)


def test_spectra_that_lack_a_line_gain_nothing():
    offset, trial = line_offsets(3000.0), np.arange(-100.0, 101.0, 20.0)
    flux = np.tile(1 - np.exp(-0.5 * (offset / 500) ** 2), (2, 1))
    ivar = np.ones_like(flux)
    ivar[1, : offset.size // 4] = 0
    gain = line_gain(flux, ivar, offset, trial)
    assert (gain[0] > 0).all()
    assert_array_equal(gain[1], 0)


def test_peak_of_a_parabola():
    trial = np.arange(-100.0, 101.0, 20.0)
    gain = 50 - (trial - np.array([[13.0], [-42.0], [150.0], [0.0]])) ** 2 / 30.0**2
    gain[3] -= 20
    velocity, error = peak_velocity(gain, trial, min_gain=40.0)
    # Chi-square rises by 1 one standard error away.
    assert_allclose(velocity, [13, -42, np.nan, np.nan])
    assert_allclose(error, [30, 30, np.nan, np.nan])


def test_weighted_median_is_the_median_of_repeated_values():
    rng = np.random.default_rng(0)
    values = rng.normal(size=401)
    assert_allclose(_weighted_median(values, np.full(401, 0.3)), np.median(values))
    weight = np.where(values > 1, 1e-9, 1.0)
    assert_allclose(_weighted_median(values, weight), np.median(values[values <= 1]), atol=0.02)


def test_error_of_the_median():
    rng = np.random.default_rng(0)
    trials = rng.normal(scale=30.0, size=(300, 101))
    rows = np.array([_median(row, np.full(101, 5.0), 35.0) for row in trials])
    assert_allclose(rows[:, 1].mean(), rows[:, 0].std(), rtol=0.15)
    assert_allclose(rows[:, 2], 101)
    assert_allclose(_median(np.array([7.0, np.nan]), np.array([5.0, np.nan]), 35.0), (7, 5, 1))


def test_odds_are_a_ratio_of_normal_densities():
    for velocity in (-120.0, -30.0, 10.0):
        density = [np.exp(-0.5 * ((velocity - mean) / 30) ** 2) for mean in (0, AIR)]
        assert_allclose(_decide(velocity, 30.0, 10.0)[0], density[0] / density[1])
    assert _decide(0.0, 0.01, 10.0)[1] == "vacuum"
    assert _decide(-200.0, 1.0, 10.0)[1] == "undecided"


@pytest.fixture(scope="module")
def koester(data_dir):
    """Models of 7000 to 60000 K and log g 7 to 9 at the resolution of LAMOST."""
    with np.load(data_dir / "models_da_koester2010_svo.npz") as grid:
        wavelength, flux, teff, logg = (grid[k] for k in ("wavelength", "flux", "teff", "logg"))
    some = (teff >= 7000) & (teff <= 60000) & (logg >= 7) & (logg <= 9)
    edges = pixel_edges(wavelength)
    blur = pixel_matrix(edges, edges, gaussian_sigma(wavelength, resolution=1800.0))
    return wavelength, (blur @ flux[some].T).T


def test_koester_models(koester):
    wavelength, flux = koester
    check = check_balmer_lines(wavelength, flux)
    assert check.verdict == "vacuum"
    assert abs(check.velocity) < 5
    assert check.n_spectra == len(flux)
    assert_allclose(check.lines["velocity"], 0, atol=20)
    single = [check_balmer_lines(wavelength, row).velocity for row in flux[::20]]
    assert_allclose(single, 0, atol=10)


def test_koester_models_with_noise(koester):
    wavelength, flux = koester
    rng = np.random.default_rng(0)
    snr = rng.uniform(3, 20, size=(100, 1))
    flux = rng.permutation(flux)[:100]
    flux = flux * (1 + rng.normal(size=flux.shape) / snr)
    assert check_balmer_lines(wavelength, flux).verdict == "vacuum"
    assert check_balmer_lines(air_from_vacuum(wavelength), flux).verdict == "air"


def test_long_slit_spectra_in_air(data_dir):
    with np.load(data_dir / "real_wd_narayan2019_spectra.npz") as file:
        arrays = [file[name] for name in ("wavelength", "flux", "flux_err")]
    rows = [[row[np.isfinite(wave)] for row in (wave, flux, error)]
            for wave, flux, error in zip(*arrays, strict=True)]  # fmt: skip
    wavelength, flux, error = zip(*rows, strict=True)
    spectra = Spectra(wavelength, flux, [1 / row**2 for row in error])
    check = check_balmer_lines(spectra)
    assert check.verdict == "air"
    assert abs(check.velocity - AIR) < 2.5 * check.velocity_error
    check_balmer_lines(spectra.to_vacuum()).require("vacuum")


def test_a_star_of_sdss_in_vacuum(data_dir):
    table = fits.getdata(data_dir / "fits" / "spec-sdss-wdtools-sample.fits", 1)
    wavelength = 10 ** table["loglam"].astype(np.float64)
    check = check_balmer_lines(wavelength, table["flux"], table["ivar"])
    assert check.verdict == "vacuum"
    assert 0 < check.velocity < 40
