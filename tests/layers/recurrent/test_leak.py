"""Leaky units of the RNN: h' = (1−a)∘h + a∘φ(·), with a fixed or a learned leak a.

The tables of support/tables.py contain leaky layers, so the tests of options, gradients, plans,
streams and copies run on them. Here are the properties of the leak itself.
"""

import copy
import inspect
import pickle

import numpy as np
import pytest

import crnn
from crnn import reference
from support.comparing import assert_close, assert_same_bits
from support.running import fill, leaves, like

B, T, I, H = 4, 9, 3, 19
LEAKS = np.linspace(0.05, 1, H)  # the last unit does not leak
LEAKY = {
    "number": {"leak": 0.3},
    "units": {"leak": LEAKS},
    "learned": {"leak": 0.3, "learn_leak": True},
    "learned-units": {"leak": LEAKS * 0.9, "learn_leak": True},
}
STEPS = {
    "full": {},
    "lengths": {"lengths": [9, 0, 4, 7]},
    "mask": {"mask": np.random.default_rng(1).random((B, T)) < 0.6},
    "resets": {"resets": np.random.default_rng(2).random((B, T)) < 0.3},
}
STEPS["all"] = {key: steps for each in STEPS.values() for key, steps in each.items()}
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}

every_leak = pytest.mark.parametrize("kind", LEAKY)
every_steps = pytest.mark.parametrize("steps", STEPS)
every_activation = pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])


def made(kind, **options):
    """Return a leaky layer; all of its weights are random, its leak is that of the table."""
    layer = crnn.RNN(I, H, seed=3, **LEAKY[kind], **options)
    leak = layer.params["leak"].copy() if layer.learn_leak else None
    fill(layer, 1, 0.4)
    if leak is not None:
        layer.params["leak"] = leak
    return layer


def inputs(dtype="float64"):
    return np.random.default_rng(5).normal(size=(B, T, I)).astype(dtype)


def everything(layer, x, **steps):
    """Return all results of forward and backward, by name."""
    y, end, tape = layer.forward(x, **steps)
    dy, dend = like((y, end), np.random.default_rng(7))
    layer.zero_grad()
    dx, dstate = layer.backward(tape, dy, dend)
    return leaves({"y": y, "end": end, "h": tape.h, "gates": tape.gates, "dx": dx}) | leaves(
        {"dstate": dstate, "grads": {name: grad.copy() for name, grad in layer.grads.items()}}
    )


# -------------------------------------------------------------------------------- no leak: leak 1


@every_activation
@pytest.mark.parametrize(
    "leak", [1, 1.0, np.ones(H), [1] * H], ids=["int", "float", "array", "list"]
)
def test_a_leak_of_1_has_the_bits_of_the_plain_layer(activation, leak, dtype, isa):
    options = {"activation": activation, "dtype": dtype, "seed": 3}
    plain, one = crnn.RNN(I, H, **options), crnn.RNN(I, H, leak=leak, **options)
    assert plain.params.keys() == one.params.keys()
    assert_same_bits(one.flat_params, plain.flat_params)
    results = everything(one, inputs(dtype), **STEPS["all"])
    for name, expected in everything(plain, inputs(dtype), **STEPS["all"]).items():
        assert_same_bits(results[name], expected)


def test_tapes_fit_layers_with_and_without_a_leak_of_1():
    plain, one = crnn.RNN(I, H, seed=1), crnn.RNN(I, H, leak=1, seed=1)
    y, _, tape = plain.forward(inputs("float32"))
    one.backward(tape, y)


# ----------------------------------------------------------------------------- against other code


