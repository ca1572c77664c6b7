"""Blocks of Transformers: self-attention, attention to a memory and a feed-forward part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

from numpy.typing import DTypeLike

from crnn.common.checks import (
    check_dtype,
    check_flag,
    check_positive,
    check_probability,
    check_seed,
    check_size,
)
from crnn.layers.base import weights
from crnn.layers.base.attributes import Fixed, FixedPart
from crnn.layers.base.buffer import count_of
from crnn.layers.base.description import Widths
from crnn.layers.base.layer import Layer
from crnn.layers.base.nodes import Graph, Nodes, runs_unchanged
from crnn.layers.compose.base import Composition
from crnn.layers.pointwise.dense import Dense
from crnn.layers.pointwise.normalisation import LayerNorm
from crnn.layers.temporal.attention import SelfAttention
from crnn.layers.temporal.base import CoreTemporal, Described
from crnn.layers.temporal.cross import CrossAttention

FeedForward = Literal["gelu", "gelu_exact", "swiglu", "relu"]

#: Standard deviation of the initial weights, as of GPT-2.
DEVIATION = 0.02


class TransformerBlock(CoreTemporal, Composition):
    """Pre-norm block of a Transformer: self-attention, then a feed-forward part.

    x' = x + attention(norm1(x)) and y = x' + feedforward(norm2(x')). The feed-forward part is
    linear2(φ(linear1(u))), with "swiglu" linear2(silu(gate(u)) ∘ linear1(u)); the three are maps
    W u + b.

    With `memory_size`, a third part between both reads a *memory*, the steps e of another sequence,
    such as the output of an encoder: x" = x' + cross(norm_memory(x')) is in place of x' in the
    second equation. Its queries are q = W_q u + b_q, keys and values [k v] = W_kv e + b_kv; each
    step sees all steps of the memory. Without any step in it the context is 0.

    Self-attention: Vaswani et al., "Attention is all you need" (2017); normalisation in front of
    all parts: Radford et al., "Language models are unsupervised multitask learners" (GPT-2, 2019);
    swiglu: Shazeer, "GLU variants improve Transformer" (2020).

    Parameters
    ----------
    size : int
        Number of inputs and of outputs H.
    heads : int
        Number of heads M of attention, a divisor of H.
    feedforward_size : int, optional
        F, the number of units of the feed-forward part. None: 4 H.
    activation : {"gelu", "gelu_exact", "swiglu", "relu"}, default "gelu"
        φ. "gelu" is the form with tanh, which GPT-2 has, "gelu_exact" the one with the normal
        distribution.
    window, causal, rotary
        As for `SelfAttention`. With ``causal=False`` a step sees later steps too, as in an encoder;
        such a block has no state.
    memory_size : int, optional
        C, the number of features of a memory. None: there is none.
    bias : bool, default True
        Whether the maps have biases. The norms always have.
    dropout : float, default 0.0
        Probability that a weight of attention, or an element of the output of any part, is set to
        0 in training.
    scale : float, default 1.0
        Factor of the initial weights "attention.W_o", "cross.W_o" and "linear2.W". GPT-2 has
        1/√(2L) in a model of L blocks.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters and outputs.
    seed : int, optional
        Seed of the initial weights, which are normal with the standard deviation 0.02, and of
        dropout. None draws a seed.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        "norm1.gain" (H,), "norm1.bias", "attention.W_qkv" (3H, H), "attention.b_qkv",
        "attention.W_o" (H, H), "attention.b_o", "norm2.gain", "norm2.bias", "linear1.W" (F, H),
        "linear1.b", "linear2.W" (H, F), "linear2.b"; with "swiglu" also "gate.W" (F, H) and
        "gate.b"; with a memory also "norm_memory.gain", "norm_memory.bias", "cross.W_q" (H, H),
        "cross.b_q", "cross.W_kv" (2H, C), "cross.b_kv", "cross.W_o" (H, H) and "cross.b_o".
    norm1, attention, norm_memory, cross, norm2, linear1, linear2, gate : layers
        The parts; `gate` is None but with "swiglu", `norm_memory` and `cross` but with a memory.
    receptive_field : int or inf
        W, or infinite.
    seed : int
        The seed that was used.

    Raises
    ------
    ValueError, TypeError
        If `heads` is no divisor of `size`, a memory is asked for with ``causal=False``, or another
        argument is invalid. From `forward` and `stream`, if a block with `memory_size` is given no
        memory.

    See Also
    --------
    SelfAttention : The first part, and what its state is.

    Notes
    -----
    The state is that of the attention, (k, v, steps). With `memory_size` it is
    (k, v, steps, memory, lengths): the memory (B, T_s, C), and the number of its valid steps (B,),
    integers. What lies behind these is not read. k, v and steps may all be None: nothing was read
    before; so may lengths: all T_s steps are valid. Resets and masks do not change the memory, and
    `forward` returns it as it was given. The gradient of a state is (dk, dv, dmemory). A stream
    computes keys and values of the memory once.

    ``tape.attention`` has the weights of self-attention (B, M, T, S + T), ``tape.qkv`` and
    ``tape.context`` as for `SelfAttention`; ``tape.middle`` is x', ``tape.hidden`` (B, T, F) the
    output of φ. With a memory, ``tape.memory_attention`` has the weights of its steps
    (B, M, T, T_s), ``tape.memory_query`` and ``tape.memory_context`` q and the context of that
    part, and ``tape.joined`` is x".

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> blocks = [crnn.TransformerBlock(16, 4, window=8, seed=i) for i in range(2)]
    >>> model = crnn.Sequential([crnn.Embedding(30, 16, seed=2), *blocks, crnn.Dense(16, 30)])
    >>> model(np.zeros((2, 12), int))[0].shape
    (2, 12, 30)

    A block that reads a memory of two rows, the second one of 4 steps:

    >>> block = crnn.TransformerBlock(16, 4, memory_size=6, seed=3)
    >>> state = None, None, None, np.ones((2, 9, 6)), [9, 4]
    >>> y, state, tape = block.forward(np.ones((2, 5, 16)), state)
    >>> tape.memory_attention.shape, tape.memory_attention[1, 0, 0, 4:]
    ((2, 4, 5, 9), array([0., 0., 0., 0., 0.], dtype=float32))
    """

    _leading = ("size", "heads")
    _arguments: ClassVar[tuple[str, ...]] = (
        *_leading,
        "feedforward_size",
        "activation",
        "window",
        "memory_size",
        "causal",
        "rotary",
        "bias",
        "dropout",
        "scale",
        "dtype",
        "seed",
    )
    activation, seed = Fixed[FeedForward](), Fixed[int]()
    dropout, scale = Fixed[float](), Fixed[float]()
    attention, cross = FixedPart[SelfAttention](), FixedPart[CrossAttention | None]()
    norm1, norm2 = FixedPart[LayerNorm](), FixedPart[LayerNorm]()
    norm_memory = FixedPart[LayerNorm | None]()
    linear1, linear2, gate = FixedPart[Dense](), FixedPart[Dense](), FixedPart[Dense | None]()

    def __init__(
        self,
        size: int,
        heads: int,
        *,
        feedforward_size: int | None = None,
        activation: FeedForward = "gelu",
        window: int | None = None,
        memory_size: int | None = None,
        causal: bool = True,
        rotary: bool = True,
        bias: bool = True,
        dropout: float = 0.0,
        scale: float = 1.0,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        if activation not in get_args(FeedForward):
            names = ", ".join(map(repr, get_args(FeedForward)))
            raise ValueError(f"activation: expected one of {names}, got {activation!r:.60}")
        H = check_size("size", size)
        F = 4 * H if feedforward_size is None else check_size("feedforward_size", feedforward_size)
        kind = check_dtype(dtype)
        rotary, bias = check_flag("rotary", rotary), check_flag("bias", bias)
        vars(self).update(
            activation=activation,
            scale=check_positive("scale", scale),
            dropout=check_probability("dropout", dropout),
            seed=check_seed(seed),
        )
        seeds = weights.layer_seeds(self.seed, 8)
        options: dict[str, Any] = {"window": window, "rotary": rotary, "dropout": self.dropout}
        options |= {"causal": check_flag("causal", causal)}
        maps: dict[str, Any] = {"bias": bias, "dtype": kind}
        parts: dict[str, Layer | None] = {
            "attention": SelfAttention(H, heads, seed=seeds[0], **maps, **options),
            "norm1": LayerNorm(H, dtype=kind),
            "norm2": LayerNorm(H, dtype=kind),
            "linear1": Dense(H, F, seed=seeds[1], **maps),
            "linear2": Dense(F, H, seed=seeds[2], **maps),
            "gate": Dense(H, F, seed=seeds[3], **maps) if activation == "swiglu" else None,
            "norm_memory": None,
            "cross": None,
        }
        if memory_size is not None:
            if not causal:
                raise ValueError(
                    f"memory_size: expected None with causal=False, got {memory_size!r:.60}"
                )
            drops: dict[str, Any] = {"dropout": self.dropout, "seed": seeds[6]}
            parts["cross"] = CrossAttention(H, heads, memory_size, **maps, **drops)
            parts["norm_memory"] = LayerNorm(H, dtype=kind)
        vars(self).update(parts)
        self._drop_seeds = [*seeds[4:6], seeds[7]]
        self._draw()

    def _draw(self) -> None:
        """Draw the initial weights."""
        residual = {"attention.W_o", "cross.W_o", "linear2.W"}
        matrices = {name: W for name, W in self.params.items() if W.ndim == 2}
        for stream, (name, W) in enumerate(matrices.items()):
            deviation = DEVIATION * (self.scale if name in residual else 1)
            seed = weights.seed_of_part(self.seed, weights.PARTS_STREAM, stream)
            W[...] = deviation * weights.normal(seed, weights.INPUT_STREAM, W.shape)

    size = property(lambda self: self.attention.size)
    heads = property(lambda self: self.attention.heads)
    window = property(lambda self: self.attention.window)
    memory_size = property(lambda self: self.cross and self.cross.memory_size)
    causal = property(lambda self: self.attention.causal)
    rotary = property(lambda self: self.attention.rotary)
    bias = property(lambda self: self.attention.bias)
    feedforward_size = property(lambda self: self.linear1.output_size)
    dtype = property(lambda self: self.attention.dtype)
    input_size = property(lambda self: self.attention.size)
    output_size = property(lambda self: self.attention.size)
    has_state = property(lambda self: self.attention.has_state)
    reads_backwards = property(lambda self: self.attention.reads_backwards)
    receptive_field = property(lambda self: self.attention.receptive_field)

    _names = ("norm1", "attention", "norm_memory", "cross", "norm2", "gate", "linear1", "linear2")

    @property
    def parts(self) -> dict[str, Layer]:
        """The layers with parameters, by the prefix of the names of these."""
        parts: dict[str, Layer] = {
            name: getattr(self, name) for name in self._names if getattr(self, name) is not None
        }
        return parts

    @property
    def config(self) -> dict[str, Any]:
        return super().config | {"dtype": self.dtype.name}

    def _shown(self) -> dict[str, Any]:
        return self.config

    @classmethod
    def parameter_count(cls, config: Mapping[str, Any]) -> int:
        H, bias = check_size("size", config["size"]), bool(config.get("bias", True))
        F = config.get("feedforward_size")
        F = 4 * H if F is None else check_size("feedforward_size", F)
        gated = config.get("activation") == "swiglu"
        maps = [(H, F)] * (1 + gated) + [(F, H)]
        count = sum(count_of(Dense._shapes(*sizes, bias)) for sizes in maps)
        if config.get("memory_size") is not None:
            cross = CrossAttention._shapes(H, 1, config["memory_size"], bias=bias)
            count += 2 * H + count_of(cross)
        return count + 4 * H + count_of(SelfAttention._shapes(H, bias=bias))

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        H = config["size"]
        return Widths(H, H, counts=bool(config.get("causal", True)))

    watched = ("activation", "dropout", *_names)

    def add_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        classes = {"attention": SelfAttention, "cross": CrossAttention}
        classes |= dict.fromkeys(("norm1", "norm_memory", "norm2"), LayerNorm)
        unchanged = (
            runs_unchanged(part, classes.get(name, Dense)) for name, part in self.parts.items()
        )
        if not runs_unchanged(self, TransformerBlock) or not all(unchanged):
            return None
        return self._nodes(graph, x, number)

    def _describe(self, graph: Graph, x: int, number: int) -> Described:
        def add(part: Any, source: int) -> int:
            nodes = part.add_nodes(graph, source, number)
            if nodes is None:
                raise TypeError(f"expected {part!r:.100} as the block has made it, got one changed")
            return int(nodes.value)

        def drop(source: int, seed: int) -> int:
            return graph.add_drop(source, self.dropout, False, seed, number)

        graph.filled = False
        graph.matches(self.dtype)
        attention = self.attention._describe(graph, add(self.norm1, x), number)
        attended = drop(attention.value, self._drop_seeds[0])
        middle = graph.add("rowwise", (x, attended), ("sum",), None, None)
        names = {name: attention.names[name] for name in ("qkv", "context")} | {"middle": middle}
        shown = dict(attention.weights)
        if self.cross is not None:
            u = add(self.norm_memory, middle)
            query, context, read = self.cross.add(graph, u, number, attention.form)
            read = drop(read, self._drop_seeds[2])
            middle = graph.add("rowwise", (middle, read), ("sum",), None, None)
            names |= {"memory_query": query, "memory_context": context, "joined": middle}
            shown |= {"memory_attention": context}
        hidden = self._add_hidden(graph, add, add(self.norm2, middle))
        fed = drop(add(self.linear2, hidden), self._drop_seeds[1])
        y = graph.add("rowwise", (middle, fed), ("sum",), None, None)
        graph.answer(y)
        return Described(y, attention.form, names | {"hidden": hidden, "y": y}, shown)

    def _add_hidden(self, graph: Graph, add: Any, u: int) -> int:
        """Add φ of the feed-forward part."""
        if self.gate is None:
            operation: tuple[Any, ...] = ("activate", self.activation)
            return graph.add("rowwise", (add(self.linear1, u),), operation, None, None)
        share = graph.add("rowwise", (add(self.gate, u),), ("activate", "silu"), None, None)
        return graph.add("rowwise", (share, add(self.linear1, u)), ("mul",), None, None)
