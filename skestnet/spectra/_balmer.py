"""Where the Balmer lines of white dwarfs lie, in vacuum or in air."""

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import ArrayLike, NDArray

from skestnet.spectra._container import Spectra
from skestnet.spectra._line_fit import line_gain, line_offsets, peak_velocity
from skestnet.spectra._medium import air_from_vacuum
from skestnet.spectra._rebin import rebin_both
from skestnet.spectra._wavelength import BALMER_LINES, SPEED_OF_LIGHT, in_unit

FloatArray = NDArray[np.float64]

# H8 is too close to its neighbours.
_LINES = {name: line for name, line in BALMER_LINES.items() if name != "H8"}
_REFERENCE = _LINES["H-beta"]
_AIR_VELOCITY = SPEED_OF_LIGHT * float(air_from_vacuum(_REFERENCE) / _REFERENCE - 1)

_HALF_WIDTH = 3000.0  # km/s: in wider pieces, neighbouring lines pull at H-delta and H-epsilon
_TRIAL = np.arange(-600.0, 601.0, 20.0)  # km/s
# Of chi-square: noise alone reaches it in a few of a thousand spectra, and in a few of a thousand
# samples of any size with what is added per unit of ln(n_spectra).
_MIN_GAIN, _MIN_GAIN_LINE = 45.0, 25.0  # over all lines, and of a single one
_GAIN_PER_LOG = 4.0
_MAX_SIGMA = 3.0  # a velocity further from both expectations belongs to neither
_SIGMA_PER_MAD = 1.4826  # of a Gaussian
_MAX_LOG = 700.0  # of a float64 that is still finite
_BATCH = 256  # spectra measured at once, so that memory stays small


@dataclass(frozen=True, eq=False)
class BalmerCheck:
    """Where the Balmer lines lie, and what that says of the wavelengths.

    Attributes
    ----------
    verdict : {"vacuum", "air", "undecided"}
        The medium in which the wavelengths are given.
    velocity : float
        Median velocity of the spectra in km/s, relative to the wavelengths in vacuum; NaN where
        no spectrum shows lines.
    velocity_error : float
        Standard error of `velocity`.
    odds : float
        How much more probable `velocity` is with wavelengths in vacuum than in air.
    n_spectra : int
        Number of spectra in which the lines were found.
    lines : astropy.table.Table
        One row per line: its name ``line``, its ``wavelength`` in vacuum, the number of spectra
        ``n_spectra`` in which it was found, their median ``velocity`` and ``velocity_error`` in
        km/s, and the same as a ``shift`` and ``shift_error`` in Angstrom.

    See Also
    --------
    check_balmer_lines : Makes this report.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.spectra import check_balmer_lines
    >>> wavelength = np.arange(4000.0, 7000.0)
    >>> line = 0.5 / (1 + ((wavelength - 4861.33) / 20) ** 2)
    >>> noise = np.random.default_rng(0).normal(scale=0.02, size=(50, 3000))
    >>> check = check_balmer_lines(wavelength, 1 - line + noise)
    >>> check.verdict
    'air'
    >>> check.require("vacuum")
    Traceback (most recent call last):
    ...
    ValueError: The Balmer lines lie at ... km/s ... Try spectra.to_vacuum().
    """

    verdict: str
    velocity: float
    velocity_error: float
    odds: float
    n_spectra: int
    lines: Table

    @property
    def shift_angstrom(self) -> float:
        """The shift that `velocity` is at H-beta, in Angstrom."""
        return self.velocity / SPEED_OF_LIGHT * _REFERENCE

    def require(self, medium: str) -> None:
        """Raise an error unless the wavelengths are in one medium.

        Parameters
        ----------
        medium : {"vacuum", "air"}
            What is needed.

        Raises
        ------
        ValueError
            If `verdict` is another one, be it "undecided".
        """
        if medium not in ("vacuum", "air"):
            raise ValueError(f"medium={medium!r}: expected 'vacuum' or 'air'.")
        if self.verdict != medium:
            raise ValueError(f"{self._summary}, but {medium} is needed. {_ADVICE[self.verdict]}")

    @property
    def _summary(self) -> str:
        if not self.n_spectra:
            return "No spectrum shows Balmer lines, so that the medium stays undecided"
        measured = (
            f"The Balmer lines lie at {self.velocity:+.0f} +- {self.velocity_error:.0f} km/s "
            f"({self.shift_angstrom:+.2f} A at H-beta) from their wavelengths in vacuum, "
            f"{_AIR_VELOCITY:.0f} km/s being expected in air"
        )
        if self.verdict == "undecided":
            return f"{measured}: undecided"
        return f"{measured}: the wavelengths are in {self.verdict}"

    def __str__(self) -> str:
        rows = [
            f"  {row['line']:<9} {row['velocity']:+7.0f} +- {row['velocity_error']:3.0f} km/s "
            f"({row['shift']:+.2f} A, n = {row['n_spectra']})"
            for row in self.lines
            if row["n_spectra"]
        ]
        return "\n".join([f"{self._summary}.", *rows])


