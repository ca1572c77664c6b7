"""The protocol of layers: what each has, and the answers to what others ask about it."""

from __future__ import annotations

import abc
import copy
import inspect
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from crnn.common.arrays import Array
from crnn.common.checks import check_dtype, check_fits, check_names
from crnn.common.choices import Merge
from crnn.common.nested import no_state
from crnn.layers.base import description
from crnn.layers.base.answers import DEFAULTS
from crnn.layers.base.calls import Counting
from crnn.layers.base.description import Widths
from crnn.layers.base.hints import attribute_hint
from crnn.layers.base.parameters import Parameters, writable
from crnn.layers.base.streams import CalledStream
from crnn.layers.base.summary import Summary, summarize


def as_dtype(layer: Any, dtype: DTypeLike) -> Any:
    """A copy of a layer with parameters of another float type.

    The layer itself, crnn's or not, where all its parameters have that type already.
    """
    if all(array.dtype == np.dtype(dtype) for array in layer.params.values()):
        return layer
    return layer.astype(dtype)


def check_layer(name: str, layer: Any) -> None:
    """TypeError unless this is a layer, crnn's or one that speaks the same protocol."""
    if isinstance(layer, Layer):
        return
    missing = [
        word for word in ("forward", "backward", "params", "grads") if not hasattr(layer, word)
    ]
    if missing or isinstance(layer, type):
        why = f", which has no {', '.join(missing)}" if missing else ", a class"
        raise TypeError(f"{name}: expected a layer, got {layer!r:.100}{why}")


def _takes_other_arguments(cls: type) -> bool:
    """Whether a user's class changes the arguments that its base counts the parameters from."""
    for base in cls.__mro__:
        if "parameter_count" in vars(base):
            return False
        if not description.is_own(base) and vars(base).keys() & {
            "__init__",
            "config",
            "from_config",
        }:
            return True
    return False


def _forbid_instances(cls: Any) -> None:
    """Make a class with abstract methods raise TypeError when it is called, as an ABC does.

    Without the metaclass of ABCs, which makes every `isinstance` slower.
    """
    cls.__abstractmethods__ = frozenset()
    abc.update_abstractmethods(cls)


