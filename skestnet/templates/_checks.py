"""What is asked of the arrays that a grid of templates is made of."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

# Interpolated in their logarithm by default, in grids that have them.
OPTIONAL_LOG_LABELS = ("teff",)


def checked_flux(flux: ArrayLike, n_pixels: int) -> NDArray[np.floating]:
    """Return a matrix of finite fluxes."""
    matrix = np.asarray(flux)
    matrix = matrix if matrix.dtype == np.float32 else matrix.astype(np.float64, copy=False)
    if matrix.ndim != 2 or matrix.shape[1] != n_pixels or not len(matrix):
        raise ValueError(
            f"flux has shape {matrix.shape}, but (n_templates, {n_pixels}) is needed: one column "
            "per wavelength, and at least one template."
        )
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if bad.size:
        raise ValueError(
            f"flux of template {bad[0]} is not finite ({bad.size} templates are not). Leave them "
            "or those pixels out."
        )
    return matrix


def checked_labels(labels: Mapping[str, ArrayLike], n_templates: int) -> FloatArray:
    """Return a matrix of finite labels, one column per name."""
    columns = {name: np.asarray(values, dtype=np.float64) for name, values in labels.items()}
    for name, values in columns.items():
        if values.shape != (n_templates,) or not np.isfinite(values).all():
            raise ValueError(
                f"labels[{name!r}] has shape {values.shape}, of which "
                f"{np.isfinite(values).sum()} are finite, but one finite value for each of the "
                f"{n_templates} templates is needed."
            )
    if not columns:
        raise ValueError("labels is empty. Pass such as {'teff': [...], 'logg': [...]}.")
    return np.column_stack(list(columns.values()))


def checked_log_labels(
    log_labels: Sequence[str], names: tuple[str, ...], labels: FloatArray
) -> tuple[str, ...]:
    """Return the names, of labels that all are positive."""
    chosen = (log_labels,) if isinstance(log_labels, str) else tuple(log_labels)
    unknown = [name for name in chosen if name not in (*names, *OPTIONAL_LOG_LABELS)]
    if unknown:
        raise ValueError(f"log_labels has {unknown}, but the labels are {names}.")
    for name in (name for name in names if name in chosen):
        low = labels[:, names.index(name)].min()
        if low <= 0:
            raise ValueError(
                f"{name!r} reaches down to {low:g}, and has no logarithm there. Leave it out of "
                "log_labels."
            )
    return chosen
