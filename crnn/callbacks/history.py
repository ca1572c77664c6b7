"""History of a training run: a table with one row per epoch."""

import csv
import os
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from crnn.common.checks import check_names
from crnn.common.representation import never_raising
from crnn.storage.files import check_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class History:
    """Table of a training run with one row per epoch. Its columns are attributes.

    Parameters
    ----------
    columns : mapping of str to sequence, optional
        All columns by name. None: a table without rows.
    metrics : iterable of str, default ()
        Names of metrics. Each metric m has the columns "m" and "val_m".

    Attributes
    ----------
    epoch, update : list of int
        Number of the epoch, from 1, and number of updates at its end. Both include earlier runs
        with the same optimizer.
    loss, val_loss : list of float
        Mean loss over the valid steps of the epoch during training, and mean loss over the
        validation data after the epoch (None without validation data). In the unit of the loss:
        nats for the cross-entropy.
    lr : list of float
        Learning rate of the last update of the epoch.
    seconds, steps_per_second : list of float
        Time of the updates, without validation, and the number of valid steps (of all sequences,
        without padding) per second.
    columns : dict of str to list
        All columns by name.

    Methods
    -------
    append(**row)
        Add a row.
    rows()
        Return the rows as dictionaries.
    plot(ax=None, *, unit="loss", scale=1.0)
        Plot the losses over the epochs.
    to_csv(path, **more)
        Write the table to a CSV file.

    Raises
    ------
    ValueError
        If columns are missing or unknown, or differ in length.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> model, data = crnn.Dense(2, 1, seed=0), [(np.ones((1, 3, 2)), np.ones((1, 3, 1)))]
    >>> history = crnn.fit(model, data, loss=crnn.losses.mse, epochs=3, progress=False,
    ...                    optimizer=crnn.optim.SGD(model, lr=0.1))
    >>> history
    <History of 3 epochs: epoch, update, loss, val_loss, lr, seconds, steps_per_second>
    >>> history.epoch, history["update"], history.rows()[0]["lr"]
    ([1, 2, 3], [1, 2, 3], 0.1)
    """

    NAMES = ("epoch", "update", "loss", "val_loss", "lr", "seconds", "steps_per_second")

    def __init__(
        self,
        columns: Mapping[str, Sequence[Any]] | None = None,
        metrics: Iterable[str] = (),
    ) -> None:
        names = self.columns_of(metrics) if metrics else self.NAMES
        values: Mapping[str, Sequence[Any]] = (
            dict.fromkeys(names, ()) if columns is None else columns
        )
        lengths = set(map(len, values.values()))
        if set(values) != set(names) or len(lengths) != 1:
            raise ValueError(f"columns: expected {', '.join(names)}, all of one length")
        self.columns: dict[str, list[Any]] = {}
        for name in names:
            self.columns[name] = list(values[name])

    @classmethod
    def columns_of(cls, metrics: Iterable[str]) -> tuple[str, ...]:
        """Return the names of all columns, with two columns for each metric.

        Parameters
        ----------
        metrics : iterable of str

        Returns
        -------
        tuple of str
        """
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

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def keys(self) -> list[str]:
        """Return the names of the columns, so that ``dict(history)`` is a mapping.

        Returns
        -------
        list of str
        """
        return list(self.columns)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.columns]

    def _listed(self) -> str:
        return ", ".join(self.__dict__.get("columns", self.NAMES))

    def append(self, /, **row: Any) -> None:
        """Add a row.

        Parameters
        ----------
        **row
            The values by the names of the columns.
        """
        if row.keys() != self.columns.keys():
            check_names("row", self.columns, row)
        for name, column in self.columns.items():
            column.append(row[name])

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows as dictionaries.

        Returns
        -------
        list of dict
        """
        table = zip(*self.columns.values(), strict=True)
        return [dict(zip(self.columns, row, strict=True)) for row in table]

    def plot(self, ax: "Axes | None" = None, *, unit: str = "loss", scale: float = 1.0) -> "Axes":
        """Plot the losses over the epochs, as `crnn.plotting.loss_curve` does.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Axes to draw into. None: those of a new figure.
        unit : str, default "loss"
            Label of the y-axis.
        scale : float, default 1
            Factor of the losses: ``1 / log(2)`` converts nats to bits.

        Returns
        -------
        matplotlib axes
        """
        from crnn.plotting import loss_curve

        return loss_curve(self, ax, unit=unit, scale=scale)

    def to_csv(self, path: str | os.PathLike[str], **more: Any) -> None:
        """Write the table to a CSV file. None is an empty field, an array is nested lists as text.

        Parameters
        ----------
        path : str or path
        **more
            Additional columns: a list, or one value for all rows.
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
                writer.writerow([_field_of(value) for value in row])

    def __len__(self) -> int:
        return len(self.columns["epoch"])

    @never_raising
    def __repr__(self) -> str:
        return f"<History of {len(self)} epochs: {textwrap.shorten(self._listed(), 120)}>"


def _field_of(value: Any) -> Any:
    """Return a value as a field of a CSV file."""
    return value.tolist() if isinstance(value, np.ndarray) else value
