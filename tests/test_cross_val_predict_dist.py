import joblib
import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import BayesianRidge, LinearRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    ShuffleSplit,
    TimeSeriesSplit,
    cross_val_predict,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skestnet import CalibratedRegressor, PredictiveDistribution, predict_dist
from skestnet.metrics import cross_val_predict_dist
from skestnet.metrics._cross_val import _concatenate


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((41, 3))
    return X, X @ [1.0, 2.0, -1.0] + 0.5 * rng.standard_normal(41)


class ResidualDraws(RegressorMixin, BaseEstimator):
    """Predictions with all training residuals about them, as conformal predictions have."""

    def __init__(self, noise=0.0):
        self.noise = noise

    def fit(self, X, y, sample_weight=None):
        self.line_ = LinearRegression().fit(X, y, sample_weight)
        self.residual_ = np.sort(y - self.line_.predict(X), axis=0)
        return self

    def predict(self, X):
        return self.line_.predict(X)

    def predict_dist(self, X, n_draws=None):
        draws = self.predict(X)[:, None] + self.residual_[None, :n_draws]
        correlation = np.full((2, 2), 0.3) + 0.7 * np.eye(2) if draws.ndim == 3 else None
        return PredictiveDistribution(draws, self.noise, correlation)


def in_a_loop(model, X, y, cv, **fit_params):
    """Predict row by row, as simply as can be: (row, components, scales)."""
    rows = {}
    for train, test in cv:
        weights = {name: value[train] for name, value in fit_params.items()}
        dist = predict_dist(clone(model).fit(X[train], y[train], **weights), X[test])
        rows |= {i: (dist.loc[j], dist.scale[j]) for j, i in enumerate(test)}
    return [rows[i] for i in range(len(X))]


def assert_rows(dist, expected):
    assert_allclose(dist.loc, [loc for loc, _ in expected], rtol=1e-10)
    assert_allclose(dist.scale, [scale for _, scale in expected], rtol=1e-10)


SPLITTERS = [KFold(4), KFold(3, shuffle=True, random_state=0)]


@pytest.mark.parametrize("cv", SPLITTERS)
def test_against_a_loop_over_folds(data, cv):
    X, y = data
    model = make_pipeline(StandardScaler(), BayesianRidge())
    dist = cross_val_predict_dist(model, X, y, cv=cv)
    assert_rows(dist, in_a_loop(model, X, y, cv.split(X)))
    assert_allclose(dist.mean(), cross_val_predict(model, X, y, cv=cv))
    assert not hasattr(model[-1], "coef_")  # the given estimator stays as it was


def test_default_is_five_folds_without_shuffling(data):
    X, y = data
    dist = cross_val_predict_dist(BayesianRidge(), X, y)
    assert_rows(dist, in_a_loop(BayesianRidge(), X, y, KFold(5).split(X)))


def test_iterable_of_splits_in_any_order(data):
    X, y = data
    order = np.random.default_rng(1).permutation(41)
    splits = [(np.delete(order, np.s_[i::4]), order[i::4]) for i in range(4)]
    dist = cross_val_predict_dist(BayesianRidge(), X, y, cv=iter(splits))
    assert_rows(dist, in_a_loop(BayesianRidge(), X, y, splits))


def test_unequal_numbers_of_draws_are_thinned(data):
    X, y = data
    folds = [predict_dist(ResidualDraws().fit(X[a], y[a]), X[b]) for a, b in KFold(4).split(X)]
    assert [fold.n_draws for fold in folds] == [30, 31, 31, 31]
    dist = cross_val_predict_dist(ResidualDraws(), X, y, cv=4)
    assert dist.n_draws == 30
    assert_array_equal(dist.loc[:11], folds[0].loc)
    # The middle one of 31 is left out of 30, and the ends stay.
    assert_array_equal(dist.loc[11:21], np.delete(folds[1].loc, 15, axis=1))


