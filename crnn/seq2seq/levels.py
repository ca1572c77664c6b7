"""A decoder taken apart into the core's own recurrent layers, where it is made of such."""

from __future__ import annotations

from typing import Any, NamedTuple

from crnn.layers.base.arguments import first_part_number
from crnn.layers.compose.base import methods_key
from crnn.layers.compose.lowering import is_core_layer
from crnn.layers.compose.sequential import Sequential
from crnn.layers.pointwise.dropout import Dropout


class Level(NamedTuple):
    """A recurrent layer of the decoder, its number in the model, and the Dropout before it."""

    layer: Any
    number: int
    dropout: Dropout | None = None
    dropout_number: int = 0

    @property
    def drops(self) -> tuple[float, int, int, bool] | None:
        """What is dropped before it: p, seed, number, variational."""
        before = self.dropout
        if before is None:
            return None
        return before.p, before.seed, self.dropout_number, before.variational


class Levels:
    """The levels of a decoder, kept as long as its layers are the same and have these methods."""

    def __init__(self) -> None:
        self._key: Any = None
        self._levels: list[Level] | None = None

    def __reduce__(self) -> Any:
        return Levels, ()  # a copy has other layers

    def of(self, decoder: Any, number: int) -> list[Level] | None:
        """The recurrent layers of a decoder with this number in the model, lowest first.

        None for a decoder with other parts. Dropout may stand between the layers.
        """
        leaves = _leaves(decoder, number) if type(decoder) is Sequential else [(decoder, number)]
        key = [(number, methods_key(part)) for part, number in leaves]
        if key != self._key:
            self._key, self._levels = key, _levels_of(leaves)
        return self._levels


def _levels_of(leaves: list[tuple[Any, int]]) -> list[Level] | None:
    levels: list[Level] = []
    before: tuple[Any, ...] = ()
    for part, number in leaves:
        if type(part) is Dropout and levels and not before:
            before = part, number
        elif is_core_layer(part):
            levels.append(Level(part, number, *before))
            before = ()
        else:
            return None
    return levels if levels and not before else None


def _leaves(stack: Any, number: int) -> list[tuple[Any, int]]:
    """The parts of a Sequential, of those inside of it as well, each with its number."""
    found: list[tuple[Any, int]] = []
    for i, part in enumerate(stack.layers):
        own = (first_part_number(number) + i) % 2**32
        found += _leaves(part, own) if type(part) is Sequential else [(part, own)]
    return found
