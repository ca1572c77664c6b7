"""What every callback has in common."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from crnn.trainer import Trainer


class Callback:
    """Something that watches a run, or steers it. Override what you need.

    Each of the five events is given the run, a `Trainer`.
    """

    #: Whether it writes the run down: such callbacks are told last, when all others are up to date,
    #: and first at the end, before others put the model into its final state.
    saves: ClassVar[bool] = False

    def on_start(self, run: "Trainer") -> None:
        """Before the first update, and before the first one after resuming."""

    def on_backward(self, run: "Trainer") -> None:
        """Before each update, once the gradients are there.

        ``run.model.grads`` holds them, ``run.walked`` what they are of.
        """

    def on_update(self, run: "Trainer") -> None:
        """After each update."""

    def on_epoch(self, run: "Trainer") -> None:
        """After each epoch: its row is in ``run.history``, its number is ``run.position.epoch``."""

    def on_end(self, run: "Trainer") -> None:
        """When the run ends, also when an exception ends it: ``run.finished`` tells."""

    def state_dict(self) -> dict[str, Any]:
        """What it remembers from update to update, of types that a checkpoint holds; or nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember what `state_dict` returned."""


def states_of(callbacks: Sequence[Callback]) -> list[dict[str, Any]]:
    """Return what those callbacks remember that remember something."""
    states = [(type(callback).__name__, callback.state_dict()) for callback in callbacks]
    return [{"callback": name, "state": state} for name, state in states if state]


def load_states(callbacks: Sequence[Callback], states: Sequence[Mapping[str, Any]]) -> None:
    """Undo `states_of`, in callbacks of the same classes in the same order.

    Raises
    ------
    ValueError
        They are others, or one of them refuses its state. Nothing is loaded then.
    """
    remembering = [callback for callback in callbacks if callback.state_dict()]
    names = [type(callback).__name__ for callback in remembering]
    try:
        given = [(entry["callback"], entry["state"]) for entry in states]
    except (KeyError, TypeError) as error:
        raise ValueError(f"callbacks: expected what a run saved: {error}") from error
    if names != [name for name, _ in given]:
        raise ValueError(
            f"callbacks: expected those of the run that was saved, "
            f"{', '.join(name for name, _ in given) or 'none'}, got {', '.join(names) or 'none'}"
        )
    before = [callback.state_dict() for callback in remembering]
    try:
        for callback, (_, state) in zip(remembering, given, strict=True):
            callback.load_state_dict(state)
    except (KeyError, TypeError, ValueError) as error:
        for callback, own in zip(remembering, before, strict=True):
            callback.load_state_dict(own)
        raise ValueError(f"callbacks: expected what a run saved: {error}") from error
