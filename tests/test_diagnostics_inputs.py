"""Which inputs moved an output, and which reach it: against gradients, differences and by hand."""

import copy

import numpy as np
import pytest
from conftest import assert_close, assert_same_bits, fill
from displays import check_display

import crnn
from crnn.diagnostics import input_saliency, receptive_field

pytestmark = pytest.mark.filterwarnings("error")

B, T, I, H, K = 3, 6, 3, 4, 5
LENGTHS = np.array([6, 0, 4])


def seq(*layers):
    return crnn.Sequential(list(layers))


def floats(seed=1, features=I, steps=T):
    return np.random.default_rng(seed).normal(size=(B, steps, features))


def symbols(count=K, seed=1, steps=T):
    return np.random.default_rng(seed).integers(0, count, (B, steps))


def marks(seed=3):
    rng = np.random.default_rng(seed)
    mask, resets = rng.random((B, T)) < 0.8, rng.random((B, T)) < 0.2
    return {"lengths": LENGTHS, "mask": mask, "resets": resets}


def _gru(width=I, units=H, **options):
    return crnn.GRU(width, units, dtype="float64", seed=1, **options)


def _dense(width=H, size=2):
    return crnn.Dense(width, size, dtype="float64", seed=3)


def _embedding():
    return crnn.Embedding(K, I, dtype="float64", seed=2)


def vectors_model(attention="additive"):
    """A Seq2Seq that reads vectors and vectors."""
    encoder, decoder = _gru(2), crnn.LSTM(2 + H, H, dtype="float64", seed=4)
    options = {"target_symbols": None, "attention": attention, "dtype": "float64", "seed": 3}
    return fill(crnn.TeacherForcing(crnn.Seq2Seq(encoder, decoder, **options), seed=0))


def symbols_model():
    encoder, decoder = _gru(2), crnn.GRU(2 + H, H, dtype="float64", seed=4)
    options = {"source_symbols": K, "target_symbols": K, "attention": "dot", "seed": 3}
    return fill(crnn.TeacherForcing(crnn.Seq2Seq(encoder, decoder, **options), seed=0))


# --------------------------------------------------------------------------------- input_saliency

MODELS = {
    "gru": _gru,
    "reverse": lambda: _gru(reverse=True),
    "lstm": lambda: crnn.LSTM(I, H, dtype="float64", zoneout=(0, 0.3), proj_size=2, seed=0),
    "both": lambda: crnn.Bidirectional(_gru()),
    "dense": lambda: _dense(I),
    "stack": lambda: seq(_gru(), crnn.Dropout(0.5), _dense()),
    "residual": lambda: crnn.Residual(crnn.JANET(I, I, dtype="float64")),
    "checkpointed": lambda: crnn.Checkpointed(seq(_gru(), _dense()), 4),
    "pooled": lambda: seq(_gru(), crnn.Pool("max"), _dense()),
}


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_is_that_of_a_one_hot_dy(name, given):
    layer, x, options = fill(MODELS[name]()), floats(), marks() if given else {}
    rng = np.random.default_rng(4)
    state = layer(x)[1]
    state = rng.normal(size=state.shape) if isinstance(state, np.ndarray) and given else None
    for row, step, output in ((0, 2, 0), (2, 3, 1), (-1, 1, -1)):
        forward = {"training": False} | ({} if name == "dense" else options)
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
    """The gradient at the vector of each symbol, all of which occur once in the row."""
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
    model = fill(seq(embedding, crnn.Bidirectional(_gru(), "sum"), _dense()))
    if wrapped:
        model = fill(crnn.Checkpointed(seq(embedding, _gru(), _dense()), 4))
    x = np.stack([np.random.default_rng(b).permutation(9)[:T] for b in range(B)])
    grads = differences_by_row(model, embedding, x, 1, 4, 1)
    found = input_saliency(model, x, row=1, step=4, output=1)
    assert_close(found.values, np.linalg.norm(grads, axis=1), 1e-7)
    np.testing.assert_array_equal(found.symbols, x[1])
    found = input_saliency(model, x, row=1, step=4, output=1, times_input=True)
    assert_close(found.values, (grads * embedding.params["W"][x[1]]).sum(axis=1), 1e-7)
    conditioned = crnn.Conditioned(seq(embedding, _gru()), fill(_dense(2, H)))
    fixed = np.random.default_rng(0).normal(size=(B, 2))
    _, start = conditioned((x[:, :0], fixed))
    inside = seq(*conditioned.layer.layers[1:])
    expected = input_saliency(inside, embedding.params["W"][x], start[1:], row=1, output=2)
    found = input_saliency(conditioned, (x, fixed), row=1, output=2)
    assert_close(found.values, expected.values, 1e-12)


