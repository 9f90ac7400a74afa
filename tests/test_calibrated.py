import pickle
import re
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import BayesianRidge, LinearRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RepeatedKFold,
    ShuffleSplit,
    TimeSeriesSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from skestnet import PredictiveDistribution, _calibrated, predict_dist
from skestnet._calibrated import CalibratedRegressor

crepes = pytest.importorskip("crepes")

FEW = "ignore:There are .* calibration scores:UserWarning"


class Stated(RegressorMixin, BaseEstimator):
    """Predicts a straight line, with a stated error proportional to the last feature."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, X, y, snr=None, sample_weight=None):
        self.seen_snr_, self.seen_weight_, self.seen_rows_ = snr, sample_weight, X[:, 0]
        self.line_ = LinearRegression().fit(X, y)
        return self

    def predict(self, X):
        return self.line_.predict(X)

    def predict_dist(self, X):
        centre = self.predict(X)
        width = self.factor * X[:, -1].reshape(-1, *[1] * (centre.ndim - 1))
        return PredictiveDistribution(
            centre[:, None], np.broadcast_to(width, centre.shape)[:, None]
        )


def line(n_samples=100, seed=0, n_outputs=None, rho=0.8):
    """Make features, the last of which is the noise level, and labels with skewed noise."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.standard_normal((n_samples, 2)), rng.uniform(0.3, 3, n_samples)])
    noise = rng.exponential(size=(n_samples, 2)) * X[:, 2:]
    y = X[:, :1] + noise
    y = np.column_stack([y[:, 0], 1000 * (rho * noise[:, 0] + (1 - rho**2) ** 0.5 * noise[:, 1])])
    return X, y[:, 0] if n_outputs is None else y[:, :n_outputs]


def inside(dist, y, c):
    low, high = dist.interval(c)
    return (low <= y) & (y <= high)


def mean_and_error(shares):
    return np.mean(shares, axis=0), np.std(shares, axis=0, ddof=1) / len(shares) ** 0.5


def same(one, other):
    assert_array_equal(one.loc, other.loc)
    assert_array_equal(one.scale, other.scale)


# Do intervals hold as often as they say?


@pytest.mark.parametrize("factor", [1.0, 0.1])
@pytest.mark.parametrize("normalize", [True, False])
def test_split_conformal_covers_exactly(factor, normalize):
    # 39 scores: the ends of all of these intervals are scores, (39 + 1) (1 - c) / 2 is whole.
    confidence = np.array([0.2, 0.5, 0.8, 0.9, 0.95])

    def tails(dist, y):
        ends = np.array([dist.interval(c) for c in confidence])
        return [(y < ends[:, 0]).mean(axis=1), (y > ends[:, 1]).mean(axis=1)]

    shares = []
    for seed in range(100):
        X, y = line(65 + 100, seed)
        model = CalibratedRegressor(
            Stated(factor),
            method="split",
            calibration_fraction=39 / 65,
            normalize=normalize,
            random_state=seed,
        ).fit(X[:65], y[:65])
        assert len(model.scores_) == 39
        shares.append(tails(model.predict_dist(X[65:]), y[65:]))
    mean, error = mean_and_error(shares)
    # Each tail holds, though the noise is skewed.
    assert (np.abs(mean - (1 - confidence) / 2) < 4 * error).all()
    assert error.max() < 0.012
    if factor < 1:
        own = tails(model.regressors_[0].predict_dist(X[65:]), y[65:])
        assert (1 - np.sum(own, axis=0) < 0.5 * confidence).all()


def test_folds_cover_about_as_often():
    confidence = np.array([0.5, 0.68, 0.9])
    shares = []
    for seed in range(60):
        X, y = line(60 + 100, seed)
        model = CalibratedRegressor(Stated(0.3), random_state=seed).fit(X[:60], y[:60])
        dist = model.predict_dist(X[60:])
        shares.append([inside(dist, y[60:], c).mean() for c in confidence])
    mean, error = mean_and_error(shares)
    assert (mean > confidence - 4 * error).all()
    assert (mean < confidence + 0.06).all()


def test_groups_cover_where_plain_intervals_do_not():
    rng = np.random.default_rng(0)
    snr = rng.uniform(1, 20, 3400)
    X = rng.standard_normal((3400, 2))
    y = X[:, 0] + rng.standard_normal(3400) / snr
    fitted = FrozenEstimator(Ridge().fit(X[:400], y[:400]))
    cal, test = slice(400, 1900), slice(1900, None)
    plain = CalibratedRegressor(fitted, normalize=False).fit(X[cal], y[cal])
    mondrian = CalibratedRegressor(fitted, normalize=False, n_groups=3)
    mondrian.fit(X[cal], y[cal], snr=snr[cal])
    assert mondrian.group_edges_ == pytest.approx(np.quantile(snr[cal], [1 / 3, 2 / 3]))
    group = np.digitize(snr[test], mondrian.group_edges_)
    dists = plain.predict_dist(X[test]), mondrian.predict_dist(X[test], snr=snr[test])
    for c in (0.68, 0.9):
        shares = [[inside(d, y[test], c)[group == g].mean() for g in range(3)] for d in dists]
        # Binomial error of 500 calibration and some 500 test samples.
        error = (c * (1 - c) * (1 / 500 + 1 / 500)) ** 0.5
        assert np.abs(np.array(shares[1]) - c).max() < 3.5 * error
        assert shares[0][0] < c - 5 * error
        assert shares[0][2] > c + 3 * error


