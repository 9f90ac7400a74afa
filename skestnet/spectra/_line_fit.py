"""The velocity of a broad symmetric line, from fits at many trial velocities."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_PIXEL = 140.0  # km/s: twice those of SDSS and LAMOST, whose noise then stays nearly independent
_WIDTHS = np.array([400.0, 1500.0])  # km/s: half widths of the Lorentzians that make up a line
_DEGREE = 2  # of the continuum
_MIN_COVERED = 0.8  # share of the pixels of a line without which it is not fitted
_RIDGE = 1e-10  # keeps fits to few pixels solvable


def line_offsets(half_width: float) -> FloatArray:
    """Return velocities in km/s of evenly spaced pixels from -half_width to half_width."""
    n = round(half_width / _PIXEL)
    return half_width * np.arange(-n, n + 1) / n


def line_gain(
    flux: FloatArray, ivar: FloatArray, offset: FloatArray, trial: FloatArray
) -> FloatArray:
    """Return how much better than a continuum alone a line at each trial velocity fits.

    A line is a sum of Lorentzians of fixed widths, so that no template is needed and the Stark
    wings of every white dwarf can be followed; its symmetry is all that fixes its velocity. The
    gain is the decrease of chi-square, in units of the scatter about the best fit: inverse
    variances only weigh the pixels against each other.

    Parameters
    ----------
    flux, ivar : ndarray of shape (n_spectra, n_pixels)
        Fluxes and inverse variances, 0 for pixels to leave out.
    offset : ndarray of shape (n_pixels,)
        Velocities of the pixels, in km/s.
    trial : ndarray of shape (n_trials,)
        Velocities to try, in km/s.

    Returns
    -------
    ndarray of shape (n_spectra, n_trials)
        Decrease of chi-square; 0 for spectra that do not cover the line.
    """
    flux, ivar = _normalised(flux, ivar)
    continuum = (offset / abs(offset).max())[:, np.newaxis] ** np.arange(_DEGREE + 1)
    terms = _with_lines(continuum, offset, trial)
    chi_square = _least_chi_square(flux, ivar, terms)
    used = (ivar > 0).sum(axis=1)
    freedom = np.maximum(used - terms.shape[2] - 1, 1)
    # A spectrum without noise would be fitted infinitely better.
    noise = np.maximum(chi_square.min(axis=1) / freedom, np.finfo(np.float32).eps ** 2)
    gain = (_least_chi_square(flux, ivar, continuum[np.newaxis]) - chi_square) / noise[
        :, np.newaxis
    ]
    return np.where((used >= _MIN_COVERED * offset.size)[:, np.newaxis], gain, 0.0)


def _normalised(flux: FloatArray, ivar: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return fluxes of mean 1 and inverse variances of mean 1, whatever their units were."""
    used = ivar > 0
    count = np.maximum(used.sum(axis=1, keepdims=True), 1)
    level = abs(np.where(used, flux, 0.0)).sum(axis=1, keepdims=True) / count
    weight = np.where(used, ivar, 0.0).sum(axis=1, keepdims=True) / count
    flux = np.divide(flux, level, out=np.zeros_like(flux), where=used & (level > 0))
    return flux, np.divide(ivar, weight, out=np.zeros_like(ivar), where=used)


def _with_lines(continuum: FloatArray, offset: FloatArray, trial: FloatArray) -> FloatArray:
    """Return the terms of the fit, shape (n_trials, n_pixels, n_terms)."""
    distance = (offset - trial[:, np.newaxis])[..., np.newaxis]
    lines = 1 / (1 + (distance / _WIDTHS) ** 2)
    same = np.broadcast_to(continuum, (trial.size, *continuum.shape))
    return np.concatenate([same, lines], axis=2)


def _least_chi_square(flux: FloatArray, ivar: FloatArray, terms: FloatArray) -> FloatArray:
    """Return chi-square of the best sum of terms, shape (n_spectra, n_trials)."""
    n_trials, n_pixels, n_terms = terms.shape
    product = np.einsum("tpi,tpj->ptij", terms, terms).reshape(n_pixels, -1)
    normal = (ivar @ product).reshape(-1, n_trials, n_terms, n_terms)
    normal += _RIDGE * n_pixels * np.eye(n_terms)
    right = (ivar * flux) @ terms.transpose(1, 0, 2).reshape(n_pixels, -1)
    right = right.reshape(-1, n_trials, n_terms, 1)
    explained = (right * np.linalg.solve(normal, right)).sum(axis=(2, 3))
    return (ivar * flux**2).sum(axis=1, keepdims=True) - explained


def peak_velocity(
    gain: FloatArray, trial: FloatArray, min_gain: float
) -> tuple[FloatArray, FloatArray]:
    """Return velocity and error of the highest gain, by the parabola through three trials.

    Both are NaN where the gain is below `min_gain`, or is highest at an end of the trials.
    """
    at = np.clip(gain.argmax(axis=1), 1, trial.size - 2)
    row, step = np.arange(len(gain)), trial[1] - trial[0]
    before, top, after = gain[row, at - 1], gain[row, at], gain[row, at + 1]
    curvature = 2 * top - before - after
    found = (top >= min_gain) & (top >= before) & (top >= after) & (curvature > 0)
    curvature = np.where(found, curvature, np.nan)
    return trial[at] + step * 0.5 * (after - before) / curvature, step * np.sqrt(2 / curvature)
