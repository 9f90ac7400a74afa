"""Scaling of each spectrum by itself: to [0, 1], by its median, or to mean 0 and deviation 1."""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin

from skestnet.spectra._blocks import (
    FloatMatrix,
    SpectrumTags,
    map_rows,
    row_mean,
    row_median,
    validate_spectra,
)

# Below this fraction of the mean absolute flux a median is noise, and dividing by it explodes.
_SMALLEST_MEDIAN = 1e-3


def _nonzero(scale: FloatMatrix) -> FloatMatrix:
    """Return `scale` with 1 in place of 0, so that a constant spectrum becomes 0, not NaN."""
    return np.where(scale == 0, np.ones_like(scale), scale)


def scale_minmax(flux: FloatMatrix, out: FloatMatrix) -> None:
    """Map every row linearly to [0, 1]."""
    low = np.fmin.reduce(flux, axis=1, keepdims=True)
    span = np.fmax.reduce(flux, axis=1, keepdims=True) - low
    np.subtract(flux, low, out=out)
    np.divide(out, _nonzero(span), out=out)


def scale_median(flux: FloatMatrix, out: FloatMatrix) -> None:
    """Divide every row by its absolute median."""
    floor = _SMALLEST_MEDIAN * row_mean(np.abs(flux, out=out))
    out[:] = flux
    np.divide(flux, _nonzero(np.maximum(np.abs(row_median(out)), floor)), out=out)


def scale_standard(flux: FloatMatrix, out: FloatMatrix) -> None:
    """Shift and divide every row to mean 0 and standard deviation 1."""
    # From [0, 1] first: fluxes in cgs units are near 1e-17, and their squares underflow float32.
    scale_minmax(flux, out)
    np.subtract(out, row_mean(out), out=out)
    np.divide(out, _nonzero(np.sqrt(row_mean(out * out))), out=out)


_METHODS: dict[str, Callable[[FloatMatrix, FloatMatrix], None]] = {
    "minmax": scale_minmax,
    "median": scale_median,
    "standard": scale_standard,
}


class FluxScaler(SpectrumTags, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Scaling of each spectrum by its own statistics.

    Row by row and without memory: nothing is learnt in `fit`, and a spectrum is scaled in the
    same way whatever spectra come with it. The result does not depend on the unit of the flux.
    Pixels that are NaN stay NaN and do not enter the statistics.

    Parameters
    ----------
    method : {"minmax", "median", "standard"}, default="minmax"
        What to do to the flux `f` of each spectrum:

        - "minmax": ``(f - min f) / (max f - min f)``, in [0, 1], as the paper does for the
          effective temperature;
        - "median": ``f / |median f|``, which keeps zero where it is. The absolute value keeps a
          spectrum whose median is negative upright; a median below 0.001 of the mean absolute
          flux is taken as that, so that pure noise does not explode. Depths of lines and noise keep
          their size: the best of the three for Teff at a S/N of a few (``bench_ablation.py``);
        - "standard": ``(f - mean f) / std f``.

        A constant spectrum becomes 0 with "minmax" and "standard", and +1 or -1 with "median"
        (0 if it is 0 everywhere).

    Attributes
    ----------
    n_features_in_ : int
        Number of pixels.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where `X` had string column names.

    See Also
    --------
    ContinuumNormalizer : Division by a smooth continuum, as the paper does for log g.

    References
    ----------
    .. [1] Xie et al. 2025, "An adaptive parameter estimator for poor-quality spectral data of
       white dwarfs", A&A 704, A37, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.spectra import FluxScaler
    >>> flux = np.array([[1.0, 3.0, 2.0], [7.0, 7.0, 7.0]])
    >>> FluxScaler().fit_transform(flux)
    array([[0. , 1. , 0.5],
           [0. , 0. , 0. ]])
    """

    def __init__(self, method: str = "minmax") -> None:
        self.method = method

    def fit(self, X: ArrayLike, y: Any = None) -> Self:  # noqa: ARG002
        """Check the parameter and the input; there is nothing to learn.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels)
            Spectra; NaN marks bad pixels.
        y : None, default=None
            Ignored.

        Returns
        -------
        FluxScaler
            The transformer itself.

        Raises
        ------
        ValueError
            If `method` is not one of the three names, or a flux is infinite.
        """
        self._function()
        self._validated(X, reset=True)
        return self

    def transform(self, X: ArrayLike) -> FloatMatrix:
        """Scale every spectrum.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels)
            Spectra; NaN marks bad pixels.

        Returns
        -------
        ndarray of shape (n_spectra, n_pixels)
            Scaled spectra, float32 where `X` is float32.
        """
        flux = self._validated(X, reset=False)
        return map_rows(self._function(), flux, flux.shape[1])

    def _validated(self, X: ArrayLike, *, reset: bool) -> FloatMatrix:
        return validate_spectra(self, X, reset=reset)

    def _function(self) -> Callable[[FloatMatrix, FloatMatrix], None]:
        if not isinstance(self.method, str) or self.method not in _METHODS:
            raise ValueError(
                f"method={self.method!r} is not known. Choose one of {sorted(_METHODS)}."
            )
        return _METHODS[self.method]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags
