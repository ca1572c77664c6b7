"""The number of a training call. The random numbers of a layer are a function of it.

Only the outermost layer of a call counts its calls. It passes the number to its parts as `call`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

_lock = threading.Lock()
_outer_call: ContextVar[int | None] = ContextVar("_outer_call", default=None)


@contextmanager
def numbered(call: int) -> Iterator[None]:
    """Use one number for all training calls inside this context that get no `call`.

    It is meant for a part whose forward may not pass `call` on to the layers that it calls.

    Parameters
    ----------
    call : int
        Number of the call that the part belongs to. The layers inside do not count this call.
    """
    token = _outer_call.set(call)
    try:
        yield
    finally:
        _outer_call.reset(token)


class Counting:
    """Counter of the training calls of a layer."""

    #: Number of training calls so far that got no `call`. The next one gets this number.
    calls: int = 0

    if TYPE_CHECKING:

        @property
        def stochastic(self) -> bool: ...

    def next_call(self) -> int:
        """Count a training call that got no `call`, and return its number, from 0 on.

        Two threads never get the same number. Inside `numbered` it is the number of that context,
        and the call is not counted.
        """
        outer = _outer_call.get()
        if outer is not None:
            return outer
        with _lock:
            number = self.calls
            self.calls = number + 1
        return number

    def call_number(self, call: int | None, training: bool) -> int | None:
        """Return `call`; if it is None and the layer draws random numbers, the next number."""
        if call is None and training and self.stochastic:
            return self.next_call()
        return call
