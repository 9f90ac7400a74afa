"""Saving and loading: round trips, what is refused, and files that were damaged or forged."""

import contextlib
import io
import json
import multiprocessing
import os
import pickle
import random
import re
import struct
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pytest
import scipy.special
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
    StackingRegressor,
    VotingRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import BayesianRidge, QuantileRegressor, Ridge, SGDRegressor
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, SplineTransformer, StandardScaler

import skestnet
from skestnet import (
    AdaptiveMLPRegressor,
    AdaptiveWeighter,
    AdaptiveWeightRegressor,
    CalibratedRegressor,
    EstNetRegressor,
    MultiQuantileRegressor,
    OutOfDomainDetector,
    predict_dist,
)
from skestnet._saving._container import MANIFEST, PLACE_OF_DIGEST, sealed, unzipped, zipped
from skestnet.metrics import coverage_scorer, crps_scorer
from skestnet.spectra import (
    AddedNoise,
    ContinuumNormalizer,
    CosmicRayClipper,
    FluxScaler,
    MaskedPixelImputer,
    Resampler,
)
from skestnet.templates import SpectrumDegrader

pytest.importorskip("skops")
pytest.importorskip("safetensors")

ESTIMATOR = "estimator.skops"
WAVELENGTH = np.linspace(4000, 4230, 24)
VERSIONS = {"skestnet": "0.1"}


def network(**params):
    small = {"width": 2, "max_epochs": 2, "batch_size": 8, "random_state": 0, "device": "cpu"}
    return EstNetRegressor(**{**small, **params})


def perceptron(**params):
    small = {"hidden_layer_sizes": (4,), "max_epochs": 2, "random_state": 0, "device": "cpu"}
    return AdaptiveMLPRegressor(**{**small, **params})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.skestnet"


def saved_and_loaded(model, path):
    skestnet.save(model, path)
    return skestnet.load(path)


def distribution(model, X):
    dist = predict_dist(model, X)
    return [dist.mean(), dist.std(), dist.ppf(0.1), dist.crps(X[:, 0])]


NETWORKS = {
    "EstNet": network(shortcut=2),
    "heteroscedastic": network(noise="heteroscedastic"),
    "no noise": network(noise="none", weighter=None, validation_fraction=0),
    "mixture": perceptron(weighter=AdaptiveWeighter()),
    "MLP": perceptron(hidden_layer_sizes=np.array([4, 3])),
    "net_params": network(
        net_params={"optimizer": torch.optim.SGD, "module__reduction": np.int64(2)}
    ),
    "compiled": perceptron(net_params={"compile": True, "compile__backend": "eager"}),
    "preprocess": perceptron(
        preprocess=make_pipeline(MaskedPixelImputer(), StandardScaler()), augment=AddedNoise()
    ),
    "degrader": perceptron(
        preprocess=MaskedPixelImputer(),
        augment=SpectrumDegrader(WAVELENGTH, WAVELENGTH, resolution=None, velocity=0),
    ),
    "pipeline": make_pipeline(
        CosmicRayClipper(),
        Resampler(WAVELENGTH, WAVELENGTH[2:-2] + 1),
        MaskedPixelImputer(),
        FluxScaler(),
        ContinuumNormalizer(WAVELENGTH[2:-2] + 1),
        StandardScaler(),
        perceptron(),
    ),
    "search": GridSearchCV(
        make_pipeline(StandardScaler(), perceptron()),
        {"adaptivemlpregressor__lr": [0.01, 0.003]},
        cv=KFold(2),
        scoring={"crps": crps_scorer, "coverage": coverage_scorer(0.9)},
        refit="crps",
    ),
    "transformed target": TransformedTargetRegressor(perceptron(), transformer=StandardScaler()),
    "bagging": BaggingRegressor(perceptron(), 2, random_state=0),
    "calibrated": CalibratedRegressor(perceptron(), calibration_fraction=0.5, random_state=0),
    "weighted": AdaptiveWeightRegressor(perceptron(weighter=None)),
}
OTHERS = {
    "calibrated": CalibratedRegressor(BayesianRidge(), cv=3, random_state=0),
    "weighted": AdaptiveWeightRegressor(Ridge(), AdaptiveWeighter(phi1=np.sqrt)),
    "quantiles": MultiQuantileRegressor(QuantileRegressor(alpha=0)),
    "forest": RandomForestRegressor(3, random_state=0),
    "process": GaussianProcessRegressor(1.0 * RBF() + WhiteKernel(), optimizer=None),
    "boosting": GradientBoostingRegressor(n_estimators=3, random_state=0),
    "hist": HistGradientBoostingRegressor(max_iter=3, max_features=0.5, random_state=0),
    "logarithm": TransformedTargetRegressor(
        BayesianRidge(), func=np.log10, inverse_func=scipy.special.exp10
    ),
    "columns": make_pipeline(
        ColumnTransformer([("a", PCA(2), slice(0, 9)), ("b", "passthrough", [9, 10])]), Ridge()
    ),
    "search": GridSearchCV(
        make_pipeline(StandardScaler(), Ridge()), {"ridge": [Ridge(), SGDRegressor(tol=None)]}
    ),
    "stack": StackingRegressor(
        [("a", Ridge()), ("b", MLPRegressor(hidden_layer_sizes=(3,), tol=1e9))]
    ),
    "clip": make_pipeline(FunctionTransformer(np.clip, kw_args={"a_min": 0, "a_max": 1}), Ridge()),
}


