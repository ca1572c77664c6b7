"""Seq2Seq.generate: greedy, sampling and beam search; start and stop symbols; batches."""

import itertools

import numpy as np
import pytest

import crnn
from support.comparing import assert_close, assert_same_bits
from support.seq2seqs import KINDS, KT, WIDTH, ends, model_of

B, S = 4, 5
WRITERS = [name for name, kind in KINDS.items() if kind.target_symbols]
every_writer = pytest.mark.parametrize("name", WRITERS)


def log_p(model, source, tokens, start, **lengths):
    """Return the log-probabilities (B, N, K) of each symbol after the tokens before it."""
    first = np.broadcast_to(start, tokens[:, :1].shape)
    target_in = np.concatenate([first, tokens[:, :-1]], axis=1)
    logits = model(source, target_in, **lengths)[0]
    return logits - np.logaddexp.reduce(logits, axis=2, keepdims=True)


def chosen(numbers, tokens):
    return np.take_along_axis(numbers, tokens[..., None], axis=2)[..., 0]


def up_to_stop(tokens, stop):
    """Return which tokens are scored: those up to the first stop, stop included."""
    return np.cumsum(np.cumsum(tokens == stop, axis=-1), axis=-1) <= 1


@every_writer
def test_greedy(name):
    """Each symbol is the most likely one after the symbols before it."""
    model = model_of(name)
    source, _ = KINDS[name].inputs(B, S, 1)
    lengths = ends(B, S)
    tokens, scores = model.generate(source, start=1, stop=None, max_steps=7, source_lengths=lengths)
    assert (tokens.dtype, tokens.shape) == (np.int64, (B, 7))
    assert (scores.dtype, scores.shape) == (np.float64, (B,))
    numbers = log_p(model, source, tokens, 1, source_lengths=lengths)
    assert_same_bits(numbers.argmax(axis=2), tokens)
    assert_close(scores, chosen(numbers, tokens).sum(axis=1), 1e-12)


@every_writer
def test_a_row_ends_at_its_stop_alone_and_in_a_batch(name):
    model = model_of(name)
    source, _ = KINDS[name].inputs(B, S, 1)
    free, _ = model.generate(source, start=1, stop=None, max_steps=9)
    stop = int(free[0, 2])
    tokens, scores = model.generate(source, start=1, stop=stop, max_steps=9)
    for b in range(B):
        ended = np.flatnonzero(free[b] == stop)
        count = ended[0] + 1 if len(ended) else 9
        expected = np.full(tokens.shape[1], stop)
        expected[:count] = free[b, : min(count, tokens.shape[1])]
        assert_same_bits(tokens[b], expected)
        alone, score = model.generate(source[b : b + 1], start=1, stop=stop, max_steps=9)
        assert_same_bits(alone[0], tokens[b, : len(alone[0])])
        assert_close(score, scores[b : b + 1], 1e-12)
    assert tokens.shape[1] <= 9


def test_the_score_includes_the_stop_and_the_length_penalty():
    model = model_of("additive")
    source, _ = KINDS["additive"].inputs(B, S, 1)
    free, _ = model.generate(source, start=1, stop=None, max_steps=5)
    stop = int(free[0, 1])
    for penalty in (0.0, 0.7, 1.0):
        options = {"start": 1, "stop": stop, "max_steps": 5, "length_penalty": penalty}
        tokens, scores = model.generate(source, **options)
        counted = up_to_stop(tokens, stop)
        sums = np.where(counted, chosen(log_p(model, source, tokens, 1), tokens), 0).sum(axis=1)
        assert_close(scores, sums / counted.sum(axis=1) ** penalty, 1e-12)


def test_a_start_for_each_row():
    model = model_of("dot")
    source, _ = KINDS["dot"].inputs(B, S, 1)
    starts = np.array([3, 0, 1, 1])
    tokens, _ = model.generate(source, start=starts, stop=None, max_steps=4)
    for b, start in enumerate(starts):
        alone, _ = model.generate(source[b : b + 1], start=int(start), stop=None, max_steps=4)
        assert_same_bits(tokens[b : b + 1], alone)


