"""The part of a block that attends to a memory, the steps of another sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

from numpy.typing import DTypeLike

from crnn.common.checks import (
    check_dtype,
    check_flag,
    check_probability,
    check_product,
    check_seed,
    check_size,
)
from crnn.layers.base.attributes import Fixed
from crnn.layers.base.buffer import InOneBuffer, Shapes, transposed
from crnn.layers.base.description import Widths
from crnn.layers.base.nodes import Graph


class CrossAttention(InOneBuffer):
    """Attention of several heads to a memory, a part of `crnn.TransformerBlock`.

    With q = W_q u + b_q and [k v] = W_kv e + b_kv for the steps e of the memory, the equations are
    those of `crnn.SelfAttention` without rotation, and each step sees the whole memory. It runs as
    part of a block, whose state has the memory.

    Parameters
    ----------
    size : int
        Number of inputs and of outputs H.
    heads : int
        M, a divisor of H.
    memory_size : int
        C, the number of features of the memory.
    bias : bool, default True
        Whether the maps have biases.
    dropout : float, default 0.0
        Probability that a weight is set to 0 in training.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters and outputs.
    seed : int, optional
        Seed of dropout. None draws a seed. The block draws the initial weights.
    """

    _leading = ("size", "heads", "memory_size")
    _arguments: ClassVar[tuple[str, ...]] = (*_leading, "bias", "dropout", "dtype", "seed")
    size, heads, memory_size = Fixed[int](), Fixed[int](), Fixed[int]()
    bias, dropout, seed = Fixed[bool](), Fixed[float](), Fixed[int]()

    def __init__(
        self,
        size: int,
        heads: int,
        memory_size: int,
        *,
        bias: bool = True,
        dropout: float = 0.0,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        bias = check_flag("bias", bias)
        shapes = self._shapes(size, heads, memory_size, bias=bias)
        sizes = {"size": size, "heads": heads, "memory_size": memory_size}
        vars(self).update({name: check_size(name, value) for name, value in sizes.items()})
        vars(self).update(
            bias=bias, dropout=check_probability("dropout", dropout), seed=check_seed(seed)
        )
        self._lay_out(shapes, check_dtype(dtype))

    @classmethod
    def _shapes(
        cls, size: int, heads: int, memory_size: int, *, bias: bool = True, **_: Any
    ) -> Shapes:
        H, C = check_size("size", size), check_size("memory_size", memory_size)
        check_product("size, size", 4, H, H)
        check_product("memory_size, size", 2, C, H)
        matrices: Shapes = {"W_q": (H, H), "W_kv": (2 * H, C), "W_o": (H, H)}
        shapes: Shapes = {}
        for name, shape in matrices.items():
            shapes |= {name: shape} | ({f"b_{name[2:]}": shape[:1]} if bias else {})
        return shapes

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        return Widths(config["size"], config["size"])

    input_size = property(lambda self: self.size)
    output_size = property(lambda self: self.size)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of a step; the memory is mapped once for each sequence."""
        return 2 * self.size * self.size

    watched = (*InOneBuffer.watched, "heads", "dropout", "seed")

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise TypeError: the memory is in the state of the block.

        Parameters
        ----------
        *args, **kwargs
            Ignored.
        """
        raise TypeError(f"expected a call of the TransformerBlock that has {self!r:.100}")

    def backward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise TypeError, as `forward`.

        Parameters
        ----------
        *args, **kwargs
            Ignored.
        """
        self.forward()

    def add(self, graph: Graph, u: int, number: int, owner: int) -> tuple[int, int, int]:
        """Add the nodes that read u; return those of q, of the context and of the output.

        Parameters
        ----------
        graph : Graph
        u : int
            The node that is read.
        number : int
            Number of the block in the model.
        owner : int
            The node of self-attention whose state has the memory.
        """
        query = graph.add("sum", (u,), *self._map("q"))
        options = self.heads, self.dropout, self.seed, number, owner
        context = graph.add("cross", (query,), *options, *self._map("kv"))
        return query, context, graph.add("sum", (context,), *self._map("o"))

    def _map(self, name: str) -> tuple[Any, ...]:
        """Return W and b of a map, and their gradients."""
        params, grads = self._flat.param_views, self._flat.trained_views(self._frozen)
        W, b = f"W_{name}", f"b_{name}"
        return params[W].T, params.get(b), transposed(grads.get(W)), grads.get(b)
