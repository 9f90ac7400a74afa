"""LAMOST, low resolution: images up to DR8, tables since."""

from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from skestnet.spectra._read._record import Record, make_meta, make_record

# The third row of an image is wavelengths (thousands of Angstrom) or, in DR1, flux over continuum.
_NO_WAVELENGTH = 1000.0
# Largest relative difference of the two: less than half a pixel, far above float32.
_SAME_WAVELENGTH = 1e-4


def is_lamost_image(hdus: fits.HDUList) -> bool:
    """Five rows do not suffice: the spSpec files of the first SDSS releases have five as well."""
    header = hdus[0].header
    if header.get("NAXIS") != 2 or header.get("NAXIS2") != 5:
        return False
    return _is_scale(hdus[0].data[2]) or (
        "LAMOST" in str(header.get("TELESCOP")) and "COEFF1" in header
    )


def _is_scale(values: NDArray[Any]) -> bool:
    """Say whether values can be wavelengths: positive and increasing."""
    return bool(values[0] > 0 and (np.diff(values) > 0).all())


def read_lamost_image(hdus: fits.HDUList) -> list[Record]:
    """Return the spectrum of an image."""
    flux, ivar, third, and_mask, _ = hdus[0].data
    header = hdus[0].header
    is_dr1 = np.nanmedian(third) < _NO_WAVELENGTH
    wavelength = _log_linear(header, flux.size) if is_dr1 else _agreeing(third, header)
    meta = _meta(header)
    return [make_record(wavelength=wavelength, flux=flux, ivar=ivar, and_mask=and_mask, meta=meta)]


def _agreeing(wavelength: NDArray[Any], header: fits.Header) -> NDArray[Any]:
    """Return wavelengths unless the header, where it has them as well, has others."""
    if "COEFF0" in header and "COEFF1" in header:
        other = _log_linear(header, wavelength.size)
        off = np.flatnonzero(abs(wavelength / other - 1) > _SAME_WAVELENGTH)
        if off.size:
            raise ValueError(
                f"the third row has a wavelength of {wavelength[off[0]]:.2f} A in pixel {off[0]}, "
                f"where COEFF0 and COEFF1 say {other[off[0]]:.2f} A: one of them is damaged "
                f"({off.size} of {wavelength.size} pixels differ)."
            )
    return wavelength


def is_lamost_table(hdus: fits.HDUList) -> bool:
    """Say whether COADD is a table of one row of vectors."""
    table = coadd(hdus, "flux", "ivar", "wavelength", "andmask")
    return table is not None and len(table) == 1 and table["flux"].ndim == 2


def read_lamost_table(hdus: fits.HDUList) -> list[Record]:
    """Return the spectrum of a table."""
    row = hdus["COADD"].data[0]
    return [
        make_record(
            wavelength=row["wavelength"],
            flux=row["flux"],
            ivar=row["ivar"],
            and_mask=row["andmask"],
            meta=_meta(hdus[0].header),
        )
    ]


def coadd(hdus: fits.HDUList, *columns: str) -> Any:
    """Return the table COADD if it has all the columns, in upper or lower case, else None."""
    if "COADD" not in hdus or not isinstance(hdus["COADD"], fits.BinTableHDU):
        return None
    table = hdus["COADD"]
    have = {name.lower() for name in table.columns.names}
    return table.data if have.issuperset(columns) else None


def _log_linear(header: fits.Header, n_pixels: int) -> NDArray[np.float64]:
    """Return the wavelengths of a header whose COEFF0 and COEFF1 are in log10 Angstrom."""
    return np.asarray(10.0 ** (header["COEFF0"] + header["COEFF1"] * np.arange(n_pixels)))


def _meta(header: fits.Header) -> dict[str, Any]:
    # Up to DR1 the S/N was SN_U, ...; since then it is SNRU, ...
    snr = [header.get(f"SNR{band}", header.get(f"SN_{band}")) for band in "UGRIZ"]
    return make_meta(
        name=header.get("DESIG", header.get("OBJNAME")),  # codespell:ignore desig
        obsid=header.get("OBSID", _identifier(header)),
        ra=header.get("RA"),
        dec=header.get("DEC"),
        redshift=header.get("Z"),
        snr=snr,
    )


def _identifier(header: fits.Header) -> str | None:
    """Return the identifier that the file names of LAMOST carry, which DR1 gives no OBSID for."""
    if any(key not in header for key in ("LMJD", "PLANID", "SPID", "FIBERID")):
        return None
    plate, spectrograph = f"{header['LMJD']}-{header['PLANID']}", int(header["SPID"])
    return f"{plate}_sp{spectrograph:02d}-{int(header['FIBERID']):03d}"
