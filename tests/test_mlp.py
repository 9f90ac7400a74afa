import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skestnet import AdaptiveMLPRegressor, AdaptiveWeighter, EstNetRegressor, predict_dist
from skestnet._network import TwoStageRegressor
from skestnet.nn import MLP


def small_mlp(**params):
    small = {"hidden_layer_sizes": (16, 12, 8), "max_epochs": 2, "batch_size": 8, "dropout": 0.3}
    return AdaptiveMLPRegressor(**{**small, "random_state": 0, "device": "cpu", **params})


@pytest.fixture(scope="module")
def fitted_two(lines):
    """Fitted to two labels; not to be changed."""
    return small_mlp().fit(*lines)


# Recovery


def test_learns_an_easy_signal(line_spectra):
    X, y = line_spectra(250)
    X_test, y_test = line_spectra(100, seed=1)
    est = small_mlp(max_epochs=12, batch_size=16, lr=0.02, dropout=0.1).fit(X, y)
    assert est.score(X_test, y_test) > 0.9
    shuffled = np.random.default_rng(0).permutation(y)
    control = clone(est).set_params(max_epochs=2).fit(X, shuffled)
    assert control.score(X_test, y_test) < 0.5


def test_adaptive_weights_help_against_wrong_labels(line_spectra):
    X, y = line_spectra(200)
    X_test, y_test = line_spectra(200, seed=1)
    labels = y[:, 0].copy()
    labels[::5] += 7000
    errors = {}
    for weighter in ("adaptive", None):
        est = small_mlp(max_epochs=10, batch_size=16, lr=0.02, dropout=0.1, weighter=weighter)
        est.set_params(n_iter_no_change=100).fit(X, labels)
        errors[weighter] = np.abs(est.predict(X_test) - y_test[:, 0]).mean()
    assert errors["adaptive"] < 0.7 * errors[None]


# Training


def test_training_and_prediction_are_those_of_estnet():
    assert issubclass(AdaptiveMLPRegressor, TwoStageRegressor)
    assert issubclass(EstNetRegressor, TwoStageRegressor)
    for name in ("fit", "predict", "predict_dist", "_train", "_build_net", "_weigh"):
        assert getattr(AdaptiveMLPRegressor, name) is getattr(EstNetRegressor, name)
    assert is_regressor(AdaptiveMLPRegressor())


def test_all_parameters_but_the_architecture_are_those_of_estnet():
    own = AdaptiveMLPRegressor().get_params().keys() - EstNetRegressor().get_params().keys()
    assert own == {"hidden_layer_sizes"}


def test_two_stages(lines):
    est = small_mlp(max_epochs=3).fit(*lines)
    assert est.n_iter_ == len(est.history_) == 6
    assert [epoch["stage"] for epoch in est.history_] == [1, 1, 1, 2, 2, 2]
    for epoch in est.history_:
        assert set(epoch) == {"stage", "train_loss", "valid_loss", "lr", "seconds"}
        assert all(np.isfinite(value) for value in epoch.values())
    assert est.sample_weight_.shape == (30,)
    assert len(np.unique(est.sample_weight_)) > 10


def test_without_a_weighter_there_is_one_stage(lines):
    est = small_mlp(weighter=None).fit(*lines)
    assert {epoch["stage"] for epoch in est.history_} == {1}
    assert_array_equal(est.sample_weight_, np.ones(30))


def test_weights_of_the_second_stage_are_those_of_the_weighter(lines, monkeypatch):
    X, y = lines
    seen = []
    weigh = AdaptiveWeighter.weigh

    def record(self, *args, **params):
        seen.append((self.gamma, weigh(self, *args, **params)))
        return seen[-1][1]

    monkeypatch.setattr(AdaptiveWeighter, "weigh", record)
    est = small_mlp(weighter=AdaptiveWeighter.paper("logg")).fit(X, y)
    (gamma, weights), *others = seen
    assert gamma == 0.1
    assert others == []
    assert_array_equal(np.sort(est.sample_weight_), np.sort(weights))


def test_weight_zero_is_an_absent_sample_and_two_a_repeated_one(lines):
    X, y = lines
    labels = y.copy()
    labels[:5] = 1e6
    weight = np.r_[np.zeros(5), 2, np.ones(24)]
    est = small_mlp().fit(X, labels, weight)
    rows = np.r_[5, 5:30]
    other = small_mlp().fit(X[rows], y[rows])
    assert_array_equal(est.predict(X), other.predict(X))
    assert_array_equal(est.sample_weight_, np.r_[np.zeros(5), other.sample_weight_[1:]])


def test_warm_start_goes_on(line_spectra):
    X, y = line_spectra(60)
    est = small_mlp(warm_start=True, weighter=None, validation_fraction=0, lr=0.01).fit(X, y)
    net, losses, scale = est.net_, [est.history_[-1]["train_loss"]], est.label_scale_
    for k in (2, 3, 4):
        est.fit(X, y)
        assert est.n_iter_ == 2 * k
        losses.append(est.history_[-1]["train_loss"])
    assert est.net_ is not net
    assert_array_equal(est.label_scale_, scale)
    assert losses[-1] < losses[0]
    cold = small_mlp(weighter=None, validation_fraction=0, lr=0.01).fit(X, y).fit(X, y)
    assert cold.n_iter_ == 2
    assert cold.history_[-1]["train_loss"] == losses[0]


