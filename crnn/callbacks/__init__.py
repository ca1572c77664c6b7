"""Callbacks: they observe or control a training run.

A callback hears ``on_start``, ``on_backward`` and ``on_update`` (before and after each update),
``on_epoch`` and ``on_end``, and is given the run, a `Trainer`; ``run.stop()`` ends it. What
callbacks remember is part of what a run that is taken up again restores.
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
