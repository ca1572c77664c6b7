"""Compositions: the options of their parts, Pool, Dropout and Embedding inside, and streams.

Letters: B sequences, T steps, I inputs, H hidden units, K symbols, F features.
"""

import numpy as np
import pytest

import crnn
from crnn.layers.base.arguments import options_of
from support.comparing import assert_close, assert_same_bits
from support.running import copied, fill, leaves, valid_steps
from support.stubs import Leaky, assert_differences

B, T, I, H, K = 3, 5, 3, 4, 6
LENGTHS = [5, 0, 3]
RNG = np.random.default_rng(0)
FLOATS, SYMBOLS = RNG.normal(size=(B, T, I)), RNG.integers(0, K, (B, T))
MASK = np.array([[1, 0, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 0, 1, 1]], bool)
RESETS = np.array([[0, 0, 1, 0, 1], [1, 0, 0, 0, 0], [0, 0, 1, 0, 0]], bool)
STEPS = {"lengths": LENGTHS, "mask": MASK, "resets": RESETS}
DRAWS = {"training": True, "call": 7, "first_row": 9}
F64 = {"dtype": "float64"}


def assert_right(layer, x, state=None, **options):
    report = crnn.gradcheck(layer, x, state, **options)
    assert report.ok, f"\n{report}"


# ---------------------------------------------------------------------------------- handing on


def nested():
    parts = {name: Leaky(I) for name in "abcd"}
    inner = crnn.Sequential([parts["c"], crnn.LayerNorm(I, **F64), parts["d"]])
    return crnn.Sequential([parts["a"], crnn.Residual(parts["b"]), inner]), parts


def test_forward_hands_everything_on():
    whole, parts = nested()
    whole.forward(FLOATS, **STEPS, **DRAWS)
    numbers = {"a": 1, "b": 64 * 2 + 1, "c": 64 * 3 + 1, "d": 64 * 3 + 3}
    for name, part in parts.items():
        (heard,) = part.heard
        assert {key: heard[key] for key in (*STEPS, *DRAWS)} == STEPS | DRAWS
        assert heard["layer"] == numbers[name]


def test_evaluation_hands_the_steps_on():
    whole, parts = nested()
    whole(FLOATS, **STEPS)
    for part in parts.values():
        assert part.heard == [STEPS]


def test_numbers_of_layers_start_from_the_one_given_and_wrap():
    whole, parts = nested()
    whole.forward(FLOATS, layer=2**32 - 1)
    assert parts["a"].heard[0]["layer"] == 2**32 - 64 + 1
    for layer, error in ((-1, ValueError), (1.0, TypeError), ("1", TypeError)):
        with pytest.raises(error, match=r"^layer: expected an integer of at least 0, got"):
            whole.forward(FLOATS, layer=layer)


def test_equal_parts_draw_different_numbers():
    whole = crnn.Sequential([Leaky(I, 1, noise=0.5), Leaky(I, 1, noise=0.5)])
    (_, (first, second), _), x = whole.forward(np.ones((B, T, I)), call=3), np.ones((B, T, I))
    y, _, _ = Leaky(I, 1, noise=0.5).forward(x, call=3, layer=1)
    np.testing.assert_array_equal(y[:, -1], first)
    assert (Leaky(I, 1, noise=0.5).forward(y, call=3, layer=1)[1] != second).all()
    np.testing.assert_array_equal(Leaky(I, 1, noise=0.5).forward(y, call=3, layer=2)[1], second)
    rest, _, _ = whole.forward(x[1:], call=3, first_row=1)
    np.testing.assert_array_equal(rest, whole.forward(x, call=3)[0][1:])


class Passing(Leaky):
    """A layer whose forward passes all keywords on."""

    def forward(self, x, *args, **kwargs):
        self.passed = kwargs
        return super().forward(x, *args, **kwargs)


def test_a_part_that_passes_keywords_on_gets_those_of_the_method_it_overrides():
    part = Passing(I)
    assert options_of(part) >= {*STEPS, *DRAWS, "layer"}
    crnn.Sequential([part]).forward(FLOATS, **STEPS, **DRAWS)
    assert part.passed == STEPS | DRAWS | {"layer": 1}


def test_compositions_with_all_options_have_right_gradients():
    whole, _ = nested()
    whole.layers[0].noise = 0.5
    for steps in (STEPS, {}):
        assert_differences(whole, FLOATS, steps | DRAWS | {"lengths": None})