@pytest.mark.parametrize("name", ["plain", "additive", "dot-whole", "stacked"])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_beam_of_all_sequences_finds_the_best_ones(name, penalty):
    model, N, stop = model_of(name), 3, 2
    source, _ = KINDS[name].inputs(2, S, 1)
    spelled = [
        (*text, *[stop] * (N - len(text)))
        for n in range(N + 1)
        for text in itertools.product([k for k in range(KT) if k != stop], repeat=n)
    ]
    every = np.array(spelled)
    options = {"start": 1, "stop": stop, "max_steps": N, "length_penalty": penalty}
    width = KT**N
    tokens, scores = model.generate(source, **options, beam=width, n_best=5)
    assert tokens.shape[:2] == (2, 5)
    for b in range(2):
        rows = np.repeat(source[b : b + 1], len(every), axis=0)
        counted = up_to_stop(every, stop)
        sums = np.where(counted, chosen(log_p(model, rows, every, 1), every), 0).sum(axis=1)
        totals = sums / counted.sum(axis=1) ** penalty
        order = np.argsort(-totals)[:5]
        assert_close(scores[b], totals[order], 1e-12)
        assert_same_bits(tokens[b], every[order])


@pytest.mark.parametrize("name", ["plain", "additive", "two-directions", "own-table"])
def test_a_beam(name):
    model = model_of(name)
    source, _ = KINDS[name].inputs(B, S, 1)
    options = {"start": 1, "stop": 0, "max_steps": 6, "source_lengths": ends(B, S)}
    greedy = model.generate(source, **options)
    assert_same_bits(model.generate(source, **options, beam=1), greedy)
    tokens, scores = model.generate(source, **options, beam=4, n_best=4)
    assert (np.diff(scores, axis=1) <= 0).all()
    best, score = model.generate(source, **options, beam=4)
    N = best.shape[1]  # as long as the longest row of the result
    assert_same_bits(best, tokens[:, 0, :N])
    assert (tokens[:, 0, N:] == 0).all()
    assert (best[:, -1] != 0).any() or up_to_stop(best, 0).all(axis=1).any()
    assert_same_bits(score, scores[:, 0])
    for b in range(B):  # one source alone has the same beam
        one = options | {"source_lengths": options["source_lengths"][b : b + 1]}
        found, alone = model.generate(source[b : b + 1], **one, beam=4, n_best=4)
        assert_same_bits(found[0], tokens[b, :, : found.shape[2]])
        assert_close(alone[0], scores[b], 1e-12)
    rows = np.repeat(np.arange(B), 4)
    flat = tokens.reshape(4 * B, -1)
    lengths = {"source_lengths": options["source_lengths"][rows]}
    numbers = chosen(log_p(model, source[rows], flat, 1, **lengths), flat)
    assert_close(scores.ravel(), np.where(up_to_stop(flat, 0), numbers, 0).sum(axis=1), 1e-12)


@pytest.mark.parametrize("name", ["plain", "additive", "general-whole"])
def test_samples(name):
    model = model_of(name)
    source, _ = KINDS[name].inputs(B, S, 1)
    options = {"start": 1, "stop": 0, "max_steps": 6, "seed": 5}
    tokens, scores = model.generate(source, **options, temperature=1.0, n_best=8)
    assert tokens.shape[:2] == scores.shape == (B, 8)
    again, _ = model.generate(source, **options, temperature=1.0, n_best=8)
    assert_same_bits(again, tokens)
    other, _ = model.generate(source, **(options | {"seed": 6}), temperature=1.0, n_best=8)
    assert other.shape != tokens.shape or (other != tokens).any()
    assert len({tuple(row) for row in tokens[0]}) > 1
    flat, rows = tokens.reshape(8 * B, -1), np.repeat(np.arange(B), 8)
    numbers = chosen(log_p(model, source[rows], flat, 1), flat)
    expected = np.where(up_to_stop(flat, 0), numbers, 0).sum(axis=1)
    assert_close(scores.ravel(), expected, 1e-12)
    greedy = model.generate(source, start=1, stop=0, max_steps=6)
    for options in ({"temperature": 1e-300}, {"temperature": 1.0, "top_k": 1}):
        found = model.generate(source, start=1, stop=0, max_steps=6, **options)
        assert_same_bits(found[0], greedy[0])
        assert_close(found[1], greedy[1], 1e-12)


