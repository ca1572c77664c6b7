"""The layers agree with those of PyTorch, if it is installed, and with stored results of them."""

import numpy as np
import pytest

import crnn
from support.comparing import assert_close
from support.folders import GOLDEN
from support.running import fill, leaves, like
from support.tables import CELLS

# crnn's cell -> the kind in torch_twins, and the golden file of that name
TWINS = {"rnn_tanh": "rnn_tanh", "rnn_relu": "rnn_relu", "lstm": "lstm", "gru_after": "gru"}
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
B, T, I, H = 5, 7, 3, 19
LENGTHS = {"full": None, "lengths": [3, 0, 7, 1, 5]}

every_twin = pytest.mark.parametrize("kind", TWINS)


@pytest.fixture
def torch():
    """PyTorch, or skip."""
    return pytest.importorskip("torch")


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def whole(state):
    return state[0] if len(state) == 1 else tuple(state)


def assert_agree(found, expected, tolerance):
    found, expected = leaves(found), leaves(expected)
    assert set(found) == set(expected)
    for name, array in found.items():
        assert_close(array, expected[name], tolerance, name)


# ---------------------------------------------------------------------------------------- PyTorch


@every_twin
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_recurrent_layers(torch, kind, lengths, reverse, bias, dtype):
    from support import torch_twins

    layer = fill(CELLS[kind](I, H, bias=bias, reverse=reverse, dtype=dtype), 3, 0.3)
    rng = np.random.default_rng(4)
    x = rng.normal(size=(B, T, I)).astype(dtype)
    y, end = layer(x)
    state, dy, dend = like(end, rng), like(y, rng), like(end, rng)

    y, end, tape = layer.forward(x, state, lengths=lengths)
    dx, dstate = layer.backward(tape, dy, dend)
    found = {"y": y, "state": parts(end), "dx": dx, "dstate": parts(dstate)}
    found["grads"] = dict(layer.grads)
    module = torch_twins.to_torch(layer, TWINS[kind])
    expected = torch_twins.forward_backward(
        module, TWINS[kind], x, parts(state), dy, parts(dend), lengths, reverse
    )
    assert_agree(found, expected, TOLERANCE[dtype])


def test_a_stack_of_bidirectional_layers(torch, dtype):
    """PyTorch has one class for both directions; crnn composes them."""
    from support import torch_twins

    stack = crnn.Sequential(
        [crnn.Bidirectional(crnn.LSTM(size, H, dtype=dtype)) for size in (I, 2 * H)]
    )
    twin = torch.nn.LSTM(I, H, num_layers=2, bidirectional=True, batch_first=True)
    twin.to(getattr(torch, dtype))
    fill(stack, 5, 0.3)
    for k, bidirectional in enumerate(stack.layers):
        for suffix, layer in zip(("", "_reverse"), bidirectional.parts.values(), strict=True):
            for name, tensor in torch_twins.to_torch(layer, "lstm").state_dict().items():
                twin.get_parameter(f"{name.replace('l0', f'l{k}')}{suffix}").data.copy_(tensor)
    x = np.random.default_rng(6).normal(size=(B, T, I)).astype(dtype)
    x_torch = torch.tensor(x, requires_grad=True)
    y, state, tape = stack.forward(x)
    y_torch, (h, c) = twin(x_torch)
    dy = like(y, np.random.default_rng(7))
    dx, _ = stack.backward(tape, dy)
    y_torch.backward(torch.tensor(dy))
    tolerance = TOLERANCE[dtype]
    assert_close(y, y_torch.detach().numpy(), tolerance)
    assert_close(dx, x_torch.grad.numpy(), tolerance)
    directions = [direction for layer in state for direction in layer]
    for k, (h_found, c_found) in enumerate(directions):
        assert_close(h_found, h[k].detach().numpy(), tolerance)
        assert_close(c_found, c[k].detach().numpy(), tolerance)
    for k, bidirectional in enumerate(stack.layers):
        for suffix, layer in zip(("", "_reverse"), bidirectional.parts.values(), strict=True):
            for name, weight in (("W_x", "weight_ih"), ("W_h", "weight_hh"), ("b", "bias_ih")):
                expected = twin.get_parameter(f"{weight}_l{k}{suffix}").grad.numpy()
                assert_close(layer.grads[name], expected, tolerance, f"{k}{suffix} {name}")


@pytest.mark.parametrize(
    ("layer", "twin", "names"),
    [
        (crnn.Dense(I, H), ("Linear", I, H), {"W": "weight", "b": "bias"}),
        (crnn.Dense(I, H, bias=False), ("Linear", I, H, False), {"W": "weight"}),
        (crnn.Embedding(I, H), ("Embedding", I, H), {"W": "weight"}),
        (crnn.LayerNorm(I), ("LayerNorm", I), {"gain": "weight", "bias": "bias"}),
        (crnn.LayerNorm(I, eps=0.5), ("LayerNorm", I, 0.5), {"gain": "weight", "bias": "bias"}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_pointwise_layers(torch, layer, twin, names, dtype):
    rng = np.random.default_rng(8)
    layer, module = fill(layer.astype(dtype)), getattr(torch.nn, twin[0])(*twin[1:])
    module.to(getattr(torch, dtype))
    module.load_state_dict({names[key]: torch.tensor(a) for key, a in layer.params.items()})
    symbols = isinstance(layer, crnn.Embedding)
    x = rng.integers(0, I, (B, T)) if symbols else rng.normal(size=(B, T, I)).astype(dtype)
    x_torch = torch.tensor(x, requires_grad=not symbols)
    y, _, tape = layer.forward(x)
    y_torch = module(x_torch)
    dy = like(y, rng)
    dx, _ = layer.backward(tape, dy)
    y_torch.backward(torch.tensor(dy))
    assert_close(y, y_torch.detach().numpy(), TOLERANCE[dtype])
    if symbols:
        assert dx is None
    else:
        assert_close(dx, x_torch.grad.numpy(), TOLERANCE[dtype])
    for name, weight in names.items():
        expected = module.get_parameter(weight).grad.numpy()
        assert_close(layer.grads[name], expected, TOLERANCE[dtype], name)


# --------------------------------------------------------------------------------- golden numbers


@every_twin
def test_golden_numbers(kind, dtype, isa):
    with np.load(GOLDEN / f"{TWINS[kind]}.npz") as file:
        golden = dict(file)
    names = CELLS[kind].twin.state_names
    hidden, inputs = golden["param.W_h"].shape[1], golden["x"].shape[2]
    layer = CELLS[kind](inputs, hidden, dtype=dtype)
    layer.load_state_dict({key[6:]: a for key, a in golden.items() if key.startswith("param.")})
    state = whole([golden[f"{name}0"] for name in names])
    y, end, tape = layer.forward(golden["x"], state)
    dx, dstate = layer.backward(tape, golden["dy"], whole([golden[f"d{name}"] for name in names]))
    found = {"y": y, "dx": dx} | {f"grad.{key}": grad for key, grad in layer.grads.items()}
    for k, name in enumerate(names):
        found |= {name: parts(end)[k], f"d{name}0": parts(dstate)[k]}
    for name, array in found.items():
        assert_close(array, golden[name], TOLERANCE[dtype], name)
