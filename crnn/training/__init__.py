"""The training loop: `fit`, `Trainer` and `evaluate`."""

from crnn.callbacks.run import Position
from crnn.common.notices import ResumeWarning
from crnn.training.evaluation import count_updates, evaluate
from crnn.training.fitting import fit
from crnn.training.trainer import Trainer

__all__ = ["Position", "ResumeWarning", "Trainer", "count_updates", "evaluate", "fit"]
