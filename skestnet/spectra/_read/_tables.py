"""Plain tables: columns known by their names, in CSV, ECSV, FITS tables and npz archives."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from astropy import units
from astropy.io import ascii as text_tables
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

from skestnet.spectra._read._record import Record, band_snr, make_meta, make_record, numbers

NAMES = {
    "wavelength": ("wavelength", "wave", "lambda", "lam"),
    "loglam": ("loglam", "log_wave"),
    "flux": ("flux", "flam", "f_lambda"),
    "ivar": ("ivar", "inverse_variance"),
    "error": (
        "error",
        "err",
        "sigma",
        "flux_err",
        "flux_error",
        "e_flux",
        "uncertainty",
        "std",
    ),
    "variance": ("variance",),
    "mask": ("mask",),
    "and_mask": ("and_mask", "andmask"),
}
# What the power of the unit of flux is.
_POWER = {"error": 1, "variance": 2, "ivar": -2}
_LIKE_ERRORS = ("err", "sigma", "ivar")  # parts of the names of columns that may well be errors
_AMPERE = re.compile(r"\bA(?:ngs?)?(?![A-Za-z])")  # never meant beside a flux
_ANGSTROM = {"", "a", "aa", "ang", "angs", "angstroms"}  # "A" is ampere for astropy


class Column(NamedTuple):
    """The values of a column, and its unit, empty where the file gives none."""

    values: NDArray[Any]
    unit: str = ""


def roles(names: Iterable[str]) -> dict[str, str]:
    """Return what columns mean, as a dict of role to name; the first of the known names wins."""
    known = {name.lower(): name for name in names}
    found = {role: [known[n] for n in aliases if n in known] for role, aliases in NAMES.items()}
    return {role: columns[0] for role, columns in found.items() if columns}


def is_spectrum(names: Iterable[str]) -> bool:
    """Say whether columns hold at least wavelengths and fluxes."""
    have = roles(names)
    return "flux" in have and ("wavelength" in have or "loglam" in have)


def read_columns(names: Iterable[str], column: Callable[[str], Column]) -> list[Record]:
    """Return the spectra of a table: one, or one for each row of a matrix of fluxes."""
    names = list(names)
    known = roles(names)
    found = {role: column(name) for role, name in known.items()}
    for role in found.keys() - {"mask", "and_mask"}:
        numbers(found[role].values, role)
    flux = _matrix(found["flux"].values)
    per_pixel = {
        "wavelength": _angstrom(found),
        "flux": flux,
        "ivar": _ivar(found),
        "mask": found["mask"].values if "mask" in found else None,
        "and_mask": found["and_mask"].values if "and_mask" in found else None,
    }
    like_flux = {n: _like(v, flux, n) for n, v in per_pixel.items() if v is not None}
    unread = tuple(name for name in names if name not in known.values() and _like_error(name))
    records = [_spectrum(like_flux, row, len(flux)) for row in range(len(flux))]
    return [record._replace(unread=unread) for record in records]


def _like_error(name: str) -> bool:
    return any(part in name.lower() for part in _LIKE_ERRORS)


def _matrix(values: NDArray[Any]) -> NDArray[Any]:
    matrix = np.atleast_2d(values)
    if matrix.ndim != 2:
        raise ValueError(f"flux has shape {matrix.shape}, but (n_spectra, n_pixels) is needed.")
    return matrix


def _like(values: NDArray[Any], flux: NDArray[Any], name: str) -> NDArray[Any]:
    """Return values in the shape of the fluxes; one vector may serve all spectra."""
    if name in ("mask", "and_mask"):
        values = _unpacked(values, flux.shape[1])
    if values.shape not in (flux.shape, flux.shape[1:]):
        raise ValueError(f"{name} has shape {values.shape}, but flux has {flux.shape}.")
    return np.broadcast_to(values, flux.shape)


def _unpacked(flags: NDArray[Any], n_pixels: int) -> NDArray[Any]:
    """Return flags one per pixel; bytes that are too few by eight hold one flag per bit."""
    n_bytes = -(-n_pixels // 8)
    if flags.dtype != np.uint8 or flags.shape[-1:] != (n_bytes,) or n_bytes == n_pixels:
        return flags
    return np.unpackbits(flags, axis=-1)[..., :n_pixels]


def _angstrom(found: Mapping[str, Column]) -> NDArray[np.float64]:
    """Return the wavelengths in Angstrom, which is taken for granted where there is no unit."""
    if "wavelength" not in found:
        return np.asarray(10.0 ** found["loglam"].values.astype(np.float64))
    values, unit = found["wavelength"]
    if unit.strip().lower() in _ANGSTROM:
        return values.astype(np.float64)
    factor = units.Unit(unit).to(units.AA)
    return values.astype(np.float64) * factor


def _ivar(found: Mapping[str, Column]) -> NDArray[np.float64] | None:
    """Return the inverse variances, zero where an error is not positive, None without errors."""
    role = next((role for role in ("ivar", "error", "variance") if role in found), None)
    if role is None:
        return None
    factor = _factor(found[role].unit, found["flux"].unit, role)
    values = found[role].values
    if role == "ivar":
        return values if factor == 1 else values.astype(np.float64) * factor
    noise = values.astype(np.float64) * factor
    variance = noise**2 if role == "error" else noise
    return np.divide(1.0, variance, out=np.zeros_like(noise), where=noise > 0)


def _factor(own: str, flux: str, role: str) -> float:
    """Return what brings an error, variance or ivar to the unit of the flux.

    1 where a unit is not given, or not one that astropy knows.
    """
    if own == flux and role == "error":
        return 1.0
    unit, of_flux = _unit(own), _unit(flux)
    if unit is None or of_flux is None:
        return 1.0
    try:
        return float(unit.to(of_flux ** _POWER[role]))
    except units.UnitsError as error:
        raise ValueError(
            f"{role} is in {own!r}, which does not go with flux in {flux!r}. Try to correct the "
            "unit in the file, or to remove it."
        ) from error


def _unit(text: str) -> Any:
    """Return the unit of a flux or an error, None where there is none or it is not known."""
    if not text.strip():
        return None
    unit = units.Unit(_AMPERE.sub("Angstrom", text), parse_strict="silent")
    return None if isinstance(unit, units.UnrecognizedUnit) else unit


def _spectrum(columns: Mapping[str, NDArray[Any]], row: int, n_rows: int) -> Record:
    """Return one spectrum, without the NaN that pad it."""
    padding = np.isnan(columns["wavelength"][row]) & np.isnan(columns["flux"][row])
    stop = np.flatnonzero(~padding).max(initial=-1) + 1
    pixels = {name: values[row, :stop] for name, values in columns.items()}
    has_errors = "ivar" in pixels
    if not has_errors:
        pixels["ivar"] = np.full(stop, 1.0 / scatter(pixels["flux"]) ** 2)
    snr = band_snr(pixels["wavelength"], pixels["flux"], pixels["ivar"])
    meta = make_meta(obsid=row if n_rows > 1 else None, snr=snr, has_errors=has_errors)
    return make_record(**pixels, meta=meta)


def scatter(flux: ArrayLike) -> float:
    """Return the noise of a spectrum as its pixels scatter, 1 where they do not.

    The median absolute second difference of pixels two apart: DER_SNR of Stoehr et al. 2008, ASP
    Conf. Ser. 394, 505.
    """
    values = np.asarray(flux, dtype=np.float64)
    values = values[np.isfinite(values) & (values != 0)]
    if values.size < 5:
        return 1.0
    difference = 2 * values[2:-2] - values[:-4] - values[4:]
    return float(1.482602 / np.sqrt(6) * np.median(np.abs(difference))) or 1.0


# ---- the files that hold tables --------------------------------------------------------------


def is_fits_table(hdus: fits.HDUList) -> bool:
    """Say whether a FITS file has a table of a spectrum; COADD belongs to surveys."""
    return "COADD" not in hdus and _fits_table(hdus) is not None


def _fits_table(hdus: fits.HDUList) -> Any:
    tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
    return next((hdu for hdu in tables if is_spectrum(hdu.columns.names)), None)


def read_fits_table(hdus: fits.HDUList) -> list[Record]:
    """Return the spectra of the first table that has any."""
    table = _fits_table(hdus)
    return read_columns(
        table.columns.names,
        lambda name: Column(np.asarray(table.data[name]), table.columns[name].unit or ""),
    )


def is_archive(archive: Any) -> bool:
    """Say whether an npz archive has wavelengths and fluxes."""
    return is_spectrum(archive.files)


def read_archive(archive: Any) -> list[Record]:
    """Return the spectra of an npz archive."""
    return read_columns(archive.files, lambda name: Column(archive[name]))


def is_ecsv(text: str) -> bool:
    """Say whether a text is an ECSV table of a spectrum."""
    return text.startswith("# %ECSV") and is_spectrum(_header(text, r"[,\s]+"))


def is_csv(text: str) -> bool:
    """Say whether a text is a CSV table of a spectrum."""
    return is_spectrum(_header(text, ","))


def _header(text: str, separator: str) -> list[str]:
    """Return the column names: the first line that is not a comment."""
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return [name.strip("\"' ") for name in re.split(separator, next(lines, ""))]


def read_ecsv(text: str) -> list[Record]:
    """Return the spectra of an ECSV table."""
    return _read_text(text, format="ecsv")


def read_csv(text: str) -> list[Record]:
    """Return the spectrum of a CSV table."""
    return _read_text(text, format="csv", comment="#")


def _read_text(text: str, **options: Any) -> list[Record]:
    table = text_tables.read(text.splitlines(), **options)
    return read_columns(table.colnames, lambda name: _text_column(table[name]))


def _text_column(column: Any) -> Column:
    """Return a column; missing values become NaN, and words for truth the truth."""
    values = np.asarray(column)
    if np.ma.is_masked(column):
        values = np.where(np.ma.getmaskarray(column), np.nan, values)
    if values.dtype.kind == "U" and set(np.char.lower(values).flat) <= {"true", "false"}:
        values = np.char.lower(values) == "true"
    return Column(values, str(column.unit or ""))
