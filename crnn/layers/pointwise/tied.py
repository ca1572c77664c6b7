"""Dense layers that use the weights of an Embedding."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.checks import check_flag, check_size
from crnn.common.representation import never_raising
from crnn.layers.base.adapted import named_layers
from crnn.layers.base.attributes import Fixed
from crnn.layers.base.buffer import ParameterBuffer, Shapes
from crnn.layers.base.description import Widths, class_and_config
from crnn.layers.pointwise.embedding import Embedding
from crnn.layers.pointwise.rows import Gathered, RowIndex, WithParameters, check_floats

#: The outermost model whose description is being made.
_described_model: ContextVar[Any] = ContextVar("_described_model", default=None)
#: The descriptions inside the outermost one whose parameters are being counted.
_counted_places: ContextVar[Places | None] = ContextVar("_counted_places", default=None)
#: Layers of a model that is being made, which do not have their embedding yet.
_untied: ContextVar[list[TiedDense] | None] = ContextVar("_untied", default=None)


class TiedDense(WithParameters, Gathered):
    """Dense layer with the weights of an embedding: y = W x + b, with W of the embedding.

    Press and Wolf, "Using the output embedding to improve language models" (2017); Inan, Khosravi
    and Socher, "Tying word vectors and word classifiers" (2017).

    Parameters
    ----------
    embedding : Embedding
        The layer with W (K, size). x has `size` features, y has K.
    bias : bool, default True
        Whether the layer has a bias b.

    Attributes
    ----------
    embedding : Embedding
        As passed.
    params, grads : dict of str to ndarray
        b (K,). The initial b is 0. W is a parameter of the embedding only, and backward adds to the
        gradient of the embedding.
    bias : bool
        As passed.

    Raises
    ------
    TypeError
        If `embedding` is not an Embedding.

    Notes
    -----
    Copies of a model that has both layers share W in the same way: those by `copy.deepcopy`,
    `pickle` and `astype`. `crnn.save` keeps the connection for a `Sequential` that has both layers,
    at any depth; the file has the dotted name of the embedding. The `repr` shows a new embedding: a
    layer that is made from it does not share W.

    ``trainable = False`` of this layer freezes b alone. W is trained by both layers unless the
    embedding is frozen, and then by none.

    Examples
    --------
    >>> import crnn
    >>> embedding = crnn.Embedding(50, 16, seed=0)
    >>> tied = crnn.TiedDense(embedding)
    >>> model = crnn.Sequential([embedding, crnn.LSTM(16, 16, seed=1), tied])
    >>> model([[3, 1, 4]])[0].shape
    (1, 3, 50)
    >>> [name for name in model.params if name.startswith("2.")]
    ['2.b']
    """

    _leading = ("embedding",)
    #: Empty until `from_config` has the embedding.
    _flat = ParameterBuffer({}, np.dtype("float32"))
    embedding, bias = Fixed[Embedding](), Fixed[bool]()

    def __init__(self, embedding: Embedding, *, bias: bool = True) -> None:
        if not isinstance(embedding, Embedding):
            raise TypeError(f"embedding: expected an Embedding, got {embedding!r:.100}")
        bias = check_flag("bias", bias)
        vars(self).update(embedding=embedding, bias=bias)
        self._lay_out({"b": (embedding.K,)} if bias else {}, embedding.dtype)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Float type of parameters and outputs."""
        return self.embedding.dtype

    shares_weights_of = property(lambda self: vars(self).get("embedding"))

    @property
    def input_size(self) -> int | None:
        """Number of features of x: the length of a vector of the embedding."""
        shared = self.shares_weights_of
        return None if shared is None else shared.size

    @property
    def output_size(self) -> int | None:
        """Number of features of y: K, the number of symbols."""
        shared = self.shares_weights_of
        return None if shared is None else shared.K

    @property
    def multiply_adds(self) -> int:
        """Number of multiply-adds of one step: the elements of the embedding's W."""
        return self.embedding.K * self.embedding.size

    @property
    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, with the dotted name of the embedding in the Sequential.

        Raises
        ------
        ValueError
            If no Sequential that has the embedding is described, because W would be missing.
        """
        model = _described_model.get()
        for place, part in () if model is None else named_layers(model):
            if part is self.embedding:
                return {"embedding": place, "bias": self.bias}
        raise ValueError(
            "embedding: expected one inside the Sequential that is saved, "
            f"got {self.embedding!r} outside of it"
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TiedDense:
        """Make a layer from a configuration. `built` sets its embedding later.

        Parameters
        ----------
        config : mapping
            As the attribute `config`.

        Returns
        -------
        TiedDense

        Raises
        ------
        ValueError
            If the layer is not made as a part of a Sequential.
        """
        untied = _untied.get()
        if untied is None:
            raise ValueError("embedding: expected a layer inside a Sequential, got one by itself")
        layer = cls.__new__(cls)
        vars(layer)["_config"] = dict(config)
        untied.append(layer)
        return layer

    @classmethod
    def _shapes(cls, embedding: Any, bias: bool = True, **_: Any) -> Shapes:
        K = cls._size(embedding)
        return {"b": (K,)} if bias and K else {}

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths | None:
        K = cls._size(config["embedding"])
        return Widths(None, K) if K else None

    @staticmethod
    def _size(place: Any) -> int:
        """Return K of the Embedding with this dotted name, or 0 if it is not described."""
        places = _counted_places.get()
        described = None if places is None else places.at(place)
        cls, config = (None, {}) if described is None else class_and_config(described)
        known = cls is not None and issubclass(cls, Embedding) and "K" in config
        return check_size("K", config["K"]) if known else 0

    def _tie(self, embedding: Any) -> None:
        """Initialise the layer with its embedding."""
        config = vars(self).pop("_config")
        type(self).__init__(self, **(config | {"embedding": embedding}))

    @never_raising
    def __repr__(self) -> str:
        bias = "" if self.bias else ", bias=False"
        return f"{type(self).__name__}({self.embedding!r}{bias})"

    def _convert(self, dtype: np.dtype[Any]) -> None:
        super()._convert(dtype)
        if self.embedding.dtype != dtype:  # the copy has no model that converts it
            self.embedding._convert(dtype)

    @functools.cached_property
    def _tape_key(self) -> tuple[Any, ...]:
        shapes = self._flat.shapes.values()
        return (type(self).__name__, *shapes, self.embedding.K, self.embedding.size)

    _keeps_rows = True

    def _check(self, x: Any) -> Array:
        return check_floats(x, self.embedding.size, "size")

    def _transposed(self, attribute: str) -> Array:
        """Return a copy (size, K) of W in `params` or `grads`, in the order for products."""
        return np.ascontiguousarray(getattr(self.embedding, attribute)["W"].T)

    def _rows(self, rows: Array, draw: RowIndex) -> tuple[Array, Any]:
        return _core.dense_forward(rows, self._transposed("params"), self.params.get("b")), rows

    def _rows_back(self, memory: Any, dy: Array) -> Array:
        is_trained = self.embedding.trainable
        dW_t = self._transposed("grads") if is_trained else None  # the core adds to the present one
        db = self._flat.trained_views(self._frozen).get("b")
        dx = _core.dense_backward(memory, self._transposed("params"), dy, dW_t, db)
        if dW_t is not None:
            self.embedding.grads["W"] = dW_t.T
        return dx


class Places:
    """The descriptions of layers in a configuration, by the dotted names of `named_layers`.

    Descriptions inside compositions that name their parts in another way are missing.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._descriptions: dict[str, Mapping[str, Any]] | None = None

    def at(self, place: Any) -> Mapping[str, Any] | None:
        """Return the description of the layer with this dotted name, or None."""
        if self._descriptions is None:
            self._descriptions = {}
            self._add(self._config, "")
        return self._descriptions.get(place) if isinstance(place, str) else None

    def _add(self, value: Any, place: str) -> None:
        """Add the descriptions in a value, whose dotted name is `place`."""
        if not isinstance(value, Mapping):
            return
        if {"class", "config"} <= set(value):
            assert self._descriptions is not None
            self._descriptions[place] = value
            value = value["config"]
        for name, part in value.items():
            items = enumerate(part) if isinstance(part, list) else [(name, part)]
            for key, item in items:
                self._add(item, f"{place}.{key}" if place else str(key))


@contextmanager
def _outermost(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    """Set a context variable, unless an outer context has set it."""
    if variable.get() is not None:
        yield
        return
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def counting(config: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Return a context for counting parameters: TiedDense finds the size of its embedding."""
    return _outermost(_counted_places, Places(config))


def describing(model: Any) -> AbstractContextManager[None]:
    """Return a context for describing a model: TiedDense finds the dotted name of its embedding.

    In nested contexts, names are relative to the outermost model.
    """
    return _outermost(_described_model, model)


def built(make: Callable[[], Any]) -> Any:
    """Make a model by calling `make`, and set the embedding of each TiedDense in it.

    In nested calls, only the outermost one sets the embeddings, because names are relative to the
    outermost model.

    Raises
    ------
    ValueError
        No Embedding has the name.
    """
    if _untied.get() is not None:
        return make()
    untied: list[TiedDense] = []
    token = _untied.set(untied)
    try:
        model = make()
    finally:
        _untied.reset(token)
    layers = dict(named_layers(model))
    for layer in untied:
        name = vars(layer)["_config"]["embedding"]
        if not isinstance(layers.get(name), Embedding):
            raise ValueError(f"embedding: expected the name of an Embedding, got {name!r}")
        layer._tie(layers[name])
    return model
