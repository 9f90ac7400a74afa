"""Redshifts: from velocities, and out of wavelengths."""

from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import ArrayLike, NDArray

from skestnet.spectra._wavelength import SPEED_OF_LIGHT, in_unit


def redshift_of(velocity: ArrayLike | u.Quantity) -> NDArray[np.float64]:
    """Return the relativistic Doppler redshift of radial velocities, in km/s without a unit."""
    speed = np.asarray(in_unit(velocity, u.km / u.s, "velocity"), dtype=np.float64)
    beta = speed / SPEED_OF_LIGHT
    if (abs(beta) >= 1).any():
        raise ValueError(
            f"velocity reaches {abs(beta).max() * SPEED_OF_LIGHT:.6g} km/s, faster than light. "
            "Pass km/s, or an astropy Quantity."
        )
    return np.sqrt((1 + beta) / (1 - beta)) - 1


def as_floats(values: Any) -> NDArray[np.float64]:
    """Return numbers, such as a column of a table, with NaN where they are masked."""
    return np.asarray(np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan))


def one_redshift_each(redshift: Any, n_spectra: int) -> NDArray[np.float64]:
    """Return `redshift` as a vector of one usable number per spectrum, or say what is wrong."""
    values = as_floats(in_unit(redshift, u.dimensionless_unscaled, "redshift"))
    if values.ndim and values.shape != (n_spectra,):
        raise ValueError(
            f"redshift has shape {values.shape}, but there are {n_spectra} spectra: pass a single "
            "number or one per spectrum."
        )
    values = np.broadcast_to(values, (n_spectra,))
    # Surveys write -9999 where they measured none; at -1 the wavelengths would be zero.
    bad = np.flatnonzero(~(np.isfinite(values) & (values > -1)))
    if bad.size:
        raise ValueError(
            f"The redshift of {bad.size} of {n_spectra} spectra is missing or not above -1, first "
            f"in row {bad[0]}: {values[bad[0]]}. Pass redshift=0 for those that need no shift, or "
            "select the others first."
        )
    return values


def at_rest(wavelength: NDArray[np.float64], redshift: np.float64) -> NDArray[np.float64]:
    """Return wavelengths in the rest frame."""
    return wavelength / (1 + redshift)
