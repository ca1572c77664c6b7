"""crnn: recurrent neural networks for Python with a core in C.

Letters in all documentation: B sequences in a batch, T steps, I inputs, H hidden units, G gates,
K classes or symbols. Arrays are batch first.

``import crnn`` imports the core alone, which checks the environment; a public name is imported from
its module when it is first used.
"""

import importlib as _importlib
import importlib.util as _util
from typing import TYPE_CHECKING, Any

from crnn._version import __version__

if _util.find_spec("crnn._core") is None:
    raise ImportError(
        f"the C core of crnn is not built in {__path__[0]}: run `make build` there, or start "
        "Python in another folder to import the installed package"
    )

from crnn import _core as _core  # a wrong CRNN_ISA or CRNN_NUM_THREADS is an ImportError here

if TYPE_CHECKING:  # the names of `_MODULES`, for type checkers and editors
    from crnn import callbacks, data, diagnostics, losses, models, optim, plotting, reference
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
    from crnn.seq2seq.last_state import LastState
    from crnn.seq2seq.model import Seq2Seq
    from crnn.seq2seq.teacher import TeacherForcing
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
    "callbacks",
    "data",
    "diagnostics",
    "fit",
    "generate",
    "gradcheck",
    "load",
    "losses",
    "models",
    "optim",
    "plotting",
    "reference",
    "release_memory",
    "save",
    "set_num_threads",
    "show_config",
    "watch",
]

#: Where the public names are that are no modules.
_MODULES = {
    "checkpoint": ("load", "save"),
    "configuration": ("release_memory", "set_num_threads", "show_config"),
    "diagnostics.gradcheck": ("gradcheck",),
    "diagnostics.watching": ("watch",),
    "generation": ("generate",),
    "layers.base": ("Layer",),
    "layers.checkpointed": ("Checkpointed",),
    "layers.composition": ("Bidirectional", "Residual", "Sequential"),
    "layers.conditioned": ("Conditioned",),
    "layers.dense": ("Dense", "Dropout", "Embedding", "LayerNorm"),
    "layers.pooling": ("Pool",),
    "layers.recurrent": ("GRU", "JANET", "LSTM", "RNN"),
    "layers.tied": ("TiedDense",),
    "seq2seq.last_state": ("LastState",),
    "seq2seq.model": ("Seq2Seq",),
    "seq2seq.teacher": ("TeacherForcing",),
    "training": ("fit",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import what has not been used yet: a public name, or a module of crnn (PEP 562)."""
    if name in _HOMES:
        value = getattr(_importlib.import_module(f"crnn.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if not name.startswith("__") and _util.find_spec(f"crnn.{name}") is not None:
        return _importlib.import_module(f"crnn.{name}")
    raise AttributeError(f"module 'crnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
