"""Models in files: `save` and `load`.

`load` does not allocate more parameters than the file has.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from crnn.layers.base import description
from crnn.layers.base.layer import Layer, check_layer
from crnn.layers.base.weights import undrawn
from crnn.storage.archive import blaming, entries, read, write
from crnn.storage.files import Path

_MARGIN = 2**12  # with at most this many missing parameters the model is built to name them


def save(path: Path, model: Layer) -> None:
    """Write a model to a file that `load` reads.

    Parameters
    ----------
    path : str or path
        File to write; no suffix is added, ``.npz`` is usual. An existing file is replaced
        atomically: it is unchanged if an error occurs.
    model : layer
        Layer or composition of crnn, or of subclasses of `Layer`.

    Raises
    ------
    TypeError
        If `model` is no layer.
    ValueError
        If `path` is empty or a directory.
    OSError
        If the file cannot be written.

    See Also
    --------
    load : Read a model from a file.

    Notes
    -----
    The file has the description of the layers and the parameters in the .npz format of NumPy; it
    has no pickled objects. States, gradients and optimizers are not saved.

    Examples
    --------
    >>> import os, tempfile
    >>> import crnn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.npz")
    ...     crnn.save(path, crnn.GRU(2, 3, seed=1))
    ...     crnn.load(path)
    GRU(2, 3, seed=1)
    """
    check_layer("model", model)
    write(path, "model", model_tree(model))


def load(path: Path, classes: Mapping[str, type[Layer]] | None = None) -> Layer:
    """Read a model from a file that `save` wrote.

    The file is not trusted: `load` executes no code of it.

    Parameters
    ----------
    path : str or path
        File to read.
    classes : mapping from str to class, optional
        Layer classes outside of crnn that the model has, by name (``"Pool"``) or by module and name
        (``"my.module:Pool"``, as in the file). Classes that it does not name are searched in the
        modules that are imported. Names of crnn's classes always mean these.

    Returns
    -------
    layer
        Layer of the class, with the options and with the parameters that were saved. Its gradients
        are zero.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is no regular file, is damaged, was not written by `save`, or names an unknown
        layer class.
    TypeError
        If `classes` is no mapping from names to subclasses of `Layer`.

    See Also
    --------
    save : Write a model to a file.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import crnn
    >>> model = crnn.GRU(2, 3, seed=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.npz")
    ...     crnn.save(path, model)
    ...     loaded = crnn.load(path)
    >>> np.array_equal(loaded.params["W_h"], model.params["W_h"])
    True
    """
    checked = check_classes(classes)
    tree = read(path, "model")
    with blaming(path), description.with_classes(checked):
        return build_model(tree)


def check_classes(classes: Mapping[str, type[Layer]] | None) -> Mapping[str, type[Layer]]:
    """Return the mapping, or {} for None; raise TypeError unless it has subclasses of Layer."""
    mapping = {} if classes is None else classes
    if not isinstance(mapping, Mapping):
        raise TypeError(f"classes: expected a mapping from names to classes, got {mapping!r:.100}")
    for name, cls in mapping.items():
        if not (isinstance(name, str) and isinstance(cls, type) and issubclass(cls, Layer)):
            raise TypeError(
                "classes: expected a mapping from names to subclasses of crnn.Layer, "
                f"got {name!r:.100}: {cls!r:.100}"
            )
    return mapping


def model_tree(model: Layer) -> dict[str, Any]:
    """Return the description and the parameters of a model as a tree for `write`."""
    return {"layer": description.describe(model), "params": model.state_dict()}


def build_model(tree: Any) -> Layer:
    """Return the model of a tree that `model_tree` made.

    Raises
    ------
    ValueError
        If a class is unknown, its options are invalid, or parameters are missing, unknown or of a
        wrong shape. A model that needs more parameters than the tree has raises before anything is
        allocated.
    """
    layer, params = entries(tree, "layer", "params")
    if not isinstance(params, dict) or not all(
        isinstance(array, np.ndarray) for array in params.values()
    ):
        raise ValueError("params: expected arrays by name")
    # Two names may refer to one array, which counts once.
    saved = sum(array.size for array in {id(array): array for array in params.values()}.values())
    try:
        needed = description.parameter_count(layer)
        if needed > saved + _MARGIN:
            raise ValueError(
                f"expected {needed} parameters, as the sizes of the layers need, "
                f"got {saved} in the file"
            )
        with undrawn():
            model: Layer = description.build(layer)
        description.check_options(layer, description.describe(model))
    except (TypeError, KeyError) as error:
        raise ValueError(f"the options of a layer are invalid for its class: {error}") from error
    model.load_state_dict(params)
    return model
