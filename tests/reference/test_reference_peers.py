"""The options of the NumPy reference against PyTorch and onnxruntime."""

import numpy as np
import pytest

from crnn import reference
from support.comparing import assert_close
from support.twin_options import CELLS, LENGTHS, H, I, P, Problem, T
from support.twins import unpacked

# ------------------------------------------------------------------------- PyTorch


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_projection_agrees_with_torch(bias):
    torch = pytest.importorskip("torch")
    problem = Problem(reference.LSTM(proj_size=P), bias=bias)
    names = {"weight_ih_l0": "W_x", "weight_hh_l0": "W_h", "bias_ih_l0": "b", "weight_hr_l0": "W_p"}
    twin = torch.nn.LSTM(I, H, proj_size=P, batch_first=True, bias=bias, dtype=torch.float64)
    arrays = {
        key: torch.tensor(problem.params[name])
        for key, name in names.items()
        if name in problem.params
    }
    if bias:
        arrays["bias_hh_l0"] = torch.zeros(4 * H, dtype=torch.float64)
    twin.load_state_dict(arrays)

    x = torch.tensor(problem.x, requires_grad=True)
    state = [torch.tensor(part, requires_grad=True) for part in problem.state]
    y, end = twin(x, tuple(part[None] for part in state))
    backward(y, [part[0] for part in end], problem)
    found = problem.solve()
    pairs = [(found.y, y), *zip(found.state, (part[0] for part in end), strict=True)]
    pairs += [(found.dx, x.grad), *zip(found.dstate, (part.grad for part in state), strict=True)]
    parameters = dict(twin.named_parameters())
    pairs += [(found.grads[names[key]], parameters[key].grad) for key in arrays if key in names]
    for array, tensor in pairs:
        assert_close(array, tensor.detach().numpy(), 1e-12)


def backward(y, end, problem):
    """Run PyTorch's backward from the loss that `Problem.solve` uses."""
    loss = (y * y.new_tensor(problem.dy)).sum()
    for part, dpart in zip(end, problem.dstate, strict=True):
        loss = loss + (part * part.new_tensor(dpart)).sum()
    loss.backward()


def torch_step(kind, w, x, state):
    """Return a step of a layer-normalised cell as in the papers: with autograd and two biases."""
    import torch

    def norm(product, rows, side):
        gain = w["gain_" + side][rows]
        return torch.nn.functional.layer_norm(product, gain.shape, gain, None, 1e-5)

    def sums(rows, h=None):
        h = state[0] if h is None else h
        return (
            norm(x @ w["W_x"][rows].T, rows, "x")
            + norm(h @ w["W_h"][rows].T, rows, "h")
            + w["b"][rows]
        )

    h, everything = state[0], slice(None)
    if kind == "rnn":
        return [torch.tanh(sums(everything))]
    if kind == "janet":
        s, g = sums(everything).chunk(2, dim=1)
        return [torch.sigmoid(s) * h + (1 - torch.sigmoid(s - 1)) * torch.tanh(g)]
    if kind == "lstm":
        i, f, g, o = sums(everything).chunk(4, dim=1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        normed = torch.nn.functional.layer_norm(c, (H,), w["gain_c"], w["b_c"], 1e-5)
        return [torch.sigmoid(o) * torch.tanh(normed), c]
    r, z = torch.sigmoid(sums(slice(0, 2 * H))).chunk(2, dim=1)
    n = slice(2 * H, None)
    if kind == "gru":
        x_n = norm(x @ w["W_x"][n].T, n, "x") + w["b"][n]
        s = x_n + r * (norm(h @ w["W_h"][n].T, n, "h") + w["b_hn"])
    else:
        s = sums(n, r * h)
    return [(1 - z) * h + z * torch.tanh(s)]


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru", "gru_before", "janet"])
def test_layer_norm_agrees_with_torch(kind):
    torch = pytest.importorskip("torch")
    problem = Problem(CELLS[kind](layer_norm=True))
    w = {name: torch.tensor(a, requires_grad=True) for name, a in problem.params.items()}
    x = torch.tensor(problem.x, requires_grad=True)
    first = [torch.tensor(part, requires_grad=True) for part in problem.state]
    state, y = first, []
    for t in range(T):
        state = torch_step(kind, w, x[:, t], state)
        y.append(state[0])
    y = torch.stack(y, dim=1)
    backward(y, state, problem)
    found = problem.solve()
    pairs = [(found.y, y), (found.dx, x.grad), *zip(found.state, state, strict=True)]
    pairs += zip(found.dstate, (part.grad for part in first), strict=True)
    pairs += [(grad, w[name].grad) for name, grad in found.grads.items()]
    for array, tensor in pairs:
        assert_close(array, tensor.detach().numpy(), 1e-11)


# ------------------------------------------------------------------------- onnxruntime

ONNX = {"tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu", "softsign": "Softsign"}
ONNX |= {"hard_sigmoid": "HardSigmoid", "identity": "Affine"}
ALPHA = {"hard_sigmoid": (0.2, 0.5), "identity": (1.0, 0.0)}  # of those that take any: alpha, beta

# The gates of an operator's weights, in its order, under our names.
ORDERS = {"RNN": "h", "GRU": "zrn", "LSTM": "iofg"}


def onnx_forward(problem, operator, activations, reverse, lengths, **attributes):
    """Run one operator of onnxruntime with a problem's numbers; return y and the state."""
    onnx, ort = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    arrays = onnx_arrays(problem, operator) | {"lengths": np.array(lengths, "int32")}
    names = ["Y", "Y_h"] + (["Y_c"] if operator == "LSTM" else [])
    order = ["X", "W", "R", "B", "lengths", "h", "c", "p"]
    scales = [ALPHA[name] for name in activations if name in ALPHA]
    if scales:
        alpha, beta = zip(*scales, strict=True)
        attributes |= {"activation_alpha": alpha, "activation_beta": beta}
    node = onnx.helper.make_node(
        operator,
        [name if name in arrays else "" for name in order[: 8 if operator == "LSTM" else 6]],
        names,
        hidden_size=H,
        direction="reverse" if reverse else "forward",
        activations=[ONNX[name] for name in activations],
        **attributes,
    )
    types = onnx.TensorProto
    graph = onnx.helper.make_graph(
        [node],
        "cell",
        [
            onnx.helper.make_tensor_value_info(
                name, types.INT32 if name == "lengths" else types.FLOAT, array.shape
            )
            for name, array in arrays.items()
        ],
        [onnx.helper.make_tensor_value_info(name, types.FLOAT, None) for name in names],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)])
    model.ir_version = 8
    settings = ort.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = 1, 3
    session = ort.InferenceSession(model.SerializeToString(), settings)
    y, *state = session.run(None, arrays)
    return y[:, 0].transpose(1, 0, 2), [part[0] for part in state]


