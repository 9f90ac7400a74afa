"""What TemplateFitRegressor refuses, and what it warns of."""

import warnings
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from skestnet.spectra._wavelength import SPEED_OF_LIGHT, in_unit
from skestnet.templates._interpolate import check_method
from skestnet.templates._match import TemplateFit

FloatArray = NDArray[np.float64]

_NAMED_ROWS = 5


def check_parameters(values: Mapping[str, Any]) -> None:
    """Refuse parameters of the regressor that are out of their range."""
    for name, least in (("continuum_degree", 0), ("max_steps", 1)):
        if not (isinstance(values[name], Integral) and int(values[name]) >= least):
            raise ValueError(f"{name}={values[name]!r}: expected an integer of at least {least}.")
    if not _between(values["tol"], 0, np.inf):
        raise ValueError(f"tol={values['tol']!r}: expected a number above 0.")
    check_method(values["interpolation"])
    width = in_unit(values["half_width"], u.AA, "half_width")
    velocity = in_unit(values["max_velocity"], u.km / u.s, "max_velocity")
    if width is not None and not _between(width, 0, np.inf):
        raise ValueError(f"half_width={width!r}: expected a width in Angstrom above 0, or None.")
    if velocity != 0 and not _between(velocity, 0, SPEED_OF_LIGHT):
        raise ValueError(
            f"max_velocity={velocity!r}: expected a speed in km/s, 0 or below that of light."
        )


def checked_positions(log_labels: Sequence[int], labels: FloatArray) -> tuple[int, ...]:
    """Return the positions of labels, all of which are positive."""
    n_labels = labels.shape[1]
    positions = tuple(log_labels) if np.ndim(log_labels) == 1 else ()
    if np.ndim(log_labels) != 1 or not all(_is_position(i, n_labels) for i in positions):
        raise ValueError(
            f"log_labels={log_labels!r}: expected positions of labels, each from 0 to "
            f"{n_labels - 1}, such as (0,)."
        )
    for i in positions:
        low = labels[:, i].min()
        if low <= 0:
            raise ValueError(
                f"Label {i} reaches down to {low:g}, and has no logarithm there. Leave it out of "
                "log_labels."
            )
    return tuple(int(i) for i in positions)


def _is_position(value: Any, n_labels: int) -> bool:
    return isinstance(value, Integral) and 0 <= int(value) < n_labels


def _between(value: Any, low: float, high: float) -> bool:
    return isinstance(value, Real) and low < float(value) < high


def refuse_rows(wrong: NDArray[np.bool_], message: str) -> None:
    """Raise `message`, the first wrong rows in place of ``{rows}``, unless no row is wrong."""
    rows = np.flatnonzero(wrong)
    if rows.size:
        names = ", ".join(map(str, rows[:_NAMED_ROWS]))
        more = f" and {rows.size - _NAMED_ROWS} more" if rows.size > _NAMED_ROWS else ""
        raise ValueError(message.format(rows=f"row{'s' * (rows.size > 1)} {names}{more}"))


def warn_of_failures(found: TemplateFit) -> None:
    """Say once how many fits failed; the caller's caller is where it is said."""
    failed, limited = int((~found.converged).sum()), int(found.at_limit.sum())
    if failed or limited:
        warnings.warn(
            f"Of {len(found.dof)} spectra {failed} did not converge (try a larger max_steps) and "
            f"{limited} ended at a limit of the templates' labels or of the velocity. "
            "measure(X, ivar) tells which, in converged and at_limit.",
            ConvergenceWarning,
            stacklevel=3,
        )
