"""A mean that knows the weight that it was divided by."""

from __future__ import annotations

import math
from typing import Any

from crnn.common.checks import check_number


def _keeping_weight(name: str) -> Any:
    """Return an arithmetic operation of float whose result is a Mean of the same weight."""
    operation = getattr(float, name)

    def method(self: Mean, other: Any) -> Any:
        value = operation(self, other)
        if value is NotImplemented or getattr(other, "weight", self.weight) != self.weight:
            return value
        return Mean(value, self.weight)

    return method


class Mean(float):
    """Mean with the sum of the weights that it was divided by.

    `crnn.fit` and `crnn.evaluate` weight the loss of each batch by it. A loss function of your own
    that does not average over the valid steps returns a `Mean`, too. Sums, differences, products
    and quotients with numbers keep the weight.

    Parameters
    ----------
    value : float
        The mean.
    weight : float
        The divisor, finite and at least 0: the sum of the weights, or the number of valid steps.

    Raises
    ------
    ValueError
        If `weight` is negative or not finite.

    Examples
    --------
    >>> import crnn
    >>> loss = crnn.losses.Mean(0.5, weight=12)
    >>> loss, (loss / 2).weight
    (0.5, 12.0)
    """

    __slots__ = ("weight",)
    weight: float

    def __new__(cls, value: float, weight: float) -> Mean:
        mean = super().__new__(cls, value)
        is_valid = type(weight) in (int, float) and 0 <= weight < math.inf
        mean.weight = float(weight) if is_valid else check_number("weight", weight, 0)
        return mean

    def __getnewargs__(self) -> tuple[float, float]:  # type: ignore[override]
        return float(self), self.weight

    __add__ = _keeping_weight("__add__")
    __radd__ = _keeping_weight("__radd__")
    __sub__ = _keeping_weight("__sub__")
    __rsub__ = _keeping_weight("__rsub__")
    __mul__ = _keeping_weight("__mul__")
    __rmul__ = _keeping_weight("__rmul__")
    __truediv__ = _keeping_weight("__truediv__")
