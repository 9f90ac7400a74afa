import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingRegressor, RandomForestRegressor, VotingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import ARDRegression, BayesianRidge, QuantileRegressor, Ridge
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeRegressor

from skestnet import (
    EstNetRegressor,
    MultiQuantileRegressor,
    PredictiveDistribution,
    predict_dist,
)


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
    model = TransformedTargetRegressor(
        small_regressor(noise="none"), func=np.log, inverse_func=np.exp
    )
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
    "falling": (lambda z: -np.log(z), lambda z: np.exp(-z)),
}


@pytest.mark.parametrize("name", BENT)
def test_bent_transformation_of_a_normal_distribution(plain, name):
    X, y = plain
    func, inverse = BENT[name]
    labels = np.exp(y - 10) * 1e-10 if "units" in name else y
    model = TransformedTargetRegressor(
        BayesianRidge(), func=func, inverse_func=inverse, check_inverse=False
    ).fit(X, labels)
    dist = predict_dist(model, X)
    assert dist.shape == (20,)
    mean, std = model.regressor_.predict(X, return_std=True)
    for q in (0.1, 0.5, 0.8):
        z = norm.ppf(1 - q if name == "falling" else q)
        assert_allclose(dist.ppf(q), inverse(mean + z * std), rtol=1e-3)
    if name == "log of small units":
        assert_allclose(dist.mean(), 1e-10 * np.exp(mean + std**2 / 2), rtol=1e-3)


def test_bent_transformation_of_a_column_of_labels(plain):
    X, y = plain
    process = GaussianProcessRegressor(RBF() + WhiteKernel(), optimizer=None)
    model = TransformedTargetRegressor(process, func=np.log, inverse_func=np.exp)
    model.fit(X, y[:, None])
    dist = predict_dist(model, X)
    assert dist.shape == (20, 1)
    mean = np.ravel(model.regressor_.predict(X))
    assert_allclose(dist.ppf(0.5)[:, 0], np.exp(mean), rtol=1e-4)


def test_inverse_that_is_not_defined_everywhere(plain):
    X, y = plain
    model = TransformedTargetRegressor(
        BayesianRidge(), func=lambda z: z - 10, inverse_func=np.sqrt, check_inverse=False
    ).fit(X, y)
    with pytest.raises(ValueError, match=r"NaN or infinity.*between -.*inverse function is finite"):
        predict_dist(model, X)


class Given(RegressorMixin, BaseEstimator):
    """Predicts components and a correlation that were given to it, for any samples."""

    def __init__(self, loc, scale=0.0, correlation=None):
        self.loc, self.scale, self.correlation = loc, scale, correlation

    def fit(self, X, y):  # noqa: ARG002
        self.fitted_ = True
        return self

    def predict(self, X):
        return self.predict_dist(X).mean()

    def predict_dist(self, X):
        loc = np.broadcast_to(self.loc, (len(X), *np.shape(self.loc)))
        return PredictiveDistribution(loc, self.scale, self.correlation)


CORRELATION = np.array([[1, 0.6], [0.6, 1]])


def transformed(inner, transformer, n_labels=2):
    noise = np.random.default_rng(1).standard_normal((30, n_labels))
    y, X = noise * [2000, 0.2][:n_labels] + [9000, 8][:n_labels], np.zeros((30, 1))
    model = TransformedTargetRegressor(inner, transformer=transformer, check_inverse=False)
    return model.fit(X, y), X[:1]


@pytest.mark.parametrize("sign", [1, -1])
def test_affine_transformation_keeps_components_and_correlation(sign):
    given = Given([[0.2, 0.1], [-0.3, 0.4]], [0.3, 0.2], CORRELATION)
    scaler = StandardScaler()
    flip = FunctionTransformer(lambda z: z * [1, sign], lambda z: z * [1, sign])
    model, X = transformed(given, make_pipeline(scaler, flip))
    inner, outer = predict_dist(model.regressor_, X), predict_dist(model, X)
    factor = model.transformer_[0].scale_ * [1, sign]
    assert outer.n_draws == 2
    for part in ("total", "epistemic", "aleatoric"):
        expected = inner.covariance(part) * np.outer(factor, factor)
        assert_allclose(outer.covariance(part), expected, rtol=1e-9)
    assert outer.covariance("aleatoric")[0, 0, 1] * sign > 0


