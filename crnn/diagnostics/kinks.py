"""Kinks of a loss, such as the relu's at 0: one-sided differences show them.

The loss is passed as an array of terms whose sum it is, so that kinks of several terms cannot
cancel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# The smallest step, as a fraction of the number that is moved. A smaller step (at 1e30 in padding)
# would be lost to rounding.
SMALLEST_STEP = 2.0**-26

# The second step is smaller than the first by this factor.
SHRINK = 10.0

# The difference of the two one-sided slopes shrinks in proportion to the step where a loss is only
# curved, and does not shrink at a kink. This bound lies between the two ratios, so that a kink is
# recognised even if its distance from the number is almost the smaller step.
_KINK_RATIO = 3 / SHRINK
# The smallest difference that counts, as a fraction of the slope; smaller ones may be rounding.
_SMALLEST_JUMP = 1e-3


class Slopes(NamedTuple):
    """One-sided slopes of each term, over a step and over a tenth of it."""

    above: tuple[Array, Array]
    below: tuple[Array, Array]
    rounding: Array  # rounding error of a slope over the smaller step

    @property
    def kinked(self) -> NDArray[np.bool_]:
        """True for terms with a kink: their slopes differ as much over the smaller step."""
        first, second = (abs(up - down) for up, down in zip(self.above, self.below, strict=True))
        steepest = np.maximum(abs(self.above[1]), abs(self.below[1]))
        return np.asarray(
            (second > _KINK_RATIO * first)
            & (second > _SMALLEST_JUMP * steepest + 4 * self.rounding)
        )

    def allow(self, gradient: float, tolerance: float) -> bool:
        """Return whether there is a kink and this gradient is valid at it.

        A gradient is valid if that of each term lies between the slopes on the two sides of the
        term. It is also valid if all terms with a kink contribute 0, as relu units do whose slope
        at 0 is 0; where several units have their kink at the same place, this sum may lie outside
        of the one-sided slopes.
        """
        kinked = self.kinked
        if not kinked.any():
            return False
        up, down = self.above[1], self.below[1]
        least, most = (float(side.sum()) for side in (np.minimum(up, down), np.maximum(up, down)))
        without = float(np.where(kinked, 0.0, (up + down) / 2).sum())  # kinked terms contribute 0
        # Curvature changes the one-sided slopes in proportion to the step; a kink does not.
        changes = sum(abs(float((two - one).sum())) for one, two in (self.above, self.below))
        slack = tolerance + changes / (SHRINK - 2) + 4 * float(self.rounding.sum())
        return least - slack <= gradient <= most + slack or abs(gradient - without) <= slack


def at_kinks(
    terms: Callable[[], Array],
    array: Array,
    gradient: Array,
    numeric: Array,
    epsilon: float,
    allowed: float,
) -> tuple[tuple[int, ...], ...]:
    """Return the entries whose gradient differs from the numeric one, but is valid at a kink.

    Parameters
    ----------
    terms : callable
        Returns the terms of the loss for the present values of `array`.
    array : array
        Edited in place; restored at the end.
    gradient, numeric : arrays, shape of `array`
        The analytic gradient, and the one from differences.
    epsilon : float
        Ten times the larger step, unless the entry is so large that the step would be lost to
        rounding.
    allowed : float
        The largest difference of an entry of `gradient` from `numeric` that needs no kink.

    Returns
    -------
    tuple of tuple of int
        Indices of the entries.
    """
    kinks = []
    for where in zip(*np.nonzero(~(np.abs(gradient - numeric) <= allowed)), strict=True):
        kept = float(array[where])
        if not (np.isfinite(kept) and np.isfinite(gradient[where])):
            continue

        def at(value: float, where: tuple[Any, ...] = where) -> Array:
            array[where] = value
            return terms()

        step = max(epsilon / 10, SHRINK * abs(kept) * SMALLEST_STEP)
        if _slopes_at(at, kept, step).allow(float(gradient[where]), allowed):
            kinks.append(tuple(map(int, where)))
        array[where] = kept
    return tuple(kinks)


def _slopes_at(terms: Callable[[float], Array], middle: float, step: float) -> Slopes:
    """Return the one-sided slopes at a number.

    Parameters
    ----------
    terms : callable
        Takes a value of the number and returns the terms of the loss.
    middle : float
        The number.
    step : float
        The larger of the two steps.
    """
    here = terms(middle)
    above, below = [], []
    for length in (step, step / SHRINK):
        up, down = middle + length, middle - length
        above.append((terms(up) - here) / (up - middle))
        below.append((here - terms(down)) / (middle - down))
    rounding = np.finfo(np.float64).eps * abs(here) * SHRINK / step
    return Slopes((above[0], above[1]), (below[0], below[1]), rounding)
