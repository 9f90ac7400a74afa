import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skestnet
from skestnet import AdaptiveMLPRegressor
from skestnet._batches import WeightedRows
from skestnet._saving._checkpoint import Checkpoint
from skestnet.nn import EstNet, WeightedHuberLoss

pytest.importorskip("skops")
pytest.importorskip("safetensors")

EPOCHS = 3


class KilledError(BaseException):
    """Not an error that anything could catch by accident, as a kill is not."""


@pytest.fixture
def killed(monkeypatch):
    """Run a fit that is killed in a step, counted over all steps of training."""

    def run(est, X, y, step, **params):
        fetch, steps = WeightedRows.__getitems__, []

        def counting(rows, index):
            steps.append(1)
            if len(steps) == step:
                raise KilledError
            return fetch(rows, index)

        with monkeypatch.context() as patch:
            patch.setattr(WeightedRows, "__getitems__", counting)
            try:
                est.fit(X, y, **params)
            except KilledError:
                return False
        return True

    return run


def assert_same(est, other):
    one, two = est.net_.module_.state_dict(), other.net_.module_.state_dict()
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name
    for name in ("sample_weight_", "noise_scale_", "noise_correlation_", "label_mean_"):
        assert_array_equal(getattr(est, name), getattr(other, name))
    assert without_seconds(est) == without_seconds(other)
    assert est._draw_seed == other._draw_seed


def without_seconds(est):
    return [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in est.history_]


SETTINGS = {
    "two stages": {"max_epochs": EPOCHS},
    "early stopping": {"max_epochs": 6, "n_iter_no_change": 1, "lr": 0.05},
    "one stage": {"max_epochs": EPOCHS, "weighter": None, "validation_fraction": 0.0},
    "noise and augmentation": {
        "max_epochs": EPOCHS,
        "noise": "heteroscedastic",
        "augment": 0.05,
        "preprocess": make_pipeline(StandardScaler(), PCA(12, svd_solver="randomized")),
    },
    "other optimiser": {
        "max_epochs": EPOCHS,
        "net_params": {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9},
    },
    "compiled": {
        "max_epochs": EPOCHS,
        "net_params": {"compile": True, "compile__backend": "eager"},
    },
    "no seed": {"max_epochs": EPOCHS, "random_state": None},
}


# Of torch, about its own tensors, when it compiles a GRU.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("settings", SETTINGS)
def test_a_killed_fit_goes_on_bit_by_bit(settings, lines, small_regressor, killed, tmp_path):
    X, y = lines
    est = small_regressor(**SETTINGS[settings])
    seed_numpy(0)  # from which random_state=None draws
    whole = clone(est).fit(X, y)
    n_resumed = 0
    for step in (3, *range(11, 1000, 12)):  # an epoch has four batches, and one of validation
        file = tmp_path / f"{step}.ckpt"
        seed_numpy(0)
        if killed(clone(est).set_params(checkpoint=file), X, y, step):
            break
        n_resumed += file.exists()
        seed_numpy(1 if file.exists() else 0)  # what was drawn is in the file
        assert_same(clone(est).set_params(checkpoint=str(file)).fit(X, y), whole)
        assert list(tmp_path.glob("*.tmp")) == []
    assert n_resumed > 0


def test_a_fit_that_is_killed_again_and_again(lines, small_regressor, killed, tmp_path):
    X, y = lines
    generator = np.random.RandomState(3)
    est = small_regressor(max_epochs=4, random_state=generator)
    whole = clone(est).fit(X, y)
    est.set_params(checkpoint=tmp_path / "a.ckpt")
    n_runs = 1
    while not killed(clone(est), X, y, 8):  # an epoch and a half
        n_runs += 1
    assert n_runs > 5
    assert_same(clone(est).fit(X, y), whole)


def seed_numpy(seed):
    np.random.seed(seed)  # noqa: NPY002


def test_a_checkpoint_changes_nothing_and_a_finished_one_is_not_trained_again(
    lines, small_regressor, tmp_path, monkeypatch
):
    X, y = lines
    whole = small_regressor().fit(X, y)
    kept = small_regressor(checkpoint=tmp_path / "a.ckpt").fit(X, y)
    assert_same(kept, whole)
    monkeypatch.setattr(WeightedHuberLoss, "forward", None)  # nothing is trained any more
    again = small_regressor(checkpoint=tmp_path / "a.ckpt").fit(X[::-1], y[::-1])
    assert_array_equal(again.predict(X), whole.predict(X))
    assert_array_equal(again.sample_weight_, whole.sample_weight_[::-1])
    assert_array_equal(again.predict(X, return_std=True)[1], whole.predict(X, return_std=True)[1])
    assert again.checkpoint == tmp_path / "a.ckpt"


