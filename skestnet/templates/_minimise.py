"""Levenberg-Marquardt minimisation of many small problems at once, within limits.

Marquardt 1963, J. Soc. Indust. Appl. Math. 11, 431. Parameters at a limit that chi-squared pushes
outwards are held there, and the others are fitted.
"""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from skestnet.templates._chi2 import Profile, half_solve, inverse_factor, profile
from skestnet.templates._model import TemplateModel

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_FIRST_DAMPING = 1e-3
_DAMPING_LIMITS = (1e-9, 1e9)
_DAMPING_FACTORS = (0.1, 10.0)  # of one step
# Decreases of chi-squared below this share of that of no model are rounding.
_ROUNDING = 1e-14


class Minimum(NamedTuple):
    """Where the fits ended.

    Attributes
    ----------
    parameters : ndarray of shape (n, n_parameters)
        Best parameters found.
    profile : Profile
        Chi-squared and its derivatives there.
    converged : ndarray of bool of shape (n,)
        Whether a further step would be negligible.
    limited : ndarray of bool of shape (n,)
        Whether chi-squared falls beyond a limit.
    """

    parameters: FloatArray
    profile: Profile
    converged: BoolArray
    limited: BoolArray

    def take(self, rows: NDArray[np.intp]) -> Self:
        """Return some of the fits."""
        return type(self)(
            self.parameters[rows], self.profile.take(rows), self.converged[rows], self.limited[rows]
        )


class Target(NamedTuple):
    """Spectra to be fitted, one for each start.

    Attributes
    ----------
    flux, ivar : ndarray of shape (n, n_pixels)
        Fluxes, and inverse variances with 0 where a pixel is left out.
    dof : ndarray of shape (n,)
        Degrees of freedom, at least 1.
    size : ndarray of shape (n,)
        Chi-squared of no model at all.
    """

    flux: FloatArray
    ivar: FloatArray
    dof: FloatArray
    size: FloatArray

    def take(self, rows: NDArray[np.intp]) -> Self:
        """Return some of the spectra."""
        return type(self)(*(values[rows] for values in self))


def minimise(
    model: TemplateModel,
    target: Target,
    basis: FloatArray,
    start: FloatArray,
    *,
    max_steps: int,
    tol: float,
) -> Minimum:
    """Minimise the profiled chi-squared of every spectrum from its own start."""
    parameters, damping = start.copy(), np.full(len(start), _FIRST_DAMPING)
    state = _evaluate(model, target, basis, parameters)
    active = np.arange(len(start))
    for _ in range(max_steps):
        held = _held(parameters[active], state.gradient[active], model)
        going = _decrement(state.take(active), held) > _goal(state, target, tol)[active]
        active = active[going & (damping[active] < _DAMPING_LIMITS[1])]
        if not active.size:
            break
        _advance(model, target, basis, parameters, state, damping, active)
    goal = _goal(state, target, tol)
    held = _held(parameters, state.gradient, model)
    fixed = np.broadcast_to(model.lower == model.upper, held.shape)
    converged = _decrement(state, held) <= goal
    limited = (held & ~fixed).any(axis=1) & (_decrement(state, fixed) > goal)
    return Minimum(parameters, state, converged, limited)


def _goal(state: Profile, target: Target, tol: float) -> FloatArray:
    """Return the decrease of chi-squared that a step of `tol` standard errors brings."""
    return tol**2 * state.chi2 / target.dof + _ROUNDING * target.size


def _advance(
    model: TemplateModel,
    target: Target,
    basis: FloatArray,
    parameters: FloatArray,
    state: Profile,
    damping: FloatArray,
    active: NDArray[np.intp],
) -> None:
    """Take one step, in place, where it lowers chi-squared; change the damping everywhere."""
    now, here = state.take(active), parameters[active]
    step = _step(now, _held(here, now.gradient, model), damping[active])
    trial = np.clip(here + step, model.lower, model.upper)
    inside = model.contains(trial)
    trial[~inside] = here[~inside]
    after = _evaluate(model, target.take(active), basis, trial)
    better = inside & (after.chi2 < now.chi2)
    parameters[active[better]] = trial[better]
    state.replace(active[better], after.take(better))
    factor = _damping_factor(now, after.chi2, trial - here)
    factor = np.where(inside, factor, _DAMPING_FACTORS[1])
    damping[active] = np.clip(damping[active] * factor, *_DAMPING_LIMITS)


def _damping_factor(now: Profile, chi2: FloatArray, step: FloatArray) -> FloatArray:
    """Compare the decrease of chi-squared with that of a quadratic, by Nielsen's formula.

    It settles on the damping that fits the curvature, where plain factors would alternate between
    too short steps and refused ones (near the strongest Balmer lines the models bend a lot).
    """
    bend = (now.fisher @ step[:, :, np.newaxis])[:, :, 0]
    expected = np.sum(step * (2 * now.gradient - bend), axis=1)
    gain = (now.chi2 - chi2) / np.where(expected > 0, expected, np.inf)
    return np.clip(1 - (2 * gain - 1) ** 3, *_DAMPING_FACTORS)


def _evaluate(
    model: TemplateModel, target: Target, basis: FloatArray, parameters: FloatArray
) -> Profile:
    return profile(target.flux, target.ivar, *model(parameters), basis)


def _held(parameters: FloatArray, gradient: FloatArray, model: TemplateModel) -> BoolArray:
    below = (parameters <= model.lower) & (gradient <= 0)
    return below | ((parameters >= model.upper) & (gradient >= 0))


def _unit(state: Profile, held: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return scaled Fisher matrices of diagonal 1, scaled gradients and the scales.

    Rows and columns of held parameters are those of the identity.
    """
    diagonal = np.einsum("nii->ni", state.fisher)
    free = ~held & (diagonal > 0)
    scale = np.where(free, diagonal, 1.0) ** -0.5
    unit = state.fisher * scale[:, :, np.newaxis] * scale[:, np.newaxis]
    unit = np.where(free[:, :, np.newaxis] & free[:, np.newaxis], unit, np.eye(free.shape[1]))
    return unit, np.where(free, state.gradient * scale, 0.0), scale


def _step(state: Profile, held: BoolArray, damping: FloatArray) -> FloatArray:
    unit, gradient, scale = _unit(state, held)
    unit = unit + damping[:, np.newaxis, np.newaxis] * np.eye(unit.shape[1])
    return np.linalg.solve(unit, gradient[:, :, np.newaxis])[:, :, 0] * scale


def _decrement(state: Profile, held: BoolArray) -> FloatArray:
    """Return by how much chi-squared would fall if it were quadratic."""
    unit, gradient, _ = _unit(state, held)
    half = half_solve(np.moveaxis(unit, 0, -1), gradient.T[:, np.newaxis])
    return np.sum(half**2, axis=(0, 1))


def covariance(fisher: FloatArray, known: BoolArray) -> FloatArray:
    """Invert Fisher matrices; zero for `known` parameters, infinite if they cannot all be told."""
    diagonal = np.einsum("nii->ni", fisher)
    scale = np.where(known | (diagonal <= 0), 1.0, np.abs(diagonal)) ** -0.5
    pair = scale[:, :, np.newaxis] * scale[:, np.newaxis]
    unit = np.where(known | known[:, np.newaxis], np.diag(known), fisher * pair)
    factor = inverse_factor(unit)
    result = factor.transpose(0, 2, 1) @ factor * pair
    result[(np.einsum("nii->ni", factor) <= 0).any(axis=1)] = np.inf
    return np.where(known | known[:, np.newaxis], 0.0, result)
