"""MinGRU and MinLSTM: layers without W_h.

The tables of support/tables.py contain both, so the tests of cells, options, gradients, traces,
streams and copies run on them. Here they are compared with plain loops of PyTorch, and in ways that
concern such layers alone.

Letters: B sequences, T steps, I inputs, H hidden units.
"""

import numpy as np
import pytest

import crnn
from crnn import reference
from support.comparing import assert_close, assert_same_bits
from support.running import fill, forward_backward, leaves, like

B, T, I, H = 4, 9, 3, 5
MINIMAL = {"MinGRU": crnn.MinGRU, "MinLSTM": crnn.MinLSTM}
every_layer = pytest.mark.parametrize("name", MINIMAL)
NORMAL = {"float32": 1e-38, "float64": 1e-307}  # about the smallest normal number


def inputs(dtype="float64", batch=B, steps=T, features=I):
    return np.random.default_rng(5).normal(size=(batch, steps, features)).astype(dtype)


# ----------------------------------------------------------------------------- against PyTorch


def torch_step(torch, name, sums, h, squash):
    """Return h' of the equations of the paper, from the sums (rows, G*H) of a step."""
    if name == "MinGRU":
        z, n = sums.chunk(2, dim=1)
        z = torch.sigmoid(z)
        return (1 - z) * h + z * squash(n)
    i, f, g = sums.chunk(3, dim=1)
    i, f = torch.sigmoid(i), torch.sigmoid(f)
    return f / (f + i) * h + i / (f + i) * squash(g)


def torch_results(torch, layer, x, state, lengths, squash):
    """Return y, the last state and all gradients of a loop over the steps."""
    params = {key: torch.tensor(a, requires_grad=True) for key, a in layer.params.items()}
    x, first = torch.tensor(x, requires_grad=True), torch.tensor(state, requires_grad=True)
    h, ys, lengths = first, [], torch.tensor(lengths)
    for t in range(x.shape[1]):
        sums = x[:, t] @ params["W_x"].T + params["b"]
        read = (lengths > t)[:, None]
        h = torch.where(read, torch_step(torch, type(layer).__name__, sums, h, squash), h)
        ys.append(torch.where(read, h, torch.zeros(())))
    y = torch.stack(ys, dim=1)
    dy, dh = like((y.detach().numpy(), state), np.random.default_rng(5))
    ((y * torch.tensor(dy)).sum() + (h * torch.tensor(dh)).sum()).backward()
    arrays = {"y": y, "state": h, "dx": x.grad, "dstate": first.grad}
    arrays |= {f"grads.{key}": tensor.grad for key, tensor in params.items()}
    return {key: tensor.detach().numpy() for key, tensor in arrays.items()}, dy, dh


@every_layer
@pytest.mark.parametrize("activation", ["identity", "tanh"])
@pytest.mark.parametrize("lengths", [[T] * B, [T, 0, 2, 7]], ids=["full", "lengths"])
def test_a_loop_of_pytorch_agrees(name, activation, lengths):
    torch = pytest.importorskip("torch")
    layer = fill(MINIMAL[name](I, H, activation=activation, dtype="float64"), 2)
    x, state = inputs(), np.random.default_rng(1).normal(size=(B, H))
    squash = torch.tanh if activation == "tanh" else lambda s: s
    expected, dy, dh = torch_results(torch, layer, x, state, lengths, squash)
    y, end, tape = layer.forward(x, state, lengths=lengths)
    layer.zero_grad()
    dx, dstate = layer.backward(tape, dy, dh)
    found = leaves({"y": y, "state": end, "dx": dx, "dstate": dstate, "grads": layer.grads})
    for key, array in expected.items():
        assert_close(found[key], array, 1e-12, key)


# ----------------------------------------------------------------------------- the equations


def test_the_shares_of_a_min_lstm_survive_gates_that_are_0():
    """With sums far below 0 both gates underflow; f/(f+i) is then σ of their difference."""
    for dtype, tolerance in (("float32", 1e-4), ("float64", 1e-12)):
        for low in (-50.0, -200.0, -2000.0):
            layer = crnn.MinLSTM(1, 3, dtype=dtype, forget_bias=0)
            layer.params["W_x"] = 0.0
            layer.params["b"] = np.r_[np.full(3, low), low + np.array([-2.0, 0.0, 2.0]), np.ones(3)]
            h = np.full((1, 3), 3.0)
            y, _, tape = layer.forward(np.zeros((1, 1, 1)), h)
            keep = 1 / (1 + np.exp([2.0, 0.0, -2.0]))
            assert_close(y[0, 0], keep * 3 + (1 - keep), tolerance)
            assert np.exp(low) > NORMAL[dtype] or not tape.gates["f"].any()
            layer.zero_grad()
            _, dh = layer.backward(tape, np.ones_like(y))
            assert_close(dh[0], keep, tolerance)
            slope = 2 * keep * (1 - keep)
            assert_close(layer.grads["b"], np.r_[-slope, slope, 1 - keep], tolerance)


