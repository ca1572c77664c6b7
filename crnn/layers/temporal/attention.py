"""Self-attention of several heads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from numpy.typing import DTypeLike

from crnn.common.checks import (
    check_dtype,
    check_flag,
    check_probability,
    check_product,
    check_seed,
    check_size,
)
from crnn.layers.base import weights
from crnn.layers.base.attributes import Fixed
from crnn.layers.base.buffer import InOneBuffer, Shapes, transposed
from crnn.layers.base.description import Widths
from crnn.layers.base.nodes import Graph, Nodes, runs_unchanged
from crnn.layers.temporal.base import CoreTemporal, Described

#: Base of the angles of rotary positions.
ROTARY = 10000.0


class SelfAttention(CoreTemporal, InOneBuffer):
    """Causal self-attention of several heads: each step reads itself and steps before it.

    With [q k v] = W_qkv x + b_qkv, each head has A = H/M features of q, of k and of v:

        s_tr = q_t · k_r / √A;   p_tr = softmax over r of s_tr;   c_t = Σ_r p_tr v_r

    and y = W_o c + b_o for the contexts c of all heads: Vaswani et al., "Attention is all you need"
    (2017). Only steps that are read count; what a step does not see is not computed.

    Parameters
    ----------
    size : int
        Number of inputs and of outputs H.
    heads : int
        M, a divisor of H.
    window : int, optional
        W: a step sees itself and the W - 1 steps before it. None: all steps before it.
    causal : bool, default True
        False: a step sees all steps of its row, later ones too; there is no window and no state.
    rotary : bool, default True
        Whether q and k are rotated by angles that grow with the position (Su et al., "RoFormer",
        2021): a score then depends on the distance of both steps. The pair (i, i + A/2) of a head
        turns by t 10000^(-2i/A) at step t of its row; A is even.
    bias : bool, default True
        Whether the maps have biases.
    dropout : float, default 0.0
        Probability that a weight p_tr is set to 0 in training; others are divided by 1 - dropout.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters and outputs.
    seed : int, optional
        Seed of the initial weights, which are uniform (Glorot and Bengio, 2010), and of dropout.
        None draws a seed.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        W_qkv (3H, H), the rows of q first, b_qkv (3H,), W_o (H, H) and b_o (H,). The initial biases
        are 0.
    flat_params, flat_grads : ndarray
        The same numbers as one vector each; assigning copies into it.
    receptive_field : int or inf
        W, or infinite.
    seed : int
        The seed that was used.

    Raises
    ------
    ValueError, TypeError
        If `heads` is no divisor of `size`, `window` is below 1, H/M is odd with `rotary`, a window
        is given without `causal`, or another argument is invalid.

    Notes
    -----
    The state is the tuple (k, v, steps): keys, rotated, and values (B, S, H) of the last S steps of
    each row, the newest last, and the number of steps that each row has read, integers (B,). S is
    W - 1, or without a window at least the largest number of steps that a row has read. Slots for
    steps that do not exist have no meaning. The gradient of a state is (dk, dv). Chunks of a
    sequence, with the state passed on, give the bits of the whole; so does a stream, whose memory
    is a ring of W - 1 steps with a window.

    ``tape.attention`` has the weights p (B, M, T, S + T), before dropout; columns are the steps of
    the initial state, then those of x. It is computed when it is asked for. ``tape.qkv`` (B, T, 3H)
    and ``tape.context`` (B, T, H) are values of the steps; q and k are not rotated there.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer = crnn.SelfAttention(8, 2, window=4, seed=0)
    >>> y, (k, v, steps), tape = layer.forward(np.ones((1, 6, 8)))
    >>> y.shape, k.shape, steps
    ((1, 6, 8), (1, 3, 8), array([6]))
    >>> tape.attention[0, 0].sum(axis=1).round(5)
    array([1., 1., 1., 1., 1., 1.], dtype=float32)
    """

    _leading = ("size", "heads")
    _arguments: ClassVar[tuple[str, ...]] = (
        *_leading,
        "window",
        "causal",
        "rotary",
        "bias",
        "dropout",
        "dtype",
        "seed",
    )
    size, heads, seed = Fixed[int](), Fixed[int](), Fixed[int]()
    window, dropout = Fixed[int | None](), Fixed[float]()
    causal, rotary, bias = Fixed[bool](), Fixed[bool](), Fixed[bool]()

    def __init__(
        self,
        size: int,
        heads: int,
        *,
        window: int | None = None,
        causal: bool = True,
        rotary: bool = True,
        bias: bool = True,
        dropout: float = 0.0,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        shapes = self._shapes(size, bias=check_flag("bias", bias))
        given = {"causal": causal, "rotary": rotary, "bias": bias}
        vars(self).update({name: check_flag(name, value) for name, value in given.items()})
        vars(self).update(size=check_size("size", size), heads=check_size("heads", heads))
        if self.size % self.heads:
            raise ValueError(f"heads: expected a divisor of size={self.size}, got {self.heads}")
        vars(self)["window"] = None if window is None else check_size("window", window)
        if not self.causal and self.window is not None:
            raise ValueError(f"window: expected None with causal=False, got {self.window}")
        if self.rotary and self.size // self.heads % 2:
            raise ValueError(
                f"heads: expected an even number of features for each head with rotary=True, got "
                f"{self.size // self.heads}: {self.size} features for {self.heads} heads"
            )
        vars(self).update(dropout=check_probability("dropout", dropout), seed=check_seed(seed))
        self._lay_out(shapes, check_dtype(dtype))
        streams = weights.INPUT_STREAM, weights.PROJECTION_STREAM
        for name, stream in zip(("W_qkv", "W_o"), streams, strict=True):
            H = self.size
            self.params[name] = weights.glorot_uniform(self.seed, stream, shapes[name], H, H)

    @classmethod
    def _shapes(cls, size: int, *, bias: bool = True, **_: Any) -> Shapes:
        H = check_size("size", size)
        check_product("size, size", 4, H, H)
        matrices: Shapes = {"W_qkv": (3 * H, H), "W_o": (H, H)}
        if not bias:
            return matrices
        return {"W_qkv": (3 * H, H), "b_qkv": (3 * H,), "W_o": (H, H), "b_o": (H,)}

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        H = config["size"]
        return Widths(H, H, counts=bool(config.get("causal", True)))

    input_size = property(lambda self: self.size)
    output_size = property(lambda self: self.size)
    has_state = property(lambda self: self.causal)
    reads_backwards = property(lambda self: not self.causal)

    @property
    def receptive_field(self) -> float:
        """Number of steps of x on which a step of y depends: W, or infinite."""
        return math.inf if self.window is None else self.window

    watched = (*InOneBuffer.watched, "heads", "window", "causal", "rotary", "dropout", "seed")

    def add_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        return self._nodes(graph, x, number) if runs_unchanged(self, SelfAttention) else None

    def _describe(self, graph: Graph, x: int, number: int) -> Described:
        qkv = self._add_map(graph, x, "qkv")
        angles = ROTARY if self.rotary else 0.0
        options = self.heads, self.window or 0, not self.causal, angles
        heads = graph.add("heads", (qkv,), *options, self.dropout, self.seed, number, False)
        y = self._add_map(graph, heads, "o")
        graph.answer(y)
        names = {"qkv": qkv, "context": heads, "y": y}
        return Described(y, heads if self.causal else None, names, {"attention": heads})

    def _add_map(self, graph: Graph, x: int, name: str) -> int:
        """Add the map W_name x + b_name."""
        params, grads = self._flat.param_views, self._flat.trained_views(self._frozen)
        W, b = f"W_{name}", f"b_{name}"
        arrays = params[W].T, params.get(b), transposed(grads.get(W)), grads.get(b)
        return graph.add("sum", (x,), *arrays)