@pytest.mark.parametrize("routing", [False, True])
def test_in_a_pipeline(routing, lines, small_regressor, killed, tmp_path):
    X, y = lines
    whole = small_regressor().fit(StandardScaler().fit_transform(X), y)
    est = make_pipeline(StandardScaler(), small_regressor(checkpoint=tmp_path / "a.ckpt"))
    with config_context(enable_metadata_routing=routing):
        if routing:
            est[-1].set_fit_request(sample_weight=True)
        assert not killed(est, X, y, 6)
        assert_same(clone(est).fit(X, y)[-1], whole)


def test_an_mlp_goes_on_too(lines, killed, tmp_path):
    X, y = lines
    est = AdaptiveMLPRegressor(hidden_layer_sizes=(4,), max_epochs=2, random_state=0)
    whole = clone(est).fit(X, y)
    est.set_params(checkpoint=tmp_path / "a.ckpt")
    assert not killed(est, X, y, 6)
    assert_same(clone(est).fit(X, y), whole)


def test_a_checkpoint_predicts_at_any_time(lines, small_regressor, killed, tmp_path):
    X, y = lines
    file = tmp_path / "a.ckpt"
    est = small_regressor(max_epochs=5, checkpoint=file)
    assert not killed(est, X, y, 5 * 3 + 1)  # after three epochs
    loaded = skestnet.load(file)
    assert loaded.n_iter_ == 3
    assert loaded.checkpoint is None
    assert np.isfinite(loaded.predict(X)).all()
    assert loaded.predict_dist(X).std().min() > 0
    # The best weights so far are those of a fit that has no more epochs than that to choose from.
    best = min(loaded.history_, key=lambda epoch: epoch["valid_loss"])
    labels = (y - loaded.label_mean_) / loaded.label_scale_
    net = loaded.net_.module_.eval()
    with torch.no_grad():
        out = net(torch.tensor(X)).numpy()
    valid = valid_rows(loaded, X, y)
    loss = torch.nn.functional.huber_loss(torch.tensor(out[valid]), torch.tensor(labels[valid]))
    assert float(loss) == pytest.approx(best["valid_loss"], rel=1e-4)


def valid_rows(est, X, y):
    """Find what was set aside, from the generator that the estimator keeps."""
    from copy import deepcopy

    from skestnet._network import _split
    from skestnet._rows import canonical_rows

    rows = canonical_rows(X, y, np.ones(len(X)))
    return rows.source[_split(len(rows.source), 0.1, deepcopy(est._split_rng))[1]]


def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(lines, small_regressor, tmp_path, monkeypatch):
    X, y = lines
    whole = small_regressor(max_epochs=EPOCHS).fit(X, y)
    fetch, calls = WeightedRows.__getitems__, []

    def interrupted(rows, index):
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return fetch(rows, index)

    monkeypatch.setattr(WeightedRows, "__getitems__", interrupted)
    est = small_regressor(max_epochs=EPOCHS, checkpoint=tmp_path / "a.ckpt")
    with pytest.warns(ConvergenceWarning, match=r"Interrupted in epoch 2 .*checkpoint"):
        est.fit(X, y)
    assert est.n_iter_ == 1
    assert_same(est.fit(X, y), whole)


def test_ctrl_c_while_the_file_is_written(lines, small_regressor, tmp_path, monkeypatch):
    X, y = lines
    whole = small_regressor(max_epochs=EPOCHS).fit(X, y)
    write, calls = Checkpoint.write, []

    def interrupted(checkpoint, estimator, state):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(checkpoint, estimator, state)

    monkeypatch.setattr(Checkpoint, "write", interrupted)
    est = small_regressor(max_epochs=EPOCHS, checkpoint=tmp_path / "a.ckpt")
    with pytest.warns(ConvergenceWarning, match="Fit again to go on from its checkpoint"):
        est.fit(X, y)
    kept = skestnet.load(tmp_path / "a.ckpt")
    assert (est.n_iter_, kept.n_iter_) == (2, 1)
    best = min((1, 2), key=lambda n: est.history_[n - 1]["valid_loss"])
    if best == 1:
        assert_array_equal(est.predict(X), kept.predict(X))
    assert_same(est.fit(X, y), whole)


def test_a_halved_batch_stays_halved(lines, small_regressor, tmp_path, monkeypatch):
    X, y = lines
    expected = small_regressor(batch_size=4, max_epochs=EPOCHS).fit(X, y)
    forward, calls = EstNet.forward, []

    def limited(net, x):
        calls.append(1)
        if len(x) > 4:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        if len(calls) == 20:
            raise KilledError
        return forward(net, x)

    est = small_regressor(batch_size=8, max_epochs=EPOCHS, checkpoint=tmp_path / "a.ckpt")
    with monkeypatch.context() as patch:
        patch.setattr(EstNet, "forward", limited)
        with pytest.warns(UserWarning, match="batch_size=4"), pytest.raises(KilledError):
            est.fit(X, y)
    resumed = est.fit(X, y)
    assert resumed.net_.batch_size == 4
    assert_array_equal(resumed.predict(X), expected.predict(X))