@pytest.mark.parametrize("rho", [0.8, -0.95])
def test_joint_regions_cover(rho):
    confidence = (0.5, 0.9)
    shares, separate = [], []
    for seed in range(36):
        X, y = line(30 + 100 + 200, seed, 2, rho)
        fitted = FrozenEstimator(Stated().fit(X[:30], y[:30]))
        model = CalibratedRegressor(fitted).fit(X[30:130], y[30:130])
        dist = model.predict_dist(X[130:])
        shares.append([dist.region(c).contains(y[130:]).mean() for c in confidence])
        separate.append([inside(dist, y[130:], c).all(axis=1).mean() for c in confidence])
    mean, error = mean_and_error(shares)
    # The shape of the region is that of the scores themselves, which matters by 1 / n.
    assert (np.abs(mean - confidence) < 4 * error + 0.01).all()
    assert (np.mean(separate, axis=0) < np.array(confidence) - 0.02).all()


def test_repeated_visits_spoil_the_calibration_unless_grouped():
    def coverage(seed, **groups):
        rng = np.random.default_rng(seed)
        star = np.repeat(np.arange(30), 4)
        X = rng.standard_normal((230, 20))
        X[:120] = X[star] + 1e-3 * rng.standard_normal((120, 20))
        noise = rng.standard_normal(230)
        noise[:120] = noise[star]
        y = X[:, 0] + noise
        given = {"groups": star} if groups["grouped"] else {}
        model = CalibratedRegressor(LinearRegression(), normalize=False, random_state=0)
        model.fit(X[:120], y[:120], **given)
        return inside(model.predict_dist(X[120:]), y[120:], 0.8).mean()

    shares = {way: [coverage(s, grouped=way) for s in range(12)] for way in (True, False)}
    assert np.mean(shares[False]) < 0.5
    assert np.mean(shares[True]) > 0.75


# Widths


def test_normalised_intervals_are_as_wide_as_the_regressor_says():
    X, y = line(200)
    model = CalibratedRegressor(Stated(), method="split", random_state=0).fit(X, y)
    low, high = model.predict_dist(X).interval(0.68)
    width = (high - low) / X[:, 2]
    assert_allclose(width, width[0], rtol=1e-9)
    rescaled = CalibratedRegressor(Stated(17.0), method="split", random_state=0).fit(X, y)
    assert_allclose(rescaled.predict_dist(X).loc, model.predict_dist(X).loc, rtol=1e-9)
    constant = clone(model).set_params(normalize=False).fit(X, y)
    low, high = constant.predict_dist(X).interval(0.68)
    assert_allclose(high - low, (high - low)[0], rtol=1e-9)


# Against plain computations


def plain_centre(fitted, x, normalize):
    if not normalize:
        centre = np.ravel(fitted.predict(x[None]))
        return centre, np.ones_like(centre)
    dist = fitted.predict_dist(x[None])
    return np.ravel(dist.mean()), np.ravel(dist.std())


def plain_draws(X, y, X_test, folds, normalize, group=None, group_test=None):
    """Compute the draws of each test sample, one calibration sample after the other."""
    y = y.reshape(len(y), -1)
    group = np.zeros(len(X)) if group is None else group
    group_test = np.zeros(len(X_test)) if group_test is None else group_test
    draws = [[] for _ in X_test]
    for train, test in folds:
        fitted = Stated().fit(X[train], y[train])
        for i in test:
            centre, scale = plain_centre(fitted, X[i], normalize)
            score = (y[i] - centre) / scale
            for j in np.flatnonzero(group_test == group[i]):
                at, width = plain_centre(fitted, X_test[j], normalize)
                draws[j].append(at + width * score)
    return np.array(draws)


def sorted_rows(points):
    """Order the points (n_points, n_outputs) of a sample, keeping the labels of each together."""
    return points[np.lexsort(points.T)]


