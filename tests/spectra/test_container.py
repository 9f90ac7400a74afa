import pickle

import numpy as np
import pytest
from astropy.table import Table
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.spectra import Spectra, lamost_grid


@pytest.fixture
def ragged():
    rng = np.random.default_rng(1)
    sizes = (30, 25, 41)
    wavelength = [np.sort(rng.uniform(4000, 4100, n)) for n in sizes]
    flux = [rng.normal(size=n) for n in sizes]
    ivar = [rng.choice([0.0, 1.0], size=n, p=[0.2, 0.8]) for n in sizes]
    meta = Table({"file": ["a", "b", "c"], "snr_u": [1, 2, 3], "snr_g": [4.0, np.nan, 6]})
    return Spectra(wavelength, flux, ivar, meta=meta)


def plain_interpolation(grid, wavelength, flux, bad):
    """One point at a time; NaN outside, and where a bad pixel takes part."""
    out = np.full(grid.size, np.nan)
    for k, x in enumerate(grid):
        if not wavelength[0] <= x <= wavelength[-1]:
            continue
        i = min(int(np.sum(wavelength <= x)) - 1, wavelength.size - 2)
        part = (x - wavelength[i]) / (wavelength[i + 1] - wavelength[i])
        if not (bad[i] and part < 1) and not (bad[i + 1] and part > 0):
            out[k] = flux[i] + part * (float(flux[i + 1]) - flux[i])
    return out


def test_to_matrix_against_a_loop(ragged):
    grid = np.linspace(3990, 4110, 200)
    matrix = ragged.to_matrix(grid)
    assert matrix.dtype == np.float32
    assert np.isnan(matrix).any()
    rows = zip(ragged.wavelength, ragged.flux, ragged.mask, strict=True)
    expected = [plain_interpolation(grid, *row) for row in rows]
    assert_allclose(matrix, expected, rtol=1e-5, atol=1e-6)


def test_masked_pixels_kept_or_bridged(ragged):
    grid = np.linspace(4010, 4090, 50)
    for i, bad in enumerate(ragged.mask):
        wavelength, flux = ragged.wavelength[i], ragged.flux[i]
        kept, bridged = (ragged.to_matrix(grid, masked=how)[i] for how in ("keep", "bridge"))
        assert_allclose(kept, np.interp(grid, wavelength, flux), rtol=1e-5, atol=1e-6)
        expected = np.interp(grid, wavelength[~bad], flux[~bad])
        assert_allclose(bridged, expected, rtol=1e-5, atol=1e-6)


def test_own_pixels_are_returned_exactly(ragged):
    row = ragged[1]
    good = ~row.mask[0]
    assert_array_equal(row.to_matrix(row.wavelength[0])[0][good], row.flux[0][good])
    assert np.isnan(row.to_matrix(row.wavelength[0])[0][~good]).all()


@pytest.mark.parametrize("masked", ["nan", "keep", "bridge"])
def test_degenerate_spectra(masked):
    spectra = Spectra([[4000.0], [4000.0, 4002.0]], [[3.0], [1.0, 1.0]], [[1.0], [0.0, 0.0]])
    matrix = spectra.to_matrix([3999.0, 4000.0, 4001.0], masked=masked)
    assert_array_equal(matrix[0], np.array([np.nan, 3, np.nan], dtype="f4"))
    if masked != "keep":
        assert np.isnan(matrix[1]).all()


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (0, [0]),
        (-1, [2]),
        (np.int64(1), [1]),
        (slice(1, None), [1, 2]),
        ([True, False, True], [0, 2]),
        (np.array([2, 0]), [2, 0]),
        ([], []),
        ([False] * 3, []),
    ],
)
def test_indexing(ragged, index, rows):
    picked = ragged[index]
    assert isinstance(picked, Spectra)
    assert len(picked) == len(picked.meta) == len(rows)
    assert picked.meta["file"].tolist() == ["abc"[row] for row in rows]
    for name in ("wavelength", "flux", "ivar", "mask", "and_mask"):
        expected = [getattr(ragged, name)[row] for row in rows]
        assert all(a is b for a, b in zip(getattr(picked, name), expected, strict=True))
    assert picked.to_matrix([4050.0]).shape == (len(rows), 1)


def test_iteration_and_bounds(ragged):
    assert [row.meta["file"][0] for row in ragged] == ["a", "b", "c"]
    with pytest.raises(IndexError):
        ragged[3]
    with pytest.raises(IndexError):
        ragged[[True, False]]


def test_mask_is_where_nothing_is_known():
    spectra = Spectra([[1.0, 2, 3, 4, 5]], [[1, np.nan, 1, 1, 1]], [[1, 1, 0, -1, np.inf]])
    assert_array_equal(spectra.mask[0], [False, True, True, True, True])
    assert_array_equal(spectra.and_mask[0], np.zeros(5))


def test_snr(ragged):
    assert_array_equal(ragged.snr, [[1, 4], [2, np.nan], [3, 6]])
    assert Spectra([[1.0]], [[1.0]], [[1.0]]).snr is None


def test_repr_and_pickle(ragged):
    assert repr(ragged).startswith("<Spectra: 3 spectra, 25-41 pixels, 40")
    assert repr(ragged[0]).startswith("<Spectra: 1 spectra, 30 pixels, 40")
    assert repr(ragged[[]]) == "<Spectra: 0 spectra>"
    again = pickle.loads(pickle.dumps(ragged))
    assert_array_equal(again.flux[2], ragged.flux[2])


def test_messages(ragged):
    with pytest.raises(ValueError, match=r"ivar has \[1\] pixels .* wavelength has \[2\]"):
        Spectra([[1.0, 2.0]], [[1.0, 1.0]], [[1.0]], mask=[[False, False]])
    with pytest.raises(ValueError, match="wavelength must be finite and strictly increasing"):
        Spectra([[2.0, 1.0]], [[1.0, 1.0]], [[1.0, 1.0]])
    with pytest.raises(ValueError, match="meta has 3 rows, but there are 1 spectra"):
        Spectra([[1.0]], [[1.0]], [[1.0]], meta=ragged.meta)
    with pytest.raises(ValueError, match=r"masked='zero' .* \['bridge', 'keep', 'nan'\]"):
        ragged.to_matrix(lamost_grid(), masked="zero")
    with pytest.raises(ValueError, match="grid must be finite and strictly increasing"):
        ragged.to_matrix([2.0, 1.0])
