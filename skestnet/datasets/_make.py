"""Draw a survey of white dwarfs: stars, catalogue labels, spectra."""

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import log_ndtr, ndtr, ndtri
from sklearn.utils import Bunch, check_random_state

from skestnet.datasets import _survey as survey
from skestnet.datasets._physics import Floats, extinction_curve, white_dwarf_flux

TEFF_RANGE = (6_000.0, 80_000.0)  # K
LOGG_RANGE = (6.5, 9.5)  # dex
_LEVEL = 100.0  # median flux in the blue of a spectrum of median S/N
_ROWS = 64  # spectra computed together: what fits the processor's cache

_DESCR = """\
Synthetic spectra of DA white dwarfs as a survey like LAMOST would deliver them
--------------------------------------------------------------------------------
data         flux, arbitrary units, one spectrum a row; gaps are bridged by straight lines
ivar         inverse variance of the flux; 0 in gaps
wavelength   centres of the pixels, vacuum, Angstrom
snr          median S/N at 4000-5500 A, per native pixel of 1.02 Angstrom
target       catalogue labels: effective temperature (K) and log g (cm s-2, dex)
truth        the labels with which each spectrum was computed
is_outlier   True where target is the label of another star
Computed by skestnet.datasets.make_white_dwarfs, which documents the recipe and its sources.
"""


