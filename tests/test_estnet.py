import copy
import pickle

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

import skestnet._network
from skestnet import AdaptiveWeighter, EstNetRegressor

# Repeatability


def test_one_seed_one_result(lines, small_regressor):
    X, y = lines
    one, other = (small_regressor(random_state=7).fit(X, y) for _ in range(2))
    assert_array_equal(one.predict(X), other.predict(X))
    assert_array_equal(one.predict_dist(X).loc, other.predict_dist(X).loc)
    assert_array_equal(one.sample_weight_, other.sample_weight_)
    third = small_regressor(random_state=8).fit(X, y)
    assert not np.array_equal(one.predict(X), third.predict(X))
    assert not np.array_equal(one.predict_dist(X).loc, third.predict_dist(X).loc)


def test_the_state_of_the_callers_generators_does_not_matter(lines, small_regressor, fitted_two):
    X, y = lines
    with torch.random.fork_rng():
        torch.manual_seed(123)
        again = small_regressor().fit(X, y)
    assert_array_equal(again.predict(X), fitted_two.predict(X))


def test_the_callers_generators_are_untouched(lines, small_regressor):
    X, y = lines
    before_numpy = np.random.get_state()[1].copy()  # noqa: NPY002
    before_torch = torch.get_rng_state()
    est = small_regressor().fit(X, y)
    est.predict(X, return_std=True)
    est.predict_dist(X)
    est.predict_dist(X, random_state=3)
    assert_array_equal(np.random.get_state()[1], before_numpy)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before_torch)


def test_a_random_state_instance_goes_on(lines, small_regressor):
    X, y = lines
    rng = np.random.RandomState(0)
    first = small_regressor(random_state=rng).fit(X, y).predict(X)
    second = small_regressor(random_state=rng).fit(X, y).predict(X)
    assert not np.array_equal(first, second)
    again = small_regressor(random_state=np.random.RandomState(0)).fit(X, y).predict(X)
    assert_array_equal(first, again)


def test_predictions_do_not_depend_on_the_batch(fitted_two, line_spectra):
    X, _ = line_spectra(70, seed=1)
    order = np.random.default_rng(0).permutation(70)
    mean, std = fitted_two.predict(X, return_std=True)
    draws = fitted_two.predict_dist(X, n_draws=7).loc
    for rows in (order, order[:5], [3], np.arange(33)):
        some_mean, some_std = fitted_two.predict(X[rows], return_std=True)
        assert_array_equal(some_mean, mean[rows])
        assert_array_equal(some_std, std[rows])
        assert_array_equal(fitted_two.predict_dist(X[rows], n_draws=7).loc, draws[rows])


@pytest.mark.parametrize("copier", ["pickle", "joblib", "deepcopy"])
def test_round_trips(fitted_two, lines, tmp_path, copier):
    X, _ = lines
    if copier == "pickle":
        other = pickle.loads(pickle.dumps(fitted_two))
    elif copier == "joblib":
        joblib.dump(fitted_two, tmp_path / "est.joblib")
        other = joblib.load(tmp_path / "est.joblib")
    else:
        other = copy.deepcopy(fitted_two)
    assert_array_equal(other.predict(X), fitted_two.predict(X))
    assert_array_equal(other.predict_dist(X).loc, fitted_two.predict_dist(X).loc)
    assert other.history_ == fitted_two.history_


def test_clone_and_deep_parameters(lines, small_regressor):
    X, y = lines
    est = small_regressor(weighter=AdaptiveWeighter(gamma=0.2), net_params={"module__reduction": 2})
    assert est.get_params()["weighter__gamma"] == 0.2
    est.set_params(weighter__gamma=0.3)
    params = copy.deepcopy(est.get_params())
    est.fit(X, y)
    assert est.get_params()["weighter"] is est.weighter
    assert est.get_params().keys() == params.keys()
    for name in params.keys() - {"weighter"}:
        assert est.get_params()[name] == params[name]
    other = clone(est)
    assert not hasattr(other, "net_")
    assert other.weighter is not est.weighter
    assert_array_equal(other.fit(X, y).predict(X), est.predict(X))


# Data


