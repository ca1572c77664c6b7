"""The best epoch of a run: its parameters kept, and an end to runs that get no better."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from crnn.callbacks.base import Callback
from crnn.callbacks.run import Run
from crnn.common import checks
from crnn.storage import models as storage_models
from crnn.storage.files import Path, check_path


class Best:
    """The lowest loss of an epoch so far: on the validation data where there are any.

    Parameters
    ----------
    min_delta : float
        How much lower a loss must be, at least, to be better; any at all for 0.
    """

    def __init__(self, min_delta: float = 0.0) -> None:
        self.min_delta = checks.check_number("min_delta", min_delta, 0)
        self.loss = math.inf

    def better(self, run: Run) -> bool:
        """Whether the last epoch was better, which then is the best."""
        val_loss = run.history.val_loss[-1]
        loss = run.history.loss[-1] if val_loss is None else val_loss
        if not loss < self.loss - self.min_delta:
            return False
        self.loss = float(loss)
        return True


def check_best(loss: Any) -> float:
    """Return the lowest loss so far, a number or infinity."""
    if math.isnan(checks.check_real("loss", loss, finite=False)):
        raise ValueError("loss: expected a number, got nan")
    return float(loss)


class KeepBest(Callback):
    """Keeps the parameters of the best epoch, and puts them into the model when the run is over.

    Parameters
    ----------
    path : str or path, optional
        Where to save the model, each time that it is the best so far, in one step; `crnn.load`
        reads it.
    restore : bool, default True
        Whether the model has these parameters at the end, and not the last ones. A run that is
        broken off keeps the last ones, with which it can go on.
    min_delta : float, default 0
        An epoch is better if its loss is lower by more than this: the loss on the validation data
        where there are any.

    Attributes
    ----------
    epoch : int
        Number of the best epoch; 0 before there is one.
    loss : float
        Its loss.
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
        """As given."""
        return self._best.min_delta

    @property
    def loss(self) -> float:
        """The loss of the best epoch."""
        return self._best.loss

    def on_new_run(self, run: Run) -> None:
        """Begin afresh, with the model of this run."""
        self._shapes = {name: array.shape for name, array in run.model.params.items()}
        super().on_new_run(run)

    def on_epoch(self, run: Run) -> None:
        """Keep the parameters, if there were none better."""
        if not self._best.better(run):
            return
        self.epoch = run.position.epoch
        if self.restore:
            self._params = run.model.state_dict()
        if self.path is not None:
            storage_models.save(self.path, run.model)

    def on_end(self, run: Run) -> None:
        """Put the best parameters into the model, if the run is over."""
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
    """Stops the run when epochs bring nothing better, and keeps the best parameters.

    Parameters
    ----------
    patience : int
        The run ends after so many epochs in a row that are not better than the best one.
    min_delta, path, restore
        As for `KeepBest`.

    Notes
    -----
    A run that was stopped goes on when it is resumed with more patience.
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
        """Keep the parameters, or stop."""
        super().on_epoch(run)
        if self.still_stops(run):
            run.stop()

    def still_stops(self, run: Run) -> bool:
        """Whether the epochs since the best one, or since the run began, are enough."""
        return run.position.epoch - max(self.epoch, run.start.epoch) >= self.patience
