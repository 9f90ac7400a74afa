import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneOut,
    RepeatedKFold,
    ShuffleSplit,
    TimeSeriesSplit,
)
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

from skestnet import AdaptiveWeighter, adaptive_weights
from skestnet._rows import canonical_rows


def line(n_samples=60, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, 3))
    return X, X @ [1.0, -2.0, 0.5] + 0.1 * rng.standard_normal(n_samples)


def learned_by_heart():
    return DecisionTreeRegressor(random_state=0)


def plain_out_of_fold(regressor, X, y, weight, splitter):
    """Predict the distinct samples by fits that did not see them; say where they are."""
    rows = canonical_rows(X, y.reshape(len(y), -1), weight)
    X, y = X[rows.source], y[rows.source]
    predictions = np.zeros_like(y)
    for train, test in splitter.split(X):
        fitted = clone(regressor).fit(X[train], y[train], sample_weight=rows.weight[train])
        predictions[test] = fitted.predict(X[test])
    return predictions, rows


def standardised(y, weight, *others):
    """Standardise labels, and what has their unit, by mean and standard deviation of `y`."""
    mean = np.average(y, axis=0, weights=weight)
    scale = np.sqrt(np.average((y - mean) ** 2, axis=0, weights=weight))
    return [(part - mean) / scale for part in (y, *others)]


def test_weighter_is_the_function_on_standardised_labels(plain_weights):
    X, y = line()
    weighter = AdaptiveWeighter.paper(regressor=Ridge(), gamma=0.1, bandwidth=0.4).fit(X, y)
    fitted = Ridge().fit(X, y).predict(X)
    expected = plain_weights(
        (y - y.mean()) / y.std(), (fitted - y.mean()) / y.std(), gamma=0.1, bandwidth=0.4
    )
    assert_allclose(weighter.transform(X, y), expected, rtol=1e-9)
    assert_allclose(weighter.label_mean_, [y.mean()])
    assert_allclose(weighter.label_scale_, [y.std()])


def test_weigh_is_the_function_with_own_parameters():
    y, y_pred = np.random.default_rng(0).standard_normal((2, 30))
    weighter = AdaptiveWeighter(gamma=0.3, bandwidth=0.2, bias_score="minmax")
    expected = adaptive_weights(y, y_pred, gamma=0.3, bandwidth=0.2)
    assert_array_equal(weighter.weigh(y, y_pred), expected)


def test_finds_a_wrong_label():
    X, y = line()
    wrong = y.copy()
    wrong[17] += 8
    weights = AdaptiveWeighter.paper(regressor=Ridge()).fit_transform(X, wrong)
    assert weights.argmin() == 17
    clean = AdaptiveWeighter.paper(regressor=Ridge()).fit_transform(X, y)
    assert clean.argmin() != 17
    assert np.median(weights) > 0.9 > np.median(clean)


def test_default_regressor_finds_wrong_labels():
    X, y = line(300)
    wrong = [5, 150, 250]
    y[wrong] += 8
    for labels in (y, np.column_stack([y, y])):
        weights = AdaptiveWeighter().fit_transform(X, labels)
        assert weights[wrong].max() <= np.sort(weights)[2]  # ties at zero are possible


def test_fit_transform_equals_fit_then_transform():
    X, y = line()
    weight = np.linspace(0.5, 2, 60)
    for sample_weight in (None, weight):
        both = AdaptiveWeighter(Ridge(), gamma=0.1).fit_transform(X, y, sample_weight)
        one = AdaptiveWeighter(Ridge(), gamma=0.1).fit(X, y, sample_weight).transform(X, y)
        assert_array_equal(both, one)


def test_new_data_are_judged_by_the_training_set(plain_weights):
    X, y = line()
    weighter = AdaptiveWeighter.paper(regressor=Ridge(), gamma=0.2).fit(X[:40], y[:40])
    fitted = weighter.regressor_.predict(X)
    mean, scale = weighter.label_mean_, weighter.label_scale_
    labels, predictions = (y - mean) / scale, (fitted - mean) / scale
    train = labels[:40], predictions[:40]
    expected = plain_weights(labels[40:], predictions[40:], train=train, gamma=0.2)
    assert_allclose(weighter.transform(X[40:], y[40:]), expected, rtol=1e-9)


