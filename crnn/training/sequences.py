"""Lists of sequences of different lengths: their checks, and padded items of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from crnn.common.arrays import Array, as_array
from crnn.common.checks import check_array
from crnn.data.batches import pad


def groups_of(lengths: Sequence[int], steps: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of consecutive sequences that have at most so many steps when padded."""
    begin, longest = 0, 0
    for end, length in enumerate(lengths):
        longest = max(longest, length)
        if end > begin and longest * (end + 1 - begin) > steps:
            yield begin, end
            begin, longest = end, length
    if lengths:
        yield begin, len(lengths)


class Sequences:
    """Items of consecutive sequences of different lengths, padded.

    Parameters
    ----------
    x, target : lists
        The sequences, and for each a target.
    width : (str, int)
        Letter and number of the features of a target.
    keeps_time : bool
        Whether a target has the time axis of its sequence.
    steps : int
        Largest number of steps of an item, with padding.
    name : str
        Name of the targets in errors.
    """

    def __init__(
        self,
        x: Any,
        target: Any,
        width: tuple[str, int],
        *,
        keeps_time: bool,
        steps: int,
        name: str = "target",
    ) -> None:
        self._x = [as_array(f"x[{i}]", one) for i, one in enumerate(x)]
        count = len(target) if isinstance(target, list | tuple | np.ndarray) else -1
        if count != len(self._x):
            raise ValueError(
                f"{name}: expected one for each of the {len(self._x)} sequences in x, got "
                f"{count if count >= 0 else type(target).__name__}"
            )
        self._target = []
        self._timeless, self._steps = not keeps_time, steps
        for i, (one, other) in enumerate(zip(self._x, target, strict=True)):
            if one.ndim not in (1, 2) or (one.ndim == 1 and one.dtype.kind == "f" and one.size):
                raise ValueError(
                    f"x[{i}]: expected a sequence (T, I) of floats or (T,) of symbols, got "
                    f"{one.dtype} of shape {one.shape}"
                )
            shape = (("T", len(one)), width) if keeps_time else (width,)
            self._target.append(check_array(f"{name}[{i}]", other, "real numbers", shape))

    def __iter__(self) -> Iterator[tuple[Array, Array, Any]]:
        for begin, end in groups_of([len(one) for one in self._x], self._steps):
            yield self._item(begin, end)

    def _item(self, begin: int, end: int) -> tuple[Array, Array, Any]:
        """Return the sequences from `begin` to before `end`."""
        x, lengths = pad(self._x[begin:end])
        target = self._target[begin:end]
        return x, np.stack(target) if self._timeless else pad(target)[0], lengths
