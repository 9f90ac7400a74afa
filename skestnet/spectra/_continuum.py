"""Division of each spectrum by a smooth continuum: a cubic spline that rejects the lines."""

from functools import partial
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skestnet.spectra._blocks import (
    FloatMatrix,
    SpectrumTags,
    map_rows,
    row_mean,
    row_median,
    validate_spectra,
)
from skestnet.spectra._gaps import fill_gaps, find_gaps
from skestnet.spectra._spline import BinnedSpline, fit_spline, product, spline_basis
from skestnet.spectra._wavelength import wavelength_of_features


def absolute_level(flux: FloatMatrix, work: FloatMatrix) -> FloatMatrix:
    """Return the median absolute flux of every row, shape (n_rows, 1), never zero.

    `work` is overwritten.
    """
    size = np.abs(flux, out=work)
    level = row_median(size)
    # The mean steps in where most pixels are zero, and 1 where all are. No mean is above the
    # maximum, which costs less.
    low = np.flatnonzero(~(level[:, 0] > 1e-6 * np.fmax.reduce(size, axis=1)))
    if low.size:
        level[low] = np.maximum(1e-6 * row_mean(np.abs(flux[low])), level[low])
    return np.where(level > 0, level, np.ones_like(level))


def normalise(
    flux: FloatMatrix, out: FloatMatrix, spline: BinnedSpline, floor: float, **rejection: Any
) -> None:
    """Divide every row by its continuum, the continuum being at least `floor` levels."""
    level = absolute_level(flux, out)
    means, share = spline.bin(flux)
    means /= level.astype(np.float64)
    if np.isnan(means).any():
        fill_gaps(means, find_gaps(np.isnan(means)), n_neighbors=1)
    coefficients = level * fit_spline(means, share, spline.on_bins, **rejection)
    product(coefficients.astype(flux.dtype), spline.on_pixels.T.astype(flux.dtype), out)
    np.maximum(out, floor * level, out=out)
    np.divide(flux, out, out=out)


