"""The recurrent layers: options, initial weights and documentation; the mathematics is in the core.

Letters: B sequences, T steps, I inputs, H hidden units, G gates. σ is the logistic function, ∘ the
product element by element; a dot stands for W_x x + W_h h + b of its gate.
"""

from __future__ import annotations

import copyreg
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from crnn import _core
from crnn.layers import init
from crnn.layers.base import Array, Layer, check_seed


class Recurrent(Layer):
    """What the recurrent layers share beyond the core: weights, copies, configuration."""

    _leading = ("input_size", "hidden_size")

    #: The type of the core, and the options that it takes besides the common ones.
    _core_type: ClassVar[type[_core.Recurrent]]
    _core_options: ClassVar[tuple[str, ...]] = ()

    seed: int

    def _draw_weights(self: Any, seed: int | None) -> None:
        """Orthogonal W_h gate by gate, Glorot-uniform W_x; the biases stay zero."""
        self.seed = check_seed(seed)
        gates, H, params = len(self.gate_order), self.hidden_size, self.params
        params["W_x"] = init.glorot_uniform(
            self.seed, init.INPUT_STREAM, params["W_x"].shape, self.input_size, H
        )
        params["W_h"] = init.orthogonal(self.seed, init.RECURRENT_STREAM, gates, H)

    def _core_arguments(self: Any) -> dict[str, Any]:
        names = ("input_size", "hidden_size", *self._core_options, "bias", "reverse")
        return {name: getattr(self, name) for name in names} | {"dtype": self.dtype.name}

    @property
    def config(self) -> dict[str, Any]:
        return self._core_arguments() | {"seed": self.seed}

    def zero_grad(self: Any) -> None:
        self.flat_grads.fill(0)

    def _convert(self: Any, dtype: np.dtype[Any]) -> None:
        self._remake(self._core_arguments() | {"dtype": dtype.name}, self.flat_params)

    def _remake(self: Any, arguments: Mapping[str, Any], flat_params: Array) -> None:
        self._core_type.__init__(self, **arguments)
        self.flat_params[...] = flat_params

    def __reduce__(self: Any) -> tuple[Any, ...]:
        state = (self._core_arguments(), self.flat_params, self.flat_grads, self.__dict__)
        return copyreg.__newobj__, (type(self),), state  # type: ignore[attr-defined]

    def __setstate__(self: Any, state: tuple[dict[str, Any], Array, Array, dict[str, Any]]) -> None:
        arguments, flat_params, flat_grads, attributes = state
        self._remake(arguments, flat_params)
        self.flat_grads[...] = flat_grads
        self.__dict__.update(attributes)


_SHARED = """
    bias : bool, default True
        Whether there are biases.
    reverse : bool, default False
        Read each row from its own last step to its first. `y` stays aligned with `x`; the state
        returned is the one after step 0.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters, outputs and states. float64 is what gradients are checked in.
    seed : int, optional
        Decides the initial weights: W_h orthogonal gate by gate (Saxe et al. 2014), W_x uniform
        with fans I and H (Glorot and Bengio 2010). None, the default, draws a fresh one; the
        attribute `seed` tells it.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        W_x (G*H, I), W_h (G*H, H), b (G*H,) in row blocks of H by `gate_order`<b_hn>. They can be
        edited in place and outlive the layer.
    flat_params, flat_grads : ndarray
        The same numbers as one vector each.
    gate_order : tuple of str
        <gates>.
    input_size, hidden_size, dtype, bias, reverse, seed
        As given.

    Raises
    ------
    ValueError, TypeError
        For a size below 1 or too large for memory, an unknown option, a wrong seed.

    Methods
    -------
    layer(x, state=None, *, lengths=None) -> y, state
        Evaluation: keeps nothing. `x` is (B, T, I) floats, or (B, T) integers, which stand for the
        columns of W_x. `lengths` (B,) says how many steps of each row are there, 0 allowed; past
        them `y` is 0. `y` is (B, T, H). `state` is <state>; None stands for zeros.
    forward(x, state=None, *, lengths=None, training=True) -> y, state, tape
        The same and a tape: what backward needs, and the gates and states of every step, as
        `tape.gates[letter]` and `tape.h`<tape_c>, each (B, T, H).
    backward(tape, dy, dstate=None, *, trace=False) -> dx, dstate
        Backpropagation through time, from the gradients of `y` (or None) and of the last state.
        Adds to `grads`; returns the gradients of `x` (None for integers) and of the initial state.
        With `trace`, the tape then has `dh`<tape_dc>: the total derivatives at every step.
    stream(batch=1, state=None) -> Stream
        The layer one step at a time, with the weights as they are now.
    zero_grad(), state_dict(), load_state_dict(state), astype(dtype)
        As in every layer.
"""


