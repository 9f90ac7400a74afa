"""Saliency and feature maps: against closed forms, finite differences and torch alone."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

from skestnet import (
    AdaptiveMLPRegressor,
    AdaptiveWeighter,
    AdaptiveWeightRegressor,
    CalibratedRegressor,
    EstNetRegressor,
)
from skestnet.datasets import make_white_dwarfs
from skestnet.inspection import feature_maps, saliency
from skestnet.nn import WithNoise
from skestnet.spectra import FluxScaler
from skestnet.spectra._wavelength import BALMER_LINES


def linear(**params):
    """A network of one linear layer, whose gradient is its weights."""
    few = {"hidden_layer_sizes": (), "max_epochs": 2, "batch_size": 8, "device": "cpu"}
    return AdaptiveMLPRegressor(**{**few, "random_state": 0, **params})


def weights_of(model):
    """The gradient of a linear network's labels, of shape (n_pixels, n_outputs)."""
    return model.net_.module_.output.linear.weight.detach().numpy().T * model.label_scale_


@pytest.fixture(scope="module", params=["estnet", "shortcut", "noise", "mlp"])
def network(request, lines, small_regressor):
    """A fitted network of each kind, of two labels, and spectra for it."""
    X, y = lines
    if request.param == "mlp":
        model = AdaptiveMLPRegressor(hidden_layer_sizes=(8, 6), max_epochs=2, random_state=0)
    else:
        own = {"shortcut": {"shortcut": 2}, "noise": {"noise": "heteroscedastic"}}
        model = small_regressor(**own.get(request.param, {}))
    return model.fit(X, y), X


# Saliency of one network


def test_gradient_of_a_linear_network_is_its_weights(lines):
    X, y = lines
    both = linear().fit(X, y)
    assert_allclose(saliency(both, X, signed=True), [weights_of(both)] * len(X), rtol=1e-6)
    assert_allclose(saliency(both, X), [np.abs(weights_of(both))] * len(X), rtol=1e-6)
    one = linear().fit(X, y[:, 1])
    assert_allclose(saliency(one, X, signed=True), [weights_of(one)[:, 0]] * len(X), rtol=1e-6)
    column = saliency(linear().fit(X, y[:, [1]]), X, signed=True)
    assert_array_equal(column, saliency(one, X, signed=True)[..., np.newaxis])


def test_finite_differences_in_double_precision(network):
    model, X = network
    module = deepcopy(model.net_.module_).eval().double()
    module = module.network if isinstance(module, WithNoise) else module
    step, some = 1e-7, torch.tensor(X[:6], dtype=torch.float64)
    expected = np.empty((6, X.shape[1], 2))
    with torch.no_grad():
        for pixel in range(X.shape[1]):
            shift = step * torch.eye(X.shape[1], dtype=torch.float64)[pixel]
            expected[:, pixel] = (module(some + shift) - module(some - shift)) / (2 * step)
    expected *= model.label_scale_
    largest = np.abs(expected).max(axis=(0, 1))
    assert (largest > 0).all()
    gradient = saliency(model, X[:6], signed=True)
    assert gradient.dtype == np.float64
    assert_allclose(gradient / largest, expected / largest, atol=2e-5)
    assert_array_equal(saliency(model, X[:6]), np.abs(gradient))


def test_finite_differences_of_predict(network):
    model, X = network
    shift = np.float32(2**-12) * np.eye(X.shape[1], dtype=np.float32)
    expected = (model.predict(X[0] + shift) - model.predict(X[0] - shift)) / 2**-11
    largest = np.abs(expected).max(axis=0)
    gradient = saliency(model, X[:1], signed=True)[0]
    # A longer step would cross the bends of PReLU, a shorter one drown in rounding.
    assert_allclose(gradient / largest, expected / largest, atol=0.005)


def test_one_label_and_many_spectra(fitted, lines):
    X, _ = lines
    many = np.concatenate([X, X[::-1]])  # more than a batch
    gradient = saliency(fitted, many)
    assert gradient.shape == many.shape
    assert_array_equal(gradient[:30], gradient[:29:-1])
    assert_array_equal(gradient[7:8], saliency(fitted, X[7:8]))


def test_gradient_is_with_respect_to_the_preprocessed_flux(lines, small_regressor):
    X, y = 100 * lines[0] + 5, lines[1]
    inside = small_regressor(preprocess=StandardScaler()).fit(X, y)
    scaled = inside.preprocess_.transform(X)
    alone = deepcopy(inside).set_params(preprocess=None)
    alone.preprocess_ = None
    assert_array_equal(saliency(inside, X), saliency(alone, scaled))


