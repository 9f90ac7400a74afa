import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import (
    InverseVariance,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)
from astropy.table import MaskedColumn, Table
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.spectra import Spectra, lamost_grid
from skestnet.spectra._medium import vacuum_from_air
from skestnet.spectra._rebin import shared_runs

ARRAYS = ("wavelength", "flux", "ivar", "mask", "and_mask")


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
    """One point at a time; NaN outside, and where a bad pixel takes part by 0.3% or more."""
    out = np.full(grid.size, np.nan)
    for k, x in enumerate(grid):
        if not wavelength[0] <= x <= wavelength[-1]:
            continue
        i = min(int(np.sum(wavelength <= x)) - 1, wavelength.size - 2)
        part = (x - wavelength[i]) / (wavelength[i + 1] - wavelength[i])
        shares = np.array([1 - part, part]) * ~bad[i : i + 2]
        if shares.sum() >= 0.997:
            out[k] = shares @ flux[i : i + 2].astype(float) / shares.sum()
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
    for name in ARRAYS:
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
    with pytest.raises(ValueError, match=r"ivar of spectrum 0 has 1 pixels, .* wavelength has 2"):
        Spectra([[1.0, 2.0]], [[1.0, 1.0]], [[1.0]])
    with pytest.raises(ValueError, match="flux has 2 rows, but wavelength has 1"):
        Spectra([[1.0, 2.0]], [[1.0, 1.0]] * 2, [[1.0, 1.0]])
    with pytest.raises(ValueError, match="wavelength must be finite and strictly increasing"):
        Spectra([[2.0, 1.0]], [[1.0, 1.0]], [[1.0, 1.0]])
    with pytest.raises(ValueError, match="meta has 3 rows, but there are 1 spectra"):
        Spectra([[1.0]], [[1.0]], [[1.0]], meta=ragged.meta)
    with pytest.raises(ValueError, match=r"masked='zero' .* \['bridge', 'keep', 'nan'\]"):
        ragged.to_matrix(lamost_grid(), masked="zero")
    with pytest.raises(ValueError, match=r"method='cubic' .* \['flux-conserving', 'linear'\]"):
        ragged.to_matrices(lamost_grid(), method="cubic")
    with pytest.raises(ValueError, match="grid must be finite and strictly increasing"):
        ragged.to_matrix([2.0, 1.0])
    with pytest.raises(ValueError, match=r"ivar exceeds the largest float32.*smaller unit"):
        Spectra([[1.0]], [[1e-20]], [[1e41]])
    with pytest.raises(ValueError, match=r"errors has the columns \['file'\], but not \['error'\]"):
        Spectra([], [], [], errors=Table({"file": ["a"]}))


def edges_of(wavelength):
    middle = (wavelength[1:] + wavelength[:-1]) / 2
    return np.concatenate([[2 * wavelength[0] - middle[0]], middle,
                           [2 * wavelength[-1] - middle[-1]]])  # fmt: skip


def dense_matrix(wavelength, grid, method):
    """Weights one by one, and which output pixels lie outside."""
    if method == "linear":
        unit = np.eye(wavelength.size)
        columns = [np.interp(grid, wavelength, row) for row in unit]
        return np.transpose(columns), (grid < wavelength[0]) | (grid > wavelength[-1])
    inner, outer = edges_of(wavelength), edges_of(grid)
    low = np.maximum(inner[np.newaxis, :-1], outer[:-1, np.newaxis])
    high = np.minimum(inner[np.newaxis, 1:], outer[1:, np.newaxis])
    overlap = np.maximum(high - low, 0)
    outside = (grid < inner[0]) | (grid > inner[-1])
    return overlap / np.where(outside, 1, overlap.sum(axis=1))[:, np.newaxis], outside


def plain_matrices(spectra, grid, method):
    """Dense matrices; NaN and 0 where less than all, or than half of a mean, is good."""
    rows, least = [], 0.997 if method == "linear" else 0.497
    for wavelength, flux, ivar, bad in zip(*(getattr(spectra, a) for a in ARRAYS[:4]), strict=True):
        matrix, outside = dense_matrix(wavelength, grid, method)
        share = matrix @ ~bad
        lost = outside | (share < least)
        share = np.where(lost, 1, share)
        variance = matrix**2 @ np.where(bad, 0.0, 1 / np.where(bad, 1, ivar)) / share**2
        moved = matrix @ np.where(bad, 0.0, flux) / share
        rows.append((np.where(lost, np.nan, moved),
                     np.where(lost, 0.0, 1 / np.where(lost, 1, variance))))  # fmt: skip
    return np.array([row[0] for row in rows]), np.array([row[1] for row in rows])