def _document(cls: type[Recurrent], gates: str, state: str = "h (B, H)", b_hn: str = "") -> None:
    """Fill in the part of the docstring that all cells share."""
    facts = {
        "<gates>": gates,
        "<state>": state,
        "<b_hn>": b_hn,
        "<tape_c>": ", `tape.c`" if "c" in state else "",
        "<tape_dc>": " and `dc`" if "c" in state else "",
    }
    text = _SHARED
    for place, fact in facts.items():
        text = text.replace(place, fact)
    cls.__doc__ = (cls.__doc__ or "").rstrip() + text


class RNN(_core.RNN, Recurrent):
    """The simple recurrent layer: h' = φ(W_x x + W_h h + b).

    Elman, "Finding structure in time" (1990).

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    activation : {"tanh", "relu"}, default "tanh"
        φ. tanh keeps the state bounded; relu does not saturate, and may explode."""

    _core_type = _core.RNN
    _core_options = ("activation",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        activation: str = "tanh",
        bias: bool = True,
        reverse: bool = False,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        seed = check_seed(seed)
        super().__init__(
            input_size, hidden_size, activation=activation, bias=bias, reverse=reverse, dtype=dtype
        )
        self._draw_weights(seed)


class LSTM(_core.LSTM, Recurrent):
    """Long short-term memory: i, f, o = σ(·), g = tanh(·); c' = f∘c + i∘g; h' = o∘tanh(c').

    Hochreiter and Schmidhuber, "Long short-term memory" (1997), with the forget gate of Gers,
    Schmidhuber and Cummins, "Learning to forget" (2000).

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    forget_bias : float, default 1.0
        Initial bias of the forget gate, and nothing after that. At 1 the gate starts open, so that
        gradients reach back from the first update on (Gers et al. 2000; Jozefowicz et al. 2015)."""

    _core_type = _core.LSTM
    forget_bias: float

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 1.0,
        bias: bool = True,
        reverse: bool = False,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        seed = check_seed(seed)
        if not isinstance(forget_bias, (int, float, np.number)) or not np.isfinite(forget_bias):
            raise ValueError(f"forget_bias: expected a finite number, got {forget_bias!r}")
        super().__init__(input_size, hidden_size, bias=bias, reverse=reverse, dtype=dtype)
        self.forget_bias = float(forget_bias)
        self._draw_weights(seed)
        if self.bias:
            forget = self.gate_order.index("f") * self.hidden_size
            self.params["b"][forget : forget + self.hidden_size] = self.forget_bias

    @property
    def config(self) -> dict[str, Any]:
        return super().config | {"forget_bias": self.forget_bias}


class GRU(_core.GRU, Recurrent):
    """Gated recurrent unit: r, z = σ(·); h' = (1−z)∘h + z∘n.

    Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014). The candidate n
    depends on where the reset gate stands:

    - after: n = tanh(W_x,n x + b_n + r∘(W_h,n h + b_hn)), the form of cuDNN, and of PyTorch;
    - before: n = tanh(W_x,n x + W_h,n (r∘h) + b_n), the form of the paper.

    z = 1 takes the new candidate; PyTorch, Keras and ONNX have 1−z there.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    reset : {"after", "before"}, default "after"
        Whether r multiplies the recurrent sum or the state that goes into it. "after" is one
        product with h a step, and so the faster."""

    _core_type = _core.GRU
    _core_options = ("reset",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        reset: str = "after",
        bias: bool = True,
        reverse: bool = False,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        seed = check_seed(seed)
        super().__init__(
            input_size, hidden_size, reset=reset, bias=bias, reverse=reverse, dtype=dtype
        )
        self._draw_weights(seed)


class JANET(_core.JANET, Recurrent):
    """Just another network: s = · of f, g = tanh(·); h' = σ(s)∘h + (1−σ(s−β))∘g.

    An LSTM with the forget gate alone: van der Westhuizen and Lasenby, "The unreasonable
    effectiveness of the forget gate" (2018). `tape.gates["f"]` is σ(s).

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    beta : float, default 1.0
        How far the gate that lets input in lies behind the one that forgets; the paper's value."""

    _core_type = _core.JANET
    _core_options = ("beta",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        beta: float = 1.0,
        bias: bool = True,
        reverse: bool = False,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        seed = check_seed(seed)
        super().__init__(
            input_size, hidden_size, beta=beta, bias=bias, reverse=reverse, dtype=dtype
        )
        self._draw_weights(seed)


_document(RNN, '("h",)')
_document(LSTM, '("i", "f", "g", "o")', "the pair (h, c), each (B, H)")
_document(GRU, '("r", "z", "n")', b_hn=', and for reset "after" b_hn (H,)')
_document(JANET, '("f", "g")')
