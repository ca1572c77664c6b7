"""Seq2Seq whose decoder reads the encoder's output as a memory: weights, search, training."""

import numpy as np
import pytest

import crnn
from crnn.models import Translator
from support.comparing import assert_close, assert_same_bits
from support.running import fill

F64 = {"dtype": "float64"}
B, S, T, KS, KT = 3, 6, 5, 7, 6
LENGTHS = {"source_lengths": np.array([6, 2, 4]), "target_lengths": np.array([5, 3, 1])}


def encoder(size=8):
    block = crnn.TransformerBlock(size, 2, causal=False, seed=0, **F64)
    return crnn.Sequential([block, crnn.LayerNorm(size, **F64)])


def decoder(memory=8, **options):
    options = {"memory_size": memory} | F64 | options
    blocks = [crnn.TransformerBlock(8, 2, seed=k, **options) for k in (1, 2)]
    return crnn.Sequential([*blocks, crnn.LayerNorm(8, **F64)])


def model_of(scale=0.4, **options):
    made = crnn.Seq2Seq(encoder(), decoder(**options), source_symbols=KS, target_symbols=KT, seed=3)
    return fill(made, 4, scale)


def task():
    rng = np.random.default_rng(0)
    return rng.integers(0, KS, (B, S)), rng.integers(0, KT, (B, T))


def test_attention_is_that_of_the_last_block():
    model, (source, target) = model_of(), task()
    _, tape = model.forward(source, target, **LENGTHS)
    weights = tape.attention
    assert weights.shape == (B, T, S)
    memory, _ = model.encoder(model.source_embedding(source)[0], lengths=LENGTHS["source_lengths"])
    x, _ = model.target_embedding(target)
    state = None, None, None, memory, LENGTHS["source_lengths"]
    x, _ = model.decoder[0](x, state, lengths=LENGTHS["target_lengths"])
    _, _, own = model.decoder[1].forward(x, state, lengths=LENGTHS["target_lengths"])
    assert_close(weights, own.memory_attention.mean(axis=1), 1e-12)
    for b in range(B):
        n, m = LENGTHS["target_lengths"][b], LENGTHS["source_lengths"][b]
        assert_close(weights[b, :n].sum(axis=1), np.ones(n), 1e-12)
        assert not weights[b, n:].any()
        assert not weights[b, :, m:].any()


def test_the_decoder_runs_on_states_of_its_own():
    """Logits are those of the layers called one after the other."""
    model, (source, target) = model_of(), task()
    logits, _ = model(source, target, source_lengths=LENGTHS["source_lengths"])
    memory, _ = model.encoder(model.source_embedding(source)[0], lengths=LENGTHS["source_lengths"])
    state = None, None, None, memory, LENGTHS["source_lengths"]
    x, _ = model.decoder(model.target_embedding(target)[0], [state, state, None])
    assert_same_bits(model.output(x)[0], logits)


def beam_by_hand(model, source, length, width, steps, stop):
    """Return the best rows of a beam search that computes all logits anew at each step."""
    beam, done = [((), 0.0)], []
    for _ in range(steps):
        rows = []
        for tokens, score in beam:
            target = np.array([[0, *tokens]])
            logits, _ = model(source[None, :length], target)
            log_p = logits[0, -1] - np.logaddexp.reduce(logits[0, -1])
            rows += [((*tokens, k), score + log_p[k]) for k in range(KT)]
        rows = sorted(rows, key=lambda row: -row[1])[:width]
        done += [row for row in rows if row[0][-1] == stop]
        beam = [row for row in rows if row[0][-1] != stop]
        best = sorted([*done, *beam], key=lambda row: -row[1])[:width]
        done = [row for row in best if row[0][-1] == stop]
        beam = [row for row in best if row[0][-1] != stop]
        if not beam:
            break
    return sorted([*done, *beam], key=lambda row: -row[1])


@pytest.mark.parametrize("width", [1, 2, 3, 5])
@pytest.mark.parametrize("window", [None, 3])
def test_beam_search_is_that_by_hand(width, window, threads):
    """Rows branch and end; the memory follows them."""
    threads(2)
    model, (source, _) = model_of(0.3, window=window), task()
    lengths = LENGTHS["source_lengths"]
    options = {"start": 0, "stop": None, "max_steps": 7, "beam": width, "n_best": width}
    tokens, scores = model.generate(source, source_lengths=lengths, **options)
    tokens, scores = tokens.reshape(B, width, -1), scores.reshape(B, width)
    for b in range(B):
        wanted = beam_by_hand(model, source[b], lengths[b], width, 7, None)
        assert [tuple(row) for row in tokens[b]] == [row for row, _ in wanted]
        assert_close(scores[b], np.array([score for _, score in wanted]), 1e-10)


@pytest.mark.parametrize("options", [{}, {"beam": 3}, {"temperature": 0.8, "seed": 1}], ids=str)
def test_the_core_generates_what_steps_do(options, threads):
    """A decoder with a method of the user runs by its methods, step by step."""

    class Own(crnn.Sequential):
        def __call__(self, *args, **kwargs):
            return super().__call__(*args, **kwargs)

    threads(2)
    model, source = model_of(), np.random.default_rng(3).integers(0, KS, (20, S))
    lengths = np.random.default_rng(4).integers(0, S + 1, 20)
    given = {"start": 0, "stop": 1, "max_steps": 70, "source_lengths": lengths} | options
    tokens, scores = model.generate(source, **given)
    own = crnn.Seq2Seq(
        encoder(), Own(decoder().layers), source_symbols=KS, target_symbols=KT, seed=3
    )
    fill(own, 4, 0.4)
    found, other = own.generate(source, **given)
    assert_same_bits(found, tokens)
    assert_close(other, scores, 1e-10)


