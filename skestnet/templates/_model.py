"""Templates as functions of labels and, where asked for, of radial velocity."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from skestnet.spectra._wavelength import SPEED_OF_LIGHT
from skestnet.templates._interpolate import LabelInterpolator
from skestnet.templates._lines import FitPixels

FloatArray = NDArray[np.float64]


class TemplateModel(Protocol):
    """Templates at any parameters: the labels, and the velocity last where there is one.

    Attributes
    ----------
    lower, upper : ndarray of shape (n_parameters,)
        Limits of the parameters.
    """

    lower: FloatArray
    upper: FloatArray

    def contains(self, parameters: FloatArray) -> NDArray[np.bool_]:
        """Return which parameters, all within the limits, have a template."""
        ...

    def __call__(self, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return templates (n, n_pixels) and their derivatives (n, n_parameters, n_pixels)."""
        ...


class Between(NamedTuple):
    """How templates are interpolated between labels.

    Attributes
    ----------
    log_labels : sequence of int
        Positions of the labels, all positive, that are interpolated in their logarithm.
    log_flux : bool
        Whether pixels at which all templates are positive are interpolated in their logarithm.
    method : str
        What `LabelInterpolator` is told.
    """

    log_labels: Sequence[int] = ()
    log_flux: bool = False
    method: str = "auto"


def unit_scale(
    spectra: NDArray[np.floating], groups: list[slice], is_log: NDArray[np.bool_] | None = None
) -> FloatArray:
    """Divide each window of each spectrum by its root mean square: its level is free anyway.

    The level of a window of which only a part, `is_log`, is interpolated in the logarithm is not
    free: its spectra share one.
    """
    scaled = spectra.astype(np.float64)
    for group in groups:
        shared = is_log is not None and bool(is_log[group].any()) and not is_log[group].all()
        axis = None if shared else 1
        level = np.sqrt(np.mean(scaled[:, group] ** 2, axis=axis, keepdims=True))
        scaled[:, group] /= np.where(level > 0, level, 1.0)
    return scaled


