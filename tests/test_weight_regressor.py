import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import BayesianRidge, Ridge
from sklearn.metrics import make_scorer, median_absolute_error
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from skestnet import AdaptiveWeighter, AdaptiveWeightRegressor, predict_dist


class RecordingRidge(Ridge):
    """Keeps the weights that it is fitted with."""

    def fit(self, X, y, sample_weight=None):
        self.seen_weight_ = sample_weight
        return super().fit(X, y, sample_weight)


class RecordingWeighter(AdaptiveWeighter):
    """Keeps what it is given to weigh."""

    seen = []  # noqa: RUF012

    def fit_transform(self, X, y, sample_weight=None, *, y_err=None, snr=None):
        self.seen.append({"y": y, "sample_weight": sample_weight, "y_err": y_err, "snr": snr})
        return super().fit_transform(X, y, sample_weight, y_err=y_err, snr=snr)


@pytest.fixture
def seen(monkeypatch):
    """What RecordingWeighter was given in this test."""
    calls = []
    monkeypatch.setattr(RecordingWeighter, "seen", calls)
    return calls


def line(n_samples=60, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, 3))
    return X, X @ [1.0, -2.0, 0.5] + 0.1 * rng.standard_normal(n_samples)


def weights_of(n_samples=60):
    return np.random.default_rng(5).uniform(0.5, 2, n_samples)


def line_with_wrong_labels(n_samples=200):
    """Return samples of which one in seven is wrong by 12, and the clean labels."""
    X, y = line(n_samples)
    wrong = np.arange(n_samples) % 7 == 0
    return X, y + 12 * wrong, y


def errors(regressor, weighter=None):
    """Return the mean errors on clean labels with and without adaptive weights."""
    X, y, clean = line_with_wrong_labels()
    fits = AdaptiveWeightRegressor(regressor, weighter), clone(regressor)
    return [np.abs(est.fit(X, y).predict(X) - clean).mean() for est in fits]


# What the regressor is fitted with


@pytest.mark.parametrize("weighter", [None, AdaptiveWeighter(cv=5), AdaptiveWeighter(gamma=0.1)])
@pytest.mark.parametrize("given", [None, weights_of()])
def test_weights_are_those_of_the_weighter(weighter, given):
    X, y = line()
    model = AdaptiveWeightRegressor(RecordingRidge(), weighter).fit(X, y, given)
    same = AdaptiveWeighter() if weighter is None else clone(weighter)
    expected = same.set_params(regressor=Ridge(), cv=5).fit_transform(X, y, given)
    assert_array_equal(model.sample_weight_, expected)
    assert_array_equal(model.weighter_.transform(X, y), same.transform(X, y))
    product = expected if given is None else given * expected
    total = 60 if given is None else given.sum()
    assert_allclose(model.regressor_.seen_weight_, product * total / product.sum(), rtol=1e-12)


def test_regressor_is_a_plain_one_with_these_weights():
    X, y, _ = line_with_wrong_labels()
    model = AdaptiveWeightRegressor(Ridge()).fit(X, y)
    weight = model.sample_weight_ / model.sample_weight_.mean()
    assert_allclose(model.regressor_.coef_, Ridge().fit(X, y, weight).coef_, rtol=1e-12)
    assert np.abs(model.regressor_.coef_ - Ridge().fit(X, y).coef_).max() > 1e-4


def test_penalty_keeps_its_meaning():
    X, y = line()
    weighter = AdaptiveWeighter(phi2=lambda beta: np.full_like(beta, 0.01))
    model = AdaptiveWeightRegressor(Ridge(alpha=10), weighter).fit(X, y, np.full(60, 3.0))
    assert_allclose(model.predict(X), Ridge(alpha=10).fit(X, y, np.full(60, 3.0)).predict(X))


