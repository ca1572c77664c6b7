"""The tapes of the recurrent layers inside the tape of a composition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import crnn._core as _core


class TapeSequence(tuple[Any, ...]):
    """Tapes of one layer for consecutive windows of steps, in the order of time."""


class LayerTapes(NamedTuple):
    """The tapes of one recurrent layer.

    Attributes
    ----------
    place : str
        Dotted name of the layer in the model: "", "0", "1.forward", "encoder.0", ...
    tapes : list of Tape
        One for each window of steps, in the order of time.
    """

    place: str
    tapes: list[_core.Tape]


def check_tape(tape: Any, expected: type[Any]) -> None:
    """Raise TypeError unless a tape has the type that the layer's forward returns."""
    if not isinstance(tape, expected):
        name = type(tape).__name__
        raise TypeError(f"tape: expected the one that forward returned, got {name}")


def tape_parts(tape: Any) -> Mapping[str, Any]:
    """Return the tapes inside the tape of a composition, by the names of the parts.

    A tape that is None has no content. Tapes of Python classes have an attribute ``parts``.
    """
    parts = getattr(tape, "parts", None)
    return parts if isinstance(parts, Mapping) else {}


def recurrent_tapes(tape: Any, place: str = "") -> Iterator[LayerTapes]:
    """Yield the tapes of the recurrent layers of a model, in the order of its parts.

    Parameters
    ----------
    tape : tape
        Tape of any layer. Layers that are not recurrent layers of crnn are skipped.
    place : str
        Dotted name of the layer in the model.
    """
    if isinstance(tape, _core.Tape):
        yield LayerTapes(place, [tape])
    elif isinstance(tape, TapeSequence):
        windows = [list(recurrent_tapes(window, place)) for window in tape]
        for same_layer in zip(*windows, strict=True):
            tapes = [tape for window in same_layer for tape in window.tapes]
            yield LayerTapes(same_layer[0].place, tapes)
    else:
        for name, part in tape_parts(tape).items():
            yield from recurrent_tapes(part, f"{place}.{name}" if place and name else place or name)


def request_trace(tape: Any) -> None:
    """Make the next backward with this tape keep a trace in the tapes of the recurrent layers."""
    if isinstance(tape, _core.Tape):
        tape.traced = True
    elif hasattr(tape, "request_trace"):
        tape.request_trace()
    else:
        for part in tape if isinstance(tape, TapeSequence) else tape_parts(tape).values():
            request_trace(part)
