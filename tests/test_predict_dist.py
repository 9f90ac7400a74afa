import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import ARDRegression, BayesianRidge, Ridge
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

from skestnet import PredictiveDistribution, predict_dist


@pytest.fixture(scope="module")
def plain():
    """Twenty samples with a linear relation and noise."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 3))
    return X, X @ [1.0, 2.0, -1.0] + 10 + 0.1 * rng.standard_normal(20)


def assert_same(dist, expected):
    assert_allclose(dist.loc, expected.loc, rtol=1e-12)
    assert_allclose(dist.scale, expected.scale, rtol=1e-12)


# Estimators that draw


def test_estimator_itself(fitted_two, lines):
    X, _ = lines
    assert_same(predict_dist(fitted_two, X), fitted_two.predict_dist(X))
    dist = predict_dist(fitted_two, X, n_draws=3, random_state=5)
    assert_same(dist, fitted_two.predict_dist(X, n_draws=3, random_state=5))


def test_pipeline(lines, small_regressor):
    X, y = lines
    pipeline = make_pipeline(StandardScaler(), "passthrough", MinMaxScaler(), small_regressor())
    pipeline.fit(X, y)
    inside = pipeline[:-1].transform(X)
    expected = pipeline[-1].predict_dist(inside, n_draws=4)
    assert_same(predict_dist(pipeline, X, n_draws=4), expected)
    mean = predict_dist(pipeline, X, n_draws=4000).mean()
    _, std = pipeline[-1].predict(inside, return_std=True)
    assert (np.abs(mean - pipeline.predict(X)) < 5 * std / 4000**0.5).all()


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_pipeline_of_passthrough_steps(lines, small_regressor, steps):
    X, y = lines
    pipeline = make_pipeline(*steps * ["passthrough"], small_regressor()).fit(X, y)
    assert_same(predict_dist(pipeline, X), pipeline[-1].predict_dist(X))


def test_pipeline_without_an_estimator(lines):
    pipeline = make_pipeline(StandardScaler(), "passthrough").fit(*lines)
    with pytest.raises(TypeError, match=r"predict_dist|passthrough is not an estimator"):
        predict_dist(pipeline, lines[0])


def test_pipeline_ending_in_a_transformer(lines):
    pipeline = make_pipeline(MinMaxScaler(), StandardScaler()).fit(*lines)
    with pytest.raises(TypeError, match="StandardScaler gives no distributions"):
        predict_dist(pipeline, lines[0])


def test_pipeline_of_a_data_frame(lines, small_regressor):
    pd = pytest.importorskip("pandas")
    X, y = lines
    frame = pd.DataFrame(X, columns=[f"p{i}" for i in range(X.shape[1])])
    net = small_regressor(max_epochs=1)
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), net).fit(frame, y)
    assert predict_dist(pipeline, frame).shape == y.shape


def test_searches(lines, small_regressor):
    X, y = lines
    net = small_regressor(max_epochs=1)
    pipeline = make_pipeline(StandardScaler(), net)
    grid = GridSearchCV(pipeline, {"estnetregressor__dropout": [0.2, 0.3]}, cv=2).fit(X, y)
    assert_same(predict_dist(grid, X), predict_dist(grid.best_estimator_, X))
    random = RandomizedSearchCV(net, {"dropout": [0.1, 0.4]}, n_iter=1, cv=2, random_state=0)
    nested = make_pipeline(StandardScaler(), random).fit(X, y)
    inside = nested[0].transform(X)
    assert_same(predict_dist(nested, X), random_best(nested).predict_dist(inside))


def random_best(nested):
    return nested[-1].best_estimator_


def test_search_without_refit(plain):
    X, y = plain
    search = GridSearchCV(BayesianRidge(), {"alpha_1": [1e-6]}, cv=2, refit=False).fit(X, y)
    with pytest.raises((NotFittedError, AttributeError), match=r"best_estimator_|not fitted"):
        predict_dist(search, X)


# Transformed targets


@pytest.mark.parametrize("n_outputs", [None, 1, 2])
def test_scaled_target_of_draws(lines, small_regressor, n_outputs):
    X, y = lines
    labels = y[:, 0] if n_outputs is None else y[:, :n_outputs]
    model = TransformedTargetRegressor(small_regressor(), transformer=StandardScaler())
    model.fit(X, labels)
    inner = model.regressor_.predict_dist(X)
    scaler = model.transformer_
    dist = predict_dist(model, X)
    columns = inner.loc if inner.loc.ndim == 3 else inner.loc[..., None]
    expected = columns * scaler.scale_ + scaler.mean_
    assert_allclose(dist.loc.reshape(expected.shape), expected, rtol=1e-9)
    assert dist.shape == model.predict(X).shape


def test_exponential_of_draws(lines, small_regressor):
    X, y = lines
    model = TransformedTargetRegressor(small_regressor(), func=np.log, inverse_func=np.exp)
    model.fit(X, y)
    dist = predict_dist(model, X, n_draws=9)
    assert_allclose(dist.loc, np.exp(model.regressor_.predict_dist(X, n_draws=9).loc))
    assert dist.shape == (30, 2)


@pytest.mark.parametrize("wrapped", [StandardScaler(), MinMaxScaler((-3, 1))])
def test_scaled_target_of_a_normal_distribution(plain, wrapped):
    X, y = plain
    model = TransformedTargetRegressor(BayesianRidge(), transformer=wrapped).fit(X, y)
    mean, std = model.regressor_.predict(X, return_std=True)
    dist = predict_dist(model, X)
    assert_allclose(dist.mean(), model.predict(X))
    factor = np.ptp(y) / 4 if isinstance(wrapped, MinMaxScaler) else y.std()
    assert_allclose(dist.std(), factor * std)
    assert_allclose(dist.ppf(0.5), wrapped_inverse(model, mean))


def wrapped_inverse(model, values):
    return model.transformer_.inverse_transform(values[:, None])[:, 0]


def test_falling_transformation_of_a_normal_distribution(plain):
    X, y = plain
    flip = FunctionTransformer(lambda z: 3 - 2 * z, lambda z: (3 - z) / 2)
    model = TransformedTargetRegressor(BayesianRidge(), transformer=flip).fit(X, y)
    expected = predict_dist(BayesianRidge().fit(X, y), X)
    assert_allclose(predict_dist(model, X).ppf(0.2), expected.ppf(0.2), rtol=1e-6)


def test_scaled_targets_of_normal_distributions(plain):
    X, y = plain
    labels = np.column_stack([y, 100 * X[:, 0] - 50])
    process = GaussianProcessRegressor(RBF() + WhiteKernel(), random_state=0)
    model = TransformedTargetRegressor(process, transformer=StandardScaler()).fit(X, labels)
    dist = predict_dist(model, X)
    _, std = model.regressor_.predict(X, return_std=True)
    assert_allclose(dist.mean(), model.predict(X))
    assert_allclose(dist.std(), std * model.transformer_.scale_)


BENT = {
    "log": (np.log, np.exp),
    "clipped": (lambda z: z, lambda z: np.maximum(z, 11.0)),
    "log of small units": (lambda z: np.log(z * 1e10), lambda z: np.exp(z) * 1e-10),
}


@pytest.mark.parametrize("name", BENT)
def test_bent_transformation_of_a_normal_distribution_is_refused(plain, name):
    X, y = plain
    func, inverse = BENT[name]
    labels = np.exp(y - 10) * 1e-10 if "units" in name else y
    model = TransformedTargetRegressor(
        BayesianRidge(), func=func, inverse_func=inverse, check_inverse=False
    ).fit(X, labels)
    with pytest.raises(ValueError, match="not affine"):
        predict_dist(model, X)


def test_everything_nested(lines, small_regressor):
    X, y = lines
    pipeline = make_pipeline(StandardScaler(), small_regressor(max_epochs=1))
    target = TransformedTargetRegressor(pipeline, transformer=StandardScaler())
    grid = {"regressor__estnetregressor__dropout": [0.3]}
    model = make_pipeline(MinMaxScaler(), GridSearchCV(target, grid, cv=2)).fit(X, y)
    dist = predict_dist(model, X, n_draws=2000, random_state=0)
    assert dist.n_draws == 2000
    assert (np.abs(dist.mean() - model.predict(X)) < 5 * dist.std() / 2000**0.5).all()


# Other libraries' estimators


@pytest.mark.parametrize("estimator", [BayesianRidge(), ARDRegression()])
def test_estimators_with_a_standard_deviation(plain, estimator):
    X, y = plain
    estimator.fit(X, y)
    mean, std = estimator.predict(X, return_std=True)
    for model, data in ((estimator, X), (make_pipeline(estimator), X)):
        dist = predict_dist(model, data)
        assert_allclose(dist.mean(), mean)
        assert_allclose(dist.std(), std)
        assert dist.n_draws == 1


@pytest.mark.parametrize("n_outputs", [None, 2])
def test_gaussian_process(plain, n_outputs):
    X, y = plain
    labels = y if n_outputs is None else np.column_stack([y, -y])
    process = GaussianProcessRegressor(RBF() + WhiteKernel(), normalize_y=True, random_state=0)
    process.fit(X, labels)
    mean, std = process.predict(X, return_std=True)
    dist = predict_dist(process, X)
    assert dist.shape == labels.shape
    assert_allclose(dist.mean(), mean)
    assert_allclose(dist.std(), std)


def test_estimator_without_distributions(plain):
    X, y = plain
    for model in (Ridge(), make_pipeline(StandardScaler(), Ridge())):
        with pytest.raises(TypeError, match=r"Ridge gives no distributions.*register"):
            predict_dist(model.fit(X, y), X)


def test_own_type(plain):
    class Halves(RegressorMixin, BaseEstimator):
        def fit(self, X, y):  # noqa: ARG002
            self.levels_ = np.quantile(y, [0.25, 0.75])
            return self

        def predict(self, X):
            return np.full(len(X), self.levels_.mean())

    X, y = plain
    model = make_pipeline(StandardScaler(), Halves()).fit(X, y)
    with pytest.raises(TypeError, match="Halves gives no distributions"):
        predict_dist(model, X)

    @predict_dist.register(Halves)
    def _(fitted, X, **_):
        return PredictiveDistribution(np.tile(fitted.levels_, (len(X), 1)))

    assert_array_equal(predict_dist(model, X).mean(), model.predict(X))


@pytest.mark.filterwarnings("ignore:This Pipeline instance is not fitted:FutureWarning")
def test_unfitted(plain, small_regressor):
    X, _ = plain
    models = [
        BayesianRidge(),
        small_regressor(),
        make_pipeline(StandardScaler(), BayesianRidge()),
        make_pipeline(BayesianRidge()),
        GridSearchCV(BayesianRidge(), {"alpha_1": [1e-6]}),
        TransformedTargetRegressor(BayesianRidge(), transformer=StandardScaler()),
    ]
    for model in models:
        with pytest.raises(NotFittedError):
            predict_dist(model, X)


def test_errors_of_the_estimator_come_through(lines, fitted, plain):
    with pytest.raises(ValueError, match="expecting 24 features"):
        predict_dist(fitted, lines[0][:, 1:])
    with pytest.raises(ValueError, match="expecting 3 features"):
        predict_dist(BayesianRidge().fit(*plain), plain[0][:, 1:])
    with pytest.raises(TypeError, match="n_draws"):
        predict_dist(BayesianRidge().fit(*plain), plain[0], n_draws=3)
