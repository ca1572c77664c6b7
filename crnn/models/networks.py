"""Recurrent layers of the models of texts."""

from collections.abc import Sequence
from typing import Any

from crnn.common.choices import CellName
from crnn.layers.base.layer import Layer
from crnn.layers.compose.sequential import Sequential
from crnn.layers.pointwise.dropout import Dropout
from crnn.layers.recurrent.cells import cell_classes

CELLS: dict[str, type[Any]] = {name.lower(): cell for name, cell in cell_classes().items()}


def recurrent_layers(
    cell: CellName,
    inputs: int,
    hidden_size: int,
    seeds: Sequence[int],
    *,
    between: int = 0,
    dropout: float = 0.0,
    **options: Any,
) -> list[Any]:
    """Return a list of recurrent layers, each of which reads the output of the one before.

    Parameters
    ----------
    cell : {"rnn", "lstm", "gru", "janet", "mingru", "minlstm"}
        The class of the layers, in lower case.
    inputs : int
        The input size of the first layer.
    hidden_size : int
        H, the hidden units of each layer.
    seeds : sequence of int
        The seed of each layer; their number is the number of layers.
    between : int, default 0
        The input size of the other layers. 0: `hidden_size`.
    dropout : float, default 0.0
        In training, the share of h that the recurrent products leave out; for layers without W_h,
        the share of their input, by a `Dropout` in front of each. The same units at all steps of a
        row.
    **options
        Further arguments of each layer.

    Returns
    -------
    list of layers
        The layers, the first one first, with the `Dropout` layers in front of them.

    Raises
    ------
    ValueError
        `cell` is not the name of a recurrent layer.
    """
    if cell not in CELLS:
        raise ValueError(f"cell: expected one of {', '.join(sorted(CELLS))}, got {cell!r}")
    widths = [inputs] + [between or hidden_size] * (len(seeds) - 1)
    has_W_h = "recurrent_dropout" in CELLS[cell](1, 1).options
    if has_W_h:
        options |= {"recurrent_dropout": dropout}
    layers: list[Any] = []
    for width, seed in zip(widths, seeds, strict=True):
        if dropout and not has_W_h:
            layers.append(Dropout(dropout, variational=True, seed=seed))
        layers.append(CELLS[cell](width, hidden_size, seed=seed, **options))
    return layers


def stacked(layers: list[Any]) -> Layer:
    """Return a single layer unchanged, and several layers as a `Sequential`."""
    first: Layer = layers[0]
    return first if len(layers) == 1 else Sequential(layers)
