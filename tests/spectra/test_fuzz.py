"""Damaged files: every one is refused by name, or read correctly. Nothing else may happen."""

import gzip
import io
import itertools
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_array_equal

from skestnet.spectra._read import SpectrumReadError, read_spectra

ARRAYS = ("wavelength", "flux", "ivar", "mask", "and_mask")
LIMIT = 2.0  # seconds
HANDLES = Path("/proc/self/fd")
FAST, SLOW = 12, 260  # bits flipped in each file


def stored(hdus, *, checksum=False):
    buffer = io.BytesIO()
    hdus.writeto(buffer, checksum=checksum)
    return buffer.getvalue()


def handles():
    return len(os.listdir(HANDLES)) if HANDLES.exists() else 0


def read(path):
    """Return the spectra of a file; None if it is refused in the way that is promised."""
    with warnings.catch_warnings():
        # A column of errors whose name is damaged is no error, and is warned of.
        warnings.filterwarnings("ignore", "1 of 1 spectra come without errors")
        try:
            return read_spectra(path)
        except SpectrumReadError as error:
            message = str(error)
    assert str(path) in message
    assert "allocate" not in message
    return None


def outcome(path, content):
    """Read a file of this content, and look at what it cost."""
    path.write_bytes(content)
    before, start = handles(), time.perf_counter()
    spectra = read(path)
    assert time.perf_counter() - start < LIMIT
    assert handles() == before
    return spectra


def read_spectra_of(path, content):
    """Read a file that is not damaged."""
    path.write_bytes(content)
    return read_spectra(path)


def check_sound(spectra):
    """Refused, or spectra that can be worked with."""
    if spectra is None:
        return
    assert len(spectra) > 0
    for wavelength, *others in zip(*(getattr(spectra, name) for name in ARRAYS), strict=True):
        assert np.isfinite(wavelength).all()
        assert wavelength[0] > 0
        assert (np.diff(wavelength) > 0).all()
        assert all(values.shape == wavelength.shape for values in others)


def check_same(spectra, truth):
    """Refused, or nothing has changed."""
    if spectra is not None:
        for name in ARRAYS:
            assert_array_equal(getattr(spectra, name), getattr(truth, name))


def n_pixels_changed(spectra, truth):
    """Count the pixels in which two files differ; wavelengths shared by spectra count once."""
    assert len(spectra) == len(truth)
    changed = np.zeros((len(truth), truth.flux[0].size), dtype=bool)
    for name in ARRAYS[1:]:
        pairs = zip(getattr(spectra, name), getattr(truth, name), strict=True)
        changed |= [~((one == two) | ((one != one) & (two != two))) for one, two in pairs]
    moved = spectra.wavelength[0] != truth.wavelength[0]
    return changed.sum() + moved.sum()


def blocks_of_data(content):
    """Return the places of a file that hold data, not headers or padding."""
    with fits.open(io.BytesIO(content)) as hdus:
        places = [(hdu.fileinfo()["datLoc"], hdu.size) for hdu in hdus]
    return np.concatenate([np.arange(start, start + size) for start, size in places]).astype(int)


def flipped(content, position, bit):
    changed = bytearray(content)
    changed[position] ^= 1 << bit
    return bytes(changed)


def flips(content, positions, n, rng):
    for position in rng.choice(positions, n):
        yield flipped(content, position, rng.integers(8))


def truncations(content, rng):
    yield from (content[:stop] for stop in range(0, len(content), 2880))
    yield from (content[:stop] for stop in rng.integers(0, len(content), 10))