@pytest.mark.parametrize("name", ["y_err", "snr"])
def test_known_errors_and_signal_to_noise_reach_the_weighter(name):
    X, y = line(300)
    snr = np.linspace(1, 50, 300)
    y += np.random.default_rng(1).standard_normal(300) / snr
    given = {name: {"snr": snr, "y_err": 1 / snr}[name]}
    model = AdaptiveWeightRegressor(Ridge()).fit(X, y, **given)
    weighter = AdaptiveWeighter(Ridge(), cv=5)
    assert_array_equal(model.sample_weight_, weighter.fit_transform(X, y, **given))
    assert np.abs(model.sample_weight_ - weighter.fit_transform(X, y)).max() > 0.1


# The first stage


def test_default_weighter_is_the_regressor_itself_in_five_folds():
    ridge = Ridge(alpha=0.3)
    model = AdaptiveWeightRegressor(ridge).fit(*line())
    assert model.weighter is None
    assert type(model.weighter_) is AdaptiveWeighter
    assert model.weighter_.cv == 5
    assert repr(model.weighter_.regressor) == repr(ridge)
    assert model.weighter_.regressor is not ridge
    assert model.weighter_.regressor is not model.regressor_


def test_weighter_without_a_regressor_takes_the_one_that_is_weighted():
    ridge = Ridge(alpha=0.3)
    model = AdaptiveWeightRegressor(ridge, AdaptiveWeighter(cv=3)).fit(*line())
    assert repr(model.weighter_) == "AdaptiveWeighter(cv=3, regressor=Ridge(alpha=0.3))"
    assert model.weighter_.regressor is not ridge


def test_weighter_has_five_folds_unless_it_says_otherwise():
    for weighter, cv in ((AdaptiveWeighter(gamma=0.1), 5), (AdaptiveWeighter.paper(), None)):
        assert AdaptiveWeightRegressor(Ridge(), weighter).fit(*line()).weighter_.cv == cv


def test_weighter_with_a_regressor_keeps_it():
    weighter = AdaptiveWeighter(BayesianRidge(), cv=3)
    model = AdaptiveWeightRegressor(Ridge(), weighter).fit(*line())
    assert isinstance(model.weighter_.regressor_, BayesianRidge)
    assert isinstance(model.regressor_, Ridge)
    assert_array_equal(model.sample_weight_, weighter.fit_transform(*line()))


@pytest.mark.parametrize("weighter", [None, AdaptiveWeighter(cv=2), AdaptiveWeighter(Ridge())])
def test_parameters_are_never_changed(weighter):
    regressor = Ridge()
    model = AdaptiveWeightRegressor(regressor, weighter)
    before = {name: repr(value) for name, value in model.get_params().items()}
    model.fit(*line())
    assert {name: repr(value) for name, value in model.get_params().items()} == before
    assert model.regressor is regressor
    assert model.weighter is weighter
    assert not hasattr(regressor, "coef_")
    assert not hasattr(weighter, "regressor_")
    assert repr(clone(model)) == repr(model)


