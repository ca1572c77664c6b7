"""The mathematics of crnn in plain NumPy: the pages to read, and the oracles of the tests.

`cells` has the recurrent cells, forward and backward; `training` the dense map, the losses and the
optimizers.
"""

from crnn.reference.cells import GRU, JANET, LSTM, RNN, Cell, one_hot, sigmoid
from crnn.reference.training import (
    adam,
    adamw,
    clip_norm,
    dense,
    dense_backward,
    mse,
    rmsprop,
    sgd_momentum,
    softmax_cross_entropy,
)

__all__ = [
    "GRU",
    "JANET",
    "LSTM",
    "RNN",
    "Cell",
    "adam",
    "adamw",
    "clip_norm",
    "dense",
    "dense_backward",
    "mse",
    "one_hot",
    "rmsprop",
    "sgd_momentum",
    "sigmoid",
    "softmax_cross_entropy",
]