def torch_results(torch, layer, x, lengths, reverse):
    """Run the equations as a loop of PyTorch; return what `everything` returns of it."""
    tensors = {key: torch.tensor(array, requires_grad=True) for key, array in layer.params.items()}
    x = torch.tensor(x, requires_grad=True)
    phi = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}[layer.activation]
    a = (
        torch.sigmoid(tensors["leak"])
        if layer.learn_leak
        else torch.tensor(layer.leak, dtype=x.dtype)
    )
    rows, ends = [], []
    for row, length in zip(x, lengths or [T] * B, strict=True):
        h, ys = torch.zeros(H, dtype=x.dtype), {}
        for t in reversed(range(length)) if reverse else range(length):
            s = tensors["W_x"] @ row[t] + tensors["W_h"] @ h + tensors["b"]
            h = ys[t] = (1 - a) * h + a * phi(s)
        rows.append(torch.stack([ys.get(t, torch.zeros(H, dtype=x.dtype)) for t in range(T)]))
        ends.append(h)
    y, end = torch.stack(rows), torch.stack(ends)
    dy, dend = like((y.detach().numpy(), end.detach().numpy()), np.random.default_rng(7))
    loss = (y * torch.tensor(dy)).sum() + (end * torch.tensor(dend)).sum()
    loss.backward()
    grads = {name: tensor.grad.numpy() for name, tensor in tensors.items()}
    found = {"y": y.detach().numpy(), "end": end.detach().numpy(), "dx": x.grad.numpy()}
    return leaves(found | {"grads": grads})


@every_leak
@every_activation
@both_ways
@pytest.mark.parametrize("steps", ["full", "lengths"])
def test_a_loop_of_pytorch_agrees(kind, activation, reverse, steps, dtype):
    torch = pytest.importorskip("torch")
    layer = made(kind, activation=activation, reverse=reverse, dtype=dtype)
    found = everything(layer, inputs(dtype), **STEPS[steps])
    expected = torch_results(torch, layer, inputs(dtype), STEPS[steps].get("lengths"), reverse)
    for name, array in expected.items():
        assert_close(found[name], array, TOLERANCE[dtype], name)


@every_leak
@every_steps
@both_ways
def test_the_twin_agrees(kind, steps, reverse, dtype, isa):
    layer = made(kind, reverse=reverse, dtype=dtype)
    given = dict(STEPS[steps])
    found = everything(layer, inputs(dtype), **given)
    twin = reference.RNN(leak=layer.leak, learn_leak=layer.learn_leak)
    params = {name: array.astype("float64") for name, array in layer.params.items()}
    y, end, tape = twin.forward(
        params, inputs(dtype), None, given.pop("lengths", None), reverse, **given
    )
    dy, dend = like((found["y"], found["end"]), np.random.default_rng(7))
    dx, dstate, grads = twin.backward(params, tape, dy, dend)
    expected = {"y": y, "end": end, "h": tape.h, "gates": tape.gates, "dx": dx, "dstate": dstate}
    for name, array in leaves(expected | {"grads": grads}).items():
        assert_close(found[name], array, TOLERANCE[dtype], name)


OPTIONS = {
    "plain": {},
    "relu": {"activation": "relu", "clip": 2.0},
    "learned-state": {"learn_state": True},
    "normed": {"layer_norm": True, "learn_state": True},
    "noise": {"recurrent_dropout": 0.3, "zoneout": 0.2, "weight_drop": 0.2},
}


@every_leak
@every_steps
@both_ways
@pytest.mark.parametrize("options", OPTIONS)
def test_gradients(kind, steps, reverse, options):
    layer = made(kind, reverse=reverse, dtype="float64", **OPTIONS[options])
    given = STEPS[steps] | ({"call": 3} if options == "noise" else {})
    report = crnn.gradcheck(layer, inputs(), **given)
    assert report.ok, report
    assert ("leak" in [row.name for row in report.rows]) == layer.learn_leak


# ---------------------------------------------------------------------------- what a leak computes


def test_without_weights_the_state_decays_by_the_leak(dtype, isa):
    for leak in (0.25, np.linspace(0.1, 0.9, H)):
        layer = crnn.RNN(I, H, leak=leak, dtype=dtype, seed=0)
        layer.flat_params = 0
        h = np.ones((B, H), dtype)
        y, _ = layer(inputs(dtype), h)
        expected = (1 - np.broadcast_to(leak, H)) ** np.arange(1, T + 1)[:, None]
        assert_close(y, np.broadcast_to(expected, y.shape), TOLERANCE[dtype])


