"""One block of spectra through dust, instrument, noise and defects."""

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from numpy.random import Generator
from numpy.typing import NDArray

from skestnet.spectra._wavelength import in_unit
from skestnet.templates import _defects as defects
from skestnet.templates._extinction import extinction
from skestnet.templates._instrument import Instrument
from skestnet.templates._noise import NoiseLaw, Sight, noise_law

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]

PIXEL_STREAMS = ("pattern", "warp shapes", "noise", "lines", "rays", "gaps")
_LARGEST_SNR = 1e6  # that the inverse variance of a spectrum without noise stands for


@dataclass(frozen=True)
class Exposure:
    """What an exposure does to spectra, prepared for fixed wavelengths."""

    instrument: Instrument
    dust: Float32Array | None  # change of ln flux per magnitude of E(B-V)
    band: slice
    warp_shapes: Float32Array
    residual_shapes: Float32Array
    law: NoiseLaw

    @classmethod
    def prepare(
        cls, instrument: Instrument, snr_band: tuple[float, float], noise: object, dusty: bool
    ) -> "Exposure":
        """Compute everything that depends on the wavelengths only."""
        dust = -0.4 * np.log(10.0) * extinction(instrument.source, 1.0) if dusty else None
        target = instrument.target
        band = _band(target, snr_band)
        return cls(
            instrument,
            None if dust is None else dust.astype(np.float32),
            band,
            defects.warp_shapes(target),
            defects.residual_shapes(target),
            noise_law(noise, target, band),
        )

    def expose(
        self, flux: Float32Array, sight: Sight, rngs: dict[str, Generator]
    ) -> tuple[Float32Array, Float32Array, NDArray[np.bool_]]:
        """Return flux, inverse variance and mask of noiseless spectra of about unit flux."""
        flux = self._noiseless(flux, sight, rngs["warp shapes"])
        sigma = self._sigma(flux, sight)
        noise = rngs["noise"].standard_normal(flux.shape, dtype=np.float32)
        noise *= sigma
        noiseless = np.isinf(sight["snr"])[:, np.newaxis]
        flux += np.where(noiseless, np.float32(0), noise)
        self._spoil(flux, np.where(noiseless, np.float32(0), sigma), sight, rngs)
        mask = self._missing(sight, rngs["gaps"])
        np.square(sigma, out=sigma)
        return flux, np.divide(1, sigma, out=sigma), mask

    def _noiseless(self, flux: Float32Array, sight: Sight, rng: Generator) -> Float32Array:
        if self.dust is not None:
            flux = flux * np.exp(sight["ebv"][:, np.newaxis].astype(np.float32) * self.dust)
        flux = self.instrument.observe(flux, sight["velocity"], sight["width"])
        if sight["warp"].any():
            flux = defects.warp(flux, self.warp_shapes, sight["warp"], rng)
        return flux

    def _sigma(self, flux: Float32Array, sight: Sight) -> Float32Array:
        """Return the noise of every pixel, with the median S/N that was drawn."""
        level = np.median(flux[:, self.band], axis=1, keepdims=True)
        if not (level > 0).all():
            raise ValueError(
                "The median flux of a spectrum in snr_band is 0, so no noise gives it the S/N that "
                "was drawn. Try another snr_band, or leave spectra without flux out."
            )
        snr = np.minimum(sight["snr"], _LARGEST_SNR)
        sigma = self.law.sigma(flux / level, {**sight, "snr": snr})
        ratio = np.median(flux[:, self.band] / sigma[:, self.band], axis=1)
        sigma *= (ratio / snr).astype(np.float32)[:, np.newaxis]
        return sigma

    def _spoil(
        self, flux: Float32Array, sigma: Float32Array, sight: Sight, rngs: dict[str, Generator]
    ) -> None:
        """Add, in place, what the inverse variance does not know of."""
        if sight["sky_residual"].any():
            strength = sight["sky_residual"]
            defects.add_sky_residuals(flux, sigma, self.residual_shapes, strength, rngs["lines"])
        defects.add_cosmic_rays(flux, sigma, sight["cosmic_rays"], rngs["rays"])

    def _missing(self, sight: Sight, rng: Generator) -> NDArray[np.bool_]:
        mask = defects.gaps(self.instrument.target, sight["missing"], rng)
        lost = self.law.missing(sight)
        return mask if lost is None else mask | lost


def _band(wavelength: FloatArray, snr_band: tuple[float, float]) -> slice:
    """Return the pixels in which the S/N is defined."""
    low, high = (in_unit(end, u.AA, "snr_band") for end in snr_band)
    first, last = np.searchsorted(wavelength, [low, high], side="left")
    if not (low < high and first < last):
        raise ValueError(
            f"snr_band={snr_band!r} contains no pixel of wavelength_out, "
            f"{wavelength[0]:.1f}-{wavelength[-1]:.1f} A. Pass two wavelengths in Angstrom, the "
            "shorter first, within that range."
        )
    return slice(int(first), int(last))
