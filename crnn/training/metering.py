"""Metrics of a run or of an evaluation, over the batches of an epoch."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from crnn.callbacks.history import History
from crnn.common.checks import check_real
from crnn.metrics.base import AnyMetric, Metric, Metrics, added
from crnn.training.windows import Item

#: Sums of each metric over some batches. They are replaced, never modified in place.
Totals: TypeAlias = Mapping[str, tuple[Any, ...]]

_METHODS = ("start", "add", "value")


class Meters:
    """Metrics by name, computed batch by batch.

    Functions, and objects of the class `crnn.metrics.Metric`, are computed from sums, which the
    caller stores as `Totals`. All other objects store their data themselves.

    Parameters
    ----------
    metrics : mapping of str to metric, optional

    Raises
    ------
    TypeError
        If `metrics` is not a mapping of names to metrics.
    ValueError
        If a name is the name of another column of the history.
    """

    def __init__(self, metrics: Metrics | None) -> None:
        self._metrics = {} if metrics is None else _check_metrics(metrics)
        self._objects: dict[str, Any] = {
            name: metric
            for name, metric in self._metrics.items()
            if not isinstance(metric, Metric) and _is_object(metric)
        }
        self._unknown: set[str] = set()  # metrics whose first batches of this epoch were not saved

    @property
    def keep_outputs(self) -> bool:
        """True if there are metrics to which `add_to_objects` must pass the outputs."""
        return bool(self._objects)

    def copied(self) -> Meters:
        """Return a copy with copies of all metrics, for the validation data."""
        return Meters({name: copy.deepcopy(metric) for name, metric in self._metrics.items()})

    def start(self) -> None:
        """Begin an epoch."""
        self._unknown = set()
        for metric in self._objects.values():
            metric.start()

    def sums(self, y: Any, item: Item) -> Totals:
        """Return the sums of one batch.

        Parameters
        ----------
        y : array
            Outputs of the model for `item`.
        item : Item
        """
        sums = {}
        for name, metric in self._metrics.items():
            if name in self._objects:
                continue
            try:
                sums[name] = _sums_of(name, metric, y, item)
            except Exception as error:
                error.add_note(f"in metrics[{name!r}]")
                raise
        return sums

    def add_to_objects(self, y: Any, item: Item) -> None:
        """Add one batch to the metrics that store their data themselves."""
        for name, metric in self._objects.items():
            try:
                metric.add(y, item.target, _lengths_of(y, item), item.weights)
            except Exception as error:
                error.add_note(f"in metrics[{name!r}]")
                raise

    def values(self, totals: Totals) -> dict[str, Any]:
        """Return the value of each metric; None if no batch was added."""
        values = self.running(totals)
        for name, metric in self._objects.items():
            values[name] = None if name in self._unknown else metric.value()
        return {name: values.get(name) for name in self._metrics}

    def running(self, totals: Totals) -> dict[str, Any]:
        """Return the values of the metrics that are computed from sums."""
        return {
            name: _value_of(self._metrics[name], sums)
            for name, sums in totals.items()
            if name in self._metrics and name not in self._unknown
        }

    # ------------------------------------------------------------------------------ saved runs

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the objects that have a `state_dict`."""
        return {
            name: metric.state_dict()
            for name, metric in self._objects.items()
            if hasattr(metric, "state_dict") and hasattr(metric, "load_state_dict")
        }

    def load_state_dict(self, state: Mapping[str, Any], totals: Totals, begun: bool) -> None:
        """Restore the state in the middle of an epoch.

        A metric whose first batches were not saved has the value None in this epoch.

        Parameters
        ----------
        state : mapping
            As `state_dict` returned it.
        totals : mapping
            The saved sums.
        begun : bool
            Whether the epoch has had an update.
        """
        self.start()
        for name, metric in self._objects.items():
            if name in state and hasattr(metric, "load_state_dict"):
                metric.load_state_dict(state[name])
            elif begun:
                self._unknown.add(name)
        if begun:
            self._unknown |= self._metrics.keys() - self._objects.keys() - totals.keys()


def added_totals(totals: Totals, sums: Totals) -> Totals:
    """Return totals with the sums of another batch added."""
    return {name: added(totals.get(name), more) for name, more in sums.items()}


def _check_metrics(metrics: Any) -> dict[str, AnyMetric]:
    """Return the metrics by name, or raise."""
    example = 'metrics={"accuracy": crnn.metrics.accuracy}'
    if not isinstance(metrics, Mapping):
        raise TypeError(
            f"metrics: expected a mapping of names to metrics, got {metrics!r:.60}: write {example}"
        )
    for name, metric in metrics.items():
        if not isinstance(name, str):
            raise TypeError(f"metrics: expected names that are strings, got {name!r:.60}")
        if {name, f"val_{name}"} & set(History.NAMES):
            raise ValueError(
                f"metrics: expected a name other than the columns {', '.join(History.NAMES)}, "
                f"got {name!r}"
            )
        if isinstance(metric, type) or not (callable(metric) or _is_object(metric)):
            raise TypeError(
                f"metrics[{name!r}]: expected a function or an object with start, add and value, "
                f"got {metric!r:.60}: write {example}"
            )
    validation = [name for name in metrics if f"val_{name}" in metrics]
    if validation:
        raise ValueError(
            f"metrics: expected names other than 'val_{validation[0]}', the column of "
            f"{validation[0]!r} on the validation data"
        )
    return dict(metrics)


def _is_object(metric: Any) -> bool:
    return all(hasattr(metric, method) for method in _METHODS)


def _lengths_of(y: Any, item: Item) -> Any:
    """Return the lengths for a metric: None for y (B, K), which has no steps."""
    return None if y.ndim == 2 else item.lengths


def _sums_of(name: str, metric: Any, y: Any, item: Item) -> tuple[Any, ...]:
    """Return the sums of one batch for one metric."""
    lengths = _lengths_of(y, item)
    if isinstance(metric, Metric):
        return metric.sums(y, item.target, lengths, item.weights)
    if item.weights is None:
        result = metric(y, item.target, lengths)
    else:
        result = metric(y, item.target, lengths, weights=item.weights)
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise TypeError(
            f"metrics[{name!r}]: expected a function that returns (sum, weight), got "
            f"{result!r:.60}: return the sum over the valid steps and the sum of their weights"
        )
    total, weight = result
    weight = check_real(f"metrics[{name!r}]: the weight", _number(weight), 0)
    return np.asarray(total, np.float64) if np.ndim(total) else _number(total), weight


def _number(value: Any) -> Any:
    """Return a number or an array of one number as a float."""
    array = np.asarray(value)
    return float(array) if array.ndim == 0 and array.dtype.kind in "biuf" else value


def _value_of(metric: Any, sums: tuple[Any, ...]) -> Any:
    """Return the value of a metric from its sums; for a function the quotient."""
    if isinstance(metric, Metric):
        return metric.value_of(sums)
    total, weight = sums
    return total / weight if weight else math.nan
