"""Noiseless model spectra put to the quality of a survey."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np
from astropy.table import Table
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from tqdm.auto import tqdm

from skestnet.spectra._container import Spectra
from skestnet.spectra._wavelength import as_wavelength, lamost_grid
from skestnet.templates._draws import Draw, Exponential, Normal, RandomSource, streams
from skestnet.templates._expose import PIXEL_STREAMS, Exposure
from skestnet.templates._instrument import NO_BLUR, Instrument
from skestnet.templates._lamost import READ_NOISE
from skestnet.templates._noise import Sight
from skestnet.templates._patterns import NoisePatterns
from skestnet.templates._sight import SIGHT_STREAMS, draw_sight, known_values, likely_values

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]

_EBV = Exponential(0.03)  # mag
_VELOCITY = Normal(0.0, 50.0)  # km/s
_ROWS = 64  # spectra degraded together: what fits the processor's cache
_MARGIN = 600.0  # km/s, allowed for in the choice of pixels where a function draws the velocity
_DRAWN = (
    "snr", "sky", "read_noise", "ebv", "velocity", "warp", "sky_residual", "cosmic_rays", "missing",
)  # fmt: skip


class DegradedSpectra(NamedTuple):
    """Spectra of survey quality, and what was done to them.

    Attributes
    ----------
    wavelength : ndarray of shape (n_pixels,)
        Wavelengths in Angstrom.
    flux : ndarray of float32 of shape (n_spectra, n_pixels)
        Fluxes in the unit of the input; 0 where missing.
    ivar : ndarray of float32 of shape (n_spectra, n_pixels)
        Inverse variances as a pipeline would report them: they know of the noise and of missing
        pixels, where they are 0, but not of warps, sky residuals and cosmic rays.
    mask : ndarray of bool of shape (n_spectra, n_pixels)
        True marks a missing pixel.
    truth : astropy.table.Table
        One row per spectrum with what was drawn: ``snr``, ``ebv`` and so on. ``cosmic_rays`` and
        ``missing`` are the numbers of hits and of lost stretches, ``pattern`` the row of the
        `NoisePatterns` where they are used.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.templates import SpectrumDegrader
    >>> wavelength = np.arange(3900.0, 8100.0)
    >>> degraded = SpectrumDegrader(wavelength).degrade(np.ones((2, 4200)), random_state=0)
    >>> degraded.flux.shape, len(degraded.truth)
    ((2, 3909), 2)
    """

    wavelength: FloatArray
    flux: Float32Array
    ivar: Float32Array
    mask: NDArray[np.bool_]
    truth: Table


class SpectrumDegrader(BaseEstimator):
    """Degradation of noiseless spectra to the quality of a survey such as LAMOST.

    In this order: reddening, radial velocity, line-spread function and pixels, errors of the flux
    calibration, noise, wrongly subtracted sky lines, cosmic rays, missing pixels. There is nothing
    to fit. An instance can be called like a function to augment training data.

    Whatever differs between spectra is given as

    - a number: the same for all spectra;
    - a tuple ``(low, high)``: drawn uniformly for each spectrum, uniformly in the logarithm for
      `snr`;
    - a function ``f(rng, n)`` that returns `n` values, such as `Normal` and `Exponential`;
    - a list or an array: one value for each spectrum. It fits one number of spectra only, so that
      such a degrader cannot be the `augment` of `EstNetRegressor`, which passes batches.

    Values with a dimension may be Quantities: `velocity`, `fwhm`, `ebv`, `snr_band`.

    Parameters
    ----------
    wavelength_in : array-like of shape (n_pixels_in,)
        Wavelengths of the noiseless spectra in Angstrom, vacuum, strictly increasing.
    wavelength_out : array-like of shape (n_pixels_out,), default=None
        Wavelengths of the pixels to observe in Angstrom. None takes the pixels of
        `lamost_grid` that `wavelength_in` covers.
    resolution : float, tuple, function, array-like or None, default=1800.0
        Wavelength over full width at half maximum of the Gaussian line-spread function. It comes
        on top of that of the input. None is no blurring beyond the pixels. Where spectra differ,
        the width is rounded by up to 1.5%, and `truth` has what was used.
    fwhm : float, tuple, function, array-like or None, default=None
        Full width at half maximum in Angstrom, the same at all wavelengths; it takes the place of
        `resolution`.
    snr : float, tuple, function or array-like, default=(1.0, 30.0)
        Signal-to-noise ratio per output pixel, median over the pixels in `snr_band`. ``np.inf``
        adds no noise, nor sky residuals and cosmic rays, which are measured in it; the inverse
        variance is then that of S/N one million.
    snr_band : tuple of (float, float), default=(4000.0, 5500.0)
        Wavelengths, in Angstrom without a unit, between which the S/N is defined.
    noise : {"lamost", "white"}, NoisePatterns or Spectra, default="lamost"
        How the noise depends on wavelength:

        - "lamost": photons of source and sky and read-out noise, see Notes;
        - "white": the same at all wavelengths;
        - patterns: each spectrum takes the noise and the missing pixels of a real one, at random.
          `Spectra` become `NoisePatterns` with the default settings.
    read_noise : float, tuple, function or array-like, default=15.0
        Read-out noise of "lamost", in electrons per native pixel (1e-4 in log10 wavelength).
    sky : float, tuple, function or array-like, default=(0.5, 2.0)
        Brightness of the sky of "lamost", 1 where the table of Notes was measured.
    ebv : float, tuple, function or array-like, default=Exponential(mean=0.03)
        Colour excess E(B-V) in magnitudes; the extinction law is `extinction`.
    velocity : float, tuple, function or array-like, default=Normal(mean=0.0, std=50.0)
        Radial velocity in km/s, positive to the red; at most 3000 either way. The Doppler shift is
        the relativistic one.
    warp : float, tuple, function or array-like, default=0.05
        Standard deviation of the error of the relative flux calibration (ln flux): smooth
        polynomials, and a step at 5800 A where the arms of the spectrograph meet.
    sky_residual : float, tuple, function or array-like, default=1.5
        Wrongly subtracted lines of the night sky, in units of the noise that they add.
    cosmic_rays : float, tuple, function or array-like, default=2.0
        Mean number of cosmic rays that stayed in a spectrum (Poisson). Each adds to one pixel; its
        height is exponential with a mean of 15 times the noise.
    missing : float, tuple, function or array-like, default=0.36
        Mean number of lost stretches per spectrum (Poisson), each 5-200 A wide (log-uniform): the
        default cuts three spectra of ten.

    See Also
    --------
    simulate_survey : Draws labels and degrades the templates of a grid.
    NoisePatterns : Noise and gaps of real spectra.

    Notes
    -----
    The variance of a pixel that collects `C` electrons of the source is ``C + sky +
    read_noise**2``. `C` is proportional to the flux and to a throughput, and its level follows from
    the S/N: the noise of faint spectra has the colour of the sky's, that of bright ones their own.
    Throughput, sky continuum and sky lines were read off the errors of public LAMOST DR1
    low-resolution spectra of stars of different brightness, 3700-9100 A, which they follow within
    5% in the median, and within 10% in three pixels of four. The noise is then scaled so that the
    median S/N is exactly the one that was drawn.

    The flux is not renormalised: without noise and warp it has the unit and the level of the
    input, dimmed by the dust. Setting a strength to 0 switches it off and leaves the random numbers
    of the others as they were.

    The wavelengths, and real noise, are prepared once, at the first call: pass new arrays rather
    than changing their elements.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.templates import SpectrumDegrader
    >>> wavelength = np.arange(3900.0, 8100.0)
    >>> flux = (wavelength / 5000) ** -3 * np.ones((10, 1))
    >>> degrader = SpectrumDegrader(wavelength, snr=(1, 5), ebv=0.0)
    >>> degraded = degrader.degrade(flux, random_state=0)
    >>> bool(degraded.truth["snr"].max() < 5)
    True
    >>> degrader(flux, random_state=0).shape
    (10, 3909)
    """

    def __init__(
        self,
        wavelength_in: ArrayLike,
        wavelength_out: ArrayLike | None = None,
        *,
        resolution: Draw | None = 1800.0,
        fwhm: Draw | None = None,
        snr: Draw = (1.0, 30.0),
        snr_band: tuple[float, float] = (4000.0, 5500.0),
        noise: str | NoisePatterns | Spectra = "lamost",
        read_noise: Draw = READ_NOISE,
        sky: Draw = (0.5, 2.0),
        ebv: Draw = _EBV,
        velocity: Draw = _VELOCITY,
        warp: Draw = 0.05,
        sky_residual: Draw = 1.5,
        cosmic_rays: Draw = 2.0,
        missing: Draw = 0.36,
    ) -> None:
        self.wavelength_in = wavelength_in
        self.wavelength_out = wavelength_out
        self.resolution = resolution
        self.fwhm = fwhm
        self.snr = snr
        self.snr_band = snr_band
        self.noise = noise
        self.read_noise = read_noise
        self.sky = sky
        self.ebv = ebv
        self.velocity = velocity
        self.warp = warp
        self.sky_residual = sky_residual
        self.cosmic_rays = cosmic_rays
        self.missing = missing

    def check(self) -> Self:
        """Check the parameters and prepare what depends on wavelengths only.

        `degrade` does this itself; call it to hear of mistakes before any work. `Normal` and
        `Exponential` velocities and widths have to be covered up to 6 and 20 of their standard
        deviations, so that no later draw fails; values of other functions are checked when they
        are drawn.

        Returns
        -------
        SpectrumDegrader
            The degrader itself.

        Raises
        ------
        ValueError
            If a parameter is out of range, or `wavelength_out` is not covered by `wavelength_in`
            including the line-spread function and the radial velocities.
        """
        likely, instrument = likely_values(self._parameters()), self._exposure().instrument
        width = likely.get(instrument.blur, NO_BLUR[instrument.blur])
        instrument.check(likely.get("velocity", np.zeros(1)), width)
        return self

    def degrade(self, flux: ArrayLike, *, random_state: RandomSource = None) -> DegradedSpectra:
        """Degrade spectra and keep what was drawn.

        Parameters
        ----------
        flux : array-like of shape (n_spectra, n_pixels_in)
            Noiseless fluxes at `wavelength_in`, finite and not negative.
        random_state : int, Generator, RandomState or None, default=None
            Seed. The first spectra stay as they were when others are added after them. A
            Generator is advanced, so that each call gives other spectra.

        Returns
        -------
        DegradedSpectra
            Wavelengths, fluxes, inverse variances, masks and what was drawn.

        Raises
        ------
        ValueError
            If a parameter or a drawn value is out of range, `wavelength_out` is not covered, or
            `flux` has the wrong shape or values.
        """
        matrix = _matrix(flux, np.size(self.wavelength_in))
        return self._run(len(matrix), lambda rows: matrix[rows], random_state)

    def __call__(self, flux: ArrayLike, random_state: RandomSource = None) -> Float32Array:
        """Return degraded fluxes (n_spectra, n_pixels_out), NaN where missing."""
        degraded = self.degrade(flux, random_state=random_state)
        degraded.flux[degraded.mask] = np.nan
        return degraded.flux

    def _run(
        self,
        n: int,
        flux_of: Callable[[slice], NDArray[Any]],
        random_state: RandomSource,
        verbose: int = 0,
    ) -> DegradedSpectra:
        """Degrade the `n` spectra that `flux_of` gives block by block."""
        if n < 1:
            raise ValueError(f"There are {n} spectra to degrade, but at least one is needed.")
        exposure = self.check()._exposure()
        rngs = streams(random_state, (*SIGHT_STREAMS, *PIXEL_STREAMS))
        sight = draw_sight(self._parameters(), n, rngs)
        sight |= exposure.law.draws(rngs["pattern"], n)
        instrument = exposure.instrument
        instrument.check(sight["velocity"], sight["width"])
        done = _empty(n, instrument.target, _truth(sight, instrument.blur))
        for rows in _blocks(n, verbose):
            flux, scale = _unit_flux(flux_of(rows)[:, instrument.used], rows.start)
            here = {name: values[rows] for name, values in sight.items()}
            _store(done, rows, exposure.expose(flux, here, rngs), scale)
        return done

    def _parameters(self) -> dict[str, Draw]:
        """Return what is drawn for each spectrum, with the one width that is used."""
        drawn = {name: getattr(self, name) for name in _DRAWN}
        if self.fwhm is None and self.resolution is not None:
            return {**drawn, "resolution": self.resolution}
        return {**drawn, "fwhm": 0.0 if self.fwhm is None else self.fwhm}

    def _exposure(self) -> Exposure:
        """Return what depends on the parameters only, computed anew when one was replaced."""
        key = tuple(self.get_params(deep=False).values())
        held = getattr(self, "_held", None)
        if held is None or any(a is not b for a, b in zip(held[0], key, strict=True)):
            held = self._held = key, self._prepare()
        return held[1]

    def _prepare(self) -> Exposure:
        parameters = self._parameters()
        known = known_values(parameters)
        source = as_wavelength(self.wavelength_in, "wavelength_in")
        (blur,) = {"resolution", "fwhm"} & set(parameters)
        if self.wavelength_out is None:
            likely = likely_values(parameters)
            velocity = likely.get("velocity", np.array([-_MARGIN, _MARGIN]))
            width = likely.get(blur, NO_BLUR[blur])
            target = Instrument(source, lamost_grid(), blur).covered(velocity, width)
        else:
            target = as_wavelength(self.wavelength_out, "wavelength_out")
        instrument = Instrument(source, target, blur)
        if blur in known:
            instrument = instrument.cropped(known[blur])
        dusty = bool(known.get("ebv", np.ones(1)).any())
        return Exposure.prepare(instrument, self.snr_band, self.noise, dusty)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_held"}


def _matrix(flux: ArrayLike, n_pixels: int) -> NDArray[Any]:
    """Return spectra as a matrix, or say what is wrong with its shape."""
    matrix = np.asarray(flux)
    if matrix.ndim != 2 or matrix.shape[1] != n_pixels:
        raise ValueError(
            f"flux has shape {matrix.shape}, but (n_spectra, {n_pixels}) is needed: one column per "
            "wavelength of wavelength_in. Try flux.reshape(1, -1) for a single spectrum."
        )
    return matrix


def _unit_flux(flux: NDArray[Any], start: int) -> tuple[Float32Array, FloatArray]:
    """Return spectra with a mean of 1, and that mean; `start` is the row of the first."""
    if not (flux.min() >= 0 and flux.max() < np.inf):
        row, column = np.argwhere(~((flux >= 0) & np.isfinite(flux)))[0]
        raise ValueError(
            f"flux has the value {flux[row, column]} in row {start + row}, but noiseless spectra "
            "are finite and not negative at the wavelengths that are needed."
        )
    scale = flux.mean(axis=1, dtype=np.float64)[:, np.newaxis]
    if not (scale > 0).all():
        raise ValueError(
            f"flux is 0 in row {start + int(np.argmin(scale))} at all wavelengths that are needed. "
            "Leave spectra without flux out."
        )
    inverse = (1.0 / scale).astype(np.float32)
    return np.multiply(flux, inverse, dtype=np.float32, casting="same_kind"), scale


def _truth(sight: Sight, blur: str) -> Table:
    """Return what was drawn, with the width of the line-spread function under its own name."""
    return Table({blur if name == "width" else name: values for name, values in sight.items()})


def _empty(n: int, wavelength: FloatArray, truth: Table) -> DegradedSpectra:
    shape = n, wavelength.size
    flux, ivar = np.empty(shape, np.float32), np.empty(shape, np.float32)
    return DegradedSpectra(wavelength, flux, ivar, np.empty(shape, bool), truth)


def _blocks(n: int, verbose: int) -> Iterator[slice]:
    """Yield the rows to degrade together, showing progress."""
    with tqdm(total=n, unit="spectrum", disable=not verbose) as bar:
        for start in range(0, n, _ROWS):
            yield slice(start, min(start + _ROWS, n))
            bar.update(min(_ROWS, n - start))


def _store(
    done: DegradedSpectra,
    rows: slice,
    exposed: tuple[Float32Array, Float32Array, NDArray[np.bool_]],
    scale: FloatArray,
) -> None:
    """Write a block in the unit of the input, zero where missing."""
    flux, ivar, mask = exposed
    with np.errstate(over="ignore", under="ignore"):
        np.multiply(flux, scale.astype(np.float32), out=done.flux[rows])
        np.multiply(ivar, (scale**-2.0).astype(np.float32), out=done.ivar[rows])
    if not (done.ivar[rows].min() > 0 and done.ivar[rows].max() < np.inf):
        raise ValueError(
            f"flux is about {scale.max():.1e}, so that its inverse variance is beyond the range of "
            "float32. Try another unit, such that fluxes are nearer to 1."
        )
    done.flux[rows][mask] = 0.0
    done.ivar[rows][mask] = 0.0
    done.mask[rows] = mask
