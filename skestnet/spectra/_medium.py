"""Wavelengths in air and in vacuum, and wavelengths that carry a unit."""

from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

_ULTRAVIOLET = 2000.0  # Angstrom: below, wavelengths are given in vacuum by custom
_ITERATIONS = 4  # each gains more than three digits


def vacuum_from_air(wavelength: ArrayLike | u.Quantity) -> Any:
    """Convert wavelengths in standard air to wavelengths in vacuum.

    Inverts `air_from_vacuum` by iteration, to the rounding of float64. Wavelengths below
    2000 Angstrom are returned as they are, since by custom they are in vacuum already.

    Parameters
    ----------
    wavelength : array-like or Quantity
        Wavelengths in air, of any shape, in Angstrom or in the unit of the Quantity.

    Returns
    -------
    ndarray of float64 or Quantity
        Wavelengths in vacuum, of the same shape; a Quantity of the same unit where one was given.

    Raises
    ------
    astropy.units.UnitConversionError
        If the unit is not one of length.

    See Also
    --------
    air_from_vacuum : The other direction.

    References
    ----------
    .. [1] Ciddor 1996, "Refractive index of air: new equations for the visible and near
       infrared", Applied Optics 35, 1566, eq. 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.spectra import vacuum_from_air
    >>> vacuum_from_air([4861.363, 6562.801])
    array([4862.721, 6564.614])
    """
    return _with_unit(_vacuum, wavelength)


def air_from_vacuum(wavelength: ArrayLike | u.Quantity) -> Any:
    """Convert wavelengths in vacuum to wavelengths in standard air.

    The refractive index is that of Ciddor for dry air at 15 degrees Celsius, 1013.25 hPa and
    450 ppm of carbon dioxide, which SDSS and VALD use. Wavelengths below 2000 Angstrom are
    returned as they are, since by custom they are given in vacuum.

    Parameters
    ----------
    wavelength : array-like or Quantity
        Wavelengths in vacuum, of any shape, in Angstrom or in the unit of the Quantity.

    Returns
    -------
    ndarray of float64 or Quantity
        Wavelengths in air, of the same shape; a Quantity of the same unit where one was given.

    Raises
    ------
    astropy.units.UnitConversionError
        If the unit is not one of length.

    See Also
    --------
    vacuum_from_air : The other direction.

    Notes
    -----
    The custom makes a step at 2000 Angstrom: wavelengths in vacuum of 2000.0 to 2000.6 Angstrom
    fall below 2000 in air, from where `vacuum_from_air` does not bring them back.

    References
    ----------
    .. [1] Ciddor 1996, "Refractive index of air: new equations for the visible and near
       infrared", Applied Optics 35, 1566, eq. 1.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy import units as u
    >>> from skestnet.spectra import air_from_vacuum
    >>> air_from_vacuum([4862.721, 6564.614])
    array([4861.363, 6562.801])
    >>> air_from_vacuum(486.2721 * u.nm)
    <Quantity 486.1363 nm>
    """
    return _with_unit(_air, wavelength)


def _with_unit(convert: Any, wavelength: ArrayLike | u.Quantity) -> Any:
    """Apply `convert`, which knows Angstrom only, in the unit of `wavelength`."""
    if isinstance(wavelength, u.Quantity):
        return u.Quantity(convert(wavelength.to_value(u.AA)), u.AA).to(wavelength.unit)
    return convert(np.asarray(wavelength, dtype=np.float64))


def _air(vacuum: FloatArray) -> FloatArray:
    return np.where(vacuum < _ULTRAVIOLET, vacuum, vacuum / _refractive_index(vacuum))


def _vacuum(air: FloatArray) -> FloatArray:
    vacuum = air
    for _ in range(_ITERATIONS):
        vacuum = air * _refractive_index(vacuum)
    return np.where(air < _ULTRAVIOLET, air, vacuum)


def _refractive_index(vacuum: FloatArray) -> FloatArray:
    """Return the refractive index of standard air at wavelengths in vacuum in Angstrom."""
    # The relation has poles in the ultraviolet, where it is not used.
    square = (1e4 / np.maximum(vacuum, _ULTRAVIOLET)) ** 2
    return 1 + 0.05792105 / (238.0185 - square) + 0.00167917 / (57.362 - square)