def test_clone_and_pickle():
    X, y = line()
    weighter = AdaptiveWeighter(gamma=0.1, cv=3)
    model = AdaptiveWeightRegressor(Ridge(alpha=0.3), weighter).fit(X, y)
    other = clone(model)
    assert not hasattr(other, "regressor_")
    assert other.regressor is not model.regressor
    assert other.weighter is not weighter
    for again in (other.fit(X, y), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_array_equal(again.predict(X), model.predict(X))
        assert_array_equal(again.sample_weight_, model.sample_weight_)
        assert_array_equal(again.weighter_.transform(X, y), model.weighter_.transform(X, y))


# Any regressor


@pytest.mark.parametrize(
    "regressor",
    [
        Ridge(),
        BayesianRidge(),
        RandomForestRegressor(10, min_samples_leaf=3, random_state=0),
        HistGradientBoostingRegressor(max_iter=20, min_samples_leaf=5),
        TransformedTargetRegressor(Ridge(), transformer=StandardScaler()),
        GridSearchCV(Ridge(), {"alpha": [0.1, 1]}, cv=2),
    ],
    ids=lambda regressor: type(regressor).__name__,
)
def test_robust_against_wrong_labels(regressor):
    robust, plain = errors(regressor)
    assert robust < plain / 2


@pytest.mark.parametrize(
    ("module", "name", "params"),
    [
        ("lightgbm", "LGBMRegressor", {"n_estimators": 30, "verbose": -1, "n_jobs": 1}),
        ("xgboost", "XGBRegressor", {"n_estimators": 30, "max_depth": 3, "n_jobs": 1}),
        (
            "catboost",
            "CatBoostRegressor",
            {"iterations": 40, "verbose": 0, "thread_count": 1, "allow_writing_files": False},
        ),
    ],
)
def test_boosting_of_other_libraries_is_robust(module, name, params):
    regressor = getattr(pytest.importorskip(module), name)(**params)
    robust, plain = errors(regressor)
    assert robust < plain / 2
    weighter = AdaptiveWeighter(Ridge())
    assert errors(regressor, weighter)[0] < plain / 2
    assert weighter.regressor.get_params() == Ridge().get_params()


def test_natural_gradient_boosting():
    ngboost = pytest.importorskip("ngboost")
    X, y = line(100)
    model = AdaptiveWeightRegressor(ngboost.NGBRegressor(n_estimators=5, verbose=False)).fit(X, y)
    assert model.predict(X).shape == (100,)
    assert np.isfinite(model.predict(X)).all()


def test_network_is_robust_against_wrong_labels(line_spectra, small_regressor):
    X, y = line_spectra(200)
    X_test, y_test = line_spectra(200, seed=1)
    labels = y[:, 0].copy()
    labels[::6] += 7000
    net = small_regressor(width=2, max_epochs=8, batch_size=32, lr=0.03, weighter=None)
    net.set_params(dropout=0.1, n_iter_no_change=100)
    fits = AdaptiveWeightRegressor(net, AdaptiveWeighter(cv=2)), clone(net)
    robust, plain = (
        np.abs(est.fit(X, labels).predict(X_test) - y_test[:, 0]).mean() for est in fits
    )
    assert robust < 0.7 * plain
    assert fits[0].sample_weight_[::6].max() < np.median(fits[0].sample_weight_)


def test_several_labels():
    X, y = line()
    labels = np.column_stack([y, X[:, 0] ** 2])
    model = AdaptiveWeightRegressor(Ridge()).fit(X, labels)
    assert model.predict(X).shape == (60, 2)
    assert model.sample_weight_.shape == (60,)
    weight = model.sample_weight_ / model.sample_weight_.mean()
    for k in range(2):
        expected = Ridge().fit(X, labels[:, k], weight).predict(X)
        assert_allclose(model.predict(X)[:, k], expected, rtol=1e-9, atol=1e-12)


# Labels in other units


def test_transformed_target_around():
    X, y = line()
    inner = AdaptiveWeightRegressor(Ridge())
    model = TransformedTargetRegressor(inner, transformer=StandardScaler())
    model.fit(X, 1e3 * y + 8000, sample_weight=weights_of())
    expected = AdaptiveWeightRegressor(Ridge()).fit(X, y, weights_of())
    assert_allclose(model.regressor_.sample_weight_.mean(), expected.sample_weight_.mean(), 0.05)
    assert_allclose(model.predict(X), 1e3 * expected.predict(X) + 8000, rtol=0.01)


def test_transformed_target_inside():
    X, y = line()
    scaled = TransformedTargetRegressor(Ridge(), transformer=StandardScaler())
    model = AdaptiveWeightRegressor(scaled).fit(X, y, weights_of())
    expected = AdaptiveWeightRegressor(Ridge()).fit(X, y, weights_of())
    assert_allclose(model.sample_weight_, expected.sample_weight_, atol=1e-9)
    assert_allclose(model.predict(X), expected.predict(X), atol=1e-9)


# Weights, repeats and order of the samples


def test_weight_zero_is_an_absent_sample():
    X, y = line()
    y[:5] += 40
    weight = weights_of()
    weight[:5] = 0
    model = AdaptiveWeightRegressor(Ridge()).fit(X, y, weight)
    expected = AdaptiveWeightRegressor(Ridge()).fit(X[5:], y[5:], weight[5:])
    assert_array_equal(model.sample_weight_[:5], 0)
    assert_allclose(model.sample_weight_[5:], expected.sample_weight_, rtol=0, atol=1e-9)
    assert_allclose(model.predict(X), expected.predict(X), rtol=0, atol=1e-9)


def test_weight_two_is_a_repeated_sample():
    X, y = line()
    weight = np.ones(60)
    weight[[2, 9, 20]] = 2
    repeated = np.r_[np.arange(60), 2, 9, 20]
    model = AdaptiveWeightRegressor(Ridge()).fit(X, y, weight)
    other = AdaptiveWeightRegressor(Ridge()).fit(X[repeated], y[repeated])
    assert_allclose(other.sample_weight_, model.sample_weight_[repeated], rtol=0, atol=1e-9)
    assert_allclose(other.predict(X), model.predict(X), rtol=0, atol=1e-9)
    control = AdaptiveWeightRegressor(Ridge()).fit(X, y)
    assert np.abs(control.predict(X) - model.predict(X)).max() > 1e-6


def test_order_of_the_samples_does_not_matter():
    X, y = line()
    weight, order = weights_of(), np.random.default_rng(3).permutation(60)
    model = AdaptiveWeightRegressor(Ridge()).fit(X, y, weight)
    other = AdaptiveWeightRegressor(Ridge()).fit(X[order], y[order], weight[order])
    assert_allclose(other.sample_weight_, model.sample_weight_[order], rtol=0, atol=1e-9)
    assert_allclose(other.predict(X), model.predict(X), rtol=0, atol=1e-9)


def test_shape_of_the_labels():
    X, y = line()
    flat = AdaptiveWeightRegressor(Ridge()).fit(X, y)
    column = AdaptiveWeightRegressor(Ridge()).fit(X, y[:, None])
    both = AdaptiveWeightRegressor(Ridge()).fit(X, np.column_stack([y, y]))
    assert column.predict(X).shape == Ridge().fit(X, y[:, None]).predict(X).shape
    assert_allclose(column.sample_weight_, flat.sample_weight_, atol=1e-9)
    assert_allclose(column.predict(X).ravel(), flat.predict(X), atol=1e-9)
    assert_allclose(both.predict(X), np.column_stack(2 * [flat.predict(X)]), atol=1e-9)


# Data


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_of_the_features(dtype):
    X, y = line()
    model = AdaptiveWeightRegressor(Ridge(), AdaptiveWeighter())
    expected = clone(model).fit(X, y)
    model.fit(X.astype(dtype), y.astype(dtype))
    assert_allclose(model.sample_weight_, expected.sample_weight_, atol=1e-3)
    assert_allclose(model.predict(X.astype(dtype)), expected.predict(X), atol=1e-3)
    folds = AdaptiveWeightRegressor(Ridge()).fit(X.astype(dtype), y.astype(dtype))
    assert_allclose(folds.predict(X.astype(dtype)), expected.predict(X), atol=0.1)


def test_lists():
    X, y = line()
    model = AdaptiveWeightRegressor(Ridge()).fit(X.tolist(), y.tolist(), weights_of().tolist())
    expected = AdaptiveWeightRegressor(Ridge()).fit(X, y, weights_of())
    assert_array_equal(model.sample_weight_, expected.sample_weight_)
    assert_array_equal(model.predict(X.tolist()), expected.predict(X))


def test_data_frame_keeps_the_names_of_the_features():
    pd = pytest.importorskip("pandas")
    X, y = line()
    frame, index = pd.DataFrame(X, columns=["u", "v", "w"]), np.arange(60)[::-1]
    frame.index = index
    labels, weight = pd.Series(y, index=index), pd.Series(weights_of(), index=index)
    model = AdaptiveWeightRegressor(Ridge()).fit(frame, labels, weight)
    expected = AdaptiveWeightRegressor(Ridge()).fit(X, y, weights_of())
    assert list(model.feature_names_in_) == ["u", "v", "w"]
    assert model.n_features_in_ == 3
    assert_allclose(model.sample_weight_, expected.sample_weight_, atol=1e-9)
    assert_allclose(model.predict(frame), expected.predict(X), atol=1e-9)
    assert not hasattr(expected, "feature_names_in_")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["w", "v", "u"]])


