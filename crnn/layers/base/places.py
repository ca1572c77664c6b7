"""The place of a layer in a composition, as a note on the errors that the layer raises.

A composition runs its parts through the functions here, or calls `add_place` itself where it runs
many in a loop. Each composition around the layer adds a note of its own, the innermost first.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from crnn.layers.base.adapted import layer_of
from crnn.layers.base.arguments import ForwardOptions

_LONGEST = 120  # characters of a layer's repr


def add_place(error: Exception, owner: Any, key: Any) -> None:
    """Add the note ``in PLACE, LAYER`` to an error.

    Parameters
    ----------
    error : Exception
        What a part of a composition raised.
    owner : Composition
    key : str or int
        Which part, as ``owner.place_of`` takes it.
    """
    with suppress(LookupError, AttributeError):  # a part that was taken away meanwhile
        error.add_note(f"in {owner.place_of(key)}")


def shown(layer: Any) -> str:
    """Return the repr of a layer, cut where it is long."""
    try:
        text = repr(layer)
    except Exception:  # the error that is being raised says more
        text = object.__repr__(layer)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def run_in(
    owner: Any, key: str, given: ForwardOptions, x: Any, state: Any, keep: bool
) -> tuple[Any, Any, Any]:
    """Return y, state, tape of the part `key` of a composition, see `Runner.run`."""
    try:
        y, after, tape = owner.runner(key).run(x, state, given, given.layer, keep)
        return y, after, tape
    except Exception as error:
        add_place(error, owner, key)
        raise


def back_in(owner: Any, key: str, tape: Any, dy: Any, dstate: Any = None) -> tuple[Any, Any]:
    """Return dx, dstate of the part `key` of a composition, which adds to its gradients."""
    try:
        dx, dbefore = getattr(owner, key).backward(tape, dy, dstate)
        return dx, dbefore
    except Exception as error:
        add_place(error, owner, key)
        raise


def check_in(owner: Any, key: str, tape: Any, dstate: Any) -> None:
    """Raise what the part `key` of a composition has to say against a backward."""
    try:
        layer_of(getattr(owner, key)).check_backward(tape, dstate)
    except Exception as error:
        add_place(error, owner, key)
        raise