def test_shape_of_the_labels(lines, small_regressor):
    X, y = lines
    flat = small_regressor().fit(X, y[:, 0])
    column = small_regressor().fit(X, y[:, :1])
    both = small_regressor().fit(X, y)
    assert flat.predict(X).shape == (30,)
    assert column.predict(X).shape == (30, 1)
    assert both.predict(X).shape == (30, 2)
    assert_array_equal(flat.predict(X), column.predict(X)[:, 0])
    for est in (flat, column, both):
        mean, std = est.predict(X, return_std=True)
        assert mean.shape == std.shape == est.predict_dist(X, n_draws=3).shape
        assert mean.dtype == std.dtype == np.float64
        assert est.n_features_in_ == X.shape[1]
        assert est.label_mean_.shape == est.label_scale_.shape == (mean.size // 30,)
    assert not hasattr(flat, "feature_names_in_")


@pytest.mark.parametrize("kind", ["float64", "fortran", "list", "memmap", "integers"])
def test_storage_of_the_spectra_does_not_matter(lines, small_regressor, tmp_path, kind):
    X, y = lines
    if kind == "integers":
        X = np.rint(10 * X).astype(np.float32) + 0  # no negative zero
    np.save(tmp_path / "X.npy", X)
    stored = {
        "float64": X.astype(np.float64),
        "fortran": np.asfortranarray(X),
        "list": X.tolist(),
        "memmap": np.load(tmp_path / "X.npy", mmap_mode="r"),
        "integers": X.astype(int),
    }[kind]
    expected = small_regressor().fit(X, y)
    est = small_regressor().fit(stored, y)
    assert_array_equal(est.predict(X), expected.predict(X))
    assert_array_equal(expected.predict(stored), expected.predict(X))


def test_units_of_the_labels(lines, small_regressor, fitted):
    X, y = lines
    other = small_regressor().fit(X, 1e3 * y[:, 0] - 5e5)
    assert_allclose((other.predict(X) + 5e5) / 1e3, fitted.predict(X), rtol=1e-3)
    _, std = fitted.predict(X, return_std=True)
    assert_allclose(other.predict(X, return_std=True)[1], 1e3 * std, rtol=1e-2)


def test_label_scale_is_that_of_the_training_samples(lines, small_regressor):
    X, y = lines
    weight = np.random.default_rng(0).uniform(0.5, 2, 30)
    est = small_regressor(validation_fraction=0).fit(X, y, weight)
    mean = np.average(y, axis=0, weights=weight)
    assert_allclose(est.label_mean_, mean)
    assert_allclose(est.label_scale_**2, np.average((y - mean) ** 2, axis=0, weights=weight))


def test_feature_names(lines, small_regressor):
    pd = pytest.importorskip("pandas")
    X, y = lines
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(X.shape[1])])
    est = small_regressor().fit(frame, y)
    assert list(est.feature_names_in_) == list(frame.columns)
    assert_array_equal(est.predict(frame), small_regressor().fit(X, y).predict(X))
    with pytest.raises(ValueError, match="feature names"):
        est.predict(frame[frame.columns[::-1]])


def test_the_callers_arrays_are_untouched(lines, small_regressor):
    X, y = (np.array(part) for part in lines)
    weight = np.full(30, 2.0)
    small_regressor().fit(X, y, weight).predict(X)
    assert_array_equal(X, lines[0])
    assert_array_equal(y, lines[1])
    assert_array_equal(weight, np.full(30, 2.0))


# What fit leaves


def test_history(lines, small_regressor):
    est = small_regressor(max_epochs=3).fit(*lines)
    assert est.n_iter_ == len(est.history_) == 6
    for epoch in est.history_:
        assert set(epoch) == {"stage", "train_loss", "valid_loss", "lr", "seconds"}
        assert all(np.isfinite(value) for value in epoch.values())
        assert 0 < epoch["lr"] <= est.lr
    assert [epoch["stage"] for epoch in est.history_] == [1, 1, 1, 2, 2, 2]


def test_history_without_validation_samples(lines, small_regressor):
    est = small_regressor(validation_fraction=0).fit(*lines)
    assert {epoch["valid_loss"] for epoch in est.history_} == {None}
    assert np.isfinite(est.predict(lines[0])).all()