@pytest.mark.parametrize("inspect", [saliency, feature_maps])
@pytest.mark.parametrize("training", [True, False])
def test_estimator_stays_as_it_was(inspect, training, lines, small_regressor):
    X, y = lines
    model = small_regressor(noise="heteroscedastic").fit(X, y)
    module = model.net_.module_.train(training)
    modes = [part.training for part in module.modules()]
    before = pickle.dumps({name: value.numpy() for name, value in module.state_dict().items()})
    gradients = [value.grad is None or value.grad.clone() for value in module.parameters()]
    random = torch.get_rng_state(), pickle.dumps(np.random.get_state())  # noqa: NPY002
    with torch.no_grad():
        first, second = inspect(model, X), inspect(model, X)
        assert not torch.is_grad_enabled()
    for one, other in zip(first, second, strict=True):
        assert_array_equal(one, other)
    assert module is model.net_.module_
    assert [part.training for part in module.modules()] == modes
    after = pickle.dumps({name: value.numpy() for name, value in module.state_dict().items()})
    assert after == before
    assert all(value.requires_grad for value in module.parameters())
    for value, old in zip(module.parameters(), gradients, strict=True):
        assert old is True if value.grad is None else torch.equal(value.grad, old)
    assert torch.equal(torch.get_rng_state(), random[0])
    assert pickle.dumps(np.random.get_state()) == random[1]  # noqa: NPY002


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu(lines, small_regressor):
    X, y = lines
    model = small_regressor(device="cuda").fit(X, y)
    on_gpu, maps = saliency(model, X), feature_maps(model, X)
    model.net_.set_params(device="cpu")
    model.net_.module_.cpu()
    largest = on_gpu.max(axis=(0, 1))
    assert_allclose(on_gpu / largest, saliency(model, X) / largest, atol=1e-2)
    assert_allclose(maps.gru, feature_maps(model, X).gru, atol=1e-2)


# Inside other estimators

WRAPPERS = {
    "pipeline": lambda net: make_pipeline(StandardScaler(), net),
    "search": lambda net: GridSearchCV(net, {"lr": [0.01, 0.02]}, cv=2),
    "target": lambda net: TransformedTargetRegressor(net, func=np.log, inverse_func=np.exp),
    "weights": lambda net: AdaptiveWeightRegressor(net, AdaptiveWeighter(cv=2)),
    "all": lambda net: GridSearchCV(
        TransformedTargetRegressor(
            make_pipeline(StandardScaler(), net), transformer=MinMaxScaler()
        ),
        {"regressor__estnetregressor__lr": [0.01]},
        cv=2,
    ),
}


def unwrapped(name, fitted, X):
    """The network inside a wrapper, and what it sees."""
    if name == "all":
        pipeline = fitted.best_estimator_.regressor_
        return pipeline[-1], pipeline[0].transform(X)
    if name == "pipeline":
        return fitted[-1], fitted[0].transform(X)
    return getattr(fitted, "best_estimator_" if name == "search" else "regressor_"), X


@pytest.mark.parametrize("name", WRAPPERS)
def test_inside_wrappers(name, lines, small_regressor):
    X, y = lines
    fitted = WRAPPERS[name](small_regressor(weighter=None)).fit(X, y[:, 0])
    net, seen = unwrapped(name, fitted, X)
    assert isinstance(net, EstNetRegressor)
    for wrapped in (fitted, FrozenEstimator(fitted)):
        assert_array_equal(saliency(wrapped, X), saliency(net, seen))
        assert_array_equal(feature_maps(wrapped, X).gru, feature_maps(net, seen).gru)


def test_ensemble_has_the_gradient_of_its_mean(lines):
    X, y = lines
    bagging = BaggingRegressor(linear(max_epochs=6), n_estimators=3, random_state=0).fit(X, y)
    each = np.array([weights_of(member) for member in bagging.estimators_])
    assert (np.abs(each.mean(axis=0)) < 0.9 * np.abs(each).mean(axis=0)).any()  # signs count
    assert_allclose(saliency(bagging, X[:2]), [np.abs(each.mean(axis=0))] * 2, rtol=1e-5)
    assert_allclose(saliency(bagging, X[:2], signed=True), [each.mean(axis=0)] * 2, rtol=1e-5)


def test_calibrated_regressor_has_the_mean_of_its_folds(line_spectra, small_regressor):
    X, y = line_spectra(40)
    calibrated = CalibratedRegressor(small_regressor(), method="cv+", cv=2).fit(X, y)
    assert len(calibrated.regressors_) == 2
    each = [saliency(regressor, X, signed=True) for regressor in calibrated.regressors_]
    assert_allclose(saliency(calibrated, X, signed=True), np.mean(each, axis=0))
    first = feature_maps(calibrated.regressors_[0], X)
    assert_array_equal(feature_maps(calibrated, X).prse, first.prse)


