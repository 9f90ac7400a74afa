"""The noise of a spectrum from its flux alone, and more noise of the same kind."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_scalar

from skestnet.spectra._blocks import FloatMatrix, float_types, row_median

# Standard deviations per median absolute value of normal noise; 6 is the sum of the squares of the
# factors 2, -1 and -1.
_SCALE = 1.482602 / np.sqrt(6.0)
_LAG = 2
_FEWEST_PIXELS = 2 * _LAG + 1


def estimate_noise(flux: ArrayLike) -> NDArray[np.floating]:
    """Estimate the noise of each spectrum from the scatter of its pixels.

    The median of ``|2 f[i] - f[i - 2] - f[i + 2]|``, scaled to the standard deviation of normal
    noise that is independent from pixel to pixel (DER_SNR). Lines wider than about five pixels do
    not disturb it, nor do a few bad pixels.

    Parameters
    ----------
    flux : array-like of shape (n_spectra, n_pixels)
        Spectra of at least five pixels, in any unit; NaN where there is no flux.

    Returns
    -------
    ndarray of shape (n_spectra,)
        Standard deviation of the noise per pixel, in the unit of `flux`; NaN for a spectrum
        without three good pixels at the right distances.

    Raises
    ------
    ValueError
        If `flux` is not a matrix of at least five pixels, or holds infinite values.

    References
    ----------
    Stoehr et al. (2008), "DER_SNR: A Simple and General Spectroscopic Signal-to-Noise Measurement
    Algorithm", ASP Conf. Ser. 394, 505.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.spectra import estimate_noise
    >>> flux = 10 + np.random.default_rng(0).normal(scale=2, size=(1, 4000))
    >>> estimate_noise(flux).round(1)
    array([2.])
    """
    return _noise(_checked(flux))


def estimate_snr(flux: ArrayLike) -> NDArray[np.floating]:
    """Estimate the signal-to-noise ratio per pixel of each spectrum from its flux alone.

    The median flux over `estimate_noise`, at least 0: for where no S/N is at hand, such as the
    `group_by` of :class:`~skestnet.CalibratedRegressor`.

    Parameters
    ----------
    flux : array-like of shape (n_spectra, n_pixels)
        Spectra of at least five pixels, in any unit and not shifted (flux zero is no light); NaN
        where there is no flux.

    Returns
    -------
    ndarray of shape (n_spectra,)
        Ratios; infinite without noise, 0 for spectra of no positive flux, NaN for a spectrum
        without three good pixels at the right distances.

    Raises
    ------
    ValueError
        If `flux` is not a matrix of at least five pixels, or holds infinite values.

    References
    ----------
    Stoehr et al. (2008), "DER_SNR: A Simple and General Spectroscopic Signal-to-Noise Measurement
    Algorithm", ASP Conf. Ser. 394, 505.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.spectra import estimate_snr
    >>> flux = 10 + np.random.default_rng(0).normal(scale=2, size=(1, 4000))
    >>> estimate_snr(flux).round(1)
    array([5.])
    """
    matrix = _checked(flux)
    signal = np.maximum(row_median(matrix.copy())[:, 0], 0)
    noise = _noise(matrix)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Neither signal nor noise: a fibre without data has no S/N.
        return np.where(signal > 0, signal / noise, np.where(np.isnan(noise), np.nan, 0.0))


class AddedNoise(BaseEstimator):
    """More noise for each spectrum, in proportion to the noise that it has.

    An `augment` of the networks, for spectra that are noisy already: each training step then sees
    other noise, and noisy spectra cannot be learnt by heart. White noise of one width for all
    (``augment=0.1``) would drown what good spectra show. The validation samples get more noise too,
    so that a network with ``noise="constant"`` takes the noise for somewhat larger than it is in
    spectra to predict.

    Parameters
    ----------
    factor : float, default=1.0
        Standard deviation of the noise that is added, relative to that of the spectrum by
        `estimate_noise`. With 1 the S/N falls by the square root of 2.

    See Also
    --------
    skestnet.EstNetRegressor : Takes it as `augment`.
    skestnet.templates.SpectrumDegrader : Noise for models, which have none.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.spectra import AddedNoise, estimate_noise
    >>> rng = np.random.default_rng(0)
    >>> flux = 10 + rng.normal(scale=2, size=(1, 4000))
    >>> estimate_noise(AddedNoise()(flux, rng)).round(1)
    array([2.9])
    """

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def __call__(self, X: ArrayLike, rng: np.random.Generator) -> NDArray[Any]:
        """Return the spectra with more noise.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels)
            Spectra of at least five pixels; NaN stays NaN.
        rng : numpy.random.Generator
            Source of the noise.

        Returns
        -------
        ndarray of shape (n_spectra, n_pixels)
            Noisier spectra. One whose noise cannot be estimated stays as it is.

        Raises
        ------
        ValueError
            If `factor` is negative, or `X` is not a matrix of at least five pixels.
        """
        check_scalar(self.factor, "factor", (int, float), min_val=0)
        flux = _checked(X)
        noise = np.nan_to_num(_noise(flux)) * self.factor
        normal = rng.standard_normal(flux.shape, dtype=flux.dtype.type)
        return flux + normal * noise[:, np.newaxis].astype(flux.dtype)


def _checked(flux: ArrayLike) -> FloatMatrix:
    matrix = check_array(flux, dtype=float_types(flux), ensure_all_finite="allow-nan")
    if matrix.shape[1] < _FEWEST_PIXELS:
        raise ValueError(
            f"Spectra of {matrix.shape[1]} pixels: expected at least {_FEWEST_PIXELS}, to see how "
            "much neighbouring pixels scatter."
        )
    return matrix


def _noise(flux: FloatMatrix) -> NDArray[np.floating]:
    curved = 2 * flux[:, _LAG:-_LAG] - flux[:, : -2 * _LAG] - flux[:, 2 * _LAG :]
    return row_median(np.abs(curved))[:, 0] * flux.dtype.type(_SCALE)
