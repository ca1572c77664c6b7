"""Trees of arrays, numbers and strings in files: NumPy's .npz, without pickle.

`write` and `read` store a tree of dictionaries, lists, tuples, numbers, strings and arrays: each
array is a member of the archive, under the name that its place in the tree gives it, and all else
stands as JSON in the member ``crnn.npy`` (bytes as uint8). So ``numpy.load`` can look into the
files.

A file is replaced in one step when the new one is complete on disk; a process that is killed while
writing leaves the old one. A file that is read is not trusted: it cannot run code, `read` allocates
in proportion to the file's size, and any fault in it becomes a ValueError that names the file.
"""

import io
import json
import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from crnn._version import __version__
from crnn.storage.files import Path, check_path, open_regular, replacing

Arrays = dict[str, NDArray[Any]]

FORMAT = "crnn"
VERSION = 1
_JSON = "crnn"  # the member that holds what is not an array
# What JSON has no word for: {"$array": name}, {"$tuple": [...]}
_ARRAY, _TUPLE = "$array", "$tuple"
_KINDS = "biuf"  # booleans, integers, floats: what an array may hold


def entries(tree: Any, *names: str) -> list[Any]:
    """The values of a dictionary under some names.

    Raises
    ------
    ValueError
        It is no dictionary, or has no such names.
    """
    if not isinstance(tree, dict) or not set(names) <= tree.keys():
        raise ValueError(f"expected a dictionary with {', '.join(names)}, got {tree!r:.100}")
    return [tree[name] for name in names]


def write(path: Path, kind: str, tree: Mapping[str, Any]) -> None:
    """Write a tree to a file in one step.

    Parameters
    ----------
    path : str or path
    kind : str
        What the tree describes; `read` asks for the same.
    tree : mapping
        Of dictionaries with string keys, lists, tuples, None, booleans, numbers, strings and arrays
        of numbers.

    Raises
    ------
    TypeError
        Something in the tree is none of these.
    ValueError
        `path` is a directory.
    OSError
        The file cannot be written; what was there before still is.
    """
    arrays: Arrays = {}
    document = {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "written_by": f"crnn {__version__}",
        "tree": _to_json(tree, "", arrays),
    }
    text = json.dumps(document).encode("ascii")
    arrays[_JSON] = np.frombuffer(text, np.uint8)
    with replacing(path) as file:
        _write_members(file, arrays)


def read(path: Path, kind: str) -> dict[str, Any]:
    """Read a tree that `write` wrote.

    Parameters
    ----------
    path : str or path
    kind : str
        As given to `write`.

    Returns
    -------
    dict
        The tree, with arrays of its own.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged, not one of crnn's, of another kind or of a newer format.
    """
    if os.path.isdir(check_path(path)):
        raise ValueError(f"{path}: expected a file, got a directory")
    with open_regular(path) as file, blaming(path):
        arrays = _members(file)
        document = json.loads(arrays.pop(_JSON).tobytes()) if _JSON in arrays else None
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ValueError("an .npz file, but not one that crnn wrote")
        version, found, tree = entries(document, "version", "kind", "tree")
        if version != VERSION:
            raise ValueError(
                f"written in version {version!r} of the format; "
                f"crnn {__version__} reads version {VERSION}"
            )
        if found != kind:
            raise ValueError(f"expected a file with a {kind}, got one with a {found!s:.100}")
        tree = _from_json(tree, arrays)
        if not isinstance(tree, dict):
            raise ValueError("the tree is not a dictionary")
        return tree


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Turn any error of a reader into a ValueError that names the file."""
    try:
        yield
    except RecursionError as error:
        raise ValueError(f"{path}: cannot be read: it is nested too deeply") from error
    except Exception as error:
        reason = f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{path}: cannot be read: {reason:.1000}") from error


# --------------------------------------------------------------------------------------------------
# Trees as JSON and arrays
# --------------------------------------------------------------------------------------------------


def _to_json(value: Any, place: str, arrays: Arrays) -> Any:
    """Return a tree as JSON can hold it; its arrays go into `arrays`, named by their places."""
    if isinstance(value, np.ndarray):
        return {_ARRAY: _keep(value, place, arrays)}
    if isinstance(value, np.generic):
        return _to_json(value.item(), place, arrays)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key.startswith("$"):
                raise TypeError(f"{place}: expected keys that are strings without $, got {key!r}")
        inside = f"{place}/" if place else ""
        return {key: _to_json(part, inside + key, arrays) for key, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [_to_json(part, f"{place}/{i}", arrays) for i, part in enumerate(value)]
        return parts if isinstance(value, list) else {_TUPLE: parts}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{place}: expected what a file can hold, got {type(value).__name__}")


def _keep(array: NDArray[Any], place: str, arrays: Arrays) -> str:
    """Put an array into `arrays` and return its name."""
    if array.dtype.kind not in _KINDS:
        raise TypeError(f"{place}: expected an array of numbers, got {array.dtype}")
    name = place
    while name in arrays or name == _JSON:  # {"a/b": ...} beside {"a": {"b": ...}}
        name += "_"
    arrays[name] = array
    return name


def _from_json(value: Any, arrays: Arrays) -> Any:
    """Undo `_to_json`."""
    if isinstance(value, list):
        return [_from_json(part, arrays) for part in value]
    if not isinstance(value, dict):
        return value
    if _ARRAY in value:
        if value[_ARRAY] not in arrays:
            raise ValueError(f"the array {value[_ARRAY]!r} is missing")
        return arrays[value[_ARRAY]]
    if _TUPLE in value:
        return tuple(_from_json(value[_TUPLE], arrays))
    return {key: _from_json(part, arrays) for key, part in value.items()}


# --------------------------------------------------------------------------------------------------
# The archive
# --------------------------------------------------------------------------------------------------


def _write_members(file: IO[bytes], arrays: Arrays) -> None:
    """Write arrays as an .npz file: the same arrays give the same bytes."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _members(file: IO[bytes]) -> Arrays:
    """Return all arrays of an .npz file by name, having checked every size against the file's."""
    size = os.fstat(file.fileno()).st_size
    arrays: Arrays = {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                raise ValueError(f"the member {member.filename!r} is compressed or encrypted")
            size -= member.file_size
            if size < 0 or member.file_size != member.compress_size:
                raise ValueError(f"the member {member.filename!r} claims more than the file holds")
            name, ending = os.path.splitext(member.filename)
            if ending != ".npy":
                raise ValueError(f"an archive, but not of arrays: it has {member.filename!r}")
            if name in arrays:
                raise ValueError(f"the member {member.filename!r} is there twice")
            arrays[name] = _parse(name, archive.read(member))
    return arrays


def _parse(name: str, data: bytes) -> NDArray[Any]:
    """Return the array of an .npy member, whose header must claim exactly the bytes there."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        header = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"the array {name!r} is in version {version} of NumPy's format")
    shape, fortran, dtype = header
    if dtype.kind not in _KINDS:
        raise ValueError(f"the array {name!r} holds {dtype}, not numbers")
    if math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ValueError(f"the array {name!r} has not the size that its header claims")
    array = np.ndarray(shape, dtype, data, stream.tell(), order="F" if fortran else "C")
    return array.copy()
