"""Noiseless spectra as an instrument receives them: Doppler shift, line-spread function, pixels."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from skestnet.spectra._pixels import gaussian_sigma, pixel_edges
from skestnet.spectra._redshift import redshift_of
from skestnet.templates._observe import observation_matrix

FloatArray = NDArray[np.float64]

LARGEST_SPEED = 3000.0  # km/s
NO_BLUR = {"resolution": np.array([np.inf]), "fwhm": np.zeros(1)}
_REACH = 3.0  # standard deviations of the line-spread function that the input has to cover
_WIDTH_STEP = 0.03  # of ln width: drawn widths are rounded to this, by 1.5% at most


def round_widths(width: FloatArray) -> FloatArray:
    """Round to a geometric sequence, so that few matrices serve all spectra."""
    with np.errstate(divide="ignore"):
        return np.exp(np.round(np.log(width) / _WIDTH_STEP) * _WIDTH_STEP)


@dataclass
class Instrument:
    """Fixed input and output wavelengths, and the matrices between them.

    `blur` names what the width of the line-spread function is: "resolution" or "fwhm", an argument
    of `gaussian_sigma`. `used` are the input pixels that `observe` wants.
    """

    source: FloatArray
    target: FloatArray
    blur: str
    used: slice = field(default_factory=lambda: slice(None))
    _matrices: dict[float, csr_array] = field(default_factory=dict, init=False, repr=False)

    def cropped(self, width: FloatArray) -> "Instrument":
        """Return the same instrument without input pixels that no radial velocity moves into it."""
        # Twice the width, because the wings of the line-spread function are used where they exist.
        scale = 0.5 if self.blur == "resolution" else 2.0
        low, high = self._needed(np.array([-LARGEST_SPEED, LARGEST_SPEED]), scale * width)
        first, last = np.searchsorted(self.source, [low[0], high[-1]])
        used = slice(max(int(first) - 2, 0), int(last) + 2)
        return replace(self, source=self.source[used], used=used)

    def covered(self, velocity: FloatArray, width: FloatArray) -> FloatArray:
        """Return the output wavelengths that receive all their light from the input."""
        (low, high), (first, last) = self._needed(velocity, width), self._available()
        inside = self.target[(low >= first) & (high <= last)]
        if not inside.size:
            self.check(velocity, width)
        return inside

    def check(self, velocity: FloatArray, width: FloatArray) -> None:
        """Refuse output wavelengths that the input does not cover."""
        target, source = self.target, self.source
        (low, high), (first, last) = self._needed(velocity, width), self._available()
        if low[0] >= first and high[-1] <= last:
            return
        raise ValueError(
            f"wavelength_out covers {target[0]:.1f}-{target[-1]:.1f} A, for which wavelengths "
            f"{low[0]:.1f}-{high[-1]:.1f} A are needed with the line-spread function and radial "
            f"velocities of {velocity.min():.0f} to {velocity.max():.0f} km/s, but wavelength_in "
            f"covers {source[0]:.1f}-{source[-1]:.1f} A. Try a shorter wavelength_out."
        )

    def _needed(self, velocity: FloatArray, width: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the least and the greatest wavelength that each output pixel needs."""
        edges = pixel_edges(self.target)
        widths = (width.min(), width.max())
        sigma = [gaussian_sigma(edges, **{self.blur: one}) for one in widths]
        reach = _REACH * np.maximum(*sigma)
        low, high = 1 + redshift_of([velocity.max(), velocity.min()])
        return (edges - reach)[:-1] / low, (edges + reach)[1:] / high

    def _available(self) -> tuple[float, float]:
        """Return the ends of the input; its outer edges are a guess, good to a pixel."""
        edges = pixel_edges(self.source)
        return 2 * edges[0] - edges[1], 2 * edges[-1] - edges[-2]

    def observe(
        self, flux: NDArray[np.float32], velocity: FloatArray, width: FloatArray
    ) -> NDArray[np.float32]:
        """Return the mean flux density over each output pixel, (n_spectra, n_out)."""
        if velocity.any():
            flux = doppler_shift(self.source, flux, velocity)
        classes, which = np.unique(width, return_inverse=True)
        if classes.size == 1:
            return self._product(classes[0], flux)
        observed = np.empty((len(flux), self.target.size), dtype=np.float32)
        for k, one in enumerate(classes):
            observed[which == k] = self._product(one, flux[which == k])
        return observed

    def _product(self, width: float, flux: NDArray[np.float32]) -> NDArray[np.float32]:
        matrix = self._matrices.get(width)
        if matrix is None:
            matrix = observation_matrix(self.source, self.target, flux, **{self.blur: width})
            matrix = self._matrices[width] = matrix.astype(np.float32)
        return np.ascontiguousarray((matrix @ np.ascontiguousarray(flux.T)).T)


def doppler_shift(
    wavelength: FloatArray, flux: NDArray[np.float32], velocity: FloatArray
) -> NDArray[np.float32]:
    """Move each spectrum by a radial velocity in km/s; the ends repeat the last pixel.

    Between pixels the flux is the cubic whose slopes at both pixels are those of the parabolas
    through their neighbours: flux density per unit of the observer's wavelength is not rescaled.
    """
    at = wavelength / (1 + redshift_of(velocity)[:, np.newaxis])
    position = np.interp(at.ravel(), wavelength, np.arange(wavelength.size)).reshape(at.shape)
    left = np.minimum(position.astype(np.intp), wavelength.size - 2)
    t = (position - left).astype(np.float32)
    left += (np.arange(len(flux)) * (wavelength.size - 1))[:, np.newaxis]
    terms = (flux[:, :-1], *_hermite(wavelength, flux))
    # All indices are inside; "clip" only spares numpy a slower check.
    start, linear, square, cubic = (np.take(term, left, mode="clip") for term in terms)
    return start + t * (linear + t * (square + t * cubic))


def _hermite(
    wavelength: FloatArray, flux: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the coefficients of t, t^2 and t^3 between pixels, t going from 0 to 1."""
    step = np.diff(wavelength).astype(np.float32)
    rise = np.diff(flux, axis=1)
    share = step[1:] / (step[1:] + step[:-1])
    slope = np.empty_like(flux)
    slope[:, 0], slope[:, -1] = rise[:, 0] / step[0], rise[:, -1] / step[-1]
    slope[:, 1:-1] = rise[:, :-1] * (share / step[:-1]) + rise[:, 1:] * ((1 - share) / step[1:])
    first, second = slope[:, :-1] * step, slope[:, 1:] * step
    return first, 3 * rise - 2 * first - second, first + second - 2 * rise
