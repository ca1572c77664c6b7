"""Training: `fit`, `fit_readout`, `Trainer`, `evaluate` and `predict`."""

from crnn.callbacks.run import Position
from crnn.common.notices import ResumeWarning
from crnn.training.evaluation import Evaluation, count_updates, evaluate
from crnn.training.fitting import fit
from crnn.training.predicting import predict
from crnn.training.readouts import fit_readout
from crnn.training.trainer import Trainer

__all__ = [
    "Evaluation",
    "Position",
    "ResumeWarning",
    "Trainer",
    "count_updates",
    "evaluate",
    "fit",
    "fit_readout",
    "predict",
]
