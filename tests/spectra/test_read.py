import gzip
import warnings

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.spectra._read import SpectrumReadError, read_spectra

OBSID = {
    "lamost-dr1": "55862-B6212_sp06-003",
    "sdss": "0445-55539-0069",
    "sdss-upper": "0445-55539-0069",
    "sdss-5": "015143-59630-27021597842679140",
}
BANDS = [f"snr_{band}" for band in "ugriz"]


@pytest.fixture
def lamost_file(tmp_path, columns):
    rows = [columns[name] for name in ("flux", "ivar", "wavelength", "and_mask", "and_mask")]
    path = tmp_path / "good.fits"
    fits.PrimaryHDU(np.array(rows, dtype="f4")).writeto(path)
    return path


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz", ".dat"])
def test_every_layout_gives_the_values_of_the_file(tmp_path, survey_file, columns, suffix):
    name, hdus = survey_file
    path = tmp_path / f"x{suffix}"
    hdus.writeto(path)
    spectra = read_spectra(path)
    assert len(spectra) == 1
    assert_allclose(spectra.wavelength[0], columns["wavelength"], rtol=1e-6)
    assert_array_equal(spectra.flux[0], columns["flux"])
    assert_array_equal(spectra.ivar[0], columns["ivar"])
    assert_array_equal(spectra.mask[0], columns["ivar"] <= 0)
    assert_array_equal(spectra.and_mask[0], columns["and_mask"])
    assert spectra.wavelength[0].dtype == np.float64
    assert spectra.flux[0].dtype.isnative
    row = spectra.meta[0]
    assert row["file"] == str(path)
    assert row["layout"].split()[0].lower() == name.split("-")[0]


def test_gzip_is_recognised_by_content(tmp_path, lamost_file):
    path = tmp_path / "no-suffix"
    path.write_bytes(gzip.compress(lamost_file.read_bytes()))
    assert_array_equal(read_spectra(path).flux[0], read_spectra(lamost_file).flux[0])


