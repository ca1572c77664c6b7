"""Tables as text."""

from __future__ import annotations

from collections.abc import Container, Sequence


def aligned(rows: Sequence[Sequence[str]], right: Container[int] = ()) -> list[str]:
    """Return the lines of a table with two spaces between the columns.

    Parameters
    ----------
    rows : sequence of sequences of str
        Cells of each row; all rows have the same length.
    right : container of int, default ()
        Indices of the columns, from 0, that are aligned to the right.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from crnn.common.tables import aligned
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
