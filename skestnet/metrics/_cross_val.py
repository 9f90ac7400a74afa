"""cross_val_predict_dist: the distribution of each sample by a model that did not see it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch, indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _check_method_params, _num_samples

from skestnet._distribution import PredictiveDistribution
from skestnet._predict_dist import predict_dist

Indices = NDArray[np.intp]


def cross_val_predict_dist(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    cv: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: dict[str, Any] | None = None,
    predict_params: dict[str, Any] | None = None,
) -> PredictiveDistribution:
    """Predict the distribution of each sample by an estimator that was fitted without it.

    What :func:`sklearn.model_selection.cross_val_predict` is for predictions, by way of
    :func:`skestnet.predict_dist`.

    Parameters
    ----------
    estimator : estimator
        Regressor of a kind that :func:`skestnet.predict_dist` knows; it is cloned for each fold.
    X : array-like of shape (n_samples, n_features)
        Samples.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Labels.
    groups : array-like of shape (n_samples,), default=None
        Groups of samples for a splitter such as :class:`~sklearn.model_selection.GroupKFold`: all
        spectra of one star, for instance. Where metadata routing is enabled, pass
        ``params={"groups": groups}`` instead.
    cv : int, splitter or iterable of (train, test), default=None
        Folds, of which each sample has to be in exactly one test set. None stands for five, an
        integer for so many, without shuffling.
    n_jobs : int, default=None
        Number of folds to fit in parallel; None means 1 unless a
        :func:`joblib.parallel_config` context says otherwise, and -1 all processors.
    verbose : int, default=0
        How much joblib reports.
    params : dict, default=None
        Passed to the estimator's `fit`; arrays with an entry for each sample, such as
        `sample_weight`, are split as `X` is. Where metadata routing is enabled, they are routed to
        the estimator and to the splitter, as each of them requests.
    predict_params : dict, default=None
        Passed on to :func:`skestnet.predict_dist`, such as ``{"n_draws": 50}``, or
        ``{"snr": snr}`` for a :class:`~skestnet.CalibratedRegressor` that gets ``{"snr": snr}`` as
        `params` too; arrays with an entry for each sample are split as `X` is.

    Returns
    -------
    PredictiveDistribution
        Distributions of all samples, in the order of `X`.

    Raises
    ------
    TypeError
        If the estimator can give no distribution.
    ValueError
        If a sample is in no test set or in several, or `groups` is passed by itself where metadata
        routing is enabled.

    Warns
    -----
    UserWarning
        If the numbers of components of the folds differ so much that some lose more than half.

    Notes
    -----
    All distributions get the same number of components. Where the folds' numbers differ, as those
    of conformal predictions may, the larger ones are thinned to the smallest, evenly spaced.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import BayesianRidge
    >>> from skestnet.metrics import cross_val_predict_dist, interval_coverage
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((300, 2))
    >>> y = X[:, 0] + rng.standard_normal(300)
    >>> dist = cross_val_predict_dist(BayesianRidge(), X, y, cv=3)
    >>> dist
    PredictiveDistribution(shape=(300,), n_draws=1)
    >>> round(interval_coverage(y, dist, 0.68), 2)
    0.7
    """
    X, y, groups = indexable(X, y, groups)
    cv = check_cv(cv, y)
    routed = _route(estimator, cv, groups, params or {})
    splits = list(cv.split(X, y, **routed.splitter.split))
    test = np.concatenate([test for _, test in splits])
    if not np.array_equal(np.sort(test), np.arange(_num_samples(X))):
        raise ValueError(
            "cross_val_predict_dist only works for partitions: expected a cv in which each sample "
            "is in exactly one test set, such as KFold or GroupKFold."
        )
    # A clone for each fold: they are independent, and the given estimator stays as it is.
    folds = Parallel(n_jobs=n_jobs, verbose=verbose)(
        delayed(_fit_and_predict)(
            clone(estimator), X, y, *split, routed.estimator.fit, predict_params
        )
        for split in splits
    )
    return _concatenate(folds)[np.argsort(test)]


def _route(estimator: Any, cv: Any, groups: ArrayLike | None, params: dict[str, Any]) -> Bunch:
    """Say what goes to the splitter and what to `fit`, as cross_val_predict does."""
    if not get_config()["enable_metadata_routing"]:
        return Bunch(splitter=Bunch(split={"groups": groups}), estimator=Bunch(fit=params))
    if groups is not None:
        raise ValueError(
            "groups was passed while metadata routing is enabled: expected "
            "params={'groups': groups}."
        )
    router = (
        MetadataRouter(owner="cross_val_predict_dist")
        .add(splitter=cv, method_mapping=MethodMapping().add(caller="fit", callee="split"))
        .add(estimator=estimator, method_mapping=MethodMapping().add(caller="fit", callee="fit"))
    )
    return process_routing(router, "fit", **params)


def _fit_and_predict(
    estimator: Any,
    X: Any,
    y: Any,
    train: Indices,
    test: Indices,
    fit_params: dict[str, Any],
    predict_params: dict[str, Any] | None,
) -> PredictiveDistribution:
    X_train, y_train = _safe_split(estimator, X, y, train)
    X_test, _ = _safe_split(estimator, X, y, test, train)
    labels = () if y_train is None else (y_train,)
    estimator.fit(X_train, *labels, **_check_method_params(X, params=fit_params, indices=train))
    return predict_dist(estimator, X_test, **cut_params(X, predict_params, test))


def cut_params(X: Any, params: dict[str, Any] | None, rows: Any) -> dict[str, Any]:
    """Cut those of the parameters that have an entry for each sample of `X` to some rows."""
    params = params or {}
    # scikit-learn asks NumPy's scalars and words for their length.
    single = {name: value for name, value in params.items() if np.isscalar(value)}
    several = {name: value for name, value in params.items() if name not in single}
    return single | _check_method_params(X, params=several, indices=rows)


def _concatenate(folds: Sequence[PredictiveDistribution]) -> PredictiveDistribution:
    """Put the samples of all folds below one another."""
    counts = [fold.n_draws for fold in folds]
    fewest, most = min(counts), max(counts)
    if 2 * fewest < most:
        warnings.warn(
            f"The folds' distributions have from {fewest} to {most} components, and all are "
            f"thinned to {fewest}. See that each fold gives about the same number.",
            UserWarning,
            stacklevel=3,
        )
    return PredictiveDistribution._join([_thin(fold, fewest) for fold in folds], axis=0)


def _thin(dist: PredictiveDistribution, n_draws: int) -> PredictiveDistribution:
    """Keep some of the components, evenly spaced."""
    if dist.n_draws == n_draws:
        return dist
    kept = ((np.arange(n_draws) + 0.5) * dist.n_draws / n_draws).astype(np.intp)
    correlation = None if dist.correlation is None else dist.correlation[:, kept]
    return dist._with(dist.loc[:, kept], dist.scale[:, kept], correlation)
