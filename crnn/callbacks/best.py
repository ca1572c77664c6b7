"""Callbacks that find the best epoch of a run: keep its parameters, or stop the run."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from crnn.callbacks.base import Callback
from crnn.callbacks.run import Run
from crnn.common import checks
from crnn.storage import models as storage_models
from crnn.storage.files import Path, check_path


class Best:
    """Lowest loss of an epoch so far: the validation loss, or without validation data the loss.

    Parameters
    ----------
    min_delta : float, default 0
        An epoch is better if its loss is lower than the lowest one by more than this.
    """

    def __init__(self, min_delta: float = 0.0) -> None:
        self.min_delta = checks.check_number("min_delta", min_delta, 0)
        self.loss = math.inf

    def better(self, run: Run) -> bool:
        """Return whether the last epoch is the best one so far, and record its loss then."""
        val_loss = run.history.val_loss[-1]
        loss = run.history.loss[-1] if val_loss is None else val_loss
        if not loss < self.loss - self.min_delta:
            return False
        self.loss = float(loss)
        return True


def check_best(loss: Any) -> float:
    """Return the lowest loss so far, a number or infinity, or raise."""
    if math.isnan(checks.check_real("loss", loss, finite=False)):
        raise ValueError("loss: expected a number, got nan")
    return float(loss)


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
        An epoch is better if its loss is lower than the lowest one by more than this. It is the
        validation loss, or without validation data the loss.

    Attributes
    ----------
    epoch : int
        Number of the best epoch, from 1; 0 before the first epoch.
    loss : float
        Loss of the best epoch; infinity before the first epoch.

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

    arguments: ClassVar[tuple[str, ...]] = ("restore", "min_delta")

    def __init__(
        self, path: Path | None = None, *, restore: bool = True, min_delta: float = 0.0
    ) -> None:
        if path is not None:
            check_path(path)
        self.path, self.restore = path, bool(restore)
        self.epoch = 0
        self._best = Best(min_delta)
        self._params: dict[str, Any] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    @property
    def min_delta(self) -> float:
        """Amount by which a loss has to be lower."""
        return self._best.min_delta

    @property
    def loss(self) -> float:
        """Loss of the best epoch."""
        return self._best.loss

    def on_new_run(self, run: Run) -> None:
        """Reset the callback, and record the shapes of the model's parameters."""
        self._shapes = {name: array.shape for name, array in run.model.params.items()}
        super().on_new_run(run)

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
        return {"loss": self.loss, "epoch": self.epoch, "params": dict(self._params)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        loss, epoch = check_best(state["loss"]), checks.check_counted("epoch", state["epoch"])
        params = dict(state["params"])
        if params and self._shapes:
            checks.check_names("params", self._shapes, params)
            params = {
                name: checks.check_entry(name, params[name], self._shapes[name]) for name in params
            }
        self._best.loss, self.epoch, self._params = loss, epoch, params


class EarlyStopping(KeepBest):
    """Stop the run when the loss stops improving, and keep the best parameters.

    Parameters
    ----------
    patience : int
        The run stops after this number of consecutive epochs that are not better than the best one.
    min_delta : float, default 0
        An epoch is better if its loss is lower than the lowest one by more than this. It is the
        validation loss, or without validation data the loss.
    path : str or path, optional
        File to which the model is saved after each epoch that is the best one so far; see
        `KeepBest`.
    restore : bool, default True
        True: the model has the parameters of the best epoch after the run.

    Attributes
    ----------
    epoch : int
        Number of the best epoch, from 1; 0 before the first epoch.
    loss : float
        Loss of the best epoch; infinity before the first epoch.

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
    ) -> None:
        super().__init__(path, restore=restore, min_delta=min_delta)
        self.patience = checks.check_size("patience", patience)

    def on_epoch(self, run: Run) -> None:
        """Keep the parameters if the epoch is the best one so far, or stop the run."""
        super().on_epoch(run)
        if self.still_stops(run):
            run.stop()

    def still_stops(self, run: Run) -> bool:
        """Return whether `patience` epochs passed since the best one, or since the run began."""
        return run.position.epoch - max(self.epoch, run.start.epoch) >= self.patience
