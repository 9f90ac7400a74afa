from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.spectra import Resampler, lamost_grid
from skestnet.spectra._pixels import pixel_edges

METHODS = ["linear", "flux-conserving"]


@pytest.fixture
def problem():
    rng = np.random.default_rng(2)
    source = np.sort(rng.uniform(4000, 4100, 60))
    target = np.linspace(source[0], source[-1], 45)
    return source, target, rng.normal(size=(7, 60))


def test_grid_is_that_of_the_paper():
    grid = lamost_grid()
    assert (grid.size, grid[0], grid[-1]) == (3909, 4000.0, 8000.0)
    assert_allclose(np.diff(grid), 4000 / 3908)


def test_against_interp_row_by_row(problem):
    source, target, flux = problem
    out = Resampler(source, target).fit_transform(flux)
    assert_allclose(out, [np.interp(target, source, row) for row in flux], rtol=1e-12, atol=1e-14)
    single = Resampler(source, target).fit_transform(flux.astype("f4"))
    assert single.dtype == np.float32
    assert_allclose(single, out, rtol=1e-5, atol=1e-6)


def overlap_means(source, target, row):
    """Average by hand, one output pixel at a time: means over good pixels, and their share."""
    edges, new = pixel_edges(source), pixel_edges(target)
    for low, high in pairwise(new):
        overlap = np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None)
        good = overlap * np.isfinite(row)
        mean = np.nansum(good * row) / good.sum() if good.any() else np.nan
        yield mean, good.sum() / overlap.sum()


