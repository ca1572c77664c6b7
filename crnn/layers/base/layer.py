"""The base classes of layers: their methods, and the attributes that describe a layer."""

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
from crnn.common.representation import never_raising
from crnn.layers.base import description
from crnn.layers.base.attributes import DEFAULTS
from crnn.layers.base.calls import Counting
from crnn.layers.base.description import Widths
from crnn.layers.base.hints import attribute_hint
from crnn.layers.base.nodes import WithNodes
from crnn.layers.base.parameters import Parameters, writable
from crnn.layers.base.streams import CalledStream
from crnn.layers.base.summary import Summary, summarize
from crnn.layers.base.trainable import Trainable


def _dtypes(layer: Any) -> set[Any]:
    """Return the types of the parameters of a layer, and of layers inside without parameters."""
    types = {array.dtype for array in layer.params.values()}
    if not types and hasattr(layer, "dtype"):
        types = {np.dtype(layer.dtype)}
    return types.union(*map(_dtypes, getattr(layer, "parts", {}).values()))


def as_dtype(layer: Any, dtype: DTypeLike) -> Any:
    """Return a copy of a layer with another float type, or the layer if it has this type."""
    return layer if _dtypes(layer) <= {np.dtype(dtype)} else layer.astype(dtype)


def check_layer(name: str, layer: Any) -> None:
    """Raise TypeError unless this is a `Layer`, or an object with the methods of one."""
    if isinstance(layer, Layer):
        return
    missing = [
        name for name in ("forward", "backward", "params", "grads") if not hasattr(layer, name)
    ]
    if missing or isinstance(layer, type):
        reason = f", which has no {', '.join(missing)}" if missing else ", a class"
        raise TypeError(f"{name}: expected a layer, got {layer!r:.100}{reason}")


def _takes_other_arguments(cls: type) -> bool:
    """Return whether a class of a user changes the arguments from which its base counts."""
    for base in cls.__mro__:
        if "parameter_count" in vars(base):
            return False
        if not description.is_crnn_class(base) and vars(base).keys() & {
            "__init__",
            "config",
            "from_config",
        }:
            return True
    return False


def _forbid_instances(cls: Any) -> None:
    """Make a class with abstract methods raise TypeError when it is called, as an ABC does.

    The metaclass of ABCs is not used, because it makes every `isinstance` slower.
    """
    cls.__abstractmethods__ = frozenset()
    abc.update_abstractmethods(cls)