def test_all_samples_are_trained_on_without_validation(lines, small_regressor, monkeypatch):
    seen = []
    train_stages = skestnet._network.train_two_stages

    def record(net, samples, train, valid, *args):
        seen.append((len(train), len(valid)))
        return train_stages(net, samples, train, valid, *args)

    monkeypatch.setattr(skestnet._network, "train_two_stages", record)
    for fraction in (0, 0.1, 0.5, 0.999):
        small_regressor(validation_fraction=fraction, max_epochs=1).fit(*lines)
    assert seen == [(30, 0), (27, 3), (15, 15), (30, 0)]


def test_sample_weight_follows_the_samples(lines, small_regressor):
    X, y = lines
    order = np.random.default_rng(0).permutation(30)
    est = small_regressor().fit(X, y)
    permuted = small_regressor().fit(X[order], y[order])
    assert_array_equal(permuted.sample_weight_, est.sample_weight_[order])
    assert_array_equal(permuted.predict(X), est.predict(X))
    assert len(np.unique(est.sample_weight_)) > 10


def test_weight_two_is_a_repeated_sample(lines, small_regressor):
    X, y = lines
    weight = np.ones(30)
    weight[[2, 9, 20]] = 2
    repeated = np.r_[np.arange(30), 2, 9, 20]
    est = small_regressor().fit(X, y, weight)
    other = small_regressor().fit(X[repeated], y[repeated])
    assert_array_equal(est.predict(X), other.predict(X))
    assert_array_equal(est.sample_weight_[repeated], other.sample_weight_)
    control = small_regressor().fit(X, y)
    assert not np.array_equal(est.predict(X), control.predict(X))


def test_weight_zero_is_an_absent_sample(lines, small_regressor):
    X, y = lines
    labels = y.copy()
    labels[:5] = 1e6
    weight = np.ones(30)
    weight[:5] = 0
    est = small_regressor().fit(X, labels, weight)
    other = small_regressor().fit(X[5:], y[5:])
    assert_array_equal(est.predict(X), other.predict(X))
    assert_array_equal(est.sample_weight_, np.r_[np.zeros(5), other.sample_weight_])


def test_only_ratios_of_weights_matter(lines, small_regressor):
    X, y = lines
    weight = 2.0 ** np.random.default_rng(0).integers(-2, 3, 30)
    est, other = (small_regressor().fit(X, y, factor * weight) for factor in (1, 4096))
    assert_array_equal(est.predict(X), other.predict(X))


# Weighters


def test_adaptive_is_the_default_weighter(lines, small_regressor):
    X, y = lines
    named = small_regressor(weighter="adaptive").fit(X, y)
    given = small_regressor(weighter=AdaptiveWeighter.paper()).fit(X, y)
    assert_array_equal(named.predict(X), given.predict(X))
    other = small_regressor(weighter=AdaptiveWeighter(gamma=0.9)).fit(X, y)
    assert not np.array_equal(other.sample_weight_, given.sample_weight_)
    assert not np.array_equal(other.predict(X), given.predict(X))


def test_without_a_weighter_there_is_one_stage(lines, small_regressor):
    est = small_regressor(weighter=None).fit(*lines)
    assert {epoch["stage"] for epoch in est.history_} == {1}
    assert est.n_iter_ == 2
    assert_array_equal(est.sample_weight_, np.ones(30))


@pytest.mark.parametrize("weighter", ["huber", 3, AdaptiveWeighter, Ridge()])
def test_bad_weighter(lines, small_regressor, weighter):
    with pytest.raises(ValueError, match="expected 'adaptive', an AdaptiveWeighter or None"):
        small_regressor(weighter=weighter).fit(*lines)


def test_weighter_with_a_regressor_or_bad_parameters(lines, small_regressor):
    with pytest.raises(ValueError, match="its own first stage"):
        small_regressor(weighter=AdaptiveWeighter(Ridge())).fit(*lines)
    with pytest.raises(ValueError, match="gamma=2"):
        small_regressor(weighter=AdaptiveWeighter(gamma=2)).fit(*lines)


# Warm start


