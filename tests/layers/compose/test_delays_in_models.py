"""Models with layers that have delays: compositions, streams, generation, training, diagnostics.

Letters: B sequences, T steps, I inputs, H hidden units, K symbols, D the longest delay of a layer.
"""

import numpy as np
import pytest

import crnn
from crnn.diagnostics import gradient_flow, memory_length, state_jacobians
from support.comparing import assert_close, assert_same_bits
from support.running import fill, forward_backward, leaves, like

B, T, I, H, K = 4, 14, 3, 5, 6
LENGTHS = [14, 0, 3, 9]
F64 = {"dtype": "float64"}
MASK = np.random.default_rng(1).random((B, T)) < 0.7
RESETS = np.random.default_rng(2).random((B, T)) < 0.15
STEPS = {
    "full": {},
    "lengths": {"lengths": LENGTHS},
    "mask": {"mask": MASK},
    "all": {"lengths": LENGTHS, "mask": MASK, "resets": RESETS},
}
every_steps = pytest.mark.parametrize("steps", STEPS)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def inputs(dtype="float64", width=I, seed=5):
    return np.random.default_rng(seed).normal(size=(B, T, width)).astype(dtype)


def dilated(dtype="float64", width=I, **options):
    """Return a stack whose delays double from layer to layer, then one with several."""
    options |= {"dtype": dtype}
    layers = [
        crnn.GRU(width, H, seed=1, **options),
        crnn.LSTM(H, H, delays=2, seed=2, **options),
        crnn.GRU(H, H, delays=4, reset="before", seed=3, **options),
        crnn.RNN(H, H, delays=(1, 8), seed=4, **options),
        crnn.Dense(H, 2, seed=5, dtype=dtype),
    ]
    return fill(crnn.Sequential(layers), 3, 0.5)


def by_layers(model, x, steps):
    """Return the results of forward and backward, by the methods of the layers."""
    model.zero_grad()
    y, tapes, ends = x, [], []
    for layer in model.layers:
        recurrent = layer.has_state
        y, end, tape = layer.forward(y, None, **(steps if recurrent else {}))
        tapes.append(tape)
        ends.append(end)
    dy, dends = like((y, ends), np.random.default_rng(5))
    starts = []
    for layer, tape, dend in list(zip(model.layers, tapes, dends, strict=True))[::-1]:
        dy, start = layer.backward(tape, dy, dend)
        starts.append(start)
    results = {"y": y, "state": ends, "dx": dy, "dstate": starts[::-1]}
    return leaves(results | {"grads": {name: g.copy() for name, g in model.grads.items()}})


# ---------------------------------------------------------------------------------- Sequential


@pytest.mark.parametrize("steps", ["full", "lengths"])
@every_dtype
def test_a_stack_of_delays_has_the_bits_of_its_layers(steps, dtype):
    """The core runs it in one call, in which each layer has rows of its own."""
    model, x = dilated(dtype), inputs(dtype)
    found = forward_backward(model, x, **STEPS[steps])
    expected = by_layers(model, x, STEPS[steps])
    if steps == "full":
        assert_same_bits(found, expected)
    else:  # the rest of a row has no meaning behind the Dense
        valid = np.arange(T) < np.c_[LENGTHS]
        assert_same_bits(found["y"][valid], expected["y"][valid])
        assert_same_bits(
            {name: found[name] for name in found if name.startswith("state")},
            {name: expected[name] for name in expected if name.startswith("state")},
        )


@every_steps
def test_gradients_of_a_stack(steps):
    report = crnn.gradcheck(dilated(), inputs(), **STEPS[steps])
    assert report.ok, report


@every_steps
def test_gradients_of_a_stack_with_learned_states(steps):
    report = crnn.gradcheck(dilated(learn_state=True), inputs(), **STEPS[steps])
    assert report.ok, report


def test_evaluation_has_the_bits_of_forward():
    model, x = dilated(), inputs()
    for steps in STEPS.values():
        y, end, _ = model.forward(x, **steps)
        assert_same_bits(model(x, **steps), (y, end))


@every_dtype
def test_threads_have_the_same_bits(dtype):
    model, x = dilated(dtype), inputs(dtype)
    before, results = crnn._core.num_threads(), []
    try:
        for count in (1, 2, 3):
            crnn.set_num_threads(count)
            results.append(forward_backward(model, x, lengths=LENGTHS))
    finally:
        crnn.set_num_threads(before)
    assert_same_bits(results[1], results[0])
    assert_same_bits(results[2], results[0])


