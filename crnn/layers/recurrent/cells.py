"""The recurrent layers: their options, initial weights and documentation. The core runs them.

Letters: B sequences, T steps, I inputs, H hidden units, P units of h (H, or proj_size), G gates. σ
is the logistic function, ∘ the elementwise product; a dot stands for the sum W_x x + W_h h + b of a
gate. `crnn.reference` has the equations of all options in NumPy.
"""

from __future__ import annotations

import reprlib
from typing import Any, ClassVar, Unpack

import numpy as np
from numpy.typing import ArrayLike

import crnn._core as _core
from crnn.common.checks import check_fits, check_seed
from crnn.common.choices import Activation, Reset
from crnn.layers.base.hints import check_option_names
from crnn.layers.base.protocol import Option
from crnn.layers.recurrent import minimal
from crnn.layers.recurrent.base import (
    FIXED,
    CommonOptions,
    Options,
    Recurrent,
    check_chrono,
    check_forget_bias,
)


class RNNOptions(Options, total=False):
    """Options of the RNN."""

    activation: Activation
    leak: ArrayLike | None
    learn_leak: bool
    noise: float


class GatedOptions(Options, total=False):
    """Options of the recurrent layers with gates and activations whose state is h."""

    activation: Activation
    recurrent_activation: Activation


class GRUOptions(GatedOptions, total=False):
    """Options of the GRU."""

    reset: Reset


class JANETOptions(Options, total=False):
    """Options of the JANET."""

    beta: float


class LSTMOptions(CommonOptions, total=False):
    """Options of the LSTM."""

    activation: Activation
    recurrent_activation: Activation
    output_activation: Activation
    peepholes: bool
    coupled: bool
    proj_size: int | None
    zoneout: float | tuple[float, float]


FIXED.update(RNNOptions.__annotations__, LSTMOptions.__annotations__)
FIXED.update(GRUOptions.__annotations__, JANETOptions.__annotations__)


def cell_classes() -> dict[str, type[Any]]:
    """Return the recurrent layers of crnn by name, without subclasses of users."""
    modules = (__name__, minimal.__name__)
    return {cls.__name__: cls for cls in Recurrent.__subclasses__() if cls.__module__ in modules}


class _Shortened(tuple[float, ...]):
    """Numbers of which `repr` shows the first ones."""

    def __repr__(self) -> str:
        return reprlib.repr(tuple(self))