METHODS = {
    "split": (
        {"method": "split", "calibration_fraction": 0.4},
        ShuffleSplit(1, test_size=0.4, random_state=3),
    ),
    "cv+": ({}, KFold(5, shuffle=True, random_state=3)),
    "own folds": ({"cv": KFold(3)}, KFold(3)),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("n_outputs", [None, 1, 2])
def test_draws_are_the_scores_around_each_prediction(method, normalize, n_outputs):
    X, y = line(100, n_outputs=n_outputs)
    X_test, _ = line(4, seed=1)
    params, splitter = METHODS[method]
    model = CalibratedRegressor(Stated(), normalize=normalize, random_state=3, **params)
    dist = model.fit(X, y).predict_dist(X_test)
    expected = plain_draws(X, y, X_test, list(splitter.split(X)), normalize)
    n_scores = expected.shape[1]
    assert dist.shape == (4, *y.shape[1:])
    assert not dist.scale.any()
    loc = dist.loc.reshape(4, n_scores + 2, -1)
    for found, wanted in zip(loc, expected, strict=True):
        # Paired: whole rows agree.
        assert_allclose(sorted_rows(found[:-2]), sorted_rows(wanted), rtol=1e-9)
        ends = np.sort(found[-2:], axis=0)
        assert_allclose(ends, [wanted.min(axis=0), wanted.max(axis=0)], rtol=1e-9)


@pytest.mark.parametrize("method", ["split", "cv+"])
def test_draws_of_groups(method):
    X, y = line(220, n_outputs=2)
    X_test, _ = line(12, seed=1)
    params, splitter = METHODS[method]
    folds = list(splitter.split(X))
    model = CalibratedRegressor(
        Stated(), n_groups=2, group_by=lambda X: X[:, 2], random_state=3, **params
    )
    dist = model.fit(X, y).predict_dist(X_test)
    edge = np.median(X[np.concatenate([test for _, test in folds]), 2])
    assert model.group_edges_ == pytest.approx([edge])
    group, group_test = X[:, 2] >= edge, X_test[:, 2] >= edge
    for g in (False, True):
        expected = plain_draws(
            X, y, X_test[group_test == g], folds, True, group, group_test[group_test == g]
        )
        found = dist.loc[group_test == g][:, :-2]
        assert found.shape == expected.shape
        for a, b in zip(found, expected, strict=True):
            assert_allclose(sorted_rows(a), sorted_rows(b), rtol=1e-9)


def test_quantiles_are_those_of_crepes():
    X, y = line(250)
    fitted = Stated().fit(X[:50], y[:50])
    model = CalibratedRegressor(FrozenEstimator(fitted)).fit(X[50:249], y[50:249])
    known, new = fitted.predict_dist(X[50:249]), fitted.predict_dist(X[:6])
    system = crepes.ConformalPredictiveSystem()
    system.fit(y[50:249] - known.mean(), known.std())
    percent = [10, 50, 90]
    expected = system.predict_percentiles(new.mean(), new.std(), higher_percentiles=percent)
    dist = model.predict_dist(X[:6])
    # 199 scores: these percentiles are the 20th, the 100th and the 180th score.
    assert_allclose(np.column_stack([dist.ppf(p / 100) for p in percent]), expected, rtol=1e-9)


@pytest.mark.parametrize("rho", [0.9, -0.9])
def test_outermost_draws_fit_in_with_the_correlation(rho):
    X, y = line(60, n_outputs=2, rho=rho)
    model = CalibratedRegressor(Stated(), random_state=0).fit(X, y)
    dist = model.predict_dist(X[:5])
    direction = np.sign(np.diff(dist.loc[:, -2:], axis=1)[:, 0])
    assert_array_equal(direction[:, 1], direction[:, 0] * np.sign(rho))
    of_scores = np.corrcoef(model.scores_.T)[0, 1]
    covariance = dist.covariance()
    of_draws = covariance[:, 0, 1] / np.sqrt(covariance[:, 0, 0] * covariance[:, 1, 1])
    assert np.abs(of_draws - of_scores).max() < 0.1


def test_mean_is_the_prediction():
    X, y = line(80, n_outputs=2)
    model = CalibratedRegressor(Stated(), random_state=0).fit(X, y)
    assert_allclose(model.predict(X), model.predict_dist(X).mean(), rtol=1e-12)
    same(predict_dist(model, X), model.predict_dist(X))
    same(predict_dist(make_pipeline("passthrough", model), X), model.predict_dist(X))


def test_attributes():
    X, y = line(80, n_outputs=2)
    model = CalibratedRegressor(Stated(), random_state=3).fit(X, y)
    assert len(model.regressors_) == 5
    assert_array_equal(model.calibration_indices_, np.arange(80))
    for k, (train, test) in enumerate(KFold(5, shuffle=True, random_state=3).split(X)):
        assert_array_equal(model.regressors_[k].seen_rows_, X[train, 0])
        assert_array_equal(np.flatnonzero(model.folds_ == k), np.sort(test))
        dist = model.regressors_[k].predict_dist(X[test])
        assert_allclose(model.scores_[test], (y[test] - dist.mean()) / dist.std())
    assert model.group_edges_.shape == (0,)
    assert CalibratedRegressor(Stated()).fit(X, y[:, 0]).scores_.shape == (80,)


# Numbers of draws, memory


def test_largest_number_of_draws():
    X, y = line(100, n_outputs=2)
    model = CalibratedRegressor(Stated(), max_draws=40, random_state=0).fit(X, y)
    whole = CalibratedRegressor(Stated(), random_state=0).fit(X, y)
    assert model.scores_.shape == (40, 2)
    assert model.predict_dist(X).n_draws == 42
    kept = model.calibration_indices_
    assert_array_equal(kept, np.unique(kept))
    assert_array_equal(model.scores_, whole.scores_[kept])
    other = clone(model).set_params(random_state=1).fit(X, y)
    assert set(other.calibration_indices_) != set(kept)


def test_memory_is_that_of_the_result(monkeypatch):
    monkeypatch.setattr(_calibrated, "MAX_BLOCK", 2**14)
    X, y = line(1000, n_outputs=2)
    model = CalibratedRegressor(Stated(), random_state=0).fit(X, y)
    blocks = model.predict_dist(X)
    monkeypatch.setattr(_calibrated, "MAX_BLOCK", 2**30)
    same(blocks, model.predict_dist(X))
    monkeypatch.setattr(_calibrated, "MAX_BLOCK", 2**14)
    tracemalloc.start()
    try:
        size = model.predict_dist(X).loc.nbytes
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        model.predict(X)
        peak_of_predict = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * size
    assert peak_of_predict < 0.2 * size


def test_widest_interval_is_that_of_the_scores():
    X, y = line(39)
    model = CalibratedRegressor(Stated(), random_state=0).fit(X, y)
    dist = model.predict_dist(X)
    low, high = dist.interval(0.95)  # (39 - 1) / (39 + 1)
    assert_allclose(low, dist.loc.min(axis=1))
    assert_allclose(high, dist.loc.max(axis=1))
    for a, b in zip(dist.interval(0.99), (low, high), strict=True):
        assert_allclose(a, b)


# Groups of S/N


def test_values_beyond_those_seen_are_in_the_outermost_groups():
    X, y = line(120)
    model = CalibratedRegressor(Ridge(), normalize=False, n_groups=3, random_state=0)
    model.fit(X, y, snr=X[:, 2])
    ends = model.predict_dist(X[:2], snr=[-1e9, 1e9])
    inner = model.predict_dist(X[:2], snr=[X[:, 2].min(), X[:, 2].max()])
    same(ends, inner)
    assert model.predict(X[:2], snr=[-1e9, 1e9]) == pytest.approx(ends.mean())


def test_snr_comes_before_the_function():
    X, y = line(120)
    model = CalibratedRegressor(Stated(), n_groups=2, group_by=lambda X: X[:, 0], random_state=0)
    model.fit(X, y, snr=X[:, 2])
    assert model.group_edges_ == pytest.approx([np.median(X[:, 2])])


def test_groups_are_as_large_as_the_smallest():
    X, y = line(130)
    snr = np.r_[np.zeros(50), np.arange(1, 81)]
    model = CalibratedRegressor(Stated(), n_groups=2, random_state=0)
    with pytest.warns(UserWarning, match=r"uneven, of \[50, 80\] calibration samples: only 50"):
        model.fit(X, y, snr=np.minimum(snr, 1))
    assert model.predict_dist(X[:2], snr=[0, 1]).n_draws == 52
    assert_array_equal(np.bincount(snr[model.calibration_indices_] > 0), [50, 50])
    clone(model).set_params(max_draws=45).fit(X, y, snr=snr)


def test_too_small_groups():
    X, y = line(59)
    model = CalibratedRegressor(Stated(), n_groups=3, random_state=0)
    with pytest.raises(ValueError, match=r"\[20, 19, 20\] .* at least 20 .* 90% needs 19"):
        model.fit(X, y, snr=X[:, 2])
    X, y = line(60)
    with pytest.warns(UserWarning, match="20 calibration scores in each group.* more than 90.5%"):
        model.fit(X, y, snr=X[:, 2])
    assert len(model.scores_) == 60


@pytest.mark.parametrize("n_groups", [1, 2])
def test_few_scores(n_groups):
    X, y = line(39 * n_groups)
    model = CalibratedRegressor(Stated(), n_groups=n_groups, group_by=lambda X: X[:, 2])
    model.fit(X, y)  # just enough for 95%
    with pytest.warns(UserWarning, match=r"are 38 .* 94\.9% .* no wider .* 95% use 39 or more"):
        model.fit(X[1:], y[1:])
    with pytest.warns(UserWarning, match="There are 38 calibration scores"):
        model.set_params(max_draws=38).fit(X, y)


def test_too_few_samples():
    X, y = line(6)
    model = CalibratedRegressor(Stated(), cv=2)
    with pytest.warns(UserWarning, match=r"There are 6 calibration scores: .* more than 71\.4%"):
        model.fit(X, y)
    with pytest.raises(ValueError, match=r"There are 5 calibration samples: expected at least 6"):
        model.fit(X[1:], y[1:])
    X, y = line(20)
    with pytest.raises(ValueError, match=r"There are 4 .*'cv\+' .* calibration_fraction"):
        CalibratedRegressor(Stated(), method="split").fit(X, y)


@pytest.mark.parametrize(("confidence", "n_scores"), [(68, 6), (90, 19), (95, 39), (99.7, 666)])
def test_numbers_of_scores_that_intervals_need(confidence, n_scores):
    share = confidence / 100
    assert (n_scores - 2) / n_scores < share <= (n_scores - 1) / (n_scores + 1)
    table = re.search(r"Interval (.*)\n *Scores [^\d]*(.*)", CalibratedRegressor.__doc__)
    columns = [row.split() for row in table.groups()]
    assert (f"{confidence}%", str(n_scores)) in zip(*columns, strict=True)


def test_groups_by_equal_values():
    X, y = line(200)
    model = CalibratedRegressor(Stated(), n_groups=2, group_by=lambda X: np.ones(len(X)))
    with pytest.raises(ValueError, match=r"\[0, 200\].* are equal, .* cut by values that differ"):
        model.fit(X, y)


def test_group_values_that_are_of_no_use():
    X, y = line(120)
    model = CalibratedRegressor(Stated(), n_groups=2, random_state=0)
    with pytest.raises(ValueError, match=r"nothing to cut groups by.*snr=.*group_by=.*one fold"):
        model.fit(X, y, groups=X[:, 2])
    with pytest.raises(ValueError, match=r"snr has shape \(119,\): expected \(120,\)"):
        model.fit(X, y, snr=X[1:, 2])
    bad = X[:, 2].copy()
    bad[[3, 5]] = np.nan, np.inf
    with pytest.raises(ValueError, match="snr holds 2 NaN or infinite values"):
        model.fit(X, y, snr=bad)
    model.fit(X, y, snr=X[:, 2])
    for method in (model.predict, model.predict_dist):
        with pytest.raises(ValueError, match=r"snr is missing.*group_by"):
            method(X)
        with pytest.raises(ValueError, match="snr holds 2 NaN"):
            method(X, snr=bad)
    model.set_params(group_by=lambda X: X[:, :2]).fit(X, y, snr=X[:, 2])
    with pytest.raises(ValueError, match=r"group_by\(X\) has shape \(120, 2\)"):
        model.fit(X, y)


def test_snr_is_not_ignored_in_silence():
    X, y = line(120)
    model = CalibratedRegressor(Ridge(), normalize=False, random_state=0)
    with pytest.raises(ValueError, match=r"nothing depends on it: n_groups=1"):
        model.fit(X, y, snr=X[:, 2])
    with pytest.raises(ValueError, match=r"nothing depends on it: n_groups=1"):
        model.fit(X, y).predict_dist(X, snr=X[:, 2])
    model.set_params(n_groups=2, group_by=lambda X: X[:, 2]).fit(X, y)
    with pytest.raises(ValueError, match=r"nothing depends on it: group_by"):
        model.predict(X, snr=X[:, 2])


def test_failed_fit_leaves_no_half_fitted_estimator():
    X, y = line(59)
    model = CalibratedRegressor(Stated(), n_groups=3)
    with pytest.raises(ValueError, match="at least 20"):
        model.fit(X, y, snr=X[:, 2])
    with pytest.raises(NotFittedError):
        model.predict_dist(X, snr=X[:, 2])
    before = model.set_params(n_groups=1).fit(X, y).predict(X)
    with pytest.raises(ValueError, match="at least 20"):
        model.set_params(n_groups=3).fit(X, y, snr=X[:, 2])
    assert_array_equal(model.predict(X), before)


# What the regressor and the splitter get


@pytest.mark.parametrize("method", ["split", "cv+"])
def test_weights_and_snr_reach_the_regressor_in_parts(method):
    X, y = line(100)
    weight, snr = np.arange(100.0), np.arange(100.0) + 0.5
    params, splitter = METHODS[method]
    model = CalibratedRegressor(Stated(), random_state=3, **params)
    model.fit(X, y, sample_weight=weight, snr=snr)
    folds = splitter.split(X)
    for (train, _), fitted in zip(folds, model.regressors_, strict=True):
        assert_array_equal(fitted.seen_weight_, weight[train])
        assert_array_equal(fitted.seen_snr_, snr[train])


def test_weights_reach_a_step_of_a_pipeline():
    X, y = line(100)
    weight = np.random.default_rng(1).uniform(0, 1, 100)
    model = CalibratedRegressor(make_pipeline(StandardScaler(), BayesianRidge()), random_state=3)
    model.fit(X, y, bayesianridge__sample_weight=weight)
    train, _ = next(KFold(5, shuffle=True, random_state=3).split(X))
    expected = make_pipeline(StandardScaler(), BayesianRidge())
    expected.fit(X[train], y[train], bayesianridge__sample_weight=weight[train])
    assert_array_equal(model.regressors_[0][-1].coef_, expected[-1].coef_)
    assert model.predict_dist(X).shape == (100,)


@pytest.mark.parametrize(
    "params", [{}, {"cv": 3}, {"cv": GroupKFold(4)}, {"method": "split"}], ids=str
)
def test_visits_to_a_star_stay_together(params):
    X, y = line(210)
    star = np.repeat(np.arange(70), 3)
    X[:, 0] = star
    model = CalibratedRegressor(Stated(), random_state=0, **params)
    model.fit(X, y, groups=star)
    assert len(model.regressors_) == {"cv+": params.get("cv", 5), "split": 1}[model.method] or 4
    for k, fitted in enumerate(model.regressors_):
        known = set(fitted.seen_rows_)
        new = set(star[model.calibration_indices_[model.folds_ == k]])
        assert known
        assert new
        assert not known & new


def test_frozen_regressor_is_not_fitted_again():
    X, y = line(100)
    fitted = make_pipeline(StandardScaler(), BayesianRidge()).fit(X[:40], y[:40])
    before = fitted[-1].coef_.copy()
    model = CalibratedRegressor(FrozenEstimator(fitted)).fit(X[40:], y[40:])
    assert model.regressors_ == [fitted]
    assert_array_equal(fitted[-1].coef_, before)
    dist = predict_dist(fitted, X[40:])
    assert_allclose(model.scores_, (y[40:] - dist.mean()) / dist.std())
    assert_array_equal(model.folds_, 0)
    split = CalibratedRegressor(FrozenEstimator(fitted), method="split").fit(X[40:], y[40:])
    same(split.predict_dist(X), model.predict_dist(X))


def test_frozen_regressor_takes_no_weights():
    X, y = line(100)
    model = CalibratedRegressor(FrozenEstimator(BayesianRidge().fit(X, y)))
    with pytest.raises(ValueError, match=r"\['sample_weight'\] were passed.*frozen"):
        model.fit(X, y, sample_weight=np.ones(100))
    with pytest.raises(NotFittedError):
        CalibratedRegressor(FrozenEstimator(BayesianRidge())).fit(X, y)


# scikit-learn


def test_grid_search_over_inner_parameters():
    X, y = line(180)
    model = CalibratedRegressor(Ridge(), calibration_fraction=0.4, normalize=False, random_state=0)
    grid = {"regressor__alpha": [0.1, 1e6], "method": ["split", "cv+"]}
    search = GridSearchCV(model, grid, cv=3).fit(X, y)
    assert search.best_params_["regressor__alpha"] == 0.1
    assert predict_dist(search, X).n_draws == search.best_estimator_.scores_.size + 2


def test_search_with_groups_of_a_function():
    X, y = line(160)
    model = CalibratedRegressor(Stated(), group_by=lambda X: X[:, 2], random_state=0)
    search = GridSearchCV(model, {"n_groups": [1, 2]}, cv=2, error_score="raise").fit(X, y)
    assert search.best_estimator_.predict(X).shape == (160,)


def test_parameters_pass_through_a_pipeline():
    X, y = line(120)
    model = CalibratedRegressor(Stated(), n_groups=2, random_state=0)
    pipeline = make_pipeline("passthrough", model)
    pipeline.fit(X, y, calibratedregressor__snr=X[:, 2])
    expected = model.fit(X, y, snr=X[:, 2])
    same(predict_dist(pipeline, X, snr=X[:, 2]), expected.predict_dist(X, snr=X[:, 2]))
    assert_array_equal(pipeline.predict(X, snr=X[:, 2]), expected.predict(X, snr=X[:, 2]))


@config_context(enable_metadata_routing=True)
def test_routing_of_weights():
    X, y = line(100)
    weight = np.arange(100.0) + 1
    inner = Stated().set_fit_request(sample_weight=True, snr=False)
    model = CalibratedRegressor(inner, random_state=3)
    outer = make_pipeline("passthrough", model).fit(X, y, sample_weight=weight)
    train, _ = next(KFold(5, shuffle=True, random_state=3).split(X))
    assert_array_equal(outer[-1].regressors_[0].seen_weight_, weight[train])
    with pytest.raises(TypeError, match="sample_weight"):
        CalibratedRegressor(Stated().set_fit_request(sample_weight=False, snr=False)).fit(
            X, y, sample_weight=weight
        )


@config_context(enable_metadata_routing=True)
def test_routing_of_snr_to_the_groups_and_to_the_regressor():
    X, y = line(100)
    inner = Stated().set_fit_request(snr=True, sample_weight=False)
    model = CalibratedRegressor(inner, n_groups=2, random_state=3)
    model.set_fit_request(snr=True).set_predict_request(snr=True)
    pipeline = make_pipeline("passthrough", model).fit(X, y, snr=X[:, 2])
    train, _ = next(KFold(5, shuffle=True, random_state=3).split(X))
    assert_array_equal(pipeline[-1].regressors_[0].seen_snr_, X[train, 2])
    assert pipeline[-1].group_edges_ == pytest.approx([np.median(X[:, 2])])
    assert pipeline.predict(X, snr=X[:, 2]).shape == (100,)
    single = CalibratedRegressor(Ridge(), normalize=False)
    with pytest.raises(ValueError, match="nothing depends on it"):
        single.fit(X, y, snr=X[:, 2])


@config_context(enable_metadata_routing=True)
@pytest.mark.parametrize("params", [{"cv": 4}, {"cv": GroupKFold(4)}, {"method": "split"}], ids=str)
def test_routing_of_groups_through_a_search(params):
    X, y = line(400)
    star = np.repeat(np.arange(100), 4)
    X[:, 0] = star
    inner = Stated().set_fit_request(snr=False, sample_weight=False)
    model = CalibratedRegressor(inner, random_state=0, **params)
    search = GridSearchCV(model, {"normalize": [True]}, cv=GroupKFold(2), error_score="raise")
    best = search.fit(X, y, groups=star).best_estimator_
    for k, fitted in enumerate(best.regressors_):
        new = set(star[best.calibration_indices_[best.folds_ == k]])
        assert not set(fitted.seen_rows_) & new
    with pytest.raises(TypeError, match="groups"):
        clone(model).set_params(method="cv+", cv=KFold(3)).fit(X, y, groups=star)


def test_groups_through_cross_validation_without_routing():
    X, y = line(160)
    model = CalibratedRegressor(Stated(), random_state=0)
    scores = cross_val_score(model, X, y, groups=np.repeat(np.arange(40), 4), cv=GroupKFold(2))
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("method", ["split", "cv+"])
def test_clone_and_pickle(method):
    X, y = line(200, n_outputs=2)
    model = CalibratedRegressor(Stated(), method=method, random_state=0).fit(X, y)
    assert not hasattr(clone(model), "regressors_")
    for again in (clone(model).fit(X, y), pickle.loads(pickle.dumps(model))):
        same(again.predict_dist(X), model.predict_dist(X))
    other = clone(model).set_params(random_state=1).fit(X, y)
    assert np.abs(other.predict(X) - model.predict(X)).max() > 0


def test_parameters_are_never_changed():
    X, y = line(100)
    regressor, cv = Stated(), KFold(3)
    model = CalibratedRegressor(regressor, cv=cv).fit(X, y)
    assert model.regressor is regressor
    assert model.cv is cv
    assert not hasattr(regressor, "line_")


def test_threads():
    X, y = line(100)
    model = CalibratedRegressor(BayesianRidge(), random_state=0).fit(X, y)
    joblib = pytest.importorskip("joblib")
    with joblib.parallel_config(backend="threading"):
        threads = clone(model).set_params(n_jobs=2).fit(X, y)
    same(threads.predict_dist(X), model.predict_dist(X))


def test_progress_bar(capsys):
    X, y = line(100)
    CalibratedRegressor(BayesianRidge(), verbose=1).fit(X, y)
    assert "5/5" in capsys.readouterr().err
    CalibratedRegressor(BayesianRidge()).fit(X, y)
    assert capsys.readouterr().err == ""


def test_data_frames():
    pd = pytest.importorskip("pandas")
    X, y = line(100, n_outputs=2)
    frame = pd.DataFrame(X, columns=["a", "b", "c"], index=np.arange(100)[::-1])
    labels = pd.DataFrame(y, columns=["teff", "logg"])
    model = CalibratedRegressor(make_pipeline(StandardScaler(), Ridge()), normalize=False)
    model.set_params(random_state=0, n_groups=2, group_by=lambda X: X["c"])
    model.fit(frame, labels)
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    assert model.n_features_in_ == 3
    expected = clone(model).set_params(group_by=lambda X: X[:, 2]).fit(X, y)
    assert_allclose(model.predict(frame), expected.predict(X))
    model.set_params(group_by=None, n_groups=1).fit(X, y)
    assert not hasattr(model, "feature_names_in_")


def test_missing_values_and_sparse_features():
    X, y = line(100)
    sparse = CalibratedRegressor(Ridge(), normalize=False, random_state=0)
    dense = sparse.fit(X, y).predict(X)
    assert_allclose(sparse.fit(csr_array(X), y).predict(csr_array(X)), dense, rtol=1e-4)
    X[::7, 1] = np.nan
    trees = HistGradientBoostingRegressor(max_iter=5)
    model = CalibratedRegressor(trees, normalize=False, random_state=0)
    assert np.isfinite(model.fit(X, y).predict(X)).all()
    with pytest.raises(ValueError, match="NaN"):
        sparse.fit(X, y)


def test_tags_are_those_of_the_regressor():
    tags = get_tags(CalibratedRegressor(HistGradientBoostingRegressor()))
    assert tags.input_tags.allow_nan
    assert not tags.target_tags.multi_output
    tags = get_tags(CalibratedRegressor(Ridge()))
    assert tags.target_tags.multi_output
    assert tags.input_tags.sparse
    assert tags.target_tags.required
    assert get_tags(Ridge()).input_tags.sparse


# Errors


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"regressor": StandardScaler()}, "'regressor' parameter .* 'fit' and 'predict'"),
        ({"method": "jackknife"}, "'method' parameter .*'jackknife'"),
        ({"cv": 1}, "'cv' parameter .* Got 1"),
        ({"cv": None}, "'cv' parameter"),
        ({"calibration_fraction": 1.0}, "'calibration_fraction' parameter"),
        ({"n_groups": 0}, "'n_groups' parameter"),
        ({"group_by": "snr"}, "'group_by' parameter"),
        ({"max_draws": 19}, "'max_draws' parameter"),
        ({"cv": RepeatedKFold(n_splits=2, n_repeats=2)}, "leave each sample out exactly once"),
        ({"cv": TimeSeriesSplit(3)}, "leave each sample out exactly once"),
        ({"cv": ShuffleSplit(2)}, "leave each sample out exactly once"),
    ],
    ids=str,
)
def test_parameters(params, match):
    X, y = line(100)
    with pytest.raises(ValueError, match=match):
        CalibratedRegressor(**{"regressor": Stated(), **params}).fit(X, y)


