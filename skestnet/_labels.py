"""Standardising labels: mean 0 and standard deviation 1 over a weighted training set."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class LabelScale(NamedTuple):
    """Mean and standard deviation of each label; a constant label has standard deviation 0.

    Attributes
    ----------
    mean, std : ndarray of shape (n_outputs,)
        Mean and standard deviation.
    """

    mean: FloatArray
    std: FloatArray

    @classmethod
    def of(cls, labels: FloatArray, weight: FloatArray) -> LabelScale:
        """Measure labels of shape (n_samples, n_outputs)."""
        labels, weight = labels[weight > 0], weight[weight > 0]
        mean = np.average(labels, axis=0, weights=weight)
        std = np.sqrt(np.average((labels - mean) ** 2, axis=0, weights=weight))
        constant = np.ptp(labels, axis=0) == 0  # rounding would leave a tiny spread
        return cls(np.where(constant, labels[0], mean), np.where(constant, 0.0, std))

    def standardise(self, labels: FloatArray) -> FloatArray:
        """Bring labels to mean 0 and standard deviation 1, a constant one to 0."""
        return (labels - self.mean) / np.where(self.std > 0, self.std, 1.0)
