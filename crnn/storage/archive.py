"""Trees of arrays, numbers and strings in .npz files of NumPy, without pickle.

`write` and `read` store a tree of dictionaries, lists, tuples, numbers, strings and arrays. Each
array is a member of the archive, named by its path in the tree; the rest of the tree is JSON in the
member ``crnn.npy`` (its bytes as uint8). ``numpy.load`` can open the files.

An existing file is replaced atomically when the new one is complete on the disk; if the process is
killed while it writes, the old file remains. Files that are read are not trusted: they cannot
execute code, `read` allocates memory in proportion to the size of the file, and any defect of the
file raises a ValueError that names it.
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
_JSON = "crnn"  # member that has the tree without its arrays
# Keys for values that JSON does not have: {"$array": name}, {"$tuple": [...]}
_ARRAY, _TUPLE = "$array", "$tuple"
_KINDS = "biuf"  # allowed `dtype.kind` of arrays: booleans, integers, floats


def entries(tree: Any, *names: str) -> list[Any]:
    """Return the values of a dictionary under some names.

    Raises
    ------
    ValueError
        If `tree` is no dictionary, or a name is missing.
    """
    if not isinstance(tree, dict) or not set(names) <= tree.keys():
        raise ValueError(f"expected a dictionary with {', '.join(names)}, got {tree!r:.100}")
    return [tree[name] for name in names]


def write(path: Path, kind: str, tree: Mapping[str, Any]) -> None:
    """Write a tree to a file, which replaces an existing file atomically.

    Parameters
    ----------
    path : str or path
        File to write.
    kind : str
        Name of the content, such as "model". `read` compares it.
    tree : mapping
        Dictionaries with string keys, lists, tuples, None, booleans, numbers, strings and arrays of
        numbers, nested in any way.

    Raises
    ------
    TypeError
        If the tree has a value of another type.
    ValueError
        If `path` is a directory.
    OSError
        If the file cannot be written. An existing file is then unchanged.
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
    """Read a tree from a file that `write` wrote.

    Parameters
    ----------
    path : str or path
        File to read.
    kind : str
        Name of the content, as passed to `write`.

    Returns
    -------
    dict
        Tree with new arrays.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is damaged, was not written by crnn, has other content than `kind`, or has a
        newer format.
    """
    if os.path.isdir(check_path(path)):
        raise ValueError(f"{path}: expected a file, got a directory")
    with open_regular(path) as file, blaming(path):
        arrays = _members(file)
        document = json.loads(arrays.pop(_JSON).tobytes()) if _JSON in arrays else None
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ValueError("the file is an .npz file that crnn did not write")
        version, content, tree = entries(document, "version", "kind", "tree")
        if version != VERSION:
            raise ValueError(
                f"the file has version {version!r} of the format; "
                f"crnn {__version__} reads version {VERSION}"
            )
        if content != kind:
            raise ValueError(f"expected a file with a {kind}, got a file with a {content!s:.100}")
        tree = _from_json(tree, arrays)
        if not isinstance(tree, dict):
            raise ValueError("the tree is not a dictionary")
        return tree


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Replace any exception in the block by a ValueError that names the file."""
    try:
        yield
    except RecursionError as error:
        raise ValueError(f"{path}: cannot be read: the content is nested too deeply") from error
    except Exception as error:
        reason = f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{path}: cannot be read: {reason:.1000}") from error


# --------------------------------------------------------------------------------------------------
# Trees as JSON and arrays
# --------------------------------------------------------------------------------------------------


def _to_json(value: Any, place: str, arrays: Arrays) -> Any:
    """Return a tree as values of JSON; its arrays are added to `arrays`, named by their paths."""
    if isinstance(value, np.ndarray):
        return {_ARRAY: _keep(value, place, arrays)}
    if isinstance(value, np.generic):
        return _to_json(value.item(), place, arrays)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key.startswith("$"):
                raise TypeError(
                    f"{place}: expected keys that are strings without $ at the start, got {key!r}"
                )
        inside = f"{place}/" if place else ""
        return {key: _to_json(part, inside + key, arrays) for key, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [_to_json(part, f"{place}/{i}", arrays) for i, part in enumerate(value)]
        return parts if isinstance(value, list) else {_TUPLE: parts}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"{place}: expected a dictionary, list, tuple, array, number, string or None, "
        f"got {type(value).__name__}"
    )


def _keep(array: NDArray[Any], place: str, arrays: Arrays) -> str:
    """Add an array to `arrays` and return its name."""
    if array.dtype.kind not in _KINDS:
        raise TypeError(f"{place}: expected an array of numbers, got {array.dtype}")
    name = place
    while name in arrays or name == _JSON:  # {"a/b": ...} beside {"a": {"b": ...}}
        name += "_"
    arrays[name] = array
    return name


def _from_json(value: Any, arrays: Arrays) -> Any:
    """Return the tree of which `_to_json` made the value."""
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
    """Write arrays as an .npz file; equal arrays give equal bytes."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _members(file: IO[bytes]) -> Arrays:
    """Return all arrays of an .npz file by name; raise if a size exceeds that of the file."""
    size = os.fstat(file.fileno()).st_size
    arrays: Arrays = {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                raise ValueError(f"the member {member.filename!r} is compressed or encrypted")
            size -= member.file_size
            if size < 0 or member.file_size != member.compress_size:
                raise ValueError(f"the member {member.filename!r} is larger than the file")
            name, suffix = os.path.splitext(member.filename)
            if suffix != ".npy":
                raise ValueError(f"the member {member.filename!r} is no array")
            if name in arrays:
                raise ValueError(f"the member {member.filename!r} occurs twice")
            arrays[name] = _parse(name, archive.read(member))
    return arrays


def _parse(name: str, data: bytes) -> NDArray[Any]:
    """Return the array of an .npy member; raise unless its header describes exactly `data`."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        header = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"the array {name!r} has the unknown version {version} of NumPy's format")
    shape, fortran, dtype = header
    if dtype.kind not in _KINDS:
        raise ValueError(f"the array {name!r} has the dtype {dtype}, which is no number")
    if math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ValueError(f"the size of the array {name!r} differs from its header")
    array = np.ndarray(shape, dtype, data, stream.tell(), order="F" if fortran else "C")
    return array.copy()
