"""Truncated backpropagation through time: pieces of windows, each with a tape of its own.

With ``tbptt=(k1, k2)`` every window of k1 new steps is one update, and its losses are taken back
through the last k2 steps. Where k1 and k2 differ, a gradient ends, or begins to train the head
alone, inside a window; there the window is cut into pieces, so that backward can stop between two
tapes. Going forward, each piece takes up the state of the one before it; going back, each hands the
gradient at its initial state to the one before it. k1 = k2 is one piece: plain backpropagation.
"""

import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from crnn.common.checks import check_size
from crnn.common.nested import no_state
from crnn.layers.base.adapted import layer_of, named_layers, reads_backwards_itself
from crnn.layers.base.arguments import forward_of
from crnn.layers.base.calls import numbered
from crnn.training.windows import Item, Tbptt, Window


def check_tbptt(tbptt: Tbptt) -> tuple[int, int] | None:
    """Return a pair of sizes, or None."""
    if tbptt is None:
        return None
    if not isinstance(tbptt, tuple | list) or len(tbptt) != 2:
        raise ValueError(f"tbptt: expected None or (k1, k2), got {tbptt!r}")
    k1, k2 = (check_size(name, k) for name, k in zip(("k1", "k2"), tbptt, strict=True))
    return k1, k2


