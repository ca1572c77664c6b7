"""The loss of a model over data, and how long an epoch of them is."""

from collections.abc import Callable
from typing import Any

from crnn.common.checks import check_size
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.layer import Layer
from crnn.training.truncated import check_tbptt
from crnn.training.windows import Data, Loss, check_rows, items_of, loss_of, weigh, windows_of


def evaluate(
    model: Layer,
    data: Data,
    loss: Loss,
    *,
    tbptt: tuple[int, int] | None = None,
    stateful: bool = False,
    between: Callable[[], None] = lambda: None,
) -> float:
    """Return the mean loss of a model over data, evaluated without dropout and without a tape.

    Parameters
    ----------
    model, data, loss, tbptt, stateful
        As for `fit`. The losses of windows become the mean over all data by what each was divided
        by: sum(w loss) / sum(w).
    between : callable
        Called after every window.
    """
    total, weight = 0.0, 0.0
    state: Any = None
    runs = layer_of(model)
    rows: int | None = None
    tbptt = check_tbptt(tbptt)
    for item in items_of(data, "validation", tbptt, model):
        if stateful:
            rows = check_rows(rows, item, "validation")
        else:
            state = None
        for window in windows_of(item, tbptt):
            y, state = runs(window.item.x, state, **window.item.options)
            value, _ = loss_of(loss, y, window.item)
            _, weighs = weigh(value, y, window.item)
            if weighs:
                total, weight = total + float(value) * weighs, weight + weighs
            between()
    if weight == 0:
        raise ValueError("validation: expected data with valid steps, got none")
    return total / weight


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
