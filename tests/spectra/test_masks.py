import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.spectra._gaps import find_gaps
from skestnet.spectra._masks import MaskedPixelImputer, mask_pixels


def plain_fill(row, n_neighbors):
    """Fill one spectrum, one gap at a time."""
    filled = row.copy()
    good = np.flatnonzero(~np.isnan(row))
    for pixel in np.flatnonzero(np.isnan(row)):
        left, right = good[good < pixel][-n_neighbors:], good[good > pixel][:n_neighbors]
        sides = [(np.median(side), np.median(row[side])) for side in (left, right) if side.size]
        if sides:
            filled[pixel] = np.interp(pixel, *np.transpose(sides))
    return filled


def random_gaps(seed, n_rows, n_pixels, share):
    """Spectra with single bad pixels, long gaps, and a row without a good pixel."""
    rng = np.random.default_rng(seed)
    flux = rng.normal(5, 1, (n_rows, n_pixels))
    bad = rng.random(flux.shape) < share
    start = rng.integers(0, n_pixels, n_rows)
    bad |= np.abs(np.arange(n_pixels) - start[:, np.newaxis]) < n_pixels // 8
    bad[-1] = True
    return np.where(bad, np.nan, flux)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    n_pixels=st.integers(1, 40),
    share=st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    n_neighbors=st.integers(1, 6),
)
def test_against_a_loop(seed, n_pixels, share, n_neighbors):
    flux = random_gaps(seed, 6, n_pixels, share)
    filled = MaskedPixelImputer(n_neighbors, unfillable="nan").fit_transform(flux)
    assert_allclose(filled, [plain_fill(row, n_neighbors) for row in flux], rtol=1e-10)
    assert_array_equal(filled[~np.isnan(flux)], flux[~np.isnan(flux)])


def test_one_neighbor_is_linear_interpolation():
    flux = random_gaps(0, 5, 200, 0.3)[:-1]
    pixel = np.arange(200)
    for row, filled in zip(flux, MaskedPixelImputer(1).fit_transform(flux), strict=True):
        good = ~np.isnan(row)
        assert_allclose(filled, np.interp(pixel, pixel[good], row[good]), rtol=1e-12)


def test_straight_lines_are_exact_and_outliers_do_not_matter():
    line = np.linspace(1, 5, 100)[np.newaxis]
    flux = line.copy()
    flux[0, 40:60] = np.nan
    assert_allclose(MaskedPixelImputer().fit_transform(flux), line, rtol=1e-12)
    flux[0, 61] = 1e6
    filled = MaskedPixelImputer().fit_transform(flux)
    assert_allclose(filled[0, 40:60], line[0, 40:60], atol=0.1)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_rows_do_not_influence_each_other(dtype):
    flux = random_gaps(1, 300, 900, 0.05).astype(dtype)[:-1]
    imputer = MaskedPixelImputer().fit(flux)
    together = imputer.transform(flux)
    assert together.dtype == dtype
    assert not np.isnan(together).any()
    assert_array_equal(np.vstack([imputer.transform(flux[i : i + 1]) for i in (0, 7, 298)]),
                       together[[0, 7, 298]])  # fmt: skip
    assert_array_equal(imputer.transform(together), together)


def test_gaps_are_counted():
    flux = np.ones((4, 10))
    flux[1, [0, 3, 4, 9]] = flux[2] = flux[3, 2:7] = np.nan
    report = MaskedPixelImputer().gaps(flux)
    assert report["n_bad"].tolist() == [0, 4, 10, 5]
    assert report["n_gaps"].tolist() == [0, 3, 1, 1]
    assert report["longest"].tolist() == [0, 2, 10, 5]
    gaps = find_gaps(np.isnan(flux))
    assert list(zip(*(side.tolist() for side in gaps), strict=True)) == [
        (1, 0, 1), (1, 3, 5), (1, 9, 10), (2, 0, 10), (3, 2, 7)
    ]  # fmt: skip


def test_long_gaps_are_refused_or_left():
    flux = np.ones((4, 10))
    flux[1, [0, 3, 4, 9]] = flux[2] = flux[3, 2:7] = np.nan
    with pytest.raises(ValueError, match=r"1 of 4 spectra have no good pixel, rows \[2\]"):
        MaskedPixelImputer().fit_transform(flux)
    with pytest.raises(ValueError, match=r"2 of 4 spectra .* rows \[2, 3\].* of up to 10 of 10 "
                       r"pixels, and at most 4 are filled.*unfillable='nan'"):  # fmt: skip
        MaskedPixelImputer(max_gap=4).fit_transform(flux)
    filled = MaskedPixelImputer(max_gap=4, unfillable="nan").fit_transform(flux)
    expected = flux.copy()
    expected[1] = 1
    assert_array_equal(filled, expected)
    unchanged = MaskedPixelImputer(max_gap=0, unfillable="nan").fit_transform(flux)
    assert_array_equal(unchanged, flux)


def test_mask_pixels():
    flux = np.array([[1, 2, 3], [4, 5, 6]], dtype="f4")
    ivar = [[1.0, 0.0, np.nan], [1.0, -1.0, 2.0]]
    mask = np.array([[1, 0, 0], [0, 0, 0]])
    masked = mask_pixels(flux, ivar, mask)
    assert masked.dtype == np.float32
    assert_array_equal(masked, [[np.nan] * 3, [4, np.nan, 6]])
    assert_array_equal(mask_pixels([[1, 2]]), [[1.0, 2.0]])
    assert not np.isnan(flux).any()  # a copy
    assert_array_equal(mask_pixels([[1.0, 2.0]], ivar=[[np.inf, 1.0]]), [[np.nan, 2.0]])
    infinite = [[np.inf, -np.inf, np.nan, 4.0]]
    assert_array_equal(mask_pixels(infinite), [[np.nan] * 3 + [4]])
    assert_array_equal(mask_pixels(infinite, ivar=np.ones((1, 4))), [[np.nan] * 3 + [4]])
    with pytest.raises(ValueError, match=r"mask has shape \(3,\), but flux has \(2, 3\)"):
        mask_pixels(flux, mask=[True, False, True])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_neighbors": 0}, "n_neighbors=0: expected an integer of at least 1"),
        ({"n_neighbors": 1.5}, "n_neighbors=1.5: expected an integer"),
        ({"max_gap": -1}, "max_gap=-1: expected an integer of at least 0"),
        ({"unfillable": "drop"}, r"unfillable='drop' is not known. Choose one of \['nan', 'raise'"),
    ],
)
def test_messages(params, message):
    with pytest.raises(ValueError, match=message):
        MaskedPixelImputer(**params).fit(np.ones((2, 3)))
    with pytest.raises(ValueError, match="infinity"):
        MaskedPixelImputer().fit([[np.inf]])
