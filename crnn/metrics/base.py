"""The two forms of a metric: a mean, and a value that is computed from all batches."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from crnn.common.representation import call_text


class Total(NamedTuple):
    """Result of a metric that is a mean: a sum, and the weight that it is divided by.

    Parameters
    ----------
    sum : float or ndarray
        Weighted sum over the valid steps.
    weight : float
        Sum of the weights; without weights the number of valid steps.

    Attributes
    ----------
    mean : float or ndarray
        The sum divided by the weight; nan if the weight is 0.

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
        """The sum divided by the weight; nan if the weight is 0."""
        return self.sum / self.weight if self.weight else math.nan


class MetricObject(Protocol):
    """Protocol of metrics that collect data from batches and compute a value at the end."""

    def start(self) -> None:
        """Reset the metric: no batch was added."""

    def add(self, y: Any, target: Any, lengths: Any, weights: Any) -> None:
        """Add a batch."""

    def value(self) -> Any:
        """Return the value over the batches added since `start`."""


AnyMetric: TypeAlias = Callable[..., Any] | MetricObject
Metrics: TypeAlias = Mapping[str, AnyMetric]


class Metric(ABC):
    """Base class of metrics that are not means: a value computed from sums over all batches.

    Subclasses define `sums` and `value_of`. The methods `start`, `add` and `value` then compute the
    metric batch by batch.

    Methods
    -------
    sums(y, target, lengths=None, weights=None)
        Return the sums of one batch.
    value_of(totals)
        Return the value from the sums over all batches.
    start()
        Reset the metric.
    add(y, target, lengths=None, weights=None)
        Add a batch.
    value()
        Return the value over the batches added since `start`.
    over(y, target, lengths, weights)
        Return the value over one batch.

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
        """Return the sums of one batch.

        Parameters
        ----------
        y : array
            Outputs of the model: (B, T, ...) or (B, ...).
        target : array
            Targets of the steps or rows.
        lengths : (B,) integers, optional
            Number of valid steps of each row. None: all steps are valid.
        weights : (B, T) or (B,) numbers, optional
            Weight of each step, or of each row. None: 1.

        Returns
        -------
        tuple of numbers or arrays
        """

    @abstractmethod
    def value_of(self, totals: tuple[Any, ...]) -> Any:
        """Return the value from the sums over all batches.

        Parameters
        ----------
        totals : tuple
            The sums that `sums` returned, added over all batches.

        Returns
        -------
        object
            The value of the metric.
        """

    def start(self) -> None:
        """Reset the metric: no batch was added."""
        self._totals = None

    def add(self, y: Any, target: Any, lengths: Any = None, weights: Any = None) -> None:
        """Add a batch.

        Parameters
        ----------
        y, target, lengths, weights
            As for `sums`.
        """
        self._totals = added(self._totals, self.sums(y, target, lengths, weights))

    def value(self) -> Any:
        """Return the value over the batches added since `start`.

        Returns
        -------
        object
            The value of the metric; None before the first batch.
        """
        return None if self._totals is None else self.value_of(self._totals)

    def __repr__(self) -> str:
        return call_text(self)

    def over(self, y: Any, target: Any, lengths: Any, weights: Any) -> Any:
        """Return the value over one batch.

        Parameters
        ----------
        y, target, lengths, weights
            As for `sums`.

        Returns
        -------
        object
            The value of the metric.
        """
        return self.value_of(self.sums(y, target, lengths, weights))


def called(metric: Metric, y: Any, target: Any, lengths: Any, weights: Any) -> Any:
    """Return the value over one batch; for y None, a copy of the metric without batches.

    Raises
    ------
    TypeError
        If y is None and another array is given.
    """
    if y is not None:
        return metric.over(y, target, lengths, weights)
    for name, value in (("target", target), ("lengths", lengths), ("weights", weights)):
        if value is not None:
            raise TypeError(f"y: expected an array beside {name}, got None")
    fresh = copy.copy(metric)
    fresh.start()
    return fresh


def added(totals: tuple[Any, ...] | None, sums: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return totals with the sums of another batch added."""
    if totals is None:
        return sums
    return tuple(total + more for total, more in zip(totals, sums, strict=True))
