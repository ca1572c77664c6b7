"""crnn: recurrent neural networks for Python with a core in C.

Letters in all documentation: B sequences in a batch, T steps, I inputs, H hidden units, G gates,
K classes or symbols. Arrays are batch first.
"""

import importlib.util as _util

if _util.find_spec("crnn._core") is None:
    raise ImportError(
        f"the C core of crnn is not built in {__path__[0]}: run `make build` there, or start "
        "Python in another folder to import the installed package"
    )

from crnn import diagnostics, losses, optim, plotting, reference
from crnn._version import __version__
from crnn.checkpoint import load, save
from crnn.configuration import release_memory, set_num_threads, show_config
from crnn.diagnostics.gradcheck import gradcheck
from crnn.diagnostics.watching import watch
from crnn.generation import generate
from crnn.layers.base import Layer
from crnn.layers.checkpointed import Checkpointed
from crnn.layers.composition import Bidirectional, Residual, Sequential
from crnn.layers.conditioned import Conditioned
from crnn.layers.dense import Dense, Dropout, Embedding, LayerNorm
from crnn.layers.pooling import Pool
from crnn.layers.recurrent import GRU, JANET, LSTM, RNN
from crnn.layers.tied import TiedDense
from crnn.seq2seq import Seq2Seq, TeacherForcing
from crnn.seq2seq.last_state import LastState
from crnn.training import fit

__all__ = [
    "GRU",
    "JANET",
    "LSTM",
    "RNN",
    "Bidirectional",
    "Checkpointed",
    "Conditioned",
    "Dense",
    "Dropout",
    "Embedding",
    "LastState",
    "Layer",
    "LayerNorm",
    "Pool",
    "Residual",
    "Seq2Seq",
    "Sequential",
    "TeacherForcing",
    "TiedDense",
    "__version__",
    "diagnostics",
    "fit",
    "generate",
    "gradcheck",
    "load",
    "losses",
    "optim",
    "plotting",
    "reference",
    "release_memory",
    "save",
    "set_num_threads",
    "show_config",
    "watch",
]
