"""Flags: True and False, also of NumPy, and integers 0 and 1. Anything else is refused."""

import inspect
import re

import numpy as np
import pytest

import crnn
from crnn.common.checks import check_flag
from support.docstrings import public

#: A valid call of each public class and function with flags; {} is a flag.
CALLS = {
    "crnn.RNN": "crnn.RNN(2, 3, leak=0.5, {})",
    "crnn.LSTM": "crnn.LSTM(2, 3, {})",
    "crnn.GRU": "crnn.GRU(2, 3, {})",
    "crnn.JANET": "crnn.JANET(2, 3, {})",
    "crnn.MinGRU": "crnn.MinGRU(2, 3, {})",
    "crnn.MinLSTM": "crnn.MinLSTM(2, 3, {})",
    "crnn.Reservoir": "crnn.Reservoir(2, 3, {})",
    "crnn.CausalConv": "crnn.CausalConv(2, 3, {})",
    "crnn.TCNBlock": "crnn.TCNBlock(2, 3, {})",
    "crnn.TCN": "crnn.TCN(2, [3], {})",
    "crnn.SelfAttention": "crnn.SelfAttention(4, 2, {})",
    "crnn.TransformerBlock": "crnn.TransformerBlock(4, 2, {})",
    "crnn.Dense": "crnn.Dense(2, 3, {})",
    "crnn.Ridge": "crnn.Ridge(2, 3, {})",
    "crnn.TiedDense": "crnn.TiedDense(crnn.Embedding(3, 2), {})",
    "crnn.Dropout": "crnn.Dropout(0.5, {})",
    "crnn.Seq2Seq": "crnn.Seq2Seq(gru, crnn.GRU(2, 2), {})",
    "crnn.ESN": "crnn.ESN(gru, readout, {})",
    "crnn.fit": "crnn.fit(dense, data, **run | dict(progress=False) | dict({}))",
    "crnn.Trainer": "crnn.Trainer(dense, data, **run | dict({}))",
    "crnn.evaluate": "crnn.evaluate(dense, data, loss=crnn.losses.mse, {})",
    "crnn.watch": "crnn.watch(dense, {})",
    "crnn.optim.AdamW": "crnn.optim.AdamW(dense, {})",
    "crnn.callbacks.EarlyStopping": "crnn.callbacks.EarlyStopping(3, {})",
    "crnn.callbacks.KeepBest": "crnn.callbacks.KeepBest({})",
    "crnn.data.Batches": "crnn.data.Batches(x, x, 1, {})",
    "crnn.data.PairBatches": "crnn.data.PairBatches([[1]], [[2]], start=0, stop=1, {})",
    "crnn.metrics.crps": "crnn.metrics.crps(np.zeros((1, 2, 3)), np.zeros((1, 3)), {})",
    "crnn.data.windows": "crnn.data.windows(np.arange(5.0), 2, {})",
    "crnn.diagnostics.input_saliency": "crnn.diagnostics.input_saliency(gru, x, {})",
    "crnn.diagnostics.state_jacobians": "crnn.diagnostics.state_jacobians(gru, x, {})",
    "crnn.models.Translator": "crnn.models.Translator(words, words, pairs, {})",
    "crnn.models.Captioner": "crnn.models.Captioner(words, captions, {})",
    "crnn.models.CharModel": "crnn.models.CharModel(words, dense, {})",
    "crnn.plotting.recorded": "recorded({})",
}


def flags_of(value):
    try:
        parameters = inspect.signature(value).parameters.values()
    except ValueError:  # a class of the core
        return []
    return [one.name for one in parameters if isinstance(one.default, bool)]


# The NumPy twins of `crnn.reference` check no arguments.
FLAGS = {name: flags_of(value) for name, value in public().items() if "reference" not in name}
ROWS = [(name, flag) for name, flags in FLAGS.items() for flag in flags]


def call(name, flag, value):
    joined = flag == "join_input" and isinstance(value, int | np.generic) and value == 1
    dense, gru = crnn.Dense(2, 1, seed=0), crnn.GRU(2, 2, seed=0)
    x = np.zeros((1, 4, 2), np.float32)
    symbols = {"source_symbols": 3, "target_symbols": 3}
    words = crnn.data.Vocabulary(["\n", "a", "b"])
    scene = {
        "dense": dense,
        "gru": gru,
        "x": x,
        "data": [(x, x[..., :1])],
        "words": words,
        "readout": crnn.Ridge(4 if joined else 2, 1),
        "pairs": crnn.Seq2Seq(gru, crnn.GRU(2, 2), **symbols),
        "captions": crnn.Seq2Seq(dense, crnn.GRU(2, 2), target_symbols=3),
        "run": {
            "loss": crnn.losses.mse,
            "optimizer": crnn.optim.SGD(dense, 0.1),
            "epochs": 1,
        },
        "recorded": lambda **options: crnn.plotting.recorded(
            {"a": ([1], [1.0])}, ylabel="a", **options
        ),
    }
    scene["value"] = value
    return eval(CALLS[name].format(f"{flag}=value"), {"crnn": crnn, "np": np}, scene)


def test_every_flag_has_a_row():
    assert {name for name, flags in FLAGS.items() if flags} == CALLS.keys()


@pytest.mark.parametrize(("name", "flag"), ROWS)
@pytest.mark.parametrize("value", ["no", "", 2, -1, None, 0.0, [True], np.array(True), 2**70])
def test_what_is_no_flag_is_refused(name, flag, value):
    expected = re.escape(f"{flag}: expected True or False, got {value!r}")
    with pytest.raises(TypeError, match=f"^{expected}$"):
        call(name, flag, value)


@pytest.mark.parametrize(("name", "flag"), ROWS)
@pytest.mark.parametrize("values", [(True, np.True_, 1, np.int8(1)), (False, np.False_, 0)])
def test_flags(name, flag, values):
    for value in values:
        made = call(name, flag, value)
        if isinstance(getattr(made, flag, None), bool):
            assert getattr(made, flag) is values[0]


def test_a_flag():
    assert check_flag("a", np.uint64(1)) is True
    with pytest.raises(TypeError, match=r"^a: expected True or False, got 'no'$"):
        check_flag("a", "no")