@pytest.mark.parametrize("params", [{"max_features": 0.5}, {"bootstrap_features": True}])
def test_networks_that_see_other_pixels_have_no_mean(params, lines):
    X, y = lines
    bagging = BaggingRegressor(linear(), n_estimators=2, random_state=0, **params)
    for fitted in (bagging.fit(X, y), make_pipeline(StandardScaler(), bagging).fit(X, y)):
        with pytest.raises(ValueError, match=r"other pixels, .* max_features=1\.0 and bootstrap_f"):
            saliency(fitted, X)


def test_networks_that_see_numbers_of_pixels_that_differ(line_spectra):
    X, y = line_spectra(40)
    calibrated = CalibratedRegressor(linear(), method="cv+", cv=2).fit(X, y)
    part = make_pipeline(FunctionTransformer(lambda X: X[:, :20]), linear()).fit(X, y)
    calibrated.regressors_[1] = part
    with pytest.raises(ValueError, match=r"CalibratedRegressor see spectra of \[20, 24\] pixels"):
        saliency(calibrated, X)


# Errors


@pytest.mark.parametrize("inspect", [saliency, feature_maps])
def test_errors(inspect, lines, fitted, small_regressor):
    X, y = lines
    with pytest.raises(NotFittedError):
        inspect(small_regressor(), X)
    with pytest.raises(NotFittedError):
        inspect(make_pipeline(StandardScaler(), small_regressor()), X)
    with pytest.raises(TypeError, match=r"Ridge is no network .* a fitted EstNetRegressor"):
        inspect(make_pipeline(StandardScaler(), Ridge()).fit(X, y), X)
    with pytest.raises(TypeError, match=r"^ndarray is no estimator: expected \(fitted, X\), a fi"):
        inspect(X, fitted)
    with pytest.raises(ValueError, match="23 features"):
        inspect(fitted, X[:, 1:])
    with pytest.raises(ValueError, match="MaskedPixelImputer"):
        inspect(fitted, np.full_like(X, np.nan))


# Feature maps


@pytest.mark.parametrize("noise", ["constant", "heteroscedastic"])
def test_maps_against_torch(noise, lines, small_regressor):
    X, y = lines
    model = small_regressor(noise=noise).fit(X, y)
    many = np.concatenate([X, X])  # more than a batch
    maps = feature_maps(model, many)
    net = model.net_.module_.eval()
    net = net.network if noise == "heteroscedastic" else net
    with torch.no_grad():
        lifted = net.input(torch.tensor(many)[:, np.newaxis])
        middle = net.prse(lifted)
        read = net.gru(middle)[:, 0]
        labels = net.output(read).numpy() * model.label_scale_ + model.label_mean_
    assert [one.shape for one in maps] == [(60, 2, 24), (60, 16, 2), (60, 2)]
    assert {one.dtype for one in maps} == {np.dtype(np.float32)}
    for got, expected in zip(maps, (lifted, middle, read), strict=True):
        assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert_allclose(model.predict(many), labels, rtol=1e-4)
    for got, alone in zip(maps, feature_maps(model, X[7:8]), strict=True):
        assert_array_equal(got[7:8], alone)


def test_only_estnet_has_feature_maps(lines):
    model = linear().fit(*lines)
    with pytest.raises(TypeError, match=r"AdaptiveMLPRegressor has no feature maps.*saliency"):
        feature_maps(model, lines[0])


# What it is for


@pytest.mark.parametrize("seed", [0, 1])
def test_gravity_is_read_from_the_balmer_lines(seed):
    stars = make_white_dwarfs(
        800, n_pixels=163, snr=30.0, snr_scatter=0.3, label_noise=(0, 0), random_state=seed
    )
    net = EstNetRegressor(
        depth=12,
        width=4,
        dropout=0.2,
        weighter=None,
        max_epochs=10,
        batch_size=32,
        lr=0.008,
        augment=0.05,
        random_state=seed,
        device="cpu",
    )
    model = make_pipeline(FluxScaler("median"), net).fit(stars.data[:600], stars.target[:600, 1])
    mean = saliency(model, stars.data[600:]).mean(axis=0)
    lines = np.array(list(BALMER_LINES.values()))
    near = (np.abs(stars.wavelength[:, np.newaxis] - lines) < 80).any(axis=1)
    assert 0.1 < near.mean() < 0.2
    # Six seeds gave ratios of 3.8 to 5.5, untrained networks 0.8 to 2.5.
    assert mean[near].mean() > 3 * mean[~near].mean()
