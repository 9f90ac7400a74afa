"""predict_dist: distributions from whatever an estimator is wrapped in."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted, validate_data

from skestnet._adapters import LIBRARIES, AdapterTable, NoDistributionError, find_adapter
from skestnet._distribution import PredictiveDistribution
from skestnet._quantiles import even_normals

FloatArray = NDArray[np.float64]

# How far from the centre of a distribution a target transformation must be straight.
PROBED_SIGMAS = 5.0


# So many draws can be in order by chance.
FEW_DRAWS = 8


@singledispatch
def predict_dist(fitted: Any, X: ArrayLike, **params: Any) -> PredictiveDistribution:
    """Predict distributions with a fitted estimator, through what it is wrapped in.

    Wrappers forward `predict` only; this function reaches through them and understands:

    - any estimator with a `predict_dist` method, as those of skestnet have;
    - pipelines, searches (:class:`~sklearn.model_selection.GridSearchCV` and its like) and
      :class:`~sklearn.frozen.FrozenEstimator`;
    - :class:`~sklearn.compose.TransformedTargetRegressor`: under an affine transformation of each
      label the components stay what they are. Under any other, 1000 evenly spread draws are
      transformed; which part is epistemic and which aleatoric can then no longer be told;
    - a `predict` that takes `return_std`, as Gaussian processes and Bayesian linear models have:
      normal distributions;
    - random forests and extremely randomised trees of scikit-learn: each tree is a draw;
    - :class:`~sklearn.ensemble.BaggingRegressor` and :class:`~sklearn.ensemble.VotingRegressor`:
      the mixture of the members' distributions. The prediction of a member without a distribution
      is a draw;
    - :class:`~sklearn.multioutput.MultiOutputRegressor`: the distributions of the labels together,
      without correlation where they are known by quantiles;
    - NGBoost's `NGBRegressor`, also with `MultivariateNormal`, whose correlations are kept;
    - CatBoost with the loss 'RMSEWithUncertainty' (with `posterior_sampling=True` virtual
      ensembles tell the epistemic part; their mean is not quite that of `predict`) or
      'MultiQuantile';
    - XGBoost with the objective 'reg:quantileerror' and several levels;
    - the conformal regressors of MAPIE 1: bounds at the confidence levels given to them are
      quantiles and the point prediction is the median. One level makes a two-piece normal
      distribution; several describe more.

    Regressors that estimate a single quantile, such as LightGBM's, go into
    :class:`~skestnet.MultiQuantileRegressor`.

    Parameters
    ----------
    fitted : estimator
        Fitted estimator. Users can teach the function further types by
        ``predict_dist.register``.
    X : array-like of shape (n_samples, n_features)
        Samples, as `fitted.predict` takes them.
    **params : object
        Passed on to the estimator's `predict_dist`, for example `n_draws` and `random_state`; or
        to its `predict` beside `return_std`; or to the library's own method, for example
        `virtual_ensembles_count` for CatBoost. Ensembles pass them to each member.

    Returns
    -------
    PredictiveDistribution
        One distribution for each sample, in the units of the labels.

    Raises
    ------
    TypeError
        If the estimator at the core can give no distribution, or is a class.
    ValueError
        If the inverse of a target transformation is not finite where the distributions are, or
        the members of an ensemble have unequal weights.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skestnet import predict_dist
    >>> X = np.arange(10.0).reshape(-1, 1)
    >>> model = make_pipeline(StandardScaler(), BayesianRidge()).fit(X, 2 * X.ravel())
    >>> predict_dist(model, X[:2])
    PredictiveDistribution(shape=(2,), n_draws=1)
    """
    if inspect.isclass(fitted):
        name = fitted.__name__
        raise TypeError(f"{name} is a class: expected a fitted instance, {name}(...).fit(X, y).")
    if hasattr(fitted, "predict_dist"):
        return fitted.predict_dist(X, **params)
    adapter = find_adapter(fitted, ADAPTERS)
    if adapter is not None:
        return adapter(fitted, X, **params)
    predict = getattr(fitted, "predict", None)
    if predict is None and hasattr(X, "predict"):
        raise TypeError(
            f"{type(fitted).__name__} predicts nothing, but {type(X).__name__} does: are the "
            "arguments swapped? Expected predict_dist(model, X)."
        )
    if predict is None or "return_std" not in inspect.signature(predict).parameters:
        raise NoDistributionError(
            f"{type(fitted).__name__} gives no distributions: expected an estimator with a "
            "predict_dist method or predict(X, return_std=True), or another of those that the "
            "docstring of skestnet.predict_dist lists. Quantile regressors go into "
            "MultiQuantileRegressor. Teach the function others with "
            "skestnet.predict_dist.register(type)."
        )
    check_is_fitted(fitted)
    mean, std = predict(X, return_std=True, **params)
    return PredictiveDistribution(np.expand_dims(mean, 1), np.expand_dims(std, 1))


@predict_dist.register
def _(fitted: Pipeline, X: ArrayLike, **params: Any) -> PredictiveDistribution:
    return predict_dist(fitted[-1], fitted[:-1].transform(X) if len(fitted) > 1 else X, **params)


@predict_dist.register
def _(fitted: BaseSearchCV, X: ArrayLike, **params: Any) -> PredictiveDistribution:
    check_is_fitted(fitted, "best_estimator_")
    return predict_dist(fitted.best_estimator_, X, **params)


@predict_dist.register
def _(fitted: FrozenEstimator, X: ArrayLike, **params: Any) -> PredictiveDistribution:
    return predict_dist(fitted.estimator, X, **params)


# Ensembles


def _bagging(fitted: Any, X: ArrayLike, **params: Any) -> PredictiveDistribution:
    check_is_fitted(fitted)
    checked = validate_data(
        fitted,
        X,
        reset=False,
        accept_sparse=["csr", "csc"],
        dtype=None,
        ensure_all_finite=False,
    )
    members = zip(fitted.estimators_, fitted.estimators_features_, strict=True)
    return PredictiveDistribution.mixture(
        [_member(member, checked[:, features], params) for member, features in members]
    )


def _voting(fitted: Any, X: ArrayLike, **params: Any) -> PredictiveDistribution:
    check_is_fitted(fitted)
    weights = fitted._weights_not_none
    if weights is not None and np.ptp(weights) > 0:
        raise ValueError(
            f"VotingRegressor(weights={fitted.weights!r}): expected None or equal weights, since "
            "the components of a PredictiveDistribution are equally likely. For whole-numbered "
            "weights, mix the members by hand, each as often as its weight: "
            "PredictiveDistribution.mixture([a, a, b])."
        )
    return PredictiveDistribution.mixture(
        [_member(member, X, params) for member in fitted.estimators_]
    )


def _member(fitted: Any, X: Any, params: dict[str, Any]) -> PredictiveDistribution:
    """Predict by a member of an ensemble, which need not have distributions: it is one of many."""
    try:
        return predict_dist(fitted, X, **params)
    except NoDistributionError as error:
        if params:
            raise TypeError(
                f"{type(fitted).__name__}, a member of the ensemble, gives no distributions and "
                f"cannot be passed {', '.join(params)}: leave such parameters out."
            ) from error
        return PredictiveDistribution(np.expand_dims(fitted.predict(X), 1))


def _multi_output(fitted: Any, X: ArrayLike, **params: Any) -> PredictiveDistribution:
    check_is_fitted(fitted)
    return _side_by_side([predict_dist(label, X, **params) for label in fitted.estimators_])


def _side_by_side(labels: Sequence[PredictiveDistribution]) -> PredictiveDistribution:
    """Join distributions of one label each; components are paired as they come.

    Quantiles come sorted, and pairing low with low would make labels that were fitted apart depend
    on each other: theirs are spread evenly.
    """
    n_draws = math.lcm(*(label.n_draws for label in labels))
    order = even_normals(n_draws, len(labels)).argsort(axis=0)
    joined = []
    for k, label in enumerate(labels):
        # Tiles, not repeats: those of coprime numbers of draws make up all pairs.
        columns = np.arange(n_draws) % label.n_draws
        if label.n_draws > FEW_DRAWS and (np.diff(label.loc, axis=1) >= 0).all():
            columns = columns[order[:, k]]
        joined.append((label.loc[:, columns], label.scale[:, columns]))
    loc, scale = (np.stack(parts, axis=2) for parts in zip(*joined, strict=True))
    known = all(label.parts_known for label in labels)
    return PredictiveDistribution(loc, scale, parts_known=known)


# Not registered by type, so that a predict_dist method of a subclass comes first.
ADAPTERS: AdapterTable = {
    **LIBRARIES,
    ("sklearn", "BaggingRegressor"): _bagging,
    ("sklearn", "VotingRegressor"): _voting,
    ("sklearn", "MultiOutputRegressor"): _multi_output,
}


# Transformed targets


@predict_dist.register
def _(fitted: TransformedTargetRegressor, X: ArrayLike, **params: Any) -> PredictiveDistribution:
    check_is_fitted(fitted)
    inner = _as_trained(fitted, predict_dist(fitted.regressor_, X, **params))
    if not inner.scale.any():
        return _bent(fitted, inner)
    outer = _affine(fitted, inner)
    return _bent(fitted, inner.as_draws()) if outer is None else outer


def _as_trained(
    fitted: TransformedTargetRegressor, inner: PredictiveDistribution
) -> PredictiveDistribution:
    """Undo the squeeze of a single column of labels that scikit-learn before 1.7 makes."""
    if fitted._training_dim == 2 and inner.loc.ndim == 2:
        return inner._with(inner.loc[..., None], inner.scale[..., None])
    return inner


def _inverse(fitted: TransformedTargetRegressor, points: FloatArray) -> FloatArray:
    """Apply the inverse of the target transformation to points of shape (n_points, n_labels)."""
    outer = np.asarray(fitted.transformer_.inverse_transform(points), dtype=np.float64)
    return outer.reshape(len(points), -1)


def _bent(
    fitted: TransformedTargetRegressor, draws: PredictiveDistribution
) -> PredictiveDistribution:
    """Transform draws, which may be bent in any way; labels may be mixed, added or taken away."""
    points = draws.loc.reshape(len(draws) * draws.n_draws, -1)
    with np.errstate(all="ignore"):
        outer = _inverse(fitted, points).reshape(len(draws), draws.n_draws, -1)
    if not np.isfinite(outer).all():
        raise ValueError(
            "The inverse of the target transformation gives NaN or infinity for some draws of the "
            f"regressor, which lie between {points.min():.3g} and {points.max():.3g}: expected a "
            "TransformedTargetRegressor whose inverse function is finite there."
        )
    single = fitted._training_dim == 1 and outer.shape[2] == 1
    bent = outer[..., 0] if single else outer
    return PredictiveDistribution(bent, parts_known=draws.parts_known)


def _affine(
    fitted: TransformedTargetRegressor, inner: PredictiveDistribution
) -> PredictiveDistribution | None:
    """Transform components by a straight line for each label; None if it is anything else."""
    loc, scale = (a.reshape(len(inner), inner.n_draws, -1) for a in (inner.loc, inner.scale))
    centre = loc.mean(axis=(0, 1))
    reach = np.abs(loc - centre).max(axis=(0, 1)) + PROBED_SIGMAS * scale.max(axis=(0, 1))
    reach[reach == 0] = 1.0
    # One label is moved at a time, which shows whether the transformation mixes them.
    corners = centre + np.vstack([np.zeros_like(reach), np.diag(reach)])
    steps = (-PROBED_SIGMAS, 0.0, PROBED_SIGMAS)
    probed = np.concatenate([corners, *((loc + s * scale).reshape(-1, len(reach)) for s in steps)])
    # Where an inverse such as exp or sqrt overflows or is not defined, it is no straight line.
    with np.errstate(all="ignore"):
        seen = _inverse(fitted, probed)
        if seen.shape != probed.shape:
            return None
        factor = np.diagonal(seen[1 : len(corners)] - seen[0]) / reach
        offset = seen[0] - factor * centre
        line = factor * probed + offset
        straight = np.abs(seen - line) <= 1e-6 * np.ptp(line, axis=0) + 1e-12 * np.abs(line)
    if not straight.all():
        return None
    return inner.rescale(factor, offset) if inner.loc.ndim == 3 else inner.rescale(*factor, *offset)


# Errors of a call, such as that X is missing, then name what was called.
for _implementation in predict_dist.registry.values():
    _implementation.__qualname__ = "predict_dist"
