"""Layers as data: the name of a class and the arguments that make the layer, as JSON can hold them.

A class of crnn has its bare name in a description, a class of the user "module:qualified name". So
a user's class never takes the place of one of crnn's, whatever it is called.
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
"""All subclasses of Layer by identity. Of classes with one identity it has the last one defined."""

#: Packages of crnn with layers that `import crnn` need not have imported.
_PACKAGES = ("crnn.seq2seq", "crnn.models")

_given: ContextVar[Mapping[str, type[Any]]] = ContextVar("_given")


class Widths(NamedTuple):
    """How wide the arrays are that a described layer reads and gives."""

    input: int | None  # features of x; None: symbols, or any number of features
    output: int | None  # features of y; None: as many as x has
    state: tuple[int, ...] = ()  # of each array of the state
    timeless: bool = False  # y has no time axis
    last: tuple[int, ...] = ()  # of the arrays of the state of the layer that it ends in


def is_own(cls: type) -> bool:
    """Whether a class is one of crnn's."""
    return cls.__module__.partition(".")[0] == "crnn"


def identity(cls: type) -> str:
    """The name of a class in a description."""
    return cls.__name__ if is_own(cls) else f"{cls.__module__}:{cls.__qualname__}"


def _bare(name: str) -> str:
    """The name of a class without its module and what it is defined in."""
    return name.rpartition(":")[2].rpartition(".")[2]


@contextmanager
def with_classes(classes: Mapping[str, type[Any]]) -> Iterator[None]:
    """Let `build` find these classes too, by bare name or by identity."""
    token = _given.set(classes)
    try:
        yield
    finally:
        _given.reset(token)


def _own(name: str) -> type[Any] | None:
    """The class of crnn with this name."""
    if ":" in name:
        return None
    if name not in registry:
        for package in _PACKAGES:
            importlib.import_module(package)
    return registry.get(name)


def _of_the_user(name: str) -> type[Any] | None:
    """The class given or imported that a name stands for; a bare one is of an old file."""
    given = _given.get({})
    cls = given.get(name, given.get(_bare(name), registry.get(name)))
    if cls is not None or ":" in name:
        return cls
    found = {key: cls for key, cls in registry.items() if ":" in key and _bare(key) == name}
    if len(found) > 1:
        raise ValueError(
            f"layer: {name!r} may be any of {', '.join(sorted(found))}; say which: "
            f"crnn.load(path, classes={{{name!r}: ...}})"
        )
    return next(iter(found.values()), None)


def find_class(name: Any) -> type[Any]:
    """The class that a description names.

    Raises
    ------
    ValueError
        There is none, several may be meant, or it is abstract.
    """
    if not isinstance(name, str):
        raise ValueError(f"layer: expected the name of a class, got {name!r:.100}")
    cls = _own(name) or _of_the_user(name)
    if cls is None:
        module = name.partition(":")[0] if ":" in name else "the module that has it"
        raise ValueError(
            f"layer: no class {name!r:.200} is known; import {module:.200}, or give the class: "
            f"crnn.load(path, classes={{{_bare(name)!r:.200}: ...}})"
        )
    if inspect.isabstract(cls):
        raise ValueError(
            f"layer: expected a class that can be made, got {name!r:.200}, which is abstract: it "
            f"lacks {', '.join(sorted(getattr(cls, '__abstractmethods__', ())))}"
        )
    return cls


def describe(layer: Any) -> dict[str, Any]:
    """A layer as {"class": name, "config": arguments}, of types that JSON knows.

    Raises
    ------
    TypeError
        Its class is no subclass of Layer, or another was defined under the same name since.
    """
    name = identity(type(layer))
    if registry.get(name) is not type(layer):
        raise TypeError(
            "layer: expected one of a subclass of crnn.Layer, the last one defined under its name, "
            f"got {layer!r:.100} of {type(layer)!r}"
        )
    calls = {"calls": layer.calls} if isinstance(layer.calls, int) and layer.calls > 0 else {}
    return {"class": name, "config": layer.config} | calls


def opened(description: Any) -> tuple[type[Any], Mapping[str, Any]]:
    """The class and the configuration of a description.

    Raises
    ------
    ValueError
        It is no such mapping or names a class that is not known.
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
    """The layer that `describe` described, with fresh parameters.

    Raises
    ------
    ValueError
        If the description is no such mapping or names a class that is not known.
    """
    cls, config = opened(description)
    calls = description.get("calls", 0)
    if type(calls) is not int or not 0 <= calls < 2**64:
        raise ValueError(f"calls: expected an integer from 0 to 2**64 - 1, got {calls!r:.60}")
    layer = cls.from_config(config)
    if calls:
        layer.calls = calls
    return layer


def check_options(described: Any, made: Any, place: str = "layer") -> None:
    """Compare the options of crnn's layers in a description with those of the layers made of it.

    Raises
    ------
    ValueError
        An option was taken for another value: ``"bias": "no"`` for True, for instance.
    """
    if isinstance(made, Mapping):
        if {"class", "config"} <= set(made) and made["class"] == described["class"]:
            own, config = ":" not in made["class"], described["config"]
            for name in config if own else ():
                check_options(config[name], made["config"].get(name), name)
    elif isinstance(made, list | tuple):
        for one, other in zip(described, made, strict=True):
            check_options(one, other, place)
    elif described != made or isinstance(described, bool) is not isinstance(made, bool):
        raise ValueError(f"{place}: expected a value such as {made!r:.100}, got {described!r:.100}")


def parameter_count(description: Any) -> int:
    """How many parameters the layer described has, with those of its parts.

    Raises
    ------
    ValueError, TypeError
        As `build`; nothing is allocated.
    """
    cls, config = opened(description)
    return int(cls.parameter_count(config))


def described_in(value: Any) -> Iterator[Mapping[str, Any]]:
    """The descriptions of layers in a configuration, but not those inside of them."""
    if isinstance(value, Mapping):
        if {"class", "config"} <= set(value):
            yield value
        else:
            for part in value.values():
                yield from described_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from described_in(part)


def widths_of(description: Any) -> Widths | None:
    """The widths of the layer described; None for a user's class, which may change them."""
    cls, config = opened(description)
    return cls._widths(config) if is_own(cls) else None