@every_dtype
def test_windows_and_streams_have_the_bits_of_the_whole(dtype):
    model, x = dilated(dtype), inputs(dtype)
    expected, state, begin, ys = model(x), None, 0, []
    for size in (1, 3, 2, 8):
        y, state = model(x[:, begin : begin + size], state)
        ys.append(y)
        begin += size
    assert_same_bits((np.concatenate(ys, axis=1), state), expected)
    stream = model.stream(B)
    for t in range(T):
        assert_same_bits(stream.step(x[:, t]), np.ascontiguousarray(expected[0][:, t]))
    assert_same_bits(stream.state, expected[1])
    again = model.stream(B, state)
    assert_same_bits(again.state, state)


def test_a_stack_refuses_a_state_of_another_shape():
    model, x = dilated(), inputs()
    state = model(x)[1]
    state[3] = state[3][:, :7]
    with pytest.raises(ValueError, match=r"state.*B=4, D=8, H=5"):
        model(x, state)


# ----------------------------------------------------------------------------- other compositions

MODELS = {
    "bidirectional": lambda: crnn.Bidirectional(crnn.LSTM(I, H, delays=(1, 3), **F64)),
    "bidirectional-delay": lambda: crnn.Bidirectional(crnn.GRU(I, H, delays=3, **F64), "sum"),
    "residual": lambda: crnn.Residual(crnn.JANET(I, I, delays=(2, 5), **F64)),
    "last-h": lambda: crnn.LastState(crnn.GRU(I, H, delays=3, **F64)),
    "last-c": lambda: crnn.LastState(crnn.LSTM(I, H, delays=(1, 4), **F64), "c"),
    "last-all": lambda: crnn.LastState(crnn.LSTM(I, H, delays=(1, 4), **F64), "all"),
    "last-both": lambda: crnn.LastState(
        crnn.Bidirectional(crnn.LSTM(I, H, delays=2, **F64), "mul"), "h"
    ),
    "last-stack": lambda: crnn.LastState(
        crnn.Sequential([crnn.GRU(I, H, delays=2, **F64), crnn.RNN(H, H, delays=(3, 1), **F64)])
    ),
    "pooled": lambda: crnn.Sequential([crnn.GRU(I, H, delays=4, **F64), crnn.Pool("max")]),
    "checkpointed": lambda: crnn.Checkpointed(crnn.LSTM(I, H, delays=(5, 2), **F64), 3),
    "checkpointed-stack": lambda: crnn.Checkpointed(dilated(), 4),
}


@pytest.mark.parametrize("name", MODELS)
@every_steps
def test_compositions(name, steps):
    model = fill(MODELS[name](), 2, 0.5)
    report = crnn.gradcheck(model, inputs(), **STEPS[steps])
    assert report.ok, report


@pytest.mark.parametrize("make", [crnn.GRU, crnn.LSTM])
@pytest.mark.parametrize("delays", [3, (1, 4)], ids=str)
def test_the_last_state_is_that_of_the_last_step(make, delays):
    layer = make(I, H, delays=delays, **F64)
    y, state = layer(inputs(), lengths=LENGTHS)
    h = state[0] if isinstance(state, tuple) else state
    found, after = crnn.LastState(layer)(inputs(), lengths=LENGTHS)
    assert_same_bits((found, after), (np.ascontiguousarray(h[:, -1]), state))
    assert_same_bits(found[0], y[0, -1])
    every, _ = crnn.LastState(layer, "all")(inputs(), lengths=LENGTHS)
    assert_same_bits(every[:, : h[0].size], h.reshape(B, -1))
    assert every.shape[1] == sum(part[0].size for part in np.atleast_1d(leaves_of(state)))
    for of in ("h", "all"):
        model = crnn.LastState(layer, of)
        head = crnn.Dense(model(inputs())[0].shape[1], 2, seed=1, **F64)
        assert crnn.Sequential([model, head])(inputs())[0].shape == (B, 2)


def leaves_of(state):
    parts = np.empty(len(leaves(state)), object)
    parts[:] = list(leaves(state).values())
    return parts


def test_checkpoints_have_the_bits_of_the_layer():
    for delays in (3, (5, 2), (1, 20)):
        layer = fill(crnn.LSTM(I, H, delays=delays, **F64), 1, 0.5)
        results = []
        for model in (layer, crnn.Checkpointed(layer, 4)):
            y, end, tape = model.forward(inputs(), lengths=LENGTHS)
            dy, dend = like((y, end), np.random.default_rng(5))
            layer.zero_grad()
            results.append((y, end, *model.backward(tape, dy, dend)))
        assert_same_bits(results[1][:2], results[0][:2])
        for found, expected in zip(
            leaves(results[1][2:]).values(), leaves(results[0][2:]).values(), strict=True
        ):
            assert_close(found, expected, 1e-13)


