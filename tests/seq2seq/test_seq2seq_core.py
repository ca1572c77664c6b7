"""A decoder that the core runs in one call, compared with the same decoder run step by step.

The two implementations share only the attention and the choice of symbols. Running step by step
calls the public methods of the layers, which other tests compare with the NumPy reference.
"""

import copy

import numpy as np
import pytest

import crnn
from crnn.seq2seq import planned
from support.comparing import assert_close, assert_same_bits
from support.running import copied, fill
from support.seq2seqs import KINDS, ends, model_of
from support.tables import CELLS, WITH_W_H

B, S, T, K = 7, 5, 6, 9
LOWERED = [name for name in KINDS if planned.decoder_plan(model_of(name))]
OPTIONS = {
    "plain": {},
    "recurrent dropout": {"recurrent_dropout": 0.3},
    "zoneout": {"zoneout": 0.2},
    "weight drop": {"weight_drop": 0.3},
    "layer norm": {"layer_norm": True},
    "learned": {"learn_state": True},
    "dropout": {"between": (crnn.Dropout(0.3, seed=6),)},
    "variational dropout": {"between": (crnn.Dropout(0.3, variational=True, seed=6),)},
}


@pytest.fixture
def step_by_step(monkeypatch):
    """Return a function that makes models run their decoders step by step, not in the core."""
    nothing = lambda *_: None  # noqa: E731

    def replace():
        monkeypatch.setattr(planned, "decoder_plan", nothing)
        monkeypatch.setattr(planned, "generation_plan", nothing)

    return replace


def gradients(model, inputs, **options):
    """Return logits, attention weights and gradients by name, and the tape."""
    model.zero_grad()
    source, target = inputs
    logits, tape = model.forward(source, target, **options)
    weights = np.random.default_rng(4).normal(size=logits.shape)
    dsource = model.backward(tape, weights)
    shown = None if model.attention is None else tape.attention
    found = {"logits": logits, "attention": shown, "dsource": dsource, "grads": dict(model.grads)}
    return copied(found), tape


def assert_like(found, expected):
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        assert_close(found[key], array, 1e-11, key)


def test_most_kinds_run_in_the_core():
    assert {"additive", "dot", "general"} <= set(LOWERED) < set(KINDS)


@pytest.mark.parametrize("name", LOWERED)
@pytest.mark.parametrize("ragged", [False, True])
def test_the_core_equals_step_by_step(name, ragged, step_by_step):
    model, inputs = model_of(name), KINDS[name].inputs(B, S, T)
    lengths = {"source_lengths": ends(B, S), "target_lengths": ends(B, T, 9)} if ragged else {}
    found, tape = gradients(model, inputs, call=5, first_row=3, **lengths)
    step_by_step()
    expected, steps = gradients(model, inputs, call=5, first_row=3, **lengths)
    assert_like(found, expected)
    assert_same_bits(tape.target_in, steps.target_in)


def stacked(cell, dtype="float64", inputs=K, context=4, width=4, between=(), **options):
    """Return two layers with the same options, the second in a Sequential inside the first."""
    make = CELLS[cell]
    top = crnn.Sequential([*between, make(5, width, seed=2, dtype=dtype, **options)])
    return crnn.Sequential([make(inputs + context, 5, seed=1, dtype=dtype, **options), top])


def stacked_model(cell, attention="additive", dtype="float64", **options):
    encoder = CELLS[cell](3, 4, seed=3, dtype=dtype)
    decoder = stacked(cell, dtype, 2, **options)
    symbols = {"source_symbols": K, "target_symbols": K}
    return fill(crnn.Seq2Seq(encoder, decoder, **symbols, attention=attention, seed=4), 1)


def symbols_of(B, S, T, seed=2):
    rng = np.random.default_rng(seed)
    return rng.integers(0, K, (B, S)), rng.integers(0, K, (B, T))


@pytest.mark.parametrize(
    ("cell", "option"),
    [
        (cell, option)
        for cell in CELLS
        for option in OPTIONS
        if cell in WITH_W_H or option not in ("recurrent dropout", "weight drop")
    ],
)
def test_every_cell_with_every_kind_of_dropout(cell, option, step_by_step):
    model, inputs = stacked_model(cell, **OPTIONS[option]), symbols_of(B, S, T)
    assert model.decoder.stochastic == (option not in ("plain", "layer norm", "learned"))
    lengths = {"source_lengths": ends(B, S), "target_lengths": ends(B, T, 9)}
    found, tape = gradients(model, inputs, call=2, **lengths)
    shapes = tape.decoder[0].h.shape, tape.decoder[1][-1].h.shape
    assert shapes == ((B, T, 5), (B, T, 4))
    step_by_step()
    expected, steps = gradients(model, inputs, call=2, **lengths)
    assert_like(found, expected)
    for t, step in enumerate(steps.decoder):
        assert_close(tape.decoder[0].h[:, t : t + 1], step[0].h, 1e-12)


