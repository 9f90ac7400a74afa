"""Laws of the noise against their formulas, and against errors of real spectra."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.spectra import Spectra
from skestnet.templates._degrade import SpectrumDegrader
from skestnet.templates._lamost import native_width, sky_continuum, sky_lines, throughput
from skestnet.templates._noise import LamostNoise, noise_law
from skestnet.templates._patterns import NoisePatterns

WAVELENGTH = np.linspace(4000.0, 8000.0, 801)
BAND = slice(0, 300)


@pytest.fixture
def sight():
    return {
        "snr": np.array([1.0, 10.0, 300.0]),
        "sky": np.array([1.0, 2.0, 0.5]),
        "read_noise": np.array([15.0, 0.0, 30.0]),
    }


def electrons_by_bisection(snr, background):
    low, high = 0.0, 1e9
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if middle < snr * np.sqrt(middle + background) else (low, middle)
    return middle


def test_lamost_noise_pixel_by_pixel(sight):
    flux = np.random.default_rng(0).uniform(0.5, 1.5, (3, WAVELENGTH.size)).astype(np.float32)
    sigma = LamostNoise(WAVELENGTH, BAND).sigma(flux, sight)
    size = 5.0 / native_width(WAVELENGTH)  # native pixels per pixel
    source = size * throughput(WAVELENGTH)
    sky = size * (sky_continuum(WAVELENGTH) + sky_lines(WAVELENGTH).sum(axis=0))
    for i in range(3):
        read = sight["read_noise"][i] ** 2
        dark = sight["sky"][i] * np.median(sky[BAND]) + read * np.median(size[BAND])
        level = electrons_by_bisection(sight["snr"][i], dark) / np.median(source[BAND])
        variance = level * source * flux[i] + sight["sky"][i] * sky + read * size
        expected = np.sqrt(variance) / (level * source)
        assert_allclose(sigma[i] / sigma[i, 0], expected / expected[0], rtol=1e-5)


def test_bright_spectra_have_the_noise_of_their_own_photons(sight):
    law, snr = LamostNoise(WAVELENGTH, BAND), np.full(3, 1e5)
    flux = np.random.default_rng(0).uniform(0.5, 1.5, (3, WAVELENGTH.size)).astype(np.float32)
    sigma = law.sigma(flux, {**sight, "snr": snr})
    expected = np.sqrt(flux / throughput(WAVELENGTH) * native_width(WAVELENGTH))
    ratio = sigma / expected
    assert_allclose(ratio / ratio[:, :1], 1.0, rtol=1e-3)


def test_faint_spectra_do_not_shape_their_noise(sight):
    law, snr = LamostNoise(WAVELENGTH, BAND), np.full(3, 0.01)
    flat = np.ones((3, WAVELENGTH.size), np.float32)
    steep = flat * np.linspace(2, 0, WAVELENGTH.size, dtype=np.float32)
    sigma = [law.sigma(flux, {**sight, "snr": snr}) for flux in (flat, steep)]
    assert_allclose(sigma[0], sigma[1], rtol=1e-2)


def test_lamost_noise_follows_real_errors(data_dir):
    """Per spectrum, from its own flux, between the lines of the sky, in steps of 25 A."""
    with np.load(data_dir / "real_lamost_lrs_stars.npz") as stored:
        wavelength, flux, ivar = (stored[k].astype(float) for k in ("wavelength", "flux", "ivar"))
    near = (wavelength > 4300) & (wavelength < 7000)
    wavelength, flux, ivar = wavelength[near], flux[:, near], ivar[:, near]
    good = ((ivar > 0).mean(axis=1) > 0.95) & (np.median(flux, axis=1) > 0)
    flux, ivar = flux[good], ivar[good]
    band = slice(0, np.searchsorted(wavelength, 5500))
    snr = np.median((flux * np.sqrt(ivar))[:, band], axis=1)
    unit = np.maximum(flux / flux[:, band].mean(axis=1, keepdims=True), 0).astype(np.float32)
    one = np.ones(len(unit))
    sight = {"snr": snr, "sky": one, "read_noise": 15 * one}
    predicted = LamostNoise(wavelength, band).sigma(unit, sight)
    actual = np.where(ivar > 0, ivar, np.inf) ** -0.5 / np.median(flux[:, band], axis=1)[:, None]
    ratio = np.where(ivar > 0, actual / predicted, np.nan)
    ratio = ratio[:, : 25 * (ratio.shape[1] // 25)].reshape(len(ratio), -1, 25)
    ratio = np.nanmedian(ratio, axis=2)
    ratio /= np.median(ratio, axis=1, keepdims=True)
    assert np.nanmedian(np.abs(np.log(ratio))) < 0.12
    assert np.abs(np.log(np.nanmedian(ratio, axis=0))).max() < 0.25


def test_lines_of_the_sky_are_left_out_where_they_do_not_reach():
    assert sky_lines(np.linspace(5000.0, 5100.0, 50)).shape == (0, 50)
    (line,) = sky_lines(np.linspace(5570.0, 5590.0, 201))
    assert_allclose(np.linspace(5570.0, 5590.0, 201)[line.argmax()], 5579.2, atol=0.1)


def real_spectra():
    rng = np.random.default_rng(1)
    ivar = rng.uniform(1, 4, (3, 41))
    ivar[0, 10:13] = 0  # missing
    ivar[2, 5:] = 0  # useless
    return Spectra.from_matrix(np.linspace(4000, 4100, 41), np.ones((3, 41)), ivar)


def test_patterns_on_the_pixels_of_the_spectra():
    spectra = real_spectra()
    patterns = NoisePatterns.from_spectra(spectra, spectra.wavelength[0])
    assert (len(patterns), patterns.n_left_out) == (2, 1)
    assert_array_equal(np.flatnonzero(patterns.mask[0]), [10, 11, 12])
    assert not patterns.mask[1].any()
    expected = spectra.ivar[1] ** -0.5
    assert_allclose(patterns.noise[1], expected / np.median(expected), rtol=1e-6)
    assert np.isfinite(patterns.noise).all()


def test_patterns_on_other_pixels():
    spectra = real_spectra()
    target = np.array([4000.5, 4027.0, 4099.0])
    patterns = NoisePatterns.from_spectra(spectra, target, max_missing=0.5)
    assert_array_equal(patterns.mask[0], [False, True, False])
    variance = np.interp(target, spectra.wavelength[1], 1 / spectra.ivar[1].astype(float))
    assert_allclose(patterns.noise[1], np.sqrt(variance / np.median(variance)), rtol=1e-6)


def test_pixels_beyond_the_spectra_are_missing():
    patterns = NoisePatterns.from_spectra(real_spectra(), np.linspace(3990, 4100, 50))
    assert patterns.mask[:, :4].all()
    assert not patterns.mask[1, 5:].any()


def test_degraded_spectra_borrow_noise_and_gaps():
    spectra = real_spectra()
    wavelength = spectra.wavelength[0]
    degrader = SpectrumDegrader(
        np.linspace(3990, 4110, 481), wavelength, noise=spectra, snr=50, resolution=None,
        velocity=0, missing=0, warp=0, sky_residual=0, cosmic_rays=0, snr_band=(4000, 4101),
    )  # fmt: skip
    degraded = degrader.degrade(np.ones((40, 481)), random_state=0)
    assert set(degraded.truth["pattern"]) == {0, 1}
    patterns = NoisePatterns.from_spectra(spectra, wavelength)
    for mask, ivar, row in zip(
        degraded.mask, degraded.ivar, degraded.truth["pattern"], strict=True
    ):
        assert_array_equal(mask, patterns.mask[row])
        sigma = ivar[~mask] ** -0.5
        expected = patterns.noise[row, ~mask]
        assert_allclose(sigma / sigma[0], expected / expected[0], rtol=1e-5)


def test_patterns_of_real_spectra(data_dir):
    with np.load(data_dir / "real_lamost_lrs_stars.npz") as stored:
        spectra = Spectra.from_matrix(stored["wavelength"], stored["flux"], stored["ivar"])
    patterns = NoisePatterns.from_spectra(spectra, np.linspace(4000, 8000, 3909))
    assert len(patterns) + patterns.n_left_out == 396
    assert patterns.n_left_out < 20
    blue, red = (np.median(patterns.noise[:, part]) for part in (slice(0, 200), slice(-200, None)))
    assert blue > 3 * red


def test_every_spectrum_useless():
    with pytest.raises(ValueError, match="None of the 1 spectra has at most 10% of its pixels"):
        NoisePatterns.from_spectra(real_spectra()[2], np.linspace(4000, 4100, 41), max_missing=0.1)


def test_patterns_that_disagree():
    with pytest.raises(ValueError, match="both need one row per pattern"):
        NoisePatterns(WAVELENGTH, np.ones((2, 801), "f4"), np.zeros((1, 801), bool))


def test_patterns_elsewhere():
    patterns = NoisePatterns.from_spectra(real_spectra(), np.linspace(4000, 4100, 41))
    with pytest.raises(ValueError, match="from_spectra"):
        noise_law(patterns, WAVELENGTH, BAND)


def test_unknown_law():
    with pytest.raises(ValueError, match="Choose 'lamost', 'white'"):
        noise_law("pink", WAVELENGTH, BAND)


def test_lamost_noise_beyond_its_table():
    with pytest.raises(ValueError, match="is known between 3700 and 9100 A"):
        noise_law("lamost", np.linspace(3600.0, 5000.0, 10), slice(5, 10))
