"""Self-attention, the pre-norm block of Transformers, and positions.

A. Vaswani et al., Attention is all you need, arXiv:1706.03762 (2017); pre-norm: A. Radford et al.,
Language models are unsupervised multitask learners (2019); rotary positions: J. Su et al.,
arXiv:2104.09864 (2021); gated feed-forward parts: N. Shazeer, arXiv:2002.05202 (2020).

Letters: ``M`` heads, ``A`` the width of a head, H = M A, ``W`` the window, ``F`` units of the
feed-forward part, ``T_s`` steps of a memory and ``C`` its features.
"""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from crnn.reference.arrays import Array, Arrays, Integers, Named, Shapes, part
from crnn.reference.attention import softmax
from crnn.reference.pointwise import activate, activate_backward, layer_norm, layer_norm_backward
from crnn.reference.temporal import Part, PartShape, Temporal

ACTIVATIONS = ("gelu", "gelu_exact", "swiglu", "relu")  # of the feed-forward part


@dataclass(eq=False, kw_only=True)
class SelfAttention(Temporal):
    """Self-attention of several heads: each step reads a weighted mean of the steps that it sees.

    ::

        [q k v] = W_qkv x + b_qkv         q and k rotated, if rotary
        p_tr = softmax_r(q_t · k_r / √A)  over max(0, t−W+1) ≤ r ≤ t
        c_t = Σ_r p_tr v_r                for each head, which has A columns of q, k and v
        y = W_o c + b_o

    Rotary positions turn the pair (i, i + A/2) of a head by the angle ``t 10000^(−2i/A)``, t being
    counted from the beginning of the row.

    Parameters
    ----------
    heads : int, default 1
        M, which divides H.
    window : int, optional
        W, the number of steps that a step sees, itself included. None: all before it.
    causal : bool, default True
        Whether a step sees no later step. False: it sees all; such a layer has no window and no
        state.
    rotary : bool, default True
        Whether q and k are rotated; A is even then.

    Methods
    -------
    shapes(size, bias=True)
        Shapes of the parameters.
    weights(tape)
        The weights p.

    Notes
    -----
    The parameters are ``W_qkv (3*H, H)``, ``b_qkv (3*H,)``, ``W_o (H, H)`` and ``b_o (H,)``. The
    state is ``(k, v, steps)``: the rotated keys and the values (B, S, H) of the last S steps, the
    newest last, and the number of steps that each row has read (B,), integers. S is W - 1, without
    a window the largest number of steps that a row knows; of a row that has read fewer steps the
    first entries have no meaning. The gradient of the state is ``(dk, dv)``. The other methods are
    those of `Temporal`.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> attention = crnn.reference.SelfAttention(window=2, rotary=False)
    >>> params = {"W_qkv": np.array([[0.0], [0.0], [1.0]]), "W_o": np.eye(1)}  # means of x
    >>> y, (k, v, steps), tape = attention.forward(params, np.arange(4.0).reshape(1, 4, 1))
    >>> y[0, :, 0], v.ravel(), steps
    (array([0. , 0.5, 1.5, 2.5]), array([3.]), array([4]))
    """

    heads: int = 1
    window: int | None = None
    causal: bool = True
    rotary: bool = True

    def __post_init__(self) -> None:
        if self.window is not None and (self.window < 1 or not self.causal):
            raise ValueError(
                f"window: expected an integer >= 1 in a causal layer, or None; got {self.window} "
                f"with causal={self.causal}"
            )

    def shapes(self, size: int, bias: bool = True) -> Shapes:
        """Return the shapes of the parameters; H is `size`."""
        shapes: Shapes = {"W_qkv": (3 * size, size), "b_qkv": (3 * size,)}
        shapes |= {"W_o": (size, size), "b_o": (size,)}
        return {name: shape for name, shape in shapes.items() if bias or name[0] != "b"}

    def state_shapes(self, w: Named) -> list[PartShape]:
        """Return the shapes of keys, values and the number of steps."""
        each: PartShape = (self.window and self.window - 1, w["W_o"].shape[1])
        return [each, each, ()] if self.causal else []

    def read(self, w: Named, x: Array, *state: Part) -> tuple[Array, list[Part], SimpleNamespace]:
        """Return y (n, H), the keys and values that later steps see, and what backward needs."""
        k_old, v_old, steps = state or (x[:0], x[:0], 0)
        known, t = min(int(steps), len(k_old)), int(steps) + np.arange(len(x))
        k_old, v_old = (in_heads(a[len(a) - known :], self.heads) for a in (k_old, v_old))
        q, k, v = (in_heads(a, self.heads) for a in np.split(linear(w, "qkv", x), 3, axis=1))
        if self.rotary:
            q, k = rotated(q, t), rotated(k, t)
        k, v, seen = np.concatenate([k_old, k]), np.concatenate([v_old, v]), self._seen(known, t)
        c, p = attend(q, k, v, seen)
        keep = 0 if self.window is None else max(len(k) + 1 - self.window, 0)
        kept = SimpleNamespace(x=x, t=t, q=q, k=k, v=v, p=p, c=joined(c), seen=seen, keep=keep)
        end = [joined(k[keep:]), joined(v[keep:]), np.array(int(steps) + len(x))]
        return linear(w, "o", kept.c), end[: len(state)], kept

    def read_backward(
        self, w: Named, dw: Named, kept: SimpleNamespace, dy: Array, dstate: Arrays
    ) -> tuple[Array, Arrays]:
        """Return the gradients of x and of the keys and values of earlier steps."""
        dc = in_heads(linear_backward(w, dw, "o", kept.c, dy), self.heads)
        dq, dk, dv = attend_backward(kept.q, kept.k, kept.v, kept.seen, kept.p, dc)
        for whole, later in zip((dk, dv), dstate, strict=False):  # no state: not causal
            whole[kept.keep :] += in_heads(later, self.heads)
        known = len(dk) - len(dq)
        dstart, dk, dv = [joined(dk[:known]), joined(dv[:known])], dk[known:], dv[known:]
        if self.rotary:
            dq, dk = rotated(dq, -kept.t), rotated(dk, -kept.t)
        dqkv = np.hstack([joined(dq), joined(dk), joined(dv)])
        return linear_backward(w, dw, "qkv", kept.x, dqkv), dstart[: len(dstate)]

    def weights(self, tape: SimpleNamespace) -> Array:
        """Return the weights p (B, M, T, S+T): of the S steps of the initial state, then of x.

        They are 0 where a step is not seen, and for steps that are not read.
        """
        (B, T, _), S = tape.x.shape, tape.state[0].shape[1] if tape.state else 0
        weights = np.zeros((B, self.heads, T, S + T))
        for row, t, kept in zip(tape.reading.rows, tape.reading.times, tape.pieces, strict=True):
            columns = np.append(np.arange(S + len(t) - len(kept.k), S), S + t)
            for step, seen, p in zip(t, kept.seen, kept.p, strict=True):
                weights[row, :, step, columns[seen]] = p.T
        return weights

    def _seen(self, known: int, t: Integers) -> list[slice]:
        """Return the steps that each step sees: the places of their keys, behind `known` others."""
        if not self.causal:
            return [slice(0, len(t)) for _ in t]
        ends = known + 1 + np.arange(len(t))
        return [slice(max(end - (self.window or end), 0), end) for end in ends]


