"""The run that callbacks are given, and where it stands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import numpy as np

from crnn.callbacks.history import History
from crnn.common.checks import check_counted, check_real
from crnn.common.nested import arrays_of
from crnn.optim import Optimizer
from crnn.storage.files import Path

_COUNTS = ("epoch", "item", "window", "update", "steps", "seen")
_SUMS = ("total", "weight", "seconds")
_LAST = ("loss", "lr")


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
    total: float = 0.0  # sum of this epoch's losses, each times what it was divided by
    weight: float = 0.0  # sum of these divisors: the total weight, of cross_entropy
    steps: int = 0  # how many valid steps this epoch has had
    seconds: float = 0.0  # what they took
    loss: float = math.nan  # of the last update
    lr: float = math.nan  # of the last update
    metrics: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)  # sums of this epoch
    seen: int = 0  # what tells the items seen in this epoch from others; 0 where all data are told

    @classmethod
    def of(cls, given: Any) -> Position:
        """Return the position that ``vars`` gave, as a file may have it.

        Raises
        ------
        ValueError
            Something is missing or unknown, or is no such number.
        """
        names = [one.name for one in fields(cls)]
        given = {"seen": 0, "metrics": {}, **given} if isinstance(given, Mapping) else given
        if not isinstance(given, Mapping) or set(given) != set(names):
            raise ValueError(
                f"position: expected a mapping of {', '.join(names)}, got {given!r:.99}"
            )
        for name in _COUNTS:
            check_counted(f"position.{name}", given[name])
        for name in _SUMS:
            check_real(f"position.{name}", given[name], -math.inf if name == "total" else 0)
        for name in _LAST:
            check_real(f"position.{name}", given[name], finite=False)
        if not _is_state(given["state"]):
            raise ValueError("position.state: expected nested arrays of finite numbers, got others")
        check_totals(given["metrics"])
        return cls(**given)


def check_totals(totals: Any) -> None:
    """Check the sums of metrics that a file has.

    Raises
    ------
    ValueError
        They are no mapping of names to tuples of finite numbers or arrays.
    """
    if not isinstance(totals, Mapping):
        raise ValueError(f"position.metrics: expected a mapping, got {totals!r:.99}")
    for name, sums in totals.items():
        if not isinstance(sums, tuple):
            raise ValueError(f"position.metrics[{name!r}]: expected a tuple, got {sums!r:.99}")
        for part in sums:
            if not isinstance(part, np.ndarray):
                check_real(f"position.metrics[{name!r}]", part, finite=False)


def _is_state(state: Any) -> bool:
    """Whether this is a recurrent state: None, an array of finite numbers, or a nesting of such."""
    return all(
        isinstance(part, np.ndarray) and part.dtype.kind in "biuf" and bool(np.isfinite(part).all())
        for part in arrays_of(state)
    )


class Run(Protocol):
    """What a callback can see of a run of training, and do to it; `crnn.training.Trainer` is one.

    Attributes
    ----------
    model : layer
    data : iterable
        What the run trains on.
    optimizer : Optimizer
    epochs : int
        The epoch after which the run ends.
    start, position : Position
        Where the run began, and where it stands.
    history : History
        The epochs done.
    norm : float
        Of the last update's gradient, before clipping.
    stopped : bool
        Whether `stop` was called.
    settled : bool
        Whether every callback has been told all that happened.
    """

    model: Any
    data: Any
    optimizer: Optimizer
    epochs: int
    start: Position
    position: Position
    history: History
    norm: float
    stopped: bool
    settled: bool

    @property
    def mean_loss(self) -> float:
        """The mean loss over this epoch so far."""

    @property
    def metrics(self) -> Mapping[str, Any]:
        """The metrics over this epoch so far, by name; those that are computed from sums."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""

    @property
    def update_pass(self) -> Any:
        """What the gradients are of: pieces of a window and dy; None between updates."""

    def total_updates(self) -> int:
        """Return how many updates the whole run has."""

    def stop(self) -> None:
        """End the run after this update or epoch."""

    def save(self, path: Path) -> None:
        """Write the run into a file that `fit` takes it up from."""
