"""Seq2Seq: shapes, the NumPy reference, lengths, tapes, copies, files, training."""

import copy
import pickle

import numpy as np
import pytest

import crnn
from crnn import reference
from crnn.layers.base.arguments import ForwardOptions
from crnn.seq2seq import planned
from support.comparing import assert_close, assert_same_bits
from support.running import copied, fill
from support.seq2seqs import KINDS, KS, KT, ends, forward_and_backward, model_of
from support.tables import CELLS

B, S, T = 4, 5, 6
F64 = {"dtype": "float64"}
every_kind = pytest.mark.parametrize("name", KINDS)
WITH_ATTENTION = [name for name, kind in KINDS.items() if kind.attention]

# ------------------------------------------------------------------------------------------- shapes


@every_kind
@pytest.mark.parametrize(
    "shape", [(4, 5, 6), (1, 1, 1), (0, 3, 2), (2, 0, 3), (3, 2, 0), (0, 0, 0)]
)
def test_shapes(name, shape, dtype):
    rows, S, T = shape
    model, kind = model_of(name, dtype), KINDS[name]
    source, target = kind.inputs(rows, S, T, dtype)
    found = forward_and_backward(model, source, target)
    assert found["logits"].shape == (rows, T, model.output_size)
    assert found["logits"].dtype == dtype
    if kind.attention:
        assert found["attention"].shape == (rows, T, S)
        assert found["attention"].dtype == dtype
    if kind.source_symbols is None:
        assert found["dsource"].shape == source.shape
    else:
        assert "dsource" not in found
    assert all(np.isfinite(array).all() for array in found.values())
    assert_same_bits(model(source, target)[0], model.forward(source, target, training=False)[0])


@every_kind
def test_parts_and_names(name):
    model, kind = model_of(name), KINDS[name]
    assert {key.partition(".")[0] for key in model.params} == set(model.parts) - (
        {"attention"} if kind.attention == "dot" else set()
    )
    P, C = model.decoder_output, model.output.input_size - model.decoder_output
    shapes = {key: array.shape for key, array in model.params.items()}
    if kind.attention == "additive":
        assert shapes["attention.W_query"] == (P, P)
        assert shapes["attention.W_key"] == (P, C)
        assert shapes["attention.v"] == (P,)
    if kind.attention == "general":
        assert shapes["attention.W"] == (P, C)
    if kind.attention is None:
        assert C == 0
    assert shapes["output.W"] == (model.output_size, P + C)
    assert shapes["output.b"] == (model.output_size,)
    if kind.target_symbols:
        width = model.decoder.input_size if hasattr(model.decoder, "input_size") else None
        if width is not None:
            assert shapes["target_embedding.W"] == (KT, width - C * (model.feeds_context))


def test_the_bridge_exists_where_states_differ():
    gru, lstm = lambda I, H: crnn.GRU(I, H), lambda I, H: crnn.LSTM(I, H)
    stack = lambda: crnn.Sequential([gru(3, 4), gru(4, 4)])  # noqa: E731
    pairs = {
        (gru(3, 4), gru(3, 4)): None,
        (gru(3, 4), gru(3, 5)): (4, 5),
        (gru(3, 4), lstm(3, 4)): (4, 8),
        (lstm(3, 4), lstm(3, 4)): None,
        (crnn.Bidirectional(gru(3, 4)), gru(3, 4)): (8, 4),
        (crnn.Bidirectional(gru(3, 4)), stack()): None,
        (lstm(3, 4), stack()): None,  # h and c to h and h: two arrays of the same widths
        (stack(), gru(3, 4)): (8, 4),
        (crnn.LSTM(3, 4, proj_size=2), lstm(3, 4)): (6, 8),
    }
    for (encoder, decoder), sizes in pairs.items():
        model = crnn.Seq2Seq(encoder, decoder)
        found = model.bridge and (model.bridge.input_size, model.bridge.output_size)
        assert found == sizes, (encoder, decoder)


# ------------------------------------------------------------------------------ the NumPy reference