_ADVICE = {
    "air": "Try spectra.to_vacuum().",
    "vacuum": "Try air_from_vacuum on the wavelengths.",
    "undecided": "Try more spectra, or spectra of higher S/N, or what the survey documents.",
}


def check_balmer_lines(
    wavelength: Spectra | ArrayLike | u.Quantity,
    flux: ArrayLike | None = None,
    ivar: ArrayLike | None = None,
    *,
    velocity_scatter: float | u.Quantity = 35.0,
    velocity_offset: float | u.Quantity = 20.0,
    min_odds: float = 10.0,
) -> BalmerCheck:
    """Measure the Balmer lines, and say whether wavelengths are in vacuum or in air.

    Air shifts all lines by -84 km/s (-1.36 Angstrom at H-beta), which models in vacuum answer with
    wrong labels. Every spectrum is fitted with symmetric lines at many trial velocities, H-alpha
    to H-epsilon together, without a template; the median over the spectra is compared with 0 and
    -84 km/s.

    Parameters
    ----------
    wavelength : Spectra or array-like or Quantity of shape (n_pixels,)
        Spectra; or the wavelengths, in Angstrom where they have no unit, of `flux`.
    flux : array-like of shape (n_pixels,) or (n_spectra, n_pixels), default=None
        Fluxes of one or many spectra, not necessarily normalised; None with a `Spectra`.
    ivar : array-like of the shape of `flux` or (n_pixels,), default=None
        Inverse variances, 0 for pixels to leave out; one vector serves all spectra. Only their
        ratios within a spectrum matter; None weighs all pixels alike.
    velocity_scatter : float or Quantity, default=35.0
        Standard deviation, in km/s where it has no unit, of the radial velocities of single
        stars, which limits what one star can tell.
    velocity_offset : float or Quantity, default=20.0
        Standard deviation, in km/s where it has no unit, of what many stars have in common:
        errors of the wavelength calibration, and the gravitational redshift of white dwarfs
        (about 30 km/s).
    min_odds : float, default=10.0
        How much more probable one medium has to make the measured velocity than the other.

    Returns
    -------
    BalmerCheck
        Velocities and shifts with their errors, and the verdict.

    Raises
    ------
    ValueError
        If the shapes disagree, or `min_odds` or a standard deviation makes no sense.
    TypeError
        If `flux` is missing, or given besides a `Spectra`.

    Notes
    -----
    The median velocity v is taken to be normally distributed about 0 or -84 km/s, with the
    variance ``error**2 + velocity_offset**2 + velocity_scatter**2 / n``, n being the effective
    number of spectra. The ratio of the two densities are the odds. The verdict is "undecided"
    where they are between ``1 / min_odds`` and `min_odds`, and where v is further than three
    standard deviations from both. A single star at 0 km/s has odds of about 8 only, since it may
    well be an approaching or receding one; ten stars decide. Repeated spectra of one star count
    as different stars.

    A spectrum counts where the lines improve chi-square by ``45 + 4 * ln(n_spectra)``, which white
    noise on LAMOST's pixels reaches in three of a thousand samples of one spectrum, and in seven of
    a thousand samples of ten (``benchmarks/bench_quoted.py``). The error of the median comes from
    the scatter of the spectra, and that of a single spectrum from the scatter about the fit: `ivar`
    does not enter. On models of Koester [1]_ of 7000 to 60000 K, without noise, 97% of the
    velocities are within 10 km/s of 0, and all within 19.

    References
    ----------
    .. [1] Koester 2010, "White dwarf spectra and atmosphere models", Mem. Soc. Astron. Italiana 81,
       921.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.spectra import check_balmer_lines
    >>> wavelength = np.arange(4000.0, 7000.0)
    >>> line = 0.5 / (1 + ((wavelength - 4862.69) / 20) ** 2)
    >>> noise = np.random.default_rng(0).normal(scale=0.02, size=(50, 3000))
    >>> check_balmer_lines(wavelength, 1 - line + noise).verdict
    'vacuum'
    """
    velocity_scatter = in_unit(velocity_scatter, u.km / u.s, "velocity_scatter")
    velocity_offset = in_unit(velocity_offset, u.km / u.s, "velocity_offset")
    _check_numbers(velocity_scatter, velocity_offset, min_odds)
    gains = _gains(_as_spectra(wavelength, flux, ivar))
    measured = _velocities(gains.sum(axis=0), _MIN_GAIN)
    velocity, error, n_effective = _median(*measured, velocity_scatter)
    sigma = np.sqrt(error**2 + velocity_offset**2 + velocity_scatter**2 / n_effective)
    odds, verdict = _decide(velocity, sigma, min_odds)
    n_spectra = int(np.isfinite(measured[0]).sum())
    return BalmerCheck(
        verdict, velocity, error, odds, n_spectra, _line_table(gains, velocity_scatter)
    )


