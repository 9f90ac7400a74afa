"""Wavelengths: checked, converted from other units; those of Balmer lines; the paper's grid."""

from typing import Any

import numpy as np
from astropy import units as u
from astropy.constants import c
from numpy.typing import ArrayLike, NDArray

SPEED_OF_LIGHT = c.to_value("km/s")

# In vacuum, in Angstrom: NIST, means over the fine structure.
BALMER_LINES = {
    "H-alpha": 6564.61,
    "H-beta": 4862.69,
    "H-gamma": 4341.69,
    "H-delta": 4102.90,
    "H-epsilon": 3971.20,
    "H8": 3890.16,
}

# Survey files store wavelengths in float32, so the same grid differs by 1e-7 between files.
EDGE_TOLERANCE = 1e-6


def lamost_grid(
    n_pixels: int = 3909, wmin: float | u.Quantity = 4000.0, wmax: float | u.Quantity = 8000.0
) -> NDArray[np.float64]:
    """Return the wavelength grid of the paper: evenly spaced pixels, both ends included.

    Parameters
    ----------
    n_pixels : int, default=3909
        Number of pixels.
    wmin : float or Quantity, default=4000.0
        First wavelength, in Angstrom where it has no unit.
    wmax : float or Quantity, default=8000.0
        Last wavelength, in Angstrom where it has no unit.

    Returns
    -------
    ndarray of shape (n_pixels,)
        Wavelengths in Angstrom, float64.

    References
    ----------
    .. [1] Xie et al. 2025, "An adaptive parameter estimator for poor-quality spectral data of
       white dwarfs", A&A 704, A37, section 3.

    Examples
    --------
    >>> from skestnet.spectra import lamost_grid
    >>> grid = lamost_grid()
    >>> grid.shape, float(grid[0]), float(grid[-1])
    ((3909,), 4000.0, 8000.0)
    """
    first, last = in_unit(wmin, u.AA, "wmin"), in_unit(wmax, u.AA, "wmax")
    return np.linspace(first, last, n_pixels)


def in_unit(value: Any, unit: u.UnitBase | str, name: str) -> Any:
    """Return a Quantity as numbers in `unit`, anything else as it is, or say what is wrong.

    Wavelengths may come as frequencies or energies.
    """
    if not isinstance(value, u.Quantity):
        return value
    wanted = u.Unit(unit)
    is_length = wanted.is_equivalent(u.AA)
    try:
        return value.to_value(wanted, u.spectral() if is_length else [])
    except u.UnitConversionError as error:
        what = f"a unit like {wanted}" if str(wanted) else "a number without unit"
        raise u.UnitConversionError(
            f"{name} is in {value.unit}, but {what} is needed. Try a Quantity of the right unit, "
            "or plain numbers."
        ) from error


def in_angstrom(values: Any) -> Any:
    """Return a Quantity of wavelength, frequency or energy in Angstrom, anything else as it is."""
    return in_unit(values, u.AA, "The wavelength")


def as_wavelength(values: ArrayLike | u.Quantity, name: str) -> NDArray[np.float64]:
    """Return ``values`` in Angstrom as a strictly increasing vector, or say what is wrong."""
    wavelength = np.asarray(in_angstrom(values), dtype=np.float64)
    if wavelength.ndim != 1 or wavelength.size == 0:
        raise ValueError(
            f"{name} has shape {wavelength.shape}, but a one-dimensional array of at least one "
            "wavelength is needed."
        )
    bad = np.flatnonzero(~(np.diff(wavelength) > 0) | ~np.isfinite(wavelength[1:]))
    if bad.size or not np.isfinite(wavelength[0]):
        at = int(bad[0]) if bad.size else 0
        raise ValueError(
            f"{name} must be finite and strictly increasing, but is not near position {at}: "
            f"{wavelength[at : at + 2]}. Try sorting the pixels by wavelength and dropping "
            "repeated ones."
        )
    return wavelength


def wavelength_of_features(values: ArrayLike, name: str, n_features: int) -> NDArray[np.float64]:
    """Return ``values`` checked by `as_wavelength`, one wavelength per feature."""
    wavelength = as_wavelength(values, name)
    if wavelength.size != n_features:
        raise ValueError(
            f"{name} has {wavelength.size} wavelengths, but X has {n_features} features: one "
            "wavelength per column is needed."
        )
    return wavelength
