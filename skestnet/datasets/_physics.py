"""Closed-form spectra of DA white dwarfs, and the dust in front of them.

A spectrum is a Planck continuum times Balmer lines with Stark wings. The coefficients below were
fitted by least squares to the logarithm of the flux of the pure-hydrogen models of Koester (2010)
(effective temperature 6,000-80,000 K, log g 6.5-9.5, vacuum wavelengths 3860-8150 A, resolution
1800). The fit leaves 1.4% rms, 1.3% at 4000-8000 A (``benchmarks/bench_quoted.py``); the models
themselves are not copied.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.polynomial.chebyshev import chebval
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.floating[Any]]

_HC_OVER_K = 1.438776877e8  # second radiation constant, Angstrom kelvin

# One row a line, H-alpha to H-9: vacuum wavelength (A); ln strength and its slopes in x and g; ln
# core width (A); logit depth and its slope in x, where x = (log10 Teff - 4.3) / 0.6 and
# g = log g - 8. The last row also stands for the lines that merge towards the Balmer limit, hence
# its width; above 4000 A it is but a pseudo-continuum.
_LINES = (
    (6564.61, 6.851, -1.255, 0.965, 2.759, 0.987, 1.386),
    (4862.68, 6.989, -0.016, 0.917, 2.697, 1.543, -0.178),
    (4341.68, 6.779, 0.433, 0.874, 2.522, 1.623, -0.900),
    (4102.89, 6.661, 0.792, 0.789, 2.436, 1.533, -1.429),
    (3971.19, 6.419, 0.858, 0.703, 2.411, 1.538, -1.822),
    (3890.15, 7.060, 1.191, 0.723, 2.706, 1.394, -2.226),
    (3836.47, 8.509, -0.526, 2.935, 4.566, -0.666, 1.705),
)
# Common to all lines: Chebyshev series in x, and those that multiply g.
_STRENGTH = (0.0, 2.875, -2.948, 1.588, -0.205, -0.039, 0.199)
_STRENGTH_G = (0.0, 0.819, -0.123, -0.014)
_WIDTH = (0.0, 1.009, -0.719, 0.632)
_WIDTH_G = (0.365, 0.086)
_DEPTH = (0.0, -2.765, 1.249, -0.510, 0.632, -0.178)
_DEPTH_G = (-0.066, -0.421)
# Departure of the ln continuum from a black body: slope and curvature.
_SLOPE = (-0.066, 0.021, 0.053, -0.027)
_SLOPE_G = (0.006, -0.013)
_CURVATURE = (0.039, -0.027, -0.012, 0.009)
_CURVATURE_G = (-0.005, 0.003)

# Cardelli, Clayton & Mathis (1989), eqs. 3a and 3b: optical, ascending powers of 1/lambda - 1.82.
_CCM_A = (1.0, 0.17699, -0.50447, -0.02427, 0.72085, 0.01979, -0.77530, 0.32999)
_CCM_B = (0.0, 1.41338, 2.28305, 1.07233, -5.38434, -0.62251, 5.30260, -2.09002)


def white_dwarf_flux(
    wavelength: Floats, teff: Floats, logg: Floats, velocity: Floats | float = 0.0
) -> Floats:
    """Flux density per unit wavelength of pure-hydrogen white dwarfs, about 1 at 5500 A.

    Parameters
    ----------
    wavelength : ndarray of shape (n_pixels,)
        Vacuum wavelength in Angstrom, 3900-8100.
    teff, logg : ndarray of shape (n_stars,)
        Effective temperature in K and log10 of the surface gravity in cm s-2.
    velocity : ndarray of shape (n_stars,) or float, default=0.0
        Radial velocity in km/s; it moves the lines.

    Returns
    -------
    ndarray of shape (n_stars, n_pixels)
        Flux density, float32.
    """
    x, g = (np.log10(teff) - 4.3) / 0.6, logg - 8.0
    doppler = 1.0 + np.broadcast_to(velocity, x.shape) / 299792.458
    continuum = _continuum(wavelength, teff, x, g)
    return continuum * (1.0 - _absorption(wavelength, x, g, doppler))


def _series(constant: Sequence[float], times_g: Sequence[float], x: Floats, g: Floats) -> Floats:
    return chebval(x, constant) + g * chebval(x, times_g)


def _column(values: Floats) -> Floats:
    return values[:, None].astype(np.float32)


def _continuum(wavelength: Floats, teff: Floats, x: Floats, g: Floats) -> Floats:
    u = ((wavelength - 6000.0) / 2000.0).astype(np.float32)
    slope, curvature = _series(_SLOPE, _SLOPE_G, x, g), _series(_CURVATURE, _CURVATURE_G, x, g)
    exponent = _column(_HC_OVER_K / teff) / wavelength.astype(np.float32)
    planck = (5500.0 / wavelength).astype(np.float32) ** 5 / np.expm1(exponent)
    planck *= _column(np.expm1(_HC_OVER_K / teff / 5500.0))
    planck *= np.exp((_column(slope) + _column(curvature) * u) * u)
    return planck


def _absorption(wavelength: Floats, x: Floats, g: Floats, doppler: Floats) -> Floats:
    """Fraction of the continuum that the Balmer lines remove.

    A line of opacity ratio tau (line to continuum) and greatest depth A removes A tau / (1 + tau),
    Minnaert's interpolation between weak and saturated lines; tau falls as the 5/2 power of the
    distance to the line centre, Holtsmark's law for the linear Stark effect. Blended lines add
    their tau.
    """
    shape = (len(x), len(wavelength))
    total, removed = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    strength = _series(_STRENGTH, _STRENGTH_G, x, g)
    width, depth = _series(_WIDTH, _WIDTH_G, x, g), _series(_DEPTH, _DEPTH_G, x, g)
    for centre, c, c_x, c_g, w, a, a_x in _LINES:
        tau = _stark_profile(wavelength, centre * doppler, np.exp(w + width))
        tau *= _column(np.exp(strength + c + c_x * x + c_g * g))
        total += tau
        tau *= _column(expit(a + a_x * x + depth))
        removed += tau
    total += 1.0
    return removed / total


def _stark_profile(wavelength: Floats, centre: Floats, width: Floats) -> Floats:
    """(distance + width)^(-5/2), with a square root because a power is ten times slower."""
    distance = np.abs(wavelength.astype(np.float32) - _column(centre))
    distance += _column(width)
    return 1.0 / (distance * distance * np.sqrt(distance))


def extinction_curve(wavelength: Floats, r_v: float = 3.1) -> Floats:
    """Extinction in magnitudes per unit of E(B-V) after Cardelli, Clayton & Mathis (1989).

    Parameters
    ----------
    wavelength : ndarray of shape (n_pixels,)
        Wavelength in Angstrom, 3030-9090.
    r_v : float, default=3.1
        Ratio of the total to the selective extinction.

    Returns
    -------
    ndarray of shape (n_pixels,)
        A(wavelength) / E(B-V); r_v at 5495 A.
    """
    y = 1e4 / wavelength - 1.82
    a, b = (np.polynomial.polynomial.polyval(y, c) for c in (_CCM_A, _CCM_B))
    return r_v * a + b
