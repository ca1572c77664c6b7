"""A run of training that can be stopped after any update and taken up again, to the same bits.

Its `state_dict` holds the parameters, what the optimizer and the callbacks keep, the place in the
data, the recurrent state there (and what the tapes can be computed from that truncated BPTT goes
back into), and the epoch's sums so far. That needs data whose order is a function of the epoch:
where `data` has a method ``set_epoch(epoch)``, it is called before each pass with the number of
epochs done.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from crnn.callbacks.base import Callback
from crnn.callbacks.history import History
from crnn.callbacks.run import Position
from crnn.common.arrays import underflows
from crnn.common.checks import check_size
from crnn.layers.base.adapted import check_one_input
from crnn.layers.base.layer import Layer
from crnn.layers.compose.checkpointed import Checkpointed
from crnn.metrics.base import Metrics
from crnn.optim import Optimizer
from crnn.training import windows
from crnn.training.checking import check_run
from crnn.training.evaluation import Evaluation, count_updates, evaluated
from crnn.training.interrupts import Interrupts
from crnn.training.looking import Seen
from crnn.training.metering import Meters, together
from crnn.training.nonfinite import locate_nonfinite_backward, locate_nonfinite_forward
from crnn.training.pending import PendingUpdate
from crnn.training.snapshots import Snapshots
from crnn.training.truncated import UpdatePass, WindowedModel, check_tbptt
from crnn.training.windows import Data, Item, Loss, Window


class Trainer(Snapshots):
    """One run of training, which can be stopped and taken up again.

    It is also what callbacks are given to look at.

    Parameters
    ----------
    model, data, loss, optimizer, epochs, tbptt, stateful, accumulate, checkpoint_every
        As for `fit`.
    validation, metrics, callbacks
        As for `fit`.

    Attributes
    ----------
    model, data, optimizer
        As given.
    epochs : int
        The epoch after which the run ends: those done with the optimizer before, and as many more
        as are given.
    start : Position
        Where the run began: after ``start.epoch`` epochs and ``start.update`` updates of earlier
        runs with the same optimizer.
    position : Position
        Where the run stands: ``position.epoch`` epochs and ``position.update`` updates are done,
        those of earlier runs included.
    history : History
        The epochs done.
    norm : float
        Of the last update's gradient, before clipping.
    stopped : bool
        Whether `stop` was called.
    """

    def __init__(
        self,
        model: Layer,
        data: Data,
        *,
        loss: Loss,
        optimizer: Optimizer,
        epochs: int,
        tbptt: tuple[int, int] | None = None,
        stateful: bool = False,
        accumulate: int = 1,
        checkpoint_every: int | None = None,
        validation: Data | None = None,
        metrics: Metrics | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        check_one_input("model", model)
        check_run(data, loss, optimizer, validation, callbacks)
        optimizer.check_model(model)
        self.model, self.data, self.optimizer = model, data, optimizer
        self._validation = validation
        self._more = check_size("epochs", epochs)
        self._meters = None if metrics is None else Meters(metrics)
        self._metrics = list(metrics or ())
        self.history, self.norm, self.stopped = History(metrics=self._metrics), math.nan, False
        self._loss, self._tbptt = loss, tbptt and check_tbptt(tbptt)
        self._stateful = bool(stateful)
        self._accumulate = check_size("accumulate", accumulate)
        if self._accumulate > 1 and (tbptt or stateful):
            raise ValueError(
                "accumulate: expected 1 with tbptt or stateful, where an update comes between "
                f"windows, got {accumulate}"
            )
        runs = model if checkpoint_every is None else self._checkpointed(checkpoint_every)
        self._windowed = WindowedModel(runs, self._tbptt, self._stateful)
        self._callbacks, self._checkpoint_every = tuple(callbacks), checkpoint_every
        self._telling: Callback | None = None  # the callback that is being told
        self._stopper, self._arguments = None, {}
        self._stand_at_start()
        self._pending = PendingUpdate()
        self._whole = True  # no update, and no end of an epoch, is half done
        self.callbacks_complete = True  # no callback was interrupted
        self._clock, self._item = 0.0, 0

    def _stand_at_start(self) -> None:
        """Stand where the runs before ended that had the same optimizer."""
        self._told = None
        self.start = Position(epoch=self.optimizer.epochs, update=self.optimizer.steps)
        self.position, self.epochs = self.start, self.start.epoch + self._more

    def _checkpointed(self, every: int) -> Any:
        """Return what is run forward and back in place of the model: it keeps fewer steps."""
        if self._tbptt and self._tbptt[0] != self._tbptt[1]:
            raise ValueError(
                "checkpoint_every: expected None where k1 and k2 differ (what is computed again "
                f"must be as it was, and the head is inside), got {every}"
            )
        return Checkpointed(self.model, check_size("checkpoint_every", every))

    def __repr__(self) -> str:
        try:
            place = self.position
            names = type(self.model).__name__, type(self.optimizer).__name__
            text = f" of {names[0]} with {names[1]}: {place.epoch} of {self.epochs} epochs, "
            text += f"{place.update} update{'' if place.update == 1 else 's'}"
            text += ", stopped" if self.stopped else ""
        except Exception:  # the object is not complete
            text = ""
        return f"<{type(self).__name__}{text}>"

    @property
    def mean_loss(self) -> float:
        """The mean loss over this epoch so far."""
        return self.position.total / (self.position.weight or 1.0)

    @property
    def metrics(self) -> dict[str, Any]:
        """The metrics over this epoch so far, by name; those that are computed from sums."""
        return {} if self._meters is None else self._meters.running(self.position.metrics)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do: all epochs are done, or `stop` was called."""
        return self.stopped or self.position.epoch >= self.epochs

    @property
    def update_pass(self) -> UpdatePass | None:
        """What was walked back last, while the gradients are those of it; None between updates."""
        last = self._pending
        return None if last.window_pass is None else UpdatePass(last.window_pass.pieces, last.dy)

    def total_updates(self) -> int:
        """Return how many updates the whole run has, having gone through the data once.

        Raises
        ------
        ValueError
            The data can be gone through only once.
        """
        if hasattr(self.data, "__next__"):
            raise ValueError(
                "total: expected the number of updates, because these data can be gone through "
                "only once and so cannot be counted, got None"
            )
        told, _ = self._look()
        if told is None:
            updates = count_updates(
                self.data, self._tbptt, accumulate=self._accumulate, model=self.model
            )
        else:
            updates = -(-told.windows // self._accumulate)
        return (self.epochs - self.start.epoch) * updates

    def stop(self) -> None:
        """End the run after the update, or the epoch, that callbacks are being told of."""
        self.stopped, self._stopper = True, self._telling

    def run(self) -> History:
        """Train up to the last epoch from where the run stands, and return the history.

        Data that can be checked are checked before the first update: of the validation data all
        that can be gone through again, of the others lists and the classes of `crnn.data`.

        Raises
        ------
        ValueError, FloatingPointError, KeyboardInterrupt
            As `fit`. After a KeyboardInterrupt from a single Ctrl-C the run can be saved, or
            gone on with by calling `run` again.
        """
        self._begin()
        self.optimizer.clear_grads()
        self._pending = PendingUpdate()
        with Interrupts() as interrupts, self.optimizer.in_run():
            if self._callbacks:
                self._tell("on_start")
            try:
                while not (self.stopped or self.position.epoch >= self.epochs):
                    self._run_epoch(interrupts.check)
            except BaseException:
                if self._pending.windows:
                    self._drop()  # windows of an update that does not come
                raise
            finally:
                if self._callbacks:
                    self._tell("on_end")
        return self.history

    def _begin(self) -> None:
        """Begin the run, unless it has begun: it goes on from the optimizer's last one."""
        self.optimizer.check_model(self.model)
        if self._arguments:
            return
        if (self.optimizer.epochs, self.optimizer.steps) != (self.start.epoch, self.start.update):
            self._stand_at_start()
        arguments = self._describe()
        for callback in self._callbacks:
            callback.on_new_run(self)
        self._arguments = arguments

    # --------------------------------------------------------------------------------- the loop

    def _run_epoch(self, check: Callable[[], None]) -> None:
        """Train from where the epoch stands to its end; `check` is called between updates."""
        self._clock = time.perf_counter()
        windows.set_epoch(self.data, self.position.epoch)
        if self._meters is not None and not self.position.steps:
            self._meters.start()
        for _ in self._updates():
            if self._callbacks:
                self._tell("on_update")
            check()
            if self.stopped:
                return
        data = self._validation
        self._end_epoch(None if data is None else self._validate(data, check))
        if self._callbacks:
            self._tell("on_epoch")
        check()

    def _validate(self, data: Data, check: Callable[[], None]) -> Evaluation:
        """Evaluate the model on the validation data."""
        windows.set_epoch(data, self.position.epoch)
        return evaluated(
            self.model,
            data,
            self._loss,
            None if self._meters is None else self._meters.copied(),
            name="validation",
            tbptt=self._tbptt,
            stateful=self._stateful,
            between=check,
        )

    def _updates(self) -> Iterator[None]:
        """Go through the rest of the epoch's data, from update to update."""
        begun, number, index, rows = self.position, -1, -1, None
        self._seen = None if self._told and self._told[0] else Seen(self.data, begun)
        for number, item in enumerate(windows.items_of(self.data, "data", self._tbptt, self.model)):
            if self._stateful:
                rows = windows.check_rows(rows, item, "data")
            if self._seen is not None:
                self._seen.add(number, item)
            if number < begun.item:
                continue
            done = begun.window if number == begun.item else 0
            for index, window in enumerate(windows.windows_of(item, self._tbptt)):
                if index < done:
                    continue
                self._item = number
                self._gather(window)
                if self._pending.windows == self._accumulate:
                    self._update(number, index + 1)
                    yield
            if done > index + 1:
                raise ValueError(
                    f"data: item {number}: expected more than {done} windows, where the run was "
                    f"stopped, got {index + 1}"
                )
            if not self._pending.windows:
                self._end_item(number)
        if number + 1 < begun.item:
            raise ValueError(
                f"data: expected more than {begun.item} items, where the run was stopped, got "
                f"{number + 1}"
            )
        if self._pending.windows:
            self._update(number, index + 1)
            yield

    def _end_item(self, number: int) -> None:
        """Go on to the item after this one."""
        state = self.position.state if self._stateful else None
        self.position = replace(self.position, item=number + 1, window=0, state=state)
        if self._tbptt and not self._stateful:
            self._windowed.forget()

    def _gather(self, window: Window) -> None:
        """Forward, loss and backward of a window; for several windows, of their summed losses."""
        place, sums, item = self.position, self._pending, window.item
        try:
            walk = self._windowed.forward(window, place.state, place.update, sums.rows)
            value, dy = windows.loss_of(self._loss, walk.y, item)
            loss = float(value)
            if not math.isfinite(loss):
                raise FloatingPointError(self._blame(f"the loss is {loss}", item))
            steps, weight = windows.weigh(value, walk.y, item)
            metrics, outputs = sums.metrics, sums.outputs
            if self._meters is not None:
                metrics = together(metrics, self._meters.sums(walk.y, item))
                outputs = [*outputs, (walk.y, item)] if self._meters.keep_outputs else outputs
            self._windowed.backward(walk, dy if self._accumulate == 1 else _times(dy, weight))
        except BaseException as error:
            self._drop()
            error.add_note(f"in data, item {self._item}")
            raise
        self._pending = PendingUpdate(
            dy=dy,
            windows=sums.windows + 1,
            rows=sums.rows + item.shape[0],
            steps=sums.steps + steps,
            weight=sums.weight + weight,
            total=sums.total + loss * weight,
            loss=loss,
            window_pass=walk,
            metrics=metrics,
            outputs=outputs,
        )

    def _update(self, item: int, window: int) -> None:
        """One step of the optimizer from what was gathered, up to this item and window."""
        try:
            if self._callbacks:
                self._tell("on_backward")
            if self._meters is not None:
                for output in self._pending.outputs:
                    self._meters.add_to_objects(*output)
        except BaseException:
            self._drop()
            raise
        place, lr, sums, now = self.position, self.optimizer.lr, self._pending, time.perf_counter()
        assert sums.window_pass is not None
        self._whole = False
        self._step(sums)
        if self._tbptt:
            self._windowed.keep(sums.window_pass)
        several = self._accumulate > 1
        self.position = replace(
            place,
            item=item,
            window=window,
            state=sums.window_pass.pieces[-1].after,
            update=place.update + 1,
            total=place.total + sums.total,
            weight=place.weight + sums.weight,
            steps=place.steps + sums.steps,
            seconds=place.seconds + now - self._clock,
            loss=sums.total / (sums.weight or 1.0) if several else sums.loss,
            lr=lr,
            metrics=together(place.metrics, sums.metrics) if sums.metrics else place.metrics,
            seen=0 if self._seen is None else self._seen.number,
        )
        self._pending = PendingUpdate()
        self._whole = True
        self._clock = now

    def _step(self, sums: PendingUpdate) -> None:
        """The optimizer's step, which changes nothing where a gradient is not finite."""
        if self._accumulate > 1 and sums.weight:
            self.optimizer.scale_grads(1 / sums.weight)
        try:
            self.norm = self.optimizer.step()
        except FloatingPointError as error:
            what = locate_nonfinite_backward(self.model) or str(error)
            self._drop()
            self._whole = True
            raise FloatingPointError(self._where("a gradient is not finite", what)) from error

    def _drop(self) -> None:
        """Leave the gradients as they were before the update."""
        self.optimizer.clear_grads()
        self._pending = PendingUpdate()

    def _blame(self, what: str, item: Item) -> str:
        place = self.position
        options = item.options | {"call": place.update, "first_row": self._pending.rows}
        return self._where(what, locate_nonfinite_forward(self.model, item, place.state, options))

    def _where(self, what: str, why: str) -> str:
        place = self.position
        advice = "A smaller learning rate or a smaller clip_norm may help"
        if place.update == 0 or why.startswith(("the input", "the target")):
            advice = f"Look at the data, item {self._item}, and at what the model began with"
        return f"{what} after {place.update} updates, in epoch {place.epoch + 1}: {why}. {advice}"

    def _end_epoch(self, validation: Evaluation | None) -> None:
        place = self.position
        if place.steps == 0:
            raise ValueError("data: expected data with valid steps, got none")
        self._whole = False
        self.history.append(
            epoch=place.epoch + 1,
            update=place.update,
            loss=place.total / (place.weight or 1.0),
            val_loss=None if validation is None else float(validation),
            lr=place.lr,
            seconds=place.seconds,
            steps_per_second=place.steps / place.seconds,
            **({} if self._meters is None else self._metric_values(self._meters, validation)),
        )
        self.position = Position(
            epoch=place.epoch + 1, update=place.update, loss=place.loss, lr=place.lr
        )
        self.optimizer.epochs = self.position.epoch
        if self._tbptt:
            self._windowed.forget()
        self._whole = True

    def _metric_values(self, meters: Meters, validation: Evaluation | None) -> dict[str, Any]:
        """Return the metrics of the epoch as columns of the history."""
        values = meters.values(self.position.metrics)
        after = dict.fromkeys(values) if validation is None else validation.metrics
        return values | {f"val_{name}": value for name, value in after.items()}

    def _tell(self, event: str) -> None:
        """Tell all callbacks; those that write the run down last, but first at the end."""
        ends = event == "on_end"
        before, self.callbacks_complete = self.callbacks_complete, self.callbacks_complete and ends
        for callback in sorted(self._callbacks, key=lambda callback: callback.saves != ends):
            self._telling = callback
            getattr(callback, event)(self)
        self._telling = None
        self.callbacks_complete = before if ends else True


@underflows
def _times(dy: Any, weight: float) -> Any:
    """The gradient of a sum, from that of a mean."""
    return np.asarray(dy) * weight
