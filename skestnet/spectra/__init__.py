"""Spectra: reading survey files, bringing them to one grid, normalising and quality cuts."""

from skestnet.spectra._balmer import BalmerCheck, check_balmer_lines
from skestnet.spectra._container import Spectra
from skestnet.spectra._continuum import ContinuumNormalizer
from skestnet.spectra._cosmic import CosmicRayClipper
from skestnet.spectra._masks import MaskedPixelImputer, mask_pixels
from skestnet.spectra._medium import air_from_vacuum, vacuum_from_air
from skestnet.spectra._noise_level import AddedNoise, estimate_noise, estimate_snr
from skestnet.spectra._quality import QualityReport, usable_spectra
from skestnet.spectra._read import SpectrumReadError, read_spectra
from skestnet.spectra._read._specutils import register_specutils_loader
from skestnet.spectra._resample import Resampler
from skestnet.spectra._scale import FluxScaler
from skestnet.spectra._wavelength import lamost_grid

__all__ = [
    "AddedNoise",
    "BalmerCheck",
    "ContinuumNormalizer",
    "CosmicRayClipper",
    "FluxScaler",
    "MaskedPixelImputer",
    "QualityReport",
    "Resampler",
    "Spectra",
    "SpectrumReadError",
    "air_from_vacuum",
    "check_balmer_lines",
    "estimate_noise",
    "estimate_snr",
    "lamost_grid",
    "mask_pixels",
    "read_spectra",
    "register_specutils_loader",
    "usable_spectra",
    "vacuum_from_air",
]
