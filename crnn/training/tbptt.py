"""Truncated backpropagation through time: windows along T, divided into pieces.

With ``tbptt=(k1, k2)`` each window of k1 new steps gives one update, and the gradient of its losses
is computed over the last k2 steps. If k1 and k2 differ, a gradient ends inside a window, or trains
only the head from there on. The window is divided there into pieces with separate tapes, so that
the backward pass can stop between two tapes. Forward, each piece starts from the state at the end
of the piece before it. Backward, each piece passes the gradient at its initial state to the piece
before it. With k1 = k2 a window is one piece: plain backpropagation.
"""

import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from crnn.common.checks import check_size
from crnn.common.nested import no_state
from crnn.layers.base.adapted import (
    freeze_named,
    frozen_names,
    layer_of,
    named_layers,
    reads_backwards_itself,
)
from crnn.layers.base.arguments import forward_of
from crnn.layers.base.calls import numbered
from crnn.training.windows import Item, Tbptt, Window


def check_tbptt(tbptt: Tbptt) -> tuple[int, int] | None:
    """Return None or a pair of sizes, or raise."""
    if tbptt is None:
        return None
    if not isinstance(tbptt, tuple | list) or len(tbptt) != 2:
        raise ValueError(f"tbptt: expected None or (k1, k2), got {tbptt!r}")
    k1, k2 = (check_size(name, k) for name, k in zip(("k1", "k2"), tbptt, strict=True))
    return k1, k2


def cuts_of(window: Window, tbptt: Tbptt, stateful: bool) -> list[int]:
    """Return the steps of an item at which a window is divided into pieces.

    For k2 < k1 it is the step at which its last k2 steps begin. For k2 > k1 these are the steps at
    which the gradient of a later window ends: k2 - k1 steps before that window. With `stateful`
    windows of the next item count, too; it is assumed to be as long as this one.
    """
    if tbptt is None:
        return []
    (k1, k2), start, stop = tbptt, window.start, window.stop
    if k2 < k1:
        return [stop - k2] if stop - k2 > start else []
    if k2 == k1:
        return []
    total = window.total

    def begins(step: int) -> bool:
        """Return whether a window begins at this step."""
        return step % total % k1 == 0 if stateful else step % k1 == 0 and step < total

    return [cut for cut in range(start + 1, stop) if begins(cut + k2 - k1)]


class Piece(NamedTuple):
    """Steps of a window: the input, the initial state and the result of their forward pass."""

    item: Item
    state: Any  # before the first step
    counts: dict[str, int]  # call, first_row, first_step
    tape: Any
    after: Any  # the state after the last step

    @property
    def steps(self) -> int:
        """Number of steps."""
        shape = self.item.shape
        return shape[1] if len(shape) > 1 else 1


_steps_of = attrgetter("steps")


class WindowPass(NamedTuple):
    """Forward pass of a window: its pieces, and the parameters that were used."""

    pieces: list[Piece]
    y: Any
    params: Mapping[str, Any] | None  # None unless later windows need the tapes of this one
    frozen: list[str] | None = None  # likewise: the names of the frozen layers

    @property
    def state(self) -> Any:
        """State at the end of the window."""
        return self.pieces[-1].after

    @property
    def steps(self) -> int:
        """Number of steps of the window."""
        return sum(map(_steps_of, self.pieces))


class UpdatePass(NamedTuple):
    """The window from which the gradients of an update were computed.

    Attributes
    ----------
    pieces : list of Piece
        The pieces of the window in the order of time.
    dy : array
        Gradient at the outputs of all pieces.
    """

    pieces: list[Piece]
    dy: Any


