"""receptive_field, compared with fields that are known."""

import numpy as np
import pytest

import crnn
from crnn.diagnostics import receptive_field
from support.comparing import assert_same_bits
from support.displays import check_display
from support.readers import (
    LENGTHS,
    B,
    H,
    I,
    K,
    Moved,
    T,
    dense,
    embedding,
    floats,
    gru,
    marks,
    reach,
    seq,
    symbols,
    symbols_model,
    vectors_model,
)
from support.running import fill

pytestmark = pytest.mark.filterwarnings("error")


def test_causal_anticausal_and_both():
    lower = np.tri(T, dtype=bool)
    field = receptive_field(fill(gru()), floats())
    np.testing.assert_array_equal(reach(field), lower)
    assert field.back.tolist() == field.last.tolist() == [0, 1, 2, 3, 4, 5]
    assert field.ahead.tolist() == field.first.tolist() == [0] * T
    field = receptive_field(fill(gru(reverse=True)), floats())
    np.testing.assert_array_equal(reach(field), lower.T)
    assert field.ahead.tolist() == [5, 4, 3, 2, 1, 0]
    assert field.back.tolist() == [0] * T
    for layer in (crnn.Bidirectional(gru()), seq(gru(), gru(H, 2, reverse=True))):
        field = receptive_field(fill(layer), floats())
        assert reach(field).all()
        assert (field.back + field.ahead).tolist() == [5] * T


def test_only_their_own_step():
    for layer, x in (
        (dense(I), floats()),
        (seq(embedding(), dense(I)), symbols()),
        (crnn.LayerNorm(I), floats()),
        (crnn.Residual(dense(I, I)), floats()),
    ):
        field = receptive_field(layer, x)
        np.testing.assert_array_equal(reach(field), np.eye(T, dtype=bool))
        assert field.back.tolist() == field.ahead.tolist() == [0] * T


def test_layers_that_are_not_of_crnn():
    field = receptive_field(Moved(-2), floats())
    assert field.first.tolist() == field.last.tolist() == [-1, -1, 0, 1, 2, 3]
    assert field.back.tolist() == [0, 0, 2, 2, 2, 2]
    assert field.ahead.tolist() == [0] * T
    field = receptive_field(Moved(-1, 0, 1), floats())  # a convolution over three steps
    assert field.back.tolist() == [0, 1, 1, 1, 1, 1]
    assert field.ahead.tolist() == [1, 1, 1, 1, 1, 0]
    assert reach(field).sum(axis=1).tolist() == [2, 3, 3, 3, 3, 2]
    field = receptive_field(seq(Moved(-1, 0, 1), Moved(-1, 0, 1), fill(dense(I))), floats())
    assert field.back.tolist() == [0, 1, 2, 2, 2, 2]
    field = receptive_field(seq(Moved(-1)), floats(), lengths=LENGTHS, row=2)
    assert field.first.tolist() == [-1, 0, 1, 2, -1, -1]  # it writes into padding
    field = receptive_field(Moved(), floats())
    assert field.first.tolist() == field.last.tolist() == [-1] * T
    assert not field.influence.any()


def test_one_vector_for_a_row():
    for how in ("last", "mean"):
        layer = fill(seq(gru(), crnn.Pool(how), dense()))
        field = receptive_field(layer, floats())
        assert field.influence.shape == (1, T)
        assert (field.first.tolist(), field.last.tolist()) == ([0], [5])
        assert (field.back.tolist(), field.ahead.tolist()) == ([5], [0])
        field = receptive_field(layer, floats(), lengths=LENGTHS, row=2)
        assert reach(field).tolist() == [[True] * 4 + [False] * 2]
        assert (field.back.tolist(), field.ahead.tolist()) == ([3], [0])
        field = receptive_field(layer, floats(), lengths=LENGTHS, row=1)
        assert not field.influence.any()
    field = receptive_field(seq(dense(I), crnn.Pool("last")), floats())
    assert reach(field).tolist() == [[False] * 5 + [True]]


def test_ends_masks_and_resets_cut_the_field():
    layer = fill(seq(gru(), dense()))
    field = receptive_field(layer, floats(), lengths=LENGTHS, row=2)
    expected = np.tri(T, dtype=bool)
    expected[4:] = expected[:, 4:] = False
    np.testing.assert_array_equal(reach(field), expected)
    assert field.last.tolist() == [0, 1, 2, 3, -1, -1]
    resets, mask = np.zeros((B, T), bool), np.ones((B, T), bool)
    resets[0, 3], mask[0, 1] = True, False
    expected = np.tri(T, dtype=bool)
    expected[3:, :3] = expected[:, 1] = False
    field = receptive_field(layer, floats(), resets=resets, mask=mask)
    np.testing.assert_array_equal(reach(field), expected)
    assert field.first.tolist() == [0, 0, 0, 3, 3, 3]
    state = [np.ones((B, H)), None]
    np.testing.assert_array_equal(
        reach(receptive_field(layer, floats(), state)), np.tri(T, dtype=bool)
    )


