"""The order in which steps are read: lengths, masks, resets and reversed layers.

Each row of a batch is cut before every step that is reset, and masked steps are left out. The
results are plain sequences, *pieces*, which are independent of each other. Each piece starts from
the initial state and is read from one end to the other; its outputs are stored at the steps that
were read.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from crnn.reference.arrays import Array, Arrays, Integers

Where = tuple[Integers, Integers, Integers]


class Reading:
    """The pieces of a batch of rows, in the order in which they are read.

    Parameters
    ----------
    shape : (int, int)
        (B, T).
    lengths : array (B,) of integers, or None
        Number of valid steps in each row. None: T.
    mask : array (B, T) of bools, or None
        True at the steps that are read. None: all.
    resets : array (B, T) of bools, or None
        True at the steps before which a row is cut. None: no cuts.
    reverse : bool
        Read each row, and so each piece, from its last step to its first. The cuts are at the same
        places: a piece reaches from one reset to the step before the next one.

    Attributes
    ----------
    rows : array (pieces,)
        Row of each piece.
    times : list of arrays of integers
        The steps of each piece, in the order in which they are read.
    first, last : array (B,)
        The piece of each row that is read first, and the one that is read last.
    source : array (B, T)
        The step whose output is shown at step t: t itself or, at a masked step, the step read
        before it in its piece. -1 (no output) before the first unmasked step of a piece and past
        the end of the row.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        lengths: ArrayLike | None,
        mask: ArrayLike | None,
        resets: ArrayLike | None,
        reverse: bool,
    ) -> None:
        B, T = shape
        ends = np.full(B, T) if lengths is None else np.asarray(lengths)
        unmasked = np.ones(shape, bool) if mask is None else np.asarray(mask, bool)
        cuts = np.zeros(shape, bool) if resets is None else np.array(resets, bool)
        if reverse:
            cuts[:, :1] = False  # no step would be read after this cut

        rows: list[int] = []
        self.times: list[Integers] = []
        self.source = np.full(shape, -1)
        self.last = np.zeros(B, np.intp)
        for row in range(B):
            pieces = np.split(np.arange(ends[row]), np.flatnonzero(cuts[row, : ends[row]]))
            for steps in [piece[::-1] for piece in reversed(pieces)] if reverse else pieces:
                rows.append(row)
                self.times.append(steps[unmasked[row, steps]])
                for number, t in enumerate(steps):
                    earlier = self.source[row, steps[number - 1]] if number else -1
                    self.source[row, t] = t if unmasked[row, t] else earlier
            self.last[row] = len(rows) - 1
        self.rows = np.array(rows, np.intp)
        self.first = np.append(0, self.last[:-1] + 1)[:B]

    def steps(self) -> Iterator[Where]:
        """Yield (pieces, rows, times): the first step of every piece, then the second, ..."""
        for number in range(max(map(len, self.times), default=0)):
            pieces = np.flatnonzero([len(times) > number for times in self.times])
            yield pieces, self.rows[pieces], np.array([self.times[k][number] for k in pieces])

    def repeated(self, values: Array) -> Array:
        """Return `values` (B, T, H) with the value read before at masked steps, 0 without any."""
        filled = self.source >= 0
        shown = np.zeros_like(values)
        shown[filled] = values[np.nonzero(filled)[0], self.source[filled]]
        return shown

    def repeated_backward(self, dshown: ArrayLike) -> Array:
        """Return the gradient of `values`: the sum over all steps at which a value is shown."""
        filled = self.source >= 0
        dvalues = np.zeros(np.shape(dshown))
        rows, steps = np.nonzero(filled)[0], self.source[filled]
        np.add.at(dvalues, (rows, steps), np.asarray(dshown)[filled])
        return dvalues

    def starts(self, state: Arrays, learned: Arrays) -> Arrays:
        """Return the initial state of each piece: `state` for a row's first, else `learned`."""
        parts = [np.repeat(part[None], len(self.rows), axis=0) for part in learned]
        for part, passed in zip(parts, state, strict=False):
            part[self.first] = passed
        return parts
