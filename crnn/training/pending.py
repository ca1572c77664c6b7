"""The windows that the next update of a run learns from."""

import math
from dataclasses import dataclass, field
from typing import Any

from crnn.training.metering import Totals
from crnn.training.truncated import WindowPass
from crnn.training.windows import Item


@dataclass
class PendingUpdate:
    """The windows whose gradients the next update is made of."""

    windows: int = 0
    rows: int = 0
    steps: int = 0
    weight: float = 0.0
    total: float = 0.0
    loss: float = math.nan  # of the last one
    window_pass: WindowPass | None = None  # the last one, and the gradient at its y
    dy: Any = None
    metrics: Totals = field(default_factory=dict)
    outputs: list[tuple[Any, Item]] = field(default_factory=list)  # for metrics that keep them
