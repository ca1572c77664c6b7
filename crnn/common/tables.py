"""Tables as text."""

from __future__ import annotations

from collections.abc import Container, Sequence


def aligned(rows: Sequence[Sequence[str]], right: Container[int] = ()) -> list[str]:
    """Return the lines of a table, whose columns are two spaces apart.

    Parameters
    ----------
    rows : sequence of sequences of str
        The cells, row by row.
    right : container of int
        The columns, counted from 0, that are aligned to the right.

    Examples
    --------
    >>> aligned([("name", "size"), ("W", "12")], right=[1])
    ['name  size', 'W       12']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
