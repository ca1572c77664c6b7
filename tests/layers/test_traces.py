"""Traces: the gradients of every step, which a backward keeps on the tapes of any composition."""

import numpy as np
import pytest

import crnn
import crnn._core as _core
from crnn.layers.base.adapted import named_layers
from crnn.layers.base.tapes import recurrent_tapes
from support.comparing import assert_close, assert_same_bits
from support.running import first_call, gradients_like
from support.tables import CELLS, LAYERS, VARIED, every_cell_with_W_h

B, T = 3, 7
LENGTHS = [7, 0, 4]


def walked(layer, x, trace=True, **options):
    """Return the tape after forward and backward with random dy and dstate."""
    layer.zero_grad()
    y, end, tape = layer.forward(x, **first_call(layer) | options)
    dy, dend = gradients_like([y, end], np.random.default_rng(5))
    layer.backward(tape, dy, dend, **({"trace": True} if trace else {}))
    return tape


def shares(tape):
    """Return the term of each step in the gradient of W_h, (T, G*H, P)."""
    terms = [np.einsum("bth,btp->thp", *pair) for pair in tape.W_h_terms.values()]
    whole = np.concatenate(terms, axis=1)
    return whole if tape.W_h_kept is None else whole * tape.W_h_kept


def recurrent(layer):
    return [
        (place, part) for place, part in named_layers(layer) if isinstance(part, _core.Recurrent)
    ]


@pytest.mark.parametrize("name", [*CELLS, *VARIED])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_terms_of_the_sum_over_time_add_up_to_the_gradient(name, reverse, isa):
    make = (CELLS | VARIED)[name]
    layer = make(3, 9, dtype="float64", reverse=reverse, seed=2)
    rng = np.random.default_rng(1)
    given = {"lengths": LENGTHS, "mask": rng.random((B, T)) < 0.7}
    for options in ({}, given, given | {"resets": rng.random((B, T)) < 0.3}):
        tape = walked(layer, rng.normal(size=(B, T, 3)), call=3, **options)
        if "W_h" in layer.params:
            assert_close(shares(tape).sum(axis=0), layer.grads["W_h"], 1e-12, "W_h")
        else:
            assert dict(tape.W_h_terms) == {}
        if layer.bias:
            sums = np.concatenate([gate.sum(axis=(0, 1)) for gate in tape.dgates.values()])
            assert_close(sums, layer.grads["b"], 1e-12, "b")
    assert (tape.W_h_kept is None) == (layer.options.get("weight_drop", 0) == 0)


@every_cell_with_W_h
def test_the_term_of_a_step_is_its_gradient(kind):
    layer = CELLS[kind](3, 4, dtype="float64", seed=0)
    x = np.random.default_rng(0).normal(size=(1, T, 3))
    whole = shares(walked(layer, x))
    dy, dend = gradients_like(list(layer(x)), np.random.default_rng(5))
    for t in range(T):
        _, before = layer(x[:, :t])
        _, after, tape = layer.forward(x[:, t : t + 1], before)
        _, _, rest = layer.forward(x[:, t + 1 :], after)
        _, dafter = layer.backward(rest, dy[:, t + 1 :], dend)
        layer.zero_grad()
        layer.backward(tape, dy[:, t : t + 1], dafter)
        assert_close(whole[t], layer.grads["W_h"], 1e-12, f"step {t}")


@pytest.mark.parametrize("name", [name for name, one in LAYERS.items() if recurrent(one.layer())])
def test_a_trace_changes_no_bit_and_reaches_every_recurrent_part(name):
    subject = LAYERS[name]
    layer, x = subject.layer(), subject.inputs(B, T)
    walked(layer, x, trace=False, lengths=LENGTHS)
    without = {key: grad.copy() for key, grad in layer.grads.items()}
    tape = walked(layer, x, lengths=LENGTHS)
    assert_same_bits(dict(layer.grads), without)
    kept = list(recurrent_tapes(tape))
    assert len(kept) == len(recurrent(layer))
    for (_, pieces), (_, part) in zip(kept, recurrent(layer), strict=True):
        if "W_h" in part.grads:
            total = sum(shares(piece).sum(axis=0) for piece in pieces)
            assert_close(total, part.grads["W_h"], 1e-12)
        assert sum(piece.dh.shape[1] for piece in pieces) == T


