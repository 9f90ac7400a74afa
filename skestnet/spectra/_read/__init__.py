"""Reading the files of spectroscopic surveys, and plain tables, whatever they are called."""

import os
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from astropy.table import Table
from joblib import Parallel, delayed
from tqdm import tqdm

from skestnet.spectra._container import Spectra
from skestnet.spectra._read._files import SpectrumReadError
from skestnet.spectra._read._layouts import read_file
from skestnet.spectra._read._record import Record

__all__ = ["SpectrumReadError", "read_spectra"]

_ON_ERROR = ("raise", "collect")


def read_spectra(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    on_error: str = "raise",
    n_jobs: int | None = None,
    verbose: int = 0,
) -> Spectra:
    r"""Read spectra from files of LAMOST, SDSS and DESI, and from plain tables.

    The layout of a file is decided by its content, never by its name or release number. Files of
    all layouts, plain or gzip, may be mixed in one call.

    Parameters
    ----------
    paths : str, path-like or iterable of them
        The file or the files to read, in the order of the spectra.
    on_error : {"raise", "collect"}, default="raise"
        What to do with a file that cannot be read: "raise" stops; "collect" goes on, warns once
        with the number of such files, and lists them in the `errors` of the result.
    n_jobs : int, default=None
        Number of processes that read at the same time, as in joblib: None is 1 unless set by a
        context, -1 is one per processor. The result does not depend on it. One process reads
        hundreds of LAMOST files per second, so that more pay off for many thousands.
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    Spectra
        The spectra on their own pixels, in the order of the files and, within a file, of its
        rows: wavelengths in Angstrom, fluxes and inverse variances exactly as stored. Its `meta`
        has the columns

        - ``file`` and ``layout`` (see Notes);
        - ``object``, name of the target, and ``obsid``: LAMOST, the OBSID, or
          LMJD-plan_sp-fibre where the release has none; SDSS, plate-mjd-fibre, or
          field-mjd-catalogid in SDSS-V; DESI, the TARGETID; a table of several spectra, the row;
        - ``ra`` and ``dec`` (degrees), ``redshift``;
        - ``snr_u`` to ``snr_z``, the S/N per pixel in the SDSS filters: as stored for LAMOST and
          SDSS, else the median of flux * sqrt(ivar) within the width of the filter;
        - ``has_errors``, False where a table has no errors and they were estimated (see Notes).

        Numbers are NaN and texts are empty where the file does not say. `errors` has the columns
        ``file`` and ``error``, and no row unless ``on_error="collect"`` met an error.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    SpectrumReadError
        If a file is truncated or damaged (where it carries CHECKSUM or DATASUM they are
        verified), or of another kind; with ``on_error="collect"``, if no file could be read.
    ValueError
        If there is no path, a path is a folder, or `on_error` is not one of the two.

    Warns
    -----
    UserWarning
        If files were left out (``on_error="collect"``), or tables have no errors.

    See Also
    --------
    Spectra : The container returned.
    usable_spectra : Quality cuts for it.

    Notes
    -----
    Surveys, whose wavelengths are in vacuum:

    - "LAMOST image", low resolution: five rows in the primary HDU. Early releases (DR1) keep the
      continuum-divided flux, not the wavelength, in the third row; the wavelengths then come from
      COEFF0 and COEFF1 of the header.
    - "LAMOST table", low resolution: extension COADD, one row of vectors.
    - "SDSS spectrum", of SDSS, BOSS and SDSS-V: extension COADD, one row per pixel.
    - "DESI spectra", coadd or spectra files: one spectrum for each row of FIBERMAP. The cameras
      share one wavelength grid. Pixels of one camera are copied; where two overlap, their fluxes
      are averaged with weights ivar and their ivar added. Masked pixels have ivar 0, and
      `and_mask` holds the flags that all cameras set which cover a pixel.

    Plain tables, "CSV table", "ECSV table", "FITS table" (a row per pixel, or a row of vectors per
    spectrum) and "npz archive" (a spectrum, or a matrix with a row per spectrum and wavelengths of
    one or two dimensions; pixels at the end where wavelength and flux are NaN are padding and
    dropped), are taken as they are, air or vacuum: see `Spectra.to_vacuum` for those in air.
    Columns are recognised by name, in upper or lower case:

    - wavelength, wave, lambda or lam, in the unit of the column (ECSV and FITS), else in Angstrom;
      or loglam or log_wave, log10 of Angstrom;
    - flux, flam or f_lambda;
    - ivar or inverse_variance; or error, err, sigma, flux_err, flux_error, e_flux, uncertainty or
      std, a standard deviation; or variance. Inverse variances are 0 where an error is not
      positive. Where flux and errors have units, errors are brought to that of the flux;
    - mask, anything but 0 marks a bad pixel; and_mask or andmask, flags. Arrays of bytes with one
      eighth of the pixels hold one bit per pixel.

    A table that has no errors is given a constant one per spectrum, estimated from the scatter of
    its pixels [1]_ (1 where they do not scatter at all): ``has_errors`` is False, and a warning
    says how many spectra are concerned. Such errors serve for weights, not for science.

    References
    ----------
    .. [1] Stoehr et al. 2008, "DER_SNR: A Simple & General Spectroscopic Signal-to-Noise
       Measurement Algorithm", ASP Conference Series 394, 505.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from skestnet.spectra import read_spectra
    >>> wavelength = np.linspace(4000, 4004, 5)
    >>> rows = np.stack([np.ones(5), np.ones(5), wavelength, np.zeros(5), np.zeros(5)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     image = pathlib.Path(folder) / "star.fits.gz"
    ...     fits.PrimaryHDU(rows.astype("float32")).writeto(image)
    ...     table = pathlib.Path(folder) / "star.csv"
    ...     _ = table.write_text("wave,flux,err\n4000,1.5,0.1\n4001,1.6,0.1\n")
    ...     spectra = read_spectra([image, table])
    >>> spectra
    <Spectra: 2 spectra, 2-5 pixels, 4000.0-4004.0 A>
    >>> spectra.meta["layout"].tolist()
    ['LAMOST image', 'CSV table']
    """
    files = _files(paths)
    if on_error not in _ON_ERROR:
        raise ValueError(f"on_error={on_error!r} is not known. Choose one of {_ON_ERROR}.")
    read = read_file if on_error == "raise" else _try_file
    bar = tqdm(files, desc="Reading spectra", unit="file", disable=verbose < 1)
    # Processes, not threads: parsing is Python, and what warnings are shown is set per process.
    results = Parallel(n_jobs=n_jobs, backend="loky")(delayed(read)(file) for file in bar)
    pairs = list(zip(files, results, strict=True))
    failed = [(file, result) for file, result in pairs if isinstance(result, Exception)]
    if failed:
        _report_failed(failed, len(files))
    records = [record for result in results if isinstance(result, list) for record in result]
    _report_no_errors(records)
    return _collect(records, failed)


