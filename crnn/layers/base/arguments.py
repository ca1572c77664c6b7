"""What a composition hands on to its parts besides x and state: the one place for these names."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from crnn.common.checks import check_steps
from crnn.layers.base.calls import numbered

STEPS = ("lengths", "mask", "resets")
"""The arguments that describe the steps of x; evaluation takes these and `filled` alone."""


class Given(NamedTuple):
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

    def part(self, i: int) -> Given:
        """What part i gets: the same under a number of its own.

        So two parts with the same seed draw different numbers. Parts of the outermost composition
        are 1, 2, ...; those of its part n are 64 n + 1, 64 n + 2, ...
        """
        if not isinstance(self.layer, (int, np.integer)) or self.layer < 0:
            kind = ValueError if isinstance(self.layer, (int, np.integer)) else TypeError
            raise kind(f"layer: expected an integer of at least 0, got {self.layer!r}")
        return self._replace(layer=(64 * int(self.layer) + i + 1) % 2**32)

    def without_steps(self) -> Given:
        """The same for what has no time axis."""
        return self._replace(lengths=None, mask=None, resets=None, filled=None)

    def behind(self, part: Any) -> Given:
        """The same for a layer that reads what `part` gives."""
        if has_no_time_axis(part):
            return self.without_steps()
        if self.mask is not None and answers_masked(part):
            return self._replace(filled=True)
        return self

    def run(self, part: Any, x: Any, state: Any, keep: bool) -> tuple[Any, Any, Any]:
        """y, state, tape of a part, from those of the arguments that its forward knows.

        Parameters
        ----------
        part : layer
        x, state
            As the part takes them.
        keep : bool
            False: evaluation, and no tape.
        """
        known = options_of(part)
        if self.mask is not None and not self.filled and "mask" not in known:
            x = _without_masked(x, self.mask)
        options = {
            name: value
            for name, value in zip(self._fields, self, strict=True)
            if name in known and value is not None
        }
        if keep:
            with self._numbering(part):
                y, after, tape = part.forward(x, state, **options)
            return y, after, tape
        names = [name for name in (*STEPS, "filled") if name in options]
        y, after = part(x, state, **{name: options[name] for name in names})
        return y, after, None

    def _numbering(self, part: Any) -> AbstractContextManager[None]:
        """Gives the number of the call to layers that a part from outside the package calls."""
        if not self.training or self.call is None or not is_from_outside(part):
            return nullcontext()
        return numbered(self.call)


EVALUATION = Given(training=False)


def options_of(layer: Any) -> frozenset[str]:
    """Names that the forward of a layer takes.

    A forward with ``**kwargs`` also takes what the one takes that it overrides.
    """
    cls: Any = type(layer)
    return _options(cls, cls.forward)


@functools.lru_cache(maxsize=256)
def _options(cls: Any, forward: Callable[..., Any]) -> frozenset[str]:
    """`forward` is what `cls` has now: whoever replaces it is heard."""
    names: set[str] = set()
    for base in cls.__mro__:
        if "forward" in vars(base):
            parameters = inspect.signature(vars(base)["forward"]).parameters
            names |= set(parameters)
            if all(one.kind is not one.VAR_KEYWORD for one in parameters.values()):
                break
    return frozenset(names)


def is_from_outside(layer: Any) -> bool:
    """Whether the forward of a layer is not one of this package."""
    module = getattr(type(layer).forward, "__module__", None) or "crnn"  # None: of the core
    return bool(module.partition(".")[0] != "crnn")


def is_stochastic(part: Any) -> bool:
    """Whether forward of a part takes `call` and draws what depends on it.

    A forward from outside the package that takes `call` is taken to draw.
    """
    takes_call = "call" in options_of(part)
    return takes_call and (is_from_outside(part) or bool(part.stochastic))


def check_backward(part: Any, tape: Any, dstate: Any) -> None:
    """What a part has to say against a backward, before any other part has changed."""
    check: Callable[[Any, Any], None] | None = getattr(part, "check_backward", None)
    if check is not None:
        check(tape, dstate)


def _without_masked(x: Any, mask: Any) -> Any:
    """x with zeros at masked steps, for a layer that takes no mask: they may hold anything."""
    if not isinstance(x, np.ndarray) or x.ndim < 2:
        return x
    there = check_steps("mask", mask, x.shape)
    return np.where(there.reshape(there.shape + (1,) * (x.ndim - 2)), x, x.dtype.type(0))


def walk(layer: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """A layer and all layers it is made of, each with its dotted place, "" for itself."""
    yield place, layer
    for name, part in getattr(layer, "parts", {}).items():
        yield from walk(part, f"{place}.{name}" if place else name)


def answers_masked(layer: Any) -> bool:
    """Whether a layer gives outputs of its own at masked steps, as recurrent layers repeat theirs.

    It is what the layer's attribute `answers_masked` says, else whether its forward takes a mask.
    """
    answers = getattr(layer, "answers_masked", None)
    return "mask" in options_of(layer) if answers is None else bool(answers)


def has_no_time_axis(layer: Any) -> bool:
    """Whether the output of a layer has no time axis where its input has one."""
    return bool(getattr(layer, "many_to_one", False))
