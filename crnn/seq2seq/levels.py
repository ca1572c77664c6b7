"""The list of recurrent layers of a decoder that the core can run in one call."""

from __future__ import annotations

from typing import Any, NamedTuple

from crnn.layers.base.arguments import first_part_number
from crnn.layers.compose.base import methods_key
from crnn.layers.compose.sequential import Sequential
from crnn.layers.pointwise.dropout import Dropout
from crnn.layers.recurrent.cells import is_core_layer


class Level(NamedTuple):
    """A recurrent layer of the decoder, its number in the model, and the Dropout before it."""

    layer: Any
    number: int
    dropout: Dropout | None = None
    dropout_number: int = 0

    @property
    def drops(self) -> tuple[float, int, int, bool] | None:
        """Options of the Dropout before the layer: p, seed, number, variational; None without."""
        before = self.dropout
        if before is None:
            return None
        return before.p, before.seed, self.dropout_number, before.variational


class Levels:
    """A cache of the levels of a decoder, valid while its layers and their methods are the same."""

    def __init__(self) -> None:
        self._key: Any = None
        self._levels: list[Level] | None = None

    def __reduce__(self) -> Any:
        return Levels, ()  # a copy of the model has other layers

    def of(self, decoder: Any, number: int) -> list[Level] | None:
        """Return the recurrent layers of a decoder, lowest first; None if it has other parts.

        Dropout may stand between the layers.

        Parameters
        ----------
        decoder : layer
            The decoder.
        number : int
            The number of the decoder in the model.
        """
        leaves = _leaves(decoder, number) if type(decoder) is Sequential else [(decoder, number)]
        key = [(number, methods_key(part)) for part, number in leaves]
        if key != self._key:
            self._key, self._levels = key, _levels_of(leaves)
        return self._levels


def _levels_of(leaves: list[tuple[Any, int]]) -> list[Level] | None:
    """Return the levels of numbered layers, or None if the core cannot run one of them."""
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
    """Return the layers of a Sequential and of the Sequentials inside it, each with its number."""
    leaves: list[tuple[Any, int]] = []
    for i, part in enumerate(stack.layers):
        part_number = (first_part_number(number) + i) % 2**32
        if type(part) is Sequential:
            leaves += _leaves(part, part_number)
        else:
            leaves.append((part, part_number))
    return leaves