@every_leak
def test_the_gate_is_the_candidate_and_not_the_state(kind):
    layer = made(kind, dtype="float64")
    _, _, tape = layer.forward(inputs())
    a = reference.sigmoid(layer.params["leak"]) if layer.learn_leak else np.asarray(layer.leak)
    before = np.concatenate([np.zeros((B, 1, H)), tape.h[:, :-1]], axis=1)
    assert_close(tape.h, (1 - a) * before + a * tape.gates["h"], 1e-13)
    statistics = crnn.diagnostics.gate_statistics(layer, inputs())
    assert_close(statistics["h"].mean, tape.gates["h"].mean(axis=(0, 1)), 1e-12)


def test_jacobians_of_a_linear_leaky_layer():
    layer = made("units", activation="identity", dtype="float64")
    found = crnn.diagnostics.state_jacobians(layer, inputs()[:1, :3], matrices=True).matrices
    step = np.diag(1 - LEAKS) + LEAKS[:, None] * layer.params["W_h"]
    assert_close(found[0], np.stack([step @ step, step, np.eye(H)]), 1e-12)


@every_leak
def test_streams_and_plans_have_the_same_bits(kind, dtype, isa):
    layer, x = made(kind, dtype=dtype), inputs(dtype)
    y, end = layer(x)
    stream = layer.stream(batch_size=B)
    for t in range(T):
        assert_same_bits(stream.step(x[:, t]), y[:, t])
    model = crnn.Sequential(
        [crnn.Bidirectional(copy.deepcopy(layer)), crnn.Dense(2 * H, 2, dtype=dtype)]
    )
    twice = crnn.Sequential([copy.deepcopy(layer), crnn.RNN(H, 2, leak=0.5, dtype=dtype, seed=1)])
    assert_same_bits(model.layers[0](x)[0][..., :H], y)
    assert_same_bits(twice.layers[1](y)[0], twice(x)[0])
    assert_same_bits(end, y[:, -1])


def test_generation_reads_the_leak():
    layers = [
        crnn.Embedding(5, 4, seed=0),
        crnn.RNN(4, 6, leak=0.2, seed=1),
        crnn.Dense(6, 5, seed=2),
    ]
    model = crnn.Sequential(layers)
    symbols = [1]
    for _ in range(6):
        symbols.append(int(model(np.array([symbols]))[0][0, -1].argmax()))
    found = crnn.generate(model, np.array([1]), 6)
    assert np.asarray(found).ravel().tolist() == symbols[1:]


# --------------------------------------------------------------- fixed: no parameter; learned: one


def test_a_fixed_leak_is_no_parameter():
    plain, leaky = crnn.RNN(I, H, seed=0), crnn.RNN(I, H, leak=LEAKS, seed=0)
    assert leaky.params.keys() == plain.params.keys() == leaky.grads.keys()
    assert_same_bits(leaky.flat_params, plain.flat_params)
    assert leaky.flat_grads.shape == plain.flat_grads.shape
    assert crnn.RNN.parameter_count(leaky.config) == plain.flat_params.size
    assert leaky.state_dict().keys() == plain.state_dict().keys()


def test_no_optimizer_changes_a_fixed_leak():
    layer, x = crnn.RNN(I, H, leak=0.25, dtype="float64", seed=0), inputs()
    for optimizer in (crnn.optim.AdamW(layer, weight_decay=0.5), crnn.optim.SGD(layer, lr=0.1)):
        everything(layer, x)
        optimizer.step()
    layer.flat_params = layer.flat_grads = 0
    y, _ = layer(x, np.ones((B, H)))
    assert_close(y, np.broadcast_to(0.75 ** np.arange(1, T + 1)[:, None], y.shape), 1e-13)


def test_a_learned_leak_is_the_last_parameter_and_begins_at_the_logit():
    for leak in (0.3, LEAKS * 0.99, 1e-6, 1 - 1e-6):
        layer = crnn.RNN(
            I, H, leak=leak, learn_leak=True, learn_state=True, dtype="float64", seed=0
        )
        assert [*layer.params][-1] == "leak"
        assert layer.params["leak"].shape == (H,)
        assert_close(reference.sigmoid(layer.params["leak"]), np.broadcast_to(leak, H), 1e-14)
        assert crnn.RNN.parameter_count(layer.config) == layer.flat_params.size
    assert layer.params["leak"].base is not None  # a view of flat_params
    layer.flat_params = 2
    assert (layer.params["leak"] == 2).all()