def test_parts_of_thinned_distributions():
    rng = np.random.default_rng(0)
    loc, scale = rng.standard_normal((2, 3, 7, 2))
    r = rng.uniform(-0.9, 0.9, (3, 7))
    correlation = np.moveaxis(
        np.array([[np.ones_like(r), r], [r, np.ones_like(r)]]), (0, 1), (2, 3)
    )
    full = PredictiveDistribution(loc, np.abs(scale), correlation)
    plain = PredictiveDistribution(np.zeros((2, 4, 2)), 1.0)
    joined = _concatenate([full, plain])
    kept = [0, 2, 4, 6]
    assert joined.shape == (5, 2)
    assert_array_equal(joined.loc[:3], loc[:, kept])
    assert_array_equal(joined.scale[:3], np.abs(scale)[:, kept])
    assert_array_equal(joined.correlation[:3], correlation[:, kept])
    assert_array_equal(joined.correlation[3:], np.broadcast_to(np.eye(2), (2, 4, 2, 2)))
    assert_array_equal(joined.loc[3:], plain.loc)
    assert _concatenate([plain, plain]).correlation is None


def test_much_thinning_warns():
    few, many = PredictiveDistribution(np.zeros((1, 2))), PredictiveDistribution(np.ones((1, 5)))
    with pytest.warns(UserWarning, match="from 2 to 5 components, and all are thinned to 2"):
        assert _concatenate([few, many]).shape == (2,)


def test_correlated_labels(data):
    X, y = data
    Y = np.column_stack([y, -2 * y])
    dist = cross_val_predict_dist(
        ResidualDraws(0.1), X, Y, cv=KFold(3, shuffle=True, random_state=0)
    )
    assert dist.shape == (41, 2)
    assert_allclose(dist.correlation[..., 0, 1], 0.3)


def test_fit_and_predict_parameters(data):
    X, y = data
    weight = np.random.default_rng(1).uniform(0.1, 5, 41)
    dist = cross_val_predict_dist(BayesianRidge(), X, y, cv=3, params={"sample_weight": weight})
    expected = in_a_loop(BayesianRidge(), X, y, KFold(3).split(X), sample_weight=weight)
    assert_rows(dist, expected)
    assert (
        np.abs(dist.mean() - cross_val_predict_dist(BayesianRidge(), X, y, cv=3).mean()).max()
        > 0.01
    )
    few = cross_val_predict_dist(ResidualDraws(), X, y, cv=3, predict_params={"n_draws": 6})
    assert few.n_draws == 6


@pytest.mark.parametrize("as_frames", [False, True])
def test_predict_parameters_of_each_sample(data, as_frames):
    X, y = data
    width = np.random.default_rng(1).uniform(0.1, 5, 41)

    class Wide(ResidualDraws):
        def predict_dist(self, X, width, level, n_draws):
            assert np.shape(width) == (len(X),)
            assert np.shape(level) == (2,)
            dist = super().predict_dist(X, n_draws)
            return PredictiveDistribution(dist.loc, np.asarray(width)[:, None])

    given = width
    if as_frames:
        pd = pytest.importorskip("pandas")
        X, given = pd.DataFrame(X), pd.Series(width, index=range(100, 141))
    # Words and numbers are passed on as they are, and so is what has another length.
    params = {"width": given, "level": [0.1, 0.9], "n_draws": np.int64(6)}
    cv = KFold(3, shuffle=True, random_state=0)
    dist = cross_val_predict_dist(Wide(), X, y, cv=cv, predict_params=params)
    assert_array_equal(dist.scale, np.tile(width[:, None], 6))


def test_calibration_by_signal_to_noise():
    pytest.importorskip("crepes")
    rng = np.random.default_rng(0)
    X, snr = rng.standard_normal((240, 2)), rng.uniform(2, 30, 240)
    y = X[:, 0] + rng.standard_normal(240) / snr
    model = CalibratedRegressor(BayesianRidge(), n_groups=2, random_state=0)
    given = {"params": {"snr": snr}, "predict_params": {"snr": snr}}
    dist = cross_val_predict_dist(model, X, y, cv=3, **given)
    width = np.subtract(*dist.interval(0.68)[::-1])
    assert width[snr < 10].mean() > 1.5 * width[snr > 20].mean()
    with pytest.raises(ValueError, match="snr"):
        cross_val_predict_dist(model, X, y, cv=3, params={"snr": snr})


def test_groups_stay_together(data):
    X, y = data
    groups = np.arange(41) % 6
    dist = cross_val_predict_dist(BayesianRidge(), X, y, groups=groups, cv=GroupKFold(3))
    splits = list(GroupKFold(3).split(X, y, groups))
    assert_rows(dist, in_a_loop(BayesianRidge(), X, y, splits))


