"""States in any nesting: None, an array (B, ...), or lists and tuples of states."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.checks import check_array


def states_of(name: str, value: Any, count: int) -> list[Any]:
    """Return the states of `count` layers: the items of a list, or `count` times None."""
    if value is None:
        return [None] * count
    if isinstance(value, (list, tuple)) and len(value) == count:
        return list(value)
    actual = f"{len(value)} items" if isinstance(value, (list, tuple)) else type(value).__name__
    raise ValueError(f"{name}: expected None or a list of {count} states, got {actual}")


def map_state(function: Callable[[Any], Any], state: Any) -> Any:
    """Return a state with `function` applied to each of its arrays."""
    if state is None:
        return None
    if isinstance(state, (list, tuple)):
        return type(state)(map_state(function, part) for part in state)
    return function(state)


def named_arrays(state: Any, name: str = "") -> list[tuple[str, Array]]:
    """Return the arrays of a state in order, with names such as ``state[0][1]``."""
    if state is None:
        return []
    if isinstance(state, (list, tuple)):
        parts = enumerate(state)
        return [pair for i, part in parts for pair in named_arrays(part, f"{name}[{i}]")]
    return [(name, state)]


def arrays_of(state: Any) -> list[Array]:
    """Return the arrays of a state in order."""
    arrays: list[Array] = []
    map_state(arrays.append, state)
    return arrays


def gradient_form(state: Any) -> Any:
    """Return a state as its gradient is: without arrays of integers, such as numbers of steps.

    They are left out of a tuple, which is the state of one layer; elsewhere None stands for them.
    """
    if isinstance(state, (list, _core.PairState)):  # of several layers
        return type(state)(map(gradient_form, state))
    if isinstance(state, tuple):
        return type(state)(gradient_form(part) for part in state if not _is_integer(part))
    return None if _is_integer(state) else state


def counts_steps(state: Any) -> bool:
    """Return whether a state has numbers of steps, as that of self-attention has."""
    return any(map(_is_integer, arrays_of(state)))


def check_no_counts(name: str, layer: Any, state: Any, hint: str = "") -> None:
    """Raise if a state of a layer has numbers of steps, which have no gradient."""
    if counts_steps(state):
        raise ValueError(
            f"{name}: expected one whose state has floats alone, got {layer!r:.100}, whose state "
            f"has the number of steps that were read{hint}"
        )


def _is_integer(part: Any) -> bool:
    return isinstance(part, np.ndarray) and part.dtype.kind in "iu"


def filled(like: Any, arrays: Iterable[Array]) -> Any:
    """Return a state with the structure of `like` and these arrays, in the order of `arrays_of`."""
    iterator = iter(arrays)
    return map_state(lambda _: next(iterator), like)


def filled_like(like: Any, state: Any) -> Any:
    """Return a state with the structure of `like`, in which zeros replace each None."""
    if state is None:
        return map_state(np.zeros_like, like)
    if isinstance(like, (list, tuple)) and isinstance(state, (list, tuple)):
        return type(like)([filled_like(*pair) for pair in zip(like, state, strict=True)])
    return state


def check_like(name: str, value: Any, like: Any) -> None:
    """Raise unless a state is None or has the structure and the shapes of `like`."""
    if value is None:
        return
    if isinstance(like, (list, tuple)):
        if not isinstance(value, (list, tuple)) or len(value) != len(like):
            raise ValueError(
                f"{name}: expected None or {len(like)} states, got {type(value).__name__}"
            )
        for i, (part, like_part) in enumerate(zip(value, like, strict=True)):
            check_like(f"{name}[{i}]", part, like_part)
    elif like is None:
        raise ValueError(f"{name}: expected None, got {type(value).__name__}")
    else:
        check_array(name, value, "floats", np.shape(like))


def no_state(state: Any) -> bool:
    """Return whether a state, or a gradient with respect to it, has no array."""
    if isinstance(state, list | tuple):
        return all(map(no_state, state))
    return state is None
