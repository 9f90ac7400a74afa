"""The matrix from the wavelengths of templates to the pixels of an instrument."""

import numpy as np
from astropy import units as u
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from skestnet.spectra._pixels import FWHM_PER_SIGMA, gaussian_sigma, pixel_edges, pixel_matrix
from skestnet.spectra._resample import linear_weights
from skestnet.spectra._wavelength import in_unit

FloatArray = NDArray[np.float64]

# Standard deviations of the line-spread function that the templates must cover beyond the last
# pixel; it has 0.1% of the light beyond, which is shared out among what is covered.
_REACH = 3.0
# How far, relative to its flux, a coarsely sampled template may be from the straight line between
# its neighbours. A straight line over half that distance is wrong by a quarter of it.
_LARGEST_KINK = 0.04


def observation_matrix(
    wavelength: FloatArray,
    target: FloatArray,
    flux: NDArray[np.floating],
    *,
    resolution: ArrayLike | None = None,
    fwhm: ArrayLike | None = None,
) -> csr_array:
    """Return the sparse (n_out, n_pixels) matrix that blurs and averages over pixels.

    Templates are boxes around their points, and straight lines between them where points are
    further apart than what the instrument resolves: models have few points where they are smooth.
    """
    edges, fwhm = pixel_edges(target), in_unit(fwhm, u.AA, "fwhm")
    resolution = in_unit(resolution, u.dimensionless_unscaled, "resolution")
    sigma = _sigma(target, target, resolution, fwhm)
    _check_covered(pixel_edges(wavelength), edges, sigma)
    near = _near(wavelength, edges, 2 * _REACH * sigma.max())
    source = wavelength[near]
    resolved = np.maximum(np.diff(edges), 0.5 * FWHM_PER_SIGMA * sigma)
    parts = _parts(source, np.interp(source[1:], target, resolved))
    _check_sampling(source, flux[:, near], parts)
    fine = _refined(source, parts)
    blur = pixel_matrix(pixel_edges(fine), edges, _sigma(fine, target, resolution, fwhm))
    matrix = blur @ _lines(source, fine)
    shape = (target.size, wavelength.size)
    return csr_array((matrix.data, matrix.indices + near.start, matrix.indptr), shape=shape)


def _sigma(
    at: FloatArray, target: FloatArray, resolution: ArrayLike | None, fwhm: ArrayLike | None
) -> FloatArray:
    """Return the width of the line-spread function, given by numbers or for every pixel."""
    return gaussian_sigma(
        at, resolution=_along(resolution, at, target), fwhm=_along(fwhm, at, target)
    )


def _along(width: ArrayLike | None, at: FloatArray, target: FloatArray) -> ArrayLike | None:
    if width is None or np.ndim(width) == 0:
        return width
    if np.shape(width) != target.shape:
        raise ValueError(
            f"The width of the line-spread function has shape {np.shape(width)}, but one number, "
            f"or one for each of the {target.size} pixels, is needed."
        )
    return np.interp(at, target, np.asarray(width, dtype=np.float64))


def _check_covered(have: FloatArray, want: FloatArray, sigma: FloatArray) -> None:
    """Refuse pixels, or a line-spread function, that reach beyond the templates."""
    start = want[0] - _REACH * sigma[0]
    stop = want[-1] + _REACH * sigma[-1]
    # One pixel of grace, because the outermost edges are only guessed from their neighbours.
    grace = [max(np.diff(edges)[end] for edges in (have, want)) for end in (0, -1)]
    if start < have[0] - grace[0] or stop > have[-1] + grace[1]:
        raise ValueError(
            f"The pixels cover {want[0]:.2f}-{want[-1]:.2f} A, and the line-spread function needs "
            f"templates over {start:.2f}-{stop:.2f} A, but they cover {have[0]:.2f}-"
            f"{have[-1]:.2f} A. Try pixels within {have[0] + want[0] - start:.2f}-"
            f"{have[-1] + want[-1] - stop:.2f} A."
        )


def _near(wavelength: FloatArray, edges: FloatArray, reach: float) -> slice:
    """Return the pixels that can matter, and one more at each end."""
    start = int(np.searchsorted(wavelength, edges[0] - reach))
    stop = int(np.searchsorted(wavelength, edges[-1] + reach))
    return slice(max(0, start - 1), stop + 1)


def _parts(wavelength: FloatArray, resolved: FloatArray) -> NDArray[np.intp]:
    """Return into how many steps, about as long as what is resolved, each interval is cut."""
    return np.maximum(1, np.rint(np.diff(wavelength) / resolved)).astype(np.intp)


def _refined(wavelength: FloatArray, parts: NDArray[np.intp]) -> FloatArray:
    """Return the wavelengths with every interval cut into its number of parts."""
    start = np.repeat(np.cumsum(parts) - parts, parts)
    part = (np.arange(parts.sum()) - start) / np.repeat(parts, parts)
    inner = np.repeat(wavelength[:-1], parts) + part * np.repeat(np.diff(wavelength), parts)
    return np.append(inner, wavelength[-1])


def _lines(source: FloatArray, fine: FloatArray) -> csr_array:
    """Return the sparse matrix of linear interpolation."""
    left, right, weight = linear_weights(source, fine)
    index, value = np.stack([left, right], axis=1), np.stack([1 - weight, weight], axis=1)
    start = np.arange(0, index.size + 1, 2)
    matrix = csr_array((value.ravel(), index.ravel(), start), shape=(fine.size, source.size))
    matrix.eliminate_zeros()
    return matrix


def _check_sampling(
    wavelength: FloatArray, flux: NDArray[np.floating], parts: NDArray[np.intp]
) -> None:
    """Refuse templates that are not straight where they have fewer points than are resolved."""
    coarse = 1 + np.flatnonzero((parts[1:] > 1) & (parts[:-1] > 1))
    if not coarse.size:
        return
    before, after = wavelength[coarse - 1], wavelength[coarse + 1]
    weight = ((wavelength[coarse] - before) / (after - before)).astype(flux.dtype)
    here = flux[:, coarse]
    line = (1 - weight) * flux[:, coarse - 1] + weight * flux[:, coarse + 1]
    scale = np.maximum(np.maximum(np.abs(here), np.abs(line)), np.finfo(flux.dtype).tiny)
    kink = (np.abs(here - line) / scale).max(axis=0)
    worst = int(kink.argmax())
    if kink[worst] > _LARGEST_KINK:
        raise ValueError(
            f"The templates have points {0.5 * (after - before)[worst]:.2f} A apart at "
            f"{wavelength[coarse[worst]]:.1f} A, {parts[coarse[worst]]} times what the pixels and "
            f"the line-spread function resolve, and bend by {kink[worst]:.0%} there: lines are "
            "lost. Try wider pixels, a lower resolution, or templates with more points."
        )
