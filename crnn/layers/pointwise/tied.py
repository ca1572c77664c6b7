"""A Dense layer whose weights are those of an Embedding."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.checks import check_size
from crnn.layers.base.adapted import walk
from crnn.layers.base.buffer import ParameterBuffer, Shapes
from crnn.layers.base.description import Widths, opened
from crnn.layers.pointwise.embedding import Embedding
from crnn.layers.pointwise.rows import RowIndex, WithParameters, check_floats

_described: ContextVar[Any] = ContextVar("_described", default=None)
_counted: ContextVar[Places | None] = ContextVar("_counted", default=None)
_waiting: ContextVar[list[TiedDense] | None] = ContextVar("_waiting", default=None)


class TiedDense(WithParameters):
    """Scores of all symbols with the vectors that stand for them: y = W x + b, W of an embedding.

    Press and Wolf, "Using the output embedding to improve language models" (2017); Inan, Khosravi
    and Socher, "Tying word vectors and word classifiers" (2017).

    Parameters
    ----------
    embedding : Embedding
        Its W (K, size) is read here as a Dense layer reads its own: x has `size` features, y has K.
    bias : bool, default True
        Whether there is a b.

    Attributes
    ----------
    embedding : Embedding
    params, grads : dict
        b (K,), zero at first. W is the embedding's, and backward adds to the embedding's gradient:
        a model that has both layers has W once.

    Raises
    ------
    TypeError
        If it is not an Embedding.

    Notes
    -----
    Copies keep the tie: `copy.deepcopy`, `pickle` and `astype` of a model that has both layers, and
    `crnn.save` of a `Sequential` that has both, at any depth; the file names the embedding by its
    place. The `repr` types the embedding out: typed back, the layer has one of its own.

    Examples
    --------
    >>> embedding = crnn.Embedding(50, 16)  # doctest: +SKIP
    >>> model = crnn.Sequential([embedding, crnn.LSTM(16, 16), crnn.TiedDense(embedding)])
    """

    _leading = ("embedding",)
    _flat = ParameterBuffer(
        {}, np.dtype("float32")
    )  # while it waits for its embedding in `from_config`
    embedding: Embedding

    def __init__(self, embedding: Embedding, *, bias: bool = True) -> None:
        if not isinstance(embedding, Embedding):
            raise TypeError(f"embedding: expected an Embedding, got {embedding!r:.100}")
        self.embedding = embedding
        self.bias = bool(bias)
        self._lay_out({"b": (embedding.K,)} if self.bias else {}, embedding.dtype)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of parameters and outputs."""
        return self.embedding.dtype

    shares_weights_of = property(lambda self: vars(self).get("embedding"))

    @property
    def input_size(self) -> int | None:
        """Features of a vector of the embedding."""
        shared = self.shares_weights_of
        return None if shared is None else shared.size

    @property
    def output_size(self) -> int | None:
        """K."""
        shared = self.shares_weights_of
        return None if shared is None else shared.K

    @property
    def multiply_adds(self) -> int:
        """Those of a product with the embedding's W."""
        return self.embedding.K * self.embedding.size

    @property
    def config(self) -> dict[str, Any]:
        """The arguments; the embedding by its place in the Sequential that is described.

        Raises
        ------
        ValueError
            If no Sequential with the embedding is: its W would be lost.
        """
        model = _described.get()
        for place, part in () if model is None else walk(model):
            if part is self.embedding:
                return {"embedding": place, "bias": self.bias}
        raise ValueError(
            "embedding: expected one inside the Sequential that is saved, "
            f"got {self.embedding!r} outside of it"
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TiedDense:
        """A layer of this configuration, which waits for `built` to give it its embedding."""
        waiting = _waiting.get()
        if waiting is None:
            raise ValueError("embedding: expected the Sequential that it is in to be built with it")
        layer = cls.__new__(cls)
        vars(layer)["_config"] = dict(config)
        waiting.append(layer)
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
        """K of the Embedding at a place in the Sequential that is counted; 0 if none is seen."""
        places = _counted.get()
        described = None if places is None else places.at(place)
        made, config = (None, {}) if described is None else opened(described)
        known = made is not None and issubclass(made, Embedding) and "K" in config
        return check_size("K", config["K"]) if known else 0

    def _tie(self, embedding: Any) -> None:
        """Make the layer, now that its embedding is there."""
        config = vars(self).pop("_config")
        type(self).__init__(self, **(config | {"embedding": embedding}))

    def __repr__(self) -> str:
        bias = "" if self.bias else ", bias=False"
        return f"{type(self).__name__}({self.embedding!r}{bias})"

    def _convert(self, dtype: np.dtype[Any]) -> None:
        super()._convert(dtype)
        if self.embedding.dtype != dtype:  # a copy made without the rest of its model
            self.embedding._convert(dtype)

    @functools.cached_property
    def _owner(self) -> tuple[Any, ...]:
        name, *own = type(self).__name__, *self._flat.shapes.values()
        return (name, *own, self.embedding.K, self.embedding.size)

    _keeps_rows = True

    def _check(self, x: Any) -> Array:
        return check_floats(x, self.embedding.size, "size")

    def _transposed(self, what: str) -> Array:
        """A copy, (size, K), in the order in which products read it."""
        return np.ascontiguousarray(getattr(self.embedding, what)["W"].T)

    def _rows(self, rows: Array, draw: RowIndex) -> tuple[Array, Any]:
        return _core.dense_forward(rows, self._transposed("params"), self.params.get("b")), rows

    def _rows_back(self, memory: Any, dy: Array) -> Array:
        dW_t = self._transposed("grads")  # sums go on from what is there
        db = self.grads.get("b")
        dx = _core.dense_backward(memory, self._transposed("params"), dy, dW_t, db)
        self.embedding.grads["W"] = dW_t.T
        return dx


class Places:
    """The layers described in a configuration, by the places that `walk` gives them.

    Those in compositions that name their parts in another way are not found.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._found: dict[str, Mapping[str, Any]] | None = None

    def at(self, place: Any) -> Mapping[str, Any] | None:
        """The description at a place."""
        if self._found is None:
            self._found = {}
            self._add(self._config, "")
        return self._found.get(place) if isinstance(place, str) else None

    def _add(self, value: Any, place: str) -> None:
        if not isinstance(value, Mapping):
            return
        if {"class", "config"} <= set(value):
            assert self._found is not None
            self._found[place] = value
            value = value["config"]
        for name, part in value.items():
            items = enumerate(part) if isinstance(part, list) else [(name, part)]
            for key, one in items:
                self._add(one, f"{place}.{key}" if place else str(key))


@contextmanager
def _outermost(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    """A context in which a variable has a value, unless it has one already."""
    if variable.get() is not None:
        yield
        return
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def counting(config: Mapping[str, Any]) -> AbstractContextManager[None]:
    """While the parameters of a Sequential are counted, places in the outermost one are known."""
    return _outermost(_counted, Places(config))


def describing(model: Any) -> AbstractContextManager[None]:
    """While a model is described, a TiedDense names its embedding by its place in it.

    The outermost counts: what is inside it is described as a part of it.
    """
    return _outermost(_described, model)


def built(make: Callable[[], Any]) -> Any:
    """The model that `make` makes, every TiedDense in it with its embedding.

    Only the outermost model that is being made knows all places, so it gives them all.

    Raises
    ------
    ValueError
        If there is no Embedding at a place.
    """
    if _waiting.get() is not None:
        return make()
    waiting: list[TiedDense] = []
    token = _waiting.set(waiting)
    try:
        model = make()
    finally:
        _waiting.reset(token)
    places = dict(walk(model))
    for layer in waiting:
        place = vars(layer)["_config"]["embedding"]
        if not isinstance(places.get(place), Embedding):
            raise ValueError(f"embedding: expected the place of an Embedding, got {place!r}")
        layer._tie(places[place])
    return model
