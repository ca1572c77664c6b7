"""Which steps are read in which order: lengths, masks, resets and reversed layers.

A row is cut before each step where it is reset, and only its unmasked steps are read: what is left
is a list of plain sequences, *pieces*, that know nothing of each other. Each piece starts from the
initial state, is read from one end to the other, and its outputs are put where its steps were.
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
    shape : (B, T)
    lengths : array (B,) of integers, optional
    mask, resets : array (B, T) of bools, optional
    reverse : bool
        Read each row, and so each piece, from its last step to its first. The cuts stay where they
        are: a piece reaches from one reset to the step before the next one.

    Attributes
    ----------
    rows : array (pieces,)
        Which row each piece is of.
    first, last : array (B,)
        Each row's piece that is read first, and last.
    source : array (B, T)
        The step whose output stands at t: t itself, or for a masked step the one read before it in
        its piece. -1 (no output) before a piece's first unmasked step and past the end of the row.
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
            cuts[:, :1] = False  # nothing would be read after this cut

        rows: list[int] = []
        self.times: list[Integers] = []  # of each piece: the steps that are read, in this order
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
        """Yield (pieces, rows, times): the first step of every piece, then every second, ..."""
        for number in range(max(map(len, self.times), default=0)):
            pieces = np.flatnonzero([len(times) > number for times in self.times])
            yield pieces, self.rows[pieces], np.array([self.times[k][number] for k in pieces])

    def repeated(self, values: Array) -> Array:
        """Fill masked steps of `values` (B, T, H) with what was read before; 0 without any."""
        there = self.source >= 0
        shown = np.zeros_like(values)
        shown[there] = values[np.nonzero(there)[0], self.source[there]]
        return shown

    def repeated_backward(self, dshown: ArrayLike) -> Array:
        """Go back through `repeated`: each step's value is shown at all steps that repeat it."""
        there = self.source >= 0
        dvalues = np.zeros(np.shape(dshown))
        np.add.at(dvalues, (np.nonzero(there)[0], self.source[there]), np.asarray(dshown)[there])
        return dvalues

    def starts(self, state: Arrays, learned: Arrays) -> Arrays:
        """Return the state before each piece: the given one in a row's first, `learned` else."""
        parts = [np.tile(part, (len(self.rows), 1)) for part in learned]
        for part, given in zip(parts, state, strict=False):
            part[self.first] = given
        return parts
