import pickle
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNet
from skorch.callbacks import Callback

import skestnet._training
import skestnet.nn
from skestnet import AdaptiveMLPRegressor
from skestnet._batches import EvenBatches, WeightedRows, map_features
from skestnet._callbacks import LearningRateDecay
from skestnet._training import progress_bar, resolve_device, seeded
from skestnet.nn import WeightedHuberLoss

# Batches


@pytest.mark.parametrize("batch_size", [2, 3, 8, 1000])
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_are_even_and_cover_all_rows(batch_size, shuffle):
    for n_rows in range(2, 70):
        batches = list(EvenBatches(n_rows, batch_size, shuffle))
        sizes = [len(batch) for batch in batches]
        assert len(EvenBatches(n_rows, batch_size, shuffle)) == len(batches)
        assert sorted(np.concatenate(batches)) == list(range(n_rows))
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= 2
        assert max(sizes) <= batch_size + 1
        if n_rows % batch_size != 1:
            assert max(sizes) <= max(batch_size, 3)


def test_one_row_makes_one_batch():
    assert list(EvenBatches(1, 8, shuffle=False)) == [[0]]


def test_shuffled_batches_differ_between_epochs():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        batches = EvenBatches(50, 10, shuffle=True)
        assert list(batches) != list(batches)
    ordered = EvenBatches(50, 10, shuffle=False)
    assert list(ordered) == list(ordered)
    assert np.concatenate(list(ordered)).tolist() == list(range(50))


def test_a_batch_holds_the_rows_of_the_index():
    X = np.arange(20, dtype=np.float32).reshape(10, 2)
    X.flags.writeable = False
    rows = WeightedRows(X, np.arange(3.0)[:, None], np.array([1.0, 2, 3]), np.array([7, 2, 5]))
    flux, (labels, weight) = rows.__getitems__([2, 0])
    assert_array_equal(flux, X[[5, 7]])
    assert_array_equal(labels, [[2], [0]])
    assert_array_equal(weight, [3, 1])
    assert len(rows) == 3
    assert_array_equal(rows.subset(np.array([1])).__getitems__([0])[0], X[[2]])
    assert_array_equal(rows.reweighted(np.array([2.0, 0, 1])).weight, [2, 0, 3])
    assert rows.subset(np.array([1])).X is X
    assert_array_equal(rows.weight, [1, 2, 3])


# Learning rate


class FakeNet:
    batch_size = 2

    def __init__(self):
        self.optimizer_ = type("Optimizer", (), {"param_groups": [{"lr": 0.0}, {"lr": 0.0}]})()
        self.history = [{}]


def rates(n_steps, n_run=None, max_epochs=1, epoch=1):
    net, decay = FakeNet(), LearningRateDecay(0.5, max_epochs)
    net.history *= epoch
    decay.on_epoch_begin(net, dataset_train=np.zeros(2 * n_steps))
    seen = []
    for _ in range(n_run or n_steps):
        decay.on_batch_begin(net, training=True)
        decay.on_batch_begin(net, training=False)  # validation must not count
        assert net.optimizer_.param_groups[0] == net.optimizer_.param_groups[1]
        seen.append(net.optimizer_.param_groups[0]["lr"])
    return np.array(seen)


def test_learning_rate_rises_and_decays_as_documented():
    seen = rates(1000)
    progress = np.arange(1000) / 1000
    rising = progress < 0.1
    assert_allclose(seen[rising], 0.5 * (0.01 + 0.99 * progress[rising] / 0.1))
    phase = (progress[~rising] - 0.1) / 0.9
    assert_allclose(seen[~rising], 0.5 * (0.01 + 0.99 * (1 + np.cos(np.pi * phase)) / 2))
    assert seen.max() == pytest.approx(0.5)
    assert seen[-1] == pytest.approx(0.005, rel=0.01)
    assert seen[0] == pytest.approx(0.005)


def test_learning_rate_is_that_of_the_step_whatever_happened_before():
    epochs = [rates(10, max_epochs=3, epoch=epoch) for epoch in (1, 2, 3)]
    assert_array_equal(np.concatenate(epochs), rates(30))


@pytest.mark.parametrize("n_steps", [1, 2, 7])
def test_learning_rate_of_a_short_stage(n_steps):
    seen = rates(n_steps, 2 * n_steps)  # even beyond its end
    assert (seen > 0).all()
    assert (seen <= 0.5).all()


