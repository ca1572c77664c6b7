"""Cells without W_h: no sum depends on h, so the sums of all steps are a single product.

The notation is that of `crnn.reference.cells`.
"""

from dataclasses import dataclass

import numpy as np

from crnn.reference.activations import activation, sigmoid
from crnn.reference.arrays import Array, Arrays, Blocks
from crnn.reference.recurrence import Back, Cell, Step
from crnn.reference.sums import sums, sums_backward


@dataclass(eq=False)
class MinGRU(Cell):
    """The minimal gated recurrent unit: a GRU without r and without W_h.

    ::

        z = σ(W_xz x + b_z)         update gate
        n = φ(W_xn x + b_n)         candidate
        h' = (1−z)∘h + z∘n

    L. Feng, F. Tung, M. O. Ahmed, Y. Bengio, H. Hajimirsadeghi, Were RNNs all we needed?,
    arXiv:2410.01201 (2024), section 3.1, with φ the identity.

    Parameters
    ----------
    recurrent_activation : str, default "sigmoid"
        σ: "tanh", "sigmoid", "hard_sigmoid", "softsign", "relu" or "identity".
    activation : str, default "identity"
        φ: one of the same.
    layer_norm : bool, default False
        Normalise the sums of the gates: see `crnn.reference.sums`.
    clip : float, optional
        Limit the sum of each gate to [-clip, clip] before the activation. None: no limit.
    learn_state : bool, default False
        Make the initial state a parameter, h0.
    delays : int, default 1
        Steps from the state h to the step that reads it.
    recurrent_dropout, weight_drop : float, default 0.0
        Without effect, because there is no W_h.
    zoneout : float, default 0.0
        Probability that a unit keeps its old state in a step.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer, x = crnn.MinGRU(3, 5, dtype="float64", seed=0), np.ones((2, 4, 3))
    >>> y, h, tape = crnn.reference.MinGRU().forward(layer.params, x)
    >>> tape.gates["z"].shape, np.allclose(y, layer(x)[0])
    ((2, 4, 5), True)
    """

    recurrent_activation: str = "sigmoid"
    activation: str = "identity"

    gate_order = ("z", "n")
    state_names = ("h",)
    multiplies_h = False

    def __post_init__(self) -> None:
        self.sigma = activation(self.recurrent_activation, self.clip)
        self.phi = activation(self.activation, self.clip)

    def step(self, w: Blocks, x: Array, state: Arrays, read: Array) -> tuple[Blocks, Arrays]:
        """Apply the equations above."""
        (h,) = state
        s = sums(w, self.gate_order, x)
        z, n = self.sigma(s.z), self.phi(s.n)
        return Blocks(z=z, n=n), [(1 - z) * h + z * n]

    def step_backward(self, w: Blocks, dw: Blocks, step: Step, dstate: Arrays) -> Back:
        """Differentiate the equations above."""
        x, (h,), v, (dh,) = step.x, step.state, step.values, dstate
        v.ds = {
            "z": dh * (v.n - h) * self.sigma.slope(v.z),
            "n": dh * v.z * self.phi.slope(v.n),
        }
        dx, _ = sums_backward(w, dw, v.ds, x)
        return dx, [dh * (1 - v.z)], np.zeros_like(step.read)


@dataclass(eq=False)
class MinLSTM(Cell):
    """The minimal long short-term memory: gates of x alone, whose shares of h' add up to 1.

    ::

        i = σ(W_xi x + b_i)             input gate
        f = σ(W_xf x + b_f)             forget gate
        g = φ(W_xg x + b_g)             candidate
        h' = f/(f+i)∘h + i/(f+i)∘g

    The shares are computed from the sums p of i and q of f, f/(f+i) = σ(ζ(−p) − ζ(−q)) with
    ζ(a) = log(1 + exp a), so that f + i may be as small as it likes.

    L. Feng, F. Tung, M. O. Ahmed, Y. Bengio, H. Hajimirsadeghi, Were RNNs all we needed?,
    arXiv:2410.01201 (2024), section 3.2, with φ the identity.

    Parameters
    ----------
    activation : str, default "identity"
        φ: "tanh", "sigmoid", "hard_sigmoid", "softsign", "relu" or "identity".
    layer_norm : bool, default False
        Normalise the sums of the gates: see `crnn.reference.sums`.
    clip : float, optional
        Limit the sum of each gate to [-clip, clip] before the activation. None: no limit.
    learn_state : bool, default False
        Make the initial state a parameter, h0.
    delays : int, default 1
        Steps from the state h to the step that reads it.
    recurrent_dropout, weight_drop : float, default 0.0
        Without effect, because there is no W_h.
    zoneout : float, default 0.0
        Probability that a unit keeps its old state in a step.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer, x = crnn.MinLSTM(3, 5, dtype="float64", seed=0), np.ones((2, 4, 3))
    >>> y, h, tape = crnn.reference.MinLSTM().forward(layer.params, x)
    >>> tape.gates["f"].shape, np.allclose(y, layer(x)[0])
    ((2, 4, 5), True)
    """

    activation: str = "identity"

    gate_order = ("i", "f", "g")
    state_names = ("h",)
    multiplies_h = False

    def __post_init__(self) -> None:
        self.phi = activation(self.activation, self.clip)

    def step(self, w: Blocks, x: Array, state: Arrays, read: Array) -> tuple[Blocks, Arrays]:
        """Apply the equations above."""
        (h,) = state
        s = sums(w, self.gate_order, x)
        bound = np.inf if self.clip is None else self.clip
        p, q, g = np.clip(s.i, -bound, bound), np.clip(s.f, -bound, bound), self.phi(s.g)
        ratio = np.logaddexp(0, -p) - np.logaddexp(0, -q)  # log (f / i)
        keep, take = sigmoid(ratio), sigmoid(-ratio)
        v = Blocks(i=sigmoid(p), f=sigmoid(q), g=g, keep=keep, take=take)
        v.inside = {"i": np.abs(p) < bound, "f": np.abs(q) < bound}
        return v, [keep * h + take * g]

    def step_backward(self, w: Blocks, dw: Blocks, step: Step, dstate: Arrays) -> Back:
        """Differentiate the equations above."""
        x, (h,), v, (dh,) = step.x, step.state, step.values, dstate
        dratio = dh * (h - v.g) * v.keep * v.take
        v.ds = {
            "i": -dratio * (1 - v.i) * v.inside["i"],
            "f": dratio * (1 - v.f) * v.inside["f"],
            "g": dh * v.take * self.phi.slope(v.g),
        }
        dx, _ = sums_backward(w, dw, v.ds, x)
        return dx, [dh * v.keep], np.zeros_like(step.read)