# Repeatability


def test_one_seed_one_result(lines):
    X, y = lines
    one, other = (small_mlp(random_state=7).fit(X, y) for _ in range(2))
    assert_array_equal(one.predict(X), other.predict(X))
    assert_array_equal(one.predict_dist(X).loc, other.predict_dist(X).loc)
    assert_array_equal(one.sample_weight_, other.sample_weight_)
    third = small_mlp(random_state=8).fit(X, y)
    assert not np.array_equal(one.predict(X), third.predict(X))


def test_the_callers_generator_is_untouched(lines):
    X, y = lines
    before = torch.get_rng_state()
    small_mlp().fit(X, y).predict_dist(X)
    assert torch.equal(torch.get_rng_state(), before)


def test_order_of_the_samples_does_not_matter(lines, fitted_two):
    X, y = lines
    order = np.random.default_rng(0).permutation(30)
    permuted = small_mlp().fit(X[order], y[order])
    assert_array_equal(permuted.predict(X), fitted_two.predict(X))
    assert_array_equal(permuted.sample_weight_, fitted_two.sample_weight_[order])


def test_predictions_do_not_depend_on_the_batch(fitted_two, line_spectra):
    X, _ = line_spectra(70, seed=1)
    mean, std = fitted_two.predict(X, return_std=True)
    draws = fitted_two.predict_dist(X, n_draws=7).loc
    for rows in (np.random.default_rng(0).permutation(70), [3], np.arange(33)):
        some_mean, some_std = fitted_two.predict(X[rows], return_std=True)
        assert_array_equal(some_mean, mean[rows])
        assert_array_equal(some_std, std[rows])
        assert_array_equal(fitted_two.predict_dist(X[rows], n_draws=7).loc, draws[rows])


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda est: pickle.loads(pickle.dumps(est))])
def test_round_trips(fitted_two, lines, copier):
    X, _ = lines
    other = copier(fitted_two)
    assert_array_equal(other.predict(X), fitted_two.predict(X))
    assert_array_equal(other.predict_dist(X).loc, fitted_two.predict_dist(X).loc)
    assert other.history_ == fitted_two.history_


@pytest.mark.parametrize("sizes", [(16, 12, 8), [16, 12, 8]])
def test_clone_and_deep_parameters(lines, sizes):
    X, y = lines
    est = small_mlp(hidden_layer_sizes=sizes, weighter=AdaptiveWeighter(gamma=0.2))
    est.set_params(weighter__gamma=0.3)
    params = {name: repr(value) for name, value in est.get_params().items()}
    est.fit(X, y)
    assert {name: repr(value) for name, value in est.get_params().items()} == params
    assert est.hidden_layer_sizes is sizes
    other = clone(est)
    assert not hasattr(other, "net_")
    assert other.weighter is not est.weighter
    assert_array_equal(other.fit(X, y).predict(X), est.predict(X))


# Predictions


def test_shape_of_the_labels(lines, fitted_two):
    X, y = lines
    flat, column = small_mlp().fit(X, y[:, 0]), small_mlp().fit(X, y[:, :1])
    assert flat.predict(X).shape == (30,)
    assert column.predict(X).shape == (30, 1)
    assert fitted_two.predict(X).shape == (30, 2)
    assert_array_equal(flat.predict(X), column.predict(X)[:, 0])
    for est in (flat, column, fitted_two):
        mean, std = est.predict(X, return_std=True)
        dist = est.predict_dist(X, n_draws=3)
        assert mean.shape == std.shape == dist.shape
        assert dist.loc.shape == (30, 3, *mean.shape[1:])
        assert mean.dtype == std.dtype == np.float64
        assert (std > 0).all()
        assert est.n_features_in_ == X.shape[1]
        assert est.label_mean_.shape == est.label_scale_.shape == (mean.size // 30,)


@pytest.fixture(scope="module")
def of_dropout(lines):
    """Fitted to two labels without noise: the draws are all there is."""
    return small_mlp(noise="none").fit(*lines)


def test_mean_and_standard_deviation_are_the_closed_form(of_dropout, lines):
    X, _ = lines
    module = of_dropout.net_.module_.eval()
    with torch.no_grad():
        h = module.features(torch.tensor(X)).double().numpy()
        w, b = (part.double().numpy() for part in module.output.parameters())
    mean, std = of_dropout.predict(X, return_std=True)
    scale, centre, p = of_dropout.label_scale_, of_dropout.label_mean_, module.output.dropout.p
    for i in range(30):
        for k in range(2):
            value = sum(w[k, j] * h[i, j] for j in range(8)) + b[k]
            variance = p / (1 - p) * sum(w[k, j] ** 2 * h[i, j] ** 2 for j in range(8))
            assert mean[i, k] == pytest.approx(centre[k] + scale[k] * value, rel=1e-6)
            assert std[i, k] == pytest.approx(scale[k] * variance**0.5, rel=1e-4)


def test_draws_have_the_exact_moments(of_dropout, lines):
    X, _ = lines
    mean, std = of_dropout.predict(X, return_std=True)
    n_draws = 20_000
    dist = of_dropout.predict_dist(X, n_draws=n_draws, random_state=0)
    error = std / n_draws**0.5
    assert (np.abs(dist.mean() - mean) < 5 * error).all()
    assert_allclose(dist.std(), std, rtol=0.05)
    # The control: half the draws' spread, or the neighbour's, would be noticed.
    assert not (np.abs(dist.mean() - mean) < 0.02 * error).all()
    assert not np.allclose(dist.std(), np.roll(std, 1, axis=0), rtol=0.05)


def test_no_dropout_no_spread(lines):
    X, y = lines
    est = small_mlp(dropout=0, noise="none").fit(X, y)
    mean, std = est.predict(X, return_std=True)
    assert_array_equal(std, np.zeros_like(mean))
    draws = est.predict_dist(X, n_draws=4).loc
    assert_allclose(draws, np.repeat(mean[:, None], 4, axis=1), rtol=1e-12)


def test_number_of_draws(fitted_two, lines):
    assert fitted_two.predict_dist(lines[0]).n_draws == 200
    assert small_mlp(n_draws=4).fit(*lines).predict_dist(lines[0]).n_draws == 4


def test_unfitted(lines):
    for call in (small_mlp().predict, small_mlp().predict_dist):
        with pytest.raises(NotFittedError):
            call(lines[0])


# The network


def test_parameters_reach_the_network(lines):
    est = small_mlp(hidden_layer_sizes=(5, 4), dropout=0.4, huber_delta=0.7, lr=0.02).fit(*lines)
    module = est.net_.module_
    assert isinstance(module, MLP)
    layers = [m for m in module.modules() if isinstance(m, torch.nn.Linear)]
    shapes = [(layer.in_features, layer.out_features) for layer in layers]
    assert shapes == [(24, 5), (5, 4), (4, 2)]
    assert (module.output.dropout.p, est.net_.criterion_.delta, est.net_.lr) == (0.4, 0.7, 0.02)


def test_without_hidden_layers_it_is_linear(line_spectra):
    X, y = line_spectra(100)
    est = small_mlp(hidden_layer_sizes=(), max_epochs=15, lr=0.03, dropout=0.0).fit(X, y)
    at_zero = est.predict(np.zeros((1, 24)))
    doubled = est.predict(2 * X) - at_zero
    assert_allclose(doubled, 2 * (est.predict(X) - at_zero), rtol=1e-3, atol=1e-3)
    assert est.score(X, y) > 0.5


def test_feature_names(lines):
    pd = pytest.importorskip("pandas")
    X, y = lines
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(X.shape[1])])
    est = small_mlp().fit(frame, y)
    assert list(est.feature_names_in_) == list(frame.columns)


def test_nan_is_for_preprocessing(lines):
    X, y = lines
    gaps = X.copy()
    gaps[3, 5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        small_mlp().fit(gaps, y)


def test_pipeline_and_search(lines):
    X, y = lines
    pipeline = make_pipeline(StandardScaler(), small_mlp(max_epochs=1))
    grid = {"adaptivemlpregressor__hidden_layer_sizes": [(), (4,), (8, 4)]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    assert search.predict(X).shape == (30, 2)
    assert predict_dist(search, X, n_draws=3).loc.shape == (30, 3, 2)


# Errors


@pytest.mark.parametrize(
    "sizes", [16, 2.5, None, "", "16", (16, 0), (16, -1), (16, 2.0), ("16",), [[16]], (np.nan,)]
)
def test_bad_hidden_layer_sizes(lines, sizes):
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=.*sequence of positive integers"):
        small_mlp(hidden_layer_sizes=sizes).fit(*lines)


@pytest.mark.parametrize("weighter", ["huber", 3, AdaptiveWeighter, Ridge()])
def test_bad_weighter(lines, weighter):
    with pytest.raises(ValueError, match="expected 'adaptive', an AdaptiveWeighter or None"):
        small_mlp(weighter=weighter).fit(*lines)


@pytest.mark.parametrize(
    ("params", "problem"),
    [({"regressor": Ridge()}, "has a regressor"), ({"cv": 5}, "has cv=5")],
)
def test_weighter_with_regressor_or_folds(lines, params, problem):
    remedy = r"AdaptiveWeightRegressor\(AdaptiveMLPRegressor\(weighter=None\), weighter\)"
    with pytest.raises(ValueError, match=rf"{problem}.*{remedy}"):
        small_mlp(weighter=AdaptiveWeighter(**params)).fit(*lines)


@pytest.mark.parametrize(
    ("name", "value"), [("dropout", 1.0), ("max_epochs", 0), ("batch_size", 1), ("lr", 0)]
)
def test_parameter_out_of_range(lines, name, value):
    with pytest.raises(ValueError, match=name):
        small_mlp(**{name: value}).fit(*lines)