def test_a_condition_sets_the_states_of_all_steps():
    layer, D = crnn.GRU(I, H, delays=(2, 3), **F64), 3
    model = fill(crnn.Conditioned(layer, crnn.Dense(4, D * H, **F64)))
    fixed = np.random.default_rng(3).normal(size=(B, 4))
    y, end = model((inputs(), fixed))
    start = model.init(fixed)[0].reshape(B, D, H)
    assert_same_bits((y, end), layer(inputs(), start))
    report = crnn.gradcheck(model, (inputs(), fixed))
    assert report.ok, report


def test_an_embedding_before_a_layer_with_delays():
    symbols = np.random.default_rng(4).integers(0, K, (B, T))
    for delays in (3, (1, 4)):
        layers = [crnn.Embedding(K, I, **F64), crnn.LSTM(I, H, delays=delays, **F64)]
        model = fill(crnn.Sequential(layers), 1, 0.5)
        y, _ = model(symbols, lengths=LENGTHS)
        expected, _ = model.layers[1](model.layers[0](symbols)[0], lengths=LENGTHS)
        assert_close(y, expected, 1e-13)
        report = crnn.gradcheck(model, symbols, **STEPS["all"])
        assert report.ok, report


# ------------------------------------------------------------------------------------ generation


def reader(delays):
    layers = [
        crnn.Embedding(K, H, **F64),
        crnn.LSTM(H, H, delays=delays, **F64),
        crnn.GRU(H, H, delays=2, **F64),
        crnn.Dense(H, K, **F64),
    ]
    model = fill(crnn.Sequential(layers), 8, 1.5)
    model.params["3.b"] = 0
    return model


@pytest.mark.parametrize("delays", [3, (1, 4), (5, 2)], ids=str)
def test_generation_is_a_loop_over_whole_calls(delays):
    model, start = reader(delays), np.array([0, 3, 5, 3])
    symbols = crnn.generate(model, start, T)
    read = np.concatenate([start[:, None], symbols[:, :-1]], axis=1)
    np.testing.assert_array_equal(symbols, model(read)[0].argmax(axis=2))
    assert len(np.unique(symbols)) > 2
    _, state = model(read[:, :5])
    rest = crnn.generate(model, read[:, 5], T - 5, state=state)
    np.testing.assert_array_equal(rest, symbols[:, 5:])


@pytest.mark.parametrize("delays", [2, (1, 3)], ids=str)
def test_vectors_are_fed_back(delays):
    model = fill(crnn.Sequential([crnn.GRU(I, H, delays=delays, **F64), crnn.Dense(H, I, **F64)]))
    start = np.random.default_rng(3).normal(size=(B, I))
    found = crnn.generate(model, start, T)
    read = np.concatenate([start[:, None], found[:, :-1]], axis=1)
    assert_same_bits(model(read)[0], found)


# -------------------------------------------------------------------------------------- training


def data(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(B, 24, I)), rng.normal(size=(B, 24, 2))


def trained(window, epochs=3):
    model, (x, target) = dilated(), data()
    crnn.fit(
        model,
        [(x, target)],
        loss=crnn.losses.mse,
        optimizer=crnn.optim.SGD(model, lr=0.05),
        epochs=epochs,
        tbptt=window,
        progress=False,
    )
    return model


def test_training_on_windows_passes_all_states():
    """One window as long as the row is no window; small ones pass the states of all delays."""
    assert_same_bits(dict(trained((24, 24)).params), dict(trained(None).params))
    model, (x, target) = dilated(), data()
    optimizer = crnn.optim.SGD(model, lr=0.05)
    state = None
    for begin in range(0, 24, 3):
        part = slice(begin, begin + 3)
        y, state, tape = model.forward(x[:, part], state)
        model.zero_grad()
        model.backward(tape, 2 * (y - target[:, part]) / y.size)
        optimizer.step()
    for name, array in trained((3, 3), 1).params.items():
        assert_close(array, model.params[name], 1e-12, name)


class Recorded(crnn.optim.Optimizer):
    """Optimizer that changes nothing, and keeps the gradients of each update."""

    def __init__(self, model):
        super().__init__(model, 0.0)
        self.updates = []

    def _update(self, updates, scale):
        self.updates.append([grad.copy() for _, grad in updates])