class RestModel:
    """Templates interpolated between labels, at rest.

    Where labels and fluxes are interpolated in their logarithm, as a `TemplateGrid` does, the
    derivatives are still those of the flux with respect to the labels themselves.
    """

    def __init__(
        self,
        labels: FloatArray,
        templates: NDArray[np.floating],
        groups: list[slice],
        between: Between = Between(),  # noqa: B008, it cannot change
    ) -> None:
        self._log_labels = list(between.log_labels)
        self._log_pixels = np.atleast_1d((templates > 0).all(axis=0) & between.log_flux)
        values = unit_scale(templates, groups, self._log_pixels)
        np.log(values, out=values, where=self._log_pixels)
        self._interpolate = LabelInterpolator(self._scaled(labels), values, method=between.method)
        self.lower, self.upper = labels.min(axis=0), labels.max(axis=0)

    def _scaled(self, labels: FloatArray) -> FloatArray:
        """Return the labels in the coordinates of the interpolation."""
        x = labels.copy()
        x[:, self._log_labels] = np.log10(x[:, self._log_labels])
        return x

    def contains(self, parameters: FloatArray) -> NDArray[np.bool_]:
        """Return which labels lie between templates."""
        return self._interpolate.contains(self._scaled(parameters))

    def __call__(self, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the templates and their derivatives."""
        x, log = self._scaled(parameters), self._log_labels
        template = np.asarray(self._interpolate(x), np.float64)
        slopes = np.asarray(self._interpolate.jacobian(x), np.float64)
        slopes[:, log] /= np.log(10) * parameters[:, log, np.newaxis]
        np.exp(template, out=template, where=self._log_pixels)
        np.multiply(slopes, template[:, np.newaxis], out=slopes, where=self._log_pixels)
        return template, slopes


class MovingModel:
    """Templates interpolated between labels, then shifted by a radial velocity in km/s.

    A shift multiplies wavelengths by the relativistic Doppler factor, the logarithm of which is
    ``arctanh(velocity / c)``. Between pixels the templates are cubic splines in the logarithm of
    wavelength.
    """

    def __init__(
        self,
        labels: FloatArray,
        templates: NDArray[np.floating],
        wavelength: FloatArray,
        pixels: FitPixels,
        max_velocity: float,
        between: Between = Between(),  # noqa: B008, it cannot change
    ) -> None:
        x = np.log(wavelength)
        self._knots = [x[columns] for columns in pixels.reach]
        self._targets = [x[columns] for columns in pixels.inside]
        stops = np.cumsum([knots.size for knots in self._knots])
        self._groups = [slice(b - k.size, b) for b, k in zip(stops, self._knots, strict=True)]
        reached = np.concatenate([templates[:, columns] for columns in pixels.reach], axis=1)
        self._rest = RestModel(labels, reached, self._groups, between)
        # Spline slopes are linear in the values: those of the unit vectors make a matrix.
        self._slopes = [CubicSpline(knots, np.eye(knots.size))(knots, 1).T for knots in self._knots]
        self.lower = np.append(self._rest.lower, -max_velocity)
        self.upper = np.append(self._rest.upper, max_velocity)

    def contains(self, parameters: FloatArray) -> NDArray[np.bool_]:
        """Return which labels lie between templates."""
        return self._rest.contains(parameters[:, :-1])

    def __call__(self, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the shifted templates and their derivatives."""
        template, slopes = self._rest(parameters[:, :-1])
        curves = np.concatenate([template[:, np.newaxis], slopes], axis=1)
        beta = parameters[:, -1] / SPEED_OF_LIGHT
        shift = np.arctanh(beta)
        shifted = [
            hermite(curves[..., group], matrix, knots, target - shift[:, np.newaxis])
            for group, matrix, knots, target in zip(
                self._groups, self._slopes, self._knots, self._targets, strict=True
            )
        ]
        moved, tangent = (np.concatenate(parts, axis=-1) for parts in zip(*shifted, strict=True))
        by_velocity = -tangent / (SPEED_OF_LIGHT * (1 - beta**2))[:, np.newaxis]
        return moved[:, 0], np.concatenate([moved[:, 1:], by_velocity[:, np.newaxis]], axis=1)


def hermite(
    curves: FloatArray, slopes: FloatArray, knots: FloatArray, x: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Evaluate cubic splines, each row at places of its own.

    Parameters
    ----------
    curves : ndarray of shape (n, n_curves, n_knots)
        Values at the knots.
    slopes : ndarray of shape (n_knots, n_knots)
        Matrix that makes slopes at the knots of values there.
    knots : ndarray of shape (n_knots,)
        The knots.
    x : ndarray of shape (n, n_points)
        Where to evaluate.

    Returns
    -------
    values : ndarray of shape (n, n_curves, n_points)
        The splines.
    tangent : ndarray of shape (n, n_points)
        Derivative of the first curve of each row.
    """
    left = np.clip(np.searchsorted(knots, x.ravel()) - 1, 0, knots.size - 2).reshape(x.shape)
    step = knots[left + 1] - knots[left]
    u = (x - knots[left]) / step
    a, b = (np.take_along_axis(curves, (left + i)[:, np.newaxis], axis=2) for i in (0, 1))
    rates = curves @ slopes
    p, q = (np.take_along_axis(rates, (left + i)[:, np.newaxis], axis=2) for i in (0, 1))
    weights = [
        (1 + 2 * u) * (1 - u) ** 2, (3 - 2 * u) * u**2, step * u * (1 - u) ** 2,
        step * (u - 1) * u**2,
    ]  # fmt: skip
    h, i, j, k = (weight[:, np.newaxis] for weight in weights)
    values = a * h + b * i + p * j + q * k
    tangent = (
        6 * u * (1 - u) / step * (b[:, 0] - a[:, 0])
        + (1 - u) * (1 - 3 * u) * p[:, 0]
        + u * (3 * u - 2) * q[:, 0]
    )
    return values, tangent
