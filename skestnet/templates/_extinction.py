"""Reddening by interstellar dust: the law of Cardelli, Clayton and Mathis."""

import numpy as np
from astropy import units as u
from numpy.polynomial.polynomial import polyval
from numpy.typing import ArrayLike, NDArray

from skestnet.spectra._wavelength import in_unit

FloatArray = NDArray[np.float64]

_RANGE = (3030.0, 33333.0)  # Angstrom

# Cardelli et al. eqs. 2a and 2b: factor of x^1.61, infrared, x = 1 / wavelength in micron.
_INFRARED = (0.574, -0.527)
_OPTICAL_FROM = 1.1  # 1 / micron
# O'Donnell section 4: optical, ascending powers of x - 1.82.
_OPTICAL = np.array(
    [
        (1.0, 0.0), (0.104, 1.952), (-0.609, 2.908), (0.701, -3.989), (1.137, -7.985),
        (-1.718, 11.102), (-0.827, 5.491), (1.647, -10.805), (-0.505, 3.347),
    ]
)  # fmt: skip


def extinction(
    wavelength: ArrayLike | u.Quantity, ebv: ArrayLike | u.Quantity, r_v: float = 3.1
) -> FloatArray:
    """Extinction by interstellar dust, in magnitudes.

    The law of Cardelli, Clayton and Mathis [1]_ in the infrared and, from 9091 A to the blue, with
    the coefficients of O'Donnell [2]_. The flux is multiplied by ``10 ** (-0.4 * A)``.

    Parameters
    ----------
    wavelength : array-like or Quantity
        Wavelength, in Angstrom without a unit, 3030-33333.
    ebv : array-like or Quantity
        Colour excess E(B-V) in magnitudes; it is broadcast against `wavelength`.
    r_v : float, default=3.1
        Ratio of the total to the selective extinction, A(V) / E(B-V), above 0.

    Returns
    -------
    ndarray
        Extinction A(wavelength) in magnitudes.

    Raises
    ------
    ValueError
        If a wavelength is outside the range of the law, or `r_v` is not above 0.

    References
    ----------
    .. [1] Cardelli, Clayton & Mathis, "The relationship between infrared, optical, and ultraviolet
       extinction", ApJ 345, 245 (1989).
    .. [2] O'Donnell, "R_V-dependent optical and near-ultraviolet extinction", ApJ 422, 158 (1994).

    Examples
    --------
    >>> from skestnet.templates import extinction
    >>> extinction([4405.0, 5495.0], ebv=0.1)
    array([0.409..., 0.309...])
    """
    if not r_v > 0:
        raise ValueError(f"r_v={r_v!r}: expected a ratio above 0; 3.1 is the mean of the Galaxy.")
    x = 1e4 / _inside(in_unit(wavelength, u.AA, "wavelength"))
    infrared = np.multiply.outer(_INFRARED, x**1.61)
    a, b = np.where(x < _OPTICAL_FROM, infrared, polyval(x - 1.82, _OPTICAL))
    return np.asarray(in_unit(ebv, u.mag, "ebv")) * (r_v * a + b)


def _inside(wavelength: ArrayLike) -> FloatArray:
    """Return wavelengths that the law covers, or say which it does not."""
    values = np.asarray(wavelength, dtype=np.float64)
    low, high = _RANGE
    outside = values[~((values >= low) & (values <= high))]
    if outside.size:
        raise ValueError(
            f"wavelength={outside[0]:g} A is outside {low:g}-{high:g} A, where the extinction law "
            "is defined. Try wavelengths in Angstrom within that range."
        )
    return values
