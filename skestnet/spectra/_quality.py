"""The paper's quality cuts: which spectra can be used, and why the others cannot."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from astropy import units as u
from numpy.typing import ArrayLike, NDArray

from skestnet.spectra._container import MISSING, Spectra
from skestnet.spectra._gaps import find_gaps
from skestnet.spectra._wavelength import in_unit

Limits: TypeAlias = tuple[float | u.Quantity, float | u.Quantity] | u.Quantity


@dataclass(frozen=True, eq=False)
class QualityReport:
    """What the quality cuts dropped, and for which reasons.

    A spectrum can be dropped for several reasons; it is then listed under each.

    Attributes
    ----------
    n_spectra : int
        Number of spectra examined.
    indices : dict of str to ndarray of int
        For each reason that was tested ("no label", "no S/N", "consecutive zeros"), the rows
        dropped for it, in increasing order.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.spectra import usable_spectra
    >>> keep, report = usable_spectra(np.ones((3, 10)), labels=[1.0, np.nan, 3.0])
    >>> report.counts
    {'no label': 1, 'consecutive zeros': 0}
    >>> print(report)
    2 of 3 spectra kept, 1 dropped:
      no label: 1
      consecutive zeros: 0
    """

    n_spectra: int
    indices: dict[str, NDArray[np.intp]]

    @property
    def counts(self) -> dict[str, int]:
        """Number of spectra dropped for each reason, as a dict of str to int."""
        return {reason: rows.size for reason, rows in self.indices.items()}

    @property
    def n_dropped(self) -> int:
        """Number of spectra dropped, each counted once whatever the number of its reasons."""
        return len(set().union(*(rows.tolist() for rows in self.indices.values())))

    def __str__(self) -> str:
        kept = self.n_spectra - self.n_dropped
        lines = [f"{kept} of {self.n_spectra} spectra kept, {self.n_dropped} dropped:"]
        lines += [f"  {reason}: {count}" for reason, count in self.counts.items()]
        return "\n".join(lines)


def longest_zero_run(flux: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return the length of the longest run of zeros of every row, shape (n_spectra,)."""
    runs = find_gaps(flux == 0)
    longest = np.zeros(len(flux), dtype=np.intp)
    np.maximum.at(longest, runs.row, runs.length)
    return longest


def _missing_any(labels: ArrayLike, n_spectra: int) -> NDArray[np.bool_]:
    """Return which rows lack a label."""
    missing = ~np.isfinite(_rows(labels, "labels", n_spectra))
    return np.asarray(missing.any(axis=1))


def _missing_all(snr: ArrayLike, n_spectra: int) -> NDArray[np.bool_]:
    """Return which rows have no S/N in any band."""
    ratio = _rows(snr, "snr", n_spectra)
    missing = ~(np.isfinite(ratio) & (ratio > MISSING))
    return np.asarray(missing.all(axis=1))


