import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.spectra import Resampler, lamost_grid


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


def test_straight_lines_are_exact_and_pixels_unchanged(problem):
    source, target, flux = problem
    line = Resampler(source, target).fit_transform(2 * source[np.newaxis] - 1)
    assert_allclose(line[0], 2 * target - 1, rtol=1e-14)
    assert_array_equal(Resampler(source, source[::3]).fit_transform(flux), flux[:, ::3])


def test_identity(problem):
    source, _, flux = problem
    assert_array_equal(Resampler().fit_transform(flux), flux)
    assert_array_equal(Resampler(source).fit_transform(flux), flux)


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
