"""What the results of all diagnostics have in common: a table, and words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from crnn.common.figures import Axes as Axes


class Display(ABC):
    """Numbers that can be looked at: as attributes, as a table, as a picture.

    Rows and steps are counted from 0, in tables as in arrays; pictures count steps from 1, as
    equations do. Every one has ``plot(ax=None)``, which draws into matplotlib axes, by default
    those of a new figure, and returns them.
    """

    @property
    @abstractmethod
    def columns(self) -> dict[str, Any]:
        """The table: name of a column -> its values, all of one length."""

    def to_frame(self) -> Any:
        """The table as a pandas DataFrame.

        Raises
        ------
        ImportError
            If pandas is not installed; `columns` holds the same without it.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "to_frame() needs pandas: pip install pandas; columns has the same numbers"
            ) from error
        return pd.DataFrame(self.columns)

    def __repr__(self) -> str:
        sizes = ", ".join(self.columns)
        return f"<{type(self).__name__}: {len(next(iter(self.columns.values()), ()))} x ({sizes})>"


def by_row_and_step(place: str, there: Any) -> tuple[dict[str, Any], Any]:
    """The columns part, row and step of the steps that are there, (B, T), and their indices."""
    rows, steps = np.nonzero(there)
    return {"part": np.full(len(rows), place), "row": rows, "step": steps}, (rows, steps)


def stacked(tables: list[dict[str, Any]]) -> dict[str, Any]:
    """Tables one below the other; what one has no column for is NaN there."""
    names = {name: None for table in tables for name in table}
    sizes = [len(next(iter(table.values()))) for table in tables]
    pairs = list(zip(tables, sizes, strict=True))
    return {
        name: np.concatenate([table.get(name, np.full(size, np.nan)) for table, size in pairs])
        for name in names
    }
