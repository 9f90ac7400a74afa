"""Dask: the recipes of the guide's page on scale, run as they stand there."""

import os
import re
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skestnet import EstNetRegressor, load, predict_dist, save
from skestnet.datasets import make_white_dwarfs

DASK = 'needs Dask: pip install "skestnet[distributed]"'
dask = pytest.importorskip("dask", reason=DASK)
da = pytest.importorskip("dask.array", reason=DASK)
distributed = pytest.importorskip("distributed", reason=DASK)
pytest.importorskip("skops", reason='a model is loaded from a file: needs "skestnet[save]"')

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "scale.md"


def recipe(beginning, **names):
    """Run what the page has in the block with this beginning; return all names there are then."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    (code,) = [block for block in blocks if block.startswith(beginning)]
    # As in a session: Dask sends functions of __main__ whole, and others by name.
    names |= {"__name__": "__main__"}
    exec(compile(code, str(PAGE), "exec"), names)
    return names


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which tests and workers are."""
    path = tmp_path_factory.mktemp("dask")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        yield path


@pytest.fixture(scope="module")
def client(folder):
    """Two processes of one thread each, on this machine only."""
    two = {"n_workers": 2, "threads_per_worker": 1, "processes": True}
    loopback = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}  # any free port
    setting = re.search(r"^dask\.config\.set\((.*)\)$", PAGE.read_text(encoding="utf-8"), re.M)
    with (
        dask.config.set(eval(setting[1])),
        distributed.LocalCluster(**two, **loopback, local_directory=folder) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module", name="data")
def white_dwarfs():
    return make_white_dwarfs(60, n_pixels=100, return_X_y=True, random_state=0)


@pytest.fixture(scope="module")
def pipeline():
    network = EstNetRegressor(depth=12, width=2, max_epochs=1, random_state=0, device="cpu")
    return make_pipeline(StandardScaler(), network)


@pytest.fixture(scope="module")
def fitted(pipeline, data, folder):
    """A model, which is also in a file."""
    model = pipeline.fit(*data)
    save(model, folder / "dwarfs.skestnet")
    return model


@pytest.fixture(scope="module")
def expected(fitted, data):
    """Labels and bounds of their intervals, in memory."""
    X, _ = data
    low, high = predict_dist(fitted, X).interval(0.68)
    return np.column_stack([fitted.predict(X), low, high])


def test_scaling_and_training_on_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y = make_white_dwarfs(40, n_pixels=50, return_X_y=True, random_state=0)
    np.save("spectra.npy", X)
    np.save("labels.npy", y)
    names = recipe("import numpy as np\nfrom numpy.lib")
    np.testing.assert_allclose(names["scaled"], StandardScaler().fit_transform(X), atol=1e-5)
    model = recipe("import skestnet", np=np, scaler=names["scaler"])["model"]
    assert_array_equal(load("dwarfs.skestnet").predict(X), model.predict(X))
    network = load("training.skestnet")
    assert_array_equal(make_pipeline(names["scaler"], network).predict(X), model.predict(X))
    names["scaled"]._mmap.close()


def new_search(pipeline):
    """A search that also tells in which process each fit was."""

    def process(*_):
        return os.getpid()

    grid = {"estnetregressor__lr": [0.003, 0.01]}
    scoring = {"r2": "r2", "process": process}
    return GridSearchCV(pipeline, grid, cv=2, scoring=scoring, refit=False)


def of_fits(search, score):
    return np.concatenate([search.cv_results_[f"split{k}_test_{score}"] for k in range(2)])


@pytest.fixture(scope="module")
def serial(pipeline, data):
    """Scores of a search, one fit after the other."""
    search = new_search(pipeline).fit(*data)
    assert set(of_fits(search, "process")) == {os.getpid()}
    scores = of_fits(search, "r2")
    assert len(np.unique(scores)) == 4
    return scores


def test_a_search_on_dask_has_the_scores_of_a_serial_one(client, pipeline, data, serial):
    (X, y), search = data, new_search(pipeline)
    recipe('with joblib.parallel_config("dask")', joblib=joblib, search=search, X=X, y=y)
    assert set(of_fits(search, "process")) <= set(client.run(os.getpid).values())
    assert_array_equal(of_fits(search, "r2"), serial)


@pytest.mark.slow
def test_a_search_in_processes_has_the_scores_of_a_serial_one(pipeline, data, serial):
    search = new_search(pipeline)
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        search.fit(*data)
    assert os.getpid() not in of_fits(search, "process")
    assert_array_equal(of_fits(search, "r2"), serial)


def test_workers_reuse_large_blocks_of_memory(client):
    found = client.run(lambda: os.environ["MALLOC_MMAP_THRESHOLD_"])
    assert set(found.values()) == {str(2**25)}


def test_workers_hold_torch_to_one_thread(client):
    def n_threads():
        import torch

        return torch.get_num_threads()

    assert list(client.run(n_threads).values()) == [1, 1]


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("where", ["file", "memory"])
def test_predictions_of_an_array_in_uneven_blocks(data, fitted, expected, where):
    X, _ = data
    model = {"file": dask.delayed(load)("dwarfs.skestnet"), "memory": dask.delayed(fitted)}[where]
    spectra = da.from_array(X, chunks=((13, 1, 29, 17), -1))
    names = {"np": np, "predict_dist": predict_dist, "spectra": spectra, "model": model}
    catalogue = recipe("def labels", **names)["catalogue"]
    assert catalogue.chunks == ((13, 1, 29, 17), (6,))
    assert_array_equal(catalogue.compute(), expected)


@pytest.mark.usefixtures("client")
def test_labels_and_standard_deviations_of_an_array(data, fitted):
    def labels(flux, model):
        return np.hstack(model.predict(flux, return_std=True))

    spectra = da.from_array(data[0], chunks=((41, 19), -1))
    chunks, meta = (spectra.chunks[0], (4,)), np.empty((0, 0))
    found = spectra.map_blocks(labels, model=dask.delayed(fitted), chunks=chunks, meta=meta)
    label, std = fitted.predict(data[0], return_std=True)
    assert_array_equal(found.compute(), np.column_stack([label, std]))


@pytest.mark.usefixtures("client")
def test_predictions_from_zarr_to_zarr(data, expected):
    zarr = pytest.importorskip("zarr", reason="needs Zarr: pip install zarr")
    X, _ = data
    zarr.create_array("spectra.zarr", data=X, chunks=(20, 50))
    names = recipe("def labels", np=np, **recipe("import dask\nimport dask.array"))
    recipe("catalogue.to_zarr", **names)
    assert_array_equal(zarr.open_array("catalogue.zarr", mode="r")[:], expected)


@pytest.mark.usefixtures("client")
def test_predictions_of_a_table(data, expected):
    pd = pytest.importorskip("pandas", reason="needs pandas: pip install pandas")
    pytest.importorskip("pyarrow", reason="needs pyarrow: pip install pyarrow")
    X, _ = data
    table = pd.DataFrame(X, columns=[f"p{k}" for k in range(X.shape[1])])
    table.insert(0, "obsid", np.arange(1000, 1060))
    Path("spectra.parquet").mkdir()
    for k, rows in enumerate([slice(0, 13), slice(13, 60)]):
        table[rows].to_parquet(f"spectra.parquet/{k}.parquet")
    names = recipe("import dask.dataframe", model=dask.delayed(load)("dwarfs.skestnet"))
    assert names["table"].npartitions == 2
    found = pd.read_parquet("catalogue.parquet")
    assert list(found.columns) == ["obsid", "teff", "logg"]
    assert_array_equal(found["obsid"], table["obsid"])
    assert_array_equal(found[["teff", "logg"]], expected[:, :2])
