"""Reading the FITS files of spectroscopic surveys, whatever their release calls them."""

import gzip
import io
import os
import warnings
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from tqdm import tqdm

from skestnet.spectra._container import MISSING, Spectra

_BANDS = "ugriz"
_GZIP_MAGIC = b"\x1f\x8b"
# What astropy only warns of, and what leaves a part of the file unread.
_DAMAGE = ("File may have been truncated", "Error validating header")


class SpectrumReadError(ValueError):
    """A file that exists but holds no spectrum that can be read.

    The message names the file and says what was found in it.

    Examples
    --------
    >>> from skestnet.spectra import SpectrumReadError
    >>> issubclass(SpectrumReadError, ValueError)
    True
    """


class _Record(NamedTuple):
    """One spectrum as read."""

    wavelength: NDArray[Any]
    flux: NDArray[Any]
    ivar: NDArray[Any]
    and_mask: NDArray[Any]
    meta: dict[str, Any]


class _Layout(NamedTuple):
    """A kind of file: how to recognise it by its content, and how to read its spectra."""

    name: str
    form: str
    detect: Callable[[fits.HDUList], bool]
    read: Callable[[fits.HDUList], list[_Record]]


def read_spectra(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, verbose: int = 0
) -> Spectra:
    """Read spectra from FITS files of LAMOST (low resolution) and SDSS, plain or gzip.

    The layout of a file is decided by its content, never by its name or release number. Three
    are known: LAMOST images (five rows in the primary HDU), LAMOST tables (extension COADD, one
    row of vectors), and SDSS/BOSS ``spec`` files (extension COADD, one row per pixel). They may
    be mixed in one call.

    Parameters
    ----------
    paths : str, path-like or iterable of them
        The file or the files to read, in the order of the spectra.
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    Spectra
        The spectra on their own pixels: vacuum wavelengths in Angstrom, fluxes and inverse
        variances exactly as stored. Its `meta` has the columns ``file``, ``layout`` ("LAMOST
        image", "LAMOST table" or "SDSS spectrum"), ``object`` (name of the target), ``obsid``
        (LAMOST: the OBSID, or LMJD-plan_sp-fibre where the release has none; SDSS:
        plate-mjd-fibre), ``ra`` and ``dec`` (degrees), ``redshift``, and ``snr_u`` to ``snr_z``;
        numbers are NaN and texts are empty where the file does not say.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    SpectrumReadError
        If a file is not FITS, is truncated, or is FITS of another kind.
    ValueError
        If there is no path, or a path is a folder.

    See Also
    --------
    Spectra : The container returned.
    usable_spectra : Quality cuts for it.

    Notes
    -----
    Early LAMOST releases (DR1) keep the continuum-divided flux, not the wavelength, in the third
    row of the image; the wavelengths then come from COEFF0 and COEFF1 of the header.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from skestnet.spectra import read_spectra
    >>> wavelength = np.linspace(4000, 4004, 5)
    >>> rows = np.stack([np.ones(5), np.ones(5), wavelength, np.zeros(5), np.zeros(5)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "star.fits.gz"
    ...     fits.PrimaryHDU(rows.astype("float32")).writeto(path)
    ...     spectra = read_spectra([path])
    >>> spectra
    <Spectra: 1 spectra, 5 pixels, 4000.0-4004.0 A>
    """
    files = _files(paths)
    bar = tqdm(files, desc="Reading spectra", unit="file", disable=verbose < 1)
    return _collect([record for file in bar for record in _read_file(file)])