def fuzz(path, hdus, n, seed):
    """Damage one file in every way; return how many cases there were, and how many were read."""
    rng = np.random.default_rng(seed)
    path.unlink(missing_ok=True)
    plain, summed = stored(hdus), stored(hdus, checksum=True)
    truth = read_spectra_of(path, plain)
    check_same(read_spectra_of(path, summed), truth)
    results = []
    for content in itertools.chain(truncations(plain, rng), truncations(gzip.compress(plain), rng)):
        results.append(outcome(path, content))
        check_same(results[-1], truth)  # what a cut between two HDUs loses may not matter
    for content in flips(plain, blocks_of_data(plain), n, rng):
        results.append(outcome(path, content))
        check_sound(results[-1])
        assert results[-1] is None or n_pixels_changed(results[-1], truth) <= 1
    for content in flips(plain, np.arange(len(plain)), n // 2, rng):
        results.append(outcome(path, content))
        check_sound(results[-1])
    compressed = gzip.compress(plain, mtime=0)
    for whole in (summed, compressed):
        for content in flips(whole, np.arange(len(whole)), n // 2, rng):
            results.append(outcome(path, content))
            check_same(results[-1], truth)
    return len(results), sum(result is not None for result in results)


def test_damaged_files(tmp_path, any_file):
    n_cases, n_read = fuzz(tmp_path / "x.fits", any_file[1], FAST, seed=1)
    assert n_cases >= 50
    assert n_read > 0


@pytest.mark.slow
def test_damaged_files_thoroughly(tmp_path, any_file):
    n_cases, n_read = fuzz(tmp_path / "x.fits", any_file[1], SLOW, seed=2)
    assert n_cases >= 600
    assert 0 < n_read < n_cases


# ---- damage with a system --------------------------------------------------------------------

SIZES = ["NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "PCOUNT", "GCOUNT", "TFIELDS", "BITPIX", "THEAP"]
HUGE = [2**31, 10**12, 2**62, -1, -(2**40), 999]


def with_value(content, key, value, which):
    """Replace the value of a card, in the `which`-th header that has it."""
    start = -1
    for _ in range(which + 1):
        start = content.find(f"{key:8}=".encode(), start + 1)
        if start < 0:
            return None
    return content[: start + 10] + f"{value:>20}".encode() + content[start + 30 :]


def test_sizes_that_are_not_those_of_the_file(tmp_path, any_file):
    content = stored(any_file[1])
    for key, value, which in itertools.product(SIZES, HUGE, range(3)):
        changed = with_value(content, key, value, which)
        if changed is not None:
            check_sound(outcome(tmp_path / "x.fits", changed))


@pytest.mark.parametrize("form", ["999999999999E", "1PE(9)", "1QE(9)", "0E", "X", "40X", "?"])
def test_column_formats_that_are_not_those_of_the_file(tmp_path, any_file, form):
    content = stored(any_file[1])
    for number in range(1, 5):
        for which in range(2):
            changed = with_value(content, f"TFORM{number}", f"'{form:18}'", which)
            if changed is not None:
                check_sound(outcome(tmp_path / "x.fits", changed))


def tables_of(hdus):
    return [i for i, hdu in enumerate(hdus) if isinstance(hdu, fits.BinTableHDU)]


@pytest.mark.parametrize("form", ["A", "L", "C", "X", "B", "K"])
def test_columns_of_another_type(tmp_path, any_file, form):
    hdus = any_file[1]
    for i in tables_of(hdus):
        for column in hdus[i].columns.names:
            changed = fits.HDUList([*hdus[:i], retyped(hdus[i], column, form), *hdus[i + 1 :]])
            check_sound(outcome(tmp_path / "x.fits", stored(changed)))


def retyped(hdu, name, form):
    """Return a table of which one column holds bytes of another type."""
    columns = []
    for column in hdu.columns:
        values, n = hdu.data[column.name], np.size(hdu.data[column.name][0])
        if column.name == name:
            kinds = {"A": f"U{n}", "L": bool, "X": bool, "C": "c8", "B": "u1", "K": "i8"}
            shape = values.shape if form not in "A" else len(values)
            array = np.zeros(shape, kinds[form])
            columns.append(fits.Column(name, f"{n}{form}", array=array))
        else:
            columns.append(fits.Column(column.name, column.format, array=values))
    return fits.BinTableHDU.from_columns(columns, name=hdu.name)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -4000.0, 0.0, 3.6])
def test_wavelengths_that_are_none(tmp_path, any_file, value):
    name, hdus = any_file
    if name == "lamost-dr1":
        pytest.skip("its wavelengths are in the header")
    for pixel in (0, 1, 9, -1):
        changed = fits.HDUList([hdu.copy() for hdu in hdus])
        wavelengths_of(changed)[pixel] = value
        spectra = outcome(tmp_path / "x.fits", stored(changed))
        check_sound(spectra)
        assert spectra is None or value >= 0  # at an end, a short one or a logarithm may be right


def wavelengths_of(hdus):
    """Return the array of wavelengths of a file, to be changed in place."""
    if hdus[0].data is not None:
        return hdus[0].data[2]
    if "B_WAVELENGTH" in hdus:
        return hdus["B_WAVELENGTH"].data
    data = hdus[1].data
    name = next(n for n in data.names if n.lower() in ("wavelength", "loglam", "wave"))
    return data[name].reshape(-1)


@pytest.mark.parametrize("shape", [(5,), (5, 0), (5, 1), (1, 5, 40), (5, 40, 1), (6, 40), (40, 5)])
@pytest.mark.parametrize("bits", ["u1", ">i2", ">i4", ">i8", ">f4", ">f8"])
def test_images_of_another_shape_and_type(tmp_path, shape, bits):
    header = fits.Header({"TELESCOP": "LAMOST", "COEFF0": 3.5682, "COEFF1": 1e-4})
    image = fits.PrimaryHDU(np.ones(shape, bits), header)
    spectra = outcome(tmp_path / "x.fits", stored(fits.HDUList([image])))
    check_sound(spectra)
    assert (spectra is not None) == (shape == (5, 1))


def test_a_size_in_a_comment_is_no_size(tmp_path, any_file):
    any_file[1][0].header["HISTORY"] = "cut from an image with NAXIS   = 4096"
    assert len(read_spectra_of(tmp_path / "x.fits", stored(any_file[1]))) > 0


@pytest.mark.parametrize("content", [b"", b"SIMPLE", b"\x1f\x8b", b"PK\x03\x04", b"\0" * 5000])
def test_beginnings_of_files(tmp_path, content):
    assert outcome(tmp_path / "x.fits", content) is None


def test_damaged_archives_and_texts(tmp_path, columns):
    arrays = {name: columns[name] for name in ("wavelength", "flux", "ivar", "and_mask")}
    archive, text = io.BytesIO(), tmp_path / "x.csv"
    np.savez(archive, **arrays)
    rows = zip(*arrays.values(), strict=True)
    lines = [",".join(arrays), *(",".join(map(repr, map(float, row))) for row in rows)]
    rng = np.random.default_rng(3)
    for content in (archive.getvalue(), "\n".join(lines).encode()):
        assert outcome(text, content) is not None
        for changed in flips(content, np.arange(len(content)), 100, rng):
            check_sound(outcome(text, changed))
        for stop in rng.integers(0, len(content), 20):
            check_sound(outcome(text, content[:stop]))
