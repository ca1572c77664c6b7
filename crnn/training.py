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
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn.callbacks import Callback, Progress
from crnn.history import History
from crnn.layers.base import Layer, accepts, check_size
from crnn.optim import Optimizer

Loss = Callable[[Any, Any, Any], tuple[float, Any]]
Data = Iterable[tuple[Any, ...]]


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
    for item in _items(data, "validation", tbptt):
        state = None
        for window in _windows(item, tbptt):
            y, state = model(window.x, state, lengths=window.lengths)
            value, _ = loss(y, window.target, window.lengths)
            count = _valid_steps(y, window.lengths)
            total, steps = total + value * count, steps + count
            between()
    if steps == 0:
        raise ValueError("validation: expected data with valid steps, got none")
    return total / steps


def count_updates(data: Data, tbptt: tuple[int, int] | None = None) -> int:
    """Return how many updates an epoch of `fit` has, having gone through the data once."""
    check_tbptt(tbptt)
    return sum(1 for item in _items(data, "data", tbptt) for _ in _windows(item, tbptt))


# --------------------------------------------------------------------------------------------------
# Items and windows
# --------------------------------------------------------------------------------------------------


class _Item(NamedTuple):
    """What a pass over the data gives, or a window of it."""

    x: NDArray[Any]
    target: NDArray[Any]
    lengths: NDArray[Any] | None


def _items(data: Data, name: str, tbptt: tuple[int, int] | None) -> Iterator[_Item]:
    """Go through the data once, checking what comes."""
    empty = True
    for item in data:
        empty = False
        if not isinstance(item, tuple | list) or len(item) not in (2, 3):
            raise ValueError(
                f"{name}: expected items (x, target) or (x, target, lengths), got {item!r:.60}"
            )
        x, target = np.asarray(item[0]), np.asarray(item[1])
        lengths = np.asarray(item[2]) if len(item) == 3 and item[2] is not None else None
        if tbptt and (x.ndim < 2 or target.shape[:2] != x.shape[:2]):
            raise ValueError(
                f"{name}: windows (tbptt) need x (B, T, ...) and target (B, T, ...), "
                f"got shapes {x.shape} and {target.shape}"
            )
        if lengths is not None and (lengths.shape != x.shape[:1] or lengths.dtype.kind not in "iu"):
            raise ValueError(
                f"{name}: expected lengths to be integers of shape (B,) = {x.shape[:1]}, "
                f"got {lengths.dtype} of shape {lengths.shape}"
            )
        yield _Item(x, target, lengths)
    if empty:
        raise ValueError(
            f"{name}: expected items, got none. An iterator can be gone through only once: "
            f"for more than one epoch give a list, or an object with __iter__"
        )


def _windows(item: _Item, tbptt: tuple[int, int] | None) -> Iterator[_Item]:
    """Cut an item into windows along T; those in which no row has a valid step are left out."""
    x, target, lengths = item
    steps = x.shape[1] if x.ndim > 1 else 1
    if len(x) == 0:
        return
    if lengths is not None:
        steps = min(steps, int(lengths.max()))
    if tbptt is None:
        if steps > 0:
            yield item
        return
    for start in range(0, steps, tbptt[0]):
        window = slice(start, min(start + tbptt[0], steps))
        part = None if lengths is None else np.clip(lengths - start, 0, tbptt[0])
        yield _Item(x[:, window], target[:, window], part)


def _valid_steps(y: Any, lengths: NDArray[Any] | None) -> int:
    """Return how many steps of y (B, T, ...) are valid; of a y without steps (B, K), the rows."""
    if y.ndim < 3:
        return int(y.shape[0])
    return int(y.shape[0] * y.shape[1] if lengths is None else lengths.sum())


# --------------------------------------------------------------------------------------------------
# The loop
# --------------------------------------------------------------------------------------------------


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
        """Return all that a run is made of, besides the data and the arguments.

        Raises
        ------
        RuntimeError
            A second Ctrl-C broke off an update.
        """
        if not self._whole:
            raise RuntimeError("the run was broken off in the middle of an update")
        return {
            "position": vars(self.position),
            "history": self.history.columns,
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
        _set_epoch(self.data, self.position.epoch)
        items = _items(self.data, "data", self._tbptt)
        for item in itertools.islice(items, self.position.item, None):
            windows = _windows(item, self._tbptt)
            for window in itertools.islice(windows, self.position.window, None):
                self._update(window)
                self._tell("on_update")
                check()
            place = self.position
            self.position = replace(place, item=place.item + 1, window=0, state=None)
        val_loss = None
        if self._validation is not None:
            _set_epoch(self._validation, self.position.epoch)
            val_loss = evaluate(
                self.model, self._validation, self._loss, tbptt=self._tbptt, between=check
            )
        self._end_epoch(val_loss)
        self._tell("on_epoch")
        check()

    def _update(self, window: _Item) -> None:
        """Forward, loss, backward, and one step of the optimizer."""
        place, lr = self.position, self.optimizer.lr
        options = {"call": place.update} if self._counts_calls else {}
        y, state, tape = self.model.forward(
            window.x, place.state, lengths=window.lengths, **options
        )
        loss, dy = self._loss(y, window.target, window.lengths)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} after {place.update} updates, in epoch {place.epoch + 1}: "
                f"a smaller learning rate or a smaller clip_norm may help"
            )
        self.model.backward(tape, dy)
        steps, now = _valid_steps(y, window.lengths), time.perf_counter()
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


def check_tbptt(tbptt: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return a pair of equal window sizes, or None."""
    if tbptt is None:
        return None
    if not isinstance(tbptt, tuple | list) or len(tbptt) != 2:
        raise ValueError(f"tbptt: expected None or (k1, k2), got {tbptt!r}")
    k1, k2 = (check_size(name, k) for name, k in zip(("k1", "k2"), tbptt, strict=True))
    if k1 != k2:
        raise ValueError(f"tbptt: only k1 == k2 is there so far, got ({k1}, {k2})")
    return k1, k2


def _set_epoch(data: Data, epoch: int) -> None:
    if hasattr(data, "set_epoch"):
        data.set_epoch(epoch)


class Interrupts:
    """Ctrl-C waits for a good moment: it is noted when it comes, and raised by `check`.

    A second Ctrl-C is raised at once. Outside the main thread, or where the program handles the
    signal itself, nothing is changed.
    """

    def __enter__(self) -> "Interrupts":
        self._noted = False
        main = threading.current_thread() is threading.main_thread()
        self._ours = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._ours:
            signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted:
            raise KeyboardInterrupt
        self._noted = True

    def check(self) -> None:
        """Raise the KeyboardInterrupt that is due, if one is."""
        if self._noted:
            self._noted = False
            raise KeyboardInterrupt

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if kind is None:
            self.check()
