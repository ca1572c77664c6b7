"""Recurrent layers without W_h: no sum of a gate depends on the state. The core runs them.

Letters: B sequences, T steps, I inputs, H hidden units. σ is the logistic function, ∘ the
elementwise product.
"""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import numpy as np

import crnn._core as _core
from crnn.common.checks import check_fits, check_seed
from crnn.common.choices import Activation
from crnn.layers.base.hints import check_option_names
from crnn.layers.base.protocol import Option
from crnn.layers.recurrent.base import (
    FIXED,
    Recurrent,
    SharedOptions,
    check_chrono,
    check_forget_bias,
)


class MinLSTMOptions(SharedOptions, total=False):
    """Options of the MinLSTM."""

    activation: Activation
    delays: int
    zoneout: float


class MinGRUOptions(MinLSTMOptions, total=False):
    """Options of the MinGRU."""

    recurrent_activation: Activation


FIXED.update(MinGRUOptions.__annotations__)


class MinGRU(_core.MinGRU, Recurrent):
    """Minimal gated recurrent unit: z = σ(W_x,z x + b_z), n = W_x,n x + b_n; h' = (1−z)∘h + z∘n.

    A GRU without reset gate and without products with h. Feng et al., "Were RNNs all we needed?"
    (2024), section 3.1. With z = 1, the new state is n.

    Parameters
    ----------
    input_size, hidden_size : int
        Number of inputs I and of hidden units H.
    chrono : float, optional
        Longest memory, in steps, of the layer at the start of training; at least 2. It only sets
        initial biases: -log u for z, with u uniform between 1 and chrono - 1.
    recurrent_activation, activation : str, default "sigmoid", "identity"
        Activations of the gate z, and of n: "tanh", "sigmoid", "hard_sigmoid" (0.2 s + 0.5, limited
        to 0 ... 1), "relu", "softsign" (s / (1 + |s|)) or "identity". The paper has no activation
        of n. A bounded one, such as "tanh", keeps the state bounded.
    bias : bool, default True
        Whether the sums of the gates have biases.
    reverse : bool, default False
        Read each row from its last valid step to its first. y is aligned with x; the last state is
        the one after step 0.
    delays : int, default 1
        d, steps from an earlier state to the step that reads it, 1 to 2**20: h of d steps before
        takes the place of h, as in d layers, each over every d-th step. Only steps that are read
        count. With d above 1 a state has those of the last d steps.
    layer_norm : bool, default False
        Normalise W_x x over all units of all gates together.
    clip : float, optional
        Clip the sums of the gates to [-clip, clip], before their activations. None: do not clip.
    learn_state : bool, default False
        Make the initial state a parameter. It is used if the caller passes no state, and after
        resets.
    zoneout : float, default 0
        Probability that a unit of the state keeps its value at a step, in training. In evaluation,
        the old and the new state are mixed in this proportion.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters, outputs and states. `crnn.gradcheck` checks a float64 copy.
    seed : int, optional
        Seed of the initial weights, and of the random numbers in training. None draws a seed.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        W_x (2*H, I) and b (2*H,), in row blocks of H in the order of `gate_order`. There is no
        W_h. `layer_norm` adds gain_x (2*H,), `learn_state` adds h0 (H,), with d above 1 (d, H), the
        oldest first.
        The arrays can be changed in place, and outlive the layer; assigning copies into them.
    flat_params, flat_grads : ndarray
        The same numbers as one vector each; assigning copies into it.
    gate_order : tuple of str
        ("z", "n").
    input_size, hidden_size, output_size : int
        I, H and H.
    dtype : dtype
        As passed.
    seed : int
        The seed that was used.
    calls : int
        Number of training calls so far without a `call` argument, if the layer draws random
        numbers. The next such call gets this number.
    options : dict
        All options of the core by name. Each is an attribute, too; options cannot be changed.

    Methods
    -------
    __call__(x, state=None, *, lengths=None, mask=None, resets=None)
        Run the layer in evaluation; return y (B, T, H) and the last state. x is (B, T, I) floats,
        or (B, T) integers, which stand for columns of W_x. The state is h (B, H), with d above 1
        (B, d, H), the oldest first.
    forward(x, state=None, *, lengths=None, mask=None, resets=None, training=True, ...)
        Return also a tape, which has all that backward needs. ``tape.gates[letter]`` (B, T, H) and
        ``tape.h`` (B, T, H) are the gates and states of every step.
    backward(tape, dy, dstate=None, *, trace=False)
        Backpropagate through time: add to `grads`, and return the gradients of x and of the initial
        state. With `trace`, the tape then has the gradients of every step, ``tape.dh`` and
        ``tape.dgates``.
    stream(batch_size=1, state=None)
        Return a stream, which runs the layer one step at a time.
    zero_grad(), state_dict(), load_state_dict(state), astype(dtype), summary()
        As for every `Layer`.

    Raises
    ------
    ValueError, TypeError
        If a size is below 1 or too large for memory, an option is unknown or invalid, or the seed
        is invalid. Options that need W_h (recurrent_dropout, weight_drop, several delays) are
        refused.

    See Also
    --------
    crnn.reference.MinGRU : The same equations and options in NumPy.

    Notes
    -----
    The sums of the gates do not depend on the state. The layer therefore multiplies x of many steps
    at once, and a step costs a few operations for each unit. The paper computes all steps by a
    parallel scan, which needs more arithmetic and gains nothing on a CPU.

    Initial weights: W_x is uniform with fans I and H (Glorot and Bengio, "Understanding the
    difficulty of training deep feedforward neural networks", 2010). Biases are 0. `chrono` is an
    option of Tallec and Ollivier, "Can recurrent neural networks warp time?" (2018). Sources of
    other options: Chang et al., "Dilated recurrent neural networks" (2017), for `delays`; Ba, Kiros
    and Hinton, "Layer normalization" (2016); Krueger et al., "Zoneout: regularizing RNNs by
    randomly preserving hidden activations" (2017).

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer, x = crnn.MinGRU(3, 4, seed=0), np.ones((2, 5, 3))
    >>> y, h, tape = layer.forward(x, lengths=[5, 2])
    >>> y.shape, h.shape, list(layer.params)
    ((2, 5, 4), (2, 4), ['W_x', 'b'])
    >>> z, n = tape.gates["z"], tape.gates["n"]
    >>> bool(np.allclose(tape.h[:, 0], z[:, 0] * n[:, 0]))  # h is 0 before the first step
    True
    >>> dx, dh = layer.backward(tape, np.ones_like(y))
    >>> dx.shape, layer.grads["W_x"].shape
    ((2, 5, 3), (8, 3))
    """

    _core_type = _core.MinGRU
    candidate = "n"
    _initial: ClassVar[dict[str, Any]] = {"chrono": None}

    chrono: float | None
    delays: Option[int]
    activation: Option[Activation]
    recurrent_activation: Option[Activation]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        chrono: float | None = None,
        seed: int | None = None,
        **options: Unpack[MinGRUOptions],
    ) -> None:
        seed, chrono = check_seed(seed), check_chrono(chrono)
        check_option_names(type(self), options)
        super().__init__(input_size, hidden_size, **options)
        self._draw_weights(seed)
        self._begin_chrono(chrono, ("z", -1))


