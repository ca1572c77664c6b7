"""Where a run of training stands: between two updates, and within one."""

import math
from dataclasses import dataclass
from typing import Any

from crnn.tbptt import Walk


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
    total: float = 0.0  # sum of this epoch's losses over its valid steps, each by its weight
    weight: float = 0.0  # sum of these weights: without any, how many steps these are
    steps: int = 0  # how many valid steps this epoch has had
    seconds: float = 0.0  # what they took
    loss: float = math.nan  # of the last update
    lr: float = math.nan  # of the last update


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
