"""The recurrent layers: their options, initial weights and documentation. The core runs them.

Letters: B sequences, T steps, I inputs, H hidden units, P units of h (H, or proj_size), G gates. σ
is the logistic function, ∘ the elementwise product; a dot stands for the sum W_x x + W_h h + b of a
gate. `crnn.reference` has the equations of all options in NumPy.
"""

from __future__ import annotations

import copyreg
import inspect
import math
import reprlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack, cast, get_args, get_type_hints

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.checks import check_fits, check_number, check_seed
from crnn.common.choices import Activation, Reset
from crnn.layers.base import weights
from crnn.layers.base.description import Widths, is_crnn_class
from crnn.layers.base.hints import check_option_names
from crnn.layers.base.layer import Layer, Temporal
from crnn.layers.base.nodes import Graph, Nodes
from crnn.layers.base.parameters import writable
from crnn.layers.base.protocol import Option


class CommonOptions(TypedDict, total=False):
    """Options of all recurrent layers. The core has their defaults."""

    bias: bool
    reverse: bool
    delays: int | tuple[int, ...]
    layer_norm: bool
    clip: float | None
    learn_state: bool
    recurrent_dropout: float
    weight_drop: float
    dtype: DTypeLike


class Options(CommonOptions, total=False):
    """Options of the recurrent layers whose state is h."""

    zoneout: float


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
        if layer is not None or not is_crnn_class(base):
            raise AttributeError("__signature__")
        init: Any = cls.__init__
        _, *parameters = inspect.signature(init).parameters.values()
        *first, seed, options = parameters
        if options.kind is not options.VAR_KEYWORD:  # the constructor names all of its options
            raise AttributeError("__signature__")
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


#: Names that an instance may have set in place of the methods of its class.
OVERRIDDEN = {"forward", "backward", "__call__"}


def is_core_layer(layer: Any) -> bool:
    """Return whether a layer is a recurrent layer of crnn, and overrides no method that runs it."""
    cls, core = type(layer), _core.Recurrent
    return (
        isinstance(layer, Recurrent)
        and cls.__call__ is core.__call__
        and cls.forward is core.forward
        and cls.backward is core.backward
        and not OVERRIDDEN & vars(layer).keys()
    )


def _longest(delays: Any) -> int:
    """Return the longest of the delays that the core accepted."""
    return max(map(int, delays)) if isinstance(delays, (tuple, list)) else int(delays)


