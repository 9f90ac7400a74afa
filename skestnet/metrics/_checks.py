"""What the metrics share: checks of the labels, and averages over samples and labels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import _check_sample_weight

from skestnet._distribution import PredictiveDistribution

FloatArray = NDArray[np.float64]


def check_dist(dist: PredictiveDistribution) -> None:
    """Insist on distributions of at least one sample."""
    if not isinstance(dist, PredictiveDistribution):
        raise TypeError(
            f"dist is of type {type(dist).__name__}: expected a skestnet.PredictiveDistribution, "
            "such as skestnet.predict_dist(model, X) returns."
        )
    if math.prod(dist.shape) == 0:
        raise ValueError(f"dist has shape {dist.shape}: expected at least one sample and label.")


def checked_labels(y_true: ArrayLike, dist: PredictiveDistribution) -> FloatArray:
    """Bring finite labels to the shape of the distributions; a single label may be a column."""
    check_dist(dist)
    y = np.asarray(y_true, dtype=np.float64)
    if (y.shape if y.ndim > 1 else (*y.shape, 1)) != (len(dist), math.prod(dist.shape[1:])):
        raise ValueError(
            f"y_true has shape {y.shape} and dist {dist.shape}: expected the same, one label for "
            "each predicted one."
        )
    unknown = np.flatnonzero(~np.isfinite(y.reshape(len(y), -1)).all(axis=1))
    if len(unknown):
        raise ValueError(
            f"y_true holds NaN or infinite values in {len(unknown)} of {len(y)} samples, the first "
            f"in row {unknown[0]}: leave these rows out of y_true and dist, as in dist[known]."
        )
    return y.reshape(dist.shape)


def label_spread(y: FloatArray) -> FloatArray:
    """Compute the standard deviation of each label, the unit in which labels can be compared."""
    if not np.ptp(y, axis=0).all():
        raise ValueError(
            "A label has the same value in all samples, so that there is no standard deviation to "
            "divide by: score more samples at once, or the labels one by one with crps."
        )
    return y.std(axis=0)


def average(
    values: NDArray[Any], sample_weight: ArrayLike | None, multioutput: ArrayLike
) -> float | FloatArray:
    """Average over samples, and over labels as `multioutput` says."""
    return over_outputs(over_samples(values, sample_weight), multioutput)


def over_samples(values: NDArray[Any], sample_weight: ArrayLike | None) -> FloatArray:
    """Average over samples."""
    weight = _check_sample_weight(sample_weight, values, dtype=np.float64, ensure_non_negative=True)
    if not weight.any():  # older versions of scikit-learn let them pass
        raise ValueError("sample_weight is zero for all samples: expected a positive one.")
    return _weighted_mean(values, weight)


def over_outputs(values: FloatArray, multioutput: ArrayLike) -> float | FloatArray:
    """Average over labels, or not, as in the metrics of scikit-learn."""
    columns = np.atleast_1d(values)
    if isinstance(multioutput, str):
        if multioutput == "raw_values":
            return columns
        if multioutput == "uniform_average":
            return float(columns.mean())
    else:
        weight = np.asarray(multioutput, dtype=np.float64)
        if weight.shape == columns.shape and (weight >= 0).all() and weight.any():
            return float(_weighted_mean(columns, weight))
    raise ValueError(
        f"multioutput={multioutput!r}: expected 'uniform_average', 'raw_values' or weights of at "
        f"least 0 for {len(columns)} label(s)."
    )


def _weighted_mean(values: NDArray[Any], weight: FloatArray) -> FloatArray:
    # What has weight zero takes no part, also where it is infinite.
    used = weight > 0
    return np.average(values[used], axis=0, weights=weight[used])