@pytest.mark.parametrize("window", [(3, 5), (2, 9), (4, 12), (5, 40)])
@pytest.mark.parametrize("lengths", [None, [24, 0, 2, 17]])
@pytest.mark.parametrize("frozen", [(), (0, 2), (1, 4)])
def test_gradients_of_a_window_reach_the_steps_before_it(window, lengths, frozen):
    """With k2 > k1 they are those of one pass over k2 - k1 steps more, also of c and of h0.

    Delays are longer than windows, so that they read states of several windows before.
    """
    model, (x, target) = dilated(learn_state=True), data()
    for place in frozen:
        model.layers[place].trainable = False
    optimizer, (k1, k2) = Recorded(model), window
    items = [(x, target) if lengths is None else (x, target, lengths)]
    options = {"loss": crnn.losses.mse, "epochs": 1, "progress": False}
    crnn.fit(model, items, optimizer=optimizer, tbptt=window, **options)
    assert len(optimizer.updates) == -(-24 // k1)
    whole = np.full(B, 24) if lengths is None else np.array(lengths)
    for begin, found in zip(range(0, 24, k1), optimizer.updates, strict=True):
        first, stop = max(0, begin + k1 - k2), min(begin + k1, 24)
        clipped = {"lengths": np.clip(whole - first, 0, stop - first)}
        state = model(x[:, :first], lengths=np.minimum(whole, first))[1] if first else None
        y, _, tape = model.forward(x[:, first:stop], state, **clipped)
        inside = np.clip(whole - begin, 0, stop - begin)
        dy = np.zeros_like(y)
        own = slice(begin - first, None)
        dy[:, own] = crnn.losses.mse(y[:, own], target[:, begin:stop], inside)[1]
        model.zero_grad()
        model.backward(tape, dy)
        for name, grad in zip(optimizer._params, found, strict=True):
            assert_close(grad, model.grads[name], 1e-12, f"{name} of the window at {begin}")


# ----------------------------------------------------------------------------------- diagnostics


def test_jacobians_of_a_linear_layer_are_those_of_a_companion_matrix():
    layer = crnn.RNN(I, 2, delays=(1, 3), activation="identity", **F64)
    one, three = np.split(layer.params["W_h"], 2, axis=1)
    step = np.zeros((6, 6))
    step[:2, 2:4] = step[2:4, 4:] = np.eye(2)  # the state moves on
    step[4:, 4:], step[4:, :2] = one, three
    found = state_jacobians(layer, inputs()[:1])
    norms = [np.linalg.norm(np.linalg.matrix_power(step, k), 2) for k in range(T)][::-1]
    np.testing.assert_allclose(found.norms[0], norms, rtol=1e-10)


@pytest.mark.parametrize("delays", [2, (1, 4)], ids=str)
def test_jacobians_are_derivatives_of_all_states(delays):
    layer = fill(crnn.LSTM(I, H, delays=delays, **F64), 1, 0.5)
    state = layer(inputs())[1]
    jacobians = state_jacobians(layer, inputs(), state, lengths=LENGTHS, matrices=True)
    S = 2 * layer.state_depth * H
    direction = like(state, np.random.default_rng(1))
    for row, t in ((0, 9), (2, 1), (3, 4)):
        found = jacobians.matrices[row, t]
        assert found.shape == (S, S)
        ends = []
        _, before = layer(inputs()[[row], : t + 1], tuple(part[[row]] for part in state))
        for sign in (1, -1):
            moved = tuple(
                part + sign * 1e-6 * step[[row]]
                for part, step in zip(before, direction, strict=True)
            )
            end = layer(inputs()[[row], t + 1 : LENGTHS[row]], moved)[1]
            ends.append(np.concatenate([part.ravel() for part in end]))
        flat = np.concatenate([step[row].ravel() for step in direction])
        assert_close(found @ flat, (ends[0] - ends[1]) / 2e-6, 1e-7)


@pytest.mark.parametrize("delays", [2, (1, 4)], ids=str)
def test_flow_and_memory(delays):
    layer = fill(crnn.LSTM(I, H, delays=delays, **F64), 1, 0.5)
    y, _, tape = layer.forward(inputs())
    layer.zero_grad()
    layer.backward(tape, np.ones_like(y), trace=True)
    part = gradient_flow(tape)
    assert_close(np.sum([part.share(t) for t in range(T)], axis=0), layer.grads["W_h"], 1e-12)
    assert np.array_equal(part.dh, tape.dh)
    assert memory_length(layer, inputs(), fraction=0.5).steps.shape == (B,)


def test_a_layer_with_one_delay_sees_every_dth_step():
    layer, x = crnn.RNN(I, H, delays=3, **F64), inputs()
    changed = x.copy()
    changed[:, 1] += 1
    differs = (layer(changed)[0] != layer(x)[0]).any(axis=(0, 2))
    np.testing.assert_array_equal(np.flatnonzero(differs), np.arange(1, T, 3))


def test_summaries_and_files(tmp_path):
    model = dilated("float32")
    weights = {"3.W_h": (H, 2 * H), "1.W_h": (4 * H, H)}
    assert {name: model.params[name].shape for name in weights} == weights
    assert " 555\n" in f"{model.summary()}\n"  # multiply-adds of a step
    crnn.save(tmp_path / "model.npz", model)
    again = crnn.load(tmp_path / "model.npz")
    assert [layer.options.get("delays") for layer in again.layers[:-1]] == [1, 2, 4, (1, 8)]
    assert_same_bits(again(inputs("float32")), model(inputs("float32")))
