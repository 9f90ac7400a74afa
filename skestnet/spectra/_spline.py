"""Least-squares splines with fixed knots that reject what deviates, for many spectra at once."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.sparse import csr_array

from skestnet.spectra._blocks import FloatMatrix, nonzero

# Fewer pixels than this for each coefficient, and the continuum follows the lines.
_PIXELS_PER_COEFFICIENT = 4
# The rejection looks at bins of at most so many pixels: still narrower than the lines of a white
# dwarf, at an eighth of the cost. Grids too short for so many bins per coefficient get finer ones.
_PIXELS_PER_BIN = 8
_BINS_PER_COEFFICIENT = 40
# Multiplications up to which OpenBLAS starts no threads: with busy cores, waiting for them takes
# many times as long as the work.
_UNTHREADED = 2**18


def spline_basis(wavelength: NDArray[np.float64], n_knots: int) -> NDArray[np.float64]:
    """Return an orthonormal basis, shape (n_pixels, n_coefficients), of splines on a grid.

    The knots hold equally many pixels between them. Short grids get fewer knots, then a lower
    degree: one constant up to seven pixels.
    """
    n_pixels = wavelength.size
    n_coefficients = int(np.clip(n_pixels // _PIXELS_PER_COEFFICIENT, 1, n_knots + 2))
    degree = min(3, n_coefficients - 1)
    if degree == 0:
        return np.full((n_pixels, 1), n_pixels**-0.5)
    knots = np.quantile(wavelength, np.linspace(0, 1, n_coefficients - degree + 1))
    padded = np.concatenate([[knots[0]] * degree, knots, [knots[-1]] * degree])
    design = BSpline.design_matrix(wavelength, padded, degree).toarray()
    return np.linalg.qr(design)[0]


@dataclass(frozen=True)
class BinnedSpline:
    """Bins of neighbouring pixels, and the splines on a grid as seen by bins and by pixels.

    Attributes
    ----------
    size : ndarray of shape (n_bins,)
        Number of pixels of each bin.
    summing : csr_array of shape (n_bins, n_pixels)
        Ones where a pixel belongs to a bin.
    on_bins : ndarray of shape (n_bins, n_coefficients)
        Orthonormal basis of the means of the splines over the bins.
    on_pixels : ndarray of shape (n_pixels, n_coefficients)
        The same splines, at every pixel.
    """

    size: NDArray[np.intp]
    summing: csr_array
    on_bins: NDArray[np.float64]
    on_pixels: NDArray[np.float64]

    @classmethod
    def from_basis(cls, basis: NDArray[np.float64]) -> Self:
        """Choose the bins for a basis on pixels."""
        n_pixels, n_coefficients = basis.shape
        width = n_pixels // (_BINS_PER_COEFFICIENT * n_coefficients)
        n_bins = -(-n_pixels // int(np.clip(width, 1, _PIXELS_PER_BIN)))
        edge = np.arange(n_bins + 1) * n_pixels // n_bins
        # Integers, so that sums are of the type of what is summed.
        summing = csr_array((np.ones(n_pixels, dtype=np.int8), np.arange(n_pixels), edge))
        size = np.diff(edge)
        on_bins, mixing = np.linalg.qr(summing @ basis / size[:, np.newaxis])
        return cls(size, summing, on_bins, np.linalg.solve(mixing.T, basis.T).T)

    def bin(self, flux: FloatMatrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean of the good pixels of each bin, NaN where none, and their share."""
        total = self._sums(flux)
        if not np.isnan(total).any():
            return total / self.size, np.ones_like(total)
        # Only in the bins with NaN is there anything to sum again: few, as a rule.
        share, (row, column) = np.ones_like(total), nonzero(np.isnan(total))
        mean, size = total / self.size, self.size[column]
        picked = flux[row[:, np.newaxis], self._pixels(column)]
        good = ~np.isnan(picked) & (np.arange(picked.shape[1]) < size[:, np.newaxis])
        count = good.sum(axis=1)
        some = np.where(good, picked, 0).sum(axis=1, dtype=np.float64)
        mean[row, column] = np.where(count > 0, some / np.maximum(count, 1), np.nan)
        share[row, column] = count / size
        return mean, share

    def _pixels(self, bins: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the pixels of some bins, one row each; shorter ones repeat the last pixel."""
        start, size = self.summing.indptr[bins], self.size[bins]
        return start[:, np.newaxis] + np.minimum(
            np.arange(self.size.max()), size[:, np.newaxis] - 1
        )

    def _sums(self, pixels: FloatMatrix) -> NDArray[np.float64]:
        return np.ascontiguousarray((self.summing @ pixels.T).T, dtype=np.float64)


def product(left: FloatMatrix, right: FloatMatrix, out: FloatMatrix | None = None) -> FloatMatrix:
    """Return ``left @ right``, computed a few rows at a time."""
    if out is None:
        out = np.empty((len(left), right.shape[1]), dtype=left.dtype)
    step = max(1, _UNTHREADED // right.size)
    for start in range(0, len(left), step):
        rows = slice(start, start + step)
        np.matmul(left[rows], right, out=out[rows])
    return out


def fit_spline(
    flux: NDArray[np.float64],
    share: NDArray[np.float64],
    basis: NDArray[np.float64],
    *,
    n_iter: int,
    lower: float,
    upper: float,
) -> FloatMatrix:
    """Return the coefficients of the continuum of every row, deviating bins replaced by the fit.

    A bin of which only a share is good counts as that much of it, the rest being replaced. In
    float64: a rounding error that flips one rejected bin would move the whole fit.
    """
    coefficients, transposed = product(flux, basis), np.ascontiguousarray(basis.T)
    # In the same few arrays all the time: new ones would cost as much as the sums.
    good, residual, weighted = share.copy(), np.empty_like(flux), np.empty_like(flux)
    for _ in range(n_iter):
        np.subtract(flux, product(coefficients, transposed, residual), out=residual)
        sigma = _root_mean_square(residual, good, weighted)
        inside = (residual >= -lower * sigma) & (residual <= upper * sigma)
        np.multiply(inside, share, out=good)
        # Replacing the rest by the fit leaves it no residual.
        coefficients += product(np.multiply(good, residual, out=weighted), basis)
    return coefficients


def _root_mean_square(
    residual: NDArray[np.float64], good: NDArray[np.float64], work: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the scatter of the good bins of every row, shape (n_rows, 1).

    Not the median absolute deviation: of a noiseless spectrum it is so small that the shoulders
    of a line, which the first fit undershoots, are rejected too and the fit never rises.
    `work` is overwritten.
    """
    weighted = np.multiply(good, residual, out=work)
    total, count = np.einsum("ij,ij->i", weighted, residual), good.sum(axis=1)
    mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    return np.sqrt(mean)[:, np.newaxis]