@pytest.mark.parametrize("symbols", [K, None])
def test_layers_without_memory_in_a_decoder(symbols, step_by_step):
    """Each layer with nodes may stand below the top layer, also in front of the first one."""
    options = {"dtype": "float64"}
    decoder = [
        crnn.LayerNorm(2 + 4, **options),
        crnn.Dropout(0.2, seed=9),
        crnn.Dense(2 + 4, 5, seed=5, **options),
        crnn.Activation("gelu"),
        crnn.LSTM(5, 5, seed=1, **options),
        crnn.LayerNorm(5, **options),
        crnn.GRU(5, 4, seed=2, **options),
    ]
    model = crnn.Seq2Seq(
        crnn.GRU(3, 4, seed=3, **options),
        crnn.Sequential(decoder),
        source_symbols=K,
        target_symbols=symbols,
        attention="additive",
        seed=4,
    )
    source, target = symbols_of(B, S, T)
    if symbols is None:
        target = np.random.default_rng(1).normal(size=(B, T, 2))
    assert planned.decoder_plan(fill(model, 1)) is not None
    lengths = {"source_lengths": ends(B, S), "target_lengths": ends(B, T, 9)}
    found, tape = gradients(model, (source, target), call=2, **lengths)
    assert len(tape.decoder) == len(decoder)
    step_by_step()
    expected, _ = gradients(model, (source, target), call=2, **lengths)
    assert_like(found, expected)


def test_the_top_layer_of_a_decoder_with_a_plan_is_recurrent():
    """The first query is h of an initial state."""
    decoder = crnn.Sequential([crnn.GRU(2 + 4, 4, seed=1), crnn.Dense(4, 4, seed=2)])
    model = crnn.Seq2Seq(crnn.GRU(3, 4), decoder, source_symbols=K, attention="dot")
    assert planned.decoder_plan(model) is None
    model = crnn.Seq2Seq(
        crnn.GRU(3, 4), decoder, source_symbols=K, attention="dot", input_feeding=False
    )
    assert planned.decoder_plan(model) is not None


@pytest.mark.parametrize("name", [name for name in LOWERED if KINDS[name].target_symbols])
def test_generation_equals_step_by_step(name, step_by_step):
    model, (source, _) = model_of(name), KINDS[name].inputs(B, S, T)
    options = {"start": 0, "stop": 1, "max_steps": 8, "source_lengths": ends(B, S)}
    ways = [
        {},
        {"beam": 3, "n_best": 2, "length_penalty": 0.5},
        {"temperature": 1.5, "n_best": 3, "seed": 6},
        {"temperature": 0.7, "top_k": 3, "top_p": 0.9, "seed": 7},
    ]
    found = [model.generate(source, **options, **way) for way in ways]
    step_by_step()
    for way, (tokens, scores) in zip(ways, found, strict=True):
        expected = model.generate(source, **options, **way)
        assert_same_bits(tokens, expected[0])
        assert_close(scores, expected[1], 1e-12)


@pytest.mark.parametrize("feeds", [False, True])
def test_scheduled_sampling_equals_step_by_step(feeds, step_by_step):
    context = 4 if feeds else 0
    model = crnn.Seq2Seq(
        crnn.GRU(3, 4, seed=1, dtype="float64"),
        crnn.LSTM(2 + context, 4, seed=2, dtype="float64"),
        source_symbols=K,
        target_symbols=K,
        attention="general",
        input_feeding=feeds,
        seed=3,
    )
    teacher = crnn.TeacherForcing(fill(model, 5), 0.5, seed=8)
    source, target = symbols_of(B, S, T)
    x, lengths = (source, target, ends(B, S)), ends(B, T, 9)
    found, _, tape = teacher.forward(x, lengths=lengths, call=3)
    junk = np.where(np.arange(T) < lengths[:, None], target, -(2**60))
    assert_same_bits(teacher.forward((source, junk, x[2]), lengths=lengths, call=3)[0], found)
    step_by_step()
    expected, _, steps = teacher.forward(x, lengths=lengths, call=3)
    valid = np.arange(T) < lengths[:, None]
    assert_close(found, expected, 1e-12)
    assert_same_bits(tape.target_in[valid], steps.target_in[valid])
    assert (tape.target_in != target)[valid].any()