def test_nan_passes_where_the_regressor_takes_it():
    X, y = line()
    X[::7, 1] = np.nan
    boosting = HistGradientBoostingRegressor(max_iter=10, min_samples_leaf=5)
    model = AdaptiveWeightRegressor(boosting).fit(X, y)
    assert model.score(X, y) > 0.5
    with pytest.raises(ValueError, match="NaN"):
        AdaptiveWeightRegressor(Ridge()).fit(X, y)
    with pytest.raises(ValueError, match="NaN"):
        AdaptiveWeightRegressor(boosting, AdaptiveWeighter(Ridge())).fit(X, y)
    with pytest.raises(ValueError, match="NaN"):
        AdaptiveWeightRegressor(Ridge(), AdaptiveWeighter(boosting)).fit(X, y)


def test_tags_are_those_of_the_regressor():
    for regressor in (Ridge(), HistGradientBoostingRegressor()):
        inner, outer = get_tags(regressor), get_tags(AdaptiveWeightRegressor(regressor))
        assert outer.input_tags.allow_nan == inner.input_tags.allow_nan
        assert outer.target_tags == inner.target_tags
        assert outer.estimator_type == "regressor"


def test_the_callers_arrays_are_untouched():
    X, y = line()
    weight = weights_of()
    for part in (X, y, weight):
        part.flags.writeable = False
    AdaptiveWeightRegressor(Ridge()).fit(X, y, weight).predict(X)
    assert_array_equal(X, line()[0])
    assert_array_equal(weight, weights_of())


