"""Composition that reads the categories of each sequence beside its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from crnn.common.arrays import Array, as_array
from crnn.common.checks import check_array
from crnn.common.representation import tape_text
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.description import Widths, build, describe, widths_of
from crnn.layers.base.layer import Layer
from crnn.layers.base.places import backward_part, check_part, run_part
from crnn.layers.base.protocol import LayerLike
from crnn.layers.base.trainable import NO_TAPE
from crnn.layers.compose.base import Wrapper
from crnn.layers.pointwise.embedding import Embedding


class WithCategoriesTape(NamedTuple):
    """Tapes of the layer and of the embeddings, and E, the width of the vectors."""

    layer: Any
    embeddings: tuple[Any, ...]
    width: int

    @property
    def parts(self) -> dict[str, Any]:
        """The tapes of the parts, by name."""
        return {"layer": self.layer} | {_key(i): tape for i, tape in enumerate(self.embeddings)}

    def __repr__(self) -> str:
        return tape_text(self)


class WithCategories(Wrapper):
    """Layer that reads, beside each step, learned vectors of the categories of its sequence.

    The input is the pair (x, categories): the sequences (B, T, I), and for each of them C
    integers, such as the numbers of its region and its product. The vectors, E numbers together,
    stand before the features of every step.

    Parameters
    ----------
    layer : layer
        Any layer that reads floats (B, T, I + E). Its parameters have the names "layer.W_x", ...
    embeddings : sequence of C Embedding
        One for each category. Their parameters have the names "embedding_0.W", ...

    Attributes
    ----------
    layer : layer
        As passed.
    embeddings : tuple of Embedding
        As passed.

    Raises
    ------
    TypeError, ValueError
        If `layer` is not a layer, `embeddings` is empty or has others than `crnn.Embedding`, or the
        layer reads no more features than the vectors have. From forward: if x is not a pair, or a
        category is not in its embedding.

    Notes
    -----
    The state is that of the layer. `lengths`, `mask` and `resets` apply to x. The gradient of the
    categories is None.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> from crnn.models.categories import WithCategories
    >>> model = WithCategories(crnn.GRU(5, 8, seed=0), [crnn.Embedding(3, 2, seed=1)])
    >>> y, state = model((np.ones((4, 6, 3)), [[0], [2], [2], [1]]))
    >>> y.shape, model.input_size
    ((4, 6, 8), 3)
    """

    _leading = ("layer", "embeddings")
    sequence_input, _tape = 0, WithCategoriesTape

    def __init__(self, layer: LayerLike, embeddings: Sequence[Embedding]) -> None:
        super().__init__(layer)
        parts = list(embeddings)
        if not parts or not all(isinstance(part, Embedding) for part in parts):
            raise TypeError(
                f"embeddings: expected at least one crnn.Embedding, got {embeddings!r:.200}"
            )
        for i, part in enumerate(parts):
            setattr(self, _key(i), part)
        self.categories = len(parts)
        reads, width = self.inner.input_size, sum(part.size for part in parts)
        if reads is not None and reads <= width:
            raise ValueError(
                f"layer: expected one that reads more features than the E={width} of the "
                f"embeddings, got {layer!r:.100}"
            )

    @property
    def embeddings(self) -> tuple[Embedding, ...]:
        """The embeddings of the C categories."""
        return tuple(getattr(self, _key(i)) for i in range(self.categories))

    @property
    def once(self) -> tuple[str, ...]:
        """Names of the parts that do not read steps."""
        return tuple(map(_key, range(self.categories)))

    @property
    def parts(self) -> dict[str, Layer]:
        return {"layer": self.inner} | {key: layer_of(getattr(self, key)) for key in self.once}

    @property
    def input_size(self) -> int | None:
        """I, the features of x without the vectors of the categories."""
        reads = self.inner.input_size
        return None if reads is None else reads - sum(part.size for part in self.embeddings)

    symbols, keeps_features = None, False

    @property
    def config(self) -> dict[str, Any]:
        return {
            "layer": describe(self.layer),
            "embeddings": [describe(part) for part in self.embeddings],
        }

    def _shown(self) -> dict[str, Any]:
        return {"layer": self.layer, "embeddings": list(self.embeddings)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls(build(config["layer"]), [build(part) for part in config["embeddings"]])

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths | None:
        inner = widths_of(config["layer"])
        if inner is None or inner.input is None:
            return inner
        vectors = [widths_of(part) for part in config["embeddings"]]
        width = sum(part.output or 0 for part in vectors if part is not None)
        return inner._replace(input=inner.input - width)

    def with_vectors(self, symbols: Array, which: int = 0) -> tuple[Layer, Array] | None:
        return None

    def vectors(self, categories: Any) -> Array:
        """Return the vectors of categories, side by side.

        Parameters
        ----------
        categories : integers (B, C)
            Categories of each sequence.

        Returns
        -------
        array (B, E)
        """
        columns = _checked(categories, None, self.categories).T
        parts = [part(column)[0] for part, column in zip(self.embeddings, columns, strict=True)]
        return np.concatenate(parts, axis=1)

    def _run(
        self, x: Any, state: Any, options: ForwardOptions, keep: bool
    ) -> tuple[Any, Any, WithCategoriesTape]:
        steps, categories = _pair(x, self.input_size, self.categories)
        vectors, tapes = [], []
        outside = options.without_steps()
        for i, key in enumerate(self.once):
            vector, _, tape = run_part(
                self, key, outside.for_part(i + 1), categories[:, i], None, keep
            )
            vectors.append(vector)
            tapes.append(tape)
        inside = options.for_part(0)
        if any(tape is not None and tape is not NO_TAPE for tape in tapes):
            inside = inside._replace(needs_dx=None)  # the embeddings need it
        joined = joined_before(np.concatenate(vectors, axis=1), steps)
        y, after, tape = run_part(self, "layer", inside, joined, state, keep)
        width = joined.shape[2] - steps.shape[2]
        return y, after, WithCategoriesTape(tape, tuple(tapes), width)

    def check_backward(self, tape: Any, dstate: Any) -> None:
        super().check_backward(tape, dstate)
        for key, part in zip(self.once, tape.embeddings, strict=True):
            check_part(self, key, part, None)

    def _back(self, tape: Any, dy: Any, dstate: Any) -> tuple[tuple[Any, None], Any]:
        dx, dstart = backward_part(self, "layer", tape.layer, dy, dstate)
        if dx is None:
            return (None, None), dstart
        dvectors = dx[:, :, : tape.width].sum(axis=1)
        begin = 0
        for key, part in zip(self.once, tape.embeddings, strict=True):
            end = begin + getattr(self, key).size
            backward_part(self, key, part, np.ascontiguousarray(dvectors[:, begin:end]))
            begin = end
        return (dx[:, :, tape.width :], None), dstart


def _key(i: int) -> str:
    """Return the name of the embedding of category i."""
    return f"embedding_{i}"


def joined_before(vectors: Array, x: Array) -> Array:
    """Return x (B, T, I) with the same vector (B, E) before each step of a row, (B, T, E + I).

    Parameters
    ----------
    vectors : array (B, E)
    x : array (B, T, I)

    Returns
    -------
    array (B, T, E + I)
        Of the type of the vectors.
    """
    B, T, width = x.shape
    size = vectors.shape[1]
    joined = np.empty((B, T, size + width), vectors.dtype)
    joined[:, :, :size], joined[:, :, size:] = vectors[:, None], x
    return joined


def _pair(x: Any, width: int | None, count: int) -> tuple[Array, Array]:
    """Return the sequences (B, T, I) and the categories (B, C)."""
    if not isinstance(x, tuple) or len(x) != 2:
        raise TypeError(f"x: expected the pair (x, categories), got {type(x).__name__}")
    steps = check_array("x[0]", x[0], "floats", ("B", "T", "I" if width is None else ("I", width)))
    return steps, _checked(x[1], len(steps), count)


def _checked(categories: Any, rows: int | None, count: int) -> Array:
    """Return categories (B, C) as an array, or raise."""
    array = as_array("x[1]", categories)
    if array.size == 0 and array.ndim == 2:
        array = array.astype(np.int64)
    lead: Any = "B" if rows is None else ("B", rows)
    return check_array("x[1]", array, "integers", (lead, ("C", count)))
