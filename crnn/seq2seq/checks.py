"""Checks of the arguments of sequence-to-sequence models."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array, Lengths, as_array
from crnn.common.checks import check_array, check_lengths, check_size, valid_steps
from crnn.layers.base.adapted import layer_of, named_layers, stepwise_obstacle


def check_encoder(encoder: Any) -> int | None:
    """Return the number of features that an encoder reads; raise if it reads several arrays."""
    if any(part.sequence_input is not None for _, part in named_layers(encoder)):
        raise ValueError(f"encoder: expected a layer that reads one array, got {encoder!r:.100}")
    return layer_of(encoder).input_size


def check_decoder(decoder: Any) -> int:
    """Return the number of features that a decoder reads; raise if it cannot run step by step."""
    if (where := stepwise_obstacle(decoder)) is not None:
        raise ValueError(
            "decoder: expected a layer that runs step by step (not reversed, Bidirectional, "
            f"pooled or Conditioned), got {decoder!r:.100}{where}"
        )
    width = layer_of(decoder).input_size
    if width is None:
        raise ValueError(
            "decoder: expected a layer that reads vectors of a fixed size (input_size), "
            f"got {decoder!r:.100}"
        )
    return width


def check_symbol_count(name: str, count: Any) -> int | None:
    """Return None or a number of symbols, checked."""
    return None if count is None else check_size(name, count)


def check_steps_of(
    name: str, value: Any, batch: int | None, K: int | None, width: int, dtype: np.dtype[Any]
) -> Array:
    """Return a source or target as an array: symbols (B, T), or vectors (B, T, width) if K is None.

    `check_symbols` checks the values of symbols later, because their lengths are needed for it.
    """
    if isinstance(value, tuple):
        raise TypeError(
            f"{name}: expected one array, got a tuple (crnn.TeacherForcing reads the pair of "
            "source and target)"
        )
    array, rows = as_array(name, value), "B" if batch is None else ("B", batch)
    if K is None:
        return check_array(name, array, "floats", (rows, "T", width)).astype(dtype, copy=False)
    if array.size == 0 and array.dtype.kind == "f" and array.ndim == 2:
        array = array.astype(np.int64)  # NumPy makes floats of the list [[]]
    if array.dtype.kind in "iu" and array.ndim == 2 and batch in (None, len(array)):
        return array
    return check_array(name, array, "integers", (rows, "T"))


def check_symbols(name: str, symbols: Array, lengths: Lengths, K: int) -> None:
    """Raise ValueError if a valid step has a symbol that is not in 0 ... K-1."""
    if lengths is not None:
        symbols = symbols[np.arange(symbols.shape[1]) < lengths[:, None]]
    if symbols.size and not (0 <= symbols.min() and symbols.max() < K):
        raise ValueError(
            f"{name}: expected integers from 0 to K-1={K - 1}, "
            f"got {symbols.min()} to {symbols.max()}"
        )


def readable_symbols(symbols: Array, lengths: Lengths) -> NDArray[np.int64]:
    """Return a copy of the symbols as int64, which holds any symbol, with 0 in the padding."""
    copied = symbols.astype(np.int64)
    if lengths is not None:
        copied[~valid_steps(lengths, symbols.shape)] = 0
    return copied


def checked_lengths(name: str, lengths: Any, shape: tuple[int, ...]) -> Lengths:
    """Return None, or a checked copy of the lengths as int64."""
    return None if lengths is None else check_lengths(lengths, shape, name).astype(np.int64)


def check_stop(stop: Any, K: int) -> int | None:
    """Return None or the stop symbol, checked."""
    expected = f"stop: expected None or an integer from 0 to K-1={K - 1}"
    if stop is None:
        return None
    if isinstance(stop, (bool, np.bool_)) or not isinstance(stop, (int, np.integer)):
        raise TypeError(f"{expected}, got {stop!r:.60}")
    if not 0 <= stop < K:
        raise ValueError(f"{expected}, got {stop!r}")
    return int(stop)


def check_start_symbols(start: Any, batch: int, K: int) -> NDArray[np.int64]:
    """Return the first symbols (B,), from one symbol for all rows or one per row."""
    array = as_array("start", start)
    expected = f"an integer from 0 to K-1={K - 1}, or one for each of the B={batch} rows"
    if array.dtype.kind not in "iu":
        raise TypeError(f"start: expected {expected}, got {start!r:.60}")
    if array.ndim and array.shape != (batch,):
        raise ValueError(f"start: expected {expected}, got shape {array.shape}")
    if array.size and not (0 <= array.min() and array.max() < K):
        raise ValueError(f"start: expected {expected}, got {array.min()} to {array.max()}")
    return np.broadcast_to(array, (batch,)).astype(np.int64)


def check_start_vectors(start: Any, batch: int, width: int, dtype: np.dtype[Any]) -> Array:
    """Return the first vectors (B, E), from one vector for all rows or one per row."""
    last = ("E", width)
    array = check_array("start", start, "floats", (last,), (("B", batch), last))
    return np.broadcast_to(array, (batch, width)).astype(dtype)


def check_fixed(source: Any, lengths: Any, width: int, dtype: np.dtype[Any]) -> Array:
    """Return a source of one vector per row (B, I), checked; it has no lengths."""
    if lengths is not None:
        raise ValueError(
            f"source_lengths: expected None for vectors (B, I={width}), got {lengths!r:.60}"
        )
    array = check_array("source", source, "floats", ("B", ("I", width)))
    return array.astype(dtype, copy=False)
