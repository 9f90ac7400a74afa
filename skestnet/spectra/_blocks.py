"""Row-by-row work on a matrix of spectra, in blocks that fit into the cache; NaN is ignored."""

from collections.abc import Callable
from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import gen_batches
from sklearn.utils.validation import validate_data

FloatMatrix = NDArray[np.floating]

# Values per block: half a megabyte in float32, so that work arrays stay in the cache of a core.
_BLOCK = 2**17
# Threads need larger ones: with short calls of numpy they wait for the lock of Python most of the
# time (measured with two: slower than one thread below, 1.6 times as fast with these).
_BLOCK_OF_THREADS = 2**20
# Rows of so many values are worth a call of numpy each.
_LONG_ROW = 256


class SpectrumTags:
    """What every transformer of spectra tells scikit-learn: NaN may pass, float32 stays float32."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def validate_spectra(estimator: Any, X: ArrayLike, *, reset: bool) -> FloatMatrix:
    """Return what a transformer was passed as a matrix of floats in the machine's byte order."""
    return validate_data(
        estimator, X, dtype=float_types(X), ensure_all_finite="allow-nan", reset=reset
    )


def float_types(X: ArrayLike) -> list[type[np.floating]] | type[np.floating]:
    """Return what `check_array` is to make of an array or a table: the types to keep, or one.

    FITS files are big-endian. scikit-learn takes such float32 for a type of its own and would make
    it float64, and tables would stay in that order.
    """
    columns = np.ravel(np.asarray(getattr(X, "dtypes", getattr(X, "dtype", None)), dtype=object))
    types = [kind for kind in columns if isinstance(kind, np.dtype)]
    if len(types) < columns.size or all(kind.isnative for kind in types):
        return [np.float64, np.float32]
    common = np.result_type(*(kind.newbyteorder("=") for kind in types))
    return np.float32 if common == np.float32 else np.float64


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

    `values` is overwritten.
    """
    size = values.shape[1]
    count = size - _true_of_rows(np.isnan(values))
    median = np.empty((len(values), 1), dtype=values.dtype)
    # Half the cost of sorting, but rows with the same number of good pixels at a time: NaN go last.
    for n_good in np.unique(count).tolist():
        rows = count == n_good
        some = values if rows.all() else values[rows]
        low, high = max(n_good - 1, 0) // 2, min(n_good // 2, size - 1)
        some.partition(high, axis=1)  # at one place: numpy is ten times as slow at two
        below = some[:, :high].max(axis=1) if low < high else some[:, high]
        median[rows, 0] = (below + some[:, high]) / 2
    return median


def row_mean(values: FloatMatrix) -> FloatMatrix:
    """Return the mean of every row without its NaN, shape (n_rows, 1); NaN where all are."""
    mean = values.mean(axis=1, keepdims=True)
    rows = np.flatnonzero(np.isnan(mean))
    if rows.size:
        known = values[rows]
        bad = np.isnan(known)
        np.copyto(known, 0, where=bad)  # several times as fast as np.where
        count = values.shape[1] - _true_of_rows(bad)
        mean[rows, 0] = np.where(count > 0, known.sum(axis=1) / np.maximum(count, 1), np.nan)
    return mean


def nonzero(flags: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of what is True: `np.nonzero`, for few of many in a tenth of it."""
    return np.divmod(np.flatnonzero(flags), flags.shape[1])


def _true_of_rows(flags: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the number of True in every row: for long ones a tenth of the cost of a sum."""
    if flags.shape[1] < _LONG_ROW:
        return flags.sum(axis=1)
    if not flags.any():
        return np.zeros(len(flags), dtype=np.intp)
    return np.array([np.count_nonzero(row) for row in flags], dtype=np.intp)
