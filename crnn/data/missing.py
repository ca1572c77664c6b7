"""Missing values of a table."""

from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from crnn.common.choices import Missing

FILLS = get_args(Missing)[1:]  # without "error"

Place = Callable[[int, str], str]  # (row, column name) -> the place, for an error message
Rows = NDArray[np.intp]


def fill(
    grid: NDArray[np.float64],
    groups: dict[str, Rows],
    how: Missing,
    names: Sequence[str],
    place: Place,
) -> dict[str, Rows]:
    """Fill missing values in place, and return the remaining rows of each sequence.

    Parameters
    ----------
    grid : array (N, C) of float64
        The values, NaN where one is missing.
    groups : dict from str to array (N_g,) of integers
        The rows of each sequence.
    how : str
        ``"error"`` or one of `FILLS`.
    names : sequence of C str
        The names of the columns.
    place : callable
        Returns the place of a value, for error messages.

    Returns
    -------
    dict from str to array of integers
        The rows of each sequence that remain.

    Raises
    ------
    ValueError
        A value is missing with ``"error"``, no complete row remains with ``"drop"``, or a sequence
        has no value to fill from.
    """
    missing = np.isnan(grid)
    if not missing.any():
        return groups
    if how == "error":
        row, column = np.argwhere(missing)[0]
        raise ValueError(
            f"{place(row, names[column])}: the value is missing; "
            f"missing= accepts {', '.join(FILLS)} to read the table without it"
        )
    if how == "mask":
        grid[missing] = 0
        return groups
    if how == "drop":
        complete = {name: rows[~missing[rows].any(axis=1)] for name, rows in groups.items()}
        complete = {name: rows for name, rows in complete.items() if rows.size}
        if not complete:
            raise ValueError("missing: expected at least one row without missing values, got none")
        return complete
    for rows in groups.values():
        for column in np.flatnonzero(missing[rows].any(axis=0)):
            known = np.flatnonzero(~missing[rows, column])
            if not known.size or (how == "forward" and known[0] > 0):
                raise ValueError(
                    f"{place(int(rows[0]), names[int(column)])}: the value is missing, "
                    f"and its sequence has no value "
                    f"{'before it' if known.size else 'in this column'}"
                )
            steps = np.arange(len(rows))
            values = grid[rows[known], column]
            if how == "interpolate":
                grid[rows, column] = np.interp(steps, known, values)
            else:
                grid[rows, column] = values[np.searchsorted(known, steps, side="right") - 1]
    return groups
