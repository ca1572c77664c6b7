"""The keyword arguments of forward, which compositions pass on to their parts."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn.common.checks import steps_there
from crnn.layers.base.adapted import class_of
from crnn.layers.base.layer import Layer

STEPS = ("lengths", "mask", "resets")
"""Arguments that describe the steps of x. Evaluation takes these and `filled` only."""


def first_part_number(layer: Any) -> int:
    """Return the number of the first part of the layer with this number.

    `ForwardOptions.for_part` explains the numbers.
    """
    if type(layer) is not int or layer < 0:
        if not isinstance(layer, (int, np.integer)):
            raise TypeError(f"layer: expected an integer of at least 0, got {layer!r}")
        if layer < 0:
            raise ValueError(f"layer: expected an integer of at least 0, got {layer!r}")
    return 64 * int(layer) + 1


class ForwardOptions(NamedTuple):
    """Keyword arguments of forward, as a composition passes them to its parts."""

    lengths: Any = None
    mask: Any = None
    resets: Any = None
    training: bool = True
    call: int | None = 0  # None: no part is known to draw numbers that depend on it
    first_row: int = 0
    first_step: int = 0
    layer: int = 0
    filled: bool | None = None
    """True: x at masked steps is the output of a previous layer, and is read. None: False."""
    needs_dx: bool | None = None
    """False: the gradient of x is not wanted. None: True."""

    def steps_joined(self, x: Any) -> NDArray[np.bool_] | None:
        """Return the steps (B, T) of x that a wrapper joins to the output; None for all of them."""
        mask = None if self.filled else self.mask
        if self.lengths is None and mask is None:
            return None
        return steps_there(self.lengths, mask, np.shape(x))

    def for_part(self, i: int) -> ForwardOptions:
        """Return the options for part i: the same with the number of the part as `layer`.

        Because of the number, two parts with the same seed draw different random numbers. The parts
        of the outermost composition have the numbers 1, 2, ...; the parts of its part n have
        64 n + 1, 64 n + 2, ...
        """
        return self._replace(layer=(first_part_number(self.layer) + i) % 2**32)

    def without_steps(self) -> ForwardOptions:
        """Return the options for a layer whose input has no time axis."""
        return self._replace(lengths=None, mask=None, resets=None, filled=None)


EVALUATION = ForwardOptions(training=False)


def is_crnn_function(function: Any) -> bool:
    """Return whether a function belongs to crnn. Functions of the core have no module."""
    module = getattr(function, "__module__", None) or "crnn"
    return bool(module.partition(".")[0] == "crnn")


def options_of(layer: Any) -> frozenset[str]:
    """Return the names of the arguments of a layer's forward.

    A forward with ``**kwargs`` also takes the arguments of the method that it overrides.
    """
    return forward_of(layer)[0]


def is_from_outside(layer: Any) -> bool:
    """Return whether the forward of a layer is defined outside of crnn."""
    return forward_of(layer)[1]


def forward_of(layer: Any) -> tuple[frozenset[str], bool]:
    """Return the names of the arguments of a layer's forward, and whether it is not one of crnn."""
    cls = class_of(layer)
    return _forward_of(cls, cls.forward)


@functools.lru_cache(maxsize=256)
def _forward_of(cls: Any, forward: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    """Compute `forward_of`. `forward` is part of the cache key, so that a new one is noticed."""
    names: set[str] = set()
    for base in cls.__mro__:
        if "forward" in vars(base):
            parameters = inspect.signature(vars(base)["forward"]).parameters
            names |= set(parameters)
            if all(each.kind is not each.VAR_KEYWORD for each in parameters.values()):
                break
    return frozenset(names), not is_crnn_function(forward)


def reliable_widths(layer: Layer) -> tuple[int | None, int | None]:
    """Return `input_size` and `output_size` of a layer, or None where they may be wrong.

    They may be wrong for a class from outside that overrides the forward of a layer of crnn,
    because it inherits them.
    """
    if "forward" in vars(layer):
        return None, None
    if is_from_outside(layer) and any(
        "forward" in vars(base) and base is not Layer and is_crnn_function(base.forward)
        for base in class_of(layer).__mro__
    ):
        return None, None
    return layer.input_size, layer.output_size


def is_stochastic(part: Any) -> bool:
    """Return whether the forward of a part draws random numbers that depend on `call`.

    A forward from outside of crnn that takes `call` is assumed to draw.
    """
    takes_call = "call" in options_of(part)
    return takes_call and (is_from_outside(part) or bool(part.stochastic))


def answers_masked(layer: Any) -> bool:
    """Return whether y at masked steps is an output that the next layer reads, and not 0.

    It is the layer's attribute `answers_masked`. If this is None, it is whether forward takes a
    mask.
    """
    value = layer.answers_masked
    return "mask" in options_of(layer) if value is None else bool(value)
