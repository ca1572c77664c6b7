"""The recurrent layers: options, initial weights and documentation; the core computes them.

Letters: B sequences, T steps, I inputs, H hidden units, P units of h (H, or what they are projected
to), G gates. σ is the logistic function, ∘ the product element by element; a dot stands for
W_x x + W_h h + b of its gate. What each option computes is written, in NumPy, in `crnn.reference`.
"""

from __future__ import annotations

import copyreg
import inspect
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack, cast, get_args, get_type_hints

import numpy as np
from numpy.typing import DTypeLike

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.checks import check_fits, check_number, check_seed
from crnn.common.choices import Activation, Reset
from crnn.layers.base import weights
from crnn.layers.base.description import Widths, is_own
from crnn.layers.base.hints import check_option_names
from crnn.layers.base.layer import Layer, Temporal
from crnn.layers.base.parameters import writable
from crnn.layers.base.protocol import Option


class CommonOptions(TypedDict, total=False):
    """Options of all recurrent layers. Their defaults are the core's."""

    bias: bool
    reverse: bool
    layer_norm: bool
    clip: float | None
    learn_state: bool
    recurrent_dropout: float
    weight_drop: float
    dtype: DTypeLike


class Options(CommonOptions, total=False):
    """Options of all recurrent layers whose state is h."""

    zoneout: float


class RNNOptions(Options, total=False):
    """Options of the RNN."""

    activation: Activation


class GatedOptions(Options, total=False):
    """Options of a layer with gates, whose activations can be chosen, and whose state is h."""

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


_FIXED = frozenset().union(
    *(each.__annotations__ for each in (RNNOptions, LSTMOptions, GRUOptions, JANETOptions))
)


class CellSignature:
    """The attribute `__signature__` of the recurrent layers: all options with their defaults.

    The defaults are the core's. The signature is computed when it is read. Subclasses with a
    constructor of a user do not have the attribute, so that `inspect` reads their constructor.
    """

    def __get__(self, layer: Any, cls: type[Recurrent]) -> inspect.Signature:
        constructing = {"__init__", "__new__"}
        base = next(base for base in cls.__mro__ if constructing & vars(base).keys())
        if layer is not None or not is_own(base):
            raise AttributeError("__signature__")
        init: Any = cls.__init__
        _, *parameters = inspect.signature(init).parameters.values()
        *first, seed, options = parameters
        (typed_dict,) = get_args(get_type_hints(init)[options.name])
        types, defaults = typed_dict.__annotations__, cls._core_type(1, 1).options
        common = Options.__annotations__
        names = sorted(defaults, key=lambda name: (name in common, name == "dtype"))
        keywords = [
            options.replace(
                name=name,
                kind=options.KEYWORD_ONLY,
                default=defaults[name],
                annotation=getattr(types[name], "__forward_arg__", types[name]),
            )
            for name in names
        ]
        return inspect.Signature([*first, *keywords, seed])