def _files(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the files to read, of which there is at least one."""
    one = isinstance(paths, str | os.PathLike)
    files = [Path(paths)] if one else [Path(path) for path in paths]  # type: ignore[arg-type, union-attr]
    if not files:
        raise ValueError("paths is empty, but at least one file is needed. Check the pattern.")
    return files


def _collect(records: list[_Record]) -> Spectra:
    """Join single spectra into a container."""
    return Spectra(
        wavelength=[record.wavelength for record in records],
        flux=[record.flux for record in records],
        ivar=[record.ivar for record in records],
        and_mask=[record.and_mask for record in records],
        meta=Table({name: [r.meta[name] for r in records] for name in records[0].meta}),
    )


def _read_file(file: Path) -> list[_Record]:
    """Return the spectra of one file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with _open(file) as hdus:
            _refuse_damaged(file, caught)
            layout = _layout_of(hdus, file)
            records = _read_as(layout, hdus, file)
    origin = {"file": str(file), "layout": layout.name}
    return [record._replace(meta=origin | record.meta) for record in records]


def _open(file: Path) -> fits.HDUList:
    """Return all HDUs of a file that is read into memory, so that no handle stays open."""
    content = _content(file)
    try:
        hdus = fits.open(io.BytesIO(content), memmap=False)
        hdus.readall()
    except (OSError, EOFError, TypeError, ValueError) as error:
        known = content.startswith(b"SIMPLE")
        found = "a truncated or damaged FITS file" if known else "not a FITS file"
        raise SpectrumReadError(f"{file} is {found}: {error}") from error
    return hdus


def _content(file: Path) -> bytes:
    """Return the bytes of a file, decompressed where they are gzip."""
    if file.is_dir():
        raise ValueError(
            f"{file} is a folder, but files are needed. Try sorted(Path({str(file)!r})"
            ".glob('*.fits*'))."
        )
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist. Patterns such as *.fits are not expanded.")
    content = file.read_bytes()
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise SpectrumReadError(f"{file} is a truncated or damaged gzip file: {error}") from error


def _refuse_damaged(file: Path, caught: list[warnings.WarningMessage]) -> None:
    """Raise where astropy warned that a part of the file is missing."""
    damage = [str(w.message) for w in caught if str(w.message).startswith(_DAMAGE)]
    if damage:
        raise SpectrumReadError(f"{file} is a truncated or damaged FITS file: {damage[0]}")


def _layout_of(hdus: fits.HDUList, file: Path) -> _Layout:
    """Return the first layout that recognises the file."""
    for layout in _LAYOUTS:
        if layout.detect(hdus):
            return layout
    found = ", ".join(_describe(hdu) for hdu in hdus[:6]) + (", ..." if len(hdus) > 6 else "")
    known = "; ".join(f"{layout.name} ({layout.form})" for layout in _LAYOUTS)
    raise SpectrumReadError(
        f"{file} is a FITS file of a kind that is not supported. It holds: {found}. "
        f"Supported are: {known}. Try building a Spectra from its arrays."
    )


def _describe(hdu: Any) -> str:
    """Return the name and the shape of an HDU for a message."""
    if isinstance(hdu, fits.BinTableHDU):
        return f"{hdu.name} (table of {len(hdu.data)} rows, columns {hdu.columns.names[:5]})"
    return f"{hdu.name} ({f'image of shape {hdu.shape}' if hdu.shape else 'no data'})"


def _read_as(layout: _Layout, hdus: fits.HDUList, file: Path) -> list[_Record]:
    """Read a file as one layout; name the file where its content does not keep to it."""
    try:
        records = layout.read(hdus)
        _collect(records)  # the container checks lengths and wavelengths
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise SpectrumReadError(
            f"{file} looks like a {layout.name} ({layout.form}), but cannot be read as one: {error}"
        ) from error
    return records


def _coadd(hdus: fits.HDUList, *columns: str) -> Any:
    """Return the table COADD if it has all the columns, in upper or lower case, else None."""
    if "COADD" not in hdus or not isinstance(hdus["COADD"], fits.BinTableHDU):
        return None
    table = hdus["COADD"]
    have = {name.lower() for name in table.columns.names}
    return table.data if have.issuperset(columns) else None


# ---- LAMOST, low resolution ----------------------------------------------------------------


def _is_lamost_image(hdus: fits.HDUList) -> bool:
    """Five rows do not suffice: the spSpec files of the first SDSS releases have five as well."""
    rows, header = hdus[0].data, hdus[0].header
    if rows is None or rows.ndim != 2 or len(rows) != 5:
        return False
    return _is_scale(rows[2]) or ("LAMOST" in str(header.get("TELESCOP")) and "COEFF1" in header)


def _read_lamost_image(hdus: fits.HDUList) -> list[_Record]:
    flux, ivar, third, and_mask, _ = hdus[0].data
    header = hdus[0].header
    wavelength = third if _is_scale(third) else _log_linear(header, flux.size)
    return [_Record(wavelength, flux, ivar, and_mask, _lamost_meta(header))]


def _is_lamost_table(hdus: fits.HDUList) -> bool:
    data = _coadd(hdus, "flux", "ivar", "wavelength", "andmask")
    return data is not None and len(data) == 1 and data["flux"].ndim == 2


def _read_lamost_table(hdus: fits.HDUList) -> list[_Record]:
    row = hdus["COADD"].data[0]
    wavelength, flux, ivar, and_mask = (row[n] for n in ("wavelength", "flux", "ivar", "andmask"))
    return [_Record(wavelength, flux, ivar, and_mask, _lamost_meta(hdus[0].header))]


def _is_scale(values: NDArray[Any]) -> bool:
    """Say whether values can be wavelengths: positive and increasing."""
    return bool(values[0] > 0 and (np.diff(values) > 0).all())


def _log_linear(header: fits.Header, n_pixels: int) -> NDArray[np.float64]:
    """Return the wavelengths of a header whose COEFF0 and COEFF1 are in log10 Angstrom."""
    return np.asarray(10.0 ** (header["COEFF0"] + header["COEFF1"] * np.arange(n_pixels)))


def _lamost_meta(header: fits.Header) -> dict[str, Any]:
    # Up to DR1 the S/N was SN_U, ...; since then it is SNRU, ...
    snr = [header.get(f"SNR{band}".upper(), header.get(f"SN_{band}".upper())) for band in _BANDS]
    return _meta(
        name=header.get("DESIG", header.get("OBJNAME")),  # codespell:ignore desig
        obsid=header.get("OBSID", _lamost_id(header)),
        ra=header.get("RA"),
        dec=header.get("DEC"),
        redshift=header.get("Z"),
        snr=snr,
    )


def _lamost_id(header: fits.Header) -> str | None:
    """Return the identifier that the file names of LAMOST carry, which DR1 gives no OBSID for."""
    if any(key not in header for key in ("LMJD", "PLANID", "SPID", "FIBERID")):
        return None
    plate, spectrograph = f"{header['LMJD']}-{header['PLANID']}", int(header["SPID"])
    return f"{plate}_sp{spectrograph:02d}-{int(header['FIBERID']):03d}"


# ---- SDSS and BOSS -------------------------------------------------------------------------


def _is_sdss(hdus: fits.HDUList) -> bool:
    data = _coadd(hdus, "flux", "loglam", "ivar", "and_mask")
    return data is not None and data["flux"].ndim == 1


def _read_sdss(hdus: fits.HDUList) -> list[_Record]:
    data = hdus["COADD"].data
    wavelength = 10.0 ** data["loglam"].astype(np.float64)
    meta = _sdss_meta(hdus[0].header, _sdss_catalogue(hdus))
    return [_Record(wavelength, data["flux"], data["ivar"], data["and_mask"], meta)]


def _sdss_catalogue(hdus: fits.HDUList) -> dict[str, Any]:
    """Return the row of the pipeline's results, in HDU 2 (SPALL or SPECOBJ), as a dict."""
    if len(hdus) < 3 or not isinstance(hdus[2], fits.BinTableHDU) or len(hdus[2].data) != 1:
        return {}
    row = hdus[2].data[0]
    return {name.upper(): row[name] for name in hdus[2].columns.names}


def _sdss_meta(header: fits.Header, catalogue: dict[str, Any]) -> dict[str, Any]:
    # RA and DEC of this header are the centre of the plate, not the target.
    snr = catalogue.get("SN_MEDIAN", ())
    return _meta(
        name=None,
        obsid=_sdss_id(header),
        ra=header.get("PLUG_RA", catalogue.get("PLUG_RA")),
        dec=header.get("PLUG_DEC", catalogue.get("PLUG_DEC")),
        redshift=catalogue.get("Z"),
        snr=snr if np.size(snr) == len(_BANDS) else [None] * len(_BANDS),
    )


def _sdss_id(header: fits.Header) -> str | None:
    """Return plate-mjd-fibre, as in the names of SDSS files."""
    if any(key not in header for key in ("PLATEID", "MJD", "FIBERID")):
        return None
    plate, mjd, fibre = (int(header[key]) for key in ("PLATEID", "MJD", "FIBERID"))
    return f"{plate:04d}-{mjd}-{fibre:04d}"


# ---- what all layouts give -----------------------------------------------------------------


def _meta(
    *, name: Any, obsid: Any, ra: Any, dec: Any, redshift: Any, snr: Iterable[Any]
) -> dict[str, Any]:
    """Return the columns of one row of the table, the same for every layout."""
    row = {"object": _text(name), "obsid": _text(obsid), "ra": _number(ra), "dec": _number(dec)}
    ratios = {f"snr_{band}": _number(value) for band, value in zip(_BANDS, snr, strict=True)}
    return row | {"redshift": _number(redshift)} | ratios


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _number(value: Any) -> float:
    """Return a float, NaN for what is absent, not a number or marked as missing."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return np.nan
    return number if number > MISSING else np.nan


# Another survey is one more entry.
_LAYOUTS = (
    _Layout(
        "LAMOST image",
        "primary HDU of shape (5, n_pixels)",
        _is_lamost_image,
        _read_lamost_image,
    ),
    _Layout(
        "LAMOST table",
        "extension COADD with one row of vectors FLUX, IVAR, WAVELENGTH, ANDMASK",
        _is_lamost_table,
        _read_lamost_table,
    ),
    _Layout(
        "SDSS spectrum",
        "extension COADD with columns flux, loglam, ivar, and_mask",
        _is_sdss,
        _read_sdss,
    ),
)
