"""Random quantities, one value per spectrum: what may be passed for them, and how it is drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from astropy import units as u
from numpy.random import Generator, RandomState, SeedSequence
from numpy.typing import ArrayLike, NDArray

from skestnet.spectra._wavelength import in_unit

FloatArray = NDArray[np.float64]
RandomSource: TypeAlias = int | Generator | RandomState | None
# Of values that come as a Quantity; all other values have no unit.
_UNITS = {"velocity": u.km / u.s, "fwhm": u.AA, "ebv": u.mag}
Draw: TypeAlias = ArrayLike | Callable[[Generator, int], ArrayLike]


@dataclass(frozen=True)
class Normal:
    """Normal distribution, to pass where `SpectrumDegrader` draws a value per spectrum.

    Parameters
    ----------
    mean : float, default=0.0
        Mean.
    std : float, default=1.0
        Standard deviation, at least 0.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.templates import Normal
    >>> Normal(100.0, 0.0)(np.random.default_rng(0), 3)
    array([100., 100., 100.])
    """

    mean: float = 0.0
    std: float = 1.0

    def __call__(self, rng: Generator, n: int) -> FloatArray:
        return rng.normal(self.mean, self.std, n)

    def _interval(self) -> tuple[float, float]:
        """Return between what practically all values lie: all but 2e-9 of them."""
        return self.mean - 6 * self.std, self.mean + 6 * self.std


@dataclass(frozen=True)
class Exponential:
    """Exponential distribution, to pass where `SpectrumDegrader` draws a value per spectrum.

    Parameters
    ----------
    mean : float, default=1.0
        Mean, at least 0.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.templates import Exponential
    >>> Exponential(0.0)(np.random.default_rng(0), 3)
    array([0., 0., 0.])
    """

    mean: float = 1.0

    def __call__(self, rng: Generator, n: int) -> FloatArray:
        return rng.exponential(self.mean, n)

    def _interval(self) -> tuple[float, float]:
        """Return between what practically all values lie: all but 2e-9 of them."""
        return 0.0, 20 * self.mean


def draw(name: str, value: Draw, rng: Generator, n: int, *, log: bool = False) -> FloatArray:
    """Return `n` values of the quantity `name`; `log` draws ranges, above 0, log-uniformly."""
    if isinstance(value, tuple):
        return _uniform(rng, *check_range(name, value), n, log)
    values = as_floats(name, value(rng, n) if callable(value) else value)
    if not callable(value) and values.ndim == 0:
        return np.full(n, values)
    if values.shape != (n,):
        raise ValueError(
            f"{name} has shape {values.shape}, but one value for each of the {n} spectra is "
            f"needed. Pass a number, a tuple (low, high), a function f(rng, n) or {n} values; as "
            "augment of an EstNetRegressor, which passes batches, not one value for each spectrum."
        )
    return values


def interval(value: object) -> tuple[float, float] | None:
    """Return between what practically all values of a distribution lie, None if not known."""
    return value._interval() if isinstance(value, Normal | Exponential) else None


def as_floats(name: str, value: object) -> FloatArray:
    """Return numbers in the unit of the quantity `name`, or say that they are none."""
    unit = _UNITS.get(name, u.dimensionless_unscaled)
    if isinstance(value, tuple | list):
        value = [in_unit(one, unit, name) for one in value]
    value = in_unit(value, unit, name)
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name}={value!r} is not understood. Pass a number, a tuple (low, high), a function "
            "f(rng, n) or one number for each spectrum."
        ) from None


def _uniform(rng: Generator, low: float, high: float, n: int, log: bool) -> FloatArray:
    return np.exp(rng.uniform(np.log(low), np.log(high), n)) if log else rng.uniform(low, high, n)


def check_range(name: str, limits: object) -> tuple[float, float]:
    """Return the ends of a range, or say what is wrong with it."""
    ends = as_floats(name, limits)
    if ends.shape != (2,) or not (np.isfinite(ends).all() and ends[0] <= ends[1]):
        raise ValueError(
            f"{name}={limits!r}: a tuple is a range and needs two finite numbers, the smaller "
            "first. Pass a list or an array for one value per spectrum."
        )
    return float(ends[0]), float(ends[1])


def streams(random_state: RandomSource, names: tuple[str, ...]) -> dict[str, Generator]:
    """Return a generator for each purpose: switching one effect leaves the others as they were."""
    children = _seed(random_state).spawn(len(names))
    return {name: np.random.default_rng(seed) for name, seed in zip(names, children, strict=True)}


def _seed(random_state: RandomSource) -> SeedSequence:
    """Return a seed; a generator is advanced, so that its next use gives something else."""
    if isinstance(random_state, Generator):
        return SeedSequence(random_state.integers(2**32, size=4).tolist())
    if isinstance(random_state, RandomState):
        return SeedSequence(random_state.randint(2**31 - 1, size=4).tolist())
    return SeedSequence(random_state)