def test_a_gradcheck_of_a_min_lstm_with_small_gates():
    layer = fill(crnn.MinLSTM(I, H, dtype="float64"), 3)
    layer.params["b"][: 2 * H] -= 400.0
    report = crnn.gradcheck(layer, inputs(), np.ones((B, H)))
    assert report.ok, report


def test_extreme_sums_of_a_min_lstm_are_shares():
    """Large sums of either sign give shares of 0, 1/2 and 1, without infinities in between."""
    layer = crnn.MinLSTM(1, 1, dtype="float32")
    layer.params["W_x"] = 0.0
    for i, f, share in ((1e30, 1e30, 0.5), (-1e30, 1e30, 1), (1e30, -1e30, 0), (-1e30, -1e30, 0.5)):
        layer.params["b"] = [i, f, 4.0]
        assert layer(np.zeros((1, 1, 1)), np.full((1, 1), 8.0))[0] == 4 + 4 * share


@every_layer
def test_sums_do_not_depend_on_the_state(name):
    """The gates of a step are those of x alone, whatever the state is."""
    layer, x = fill(MINIMAL[name](I, H, dtype="float64"), 2), inputs()
    gates = layer.forward(x)[2].gates
    others = layer.forward(x, np.random.default_rng(1).normal(size=(B, H)))[2].gates
    assert_same_bits(dict(gates), dict(others))


@every_layer
def test_the_last_state_is_a_sum_over_the_steps(name):
    """h_T = Σ_t share_t candidate_t Π_{s>t} keep_s: the recurrence is linear in h."""
    layer, x = fill(MINIMAL[name](I, H, dtype="float64"), 2), inputs()
    y, _, tape = layer.forward(x)
    gates = dict(tape.gates)
    if name == "MinGRU":
        take, candidate = gates["z"], gates["n"]
    else:
        take, candidate = gates["i"] / (gates["f"] + gates["i"]), gates["g"]
    kept = np.cumprod((1 - take)[:, ::-1], axis=1)[:, ::-1]
    after = np.concatenate([kept[:, 1:], np.ones((B, 1, H))], axis=1)
    assert_close(y[:, -1], (after * take * candidate).sum(axis=1), 1e-12)


# ------------------------------------------------------------------------- parameters and options


@every_layer
def test_there_is_no_W_h(name):
    layer = MINIMAL[name](I, H)
    G = len(layer.gate_order)
    assert {key: array.shape for key, array in layer.params.items()} == {
        "W_x": (G * H, I),
        "b": (G * H,),
    }
    assert layer.flat_params.size == G * H * (I + 1)
    normed = MINIMAL[name](I, H, layer_norm=True, learn_state=True)
    assert set(normed.params) == {"W_x", "b", "gain_x", "h0"}


@every_layer
def test_the_candidate_is_linear_unless_an_option_says_otherwise(name):
    layer = MINIMAL[name](I, H)
    assert layer.activation == "identity"
    assert "activation" not in repr(layer)
    tanh = MINIMAL[name](I, H, activation="tanh")
    assert "activation='tanh'" in repr(tanh)
    assert MINIMAL[name](I, H, activation="identity").options == layer.options
    assert layer.gate_activations[layer.candidate] == "identity"


BAD = {
    "recurrent dropout": ({"recurrent_dropout": 0.1}, TypeError, "recurrent_dropout: .* no W_h"),
    "weight drop": ({"weight_drop": 0.1}, TypeError, "weight_drop: not an option .* no W_h"),
    "delays": ({"delays": (1, 2)}, ValueError, r"delays: expected one .* no W_h, got \(1, 2\)"),
    "peepholes": ({"peepholes": True}, TypeError, "peepholes"),
    "projection": ({"proj_size": 2}, TypeError, "proj_size"),
    "leak": ({"leak": 0.5}, TypeError, "leak"),
    "activation": ({"activation": "gelu"}, ValueError, "activation: expected 'tanh'"),
    "chrono": ({"chrono": 1.0}, ValueError, "chrono"),
    "seed": ({"seed": -1}, ValueError, "seed"),
}


