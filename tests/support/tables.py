"""Tables of all cells, options and layers, over which tests are parametrised.

Letters: B sequences, T steps, I inputs, H hidden units, K symbols. ``test_tables_are_complete``
(test_cells.py) fails if a new cell of csrc/core/cells.def, or a new layer class of crnn, is missing
in them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np
import pytest

import crnn
from crnn import reference
from crnn.common import choices
from support.running import fill

DTYPES = ("float32", "float64")
MERGES = ("concat", "sum", "mean", "mul")
POOLS = ("last", "mean", "max")


@dataclass(frozen=True)
class Cell:
    """A recurrent layer class with its options, and its reference in NumPy."""

    layer: type
    twin: reference.Cell
    options: dict = field(default_factory=dict)

    def __call__(self, input_size, hidden_size, **options):
        return self.layer(input_size, hidden_size, **self.options, **options)

    def varied(self, options):
        """Return this cell with more options."""
        return Cell(self.layer, replace(self.twin, **options), self.options | options)

    def takes(self, options):
        """Return whether the layers have these options, and the cell does not set them."""
        several = isinstance(options.get("delays"), tuple)
        fits = self.twin.multiplies_h or not several
        return fits and options.keys() <= self(1, 1).options.keys() - self.options.keys()


CELLS = {
    "rnn_tanh": Cell(crnn.RNN, reference.RNN("tanh"), {"activation": "tanh"}),
    "rnn_relu": Cell(crnn.RNN, reference.RNN("relu"), {"activation": "relu"}),
    "lstm": Cell(crnn.LSTM, reference.LSTM()),
    "lstm_coupled": Cell(crnn.LSTM, reference.LSTM(coupled=True), {"coupled": True}),
    "gru_after": Cell(crnn.GRU, reference.GRU("after"), {"reset": "after"}),
    "gru_before": Cell(crnn.GRU, reference.GRU("before"), {"reset": "before"}),
    "janet": Cell(crnn.JANET, reference.JANET(0.7), {"beta": 0.7}),
    "min_gru": Cell(crnn.MinGRU, reference.MinGRU()),
    "min_lstm": Cell(crnn.MinLSTM, reference.MinLSTM()),
}

# Every option of the recurrent layers, alone and with others, except those that each test sets
# (dtype, bias, reverse); test_tables_are_complete (test_cells.py) fails if one is missing.
OPTIONS = {
    "layer_norm": {"layer_norm": True},
    "clip": {"clip": 0.7},
    "learn_state": {"learn_state": True},
    "delay": {"delays": 2},
    "delays": {"delays": (2, 5, 1)},
    "recurrent_dropout": {"recurrent_dropout": 0.4},
    "zoneout": {"zoneout": 0.3},
    "zoneouts": {"zoneout": (0.2, 0.5), "peepholes": True},
    "weight_drop": {"weight_drop": 0.3},
    "leak": {"leak": 0.3},
    "learn_leak": {"leak": 0.4, "learn_leak": True},
    "noise": {"noise": 0.5},
    "leaky-softsign": {"leak": 0.6, "learn_leak": True, "activation": "softsign"},
    "sigmoid": {"activation": "sigmoid"},
    "identity": {"activation": "identity", "recurrent_activation": "identity"},
    "softsign": {"activation": "softsign", "recurrent_activation": "softsign"},
    "hard": {"recurrent_activation": "hard_sigmoid", "activation": "relu"},
    "output": {"output_activation": "hard_sigmoid"},
    "peepholes": {"peepholes": True},
    "projected": {"proj_size": 3},
    "projected-wide": {"proj_size": 19, "zoneout": (0, 0.3), "peepholes": True},
}
_COMMON = ("layer_norm", "clip", "learn_state", "recurrent_dropout", "weight_drop")
OPTIONS["common"] = {key: value for name in _COMMON for key, value in OPTIONS[name].items()}
OPTIONS["common-zoneout"] = OPTIONS["common"] | {"zoneout": 0.3}
OPTIONS["delay-common-zoneout"] = OPTIONS["common-zoneout"] | {"delays": 2}
OPTIONS["delays-common-zoneout"] = OPTIONS["common-zoneout"] | {"delays": (4, 2)}
OPTIONS["leaky-delays-common-zoneout"] = OPTIONS["delays-common-zoneout"] | OPTIONS["learn_leak"]
OPTIONS["delay-all"] = OPTIONS["common"] | OPTIONS["projected-wide"] | {"delays": 3}
OPTIONS["delays-all"] = OPTIONS["delay-all"] | {"delays": (3, 1)}
OPTIONS["leaky-common-zoneout"] = OPTIONS["common-zoneout"] | OPTIONS["learn_leak"]
OPTIONS["leaky-common-zoneout"] |= OPTIONS["noise"]
OPTIONS["no-W_h-all"] = OPTIONS["layer_norm"] | OPTIONS["clip"] | OPTIONS["learn_state"]
OPTIONS["no-W_h-all"] |= {"delays": 2, "zoneout": 0.3, "activation": "softsign"}
OPTIONS["all"] = OPTIONS["common"] | OPTIONS["projected-wide"] | OPTIONS["softsign"]

VARIED = {
    f"{kind}-{name}": cell.varied(options)
    for kind, cell in CELLS.items()
    for name, options in OPTIONS.items()
    if cell.takes(options)
}

I, H, K = 3, 4, 5  # sizes of the layers in LAYERS


@dataclass(frozen=True)
class Subject:
    """A layer for any dtype, and its inputs: `features` floats per step, or symbols."""

    make: Callable[[str], object]
    features: int | None = I
    symbols: int | None = None

    def layer(self, dtype="float64", seed=0):
        """Return a layer whose parameters are all random, biases included."""
        return fill(self.make(dtype), seed)

    def inputs(self, B, T, dtype="float64", symbols=None, seed=1):
        """Return floats (B, T, I), or symbols (B, T) if `symbols` is True or required."""
        rng = np.random.default_rng(seed)
        if self.features is None if symbols is None else symbols:
            return rng.integers(0, self.symbols, (B, T))
        return rng.normal(size=(B, T, self.features)).astype(dtype)

    @property
    def kinds(self):
        """Return the possible values of the argument `symbols` of `inputs`."""
        return [k for k, size in ((False, self.features), (True, self.symbols)) if size]


def _recurrent(**options):
    return {
        name: Subject(lambda dtype, make=make: make(I, H, dtype=dtype, **options), I, I)
        for name, make in CELLS.items()
    }


def _seq(*layers):
    return crnn.Sequential(list(layers))


def _embedded(dtype):
    options = {"dtype": dtype}
    embedding, dropout = crnn.Embedding(K, H, **options), crnn.Dropout(0.4, seed=3)
    return _seq(embedding, dropout, crnn.RNN(H, I, **options), crnn.LayerNorm(I, **options))


def _stacked(dtype):
    first = crnn.Bidirectional(crnn.LSTM(I, 2, dtype=dtype))
    second = crnn.Residual(crnn.Bidirectional(crnn.GRU(4, 4, dtype=dtype), "sum"))
    return _seq(first, _seq(second, crnn.LayerNorm(4, dtype=dtype)), crnn.Dense(4, 2, dtype=dtype))


def _tied(dtype):
    embedding = crnn.Embedding(K, H, dtype=dtype)
    return _seq(embedding, crnn.GRU(H, H, dtype=dtype), crnn.TiedDense(embedding))


def _reservoir(dtype):
    layer = crnn.Reservoir(I, H, leak=0.4, dtype=dtype, seed=5)
    layer.trainable = True  # for the tests of gradients
    return layer


def _pooled(how, dtype):
    return _seq(crnn.GRU(I, H, dtype=dtype), crnn.Pool(how), crnn.Dense(H, 2, dtype=dtype))


LAYERS = _recurrent()
LAYERS |= {
    name: Subject(lambda dtype, cell=cell: cell(I, H, dtype=dtype, seed=7), I, I)
    for name, cell in VARIED.items()
    if name.endswith(("-common-zoneout", "-all"))  # each alone: test_options.py, test_gradients.py
}
LAYERS |= {f"{name}-reverse": subject for name, subject in _recurrent(reverse=True).items()}
LAYERS |= {
    f"bidirectional-{merge}": Subject(
        lambda dtype, merge=merge: crnn.Bidirectional(crnn.LSTM(I, H, dtype=dtype), merge), I, I
    )
    for merge in MERGES
}
LAYERS |= {
    "reservoir": Subject(_reservoir, I, I),
    "dense": Subject(lambda dtype: crnn.Dense(I, K, dtype=dtype)),
    "dense-no-bias": Subject(lambda dtype: crnn.Dense(I, K, bias=False, dtype=dtype)),
    "ridge": Subject(lambda dtype: crnn.Ridge(I, K, dtype=dtype)),
    "embedding": Subject(lambda dtype: crnn.Embedding(K, H, dtype=dtype), None, K),
    "dropout": Subject(lambda dtype: crnn.Dropout(0.3, seed=2)),
    "dropout-variational": Subject(lambda dtype: crnn.Dropout(0.3, variational=True, seed=2)),
    "layernorm": Subject(lambda dtype: crnn.LayerNorm(20, dtype=dtype), 20),
    "residual": Subject(lambda dtype: crnn.Residual(crnn.JANET(I, I, dtype=dtype))),
    "residual-dense": Subject(lambda dtype: crnn.Residual(crnn.Dense(I, I, dtype=dtype))),
    "esn": Subject(
        lambda dtype: crnn.ESN(crnn.RNN(I, H, dtype=dtype), crnn.Ridge(H, K, dtype=dtype)), I, I
    ),
    "esn-joined": Subject(
        lambda dtype: crnn.ESN(
            _reservoir(dtype),
            crnn.Ridge(H + I, K, dtype=dtype),
            join_input=True,
        )
    ),
    "sequential": Subject(
        lambda dtype: _seq(crnn.LSTM(I, H, dtype=dtype), crnn.Dense(H, 2, dtype=dtype)), I, I
    ),
    "sequential-embedded": Subject(_embedded, None, K),
    "sequential-bidirectional": Subject(_stacked, I, I),
}

LAYERS |= {
    f"activation-{name}": Subject(lambda dtype, name=name: crnn.Activation(name))
    for name in get_args(choices.PointwiseActivation)
}
LAYERS |= {
    f"pool-{how}": Subject(lambda dtype, how=how: _pooled(how, dtype), I, I) for how in POOLS
}
LAYERS |= {
    "last-state": Subject(
        lambda dtype: crnn.LastState(crnn.Bidirectional(crnn.LSTM(I, H, dtype=dtype), "sum")), I, I
    ),
    "tied": Subject(_tied, None, K),
    "checkpointed": Subject(lambda dtype: crnn.Checkpointed(crnn.LSTM(I, H, dtype=dtype), 3), I, I),
    "checkpointed-tied": Subject(lambda dtype: crnn.Checkpointed(_tied(dtype), 2), None, K),
    "bidirectional-projected": Subject(
        lambda dtype: crnn.Bidirectional(crnn.LSTM(I, H, proj_size=2, dtype=dtype)), I, I
    ),
}

LAYERS |= {  # an embedding and the layer that reads it run as one
    f"lookup-{name}": Subject(
        lambda dtype, cell=cell: _seq(crnn.Embedding(K, I, dtype=dtype), cell(I, H, dtype=dtype)),
        None,
        K,
    )
    for name, cell in CELLS.items()
}

LAYERS |= {
    "conv": Subject(lambda dtype: crnn.CausalConv(I, H, dilation=2, dtype=dtype)),
    "conv-reverse": Subject(
        lambda dtype: crnn.CausalConv(I, H, 2, activation="tanh", reverse=True, dtype=dtype)
    ),
    "conv-normed": Subject(
        lambda dtype: crnn.CausalConv(I, H, 9, activation="relu", weight_norm=True, dtype=dtype)
    ),
    "bidirectional-conv": Subject(
        lambda dtype: crnn.Bidirectional(crnn.CausalConv(I, H, dtype=dtype))
    ),
    "tcn": Subject(lambda dtype: crnn.TCN(I, [9, 8], dropout=0.2, seed=2, dtype=dtype)),
    "tcn-block": Subject(
        lambda dtype: crnn.TCNBlock(
            I, 8, 2, dilation=3, dropout=0.2, variational=True, seed=2, dtype=dtype
        )
    ),
    "tcn-dense": Subject(
        lambda dtype: _seq(crnn.TCN(I, [8], dtype=dtype), crnn.Dense(8, K, dtype=dtype))
    ),
    "tcn-embedded": Subject(
        lambda dtype: _seq(crnn.Embedding(K, I, dtype=dtype), crnn.TCN(I, [H, H], dtype=dtype)),
        None,
        K,
    ),
    "tcn-pool": Subject(lambda dtype: _seq(crnn.TCN(I, [H], dtype=dtype), crnn.Pool("mean"))),
    "residual-conv": Subject(
        lambda dtype: crnn.Residual(crnn.CausalConv(I, I, activation="relu", dtype=dtype))
    ),
    "checkpointed-tcn": Subject(
        lambda dtype: crnn.Checkpointed(crnn.TCN(I, [8], dropout=0.2, seed=2, dtype=dtype), 2)
    ),
    "attention": Subject(lambda dtype: crnn.SelfAttention(4, 2, seed=2, dtype=dtype), 4),
    "attention-window": Subject(
        lambda dtype: crnn.SelfAttention(6, 3, window=3, dropout=0.2, seed=2, dtype=dtype), 6
    ),
    "attention-whole": Subject(
        lambda dtype: crnn.SelfAttention(3, 1, causal=False, rotary=False, bias=False, dtype=dtype)
    ),
    "transformer": Subject(
        lambda dtype: crnn.TransformerBlock(4, 2, dropout=0.2, seed=2, dtype=dtype), 4
    ),
    "transformer-window": Subject(
        lambda dtype: crnn.TransformerBlock(
            4, 1, window=2, activation="swiglu", feedforward_size=5, dtype=dtype
        ),
        4,
    ),
    "transformer-embedded": Subject(
        lambda dtype: _seq(
            crnn.Embedding(K, 4, dtype=dtype),
            crnn.TransformerBlock(4, 2, activation="gelu_exact", dtype=dtype),
            crnn.TransformerBlock(4, 2, activation="relu", bias=False, dtype=dtype),
            crnn.LayerNorm(4, dtype=dtype),
            crnn.Dense(4, K, dtype=dtype),
        ),
        None,
        K,
    ),
    "bidirectional-transformer": Subject(
        lambda dtype: crnn.Bidirectional(crnn.TransformerBlock(4, 2, dtype=dtype)), 4
    ),
    "residual-attention": Subject(
        lambda dtype: crnn.Residual(crnn.SelfAttention(4, 2, dtype=dtype)), 4
    ),
    "checkpointed-transformer": Subject(
        lambda dtype: crnn.Checkpointed(
            crnn.TransformerBlock(4, 2, window=3, dropout=0.2, seed=2, dtype=dtype), 2
        ),
        4,
    ),
    "positions": Subject(lambda dtype: crnn.Positions(I, 300, seed=2, dtype=dtype)),
    "positions-sinusoidal": Subject(
        lambda dtype: crnn.Positions(I, kind="sinusoidal", dtype=dtype)
    ),
    "positions-transformer": Subject(
        lambda dtype: _seq(
            crnn.Embedding(K, 4, dtype=dtype),
            crnn.Positions(4, 300, seed=2, dtype=dtype),
            crnn.TransformerBlock(4, 2, rotary=False, dropout=0.2, seed=2, dtype=dtype),
            crnn.Dense(4, K, dtype=dtype),
        ),
        None,
        K,
    ),
    "positions-lstm": Subject(
        lambda dtype: _seq(
            crnn.Positions(I, kind="sinusoidal", dtype=dtype), crnn.LSTM(I, H, dtype=dtype)
        )
    ),
    "checkpointed-positions": Subject(
        lambda dtype: crnn.Checkpointed(crnn.Positions(I, 300, seed=2, dtype=dtype), 2)
    ),
    "residual-positions": Subject(
        lambda dtype: crnn.Residual(crnn.Positions(I, kind="sinusoidal", dtype=dtype))
    ),
    "sequential-conv-lstm": Subject(
        lambda dtype: _seq(crnn.CausalConv(I, H, dtype=dtype), crnn.LSTM(H, H, dtype=dtype))
    ),
}

# Layers whose outputs in the padding are all 0; those of other layers have no meaning there.
RECURRENT = [name for name in LAYERS if name.partition("-")[0] in {*CELLS, "bidirectional", "conv"}]

# (name of a layer, whether it reads symbols), for pytest.mark.parametrize
READINGS = [(name, symbols) for name, subject in LAYERS.items() for symbols in subject.kinds]
READING_IDS = [f"{name}-{'symbols' if symbols else 'floats'}" for name, symbols in READINGS]
every_reading = pytest.mark.parametrize(("name", "symbols"), READINGS, ids=READING_IDS)
every_layer = pytest.mark.parametrize("name", LAYERS)
every_cell = pytest.mark.parametrize("kind", CELLS)
WITH_W_H = [kind for kind, cell in CELLS.items() if cell.twin.multiplies_h]
every_cell_with_W_h = pytest.mark.parametrize("kind", WITH_W_H)
