"""make_white_dwarfs: its contract, its physics against slower code and real models, its noise."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from skestnet.datasets import _physics as physics
from skestnet.datasets import _survey as survey
from skestnet.datasets import make_white_dwarfs

H_ALPHA, H_BETA, H_GAMMA, H_DELTA = 6564.61, 4862.68, 4341.68, 4102.89
WINDOWS = {H_ALPHA: 200.0, H_BETA: 180.0, H_GAMMA: 110.0, H_DELTA: 75.0}
PLAIN = {"reddening": 0.0, "velocity": 0.0, "warp": 0.0, "defects": False}
NOISELESS = {"snr": 1e4, "defects": False}
FINE = np.arange(3900.0, 8100.0, 1.0)


def star(teff, logg, wavelength=FINE, velocity=0.0):
    teff, logg = np.array([float(teff)]), np.array([float(logg)])
    return physics.white_dwarf_flux(wavelength, teff, logg, velocity)[0].astype(float)


def absorption(wavelength, flux, line):
    """Line depth against a straight continuum through the ends of the window."""
    near = np.abs(wavelength - line) < WINDOWS[line]
    w, f = wavelength[near], flux[near]
    ends = [np.abs(w - w[i]) < 15.0 for i in (0, -1)]
    continuum = np.interp(w, [w[e].mean() for e in ends], [f[e].mean() for e in ends])
    return w, 1.0 - f / continuum


def equivalent_width(wavelength, flux, line):
    w, depth = absorption(wavelength, flux, line)
    return np.sum(depth * np.gradient(w))


def width_at(level, wavelength, flux, line):
    """Full width of the line where its absorption is `level` of the greatest."""
    w, depth = absorption(wavelength, flux, line)
    x = np.linspace(w[0], w[-1], 5000)
    return np.ptp(w) * np.mean(np.interp(x, w, depth) > level * depth.max())


# --- the contract ---------------------------------------------------------------------------------


def test_shapes_and_types():
    dwarfs = make_white_dwarfs(70, 50, outlier_fraction=0.1, random_state=0)
    assert dwarfs.data.shape == dwarfs.ivar.shape == (70, 50)
    assert dwarfs.target.shape == dwarfs.truth.shape == (70, 2)
    assert dwarfs.wavelength.shape == (50,)
    assert dwarfs.snr.shape == dwarfs.is_outlier.shape == (70,)
    assert dwarfs.data.dtype == dwarfs.ivar.dtype == np.float32
    assert dwarfs.target.dtype == dwarfs.truth.dtype == np.float64
    assert dwarfs.is_outlier.dtype == bool
    assert dwarfs.target_names == ["teff", "logg"]
    assert "LAMOST" in dwarfs.DESCR


def test_return_data_and_target():
    X, y = make_white_dwarfs(5, 50, return_X_y=True, random_state=0)
    dwarfs = make_white_dwarfs(5, 50, random_state=0)
    np.testing.assert_array_equal(X, dwarfs.data)
    np.testing.assert_array_equal(y, dwarfs.target)


@pytest.mark.parametrize("n_pixels", [1, 2, 3, 10, 3909, 5000])
def test_any_number_of_pixels(n_pixels):
    dwarfs = make_white_dwarfs(5, n_pixels, random_state=0)
    assert dwarfs.data.shape == (5, n_pixels)
    assert np.isfinite(dwarfs.data).all()
    assert np.isfinite(dwarfs.ivar).all()
    assert (dwarfs.ivar >= 0).all()
    assert 4000 < dwarfs.wavelength.min() <= dwarfs.wavelength.max() < 8000


def test_extreme_parameters_stay_finite():
    dwarfs = make_white_dwarfs(
        100, 200, snr=1e5, snr_scatter=3.0, reddening=2.0, velocity=3000.0, resolution=100.0,
        warp=1.0, label_noise=(1.0, 1.0), outlier_fraction=1.0, random_state=0,
    )  # fmt: skip
    for name in ("data", "ivar", "target", "truth", "snr"):
        assert np.isfinite(dwarfs[name]).all(), name
    assert (dwarfs.target[:, 0] > 0).all()


def test_reproducible():
    first, again, state, other = (
        make_white_dwarfs(5, 50, random_state=seed) for seed in (3, 3, np.random.RandomState(3), 4)
    )
    for name in ("data", "ivar", "target", "truth"):
        np.testing.assert_array_equal(first[name], again[name])
        np.testing.assert_array_equal(first[name], state[name])
        assert not np.array_equal(first[name], other[name])


def test_global_random_state_untouched():
    before = np.random.get_state()[1].copy()  # noqa: NPY002 (this is what must not move)
    make_white_dwarfs(5, 50, random_state=0)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_more_samples_leave_the_first_as_they_were():
    few, many = (make_white_dwarfs(n, 50, random_state=0) for n in (70, 200))
    np.testing.assert_array_equal(few.target, many.target[:70])
    np.testing.assert_allclose(few.data, many.data[:70], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_samples": 0}, r"n_samples=0, wanted an integer of at least 1; try n_samples=2000"),
        ({"n_samples": 10.0}, r"n_samples=10\.0, wanted an integer"),
        ({"n_pixels": 0}, r"n_pixels=0, wanted an integer of at least 1"),
        ({"snr": 0.0}, r"snr=0\.0, wanted a number between 0\.001 and 100000; try snr=3\.0"),
        ({"snr": np.inf}, r"snr=inf, wanted a number between"),
        ({"snr": np.nan}, r"snr=nan, wanted a number between"),
        ({"snr": "high"}, r"snr='high', wanted a number"),
        ({"snr_scatter": -1.0}, r"snr_scatter=-1\.0, wanted a number between 0 and 3"),
        ({"outlier_fraction": 1.5}, r"outlier_fraction=1\.5, wanted a number between 0 and 1"),
        ({"outlier_fraction": True}, r"outlier_fraction=True, wanted a number"),
        ({"reddening": -0.1}, r"reddening=-0\.1, wanted a number between 0 and 2;"),
        ({"velocity": None}, r"velocity=None, wanted a number between 0 and 3000; .* 0 for none"),
        ({"resolution": 0}, r"resolution=0, wanted a number between 100 and 1e\+06; .* or None"),
        ({"warp": 2}, r"warp=2, wanted a number between 0 and 1"),
        ({"label_noise": 0.1}, r"label_noise=0\.1, wanted two numbers between 0 and 1"),
        ({"label_noise": (0.1, -0.1)}, r"try label_noise=\(0\.026, 0\.08\), or \(0, 0\)"),
        ({"label_noise": ("a", 0.1)}, r"label_noise=\('a', 0\.1\), wanted two numbers"),
    ],
)
def test_error_messages(parameters, message):
    with pytest.raises(ValueError, match=message):
        make_white_dwarfs(**{"n_samples": 3, "n_pixels": 5, **parameters})


# --- labels ---------------------------------------------------------------------------------------


def test_population_resembles_the_paper():
    teff, logg = make_white_dwarfs(20_000, 1, random_state=0).truth.T
    assert 6_000 <= teff.min() < teff.max() <= 80_000
    assert 6.5 <= logg.min() < logg.max() <= 9.5
    assert 9_000 < teff.std() < 12_000
    assert 0.5 < logg.std() < 0.6
    assert 0.65 < np.mean((teff > 10_000) & (teff < 30_000)) < 0.8
    assert np.median(logg) == pytest.approx(8.0, abs=0.02)


def test_label_noise():
    dwarfs = make_white_dwarfs(5000, 1, label_noise=(0.1, 0.2), random_state=0)
    assert np.log(dwarfs.target[:, 0] / dwarfs.truth[:, 0]).std() == pytest.approx(0.1, rel=0.05)
    assert (dwarfs.target - dwarfs.truth)[:, 1].std() == pytest.approx(0.2, rel=0.05)
    exact = make_white_dwarfs(50, 1, label_noise=(0, 0), random_state=0)
    np.testing.assert_array_equal(exact.target, exact.truth)


def test_outliers():
    clean, some, more = (
        make_white_dwarfs(300, 20, outlier_fraction=f, random_state=0) for f in (0.0, 0.2, 0.5)
    )
    assert [d.is_outlier.sum() for d in (clean, some, more)] == [0, 60, 150]
    assert more.is_outlier[some.is_outlier].all()
    np.testing.assert_array_equal(clean.data, some.data)
    np.testing.assert_array_equal(clean.truth, some.truth)
    np.testing.assert_array_equal(clean.target[~some.is_outlier], some.target[~some.is_outlier])
    np.testing.assert_array_equal(some.target[some.is_outlier], more.target[some.is_outlier])
    error = np.abs(some.target - some.truth)
    assert (error[some.is_outlier].mean(axis=0) > 4 * error[~some.is_outlier].mean(axis=0)).all()


# --- physics --------------------------------------------------------------------------------------


def test_flux_against_plain_loop():
    """The same formula, one wavelength and one line at a time, in double precision."""
    teff, logg = 14_300.0, 8.4
    x, g = (np.log10(teff) - 4.3) / 0.6, logg - 8.0

    def series(constant, times_g):
        def total(c):
            return sum(c_k * np.cos(k * np.arccos(x)) for k, c_k in enumerate(c))

        return total(constant) + g * total(times_g)

    def planck(w):
        return w**-5.0 / np.expm1(1.438776877e8 / (w * teff))

    wavelength = np.array([4000.0, 4103.0, 4350.0, 4860.0, 5500.0, 6500.0, 7900.0])
    expected = []
    for w in wavelength:
        taus, depths = [], []
        for centre, c, c_x, c_g, ln_width, a, a_x in physics._LINES:
            width = np.exp(ln_width + series(physics._WIDTH, physics._WIDTH_G))
            strength = c + c_x * x + c_g * g + series(physics._STRENGTH, physics._STRENGTH_G)
            taus.append(np.exp(strength) / (abs(w - centre) + width) ** 2.5)
            logit = a + a_x * x + series(physics._DEPTH, physics._DEPTH_G)
            depths.append(1.0 / (1.0 + np.exp(-logit)))
        u = (w - 6000.0) / 2000.0
        slope = series(physics._SLOPE, physics._SLOPE_G)
        curvature = series(physics._CURVATURE, physics._CURVATURE_G)
        continuum = planck(w) / planck(5500.0) * np.exp(slope * u + curvature * u**2)
        expected.append(continuum * (1.0 - np.dot(depths, taus) / (1.0 + sum(taus))))
    np.testing.assert_allclose(star(teff, logg, wavelength), expected, rtol=1e-5)


def test_flux_of_a_star_does_not_depend_on_its_neighbours():
    teff, logg, velocity = np.array([8e3, 2e4]), np.array([7.0, 8.5]), np.array([-40.0, 90.0])
    together = physics.white_dwarf_flux(FINE, teff, logg, velocity)
    for row, parameters in zip(together, zip(teff, logg, velocity, strict=True), strict=True):
        alone = star(*parameters[:2], velocity=parameters[2])
        np.testing.assert_allclose(row, alone, rtol=1e-6)


@pytest.mark.parametrize("line", [H_BETA, H_GAMMA, H_DELTA])
def test_balmer_lines_peak_near_13000_kelvin(line):
    teff = np.arange(7_000.0, 40_000.0, 250.0)
    strength = [equivalent_width(FINE, star(t, 8.0), line) for t in teff]
    assert 12_000 <= teff[np.argmax(strength)] <= 14_500


@pytest.mark.parametrize("line", [H_ALPHA, H_BETA, H_GAMMA, H_DELTA])
@pytest.mark.parametrize("teff", [12_000, 15_000, 20_000, 30_000, 40_000])
def test_wings_widen_with_gravity(teff, line):
    spectra = [star(teff, logg) for logg in (7.0, 7.5, 8.0, 8.5, 9.0)]
    assert (np.diff([width_at(0.5, FINE, s, line) for s in spectra]) > 0).all()
    assert (np.diff([width_at(0.2, FINE, s, line) for s in spectra]) > -1e-9).all()


@pytest.mark.parametrize("teff", [12_000, 20_000, 30_000])
def test_gravity_quenches_higher_lines(teff):
    spectra = [star(teff, logg) for logg in (7.0, 8.0, 9.0)]
    ratio = [
        equivalent_width(FINE, s, H_DELTA) / equivalent_width(FINE, s, H_BETA) for s in spectra
    ]
    assert (np.diff(ratio) < 0).all()


def test_velocity_moves_lines():
    fine = np.arange(4840.0, 4890.0, 0.05)
    at_rest, moving = (
        fine[np.argmin(star(15_000, 8.0, fine, np.array([v])))] for v in (0.0, 600.0)
    )
    assert at_rest == pytest.approx(H_BETA, abs=0.5)
    assert moving / at_rest - 1.0 == pytest.approx(600.0 / 299_792.458, rel=0.1)


def test_extinction_curve():
    a_v, a_b = physics.extinction_curve(np.array([1e4 / 1.82, 4400.0]))
    assert a_v == pytest.approx(3.1)
    assert a_b - a_v == pytest.approx(1.0, abs=0.02)  # E(B-V) = A(B) - A(V)
    assert (np.diff(physics.extinction_curve(FINE)) < 0).all()


@pytest.fixture(scope="module")
def koester_grid(data_dir):
    path = data_dir / "models_da_koester2010_svo.npz"
    if not path.exists():
        pytest.skip(f"needs model atmospheres: no {path.name} in SKESTNET_DATA")
    with np.load(path) as archive:
        return dict(archive)


@pytest.mark.parametrize("line", WINDOWS)
def test_lines_agree_with_model_atmospheres(koester_grid, line):
    """Equivalent widths, and widths at half depth, of the models of Koester (2010)."""
    grid = koester_grid
    teff, logg = grid["teff"].astype(float), grid["logg"].astype(float)
    use = np.isin(teff, [8e3, 9e3, 1e4, 12e3, 14e3, 17e3, 2e4, 25e3, 3e4, 4e4])
    use &= np.isin(logg, [7.0, 7.5, 8.0, 8.5, 9.0])
    edges = survey.pixel_edges(survey.N_NATIVE)
    fine, pixels = survey.oversampled(edges, 1800.0), survey.centres(edges)
    blur = survey.instrument_matrix(edges, fine, 1800.0)
    ours = physics.white_dwarf_flux(fine, teff[use], logg[use]) @ blur.T
    wavelength = grid["wavelength"].astype(float)
    theirs = [blur @ np.interp(fine, wavelength, f.astype(float)) for f in grid["flux"][use]]
    ew, half = (
        np.array([measure(pixels, a, line) / measure(pixels, b, line) for a, b in
                  zip(ours.astype(float), theirs, strict=True)])
        for measure in (equivalent_width, lambda *args: width_at(0.5, *args))
    )  # fmt: skip
    assert 0.7 < ew.min() <= ew.max() < 1.35
    assert np.quantile(np.abs(ew - 1.0), 0.85) < 0.2
    assert 0.85 < np.median(half) < 1.15


# --- the survey -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_pixels", [1, 40, 977])
@pytest.mark.parametrize("resolution", [None, 200.0, 1800.0])
def test_instrument_keeps_a_straight_line(n_pixels, resolution):
    edges = survey.pixel_edges(n_pixels)
    fine = survey.oversampled(edges, resolution)
    matrix = survey.instrument_matrix(edges, fine, resolution)
    np.testing.assert_allclose(matrix @ np.ones_like(fine), 1.0, rtol=1e-5)
    tolerance = 0.0 if resolution is None else fine[-1] / resolution**2  # sigma grows with lambda
    centres = survey.centres(edges)
    np.testing.assert_allclose(matrix @ fine, centres, rtol=1e-6, atol=2 * tolerance)


def test_instrument_blurs_to_the_resolution():
    edges = survey.pixel_edges(survey.N_NATIVE)
    fine, pixels = survey.oversampled(edges, 500.0), survey.centres(edges)
    line = survey.instrument_matrix(edges, fine, 500.0) @ (np.abs(fine - 6000.0) < 1.0)
    centre = np.average(pixels, weights=line)
    sigma = np.sqrt(np.average((pixels - centre) ** 2, weights=line))
    assert centre == pytest.approx(6000.0, abs=0.5)
    assert 2.3548 * sigma == pytest.approx(6000.0 / 500.0, rel=0.03)


def residuals(**parameters):
    """(flux - noiseless flux) in units of the stated noise, where there are data."""
    dwarfs = make_white_dwarfs(300, 200, random_state=0, **parameters)
    clean = make_white_dwarfs(300, 200, random_state=0, **NOISELESS)
    return ((dwarfs.data - clean.data) * np.sqrt(dwarfs.ivar))[dwarfs.ivar > 0]


def test_noise_agrees_with_ivar():
    z = residuals(defects=False)
    assert z.mean() == pytest.approx(0.0, abs=0.015)
    assert z.std() == pytest.approx(1.0, abs=0.01)
    assert np.mean(np.abs(z) < 1.0) == pytest.approx(0.6827, abs=0.01)


def test_defects_are_not_in_ivar():
    """The control of the test above: with defects the same statistic must fail."""
    z = residuals(defects=True)
    assert z.std() > 1.05
    assert np.median(np.abs(z)) == pytest.approx(0.6745, abs=0.03)  # most pixels are sound


@pytest.mark.parametrize("n_pixels", [100, 977, 3909])
def test_snr_is_per_native_pixel(n_pixels):
    noisy = make_white_dwarfs(60, n_pixels, snr=5.0, random_state=0, defects=False)
    clean = make_white_dwarfs(60, n_pixels, random_state=0, **NOISELESS)
    blue = noisy.wavelength < 5500.0
    measured = np.median((clean.data * np.sqrt(noisy.ivar))[:, blue], axis=1)
    np.testing.assert_allclose(measured, noisy.snr * np.sqrt(3909 / n_pixels), rtol=0.01)


def test_snr_distribution():
    snr = make_white_dwarfs(5000, 1, snr=4.0, snr_scatter=0.5, random_state=0).snr
    assert np.median(snr) == pytest.approx(4.0, rel=0.05)
    assert np.log(snr).std() == pytest.approx(0.5, rel=0.05)
    same = make_white_dwarfs(50, 1, snr=4.0, snr_scatter=0.0, random_state=0).snr
    np.testing.assert_allclose(same, 4.0)


def test_noise_grows_to_the_blue_and_in_sky_lines():
    dwarfs = make_white_dwarfs(200, 3909, random_state=0, defects=False)
    sigma = np.median(dwarfs.ivar, axis=0) ** -0.5
    blue, green, beside, line = np.interp([4005, 5000, 5560, 5579], dwarfs.wavelength, sigma)
    assert blue / green == pytest.approx(3.0, rel=0.2)
    assert line / beside > 4.0


def test_gaps_are_flagged_and_bridged():
    dwarfs = make_white_dwarfs(300, 977, random_state=0)
    lost = dwarfs.ivar == 0
    assert np.mean(lost.any(axis=1)) == pytest.approx(0.3, abs=0.1)
    assert not lost.all(axis=1).any()
    rows = np.flatnonzero(lost.any(axis=1))
    for row in rows:
        pixels = np.flatnonzero(lost[row])
        assert np.ptp(pixels) == len(pixels) - 1
        if pixels[0] > 0 and pixels[-1] < 976:
            bridge = dwarfs.data[row, pixels[0] - 1 : pixels[-1] + 2]
            straight = np.linspace(bridge[0], bridge[-1], len(bridge))
            np.testing.assert_allclose(bridge, straight, rtol=1e-4, atol=1e-3)
    assert (make_white_dwarfs(50, 977, defects=False, random_state=0).ivar > 0).all()


@pytest.mark.parametrize(
    "effect", [{"reddening": 0.3}, {"velocity": 200.0}, {"warp": 0.1}, {"resolution": 300.0}]
)
def test_each_effect_changes_the_flux_and_nothing_else(effect):
    without = make_white_dwarfs(50, 977, snr=1e4, random_state=0, **PLAIN)
    with_it = make_white_dwarfs(50, 977, snr=1e4, random_state=0, **{**PLAIN, **effect})
    assert np.median(np.abs(with_it.data / without.data - 1.0).max(axis=1)) > 0.01
    for name in ("target", "truth", "snr", "is_outlier"):
        np.testing.assert_array_equal(with_it[name], without[name])


def test_reddening_reddens():
    clean = make_white_dwarfs(200, 50, snr=1e4, random_state=0, **PLAIN)
    dusty = make_white_dwarfs(200, 50, snr=1e4, random_state=0, **{**PLAIN, "reddening": 0.1})
    colour = np.log10(dusty.data / clean.data)[:, [0, -1]] @ [-1.0, 1.0] / 0.4  # magnitudes
    slope = np.subtract(*physics.extinction_curve(clean.wavelength[[0, -1]]))
    assert (colour > -1e-3).all()
    assert np.mean(colour / slope) == pytest.approx(0.1, rel=0.2)  # mean E(B-V)


def test_warp_has_the_stated_size():
    basis = survey.warp_basis(survey.centres(survey.pixel_edges(2000)))
    assert np.sqrt(np.sum(basis**2, axis=0).mean()) == pytest.approx(1.0, abs=0.02)


def test_labels_can_be_learnt_and_are_not_easy():
    dwarfs = make_white_dwarfs(1500, 200, random_state=0)
    y = np.column_stack([np.log(dwarfs.truth[:, 0]), dwarfs.truth[:, 1]])
    model = make_pipeline(Normalizer(), PCA(20, random_state=0), Ridge(1e-3))
    predicted = model.fit(dwarfs.data[:1000], y[:1000]).predict(dwarfs.data[1000:])
    explained = 1.0 - np.var(predicted - y[1000:], axis=0) / np.var(y[1000:], axis=0)
    assert explained[0] > 0.6
    assert 0.02 < explained[1] < 0.6