def test_samples_have_their_probabilities():
    model = model_of("plain")
    source = np.zeros((1, 3), np.int64)
    tokens, _ = model.generate(
        source, start=1, stop=None, max_steps=1, temperature=2.0, n_best=4000, seed=1
    )
    logits = model(source, np.array([[1]]))[0][0, 0] / 2
    shares = np.exp(logits - np.logaddexp.reduce(logits))
    found = np.bincount(tokens.ravel(), minlength=KT) / tokens.size
    np.testing.assert_allclose(found, shares, atol=0.03)


@pytest.mark.parametrize("name", ["vectors", "vectors-additive", "symbols-to-vectors"])
def test_vectors(name):
    model = model_of(name)
    source, _ = KINDS[name].inputs(B, S, 1)
    start = np.random.default_rng(0).normal(size=(B, WIDTH))
    outputs, scores = model.generate(source, start=start, stop=None, max_steps=4)
    assert scores is None
    assert outputs.shape == (B, 4, WIDTH)
    inputs = np.concatenate([start[:, None], outputs[:, :-1]], axis=1)
    assert_close(outputs, model(source, inputs)[0], 1e-12)
    one, _ = model.generate(source, start=start[0], stop=None, max_steps=4)
    assert_close(one[0], outputs[0], 1e-12)


@every_writer
def test_empty_sources_and_empty_batches(name):
    model = model_of(name)
    source, _ = KINDS[name].inputs(2, 0, 1)
    for options in ({}, {"beam": 2}, {"temperature": 1.0}):
        tokens, scores = model.generate(source, start=1, stop=0, max_steps=3, **options)
        assert tokens.shape[0] == 2
        assert np.isfinite(scores).all()
        tokens, scores = model.generate(source[:0], start=1, stop=0, max_steps=3, **options)
        assert tokens.shape == (0, 0)
        assert scores.shape == (0,)


def test_dropout_is_off():
    model = model_of("stacked")
    source, _ = KINDS["stacked"].inputs(B, S, 1)
    found = [model.generate(source, start=1, stop=None, max_steps=5)[0] for _ in range(2)]
    assert_same_bits(*found)
    numbers = log_p(model, source, found[0], 1)  # in evaluation
    assert_same_bits(numbers.argmax(axis=2), found[0])


def test_a_stop_that_comes_early_needs_no_room_for_all_steps():
    model = model_of("plain")
    model.params["output.b"] = [0, 99, 0, 0]
    source, _ = KINDS["plain"].inputs(B, S, 1)
    tokens, _ = model.generate(source, start=0, stop=1, max_steps=10**9)
    assert tokens.tolist() == [[1]] * B


def test_nan_logits_raise():
    model = model_of("plain")
    model.params["output.b"] = [0, np.nan, 0, 0]
    source, _ = KINDS["plain"].inputs(B, S, 1)
    with pytest.raises(FloatingPointError, match=r"^logits: expected numbers at step 0, got NaN"):
        model.generate(source, start=0, stop=1, max_steps=3)


def test_float32():
    model = model_of("additive", "float32")
    source, _ = KINDS["additive"].inputs(B, S, 1)
    tokens, scores = model.generate(source, start=1, stop=0, max_steps=6, beam=3)
    assert scores.dtype == np.float64
    wide = model.astype("float64").generate(source, start=1, stop=0, max_steps=6, beam=3)
    assert_same_bits(tokens, wide[0])
    assert_close(scores, wide[1], 1e-4)
    assert isinstance(model, crnn.Seq2Seq)