def _rows(values: ArrayLike, name: str, n_spectra: int) -> NDArray[np.float64]:
    """Return `values` as a matrix with one row per spectrum."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2) or array.shape[0] != n_spectra:
        raise ValueError(
            f"{name} has shape {array.shape}, but one row for each of the {n_spectra} spectra is "
            "needed."
        )
    return array if array.ndim == 2 else array[:, np.newaxis]


def _longest_zero_runs(flux: ArrayLike | Spectra, wavelength_range: Limits) -> NDArray[np.intp]:
    """Return the longest run of zeros of every spectrum of a matrix or of a container."""
    limits = _in_order(wavelength_range)
    if isinstance(flux, Spectra):
        pairs = zip(flux.wavelength, flux.flux, strict=True)
        rows = [_between(wavelength, row, limits) for wavelength, row in pairs]
        if rows and not any(row.size for row in rows):
            raise ValueError(
                f"No spectrum has a pixel in wavelength_range={wavelength_range!r}: {flux!r}. "
                "Numbers are in Angstrom."
            )
        return np.array([longest_zero_run(row[np.newaxis])[0] for row in rows], dtype=np.intp)
    matrix = np.asarray(flux)
    if matrix.ndim != 2:
        raise ValueError(
            f"flux has shape {matrix.shape}, but (n_spectra, n_pixels) is needed. Try "
            "flux.reshape(1, -1) for a single spectrum."
        )
    return longest_zero_run(matrix)


def _in_order(wavelength_range: Limits) -> tuple[float, float]:
    """Return the two wavelengths in Angstrom, or say what is wrong."""
    limits = [in_unit(limit, u.AA, "wavelength_range") for limit in wavelength_range]
    if len(limits) != 2 or not limits[0] < limits[1]:
        raise ValueError(
            f"wavelength_range={wavelength_range!r}: expected two wavelengths, in Angstrom where "
            "they have no unit, the shorter first."
        )
    return float(limits[0]), float(limits[1])


def _between(
    wavelength: NDArray[np.float64], flux: NDArray[np.floating], limits: tuple[float, float]
) -> NDArray[np.floating]:
    """Return the fluxes inside a range of wavelengths, both ends included."""
    return flux[(wavelength >= limits[0]) & (wavelength <= limits[1])]


def usable_spectra(
    flux: ArrayLike | Spectra,
    *,
    labels: ArrayLike | None = None,
    snr: ArrayLike | None = None,
    max_consecutive_zeros: int = 4,
    wavelength_range: Limits = (4000.0, 8000.0),
) -> tuple[NDArray[np.bool_], QualityReport]:
    """Find the spectra that pass the quality cuts of the paper.

    Dropped are spectra with a missing label, with no signal-to-noise ratio, or with more than
    `max_consecutive_zeros` zero fluxes in a row (a piece of the spectrum was lost).

    Parameters
    ----------
    flux : array-like of shape (n_spectra, n_pixels) or Spectra
        Fluxes as observed: before any normalisation, which moves the zeros. Non-finite fluxes are
        not zeros.
    labels : array-like of shape (n_spectra,) or (n_spectra, n_labels), default=None
        Labels; a spectrum of which any label is not finite is dropped. None skips this cut.
    snr : array-like of shape (n_spectra,) or (n_spectra, n_bands), default=None
        Signal-to-noise ratios; missing ones are not finite, or -9999 or below. A spectrum is
        dropped if it has none in any band. None takes the ``snr_*`` columns of the `meta` of a
        `Spectra`, and skips this cut for an array.
    max_consecutive_zeros : int, default=4
        Longest run of zero fluxes that is tolerated: five or more drop a spectrum by default.
    wavelength_range : tuple of two float or Quantity, default=(4000.0, 8000.0)
        Wavelengths, in Angstrom where they have no unit, between which zeros are looked for in a
        `Spectra`, since the ends of survey spectra are often zero. Unused for an array, all of
        which counts.

    Returns
    -------
    keep : ndarray of bool of shape (n_spectra,)
        True for the spectra to keep.
    report : QualityReport
        Counts and rows of the dropped spectra, reason by reason.

    Raises
    ------
    ValueError
        If `labels` or `snr` do not have one row per spectrum, `flux` is not two-dimensional, or
        `wavelength_range` is not in order.

    References
    ----------
    .. [1] Xie et al. 2025, "An adaptive parameter estimator for poor-quality spectral data of
       white dwarfs", A&A 704, A37, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.spectra import usable_spectra
    >>> flux = np.ones((3, 20))
    >>> flux[1, 4:9] = 0.0
    >>> keep, report = usable_spectra(flux, snr=[5.0, 3.0, -9999.0])
    >>> keep
    array([ True, False, False])
    >>> print(report)
    1 of 3 spectra kept, 2 dropped:
      no S/N: 1
      consecutive zeros: 1
    """
    longest = _longest_zero_runs(flux, wavelength_range)
    if snr is None and isinstance(flux, Spectra):
        snr = flux.snr
    bad = {}
    if labels is not None:
        bad["no label"] = _missing_any(labels, longest.size)
    if snr is not None:
        bad["no S/N"] = _missing_all(snr, longest.size)
    bad["consecutive zeros"] = longest > max_consecutive_zeros
    report = QualityReport(longest.size, {why: np.flatnonzero(rows) for why, rows in bad.items()})
    return ~np.logical_or.reduce(list(bad.values())), report
