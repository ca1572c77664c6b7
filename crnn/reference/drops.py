"""The random numbers of dropout, zoneout, weight drop and noise.

The generator is counter-based: each number is a function of (seed, call, layer, kind, row, step,
unit) alone. The generator has no state. So any number can be computed without the others, and a
second run, or the core in C, drops the same units.

J. K. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC (2011): Philox4x32-10.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.reference.arrays import Array

Words = NDArray[np.uint64]  # numbers of 32 bits, in 64 bits so that a product of two fits

# The values of `kind`: the option that uses a random number.
DROPOUT, RECURRENT_DROPOUT, ZONEOUT_H, ZONEOUT_C, WEIGHT_DROP, NOISE = range(6)
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox(key: list[Words], counter: list[Words]) -> list[Words]:
    """Return 4 random words, computed from 2 words of a key and 4 words of a counter.

    Each of the ten rounds multiplies two of the words, swaps high and low halves, and combines them
    with the key by exclusive or; then the key is increased by constants derived from the golden
    ratio and from √3 - 1.

    Parameters
    ----------
    key : list of 2 uint64 arrays
        Words: integers from 0 to 2**32 - 1. All arrays are broadcast against each other.
    counter : list of 4 uint64 arrays
        Words.

    Returns
    -------
    list of 4 uint64 arrays
        Words that are uniform in [0, 2**32) and independent for different counters.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> words = crnn.reference.philox([np.uint64(0)] * 2, [np.uint64(0)] * 4)
    >>> [hex(int(word)) for word in words]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
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
    """Random numbers of one call of one layer.

    Parameters
    ----------
    seed : int, default 0
        The seed of the layer.
    call : int, default 0
        The number of the call.
    layer : int, default 0
        The number of the layer in the composition that it is a part of.

    Methods
    -------
    numbers(kind, row, step, unit)
        Random integers, uniform in [0, 2**32).
    hits(p, kind, row, step, unit)
        Booleans that are true with probability `p`.
    mask(p, kind, row, step, unit)
        Mask of dropout: 0 with probability `p`, else 1/(1-p).
    uniform(kind, row, step, unit)
        Numbers that are uniform in (-1, 1).

    Notes
    -----
    In all methods `kind` is the use of the numbers: 0 dropout, 1 recurrent dropout, 2 and 3 zoneout
    of h and of c, 4 weight drop, 5 noise. `row`, `step` and `unit` are integers or integer arrays,
    which are broadcast against each other.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> draws = crnn.reference.Draws(seed=4, call=7)
    >>> dropped = draws.hits(0.25, kind=0, row=np.arange(300)[:, None], step=0, unit=np.arange(400))
    >>> dropped.shape, round(float(dropped.mean()), 2)
    ((300, 400), 0.25)
    >>> bool(draws.hits(0.25, kind=0, row=20, step=0, unit=30) == dropped[20, 30])
    True
    """

    def __init__(self, seed: int = 0, call: int = 0, layer: int = 0) -> None:
        self.seed, self.call, self.layer = seed, call, layer

    def numbers(self, kind: int, row: ArrayLike, step: ArrayLike, unit: ArrayLike) -> Words:
        """Return integers, uniform in [0, 2**32), for rows, steps and units (broadcast)."""
        counter = [*halves(self.call), halves(self.layer)[0], halves(kind)[0]]
        key = philox(halves(self.seed), counter)[:2]
        block, word = np.divmod(np.asarray(unit, np.int64), 4)
        words = philox(key, [halves(block)[0], halves(step)[0], *halves(row)])
        return np.choose(word, np.broadcast_arrays(*words))

    def hits(self, p: float, kind: int, row: Any, step: Any, unit: Any) -> NDArray[np.bool_]:
        """Return booleans that are true with probability `p`, for rows, steps and units."""
        if not p:
            return np.zeros(np.broadcast(row, step, unit).shape, bool)
        return self.numbers(kind, row, step, unit) < np.uint64(p * 2**32)

    def mask(self, p: float, kind: int, row: Any, step: Any, unit: Any) -> Array:
        """Return a mask of dropout: 0 with probability `p`, else 1/(1-p), so that its mean is 1."""
        return (1 - self.hits(p, kind, row, step, unit)) / (1 - p)

    def uniform(self, kind: int, row: ArrayLike, step: ArrayLike, unit: ArrayLike) -> Array:
        """Return numbers that are uniform in (-1, 1), for rows, steps and units (broadcast)."""
        return (self.numbers(kind, row, step, unit) + 0.5) / 2**31 - 1
