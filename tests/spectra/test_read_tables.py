"""Plain tables: CSV, ECSV, FITS and npz."""

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.table import QTable, Table
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.spectra import usable_spectra
from skestnet.spectra._read import SpectrumReadError, read_spectra
from skestnet.spectra._read._tables import NAMES, scatter

ARRAYS = ("wavelength", "flux", "ivar", "mask", "and_mask")


@pytest.fixture
def spectrum(columns):
    """Wavelength, flux and a positive error of one spectrum."""
    return {
        "wavelength": columns["wavelength"],
        "flux": columns["flux"],
        "error": np.linspace(0.1, 0.2, columns["flux"].size),
    }


def write_csv(path, table):
    Table(table).write(path, format="ascii.csv")


def write_ecsv(path, table):
    Table(table).write(path, format="ascii.ecsv")


def write_ecsv_of_vectors(path, table):
    Table({name: [values] for name, values in table.items()}).write(path, format="ascii.ecsv")


def write_fits(path, table):
    Table(table).write(path, format="fits")


def write_fits_of_vectors(path, table):
    Table({name: [values] for name, values in table.items()}).write(path, format="fits")


def write_npz(path, table):
    with open(path, "wb") as file:
        np.savez_compressed(file, **table)


WRITERS = {
    write_csv: "CSV table",
    write_ecsv: "ECSV table",
    write_ecsv_of_vectors: "ECSV table",
    write_fits: "FITS table",
    write_fits_of_vectors: "FITS table",
    write_npz: "npz archive",
}


@pytest.mark.parametrize("write", WRITERS)
def test_every_format_gives_the_values_of_the_table(tmp_path, spectrum, write):
    path = tmp_path / "no-suffix"
    write(path, spectrum)
    spectra = read_spectra(path)
    assert len(spectra) == 1
    assert_array_equal(spectra.wavelength[0], spectrum["wavelength"])
    assert_array_equal(spectra.flux[0], spectrum["flux"])
    assert_allclose(spectra.ivar[0], spectrum["error"] ** -2.0, rtol=1e-6)
    assert not spectra.mask[0].any()
    row = spectra.meta[0]
    assert (row["layout"], row["obsid"], row["has_errors"]) == (WRITERS[write], "", True)
    snr = spectrum["flux"] / spectrum["error"]
    inside = abs(spectrum["wavelength"] - 3557) < 599 / 2
    assert_allclose(row["snr_u"], np.median(snr[inside]), rtol=1e-6)
    assert np.isnan(row["snr_z"])
    assert usable_spectra(spectra, wavelength_range=(3700, 3730))[0].all()


@pytest.mark.parametrize("role", NAMES)
def test_every_documented_name_in_any_case(tmp_path, spectrum, role):
    table = spectrum | {"mask": np.zeros(40), "and_mask": np.arange(40)}
    table["loglam"] = np.log10(table["wavelength"])
    table["ivar"], table["variance"] = table["error"] ** -2.0, table["error"] ** 2
    rivals = {
        "loglam": ["wavelength"],
        "error": ["ivar", "variance"],
        "variance": ["ivar", "error"],
    }
    values = {n: v for n, v in table.items() if n not in [role, *rivals.get(role, [])]}
    for i, alias in enumerate(NAMES[role]):
        path = tmp_path / f"{i}.csv"
        write_csv(path, values | {[alias, alias.upper()][i % 2]: table[role]})
        spectra = read_spectra(path)
        assert_allclose(spectra.wavelength[0], table["wavelength"], rtol=1e-12)
        assert_array_equal(spectra.flux[0], table["flux"])
        assert_allclose(spectra.ivar[0], table["ivar"], rtol=1e-6)
        assert_array_equal(spectra.and_mask[0], table["and_mask"])
        assert spectra.meta["has_errors"][0]
    with_names = read_spectra.__doc__
    assert all(alias in with_names for alias in NAMES[role])


@pytest.mark.parametrize("unit", ["nm", "um", "micron", "Angstrom", "A", "m"])
def test_units_of_wavelength(tmp_path, spectrum, unit):
    factor = units.Unit("Angstrom" if unit == "A" else unit).to("AA")
    table = Table(spectrum | {"wavelength": spectrum["wavelength"] / factor})
    table["wavelength"].unit = "Angstrom" if unit == "A" else unit
    table.write(tmp_path / "x.fits")
    if unit == "A":
        fits.setval(tmp_path / "x.fits", "TUNIT1", value="A", ext=1)
    else:
        QTable(table).write(tmp_path / "x.ecsv")
        spectra = read_spectra(tmp_path / "x.ecsv")
        assert_allclose(spectra.wavelength[0], spectrum["wavelength"], rtol=1e-12)
    spectra = read_spectra(tmp_path / "x.fits")
    assert_allclose(spectra.wavelength[0], spectrum["wavelength"], rtol=1e-12)


