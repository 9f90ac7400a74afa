import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.templates._chi2 import half_solve, inverse_factor, profile, template_gain
from skestnet.templates._lines import FitPixels, Window


@pytest.fixture
def problem():
    """Noisy spectra with some pixels left out, templates, and a continuum in two windows."""
    rng = np.random.default_rng(3)
    wavelength = np.linspace(4000, 4100, 60)
    windows = [Window("a", 4000, 4040), Window("b", 4050, 4100)]
    pixels = FitPixels.of(wavelength, windows, degree=1)
    n_pixels = len(pixels.basis)
    ivar = rng.uniform(0.5, 2, (4, n_pixels)) * (rng.uniform(size=(4, n_pixels)) > 0.1)
    return pixels, rng.normal(2, 1, (4, n_pixels)), ivar, rng.uniform(1, 2, (5, n_pixels))


def dense_fit(flux, ivar, design):
    """Weighted linear least squares of one spectrum: chi-squared and the residuals."""
    root = np.sqrt(ivar)
    found = np.linalg.lstsq(root[:, None] * design, root * flux, rcond=None)[0]
    residual = flux - design @ found
    return np.sum(ivar * residual**2), residual, found


def test_half_solve_against_inverses():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 4, 4))
    gram, rhs = root @ root.transpose(0, 2, 1), rng.normal(size=(6, 4, 2))
    half = np.moveaxis(half_solve(np.moveaxis(gram, 0, -1), np.moveaxis(rhs, 0, -1)), -1, 0)
    expected = rhs.transpose(0, 2, 1) @ np.linalg.inv(gram) @ rhs
    assert_allclose(half.transpose(0, 2, 1) @ half, expected, rtol=1e-8)
    factor = inverse_factor(gram)
    assert_allclose(factor.transpose(0, 2, 1) @ factor, np.linalg.inv(gram), rtol=1e-8)


def test_half_solve_of_singular_matrices():
    rng = np.random.default_rng(1)
    design = rng.normal(size=(20, 2))
    design = np.column_stack([design, design @ [1.0, 2.0], np.zeros(20)])
    values = rng.normal(size=20)
    half = half_solve(design.T @ design, (design.T @ values)[:, None])
    explained = values - dense_fit(values, np.ones(20), design)[1]
    assert_allclose(half.ravel() @ half.ravel(), explained @ explained, rtol=1e-12)
    assert_array_equal(half[2:], 0)


def test_gain_against_a_fit_of_every_template(problem):
    pixels, flux, ivar, templates = problem
    gain = template_gain(flux, ivar, templates, pixels)
    for i in range(len(flux)):
        for j in range(len(templates)):
            chi2, *_ = dense_fit(flux[i], ivar[i], templates[j][:, None] * pixels.basis)
            assert_allclose(np.sum(ivar[i] * flux[i] ** 2) - gain[i, j], chi2, rtol=1e-10)


def test_a_window_without_good_pixels_gains_nothing(problem):
    pixels, flux, ivar, templates = problem
    ivar[:, pixels.groups[0]] = 0
    gain = template_gain(flux, ivar, templates, pixels)
    flux[:, pixels.groups[0]] += 100
    assert_array_equal(template_gain(flux, ivar, templates, pixels), gain)


def test_profile_against_the_joint_fit(problem):
    pixels, flux, ivar, templates = problem
    slopes = np.random.default_rng(4).normal(size=(4, 3, len(pixels.basis)))
    ivar[0, pixels.groups[0]] = 0
    found = profile(flux, ivar, templates[:4], slopes, pixels.basis)
    for i in range(4):
        design = templates[i][:, None] * pixels.basis
        chi2, residual, coefficients = dense_fit(flux[i], ivar[i], design)
        joint = np.column_stack([slopes[i].T * (pixels.basis @ coefficients)[:, None], design])
        information = joint.T @ (ivar[i][:, None] * joint)
        assert_allclose(found.chi2[i], chi2, rtol=1e-10)
        assert_allclose(found.gradient[i], joint[:, :3].T @ (ivar[i] * residual), atol=1e-8)
        covariance = np.linalg.pinv(information, rcond=1e-12)[:3, :3]
        assert_allclose(np.linalg.inv(found.fisher[i]), covariance, rtol=1e-6)


def test_gradient_is_the_derivative_of_the_profile(problem):
    pixels, flux, ivar, templates = problem
    slope = np.random.default_rng(5).normal(size=(4, 1, len(pixels.basis)))

    def chi2(step):
        shifted = templates[:4] + step * slope[:, 0]
        return profile(flux, ivar, shifted, slope, pixels.basis)

    difference = (chi2(1e-5).chi2 - chi2(-1e-5).chi2) / 2e-5
    assert_allclose(-2 * chi2(0.0).gradient[:, 0], difference, rtol=1e-6)
