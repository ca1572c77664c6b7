"""Outputs of a model for data: `predict`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from crnn.callbacks.progress import with_bar
from crnn.common.arrays import Array, as_array
from crnn.common.checks import check_size
from crnn.data.batches import pad
from crnn.layers.base.adapted import check_one_input, layer_of, named_layers
from crnn.layers.base.arguments import is_from_outside, options_of
from crnn.layers.base.layer import Layer, Temporal
from crnn.layers.base.protocol import LayerLike
from crnn.training.argument_checks import is_array
from crnn.training.windows import Data, Item, items_of, windows_of

_STEPS = 1 << 14  # largest B times T of a batch if batch_size is None

_EXPECTED = (
    "data: expected an array (B, T, I), a list of arrays (T, I) or an iterable of items (x, target)"
)


@overload
def predict(model: LayerLike, data: Array, *, batch_size: int | None = None) -> Array: ...
@overload
def predict(  # type: ignore[overload-overlap]
    model: LayerLike, data: tuple[ArrayLike | None, ...], *, batch_size: int | None = None
) -> Array: ...
@overload
def predict(
    model: LayerLike, data: Sequence[ArrayLike] | Data, *, batch_size: int | None = None
) -> list[Array]: ...
def predict(model: LayerLike, data: Any, *, batch_size: int | None = None) -> Any:
    """Return the outputs of a model for data, computed batch by batch.

    Dropout is off, and every sequence begins with the state zero (or the learned initial state).
    The outputs of a sequence are bit-identical in any batch and for any `batch_size`.

    Parameters
    ----------
    model : layer
        The model; it is not changed.
    data : array, tuple of arrays, list of arrays, or iterable of items
        An array is x of all sequences: (B, T, I) floats or (B, T) integers (symbols). For a model
        that reads several arrays, such as `crnn.TeacherForcing`, it is a tuple of arrays with B
        rows each.

        A list has one array (T, I) or (T,) for each sequence; the sequences may differ in length.

        Any other iterable, or a list of tuples, has items (x, target), (x, target, lengths) or
        (x, target, lengths, extras) as for `crnn.fit`. Targets are not read. An item that is not a
        tuple is an x.
    batch_size : int, optional
        Number of sequences in a batch, for an array or a list. None: as many as have about 16,000
        steps. The memory, apart from that of the result, depends on it, and not on the number of
        sequences. It does not depend on T if the model runs step by step.

    Returns
    -------
    ndarray or list of ndarray
        For an array or a tuple: y (B, T, K), or (B, K) if the model removes the time axis. For a
        list: a list with y (T, K), or (K,), of each sequence in the same order, without padding.
        For items: a list with y of each item in the same order.

    Raises
    ------
    ValueError, TypeError
        If the data have another form, sequences differ in their features, or `batch_size` is set
        for items.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> model = crnn.Sequential([crnn.GRU(2, 4, seed=0), crnn.Dense(4, 3, seed=1)])
    >>> crnn.predict(model, np.zeros((5, 6, 2))).shape
    (5, 6, 3)
    >>> [y.shape for y in crnn.predict(model, [np.zeros((6, 2)), np.zeros((3, 2))])]
    [(6, 3), (3, 3)]
    """
    check_one_input("model", model)
    layer = layer_of(model)
    size = None if batch_size is None else check_size("batch_size", batch_size)
    if isinstance(data, tuple):
        if layer.sequence_input is None:
            raise ValueError(f"{_EXPECTED}, got a tuple: write crnn.predict(model, x)")
        return _of_rows(layer, _check_tuple(layer, data), size)
    if is_array(data):
        return _of_rows(layer, _check_rows(layer, np.asarray(data)), size)
    if isinstance(data, str | dict) or not isinstance(data, Iterable):
        raise TypeError(f"{_EXPECTED}, got {type(data).__name__}")
    if isinstance(data, list) and not (data and isinstance(data[0], tuple)):
        return _of_sequences(layer, data, size)
    if size is not None:
        raise ValueError(
            f"batch_size: expected None for an iterable of items, which are the batches, got {size}"
        )
    items = items_of(_with_targets(data), "data", None, model)
    return [outputs_of(layer, item) for item in with_bar(items, "items", of=data)]


# ------------------------------------------------------------------------------------ forms of data


def _check_tuple(layer: Layer, data: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a tuple of arrays (None stays None) of as many rows each, or raise ValueError."""
    index = layer.sequence_input or 0
    parts = [None if x is None else as_array(f"data[{i}]", x) for i, x in enumerate(data)]
    if len(parts) <= index or any(part is None for part in parts[: index + 1]):
        raise ValueError(
            f"data: expected a tuple of at least {index + 1} arrays for {layer!r:.60}, got "
            f"{sum(part is not None for part in parts)}"
        )
    rows = parts[0].shape[:1] if parts[0] is not None else ()
    for i, part in enumerate(parts):
        if part is not None and (not part.ndim or part.shape[:1] != rows):
            raise ValueError(f"data[{i}]: expected as many rows as data[0], got shape {part.shape}")
    return tuple(parts)


