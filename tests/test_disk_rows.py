import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.preprocessing import StandardScaler

from skestnet import AdaptiveMLPRegressor
from skestnet._batches import MAP_BYTES, rows_at_once
from skestnet._disk_rows import DiskRows, is_on_disk
from skestnet.nn import MLP, EstNet


class Stored:
    """What h5py has: rows by ascending numbers only, and no copy by accident."""

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.chunks = (4, values.shape[1])
        self.most = 0

    def __getitem__(self, rows):
        if not isinstance(rows, slice):
            assert (np.diff(rows) > 0).all(), "h5py refuses that"
        found = self.values[rows]
        self.most = max(self.most, len(found))
        return found

    def __array__(self, *args, **params):
        raise AssertionError("copied as a whole")


@pytest.fixture(params=["rows", "zarr"])
def stored(request, tmp_path):
    if request.param == "rows":
        return Stored
    zarr = pytest.importorskip("zarr", reason="needs Zarr: pip install zarr")

    def store(values):
        path = tmp_path / f"{id(values)}.zarr"
        params = {"shape": values.shape, "dtype": values.dtype, "chunks": (4, 8)}
        array = zarr.create_array(path, **params, overwrite=True)
        array[:] = values
        return zarr.open_array(path, mode="r")

    return store


def test_rows_in_any_order(stored):
    values = np.arange(60.0).reshape(10, 6)
    rows = DiskRows(stored(values))
    assert (len(rows), rows.shape, rows.ndim, rows.dtype) == (10, (10, 6), 2, np.float32)
    for index in (slice(2, 5), np.array([7, 2, 7, 0]), 3, np.array([], dtype=int)):
        found = rows[index]
        assert found.dtype == np.float32
        assert_array_equal(found, values[index])


def test_what_is_on_disk(stored):
    assert is_on_disk(stored(np.zeros((2, 3))))
    for other in (np.zeros((2, 3)), [[1.0]], None):
        assert not is_on_disk(other)
    dask = pytest.importorskip("dask.array", reason="needs Dask")
    assert not is_on_disk(dask.zeros((2, 3)))


@pytest.mark.parametrize("params", [{}, {"preprocess": StandardScaler(), "augment": 0.1}])
def test_a_fit_is_the_same_from_disk(params, stored, lines, small_regressor):
    X, y = lines
    in_memory = small_regressor(**params).fit(X, y)
    on_disk = small_regressor(**params).fit(stored(X), y)
    for name, weights in in_memory.net_.module_.state_dict().items():
        assert_array_equal(weights, on_disk.net_.module_.state_dict()[name])
    assert_array_equal(on_disk.predict(stored(X)), in_memory.predict(X))
    assert_array_equal(on_disk.features(stored(X)), in_memory.features(X))
    assert on_disk.n_features_in_ == X.shape[1]
    assert_array_equal(pickle.loads(pickle.dumps(on_disk)).predict(X), in_memory.predict(X))


def test_other_numbers_are_converted_by_rows(stored, lines):
    X, y = lines
    est = AdaptiveMLPRegressor(max_epochs=1, random_state=0)
    expected = est.fit(X.astype(np.float64), y).predict(X)
    assert_array_equal(est.fit(stored(X.astype(np.float64)), y).predict(X), expected)


def test_no_more_rows_than_a_block_at_once(lines, small_regressor, monkeypatch):
    X, y = lines
    monkeypatch.setattr("skestnet._disk_rows.BLOCK", 5 * X.shape[1])
    monkeypatch.setitem(MAP_BYTES, "cpu", 4 * 4 * 2 * X.shape[1])  # four rows of width 2
    flux = Stored(X)
    small_regressor(batch_size=4).fit(flux, y).predict(flux)
    # canonical rows look at 2**20 numbers together, which is all of these
    assert flux.most == len(X)
    monkeypatch.setattr("skestnet._rows.BLOCK", 5 * X.shape[1])
    flux = Stored(X)
    small_regressor(batch_size=4).fit(flux, y).predict(flux)
    assert flux.most == 5


def test_bad_values_are_found(stored, lines, small_regressor):
    X, y = (array.copy() for array in lines)
    est = small_regressor().fit(X, y)
    X[7, 3] = np.nan
    for call in (lambda: est.fit(stored(X), y), lambda: est.predict(stored(X))):
        with pytest.raises(ValueError, match=r"Input X contains NaN.*MaskedPixelImputer"):
            call()
    X[7, 3] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        est.fit(stored(X), y)


def test_bad_shapes_are_named(stored, lines, small_regressor):
    X, y = lines
    est = small_regressor()
    with pytest.raises(ValueError, match=r"has the shape \(2, 3, 4\): expected"):
        est.fit(Stored(np.zeros((2, 3, 4))), y)
    with pytest.raises(ValueError, match="dtype complex128: expected real numbers"):
        est.fit(Stored(np.zeros((2, 3), complex)), y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        est.fit(stored(X), y[1:])
    with pytest.raises(ValueError, match=r"1 sample\(s\) while a minimum of 2"):
        est.fit(stored(X[:1]), y[:1])
    with pytest.raises(ValueError, match="5 features, but EstNetRegressor is expecting 24"):
        est.fit(X, y).predict(stored(X[:, :5]))


# ---- How many at once --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "n_pixels", "on_cpu", "on_gpu"),
    [(1, 24, 256, 4096), (16, 977, 64, 2048), (64, 3909, 4, 128), (512, 20_000, 1, 2)],
)
def test_batches_of_predictions_follow_the_size_of_the_network(width, n_pixels, on_cpu, on_gpu):
    net = EstNet(n_pixels, width=2, depth=12)
    net.n_largest = width * n_pixels
    assert rows_at_once(net, n_pixels, "cpu") == on_cpu
    assert rows_at_once(net, n_pixels, "cuda:1") == on_gpu


def test_size_of_the_largest_map():
    assert EstNet(100, width=4, depth=12).n_largest == 400
    assert MLP(100, hidden=(7, 300)).n_largest == 300
    assert rows_at_once(MLP(8, hidden=(4,)), 8, "cpu") == 256
    assert rows_at_once(object(), 1024, "cpu") == 16  # a network of someone else
