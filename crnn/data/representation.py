"""The parts of a `repr` of a data class: one short line that needs no data."""

import functools
from collections.abc import Callable, Iterable
from typing import Any


def counted(count: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun: "1 line", "2 lines"."""
    return f"{count} {singular if count == 1 else plural or singular + 's'}"


def with_names(names: Iterable[str]) -> str:
    """Return the end of a `repr` that names optional arrays, "" without any."""
    *first, last = [*names] or [""]
    together = f"{', '.join(first)} and {last}" if first else last
    return f", with {together}" if together else ""


def never_raising(function: Callable[[Any], str]) -> Callable[[Any], str]:
    """Let a `__repr__` return the repr of `object` where it would raise an exception.

    Debuggers and tracebacks show objects whose constructor has not finished.
    """

    @functools.wraps(function)
    def __repr__(self: Any) -> str:
        try:
            return function(self)
        except Exception:
            return object.__repr__(self)

    return __repr__
