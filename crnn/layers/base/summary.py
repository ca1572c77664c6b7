"""Table of the layers of a model, with the shapes of their outputs, their sizes and their costs.

It is computed from attributes of the layers; no layer is run.
"""

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

from crnn.common.tables import aligned
from crnn.layers.base.trainable import is_trainable

_UNKNOWN = "?"
_NUMBERS = range(3, 6)  # columns of numbers, aligned to the right


class SummaryRow(NamedTuple):
    """One row of a `Summary`: a layer of a model.

    Attributes
    ----------
    name : str
        Dotted name of the layer; empty for the model itself.
    layer : str
        Its class and arguments.
    shape : str
        Shape of its output in letters and numbers; ``?`` for a size that depends on the input.
    parameters, bytes, multiply_adds : int or None
        Number of its parameters, their bytes, and the multiply-adds of one step of one row. None
        for a composition: its parts have their own rows.
    trainable : bool
        Whether the layer is trained.
    """

    name: str
    layer: str
    shape: str
    parameters: int | None
    bytes: int | None
    multiply_adds: int | None
    trainable: bool = True


class Summary:
    """Table with one row for each layer and a row of totals. It has a text and an HTML form.

    If layers are frozen, two more rows count the parameters of trainable and of frozen layers.

    Attributes
    ----------
    rows : list of SummaryRow
    parameters, bytes, multiply_adds : int
        Totals of the model. Parameters that several layers share count once.
    trainable_parameters, frozen_parameters : int
        Number of the parameters of trainable and of frozen layers; together `parameters`.
    """

    NAMES = ("name", "layer", "output", "parameters", "bytes", "multiply-adds/step")

    def __init__(self, rows: list[SummaryRow]) -> None:
        self.rows = rows
        self.parameters = sum(row.parameters or 0 for row in rows)
        self.bytes = sum(row.bytes or 0 for row in rows)
        self.multiply_adds = sum(row.multiply_adds or 0 for row in rows)
        self.frozen_parameters = sum(row.parameters or 0 for row in rows if not row.trainable)
        self.trainable_parameters = self.parameters - self.frozen_parameters

    def _table(self) -> list[tuple[str, ...]]:
        """Return all cells as text: the header, the rows and the totals."""
        lines = [tuple(map(_cell, row[: len(self.NAMES)])) for row in [*self.rows, *self._totals()]]
        return [self.NAMES, *lines]

    def _totals(self) -> list[SummaryRow]:
        """Return the rows of totals."""
        totals = [SummaryRow("total", "", "", self.parameters, self.bytes, self.multiply_adds)]
        if self.frozen_parameters:
            counts = {"trainable": self.trainable_parameters, "frozen": self.frozen_parameters}
            totals += [SummaryRow(name, "", "", n, None, None) for name, n in counts.items()]
        return totals

    def __str__(self) -> str:
        lines, totals = aligned(self._table(), right=_NUMBERS), len(self._totals())
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-totals], rule, *lines[-totals:]])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the table as HTML, for notebooks."""
        import html  # not at the top: the import takes as long as that of all layers

        names, *rows = self._table()

        def line(cells: tuple[str, ...], tag: str) -> str:
            parts = (
                f'<{tag} style="text-align: {"right" if place in _NUMBERS else "left"}">'
                f"{html.escape(cell)}</{tag}>"
                for place, cell in enumerate(cells)
            )
            return f"<tr>{''.join(parts)}</tr>"

        totals = len(self._totals())
        body = "".join(line(row, "td") for row in rows[:-totals])
        foot = "".join(line(row, "th") for row in rows[-totals:])
        return (
            f"<table><thead>{line(names, 'th')}</thead><tbody>{body}</tbody>"
            f"<tfoot>{foot}</tfoot></table>"
        )


def summarize(model: Any) -> Summary:
    """Return a table of the layers of a model.

    Parameters
    ----------
    model : Layer

    Returns
    -------
    Summary

    Notes
    -----
    A step costs one multiply-add for each entry of each matrix that the step is multiplied with.
    Elementwise operations, operations that run once for each sequence, and the look-up of an
    embedding are not counted. A recurrent layer that reads symbols looks up rows of W_x, so its
    cost is lower than the table shows.

    Examples
    --------
    >>> import crnn
    >>> print(summarize(crnn.Sequential([crnn.GRU(8, 16, seed=0), crnn.Dense(16, 4, seed=1)])))
    name   layer                 output      parameters  bytes  multiply-adds/step
    ------------------------------------------------------------------------------
    0      GRU(8, 16, seed=0)    (B, T, 16)       1,216  4,864               1,152
    1      Dense(16, 4, seed=1)  (B, T, 4)           68    272                  64
    ------------------------------------------------------------------------------
    total                                         1,284  5,136               1,216
    """
    counted: set[tuple[int, tuple[int, ...]]] = set()
    return Summary(list(_rows("", model, _Output(None, True), counted)))


class _Output(NamedTuple):
    """Number of features of an array (None: unknown), and whether it has a time axis."""

    features: int | None
    time: bool

    def __str__(self) -> str:
        features = _UNKNOWN if self.features is None else self.features
        return f"(B, T, {features})" if self.time else f"(B, {features})"


def _rows(name: str, layer: Any, x: _Output, counted: set[Any]) -> Iterator[SummaryRow]:
    """Yield the rows of a layer and of its parts. `x` describes the input."""
    if not layer.parts:
        count, size = _new_parameters(layer, counted)
        cost = layer.multiply_adds if x.time else 0
        shape = str(_output(layer, x))
        yield SummaryRow(name, repr(layer), shape, count, size, cost, is_trainable(layer))
        return
    if not layer.stages:
        label = f"{repr(layer).partition('(')[0]}({_options(layer)})"
        yield SummaryRow(name, label, str(_output(layer, x)), None, None, None)
    for place, part in layer.parts.items():
        part_x = _Output(None, False) if place in layer.once else x
        yield from _rows(f"{name}.{place}" if name else place, part, part_x, counted)
        if layer.stages:
            x = _output(part, x)


def _options(layer: Any) -> str:
    """Return the arguments of a composition that are no layers, as text."""
    options = {
        name: getattr(layer, name, None) for name in inspect.signature(type(layer)).parameters
    }
    plain = {name: value for name, value in options.items() if isinstance(value, int | float | str)}
    return ", ".join(f"{name}={value!r}" for name, value in plain.items())


def _new_parameters(layer: Any, counted: set[Any]) -> tuple[int, int]:
    """Return the number of parameters that were not counted before, and their bytes."""
    count = size = 0
    for array in layer.params.values():
        key = (array.ctypes.data, array.shape)
        if key not in counted:
            counted.add(key)
            count, size = count + array.size, size + array.nbytes
    return count, size


def _output(layer: Any, x: _Output) -> _Output:
    """Return the description of a layer's output for an input `x`."""
    for part in layer.stages:
        x = _output(part, x)
    if layer.stages:
        return x
    features = layer.output_size
    if features is None and layer.keeps_features:
        features = x.features
    return _Output(features, x.time and layer.keeps_time)


def _cell(value: Any) -> str:
    """Return the text of a cell of the table."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)
