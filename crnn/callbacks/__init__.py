"""Callbacks: they observe or control a training run.

`crnn.fit` calls the methods ``on_start``, ``on_backward`` (before each update), ``on_update``
(after each update), ``on_epoch`` and ``on_end`` of each callback and passes the run, a
`crnn.Trainer`; ``run.stop()`` ends the run. The state of the callbacks is saved and restored with
the run.
"""

from crnn.callbacks.base import Callback
from crnn.callbacks.best import EarlyStopping, KeepBest
from crnn.callbacks.progress import Progress
from crnn.callbacks.saving import Checkpoint
from crnn.callbacks.schedules import Constant, Cosine, OneCycle, OnPlateau, Schedule, Step

__all__ = [
    "Callback",
    "Checkpoint",
    "Constant",
    "Cosine",
    "EarlyStopping",
    "KeepBest",
    "OnPlateau",
    "OneCycle",
    "Progress",
    "Schedule",
    "Step",
]
