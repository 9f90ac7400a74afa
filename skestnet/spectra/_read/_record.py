"""One spectrum as read from a file, checked, and the row of the table that describes it."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skestnet.spectra._container import MISSING
from skestnet.spectra._wavelength import as_wavelength

# Centre and full width at half maximum in Angstrom of the SDSS filters: Fukugita et al. 1996,
# AJ 111, 1748, table 2.
_FILTERS = {
    "u": (3557.0, 599.0),
    "g": (4825.0, 1379.0),
    "r": (6261.0, 1382.0),
    "i": (7672.0, 1535.0),
    "z": (9097.0, 1370.0),
}


class Record(NamedTuple):
    """One spectrum; `mask` marks what the file excludes besides the pixels without error.

    `unread` are columns whose names sound like errors but are not known.
    """

    wavelength: NDArray[np.float64]
    flux: NDArray[np.float32]
    ivar: NDArray[np.float32]
    and_mask: NDArray[np.int64]
    mask: NDArray[np.bool_]
    meta: dict[str, Any]
    unread: tuple[str, ...] = ()


_ARRAYS = ("wavelength", "flux", "ivar", "and_mask", "mask")


def make_record(
    *,
    wavelength: ArrayLike,
    flux: ArrayLike,
    ivar: ArrayLike,
    meta: dict[str, Any],
    and_mask: ArrayLike | None = None,
    mask: ArrayLike | None = None,
) -> Record:
    """Return a record of vectors of one length in the types of `Spectra`, or raise ValueError."""
    scale = _positive(as_wavelength(numbers(wavelength, "wavelength"), "wavelength"))
    none = np.zeros(scale.size, dtype=np.int64)
    record = Record(
        wavelength=scale,
        flux=_single(flux, "flux"),
        ivar=_single(ivar, "ivar"),
        and_mask=none if and_mask is None else _flags(and_mask),
        mask=none != 0 if mask is None else numbers(mask, "mask", kinds="biuf") != 0,
        meta=meta,
    )
    _check_lengths(record)
    return record


def _check_lengths(record: Record) -> None:
    shapes = {name: getattr(record, name).shape for name in _ARRAYS}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"its columns differ in length: {shapes}. One value per pixel is needed.")


def numbers(values: ArrayLike, name: str, kinds: str = "iuf") -> NDArray[Any]:
    """Return an array of numbers, and refuse others."""
    array = np.asarray(values)
    if array.dtype.kind not in kinds:
        raise ValueError(f"{name} holds {array.dtype}, but numbers are needed.")
    return array


def _positive(wavelength: NDArray[np.float64]) -> NDArray[np.float64]:
    if wavelength[0] <= 0:
        raise ValueError(
            f"wavelengths begin at {wavelength[0]}, but positive ones, in Angstrom, are needed."
        )
    return wavelength


def _single(values: ArrayLike, name: str) -> NDArray[np.float32]:
    """Return numbers in single precision, and refuse those that it cannot hold."""
    array = numbers(values, name)
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    if (np.isfinite(array) & ~np.isfinite(single)).any():
        raise ValueError(
            f"{name} reaches {np.nanmax(np.abs(array)):.3g}, beyond single precision. Try another "
            "unit of flux, such as 1e-17 erg/s/cm2/A."
        )
    return single


def _flags(values: ArrayLike) -> NDArray[np.int64]:
    """Return flags as integers; some files store them as floats, or as booleans."""
    array = numbers(values, "and_mask", kinds="biuf")
    with np.errstate(invalid="ignore"):
        flags = array.astype(np.int64)
    if (flags != array).any():
        raise ValueError("and_mask holds values that are not whole numbers, so they are no flags.")
    return flags


def band_snr(wavelength: ArrayLike, flux: ArrayLike, ivar: ArrayLike) -> list[float]:
    """Return the median of flux * sqrt(ivar) within each of the SDSS filters, NaN outside."""
    scale, values, weight = (np.asarray(a, dtype=np.float64) for a in (wavelength, flux, ivar))
    good = np.isfinite(values) & np.isfinite(weight) & (weight > 0)
    ratio = values[good] * np.sqrt(weight[good])
    inside = [abs(scale[good] - centre) <= width / 2 for centre, width in _FILTERS.values()]
    return [float(np.median(ratio[band])) if band.any() else np.nan for band in inside]


def make_meta(
    *,
    name: Any = None,
    obsid: Any = None,
    ra: Any = None,
    dec: Any = None,
    redshift: Any = None,
    snr: Iterable[Any] | None = None,
    has_errors: bool = True,
) -> dict[str, Any]:
    """Return one row of the table, with the same columns for every layout."""
    bands = [None] * len(_FILTERS) if snr is None else snr
    row = {"object": _text(name), "obsid": _text(obsid), "ra": _number(ra), "dec": _number(dec)}
    ratios = {f"snr_{band}": _number(value) for band, value in zip(_FILTERS, bands, strict=True)}
    return row | {"redshift": _number(redshift)} | ratios | {"has_errors": has_errors}


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _number(value: Any) -> float:
    """Return a float, NaN for what is absent, not a number or marked as missing."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return np.nan
    return number if number > MISSING else np.nan
