import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import skestnet._rows
from skestnet._rows import canonical_rows


def slow_groups(X, y, weight):
    """Merge equal rows by a dictionary."""
    groups = {}
    for i in np.flatnonzero(weight):
        groups.setdefault((X[i].tobytes(), tuple(y[i])), []).append(i)
    return {frozenset(rows): weight[rows].sum() for rows in groups.values()}


def check_against_slow(X, y, weight):
    rows = canonical_rows(X, y, weight)
    expected = slow_groups(X, y, weight)
    members = [frozenset(np.flatnonzero(rows.inverse == k)) for k in range(len(rows.source))]
    assert set(members) == set(expected)
    merged = np.array([expected[group] for group in members])
    assert_allclose(rows.weight, merged / merged.mean(), rtol=1e-14)
    assert all(first in group for first, group in zip(rows.source, members, strict=True))
    assert_array_equal(rows.inverse < 0, weight == 0)
    return rows


def sample(n_samples=200, n_features=3, n_outputs=2, seed=0):
    """Few distinct values, so that rows repeat, and agree in X or in y alone."""
    rng = np.random.default_rng(seed)
    X = rng.integers(1, 4, (n_samples, n_features)).astype(np.float32)
    y = rng.integers(0, 2, (n_samples, n_outputs)).astype(float)
    return X, y, rng.integers(0, 3, n_samples).astype(float)


@pytest.mark.parametrize("n_features", [1, 3])
@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_against_a_dictionary(n_features, n_outputs, seed):
    rows = check_against_slow(*sample(200, n_features, n_outputs, seed))
    assert len(rows.source) < 120  # there was something to merge


def test_distinct_rows_are_all_kept():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 7)).astype(np.float32)
    rows = check_against_slow(X, rng.standard_normal((500, 1)), np.ones(500))
    assert sorted(rows.source) == list(range(500))
    assert_array_equal(rows.weight, np.ones(500))
    assert not np.array_equal(rows.source, np.arange(500))


def test_one_row():
    rows = canonical_rows(np.ones((1, 2), np.float32), np.ones((1, 1)), np.array([3.0]))
    assert_array_equal(rows.source, [0])
    assert_array_equal(rows.weight, [1])
    assert_array_equal(rows.inverse, [0])


@pytest.mark.parametrize("seed", range(3))
def test_order_depends_on_the_content_alone(seed):
    X, y, weight = sample()
    order = np.random.default_rng(seed).permutation(len(X))
    rows, permuted = canonical_rows(X, y, weight), canonical_rows(X[order], y[order], weight[order])
    assert_array_equal(X[rows.source], X[order][permuted.source])
    assert_array_equal(y[rows.source], y[order][permuted.source])
    assert_allclose(rows.weight, permuted.weight, rtol=1e-14)
    assert_array_equal(rows.inverse[order], permuted.inverse)


def test_weight_two_is_a_repeated_row_and_zero_an_absent_one():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 4)).astype(np.float32)
    y, weight = rng.standard_normal((20, 1)), np.ones(20)
    weight[:3], weight[3:6] = 0, 2
    repeated = np.r_[np.arange(3, 20), np.arange(3, 6)]
    rows = canonical_rows(X, y, weight)
    plain = canonical_rows(X[repeated], y[repeated], np.ones(20))
    assert_array_equal(X[rows.source], X[repeated][plain.source])
    assert_array_equal(rows.weight, plain.weight)


def test_only_ratios_of_weights_matter():
    X, y, weight = sample()
    assert_allclose(
        canonical_rows(X, y, weight).weight, canonical_rows(X, y, 1000 * weight).weight, rtol=1e-14
    )


def test_zero_has_no_sign():
    X = np.array([[0.0, 1.0], [-0.0, 1.0], [2.0, 1.0]], np.float32)
    y = np.array([[1.0], [1.0], [1.0]])
    assert len(canonical_rows(X, y, np.ones(3)).source) == 2


def test_rows_of_one_hash_and_different_labels(monkeypatch):
    monkeypatch.setattr(skestnet._rows, "_hash_rows", lambda _, rows: np.zeros(len(rows), "u8"))
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 4)).astype(np.float32)
    check_against_slow(X, rng.standard_normal((30, 2)), np.ones(30))


