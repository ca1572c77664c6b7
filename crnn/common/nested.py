"""States in any nesting: None, an array (B, ...), or lists and tuples of states."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from crnn.common.arrays import Array
from crnn.common.checks import check_array


def states_of(name: str, value: Any, count: int) -> list[Any]:
    """The states of `count` layers: the items of a list, or as many times None."""
    if value is None:
        return [None] * count
    if isinstance(value, (list, tuple)) and len(value) == count:
        return list(value)
    given = f"{len(value)} items" if isinstance(value, (list, tuple)) else type(value).__name__
    raise ValueError(f"{name}: expected None or a list of {count} states, got {given}")


def map_state(function: Callable[[Any], Any], state: Any) -> Any:
    """The state with `function` applied to each of its arrays."""
    if state is None:
        return None
    if isinstance(state, (list, tuple)):
        return type(state)(map_state(function, part) for part in state)
    return function(state)


def named_arrays(state: Any, name: str = "") -> list[tuple[str, Array]]:
    """The arrays of a state, in order, each with its place behind a name: state[0][1]."""
    if state is None:
        return []
    if isinstance(state, (list, tuple)):
        parts = enumerate(state)
        return [found for i, part in parts for found in named_arrays(part, f"{name}[{i}]")]
    return [(name, state)]


def arrays_of(state: Any) -> list[Array]:
    """The arrays of a state, in order."""
    found: list[Array] = []
    map_state(found.append, state)
    return found


def filled(like: Any, arrays: Iterable[Array]) -> Any:
    """A state like another, with these arrays in the order of `arrays_of`."""
    each = iter(arrays)
    return map_state(lambda _: next(each), like)


def filled_like(like: Any, state: Any) -> Any:
    """A state with zeros in the place of each None, in the structure of another."""
    if state is None:
        return map_state(np.zeros_like, like)
    if isinstance(like, (list, tuple)) and isinstance(state, (list, tuple)):
        return type(like)([filled_like(*pair) for pair in zip(like, state, strict=True)])
    return state


def check_like(name: str, value: Any, like: Any) -> None:
    """Raise unless a state has the structure and the shapes of another; None is always one."""
    if value is None:
        return
    if isinstance(like, (list, tuple)):
        if not isinstance(value, (list, tuple)) or len(value) != len(like):
            raise ValueError(
                f"{name}: expected None or {len(like)} states, got {type(value).__name__}"
            )
        for i, (part, twin) in enumerate(zip(value, like, strict=True)):
            check_like(f"{name}[{i}]", part, twin)
    elif like is None:
        raise ValueError(f"{name}: expected None, got {type(value).__name__}")
    else:
        check_array(name, value, "floats", np.shape(like))


def no_state(state: Any) -> bool:
    """Whether there is no array in a state, or no gradient at one."""
    if isinstance(state, list | tuple):
        return all(map(no_state, state))
    return state is None
