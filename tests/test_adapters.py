"""Distributions of other libraries' estimators, against what the libraries themselves say."""

import inspect
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    BaggingRegressor,
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, QuantileRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skestnet import _adapters, _predict_dist, predict_dist

LEVELS = [0.1, 0.5, 0.9]


@pytest.fixture(scope="module")
def plain():
    """Forty positive labels with a linear relation and noise."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 3))
    return X, 10 + X[:, 0] + 0.3 * rng.standard_normal(40)


@pytest.fixture(scope="module")
def two_labels(plain):
    X, y = plain
    noise = np.random.default_rng(1).standard_normal(40)
    return X, np.column_stack([y, X[:, 1] + 0.5 * (y - 10) + 0.3 * noise])


def test_nothing_is_imported():
    for module in (_adapters, _predict_dist):
        source = inspect.getsource(module)
        imported = re.findall(r"(?:import|from) (\w+)", source)
        assert "numpy" in imported
        assert not {"ngboost", "catboost", "xgboost", "mapie"} & set(imported)


# scikit-learn's forests


@pytest.mark.parametrize("forest", [RandomForestRegressor, ExtraTreesRegressor])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_forests(two_labels, forest, n_outputs):
    X, y = two_labels
    labels = y[:, 0] if n_outputs == 1 else y
    model = forest(9, max_depth=3, random_state=0).fit(X, labels)
    dist = predict_dist(make_pipeline("passthrough", model), X)
    assert dist.shape == labels.shape
    assert_array_equal(dist.loc[:, 4], model.estimators_[4].predict(X))
    assert_allclose(dist.mean(), model.predict(X))
    assert not dist.scale.any()


def test_forest_has_one_draw_per_tree(plain):
    model = RandomForestRegressor(3, random_state=0).fit(*plain)
    with pytest.raises(TypeError, match=r"RandomForestRegressor takes no n_draws .* n_estimators"):
        predict_dist(make_pipeline("passthrough", model), plain[0], n_draws=10)


def test_forest_of_a_data_frame(plain):
    pd = pytest.importorskip("pandas")
    X, y = plain
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    frame.iloc[0, 0] = np.nan
    model = RandomForestRegressor(3, random_state=0).fit(frame, y)
    assert_allclose(predict_dist(model, frame).mean(), model.predict(frame))
    with pytest.raises(ValueError, match="feature names should match"):
        predict_dist(model, frame[["b", "a", "c"]])


def test_single_trees_give_no_distribution(plain):
    model = GradientBoostingRegressor(loss="quantile", n_estimators=2).fit(*plain)
    with pytest.raises(TypeError, match=r"GradientBoosting.*MultiQuantileRegressor.*register"):
        predict_dist(model, plain[0])


# NGBoost


def ngboost_regressor(dist=None, **params):
    ngboost = pytest.importorskip("ngboost")
    chosen = {} if dist is None else {"Dist": dist}
    return ngboost.NGBRegressor(**chosen, n_estimators=5, verbose=False, random_state=0, **params)


def test_ngboost_normal(plain):
    X, y = plain
    model = ngboost_regressor().fit(X, y)
    dist = predict_dist(model, X)
    own = model.pred_dist(X)
    assert dist.n_draws == 1
    assert_array_equal(dist.mean(), own.loc)
    assert_array_equal(dist.std(), own.scale)
    assert_array_equal(dist.mean(), model.predict(X))
    early = predict_dist(model, X, max_iter=2)
    assert_array_equal(early.mean(), model.pred_dist(X, max_iter=2).loc)
    assert not np.allclose(early.mean(), dist.mean())


@pytest.mark.parametrize("name", ["LogNormal", "Laplace", "T", "Gamma", "Exponential"])
def test_ngboost_other_distributions(plain, name):
    distns = pytest.importorskip("ngboost.distns")
    X, y = plain
    model = ngboost_regressor(getattr(distns, name)).fit(X, y)
    dist, own = predict_dist(model, X), model.pred_dist(X)
    assert dist.shape == (40,)
    for q in (0.05, 0.5, 0.9, 0.99):
        assert_allclose(dist.ppf(q), own.ppf(q), rtol=2e-3)


def test_ngboost_several_labels(two_labels):
    distns = pytest.importorskip("ngboost.distns")
    X, y = two_labels
    model = ngboost_regressor(distns.MultivariateNormal(2)).fit(X, y)
    own = model.pred_dist(X)
    for dist in (predict_dist(model, X), predict_dist(model, X[:1])):
        assert dist.n_draws == 1
        assert_allclose(dist.covariance(), own.cov[: len(dist)])
        assert_allclose(dist.mean(), own.loc[: len(dist)])
    assert (np.abs(dist.covariance()[:, 0, 1]) > 0.01).all()


def test_ngboost_without_quantiles(plain):
    distns = pytest.importorskip("ngboost.distns")
    X, y = plain
    model = ngboost_regressor(distns.LogitNormal).fit(X, (y - y.min() + 1) / 20)
    with pytest.raises(TypeError, match=r"Dist=LogitNormal\) has no quantiles.*LogNormal"):
        predict_dist(model, X)


def test_ngboost_wrapped(plain):
    X, y = plain
    pipeline = make_pipeline(StandardScaler(), ngboost_regressor()).fit(X, y)
    scaled = StandardScaler().fit_transform(X)
    expected = pipeline[-1].pred_dist(scaled)
    assert_allclose(predict_dist(pipeline, X).std(), expected.scale)
    target = TransformedTargetRegressor(ngboost_regressor(), transformer=StandardScaler())
    target.fit(X, y)
    assert_allclose(predict_dist(target, X).mean(), target.predict(X))


def test_ngboost_unfitted(plain):
    with pytest.raises(NotFittedError, match="NGBRegressor is not fitted"):
        predict_dist(ngboost_regressor(), plain[0])


# CatBoost


def catboost_regressor(loss, **params):
    catboost = pytest.importorskip("catboost")
    return catboost.CatBoostRegressor(
        loss_function=loss,
        iterations=40,
        verbose=0,
        allow_writing_files=False,
        thread_count=1,
        random_seed=0,
        **params,
    )


def test_catboost_mean_and_variance(plain):
    X, y = plain
    model = catboost_regressor("RMSEWithUncertainty").fit(X, y)
    dist = predict_dist(make_pipeline("passthrough", model), X)
    mean, log_std = model.predict(X, prediction_type="RawFormulaVal").T
    assert dist.n_draws == 1
    assert_allclose(dist.mean(), mean)
    assert_allclose(dist.std(), np.exp(log_std))


def test_catboost_virtual_ensembles(plain):
    X, y = plain
    model = catboost_regressor("RMSEWithUncertainty", posterior_sampling=True).fit(X, y)
    dist = predict_dist(model, X, virtual_ensembles_count=4)
    assert dist.n_draws == 4
    mean, knowledge, data = model.virtual_ensembles_predict(
        X, prediction_type="TotalUncertainty", virtual_ensembles_count=4
    ).T
    assert_allclose(dist.mean(), mean)
    assert_allclose(dist.var("epistemic"), knowledge * 4 / 3)  # CatBoost divides by 4, not 3
    assert_allclose(dist.var("aleatoric"), data)
    assert predict_dist(model, X).n_draws == 10


@pytest.mark.parametrize("text", ["0.1,0.5,0.9", "0.9, 0.1,0.5;delta=1e-5"])
def test_catboost_quantiles(plain, text):
    X, y = plain
    model = catboost_regressor(f"MultiQuantile:alpha={text}").fit(X, y)
    dist = predict_dist(model, X)
    order = [0, 1, 2] if text.startswith("0.1") else [1, 2, 0]
    values = np.sort(model.predict(X)[:, order], axis=1)
    for q, expected in zip(LEVELS, values.T, strict=True):
        assert_allclose(dist.ppf(q), expected, atol=0.02)
    assert (dist.ppf(0.9) > dist.ppf(0.1)).all()


@pytest.mark.parametrize("loss", ["RMSE", "Quantile:alpha=0.3"])
def test_catboost_without_distribution(plain, loss):
    X, y = plain
    model = catboost_regressor(loss).fit(X, y)
    message = rf"loss_function='{loss}.*'RMSEWithUncertainty' or 'MultiQuantile:alpha="
    with pytest.raises(TypeError, match=message):
        predict_dist(model, X)
    bagging = BaggingRegressor(model, n_estimators=2, random_state=0).fit(X, y)
    assert_allclose(predict_dist(bagging, X).mean(), bagging.predict(X))


def test_catboost_loaded_from_a_file(plain, tmp_path):
    X, y = plain
    model = catboost_regressor("MultiQuantile:alpha=0.1,0.5,0.9").fit(X, y)
    model.save_model(tmp_path / "model.cbm")
    loaded = type(model)().load_model(tmp_path / "model.cbm")
    assert_array_equal(predict_dist(loaded, X).loc, predict_dist(model, X).loc)


def test_catboost_unfitted(plain):
    with pytest.raises(NotFittedError, match="CatBoostRegressor"):
        predict_dist(catboost_regressor("RMSEWithUncertainty"), plain[0])


# XGBoost


def xgboost_regressor(**params):
    xgboost = pytest.importorskip("xgboost")
    return xgboost.XGBRegressor(n_estimators=10, n_jobs=1, **params)


def test_xgboost_quantiles(plain, tmp_path):
    X, y = plain
    model = xgboost_regressor(objective="reg:quantileerror", quantile_alpha=LEVELS).fit(X, y)
    dist = predict_dist(model, X)
    values = np.sort(model.predict(X), axis=1)
    for q, expected in zip(LEVELS, values.T, strict=True):
        assert_allclose(dist.ppf(q), expected, atol=0.03)
    assert (dist.ppf(0.9) > dist.ppf(0.1)).any()
    model.save_model(tmp_path / "model.json")
    loaded = type(model)()
    loaded.load_model(tmp_path / "model.json")
    assert_array_equal(predict_dist(loaded, X).loc, dist.loc)


@pytest.mark.parametrize("params", [{}, {"objective": "reg:quantileerror", "quantile_alpha": 0.5}])
def test_xgboost_without_distribution(plain, params):
    X, y = plain
    model = xgboost_regressor(**params).fit(X, y)
    with pytest.raises(TypeError, match=r"use objective='reg:quantileerror' and several levels"):
        predict_dist(model, X)


def test_xgboost_unfitted(plain):
    with pytest.raises(NotFittedError, match="fit"):
        predict_dist(xgboost_regressor(), plain[0])


# MAPIE

CONFIDENCE = [0.9, 0.5, 0.8]


def conformal_regressors():
    """Make one of each kind, with its confidence levels."""
    mapie = pytest.importorskip("mapie.regression")
    # With these seeds no level crosses another.
    line, quantile = LinearRegression(), QuantileRegressor(alpha=0)
    jackknife = mapie.JackknifeAfterBootstrapRegressor
    crossed = mapie.CrossConformalizedQuantileRegressor
    return {
        "split": (mapie.SplitConformalRegressor(line, CONFIDENCE, prefit=False), CONFIDENCE),
        "cross": (
            mapie.CrossConformalRegressor(line, CONFIDENCE, cv=3, random_state=0),
            CONFIDENCE,
        ),
        "jackknife": (jackknife(line, CONFIDENCE, resampling=10, random_state=0), CONFIDENCE),
        "quantiles": (mapie.ConformalizedQuantileRegressor(quantile, 0.8), [0.8]),
        "cross quantiles": (crossed(quantile, [0.8, 0.5], cv=3, random_state=3), [0.8, 0.5]),
        "one level": (mapie.SplitConformalRegressor(line, 0.8, prefit=False), [0.8]),
    }


def conformalized(model, X, y):
    if hasattr(model, "fit_conformalize"):
        return model.fit_conformalize(X, y)
    return model.fit(X[:20], y[:20]).conformalize(X[20:], y[20:])


@pytest.mark.parametrize(
    "name", ["split", "cross", "jackknife", "quantiles", "cross quantiles", "one level"]
)
def test_mapie(plain, name):
    X, y = plain
    model, levels = conformal_regressors()[name]
    conformalized(model, X, y)
    dist = predict_dist(model, X)
    point, bounds = model.predict_interval(X)
    assert_allclose(dist.ppf(0.5), point, atol=0.01)
    for k, level in enumerate(levels):
        assert_allclose(dist.interval(level), bounds[:, :, k].T, atol=0.03)


def test_mapie_with_one_level_is_a_two_piece_normal(plain):
    model, _ = conformal_regressors()["quantiles"]
    conformalized(model, *plain)
    dist = predict_dist(model, plain[0])
    point, bounds = model.predict_interval(plain[0])
    low, high = np.abs(bounds[:, :, 0].T - point) / norm.ppf(0.9)
    assert not np.allclose(low, high, rtol=0.1)
    assert_allclose(dist.ppf(0.025), point + norm.ppf(0.025) * low, rtol=5e-4)
    assert_allclose(dist.ppf(0.7), point + norm.ppf(0.7) * high, rtol=5e-4)


def test_mapie_parameters(plain):
    X, y = plain
    model = conformalized(conformal_regressors()["cross"][0], X, y)
    dist = predict_dist(model, X, aggregate_point_predictions=None)
    whole = LinearRegression().fit(X, y).predict(X)
    assert_allclose(dist.ppf(0.5), whole, atol=0.01)
    with pytest.raises(ValueError, match=r"minimize_interval_width=True.*expected False"):
        predict_dist(model, X, minimize_interval_width=True)


@pytest.mark.parametrize("name", ["split", "cross", "jackknife", "quantiles", "cross quantiles"])
def test_mapie_not_conformalized(plain, name):
    with pytest.raises(ValueError, match=r"call .*conformalize before"):
        predict_dist(conformal_regressors()[name][0], plain[0])