def test_a_training_that_diverges_leaves_the_last_good_epoch(
    lines, small_regressor, tmp_path, monkeypatch
):
    X, y = lines
    forward = WeightedHuberLoss.forward

    def diverging(self, y_pred, target):
        return forward(self, y_pred, target) * (np.nan if len(calls) > 8 else 1)

    calls = []
    fetch = WeightedRows.__getitems__
    monkeypatch.setattr(WeightedHuberLoss, "forward", diverging)
    monkeypatch.setattr(
        WeightedRows, "__getitems__", lambda rows, index: (calls.append(1), fetch(rows, index))[1]
    )
    est = small_regressor(checkpoint=tmp_path / "a.ckpt")
    with pytest.raises(FloatingPointError, match=r"epoch 2 .*To begin anew, delete .*a\.ckpt"):
        est.fit(X, y)
    assert skestnet.load(tmp_path / "a.ckpt").n_iter_ == 1
    with pytest.raises(FloatingPointError, match="epoch 2"):
        est.fit(X, y)


# ---- What does not go on ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lr": 0.001}, r"lr=0.003, not 0.001"),
        ({"max_epochs": 9}, r"max_epochs=2, not 9"),
        ({"augment": 0.1}, r"augment=None, not 0.1"),
        ({"random_state": 1}, r"random_state=0, not 1"),
        ({"random_state": None}, r"random_state=0, not None"),
        ({"preprocess": StandardScaler()}, r"preprocess=None, not StandardScaler\(\)"),
        ({"weighter": None, "depth": 14}, r"depth=12, not 14; weighter='adaptive', not None"),
    ],
)
def test_changed_parameters_are_named(changed, message, lines, small_regressor, tmp_path):
    file = tmp_path / "a.ckpt"
    est = small_regressor(checkpoint=file).fit(*lines)
    before = file.read_bytes()
    with pytest.raises(ValueError, match=message):
        clone(est).set_params(**changed).fit(*lines)
    assert file.read_bytes() == before


def test_parameters_inside_are_named(lines, small_regressor, tmp_path):
    params = {"preprocess": StandardScaler(), "checkpoint": tmp_path / "a.ckpt"}
    est = small_regressor(**params).fit(*lines)
    est.set_params(preprocess__with_std=False)
    with pytest.raises(ValueError, match="preprocess__with_std=True, not False"):
        est.fit(*lines)


def test_what_only_predictions_look_at_may_change(lines, small_regressor, tmp_path):
    est = small_regressor(checkpoint=tmp_path / "a.ckpt").fit(*lines)
    other = clone(est).set_params(n_draws=7, verbose=0, device="auto").fit(*lines)
    assert other.predict_dist(lines[0]).loc.shape[1] == 7


def test_other_data_are_noticed(lines, small_regressor, tmp_path):
    X, y = lines
    est = small_regressor(checkpoint=tmp_path / "a.ckpt").fit(X, y)
    for other in ((X + 1, y), (X, y + 1), (X[1:], y[1:])):
        with pytest.raises(ValueError, match="other data"):
            clone(est).fit(*other)
    with pytest.raises(ValueError, match="other data"):
        clone(est).fit(X, y, sample_weight=np.arange(1, len(X) + 1))
    mlp = AdaptiveMLPRegressor(max_epochs=1, checkpoint=tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="of a fit with EstNetRegressor, not AdaptiveMLPRegressor"):
        mlp.fit(X, y)


def test_fits_of_a_search_cannot_share_a_checkpoint(lines, small_regressor, tmp_path):
    est = small_regressor(checkpoint=tmp_path / "a.ckpt")
    search = GridSearchCV(est, {"lr": [0.001, 0.002]}, cv=2, error_score="raise", scoring="r2")
    with pytest.raises(ValueError, match=r"other data.*The fits of a search, .* cannot share"):
        search.fit(*lines)


def test_two_fits_at_the_same_time_are_noticed(lines, small_regressor, tmp_path, monkeypatch):
    write = Checkpoint.write
    other = small_regressor(random_state=1, checkpoint=tmp_path / "a.ckpt")

    def late(checkpoint, estimator, state):
        if checkpoint.known is None:  # another one was there first
            monkeypatch.setattr(Checkpoint, "write", write)
            other.fit(*lines)
        write(checkpoint, estimator, state)

    monkeypatch.setattr(Checkpoint, "write", late)
    with pytest.raises(ValueError, match=r"Another fit writes to the checkpoint .*search"):
        small_regressor(checkpoint=tmp_path / "a.ckpt").fit(*lines)
    assert_same(skestnet.load(tmp_path / "a.ckpt"), other)


