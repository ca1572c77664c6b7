"""Attention of a decoder to the output of an encoder.

Letters: T_s steps of the source, T_q steps of queries, P units of the decoder's output, C units of
the encoder's output, A units of a query and of a key.
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
from crnn.layers.base.attributes import Fixed
from crnn.layers.base.buffer import InOneBuffer, Shapes, transposed
from crnn.layers.base.nodes import Graph, runs_unchanged

KINDS = get_args(AttentionScore)


class Memory(NamedTuple):
    """Values and keys of a batch of encodings. They are the same for all steps of the target."""

    values: Array  # (B, T_s, C), 0 at padding
    keys: Array  # (B, T_s, A)
    lengths: Lengths

    def rows(self, rows: NDArray[np.intp]) -> Memory:
        """Return the memory of some rows.

        Parameters
        ----------
        rows : integers (N,)
            Indices of the rows.

        Returns
        -------
        Memory
        """
        lengths = None if self.lengths is None else self.lengths[rows]
        return Memory(self.values[rows], self.keys[rows], lengths)


class MemoryGradient(NamedTuple):
    """Gradients of the values and keys of a memory, summed over the steps of the target."""

    dvalues: Array
    dkeys: Array

    @classmethod
    def zeros(cls, memory: Memory) -> MemoryGradient:
        """Return gradients that are zero.

        Parameters
        ----------
        memory : Memory

        Returns
        -------
        MemoryGradient
        """
        return cls(np.zeros_like(memory.values), np.zeros_like(memory.keys))


class AttentionTape(NamedTuple):
    """Tape of `Attention.forward`."""

    core: _core.PlanTape
    memory: Memory


class OwnPlan(NamedTuple):
    """The plan of an attention alone, valid while its parameters are in the same buffer."""

    flat: Any
    core: Any
    frozen: bool = False

    def __reduce__(self) -> Any:
        return OwnPlan, (None, None)  # a copy has other parameters


class Attention(InOneBuffer):
    """Attention: weighted means of the encoder's output, with weights from the decoder's output.

    The weights are the softmax of a score of the decoder's output h and each step e of the
    encoder's output. "additive" is ``v · tanh(W_query h + W_key e)`` (Bahdanau, Cho and Bengio,
    "Neural machine translation by jointly learning to align and translate", 2015), "dot" ``h · e``
    and "general" ``h · W e`` (Luong, Pham and Manning, "Effective approaches to attention-based
    neural machine translation", 2015).

    Parameters
    ----------
    kind : {"additive", "dot", "general"}
        The score.
    query_size, value_size : int
        P and C. They must be equal for "dot".
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters and outputs.
    seed : int, optional
        Seed of the initial parameters, which are uniform (Glorot and Bengio 2010). None draws one.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        "additive": W_query (A, P), W_key (A, C), v (A,) with A = P. "general": W (P, C). "dot":
        none.

    Raises
    ------
    ValueError, TypeError
        If `kind` is unknown, a size is below 1, the sizes differ for "dot", or the dtype or the
        seed is invalid.
    """

    _leading = ("kind", "query_size", "value_size")
    _arguments = (*_leading, "dtype", "seed")
    kind, seed = Fixed[AttentionScore](), Fixed[int]()
    query_size, value_size = Fixed[int](), Fixed[int]()

    #: Name of the matrix that maps the encoder's output to keys, by kind.
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
        check_kind(kind)
        if kind == "dot" and P != C:
            raise ValueError(
                "attention: expected an encoder's output as wide as the decoder's for 'dot', "
                f"got {C} and {P}: use 'general'"
            )
        seed, numbers, shapes = check_seed(seed), check_dtype(dtype), self._shapes(kind, P, C)
        vars(self).update(kind=kind, query_size=P, value_size=C, seed=seed)
        self._lay_out(shapes, numbers)
        for stream, (name, shape) in enumerate(shapes.items()):
            rows, columns = shape if len(shape) == 2 else (1, P)
            self.params[name] = weights.glorot_uniform(seed, stream, shape, columns, rows)

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
        """Return the memory of an encoding, for the queries of all steps.

        Parameters
        ----------
        values : array (B, T_s, C)
            The encoder's output.
        lengths : integers (B,), optional
            Number of valid steps of each row of the source.

        Returns
        -------
        Memory
        """
        if (
            lengths is not None
        ):  # padding may be infinite, and infinity times a gradient of 0 is NaN
            valid = valid_steps(lengths, values.shape)[:, :, None]
            values = np.where(valid, values, values.dtype.type(0))
        values = _core.kept(values)  # tapes use it without a copy
        if self.kind not in self._key_names:
            return Memory(values, values, lengths)
        W = self._flat.param_views[self._key_names[self.kind]]
        return Memory(values, _core.kept(_core.dense_forward(values, W.T, None)), lengths)

    def memory_backward(self, memory: Memory, gradient: MemoryGradient) -> Array:
        """Add to the gradient of the matrix of the keys, and return that of the encoder's output.

        Parameters
        ----------
        memory : Memory
            Returned by `memory`.
        gradient : MemoryGradient
            Gradients to which all calls of `backward` with this memory have added.

        Returns
        -------
        array (B, T_s, C)
            Gradient with respect to the encoder's output.
        """
        if self.kind not in self._key_names:
            return np.asarray(gradient.dvalues + gradient.dkeys)
        name = self._key_names[self.kind]
        dW = self._flat.trained_views(self._frozen).get(name)
        dvalues = _mapped_back(memory.values, self.params[name], gradient.dkeys, dW)
        return np.asarray(gradient.dvalues + dvalues)

    def forward(
        self, h: Array, memory: Memory, lengths: Any = None
    ) -> tuple[Array, Array, AttentionTape]:
        """Return the context of each query, the weights, and a tape for `backward`.

        Parameters
        ----------
        h : array (B, T_q, P)
            The decoder's output.
        memory : Memory
            Returned by `memory`.
        lengths : integers (B,), optional
            Number of valid steps of each row of h. None: all T_q steps.

        Returns
        -------
        context : array (B, T_q, C)
            Weighted means of the encoder's output.
        weights : array (B, T_q, T_s)
            Weights of the steps of the source; they sum to 1 for each query.
        tape : AttentionTape
            Argument of `backward`.
        """
        source = memory.keys, memory.values, memory.lengths
        result = self._plan().forward(
            h, None, lengths, None, None, False, None, 0, 0, False, True, source
        )
        if result is None:
            raise ValueError(
                f"h, memory: expected floats (B, T_q, P={self.query_size}) and the memory of B "
                f"sources, got {np.shape(h)} and {np.shape(memory.values)}"
            )
        context, _, tape = result
        return context, tape.weights, AttentionTape(tape, memory)

    def backward(  # type: ignore[override] # it has two gradients of inputs
        self, tape: AttentionTape, dcontext: Array, gradient: MemoryGradient
    ) -> Array:
        """Add to the gradients of the memory and of the parameters, and return that of h.

        Parameters
        ----------
        tape : AttentionTape
            Returned by `forward`.
        dcontext : array (B, T_q, C)
            Gradient of the loss with respect to the context.
        gradient : MemoryGradient
            Gradients of the memory, to which this method adds.

        Returns
        -------
        array (B, T_q, P)
            Gradient with respect to h.
        """
        result = self._plan().backward(self, tape.core, dcontext, None, False)
        if result is None:
            raise ValueError(
                "tape, dcontext: expected a tape of an attention like this, and a gradient of its "
                f"context, got {tape.core!r} and an array of shape {np.shape(dcontext)}"
            )
        dh, _, dkeys, dvalues = result
        gradient.dvalues[...] += dvalues
        gradient.dkeys[...] += dkeys
        return np.asarray(dh)

    def _plan(self) -> Any:
        """Return the plan of the attention alone."""
        own: OwnPlan | None = self.__dict__.get("_own_plan")
        if own is None or own.flat is not self._flat or own.frozen is not self._frozen:
            graph = Graph(self.query_size, None)
            self._add_query(graph, (0,))
            core = _core.Plan(self.dtype, tuple(graph.nodes), None)
            own = self._own_plan = OwnPlan(self._flat, core, self._frozen)
        return own.core

    def add_query(self, graph: Graph, sources: tuple[int, ...]) -> tuple[int, int] | None:
        """Add the nodes of the attention to a graph.

        Parameters
        ----------
        graph : Graph
        sources : tuple of int
            The node of h. Empty if h is added later, see `Graph.add_delayed`.

        Returns
        -------
        tuple of int, or None
            The node that reads h, and the node of the context. None if a method is overridden, or
            the dtype is not that of the other nodes.
        """
        if not runs_unchanged(self, Attention) or not graph.matches(self.dtype):
            return None
        return self._add_query(graph, sources)

    def _add_query(self, graph: Graph, sources: tuple[int, ...]) -> tuple[int, int]:
        params, grads = self._flat.param_views, self._flat.trained_views(self._frozen)
        query = None
        if self._additive:
            dW = transposed(grads.get("W_query"))
            query = graph.add("sum", sources, params["W_query"].T, None, dW, None)
            sources = (query,)
        vectors = params.get("v"), grads.get("v")
        context = graph.add("attend", sources, self.value_size, *vectors)
        return context if query is None else query, context


def check_kind(kind: Any) -> AttentionScore:
    """Return a kind of attention, or raise ValueError if it is unknown."""
    if not isinstance(kind, str) or kind not in KINDS:
        kinds = ", ".join(map(repr, KINDS))
        raise ValueError(f"attention: expected None or one of {kinds}, got {kind!r:.60}")
    return cast(AttentionScore, kind)


def _mapped_back(steps: Array, W: Array, dy: Array, dW: Array | None) -> Array:
    """Return the gradient of steps (B, T, ...) from that of W x; add to dW, unless it is None."""
    rows = np.ascontiguousarray(steps.reshape(-1, steps.shape[2]))
    drows = np.ascontiguousarray(dy.reshape(len(rows), len(W)))
    return _core.dense_backward(rows, W.T, drows, transposed(dW), None).reshape(steps.shape)
