"""The two forms of a metric: a mean, and an object that computes a value from all batches."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias


class Total(NamedTuple):
    """The result of a metric that is a mean: a sum, and the weight to divide it by.

    Parameters
    ----------
    sum : float or ndarray
        Sum over the valid steps, each times its weight.
    weight : float
        Sum of the weights; the number of valid steps where no weights are given.

    Examples
    --------
    >>> import crnn
    >>> crnn.metrics.Total(sum=3.0, weight=4.0).mean
    0.75
    """

    sum: Any
    weight: float

    @property
    def mean(self) -> Any:
        """The sum divided by the weight; nan where the weight is 0."""
        return self.sum / self.weight if self.weight else math.nan


class MetricObject(Protocol):
    """An object that gathers what it needs from batches, and computes a value at the end."""

    def start(self) -> None:
        """Forget all batches."""

    def add(self, y: Any, target: Any, lengths: Any, weights: Any) -> None:
        """Add a batch."""

    def value(self) -> Any:
        """Return the value over the batches added since `start`."""


AnyMetric: TypeAlias = Callable[..., Any] | MetricObject
Metrics: TypeAlias = Mapping[str, AnyMetric]


class Metric(ABC):
    """Base of metrics that are no mean: a value that is computed from sums over all batches.

    Subclasses define `sums`, of one batch, and `value_of`, of the totals over all batches. `start`,
    `add` and `value` then make the metric usable batch by batch.

    Examples
    --------
    The standard deviation of the errors:

    >>> import numpy as np
    >>> import crnn
    >>> class Spread(crnn.metrics.Metric):
    ...     def sums(self, y, target, lengths=None, weights=None):
    ...         error = np.asarray(y) - target
    ...         return error.sum(), np.square(error).sum(), error.size
    ...     def value_of(self, totals):
    ...         total, squares, n = totals
    ...         return float(np.sqrt(squares / n - (total / n) ** 2))
    >>> spread = Spread()
    >>> spread.start()
    >>> spread.add(np.ones((2, 3)), np.zeros((2, 3)))
    >>> spread.add(np.ones((2, 3)), 3 * np.ones((2, 3)))
    >>> spread.value()
    1.5
    """

    _totals: tuple[Any, ...] | None = None

    @abstractmethod
    def sums(
        self, y: Any, target: Any, lengths: Any = None, weights: Any = None
    ) -> tuple[Any, ...]:
        """Return the sums of one batch: a tuple of numbers or arrays."""

    @abstractmethod
    def value_of(self, totals: tuple[Any, ...]) -> Any:
        """Return the value from the totals of `sums` over all batches."""

    def start(self) -> None:
        """Forget all batches."""
        self._totals = None

    def add(self, y: Any, target: Any, lengths: Any = None, weights: Any = None) -> None:
        """Add a batch.

        Parameters
        ----------
        y, target, lengths, weights
            As for the functions of this module.
        """
        self._totals = added(self._totals, self.sums(y, target, lengths, weights))

    def value(self) -> Any:
        """Return the value over the batches added since `start`; None before the first batch."""
        return None if self._totals is None else self.value_of(self._totals)

    def over(self, y: Any, target: Any, lengths: Any, weights: Any) -> Any:
        """Return the value over one batch alone."""
        return self.value_of(self.sums(y, target, lengths, weights))


def added(totals: tuple[Any, ...] | None, sums: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return totals with the sums of another batch added."""
    if totals is None:
        return sums
    return tuple(total + more for total, more in zip(totals, sums, strict=True))
