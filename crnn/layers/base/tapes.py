"""What recurrent layers kept, wherever they stand in a composition: its tape taken apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import crnn._core as _core


class Pieces(tuple[Any, ...]):
    """Tapes of one layer, each of the steps that follow those of the one before."""


class Kept(NamedTuple):
    """What one recurrent layer kept.

    Attributes
    ----------
    place : str
        Where the layer stands: "", "0", "1.forward", "encoder.0", ...
    pieces : list of Tape
        In the order of time; one where all steps were run in one call.
    """

    place: str
    pieces: list[_core.Tape]


def check_tape(tape: Any, kind: type[Any]) -> None:
    """TypeError unless a tape is of the kind that a layer's forward makes."""
    if not isinstance(tape, kind):
        given = type(tape).__name__
        raise TypeError(f"tape: expected the one that forward returned, got {given}")


def parts_of(tape: Any) -> Mapping[str, Any]:
    """The tapes that a tape is made of, by name; those that are None have nothing to show.

    Tapes of compositions say so in their attribute ``parts``.
    """
    if isinstance(tape, _core.PairTape):
        return {"forward": tape.forward, "backward": tape.backward}
    parts = getattr(tape, "parts", None)
    return parts if isinstance(parts, Mapping) else {}


def kept_in(tape: Any, place: str = "") -> Iterator[Kept]:
    """What the recurrent layers of a composition kept, in the order of its parts.

    Parameters
    ----------
    tape : tape
        Of any layer; layers that are not recurrent, and those of other makers, are passed over.
    place : str
        Where the layer stands.
    """
    if isinstance(tape, _core.Tape):
        yield Kept(place, [tape])
    elif isinstance(tape, Pieces):
        several = [list(kept_in(piece, place)) for piece in tape]
        for same in zip(*several, strict=True):
            yield Kept(same[0].place, [tape for kept in same for tape in kept.pieces])
    else:
        for name, part in parts_of(tape).items():
            yield from kept_in(part, f"{place}.{name}" if place and name else place or name)


def ask_for_trace(tape: Any) -> None:
    """Have the next walk back along this tape leave a trace in those of its recurrent layers."""
    if isinstance(tape, _core.Tape):
        tape.traced = True
    elif hasattr(tape, "ask_for_trace"):
        tape.ask_for_trace()
    else:
        for part in tape if isinstance(tape, Pieces) else parts_of(tape).values():
            ask_for_trace(part)
