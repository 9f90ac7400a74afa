"""Pixels as intervals of wavelength, and the matrix that carries light from one set to another."""

import numpy as np
from astropy import units as u
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.special import ndtr

from skestnet.spectra._wavelength import in_unit

FloatArray = NDArray[np.float64]

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))  # of a Gaussian
_REACH = 5.0  # standard deviations at which a line-spread function is cut


def pixel_edges(wavelength: FloatArray) -> FloatArray:
    """Return the edges of pixels, shape (n_pixels + 1,): halfway between neighbouring centres.

    The outer edges mirror the inner ones; a single pixel is 1 Angstrom wide.
    """
    if wavelength.size == 1:
        return wavelength[0] + np.array([-0.5, 0.5])
    middle = 0.5 * (wavelength[1:] + wavelength[:-1])
    first, last = 2 * wavelength[0] - middle[0], 2 * wavelength[-1] - middle[-1]
    return np.concatenate([[first], middle, [last]])


def pixel_matrix(edges_in: FloatArray, edges_out: FloatArray, sigma: ArrayLike = 0.0) -> csr_array:
    """Return the sparse (n_out, n_in) average over output pixels of blurred input pixels.

    Each input pixel is a box of constant flux density, blurred by a Gaussian line-spread function.
    Element (i, j) is the share of output pixel i that it fills, with rows summing to 1 where the
    input covers them: ``matrix @ flux`` is the mean flux density over each output pixel, and with
    ``sigma=0`` the flux of whole input pixels is conserved exactly. A row that no input reaches
    is zero.

    Parameters
    ----------
    edges_in, edges_out : ndarray of shape (n_in + 1,), (n_out + 1,)
        Edges of the pixels, increasing.
    sigma : float or ndarray of shape (n_in,), default=0.0
        Standard deviation of the line-spread function at each input pixel, in the same unit.
    """
    sigma = np.broadcast_to(np.asarray(sigma, dtype=np.float64), edges_in.size - 1)
    reach = _REACH * sigma.max()
    lower = np.searchsorted(edges_in, edges_out[:-1] - reach, side="right") - 1
    upper = np.searchsorted(edges_in, edges_out[1:] + reach, side="left")
    lower, upper = np.maximum(lower, 0), np.minimum(upper, sigma.size)
    count = np.maximum(upper - lower, 0)
    rows = np.repeat(np.arange(count.size), count)
    columns = np.arange(count.sum()) + np.repeat(lower - np.cumsum(count) + count, count)
    share = _share(
        edges_in[columns], edges_in[columns + 1], edges_out[rows], edges_out[rows + 1],
        sigma[columns],
    )  # fmt: skip
    total = np.bincount(rows, share, minlength=count.size)[rows]
    share = np.divide(share, total, out=np.zeros_like(share), where=total > 0)
    return csr_array((share, (rows, columns)), shape=(count.size, sigma.size))


def _share(a: FloatArray, b: FloatArray, c: FloatArray, d: FloatArray, s: FloatArray) -> FloatArray:
    """Return how much of the blurred boxes [a, b] falls into [c, d]."""
    return _ramp(d - a, s) - _ramp(d - b, s) - _ramp(c - a, s) + _ramp(c - b, s)


def _ramp(x: FloatArray, s: FloatArray) -> FloatArray:
    """Return max(x, 0) blurred by a Gaussian of standard deviation `s`."""
    z = np.divide(x, s, out=np.zeros_like(x), where=s > 0)
    blurred = x * ndtr(z) + s * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return np.where(s > 0, blurred, np.maximum(x, 0.0))


def gaussian_sigma(
    wavelength: FloatArray, *, resolution: ArrayLike | None = None, fwhm: ArrayLike | None = None
) -> FloatArray:
    """Return the standard deviation in Angstrom at each wavelength, zero where nothing is given.

    `resolution` is wavelength over full width at half maximum, `fwhm` that width, in
    Angstrom without a unit.
    """
    if resolution is not None and fwhm is not None:
        raise ValueError(
            f"resolution={resolution!r} and fwhm={fwhm!r} were both given, but they say the same "
            "thing. Pass one of them."
        )
    fwhm = in_unit(fwhm, u.AA, "fwhm")
    resolution = in_unit(resolution, u.dimensionless_unscaled, "resolution")
    if resolution is not None:
        with np.errstate(divide="ignore"):
            fwhm = wavelength / np.asarray(resolution, dtype=np.float64)
    width = np.broadcast_to(np.asarray(0.0 if fwhm is None else fwhm, float), wavelength.shape)
    if not (np.isfinite(width).all() and (width >= 0).all()):
        raise ValueError(
            f"resolution={resolution!r}, fwhm={fwhm!r}: expected a positive resolution or a width "
            "in Angstrom of at least 0."
        )
    return width / FWHM_PER_SIGMA