def _check_rows(layer: Layer, x: Array) -> Array:
    """Return x, or raise ValueError if x is not an array of numbers with rows."""
    floats = x.ndim == 2 and x.dtype.kind == "f" and x.shape[1] == layer.input_size
    if (x.ndim == 1 and x.dtype.kind in "iu") or (floats and layer.has_state):
        raise ValueError(
            f"{_EXPECTED}, got one sequence of shape {x.shape}: write crnn.predict(model, [x])"
        )
    if x.dtype.kind not in "biuf" or x.ndim < 2:
        raise ValueError(f"{_EXPECTED}, got {x.dtype} of shape {x.shape}")
    return x


def _with_targets(data: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the items with a target of zeros, which is not read."""
    for item in data:
        is_item = isinstance(item, tuple) or (
            isinstance(item, list) and item and (isinstance(item[0], tuple) or is_array(item[0]))
        )
        if is_item and not len(item):
            raise ValueError(f"{_EXPECTED}, got an empty item")
        x, *others = item if is_item else (item,)
        lead = np.shape(x[0] if isinstance(x, tuple) else x)[:2]
        yield x, np.broadcast_to(np.int8(0), lead), *others[1:]


def _of_rows(layer: Layer, x: Any, size: int | None) -> Array:
    """Return the outputs for x (B, T, ...), or for a tuple of arrays with B rows each."""
    parts = x if isinstance(x, tuple) else (x,)
    B, T = (*parts[layer.sequence_input or 0].shape, 1)[:2]
    rows, outputs = size or max(1, _STEPS // max(1, T)), None
    for first in with_bar(range(0, max(B, 1), rows), "batches"):
        chosen = tuple(None if part is None else part[first : first + rows] for part in parts)
        y = outputs_of(layer, _item(layer, chosen if isinstance(x, tuple) else chosen[0]))
        if outputs is None:
            outputs = np.empty((B, *y.shape[1:]), y.dtype)
        outputs[first : first + rows] = y
    assert outputs is not None
    return outputs


def _of_sequences(layer: Layer, data: list[Any], size: int | None) -> list[Array]:
    """Return the outputs for sequences (T, ...) of different lengths, in their order."""
    sequences = alike([as_array(f"data[{i}]", one) for i, one in enumerate(data)])
    for i, one in enumerate(sequences):
        first = sequences[0]
        if one.ndim < 1 or one.dtype.kind not in "biuf" or one.ndim > 2:
            raise ValueError(
                f"data[{i}]: expected a sequence (T, I) of floats or (T,) of symbols, "
                f"got {one.dtype} of shape {one.shape}"
            )
        if (one.dtype.kind == "f") != (first.dtype.kind == "f"):
            raise ValueError(
                f"data[{i}]: expected {'floats' if first.dtype.kind == 'f' else 'symbols'}, as in "
                f"data[0], got {one.dtype}"
            )
        if one.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"data[{i}]: expected shape (T, {', '.join(map(str, first.shape[1:]))}), as that "
                f"of data[0], got {one.shape}"
            )
    outputs: list[Any] = [None] * len(sequences)
    for numbers in with_bar(_batches([len(one) for one in sequences], size, layer), "batches"):
        x, lengths = pad([sequences[i] for i in numbers])
        y = outputs_of(layer, _item(layer, x, lengths if len(set(lengths)) > 1 else None))
        for i, row, length in zip(numbers, y, lengths, strict=True):
            outputs[i] = np.array(row[:length] if layer.keeps_time else row)
    return outputs


def alike(sequences: list[Array]) -> list[Array]:
    """Return sequences with integers of one type, and empty lists as empty sequences."""
    like = next((one for one in sequences if one.size), None)
    if like is not None:
        empty = np.zeros((0, *like.shape[1:]), like.dtype)
        sequences = [empty if one.shape == (0,) else one for one in sequences]
    return [one.astype(np.int64) if one.dtype.kind in "iu" else one for one in sequences]


def _batches(lengths: Sequence[int], size: int | None, layer: Layer) -> list[list[int]]:
    """Return batches of the indices of sequences, with similar lengths in a batch.

    For a model that does not take `lengths`, the lengths in a batch are equal.
    """
    batches: list[list[int]] = []
    equal_lengths = "lengths" not in options_of(layer)
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[batches[-1][0]] if batches else 0
        room = size or max(1, _STEPS // max(1, longest))
        if not batches or len(batches[-1]) == room or (equal_lengths and lengths[i] != longest):
            batches.append([])
        batches[-1].append(i)
    return batches


def _item(layer: Layer, x: Any, lengths: Any = None) -> Item:
    """Return x as an item without a target."""
    lead = (x[layer.sequence_input or 0] if isinstance(x, tuple) else x).shape[:2]
    target = np.broadcast_to(np.int8(0), lead)
    return Item(x, target, lengths, sequence_input=layer.sequence_input or 0)


# ---------------------------------------------------------------------------------- computing them


def outputs_of(layer: Layer, item: Item, state: Any = None) -> Array:
    """Return y for one item; a long item is computed in windows along T if the model allows it.

    Parameters
    ----------
    layer : Layer
    item : Item
    state : state, default None
        State before the first step.
    """
    shape = item.shape
    # With a mask, y at masked steps at the start of a window would differ.
    is_long = len(shape) > 1 and shape[1] > _STEPS and item.mask is None
    if not (is_long and runs_by_windows(layer)):
        y, _ = layer(item.x, state, **item.options)
        return np.asarray(y)
    outputs = None
    for window in windows_of(item, (_STEPS, _STEPS)):
        y, state = layer(window.item.x, state, **window.item.options)
        if outputs is None:
            outputs = np.zeros((*shape[:2], *y.shape[2:]), y.dtype)
        outputs[:, window.start : window.stop] = y
    if outputs is None:  # no valid step
        y, _ = layer(item.x[:, :0], None)
        outputs = np.zeros((*shape[:2], *y.shape[2:]), y.dtype)
    return outputs


def runs_by_windows(layer: Layer) -> bool:
    """Return whether a model gives the same outputs in windows, with the state carried on."""
    by_steps = layer.keeps_time and not layer.reads_backwards and layer.sequence_input is None
    return by_steps and all(_carries_state(part) for _, part in named_layers(layer))


def _carries_state(layer: Layer) -> bool:
    """Return whether a layer reads earlier steps only through a state, if at all."""
    declared = isinstance(layer, Temporal) or not is_from_outside(layer)
    return layer.receptive_field == 1 or (layer.has_state and declared)
