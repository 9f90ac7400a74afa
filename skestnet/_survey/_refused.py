"""Rows that a function refuses, found among those that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

RowNumbers: TypeAlias = NDArray[np.intp]
Refused: TypeAlias = dict[int, str]


def divide(
    function: Callable[[RowNumbers], Any], rows: RowNumbers
) -> tuple[list[tuple[RowNumbers, Any]], Refused]:
    """Apply a function to rows, to all at once if it takes them, and find those that it refuses.

    A function that raises ValueError is tried on halves. Returned are the results, each with its
    rows, and the message for each row that is refused by itself.
    """
    if not rows.size:
        return [], {}
    try:
        return [(rows, function(rows))], {}
    except ValueError as error:
        if rows.size == 1:
            return [], {int(rows[0]): str(error)}
    taken: list[tuple[RowNumbers, Any]] = []
    refused: Refused = {}
    for half in np.array_split(rows, 2):
        results, messages = divide(function, half)
        taken += results
        refused |= messages
    return taken, refused
