"""Metrics of a run or of an evaluation, over the batches of an epoch."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import numpy as np

from crnn.callbacks.history import History
from crnn.common.checks import check_real
from crnn.metrics.base import AnyMetric, Metric, Metrics, added
from crnn.training.resuming import callable_name
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
            name: metric for name, metric in self._metrics.items() if _keeps_data(metric)
        }
        self._unknown: set[str] = set()  # metrics of which not all batches of this epoch are known
        self._is_open = False  # True while objects have batches of an update that is not done

    @property
    def descriptions(self) -> dict[str, str]:
        """Texts that tell the metrics from others, by name."""
        return {
            name: repr(metric) if isinstance(metric, Metric) else callable_name(metric)
            for name, metric in self._metrics.items()
        }

    def copied(self) -> Meters:
        """Return meters with copies of the objects, for the validation data."""
        copies = {name: copy.deepcopy(metric) for name, metric in self._objects.items()}
        return Meters(self._metrics | copies)

    def start(self) -> None:
        """Begin an epoch."""
        self._unknown, self._is_open = set(), False
        for name, metric in self._objects.items():
            with _naming(name):
                metric.start()

    def commit(self) -> None:
        """End an update: its batches count."""
        self._is_open = False

    def discard(self) -> None:
        """End an update that failed: objects that have its batches have no value in this epoch."""
        if self._is_open:
            self._unknown |= self._objects.keys()
            self._is_open = False

    def sums(self, y: Any, item: Item) -> Totals:
        """Return the sums of one batch, and add the batch to the objects.

        Parameters
        ----------
        y : array
            Outputs of the model for `item`.
        item : Item
        """
        sums = {}
        for name, metric in self._metrics.items():
            if name not in self._objects:
                with _naming(name):
                    sums[name] = _sums_of(name, metric, y, item)
        for name, metric in self._objects.items():
            self._is_open = True
            with _naming(name):
                metric.add(y, item.target, _lengths_of(y, item), item.weights)
        return sums

    def values(self, totals: Totals) -> dict[str, Any]:
        """Return the value of each metric; None if no batch was added, or not all are known."""
        values: dict[str, Any] = {}
        for name, metric in self._metrics.items():
            with _naming(name):
                if name in self._unknown:
                    values[name] = None
                elif name in self._objects:
                    values[name] = self._objects[name].value()
                else:
                    values[name] = _value_of(metric, totals[name]) if name in totals else None
        return values

    def running(self, totals: Totals) -> dict[str, Any]:
        """Return the values so far of the metrics that are computed from sums.

        A metric that has no value yet, and raises, is left out.
        """
        values = {}
        for name in totals.keys() & self._metrics.keys() - self._unknown:
            with suppress(Exception):
                values[name] = _value_of(self._metrics[name], totals[name])
        return {name: values[name] for name in self._metrics if name in values}

    # ------------------------------------------------------------------------------ saved runs

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the objects that have a `state_dict`."""
        return {
            name: metric.state_dict()
            for name, metric in self._objects.items()
            if hasattr(metric, "state_dict") and hasattr(metric, "load_state_dict")
        }

    def load_state_dict(
        self, state: Mapping[str, Any], totals: Totals, saved: Mapping[str, str], *, begun: bool
    ) -> None:
        """Restore the state in the middle of an epoch.

        A metric whose first batches were not saved has the value None in this epoch.

        Parameters
        ----------
        state : mapping
            As `state_dict` returned it.
        totals : mapping
            The saved sums.
        saved : mapping
            The `descriptions` of the saved metrics; those of other metrics are not used.
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
            known = {name for name, text in self.descriptions.items() if saved.get(name) == text}
            self._unknown |= self._metrics.keys() - known
            self._unknown |= self._metrics.keys() - self._objects.keys() - totals.keys()

    def known(self, totals: Totals) -> Totals:
        """Return the totals without those of metrics of which not all batches are known."""
        return {name: sums for name, sums in totals.items() if name not in self._unknown}


def added_totals(totals: Totals, sums: Totals) -> Totals:
    """Return totals with the sums of another batch added.

    Raises
    ------
    ValueError
        If the sums of a metric have other shapes than its totals.
    """
    result = {}
    for name, more in sums.items():
        before = totals.get(name)
        if before is not None and list(map(np.shape, before)) != list(map(np.shape, more)):
            raise ValueError(
                f"metrics[{name!r}]: expected sums of the same shapes in all batches, got "
                f"{list(map(np.shape, before))} and {list(map(np.shape, more))}"
            )
        result[name] = added(before, more)
    return result


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Name a metric in the note of an error that it raises."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in metrics[{name!r}]")
        raise


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
    objects = [metric for metric in metrics.values() if _keeps_data(metric)]
    if len(set(map(id, objects))) < len(objects):
        raise ValueError("metrics: expected an object for each name, got one object twice")
    return dict(metrics)


def _keeps_data(metric: Any) -> bool:
    """Return whether a metric is an object that keeps its data: it is not computed from sums."""
    if isinstance(metric, Metric):
        return any(
            getattr(type(metric), method) is not getattr(Metric, method) for method in _METHODS
        )
    return _is_object(metric)


def _is_object(metric: Any) -> bool:
    return all(hasattr(metric, method) for method in _METHODS)


def _lengths_of(y: Any, item: Item) -> Any:
    """Return the lengths for a metric: None for y (B, K), which has no steps."""
    return None if y.ndim == 2 else item.lengths


def _sums_of(name: str, metric: Any, y: Any, item: Item) -> tuple[Any, ...]:
    """Return the sums of one batch for one metric."""
    lengths = _lengths_of(y, item)
    if isinstance(metric, Metric):
        sums = metric.sums(y, item.target, lengths, item.weights)
        if not isinstance(sums, tuple):
            raise TypeError(
                f"metrics[{name!r}]: expected a tuple of numbers and arrays from sums, got "
                f"{sums!r:.60}"
            )
        return tuple(_number(name, part) for part in sums)
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
    weight = _number(name, weight)
    return _number(name, total), check_real(f"metrics[{name!r}]: the weight", weight, 0)


def _number(name: str, value: Any) -> Any:
    """Return a number as a float, or a copy of an array of numbers; raise TypeError for others."""
    array = np.array(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"metrics[{name!r}]: expected sums that are numbers or arrays, got {value!r:.60}"
        )
    if array.ndim == 0:
        return float(array)
    return array.astype(np.float64) if array.dtype.kind == "b" else array


def _value_of(metric: Any, sums: tuple[Any, ...]) -> Any:
    """Return the value of a metric from its sums; for a function the quotient."""
    if isinstance(metric, Metric):
        return metric.value_of(sums)
    total, weight = sums
    return total / weight if weight else math.nan
