"""MultiQuantileRegressor: a distribution from regressors that estimate one quantile each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from skestnet._distribution import PredictiveDistribution
from skestnet._quantiles import checked_levels

FloatArray = NDArray[np.float64]

# What the parameter of the level is called, by what the loss is called.
LEVEL_OF_LOSS = {"quantile": "alpha", "reg:quantileerror": "quantile_alpha"}
LOSS_PARAMETERS = ("loss", "objective", "loss_function")


class MultiQuantileRegressor(RegressorMixin, MetaEstimatorMixin, BaseEstimator):
    """A quantile regressor, fitted once for each of several levels: distributions of any shape.

    Parameters
    ----------
    regressor : estimator
        Regressor that estimates one quantile: scikit-learn's `QuantileRegressor`,
        ``HistGradientBoostingRegressor(loss="quantile")`` or
        ``GradientBoostingRegressor(loss="quantile")``, ``LGBMRegressor(objective="quantile")``,
        ``XGBRegressor(objective="reg:quantileerror")``; or a pipeline that ends with one.
    quantiles : sequence of float, default=(0.025, 0.05, 0.16, 0.25, 0.5, 0.75, 0.84, 0.95, 0.975)
        Levels, increasing, in (0, 1); at least two.
    quantile_param : str or None, default=None
        Name of the regressor's parameter for the level, as `set_params` takes it. None finds it
        for the regressors above.
    n_jobs : int or None, default=None
        Number of levels fitted at the same time, as in joblib.

    Attributes
    ----------
    estimators_ : list of estimators
        The fitted regressors, one for each level.
    quantiles_ : ndarray of shape (n_quantiles,)
        The levels.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`, where `X` has such.

    See Also
    --------
    predict_dist : Reads CatBoost's 'MultiQuantile' and XGBoost's several levels without this class.

    Notes
    -----
    Levels are fitted apart, so that their estimates can cross: those of a sample are sorted
    (Chernozhukov, Fernandez-Val and Galichon 2010). Several labels go into
    :class:`~sklearn.multioutput.MultiOutputRegressor` around this class.

    References
    ----------
    Koenker and Bassett (1978), Econometrica 46, 33. Chernozhukov, Fernandez-Val and Galichon
    (2010), Econometrica 78, 1093.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import QuantileRegressor
    >>> from skestnet import MultiQuantileRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(0, 1, (1000, 1))
    >>> y = 10 + (0.1 + X[:, 0]) * rng.standard_normal(1000)  # the noise grows
    >>> model = MultiQuantileRegressor(QuantileRegressor(alpha=0)).fit(X, y)
    >>> low, high = model.predict_dist([[0.4], [0.9]]).interval(0.68)
    >>> (high - low).round(1)  # the truth is 1.0 and 2.0
    array([1., 2.])
    """

    def __init__(
        self,
        regressor: Any,
        *,
        quantiles: Sequence[float] = (0.025, 0.05, 0.16, 0.25, 0.5, 0.75, 0.84, 0.95, 0.975),
        quantile_param: str | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.regressor = regressor
        self.quantiles = quantiles
        self.quantile_param = quantile_param
        self.n_jobs = n_jobs

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit a clone of the regressor for each level.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra or other features.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, passed to the regressor's `fit` (the last step's, in a pipeline).

        Returns
        -------
        self : MultiQuantileRegressor
            The fitted regressor.

        Raises
        ------
        ValueError
            If `quantiles` are not at least two increasing probabilities, the regressor does not
            estimate quantiles, its parameter for the level is not known, or there are several
            labels.
        """
        levels = checked_levels(self.quantiles, "quantiles")
        path, core = _last_step(self.regressor)
        name = self.quantile_param or path + _level_parameter(core)
        # The regressors themselves check X, which may hold what only they know how to treat.
        validate_data(self, X, skip_check_array=True)
        target = _one_label(y)
        weights = {} if sample_weight is None else {f"{path}sample_weight": sample_weight}
        self.estimators_ = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit_level)(self.regressor, {name: float(level)}, X, target, weights)
            for level in levels
        )
        self.quantiles_ = levels
        return self

    def predict(self, X: ArrayLike) -> FloatArray:
        """Estimate the medians.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra or other features.

        Returns
        -------
        ndarray of shape (n_samples,)
            Medians of the distributions: where 0.5 is not among the quantiles, interpolated.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        """
        return self.predict_dist(X, n_draws=1).loc[:, 0]

    def predict_dist(self, X: ArrayLike, n_draws: int = 200) -> PredictiveDistribution:
        """Predict distributions by :meth:`skestnet.PredictiveDistribution.from_quantiles`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra or other features.
        n_draws : int, default=200
            Number of evenly spaced quantiles that stand for a distribution.

        Returns
        -------
        PredictiveDistribution
            One distribution for each sample, in the units of the labels.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        """
        check_is_fitted(self)
        values = np.stack([np.ravel(fitted.predict(X)) for fitted in self.estimators_], axis=1)
        return PredictiveDistribution.from_quantiles(values, self.quantiles_, n_draws)

    def __sklearn_tags__(self) -> Any:
        """Take over from the regressor what it says of features."""
        tags = super().__sklearn_tags__()
        if hasattr(self.regressor, "fit"):
            inner = get_tags(self.regressor).input_tags
            tags.input_tags.allow_nan, tags.input_tags.sparse = inner.allow_nan, inner.sparse
        return tags


def _last_step(regressor: Any) -> tuple[str, Any]:
    """Find the estimator at the end of pipelines, and what its parameters' names begin with."""
    path = ""
    while isinstance(regressor, Pipeline):
        name, regressor = regressor.steps[-1]
        path += f"{name}__"
    return path, regressor


def _level_parameter(regressor: Any) -> str:
    """Find the parameter for the level; refuse a regressor that estimates something else."""
    if not hasattr(regressor, "get_params"):
        raise ValueError(f"regressor={regressor!r}: expected a quantile regressor.")
    kind, params = type(regressor).__name__, regressor.get_params(deep=False)
    losses = {name: params[name] for name in LOSS_PARAMETERS if name in params}
    for name, loss in losses.items():
        if loss not in LEVEL_OF_LOSS:
            raise ValueError(
                f"{kind}({name}={loss!r}) does not estimate one quantile that can be chosen: "
                f"expected {name}='quantile' or, of XGBoost, 'reg:quantileerror'. Of CatBoost, use "
                "loss_function='MultiQuantile:alpha=0.16,0.5,0.84' without MultiQuantileRegressor."
            )
    if "quantile" in params:
        return "quantile"
    if not losses:
        raise ValueError(
            f"{kind} has no parameter 'quantile' and no quantile loss: expected a regressor that "
            "estimates a quantile. If it does, name the parameter for the level: quantile_param."
        )
    return LEVEL_OF_LOSS[next(iter(losses.values()))]


def _one_label(y: ArrayLike) -> NDArray[Any]:
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise ValueError(
            f"y has shape {labels.shape}: expected one label. For several, use "
            "sklearn.multioutput.MultiOutputRegressor(MultiQuantileRegressor(...))."
        )
    return column_or_1d(labels, warn=True)


def _fit_level(
    regressor: Any, level: dict[str, float], X: Any, y: NDArray[Any], weights: dict[str, Any]
) -> Any:
    return clone(regressor).set_params(**level).fit(X, y, **weights)
