"""Density of labels: a Gaussian kernel estimate (eqs. 14, 15), binned for large sets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

FloatArray = NDArray[np.float64]

# Above this many pairs of labels the exact kernel sum gives way to a histogram.
MAX_EXACT_PAIRS = 2**24
BINS_PER_BANDWIDTH = 20


def kernel_bandwidth(bandwidth: float | str, n_samples: float) -> float:
    """Resolve a bandwidth for standardised labels: a number, Scott's or Silverman's rule."""
    if bandwidth == "scott":
        return float(n_samples) ** -0.2
    if bandwidth == "silverman":
        return (0.75 * float(n_samples)) ** -0.2
    return float(bandwidth)


def label_density(
    y: FloatArray, y_train: FloatArray, bandwidth: float, weight: FloatArray
) -> FloatArray:
    """Evaluate the kernel density of `y_train` at `y` (eqs. 14, 15), binned for large sets."""
    if len(y) * len(y_train) <= MAX_EXACT_PAIRS:
        return _exact_density(y, y_train, bandwidth, weight)
    return _binned_density(y, y_train, bandwidth, weight)


def _exact_density(
    y: FloatArray, y_train: FloatArray, bandwidth: float, weight: FloatArray
) -> FloatArray:
    kernel = np.exp(-0.5 * ((y[:, None] - y_train) / bandwidth) ** 2) / np.sqrt(2 * np.pi)
    return kernel @ weight / (bandwidth * weight.sum())


def _binned_density(
    y: FloatArray, y_train: FloatArray, bandwidth: float, weight: FloatArray
) -> FloatArray:
    """Smooth a fine histogram of the labels: linear in their number."""
    margin = 5 * bandwidth
    step = bandwidth / BINS_PER_BANDWIDTH
    edges = np.arange(y_train.min() - margin, y_train.max() + margin + step, step)
    counts, _ = np.histogram(y_train, edges, weights=weight)
    density = gaussian_filter1d(counts, BINS_PER_BANDWIDTH, truncate=5, mode="constant")
    density /= weight.sum() * step
    return np.interp(y, (edges[:-1] + edges[1:]) / 2, density, left=0.0, right=0.0)