def test_warm_start_goes_on(line_spectra, small_regressor):
    X, y = line_spectra(60)
    est = small_regressor(warm_start=True, weighter=None, validation_fraction=0, lr=0.01)
    est.fit(X, y)
    net, losses, scale = est.net_, [est.history_[-1]["train_loss"]], est.label_scale_
    for k in (2, 3, 4):
        est.fit(X, y)
        assert est.n_iter_ == len(est.history_) == 2 * k
        losses.append(est.history_[-1]["train_loss"])
    assert est.net_ is not net  # what it goes on from survives a training that fails
    assert_array_equal(est.label_scale_, scale)
    assert losses[-1] < losses[0]
    cold = small_regressor(weighter=None, validation_fraction=0, lr=0.01).fit(X, y).fit(X, y)
    assert cold.n_iter_ == 2
    assert cold.history_[-1]["train_loss"] == losses[0]


def test_warm_start_on_other_data(lines, small_regressor):
    X, y = lines
    est = small_regressor(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="features"):
        est.fit(X[:, 1:], y)
    with pytest.raises(ValueError, match=r"y has 1 labels per sample.* has 2"):
        est.fit(X, y[:, 0])
    est.fit(X[:10], y[:10])
    assert est.sample_weight_.shape == (10,)


# Output on the terminal


def test_silent_unless_asked(lines, small_regressor, capfd):
    small_regressor(max_epochs=9, n_iter_no_change=1, tol=0.5).fit(*lines).predict_dist(lines[0])
    assert capfd.readouterr() == ("", "")


def test_progress_bar(lines, small_regressor, capfd):
    small_regressor(verbose=1).fit(*lines)
    out, err = capfd.readouterr()
    assert out == ""
    assert "stage 2" in err
    assert "4/4" in err
    assert "valid_loss" in err


# Settings


def test_device(lines, small_regressor):
    X, y = lines
    est = small_regressor(device="cpu").fit(X, y)
    assert next(est.net_.module_.parameters()).device.type == "cpu"
    assert est.net_.device == "cpu"


def test_parameters_reach_the_network(lines, small_regressor):
    est = small_regressor(
        depth=14, width=3, dropout=0.4, huber_delta=0.7, weight_decay=0.03, lr=0.02, max_epochs=1
    ).fit(*lines)
    module, net = est.net_.module_, est.net_
    n_convolutions = sum(isinstance(m, torch.nn.Conv1d) for m in module.modules())
    assert (n_convolutions, module.input.conv.out_channels) == (14, 3)
    assert (module.output.dropout.p, net.criterion_.delta) == (0.4, 0.7)
    assert net.optimizer_.param_groups[0]["weight_decay"] == 0.03
    assert net.lr == 0.02


def test_net_params(lines, small_regressor):
    class Count(Callback):
        def initialize(self):
            self.n_epochs_ = 0
            return self

        def on_epoch_end(self, net, **_):  # noqa: ARG002
            self.n_epochs_ += 1

    net_params = {
        "optimizer": torch.optim.SGD,
        "optimizer__momentum": 0.9,
        "module__reduction": 1,
        "callbacks": [("count", Count())],
    }
    est = small_regressor(net_params=net_params).fit(*lines)
    assert isinstance(est.net_.optimizer_, torch.optim.SGD)
    assert est.net_.module_.prse[3][0].se.squeeze.out_features == 16
    assert dict(est.net_.callbacks_)["count"].n_epochs_ == est.n_iter_ == 4
    assert est.net_params is net_params
    assert set(net_params) == {"optimizer", "optimizer__momentum", "module__reduction", "callbacks"}


# Of torch, about its own tensors, when it compiles a GRU.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_training(lines, small_regressor):
    compiled = []

    def backend(graph, inputs):  # noqa: ARG001
        compiled.append(graph)
        return graph.forward

    X, y = lines
    eager = small_regressor(noise="heteroscedastic").fit(X, y)
    est = clone(eager).set_params(net_params={"compile": True, "compile__backend": backend})
    est.fit(X, y)
    assert compiled
    assert type(est.net_.module_) is type(eager.net_.module_)
    assert_allclose(est.predict(X), eager.predict(X), rtol=1e-4, atol=1e-5)
    expected, found = (each.predict_dist(X).std() for each in (eager, est))
    assert_allclose(found, expected, rtol=1e-3)
    assert clone(est).set_params(net_params={"compile": False}).fit(X, y).n_iter_ == eager.n_iter_


