import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.spectra import (
    ContinuumNormalizer,
    CosmicRayClipper,
    FluxScaler,
    MaskedPixelImputer,
    Resampler,
    lamost_grid,
)
from skestnet.spectra._blocks import map_rows, nonzero, row_mean, row_median

GRID = lamost_grid(400)
TRANSFORMERS = [
    ContinuumNormalizer(GRID),
    CosmicRayClipper(),
    MaskedPixelImputer(),
    *(FluxScaler(method) for method in ("minmax", "median", "standard")),
    *(Resampler(GRID, GRID[1:-1], method=method) for method in ("linear", "flux-conserving")),
]


def each_transformer(test):
    names = [f"{type(t).__name__}-{getattr(t, 'method', '')}" for t in TRANSFORMERS]
    return pytest.mark.parametrize("transformer", TRANSFORMERS, ids=names)(test)


def spectra_with_gaps(n):
    rng = np.random.default_rng(0)
    spectra = rng.normal(5, 1, (n, GRID.size)).astype("f4")
    start = rng.integers(0, GRID.size, (n, 1))
    spectra[np.abs(np.arange(GRID.size) - start) < 4] = np.nan
    return spectra


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


@pytest.mark.parametrize("shape", [(3, 1), (4, 7), (5, 600)])
def test_nonzero_is_that_of_numpy(shape):
    flags = np.random.default_rng(0).random(shape) < 0.3
    assert_array_equal(nonzero(flags), np.nonzero(flags))


@pytest.mark.parametrize("n_pixels", [8, 600])
@pytest.mark.parametrize("function", [row_mean, row_median])
def test_statistics_do_not_depend_on_the_other_rows(function, n_pixels):
    flux = np.random.default_rng(2).normal(1, 3, (40, n_pixels)).astype("f4")
    for row in range(0, 40, 3):
        flux[row, row % 8 : 6] = np.nan
    together = function(flux.copy())
    assert_array_equal(together, [function(row[np.newaxis].copy())[0] for row in flux])


@each_transformer
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_byte_order_does_not_matter(transformer, dtype):
    """`astropy.io.fits` returns big-endian arrays."""
    native = spectra_with_gaps(5).astype(dtype)
    expected = transformer.fit_transform(native)
    for order in "<>":
        result = transformer.fit_transform(native.astype(order + dtype))
        assert result.dtype == np.dtype(dtype)
        assert result.dtype.isnative
        assert_array_equal(result, expected)


@each_transformer
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_byte_order_of_a_table_does_not_matter(transformer, dtype):
    pandas = pytest.importorskip("pandas")
    native = spectra_with_gaps(5).astype(dtype)
    expected = transformer.fit_transform(native)
    names = [f"pixel_{i}" for i in range(GRID.size)]
    for order in "<>":
        table = pandas.DataFrame(native.astype(order + dtype), columns=names)
        result = transformer.fit_transform(table)
        assert result.dtype == np.dtype(dtype)
        assert result.dtype.isnative
        assert_array_equal(result, expected)
        assert transformer.feature_names_in_.tolist() == names
    with pytest.raises(ValueError, match="feature names"):
        transformer.transform(table[names[::-1]])


def test_integers_in_any_byte_order_become_float64():
    for dtype in ("<i2", ">i2", ">i4", ">u8"):
        assert FluxScaler().fit_transform(np.arange(6, dtype=dtype).reshape(2, 3)).dtype == "f8"


@each_transformer
@pytest.mark.parametrize("with_gaps", [False, True])
def test_memory_is_three_times_the_input_at_most(transformer, with_gaps):
    """Output included; the cosmic rays and the imputer make the same promise."""
    flux = spectra_with_gaps(8000)
    flux = flux if with_gaps else np.nan_to_num(flux, nan=5.0)
    transformer.fit(flux)
    tracemalloc.start()
    try:
        transformer.transform(flux)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * flux.nbytes
