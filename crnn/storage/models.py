"""One model in a file: `save` and `load`.

`load` allocates no more parameters than the file has.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from crnn.layers.base import description
from crnn.layers.base.layer import Layer, check_layer
from crnn.storage.archive import blaming, entries, read, write
from crnn.storage.files import Path

_MARGIN = 2**12  # missing parameters up to which a model is made, to say which they are


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


def load(path: Path, classes: Mapping[str, type[Layer]] | None = None) -> Layer:
    """Read a model that `save` wrote.

    Parameters
    ----------
    path : str or path
    classes : mapping from str to class, optional
        Your own layer classes that the model is made of, by name (``"Pool"``) or by module and
        name (``"my.module:Pool"``, as the file has it). Without it a class of yours is found if its
        module is imported. crnn's own classes are always crnn's.

    Returns
    -------
    layer
        Of the class, with the options and the parameters of the one saved; gradients are zero.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is no regular file, is damaged, not one of crnn's, of another kind, or names a
        layer class that is not known.
    TypeError
        `classes` is no mapping from names to subclasses of `Layer`.

    Examples
    --------
    >>> import crnn
    >>> crnn.save("model.npz", crnn.GRU(2, 3, seed=1))  # doctest: +SKIP
    >>> crnn.load("model.npz")  # doctest: +SKIP
    GRU(2, 3, seed=1)
    """
    known = check_classes(classes)
    tree = read(path, "model")
    with blaming(path), description.with_classes(known):
        return build_model(tree)


def check_classes(classes: Mapping[str, type[Layer]] | None) -> Mapping[str, type[Layer]]:
    """The mapping itself, {} for None, or TypeError."""
    given = {} if classes is None else classes
    if not isinstance(given, Mapping):
        raise TypeError(f"classes: expected a mapping from names to classes, got {given!r:.100}")
    for name, cls in given.items():
        if not (isinstance(name, str) and isinstance(cls, type) and issubclass(cls, Layer)):
            raise TypeError(
                "classes: expected names with subclasses of crnn.Layer, "
                f"got {name!r:.100}: {cls!r:.100}"
            )
    return given


def model_tree(model: Layer) -> dict[str, Any]:
    """Return a model as a tree that `write` takes and `build_model` understands."""
    return {"layer": description.describe(model), "params": model.state_dict()}


def build_model(tree: Any) -> Layer:
    """Return the model of a `model_tree`.

    Raises
    ------
    ValueError
        A class is not known, options do not fit it, or parameters are missing, unknown or
        misshapen. A model with more parameters than the tree has is refused before anything is
        allocated.
    """
    layer, params = entries(tree, "layer", "params")
    if not isinstance(params, dict) or not all(
        isinstance(array, np.ndarray) for array in params.values()
    ):
        raise ValueError("params: expected arrays by name")
    # An array that two names stand for is there once.
    given = sum(array.size for array in {id(array): array for array in params.values()}.values())
    try:
        needed = description.parameter_count(layer)
        if needed > given + _MARGIN:
            raise ValueError(
                f"the sizes of the layers do not fit the {given} parameters in the file: "
                f"they make {needed}"
            )
        model: Layer = description.build(layer)
        description.check_options(layer, description.describe(model))
    except (TypeError, KeyError) as error:
        raise ValueError(f"the options of a layer do not fit its class: {error}") from error
    model.load_state_dict(params)
    return model
