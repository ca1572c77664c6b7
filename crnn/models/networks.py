"""The layers of the models of texts, between the embedding and the output."""

from collections.abc import Collection, Sequence
from typing import Any, get_args

from crnn.common.choices import BlockName, CellName
from crnn.layers.base.layer import Layer
from crnn.layers.compose.sequential import Sequential
from crnn.layers.pointwise.dropout import Dropout
from crnn.layers.pointwise.normalisation import LayerNorm
from crnn.layers.recurrent.cells import cell_classes
from crnn.layers.temporal.tcn import TCNBlock
from crnn.layers.temporal.transformer import TransformerBlock

BLOCKS: tuple[str, ...] = get_args(BlockName)
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
    check_cell(cell, CELLS)
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


def check_cell(cell: Any, names: Collection[str]) -> None:
    """Raise ValueError unless this is one of the names of layers."""
    if cell not in names:
        raise ValueError(f"cell: expected one of {', '.join(sorted(names))}, got {cell!r:.60}")


def block_layers(
    cell: BlockName, size: int, seeds: Sequence[int], *, heads: int, taps: int, window: int
) -> list[Any]:
    """Return a list of residual blocks, each of which reads the output of the one before.

    Parameters
    ----------
    cell : {"tcn", "transformer"}
        `TCNBlock` with dilations 1, 2, 4, ..., or `TransformerBlock` and a last `LayerNorm`.
    size : int
        Number of inputs and outputs of each block.
    seeds : sequence of int
        The seed of each block; their number is the number of blocks.
    heads, window : int
        Heads of attention, and how many steps a step sees. Read for "transformer".
    taps : int
        Steps that a convolution reads. Read for "tcn".

    Returns
    -------
    list of layers
    """
    if cell == "tcn":
        return [TCNBlock(size, size, taps, dilation=2**i, seed=s) for i, s in enumerate(seeds)]
    return transformer_layers(size, seeds, heads=heads, window=window)


def transformer_layers(size: int, seeds: Sequence[int], **options: Any) -> list[Any]:
    """Return a list of `TransformerBlock` and a last `LayerNorm`.

    Parameters
    ----------
    size : int
        H, the number of inputs and outputs of each block.
    seeds : sequence of int
        The seed of each block; their number is the number of blocks.
    **options
        Further arguments of each block.

    Returns
    -------
    list of layers
    """
    parts = 2 if options.get("memory_size") is None else 3  # of a block that add to its input
    scale = (parts * len(seeds)) ** -0.5  # as GPT-2
    blocks = [TransformerBlock(size, scale=scale, seed=seed, **options) for seed in seeds]
    return [*blocks, LayerNorm(size)]


def stacked(layers: list[Any]) -> Layer:
    """Return a single layer unchanged, and several layers as a `Sequential`."""
    first: Layer = layers[0]
    return first if len(layers) == 1 else Sequential(layers)