class WindowedModel:
    """Forward and backward passes of a model in windows along T.

    Parameters
    ----------
    model : layer
    tbptt : (k1, k2) or None
    stateful : bool
        Whether gradients reach from an item back into the windows of the item before it.

    Notes
    -----
    For k2 > k1 it holds the tapes of fewer than k2 steps before the window, otherwise none. With
    the tapes of each window it holds the parameters that were used. From these a resumed run
    computes bit-identical tapes.

    The tapes are for the layers that are trainable during the forward pass. A layer that becomes
    trainable later gets no gradients through the tapes of earlier windows.
    """

    def __init__(self, model: Any, tbptt: Tbptt, stateful: bool) -> None:
        self.model, self._tbptt, self._stateful = model, tbptt, stateful
        self._steps_back = max(0, tbptt[1] - tbptt[0]) if tbptt else 0  # before the window
        self._option_names, self._is_external = forward_of(model)
        self._earlier: deque[WindowPass] = deque()

    def forward(self, window: Window, state: Any, call: int = 0, first_row: int = 0) -> WindowPass:
        """Run a forward pass over a window from an initial state."""
        item, start, pieces, ys = window.item, window.start, [], []
        if start > 0 or (self._stateful and not no_state(state)):
            self._check_direction()
        cuts = cuts_of(window, self._tbptt, self._stateful) if self._tbptt else []
        edges = [start, *cuts, window.stop]
        for begin, end in itertools.pairwise(edges):
            part = item if len(edges) == 2 else item.cut(begin - start, end - start)
            if self._steps_back:
                part = part.copied()  # later windows read it again
            counts = {"call": call, "first_row": first_row, "first_step": begin - start}
            piece, y = self._run_piece(part, state, counts)
            pieces.append(piece)
            ys.append(y)
            state = piece.after
        y = ys[0] if len(ys) == 1 else np.concatenate(ys, axis=1)
        if not self._steps_back:
            return WindowPass(pieces, y, None)
        return WindowPass(pieces, y, self.model.state_dict(), frozen_names(self.model))

    def _check_direction(self) -> None:
        """Raise ValueError if a layer reads backwards: it cannot continue from a state."""
        for place, part in named_layers(self.model):
            if reads_backwards_itself(part):
                raise ValueError(
                    "tbptt, stateful: expected layers that read forwards, because the state is "
                    "carried from one window to the next, got reverse=True in "
                    f"{place or 'the model'!r}"
                )

    def _run_piece(self, item: Item, state: Any, counts: Mapping[str, int]) -> tuple[Piece, Any]:
        options = item.options
        for name in counts.keys() & self._option_names:
            options[name] = counts[name]
        if "needs_dx" in self._option_names and not self._is_external:
            options["needs_dx"] = False
        if self._is_external:
            with numbered(counts["call"]):
                y, after, tape = self.model.forward(item.x, state, **options)
        else:
            y, after, tape = self.model.forward(item.x, state, **options)
        return Piece(item, state, dict(counts), tape, after), y

    def backward(self, window_pass: WindowPass, dy: Any) -> None:
        """Run a backward pass over the last k2 steps; it adds to the gradients of the model."""
        pieces = window_pass.pieces
        if not self._tbptt and len(pieces) == 1:
            self.model.backward(pieces[0].tape, dy, None)
            return
        end = window_pass.steps
        head_only = max(0, end - self._tbptt[1]) if self._tbptt else 0  # steps at the start
        dstate: Any = None
        for piece in reversed(pieces):
            begin = end - piece.steps
            part = dy if len(pieces) == 1 else dy[:, begin:end]
            if end <= head_only:
                layer_of(self.model).head_backward(piece.tape, piece.after, part)
            else:
                _, dstate = self.model.backward(piece.tape, part, dstate)
            end = begin
        remaining = self._steps_back
        if not remaining:
            return
        for piece in self._earlier_pieces():
            remaining -= piece.steps
            if remaining < 0 or no_state(dstate):
                return
            _, dstate = self.model.backward(piece.tape, None, dstate)

    def _earlier_pieces(self) -> Iterator[Piece]:
        """Yield the pieces of earlier windows, from the last one to the first one."""
        for window_pass in reversed(self._earlier):
            yield from reversed(window_pass.pieces)

    def store(self, window_pass: WindowPass) -> None:
        """Store a window for the backward passes of later ones; drop pieces that are too old."""
        if not self._steps_back:
            return
        self._earlier.append(window_pass._replace(y=None))
        stored = sum(one.steps for one in self._earlier)
        while stored - (first := self._earlier[0].pieces[0]).steps >= self._steps_back:
            stored -= first.steps
            del self._earlier[0].pieces[0]
            if not self._earlier[0].pieces:
                self._earlier.popleft()

    def clear(self) -> None:
        """Drop all stored windows, because a new sequence begins."""
        self._earlier.clear()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return inputs, states and parameters from which the stored tapes can be computed."""
        return [
            {
                "params": window_pass.params,
                "frozen": window_pass.frozen,
                "pieces": [
                    {
                        "x": piece.item.x,
                        "options": piece.item.options,
                        "state": piece.state,
                        "counts": piece.counts,
                    }
                    for piece in window_pass.pieces
                ],
            }
            for window_pass in self._earlier
        ]

    def recomputed(self, state: Sequence[Mapping[str, Any]]) -> list[WindowPass]:
        """Return the windows of a `state_dict`; the parameters of the model are overwritten."""
        frozen = frozen_names(self.model)
        try:
            return [self._recomputed_window(saved, frozen) for saved in state]
        finally:
            freeze_named(self.model, frozen)

    def _recomputed_window(self, saved: Mapping[str, Any], frozen: list[str]) -> WindowPass:
        """Return a window of a `state_dict`. Files of earlier versions have no `frozen`."""
        self.model.load_state_dict(saved["params"])
        was_frozen = saved.get("frozen", frozen)
        freeze_named(self.model, was_frozen)
        pieces = []
        for saved_piece in saved["pieces"]:
            item = Item(saved_piece["x"], np.empty(0), **saved_piece["options"])
            piece, _ = self._run_piece(item, saved_piece["state"], saved_piece["counts"])
            pieces.append(piece)
        return WindowPass(pieces, None, saved["params"], was_frozen)

    def replace_stored(self, passes: Sequence[WindowPass]) -> None:
        """Replace the stored windows."""
        self._earlier = deque(passes)
