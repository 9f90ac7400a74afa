"""Fresh noise for every epoch, and preprocessing inside the estimator."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skestnet import EstNetRegressor
from skestnet._augment import Preparation, check_augment
from skestnet.spectra import FluxScaler


def net(**params):
    settings = {"width": 4, "max_epochs": 2, "batch_size": 16, "random_state": 0, "device": "cpu"}
    return EstNetRegressor(**settings | params)


class Recorder:
    """An augmentation that keeps what it was asked for and what it gave."""

    def __init__(self):
        self.given, self.returned = [], []

    def __call__(self, flux, rng):
        new = flux + rng.standard_normal(flux.shape)
        self.given.append(flux)
        self.returned.append(new.astype("f4"))
        return new


@pytest.fixture
def easy(line_spectra):
    return line_spectra(60)


def test_every_step_sees_new_noise_on_the_same_spectra(easy):
    X, y = easy
    recorder = Recorder()
    net(augment=recorder).fit(X, y)
    fixed, *steps = recorder.given
    assert len(fixed) == len(X)  # once, for early stopping and weights
    n_train = 54
    assert sum(map(len, steps)) == 4 * n_train  # two epochs in each of two stages
    known = {row.tobytes() for row in np.asarray(X, "f4")}
    assert all(row.tobytes() in known for batch in steps for row in batch)
    noise = np.concatenate([r - g for r, g in zip(recorder.returned, recorder.given, strict=True)])
    assert len(np.unique(noise[:, 0])) == len(noise)
    assert_allclose(noise.std(), 1, rtol=0.05)


def test_the_network_learns_from_what_augment_returns(easy, monkeypatch):
    X, y = easy
    seen, recorder = [], Recorder()
    est = net(augment=recorder, weighter=None, max_epochs=1)
    original = est._build_net

    def spy(samples, device):
        built = original(samples, device)
        built.module_.register_forward_pre_hook(
            lambda module, given: seen.append(given[0].numpy().copy()) if module.training else None
        )
        return built

    monkeypatch.setattr(est, "_build_net", spy)
    est.fit(X, y)
    batches = [batch.reshape(len(batch), -1) for batch in seen]
    assert len(batches) == len(recorder.returned) - 1
    for got, expected in zip(batches, recorder.returned[1:], strict=True):
        assert_array_equal(got, expected)


def test_a_number_is_white_noise():
    noise = check_augment(0.5)(np.zeros((400, 50), "f4"), np.random.default_rng(0))
    assert noise.dtype == np.float32
    assert_allclose(noise.std(), 0.5, rtol=0.02)
    assert abs(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]) < 0.2


def test_fits_repeat_and_leave_the_generators_alone(easy):
    X, y = easy
    np.random.seed(3)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (net(augment=0.3).fit(X, y).predict(X) for _ in range(2))
    assert_array_equal(first, second)
    assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    other = net(augment=0.3, random_state=1).fit(X, y).predict(X)
    assert not np.array_equal(first, other)


def test_predictions_are_without_noise(easy):
    X, y = easy
    est = net(augment=Recorder()).fit(X, y)
    calls = len(est.augment.given)
    assert_array_equal(est.predict(X), est.predict(X))
    assert len(est.augment.given) == calls


def test_preprocess_without_noise_equals_a_pipeline(easy):
    X, y = easy
    scaler = make_pipeline(FluxScaler("median"), StandardScaler())
    inside = net(preprocess=scaler, validation_fraction=0).fit(X, y)
    outside = make_pipeline(scaler, net(validation_fraction=0)).fit(X, y)
    # The rows are ordered by content, before or after scaling: the batches differ, not the scaler.
    assert_allclose(inside.preprocess_.transform(X), outside[0].transform(X), rtol=1e-5, atol=1e-6)
    assert inside.preprocess is scaler
    assert inside.predict(X).shape == outside.predict(X).shape
    assert_allclose(inside.predict(3 * X), inside.predict(X), rtol=1e-4)  # scaled away


def test_preprocess_is_fitted_after_the_noise(easy):
    X, y = easy
    est = net(preprocess=StandardScaler(), augment=2.0).fit(X, y)
    assert est.preprocess_.scale_.min() > 1.5


def test_nan_may_pass_where_preprocess_fills_them(easy):
    X, y = easy
    X = X.copy()
    X[3, 5] = np.nan
    fill = FunctionTransformer(np.nan_to_num)
    est = net(preprocess=fill).fit(X, y)
    assert np.isfinite(est.predict(X)).all()
    with pytest.raises(ValueError, match=r"X contains NaN.*MaskedPixelImputer"):
        net().fit(X, y)
    with pytest.raises(ValueError, match=r"1 of 60 spectra.*after preprocess.*MaskedPixelImputer"):
        net(preprocess=FunctionTransformer()).fit(X, y)


def test_weight_two_is_a_repeated_row(easy):
    X, y = easy
    weight = np.where(np.arange(len(X)) < 10, 2, 1)
    params = {"augment": 0.2, "preprocess": StandardScaler(), "validation_fraction": 0.2}
    weighted = net(**params).fit(X, y, sample_weight=weight).predict(X)
    repeated = net(**params).fit(np.r_[X, X[:10]], np.r_[y, y[:10]]).predict(X)
    assert_array_equal(weighted, repeated)


def test_warm_start_keeps_the_preprocessing(easy):
    X, y = easy
    est = net(preprocess=StandardScaler(), augment=0.1, warm_start=True).fit(X, y)
    kept = est.preprocess_
    est.fit(2 * X, y)
    assert est.preprocess_ is kept


def test_clone_pickle_and_search(easy):
    X, y = easy
    est = net(augment=0.1, preprocess=FluxScaler())
    fitted = clone(est).fit(X, y)
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), fitted.predict(X))
    grid = {"preprocess__method": ["minmax", "median"], "augment": [None, 0.2]}
    search = GridSearchCV(est, grid, scoring="neg_mean_absolute_error", cv=2).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("bad", [-0.1, np.nan, np.inf, True, "noise"])
def test_bad_augment(easy, bad):
    with pytest.raises(ValueError, match=r"augment=.*expected None, a standard deviation"):
        net(augment=bad).fit(*easy)


def test_bad_preprocess(easy):
    with pytest.raises(ValueError, match="preprocess='scale': expected a transformer"):
        net(preprocess="scale").fit(*easy)


def test_augment_must_keep_the_shape_and_be_finite(easy):
    with pytest.raises(ValueError, match=r"augment returned spectra of shape .* must not change"):
        net(augment=lambda flux, _: flux[:, 1:]).fit(*easy)
    with pytest.raises(ValueError, match="NaN or infinite values after augment"):
        net(augment=lambda flux, _: flux * np.nan).fit(*easy)


def test_nothing_to_do_is_nothing_done():
    flux = np.ones((2, 3), "f4")
    assert Preparation(None, None)(flux) is flux
