"""Where to start the fits: the templates that match best among their neighbours."""

import math
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

FloatArray = NDArray[np.float64]

_VELOCITY_STEP = 400.0  # km/s, less than the width of a Balmer line


def starting_points(labels: FloatArray, max_velocity: float) -> FloatArray:
    """Return the parameters of the templates to compare with: the labels, at a few velocities.

    A start is within half of `_VELOCITY_STEP` of any velocity up to `max_velocity`; 0 leaves the
    labels alone.
    """
    if max_velocity == 0:
        return labels
    n = math.ceil(2 * max_velocity / _VELOCITY_STEP)
    velocities = max_velocity * ((2 * np.arange(n) + 1) / n - 1)
    repeated = np.tile(labels, (n, 1))
    return np.column_stack([repeated, np.repeat(velocities, len(labels))])


def neighbours(points: FloatArray) -> NDArray[np.intp]:
    """Return the points around each point, itself included, shape (n_points, k).

    Parameters are compared by rank, so that the steps of a grid count the same along each. In a
    grid of two labels the neighbours are the eight around.
    """
    ranks = np.stack([np.unique(column, return_inverse=True)[1] for column in points.T], axis=1)
    k = min(len(points), 3 ** int(np.count_nonzero(np.ptp(ranks, axis=0))))
    nearest = cKDTree(ranks).query(ranks, k=k, p=np.inf)[1]
    return np.asarray(nearest, dtype=np.intp).reshape(len(points), k)


def best_minima(
    chi2: FloatArray, around: NDArray[np.intp], n_starts: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return (spectrum, point) pairs: the lowest local minima of chi-squared of each spectrum.

    Minima are apart by construction: of DA white dwarfs the hot and the cold one, on either side
    of the temperature at which the Balmer lines are strongest.

    Parameters
    ----------
    chi2 : ndarray of shape (n_spectra, n_points)
        Chi-squared.
    around : ndarray of shape (n_points, k)
        What `neighbours` returned.
    n_starts : int
        Largest number of minima of a spectrum.
    """
    lowest = reduce(np.minimum, (chi2[:, column] for column in around.T))
    depth = np.where(chi2 <= lowest, chi2, np.inf)
    n_starts = min(n_starts, chi2.shape[1])
    point = np.argpartition(depth, n_starts - 1, axis=1)[:, :n_starts]
    found = np.isfinite(np.take_along_axis(depth, point, axis=1))
    found |= ~found.any(axis=1, keepdims=True)  # chi-squared overflowed: every spectrum has a start
    return np.nonzero(found)[0], point[found]
