"""Schedules of the learning rate.

All but `OnPlateau` are functions of the number of updates done with the optimizer: a run that is
resumed, and a new run with the same optimizer, go on along them. A schedule that is as long as the
run is counted from its first update. They set the rate of the optimizer, whatever it was made with.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from crnn.callbacks.base import Callback
from crnn.callbacks.best import Best, check_best
from crnn.callbacks.run import Run
from crnn.common.checks import check_counted, check_number, check_positive, check_size


class Schedule(Callback, ABC):
    """A learning rate that is a function of the number of updates. Subclasses give `rate`.

    Raises
    ------
    TypeError
        The class has no `rate`, as this base has none.
    """

    #: The update from which on they are counted.
    _first = 0

    @abstractmethod
    def rate(self, update: int) -> float:
        """Return the rate of the update that has `update` ones before it."""

    def on_start(self, run: Run) -> None:
        """Set the rate of the next update."""
        run.optimizer.lr = self.rate(run.position.update - self._first)

    def on_update(self, run: Run) -> None:
        """Set the rate of the next update."""
        run.optimizer.lr = self.rate(run.position.update - self._first)


class Constant(Schedule):
    """The same rate throughout, after an optional warm-up.

    Parameters
    ----------
    lr : float
    warmup : int, default 0
        Updates in which the rate rises in equal steps, the first one to ``lr / (warmup + 1)``.
    """

    arguments = ("lr", "warmup")

    def __init__(self, lr: float, *, warmup: int = 0) -> None:
        self.lr = check_positive("lr", lr)
        if warmup != 0:
            warmup = check_size("warmup", warmup)
        self.warmup = warmup

    def rate(self, update: int) -> float:
        return self.lr * min(1.0, (update + 1) / (self.warmup + 1))


class Step(Schedule):
    """The rate is multiplied by `factor` after every `every` updates: PyTorch's ``StepLR``.

    Parameters
    ----------
    lr : float
        The first rate.
    every : int
        Updates between two steps.
    factor : float, default 0.1
    """

    arguments = ("lr", "every", "factor")

    def __init__(self, lr: float, *, every: int, factor: float = 0.1) -> None:
        self.lr = check_positive("lr", lr)
        self.every = check_size("every", every)
        self.factor = check_positive("factor", factor)

    def rate(self, update: int) -> float:
        return float(self.lr * self.factor ** (update // self.every))


class WholeRun(Schedule):
    """A schedule with an end.

    Parameters
    ----------
    total : int, optional
        Updates until the end, those of earlier runs with the same optimizer included; a schedule
        that had ended before the run begins anew with it. By default the schedule begins and ends
        with the run, whose updates are counted when it begins.

    Attributes
    ----------
    given_total : int or None
        As given.
    """

    total: int

    def __init__(self, total: int | None) -> None:
        self.given_total = None if total is None else check_size("total", total)
        if self.given_total is not None:
            self.total = self.given_total

    def on_start(self, run: Run) -> None:
        """Set the rate of the next update."""
        begun = run.start.update
        if self.given_total is None:
            self.total = run.total_updates()
        ended = self.given_total is None or begun >= self.given_total
        self._first = begun if ended else 0
        super().on_start(run)


class Cosine(WholeRun):
    """Half a cosine wave from `lr` down to `low`: PyTorch's ``CosineAnnealingLR``.

    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts" (2017), without
    restarts.

    Parameters
    ----------
    lr : float
        The first rate.
    total : int, optional
        Updates until the end, those of earlier runs with the same optimizer included (see
        `WholeRun`); by default the updates of this run. After them the rate stays at `low`.
    low : float, default 0
    """

    arguments = ("lr", "given_total", "low")

    def __init__(self, lr: float, *, total: int | None = None, low: float = 0.0) -> None:
        self.lr = check_positive("lr", lr)
        super().__init__(total)
        self.low = check_number("low", low, 0)

    def rate(self, update: int) -> float:
        return _cosine(self.lr, self.low, min(1.0, update / self.total))


class OneCycle(WholeRun):
    """The one-cycle schedule of the learning rate: up to a peak, and down to almost nothing.

    Half a cosine wave from `peak` / 25 up to `peak` over the first 30 % of the updates, another one
    down to `peak` / 250,000 over the rest. The idea is L. N. Smith's (A disciplined approach to
    neural network hyper-parameters, 2018); this form, with the same defaults, is that of PyTorch's
    ``OneCycleLR``. Momentum is left alone.

    Parameters
    ----------
    peak : float
        The highest rate.
    total : int, optional
        Updates until the end, those of earlier runs with the same optimizer included (see
        `WholeRun`); by default the updates of this run. After them the rate stays at its last
        value.
    """

    arguments = ("peak", "given_total")

    def __init__(self, peak: float, *, total: int | None = None) -> None:
        self.peak = check_positive("peak", peak)
        super().__init__(total)

    def rate(self, update: int) -> float:
        """Return the rate of the update that has `update` ones before it."""
        low, lowest = self.peak / 25, self.peak / 25 / 1e4
        top, last = 0.3 * self.total - 1, self.total - 1
        if update <= top:
            return _cosine(low, self.peak, update / top)
        return _cosine(self.peak, lowest, min(1.0, (update - top) / (last - top)))


def _cosine(start: float, end: float, share: float) -> float:
    """Go from `start` to `end` along half a cosine wave."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


class OnPlateau(Callback):
    """Multiplies the rate by `factor` when epochs bring nothing better.

    Parameters
    ----------
    factor : float, default 0.1
        Below 1.
    patience : int, default 10
        After so many epochs in a row without an improvement; then they are counted anew.
    min_delta : float, default 0
        An improvement is a loss that is lower by more than this. The loss is that on the validation
        data where there are any.
    low : float, default 0
        The rate falls no further.
    """

    arguments = ("factor", "patience", "min_delta", "low")

    def __init__(
        self, factor: float = 0.1, patience: int = 10, *, min_delta: float = 0.0, low: float = 0.0
    ) -> None:
        self.factor = check_number("factor", factor, 0, 1)
        self.patience = check_size("patience", patience)
        self.low = check_number("low", low, 0)
        self._best = Best(min_delta)
        self._waited = 0

    @property
    def min_delta(self) -> float:
        """As given."""
        return self._best.min_delta

    def on_epoch(self, run: Run) -> None:
        """Count epochs without an improvement, and lower the rate when there were enough."""
        self._waited = 0 if self._best.better(run) else self._waited + 1
        if self._waited >= self.patience:
            lr = run.optimizer.lr
            run.optimizer.lr = min(lr, max(self.low, lr * self.factor))
            self._waited = 0

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best.loss, "waited": self._waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        best, waited = check_best(state["best"]), check_counted("waited", state["waited"])
        self._best.loss, self._waited = best, waited