def test_symbols_of_a_recurrent_layer_are_one_hot():
    for layer in (fill(_gru()), fill(crnn.Bidirectional(_gru()))):
        x = symbols(I)
        found = input_saliency(layer, x, row=2, step=3, output=1, **marks())
        expected = input_saliency(layer, np.eye(I)[x], row=2, step=3, output=1, **marks())
        assert_close(found.values, expected.values, 1e-12)


def test_an_embedding_alone_looks_at_its_own_step():
    found = input_saliency(_embedding(), symbols(), step=2, output=1)
    assert found.values.tolist() == [0, 0, 1, 0, 0, 0]


def test_what_was_chosen():
    layer, x = fill(_gru()), floats()
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
def test_padding_is_not_looked_at(junk, method):
    layer, x = fill(seq(_gru(), _dense())), floats()
    clean = input_saliency(layer, x, lengths=LENGTHS, row=2, method=method, times_input=True)
    x[2, 4:], x[1] = junk, junk
    found = input_saliency(layer, x, lengths=LENGTHS, row=2, method=method, times_input=True)
    assert_same_bits(found.values, clean.values)
    model = fill(seq(_embedding(), _gru(), _dense()))
    x = symbols()
    clean = input_saliency(model, x, lengths=LENGTHS, row=2, method=method).values
    x[2, 4:] = -99
    found = input_saliency(model, x, lengths=LENGTHS, row=2, method=method).values
    assert_same_bits(found, clean)
    gru = fill(_gru())
    input_saliency(gru, np.where(x > 2, 2, x), lengths=LENGTHS, row=2, method=method)


def test_masked_steps_are_read_by_layers_that_know_no_mask():
    layer, x, mask = fill(crnn.Residual(_gru(I, I))), floats(), np.ones((B, T), bool)
    mask[0, 2] = False
    expected = np.tri(T, dtype=bool)
    expected[3:, 2] = False  # y_3 = x_3 + what h was before
    np.testing.assert_array_equal(reach(receptive_field(layer, x, mask=mask)), expected)
    found = input_saliency(layer, x, step=2, output=1, mask=mask, method="occlusion")
    assert (found.values > 0).tolist() == [True] * 3 + [False] * 3
    layer = fill(_gru())
    for method in ("gradient", "occlusion"):
        options = {"step": 4, "output": 1, "mask": mask, "method": method, "times_input": True}
        clean = input_saliency(layer, x, **options).values
        x[0, 2] = np.nan
        assert_same_bits(input_saliency(layer, x, **options).values, clean)
        x[0, 2] = 0
    model, x = fill(seq(_embedding(), _gru())), symbols()
    clean = input_saliency(model, x, step=4, output=1, mask=mask).values
    x[0, 2] = -7
    assert_same_bits(input_saliency(model, x, step=4, output=1, mask=mask).values, clean)


