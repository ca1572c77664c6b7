"""One-sided differences of a loss at one of its numbers: whether there is a kink, and how steep.

A loss is given as terms, which sum to it, so that kinks of several terms cannot cancel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Of a number's own magnitude: where a step is less (1e30 in padding), rounding would swallow it.
SMALLEST_STEP = 2.0**-26

# The second step is smaller than the first by this factor.
SHRINK = 10.0

# The jump between the one-sided slopes shrinks like the step where a loss is only curved, and stays
# at a kink. Between the two: a kink that is less than the smaller step away is still found.
_STAYS = 3 / SHRINK
# Of the slope: a smaller jump is not told from rounding.
_LEAST = 1e-3


class Slopes(NamedTuple):
    """One-sided slopes of each term, over a step and over a tenth of it."""

    above: tuple[Array, Array]
    below: tuple[Array, Array]
    rounding: Array  # of a slope over the smaller step

    @property
    def kinked(self) -> NDArray[np.bool_]:
        """Which terms have a kink: their slopes differ, and no less over the smaller step."""
        first, second = (abs(up - down) for up, down in zip(self.above, self.below, strict=True))
        steepest = np.maximum(abs(self.above[1]), abs(self.below[1]))
        return np.asarray(
            (second > _STAYS * first) & (second > _LEAST * steepest + 4 * self.rounding)
        )

    def allow(self, gradient: float, tolerance: float) -> bool:
        """Whether there is a kink and a gradient that is one of those it may have.

        That of each term lies between the slopes on its two sides. Or all terms with a kink count
        as 0: relu units that are off at their kink, of which no side has all off where several
        have theirs at one place.
        """
        kinked = self.kinked
        if not kinked.any():
            return False
        up, down = self.above[1], self.below[1]
        least, most = (float(side.sum()) for side in (np.minimum(up, down), np.maximum(up, down)))
        off = float(np.where(kinked, 0.0, (up + down) / 2).sum())
        # Curvature changes the sides in proportion to the step; a kink does not.
        changes = sum(abs(float((two - one).sum())) for one, two in (self.above, self.below))
        slack = tolerance + changes / (SHRINK - 2) + 4 * float(self.rounding.sum())
        return least - slack <= gradient <= most + slack or abs(gradient - off) <= slack


def at_kinks(
    terms: Callable[[], Array],
    array: Array,
    gradient: Array,
    numeric: Array,
    epsilon: float,
    allowed: float,
) -> tuple[tuple[int, ...], ...]:
    """Return the entries whose gradient is not the numeric one, but may be one at a kink.

    Parameters
    ----------
    terms : callable
        The terms of the loss, as `array` is at the time.
    array : array
        Edited in place, and put back.
    gradient, numeric : array
    epsilon : float
        Ten times the larger step, unless the entry is so large that rounding would swallow it.
    allowed : float
        Difference of the two that is allowed.
    """
    found = []
    for where in zip(*np.nonzero(~(np.abs(gradient - numeric) <= allowed)), strict=True):
        kept = float(array[where])
        if not (np.isfinite(kept) and np.isfinite(gradient[where])):
            continue

        def at(value: float, where: tuple[Any, ...] = where) -> Array:
            array[where] = value
            return terms()

        step = max(epsilon / 10, SHRINK * abs(kept) * SMALLEST_STEP)
        if _slopes_at(at, kept, step).allow(float(gradient[where]), allowed):
            found.append(tuple(map(int, where)))
        array[where] = kept
    return tuple(found)


def _slopes_at(terms: Callable[[float], Array], middle: float, step: float) -> Slopes:
    """Return the slopes around a number.

    Parameters
    ----------
    terms : callable
        Of the number, the terms of the loss.
    middle : float
    step : float
        The larger of the two.
    """
    here = terms(middle)
    above, below = [], []
    for length in (step, step / SHRINK):
        up, down = middle + length, middle - length
        above.append((terms(up) - here) / (up - middle))
        below.append((here - terms(down)) / (middle - down))
    rounding = np.finfo(np.float64).eps * abs(here) * SHRINK / step
    return Slopes((above[0], above[1]), (below[0], below[1]), rounding)
