"""Schedules of the learning rate.

All schedules except `OnPlateau` are functions of the number of updates done with the optimizer.
A resumed run, or a new run with the same optimizer, therefore continues the schedule. A schedule
that has the length of the run counts from its first update. A schedule replaces the learning rate
that the optimizer was made with.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from crnn.callbacks.base import Callback
from crnn.callbacks.best import Best
from crnn.callbacks.run import Run
from crnn.common.checks import check_counted, check_number, check_positive, check_size
from crnn.common.choices import BestMode


class Schedule(Callback, ABC):
    """Base class of learning rates that are functions of the number of updates.

    Subclasses define `rate`.

    Methods
    -------
    rate(update)
        Return the learning rate of an update.

    Raises
    ------
    TypeError
        If the class does not define `rate`.

    Examples
    --------
    >>> import crnn
    >>> class InverseRoot(crnn.callbacks.Schedule):
    ...     def __init__(self, lr):
    ...         self.lr = lr
    ...     def rate(self, update):
    ...         return self.lr / (update + 1) ** 0.5
    >>> schedule = InverseRoot(lr=0.1)
    >>> schedule, schedule.rate(0), schedule.rate(3)
    (InverseRoot(lr=0.1), 0.1, 0.05)
    """

    _first = 0  # the update from which the schedule counts

    @abstractmethod
    def rate(self, update: int) -> float:
        """Return the learning rate of an update.

        Parameters
        ----------
        update : int
            Number of updates before this one.

        Returns
        -------
        float
        """

    def on_start(self, run: Run) -> None:
        """Set the learning rate of the next update."""
        run.optimizer.lr = self.rate(run.position.update - self._first)

    def on_update(self, run: Run) -> None:
        """Set the learning rate of the next update."""
        run.optimizer.lr = self.rate(run.position.update - self._first)

    def on_end(self, run: Run) -> None:
        """Set the learning rate that the optimizer was given, for runs without a schedule."""
        if run.finished:
            run.optimizer.lr = run.optimizer.given_lr


class Constant(Schedule):
    """Constant learning rate, after an optional linear warm-up.

    Parameters
    ----------
    lr : float
        The learning rate after the warm-up.
    warmup : int, default 0
        Number of updates during which the rate rises linearly, from ``lr / (warmup + 1)``.

    Methods
    -------
    rate(update)
        Return the learning rate of an update.

    Examples
    --------
    >>> import crnn
    >>> schedule = crnn.callbacks.Constant(0.4, warmup=3)
    >>> [round(schedule.rate(update), 2) for update in range(5)]
    [0.1, 0.2, 0.3, 0.4, 0.4]
    """

    arguments = ("lr", "warmup")

    def __init__(self, lr: float, *, warmup: int = 0) -> None:
        self.lr = check_positive("lr", lr)
        self.warmup = _check_warmup(warmup)

    def rate(self, update: int) -> float:
        return self.lr * min(1.0, (update + 1) / (self.warmup + 1))


class Step(Schedule):
    """Multiply the learning rate by a factor after every `every` updates: PyTorch's ``StepLR``.

    Parameters
    ----------
    lr : float
        The first learning rate.
    every : int
        Number of updates between two changes.
    factor : float, default 0.1
        The rate is multiplied by this factor.

    Methods
    -------
    rate(update)
        Return the learning rate of an update.

    Examples
    --------
    >>> import crnn
    >>> schedule = crnn.callbacks.Step(1.0, every=2, factor=0.5)
    >>> [round(schedule.rate(update), 2) for update in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    arguments = ("lr", "every", "factor")

    def __init__(self, lr: float, *, every: int, factor: float = 0.1) -> None:
        self.lr = check_positive("lr", lr)
        self.every = check_size("every", every)
        self.factor = check_positive("factor", factor)

    def rate(self, update: int) -> float:
        return float(self.lr * self.factor ** (update // self.every))


class WholeRun(Schedule):
    """Base class of schedules that have an end.

    Parameters
    ----------
    total : int, optional
        Number of updates until the end of the schedule, earlier runs with the same optimizer
        included. If the schedule ended before the run begins, it begins anew with the run. None:
        the schedule begins and ends with the run, whose updates are counted at its start.
        After the end the last rate is kept.

    Attributes
    ----------
    given_total : int or None
        The argument `total`.
    total : int
        Number of updates until the end; set at the start of a run where the argument is None.
    """

    total: int

    def __init__(self, total: int | None) -> None:
        self.given_total = None if total is None else check_size("total", total)
        if self.given_total is not None:
            self._set_total(self.given_total)

    def _set_total(self, total: int) -> None:
        """Set the number of updates; subclasses raise ValueError if it is too small."""
        self.total = total

    def on_start(self, run: Run) -> None:
        """Set the learning rate of the next update."""
        begun = run.start.update
        if self.given_total is None:
            self._set_total(run.total_updates())
        ended = self.given_total is None or begun >= self.given_total
        self._first = begun if ended else 0
        super().on_start(run)


class Cosine(WholeRun):
    """Half a cosine wave from `lr` down to `low`: PyTorch's ``CosineAnnealingLR``.

    I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts" (2017),
    without restarts. With a linear warm-up before it, the schedule of GPT-2 and nanoGPT.

    Parameters
    ----------
    lr : float
        The first learning rate, or the one at the end of the warm-up.
    total : int, optional
        Number of updates until the end of the schedule, earlier runs with the same optimizer
        included. If the schedule ended before the run begins, it begins anew with the run. None:
        the schedule begins and ends with the run, whose updates are counted at its start.
        After the end the rate is `low`.
    low : float, default 0
        The last learning rate.
    warmup : int, default 0
        Number of updates during which the rate rises linearly, from ``lr / (warmup + 1)``, as for
        `Constant`. They count in `total`: the wave has the remaining updates.

    Methods
    -------
    rate(update)
        Return the learning rate of an update.

    Raises
    ------
    ValueError
        If `warmup` is not below `total`; without `total`, at the start of the run.

    Examples
    --------
    >>> import crnn
    >>> schedule = crnn.callbacks.Cosine(1.0, total=4)
    >>> [round(schedule.rate(update), 2) for update in range(6)]
    [1.0, 0.85, 0.5, 0.15, 0.0, 0.0]
    >>> schedule = crnn.callbacks.Cosine(1.0, total=6, low=0.2, warmup=2)
    >>> [round(schedule.rate(update), 2) for update in range(7)]
    [0.33, 0.67, 1.0, 0.88, 0.6, 0.32, 0.2]
    """

    arguments = ("lr", "given_total", "low", "warmup")

    def __init__(
        self, lr: float, *, total: int | None = None, low: float = 0.0, warmup: int = 0
    ) -> None:
        self.lr, self.warmup = check_positive("lr", lr), _check_warmup(warmup)
        super().__init__(total)
        self.low = check_number("low", low, 0)

    def _set_total(self, total: int) -> None:
        if self.warmup >= total:
            raise ValueError(
                f"warmup: expected fewer updates than the {total} of the schedule, "
                f"got {self.warmup}"
            )
        super()._set_total(total)

    def rate(self, update: int) -> float:
        if update < self.warmup:
            return self.lr * (update + 1) / (self.warmup + 1)
        part = (update - self.warmup) / (self.total - self.warmup)
        return _cosine(self.lr, self.low, min(1.0, part))


class OneCycle(WholeRun):
    """One-cycle schedule: the learning rate rises to a peak and falls to almost zero.

    The rate follows half a cosine wave from `peak` / 25 up to `peak` over the first 30 % of the
    updates, and another one down to `peak` / 250,000 over the rest. The idea is from L. N. Smith,
    "A disciplined approach to neural network hyper-parameters" (2018). This form, with the same
    defaults, is that of PyTorch's ``OneCycleLR``. The momentum is not changed.

    Parameters
    ----------
    peak : float
        The highest learning rate.
    total : int, optional
        Number of updates until the end of the schedule, earlier runs with the same optimizer
        included. If the schedule ended before the run begins, it begins anew with the run. None:
        the schedule begins and ends with the run, whose updates are counted at its start.
        After the end the last rate is kept.

    Methods
    -------
    rate(update)
        Return the learning rate of an update.

    Examples
    --------
    >>> import crnn
    >>> schedule = crnn.callbacks.OneCycle(peak=0.02, total=400)
    >>> schedule
    OneCycle(peak=0.02, total=400)
    >>> [round(schedule.rate(update), 4) for update in (0, 60, 119, 260, 399)]
    [0.0008, 0.0105, 0.02, 0.0099, 0.0]
    """

    arguments = ("peak", "given_total")

    def __init__(self, peak: float, *, total: int | None = None) -> None:
        self.peak = check_positive("peak", peak)
        super().__init__(total)

    def rate(self, update: int) -> float:
        low, lowest = self.peak / 25, self.peak / 25 / 1e4
        top, last = 0.3 * self.total - 1, self.total - 1
        if update <= top:
            return _cosine(low, self.peak, update / top)
        return _cosine(self.peak, lowest, min(1.0, (update - top) / (last - top)))


def _check_warmup(warmup: int) -> int:
    """Return a number of updates, 0 included, or raise."""
    return 0 if warmup == 0 else check_size("warmup", warmup)


def _cosine(start: float, end: float, fraction: float) -> float:
    """Return the value of half a cosine wave from `start` to `end` at a fraction of its length."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * fraction))


class OnPlateau(Callback):
    """Multiply the learning rate by a factor when the loss, or a metric, stops improving.

    Parameters
    ----------
    factor : float, default 0.1
        Factor of the learning rate, 0 <= factor < 1.
    patience : int, default 10
        The rate is changed after this number of consecutive epochs without an improvement, which
        are then counted from 0 again.
    min_delta : float, default 0
        An epoch is an improvement if its value differs from the best one so far by more than this.
    low : float, default 0
        Lowest learning rate.
    monitor, mode
        As for `KeepBest`: the column of the history that is to improve, by default the validation
        loss or the loss, and whether lower ("min") or higher ("max") is better.

    Raises
    ------
    ValueError
        At the start of the run if the history has no column `monitor`.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> model, data = crnn.Dense(2, 1, seed=0), [(np.ones((1, 3, 2)), np.ones((1, 3, 1)))]
    >>> schedule = crnn.callbacks.OnPlateau(factor=0.5, patience=1, min_delta=100.0)
    >>> history = crnn.fit(model, data, loss=crnn.losses.mse, epochs=4, progress=False,
    ...                    optimizer=crnn.optim.SGD(model, lr=0.1), callbacks=[schedule])
    >>> history.lr
    [0.1, 0.1, 0.05, 0.025]
    """

    arguments = ("factor", "patience", "min_delta", "low", "monitor", "mode")

    def __init__(
        self,
        factor: float = 0.1,
        patience: int = 10,
        *,
        min_delta: float = 0.0,
        low: float = 0.0,
        monitor: str | None = None,
        mode: BestMode = "min",
    ) -> None:
        self.factor = check_number("factor", factor, 0, 1)
        self.patience = check_size("patience", patience)
        self.low = check_number("low", low, 0)
        self._best = Best(min_delta, monitor, mode)
        self._waited = 0

    @property
    def min_delta(self) -> float:
        """Amount by which a value has to be better."""
        return self._best.min_delta

    @property
    def monitor(self) -> str | None:
        """Column of the history that is to improve."""
        return self._best.monitor

    @property
    def mode(self) -> BestMode:
        """Whether the lowest or the highest value is the best one."""
        return self._best.mode

    def on_start(self, run: Run) -> None:
        """Check that the history has the monitored column."""
        self._best.check(run)

    def on_epoch(self, run: Run) -> None:
        """Count the epochs without an improvement, and lower the learning rate."""
        self._waited = 0 if self._best.better(run) else self._waited + 1
        if self._waited >= self.patience:
            lr = run.optimizer.lr
            run.optimizer.lr = min(lr, max(self.low, lr * self.factor))
            self._waited = 0

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best.state_dict(), "waited": self._waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        best, waited = self._best.checked(state["best"]), check_counted("waited", state["waited"])
        self._best.value, self._waited = best, waited
