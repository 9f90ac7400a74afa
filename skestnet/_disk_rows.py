"""Matrices that NumPy does not hold, such as arrays of Zarr and HDF5: rows are read when needed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Values looked at together where all of them are.
BLOCK = 2**24


class DiskRows:
    """Rows of an array on disk, as float32.

    Parameters
    ----------
    array : array-like of shape (n_rows, n_columns)
        An array of numbers that is indexed like one of NumPy: by slices, and by ascending row
        numbers.

    Raises
    ------
    ValueError
        If it has not two dimensions, or holds no real numbers.
    """

    def __init__(self, array: Any) -> None:
        if len(array.shape) != 2:
            raise ValueError(
                f"X on disk has the shape {array.shape}: expected (n_samples, n_pixels)."
            )
        if np.dtype(array.dtype).kind not in "fiu":
            raise ValueError(f"X on disk has the dtype {array.dtype}: expected real numbers.")
        self.array = array
        self.shape = tuple(array.shape)
        self.ndim = 2
        self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        """Read rows, given by a slice, a number, or an array of numbers in any order."""
        if isinstance(rows, slice):
            return np.asarray(self.array[rows], dtype=np.float32)
        ascending, where = np.unique(rows, return_inverse=True)
        select = getattr(self.array, "oindex", self.array)
        found = np.asarray(select[ascending], dtype=np.float32)
        return np.asarray(found[where.reshape(np.shape(rows))])

    def check_finite(self, *, allow_nan: bool) -> None:
        """Look at all values, some rows at a time.

        Raises
        ------
        ValueError
            If there are NaN, which may be allowed, or infinite values; worded as scikit-learn does.
        """
        step = max(1, BLOCK // self.shape[1])
        for start in range(0, len(self), step):
            block = self[start : start + step]
            if not allow_nan and np.isnan(block).any():
                raise ValueError("Input X contains NaN.")
            if np.isinf(block).any():
                raise ValueError("Input X contains infinity or a value too large for float32.")


def is_on_disk(X: Any) -> bool:
    """Tell whether a matrix is stored in chunks that NumPy does not hold; those of Dask are not."""
    stored = all(hasattr(X, name) for name in ("chunks", "shape", "dtype", "__getitem__"))
    return stored and not isinstance(X, np.ndarray) and not hasattr(X, "__dask_graph__")
