"""The repr of every tape is one short line that shows arrays by their shapes."""

import numpy as np
import pytest

import crnn
from crnn.common.representation import tape_text

X, SYMBOLS = np.random.default_rng(0).normal(size=(2, 4, 3)), np.zeros((2, 4), int)
F64 = {"dtype": "float64", "seed": 0}
LSTM = "<Tape of LSTM: B=2, T=4, H=2, gates i f g o>"
DENSE = "<PointwiseTape of Dense: shape (2, 4, 2), memory float64 (8, {})>"


def seq2seq(**options):
    encoder, decoder = crnn.GRU(4, 4, seed=0), crnn.GRU(4, 4, seed=1)
    symbols = {"source_symbols": 5, "target_symbols": 5}
    return crnn.Seq2Seq(encoder, decoder, **symbols, seed=2, **options)


TAPES = {
    "dense": (lambda: crnn.Dense(3, 2, **F64).forward(X), DENSE.format(3)),
    "embedding": (
        lambda: crnn.Embedding(5, 3).forward(SYMBOLS),
        "<PointwiseTape of Embedding: shape (2, 4, 3), memory int64 (8,)>",
    ),
    "dropout": (
        lambda: crnn.Dropout(0.5).forward(X),
        "<PointwiseTape of Dropout: shape (2, 4, 3)>",
    ),
    "pool": (
        lambda: crnn.Pool("max").forward(X),
        "<PoolTape: how 'max', shape (2, 4, 3), valid bool (2, 4), taken int64 (2, 3)>",
    ),
    "residual": (
        lambda: crnn.Residual(crnn.RNN(3, 3, **F64)).forward(X),
        "<ResidualTape: layer <Tape of RNN: B=2, T=4, H=3, gates h>>",
    ),
    "last": (
        lambda: crnn.LastState(crnn.LSTM(3, 2, **F64)).forward(X),
        f"<LastStateTape: layer {LSTM}>",
    ),
    "checkpointed": (
        lambda: crnn.Checkpointed(crnn.LSTM(3, 2, **F64), every=2).forward(X),
        "<CheckpointedTape of LSTM: x float64 (2, 4, 3), shape (2, 4, 2)>",
    ),
    "conditioned": (
        lambda: crnn.Conditioned(crnn.LSTM(3, 2, **F64), crnn.Dense(5, 4)).forward(
            (X, np.zeros((2, 5)))
        ),
        f"<ConditionedTape: layer {LSTM}, init "
        "<PointwiseTape of Dense: shape (2, 4), memory float64 (2, 5)>>",
    ),
    "sequential": (
        lambda: crnn.Sequential([crnn.LSTM(3, 2, **F64), crnn.Dense(2, 2, **F64)]).forward(X),
        f"({LSTM}, {DENSE.format(2)})",
    ),
    "embedded": (
        lambda: crnn.Sequential([crnn.Embedding(5, 3), crnn.LSTM(3, 2)]).forward(SYMBOLS),
        f"(<PointwiseTape of Embedding: shape (2, 4, 3), memory int64 (8,)>, {LSTM})",
    ),
}


@pytest.mark.parametrize("name", TAPES)
def test_every_tape(name):
    forward, text = TAPES[name]
    assert repr(forward()[2]) == text


def test_tapes_of_models():
    model = seq2seq(attention="dot", input_feeding=False)
    _, tape = model.forward(SYMBOLS, SYMBOLS)
    assert repr(tape).startswith("<Seq2SeqTape: target_in int64 (2, 4), encoder <Tape of GRU:")
    tape = crnn.TeacherForcing(seq2seq()).forward((SYMBOLS, SYMBOLS))[2]
    assert repr(tape).startswith("<TeacherForcingTape: model <Seq2SeqTape:")
    model = crnn.models.SequenceAutoencoder(crnn.GRU(3, 4), crnn.GRU(3, 4), 2, seed=0)
    assert repr(model.forward(X.astype("f"))[2]).startswith("<AutoencoderTape: ")


def test_a_repr_does_not_raise():
    class Broken:
        def __getattribute__(self, name):
            raise RuntimeError("broken")

    assert "object at" in tape_text(Broken())
