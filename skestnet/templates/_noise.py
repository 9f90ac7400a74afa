"""Laws of the noise: how it depends on wavelength and flux, up to the level that S/N sets."""

from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from skestnet.spectra._container import Spectra
from skestnet.spectra._pixels import pixel_edges
from skestnet.templates._lamost import (
    TABLE_RANGE,
    native_width,
    sky_continuum,
    sky_lines,
    throughput,
)
from skestnet.templates._patterns import NoisePatterns

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
Sight: TypeAlias = dict[str, NDArray[Any]]


class NoiseLaw(Protocol):
    """How the noise is distributed over the pixels of a spectrum."""

    def draws(self, rng: Generator, n: int) -> Sight:
        """Draw what the law needs, named values of shape (n,)."""

    def sigma(self, flux: Float32Array, sight: Sight) -> Float32Array:
        """Return the noise (n_spectra, n_pixels), up to a factor for each spectrum.

        `flux` has a median of 1 where S/N is quoted, and `sight` has what was drawn for each row.
        """

    def missing(self, sight: Sight) -> NDArray[np.bool_] | None:
        """Return the pixels that the law loses (n_spectra, n_pixels), None where it loses none."""


class WhiteNoise:
    """The same noise in all pixels."""

    def draws(self, rng: Generator, n: int) -> Sight:  # noqa: ARG002
        return {}

    def sigma(self, flux: Float32Array, sight: Sight) -> Float32Array:  # noqa: ARG002
        return np.ones_like(flux)

    def missing(self, sight: Sight) -> None:  # noqa: ARG002
        return None


class LamostNoise:
    """Photons of the source and of the sky and read-out noise, through LAMOST's throughput.

    A pixel that collects `C` electrons of the source has the variance ``C + sky + read_noise**2``.
    `C` follows from the S/N in the band, so that faint spectra have the colour of the sky's noise
    and bright ones that of their own.
    """

    def __init__(self, wavelength: FloatArray, band: slice) -> None:
        low, high = TABLE_RANGE
        if wavelength[0] < low or wavelength[-1] > high:
            raise ValueError(
                f"noise='lamost' is known between {low:g} and {high:g} A, but wavelength_out "
                f"covers {wavelength[0]:.1f}-{wavelength[-1]:.1f} A. Try a shorter wavelength_out, "
                "noise='white' or NoisePatterns."
            )
        native = np.diff(pixel_edges(wavelength)) / native_width(wavelength)
        source = native * throughput(wavelength)
        sky = native * (sky_continuum(wavelength) + sky_lines(wavelength).sum(axis=0))
        self._level = np.median(source[band])
        self._background = np.median(sky[band]), np.median(native[band])
        self._source = (self._level / source).astype(np.float32)
        square = np.square(self._level / source)
        self._shapes = np.stack([square * sky, square * native]).astype(np.float32)

    def draws(self, rng: Generator, n: int) -> Sight:  # noqa: ARG002
        return {}

    def sigma(self, flux: Float32Array, sight: Sight) -> Float32Array:
        weights = np.stack([sight["sky"], np.square(sight["read_noise"])], axis=1)
        electrons = self._electrons(weights @ np.array(self._background), sight["snr"])
        # In units of the photon noise of the source in the band.
        weights = (weights / electrons[:, np.newaxis]).astype(np.float32)
        variance = np.maximum(flux, 1e-6)
        variance *= self._source
        variance += weights @ self._shapes
        return np.sqrt(variance, out=variance)

    def _electrons(self, background: FloatArray, snr: FloatArray) -> FloatArray:
        """Return C of snr = C / sqrt(C + background)."""
        square = np.square(snr)
        return 0.5 * (square + np.sqrt(square**2 + 4 * square * background))

    def missing(self, sight: Sight) -> None:  # noqa: ARG002
        return None


class PatternNoise:
    """Noise and missing pixels of real spectra, a random one for each spectrum."""

    def __init__(self, patterns: NoisePatterns, wavelength: FloatArray) -> None:
        here, there = wavelength, patterns.wavelength
        if here.shape != there.shape or not np.allclose(here, there, rtol=1e-6, atol=0):
            raise ValueError(
                f"The noise patterns have {there.size} pixels at {there[0]:.1f}-{there[-1]:.1f} A, "
                f"but wavelength_out has {here.size} at {here[0]:.1f}-{here[-1]:.1f} A. Make them "
                "with NoisePatterns.from_spectra(spectra, wavelength_out)."
            )
        self._patterns = patterns

    def draws(self, rng: Generator, n: int) -> Sight:
        return {"pattern": rng.integers(len(self._patterns), size=n)}

    def sigma(self, flux: Float32Array, sight: Sight) -> Float32Array:  # noqa: ARG002
        return self._patterns.noise[sight["pattern"]]

    def missing(self, sight: Sight) -> NDArray[np.bool_]:
        return self._patterns.mask[sight["pattern"]]


def noise_law(noise: object, wavelength: FloatArray, band: slice) -> NoiseLaw:
    """Return the law that the parameter `noise` names or holds."""
    if isinstance(noise, Spectra):
        return PatternNoise(NoisePatterns.from_spectra(noise, wavelength), wavelength)
    if isinstance(noise, NoisePatterns):
        return PatternNoise(noise, wavelength)
    if noise == "white":
        return WhiteNoise()
    if noise == "lamost":
        return LamostNoise(wavelength, band)
    raise ValueError(
        f"noise={noise!r} is not known. Choose 'lamost', 'white', a NoisePatterns or Spectra with "
        "real inverse variances."
    )