def test_flux_conserving_against_a_loop(problem):
    source, target, flux = problem
    flux[2:5, 20:22] = flux[3, ::2] = flux[5] = np.nan
    out = Resampler(source, target, method="flux-conserving").fit_transform(flux)
    for row, result in zip(flux, out, strict=True):
        mean, share = np.array(list(overlap_means(source, target, row))).T
        assert_allclose(result, np.where(share < 0.5, np.nan, mean), rtol=1e-9)
    assert np.isnan(out[2]).sum() < np.isnan(out[4]).sum() + 1 < 10
    single = Resampler(source, target, method="flux-conserving").fit_transform(flux.astype("f4"))
    assert single.dtype == np.float32
    assert_allclose(single, out, rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    n_in=st.integers(2, 300),
    n_out=st.integers(1, 300),
    unit=st.sampled_from([1e-17, 1.0, 1e5]),
    dtype=st.sampled_from(["f4", "f8"]),
)
def test_flux_is_conserved(seed, n_in, n_out, unit, dtype):
    """The flux of all output pixels is that of the input between their outer edges."""
    rng = np.random.default_rng(seed)
    source = 4000 + np.cumsum(rng.uniform(0.5, 1.5, n_in))
    target = np.unique(rng.uniform(source[0], source[-1], n_out))
    flux = (unit * rng.uniform(1, 5, (2, n_in))).astype(dtype)
    out = Resampler(source, target, method="flux-conserving").fit_transform(flux)
    edges, new = pixel_edges(source), pixel_edges(target)
    within = np.clip(new, edges[0], edges[-1])
    for row, result in zip(flux.astype("f8"), out.astype("f8"), strict=True):
        integral = np.concatenate([[0], np.cumsum(row * np.diff(edges))])
        expected = np.diff(np.interp(within[[0, -1]], edges, integral))[0]
        assert_allclose(result @ np.diff(within), expected, rtol=1e-6 if dtype == "f4" else 1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_constants_stay_and_spectra_do_not_influence_each_other(problem, method):
    source, target, flux = problem
    resampler = Resampler(source, target, method=method).fit(flux)
    assert_allclose(resampler.transform(np.full((1, 60), 3.0)), 3, rtol=1e-14)
    expected = resampler.transform(flux)
    many = np.tile(flux, (400, 1))  # several blocks
    many[7:14, 5] = np.nan
    out = resampler.transform(many)
    assert_array_equal(out[:7], expected)
    assert_array_equal(out[-7:], expected)
    untouched = ~np.isnan(resampler.transform(many[7:8]))[0]
    assert_allclose(out[7:14, untouched][:, 10:], expected[:, untouched][:, 10:], rtol=1e-12)


def test_bad_pixels_take_part_in_no_straight_line(problem):
    source, target, flux = problem
    bad = np.random.default_rng(0).random(flux.shape) < 0.1
    bad[3] = True
    out = Resampler(source, target).fit_transform(np.where(bad, np.nan, flux))
    masked = [np.interp(target, source, row) for row in np.where(bad, np.nan, flux)]
    assert_allclose(out, masked, rtol=1e-12, atol=1e-14)
    # A pixel on the grid does not need its neighbour.
    one = Resampler([1.0, 2, 3], [1.0, 2, 3]).fit_transform([[1.0, np.nan, 3.0]])
    assert_array_equal(one, [[1, np.nan, 3]])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_half_a_pixel_is_enough(dtype):
    source = 4000 + 0.1 * np.arange(600)
    target = 0.5 * (source[::2] + source[1::2])
    flux = np.where(np.arange(600) % 2, np.nan, 1.0)[np.newaxis].astype(dtype)
    out = Resampler(source, target, method="flux-conserving").fit_transform(flux)
    assert_allclose(out, 1, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_ivar_against_monte_carlo(problem, method):
    source, target, _ = problem
    rng = np.random.default_rng(1)
    ivar = rng.uniform(0.5, 4, (1, 60))
    ivar[0, [10, 30, 31, 59]] = 0
    noise = rng.normal(size=(40000, 60)) * np.where(ivar > 0, ivar, np.nan) ** -0.5
    resampler = Resampler(source, target, method=method).fit(noise)
    found, expected = resampler.propagate_ivar(ivar)[0], resampler.transform(noise)
    lost = np.isnan(expected[0])
    assert_array_equal(found == 0, lost)
    assert 0 < lost.sum() < 10
    assert_allclose(found[~lost], 1 / expected[:, ~lost].var(axis=0), rtol=0.04)


@pytest.mark.parametrize("method", METHODS)
def test_ivar_in_closed_form(method):
    resampler = Resampler(np.arange(6.0), [0.5, 2.5, 4.5], method=method).fit(np.ones((1, 6)))
    ivar = np.array([[1.0, 1.0, 4.0, 0.0, -1.0, np.nan]])
    expected = {"linear": [2, 0, 0], "flux-conserving": [2, 4, 0]}[method]
    assert_allclose(resampler.propagate_ivar(ivar), [expected])
    tiny = resampler.propagate_ivar((1e34 * ivar).astype("f4"))  # fluxes in cgs units
    assert tiny.dtype == np.float32
    assert_allclose(tiny, [1e34 * np.array(expected)], rtol=1e-6)
    assert_array_equal(Resampler().fit(ivar).propagate_ivar(ivar), ivar)


def test_straight_lines_are_exact_and_pixels_unchanged(problem):
    source, target, flux = problem
    line = Resampler(source, target).fit_transform(2 * source[np.newaxis] - 1)
    assert_allclose(line[0], 2 * target - 1, rtol=1e-14)
    assert_array_equal(Resampler(source, source[::3]).fit_transform(flux), flux[:, ::3])


def test_identity(problem):
    source, _, flux = problem
    assert_array_equal(Resampler().fit_transform(flux), flux)
    assert_array_equal(Resampler(source).fit_transform(flux), flux)


def test_the_result_is_never_the_input(problem):
    source, _, flux = problem
    before = flux.copy()
    for resampler in (Resampler(), Resampler(source), Resampler(source, source)):
        resampler.fit_transform(flux)[:] = 0
        resampler.propagate_ivar(flux)[:] = 0
        assert_array_equal(flux, before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("error")
def test_ivar_that_overflows_is_refused(method):
    resampler = Resampler(np.arange(6.0), [0.5, 2.5, 4.5], method=method).fit(np.ones((1, 6)))
    for dtype in ("f4", "f8"):
        most = np.finfo(dtype).max
        ivar = np.full((2, 6), 0.4 * most, dtype=dtype)
        assert_allclose(resampler.propagate_ivar(ivar), 0.8 * most, rtol=1e-6)
        ivar[1, 2] = ivar[1, 3] = 0.9 * most
        with pytest.raises(ValueError, match=r"largest number of its type.*another unit"):
            resampler.propagate_ivar(ivar)


def test_ivar_may_be_big_endian():
    resampler = Resampler(np.arange(6.0), [0.5, 2.5, 4.5]).fit(np.ones((1, 6)))
    ivar = np.arange(6, dtype="f4")[np.newaxis]
    result = resampler.propagate_ivar(ivar.astype(">f4"))
    assert result.dtype == np.float32
    assert result.dtype.isnative
    assert_array_equal(result, resampler.propagate_ivar(ivar))


@pytest.mark.parametrize("method", METHODS)
def test_gaps_change_only_the_pixels_that_they_touch(problem, method):
    source, target, flux = problem
    resampler = Resampler(source, target, method=method).fit(flux)
    whole = resampler.transform(flux)
    flux[2, 20:24] = np.nan
    changed = ~np.isclose(resampler.transform(flux), whole, rtol=1e-15, atol=0)
    assert not changed[[0, 1, 3, 4, 5, 6]].any()
    assert 0 < changed[2].sum() < 10


def test_one_pixel_and_float32_edges():
    assert_array_equal(Resampler([5000.0], [5000.0]).fit_transform([[3.0]]), [[3.0]])
    source = np.linspace(4000, 8000, 9).astype("f4") * np.float32(1 + 1e-7)
    out = Resampler(source, lamost_grid()).fit_transform(np.ones((1, 9)))
    assert_array_equal(out, np.ones((1, 3909)))


def test_names(problem):
    source, target, flux = problem
    pandas = pytest.importorskip("pandas")
    frame = Resampler(source, target).set_output(transform="pandas").fit_transform(flux)
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == [f"flux_{value:.2f}" for value in target]
    assert Resampler().fit(flux).get_feature_names_out(list("a" * 60)).tolist() == ["a"] * 60
    assert Resampler().fit(flux).get_feature_names_out()[1] == "x1"
    assert Resampler(source).fit(flux).get_feature_names_out()[0] == f"flux_{source[0]:.2f}"
    fine = 5000 + np.arange(3) / 1000
    names = Resampler(fine, fine).fit(np.ones((1, 3))).get_feature_names_out().tolist()
    assert names == ["flux_5000.0000", "flux_5000.0010", "flux_5000.0020"]


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ([1.0, 2, 3], [0.5, 2], r"covers 0.50-2.00 A.*1.00-3.00 A. Try a wavelength_out within"),
        ([1.0, 2, 3], [2, 3.5], r"covers 2.00-3.50 A.*1.00-3.00 A"),
        ([1.0, 2], [1.5], "wavelength_in has 2 wavelengths, but X has 3 features"),
        ([1.0, 3, 2], None, r"wavelength_in must be .* increasing, but is not near position 1"),
        ([1.0, 2, 3], [2, 2], "wavelength_out must be finite and strictly increasing"),
        ([1.0, 2, np.nan], None, "wavelength_in must be finite"),
        ([np.nan, 2, 3], None, "wavelength_in must be finite"),
        ([1.0, 2, np.inf], None, "wavelength_in must be finite"),
        ([[1.0, 2, 3]], None, r"wavelength_in has shape \(1, 3\)"),
        ([1.0, 2, 3], [], r"wavelength_out has shape \(0,\)"),
        (None, [1.0], "wavelength_out was given without wavelength_in"),
    ],
)
def test_messages(source, target, message):
    with pytest.raises(ValueError, match=message):
        Resampler(source, target).fit(np.ones((2, 3)))


def test_messages_of_other_inputs():
    with pytest.raises(ValueError, match=r"method='cubic' .* \['flux-conserving', 'linear'\]"):
        Resampler(method="cubic").fit([[1.0]])
    with pytest.raises(ValueError, match="infinity"):
        Resampler().fit([[np.inf]])
    resampler = Resampler([1.0, 2, 3], [1.5]).fit(np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"ivar has 2 pixels per spectrum, .* fitted to have 3"):
        resampler.propagate_ivar([[1.0, 2.0]])
    with pytest.raises(ValueError, match="ivar contains infinity"):
        resampler.propagate_ivar([[1.0, np.inf, 1.0]])


def test_wavelengths_may_carry_units():
    from astropy import units as u

    flux = np.array([[1.0, 2.0, 4.0]])
    inside = Resampler([400, 410, 420] * u.nm, [4050.0, 4150.0]).fit_transform(flux)
    assert_allclose(inside, [[1.5, 3.0]])
