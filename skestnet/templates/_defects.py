"""What a pipeline gets wrong: flux calibration, sky lines, cosmic rays; and what it loses."""

import numpy as np
from numpy.polynomial.legendre import legvander
from numpy.random import Generator
from numpy.typing import NDArray

from skestnet.spectra._pixels import pixel_edges
from skestnet.templates._lamost import ARMS_JOIN, READ_NOISE, native_width, sky_continuum, sky_lines

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]

_WARP_SHARES = np.array([0.75, 0.40, 0.30, 0.20])  # of Legendre polynomials 1 to 4
_STEP_SHARE, _STEP_WIDTH = 0.4, 60.0  # of the step between the arms; A
_RAY_HEIGHT = 15.0  # mean height of a cosmic ray over the noise
_GAP_RANGE = (5.0, 200.0)  # A


def warp_shapes(wavelength: FloatArray) -> Float32Array:
    """Shapes of errors of the flux calibration (5, n_pixels): polynomials and a step.

    Their sum with independent standard normal factors has a standard deviation of about 1 over
    the spectrum. The step is the mismatch between the arms of the spectrograph.
    """
    middle, half = np.mean(wavelength[[0, -1]]), 0.5 * np.ptp(wavelength) or 1.0
    order = np.arange(1, _WARP_SHARES.size + 1)
    shapes = legvander((wavelength - middle) / half, _WARP_SHARES.size)[:, 1:]
    shapes *= np.sqrt(2 * order + 1) * _WARP_SHARES
    step = _STEP_SHARE * np.tanh((wavelength - ARMS_JOIN) / _STEP_WIDTH)
    return np.vstack([shapes.T, step]).astype(np.float32)


def warp(
    flux: Float32Array, shapes: Float32Array, strength: FloatArray, rng: Generator
) -> Float32Array:
    """Multiply by smooth random factors whose logarithm has a standard deviation of `strength`."""
    return flux * np.exp(_amplitudes(strength, len(shapes), rng) @ shapes)


def residual_shapes(wavelength: FloatArray) -> Float32Array:
    """Share of each sky line in the noise of the sky, (n_lines, n_pixels)."""
    lines = sky_lines(wavelength)
    read = READ_NOISE**2 * native_width(wavelength) / np.diff(pixel_edges(wavelength))
    rest = sky_continuum(wavelength) + read
    return np.sqrt(lines / (rest + lines.sum(axis=0))).astype(np.float32)


def add_sky_residuals(
    flux: Float32Array,
    sigma: Float32Array,
    shapes: Float32Array,
    strength: FloatArray,
    rng: Generator,
) -> None:
    """Add, in place, sky lines subtracted wrongly by about `strength` times their noise."""
    residual = _amplitudes(strength, len(shapes), rng) @ shapes
    residual *= sigma
    flux += residual


def _amplitudes(strength: FloatArray, n_shapes: int, rng: Generator) -> Float32Array:
    normal = rng.standard_normal((strength.size, n_shapes), dtype=np.float32)
    return normal * strength[:, np.newaxis].astype(np.float32)


def add_cosmic_rays(
    flux: Float32Array, sigma: Float32Array, counts: NDArray[np.int64], rng: Generator
) -> None:
    """Add, in place, as many hits to each spectrum as `counts` says, one pixel each."""
    row = np.repeat(np.arange(counts.size), counts)
    where, height = rng.random((row.size, 2)).T
    pixel = (where * flux.shape[1]).astype(np.intp)
    extra = -_RAY_HEIGHT * np.log1p(-height) * sigma[row, pixel]
    np.add.at(flux, (row, pixel), extra.astype(np.float32))


def gaps(wavelength: FloatArray, counts: NDArray[np.int64], rng: Generator) -> NDArray[np.bool_]:
    """Mark lost stretches, as many in each spectrum as `counts` says, (n_spectra, n_pixels).

    Each loses at least one pixel; its width is log-uniform, its start uniform in wavelength.
    """
    row = np.repeat(np.arange(counts.size), counts)
    where, size = rng.random((row.size, 2)).T
    start = wavelength[0] + where * np.ptp(wavelength)
    width = _GAP_RANGE[0] * (_GAP_RANGE[1] / _GAP_RANGE[0]) ** size
    first = np.searchsorted(wavelength, start)
    last = np.maximum(np.searchsorted(wavelength, start + width), first + 1)
    mask = np.zeros((counts.size, wavelength.size), dtype=bool)
    for one, start_at, stop_at in zip(row, first, last, strict=True):
        mask[one, start_at:stop_at] = True
    return mask
