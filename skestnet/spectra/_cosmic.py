"""Cosmic rays: bright spikes narrower than any line that the instrument can show."""

from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import median_filter
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin

from skestnet.spectra._blocks import (
    FloatMatrix,
    SpectrumTags,
    map_rows,
    nonzero,
    row_median,
    validate_spectra,
)
from skestnet.spectra._gaps import fill_gaps, find_gaps

_DIFFERENCE_TO_SIGMA = 1.4826 / np.sqrt(6)  # of a Gaussian
_NOISE_PIXELS = 200  # over which the noise is taken as constant
_REPLACE = ("median", "nan")


def running_median(flux: FloatMatrix, n_pixels: int) -> FloatMatrix:
    """Return the median of an odd number of pixels around each; the outermost are repeated."""
    half = n_pixels // 2
    padded = np.pad(flux, ((0, 0), (half, half)), mode="edge")
    # As one long row, for which scipy has a faster filter; the padding keeps the rows apart.
    smooth = median_filter(padded.ravel(), size=n_pixels).reshape(padded.shape)
    return smooth[:, half : half + flux.shape[1]]


def local_noise(flux: FloatMatrix) -> FloatMatrix:
    """Return the standard deviation around each pixel, from second differences of the flux.

    These do not see slopes. (Residuals of a running median do: on the flank of a bright line the
    median is the pixel itself.) NaN where fewer than five pixels in a row are good.
    """
    n_rows, n_pixels = flux.shape
    n_parts = max(1, n_pixels // _NOISE_PIXELS)
    length = -(-n_pixels // n_parts)
    parts = np.full((n_rows, n_parts * length), np.nan, dtype=flux.dtype)
    parts[:, 2 : n_pixels - 2] = np.abs(2 * flux[:, 2:-2] - flux[:, :-4] - flux[:, 4:])
    sigma = _DIFFERENCE_TO_SIGMA * row_median(parts.reshape(-1, length)).reshape(n_rows, n_parts)
    return np.repeat(sigma, length, axis=1)[:, :n_pixels]


def find_spikes(
    flux: FloatMatrix, *, threshold: float, width: float
) -> tuple[NDArray[np.bool_], FloatMatrix]:
    """Return which pixels are hit by cosmic rays, and the running median, both like `flux`."""
    bad: NDArray[np.bool_] = np.isnan(flux)
    bridged = flux.copy()
    fill_gaps(bridged, find_gaps(bad), n_neighbors=1)
    reach = int(np.ceil(width))
    # A spike is a third of the pixels at most, so that the median is that of the others.
    smooth = running_median(bridged, 4 * reach + 1)
    excess = np.where(bad, np.nan, flux - smooth)
    # Where there is no noise, rounding errors are no spikes.
    rounding = 8 * np.finfo(flux.dtype).eps * np.abs(smooth)
    limit = threshold * np.maximum(local_noise(flux), rounding)
    excess[bad] = 0.0
    return _spikes(excess, excess > limit, width, reach), smooth


def _spikes(
    excess: FloatMatrix, high: NDArray[np.bool_], width: float, reach: int
) -> NDArray[np.bool_]:
    """Return the high pixels around the narrow ones among the high peaks."""
    n_pixels = excess.shape[1]
    edges = ((0, 0), (reach + 1, reach + 1))
    excess, high = np.pad(excess, edges), np.pad(high, edges)
    # The padding is not high: no index leaves the matrix.
    row, column = nonzero(high)
    here = excess[row, column]
    peak = (here >= excess[row, column - 1]) & (here > excess[row, column + 1])
    row, column = row[peak, np.newaxis], column[peak, np.newaxis]
    left, right = column - np.arange(reach + 2), column + np.arange(reach + 2)
    narrow = _half_width(excess[row, left]) + _half_width(excess[row, right]) < width
    spike = np.zeros_like(high)
    for side in (left[narrow], right[narrow]):
        hit = np.logical_and.accumulate(high[row[narrow], side], axis=1)
        np.logical_or.at(spike, (row[narrow], side), hit)
    return spike[:, reach + 1 : reach + 1 + n_pixels]


def _half_width(profile: FloatMatrix) -> NDArray[np.float64]:
    """Return where each row first falls to half of its first value, infinity where it does not."""
    half = 0.5 * profile[:, :1]
    below = profile <= half
    after = np.argmax(below, axis=1)[:, np.newaxis]
    before = np.maximum(after - 1, 0)
    high, low = (np.take_along_axis(profile, at, axis=1) for at in (before, after))
    drop = np.where(high > low, high - low, 1.0)
    crossing = before + (high - half) / drop
    return np.where(below.any(axis=1), crossing[:, 0], np.inf)


class CosmicRayClipper(SpectrumTags, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Removal of cosmic rays: spikes above the noise and narrower than any line.

    A pixel is hit if it exceeds the running median by `threshold` standard deviations and belongs
    to a peak that is narrower than `width` at half its height. Whatever lies below the median is
    left alone, and so are emission lines that are wider than `width`. The noise is measured in
    each spectrum, over two hundred pixels at a time, from the median of second differences [1]_.

    Parameters
    ----------
    threshold : float, default=5.0
        Height of a spike above the running median, in standard deviations of the noise.
    width : float, default=2.5
        Largest full width at half maximum of a spike, in pixels; one of two equally bright
        pixels has a width of 2. Keep it below the width of a line that the instrument does not
        resolve, or such emission lines are removed too. The running median is over four times as
        many pixels.
    replace : {"nan", "median"}, default="nan"
        What to put in place of the pixels that are hit: NaN, which marks bad pixels for the other
        transformers, or the running median.

    Attributes
    ----------
    n_features_in_ : int
        Number of pixels.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where `X` had string column names.

    See Also
    --------
    MaskedPixelImputer : Fill the pixels that are NaN.

    Notes
    -----
    On Gaussian noise the defaults remove 0.0004% of the pixels, and find 98 to 99% of lone spikes
    of 8 standard deviations (``benchmarks/bench_quoted.py``). An emission line of no more than that
    height may be taken for a spike, since noise makes it narrow. Of fewer than five pixels the
    noise is unknown, and nothing is removed.

    References
    ----------
    .. [1] Stoehr et al. 2008, "DER_SNR: A Simple & General Spectroscopic Signal-to-Noise
       Measurement Algorithm", ASP Conf. Ser. 394, 505, for the noise.
    .. [2] van Dokkum 2001, "Cosmic-ray rejection by Laplacian edge detection", PASP 113, 1420, for
       telling cosmic rays from lines by their sharpness rather than by their height.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.spectra import CosmicRayClipper
    >>> flux = np.random.default_rng(0).normal(10, 0.1, (1, 200))
    >>> flux[0, 50:52] += 3.0
    >>> clean = CosmicRayClipper().fit_transform(flux)
    >>> np.flatnonzero(np.isnan(clean))
    array([50, 51])
    """

    def __init__(self, threshold: float = 5.0, *, width: float = 2.5, replace: str = "nan") -> None:
        self.threshold = threshold
        self.width = width
        self.replace = replace

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
        CosmicRayClipper
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
        for name in ("threshold", "width"):
            value = getattr(self, name)
            if not (isinstance(value, Real) and 0 < float(value) < np.inf):
                raise ValueError(f"{name}={value!r}: expected a finite number above 0.")
        if self.replace not in _REPLACE:
            raise ValueError(
                f"replace={self.replace!r} is not known. Choose one of {list(_REPLACE)}."
            )

    def _validated(self, X: ArrayLike, *, reset: bool) -> FloatMatrix:
        return validate_spectra(self, X, reset=reset)

    def transform(self, X: ArrayLike) -> FloatMatrix:
        """Replace the pixels that are hit by cosmic rays.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels)
            Spectra; NaN marks bad pixels.

        Returns
        -------
        ndarray of shape (n_spectra, n_pixels)
            Spectra without spikes, float32 where `X` is float32.
        """
        self._check_parameters()
        flux = self._validated(X, reset=False)
        return map_rows(self._clip, flux, flux.shape[1])

    def _clip(self, flux: FloatMatrix, out: FloatMatrix) -> None:
        spike, smooth = find_spikes(flux, threshold=self.threshold, width=self.width)
        out[:] = np.where(spike, np.nan if self.replace == "nan" else smooth, flux)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags
