"""crnn: recurrent neural networks for Python with a core in C.

Letters in the documentation: B sequences in a batch, T steps, I inputs, H hidden units, G gates,
K classes or symbols. Arrays are batch first.

``import crnn`` imports only the core, which checks the environment variables. A public name is
imported from its module at its first use.
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

import crnn._core as _core  # noqa: F401 - a wrong CRNN_ISA or CRNN_NUM_THREADS is an ImportError here

if TYPE_CHECKING:  # the names of `_MODULES`, for type checkers and editors
    from crnn import (
        callbacks,
        data,
        diagnostics,
        losses,
        metrics,
        models,
        optim,
        plotting,
        reference,
    )
    from crnn.common.configuration import release_memory, set_num_threads, show_config
    from crnn.common.spectral import spectral_radius
    from crnn.diagnostics.gradcheck import gradcheck
    from crnn.diagnostics.watching import watch
    from crnn.generation.feedback import generate
    from crnn.layers.base.layer import Layer, Temporal
    from crnn.layers.compose.bidirectional import Bidirectional
    from crnn.layers.compose.checkpointed import Checkpointed
    from crnn.layers.compose.conditioned import Conditioned
    from crnn.layers.compose.last_state import LastState
    from crnn.layers.compose.pooling import Pool
    from crnn.layers.compose.residual import Residual
    from crnn.layers.compose.sequential import Sequential
    from crnn.layers.pointwise.activation import Activation
    from crnn.layers.pointwise.dense import Dense
    from crnn.layers.pointwise.dropout import Dropout
    from crnn.layers.pointwise.embedding import Embedding
    from crnn.layers.pointwise.normalisation import LayerNorm
    from crnn.layers.pointwise.ridge import Ridge
    from crnn.layers.pointwise.rls import RLS
    from crnn.layers.pointwise.tied import TiedDense
    from crnn.layers.recurrent.cells import GRU, JANET, LSTM, RNN
    from crnn.layers.recurrent.minimal import MinGRU, MinLSTM
    from crnn.layers.recurrent.reservoir import Reservoir
    from crnn.layers.temporal.attention import SelfAttention
    from crnn.layers.temporal.convolution import CausalConv
    from crnn.layers.temporal.positions import Positions
    from crnn.layers.temporal.tcn import TCN, TCNBlock
    from crnn.layers.temporal.transformer import TransformerBlock
    from crnn.models.esn import ESN
    from crnn.seq2seq.model import Seq2Seq
    from crnn.seq2seq.teacher import TeacherForcing
    from crnn.storage.models import load, save
    from crnn.training.evaluation import evaluate
    from crnn.training.fitting import fit
    from crnn.training.predicting import predict
    from crnn.training.readouts import fit_readout
    from crnn.training.trainer import Trainer

__all__ = [
    "ESN",
    "GRU",
    "JANET",
    "LSTM",
    "RLS",
    "RNN",
    "TCN",
    "Activation",
    "Bidirectional",
    "CausalConv",
    "Checkpointed",
    "Conditioned",
    "Dense",
    "Dropout",
    "Embedding",
    "LastState",
    "Layer",
    "LayerNorm",
    "MinGRU",
    "MinLSTM",
    "Pool",
    "Positions",
    "Reservoir",
    "Residual",
    "Ridge",
    "SelfAttention",
    "Seq2Seq",
    "Sequential",
    "TCNBlock",
    "TeacherForcing",
    "Temporal",
    "TiedDense",
    "Trainer",
    "TransformerBlock",
    "__version__",
    "callbacks",
    "data",
    "diagnostics",
    "evaluate",
    "fit",
    "fit_readout",
    "generate",
    "gradcheck",
    "load",
    "losses",
    "metrics",
    "models",
    "optim",
    "plotting",
    "predict",
    "reference",
    "release_memory",
    "save",
    "set_num_threads",
    "show_config",
    "spectral_radius",
    "watch",
]

#: Public names that are not modules, by the module that defines them.
_MODULES = {
    "common.configuration": ("release_memory", "set_num_threads", "show_config"),
    "common.spectral": ("spectral_radius",),
    "diagnostics.gradcheck": ("gradcheck",),
    "diagnostics.watching": ("watch",),
    "generation.feedback": ("generate",),
    "layers.base.layer": ("Layer", "Temporal"),
    "layers.compose.bidirectional": ("Bidirectional",),
    "layers.compose.checkpointed": ("Checkpointed",),
    "layers.compose.conditioned": ("Conditioned",),
    "layers.compose.last_state": ("LastState",),
    "layers.compose.pooling": ("Pool",),
    "layers.compose.residual": ("Residual",),
    "layers.compose.sequential": ("Sequential",),
    "layers.pointwise.activation": ("Activation",),
    "layers.pointwise.dense": ("Dense",),
    "layers.pointwise.dropout": ("Dropout",),
    "layers.pointwise.embedding": ("Embedding",),
    "layers.pointwise.normalisation": ("LayerNorm",),
    "layers.pointwise.ridge": ("Ridge",),
    "layers.pointwise.rls": ("RLS",),
    "layers.pointwise.tied": ("TiedDense",),
    "layers.recurrent.cells": ("GRU", "JANET", "LSTM", "RNN"),
    "layers.recurrent.minimal": ("MinGRU", "MinLSTM"),
    "layers.recurrent.reservoir": ("Reservoir",),
    "layers.temporal.attention": ("SelfAttention",),
    "layers.temporal.convolution": ("CausalConv",),
    "layers.temporal.positions": ("Positions",),
    "layers.temporal.tcn": ("TCN", "TCNBlock"),
    "layers.temporal.transformer": ("TransformerBlock",),
    "models.esn": ("ESN",),
    "seq2seq.model": ("Seq2Seq",),
    "seq2seq.teacher": ("TeacherForcing",),
    "storage.models": ("load", "save"),
    "training.evaluation": ("evaluate",),
    "training.fitting": ("fit",),
    "training.predicting": ("predict",),
    "training.readouts": ("fit_readout",),
    "training.trainer": ("Trainer",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # with it, type checkers would accept every name

    def __getattr__(name: str) -> Any:
        """Return a public name or a module of crnn, and import it at its first use (PEP 562)."""
        if name in _HOMES:
            value = getattr(_importlib.import_module(f"crnn.{_HOMES[name]}"), name)
            globals()[name] = value
            return value
        if not name.startswith("__") and _util.find_spec(f"crnn.{name}") is not None:
            return _importlib.import_module(f"crnn.{name}")
        raise AttributeError(f"module 'crnn' has no attribute {name!r}{_hint(name)}")


#: Names of other libraries.
_ELSEWHERE = {
    "Linear": "crnn.Dense",
    "BiLSTM": "crnn.Bidirectional(crnn.LSTM(I, H))",
    "Conv1d": "crnn.CausalConv(I, H, taps)",
    "Conv1D": "crnn.CausalConv(I, H, taps)",
    "MultiheadAttention": "crnn.SelfAttention(H, heads)",
    "MultiHeadAttention": "crnn.SelfAttention(H, heads)",
    "TransformerEncoderLayer": "crnn.TransformerBlock(H, heads, causal=False)",
    "TransformerDecoderLayer": "crnn.TransformerBlock(H, heads, memory_size=C)",
    "PositionalEncoding": 'crnn.Positions(H, kind="sinusoidal")',
    "nn": "the layers are crnn.LSTM, crnn.Dense, ...",
    "Model": "crnn.Sequential",
    "Input": "the first layer has input_size",
    "tensor": "a NumPy array",
    "no_grad": "a call, model(x), keeps nothing for gradients",
    "manual_seed": "seed= of each layer",
}


def _hint(name: str) -> str:
    """Return the words for an error about a name that is in a module of crnn, or elsewhere."""
    if name.startswith("_"):
        return ""
    if name in _ELSEWHERE:
        return f": write {_ELSEWHERE[name]}"
    if alike := [one for one in __all__ if one.lower() == name.lower()]:
        return f": write crnn.{alike[0]}"
    for module in ("optim", "losses", "metrics", "callbacks", "data", "models", "diagnostics"):
        if name in _importlib.import_module(f"crnn.{module}").__all__:
            return f": write crnn.{module}.{name}"
    return ""


def __dir__() -> list[str]:
    return sorted(__all__)
