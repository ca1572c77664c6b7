"""Base class of callbacks, and how their state is saved, restored and compared."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from crnn.callbacks.run import Run
from crnn.common.representation import call_text


class Callback:
    """Base class of callbacks: objects that observe or control a training run.

    Override the methods of the events that you need. Each of them receives the run, a
    `crnn.Trainer`.

    Attributes
    ----------
    saves : bool
        Class attribute, False by default. True for callbacks that save the run. They are called
        after all other callbacks, so that the saved state is complete. At the end of a run they are
        called first, before other callbacks restore parameters.
    arguments : tuple of str
        Class attribute, () by default: names of attributes that are constructor arguments. If a
        run is resumed with other values, the new values are used, with a
        `crnn.training.ResumeWarning`.

    Methods
    -------
    on_new_run(run)
        Reset the callback before a new run.
    on_start(run)
        Called before the first update, and before the first update of a resumed run.
    on_backward(run)
        Called before each update, when the gradients are computed.
    on_update(run)
        Called after each update.
    on_epoch(run)
        Called after each epoch.
    on_end(run)
        Called when the run ends, also after an exception.
    still_stops(run)
        Return whether a run that this callback stopped stays stopped.
    state_dict(), load_state_dict(state)
        Save and restore the state of the callback.

    Examples
    --------
    A callback that stops a run once the loss is small:

    >>> import numpy as np
    >>> import crnn
    >>> class StopBelow(crnn.callbacks.Callback):
    ...     def __init__(self, loss):
    ...         self.loss = loss
    ...     def on_update(self, run):
    ...         if run.position.loss < self.loss:
    ...             run.stop()
    >>> model = crnn.Dense(2, 1, seed=0)
    >>> data = [(np.ones((1, 3, 2), "f"), np.ones((1, 3, 1), "f"))]
    >>> history = crnn.fit(model, data, loss=crnn.losses.mse, epochs=100, progress=False,
    ...                    optimizer=crnn.optim.SGD(model, lr=0.1), callbacks=[StopBelow(0.01)])
    >>> len(history) < 100, StopBelow(0.01)
    (True, StopBelow(loss=0.01))
    """

    saves: ClassVar[bool] = False
    arguments: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        return call_text(self)

    def on_new_run(self, run: Run) -> None:
        """Reset the callback: before a new run, and before the state of a saved run is loaded.

        By default the state is set to that before the first run in which this object was used.
        Override the method to keep or to reset other attributes.
        """
        if not hasattr(self, "_initial_state"):
            self._initial_state = _state_of(self)
        elif self._initial_state:
            self.load_state_dict(copy.deepcopy(self._initial_state))

    def on_start(self, run: Run) -> None:
        """Run before the first update, and before the first update of a resumed run."""

    def on_backward(self, run: Run) -> None:
        """Run before each update, when the gradients are computed.

        ``run.model.grads`` has the gradients, ``run.update_pass`` the window and the tapes from
        which they were computed. Frozen layers before the first trainable one have no tapes.
        """

    def on_update(self, run: Run) -> None:
        """Run after each update."""

    def on_epoch(self, run: Run) -> None:
        """Run after each epoch.

        ``run.history`` has the row of the epoch, and ``run.position.epoch`` is its number.
        """

    def on_end(self, run: Run) -> None:
        """Run when the run ends, also after an exception.

        ``run.finished`` is True if all epochs are done or the run was stopped.
        """

    def still_stops(self, run: Run) -> bool:
        """Return whether a resumed run that this callback stopped stays stopped.

        True by default. A callback that was made with other arguments may return False.
        """
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return the state that changes during a run, of types that a checkpoint can hold.

        Returns
        -------
        dict
            Empty by default.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""


def saved_callbacks(callbacks: Sequence[Callback]) -> list[Callback]:
    """Return the callbacks that have an entry in a saved run: those with a state or arguments."""
    return [
        callback
        for callback in callbacks
        if type(callback).arguments or type(callback).state_dict is not Callback.state_dict
    ]


def states_of(callbacks: Sequence[Callback]) -> list[dict[str, Any]]:
    """Return the class, the arguments and the state of each callback that is saved."""
    return [
        {
            "callback": type(callback).__name__,
            "arguments": _arguments_of(callback),
            "state": callback.state_dict(),
        }
        for callback in saved_callbacks(callbacks)
    ]


def _state_of(callback: Callback) -> dict[str, Any]:
    """Return a copy of the state of a callback; {} if it has none before `on_start`."""
    try:
        return copy.deepcopy(callback.state_dict())
    except Exception:
        return {}


def _arguments_of(callback: Callback) -> dict[str, Any]:
    return {name: getattr(callback, name) for name in type(callback).arguments}


class CallbackBackup:
    """Copy of the attributes and states of callbacks, taken before an operation that may fail."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._entries = [(one, _attributes_of(one), _state_of(one)) for one in callbacks]

    def restore(self) -> None:
        """Restore the state of all callbacks, their attributes, and the contents of these."""
        for callback, attributes, state in self._entries:
            if state:
                with suppress(Exception):  # the attributes are restored below in any case
                    callback.load_state_dict(state)
            vars(callback).clear()
            for name, (value, content) in attributes.items():
                vars(callback)[name] = value
                if isinstance(value, list):
                    value[:] = content
                elif isinstance(value, dict | set):
                    value.clear()
                    value.update(content)