@pytest.mark.parametrize(
    ("label", "expected"),
    [("teff", (34, 0.6, 0.0008, 0.0)), ("logg", (66, 0.75, 0.0015, 0.1))],
)
def test_settings_of_the_paper(label, expected):
    est = EstNetRegressor.paper(label)
    assert (est.depth, est.dropout, est.weight_decay, est.weighter.gamma) == expected
    assert est.width == 64
    assert est.n_iter_no_change == 7
    assert est.n_draws == 200
    other = EstNetRegressor.paper(label, width=2, depth=12, lr=0.5)
    assert (other.width, other.depth, other.lr, other.dropout) == (2, 12, 0.5, expected[1])


def test_no_settings_for_other_labels():
    with pytest.raises(ValueError, match=r"label='mass': expected one of \['logg', 'teff'\]"):
        EstNetRegressor.paper("mass")


# Intervals


def head_of(est, X):
    """Features and last layer, and the dropout probability, from the fitted module."""
    module = est.net_.module_.eval()
    with torch.no_grad():
        features = module.features(torch.tensor(X)).double().numpy()
        weight = module.output.linear.weight.double().numpy()
        bias = module.output.linear.bias.double().numpy()
    return features, weight, bias, module.output.dropout.p


def test_mean_and_standard_deviation_are_the_closed_form(lines, small_regressor):
    X, y = lines
    est = small_regressor(noise="none").fit(X, y)
    h, w, b, p = head_of(est, X)
    mean, std = est.predict(X, return_std=True)
    for i in range(len(X)):
        for k in range(2):
            variance = p / (1 - p) * sum(w[k, j] ** 2 * h[i, j] ** 2 for j in range(h.shape[1]))
            value = sum(w[k, j] * h[i, j] for j in range(h.shape[1])) + b[k]
            scale, centre = est.label_scale_[k], est.label_mean_[k]
            assert mean[i, k] == pytest.approx(centre + scale * value, rel=1e-6)
            assert std[i, k] == pytest.approx(scale * variance**0.5, rel=1e-4)
    assert_array_equal(est.predict(X), mean)
    assert (std > 0).all()


@pytest.fixture(scope="module")
def wide(line_spectra):
    """Fitted, with as many features before the dropout as make the draws look continuous."""
    X, y = line_spectra(20)
    X = np.tile(X, (1, 8))  # 192 pixels, 12 features
    est = EstNetRegressor(
        depth=12, width=2, max_epochs=1, dropout=0.3, noise="none", random_state=0
    )
    return est.fit(X, y), X


def test_draws_have_the_exact_moments(wide):
    est, X = wide
    mean, std = est.predict(X, return_std=True)
    n_draws = 20_000
    dist = est.predict_dist(X, n_draws=n_draws, random_state=0)
    error = std / n_draws**0.5
    assert (np.abs(dist.mean() - mean) < 5 * error).all()
    assert_allclose(dist.std(), std, rtol=0.05)
    # The control: half the draws' spread, or the neighbour's, would be noticed.
    assert not (np.abs(dist.mean() - mean) < 0.02 * error).all()
    assert not np.allclose(dist.std(), np.roll(std, 1, axis=0), rtol=0.05)


def test_a_draw_is_one_thinned_network(wide):
    est, X = wide
    draws = est.predict_dist(X, n_draws=50).loc
    h, w, b, p = head_of(est, X)
    standard = (draws - est.label_mean_) / est.label_scale_ - b
    for t in range(50):
        # One mask over the features explains all rows and labels of the draw.
        design = np.concatenate([h * w[k] for k in range(2)])
        target = standard[:, t].T.ravel()
        mask, *_ = np.linalg.lstsq(design * (1 - p) ** -1, target, rcond=None)
        assert_allclose(design @ mask / (1 - p), target, atol=1e-4)


