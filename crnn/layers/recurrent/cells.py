"""The recurrent layers: options, initial weights and documentation; the mathematics is in the core.

Letters: B sequences, T steps, I inputs, H hidden units, P units of h (H, or what they are projected
to), G gates. σ is the logistic function, ∘ the product element by element; a dot stands for
W_x x + W_h h + b of its gate. What each option computes is written, in NumPy, in `crnn.reference`.
"""

from __future__ import annotations

import copyreg
import math
from collections.abc import Mapping
from typing import Any, ClassVar, TypedDict, Unpack, cast

import numpy as np
from numpy.typing import DTypeLike

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.checks import check_fits, check_number, check_seed
from crnn.layers.base import weights
from crnn.layers.base.description import Widths
from crnn.layers.base.layer import Layer, Temporal
from crnn.layers.base.parameters import writable
from crnn.layers.recurrent.documentation import document


class Options(TypedDict, total=False):
    """What all recurrent layers take by name."""

    bias: bool
    reverse: bool
    layer_norm: bool
    clip: float | None
    learn_state: bool
    recurrent_dropout: float
    zoneout: float | tuple[float, float]
    weight_drop: float
    dtype: DTypeLike


class GatedOptions(Options, total=False):
    """Those of the LSTM and the GRU."""

    activation: str
    recurrent_activation: str


class LSTMOptions(GatedOptions, total=False):
    """Those of the LSTM."""

    output_activation: str
    peepholes: bool
    coupled: bool
    proj_size: int | None


_FIXED = frozenset({*LSTMOptions.__annotations__, "reset", "beta"})