def test_occlusion_replaces_a_step_by_others():
    model = fill(seq(crnn.Embedding(2, I, dtype="float64"), _gru(), _dense()))
    x = symbols(2)
    y, _ = model(x)
    found = input_saliency(model, x, row=1, step=3, output=1, method="occlusion")
    for t in range(T):  # of two symbols, the other one
        other = x.copy()
        other[1, t] = 1 - other[1, t]
        assert found.values[t] == pytest.approx(abs(model(other)[0] - y)[1, 3, 1], rel=1e-12)
    assert not found.values[4:].any()
    layer = fill(_gru())
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
    conditioned = fill(crnn.Conditioned(_gru(), _dense(2, H)))
    pair = floats(), np.random.default_rng(0).normal(size=(B, 2))
    y, _, tape = conditioned.forward(pair)
    dy = np.zeros_like(y)
    dy[2, 1, 3] = 1
    (dx, dfixed), _ = conditioned.backward(tape, dy)
    options = {"row": 2, "step": 1, "output": 3}
    assert_close(input_saliency(conditioned, pair, **options).values, _norm(dx[2]), 1e-12)
    found = input_saliency(conditioned, pair, array=1, lengths=[6, 1, 2], **options)
    assert_close(found.values, np.abs(dfixed[2]), 1e-12)  # a number for each feature


def _norm(array):
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
    np.testing.assert_allclose(found, _norm(np.array(slopes)), atol=1e-8)


def test_symbols_of_an_unknown_reader_are_occluded():
    model, x = symbols_model(), (symbols(), symbols(seed=2, steps=4))
    whole = crnn.Seq2Seq(fill(seq(_embedding(), _gru())), _gru(), target_symbols=K, attention="dot",
                         input_feeding=False, dtype="float64", seed=3)  # fmt: skip
    with pytest.raises(ValueError, match=r"x: expected floats, .* Seq2Seq reads, got integers"):
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


def test_nothing_of_the_users_changes():
    model = fill(seq(_embedding(), _gru(), _dense()))
    for grad in model.grads.values():
        grad[...] = 7
    x = symbols()
    before = copy.deepcopy((dict(model.params), dict(model.grads), x))
    input_saliency(model, x)
    input_saliency(model, x, method="occlusion")
    receptive_field(model, x)
    assert_same_bits((dict(model.params), dict(model.grads), x), before)


def test_saliency_as_tables_and_pictures():
    found = input_saliency(fill(_gru()), floats())
    check_display(found)
    assert list(found.columns) == ["step", "saliency"]
    found = input_saliency(fill(seq(_embedding(), _gru())), symbols(), times_input=True)
    check_display(found)
    check_display(found, text="abcdef")
    check_display(found, text=["one", "two", "three", "four", "five", "six"])
    np.testing.assert_array_equal(found.columns["symbol"], symbols()[0])
    assert found.columns["step"].tolist() == [0, 1, 2, 3, 4, 5]


# -------------------------------------------------------------------------------- receptive_field


class Moved:
    """y[t] is the sum of x[t + k] over some k: a layer with a receptive field of its own."""

    def __init__(self, *places):
        self.places, self.params, self.grads = places, {}, {}

    def __call__(self, x, state=None):
        return self.forward(x)[:2]

    def forward(self, x, state=None, *, training=True):
        steps, y = x.shape[1], np.zeros(x.shape)
        for t in range(steps):
            for k in self.places:
                if 0 <= t + k < steps:
                    y[:, t] += x[:, t + k]
        return y, None, None

    def backward(self, tape, dy, dstate=None):
        return None, None


def reach(field):
    return field.influence > 0


def test_causal_anticausal_and_both():
    lower = np.tri(T, dtype=bool)
    field = receptive_field(fill(_gru()), floats())
    np.testing.assert_array_equal(reach(field), lower)
    assert field.back.tolist() == field.last.tolist() == [0, 1, 2, 3, 4, 5]
    assert field.ahead.tolist() == field.first.tolist() == [0] * T
    field = receptive_field(fill(_gru(reverse=True)), floats())
    np.testing.assert_array_equal(reach(field), lower.T)
    assert field.ahead.tolist() == [5, 4, 3, 2, 1, 0]
    assert field.back.tolist() == [0] * T
    for layer in (crnn.Bidirectional(_gru()), seq(_gru(), _gru(H, 2, reverse=True))):
        field = receptive_field(fill(layer), floats())
        assert reach(field).all()
        assert (field.back + field.ahead).tolist() == [5] * T