@dataclass(eq=False, kw_only=True)
class TransformerBlock(Temporal):
    """Pre-norm block: self-attention and a feed-forward part, each added to what it reads.

    ::

        x' = x + attention(LN_1 x)
        x" = x' + cross(LN_memory x')              with a memory, else x' itself
        y = x" + linear2(φ(linear1(LN_2 x")))

    linear1, linear2 and gate are maps W u + b. With "swiglu", ``silu(gate(u))∘linear1(u)`` is in
    place of ``φ(linear1(u))``. Cross-attention reads the memory e, the steps of another
    sequence, without a causal bound and without rotation: q = W_q u + b_q, [k v] = W_kv e + b_kv,
    and then the equations of `SelfAttention`. Without a step in the memory its context c is 0.

    Parameters
    ----------
    heads : int, default 1
        M, of self-attention and of cross-attention.
    feedforward_size : int, optional
        F, the width of φ. None: 4 H.
    activation : str, default "gelu"
        φ: "gelu" (with tanh), "gelu_exact", "swiglu" or "relu".
    window : int, optional
        As for `SelfAttention`.
    memory_size : int, optional
        C, the number of features of a memory. None: no cross-attention.
    causal, rotary : bool, default True
        As for `SelfAttention`.

    Methods
    -------
    shapes(size, bias=True)
        Shapes of the parameters.

    Notes
    -----
    The parameters are the gain and the bias (H,) of "norm1.", "norm2." and, with a memory,
    "norm_memory."; those of `SelfAttention` with "attention." in front; ``cross.W_q (H, H)``,
    ``cross.b_q (H,)``, ``cross.W_kv (2*H, C)``, ``cross.b_kv (2*H,)``, ``cross.W_o (H, H)``,
    ``cross.b_o (H,)``; ``linear1.W (F, H)``, ``linear1.b (F,)``, ``linear2.W (H, F)``,
    ``linear2.b (H,)`` and, with "swiglu", ``gate.W (F, H)`` and ``gate.b (F,)``.
    The state is that of `SelfAttention`. A memory (B, T_s, C) and the number of its valid steps
    (B,), integers, follow in the same tuple: ``(k, v, steps, memory, lengths)``. Its gradient is
    ``(dk, dv, dmemory)``. The other methods are those of `Temporal`.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> block = crnn.reference.TransformerBlock(heads=2, activation="swiglu")
    >>> rng = np.random.default_rng(0)
    >>> params = {name: rng.normal(size=shape) for name, shape in block.shapes(4).items()}
    >>> y, (k, v, steps), tape = block.forward(params, rng.normal(size=(1, 3, 4)))
    >>> y.shape, k.shape, steps
    ((1, 3, 4), (1, 3, 4), array([3]))
    """

    heads: int = 1
    feedforward_size: int | None = None
    activation: str = "gelu"
    window: int | None = None
    memory_size: int | None = None
    causal: bool = True
    rotary: bool = True

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation: expected one of {sorted(ACTIVATIONS)}, got {self.activation!r}"
            )
        self.attention = SelfAttention(
            heads=self.heads, window=self.window, causal=self.causal, rotary=self.rotary
        )

    def shapes(self, size: int, bias: bool = True) -> Shapes:
        """Return the shapes of the parameters; H is `size`."""
        H, F, C = size, self.feedforward_size or 4 * size, self.memory_size
        of_norm: Shapes = {"gain": (H,), "bias": (H,)}
        of_cross: Shapes = {"W_q": (H, H), "b_q": (H,), "W_kv": (2 * H, C or 0), "b_kv": (2 * H,)}
        parts: dict[str, Shapes] = {"norm1": of_norm, "attention": self.attention.shapes(H)}
        if C is not None:
            parts |= {"norm_memory": of_norm, "cross": of_cross | {"W_o": (H, H), "b_o": (H,)}}
        parts |= {"norm2": of_norm}
        maps = {"linear1": (F, H), "linear2": (H, F)}
        maps = ({"gate": (F, H)} if self.activation == "swiglu" else {}) | maps
        parts |= {name: {"W": shape, "b": shape[:1]} for name, shape in maps.items()}
        shapes = {f"{name}.{key}": s for name, of in parts.items() for key, s in of.items()}
        return {name: s for name, s in shapes.items() if bias or not is_bias(name)}

    def state_shapes(self, w: Named) -> list[PartShape]:
        """Return the shapes of the state of self-attention."""
        return self.attention.state_shapes(part(w, "attention"))

    def read(self, w: Named, x: Array, *state: Part) -> tuple[Array, list[Part], SimpleNamespace]:
        """Return y (n, H), the keys and values that later steps see, and what backward needs."""
        own, memory = state[: 3 * self.causal], state[3 * self.causal :]
        u = norm(w, "norm1", x)
        context, end, attention = self.attention.read(part(w, "attention"), u, *own)
        x1 = x2 = x + context
        cross = None
        if self.memory_size is not None:
            u = norm(w, "norm_memory", x1)
            context, cross = cross_attention(part(w, "cross"), self.heads, u, *memory)
            x2 = x1 + context
        u = norm(w, "norm2", x2)
        fed, feed = feedforward(w, self.activation, u)
        kept = SimpleNamespace(x=x, attention=attention, x1=x1, cross=cross, x2=x2, feed=feed)
        return x2 + fed, end, kept

    def read_backward(
        self, w: Named, dw: Named, kept: SimpleNamespace, dy: Array, dstate: Arrays
    ) -> tuple[Array, Arrays]:
        """Return the gradients of x, of earlier keys and values, and of the memory."""
        du = feedforward_backward(w, dw, self.activation, kept.feed, dy)
        dx = dy + norm_backward(w, dw, "norm2", kept.x2, du)
        dmemory: Arrays = []
        if kept.cross is not None:
            of, dof = part(w, "cross"), part(dw, "cross")
            du, dmemory = cross_attention_backward(of, dof, kept.cross, dx)
            dx = dx + norm_backward(w, dw, "norm_memory", kept.x1, du)
        of, dof = part(w, "attention"), part(dw, "attention")
        du, dstart = self.attention.read_backward(of, dof, kept.attention, dx, dstate)
        return dx + norm_backward(w, dw, "norm1", kept.x, du), dstart + dmemory


