import numpy as np
import pytest
from astropy import units as u
from astropy.units import UnitConversionError
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.spectra._medium import air_from_vacuum, vacuum_from_air
from skestnet.spectra._wavelength import as_wavelength, in_angstrom

# Wavelengths in air and vacuum on the page "Vacuum and air wavelengths" of SDSS.
PUBLISHED = {"H-beta": (4861.363, 4862.721), "[O III]": (4958.911, 4960.295),
             "[O III] 2": (5006.843, 5008.239), "[N II]": (6548.05, 6549.86),
             "H-alpha": (6562.801, 6564.614), "[S II]": (6716.44, 6718.29)}  # fmt: skip


def edlen_1966(vacuum):
    """Return the refractive index of Edlen 1966, which differs from Ciddor's by about 1e-8."""
    square = (1e4 / vacuum) ** 2
    return 1 + 1e-8 * (8342.13 + 2406030 / (130 - square) + 15997 / (38.9 - square))


@pytest.mark.parametrize(("air", "vacuum"), PUBLISHED.values(), ids=list(PUBLISHED))
def test_published_wavelengths(air, vacuum):
    # The page rounds to 0.001 or 0.01 Angstrom.
    within = 0.003 if air in (4861.363, 4958.911, 5006.843, 6562.801) else 0.008
    assert abs(vacuum_from_air(air) - vacuum) < within
    assert abs(air_from_vacuum(vacuum) - air) < within


def test_against_another_relation():
    vacuum = np.linspace(3000, 10000, 500)
    assert_allclose(air_from_vacuum(vacuum), vacuum / edlen_1966(vacuum), rtol=3e-8)


def test_against_specutils():
    wcs_utils = pytest.importorskip("specutils.utils.wcs_utils")
    vacuum = np.linspace(3000, 10000, 50)
    theirs = wcs_utils.vac_to_air(vacuum * u.AA, method="Ciddor1996").to_value(u.AA)
    assert_allclose(air_from_vacuum(vacuum), theirs, atol=1e-4)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.floats(2001.0, 1e6))
def test_round_trip(vacuum):
    air = air_from_vacuum(vacuum)
    assert air < vacuum
    assert_allclose(vacuum_from_air(air), vacuum, rtol=1e-14)


def test_order_is_kept():
    wavelength = np.arange(1990.0, 9000.0, 0.1)
    assert (np.diff(vacuum_from_air(wavelength)) > 0).all()


def test_ultraviolet_is_unchanged():
    wavelength = np.array([[0.0, 912.0], [1215.67, 1999.99]])
    assert_array_equal(vacuum_from_air(wavelength), wavelength)
    assert_array_equal(air_from_vacuum(wavelength), wavelength)


def test_missing_wavelengths_stay_missing():
    assert np.isnan(vacuum_from_air([np.nan, 5000.0])).tolist() == [True, False]


def test_units():
    nanometre = vacuum_from_air([486.1363, 656.2801] * u.nm)
    assert nanometre.unit == u.nm
    assert_allclose(nanometre.value, vacuum_from_air([4861.363, 6562.801]) / 10, rtol=1e-14)
    with pytest.raises(UnitConversionError):
        air_from_vacuum(5e14 * u.Hz)


def test_any_spectral_unit_to_angstrom():
    assert_allclose(in_angstrom([0.4, 0.5] * u.um), [4000, 5000])
    assert_allclose(in_angstrom(2.99792458e14 * u.Hz), 1e4)
    assert in_angstrom("as it is") == "as it is"
    assert_allclose(as_wavelength([400, 500] * u.nm, "grid"), [4000, 5000])
    with pytest.raises(ValueError, match="grid must be finite and strictly increasing"):
        as_wavelength([5e14, 6e14] * u.Hz, "grid")