class MinLSTM(_core.MinLSTM, Recurrent):
    """Minimal long short-term memory: i, f = σ(·), g = ·; h' = f/(f+i)∘h + i/(f+i)∘g.

    The dot stands for the sum W_x x + b of each gate. An LSTM without output gate and without
    products with h; the shares of h and g add up to 1. Feng et al., "Were RNNs all we needed?"
    (2024), section 3.2. The shares are computed from the sums of i and f without loss, even where
    both gates are so small that f + i is 0 in floating point.

    Parameters
    ----------
    input_size, hidden_size : int
        Number of inputs I and of hidden units H.
    forget_bias : float, default 1.0
        Initial bias of f. With 1, a unit keeps some 60 % of its state in a step at the start of
        training, with 0 it keeps half. The paper reports faster training with larger values.
    chrono : float, optional
        Longest memory, in steps, of the layer at the start of training; at least 2. It only sets
        initial biases: log u for f and -log u for i, with u uniform between 1 and chrono - 1.
    activation : str, default "identity"
        Activation of g: "tanh", "sigmoid", "hard_sigmoid" (0.2 s + 0.5, limited to 0 ... 1),
        "relu", "softsign" (s / (1 + |s|)) or "identity". The paper has none. A bounded one, such as
        "tanh", keeps the state bounded. The gates are always logistic.
    bias : bool, default True
        Whether the sums of the gates have biases.
    reverse : bool, default False
        Read each row from its last valid step to its first. y is aligned with x; the last state is
        the one after step 0.
    delays : int, default 1
        d, steps from an earlier state to the step that reads it, 1 to 2**20: h of d steps before
        takes the place of h, as in d layers, each over every d-th step. Only steps that are read
        count. With d above 1 a state has those of the last d steps.
    layer_norm : bool, default False
        Normalise W_x x over all units of all gates together.
    clip : float, optional
        Clip the sums of the gates to [-clip, clip], before their activations. None: do not clip.
    learn_state : bool, default False
        Make the initial state a parameter. It is used if the caller passes no state, and after
        resets.
    zoneout : float, default 0
        Probability that a unit of the state keeps its value at a step, in training. In evaluation,
        the old and the new state are mixed in this proportion.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters, outputs and states. `crnn.gradcheck` checks a float64 copy.
    seed : int, optional
        Seed of the initial weights, and of the random numbers in training. None draws a seed.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        W_x (3*H, I) and b (3*H,), in row blocks of H in the order of `gate_order`. There is no
        W_h. `layer_norm` adds gain_x (3*H,), `learn_state` adds h0 (H,), with d above 1 (d, H), the
        oldest first.
        The arrays can be changed in place, and outlive the layer; assigning copies into them.
    flat_params, flat_grads : ndarray
        The same numbers as one vector each; assigning copies into it.
    gate_order : tuple of str
        ("i", "f", "g").
    input_size, hidden_size, output_size : int
        I, H and H.
    dtype : dtype
        As passed.
    seed : int
        The seed that was used.
    calls : int
        Number of training calls so far without a `call` argument, if the layer draws random
        numbers. The next such call gets this number.
    options : dict
        All options of the core by name. Each is an attribute, too; options cannot be changed.

    Methods
    -------
    __call__(x, state=None, *, lengths=None, mask=None, resets=None)
        Run the layer in evaluation; return y (B, T, H) and the last state. x is (B, T, I) floats,
        or (B, T) integers, which stand for columns of W_x. The state is h (B, H), with d above 1
        (B, d, H), the oldest first.
    forward(x, state=None, *, lengths=None, mask=None, resets=None, training=True, ...)
        Return also a tape, which has all that backward needs. ``tape.gates[letter]`` (B, T, H) and
        ``tape.h`` (B, T, H) are the gates and states of every step.
    backward(tape, dy, dstate=None, *, trace=False)
        Backpropagate through time: add to `grads`, and return the gradients of x and of the initial
        state. With `trace`, the tape then has the gradients of every step, ``tape.dh`` and
        ``tape.dgates``.
    stream(batch_size=1, state=None)
        Return a stream, which runs the layer one step at a time.
    zero_grad(), state_dict(), load_state_dict(state), astype(dtype), summary()
        As for every `Layer`.

    Raises
    ------
    ValueError, TypeError
        If a size is below 1 or too large for memory, an option is unknown or invalid, or the seed
        is invalid. Options that need W_h (recurrent_dropout, weight_drop, several delays) are
        refused.

    See Also
    --------
    crnn.reference.MinLSTM : The same equations and options in NumPy.

    Notes
    -----
    The sums of the gates do not depend on the state. The layer therefore multiplies x of many steps
    at once, and a step costs a few operations for each unit. The paper computes all steps by a
    parallel scan, which needs more arithmetic and gains nothing on a CPU.

    Initial weights: W_x is uniform with fans I and H (Glorot and Bengio, "Understanding the
    difficulty of training deep feedforward neural networks", 2010). Biases are 0, but for
    `forget_bias`. `chrono` is an option of Tallec and Ollivier, "Can recurrent neural networks warp
    time?" (2018). Sources of other options: Chang et al., "Dilated recurrent neural networks"
    (2017), for `delays`; Ba, Kiros and Hinton, "Layer normalization" (2016); Krueger et al.,
    "Zoneout: regularizing RNNs by randomly preserving hidden activations" (2017).

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer, x = crnn.MinLSTM(3, 4, seed=0), np.ones((2, 5, 3))
    >>> y, h, tape = layer.forward(x, lengths=[5, 2])
    >>> y.shape, h.shape, list(layer.params)
    ((2, 5, 4), (2, 4), ['W_x', 'b'])
    >>> i, f, g = (tape.gates[letter][:, 0] for letter in "ifg")
    >>> bool(np.allclose(tape.h[:, 0], i / (f + i) * g))  # h is 0 before the first step
    True
    >>> dx, dh = layer.backward(tape, np.ones_like(y))
    >>> dx.shape, layer.grads["W_x"].shape
    ((2, 5, 3), (12, 3))
    """

    _core_type = _core.MinLSTM
    _initial: ClassVar[dict[str, Any]] = {"forget_bias": 1.0, "chrono": None}

    forget_bias: float
    chrono: float | None
    delays: Option[int]
    activation: Option[Activation]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 1.0,
        chrono: float | None = None,
        seed: int | None = None,
        **options: Unpack[MinLSTMOptions],
    ) -> None:
        seed, chrono = check_seed(seed), check_chrono(chrono)
        forget_bias = check_forget_bias(forget_bias)
        check_option_names(type(self), options)
        super().__init__(input_size, hidden_size, **options)
        check_fits("forget_bias", forget_bias, np.empty((), self.dtype))
        vars(self)["forget_bias"] = forget_bias
        self._draw_weights(seed)
        self._set_bias("f", self.forget_bias)
        self._begin_chrono(chrono, ("f", 1), ("i", -1))