@pytest.mark.parametrize("method", ["linear", "flux-conserving"])
@pytest.mark.parametrize("n_pixels", [20, 300])
def test_to_matrices_against_dense_matrices(ragged, method, n_pixels):
    grid = np.linspace(3990, 4110, n_pixels)
    expected = plain_matrices(ragged, grid, method)
    assert np.isfinite(expected[0]).any()
    for found, wanted in zip(ragged.to_matrices(grid, method=method), expected, strict=True):
        assert found.dtype == np.float32
        assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert_array_equal(ragged.to_matrix(grid, method=method),
                       ragged.to_matrices(grid, method=method)[0])  # fmt: skip


@pytest.mark.parametrize("masked", ["keep", "bridge"])
def test_bad_pixels_have_no_weight_however_they_are_filled(ragged, masked):
    grid = np.linspace(3990, 4110, 100)
    assert (
        np.isfinite(ragged.to_matrix(grid, masked=masked)).sum()
        > np.isfinite(ragged.to_matrix(grid)).sum()
    )
    assert_array_equal(ragged.to_matrices(grid, masked=masked)[1], ragged.to_matrices(grid)[1])


def one_bad_pixel(flux, ivar):
    """One spectrum of 1 A pixels, of flux 1 and ivar 4, but for one pixel that says nothing."""
    wavelength = np.arange(4000.5, 4012.5)
    fluxes, ivars = np.ones(12), np.full(12, 4.0)
    fluxes[5], ivars[5] = flux, ivar
    return wavelength, fluxes, ivars, [4002.0, 4006.0, 4010.0]


@pytest.mark.parametrize("mask", [None, [[False] * 12]])
@pytest.mark.parametrize(("flux", "ivar"), [(1000, 0), (np.nan, 4), (1000, np.nan), (1000, np.inf)])
def test_a_bad_pixel_leaks_into_no_flux(flux, ivar, mask):
    wavelength, flux, ivar, grid = one_bad_pixel(flux, ivar)
    for spectra in (
        Spectra([wavelength], [flux], [ivar], mask),
        Spectra.from_matrix(wavelength, [flux], [ivar], mask),
    ):
        assert spectra.mask[0].tolist() == [i == 5 for i in range(12)]
        moved, weight = spectra.to_matrices(grid, method="flux-conserving")
        assert_allclose(moved, [[1, 1, 1]], rtol=1e-6)
        assert_allclose(weight, [[16, 12, 16]], rtol=1e-6)
        moved, weight = spectra.to_matrices([4005.0, 4005.5, 4006.5])
        assert_array_equal(moved, [[np.nan, np.nan, 1]])
        assert_array_equal(weight, [[0, 0, 4]])


@pytest.mark.parametrize(("masked", "middle"), [("keep", 250.75), ("bridge", 1)])
def test_fluxes_of_bad_pixels_have_no_known_error(masked, middle):
    wavelength, flux, ivar, grid = one_bad_pixel(1000, 0)
    spectra = Spectra([wavelength], [flux], [ivar])
    moved, weight = spectra.to_matrices(grid, masked=masked, method="flux-conserving")
    assert_allclose(moved, [[1, middle, 1]], rtol=1e-6)
    assert_allclose(weight, [[16, 0, 16]], rtol=1e-6)
    assert_array_equal(spectra.to_matrices([4004.5, 4005.0], masked=masked)[1], [[4, 0]])


def test_inverse_variances_beyond_float32_are_refused():
    wavelength = np.arange(4000.5, 4032.5)
    spectra = Spectra.from_matrix(wavelength, np.ones((1, 32)), np.full((1, 32), 1e38))
    with pytest.raises(ValueError, match=r"ivar on the grid exceeds .* such as 1e-17 erg"):
        spectra.to_matrices([4008.0, 4024.0], method="flux-conserving")
    assert_allclose(spectra.to_matrices(wavelength)[1], 1e38, rtol=1e-6)


@pytest.mark.parametrize("method", ["linear", "flux-conserving"])
def test_inverse_variance_predicts_the_scatter(method):
    rng = np.random.default_rng(3)
    wavelength, grid = np.arange(4000.0, 4040.0), np.arange(4001.3, 4038.0, 2.6)
    ivar = rng.uniform(0.5, 2, wavelength.size)
    noise = rng.normal(size=(20000, wavelength.size)) / np.sqrt(ivar)
    spectra = Spectra.from_matrix(wavelength, noise, np.broadcast_to(ivar, noise.shape))
    flux, weight = spectra.to_matrices(grid, method=method)
    assert_allclose(flux.var(axis=0) * weight[0], 1, rtol=0.06)


