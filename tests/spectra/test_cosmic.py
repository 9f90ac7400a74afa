import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import median_filter

from skestnet.spectra._cosmic import CosmicRayClipper, local_noise, running_median

N_PIXELS = 2000


def removed(flux, **params):
    return np.isnan(CosmicRayClipper(**params).fit_transform(flux))


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(size=(60, N_PIXELS))


def gaussian(centre, fwhm):
    return np.exp(-4 * np.log(2) * ((np.arange(N_PIXELS) - centre) / fwhm) ** 2)


def test_running_median_is_that_of_each_row(noise):
    expected = [median_filter(row, 13, mode="nearest") for row in noise]
    assert_array_equal(running_median(noise, 13), expected)
    assert_array_equal(running_median(noise[:, :3], 13).shape, (60, 3))


def test_noise_does_not_see_slopes_and_spikes(noise):
    scale = np.linspace(2, 3, N_PIXELS)
    slope = 50 * np.arange(N_PIXELS)
    flux = slope + scale * noise
    flux[:, ::40] += 100
    assert_allclose(local_noise(flux).mean(axis=0), scale, rtol=0.2)
    assert np.isnan(local_noise(noise[:, :4])).all()


@pytest.mark.parametrize("n_hit", [1, 2])
@pytest.mark.parametrize(("height", "least"), [(10, 0.99), (1e4, 1.0)])
def test_spikes_are_found_and_nothing_else(noise, n_hit, height, least):
    flux = 20 + noise
    hit = np.zeros(N_PIXELS, dtype=bool)
    for pixel in range(n_hit):
        hit[11 + pixel :: 37] = True
    flux[:, hit] += height
    spikes = removed(flux.astype("f4"))
    assert spikes[:, hit].mean() >= least
    assert spikes[:, ~hit].mean() < 1e-4
    # the control: as wide as a line, they stay
    assert removed(20 + noise + height * gaussian(900.3, 6)).mean() < 1e-3


def test_false_positives_on_pure_noise():
    flux = np.random.default_rng(1).normal(size=(300, N_PIXELS))
    assert removed(flux).mean() < 1e-4
    assert removed(flux, threshold=2.5).mean() > 1e-3  # the control


@pytest.mark.parametrize("depth", [-1, 1, 30])
@pytest.mark.parametrize("fwhm", [2.8, 5, 30, 150])
@pytest.mark.parametrize("noisy", [False, True])
def test_lines_are_left_alone(noise, fwhm, depth, noisy):
    if noisy and depth > 0 and fwhm < 5:
        depth *= 20  # noise narrows faint lines
    centre = np.linspace(700.1, 1200.4, len(noise))[:, np.newaxis]
    flux = 100 * (1 + depth * gaussian(centre, fwhm)) + (noise if noisy else 0)
    near = gaussian(centre, 3 * fwhm) > 0.1
    assert (removed(flux) & near).any(axis=1).mean() < (0.1 if noisy else 1e-9)


def test_bad_pixels_stay_bad_and_the_unit_does_not_matter(noise):
    flux = 20 + noise
    flux[:, 50] += 30
    flux[:, 51:60] = flux[3] = np.nan  # beside the spike
    spikes = removed(flux) & ~np.isnan(flux)
    assert spikes[:, 50].sum() == 59
    assert_array_equal(removed((1e-17 * flux).astype("f4")), removed(flux.astype("f4")))
    assert_array_equal(removed(flux[7:8]), removed(flux)[7:8])


def test_replaced_by_the_median(noise):
    flux = (20 + noise).astype("f4")
    flux[:, 50] += 30
    clean = CosmicRayClipper(replace="median").fit_transform(flux)
    assert clean.dtype == np.float32
    expected = np.where(removed(flux), running_median(flux, 13), flux)
    assert_array_equal(clean, expected)
    assert clean[:, 50].max() < 23


@pytest.mark.parametrize("n_pixels", [1, 2, 4, 5, 30])
def test_short_and_constant_spectra(n_pixels):
    flux = np.full((3, n_pixels), [[0.0], [-2.0], [0.1]])
    assert_array_equal(CosmicRayClipper().fit_transform(flux), flux)
    slope = np.linspace(1, 2, n_pixels)[np.newaxis]
    assert_array_equal(CosmicRayClipper().fit_transform(slope), slope)


def test_a_spike_without_noise():
    flux = np.zeros((1, 30))
    flux[0, 12:14] = 1.0
    assert_array_equal(np.flatnonzero(removed(flux)), [12, 13])
    assert not removed(flux, width=1.5).any()
    assert not removed(-flux).any()
    flux[0, 16:20] = 0.8  # too wide, and not part of the spike
    assert_array_equal(np.flatnonzero(removed(flux)), [12, 13])


def test_rounding_errors_are_no_spikes():
    flux = np.ones((1, 30), dtype="f4")
    flux[0, 12] = np.nextafter(np.float32(1), np.float32(2))
    assert not removed(flux).any()
    flux[0, 12] = 1.01
    assert removed(flux).sum() == 1


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"threshold": 0}, "threshold=0: expected a finite number above 0"),
        ({"threshold": np.nan}, "threshold=nan: expected"),
        ({"width": np.inf}, "width=inf: expected"),
        ({"width": "a"}, "width='a': expected"),
        ({"replace": "mean"}, r"replace='mean' is not known. Choose one of \['median', 'nan'\]"),
    ],
)
def test_messages(params, message):
    with pytest.raises(ValueError, match=message):
        CosmicRayClipper(**params).fit(np.ones((2, 3)))
    with pytest.raises(ValueError, match="infinity"):
        CosmicRayClipper().fit([[np.inf]])
