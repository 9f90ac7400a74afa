"""The kinds of files that can be read, and how to recognise each by its content."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits

from skestnet.spectra._read import _desi, _lamost, _sdss, _tables
from skestnet.spectra._read._files import SpectrumReadError, content_of, open_fits
from skestnet.spectra._read._record import Record

_FITS_MAGIC, _ZIP_MAGIC = b"SIMPLE", b"PK\x03\x04"


class Layout(NamedTuple):
    """A kind of file: how to recognise it by its content, and how to read its spectra."""

    name: str
    form: str
    detect: Callable[[Any], bool]
    read: Callable[[Any], list[Record]]


LAMOST = (
    Layout(
        "LAMOST image",
        "primary HDU of shape (5, n_pixels)",
        _lamost.is_lamost_image,
        _lamost.read_lamost_image,
    ),
    Layout(
        "LAMOST table",
        "extension COADD with one row of vectors FLUX, IVAR, WAVELENGTH, ANDMASK",
        _lamost.is_lamost_table,
        _lamost.read_lamost_table,
    ),
)
# Another survey is one more entry.
_FITS = (
    *LAMOST,
    Layout(
        "SDSS spectrum",
        "extension COADD with columns flux, loglam, ivar, and_mask",
        _sdss.is_sdss,
        _sdss.read_sdss,
    ),
    Layout(
        "DESI spectra",
        "extensions FIBERMAP, B_WAVELENGTH, B_FLUX, B_IVAR, ...",
        _desi.is_desi,
        _desi.read_desi,
    ),
    Layout(
        "FITS table",
        "binary table with columns wavelength, flux",
        _tables.is_fits_table,
        _tables.read_fits_table,
    ),
)
_ARCHIVES = (
    Layout(
        "npz archive",
        "arrays wavelength, flux",
        _tables.is_archive,
        _tables.read_archive,
    ),
)
_TEXTS = (
    Layout("ECSV table", "ECSV with columns wavelength, flux", _tables.is_ecsv, _tables.read_ecsv),
    Layout("CSV table", "CSV with columns wavelength, flux", _tables.is_csv, _tables.read_csv),
)


def read_file(file: Path) -> list[Record]:
    """Return the spectra of one file, at least one; `meta` names the file and its layout."""
    return read_content(content_of(file), file)


def read_content(content: bytes, file: Any, only: tuple[Layout, ...] | None = None) -> list[Record]:
    """Return the spectra of a file in memory, called `file`, of any layout or of some."""
    with warnings.catch_warnings():
        # astropy warns of headers that break the standard in ways which do no harm.
        warnings.simplefilter("ignore")
        layout, opened = _recognise(content, file, only)
        records = _read_as(layout, opened, file)
    origin = {"file": str(file), "layout": layout.name}
    return [record._replace(meta=origin | record.meta) for record in records]


def _recognise(content: bytes, file: Any, only: tuple[Layout, ...] | None) -> tuple[Layout, Any]:
    """Return the layout of a file, and what the file holds."""
    try:
        opened, layouts = _open(content)
        layout = next((one for one in only or layouts if one.detect(opened)), None)
        found = _describe(opened) if layout is None else ""
    except Exception as error:  # damage makes the parsers raise almost anything
        kind = "FITS file" if content.startswith(_FITS_MAGIC) else "npz archive"
        raise SpectrumReadError(f"{file} is a truncated or damaged {kind}: {error}") from error
    if layout is None:
        known = "; ".join(f"{one.name} ({one.form})" for one in only or layouts)
        raise SpectrumReadError(
            f"{file} {found}. Supported are: {known}. Try building a Spectra from its arrays."
        )
    return layout, opened


def _open(content: bytes) -> tuple[Any, tuple[Layout, ...]]:
    """Return what a file holds, and the layouts that it can have."""
    if content.startswith(_FITS_MAGIC):
        return open_fits(content), _FITS
    if content.startswith(_ZIP_MAGIC):
        return np.load(io.BytesIO(content), allow_pickle=False), _ARCHIVES
    # Bytes that are no text become question marks, which no column is named by.
    return content.decode("utf-8-sig", errors="replace"), _TEXTS


def _describe(opened: Any) -> str:
    """Say what a file is that no layout recognises."""
    if isinstance(opened, str):
        return f"is not a FITS file, an npz archive or a known table: it begins {opened[:40]!r}"
    if not isinstance(opened, fits.HDUList):
        return f"is an npz archive without spectra. It holds: {opened.files[:20]}"
    found = ", ".join(_describe_hdu(hdu) for hdu in opened[:6])
    more = ", ..." if len(opened) > 6 else ""
    return f"is a FITS file of a kind that is not supported. It holds: {found}{more}"


def _describe_hdu(hdu: Any) -> str:
    """Return the name and the shape of an HDU for a message."""
    header = hdu.header
    if isinstance(hdu, fits.BinTableHDU):
        names = [header.get(f"TTYPE{i}") for i in range(1, 1 + min(5, header.get("TFIELDS", 0)))]
        return f"{hdu.name} (table of {header.get('NAXIS2')} rows, columns {names})"
    shape = [header.get(f"NAXIS{i}") for i in range(header.get("NAXIS", 0), 0, -1)]
    return f"{hdu.name} ({f'image of shape {tuple(shape)}' if shape else 'no data'})"


def _read_as(layout: Layout, opened: Any, file: Any) -> list[Record]:
    """Read a file as one layout; name the file where its content does not keep to it."""
    try:
        records = layout.read(opened)
    except Exception as error:  # damage makes the parsers raise almost anything
        raise SpectrumReadError(
            f"{file} looks like a {layout.name} ({layout.form}), but cannot be read as one: {error}"
        ) from error
    if not records:
        raise SpectrumReadError(f"{file} is a {layout.name} of no spectra.")
    return records
