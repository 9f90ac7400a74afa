import numpy as np
import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.base import clone
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import QuantileRegressor, Ridge
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from skestnet import PredictiveDistribution, predict_dist
from skestnet._multi_quantile import MultiQuantileRegressor

LEVELS = (0.16, 0.5, 0.84)


@pytest.fixture(scope="module")
def growing():
    """Noise that grows with the first feature; quantiles of the label are straight lines of it."""
    rng = np.random.default_rng(0)
    X = rng.uniform(0, 1, (300, 2))
    return X, 3 + X[:, 0] + (0.2 + X[:, 0]) * rng.standard_normal(300)


def checks_of(estimator):
    """List the checks: some versions of scikit-learn give a generator, which pytest 9 refuses."""
    mark = parametrize_with_checks([estimator])
    names, checks = mark.args
    return pytest.mark.parametrize(names, list(checks), **mark.kwargs)


@checks_of(MultiQuantileRegressor(QuantileRegressor(alpha=0.001), quantiles=LEVELS))
def test_compliance(estimator, check):
    check(estimator)


def boosting(**params):
    return HistGradientBoostingRegressor(loss="quantile", max_iter=5, random_state=0, **params)


REGRESSORS = [
    (QuantileRegressor(alpha=0), "quantile"),
    (boosting(), "quantile"),
    (GradientBoostingRegressor(loss="quantile", n_estimators=5, random_state=0), "alpha"),
]


def others():
    lightgbm = pytest.importorskip("lightgbm")
    xgboost = pytest.importorskip("xgboost")
    yield (
        lightgbm.LGBMRegressor(objective="quantile", n_estimators=5, n_jobs=1, verbose=-1),
        "alpha",
    )
    yield (
        xgboost.XGBRegressor(objective="reg:quantileerror", n_estimators=5, n_jobs=1),
        "quantile_alpha",
    )


def check_levels(regressor, name, X, y):
    """Each level is what a fit by hand gives; the distribution goes through them."""
    model = MultiQuantileRegressor(regressor, quantiles=LEVELS).fit(X, y)
    by_hand = [clone(regressor).set_params(**{name: q}).fit(X, y).predict(X) for q in LEVELS]
    dist = model.predict_dist(X, n_draws=4000)
    for q, expected in zip(LEVELS, np.sort(by_hand, axis=0), strict=True):
        assert_allclose(dist.ppf(q), expected, atol=2e-3)
    assert_array_equal(model.predict(X), np.median(by_hand, axis=0))
    assert by_hand[0].mean() < by_hand[1].mean() < by_hand[2].mean()


@pytest.mark.parametrize(("regressor", "name"), REGRESSORS)
def test_levels(growing, regressor, name):
    check_levels(regressor, name, *growing)


def test_levels_of_other_libraries(growing):
    for regressor, name in others():
        check_levels(regressor, name, *growing)


def test_quantiles_of_a_known_noise(growing):
    X, y = growing
    dist = MultiQuantileRegressor(QuantileRegressor(alpha=0)).fit(X, y).predict_dist(X)
    assert dist.shape == (300,)
    assert dist.n_draws == 200
    for q in (0.05, 0.3, 0.5, 0.7, 0.95):
        truth = 3 + X[:, 0] + (0.2 + X[:, 0]) * norm.ppf(q)
        assert np.abs(dist.ppf(q) - truth).mean() < 0.15
        assert abs((y < dist.ppf(q)).mean() - q) < 0.03


def test_median_between_the_levels(growing):
    X, y = growing
    model = MultiQuantileRegressor(QuantileRegressor(alpha=0), quantiles=(0.3, 0.6))
    pipeline = make_pipeline("passthrough", model).fit(X, y)
    assert_allclose(predict_dist(pipeline, X, n_draws=1).mean(), model.predict(X))
    low, high = (fitted.predict(X) for fitted in model.estimators_)
    share = norm.ppf(0.3) / (norm.ppf(0.3) - norm.ppf(0.6))
    assert_allclose(model.predict(X), low + share * (high - low))


def test_crossing_levels_are_sorted():
    class Turned(QuantileRegressor):
        def predict(self, X):
            return np.full(len(X), 1 - self.quantile)

    X = np.zeros((4, 1))
    model = MultiQuantileRegressor(Turned(), quantiles=(0.2, 0.5, 0.9)).fit(X, [1.0, 2, 3, 4])
    assert_allclose(model.predict_dist(X, n_draws=4000).ppf(0.2), 0.1, atol=1e-3)
    assert_allclose(model.predict(X), 0.5)


@pytest.mark.parametrize("weighted", [False, True])
def test_pipeline_inside(growing, weighted):
    X, y = growing
    weight = np.arange(len(y)) % 3.0 if weighted else None
    inner = make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), boosting()))
    model = MultiQuantileRegressor(inner, quantiles=LEVELS).fit(100 * X, y, weight)
    scaled = StandardScaler().fit_transform(X)
    alone = MultiQuantileRegressor(boosting(), quantiles=LEVELS).fit(scaled, y, weight)
    assert_allclose(model.predict_dist(100 * X).loc, alone.predict_dist(scaled).loc)


def test_weights_count(growing):
    X, y = growing
    weight = np.where(y > 4, 3, 1)
    model = MultiQuantileRegressor(QuantileRegressor(alpha=0.001))
    repeated = clone(model).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert_allclose(model.fit(X, y, weight).predict(X), repeated.predict(X), atol=1e-6)