def test_transformation_that_mixes_labels():
    # At the centre and with equal scales, the mixture looks like a scaling from all sides but one.
    given = Given([[0.0, 0.0]], [1.0, 1.0], CORRELATION)
    turn = np.array([[1.0, 2.0], [-1.0, 0.5]])
    mix = FunctionTransformer(lambda z: z @ np.linalg.inv(turn), lambda z: z @ turn)
    model, X = transformed(given, mix)
    dist = predict_dist(model, X)
    assert_allclose(dist.covariance()[0], turn.T @ CORRELATION @ turn, rtol=0.05)
    assert_allclose(dist.mean()[0], [0, 0], atol=0.01)


def test_principal_components_of_the_labels():
    given = Given([[0.1, 0.5]], [0.5, 0.2])
    model, X = transformed(given, make_pipeline(StandardScaler(), PCA(2)))
    dist = predict_dist(model, X)
    assert_allclose(dist.mean(), model.predict(X), rtol=1e-6)
    scaler, pca = model.transformer_
    expected = pca.components_.T @ np.diag([0.5, 0.2]) ** 2 @ pca.components_
    actual = dist.covariance()[0] / np.outer(scaler.scale_, scaler.scale_)
    assert_allclose(actual, expected, rtol=0.05)


def test_principal_component_of_two_labels():
    given = Given([0.5], 0.2)
    model, X = transformed(given, PCA(1))
    dist = predict_dist(model, X)
    assert dist.shape == (1, 2)
    expected = model.transformer_.inverse_transform(norm.ppf(0.9, [[0.5]], 0.2))
    assert_allclose(dist.ppf(0.9)[0, 0], expected[0, 0], rtol=1e-4)
    assert_allclose(np.corrcoef(dist.loc[0].T)[0, 1] ** 2, 1)


def test_bent_labels_stay_correlated():
    given = Given([[0.2, 0.1]], [0.3, 0.2], CORRELATION)
    model, X = transformed(given, FunctionTransformer(np.log, np.exp))
    dist = predict_dist(model, X)
    assert_allclose(dist.ppf(0.5), np.exp([[0.2, 0.1]]), rtol=2e-3)
    # The covariance of log-normal labels.
    mean = np.exp([0.2 + 0.3**2 / 2, 0.1 + 0.2**2 / 2])
    expected = mean[0] * mean[1] * (np.exp(0.6 * 0.3 * 0.2) - 1)
    assert_allclose(dist.covariance()[0, 0, 1], expected, rtol=0.03)


def test_narrow_distributions_of_a_large_label():
    # A bend by 1e-3 of the width, 1e-9 of the label.
    given = Given([1e6], 1.0)
    bend = FunctionTransformer(None, lambda z: z + 1e-3 * (z - 1e6) ** 2)
    model, X = transformed(given, bend, n_labels=1)
    dist = predict_dist(model, X)
    assert dist.n_draws == 1000
    assert_allclose(dist.mean() - 1e6, 1e-3, rtol=0.02)


def test_everything_nested(lines, small_regressor):
    X, y = lines
    pipeline = make_pipeline(StandardScaler(), small_regressor(max_epochs=1))
    target = TransformedTargetRegressor(pipeline, transformer=StandardScaler())
    grid = {"regressor__estnetregressor__dropout": [0.3]}
    model = make_pipeline(MinMaxScaler(), GridSearchCV(target, grid, cv=2)).fit(X, y)
    dist = predict_dist(model, X, n_draws=2000, random_state=0)
    assert dist.n_draws == 2000
    assert (np.abs(dist.mean() - model.predict(X)) < 5 * dist.std() / 2000**0.5).all()


# Ensembles


@pytest.mark.parametrize("n_outputs", [None, 2])
def test_bagged_networks(lines, small_regressor, n_outputs):
    X, y = lines
    labels = y[:, 0] if n_outputs is None else y
    model = BaggingRegressor(small_regressor(), n_estimators=3, random_state=0).fit(X, labels)
    dist = predict_dist(model, X, n_draws=2000, random_state=0)
    members = [net.predict_dist(X, n_draws=2000, random_state=0) for net in model.estimators_]
    assert_same(dist, PredictiveDistribution.mixture(members))
    assert dist.shape == labels.shape
    assert dist.n_draws == 6000
    assert (np.abs(dist.mean() - model.predict(X)) < 5 * dist.std() / 6000**0.5).all()
    assert not np.allclose(members[0].mean(), members[1].mean())