def test_a_row_does_not_depend_on_its_neighbours():
    X, y = line()
    weighter = AdaptiveWeighter(Ridge(), gamma=0.2).fit(X[:40], y[:40])
    together = weighter.transform(X[40:], y[40:])
    alone = [weighter.transform(X[[i]], y[[i]])[0] for i in range(40, 60)]
    assert_allclose(together, alone, rtol=1e-9)


@pytest.mark.parametrize("gamma", [0, 0.1, 1])
@pytest.mark.parametrize(("factor", "offset"), [(1000, 0), (1, 1e4), (-0.01, 3)])
@pytest.mark.parametrize(("bias_score", "atol"), [("minmax", 1e-8), ("mixture", 1e-5)])
def test_units_of_the_labels_do_not_matter(gamma, factor, offset, bias_score, atol):
    X, y = line()
    weighter = AdaptiveWeighter(LinearRegression(), gamma=gamma, bias_score=bias_score)
    expected = weighter.fit_transform(X, y)
    assert_allclose(weighter.fit_transform(X, factor * y + offset), expected, atol=atol)


@pytest.mark.parametrize("gamma", [0, 0.1, 1])
def test_weighter_follows_the_samples(gamma):
    X, y = line()
    order = np.random.default_rng(0).permutation(60)
    weighter = AdaptiveWeighter(LinearRegression(), gamma=gamma)
    expected = weighter.fit_transform(X, y)[order]
    assert_allclose(weighter.fit_transform(X[order], y[order]), expected, atol=1e-9)


@pytest.mark.parametrize("gamma", [0, 0.1])
def test_weighter_weight_two_is_a_repeated_sample(gamma):
    X, y = line()
    weight = np.ones(60)
    weight[:10] = 2
    repeated = np.r_[np.arange(60), np.arange(10)]
    weighter = AdaptiveWeighter(LinearRegression(), gamma=gamma)
    weights = weighter.fit_transform(X, y, weight)
    expected = weighter.fit_transform(X[repeated], y[repeated])[:60]
    assert_allclose(weights, expected, atol=1e-9)


@pytest.mark.parametrize("gamma", [0, 0.1])
def test_weighter_weight_zero_is_an_absent_sample(gamma):
    X, y = line()
    y[:3] += 30
    weight = np.ones(60)
    weight[:3] = 0
    weighter = AdaptiveWeighter(LinearRegression(), gamma=gamma)
    weights = weighter.fit_transform(X, y, weight)
    expected = weighter.fit_transform(X[3:], y[3:])
    assert_allclose(weights[3:], expected, atol=1e-9)


@pytest.mark.parametrize("regressor", [None, Ridge()])
@pytest.mark.parametrize("value", [0.0, 0.1, 5.0])
@pytest.mark.parametrize(("bias_score", "atol"), [("minmax", 0), ("mixture", 1e-4)])
def test_constant_labels_are_all_normal(regressor, value, bias_score, atol):
    X, _ = line()
    weighter = AdaptiveWeighter(regressor, bias_score=bias_score)
    assert_allclose(weighter.fit_transform(X, np.full(60, value)), 1, atol=atol)


def test_several_labels():
    X, y = line()
    labels = np.column_stack([y, X[:, 0] ** 2])
    weighter = AdaptiveWeighter(Ridge()).fit(X, labels)
    assert weighter.label_mean_.shape == weighter.label_scale_.shape == (2,)
    each = [AdaptiveWeighter(Ridge()).fit_transform(X, labels[:, k]) for k in range(2)]
    assert_allclose(weighter.transform(X, labels), np.mean(each, axis=0), atol=1e-9)
    assert isinstance(AdaptiveWeighter().fit(X, labels).regressor_, MultiOutputRegressor)


def test_fit_leaves_the_regressor_alone():
    X, y = line()
    ridge = Ridge()
    weighter = AdaptiveWeighter(ridge).fit(X, y)
    assert not hasattr(ridge, "coef_")
    assert weighter.regressor is ridge


@pytest.mark.parametrize("gamma", [-0.1, 1.5, np.nan, "0.1", None])
def test_bad_gamma(gamma):
    with pytest.raises(ValueError, match=r"gamma=.*expected a number in \[0, 1\]"):
        AdaptiveWeighter(Ridge(), gamma=gamma).fit(*line())