def test_learning_rate_starts_over_in_the_second_stage(lines, small_regressor):
    seen = {1: [], 2: []}

    class Record(Callback):
        def on_batch_begin(self, net, training=False, **_):
            if training:
                seen[stage_of(net)].append(net.optimizer_.param_groups[0]["lr"])

        def on_batch_end(self, net, training=False, **_):
            if training:
                seen[stage_of(net)][-1] = net.optimizer_.param_groups[0]["lr"]

    X, y = lines
    est = small_regressor(max_epochs=3, lr=0.02, net_params={"callbacks": [Record()]})
    est.fit(X, y[:, 0])
    assert len(seen[1]) == len(seen[2]) > 3
    assert_allclose(seen[1], seen[2])
    assert [epoch["lr"] for epoch in est.history_][-1] == pytest.approx(seen[2][-1])


def stage_of(net):
    """Tell the stage by the callbacks that it lends to the net."""
    return next(cb.stage for _, cb in net.callbacks_ if hasattr(cb, "stage"))


# Early stopping


def weights_of(net):
    return {name: value.clone() for name, value in net.module_.state_dict().items()}


def same_weights(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


class KeepWeights(Callback):
    """Note the weights after each epoch, and which losses the stopping rule is to see."""

    def __init__(self, losses=None, monitor="valid_loss"):
        self.losses = losses
        self.monitor = monitor

    def initialize(self):
        self.weights_ = []
        return self

    def on_epoch_end(self, net, **_):
        self.weights_.append(weights_of(net))
        if self.losses is not None:
            net.history.record(self.monitor, self.losses[len(self.weights_) - 1])


@pytest.mark.parametrize("validation_fraction", [0, 0.3])
def test_best_weights_are_restored(lines, small_regressor, validation_fraction):
    monitor = "valid_loss" if validation_fraction else "train_loss"
    keep = KeepWeights([5.0, 3.0, 4.0, 3.5, 3.1, 0.0, 0.0], monitor)
    est = small_regressor(
        max_epochs=7,
        n_iter_no_change=3,
        weighter=None,
        validation_fraction=validation_fraction,
        net_params={"callbacks": [keep]},
    ).fit(*lines)
    assert est.n_iter_ == 5
    kept = dict(est.net_.callbacks_)["KeepWeights"].weights_
    assert same_weights(weights_of(est.net_), kept[1])
    assert not same_weights(kept[4], kept[1])


def test_best_weights_are_restored_without_stopping(lines, small_regressor):
    keep = KeepWeights([5.0, 3.0, 4.0])
    est = small_regressor(
        max_epochs=3, weighter=None, validation_fraction=0.3, net_params={"callbacks": [keep]}
    ).fit(*lines)
    kept = dict(est.net_.callbacks_)["KeepWeights"].weights_
    assert est.n_iter_ == 3
    assert same_weights(weights_of(est.net_), kept[1])


def test_second_stage_starts_from_the_best_of_the_first(lines, small_regressor, monkeypatch):
    keep = KeepWeights([5.0, 3.0, 4.0, 9.0, 9.0, 9.0])
    starts = []
    run = skestnet._training._run

    def record_start(net, *args):
        starts.append(weights_of(net))
        return run(net, *args)

    monkeypatch.setattr(skestnet._training, "_run", record_start)
    est = small_regressor(
        max_epochs=3, validation_fraction=0.3, net_params={"callbacks": [keep]}
    ).fit(*lines)
    kept = dict(est.net_.callbacks_)["KeepWeights"].weights_
    assert len(starts) == 2
    assert same_weights(starts[1], kept[1])
    # Losses of the two stages cannot be compared: the second keeps its own best, its first epoch.
    assert same_weights(weights_of(est.net_), kept[3])


def test_improvement_below_tol_does_not_count(lines, small_regressor):
    falling = [1.0, 0.999, 0.998, 0.997, 0.996, 0.995]
    n_epochs = {}
    for tol in (0, 0.1):
        net_params = {"callbacks": [KeepWeights(falling)]}
        est = small_regressor(
            max_epochs=6,
            n_iter_no_change=2,
            tol=tol,
            weighter=None,
            validation_fraction=0.3,
            net_params=net_params,
        )
        n_epochs[tol] = est.fit(*lines).n_iter_
    assert n_epochs == {0: 6, 0.1: 3}


def test_patience_is_for_each_stage(lines, small_regressor):
    keep = KeepWeights([1.0, 2.0, 2.0, 8.0, 9.0, 9.0])
    est = small_regressor(
        max_epochs=5,
        n_iter_no_change=2,
        validation_fraction=0.3,
        net_params={"callbacks": [keep]},
    )
    est.fit(*lines)
    assert [epoch["stage"] for epoch in est.history_] == [1, 1, 1, 2, 2, 2]


# Divergence


def test_spectra_far_from_order_one_are_warned_of(lines, small_regressor):
    X, y = lines[0].astype(float), lines[1]
    network, mlp = small_regressor(max_epochs=1), AdaptiveMLPRegressor(max_epochs=1)
    with pytest.warns(UserWarning, match=r"deviation of [\d.]+e-17: .*StandardScaler"):
        network.fit(1e-17 * X, y)
    network.fit(1e4 * X, y)  # batch normalisation comes first
    for scale in (1e-4, 1e4):
        with pytest.warns(UserWarning, match="expects numbers of order one"):
            mlp.fit(scale * X, y)
    network.set_params(preprocess=StandardScaler()).fit(1e-17 * X, y)  # it is behind that


def test_divergence_names_the_epoch_and_the_remedy(lines, small_regressor, monkeypatch):
    forward = WeightedHuberLoss.forward
    calls = []

    def diverging(self, y_pred, target):
        calls.append(self.training)
        factor = np.nan if sum(calls) > 4 else 1.0  # 30 rows in batches of 10: the second epoch
        return forward(self, y_pred, target) * factor

    monkeypatch.setattr(WeightedHuberLoss, "forward", diverging)
    est = small_regressor(batch_size=10, validation_fraction=0)
    with pytest.raises(FloatingPointError, match=r"train_loss became nan in epoch 2 \(stage 1"):
        est.fit(*lines)


def test_divergence_message_says_what_to_lower(lines, small_regressor):
    X, y = lines
    with pytest.raises(FloatingPointError, match=r"Lower lr, .*StandardScaler"):
        small_regressor(lr=1e30, max_epochs=20).fit(X, y)


def test_divergence_in_the_second_stage(lines, small_regressor, monkeypatch):
    monkeypatch.setattr(WeightedRows, "reweighted", lambda rows, _: nan_like(rows))
    with pytest.raises(FloatingPointError, match=r"in epoch 3 \(stage 2"):
        small_regressor().fit(*lines)


def test_divergence_in_the_first_epoch_of_the_second_stage_keeps_the_first(
    lines, small_regressor, monkeypatch
):
    X, y = lines
    first = small_regressor(weighter=None).fit(X, y)
    monkeypatch.setattr(WeightedRows, "reweighted", lambda rows, _: nan_like(rows))
    est = small_regressor()
    with pytest.raises(FloatingPointError, match="The best weights of the 2 epochs before"):
        est.fit(X, y)
    assert_array_equal(est.predict(X), first.predict(X))


def nan_like(rows):
    return WeightedRows(rows.X, rows.y, rows.weight * np.nan, rows.index)


def test_a_diverged_network_is_not_a_fitted_one(lines, small_regressor):
    X, y = lines
    est = small_regressor(lr=1e30, max_epochs=20, warm_start=True)
    with pytest.raises(FloatingPointError):
        est.fit(X, y)
    # The remedy of the message, on the same estimator.
    est.set_params(lr=0.003, max_epochs=2).fit(X, y)
    assert np.isfinite(est.predict(X)).all()


def test_a_network_that_diverges_late_keeps_its_best_weights(lines, small_regressor, monkeypatch):
    X, y = lines
    params = {"batch_size": 10, "validation_fraction": 0, "max_epochs": 4, "weighter": None}
    forward, calls = WeightedHuberLoss.forward, []

    def diverging(self, y_pred, target):
        calls.append(1)
        factor = np.nan if len(calls) == 11 else 1.0  # three batches an epoch: the fourth
        return forward(self, y_pred, target) * factor

    with monkeypatch.context() as patch:
        patch.setattr(WeightedHuberLoss, "forward", diverging)
        est = small_regressor(**params)
        with pytest.raises(FloatingPointError, match=r"in epoch 4 .*best weights of the 3 epochs"):
            est.fit(X, y)
    assert est.n_iter_ == 3
    assert len(est.history_) == 3
    assert np.isfinite(est.predict(X)).all()
    # The weights are those of a fit that Ctrl-C ends in the same epoch.
    stop = Interrupt(4, "batch_end")
    other = small_regressor(**params, net_params={"callbacks": [stop]})
    with pytest.warns(ConvergenceWarning):
        other.fit(X, y)
    assert_array_equal(est.predict(X), other.predict(X))


# A GPU without memory


@pytest.fixture
def small_memory(monkeypatch):
    """Let the network fail as a GPU does, for batches above a size, from a call on."""

    def limit(largest, since=0):
        forward, calls = skestnet.nn.EstNet.forward, []

        def limited(net, x):
            calls.append(len(x))
            if len(x) > largest and len(calls) > since:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate a lot.")
            return forward(net, x)

        monkeypatch.setattr(skestnet.nn.EstNet, "forward", limited)

    return limit


def test_a_gpu_without_memory_halves_the_batch(lines, small_regressor, small_memory):
    X, y = lines
    expected = small_regressor(batch_size=6).fit(X, y).predict(X)
    small_memory(largest=6)
    est = small_regressor(batch_size=24)
    with pytest.warns(
        UserWarning, match=r"batches of (24|12) spectra \(CUDA out of memory\)"
    ) as log:
        est.fit(X, y)
    assert [str(w.message).split()[-1] for w in log] == ["batch_size=12.", "batch_size=6."]
    assert_array_equal(est.predict(X), expected)  # as if they had been as small from the start
    assert est.batch_size == 24
    assert est.net_.batch_size == 6


def test_the_epoch_is_repeated_where_memory_ends_late(lines, small_regressor, small_memory):
    X, y = lines
    params = {"batch_size": 10, "validation_fraction": 0, "weighter": None, "max_epochs": 3}
    before = small_regressor(**params).fit(X, y).history_
    small_memory(largest=6, since=4)  # three batches an epoch
    est = small_regressor(**params)
    with pytest.warns(UserWarning, match="batch_size=5"):
        est.fit(X, y)
    assert est.n_iter_ == 3
    assert est.history_[0]["train_loss"] == before[0]["train_loss"]
    assert est.history_[1]["train_loss"] != before[1]["train_loss"]


def test_memory_for_no_batch_at_all(lines, small_regressor, small_memory):
    small_memory(largest=1)
    with (
        pytest.warns(UserWarning, match="batch_size=2"),
        pytest.raises(torch.cuda.OutOfMemoryError),
    ):
        small_regressor(batch_size=4).fit(*lines)


# Ctrl-C


class Interrupt(Callback):
    """Press Ctrl-C in an epoch, counted over both stages."""

    def __init__(self, epoch, when):
        self.epoch = epoch
        self.when = when

    def initialize(self):
        self.epoch_ = 0
        self.weights_ = []
        return self

    def on_epoch_begin(self, net, **_):
        self.epoch_ += 1
        self.n_batches_ = 0
        self.weights_.append(weights_of(net))
        self._press("epoch_begin")

    def on_batch_end(self, net, training=False, **_):  # noqa: ARG002
        self.n_batches_ += training
        if self.n_batches_ == 2:
            self._press("batch_end")

    def on_epoch_end(self, net, **_):  # noqa: ARG002
        self._press("epoch_end")

    def _press(self, when):
        if (self.epoch_, self.when) == (self.epoch, when):
            raise KeyboardInterrupt


def fit_interrupted(est, X, y):
    with pytest.warns(ConvergenceWarning) as record:
        est.fit(X, y)
    assert len(record) == 1
    return record[0]


@pytest.mark.parametrize("when", ["epoch_begin", "batch_end", "epoch_end"])
@pytest.mark.parametrize("epoch", [1, 2, 4, 5])
def test_interrupt_leaves_a_usable_estimator(lines, small_regressor, epoch, when):
    X, y = lines
    net_params = {"callbacks": [Interrupt(epoch, when)]}
    est = small_regressor(max_epochs=3, n_draws=5, net_params=net_params)
    warning = fit_interrupted(est, X, y)
    stage = 1 if epoch <= 3 else 2
    assert f"Interrupted in epoch {epoch} (stage {stage})" in str(warning.message)
    assert warning.filename == __file__
    assert np.isfinite(est.predict(X)).all()
    assert est.predict_dist(X).shape == y.shape
    assert est.sample_weight_.shape == (len(X),)
    assert (np.ptp(est.sample_weight_) > 0) == (stage == 2)
    assert est.n_iter_ == len(est.history_)
    assert est.n_iter_ - (epoch - 1) in (0, 1)
    for record in est.history_:
        assert record["stage"] in (1, 2)
        assert record["train_loss"] is not None
        assert record["lr"] > 0


@pytest.mark.parametrize("epoch", [2, 5])
def test_interrupt_in_an_epoch_keeps_the_best_weights_so_far(lines, small_regressor, epoch):
    net_params = {"callbacks": [Interrupt(epoch, "batch_end")]}
    est = small_regressor(max_epochs=3, net_params=net_params)
    fit_interrupted(est, *lines)
    began_with = dict(est.net_.callbacks_)["Interrupt"].weights_[-1]  # the stage's only full epoch
    assert same_weights(weights_of(est.net_), began_with)


def test_interrupt_in_the_first_epoch_of_stage_2_keeps_stage_1(lines, small_regressor):
    est = small_regressor(max_epochs=3, net_params={"callbacks": [Interrupt(4, "batch_end")]})
    fit_interrupted(est, *lines)
    began_with = dict(est.net_.callbacks_)["Interrupt"].weights_[-1]
    assert same_weights(weights_of(est.net_), began_with)


def test_interrupted_training_goes_on_with_warm_start(lines, small_regressor):
    X, y = lines
    est = small_regressor(warm_start=True, net_params={"callbacks": [Interrupt(2, "batch_end")]})
    fit_interrupted(est, X, y)
    n_iter = est.n_iter_
    est.fit(X, y)
    assert est.n_iter_ > n_iter


def test_early_stopping_is_no_interrupt(lines, small_regressor):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est = small_regressor(max_epochs=8, tol=0.99, n_iter_no_change=1).fit(*lines)
    assert est.n_iter_ < 16
    assert {epoch["stage"] for epoch in est.history_} == {1, 2}


# Randomness


def test_seeded_leaves_torch_as_it_was():
    before = torch.get_rng_state()
    with seeded(3, "cpu"):
        inside = torch.rand(4)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(3, "cpu"):
        assert torch.equal(torch.rand(4), inside)
    with seeded(4, "cpu"):
        assert not torch.equal(torch.rand(4), inside)


def test_seeded_leaves_torch_as_it_was_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(3, "cpu"):
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), before)