class Recurrent(Temporal):
    """What the recurrent layers share beyond the core: weights, copies, configuration."""

    _leading = ("input_size", "hidden_size")

    #: The type of the core.
    _core_type: ClassVar[type[_core.Recurrent]]
    #: The letter of the gate that proposes what to write; the others open and close.
    candidate: ClassVar[str] = "g"
    #: Options that decide initial parameters alone, with their defaults: attributes of the layer.
    _initial: ClassVar[dict[str, Any]] = {}

    def __getattr__(self: Any, name: str) -> Any:
        """Options are attributes."""
        looks_like_one = not name.startswith("_") and name != "options"
        if looks_like_one and name in (options := self.options):
            return options[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and isinstance(self, _core.Recurrent):
            raise AttributeError(f"{name}: cannot be set; make a new layer with this option")
        super().__setattr__(name, value)

    @property
    def reads_backwards(self: Any) -> bool:
        """Whether it is reversed."""
        return bool(self.reverse)

    @property
    def state_sizes(self: Any) -> tuple[int, ...]:
        """(P,), or (P, H) where there is a c."""
        return (self.output_size,)

    @property
    def symbols(self: Any) -> int | None:
        """I, where the core computes: integers stand for their one-hot rows."""
        return int(self.input_size) if isinstance(self, _core.Recurrent) else None

    def with_vectors(self, symbols: Array, which: int = 0) -> tuple[Layer, Array] | None:
        return self, np.eye(self.symbols or 0)[symbols]

    @property
    def gate_activations(self: Any) -> dict[str, str]:
        """The name of each gate's activation, by its letter."""
        names = {"activation": "tanh", "recurrent_activation": "sigmoid"} | self.options
        return {
            gate: names["activation" if gate == self.candidate else "recurrent_activation"]
            for gate in self.gate_order
        }

    def _draw_weights(self: Any, seed: int) -> None:
        """Orthogonal W_h gate by gate, Glorot-uniform W_x and W_p, gains of 1; the rest is 0."""
        self.seed = seed
        gates, H, P, params = len(self.gate_order), self.hidden_size, self.output_size, self.params
        params["W_x"] = weights.glorot_uniform(
            seed, weights.INPUT_STREAM, params["W_x"].shape, self.input_size, H
        )
        params["W_h"] = weights.orthogonal(seed, weights.RECURRENT_STREAM, gates, H, P)
        if "W_p" in params:
            params["W_p"] = weights.glorot_uniform(seed, weights.PROJECTION_STREAM, (P, H), H, P)
        for name in ("gain_x", "gain_h", "gain_c"):
            if name in params:
                params[name] = 1.0

    def _set_bias(self: Any, gate: str, values: Any) -> None:
        """Set the bias of one gate, where there are biases."""
        if self.bias:
            begin = self.gate_order.index(gate) * self.hidden_size
            self.params["b"][begin : begin + self.hidden_size] = values

    def _begin_chrono(self: Any, chrono: float | None, *gates: tuple[str, int]) -> None:
        """Biases for memories of many lengths: of gates, each with the sign that makes it keep."""
        self.chrono = chrono
        if chrono is None:
            return
        values = weights.chrono(self.seed, self.hidden_size, chrono)
        for gate, sign in gates:
            self._set_bias(gate, sign * values)

    def _core_arguments(self: Any) -> dict[str, Any]:
        sizes = {"input_size": self.input_size, "hidden_size": self.hidden_size}
        return sizes | dict(self.options)

    @property
    def config(self: Any) -> dict[str, Any]:
        sizes = {name: getattr(self, name) for name in self._leading}
        initial = {name: getattr(self, name) for name in self._initial}
        return sizes | initial | dict(self.options) | {"seed": self.seed}

    @classmethod
    def _outline_of(cls, config: Mapping[str, Any]) -> tuple[int, int, int]:
        """Parameters, P and arrays of the state of a layer of this configuration."""
        others, core = {*cls._initial, "seed"}, cast(Any, cls._core_type)
        own = {name: value for name, value in config.items() if name not in others}
        parameters, P, states = core._outline(**own)
        return parameters, P, states

    @classmethod
    def parameter_count(cls, config: Mapping[str, Any]) -> int:
        return cls._outline_of(config)[0]

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        _, P, states = cls._outline_of(config)
        widths = (P, config["hidden_size"])[:states]
        return Widths(config["input_size"], P, widths, last=widths)

    @property
    def _defaults(self) -> dict[str, Any]:
        return self._initial | self._core_type(1, 1).options

    def zero_grad(self: Any) -> None:
        self.flat_grads.fill(0)

    def _convert(self: Any, dtype: np.dtype[Any]) -> None:
        self._remake(self._core_arguments() | {"dtype": dtype.name}, self.flat_params)

    def _remake(self: Any, arguments: Mapping[str, Any], flat_params: Array) -> None:
        self._core_type.__init__(self, **arguments)
        self.flat_params[...] = flat_params

    def __reduce__(self: Any) -> tuple[Any, ...]:
        arrays = self.flat_params, self.flat_grads
        state = (self._core_arguments(), *arrays, self.seed, self.__dict__)
        return copyreg.__newobj__, (type(self),), state  # type: ignore[attr-defined]

    def __setstate__(
        self: Any, state: tuple[dict[str, Any], Array, Array, int, dict[str, Any]]
    ) -> None:
        arguments, flat_params, flat_grads, seed, attributes = state
        self._remake(arguments, flat_params)
        self.flat_grads[...] = flat_grads
        self.seed = seed
        self.__dict__.update(writable(attributes))


def cell_classes() -> dict[str, type[Any]]:
    """Return crnn's own recurrent layers by name, without subclasses that a user has made."""
    return {cls.__name__: cls for cls in Recurrent.__subclasses__() if cls.__module__ == __name__}


class RNN(_core.RNN, Recurrent):
    """The simple recurrent layer: h' = φ(W_x x + W_h h + b).

    Elman, "Finding structure in time" (1990).

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    activation : str, default "tanh"
        φ: one of <activations>. tanh keeps the state bounded; relu does not saturate, and may
        explode."""

    _core_type = _core.RNN
    candidate = "h"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        activation: str = "tanh",
        seed: int | None = None,
        **options: Unpack[Options],
    ) -> None:
        seed = check_seed(seed)
        super().__init__(input_size, hidden_size, activation=activation, **options)
        self._draw_weights(seed)


