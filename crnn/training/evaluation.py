"""The loss and the metrics of a model over data, and how many updates an epoch of them has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crnn.callbacks.progress import with_bar
from crnn.common.checks import check_size
from crnn.layers.base.adapted import check_one_input, layer_of
from crnn.layers.base.layer import Layer
from crnn.losses import Mean
from crnn.metrics.base import Metrics
from crnn.training.checking import check_data, check_loss
from crnn.training.metering import Meters, Totals, together
from crnn.training.truncated import check_tbptt
from crnn.training.windows import (
    Data,
    Loss,
    Tbptt,
    check_rows,
    items_of,
    loss_of,
    weigh,
    windows_of,
)


class Evaluation(Mean):
    """The mean loss over data, a float, with the metrics.

    Parameters
    ----------
    value : float
        The loss.
    weight : float
        The sum of the weights that it was divided by.
    metrics : mapping of str to value
        The values of the metrics by name.

    Examples
    --------
    >>> import crnn
    >>> result = crnn.training.Evaluation(0.25, weight=8.0, metrics={"accuracy": 0.875})
    >>> result["accuracy"], result["loss"], result < 1
    (0.875, 0.25, True)
    """

    __slots__ = ("metrics",)
    metrics: Mapping[str, Any]

    def __new__(
        cls, value: float, weight: float, metrics: Mapping[str, Any] | None = None
    ) -> Evaluation:
        evaluation = super().__new__(cls, value, weight)
        assert isinstance(evaluation, Evaluation)
        evaluation.metrics = dict(metrics or {})
        return evaluation

    def __getnewargs__(self) -> tuple[float, float, Mapping[str, Any]]:  # type: ignore[override]
        return float(self), self.weight, self.metrics

    def __getitem__(self, name: str) -> Any:
        values = {"loss": float(self), **self.metrics}
        if name not in values:
            raise KeyError(f"expected one of {', '.join(values)}, got {name!r}")
        return values[name]


def evaluate(
    model: Layer,
    data: Data,
    *,
    loss: Loss,
    metrics: Metrics | None = None,
    tbptt: tuple[int, int] | None = None,
    stateful: bool = False,
) -> Evaluation:
    """Return the loss and the metrics of a model over data, without training it.

    Dropout is off, and nothing is kept for a backward pass.

    Parameters
    ----------
    model : layer
    data : iterable
        Items (x, target), (x, target, lengths) or (x, target, lengths, extras), as for `crnn.fit`.
    loss : callable
        As for `crnn.fit`.
    metrics : mapping of str to metric, optional
        As for `crnn.fit`: see `crnn.metrics`.
    tbptt : (k1, k2), optional
        Cut each item into windows of k1 steps, with the state carried from one to the next, so that
        memory does not depend on T. By default an item is one window.
    stateful : bool, default False
        Carry the state from item to item, row b to row b. By default each item begins with the
        state zero.

    Returns
    -------
    Evaluation
        A float, the mean loss over all valid steps: sum(w loss) / sum(w), where w is what the loss
        of each window was divided by. ``result["name"]`` is a metric.

    Raises
    ------
    ValueError, TypeError
        Items of another form, data without a valid step, a loss or metrics of another kind.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> model = crnn.Sequential([crnn.GRU(2, 4, seed=0), crnn.Dense(4, 3, seed=1)])
    >>> x, target = np.zeros((5, 6, 2)), np.zeros((5, 6), int)
    >>> result = crnn.evaluate(model, [(x, target)], loss=crnn.losses.cross_entropy,
    ...                        metrics={"accuracy": crnn.metrics.accuracy})
    >>> round(result, 1), result["accuracy"]
    (1.1, 1.0)
    """
    check_one_input("model", model)
    check_loss(loss)
    check_data("data", data)
    meters = None if metrics is None else Meters(metrics)
    shown = with_bar(data, "items")
    return evaluated(model, shown, loss, meters, tbptt=check_tbptt(tbptt), stateful=stateful)


def evaluated(
    model: Any,
    data: Data,
    loss: Loss,
    meters: Meters | None,
    *,
    name: str = "data",
    tbptt: Tbptt = None,
    stateful: bool = False,
    between: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Evaluate with arguments that were checked.

    Parameters
    ----------
    name : str
        Name of the data in errors.
    between : callable
        Called after every window.
    """
    total, weight = 0.0, 0.0
    totals: Totals = {}
    state: Any = None
    runs, rows = layer_of(model), None
    if meters is not None:
        meters.start()
    for item in items_of(data, name, tbptt, model):
        if stateful:
            rows = check_rows(rows, item, name)
        else:
            state = None
        for window in windows_of(item, tbptt):
            y, state = runs(window.item.x, state, **window.item.options)
            value, _ = loss_of(loss, y, window.item)
            _, weighs = weigh(value, y, window.item)
            if weighs:
                total, weight = total + float(value) * weighs, weight + weighs
            if meters is not None:
                totals = together(totals, meters.sums(y, window.item))
                meters.add_to_objects(y, window.item)
            between()
    if weight == 0:
        raise ValueError(f"{name}: expected data with valid steps, got none")
    values = {} if meters is None else meters.values(totals)
    return Evaluation(total / weight, weight, values)


def count_updates(
    data: Data,
    tbptt: tuple[int, int] | None = None,
    *,
    accumulate: int = 1,
    model: Layer | None = None,
) -> int:
    """Return how many updates an epoch of `fit` has, having gone through the data once.

    `model` is needed where x is a tuple of which another than the first has the steps: for a
    `crnn.TeacherForcing`.
    """
    tbptt, accumulate = check_tbptt(tbptt), check_size("accumulate", accumulate)
    items = items_of(data, "data", tbptt, model)
    windows = sum(1 for item in items for _ in windows_of(item, tbptt))
    return -(-windows // accumulate)