def test_only_their_own_step():
    for layer, x in (
        (_dense(I), floats()),
        (seq(_embedding(), _dense(I)), symbols()),
        (crnn.LayerNorm(I), floats()),
        (crnn.Residual(_dense(I, I)), floats()),
    ):
        field = receptive_field(layer, x)
        np.testing.assert_array_equal(reach(field), np.eye(T, dtype=bool))
        assert field.back.tolist() == field.ahead.tolist() == [0] * T


def test_layers_of_others():
    field = receptive_field(Moved(-2), floats())
    assert field.first.tolist() == field.last.tolist() == [-1, -1, 0, 1, 2, 3]
    assert field.back.tolist() == [0, 0, 2, 2, 2, 2]
    assert field.ahead.tolist() == [0] * T
    field = receptive_field(Moved(-1, 0, 1), floats())  # a convolution over three steps
    assert field.back.tolist() == [0, 1, 1, 1, 1, 1]
    assert field.ahead.tolist() == [1, 1, 1, 1, 1, 0]
    assert reach(field).sum(axis=1).tolist() == [2, 3, 3, 3, 3, 2]
    field = receptive_field(seq(Moved(-1, 0, 1), Moved(-1, 0, 1), fill(_dense(I))), floats())
    assert field.back.tolist() == [0, 1, 2, 2, 2, 2]
    field = receptive_field(seq(Moved(-1)), floats(), lengths=LENGTHS, row=2)
    assert field.first.tolist() == [-1, 0, 1, 2, -1, -1]  # it writes into padding
    field = receptive_field(Moved(), floats())
    assert field.first.tolist() == field.last.tolist() == [-1] * T
    assert not field.influence.any()


def test_one_vector_for_a_row():
    for how in ("last", "mean"):
        layer = fill(seq(_gru(), crnn.Pool(how), _dense()))
        field = receptive_field(layer, floats())
        assert field.influence.shape == (1, T)
        assert (field.first.tolist(), field.last.tolist()) == ([0], [5])
        assert (field.back.tolist(), field.ahead.tolist()) == ([5], [0])
        field = receptive_field(layer, floats(), lengths=LENGTHS, row=2)
        assert reach(field).tolist() == [[True] * 4 + [False] * 2]
        assert (field.back.tolist(), field.ahead.tolist()) == ([3], [0])
        field = receptive_field(layer, floats(), lengths=LENGTHS, row=1)
        assert not field.influence.any()
    field = receptive_field(seq(_dense(I), crnn.Pool("last")), floats())
    assert reach(field).tolist() == [[False] * 5 + [True]]


def test_ends_masks_and_resets_cut_the_field():
    layer = fill(seq(_gru(), _dense()))
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
    layer, x = fill(_gru()), floats()
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
    conditioned = fill(crnn.Conditioned(_gru(), _dense(2, H)))
    pair = floats(), np.ones((B, 2))
    np.testing.assert_array_equal(reach(receptive_field(conditioned, pair)), np.tri(T, dtype=bool))
    assert reach(receptive_field(conditioned, pair, array=1)).all()


