"""Spectra on their own pixels brought to one grid: their fluxes and their inverse variances."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from skestnet.spectra._pixels import pixel_edges
from skestnet.spectra._resample import LEAST_COVERED, linear_matrix, overlap_matrix
from skestnet.spectra._vectors import single_precision
from skestnet.spectra._wavelength import EDGE_TOLERANCE

FloatArray = NDArray[np.float64]
Vectors = Sequence[NDArray[Any]]

_BATCH = 256  # spectra transformed at once, so that memory stays small
# Share of a grid pixel that bad pixels may have and yet not spoil it. Surveys round wavelengths to
# float32, and a grid that means the same pixels must not lose the neighbours of a bad one.
_ROUNDING = 3e-3


@dataclass(frozen=True)
class _Plan:
    """A matrix (n_out, n_in) to a grid, None where nothing changes, and what lies outside.

    Grid pixels keep what at least `least` of them has from good pixels.
    """

    matrix: csr_array | None
    outside: NDArray[np.bool_]
    least: float = 1.0

    def flux(self, flux: NDArray[Any], bad: NDArray[np.bool_]) -> FloatArray:
        """Return fluxes on the grid, NaN where too little is good."""
        bad = bad | ~np.isfinite(flux)
        moved = _apply(self.matrix, np.where(bad, 0.0, flux))
        share, lost = self._good(bad)
        return np.divide(moved, share, out=np.full(moved.shape, np.nan), where=~lost)

    def ivar(self, ivar: NDArray[Any], bad: NDArray[np.bool_]) -> FloatArray:
        """Return inverse variances on the grid, 0 where too little is good.

        Bad are at least the pixels without information, as in `Spectra`.
        """
        # In float64: with fluxes in cgs units, inverse variances are near the end of float32.
        weight = ivar.astype(np.float64)
        variance = np.divide(1.0, weight, out=np.zeros(ivar.shape), where=~bad)
        square = None if self.matrix is None else self.matrix.power(2)
        moved = _apply(square, variance)
        share, lost = self._good(bad)
        return np.divide(share**2, moved, out=np.zeros(moved.shape), where=~lost)

    def _good(self, bad: NDArray[np.bool_]) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Return the share of good pixels in each grid pixel, and where it is too small."""
        if not bad.any():
            return np.ones(self.outside.size), np.broadcast_to(self.outside, self._shape(bad))
        share = _apply(self.matrix, (~bad).astype(np.float64))
        return share, self.outside | (share < self.least - _ROUNDING)

    def strict(self) -> "_Plan":
        """Return the same plan for grid pixels that keep what they have from good ones alone."""
        return replace(self, least=1.0)

    def _shape(self, bad: NDArray[np.bool_]) -> tuple[int, int]:
        return len(bad), self.outside.size


def _apply(matrix: csr_array | None, rows: NDArray[Any]) -> NDArray[Any]:
    return rows if matrix is None else (matrix @ np.ascontiguousarray(rows.T)).T


def _linear(wavelength: FloatArray, grid: FloatArray) -> _Plan:
    low, high = wavelength[0] * (1 - EDGE_TOLERANCE), wavelength[-1] * (1 + EDGE_TOLERANCE)
    return _Plan(linear_matrix(wavelength, grid), (grid < low) | (grid > high))


def _flux_conserving(wavelength: FloatArray, grid: FloatArray) -> _Plan:
    edges = pixel_edges(wavelength)
    outside = (grid < edges[0]) | (grid > edges[-1])
    return _Plan(overlap_matrix(wavelength, grid), outside, LEAST_COVERED)


METHODS = {"linear": _linear, "flux-conserving": _flux_conserving}


