"""Texts for `repr`: the constructor call of an object, or a short description of it."""

from __future__ import annotations

import inspect
from types import BuiltinFunctionType, FunctionType
from typing import Any

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


def value_text(value: Any) -> str:
    """Return a value as text; functions by name. A text that is too long ends with "..."."""
    if isinstance(value, FunctionType | BuiltinFunctionType):
        return value.__name__
    try:
        text = repr(value)
    except Exception:
        return "..."
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
