"""Chi-squared of templates times a free continuum, profiled over the continuum in closed form.

The model of a spectrum is ``(basis @ c) * t``: a template times polynomials. Its coefficients `c`
enter linearly, so for every template the best ones solve normal equations (variable projection,
Golub and Pereyra 1973, SIAM J. Numer. Anal. 10, 413), here for all spectra at once.
"""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from skestnet.templates._lines import FitPixels

FloatArray = NDArray[np.float64]

# A pivot this small beside its diagonal element is rounding: the term is one of the others.
_RANK_TOLERANCE = 1e-12


def half_solve(gram: FloatArray, rhs: FloatArray) -> FloatArray:
    """Return ``z`` with ``z.T @ z == rhs.T @ inv(gram) @ rhs``: ``inv(cholesky(gram)) @ rhs``.

    The matrices may be singular, as where a window has no good pixel: terms that follow from the
    earlier ones are left out. Many systems are solved at once, their indices last.

    Parameters
    ----------
    gram : ndarray of shape (n_terms, n_terms, ...)
        Symmetric, positive semi-definite matrices.
    rhs : ndarray of shape (n_terms, n_rhs, ...)
        Right-hand sides.
    """
    gram, rhs = gram.copy(), rhs.copy()
    diagonal = np.einsum("ii...->i...", gram).copy()
    for i in range(len(gram)):
        good = gram[i, i] > _RANK_TOLERANCE * diagonal[i]
        scale = np.where(good, gram[i, i], np.inf) ** -0.5
        rhs[i] *= scale
        row = gram[i, i + 1 :] * scale
        rhs[i + 1 :] -= row[:, np.newaxis] * rhs[i]
        gram[i + 1 :, i + 1 :] -= row[:, np.newaxis] * row
    return rhs


def inverse_factor(gram: FloatArray) -> FloatArray:
    """Return ``z`` with ``z.T @ z == inv(gram)`` for matrices of shape (n, n_terms, n_terms)."""
    n, n_terms = gram.shape[:2]
    identity = np.repeat(np.eye(n_terms)[:, :, np.newaxis], n, axis=2)
    return np.moveaxis(half_solve(np.moveaxis(gram, 0, -1), identity), -1, 0)


def template_gain(
    flux: FloatArray, ivar: FloatArray, templates: FloatArray, pixels: FitPixels
) -> FloatArray:
    """Return how far every template lowers chi-squared, shape (n_spectra, n_templates).

    From the ``sum(ivar * flux**2)`` of no model at all. Differences of these large numbers are good
    enough to choose where to start.
    """
    gain = np.zeros((len(flux), len(templates)))
    for group, term in zip(pixels.groups, pixels.terms, strict=True):
        terms = pixels.basis[group, term].T
        weight, template = ivar[:, group], templates[:, group].T
        gram = (weight * (terms[:, np.newaxis] * terms)[:, :, np.newaxis]) @ template**2
        moment = (weight * flux[:, group] * terms[:, np.newaxis]) @ template
        gain += np.sum(half_solve(gram, moment[:, np.newaxis]) ** 2, axis=(0, 1))
    return gain


class Profile(NamedTuple):
    """Chi-squared around some parameters, the continuum being the best for each.

    Attributes
    ----------
    chi2 : ndarray of shape (n,)
        Chi-squared.
    gradient : ndarray of shape (n, n_parameters)
        Minus half of its derivative.
    fisher : ndarray of shape (n, n_parameters, n_parameters)
        Half of its second derivative, in Gauss-Newton approximation: the Fisher information of
        the parameters after the continuum is marginalised.
    """

    chi2: FloatArray
    gradient: FloatArray
    fisher: FloatArray

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Self:
        """Return some of the rows."""
        return type(self)(*(values[rows] for values in self))

    def replace(self, rows: NDArray[np.intp], other: Self) -> None:
        """Overwrite some of the rows."""
        for values, new in zip(self, other, strict=True):
            values[rows] = new


def profile(
    flux: FloatArray,
    ivar: FloatArray,
    template: FloatArray,
    slopes: FloatArray,
    basis: FloatArray,
) -> Profile:
    """Profile chi-squared of each spectrum with a template of its own.

    Parameters
    ----------
    flux, ivar, template : ndarray of shape (n, n_pixels)
        Spectra, inverse variances (0 leaves a pixel out) and templates.
    slopes : ndarray of shape (n, n_parameters, n_pixels)
        Derivatives of the templates.
    basis : ndarray of shape (n_pixels, n_terms)
        Polynomials of the continuum.
    """
    n_terms = basis.shape[1]
    products = (basis[:, :, np.newaxis] * basis[:, np.newaxis]).reshape(len(basis), -1)
    weighted = ivar * template
    gram = ((weighted * template) @ products).reshape(-1, n_terms, n_terms)
    factor = inverse_factor(gram)
    half = factor @ ((weighted * flux) @ basis)[:, :, np.newaxis]
    continuum = (half.transpose(0, 2, 1) @ factor)[:, 0] @ basis.T
    residual = flux - continuum * template
    design = continuum[:, np.newaxis] * slopes
    weighted_design = design * ivar[:, np.newaxis]
    cross = ((weighted_design * template[:, np.newaxis]) @ basis) @ factor.transpose(0, 2, 1)
    return Profile(
        np.sum(ivar * residual**2, axis=1),
        (weighted_design @ residual[:, :, np.newaxis])[:, :, 0],
        weighted_design @ design.transpose(0, 2, 1) - cross @ cross.transpose(0, 2, 1),
    )
