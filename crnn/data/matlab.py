"""Cell arrays of numbers in files of MATLAB 5, the format of several data sets.

The format is described in "MAT-File Format" (MathWorks). Every size in a file is checked against
the bytes that are there, because SciPy's reader crashes on some damaged files.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_CELL, _NUMERIC = 1, range(6, 16)  # classes of arrays
_COMPLEX = 0x800
_HEADER = 128
_MOST_BYTES = 1 << 29  # of all compressed variables, when they are expanded

Cells = list[NDArray[Any]]


class _Element(NamedTuple):
    """A part of a file: its type, and its content."""

    type: int
    content: memoryview


def read_cells(name: str, content: bytes) -> dict[str, Cells]:
    """Return the variables of a file that are cell arrays of arrays of numbers.

    Parameters
    ----------
    name : str
        Name of the file, for error messages.
    content : bytes
        The whole file.

    Returns
    -------
    dict from str to list of arrays
        For each such variable its cells in MATLAB's order (columns first). Other variables are left
        out.

    Raises
    ------
    ValueError
        If the file is damaged, has another format, or expands to more than 512 MiB.
    """
    try:
        return _variables(memoryview(content))
    except _Damaged as error:
        raise ValueError(f"{name}: expected a file of MATLAB 5: {error}") from None


class _Damaged(Exception):
    """The file has not the format that it should have; the message says where."""


def _variables(content: memoryview) -> dict[str, Cells]:
    order = {b"IM": "<", b"MI": ">"}.get(bytes(content[126:_HEADER]))
    if order is None:
        raise _Damaged("it has not the header of one")
    found, left = dict[str, Cells](), _MOST_BYTES
    for element in _elements(content[_HEADER:], order):
        if element.type == _COMPRESSED:
            expanded = _expanded(element.content, left)
            left -= len(expanded)
            inner = list(_elements(memoryview(expanded), order))
        else:
            inner = [element]
        for variable in inner:
            if variable.type == _MATRIX:
                name, cells = _matrix(variable.content, order, depth=0)
                if isinstance(cells, list):
                    found[name] = cells
    return found


def _expanded(content: memoryview, most: int) -> bytes:
    """Return the content of a compressed element, at most so many bytes."""
    reader = zlib.decompressobj()
    try:
        expanded = reader.decompress(content, most)
    except zlib.error as error:
        raise _Damaged(f"a compressed variable is damaged ({error})") from None
    if not reader.eof:
        many = len(expanded) >= most
        raise _Damaged("it expands to more than 512 MiB" if many else "a variable ends too early")
    return expanded


def _elements(content: memoryview, order: str) -> Iterator[_Element]:
    """Yield the elements that follow each other."""
    place = 0
    while place < len(content):
        words = np.frombuffer(_part(content, place, 4), f"{order}u4")
        kind, size, start = int(words[0]), 0, place + 8
        if kind >> 16:  # a short one: its size and its content are in 8 bytes
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
            if size > 4:
                raise _Damaged(f"a short element has {size} bytes in place of at most 4")
        else:
            size = int(np.frombuffer(_part(content, place + 4, 4), f"{order}u4")[0])
        yield _Element(kind, _part(content, start, size))
        end = start + size
        place = end if kind == _COMPRESSED else end + -end % 8


def _part(content: memoryview, start: int, size: int) -> memoryview:
    """Return some bytes, or raise if they are not there."""
    if start + size > len(content):
        raise _Damaged("an element is longer than what holds it")
    return content[start : start + size]


def _matrix(content: memoryview, order: str, depth: int) -> tuple[str, Any]:
    """Return the name and the value of a variable or cell: an array, a list of cells, or None.

    None stands for a class without a use here, such as texts and structures.
    """
    elements = _elements(content, order)
    head = [next(elements, None) for _ in range(3)]
    flags, sizes, letters = (None if one is None else _numbers(one, order) for one in head)
    if flags is None or sizes is None or letters is None or not len(flags):
        raise _Damaged("a variable has no flags, sizes and name")
    if "f" in (flags.dtype.kind, sizes.dtype.kind, letters.dtype.kind):
        raise _Damaged("flags, sizes or name of a variable are no integers")
    kind = int(flags[0]) & 0xFF
    name = bytes(letters.astype(np.uint8)).decode("latin-1")
    if kind == _CELL and depth == 0:
        return name, _cells_of(elements, sizes, order)
    if kind not in _NUMERIC or int(flags[0]) & _COMPLEX:
        return name, None
    values = next(elements, None)
    array = np.empty(0) if values is None else _numbers(values, order)
    shape = tuple(int(size) for size in sizes)
    if min(shape, default=0) < 0 or math.prod(shape) != len(array):
        raise _Damaged(f"an array of shape {shape} has {len(array)} numbers")
    return name, array.reshape(shape, order="F")


def _cells_of(elements: Iterator[_Element], sizes: NDArray[Any], order: str) -> Cells | None:
    """Return the arrays of a cell array; None if one of them is no array of numbers."""
    cells: list[Any] = []
    for element in elements:
        if element.type != _MATRIX:
            raise _Damaged(f"a cell is an element of type {element.type} in place of {_MATRIX}")
        # MATLAB writes an empty cell as an element without content.
        cells.append(_matrix(element.content, order, 1)[1] if element.content else np.empty((0, 0)))
    if len(cells) != math.prod(int(size) for size in sizes):
        raise _Damaged(f"a cell array of shape {tuple(sizes.tolist())} has {len(cells)} cells")
    return cells if all(isinstance(cell, np.ndarray) for cell in cells) else None


def _numbers(element: _Element, order: str) -> NDArray[Any]:
    """Return the numbers of an element, as a vector of native byte order."""
    if element.type not in _NUMBERS:
        raise _Damaged(f"numbers have the unknown type {element.type}")
    dtype = np.dtype(f"{order}{_NUMBERS[element.type]}")
    if len(element.content) % dtype.itemsize:
        raise _Damaged(f"{len(element.content)} bytes are no whole number of {dtype.name}")
    return np.frombuffer(element.content, dtype).astype(dtype.newbyteorder("="))
