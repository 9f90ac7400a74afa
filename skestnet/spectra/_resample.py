"""Resampling of a matrix of spectra from one wavelength grid to another: a sparse matrix."""

from collections.abc import Callable
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from skestnet.spectra._blocks import (
    FloatMatrix,
    SpectrumTags,
    float_types,
    map_rows,
    nonzero,
    validate_spectra,
)
from skestnet.spectra._pixels import pixel_edges, pixel_matrix
from skestnet.spectra._wavelength import EDGE_TOLERANCE, as_wavelength, wavelength_of_features


def linear_weights(
    wavelength_in: NDArray[np.float64], wavelength_out: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return (left, right, weight) so that ``(1 - weight) * x[left] + weight * x[right]``."""
    last = wavelength_in.size - 1
    inside = np.clip(wavelength_out, wavelength_in[0], wavelength_in[-1])
    left = np.searchsorted(wavelength_in, inside, side="right") - 1
    right = np.minimum(left + 1, last)
    step = np.where(right > left, wavelength_in[right] - wavelength_in[left], 1.0)
    return left, right, (inside - wavelength_in[left]) / step


def linear_matrix(
    wavelength_in: NDArray[np.float64], wavelength_out: NDArray[np.float64]
) -> csr_array:
    """Return the sparse (n_out, n_in) matrix of straight lines between neighbouring pixels."""
    left, right, weight = linear_weights(wavelength_in, wavelength_out)
    row = np.arange(weight.size)
    pixels = (np.concatenate([row, row]), np.concatenate([left, right]))
    values = np.concatenate([1 - weight, weight])
    return csr_array((values, pixels), shape=(weight.size, wavelength_in.size))


def overlap_matrix(
    wavelength_in: NDArray[np.float64], wavelength_out: NDArray[np.float64]
) -> csr_array:
    """Return the sparse (n_out, n_in) share of each output pixel that each input pixel covers."""
    return pixel_matrix(pixel_edges(wavelength_in), pixel_edges(wavelength_out))


# Share of an output pixel that good pixels have to cover, where it is a mean over pixels.
LEAST_COVERED = 0.5
# How to build the matrix, and the least share of an output pixel that must come from good pixels:
# a straight line needs both ends.
_METHODS: dict[str, tuple[Callable[..., Any], float]] = {
    "linear": (linear_matrix, 1.0),
    "flux-conserving": (overlap_matrix, LEAST_COVERED),
}
_ROUNDING = 1e-6  # of shares, in float32


def _check_covered(wavelength_in: NDArray[np.float64], wavelength_out: NDArray[np.float64]) -> None:
    """Refuse to extrapolate."""
    low, high = wavelength_in[0], wavelength_in[-1]
    start, stop = wavelength_out[0], wavelength_out[-1]
    if start < low * (1 - EDGE_TOLERANCE) or stop > high * (1 + EDGE_TOLERANCE):
        raise ValueError(
            f"wavelength_out covers {start:.2f}-{stop:.2f} A, which is not inside wavelength_in, "
            f"{low:.2f}-{high:.2f} A. Try a wavelength_out within {low:.2f}-{high:.2f} A: nothing "
            "is extrapolated."
        )


def flux_names(wavelength: NDArray[np.float64]) -> NDArray[np.object_]:
    """Return names such as ``flux_4000.00``, with as many decimals as keep them distinct."""
    names: list[str] = []
    for decimals in (2, 4, 6, 12):
        names = [f"flux_{value:.{decimals}f}" for value in wavelength]
        if len(set(names)) == len(names):
            break
    return np.asarray(names, dtype=object)


def resample(flux: FloatMatrix, out: FloatMatrix, matrix: csr_array, least_share: float) -> None:
    """Fill `out` with ``flux @ matrix.T``, pixels with NaN with means over what is good there."""
    out[:] = (matrix @ flux.T).T
    row, column = nonzero(np.isnan(out))
    if row.size:
        # Only these are summed again: few, as a rule.
        some = matrix[column]
        start, picked = some.indptr[:-1], flux[np.repeat(row, np.diff(some.indptr)), some.indices]
        good = ~np.isnan(picked)
        share = np.add.reduceat(np.where(good, some.data, 0), start)
        total = np.add.reduceat(some.data * np.where(good, picked, 0), start)
        out[row, column] = _ratio(total, share, where=share >= least_share, otherwise=np.nan)


def resample_ivar(
    ivar: FloatMatrix, out: FloatMatrix, matrix: csr_array, least_share: float
) -> None:
    """Fill `out` with the inverse variances that `resample` leaves, 0 where it gives NaN."""
    good = ivar > 0
    # In float64: with fluxes in cgs units, inverse variances are near the end of float32.
    variance = _ratio(1.0, ivar.astype(np.float64), where=good, otherwise=0.0)
    share = (matrix @ good.T.astype(np.float64)).T
    total = (matrix.power(2) @ variance.T).T
    with np.errstate(over="ignore", divide="ignore"):
        out[:] = _ratio(share**2, total, where=share >= least_share, otherwise=0.0)
    if np.isinf(out).any():
        raise ValueError(
            f"ivar has values of up to {np.nanmax(ivar):.3g}, too close to the largest number of "
            f"its type, {ivar.dtype}, at {np.finfo(ivar.dtype).max:.3g}: the resampled ones do "
            "not fit. Try another unit of the flux: in a unit of 1e-17 of the present one, ivar "
            "is 1e-34 of what it is now."
        )


def _ratio(
    a: FloatMatrix | float, b: FloatMatrix, *, where: NDArray[np.bool_], otherwise: float
) -> FloatMatrix:
    return np.divide(a, b, out=np.full_like(b, otherwise), where=where)


class Resampler(SpectrumTags, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Resampling of every spectrum onto another wavelength grid.

    Both methods are a sparse matrix, computed once in `fit` and applied to all spectra at once.
    Nothing is extrapolated.

    Parameters
    ----------
    wavelength_in : array-like of shape (n_pixels_in,), default=None
        Wavelength of each column of `X`, in Angstrom, strictly increasing. None says that the
        columns have no known wavelength; `wavelength_out` must then be None too.
    wavelength_out : array-like of shape (n_pixels_out,), default=None
        Wavelengths to resample to, in Angstrom, strictly increasing and inside the range of
        `wavelength_in` (to one part in a million, since surveys store float32). None keeps the
        input pixels: by default `transform` returns a copy.
    method : {"linear", "flux-conserving"}, default="linear"
        How the flux of an output pixel comes about:

        - "linear": the straight line between the two neighbouring input pixels, as in the paper.
          Output pixels much wider than the input ones skip some of them, and lose their signal;
        - "flux-conserving": the mean flux density over the output pixel, each input pixel
          counting by its overlap. Pixels reach halfway to their neighbours. The flux of any run
          of output pixels is that of the input between the same edges.

    Attributes
    ----------
    wavelength_out_ : ndarray of shape (n_pixels_out,) or None
        Wavelength of each output column, None where unknown.
    n_features_in_ : int
        Number of input pixels.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the input columns, where `X` had string column names.

    See Also
    --------
    lamost_grid : The output grid used in the paper.
    mask_pixels : Mark bad pixels by NaN.

    Notes
    -----
    Bad pixels, marked by NaN, do not take part. With "linear" an output pixel is NaN where one of
    its two neighbours is. With "flux-conserving" it is the mean over the good part of it, and NaN
    where that is less than half.

    References
    ----------
    .. [1] Xie et al. 2025, "An adaptive parameter estimator for poor-quality spectral data of
       white dwarfs", A&A 704, A37, section 3.
    .. [2] Carnall 2017, "SpectRes: A fast spectral resampling tool in Python", arXiv:1705.05165,
       for the means over pixels and their variances.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.spectra import Resampler
    >>> flux = np.array([[1.0, 2.0, 4.0]])
    >>> resampler = Resampler([4000.0, 4001.0, 4002.0], [4000.5, 4001.0, 4001.5]).fit(flux)
    >>> resampler.transform(flux)
    array([[1.5, 2. , 3. ]])
    >>> resampler.get_feature_names_out()
    array(['flux_4000.50', 'flux_4001.00', 'flux_4001.50'], dtype=object)
    >>> binned = Resampler(np.arange(6.0), [0.5, 2.5, 4.5], method="flux-conserving")
    >>> binned.fit_transform([[1.0, 3.0, 5.0, np.nan, 8.0, 8.0]])
    array([[2., 5., 8.]])
    """

    def __init__(
        self,
        wavelength_in: ArrayLike | None = None,
        wavelength_out: ArrayLike | None = None,
        *,
        method: str = "linear",
    ) -> None:
        self.wavelength_in = wavelength_in
        self.wavelength_out = wavelength_out
        self.method = method

    def fit(self, X: ArrayLike, y: Any = None) -> Self:  # noqa: ARG002
        """Compute the matrix between the two grids.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels_in)
            Spectra; only their number of columns matters.
        y : None, default=None
            Ignored.

        Returns
        -------
        Resampler
            The fitted transformer.

        Raises
        ------
        ValueError
            If a grid is not strictly increasing, if `wavelength_in` does not have one wavelength
            per column, if `wavelength_out` is not covered by it, or `method` is not known.
        """
        if not isinstance(self.method, str) or self.method not in _METHODS:
            raise ValueError(
                f"method={self.method!r} is not known. Choose one of {sorted(_METHODS)}."
            )
        flux = self._validated(X, reset=True)
        self.wavelength_out_, self._matrix = self._plan(flux.shape[1])
        return self

    def _validated(self, X: ArrayLike, *, reset: bool) -> FloatMatrix:
        return validate_spectra(self, X, reset=reset)

    def _plan(self, n_features: int) -> tuple[NDArray[np.float64] | None, csr_array | None]:
        """Return the output wavelengths and the matrix, None where there is nothing to do."""
        if self.wavelength_in is None and self.wavelength_out is None:
            return None, None
        if self.wavelength_in is None:
            raise ValueError(
                "wavelength_out was given without wavelength_in, so where the columns of X lie is "
                "unknown. Pass wavelength_in, one wavelength per column."
            )
        source = wavelength_of_features(self.wavelength_in, "wavelength_in", n_features)
        if self.wavelength_out is None:
            return source, None
        target = as_wavelength(self.wavelength_out, "wavelength_out")
        _check_covered(source, target)
        return target, _METHODS[self.method][0](source, target)

    def transform(self, X: ArrayLike) -> FloatMatrix:
        """Resample every spectrum.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels_in)
            Spectra sampled at `wavelength_in`; NaN marks bad pixels.

        Returns
        -------
        ndarray of shape (n_spectra, n_pixels_out)
            Spectra sampled at `wavelength_out`, float32 where `X` is float32.
        """
        check_is_fitted(self)
        return self._apply(resample, self._validated(X, reset=False))

    def propagate_ivar(self, ivar: ArrayLike) -> FloatMatrix:
        """Return the inverse variances of the resampled spectra.

        Input pixels are taken as independent, and those without information as masked: what
        `transform` gives for fluxes that are NaN there has these inverse variances. Neighbouring
        output pixels share input pixels and are correlated, which inverse variances cannot tell.

        Parameters
        ----------
        ivar : array-like of shape (n_spectra, n_pixels_in)
            Inverse variances of the input pixels; 0, a negative value or NaN marks a bad pixel.

        Returns
        -------
        ndarray of shape (n_spectra, n_pixels_out)
            Inverse variances of the output pixels, 0 where `transform` gives NaN; float32 where
            `ivar` is float32.

        Raises
        ------
        ValueError
            If `ivar` does not have one column per input pixel, has infinite values, or values so
            large that the output overflows its type.
        """
        check_is_fitted(self)
        weight = check_array(
            ivar, dtype=float_types(ivar), ensure_all_finite="allow-nan", input_name="ivar"
        )
        if weight.shape[1] != self.n_features_in_:
            raise ValueError(
                f"ivar has {weight.shape[1]} pixels per spectrum, but the spectra that the "
                f"resampler was fitted to have {self.n_features_in_}: one value per pixel is "
                "needed."
            )
        return self._apply(resample_ivar, weight)

    def _apply(self, function: Callable[..., None], rows: FloatMatrix) -> FloatMatrix:
        """Return what a function of blocks of rows and the matrix makes of all rows."""
        if self._matrix is None:
            return rows.copy()  # what is done to the result must not change the input
        least_share = _METHODS[self.method][1] - _ROUNDING
        settings = {"matrix": self._matrix.astype(rows.dtype), "least_share": least_share}
        return map_rows(partial(function, **settings), rows, self._matrix.shape[0])

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return one name per output pixel.

        Parameters
        ----------
        input_features : array-like of str of shape (n_pixels_in,), default=None
            Names of the input columns, used only where no wavelength is known.

        Returns
        -------
        ndarray of str objects of shape (n_pixels_out,)
            Names such as ``flux_4000.00`` where wavelengths are known, else the input names.
        """
        check_is_fitted(self)
        if self.wavelength_out_ is None:
            return super().get_feature_names_out(input_features)
        return flux_names(self.wavelength_out_)