@pytest.mark.parametrize("steps", [{"mask": MASK}, {"resets": RESETS}, STEPS], ids="-".join)
def test_an_embedding_hands_everything_on_to_the_layer_that_it_is_one_with(steps):
    embedding, lstm = crnn.Embedding(K, I, **F64), crnn.LSTM(I, H, **F64)
    pair = crnn.Sequential([embedding, lstm])
    y, (_, end), tape = pair.forward(SYMBOLS, **steps)
    expected_y, expected_end, expected = lstm.forward(embedding(SYMBOLS)[0], **steps)
    assert_close(y, expected_y, 1e-12)
    assert_close(end[1], expected_end[1], 1e-12)
    pair.backward(tape, np.ones_like(y))
    found = copied(dict(pair.grads))
    dx, _ = lstm.backward(expected, np.ones_like(y))
    np.testing.assert_allclose(found["1.W_h"] * 2, lstm.grads["W_h"], atol=1e-12)
    dW = np.zeros((K, I))
    np.add.at(dW, SYMBOLS, dx)
    assert_close(found["0.W"], dW, 1e-12)
    # steps that are not read may have any value
    strange = np.where(steps.get("mask", True), SYMBOLS, -1)
    assert_same_bits(pair(strange, **steps), pair(SYMBOLS, **steps))


# ------------------------------------------------------------------------------------------ Pool


def pooled(x, how, valid):
    """Pool each row and feature by itself."""
    y = np.zeros((len(x), x.shape[2]))
    for b, row in enumerate(x):
        steps = row[valid[b]]
        if len(steps):
            y[b] = {"last": steps[-1], "mean": steps.mean(axis=0), "max": steps.max(axis=0)}[how]
    return y


@pytest.mark.parametrize("how", ["last", "mean", "max"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("mask", [None, MASK, ~MASK & MASK], ids=["all", "holes", "none"])
def test_pool(how, lengths, mask):
    pool, valid = crnn.Pool(how), np.ones((B, T), bool) if mask is None else mask
    valid = valid if lengths is None else valid & valid_steps(lengths, T)
    x = np.where(valid[..., None], FLOATS, np.nan)
    options = {"lengths": lengths, "mask": mask}
    y, state, tape = pool.forward(x, **options)
    assert_close(y, pooled(FLOATS, how, valid), 1e-15)
    assert_same_bits(pool(x, **options), (y, state))
    dy = RNG.normal(size=y.shape)
    dx, dstate = pool.backward(tape, dy)
    assert (state, dstate) == (None, None)
    assert not dx[~valid].any()
    numeric = np.zeros(x.shape)
    for where in zip(*np.nonzero(np.broadcast_to(valid[..., None], x.shape)), strict=True):
        moved = x.copy()
        moved[where] += 1e-6
        numeric[where] = (dy * (pool(moved, **options)[0] - y)).sum() / 1e-6
    assert_close(dx, numeric, 1e-8)
    assert not pool.backward(tape, None)[0].any()


def test_the_first_of_equal_maxima_has_the_gradient():
    x = np.array([[[1.0], [2.0], [2.0]], [[-np.inf], [-np.inf], [-np.inf]]])
    pool, mask = crnn.Pool("max"), np.array([[1, 1, 1], [0, 0, 1]], bool)
    _, _, tape = pool.forward(x, mask=mask)
    dx, _ = pool.backward(tape, np.ones((2, 1)))
    np.testing.assert_array_equal(dx[..., 0], [[0, 1, 0], [0, 0, 1]])


@pytest.mark.parametrize("how", ["last", "mean", "max"])
@pytest.mark.parametrize("features", [1, 7])
def test_a_pooled_row_alone_has_the_bits_it_has_in_a_batch(how, features):
    x = np.random.default_rng(1).normal(size=(4, 300, features)).astype("float32")
    lengths = [300, 7, 129, 1]
    whole, _ = crnn.Pool(how)(x, lengths=lengths)
    for b, length in enumerate(lengths):
        assert_same_bits(crnn.Pool(how)(x[b : b + 1, :length])[0], whole[b : b + 1])


@pytest.mark.parametrize("how", ["last", "mean", "max"])
@pytest.mark.parametrize("shape", [(0, 4, 2), (2, 0, 2), (0, 0, 2)])
def test_nothing_to_pool(how, shape):
    y, _, tape = crnn.Pool(how).forward(np.zeros(shape))
    assert y.shape == (shape[0], 2)
    assert not y.any()
    assert crnn.Pool(how).backward(tape, y)[0].shape == shape


def test_layers_after_a_pool_get_no_steps():
    after, pool = Leaky(2), crnn.Pool("mean")
    after._run = lambda x, *rest: (x, None, None)
    whole = crnn.Sequential([Leaky(I), crnn.Sequential([pool]), crnn.Dense(I, 2, **F64), after])
    assert not whole.keeps_time
    y, _, _ = whole.forward(FLOATS, **STEPS, **DRAWS)
    assert y.shape == (B, 2)
    assert [after.heard[0][name] for name in STEPS] == [None] * 3
    assert after.heard[0]["call"] == 7
    assert_right(crnn.Sequential([crnn.GRU(I, H), pool, crnn.Dense(H, 2)]), FLOATS, lengths=LENGTHS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: crnn.Pool("sum"), r"how: expected one of 'last', 'mean', 'max', got 'sum'"),
        (lambda: crnn.Pool()(FLOATS[0]), r"x: expected floats of shape \(B, T, F\), got shape"),
        (lambda: crnn.Pool()(SYMBOLS), r"x: expected floats of shape \(B, T, F\), got int64"),
        (
            lambda: crnn.Pool()(FLOATS, mask=MASK[:2]),
            r"mask: expected booleans, .*got shape \(2, 5",
        ),
        (lambda: crnn.Pool()(FLOATS, mask=MASK * 1.0), r"mask: expected booleans, .*got float64"),
        (lambda: crnn.Pool()(FLOATS, mask=MASK * 2), r"mask: expected booleans, .*got 2 in row"),
        (lambda: crnn.Pool()(FLOATS, [1]), r"state: Pool has no state, expected None, got list"),
    ],
)
def test_errors_of_pool(call, message):
    with pytest.raises((ValueError, TypeError), match="^" + message):
        call()


