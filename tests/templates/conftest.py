"""Fixtures of the tests of templates: a grid known in closed form."""

import numpy as np
import pytest

from skestnet.templates._grid import TemplateGrid

WAVELENGTH = np.linspace(4000.0, 5000.0, 401)
TEFF = np.geomspace(8000.0, 32000.0, 13)
LOGG = np.linspace(7.0, 9.0, 9)


def line_flux(wavelength, teff, logg):
    """Flux of a line that is shallower for hotter stars and wider for larger gravity."""
    teff, logg = np.asarray(teff)[..., np.newaxis], np.asarray(logg)[..., np.newaxis]
    profile = np.exp(-0.5 * ((wavelength - 4500) / (20 * 1.4 ** (logg - 8))) ** 2)
    slope = 1 - (teff / 8000) ** 0.5 * (wavelength - 4500) / 4000
    return 1e8 * slope * np.exp(-((8000 / teff) ** 0.7) * profile)


def rectangle(teff=TEFF, logg=LOGG):
    """Return all combinations of two labels, shape (n, 2)."""
    return np.stack(np.meshgrid(teff, logg, indexing="ij"), axis=-1).reshape(-1, 2)


def make_grid(labels, dtype=np.float64, **params):
    flux = line_flux(WAVELENGTH, *labels.T).astype(dtype)
    return TemplateGrid(WAVELENGTH, flux, {"teff": labels[:, 0], "logg": labels[:, 1]}, **params)


@pytest.fixture(scope="session")
def closed_form():
    """Compute the flux (n, n_pixels) at wavelengths from teff and logg, each (n,)."""
    return line_flux


@pytest.fixture(scope="session")
def line_grid():
    """A TemplateGrid of the closed form: 13 temperatures times 9 gravities, 401 pixels."""
    return make_grid(rectangle())


@pytest.fixture(scope="session")
def grid_at():
    """Make a TemplateGrid of the closed form at labels of shape (n, 2)."""
    return make_grid


@pytest.fixture(scope="session")
def all_pairs():
    """Make all combinations of temperatures and gravities, by default those of `line_grid`."""
    return rectangle
