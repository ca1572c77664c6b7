"""Notes on errors that name the place of a layer in a composition.

A composition runs its parts by the functions of this module, or calls `add_place` in its own loop.
Each composition around a layer adds one note; the note of the innermost one is the first. The core
calls `add_place`, too.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from crnn.layers.base.adapted import layer_of
from crnn.layers.base.arguments import ForwardOptions, is_crnn_function
from crnn.layers.base.trainable import NO_TAPE, is_trainable

_LONGEST = 120  # characters of a layer's repr


def add_place(error: Exception, owner: Any, key: Any) -> None:
    """Add the note ``in PLACE, LAYER`` to an error.

    Parameters
    ----------
    error : Exception
        Raised by a part of a composition.
    owner : Composition
    key : str or int
        Key of the part, for ``owner.place_of``.
    """
    with suppress(LookupError, AttributeError):  # the part was removed in the meantime
        error.add_note(f"in {owner.place_of(key)}")


def shown(layer: Any) -> str:
    """Return the repr of a layer, cut to 120 characters."""
    try:
        text = repr(layer)
    except Exception:  # do not replace the error that gets the note
        text = object.__repr__(layer)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def run_part(
    owner: Any, key: str, options: ForwardOptions, x: Any, state: Any, keep: bool
) -> tuple[Any, Any, Any]:
    """Run the part `key` of a composition by `Runner.run`; return y, state, tape."""
    try:
        y, after, tape = owner.runner(key).run(x, state, options, options.layer, keep)
        return y, after, tape
    except Exception as error:
        add_place(error, owner, key)
        raise


def backward_part(owner: Any, key: str, tape: Any, dy: Any, dstate: Any = None) -> tuple[Any, Any]:
    """Run backward of the part `key` of a composition; return dx, dstate."""
    try:
        return layer_backward(getattr(owner, key), tape, dy, dstate)
    except Exception as error:
        add_place(error, owner, key)
        raise


def layer_backward(layer: Any, tape: Any, dy: Any, dstate: Any = None) -> tuple[Any, Any]:
    """Run backward of a layer inside a composition; return dx, dstate.

    Without a tape both are None. The gradients of a frozen layer do not change, also if its
    backward is defined outside of crnn and adds to them.
    """
    if tape is NO_TAPE:
        return None, None
    if is_crnn_function(layer.backward) or is_trainable(layer):
        dx, dbefore = layer.backward(tape, dy, dstate)
        return dx, dbefore
    grads = [(array, array.copy()) for array in layer.grads.values()]
    try:
        dx, dbefore = layer.backward(tape, dy, dstate)
    finally:
        for array, before in grads:
            array[...] = before
    return dx, dbefore


def check_part(owner: Any, key: str, tape: Any, dstate: Any) -> None:
    """Check the arguments of backward of the part `key` of a composition."""
    if tape is NO_TAPE:
        return
    try:
        layer_of(getattr(owner, key)).check_backward(tape, dstate)
    except Exception as error:
        add_place(error, owner, key)
        raise