def _nan(
    wavelength: FloatArray,  # noqa: ARG001
    flux: NDArray[Any],
    bad: NDArray[np.bool_],
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    return flux, bad


def _keep(
    wavelength: FloatArray,  # noqa: ARG001
    flux: NDArray[Any],
    bad: NDArray[np.bool_],
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    return flux, np.zeros_like(bad)


def _bridge(
    wavelength: FloatArray, flux: NDArray[Any], bad: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Draw a straight line over the bad pixels; those before the first good one stay bad."""
    filled = np.where(bad, np.nan, flux).astype(np.float64)
    for row, holes in zip(filled, bad, strict=True):
        if holes.any() and not holes.all():
            good = ~holes
            row[holes] = np.interp(wavelength[holes], wavelength[good], row[good], np.nan, np.nan)
    return filled, np.isnan(filled)


MASKED = {"nan": _nan, "keep": _keep, "bridge": _bridge}


def shared_runs(wavelength: Vectors) -> Iterator[slice]:
    """Yield slices of consecutive spectra that share their wavelengths, none very long."""
    start = 0
    for stop in range(1, len(wavelength) + 1):
        if (
            stop == len(wavelength)
            or stop - start == _BATCH
            or not _same(wavelength[start], wavelength[stop])
        ):
            yield slice(start, stop)
            start = stop


def _same(one: FloatArray, other: FloatArray) -> bool:
    return one is other or np.array_equal(one, other)


def _plans(wavelength: Vectors, grid: FloatArray, method: str) -> Iterator[tuple[slice, _Plan]]:
    unchanged = _Plan(None, np.zeros(grid.size, dtype=np.bool_))
    for run in shared_runs(wavelength):
        own = wavelength[run.start]
        yield run, unchanged if _same(own, grid) else METHODS[method](own, grid)


def no_information(flux: NDArray[Any], ivar: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where nothing is known: inverse variance not above zero, or a value not finite."""
    return ~(np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0))


def check_names(masked: str, method: str) -> None:
    """Refuse names that `MASKED` and `METHODS` do not know."""
    for name, value, known in (("masked", masked, MASKED), ("method", method, METHODS)):
        if value not in known:
            raise ValueError(f"{name}={value!r} is not known. Choose one of {sorted(known)}.")


def _runs(
    wavelength: Vectors, flux: Vectors, mask: Vectors, grid: FloatArray, masked: str, method: str
) -> Iterator[tuple[slice, _Plan, FloatArray, NDArray[np.bool_]]]:
    """Yield spectra that share their pixels: which, their plan, fluxes on the grid and masks."""
    check_names(masked, method)
    for run, plan in _plans(wavelength, grid, method):
        mask_run = np.stack(mask[run])
        used, bad = MASKED[masked](wavelength[run.start], np.stack(flux[run]), mask_run)
        yield run, plan, plan.flux(used, bad), mask_run


def rebin(
    wavelength: Vectors, flux: Vectors, mask: Vectors, grid: FloatArray, masked: str, method: str
) -> NDArray[np.float32]:
    """Return fluxes on the grid, shape (n_spectra, n_pixels)."""
    matrix = np.empty((len(flux), grid.size), dtype=np.float32)
    for run, _, moved, _ in _runs(wavelength, flux, mask, grid, masked, method):
        matrix[run] = moved
    return matrix


def rebin_both(
    wavelength: Vectors,
    flux: Vectors,
    ivar: Vectors,
    mask: Vectors,
    grid: FloatArray,
    masked: str,
    method: str,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return fluxes and inverse variances on the grid, shape (n_spectra, n_pixels)."""
    matrix = np.empty((len(flux), grid.size), dtype=np.float32)
    weight = np.empty_like(matrix)
    for run, plan, moved, bad in _runs(wavelength, flux, mask, grid, masked, method):
        matrix[run] = moved
        # Fluxes that bad pixels went into have no known error.
        known = plan if masked == "nan" else plan.strict()
        with single_precision("ivar on the grid"):
            weight[run] = np.where(np.isnan(moved), 0.0, known.ivar(np.stack(ivar[run]), bad))
    return matrix, weight