@dataclass(eq=False, kw_only=True)
class Positions(Temporal):
    """Positions: y_t = x_t + P_t, t being counted from the beginning of the row.

    P is learned or, as in Vaswani et al.::

        P_t,2i = sin(t 10000^(−2i/H)),    P_t,2i+1 = cos(t 10000^(−2i/H))

    Parameters
    ----------
    steps : int, optional
        Number of positions. None: any number, with "sinusoidal" alone, which has no parameters.
    kind : str, default "learned"
        "learned" or "sinusoidal".

    Methods
    -------
    shapes(size)
        Shapes of the parameters.

    Notes
    -----
    The parameter of learned positions is ``P (steps, H)``. The state is an array (B,) of integers:
    the number of steps that each row has read. It has no gradient: None. The other methods are
    those of `Temporal`; a row that reads more steps than there are positions is a ValueError.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> positions = crnn.reference.Positions(kind="sinusoidal")
    >>> y, steps, tape = positions.forward({}, np.zeros((1, 3, 2)), np.array([10]))
    >>> y[0].round(2), steps
    (array([[-0.54, -0.84],
           [-1.  ,  0.  ],
           [-0.54,  0.84]]), array([13]))
    """

    steps: int | None = None
    kind: str = "learned"

    def __post_init__(self) -> None:
        if self.kind not in ("learned", "sinusoidal"):
            raise ValueError(f"kind: expected 'learned' or 'sinusoidal', got {self.kind!r}")
        if self.kind == "learned" and self.steps is None:
            raise ValueError("steps: expected an integer for learned positions, got None")

    def shapes(self, size: int) -> Shapes:
        """Return the shapes of the parameters; H is `size`."""
        if self.kind == "sinusoidal" or self.steps is None:
            return {}
        return {"P": (self.steps, size)}

    def state_shapes(self, w: Named) -> list[PartShape]:
        """Return the shape of the number of steps."""
        return [()]

    def read(self, w: Named, x: Array, *state: Part) -> tuple[Array, list[Part], Integers]:
        """Return y (n, H), the number of steps that were read, and the positions."""
        t = int(state[0]) + np.arange(len(x))
        if self.steps is not None and np.any(t >= self.steps):
            raise ValueError(f"x: expected at most {self.steps} steps in a row, got {t[-1] + 1}")
        P = sinusoids(t, x.shape[1]) if self.kind == "sinusoidal" else w["P"][t]
        return x + P, [state[0] + len(x)], t

    def read_backward(
        self, w: Named, dw: Named, kept: Integers, dy: Array, dstate: Arrays
    ) -> tuple[Array, Arrays]:
        """Return the gradient of x."""
        if self.kind == "learned":
            dw["P"][kept] += dy  # the positions of a piece differ from each other
        return dy, []


