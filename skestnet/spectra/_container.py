"""A container of observed spectra that need not share their pixels."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import ArrayLike, DTypeLike, NDArray

from skestnet.spectra._resample import as_wavelength

# LAMOST writes -9999 where it measured nothing.
MISSING = -9999.0


class Spectra:
    """Observed spectra, each on its own pixels, with the errors and masks they came with.

    Everything is a tuple of one-dimensional arrays, one per spectrum, since surveys cut their
    spectra at different pixels; `to_matrix` brings them to a common grid. Treat the container as
    immutable: indexing with an integer, a slice, an array of integers or a boolean array gives
    another `Spectra` that shares the arrays.

    Parameters
    ----------
    wavelength : sequence of array-like
        Wavelengths in Angstrom, in vacuum for what `read_spectra` reads, strictly increasing.
    flux : sequence of array-like
        Fluxes, in the unit of the survey.
    ivar : sequence of array-like
        Inverse variances of the fluxes; 0 where nothing was measured.
    mask : sequence of array-like of bool, default=None
        True marks a bad pixel. None marks the pixels that carry no information: inverse variance
        not above zero, or flux or inverse variance not finite.
    and_mask : sequence of array-like of int, default=None
        Flags of the survey that are set in all exposures, bit by bit; they do not enter `mask`.
        None is zero everywhere.
    meta : astropy.table.Table, default=None
        One row per spectrum. None is a table with no columns but ``file``, which is empty.

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

    Raises
    ------
    ValueError
        If the lengths disagree, or wavelengths do not increase.

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
        wavelength: Sequence[ArrayLike],
        flux: Sequence[ArrayLike],
        ivar: Sequence[ArrayLike],
        mask: Sequence[ArrayLike] | None = None,
        and_mask: Sequence[ArrayLike] | None = None,
        meta: Table | None = None,
    ) -> None:
        self.wavelength = tuple(as_wavelength(row, "wavelength") for row in wavelength)
        self.flux = _vectors(flux, np.float32)
        self.ivar = _vectors(ivar, np.float32)
        self.mask = self._no_information() if mask is None else _vectors(mask, np.bool_)
        self.and_mask = self._no_flags() if and_mask is None else _vectors(and_mask, np.int64)
        self.meta = Table({"file": [""] * len(self.flux)}) if meta is None else meta
        self._check_lengths()

    def _no_information(self) -> tuple[NDArray[np.bool_], ...]:
        return tuple(
            ~(np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0))
            for flux, ivar in zip(self.flux, self.ivar, strict=True)
        )

    def _no_flags(self) -> tuple[NDArray[np.int64], ...]:
        return tuple(np.zeros(flux.size, dtype=np.int64) for flux in self.flux)

    def _check_lengths(self) -> None:
        sizes = [row.size for row in self.wavelength]
        for name in ("flux", "ivar", "mask", "and_mask"):
            found = [row.size for row in getattr(self, name)]
            if found != sizes:
                raise ValueError(
                    f"{name} has {found} pixels per spectrum, but wavelength has {sizes}: every "
                    "spectrum needs one value per wavelength."
                )
        if len(self.meta) != len(sizes):
            raise ValueError(
                f"meta has {len(self.meta)} rows, but there are {len(sizes)} spectra: one row per "
                "spectrum is needed."
            )

    def __len__(self) -> int:
        return len(self.flux)

    def __getitem__(self, index: int | slice | ArrayLike) -> "Spectra":
        rows = _rows(index, len(self))
        picked = object.__new__(Spectra)
        for name in ("wavelength", "flux", "ivar", "mask", "and_mask"):
            values = getattr(self, name)
            setattr(picked, name, tuple(values[row] for row in rows))
        picked.meta = self.meta[rows]
        return picked

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

    def to_matrix(self, grid: ArrayLike, *, masked: str = "nan") -> NDArray[np.float32]:
        """Interpolate all spectra linearly to one wavelength grid.

        Parameters
        ----------
        grid : array-like of shape (n_pixels,)
            Wavelengths in Angstrom, strictly increasing, such as ``lamost_grid()``.
        masked : {"nan", "keep", "bridge"}, default="nan"
            What to do with the pixels marked bad: "nan" gives NaN wherever a bad pixel would
            take part; "keep" uses their flux as it is, such as the zeros that `usable_spectra`
            looks for; "bridge" interpolates between the good pixels on both sides.

        Returns
        -------
        ndarray of float32 of shape (n_spectra, n_pixels)
            Fluxes at `grid`; NaN outside the pixels of a spectrum.

        Raises
        ------
        ValueError
            If `grid` does not increase strictly, or `masked` is not one of the three names.
        """
        if masked not in _MASKED:
            raise ValueError(f"masked={masked!r} is not known. Choose one of {sorted(_MASKED)}.")
        target = as_wavelength(grid, "grid")
        matrix = np.full((len(self), target.size), np.nan, dtype=np.float32)
        for row, *spectrum in zip(matrix, self.wavelength, self.flux, self.mask, strict=True):
            wavelength, flux = _MASKED[masked](*spectrum)
            if wavelength.size:
                row[:] = np.interp(target, wavelength, flux, left=np.nan, right=np.nan)
        return matrix


def _vectors(rows: Iterable[ArrayLike], dtype: DTypeLike) -> tuple[NDArray[Any], ...]:
    """Return every row as an array of native byte order."""
    return tuple(np.asarray(row, dtype=dtype) for row in rows)


def _rows(index: int | slice | ArrayLike, n_spectra: int) -> NDArray[np.intp]:
    """Return the row numbers an index selects, always as a vector."""
    if not isinstance(index, slice) and np.asarray(index).size == 0:
        index = slice(0)
    return np.atleast_1d(np.arange(n_spectra)[index])  # type: ignore[index]


def _nan(
    wavelength: NDArray[Any], flux: NDArray[Any], bad: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[Any]]:
    return wavelength, np.where(bad, np.nan, flux)


def _keep(
    wavelength: NDArray[Any],
    flux: NDArray[Any],
    bad: NDArray[np.bool_],  # noqa: ARG001
) -> tuple[NDArray[Any], NDArray[Any]]:
    return wavelength, flux


def _bridge(
    wavelength: NDArray[Any], flux: NDArray[Any], bad: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[Any]]:
    return wavelength[~bad], flux[~bad]


_MASKED = {"nan": _nan, "keep": _keep, "bridge": _bridge}
