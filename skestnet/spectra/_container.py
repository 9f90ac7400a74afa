"""A container of observed spectra that need not share their pixels."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import ArrayLike, NDArray

from skestnet.spectra._medium import vacuum_from_air
from skestnet.spectra._rebin import no_information, rebin, rebin_both
from skestnet.spectra._redshift import as_floats, at_rest, one_redshift_each, redshift_of
from skestnet.spectra._specutils import arrays_of, members
from skestnet.spectra._tables import checked_errors, empty_meta, stack_tables
from skestnet.spectra._vectors import as_vectors, check_pixels, once_each, row_numbers
from skestnet.spectra._wavelength import as_wavelength

# LAMOST writes -9999 where it measured nothing.
MISSING = -9999.0

Rows: TypeAlias = Sequence[ArrayLike] | NDArray[Any] | u.Quantity

_ARRAYS = ("wavelength", "flux", "ivar", "mask", "and_mask")


class Spectra:
    """Observed spectra, each on its own pixels, with the errors and masks they came with.

    Everything is a tuple of one-dimensional arrays, one per spectrum, since surveys cut their
    spectra at different pixels; `to_matrix` brings them to a common grid. Treat the container as
    immutable: indexing with an integer, a slice, an array of integers or a boolean array gives
    another `Spectra` that shares the arrays.

    Parameters
    ----------
    wavelength : sequence of array-like or Quantity
        Wavelengths, strictly increasing: in Angstrom, or with a unit that is brought to Angstrom.
        In vacuum for what `read_spectra` reads.
    flux : sequence of array-like
        Fluxes, in the unit of the survey.
    ivar : sequence of array-like
        Inverse variances of the fluxes; 0 where nothing was measured.
    mask : sequence of array-like of bool, default=None
        True marks a bad pixel, besides those that carry no information, which are always bad:
        inverse variance not above zero, or flux or inverse variance not finite.
    and_mask : sequence of array-like of int, default=None
        Flags of the survey that are set in all exposures, bit by bit; they do not enter `mask`.
        None is zero everywhere.
    meta : astropy.table.Table, default=None
        One row per spectrum. None is a table with no columns but ``file``, which is empty.
    errors : astropy.table.Table, default=None
        What could not be read, one row per file: columns ``file`` and ``error``. None is a table
        without rows.

    Attributes
    ----------
    wavelength : tuple of ndarray of float64
        Wavelengths in Angstrom.
    flux : tuple of ndarray of float32
        Fluxes.
    ivar : tuple of ndarray of float32
        Inverse variances.
    mask : tuple of ndarray of bool
        True marks a bad pixel.
    and_mask : tuple of ndarray of int64
        Flags set in all exposures.
    meta : astropy.table.Table
        One row per spectrum.
    errors : astropy.table.Table
        What could not be read: columns ``file`` and ``error``. Any selection of the spectra keeps
        all of it.

    Raises
    ------
    ValueError
        If the lengths disagree, wavelengths do not increase, or `errors` lacks a column.

    See Also
    --------
    read_spectra : Read survey files into this container.

    Notes
    -----
    The flags of the survey are kept but do not decide what is bad. SDSS sets informative bits
    (such as a bright sky) on pixels whose flux and error are good, and the pixels that LAMOST
    flags in every exposure have an inverse variance of zero anyway. To be stricter, build another
    `Spectra` with ``mask=[m | (a != 0) for m, a in zip(spectra.mask, spectra.and_mask)]``.

    Examples
    --------
    >>> from skestnet.spectra import Spectra
    >>> spectra = Spectra(
    ...     wavelength=[[4000.0, 4001.0, 4002.0], [4000.0, 4002.0]],
    ...     flux=[[1.0, 2.0, 3.0], [5.0, 7.0]],
    ...     ivar=[[1.0, 1.0, 0.0], [1.0, 1.0]],
    ... )
    >>> spectra
    <Spectra: 2 spectra, 2-3 pixels, 4000.0-4002.0 A>
    >>> spectra.to_matrix([4000.5, 4001.5])
    array([[1.5, nan],
           [5.5, 6.5]], dtype=float32)
    >>> len(spectra[[False, True]])
    1
    """

    def __init__(
        self,
        wavelength: Rows,
        flux: Rows,
        ivar: Rows,
        mask: Rows | None = None,
        and_mask: Rows | None = None,
        meta: Table | None = None,
        *,
        errors: Table | None = None,
    ) -> None:
        self.wavelength = once_each(lambda row: as_wavelength(row, "wavelength"), wavelength)
        self.flux = as_vectors(flux, np.float32, "flux")
        self.ivar = as_vectors(ivar, np.float32, "ivar")
        check_pixels(self.wavelength, flux=self.flux, ivar=self.ivar)
        self.mask = self._no_information()
        self.and_mask = (
            self._no_flags() if and_mask is None else as_vectors(and_mask, np.int64, "and_mask")
        )
        check_pixels(self.wavelength, and_mask=self.and_mask)
        if mask is not None:
            marked = as_vectors(mask, np.bool_, "mask")
            check_pixels(self.wavelength, mask=marked)
            self.mask = tuple(map(np.logical_or, self.mask, marked))
        self.meta = empty_meta(len(self.flux)) if meta is None else meta
        self.errors = checked_errors(errors)
        self._check_meta()

    @classmethod
    def from_matrix(
        cls,
        wavelength: ArrayLike,
        flux: ArrayLike,
        ivar: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        meta: Table | None = None,
    ) -> "Spectra":
        """Wrap spectra that share one wavelength grid.

        Rows of float32 matrices are not copied.

        Parameters
        ----------
        wavelength : array-like or Quantity of shape (n_pixels,)
            Wavelengths, in Angstrom where they have no unit, strictly increasing.
        flux : array-like of shape (n_spectra, n_pixels)
            Fluxes.
        ivar : array-like of shape (n_spectra, n_pixels), default=None
            Inverse variances of the fluxes. None gives all finite fluxes the same weight, 1.
        mask : array-like of bool of shape (n_spectra, n_pixels), default=None
            True marks a bad pixel, besides those that carry no information.
        meta : astropy.table.Table, default=None
            One row per spectrum. None is a table with no columns but ``file``, which is empty.

        Returns
        -------
        Spectra
            One spectrum per row.

        Raises
        ------
        ValueError
            If the shapes disagree, or wavelengths do not increase.

        Examples
        --------
        >>> import numpy as np
        >>> from skestnet.spectra import Spectra
        >>> Spectra.from_matrix([4000.0, 4001.0, 4002.0], np.ones((5, 3)))
        <Spectra: 5 spectra, 3 pixels, 4000.0-4002.0 A>
        """
        grid = as_wavelength(wavelength, "wavelength")
        matrix = np.asarray(flux, dtype=np.float32)
        if matrix.ndim != 2:
            raise ValueError(
                f"flux has shape {matrix.shape}, but (n_spectra, n_pixels) is needed. Try "
                "flux.reshape(1, -1) for a single spectrum."
            )
        weight = np.isfinite(matrix) if ivar is None else np.asarray(ivar)
        bad = None if mask is None else np.asarray(mask)
        return cls([grid] * len(matrix), matrix, weight, bad, meta=meta)

    @classmethod
    def from_specutils(cls, spectrum: Any, meta: Table | None = None) -> "Spectra":
        """Take the spectra of specutils, or of classes with the same attributes.

        Wavelengths are sorted and brought to Angstrom from any wavelength, frequency or energy.
        Fluxes keep their numbers, whatever their unit. specutils does not say whether wavelengths
        are in air or in vacuum: see `check_balmer_lines` and `to_vacuum`.

        Parameters
        ----------
        spectrum : object or sequence of objects
            With the attributes ``spectral_axis`` of shape (n_pixels,) and ``flux`` of shape
            (n_pixels,) or (n_spectra, n_pixels), Quantities or arrays; optionally ``uncertainty``
            of a type of `astropy.nddata` and ``mask``, True for bad. Without uncertainties all
            pixels have the inverse variance 1.
        meta : astropy.table.Table, default=None
            One row per spectrum. None is a table with no columns but ``file``, which is empty.

        Returns
        -------
        Spectra
            All spectra, in order. Bad are the masked pixels and those that carry no information.

        Raises
        ------
        TypeError
            If an object lacks ``spectral_axis`` or ``flux``, or has unknown uncertainties.
        ValueError
            If the shapes disagree.

        Examples
        --------
        >>> from types import SimpleNamespace
        >>> from astropy import units as u
        >>> from skestnet.spectra import Spectra
        >>> Spectra.from_specutils(SimpleNamespace(spectral_axis=[500, 400] * u.nm, flux=[1, 2]))
        <Spectra: 1 spectra, 2 pixels, 4000.0-5000.0 A>
        """
        joined = cls.concatenate(cls.from_matrix(*arrays_of(one)) for one in members(spectrum))
        if meta is not None:
            joined.meta = meta
            joined._check_meta()
        return joined

    @classmethod
    def concatenate(cls, spectra: Iterable["Spectra"]) -> "Spectra":
        """Put containers below each other.

        Parameters
        ----------
        spectra : iterable of Spectra
            Any number of them, in order.

        Returns
        -------
        Spectra
            All spectra, whose arrays are shared. `meta` has the columns of all. Where one lacks
            a column, numbers are NaN, texts empty, and truth values False, save ``has_errors``:
            True, since False means that `read_spectra` estimated them. `errors` has the rows of
            all, those of parts of one container once.
        """
        parts = list(spectra) or [cls([], [], [])]
        arrays = zip(*(part._arrays() for part in parts), strict=True)
        errors = {id(part.errors): part.errors for part in parts}
        return cls._unchecked(
            *(tuple(chain.from_iterable(rows)) for rows in arrays),
            meta=stack_tables([part.meta for part in parts]),
            errors=stack_tables(list(errors.values())),
        )

    @classmethod
    def _unchecked(cls, *arrays: Any, meta: Table, errors: Table) -> "Spectra":
        """Return a container of arrays, in the order of `_ARRAYS`, that were checked before."""
        spectra = object.__new__(cls)
        for name, values in zip(_ARRAYS, arrays, strict=True):
            setattr(spectra, name, values)
        spectra.meta, spectra.errors = meta, errors
        return spectra

    def _arrays(self) -> tuple[tuple[NDArray[Any], ...], ...]:
        return tuple(getattr(self, name) for name in _ARRAYS)

    def _no_information(self) -> tuple[NDArray[np.bool_], ...]:
        return tuple(map(no_information, self.flux, self.ivar))

    def _no_flags(self) -> tuple[NDArray[np.int64], ...]:
        return tuple(np.zeros(flux.size, dtype=np.int64) for flux in self.flux)

    def _check_meta(self) -> None:
        if len(self.meta) != len(self):
            raise ValueError(
                f"meta has {len(self.meta)} rows, but there are {len(self)} spectra: one row per "
                "spectrum is needed."
            )

    def __len__(self) -> int:
        return len(self.flux)

    def __array__(self, *args: Any, **kwargs: Any) -> NDArray[Any]:
        raise TypeError(
            "Spectra are no matrix: each may have its own pixels. Bring them to one grid with "
            "spectra.to_matrix(grid)."
        )

    def _target(self, grid: ArrayLike | u.Quantity) -> NDArray[np.float64]:
        """Return a grid in Angstrom, or say that it misses all spectra."""
        target = as_wavelength(grid, "grid")
        spans = [(row[0], row[-1]) for row in self.wavelength]
        if spans and not any(low <= target[-1] and high >= target[0] for low, high in spans):
            low, high = min(span[0] for span in spans), max(span[1] for span in spans)
            raise ValueError(
                f"grid covers {target[0]:.1f}-{target[-1]:.1f} A and the spectra {low:.1f}-"
                f"{high:.1f} A: they have nothing in common. Numbers are in Angstrom; pass an "
                "astropy Quantity for another unit."
            )
        return target

    def __getitem__(self, index: int | slice | ArrayLike) -> "Spectra":
        rows = row_numbers(index, len(self))
        arrays = (tuple(values[row] for row in rows) for values in self._arrays())
        return self._unchecked(*arrays, meta=self.meta[rows], errors=self.errors)

    def __repr__(self) -> str:
        if not len(self):
            return "<Spectra: 0 spectra>"
        sizes = [row.size for row in self.flux]
        low = min(row[0] for row in self.wavelength)
        high = max(row[-1] for row in self.wavelength)
        pixels = f"{min(sizes)}-{max(sizes)}" if min(sizes) < max(sizes) else f"{sizes[0]}"
        return f"<Spectra: {len(self)} spectra, {pixels} pixels, {low:.1f}-{high:.1f} A>"

    @property
    def snr(self) -> NDArray[np.float64] | None:
        """The ``snr_*`` columns of `meta`, shape (n_spectra, n_bands), None where none exist."""
        bands = [name for name in self.meta.colnames if name.startswith("snr_")]
        if not bands:
            return None
        return np.column_stack([np.asarray(self.meta[name], dtype=np.float64) for name in bands])

    def to_vacuum(self) -> "Spectra":
        """Take the wavelengths as air wavelengths and convert them to vacuum.

        Nothing is known about the medium of the wavelengths, so that a second call converts a
        second time; `check_balmer_lines` measures it.

        Returns
        -------
        Spectra
            The same fluxes at wavelengths in vacuum.

        See Also
        --------
        vacuum_from_air : The relation that is used.
        """
        return self._moved(once_each(vacuum_from_air, self.wavelength), self.meta)

    def to_rest_frame(
        self,
        redshift: ArrayLike | None = None,
        *,
        velocity: ArrayLike | u.Quantity | None = None,
    ) -> "Spectra":
        """Divide the wavelengths by one plus the redshift.

        Wavelengths in air are to be converted to vacuum first.

        Parameters
        ----------
        redshift : float or array-like of shape (n_spectra,), default=None
            Redshifts, without unit. None takes the column ``redshift`` of `meta`, or `velocity`
            if given.
        velocity : float, array-like of shape (n_spectra,) or Quantity, default=None
            Radial velocities in km/s, positive for receding stars, instead of redshifts.

        Returns
        -------
        Spectra
            The same fluxes, untouched, at the wavelengths of the rest frame. The column
            ``redshift`` of `meta`, where there is one, becomes the redshift that remains: 0 where
            that very column was used.

        Raises
        ------
        ValueError
            If `redshift` and `velocity` are both given, or neither and `meta` has no column
            ``redshift``; or if a redshift is missing or has a unit, or there is not one per
            spectrum.

        Examples
        --------
        >>> from skestnet.spectra import Spectra
        >>> star = Spectra([[4000.4, 4001.4]], [[1.0, 1.0]], [[1.0, 1.0]])
        >>> star.to_rest_frame(velocity=30.0).wavelength[0]
        array([4000., 4001.])
        """
        z = one_redshift_each(self._redshift(redshift, velocity), len(self))
        meta = self.meta
        if "redshift" in meta.colnames:
            meta = meta.copy()
            meta["redshift"] = (1 + as_floats(meta["redshift"])) / (1 + z) - 1
        return self._moved(once_each(at_rest, self.wavelength, z), meta)

    def _redshift(self, redshift: Any, velocity: Any) -> Any:
        """Return whichever was given, as a redshift."""
        if redshift is not None and velocity is not None:
            raise ValueError("redshift and velocity were both given. Pass one of them.")
        if velocity is not None:
            return redshift_of(velocity)
        if redshift is None and "redshift" not in self.meta.colnames:
            raise ValueError(
                f"No redshift was given, and meta has only the columns {self.meta.colnames}. Pass "
                "redshift or velocity, or add a column redshift to meta."
            )
        return self.meta["redshift"] if redshift is None else redshift

    def _moved(self, wavelength: tuple[NDArray[np.float64], ...], meta: Table) -> "Spectra":
        return self._unchecked(wavelength, *self._arrays()[1:], meta=meta, errors=self.errors)

    def to_matrix(
        self, grid: ArrayLike | u.Quantity, *, masked: str = "nan", method: str = "linear"
    ) -> NDArray[np.float32]:
        """Bring the fluxes of all spectra to one wavelength grid.

        Parameters
        ----------
        grid : array-like or Quantity of shape (n_pixels,)
            Wavelengths, in Angstrom where they have no unit, strictly increasing, such as
            ``lamost_grid()``.
        masked : {"nan", "keep", "bridge"}, default="nan"
            What to do with the pixels marked bad: "nan" leaves them out and gives NaN where they
            are missed, see `method`; "keep" uses their flux as it is, such as the zeros that
            `usable_spectra` looks for; "bridge" interpolates between the good pixels on both
            sides.
        method : {"linear", "flux-conserving"}, default="linear"
            "linear" interpolates at `grid`, between two good pixels. "flux-conserving" gives the
            mean over each pixel around `grid`, whose edges lie halfway between the wavelengths:
            over its good part, if that is at least half. It loses no light, and is to be
            preferred for pixels wider than those of the spectra.

        Returns
        -------
        ndarray of float32 of shape (n_spectra, n_pixels)
            Fluxes at `grid`; NaN outside the pixels of a spectrum.

        Raises
        ------
        ValueError
            If `grid` does not increase strictly, or `masked` or `method` is not one of its names.
        """
        target = self._target(grid)
        return rebin(self.wavelength, self.flux, self.mask, target, masked, method)

    def to_matrices(
        self, grid: ArrayLike | u.Quantity, *, masked: str = "nan", method: str = "linear"
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Bring fluxes and inverse variances of all spectra to one wavelength grid.

        Parameters
        ----------
        grid : array-like or Quantity of shape (n_pixels,)
            As in `to_matrix`.
        masked : {"nan", "keep", "bridge"}, default="nan"
            As in `to_matrix`, for the fluxes.
        method : {"linear", "flux-conserving"}, default="linear"
            As in `to_matrix`.

        Returns
        -------
        flux : ndarray of float32 of shape (n_spectra, n_pixels)
            What `to_matrix` returns.
        ivar : ndarray of float32 of shape (n_spectra, n_pixels)
            Inverse variances of `flux`: ``1 / sum(w**2 / ivar)`` for a flux that is the sum of
            ``w * flux`` of the pixels. 0 outside the pixels of a spectrum, where too many are
            bad, and where a bad pixel that `masked` keeps or bridges went into the flux.
            Neighbouring pixels that share a pixel of the spectrum have correlated errors, which
            no inverse variance can express.

        Raises
        ------
        ValueError
            As in `to_matrix`, or if an inverse variance exceeds the largest float32, as happens
            for fluxes in cgs units. Those in 1e-17 erg/s/cm2/A have inverse variances of order 1.

        Examples
        --------
        >>> from skestnet.spectra import Spectra
        >>> star = Spectra([[4000.0, 4001.0]], [[1.0, 3.0]], [[4.0, 4.0]])
        >>> star.to_matrices([4000.0, 4000.5, 4002.0])
        (array([[ 1.,  2., nan]], dtype=float32), array([[4., 8., 0.]], dtype=float32))
        """
        target = self._target(grid)
        return rebin_both(self.wavelength, self.flux, self.ivar, self.mask, target, masked, method)