@pytest.mark.parametrize("masked", ["nan", "keep", "bridge"])
@pytest.mark.parametrize("method", ["linear", "flux-conserving"])
def test_a_shared_grid_comes_back_as_it_is(masked, method):
    rng = np.random.default_rng(4)
    flux, mask = rng.normal(size=(300, 12)).astype("f4"), rng.random((300, 12)) < 0.2
    grid = np.linspace(4000, 4100, 12)
    spectra = Spectra.from_matrix(grid, flux, np.full_like(flux, 2.0), mask)
    found, ivar = spectra.to_matrices(grid, masked=masked, method=method)
    assert_array_equal(found[~mask], flux[~mask])
    assert_array_equal(ivar, np.where(mask, 0, 2))
    if masked == "nan":
        assert np.isnan(found[mask]).all()
    if masked == "keep":
        assert_array_equal(found, flux)


def test_spectra_that_share_pixels_give_what_they_give_alone(ragged):
    mixed = ragged[[0, 0, 1, 1, 1, 2, 0]]
    grid = np.linspace(3990, 4110, 60)
    for method in ("linear", "flux-conserving"):
        alone = np.concatenate([row.to_matrix(grid, method=method) for row in mixed])
        assert_array_equal(mixed.to_matrix(grid, method=method), alone)
    runs = [(run.start, run.stop) for run in shared_runs(mixed.wavelength)]
    assert runs == [(0, 2), (2, 5), (5, 6), (6, 7)]
    assert [run.stop for run in shared_runs([grid] * 600)] == [256, 512, 600]


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.lists(st.floats(0.3, 3), min_size=2, max_size=30), st.integers(2, 9))
def test_rebinning_conserves_the_flux(steps, n_wide):
    wavelength = 4000 + np.cumsum(steps)
    flux = np.random.default_rng(len(steps)).normal(size=(1, wavelength.size))
    edges = edges_of(wavelength)
    # Pixels of one width whose edges are the outer edges of the spectrum.
    wide = np.linspace(edges[0], edges[-1], n_wide + 1)
    grid = (wide[1:] + wide[:-1]) / 2
    moved = Spectra.from_matrix(wavelength, flux).to_matrix(grid, method="flux-conserving")
    total = (flux * np.diff(edges)).sum()
    assert_allclose((moved * np.diff(wide)).sum(), total, rtol=1e-5, atol=1e-4)


def test_units_of_wavelengths(ragged):
    nanometre = [w / 10 * u.nm for w in ragged.wavelength]
    again = Spectra(nanometre, ragged.flux, ragged.ivar)
    grid = np.linspace(4010, 4090, 9)
    assert_allclose(again.to_matrix(grid / 1e4 * u.um), ragged.to_matrix(grid), rtol=1e-4)
    square = Spectra([[400, 500], [400, 500]] * u.nm, np.ones((2, 2)), np.ones((2, 2)))
    assert_allclose(square.wavelength[1], [4000, 5000])


def test_from_matrix_shares_memory():
    flux = np.ones((3, 4), dtype="f4")
    spectra = Spectra.from_matrix(
        [400, 500, 600, 700] * u.nm, flux, flux, meta=Table({"n": [1, 2, 3]})
    )
    assert all(np.shares_memory(row, flux) for row in (*spectra.flux, *spectra.ivar))
    assert len({id(row) for row in spectra.wavelength}) == 1
    assert spectra.meta.colnames == ["n"]


def test_from_matrix_without_errors_weighs_alike():
    spectra = Spectra.from_matrix([1.0, 2.0], [[1.0, np.nan], [3.0, 4.0]])
    assert_array_equal(spectra.ivar, [[1, 0], [1, 1]])
    assert_array_equal(spectra.mask, [[False, True], [False, False]])
    assert len(Spectra.from_matrix([1.0, 2.0], np.empty((0, 2)))) == 0