# --------------------------------------------------------------------------------------- streams


def deep(dtype="float64"):
    options = {"dtype": dtype}
    inner = crnn.Residual(
        crnn.Sequential([crnn.GRU(H, H, **options), crnn.LayerNorm(H, **options)])
    )
    layers = [crnn.Embedding(K, H, **options), crnn.LSTM(H, H, **options), crnn.Dropout(0.5)]
    return crnn.Sequential([*layers, inner, crnn.Dense(H, 2, **options)])


def walked(stream, x):
    return np.stack([stream.step(x[:, t]) for t in range(x.shape[1])], axis=1)


def test_a_stream_agrees_with_a_call(dtype):
    model = fill(deep(dtype))
    _, states = model(SYMBOLS[:, :2])
    stream = model.stream(B, states)
    y, end = model(SYMBOLS[:, 2:], states)
    assert_close(walked(stream, SYMBOLS[:, 2:]), y, 1e-5 if dtype == "float32" else 1e-13)
    found, expected = leaves(stream.state), leaves(end)
    assert list(found) == list(expected) == ["[1][0]", "[1][1]", "[3][0]"]
    for name, array in found.items():
        assert_close(array, expected[name], 1e-5 if dtype == "float32" else 1e-13)


def test_a_stream_of_a_residual():
    layer = fill(crnn.Residual(crnn.JANET(I, I, **F64)))
    stream = layer.stream(B)
    assert_close(walked(stream, FLOATS), layer(FLOATS)[0], 1e-13)
    assert_close(stream.state, layer(FLOATS)[1], 1e-13)
    stream.state = None
    assert not stream.state.any()


def test_a_stream_is_set_and_reset():
    model = fill(deep())
    stream = model.stream(B)
    fresh = walked(stream, SYMBOLS)
    end = stream.state
    stream.reset(rows=[0, 2])
    for name, array in leaves(stream.state).items():
        assert not array[[0, 2]].any(), name
        np.testing.assert_array_equal(array[1], leaves(end)[name][1])
    again = walked(stream, SYMBOLS)
    np.testing.assert_array_equal(again[[0, 2]], fresh[[0, 2]])
    assert (again[1] != fresh[1]).any()
    stream.reset()
    np.testing.assert_array_equal(walked(stream, SYMBOLS), fresh)
    stream.state = end
    assert_same_bits(stream.state, end)
    stream.state = None
    np.testing.assert_array_equal(walked(stream, SYMBOLS), fresh)
    stream.state = end
    # the states before the wrong one are set first
    wrong = [None, None, None, [np.zeros((B, H + 1)), None], None]
    for state in (wrong, end[:2], "state"):
        with pytest.raises((ValueError, TypeError), match=r"^state(\[\d\])*: expected"):
            stream.state = state
        assert_same_bits(stream.state, end)


def test_a_layer_without_a_stream_is_called_step_by_step():
    stream = crnn.Sequential([Leaky(I), crnn.Dense(I, 2, **F64)]).stream(B)
    y = walked(stream, FLOATS)
    np.testing.assert_array_equal(stream.state[0], Leaky(I)(FLOATS)[1])
    assert y.shape == (B, T, 2)
    stream.reset(rows=[1])
    assert [row.any() for row in stream.state[0]] == [True, False, True]
    with pytest.raises(ValueError, match=r"^x: expected shape \(B=3, I\) or symbols \(B=3,\), got"):
        stream.step(FLOATS[:2, 0])


@pytest.mark.parametrize(
    "layer",
    [
        crnn.Bidirectional(crnn.LSTM(I, H)),
        crnn.LSTM(I, H, reverse=True),
        crnn.Pool(),
        crnn.Sequential([crnn.Pool("max")]),
    ],
    ids=["bidirectional", "reverse", "pool", "pool-inside"],
)
def test_layers_without_a_stream(layer):
    for whole in (crnn.Sequential([crnn.Dense(I, I), layer]), crnn.Residual(layer)):
        with pytest.raises(ValueError, match=r"^layer: expected one that runs step by step, got "):
            whole.stream()
