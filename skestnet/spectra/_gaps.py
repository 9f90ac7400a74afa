"""Gaps: runs of bad pixels, and straight lines across them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skestnet.spectra._blocks import FloatMatrix, nonzero, row_median


class Gaps(NamedTuple):
    """Runs of bad pixels: the pixels from `start` to before `stop` of each `row`, in order."""

    row: NDArray[np.intp]
    start: NDArray[np.intp]
    stop: NDArray[np.intp]

    @property
    def length(self) -> NDArray[np.intp]:
        """Number of pixels of each gap."""
        return self.stop - self.start

    def where(self, keep: NDArray[np.bool_]) -> "Gaps":
        """Return some of the gaps."""
        return Gaps(self.row[keep], self.start[keep], self.stop[keep])


def find_gaps(bad: NDArray[np.bool_]) -> Gaps:
    """Return the runs of True in every row."""
    padded = np.zeros((len(bad), bad.shape[1] + 2), dtype=bool)
    padded[:, 1:-1] = bad
    # Row by row, the changes are the starts and the stops of the gaps in turn.
    row, change = nonzero(padded[:, 1:] != padded[:, :-1])
    return Gaps(row[::2], change[::2], change[1::2])


def fill_gaps(flux: FloatMatrix, gaps: Gaps, n_neighbors: int) -> None:
    """Draw a straight line across each gap, in place; rows without a good pixel are left out.

    The line goes through the median pixel and the median flux of the `n_neighbors` good pixels on
    either side. At the ends of a spectrum, where one side is missing, it is level.
    """
    good: NDArray[np.bool_] = ~np.isnan(flux)
    fillable: NDArray[np.bool_] = np.asarray(good.any(axis=1))
    gaps = gaps.where(fillable[gaps.row])
    if not gaps.row.size:
        return
    x_left, left, x_right, right = _anchors(flux, good, gaps, n_neighbors)
    slope = (right - left) / (x_right - x_left)
    slope = np.where(np.isnan(slope), 0.0, slope)
    x, level = np.where(np.isnan(left), (x_right, right), (x_left, left))
    gap = np.repeat(np.arange(gaps.row.size), gaps.length)
    column = np.arange(gap.size) - (np.cumsum(gaps.length) - gaps.stop)[gap]
    flux[gaps.row[gap], column] = level[gap] + slope[gap] * (column - x[gap])


def _anchors(
    flux: FloatMatrix, good: NDArray[np.bool_], gaps: Gaps, n_neighbors: int
) -> NDArray[np.float64]:
    """Return (x_left, left, x_right, right), each of shape (n_gaps,), NaN where nothing is good."""
    width = flux.shape[1]
    known = np.flatnonzero(good)
    # Good pixels of a row lie side by side in `known`; a gap lies between two of them.
    limits = gaps.row * width + np.array(
        [np.zeros_like(gaps.start), gaps.start, np.full_like(gaps.start, width)]
    )
    first, middle, last = np.searchsorted(known, limits)[:, :, np.newaxis]
    sides = []
    for pick in (middle + np.arange(-n_neighbors, 0), middle + np.arange(n_neighbors)):
        inside = (pick >= first) & (pick < last)
        row, pixel = np.divmod(known[np.where(inside, pick, 0)], width)
        picked = (pixel, flux[row, pixel].astype(np.float64))
        sides += [row_median(np.where(inside, values, np.nan))[:, 0] for values in picked]
    return np.array(sides)