def _attributes_of(callback: Callback) -> dict[str, tuple[Any, Any]]:
    """Return the attributes of a callback by name, each with a copy if it is a container."""
    return {
        name: (value, copy.copy(value) if isinstance(value, list | dict | set) else None)
        for name, value in vars(callback).items()
    }


def load_states(
    callbacks: Sequence[Callback], states: Sequence[Mapping[str, Any]], run: Run
) -> list[str]:
    """Load states that `states_of` returned into callbacks of the same classes and order.

    Parameters
    ----------
    callbacks : sequence of Callback
    states : sequence
        As `states_of` returned it. Files of earlier versions have no arguments, and no entries for
        callbacks without a state.
    run : Run
        The run for which the callbacks are reset first.

    Returns
    -------
    list of str
        The arguments that differ, as text.

    Raises
    ------
    ValueError
        If the callbacks are others, or a callback refuses its state. The caller has to restore the
        callbacks then.
    """
    if not isinstance(states, list | tuple) or not all(map(_is_entry, states)):
        raise ValueError(f"callbacks: expected the states of a saved run, got {states!r:.100}")
    for callback in callbacks:
        callback.on_new_run(run)
    changes = []
    for callback, entry in _pairs_of(callbacks, states):
        changes += _changes_of(callback, entry.get("arguments", _arguments_of(callback)))
        try:
            if entry["state"]:
                callback.load_state_dict(entry["state"])
        except Exception as error:
            name = type(callback).__name__
            raise ValueError(f"callbacks: expected a saved state of {name}: {error}") from error
    return changes


def _changes_of(callback: Callback, saved: Mapping[str, Any]) -> list[str]:
    """Return the arguments of a callback that differ from the saved ones, as text."""
    return [
        f"{type(callback).__name__}: {name.removeprefix('given_')}={value!r:.60} now, "
        + (f"{saved[name]!r:.60} when the run began" if name in saved else "not set when it began")
        for name, value in _arguments_of(callback).items()
        if name not in saved or value != saved[name]
    ]


def _pairs_of(
    callbacks: Sequence[Callback], states: Sequence[Mapping[str, Any]]
) -> list[tuple[Callback, Mapping[str, Any]]]:
    """Return each callback with its entry in a saved run.

    A callback whose initial state is empty may have no entry. In a file of this version the
    callback is then a new one, and all its arguments count as changed.
    """
    remaining, pairs = list(states), []
    has_arguments = any("arguments" in entry for entry in states) or not states
    for callback in saved_callbacks(callbacks):
        if remaining and remaining[0]["callback"] == type(callback).__name__:
            pairs.append((callback, remaining.pop(0)))
        elif vars(callback).get("_initial_state", _state_of(callback)):
            remaining = [*states]
            break
        elif has_arguments:
            pairs.append((callback, {"arguments": {}, "state": {}}))
    else:
        if not remaining:
            return pairs
    raise ValueError(
        f"callbacks: expected those of the saved run, "
        f"{', '.join(entry['callback'] for entry in states) or 'none'}, "
        f"got {', '.join(type(one).__name__ for one in saved_callbacks(callbacks)) or 'none'}"
    )


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, Mapping)
        and isinstance(entry.get("callback"), str)
        and isinstance(entry.get("state"), Mapping)
        and isinstance(entry.get("arguments", {}), Mapping)
    )