DECODERS = {
    "no attention": (None, True, lambda: crnn.GRU(4, 4, seed=1)),
    "in the core": (
        "additive",
        True,
        lambda: crnn.Sequential([crnn.LSTM(9, 5, seed=1), crnn.Dropout(0.2), crnn.LSTM(5, 5)]),
    ),
    "whole": ("general", False, lambda: crnn.GRU(4, 5, seed=1)),
    "step by step": ("additive", True, lambda: crnn.Sequential([crnn.Dense(9, 5), crnn.GRU(5, 5)])),
}


@pytest.mark.parametrize("kind", DECODERS)
def test_encoders_and_decoders_are_traced(kind):
    attention, feeding, decoder = DECODERS[kind]
    encoder = crnn.Bidirectional(crnn.LSTM(4, 5, seed=2), "sum")
    options = {"source_symbols": 5, "target_symbols": 6, "dtype": "float64", "seed": 0}
    model = crnn.Seq2Seq(encoder, decoder(), attention=attention, input_feeding=feeding, **options)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, (B, T)), rng.integers(0, 6, (B, 4))
    for layer in (crnn.TeacherForcing(model, seed=0), model):
        layer.zero_grad()
        y, *_, tape = layer.forward(x) if layer is not model else layer.forward(*x)
        layer.backward(tape, np.ones_like(y), trace=True)
        kept = dict(recurrent_tapes(tape))
        assert list(kept)[:2] == ["encoder.forward", "encoder.backward"]
        for place, pieces in kept.items():
            total = sum(shares(piece).sum(axis=0) for piece in pieces)
            assert_close(total, layer.grads[f"{place}.W_h"], 1e-12, place)


def test_a_requested_trace_is_kept_once():
    layer = crnn.GRU(3, 4, seed=0)
    y, _, tape = layer.forward(np.ones((2, 5, 3)))
    assert tape.traced is False
    tape.traced = 1
    assert tape.traced is True
    layer.backward(tape, np.ones_like(y))
    assert tape.traced is False
    traced = tape.dh
    layer.backward(tape, 2 * np.ones_like(y))
    assert_same_bits(tape.dh, traced)
    with pytest.raises(AttributeError, match="traced"):
        del tape.traced


@pytest.mark.parametrize("name", ["sequential", "residual", "bidirectional-sum", "checkpointed"])
def test_a_backward_without_a_trace_keeps_the_earlier_one(name):
    layer, x = LAYERS[name].layer(), LAYERS[name].inputs(B, T)
    y, _, tape = layer.forward(x)
    layer.backward(tape, np.ones_like(y), trace=True)
    traced = [piece.dh for kept in recurrent_tapes(tape) for piece in kept.tapes]
    layer.backward(tape, 2 * np.ones_like(y))
    assert_same_bits([piece.dh for kept in recurrent_tapes(tape) for piece in kept.tapes], traced)


def test_a_checkpointed_layer_keeps_only_the_last_walk():
    layer = crnn.Checkpointed(crnn.LSTM(3, 4, seed=0), 3)
    y, _, tape = layer.forward(np.ones((2, 7, 3)))
    for _ in range(2):
        layer.backward(tape, np.ones_like(y), trace=True)
        ((place, pieces),) = recurrent_tapes(tape)
        assert (place, [piece.h.shape[1] for piece in pieces]) == ("layer", [3, 3, 1])
    _, _, fresh = layer.forward(np.ones((2, 7, 3)))
    layer.backward(fresh, np.ones_like(y))
    assert not list(recurrent_tapes(fresh))