def test_bagging_of_some_features(plain):
    X, y = plain
    model = BaggingRegressor(BayesianRidge(), 4, max_features=2, random_state=0).fit(X, y)
    dist = predict_dist(model, X)
    pairs = zip(model.estimators_, model.estimators_features_, strict=True)
    by_hand = [member.predict(X[:, features], return_std=True) for member, features in pairs]
    assert_allclose(dist.loc, np.transpose([mean for mean, _ in by_hand]))
    assert_allclose(dist.scale, np.transpose([std for _, std in by_hand]))
    assert_allclose(dist.mean(), model.predict(X))


@pytest.mark.parametrize("inner", [None, make_pipeline(StandardScaler(), Ridge())])
def test_bagging_of_members_without_distributions(plain, inner):
    X, y = plain
    labels = np.column_stack([y, X[:, 0]])
    model = BaggingRegressor(inner, n_estimators=3, random_state=0).fit(X, labels)
    dist = predict_dist(model, X)
    assert_array_equal(dist.loc[:, 1], model.estimators_[1].predict(X))
    assert not dist.scale.any()
    assert_allclose(dist.mean(), model.predict(X))


def test_bagging_of_a_data_frame(plain):
    pd = pytest.importorskip("pandas")
    X, y = plain
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = BaggingRegressor(BayesianRidge(), 2, random_state=0).fit(frame, y)
    assert_allclose(predict_dist(model, frame).mean(), model.predict(frame))


def test_voting(plain):
    X, y = plain
    members = [("bayes", BayesianRidge()), ("out", "drop"), ("tree", DecisionTreeRegressor())]
    model = VotingRegressor(members, weights=[2, 1, 2]).fit(X, y)
    dist = predict_dist(model, X)
    mean, std = model.named_estimators_["bayes"].predict(X, return_std=True)
    assert_allclose(dist.loc, np.column_stack([mean, model.named_estimators_["tree"].predict(X)]))
    assert_allclose(dist.scale, np.column_stack([std, np.zeros(20)]))
    assert_allclose(dist.mean(), model.predict(X))
    for weights in (None, [1, 1, 1]):
        assert_same(predict_dist(model.set_params(weights=weights), X), dist)


def test_voting_of_unequal_weights(plain):
    X, y = plain
    members = [("a", BayesianRidge()), ("b", ARDRegression())]
    model = VotingRegressor(members, weights=[2, 1]).fit(X, y)
    with pytest.raises(ValueError, match=r"weights=\[2, 1\].*equally likely.*mixture"):
        predict_dist(model, X)


def test_parameters_for_a_member_without_distributions(lines, small_regressor):
    X, y = lines
    members = [("net", small_regressor(max_epochs=1)), ("ridge", Ridge())]
    model = VotingRegressor(members).fit(X, y[:, 0])
    assert predict_dist(model, X).n_draws == 2 * model.estimators_[0].n_draws
    with pytest.raises(TypeError, match=r"Ridge, a member .* cannot be passed n_draws: leave"):
        predict_dist(model, X, n_draws=3)


def test_labels_fitted_one_by_one(plain):
    X, y = plain
    labels = np.column_stack([y, -100 * X[:, 0]])
    model = MultiOutputRegressor(BayesianRidge()).fit(X, labels)
    dist = predict_dist(make_pipeline("passthrough", model), X)
    by_hand = [BayesianRidge().fit(X, labels[:, k]).predict(X, return_std=True) for k in (0, 1)]
    assert_allclose(dist.mean(), np.transpose([mean for mean, _ in by_hand]))
    assert_allclose(dist.std(), np.transpose([std for _, std in by_hand]))
    assert dist.correlation is None


def test_labels_with_equally_many_draws_stay_as_they_are(plain):
    X, y = plain
    forest = RandomForestRegressor(7, random_state=0)
    model = MultiOutputRegressor(forest).fit(X, np.column_stack([y, X[:, 1]]))
    expected = [predict_dist(label, X).loc for label in model.estimators_]
    assert_array_equal(predict_dist(model, X).loc, np.stack(expected, axis=2))


