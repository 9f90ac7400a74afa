"""LAMOST files as a format of specutils."""

import gzip
import sys

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.spectra import Spectra
from skestnet.spectra._read import SpectrumReadError, read_spectra
from skestnet.spectra._read._specutils import register_specutils_loader

FORMAT = "LAMOST low resolution"


def test_without_specutils_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "specutils", None)
    with pytest.raises(
        ImportError, match=r"specutils 2 or later is needed.*pip install 'specutils"
    ):
        register_specutils_loader()


@pytest.fixture
def registered():
    """The module specutils, with our format."""
    specutils = pytest.importorskip("specutils", minversion="2")
    register_specutils_loader()
    register_specutils_loader()  # a second call changes nothing
    return specutils


def check_same(spectrum, path):
    plain = read_spectra(path)
    assert spectrum.spectral_axis.unit == units.AA
    assert_array_equal(spectrum.spectral_axis.value, plain.wavelength[0])
    assert_array_equal(spectrum.flux.value, plain.flux[0])
    assert_array_equal(spectrum.uncertainty.array, plain.ivar[0])
    assert_array_equal(spectrum.mask, plain.mask[0])
    assert_array_equal(spectrum.meta["and_mask"], plain.and_mask[0])
    assert spectrum.meta["obsid"] == plain.meta["obsid"][0]


@pytest.mark.parametrize("options", [{}, {"format": FORMAT}])
@pytest.mark.parametrize("compress", [False, True])
def test_specutils_reads_lamost(registered, lamost_path, options, compress):
    path = lamost_path
    if compress:
        path = lamost_path.with_suffix(".fits.gz")
        path.write_bytes(gzip.compress(lamost_path.read_bytes()))
    check_same(registered.Spectrum.read(str(path), **options), lamost_path)


def test_open_files_and_hdus(registered, lamost_path):
    with lamost_path.open("rb") as file:
        check_same(registered.Spectrum.read(file, format=FORMAT), lamost_path)
        file.seek(0)
        check_same(registered.Spectrum.read(file), lamost_path)
    with fits.open(lamost_path) as hdus:
        check_same(registered.Spectrum.read(hdus, format=FORMAT), lamost_path)
        check_same(registered.Spectrum.read(hdus), lamost_path)


def test_there_and_back(registered, lamost_path):
    spectrum = registered.Spectrum.read(str(lamost_path), format=FORMAT)
    back, plain = Spectra.from_specutils(spectrum), read_spectra(lamost_path)
    for name in ("wavelength", "flux", "mask"):
        assert_array_equal(getattr(back, name), getattr(plain, name))
    assert_allclose(back.ivar, plain.ivar, rtol=1e-6)


def test_lists(registered, lamost_path):
    (spectrum,) = registered.SpectrumList.read(str(lamost_path), format=FORMAT)
    check_same(spectrum, lamost_path)


def test_other_files_are_not_taken_for_lamost(registered, tmp_path, columns):
    table = fits.BinTableHDU.from_columns([fits.Column("FLUX", "E", array=columns["flux"])])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "x.fits")
    from specutils.io.registers import identify_spectrum_format

    assert FORMAT not in identify_spectrum_format(str(tmp_path / "x.fits"))
    with pytest.raises(SpectrumReadError, match=r"x\.fits is a FITS file of a kind.*LAMOST table"):
        registered.Spectrum.read(str(tmp_path / "x.fits"), format=FORMAT)


def test_real_files(registered, data_dir):
    for path in sorted((data_dir / "fits").glob("spec-558*")):
        spectrum = registered.Spectrum.read(str(path))
        check_same(spectrum, path)
        assert np.isfinite(spectrum.flux.value).all()