@pytest.fixture(scope="module")
def positive(line_spectra):
    """Spectra, all positive, and one label."""
    X, y = line_spectra(80)
    return np.abs(X) + 0.1, y[:, 0]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_the_same_after_loading(name, positive, path):
    X, y = positive
    model = clone(NETWORKS[name]).fit(X, y)
    loaded = saved_and_loaded(model, path)
    assert type(loaded) is type(model)
    assert repr(loaded) == repr(model)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    for ours, theirs in zip(distribution(loaded, X), distribution(model, X), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", OTHERS)
def test_other_regressors_are_the_same_after_loading(name, positive, path):
    X, y = positive
    model = clone(OTHERS[name]).fit(X, y)
    loaded = saved_and_loaded(model, path)
    assert repr(loaded) == repr(model)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    if name not in ("boosting", "hist", "columns", "search", "stack", "clip", "weighted"):
        for ours, theirs in zip(distribution(loaded, X), distribution(model, X), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_two_labels_with_groups_of_snr(lines, path):
    X, y = np.tile(lines[0], (3, 1)), np.tile(lines[1], (3, 1))
    snr = np.linspace(1, 10, len(X))
    inner = MultiOutputRegressor(BayesianRidge())
    model = CalibratedRegressor(inner, n_groups=2, random_state=0).fit(X, y, snr=snr)
    loaded = saved_and_loaded(model, path)
    ours, theirs = (each.predict_dist(X, snr=snr) for each in (loaded, model))
    np.testing.assert_array_equal(ours.ppf(0.16), theirs.ppf(0.16))
    np.testing.assert_array_equal(ours.covariance(), theirs.covariance())


def test_detector_scores_are_the_same(fitted, lines, path):
    detector = OutOfDomainDetector(fitted).fit(lines[0])
    loaded = saved_and_loaded(detector, path)
    np.testing.assert_array_equal(loaded.score_samples(lines[0]), detector.score_samples(lines[0]))


def test_what_fit_learnt_is_there(fitted_two, lines, path):
    loaded = saved_and_loaded(fitted_two, path)
    assert loaded.history_ == fitted_two.history_
    assert loaded.n_iter_ == fitted_two.n_iter_
    for name in ("sample_weight_", "noise_scale_", "noise_correlation_", "label_mean_"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(fitted_two, name))
    for seed in (None, 3):
        ours, theirs = (e.predict_dist(lines[0], 5, seed) for e in (loaded, fitted_two))
        np.testing.assert_array_equal(ours.ppf(0.3), theirs.ppf(0.3))


def test_names_of_columns_stay(lines, path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(lines[0], columns=[f"p{i}" for i in range(24)])
    model = perceptron().fit(frame, lines[1])
    loaded = saved_and_loaded(model, path)
    np.testing.assert_array_equal(loaded.feature_names_in_, model.feature_names_in_)
    np.testing.assert_array_equal(loaded.predict(frame), model.predict(frame))


def test_the_saved_estimator_is_left_alone(fitted, lines, path):
    net, before = fitted.net_, fitted.predict(lines[0])
    skestnet.save(fitted, path)
    assert fitted.net_ is net
    np.testing.assert_array_equal(fitted.predict(lines[0]), before)


def test_shared_networks_stay_shared(fitted, path):
    model = VotingRegressor([("a", Ridge()), ("b", Ridge())])
    model.estimators_ = [fitted, fitted]
    first, second = saved_and_loaded(model, path).estimators_
    assert first.net_ is second.net_


def test_parameters_changed_after_fit_do_not_matter(lines, path):
    model = network().fit(*lines)
    model.set_params(width=8, depth=34, noise="heteroscedastic", shortcut=3)
    loaded = saved_and_loaded(model, path)
    assert loaded.width == 8
    np.testing.assert_array_equal(loaded.predict(lines[0]), model.predict(lines[0]))


@pytest.mark.parametrize("make", [network, perceptron])
def test_training_goes_on_from_loaded_weights(make, lines, path):
    model = make(warm_start=True).fit(*lines)
    loaded = saved_and_loaded(model, path)
    loaded.set_params(lr=1e-12).fit(*lines)  # steps that change nothing: where does it start?
    np.testing.assert_allclose(loaded.predict(lines[0]), model.predict(lines[0]), rtol=0.05)
    assert loaded.history_[: len(model.history_)] == model.history_
    assert len(loaded.history_) > len(model.history_)


def test_unfitted_estimators(lines, path):
    model = make_pipeline(StandardScaler(), network())
    loaded = saved_and_loaded(model, path)
    assert repr(loaded) == repr(model)
    assert not hasattr(loaded[-1], "net_")
    X, y = lines
    np.testing.assert_array_equal(loaded.fit(X, y).predict(X), model.fit(X, y).predict(X))


def test_random_generators_are_left_alone(fitted, path):
    skestnet.save(fitted, path)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    skestnet.load(path)
    torch.testing.assert_close(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_pickle_and_joblib_keep_working(fitted, lines, tmp_path):
    joblib.dump(fitted, tmp_path / "model.joblib")
    for loaded in (joblib.load(tmp_path / "model.joblib"), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(loaded.predict(lines[0]), fitted.predict(lines[0]))


def test_frozen_networks(fitted, lines, path):
    model = CalibratedRegressor(FrozenEstimator(fitted), calibration_fraction=0.9).fit(
        np.tile(lines[0], (4, 1)), np.tile(lines[1][:, 0], 4)
    )
    loaded = saved_and_loaded(model, path)
    np.testing.assert_array_equal(loaded.predict(lines[0]), model.predict(lines[0]))


def test_what_refers_to_itself(path):
    model = Ridge()
    model.copy_X = [model]
    with pytest.raises(ValueError, match="refers back to itself, as requests for metadata do"):
        skestnet.save(model, path)


def test_a_device_that_is_not_there(fitted, lines, path, monkeypatch):
    monkeypatch.setitem(vars(fitted), "device", "cuda:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="device='cuda:0' is not there"):
        skestnet.save(fitted, path)
    with pytest.warns(UserWarning, match="device='cuda:0' is not there"):
        loaded = skestnet.load(path)
    np.testing.assert_array_equal(loaded.predict(lines[0]), fitted.predict(lines[0]))


# What cannot be saved


class Foreign(BaseEstimator):
    """An estimator of somebody else."""


REFUSED = [
    (FunctionTransformer(lambda x: x), r"estimator.func is a .*<lambda>.*such as np.log10"),
    (make_pipeline(Ridge(), FunctionTransformer(os.system)), r"estimator.steps\[1\]\[1\].func"),
    (FunctionTransformer(np.load), r"numpy.load, which a file may not hold"),
    (network(augment=AddedNoise().__call__), r"estimator.augment"),
    (make_pipeline(StandardScaler(), Foreign()), r"estimator.steps\[1\]\[1\] is a .*Foreign"),
    (KNeighborsRegressor(), r"KNeighborsRegressor, which a file may not hold.*joblib.dump"),
    (SplineTransformer(), "SplineTransformer"),
    (make_pipeline(StandardScaler(), memory="folder"), r"cache \(memory\)"),
    (GridSearchCV(Ridge(), {}, scoring=lambda *_: 1.0), "estimator.scoring"),
    (Ridge(alpha=Path("folder")), "estimator.alpha"),
    (Ridge(alpha=b"bytes"), "bytes"),
    (Ridge(alpha={True: 1}), "builtins.bool"),
]


@pytest.mark.parametrize(("model", "message"), REFUSED)
def test_what_cannot_be_saved_is_named(model, message, path):
    error = f"(?s)Cannot save the estimator: .*{message}"
    with pytest.raises((TypeError, ValueError), match=error):
        skestnet.save(model, path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("thing", [3, None, {"model": Ridge()}, Ridge])
def test_only_estimators_are_saved(thing, path):
    with pytest.raises(TypeError, match="expected an estimator"):
        skestnet.save(thing, path)


class OwnMLP(skestnet.nn.MLP):
    """A network of somebody else."""


@pytest.mark.parametrize(
    ("net_params", "message"),
    [
        ({"module": OwnMLP}, "net_params has module="),
        ({"callbacks": "disable"}, "net_params has callbacks="),
        ({"compile__backend": len}, "net_params has compile__backend="),
        ({"optimizer": torch.optim.LBFGS}, "torch.optim.lbfgs.LBFGS"),
    ],
)
def test_net_params_that_cannot_be_saved(net_params, message, lines, path):
    model = perceptron().fit(*lines).set_params(net_params=net_params)
    with pytest.raises(TypeError, match=message):
        skestnet.save(model, path)


def test_networks_of_others(lines, path):
    model = perceptron().fit(*lines)
    model.net_.module_.__class__ = OwnMLP
    with pytest.raises(TypeError, match=r"OwnMLP.*only those of skestnet"):
        skestnet.save(model, path)


@pytest.mark.parametrize("missing", ["skops.io", "safetensors.torch"])
def test_missing_libraries_are_named(missing, path, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    for call in (lambda: skestnet.save(Ridge(), path), lambda: skestnet.load(path)):
        with pytest.raises(ImportError, match=r'pip install "skestnet\[save\]"'):
            call()


# The file


def test_writing_is_all_or_nothing(path, monkeypatch):
    skestnet.save(Ridge(alpha=2), path)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        skestnet.save(Ridge(alpha=3), path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before
    monkeypatch.undo()
    skestnet.save(Ridge(alpha=3), path)
    assert skestnet.load(path).alpha == 3
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_links_are_followed(path, tmp_path):
    link = tmp_path / "link"
    path.touch()
    link.symlink_to(path)
    skestnet.save(Ridge(), str(link))
    assert link.is_symlink()
    assert isinstance(skestnet.load(path), Ridge)


def test_folders_and_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        skestnet.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        skestnet.save(Ridge(), tmp_path / "nothing" / "model")
    with pytest.raises(IsADirectoryError, match=r"path='.*' is a folder: expected the name"):
        skestnet.save(Ridge(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_environment_is_recorded(path):
    skestnet.save(Ridge(), path)
    with zipfile.ZipFile(path) as archive:  # which common tools open, too
        assert archive.testzip() is None
        manifest = json.loads(archive.read(MANIFEST))
    assert manifest["format"] == 1
    assert manifest["versions"]["skestnet"] == skestnet.__version__
    assert manifest["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert {"python", "numpy", "scikit-learn", "skops"} < set(manifest["versions"])


def resealed(members, versions=VERSIONS):
    """Return a file that a forger would write: with the right digest."""
    return sealed({k: v for k, v in members.items() if k != MANIFEST}, versions, "2026-01-01")


def signed(members):
    """Return a file with these members, whatever its manifest says."""
    data = zipped(members, PLACE_OF_DIGEST)[: -len(PLACE_OF_DIGEST)]
    from skestnet._saving._container import _digest

    return data + _digest(data)


def refused(path, data, message=""):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"(?s)Cannot load {path}.*{message}"):
        skestnet.load(path)


def test_files_of_newer_releases_say_so(path):
    skestnet.save(Ridge(), path)
    members = unzipped(path.read_bytes())
    manifest = json.loads(members[MANIFEST])
    manifest["format"], manifest["versions"]["skestnet"] = 2, "9.1"
    members[MANIFEST] = json.dumps(manifest).encode()
    refused(path, signed(members), "format 2, written by skestnet 9.1.*formats up to 1: update")
    for number in (0, -1, True, "1", None):
        manifest["format"] = number
        refused(path, signed({**members, MANIFEST: json.dumps(manifest).encode()}), "expected 1")


def test_other_versions_are_named_where_loading_fails(path):
    skestnet.save(Ridge(), path)
    members = unzipped(path.read_bytes())
    members[ESTIMATOR] = members[ESTIMATOR].replace(b"_ridge", b"_edges")
    data = resealed(members, {"skestnet": "0.1", "scikit-learn": "0.99"})
    refused(path, data, r"It was saved with.* scikit-learn 0.99 \(here 1.\d")


OLD_PREDICTIONS = [10269.93023134295, 10268.227255555053, 10264.154600201467]
OLD_STD = [1367.412339567911] * 3
OLD = Path(__file__).parent / "data" / "format_1.skestnet"


def test_files_of_older_releases_load(lines):
    # Written once by AdaptiveMLPRegressor(hidden_layer_sizes=(2,), max_epochs=1, weighter=None,
    # random_state=0).fit(X[:, :3], y[:, 0]) of the fixture `lines`; never to be written again.
    loaded = skestnet.load(OLD)
    X = lines[0][:3, :3]
    np.testing.assert_allclose(loaded.predict(X), OLD_PREDICTIONS, rtol=1e-5)
    np.testing.assert_allclose(loaded.predict_dist(X, 4).std(), OLD_STD, rtol=1e-5)


# Forgeries. What they plant makes a folder when it is run.


class Bomb:
    """Something that makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def trap(tmp_path):
    folder = tmp_path / "executed"
    yield folder
    assert not folder.exists()


def test_the_trap_would_be_noticed(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    """Content of a file with a network and trees, and spectra for it."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 5)), rng.standard_normal(30)
    forest = RandomForestRegressor(2, max_depth=2, random_state=0)
    boosted = HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=5, random_state=0)
    parts = [("net", perceptron()), ("forest", forest), ("boosted", boosted)]
    model = make_pipeline(StandardScaler(), VotingRegressor(parts)).fit(X, y)
    for epoch in model[-1].named_estimators_["net"].history_:
        epoch["seconds"] = 0.5  # always of the same length: see `renumbered`
    path = tmp_path_factory.mktemp("genuine") / "model.skestnet"
    skestnet.save(model, path)
    path.write_bytes(renumbered(path.read_bytes()))
    np.testing.assert_array_equal(skestnet.load(path).predict(X), model.predict(X))
    return path.read_bytes(), X


def renumbered(data):
    """Number the parts, which skops names by their addresses: so that a seed changes the same."""
    forgery = Forgery(data)
    identities = dict.fromkeys(str(node["__id__"]) for node in forgery.nodes())
    numbers = {old: str(10**6 + i) for i, old in enumerate(identities)}
    inner = {}
    for name, content in forgery.inner.items():
        stem, _, ending = name.partition(".")
        inner[f"{numbers.get(stem, stem)}.{ending}"] = content
    schema = inner["schema.json"].decode()
    schema = re.sub(r"\d+", lambda number: numbers.get(number[0], number[0]), schema)
    return forgery.sealed_with({**inner, "schema.json": schema.encode()})


def below(state):
    """Loop over nodes."""
    if isinstance(state, dict):
        if isinstance(state.get("__loader__"), str):
            yield state
        state = list(state.values())
    if isinstance(state, list):
        for item in state:
            yield from below(item)


class Forgery:
    """The parts of a file, to be changed and sealed again."""

    def __init__(self, data):
        self.outer = unzipped(data)
        self.inner = unzipped(self.outer.pop(ESTIMATOR))
        self.schema = json.loads(self.inner["schema.json"])

    def nodes(self, kind=None):
        """Return nodes in the order of the file: of equal ones, skops reads the first."""
        return [node for node in below(self.schema) if kind in (None, node["__loader__"])]

    def arrays(self):
        return sorted(name for name in self.inner if name.endswith(".npy"))

    def sealed(self):
        schema = self.inner["schema.json"]
        if json.loads(schema) != self.schema:
            schema = json.dumps(self.schema).encode()
        return self.sealed_with({**self.inner, "schema.json": schema})

    def sealed_with(self, inner):
        return resealed({ESTIMATOR: zipped(inner), **self.outer})


def planted(bomb):
    """Return pickles and what pretends to be none."""
    arrays, archive = io.BytesIO(), io.BytesIO()
    np.save(arrays, np.array([bomb], dtype=object), allow_pickle=True)
    np.savez(archive, data=np.array([bomb], dtype=object))
    weights, dumped = io.BytesIO(), io.BytesIO()
    torch.save(bomb, weights)
    joblib.dump(bomb, dumped)
    plain = [pickle.dumps(bomb, protocol) for protocol in (0, 2, 5)]
    return [*plain, *(file.getvalue() for file in (arrays, archive, weights, dumped))]


def json_node(value, identity):
    text = json.dumps(value)
    return {
        "__class__": "str",
        "__module__": "builtins",
        "__loader__": "JsonNode",
        "content": text,
        "is_json": True,
        "__id__": identity,
    }


def list_node(items, identity, kind="list"):
    loader = f"{kind.capitalize()}Node"
    names = {"__class__": kind, "__module__": "builtins", "__loader__": loader}
    return {**names, "content": items, "__id__": identity}


def calls(folder):
    """Return nodes that skops has for calling things, each set to make a folder."""
    argument = list_node([json_node(str(folder), 901)], 902, "tuple")
    function = {"__class__": "mkdir", "__module__": "posix", "__loader__": "FunctionNode"}
    function["__id__"] = 903
    empty = {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "__id__": 904}
    empty |= {"content": {}, "key_types": list_node([], 905)}
    partial = {"func": function, "args": argument, "kwds": empty, "namespace": empty}
    path = {"__class__": "PosixPath", "__module__": "pathlib", "__id__": 906, "content": argument}
    return [
        function,
        {**function, "__loader__": "TypeNode"},
        {**function, "__loader__": "ConstructorFromReduceNode", "content": argument},
        {**function, "__loader__": "ObjectNode", "content": argument},
        {**function, "__loader__": "TupleNode", "content": argument["content"]},
        {**function, "__loader__": "NdArrayNode", "type": "numpy", "file": "schema.json"},
        {
            "__class__": "partial",
            "__module__": "functools",
            "__loader__": "PartialNode",
            "__id__": 907,
            "content": partial,
        },
        {
            "__class__": "methodcaller",
            "__module__": "operator",
            "__loader__": "OperatorFuncNode",
            "__id__": 908,
            "attrs": list_node([json_node("mkdir", 909)], 910, "tuple"),
        },
        {
            "__class__": "PosixPath",
            "__module__": "pathlib",
            "__loader__": "MethodNode",
            "__id__": 911,
            "content": {"func": "mkdir", "obj": {**path, "__loader__": "ObjectNode"}},
        },
        {**path, "__loader__": "ConstructorFromReduceNode"},
        {
            "__class__": "system",
            "__module__": "os",
            "__loader__": "LossNode",
            "__id__": 912,
            "__reduce__": {"args": argument},
            "content": empty,
        },
    ]


@pytest.mark.parametrize("i", range(7))
def test_a_pickle_is_no_model(i, trap, path):
    message = "it is not a file of skestnet.save" if i not in (4, 5) else "digest does not match"
    refused(path, planted(Bomb(trap))[i], message)


@pytest.mark.parametrize("i", range(7))
def test_pickles_are_not_read_wherever_they_are(i, trap, path, genuine):
    content = planted(Bomb(trap))[i]
    forgery = Forgery(genuine[0])
    for name in (ESTIMATOR, *forgery.outer):
        members = {ESTIMATOR: zipped(forgery.inner), **forgery.outer}
        if name != MANIFEST:
            refused(path, resealed({**members, name: content}))
    for name in ("schema.json", *forgery.arrays()[:3], "other.npy", "other.pkl", "other"):
        refused(path, forgery.sealed_with({**forgery.inner, name: content}))
    refused(path, signed({**unzipped(genuine[0]), MANIFEST: content}))


@pytest.mark.parametrize("i", range(11))
def test_nothing_is_called(i, trap, path, genuine):
    for kind in ("JsonNode", "NdArrayNode", "ObjectNode"):
        forgery = Forgery(genuine[0])
        node = forgery.nodes(kind)[-1]
        node.clear()
        node.update(calls(trap)[i])
        refused(path, forgery.sealed(), "which a file may not hold")


def test_the_root_must_be_an_estimator(path, genuine):
    forgery = Forgery(genuine[0])
    root = {"protocol": forgery.schema["protocol"], "_skops_version": "0"}
    forgery.schema = {**list_node([], 1), **root}
    refused(path, forgery.sealed(), "it holds a list, not an estimator")


def attribute(forgery, cls, name):
    """Return the node of an attribute of the first object of a class, a fitted one if possible."""
    objects = [node for node in forgery.nodes("ObjectNode") if node["__class__"] == cls]
    contents = [node["content"]["content"] for node in objects]
    contents.sort(key=lambda content: "n_features_in_" not in content)
    return next(content[name] for content in contents if name in content)


def replace_attribute(forgery, cls, name, node):
    """Put a node in the place of an attribute, or add one to the first object of a class."""
    try:
        attribute(forgery, cls, name).update(node)
    except StopIteration:
        objects = [n["content"] for n in forgery.nodes("ObjectNode") if n["__class__"] == cls]
        owner = next(node for node in objects if "n_features_in_" in node["content"])
        owner["content"][name] = node
        owner["key_types"]["content"].append(owner["key_types"]["content"][0])


def changed_array(forgery, node, change):
    """Change the array of a node, or what is in it."""

    def changed(array):
        change(array)
        return array

    resized_array(forgery, node, changed)


def resized_array(forgery, node, change):
    """Put what is made of the array of a node in its place."""
    stream = io.BytesIO()
    np.save(stream, change(np.load(io.BytesIO(forgery.inner[node["file"]]))))
    forgery.inner[node["file"]] = stream.getvalue()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("left_child", 10**6, "branches that lead nowhere"),
        ("right_child", -5, "branches that lead nowhere"),
        ("left_child", 0, "branches that lead nowhere"),  # a walk without end
        ("left_child", 2, "branches that meet"),
        ("feature", 5, "features that do not exist"),
        ("feature", -1, "features that do not exist"),
    ],
)
def test_trees_are_checked(field, value, message, path, genuine):
    forgery = Forgery(genuine[0])
    nodes = forgery.nodes("TreeNode")[0]["content"]["content"]["nodes"]
    changed_array(forgery, nodes, lambda array: array[field].__setitem__(0, value))
    refused(path, forgery.sealed(), message)


def test_trees_are_as_deep_as_they_say(path, genuine):
    for depth in (1, 3):
        forgery = Forgery(genuine[0])
        content = forgery.nodes("TreeNode")[0]["content"]["content"]
        content["max_depth"] = json_node(depth, 900)
        refused(path, forgery.sealed(), "not the depth that it says")


@pytest.mark.parametrize("name", ["nodes", "values", "n_classes"])
def test_arrays_of_trees_have_dimensions(name, path, genuine):
    # In scikit-learn 1.9, `nodes` without any would end the process.
    forgery = Forgery(genuine[0])
    tree = forgery.nodes("TreeNode")[0]
    n_classes = tree["__reduce__"]["args"]["content"][1]
    node = n_classes if name == "n_classes" else tree["content"]["content"][name]
    resized_array(forgery, node, lambda array: array.ravel()[0])
    refused(path, forgery.sealed(), "not as many nodes or outputs as it says")


@pytest.mark.parametrize("field", ["node_count", "nodes", "values", "n_classes", "n_outputs"])
def test_trees_are_as_large_as_they_say(field, path, genuine):
    forgery = Forgery(genuine[0])
    tree = forgery.nodes("TreeNode")[0]
    content, args = tree["content"]["content"], tree["__reduce__"]["args"]["content"]
    if field == "node_count":
        content["node_count"] = json_node(6, 900)
    elif field == "n_outputs":
        args[2] = json_node(2, 900)
    else:
        node = args[1] if field == "n_classes" else content[field]
        resized_array(forgery, node, lambda array: np.concatenate([array, array]))
    refused(path, forgery.sealed(), "not as many nodes or outputs as it says")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("left", 10**6, "branches that lead nowhere"),
        ("right", 0, "branches that lead nowhere"),
        ("feature_idx", 77, "features that do not exist"),
        ("is_categorical", 1, "categorical"),
    ],
)
def test_boosted_trees_are_checked(field, value, message, path, genuine):
    forgery = Forgery(genuine[0])
    nodes = attribute(forgery, "TreePredictor", "nodes")
    changed_array(forgery, nodes, lambda array: array[field].__setitem__(0, value))
    refused(path, forgery.sealed(), message)


@pytest.mark.parametrize(
    ("cls", "name", "value", "message"),
    [
        ("DecisionTreeRegressor", "n_features_in_", 9, "is for 9 features, its trees are for 5"),
        ("HistGradientBoostingRegressor", "n_features_in_", 9, "is for 9 features"),
        ("HistGradientBoostingRegressor", "n_features_in_", 5.0, "is for 5.0 features"),
        ("HistGradientBoostingRegressor", "_preprocessor", 1, "categorical"),
        ("HistGradientBoostingRegressor", "_in_fit", True, "in training"),
        ("_BinMapper", "is_categorical_", [1], "a list in the place of an array"),
        ("Pipeline", "memory", "folder", r"cache \(memory\)"),
        ("AdaptiveMLPRegressor", "net_", "network-7", "network-7"),
        ("AdaptiveMLPRegressor", "net_params", {"callbacks": 1}, "net_params has callbacks=1"),
    ],
)
def test_attributes_are_checked(cls, name, value, message, path, genuine):
    forgery = Forgery(genuine[0])
    replace_attribute(forgery, cls, name, json_node(value, 900))
    refused(path, forgery.sealed(), message)


def test_methods_cannot_be_replaced(path, genuine):
    forgery = Forgery(genuine[0])
    absolute = {"__class__": "abs", "__module__": "numpy", "__loader__": "FunctionNode"}
    replace_attribute(forgery, "StandardScaler", "transform", {**absolute, "__id__": 900})
    refused(path, forgery.sealed(), "StandardScaler has the method transform replaced")


def test_parts_cannot_be_multiplied_without_end(path, genuine):
    forgery = Forgery(genuine[0])
    inner = json_node(0, 1000)
    for i in range(60):  # two to the power of sixty, when written out
        again = {**json_node(0, inner["__id__"]), "__loader__": "CachedNode"}
        inner = list_node([inner, again], 1001 + i)
    attribute(forgery, "StandardScaler", "copy").update(inner)
    refused(path, forgery.sealed(), "more than 10000000 parts")


def test_parts_cannot_contain_themselves(path, genuine):
    forgery = Forgery(genuine[0])
    node = attribute(forgery, "StandardScaler", "copy")
    node.update(list_node([{**json_node(0, 1000), "__loader__": "CachedNode"}], 1000))
    refused(path, forgery.sealed(), "contains itself")
    node.update(list_node([json_node(0, 1000)], 1000))
    refused(path, forgery.sealed(), "has the identity of another part")
    node.update(list_node([{"__loader__": "CachedNode", "__id__": 77}], 1000))
    refused(path, forgery.sealed(), "KeyError: 77")


def test_random_generators_take_no_memory(path, genuine):
    forgery = Forgery(genuine[0])
    seed = forgery.nodes("RandomGeneratorNode")[0]["content"]["seed_seq"]
    seed["content"]["pool_size"] = json_node(10**12, 900)
    refused(path, forgery.sealed(), "a pool of unusual size")


@pytest.mark.parametrize("shape", ["(4000000000000,)", "(-1, -5)", "(5, 0)", "(3,)", "5", "()"])
def test_arrays_are_as_large_as_they_say(shape, path, genuine):
    forgery = Forgery(genuine[0])
    name = attribute(forgery, "StandardScaler", "mean_")["file"]
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    forgery.inner[name] = b"\x93NUMPY\1\0" + struct.pack("<H", 118) + header.encode() + bytes(40)
    refused(path, forgery.sealed())


@pytest.mark.parametrize("descr", ["'|O'", "'<U0'", "[('a', '|O')]", "'<f8'*9**9", "[]"])
def test_arrays_hold_numbers_or_text(descr, path, genuine):
    forgery = Forgery(genuine[0])
    name = attribute(forgery, "StandardScaler", "mean_")["file"]
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (5,), }}".ljust(117) + "\n"
    forgery.inner[name] = b"\x93NUMPY\1\0" + struct.pack("<H", 118) + header.encode() + bytes(40)
    refused(path, forgery.sealed())


def test_networks_are_as_large_as_they_say(path, genuine):
    for name, value in {
        "hidden": [10**9, 10**9],
        "n_pixels": 2**31 - 1,
        "n_outputs": 10**12,
        "depth": 10**9,
        "dropout": "x",
        "unknown": 3,
    }.items():
        forgery = Forgery(genuine[0])
        architecture = json.loads(forgery.outer["network-0.json"])
        architecture["params"][name] = value
        forgery.outer["network-0.json"] = json.dumps(architecture).encode()
        refused(path, forgery.sealed())
    forgery.outer["network-0.json"] = b'{"network": "Module", "noise_head": false, "params": {}}'
    refused(path, forgery.sealed())


def test_archives_are_as_large_as_they_say(path, genuine):
    members = unzipped(genuine[0])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", bytes(10**7))
    refused(path, resealed({**members, ESTIMATOR: buffer.getvalue()}), "is compressed")
    twice = zipped({"schema.json": b"{}", "schemb.json": b"[]"}).replace(b"schemb", b"schema")
    refused(path, resealed({**members, ESTIMATOR: twice}), "of the same name")
    for name in ("../outside.npy", "/etc/x.npy", "a/b.npy", "C:x.npy"):
        data = zipped({name: b"", **Forgery(genuine[0]).inner})
        refused(path, resealed({**members, ESTIMATOR: data}), "a member has the name")
    # Two entries for the same bytes: more than there are.
    data = zipped({"a.npy": bytes(10**4), "b.npy": b""})
    at = data.index(b"PK\1\2")
    entry = data[at : at + 46 + 5]
    second = data.index(b"PK\1\2", at + 4)
    shared = bytearray(data)
    shared[second + 16 : second + 28] = entry[16:28]
    refused(path, resealed({**members, ESTIMATOR: bytes(shared)}), "claim 20000 bytes")


def flipped(data, rng):
    """Flip up to eight bits."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def damaged(data, rng):
    """Damage a file without sealing it again."""
    at = rng.randrange(len(data))
    block = data[rng.randrange(len(data)) :][:50]
    ways = [
        lambda: flipped(data, rng),
        lambda: data[:at],
        lambda: data[at:],
        lambda: data + block,
        lambda: block + data,
        lambda: data[:at] + block + data[at:],
        lambda: data[:at] + data[at + 1 :],
        lambda: data[:at] + bytes(max(1, len(data[at : at + 40]))) + data[at + 40 :],
    ]
    changed = rng.choice(ways)()
    return changed if changed != data else data[:-1]


def forged_bytes(forgery, rng):
    """Flip bits of a member, or swap two."""
    members = rng.choice([forgery.outer, forgery.inner])
    name, other = rng.choice(sorted(members)), rng.choice(sorted(members))
    if rng.random() < 0.6:
        members[name] = flipped(members[name], rng)
    else:
        members[name], members[other] = members[other], members[name]
    return forgery.sealed_with(forgery.inner)


def forged_size(forgery, rng):
    """Change a number in a header: of the archive, of an array, of the weights."""
    size = rng.choice([0, 1, 255, 2**16, 2**31 - 1, 2**32 - 1])
    inner = bytearray(zipped(forgery.inner))
    where = rng.choice(["archive", "array", "weights"])
    if where == "archive":
        starts = [i for i in range(len(inner)) if inner[i : i + 4] == b"PK\1\2"]
        at = rng.choice(starts) + rng.choice([20, 24, 42])
        inner[at : at + 4] = struct.pack("<I", size)
    elif where == "array":
        name = rng.choice(forgery.arrays())
        shape = f"({size}, {rng.randint(-3, 3)})".encode()
        content = forgery.inner[name]
        start, end = content.index(b"'shape': ") + 9, content.index(b", }")
        forgery.inner[name] = content[:start] + shape.ljust(end - start) + content[end:]
        inner = zipped(forgery.inner)
    else:
        weights = forgery.outer["network-0.safetensors"]
        forgery.outer["network-0.safetensors"] = struct.pack("<Q", size) + weights[8:]
    return resealed({ESTIMATOR: bytes(inner), **forgery.outer})


def forged_node(forgery, rng):
    """Change what a node says of itself, or put one in the place of another."""
    nodes = forgery.nodes()
    node, other = rng.choice(nodes), rng.choice(nodes)
    names = ["__class__", "__module__", "__loader__", "__id__"]
    name = rng.choice([*names, *names, *node])
    way = rng.randrange(4)
    if way == 0:
        node.pop(name, None)
    elif way == 1 and name in other:
        node[name] = other[name]
    elif way == 2:
        node[name] = rng.choice([None, 3, [], {}, "x", "true", "1e999", -1, 2**70, [[[]]]])
    else:
        copy = json.loads(json.dumps(other))
        node.clear()
        node.update(copy)
    return forgery.sealed()


def mutated(data, rng, folder):
    """Return a changed file, and whether it has to be refused."""
    if rng.random() < 0.3:
        return damaged(data, rng), True
    forgery = Forgery(data)
    if rng.random() < 0.2:
        node = rng.choice(forgery.nodes())
        node.clear()
        node.update(rng.choice(calls(folder)))
        return forgery.sealed(), True
    if rng.random() < 0.2:
        members = rng.choice([forgery.outer, forgery.inner])
        name = rng.choice(sorted(set(members) - {MANIFEST}))
        members[name] = rng.choice(planted(Bomb(folder)))
        return forgery.sealed_with(forgery.inner), True
    return rng.choice([forged_bytes, forged_size, forged_node])(forgery, rng), False


def fuzz(genuine, path, trap, seeds):
    """Load changed files; return how many were refused."""
    data, X = genuine
    n_refused = 0
    for seed in seeds:
        changed, must_fail = mutated(data, random.Random(seed), trap)
        path.write_bytes(changed)
        outcome = attempt(path)
        if isinstance(outcome, str):
            assert outcome.startswith(f"Cannot load {path}: "), seed
            assert len(outcome) < 2000, seed
            n_refused += 1
        else:
            assert not must_fail, seed
            assert isinstance(outcome, BaseEstimator), seed
            with contextlib.suppress(Exception):  # but not a crash, nor anything from the file
                outcome.predict(X)
        assert not trap.exists(), seed
    return n_refused


def attempt(path):
    """Load a file, or return what the error says."""
    try:
        return skestnet.load(path)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize(
    ("first", "last", "fewest"),
    [
        (0, 300, 200),
        pytest.param(0, 5000, 3500, marks=pytest.mark.slow),
        pytest.param(5000, 10_000, 3500, marks=pytest.mark.slow),
    ],
)
def test_changed_files(genuine, path, trap, first, last, fewest):
    # In a process of its own: if one of them crashes it, the other tests go on.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        n_refused = pool.submit(fuzz, genuine, path, trap, range(first, last)).result()
    assert n_refused > fewest