class RNN(_core.RNN, Recurrent):
    """Simple recurrent layer: h' = φ(W_x x + W_h h + b); leaky: h' = (1−a)∘h + a∘φ(·).

    Elman, "Finding structure in time" (1990). Leaky units: Jaeger, "The echo state approach to
    analysing and training recurrent neural networks" (2001), with the usual one number a.

    Parameters
    ----------
    input_size, hidden_size : int
        Number of inputs I and of hidden units H.
    activation : str, default "tanh"
        φ: "tanh", "sigmoid", "hard_sigmoid" (0.2 s + 0.5, limited to 0 ... 1), "relu", "softsign"
        (s / (1 + |s|)) or "identity". "tanh" keeps the state bounded. "relu" does not saturate, so
        the state may grow without bound.
    leak : float or array_like (H,), optional
        a, for all units or for each: 0 < a <= 1. A unit with a small a changes slowly; it forgets
        with a time constant of 1/a steps. None: not leaky, as with 1, which has the same bits.
    learn_leak : bool, default False
        Make the leak a parameter l, with a = σ(l). l begins at log(leak / (1 - leak)), so `leak`
        must be below 1. False: the leak is fixed. It is then no parameter, and has no gradient.
    noise : float, default 0
        In training, numbers that are uniform in (-noise, noise) are added to the sum inside of φ,
        at every step (ν in Jaeger 2001). It makes a readout less dependent on small differences of
        the states.
    bias : bool, default True
        Whether the sums of the gates have biases.
    reverse : bool, default False
        Read each row from its last valid step to its first. y is aligned with x; the last state is
        the one after step 0.
    delays : int or tuple of int, default 1
        Steps from an earlier state to the step that reads it, 1 to 2**20. An int d: the products
        read h of d steps before alone, as d layers would, each over every d-th step. A tuple of up
        to 16 different ints: the sum of W_h,k h_{t-d_k} over these delays. h of a leaky unit is
        that of the shortest delay. Only steps that are read count. With D, the longest delay, above
        1 a state has those of the last D steps.
    layer_norm : bool, default False
        Normalise W_x x and W_h h, each by itself, over all units.
    clip : float, optional
        Clip the sums of the gates to [-clip, clip], before their activations. None: do not clip.
    learn_state : bool, default False
        Make the initial state a parameter. It is used if the caller passes no state, and after
        resets.
    recurrent_dropout : float, default 0
        Probability that the recurrent products leave out a unit of h, in training. The same units
        are left out at all steps of a row.
    zoneout : float, default 0
        Probability that a unit of the state keeps its value at a step, in training. In evaluation,
        the old and the new state are mixed in this proportion.
    weight_drop : float, default 0
        Probability that an element of W_h is 0 during a whole call, in training.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters, outputs and states. `crnn.gradcheck` checks a float64 copy.
    seed : int, optional
        Seed of the initial weights, and of the random numbers in training. None draws a seed.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        W_x (H, I), W_h (H, H), b (H,). `layer_norm` adds gain_x and gain_h (H,), `learn_state` adds
        h0 (H,), `learn_leak` adds leak (H,), which is l. With K delays W_h is (H, K*H), in blocks
        in the order of `delays`; with D above 1 h0 is (D, H), the oldest first.
        The arrays can be changed in place, and outlive the layer; assigning copies into them.
    flat_params, flat_grads : ndarray
        The same numbers as one vector each; assigning copies into it.
    gate_order : tuple of str
        ("h",).
    input_size, hidden_size, output_size : int
        I, H and H.
    dtype : dtype
        As passed.
    seed : int
        The seed that was used.
    calls : int
        Number of training calls so far without a `call` argument, if the layer draws random
        numbers. The next such call gets this number.
    leak : float, tuple of H floats, or None
        As passed. With `learn_leak` these are the initial values; the present ones are
        ``crnn.reference.sigmoid(layer.params["leak"])``.
    options : dict
        All options of the core by name. Each is an attribute, too; options cannot be changed.

    Methods
    -------
    __call__(x, state=None, *, lengths=None, mask=None, resets=None)
        Run the layer in evaluation; return y (B, T, H) and the last state. x is (B, T, I) floats,
        or (B, T) integers, which stand for columns of W_x. The state is h (B, H), with D above 1
        (B, D, H), the oldest first.
    forward(x, state=None, *, lengths=None, mask=None, resets=None, training=True, ...)
        Return also a tape, which has all that backward needs. ``tape.gates[letter]`` (B, T, H) and
        ``tape.h`` (B, T, H) are the gates and states of every step. The gate "h" is φ(·), which is
        not the state if the layer is leaky.
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
        If a size is below 1 or too large for memory, an option is unknown or invalid, the leak is
        None or 1 with `learn_leak`, or the seed is invalid.

    See Also
    --------
    crnn.reference.RNN : The same equations and options in NumPy.

    Notes
    -----
    Initial weights: W_h is orthogonal for each gate, and with K delays for each of them, then
    divided by √K (Saxe, McClelland and Ganguli, "Exact solutions
    to the nonlinear dynamics of learning in deep linear neural networks", 2014). W_x is uniform
    with fans I and H (Glorot and Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", 2010). b is 0.

    Gradients of a leak: with d = ∂L/∂h', ∂L/∂a is the sum of d∘(φ(·) − h) over all steps, and
    ∂L/∂l = a∘(1−a)∘∂L/∂a. `clip` and `layer_norm` act on the sum inside of φ, `zoneout` on h'.

    Sources of `delays`: El Hihi and Bengio, "Hierarchical recurrent neural networks for long-term
    dependencies" (1995); Lin, Horne, Tiňo and Giles, "Learning long-term dependencies in NARX
    recurrent neural networks" (1996); Zhang et al., "Architectural complexity measures of recurrent
    neural networks" (2016), with the delays 1 and d; Chang et al., "Dilated recurrent neural
    networks" (2017), with one delay for each layer. With one delay d, the d parts of a row run side
    by side, so a layer is faster for few rows than without.

    The random numbers in training are a function of the seed, of the arguments `call` and `layer`
    of forward, and of the numbers of row and step. Sources of the options: Ba, Kiros and Hinton,
    "Layer normalization" (2016); Gal and Ghahramani, "A theoretically grounded application of
    dropout in recurrent neural networks" (2016); Krueger et al., "Zoneout: regularizing RNNs by
    randomly preserving hidden activations" (2017); for `weight_drop` Merity, Keskar and Socher,
    "Regularizing and optimizing LSTM language models" (2018).

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer, x = crnn.RNN(3, 4, seed=0), np.ones((2, 5, 3))
    >>> y, h, tape = layer.forward(x, lengths=[5, 2])
    >>> y.shape, h.shape
    ((2, 5, 4), (2, 4))
    >>> bool((h[1] == y[1, 1]).all())  # the state after the last valid step
    True
    >>> bool((tape.gates["h"] == tape.h).all())
    True
    >>> dx, dh = layer.backward(tape, np.ones_like(y))
    >>> dx.shape, layer.grads["W_h"].shape
    ((2, 5, 3), (4, 4))

    Units that forget with time constants from 2 to 100 steps:

    >>> leak = 1 / np.geomspace(2, 100, 4)
    >>> slow = crnn.RNN(3, 4, leak=leak, learn_leak=True, seed=0)
    >>> bool(np.allclose(crnn.reference.sigmoid(slow.params["leak"]), leak))
    True
    """

    _core_type = _core.RNN
    candidate = "h"

    activation: Option[Activation]
    leak: Option[float | tuple[float, ...] | None]
    learn_leak: Option[bool]
    noise: Option[float]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        seed: int | None = None,
        **options: Unpack[RNNOptions],
    ) -> None:
        seed = check_seed(seed)
        check_option_names(type(self), options)
        super().__init__(input_size, hidden_size, **options)
        self._draw_weights(seed)
        if self.learn_leak:
            a = np.asarray(self.leak, np.float64)
            self.params["leak"] = np.log(a) - np.log1p(-a)

    def _shown(self) -> dict[str, Any]:
        shown = super()._shown()
        if isinstance(self.leak, tuple):
            shown["leak"] = _Shortened(self.leak)
        return shown


