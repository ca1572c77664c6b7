"""What a run is made with, as its file has it, and what may differ when it is resumed.

Some arguments may be changed: they are taken up, and a `crnn.notices.ResumeWarning` says so. With
others the numbers would be wrong: they are refused by name.
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

_REFUSED = ("loss", "tbptt", "stateful", "accumulate", "optimizer")
_TAKEN = ("epochs", "checkpoint_every", "model", "metrics")


def compare(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Compare the arguments of a run when it began with those it is resumed with.

    Parameters
    ----------
    then, now : mapping
        As `Trainer` describes them. A file of an earlier version has none.

    Returns
    -------
    list of str
        What differs and is taken up, in words.

    Raises
    ------
    ValueError
        The data, the loss, the optimizer or the windows differ.
    """
    then = {"metrics": [], **then} if isinstance(then, Mapping) and then else then
    if not isinstance(then, Mapping) or (then and set(then) != set(now)):
        raise ValueError(f"arguments: expected {', '.join(now)}, got {then!r:.100}")
    if not then:
        return []
    for name in _REFUSED:
        for place, before, after in _differences(name, then[name], now[name]):
            raise ValueError(
                f"{place}: a run is resumed as it began, with {before!r:.200}, got {after!r:.200}"
            )
    if not _same_data(then["data"], now["data"]):
        raise ValueError(
            f"data: a run is resumed with the data that it began with, in the same batches and the "
            f"same order, {_data(then['data'])}, got {_data(now['data'])}"
        )
    said = [
        f"{place}: {after!r:.60} now, {before!r:.60} when the run began"
        for name in _TAKEN
        for place, before, after in _differences(name, then[name], now[name])
    ]
    if not _same_data(then["validation"], now["validation"]):
        said.append(
            f"validation: {_data(now['validation'])} now, {_data(then['validation'])} when the run "
            "began, of which the losses of earlier epochs are"
        )
    return said


def _same_data(then: Any, now: Any) -> bool:
    return then == now or None in (then, now)


def _data(told: Any) -> str:
    """Say how much data there are, or that it is not known."""
    if not isinstance(told, Mapping) or "rows" not in told:
        return "none" if told is False else f"{told!r:.100}"
    return (
        f"{told['items']} items of at most B={told['batch']} rows, {told['rows']} rows together "
        f"(contents {told['content']:08x})"
    )


def _differences(place: str, then: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """Go through what differs in two trees: place, then and now."""
    if isinstance(then, Mapping) and isinstance(now, Mapping) and set(then) == set(now):
        for name in now:
            yield from _differences(f"{place}.{name}", then[name], now[name])
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for i, (before, after) in enumerate(zip(then, now, strict=True)):
            yield from _differences(f"{place}[{i}]", before, after)
    elif _plain(then) != _plain(now):
        yield place, then, now


def _plain(value: Any) -> Any:
    """Tuples as lists, so that a value is equal to what a file has of it."""
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


# ---------------------------------------------------------------------------- describing arguments


def loss_name(loss: Any) -> str:
    """Return a loss in words: its name, and the arguments that `functools.partial` gave it."""
    if isinstance(loss, functools.partial):
        given = [_word(value) for value in loss.args]
        given += [f"{name}={_word(value)}" for name, value in sorted(loss.keywords.items())]
        return f"{loss_name(loss.func)}({', '.join(given)})"
    return str(getattr(loss, "__qualname__", type(loss).__qualname__))


def _word(value: Any) -> str:
    """Return an argument in words that are the same in another process."""
    if isinstance(value, np.ndarray | list | tuple):
        array = np.asarray(value)
        if array.dtype.kind in "biuf":
            return f"array {array.shape} {zlib.crc32(array.astype(np.float64).tobytes()):08x}"
    if value is None or isinstance(value, bool | int | float | str | np.number):
        return repr(value)
    return loss_name(value)


def model_description(model: Any) -> Any:
    """Return the options of a model without its seeds, which decide initial weights; or None."""
    try:
        options = _seedless(describe(model))
        return None if '"$' in json.dumps(options) else options
    except Exception:  # of a class that cannot be put into a file
        return None


def _seedless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _seedless(part) for name, part in value.items() if name != "seed"}
    if isinstance(value, list | tuple):
        return [_seedless(part) for part in value]
    return value


# ---------------------------------------------------------------------------------- checking a file


def check_start(given: Any, position: Position) -> Position:
    """Return where a run began: ``{"epoch": ..., "update": ...}``, not behind where it stands."""
    if not isinstance(given, Mapping) or set(given) != {"epoch", "update"}:
        raise ValueError(f"start: expected a mapping of epoch and update, got {given!r:.100}")
    epoch, update = (check_counted(f"start.{name}", given[name]) for name in ("epoch", "update"))
    if epoch > position.epoch or update > position.update:
        raise ValueError(
            f"start: expected at most epoch {position.epoch} and update {position.update}, where "
            f"the run stands, got {epoch} and {update}"
        )
    return Position(epoch=epoch, update=update)


def check_history(
    given: Any, start: Position, position: Position, metrics: Sequence[str]
) -> History:
    """Return the history of a run that began at `start` and stands at `position`.

    It has the columns of `metrics`; those that were not saved are None.

    Raises
    ------
    ValueError
        It is no table with a row of numbers for each epoch done.
    """
    if not isinstance(given, Mapping) or not all(isinstance(c, list) for c in given.values()):
        raise ValueError(f"history: expected a mapping of names to lists, got {given!r:.100}")
    saved = History(given, [name for name in given if f"val_{name}" in given and name != "loss"])
    without: list[None] = [None] * len(saved)
    columns = {name: saved.columns.get(name, without) for name in History.columns_of(metrics)}
    history = History(columns, metrics)
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
        raise ValueError("history.update: expected numbers that do not fall, got others")
    return history
