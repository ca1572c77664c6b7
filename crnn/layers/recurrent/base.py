"""What the recurrent layers have in common: options, signature, initial weights, storing.

Letters: as in `cells`.
"""

from __future__ import annotations

import copyreg
import inspect
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, cast, get_args, get_type_hints

import numpy as np
from numpy.typing import DTypeLike

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.checks import check_number
from crnn.layers.base import weights
from crnn.layers.base.description import Widths, is_crnn_class
from crnn.layers.base.layer import Layer, Temporal
from crnn.layers.base.nodes import Graph, Nodes
from crnn.layers.base.parameters import writable
from crnn.layers.base.protocol import Option


class SharedOptions(TypedDict, total=False):
    """Options of all recurrent layers. The core has their defaults."""

    bias: bool
    reverse: bool
    layer_norm: bool
    clip: float | None
    learn_state: bool
    dtype: DTypeLike


class CommonOptions(SharedOptions, total=False):
    """Options of the recurrent layers that have W_h."""

    delays: int | tuple[int, ...]
    recurrent_dropout: float
    weight_drop: float


class Options(CommonOptions, total=False):
    """Options of the recurrent layers that have W_h and whose state is h."""

    zoneout: float


#: Names of the options of all cells, which cannot be set; `cells` adds those of its cells.
FIXED = {*Options.__annotations__, "input_size", "hidden_size", "seed"}


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


def check_chrono(chrono: float | None) -> float | None:
    """Return the value of the option `chrono`, or raise an error if it is below 2."""
    return None if chrono is None else check_number("chrono", chrono, 2)


def check_forget_bias(forget_bias: float) -> float:
    """Return the value of the option `forget_bias`, or raise an error if it is not finite."""
    if not isinstance(forget_bias, (int, float, np.number)) or not math.isfinite(forget_bias):
        raise ValueError(f"forget_bias: expected a finite number, got {forget_bias!r}")
    return float(forget_bias)


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
        if (name in FIXED or name in self._initial) and isinstance(self, _core.Recurrent):
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
        """Draw W_x, W_h and W_p from a seed, and set the gains to 1. The biases are 0.

        Some layers have no W_h.
        """
        self._keep_seed(seed)
        gates, H, P, params = len(self.gate_order), self.hidden_size, self.output_size, self.params
        params["W_x"] = weights.glorot_uniform(
            seed, weights.INPUT_STREAM, params["W_x"].shape, self.input_size, H
        )
        if "W_h" in params:
            params["W_h"] = self._draw_recurrent(seed, gates, H, P)
        if "W_p" in params:
            params["W_p"] = weights.glorot_uniform(seed, weights.PROJECTION_STREAM, (P, H), H, P)
        for name in ("gain_x", "gain_h", "gain_c"):
            if name in params:
                params[name] = 1.0

    def _keep_seed(self: Any, seed: int) -> None:
        """Set the attribute `seed`, which others cannot set."""
        object.__setattr__(self, "seed", seed)

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
        vars(self)["chrono"] = chrono
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
        self._keep_seed(seed)
        attributes = writable(attributes)
        self._frozen = attributes.pop("_frozen", False)
        self.__dict__.update(attributes)
