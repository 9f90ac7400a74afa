"""Bad pixels: marked by NaN while a spectrum is prepared, and filled from their neighbours."""

from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin

from skestnet.spectra._blocks import FloatMatrix, SpectrumTags, map_rows, validate_spectra
from skestnet.spectra._gaps import fill_gaps, find_gaps
from skestnet.spectra._rebin import no_information

_REPORT = np.dtype([("n_bad", np.intp), ("n_gaps", np.intp), ("longest", np.intp)])
_UNFILLABLE = ("nan", "raise")


def mask_pixels(
    flux: ArrayLike, ivar: ArrayLike | None = None, mask: ArrayLike | None = None
) -> FloatMatrix:
    """Return the fluxes with NaN in place of the pixels that carry no information.

    Parameters
    ----------
    flux : array-like of shape (n_spectra, n_pixels)
        Fluxes; those that are not finite are bad.
    ivar : array-like of shape (n_spectra, n_pixels), default=None
        Inverse variances; pixels where they are not above zero, or not finite, are bad. None
        masks none.
    mask : array-like of bool of shape (n_spectra, n_pixels), default=None
        True marks a bad pixel. None masks none.

    Returns
    -------
    ndarray of shape (n_spectra, n_pixels)
        A copy with NaN at the bad pixels, float32 where `flux` is float32, float64 otherwise.

    Raises
    ------
    ValueError
        If `ivar` or `mask` does not have the shape of `flux`.

    Examples
    --------
    >>> from skestnet.spectra import mask_pixels
    >>> mask_pixels([[1.0, 2.0, 3.0]], ivar=[[4.0, 0.0, 4.0]], mask=[[True, False, False]])
    array([[nan, nan,  3.]])
    """
    values = np.asarray(flux)
    masked: FloatMatrix = values.astype(
        np.float32 if values.dtype == np.float32 else np.float64, copy=True
    )
    weight = np.ones(1) if ivar is None else _of_shape(ivar, "ivar", masked.shape)
    masked[no_information(masked, weight)] = np.nan
    if mask is not None:
        masked[_of_shape(mask, "mask", masked.shape).astype(bool)] = np.nan
    return masked