class Layer(Counting):
    """Base of all layers.

    A layer has ``forward(x, state=None, *, lengths=None, training=True) -> (y, state, tape)``, and
    may know more: ``mask``, ``resets``, ``call``, ``first_row``, ``first_step``, ``layer``,
    ``filled``. It has ``backward(tape, dy, dstate=None) -> (dx, dstate)``, which adds to ``grads``,
    and ``params`` and ``grads``, dictionaries from name to array. A subclass that has these can
    stand wherever a layer of crnn can. ``config`` holds the arguments it is made with;
    `parameter_count` says how many parameters they make, so that a file cannot claim more than it
    holds.

    What a layer draws in training is a function of ``call``. Where forward is given none, the layer
    counts: ``calls`` is the number of the next call. A forward that takes ``call`` and calls other
    layers hands it on to them.

    The attributes below answer all questions that compositions and tools ask. A subclass sets those
    whose defaults do not fit, on the class, in ``__init__`` or as properties. docs/layers.md has
    examples.

    Attributes
    ----------
    input_size, output_size : int or None, default None
        Features of x and of y; None: any number of them, or unknown.
    symbols : int or None, default None
        K, where x may be integers 0 ... K-1; None where it may not.
    keeps_features : bool, default False
        Whether y has as many features as x, where `output_size` is None.
    keeps_time : bool, default True
        Whether y has the time axis of x.
    has_state : bool, default False
        Whether there is a state, which goes from step to step.
    reads_backwards : bool, default False
        Whether a step of y, or the state, depends on later steps of x, so that the layer cannot run
        step by step.
    state_sizes : tuple of int, default ()
        Widths of the arrays of the state, of a layer by itself: of (h, c) for an LSTM.
    receptive_field : int or inf, default inf
        Steps of x that a step of y depends on: 1 where it is that step alone.
    sequence_input : int or None, default None
        Where x is a tuple of arrays: which of them has the steps that lengths count. None: x is one
        array.
    stochastic : bool, default False
        Whether forward draws numbers in training that depend on ``call``.
    answers_masked : bool or None, default None
        Whether y at masked steps is an output of the layer's own, as recurrent layers repeat
        theirs; else it is 0. None: it is where forward takes a ``mask``.
    parts : mapping of str to layer, default {}
        The layers that this one is made of, by the prefix of their parameters.
    stages : sequence of layers, default ()
        Those of the parts that run one after the other, where all of them do.
    directions : mapping of str to layer, default {}
        Those of the parts that read the same x in both directions.
    merge : str or None, default None
        How the outputs of the `directions` become one: "concat", "sum", "mean" or "mul".
    inner : layer or None, default None
        The one of the parts that reads x, where one does.
    adds_input : bool, default False
        Whether y is x plus what `inner` gives.
    once : tuple of str, default ()
        Those of the parts that run once for a sequence and not at every step.
    tape_after_backward : bool, default False
        Whether the tapes of the layers inside are there only after a backward with ``trace``.
    shares_weights_of : layer or None, default None
        The layer whose parameters this one computes with besides its own.
    trained_through : str or None, default None
        The layer to wrap this one in, where it is trained through another.

    Raises
    ------
    TypeError
        The class lacks ``forward`` or ``backward``, as this base does.
    """

    registry: ClassVar[MutableMapping[str, type[Layer]]] = description.registry
    """All subclasses by name: crnn's by their own, others by "module:qualified name"."""

    #: Arguments of the constructor that stand in front, in order; the others are keywords.
    _leading: ClassVar[tuple[str, ...]] = ()
    #: Arguments of the constructor that `config` has: attributes of the same names.
    _arguments: ClassVar[tuple[str, ...]] = ()

    if TYPE_CHECKING:  # a subclass has attributes or properties in their places

        @property
        def input_size(self) -> int | None: ...
        @property
        def output_size(self) -> int | None: ...
        @property
        def symbols(self) -> int | None: ...
        @property
        def keeps_features(self) -> bool: ...
        @property
        def keeps_time(self) -> bool: ...
        @property
        def has_state(self) -> bool: ...
        @property
        def state_sizes(self) -> tuple[int, ...]: ...
        @property
        def reads_backwards(self) -> bool: ...
        @property
        def receptive_field(self) -> float: ...
        @property
        def sequence_input(self) -> int | None: ...
        @property
        def stochastic(self) -> bool: ...
        @property
        def answers_masked(self) -> bool | None: ...
        @property
        def parts(self) -> Mapping[str, Any]: ...
        @property
        def stages(self) -> Sequence[Any]: ...
        @property
        def directions(self) -> Mapping[str, Any]: ...
        @property
        def merge(self) -> Merge | None: ...
        @property
        def inner(self) -> Any: ...
        @property
        def adds_input(self) -> bool: ...
        @property
        def once(self) -> tuple[str, ...]: ...
        @property
        def tape_after_backward(self) -> bool: ...
        @property
        def shares_weights_of(self) -> Any: ...
        @property
        def trained_through(self) -> str | None: ...
    else:
        vars().update(DEFAULTS)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Layer.registry[description.identity(cls)] = cls
        if _takes_other_arguments(cls):
            cls.parameter_count = Layer.parameter_count  # type: ignore[method-assign]
        _forbid_instances(cls)

    @abc.abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> tuple[Array, Any, Any]:
        """y, state, tape."""

    @abc.abstractmethod
    def backward(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """dx, dstate; adds to the gradients."""

    @property
    def param_views(self) -> dict[str, Array]:
        """The parameters: what `params` shows."""
        return {}

    @property
    def grad_views(self) -> dict[str, Array]:
        """The gradients: what `grads` shows."""
        return {}

    @property
    def params(self) -> Parameters:
        """Parameters: name -> array, to be edited in place."""
        return Parameters(self.param_views)

    @params.setter
    def params(self, value: Parameters) -> None:
        self.params.check_same("params", value)

    @property
    def grads(self) -> Parameters:
        """Gradients: name -> array, what `backward` added up since `zero_grad`."""
        return Parameters(self.grad_views)

    @grads.setter
    def grads(self, value: Parameters) -> None:
        self.grads.check_same("grads", value)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make a layer like this one, of types that JSON knows."""
        return {name: getattr(self, name) for name in self._arguments}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Layer:
        """A new layer of this configuration."""
        return cls(**config)

    @classmethod
    def parameter_count(cls, config: Mapping[str, Any]) -> int:
        """Return how many parameters `from_config` makes, from the configuration alone.

        `crnn.load` compares it with the arrays in the file before it makes anything. A class with
        parameters of its own overrides it; without that, as here, only the parameters of layers
        that the configuration describes are counted.

        Parameters
        ----------
        config : mapping
            As `config`, but from a file: not to be trusted.

        Returns
        -------
        int
            The sizes of all arrays in `params` together.

        Raises
        ------
        ValueError, TypeError
            The configuration is none of such a layer.

        Examples
        --------
        >>> import crnn
        >>> crnn.Dense.parameter_count({"input_size": 3, "output_size": 2})
        8
        """
        return sum(map(description.parameter_count, description.described_in(config)))

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths | None:
        """How wide the arrays are that a layer of this configuration reads and gives, if known."""
        return None

    def __call__(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        resets: ArrayLike | None = None,
    ) -> tuple[Array, Any]:
        """y, state: evaluation, where dropout is off and nothing is kept."""
        steps = {"lengths": lengths, "mask": mask, "resets": resets}
        given = {name: value for name, value in steps.items() if value is not None}
        y, state, _ = self.forward(x, state, training=False, **given)
        return y, state

    def stream(self, batch_size: int = 1, state: Any = None) -> Any:
        """The layer one step at a time, with the parameters as they are now.

        Parameters
        ----------
        batch_size : int, default 1
            B.
        state : state, optional
            The initial one; None stands for zeros.

        Returns
        -------
        stream
            With ``step(x) -> y``, x (B, I) or symbols (B,), and ``state``, ``reset(rows=None)``.

        Raises
        ------
        ValueError
            If the layer cannot run step by step: it reads from the end, or has no step to give.
        """
        self.check_steps_forward()
        return CalledStream(self, batch_size, state)

    def check_steps_forward(self) -> None:
        """ValueError unless the layer can run step by step."""
        if self.reads_backwards or not self.keeps_time or self.sequence_input is not None:
            raise ValueError(f"layer: expected one that runs step by step, got {self!r:.100}")

    def head_backward(self, tape: Any, state: Any, dy: Any) -> None:
        """`backward` of the head alone: of what stands behind the last layer that has a state.

        Parameters
        ----------
        tape, state
            As forward returned them.
        dy : array
        """
        if no_state(state):
            self.backward(tape, dy)

    def repeats_masked(self, repeated: bool, training: bool) -> bool:
        """Whether y at a masked step is y of the last step read.

        Parameters
        ----------
        repeated : bool
            Whether x is that of the last step read.
        training : bool
            As forward gets it.
        """
        return False

    def symbols_of(self, which: int) -> int | None:
        """`symbols`, where x is a tuple of arrays: of the one with this number."""
        return self.symbols

    def with_vectors(self, symbols: Array, which: int = 0) -> tuple[Layer, Array] | None:
        """A layer that reads vectors (..., E) in place of symbols (...), and these vectors.

        It gives the same. None where it is not known what vectors stand for the symbols.

        Parameters
        ----------
        symbols : array of integers
        which : int
            Where x is a tuple of arrays: the one that the symbols are.
        """
        return None

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of a step of a row: an entry of each matrix is multiplied with once."""
        return sum(array.size for array in self.params.values() if array.ndim == 2)

    def summary(self) -> Summary:
        """A table of the layers: output shapes, parameters, bytes, multiply-adds a step."""
        return summarize(self)

    def check_backward(self, tape: Any, dstate: Any) -> None:
        """Raise what `backward` would, before any part of a composition has changed."""
        if not self.has_state:
            check_no_state(type(self).__name__, "dstate", dstate)

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        for grad in self.grads.values():
            grad[...] = 0

    def state_dict(self) -> dict[str, Array]:
        """Copies of the parameters by name."""
        return {name: array.copy() for name, array in self.params.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set all parameters.

        Parameters
        ----------
        state : mapping of name to array
            As `state_dict` returns it: every parameter, each in its shape.

        Raises
        ------
        ValueError
            If an entry is missing, unknown, misshapen, not made of real numbers, or has a number
            beyond the parameter's type. Nothing is loaded then.
        """
        params = self.params
        check_names("state_dict", params, state)
        params.update({name: check_fits(name, state[name], params[name]) for name in params})

    def astype(self, dtype: DTypeLike) -> Self:
        """A copy with parameters of another float type; its gradients are zero."""
        other = copy.deepcopy(self)
        other._convert(check_dtype(dtype))
        return other

    def _convert(self, dtype: np.dtype[Any]) -> None:
        """Give all parameters another type, in place, and set the gradients to zero.

        Here those that are attributes of the layer, or in dictionaries that are, and those of
        layers that are. A TypeError tells of others: then the class has to override this method.
        """
        params = {id(array) for array in self.param_views.values()}
        grads = {id(array) for array in self.grad_views.values()}
        held = [self.__dict__, *(one for one in vars(self).values() if isinstance(one, dict))]
        for names in held:
            for name, value in names.items():
                if id(value) in params:
                    names[name] = value.astype(dtype)
                elif id(value) in grads:
                    names[name] = np.zeros_like(value, dtype=dtype)
                elif isinstance(value, Layer):
                    value._convert(dtype)
        check_converted(self, dtype)

    if not TYPE_CHECKING:  # an unknown attribute is an error of the type checker

        def __getattr__(self, name: str) -> Any:
            hint = attribute_hint(type(self), name)
            if hint is not None and not hasattr(type(self), name):
                raise AttributeError(hint)
            return object.__getattribute__(self, name)  # raises; for a property, what it raised

    def __setstate__(self, state: Any) -> None:
        """Take up what was pickled or copied; parameters that cannot be written are copied."""
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        self.__dict__.update(writable(attributes or {}))
        for name, value in (slots or {}).items():
            setattr(self, name, value)

    @property
    def _defaults(self) -> dict[str, Any]:
        """Arguments by name, as they are where they are not given."""
        parameters = inspect.signature(type(self)).parameters.values()
        return {parameter.name: parameter.default for parameter in parameters}

    def _shown(self) -> dict[str, Any]:
        """The arguments as `repr` shows them."""
        return self.config

    def __repr__(self) -> str:
        config, defaults = self._shown(), self._defaults
        given = [repr(config[key]) for key in self._leading]
        for key, value in config.items():
            if key not in self._leading and (key not in defaults or value != defaults[key]):
                given.append(f"{key}={value!r}")
        return f"{type(self).__name__}({', '.join(given)})"


_forbid_instances(Layer)


class Temporal(Layer):
    """Base of layers with a state that goes from step to step.

    ``forward(x, state=None, *, lengths=None, mask=None, resets=None, training=True)`` takes up a
    state and returns the one at the end of each row; ``backward(tape, dy, dstate)`` returns the
    gradient at the initial state beside dx. Past a row's end y is 0 and the state stays. Such a
    layer can stand in `crnn.Bidirectional`, in windows of truncated BPTT and in streams.
    """

    has_state = True

    def repeats_masked(self, repeated: bool, training: bool) -> bool:
        return True


def check_converted(layer: Layer, dtype: np.dtype[Any]) -> None:
    """TypeError unless all parameters of a layer have this type."""
    left = [name for name, array in layer.params.items() if array.dtype != dtype]
    if left:
        raise TypeError(
            f"astype: expected parameters that can be made {dtype}, got {', '.join(left)} of "
            f"{layer!r:.100}, which stay as they are: name their layer in `parts`, or override "
            "_convert"
        )


def check_no_state(layer: str, name: str, state: Any) -> None:
    """ValueError unless the state of a layer that has none is None."""
    if state is not None:
        raise ValueError(f"{name}: {layer} has no state, expected None, got {type(state).__name__}")