class Recurrent(Temporal):
    """What the recurrent layers share beyond the core: weights, copies, configuration."""

    _leading = ("input_size", "hidden_size")

    #: The type of the core.
    _core_type: ClassVar[type[_core.Recurrent]]
    #: The letter of the gate that proposes what to write; the others open and close.
    candidate: ClassVar[str] = "g"
    #: Options that decide initial parameters alone, with their defaults: attributes of the layer.
    _initial: ClassVar[dict[str, Any]] = {}

    __signature__ = CellSignature()

    if TYPE_CHECKING:

        @property
        def hidden_size(self) -> int: ...

    # Options of the core: `__getattr__` returns their values.
    bias: Option[bool]
    reverse: Option[bool]
    layer_norm: Option[bool]
    clip: Option[float | None]
    learn_state: Option[bool]
    recurrent_dropout: Option[float]
    zoneout: Option[float | tuple[float, float]]
    weight_drop: Option[float]

    if not TYPE_CHECKING:  # type checkers know the options of each layer, and no other names

        def __getattr__(self, name: str) -> Any:
            """Options are attributes."""
            looks_like_one = not name.startswith("_") and name != "options"
            if looks_like_one and name in (options := self.options):
                return options[name]
            return super().__getattr__(name)

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
        φ: one of "tanh", "sigmoid", "hard_sigmoid" (0.2 s + 0.5, limited to 0 ... 1), "relu",
        "softsign" (s / (1 + |s|)) and "identity". "tanh" keeps the state bounded; "relu" does not
        saturate, and the state may grow without bound.
    bias : bool, default True
        Whether the sums of the gates have biases.
    reverse : bool, default False
        Read each row from its last valid step to its first. `y` stays aligned with `x`; the state
        returned is the one after step 0.
    layer_norm : bool, default False
        Normalise W_x x and W_h h, each by itself, over all units: Ba, Kiros and Hinton, "Layer
        normalization" (2016).
    clip : float, optional
        Bound of the gates' sums before their activations: each sum is clipped to [-clip, clip].
    learn_state : bool, default False
        Make the initial state a parameter. It is used where no state is given, and after resets.
    recurrent_dropout : float, default 0
        Probability that the recurrent products leave out a unit of h, the same units in all steps
        of a row (Gal and Ghahramani 2016). Applied in training only.
    zoneout : float, default 0
        Probability that a unit of the state keeps its value, drawn for each step (Krueger et al.
        2017). In evaluation the old and the new state are mixed in this proportion.
    weight_drop : float, default 0
        Probability that an element of W_h is 0 throughout a call (Merity et al. 2018). Applied in
        training only.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters, outputs and states. Gradients are checked in float64.
    seed : int, optional
        Determines the initial weights (W_h orthogonal gate by gate, Saxe et al. 2014; W_x uniform
        with fans I and H, Glorot and Bengio 2010) and, with the arguments of forward, what is
        dropped. None, the default, draws a seed; the attribute `seed` holds it.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        W_x (H, I), W_h (H, H), b (H,). `layer_norm` adds gain_x, gain_h (H,); `learn_state` adds
        h0 (H,).
        The arrays can be edited in place and outlive the layer; assigning copies into them.
    flat_params, flat_grads : ndarray
        The same numbers as one vector each; assigning copies into it.
    calls : int
        Number of the next training call without a `call` argument, for a layer that drops anything:
        how many there have been.
    gate_order : tuple of str
        ("h",).
    input_size, hidden_size, output_size : int
        I, H and H.
    dtype : dtype
    seed : int
    options : dict
        All options of the core by name; each is an attribute, too.

    Raises
    ------
    ValueError, TypeError
        For a size below 1 or too large for memory, an unknown option, a wrong seed.

    Methods
    -------
    layer(x, state=None, *, lengths=None, mask=None, resets=None) -> y, state
        Evaluation: keeps nothing. `x` is (B, T, I) floats, or (B, T) integers, which stand for the
        columns of W_x. `lengths` (B,) is the number of valid steps of each row, from 0 to T; past
        them `y` is 0. `y` is (B, T, H). `state` is h (B, H);
        None stands for zeros, or for the learned state. `mask` (B, T) is False at steps that are
        not read: the state stays, and `y` repeats the output of the last step read (0 before the
        first). `resets` (B, T) is True at steps before which the state of a row is reset: the row
        continues from the initial state, independent of the steps before.
    forward(x, ..., training=True, call=None, first_row=0, first_step=0, layer=0) -> y, state, tape
        The same and a tape: what backward needs, and the gates and states of every step, as
        `tape.gates[letter]`, each (B, T, H), and `tape.h`. What is dropped in training
        is a function of the layer's seed, of `call` and `layer`, and of the numbers of row and
        step, counted from `first_row` and `first_step`. `call` None takes the next number, that of
        `calls`.
    backward(tape, dy, dstate=None, *, trace=False) -> dx, dstate
        Backpropagation through time, from the gradients of `y` (or None) and of the last state.
        Adds to `grads`; returns the gradients of `x` (None for integers) and of the initial state.
        With `trace`, the tape then has `dh`, the total derivatives at every step, and
        `dgates[letter]`, those of the gates' sums: see `crnn.diagnostics.gradient_flow`.
    stream(batch_size=1, state=None) -> Stream
        The layer one step at a time, with the weights as they are now.
    zero_grad(), state_dict(), load_state_dict(state), astype(dtype)
        As in every layer.
    """

    _core_type = _core.RNN
    candidate = "h"

    activation: Option[Activation]

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
        Initial bias of the forget gate. At 1 the gate starts open, so that gradients reach far
        back from the first update on (Gers et al. 2000; Jozefowicz et al. 2015).
    chrono : float, optional
        Longest memory, in steps, of the layer at the start of training, at least 2. It only sets
        initial biases: log u for f and -log u for i, with u uniform between 1 and chrono - 1
        (Tallec and Ollivier 2018).
    recurrent_activation, activation, output_activation : str, default "sigmoid", "tanh", "tanh"
        Of the gates i, f and o, of g, and of c' on its way to h': each one of "tanh", "sigmoid",
        "hard_sigmoid" (0.2 s + 0.5, limited to 0 ... 1), "relu", "softsign" (s / (1 + |s|)) and
        "identity".
    peepholes : bool, default False
        The sums of i and f gain p_i∘c and p_f∘c, that of o gains p_o∘c' (Gers and Schmidhuber,
        "Recurrent nets that time and count", 2000).
    coupled : bool, default False
        Compute f as 1 - i (Greff et al., "LSTM: a search space odyssey", 2017). The gates are then
        i, g, o.
    proj_size : int, optional
        P: h' = W_p (o∘tanh(c')) has P units instead of H (Sak, Senior and Beaufays 2014).
    bias : bool, default True
        Whether the sums of the gates have biases.
    reverse : bool, default False
        Read each row from its last valid step to its first. `y` stays aligned with `x`; the state
        returned is the one after step 0.
    layer_norm : bool, default False
        Normalise W_x x and W_h h, each by itself, over all units of all gates together, and c' on
        its way to h': Ba, Kiros and Hinton, "Layer normalization" (2016).
    clip : float, optional
        Bound of the gates' sums before their activations: each sum is clipped to [-clip, clip].
    learn_state : bool, default False
        Make the initial state a parameter. It is used where no state is given, and after resets.
    recurrent_dropout : float, default 0
        Probability that the recurrent products leave out a unit of h, the same units in all steps
        of a row (Gal and Ghahramani 2016). Applied in training only.
    zoneout : float or pair of floats, default 0
        Probability that a unit of the state keeps its value, drawn for each step (Krueger et al.
        2017). In evaluation the old and the new state are mixed in this proportion. A pair gives
        the probability for h and the one for c.
    weight_drop : float, default 0
        Probability that an element of W_h is 0 throughout a call (Merity et al. 2018). Applied in
        training only.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters, outputs and states. Gradients are checked in float64.
    seed : int, optional
        Determines the initial weights (W_h orthogonal gate by gate, Saxe et al. 2014; W_x uniform
        with fans I and H, Glorot and Bengio 2010) and, with the arguments of forward, what is
        dropped. None, the default, draws a seed; the attribute `seed` holds it.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        W_x (G*H, I), W_h (G*H, P), b (G*H,), in row blocks of H in the order of `gate_order`.
        `peepholes` adds p_i, p_f, p_o (H,); `layer_norm` gain_x, gain_h (G*H,) and gain_c,
        b_c (H,); `proj_size` W_p (P, H); `learn_state` h0 (P,) and c0 (H,).
        The arrays can be edited in place and outlive the layer; assigning copies into them.
    flat_params, flat_grads : ndarray
        The same numbers as one vector each; assigning copies into it.
    calls : int
        Number of the next training call without a `call` argument, for a layer that drops anything:
        how many there have been.
    gate_order : tuple of str
        ("i", "f", "g", "o"); with `coupled` ("i", "g", "o").
    input_size, hidden_size, output_size : int
        I, H and P, which is H without a projection.
    dtype : dtype
    seed : int
    options : dict
        All options of the core by name; each is an attribute, too.

    Raises
    ------
    ValueError, TypeError
        For a size below 1 or too large for memory, an unknown option, a wrong seed.

    Methods
    -------
    layer(x, state=None, *, lengths=None, mask=None, resets=None) -> y, state
        Evaluation: keeps nothing. `x` is (B, T, I) floats, or (B, T) integers, which stand for the
        columns of W_x. `lengths` (B,) is the number of valid steps of each row, from 0 to T; past
        them `y` is 0. `y` is (B, T, P). `state` is the pair (h, c), (B, P) and (B, H);
        None stands for zeros, or for the learned state. `mask` (B, T) is False at steps that are
        not read: the state stays, and `y` repeats the output of the last step read (0 before the
        first). `resets` (B, T) is True at steps before which the state of a row is reset: the row
        continues from the initial state, independent of the steps before.
    forward(x, ..., training=True, call=None, first_row=0, first_step=0, layer=0) -> y, state, tape
        The same and a tape: what backward needs, and the gates and states of every step, as
        `tape.gates[letter]`, each (B, T, H), and `tape.h` and `tape.c`. What is dropped in training
        is a function of the layer's seed, of `call` and `layer`, and of the numbers of row and
        step, counted from `first_row` and `first_step`. `call` None takes the next number, that of
        `calls`.
    backward(tape, dy, dstate=None, *, trace=False) -> dx, dstate
        Backpropagation through time, from the gradients of `y` (or None) and of the last state.
        Adds to `grads`; returns the gradients of `x` (None for integers) and of the initial state.
        With `trace`, the tape then has `dh` and `dc`, the total derivatives at every step, and
        `dgates[letter]`, those of the gates' sums: see `crnn.diagnostics.gradient_flow`.
    stream(batch_size=1, state=None) -> Stream
        The layer one step at a time, with the weights as they are now.
    zero_grad(), state_dict(), load_state_dict(state), astype(dtype)
        As in every layer.
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
        check_option_names(type(self), options)
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
        Whether r multiplies the recurrent sum or the state that goes into it. "after" is faster:
        it needs a single product with h for each step.
    chrono : float, optional
        Longest memory, in steps, of the layer at the start of training, at least 2. It only sets
        initial biases: -log u for z, with u uniform between 1 and chrono - 1 (Tallec and
        Ollivier 2018).
    recurrent_activation, activation : str, default "sigmoid", "tanh"
        Of the gates r and z, and of n: each one of "tanh", "sigmoid", "hard_sigmoid"
        (0.2 s + 0.5, limited to 0 ... 1), "relu", "softsign" (s / (1 + |s|)) and "identity".
    bias : bool, default True
        Whether the sums of the gates have biases.
    reverse : bool, default False
        Read each row from its last valid step to its first. `y` stays aligned with `x`; the state
        returned is the one after step 0.
    layer_norm : bool, default False
        Normalise W_x x and W_h h, each by itself, over all units of r and z together, and over
        those of n by themselves: Ba, Kiros and Hinton, "Layer normalization" (2016).
    clip : float, optional
        Bound of the gates' sums before their activations: each sum is clipped to [-clip, clip].
    learn_state : bool, default False
        Make the initial state a parameter. It is used where no state is given, and after resets.
    recurrent_dropout : float, default 0
        Probability that the recurrent products leave out a unit of h, the same units in all steps
        of a row (Gal and Ghahramani 2016). Applied in training only.
    zoneout : float, default 0
        Probability that a unit of the state keeps its value, drawn for each step (Krueger et al.
        2017). In evaluation the old and the new state are mixed in this proportion.
    weight_drop : float, default 0
        Probability that an element of W_h is 0 throughout a call (Merity et al. 2018). Applied in
        training only.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters, outputs and states. Gradients are checked in float64.
    seed : int, optional
        Determines the initial weights (W_h orthogonal gate by gate, Saxe et al. 2014; W_x uniform
        with fans I and H, Glorot and Bengio 2010) and, with the arguments of forward, what is
        dropped. None, the default, draws a seed; the attribute `seed` holds it.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        W_x (3*H, I), W_h (3*H, H), b (3*H,), in row blocks of H in the order of `gate_order`, and
        for reset "after" b_hn (H,). `layer_norm` adds gain_x, gain_h (3*H,); `learn_state` adds
        h0 (H,).
        The arrays can be edited in place and outlive the layer; assigning copies into them.
    flat_params, flat_grads : ndarray
        The same numbers as one vector each; assigning copies into it.
    calls : int
        Number of the next training call without a `call` argument, for a layer that drops anything:
        how many there have been.
    gate_order : tuple of str
        ("r", "z", "n").
    input_size, hidden_size, output_size : int
        I, H and H.
    dtype : dtype
    seed : int
    options : dict
        All options of the core by name; each is an attribute, too.

    Raises
    ------
    ValueError, TypeError
        For a size below 1 or too large for memory, an unknown option, a wrong seed.

    Methods
    -------
    layer(x, state=None, *, lengths=None, mask=None, resets=None) -> y, state
        Evaluation: keeps nothing. `x` is (B, T, I) floats, or (B, T) integers, which stand for the
        columns of W_x. `lengths` (B,) is the number of valid steps of each row, from 0 to T; past
        them `y` is 0. `y` is (B, T, H). `state` is h (B, H);
        None stands for zeros, or for the learned state. `mask` (B, T) is False at steps that are
        not read: the state stays, and `y` repeats the output of the last step read (0 before the
        first). `resets` (B, T) is True at steps before which the state of a row is reset: the row
        continues from the initial state, independent of the steps before.
    forward(x, ..., training=True, call=None, first_row=0, first_step=0, layer=0) -> y, state, tape
        The same and a tape: what backward needs, and the gates and states of every step, as
        `tape.gates[letter]`, each (B, T, H), and `tape.h`. What is dropped in training
        is a function of the layer's seed, of `call` and `layer`, and of the numbers of row and
        step, counted from `first_row` and `first_step`. `call` None takes the next number, that of
        `calls`.
    backward(tape, dy, dstate=None, *, trace=False) -> dx, dstate
        Backpropagation through time, from the gradients of `y` (or None) and of the last state.
        Adds to `grads`; returns the gradients of `x` (None for integers) and of the initial state.
        With `trace`, the tape then has `dh`, the total derivatives at every step, and
        `dgates[letter]`, those of the gates' sums: see `crnn.diagnostics.gradient_flow`.
    stream(batch_size=1, state=None) -> Stream
        The layer one step at a time, with the weights as they are now.
    zero_grad(), state_dict(), load_state_dict(state), astype(dtype)
        As in every layer.
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
        seed, chrono = check_seed(seed), _check_chrono(chrono)
        check_option_names(type(self), options)
        super().__init__(input_size, hidden_size, **options)
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
        Subtracted from the forget gate's sum in the gate that lets input in; the paper uses 1.
    chrono : float, optional
        Longest memory, in steps, of the layer at the start of training, at least 2. It only sets
        initial biases: log u for f, with u uniform between 1 and chrono - 1 (Tallec and
        Ollivier 2018).
    bias : bool, default True
        Whether the sums of the gates have biases.
    reverse : bool, default False
        Read each row from its last valid step to its first. `y` stays aligned with `x`; the state
        returned is the one after step 0.
    layer_norm : bool, default False
        Normalise W_x x and W_h h, each by itself, over all units of both gates together: Ba, Kiros
        and Hinton, "Layer normalization" (2016).
    clip : float, optional
        Bound of the gates' sums before their activations: each sum is clipped to [-clip, clip].
    learn_state : bool, default False
        Make the initial state a parameter. It is used where no state is given, and after resets.
    recurrent_dropout : float, default 0
        Probability that the recurrent products leave out a unit of h, the same units in all steps
        of a row (Gal and Ghahramani 2016). Applied in training only.
    zoneout : float, default 0
        Probability that a unit of the state keeps its value, drawn for each step (Krueger et al.
        2017). In evaluation the old and the new state are mixed in this proportion.
    weight_drop : float, default 0
        Probability that an element of W_h is 0 throughout a call (Merity et al. 2018). Applied in
        training only.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters, outputs and states. Gradients are checked in float64.
    seed : int, optional
        Determines the initial weights (W_h orthogonal gate by gate, Saxe et al. 2014; W_x uniform
        with fans I and H, Glorot and Bengio 2010) and, with the arguments of forward, what is
        dropped. None, the default, draws a seed; the attribute `seed` holds it.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        W_x (2*H, I), W_h (2*H, H), b (2*H,), in row blocks of H in the order of `gate_order`.
        `layer_norm` adds gain_x, gain_h (2*H,); `learn_state` adds h0 (H,).
        The arrays can be edited in place and outlive the layer; assigning copies into them.
    flat_params, flat_grads : ndarray
        The same numbers as one vector each; assigning copies into it.
    calls : int
        Number of the next training call without a `call` argument, for a layer that drops anything:
        how many there have been.
    gate_order : tuple of str
        ("f", "g").
    input_size, hidden_size, output_size : int
        I, H and H.
    dtype : dtype
    seed : int
    options : dict
        All options of the core by name; each is an attribute, too.

    Raises
    ------
    ValueError, TypeError
        For a size below 1 or too large for memory, an unknown option, a wrong seed.

    Methods
    -------
    layer(x, state=None, *, lengths=None, mask=None, resets=None) -> y, state
        Evaluation: keeps nothing. `x` is (B, T, I) floats, or (B, T) integers, which stand for the
        columns of W_x. `lengths` (B,) is the number of valid steps of each row, from 0 to T; past
        them `y` is 0. `y` is (B, T, H). `state` is h (B, H);
        None stands for zeros, or for the learned state. `mask` (B, T) is False at steps that are
        not read: the state stays, and `y` repeats the output of the last step read (0 before the
        first). `resets` (B, T) is True at steps before which the state of a row is reset: the row
        continues from the initial state, independent of the steps before.
    forward(x, ..., training=True, call=None, first_row=0, first_step=0, layer=0) -> y, state, tape
        The same and a tape: what backward needs, and the gates and states of every step, as
        `tape.gates[letter]`, each (B, T, H), and `tape.h`. What is dropped in training
        is a function of the layer's seed, of `call` and `layer`, and of the numbers of row and
        step, counted from `first_row` and `first_step`. `call` None takes the next number, that of
        `calls`.
    backward(tape, dy, dstate=None, *, trace=False) -> dx, dstate
        Backpropagation through time, from the gradients of `y` (or None) and of the last state.
        Adds to `grads`; returns the gradients of `x` (None for integers) and of the initial state.
        With `trace`, the tape then has `dh`, the total derivatives at every step, and
        `dgates[letter]`, those of the gates' sums: see `crnn.diagnostics.gradient_flow`.
    stream(batch_size=1, state=None) -> Stream
        The layer one step at a time, with the weights as they are now.
    zero_grad(), state_dict(), load_state_dict(state), astype(dtype)
        As in every layer.
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
        seed, chrono = check_seed(seed), _check_chrono(chrono)
        check_option_names(type(self), options)
        super().__init__(input_size, hidden_size, **options)
        self._draw_weights(seed)
        self._begin_chrono(chrono, ("f", 1))
