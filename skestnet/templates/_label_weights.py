"""Weights of the nodes of a label space: tensor B-splines, whole cells, or simplices."""

from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline, make_interp_spline
from scipy.sparse import csr_array
from scipy.spatial import Delaunay, QhullError

FloatArray = NDArray[np.float64]
Weights = tuple[NDArray[np.intp], FloatArray]

# Labels are stored in float32, so the same node differs by 1e-7 between files.
TOLERANCE = 1e-6
# Below this share of nodes present, a rectangle is an accident of scattered labels.
_LEAST_FILLED = 0.05


class LabelScheme(Protocol):
    """How values at nodes become values anywhere, as a weighted sum of the rows of a table."""

    def table(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the rows to be weighted, computed once from the values at the nodes."""
        ...

    def contains(self, x: FloatArray) -> NDArray[np.bool_]:
        """Return which of the finite points, inside the limits of every axis, are covered."""
        ...

    def weights(self, x: FloatArray, axis: int | None = None) -> Weights:
        """Return rows of the table and their weights, each (n, m); differentiated along `axis`."""
        ...


def sparse_weights(index: NDArray[np.intp], weight: NDArray[Any], n_rows: int) -> csr_array:
    """Return the (n, n_rows) matrix of the weights (n, m)."""
    start = np.arange(0, weight.size + 1, weight.shape[1])
    return csr_array((weight.ravel(), index.ravel(), start), shape=(len(weight), n_rows))


def scheme_of(nodes: FloatArray, method: str) -> LabelScheme:
    """Return the scheme that suits the nodes: distinct rows in lexicographic order."""
    axes = [np.unique(column) for column in nodes.T]
    n_corners = np.prod([float(axis.size) for axis in axes])
    if n_corners == len(nodes):
        return SplineWeights(axes, 1 if method == "linear" else 3)
    if method == "cubic":
        raise ValueError(
            f"interpolation='cubic' needs labels that fill a rectangle, but the {len(nodes)} given "
            f"fill {len(nodes) / n_corners:.1%} of {' x '.join(str(axis.size) for axis in axes)}. "
            "Try interpolation='auto', or select a part that is complete."
        )
    if len(nodes) > _LEAST_FILLED * n_corners:
        cells = CellWeights(axes, nodes)
        if cells.cover_all:
            return cells
    return SimplexWeights(nodes)


class SplineWeights:
    """Tensor product of B-splines through every node of a complete rectangle."""

    def __init__(self, axes: list[FloatArray], degree: int) -> None:
        self._axes = axes
        self._degrees = [min(degree, axis.size - 1) for axis in axes]
        pairs = zip(axes, self._degrees, strict=True)
        self._knots = [make_interp_spline(axis, axis, k=k).t for axis, k in pairs]

    def table(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the spline coefficients, solved along one axis after the other."""
        table = values.reshape(*[axis.size for axis in self._axes], -1)
        for i, (axis, degree) in enumerate(zip(self._axes, self._degrees, strict=True)):
            table = np.moveaxis(make_interp_spline(axis, table, k=degree, axis=i).c, 0, i)
        return table.reshape(values.shape).astype(values.dtype)

    def contains(self, x: FloatArray) -> NDArray[np.bool_]:
        """Return True everywhere: a rectangle is all that lies inside the limits."""
        return np.ones(len(x), dtype=np.bool_)

    def weights(self, x: FloatArray, axis: int | None = None) -> Weights:
        """Return the products of the B-splines that are not zero at each point."""
        index, weight = np.zeros((len(x), 1), dtype=np.intp), np.ones((len(x), 1))
        for i, (knots, degree) in enumerate(zip(self._knots, self._degrees, strict=True)):
            at, value = (_slopes if i == axis else _splines)(x[:, i], knots, degree)
            index = index[:, :, None] * self._axes[i].size + at[:, None, :]
            weight = weight[:, :, None] * value[:, None, :]
            index, weight = index.reshape(len(x), -1), weight.reshape(len(x), -1)
        return index, weight


def _splines(x: FloatArray, knots: FloatArray, degree: int) -> Weights:
    """Return the ``degree + 1`` B-splines that are not zero at each point."""
    matrix = BSpline.design_matrix(x, knots, degree)
    shape = (x.size, degree + 1)
    return matrix.indices.reshape(shape).astype(np.intp), matrix.data.reshape(shape)


def _slopes(x: FloatArray, knots: FloatArray, degree: int) -> Weights:
    """Return the derivatives of `_splines`: differences of the B-splines one degree lower."""
    at, value = _splines(x, knots[1:-1], degree - 1)
    value = value * degree / (knots[at + degree + 1] - knots[at + 1])
    zero = np.zeros((x.size, 1))
    slope = np.hstack([zero, value]) - np.hstack([value, zero])
    return np.hstack([at, at[:, -1:] + 1]), slope


class CellWeights:
    """Multilinear interpolation in those cells of a rectangle whose corners all exist.

    A node missing between two neighbours along a label is on the straight line between them.
    """

    def __init__(self, axes: list[FloatArray], nodes: FloatArray) -> None:
        self._axes = axes
        self._corners = np.array(list(product((0, 1), repeat=len(axes))))
        pairs = zip(axes, nodes.T, strict=True)
        places = tuple(np.searchsorted(axis, column) for axis, column in pairs)
        self._node = np.full([axis.size for axis in axes], -1, dtype=np.intp)
        self._node[places] = np.arange(len(nodes))
        self._fill = self._filled(len(nodes))
        self._whole = self._node >= 0
        for i in range(len(axes)):
            self._whole = np.delete(self._whole, -1, axis=i) & np.delete(self._whole, 0, axis=i)

    def _filled(self, n_nodes: int) -> csr_array:
        """Give a number to nodes missing between two neighbours, and return their weights."""
        index, weight = [np.zeros((0, 2), dtype=np.intp)], [np.zeros((0, 2))]
        given = self._node.copy()
        for i, axis in enumerate(self._axes):
            # Views with the label in front: what is written to them is written to the arrays.
            node, nodes = np.moveaxis(self._node, i, 0), np.moveaxis(given, i, 0)
            gap = (node[1:-1] < 0) & (nodes[:-2] >= 0) & (nodes[2:] >= 0)
            at = np.nonzero(gap)[0]
            part = (axis[at + 1] - axis[at]) / (axis[at + 2] - axis[at])
            index.append(np.stack([nodes[:-2][gap], nodes[2:][gap]], axis=1))
            weight.append(np.stack([1 - part, part], axis=1))
            node[1:-1][gap] = n_nodes + sum(map(len, index[:-1])) + np.arange(at.size)
        return sparse_weights(np.concatenate(index), np.concatenate(weight), n_nodes)

    @property
    def cover_all(self) -> bool:
        """Whether every node is a corner of a whole cell."""
        covered = np.zeros(self._node.shape, dtype=np.bool_)
        cells = np.argwhere(self._whole)
        for corner in self._corners:
            covered[tuple((cells + corner).T)] = True
        return bool((covered == (self._node >= 0)).all())

    def table(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the values, and those of the nodes filled in."""
        return np.concatenate([values, self._fill.astype(values.dtype) @ values])

    def contains(self, x: FloatArray) -> NDArray[np.bool_]:
        """Return which points lie in a whole cell."""
        return self._cell(x)[2]

    def weights(self, x: FloatArray, axis: int | None = None) -> Weights:
        """Return the corners of the cell of each point and their weights."""
        cell, part, _ = self._cell(x)
        corner = cell[:, None, :] + self._corners
        weight = np.ones(corner.shape[:2])
        for i, nodes in enumerate(self._axes):
            high = part[:, i : i + 1] if i != axis else 1 / np.diff(nodes)[cell[:, i : i + 1]]
            low = 1 - high if i != axis else -high
            weight = weight * np.where(self._corners[:, i] == 1, high, low)
        return self._node[tuple(np.moveaxis(corner, -1, 0))], weight

    def _cell(self, x: FloatArray) -> tuple[NDArray[np.intp], FloatArray, NDArray[np.bool_]]:
        """Return the cell of each point, the place in it (0 to 1), and whether it is whole."""
        places = [_place(axis, column) for axis, column in zip(self._axes, x.T, strict=True)]
        first = np.stack([place[0] for place in places], axis=1)
        part = np.stack([place[1] for place in places], axis=1)
        cell, whole = first.copy(), np.zeros(len(x), dtype=np.bool_)
        # A point on a node belongs to the cells on both sides: any of them that is whole will do.
        for shift in self._corners:
            moved = first - shift
            allowed = ((shift == 0) | ((part == 0) & (moved >= 0))).all(axis=1) & ~whole
            moved = np.maximum(moved, 0)
            allowed &= self._whole[tuple(moved.T)]
            cell[allowed], whole = moved[allowed], whole | allowed
        return cell, part + (first - cell), whole


def _place(axis: FloatArray, x: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
    """Return the interval of each value and the place in it, values next to a node moved to it."""
    middle = 0.5 * (axis[1:] + axis[:-1])
    nearest = axis[np.searchsorted(middle, x)]
    x = np.where(np.abs(x - nearest) <= TOLERANCE * np.abs(axis).max(), nearest, x)
    cell = np.clip(np.searchsorted(axis, x, side="right") - 1, 0, axis.size - 2)
    return cell, (x - axis[cell]) / np.diff(axis)[cell]


class SimplexWeights:
    """Linear interpolation in the simplices of a Delaunay triangulation of scattered nodes."""

    def __init__(self, nodes: FloatArray) -> None:
        self._low = nodes.min(axis=0)
        self._span = np.ptp(nodes, axis=0)
        try:
            self._triangles = Delaunay((nodes - self._low) / self._span)
        except QhullError as error:
            raise ValueError(
                f"The {len(nodes)} distinct labels of {nodes.shape[1]} dimensions neither fill a "
                "rectangle nor span a volume, as if they lay on a line or a plane. Try one label "
                "fewer, or more templates."
            ) from error

    def table(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the values themselves."""
        return values

    def contains(self, x: FloatArray) -> NDArray[np.bool_]:
        """Return which points lie in a simplex."""
        return self._simplex(x) >= 0

    def weights(self, x: FloatArray, axis: int | None = None) -> Weights:
        """Return the corners of the simplex of each point and its barycentric coordinates."""
        simplex, n = self._simplex(x), x.shape[1]
        transform = self._triangles.transform[simplex]
        if axis is None:
            offset = (x - self._low) / self._span - transform[:, n]
            weight = np.einsum("nij,nj->ni", transform[:, :n], offset)
        else:
            weight = transform[:, :n, axis] / self._span[axis]
        last = float(axis is None) - weight.sum(axis=1, keepdims=True)
        return self._triangles.simplices[simplex].astype(np.intp), np.hstack([weight, last])

    def _simplex(self, x: FloatArray) -> NDArray[np.intp]:
        """Return the simplex of each point, -1 outside the convex hull."""
        found = self._triangles.find_simplex((x - self._low) / self._span, tol=TOLERANCE)
        return np.asarray(found, dtype=np.intp)
