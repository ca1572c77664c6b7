"""Callbacks that find the best epoch of a run: keep its parameters, or stop the run."""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, ClassVar, get_args

from crnn.callbacks.base import Callback
from crnn.callbacks.run import Run
from crnn.common import checks
from crnn.common.checks import check_flag
from crnn.common.choices import BestMode
from crnn.storage import models as storage_models
from crnn.storage.files import Path, check_path


class Best:
    """Best value of a column of the history so far.

    Parameters
    ----------
    min_delta : float, default 0
        An epoch is better if its value differs from the best one by more than this.
    monitor : str or None, default None
        Name of the column. None: the validation loss, or without validation data the loss.
    mode : {"min", "max"}, default "min"
        Whether the lowest or the highest value is the best one.
    """

    def __init__(
        self, min_delta: float = 0.0, monitor: str | None = None, mode: BestMode = "min"
    ) -> None:
        self.min_delta = checks.check_number("min_delta", min_delta, 0)
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f"monitor: expected None or the name of a column, got {monitor!r:.60}")
        if mode not in get_args(BestMode):
            raise ValueError(f"mode: expected 'min' or 'max', got {mode!r:.60}")
        self.monitor, self.mode = monitor, mode
        self.value = self._worst

    @property
    def _worst(self) -> float:
        return math.inf if self.mode == "min" else -math.inf

    def check(self, run: Run) -> None:
        """Raise ValueError if the history of a run has no such column."""
        if self.monitor is not None and self.monitor not in run.history.columns:
            raise ValueError(
                f"monitor: expected a column of the history, {', '.join(run.history.columns)}, "
                f"got {self.monitor!r}"
            )
        if self.monitor is not None and self.monitor.startswith("val_") and not run.validates:
            raise ValueError(
                f"monitor: expected a column of a run with validation data, got {self.monitor!r}: "
                "give validation data"
            )

    def better(self, run: Run) -> bool:
        """Return whether the last epoch is the best one so far, and record its value then."""
        value = self._last(run)
        change = self.value - value if self.mode == "min" else value - self.value
        if not change > self.min_delta:
            return False
        self.value = value
        return True

    def _last(self, run: Run) -> float:
        """Return the value of the last epoch."""
        if self.monitor is None:
            val_loss = run.history.val_loss[-1]
            return float(run.history.loss[-1] if val_loss is None else val_loss)
        value = run.history[self.monitor][-1]
        if not isinstance(value, Real):
            raise ValueError(
                f"monitor: expected a column of numbers, got {value!r:.60} in {self.monitor!r}"
                + (": give validation data" if value is None else "")
            )
        return float(value)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, and what it is the best of."""
        return {"loss": self.value, "monitor": self.monitor, "mode": self.mode}

    def checked(self, state: Mapping[str, Any]) -> float:
        """Return the best value of a state; the worst one if it is of another column.

        Raises
        ------
        ValueError
            If the value is not a number.
        """
        if math.isnan(checks.check_real("loss", state["loss"], finite=False)):
            raise ValueError("loss: expected a number, got nan")
        same = (state.get("monitor"), state.get("mode", "min")) == (self.monitor, self.mode)
        return float(state["loss"]) if same else self._worst


class KeepBest(Callback):
    """Keep the parameters of the best epoch, and restore them at the end of the run.

    Parameters
    ----------
    path : str or path, optional
        File to which the model is saved after each epoch that is the best one so far. `crnn.load`
        reads it. The file is replaced in one step. None: no file.
    restore : bool, default True
        True: the model has the parameters of the best epoch after the run. False: it keeps the
        last ones. A run that was interrupted keeps the last ones, so that it can be resumed.
    min_delta : float, default 0
        An epoch is better if its value differs from the best one so far by more than this.
    monitor : str, optional
        Column of the history that decides which epoch is the best, such as "val_accuracy" with
        ``metrics={"accuracy": ...}``. None: the validation loss, or without validation data the
        loss.
    mode : {"min", "max"}, default "min"
        Whether the lowest or the highest value of `monitor` is the best one: "max" for an accuracy.

    Attributes
    ----------
    epoch : int
        Number of the best epoch, from 1; 0 before the first epoch.
    loss : float
        Value of the monitored column in the best epoch; infinity (with "max", minus infinity)
        before the first epoch.

    Raises
    ------
    ValueError
        At the start of the run if the history has no such column; after an epoch if its value is
        not a number.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> model = crnn.Sequential([crnn.RNN(2, 4, seed=0), crnn.Dense(4, 1, seed=1)])
    >>> data = [(np.ones((2, 3, 2), "f"), np.ones((2, 3, 1), "f"))]
    >>> best = crnn.callbacks.KeepBest()
    >>> history = crnn.fit(model, data, loss=crnn.losses.mse, epochs=5, progress=False,
    ...                    optimizer=crnn.optim.SGD(model, lr=0.1), validation=data,
    ...                    callbacks=[best])
    >>> best.loss == min(history.val_loss), best.epoch
    (True, 5)
    """

    arguments: ClassVar[tuple[str, ...]] = ("restore", "min_delta", "monitor", "mode")

    def __init__(
        self,
        path: Path | None = None,
        *,
        restore: bool = True,
        min_delta: float = 0.0,
        monitor: str | None = None,
        mode: BestMode = "min",
    ) -> None:
        if path is not None:
            check_path(path)
        self.path, self.restore = path, check_flag("restore", restore)
        self.epoch = 0
        self._best = Best(min_delta, monitor, mode)
        self._params: dict[str, Any] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    @property
    def min_delta(self) -> float:
        """Amount by which a value has to be better."""
        return self._best.min_delta

    @property
    def monitor(self) -> str | None:
        """Column of the history that decides which epoch is the best."""
        return self._best.monitor

    @property
    def mode(self) -> BestMode:
        """Whether the lowest or the highest value is the best one."""
        return self._best.mode

    @property
    def loss(self) -> float:
        """Value of the best epoch."""
        return self._best.value

    def on_new_run(self, run: Run) -> None:
        """Reset the callback, and record the shapes of the model's parameters."""
        self._shapes = {name: array.shape for name, array in run.model.params.items()}
        super().on_new_run(run)

    def on_start(self, run: Run) -> None:
        """Check that the history has the monitored column."""
        self._best.check(run)

    def on_epoch(self, run: Run) -> None:
        """Keep the parameters if the epoch is the best one so far."""
        if not self._best.better(run):
            return
        self.epoch = run.position.epoch
        if self.restore:
            self._params = run.model.state_dict()
        if self.path is not None:
            storage_models.save(self.path, run.model)

    def on_end(self, run: Run) -> None:
        """Restore the best parameters if the run is finished."""
        if run.finished and self._params:
            run.model.load_state_dict(self._params)

    def state_dict(self) -> dict[str, Any]:
        return self._best.state_dict() | {"epoch": self.epoch, "params": dict(self._params)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        value, epoch = self._best.checked(state), checks.check_counted("epoch", state["epoch"])
        params = dict(state["params"])
        if params and self._shapes:
            checks.check_names("params", self._shapes, params)
            params = {
                name: checks.check_entry(name, params[name], self._shapes[name]) for name in params
            }
        self._best.value, self.epoch, self._params = value, epoch, params


class EarlyStopping(KeepBest):
    """Stop the run when the loss, or a metric, stops improving, and keep the best parameters.

    Parameters
    ----------
    patience : int
        The run stops after this number of consecutive epochs that are not better than the best one.
    min_delta : float, default 0
        An epoch is better if its value differs from the best one so far by more than this.
    path : str or path, optional
        File to which the model is saved after each epoch that is the best one so far; see
        `KeepBest`.
    restore : bool, default True
        True: the model has the parameters of the best epoch after the run.
    monitor : str, optional
        Column of the history that decides which epoch is the best, such as "val_accuracy" with
        ``metrics={"accuracy": ...}``. None: the validation loss, or without validation data the
        loss.
    mode : {"min", "max"}, default "min"
        Whether the lowest or the highest value of `monitor` is the best one: "max" for an accuracy.

    Attributes
    ----------
    epoch : int
        Number of the best epoch, from 1; 0 before the first epoch.
    loss : float
        Value of the monitored column in the best epoch.

    Raises
    ------
    ValueError
        At the start of the run if the history has no such column; after an epoch if its value is
        not a number.

    Notes
    -----
    A run that was stopped continues if it is resumed with a larger `patience`.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> model = crnn.Sequential([crnn.RNN(2, 4, seed=0), crnn.Dense(4, 1, seed=1)])
    >>> data = [(np.ones((2, 3, 2), "f"), np.ones((2, 3, 1), "f"))]
    >>> stopping = crnn.callbacks.EarlyStopping(patience=2)
    >>> history = crnn.fit(model, data, loss=crnn.losses.mse, epochs=9, callbacks=[stopping],
    ...                    optimizer=crnn.optim.SGD(model, lr=0.0), progress=False)
    >>> len(history), stopping.epoch  # without an improvement after the first epoch
    (3, 1)
    """

    arguments = ("patience", *KeepBest.arguments)

    def __init__(
        self,
        patience: int,
        *,
        min_delta: float = 0.0,
        path: Path | None = None,
        restore: bool = True,
        monitor: str | None = None,
        mode: BestMode = "min",
    ) -> None:
        super().__init__(path, restore=restore, min_delta=min_delta, monitor=monitor, mode=mode)
        self.patience = checks.check_size("patience", patience)

    def on_epoch(self, run: Run) -> None:
        """Keep the parameters if the epoch is the best one so far, or stop the run."""
        super().on_epoch(run)
        if self.still_stops(run):
            run.stop()

    def still_stops(self, run: Run) -> bool:
        """Return whether `patience` epochs passed since the best one, or since the run began."""
        return run.position.epoch - max(self.epoch, run.start.epoch) >= self.patience
