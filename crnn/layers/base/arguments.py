"""What a composition hands on to its parts besides x and state: the one place for these names."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from crnn.layers.base.adapted import class_of
from crnn.layers.base.layer import Layer

STEPS = ("lengths", "mask", "resets")
"""The arguments that describe the steps of x; evaluation takes these and `filled` alone."""


def first_part(layer: Any) -> int:
    """The number of the first part of a layer that has this number, see `ForwardOptions.part`."""
    if type(layer) is not int or layer < 0:
        if not isinstance(layer, (int, np.integer)):
            raise TypeError(f"layer: expected an integer of at least 0, got {layer!r}")
        if layer < 0:
            raise ValueError(f"layer: expected an integer of at least 0, got {layer!r}")
    return 64 * int(layer) + 1


class ForwardOptions(NamedTuple):
    """The keyword arguments of forward, on their way from a composition to its parts."""

    lengths: Any = None
    mask: Any = None
    resets: Any = None
    training: bool = True
    call: int | None = 0  # None: nothing that is known to draw depends on it
    first_row: int = 0
    first_step: int = 0
    layer: int = 0
    filled: bool | None = None
    """True: a layer before has given x outputs of its own at masked steps. None: False."""

    def part(self, i: int) -> ForwardOptions:
        """What part i gets: the same under a number of its own.

        So two parts with the same seed draw different numbers. Parts of the outermost composition
        are 1, 2, ...; those of its part n are 64 n + 1, 64 n + 2, ...
        """
        return self._replace(layer=(first_part(self.layer) + i) % 2**32)

    def without_steps(self) -> ForwardOptions:
        """The same for what has no time axis."""
        return self._replace(lengths=None, mask=None, resets=None, filled=None)


EVALUATION = ForwardOptions(training=False)


def is_own(function: Any) -> bool:
    """Whether a function is one of this package; those of the core have no module."""
    module = getattr(function, "__module__", None) or "crnn"
    return bool(module.partition(".")[0] == "crnn")


def options_of(layer: Any) -> frozenset[str]:
    """Names that the forward of a layer takes.

    A forward with ``**kwargs`` also takes what the one takes that it overrides.
    """
    return forward_of(layer)[0]


def is_from_outside(layer: Any) -> bool:
    """Whether the forward of a layer is not one of this package."""
    return forward_of(layer)[1]


def forward_of(layer: Any) -> tuple[frozenset[str], bool]:
    """`options_of` and `is_from_outside` of a layer."""
    cls = class_of(layer)
    return _forward_of(cls, cls.forward)


@functools.lru_cache(maxsize=256)
def _forward_of(cls: Any, forward: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    """`forward`, what `cls` has now, is part of the cache's key: a replaced one is noticed."""
    names: set[str] = set()
    for base in cls.__mro__:
        if "forward" in vars(base):
            parameters = inspect.signature(vars(base)["forward"]).parameters
            names |= set(parameters)
            if all(one.kind is not one.VAR_KEYWORD for one in parameters.values()):
                break
    return frozenset(names), not is_own(forward)


def widths_told(layer: Layer) -> tuple[int | None, int | None]:
    """The features that a layer reads and gives, as far as its answers can be relied on.

    Not those of a class from outside that overrides the forward of one of crnn's layers: what it
    has inherited need not hold.
    """
    if "forward" in vars(layer):
        return None, None
    if is_from_outside(layer) and any(
        "forward" in vars(base) and base is not Layer and is_own(base.forward)
        for base in class_of(layer).__mro__
    ):
        return None, None
    return layer.input_size, layer.output_size


def is_stochastic(part: Any) -> bool:
    """Whether forward of a part takes `call` and draws what depends on it.

    A forward from outside the package that takes `call` is taken to draw.
    """
    takes_call = "call" in options_of(part)
    return takes_call and (is_from_outside(part) or bool(part.stochastic))


def answers_masked(layer: Any) -> bool:
    """Whether a layer gives outputs of its own at masked steps, as recurrent layers repeat theirs.

    It is what the layer's attribute `answers_masked` says, else whether its forward takes a mask.
    """
    answers = layer.answers_masked
    return "mask" in options_of(layer) if answers is None else bool(answers)
