"""Linear interpolation of a matrix of spectra from one wavelength grid to another."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

# Survey files store wavelengths in float32, so the same grid differs by 1e-7 between files.
_EDGE_TOLERANCE = 1e-6


def lamost_grid(
    n_pixels: int = 3909, wmin: float = 4000.0, wmax: float = 8000.0
) -> NDArray[np.float64]:
    """Return the wavelength grid of the paper: evenly spaced pixels, both ends included.

    Parameters
    ----------
    n_pixels : int, default=3909
        Number of pixels.
    wmin : float, default=4000.0
        First wavelength, in Angstrom.
    wmax : float, default=8000.0
        Last wavelength, in Angstrom.

    Returns
    -------
    ndarray of shape (n_pixels,)
        Wavelengths in Angstrom, float64.

    References
    ----------
    .. [1] Xie et al. 2025, "An adaptive parameter estimator for poor-quality spectral data of
       white dwarfs", A&A 704, A37, section 3.

    Examples
    --------
    >>> from skestnet.spectra import lamost_grid
    >>> grid = lamost_grid()
    >>> grid.shape, grid[0], grid[-1]
    ((3909,), np.float64(4000.0), np.float64(8000.0))
    """
    return np.linspace(wmin, wmax, n_pixels)


def as_wavelength(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return ``values`` as a strictly increasing float64 vector, or say what is wrong."""
    wavelength = np.asarray(values, dtype=np.float64)
    if wavelength.ndim != 1 or wavelength.size == 0:
        raise ValueError(
            f"{name} has shape {wavelength.shape}, but a one-dimensional array of at least one "
            "wavelength is needed."
        )
    bad = np.flatnonzero(~(np.diff(wavelength) > 0) | ~np.isfinite(wavelength[1:]))
    if bad.size or not np.isfinite(wavelength[0]):
        at = int(bad[0]) if bad.size else 0
        raise ValueError(
            f"{name} must be finite and strictly increasing, but is not near position {at}: "
            f"{wavelength[at : at + 2]}. Try sorting the pixels by wavelength and dropping "
            "repeated ones."
        )
    return wavelength


def wavelength_of_features(values: ArrayLike, name: str, n_features: int) -> NDArray[np.float64]:
    """Return ``values`` checked by `as_wavelength`, one wavelength per feature."""
    wavelength = as_wavelength(values, name)
    if wavelength.size != n_features:
        raise ValueError(
            f"{name} has {wavelength.size} wavelengths, but X has {n_features} features: one "
            "wavelength per column is needed."
        )
    return wavelength


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


def _check_covered(wavelength_in: NDArray[np.float64], wavelength_out: NDArray[np.float64]) -> None:
    """Refuse to extrapolate."""
    low, high = wavelength_in[0], wavelength_in[-1]
    start, stop = wavelength_out[0], wavelength_out[-1]
    if start < low * (1 - _EDGE_TOLERANCE) or stop > high * (1 + _EDGE_TOLERANCE):
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


class Resampler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Linear interpolation of every spectrum onto another wavelength grid.

    The flux at each output wavelength is the straight line between the two neighbouring input
    pixels, as in the paper. Indices and weights are computed once, in `fit`, and applied to all
    spectra at once. Nothing is extrapolated.

    Parameters
    ----------
    wavelength_in : array-like of shape (n_pixels_in,), default=None
        Wavelength of each column of `X`, in Angstrom, strictly increasing. None says that the
        columns have no known wavelength; `wavelength_out` must then be None too.
    wavelength_out : array-like of shape (n_pixels_out,), default=None
        Wavelengths to interpolate to, in Angstrom, strictly increasing and inside the range of
        `wavelength_in` (to one part in a million, since surveys store float32). None keeps the
        input pixels, so that by default nothing changes.

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

    References
    ----------
    .. [1] Xie et al. 2025, "An adaptive parameter estimator for poor-quality spectral data of
       white dwarfs", A&A 704, A37, section 3.

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
    """

    def __init__(
        self, wavelength_in: ArrayLike | None = None, wavelength_out: ArrayLike | None = None
    ) -> None:
        self.wavelength_in = wavelength_in
        self.wavelength_out = wavelength_out

    def fit(self, X: ArrayLike, y: Any = None) -> Self:  # noqa: ARG002
        """Compute the interpolation weights.

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
            per column, or if `wavelength_out` is not covered by it.
        """
        flux = validate_data(self, X, dtype=[np.float64, np.float32])
        self.wavelength_out_, self._weights = self._plan(flux.shape[1])
        return self

    def _plan(
        self, n_features: int
    ) -> tuple[
        NDArray[np.float64] | None,
        tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]] | None,
    ]:
        """Return the output wavelengths and the weights, None where there is nothing to do."""
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
        return target, linear_weights(source, target)

    def transform(self, X: ArrayLike) -> NDArray[np.floating]:
        """Interpolate every spectrum.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels_in)
            Spectra sampled at `wavelength_in`.

        Returns
        -------
        ndarray of shape (n_spectra, n_pixels_out)
            Spectra sampled at `wavelength_out`, float32 where `X` is float32.
        """
        check_is_fitted(self)
        flux = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        if self._weights is None:
            return flux
        left, right, weight = self._weights
        weight = weight.astype(flux.dtype)
        return (1 - weight) * flux[:, left] + weight * flux[:, right]

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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