def test_not_a_unit_of_wavelength(tmp_path, spectrum):
    table = Table(spectrum)
    table["wavelength"].unit = "Hz"
    table.write(tmp_path / "x.ecsv")
    with pytest.raises(
        SpectrumReadError, match=r"x\.ecsv looks like a ECSV.*'Hz'.*not convertible"
    ):
        read_spectra(tmp_path / "x.ecsv")


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_matrix_of_spectra(tmp_path, shared, packed):
    rng = np.random.default_rng(0)
    flux, andmask = rng.normal(5, 1, (4, 20)), rng.uniform(size=(4, 20)) > 0.5
    wavelength = np.arange(4000.0, 4020) + (0 if shared else np.arange(4)[:, np.newaxis])
    stored = np.packbits(andmask, axis=1) if packed else andmask
    write_npz(
        tmp_path / "x.npz",
        {"wavelength": wavelength, "flux": flux, "flux_err": 0 * flux + 0.5, "andmask": stored},
    )
    spectra = read_spectra(tmp_path / "x.npz")
    assert spectra.meta["obsid"].tolist() == ["0", "1", "2", "3"]
    for i in range(4):
        assert_array_equal(spectra.wavelength[i], wavelength if shared else wavelength[i])
        assert_array_equal(spectra.flux[i], flux[i].astype("f4"))
        assert_array_equal(spectra.and_mask[i], andmask[i])
        assert (spectra.ivar[i] == 4).all()


def test_padding_is_dropped(tmp_path, spectrum):
    two = {name: np.tile(values, (2, 1)).astype(float) for name, values in spectrum.items()}
    for values in two.values():
        values[1, 30:] = np.nan
    two["flux"][0, 12:] = np.nan  # not padding: it has wavelengths
    write_npz(tmp_path / "x.npz", two)
    spectra = read_spectra(tmp_path / "x.npz")
    assert [flux.size for flux in spectra.flux] == [40, 30]
    assert_array_equal(spectra.mask[0], np.arange(40) >= 12)


def test_mask_marks_bad_pixels(tmp_path, spectrum):
    mask = np.arange(40) % 3 == 0
    write_csv(tmp_path / "words.csv", spectrum | {"mask": mask})
    write_csv(tmp_path / "numbers.csv", spectrum | {"mask": 4 * mask})
    for name in ("words.csv", "numbers.csv"):
        assert_array_equal(read_spectra(tmp_path / name).mask[0], mask)


def test_missing_values_and_errors_that_are_none(tmp_path):
    text = "# a comment\nwave,flux,err\n4000,1,0.5\n4001,,0.5\n4002,3,\n4003,4,0\n4004,5,-1\n"
    (tmp_path / "x.csv").write_text(text)
    spectra = read_spectra(tmp_path / "x.csv")
    assert_array_equal(spectra.flux[0], [1, np.nan, 3, 4, 5])
    assert_array_equal(spectra.ivar[0], [4, 4, 0, 0, 0])
    assert_array_equal(spectra.mask[0], [False, True, True, True, True])


def test_a_table_without_errors_says_so(tmp_path, spectrum):
    del spectrum["error"]
    write_csv(tmp_path / "x.csv", spectrum)
    with pytest.warns(UserWarning, match=r"1 of 1 spectra come without errors.*x\.csv"):
        spectra = read_spectra(tmp_path / "x.csv")
    assert not spectra.meta["has_errors"][0]
    assert len(set(spectra.ivar[0])) == 1
    assert_allclose(spectra.ivar[0][0], scatter(spectrum["flux"]) ** -2.0, rtol=1e-6)


def test_columns_that_may_be_errors_are_named(tmp_path, spectrum):
    spectrum["my_Error"], spectrum["note"] = spectrum.pop("error"), np.ones(40)
    write_csv(tmp_path / "x.csv", spectrum)
    with pytest.warns(UserWarning, match=r"without errors.*x\.csv. If \['my_Error'\] are errors"):
        read_spectra(tmp_path / "x.csv")


CGS = "erg / (s cm2 Angstrom)"


