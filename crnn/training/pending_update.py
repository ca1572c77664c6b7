"""The windows from which the next update of a run is computed."""

import math
from dataclasses import dataclass
from typing import Any

from crnn.training.metering import Totals
from crnn.training.tbptt import WindowPass


@dataclass
class PendingUpdate:
    """The windows whose gradients have been added for the next update.

    Attributes
    ----------
    windows, rows, steps : int
        Number of windows, of their rows and of their valid steps.
    weight, total : float
        Sum of the weights of their losses, and sum of the losses, each multiplied by its weight.
    loss : float
        Loss of the last window.
    window_pass : WindowPass or None
        Forward pass of the last window.
    dy : array or None
        Gradient at the outputs of the last window.
    metrics : mapping or None
        Sums of the metrics; None without metrics.
    """

    windows: int = 0
    rows: int = 0
    steps: int = 0
    weight: float = 0.0
    total: float = 0.0
    loss: float = math.nan
    window_pass: WindowPass | None = None
    dy: Any = None
    metrics: Totals | None = None