def test_training_moves_a_learned_leak():
    slow = crnn.RNN(1, 1, activation="identity", leak=0.1, dtype="float64", seed=0)
    layer = crnn.RNN(
        1, 1, activation="identity", leak=0.5, learn_leak=True, dtype="float64", seed=0
    )
    for one in (slow, layer):
        one.params["W_x"], one.params["W_h"], one.params["b"] = 1, 0, 0
    x = np.random.default_rng(0).normal(size=(8, 20, 1))
    optimizer = crnn.optim.Adam(layer, lr=0.05, freeze=["W_x", "W_h", "b"])
    for _ in range(300):
        y, _, tape = layer.forward(x)
        layer.zero_grad()
        layer.backward(tape, (y - slow(x)[0]) / y.size)
        optimizer.step()
    assert abs(reference.sigmoid(layer.params["leak"])[0] - 0.1) < 1e-3


# -------------------------------------------------------------------------- configurations, copies


def same(one, other, x):
    assert one.config == other.config
    assert_same_bits(one(x)[0], other(x)[0])


@every_leak
def test_copies_and_files_keep_the_leak(kind, tmp_path, dtype):
    layer, x = made(kind, dtype=dtype), inputs(dtype)
    fill(layer, 4, 0.3)  # a learned leak is another than that of the option
    path = tmp_path / "layer.npz"
    crnn.save(path, layer)
    same(crnn.load(path), layer, x)
    for other in (copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        same(other, layer, x)
    made_again = crnn.RNN.from_config(layer.config)
    made_again.load_state_dict(layer.state_dict())
    same(made_again, layer, x)


@every_leak
def test_another_dtype_has_the_same_leak(kind):
    double = made(kind, dtype="float64")
    back = double.astype("float32").astype("float64")
    assert back.leak == double.leak == double.astype("float32").leak
    assert_close(double.astype("float32")(inputs("float32"))[0], double(inputs())[0], 1e-5)


def test_the_option_is_shown_as_it_was_given():
    assert crnn.RNN(2, 3).leak is None
    assert crnn.RNN(2, 3, leak=np.float32(0.25)).leak == 0.25
    units = crnn.RNN(2, 3, leak=np.array([0.5, 1, 0.125]))
    assert units.leak == (0.5, 1.0, 0.125)
    assert type(units.leak) is tuple
    assert "leak=(0.5, 1.0, 0.125)" in repr(units)
    assert "leak=0.3, learn_leak=True" in repr(crnn.RNN(2, 3, leak=0.3, learn_leak=True))
    assert "leak" not in repr(crnn.RNN(2, 3))
    assert len(repr(crnn.RNN(2, 1000, leak=np.full(1000, 0.123456789)))) < 200
    parameters = inspect.signature(crnn.RNN).parameters
    assert parameters["leak"].default is None
    assert parameters["learn_leak"].default is False


# --------------------------------------------------------------------------------------- bad input


def test_options_cannot_be_set():
    layer = crnn.RNN(2, 3, leak=0.5)
    for name in ("leak", "learn_leak"):
        with pytest.raises(AttributeError, match=f"{name}: cannot be set; make a new layer"):
            setattr(layer, name, 0.3)


WRONG = {
    "0": (0, ValueError, r"expected 0 < leak <= 1, got 0\.0$"),
    "large": (1.5, ValueError, r"expected 0 < leak <= 1, got 1\.5$"),
    "just-large": (1 + 1e-15, ValueError, r"expected 0 < leak <= 1, got 1\.0+1[0-9]*$"),
    "nan": (np.nan, ValueError, "expected 0 < leak <= 1, got nan$"),
    "unit": ([0.5, np.nan, 0.5], ValueError, "expected 0 < leak <= 1, got nan for unit 1$"),
    "shape": ([0.5, 0.5], ValueError, r"real numbers \(H=3,\), got float64 of shape \(2,\)$"),
    "axes": (np.ones((3, 1)), ValueError, r"real numbers \(H=3,\), got float64 of shape \(3, 1\)$"),
    "empty": ([], ValueError, r"real numbers \(H=3,\), got float64 of shape \(0,\)$"),
    "bool": (True, TypeError, "expected None, a real number, .*, got bool"),
    "text": ("0.5", TypeError, "expected None, a real number, .*, got '0.5'"),
    "complex": (0.5j, TypeError, "expected None, a real number, .*, got complex128"),
    "object": (object(), TypeError, "expected None, a real number, .*, got object"),
    "small": (1e-40, ValueError, "expected at least 1.2e-38, the smallest float32 .*, got 1e-40$"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_leak_is_refused_and_nothing_changes(wrong):
    leak, error, message = WRONG[wrong]
    layer = crnn.RNN(2, 3, leak=0.5, seed=1)
    x, config = np.ones((1, 4, 2)), layer.config
    y, _ = layer(x)
    for make in (lambda: crnn.RNN(2, 3, leak=leak), lambda: layer.__init__(2, 3, leak=leak)):
        with pytest.raises(error, match=f"^leak: .*{message}"):
            make()
    with pytest.raises(error, match=f"^leak: .*{message}"):
        crnn.RNN.parameter_count(config | {"leak": leak})
    assert layer.config == config
    assert_same_bits(layer(x)[0], y)


@pytest.mark.parametrize("leak", [None, 1, 1.0, [0.5, 1, 0.5], 0, np.nan, 2])
def test_a_learned_leak_begins_below_1(leak):
    with pytest.raises(ValueError, match=r"^leak: expected 0 < leak < 1 with learn_leak=True, got"):
        crnn.RNN(2, 3, leak=leak, learn_leak=True)
    for learn in ({"learn_leak": True, "leak": leak}, {"leak": leak, "learn_leak": True}):
        with pytest.raises(ValueError, match=r"^leak: expected 0 < leak < 1"):
            crnn.RNN(2, 3, **learn)


def test_the_smallest_leak_depends_on_the_dtype():
    small = crnn.RNN(2, 3, leak=1e-40, dtype="float64")
    with pytest.raises(ValueError, match=r"^leak: expected at least 1.2e-38"):
        small.astype("float32")
    for dtype in ("float32", "float64"):
        least = float(np.finfo(dtype).tiny)
        assert crnn.RNN(2, 3, leak=least, dtype=dtype).leak == least


def test_a_tape_of_another_leak_is_refused():
    x = inputs("float32")
    layers = {
        "none": crnn.RNN(I, H, seed=1),
        "number": crnn.RNN(I, H, leak=0.3, seed=1),
        "other": crnn.RNN(I, H, leak=0.4, seed=1),
        "units": crnn.RNN(I, H, leak=LEAKS, seed=1),
        "learned": crnn.RNN(I, H, leak=0.3, learn_leak=True, seed=1),
    }
    for name, layer in layers.items():
        y, _, tape = layer.forward(x)
        copy.deepcopy(layer).backward(tape, y)
        for other in layers.keys() - {name}:
            before = layers[other].flat_grads.copy()
            with pytest.raises(ValueError, match=r"^tape: expected one of a layer like this"):
                layers[other].backward(tape, y)
            assert_same_bits(layers[other].flat_grads, before)
    other = crnn.RNN(I, H, leak=0.7, learn_leak=True, seed=1)  # begins elsewhere, same parameters
    y, _, tape = other.forward(x)
    layers["learned"].backward(tape, y)


def test_a_tape_of_a_model_with_another_leak_is_refused():
    def model(leak):
        return crnn.Sequential([crnn.RNN(I, H, leak=leak, seed=1), crnn.Dense(H, 2, seed=2)])

    one, other = model(0.3), model(0.4)
    y, _, tape = one.forward(inputs("float32"))
    with pytest.raises(ValueError, match="tape"):
        other.backward(tape, y)
    assert not any(grad.any() for grad in other.grads.values())
    model(0.3).backward(tape, y)


@pytest.mark.parametrize("cell", [crnn.LSTM, crnn.GRU, crnn.JANET])
def test_other_cells_do_not_leak(cell):
    with pytest.raises(TypeError, match="unexpected keyword argument 'leak'"):
        cell(2, 3, leak=0.5)