@pytest.mark.parametrize(
    "decoder", [crnn.GRU(4, 8, seed=1), crnn.Sequential([crnn.GRU(4, 8, seed=1)])]
)
def test_scheduled_sampling_passes_nan_on_to_the_loss(decoder):
    model = crnn.Seq2Seq(crnn.GRU(4, 8, seed=0), decoder, source_symbols=5, target_symbols=6)
    model.params["output.b"][0] = np.nan
    teacher = crnn.TeacherForcing(model, 0.5, seed=0)
    source, target = np.array([[1, 2, 3]] * 4), np.array([[0, 1, 2, 3]] * 4)
    logits, _ = teacher.forward((source, target))[::2]
    assert np.isnan(logits).any()
    with pytest.raises(FloatingPointError, match=r"parameter output\.b of the model"):
        crnn.fit(
            teacher,
            [((source, target), target)],
            loss=crnn.losses.cross_entropy,
            optimizer=crnn.optim.SGD(teacher, 0.01),
            epochs=1,
            progress=False,
        )


@pytest.mark.parametrize("in_core", [False, True])
def test_predictions_outside_of_the_dtype_of_the_target(in_core, step_by_step):
    options = {"source_symbols": K, "target_symbols": 1000, "attention": "dot", "seed": 3}
    model = crnn.Seq2Seq(crnn.GRU(3, 4, seed=1), crnn.GRU(2 + 4, 4, seed=2), **options)
    teacher, (source, target) = crnn.TeacherForcing(model, 0.0, seed=8), symbols_of(B, S, T)
    if not in_core:
        step_by_step()
    expected, _, tape = teacher.forward((source, target))
    assert tape.target_in.max() > 255
    assert_same_bits(teacher.forward((source, target.astype(np.uint8)))[0], expected)


# ------------------------------------------------------------------------------------ the same bits


def large_model(dtype="float32"):
    """Return a model that is large enough for several threads."""
    encoder, decoder = (
        crnn.GRU(16, 64, dtype=dtype, seed=1),
        stacked("gru_after", dtype, 16, 64, 48),
    )
    symbols = {"source_symbols": K, "target_symbols": K}
    return crnn.Seq2Seq(encoder, decoder, **symbols, attention="additive", seed=2)


@pytest.fixture
def threads():
    before = crnn._core.num_threads()
    yield crnn.set_num_threads
    crnn.set_num_threads(before)


def test_same_bits_with_any_number_of_threads(threads):
    model, inputs = large_model(), symbols_of(70, 20, 30)
    lengths = {"source_lengths": ends(70, 20), "target_lengths": ends(70, 30, 9)}
    options = {"start": 0, "stop": 1, "max_steps": 20, "source_lengths": ends(70, 20)}
    found = []
    for count in (1, 2, 3, 5):
        threads(count)
        expected = [
            model.generate(inputs[0], **options),
            model.generate(inputs[0], beam=3, **options),
        ]
        found.append((gradients(model, inputs, **lengths)[0], expected))
    for one in found[1:]:
        assert_same_bits(one, found[0])


def test_a_row_alone_is_bit_identical_to_its_row_in_a_batch():
    model, (source, target) = large_model(), symbols_of(20, 6, 8)
    s, t = ends(20, 6), ends(20, 8, 9)
    logits, tape = model.forward(source, target, source_lengths=s, target_lengths=t)
    options = {"start": 0, "stop": 1, "max_steps": 12}
    tokens, scores = model.generate(source, source_lengths=s, **options)
    for b in range(20):
        one = slice(b, b + 1)
        lengths = {"source_lengths": s[one], "target_lengths": t[one]}
        alone, own = model.forward(source[one], target[one], **lengths)
        assert_same_bits(alone, logits[one])
        assert_same_bits(own.attention, tape.attention[one])
        row, score = model.generate(source[one], source_lengths=s[one], **options)
        assert_same_bits(row[0], tokens[b, : row.shape[1]])
        assert (tokens[b, row.shape[1] :] == 1).all()
        assert_same_bits(score[0], scores[b])


def test_junk_in_padding_changes_nothing():
    model, (source, target) = large_model("float64"), symbols_of(9, 6, 8)
    lengths = {"source_lengths": ends(9, 6), "target_lengths": ends(9, 8, 9)}
    expected, _ = gradients(model, (source, target), **lengths)
    for array, end in ((source, ends(9, 6)), (target, ends(9, 8, 9))):
        array[np.arange(array.shape[1]) >= end[:, None]] = -(2**60)
    found, _ = gradients(model, (source, target), **lengths)
    assert_same_bits(found, expected)


