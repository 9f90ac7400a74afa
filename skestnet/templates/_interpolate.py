"""Interpolation of many values at once between scattered or gridded labels."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from skestnet.templates._label_weights import (
    TOLERANCE,
    FloatArray,
    Weights,
    scheme_of,
    sparse_weights,
)

_METHODS = ("auto", "cubic", "linear")
# Values computed at a time, so that a temporary array stays below 64 MB.
_BLOCK = 2**23


def row_blocks(n_rows: int, size: int) -> list[slice]:
    """Return the rows to compute together where each takes `size` values; none of no rows."""
    step = max(1, _BLOCK // max(1, size))
    return [slice(start, start + step) for start in range(0, n_rows, step)]


class LabelInterpolator:
    """Smooth interpolation of vectors of values known at some labels.

    Every prediction is a sparse row of weights times a table computed once, so that thousands of
    points cost one matrix product, and derivatives are exact.

    Parameters
    ----------
    nodes : array-like of shape (n_nodes, n_labels)
        Labels at which values are known. The values of repeated nodes are averaged.
    values : array-like of shape (n_nodes, n_features)
        Values at the nodes. float32 stays float32.
    method : {"auto", "cubic", "linear"}, default="auto"
        How to interpolate:

        - nodes that fill a rectangle: tensor product of cubic splines, of lower degree along an
          axis of 2 or 3 nodes, or of straight lines with "linear". One label is always this case;
        - nodes that fill a rectangle in part: multilinear within the cells of which all corners
          exist, if every node is the corner of such a cell. A single node missing between two
          neighbours is taken as on the straight line between them;
        - other nodes: linear in the simplices of a Delaunay triangulation.

        "cubic" refuses all but the first. A label with one value is a constant.

    Raises
    ------
    ValueError
        If the shapes do not fit, a value is not finite, or the nodes span no volume.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.templates import LabelInterpolator
    >>> nodes = np.arange(5.0)[:, np.newaxis]
    >>> cube = LabelInterpolator(nodes, nodes**3)
    >>> cube([[1.5]])
    array([[3.375]])
    >>> cube.jacobian([[1.5]])
    array([[[6.75]]])
    >>> cube.contains([[1.5], [4.5]])
    array([ True, False])
    """

    def __init__(self, nodes: ArrayLike, values: ArrayLike, *, method: str = "auto") -> None:
        check_method(method)
        points, table = _checked(nodes, values)
        points, table = _averaged(points, table)
        self._low, self._high = points.min(axis=0), points.max(axis=0)
        self._varies = self._high > self._low
        self._scheme = scheme_of(points[:, self._varies], method)
        self._table = self._scheme.table(table)

    def __call__(self, labels: ArrayLike) -> NDArray[np.floating]:
        """Return the values at `labels`.

        Parameters
        ----------
        labels : array-like of shape (n, n_labels)
            Where to interpolate.

        Returns
        -------
        ndarray of shape (n, n_features)
            Interpolated values, in the dtype of the given ones.

        Raises
        ------
        ValueError
            If labels are not contained.
        """
        x = self._inside(labels)
        out = np.empty((len(x), self._table.shape[1]), dtype=self._table.dtype)
        for rows in row_blocks(len(x), self._table.shape[1]):
            out[rows] = self._matrix(self._scheme.weights(x[rows])) @ self._table
        return out

    def jacobian(self, labels: ArrayLike) -> NDArray[np.floating]:
        """Return the derivative of the values with respect to every label.

        Parameters
        ----------
        labels : array-like of shape (n, n_labels)
            Where to differentiate.

        Returns
        -------
        ndarray of shape (n, n_labels, n_features)
            Derivatives; zero along a label with one value.

        Raises
        ------
        ValueError
            If labels are not contained.
        """
        x = self._inside(labels)
        shape = (len(x), self._varies.size, self._table.shape[1])
        out = np.zeros(shape, dtype=self._table.dtype)
        for rows in row_blocks(len(x), self._table.shape[1]):
            for axis, column in enumerate(np.flatnonzero(self._varies)):
                weights = self._scheme.weights(x[rows], axis)
                out[rows, column] = self._matrix(weights) @ self._table
        return out

    def contains(self, labels: ArrayLike) -> NDArray[np.bool_]:
        """Return where the values can be interpolated.

        Parameters
        ----------
        labels : array-like of shape (n, n_labels)
            Points to be asked for.

        Returns
        -------
        ndarray of bool of shape (n,)
            Whether each point is covered by nodes; False where a label is not finite.
        """
        x = self._points(labels)
        slack = TOLERANCE * np.maximum(np.abs(self._low), np.abs(self._high))
        inside = ((x >= self._low - slack) & (x <= self._high + slack)).all(axis=1)
        inside[inside] = self._scheme.contains(self._clipped(x[inside]))
        return inside

    def _points(self, labels: ArrayLike) -> FloatArray:
        """Return the labels as a matrix with the right number of columns."""
        x = np.asarray(labels, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != self._varies.size:
            raise ValueError(
                f"labels has shape {x.shape}, but (n, {self._varies.size}) is needed: one column "
                "per label."
            )
        return x

    def _clipped(self, x: FloatArray) -> FloatArray:
        """Return the labels that vary, moved from the tolerance into the limits."""
        return np.clip(x, self._low, self._high)[:, self._varies]

    def _inside(self, labels: ArrayLike) -> FloatArray:
        """Return the labels that vary, or raise where one is not contained."""
        x = self._points(labels)
        outside = np.flatnonzero(~self.contains(x))
        if outside.size:
            raise ValueError(
                f"labels of row {outside[0]} ({outside.size} of {len(x)} rows), {x[outside[0]]}, "
                f"are not covered by the nodes, which reach from {self._low} to {self._high}. "
                "Nothing is extrapolated: leave out the rows where contains() is False."
            )
        return self._clipped(x)

    def _matrix(self, weights: Weights) -> csr_array:
        index, weight = weights
        return sparse_weights(index, weight.astype(self._table.dtype), len(self._table))


def check_method(method: str) -> None:
    """Refuse a way of interpolation that is not known."""
    if method not in _METHODS:
        raise ValueError(f"interpolation={method!r} is not known. Choose one of {_METHODS}.")


def _checked(nodes: ArrayLike, values: ArrayLike) -> tuple[FloatArray, NDArray[np.floating]]:
    """Return finite matrices with as many rows."""
    points, table = np.asarray(nodes, dtype=np.float64), np.asarray(values)
    table = table if table.dtype == np.float32 else table.astype(np.float64)
    if points.ndim != 2 or table.ndim != 2 or len(points) != len(table) or not points.size:
        raise ValueError(
            f"nodes has shape {points.shape} and values {table.shape}, but (n_nodes, n_labels) "
            "and (n_nodes, n_features) are needed, with at least one node."
        )
    if not (np.isfinite(points).all() and np.isfinite(table).all()):
        raise ValueError("nodes and values must be finite. Leave out the nodes that are not.")
    return points, table


def _averaged(
    nodes: FloatArray, values: NDArray[np.floating]
) -> tuple[FloatArray, NDArray[np.floating]]:
    """Return the distinct nodes in lexicographic order, and the mean values at each."""
    distinct, first, inverse, count = np.unique(
        nodes, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    if len(distinct) == len(nodes):
        return distinct, values[first]
    inverse = inverse.ravel()
    weight = (1 / count[inverse]).astype(values.dtype)
    mean = csr_array((weight, (inverse, np.arange(len(nodes)))), shape=(len(count), len(nodes)))
    return distinct, mean @ values
