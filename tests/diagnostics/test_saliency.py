"""input_saliency, compared with gradients and differences."""

import copy

import numpy as np
import pytest

import crnn
from crnn.diagnostics import input_saliency, receptive_field
from crnn.layers.base.arguments import options_of
from support.comparing import assert_close, assert_same_bits
from support.displays import check_display
from support.readers import (
    LENGTHS,
    B,
    H,
    I,
    K,
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


MODELS = {
    "gru": gru,
    "reverse": lambda: gru(reverse=True),
    "lstm": lambda: crnn.LSTM(I, H, dtype="float64", zoneout=(0, 0.3), proj_size=2, seed=0),
    "both": lambda: crnn.Bidirectional(gru()),
    "dense": lambda: dense(I),
    "stack": lambda: seq(gru(), crnn.Dropout(0.5), dense()),
    "residual": lambda: crnn.Residual(crnn.JANET(I, I, dtype="float64")),
    "checkpointed": lambda: crnn.Checkpointed(seq(gru(), dense()), 4),
    "pooled": lambda: seq(gru(), crnn.Pool("max"), dense()),
}


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_is_that_of_a_one_hot_dy(name, given):
    layer, x, options = fill(MODELS[name]()), floats(), marks() if given else {}
    rng = np.random.default_rng(4)
    state = layer(x)[1]
    state = rng.normal(size=state.shape) if isinstance(state, np.ndarray) and given else None
    for row, step, output in ((0, 2, 0), (2, 3, 1), (-1, 1, -1)):
        known = {key: value for key, value in options.items() if key in options_of(layer)}
        forward = {"training": False} | known
        y, _, tape = layer.forward(x, state, **forward)
        dy = np.zeros_like(y)
        if y.ndim == 2:
            step = 0
        dy[(row, output) if y.ndim == 2 else (row, step, output)] = 1
        dx, _ = layer.backward(tape, dy)
        chosen = {"row": row, "step": step, "output": output}
        found = input_saliency(layer, x, state, **chosen, **options)
        assert_close(found.values, np.linalg.norm(dx[row], axis=1), 1e-12)
        assert (found.step, found.output, found.symbols) == (step, output % y.shape[-1], None)
        found = input_saliency(layer, x, state, **chosen, **options, times_input=True)
        assert_close(found.values, (dx[row] * x[row]).sum(axis=1), 1e-12)


def differences_by_row(model, embedding, x, row, step, output):
    """Return the gradient at the vector of each symbol; each occurs once in the row."""
    grads = np.zeros((T, embedding.size))
    for t, symbol in enumerate(x[row]):
        for unit in range(embedding.size):
            ends = []
            for sign in (1, -1):
                before = embedding.params["W"][symbol, unit]
                embedding.params["W"][symbol, unit] = before + sign * 1e-5
                ends.append(model(x)[0][row, step, output])
                embedding.params["W"][symbol, unit] = before
            grads[t, unit] = (ends[0] - ends[1]) / 2e-5
    return grads


@pytest.mark.parametrize("wrapped", [False, True])
def test_symbols_have_the_gradient_at_their_vectors(wrapped):
    embedding = crnn.Embedding(9, I, dtype="float64", seed=2)
    model = fill(seq(embedding, crnn.Bidirectional(gru(), "sum"), dense()))
    if wrapped:
        model = fill(crnn.Checkpointed(seq(embedding, gru(), dense()), 4))
    x = np.stack([np.random.default_rng(b).permutation(9)[:T] for b in range(B)])
    grads = differences_by_row(model, embedding, x, 1, 4, 1)
    found = input_saliency(model, x, row=1, step=4, output=1)
    assert_close(found.values, np.linalg.norm(grads, axis=1), 1e-7)
    np.testing.assert_array_equal(found.symbols, x[1])
    found = input_saliency(model, x, row=1, step=4, output=1, times_input=True)
    assert_close(found.values, (grads * embedding.params["W"][x[1]]).sum(axis=1), 1e-7)
    conditioned = crnn.Conditioned(seq(embedding, gru()), fill(dense(2, H)))
    fixed = np.random.default_rng(0).normal(size=(B, 2))
    _, start = conditioned((x[:, :0], fixed))
    inside = seq(*conditioned.layer.layers[1:])
    expected = input_saliency(inside, embedding.params["W"][x], start[1:], row=1, output=2)
    found = input_saliency(conditioned, (x, fixed), row=1, output=2)
    assert_close(found.values, expected.values, 1e-12)


def test_symbols_of_a_recurrent_layer_are_one_hot():
    for layer in (fill(gru()), fill(crnn.Bidirectional(gru()))):
        x = symbols(I)
        found = input_saliency(layer, x, row=2, step=3, output=1, **marks())
        expected = input_saliency(layer, np.eye(I)[x], row=2, step=3, output=1, **marks())
        assert_close(found.values, expected.values, 1e-12)


def test_an_embedding_alone_depends_on_one_step():
    found = input_saliency(embedding(), symbols(), step=2, output=1)
    assert found.values.tolist() == [0, 0, 1, 0, 0, 0]


def test_the_chosen_step_and_output():
    layer, x = fill(gru()), floats()
    y, _ = layer(x, lengths=LENGTHS)
    found = input_saliency(layer, x, lengths=LENGTHS, row=2)
    assert (found.step, found.output) == (3, y[2, 3].argmax())  # the row's end, the largest
    assert not found.values[4:].any()
    assert found.values[:4].all()
    assert input_saliency(layer, x, lengths=LENGTHS, row=-1, step=-4).step == 0
    one = input_saliency(layer, x, row=np.int64(1), step=np.int32(2), output=np.uint8(3))
    assert (one.step, one.output) == (2, 3)
    assert not one.values[3:].any()


@pytest.mark.parametrize("junk", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("method", ["gradient", "occlusion"])
def test_padding_has_no_saliency(junk, method):
    layer, x = fill(seq(gru(), dense())), floats()
    clean = input_saliency(layer, x, lengths=LENGTHS, row=2, method=method, times_input=True)
    x[2, 4:], x[1] = junk, junk
    found = input_saliency(layer, x, lengths=LENGTHS, row=2, method=method, times_input=True)
    assert_same_bits(found.values, clean.values)
    model = fill(seq(embedding(), gru(), dense()))
    x = symbols()
    clean = input_saliency(model, x, lengths=LENGTHS, row=2, method=method).values
    x[2, 4:] = -99
    found = input_saliency(model, x, lengths=LENGTHS, row=2, method=method).values
    assert_same_bits(found, clean)
    layer = fill(gru())
    input_saliency(layer, np.where(x > 2, 2, x), lengths=LENGTHS, row=2, method=method)


def test_masked_steps_are_not_read():
    layer, x, mask = fill(crnn.Residual(gru(I, I))), floats(), np.ones((B, T), bool)
    mask[0, 2] = False
    expected = np.tri(T, dtype=bool)
    expected[2:, 2] = False  # no output depends on the masked x_2
    np.testing.assert_array_equal(reach(receptive_field(layer, x, mask=mask)), expected)
    found = input_saliency(layer, x, step=2, output=1, mask=mask, method="occlusion")
    assert (found.values > 0).tolist() == [True] * 2 + [False] * 4
    layer = fill(gru())
    for method in ("gradient", "occlusion"):
        options = {"step": 4, "output": 1, "mask": mask, "method": method, "times_input": True}
        clean = input_saliency(layer, x, **options).values
        x[0, 2] = np.nan
        assert_same_bits(input_saliency(layer, x, **options).values, clean)
        x[0, 2] = 0
    model, x = fill(seq(embedding(), gru())), symbols()
    clean = input_saliency(model, x, step=4, output=1, mask=mask).values
    x[0, 2] = -7
    assert_same_bits(input_saliency(model, x, step=4, output=1, mask=mask).values, clean)


def test_occlusion_replaces_a_step_by_others():
    model = fill(seq(crnn.Embedding(2, I, dtype="float64"), gru(), dense()))
    x = symbols(2)
    y, _ = model(x)
    found = input_saliency(model, x, row=1, step=3, output=1, method="occlusion")
    for t in range(T):  # of two symbols, the other one
        other = x.copy()
        other[1, t] = 1 - other[1, t]
        assert found.values[t] == pytest.approx(abs(model(other)[0] - y)[1, 3, 1], rel=1e-12)
    assert not found.values[4:].any()
    layer = fill(gru())
    found = input_saliency(layer, floats(), step=3, output=0, method="occlusion")
    assert np.all(found.values[:4] > 0)
    assert not found.values[4:].any()
    again = input_saliency(layer, floats(), step=3, output=0, method="occlusion")
    assert_same_bits(again.values, found.values)


def test_saliency_of_several_arrays():
    model, x = vectors_model(), (floats(features=2), floats(2, 2, 4))
    ends = np.array([6, 3, 4])
    for arrays in (x, (*x, ends)):
        y, _, tape = model.forward(arrays, training=False)
        dy = np.zeros_like(y)
        dy[1, 2, 1] = 1
        dx, _ = model.backward(tape, dy)
        for array in (0, 1):
            found = input_saliency(model, arrays, row=1, step=2, output=1, array=array)
            assert_close(found.values, np.linalg.norm(dx[array][1], axis=1), 1e-12)
    assert not input_saliency(model, (*x, ends), row=1, array=0).values[3:].any()
    conditioned = fill(crnn.Conditioned(gru(), dense(2, H)))
    pair = floats(), np.random.default_rng(0).normal(size=(B, 2))
    y, _, tape = conditioned.forward(pair)
    dy = np.zeros_like(y)
    dy[2, 1, 3] = 1
    (dx, dfixed), _ = conditioned.backward(tape, dy)
    options = {"row": 2, "step": 1, "output": 3}
    assert_close(input_saliency(conditioned, pair, **options).values, norm(dx[2]), 1e-12)
    found = input_saliency(conditioned, pair, array=1, lengths=[6, 1, 2], **options)
    assert_close(found.values, np.abs(dfixed[2]), 1e-12)  # a number for each feature


def norm(array):
    return np.linalg.norm(array, axis=1)


@pytest.mark.parametrize("attention", [None, "additive", "dot"])
@pytest.mark.parametrize("array", [0, 1], ids=["source", "target"])
def test_symbols_of_an_encoder_and_a_decoder(attention, array):
    width, options = I + (H if attention == "additive" else 0), {"dtype": "float64", "seed": 3}
    encoder, decoder = (crnn.GRU(n, H, dtype="float64", seed=n) for n in (I, width))
    options |= {"attention": attention, "input_feeding": attention == "additive"}
    inside = crnn.Seq2Seq(encoder, decoder, source_symbols=5, target_symbols=5, **options)
    model = fill(crnn.TeacherForcing(inside, seed=0))
    x = np.array([[3, 1, 4, 0, 2]]), np.array([[4, 2, 0]])  # each symbol once
    found = input_saliency(model, x, array=array, step=2, output=3).values
    vectors = (inside.source_embedding, inside.target_embedding)[array].params["W"]

    def moved(symbol, k, eps):
        vectors[symbol, k] += eps
        y = model(x)[0][0, 2, 3]
        vectors[symbol, k] -= eps
        return y

    slopes = [
        [(moved(s, k, 1e-5) - moved(s, k, -1e-5)) / 2e-5 for k in range(I)] for s in x[array][0]
    ]
    np.testing.assert_allclose(found, norm(np.array(slopes)), atol=1e-8)


def test_symbols_of_an_unknown_reader_are_occluded():
    model, x = symbols_model(), (symbols(), symbols(seed=2, steps=4))
    whole = crnn.Seq2Seq(fill(seq(embedding(), gru())), gru(), target_symbols=K, attention="dot",
                         input_feeding=False, dtype="float64", seed=3)  # fmt: skip
    with pytest.raises(
        ValueError, match=r"x: expected floats, .* TeacherForcing reads .*, got integers"
    ):
        input_saliency(crnn.TeacherForcing(whole, seed=0), x)
    found = input_saliency(model, x, array=1, step=2, method="occlusion")
    assert (found.values > 0).tolist() == [True, True, True, False]
    assert np.all(input_saliency(model, (*x, None), step=2, method="occlusion").values > 0)


def test_gradients_too_large_for_their_squares():
    layer = crnn.RNN(I, H, activation="identity", dtype="float64", seed=0)
    layer.params["W_h"] = 1e60 * np.eye(H)
    layer.params["W_x"] = 1e-20 * np.ones((H, I))
    found = input_saliency(layer, np.zeros((1, 5, I)), step=4, output=0)
    expected = np.sqrt(3) * 1e-20 * 1e60 ** np.arange(5.0)[::-1]
    np.testing.assert_allclose(found.values, expected, rtol=1e-10)


def test_model_and_arguments_do_not_change():
    model = fill(seq(embedding(), gru(), dense()))
    for grad in model.grads.values():
        grad[...] = 7
    x = symbols()
    before = copy.deepcopy((dict(model.params), dict(model.grads), x))
    input_saliency(model, x)
    input_saliency(model, x, method="occlusion")
    receptive_field(model, x)
    assert_same_bits((dict(model.params), dict(model.grads), x), before)


def test_saliency_as_tables_and_pictures():
    found = input_saliency(fill(gru()), floats())
    check_display(found)
    assert list(found.columns) == ["step", "saliency"]
    found = input_saliency(fill(seq(embedding(), gru())), symbols(), times_input=True)
    check_display(found)
    check_display(found, text="abcdef")
    check_display(found, text=["one", "two", "three", "four", "five", "six"])
    np.testing.assert_array_equal(found.columns["symbol"], symbols()[0])
    assert found.columns["step"].tolist() == [0, 1, 2, 3, 4, 5]