# --------------------------------------------------------------------------- parts of the layers


def in_heads(a: Array, heads: int) -> Array:
    """Return (n, M*A) as (n, M, A)."""
    return a.reshape(len(a), heads, a.shape[1] // heads)


def joined(a: Array) -> Array:
    """Return (n, M, A) as (n, M*A)."""
    return a.reshape(len(a), a.shape[1] * a.shape[2])


def linear(w: Named, name: str, x: Array) -> Array:
    """Return ``W_name x + b_name``."""
    return affine(w, f"W_{name}", f"b_{name}", x)


def linear_backward(w: Named, dw: Named, name: str, x: Array, dy: Array) -> Array:
    """Add the gradients of the parameters of `linear` to ``dw``, and return dx."""
    return affine_backward(w, dw, f"W_{name}", f"b_{name}", x, dy)


def affine(w: Named, W: str, b: str, x: Array) -> Array:
    """Return ``W x + b`` for the names of W and b; b may be missing."""
    return np.asarray(x @ w[W].T + w.get(b, 0))


def affine_backward(w: Named, dw: Named, W: str, b: str, x: Array, dy: Array) -> Array:
    """Add the gradients of the parameters of `affine` to ``dw``, and return dx."""
    dw[W] += dy.T @ x
    if b in w:
        dw[b] += dy.sum(axis=0)
    return dy @ w[W]


def is_bias(name: str) -> bool:
    """Return whether a parameter is the bias of a map; those of the norms are not."""
    return name.rpartition(".")[2].split("_")[0] == "b"


def norm(w: Named, name: str, x: Array) -> Array:
    """Return the layer normalisation of x with the gain and the bias of this name."""
    return layer_norm(x, w[f"{name}.gain"], w[f"{name}.bias"])


def norm_backward(w: Named, dw: Named, name: str, x: Array, dy: Array) -> Array:
    """Add the gradients of the parameters of `norm` to ``dw``, and return dx."""
    dx, dgain, dbias = layer_norm_backward(x, w[f"{name}.gain"], dy)
    dw[f"{name}.gain"] += dgain
    dw[f"{name}.bias"] += dbias
    return dx


def rotated(a: Array, t: Integers) -> Array:
    """Return a (n, M, A) with the pairs (i, i + A/2) turned by ``t 10000^(−2i/A)``; -t turns back.

    Parameters
    ----------
    a : array (n, M, A)
    t : array (n,) of integers
    """
    A = a.shape[2]
    angle = t[:, None, None] * 10000.0 ** (-2 * np.arange(A // 2) / A)
    one, other = a[..., : A // 2], a[..., A // 2 :]
    turned = (
        one * np.cos(angle) - other * np.sin(angle),
        one * np.sin(angle) + other * np.cos(angle),
    )
    return np.concatenate(turned, axis=2)


def attend(q: Array, k: Array, v: Array, seen: list[slice]) -> tuple[Array, Arrays]:
    """Return the contexts (n, M, A) and the weights (M, steps seen) of each query.

    Parameters
    ----------
    q : array (n, M, A)
    k, v : arrays (m, M, A)
    seen : list of n slices
        The keys that each query sees. Others are not read: a NaN in them has no effect.
    """
    c, p, root = np.zeros_like(q), [], np.sqrt(q.shape[2])
    for query, sees in enumerate(seen):
        scores = np.einsum("ma,rma->mr", q[query], k[sees]) / root
        p.append(softmax(scores, np.ones_like(scores, bool)))
        c[query] = np.einsum("mr,rma->ma", p[query], v[sees])
    return c, p


def attend_backward(
    q: Array, k: Array, v: Array, seen: list[slice], p: Arrays, dc: Array
) -> tuple[Array, Array, Array]:
    """Return dq, dk and dv of `attend`."""
    dq, dk, dv, root = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v), np.sqrt(q.shape[2])
    for query, sees in enumerate(seen):
        dp = np.einsum("ma,rma->mr", dc[query], v[sees])
        ds = p[query] * (dp - np.sum(p[query] * dp, axis=1, keepdims=True)) / root
        dq[query] = np.einsum("mr,rma->ma", ds, k[sees])
        dk[sees] += np.einsum("mr,ma->rma", ds, q[query])
        dv[sees] += np.einsum("mr,ma->rma", p[query], dc[query])
    return dq, dk, dv


def cross_attention(w: Named, heads: int, x: Array, *memory: Part) -> tuple[Array, SimpleNamespace]:
    """Return y (n, H) of queries computed from x, over a memory: (T_s, C), and its valid steps."""
    steps, length = memory or (np.zeros((0, w["W_kv"].shape[1])), 0)
    q, e = in_heads(linear(w, "q", x), heads), steps[: int(length)]
    k, v = (in_heads(a, heads) for a in np.split(linear(w, "kv", e), 2, axis=1))
    c, p = attend(q, k, v, [slice(None)] * len(q))
    kept = SimpleNamespace(x=x, memory=memory, e=e, q=q, k=k, v=v, p=p, c=joined(c))
    return linear(w, "o", kept.c), kept


def cross_attention_backward(
    w: Named, dw: Named, kept: SimpleNamespace, dy: Array
) -> tuple[Array, Arrays]:
    """Return dx and dmemory (none without a memory), and add those of the parameters to ``dw``."""
    dc = in_heads(linear_backward(w, dw, "o", kept.c, dy), kept.q.shape[1])
    seen = [slice(None)] * len(dc)
    dq, dk, dv = attend_backward(kept.q, kept.k, kept.v, seen, kept.p, dc)
    dmemory = [np.zeros(steps.shape) for steps in kept.memory[:1]]
    de = linear_backward(w, dw, "kv", kept.e, np.hstack([joined(dk), joined(dv)]))
    for dsteps in dmemory:
        dsteps[: len(de)] = de
    return linear_backward(w, dw, "q", kept.x, joined(dq)), dmemory


def feedforward(w: Named, name: str, u: Array) -> tuple[Array, SimpleNamespace]:
    """Return linear2(φ(linear1(u))), gated with "swiglu", and what backward needs."""
    h = affine(w, "linear1.W", "linear1.b", u)
    gate = affine(w, "gate.W", "gate.b", u) if name == "swiglu" else None
    f = activate(name, h) if gate is None else activate("silu", gate) * h
    return affine(w, "linear2.W", "linear2.b", f), SimpleNamespace(u=u, h=h, gate=gate, f=f)


def feedforward_backward(w: Named, dw: Named, name: str, kept: SimpleNamespace, dy: Array) -> Array:
    """Add the gradients of the parameters of `feedforward` to ``dw``, and return du."""
    df = affine_backward(w, dw, "linear2.W", "linear2.b", kept.f, dy)
    if kept.gate is None:
        dh = activate_backward(name, kept.h, df)
        return affine_backward(w, dw, "linear1.W", "linear1.b", kept.u, dh)
    dgate = activate_backward("silu", kept.gate, df * kept.h)
    du = affine_backward(w, dw, "gate.W", "gate.b", kept.u, dgate)
    dh = df * activate("silu", kept.gate)
    return du + affine_backward(w, dw, "linear1.W", "linear1.b", kept.u, dh)


def sinusoids(t: Integers, size: int) -> Array:
    """Return the sinusoidal positions (n, H) of the steps t (n,)."""
    angle = t[:, None] * 10000.0 ** (-2 * (np.arange(size) // 2) / size)
    return np.where(np.arange(size) % 2, np.cos(angle), np.sin(angle))
