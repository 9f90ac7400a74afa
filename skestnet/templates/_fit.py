"""Labels of spectra by chi-squared fits of templates: the traditional method, as a regressor."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from astropy import units as u
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from skestnet._distribution import PredictiveDistribution
from skestnet.spectra._redshift import redshift_of
from skestnet.spectra._wavelength import in_unit, wavelength_of_features
from skestnet.templates._fit_checks import (
    check_parameters,
    checked_positions,
    refuse_rows,
    warn_of_failures,
)
from skestnet.templates._grid import TemplateGrid
from skestnet.templates._lines import FitPixels, Window, line_windows
from skestnet.templates._match import TemplateFit, TemplateMatcher
from skestnet.templates._model import Between

FloatArray = NDArray[np.float64]


class TemplateFitRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Labels of spectra by least-squares fits of templates to spectral lines.

    The traditional method for white dwarfs: in a window around each line, a template times a
    polynomial continuum is fitted to the spectrum. `fit` takes noiseless templates and their
    labels, `predict` minimises

        chi2 = sum(ivar * (flux - continuum * template(labels)) ** 2)

    over the labels, the continuum of each window being solved for exactly at every step.
    Chi-squared of every template says where to start: its lowest minima are followed by a
    Levenberg-Marquardt search between the templates, and the best is kept. DA white dwarfs have
    two, hotter and cooler than the strongest Balmer lines.

    Parameters
    ----------
    wavelength : array-like of shape (n_pixels,), default=None
        Wavelength of each column of `X` in vacuum, in Angstrom, strictly increasing. None takes
        all columns as one window; `lines` is then not used.
    lines : sequence of str or (float, float), \
            default=("H-beta", "H-gamma", "H-delta", "H-epsilon")
        Lines to fit: "H-alpha" to "H-epsilon" and "H8", whose windows have the half-widths of
        [2]_ (300, 200, 120, 75, 50 and 25 Angstrom), or windows given as two wavelengths. Windows
        that overlap are cut midway.
    half_width : float or Quantity, default=None
        Half-width of the windows of all named lines, in Angstrom without a unit. None takes their
        own.
    continuum_degree : int, default=1
        Degree of the polynomial by which the template is multiplied in each window. Windows of
        fewer than four pixels for each coefficient get a lower one.
    max_velocity : float or Quantity, default=0.0
        Radial velocities from minus to plus this are fitted, in km/s without a unit, by the
        relativistic Doppler shift. 0 takes all spectra at rest.
    log_labels : sequence of int, default=()
        Positions of the labels, all above 0, to interpolate in the logarithm of, such as ``(0,)``
        where the first is an effective temperature in K. `from_grid` takes those of the grid.
    log_flux : bool, default=False
        Whether to interpolate the logarithm of the templates, at the pixels where all are above 0,
        instead of the templates, each divided by its level in the window. `from_grid` sets it,
        because grids do so.
    interpolation : {"auto", "cubic", "linear"}, default="auto"
        How to interpolate between templates, as in `TemplateGrid`. `from_grid` takes that of the
        grid.
    max_steps : int, default=50
        Largest number of steps from each start.
    tol : float, default=1e-3
        A fit has converged when the next step is shorter than this, in standard errors.

    Attributes
    ----------
    label_limits_ : ndarray of shape (2, n_labels)
        Smallest and largest value of each label. No fit leaves them.
    windows_ : list of tuple
        Name, first and last wavelength of each window, by wavelength.
    n_features_in_ : int
        Number of pixels.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where `X` had string column names.

    See Also
    --------
    skestnet.EstNetRegressor : The same labels from a neural network, with intervals.

    Notes
    -----
    Templates have to be at the pixels and the resolution of the spectra. Between templates whose
    labels fill a rectangle they are interpolated by cubic splines, elsewhere linearly. `from_grid`
    interpolates as the grid does: spectra simulated from it without noise come back with labels to
    1e-4, unless the search ends in another minimum, which is rare without noise.

    The covariance is the inverse of the Fisher information of labels, velocity and continuum, which
    the errors approach where the noise is small. It knows the noise only, neither what is wrong
    with the templates nor the other minimum. Without `ivar`, the noise is taken from the residuals.

    Noise is taken as independent from pixel to pixel. Fit spectra on the survey's own pixels:
    resampling to pixels of about the same size makes the noise of neighbours alike, which inverse
    variances do not tell. Chi-squared per degree of freedom stays near 1 then, but the errors come
    out too small: the scatter is 1.28 times as large for LAMOST spectra on the pixels of
    `lamost_grid`, 1.41 to 1.46 times for pixels of 2 Angstrom shifted by half a pixel, and from
    pixels of 1 to 2 Angstrom 1.15 to 1.18 times where their centres coincide, and no larger where
    their edges do (``benchmarks/bench_quoted.py``).

    References
    ----------
    .. [1] Bergeron, Saffer and Liebert 1992, "A spectroscopic determination of the mass
       distribution of DA white dwarfs", ApJ 394, 228.
    .. [2] Chandra et al. 2020, "Computational tools for the spectroscopic analysis of white
       dwarfs", MNRAS 497, 2688.
    .. [3] Golub and Pereyra 1973, "The differentiation of pseudo-inverses and nonlinear least
       squares problems whose variables separate", SIAM J. Numer. Anal. 10, 413.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.templates import TemplateFitRegressor
    >>> wavelength = np.linspace(4800, 4920, 121)
    >>> def line(depth):
    ...     return 1 - depth * np.exp(-0.5 * ((wavelength - 4862) / 15) ** 2)
    >>> depth = np.linspace(0.1, 0.9, 9)
    >>> fit = TemplateFitRegressor(wavelength, lines=[(4810, 4910)])
    >>> fit = fit.fit(line(depth[:, np.newaxis]), depth)
    >>> spectrum = 3 * line(0.33) + 0.01 * np.sin(wavelength**2)
    >>> mean, std = fit.predict([spectrum], return_std=True)
    >>> mean.round(2), std.round(3)
    (array([0.33]), array([0.001]))
    """

    def __init__(
        self,
        wavelength: ArrayLike | None = None,
        *,
        lines: Sequence[str | tuple[float, float]] = ("H-beta", "H-gamma", "H-delta", "H-epsilon"),
        half_width: float | u.Quantity | None = None,
        continuum_degree: int = 1,
        max_velocity: float | u.Quantity = 0.0,
        log_labels: Sequence[int] = (),
        log_flux: bool = False,
        interpolation: str = "auto",
        max_steps: int = 50,
        tol: float = 1e-3,
    ) -> None:
        self.wavelength = wavelength
        self.lines = lines
        self.half_width = half_width
        self.continuum_degree = continuum_degree
        self.max_velocity = max_velocity
        self.log_labels = log_labels
        self.log_flux = log_flux
        self.interpolation = interpolation
        self.max_steps = max_steps
        self.tol = tol

    @classmethod
    def from_grid(cls, grid: TemplateGrid, **params: Any) -> Self:
        """Fit a regressor to a grid of templates, and interpolate as the grid does.

        Parameters
        ----------
        grid : TemplateGrid
            Templates at the pixels and the resolution of the spectra, as `TemplateGrid.observe`
            makes them.
        **params : object
            Parameters of the regressor other than `wavelength`. `log_labels`, `log_flux` and
            `interpolation` are those of the grid, unless given.

        Returns
        -------
        TemplateFitRegressor
            The fitted regressor.
        """
        log_labels = [i for i, name in enumerate(grid.label_names) if name in grid.log_labels]
        as_grid = {
            "log_labels": tuple(log_labels),
            "log_flux": True,
            "interpolation": grid.interpolation,
        }
        return cls(grid.wavelength, **{**as_grid, **params}).fit(grid.flux, grid.labels)

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Take templates and their labels.

        Parameters
        ----------
        X : array-like of shape (n_templates, n_pixels)
            Noiseless spectra at the pixels and the resolution of those to be fitted.
        y : array-like of shape (n_templates,) or (n_templates, n_labels)
            Their labels. Templates with equal labels are averaged.

        Returns
        -------
        TemplateFitRegressor
            The fitted regressor.

        Raises
        ------
        ValueError
            If a parameter is out of its range, `wavelength` does not cover a window (shifted by
            `max_velocity`), or a template is not finite.
        """
        check_parameters(self.get_params(deep=False))
        templates, labels = validate_data(
            self, X, y, dtype=[np.float64, np.float32], ensure_all_finite=False,
            ensure_min_features=2, multi_output=True, y_numeric=True,
        )  # fmt: skip
        wavelength, windows = self._windows(templates.shape[1])
        max_velocity = in_unit(self.max_velocity, u.km / u.s, "max_velocity")
        stretch = float(redshift_of(max_velocity))
        pixels = FitPixels.of(wavelength, windows, degree=self.continuum_degree, stretch=stretch)
        refuse_rows(
            ~np.isfinite(templates).all(axis=1),
            "The templates in {rows} of X hold NaN or infinite pixels, but noiseless spectra "
            "without gaps are needed. Leave these templates out.",
        )
        nodes = np.asarray(labels, dtype=np.float64).reshape(len(labels), -1)
        positions = checked_positions(self.log_labels, nodes)
        between = Between(positions, bool(self.log_flux), self.interpolation)
        self._matcher = TemplateMatcher(nodes, templates, wavelength, pixels, max_velocity, between)
        self._pixels, self._one_label = pixels, labels.ndim == 1
        self.windows_ = [tuple(window) for window in windows]
        self.label_limits_ = np.stack([nodes.min(axis=0), nodes.max(axis=0)])
        return self

    def _windows(self, n_pixels: int) -> tuple[FloatArray, list[Window]]:
        """Return the wavelengths, pixel numbers where there are none, and the windows."""
        if self.wavelength is not None:
            wavelength = wavelength_of_features(self.wavelength, "wavelength", n_pixels)
            return wavelength, line_windows(self.lines, self.half_width)
        if self.max_velocity > 0:
            raise ValueError(
                f"max_velocity={self.max_velocity!r} needs to know where the pixels lie. Pass "
                "wavelength, one wavelength per column."
            )
        return np.arange(n_pixels, dtype=np.float64), [Window("all pixels", 0.0, n_pixels - 1.0)]

    def measure(self, X: ArrayLike, ivar: ArrayLike | None = None) -> TemplateFit:
        """Fit spectra, and return all that was found.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels)
            Spectra. Without `ivar` all pixels have to be finite.
        ivar : array-like of shape (n_spectra, n_pixels) or (n_pixels,), default=None
            Inverse variances of the noise. Pixels where they are not positive, or which are not
            finite, are left out. Booleans only say which pixels are good. Without numbers the
            pixels weigh the same, and the noise of each spectrum is taken from its residuals.

        Returns
        -------
        TemplateFit
            Labels, errors, velocities, chi-squared and how the fits ended.

        Raises
        ------
        ValueError
            If a spectrum has no good pixel in any window, or shapes do not fit.
        """
        check_is_fitted(self)
        spectra = validate_data(
            self, X, dtype=[np.float64, np.float32], ensure_all_finite=False, reset=False
        )
        flux, weight = self._pixels.select(spectra), self._weight(spectra, ivar)
        good = np.isfinite(flux) & np.isfinite(weight) & (weight > 0)
        refuse_rows(
            np.asarray(~good.any(axis=1)),
            "Nothing can be measured in {rows} of X: no pixel of any window is finite with a "
            "positive ivar. Leave these spectra out.",
        )
        return self._matcher.fit(flux, weight, good, max_steps=self.max_steps, tol=self.tol)

    def _weight(self, spectra: NDArray[np.floating], ivar: ArrayLike | None) -> NDArray[Any]:
        """Return the weights of the pixels in the windows: inverse variances, or booleans."""
        if ivar is None:
            refuse_rows(
                ~np.isfinite(spectra).all(axis=1),
                "X holds NaN or infinite pixels in {rows}. Pass ivar, 0 where pixels are bad, or "
                "ivar=np.isfinite(X) where the noise is unknown.",
            )
            ivar = np.ones(1, dtype=bool)
        weight = np.asarray(ivar)
        try:
            full = np.broadcast_to(weight, spectra.shape)
        except ValueError as error:
            raise ValueError(
                f"ivar has shape {weight.shape}, but that of X, {spectra.shape}, is needed."
            ) from error
        return self._pixels.select(full)

    def predict(
        self,
        X: ArrayLike,
        ivar: ArrayLike | None = None,
        return_std: bool = False,
        return_cov: bool = False,
    ) -> Any:
        """Fit spectra, and return their labels.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels)
            Spectra, as `measure` takes them.
        ivar : array-like of shape (n_spectra, n_pixels) or (n_pixels,), default=None
            Inverse variances of the noise, as `measure` takes them.
        return_std : bool, default=False
            Return standard errors too.
        return_cov : bool, default=False
            Return covariances too.

        Returns
        -------
        labels : ndarray of shape (n_spectra,) or (n_spectra, n_labels)
            Labels, in the shape that `fit` was given.
        std : ndarray of the shape of `labels`
            Standard errors, with `return_std`.
        cov : ndarray of shape (n_spectra, n_labels, n_labels)
            Covariances of the errors, with `return_cov`.

        Raises
        ------
        ValueError
            If both `return_std` and `return_cov` are asked for, or as `measure` does.

        Warns
        -----
        ConvergenceWarning
            If fits did not converge or ended at a limit of the labels; `measure` tells which.
        """
        if return_std and return_cov:
            raise ValueError(
                "return_std and return_cov are both set: ask for one. The standard errors are the "
                "square roots of the covariances' diagonals."
            )
        found = self.measure(X, ivar)
        warn_of_failures(found)
        labels = self._shaped(found.labels)
        if return_cov:
            return labels, found.covariance
        return (labels, self._shaped(found.std)) if return_std else labels

    def _shaped(self, values: FloatArray) -> FloatArray:
        """Return one column as a vector, where `fit` was given one."""
        return values[:, 0] if self._one_label else values

    def predict_dist(self, X: ArrayLike, ivar: ArrayLike | None = None) -> PredictiveDistribution:
        """Fit spectra, and return normal distributions of their labels.

        Each label has its own: draws of several labels are independent, without the covariances
        that ``predict(X, return_cov=True)`` gives.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels)
            Spectra, as `measure` takes them.
        ivar : array-like of shape (n_spectra, n_pixels) or (n_pixels,), default=None
            Inverse variances of the noise, as `measure` takes them.

        Returns
        -------
        PredictiveDistribution
            Labels and standard errors.

        Raises
        ------
        ValueError
            If a spectrum does not determine its labels, or as `measure` does.

        Warns
        -----
        ConvergenceWarning
            As `predict` does.
        """
        labels, std = self.predict(X, ivar, return_std=True)
        refuse_rows(
            ~np.isfinite(std.reshape(len(std), -1)).all(axis=1),
            "The spectra in {rows} of X do not determine their labels, so that these have no "
            "distribution. Select the others by np.isfinite(fit.measure(X, ivar).std).all(axis=1), "
            "or use predict, where the errors of these are infinite.",
        )
        return PredictiveDistribution(labels[:, np.newaxis], std[:, np.newaxis])