def test_searches_and_frames(data):
    pd = pytest.importorskip("pandas")
    X, y = data
    frame, series = pd.DataFrame(X, columns=list("abc")), pd.Series(y, index=range(100, 141))
    search = GridSearchCV(BayesianRidge(), {"alpha_1": [1e-6, 1e-3]}, cv=2)
    dist = cross_val_predict_dist(search, frame, series, cv=3)
    assert_rows(dist, in_a_loop(search, X, y, KFold(3).split(X)))


def test_precomputed_kernels(data):
    """Rows and columns of a pairwise matrix are split, as scikit-learn does."""
    X, y = data

    class Pairwise(ResidualDraws):
        def fit(self, X, y):
            assert X.shape == (len(y), len(y))
            return super().fit(X, y)

        def __sklearn_tags__(self):
            tags = super().__sklearn_tags__()
            tags.input_tags.pairwise = True
            return tags

    assert len(cross_val_predict_dist(Pairwise(), RBF()(X), y, cv=41)) == 41


def test_without_labels(data):
    X, _ = data

    class Unlabelled(BaseEstimator):
        def fit(self, X):
            self.n_ = len(X)
            return self

        def predict_dist(self, X):
            return PredictiveDistribution(X[:, :1], self.n_)

    dist = cross_val_predict_dist(Unlabelled(), X, cv=4)
    assert_array_equal(dist.loc, X[:, :1])
    assert_array_equal(dist.scale.ravel(), [30.0] * 11 + [31.0] * 30)


def test_parallel_folds(data):
    X, y = data
    with joblib.parallel_config("threading"):
        dist = cross_val_predict_dist(BayesianRidge(), X, y, n_jobs=2)
    assert_array_equal(dist.loc, cross_val_predict_dist(BayesianRidge(), X, y).loc)


def test_verbose(data, capsys):
    cross_val_predict_dist(BayesianRidge(), *data, cv=2, verbose=10)
    captured = capsys.readouterr()
    assert "Done" in captured.out + captured.err


@pytest.mark.parametrize("cv", [ShuffleSplit(3, random_state=0), TimeSeriesSplit(3)])
def test_cv_that_is_no_partition(data, cv):
    with pytest.raises(ValueError, match="only works for partitions"):
        cross_val_predict_dist(BayesianRidge(), *data, cv=cv)


def test_estimator_without_distributions(data):
    with pytest.raises(TypeError, match="LinearRegression gives no distributions"):
        cross_val_predict_dist(LinearRegression(), *data)


def test_lengths_that_differ(data):
    X, y = data
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        cross_val_predict_dist(BayesianRidge(), X, y[:-1])


# Metadata routing


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_routing_of_weights_and_groups(data):
    X, y = data
    weight, groups = np.random.default_rng(1).uniform(0.1, 5, 41), np.arange(41) % 6
    model = make_pipeline(StandardScaler(), BayesianRidge().set_fit_request(sample_weight=True))
    model[0].set_fit_request(sample_weight=False)
    params = {"sample_weight": weight, "groups": groups}
    dist = cross_val_predict_dist(model, X, y, cv=GroupKFold(3), params=params)
    splits = list(GroupKFold(3).split(X, y, groups))
    assert_rows(dist, in_a_loop(model, X, y, splits, sample_weight=weight))
    assert_allclose(dist.mean(), cross_val_predict(model, X, y, cv=GroupKFold(3), params=params))


@pytest.mark.usefixtures("routing")
def test_routing_of_what_nobody_requested(data):
    X, y = data
    with pytest.raises(UnsetMetadataPassedError, match=r"sample_weight.*cross_val_predict_dist"):
        cross_val_predict_dist(BayesianRidge(), X, y, params={"sample_weight": np.ones(41)})
    with pytest.raises(TypeError, match="unexpected argument"):
        cross_val_predict_dist(BayesianRidge(), X, y, params={"nonsense": 1})


@pytest.mark.usefixtures("routing")
def test_groups_by_themselves_where_routing_is_enabled(data):
    with pytest.raises(ValueError, match=r"params=\{'groups': groups\}"):
        cross_val_predict_dist(BayesianRidge(), *data, groups=np.arange(41), cv=GroupKFold(3))
