"""The first stage of adaptive weights: fits to distinct samples, in folds where wanted."""

from __future__ import annotations

from inspect import Parameter, signature
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import BaseCrossValidator, KFold
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import has_fit_parameter
from tqdm.auto import tqdm

FloatArray = NDArray[np.float64]
Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


class FirstStageFits(NamedTuple):
    """The first stage and what to fit it to.

    Attributes
    ----------
    regressor : estimator
        Unfitted regressor.
    features : array or data frame of shape (n_samples, n_features)
        Features of the distinct samples.
    target : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Their labels.
    weight : ndarray of shape (n_samples,)
        Their weights.
    """

    regressor: Any
    features: Any
    target: NDArray[Any]
    weight: FloatArray

    def fit(self, rows: NDArray[np.intp]) -> Any:
        """Fit a clone to some of the samples; weights go along where they differ."""
        weight = self.weight[rows]
        weighted = {} if np.ptp(self.weight) == 0 else {"sample_weight": weight}
        if weighted and not takes_weights(self.regressor):
            raise ValueError(
                f"The first stage, {type(self.regressor).__name__}, takes no sample_weight, but "
                "the samples have weights or are repeated. Give AdaptiveWeighter a regressor whose "
                "fit takes sample_weight."
            )
        features = _safe_indexing(self.features, rows)
        return clone(self.regressor).fit(features, self.target[rows], **weighted)

    def out_of_fold(self, folds: list[Fold], verbose: int) -> FloatArray:
        """Predict each sample by a fit that did not see it."""
        predictions = np.empty(self.target.shape)
        for train, test in tqdm(folds, unit="fold", desc="first stage", disable=not verbose):
            predicted = self.fit(train).predict(_safe_indexing(self.features, test))
            predictions[test] = np.asarray(predicted).reshape(self.target[test].shape)
        return predictions


def cut_folds(cv: Any, n_samples: int) -> list[Fold] | None:
    """Cut distinct samples into folds by their number alone: their order is not the user's."""
    if cv is None or cv == "auto":
        return None
    folds = isinstance(cv, Integral) and not isinstance(cv, bool) and int(cv) >= 2
    if not folds and not isinstance(cv, KFold):
        raise ValueError(
            f"cv={cv!r}: expected 'auto', None, a number of folds of at least 2, or a KFold. "
            "Repeated samples are merged first, so that splitters which name samples or groups "
            "cannot work."
        )
    if n_samples < 2:
        raise ValueError(
            "There is one distinct sample (n_samples=1): out-of-fold residuals need two at least. "
            "Try cv=None."
        )
    splitter: BaseCrossValidator = KFold(min(int(cv), n_samples)) if folds else cv
    return list(splitter.split(np.empty(n_samples)))


def takes_weights(regressor: Any) -> bool:
    """Tell whether `fit` takes sample_weight, itself or for the regressor that it wraps."""
    if isinstance(regressor, TransformedTargetRegressor):
        return regressor.regressor is None or takes_weights(regressor.regressor)
    if isinstance(regressor, BaseSearchCV):
        return takes_weights(regressor.estimator)
    kinds = [parameter.kind for parameter in signature(regressor.fit).parameters.values()]
    passes_on = Parameter.VAR_KEYWORD in kinds and not isinstance(regressor, Pipeline)
    return passes_on or has_fit_parameter(regressor, "sample_weight")
