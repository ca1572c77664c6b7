"""Where a run of training stands: between two updates, and within one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

import numpy as np

from crnn.tbptt import Walk

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
    seen: int = 0  # what tells the items seen in this epoch from others; 0 where all data are told

    @classmethod
    def of(cls, given: Any) -> "Position":
        """Return the position that ``vars`` gave, as a file may have it.

        Raises
        ------
        ValueError
            Something is missing or unknown, or is no such number.
        """
        names = [field.name for field in fields(cls)]
        given = {"seen": 0, **given} if isinstance(given, Mapping) else given
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
        return cls(**given)


def check_counted(name: str, value: Any) -> int:
    """Return an integer from 0 to below 2**63."""
    if type(value) is bool or not isinstance(value, int | np.integer) or not 0 <= value < 2**63:
        raise ValueError(f"{name}: expected an integer of at least 0, got {value!r:.60}")
    return int(value)


def check_real(name: str, value: Any, low: float = -math.inf, *, finite: bool = True) -> float:
    """Return a number of at least `low`; NaN and infinity count unless `finite`."""
    if type(value) is bool or not isinstance(value, Real):
        raise ValueError(f"{name}: expected a number, got {value!r:.60}")
    if value < low or (finite and not math.isfinite(value)):
        at_least = "" if low == -math.inf else f" of at least {low:g}"
        raise ValueError(f"{name}: expected a finite number{at_least}, got {value!r:.60}")
    return float(value)


def _is_state(state: Any) -> bool:
    """Whether this is a recurrent state: None, an array of finite numbers, or a nesting of such."""
    if isinstance(state, list | tuple):
        return all(_is_state(part) for part in state)
    if isinstance(state, np.ndarray):
        return state.dtype.kind in "biuf" and bool(np.isfinite(state).all())
    return state is None


@dataclass
class Gathered:
    """The windows whose gradients the next update is made of."""

    windows: int = 0
    rows: int = 0
    steps: int = 0
    weight: float = 0.0
    total: float = 0.0
    loss: float = math.nan  # of the last one
    walk: Walk | None = None  # the last one, and the gradient at its y
    dy: Any = None