def test_parameter_named_by_the_user(growing):
    class Named(QuantileRegressor):
        def __init__(self, tau=0.5, loss="pinball"):
            super().__init__(quantile=tau, alpha=0)
            self.tau, self.loss = tau, loss

        def get_params(self, deep=True):  # noqa: ARG002
            return {"tau": self.tau, "loss": self.loss}

        def fit(self, X, y):
            self.quantile = self.tau
            return super().fit(X, y)

    X, y = growing
    named = MultiQuantileRegressor(Named(), quantiles=LEVELS, quantile_param="tau").fit(X, y)
    plain = MultiQuantileRegressor(QuantileRegressor(alpha=0), quantiles=LEVELS).fit(X, y)
    assert_allclose(named.predict_dist(X).loc, plain.predict_dist(X).loc)


def test_several_labels_by_multi_output_regressor(growing):
    X, y = growing
    single = MultiQuantileRegressor(boosting(), quantiles=LEVELS)
    model = MultiOutputRegressor(single).fit(X, np.column_stack([y, -y]))
    dist = predict_dist(model, X)
    assert dist.shape == (300, 2)
    assert_allclose(dist.ppf(0.7)[:, 0], predict_dist(clone(single).fit(X, y), X).ppf(0.7))
    # Quantiles rise in each label: paired as they come, the correlation would be 1.
    covariance = dist.covariance()
    correlation = covariance[:, 0, 1] / np.sqrt(covariance[:, 0, 0] * covariance[:, 1, 1])
    assert np.abs(correlation).max() < 0.1


def test_missing_values_and_feature_names(growing):
    pd = pytest.importorskip("pandas")
    X, y = growing
    frame = pd.DataFrame(np.where(X > 0.9, np.nan, X), columns=["a", "b"])
    model = MultiQuantileRegressor(boosting(), quantiles=LEVELS).fit(frame, y)
    assert list(model.feature_names_in_) == ["a", "b"]
    assert model.n_features_in_ == 2
    assert np.isfinite(model.predict(frame)).all()
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[["b", "a"]])


def test_tags_are_those_of_the_regressor():
    for inner in (boosting(), QuantileRegressor(), make_pipeline(boosting())):
        tags, expected = get_tags(MultiQuantileRegressor(inner)).input_tags, get_tags(inner)
        assert tags.allow_nan == expected.input_tags.allow_nan
        assert tags.sparse == expected.input_tags.sparse
    assert not get_tags(MultiQuantileRegressor(None)).input_tags.allow_nan


def test_levels_in_parallel(growing):
    X, y = growing
    model = MultiQuantileRegressor(boosting(), quantiles=LEVELS, n_jobs=2)
    with parallel_config(backend="threading"):
        model.fit(X, y)
    alone = clone(model).set_params(n_jobs=None).fit(X, y)
    assert_array_equal(model.predict(X), alone.predict(X))


@pytest.mark.parametrize(
    ("regressor", "message"),
    [
        (HistGradientBoostingRegressor(), "loss='squared_error'.*expected loss='quantile'"),
        (
            make_pipeline(StandardScaler(), GradientBoostingRegressor()),
            "GradientBoosting.*'quantile'",
        ),
        (Ridge(alpha=0.5), "Ridge has no parameter 'quantile'.*quantile_param"),
        (SVR(), "SVR has no parameter 'quantile'"),
        (
            make_pipeline(StandardScaler(), "passthrough"),
            "'passthrough': expected a quantile",
        ),
        (None, "regressor=None: expected a quantile regressor"),
    ],
)
def test_other_regressors_are_refused(growing, regressor, message):
    with pytest.raises(ValueError, match=message):
        MultiQuantileRegressor(regressor).fit(*growing)


def test_catboost_is_told_of_its_own_way(growing):
    catboost = pytest.importorskip("catboost")
    for loss in ("Quantile:alpha=0.5", "RMSE"):
        model = MultiQuantileRegressor(catboost.CatBoostRegressor(loss_function=loss))
        with pytest.raises(ValueError, match=f"{loss}.*MultiQuantile:alpha=0.16,0.5,0.84' without"):
            model.fit(*growing)


@pytest.mark.parametrize(
    "levels", [(0.5,), 0.5, (0.6, 0.4), (0.4, 0.4), (0, 0.5), (0.5, 1), (0.5, np.nan)]
)
def test_wrong_levels(growing, levels):
    with pytest.raises(ValueError, match=r"quantiles=.*at least two increasing probabilities"):
        MultiQuantileRegressor(QuantileRegressor(), quantiles=levels).fit(*growing)
    values = np.zeros((2, np.size(levels)))
    with pytest.raises(ValueError, match=r"^levels=.*at least two increasing probabilities"):
        PredictiveDistribution.from_quantiles(values, levels)


def test_several_labels(growing):
    X, y = growing
    with pytest.raises(ValueError, match=r"shape \(300, 2\): expected one label.*MultiOutput"):
        MultiQuantileRegressor(boosting()).fit(X, np.column_stack([y, y]))


def test_levels_changed_after_the_fit(growing):
    X, y = growing
    model = MultiQuantileRegressor(boosting(), quantiles=LEVELS).fit(X, y)
    expected = model.predict(X)
    assert_array_equal(model.set_params(quantiles=(0.1, 0.2)).predict(X), expected)


def test_unfitted(growing):
    model = MultiQuantileRegressor(boosting())
    for predict in (model.predict, model.predict_dist):
        with pytest.raises(NotFittedError):
            predict(growing[0])
