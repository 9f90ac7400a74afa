"""What differs from one observation to the next: the values drawn for each spectrum."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from skestnet.templates._draws import Draw, as_floats, check_range, draw, interval
from skestnet.templates._instrument import LARGEST_SPEED, round_widths
from skestnet.templates._noise import Sight

FloatArray = NDArray[np.float64]

# Least and greatest value.
_LIMITS = {
    "snr": (1e-3, np.inf),
    "sky": (0.0, 1e3),
    "read_noise": (0.0, 1e4),
    "ebv": (0.0, 10.0),
    "velocity": (-LARGEST_SPEED, LARGEST_SPEED),
    "resolution": (10.0, np.inf),
    "fwhm": (0.0, 500.0),
    "warp": (0.0, 1.0),
    "sky_residual": (0.0, 1e3),
    "cosmic_rays": (0.0, 1e3),
    "missing": (0.0, 1e3),
}
_COUNTED = ("cosmic_rays", "missing")
_WIDTHS = ("resolution", "fwhm")
SIGHT_STREAMS = ("width", *(name for name in _LIMITS if name not in _WIDTHS))


def known_values(parameters: Mapping[str, Draw]) -> dict[str, FloatArray]:
    """Return the values, or the ends of their range, of all that is not drawn by a function."""
    known = {}
    for name, value in parameters.items():
        if not callable(value):
            ends = check_range(name, value) if isinstance(value, tuple) else value
            known[name] = np.atleast_1d(as_floats(name, ends))
            _check(name, known[name])
    return known


def likely_values(parameters: Mapping[str, Draw]) -> dict[str, FloatArray]:
    """Return what `known_values` does, and where practically all draws of distributions lie.

    A distribution that can leave the limits of its parameter is cut there, because draws beyond
    are refused by themselves; widths of a distribution that can are left out.
    """
    likely = known_values(parameters)
    for name, value in parameters.items():
        ends = interval(value)
        if ends is not None:
            inside = np.clip(ends, *_LIMITS[name])
            if name not in _WIDTHS or np.array_equal(inside, ends):
                likely[name] = inside
    return likely


def draw_sight(parameters: Mapping[str, Draw], n: int, rngs: Mapping[str, Generator]) -> Sight:
    """Draw `n` values of each parameter; the width of the line-spread function is "width"."""
    sight: Sight = {}
    for name, value in parameters.items():
        stream = rngs["width" if name in _WIDTHS else name]
        values = draw(name, value, stream, n, log=name == "snr")
        _check(name, values)
        # The counts have their own stream: more spectra do not change those of the first ones.
        sight[name] = stream.spawn(1)[0].poisson(values) if name in _COUNTED else values
    sight["cosmic_rays"][np.isinf(sight["snr"])] = 0  # their height is measured in noise
    (blur,) = set(_WIDTHS) & set(parameters)
    width = sight.pop(blur)
    return {**sight, "width": width if _is_number(parameters[blur]) else round_widths(width)}


def _is_number(value: Any) -> bool:
    return not callable(value) and np.ndim(value) == 0


def _check(name: str, values: FloatArray) -> None:
    low, high = _LIMITS[name]
    bad = values[~((values >= low) & (values <= high))]
    if bad.size:
        raise ValueError(
            f"{name} has the value {bad[0]:g}, which is not between {low:g} and {high:g}. Check "
            "its unit; 0 switches an effect off, None the resolution and np.inf as snr the noise."
        )
