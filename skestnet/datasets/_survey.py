"""What a survey does to a spectrum: resolution, pixels, noise, calibration errors, defects.

The noise template was read off public LAMOST DR1 and DR8 low-resolution spectra (median error
spectrum in units of that at 5000 A).
"""

import numpy as np
from scipy.sparse import csr_array
from scipy.special import ndtr, ndtri

from skestnet.datasets._physics import Floats

WAVELENGTH_RANGE = (4000.0, 8000.0)
N_NATIVE = 3909  # pixels of the paper's grid
BLUE = (4000.0, 5500.0)  # where S/N is quoted
_REACH = 4.0  # standard deviations at which a line-spread function is cut

# Noise per pixel (A, ratio): falls from the blue edge, rises where the two arms meet.
_NOISE = np.array(
    [
        (4000.0, 3.20), (4100.0, 2.50), (4200.0, 2.00), (4400.0, 1.55), (4700.0, 1.17),
        (5000.0, 1.00), (5400.0, 0.92), (5600.0, 1.02), (5750.0, 1.25), (5950.0, 0.85),
        (6200.0, 0.65), (6600.0, 0.47), (7200.0, 0.38), (8000.0, 0.34),
    ]
)  # fmt: skip
# Night-sky lines (vacuum A, noise in the line over noise beside it): Hg, [O I], Na, OH.
_SKY = np.array(
    [
        (4359.6, 1.5), (5462.3, 1.4), (5578.9, 8.0), (5891.6, 1.3), (6302.0, 2.2),
        (6365.5, 1.3), (6865.8, 1.2), (6925.2, 1.2), (7246.6, 1.4), (7278.3, 1.5),
        (7318.3, 1.3), (7342.9, 1.4), (7718.0, 1.7), (7752.8, 2.0), (7796.2, 1.5),
        (7823.5, 1.7), (7855.5, 1.9), (7915.8, 2.0), (7966.8, 1.6), (7995.6, 1.5),
    ]
)  # fmt: skip
_SKY_WIDTH = 1.3  # standard deviation, A
_ARMS_JOIN = 5800.0  # A


def pixel_edges(n_pixels: int) -> Floats:
    """Edges of equal pixels that fill 4000-8000 A, shape (n_pixels + 1,)."""
    return np.linspace(*WAVELENGTH_RANGE, n_pixels + 1)


def centres(edges: Floats) -> Floats:
    """Middles of the pixels between the edges."""
    return 0.5 * (edges[1:] + edges[:-1])


