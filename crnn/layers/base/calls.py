"""The number of a training call: what a layer drops is a function of it.

Only the layer that is called from outside counts. It hands the number on to its parts as `call`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

_counting = threading.Lock()
_outer: ContextVar[int | None] = ContextVar("_outer", default=None)


@contextmanager
def numbered(call: int) -> Iterator[None]:
    """Run a part whose forward may not hand `call` on: the layers that it calls get this number.

    Parameters
    ----------
    call : int
        Number of the call that the part belongs to. Layers inside do not count then.
    """
    token = _outer.set(call)
    try:
        yield
    finally:
        _outer.reset(token)


class Counting:
    """A layer's count of its training calls."""

    #: How many training calls without `call` were counted: the number of the next one.
    calls: int = 0

    if TYPE_CHECKING:

        @property
        def stochastic(self) -> bool: ...

    def next_call(self) -> int:
        """Count a training call that was given no number, and return its number, from 0 on.

        Threads never get the same number. Inside `numbered`, the number given there.
        """
        outer = _outer.get()
        if outer is not None:
            return outer
        with _counting:
            number = self.calls
            self.calls = number + 1
        return number

    def call_number(self, call: int | None, training: bool) -> int | None:
        """The number of a call of forward: the one given, or the layer's next one if it draws."""
        if call is None and training and self.stochastic:
            return self.next_call()
        return call
