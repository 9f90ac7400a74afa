"""Scorers for GridSearchCV and cross_validate: larger is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skestnet._predict_dist import predict_dist
from skestnet.metrics._checks import checked_labels, label_spread
from skestnet.metrics._coverage import interval_coverage


def crps_scorer(estimator: Any, X: ArrayLike, y: ArrayLike) -> float:
    """Score an estimator by minus the mean CRPS of its distributions; larger is better.

    To be passed as it is: ``GridSearchCV(model, grid, scoring=crps_scorer)``. Several labels have
    several units: each label's CRPS is then divided by the standard deviation of the label in `y`,
    and the mean over labels is taken. The CRPS of a single label stays in its units.

    Scorers get `X` and `y` only. A :class:`~skestnet.CalibratedRegressor` that was fitted with
    `snr` needs it to predict, too: cut its groups by `group_by`, a function of `X`, instead.

    Parameters
    ----------
    estimator : estimator
        Fitted estimator of a kind that :func:`skestnet.predict_dist` knows.
    X : array-like of shape (n_samples, n_features)
        Samples, as the estimator takes them.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        True labels.

    Returns
    -------
    float
        The score, at most 0.

    Raises
    ------
    TypeError
        If the estimator can give no distribution.
    ValueError
        If one of several labels is constant in `y`, or a label is not finite.

    See Also
    --------
    crps : The metric.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn.model_selection import cross_val_score
    >>> from skestnet.metrics import crps_scorer
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((300, 2))
    >>> y = X[:, 0] + rng.standard_normal(300)
    >>> cross_val_score(BayesianRidge(), X, y, scoring=crps_scorer, cv=3).round(2)
    array([-0.57, -0.59, -0.42])
    """
    dist = predict_dist(estimator, X)
    labels = checked_labels(y, dist)
    score = dist.crps(labels).mean(axis=0)
    if score.size > 1:
        score = score / label_spread(labels)
    return -float(score.mean())


@dataclass(frozen=True, repr=False)
class _CoverageScorer:
    """A class and no closure, so that it can be pickled and names itself."""

    level: float

    def __call__(self, estimator: Any, X: ArrayLike, y: ArrayLike) -> float:
        dist = predict_dist(estimator, X)
        coverage = interval_coverage(y, dist, self.level, multioutput="raw_values")
        return -float(np.abs(coverage - self.level).mean())

    def __repr__(self) -> str:
        return f"coverage_scorer(level={self.level!r})"


def coverage_scorer(level: float = 0.68) -> _CoverageScorer:
    """Make a scorer of how far coverage is from what intervals say; larger is better.

    Its score is ``-abs(coverage - level)``, averaged over labels: 0 is perfect. As only the share
    inside counts, an estimator that knows nothing can score well: report it beside `crps_scorer`,
    and choose models by the latter. Like it, it takes no estimators that need more than `X` to
    predict, such as a :class:`~skestnet.CalibratedRegressor` that was fitted with `snr`: those cut
    their groups by `group_by` instead.

    Parameters
    ----------
    level : float, default=0.68
        Probability inside the central intervals, in (0, 1).

    Returns
    -------
    callable
        Scorer with arguments `estimator`, `X` and `y`, to be passed as `scoring`.

    Raises
    ------
    ValueError
        If `level` is not in (0, 1).

    See Also
    --------
    interval_coverage : The share itself.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn.model_selection import cross_validate
    >>> from skestnet.metrics import coverage_scorer, crps_scorer
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((300, 2))
    >>> y = X[:, 0] + rng.standard_normal(300)
    >>> scoring = {"crps": crps_scorer, "coverage": coverage_scorer(0.9)}
    >>> scores = cross_validate(BayesianRidge(), X, y, scoring=scoring, cv=3)
    >>> bool((scores["test_coverage"] > -0.05).all())
    True
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level!r}: expected a probability in (0, 1), such as 0.68.")
    return _CoverageScorer(level)