def _check_numbers(velocity_scatter: float, velocity_offset: float, min_odds: float) -> None:
    for name, value in (
        ("velocity_scatter", velocity_scatter),
        ("velocity_offset", velocity_offset),
    ):
        if not 0 <= value < np.inf:
            raise ValueError(
                f"{name}={value!r}: expected a standard deviation in km/s, at least 0."
            )
    if not min_odds > 1:
        raise ValueError(f"min_odds={min_odds!r}: expected a ratio above 1, such as 10.")


def _as_spectra(
    wavelength: Spectra | ArrayLike | u.Quantity, flux: ArrayLike | None, ivar: ArrayLike | None
) -> Spectra:
    if isinstance(wavelength, Spectra):
        if flux is not None or ivar is not None:
            raise TypeError("flux and ivar are part of the Spectra. Pass the Spectra alone.")
        return wavelength
    if flux is None:
        raise TypeError("flux is missing. Pass wavelength and flux, or a Spectra alone.")
    matrix = np.atleast_2d(np.asarray(flux))
    weight = None if ivar is None else np.atleast_2d(np.asarray(ivar))
    if weight is not None and len(weight) == 1:
        weight = np.broadcast_to(weight, (len(matrix), weight.shape[1]))
    return Spectra.from_matrix(wavelength, matrix, weight)


def _gains(spectra: Spectra) -> FloatArray:
    """Return the gain of every line, spectrum and trial velocity."""
    offset = line_offsets(_HALF_WIDTH)
    gains = np.empty((len(_LINES), len(spectra), _TRIAL.size))
    for start in range(0, len(spectra), _BATCH):
        batch = spectra[start : start + _BATCH]
        for gain, line in zip(gains, _LINES.values(), strict=True):
            grid = line * (1 + offset / SPEED_OF_LIGHT)
            # Not to_matrices: spectra need not reach every line.
            arrays = batch.wavelength, batch.flux, batch.ivar, batch.mask
            flux, ivar = rebin_both(*arrays, grid, "nan", "flux-conserving")
            gain[start : start + _BATCH] = line_gain(
                np.nan_to_num(flux).astype(np.float64), ivar.astype(np.float64), offset, _TRIAL
            )
    return gains


def _velocities(gain: FloatArray, min_gain: float) -> tuple[FloatArray, FloatArray]:
    """Return velocity and error of every spectrum, NaN where noise may explain the gain."""
    return peak_velocity(gain, _TRIAL, min_gain + _GAIN_PER_LOG * np.log(max(len(gain), 1)))


def _median(velocity: FloatArray, error: FloatArray, scatter: float) -> tuple[float, float, float]:
    """Return weighted median, its standard error and the effective number of spectra.

    The error is that of the scatter found, but at least what the errors of the spectra give.
    """
    found = np.isfinite(velocity)
    if not found.any():
        return np.nan, np.nan, np.nan
    velocity, error = velocity[found], error[found]
    weight = 1 / (error**2 + scatter**2)
    middle = _weighted_median(velocity, weight)
    n_effective = float(weight.sum() ** 2 / (weight**2).sum())
    sigma = _SIGMA_PER_MAD * _weighted_median(abs(velocity - middle), weight)
    from_scatter = np.sqrt(np.pi / 2 / n_effective) * sigma  # a median's, for normal errors
    return middle, float(max(from_scatter, (error**-2).sum() ** -0.5)), n_effective


def _weighted_median(values: FloatArray, weight: FloatArray) -> float:
    """Return the value at which half of the weight is reached, between two neighbours."""
    order = np.argsort(values)
    share = np.cumsum(weight[order]) - 0.5 * weight[order]
    return float(np.interp(0.5 * weight.sum(), share, values[order]))


def _decide(velocity: float, sigma: float, min_odds: float) -> tuple[float, str]:
    """Return the odds of vacuum against air, and the verdict."""
    from_vacuum, from_air = velocity / sigma, (velocity - _AIR_VELOCITY) / sigma
    odds = float(np.exp(np.clip(0.5 * (from_air**2 - from_vacuum**2), -_MAX_LOG, _MAX_LOG)))
    if odds >= min_odds and abs(from_vacuum) <= _MAX_SIGMA:
        return odds, "vacuum"
    if odds <= 1 / min_odds and abs(from_air) <= _MAX_SIGMA:
        return odds, "air"
    return odds, "undecided"


def _line_table(gains: FloatArray, scatter: float) -> Table:
    measured = [_velocities(gain, _MIN_GAIN_LINE) for gain in gains]
    velocity, error, _ = np.transpose([_median(*line, scatter) for line in measured])
    wavelength = np.array(list(_LINES.values()))
    return Table(
        {
            "line": list(_LINES),
            "wavelength": wavelength,
            "n_spectra": [int(np.isfinite(line[0]).sum()) for line in measured],
            "velocity": velocity,
            "velocity_error": error,
            "shift": velocity / SPEED_OF_LIGHT * wavelength,
            "shift_error": error / SPEED_OF_LIGHT * wavelength,
        }
    )