# ------------------------------------------------------------------------------------------- tapes


def test_tapes_of_the_layers_alone():
    """A layer runs backward on its own tape, except one that has read symbols with vectors."""
    model = stacked_model("gru_after")
    _, tape = gradients(model, symbols_of(B, S, T))
    lowest, upper = model.decoder.layers[0], model.decoder.layers[1].layers[-1]
    with pytest.raises(ValueError, match=r"^tape: .* read symbols inside the decoder"):
        lowest.backward(tape.decoder[0], np.zeros((B, T, lowest.output_size)))
    before = copied(upper.grads)
    dx, _ = upper.backward(tape.decoder[1][-1], np.zeros((B, T, upper.output_size)))
    assert_same_bits(dx, np.zeros((B, T, upper.input_size)))
    assert_same_bits(copied(upper.grads), before)


def gradients_of_tape(model, tape):
    """Return the gradients of the model from the gradient at the logits that `gradients` uses."""
    model.zero_grad()
    model.backward(tape, np.random.default_rng(4).normal(size=(B, T, K)))
    return copied(model.grads)


def test_backward_of_a_copy_adds_to_the_gradients_of_the_copy():
    """The tape is that of the original model."""
    model = stacked_model("lstm")
    _, tape = gradients(model, symbols_of(B, S, T))
    before = copied(model.grads)
    assert_same_bits(gradients_of_tape(copy.deepcopy(model), tape), before)
    assert_same_bits(copied(model.grads), before)


def test_a_tape_from_before_a_layer_was_initialized_again():
    """The model refuses the tape; a copy of the model from before the change accepts it."""
    model = stacked_model("gru_after")
    _, tape = gradients(model, symbols_of(B, S, T))
    twin, expected = copy.deepcopy(model), copied(model.grads)
    model.decoder.layers[1].layers[0].__init__(5, 400, dtype="float64", seed=2)
    with pytest.raises(ValueError, match=r"^tape: expected one of a (model|decoder) like"):
        gradients_of_tape(model, tape)
    assert_same_bits(gradients_of_tape(twin, tape), expected)


# ------------------------------------------------------------------------------------- generation


def generation_stream(memory, state=None, batch=B):
    """Return the stream of a decoder with input feeding and its output layer."""
    options = {"source_symbols": K, "target_symbols": K, "attention": "dot", "dtype": "float64"}
    model = crnn.Seq2Seq(crnn.GRU(4, 3, seed=2), crnn.GRU(4 + 3, 3, seed=3), **options)
    return planned.generation_plan(model).core.stream(batch, state, memory)


def test_a_stream_with_a_memory_steps_as_the_core_generates():
    rng = np.random.default_rng(3)
    keys, state = rng.normal(size=(B, S, 3)), rng.normal(size=(B, 3))
    memory = keys, rng.normal(size=(B, S, 3)), np.array(ends(B, S))
    stream, search = generation_stream(memory, state), crnn._core.Search(B, K, T)
    x, chosen = np.zeros(B, int), []
    stream._generate(x, (search,))
    for _ in range(T):
        x = stream.step(x).argmax(axis=1)
        chosen.append(x)
    assert_same_bits(search.result()[0][:, 0], np.stack(chosen, axis=1))
    assert len(np.unique(chosen)) > 2


@pytest.mark.parametrize(
    "memory",
    [
        None,
        5,
        (),
        (np.zeros((B, S, 3)),) * 2,
        (np.zeros((B, S, 3)), None, None),
        (np.zeros((B, S, 3)), np.zeros((B, S, 2)), None),
        (np.zeros((B, S, 2)), np.zeros((B, S, 3)), None),
        (np.zeros((B, S, 3)), np.zeros((B, S + 1, 3)), None),
        (np.zeros((B + 1, S, 3)), np.zeros((B, S, 3)), None),
        (np.zeros((B, S, 3)), np.zeros((B, S, 3)), [S + 1] * B),
        (np.zeros((B, S, 3)), np.zeros((B, S, 3)), [1]),
    ],
)
def test_a_stream_refuses_a_wrong_memory(memory):
    with pytest.raises((TypeError, ValueError)):
        generation_stream(memory)


def test_a_stream_without_attention_refuses_a_memory():
    model = crnn.Sequential([crnn.GRU(3, 4), crnn.Dense(4, 2)])
    memory = (np.zeros((B, S, 3), "float32"),) * 2 + (None,)
    with pytest.raises(ValueError, match=r"^memory: expected sizes"):
        model._planned().planned(0).core.stream(B, None, memory)