def onnx_arrays(problem, operator):
    """A problem's numbers as an operator takes them.

    ONNX's GRU has h' = (1-z)∘n + z∘h, so its z is 1 - ours: as 1 - φ(s) = φ(-s) for the logistic
    function and its hard form, the rows of z change their sign. A coupled LSTM has the rows of f
    there too; they are not read.
    """
    params, gates = problem.params, problem.cell.gate_order
    sign = {"z": -1.0} if operator == "GRU" else {}

    def rows(name):
        blocks = dict(zip(gates, np.split(params[name], len(gates)), strict=True))
        blocks.setdefault("f", np.full_like(params[name][:H], 7.0))
        return np.concatenate([sign.get(gate, 1.0) * blocks[gate] for gate in ORDERS[operator]])

    hidden = np.zeros_like(rows("b"))
    if "b_hn" in params:
        hidden[2 * H :] = params["b_hn"]
    arrays = {"X": problem.x.transpose(1, 0, 2), "W": rows("W_x")[None], "R": rows("W_h")[None]}
    arrays["B"] = np.concatenate([rows("b"), hidden])[None]
    arrays |= {name: part[None] for name, part in zip("hc", problem.state, strict=False)}
    if "p_i" in params:
        p = [params.get("p_" + gate, np.zeros(H)) for gate in "iof"]
        arrays["p"] = np.concatenate(p)[None]
    return {name: np.ascontiguousarray(array, "float32") for name, array in arrays.items()}


OPERATORS = {  # name -> (operator, class, its options, attributes in ONNX, activations)
    "rnn": ("RNN", reference.RNN, {}, {}, ["tanh"]),
    "gru": ("GRU", reference.GRU, {}, {"linear_before_reset": 1}, ["sigmoid", "tanh"]),
    "gru_before": ("GRU", reference.GRU, {"reset": "before"}, {}, ["sigmoid", "tanh"]),
    "lstm": ("LSTM", reference.LSTM, {}, {}, ["sigmoid", "tanh", "tanh"]),
    "peepholes": ("LSTM", reference.LSTM, {"peepholes": True}, {}, ["sigmoid", "tanh", "tanh"]),
    "coupled": (
        "LSTM", reference.LSTM, {"coupled": True}, {"input_forget": 1}, ["sigmoid", "tanh", "tanh"],
    ),
    "coupled-peepholes": (
        "LSTM", reference.LSTM, {"coupled": True, "peepholes": True}, {"input_forget": 1},
        ["sigmoid", "tanh", "tanh"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
@pytest.mark.parametrize("clip", [None, 0.7])
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_agree_with_onnxruntime(name, clip, reverse):
    operator, make, options, attributes, activations = OPERATORS[name]
    compare(operator, make(**options, clip=clip), activations, reverse, attributes)


@pytest.mark.parametrize("inner", ["tanh", "relu", "softsign", "identity", "hard_sigmoid"])
@pytest.mark.parametrize("outer", ["sigmoid", "hard_sigmoid"])
@pytest.mark.parametrize("name", OPERATORS)
def test_activations_agree_with_onnxruntime(name, outer, inner):
    operator, make, options, attributes, _ = OPERATORS[name]
    names = {"RNN": [inner], "GRU": [outer, inner], "LSTM": [outer, inner, "softsign"]}[operator]
    keys = ["activation"] if operator == "RNN" else ["recurrent_activation", "activation"]
    keys += ["output_activation"] if operator == "LSTM" else []
    cell = make(**options, **dict(zip(keys, names, strict=True)))
    compare(operator, cell, names, False, attributes)


def compare(operator, cell, activations, reverse, attributes):
    problem = Problem(cell)
    if cell.clip is not None:
        attributes = attributes | {"clip": cell.clip}
    lengths = np.maximum(LENGTHS, 1)  # the operators take no row of length 0
    y, state = onnx_forward(problem, operator, activations, reverse, lengths, **attributes)
    found, end, _ = problem.forward(lengths=lengths, reverse=reverse)
    assert_close(y, found, 1e-5)
    for part, expected in zip(state, unpacked(end), strict=True):
        assert_close(part, expected, 1e-5)
