"""Gradients of all parts of Seq2Seq, compared with central differences."""

import numpy as np
import pytest

import crnn
from support.comparing import assert_close
from support.running import fill
from support.seq2seqs import KINDS, KT, ends, model_of
from support.stubs import Leaky
from support.tables import CELLS, WITH_W_H

B, S, T = 3, 3, 3


def check(model, x, lengths=None, **options):
    learner = crnn.TeacherForcing(model, options.pop("probability", 1.0), seed=7)
    report = crnn.gradcheck(learner, x, lengths=lengths, **options)
    assert report.ok, report
    return report


@pytest.mark.parametrize("name", KINDS)
def test_models(name):
    """Models with dropout too; one row has an empty source, one an empty target."""
    source, target = KINDS[name].inputs(B, S, T)
    check(model_of(name), (source, target, np.array([2, 0, S])), [T, 2, 0], call=3)


@pytest.mark.parametrize("name", ["two-directions", "additive", "dot-whole", "vectors-additive"])
def test_models_of_full_rows(name):
    check(model_of(name), KINDS[name].inputs(2, S, T))


@pytest.mark.parametrize("input_feeding", [True, False], ids=["feeding", "whole"])
@pytest.mark.parametrize("attention", ["additive", "dot", "general"])
@pytest.mark.parametrize("cell", CELLS)
def test_cells(cell, attention, input_feeding):
    make, options = CELLS[cell], {"dtype": "float64", "seed": 1}
    encoder, decoder = make(2, 3, **options), make(5 if input_feeding else 2, 3, **options)
    model = crnn.Seq2Seq(
        encoder,
        decoder,
        source_symbols=3,
        target_symbols=3,
        attention=attention,
        input_feeding=input_feeding,
        seed=2,
    )
    # unequal attention weights, so that the gradients are not too small
    fill(model, scale=1.3 if cell in WITH_W_H else 0.8)  # without W_h, h is not bounded
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (2, 3)), rng.integers(0, 3, (2, 3)), np.array([3, 2])
    check(model, x, [2, 3])


@pytest.mark.parametrize("name", ["plain", "additive", "dot-whole"])
@pytest.mark.parametrize("probability", [0.0, 0.5])
def test_scheduled_sampling(name, probability):
    """No gradient passes through predicted symbols; small differences do not change them."""
    source, target = KINDS[name].inputs(B, S, 4)
    x = source, target, ends(B, S)
    model = model_of(name)
    fed = crnn.TeacherForcing(model, probability, seed=7).forward(x)[2].target_in
    assert (fed[:, 1:] != target[:, 1:]).any()
    assert fed.max() < KT
    check(model, x, [4, 3, 2], probability=probability)


def test_replaced_vectors_of_the_target_have_no_gradient():
    """The gradient is 0 where the input was the model's output; elsewhere as without sampling."""
    source, target = KINDS["vectors-additive"].inputs(B, S, 4)
    model = model_of("vectors-additive")
    y, _, tape = crnn.TeacherForcing(model, 0.5, seed=7).forward((source, target))
    dy = np.random.default_rng(0).normal(size=y.shape)
    (_, found), _ = crnn.TeacherForcing(model, 0.5, seed=7).backward(tape, dy)
    teacher = crnn.TeacherForcing(model)
    again, _, twin = teacher.forward((source, tape.target_in))
    np.testing.assert_allclose(again, y, atol=1e-12)
    (_, expected), _ = teacher.backward(twin, dy)
    replaced = (tape.target_in != target).any(axis=2)
    assert replaced.any()
    assert not replaced.all()
    assert not found[replaced].any()
    np.testing.assert_allclose(found[~replaced], expected[~replaced], atol=1e-12)


@pytest.mark.parametrize("attention", [None, "additive"])
def test_layers_of_other_makers(attention):
    """Encoder and decoder are called through their public methods only."""
    encoder, decoder = Leaky(3, seed=1, noise=0.3), Leaky(6 if attention else 3, seed=2, noise=0.3)
    encoder, options = (
        crnn.Sequential([encoder, crnn.Dense(3, 6, seed=1)]),
        {"attention": attention},
    )
    if attention:
        decoder = crnn.Sequential([crnn.Dense(8, 6, seed=4), decoder])
    options |= {"source_symbols": 4, "target_symbols": 4, "dtype": "float64", "seed": 1}
    model = crnn.Seq2Seq(encoder, decoder, **options)
    source, target = np.random.default_rng(0).integers(0, 4, (2, 2, 3))
    check(model, (source, target, np.array([3, 2])), [1, 3], call=2)
    tokens, _ = model.generate(source, start=0, stop=None, max_steps=4, beam=2)
    assert tokens.shape == (2, 4)


def test_checkpointed_layers():
    """A Checkpointed encoder and decoder have the results of the layers inside."""
    gru, lstm = model_of("additive").encoder, model_of("additive").decoder
    source, target = KINDS["additive"].inputs(B, S, T)
    options = {"source_symbols": 5, "target_symbols": 4, "attention": "additive", "seed": 3}
    found = []
    for every in (None, 2):
        parts = [
            layer if every is None else crnn.Checkpointed(layer, every) for layer in (gru, lstm)
        ]
        model = crnn.Seq2Seq(*parts, **options)
        model.zero_grad()
        logits, tape = model.forward(source, target, target_lengths=[3, 0, 1])
        model.backward(tape, np.ones_like(logits))
        found.append([logits, *(grad.copy() for grad in model.grads.values())])
    for one, other in zip(*found, strict=True):
        assert_close(one, other, 1e-12)


def test_one_layer_as_encoder_and_decoder():
    """Its gradients are the sums of both uses."""
    cell = crnn.GRU(3, 3, dtype="float64", seed=1)
    model = crnn.Seq2Seq(cell, cell, source_symbols=4, target_symbols=4, seed=1)
    source, target = np.random.default_rng(0).integers(0, 4, (2, 2, 3))
    model.forward(source, target)
    logits, tape = model.forward(source, target)
    model.backward(tape, np.ones_like(logits))
    assert model.params["encoder.W_h"].ctypes.data == model.params["decoder.W_h"].ctypes.data
    grad = model.grads["encoder.W_h"].copy()
    numeric, at = 0.0, (1, 2)
    for sign in (1, -1):
        cell.params["W_h"][at] += sign * 1e-5
        numeric += sign * model(source, target)[0].sum() / 2e-5
        cell.params["W_h"][at] -= sign * 1e-5
    assert abs(numeric - grad[at]) < 1e-7 * max(1, abs(grad[at]))
