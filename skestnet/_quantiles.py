"""Even spacing in place of chance: quantiles as draws, and normal points that fill the space."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

FloatArray = NDArray[np.float64]


def draws_of_quantiles(values: ArrayLike, levels: ArrayLike, n_draws: int) -> FloatArray:
    """Turn quantiles (n_samples, n_levels[, n_outputs]) into n_draws evenly spaced ones.

    On normal probability paper, where a normal distribution is a straight line, the quantile
    function is taken for straight between the known quantiles and beyond them.
    """
    known = np.asarray(values, dtype=np.float64)
    probability = checked_levels(levels, "levels")
    if known.ndim not in (2, 3) or known.shape[1] != len(probability):
        raise ValueError(
            f"values has shape {known.shape} for {len(probability)} levels: expected "
            "(n_samples, n_levels) or (n_samples, n_levels, n_outputs)."
        )
    known = np.sort(known, axis=1)
    paper = ndtri(probability)
    wanted = ndtri(even_levels(n_draws))
    right = np.clip(np.searchsorted(paper, wanted), 1, len(paper) - 1)
    share = (wanted - paper[right - 1]) / (paper[right] - paper[right - 1])
    share = share.reshape(-1, *[1] * (known.ndim - 2))
    return known[:, right - 1] * (1 - share) + known[:, right] * share


def checked_levels(levels: ArrayLike, name: str) -> FloatArray:
    """Insist on at least two increasing probabilities, without 0 and 1."""
    given = np.asarray(levels, dtype=np.float64)
    if given.ndim != 1 or len(given) < 2 or not (np.diff([0, *given, 1]) > 0).all():
        raise ValueError(
            f"{name}={levels!r}: expected at least two increasing probabilities between 0 and 1, "
            "such as (0.16, 0.5, 0.84)."
        )
    return given


def even_levels(n_draws: int) -> FloatArray:
    """Compute probabilities whose quantiles stand for a distribution.

    They are such that NumPy's quantile of these quantiles is that of the distribution, but for the
    two outermost ones, which would be infinite: the next ones take their place.
    """
    if n_draws < 3:
        return (np.arange(n_draws) + 0.5) / n_draws
    last = n_draws - 1
    return np.clip(np.arange(n_draws), 1, last - 1) / last


def even_normals(n_points: int, n_outputs: int) -> FloatArray:
    """Compute standard normal points (n_points, n_outputs), evenly spread and not random.

    Each coordinate jumps by its own irrational step (Roberts' R sequence), so that any stretch of
    successive points is evenly spread too. Each takes the same, equally likely values, so that
    the marginal distributions are exact.
    """
    root = 2.0
    for _ in range(60):  # of x**(n_outputs + 1) = x + 1: the golden ratio of one output
        root = (1 + root) ** (1 / (n_outputs + 1))
    step = root ** -np.arange(1.0, n_outputs + 1)
    place = (np.arange(1, n_points + 1)[:, np.newaxis] * step) % 1.0
    rank = place.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    return ndtri((rank + 0.5) / n_points)