def test_rows_of_one_hash_and_one_label_are_not_merged(monkeypatch):
    monkeypatch.setattr(skestnet._rows, "_hash_rows", lambda _, rows: np.zeros(len(rows), "u8"))
    X = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
    check_against_slow(X, np.zeros((30, 1)), np.ones(30))


OTHER_TYPES = [
    np.float64,
    np.float16,
    np.int64,
    np.int32,
    np.int8,
    np.uint16,
    np.bool_,
    ">f4",
    ">i8",
]


@pytest.mark.parametrize("dtype", OTHER_TYPES)
@pytest.mark.parametrize("n_features", [1, 3])
def test_features_of_another_type_against_a_dictionary(dtype, n_features):
    X, y, weight = sample(n_features=n_features)
    X = (X - 2).astype(dtype) if np.dtype(dtype).kind in "fi" else (X - 1).astype(dtype)
    check_against_slow(X, y, weight)


@pytest.mark.parametrize("dtype", OTHER_TYPES)
def test_order_depends_on_the_content_of_another_type(dtype):
    X, y, weight = sample()
    X, order = X.astype(dtype), np.random.default_rng(0).permutation(len(X))
    rows, permuted = canonical_rows(X, y, weight), canonical_rows(X[order], y[order], weight[order])
    assert_array_equal(X[rows.source], X[order][permuted.source])
    assert_array_equal(rows.inverse[order], permuted.inverse)


def test_features_are_told_apart_by_their_last_digit():
    y = np.zeros((2, 1))
    for dtype in (np.float64, np.float32, np.float16):
        X = np.array([[1.0], [1.0]], dtype)
        X[1] = np.nextafter(X[0], dtype(2))
        assert len(canonical_rows(X, y, np.ones(2)).source) == 2
    X = np.array([[2**40], [2**40 + 1]])
    assert len(canonical_rows(X, y, np.ones(2)).source) == 2


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_zero_has_no_sign_in_another_precision(dtype):
    X = np.array([[0.0, 1.0], [-0.0, 1.0], [2.0, 1.0]], dtype)
    assert len(canonical_rows(X, np.ones((3, 1)), np.ones(3)).source) == 2


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_rows_with_nan_in_the_same_places_are_merged(dtype):
    X = np.random.default_rng(0).standard_normal((20, 3)).astype(dtype)
    X[::2, 1] = np.nan
    rows = canonical_rows(np.r_[X, X], np.zeros((40, 1)), np.ones(40))
    assert len(rows.source) == 20
    assert_array_equal(rows.inverse[:20], rows.inverse[20:])


@pytest.mark.parametrize("n_features", [1, 2, 64])
def test_hash_tells_similar_rows_apart(n_features):
    # Quantised fluxes have many equal bits, which a weak hash would confuse.
    rng = np.random.default_rng(0)
    X = np.unique(rng.integers(0, 256, (20_000, n_features)).astype(np.float32), axis=0)
    hashes = skestnet._rows._hash_rows(X, np.arange(len(X)))
    assert len(np.unique(hashes)) == len(X)


def test_hash_does_not_depend_on_blocks_or_memory_order():
    X = np.random.default_rng(0).standard_normal((100, 64)).astype(np.float32)
    expected = skestnet._rows._hash_rows(X, np.arange(100))
    assert_array_equal(skestnet._rows._hash_rows(np.asfortranarray(X), np.arange(100)), expected)
    assert_array_equal(skestnet._rows._hash_rows(X, np.arange(100)[::-1]), expected[::-1])
    wide = np.tile(X, (1, 300))[:, : 2**14]  # 64 rows in a block
    together = skestnet._rows._hash_rows(wide, np.arange(100))
    assert_array_equal(together[70:], skestnet._rows._hash_rows(wide, np.arange(70, 100)))


def test_memory_map_is_read_but_not_changed(tmp_path):
    X, y, weight = sample()
    path = tmp_path / "X.npy"
    np.save(path, X)
    mapped = np.load(path, mmap_mode="r")
    for given in (mapped, X):
        given.flags.writeable = False
        rows = canonical_rows(given, y, weight)
        assert_array_equal(rows.source, canonical_rows(X.copy(), y, weight).source)
        assert not np.shares_memory(rows.source, given)


def test_equal_rows_of_long_doubles_are_merged():
    X = np.repeat(np.random.default_rng(0).permutation(50)[:, None] / np.longdouble(7), 2, axis=0)
    assert len(canonical_rows(X, np.zeros((100, 1)), np.ones(100)).source) == 50