@pytest.mark.parametrize("lengths", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("feeding", [True, False], ids=["feeding", "whole"])
@pytest.mark.parametrize("attention", [None, "additive", "dot", "general"])
@pytest.mark.parametrize("kind", CELLS)
def test_twin(kind, attention, feeding, lengths):
    cell, width = CELLS[kind], 4 + 5 * bool(attention and feeding)
    units = 5 if attention == "dot" else 3
    model = crnn.Seq2Seq(
        crnn.GRU(3, 5, **F64),
        cell(width, units, **F64),
        source_symbols=KS,
        target_symbols=KT,
        attention=attention,
        input_feeding=feeding,
    )
    fill(model)
    rng = np.random.default_rng(0)
    source, target = rng.integers(0, KS, (B, S)), rng.integers(0, KT, (B, T))
    both_lengths = {}
    if lengths:
        both_lengths = {"source_lengths": ends(B, S), "target_lengths": ends(B, T, 9)}
    logits, tape = model.forward(source, target, **both_lengths)
    twins = reference.GRU(), cell.twin
    options = {"attention": attention is not None, "input_feeding": feeding}
    expected, weights = reference.seq2seq_forward(
        *twins, model.params, source, target, **both_lengths, **options
    )
    assert_close(logits, expected, 1e-12)
    if attention is not None:
        assert_close(tape.attention, weights, 1e-12)


# ------------------------------------------------------------------------------------------ lengths


@every_kind
def test_padding_changes_nothing(name):
    """The padding may hold invalid symbols and NaN."""
    model, kind = model_of(name), KINDS[name]
    source, target = kind.inputs(B, S, T)
    both_lengths = {"source_lengths": ends(B, S), "target_lengths": ends(B, T, 9)}
    expected = forward_and_backward(model, source, target, **both_lengths)
    junk = {"i": 10**9, "f": np.nan}
    spoiled = [source.copy(), target.copy()]
    for array, lengths in zip(spoiled, both_lengths.values(), strict=True):
        array[np.arange(array.shape[1]) >= lengths[:, None]] = junk[array.dtype.kind]
    dlogits = np.random.default_rng(5).normal(size=expected["logits"].shape)
    past = np.arange(T) >= both_lengths["target_lengths"][:, None]
    dlogits[past] = np.nan
    found = forward_and_backward(model, *spoiled, dlogits, **both_lengths)
    assert_same_bits(found, expected)
    assert not found["logits"][past].any()
    if "dsource" in found:
        assert not found["dsource"][np.arange(S) >= both_lengths["source_lengths"][:, None]].any()


@every_kind
def test_a_row_alone_equals_its_row_in_a_batch(name):
    model, kind = model_of(name), KINDS[name]
    source, target = kind.inputs(B, S, T)
    long, wide = ends(B, S), ends(B, T, 9)
    whole = forward_and_backward(
        model, source, target, source_lengths=long, target_lengths=wide, training=False
    )
    for b in range(B):
        row = source[b : b + 1, : long[b]], target[b : b + 1, : wide[b]]
        found = forward_and_backward(model, *row, training=False)
        assert_close(found["logits"][0], whole["logits"][b, : wide[b]], 1e-12)
        if "attention" in whole:
            assert_close(found["attention"][0], whole["attention"][b, : wide[b], : long[b]], 1e-12)


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_attention_weights_sum_to_1_over_the_valid_source(name, dtype):
    model = model_of(name, dtype)
    long, wide = ends(B, S), ends(B, T, 9)
    both_lengths = {"source_lengths": long, "target_lengths": wide}
    _, tape = model.forward(*KINDS[name].inputs(B, S, T, dtype), **both_lengths)
    valid = (np.arange(S) < long[:, None])[:, None] & (np.arange(T) < wide[:, None])[..., None]
    assert not tape.attention[~valid].any()
    assert (tape.attention[valid] > 0).all()
    sums = tape.attention.sum(axis=2)
    expected = (long > 0)[:, None] & (np.arange(T) < wide[:, None])
    np.testing.assert_allclose(sums, expected, atol=1e-6 if dtype == "float32" else 1e-14)
    assert (long == 0).any()
    assert (wide == 0).any()


# -------------------------------------------------------------------------------------------- tapes


@every_kind
def test_a_second_backward_adds_to_the_gradients_again(name):
    model = model_of(name)
    source, target = KINDS[name].inputs(B, S, T)
    model.zero_grad()
    logits, tape = model.forward(source, target)
    dlogits = np.random.default_rng(5).normal(size=logits.shape)
    model.forward(source[::-1], target)  # does not change the tape
    dsource = model.backward(tape, dlogits)
    once = copied(dict(model.grads))
    again = model.backward(tape, dlogits)
    if dsource is not None:
        assert_same_bits(again, dsource)
    for key, grad in model.grads.items():
        assert_close(grad, 2 * once[key], 1e-12, key)


def test_attributes_of_a_tape():
    source, target = KINDS["additive"].inputs(B, S, T)
    _, tape = model_of("additive").forward(source, target)
    assert tape.encoder.gates["r"].shape == (B, S, 3)
    assert tape.decoder.gates["z"].shape == (B, T, 3)
    assert_same_bits(tape.target_in, target)
    _, tape = model_of("dot-whole").forward(source, target)
    assert tape.decoder.gates["z"].shape == (B, T, 3)
    _, tape = model_of("two-directions").forward(source, target)
    assert tape.encoder.backward.h.shape == (B, S, 2)
    assert [type(part).__name__ for part in tape.decoder] == [
        "Tape",
        "PointwiseTape",
        "Tape",
    ]
    with pytest.raises(AttributeError, match=r"^attention: the model of this tape has none"):
        tape.attention  # noqa: B018


@pytest.mark.parametrize("name", ["additive", "additive-whole"])
def test_results_can_be_edited_before_backward(name):
    model = model_of(name)
    x = KINDS[name].inputs(B, S, T)
    expected = forward_and_backward(model, *x)
    lengths = np.full(B, T)
    model.zero_grad()
    logits, tape = model.forward(*x, target_lengths=lengths)
    dlogits = np.random.default_rng(5).normal(size=logits.shape)
    logits[:], tape.attention[:], lengths[:] = 9, 9, 0
    model.backward(tape, dlogits)
    for key, grad in model.grads.items():
        assert_close(grad, expected[f"grads.{key}"], 1e-12)


def test_dlogits_none_stands_for_zeros():
    model = model_of("additive")
    model.zero_grad()
    _, tape = model.forward(*KINDS["additive"].inputs(B, S, T))
    assert model.backward(tape, None) is None
    assert not any(grad.any() for grad in model.grads.values())


@pytest.mark.parametrize("name", ["plain", "two-directions", "general-whole", "vectors-whole"])
def test_all_steps_at_once_equal_step_by_step(name, monkeypatch):
    """With the correct inputs both implementations agree, dropout included."""
    model = model_of(name)
    options = ForwardOptions(call=5)
    inputs = model.checked_inputs(*KINDS[name].inputs(B, S, T), ends(B, S), ends(B, T, 9))
    whole, tape = model.run(*inputs, options)
    monkeypatch.setattr(planned, "generation_plan", lambda *_: None)
    steps, other = model.run(*inputs, options, np.zeros((B, T), bool))
    assert len(other.decoder) == T
    assert_close(steps, whole, 1e-12)
    dlogits = np.random.default_rng(0).normal(size=whole.shape)
    found = []
    for one in (tape, other):
        model.zero_grad()
        dsource = model.backward(one, dlogits)
        found.append(copied({"dsource": dsource, "grads": dict(model.grads)}))
    for key, array in found[0].items():
        assert_close(found[1][key], array, 1e-11, key)


# --------------------------------------------------------------------------------- copies and files


@every_kind
def test_copies_and_files(name, tmp_path):
    model = model_of(name, "float32")
    source, target = KINDS[name].inputs(B, S, T, "float32")
    expected = forward_and_backward(model, source, target)
    crnn.save(tmp_path / "model.npz", model)
    others = [crnn.load(tmp_path / "model.npz"), copy.deepcopy(model)]
    others.append(pickle.loads(pickle.dumps(model)))
    for other in others:
        assert type(other) is crnn.Seq2Seq
        assert repr(other) == repr(model)
        assert_same_bits(forward_and_backward(other, source, target), expected)
        other.params["output.W"] = 0
        assert model.params["output.W"].any()
    typed = eval(repr(model), vars(crnn))
    assert repr(typed) == repr(model)
    typed.load_state_dict(model.state_dict())
    assert_same_bits(forward_and_backward(typed, source, target), expected)
    wide = model.astype("float64")
    assert {array.dtype.name for array in wide.params.values()} == {"float64"}
    assert wide.config["dtype"] == "float64"
    assert_close(
        forward_and_backward(wide, source, target)["logits"], expected["logits"].astype(float), 1e-4
    )


def test_large_vocabularies_in_a_file(tmp_path):
    model = crnn.Seq2Seq(crnn.GRU(1, 1), crnn.GRU(1, 1), source_symbols=9999, target_symbols=9998)
    crnn.save(tmp_path / "model.npz", model)
    assert_same_bits(crnn.load(tmp_path / "model.npz").params, model.params)


def test_teacher_in_a_file(tmp_path):
    teacher = crnn.TeacherForcing(model_of("additive"), 0.5, seed=8)
    crnn.save(tmp_path / "teacher.npz", teacher)
    other = crnn.load(tmp_path / "teacher.npz")
    assert (other.probability, other.seed) == (0.5, 8)
    x = KINDS["additive"].inputs(B, S, T)
    assert_same_bits(other.forward(x)[0], teacher.forward(x)[0])
    assert list(teacher.params) == list(teacher.model.params)
    assert repr(eval(repr(teacher), vars(crnn))) == repr(teacher)
    with pytest.raises(
        ValueError, match=r"^probability: expected a number in a layer that is saved"
    ):
        crnn.save(tmp_path / "no.npz", crnn.TeacherForcing(teacher.model, lambda call: 1.0))


def test_dtypes():
    narrow, wide = crnn.GRU(3, 4), crnn.GRU(3, 4, **F64)
    model = crnn.Seq2Seq(narrow, wide)
    assert model.encoder is narrow
    assert model.dtype == "float32"
    assert {array.dtype.name for array in model.params.values()} == {"float32"}
    assert wide.dtype == "float64"  # the argument has not changed
    assert crnn.Seq2Seq(wide, narrow).dtype == "float64"
    model = crnn.Seq2Seq(narrow, wide, dtype="float64", source_symbols=3)
    assert {array.dtype.name for array in model.params.values()} == {"float64"}
    assert model.decoder is wide


def test_seeds():
    make = lambda seed, **options: crnn.Seq2Seq(  # noqa: E731
        crnn.GRU(3, 4, seed=0),
        crnn.GRU(8, 4, seed=1),
        source_symbols=5,
        target_symbols=6,
        **options,
        seed=seed,
    )
    first, second = make(1), make(2)
    assert_same_bits(dict(make(1).params), dict(first.params))
    changed = {key for key in first.params if (first.params[key] != second.params[key]).any()}
    assert changed == {"source_embedding.W", "target_embedding.W", "output.W"}
    richer = make(1, attention="additive")  # one part more changes no other
    assert_same_bits(richer.params["source_embedding.W"], first.params["source_embedding.W"])
    assert make(None).seed != make(None).seed


def test_summary():
    model = model_of("two-directions", "float32")
    summary = crnn.TeacherForcing(model).summary()
    assert summary.parameters == sum(array.size for array in model.params.values())
    rows = {row.name: row.shape for row in summary.rows}
    assert rows[""] == f"(B, T, {KT})"
    assert rows["bridge"] == f"(B, {model.bridge.output_size})"
    assert rows["source_embedding"] == "(B, T, 2)"


# ----------------------------------------------------------------------------------------- training


def reversal(batches, seed, long=5, rows=16):
    """Yield items: sources of symbols 2 ... 7, targets in reverse order; 0 starts, 1 stops."""
    rng = np.random.default_rng(seed)
    for _ in range(batches):
        lengths = rng.integers(1, long + 1, rows)
        source = rng.integers(2, 8, (rows, long))
        target_in, target = np.zeros((2, rows, long + 1), np.int64)
        for b, n in enumerate(lengths):
            target[b, : n + 1] = [*source[b, :n][::-1], 1]
            target_in[b, 1 : n + 1] = target[b, :n]
        yield (source, target_in, lengths), target, lengths + 1


def learner(attention="additive", probability=1.0, **options):
    model = crnn.Seq2Seq(
        crnn.GRU(8, 16, seed=1),
        crnn.GRU(24 if attention else 8, 16, seed=2),
        source_symbols=8,
        target_symbols=8,
        attention=attention,
        seed=3,
    )
    return crnn.TeacherForcing(model, probability, seed=4, **options)


@pytest.mark.slow
def test_learns_to_reverse_sequences():
    teacher = learner(probability=lambda call: max(0.8, 1 - call / 500))
    data, held_out = list(reversal(40, 0)), list(reversal(2, 1))
    history = crnn.fit(
        teacher,
        data,
        loss=crnn.losses.cross_entropy,
        optimizer=crnn.optim.Adam(teacher, lr=1e-2, clip_norm=1.0),
        epochs=8,
        validation=held_out,
        progress=False,
    )
    assert history.columns["val_loss"][-1] < 0.3 < history.columns["val_loss"][0]
    (source, _, lengths), target, counts = held_out[0]
    tokens, scores = teacher.model.generate(
        source, start=0, stop=1, max_steps=8, source_lengths=lengths
    )
    right = [list(a[:n]) == list(b[:n]) for a, b, n in zip(tokens, target, counts, strict=True)]
    assert np.mean(right) > 0.8
    assert (scores <= 0).all()


def fitted(teacher, data, **options):
    optimizer = crnn.optim.Adam(teacher, lr=1e-2)
    options = {"epochs": 1, "progress": False, "loss": crnn.losses.cross_entropy} | options
    history = crnn.fit(teacher, data, optimizer=optimizer, **options)
    return history, copied(dict(teacher.params))


def test_fit_counts_the_steps_of_the_target():
    """Targets may be longer than sources; steps and updates are those of the target."""
    data = list(reversal(3, 0))
    assert crnn.training.count_updates(data, model=learner()) == 3
    history, _ = fitted(learner(), data, validation=data)
    assert history.columns["update"] == [3]
    rates = [crnn.callbacks.OneCycle(1e-2)]  # needs the number of updates of the run
    assert fitted(learner(), data, callbacks=rates)[0].columns["update"] == [3]
    losses = []
    teacher = learner()
    optimizer = crnn.optim.Adam(teacher, lr=1e-2)
    for x, target, lengths in data:
        logits, _, tape = teacher.forward(x, lengths=lengths)
        loss, dlogits = crnn.losses.cross_entropy(logits, target, lengths)
        teacher.backward(tape, dlogits)
        optimizer.step()
        losses.append((loss, lengths.sum()))
    mean = sum(loss * count for loss, count in losses) / sum(count for _, count in losses)
    assert abs(history.columns["loss"][0] - mean) < 1e-6


def test_accumulated_items_and_a_resumed_run(tmp_path):
    data = list(reversal(4, 0))
    _, whole = fitted(learner(probability=0.5), data, epochs=2, accumulate=2)
    path = tmp_path / "run.npz"
    saving = {"callbacks": [crnn.callbacks.Checkpoint(path)]}
    fitted(learner(probability=0.5), data, epochs=1, accumulate=2, **saving)
    _, resumed = fitted(learner(probability=0.5), data, epochs=2, accumulate=2, resume=path)
    assert_same_bits(resumed, whole)


def test_the_optimizer_may_be_of_the_model():
    teacher = learner()
    optimizer = crnn.optim.Adam(teacher.model)
    before = copied(dict(teacher.params))
    data = list(reversal(1, 0))
    loss = crnn.losses.cross_entropy
    crnn.fit(teacher, data, loss=loss, optimizer=optimizer, epochs=1, progress=False)
    assert all((array != before[key]).any() for key, array in teacher.params.items())


# ------------------------------------------------------------------------------- scheduled sampling


def test_teacher_forcing_equals_forward_of_the_model():
    model = model_of("additive")
    source, target = KINDS["additive"].inputs(B, S, T)
    long, wide = ends(B, S), ends(B, T, 9)
    teacher = crnn.TeacherForcing(model)
    y, state, tape = teacher.forward((source, target, long), lengths=wide)
    logits, _ = model.forward(source, target, source_lengths=long, target_lengths=wide)
    assert state is None
    assert_same_bits(y, logits)
    dx, _ = teacher.backward(tape, y)
    assert dx == (None, None, None)
    assert teacher.backward(teacher.forward((source, target))[2], y)[0] == (None, None)


@pytest.mark.parametrize("name", ["plain", "bridged", "dot", "additive-whole", "vectors-additive"])
def test_probability_0_reads_the_greedy_output(name):
    """The inputs of the decoder are then the symbols of `generate`."""
    model = model_of(name)
    source, target = KINDS[name].inputs(B, S, T)
    target[:] = target[:1, :1]
    before = target.copy()
    teacher = crnn.TeacherForcing(model, 0.0)
    _, _, tape = teacher.forward((source, target))
    tokens, _ = model.generate(source, start=target[0, 0], stop=None, max_steps=T)
    assert_same_bits(tape.target_in[:, 1:], tokens[:, :-1])
    assert_same_bits(tape.target_in[:, 0], target[:, 0])
    assert_same_bits(target, before)
    _, _, evaluated = teacher.forward((source, target), training=False)
    assert_same_bits(evaluated.target_in, target)
    assert_same_bits(teacher((source, target))[0], model(source, target)[0])


def test_the_share_of_correct_inputs_is_the_probability():
    model = model_of("plain")
    rows, steps = 200, 20
    source, _ = KINDS["plain"].inputs(rows, 2, 1)
    target = np.full((rows, steps), 1)
    model.params["output.b"] = [0, 0, 99, 0]  # it always predicts 2
    calls = []

    def schedule(call):
        calls.append(call)
        return 0.3

    inputs_by_call = {}
    for call in (0, 7):
        teacher = crnn.TeacherForcing(model, schedule, seed=1)
        inputs_by_call[call] = teacher.forward((source, target), call=call)[2].target_in
    assert calls == [0, 7]
    for inputs in inputs_by_call.values():
        assert (inputs[:, 0] == 1).all()
        assert set(np.unique(inputs)) == {1, 2}
        assert abs((inputs[:, 1:] == 1).mean() - 0.3) < 0.03
    assert (inputs_by_call[0] != inputs_by_call[7]).mean() > 0.3
    again = crnn.TeacherForcing(model, 0.3, seed=1)
    assert_same_bits(again.forward((source, target), call=7)[2].target_in, inputs_by_call[7])
    part = again.forward((source[50:60], target[50:60]), call=7, first_row=50)[2]
    assert_same_bits(part.target_in, inputs_by_call[7][50:60])
    other = crnn.TeacherForcing(model, 0.3, seed=2).forward((source, target), call=7)[2]
    assert (other.target_in != inputs_by_call[7]).mean() > 0.3


def test_dropout_is_a_function_of_the_call():
    model = model_of("stacked")
    x = KINDS["stacked"].inputs(B, S, T)
    one, same, other = (model.forward(*x, call=call)[0] for call in (1, 1, 2))
    assert_same_bits(one, same)
    assert (one != other).any()
    part = model.forward(x[0][2:], x[1][2:], call=1, first_row=2)[0]
    assert_close(part, one[2:], 1e-12)
    assert (model.forward(*x, training=False)[0] != one).any()
    assert_same_bits(model.forward(*x, training=False)[0], model(*x)[0])


def test_a_state_without_numbers_needs_attention():
    """A convolution of one tap remembers nothing that could be handed on."""
    conv, gru, symbols = crnn.CausalConv(4, 4, 1), crnn.GRU(4, 4), {"source_symbols": 5}
    symbols["target_symbols"] = 5
    for name, parts in (("encoder", (conv, gru)), ("decoder", (gru, conv))):
        with pytest.raises(ValueError, match=f"{name}: expected a layer whose state has numbers"):
            crnn.Seq2Seq(*parts, **symbols)