class LSTM(_core.LSTM, Recurrent):
    """Long short-term memory: i, f, o = σ(·), g = tanh(·); c' = f∘c + i∘g; h' = o∘tanh(c').

    The dot stands for the sum W_x x + W_h h + b of each gate. Hochreiter and Schmidhuber, "Long
    short-term memory" (1997), with the forget gate of Gers, Schmidhuber and Cummins, "Learning to
    forget" (2000).

    Parameters
    ----------
    input_size, hidden_size : int
        Number of inputs I and of hidden units H.
    forget_bias : float, default 1.0
        Initial bias of the forget gate. With 1, the gate is open at the start of training, so that
        gradients reach many steps back (Gers et al. 2000; Jozefowicz, Zaremba and Sutskever 2015).
    chrono : float, optional
        Longest memory, in steps, of the layer at the start of training; at least 2. It only sets
        initial biases: log u for f and -log u for i, with u uniform between 1 and chrono - 1.
    recurrent_activation, activation, output_activation : str, default "sigmoid", "tanh", "tanh"
        Activations of the gates i, f and o, of g, and of c' in the equation of h': "tanh",
        "sigmoid", "hard_sigmoid" (0.2 s + 0.5, limited to 0 ... 1), "relu", "softsign"
        (s / (1 + |s|)) or "identity".
    peepholes : bool, default False
        Add p_i∘c and p_f∘c to the sums of i and f, and p_o∘c' to the sum of o (Gers and
        Schmidhuber, "Recurrent nets that time and count", 2000).
    coupled : bool, default False
        Compute f as 1 - i (Greff et al., "LSTM: a search space odyssey", 2017). The gates are then
        i, g, o.
    proj_size : int, optional
        P: project h' to P units by h' = W_p (o∘tanh(c')) (Sak, Senior and Beaufays, "Long
        short-term memory recurrent neural network architectures for large scale acoustic modeling",
        2014). None: no projection, P = H.
    bias : bool, default True
        Whether the sums of the gates have biases.
    reverse : bool, default False
        Read each row from its last valid step to its first. y is aligned with x; the last state is
        the one after step 0.
    delays : int or tuple of int, default 1
        Steps from an earlier state to the step that reads it, 1 to 2**20. An int d: the products
        read h of d steps before alone, as d layers would, each over every d-th step. A tuple of up
        to 16 different ints: the sum of W_h,k h_{t-d_k} over these delays. c is that of the
        shortest delay. Only steps that are read count. With D, the longest delay, above 1 a state
        has those of the last D steps.
    layer_norm : bool, default False
        Normalise W_x x and W_h h, each by itself, over all units of all gates together, and c' in
        the equation of h'.
    clip : float, optional
        Clip the sums of the gates to [-clip, clip], before their activations. None: do not clip.
    learn_state : bool, default False
        Make the initial state a parameter. It is used if the caller passes no state, and after
        resets.
    recurrent_dropout : float, default 0
        Probability that the recurrent products leave out a unit of h, in training. The same units
        are left out at all steps of a row.
    zoneout : float or pair of floats, default 0
        Probability that a unit of the state keeps its value at a step, in training. In evaluation,
        the old and the new state are mixed in this proportion. A pair has the probabilities for h
        and for c.
    weight_drop : float, default 0
        Probability that an element of W_h is 0 during a whole call, in training.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters, outputs and states. `crnn.gradcheck` checks a float64 copy.
    seed : int, optional
        Seed of the initial weights, and of the random numbers in training. None draws a seed.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        W_x (G*H, I), W_h (G*H, P), b (G*H,), in row blocks of H in the order of `gate_order`.
        `peepholes` adds p_i, p_f and p_o (H,); `layer_norm` adds gain_x and gain_h (G*H,), gain_c
        and b_c (H,); `proj_size` adds W_p (P, H); `learn_state` adds h0 (P,) and c0 (H,).
        With K delays W_h is (G*H, K*P), in blocks in the order of `delays`; with D above 1 h0 is
        (D, P) and c0 (D, H), the oldest first.
        The arrays can be changed in place, and outlive the layer; assigning copies into them.
    flat_params, flat_grads : ndarray
        The same numbers as one vector each; assigning copies into it.
    gate_order : tuple of str
        ("i", "f", "g", "o"); with `coupled` ("i", "g", "o").
    input_size, hidden_size, output_size : int
        I, H and P.
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
        Run the layer in evaluation; return y (B, T, P) and the last state. x is (B, T, I) floats,
        or (B, T) integers, which stand for columns of W_x. The state is the pair (h, c),
        (B, P) and (B, H), with D above 1 (B, D, P) and (B, D, H), the oldest first.
    forward(x, state=None, *, lengths=None, mask=None, resets=None, training=True, ...)
        Return also a tape, which has all that backward needs. ``tape.gates[letter]`` (B, T, H) and
        ``tape.h``, ``tape.c`` are the gates and states of every step.
    backward(tape, dy, dstate=None, *, trace=False)
        Backpropagate through time: add to `grads`, and return the gradients of x and of the initial
        state. With `trace`, the tape then has the gradients of every step, ``tape.dh``, ``tape.dc``
        and ``tape.dgates``.
    stream(batch_size=1, state=None)
        Return a stream, which runs the layer one step at a time.
    zero_grad(), state_dict(), load_state_dict(state), astype(dtype), summary()
        As for every `Layer`.

    Raises
    ------
    ValueError, TypeError
        If a size is below 1 or too large for memory, an option is unknown or invalid, or the seed
        is invalid.

    See Also
    --------
    crnn.reference.LSTM : The same equations and options in NumPy.

    Notes
    -----
    Initial weights: W_h is orthogonal for each gate, and with K delays for each of them, then
    divided by √K (Saxe, McClelland and Ganguli, "Exact solutions
    to the nonlinear dynamics of learning in deep linear neural networks", 2014). W_x is uniform
    with fans I and H (Glorot and Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", 2010). W_p is uniform in the same way. Biases other than that of the forget
    gate are 0; with `coupled`, that of i is -forget_bias. `chrono` is an option of Tallec and
    Ollivier, "Can recurrent neural networks warp time?" (2018).

    Sources of `delays`: El Hihi and Bengio, "Hierarchical recurrent neural networks for long-term
    dependencies" (1995); Lin, Horne, Tiňo and Giles, "Learning long-term dependencies in NARX
    recurrent neural networks" (1996); Zhang et al., "Architectural complexity measures of recurrent
    neural networks" (2016), with the delays 1 and d; Chang et al., "Dilated recurrent neural
    networks" (2017), with one delay for each layer. With one delay d, the d parts of a row run side
    by side, so a layer is faster for few rows than without.

    The random numbers in training are a function of the seed, of the arguments `call` and `layer`
    of forward, and of the numbers of row and step. Sources of the options: Ba, Kiros and Hinton,
    "Layer normalization" (2016); Gal and Ghahramani, "A theoretically grounded application of
    dropout in recurrent neural networks" (2016); Krueger et al., "Zoneout: regularizing RNNs by
    randomly preserving hidden activations" (2017); for `weight_drop` Merity, Keskar and Socher,
    "Regularizing and optimizing LSTM language models" (2018).

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer, x = crnn.LSTM(3, 4, seed=0), np.ones((2, 5, 3))
    >>> y, (h, c), tape = layer.forward(x, lengths=[5, 2])
    >>> y.shape, h.shape, c.shape
    ((2, 5, 4), (2, 4), (2, 4))
    >>> i, g = tape.gates["i"], tape.gates["g"]
    >>> bool(np.allclose(tape.c[:, 0], i[:, 0] * g[:, 0]))  # c is 0 before the first step
    True
    >>> dx, (dh, dc) = layer.backward(tape, np.ones_like(y))
    >>> dx.shape, layer.grads["W_h"].shape
    ((2, 5, 3), (16, 4))
    """

    _core_type = _core.LSTM
    _initial: ClassVar[dict[str, Any]] = {"forget_bias": 1.0, "chrono": None}

    forget_bias: float
    chrono: float | None
    activation: Option[Activation]
    recurrent_activation: Option[Activation]
    output_activation: Option[Activation]
    peepholes: Option[bool]
    coupled: Option[bool]
    proj_size: Option[int | None]

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Widths of h and c: (P, H)."""
        return (self.output_size, self.hidden_size)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 1.0,
        chrono: float | None = None,
        seed: int | None = None,
        **options: Unpack[LSTMOptions],
    ) -> None:
        seed, chrono = check_seed(seed), check_chrono(chrono)
        forget_bias = check_forget_bias(forget_bias)
        check_option_names(type(self), options)
        super().__init__(input_size, hidden_size, **options)
        check_fits("forget_bias", forget_bias, np.empty((), self.dtype))
        vars(self)["forget_bias"] = forget_bias
        self._draw_weights(seed)
        if "f" in self.gate_order:
            self._set_bias("f", self.forget_bias)
            self._begin_chrono(chrono, ("f", 1), ("i", -1))
        else:
            self._set_bias("i", -self.forget_bias)
            self._begin_chrono(chrono, ("i", -1))


class GRU(_core.GRU, Recurrent):
    """Gated recurrent unit: r, z = σ(·); h' = (1−z)∘h + z∘n.

    The dot stands for the sum W_x x + W_h h + b of each gate. Cho et al., "Learning phrase
    representations using RNN encoder-decoder" (2014). The candidate n depends on `reset`:

    - "after": n = tanh(W_x,n x + b_n + r∘(W_h,n h + b_hn)), as in cuDNN and PyTorch;
    - "before": n = tanh(W_x,n x + W_h,n (r∘h) + b_n), as in the paper.

    With z = 1, the new state is n. PyTorch, Keras and ONNX use 1−z in place of z.

    Parameters
    ----------
    input_size, hidden_size : int
        Number of inputs I and of hidden units H.
    reset : {"after", "before"}, default "after"
        Whether r multiplies the recurrent sum, or the state before the product. "after" is faster,
        because it needs only one product with h for each step.
    chrono : float, optional
        Longest memory, in steps, of the layer at the start of training; at least 2. It only sets
        initial biases: -log u for z, with u uniform between 1 and chrono - 1.
    recurrent_activation, activation : str, default "sigmoid", "tanh"
        Activations of the gates r and z, and of n: "tanh", "sigmoid", "hard_sigmoid"
        (0.2 s + 0.5, limited to 0 ... 1), "relu", "softsign" (s / (1 + |s|)) or "identity".
    bias : bool, default True
        Whether the sums of the gates have biases.
    reverse : bool, default False
        Read each row from its last valid step to its first. y is aligned with x; the last state is
        the one after step 0.
    delays : int or tuple of int, default 1
        Steps from an earlier state to the step that reads it, 1 to 2**20. An int d: the products
        read h of d steps before alone, as d layers would, each over every d-th step. A tuple of up
        to 16 different ints: the sum of W_h,k h_{t-d_k} over these delays. (1−z)∘h has h of the
        shortest delay. Only steps that are read count. With D, the longest delay, above 1 a state
        has those of the last D steps.
    layer_norm : bool, default False
        Normalise W_x x and W_h h, each by itself, over all units of r and z together, and over
        those of n by themselves.
    clip : float, optional
        Clip the sums of the gates to [-clip, clip], before their activations. None: do not clip.
    learn_state : bool, default False
        Make the initial state a parameter. It is used if the caller passes no state, and after
        resets.
    recurrent_dropout : float, default 0
        Probability that the recurrent products leave out a unit of h, in training. The same units
        are left out at all steps of a row.
    zoneout : float, default 0
        Probability that a unit of the state keeps its value at a step, in training. In evaluation,
        the old and the new state are mixed in this proportion.
    weight_drop : float, default 0
        Probability that an element of W_h is 0 during a whole call, in training.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters, outputs and states. `crnn.gradcheck` checks a float64 copy.
    seed : int, optional
        Seed of the initial weights, and of the random numbers in training. None draws a seed.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        W_x (3*H, I), W_h (3*H, H), b (3*H,), in row blocks of H in the order of `gate_order`, and
        for reset="after" b_hn (H,). `layer_norm` adds gain_x and gain_h (3*H,), `learn_state` adds
        h0 (H,). With K delays W_h is (3*H, K*H), in blocks in the order of `delays`; with D above 1
        h0 is (D, H), the oldest first.
        The arrays can be changed in place, and outlive the layer; assigning copies into them.
    flat_params, flat_grads : ndarray
        The same numbers as one vector each; assigning copies into it.
    gate_order : tuple of str
        ("r", "z", "n").
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
        or (B, T) integers, which stand for columns of W_x. The state is h (B, H), with D above 1
        (B, D, H), the oldest first.
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
        is invalid.

    See Also
    --------
    crnn.reference.GRU : The same equations and options in NumPy.

    Notes
    -----
    Initial weights: W_h is orthogonal for each gate, and with K delays for each of them, then
    divided by √K (Saxe, McClelland and Ganguli, "Exact solutions
    to the nonlinear dynamics of learning in deep linear neural networks", 2014). W_x is uniform
    with fans I and H (Glorot and Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", 2010). Biases are 0. `chrono` is an option of Tallec and
    Ollivier, "Can recurrent neural networks warp time?" (2018).

    Sources of `delays`: El Hihi and Bengio, "Hierarchical recurrent neural networks for long-term
    dependencies" (1995); Lin, Horne, Tiňo and Giles, "Learning long-term dependencies in NARX
    recurrent neural networks" (1996); Zhang et al., "Architectural complexity measures of recurrent
    neural networks" (2016), with the delays 1 and d; Chang et al., "Dilated recurrent neural
    networks" (2017), with one delay for each layer. With one delay d, the d parts of a row run side
    by side, so a layer is faster for few rows than without.

    The random numbers in training are a function of the seed, of the arguments `call` and `layer`
    of forward, and of the numbers of row and step. Sources of the options: Ba, Kiros and Hinton,
    "Layer normalization" (2016); Gal and Ghahramani, "A theoretically grounded application of
    dropout in recurrent neural networks" (2016); Krueger et al., "Zoneout: regularizing RNNs by
    randomly preserving hidden activations" (2017); for `weight_drop` Merity, Keskar and Socher,
    "Regularizing and optimizing LSTM language models" (2018).

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer, x = crnn.GRU(3, 4, seed=0), np.ones((2, 5, 3))
    >>> y, h, tape = layer.forward(x, lengths=[5, 2])
    >>> y.shape, h.shape
    ((2, 5, 4), (2, 4))
    >>> z, n = tape.gates["z"], tape.gates["n"]
    >>> bool(np.allclose(tape.h[:, 0], z[:, 0] * n[:, 0]))  # h is 0 before the first step
    True
    >>> dx, dh = layer.backward(tape, np.ones_like(y))
    >>> dx.shape, layer.grads["W_h"].shape
    ((2, 5, 3), (12, 4))
    """

    _core_type = _core.GRU
    candidate = "n"
    _initial: ClassVar[dict[str, Any]] = {"chrono": None}

    chrono: float | None
    activation: Option[Activation]
    recurrent_activation: Option[Activation]
    reset: Option[Reset]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        chrono: float | None = None,
        seed: int | None = None,
        **options: Unpack[GRUOptions],
    ) -> None:
        seed, chrono = check_seed(seed), check_chrono(chrono)
        check_option_names(type(self), options)
        super().__init__(input_size, hidden_size, **options)
        self._draw_weights(seed)
        self._begin_chrono(chrono, ("z", -1))


class JANET(_core.JANET, Recurrent):
    """LSTM with a forget gate only: s = · of f, g = tanh(·); h' = σ(s)∘h + (1−σ(s−β))∘g.

    JANET stands for "just another network". The dot stands for the sum W_x x + W_h h + b of each
    gate; ``tape.gates["f"]`` is σ(s). Van der Westhuizen and Lasenby, "The unreasonable
    effectiveness of the forget gate" (2018).

    Parameters
    ----------
    input_size, hidden_size : int
        Number of inputs I and of hidden units H.
    beta : float, default 1.0
        β, which is subtracted from the sum of the forget gate where it scales g. The paper uses 1.
    chrono : float, optional
        Longest memory, in steps, of the layer at the start of training; at least 2. It only sets
        initial biases: log u for f, with u uniform between 1 and chrono - 1.
    bias : bool, default True
        Whether the sums of the gates have biases.
    reverse : bool, default False
        Read each row from its last valid step to its first. y is aligned with x; the last state is
        the one after step 0.
    delays : int or tuple of int, default 1
        Steps from an earlier state to the step that reads it, 1 to 2**20. An int d: the products
        read h of d steps before alone, as d layers would, each over every d-th step. A tuple of up
        to 16 different ints: the sum of W_h,k h_{t-d_k} over these delays. σ(s)∘h has h of the
        shortest delay. Only steps that are read count. With D, the longest delay, above 1 a state
        has those of the last D steps.
    layer_norm : bool, default False
        Normalise W_x x and W_h h, each by itself, over all units of both gates together.
    clip : float, optional
        Clip the sums of the gates to [-clip, clip], before their activations. None: do not clip.
    learn_state : bool, default False
        Make the initial state a parameter. It is used if the caller passes no state, and after
        resets.
    recurrent_dropout : float, default 0
        Probability that the recurrent products leave out a unit of h, in training. The same units
        are left out at all steps of a row.
    zoneout : float, default 0
        Probability that a unit of the state keeps its value at a step, in training. In evaluation,
        the old and the new state are mixed in this proportion.
    weight_drop : float, default 0
        Probability that an element of W_h is 0 during a whole call, in training.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters, outputs and states. `crnn.gradcheck` checks a float64 copy.
    seed : int, optional
        Seed of the initial weights, and of the random numbers in training. None draws a seed.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        W_x (2*H, I), W_h (2*H, H), b (2*H,), in row blocks of H in the order of `gate_order`.
        `layer_norm` adds gain_x and gain_h (2*H,), `learn_state` adds h0 (H,). With K delays W_h is
        (2*H, K*H), in blocks in the order of `delays`; with D above 1 h0 is (D, H), the oldest
        first.
        The arrays can be changed in place, and outlive the layer; assigning copies into them.
    flat_params, flat_grads : ndarray
        The same numbers as one vector each; assigning copies into it.
    gate_order : tuple of str
        ("f", "g").
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
        or (B, T) integers, which stand for columns of W_x. The state is h (B, H), with D above 1
        (B, D, H), the oldest first.
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
        is invalid.

    See Also
    --------
    crnn.reference.JANET : The same equations and options in NumPy.

    Notes
    -----
    Initial weights: W_h is orthogonal for each gate, and with K delays for each of them, then
    divided by √K (Saxe, McClelland and Ganguli, "Exact solutions
    to the nonlinear dynamics of learning in deep linear neural networks", 2014). W_x is uniform
    with fans I and H (Glorot and Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", 2010). b is 0. `chrono` is an option of Tallec and Ollivier,
    "Can recurrent neural networks warp time?" (2018).

    Sources of `delays`: El Hihi and Bengio, "Hierarchical recurrent neural networks for long-term
    dependencies" (1995); Lin, Horne, Tiňo and Giles, "Learning long-term dependencies in NARX
    recurrent neural networks" (1996); Zhang et al., "Architectural complexity measures of recurrent
    neural networks" (2016), with the delays 1 and d; Chang et al., "Dilated recurrent neural
    networks" (2017), with one delay for each layer. With one delay d, the d parts of a row run side
    by side, so a layer is faster for few rows than without.

    The random numbers in training are a function of the seed, of the arguments `call` and `layer`
    of forward, and of the numbers of row and step. Sources of the options: Ba, Kiros and Hinton,
    "Layer normalization" (2016); Gal and Ghahramani, "A theoretically grounded application of
    dropout in recurrent neural networks" (2016); Krueger et al., "Zoneout: regularizing RNNs by
    randomly preserving hidden activations" (2017); for `weight_drop` Merity, Keskar and Socher,
    "Regularizing and optimizing LSTM language models" (2018).

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer, x = crnn.JANET(3, 4, seed=0), np.ones((2, 5, 3))
    >>> y, h, tape = layer.forward(x, lengths=[5, 2])
    >>> y.shape, h.shape, tape.gates["f"].shape
    ((2, 5, 4), (2, 4), (2, 5, 4))
    >>> bool((h[0] == y[0, -1]).all())
    True
    >>> dx, dh = layer.backward(tape, np.ones_like(y))
    >>> dx.shape, layer.grads["W_h"].shape
    ((2, 5, 3), (8, 4))
    """

    _core_type = _core.JANET
    _initial: ClassVar[dict[str, Any]] = {"chrono": None}

    chrono: float | None
    beta: Option[float]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        chrono: float | None = None,
        seed: int | None = None,
        **options: Unpack[JANETOptions],
    ) -> None:
        seed, chrono = check_seed(seed), check_chrono(chrono)
        check_option_names(type(self), options)
        super().__init__(input_size, hidden_size, **options)
        self._draw_weights(seed)
        self._begin_chrono(chrono, ("f", 1))
