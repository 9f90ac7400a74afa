"""A grid of model spectra: interpolated in its labels, and seen through an instrument."""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
from astropy import units as u
from numpy.typing import ArrayLike, NDArray

from skestnet.spectra._wavelength import as_wavelength
from skestnet.templates._checks import (
    OPTIONAL_LOG_LABELS,
    checked_flux,
    checked_labels,
    checked_log_labels,
)
from skestnet.templates._interpolate import LabelInterpolator, check_method
from skestnet.templates._label_weights import TOLERANCE
from skestnet.templates._load import load_templates
from skestnet.templates._observe import observation_matrix

FloatArray = NDArray[np.float64]


class TemplateGrid:
    """Model spectra at known labels, such as Teff and log g, and anywhere between them.

    The logarithm of the flux is interpolated, pixel by pixel, in the labels and in the logarithm
    of those that are named in `log_labels`. A pixel at which a template is not positive is
    interpolated in the flux itself. Nothing is extrapolated.

    Parameters
    ----------
    wavelength : array-like of shape (n_pixels,)
        Vacuum wavelengths in Angstrom, strictly increasing.
    flux : array-like of shape (n_templates, n_pixels)
        Flux density per Angstrom of the templates, finite. float32 stays float32.
    labels : mapping of str to array-like of shape (n_templates,)
        Values of each label, finite, such as ``{"teff": [...], "logg": [...]}``. The templates of
        repeated labels are averaged in the interpolation.
    log_labels : sequence of str, default=("teff",)
        Labels to interpolate in the logarithm of, which are positive. "teff" may be absent.
    interpolation : {"auto", "cubic", "linear"}, default="auto"
        How to interpolate between templates:

        - labels that fill a rectangle, such as all pairs of 82 values of teff and 13 of logg:
          cubic splines, of lower degree where a label has 2 or 3 values, or straight lines with
          "linear";
        - labels that fill a rectangle in part: multilinear within the cells of which all corners
          exist; a single template missing between two neighbours is put between them;
        - scattered labels: linear in the simplices of a Delaunay triangulation.

        "cubic" refuses all but the first. A label with one value is a constant.

    Attributes
    ----------
    wavelength : ndarray of float64 of shape (n_pixels,)
        Vacuum wavelengths in Angstrom.
    flux : ndarray of shape (n_templates, n_pixels)
        Flux density of the templates.
    labels : ndarray of float64 of shape (n_templates, n_labels)
        Labels of the templates, one column per name.
    label_names : tuple of str
        Names of the labels.
    limits : dict of str to tuple of float
        Smallest and largest value of every label.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, or a name is not known.

    See Also
    --------
    cramer_rao_bound : The smallest errors with which labels can be measured.
    skestnet.spectra.read_spectra : Observed spectra.

    Notes
    -----
    How good the interpolation is can be seen by leaving templates out. Of the models of Koester
    (2010) at a resolution of 1800, 4000-8000 Angstrom, with every second Teff and every second
    log g left out, the others come back with a median error of 1e-4 of the flux, and 99% of the
    pixels to 4e-3 (``benchmarks/bench_quoted.py``); the full grid has half the steps.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.templates import TemplateGrid
    >>> teff, logg = np.meshgrid(np.geomspace(8000, 32000, 9), [7.0, 7.5, 8.0, 8.5, 9.0])
    >>> wavelength = np.linspace(4000, 5000, 500)
    >>> depth = 8000 / teff.reshape(-1, 1)
    >>> width = 10 + 5 * (logg.reshape(-1, 1) - 7)
    >>> flux = np.exp(-depth * np.exp(-0.5 * ((wavelength - 4862.7) / width) ** 2))
    >>> grid = TemplateGrid(wavelength, flux, {"teff": teff.ravel(), "logg": logg.ravel()})
    >>> grid
    <TemplateGrid: 45 templates, teff 8000-32000, logg 7-9, 500 pixels, 4000.0-5000.0 A>
    >>> grid.interpolate([[10000, 8.1], [20000, 7.7]]).shape
    (2, 500)
    >>> grid.contains([[10000, 8.1], [5000, 8.1]])
    array([ True, False])
    >>> grid.observe(np.linspace(4100, 4950, 400), resolution=1800)
    <TemplateGrid: 45 templates, teff 8000-32000, logg 7-9, 400 pixels, 4100.0-4950.0 A>
    """

    def __init__(
        self,
        wavelength: ArrayLike,
        flux: ArrayLike,
        labels: Mapping[str, ArrayLike],
        *,
        log_labels: Sequence[str] = OPTIONAL_LOG_LABELS,
        interpolation: str = "auto",
    ) -> None:
        self.wavelength = as_wavelength(wavelength, "wavelength")
        self.flux = checked_flux(flux, self.wavelength.size)
        self.label_names = tuple(labels)
        self.labels = checked_labels(labels, len(self.flux))
        self.log_labels = checked_log_labels(log_labels, self.label_names, self.labels)
        check_method(interpolation)
        self.interpolation = interpolation
        self._is_log = np.isin(self.label_names, self.log_labels)
        self._log_pixels = (self.flux > 0).all(axis=0)
        # The logarithm of a ratio near 1 keeps more digits in float32 than that of the flux.
        mean = self.flux.mean(axis=0, dtype=np.float64)
        self._unit = np.where(self._log_pixels, mean, 1.0).astype(self.flux.dtype)

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        medium: str | None = None,
        wavelength_range: tuple[float, float] | u.Quantity | None = None,
        verbose: int = 0,
        **params: Any,
    ) -> Self:
        r"""Read templates from numpy archives or from text files of the SVO.

        Parameters
        ----------
        path : str, path-like or iterable of them
            The file or files to read, or a folder, of which all files ending in npz, txt or dat
            are read. A numpy archive (npz) has the arrays ``wavelength`` (n_pixels,), ``flux``
            (n_templates, n_pixels), and one (n_templates,) for each label, under its name. A text
            file as served by the Spanish Virtual Observatory has one template: comment lines such
            as ``# teff = 10000 K`` with its labels, and two columns, wavelength in Angstrom and
            flux.
        medium : {"vacuum", "air"}, default=None
            In what the wavelengths of the files are measured; those in air are converted to
            vacuum. None is vacuum for numpy archives, and refused for text files, which do not
            say: "koester2" of the SVO (Koester 2010) is in air.
        wavelength_range : tuple of float or Quantity, default=None
            Vacuum wavelengths (low, high) to keep, in Angstrom without a unit, None for all. The
            ultraviolet of models has many points, which cost memory.
        verbose : int, default=0
            1 shows a progress bar.
        **params : dict
            Parameters of `TemplateGrid`: `log_labels`, `interpolation`.

        Returns
        -------
        TemplateGrid
            The templates. Where files differ in wavelengths, all are interpolated linearly to the
            wavelengths of all of them together, inside the range common to all, which keeps every
            template as it is between its own points.

        Raises
        ------
        FileNotFoundError
            If a file or folder does not exist.
        ValueError
            If a file holds no template, or has other labels than the first; the message names it.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> from skestnet.templates import TemplateGrid
        >>> text = "# teff = {} K\n# logg = 8.0 log(cm/s2)\n4000 1.5\n4001 1.6\n4002 1.7\n"
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for teff in (10000, 20000):
        ...         path = pathlib.Path(folder) / f"da{teff}_800.dat.txt"
        ...         size = path.write_text(text.format(teff))
        ...     grid = TemplateGrid.read(folder, medium="vacuum")
        >>> grid
        <TemplateGrid: 2 templates, teff 10000-20000, logg 8, 3 pixels, 4000.0-4002.0 A>
        """
        found = load_templates(
            path, medium=medium, wavelength_range=wavelength_range, verbose=verbose
        )
        return cls(*found, **params)

    def __len__(self) -> int:
        return len(self.flux)

    def __repr__(self) -> str:
        ranges = ", ".join(f"{name} {_span(*limits)}" for name, limits in self.limits.items())
        pixels = f"{self.wavelength.size} pixels"
        reach = f"{self.wavelength[0]:.1f}-{self.wavelength[-1]:.1f} A"
        return f"<TemplateGrid: {len(self)} templates, {ranges}, {pixels}, {reach}>"

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest value of every label, as a dict of str to (low, high)."""
        low, high = self.labels.min(axis=0).tolist(), self.labels.max(axis=0).tolist()
        return dict(zip(self.label_names, zip(low, high, strict=True), strict=True))

    @cached_property
    def _interpolator(self) -> LabelInterpolator:
        values = self.flux / self._unit
        np.log(values, out=values, where=self._log_pixels)
        return LabelInterpolator(self._scaled(self.labels), values, method=self.interpolation)

    def _scaled(self, labels: FloatArray) -> FloatArray:
        """Return the labels in the coordinates of the interpolation, NaN where there is none."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log10(labels, out=labels.copy(), where=self._is_log)

    def interpolate(self, labels: ArrayLike) -> NDArray[np.floating]:
        """Return the spectra at `labels`.

        Parameters
        ----------
        labels : array-like of shape (n, n_labels) or (n_labels,)
            Labels, one column for each of `label_names`.

        Returns
        -------
        ndarray of shape (n, n_pixels)
            Flux density at `wavelength`, in the dtype of `flux`.

        Raises
        ------
        ValueError
            If labels are outside the templates (see `contains`).
        """
        values = self._interpolator(self._inside(labels))
        return self._exponentiate(values)

    def jacobian(self, labels: ArrayLike) -> NDArray[np.floating]:
        """Return the derivatives of the spectra with respect to every label.

        Parameters
        ----------
        labels : array-like of shape (n, n_labels) or (n_labels,)
            Labels, one column for each of `label_names`.

        Returns
        -------
        ndarray of shape (n, n_labels, n_pixels)
            Flux density per unit of label (K for teff, dex for logg); exact derivatives of what
            `interpolate` returns. Zero along a label with one value.

        Raises
        ------
        ValueError
            If labels are outside the templates (see `contains`).
        """
        x = self._inside(labels)
        slopes = self._interpolator.jacobian(x)
        chain = np.where(self._is_log, 1 / (10**x * np.log(10)), 1.0).astype(slopes.dtype)
        slopes *= chain[:, :, np.newaxis]
        flux = self._exponentiate(self._interpolator(x))
        np.multiply(slopes, flux[:, np.newaxis], out=slopes, where=self._log_pixels)
        return slopes

    def contains(self, labels: ArrayLike) -> NDArray[np.bool_]:
        """Return where spectra can be interpolated.

        Parameters
        ----------
        labels : array-like of shape (n, n_labels) or (n_labels,)
            Labels, one column for each of `label_names`.

        Returns
        -------
        ndarray of bool of shape (n,)
            Whether the labels are covered by templates (to a part in a million, since grids store
            float32); False where a label is not finite.
        """
        return self._interpolator.contains(self._scaled(self._rows(labels)))

    def select(self, **ranges: tuple[float, float] | float) -> Self:
        """Return the templates inside ranges of labels.

        Parameters
        ----------
        **ranges : tuple of float or float
            For each label the (low, high) to keep, both ends included, or the one value, such as
            ``select(teff=(6000, 40000), logg=8)``.

        Returns
        -------
        TemplateGrid
            The templates that are inside all ranges.

        Raises
        ------
        ValueError
            If a name is not a label, a range is not a pair, or no template is left.
        """
        keep = np.ones(len(self), dtype=np.bool_)
        for name, limits in ranges.items():
            keep &= self._between(name, limits)
        if not keep.any():
            raise ValueError(f"No template is inside {ranges}. The grid has {self.limits}.")
        return self._replaced(self.wavelength, self.flux[keep], self.labels[keep])

    def observe(
        self,
        wavelength: ArrayLike,
        *,
        resolution: ArrayLike | None = None,
        fwhm: ArrayLike | u.Quantity | None = None,
    ) -> Self:
        """Return the grid as an instrument sees it: blurred, and averaged over its pixels.

        Parameters
        ----------
        wavelength : array-like of shape (n_out,)
            Vacuum wavelengths of the centres of the pixels of the instrument, in Angstrom.
        resolution : float or array-like of shape (n_out,), default=None
            Wavelength over full width at half maximum of the line-spread function, a Gaussian.
        fwhm : float, Quantity or array-like of shape (n_out,), default=None
            That full width itself, in Angstrom without a unit. With neither, nothing is blurred.

        Returns
        -------
        TemplateGrid
            The templates at the pixels of the instrument. The templates of this grid are taken as
            free of any instrument: to blur twice adds both widths in quadrature.

        Raises
        ------
        ValueError
            If the templates do not reach far enough for the pixels and three standard deviations
            of the line-spread function at both ends (to one pixel), or if they have lines that
            they sample more coarsely than the instrument does.
        """
        target = as_wavelength(wavelength, "wavelength")
        matrix = observation_matrix(
            self.wavelength, target, self.flux, resolution=resolution, fwhm=fwhm
        )
        flux = (matrix.astype(self.flux.dtype) @ self.flux.T).T
        return self._replaced(target, np.ascontiguousarray(flux), self.labels)

    def _between(self, name: str, limits: tuple[float, float] | float) -> NDArray[np.bool_]:
        """Return which templates are inside the range of one label."""
        if name not in self.label_names:
            raise ValueError(f"{name!r} is not a label of this grid. It has {self.label_names}.")
        pair = np.asarray(limits if np.ndim(limits) else (limits, limits), dtype=np.float64)
        if pair.shape != (2,) or not pair[0] <= pair[1]:
            raise ValueError(f"{name}={limits!r}: expected (low, high), or one value to keep.")
        values, slack = self.labels[:, self.label_names.index(name)], TOLERANCE * np.abs(pair)
        return (values >= pair[0] - slack[0]) & (values <= pair[1] + slack[1])

    def _replaced(
        self, wavelength: FloatArray, flux: NDArray[np.floating], labels: FloatArray
    ) -> Self:
        """Return a grid with other templates and the same parameters."""
        columns = dict(zip(self.label_names, labels.T, strict=True))
        return type(self)(
            wavelength,
            flux,
            columns,
            log_labels=self.log_labels,
            interpolation=self.interpolation,
        )

    def _rows(self, labels: ArrayLike) -> FloatArray:
        """Return labels as a matrix with one column per name."""
        rows = np.asarray(labels, dtype=np.float64)
        rows = rows[np.newaxis] if rows.ndim == 1 else rows
        if rows.ndim != 2 or rows.shape[1] != len(self.label_names):
            raise ValueError(
                f"labels has shape {np.shape(labels)}, but (n, {len(self.label_names)}) is needed: "
                f"one column for each of {self.label_names}."
            )
        return rows

    def _inside(self, labels: ArrayLike) -> FloatArray:
        """Return labels in the coordinates of the interpolation, or say which are outside."""
        rows = self._rows(labels)
        outside = np.flatnonzero(~self.contains(rows))
        if outside.size:
            row = dict(zip(self.label_names, rows[outside[0]].tolist(), strict=True))
            raise ValueError(
                f"Row {outside[0]} of labels, {row}, is not between templates, as are "
                f"{outside.size} of {len(rows)} rows. The templates reach over {self.limits}, and "
                "nothing is extrapolated: try the rows where contains(labels) is True."
            )
        return self._scaled(rows)

    def _exponentiate(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Turn interpolated values into flux, in place."""
        np.exp(values, out=values, where=self._log_pixels)
        return np.multiply(values, self._unit, out=values)


def _span(low: float, high: float) -> str:
    return f"{low:.6g}" if low == high else f"{low:.6g}-{high:.6g}"
