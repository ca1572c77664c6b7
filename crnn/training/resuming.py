"""Comparison of a saved run with the run that resumes it.

Some arguments may differ: the new ones are used, with a `crnn.training.ResumeWarning`. With other
arguments the results would be wrong; a difference is an error that names the argument.
"""

import functools
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from crnn.callbacks.history import History
from crnn.callbacks.run import Position
from crnn.common.checks import check_counted, check_real
from crnn.layers.base.description import describe

_FIXED = ("loss", "tbptt", "stateful", "accumulate", "optimizer")
_CHANGEABLE = ("epochs", "checkpoint_every", "model", "metrics")


def compare(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Compare the arguments of a saved run with those of the run that resumes it.

    Parameters
    ----------
    saved, current : mapping
        Descriptions of the arguments by `Trainer`. A file of an earlier version has none.

    Returns
    -------
    list of str
        The arguments that differ and may differ, as text.

    Raises
    ------
    ValueError
        If the data, the loss, the optimizer or the windows differ.
    """
    saved = {"metrics": {}, **saved} if isinstance(saved, Mapping) and saved else saved
    if not isinstance(saved, Mapping) or (saved and set(saved) != set(current)):
        raise ValueError(f"arguments: expected {', '.join(current)}, got {saved!r:.100}")
    if not saved:
        return []
    for name in _FIXED:
        for place, before, after in _differences(name, saved[name], current[name]):
            raise ValueError(
                f"{place}: expected {before!r:.200}, as when the run began, got {after!r:.200}"
            )
    if not _is_same_data(saved["data"], current["data"]):
        raise ValueError(
            f"data: expected the data of the saved run, in the same batches and the same order, "
            f"{_data_text(saved['data'])}, got {_data_text(current['data'])}"
        )
    changes = [
        f"{place}: {after!r:.60} now, {before!r:.60} when the run began"
        for name in _CHANGEABLE
        for place, before, after in _differences(name, saved[name], current[name])
    ]
    if not _is_same_data(saved["validation"], current["validation"]):
        changes.append(
            f"validation: {_data_text(current['validation'])} now, "
            f"{_data_text(saved['validation'])} when the run began; the losses of earlier epochs "
            "are those of the old validation data"
        )
    return changes


def _is_same_data(saved: Any, current: Any) -> bool:
    return saved == current or None in (saved, current)


def _data_text(description: Any) -> str:
    """Return the size of data as text, or "none"."""
    if not isinstance(description, Mapping) or "rows" not in description:
        return "none" if description is False else f"{description!r:.100}"
    return (
        f"{description['items']} items of at most B={description['batch']} rows, "
        f"{description['rows']} rows in total (checksum {description['content']:08x})"
    )


def _differences(place: str, saved: Any, current: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the differences of two nested values: place, saved value and current value."""
    if isinstance(saved, Mapping) and isinstance(current, Mapping) and set(saved) == set(current):
        for name in current:
            yield from _differences(f"{place}.{name}", saved[name], current[name])
    elif isinstance(saved, list) and isinstance(current, list) and len(saved) == len(current):
        for i, (before, after) in enumerate(zip(saved, current, strict=True)):
            yield from _differences(f"{place}[{i}]", before, after)
    elif _with_lists(saved) != _with_lists(current):
        yield place, saved, current


def _with_lists(value: Any) -> Any:
    """Return a value with lists in place of tuples, as a file has it."""
    return [_with_lists(part) for part in value] if isinstance(value, list | tuple) else value


# ---------------------------------------------------------------------------- describing arguments


def callable_name(loss: Any) -> str:
    """Return the name of a loss, with the arguments of a `functools.partial`."""
    if isinstance(loss, functools.partial):
        arguments = [_argument_text(value) for value in loss.args]
        arguments += [
            f"{name}={_argument_text(value)}" for name, value in sorted(loss.keywords.items())
        ]
        return f"{callable_name(loss.func)}({', '.join(arguments)})"
    return str(getattr(loss, "__qualname__", type(loss).__qualname__))


def _argument_text(value: Any) -> str:
    """Return an argument as text that is the same in another process."""
    if isinstance(value, np.ndarray | list | tuple):
        array = np.asarray(value)
        if array.dtype.kind in "biuf":
            return f"array {array.shape} {zlib.crc32(array.astype(np.float64).tobytes()):08x}"
    if value is None or isinstance(value, bool | int | float | str | np.number):
        return repr(value)
    return callable_name(value)


def model_description(model: Any) -> Any:
    """Return the options of a model without its seeds, or None if they cannot be saved.

    The seeds only determine the initial weights and are not compared.
    """
    try:
        options = _without_seeds(describe(model))
        return None if '"$' in json.dumps(options) else options
    except Exception:  # a class that cannot be described
        return None


def _without_seeds(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_seeds(part) for name, part in value.items() if name != "seed"}
    if isinstance(value, list | tuple):
        return [_without_seeds(part) for part in value]
    return value


# ---------------------------------------------------------------------------------- checking a file


def check_start(start: Any, position: Position) -> Position:
    """Return the start of a run from ``{"epoch": ..., "update": ...}``, not after `position`."""
    if not isinstance(start, Mapping) or set(start) != {"epoch", "update"}:
        raise ValueError(f"start: expected a mapping of epoch and update, got {start!r:.100}")
    epoch, update = (check_counted(f"start.{name}", start[name]) for name in ("epoch", "update"))
    if epoch > position.epoch or update > position.update:
        raise ValueError(
            f"start: expected at most epoch {position.epoch} and update {position.update}, the "
            f"position of the run, got {epoch} and {update}"
        )
    return Position(epoch=epoch, update=update)


def check_history(
    columns: Any, start: Position, position: Position, metrics: Sequence[str]
) -> History:
    """Return the history of a run that began at `start` and is at `position`.

    It has columns for `metrics`; a metric that was not saved is None.

    Raises
    ------
    ValueError
        If the columns are not a table with one row of numbers per epoch done.
    """
    if not isinstance(columns, Mapping) or not all(isinstance(c, list) for c in columns.values()):
        raise ValueError(f"history: expected a mapping of names to lists, got {columns!r:.100}")
    names = [name for name in columns if f"val_{name}" in columns and name != "loss"]
    saved = History(columns, names)
    missing: list[None] = [None] * len(saved)
    history = History(
        {name: saved.columns.get(name, missing) for name in History.columns_of(metrics)}, metrics
    )
    if history.epoch != [*range(start.epoch + 1, start.epoch + len(history) + 1)]:
        raise ValueError(f"history.epoch: expected numbers from {start.epoch + 1} on, got others")
    if len(history) != position.epoch - start.epoch:
        raise ValueError(
            f"history: expected {position.epoch - start.epoch} epochs, got {len(history)}"
        )
    for row in history.rows():
        check_counted("history.epoch", row["epoch"])
        check_counted("history.update", row["update"])
        for name in ("seconds", "steps_per_second"):
            check_real(f"history.{name}", row[name], 0)
        for name in ("loss", "lr"):
            check_real(f"history.{name}", row[name], finite=False)
        if row["val_loss"] is not None:
            check_real("history.val_loss", row["val_loss"], finite=False)
    updates = [start.update, *history.update, position.update]
    if updates != sorted(updates):
        raise ValueError("history.update: expected numbers that do not decrease, got others")
    return history
