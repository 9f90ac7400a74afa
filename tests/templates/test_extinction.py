import numpy as np
import pytest
from astropy import units
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from skestnet.templates._extinction import extinction


@pytest.mark.parametrize("r_v", [2.3, 3.1, 5.0])
def test_against_an_independent_implementation(r_v):
    averages = pytest.importorskip("dust_extinction.parameter_averages")
    wavelength = np.linspace(3031.0, 33332.0, 500)
    expected = averages.O94(Rv=r_v)(wavelength * units.AA) * r_v * 0.2
    assert_allclose(extinction(wavelength, 0.2, r_v), expected, rtol=1e-10)


# Cardelli et al. (1989), table 3: 1 / wavelength in micron and A / A(V) at R_V = 3.1. In the
# optical, O'Donnell's coefficients move the values a little, and x is rounded.
@pytest.mark.parametrize(
    ("x", "ratio", "rtol"),
    [
        (2.27, 1.337, 0.02), (1.82, 1.000, 1e-6), (1.43, 0.751, 0.02),
        (0.80, 0.282, 0.005), (0.63, 0.190, 0.02), (0.46, 0.114, 0.02),
    ],
)  # fmt: skip
def test_values_of_the_paper(x, ratio, rtol):
    assert_allclose(extinction(1e4 / x, 1.0) / 3.1, ratio, rtol=rtol)


@given(st.floats(3030, 33333), st.floats(0, 5), st.floats(2.0, 6.0))
@settings(deadline=None, max_examples=50, derandomize=True)
def test_proportional_to_ebv_and_positive(wavelength, ebv, r_v):
    assert_allclose(extinction(wavelength, ebv, r_v), ebv * extinction(wavelength, 1.0, r_v))
    assert extinction(wavelength, 1.0, r_v) > 0


def test_one_column_per_wavelength_and_one_row_per_star():
    ebv = np.array([[0.0], [0.1], [0.3]])
    assert extinction([4000.0, 5000.0], ebv).shape == (3, 2)


@pytest.mark.parametrize("wavelength", [[5000.0, 3000.0], 40000.0, np.nan])
def test_wavelengths_outside_the_law(wavelength):
    with pytest.raises(ValueError, match="outside 3030-33333 A"):
        extinction(wavelength, 0.1)


@pytest.mark.parametrize("r_v", [0.0, -1.0, np.nan])
def test_bad_ratio(r_v):
    with pytest.raises(ValueError, match="expected a ratio above 0"):
        extinction(5000.0, 0.1, r_v)


def test_quantities():
    expected = extinction([4000.0, 5000.0], 0.2)
    found = extinction([400.0, 500.0] * units.nm, 200 * units.mmag)
    assert not isinstance(found, units.Quantity)
    assert_allclose(found, expected, rtol=1e-12)
    assert_allclose(extinction(4000 * units.AA, 1), extinction(4000, 1))
