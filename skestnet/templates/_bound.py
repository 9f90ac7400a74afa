"""The smallest errors that noise allows: the bound of Cramer and Rao for template spectra."""

from collections.abc import Callable, Iterable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.polynomial.legendre import legvander
from numpy.typing import ArrayLike, NDArray

from skestnet.spectra._wavelength import SPEED_OF_LIGHT
from skestnet.templates._extinction import extinction
from skestnet.templates._grid import TemplateGrid
from skestnet.templates._interpolate import row_blocks

FloatArray = NDArray[np.float64]
Nuisance = str | tuple[str, int] | ArrayLike | Callable[[FloatArray], ArrayLike]

# Singular values below this many roundings of the fluxes, relative to the largest, are zeros.
_ROUNDINGS = 100
# Share of a label in a direction that the spectrum does not see, above which it is unknown.
_UNSEEN = 1e-6


def cramer_rao_bound(
    grid: TemplateGrid,
    labels: ArrayLike,
    sigma: ArrayLike,
    nuisances: Iterable[Nuisance] = ("scale",),
    *,
    return_cov: bool = False,
) -> FloatArray:
    r"""Smallest standard deviation of any unbiased estimate of the labels of a spectrum.

    With :math:`J` the derivatives of the model flux with respect to labels and nuisance
    parameters, and independent normal noise of standard deviation :math:`\sigma`, the Fisher
    information is :math:`F = J^T \mathrm{diag}(\sigma^{-2}) J`, and no unbiased estimator has a
    smaller covariance than :math:`F^{-1}`. Nuisances are unknowns of the observation, not of the
    star: each can only raise the bound.

    Parameters
    ----------
    grid : TemplateGrid
        Templates at the pixels and the resolution of the spectra, see `TemplateGrid.observe`.
    labels : array-like of shape (n, n_labels) or (n_labels,)
        True labels of the spectra, inside the grid.
    sigma : float or array-like of shape (n_pixels,) or (n, n_pixels)
        Standard deviation of the noise in the unit of ``grid.flux``; infinite where a pixel is not
        used. Such as ``flux / 20`` for a signal-to-noise ratio of 20 per pixel.
    nuisances : iterable, default=("scale",)
        What else is unknown about each spectrum, any of

        - "scale": one factor;
        - ("continuum", degree): a factor that is a polynomial of that degree in wavelength, which
          includes the scale;
        - "velocity": a radial velocity;
        - "reddening": the colour excess E(B-V), by `extinction`;
        - an array of shape (n_pixels,) or (n_shapes, n_pixels), or a function of the wavelengths
          that returns one: factors of the flux, such as ``1 + a * shape`` with `a` unknown.

    return_cov : bool, default=False
        Whether to return covariances instead of standard deviations.

    Returns
    -------
    ndarray of shape (n, n_labels) or (n, n_labels, n_labels)
        Standard deviations in the units of the labels, infinite where the spectrum does not
        determine the label; or the covariances of the labels, where an undetermined label has an
        infinite variance and NaN covariances.

    Raises
    ------
    ValueError
        If labels are outside the grid, `sigma` is not positive or has another shape, or a nuisance
        is not known.

    References
    ----------
    .. [1] Rao, "Information and the accuracy attainable in the estimation of statistical
       parameters", Bull. Calcutta Math. Soc. 37, 81 (1945).
    .. [2] Cramer, "Mathematical Methods of Statistics", Princeton University Press (1946), ch. 32.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.templates import TemplateGrid, cramer_rao_bound
    >>> depth = np.array([0.1, 0.2, 0.3, 0.4])
    >>> wavelength = np.linspace(4800, 4900, 101)
    >>> line = np.exp(-0.5 * ((wavelength - 4862) / 5) ** 2)
    >>> grid = TemplateGrid(wavelength, np.exp(-depth[:, np.newaxis] * line), {"depth": depth})
    >>> cramer_rao_bound(grid, [[0.25]], 0.01, nuisances=())
    array([[0.00410...]])
    >>> cramer_rao_bound(grid, [[0.25]], 0.01, ["scale"])
    array([[0.00442...]])
    """
    shapes, velocity = _parsed(nuisances, grid.wavelength)
    rows = np.atleast_2d(np.asarray(labels, dtype=np.float64))
    noise = _noise(sigma, (len(rows), grid.wavelength.size))
    n_labels, rounding = rows.shape[1], float(np.finfo(grid.flux.dtype).eps)
    cov = np.empty((len(rows), n_labels, n_labels))
    for block in row_blocks(len(rows), (n_labels + len(shapes) + velocity) * noise.shape[1]):
        columns = _derivatives(grid, rows[block], shapes, velocity) / noise[block, np.newaxis]
        cov[block] = _covariance(columns, n_labels, rounding)
    return cov if return_cov else np.sqrt(np.diagonal(cov, axis1=1, axis2=2))


def _noise(sigma: ArrayLike, shape: tuple[int, int]) -> FloatArray:
    """Return the noise of every pixel of every spectrum."""
    noise = np.asarray(sigma, dtype=np.float64)
    if noise.shape not in ((), shape[1:], shape):
        raise ValueError(
            f"sigma has shape {noise.shape}, but one number, {shape[1:]} or {shape} is needed: the "
            "noise of every pixel, of all spectra or of each."
        )
    if not (noise > 0).all():
        raise ValueError(
            "sigma must be above 0, and is not everywhere. Pass np.inf for pixels not to be used."
        )
    return np.broadcast_to(noise, shape)