def test_symbols_that_do_not_occur_are_tried_as_well():
    model = fill(seq(_embedding(), _gru()))
    np.testing.assert_array_equal(
        reach(receptive_field(model, np.zeros((1, T), int))), np.tri(T, dtype=bool)
    )
    once = np.arange(K)[None]
    np.testing.assert_array_equal(reach(receptive_field(model, once)), np.tri(K, dtype=bool))
    np.testing.assert_array_equal(
        reach(receptive_field(fill(_gru()), symbols(I).astype("u1"))), np.tri(T, dtype=bool)
    )
    with pytest.raises(ValueError, match="x: expected at least two symbols"):
        receptive_field(crnn.Embedding(1, 2), np.zeros((1, T), int))


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e17, 1e-30, 1e200])
def test_inputs_that_do_not_vary_are_changed_all_the_same(value):
    field = receptive_field(Moved(0), np.full((1, T, I), value))
    np.testing.assert_array_equal(reach(field), np.eye(T, dtype=bool))


def test_what_is_felt():
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
    layer, x = fill(_gru()), floats()
    whole = receptive_field(layer, x)
    monkeypatch.setattr("crnn.diagnostics.rows._ROWS", 4)
    np.testing.assert_array_equal(reach(receptive_field(layer, x)), reach(whole))
    with_ends = receptive_field(layer, x, mask=marks()["mask"])
    np.testing.assert_array_equal(reach(with_ends), np.tri(T) * marks()["mask"][0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e308])
def test_outputs_that_are_not_finite_are_not_warned_of(bad):
    layer = crnn.RNN(I, H, activation="identity", dtype="float64", seed=0)
    layer.params["W_h"][0, 0] = bad
    field = receptive_field(layer, floats())
    assert not np.isnan(field.influence).any()
    assert not field.influence[np.triu_indices(T, 1)].any()
    x = floats()
    x[0, 2] = bad
    assert receptive_field(fill(_gru()), x).influence.shape == (T, T)


def test_no_steps():
    field = receptive_field(_gru(), np.zeros((B, 0, I)))
    assert field.influence.shape == (0, 0)
    assert field.first.shape == field.back.shape == (0,)


def test_fields_as_tables_and_pictures():
    field = receptive_field(fill(_gru()), floats())
    check_display(field)
    columns = field.columns
    assert columns["output"][:7].tolist() == [0] * 6 + [1]
    assert columns["input"][:7].tolist() == [0, 1, 2, 3, 4, 5, 0]
    np.testing.assert_array_equal(columns["influence"].reshape(T, T), field.influence)
    check_display(receptive_field(Moved(), floats()))
    check_display(receptive_field(seq(_gru(), crnn.Pool()), floats()))


# -------------------------------------------------------------------------------------- wrong calls

X = floats()
MODEL = _gru()
PAIR = symbols(), symbols(steps=4)
WRONG = [
    ((None, X), {}, TypeError, "model: expected a layer, got None"),
    ((crnn.GRU, X), {}, TypeError, "model: expected a layer, got .*a class"),
    ((symbols_model().model, PAIR), {}, TypeError, "model: .*got a Seq2Seq: wrap it in"),
    ((MODEL, None), {}, TypeError, "x: expected .*, got object"),
    ((MODEL, 1.0), {}, ValueError, r"x: expected .*, got float64 of shape \(\)"),
    ((MODEL, X[0]), {}, ValueError, r"x: expected .*, got float64 of shape \(6, 3\)"),
    ((MODEL, X > 0), {}, TypeError, "x: expected .*, got bool"),
    ((MODEL, (X, X[:, 0])), {}, TypeError, "x: expected"),
    ((MODEL, ()), {}, ValueError, r"x: expected .*, got float64 of shape \(0,\)"),
    ((MODEL, symbols(9)), {}, ValueError, "x: expected symbols from 0 to I-1=2, got"),
    ((MODEL, X, "a"), {}, TypeError, "state: expected .*, got <U1"),
    ((MODEL, X, X[:1, 0]), {}, ValueError, r"state: expected .*\(B=3, H=4\), got .*\(1, 3\)"),
    ((MODEL, X), {"lengths": [6]}, ValueError, r"lengths: expected .*\(B=3,\), got .*\(1,\)"),
    ((MODEL, X), {"lengths": 2}, ValueError, r"lengths: expected .*\(B=3,\), got .*\(\)"),
    ((MODEL, X), {"lengths": [2, 3, 9]}, ValueError, "lengths: expected .* 6, got 9"),
    ((MODEL, X), {"mask": np.ones((1, T), bool)}, ValueError, r"mask: .*\(B=3, T=6\), got"),
    ((MODEL, X), {"resets": True}, ValueError, r"resets: .*\(B=3, T=6\), got .*\(\)"),
    ((MODEL, X), {"row": 3}, ValueError, "row: expected an integer from 0 to B - 1 = 2, got 3"),
    ((MODEL, X), {"row": 1.0}, ValueError, "row: expected an integer .*, got 1.0"),
    ((MODEL, X), {"row": None}, ValueError, "row: expected an integer .*, got None"),
    ((MODEL, X), {"array": 1}, ValueError, r"array: expected .*one of \[0\], got 1"),
    ((MODEL, X), {"array": -1}, ValueError, r"array: expected .*one of \[0\], got -1"),
    ((MODEL, X), {"array": "x"}, ValueError, r"array: expected .*one of \[0\], got 'x'"),
    (
        (symbols_model(), (*PAIR, LENGTHS)),
        {"array": 2},
        ValueError,
        r"array: expected .* one of \[0, 1\], got 2",
    ),
    ((symbols_model(), PAIR[0]), {}, TypeError, r"x: expected the tuple \(source, target_in\)"),
    ((MODEL, X[:0]), {}, ValueError, "row: expected .*, got 0"),
]


