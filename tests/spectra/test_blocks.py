import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.spectra._blocks import map_rows, row_mean, row_median


@pytest.fixture
def flux():
    values = np.random.default_rng(0).normal(size=(9, 8))
    values[3:, 2] = values[5:, 4:6] = values[7, 1:] = values[8] = np.nan
    return values


@pytest.mark.parametrize("n_pixels", [1, 7, 8])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_statistics_against_a_loop(flux, n_pixels, dtype):
    flux = flux[:, :n_pixels].astype(dtype)
    for function, plain in ((row_mean, np.mean), (row_median, np.median)):
        result = function(flux.copy())
        good = [row[~np.isnan(row)] for row in flux]
        expected = [plain(row) if row.size else np.nan for row in good]
        assert result.dtype == dtype
        assert_allclose(result[:, 0], expected, rtol=1e-6 if dtype == "f4" else 1e-14)


def test_median_without_bad_pixels_is_that_of_numpy():
    for n_pixels in (1, 2, 9, 10):
        flux = np.random.default_rng(1).normal(size=(4, n_pixels)).astype("f4")
        expected = np.median(flux, axis=1, keepdims=True)
        assert_array_equal(row_median(flux), expected)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_map_rows_sees_every_row_once(n_jobs):
    flux = np.arange(600 * 5000, dtype="f4").reshape(5000, 600).T  # not contiguous
    sizes = []

    def double(rows, out):
        assert rows.flags.c_contiguous
        sizes.append(len(rows))
        out[:] = 2 * rows[:, :3]

    result = map_rows(double, flux, 3, n_jobs)
    assert_array_equal(result, 2 * flux[:, :3])
    assert result.dtype == np.float32
    assert len(sizes) > 2
    assert sum(sizes) == len(flux)