def test_regressor_without_distributions():
    with pytest.raises(TypeError, match=r"Ridge gives no distributions.*normalize=False"):
        CalibratedRegressor(Ridge()).fit(*line())


def test_distributions_without_a_width():
    X, y = line(100)
    with pytest.raises(ValueError, match=r"Stated's distribution is 0 for 20 of 20 .*normalize"):
        CalibratedRegressor(Stated(0.0)).fit(X, y)
    model = CalibratedRegressor(Stated()).fit(X, y)
    X[3, 2] = 0
    with pytest.raises(ValueError, match="is 0 for 1 of 100"):
        model.predict_dist(X)
    assert np.isfinite(clone(model).set_params(normalize=False).fit(X, y).predict(X)).all()


def test_labels_that_do_not_fit():
    X, y = line(100, n_outputs=2)
    with pytest.raises(ValueError, match="Input y contains NaN"):
        CalibratedRegressor(Stated(), method="split").fit(X, np.where(y == y[7], np.nan, y))
    fitted = FrozenEstimator(Stated().fit(X, y[:, 0]))
    with pytest.raises(ValueError, match=r"labels have shape \(100, 2\).*have shape \(100,\)"):
        CalibratedRegressor(fitted).fit(X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        CalibratedRegressor(Stated()).fit(X, y[1:])


def test_predictions_that_are_not_finite():
    class Broken(Stated):
        def predict(self, X):
            return np.where(X[:, 0] > 0, np.nan, 0.0)

    with pytest.raises(ValueError, match="predictions of the regressor contains NaN"):
        CalibratedRegressor(Broken(), normalize=False).fit(*line())


def test_unfitted():
    X, _ = line()
    model = CalibratedRegressor(BayesianRidge())
    for method in (model.predict, model.predict_dist):
        with pytest.raises(NotFittedError):
            method(X)


def test_crepes_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "crepes", None)
    with pytest.raises(ImportError, match=r'pip install "skestnet\[uncertainty\]"'):
        CalibratedRegressor(BayesianRidge()).fit(*line())


