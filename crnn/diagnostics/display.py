"""Base class of the results of all diagnostics: a table, a picture and a short description."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from crnn.common.figures import Axes as Axes
from crnn.common.representation import never_raising


class Display(ABC):
    """Base class of results that can be read as attributes, as a table or as a picture.

    Rows and steps are counted from 0 in tables and arrays; pictures count steps from 1, as
    equations do. Every subclass has a method ``plot(ax=None)``, which draws into matplotlib axes,
    by default those of a new figure, and returns the axes.
    """

    @property
    @abstractmethod
    def columns(self) -> dict[str, Any]:
        """The table: a dict from the name of each column to its values, all of one length."""

    def to_frame(self) -> Any:
        """Return the table as a pandas DataFrame.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ImportError
            If pandas is not installed. `columns` holds the same numbers without it.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "to_frame() needs pandas: pip install pandas; columns has the same numbers"
            ) from error
        return pd.DataFrame(self.columns)

    @never_raising
    def __repr__(self) -> str:
        sizes = ", ".join(self.columns)
        return f"<{type(self).__name__}: {len(next(iter(self.columns.values()), ()))} x ({sizes})>"


def by_row_and_step(place: str, shown: Any) -> tuple[dict[str, Any], Any]:
    """Return the columns part, row and step of the steps where `shown` (B, T), and the indices."""
    rows, steps = np.nonzero(shown)
    return {"part": np.full(len(rows), place), "row": rows, "step": steps}, (rows, steps)


def stacked(tables: list[dict[str, Any]]) -> dict[str, Any]:
    """Return tables one below the other, with NaN where a table does not have a column."""
    names = {name: None for table in tables for name in table}
    sizes = [len(next(iter(table.values()))) for table in tables]
    pairs = list(zip(tables, sizes, strict=True))
    return {
        name: np.concatenate([table.get(name, np.full(size, np.nan)) for table, size in pairs])
        for name in names
    }