def _parsed(nuisances: Iterable[Nuisance], wavelength: FloatArray) -> tuple[FloatArray, bool]:
    """Return the relative changes of the flux, (n_shapes, n_pixels), and if velocity is unknown."""
    chosen = [nuisances] if isinstance(nuisances, str) else list(nuisances)
    if len(chosen) == 2 and chosen[0] == "continuum" and isinstance(chosen[1], Integral):
        chosen = [("continuum", int(chosen[1]))]  # a single pair, not in a list
    fixed = [one for one in chosen if not (isinstance(one, str) and one == "velocity")]
    shapes = [_shapes(one, wavelength) for one in fixed]
    return np.concatenate([np.empty((0, wavelength.size)), *shapes]), len(fixed) < len(chosen)


def _shapes(nuisance: Nuisance, wavelength: FloatArray) -> FloatArray:
    """Return the relative changes of the flux by one nuisance."""
    if isinstance(nuisance, str):
        return _named(nuisance, wavelength)[np.newaxis]
    if isinstance(nuisance, tuple) and nuisance and isinstance(nuisance[0], str):
        return _polynomials(nuisance, wavelength)
    found = nuisance(wavelength) if callable(nuisance) else nuisance
    shapes = np.atleast_2d(np.asarray(found, dtype=np.float64))
    if shapes.ndim != 2 or shapes.shape[1] != wavelength.size or not np.isfinite(shapes).all():
        raise ValueError(
            f"A nuisance has shape {shapes.shape}, but finite values of shape "
            f"(n_shapes, {wavelength.size}) are needed, one column per wavelength."
        )
    return shapes


def _named(name: str, wavelength: FloatArray) -> FloatArray:
    if name == "scale":
        return np.ones(wavelength.size)
    if name == "reddening":
        return -0.4 * np.log(10) * extinction(wavelength, 1.0)
    raise ValueError(
        f"The nuisance {name!r} is not known. Choose among 'scale', ('continuum', degree), "
        "'velocity', 'reddening', an array and a function."
    )


def _polynomials(nuisance: tuple[Any, ...], wavelength: FloatArray) -> FloatArray:
    """Return Legendre polynomials, which are far from parallel to each other."""
    name, *rest = nuisance
    if name != "continuum" or len(rest) != 1 or not isinstance(rest[0], Integral) or rest[0] < 0:
        raise ValueError(
            f"The nuisance {nuisance!r} is not known. Try ('continuum', degree), with a degree of "
            "at least 0."
        )
    span = max(np.ptp(wavelength), np.finfo(np.float64).tiny)
    return legvander(2 * (wavelength - wavelength[0]) / span - 1, int(rest[0])).T


def _derivatives(
    grid: TemplateGrid, labels: FloatArray, shapes: FloatArray, velocity: bool
) -> FloatArray:
    """Return derivatives of the flux by labels and nuisances, (n, n_unknowns, n_pixels)."""
    flux = grid.interpolate(labels).astype(np.float64)[:, np.newaxis]
    parts = [grid.jacobian(labels), flux * shapes]
    if velocity:
        parts.append(_by_velocity(flux, grid.wavelength))
    return np.concatenate(parts, axis=1)


def _by_velocity(flux: FloatArray, wavelength: FloatArray) -> FloatArray:
    """Return the derivative by the radial velocity in km/s: light moves to the red."""
    if wavelength.size < 2:
        raise ValueError("The nuisance 'velocity' needs two pixels or more.")
    return -wavelength / SPEED_OF_LIGHT * np.gradient(flux, wavelength, axis=-1)


def _covariance(columns: FloatArray, n_labels: int, rounding: float) -> FloatArray:
    """Return the inverse Fisher information of the labels, of columns (n, n_unknowns, n_pixels).

    The singular values are those of the triangle of a QR decomposition, so that the Fisher matrix,
    in which they are squared, is never formed.
    """
    norm = np.linalg.norm(columns, axis=2)
    norm[norm == 0] = 1.0
    missing = max(0, columns.shape[1] - columns.shape[2])
    tall = np.pad(columns / norm[:, :, np.newaxis], ((0, 0), (0, 0), (0, missing)))
    _, size, axes = np.linalg.svd(np.linalg.qr(tall.swapaxes(1, 2), mode="r"))
    unseen = size <= _ROUNDINGS * rounding * size[:, :1]
    axes = axes[:, :, :n_labels]
    unknown = np.einsum("nij,ni->nj", axes**2, unseen) > _UNSEEN
    known = axes / np.where(unseen, np.inf, size)[:, :, np.newaxis] / norm[:, np.newaxis, :n_labels]
    cov = np.einsum("nki,nkj->nij", known, known)
    cov[unknown[:, :, np.newaxis] | unknown[:, np.newaxis]] = np.nan
    rows, label = np.nonzero(unknown)
    cov[rows, label, label] = np.inf
    return cov