def _of_shape(values: ArrayLike, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    array = np.asarray(values)
    if array.shape != shape:
        raise ValueError(
            f"{name} has shape {array.shape}, but flux has {shape}: one value per pixel is needed."
        )
    return array


class MaskedPixelImputer(SpectrumTags, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Filling of bad pixels, marked by NaN, from the good pixels beside them.

    A gap is bridged by a straight line between the medians of the few good pixels on either side,
    so that noise in one pixel is not spread over the whole gap. At the ends of a spectrum, where
    there is only one side, the gap gets the median of that side. Good pixels are not changed.

    Bad pixels travel as NaN through the other transformers of this module, which ignore them;
    this one, before or after the scaling, makes spectra for estimators that refuse NaN.

    Parameters
    ----------
    n_neighbors : int, default=5
        Number of good pixels on either side whose median is taken. 1 interpolates linearly
        between the nearest good pixels.
    max_gap : int, default=None
        Longest gap to fill, in pixels. None fills any.
    unfillable : {"raise", "nan"}, default="raise"
        What to do with gaps longer than `max_gap`, and with spectra without a good pixel: "raise"
        an error that names their rows, or leave them "nan".

    Attributes
    ----------
    n_features_in_ : int
        Number of pixels.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where `X` had string column names.

    See Also
    --------
    mask_pixels : Mark bad pixels by NaN.
    CosmicRayClipper : Find pixels hit by cosmic rays.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.spectra import MaskedPixelImputer
    >>> flux = np.array([[1.0, 2.0, np.nan, np.nan, 5.0, 6.0, np.nan]])
    >>> imputer = MaskedPixelImputer(n_neighbors=2)
    >>> imputer.fit_transform(flux)
    array([[1. , 2. , 3. , 4. , 5. , 6. , 5.5]])
    >>> imputer.gaps(flux)
    array([(3, 2, 2)],
          dtype=[('n_bad', '<i8'), ('n_gaps', '<i8'), ('longest', '<i8')])
    """

    def __init__(
        self, n_neighbors: int = 5, *, max_gap: int | None = None, unfillable: str = "raise"
    ) -> None:
        self.n_neighbors = n_neighbors
        self.max_gap = max_gap
        self.unfillable = unfillable

    def fit(self, X: ArrayLike, y: Any = None) -> Self:  # noqa: ARG002
        """Check the parameters and the input; there is nothing to learn.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels)
            Spectra; NaN marks bad pixels.
        y : None, default=None
            Ignored.

        Returns
        -------
        MaskedPixelImputer
            The transformer itself.

        Raises
        ------
        ValueError
            If a parameter is out of its range, or a flux is infinite.
        """
        self._check_parameters()
        self._validated(X, reset=True)
        return self

    def _check_parameters(self) -> None:
        for name, least in (("n_neighbors", 1), ("max_gap", 0)):
            value = getattr(self, name)
            if name == "max_gap" and value is None:
                continue
            if not (isinstance(value, Integral) and int(value) >= least):
                raise ValueError(f"{name}={value!r}: expected an integer of at least {least}.")
        if self.unfillable not in _UNFILLABLE:
            raise ValueError(
                f"unfillable={self.unfillable!r} is not known. Choose one of {list(_UNFILLABLE)}."
            )

    def _validated(self, X: ArrayLike, *, reset: bool) -> FloatMatrix:
        return validate_spectra(self, X, reset=reset)

    def transform(self, X: ArrayLike) -> FloatMatrix:
        """Fill the bad pixels of every spectrum.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels)
            Spectra; NaN marks bad pixels.

        Returns
        -------
        ndarray of shape (n_spectra, n_pixels)
            Spectra without NaN, save those that `unfillable` leaves; float32 where `X` is float32.

        Raises
        ------
        ValueError
            If a spectrum has no good pixel or a gap longer than `max_gap`, and `unfillable` is
            "raise".
        """
        self._check_parameters()
        flux = self._validated(X, reset=False)
        if self.unfillable == "raise":
            self._refuse_unfillable(flux)
        return map_rows(self._fill, flux, flux.shape[1])

    def _longest_fillable(self, n_pixels: int) -> int:
        """Return the longest gap to fill: never a whole spectrum."""
        return n_pixels - 1 if self.max_gap is None else min(int(self.max_gap), n_pixels - 1)

    def _refuse_unfillable(self, flux: FloatMatrix) -> None:
        longest = _report(flux)["longest"]
        limit = self._longest_fillable(flux.shape[1])
        rows = np.flatnonzero(longest > limit)
        if rows.size and self.max_gap is None:
            raise ValueError(
                f"{rows.size} of {len(flux)} spectra have no good pixel, rows {_some(rows)}. "
                "Leave them out, or keep their NaN with unfillable='nan'."
            )
        if rows.size:
            raise ValueError(
                f"{rows.size} of {len(flux)} spectra cannot be filled, rows {_some(rows)}: they "
                f"have gaps of up to {longest.max()} of {flux.shape[1]} pixels, and at most "
                f"{limit} are filled. Try dropping them (the method gaps finds them), a larger "
                "max_gap, or unfillable='nan' to keep their NaN."
            )

    def _fill(self, flux: FloatMatrix, out: FloatMatrix) -> None:
        out[:] = flux
        bad = np.isnan(flux)
        if bad.any():
            gaps = find_gaps(bad)
            fillable = gaps.length <= self._longest_fillable(flux.shape[1])
            fill_gaps(out, gaps.where(fillable), self.n_neighbors)

    def gaps(self, X: ArrayLike) -> NDArray[np.void]:
        """Count the bad pixels and the gaps of every spectrum; nothing need be fitted.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels)
            Spectra; NaN marks bad pixels.

        Returns
        -------
        structured ndarray of shape (n_spectra,)
            With the integer fields ``n_bad`` (number of bad pixels), ``n_gaps`` (number of runs
            of bad pixels) and ``longest`` (pixels of the longest run).
        """
        return _report(self._validated(X, reset=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags


def _report(flux: FloatMatrix) -> NDArray[np.void]:
    """Return the number of bad pixels, of gaps and the longest gap of every row."""
    gaps = find_gaps(np.isnan(flux))
    report = np.zeros(len(flux), dtype=_REPORT)
    np.add.at(report["n_bad"], gaps.row, gaps.length)
    np.add.at(report["n_gaps"], gaps.row, 1)
    np.maximum.at(report["longest"], gaps.row, gaps.length)
    return report


def _some(rows: NDArray[np.intp], most: int = 10) -> str:
    """Return the first row numbers as text."""
    return f"{rows[:most].tolist()}{' ...' if rows.size > most else ''}"
