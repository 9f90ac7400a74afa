"""A model grid that comes with the package: closed-form spectra on a rectangle of labels."""

import numpy as np
from astropy import units as u
from numpy.typing import ArrayLike, NDArray

from skestnet.datasets._physics import white_dwarf_flux
from skestnet.spectra._wavelength import in_unit
from skestnet.templates._grid import TemplateGrid

WAVELENGTH_RANGE = (3900.0, 8100.0)  # where the closed form was fitted
TEFF_RANGE, LOGG_RANGE = (6000.0, 80_000.0), (6.5, 9.5)
_DEX = 1e-4  # pixels of LAMOST and SDSS, in log10 wavelength


def make_white_dwarf_grid(
    *,
    teff: ArrayLike | u.Quantity | None = None,
    logg: ArrayLike | None = None,
    wavelength: ArrayLike | u.Quantity | None = None,
) -> TemplateGrid:
    """Make a grid of noiseless white dwarf spectra that needs no download.

    The spectra are the closed-form ones of `make_white_dwarfs`, which follow the pure-hydrogen
    models of Koester (2010) to 1.3% rms: good for trying things out, tests and documentation. For
    science, read a grid of model atmospheres with `skestnet.templates.TemplateGrid.read`.

    Parameters
    ----------
    teff : array-like or Quantity, default=None
        Effective temperatures, in K without a unit, 6,000 to 80,000. None takes 40 in equal ratios.
    logg : array-like, default=None
        Surface gravities, log10 of cm s-2, 6.5 to 9.5. None takes steps of 0.25.
    wavelength : array-like or Quantity of shape (n_pixels,), default=None
        Vacuum wavelengths, in Angstrom without a unit, 3900 to 8100, increasing. None takes steps
        of 1e-4 dex.

    Returns
    -------
    TemplateGrid
        One spectrum for each combination, about 1 at 5500 Angstrom, without instrumental blur.

    Raises
    ------
    ValueError
        If a value lies outside the range that the closed form was fitted in.

    See Also
    --------
    make_white_dwarfs : Noisy spectra, as a survey would see them.

    References
    ----------
    Koester (2010), Mem. S.A.It. 81, 921.

    Examples
    --------
    >>> from skestnet.datasets import make_white_dwarf_grid
    >>> grid = make_white_dwarf_grid(teff=[10_000, 12_000], logg=[7.5, 8.0, 8.5])
    >>> grid.flux.shape
    (6, 3175)
    """
    low, high = np.log10(WAVELENGTH_RANGE)
    pixels = 10 ** np.arange(low, high, _DEX) if wavelength is None else wavelength
    temperatures = np.geomspace(*TEFF_RANGE, 40) if teff is None else teff
    gravities = np.arange(LOGG_RANGE[0], LOGG_RANGE[1] + 0.1, 0.25) if logg is None else logg
    x = _within(in_unit(pixels, u.AA, "wavelength"), "wavelength", WAVELENGTH_RANGE)
    t = _within(in_unit(temperatures, u.K, "teff"), "teff", TEFF_RANGE)
    g = _within(gravities, "logg", LOGG_RANGE)
    labels = [values.ravel() for values in np.meshgrid(t, g, indexing="ij")]
    flux = white_dwarf_flux(x, *labels)
    return TemplateGrid(x, flux, dict(zip(("teff", "logg"), labels, strict=True)))


def _within(values: ArrayLike, name: str, limits: tuple[float, float]) -> NDArray[np.float64]:
    """Return a vector, or name the value that the closed form was not fitted for."""
    vector = np.atleast_1d(np.asarray(values, dtype=np.float64))
    low, high = limits
    # geomspace ends a rounding error beyond its limits
    bad = vector[~((vector >= low * (1 - 1e-9)) & (vector <= high * (1 + 1e-9)))]
    if bad.size:
        raise ValueError(
            f"{name} holds {bad[0]:g}, but the closed form was fitted for {low:g} to {high:g}. For "
            "other values, read a model grid with TemplateGrid.read."
        )
    return vector