def test_from_matrix_messages():
    with pytest.raises(ValueError, match=r"flux has shape \(2,\).*reshape\(1, -1\)"):
        Spectra.from_matrix([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(
        ValueError, match="flux of spectrum 0 has 3 pixels, but its wavelength has 2"
    ):
        Spectra.from_matrix([1.0, 2.0], np.ones((2, 3)))
    with pytest.raises(ValueError, match="ivar has 1 rows, but wavelength has 2"):
        Spectra.from_matrix([1.0, 2.0], np.ones((2, 2)), np.ones((1, 2)))


def failures(*files):
    return Table({"file": list(files), "error": ["unreadable"] * len(files)})


def test_concatenate(ragged):
    meta = Table({"file": ["dd"], "teff": [9000], "note": ["x"], "flag": [True]})
    other = Spectra([[1.0, 2.0]], [[1, 1]], [[1, 1]], meta=meta, errors=failures("bad"))
    joined = Spectra.concatenate([ragged, other])
    for name in ARRAYS:
        expected = [*getattr(ragged, name), *getattr(other, name)]
        assert all(a is b for a, b in zip(getattr(joined, name), expected, strict=True))
    assert joined.meta["file"].tolist() == ["a", "b", "c", "dd"]
    assert_array_equal(joined.meta["teff"], [np.nan] * 3 + [9000])
    assert joined.meta["flag"].dtype == bool
    assert joined.meta["flag"].tolist() == [False] * 3 + [True]
    assert joined.meta["note"].tolist() == ["", "", "", "x"]
    assert_array_equal(joined.snr, [[1, 4], [2, np.nan], [3, 6], [np.nan, np.nan]])
    assert joined.errors["file"].tolist() == ["bad"]
    assert "teff" not in ragged.meta.colnames


def test_concatenate_takes_no_errors_for_estimated(ragged):
    meta = Table({"file": ["x"], "has_errors": [False]})
    other = Spectra([[1.0, 2.0]], [[1, 1]], [[1, 1]], meta=meta)
    estimated = Spectra.concatenate([ragged, other]).meta["has_errors"]
    assert estimated.tolist() == [True] * 3 + [False]
    assert len(ragged[~estimated[:3]]) == 0


def test_concatenate_undoes_slicing(ragged):
    spectra = Spectra(*(getattr(ragged, name) for name in ARRAYS), meta=ragged.meta,
                      errors=failures("x", "y"))  # fmt: skip
    again = Spectra.concatenate(spectra[i] for i in range(3))
    assert again.meta.colnames == ragged.meta.colnames
    assert again.meta["file"].tolist() == ["a", "b", "c"]
    assert again.errors["file"].tolist() == ["x", "y"]
    assert spectra[1].errors is spectra.errors
    assert len(pickle.loads(pickle.dumps(spectra)).errors) == 2


def test_concatenate_with_nothing(ragged):
    nothing = Spectra.concatenate([])
    assert len(nothing) == len(nothing.meta) == len(nothing.errors) == 0
    joined = Spectra.concatenate([nothing, ragged, ragged[[]]])
    assert joined.meta["file"].tolist() == ["a", "b", "c"]
    assert joined.meta["snr_u"].dtype.kind == "i"


def lookalike(**attributes):
    return SimpleNamespace(
        **{"spectral_axis": [1.0, 2.0, 3.0], "flux": [1.0, 2.0, 4.0]} | attributes
    )


@pytest.mark.parametrize(
    ("uncertainty", "expected"),
    [
        (None, [1, 1, 1]),
        (StdDevUncertainty([0.5, 1.0, 0.0]), [4, 1, 0]),
        (VarianceUncertainty([0.5, 1.0, np.nan]), [2, 1, 0]),
        (InverseVariance([0.5, 1.0, 0.0]), [0.5, 1, 0]),
        # One and the same error in another unit than the flux.
        (StdDevUncertainty([0.5, 1.0, 2.0] * u.kJy), [4e-6, 1e-6, 2.5e-7]),
    ],
)
def test_from_specutils_uncertainties(uncertainty, expected):
    spectra = Spectra.from_specutils(lookalike(flux=[1.0, 2, 4] * u.Jy, uncertainty=uncertainty))
    assert_allclose(spectra.ivar[0], expected, rtol=1e-6)
    assert_array_equal(spectra.mask[0], np.equal(expected, 0))
    assert_array_equal(spectra.flux[0], [1, 2, 4])


def test_from_specutils_sorts_frequencies():
    frequency = [4e14, 5e14, 6e14] * u.Hz
    spectra = Spectra.from_specutils(lookalike(spectral_axis=frequency, mask=[True, False, False]))
    assert_allclose(spectra.wavelength[0], 2.99792458e18 / np.array([6e14, 5e14, 4e14]))
    assert_array_equal(spectra.flux[0], [4, 2, 1])
    assert_array_equal(spectra.mask[0], [False, False, True])


def test_from_specutils_matrix_and_list():
    meta = Table({"file": ["a", "b", "c"]})
    both = lookalike(flux=np.array([[1.0, 2, 3], [4, 5, np.nan]]), mask=[False, True, False])
    spectra = Spectra.from_specutils([lookalike(), both], meta=meta)
    assert_array_equal(spectra.flux, [[1, 2, 4], [1, 2, 3], [4, 5, np.nan]])
    assert_array_equal(spectra.mask, [[0, 0, 0], [0, 1, 0], [0, 1, 1]])
    assert spectra.meta is meta
    assert len(Spectra.from_specutils([])) == 0


def test_from_specutils_messages():
    with pytest.raises(TypeError, match="float has no spectral_axis and flux"):
        Spectra.from_specutils([1.0])
    with pytest.raises(TypeError, match="int has no spectral_axis"):
        Spectra.from_specutils(3)
    with pytest.raises(TypeError, match="uncertainty is a UnknownUncertainty"):
        Spectra.from_specutils(lookalike(uncertainty=UnknownUncertainty([1.0, 1, 1])))
    with pytest.raises(ValueError, match=r"spectral_axis has shape \(3,\) and flux \(2,\)"):
        Spectra.from_specutils(lookalike(flux=[1.0, 2.0]))
    with pytest.raises(ValueError, match="meta has 2 rows, but there are 1 spectra"):
        Spectra.from_specutils(lookalike(), meta=Table({"file": ["a", "b"]}))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_from_specutils_itself():
    specutils = pytest.importorskip("specutils")
    spectrum_class = getattr(specutils, "Spectrum", None) or specutils.Spectrum1D
    flux = np.arange(1.0, 9.0).reshape(2, 4) * u.Jy
    one, two = (
        spectrum_class(
            flux=values,
            spectral_axis=[0.4, 0.5, 0.6, 0.7] * u.um,
            uncertainty=StdDevUncertainty(0.5 * np.ones(values.shape)),
            mask=np.zeros(values.shape, dtype=bool),
        )
        for values in (flux[0], flux)
    )
    spectra = Spectra.from_specutils(specutils.SpectrumList([one, two]))
    assert repr(spectra) == "<Spectra: 3 spectra, 4 pixels, 4000.0-7000.0 A>"
    assert_array_equal(spectra.flux, [[1, 2, 3, 4], [1, 2, 3, 4], [5, 6, 7, 8]])
    assert_array_equal(spectra.ivar, np.full((3, 4), 4))
    assert not np.any(spectra.mask)


def test_from_specutils_with_pixels_first():
    standing = lookalike(flux=np.array([[1.0, 4], [2, 5], [3, 6]]), spectral_axis_index=0)
    assert_array_equal(Spectra.from_specutils(standing).flux, [[1, 2, 3], [4, 5, 6]])


def test_to_vacuum(ragged):
    moved = ragged.to_vacuum()
    for before, after in zip(ragged.wavelength, moved.wavelength, strict=True):
        assert_array_equal(after, vacuum_from_air(before))
    assert all(a is b for a, b in zip(moved.flux, ragged.flux, strict=True))
    shared = ragged[[0, 0]].to_vacuum()
    assert shared.wavelength[0] is shared.wavelength[1]


@pytest.mark.parametrize("redshift", [1e-3, [1e-3, 0.0, -2e-3]])
def test_to_rest_frame(ragged, redshift):
    moved = ragged.to_rest_frame(redshift)
    each = np.broadcast_to(redshift, 3)
    for before, after, z in zip(ragged.wavelength, moved.wavelength, each, strict=True):
        assert_allclose(after, before / (1 + z), rtol=1e-15)
    assert all(a is b for a, b in zip(moved.flux, ragged.flux, strict=True))
    assert moved.meta is ragged.meta


def test_velocities_are_doppler_shifts(ragged):
    velocity = [-300.0, 0.0, 3000.0]
    moved = ragged.to_rest_frame(velocity=velocity)
    in_metres = ragged.to_rest_frame(velocity=np.multiply(velocity, 1000) * u.m / u.s)
    for v, before, *after in zip(
        velocity, ragged.wavelength, moved.wavelength, in_metres.wavelength, strict=True
    ):
        rest = (before * u.AA).to_value(u.km / u.s, u.doppler_relativistic(before[0] * u.AA))
        assert rest[0] == 0
        beta = v / 299792.458
        for wavelength in after:
            assert_allclose(wavelength, before * np.sqrt((1 - beta) / (1 + beta)), rtol=1e-14)


def test_redshifts_of_meta_are_used_once(ragged):
    meta = Table({"redshift": [1e-3, 0.0, -1e-4]})
    spectra = Spectra(*(getattr(ragged, name) for name in ARRAYS), meta=meta)
    rest = spectra.to_rest_frame()
    assert_allclose(rest.wavelength[0], ragged.wavelength[0] / 1.001, rtol=1e-15)
    assert_allclose(rest.meta["redshift"], 0, atol=1e-16)
    assert spectra.meta["redshift"][0] == 1e-3
    again = rest.to_rest_frame()
    assert_allclose(again.wavelength[0], rest.wavelength[0], rtol=1e-15)
    partly = spectra.to_rest_frame(1e-3)
    assert_allclose(partly.meta["redshift"], [0, 1 / 1.001 - 1, 0.9999 / 1.001 - 1], atol=1e-15)


def test_redshifts_have_no_unit(ragged):
    with pytest.raises(ValueError, match="redshift is in km / s, but a number without unit"):
        ragged.to_rest_frame(redshift=30 * u.km / u.s)
    with pytest.raises(ValueError, match="velocity is in Angstrom, but a unit like km / s is"):
        ragged.to_rest_frame(velocity=30 * u.AA)
    expected = ragged.to_rest_frame(redshift=0.1).wavelength
    for found, wanted in zip(
        ragged.to_rest_frame(redshift=10 * u.percent).wavelength, expected, strict=True
    ):
        assert_allclose(found, wanted, rtol=1e-15)


def test_paper_grid_with_units():
    assert_allclose(lamost_grid(101, 400 * u.nm, 500 * u.nm), lamost_grid(101, 4000, 5000))
    with pytest.raises(ValueError, match="wmin is in km / s, but a unit like Angstrom is needed"):
        lamost_grid(100, 400 * u.km / u.s)


def test_rest_frame_messages(ragged):
    with pytest.raises(ValueError, match="redshift and velocity were both given"):
        ragged.to_rest_frame(0.0, velocity=0.0)
    with pytest.raises(ValueError, match="No redshift was given, and meta has only the columns"):
        ragged.to_rest_frame()
    with pytest.raises(ValueError, match=r"redshift has shape \(2,\), but there are 3 spectra"):
        ragged.to_rest_frame([0.0, 0.0])
    with pytest.raises(ValueError, match=r"redshift of 2 of 3 spectra .* first in row 1: nan"):
        ragged.to_rest_frame([0.0, np.nan, -9999.0])
    with pytest.raises(ValueError, match="velocity reaches 400000 km/s, faster than light"):
        ragged.to_rest_frame(velocity=-4e5)
    ragged.meta["redshift"] = MaskedColumn([0.0, 0.1, 0.2], mask=[False, False, True])
    with pytest.raises(ValueError, match=r"redshift of 1 of 3 spectra .* first in row 2: nan"):
        ragged.to_rest_frame()


def test_a_grid_that_misses_all_spectra(ragged):
    with pytest.raises(ValueError, match=r"grid covers 400\.0-410\.0 A .* nothing in common"):
        ragged.to_matrix([400.0, 410.0])
    assert np.isnan(ragged.to_matrix([100.0, ragged.wavelength[0][0]])[:, 0]).all()


def test_spectra_are_no_matrix(ragged):
    with pytest.raises(TypeError, match=r"Spectra are no matrix.*to_matrix\(grid\)"):
        np.asarray(ragged)


@pytest.mark.parametrize("method", ["linear", "flux-conserving"])
def test_rounded_wavelengths_lose_no_neighbour_and_no_edge(method):
    grid = 10 ** (3.5682 + 1e-4 * np.arange(3900))
    rounded = grid.astype("f4").astype(float)
    flux, mask = np.arange(1.0, 3901.0)[np.newaxis], np.zeros((1, 3900), bool)
    mask[0, 2000] = True
    spectra = Spectra.from_matrix(rounded, flux, np.ones((1, 3900)), mask)
    found, ivar = spectra.to_matrices(grid, method=method)
    assert_array_equal(np.flatnonzero(np.isnan(found[0])), [2000])
    assert_array_equal(ivar[0] == 0, mask[0])
    assert_allclose(found[~mask], flux[~mask], atol=2e-3)
