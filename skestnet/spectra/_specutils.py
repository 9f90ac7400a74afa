"""What the spectrum classes of specutils, and classes that look like them, hold."""

from typing import Any

import numpy as np
from astropy.nddata import InverseVariance
from numpy.typing import NDArray

from skestnet.spectra._rebin import no_information
from skestnet.spectra._wavelength import in_angstrom


def is_spectrum(spectrum: Any) -> bool:
    """Return whether `spectrum` is one object with an axis and fluxes, not a sequence of them."""
    return hasattr(spectrum, "spectral_axis") and hasattr(spectrum, "flux")


def members(spectrum: Any) -> list[Any]:
    """Return the spectra of a sequence, or a single one as a list."""
    if is_spectrum(spectrum):
        return [spectrum]
    found = list(spectrum) if hasattr(spectrum, "__iter__") else [spectrum]
    wrong = [type(one).__name__ for one in found if not is_spectrum(one)]
    if wrong:
        raise TypeError(
            f"A {wrong[0]} has no spectral_axis and flux. Pass a specutils Spectrum, a "
            "SpectrumList, or objects with these two attributes."
        )
    return found


def arrays_of(
    spectrum: Any,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """Return wavelength in Angstrom, flux, ivar and mask, the last three two-dimensional."""
    wavelength, flux = np.asarray(in_angstrom(spectrum.spectral_axis)), _values(spectrum.flux)
    along = getattr(spectrum, "spectral_axis_index", None)
    along = -1 if along is None else along
    if wavelength.ndim != 1 or flux.ndim not in (1, 2) or flux.shape[along] != wavelength.size:
        raise ValueError(
            f"spectral_axis has shape {wavelength.shape} and flux {flux.shape}, but (n_pixels,) "
            "and (n_pixels,) or (n_spectra, n_pixels) are needed. Try a list of single spectra."
        )
    ivar = np.broadcast_to(_ivar(spectrum), flux.shape)
    mask = getattr(spectrum, "mask", None)
    bad = no_information(flux, ivar) | np.asarray(False if mask is None else mask)
    # Frequencies and energies run against wavelengths.
    order = np.argsort(wavelength)
    rows = [np.atleast_2d(np.moveaxis(array, along, -1)) for array in (flux, ivar, bad)]
    flux, ivar, bad = (row[:, order] for row in rows)
    return wavelength[order], flux, ivar, bad


def _values(flux: Any) -> NDArray[Any]:
    return np.asarray(getattr(flux, "value", flux))


def _ivar(spectrum: Any) -> NDArray[np.float64]:
    """Return the inverse variances in the unit of the flux, 0 where the error is 0 or missing."""
    uncertainty = getattr(spectrum, "uncertainty", None)
    if uncertainty is None:
        return np.ones(1)
    if getattr(uncertainty, "uncertainty_type", None) not in ("std", "var", "ivar"):
        raise TypeError(
            f"uncertainty is a {type(uncertainty).__name__}, but a StdDevUncertainty, "
            "VarianceUncertainty or InverseVariance of astropy.nddata is needed."
        )
    inverse = uncertainty
    if not isinstance(uncertainty, InverseVariance):  # the detour by the variance would round
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = uncertainty.represent_as(InverseVariance)
    unit, own = getattr(spectrum.flux, "unit", None), inverse.unit
    ivar = np.asarray(inverse.array, dtype=np.float64)
    if unit is not None and own is not None:
        ivar = ivar * own.to(unit**-2)
    return np.where(np.isfinite(ivar), ivar, 0.0)
