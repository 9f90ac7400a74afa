"""SDSS, BOSS and SDSS-V: one row per pixel of the table COADD, and a row of results in HDU 2."""

from typing import Any

import numpy as np
from astropy.io import fits

from skestnet.spectra._read._lamost import coadd
from skestnet.spectra._read._record import Record, make_meta, make_record

_WANTED = {"Z", "SN_MEDIAN", "PLUG_RA", "PLUG_DEC", "RACAT", "DECCAT", "FIELD", "MJD", "CATALOGID"}


def is_sdss(hdus: fits.HDUList) -> bool:
    """Say whether COADD is a table of pixels."""
    table = coadd(hdus, "flux", "loglam", "ivar", "and_mask")
    return table is not None and table["flux"].ndim == 1


def read_sdss(hdus: fits.HDUList) -> list[Record]:
    """Return the spectrum of a file."""
    data = hdus["COADD"].data
    return [
        make_record(
            wavelength=10.0 ** data["loglam"].astype(np.float64),
            flux=data["flux"],
            ivar=data["ivar"],
            and_mask=data["and_mask"],
            meta=_meta(hdus[0].header, _results(hdus)),
        )
    ]


def _results(hdus: fits.HDUList) -> dict[str, Any]:
    """Return the row of the pipeline's results, in HDU 2 (SPALL, SPECOBJ or ZBEST), as a dict."""
    if len(hdus) < 3 or not isinstance(hdus[2], fits.BinTableHDU) or len(hdus[2].data) != 1:
        return {}
    row = hdus[2].data[0]
    return {n.upper(): row[n] for n in hdus[2].columns.names if n.upper() in _WANTED}


def _meta(header: fits.Header, results: dict[str, Any]) -> dict[str, Any]:
    snr = results.get("SN_MEDIAN", ())
    return make_meta(
        obsid=_identifier(header, results),
        ra=_coordinate(header, results, "RA"),
        dec=_coordinate(header, results, "DEC"),
        redshift=results.get("Z"),
        snr=snr if np.size(snr) == 5 else None,
    )


def _coordinate(header: fits.Header, results: dict[str, Any], axis: str) -> Any:
    """Return RA or DEC of the target; those of the header are the centre of the plate."""
    plug = header.get(f"PLUG_{axis}", results.get(f"PLUG_{axis}"))
    return results.get(f"{axis}CAT") if plug is None else plug


def _identifier(header: fits.Header, results: dict[str, Any]) -> str | None:
    """Return what the file names carry: plate-mjd-fibre, or field-mjd-catalogid in SDSS-V."""
    if all(key in results for key in ("FIELD", "MJD", "CATALOGID")):
        return f"{int(results['FIELD']):06d}-{int(results['MJD'])}-{results['CATALOGID']}"
    if all(key in header for key in ("PLATEID", "MJD", "FIBERID")):
        plate, mjd, fibre = (int(header[key]) for key in ("PLATEID", "MJD", "FIBERID"))
        return f"{plate:04d}-{mjd}-{fibre:04d}"
    return None
