"""Each step of the degradation by itself, then all together."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
from astropy import units as u
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skestnet.spectra import lamost_grid
from skestnet.templates._defects import gaps
from skestnet.templates._degrade import SpectrumDegrader
from skestnet.templates._draws import Exponential, Normal
from skestnet.templates._extinction import extinction

FINE = np.arange(4400.0, 5600.0, 0.4)
PIXELS = np.linspace(4450.0, 5550.0, 1101)
OFF = {
    "snr": np.inf, "ebv": 0.0, "velocity": 0.0, "warp": 0.0, "sky_residual": 0.0,
    "cosmic_rays": 0.0, "missing": 0.0,
}  # fmt: skip
SPEED_OF_LIGHT = 299_792.458


def only(**params):
    wavelengths = {"wavelength_in": FINE, "wavelength_out": PIXELS, "snr_band": (4450.0, 5551.0)}
    return SpectrumDegrader(**{**wavelengths, **OFF, **params})


def line(wavelength, centre=5000.0, sigma=4.0):
    return 1e5 * (1 - 0.7 * np.exp(-0.5 * ((wavelength - centre) / sigma) ** 2))


def moments(flux):
    """Centre and standard deviation of an absorption line at 5000 A."""
    near = np.abs(PIXELS - 5000) < 25
    depth, wavelength = 1e5 - flux[:, near].astype(float), PIXELS[near]
    depth /= depth.sum(axis=1, keepdims=True)
    centre = depth @ wavelength
    return centre, np.sqrt(np.sum(depth * (wavelength - centre[:, None]) ** 2, axis=1))


def degrade(n=1, seed=0, **params):
    return only(**params).degrade(np.tile(line(FINE), (n, 1)), random_state=seed)


# ---- one step at a time --------------------------------------------------------------------


def test_all_off_is_what_the_grid_observes(line_grid):
    pixels = np.linspace(4050, 4950, 180)
    flux, expected = line_grid.flux, line_grid.observe(pixels, resolution=500).flux
    degrader = SpectrumDegrader(line_grid.wavelength, pixels, resolution=500, **OFF)
    assert_allclose(degrader.degrade(flux).flux, expected, rtol=1e-5)


@pytest.mark.parametrize("params", [{"resolution": 1000.0}, {"fwhm": 5.0}])
def test_width_of_a_line(params):
    narrow = line(FINE, sigma=1.0)
    _, (width,) = moments(only(**params).degrade(narrow[None]).flux)
    expected = np.sqrt(1.0 + (5.0 / 2.3548) ** 2 + (0.4**2 + 1.0**2) / 12)
    assert_allclose(width, expected, rtol=1e-3)


def test_no_blur():
    sharp = only(resolution=None).degrade(line(FINE)[None]).flux
    assert_allclose(sharp[0], line(PIXELS), rtol=0.01)
    assert_array_equal(sharp, only(fwhm=0.0).degrade(line(FINE)[None]).flux)
    assert_array_equal(sharp, only(resolution=np.inf).degrade(line(FINE)[None]).flux)


def test_drawn_widths():
    given = np.array([500.0, 900.0, 1500.0, 3000.0])
    degraded = degrade(4, resolution=given)
    used = np.asarray(degraded.truth["resolution"])
    assert_allclose(used, given, rtol=0.0152)
    for row, width in zip(degraded.flux, used, strict=True):
        assert_allclose(row, degrade(resolution=float(width)).flux[0], rtol=2e-6)
    drawn = degrade(300, fwhm=(2.0, 6.0)).truth["fwhm"]
    assert_allclose([drawn.min(), drawn.max()], [2, 6], rtol=0.03)


def test_reddening():
    flux, clean = (degrade(3, ebv=ebv).flux for ebv in ([0.0, 0.1, 0.5], 0.0))
    factor = 10 ** (-0.4 * extinction(PIXELS, [[0.0], [0.1], [0.5]]))
    assert_allclose(flux / clean, factor, rtol=2e-3)


@pytest.mark.parametrize("velocity", [-900.0, -13.0, 40.0, 2000.0])
@pytest.mark.parametrize("kind", ["even", "uneven"])
def test_radial_velocity(velocity, kind):
    fine = FINE if kind == "even" else np.sort(np.r_[FINE, FINE[1000:1500] + 0.1])
    degrader = SpectrumDegrader(fine, PIXELS, **{**OFF, "velocity": velocity})
    beta = velocity / SPEED_OF_LIGHT
    stretch = np.sqrt((1 + beta) / (1 - beta))
    shifted = line(fine, 5000 * stretch, 4 * stretch)
    expected = SpectrumDegrader(fine, PIXELS, **OFF).degrade(shifted[None]).flux
    assert_allclose(degrader.degrade(line(fine)[None]).flux, expected, rtol=1e-4)


def test_velocity_of_coarse_templates():
    """One pixel of the template is 1.4 standard deviations of the line."""
    coarse = np.exp(np.arange(np.log(4400), np.log(5600), 1e-4 * np.log(10)))
    given = np.linspace(-200, 200, 41)
    degrader = SpectrumDegrader(coarse, PIXELS, **{**OFF, "velocity": given})
    centre, width = moments(degrader.degrade(np.tile(line(coarse, sigma=0.8), (41, 1))).flux)
    assert_allclose((centre / 5000 - 1) * SPEED_OF_LIGHT, given, atol=1.0)
    assert_allclose(width, width[20], rtol=0.01)


def test_warp_is_smooth_and_as_strong_as_asked():
    ratio = np.log(degrade(2000, warp=0.05).flux / degrade().flux)
    assert_allclose(ratio.std(), 0.05, rtol=0.05)
    assert abs(ratio.mean()) < 0.002
    assert np.abs(np.diff(ratio, axis=1)).max() < 5e-3
    assert_allclose(degrade(2000, warp=0.1).flux / degrade().flux, np.exp(2 * ratio), rtol=1e-4)


def test_the_arms_disagree_by_a_step():
    wavelength = np.arange(5000.0, 6600.0, 0.5)
    params = {**OFF, "warp": 0.1, "snr_band": (5100, 5500)}
    degrader = SpectrumDegrader(wavelength, np.arange(5050.0, 6550.0), **params)
    ratio = np.log(degrader.degrade(np.ones((3000, wavelength.size)), random_state=0).flux)
    curvature = np.abs(np.diff(ratio, 2, axis=1)).mean(axis=0)
    assert abs(5051 + curvature.argmax() - 5800) < 80
    assert curvature.max() > 2 * curvature[[400, 1100]].max()


@pytest.mark.parametrize("noise", ["white", "lamost"])
def test_noise_is_what_the_inverse_variance_says(noise):
    degraded, clean = degrade(200, snr=(1.0, 30.0), noise=noise), degrade().flux
    pull = (degraded.flux - clean) * np.sqrt(degraded.ivar)
    assert_allclose(np.mean(pull**2), 1.0, atol=0.02)
    assert_allclose(np.mean(pull[:, 1:] * pull[:, :-1]), 0.0, atol=0.01)
    assert_allclose(np.mean(pull**2, axis=0), 1.0, atol=0.5)


@pytest.mark.parametrize("noise", ["white", "lamost"])
def test_median_snr_is_the_drawn_one(noise):
    degraded, clean = degrade(50, snr=(0.5, 200.0), noise=noise), degrade().flux
    snr = np.median(clean * np.sqrt(degraded.ivar), axis=1)
    assert_allclose(snr, degraded.truth["snr"], rtol=1e-4)
    assert_allclose(
        np.median(np.log(degrade(3000, snr=(0.5, 200.0)).truth["snr"])), np.log(10), atol=0.2
    )


def test_infinite_snr_keeps_a_finite_inverse_variance():
    degraded = degrade()
    assert_allclose(np.median(degraded.flux * np.sqrt(degraded.ivar)), 1e6, rtol=1e-3)


def test_snr_band():
    degraded, clean = degrade(5, snr=10.0, snr_band=(5000, 5100)), degrade().flux
    band = (PIXELS >= 5000) & (PIXELS < 5100)
    snr = (clean * np.sqrt(degraded.ivar))[:, band]
    assert_allclose(np.median(snr, axis=1), 10.0, rtol=1e-4)


def sky_problem(**params):
    wavelength = np.arange(5500.0, 5700.0, 0.5)
    pixels = np.arange(5520.0, 5680.0)
    defaults = {**OFF, "snr": 10.0, "sky": 1.0, "snr_band": (5520.0, 5680.0)}
    degrader = SpectrumDegrader(wavelength, pixels, **{**defaults, **params})
    return pixels, degrader.degrade(np.ones((3000, wavelength.size)), random_state=0)


def test_residuals_of_sky_lines():
    pixels, clean = sky_problem()
    residual = sky_problem(sky_residual=2.0)[1].flux - clean.flux
    strength = (residual * np.sqrt(clean.ivar)).std(axis=0)
    near = np.abs(pixels - 5579.2) < 1
    assert_allclose(strength[near], 2.0, rtol=0.1)
    assert strength[np.abs(pixels - 5579.2) > 15].max() < 0.05


def test_cosmic_rays():
    _, clean = sky_problem()
    _, hit = sky_problem(cosmic_rays=1.5)
    height = (hit.flux - clean.flux) * np.sqrt(clean.ivar)
    assert_array_equal(hit.ivar, clean.ivar)
    assert_allclose(hit.truth["cosmic_rays"].mean(), 1.5, atol=0.1)
    assert_allclose(height[height > 0].mean(), 15, rtol=0.05)
    assert height.min() > -1e-3
    counted = (height > 1e-3).sum(axis=1)
    assert np.mean(counted == hit.truth["cosmic_rays"]) > 0.97


def test_gaps():
    degraded = degrade(2000, missing=0.36)
    lost = degraded.mask.any(axis=1)
    assert_array_equal(lost, np.asarray(degraded.truth["missing"]) > 0)
    assert_allclose(lost.mean(), 0.3, atol=0.03)
    assert not degraded.flux[degraded.mask].any()
    assert not degraded.ivar[degraded.mask].any()
    single = np.asarray(degraded.truth["missing"]) == 1
    whole = single & ~degraded.mask[:, -1]
    width = degraded.mask[whole].sum(axis=1) * (PIXELS[1] - PIXELS[0])
    assert 4 <= width.min() <= 6
    assert 150 < width.max() <= 201
    assert_allclose(np.median(width), np.sqrt(5 * 200), rtol=0.25)
    runs = np.diff(degraded.mask[whole].astype(int), prepend=0, axis=1) == 1
    assert (runs.sum(axis=1) == 1).all()


def test_a_gap_loses_a_pixel_however_wide_it_is():
    mask = gaps(np.arange(4000.0, 8000.0, 100.0), np.ones(500, int), np.random.default_rng(0))
    assert mask.any(axis=1).all()


# ---- what may be drawn ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "low", "high"),
    [(0.2, 0.2, 0.2), ((0.1, 0.3), 0.1, 0.3), (lambda rng, n: rng.uniform(0.5, 0.6, n), 0.5, 0.6)],
)
def test_draws(given, low, high):
    drawn = degrade(500, ebv=given).truth["ebv"]
    assert_allclose([drawn.min(), drawn.max()], [low, high], atol=0.01)


def test_widths_are_the_same_for_one_spectrum_or_many():
    one, many = (degrade(n, resolution=(500.0, 3000.0)) for n in (1, 5))
    assert one.truth["resolution"][0] == many.truth["resolution"][0]
    assert_array_equal(one.flux[0], many.flux[0])


def test_given_values():
    given = [10.0, -20.0, 30.0]
    assert_array_equal(degrade(3, velocity=given).truth["velocity"], given)


def test_distributions():
    rng = np.random.default_rng(0)
    assert_allclose(Normal(5.0, 2.0)(rng, 100_000).std(), 2.0, rtol=0.02)
    assert_allclose(Exponential(0.03)(rng, 100_000).mean(), 0.03, rtol=0.02)


# ---- all together --------------------------------------------------------------------------


def all_on(n, seed, **params):
    degrader = SpectrumDegrader(FINE, PIXELS, snr_band=(4450, 5550), **params)
    return degrader.degrade(np.tile(line(FINE), (n, 1)), random_state=seed)


def test_the_same_seed_gives_the_same_bits():
    first, second = all_on(70, 3), all_on(70, 3)
    for a, b in zip(first[1:4], second[1:4], strict=True):
        assert_array_equal(a, b)
    assert (all_on(70, 4).flux != first.flux).mean() > 0.9


def test_more_spectra_leave_the_first_as_they_were():
    few, many = all_on(70, 3), all_on(200, 3)
    for a, b in zip(few[1:4], many[1:4], strict=True):
        assert_array_equal(a, b[:70])
    for name in few.truth.colnames:
        assert_array_equal(few.truth[name], many.truth[name][:70])


@pytest.mark.parametrize("off", ["sky_residual", "cosmic_rays", "missing"])
def test_switching_one_effect_off_leaves_the_noise(off):
    one, other = all_on(20, 3), all_on(20, 3, **{off: 0.0})
    same = np.isclose(one.flux, other.flux, rtol=1e-4, atol=1)
    assert same.mean() > 0.9
    assert_array_equal(one.truth["velocity"], other.truth["velocity"])


def test_a_generator_moves_on():
    rng = np.random.default_rng(0)
    first, second = all_on(2, rng), all_on(2, rng)
    assert (first.flux != second.flux).mean() > 0.9
    assert_array_equal(first.flux, all_on(2, np.random.default_rng(0)).flux)
    assert_array_equal(
        all_on(2, np.random.RandomState(0)).flux, all_on(2, np.random.RandomState(0)).flux
    )


def test_scale_of_the_flux_does_not_matter():
    degrader, flux = only(snr=10.0, missing=1.0), np.tile(line(FINE), (3, 1))
    one, other = (degrader.degrade(unit * flux, random_state=0) for unit in (1.0, 1e-18))
    assert_allclose(other.flux, 1e-18 * one.flux, rtol=1e-5)
    assert_allclose(other.ivar, 1e36 * one.ivar.astype(float), rtol=1e-5)


def test_called_it_returns_flux_with_nan():
    degrader, flux = only(snr=10.0, missing=2.0), np.tile(line(FINE), (5, 1)).astype(np.float32)
    degraded, called = degrader.degrade(flux, random_state=1), degrader(flux, random_state=1)
    assert called.dtype == np.float32
    assert_array_equal(np.isnan(called), degraded.mask)
    assert_array_equal(np.nan_to_num(called), degraded.flux)
    assert (degrader(flux) != degrader(flux)).mean() > 0.9


def test_default_pixels():
    wavelength = np.arange(3900.0, 8100.0)
    assert_array_equal(
        SpectrumDegrader(wavelength).degrade(np.ones((1, 4200))).wavelength, lamost_grid()
    )
    short = SpectrumDegrader(wavelength[:2000], velocity=0.0).degrade(np.ones((1, 2000))).wavelength
    assert_array_equal(short, lamost_grid()[: short.size])
    assert 5880 < short[-1] < 5899


@given(
    n=st.integers(1, 70),
    snr=st.floats(0.1, 1e4),
    ebv=st.floats(0, 2),
    velocity=st.floats(-1000, 1000),
    warp=st.floats(0, 0.3),
    rates=st.tuples(*[st.floats(0, 10)] * 3),
    noise=st.sampled_from(["lamost", "white"]),
    resolution=st.one_of(st.none(), st.floats(300, 5000)),
)
@settings(deadline=None, max_examples=40, derandomize=True)
def test_whatever_is_drawn(n, snr, ebv, velocity, warp, rates, noise, resolution):
    wavelength = np.arange(4900.0, 5300.0)
    pixels = np.arange(4950.0, 5250.0, 1.5)
    degrader = SpectrumDegrader(
        wavelength, pixels, snr=snr, ebv=ebv, velocity=velocity, warp=warp, noise=noise,
        sky_residual=rates[0], cosmic_rays=rates[1], missing=rates[2], resolution=resolution,
    )  # fmt: skip
    flux = np.random.default_rng(n).uniform(0, 1, (n, wavelength.size))
    out = degrader.degrade(flux, random_state=n)
    assert out.flux.shape == out.ivar.shape == out.mask.shape == (n, pixels.size)
    assert out.flux.dtype == out.ivar.dtype == np.float32
    assert np.isfinite(out.flux).all()
    assert np.isfinite(out.ivar).all()
    assert (out.ivar >= 0).all()
    assert_array_equal(out.mask, out.ivar == 0)
    assert len(out.truth) == n


def test_parameters_are_those_of_an_estimator():
    degrader = SpectrumDegrader(FINE, PIXELS, snr=(1, 5))
    assert clone(degrader).get_params()["snr"] == (1, 5)
    assert "snr=(1, 5)" in repr(degrader)
    assert degrader.get_params()["velocity"] == Normal(0.0, 50.0)


def test_changed_parameters_are_noticed():
    degrader, flux = only(), line(FINE)[None]
    first = degrader.degrade(flux).flux
    second = degrader.set_params(resolution=300.0).degrade(flux).flux
    assert_allclose(second, only(resolution=300.0).degrade(flux).flux)
    assert np.abs(second - first).max() > 1e3


def test_copies_work_after_use():
    degrader, flux = only(snr=5.0), line(FINE)[None]
    expected = degrader.degrade(flux, random_state=0).flux
    for copy in (pickle.loads(pickle.dumps(degrader)), deepcopy(degrader)):
        assert_array_equal(copy.degrade(flux, random_state=0).flux, expected)
    assert len(pickle.dumps(degrader)) < 50_000


@pytest.mark.parametrize(
    ("quantity", "plain"),
    [
        ({"velocity": 1e5 * u.m / u.s}, {"velocity": 100.0}),
        ({"velocity": [1e5, 2e5] * u.m / u.s}, {"velocity": [100.0, 200.0]}),
        ({"velocity": (-1e5 * u.m / u.s, 0 * u.km / u.s)}, {"velocity": (-100.0, 0.0)}),
        ({"velocity": lambda _, n: np.full(n, 1e5) * u.m / u.s}, {"velocity": [100.0, 100.0]}),
        ({"fwhm": 0.5 * u.nm}, {"fwhm": 5.0}),
        ({"ebv": 200 * u.mmag}, {"ebv": 0.2}),
        ({"snr": 5.0 * u.dimensionless_unscaled}, {"snr": 5.0}),
        ({"snr": 5.0, "snr_band": (445, 555) * u.nm}, {"snr": 5.0, "snr_band": (4450, 5550)}),
        (
            {"snr": 5.0, "snr_band": (445 * u.nm, 555 * u.nm)},
            {"snr": 5.0, "snr_band": (4450, 5550)},
        ),
    ],
)
def test_quantities(quantity, plain):
    expected = degrade(2, **plain).flux
    assert_allclose(degrade(2, **quantity).flux, expected, rtol=1e-4)
    assert np.abs(degrade(2, snr=plain.get("snr", np.inf)).flux / expected - 1).max() > 1e-3 or (
        "snr" in plain
    )


def test_quantities_of_another_kind():
    with pytest.raises(u.UnitConversionError, match="velocity is in nm"):
        degrade(2, velocity=3 * u.nm)


def test_distributions_are_covered_before_any_work():
    """At no velocity the pixels are covered, and by the widest draw of a hundred they are not."""
    near = np.linspace(4410.0, 5590.0, 1101)
    assert only(wavelength_out=near).check()
    with pytest.raises(ValueError, match="radial velocities of -900 to 900 km/s"):
        only(wavelength_out=near, velocity=Normal(0, 150)).check()
    with pytest.raises(ValueError, match="radial velocities of 0 to 3000 km/s"):
        only(wavelength_out=near, velocity=Exponential(200.0)).check()
    with pytest.raises(ValueError, match="with the line-spread function"):
        only(wavelength_out=near, fwhm=Normal(8.0, 1.0)).check()
    assert only(wavelength_out=near, velocity=Normal(0, 20)).check()


def test_default_pixels_are_covered_by_every_draw():
    fine = np.arange(4400.0, 5600.0, 0.4)
    velocity = Normal(0, 150)
    degrader = SpectrumDegrader(fine, velocity=velocity, noise="white", snr_band=(4450, 5500))
    wavelength = degrader.degrade(np.ones((1, fine.size)), random_state=0).wavelength
    assert 4400 * (1 + 900 / SPEED_OF_LIGHT) < wavelength[0] < 4420
    for seed in range(30):
        degrader.degrade(np.ones((32, fine.size)), random_state=seed)
    slow = SpectrumDegrader(fine, noise="white", snr_band=(4450, 5500), velocity=Normal(0, 10))
    assert slow.degrade(np.ones((1, fine.size))).wavelength[0] < wavelength[0]


# ---- mistakes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"snr": 0.0}, "snr has the value 0, which is not between"),
        ({"snr": (0.0, 5.0)}, "snr has the value 0"),
        ({"ebv": -0.1}, "ebv has the value -0.1"),
        ({"ebv": np.nan}, "ebv has the value nan"),
        ({"velocity": 1e5}, "velocity has the value 100000"),
        ({"resolution": 0.0}, "resolution has the value 0"),
        ({"fwhm": -1.0}, "fwhm has the value -1"),
        ({"warp": (0.2, 0.1)}, "the smaller first"),
        ({"snr": (1.0, 2.0, 3.0)}, "a tuple is a range"),
        ({"snr": "high"}, "snr='high' is not understood"),
        ({"cosmic_rays": None}, "cosmic_rays has the value nan"),
        ({"noise": "pink"}, "Choose 'lamost'"),
        ({"noise": ["white"]}, "Choose 'lamost'"),
        ({"snr_band": (6000.0, 7000.0)}, "contains no pixel of wavelength_out"),
        ({"snr_band": (5000.0, 4500.0)}, "the shorter first"),
        ({"wavelength_out": [5000.0, 4000.0]}, "wavelength_out must be finite and strictly"),
        ({"wavelength_out": np.arange(4000.0, 5000.0)}, "Try a shorter wavelength_out"),
        ({"velocity": (-3000.0, 3000.0)}, "radial velocities of -3000 to 3000 km/s"),
        ({"fwhm": 100.0}, "with the line-spread function"),
        ({"wavelength_in": [4400.0, 4400.0]}, "wavelength_in must be finite and strictly"),
    ],
)
def test_check_finds_mistakes_before_any_work(params, message):
    with pytest.raises(ValueError, match=message):
        only(**params).check()


def test_no_default_pixel_is_covered():
    with pytest.raises(ValueError, match="wavelength_in covers 9000"):
        SpectrumDegrader(np.arange(9000.0, 9500.0)).check()


def test_reddening_where_the_law_is_undefined():
    wavelength = np.arange(2900.0, 3200.0)
    params = {**OFF, "noise": "white", "snr_band": (2950, 3150)}
    degrader = SpectrumDegrader(wavelength, wavelength[50:-50], **params).check()
    with pytest.raises(ValueError, match="outside 3030-33333 A"):
        degrader.set_params(ebv=Exponential(0.1)).check()


def test_templates_that_are_too_coarse():
    coarse = np.arange(4400.0, 5600.0, 5.0)
    with pytest.raises(ValueError, match="lines are lost"):
        only(wavelength_in=coarse).degrade(line(coarse, sigma=3.0)[None])
    smooth = only(wavelength_in=coarse).degrade(coarse[None]).flux[0]
    assert_allclose(smooth, PIXELS, rtol=1e-5)


def test_check_returns_the_degrader():
    degrader = only()
    assert degrader.check() is degrader


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"snr": [1.0, 2.0]}, "one value for each of the 3 spectra .* as augment of an EstNet"),
        ({"ebv": lambda rng, n: rng.normal(-1, 0.1, n)}, "ebv has the value"),
        ({"ebv": lambda *_: 0.1}, "f\\(rng, n\\)"),
        ({"velocity": Normal(-2900.0, 1.0)}, "radial velocities of -29"),
    ],
)
def test_drawn_values_are_checked(params, message):
    with pytest.raises(ValueError, match=message):
        degrade(3, **params)


def bad_flux(value):
    flux = np.ones((100, FINE.size))
    flux[80, 700] = value
    return flux


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_bad_flux(value):
    with pytest.raises(ValueError, match="in row 80, but noiseless spectra"):
        only().degrade(bad_flux(value))


@pytest.mark.parametrize("shape", [(FINE.size,), (2, FINE.size - 1), (1, 2, FINE.size)])
def test_bad_shape(shape):
    with pytest.raises(ValueError, match=rf"\(n_spectra, {FINE.size}\) is needed"):
        only().degrade(np.ones(shape))


def test_no_spectrum():
    with pytest.raises(ValueError, match="at least one is needed"):
        only().degrade(np.ones((0, FINE.size)))


def test_dark_spectrum():
    with pytest.raises(ValueError, match="flux is 0 in row 1"):
        only().degrade(np.vstack([line(FINE), 0 * FINE]))
    with pytest.raises(ValueError, match="in snr_band is 0"):
        only(snr=3.0).degrade(np.where(FINE < 5400, 0.0, 1.0)[None])
    with pytest.raises(ValueError, match="in snr_band is 0"):
        only(snr_band=(4500, 5000)).degrade(np.where(FINE < 5400, 0.0, 1.0)[None])


def test_unit_beyond_float32():
    with pytest.raises(ValueError, match="Try another unit"):
        only(snr=10.0).degrade(1e-27 * line(FINE)[None])