@every_layer
@pytest.mark.parametrize("case", BAD)
def test_bad_options(name, case):
    options, error, text = BAD[case]
    with pytest.raises(error, match=text):
        MINIMAL[name](I, H, **options)
    layer = fill(MINIMAL[name](I, H), 1)
    before = layer.flat_params.copy()
    with pytest.raises(error):
        layer.__init__(I, H, **options)
    assert_same_bits(layer.flat_params, before)


def test_options_of_one_of_the_layers():
    with pytest.raises(TypeError, match="forget_bias"):
        crnn.MinGRU(I, H, forget_bias=1.0)
    with pytest.raises(TypeError, match="recurrent_activation"):
        crnn.MinLSTM(I, H, recurrent_activation="hard_sigmoid")
    for wrong in (np.inf, "1", None):
        with pytest.raises(ValueError, match="forget_bias: expected a finite number"):
            crnn.MinLSTM(I, H, forget_bias=wrong)


def test_chrono_gives_memories_up_to_its_length():
    """With x = 0 the share of h is u / (1 + u), so that half of it is left after about u steps."""
    for layer in (crnn.MinGRU(I, 200, chrono=50, seed=1), crnn.MinLSTM(I, 200, chrono=50, seed=1)):
        _, h = layer(np.zeros((1, 1, I)), np.ones((1, 200)))
        memory = 1 / (1 - h[0])
        assert 2 <= memory.min() < 4
        assert 45 < memory.max() <= 50 * (1 + 1e-5)


# ----------------------------------------------------------------------------- threads, memory


@every_layer
@pytest.mark.parametrize(
    ("shape", "sizes"),
    [((1, 400), (9, 300)), ((2, 150), (1, 700)), ((140, 20), (40, 65))],
    ids=["one row", "one input", "many rows"],
)
def test_members_of_a_team_share_units_without_meeting(name, shape, sizes, dtype, threads):
    """Every unit is a recurrence of its own; its bits are the same for any number of threads."""
    layer = fill(MINIMAL[name](*sizes, dtype=dtype), 2, 0.4)
    x, lengths = inputs(dtype, *shape, sizes[0]), np.arange(shape[0]) % 3 + shape[1] - 2
    results = []
    for count in (1, 2, 4):
        threads(count)
        results.append(forward_backward(layer, x, lengths=lengths))
    for other in results[1:]:
        assert_same_bits(results[0], other)
    twin = getattr(reference, name)()
    y, _, _ = twin.forward(layer.params, x[:2], lengths=lengths[:2])
    assert_close(results[0]["y"][:2], y, 1e-12 if dtype == "float64" else 1e-4)


@every_layer
def test_infinite_inputs_reach_no_other_row_and_no_earlier_step(name):
    layer, x = fill(MINIMAL[name](I, H), 2), inputs("float32")
    expected = layer(x)[0]
    for value in (np.inf, -np.inf, np.nan):
        wrong = x.copy()
        wrong[1, 3, 0] = value
        y = layer(wrong)[0]
        assert_same_bits(np.delete(y, 1, axis=0), np.delete(expected, 1, axis=0))
        assert_same_bits(y[1, :3], expected[1, :3])


@every_layer
def test_two_layers_learn_to_keep_a_number(name):
    """Whether the first of 10 numbers was positive. A gate sees x alone: the mark of step 0."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 10, 2)).astype("float32")
    target = (x[:, 0, 0] > 0).astype(int)
    x[:, :, 1] = np.arange(10) == 0
    make = MINIMAL[name]
    layers = [
        make(2, 16, seed=1),
        make(16, 16, seed=3),
        crnn.Pool("last"),
        crnn.Dense(16, 2, seed=2),
    ]
    model = crnn.Sequential(layers)
    batches = [(x[i : i + 32], target[i : i + 32]) for i in range(0, 256, 32)]
    optimizer, loss = crnn.optim.Adam(model, lr=2e-2), crnn.losses.cross_entropy
    history = crnn.fit(model, batches, loss=loss, optimizer=optimizer, epochs=40, progress=False)
    assert history.loss[0] > 0.5
    assert history.loss[-1] < 0.05