@pytest.mark.parametrize("function", [input_saliency, receptive_field])
@pytest.mark.parametrize(("arguments", "options", "error", "message"), WRONG)
def test_wrong_arguments(function, arguments, options, error, message):
    with pytest.raises(error, match=message):
        function(*arguments, **options)


@pytest.mark.parametrize(
    ("function", "options", "error", "message"),
    [
        (input_saliency, {"step": 6}, ValueError, "step: expected an integer from 0 to 5, .*got 6"),
        (input_saliency, {"step": -7}, ValueError, "step: expected .* from -6 to -1 .*got -7"),
        (input_saliency, {"step": 1.0}, ValueError, "step: expected an integer .*got 1.0"),
        (input_saliency, {"output": 4}, ValueError, "output: expected .* from 0 to 3, .*got 4"),
        (input_saliency, {"output": "a"}, ValueError, "output: expected an integer .*got 'a'"),
        (input_saliency, {"method": "lime"}, ValueError, "method: expected 'gradient' or 'occl"),
        (
            input_saliency,
            {"lengths": LENGTHS, "row": 1},
            ValueError,
            "row: expected one that has steps, got row 1 of length 0",
        ),
        (input_saliency, {"lengths": LENGTHS, "row": 2, "step": 4}, ValueError, "step: .* 3, "),
        (receptive_field, {"fraction": 1}, ValueError, "fraction: expected .* below 1, got 1"),
        (receptive_field, {"fraction": -0.1}, ValueError, "fraction: expected .*, got -0.1"),
        (receptive_field, {"fraction": np.nan}, ValueError, "fraction: expected .*, got nan"),
        (receptive_field, {"repeats": 0}, ValueError, "repeats: expected .* at least 1.*, got 0"),
        (receptive_field, {"repeats": 1.5}, TypeError, "repeats: expected .*, got 1.5"),
        (receptive_field, {"seed": -1}, ValueError, "seed: expected .*, got -1"),
        (receptive_field, {"seed": "a"}, TypeError, "seed: expected .*, got 'a'"),
    ],
)
def test_wrong_options(function, options, error, message):
    with pytest.raises(error, match=message):
        function(MODEL, X, **options)


def test_a_model_without_a_gradient_of_x():
    with pytest.raises(ValueError, match="model: expected one whose backward gives the gradient"):
        input_saliency(Moved(0), X)
