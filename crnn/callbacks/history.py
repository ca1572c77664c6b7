"""What a training run leaves: a table with a row for each epoch."""

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from crnn.storage.files import check_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class History:
    """A table with a row for each epoch; its columns are attributes.

    Attributes
    ----------
    epoch, update : list of int
        The number of the epoch, from 1, and of the updates done at its end.
    loss, val_loss : list of float
        Mean over the epoch's valid steps while it trained, and over the validation data after it
        (None without). In the unit of the loss: nats for the cross-entropy.
    lr : list of float
        The learning rate of the epoch's last update.
    seconds, steps_per_second : list of float
        Time for the updates, validation not included, and valid steps (B times T without padding)
        in it.
    """

    NAMES = ("epoch", "update", "loss", "val_loss", "lr", "seconds", "steps_per_second")

    def __init__(
        self,
        columns: Mapping[str, Sequence[Any]] | None = None,
        metrics: Iterable[str] = (),
    ) -> None:
        names = self.columns_of(metrics) if metrics else self.NAMES
        given: Mapping[str, Sequence[Any]] = (
            dict.fromkeys(names, ()) if columns is None else columns
        )
        lengths = set(map(len, given.values()))
        if set(given) != set(names) or len(lengths) != 1:
            raise ValueError(f"columns: expected {', '.join(names)}, all of one length")
        self.columns: dict[str, list[Any]] = {}
        for name in names:
            self.columns[name] = list(given[name])

    @classmethod
    def columns_of(cls, metrics: Iterable[str]) -> tuple[str, ...]:
        """Return the names of all columns, with two for each metric."""
        return (*cls.NAMES, *(column for name in metrics for column in (name, f"val_{name}")))

    def __getattr__(self, name: str) -> list[Any]:
        columns: dict[str, list[Any]] = self.__dict__.get("columns", {})
        if name in columns:
            return columns[name]
        raise AttributeError(f"a history has no {name!r}; its columns are {self._listed()}")

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self.columns:
            raise KeyError(f"a history has no {name!r}; its columns are {self._listed()}")
        return self.columns[name]

    def _listed(self) -> str:
        return ", ".join(self.__dict__.get("columns", self.NAMES))

    def append(self, **row: Any) -> None:
        """Add a row, given by the names of the columns."""
        for name, column in self.columns.items():
            column.append(row[name])

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows as dictionaries."""
        table = zip(*self.columns.values(), strict=True)
        return [dict(zip(self.columns, row, strict=True)) for row in table]

    def plot(self, ax: "Axes | None" = None, *, unit: str = "loss", scale: float = 1.0) -> "Axes":
        """Draw the losses over the epochs, as `crnn.plotting.loss_curve` does.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to draw; by default a new figure.
        unit : str
            Name of the axis.
        scale : float
            What the losses are multiplied by, ``1 / log(2)`` to turn nats into bits.
        """
        from crnn.plotting import loss_curve

        return loss_curve(self, ax, unit=unit, scale=scale)

    def to_csv(self, path: str | os.PathLike[str], **more: Any) -> None:
        """Write the table as a CSV file: None as nothing, an array as the text of nested lists.

        Parameters
        ----------
        path : str or path
        **more
            Further columns: lists, or the one value that every row gets.
        """
        check_path(path)
        columns = self.columns | {
            name: value if isinstance(value, list) else [value] * len(self)
            for name, value in more.items()
        }
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            for row in zip(*columns.values(), strict=True):
                writer.writerow([_written(value) for value in row])

    def __len__(self) -> int:
        return len(self.columns["epoch"])

    def __repr__(self) -> str:
        return f"<History of {len(self)} epochs: {self._listed()}>"


def _written(value: Any) -> Any:
    """Return a value as one field of a CSV file."""
    return value.tolist() if isinstance(value, np.ndarray) else value
