"""Row-by-row work on a matrix of spectra, in blocks that fit into the cache; NaN is ignored."""

from collections.abc import Callable

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from numpy.typing import NDArray
from sklearn.utils import gen_batches

FloatMatrix = NDArray[np.floating]

# Values per block: half a megabyte in float32, so that work arrays stay in the cache of a core.
_BLOCK = 2**17
# Threads need larger ones: with short calls of numpy they wait for the lock of Python most of the
# time (measured with two: slower than one thread below, 1.6 times as fast with these).
_BLOCK_OF_THREADS = 2**20


def map_rows(
    function: Callable[[FloatMatrix, FloatMatrix], None],
    flux: FloatMatrix,
    n_out: int,
    n_jobs: int | None = None,
) -> FloatMatrix:
    """Return the matrix (n_rows, n_out) that ``function(rows, out)`` fills block by block.

    Functions work in `out` where they can: temporary arrays of this size cost more than the sums.
    The blocks are shared between `n_jobs` threads, since numpy releases the lock of Python.
    """
    result = np.empty((len(flux), n_out), dtype=flux.dtype)

    def work(rows: slice) -> None:
        # Contiguous, so that sums are in the same order whatever the layout of the input.
        function(np.ascontiguousarray(flux[rows]), result[rows])

    size = _BLOCK if effective_n_jobs(n_jobs) == 1 else _BLOCK_OF_THREADS
    blocks = gen_batches(len(flux), max(1, size // flux.shape[1]))
    Parallel(n_jobs=n_jobs, require="sharedmem")(delayed(work)(rows) for rows in blocks)
    return result


def row_median(values: FloatMatrix) -> FloatMatrix:
    """Return the median of every row without its NaN, shape (n_rows, 1); NaN where all are.

    Sorts the rows of `values` in place.
    """
    values.sort(axis=1)
    size = values.shape[1]
    if not np.isnan(values[:, -1]).any():  # NaN come last
        return (values[:, [(size - 1) // 2]] + values[:, [size // 2]]) / 2
    count = size - np.isnan(values).sum(axis=1, keepdims=True)
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, size - 1)
    return (np.take_along_axis(values, low, 1) + np.take_along_axis(values, high, 1)) / 2


def row_mean(values: FloatMatrix) -> FloatMatrix:
    """Return the mean of every row without its NaN, shape (n_rows, 1); NaN where all are."""
    mean = values.mean(axis=1, keepdims=True)
    if not np.isnan(mean).any():
        return mean
    bad = np.isnan(values)
    count = values.shape[1] - bad.sum(axis=1, keepdims=True)
    total = np.where(bad, 0, values).sum(axis=1, keepdims=True)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(values.dtype)