def test_dropped_features_give_the_bias_alone(fitted, lines):
    # Two features and p = 0.3: the four masks of the draws are known.
    X, _ = lines
    h, w, b, p = head_of(fitted, X)
    assert h.shape[1] == 2
    masks = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    values = (h[:, None] * masks * w[0]).sum(axis=2) / (1 - p) + b
    values = values * fitted.label_scale_ + fitted.label_mean_
    draws = fitted.predict_dist(X, n_draws=4000).loc
    nearest = np.abs(draws[0][:, None] - values[0]).argmin(axis=1)
    assert_allclose(draws, values[:, nearest], rtol=1e-6)
    counts = np.bincount(nearest, minlength=4) / 4000
    expected = [p**2, p * (1 - p), p * (1 - p), (1 - p) ** 2]
    assert_allclose(counts, expected, atol=4 * 0.5 / 4000**0.5)


def test_number_and_seed_of_draws(wide, lines, small_regressor):
    est, X = wide
    assert est.predict_dist(X, n_draws=3).loc.shape == (20, 3, 2)
    assert est.predict_dist(X).n_draws == est.n_draws
    assert small_regressor(n_draws=4).fit(*lines).predict_dist(lines[0]).n_draws == 4
    seeded = [est.predict_dist(X, random_state=seed).loc for seed in (1, 1, 2, None, None)]
    assert_array_equal(seeded[0], seeded[1])
    assert_array_equal(seeded[3], seeded[4])
    assert not np.array_equal(seeded[0], seeded[2])
    assert not np.array_equal(seeded[0], seeded[3])


@pytest.mark.parametrize("n_draws", [0, -1])
def test_bad_number_of_draws(fitted, lines, n_draws):
    with pytest.raises(ValueError, match="n_draws"):
        fitted.predict_dist(lines[0], n_draws=n_draws)
    with pytest.raises(TypeError, match="n_draws"):
        fitted.predict_dist(lines[0], n_draws=2.5)


def test_no_dropout_no_spread(lines, small_regressor):
    X, y = lines
    est = small_regressor(dropout=0, noise="none").fit(X, y)
    mean, std = est.predict(X, return_std=True)
    assert_array_equal(std, np.zeros_like(mean))
    draws = est.predict_dist(X, n_draws=4).loc
    assert_allclose(draws, np.repeat(mean[:, None], 4, axis=1), rtol=1e-12)


def test_a_constant_label_is_predicted_exactly(lines, small_regressor):
    X, y = lines
    est = small_regressor().fit(X, np.full(30, 7.3))
    mean, std = est.predict(X, return_std=True)
    assert_array_equal(mean, np.full(30, 7.3))
    assert_array_equal(std, np.zeros(30))
    assert_array_equal(est.predict_dist(X, n_draws=3).loc, np.full((30, 3), 7.3))
    one_of_two = small_regressor().fit(X, np.column_stack([y[:, 0], np.full(30, 0.1)]))
    mean, std = one_of_two.predict(X, return_std=True)
    assert_array_equal(mean[:, 1], np.full(30, 0.1))
    assert_array_equal(std[:, 1], np.zeros(30))
    assert (std[:, 0] > 0).all()


# Inside scikit-learn


def test_search_over_a_pipeline(line_spectra, small_regressor):
    X, y = line_spectra(60)
    pipeline = Pipeline([("scale", StandardScaler()), ("net", small_regressor(lr=0.02))])
    search = GridSearchCV(pipeline, {"net__max_epochs": [1, 6]}, cv=2, scoring="r2").fit(X, y)
    assert search.best_params_ == {"net__max_epochs": 6}
    assert search.predict(X).shape == y.shape
    assert cross_val_score(pipeline, X, y[:, 0], cv=2).shape == (2,)


@pytest.mark.slow
def test_parallel_fits_equal_serial_ones(lines, small_regressor):
    X, y = lines
    est = small_regressor(max_epochs=1)
    parallel = cross_val_score(est, X, y, cv=2, n_jobs=2)
    # Workers have fewer threads, and sums over more threads round otherwise.
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    serial = cross_val_score(est, X, y, cv=2)
    torch.set_num_threads(n_threads)
    assert_array_equal(parallel, serial)


