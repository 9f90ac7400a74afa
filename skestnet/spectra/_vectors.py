"""Tuples of arrays, one per spectrum: made, checked, converted and selected."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray


def as_vectors(rows: Iterable[ArrayLike], dtype: DTypeLike, name: str) -> tuple[NDArray[Any], ...]:
    """Return every row as an array of native byte order."""
    with single_precision(name):
        return tuple(np.asarray(row, dtype=dtype) for row in rows)


@contextmanager
def single_precision(name: str) -> Iterator[None]:
    """Raise a ValueError where numbers called `name` overflow."""
    try:
        with np.errstate(over="raise"):
            yield
    except FloatingPointError:
        raise ValueError(
            f"{name} exceeds the largest float32, 3.4e38. Try fluxes in a smaller unit, such as "
            "1e-17 erg/s/cm2/A: inverse variances go with its square."
        ) from None


def check_pixels(
    wavelength: Sequence[NDArray[np.float64]], **arrays: Sequence[NDArray[Any]]
) -> None:
    """Refuse arrays that do not have one value for every wavelength."""
    sizes = [row.size for row in wavelength]
    for name, rows in arrays.items():
        found = [row.size for row in rows]
        if len(found) != len(sizes):
            raise ValueError(
                f"{name} has {len(found)} rows, but wavelength has {len(sizes)}: one row per "
                "spectrum is needed."
            )
        if found != sizes:
            row = next(i for i, size in enumerate(sizes) if size != found[i])
            raise ValueError(
                f"{name} of spectrum {row} has {found[row]} pixels, but its wavelength has "
                f"{sizes[row]}: every spectrum needs one value per wavelength."
            )


def once_each(
    convert: Callable[..., NDArray[Any]], rows: Iterable[Any], *arguments: Iterable[Any]
) -> tuple[NDArray[Any], ...]:
    """Convert every row, but the same array with the same arguments only once."""
    calls = list(zip(rows, *arguments, strict=True))
    keys = [(id(row), *rest) for row, *rest in calls]
    done = {key: convert(*call) for key, call in dict(zip(keys, calls, strict=True)).items()}
    return tuple(done[key] for key in keys)


def row_numbers(index: int | slice | ArrayLike, n_spectra: int) -> NDArray[np.intp]:
    """Return the row numbers an index selects, always as a vector."""
    if not isinstance(index, slice) and np.asarray(index).size == 0:
        index = slice(0)
    return np.atleast_1d(np.arange(n_spectra)[index])  # type: ignore[index]