def _check_chrono(chrono: float | None) -> float | None:
    return None if chrono is None else check_number("chrono", chrono, 2)


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
        gradients reach back from the first update on (Gers et al. 2000; Jozefowicz et al. 2015).
    <chrono>
    recurrent_activation, activation, output_activation : str, default "sigmoid", "tanh", "tanh"
        Of the gates i, f and o, of g, and of c' on its way to h': each one of <activations>.
    peepholes : bool, default False
        The sums of i and f gain p_i∘c and p_f∘c, that of o gains p_o∘c' (Gers and Schmidhuber,
        "Recurrent nets that time and count", 2000).
    coupled : bool, default False
        f = 1 - i: what is forgotten is what is written (Greff et al., "LSTM: a search space
        odyssey", 2017). The gates are then i, g, o.
    proj_size : int, optional
        P: h' = W_p (o∘tanh(c')) has P units instead of H (Sak, Senior and Beaufays 2014)."""

    _core_type = _core.LSTM
    _initial: ClassVar[dict[str, Any]] = {"forget_bias": 1.0, "chrono": None}

    forget_bias: float
    chrono: float | None

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """(P, H)."""
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
        seed, chrono = check_seed(seed), _check_chrono(chrono)
        if not isinstance(forget_bias, (int, float, np.number)) or not math.isfinite(forget_bias):
            raise ValueError(f"forget_bias: expected a finite number, got {forget_bias!r}")
        super().__init__(input_size, hidden_size, **options)
        check_fits("forget_bias", forget_bias, np.empty((), self.dtype))
        self.forget_bias = float(forget_bias)
        self._draw_weights(seed)
        if "f" in self.gate_order:
            self._set_bias("f", self.forget_bias)
            self._begin_chrono(chrono, ("f", 1), ("i", -1))
        else:
            self._set_bias("i", -self.forget_bias)
            self._begin_chrono(chrono, ("i", -1))


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
        product with h a step, and so the faster.
    <chrono>
    recurrent_activation, activation : str, default "sigmoid", "tanh"
        Of the gates r and z, and of n: each one of <activations>."""

    _core_type = _core.GRU
    candidate = "n"
    _initial: ClassVar[dict[str, Any]] = {"chrono": None}

    chrono: float | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        reset: str = "after",
        chrono: float | None = None,
        seed: int | None = None,
        **options: Unpack[GatedOptions],
    ) -> None:
        seed, chrono = check_seed(seed), _check_chrono(chrono)
        super().__init__(input_size, hidden_size, reset=reset, **options)
        self._draw_weights(seed)
        self._begin_chrono(chrono, ("z", -1))


class JANET(_core.JANET, Recurrent):
    """Just another network: s = · of f, g = tanh(·); h' = σ(s)∘h + (1−σ(s−β))∘g.

    An LSTM with the forget gate alone: van der Westhuizen and Lasenby, "The unreasonable
    effectiveness of the forget gate" (2018). `tape.gates["f"]` is σ(s).

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    beta : float, default 1.0
        How far the gate that lets input in lies behind the one that forgets; the paper's value.
    <chrono>"""

    _core_type = _core.JANET
    _initial: ClassVar[dict[str, Any]] = {"chrono": None}

    chrono: float | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        beta: float = 1.0,
        chrono: float | None = None,
        seed: int | None = None,
        **options: Unpack[Options],
    ) -> None:
        seed, chrono = check_seed(seed), _check_chrono(chrono)
        super().__init__(input_size, hidden_size, beta=beta, **options)
        self._draw_weights(seed)
        self._begin_chrono(chrono, ("f", 1))


document(RNN, gates='("h",)')
document(LSTM, gates='("i", "f", "g", "o")', state="the pair (h, c), (B, P) and (B, H)")
document(GRU, gates='("r", "z", "n")', b_hn=', and for reset "after" b_hn (H,)')
document(JANET, gates='("f", "g")')
