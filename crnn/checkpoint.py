"""Models and training runs in files: NumPy's .npz, without pickle.

`write` and `read` store a tree of dictionaries, lists, tuples, numbers, strings and arrays: each
array is a member of the archive, under the name that its place in the tree gives it, and all else
stands as JSON in the member ``crnn.npy`` (bytes as uint8). So ``numpy.load`` can look into the
files. `save` and `load` do that for one model.

A file is replaced in one step when the new one is complete on disk; whoever is killed while writing
leaves the old one. A file that is read is not trusted: it cannot run code, it cannot make `read`
allocate more than its own size, and whatever is wrong with it becomes a ValueError that names it.
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
from crnn.files import Path, replacing
from crnn.layers.base import Layer, build, check_layer, describe

Arrays = dict[str, NDArray[Any]]

FORMAT = "crnn"
VERSION = 1
_JSON = "crnn"  # the member that holds what is not an array
_ARRAY, _TUPLE = (
    "$array",
    "$tuple",
)  # what JSON has no word for: {"$array": name}, {"$tuple": [...]}
_KINDS = "biuf"  # booleans, integers, floats: what an array may hold
_READ_BY = {"source_symbols": "encoder", "target_symbols": "decoder"}  # of a Seq2Seq


def save(path: Path, model: Layer) -> None:
    """Write a model to a file that `load` reads.

    Parameters
    ----------
    path : str or path
        Taken as it is; ``.npz`` is the usual ending. A file that is there is replaced in one step.
    model : layer
        Any layer or composition of this package, or of classes derived from its `Layer`.

    Raises
    ------
    ValueError
        `path` is a directory.
    OSError
        The file cannot be written.
    """
    check_layer("model", model)
    write(path, "model", model_tree(model))


def load(path: Path) -> Layer:
    """Read a model that `save` wrote.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    layer
        Of the class, with the options and the parameters of the one saved; gradients are zero.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged, not one of crnn's, of another kind, or names a layer class that is not
        known (import the module that has it first).
    """
    tree = read(path, "model")
    with blaming(path):
        return build_model(tree)


def model_tree(model: Layer) -> dict[str, Any]:
    """Return a model as a tree that `write` takes and `build_model` understands."""
    return {"layer": describe(model), "params": model.state_dict()}


def build_model(tree: Mapping[str, Any]) -> Layer:
    """Return the model of a `model_tree`.

    Raises
    ------
    ValueError
        A class is not known, options do not fit it, or parameters are missing, unknown or
        misshapen. Sizes far beyond what the parameters fill are refused before anything is
        allocated.
    """
    description, params = tree["layer"], tree["params"]
    if not all(isinstance(array, np.ndarray) for array in params.values()):
        raise ValueError("params: expected arrays")
    given = sum(array.size for array in params.values())
    # A margin, because a class may have sizes that stand for no parameters.
    if _least_parameters(description) > 16 * given + 2**22:
        raise ValueError(f"the sizes of the layers do not fit the {given} parameters in the file")
    try:
        model = build(description)
    except TypeError as error:
        raise ValueError(f"the options of a layer do not fit its class: {error}") from error
    model.load_state_dict(params)
    return model


def _least_parameters(description: Any) -> int:
    """Return how many parameters the layers described must have at the least."""
    if isinstance(description, list):
        return sum(_least_parameters(part) for part in description)
    if not isinstance(description, dict):
        return 0
    inside = {name: part for name, part in description.items() if isinstance(part, dict | list)}
    sizes = {
        name: value
        for name, value in description.items()
        if isinstance(value, int) and not isinstance(value, bool) and name != "seed"
    }
    return _own_least(sizes, inside) + sum(map(_least_parameters, inside.values()))


def _own_least(sizes: Mapping[str, int], inside: Mapping[str, Any]) -> int:
    """Return how many parameters of its own a layer of these sizes has at the least.

    A model with symbols on two sides has an embedding for each, as wide as what the layer reads
    that stands there.
    """
    embedded = {_READ_BY[name]: size for name, size in sizes.items() if name in _READ_BY}
    if embedded:
        widths = {side: _input_size(inside.get(side)) for side in embedded}
        return sum(max(0, count) * widths[side] for side, count in embedded.items())
    own = math.prod(sizes.values()) if sizes else 0
    return max(own, sizes.get("hidden_size", 0) ** 2)


def _input_size(description: Any) -> int:
    """Return how wide the input of a layer described is, 1 where that is not to be seen."""
    if isinstance(description, list):
        return _input_size(description[0]) if description else 1
    if not isinstance(description, dict):
        return 1
    if isinstance(description.get("input_size"), int):
        return max(1, int(description["input_size"]))
    inside = (part for part in description.values() if isinstance(part, dict | list))
    return _input_size(next(inside, None))


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
    if os.path.isdir(path):
        raise ValueError(f"{path}: expected a file, got a directory")
    with open(path, "rb") as file, blaming(path):
        arrays = _members(file)
        if _JSON not in arrays:
            raise ValueError("an .npz file, but not one that crnn wrote")
        document = json.loads(arrays.pop(_JSON).tobytes())
        if document["format"] != FORMAT:
            raise ValueError("an .npz file, but not one that crnn wrote")
        if document["version"] != VERSION:
            raise ValueError(
                f"written in version {document['version']!r} of the format; "
                f"crnn {__version__} reads version {VERSION}"
            )
        if document["kind"] != kind:
            raise ValueError(f"expected a file with a {kind}, got one with a {document['kind']}")
        tree = _from_json(document["tree"], arrays)
        if not isinstance(tree, dict):
            raise ValueError("the tree is not a dictionary")
        return tree


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Turn whatever a lying file makes its readers raise into a ValueError that names the file."""
    try:
        yield
    except Exception as error:
        reason = f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{path}: cannot be read: {reason}") from error


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