def test_fits_in_threads_do_not_disturb_each_other(line_spectra, small_regressor):
    X, y = line_spectra(60)
    est = small_regressor(max_epochs=3)
    serial = cross_val_score(est, X, y, cv=4)
    before = torch.get_rng_state()
    with joblib.parallel_config("threading"):
        threaded = cross_val_score(est, X, y, cv=4, n_jobs=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert_array_equal(threaded, serial)


def test_metadata_routing(lines, small_regressor):
    X, y = lines
    weight = np.r_[np.zeros(10), np.ones(20)]
    with config_context(enable_metadata_routing=True):
        net = small_regressor().set_fit_request(sample_weight=True)
        model = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), net)
        model.fit(X, y, sample_weight=weight)
    assert_array_equal(model[-1].sample_weight_[:10], np.zeros(10))
    expected = small_regressor().fit(StandardScaler().fit_transform(X), y, weight)
    assert_array_equal(
        model.predict(X), expected.predict(StandardScaler().fit_transform(X).astype(np.float32))
    )


def test_score_is_the_mean_r2_over_the_labels(fitted_two, lines):
    X, y = lines
    assert is_regressor(fitted_two)
    y_pred = fitted_two.predict(X)
    each = [r2_score(y[:, k], y_pred[:, k]) for k in range(2)]
    assert fitted_two.score(X, y) == pytest.approx(np.mean(each))


# Errors


def test_unfitted(lines, small_regressor):
    for method in ("predict", "predict_dist"):
        with pytest.raises(NotFittedError):
            getattr(small_regressor(), method)(lines[0])


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_flux_that_is_not_finite(lines, small_regressor, fitted, value):
    X, y = lines[0].astype(np.float64), lines[1][:, 0]
    X[3, 5] = value
    for call in (lambda: small_regressor().fit(X, y), lambda: fitted.predict(X)):
        with pytest.raises(ValueError, match=r"NaN|infinity|too large"):
            call()


def test_predict_dist_refuses_what_predict_refuses(fitted, lines):
    for bad in (np.full_like(lines[0], np.nan), lines[0][:, 1:], lines[0][:0], lines[0][0]):
        for predict in (fitted.predict, fitted.predict_dist):
            with pytest.raises(ValueError, match=r"NaN|features|minimum|2D"):
                predict(bad)


def test_wrong_number_of_pixels(fitted, lines):
    with pytest.raises(ValueError, match=r"X has 23 features.* expecting 24"):
        fitted.predict(lines[0][:, 1:])


@pytest.mark.parametrize("n_samples", [0, 1])
def test_too_few_samples(lines, small_regressor, n_samples):
    X, y = lines
    with pytest.raises(ValueError, match=r"minimum of 2"):
        small_regressor().fit(X[:n_samples], y[:n_samples])


@pytest.mark.parametrize("n_samples", [2, 3, 4])
def test_few_samples_are_enough(lines, small_regressor, n_samples):
    X, y = lines
    est = small_regressor().fit(X[:n_samples], y[:n_samples])
    assert np.isfinite(est.predict(X)).all()


def test_equal_samples_are_enough(lines, small_regressor):
    X, y = lines
    est = small_regressor().fit(X[[0, 0, 0]], y[[0, 0, 0]])
    assert_array_equal(est.predict(X), np.repeat(y[:1], 30, axis=0))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.r_[-0.5, np.ones(29)], r"negative values \(smallest: -0.5\)"),
        (np.zeros(30), "zero for every sample|at least one non-zero"),
        (np.r_[np.nan, np.ones(29)], "NaN"),
        (np.r_[np.inf, np.ones(29)], "infinity"),
        (np.ones(29), r"sample_weight.shape == \(29,\)"),
        (np.ones((30, 2)), "1D array or scalar"),
    ],
)
def test_bad_weights(lines, small_regressor, weight, message):
    with pytest.raises(ValueError, match=message):
        small_regressor().fit(*lines, weight)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_labels_that_are_not_finite(lines, small_regressor, value, n_outputs):
    X, y = lines[0], lines[1][:, :n_outputs].copy()
    y[3, -1] = value
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        small_regressor().fit(X, y if n_outputs == 2 else y[:, 0])


