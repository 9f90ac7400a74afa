"""Labels at which to simulate spectra."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from skestnet.templates._draws import check_range
from skestnet.templates._grid import TemplateGrid

FloatArray = NDArray[np.float64]
LabelFunction: TypeAlias = Callable[[Generator, int], ArrayLike]
LabelDraw: TypeAlias = Mapping[str, tuple[float, float] | float] | LabelFunction | ArrayLike | None

_MOST_ROUNDS = 200  # of drawing again what the grid does not contain


def draw_labels(grid: TemplateGrid, labels: LabelDraw, rng: Generator, n: int) -> FloatArray:
    """Return labels of shape (n, n_labels) that the grid contains."""
    if callable(labels):
        return _draw_inside(grid, labels, rng, n)
    if labels is None or isinstance(labels, Mapping):
        return _draw_inside(grid, _uniform(grid, labels or {}), rng, n)
    return _given(grid, labels, n)


def _given(grid: TemplateGrid, labels: ArrayLike, n: int) -> FloatArray:
    values = _shaped(grid, labels, n)
    outside = np.flatnonzero(~grid.contains(values))
    if outside.size:
        raise ValueError(
            f"labels has {values[outside[0]]} in row {outside[0]}, and {outside.size} such rows in "
            f"all, where the grid has no spectrum. Its limits are {grid.limits}."
        )
    return values


def _draw_inside(grid: TemplateGrid, function: LabelFunction, rng: Generator, n: int) -> FloatArray:
    """Draw again, until the grid contains all."""
    values = _shaped(grid, function(rng, n), n)
    for _ in range(_MOST_ROUNDS):
        outside = np.flatnonzero(~grid.contains(values))
        if not outside.size:
            return values
        values[outside] = _shaped(grid, function(rng, outside.size), outside.size)
    raise ValueError(
        f"labels were drawn {_MOST_ROUNDS} times, and the grid still has no spectrum for "
        f"{outside.size} of {n}, such as {values[outside[0]]}. Its limits are {grid.limits}."
    )


def _shaped(grid: TemplateGrid, labels: ArrayLike, n: int) -> FloatArray:
    values = np.array(labels, dtype=np.float64)
    if values.shape != (n, len(grid.label_names)):
        raise ValueError(
            f"labels has shape {values.shape}, but {n} spectra need {(n, len(grid.label_names))}: "
            f"one column for each of {grid.label_names}."
        )
    return values


def _uniform(
    grid: TemplateGrid, ranges: Mapping[str, tuple[float, float] | float]
) -> LabelFunction:
    """Return a function that draws uniformly, in the logarithm for the labels the grid says."""
    unknown = sorted(set(ranges) - set(grid.label_names))
    if unknown:
        raise ValueError(f"labels has {unknown}, but those of the grid are {grid.label_names}.")
    low, high = np.array([_limits(grid, name, ranges) for name in grid.label_names]).T
    is_log = np.isin(grid.label_names, grid.log_labels)

    def function(rng: Generator, n: int) -> FloatArray:
        share = rng.random((n, low.size))
        values = low + share * (high - low)
        values[:, is_log] = low[is_log] * (high[is_log] / low[is_log]) ** share[:, is_log]
        return np.clip(values, low, high)

    return function


def _limits(
    grid: TemplateGrid, name: str, ranges: Mapping[str, tuple[float, float] | float]
) -> tuple[float, float]:
    """Return the range in which to draw a label."""
    first, last = grid.limits[name]
    given = ranges.get(name, (first, last))
    low, high = check_range(name, (given, given) if np.ndim(given) == 0 else given)
    if low < first or high > last:
        raise ValueError(
            f"labels has {name}={given!r}, which is not within {first:g}-{last:g}, the limits of "
            "the grid. Try a narrower range."
        )
    return low, high
