"""What a model is made of: its layers, their outputs, sizes and costs, as a table.

All of it follows from what the layers say of themselves; nothing is run.
"""

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

from crnn.common.tables import aligned

_UNKNOWN = "?"
_NUMBERS = range(3, 6)  # the columns of numbers


class Row(NamedTuple):
    """A layer of a model.

    The attributes are its dotted name (empty for the model itself), how it is made, the shape of
    its output in letters and numbers (``?`` where that depends on the input), and of its own
    parameters the number, the bytes, and the multiply-adds that a step of a row costs. These are
    None for a composition, whose parts have rows of their own.
    """

    name: str
    layer: str
    shape: str
    parameters: int | None
    bytes: int | None
    multiply_adds: int | None


class Summary:
    """A table with a row for each layer, and the totals. It prints as text, and as HTML.

    Attributes
    ----------
    rows : list of Row
    parameters, bytes, multiply_adds : int
        Of the whole model; parameters that stand in several places count once.
    """

    NAMES = ("name", "layer", "output", "parameters", "bytes", "multiply-adds/step")

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.parameters = sum(row.parameters or 0 for row in rows)
        self.bytes = sum(row.bytes or 0 for row in rows)
        self.multiply_adds = sum(row.multiply_adds or 0 for row in rows)

    def _table(self) -> list[tuple[str, ...]]:
        """All cells as text: names, rows, totals."""
        total = Row("total", "", "", self.parameters, self.bytes, self.multiply_adds)
        lines = [tuple(_cell(value) for value in row) for row in [*self.rows, total]]
        return [self.NAMES, *lines]

    def __str__(self) -> str:
        lines = aligned(self._table(), right=_NUMBERS)
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The table in a notebook."""
        import html  # takes as long to import as the rest of crnn's layers

        names, *rows = self._table()

        def line(cells: tuple[str, ...], tag: str) -> str:
            parts = (
                f'<{tag} style="text-align: {"right" if place in _NUMBERS else "left"}">'
                f"{html.escape(cell)}</{tag}>"
                for place, cell in enumerate(cells)
            )
            return f"<tr>{''.join(parts)}</tr>"

        body = "".join(line(row, "td") for row in rows[:-1])
        return (
            f"<table><thead>{line(names, 'th')}</thead><tbody>{body}</tbody>"
            f"<tfoot>{line(rows[-1], 'th')}</tfoot></table>"
        )


def summarize(model: Any) -> Summary:
    """Return the layers of a model as a table.

    Parameters
    ----------
    model : layer

    Returns
    -------
    Summary

    Notes
    -----
    A step costs a multiply-add for each entry of a matrix that it is multiplied with; an embedding
    is looked up, and what is done element by element, or once a sequence, is not counted. A
    recurrent layer that reads symbols looks up W_x as well, and so costs less than is said here.

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
    seen: set[tuple[int, tuple[int, ...]]] = set()
    return Summary(list(_rows("", model, _Output(None, True), seen)))


class _Output(NamedTuple):
    """What is known of an array: how many features it has, and whether it has a time axis."""

    features: int | None
    time: bool

    def __str__(self) -> str:
        features = _UNKNOWN if self.features is None else self.features
        return f"(B, T, {features})" if self.time else f"(B, {features})"


def _rows(name: str, layer: Any, given: _Output, seen: set[Any]) -> Iterator[Row]:
    """The rows of a layer and of its parts."""
    if not layer.parts:
        count, size = _own(layer, seen)
        cost = layer.multiply_adds if given.time else 0
        yield Row(name, repr(layer), str(_output(layer, given)), count, size, cost)
        return
    if not layer.stages:
        label = f"{repr(layer).partition('(')[0]}({_options(layer)})"
        yield Row(name, label, str(_output(layer, given)), None, None, None)
    for place, part in layer.parts.items():
        read = _Output(None, False) if place in layer.once else given
        yield from _rows(f"{name}.{place}" if name else place, part, read, seen)
        if layer.stages:
            given = _output(part, given)


def _options(layer: Any) -> str:
    """The options of a composition, without its parts."""
    options = {
        name: getattr(layer, name, None) for name in inspect.signature(type(layer)).parameters
    }
    plain = {name: value for name, value in options.items() if isinstance(value, int | float | str)}
    return ", ".join(f"{name}={value!r}" for name, value in plain.items())


def _own(layer: Any, seen: set[Any]) -> tuple[int, int]:
    """Parameters of a layer that were not counted before, and their bytes."""
    count = size = 0
    for array in layer.params.values():
        place = (array.ctypes.data, array.shape)
        if place not in seen:
            seen.add(place)
            count, size = count + array.size, size + array.nbytes
    return count, size


def _output(layer: Any, given: _Output) -> _Output:
    """What a layer makes of what it is given."""
    for part in layer.stages:
        given = _output(part, given)
    if layer.stages:
        return given
    features = layer.output_size
    if features is None and layer.keeps_features:
        features = given.features
    return _Output(features, given.time and layer.keeps_time)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)