@pytest.mark.parametrize("kind", ["fits", "ecsv"])
@pytest.mark.parametrize(("role", "power"), [("error", 1), ("variance", 2), ("ivar", -2)])
def test_errors_are_brought_to_the_unit_of_the_flux(tmp_path, spectrum, kind, role, power):
    error, unit = spectrum.pop("error"), units.Unit(CGS)
    table = Table(spectrum | {role: (1e-17 * error) ** power})
    table["flux"].unit, table[role].unit = 1e-17 * unit, unit**power
    table.write(tmp_path / f"x.{kind}")
    spectra = read_spectra(tmp_path / f"x.{kind}")
    assert_array_equal(spectra.flux[0], spectrum["flux"])
    assert_allclose(spectra.ivar[0], error**-2.0, rtol=1e-6)
    assert spectra.meta["has_errors"][0]


@pytest.mark.parametrize(
    ("flux", "error"),
    [
        (CGS, None),
        (None, CGS),
        ("ADU of ours", CGS),
        ("ADU of ours", "ADU of ours"),
        ("10**(-17) erg/s/cm2/A", "10**(-17) erg/s/cm2/Angstrom"),
    ],
)
def test_errors_stay_where_nothing_else_is_known(tmp_path, spectrum, flux, error):
    Table(spectrum).write(tmp_path / "x.fits")
    for column, unit in ((2, flux), (3, error)):
        if unit:
            fits.setval(tmp_path / "x.fits", f"TUNIT{column}", value=unit, ext=1)
    spectra = read_spectra(tmp_path / "x.fits")
    assert_allclose(spectra.ivar[0], spectrum["error"] ** -2.0, rtol=1e-6)


@pytest.mark.parametrize("unit", ["erg/s/cm2/A", "erg.s-1.cm-2.A-1", "W m-2 um-1"])
def test_spellings_of_units(tmp_path, spectrum, unit):
    Table(spectrum).write(tmp_path / "x.fits")
    fits.setval(tmp_path / "x.fits", "TUNIT2", value="1E-17 erg/cm^2/s/Ang", ext=1)
    fits.setval(tmp_path / "x.fits", "TUNIT3", value=unit, ext=1)
    factor = 1e16 if unit.startswith("W") else 1e17
    expected = (factor * spectrum["error"]) ** -2.0
    assert_allclose(read_spectra(tmp_path / "x.fits").ivar[0], expected, rtol=1e-6)


@pytest.mark.parametrize(("role", "power"), [("error", 2), ("variance", 1), ("ivar", 1)])
def test_units_of_errors_that_do_not_go_with_the_flux(tmp_path, spectrum, role, power):
    unit = units.Unit(CGS)
    table = Table(spectrum)
    table.rename_column("error", role)
    table["flux"].unit, table[role].unit = unit, unit**power
    table.write(tmp_path / "x.ecsv")
    with pytest.raises(SpectrumReadError, match=rf"{role} is in 'erg.*does not go with flux in 'e"):
        read_spectra(tmp_path / "x.ecsv")


def test_scatter_is_the_noise_whatever_the_slope():
    noise = np.random.default_rng(0).normal(0, 0.3, 100_000)
    flux = 5 + 1e-4 * np.arange(noise.size) + noise
    assert scatter(flux) == pytest.approx(0.3, rel=0.02)
    flux[::50] = np.nan
    assert scatter(flux) == pytest.approx(0.3, rel=0.02)
    assert scatter(1e-17 * flux) == pytest.approx(3e-18, rel=0.02)
    assert scatter(np.ones(100)) == scatter([1.0, 2.0]) == 1.0


def test_row_of_vectors_and_row_per_pixel_agree(tmp_path, table_file):
    for vectors in (True, False):
        table_file(vectors=vectors).writeto(tmp_path / f"{vectors}.fits")
    one, two = (read_spectra(tmp_path / f"{vectors}.fits") for vectors in (True, False))
    for name in ARRAYS:
        assert_array_equal(getattr(one, name), getattr(two, name))


def bad_tables(spectrum):
    n = spectrum["flux"].size
    return {
        "decreasing": (spectrum | {"wavelength": spectrum["wavelength"][::-1]}, "increasing"),
        "negative": (spectrum | {"wavelength": np.arange(n) - 3.0}, "positive"),
        "nan": (spectrum | {"wavelength": np.where(np.arange(n) == 39, np.nan, n)}, "increasing"),
        "text": (spectrum | {"flux": ["x"] * n}, "flux holds .*numbers are needed"),
        "fractions": (spectrum | {"and_mask": np.full(n, 0.5)}, "whole numbers"),
        "words": (spectrum | {"mask": ["good"] * n}, "mask holds"),
        "lost in single precision": (
            spectrum | {"flux": 1e-30 * spectrum["flux"], "error": np.full(n, 1e-31)},
            "ivar reaches 1e.62, beyond single precision.*another unit",
        ),
    }


