"""LAMOST files as a format of specutils."""

import io
import os
import warnings
from pathlib import Path
from typing import Any

from astropy import units
from astropy.io import fits
from astropy.nddata import InverseVariance

from skestnet.spectra._read._files import content_of, decompressed
from skestnet.spectra._read._layouts import LAMOST, read_content
from skestnet.spectra._read._record import Record
from skestnet.spectra._rebin import no_information

_FORMAT = "LAMOST low resolution"


def register_specutils_loader() -> None:
    """Make LAMOST low-resolution files readable by ``specutils.Spectrum.read``.

    Images and tables, plain or gzip, become the format "LAMOST low resolution" of specutils, which
    then recognises them by their content. specutils finds no loaders of other packages by itself:
    call this once per session, or from a file in the folder ``.specutils`` of the home directory,
    which specutils runs when it is imported. A second call changes nothing.

    Raises
    ------
    ImportError
        If specutils is not installed, or older than version 2.

    See Also
    --------
    read_spectra : The same files, and others, as `Spectra`.
    Spectra.from_specutils : From specutils to `Spectra`.

    Notes
    -----
    The spectrum of specutils has vacuum wavelengths in Angstrom, the fluxes without unit (LAMOST
    calibrates them relatively), the uncertainty as inverse variance, `mask` where it is not
    positive, and in `meta` the columns of the `meta` of `read_spectra` and ``and_mask``.

    Examples
    --------
    >>> from skestnet.spectra import register_specutils_loader
    >>> register_specutils_loader()  # doctest: +SKIP
    >>> specutils.Spectrum.read("spec-55859-F5902_sp01-001.fits.gz")  # doctest: +SKIP
    <Spectrum(flux=[...] (shape=(3908,), ...)>
    """
    try:
        from specutils import Spectrum
        from specutils.io.registers import data_loader
    except ImportError as error:
        raise ImportError(
            f"specutils 2 or later is needed for its loaders ({error}). Try pip install "
            "'specutils>=2'."
        ) from error
    register = data_loader(
        _FORMAT, identifier=_identify, dtype=Spectrum, extensions=["fits", "gz"], priority=20,
        force=True,
    )  # fmt: skip
    register(_load)


def _identify(origin: str, path: Any, fileobj: Any, *args: Any, **kwargs: Any) -> bool:  # noqa: ARG001
    """Say whether a file is one of LAMOST; for specutils, whatever raises an error is not."""
    if isinstance(args[0], fits.HDUList):
        return _is_lamost(args[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path is not None:
            with fits.open(path) as hdus:
                return _is_lamost(hdus)
        try:
            return _is_lamost(fits.open(fileobj))
        finally:
            fileobj.seek(0)


def _is_lamost(hdus: fits.HDUList) -> bool:
    return any(layout.detect(hdus) for layout in LAMOST)


def _load(source: Any, **kwargs: Any) -> Any:  # noqa: ARG001
    """Return the spectrum of a path, an open file or an HDUList."""
    from specutils import Spectrum

    name = source if isinstance(source, str | os.PathLike) else getattr(source, "name", "file")
    record = read_content(_bytes(source), name, LAMOST)[0]
    return Spectrum(**_parts(record))


def _bytes(source: Any) -> bytes:
    """Return the content of a path, an open file or an HDUList."""
    if isinstance(source, str | os.PathLike):
        return content_of(Path(source))
    if isinstance(source, fits.HDUList):
        buffer = io.BytesIO()
        source.writeto(buffer)
        return buffer.getvalue()
    source.seek(0)
    return decompressed(source.read(), source)


def _parts(record: Record) -> dict[str, Any]:
    """Return the arguments of a spectrum of specutils."""
    return {
        "spectral_axis": record.wavelength * units.AA,
        "flux": record.flux * units.dimensionless_unscaled,
        "uncertainty": InverseVariance(record.ivar),
        "mask": no_information(record.flux, record.ivar),
        "meta": record.meta | {"and_mask": record.and_mask},
    }