def test_scheduled_sampling():
    """The decoder reads its own symbols; weights of the steps that ran are on the tape."""
    model, (source, target) = model_of(), task()
    layer = crnn.TeacherForcing(model, 0.0)
    x = source, target, LENGTHS["source_lengths"]
    logits, _, tape = layer.forward(x, call=0)
    inputs = tape.target_in
    assert_same_bits(inputs[:, 1:], logits.argmax(axis=2)[:, :-1])
    wanted, _ = model.forward(source, inputs, source_lengths=x[2])
    assert_close(logits, wanted, 1e-12)
    dropped = model_of(dropout=0.3)  # such a decoder runs step by step
    _, _, tape = crnn.TeacherForcing(dropped, 0.0).forward(x, lengths=[2, 3, 1], call=0)
    assert tape.attention.shape == (B, T, S)
    assert tape.attention[:, :1].all(axis=(1, 2)).tolist() == [True, False, False]
    assert not tape.attention[:, 3:].any()


def test_frozen_parts():
    """With a frozen decoder, the encoder has the same gradients; and the reverse."""
    (source, target), grads = task(), {}
    for frozen in (None, "encoder", "decoder"):
        model = model_of()
        if frozen:
            getattr(model, frozen).trainable = False
        layer = crnn.TeacherForcing(model)
        logits, _, tape = layer.forward((source, target), call=0, needs_dx=False)
        layer.backward(tape, np.cos(np.arange(logits.size)).reshape(logits.shape))
        grads[frozen] = {name: grad.copy() for name, grad in model.grads.items()}
    for frozen in ("encoder", "decoder"):
        for name, grad in grads[frozen].items():
            if name.startswith(frozen):
                assert not grad.any()
            else:
                assert_close(grad, grads[None][name], 1e-12, name)


@pytest.mark.parametrize("attention", ["additive", "dot"])
def test_no_other_attention(attention):
    with pytest.raises(ValueError, match="attention: expected None for a decoder with memory_size"):
        crnn.Seq2Seq(encoder(), decoder(), target_symbols=KT, attention=attention)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (lambda: (encoder(), decoder(5)), "decoder: expected memory_size=8, the features of the"),
        (lambda: (encoder(12), decoder()), r"decoder: expected memory_size=12, .*, got 8"),
        (
            lambda: (encoder(), crnn.Sequential([decoder(8), decoder(5)])),
            r"decoder: expected layers with one memory_size, got \[5, 8\]",
        ),
        (
            lambda: (crnn.Sequential([crnn.GRU(8, 8), crnn.Pool("last")]), decoder()),
            "encoder: expected a layer that keeps the time axis",
        ),
        (
            lambda: (encoder(), crnn.TransformerBlock(8, 2, causal=False)),
            "decoder: expected a layer that runs step by step",
        ),
    ],
)
def test_parts_that_do_not_fit(parts, message):
    with pytest.raises(ValueError, match=message):
        crnn.Seq2Seq(*parts(), source_symbols=KS, target_symbols=KT)


def test_a_translator_learns(tmp_path):
    """To write a word of four letters backwards."""
    rng = np.random.default_rng(0)
    words = {"".join(rng.choice(list("abcdef"), 4)) for _ in range(800)}
    pairs = [(word, word[::-1]) for word in sorted(words)]
    model = Translator.for_pairs(
        pairs, cell="transformer", hidden_size=32, heads=2, layers=2, seed=0
    )
    model.train(pairs, epochs=25, batch_size=16, lr=5e-3, validation_split=0.2, progress=False)
    assert model.evaluate(pairs) > 0.95
    alignment = model.attention("abc")
    assert alignment.weights.shape == (len(alignment.target), 3)
    assert_close(alignment.weights.sum(axis=1), np.ones(len(alignment.target)), 1e-5)
    model.save(tmp_path / "folder")
    loaded = Translator.load(tmp_path / "folder")
    assert loaded.translate(["fed", "", "a"], beam=3) == model.translate(["fed", "", "a"], beam=3)


def test_blocks_of_translators():
    pairs = [("ab", "ba"), ("b", "b")]
    make = Translator.for_pairs
    for both in (True, False):
        model = make(pairs, cell="transformer", hidden_size=8, layers=2, bidirectional=both)
        assert [type(layer).__name__ for layer in model.network.decoder] == [
            "TransformerBlock",
            "TransformerBlock",
            "LayerNorm",
        ]
        assert [layer.causal for layer in model.network.encoder[:2]] == [not both] * 2
        assert [layer.memory_size for layer in model.network.decoder[:2]] == [8, 8]
    with pytest.raises(ValueError, match="heads: expected a divisor of size=8, got 3"):
        make(pairs, cell="transformer", hidden_size=8, heads=3)
    with pytest.raises(ValueError, match=r"cell: expected one of gru, .*transformer, got 'tcn'"):
        make(pairs, cell="tcn")
