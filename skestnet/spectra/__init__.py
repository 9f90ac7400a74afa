"""Spectra: reading survey files, bringing them to one grid, normalising and quality cuts."""

from skestnet.spectra._container import Spectra
from skestnet.spectra._continuum import ContinuumNormalizer
from skestnet.spectra._quality import QualityReport, usable_spectra
from skestnet.spectra._read import SpectrumReadError, read_spectra
from skestnet.spectra._resample import Resampler, lamost_grid
from skestnet.spectra._scale import FluxScaler

__all__ = [
    "ContinuumNormalizer",
    "FluxScaler",
    "QualityReport",
    "Resampler",
    "Spectra",
    "SpectrumReadError",
    "lamost_grid",
    "read_spectra",
    "usable_spectra",
]
