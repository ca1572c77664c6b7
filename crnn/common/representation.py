"""Texts for `repr`: the constructor call of an object, or a short description of it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np

_LONGEST = 60  # characters of a value


def arguments_of(instance: object) -> tuple[dict[str, Any], bool]:
    """Return the constructor arguments that an object has as attributes.

    The argument `x` is read from the attribute ``given_x``, where the object has one, else from
    ``x``.

    Returns
    -------
    arguments : dict
        Values by name, in the order of the constructor. Those equal to their default are included.
    complete : bool
        False if the constructor has arguments that are not attributes.
    """
    arguments: dict[str, Any] = {}
    complete = True
    for name, parameter in _parameters(type(instance)).items():
        for attribute in (f"given_{name}", name):
            try:
                arguments[name] = getattr(instance, attribute)
                break
            except Exception:  # a property may raise anything in an object that is not complete
                continue
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        complete &= name in arguments and not variadic
    return arguments, complete


def call_text(instance: object) -> str:
    """Return the call that makes an object, without arguments that have their default value.

    The text is ``<Name: arguments>`` instead of ``Name(arguments)`` where the call is not complete
    or a value is shortened. This function does not raise.

    Examples
    --------
    >>> class Scale:
    ...     def __init__(self, factor, offset=0.0):
    ...         self.factor, self.offset = factor, offset
    >>> call_text(Scale(2.0)), call_text(Scale(2.0, 1.0))
    ('Scale(factor=2.0)', 'Scale(factor=2.0, offset=1.0)')
    """
    arguments, complete = arguments_of(instance)
    parameters = _parameters(type(instance))
    texts = []
    for name, value in arguments.items():
        if not _is_equal(value, parameters[name].default):
            text = value_text(value)
            complete &= not text.endswith("...")
            texts.append(f"{name}={text}")
    class_name, listed = type(instance).__name__, ", ".join(texts)
    if complete:
        return f"{class_name}({listed})"
    return f"<{class_name}: {listed}>" if listed else f"<{class_name}>"


def tape_text(tape: Any) -> str:
    """Return the repr of a tape: its fields, with arrays by dtype and shape. It does not raise.

    Examples
    --------
    >>> import numpy as np
    >>> from typing import NamedTuple
    >>> class ScaleTape(NamedTuple):
    ...     key: tuple
    ...     shape: tuple
    ...     x: np.ndarray
    >>> ScaleTape.__repr__ = tape_text
    >>> ScaleTape(("Scale", 3), (2, 4, 3), np.zeros((2, 4, 3)))
    <ScaleTape of Scale: shape (2, 4, 3), x float64 (2, 4, 3)>
    """
    try:
        fields = tape._asdict() if hasattr(tape, "_asdict") else dict(vars(tape))
        shown = (name for name in fields if name != "key" and not name.startswith("_"))
        texts = {name: _field_text(fields[name]) for name in shown}
        key = fields.get("key")
        of = f" of {key[0]}" if isinstance(key, tuple) and key else ""
    except Exception:  # of a tape that is not complete
        return object.__repr__(tape)
    listed = ", ".join(f"{name} {text}" for name, text in texts.items() if text)
    return f"<{type(tape).__name__}{of}: {listed}>" if listed else f"<{type(tape).__name__}{of}>"


def _field_text(value: Any) -> str:
    """Return a field of a tape as text, "" for one without a short text."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    if isinstance(value, str | int | float):
        return value_text(value)
    if type(value).__name__.endswith("Tape"):
        return repr(value)
    if isinstance(value, tuple) and all(isinstance(part, int) for part in value):
        return repr(value)
    return ""


def value_text(value: Any) -> str:
    """Return a value as text; functions by name. A text that is too long ends with "..."."""
    if isinstance(value, FunctionType | BuiltinFunctionType):
        return value.__name__
    try:
        text = repr(value)
    except Exception:
        return "..."
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _parameters(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a constructor by name; none if they are not known."""
    try:
        return dict(inspect.signature(cls).parameters)
    except (TypeError, ValueError):
        return {}


def _is_equal(value: Any, default: Any) -> bool:
    try:
        return bool(value is default or value == default)
    except Exception:  # of an array, for example
        return False


def never_raising(function: Callable[[Any], str]) -> Callable[[Any], str]:
    """Let a `__repr__` return the repr of `object` where it would raise an exception.

    Debuggers and tracebacks show objects whose constructor has not finished.
    """

    @functools.wraps(function)
    def __repr__(self: Any) -> str:
        try:
            return function(self)
        except Exception:
            return object.__repr__(self)

    return __repr__
