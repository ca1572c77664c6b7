"""What every callback has in common."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from crnn.callbacks.run import Run


class Callback:
    """Something that watches a run, or steers it. Override what you need.

    Each of the events is given the run, a `Trainer`.
    """

    #: Whether it writes the run down: such callbacks are told last, when all others are up to date,
    #: and first at the end, before others put the model into its final state.
    saves: ClassVar[bool] = False

    #: Attributes that are arguments. A run that is resumed with others takes them up and says so.
    arguments: ClassVar[tuple[str, ...]] = ()

    def on_new_run(self, run: Run) -> None:
        """Begin afresh: before a new run, and before the state of a saved one is loaded.

        What `state_dict` shows becomes what it was before the first run that this object was used
        in. Override it to forget, or to keep, something else.
        """
        if not hasattr(self, "_fresh"):
            self._fresh = _state_of(self)
        elif self._fresh:
            self.load_state_dict(copy.deepcopy(self._fresh))

    def on_start(self, run: Run) -> None:
        """Before the first update, and before the first one after resuming."""

    def on_backward(self, run: Run) -> None:
        """Before each update, once the gradients are there.

        ``run.model.grads`` holds them, ``run.update_pass`` what they are of.
        """

    def on_update(self, run: Run) -> None:
        """After each update."""

    def on_epoch(self, run: Run) -> None:
        """After each epoch: its row is in ``run.history``, its number is ``run.position.epoch``."""

    def on_end(self, run: Run) -> None:
        """When the run ends, also when an exception ends it: ``run.finished`` tells."""

    def still_stops(self, run: Run) -> bool:
        """Whether a resumed run that this callback had stopped stays so.

        By default it does. A callback with other arguments than then may decide otherwise.
        """
        return True

    def state_dict(self) -> dict[str, Any]:
        """What it remembers from update to update, of types that a checkpoint holds; or nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember what `state_dict` returned."""


def remembering(callbacks: Sequence[Callback]) -> list[Callback]:
    """Return those callbacks that remember something or have arguments to tell."""
    return [
        callback
        for callback in callbacks
        if type(callback).arguments or type(callback).state_dict is not Callback.state_dict
    ]


def states_of(callbacks: Sequence[Callback]) -> list[dict[str, Any]]:
    """Return the arguments of callbacks, and what they remember."""
    return [
        {
            "callback": type(callback).__name__,
            "arguments": _arguments(callback),
            "state": callback.state_dict(),
        }
        for callback in remembering(callbacks)
    ]


def _state_of(callback: Callback) -> dict[str, Any]:
    """Return what a callback remembers; nothing, if it cannot tell before it is started."""
    try:
        return copy.deepcopy(callback.state_dict())
    except Exception:
        return {}


def _arguments(callback: Callback) -> dict[str, Any]:
    return {name: getattr(callback, name) for name in type(callback).arguments}


class Kept:
    """What callbacks are before they are told something that may go wrong."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._kept = [(one, _contents(one), _state_of(one)) for one in callbacks]

    def put_back(self) -> None:
        """Make all callbacks what they were: their state, their attributes, and what is in them."""
        for callback, contents, state in self._kept:
            if state:
                with suppress(Exception):  # what follows puts back what this one broke off
                    callback.load_state_dict(state)
            vars(callback).clear()
            for name, (value, content) in contents.items():
                vars(callback)[name] = value
                if isinstance(value, list):
                    value[:] = content
                elif isinstance(value, dict | set):
                    value.clear()
                    value.update(content)


def _contents(callback: Callback) -> dict[str, tuple[Any, Any]]:
    """Return the attributes of a callback, each with a copy of it if it is a container."""
    return {
        name: (value, copy.copy(value) if isinstance(value, list | dict | set) else None)
        for name, value in vars(callback).items()
    }


def load_states(
    callbacks: Sequence[Callback], states: Sequence[Mapping[str, Any]], run: Run
) -> list[str]:
    """Undo `states_of`, in callbacks of the same classes in the same order.

    Parameters
    ----------
    callbacks : sequence of Callback
    states : sequence
        What `states_of` returned; files of earlier versions leave out callbacks that remembered
        nothing, and all arguments.
    run : Run
        For which the callbacks begin afresh first.

    Returns
    -------
    list of str
        Which arguments differ, in words.

    Raises
    ------
    ValueError
        They are others, or one of them refuses its state. The callbacks are to be put back then.
    """
    if not isinstance(states, list | tuple) or not all(map(_is_entry, states)):
        raise ValueError(f"callbacks: expected what a run saved, got {states!r:.100}")
    for callback in callbacks:
        callback.on_new_run(run)
    said = []
    for callback, entry in _paired(callbacks, states):
        said += _changed(callback, entry.get("arguments", _arguments(callback)))
        try:
            if entry["state"]:
                callback.load_state_dict(entry["state"])
        except Exception as error:
            name = type(callback).__name__
            raise ValueError(f"callbacks: expected what a run saved of {name}: {error}") from error
    return said


def _changed(callback: Callback, then: Mapping[str, Any]) -> list[str]:
    """Say which arguments of a callback have changed since then."""
    return [
        f"{type(callback).__name__}: {name}={now!r:.60} now, "
        + (f"{then[name]!r:.60} when the run began" if name in then else "without it then")
        for name, now in _arguments(callback).items()
        if name not in then or now != then[name]
    ]


def _paired(
    callbacks: Sequence[Callback], states: Sequence[Mapping[str, Any]]
) -> list[tuple[Callback, Mapping[str, Any]]]:
    """Return callbacks with their entries in a file.

    A callback that remembers nothing at first may be without one. In a file of this version it is a
    new one: all its arguments are.
    """
    left, pairs = list(states), []
    told = any("arguments" in entry for entry in states) or not states
    for callback in remembering(callbacks):
        if left and left[0]["callback"] == type(callback).__name__:
            pairs.append((callback, left.pop(0)))
        elif vars(callback).get("_fresh", _state_of(callback)):
            left = [*states]
            break
        elif told:
            pairs.append((callback, {"arguments": {}, "state": {}}))
    else:
        if not left:
            return pairs
    raise ValueError(
        f"callbacks: expected those of the run that was saved, "
        f"{', '.join(entry['callback'] for entry in states) or 'none'}, "
        f"got {', '.join(type(one).__name__ for one in remembering(callbacks)) or 'none'}"
    )


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, Mapping)
        and isinstance(entry.get("callback"), str)
        and isinstance(entry.get("state"), Mapping)
        and isinstance(entry.get("arguments", {}), Mapping)
    )
