"""The state of a run, as a file has it: taken, and taken up again."""

from collections.abc import Mapping, Sequence
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
from crnn.optim import Optimizer
from crnn.storage import archive
from crnn.storage.files import Path
from crnn.training.looking import Look, Told, described
from crnn.training.metering import Meters
from crnn.training.resuming import (
    check_history,
    check_start,
    compare,
    loss_name,
    model_description,
)
from crnn.training.truncated import WindowedModel
from crnn.training.windows import Data, Loss, Tbptt

_KIND = "training run"


class Snapshots:
    """A run whose state can be taken, saved and taken up again: what `Trainer` has of that."""

    model: Any
    data: Data
    optimizer: Optimizer
    epochs: int
    start: Position
    position: Position
    history: History
    stopped: bool

    _more: int  # epochs that were given
    _loss: Loss
    _tbptt: Tbptt
    _stateful: bool
    _accumulate: int
    _checkpoint_every: int | None
    _validation: Data | None
    _windowed: WindowedModel
    _meters: Meters | None
    _metrics: list[str]  # their names
    _callbacks: Sequence[Callback]
    _stopper: Callback | None  # the callback that stopped the run
    _told: tuple[Told | None, Told | None] | None  # of the data and the validation data
    _arguments: dict[str, Any]  # of a run that has begun
    _whole: bool  # no update, and no end of an epoch, is half done

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot of all that a run is made of, besides the data and the arguments.

        Raises
        ------
        RuntimeError
            A second Ctrl-C broke off an update.
        """
        if not self._whole:
            raise RuntimeError("the run was broken off in the middle of an update")
        own = saved_callbacks(self._callbacks)
        stopper = [i for i, callback in enumerate(own) if callback is self._stopper]
        return {
            "position": dict(vars(self.position)),
            "start": {"epoch": self.start.epoch, "update": self.start.update},
            "arguments": (self._arguments or self._describe()) | self._model_told(),
            "history": {name: list(column) for name, column in self.history.columns.items()},
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "callbacks": states_of(self._callbacks),
            "tapes": self._windowed.state_dict(),
            "metrics": {} if self._meters is None else self._meters.state_dict(),
            "stopped": self.stopped,
            "stopper": stopper[0] if stopper else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put the run where another one with the same arguments was.

        `epochs`, the learning rate that the optimizer was made with and the arguments of callbacks
        may differ from the ones that the run began with: they are taken up, with a
        `crnn.notices.ResumeWarning`.

        Raises
        ------
        ValueError
            The state is not one of such a run, or data, loss, optimizer or windows differ. Nothing
            is loaded then.
        """
        before = self.start, self.position, self.epochs, self.stopped, self._told
        kept = self.model.state_dict(), self.optimizer.state_dict(), CallbackBackup(self._callbacks)
        try:
            said = self._load(state)
        except BaseException as error:
            self.start, self.position, self.epochs, self.stopped, self._told = before
            self.model.load_state_dict(kept[0])
            self.optimizer.load_state_dict(kept[1])
            kept[2].restore()
            if isinstance(error, Exception) and not isinstance(error, ValueError):
                raise ValueError(
                    f"state: expected what Trainer.state_dict returned: {error}"
                ) from error
            raise
        for words in said:
            notices.warn(f"resume: {words}", notices.ResumeWarning)

    def _load(self: Any, state: Mapping[str, Any]) -> list[str]:
        """Load a state, or raise when some of it is loaded; say what is taken up."""
        if not isinstance(state["stopped"], bool):
            raise ValueError(f"stopped: expected True or False, got {state['stopped']!r:.60}")
        position, then = Position.of(state["position"]), state.get("arguments", {})
        self.start = check_start(state.get("start", {"epoch": 0, "update": 0}), position)
        history = check_history(state["history"], self.start, position, self._metrics)
        self._told = None
        now = self._describe()
        said: list[str] = compare(then, now | self._model_told())
        self.position, self.epochs = position, self.start.epoch + self._more
        self.stopped = state["stopped"]
        walks = self._windowed.remade(state["tapes"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.optimizer.epochs = position.epoch
        said += load_states(self._callbacks, state["callbacks"], self)
        said += self._take_rate(then)
        said += self._take_stop(state.get("stopper"), bool(said))
        self._windowed.hold(walks)
        if self._meters is not None:
            self._meters.load_state_dict(
                state.get("metrics", {}), position.metrics, begun=position.steps > 0
            )
        self.history, self._arguments, self._whole = history, now, True
        return said

    def _take_rate(self, then: Mapping[str, Any]) -> list[str]:
        """Take up another learning rate, unless a schedule sets it; say so."""
        given = self.optimizer.given_lr
        scheduled = any(isinstance(callback, Schedule) for callback in self._callbacks)
        if scheduled or then.get("lr", given) == given:
            return []
        self.optimizer.lr = given
        return [f"lr: {given!r} now, {then['lr']!r} when the run began"]

    def _take_stop(self, stopper: Any, changed: bool) -> list[str]:
        """Go on with a run that was stopped, if who stopped it would not do so now."""
        if not self.stopped:
            return []
        own = saved_callbacks(self._callbacks)
        known = isinstance(stopper, int) and 0 <= stopper < len(own)
        self._stopper = own[stopper] if known else None
        if self._stopper is not None and not self._stopper.still_stops(self):
            self.stopped, self._stopper = False, None
        if self.stopped and changed:
            return [f"the run was stopped after epoch {self.position.epoch} and stays so"]
        return []

    def save(self, path: Path) -> None:
        """Write a snapshot to a file, in one step: a killed process leaves the one before."""
        archive.write(path, _KIND, self.state_dict())

    def resume(self, path: Path) -> None:
        """Put the run where the one was that `save` wrote.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ValueError
            It is damaged, or of a run with other arguments. Nothing is loaded then.
        """
        state = archive.read(path, _KIND)
        with archive.blaming(path):
            self.load_state_dict(state)

    def _look(self) -> tuple[Told | None, Told | None]:
        """Look at the data, once; raises what is wrong with them."""
        if self._told is None:
            look = Look(self.model, self._loss, self._tbptt, self._stateful)
            data = look.training(self.data, self.start.epoch)
            validation = self._validation
            told = None if validation is None else look.validation(validation, self.start.epoch)
            self._told = data, told
        return self._told

    def _model_told(self) -> dict[str, Any]:
        """Model and loss, as the file of the run has them."""
        return {"model": model_description(self.model), "loss": loss_name(self._loss)}

    def _describe(self) -> dict[str, Any]:
        """What the run is made with, as its file has it."""
        data, validation = self._look()
        return {
            "epochs": self._more,
            "lr": self.optimizer.given_lr,
            "optimizer": self.optimizer.settings(),
            "tbptt": self._tbptt,
            "stateful": self._stateful,
            "accumulate": self._accumulate,
            "checkpoint_every": self._checkpoint_every,
            "metrics": self._metrics,
            "data": data.description if data is not None else described(self.data),
            "validation": self._validation is not None
            and (validation.description if validation is not None else described(self._validation)),
        }