@pytest.mark.parametrize("junk", [np.nan, np.inf, 1e300])
def test_the_field_does_not_depend_on_padding(junk):
    layer, x = fill(gru()), floats()
    clean = receptive_field(layer, x, lengths=LENGTHS, row=2)
    x[2, 4:], x[:2] = junk, junk
    assert_same_bits(receptive_field(layer, x, lengths=LENGTHS, row=2).influence, clean.influence)


def test_source_and_target():
    for model, x in (
        (symbols_model(), (symbols(), symbols(seed=2, steps=4))),
        (vectors_model(), (floats(features=2), floats(2, 2, 4))),
    ):
        field = receptive_field(model, x)
        assert field.influence.shape == (4, T)
        assert reach(field).all()
        field = receptive_field(model, x, array=1)
        np.testing.assert_array_equal(reach(field), np.tri(4, dtype=bool))
        given = {"lengths": np.array([4, 4, 2]), "row": 2}
        field = receptive_field(model, (*x, np.array([6, 1, 3])), **given)
        np.testing.assert_array_equal(reach(field), np.outer([1, 1, 0, 0], [1, 1, 1, 0, 0, 0]))
        assert reach(receptive_field(model, (*x, None), array=0)).all()
    conditioned = fill(crnn.Conditioned(gru(), dense(2, H)))
    pair = floats(), np.ones((B, 2))
    np.testing.assert_array_equal(reach(receptive_field(conditioned, pair)), np.tri(T, dtype=bool))
    assert reach(receptive_field(conditioned, pair, array=1)).all()


def test_symbols_that_do_not_occur_are_tried_as_well():
    model = fill(seq(embedding(), gru()))
    np.testing.assert_array_equal(
        reach(receptive_field(model, np.zeros((1, T), int))), np.tri(T, dtype=bool)
    )
    once = np.arange(K)[None]
    np.testing.assert_array_equal(reach(receptive_field(model, once)), np.tri(K, dtype=bool))
    np.testing.assert_array_equal(
        reach(receptive_field(fill(gru()), symbols(I).astype("u1"))), np.tri(T, dtype=bool)
    )
    with pytest.raises(ValueError, match="x: expected at least two symbols"):
        receptive_field(crnn.Embedding(1, 2), np.zeros((1, T), int))


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e17, 1e-30, 1e200])
def test_inputs_that_do_not_vary_are_changed_all_the_same(value):
    field = receptive_field(Moved(0), np.full((1, T, I), value))
    np.testing.assert_array_equal(reach(field), np.eye(T, dtype=bool))


def test_only_influences_above_a_fraction_count():
    layer = crnn.RNN(1, 1, activation="identity", dtype="float64")
    layer.params["W_x"] = 1
    layer.params["W_h"] = 0.1
    x = np.random.default_rng(0).normal(size=(1, 30, 1))
    field = receptive_field(layer, x, repeats=20, fraction=0.05)
    assert 0 < field.back.max() <= 2
    everything = receptive_field(layer, x, repeats=20)
    assert everything.back.max() > 10
    assert_same_bits(field.influence, everything.influence)
    few, many = (receptive_field(layer, x, repeats=n).influence for n in (1, 2))
    assert np.all(few <= many)
    assert np.any(few < many)
    other = receptive_field(layer, x, repeats=1, seed=1).influence
    assert np.any(few != other)
    assert_same_bits(receptive_field(layer, x, repeats=1).influence, few)


def test_more_steps_than_are_run_at_a_time(monkeypatch):
    layer, x = fill(gru()), floats()
    whole = receptive_field(layer, x)
    monkeypatch.setattr("crnn.diagnostics.rows._COPIES", 4)
    np.testing.assert_array_equal(reach(receptive_field(layer, x)), reach(whole))
    with_ends = receptive_field(layer, x, mask=marks()["mask"])
    np.testing.assert_array_equal(reach(with_ends), np.tri(T) * marks()["mask"][0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e308])
def test_outputs_that_are_not_finite_do_not_warn(bad):
    layer = crnn.RNN(I, H, activation="identity", dtype="float64", seed=0)
    layer.params["W_h"][0, 0] = bad
    field = receptive_field(layer, floats())
    assert not np.isnan(field.influence).any()
    assert not field.influence[np.triu_indices(T, 1)].any()
    x = floats()
    x[0, 2] = bad
    assert receptive_field(fill(gru()), x).influence.shape == (T, T)


def test_no_steps():
    field = receptive_field(gru(), np.zeros((B, 0, I)))
    assert field.influence.shape == (0, 0)
    assert field.first.shape == field.back.shape == (0,)


def test_fields_as_tables_and_pictures():
    field = receptive_field(fill(gru()), floats())
    check_display(field)
    columns = field.columns
    assert columns["output"][:7].tolist() == [0] * 6 + [1]
    assert columns["input"][:7].tolist() == [0, 1, 2, 3, 4, 5, 0]
    np.testing.assert_array_equal(columns["influence"].reshape(T, T), field.influence)
    check_display(receptive_field(Moved(), floats()))
    check_display(receptive_field(seq(gru(), crnn.Pool()), floats()))
