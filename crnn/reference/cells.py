"""The recurrent cells in plain NumPy: a textbook to read, and the expected values of the tests.

A recurrent layer is a *cell*, a few lines of mathematics for one step, inside a *recurrence*, the
loop over time. `Cell` (recurrence.py) is the recurrence, written once; its subclasses `RNN`,
`LSTM`, `GRU` and `JANET` are the cells, each with its step forward and its step backward.

Letters: ``B`` sequences in a batch, ``T`` steps, ``I`` inputs, ``H`` hidden units, ``G`` gates,
``K`` classes. σ is the logistic function, ∘ the elementwise product; a prime marks the value after
the step (``h`` becomes ``h'``). Each row of an array is one sequence, so ``W h`` of the equations
is ``h @ W.T`` in the code. ``s`` is the sum that a gate's activation is applied to: ``s.i`` is
W_xi x + W_hi h + b_i (sums.py). ``v`` holds the values of a step: ``v.i`` is the gate i. A name
that begins with ``d`` is a derivative of the loss L: ``dh`` is ∂L/∂h; ``v.ds`` holds the
derivatives of the sums, gate by gate.

``read`` is what W_h multiplies in place of h: ``m∘h`` with m, the mask of recurrent dropout; with
`delays` those of the earlier steps side by side. Without options ``read`` is h; an absent parameter
is 0 (a peephole ``p_i``) or the identity (``W_p``); and ``normed`` returns its argument.

Everything is computed in float64, and nothing is optimised. Arguments are not checked here: the
layers do that.

    >>> import numpy as np
    >>> cell, rng = LSTM(), np.random.default_rng(0)
    >>> params = {name: rng.normal(size=shape) for name, shape in cell.shapes(3, 5).items()}
    >>> y, (h, c), tape = cell.forward(params, rng.normal(size=(2, 4, 3)), lengths=[4, 2])
    >>> y.shape, c.shape, tape.gates["f"].shape
    ((2, 4, 5), (2, 5), (2, 4, 5))
    >>> dx, (dh, dc), grads = cell.backward(params, tape, np.ones_like(y))
    >>> dx.shape, grads["W_h"].shape
    ((2, 4, 3), (20, 5))
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from crnn.reference.activations import activation, sigmoid
from crnn.reference.arrays import Array, Arrays, Blocks, Integers, Shapes
from crnn.reference.drops import NOISE, Draws
from crnn.reference.recurrence import Back, Cell, Step
from crnn.reference.sums import (
    normed,
    normed_backward,
    product,
    product_backward,
    sums,
    sums_backward,
)


@dataclass(eq=False)
class RNN(Cell):
    """The simple recurrent network, ``h' = (1−a)∘h + a∘φ(W_x x + W_h h + b)`` with φ = tanh, a = 1.

    J. L. Elman, Finding structure in time, Cognitive Science 14 (1990); with a leak a < 1: H.
    Jaeger, The echo state approach to analysing and training recurrent neural networks, GMD report
    148 (2001). ``gates["h"]`` is φ(·).

    Parameters
    ----------
    activation : str, default "tanh"
        φ: "tanh", "sigmoid", "hard_sigmoid", "softsign", "relu" or "identity".
    leak : float or sequence of H floats, optional
        a, if it is fixed. None: 1.
    learn_leak : bool, default False
        Make the leak a parameter: a = σ(l), and l (H,) is the parameter "leak".
    noise : float, default 0.0
        In training, numbers that are uniform in (-noise, noise) are added to the sum inside φ.
    layer_norm : bool, default False
        Normalise the sums of the gates: see `crnn.reference.sums`.
    clip : float, optional
        Limit the sum of each gate to [-clip, clip] before the activation. None: no limit.
    learn_state : bool, default False
        Make the initial state a parameter, h0.
    delays : int or tuple of int, default 1
        Delays of the recurrent sum: see `crnn.reference.Cell`.
    recurrent_dropout : float, default 0.0
        Probability that a unit of h is 0 in products with W_h, for all steps of a row.
    zoneout : float, default 0.0
        Probability that a unit keeps its old state in a step.
    weight_drop : float, default 0.0
        Probability that an entry of W_h is 0 during a call.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer, x = crnn.RNN(3, 5, dtype="float64", seed=0), np.ones((2, 4, 3))
    >>> y, h, tape = crnn.reference.RNN().forward(layer.params, x)
    >>> y.shape, np.allclose(y, layer(x)[0])
    ((2, 4, 5), True)
    """

    activation: str = "tanh"
    leak: float | Sequence[float] | None = None
    learn_leak: bool = False
    noise: float = 0.0

    gate_order = ("h",)
    state_names = ("h",)

    def __post_init__(self) -> None:
        self.phi = activation(self.activation, self.clip)

    def sizes(self, input_size: int, hidden_size: int) -> Shapes:
        leak: Shapes = {"leak": (hidden_size,)} if self.learn_leak else {}
        return super().sizes(input_size, hidden_size) | leak

    def rate(self, w: Blocks) -> Array:
        """Return a: one number, or one for each unit."""
        if self.learn_leak:
            return sigmoid(w.leak)
        return np.asarray(1.0 if self.leak is None else self.leak)

    def noise_of(self, draws: Draws, row: Integers, step: Integers, H: int) -> Array:
        unit = np.arange(H)
        return self.noise * draws.uniform(NOISE, row[:, None, None], np.c_[step], unit)

    def step(self, w: Blocks, x: Array, state: Arrays, read: Array) -> tuple[Blocks, Arrays]:
        """Apply the equation above."""
        (h,) = state
        s = sums(w, self.gate_order, x, read)
        g, a = self.phi(s.h + w.noise), self.rate(w)
        return Blocks(h=g), [(1 - a) * h + a * g]

    def step_backward(self, w: Blocks, dw: Blocks, step: Step, dstate: Arrays) -> Back:
        """Differentiate the equation above."""
        x, (h,), read, v, (dh,) = step.x, step.state, step.read, step.values, dstate
        a = self.rate(w)
        if self.learn_leak:
            dw.leak += a * (1 - a) * (dh * (v.h - h)).sum(axis=0)
        v.ds = {"h": a * dh * self.phi.slope(v.h)}
        dx, dread = sums_backward(w, dw, v.ds, x, read)
        return dx, [(1 - a) * dh], dread


@dataclass(eq=False)
class LSTM(Cell):
    """Long short-term memory: a step scales the cell state c and adds to it.

    ::

        i = σ(W_xi x + W_hi h + b_i + p_i∘c)      input gate
        f = σ(W_xf x + W_hf h + b_f + p_f∘c)      forget gate; 1 − i if coupled
        g = φ(W_xg x + W_hg h + b_g)              candidate
        c' = f∘c + i∘g
        o = σ(W_xo x + W_ho h + b_o + p_o∘c')     output gate
        h' = W_p (o∘φ_h(c'))

    with φ = φ_h = tanh by default. With layer normalisation φ_h(gain_c∘N(c') + b_c) replaces
    φ_h(c'). Without the options the peepholes p are 0, and W_p is the identity.

    S. Hochreiter, J. Schmidhuber, Long short-term memory, Neural Computation 9 (1997), with the
    forget gate of F. Gers, J. Schmidhuber, F. Cummins, Learning to forget, Neural Computation 12
    (2000), the peepholes of F. Gers, J. Schmidhuber, Recurrent nets that time and count, IJCNN
    (2000), and the projection of H. Sak, A. Senior, F. Beaufays, arXiv:1402.1128 (2014). Coupling:
    K. Greff et al., LSTM: a search space odyssey, arXiv:1503.04069 (2015).

    Parameters
    ----------
    recurrent_activation : str, default "sigmoid"
        σ: "tanh", "sigmoid", "hard_sigmoid", "softsign", "relu" or "identity".
    activation : str, default "tanh"
        φ: one of the same.
    output_activation : str, default "tanh"
        φ_h: one of the same.
    peepholes : bool, default False
        Whether the gates read the cell state: p_i, p_f and p_o (H,) are parameters.
    coupled : bool, default False
        Set f = 1 − i; the gates are then i, g and o.
    proj_size : int, optional
        P: h' is projected to this width by W_p (P, H). None: no projection.
    layer_norm : bool, default False
        Normalise the sums of the gates: see `crnn.reference.sums`.
    clip : float, optional
        Limit the sum of each gate to [-clip, clip] before the activation. None: no limit.
    learn_state : bool, default False
        Make the initial state a parameter, h0 and c0.
    delays : int or tuple of int, default 1
        Delays of the recurrent sum: see `crnn.reference.Cell`.
    recurrent_dropout : float, default 0.0
        Probability that a unit of h is 0 in products with W_h, for all steps of a row.
    zoneout : float or (float, float), default 0.0
        Probability that a unit keeps its old state in a step; a pair holds those of h and c.
    weight_drop : float, default 0.0
        Probability that an entry of W_h is 0 during a call.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer, x = crnn.LSTM(3, 5, dtype="float64", seed=0), np.ones((2, 4, 3))
    >>> y, (h, c), tape = crnn.reference.LSTM().forward(layer.params, x)
    >>> tape.gates["f"].shape, np.allclose(y, layer(x)[0])
    ((2, 4, 5), True)
    """

    recurrent_activation: str = "sigmoid"
    activation: str = "tanh"
    output_activation: str = "tanh"
    peepholes: bool = False
    coupled: bool = False
    proj_size: int | None = None

    gate_order: tuple[str, ...] = field(default=("i", "f", "g", "o"), init=False, repr=False)
    state_names = ("h", "c")

    def __post_init__(self) -> None:
        if self.coupled:
            self.gate_order = ("i", "g", "o")
        self.sigma = activation(self.recurrent_activation, self.clip)
        self.phi = activation(self.activation, self.clip)
        self.phi_h = activation(self.output_activation)
        self.peephole_names = tuple("p_" + gate for gate in self.gate_order if gate != "g")

    def state_sizes(self, hidden_size: int) -> list[int]:
        return [self.proj_size or hidden_size, hidden_size]

    def sizes(self, input_size: int, hidden_size: int) -> Shapes:
        sizes = super().sizes(input_size, hidden_size)
        sizes |= dict.fromkeys((*self.peephole_names, "b_c"), (hidden_size,))
        sizes |= {"gain_c": (hidden_size,)} if self.layer_norm else {}
        return sizes | ({"W_p": (self.proj_size, hidden_size)} if self.proj_size else {})

    def absent(self, bias: bool) -> set[str]:
        absent = super().absent(bias) | (set() if self.peepholes else set(self.peephole_names))
        return absent | (set() if self.layer_norm else {"b_c"})

    def step(self, w: Blocks, x: Array, state: Arrays, read: Array) -> tuple[Blocks, Arrays]:
        """Apply the equations above."""
        _, c = state
        s = sums(w, self.gate_order, x, read)
        i = self.sigma(s.i + w.p_i * c)
        f = 1 - i if self.coupled else self.sigma(s.f + w.p_f * c)
        g = self.phi(s.g)
        c_new = f * c + i * g
        o = self.sigma(s.o + w.p_o * c_new)
        (normed_c,) = normed(w, ["gain_c"], c_new)
        squashed = self.phi_h(normed_c + w.b_c)
        h_new = (o * squashed) @ w.W_p.T if self.proj_size else o * squashed
        return Blocks(i=i, f=f, g=g, o=o, c=c_new, squashed=squashed), [h_new, c_new]

    def step_backward(self, w: Blocks, dw: Blocks, step: Step, dstate: Arrays) -> Back:
        """Differentiate the equations above."""
        x, (_, c), read, v, (dh, dc) = step.x, step.state, step.read, step.values, dstate
        dh_new = dh
        if self.proj_size:
            dw.W_p += dh.T @ (v.o * v.squashed)
            dh = dh @ w.W_p
        ds_o = dh * v.squashed * self.sigma.slope(v.o)
        ds_c = dh * v.o * self.phi_h.slope(v.squashed)
        dw.b_c += ds_c.sum(axis=0)
        (through_h,) = normed_backward(w, dw, ["gain_c"], [ds_c], v.c)
        dc += through_h + ds_o * w.p_o  # total derivative: h' depends on c', too

        di, df = dc * v.g, dc * c
        if self.coupled:
            ds = {"i": (di - df) * self.sigma.slope(v.i)}
        else:
            ds = {"i": di * self.sigma.slope(v.i), "f": df * self.sigma.slope(v.f)}
        dc_old = dc * v.f
        for gate, ds_gate in ds.items():
            dc_old += ds_gate * vars(w)["p_" + gate]
            vars(dw)["p_" + gate] += (ds_gate * c).sum(axis=0)
        dw.p_o += (ds_o * v.c).sum(axis=0)
        v.ds = ds | {"g": dc * v.i * self.phi.slope(v.g), "o": ds_o}
        dx, dread = sums_backward(w, dw, v.ds, x, read)
        return dx, [np.zeros_like(dh_new), dc_old], dread


@dataclass(eq=False)
class GRU(Cell):
    """The gated recurrent unit: z = 1 takes the new candidate, z = 0 keeps the old state.

    ::

        r = σ(W_xr x + W_hr h + b_r)                reset gate
        z = σ(W_xz x + W_hz h + b_z)                update gate
        n = φ(W_xn x + b_n + r∘(W_hn h + b_hn))     candidate, reset="after" the product
        n = φ(W_xn x + W_hn (r∘h) + b_n)            candidate, reset="before" the product
        h' = (1−z)∘h + z∘n

    with φ = tanh by default. With layer normalisation the sums of r and z are normalised together,
    those of n separately.

    K. Cho et al., Learning phrase representations using RNN encoder-decoder, arXiv:1406.1078
    (2014): version 1 resets after the product, version 3 before it. The meaning of z is that of
    J. Chung et al., Empirical evaluation of gated recurrent neural networks, arXiv:1412.3555
    (2014).

    Parameters
    ----------
    reset : {"after", "before"}, default "after"
        Whether r multiplies h after or before the product with W_hn. Only "after" has b_hn (H,).
    recurrent_activation : str, default "sigmoid"
        σ: "tanh", "sigmoid", "hard_sigmoid", "softsign", "relu" or "identity".
    activation : str, default "tanh"
        φ: one of the same.
    layer_norm : bool, default False
        Normalise the sums of the gates: see `crnn.reference.sums`.
    clip : float, optional
        Limit the sum of each gate to [-clip, clip] before the activation. None: no limit.
    learn_state : bool, default False
        Make the initial state a parameter, h0.
    delays : int or tuple of int, default 1
        Delays of the recurrent sum: see `crnn.reference.Cell`.
    recurrent_dropout : float, default 0.0
        Probability that a unit of h is 0 in products with W_h, for all steps of a row.
    zoneout : float, default 0.0
        Probability that a unit keeps its old state in a step.
    weight_drop : float, default 0.0
        Probability that an entry of W_h is 0 during a call.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer, x = crnn.GRU(3, 5, dtype="float64", seed=0), np.ones((2, 4, 3))
    >>> y, h, tape = crnn.reference.GRU().forward(layer.params, x)
    >>> tape.gates["z"].shape, np.allclose(y, layer(x)[0])
    ((2, 4, 5), True)
    """

    reset: str = "after"
    recurrent_activation: str = "sigmoid"
    activation: str = "tanh"

    gate_order = ("r", "z", "n")
    state_names = ("h",)

    def __post_init__(self) -> None:
        if self.reset not in ("after", "before"):
            raise ValueError(f"reset: expected 'after' or 'before', got {self.reset!r}")
        self.sigma = activation(self.recurrent_activation, self.clip)
        self.phi = activation(self.activation, self.clip)

    def sizes(self, input_size: int, hidden_size: int) -> Shapes:
        b_hn: Shapes = {"b_hn": (hidden_size,)} if self.reset == "after" else {}
        return super().sizes(input_size, hidden_size) | b_hn

    def step(self, w: Blocks, x: Array, state: Arrays, read: Array) -> tuple[Blocks, Arrays]:
        """Apply the equations above."""
        (h,) = state
        s = sums(w, ["r", "z"], x, read)
        r, z = self.sigma(s.r), self.sigma(s.z)
        if self.reset == "after":
            u = product(w, "h", ["n"], read).n + w.b_hn
            n = self.phi(product(w, "x", ["n"], x).n + w.b_n + r * u)
        else:
            u = read  # u is the factor of r, also here
            n = self.phi(sums(w, ["n"], x, self.repeated(r, u) * u).n)
        return Blocks(r=r, z=z, n=n, u=u), [(1 - z) * h + z * n]

    def step_backward(self, w: Blocks, dw: Blocks, step: Step, dstate: Arrays) -> Back:
        """Differentiate the equations above."""
        x, (h,), read, v, (dh,) = step.x, step.state, step.read, step.values, dstate
        ds_n = dh * v.z * self.phi.slope(v.n)
        if self.reset == "after":
            dr, du = ds_n * v.u, ds_n * v.r
            dw.b_n += ds_n.sum(axis=0)
            dw.b_hn += du.sum(axis=0)
            dx_n = product_backward(w, dw, "x", {"n": ds_n}, x)
            dread_n = product_backward(w, dw, "h", {"n": du}, read)
        else:
            r = self.repeated(v.r, v.u)
            dx_n, dru = sums_backward(w, dw, {"n": ds_n}, x, r * v.u)
            dr = (dru * v.u).reshape(len(h), -1, h.shape[1]).sum(axis=1)
            dread_n = dru * r
        ds = {"r": dr * self.sigma.slope(v.r), "z": dh * (v.n - h) * self.sigma.slope(v.z)}
        dx_rz, dread_rz = sums_backward(w, dw, ds, x, read)
        v.ds = ds | {"n": ds_n}
        return dx_n + dx_rz, [dh * (1 - v.z)], dread_n + dread_rz

    @staticmethod
    def repeated(r: Array, read: Array) -> Array:
        """Return r side by side as often as there are delays."""
        return np.tile(r, (1, read.shape[1] // r.shape[1]))


@dataclass(eq=False)
class JANET(Cell):
    """Just another network: an LSTM that has only the forget gate.

    ::

        s = W_xf x + W_hf h + b_f
        g = tanh(W_xg x + W_hg h + b_g)
        h' = σ(s)∘h + (1−σ(s−β))∘g

    With β > 0 a step adds more than it forgets. ``gates["f"]`` is σ(s).

    J. van der Westhuizen, J. Lasenby, The unreasonable effectiveness of the forget gate,
    arXiv:1804.04849 (2018).

    Parameters
    ----------
    beta : float, default 1.0
        β.
    layer_norm : bool, default False
        Normalise the sums of the gates: see `crnn.reference.sums`.
    clip : float, optional
        Limit the sum of each gate to [-clip, clip] before the activation. None: no limit.
    learn_state : bool, default False
        Make the initial state a parameter, h0.
    delays : int or tuple of int, default 1
        Delays of the recurrent sum: see `crnn.reference.Cell`.
    recurrent_dropout : float, default 0.0
        Probability that a unit of h is 0 in products with W_h, for all steps of a row.
    zoneout : float, default 0.0
        Probability that a unit keeps its old state in a step.
    weight_drop : float, default 0.0
        Probability that an entry of W_h is 0 during a call.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer, x = crnn.JANET(3, 5, dtype="float64", seed=0), np.ones((2, 4, 3))
    >>> y, h, tape = crnn.reference.JANET().forward(layer.params, x)
    >>> tape.gates["f"].shape, np.allclose(y, layer(x)[0])
    ((2, 4, 5), True)
    """

    beta: float = 1.0

    gate_order = ("f", "g")
    state_names = ("h",)

    def __post_init__(self) -> None:
        self.phi = activation("tanh", self.clip)

    def step(self, w: Blocks, x: Array, state: Arrays, read: Array) -> tuple[Blocks, Arrays]:
        """Apply the equations above."""
        (h,) = state
        s = sums(w, self.gate_order, x, read)
        s_f = s.f if self.clip is None else np.clip(s.f, -self.clip, self.clip)
        f, i = sigmoid(s_f), sigmoid(self.beta - s_f)  # i = 1 − σ(s−β)
        g = self.phi(s.g)
        return Blocks(f=f, g=g, i=i, s_f=s_f), [f * h + i * g]

    def step_backward(self, w: Blocks, dw: Blocks, step: Step, dstate: Arrays) -> Back:
        """Differentiate the equations above."""
        x, (h,), read, v, (dh,) = step.x, step.state, step.read, step.values, dstate
        ds_f = dh * (h * v.f * (1 - v.f) - v.g * v.i * (1 - v.i))
        if self.clip is not None:
            ds_f *= np.abs(v.s_f) < self.clip
        v.ds = {"f": ds_f, "g": dh * v.i * self.phi.slope(v.g)}
        dx, dread = sums_backward(w, dw, v.ds, x, read)
        return dx, [dh * v.f], dread
