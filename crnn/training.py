"""The training loop: truncated backpropagation through time, exact resumption, history, callbacks.

`fit` is the function for every day. `Trainer`, which it runs, can be stopped after any update, put
into a file and taken up again, and then gives the numbers of a run that was never stopped, to the
last bit: its `state_dict` holds the parameters, what the optimizer keeps, the place in the data,
the recurrent state there, and the epoch's sums so far. That needs data whose order is a function
of the epoch: where `data` has a method ``set_epoch(epoch)``, it is called before each pass with the
number of epochs done.

Letters: ``B`` sequences in a batch, ``T`` steps, ``K`` classes or symbols.
"""

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crnn.callbacks import Callback, Progress
from crnn.history import History
from crnn.interrupts import Interrupts
from crnn.layers.base import Layer, accepts, check_size
from crnn.optim import Optimizer
from crnn.windows import Data, Item, check_tbptt, items_of, set_epoch, valid_steps_of, windows_of

Loss = Callable[[Any, Any, Any], tuple[float, Any]]


def fit(
    model: Layer,
    data: Data,
    *,
    loss: Loss,
    optimizer: Optimizer,
    epochs: int,
    tbptt: tuple[int, int] | None = None,
    validation: Data | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> History:
    """Train a model.

    Parameters
    ----------
    model : layer
        What `optimizer` updates. Its gradients are set to zero at the start.
    data : iterable of (x, target) or (x, target, lengths)
        Gone through once an epoch: a list, or an object with ``__iter__`` (and, if its order
        changes, ``set_epoch``). x is (B, T, ...), lengths (B,).
    loss : callable
        ``loss(y, target, lengths)`` returns the mean over the valid steps and its gradient with
        respect to y, as the functions in `crnn.losses` do.
    optimizer : optimizer of `crnn.optim`
        Made for `model`.
    epochs : int
        How often to go through `data`.
    tbptt : (k1, k2), optional
        Truncated backpropagation through time: each item is cut into windows of k1 steps, with the
        state carried on from one to the next; each window is one step of the optimizer, from its
        own losses, taken back through the last k2 steps. By default an item is one window.
    validation : iterable, optional
        Like `data`; evaluated after every epoch, in the same windows.
    callbacks : sequence of Callback
        Told in this order at the start, after each update and each epoch, and at the end.
    progress : bool
        Show a bar where tqdm is installed and standard error is a terminal (once the run takes more
        than two seconds), else print a line after each epoch.

    Returns
    -------
    History
        A row for each epoch.

    Raises
    ------
    ValueError
        Items of another form, data that give nothing (an exhausted iterator), k1 != k2.
    FloatingPointError
        The loss or a gradient is not finite. The parameters are those after the last good update.
    KeyboardInterrupt
        On Ctrl-C, after the current update; a second Ctrl-C does not wait.

    Examples
    --------
    The lecture's four symbols: after ``h`` comes ``e``, after the first ``l`` another one, after
    the second an ``o``.

    >>> import crnn
    >>> from crnn.data import TextStreams, Vocabulary
    >>> vocabulary = Vocabulary.from_text("hello")
    >>> streams = TextStreams(vocabulary.encode("hello"), batch=1)
    >>> model = crnn.Sequential([crnn.RNN(4, 8, seed=0), crnn.Dense(8, 4, seed=1)])
    >>> history = crnn.fit(model, streams, loss=crnn.losses.cross_entropy, epochs=60,
    ...                    optimizer=crnn.optim.Adam(model, lr=0.05), progress=False)
    >>> logits, _ = model(vocabulary.encode("hell")[None])
    >>> vocabulary.decode(logits[0].argmax(axis=-1))
    'ello'
    """
    told = [*callbacks, Progress()] if progress else callbacks
    trainer = Trainer(
        model,
        data,
        loss=loss,
        optimizer=optimizer,
        epochs=epochs,
        tbptt=tbptt,
        validation=validation,
        callbacks=told,
    )
    return trainer.run()


def evaluate(
    model: Layer,
    data: Data,
    loss: Loss,
    *,
    tbptt: tuple[int, int] | None = None,
    between: Callable[[], None] = lambda: None,
) -> float:
    """Return the mean loss of a model over data, evaluated without dropout and without a tape.

    Parameters
    ----------
    model, data, loss, tbptt
        As for `fit`; every valid step weighs the same.
    between : callable
        Called after every window.
    """
    total, steps = 0.0, 0
    check_tbptt(tbptt)
    for item in items_of(data, "validation", tbptt):
        state = None
        for window in windows_of(item, tbptt):
            y, state = model(window.x, state, lengths=window.lengths)
            value, _ = loss(y, window.target, window.lengths)
            count = valid_steps_of(y, window.lengths)
            total, steps = total + value * count, steps + count
            between()
    if steps == 0:
        raise ValueError("validation: expected data with valid steps, got none")
    return total / steps


def count_updates(data: Data, tbptt: tuple[int, int] | None = None) -> int:
    """Return how many updates an epoch of `fit` has, having gone through the data once."""
    check_tbptt(tbptt)
    return sum(1 for item in items_of(data, "data", tbptt) for _ in windows_of(item, tbptt))


@dataclass(frozen=True)
class Position:
    """Where a run stands between two updates; replaced as a whole, so that it is never half right.

    The attributes are the arguments.
    """

    epoch: int = 0  # epochs done
    item: int = 0  # items of this epoch that are done
    window: int = 0  # windows of this item that are done
    state: Any = None  # the recurrent state after them
    update: int = 0  # updates done, over all epochs
    total: float = 0.0  # sum of this epoch's losses over its valid steps
    steps: int = 0  # how many these are
    seconds: float = 0.0  # what they took
    loss: float = math.nan  # of the last update
    lr: float = math.nan  # of the last update


class Trainer:
    """One run of training, which can be stopped and taken up again.

    It is also what callbacks are given to look at.

    Parameters
    ----------
    model, data, loss, optimizer, epochs, tbptt, validation, callbacks
        As for `fit`.

    Attributes
    ----------
    model, data, optimizer, epochs
        As given.
    position : Position
        Where the run stands: ``position.epoch`` epochs and ``position.update`` updates are done.
    history : History
        The epochs done.
    norm : float
        Of the last update's gradient, before clipping.
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
        validation: Data | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.epochs = check_size("epochs", epochs)
        self.position = Position()
        self.history = History()
        self.norm = math.nan
        self.data, self._validation = data, validation
        self._loss, self._tbptt = loss, check_tbptt(tbptt)
        self._callbacks = tuple(callbacks)
        self._counts_calls = "call" in accepts(type(model).forward)
        self._whole = True  # no update, and no end of an epoch, is half done
        self._clock = 0.0

    @property
    def mean_loss(self) -> float:
        """The mean loss over this epoch so far."""
        return self.position.total / max(1, self.position.steps)

    def run(self) -> History:
        """Train up to the last epoch from where the run stands, and return the history.

        Raises
        ------
        ValueError, FloatingPointError, KeyboardInterrupt
            As `fit`. After a KeyboardInterrupt from a single Ctrl-C the run can be saved, or
            gone on with by calling `run` again.
        """
        self.model.zero_grad()
        with Interrupts() as interrupts:
            self._tell("on_start")
            try:
                while self.position.epoch < self.epochs:
                    self._run_epoch(interrupts.check)
            finally:
                self._tell("on_end")
        return self.history

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot of all that a run is made of, besides the data and the arguments.

        Raises
        ------
        RuntimeError
            A second Ctrl-C broke off an update.
        """
        if not self._whole:
            raise RuntimeError("the run was broken off in the middle of an update")
        return {
            "position": dict(vars(self.position)),
            "history": {name: list(column) for name, column in self.history.columns.items()},
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put the run where another one with the same arguments was.

        Raises
        ------
        ValueError
            The state is not one of such a run. Nothing is loaded then.
        """
        try:
            position, history = Position(**state["position"]), History(state["history"])
            model, optimizer = state["model"], state["optimizer"]
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"state: expected what Trainer.state_dict returned: {error}"
            ) from error
        before = self.model.state_dict()
        self.model.load_state_dict(model)
        try:
            self.optimizer.load_state_dict(optimizer)
        except BaseException:
            self.model.load_state_dict(before)
            raise
        self.position, self.history = position, history

    def _run_epoch(self, check: Callable[[], None]) -> None:
        """Train from where the epoch stands to its end; `check` is called between updates."""
        self._clock = time.perf_counter()
        set_epoch(self.data, self.position.epoch)
        items = items_of(self.data, "data", self._tbptt)
        for item in itertools.islice(items, self.position.item, None):
            windows = windows_of(item, self._tbptt)
            for window in itertools.islice(windows, self.position.window, None):
                self._update(window)
                self._tell("on_update")
                check()
            place = self.position
            self.position = replace(place, item=place.item + 1, window=0, state=None)
        val_loss = None
        if self._validation is not None:
            set_epoch(self._validation, self.position.epoch)
            val_loss = evaluate(
                self.model, self._validation, self._loss, tbptt=self._tbptt, between=check
            )
        self._end_epoch(val_loss)
        self._tell("on_epoch")
        check()

    def _update(self, window: Item) -> None:
        """Forward, loss, backward, and one step of the optimizer."""
        place, lr = self.position, self.optimizer.lr
        options = {"call": place.update} if self._counts_calls else {}
        y, state, tape = self.model.forward(
            window.x, place.state, lengths=window.lengths, **options
        )
        value, dy = self._loss(y, window.target, window.lengths)
        loss = float(value)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} after {place.update} updates, in epoch {place.epoch + 1}: "
                f"a smaller learning rate or a smaller clip_norm may help"
            )
        self.model.backward(tape, dy)
        steps, now = valid_steps_of(y, window.lengths), time.perf_counter()
        self._whole = False
        self.norm = self.optimizer.step()
        self.position = replace(
            place,
            window=place.window + 1,
            state=state,
            update=place.update + 1,
            total=place.total + loss * steps,
            steps=place.steps + steps,
            seconds=place.seconds + now - self._clock,
            loss=loss,
            lr=lr,
        )
        self._whole = True
        self._clock = now

    def _end_epoch(self, val_loss: float | None) -> None:
        place = self.position
        if place.steps == 0:
            raise ValueError("data: expected data with valid steps, got none")
        self._whole = False
        self.history.append(
            epoch=place.epoch + 1,
            update=place.update,
            loss=self.mean_loss,
            val_loss=val_loss,
            lr=place.lr,
            seconds=place.seconds,
            steps_per_second=place.steps / place.seconds,
        )
        self.position = Position(
            epoch=place.epoch + 1, update=place.update, loss=place.loss, lr=place.lr
        )
        self._whole = True

    def _tell(self, event: str) -> None:
        for callback in self._callbacks:
            getattr(callback, event)(self)