def make_white_dwarfs(
    n_samples: int = 2000,
    n_pixels: int = 977,
    *,
    snr: float = 3.0,
    snr_scatter: float = 1.0,
    outlier_fraction: float = 0.0,
    label_noise: tuple[float, float] = (0.026, 0.08),
    reddening: float = 0.05,
    velocity: float = 50.0,
    resolution: float | None = 1800.0,
    warp: float = 0.05,
    defects: bool = True,
    return_X_y: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch | tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Make poor-quality spectra of DA white dwarfs with known truth.

    The task is to estimate effective temperature and surface gravity from one noisy spectrum, as in
    Xie et al. [1]_. Nothing is downloaded: spectra are computed from a closed form fitted to the
    models of Koester [2]_, then observed with the errors of a survey like LAMOST. See Notes.

    Parameters
    ----------
    n_samples : int, default=2000
        Number of spectra.
    n_pixels : int, default=977
        Number of equal pixels that fill 4000-8000 Angstrom. The paper uses 3909 ("native" pixels of
        1.02 Angstrom); 977 is about the mean of four of them. Wider pixels are less noisy.
    snr : float, default=3.0
        Median over the spectra of their signal-to-noise ratio. That of one spectrum is the median
        of flux over noise at 4000-5500 Angstrom *per native pixel*, whatever `n_pixels` is: a pixel
        k times as wide has sqrt(k) times the S/N. 1e4 is practically without noise.
    snr_scatter : float, default=1.0
        Standard deviation of ln S/N, which is normal: 0 gives all spectra the same S/N. With the
        defaults the most frequent S/N is 1.1 and one spectrum in 35 is above 20.
    outlier_fraction : float, default=0.0
        Fraction of the spectra, between 0 and 1, whose labels are those of another star, drawn from
        the same population. The spectra are the same, and wrong labels stay wrong, when only this
        fraction grows.
    label_noise : tuple of (float, float), default=(0.026, 0.08)
        Standard deviations of the catalogue's errors: of ln Teff and of log g in dex. The defaults
        resemble the average errors of the paper's labels, 465 K and 0.08 dex.
    reddening : float, default=0.05
        Mean E(B-V) in magnitudes of an exponential distribution, with the extinction law of [3]_.
    velocity : float, default=50.0
        Standard deviation of the radial velocity in km/s, around zero.
    resolution : float or None, default=1800.0
        Wavelength over full width at half maximum of the Gaussian line-spread function, at
        least 100. None: no blurring beyond the pixels.
    warp : float, default=0.05
        Standard deviation of the error of the relative flux calibration (ln flux): smooth
        polynomials and a step where the blue and the red arm meet.
    defects : bool, default=True
        Whether to add residuals of night-sky lines, cosmic rays and gaps.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    random_state : int, RandomState instance or None, default=None
        Seed. Each effect has its own stream: switching one off leaves the others as they were, and
        more samples leave the first spectra as they were.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch` or tuple of (ndarray, ndarray)
        ``(data, target)`` if `return_X_y`, else a Bunch with the attributes

        data : ndarray of shape (n_samples, n_pixels), float32
            Flux per unit wavelength, finite everywhere. The unit is arbitrary and the noise about
            the same in all spectra, so that the level of the flux is proportional to the S/N.
        target : ndarray of shape (n_samples, 2), float64
            Catalogue labels, with errors and outliers: effective temperature in K, log g in dex.
        target_names : list of str
            ``["teff", "logg"]``.
        wavelength : ndarray of shape (n_pixels,)
            Centres of the pixels in Angstrom, vacuum.
        ivar : ndarray of shape (n_samples, n_pixels), float32
            Inverse variance of the flux; 0 in gaps.
        snr : ndarray of shape (n_samples,)
            S/N of each spectrum, defined as for the parameter `snr`.
        truth : ndarray of shape (n_samples, 2), float64
            Labels with which the spectra were computed: for clean test sets.
        is_outlier : ndarray of shape (n_samples,), bool
            Whether the row of `target` belongs to another star.
        DESCR : str
            Short description.

    Raises
    ------
    ValueError
        If a parameter has the wrong type or is out of range; the message says the range.

    Notes
    -----
    *Stars.* log10 Teff is normal around 16,000 K (0.23 dex) within 6,000-80,000 K, seven of ten at
    10,000-30,000 K; log g is concentrated at 8 with wide tails within 6.5-9.5 (0.54 dex).

    *Spectra.* Nearly black-body continuum; lines H-alpha to H-9 in vacuum with wings that fall as
    the 5/2 power [4]_, saturating by Minnaert's formula, strongest at 12,000-14,000 K, wider with
    gravity, which strengthens the higher lines less. The closed form follows the flux of [2]_
    within 1.3% rms at resolution 1800 (4000-8000 Angstrom); equivalent widths of H-alpha to H-delta
    mostly agree within 20% (8,000-40,000 K, log g 7-9; ``benchmarks/bench_quoted.py``). Good for
    tests and demonstrations, not for real stars.

    *Noise.* Gaussian and independent, its dependence on wavelength as in public LAMOST DR1 and DR8
    spectra: three times as large at 4000 as at 5000 Angstrom, larger where the arms meet (5750
    Angstrom) and in night-sky lines.

    *Defects.* Wrongly subtracted sky lines; two cosmic rays per spectrum, on average; in three
    spectra of ten one gap of 5-200 Angstrom, bridged by a straight line so that `data` is usable as
    it is, with ``ivar = 0``. The inverse variance does not know of the other two, as in surveys.

    References
    ----------
    .. [1] Xie et al., "An adaptive parameter estimator for poor-quality spectral data of white
       dwarfs", A&A 704, A37 (2025).
    .. [2] Koester, "White dwarf spectra and atmosphere models", Mem. S.A.It. 81, 921 (2010).
    .. [3] Cardelli, Clayton & Mathis, "The relationship between infrared, optical, and ultraviolet
       extinction", ApJ 345, 245 (1989), with R_V = 3.1.
    .. [4] Tremblay & Bergeron, "Spectroscopic analysis of DA white dwarfs: Stark broadening of
       hydrogen lines including nonideal effects", ApJ 696, 1755 (2009).

    Examples
    --------
    >>> from skestnet.datasets import make_white_dwarfs
    >>> dwarfs = make_white_dwarfs(n_samples=100, outlier_fraction=0.2, random_state=0)
    >>> dwarfs.data.shape, dwarfs.target.shape
    ((100, 977), (100, 2))
    >>> int(dwarfs.is_outlier.sum())
    20
    >>> X, y = make_white_dwarfs(n_samples=100, return_X_y=True, random_state=0)
    """
    _check_ranges(n_samples=n_samples, n_pixels=n_pixels, snr=snr, snr_scatter=snr_scatter)
    _check_ranges(outlier_fraction=outlier_fraction, reddening=reddening, velocity=velocity)
    _check_ranges(warp=warp, **({} if resolution is None else {"resolution": resolution}))
    _check_label_noise(label_noise)
    streams = _streams(random_state)
    truth = _population(streams["stars"], n_samples)
    is_outlier, target = _catalogue(truth, outlier_fraction, label_noise, streams)
    grid = _Grid.build(n_pixels, resolution)
    sight = _sightlines(streams["sightlines"], n_samples, snr_scatter, reddening, velocity, warp)
    data, ivar = _observe(grid, truth, sight, snr, defects, streams)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        target_names=["teff", "logg"],
        wavelength=grid.wavelength,
        ivar=ivar,
        snr=snr * sight["brightness"],
        truth=truth,
        is_outlier=is_outlier,
        DESCR=_DESCR,
    )


# Least and greatest value, and what to try. The bounds keep float32 finite and wavelengths within
# the range of the closed form.
_RANGES: dict[str, tuple[float, float, str]] = {
    "n_samples": (1, np.inf, "2000"),
    "n_pixels": (1, np.inf, "977"),
    "snr": (1e-3, 1e5, "3.0, or 1e4 for spectra practically without noise"),
    "snr_scatter": (0.0, 3.0, "1.0, or 0 for the same S/N in all spectra"),
    "outlier_fraction": (0.0, 1.0, "0.2"),
    "reddening": (0.0, 2.0, "0.05, or 0 for none"),
    "velocity": (0.0, 3000.0, "50.0, or 0 for none"),
    "resolution": (100.0, 1e6, "1800.0, or None for no blurring"),
    "warp": (0.0, 1.0, "0.05, or 0 for none"),
}


def _check_ranges(**parameters: object) -> None:
    for name, value in parameters.items():
        low, high, hint = _RANGES[name]
        kind = "an integer" if name.startswith("n_") else "a number"
        is_kind = _is_integer(value) if name.startswith("n_") else _is_number(value)
        if not (is_kind and low <= float(value) <= high):  # type: ignore[arg-type]
            bounds = f"between {low:g} and {high:g}" if high < np.inf else f"of at least {low:g}"
            raise ValueError(f"Got {name}={value!r}, wanted {kind} {bounds}; try {name}={hint}.")


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_label_noise(value: object) -> None:
    pair = np.asarray(value, dtype=object)
    if pair.shape != (2,) or not all(_is_number(v) and 0.0 <= v <= 1.0 for v in pair):
        raise ValueError(
            f"Got label_noise={value!r}, wanted two numbers between 0 and 1 (errors of ln Teff and "
            "of log g in dex); try label_noise=(0.026, 0.08), or (0, 0) for none."
        )


def _streams(random_state: int | np.random.RandomState | None) -> dict[str, Generator]:
    """One generator for each purpose: switching one effect leaves the others as they were."""
    names = ("stars", "errors", "outliers", "sightlines", "noise", "defects")
    seeds = check_random_state(random_state).randint(2**31 - 1, size=len(names))
    return {name: np.random.default_rng(seed) for name, seed in zip(names, seeds, strict=True)}


def _population(rng: Generator, n: int) -> NDArray[np.float64]:
    """Labels (n, 2) whose spread resembles the paper's sample."""
    u = rng.random((n, 3))
    log_teff = _truncated_normal(u[:, 0], np.log10(16_000.0), 0.23, *np.log10(TEFF_RANGE))
    spread = np.where(u[:, 1] < 0.65, 0.3, 1.5)
    logg = _truncated_normal(u[:, 2], 8.0, spread, *LOGG_RANGE)
    return np.column_stack([10.0**log_teff, logg])


def _truncated_normal(
    u: Floats, mean: float, std: Floats | float, low: float, high: float
) -> Floats:
    a, b = ndtr((low - mean) / std), ndtr((high - mean) / std)
    return mean + std * ndtri(a + (b - a) * u)


def _catalogue(
    truth: Floats,
    outlier_fraction: float,
    label_noise: tuple[float, float],
    streams: dict[str, Generator],
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which labels belong to another star, and all labels with their measurement errors."""
    n = len(truth)
    order = streams["outliers"].permutation(n)
    is_outlier = order < round(outlier_fraction * n)
    other_star = _population(streams["outliers"], n)
    labels = np.where(is_outlier[:, None], other_star, truth)
    error = streams["errors"].standard_normal((n, 2)) * label_noise
    return is_outlier, np.column_stack(
        [labels[:, 0] * np.exp(error[:, 0]), labels[:, 1] + error[:, 1]]
    )


@dataclass(frozen=True)
class _Grid:
    """Everything that depends on the wavelengths only."""

    wavelength: Floats
    fine: Floats
    instrument: csr_array
    dust: Floats
    wiggles: Floats
    noise: Floats
    sky: Floats

    @classmethod
    def build(cls, n_pixels: int, resolution: float | None) -> "_Grid":
        edges = survey.pixel_edges(n_pixels)
        wavelength, fine = survey.centres(edges), survey.oversampled(edges, resolution)
        return cls(
            wavelength,
            fine,
            survey.instrument_matrix(edges, fine, resolution),
            _selective_dust(fine),
            survey.warp_basis(wavelength).astype(np.float32),
            *survey.noise_templates(edges),
        )


def _selective_dust(wavelength: Floats) -> Floats:
    """Extinction in ln flux per E(B-V), less its mean: the level of a spectrum is free anyway."""
    curve = extinction_curve(wavelength)
    return (0.4 * np.log(10.0) * (curve - curve.mean())).astype(np.float32)


def _sightlines(
    rng: Generator, n: int, snr_scatter: float, reddening: float, velocity: float, warp: float
) -> dict[str, Floats]:
    """Draw what differs from one observation to the next, besides the star; one row each."""
    z = rng.standard_normal((n, 10))
    return {
        "brightness": np.exp(snr_scatter * z[:, 0]),
        "ebv": -reddening * log_ndtr(z[:, 1]),
        "velocity": velocity * z[:, 2],
        "warp": warp * z[:, 3:8],
        "noise_tilt": 0.5 * z[:, 8],
        "sky": np.exp(0.5 * z[:, 9]),
    }


def _noiseless(grid: _Grid, truth: Floats, sight: dict[str, Floats]) -> Floats:
    """Blurred, binned, reddened and warped spectra with a median of one in the blue."""
    flux = white_dwarf_flux(grid.fine, truth[:, 0], truth[:, 1], sight["velocity"])
    if sight["ebv"].any():
        flux *= np.exp(-sight["ebv"].astype(np.float32)[:, None] * grid.dust)
    flux = np.ascontiguousarray((grid.instrument @ flux.T).T)
    flux *= np.exp(sight["warp"].astype(np.float32) @ grid.wiggles)
    return flux / survey.blue_median(grid.wavelength, flux)


def _noise_sigma(grid: _Grid, sight: dict[str, Floats]) -> Floats:
    """Noise in units of that of a native pixel at 5000 A."""
    tilt = np.log(grid.wavelength / 5000.0) * sight["noise_tilt"][:, None]
    sky = sight["sky"].astype(np.float32)[:, None] * grid.sky.sum(axis=0)
    return np.exp(tilt.astype(np.float32)) * np.sqrt(grid.noise + sky)


def _observe(
    grid: _Grid,
    truth: Floats,
    sight: dict[str, Floats],
    snr: float,
    defects: bool,
    streams: dict[str, Generator],
) -> tuple[Floats, Floats]:
    flux = np.empty((len(truth), len(grid.wavelength)), np.float32)
    ivar = np.empty_like(flux)
    for rows in _blocks(len(truth)):
        part = {name: values[rows] for name, values in sight.items()}
        flux[rows], ivar[rows] = _expose(grid, truth[rows], part, snr, streams["noise"])
    if defects:
        draws = streams["defects"].random((len(truth), survey.N_DEFECT_DRAWS))
        survey.add_defects(flux, ivar, grid.sky, draws)
    flux *= _LEVEL / snr
    ivar *= (snr / _LEVEL) ** 2
    return flux, ivar


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS) for start in range(0, n, _ROWS))


def _expose(
    grid: _Grid, truth: Floats, sight: dict[str, Floats], snr: float, rng: Generator
) -> tuple[Floats, Floats]:
    """Noisy spectra in units of the native noise, and their inverse variance."""
    flux, sigma = _noiseless(grid, truth, sight), _noise_sigma(grid, sight)
    scale = np.sqrt(survey.N_NATIVE / len(grid.wavelength))
    sigma *= survey.blue_median(grid.wavelength, flux / sigma) / scale
    flux *= (snr * sight["brightness"]).astype(np.float32)[:, None]
    return flux + sigma * rng.standard_normal(flux.shape, dtype=np.float32), sigma**-2