def _files(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the files to read, of which there is at least one."""
    one = isinstance(paths, str | os.PathLike)
    files = [Path(paths)] if one else [Path(path) for path in paths]  # type: ignore[arg-type, union-attr]
    if not files:
        raise ValueError("paths is empty, but at least one file is needed. Check the pattern.")
    return files


def _try_file(file: Path) -> list[Record] | Exception:
    """Return the spectra of a file, or why there are none."""
    try:
        return read_file(file)
    except (OSError, ValueError) as error:
        return error


def _report_failed(failed: list[tuple[Path, Exception]], n_files: int) -> None:
    """Warn of the files left out; raise if they are all."""
    _, first = failed[0]
    if len(failed) == n_files:
        raise SpectrumReadError(f"None of the {n_files} files could be read: {first}") from first
    warnings.warn(
        f"{len(failed)} of {n_files} files could not be read and are left out; `errors` of the "
        f"result lists them. The first: {first}",
        stacklevel=3,
    )


def _report_no_errors(records: list[Record]) -> None:
    """Warn of the spectra whose errors were estimated."""
    without = [record for record in records if not record.meta["has_errors"]]
    if without:
        unread = sorted({name for record in without for name in record.unread})
        advice = f". If {unread} are errors, rename them: to error or ivar, say" if unread else ""
        warnings.warn(
            f"{len(without)} of {len(records)} spectra come without errors, which were estimated "
            "from the scatter of their pixels (has_errors in meta). The first: "
            f"{without[0].meta['file']}{advice}",
            stacklevel=3,
        )


def _collect(records: list[Record], failed: list[tuple[Path, Exception]]) -> Spectra:
    """Join single spectra into a container."""
    errors = {
        "file": np.array([str(file) for file, _ in failed], dtype=str),
        "error": np.array([str(error) for _, error in failed], dtype=str),
    }
    return Spectra(
        wavelength=[record.wavelength for record in records],
        flux=[record.flux for record in records],
        ivar=[record.ivar for record in records],
        mask=[record.mask for record in records],
        and_mask=[record.and_mask for record in records],
        meta=Table({name: [r.meta[name] for r in records] for name in records[0].meta}),
        errors=Table(errors),
    )
