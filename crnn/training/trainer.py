"""A training run that can be stopped after any update and resumed with bit-identical results.

The state of a run has the parameters, the states of optimizer and callbacks, the position in the
data, the recurrent state there, the inputs of the tapes that truncated BPTT needs, and the sums of
the epoch so far. This requires data whose order is a function of the epoch: if `data` has a method
``set_epoch(epoch)``, it is called before each pass with the number of epochs done.
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
from crnn.common.checks import check_flag, check_size
from crnn.layers.base.adapted import check_one_input
from crnn.layers.base.protocol import LayerLike
from crnn.layers.compose.checkpointed import Checkpointed
from crnn.metrics.base import Metrics
from crnn.optim import Optimizer
from crnn.training import windows
from crnn.training.argument_checks import check_run
from crnn.training.data_checks import EpochChecksum
from crnn.training.evaluation import Evaluation, count_updates, evaluated
from crnn.training.interrupts import Interrupts
from crnn.training.metering import Meters, added_totals
from crnn.training.nonfinite import locate_nonfinite_backward, locate_nonfinite_forward
from crnn.training.pending_update import PendingUpdate
from crnn.training.snapshots import Snapshots
from crnn.training.tbptt import UpdatePass, WindowedModel, check_tbptt
from crnn.training.windows import Data, Item, Loss, Window


class Trainer(Snapshots):
    """A training run, which can be stopped, saved and resumed. Callbacks receive it.

    Parameters
    ----------
    model : layer
        The model that `optimizer` updates. Its gradients are set to zero at the start. Layers with
        ``trainable = False`` stay as they are; those before the first trainable layer cost no more
        than in a prediction.
    data : iterable of (x, target), (x, target, lengths) or (x, target, lengths, extras)
        Read once per epoch: a list, or an object with ``__iter__`` (and with ``set_epoch`` if its
        order changes from epoch to epoch). x is (B, T, ...), or a tuple of arrays for a model that
        reads several arrays. lengths is (B,) or None: the number of valid steps of each row of x
        (for a `crnn.TeacherForcing` of the target). Memory-mapped arrays are read window by window.
        extras is a mapping with any of "mask" and "resets", (B, T), for the model's forward pass,
        and "weights", (B, T), for the loss. A masked step has a loss unless its weight is 0.
    loss : callable
        ``loss(y, target, lengths)`` returns the mean over the valid steps and its gradient with
        respect to y, as the functions of `crnn.losses` do. If items have weights it is called with
        ``weights=...``; for y (B, K), without steps, lengths are None. A mean with another divisor,
        such as the sum of class weights, has to be returned as a `crnn.losses.Mean`, as crnn's own
        losses do. A plain float counts as the mean over the valid steps.
    optimizer : optimizer of `crnn.optim`
        Made for `model`.
    epochs : int
        Number of passes over the data. A new run with the same optimizer continues the previous
        one: it has `epochs` more epochs, with the order of data, the random masks, the schedules
        and the epoch numbers of later epochs.
    tbptt : (k1, k2), optional
        Truncated backpropagation through time. Each item is cut into windows of k1 steps, and the
        state is carried from one window to the next. Each window gives one update: the gradient of
        its losses, computed over the last k2 steps. For k2 < k1 the losses before these steps train
        only the head: the layers of a Sequential after the last layer with a state. For k2 > k1 the
        gradient also reaches the k2 - k1 steps before the window, with the values that were
        computed then. The last window of an item may be shorter than k1. The memory depends on k1
        and k2, not on T. None: an item is one window.
    stateful : bool, default False
        True: each item continues the item before it, row b continues row b. This trains on streams
        longer than the memory, from an iterator. The state is zero at the start of each epoch. For
        k2 > k1 the gradient also reaches earlier items. This is exact if all items but the last
        one have the same length; otherwise fewer than k2 steps may be used.
    accumulate : int, default 1
        Number of items for one update. The gradient is that of the mean over all of them,
        sum(w loss) / sum(w), as if they were one batch, with the memory of one item. The last
        update of an epoch may have fewer items. Must be 1 with `tbptt` or `stateful`.
    checkpoint_every : int, optional
        The forward pass stores the state of every n-th step, and the backward pass computes the
        steps between them again: the same gradients in less memory, and about a third more time
        (see `crnn.Checkpointed`). Not possible if k1 and k2 differ. None: all steps are stored.
    validation : iterable, optional
        Data like `data`, evaluated after every epoch in the same windows. They are read once and
        checked before the first update, unless they are an iterator.
    metrics : mapping of str to metric, optional
        Further values to compute, such as ``{"accuracy": crnn.metrics.accuracy}``. A metric is a
        function ``f(y, target, lengths, weights=...)`` that returns (sum, weight), or an object
        with ``start()``, ``add(y, target, lengths, weights)`` and ``value()``; see `crnn.metrics`.
        Each metric has two columns in the history. "name" is computed from the outputs of the
        training passes, which come before each update and have dropout. "val_name" is computed on
        the validation data after the epoch (None without validation data).
    callbacks : sequence of Callback, default ()
        Called in this order at the start, after each update and each epoch, and at the end; see
        `crnn.callbacks` for schedules of the learning rate, early stopping, the best parameters and
        checkpoints. Callbacks that save the run are called last, and first at the end. A callback
        that was used in an earlier run is reset.

    Attributes
    ----------
    model, data, optimizer
        The arguments.
    epochs : int
        Number of the last epoch of the run: the argument `epochs`, and the epochs of earlier runs
        with the same optimizer.
    start : Position
        Position at which the run began: after ``start.epoch`` epochs and ``start.update`` updates
        of earlier runs with the same optimizer.
    position : Position
        Current position: ``position.epoch`` epochs and ``position.update`` updates are done,
        earlier runs included.
    history : History
        Table of the epochs done.
    norm : float
        Norm of the gradient of the last update, before clipping.
    stopped : bool
        True after a call of `stop`.
    finished : bool
        True if all epochs are done or the run was stopped.
    mean_loss : float
        Mean loss of this epoch so far.
    metrics : dict
        Metrics of this epoch so far.
    update_pass : UpdatePass or None
        Pieces of the window and the gradient dy of the current update; None between updates.

    Methods
    -------
    run()
        Train up to the last epoch.
    stop()
        Stop the run after the current update or epoch.
    total_updates()
        Return the number of updates of the whole run.
    save(path), resume(path)
        Save the run to a file, and restore it from a file.
    state_dict(), load_state_dict(state)
        Return and restore the state of the run.

    See Also
    --------
    crnn.fit : Training in one call.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> model = crnn.Sequential([crnn.GRU(2, 4, seed=0), crnn.Dense(4, 1, seed=1)])
    >>> data = [(np.ones((3, 5, 2), "f"), np.ones((3, 5, 1), "f"))]
    >>> run = crnn.Trainer(model, data, loss=crnn.losses.mse, epochs=20,
    ...                    optimizer=crnn.optim.Adam(model, lr=0.05))
    >>> history = run.run()
    >>> history.loss[-1] < history.loss[0], run
    (True, <Trainer of Sequential with Adam: 20 of 20 epochs, 20 updates>)
    """

    def __init__(
        self,
        model: LayerLike,
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
        self._added_epochs = check_size("epochs", epochs)
        self._meters = None if metrics is None else Meters(metrics)
        self._metrics = list(metrics or ())
        self.history, self.norm, self.stopped = History(metrics=self._metrics), math.nan, False
        self._loss, self._tbptt = loss, tbptt and check_tbptt(tbptt)
        self._stateful = check_flag("stateful", stateful)
        self._accumulate = check_size("accumulate", accumulate)
        if self._accumulate > 1 and (tbptt or stateful):
            raise ValueError(
                "accumulate: expected 1 with tbptt or stateful, where each window gives one "
                f"update, got {accumulate}"
            )
        trained = model if checkpoint_every is None else self._checkpointed(checkpoint_every)
        self._windowed = WindowedModel(trained, self._tbptt, self._stateful)
        self._callbacks, self._checkpoint_every = tuple(callbacks), checkpoint_every
        self._current_callback: Callback | None = None
        self._stopped_by, self._arguments = None, {}
        self._move_to_start()
        self._pending = PendingUpdate()
        self._is_consistent = True  # False if an update or the end of an epoch was interrupted
        self.callbacks_complete = True  # False if a callback was interrupted
        self._clock, self._item = 0.0, 0

    def _move_to_start(self) -> None:
        """Set the position to the end of earlier runs with the same optimizer."""
        self._summaries = None
        self.start = Position(epoch=self.optimizer.epochs, update=self.optimizer.steps)
        self.position, self.epochs = self.start, self.start.epoch + self._added_epochs

    def _checkpointed(self, every: int) -> Any:
        """Return the model as a layer that stores only the state of every n-th step."""
        if self._tbptt and self._tbptt[0] != self._tbptt[1]:
            raise ValueError(
                "checkpoint_every: expected None where k1 and k2 differ (tapes of earlier windows "
                f"and the head alone cannot be computed again), got {every}"
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
        """Mean loss of this epoch so far."""
        return self.position.total / (self.position.weight or 1.0)

    @property
    def validates(self) -> bool:
        """Whether the run has validation data."""
        return self._validation is not None

    @property
    def metrics(self) -> dict[str, Any]:
        """Metrics of this epoch so far by name; only metrics that are computed from sums."""
        return {} if self._meters is None else self._meters.running(self.position.metrics)

    @property
    def finished(self) -> bool:
        """True if all epochs are done or the run was stopped."""
        return self.stopped or self.position.epoch >= self.epochs

    @property
    def update_pass(self) -> UpdatePass | None:
        """Pieces of the window and the gradient dy of this update; None between updates."""
        last = self._pending
        return None if last.window_pass is None else UpdatePass(last.window_pass.pieces, last.dy)

    def total_updates(self) -> int:
        """Return the number of updates of the whole run. The data are read once, if necessary.

        Returns
        -------
        int

        Raises
        ------
        ValueError
            If the data are an iterator, which can be read only once.
        """
        if hasattr(self.data, "__next__"):
            raise ValueError(
                "total: expected the number of updates, because data that are an iterator can be "
                "read only once and cannot be counted, got None"
            )
        summary, _ = self._check_data()
        if summary is None:
            updates = count_updates(
                self.data, self._tbptt, accumulate=self._accumulate, model=self.model
            )
        else:
            updates = -(-summary.windows // self._accumulate)
        return (self.epochs - self.start.epoch) * updates

    def stop(self) -> None:
        """Stop the run after the current update or epoch."""
        self.stopped, self._stopped_by = True, self._current_callback

    def run(self) -> History:
        """Train from the current position to the last epoch, and return the history.

        The data are checked before the first update: training data that are lists or objects of
        `crnn.data`, and validation data that are not an iterator.

        Returns
        -------
        History
            Table with one row per epoch.

        Raises
        ------
        ValueError, TypeError, FloatingPointError
            As for `crnn.fit`.
        KeyboardInterrupt
            On Ctrl-C, after the current update. The run can then be saved, or continued by another
            call of `run`. A second Ctrl-C is raised immediately.
        """
        self._begin()
        self.optimizer.clear_grads()
        self._pending = PendingUpdate()
        with Interrupts() as interrupts, self.optimizer.in_run():
            if self._callbacks:
                self._call_callbacks("on_start")
            try:
                while not (self.stopped or self.position.epoch >= self.epochs):
                    self._run_epoch(interrupts.check)
            except BaseException:
                if self._pending.windows:
                    self._discard_pending()
                raise
            finally:
                if self._callbacks:
                    self._call_callbacks("on_end")
        return self.history

    def _begin(self) -> None:
        """Begin the run, unless it has begun: check the data and reset the callbacks."""
        self.optimizer.check_model(self.model)
        if self._arguments:
            return
        if (self.optimizer.epochs, self.optimizer.steps) != (self.start.epoch, self.start.update):
            self._move_to_start()
        arguments = self._describe_arguments()
        for callback in self._callbacks:
            callback.on_new_run(self)
        self._arguments = arguments

    # --------------------------------------------------------------------------------- the loop

    def _run_epoch(self, check: Callable[[], None]) -> None:
        """Train to the end of the epoch; `check` is called between updates."""
        self._clock = time.perf_counter()
        windows.set_epoch(self.data, self.position.epoch)
        if self._meters is not None and not self.position.steps:
            self._meters.start()
        for _ in self._updates():
            if self._callbacks:
                self._call_callbacks("on_update")
            check()
            if self.stopped:
                return
        data = self._validation
        self._end_epoch(None if data is None else self._validate(data, check))
        if self._callbacks:
            self._call_callbacks("on_epoch")
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
            after_window=check,
        )

    def _updates(self) -> Iterator[None]:
        """Train on the rest of the data of this epoch; yield after each update."""
        begun, number, index, rows = self.position, -1, -1, None
        is_checked = self._summaries is not None and self._summaries[0] is not None
        self._checksum = None if is_checked else EpochChecksum(self.data, begun)
        for number, item in enumerate(windows.items_of(self.data, "data", self._tbptt, self.model)):
            if self._stateful:
                rows = windows.check_rows(rows, item, "data")
            if self._checksum is not None:
                self._checksum.add(number, item)
            if number < begun.item:
                continue
            done = begun.window if number == begun.item else 0
            for index, window in enumerate(windows.windows_of(item, self._tbptt)):
                if index < done:
                    continue
                self._item = number
                self._add_window(window)
                if self._pending.windows == self._accumulate:
                    self._update(number, index + 1)
                    yield
            if done > index + 1:
                raise ValueError(
                    f"data: item {number}: expected more than {done} windows, which the saved run "
                    f"has done, got {index + 1}"
                )
            if not self._pending.windows:
                self._end_item(number)
        if number + 1 < begun.item:
            raise ValueError(
                f"data: expected more than {begun.item} items, which the saved run has done, got "
                f"{number + 1}"
            )
        if self._pending.windows:
            self._update(number, index + 1)
            yield

    def _end_item(self, number: int) -> None:
        """Move to the next item."""
        state = self.position.state if self._stateful else None
        self.position = replace(self.position, item=number + 1, window=0, state=state)
        if self._tbptt and not self._stateful:
            self._windowed.clear()

    def _add_window(self, window: Window) -> None:
        """Run forward pass, loss and backward pass of a window, and add it to the next update."""
        place, sums, item = self.position, self._pending, window.item
        try:
            window_pass = self._windowed.forward(window, place.state, place.update, sums.rows)
            y = window_pass.y
            value, dy = windows.loss_of(self._loss, y, item)
            loss = float(value)
            if not math.isfinite(loss):
                raise FloatingPointError(self._nonfinite_loss_text(loss, item))
            steps, weight = windows.weigh(value, y, item)
            metrics = sums.metrics
            if self._meters is not None:
                metrics = added_totals(metrics or {}, self._meters.sums(y, item))
            scaled = dy if self._accumulate == 1 else _scaled(dy, weight)
            self._windowed.backward(window_pass, scaled)
        except BaseException as error:
            self._discard_pending()
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
            window_pass=window_pass,
            metrics=metrics,
        )

    def _update(self, item: int, window: int) -> None:
        """Run one step of the optimizer, and move the position to this item and window."""
        try:
            if self._callbacks:
                self._call_callbacks("on_backward")
            totals = self.position.metrics
            if self._meters is not None:
                totals = added_totals(totals, self._pending.metrics or {})
        except BaseException:
            self._discard_pending()
            raise
        place, lr, sums, now = self.position, self.optimizer.lr, self._pending, time.perf_counter()
        assert sums.window_pass is not None
        self._is_consistent = False
        self._step(sums)
        if self._tbptt:
            self._windowed.store(sums.window_pass)
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
            metrics=totals,
            seen=0 if self._checksum is None else self._checksum.value,
        )
        self._pending = PendingUpdate()
        if self._meters is not None:
            self._meters.commit()
        self._is_consistent = True
        self._clock = now

    def _step(self, sums: PendingUpdate) -> None:
        """Run the step of the optimizer; it changes nothing if a gradient is not finite."""
        if self._accumulate > 1 and sums.weight:
            self.optimizer.scale_grads(1 / sums.weight)
        try:
            self.norm = self.optimizer.step()
        except FloatingPointError as error:
            origin = locate_nonfinite_backward(self.model) or str(error)
            self._discard_pending()
            self._is_consistent = True
            text = self._nonfinite_text("a gradient is not finite", origin)
            raise FloatingPointError(text) from error

    def _discard_pending(self) -> None:
        """Discard the windows of the next update, and set the gradients to zero."""
        self.optimizer.clear_grads()
        self._pending = PendingUpdate()
        if self._meters is not None:
            self._meters.discard()

    def _nonfinite_loss_text(self, loss: float, item: Item) -> str:
        """Return the message of the error for a loss that is not finite."""
        place = self.position
        options = item.options | {"call": place.update, "first_row": self._pending.rows}
        origin = locate_nonfinite_forward(self.model, item, place.state, options)
        return self._nonfinite_text(f"the loss is {loss}", origin)

    def _nonfinite_text(self, problem: str, origin: str) -> str:
        place = self.position
        advice = "A smaller learning rate or a smaller clip_norm may help"
        if place.update == 0 or origin.startswith(("the input", "the target")):
            advice = f"Check the data, item {self._item}, and the initial parameters"
        return (
            f"{problem} after {place.update} updates, in epoch {place.epoch + 1}: {origin}. "
            f"{advice}"
        )

    def _end_epoch(self, validation: Evaluation | None) -> None:
        """Add the row of the epoch to the history, and move the position to the next epoch."""
        place = self.position
        if place.steps == 0:
            raise ValueError("data: expected data with valid steps, got none")
        metrics = {} if self._meters is None else self._metric_values(self._meters, validation)
        self._is_consistent = False
        self.history.append(
            epoch=place.epoch + 1,
            update=place.update,
            loss=place.total / (place.weight or 1.0),
            val_loss=None if validation is None else float(validation),
            lr=place.lr,
            seconds=place.seconds,
            steps_per_second=place.steps / place.seconds,
            **metrics,
        )
        self.position = Position(
            epoch=place.epoch + 1, update=place.update, loss=place.loss, lr=place.lr
        )
        self.optimizer.epochs = self.position.epoch
        if self._tbptt:
            self._windowed.clear()
        self._is_consistent = True

    def _metric_values(self, meters: Meters, validation: Evaluation | None) -> dict[str, Any]:
        """Return the metrics of the epoch as columns of the history."""
        values = meters.values(self.position.metrics)
        after = dict.fromkeys(values) if validation is None else validation.metrics
        return values | {f"val_{name}": value for name, value in after.items()}

    def _call_callbacks(self, event: str) -> None:
        """Call a method of all callbacks.

        Callbacks that save the run come last, so that the saved state is complete. At the end of
        the run they come first, before other callbacks restore parameters.
        """
        at_end = event == "on_end"
        before = self.callbacks_complete
        self.callbacks_complete = before and at_end
        for callback in sorted(self._callbacks, key=lambda callback: callback.saves != at_end):
            self._current_callback = callback
            getattr(callback, event)(self)
        self._current_callback = None
        self.callbacks_complete = before if at_end else True


@underflows
def _scaled(dy: Any, weight: float) -> Any:
    """Return the gradient of a sum from the gradient of a mean with this weight."""
    return np.asarray(dy) * weight