def test_one_changed_bit_is_refused_where_the_file_has_checksums(tmp_path, any_file):
    path = tmp_path / "x.fits"
    any_file[1].writeto(path, checksum=True)
    with fits.open(path) as hdus:
        start = hdus[-1].fileinfo()["datLoc"]
    content = bytearray(path.read_bytes())
    content[start + 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(SpectrumReadError, match=r"x\.fits is a .*damaged.* match .*DATASUM"):
        read_spectra(path)


def test_checksums_agree_with_astropy(tmp_path, any_file):
    any_file[1].writeto(tmp_path / "x.fits", checksum=True)
    read_spectra(tmp_path / "x.fits")
    with fits.open(tmp_path / "x.fits") as hdus:
        assert all(hdu.verify_checksum() == hdu.verify_datasum() == 1 for hdu in hdus)


def test_meta_of_every_layout(tmp_path, survey_file):
    name, hdus = survey_file
    hdus.writeto(tmp_path / "x.fits")
    row = read_spectra(tmp_path / "x.fits").meta[0]
    snr = list(row[BANDS].values())
    if name.startswith("lamost"):
        assert (row["object"], row["ra"], row["dec"]) == ("LAMOST J0", 10.5, -3)
        assert row["obsid"] == OBSID.get(name, "101001")
        assert np.isnan(row["redshift"])  # -9999 in the file
        assert_allclose(snr, [1.5, 2.5, 3.5, 4.5, np.nan])
    else:
        # RA and DEC of the header are the centre of the plate
        assert (row["obsid"], row["ra"], row["dec"]) == (OBSID[name], 126.5, 28.4)
        assert row["redshift"] == 0.25
        assert_allclose(snr, [1, 2, 3, 4, 5])


def test_files_of_all_layouts_may_be_mixed(tmp_path, lamost_file, survey_file):
    survey_file[1].writeto(tmp_path / "x.fits")
    spectra = read_spectra(iter([lamost_file, str(tmp_path / "x.fits")]))
    assert len(spectra) == 2
    assert spectra.meta["file"].tolist() == [str(lamost_file), str(tmp_path / "x.fits")]


def test_a_bare_image_has_empty_meta(lamost_file):
    row = read_spectra(lamost_file).meta[0]
    assert (row["object"], row["obsid"]) == ("", "")
    assert np.isnan([row[name] for name in ("ra", "dec", "redshift", *BANDS)]).all()


@pytest.mark.parametrize("part", [0.0, 0.03, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("compress", [False, True])
def test_truncated_file(tmp_path, any_file, part, compress):
    path = tmp_path / "cut.fits"
    any_file[1].writeto(path)
    content = gzip.compress(path.read_bytes()) if compress else path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(SpectrumReadError, match=r"cut\.fits is (a truncated|not a FITS)"):
        read_spectra(path)


def test_not_fits(tmp_path):
    (tmp_path / "notes.fits").write_text("hello" * 1000)
    with pytest.raises(SpectrumReadError, match=r"notes\.fits is not a FITS file"):
        read_spectra(tmp_path / "notes.fits")


def test_missing_file_and_folder_and_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.fits does not exist"):
        read_spectra([tmp_path / "absent.fits"])
    with pytest.raises(ValueError, match=r"is a folder.*Try sorted\(Path"):
        read_spectra(str(tmp_path))
    with pytest.raises(ValueError, match="paths is empty"):
        read_spectra([])


def other_kinds(columns):
    table = fits.BinTableHDU.from_columns([fits.Column("FLUX", "E", array=columns["flux"])])
    table.name = "COADD"
    five = np.tile(columns["flux"], (5, 1))  # as the spSpec files of the first SDSS releases
    header = fits.Header({"TELESCOP": "SDSS 2.5-M", "COEFF0": 3.5, "COEFF1": 1e-4})
    return {
        "table": [fits.PrimaryHDU(), table],
        "image named as the table": [fits.PrimaryHDU(), fits.ImageHDU(five, name="COADD")],
        "empty": [fits.PrimaryHDU()],
        "cube": [fits.PrimaryHDU(np.ones((5, 2, 2)))],
        "three rows": [fits.PrimaryHDU(five[:3])],
        "spSpec": [fits.PrimaryHDU(five, header)],
    }


@pytest.mark.parametrize("kind", [*other_kinds({"flux": np.ones(3)})])
def test_other_kind_says_what_was_found_and_what_is_supported(tmp_path, columns, kind):
    fits.HDUList(other_kinds(columns)[kind]).writeto(tmp_path / "other.fits")
    pattern = r"other\.fits is a FITS file of a kind .* holds: PRIMARY .*LAMOST image .*SDSS"
    with pytest.raises(SpectrumReadError, match=pattern):
        read_spectra(tmp_path / "other.fits")


def test_content_that_breaks_its_layout_names_the_file(tmp_path, columns):
    decreasing = columns["loglam"][::-1]
    names = {"flux": "E", "loglam": "E", "ivar": "E", "and_mask": "J"}
    pixels = [
        fits.Column(n, form, array=decreasing if n == "loglam" else columns[n])
        for n, form in names.items()
    ]
    table = fits.BinTableHDU.from_columns(pixels, name="COADD")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "odd.fits")
    with pytest.raises(SpectrumReadError, match=r"odd\.fits looks like a SDSS.*increasing"):
        read_spectra(tmp_path / "odd.fits")


def test_a_damaged_row_of_wavelengths_is_not_taken_for_the_early_layout(tmp_path, columns):
    rows = np.array([columns["flux"], columns["ivar"], columns["wavelength"], *np.zeros((2, 40))])
    rows[2, 7] = np.nan
    header = fits.Header({"TELESCOP": "LAMOST", "COEFF0": 3.5682, "COEFF1": 1e-4})
    fits.PrimaryHDU(rows.astype("f4"), header).writeto(tmp_path / "x.fits")
    with pytest.raises(SpectrumReadError, match=r"looks like a LAMOST image.*increasing"):
        read_spectra(tmp_path / "x.fits")


@pytest.mark.parametrize("third", [lambda w: w * 1.001, lambda w: np.sort(np.append(w[1:], 9e3))])
def test_two_scales_of_wavelengths_have_to_agree(tmp_path, columns, third):
    scale = third(columns["wavelength"])
    rows = np.array([columns["flux"], columns["ivar"], scale, *np.zeros((2, 40))])
    header = fits.Header({"TELESCOP": "LAMOST", "COEFF0": 3.5682, "COEFF1": 1e-4})
    fits.PrimaryHDU(rows.astype("f4"), header).writeto(tmp_path / "x.fits")
    with pytest.raises(
        SpectrumReadError, match=r"in pixel 0, where COEFF0 .* say 3699\.99 A.*damaged"
    ):
        read_spectra(tmp_path / "x.fits")


@pytest.fixture
def good_and_bad(tmp_path, lamost_file):
    (tmp_path / "notes.fits").write_text("hello")
    return [lamost_file, tmp_path / "absent.fits", tmp_path / "notes.fits", tmp_path, lamost_file]


def test_collected_errors(good_and_bad):
    with pytest.warns(UserWarning, match="3 of 5 files could not be read.*absent.fits does not"):
        spectra = read_spectra(good_and_bad, on_error="collect")
    assert spectra.meta["file"].tolist() == [str(good_and_bad[0])] * 2
    assert spectra.errors["file"].tolist() == [str(path) for path in good_and_bad[1:4]]
    for error, part in zip(
        spectra.errors["error"], ["does not exist", "not a FITS file", "is a folder"], strict=True
    ):
        assert part in error


def test_no_error_no_warning(lamost_file):
    spectra = read_spectra([lamost_file], on_error="collect")
    assert (len(spectra.errors), spectra.errors.colnames) == (0, ["file", "error"])
    assert read_spectra([lamost_file]).errors.colnames == ["file", "error"]


def test_collecting_nothing_raises(good_and_bad):
    with pytest.raises(SpectrumReadError, match=r"None of the 3 files .*absent\.fits does not"):
        read_spectra(good_and_bad[1:4], on_error="collect")


def test_unknown_on_error(lamost_file):
    with pytest.raises(ValueError, match=r"on_error='ignore'.*'raise', 'collect'"):
        read_spectra([lamost_file], on_error="ignore")


def test_parallel_reading_gives_the_same(tmp_path, columns, good_and_bad):
    files = []
    for i in range(8):
        rows = [columns[name] + i for name in ("flux", "ivar", "wavelength", "and_mask")]
        files.append(tmp_path / f"{i}.fits")
        fits.PrimaryHDU(np.array([*rows, rows[-1]], dtype="f4")).writeto(files[-1])
    files += good_and_bad
    with pytest.warns(UserWarning, match="3 of 13"):
        one = read_spectra(files, on_error="collect")
    with pytest.warns(UserWarning, match="3 of 13"):
        two = read_spectra(files, on_error="collect", n_jobs=2)
    assert (two.meta["file"] == one.meta["file"]).all()
    assert (two.errors["error"] == one.errors["error"]).all()
    for name in ("wavelength", "flux", "ivar", "mask", "and_mask"):
        assert_array_equal(getattr(two, name), getattr(one, name))
    with pytest.raises(SpectrumReadError, match=r"notes\.fits is not"):
        read_spectra([*files[:8], tmp_path / "notes.fits"], n_jobs=2)


def test_progress_bar(lamost_file, capsys):
    read_spectra([lamost_file])
    assert capsys.readouterr().err == ""
    read_spectra([lamost_file], verbose=1)
    assert "Reading spectra: 100%" in capsys.readouterr().err


def stored(path):
    """Read a survey file the plain way: (wavelength of the header, flux, ivar)."""
    with warnings.catch_warnings(), fits.open(path, memmap=False) as hdus:
        warnings.simplefilter("ignore")
        header = hdus[0].header
        coadd = hdus["COADD"].data if "COADD" in hdus else None
        flux, ivar = hdus[0].data[:2] if coadd is None else (coadd["flux"], coadd["ivar"])
        flux, ivar = np.ravel(flux), np.ravel(ivar)
        law = header["COEFF0"] + header["COEFF1"] * np.arange(flux.size)
    return 10**law, flux, ivar


def test_real_files(data_dir):
    files = sorted((data_dir / "fits").glob("spec-*"))
    spectra = read_spectra(files)
    assert len(spectra) == len(files) == 15
    for i, file in enumerate(files):
        wavelength, flux, ivar = stored(file)
        assert_allclose(spectra.wavelength[i], wavelength, rtol=1e-6)
        assert_array_equal(spectra.flux[i], flux)
        assert_array_equal(spectra.ivar[i], ivar)
    assert "" not in spectra.meta["obsid"]
    assert np.isfinite(spectra.snr).all()