# Distributions


def test_standard_deviations_are_those_of_the_regressor():
    X, y = line()
    model = AdaptiveWeightRegressor(BayesianRidge()).fit(X, y)
    mean, std = model.predict(X, return_std=True)
    expected = model.regressor_.predict(X, return_std=True)
    assert_array_equal(mean, expected[0])
    assert_array_equal(std, expected[1])
    dist = model.predict_dist(X)
    assert_allclose(dist.mean(), mean)
    assert_allclose(dist.std(), std)


def test_no_standard_deviations_and_no_distributions():
    X, y = line()
    model = AdaptiveWeightRegressor(Ridge()).fit(X, y)
    with pytest.raises(TypeError, match=r"Ridge\.predict knows no return_std.*BayesianRidge"):
        model.predict(X, return_std=True)
    for call in (model.predict_dist, lambda data: predict_dist(model, data)):
        with pytest.raises(TypeError, match="Ridge gives no distributions"):
            call(X)


def test_distributions_through_pipeline_and_search():
    X, y = line()
    pipeline = make_pipeline(
        StandardScaler(), AdaptiveWeightRegressor(BayesianRidge(), AdaptiveWeighter())
    )
    grid = {"adaptiveweightregressor__weighter__gamma": [0, 0.1]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
    for fitted, steps in ((pipeline.fit(X, y), pipeline), (search, search.best_estimator_)):
        expected = steps[-1].regressor_.predict(steps[0].transform(X), return_std=True)
        dist = predict_dist(fitted, X)
        assert_allclose(dist.mean(), expected[0])
        assert_allclose(dist.std(), expected[1])


def test_draws_of_a_network(lines, small_regressor):
    X, y = lines
    net = small_regressor(weighter=None, max_epochs=1)
    model = AdaptiveWeightRegressor(net, AdaptiveWeighter()).fit(X, y)
    dist = model.predict_dist(X, n_draws=3, random_state=0)
    assert dist.shape == (30, 2)
    assert_array_equal(dist.loc, model.regressor_.predict_dist(X, n_draws=3, random_state=0).loc)
    assert_array_equal(predict_dist(model, X, n_draws=3, random_state=0).loc, dist.loc)


# Inside scikit-learn


def pipeline_of(weighter, **steps):
    model = AdaptiveWeightRegressor(Ridge(), weighter)
    return Pipeline([("scale", StandardScaler()), ("model", model)]).set_params(**steps)


GRID = {
    "model__weighter__gamma": [0, 0.5],
    "model__weighter__bias_score": ["mixture", "minmax"],
    "model__regressor__alpha": [1, 1e4],
}


def test_search_over_weighter_and_regressor():
    X, y, _ = line_with_wrong_labels(100)
    search = GridSearchCV(
        pipeline_of(AdaptiveWeighter()), GRID, cv=3, scoring="neg_median_absolute_error"
    ).fit(X, y)
    assert search.best_params_["model__regressor__alpha"] == 1
    assert len(search.cv_results_["params"]) == 8
    assert len(np.unique(search.cv_results_["mean_test_score"])) == 8
    best = search.best_estimator_["model"]
    assert best.weighter_.gamma == search.best_params_["model__weighter__gamma"]
    assert best.weighter_.regressor_.alpha == 1


def known(y):
    """What is known of samples, made of their labels so that it is recognised with them."""
    return {"sample_weight": 1 + y**2, "snr": np.exp(y), "y_err": 0.1 + np.abs(y)}


def assert_arrives(seen, sizes):
    """Check that each fit got its own samples' weights and signal-to-noise ratios."""
    assert [len(call["y"]) for call in seen] == sizes
    for call in seen:
        for name, expected in known(call["y"]).items():
            assert_array_equal(call[name], expected)


def test_what_is_known_reaches_each_fold(seen):
    X, y = line()
    params = {f"model__{name}": value for name, value in known(y).items()}
    model = pipeline_of(RecordingWeighter())
    model.fit(X, y, **params)
    cross_validate(model, X, y, params=params, cv=3)
    GridSearchCV(model, {"model__regressor__alpha": [1, 2]}, cv=2).fit(X, y, **params)
    assert_arrives(seen, [60] + 3 * [40] + 4 * [30] + [60])


def test_what_is_known_reaches_each_fold_by_routing(seen):
    X, y = line()
    scorer = make_scorer(median_absolute_error, greater_is_better=False)
    with config_context(enable_metadata_routing=True):
        model = pipeline_of(RecordingWeighter())
        model["scale"].set_fit_request(sample_weight=True)
        model["model"].set_fit_request(sample_weight=True, snr=True, y_err=True)
        scorer.set_score_request(sample_weight=True)
        search = GridSearchCV(model, {"model__regressor__alpha": [1, 2]}, cv=2, scoring=scorer)
        model.fit(X, y, **known(y))
        cross_validate(model, X, y, params=known(y), cv=3, scoring=scorer)
        search.fit(X, y, **known(y))
    assert_arrives(seen, [60] + 3 * [40] + 4 * [30] + [60])


def test_search_with_routing_finds_the_same_as_without():
    X, y, _ = line_with_wrong_labels(100)
    # snr is for "mixture" alone.
    grid = {name: values for name, values in GRID.items() if "bias_score" not in name}
    weight, snr = weights_of(100), np.linspace(5, 50, 100)
    model = pipeline_of(AdaptiveWeighter())
    setup = {"cv": 3, "scoring": make_scorer(median_absolute_error, greater_is_better=False)}
    plain = GridSearchCV(model, grid, **setup)
    plain.fit(X, y, model__sample_weight=weight, model__snr=snr)
    with config_context(enable_metadata_routing=True):
        model["scale"].set_fit_request(sample_weight=False)
        model["model"].set_fit_request(sample_weight=True, snr=True, y_err=True)
        setup["scoring"].set_score_request(sample_weight=False)
        routed = GridSearchCV(model, grid, **setup).fit(X, y, sample_weight=weight, snr=snr)
    for name in ("mean_test_score", "std_test_score"):
        assert_array_equal(routed.cv_results_[name], plain.cv_results_[name])
    assert_array_equal(
        routed.best_estimator_["model"].sample_weight_,
        plain.best_estimator_["model"].sample_weight_,
    )


@pytest.mark.parametrize("weighter", [None, AdaptiveWeighter(gamma=0.3)])
def test_held_out_labels_never_influence_weights(weighter):
    X, y, _ = line_with_wrong_labels()
    other = y.copy()
    fits = []
    for labels in (y, other):
        result = cross_validate(
            pipeline_of(weighter),
            X,
            labels,
            cv=KFold(3),
            return_estimator=True,
            return_indices=True,
        )
        fits.append(result["estimator"])
        held_out = result["indices"]["test"][0]
        other[held_out] = 10 - 3 * other[held_out]
    for k, (one, two) in enumerate(zip(*fits, strict=True)):
        same_weights = np.array_equal(one["model"].sample_weight_, two["model"].sample_weight_)
        assert same_weights == (k == 0)
        assert np.array_equal(one.predict(X), two.predict(X)) == (k == 0)


def test_one_training_label_changes_the_weights():
    X, y = line(300)
    one = AdaptiveWeightRegressor(Ridge()).fit(X, y)
    y[7] += 5
    two = AdaptiveWeightRegressor(Ridge()).fit(X, y)
    assert two.sample_weight_[7] < 0.01 < 0.3 < one.sample_weight_[7]
    assert not np.array_equal(one.predict(X), two.predict(X))


# Errors


def test_pipeline_as_regressor():
    model = AdaptiveWeightRegressor(make_pipeline(StandardScaler(), Ridge()))
    with pytest.raises(ValueError, match=r"is a Pipeline.*make_pipeline\(scaler, AdaptiveWeight"):
        model.fit(*line())


@pytest.mark.parametrize(
    "regressor",
    [
        KNeighborsRegressor(),
        TransformedTargetRegressor(KNeighborsRegressor()),
        GridSearchCV(KNeighborsRegressor(), {"n_neighbors": [2, 3]}),
        TransformedTargetRegressor(make_pipeline(StandardScaler(), Ridge())),
    ],
    ids=["itself", "in a transformed target", "in a search", "pipeline in a transformed target"],
)
def test_regressor_that_takes_no_weights(regressor):
    name = type(regressor).__name__
    with pytest.raises(ValueError, match=rf"{name} takes no sample_weight in fit: expected"):
        AdaptiveWeightRegressor(regressor).fit(*line())


@pytest.mark.parametrize("weighter", ["adaptive", 3, AdaptiveWeighter, Ridge()])
def test_bad_weighter(weighter):
    with pytest.raises(ValueError, match=r"weighter=.*expected an AdaptiveWeighter or None"):
        AdaptiveWeightRegressor(Ridge(), weighter).fit(*line())


def test_bad_parameter_of_the_weighter():
    with pytest.raises(ValueError, match="gamma=2"):
        AdaptiveWeightRegressor(Ridge(), AdaptiveWeighter(gamma=2)).fit(*line())


def test_all_weights_zero():
    weighter = AdaptiveWeighter(phi2=np.zeros_like)
    with pytest.raises(ValueError, match=r"All adaptive weights are zero.*phi2"):
        AdaptiveWeightRegressor(Ridge(), weighter).fit(*line())


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_given_weights_below_or_all_zero_are_refused(value):
    with pytest.raises(ValueError, match=r"(?i)sample.weight"):
        AdaptiveWeightRegressor(Ridge()).fit(*line(), np.full(60, value))


def test_unfitted():
    model = AdaptiveWeightRegressor(BayesianRidge())
    for call in (model.predict, model.predict_dist):
        with pytest.raises(NotFittedError):
            call(line()[0])


def test_a_failed_refit_leaves_the_last_fit():
    X, y = line()
    model = AdaptiveWeightRegressor(Ridge()).fit(X, y)
    expected = model.predict(X)
    with pytest.raises(ValueError, match="All adaptive weights are zero"):
        model.set_params(weighter=AdaptiveWeighter(phi2=np.zeros_like)).fit(X[:, 1:], y)
    assert_array_equal(model.predict(X), expected)
    assert model.n_features_in_ == 3
