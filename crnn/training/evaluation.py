"""Loss and metrics of a model on data, and the number of updates in an epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crnn.callbacks.progress import with_bar
from crnn.common.checks import check_flag, check_size
from crnn.common.representation import never_raising, value_text
from crnn.layers.base.adapted import check_one_input, layer_of
from crnn.layers.base.protocol import LayerLike
from crnn.losses import Mean
from crnn.metrics.base import Metrics
from crnn.training.argument_checks import check_data, check_loss
from crnn.training.metering import Meters, Totals, added_totals
from crnn.training.tbptt import check_tbptt
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
    """Mean loss on data, a float, together with the metrics.

    Parameters
    ----------
    value : float
        The mean loss.
    weight : float
        Sum of the weights that the loss was divided by.
    metrics : mapping of str to value, optional
        Values of the metrics by name. None: no metrics.

    Attributes
    ----------
    weight : float
        The argument `weight`.
    metrics : dict
        Values of the metrics by name.

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
        if name not in self.keys():
            raise KeyError(f"expected one of {', '.join(self.keys())}, got {name!r}")
        return float(self) if name == "loss" else self.metrics[name]

    def keys(self) -> list[str]:
        """Return "loss" and the names of the metrics, so that ``dict(evaluation)`` is a mapping.

        Returns
        -------
        list of str
        """
        return ["loss", *self.metrics]

    __iter__ = None  # so that ``loss, accuracy = evaluation`` is an error and does not give names

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    @never_raising
    def __repr__(self) -> str:
        values = ", ".join(f"{name} {value_text(self[name])}" for name in self.keys())
        return f"<Evaluation: {values}>"


def evaluate(
    model: LayerLike,
    data: Data,
    *,
    loss: Loss,
    metrics: Metrics | None = None,
    tbptt: tuple[int, int] | None = None,
    stateful: bool = False,
) -> Evaluation:
    """Return the loss and the metrics of a model on data.

    Dropout is off, and nothing is stored for a backward pass.

    Parameters
    ----------
    model : layer
        The model; it is not changed.
    data : iterable of items
        Items (x, target), (x, target, lengths) or (x, target, lengths, extras), as for `crnn.fit`.
    loss : callable
        ``loss(y, target, lengths)`` returns the mean over the valid steps and its gradient, as the
        functions of `crnn.losses` do.
    metrics : mapping of str to metric, optional
        Metrics by name, such as ``{"accuracy": crnn.metrics.accuracy}``; see `crnn.metrics`.
    tbptt : (k1, k2), optional
        Cut each item into windows of k1 steps and carry the state from one window to the next, so
        that the memory does not depend on T. None: an item is one window.
    stateful : bool, default False
        True: carry the state from item to item, from row b to row b. False: each item begins with
        the state zero.

    Returns
    -------
    Evaluation
        A float, the mean loss over all valid steps: sum(w loss) / sum(w), where w is the divisor of
        the mean loss of each window. ``result["name"]`` is a metric.

    Raises
    ------
    ValueError, TypeError
        If items have another form, the data have no valid step, or the loss or a metric has another
        type.

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
    stateful = check_flag("stateful", stateful)
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
    after_window: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Evaluate a model with arguments that were checked.

    Parameters
    ----------
    name : str
        Name of the data in error messages.
    after_window : callable
        Called after every window.
    """
    total, weight = 0.0, 0.0
    totals: Totals = {}
    state: Any = None
    layer, rows = layer_of(model), None
    if meters is not None:
        meters.start()
    for item in items_of(data, name, tbptt, model):
        if stateful:
            rows = check_rows(rows, item, name)
        else:
            state = None
        for window in windows_of(item, tbptt):
            y, state = layer(window.item.x, state, **window.item.options)
            value, _ = loss_of(loss, y, window.item)
            _, window_weight = weigh(value, y, window.item)
            if window_weight:
                total, weight = total + float(value) * window_weight, weight + window_weight
            if meters is not None:
                totals = added_totals(totals, meters.sums(y, window.item))
            after_window()
    if weight == 0:
        raise ValueError(f"{name}: expected data with valid steps, got none")
    values = {} if meters is None else meters.values(totals)
    return Evaluation(total / weight, weight, values)


def count_updates(
    data: Data,
    tbptt: tuple[int, int] | None = None,
    *,
    accumulate: int = 1,
    model: LayerLike | None = None,
) -> int:
    """Return the number of updates in an epoch of `crnn.fit`. The data are read once.

    Parameters
    ----------
    data : iterable of items
        Items (x, target), (x, target, lengths) or (x, target, lengths, extras), as for `crnn.fit`.
    tbptt : (k1, k2), optional
        As for `crnn.fit`: each window of k1 steps gives one update. None: an item is one window.
    accumulate : int, default 1
        As for `crnn.fit`: number of items for one update.
    model : layer, optional
        The model. Necessary for models whose x is a tuple in which the first array is not the
        sequence, such as `crnn.TeacherForcing`.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If items have another form, or there are none.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> item = np.zeros((4, 10, 2)), np.zeros((4, 10), int)
    >>> crnn.training.count_updates([item, item])
    2
    >>> crnn.training.count_updates([item, item], tbptt=(3, 3))  # 4 windows of an item
    8
    """
    tbptt, accumulate = check_tbptt(tbptt), check_size("accumulate", accumulate)
    items = items_of(data, "data", tbptt, model)
    windows = sum(1 for item in items for _ in windows_of(item, tbptt))
    return -(-windows // accumulate)
