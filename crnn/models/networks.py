"""The recurrent layers of the models of texts."""

from collections.abc import Sequence
from typing import Any

from crnn.common.choices import CellName
from crnn.layers.base.layer import Layer
from crnn.layers.compose.sequential import Sequential
from crnn.layers.recurrent.cells import cell_classes

CELLS: dict[str, type[Any]] = {name.lower(): cell for name, cell in cell_classes().items()}


def recurrent_layers(
    cell: CellName,
    inputs: int,
    hidden_size: int,
    seeds: Sequence[int],
    *,
    between: int = 0,
    **options: Any,
) -> list[Any]:
    """Return recurrent layers to put one on top of the other.

    Parameters
    ----------
    cell : {"rnn", "lstm", "gru", "janet"}
    inputs, hidden_size : int
        What the first layer reads, and the units of each.
    seeds : sequence of int
        One for each layer.
    between : int, optional
        What the other layers read; by default `hidden_size`.
    **options
        Of the layers.
    """
    if cell not in CELLS:
        raise ValueError(f"cell: expected one of {', '.join(sorted(CELLS))}, got {cell!r}")
    widths = [inputs] + [between or hidden_size] * (len(seeds) - 1)
    return [
        CELLS[cell](width, hidden_size, seed=seed, **options)
        for width, seed in zip(widths, seeds, strict=True)
    ]


def in_sequence(layers: list[Any]) -> Layer:
    """Return a single layer as it is, several as a `Sequential`."""
    only: Layer = layers[0]
    return only if len(layers) == 1 else Sequential(layers)