def oversampled(edges: Floats, resolution: float | None) -> Floats:
    """Wavelengths at which to compute a spectrum before `instrument_matrix` bins it.

    They divide each pixel evenly, about 1 A apart or less, and reach past both ends by the
    line-spread function.
    """
    n_pixels = len(edges) - 1
    step = (edges[1] - edges[0]) / -(-N_NATIVE // n_pixels)
    pad = 0 if resolution is None else int(_REACH * edges[-1] / (2.3548 * resolution) / step) + 1
    n_steps = round((edges[-1] - edges[0]) / step) + 2 * pad
    return edges[0] + (np.arange(n_steps) - pad + 0.5) * step


def instrument_matrix(edges: Floats, fine: Floats, resolution: float | None) -> csr_array:
    """Sparse (n_pixels, n_fine) average over pixels of the Gaussian-blurred spectrum.

    Element (i, j) is the share of the light at fine wavelength j that lands in pixel i; the rows
    are normalised. The full width at half maximum is wavelength / resolution.
    """
    sigma = np.full_like(fine, 1e-9) if resolution is None else fine / (2.3548 * resolution)
    lower = np.searchsorted(fine, edges[:-1] - _REACH * sigma[-1])
    upper = np.searchsorted(fine, edges[1:] + _REACH * sigma[-1])
    rows = np.repeat(np.arange(len(lower)), upper - lower)
    columns = np.concatenate([np.arange(a, b) for a, b in zip(lower, upper, strict=True)])
    share = ndtr((edges[rows + 1] - fine[columns]) / sigma[columns])
    share -= ndtr((edges[rows] - fine[columns]) / sigma[columns])
    share /= np.bincount(rows, share)[rows]
    matrix = csr_array((share, (rows, columns)), shape=(len(lower), len(fine)))
    return matrix.astype(np.float32)


def pixel_average(edges: Floats, values: Floats) -> Floats:
    """Means over pixels of rows of values given at ``oversampled(edges, None)``."""
    return values @ instrument_matrix(edges, oversampled(edges, None), None).T


def noise_templates(edges: Floats) -> tuple[Floats, Floats]:
    """Variance between sky lines (n_pixels,) and what each line adds (n_lines, n_pixels).

    In units of the variance of a native pixel at 5000 A; a pixel k times as wide has 1/k of it.
    """
    fine = oversampled(edges, None)
    smooth = np.interp(fine, *_NOISE.T) ** 2
    profile = np.exp(-0.5 * ((fine - _SKY[:, :1]) / _SKY_WIDTH) ** 2)
    lines = smooth * (_SKY[:, 1:] ** 2 - 1.0) * profile
    scale = native_pixels(edges)
    return (
        (pixel_average(edges, smooth) / scale).astype(np.float32),
        (pixel_average(edges, lines) / scale).astype(np.float32),
    )


def native_pixels(edges: Floats) -> float:
    """Width of a pixel in native pixels (of 3909 from 4000 to 8000 A)."""
    return N_NATIVE / (len(edges) - 1)


def warp_basis(wavelength: Floats) -> Floats:
    """Shapes of flux-calibration errors (5, n_pixels): four Legendre polynomials and a step.

    Multiplied by independent standard normal numbers their sum has a standard deviation of one
    over the spectrum. The step is the mismatch of the blue and the red arm of the spectrograph.
    """
    middle, half = np.mean(WAVELENGTH_RANGE), 0.5 * np.ptp(WAVELENGTH_RANGE)
    order = np.arange(1, 5)
    shapes = np.polynomial.legendre.legvander((wavelength - middle) / half, 4)[:, 1:]
    shapes *= np.sqrt(2 * order + 1) * (0.75, 0.40, 0.30, 0.20)
    return np.vstack([shapes.T, 0.4 * np.tanh((wavelength - _ARMS_JOIN) / 60.0)])


def blue_median(wavelength: Floats, values: Floats) -> Floats:
    """Median of each row over the blue arm, 4000-5500 A; shape (n_rows, 1)."""
    n_blue = max(1, np.count_nonzero(wavelength < BLUE[1]))
    return np.median(values[:, :n_blue], axis=1, keepdims=True)


N_DEFECT_DRAWS = len(_SKY) + 3 * 6 + 3


def add_defects(
    flux: Floats,
    ivar: Floats,
    sky: Floats,
    draws: Floats,
) -> None:
    """Add, in place, what a pipeline gets wrong; of all this ivar knows the gaps only.

    Parameters
    ----------
    flux, ivar : ndarray of shape (n_rows, n_pixels)
        Noisy flux in units of the noise of a native pixel in the blue, and its inverse variance.
    sky : ndarray of shape (n_lines, n_pixels)
        Variance that each night-sky line adds, of `noise_templates`.
    draws : ndarray of shape (n_rows, N_DEFECT_DRAWS)
        Uniform random numbers between 0 and 1.
    """
    lines, rays, gaps = np.split(draws, [len(sky), draws.shape[1] - 3], axis=1)
    flux += _sky_residuals(sky, lines)
    _add_cosmic_rays(flux, rays.reshape(len(rays), -1, 3))
    _bridge_gaps(flux, ivar, gaps)


def _sky_residuals(sky: Floats, draws: Floats) -> Floats:
    """Wrongly subtracted sky lines: about 1.5 times the noise that the line adds to a pixel."""
    amplitude = 1.5 * ndtri(draws)
    return amplitude.astype(np.float32) @ np.sqrt(sky)


def _add_cosmic_rays(flux: Floats, draws: Floats) -> None:
    """Up to six hits, two on average, one native pixel wide, exponential with mean 15 sigma."""
    n_pixels = flux.shape[1]
    hit, where, height = np.moveaxis(draws, -1, 0)
    rows, _ = np.nonzero(hit < 1.0 / 3.0)
    pixels = (where[hit < 1.0 / 3.0] * n_pixels).astype(int)
    counts = -15.0 * np.log1p(-height[hit < 1.0 / 3.0]) * min(1.0, n_pixels / N_NATIVE)
    np.add.at(flux, (rows, pixels), counts.astype(np.float32))


def _bridge_gaps(flux: Floats, ivar: Floats, draws: Floats) -> None:
    """In three spectra of ten, lose one stretch of 5-200 A and draw a straight line across it."""
    n_pixels = flux.shape[1]
    angstrom = 5.0 * 40.0 ** draws[:, 1]
    first = np.ceil(draws[:, 2] * n_pixels).astype(int)
    n_lost = (angstrom / np.ptp(WAVELENGTH_RANGE) * n_pixels).astype(int)
    pixels = np.arange(n_pixels)
    for row in np.flatnonzero((draws[:, 0] < 0.3) & (n_lost > 0)):
        lost = slice(first[row], first[row] + n_lost[row])
        kept = np.delete(pixels, lost)
        flux[row, lost] = np.interp(pixels[lost], kept, flux[row, kept])
        ivar[row, lost] = 0.0