class Recurrent(Temporal):
    """Base of the recurrent layers: initial weights, copies and configurations."""

    _leading = ("input_size", "hidden_size")

    #: Class of the core that runs the layer.
    _core_type: ClassVar[type[_core.Recurrent]]
    #: Letter of the candidate gate.
    candidate: ClassVar[str] = "g"
    #: Options that only set initial parameters, with their defaults. The core does not have them.
    _initial: ClassVar[dict[str, Any]] = {}

    __signature__ = CellSignature()

    if TYPE_CHECKING:

        @property
        def hidden_size(self) -> int: ...

    # Options of the core: `__getattr__` returns their values.
    bias: Option[bool]
    reverse: Option[bool]
    delays: Option[int | tuple[int, ...]]
    layer_norm: Option[bool]
    clip: Option[float | None]
    learn_state: Option[bool]
    recurrent_dropout: Option[float]
    zoneout: Option[float | tuple[float, float]]
    weight_drop: Option[float]

    if not TYPE_CHECKING:  # type checkers use the annotations, and reject other names

        def __getattr__(self, name: str) -> Any:
            """Return the value of an option of the core."""
            if not name.startswith("_") and name != "options":
                try:
                    if name in (options := self.options):
                        return options[name]
                except RuntimeError:  # of a layer without __init__
                    pass
            return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and isinstance(self, _core.Recurrent):
            raise AttributeError(f"{name}: cannot be set; make a new layer with this option")
        super().__setattr__(name, value)

    @property
    def reads_backwards(self: Any) -> bool:
        """Whether the option `reverse` is set."""
        return bool(self.reverse)

    @property
    def state_sizes(self: Any) -> tuple[int, ...]:
        """Widths of the arrays of the state: (P,), or (P, H) for the LSTM."""
        return (self.output_size,)

    @property
    def state_depth(self: Any) -> int:
        """D, the longest delay. Arrays of a state are (B, P) if D is 1, else (B, D, P)."""
        return _longest(self.delays)

    @property
    def symbols(self: Any) -> int | None:
        """I: integers stand for one-hot vectors. None for a class without the core."""
        return int(self.input_size) if isinstance(self, _core.Recurrent) else None

    def with_vectors(self, symbols: Array, which: int = 0) -> tuple[Layer, Array] | None:
        return self, np.eye(self.symbols or 0)[symbols]

    @property
    def gate_activations(self: Any) -> dict[str, str]:
        """Name of the activation of each gate, by its letter."""
        names = {"activation": "tanh", "recurrent_activation": "sigmoid"} | self.options
        return {
            gate: names["activation" if gate == self.candidate else "recurrent_activation"]
            for gate in self.gate_order
        }

    def _draw_weights(self: Any, seed: int) -> None:
        """Draw W_x, W_h and W_p from a seed, and set the gains to 1. The biases are 0."""
        self.seed = seed
        gates, H, P, params = len(self.gate_order), self.hidden_size, self.output_size, self.params
        params["W_x"] = weights.glorot_uniform(
            seed, weights.INPUT_STREAM, params["W_x"].shape, self.input_size, H
        )
        params["W_h"] = self._draw_recurrent(seed, gates, H, P)
        if "W_p" in params:
            params["W_p"] = weights.glorot_uniform(seed, weights.PROJECTION_STREAM, (P, H), H, P)
        for name in ("gain_x", "gain_h", "gain_c"):
            if name in params:
                params[name] = 1.0

    def _draw_recurrent(self: Any, seed: int, gates: int, H: int, P: int) -> Array:
        """Return an orthogonal matrix for each gate and delay, with the delays side by side.

        With K delays they are divided by the square root of K, so that the sum over uncorrelated
        states has the size that it has with one delay.
        """
        K = len(self.delays) if isinstance(self.delays, tuple) else 1
        drawn = weights.orthogonal(seed, weights.RECURRENT_STREAM, K * gates, H, P)
        blocks = drawn.reshape(K, gates * H, P) / math.sqrt(K)
        return np.hstack(list(blocks))

    def _set_bias(self: Any, gate: str, values: Any) -> None:
        """Set the bias of one gate, if the layer has biases."""
        if self.bias:
            begin = self.gate_order.index(gate) * self.hidden_size
            self.params["b"][begin : begin + self.hidden_size] = values

    def _begin_chrono(self: Any, chrono: float | None, *gates: tuple[str, int]) -> None:
        """Set biases for memories of many lengths.

        Each gate comes with a sign: 1 if a large bias makes it keep the state, else -1.
        """
        self.chrono = chrono
        if chrono is None:
            return
        values = weights.chrono(self.seed, self.hidden_size, chrono)
        for gate, sign in gates:
            self._set_bias(gate, sign * values)

    def add_nodes(self: Any, graph: Graph, x: int, number: int) -> Nodes | None:
        if not is_core_layer(self) or not graph.matches(self.dtype):
            return None
        node, embedding = graph.add_recurrent(self, x, number)
        return Nodes(node, node, lambda call: call.recurrent(node, embedding))

    def _core_arguments(self: Any) -> dict[str, Any]:
        """Return the arguments of the constructor of the core."""
        sizes = {"input_size": self.input_size, "hidden_size": self.hidden_size}
        return sizes | dict(self.options)

    @property
    def config(self: Any) -> dict[str, Any]:
        sizes = {name: getattr(self, name) for name in self._leading}
        initial = {name: getattr(self, name) for name in self._initial}
        return sizes | initial | dict(self.options) | {"seed": self.seed}

    @classmethod
    def _outline_of(cls, config: Mapping[str, Any]) -> tuple[int, int, int]:
        """Return the number of parameters, P, and the number of arrays of the state."""
        others, core = {*cls._initial, "seed"}, cast(Any, cls._core_type)
        arguments = {name: value for name, value in config.items() if name not in others}
        parameters, P, states = core._outline(**arguments)
        return parameters, P, states

    @classmethod
    def parameter_count(cls, config: Mapping[str, Any]) -> int:
        return cls._outline_of(config)[0]

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        _, P, states = cls._outline_of(config)
        widths = (P, config["hidden_size"])[:states]
        D = _longest(config.get("delays", 1))
        return Widths(config["input_size"], P, tuple(D * width for width in widths), last=widths)

    @property
    def _defaults(self) -> dict[str, Any]:
        return self._initial | self._core_type(1, 1).options

    def zero_grad(self: Any) -> None:
        if self._has_grads:
            self.flat_grads.fill(0)

    def _convert(self: Any, dtype: np.dtype[Any]) -> None:
        self._remake(self._core_arguments() | {"dtype": dtype.name}, self.flat_params)

    def _remake(self: Any, arguments: Mapping[str, Any], flat_params: Array) -> None:
        """Initialise the layer of the core again, with these parameters."""
        self._core_type.__init__(self, **arguments)
        self.flat_params[...] = flat_params

    def __reduce__(self: Any) -> tuple[Any, ...]:
        arrays = self.flat_params, self.flat_grads if self._has_grads else None
        attributes = self.__dict__ | ({"_frozen": True} if self._frozen else {})
        state = (self._core_arguments(), *arrays, self.seed, attributes)
        return copyreg.__newobj__, (type(self),), state  # type: ignore[attr-defined]

    def __setstate__(
        self: Any, state: tuple[dict[str, Any], Array, Array | None, int, dict[str, Any]]
    ) -> None:
        arguments, flat_params, flat_grads, seed, attributes = state
        self._remake(arguments, flat_params)
        if flat_grads is not None:
            self.flat_grads[...] = flat_grads
        self.seed = seed
        attributes = writable(attributes)
        self._frozen = attributes.pop("_frozen", False)
        self.__dict__.update(attributes)


def cell_classes() -> dict[str, type[Any]]:
    """Return the recurrent layers of crnn by name, without subclasses of users."""
    return {cls.__name__: cls for cls in Recurrent.__subclasses__() if cls.__module__ == __name__}


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


def _check_chrono(chrono: float | None) -> float | None:
    """Return the value of the option `chrono`, or raise an error if it is below 2."""
    return None if chrono is None else check_number("chrono", chrono, 2)


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
        seed, chrono = check_seed(seed), _check_chrono(chrono)
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
        seed, chrono = check_seed(seed), _check_chrono(chrono)
        check_option_names(type(self), options)
        super().__init__(input_size, hidden_size, **options)
        self._draw_weights(seed)
        self._begin_chrono(chrono, ("f", 1))
