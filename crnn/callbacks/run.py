"""The run that callbacks receive, and the position of a run."""

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
    """Position of a run between two updates. It is replaced as a whole, in one assignment.

    Parameters
    ----------
    epoch : int, default 0
        Number of epochs done.
    item : int, default 0
        Number of items done in this epoch.
    window : int, default 0
        Number of windows done in this item.
    state : nested arrays, optional
        The recurrent state after these windows.
    update : int, default 0
        Number of updates done in all epochs.
    total : float, default 0
        Sum of the losses of this epoch, each multiplied by its weight.
    weight : float, default 0
        Sum of the weights of these losses: the divisors of the means.
    steps : int, default 0
        Number of valid steps in this epoch.
    seconds : float, default 0
        Time of the updates of this epoch.
    loss : float, default nan
        Loss of the last update.
    lr : float, default nan
        Learning rate of the last update.
    metrics : mapping of str to tuple, default {}
        Sums of the metrics over this epoch.
    seen : int, default 0
        Checksum of the items of this epoch up to here, to recognise other data when the run is
        resumed. 0 where all data were checked before the first update.

    Examples
    --------
    >>> import crnn
    >>> position = crnn.training.Position(epoch=2, update=40)
    >>> position.epoch, position.update, position.steps
    (2, 40, 0)
    """

    epoch: int = 0
    item: int = 0
    window: int = 0
    state: Any = None
    update: int = 0
    total: float = 0.0
    weight: float = 0.0
    steps: int = 0
    seconds: float = 0.0
    loss: float = math.nan
    lr: float = math.nan
    metrics: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    seen: int = 0

    @classmethod
    def of(cls, values: Any) -> Position:
        """Return a position from its attributes, as a file of a run has them.

        Parameters
        ----------
        values : mapping of str to value

        Returns
        -------
        Position

        Raises
        ------
        ValueError
            If an attribute is missing or unknown, or has a value that is not valid.
        """
        names = [one.name for one in fields(cls)]
        values = {"seen": 0, "metrics": {}, **values} if isinstance(values, Mapping) else values
        if not isinstance(values, Mapping) or set(values) != set(names):
            raise ValueError(
                f"position: expected a mapping of {', '.join(names)}, got {values!r:.99}"
            )
        for name in _COUNTS:
            check_counted(f"position.{name}", values[name])
        for name in _SUMS:
            check_real(f"position.{name}", values[name], -math.inf if name == "total" else 0)
        for name in _LAST:
            check_real(f"position.{name}", values[name], finite=False)
        if not _is_state(values["state"]):
            raise ValueError("position.state: expected nested arrays of finite numbers, got others")
        check_totals(values["metrics"])
        return cls(**values)


def check_totals(totals: Any) -> None:
    """Check the sums of metrics from a file.

    Raises
    ------
    ValueError
        If they are not a mapping of names to tuples of numbers or arrays.
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
    """Return whether a value is a recurrent state: nested arrays of finite numbers, or None."""
    return all(
        isinstance(part, np.ndarray) and part.dtype.kind in "biuf" and bool(np.isfinite(part).all())
        for part in arrays_of(state)
    )


class Run(Protocol):
    """The part of a training run that callbacks may use; `crnn.Trainer` implements it.

    Attributes
    ----------
    model : layer
        The model that is trained.
    data : iterable
        The data to train on.
    optimizer : Optimizer
        The optimizer of the model.
    epochs : int
        Number of the last epoch of the run.
    start, position : Position
        Position at which the run began, and the current position.
    history : History
        Table of the epochs done.
    norm : float
        Norm of the gradient of the last update, before clipping.
    stopped : bool
        True after a call of `stop`.
    callbacks_complete : bool
        True if all callbacks were called for the last event, and none was interrupted.
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
    callbacks_complete: bool

    @property
    def validates(self) -> bool:
        """Whether the run has validation data."""

    @property
    def mean_loss(self) -> float:
        """Mean loss of this epoch so far."""

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Metrics of this epoch so far by name; only metrics that are computed from sums."""

    @property
    def finished(self) -> bool:
        """True if all epochs are done or the run was stopped."""

    @property
    def update_pass(self) -> Any:
        """Pieces of the window and the gradient dy of this update; None between updates."""

    def total_updates(self) -> int:
        """Return the number of updates of the whole run."""

    def stop(self) -> None:
        """Stop the run after this update or epoch."""

    def save(self, path: Path) -> None:
        """Save the run to a file from which `crnn.fit` can resume it."""