@pytest.mark.parametrize("kind", bad_tables({"flux": np.ones(40), "wavelength": np.ones(40)}))
def test_tables_that_cannot_be_spectra(tmp_path, spectrum, kind):
    table, message = bad_tables(spectrum)[kind]
    write_csv(tmp_path / "x.csv", table)
    with pytest.raises(SpectrumReadError, match=rf"x\.csv looks like a CSV table.*{message}"):
        read_spectra(tmp_path / "x.csv")


@pytest.mark.parametrize("shape", [(3, 41), (2, 40), (40, 3), (1, 1, 40), ()])
def test_arrays_that_do_not_fit(tmp_path, shape):
    arrays = {"wavelength": np.arange(1.0, 41), "flux": np.ones((3, 40)), "ivar": np.ones(shape)}
    write_npz(tmp_path / "x.npz", arrays)
    with pytest.raises(SpectrumReadError, match=r"x\.npz looks like a npz.*ivar has shape .*"):
        read_spectra(tmp_path / "x.npz")


def test_no_pickles(tmp_path):
    arrays = {"wavelength": np.arange(1.0, 41), "flux": np.array([{}] * 40, dtype=object)}
    write_npz(tmp_path / "x.npz", arrays)
    with pytest.raises(SpectrumReadError, match=r"x\.npz .*allow_pickle"):
        read_spectra(tmp_path / "x.npz")


def test_other_tables_say_what_is_supported(tmp_path):
    write_npz(tmp_path / "x.npz", {"teff": np.ones(3)})
    with pytest.raises(SpectrumReadError, match=r"x\.npz is an npz archive .*'teff'.*wavelength"):
        read_spectra(tmp_path / "x.npz")
    write_csv(tmp_path / "x.csv", {"flux": np.ones(3)})
    with pytest.raises(SpectrumReadError, match=r"x\.csv is not .*begins 'flux.*CSV with columns"):
        read_spectra(tmp_path / "x.csv")


def test_csv_of_spreadsheets_and_tables_without_commas(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbf" + b"Wave, Flux, Err\r\n4000, 1, 2\r\n")
    assert read_spectra(tmp_path / "x.csv").ivar[0] == 0.25
    (tmp_path / "x.txt").write_text("wave flux err\n4000 1 2\n")
    with pytest.raises(SpectrumReadError, match=r"x\.txt is not .*'wave flux err.*CSV with"):
        read_spectra(tmp_path / "x.txt")


def test_a_damaged_archive(tmp_path, spectrum):
    write_npz(tmp_path / "x.npz", spectrum)
    content = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(content[:-30])
    with pytest.raises(SpectrumReadError, match=r"x\.npz is a truncated or damaged npz archive"):
        read_spectra(tmp_path / "x.npz")


def test_real_lamost_archive(data_dir):
    spectra = read_spectra(data_dir / "real_lamost_lrs_stars.npz")
    with np.load(data_dir / "real_lamost_lrs_stars.npz", allow_pickle=False) as stored:
        flags = np.unpackbits(stored["andmask"], axis=1)[:, : int(stored["npix"])]
        assert_array_equal(spectra.wavelength[7], stored["wavelength"])
        assert_array_equal(spectra.flux, stored["flux"])
        assert_array_equal(spectra.ivar, stored["ivar"])
        assert_array_equal(spectra.and_mask, flags)


def test_real_padded_archive(data_dir):
    spectra = read_spectra(data_dir / "real_wd_narayan2019_spectra.npz")
    with np.load(data_dir / "real_wd_narayan2019_spectra.npz", allow_pickle=False) as stored:
        arrays = [stored[name] for name in ("wavelength", "flux", "flux_err")]
    assert len(spectra) == len(arrays[0]) == 54
    for i, (wavelength, flux, error) in enumerate(zip(*arrays, strict=True)):
        inside = np.isfinite(wavelength)
        assert_array_equal(spectra.wavelength[i], wavelength[inside])
        assert_array_equal(spectra.flux[i], flux[inside])
        assert_allclose(spectra.ivar[i], error[inside] ** -2.0, rtol=1e-6)
