"""Interpolation between labels, against other ways to do it."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.interpolate import CubicSpline, LinearNDInterpolator, RegularGridInterpolator

from skestnet.templates._interpolate import LabelInterpolator
from skestnet.templates._label_weights import CellWeights, SimplexWeights, SplineWeights

AXES = ([0.0, 1.0, 1.5, 3.0, 4.0], [-2.0, -1.0, 0.0, 2.0], [10.0, 20.0, 40.0, 50.0])


def pairs(*axes):
    return np.array(list(product(*axes)))


def points(n, *axes, seed=0):
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform(min(axis), max(axis), n) for axis in axes])


def values_at(nodes, n_features=6):
    factor = np.random.default_rng(1).normal(size=(nodes.shape[1], n_features))
    return np.sin(nodes @ factor / 10) + nodes[:, :1]


def slopes(interpolator, x, step=1e-6):
    """Central differences, shape (n, n_labels, n_features)."""
    shifts = step * np.eye(x.shape[1])
    return np.stack(
        [(interpolator(x + shift) - interpolator(x - shift)) / (2 * step) for shift in shifts],
        axis=1,
    )


def scheme(interpolator):
    return type(interpolator._scheme)


def test_one_label_is_a_cubic_spline():
    nodes = np.array([[3.0], [0.0], [1.0], [5.0], [2.5]])
    values, x = values_at(nodes), points(40, [0, 5])
    order = np.argsort(nodes[:, 0])
    spline = CubicSpline(nodes[order, 0], values[order])
    assert_allclose(LabelInterpolator(nodes, values)(x), spline(x[:, 0]), rtol=1e-12, atol=1e-12)
    jacobian = LabelInterpolator(nodes, values).jacobian(x)
    assert_allclose(jacobian[:, 0], spline(x[:, 0], 1), rtol=1e-10, atol=1e-10)


def test_tensor_of_splines_label_by_label():
    nodes, x = pairs(*AXES), points(20, *AXES)
    values = values_at(nodes)
    expected = []
    for point in x:
        table = values.reshape(5, 4, 4, -1)
        for axis, at in zip(AXES, point, strict=True):
            table = CubicSpline(axis, table)(at)
        expected.append(table)
    assert_allclose(LabelInterpolator(nodes, values)(x), expected, rtol=1e-10, atol=1e-10)


def test_linear_against_scipy():
    nodes, x = pairs(*AXES), points(50, *AXES)
    values = values_at(nodes)
    expected = RegularGridInterpolator(AXES, values.reshape(5, 4, 4, -1))(x)
    assert_allclose(LabelInterpolator(nodes, values, method="linear")(x), expected, atol=1e-12)


@pytest.mark.parametrize("method", ["cubic", "linear"])
def test_derivatives_of_a_rectangle(method):
    nodes, x = pairs(*AXES), points(30, *AXES) * 0.99 + 0.01
    interpolator = LabelInterpolator(nodes, values_at(nodes), method=method)
    assert_allclose(interpolator.jacobian(x), slopes(interpolator, x), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("size", "degree"), [(2, 1), (3, 2), (4, 3), (7, 3)])
def test_polynomials_are_exact(size, degree):
    nodes = np.linspace(-1, 2, size)[:, np.newaxis] ** 3
    x, power = points(30, [-1, 8]), np.arange(degree + 1)
    interpolator = LabelInterpolator(nodes, nodes**power)
    assert_allclose(interpolator(x), x**power, rtol=1e-10, atol=1e-10)
    expected = power * np.divide(x**power, x)
    assert_allclose(interpolator.jacobian(x)[:, 0], expected, rtol=1e-9, atol=1e-9)


def notched():
    """All of 5 x 4 nodes, but for a corner of four and, elsewhere, a single one."""
    nodes = pairs(AXES[0], AXES[1])
    corner = (nodes[:, 0] >= 3) & (nodes[:, 1] >= 0)
    return nodes[~corner & ~((nodes[:, 0] == 1) & (nodes[:, 1] == -2))]


def test_cells_are_multilinear_where_whole():
    nodes = notched()
    interpolator = LabelInterpolator(nodes, values_at(nodes))
    assert scheme(interpolator) is CellWeights
    full = pairs(AXES[0], AXES[1])
    values = np.full((20, 6), np.nan)
    values[[np.flatnonzero((full == node).all(axis=1))[0] for node in nodes]] = values_at(nodes)
    table = values.reshape(5, 4, 6)
    table[1, 0] = table[0, 0] / 3 + table[2, 0] * 2 / 3  # between 0 and 1.5 lies 1
    x = points(200, AXES[0], AXES[1])
    expected = RegularGridInterpolator(AXES[:2], table)(x)
    inside = np.isfinite(expected).all(axis=1)
    assert 50 < inside.sum() < 150
    assert_array_equal(interpolator.contains(x), inside)
    assert_allclose(interpolator(x[inside]), expected[inside], atol=1e-12)
    x = x[inside][:50]
    assert_allclose(interpolator.jacobian(x), slopes(interpolator, x), rtol=1e-5, atol=1e-7)


def test_cells_at_their_nodes_and_edges():
    nodes = notched()
    values = values_at(nodes)
    interpolator = LabelInterpolator(nodes, values)
    assert_allclose(interpolator(nodes), values, atol=1e-12)
    # On the edge of the notch only one of the cells on both sides is whole; float32 misses it.
    edge = np.array([[1.5, 1.0], [1.5 + 1e-7, 1.0], [1.5 - 1e-7, 1.0], [1.6, 1.0]])
    assert_array_equal(interpolator.contains(edge), [True, True, True, False])
    assert_allclose(interpolator(edge[1:2]), interpolator(edge[:1]), atol=1e-12)
    assert np.isfinite(interpolator.jacobian(edge[:3])).all()


def test_scattered_against_scipy():
    nodes = points(60, [0, 1], [1000, 9000])
    values, x = values_at(nodes), points(100, [0, 1], [1000, 9000], seed=3)
    interpolator = LabelInterpolator(nodes, values)
    assert scheme(interpolator) is SimplexWeights
    expected = LinearNDInterpolator(nodes, values, rescale=True)(x)
    inside = np.isfinite(expected).all(axis=1)
    assert 50 < inside.sum() < 100
    assert_array_equal(interpolator.contains(x), inside)
    assert_allclose(interpolator(x[inside]), expected[inside], rtol=1e-9)
    x = x[inside]
    assert_allclose(interpolator.jacobian(x), slopes(interpolator, x), rtol=1e-4, atol=1e-6)
    assert_allclose(interpolator(nodes), values, rtol=1e-9)


@pytest.mark.parametrize("kind", ["rectangle", "notched", "scattered"])
def test_a_plane_is_exact_and_order_does_not_matter(kind):
    nodes = {
        "rectangle": pairs(AXES[0], AXES[1]),
        "notched": notched(),
        "scattered": points(30, AXES[0], AXES[1]),
    }[kind]
    plane = np.array([[2.0], [-3.0]])
    x = points(100, AXES[0], AXES[1], seed=5)
    interpolator = LabelInterpolator(nodes, nodes @ plane + 1)
    x = x[interpolator.contains(x)]
    assert_allclose(interpolator(x), x @ plane + 1, atol=1e-9)
    assert_allclose(interpolator.jacobian(x), np.broadcast_to(plane, (len(x), 2, 1)), atol=1e-9)
    order = np.random.default_rng(0).permutation(len(nodes))
    values = values_at(nodes)
    shuffled = LabelInterpolator(nodes[order], values[order])
    assert_allclose(shuffled(x), LabelInterpolator(nodes, values)(x), atol=1e-9)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(-40, 40), min_size=2, max_size=12, unique=True),
    st.lists(st.integers(-40, 40), min_size=1, max_size=5, unique=True),
)
def test_any_rectangle_goes_through_its_nodes(first, second):
    nodes = pairs(first, second).astype(float)
    values = np.cos(nodes.sum(axis=1, keepdims=True))
    interpolator = LabelInterpolator(nodes, values)
    assert scheme(interpolator) is SplineWeights
    assert_allclose(interpolator(nodes), values, atol=1e-6)
    assert interpolator.contains(nodes).all()


def test_repeated_nodes_are_averaged():
    nodes = np.array([[0.0], [1.0], [1.0], [2.0]])
    values = np.array([[0.0], [1.0], [3.0], [4.0]])
    assert_allclose(LabelInterpolator(nodes, values)([[1.0]]), [[2.0]])
    assert_allclose(LabelInterpolator(nodes, values)([[0.5]]), [[1.0]])


def test_a_label_with_one_value():
    nodes = pairs(AXES[0], [8.0])
    values = values_at(nodes)
    interpolator, x = LabelInterpolator(nodes, values), points(9, AXES[0], [8.0])
    assert_allclose(interpolator(x), LabelInterpolator(nodes[:, :1], values)(x[:, :1]))
    assert_array_equal(interpolator.jacobian(x)[:, 1], np.zeros((9, 6)))
    assert_array_equal(interpolator.contains([[1.0, 8.0], [1.0, 8.1]]), [True, False])


def test_one_node():
    interpolator = LabelInterpolator([[1.0, 2.0]], [[5.0, 6.0]])
    assert_array_equal(interpolator([[1.0, 2.0]]), [[5.0, 6.0]])
    assert_array_equal(interpolator.jacobian([[1.0, 2.0]]), np.zeros((1, 2, 2)))
    assert_array_equal(interpolator.contains([[1.0, 2.1]]), [False])


def test_no_rows_and_dtypes():
    nodes = pairs(AXES[0], AXES[1])
    interpolator = LabelInterpolator(nodes, values_at(nodes).astype("f4"))
    assert interpolator(np.empty((0, 2))).shape == (0, 6)
    assert interpolator.jacobian(np.empty((0, 2))).shape == (0, 2, 6)
    assert interpolator(nodes).dtype == interpolator.jacobian(nodes).dtype == np.float32
    assert LabelInterpolator(nodes, np.ones((20, 1), dtype=int))(nodes).dtype == np.float64


def test_blocks_change_nothing(monkeypatch):
    nodes, x = pairs(AXES[0], AXES[1]), points(30, AXES[0], AXES[1])
    interpolator = LabelInterpolator(nodes, values_at(nodes))
    values, jacobian = interpolator(x), interpolator.jacobian(x)
    monkeypatch.setattr("skestnet.templates._interpolate._BLOCK", 40)
    assert_array_equal(interpolator(x), values)
    assert_array_equal(interpolator.jacobian(x), jacobian)


def test_outside():
    interpolator = LabelInterpolator(pairs(AXES[0], AXES[1]), np.ones((20, 1)))
    outside = [[4.1, 0], [np.nan, 0], [0, np.inf], [-1e-3, 0]]
    assert_array_equal(interpolator.contains(outside), [False] * 4)
    for method in (interpolator, interpolator.jacobian):
        with pytest.raises(ValueError, match=r"row 1 \(4 of 5 rows\), \[4.1 0. \], are not cov"):
            method([[0, 0], *outside])


@pytest.mark.parametrize(
    ("nodes", "values", "method", "message"),
    [
        ([1.0, 2.0], [[1.0], [2.0]], "auto", r"nodes has shape \(2,\) and values \(2, 1\)"),
        ([[1.0], [2.0]], [[1.0]], "auto", r"nodes has shape \(2, 1\) and values \(1, 1\)"),
        (np.empty((0, 1)), np.empty((0, 3)), "auto", "at least one node"),
        ([[1.0], [np.nan]], [[1.0], [2.0]], "auto", "must be finite"),
        ([[1.0], [2.0]], [[1.0], [np.inf]], "auto", "must be finite"),
        ([[1.0], [2.0]], [[1.0], [2.0]], "quintic", "interpolation='quintic' is not known"),
        ([[1, 1], [2, 2], [3, 3], [4, 4]], np.ones((4, 1)), "auto", "on a line or a plane"),
        (notched(), np.ones((15, 1)), "cubic", r"the 15 given fill 75.0% of 5 x 4"),
    ],
)
def test_messages(nodes, values, method, message):
    with pytest.raises(ValueError, match=message):
        LabelInterpolator(nodes, values, method=method)


def test_shape_of_labels():
    with pytest.raises(ValueError, match=r"shape \(2, 3\), but \(n, 2\) is needed"):
        LabelInterpolator(pairs(AXES[0], AXES[1]), np.ones((20, 1)))(np.ones((2, 3)))