def test_a_file_of_another_kind_is_left_alone(lines, small_regressor, tmp_path):
    skestnet.save(small_regressor().fit(*lines), tmp_path / "model.skestnet")
    (tmp_path / "text").write_text("important")
    pickled = pickle.dumps({"a": 1})
    (tmp_path / "pickle").write_bytes(pickled)
    cut = small_regressor(checkpoint=tmp_path / "cut").fit(*lines).checkpoint
    cut.write_bytes(cut.read_bytes()[:-1])
    for name, message in {
        "model.skestnet": "it is no checkpoint, but a model",
        "text": "not a file of skestnet.save",
        "pickle": "not a file of skestnet.save",
        "cut": "digest does not match",
    }.items():
        before = (tmp_path / name).read_bytes()
        with pytest.raises(ValueError, match=message):
            small_regressor(checkpoint=tmp_path / name).fit(*lines)
        assert (tmp_path / name).read_bytes() == before


def test_bad_values(lines, small_regressor, tmp_path):
    with pytest.raises(ValueError, match="checkpoint=3: expected the name of a file"):
        small_regressor(checkpoint=3).fit(*lines)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        small_regressor(checkpoint=tmp_path / "no" / "a").fit(*lines)
    est = small_regressor(augment=lambda X, rng: X, checkpoint=tmp_path / "a")  # noqa: ARG005
    with pytest.raises(TypeError, match=r"Cannot save the training: estimator\.augment is a"):
        est.fit(*lines)
    with pytest.raises(ValueError, match="set one of them only"):
        small_regressor(warm_start=True, checkpoint=tmp_path / "a").fit(*lines)
    for unknown in ({"verbose": 1}, {"module": torch.nn.Linear}, {"callbacks": "disable"}):
        est = small_regressor(net_params=unknown, checkpoint=tmp_path / "a")
        with pytest.raises(TypeError, match="Cannot save the training: net_params has"):
            est.fit(*lines)
    for folder in (tmp_path, ""):
        with pytest.raises(IsADirectoryError, match=r"checkpoint='.*' is a folder: expected"):
            small_regressor(checkpoint=folder).fit(*lines)
    if Path("/proc").is_dir():
        with pytest.raises(PermissionError, match="nothing can be written to /proc"):
            small_regressor(checkpoint="/proc/a").fit(*lines)
    assert list(tmp_path.iterdir()) == []


def test_it_is_said_what_is_found(lines, small_regressor, killed, tmp_path, capsys):
    est = small_regressor(max_epochs=EPOCHS, checkpoint=tmp_path / "a", verbose=1)
    killed(est, *lines, 8)
    assert "Found" not in capsys.readouterr().err
    est.fit(*lines)
    assert "Found 1 epochs in the checkpoint: goes on in stage 1." in capsys.readouterr().err
    est.fit(*lines)
    found = f"Found {2 * EPOCHS} epochs in the checkpoint: it is finished."
    assert found in capsys.readouterr().err
    est.set_params(verbose=0).fit(*lines)
    assert capsys.readouterr().err == ""


def test_a_full_disk_does_not_end_a_training(lines, small_regressor, tmp_path, monkeypatch):
    est = small_regressor(max_epochs=EPOCHS)
    whole = clone(est).fit(*lines)
    write, calls = os.fsync, []

    def full(file):
        calls.append(file)
        if len(calls) in (2, 3):
            raise OSError(28, "No space left on device")
        write(file)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="could not be written after epoch") as caught:
        assert_same(clone(est).set_params(checkpoint=tmp_path / "a").fit(*lines), whole)
    assert ["after epoch 2" in str(w.message) for w in caught] == [True, False]
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert skestnet.load(tmp_path / "a").n_iter_ == 2 * EPOCHS


def test_leftovers_of_a_killed_write_are_removed(lines, small_regressor, tmp_path):
    half, others = f".a.{'0' * 32}.tmp", [f".a.ckpt.{'0' * 32}.tmp", f".b.{'0' * 32}.tmp"]
    for name in (half, *others):
        (tmp_path / name).write_bytes(b"half")
    small_regressor(checkpoint=tmp_path / "a").fit(*lines)
    assert sorted(path.name for path in tmp_path.iterdir()) == [*others, "a"]


def test_a_saved_estimator_has_no_checkpoint(lines, small_regressor, tmp_path):
    est = small_regressor(checkpoint=tmp_path / "a.ckpt").fit(*lines)
    skestnet.save(make_pipeline(est), tmp_path / "model.skestnet")
    assert skestnet.load(tmp_path / "model.skestnet")[0].checkpoint is None
    assert est.checkpoint == tmp_path / "a.ckpt"
