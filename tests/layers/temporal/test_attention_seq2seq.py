"""Blocks of Transformers as the encoder and as the decoder of a Seq2Seq.

Their state is no vector: no bridge maps it, and the decoder begins with its own initial state.
"""

import numpy as np
import pytest

import crnn
from support.comparing import assert_same_bits
from support.running import fill

F64 = {"dtype": "float64"}
B, S, T = 3, 6, 5
LENGTHS = {"source_lengths": np.array([6, 2, 4]), "target_lengths": np.array([5, 3, 1])}


def blocks():
    make = crnn.TransformerBlock
    return crnn.Sequential([make(8, 2, seed=0, **F64), make(8, 2, window=3, seed=1, **F64)])


MODELS = {
    "encoder": lambda **o: crnn.Seq2Seq(
        blocks(), crnn.GRU(16, 8, seed=2, **F64), attention="additive", **o
    ),
    "encoder-dot": lambda **o: crnn.Seq2Seq(
        blocks(), crnn.LSTM(8, 8, seed=2, **F64), attention="dot", input_feeding=False, **o
    ),
    "whole": lambda **o: crnn.Seq2Seq(
        crnn.SelfAttention(8, 2, causal=False, seed=1, **F64),
        crnn.GRU(16, 8, seed=2, **F64),
        attention="general",
        **o,
    ),
    "decoder": lambda **o: crnn.Seq2Seq(
        crnn.GRU(8, 8, seed=2, **F64), blocks(), attention="dot", input_feeding=False, **o
    ),
    "both": lambda **o: crnn.Seq2Seq(
        blocks(), blocks(), attention="general", input_feeding=False, **o
    ),
}
every_model = pytest.mark.parametrize("kind", MODELS)


def task(kind):
    """Return a model of symbols, a source and a target."""
    model = fill(MODELS[kind](source_symbols=7, target_symbols=6, seed=3), 4, 0.4)
    rng = np.random.default_rng(0)
    return model, rng.integers(0, 7, (B, S)), rng.integers(0, 6, (B, T))


@every_model
def test_gradients(kind):
    model, source, target = task(kind)
    assert model.bridge is None
    report = crnn.gradcheck(crnn.TeacherForcing(model), (source, target), tolerance=1e-7)
    assert report, str(report)
    assert {row.name for row in report.rows} >= set(model.params)


@every_model
def test_rows_do_not_depend_on_their_batch(kind):
    model, source, target = task(kind)
    logits, _ = model.forward(source, target, **LENGTHS)
    for b in range(B):
        n, m = (lengths[b] for lengths in LENGTHS.values())
        own, _ = model.forward(source[b : b + 1, :n], target[b : b + 1, :m])
        assert_same_bits(own, logits[b : b + 1, :m])


@every_model
@pytest.mark.parametrize("beam", [1, 3])
def test_generation(kind, beam, threads):
    """Greedy symbols are the likeliest; rows end and branch; past an enlargement of the cache."""
    threads(2)
    model, source, _ = task(kind)
    options = {"start": 0, "stop": 1, "max_steps": 90}
    lengths = LENGTHS["source_lengths"]
    tokens, scores = model.generate(source, source_lengths=lengths, beam=beam, **options)
    assert tokens.shape[0] == B
    for b in range(B):
        alone, score = model.generate(source[b : b + 1, : lengths[b]], beam=beam, **options)
        assert_same_bits(alone[0], tokens[b, : alone.shape[1]])
        assert (tokens[b, alone.shape[1] :] == 1).all()
        np.testing.assert_allclose(score, scores[b : b + 1], rtol=1e-12)
    if beam == 1:
        inputs = np.concatenate([np.zeros((B, 1), int), tokens[:, :-1]], axis=1)
        logits, _ = model.forward(source, inputs, source_lengths=lengths)
        ended = np.cumsum(inputs == 1, axis=1) > 0
        assert (ended | (logits.argmax(axis=2) == tokens)).all()


@every_model
def test_files(kind, tmp_path):
    model, source, target = task(kind)
    crnn.save(tmp_path / "model.npz", model)
    loaded = crnn.load(tmp_path / "model.npz")
    assert_same_bits(loaded.forward(source, target)[0], model.forward(source, target)[0])
    assert type(model).parameter_count(model.config) == sum(a.size for a in model.params.values())


def test_models_that_would_ignore_the_source():
    symbols = {"source_symbols": 7, "target_symbols": 6}
    with pytest.raises(ValueError, match=r"decoder: expected one whose state .*; use attention"):
        crnn.Seq2Seq(crnn.GRU(8, 8), crnn.TransformerBlock(8, 2), **symbols)
    with pytest.raises(ValueError, match="encoder: expected a layer with a state, or one that"):
        crnn.Seq2Seq(crnn.TransformerBlock(8, 2), crnn.GRU(8, 8), **symbols)
    with pytest.raises(ValueError, match=r"decoder: .*; use input_feeding=False"):
        crnn.Seq2Seq(crnn.GRU(8, 8), crnn.TransformerBlock(8, 2), attention="dot", **symbols)
