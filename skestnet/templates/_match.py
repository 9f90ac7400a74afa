"""Fits of spectra by templates: from chi-squared of every template to labels with errors."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from skestnet.templates._chi2 import template_gain
from skestnet.templates._lines import FitPixels
from skestnet.templates._minimise import Minimum, Target, covariance, minimise
from skestnet.templates._model import Between, MovingModel, RestModel, TemplateModel
from skestnet.templates._starts import best_minima, neighbours, starting_points

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_N_STARTS = 3
_START_ROWS = 256
# Largest number of elements of an array, so that a block of spectra stays below a few 100 MB.
_MAX_ELEMENTS = 2**20


@dataclass(frozen=True, eq=False)
class TemplateFit:
    """What the fits of some spectra found.

    Attributes
    ----------
    labels : ndarray of shape (n_spectra, n_labels)
        Best labels.
    covariance : ndarray of shape (n_spectra, n_labels, n_labels)
        Covariance of their errors; infinite where a spectrum does not determine the labels.
    velocity : ndarray of shape (n_spectra,)
        Radial velocity in km/s, zero where none was fitted.
    velocity_std : ndarray of shape (n_spectra,)
        Its standard error, zero where none was fitted.
    chi2 : ndarray of shape (n_spectra,)
        Chi-squared; where the noise was unknown the sum of squared residuals.
    dof : ndarray of shape (n_spectra,)
        Degrees of freedom: good pixels less parameters, at least 1.
    converged : ndarray of bool of shape (n_spectra,)
        Whether a further step would be negligible and the errors are finite. Not where the search
        ran against the edge of templates whose labels do not fill a rectangle.
    at_limit : ndarray of bool of shape (n_spectra,)
        Whether a label or the velocity is at its limit and chi-squared falls beyond.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.templates import TemplateFitRegressor
    >>> pixel, depth = np.arange(40.0), np.linspace(0.1, 0.9, 9)
    >>> def line(depth):
    ...     return 1 - depth * np.exp(-0.5 * ((pixel - 20) / 4) ** 2)
    >>> found = TemplateFitRegressor().fit(line(depth[:, np.newaxis]), depth).measure([line(0.33)])
    >>> found.labels.round(2), found.converged, found.dof
    (array([[0.33]]), array([ True]), array([37.]))
    """

    labels: FloatArray
    covariance: FloatArray
    velocity: FloatArray
    velocity_std: FloatArray
    chi2: FloatArray
    dof: FloatArray
    converged: BoolArray
    at_limit: BoolArray

    @property
    def std(self) -> FloatArray:
        """Standard errors of the labels, shape (n_spectra, n_labels)."""
        return np.sqrt(np.einsum("nii->ni", self.covariance))


class TemplateMatcher:
    """Templates ready to be fitted to the pixels of the windows.

    Parameters
    ----------
    labels : ndarray of shape (n_templates, n_labels)
        Labels of the templates.
    templates : ndarray of shape (n_templates, n_pixels)
        Templates at all pixels.
    wavelength : ndarray of shape (n_pixels,)
        Wavelengths, in Angstrom.
    pixels : FitPixels
        The windows.
    max_velocity : float
        Largest velocity in km/s; 0 fits none.
    between : Between
        How templates are interpolated.
    """

    def __init__(
        self,
        labels: FloatArray,
        templates: NDArray[np.floating],
        wavelength: FloatArray,
        pixels: FitPixels,
        max_velocity: float,
        between: Between,
    ) -> None:
        self._pixels, self._n_labels = pixels, labels.shape[1]
        self._model: TemplateModel = (
            MovingModel(labels, templates, wavelength, pixels, max_velocity, between)
            if max_velocity > 0
            else RestModel(labels, pixels.select(templates), pixels.groups, between)
        )
        self._starts = starting_points(labels, max_velocity)
        self._around = neighbours(self._starts)
        blocks = gen_batches(len(self._starts), _START_ROWS)
        self._templates = np.concatenate([self._model(self._starts[rows])[0] for rows in blocks])

    def fit(
        self,
        flux: NDArray[np.floating],
        weight: NDArray[Any],
        good: BoolArray,
        *,
        max_steps: int,
        tol: float,
    ) -> TemplateFit:
        """Fit the good pixels of the windows, all arrays (n_spectra, n_pixels).

        Weights are inverse variances, or booleans where the noise is unknown.
        """
        parts = []
        for rows in gen_batches(len(flux), self._rows_at_once()):
            target = self._target(flux[rows], weight[rows], good[rows])
            best = self._best(target, max_steps, tol)
            parts.append(self._result(best, target.dof, known_noise=weight.dtype != bool))
        fields = zip(*(vars(part).values() for part in parts), strict=True)
        return TemplateFit(*(np.concatenate(values) for values in fields))

    def _rows_at_once(self) -> int:
        n_terms = max(term.stop - term.start for term in self._pixels.terms)
        comparing = len(self._starts) * n_terms**2
        stepping = _N_STARTS * self._model.lower.size * len(self._pixels.basis)
        return max(1, _MAX_ELEMENTS // max(comparing, stepping))

    def _target(self, flux: NDArray[np.floating], weight: NDArray[Any], good: BoolArray) -> Target:
        filled = np.where(good, flux, 0.0).astype(np.float64)
        ivar = np.where(good, weight, 0.0).astype(np.float64)
        return Target(filled, ivar, self._dof(good), np.sum(ivar * filled**2, axis=1))

    def _dof(self, good: BoolArray) -> FloatArray:
        """Return good pixels less parameters; a window has no more terms than good pixels."""
        count = np.stack([good[:, group].sum(axis=1) for group in self._pixels.groups])
        n_terms = np.array([term.stop - term.start for term in self._pixels.terms])
        spare = np.maximum(count - n_terms[:, np.newaxis], 0).sum(axis=0)
        return np.maximum(spare - self._model.lower.size, 1).astype(np.float64)

    def _best(self, target: Target, max_steps: int, tol: float) -> Minimum:
        """Search from the best templates of every spectrum, and keep the lowest minimum."""
        gain = template_gain(target.flux, target.ivar, self._templates, self._pixels)
        chi2 = target.size[:, np.newaxis] - gain
        spectrum, best = best_minima(chi2, self._around, _N_STARTS)
        ends = minimise(
            self._model,
            target.take(spectrum),
            self._pixels.basis,
            self._starts[best],
            max_steps=max_steps,
            tol=tol,
        )
        order = np.lexsort((ends.profile.chi2, spectrum))
        first = np.unique(spectrum[order], return_index=True)[1]
        return ends.take(order[first])

    def _result(self, best: Minimum, dof: FloatArray, *, known_noise: bool) -> TemplateFit:
        n_labels = self._n_labels
        fixed = self._model.lower == self._model.upper
        covariances = covariance(best.profile.fisher, fixed)
        determined = np.isfinite(covariances).all(axis=(1, 2))
        if not known_noise:
            covariances[determined] *= (best.profile.chi2 / dof)[determined, np.newaxis, np.newaxis]
        moving = np.zeros((len(dof), 2))
        if len(fixed) > n_labels:
            moving[:, 0] = best.parameters[:, -1]
            moving[:, 1] = np.sqrt(covariances[:, -1, -1])
        return TemplateFit(
            best.parameters[:, :n_labels], covariances[:, :n_labels, :n_labels],
            moving[:, 0], moving[:, 1], best.profile.chi2, dof,
            best.converged & determined,
            best.limited,
        )  # fmt: skip
