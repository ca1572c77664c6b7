"""Values that are missing in a table."""

from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from crnn.common.choices import Missing

FILLS = get_args(Missing)[1:]  # without "error"

Place = Callable[[int, str], str]  # (row, name of a column) -> where that is, for an error
Rows = NDArray[np.intp]


def fill(
    grid: NDArray[np.float64],
    groups: dict[str, Rows],
    how: Missing,
    names: Sequence[str],
    place: Place,
) -> dict[str, Rows]:
    """Fill what is missing, in place, and return the rows of each sequence that are left.

    Parameters
    ----------
    grid : (N, C)
        The values, NaN where one is missing.
    groups : dict of name to (N_g,) integers
        The rows of each sequence.
    how : str
        ``"error"`` or one of `FILLS`.
    names : sequence of C str
        The columns.
    place : callable
        Says where a value is.

    Raises
    ------
    ValueError
        Something is missing and nothing is told or known to be put there.
    """
    missing = np.isnan(grid)
    if not missing.any():
        return groups
    if how == "error":
        row, column = np.argwhere(missing)[0]
        raise ValueError(
            f"{place(row, names[column])}: the value is missing; "
            f"missing= takes {', '.join(FILLS)} to go on without it"
        )
    if how == "mask":
        grid[missing] = 0
        return groups
    if how == "drop":
        left = {name: rows[~missing[rows].any(axis=1)] for name, rows in groups.items()}
        left = {name: rows for name, rows in left.items() if rows.size}
        if not left:
            raise ValueError("missing: expected complete rows to keep, every one lacks a value")
        return left
    for rows in groups.values():
        for column in np.flatnonzero(missing[rows].any(axis=0)):
            known = np.flatnonzero(~missing[rows, column])
            if not known.size or (how == "forward" and known[0] > 0):
                raise ValueError(
                    f"{place(int(rows[0]), names[int(column)])}: the value is missing, "
                    f"and its sequence has none {'before it' if known.size else 'in this column'}"
                )
            steps = np.arange(len(rows))
            values = grid[rows[known], column]
            if how == "interpolate":
                grid[rows, column] = np.interp(steps, known, values)
            else:
                grid[rows, column] = values[np.searchsorted(known, steps, side="right") - 1]
    return groups
