"""Attention as a part of a model: queries of its decoder's output, keys of its encoder's.

Letters: P units of the decoder's output, C of the encoder's, A of a query and of a key.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, cast, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

import crnn._core as _core
from crnn.common.arrays import Array, Lengths
from crnn.common.checks import check_dtype, check_product, check_seed, check_size, valid_steps
from crnn.common.choices import AttentionScore
from crnn.layers.base import weights
from crnn.layers.base.buffer import InOneBuffer, Shapes

KINDS = get_args(AttentionScore)


class Memory(NamedTuple):
    """What queries are compared with: of one encoding, for all steps of the target."""

    values: Array  # (B, T_s, C), 0 past a row's end
    keys: Array  # (B, T_s, A)
    lengths: Lengths

    def rows(self, rows: NDArray[np.intp]) -> Memory:
        """The memory of these rows."""
        lengths = None if self.lengths is None else self.lengths[rows]
        return Memory(self.values[rows], self.keys[rows], lengths)


class MemoryGradient(NamedTuple):
    """The gradient at a memory, added up over the steps of the target."""

    dvalues: Array
    dkeys: Array

    @classmethod
    def zeros(cls, memory: Memory) -> MemoryGradient:
        """Nothing yet."""
        return cls(np.zeros_like(memory.values), np.zeros_like(memory.keys))


class AttentionTape(NamedTuple):
    """What one call of `Attention.forward` keeps."""

    h: Array  # (B, T_q, P)
    queries: Array  # (B, T_q, A)
    memory: Memory
    lengths: Any  # of the target
    weights: Array  # (B, T_q, T_s)


class Attention(InOneBuffer):
    """How a decoder's output asks for steps of the encoder's output.

    Parameters
    ----------
    kind : {"additive", "dot", "general"}
        The score of the query h and the encoder's output e: ``v · tanh(W_query h + W_key e)``
        (Bahdanau et al. 2015), ``h · e`` or ``h · W e`` (Luong et al. 2015).
    query_size, value_size : int
        P and C; equal for "dot".
    dtype : {"float32", "float64"}, default "float32"
    seed : int, optional

    Attributes
    ----------
    params, grads : dict
        "additive": W_query (A, P), W_key (A, C), v (A,) with A = P. "general": W (P, C). "dot":
        none.
    """

    _leading = ("kind", "query_size", "value_size")
    _arguments = (*_leading, "dtype", "seed")

    #: The matrix that makes keys of the encoder's output, by kind.
    _key_names: ClassVar[dict[str, str]] = {"additive": "W_key", "general": "W"}

    def __init__(
        self,
        kind: AttentionScore,
        query_size: int,
        value_size: int,
        *,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        P, C = check_size("query_size", query_size), check_size("value_size", value_size)
        check_product("query_size, value_size", P, max(P, C))
        self.kind, self.query_size, self.value_size = check_kind(kind), P, C
        if kind == "dot" and P != C:
            raise ValueError(
                "attention: expected an encoder's output as wide as the decoder's for 'dot', "
                f"got {C} and {P}: use 'general'"
            )
        self.seed = check_seed(seed)
        shapes = self._shapes(kind, P, C)
        self._lay_out(shapes, check_dtype(dtype))
        for stream, (name, shape) in enumerate(shapes.items()):
            rows, columns = shape if len(shape) == 2 else (1, P)
            self.params[name] = weights.glorot_uniform(self.seed, stream, shape, columns, rows)

    @classmethod
    def _shapes(cls, kind: AttentionScore, query_size: int, value_size: int, **_: Any) -> Shapes:
        P, C = check_size("query_size", query_size), check_size("value_size", value_size)
        if check_kind(kind) == "additive":
            return {"W_query": (P, P), "W_key": (P, C), "v": (P,)}
        return {"W": (P, C)} if kind == "general" else {}

    output_size = property(lambda self: self.value_size)

    @property
    def _additive(self) -> bool:
        return self.kind == "additive"

    def memory(self, values: Array, lengths: Lengths) -> Memory:
        """What the queries of all steps are compared with.

        Parameters
        ----------
        values : array (B, T_s, C)
            The encoder's output.
        lengths : array (B,) of integers, optional
            Of the source.
        """
        if lengths is not None:  # padding meets a gradient of 0, and may hold infinity
            there = valid_steps(lengths, values.shape)[:, :, None]
            values = np.where(there, values, values.dtype.type(0))
        if self.kind not in self._key_names:
            return Memory(values, values, lengths)
        W = self._flat.param_views[self._key_names[self.kind]]
        return Memory(values, _core.dense_forward(values, W.T, None), lengths)

    def memory_backward(self, memory: Memory, gradient: MemoryGradient) -> Array:
        """The gradient of the encoder's output; adds to that of the matrix of the keys."""
        if self.kind not in self._key_names:
            return np.asarray(gradient.dvalues + gradient.dkeys)
        name = self._key_names[self.kind]
        dvalues = _mapped_back(memory.values, self.params[name], gradient.dkeys, self.grads[name])
        return np.asarray(gradient.dvalues + dvalues)

    def forward(
        self, h: Array, memory: Memory, lengths: Any = None
    ) -> tuple[Array, Array, AttentionTape]:
        """context (B, T_q, C), weights (B, T_q, T_s), tape.

        Parameters
        ----------
        h : array (B, T_q, P)
            The decoder's h.
        memory : Memory
        lengths : array (B,) of integers, optional
            How many of the T_q steps each row has.
        """
        queries = h
        if self._additive:
            queries = _core.dense_forward(h, self._flat.param_views["W_query"].T, None)
        context, weights = _core.attention_forward(*self._core_arguments(queries, memory, lengths))
        return context, weights, AttentionTape(h, queries, memory, lengths, weights)

    def backward(  # type: ignore[override] # it has two gradients of inputs
        self, tape: AttentionTape, dcontext: Array, gradient: MemoryGradient
    ) -> Array:
        """The gradient of h; adds to `gradient`, the memory's, and to those of the parameters."""
        arguments = self._core_arguments(tape.queries, tape.memory, tape.lengths)
        arguments += (tape.weights, dcontext, self.grads.get("v"))
        dqueries, dkeys, dvalues = _core.attention_backward(*arguments)
        gradient.dvalues[...] += dvalues
        gradient.dkeys[...] += dkeys
        if not self._additive:
            return dqueries
        return _mapped_back(tape.h, self.params["W_query"], dqueries, self.grads["W_query"])

    def _core_arguments(self, queries: Array, memory: Memory, lengths: Any) -> tuple[Any, ...]:
        v = self.params.get("v")
        return self._additive, queries, memory.keys, memory.values, v, memory.lengths, lengths


def check_kind(kind: Any) -> AttentionScore:
    """One of the kinds of attention."""
    if not isinstance(kind, str) or kind not in KINDS:
        kinds = ", ".join(map(repr, KINDS))
        raise ValueError(f"attention: expected None or one of {kinds}, got {kind!r:.60}")
    return cast(AttentionScore, kind)


def _mapped_back(steps: Array, W: Array, dy: Array, dW: Array) -> Array:
    """The gradient of steps (B, T, ...), from that of W x of each; adds to dW."""
    rows = np.ascontiguousarray(steps.reshape(-1, steps.shape[2]))
    drows = np.ascontiguousarray(dy.reshape(len(rows), len(W)))
    return _core.dense_backward(rows, W.T, drows, dW.T, None).reshape(steps.shape)