@pytest.mark.parametrize("bandwidth", [0, -1.0, np.nan, "isj", None])
def test_bad_bandwidth(bandwidth):
    with pytest.raises(ValueError, match=r"bandwidth=.*'scott', 'silverman' or a positive"):
        AdaptiveWeighter(Ridge(), bandwidth=bandwidth).fit(*line())


def test_wrong_number_of_labels():
    X, y = line()
    weighter = AdaptiveWeighter(Ridge()).fit(X, y)
    with pytest.raises(ValueError, match="y has 2 labels per sample, but fit saw 1"):
        weighter.transform(X, np.column_stack([y, y]))


def test_unfitted():
    with pytest.raises(NotFittedError):
        AdaptiveWeighter().transform(*line())


@pytest.mark.parametrize("part", ["X", "y"])
def test_nan_is_refused(part):
    X, y = line()
    (X if part == "X" else y)[3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        AdaptiveWeighter(Ridge()).fit(X, y)
    weighter = AdaptiveWeighter(Ridge()).fit(*line())
    with pytest.raises(ValueError, match="NaN"):
        weighter.transform(X, y)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_weights_below_or_all_zero_are_refused(value):
    X, y = line()
    with pytest.raises(ValueError, match=r"(?i)sample.weight"):
        AdaptiveWeighter(Ridge()).fit(X, y, np.full(60, value))


# Parameters


@pytest.mark.parametrize(("label", "gamma"), [("teff", 0.0), ("logg", 0.1)])
def test_settings_of_the_paper(label, gamma):
    params = AdaptiveWeighter.paper(label).get_params()
    changed = {"gamma": gamma, "bias_score": "minmax", "cv": None}
    assert params == {**AdaptiveWeighter().get_params(), **changed}
    assert AdaptiveWeighter.paper().gamma == 0


def test_settings_of_the_paper_can_be_changed():
    weighter = AdaptiveWeighter.paper("logg", gamma=0.4, cv=3, bias_score="mixture")
    assert (weighter.gamma, weighter.cv, weighter.bias_score) == (0.4, 3, "mixture")


@pytest.mark.parametrize("label", ["mass", "Teff", None, 1])
def test_label_without_settings_in_the_paper(label):
    with pytest.raises(ValueError, match=r"label=.*: expected one of \['logg', 'teff'\]"):
        AdaptiveWeighter.paper(label)


@pytest.mark.parametrize(
    "params",
    [
        {"bias_score": "minmax"},
        {"gamma": 0.3},
        {"gamma": 0.3, "bandwidth": 0.1},
        {"gamma": 0.3, "bandwidth": "silverman"},
        {"gamma": 0.3, "phi1": "log1p"},
        {"phi2": "step"},
        {"phi2": "square", "bias_score": "minmax"},
        {"phi2": lambda beta: 0.5 * (1 - beta)},
    ],
)
def test_parameters_reach_the_function(params):
    X, y = line()
    y += 0.1 * np.random.default_rng(1).standard_t(2, 60)  # anomalies of all sizes
    labels, fitted = standardised(y, None, Ridge().fit(X, y).predict(X))
    expected = adaptive_weights(labels, fitted, **{"bias_score": "mixture", **params})
    weights = AdaptiveWeighter(Ridge(), **params).fit_transform(X, y)
    assert_allclose(weights, expected, rtol=1e-7, atol=1e-9)
    default = AdaptiveWeighter(Ridge()).fit_transform(X, y)
    assert np.abs(weights - default).max() > 1e-3


@pytest.mark.parametrize("name", ["bias_score", "phi1", "phi2"])
def test_unknown_name_of_a_function(name):
    with pytest.raises(ValueError, match=f"{name}='cube': expected one of"):
        AdaptiveWeighter(Ridge(), **{name: "cube"}).fit(*line())


# Residuals of samples that the first stage did not see


@pytest.mark.parametrize("gamma", [0, 0.1])
@pytest.mark.parametrize("weight", [np.ones(60), np.arange(60) % 4], ids=["equal", "unequal"])
def test_out_of_fold_weights_against_a_plain_loop(plain_weights, gamma, weight):
    X, y = line()
    predictions, rows = plain_out_of_fold(learned_by_heart(), X, y, weight, KFold(4))
    labels, predictions = standardised(y[rows.source], rows.weight, predictions)
    expected = plain_weights(labels, predictions, gamma=gamma, sample_weight=rows.weight)
    weighter = AdaptiveWeighter.paper(regressor=learned_by_heart(), gamma=gamma, cv=4)
    weights = weighter.fit_transform(X, y, weight)
    counted = rows.inverse >= 0
    assert_array_equal(counted, weight > 0)
    assert_allclose(weights[counted], expected[rows.inverse[counted]], rtol=1e-9, atol=1e-12)
    assert not weights[~counted].any()


def test_new_samples_are_judged_by_out_of_fold_residuals(plain_weights):
    X, y = line(80)
    weighter = AdaptiveWeighter.paper(regressor=learned_by_heart(), gamma=0.1, cv=4)
    weighter.fit(X[:60], y[:60])
    predictions, rows = plain_out_of_fold(learned_by_heart(), X[:60], y[:60], np.ones(60), KFold(4))
    y_train, every = y[rows.source], learned_by_heart().fit(X[:60], y[:60])
    assert_array_equal(weighter.regressor_.predict(X), every.predict(X))
    labels, *rest = standardised(y_train, None, predictions, y[60:], every.predict(X[60:]))
    expected = plain_weights(*rest[1:], train=(labels, rest[0]), gamma=0.1)
    assert_allclose(weighter.transform(X[60:], y[60:]), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make", [AdaptiveWeighter, AdaptiveWeighter.paper])
def test_wrong_labels_learned_by_heart_are_found_out_of_fold(make):
    X, y = line(200)
    wrong = [5, 77, 150]
    y[wrong] += 20
    in_sample = make(regressor=learned_by_heart()).fit_transform(X, y)
    assert in_sample.min() > 0.99
    weights = make(regressor=learned_by_heart(), cv=5).fit_transform(X, y)
    assert weights[wrong].max() < 0.1
    assert np.median(weights) > 0.9


@pytest.mark.parametrize("make", [AdaptiveWeighter, AdaptiveWeighter.paper])
def test_new_samples_after_a_fit_that_left_no_residuals(make):
    X, y = line(80)
    weighter = make(regressor=learned_by_heart()).fit(X[:60], y[:60])
    assert_allclose(weighter.transform(X[:60], y[:60]), 1, atol=1e-4)
    weights = weighter.transform(X[60:], y[60:])
    assert np.isfinite(weights).all()
    assert weights.max() < 1


@pytest.mark.parametrize("cv", [3, KFold(3), KFold(3, shuffle=True, random_state=0)])
def test_repeated_samples_share_a_fold(cv):
    X, y = line()
    y[4] += 20
    weight = np.ones(60)
    weight[:10], weight[10:15] = 2, 0
    repeated = np.r_[np.arange(10), np.arange(10), np.arange(15, 60)]
    weighter = AdaptiveWeighter(learned_by_heart(), gamma=0.1, cv=cv)
    weights = weighter.fit_transform(X, y, weight)
    assert_array_equal(weighter.fit_transform(X[repeated], y[repeated]), weights[repeated])
    assert weights.argsort()[5] == 4  # after the five of weight zero, although it is repeated
    assert_array_equal(weights[10:15], 0)


@pytest.mark.parametrize("cv", [3, KFold(3), KFold(3, shuffle=True, random_state=0)])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_order_of_the_samples_does_not_matter_out_of_fold(cv, n_outputs):
    X, y = line()
    y = np.column_stack([y, X[:, 0] ** 2])[:, :n_outputs]
    weight, snr = np.random.default_rng(1).uniform(0.5, 2, (2, 60))
    order = np.random.default_rng(0).permutation(60)
    weighter = AdaptiveWeighter(learned_by_heart(), cv=cv)
    expected = weighter.fit_transform(X, y, weight, y_err=0.1 + 0 * y, snr=snr)[order]
    permuted = weighter.fit_transform(
        X[order], y[order], weight[order], y_err=0.1 + 0 * y, snr=snr[order]
    )
    assert_array_equal(permuted, expected)


def test_number_of_folds_is_short_for_a_splitter():
    X, y = line()
    by_number = AdaptiveWeighter(Ridge(), cv=3).fit_transform(X, y)
    assert_array_equal(AdaptiveWeighter(Ridge(), cv=KFold(3)).fit_transform(X, y), by_number)
    assert_array_equal(AdaptiveWeighter(Ridge(), cv=np.int64(3)).fit_transform(X, y), by_number)
    shuffled = AdaptiveWeighter(Ridge(), cv=KFold(3, shuffle=True, random_state=0))
    assert not np.array_equal(shuffled.fit_transform(X, y), by_number)


def test_more_folds_than_distinct_samples_leave_one_out(plain_weights):
    X, y = line(8)
    predictions, rows = plain_out_of_fold(Ridge(), X, y, np.ones(8), LeaveOneOut())
    labels, predictions = standardised(y[rows.source], None, predictions)
    expected = plain_weights(labels, predictions)[rows.inverse]
    weighter = AdaptiveWeighter.paper(regressor=Ridge(), cv=100)
    assert_allclose(weighter.fit_transform(X, y), expected, rtol=1e-9, atol=1e-12)
    thrice = weighter.fit_transform(np.tile(X, (3, 1)), np.tile(y, 3))
    assert_allclose(thrice, np.tile(expected, 3), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cv", [2, KFold(2)])
def test_one_distinct_sample_has_no_folds(cv):
    with pytest.raises(ValueError, match=r"There is one distinct sample .* Try cv=None"):
        AdaptiveWeighter(Ridge(), cv=cv).fit(np.ones((5, 2)), np.ones(5))


@pytest.mark.parametrize(
    "cv",
    [
        *(1, 0, -3, True, 2.5, "kfold", [], [(np.arange(30), np.arange(30, 60))], KFold),
        *(ShuffleSplit(3), TimeSeriesSplit(3), GroupKFold(3), RepeatedKFold(n_splits=2)),
    ],
)
def test_bad_cv(cv):
    with pytest.raises(
        ValueError, match=r"(?s)cv=.*expected 'auto', None, a number of folds of at least 2, or"
    ):
        AdaptiveWeighter(Ridge(), cv=cv).fit(*line())


@pytest.mark.parametrize("verbose", [0, 1])
def test_progress_bar_over_the_folds(verbose, capsys):
    AdaptiveWeighter(Ridge(), cv=3, verbose=verbose).fit(*line())
    shown = capsys.readouterr()
    assert shown.out == ""
    assert ("3/3" in shown.err and "first stage" in shown.err) == bool(verbose)
    assert bool(shown.err) == bool(verbose)


def test_no_progress_bar_without_folds(capsys):
    AdaptiveWeighter(Ridge(), verbose=1).fit(*line())
    assert capsys.readouterr().err == ""


# First stages


@pytest.mark.parametrize(
    "regressor",
    [
        KNeighborsRegressor(2),
        TransformedTargetRegressor(KNeighborsRegressor(2)),
        GridSearchCV(KNeighborsRegressor(), {"n_neighbors": [2, 5]}, cv=3),
    ],
    ids=["itself", "transformed", "searched"],
)
@pytest.mark.parametrize("cv", [None, 3])
def test_first_stage_that_takes_no_weights(regressor, cv):
    X, y = line()
    weighter = AdaptiveWeighter(regressor, cv=cv)
    weights = weighter.fit_transform(X, y)
    assert_array_equal(weighter.fit_transform(X, y, np.full(60, 3.0)), weights)
    with pytest.raises(ValueError, match=r"The first stage, .*, takes no sample_weight, but"):
        weighter.fit(X, y, np.arange(1.0, 61))
    once_more = np.r_[np.arange(60), 0]
    with pytest.raises(ValueError, match="the samples have weights or are repeated"):
        weighter.fit(X[once_more], y[once_more])


@pytest.mark.parametrize(
    "regressor",
    [
        TransformedTargetRegressor(),
        TransformedTargetRegressor(Ridge(1e-3)),
        GridSearchCV(TransformedTargetRegressor(Ridge()), {"regressor__alpha": [1e-3]}, cv=3),
    ],
    ids=["default", "transformed", "searched"],
)
def test_wrapped_first_stage_takes_weights(regressor):
    X, y = line()
    weight = np.arange(1.0, 61)
    fitted = AdaptiveWeighter(regressor).fit(X, y, weight).regressor_
    expected = LinearRegression().fit(X, y, weight).predict(X)
    assert_allclose(fitted.predict(X), expected, atol=1e-3)
    assert np.abs(LinearRegression().fit(X, y).predict(X) - expected).max() > 5e-3


def test_default_first_stage_takes_nan():
    X, y = line(100)
    X[::7, 1] = np.nan
    y[[3, 50]] += 10
    for labels in (y, np.column_stack([y, y])):
        for cv in (None, 3):
            weights = AdaptiveWeighter(cv=cv).fit_transform(X, labels)
            assert set(weights.argsort()[:2]) == {3, 50}
    twice = AdaptiveWeighter(cv=3).fit_transform(np.r_[X, X], np.r_[y, y])
    assert_array_equal(twice[:100], AdaptiveWeighter(cv=3).fit_transform(X, y))


@pytest.mark.parametrize("where", ["fit", "transform"])
def test_infinite_features_are_refused_by_every_first_stage(where):
    X, y = line()
    bad = np.where(np.arange(180).reshape(60, 3) == 7, np.inf, X)
    for regressor in (None, Ridge()):
        weighter = AdaptiveWeighter(regressor).fit(X, y)
        with pytest.raises(ValueError, match="infinity"):
            getattr(weighter, where)(bad, y)


def test_first_stage_knows_the_columns_of_a_frame():
    pd = pytest.importorskip("pandas")
    X, y = line()
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    for cv in (None, 3):
        weighter = AdaptiveWeighter(Ridge(), cv=cv)
        weights = weighter.fit_transform(frame, y)
        assert list(weighter.feature_names_in_) == ["a", "b", "c"]
        assert list(weighter.regressor_.feature_names_in_) == ["a", "b", "c"]
        assert_allclose(AdaptiveWeighter(Ridge(), cv=cv).fit_transform(X, y), weights, atol=1e-12)


@pytest.mark.parametrize("cv", [None, 3])
def test_features_in_single_precision(cv):
    X, y = line(100)
    y[[3, 50]] += 10
    X = X.astype(np.float32)
    weights = AdaptiveWeighter(LinearRegression(), cv=cv).fit_transform(X, y)
    assert weights.dtype == np.float64
    assert set(weights.argsort()[:2]) == {3, 50}
    if cv is None:
        double = AdaptiveWeighter(LinearRegression()).fit_transform(X.astype(float), y)
        assert_allclose(weights, double, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int8])
def test_labels_of_another_type(dtype):
    X, y = line()
    y = (10 * y).astype(dtype)
    weighter = AdaptiveWeighter(LinearRegression(), gamma=0.1, cv=3)
    weights = weighter.fit_transform(X, y)
    assert_allclose(weights, weighter.fit_transform(X, y.astype(float)), atol=1e-4)


@pytest.mark.parametrize("cv", [None, 3])
def test_several_labels_have_the_mean_of_their_weights(cv):
    X, y = line()
    labels = np.column_stack([y, 1000 * X[:, 0] ** 2])
    errors = np.random.default_rng(0).uniform(0.1, 0.5, (60, 2)) * [1, 1000]
    weighter = AdaptiveWeighter(LinearRegression(), gamma=0.1, cv=cv)
    weights = weighter.fit_transform(X, labels, y_err=errors)
    each = [weighter.fit_transform(X, labels[:, k], y_err=errors[:, k]) for k in range(2)]
    assert_allclose(weights, np.mean(each, axis=0), atol=1e-9)


def test_default_first_stage_is_boosting_for_each_label():
    X, y = line()
    assert isinstance(AdaptiveWeighter().fit(X, y).regressor_, HistGradientBoostingRegressor)
    one_column = AdaptiveWeighter(cv=3).fit_transform(X, y[:, None])
    assert_array_equal(one_column, AdaptiveWeighter(cv=3).fit_transform(X, y))


@pytest.mark.parametrize("cv", [None, 3])
@pytest.mark.parametrize(
    ("bias_score", "value", "atol"),
    [("minmax", 8.0, 0), ("mixture", 8.0, 1e-4), ("mixture", 7.1, 1e-3)],
)
def test_constant_labels_with_errors_are_all_normal(cv, bias_score, value, atol):
    X, _ = line()
    y_err = np.random.default_rng(0).uniform(0, 1, 60)
    weighter = AdaptiveWeighter(learned_by_heart(), bias_score=bias_score, cv=cv)
    weights = weighter.fit_transform(X, np.full(60, value), y_err=y_err)
    assert_allclose(weights, 1, atol=atol)


# Errors of the labels and signal-to-noise ratios


def known(n_samples=60, seed=3):
    """Make errors of labels, in their units, and S/N."""
    rng = np.random.default_rng(seed)
    return {"y_err": rng.uniform(0.05, 0.5, n_samples), "snr": rng.uniform(2, 50, n_samples)}


def in_kelvin(extra):
    return {**extra, "y_err": 1000 * extra["y_err"]}


def some(extra, rows):
    return {name: values[rows] for name, values in extra.items()}


def test_errors_and_snr_are_handed_on_in_standardised_units():
    X, y = line()
    X_new, y_new, extra = *line(20, seed=1), known()
    new = known(20, seed=4)
    weighter = AdaptiveWeighter(Ridge(), gamma=0.1).fit(X, 1000 * y, **in_kelvin(extra))
    fitted = Ridge().fit(X, y)
    labels, *rest = standardised(y, None, fitted.predict(X), y_new, fitted.predict(X_new))
    expected = adaptive_weights(
        *rest[1:],
        train=(labels, rest[0], extra["y_err"] / y.std(), extra["snr"]),
        gamma=0.1,
        bias_score="mixture",
        y_err=new["y_err"] / y.std(),
        snr=new["snr"],
    )
    weights = weighter.transform(X_new, 1000 * y_new, **in_kelvin(new))
    assert_allclose(weights, expected, atol=1e-7)


@pytest.mark.parametrize("bias_score", ["minmax", "mixture"])
@pytest.mark.parametrize("cv", [None, 3])
def test_unit_of_labels_and_errors_does_not_matter(bias_score, cv):
    X, y = line()
    extra = known()
    if bias_score == "minmax":
        del extra["snr"]
    weighter = AdaptiveWeighter(LinearRegression(), gamma=0.1, bias_score=bias_score, cv=cv)
    expected = weighter.fit_transform(X, y, **extra)
    scaled = weighter.fit_transform(X, 1000 * y, **in_kelvin(extra))
    assert_allclose(scaled, expected, atol=1e-8)
    forgot_the_errors = weighter.fit_transform(X, 1000 * y, **extra)
    assert np.abs(forgot_the_errors - expected).max() > 1e-3


@pytest.mark.parametrize("names", [("y_err",), ("snr",), ("y_err", "snr")])
def test_fit_transform_with_errors_and_snr_equals_fit_then_transform(names):
    X, y = line()
    extra = {name: known()[name] for name in names}
    weight = np.linspace(0.5, 2, 60)
    weighter = AdaptiveWeighter(Ridge(), gamma=0.1)
    both = weighter.fit_transform(X, y, weight, **extra)
    assert_array_equal(weighter.fit(X, y, weight, **extra).transform(X, y, **extra), both)
    part = weighter.transform(X[:7], y[:7], **some(extra, slice(7)))
    assert_allclose(part, both[:7], rtol=1e-9)


def test_wrong_label_is_excused_by_its_error():
    X, y = line(200)
    y[[5, 77]] += 1
    y_err = np.full(200, 0.1)
    y_err[5] = 1.0
    for cv in (None, 5):
        weights = AdaptiveWeighter(Ridge(), cv=cv).fit_transform(X, y, y_err=y_err)
        assert weights[5] > 0.9
        assert weights[77] < 0.1
        assert AdaptiveWeighter(Ridge(), cv=cv).fit_transform(X, y)[5] < 0.1


@pytest.mark.parametrize("cv", [None, 3])
def test_errors_and_snr_follow_repeated_and_dropped_samples(cv):
    X, y = line()
    extra, weight = known(), np.ones(60)
    weight[:10], weight[10:15] = 2, 0
    repeated = np.r_[np.arange(10), np.arange(10), np.arange(15, 60)]
    weighter = AdaptiveWeighter(Ridge(), gamma=0.1, cv=cv)
    weights = weighter.fit_transform(X, y, weight, **extra)
    again = weighter.fit_transform(X[repeated], y[repeated], **some(extra, repeated))
    assert_array_equal(again, weights[repeated])


@pytest.mark.parametrize("name", ["y_err", "snr"])
def test_samples_that_differ_in_what_is_known_are_not_merged(name):
    X, y = line(200)
    X[1], y[:2] = X[0], X[0] @ [1.0, -2.0, 0.5] + 1.0
    extra = {"y_err": np.full(200, 0.1), "snr": np.full(200, 20.0)}
    first, second = {"y_err": (1.0, 0.1), "snr": (5.0, 20.0)}[name]
    extra[name][:2] = first, second
    weighter = AdaptiveWeighter(Ridge()).fit(X, y, **extra)
    assert len(weighter._train_weight) == 200
    weights = weighter.fit_transform(X, y, **extra)
    if name == "y_err":
        assert weights[0] > 0.9 > 0.1 > weights[1]


@pytest.mark.parametrize("name", ["y_err", "snr"])
def test_errors_and_snr_are_known_in_both_or_neither(name):
    X, y = line()
    extra = {name: known()[name]}
    with pytest.raises(ValueError, match=f"{name} is known for the training set only"):
        AdaptiveWeighter(Ridge()).fit(X, y, **extra).transform(X, y)
    with pytest.raises(ValueError, match=f"{name} is known for these samples only"):
        AdaptiveWeighter(Ridge()).fit(X, y).transform(X, y, **extra)


@pytest.mark.parametrize("method", ["fit", "fit_transform", "transform"])
def test_bad_errors_and_snr(method):
    X, y = line()
    call = getattr(AdaptiveWeighter(Ridge()).fit(X, y, **known()), method)
    for name, value, match in [
        ("y_err", np.ones(59), r"y_err has shape \(59,\): expected that of y, \(60,\)"),
        ("y_err", np.ones((60, 1)), r"y_err has shape \(60, 1\)"),
        ("y_err", np.full(60, -1.0), "y_err holds negative"),
        ("snr", np.ones(59), r"snr has shape \(59,\): expected \(60,\)"),
        ("snr", np.zeros(60), "snr holds .* not above 0"),
    ]:
        with pytest.raises(ValueError, match=match):
            call(X, y, **{**known(), name: value})


def test_weights_of_the_paper_take_no_notice_of_the_snr():
    X, y = line()
    weighter = AdaptiveWeighter.paper("logg", regressor=Ridge())
    weights = weighter.fit_transform(X, y, snr=known()["snr"])
    assert_allclose(weights, weighter.fit_transform(X, y), rtol=1e-12)


# Copies


@pytest.mark.parametrize("cv", [None, 3, KFold(3)])
def test_pickled_weighter_gives_the_same_weights(cv):
    X, y = line()
    weighter = AdaptiveWeighter(Ridge(), gamma=0.1, cv=cv).fit(X, y, **known())
    again = pickle.loads(pickle.dumps(weighter))
    assert_array_equal(again.transform(X, y, **known()), weighter.transform(X, y, **known()))


def test_clone_has_the_parameters_and_is_not_fitted():
    X, y = line()
    params = {"gamma": 0.3, "phi1": np.sqrt, "phi2": "step", "cv": 4, "verbose": 0}
    weighter = AdaptiveWeighter(Ridge(0.5), **params).fit(X, y)
    copy = clone(weighter)
    assert {name: copy.get_params()[name] for name in params} == params
    assert copy.regressor.alpha == 0.5
    with pytest.raises(NotFittedError):
        copy.transform(X, y)
    assert_array_equal(copy.fit(X, y).transform(X, y), weighter.transform(X, y))


def test_nothing_that_is_passed_is_changed():
    X, y = line()
    given = (X, y, np.linspace(0, 2, 60), *known().values())
    before = [part.copy() for part in given]
    for part in given:
        part.flags.writeable = False
    X, y, weight, y_err, snr = given
    AdaptiveWeighter(Ridge(), gamma=0.1, cv=3).fit_transform(X, y, weight, y_err=y_err, snr=snr)
    for part, original in zip(given, before, strict=True):
        assert_array_equal(part, original)


def test_rounding_of_constant_labels_is_no_anomaly():
    X, _ = line()
    tree = DecisionTreeRegressor(random_state=0)
    errors = np.random.default_rng(0).uniform(0.1, 1, 60)
    for known in ({}, {"y_err": errors}):
        weighter = AdaptiveWeighter.paper(regressor=tree, cv=3)
        assert_allclose(weighter.fit_transform(X, np.full(60, 7.1), **known), 1, rtol=1e-9)


def test_paper_settings_of_no_label():
    with pytest.raises(ValueError, match=r"label=\['teff'\]: expected one of"):
        AdaptiveWeighter.paper(["teff"])