def cuts_of(window: Window, tbptt: Tbptt, stateful: bool) -> list[int]:
    """Return the steps of an item at which a window is cut into pieces.

    For k2 < k1 that is where its last k2 steps begin. For k2 > k1 it is wherever a later window's
    gradient ends: k2 - k1 steps before that window; with `stateful` also one of a later item, which
    is taken to be as long as this one.
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
        """Whether a window begins here."""
        return step % total % k1 == 0 if stateful else step % k1 == 0 and step < total

    return [cut for cut in range(start + 1, stop) if begins(cut + k2 - k1)]


class Piece(NamedTuple):
    """Steps of a window: what went into forward, and what came out."""

    item: Item
    state: Any  # before
    counts: dict[str, int]  # call, first_row, first_step
    tape: Any
    after: Any  # the state

    @property
    def steps(self) -> int:
        """How many."""
        shape = self.item.shape
        return shape[1] if len(shape) > 1 else 1


_steps_of = attrgetter("steps")


class WindowPass(NamedTuple):
    """A window forward: its pieces, and the parameters that it was computed with."""

    pieces: list[Piece]
    y: Any
    params: Mapping[str, Any] | None  # only where later windows go back into this one

    @property
    def state(self) -> Any:
        """The state at its end."""
        return self.pieces[-1].after

    @property
    def steps(self) -> int:
        """How many the window has."""
        return sum(map(_steps_of, self.pieces))


class UpdatePass(NamedTuple):
    """What an update's gradients are of: a window, forward and back.

    Attributes
    ----------
    pieces : list of Piece
        In the order of time.
    dy : array
        The gradient at the outputs of all of them.
    """

    pieces: list[Piece]
    dy: Any


class WindowedModel:
    """A model that goes along T in windows, forward and back.

    Parameters
    ----------
    model : layer
    tbptt : (k1, k2), optional
    stateful : bool
        Whether the tapes of an item's last windows are gone back into from the next item.

    Notes
    -----
    It holds tapes of fewer than k2 steps before the window, and none for k2 <= k1. Beside each
    window's tapes it holds the parameters of that time, with which a run that is taken up again
    computes them anew, to the same bits.
    """

    def __init__(self, model: Any, tbptt: Tbptt, stateful: bool) -> None:
        self.model, self._tbptt, self._stateful = model, tbptt, stateful
        self._back = max(0, tbptt[1] - tbptt[0]) if tbptt else 0  # steps before the window
        self._known, self._outside = forward_of(model)
        self._earlier: deque[WindowPass] = deque()

    def forward(self, window: Window, state: Any, call: int = 0, first_row: int = 0) -> WindowPass:
        """Go along a window, from the state given."""
        item, start, pieces, ys = window.item, window.start, [], []
        if start > 0 or (self._stateful and not no_state(state)):
            self._check_forwards()
        cuts = cuts_of(window, self._tbptt, self._stateful) if self._tbptt else []
        edges = [start, *cuts, window.stop]
        for begin, end in itertools.pairwise(edges):
            part = item if len(edges) == 2 else item.cut(begin - start, end - start)
            if self._back:
                part = part.kept()  # it is read again after the window
            counts = {"call": call, "first_row": first_row, "first_step": begin - start}
            piece, y = self._piece(part, state, counts)
            pieces.append(piece)
            ys.append(y)
            state = piece.after
        params = self.model.state_dict() if self._back else None
        return WindowPass(pieces, ys[0] if len(ys) == 1 else np.concatenate(ys, axis=1), params)

    def _check_forwards(self) -> None:
        """ValueError where a layer reads backwards, and so cannot take up a state."""
        for place, part in named_layers(self.model):
            if reads_backwards_itself(part):
                raise ValueError(
                    "tbptt, stateful: expected layers that read forwards where a state goes on "
                    f"from one window to the next, got reverse=True in {place or 'the model'!r}"
                )

    def _piece(self, item: Item, state: Any, counts: Mapping[str, int]) -> tuple[Piece, Any]:
        options = item.options
        for name in counts.keys() & self._known:
            options[name] = counts[name]
        if self._outside:
            with numbered(counts["call"]):
                y, after, tape = self.model.forward(item.x, state, **options)
        else:
            y, after, tape = self.model.forward(item.x, state, **options)
        return Piece(item, state, dict(counts), tape, after), y

    def backward(self, walk: WindowPass, dy: Any) -> None:
        """Go back through the last k2 steps; adds to the model's gradients."""
        if not self._tbptt and len(walk.pieces) == 1:
            self.model.backward(walk.pieces[0].tape, dy, None)
            return
        end = walk.steps
        alone = max(0, end - self._tbptt[1]) if self._tbptt else 0  # steps that train the head
        dstate: Any = None
        for piece in reversed(walk.pieces):
            begin = end - piece.steps
            part = dy if len(walk.pieces) == 1 else dy[:, begin:end]
            if end <= alone:
                layer_of(self.model).head_backward(piece.tape, piece.after, part)
            else:
                _, dstate = self.model.backward(piece.tape, part, dstate)
            end = begin
        left = self._back
        if not left:
            return
        for piece in self._pieces_before():
            left -= piece.steps
            if left < 0 or no_state(dstate):
                return
            _, dstate = self.model.backward(piece.tape, None, dstate)

    def _pieces_before(self) -> Iterator[Piece]:
        for held in reversed(self._earlier):
            yield from reversed(held.pieces)

    def keep(self, walk: WindowPass) -> None:
        """Hold what later windows go back into, and drop what they do not reach."""
        if not self._back:
            return
        self._earlier.append(walk._replace(y=None))
        held = sum(walk.steps for walk in self._earlier)
        while held - (first := self._earlier[0].pieces[0]).steps >= self._back:
            held -= first.steps
            del self._earlier[0].pieces[0]
            if not self._earlier[0].pieces:
                self._earlier.popleft()

    def forget(self) -> None:
        """Hold nothing: a new sequence begins."""
        self._earlier.clear()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return what the tapes that are held can be computed from."""
        return [
            {
                "params": walk.params,
                "pieces": [
                    {
                        "x": piece.item.x,
                        "options": piece.item.options,
                        "state": piece.state,
                        "counts": piece.counts,
                    }
                    for piece in walk.pieces
                ],
            }
            for walk in self._earlier
        ]

    def remade(self, state: Sequence[Mapping[str, Any]]) -> list[WindowPass]:
        """Return the walks of a `state_dict`; the model is left with parameters of theirs."""
        walks = []
        for saved in state:
            self.model.load_state_dict(saved["params"])
            pieces = []
            for given in saved["pieces"]:
                item = Item(given["x"], np.empty(0), **given["options"])
                piece, _ = self._piece(item, given["state"], given["counts"])
                pieces.append(piece)
            walks.append(WindowPass(pieces, None, saved["params"]))
        return walks

    def hold(self, walks: Sequence[WindowPass]) -> None:
        """Hold these."""
        self._earlier = deque(walks)
