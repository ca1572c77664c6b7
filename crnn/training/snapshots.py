"""State of a run: saving it, and restoring it from a file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from crnn.callbacks.base import (
    Callback,
    CallbackBackup,
    load_states,
    saved_callbacks,
    states_of,
)
from crnn.callbacks.history import History
from crnn.callbacks.run import Position
from crnn.callbacks.schedules import Schedule
from crnn.common import notices
from crnn.layers.base.adapted import freeze_named, frozen_names
from crnn.optim import Optimizer
from crnn.storage import archive
from crnn.storage.files import Path
from crnn.training.data_checks import DataChecks, DataSummary, describe_unread
from crnn.training.metering import Meters
from crnn.training.resuming import (
    callable_name,
    check_history,
    check_start,
    compare,
    model_description,
)
from crnn.training.tbptt import WindowedModel
from crnn.training.windows import Data, Loss, Tbptt

_FILE_TYPE = "training run"


class Snapshots:
    """The part of `Trainer` that saves and restores the state of a run."""

    model: Any
    data: Data
    optimizer: Optimizer
    epochs: int
    start: Position
    position: Position
    history: History
    stopped: bool

    _added_epochs: int  # the argument `epochs`
    _loss: Loss
    _tbptt: Tbptt
    _stateful: bool
    _accumulate: int
    _checkpoint_every: int | None
    _validation: Data | None
    _windowed: WindowedModel
    _meters: Meters | None
    _metrics: list[str]  # names
    _callbacks: Sequence[Callback]
    _stopped_by: Callback | None  # the callback that stopped the run
    _summaries: tuple[DataSummary | None, DataSummary | None] | None  # data and validation data
    _arguments: dict[str, Any]  # description of the arguments; {} before the run has begun
    _is_consistent: bool  # False if an update or the end of an epoch was interrupted

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the run: everything except the data and the arguments.

        Returns
        -------
        dict
            Parameters, the states of optimizer and callbacks, the position, the history, and a
            description of the arguments.

        Raises
        ------
        RuntimeError
            If an update was interrupted by a second Ctrl-C.
        """
        if not self._is_consistent:
            raise RuntimeError("the run was interrupted during an update")
        saved = saved_callbacks(self._callbacks)
        stopped_by = [i for i, callback in enumerate(saved) if callback is self._stopped_by]
        return {
            "position": dict(vars(self.position)),
            "start": {"epoch": self.start.epoch, "update": self.start.update},
            "arguments": (self._arguments or self._describe_arguments()) | self._describe_model(),
            "history": {name: list(column) for name, column in self.history.columns.items()},
            "model": self.model.state_dict(),
            "frozen": frozen_names(self.model),
            "optimizer": self.optimizer.state_dict(),
            "callbacks": states_of(self._callbacks),
            "tapes": self._windowed.state_dict(),
            "metrics": {} if self._meters is None else self._meters.state_dict(),
            "stopped": self.stopped,
            "stopper": stopped_by[0] if stopped_by else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state_dict` of a run with the same arguments returned.

        Parameters
        ----------
        state : mapping

        Raises
        ------
        ValueError
            If it is not the state of a run, or data, loss, optimizer or windows differ. Nothing is
            changed then.

        Warns
        -----
        crnn.training.ResumeWarning
            If the number of epochs, the learning rate, options of the model or arguments of
            callbacks differ. The new ones are used.
        """
        before = self.start, self.position, self.epochs, self.stopped, self._summaries
        model, optimizer = self.model.state_dict(), self.optimizer.state_dict()
        frozen = frozen_names(self.model)
        backup = CallbackBackup(self._callbacks)
        try:
            changes = self._load(state)
        except BaseException as error:
            self.start, self.position, self.epochs, self.stopped, self._summaries = before
            self.model.load_state_dict(model)
            self._freeze(frozen)
            self.optimizer.load_state_dict(optimizer)
            backup.restore()
            if isinstance(error, Exception) and not isinstance(error, ValueError):
                raise ValueError(
                    f"state: expected the result of Trainer.state_dict: {error}"
                ) from error
            raise
        for change in changes:
            notices.warn(f"resume: {change}", notices.ResumeWarning)

    def _load(self: Any, state: Mapping[str, Any]) -> list[str]:
        """Load a state and return the changed arguments as text.

        An error may leave the state partly loaded.
        """
        if not isinstance(state["stopped"], bool):
            raise ValueError(f"stopped: expected True or False, got {state['stopped']!r:.60}")
        position, saved = Position.of(state["position"]), state.get("arguments", {})
        self.start = check_start(state.get("start", {"epoch": 0, "update": 0}), position)
        history = check_history(state["history"], self.start, position, self._metrics)
        self._summaries = None
        current = self._describe_arguments()
        changes: list[str] = compare(saved, current | self._describe_model())
        self.position, self.epochs = position, self.start.epoch + self._added_epochs
        self.stopped = state["stopped"]
        if "frozen" in state:  # files of earlier versions do not have it
            changes += self._freeze(state["frozen"])
        window_passes = self._windowed.recomputed(state["tapes"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.optimizer.epochs = position.epoch
        changes += load_states(self._callbacks, state["callbacks"], self)
        changes += self._update_rate(saved)
        changes += self._update_stopped(state.get("stopper"), bool(changes))
        self._windowed.replace_stored(window_passes)
        if self._meters is not None:
            descriptions = saved.get("metrics", {})
            self._meters.load_state_dict(
                state.get("metrics", {}), position.metrics, descriptions, begun=position.steps > 0
            )
            self.position = replace(position, metrics=self._meters.known(position.metrics))
        self.history, self._arguments, self._is_consistent = history, current, True
        return changes

    def _freeze(self, names: Any) -> list[str]:
        """Freeze the layers with these names, as in the saved run; return what changed as text."""
        before = frozen_names(self.model)
        freeze_named(self.model, names)
        self.optimizer.check_model(self.model)
        if before == names:
            return []
        return [f"frozen layers: {names!r:.100} as in the saved run, {before!r:.100} in the model"]

    def _update_rate(self, saved: Mapping[str, Any]) -> list[str]:
        """Use a learning rate that the user changed, unless a schedule sets it."""
        lr = self.optimizer.given_lr
        scheduled = any(isinstance(callback, Schedule) for callback in self._callbacks)
        if scheduled or saved.get("lr", lr) == lr:
            return []
        self.optimizer.lr = lr
        return [f"lr: {lr!r} now, {saved['lr']!r} when the run began"]

    def _update_stopped(self, index: Any, changed: bool) -> list[str]:
        """Continue a stopped run if the callback with this index would not stop it now."""
        if not self.stopped:
            return []
        saved = saved_callbacks(self._callbacks)
        is_known = isinstance(index, int) and 0 <= index < len(saved)
        self._stopped_by = saved[index] if is_known else None
        if self._stopped_by is not None and not self._stopped_by.still_stops(self):
            self.stopped, self._stopped_by = False, None
        if self.stopped and changed:
            return [f"the run was stopped after epoch {self.position.epoch} and stays stopped"]
        return []

    def save(self, path: Path) -> None:
        """Save the run to a file. The file is replaced in one step, also if the process is killed.

        Parameters
        ----------
        path : str or path

        Raises
        ------
        RuntimeError
            If an update was interrupted by a second Ctrl-C.
        """
        archive.write(path, _FILE_TYPE, self.state_dict())

    def resume(self, path: Path) -> None:
        """Restore the state of a run that `save` wrote.

        Parameters
        ----------
        path : str or path

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If the file is damaged, or is of a run with other arguments. Nothing is changed then.

        Warns
        -----
        crnn.training.ResumeWarning
            If the number of epochs, the learning rate, options of the model or arguments of
            callbacks differ. The new ones are used.
        """
        state = archive.read(path, _FILE_TYPE)
        with archive.blaming(path):
            self.load_state_dict(state)

    def _check_data(self) -> tuple[DataSummary | None, DataSummary | None]:
        """Check the data and the validation data once, and return their summaries."""
        if self._summaries is None:
            checks = DataChecks(self.model, self._loss, self._tbptt, self._stateful)
            epoch = self.start.epoch
            data, validation = checks.training(self.data, epoch), self._validation
            self._summaries = (
                data,
                None if validation is None else checks.validation(validation, epoch),
            )
        return self._summaries

    def _describe_model(self) -> dict[str, Any]:
        """Return the description of model and loss for the file of the run."""
        return {"model": model_description(self.model), "loss": callable_name(self._loss)}

    def _describe_arguments(self) -> dict[str, Any]:
        """Return the description of the other arguments for the file of the run."""
        data, validation = self._check_data()
        return {
            "epochs": self._added_epochs,
            "lr": self.optimizer.given_lr,
            "optimizer": self.optimizer.settings(),
            "tbptt": self._tbptt,
            "stateful": self._stateful,
            "accumulate": self._accumulate,
            "checkpoint_every": self._checkpoint_every,
            "metrics": {} if self._meters is None else self._meters.descriptions,
            "data": data.description if data is not None else describe_unread(self.data),
            "validation": self._validation is not None
            and (
                validation.description
                if validation is not None
                else describe_unread(self._validation)
            ),
        }
