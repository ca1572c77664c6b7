"""The random numbers behind dropout, zoneout and weight drop.

They come from a counter-based generator: each number is a function of (seed, call, layer, kind,
row, step, unit) alone. Nothing is hidden in a state, so any number can be had alone, and a second
run, or the core in C, drops the same units.

J. K. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC (2011): Philox4x32-10.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.reference.arrays import Array

Words = NDArray[np.uint64]  # of 32 bits each, in 64 so that products have room

DROPOUT, RECURRENT_DROPOUT, ZONEOUT_H, ZONEOUT_C, WEIGHT_DROP = range(5)  # the kinds
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox(key: list[Words], counter: list[Words]) -> list[Words]:
    """Return 4 random words, functions of the 2 words of a key and the 4 of a counter.

    Each round multiplies two of the words, swaps high and low halves, and mixes in the key; the
    key moves on by the golden ratio and by √3 − 1. Words may be arrays (they broadcast).
    """
    (k0, k1), (x0, x1, x2, x3) = key, counter
    for _ in range(10):
        a, b = x0 * np.uint64(0xD2511F53), x2 * np.uint64(0xCD9E8D57)
        x0, x1, x2, x3 = b >> HALF ^ x1 ^ k0, b & LOW, a >> HALF ^ x3 ^ k1, a & LOW
        k0, k1 = k0 + np.uint64(0x9E3779B9) & LOW, k1 + np.uint64(0xBB67AE85) & LOW
    return [x0, x1, x2, x3]


def halves(number: ArrayLike) -> list[Words]:
    """Return the low and the high 32 bits of integers >= 0."""
    words = np.asarray(number, np.uint64)
    return [np.bitwise_and(words, LOW), np.right_shift(words, HALF)]


class Draws:
    """The random numbers of one call of one layer.

    Parameters
    ----------
    seed, call, layer : int
        The layer's seed, the number of the call, and of the layer in what it is a part of.
    """

    def __init__(self, seed: int = 0, call: int = 0, layer: int = 0) -> None:
        self.seed, self.call, self.layer = seed, call, layer

    def numbers(self, kind: int, row: ArrayLike, step: ArrayLike, unit: ArrayLike) -> Words:
        """Return the numbers, uniform in [0, 2**32), for rows, steps and units (they broadcast)."""
        names = [*halves(self.call), halves(self.layer)[0], halves(kind)[0]]
        key = philox(halves(self.seed), names)[:2]
        block, word = np.divmod(np.asarray(unit, np.int64), 4)
        words = philox(key, [halves(block)[0], halves(step)[0], *halves(row)])
        return np.choose(word, np.broadcast_arrays(*words))

    def hits(self, p: float, kind: int, row: Any, step: Any, unit: Any) -> NDArray[np.bool_]:
        """Return true with probability `p`, for each row, step and unit."""
        if not p:
            return np.zeros(np.broadcast(row, step, unit).shape, bool)
        return self.numbers(kind, row, step, unit) < np.uint64(p * 2**32)

    def mask(self, p: float, kind: int, row: Any, step: Any, unit: Any) -> Array:
        """Return a mask of dropout: 0 with probability `p`, else 1/(1-p), so that its mean is 1."""
        return (1 - self.hits(p, kind, row, step, unit)) / (1 - p)