def test_labels_of_another_length(lines, small_regressor):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        small_regressor().fit(lines[0], lines[1][1:])


BAD = {
    "depth": [11, 13, 0],
    "width": [0, -1],
    "dropout": [-0.1, 1, 1.5],
    "huber_delta": [0, -1],
    "max_epochs": [0, -1],
    "batch_size": [1, 0],
    "lr": [0, -0.1],
    "weight_decay": [-0.1],
    "validation_fraction": [-0.1, 1],
    "n_iter_no_change": [0],
    "tol": [-0.1],
    "n_draws": [0],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_parameter_out_of_range(lines, small_regressor, name, value):
    with pytest.raises(ValueError, match=rf"{name} ?== ?{value}|{name}={value}"):
        small_regressor(**{name: value}).fit(*lines)


@pytest.mark.parametrize("name", sorted(set(BAD) - {"depth"}))
def test_parameter_of_a_wrong_type(lines, small_regressor, name):
    with pytest.raises(TypeError, match=name):
        small_regressor(**{name: "3"}).fit(*lines)


@pytest.mark.parametrize(
    "name", ["dropout", "huber_delta", "lr", "weight_decay", "validation_fraction", "tol"]
)
def test_parameter_nan(lines, small_regressor, name):
    with pytest.raises(ValueError, match=name):
        small_regressor(**{name: np.nan}).fit(*lines)


@pytest.mark.parametrize("device", ["gpu", "cpu:x", "mps", None, 0])
def test_bad_device(lines, small_regressor, device):
    with pytest.raises((ValueError, RuntimeError), match=r"device"):
        small_regressor(device=device).fit(*lines)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(lines, small_regressor):
    with pytest.raises(ValueError, match=r"device='cuda'.*there is none.*Try 'auto'"):
        small_regressor(device="cuda").fit(*lines)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
def test_gpu(lines, small_regressor):
    X, y = lines
    before = torch.cuda.get_rng_state()
    est = small_regressor(device="auto").fit(X, y)
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert est.net_.device == "cuda"
    assert_allclose(est.predict(X), small_regressor(device="cuda").fit(X, y).predict(X), rtol=1e-3)
    assert_allclose(pickle.loads(pickle.dumps(est)).predict(X), est.predict(X), rtol=1e-6)


def test_a_failed_refit_leaves_the_last_fit(lines, small_regressor):
    X, y = lines
    est = small_regressor().fit(X, y)
    expected = est.predict(X)
    with pytest.raises(FloatingPointError):
        est.set_params(lr=1e30).fit(X, 5 * y + 7)
    assert_array_equal(est.predict(X), expected)


def test_a_failed_first_fit_leaves_no_fitted_estimator(lines, small_regressor):
    est = small_regressor(depth=13)
    with pytest.raises(ValueError, match="depth=13"):
        est.fit(*lines)
    with pytest.raises(NotFittedError):
        est.predict(lines[0])


# Recovery


def test_learns_an_easy_signal(line_spectra, small_regressor):
    X, y = line_spectra(250)
    X_test, y_test = line_spectra(100, seed=1)
    est = small_regressor(width=4, max_epochs=12, batch_size=16, lr=0.02, dropout=0.1)
    est.fit(X, y[:, 0])
    assert est.score(X_test, y_test[:, 0]) > 0.9
    shuffled = np.random.default_rng(0).permutation(y[:, 0])
    control = clone(est).set_params(max_epochs=2).fit(X, shuffled)
    assert control.score(X_test, y_test[:, 0]) < 0.5


def test_adaptive_weights_help_against_wrong_labels(line_spectra, small_regressor):
    X, y = line_spectra(200)
    X_test, y_test = line_spectra(200, seed=1)
    labels = y[:, 0].copy()
    labels[::5] += 7000
    errors = {}
    for weighter in ("adaptive", None):
        est = small_regressor(width=4, max_epochs=8, batch_size=16, lr=0.02, weighter=weighter)
        est.set_params(dropout=0.1, n_iter_no_change=100).fit(X, labels)
        errors[weighter] = np.abs(est.predict(X_test) - y_test[:, 0]).mean()
    assert errors["adaptive"] < errors[None]
