"""Descriptions of layers: the name of the class and the arguments of its constructor, as JSON.

A class of crnn has its bare name in a description, a class of a user "module:qualified name". So a
class of a user never replaces one of crnn, whatever its name is.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

registry: MutableMapping[str, type[Any]] = WeakValueDictionary()
"""All subclasses of Layer by `identity`. If two have the same identity, the later one."""

#: Packages of crnn with layers that `import crnn` does not import.
_PACKAGES = ("crnn.seq2seq", "crnn.models")

_extra_classes: ContextVar[Mapping[str, type[Any]]] = ContextVar("_extra_classes")


class Widths(NamedTuple):
    """Widths of the input, the output and the state of the layer of a description."""

    input: int | None  # features of x; None: symbols, or any number of features
    output: int | None  # features of y; None: as many as x
    state: tuple[int, ...] = ()  # width of each array of the state
    timeless: bool = False  # whether y has no time axis
    last: tuple[int, ...] = ()  # width of each array of the state of the last layer inside
    counts: bool = False  # whether the state has numbers of steps, so that it is no vector


def is_crnn_class(cls: type) -> bool:
    """Return whether a class belongs to crnn."""
    return cls.__module__.partition(".")[0] == "crnn"


def identity(cls: type) -> str:
    """Return the name of a class in a description."""
    return cls.__name__ if is_crnn_class(cls) else f"{cls.__module__}:{cls.__qualname__}"


def _bare(name: str) -> str:
    """Return the name of a class without its module, and without an enclosing class or function."""
    return name.rpartition(":")[2].rpartition(".")[2]


@contextmanager
def with_classes(classes: Mapping[str, type[Any]]) -> Iterator[None]:
    """Make `build` find these classes, too, by bare name or by identity."""
    token = _extra_classes.set(classes)
    try:
        yield
    finally:
        _extra_classes.reset(token)


def _crnn_class(name: str) -> type[Any] | None:
    """Return the class of crnn with this name, or None."""
    if ":" in name:
        return None
    if name not in registry:
        for package in _PACKAGES:
            importlib.import_module(package)
    return registry.get(name)


def _user_class(name: str) -> type[Any] | None:
    """Return the class of a user with this name, or None. Old files have bare names."""
    extra = _extra_classes.get({})
    cls = extra.get(name, extra.get(_bare(name), registry.get(name)))
    if cls is not None or ":" in name:
        return cls
    matches = {key: cls for key, cls in registry.items() if ":" in key and _bare(key) == name}
    if len(matches) > 1:
        raise ValueError(
            f"layer: {name!r} may be any of {', '.join(sorted(matches))}; pass the class: "
            f"crnn.load(path, classes={{{name!r}: ...}})"
        )
    return next(iter(matches.values()), None)


def find_class(name: Any) -> type[Any]:
    """Return the class of a name in a description.

    Raises
    ------
    ValueError
        No class has the name, several classes have it, or the class is abstract.
    """
    if not isinstance(name, str):
        raise ValueError(f"layer: expected the name of a class, got {name!r:.100}")
    cls = _crnn_class(name) or _user_class(name)
    if cls is None:
        module = name.partition(":")[0] if ":" in name else "the module that has it"
        raise ValueError(
            f"layer: no class {name!r:.200} is known; import {module:.200}, or pass the class: "
            f"crnn.load(path, classes={{{_bare(name)!r:.200}: ...}})"
        )
    if inspect.isabstract(cls):
        raise ValueError(
            f"layer: expected a class with instances, got {name!r:.200}, which is abstract: it "
            f"lacks {', '.join(sorted(getattr(cls, '__abstractmethods__', ())))}"
        )
    return cls


def describe(layer: Any) -> dict[str, Any]:
    """Return the description of a layer, ``{"class": name, "config": arguments}``, for JSON.

    Raises
    ------
    TypeError
        The class is no subclass of Layer, or another class with the same name was defined later.
    """
    name = identity(type(layer))
    if registry.get(name) is not type(layer):
        raise TypeError(
            "layer: expected one of a subclass of crnn.Layer, the last one defined under its name, "
            f"got {layer!r:.100} of {type(layer)!r}"
        )
    calls = {"calls": layer.calls} if isinstance(layer.calls, int) and layer.calls > 0 else {}
    return {"class": name, "config": layer.config} | calls


def class_and_config(description: Any) -> tuple[type[Any], Mapping[str, Any]]:
    """Return the class and the configuration of a description.

    Raises
    ------
    ValueError
        It is not a mapping with these entries, or the class is not known.
    """
    if not isinstance(description, Mapping) or not {"class", "config"} <= set(description):
        raise ValueError(
            f"layer: expected a description with 'class' and 'config', got {description!r:.200}"
        )
    cls, config = find_class(description["class"]), description["config"]
    if not isinstance(config, Mapping):
        raise ValueError(f"layer: expected a 'config' with names, got {config!r:.200}")
    return cls, config


def build(description: Mapping[str, Any]) -> Any:
    """Make the layer of a description, with initial parameters.

    Raises
    ------
    ValueError
        The description is not one of `describe`, or its class is not known.
    """
    cls, config = class_and_config(description)
    calls = description.get("calls", 0)
    if type(calls) is not int or not 0 <= calls < 2**64:
        raise ValueError(f"calls: expected an integer from 0 to 2**64 - 1, got {calls!r:.60}")
    layer = cls.from_config(config)
    if calls:
        layer.calls = calls
    return layer


def check_options(described: Any, made: Any, place: str = "layer") -> None:
    """Compare a description with the description of the layers that were made from it.

    Only layers of crnn are compared.

    Raises
    ------
    ValueError
        A constructor changed an option: for instance ``"bias": "no"`` to True.
    """
    if isinstance(made, Mapping):
        if {"class", "config"} <= set(made) and made["class"] == described["class"]:
            of_crnn, config = ":" not in made["class"], described["config"]
            for name in config if of_crnn else ():
                check_options(config[name], made["config"].get(name), name)
    elif isinstance(made, list | tuple):
        for item, made_item in zip(described, made, strict=True):
            check_options(item, made_item, place)
    elif described != made or isinstance(described, bool) is not isinstance(made, bool):
        raise ValueError(f"{place}: expected a value such as {made!r:.100}, got {described!r:.100}")


def parameter_count(description: Any) -> int:
    """Return the number of parameters of the layer of a description, without making the layer.

    Raises
    ------
    ValueError, TypeError
        As in `build`.
    """
    cls, config = class_and_config(description)
    return int(cls.parameter_count(config))


def descriptions_in(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the descriptions of layers in a configuration, without descriptions inside them."""
    if isinstance(value, Mapping):
        if {"class", "config"} <= set(value):
            yield value
        else:
            for part in value.values():
                yield from descriptions_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from descriptions_in(part)


def widths_of(description: Any) -> Widths | None:
    """Return the widths of the layer of a description; None for a class of a user.

    A class of a user may change the widths that it inherits.
    """
    cls, config = class_and_config(description)
    return cls._widths(config) if is_crnn_class(cls) else None