def test_labels_with_unequally_many_draws():
    model = MultiOutputRegressor(Given([[0.0]])).fit(np.zeros((5, 1)), np.zeros((5, 2)))
    rng = np.random.default_rng(0)
    model.estimators_ = [Given(rng.normal(size=n), [0.1 * n]).fit(0, 0) for n in (4, 3)]
    dist = predict_dist(model, np.zeros((5, 1)))
    assert dist.n_draws == 12
    # Each draw of one label meets each of the other: fitted apart, they are independent.
    pairs = {(float(a), float(b)) for a, b in dist.loc[0]}
    assert pairs == {(a, b) for a in model.estimators_[0].loc for b in model.estimators_[1].loc}
    assert_allclose(dist.covariance("epistemic")[0, 0, 1], 0, atol=1e-15)
    assert_allclose(dist.scale, np.broadcast_to([0.4, 0.3], (5, 12, 2)))


def test_sorted_draws_of_labels_fitted_apart_do_not_seem_correlated():
    X = np.zeros((2, 1))
    model = MultiOutputRegressor(Given([[0.0]])).fit(X, np.zeros((2, 3)))
    quantiles = norm.ppf((np.arange(400) + 0.5) / 400)
    model.estimators_ = [
        Given(shift + quantiles[::step]) for shift, step in ((0, 1), (5, 2), (1, 1))
    ]
    dist = predict_dist(model, X)
    assert_allclose(dist.ppf(0.8)[0] - [0, 5, 1], norm.ppf([0.8] * 3), atol=0.02)
    assert_allclose(dist.covariance()[0], np.eye(3), atol=0.1)


def test_labels_of_quantiles_do_not_tell_parts_apart():
    X, y = np.linspace(0, 1, 30)[:, None], np.random.default_rng(0).normal(size=(30, 2))
    quantiles = MultiQuantileRegressor(QuantileRegressor(alpha=0), quantiles=(0.16, 0.5, 0.84))
    dist = predict_dist(MultiOutputRegressor(quantiles).fit(X, y), X)
    assert (dist.std() > 0).all()
    with pytest.raises(ValueError, match="do not tell its parts apart"):
        dist.std("aleatoric")


def test_frozen_estimators(plain, fitted, lines):
    X, y = plain
    pipeline = make_pipeline(StandardScaler(), BayesianRidge()).fit(X, y)
    assert_same(predict_dist(FrozenEstimator(pipeline), X), predict_dist(pipeline, X))
    assert_same(predict_dist(FrozenEstimator(fitted), lines[0]), predict_dist(fitted, lines[0]))


def test_own_method_and_own_type_come_before_the_ensemble(plain):
    class OwnMethod(RandomForestRegressor):
        def predict_dist(self, X):
            return PredictiveDistribution(np.full((len(X), 1), 3.0))

    class OwnType(BaggingRegressor):
        pass

    X, y = plain
    assert (predict_dist(OwnMethod(2).fit(X, y), X).mean() == 3).all()
    bagging = OwnType(n_estimators=2).fit(X, y)
    assert predict_dist(bagging, X).n_draws == 2

    @predict_dist.register(OwnType)
    def _(fitted, X):  # noqa: ARG001
        return PredictiveDistribution(np.full((len(X), 1), 4.0))

    assert (predict_dist(bagging, X).mean() == 4).all()


# Other estimators of scikit-learn


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


@pytest.mark.parametrize("cls", [Ridge, BayesianRidge, RandomForestRegressor, EstNetRegressor])
def test_a_class_in_place_of_an_instance(plain, cls):
    with pytest.raises(TypeError, match=rf"{cls.__name__} is a class: expected a fitted instance"):
        predict_dist(cls, plain[0])


def test_swapped_arguments(plain):
    X, y = plain
    with pytest.raises(TypeError, match=r"ndarray .* BayesianRidge does: are the arguments swapp"):
        predict_dist(X, BayesianRidge().fit(X, y))
    with pytest.raises(TypeError, match="ndarray gives no distributions"):
        predict_dist(X, X)


@pytest.mark.parametrize("wrap", [make_pipeline, FrozenEstimator, TransformedTargetRegressor])
def test_missing_samples(wrap):
    with pytest.raises(TypeError, match=r"^predict_dist\(\) missing 1 .* argument: 'X'"):
        predict_dist(wrap(BayesianRidge()))


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
        BaggingRegressor(BayesianRidge()),
        VotingRegressor([("a", BayesianRidge())]),
        MultiOutputRegressor(BayesianRidge()),
        FrozenEstimator(BayesianRidge()),
        RandomForestRegressor(),
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
