"""The pixels of a line fit: windows around the lines, and a polynomial continuum for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple, Self

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from skestnet.spectra._pixels import pixel_edges
from skestnet.spectra._wavelength import BALMER_LINES, in_unit

FloatArray = NDArray[np.float64]

# Half-widths of the windows in Angstrom, those of wdtools (Chandra et al. 2020, MNRAS 497, 2688):
# wide enough for the wings of white dwarfs, and disjoint.
HALF_WIDTHS = {
    "H-alpha": 300.0,
    "H-beta": 200.0,
    "H-gamma": 120.0,
    "H-delta": 75.0,
    "H-epsilon": 50.0,
    "H8": 25.0,
}
# Fewer pixels than this for each coefficient, and the continuum follows the line.
_PIXELS_PER_COEFFICIENT = 4


class Window(NamedTuple):
    """A range of wavelengths in Angstrom, both ends included, and what errors call it."""

    name: str
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.name} ({self.low:.1f}-{self.high:.1f} A)"


def line_windows(
    lines: Sequence[str | tuple[float, float]], half_width: float | u.Quantity | None = None
) -> list[Window]:
    """Return the windows of `lines` by wavelength; those that overlap are cut midway."""
    half_width = in_unit(half_width, u.AA, "half_width")
    if isinstance(lines, str):
        lines = [lines]
    windows = sorted((_window(line, half_width) for line in lines), key=lambda w: w.low)
    if not windows:
        raise ValueError(
            f"lines={lines!r} holds no line: expected names ({', '.join(BALMER_LINES)}) or "
            "(low, high) pairs of wavelengths."
        )
    for i in range(len(windows) - 1):
        windows[i : i + 2] = _disjoint(windows[i], windows[i + 1])
    return windows


def _window(line: str | tuple[float, float], half_width: float | None) -> Window:
    if isinstance(line, str):
        if line not in BALMER_LINES:
            raise ValueError(
                f"lines holds {line!r}: known names are {', '.join(BALMER_LINES)}. Pass a "
                "(low, high) pair of wavelengths in Angstrom for any other line."
            )
        centre = BALMER_LINES[line]
        width = HALF_WIDTHS[line] if half_width is None else half_width
        return Window(line, centre - width, centre + width)
    ends = line if np.iterable(line) else ()
    pair = tuple(in_unit(end, u.AA, "A window of lines") for end in ends)
    if not (len(pair) == 2 and all(isinstance(end, Real) for end in pair) and pair[0] < pair[1]):
        raise ValueError(
            f"lines holds {line!r}: expected a name or two wavelengths in Angstrom, the shorter "
            "first."
        )
    return Window("window", float(pair[0]), float(pair[1]))


def _disjoint(left: Window, right: Window) -> tuple[Window, Window]:
    """Cut two windows midway through what they share."""
    if left.high < right.low:
        return left, right
    if left.high >= right.high or left.low == right.low:
        raise ValueError(
            f"lines holds {left} and {right}, one inside the other. Leave one of them out."
        )
    middle = 0.5 * (left.high + right.low)
    return left._replace(high=middle), right._replace(low=float(np.nextafter(middle, np.inf)))


@dataclass(frozen=True)
class FitPixels:
    """Where the windows lie among the pixels, and the continuum allowed in each.

    Attributes
    ----------
    inside : list of slice
        Columns of the spectra in each window.
    reach : list of slice
        Columns that a template shifted by the largest velocity can bring into each window.
    groups : list of slice
        The pixels of each window among all pixels of the windows, one window after the other.
    terms : list of slice
        The polynomials of each window among all polynomials.
    basis : ndarray of shape (n_pixels, n_terms)
        The polynomials, each zero outside its window.
    """

    inside: list[slice]
    reach: list[slice]
    groups: list[slice]
    terms: list[slice]
    basis: FloatArray

    @classmethod
    def of(
        cls, wavelength: FloatArray, windows: Sequence[Window], *, degree: int, stretch: float = 0.0
    ) -> Self:
        """Find the pixels of `windows`; templates may stretch by up to ``1 + stretch``.

        As much they may shrink.
        """
        reached = [
            w._replace(low=w.low / (1 + stretch), high=w.high * (1 + stretch)) for w in windows
        ]
        _check_covered(wavelength, reached)
        inside = [_columns(wavelength, window) for window in windows]
        polynomials = [_polynomials(wavelength[columns], degree) for columns in inside]
        groups = _consecutive([len(p) for p in polynomials])
        terms = _consecutive([p.shape[1] for p in polynomials])
        basis = np.zeros((groups[-1].stop, terms[-1].stop))
        for group, term, polynomial in zip(groups, terms, polynomials, strict=True):
            basis[group, term] = polynomial
        return cls(inside, _reach(wavelength, inside, stretch), groups, terms, basis)

    def select(self, spectra: NDArray[Any]) -> NDArray[Any]:
        """Return the pixels of the windows, shape (n_spectra, n_pixels)."""
        return np.concatenate([spectra[:, columns] for columns in self.inside], axis=1)


def _check_covered(wavelength: FloatArray, windows: Sequence[Window]) -> None:
    low, high = pixel_edges(wavelength)[[0, -1]]
    outside = [str(w) for w in windows if w.low < low or w.high > high]
    if outside:
        raise ValueError(
            f"wavelength covers {low:.1f}-{high:.1f} A, but not all of {', '.join(outside)}. Leave "
            "these out of lines, pass narrower (low, high) windows, or observe the templates over "
            "a wider range."
        )


def _columns(wavelength: FloatArray, window: Window) -> slice:
    start = int(np.searchsorted(wavelength, window.low, side="left"))
    stop = int(np.searchsorted(wavelength, window.high, side="right"))
    if stop - start < 2:
        raise ValueError(
            f"{window} holds {stop - start} pixels: at least 2 are needed. Pass a wider window."
        )
    return slice(start, stop)


def _reach(wavelength: FloatArray, inside: list[slice], stretch: float) -> list[slice]:
    """Widen each window until its pixels, however shifted, lie between two pixels."""
    first = np.array([wavelength[columns.start] for columns in inside]) / (1 + stretch)
    last = np.array([wavelength[columns.stop - 1] for columns in inside]) * (1 + stretch)
    starts = np.maximum(np.searchsorted(wavelength, first, side="right") - 1, 0)
    stops = np.minimum(np.searchsorted(wavelength, last, side="left") + 1, wavelength.size)
    return [slice(int(a), int(b)) for a, b in zip(starts, stops, strict=True)]


def _polynomials(wavelength: FloatArray, degree: int) -> FloatArray:
    """Return Legendre polynomials over a window, shape (n_pixels, n_terms)."""
    n_terms = int(np.clip(wavelength.size // _PIXELS_PER_COEFFICIENT, 1, degree + 1))
    unit = 2 * (wavelength - wavelength[0]) / (wavelength[-1] - wavelength[0]) - 1
    return np.polynomial.legendre.legvander(unit, n_terms - 1)


def _consecutive(sizes: list[int]) -> list[slice]:
    """Return slices of these sizes, one after the other."""
    stops = np.cumsum(sizes).tolist()
    return [slice(stop - size, stop) for stop, size in zip(stops, sizes, strict=True)]