def test_crepes_does_not_change_which_warnings_are_shown(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "crepes"]:
        monkeypatch.delitem(sys.modules, name)
    before = list(warnings.filters)
    CalibratedRegressor(BayesianRidge()).fit(*line())
    assert "crepes" in sys.modules
    assert warnings.filters == before


# Other regressors, and scikit-learn's own checks


def test_network(line_spectra, small_regressor):
    X, y = line_spectra(60)
    net = make_pipeline(StandardScaler(), small_regressor(max_epochs=1))
    model = CalibratedRegressor(net, method="split", calibration_fraction=0.7, random_state=0)
    dist = model.fit(X, y).predict_dist(X)
    assert dist.shape == (60, 2)
    assert dist.n_draws == 44


def test_network_that_is_always_sure(line_spectra, small_regressor):
    X, y = line_spectra(60)
    net = small_regressor(max_epochs=1, noise="none", dropout=0)
    assert_array_equal(predict_dist(net.fit(X, y), X).std(), 0)
    with pytest.raises(ValueError, match=r"is 0 for 12 of 12 samples.*normalize=False"):
        CalibratedRegressor(net).fit(X, y)


def test_gaussian_process():
    X, y = line(60)
    process = GaussianProcessRegressor(alpha=1.0, optimizer=None, normalize_y=True)
    model = CalibratedRegressor(process, random_state=0).fit(X, y)
    assert 0.5 < inside(model.predict_dist(X), y, 0.68).mean() < 0.95


NO_OBJECTS = {"check_dtype_object": "BayesianRidge gives no errors for arrays of objects"}


def checks_of(*estimators, expected=None):
    mark = parametrize_with_checks(
        list(estimators), expected_failed_checks=lambda _: expected or {}
    )
    names, checks = mark.args
    return pytest.mark.parametrize(names, list(checks), **mark.kwargs)


@pytest.mark.filterwarnings(FEW)
@checks_of(
    CalibratedRegressor(BayesianRidge()),
    CalibratedRegressor(BayesianRidge(), method="split", calibration_fraction=0.6),
    expected=NO_OBJECTS,
)
def test_compliance(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings(FEW)
@checks_of(
    CalibratedRegressor(Ridge(), normalize=False),
    CalibratedRegressor(Ridge(), method="split", calibration_fraction=0.6, normalize=False),
)
def test_compliance_without_normalising(estimator, check):
    check(estimator)
