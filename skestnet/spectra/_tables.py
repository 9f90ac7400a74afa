"""The tables beside the spectra: metadata and what could not be read."""

from collections.abc import Sequence

import numpy as np
from astropy.table import Column, Table, vstack


def empty_meta(n_spectra: int) -> Table:
    """Return a table with an empty ``file`` for every spectrum."""
    return Table({"file": np.full(n_spectra, "")})


def checked_errors(errors: Table | None) -> Table:
    """Return `errors` if it has the columns that are needed, no rows in place of None."""
    if errors is None:
        return Table({"file": np.empty(0, dtype=str), "error": np.empty(0, dtype=str)})
    missing = sorted({"file", "error"} - set(errors.colnames))
    if missing:
        raise ValueError(
            f"errors has the columns {errors.colnames}, but not {missing}. Pass a table with one "
            "row per file that could not be read, columns file and error."
        )
    return errors


def stack_tables(tables: Sequence[Table]) -> Table:
    """Return all rows and all columns; what a table lacks is NaN, empty, False or True.

    NaN for numbers, empty for texts, False for truth values; True for ``has_errors``, of which
    False says that `read_spectra` estimated the errors.
    """
    # A table without rows often has not the right type of column.
    parts = [table for table in tables if len(table)] or list(tables[:1])
    joined = vstack(parts, join_type="outer", metadata_conflicts="silent")
    columns = {name: _filled(joined[name], name) for name in joined.colnames}
    return Table(columns, meta=joined.meta)


def _filled(column: Column, name: str) -> Column:
    """Return a column without missing values."""
    if not np.any(getattr(column, "mask", False)):
        return column
    if column.dtype.kind == "b":
        return column.filled(name == "has_errors")
    if column.dtype.kind in "iu":
        column = column.astype(np.float64)
    return column.filled("" if column.dtype.kind in "US" else np.nan)
