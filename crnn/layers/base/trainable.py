"""Which layers are trained: the attribute `trainable`.

The flag of a layer is its attribute `_frozen`. The core reads it of recurrent layers, and plans are
made anew when it changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from crnn.common.arrays import Array, memory_key
from crnn.common.checks import check_flag


class Trainable:
    """Part of `Layer` that says whether the layer is trained."""

    #: Whether backward adds to no gradients of the layer's own parameters.
    _frozen: bool = False

    if TYPE_CHECKING:

        @property
        def parts(self) -> Mapping[str, Any]: ...
        @property
        def params(self) -> Mapping[str, Array]: ...
        @property
        def grads(self) -> Mapping[str, Array]: ...

    @property
    def trainable(self) -> bool:
        """Whether the layer is trained; False freezes its parameters.

        The backward pass of a frozen layer returns the gradients of x and of the state, but does
        not compute those of its parameters: `grads` stay as they are. Optimizers skip the layer. It
        may be set at any time: a backward pass computes the gradients of the layers that are
        trainable when it begins, and an optimizer updates those that are trainable in its `step`.
        In `crnn.fit`, frozen layers before the first trainable one keep no tape, and do not run
        backward. Dropout and zoneout of a frozen layer still follow the argument ``training``.

        A composition sets it for all layers inside. It is trainable if any layer inside with
        parameters is.
        """
        parts = self.parts
        if not parts:
            return not self._frozen
        holders = [part for part in parts.values() if part.params] or list(parts.values())
        return any(map(is_trainable, holders)) or (self._holds_parameters() and not self._frozen)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        trainable = check_flag("trainable", value)
        changed = list[tuple[Any, bool]]()
        try:
            for layer in _inside(self):
                is_frozen = getattr(layer, "_frozen", not is_trainable(layer))
                changed.append((layer, not is_frozen))
                set_flag(layer, trainable)
        except Exception:  # an object of a user that does not take the attribute
            for layer, before in changed[:-1]:
                set_flag(layer, before)
            raise

    def _set_own_flag(self, trainable: bool) -> None:
        """Set the flag of this layer alone."""
        self._frozen = not trainable

    def _holds_parameters(self) -> bool:
        """Return whether the layer has parameters that are not those of its parts."""
        inside = {
            memory_key(array) for part in self.parts.values() for array in part.params.values()
        }
        return any(memory_key(array) not in inside for array in self.params.values())

    @property
    def _trained_grads(self) -> Mapping[str, Array]:
        """The gradients to which backward may add, by name."""
        return self.grads if self.trainable else {}


def _inside(layer: Any) -> Iterator[Any]:
    """Yield the layers that have a flag of their own: all layers inside a layer, and itself."""
    parts = getattr(layer, "parts", None)
    for part in parts.values() if isinstance(parts, Mapping) else ():
        yield from _inside(part)
    if not (isinstance(layer, Trainable) and parts and not layer._holds_parameters()):
        yield layer


def set_flag(layer: Any, trainable: bool) -> None:
    """Set the flag of one layer, and not those of layers inside."""
    if isinstance(layer, Trainable):
        layer._set_own_flag(trainable)
    else:
        layer.trainable = trainable


def is_trainable(layer: Any) -> bool:
    """Return the attribute `trainable` of a layer; an object without it is trained."""
    return bool(getattr(layer, "trainable", True))


def trains(layer: Any) -> bool:
    """Return whether backward of a layer computes gradients of parameters.

    These are its own, those of layers inside, or those of a layer whose weights it shares.
    """
    parts = getattr(layer, "parts", None)
    if isinstance(parts, Mapping) and parts and any(map(trains, parts.values())):
        return True
    shared = getattr(layer, "shares_weights_of", None)
    if shared is not None and trains(shared):
        return True
    if isinstance(layer, Trainable) and parts:
        return layer._holds_parameters() and not layer._frozen
    return is_trainable(layer) and bool(layer.params)


class NoTape:
    """Tape of a layer that ran without keeping one, because backward stops behind it."""

    @property
    def parts(self) -> dict[str, Any]:
        """Nothing: there are no tapes inside."""
        return {}

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __repr__(self) -> str:
        return "<no tape: the layer is not trained>"

    def __reduce__(self) -> str:
        return "NO_TAPE"


#: The only `NoTape`.
NO_TAPE = NoTape()
