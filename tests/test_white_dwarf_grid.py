"""The grid of closed-form spectra."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skestnet.datasets import make_white_dwarf_grid
from skestnet.datasets._physics import white_dwarf_flux


def test_every_combination_once():
    grid = make_white_dwarf_grid(teff=[8000, 9000, 30_000], logg=[7.5, 8.5])
    assert grid.label_names == ("teff", "logg")
    expected = [[t, g] for t in (8000, 9000, 30_000) for g in (7.5, 8.5)]
    assert_allclose(grid.labels, expected)
    row = white_dwarf_flux(grid.wavelength, np.array([9000.0]), np.array([8.5]))[0]
    assert_allclose(grid.flux[3], row)


def test_default_covers_what_was_fitted():
    grid = make_white_dwarf_grid()
    assert grid.limits["teff"] == pytest.approx((6000, 80_000))
    assert grid.limits["logg"] == pytest.approx((6.5, 9.5))
    assert_allclose(np.diff(np.log10(grid.wavelength)), 1e-4, rtol=1e-6)
    assert (grid.flux > 0).all()


def test_interpolation_between_the_nodes_is_good():
    grid = make_white_dwarf_grid()
    teff, logg = np.array([10_130.0, 13_500, 40_000]), np.array([7.6, 8.1, 8.9])
    exact = white_dwarf_flux(grid.wavelength, teff, logg)
    found = grid.interpolate(np.column_stack([teff, logg]))
    assert_allclose(found, exact, rtol=5e-3)


def test_it_follows_real_models(data_dir):
    with np.load(data_dir / "models_da_koester2010_svo.npz") as koester:
        inside = (koester["wavelength"] > 4000) & (koester["wavelength"] < 8000)
        rows = (koester["logg"] == 8) & (koester["teff"] >= 10_000) & (koester["teff"] <= 60_000)
        wavelength, teff = koester["wavelength"][inside], koester["teff"][rows]
        flux = koester["flux"][rows][:, inside]
    grid = make_white_dwarf_grid(teff=teff, logg=8.0, wavelength=wavelength)
    ratio = flux / grid.flux
    ratio /= np.median(ratio, axis=1, keepdims=True)
    assert np.median(np.abs(np.log(ratio))) < 0.015


@pytest.mark.parametrize(
    "bad", [{"teff": [5000]}, {"logg": 10}, {"wavelength": [3500, 5000]}, {"teff": [np.nan]}]
)
def test_outside_the_fit(bad):
    with pytest.raises(ValueError, match=rf"{next(iter(bad))} holds .* but the closed form"):
        make_white_dwarf_grid(**bad)