class Layer(WithNodes, Counting, Trainable):
    """Base of all layers.

    A subclass defines two methods, and the layer can then be used wherever a layer of crnn can:

    - ``forward(x, state=None, *, lengths=None, training=True)`` returns y, the last state, and a
      tape: everything that backward needs. It takes ``mask``, ``resets``, ``call``, ``first_row``,
      ``first_step``, ``layer`` and ``filled`` only if it declares them.
    - ``backward(tape, dy, dstate=None)`` adds to ``grads``, and returns the gradients of x and of
      the initial state.

    A layer with parameters also defines ``param_views`` and ``grad_views``, dictionaries of arrays
    by name. ``config`` returns the arguments of the constructor, for files and `repr`.
    `parameter_count` returns the number of parameters for such arguments; `crnn.load` compares it
    with the size of the file. docs/layers.md has a complete example.

    The random numbers of a layer in training are a function of ``call``. If forward gets no
    ``call``, the layer counts its calls; ``calls`` is the number of the next one. A forward that
    takes ``call`` and calls other layers passes it to them.

    Copies by `copy.deepcopy` and `pickle` share nothing with the layer. A copy by `copy.copy` has
    parameters and gradients of its own; the layers inside a composition are the same objects.

    The attributes below describe the layer to compositions, training, diagnostics and plots. A
    subclass sets an attribute whose default is wrong for it, on the class, in ``__init__`` or as a
    property.

    Attributes
    ----------
    input_size, output_size : int or None, default None
        Number of features of x and of y. None: any number, or unknown.
    symbols : int or None, default None
        K, if x may be integers from 0 to K - 1. None: x must be floats.
    keeps_features : bool, default False
        Whether y has as many features as x. Used if `output_size` is None.
    keeps_time : bool, default True
        Whether y has the time axis of x.
    has_state : bool, default False
        Whether the layer has a state, which passes from step to step.
    reads_backwards : bool, default False
        Whether a step of y, or the state, depends on later steps of x. Such a layer cannot run step
        by step.
    state_sizes : tuple of int, default ()
        Widths of the arrays of the state of a layer that has no parts: (P, H) for an LSTM.
    state_depth : int, default 1
        Number of steps of which the arrays of the state of such a layer have values, D, for a
        recurrent layer its longest delay. They are (B, width) if it is 1, else (B, D, width), the
        oldest first.
    receptive_field : int or inf, default inf
        Number of steps of x on which a step of y depends. 1: only the same step.
    sequence_input : int or None, default None
        Index of the array to which `lengths` applies, if x is a tuple of arrays. None: x is one
        array.
    stochastic : bool, default False
        Whether forward draws random numbers in training that depend on ``call``.
    answers_masked : bool or None, default None
        Whether y at masked steps is an output that the next layer reads, as for a recurrent layer,
        which repeats its last output. False: y is 0 there. None: True if forward takes a ``mask``.
    parts : mapping of str to layer, default {}
        The layers inside this layer, by the prefix of their parameters.
    stages : sequence of layers, default ()
        All parts, if each part reads the output of the part before it.
    directions : mapping of str to layer, default {}
        The parts that read the same x, one in each direction.
    merge : str or None, default None
        How the outputs of the `directions` are merged: "concat", "sum", "mean" or "mul".
    inner : layer or None, default None
        The only part that reads x, if there is exactly one.
    adds_input : bool, default False
        Whether y is x plus the output of `inner`.
    once : tuple of str, default ()
        Names of parts that run once for each sequence, and not at every step.
    tape_after_backward : bool, default False
        Whether the tapes of the parts exist only after a backward with ``trace=True``.
    shares_weights_of : layer or None, default None
        Another layer whose parameters this layer uses in addition to its own.
    trained_through : str or None, default None
        Name of the layer in which this one must be wrapped for training, if it needs one.
    trainable : bool, default True
        Whether the layer is trained; False freezes its parameters. A class whose layers are never
        trained sets it in ``__init__``. A backward need not look at it: compositions and optimizers
        leave frozen layers of any class as they are. It may return early if nothing else is wanted.

    Raises
    ------
    TypeError
        If the class of the layer does not define ``forward`` and ``backward``.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> class Double(crnn.Layer):
    ...     keeps_features, receptive_field = True, 1
    ...
    ...     def forward(self, x, state=None, *, lengths=None, training=True):
    ...         return 2 * x, None, None
    ...
    ...     def backward(self, tape, dy, dstate=None):
    ...         return 2 * dy, None
    >>> model = crnn.Sequential([crnn.GRU(3, 4, seed=0), Double()])
    >>> crnn.gradcheck(model, np.ones((2, 5, 3))).ok
    True
    """

    registry: ClassVar[MutableMapping[str, type[Layer]]] = description.registry
    """All subclasses by name; the name of a class of a user is "module:qualified name"."""

    #: Names of the positional arguments of the constructor, in order.
    _leading: ClassVar[tuple[str, ...]] = ()
    #: Names of the arguments of the constructor in `config`; each is an attribute, too.
    _arguments: ClassVar[tuple[str, ...]] = ()

    if TYPE_CHECKING:  # a subclass defines attributes or properties with these names

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
        def state_depth(self) -> int: ...
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
        if (
            cls.trainable is not Trainable.trainable
        ):  # of the class, or of a class it is derived from
            raise TypeError(f"trainable: set it in __init__, not on the class {cls.__name__}")
        Layer.registry[description.identity(cls)] = cls
        if _takes_other_arguments(cls):
            cls.parameter_count = Layer.parameter_count  # type: ignore[method-assign]
        _forbid_instances(cls)

    @abc.abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> tuple[Array, Any, Any]:
        """Run the layer, and return y, the last state and a tape.

        Parameters
        ----------
        *args, **kwargs
            ``x, state=None, *, lengths=None, training=True``, and those of ``mask``, ``resets``,
            ``call``, ``first_row``, ``first_step``, ``layer``, ``filled`` that the class declares.

        Returns
        -------
        y : array (B, T, O)
            Output.
        state : state, or None
            State after the last valid step of each row; None for a layer without a state.
        tape : object
            Everything that `backward` needs.
        """

    @abc.abstractmethod
    def backward(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Add to `grads`, and return the gradients of x and of the initial state.

        Parameters
        ----------
        *args, **kwargs
            ``tape, dy, dstate=None``: a tape that `forward` returned, and the gradients of y and of
            the last state. None stands for zeros.

        Returns
        -------
        dx : array like x, or None
            None if x was integers.
        dstate : gradient of the initial state, or None
        """

    @property
    def param_views(self) -> dict[str, Array]:
        """Parameters by name, as a new dictionary of the arrays themselves."""
        return {}

    @property
    def grad_views(self) -> dict[str, Array]:
        """Gradients by name, as a new dictionary of the arrays themselves."""
        return {}

    @property
    def params(self) -> Parameters:
        """Parameters by name. The arrays can be changed in place; assigning copies into them."""
        return Parameters(self.param_views)

    @params.setter
    def params(self, value: Parameters) -> None:
        self.params.check_same("params", value)

    @property
    def grads(self) -> Parameters:
        """Gradients by name: the sums of all backward passes since `zero_grad`."""
        return Parameters(self.grad_views)

    @grads.setter
    def grads(self, value: Parameters) -> None:
        self.grads.check_same("grads", value)

    @property
    def config(self) -> dict[str, Any]:
        """Arguments of the constructor for a layer like this one, of types that JSON has."""
        return {name: getattr(self, name) for name in self._arguments}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Layer:
        """Make a layer from a configuration, with initial parameters.

        Parameters
        ----------
        config : mapping
            As the attribute `config`.

        Returns
        -------
        Layer
        """
        return cls(**config)

    @classmethod
    def parameter_count(cls, config: Mapping[str, Any]) -> int:
        """Return the number of parameters of a layer with this configuration.

        `crnn.load` compares it with the arrays in the file before it makes a layer. A class that
        has parameters besides those of its parts overrides this method. The method of `Layer`
        counts only the parameters of layers that the configuration describes.

        Parameters
        ----------
        config : mapping
            As the attribute `config`. It may come from a file, so it must be checked.

        Returns
        -------
        int
            Number of elements of all arrays in `params`.

        Raises
        ------
        ValueError, TypeError
            If the configuration is not one of this class.

        Examples
        --------
        >>> import crnn
        >>> crnn.Dense.parameter_count({"input_size": 3, "output_size": 2})
        8
        """
        return sum(map(description.parameter_count, description.descriptions_in(config)))

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths | None:
        """Return the widths of a layer with this configuration, or None if they are not known."""
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
        """Run the layer in evaluation: nothing is dropped, and nothing is kept for backward.

        Parameters
        ----------
        x : array (B, T, I), or integers (B, T)
            The sequences.
        state : state, optional
            Initial state. None stands for zeros.
        lengths : integers (B,), optional
            Number of valid steps of each row. None: all T steps are valid.
        mask : booleans or integers 0 and 1 (B, T), optional
            False at steps that are not read.
        resets : booleans or integers 0 and 1 (B, T), optional
            True at steps before which the state of a row is reset.

        Returns
        -------
        y : array (B, T, O)
            Output.
        state : state, or None
            State after the last valid step of each row; None for a layer without a state.
        """
        steps = {"lengths": lengths, "mask": mask, "resets": resets}
        options = {name: value for name, value in steps.items() if value is not None}
        y, state, _ = self.forward(x, state, training=False, **options)
        return y, state

    def stream(self, batch_size: int = 1, state: Any = None) -> Any:
        """Return a stream, which runs the layer one step at a time.

        Parameters
        ----------
        batch_size : int, default 1
            B, the number of rows.
        state : state, optional
            Initial state. None stands for zeros.

        Returns
        -------
        stream
            ``stream.step(x)`` takes floats (B, I) or integers (B,) and returns y (B, O).
            ``stream.state`` is the state, and ``stream.reset(rows)`` sets it to zeros.

        Raises
        ------
        ValueError
            If the layer cannot run step by step: it reads backwards, removes the time axis, or
            reads a tuple of arrays.
        """
        self.check_steps_forward()
        return CalledStream(self, batch_size, state)

    def _core_stream(self, batch_size: int, state: Any) -> Any:
        """Return a stream that runs all layers in one call of the core; None if there is none."""
        return None

    def check_steps_forward(self) -> None:
        """Raise ValueError unless the layer can run step by step."""
        if self.reads_backwards or not self.keeps_time or self.sequence_input is not None:
            raise ValueError(f"layer: expected one that runs step by step, got {self!r:.100}")

    def head_backward(self, tape: Any, state: Any, dy: Any) -> None:
        """Run backward only for the layers after the last layer that has a state.

        Parameters
        ----------
        tape, state
            Returned by forward.
        dy : array (B, T, O)
            Gradient of y.
        """
        if no_state(state):
            self.backward(tape, dy)

    def repeats_masked(self, repeated: bool, training: bool) -> bool:
        """Return whether y at a masked step is equal to y of the last step that was read.

        Parameters
        ----------
        repeated : bool
            Whether x at a masked step is equal to x of the last step that was read.
        training : bool
            As for forward.

        Returns
        -------
        bool
        """
        return False

    def symbols_of(self, which: int) -> int | None:
        """Return `symbols` of one array of x, if x is a tuple of arrays.

        Parameters
        ----------
        which : int
            Index of the array.

        Returns
        -------
        int or None
        """
        return self.symbols

    def with_vectors(self, symbols: Array, which: int = 0) -> tuple[Layer, Array] | None:
        """Return a layer that reads vectors in place of symbols, and the vectors.

        Parameters
        ----------
        symbols : array of integers
            The symbols.
        which : int, default 0
            Index of the array of x that the symbols replace, if x is a tuple of arrays.

        Returns
        -------
        tuple (layer, vectors), or None
            The output of `layer` for the vectors is the output of this layer for the symbols. The
            vectors have the shape of the symbols and one more axis. None: they are not known.
        """
        return None

    @property
    def multiply_adds(self) -> int:
        """Number of multiply-adds of one step of one row: the entries of all matrices."""
        return sum(array.size for array in self.params.values() if array.ndim == 2)

    def summary(self) -> Summary:
        """Return a table of the layers: output shapes, parameters, bytes, multiply-adds per step.

        Returns
        -------
        Summary
            ``print(layer.summary())`` shows it as text.

        Examples
        --------
        >>> import crnn
        >>> crnn.GRU(8, 16).summary().parameters
        1216
        """
        return summarize(self)

    def check_backward(self, tape: Any, dstate: Any) -> None:
        """Raise the error that `backward` would raise for these arguments, and change nothing.

        Parameters
        ----------
        tape, dstate
            As for `backward`.
        """
        if not self.has_state:
            check_no_state(type(self).__name__, "dstate", dstate)

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        for grad in self.grads.values():
            grad[...] = 0

    def state_dict(self) -> dict[str, Array]:
        """Return copies of the parameters by name.

        Returns
        -------
        dict of str to array
        """
        return {name: array.copy() for name, array in self.params.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set all parameters.

        Parameters
        ----------
        state : mapping of str to array
            As returned by `state_dict`: every parameter, in its shape.

        Raises
        ------
        ValueError
            If an entry is missing, unknown or has another shape, does not consist of real numbers,
            or has a number that the type of the parameter cannot represent. No parameter has
            changed then.
        """
        params = self.params
        check_names("state_dict", params, state)
        params.update({name: check_fits(name, state[name], params[name]) for name in params})

    def astype(self, dtype: DTypeLike) -> Self:
        """Return a copy with parameters of another float type. Its gradients are zero.

        Parameters
        ----------
        dtype : {"float32", "float64"}
            Type of the copy.

        Returns
        -------
        Layer
            A layer of the same class.
        """
        other = copy.deepcopy(self)
        other._convert(check_dtype(dtype))
        return other

    def _convert(self, dtype: np.dtype[Any]) -> None:
        """Change the type of all parameters, in place, and set the gradients to zero.

        This method converts arrays and layers that are attributes of the layer, and those in
        dictionaries that are attributes. If the class has others, TypeError is raised: then the
        class must override this method.
        """
        params = {id(array) for array in self.param_views.values()}
        grads = {id(array) for array in self.grad_views.values()}
        nested = (value for value in vars(self).values() if isinstance(value, dict))
        for attributes in [self.__dict__, *nested]:
            for name, value in attributes.items():
                if id(value) in params:
                    attributes[name] = value.astype(dtype)
                elif id(value) in grads:
                    attributes[name] = np.zeros_like(value, dtype=dtype)
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
        """Set the attributes of a pickle or a copy; arrays that cannot be written are copied."""
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        self.__dict__.update(writable(attributes or {}))
        for name, value in (slots or {}).items():
            setattr(self, name, value)

    @property
    def _defaults(self) -> dict[str, Any]:
        """Defaults of the arguments of the constructor, by name."""
        parameters = inspect.signature(type(self)).parameters.values()
        return {parameter.name: parameter.default for parameter in parameters}

    def _shown(self) -> dict[str, Any]:
        """Return the arguments that `repr` shows, by name."""
        return self.config

    @never_raising
    def __repr__(self) -> str:
        config, defaults = self._shown(), self._defaults
        arguments = [repr(config[key]) for key in self._leading]
        for key, value in config.items():
            if key not in self._leading and (key not in defaults or value != defaults[key]):
                arguments.append(f"{key}={value!r}")
        return f"{type(self).__name__}({', '.join(arguments)})"


_forbid_instances(Layer)


class Temporal(Layer):
    """Base of layers with a state that passes from step to step.

    A subclass defines the methods that `Layer` describes:

    - ``forward(x, state=None, *, lengths=None, mask=None, resets=None, training=True)`` starts from
      a state, None standing for zeros, and returns the state after the last valid step of each row.
      After the end of a row, y is 0 and the state does not change. The arguments ``mask`` and
      ``resets`` are optional.
    - ``backward(tape, dy, dstate=None)`` returns dx and the gradient of the initial state.

    Such a layer can be used in `crnn.Bidirectional`, in truncated backpropagation through time and
    in streams.

    See Also
    --------
    Layer : Base of all layers, which has the other methods and the attributes.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> class Sum(crnn.Temporal):
    ...     keeps_features = True
    ...
    ...     def forward(self, x, state=None, *, lengths=None, training=True):
    ...         y = np.cumsum(x, axis=1) + (0 if state is None else state[:, None])
    ...         return y, y[:, -1], None
    ...
    ...     def backward(self, tape, dy, dstate=None):
    ...         dx = np.cumsum(dy[:, ::-1], axis=1)[:, ::-1]
    ...         dx = dx + (0 if dstate is None else dstate[:, None])
    ...         return dx, dx[:, 0]
    >>> layer, x = Sum(), np.array([[[1.0], [2.0], [4.0]]])
    >>> layer(x)[0].ravel()
    array([1., 3., 7.])
    >>> crnn.Bidirectional(layer)(x)[0][0, :, 1]
    array([7., 6., 4.])
    """

    has_state = True

    def repeats_masked(self, repeated: bool, training: bool) -> bool:
        return True


def check_converted(layer: Layer, dtype: np.dtype[Any]) -> None:
    """Raise TypeError unless all parameters of a layer have this type."""
    unchanged = [name for name, array in layer.params.items() if array.dtype != dtype]
    if unchanged:
        raise TypeError(
            f"astype: expected parameters that can be converted to {dtype}, got "
            f"{', '.join(unchanged)} of {layer!r:.100}, which were not converted: name their layer "
            "in `parts`, or override _convert"
        )


def check_no_state(layer: str, name: str, state: Any) -> None:
    """Raise ValueError unless the state of a layer without a state is None."""
    if state is not None:
        raise ValueError(f"{name}: {layer} has no state, expected None, got {type(state).__name__}")
