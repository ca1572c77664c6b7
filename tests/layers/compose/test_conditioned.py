"""Conditioned: an initial state that is computed from fixed data, and its gradients.

gradcheck takes one array as x, so these tests compute the differences themselves.
"""

import numpy as np
import pytest

import crnn
from support.comparing import assert_close, assert_same_bits
from support.running import fill, forward_backward, leaves
from support.stubs import assert_differences

B, T, I, H, F = 3, 4, 2, 3, 5
RNG = np.random.default_rng(0)
X, FIXED = RNG.normal(size=(B, T, I)), RNG.normal(size=(B, F))
F64 = {"dtype": "float64"}


def stack():
    layers = [crnn.Dense(I, H, **F64), crnn.GRU(H, H, **F64), crnn.LSTM(H, 2, **F64)]
    return crnn.Sequential([*layers, crnn.Dense(2, 2, **F64)])


LAYERS = {
    "lstm": (lambda: crnn.LSTM(I, H, **F64), 2 * H),
    "gru-reverse": (lambda: crnn.GRU(I, H, reverse=True, **F64), H),
    "bidirectional": (lambda: crnn.Bidirectional(crnn.LSTM(I, H, **F64)), 4 * H),
    "stack": (stack, H + 4),
    "pooled": (lambda: crnn.Sequential([crnn.RNN(I, H, **F64), crnn.Pool("mean")]), H),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def made(name):
    make, width = LAYERS[name]
    init = crnn.Sequential([crnn.Dense(F, 4, **F64), crnn.Dense(4, width, **F64)])
    return fill(crnn.Conditioned(make(), init))


@every_layer
@pytest.mark.parametrize("lengths", [None, [4, 0, 2]], ids=["full", "lengths"])
def test_gradients(name, lengths):
    assert_differences(made(name), (X.copy(), FIXED.copy()), {"lengths": lengths})


def test_h_lies_before_c():
    lstm, init = crnn.LSTM(I, H, **F64), fill(crnn.Dense(F, 2 * H, **F64))
    model = crnn.Conditioned(lstm, init)
    flat, _ = init(FIXED)
    assert_same_bits(model((X, FIXED)), lstm(X, (flat[:, :H].copy(), flat[:, H:].copy())))
    assert_same_bits(model((X[:, :0], FIXED))[1], (flat[:, :H], flat[:, H:]))
    assert list(model.params) == [f"layer.{key}" for key in lstm.params] + ["init.W", "init.b"]


def test_a_stack_has_all_its_states_side_by_side():
    model = made("stack")
    flat, _ = model.init(FIXED)
    gru, h, c = flat[:, :H], flat[:, H : H + 2], flat[:, H + 2 :]
    expected = model.layer(X, [None, gru.copy(), (h.copy(), c.copy()), None])
    assert_same_bits(model((X, FIXED)), expected)


@every_layer
def test_a_passed_state_replaces_the_computed_one(name):
    model = made(name)
    _, state = model((X, FIXED))
    found = forward_backward(model, (X, FIXED * np.nan), state)
    expected = forward_backward(model.layer, X, state)
    assert_same_bits(found["y"], expected["y"])
    assert not found["dx[1]"].any()
    assert found["dx[1]"].shape == FIXED.shape
    for key, grad in model.grads.items():
        assert grad.any() == key.startswith("layer"), key
        if key.startswith("layer"):
            assert_same_bits(grad, expected["grads" + key.removeprefix("layer")])
    assert_same_bits(
        {key: array for key, array in found.items() if key.startswith("dstate")},
        {key: array for key, array in expected.items() if key.startswith("dstate")},
    )


def test_inside_a_sequential_and_in_a_file(tmp_path):
    model = crnn.Sequential([made("lstm"), crnn.Dense(H, 2, **F64)])
    assert_differences(model, (X.copy(), FIXED.copy()), {})
    crnn.save(tmp_path / "model.npz", model)
    other = crnn.load(tmp_path / "model.npz")
    assert_same_bits(other((X, FIXED)), model((X, FIXED)))
    assert repr(eval(repr(model), vars(crnn))) == repr(model)
    assert_close(model.astype("float32")((X, FIXED))[0], model((X, FIXED))[0], 1e-5)


def test_a_stream_starts_from_the_state():
    model = made("stack")
    _, state = model((X[:, :0], FIXED))
    stream = model.stream(B, state)
    y, end = model((X, FIXED))
    assert_close(np.stack([stream.step(X[:, t]) for t in range(T)], axis=1), y, 1e-13)
    for found, expected in zip(leaves(stream.state).values(), leaves(end).values(), strict=True):
        assert_close(found, expected, 1e-13)
    with pytest.raises(
        ValueError, match=r"^state: expected the one that is computed from fixed, got None"
    ):
        model.stream(B)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X, r"x: expected the pair \(x, fixed\), got ndarray"),
        ((X, FIXED, FIXED), r"x: expected the pair \(x, fixed\), got tuple"),
        ((X, FIXED[:2]), r"x\[1\]: expected floats of shape \(B=3, F\), got shape \(2, 5\)"),
        ((X, FIXED[0]), r"x\[1\]: expected floats of shape \(B=3, F\), got shape \(5,\)"),
        ((X, FIXED > 0), r"x\[1\]: expected floats of shape \(B=3, F\), got bool"),
        ((X[0, 0], FIXED), r"x\[0\]: expected shape \(B, T, I\), or \(B, T\), got shape \(2,\)"),
        ((X[..., :1], FIXED), r"x: expected .*got"),
    ],
)
def test_wrong_pairs(x, message):
    for call in (made("lstm"), made("lstm").forward):
        with pytest.raises((TypeError, ValueError), match="^" + message):
            call(x)


def test_wrong_parts():
    narrow = crnn.Conditioned(crnn.LSTM(I, H), crnn.Dense(F, H))
    with pytest.raises(ValueError, match=r"^init: expected an output of shape \(B=3, 6\)"):
        narrow((X, FIXED))
    stateless = crnn.Conditioned(crnn.Dense(I, H), crnn.Dense(F, H))
    with pytest.raises(ValueError, match=r"^layer: expected one with a state, got Dense"):
        stateless((X, FIXED))
    with pytest.raises(TypeError, match=r"^init: expected a layer, got None"):
        crnn.Conditioned(crnn.LSTM(I, H), None)


def test_after_an_error_nothing_has_changed():
    model = made("lstm")
    y, end, tape = model.forward((X, FIXED))
    for wrong in (
        lambda: model.backward(tape, y[:, 1:]),
        lambda: model.backward(tape, y, end[0]),
        lambda: model.backward(tape.layer, y),
    ):
        with pytest.raises((TypeError, ValueError), match=r"^(dy|dstate|tape): .*expected"):
            wrong()
    assert not any(grad.any() for grad in model.grads.values())
