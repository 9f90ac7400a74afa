"""Noise and gaps of real spectra, to be lent to simulated ones."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skestnet.spectra._container import Spectra
from skestnet.spectra._wavelength import as_wavelength

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NoisePatterns:
    """How the noise of real spectra depends on wavelength, and which pixels they miss.

    Each simulated spectrum takes one pattern at random: its noise, scaled to the S/N that was
    drawn, and its missing pixels.

    Attributes
    ----------
    wavelength : ndarray of shape (n_pixels,)
        Wavelengths in Angstrom.
    noise : ndarray of float32 of shape (n_patterns, n_pixels)
        Standard deviation of the noise, 1 in the median pixel of each pattern.
    mask : ndarray of bool of shape (n_patterns, n_pixels)
        True marks a missing pixel.
    n_left_out : int, default=0
        Number of spectra that missed too many pixels to be a pattern.

    See Also
    --------
    SpectrumDegrader : Takes the patterns as its parameter `noise`.

    Examples
    --------
    >>> from skestnet.spectra import Spectra
    >>> from skestnet.templates import NoisePatterns
    >>> real = Spectra.from_matrix(
    ...     [4000.0, 4001.0, 4002.0],
    ...     flux=[[5.0, 5.0, 0.0], [0.0, 7.0, 0.0]],
    ...     ivar=[[1.0, 4.0, 0.0], [0.0, 1.0, 0.0]],
    ... )
    >>> patterns = NoisePatterns.from_spectra(real, [4000.0, 4001.0, 4002.0], max_missing=0.5)
    >>> patterns
    <NoisePatterns: 1 pattern, 3 pixels, 4000.0-4002.0 A, 1 spectrum left out>
    >>> patterns.noise, patterns.mask
    (array([[2., 1., 1.]], dtype=float32), array([[False, False,  True]]))
    """

    wavelength: FloatArray
    noise: NDArray[np.float32]
    mask: NDArray[np.bool_]
    n_left_out: int = 0

    def __post_init__(self) -> None:
        if not (self.noise.ndim == 2 and self.noise.shape == self.mask.shape and len(self.noise)):
            raise ValueError(
                f"noise has shape {self.noise.shape} and mask {self.mask.shape}, but both need one "
                "row per pattern, at least one, and one column per wavelength."
            )

    @classmethod
    def from_spectra(
        cls, spectra: Spectra, wavelength: ArrayLike, *, max_missing: float = 0.2
    ) -> "NoisePatterns":
        """Take the patterns of observed spectra.

        The variance is interpolated linearly between good pixels, and a pixel is missing where the
        nearest one of the spectrum is bad, or beyond its ends.

        Parameters
        ----------
        spectra : Spectra
            Observed spectra; their fluxes are not used.
        wavelength : array-like of shape (n_pixels,)
            Wavelengths in Angstrom of the pixels to simulate, strictly increasing.
        max_missing : float, default=0.2
            Greatest fraction of missing pixels at `wavelength`; spectra that miss more are left
            out and counted.

        Returns
        -------
        NoisePatterns
            The patterns, in the order of the spectra.

        Raises
        ------
        ValueError
            If no spectrum has enough good pixels.
        """
        target = as_wavelength(wavelength, "wavelength")
        pairs = [_pattern(spectra, i, target) for i in range(len(spectra))]
        kept = [pair for pair in pairs if pair[1].mean() <= max_missing and not pair[1].all()]
        if not kept:
            raise ValueError(
                f"None of the {len(pairs)} spectra has at most {max_missing:.0%} of its pixels "
                f"missing at {target[0]:.1f}-{target[-1]:.1f} A. Try a shorter range of "
                "wavelengths or a greater max_missing."
            )
        noise, mask = (np.array(part) for part in zip(*kept, strict=True))
        return cls(target, noise.astype(np.float32), mask, len(pairs) - len(kept))

    def __len__(self) -> int:
        return len(self.noise)

    def __repr__(self) -> str:
        left_out = _count(self.n_left_out, "spectrum left out", "spectra left out")
        return (
            f"<NoisePatterns: {_count(len(self), 'pattern', 'patterns')}, {self.wavelength.size} "
            f"pixels, {self.wavelength[0]:.1f}-{self.wavelength[-1]:.1f} A, {left_out}>"
        )


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _pattern(spectra: Spectra, i: int, target: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return the noise of one spectrum and its missing pixels."""
    wavelength, ivar, bad = spectra.wavelength[i], spectra.ivar[i], spectra.mask[i]
    good = ~bad & np.isfinite(ivar) & (ivar > 0)
    if not good.any():
        return np.ones(target.size), np.ones(target.size, dtype=bool)
    middle = 0.5 * (wavelength[1:] + wavelength[:-1])
    missing = ~good[np.searchsorted(middle, target)]
    missing |= (target < wavelength[0] * (1 - 1e-6)) | (target > wavelength[-1] * (1 + 1e-6))
    variance = 1.0 / ivar[good].astype(np.float64)
    sigma = np.sqrt(np.interp(target, wavelength[good], variance))
    return sigma / np.median(sigma), missing