def test_seeded_on_the_cpu_does_not_seed_a_gpu(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    with seeded(3, "cpu"):
        torch.rand(1)
    assert seeds == []


def test_seeded_leaves_numpy_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    with seeded(3, "cpu"):
        pass
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


# What is left in the net


def test_net_keeps_no_training_data(line_spectra, small_regressor):
    sizes = []
    for n_samples in (20, 400):
        X, y = line_spectra(n_samples)
        est = small_regressor(max_epochs=1).fit(np.tile(X, (1, 10)), y)
        sizes.append(len(pickle.dumps(est.net_)))
        assert not holds(est.net_, WeightedRows)
        whole = len(pickle.dumps(est))
        # An adaptive weight for each sample, but no spectra: 240 float32 pixels of 400 samples.
        assert whole < sizes[-1] + 8 * n_samples + 10_000
    assert abs(sizes[1] - sizes[0]) < 10_000  # the history has more batches


def test_net_gets_its_own_callbacks_back(fitted):
    assert fitted.net_.train_split is None
    names = [name for name, _ in fitted.net_.callbacks_]
    assert not {"decay", "guard", "log", "early_stopping"} & set(names)


def holds(obj, kind, depth=4):
    if isinstance(obj, kind):
        return True
    if depth == 0:
        return False
    inner = obj if isinstance(obj, list | tuple) else getattr(obj, "__dict__", {}).values()
    return any(holds(value, kind, depth - 1) for value in inner)


def test_net_predicts_standardised_labels(fitted_two, lines):
    X, _ = lines
    y_pred = fitted_two.net_.predict(X.copy())  # torch warns of read-only arrays
    expected = (fitted_two.predict(X) - fitted_two.label_mean_) / fitted_two.label_scale_
    assert isinstance(fitted_two.net_, NeuralNet)
    assert_allclose(y_pred, expected, atol=1e-5)


# Predictions


def test_map_features_in_batches(fitted, line_spectra):
    X, _ = line_spectra(70)
    seen = []

    def collect(features):
        seen.append(features.shape)
        return features

    values = map_features(fitted.net_, X, collect)
    assert len(set(seen)) == 1
    fitted.net_.module_.eval()
    with torch.no_grad():
        expected = fitted.net_.module_.features(torch.as_tensor(X))
    assert_allclose(values, expected, atol=1e-5)
    index = np.array([5, 60, 5])
    assert_array_equal(map_features(fitted.net_, X, collect, index), values[index])


def test_progress_bar_is_silent_unless_asked(capfd):
    with progress_bar(3, verbose=0) as bar:
        bar.update()
    assert capfd.readouterr().err == ""
    with progress_bar(3, verbose=1) as bar:
        bar.update()
    assert "epoch" in capfd.readouterr().err


def test_device_names(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == "cuda"
    assert resolve_device("cuda:1") == "cuda:1"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(ValueError, match="device='cuda:1'"):
        resolve_device("cuda:1")
