"""What the displays share: choosing labels and samples, colours, legends, densities on a grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, check_consistent_length
from sklearn.utils.validation import _num_samples

from skestnet._distribution import PredictiveDistribution
from skestnet.metrics._checks import check_dist, checked_labels
from skestnet.metrics._cross_val import cut_params

FloatArray = NDArray[np.float64]

# Colours that the colour-blind can tell apart (Okabe and Ito 2008).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
TRUTH = "black"
BACKGROUND = "0.88"
FRAME = "0.45"

GRID_POINTS = 600
LABEL = "label"  # the name of a label that was given none


def pyplot() -> Any:
    """Import matplotlib.pyplot, or say how to install it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "The displays of skestnet.plotting need matplotlib, which is not installed: "
            'pip install "skestnet[plot]".'
        ) from error
    return plt


def given_or_new_axes(axes: Any, n_rows: int, n_columns: int, **figure: Any) -> Any:
    """Return the given axes as a flat array of the wanted number, or those of a new figure."""
    plt = pyplot()
    if axes is None:
        _, axes = plt.subplots(n_rows, n_columns, layout="constrained", **figure)
    flat = np.ravel(np.asarray(axes, dtype=object))
    if flat.size != n_rows * n_columns:
        raise ValueError(
            f"axes holds {flat.size} axes: expected {n_rows * n_columns}, for example those of "
            f"plt.subplots({n_rows}, {n_columns})."
        )
    return flat


def next_color(ax: Any, color: Any) -> Any:
    """Return the given colour, or the first of the palette that no line of the axes has."""
    from matplotlib.colors import same_color

    if color is not None:
        return color
    used = [line.get_color() for line in ax.lines]
    free = (one for one in PALETTE if not any(same_color(one, other) for other in used))
    return next(free, PALETTE[0])


def name_axes(ax: Any, *, default: bool, **names: str) -> None:
    """Set `xlabel` or `ylabel`; default names do not replace what the axes have already."""
    for axis, name in names.items():
        if not (default and getattr(ax, f"get_{axis}")()):
            ax.set(**{axis: name})


def add_legend(ax: Any, source: Any = None, **params: Any) -> None:
    """Draw a legend in which what several models share, such as the truth, is named once."""
    handles, labels = (ax if source is None else source).get_legend_handles_labels()
    once = dict(zip(reversed(labels), reversed(handles), strict=True))
    ax.legend(list(once.values())[::-1], list(once)[::-1], **{"frameon": False, **params})


def leave_room_for_legend(ax: Any) -> None:
    """Let the vertical axis begin at 0 and end well above all that was drawn."""
    ax.set_ylim(0, 1.35 * ax.dataLim.ymax or 1.0)  # where all is 0, there is no end


def percent(confidence: float) -> str:
    """Write a probability as a percentage with as many digits as it has."""
    return f"{100 * confidence:g}%"


def model_name(estimator: Any) -> str:
    """Return the class name of an estimator, of a pipeline that of its last step."""
    return type(estimator[-1] if isinstance(estimator, Pipeline) else estimator).__name__


def params_for(estimator: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters for `from_predictions`, named after the estimator; fail before it works."""
    pyplot()
    if "y_true" in params:
        raise TypeError("from_estimator takes the true labels as y, and no y_true.")
    return {"name": model_name(estimator), **params}


def one_label(dist: PredictiveDistribution, output: int | None) -> PredictiveDistribution:
    """Return the distributions of one label, of shape (n_samples,)."""
    check_dist(dist)
    return dist if len(dist.shape) == 1 else dist.output(position(dist, output))


def truth_of(
    y_true: ArrayLike, dist: PredictiveDistribution, output: int | None = None
) -> FloatArray:
    """Return the true values of one label, after a look at those of all."""
    truth = checked_labels(y_true, dist)
    return truth if truth.ndim == 1 else truth[:, position(dist, output)]


def position(dist: PredictiveDistribution, output: int | None) -> int:
    """Return where the wanted label is among several."""
    n_outputs = dist.shape[1]
    if output is None and n_outputs == 1:
        return 0
    if output is None or output not in range(-n_outputs, n_outputs):
        raise ValueError(
            f"output={output!r} for a distribution of {n_outputs} labels: choose the label to "
            f"draw, from output=0 to output={n_outputs - 1}."
        )
    return output


def check_row(row: int, samples: Any) -> None:
    """Raise an error where there is no such sample."""
    n_samples = _num_samples(samples)
    if row not in range(-n_samples, n_samples):
        raise ValueError(f"row={row!r}: expected the position of one of {n_samples} samples.")


def one_sample(
    X: Any, y: Any, row: int, predict_params: dict[str, Any] | None
) -> tuple[Any, Any, dict[str, Any]]:
    """Return the wanted row of all, each still with an axis of rows; y may be None."""
    check_consistent_length(X, y)
    check_row(row, X)
    return (
        _safe_indexing(X, [row]),
        None if y is None else _safe_indexing(y, [row]),
        cut_params(X, predict_params, [row]),
    )


def density_on_grid(dist: PredictiveDistribution) -> tuple[FloatArray, FloatArray]:
    """Return a grid over the distribution of one sample and one label, and the density there."""
    low, high = dist.interval(0.998)
    margin = dist.std()
    # The centres, too, so that narrow components are not missed.
    grid = np.union1d(np.linspace(low - margin, high + margin, GRID_POINTS), dist.loc)
    density = np.exp(dist[np.zeros(len(grid), dtype=int)].logpdf(grid))
    if not np.isfinite(density).all():
        raise ValueError(
            "The distribution, or a component of it, has no spread, and so no density to draw: "
            "expected several different draws, or a scale above 0."
        )
    return grid, density