class ContinuumNormalizer(SpectrumTags, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Division of each spectrum by a smooth continuum fitted to it, leaving the lines.

    The continuum is a cubic spline with fixed knots, fitted by least squares to all spectra at
    once. After each fit, what lies far below it (absorption lines) or far above it (cosmic rays,
    sky residuals) is replaced by the fit and the fit is repeated, so that it rises to the
    continuum. The noise that "far" refers to is measured from the residuals of each spectrum.

    The fits look at the means of bins of up to eight pixels, fewer for short spectra: these are
    less noisy than pixels, and the lines of white dwarfs much wider. The spline is then evaluated
    and divided by at every pixel. Pixels that are NaN stay NaN and do not enter the means.

    Parameters
    ----------
    wavelength : array-like of shape (n_pixels,), default=None
        Wavelength of each column of `X`, in Angstrom, strictly increasing. None takes the pixels
        as evenly spaced.
    n_knots : int, default=8
        Number of knots of the spline, both ends included, with equally many pixels between them.
        More follow the instrument's response better, and broad lines too. Short spectra get
        fewer: at least four pixels for each coefficient.
    n_iter : int, default=10
        Number of times that the deviating bins are replaced and the fit is repeated.
    lower : float, default=2.0
        Bins this many standard deviations below the fit are replaced.
    upper : float, default=3.0
        Bins this many standard deviations above the fit are replaced.
    floor : float, default=0.05
        Least continuum to divide by, as a fraction of the median absolute flux of the spectrum:
        where the fit of a very noisy spectrum comes near zero or below, the ratio stays finite.
    n_jobs : int, default=None
        Number of threads. None is 1 unless in a `joblib.parallel_config` context, -1 all cores.

    Attributes
    ----------
    basis_ : ndarray of shape (n_pixels, n_coefficients)
        Orthonormal basis of the splines; ``X @ basis_ @ basis_.T`` is a least-squares fit.
    n_features_in_ : int
        Number of pixels.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where `X` had string column names.

    See Also
    --------
    FluxScaler : Scaling by a single number, as the paper does for the effective temperature.

    Notes
    -----
    On white dwarf models at 4200-8000 A the defaults put the continuum within 1% (rms) of one
    drawn through the line-free windows, and within 1% on average at signal-to-noise 3. A smaller
    `lower` rejects lines more completely but lifts the continuum of noisy spectra: 1.5 by 4%
    (``benchmarks/bench_quoted.py``).
    A spectrum that is 0 everywhere stays 0. Spectra do not influence each other. In wide gaps the
    spline has nothing to follow, and beside them it is less certain.

    References
    ----------
    .. [1] Xie et al. 2025, "An adaptive parameter estimator for poor-quality spectral data of
       white dwarfs", A&A 704, A37, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.spectra import ContinuumNormalizer, lamost_grid
    >>> wavelength = lamost_grid(400)
    >>> line = 1 - 0.6 * np.exp(-0.5 * ((wavelength - 4861) / 20) ** 2)
    >>> flux = (wavelength / 4000) ** -3 * line
    >>> normal = ContinuumNormalizer(wavelength).fit_transform(flux[np.newaxis])
    >>> float(np.abs(normal - line).max()) < 0.001
    True
    """

    def __init__(
        self,
        wavelength: ArrayLike | None = None,
        *,
        n_knots: int = 8,
        n_iter: int = 10,
        lower: float = 2.0,
        upper: float = 3.0,
        floor: float = 0.05,
        n_jobs: int | None = None,
    ) -> None:
        self.wavelength = wavelength
        self.n_knots = n_knots
        self.n_iter = n_iter
        self.lower = lower
        self.upper = upper
        self.floor = floor
        self.n_jobs = n_jobs

    def fit(self, X: ArrayLike, y: Any = None) -> Self:  # noqa: ARG002
        """Compute the basis of the splines.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels)
            Spectra; only their number of columns matters.
        y : None, default=None
            Ignored.

        Returns
        -------
        ContinuumNormalizer
            The fitted transformer.

        Raises
        ------
        ValueError
            If a parameter is out of its range, `wavelength` does not increase strictly or does not
            have one value per column, or a flux is infinite.
        """
        self._check_parameters()
        flux = self._validated(X, reset=True)
        self.basis_ = spline_basis(self._wavelength(flux.shape[1]), self.n_knots)
        self._spline = BinnedSpline.from_basis(self.basis_)
        return self

    def _validated(self, X: ArrayLike, *, reset: bool) -> FloatMatrix:
        return validate_spectra(self, X, reset=reset)

    def _check_parameters(self) -> None:
        for name, least in (("n_knots", 2), ("n_iter", 0)):
            value = getattr(self, name)
            if not (isinstance(value, Integral) and int(value) >= least):
                raise ValueError(f"{name}={value!r}: expected an integer of at least {least}.")
        for name in ("lower", "upper", "floor"):
            value = getattr(self, name)
            if not (isinstance(value, Real) and float(value) > 0):
                raise ValueError(f"{name}={value!r}: expected a number above 0.")

    def _wavelength(self, n_pixels: int) -> NDArray[np.float64]:
        if self.wavelength is None:
            return np.arange(n_pixels, dtype=np.float64)
        return wavelength_of_features(self.wavelength, "wavelength", n_pixels)

    def transform(self, X: ArrayLike) -> FloatMatrix:
        """Divide every spectrum by its continuum.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels)
            Spectra; NaN marks bad pixels.

        Returns
        -------
        ndarray of shape (n_spectra, n_pixels)
            Spectra whose continuum is near 1, float32 where `X` is float32.
        """
        check_is_fitted(self)
        flux = self._validated(X, reset=False)
        settings = {name: getattr(self, name) for name in ("n_iter", "lower", "upper", "floor")}
        function = partial(normalise, spline=self._spline, **settings)
        return map_rows(function, flux, flux.shape[1], self.n_jobs)
