"""Checks of the arguments of `fit`, `evaluate` and `predict`. Messages show correct code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import FunctionType
from typing import Any, NoReturn

import numpy as np

import crnn.losses as losses
import crnn.optim as optim
from crnn.callbacks.base import Callback

#: Losses of crnn by their names in other libraries.
_LOSSES = {
    "mse": "mse",
    "meansquarederror": "mse",
    "mseloss": "mse",
    "bce": "binary_cross_entropy",
    "bceloss": "binary_cross_entropy",
    "bcewithlogitsloss": "binary_cross_entropy",
    "binarycrossentropy": "binary_cross_entropy",
    "crossentropy": "cross_entropy",
    "crossentropyloss": "cross_entropy",
    "categoricalcrossentropy": "cross_entropy",
    "sparsecategoricalcrossentropy": "cross_entropy",
}


def check_run(
    data: Any, loss: Any, optimizer: Any, validation: Any, callbacks: Sequence[Callback]
) -> None:
    """Check the types of the arguments of a run.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type. The message shows correct code.
    """
    if not (type(data) is list and data and type(data[0]) is tuple):
        check_data("data", data)
    if not isinstance(loss, FunctionType):
        check_loss(loss)
    if not isinstance(optimizer, optim.Optimizer):
        _raise_for_optimizer(optimizer)
    if validation is not None:
        check_data("validation", validation)
    if callbacks != ():
        check_callbacks(callbacks)


def check_loss(loss: Any) -> None:
    """Raise TypeError unless the loss is a function."""
    if isinstance(loss, str):
        known = [name for name in losses.__all__ if name != "Mean"]
        names = [_LOSSES[_simplified(loss)]] if _simplified(loss) in _LOSSES else known
        hint = " or ".join(f"loss=crnn.losses.{name}" for name in names)
        raise TypeError(
            f"loss: expected a function such as crnn.losses.mse, got {loss!r:.60}: write {hint}"
        )
    if isinstance(loss, type) or not callable(loss):
        raise TypeError(f"loss: expected a function such as crnn.losses.mse, got {loss!r:.60}")


def _raise_for_optimizer(optimizer: Any) -> NoReturn:
    """Raise TypeError for an object that is not an optimizer of `crnn.optim`."""
    word = optimizer.__name__ if isinstance(optimizer, type) else optimizer
    names = {name.lower(): name for name in optim.__all__ if name != "Optimizer"}
    hint = ""
    if isinstance(word, str):
        hint = (
            f": write optimizer=crnn.optim.{names.get(_simplified(word), 'Adam')}(model, lr=1e-3)"
        )
    raise TypeError(f"optimizer: expected one of crnn.optim, got {optimizer!r:.60}{hint}")


def _simplified(name: str) -> str:
    """Return the letters and digits of a name in lower case."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def check_callbacks(callbacks: Any) -> None:
    """Raise TypeError unless `callbacks` is a list of callbacks."""
    if not isinstance(callbacks, list | tuple):
        hint = f": write callbacks=[{type(callbacks).__name__}(...)]"
        raise TypeError(
            f"callbacks: expected a list, got {callbacks!r:.60}"
            f"{hint if isinstance(callbacks, Callback) else ''}"
        )
    for i, callback in enumerate(callbacks):
        if isinstance(callback, type):
            raise TypeError(
                f"callbacks[{i}]: expected a Callback, got the class {callback.__name__}: "
                f"write {callback.__name__}(...)"
            )
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks[{i}]: expected a Callback, got {callback!r:.60}")


def check_data(name: str, data: Any) -> None:
    """Check that data are an iterable of items.

    Parameters
    ----------
    name : str
        Name of the argument: "data" or "validation".
    data : object

    Raises
    ------
    ValueError
        If data are an array, or a tuple or list of arrays.
    TypeError
        If data are not an iterable.
    """
    entries = list(data[:4]) if isinstance(data, tuple | list) else [data]
    if any(is_array(entry) for entry in entries) or not all(map(_may_be_item, entries)):
        shown = f"a {type(data).__name__} of arrays" if entries[0] is not data else "an array"
        raise ValueError(
            f"{name}: expected items (x, target) or (x, target, lengths), got {shown}: write "
            f"{name}=[(x, target)] for one batch, or {name}=crnn.data.Batches(x, target, "
            "batch_size=32)"
        )
    if isinstance(data, str | dict) or not isinstance(data, Iterable):
        raise TypeError(
            f"{name}: expected an iterable of items (x, target), got {type(data).__name__}"
        )


def is_array(value: Any) -> bool:
    """Return whether a value is an array, of NumPy or of another library."""
    return isinstance(value, np.ndarray) or hasattr(value, "__array__")


def _may_be_item(value: Any) -> bool:
    """Return whether a value is no list, or a list as long as an item (x, target, ...)."""
    return not isinstance(value, list) or len(value) in (2, 3, 4)
