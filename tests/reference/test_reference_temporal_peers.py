"""Convolutions and attention of the NumPy reference against PyTorch, with weights copied.

The modules of PyTorch are written as in the papers and in the code that their authors published.
All compare the outputs and the gradients of x, of states and of every parameter in float64.
"""

import itertools

import numpy as np
import pytest

from crnn import reference
from support.comparing import assert_close
from support.temporal import (
    CONVS,
    B,
    Case,
    H,
    Problem,
    T,
    attention,
    block,
    packed,
    random_params,
    transformer,
    unpacked,
)

torch = pytest.importorskip("torch")
from support.torch_attention import (  # noqa: E402  (only with torch)
    attended,
    feedforward,
    gpt_block,
    norm,
    pre_norm_block,
)

F = torch.nn.functional
CLOSE = 1e-12


def tensor(array):
    return torch.tensor(np.asarray(array), requires_grad=array.dtype.kind == "f")


def tensors(arrays):
    return {name: tensor(array) for name, array in arrays.items()}


def compare(pairs):
    """Compare arrays with tensors: pairs of an array and a tensor, by name."""
    for name, (array, expected) in pairs.items():
        assert_close(array, expected.detach().numpy(), CLOSE, name)


def check(problem, run):
    """Compare a twin with a function of tensors: x, parameters and parts of the initial state.

    The function returns y, and parts of the final state if these are to be compared.
    """
    x, w, state = tensor(problem.x), tensors(problem.params), [tensor(s) for s in problem.state]
    expected, *end = run(x, w, *state)
    y, final, tape = problem.forward()
    dend = problem.dstate(final) if end else []
    dx, dstart, grads = problem.twin.backward(problem.params, tape, problem.dy, packed(dend))
    loss = (expected * torch.tensor(problem.dy)).sum()
    loss = loss + sum((e * torch.tensor(d)).sum() for e, d in zip(end, dend, strict=True))
    loss.backward()
    compare({"y": (y, expected), "dx": (dx, x.grad)})
    compare({f"d{name}": (grads[name], w[name].grad) for name in w})
    for k, part in enumerate(end):
        compare({f"state {k}": (unpacked(final)[k], part)})
    starts = [part for part in state if part.requires_grad]
    for k, part in enumerate(starts):
        compare({f"dstate {k}": (unpacked(dstart)[k], part.grad)})


# ---------------------------------------------------------------------------------- convolutions


def kernel(w):
    """Return W (J, H, I) as weights of a Conv1d (H, I, J)."""
    W = w["W"] if "W" in w else torch._weight_norm(w["v"].permute(1, 2, 0), w["g"][:, None, None])
    return W.permute(1, 2, 0) if "W" in w else W


@pytest.mark.parametrize(
    "name", [name for name, case in CONVS.items() if case.kind == "CausalConv"]
)
@pytest.mark.parametrize("given", [False, True], ids=["beginning", "state"])
def test_convolutions_agree_with_torch(name, given):
    """Conv1d pads with zeros on the left, which are the state."""
    problem = Problem(name, given=given)
    twin, past = problem.twin, problem.twin.before[-1]

    def run(x, w, state=None):
        seen = F.pad(x, (0, 0, past, 0)) if state is None else torch.cat([state, x], dim=1)
        a = F.conv1d(seen.mT, kernel(w), w.get("b"), dilation=twin.dilation).mT
        y = {None: a, "relu": a.relu(), "tanh": a.tanh()}[twin.activation]
        return y, seen[:, T:]

    check(problem, run)


def normed(conv):
    return torch.nn.utils.parametrizations.weight_norm(conv)


class TemporalBlock(torch.nn.Module):
    """Block of Bai et al. (2018): Conv1d pads both ends, and the end is cut off again ("chomp")."""

    def __init__(self, inputs, outputs, taps, dilation):
        super().__init__()
        self.chomp = (taps - 1) * dilation
        options = {"padding": self.chomp, "dilation": dilation, "dtype": torch.float64}
        self.conv1 = normed(torch.nn.Conv1d(inputs, outputs, taps, **options))
        self.conv2 = normed(torch.nn.Conv1d(outputs, outputs, taps, **options))
        self.drop = torch.nn.Dropout(0.0)
        self.skip = None
        if inputs != outputs:
            self.skip = torch.nn.Conv1d(inputs, outputs, 1, dtype=torch.float64)

    def forward(self, x):
        z = x
        for conv in (self.conv1, self.conv2):
            z = self.drop(conv(z)[:, :, : -self.chomp].contiguous().relu())
        return (z + (x if self.skip is None else self.skip(x))).relu()


def torch_names(module):
    """Return the parameters of a TemporalBlock by crnn's names, and how an array is turned."""
    taps, gain = "parametrizations.weight.original1", "parametrizations.weight.original0"
    names = {}
    for conv in ("conv1", "conv2"):
        names[f"{conv}.v"] = f"{conv}.{taps}", lambda v: np.transpose(v, (1, 2, 0))
        names[f"{conv}.g"] = f"{conv}.{gain}", lambda g: g[:, None, None]
        names[f"{conv}.b"] = f"{conv}.bias", lambda b: b
    if module.skip is not None:
        names["skip.W"] = "skip.weight", lambda W: W[:, :, None]
        names["skip.b"] = "skip.bias", lambda b: b
    return names


@pytest.mark.parametrize("taps", [2, 3])
def test_blocks_agree_with_the_temporal_conv_net(taps):
    """Three blocks of growing dilation, as in the authors' TemporalConvNet; longer than T."""
    rng = np.random.default_rng(8)
    widths, x, dy = [3, 5, 5, 4], rng.normal(size=(B, 19, 3)), rng.normal(size=(B, 19, 4))
    cases = [
        block((one, other), taps=taps, dilation=2**k)
        for k, (one, other) in enumerate(itertools.pairwise(widths))
    ]
    params = [random_params(case.shapes(), rng) for case in cases]
    net = torch.nn.Sequential()
    for case, arrays in zip(cases, params, strict=True):
        module = TemporalBlock(*case.sizes, taps, case.options["dilation"])
        names = torch_names(module)
        assert set(names) == set(arrays)
        module.load_state_dict(
            {name: torch.tensor(turn(arrays[key])) for key, (name, turn) in names.items()}
        )
        net.append(module)
    inputs = tensor(x)
    expected = net(inputs.mT).mT
    (expected * torch.tensor(dy)).sum().backward()

    y, tapes = x, []
    for case, arrays in zip(cases, params, strict=True):
        y, _, tape = case.twin().forward(arrays, y)
        tapes.append(tape)
    compare({"y": (y, expected)})
    dx = dy
    for case, arrays, tape, module in list(zip(cases, params, tapes, net, strict=True))[::-1]:
        dx, _, grads = case.twin().backward(arrays, tape, dx)
        found = dict(module.named_parameters())
        for key, (name, turn) in torch_names(module).items():
            compare({key: (turn(grads[key]), found[name].grad)})
    compare({"dx": (dx, inputs.grad)})


# ------------------------------------------------------------------------------------- attention


WINDOWS = {
    "all": {},
    "window": {"window": 3},
    "plain": {"rotary": False},
    "whole": {"causal": False, "rotary": False},
}


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("given", [False, True], ids=["beginning", "state"])
def test_attention_agrees_with_torch(name, given):
    problem = Problem(attention(8, heads=2, **WINDOWS[name]), given=given)
    twin = problem.twin

    def run(x, w, *state):
        y, k, v = attended(w, x, twin, "", state or None)
        if not state:
            return (y,)
        keep = 0 if twin.window is None else k.shape[1] - (twin.window - 1)
        read = (torch.arange(k.shape[1]) >= k.shape[1] - T - state[2][:, None])[..., None]
        return y, (k * read)[:, keep:], (v * read)[:, keep:]

    check(problem, run)


BLOCKS = {
    "nanogpt": {"activation": "gelu", "rotary": False},
    "nanogpt-exact": {"activation": "gelu_exact", "rotary": False},
    "llama": {"activation": "swiglu", "rotary": True},
    "llama-window": {"activation": "swiglu", "rotary": True, "window": 3},
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_agree_with_those_of_language_models(name):
    """The block of nanoGPT (pre-norm), and one with rotary positions and SwiGLU as in Llama."""
    problem = Problem(transformer(8, heads=2, feedforward_size=24, **BLOCKS[name]), given=False)
    twin = problem.twin

    def run(x, w):
        if name == "nanogpt":
            return (gpt_block(w, x, 2),)
        return (pre_norm_block(w, x, twin),)

    check(problem, run)


def copy(module, w):
    """Copy tensors into the parameters of these names."""
    parameters = dict(module.named_parameters())
    assert set(w) == set(parameters)
    with torch.no_grad():
        for name, array in w.items():
            parameters[name].copy_(torch.as_tensor(array))


LAYER = {
    "self_attn.in_proj_weight": "attention.W_qkv",
    "self_attn.in_proj_bias": "attention.b_qkv",
    "self_attn.out_proj.weight": "attention.W_o",
    "self_attn.out_proj.bias": "attention.b_o",
    "linear1.weight": "linear1.W",
    "linear1.bias": "linear1.b",
    "linear2.weight": "linear2.W",
    "linear2.bias": "linear2.b",
    "norm1.weight": "norm1.gain",
    "norm1.bias": "norm1.bias",
}
LENGTHS = [4, T, 1, 3]


def check_layer(problem, module, names, call, source=None, **options):
    """Compare a twin with a layer of torch.nn; `call` runs it on x and, if any, the memory."""
    params = {key: np.concatenate([problem.params[one] for one in np.atleast_1d(name)])
              for key, name in names.items()}  # fmt: skip
    copy(module, params)
    y, _, tape = problem.forward(**options)
    dx, dstate, grads = problem.twin.backward(problem.params, tape, problem.dy)
    inputs = [tensor(a) for a in ([problem.x] if source is None else [problem.x, source])]
    expected = call(*inputs)
    valid = np.arange(T) < np.c_[options.get("lengths", [T] * B)]
    (expected * torch.tensor(problem.dy * valid[..., None])).sum().backward()
    compare({"y": (y, expected * torch.tensor(valid[..., None])), "dx": (dx, inputs[0].grad)})
    if source is not None:
        dmemory = dstate[2] if isinstance(dstate, tuple) else dstate
        compare({"dmemory": (dmemory, inputs[1].grad)})
    found = dict(module.named_parameters())
    for key, name in names.items():
        grad = np.concatenate([grads[one] for one in np.atleast_1d(name)])
        compare({key: (grad, found[key].grad)})


@pytest.mark.parametrize("activation", ["relu", "gelu_exact"])
def test_blocks_agree_with_torch_encoder_layers(activation):
    """Attention to all steps, with padding behind: torch.nn.TransformerEncoderLayer."""
    case = transformer(8, heads=4, feedforward_size=12, activation=activation, rotary=False,
                       causal=False)  # fmt: skip
    module = torch.nn.TransformerEncoderLayer(
        8, 4, 12, 0.0, activation.removesuffix("_exact"), batch_first=True, norm_first=True,
        dtype=torch.float64,
    )  # fmt: skip
    names = LAYER | {"norm2.weight": "norm2.gain", "norm2.bias": "norm2.bias"}
    padding = torch.arange(T) >= torch.tensor(LENGTHS)[:, None]

    def call(x):
        return module(x, src_key_padding_mask=padding)

    check_layer(Problem(case), module, names, call, lengths=LENGTHS)


def test_blocks_agree_with_torch_decoder_layers():
    """Causal attention, then attention to a memory: torch.nn.TransformerDecoderLayer."""
    case = transformer(8, heads=2, feedforward_size=12, activation="relu", rotary=False,
                       memory_size=8)  # fmt: skip
    module = torch.nn.TransformerDecoderLayer(
        8, 2, 12, 0.0, "relu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    names = LAYER | {
        "multihead_attn.in_proj_weight": ("cross.W_q", "cross.W_kv"),
        "multihead_attn.in_proj_bias": ("cross.b_q", "cross.b_kv"),
        "multihead_attn.out_proj.weight": "cross.W_o",
        "multihead_attn.out_proj.bias": "cross.b_o",
        "norm2.weight": "norm_memory.gain",
        "norm2.bias": "norm_memory.bias",
        "norm3.weight": "norm2.gain",
        "norm3.bias": "norm2.bias",
    }
    problem = Problem(case, given=False)
    problem.state[4][:] = lengths = [2, 3, 1, 3]  # PyTorch has NaN for a memory without steps
    padding = torch.arange(3) >= torch.tensor(lengths)[:, None]
    later = torch.ones(T, T, dtype=torch.bool).triu(1)

    def call(x, memory):
        return module(x, memory, tgt_mask=later, memory_key_padding_mask=padding)

    check_layer(problem, module, names, call, problem.state[3])


def test_cross_attention_agrees_with_torch():
    """torch.nn.MultiheadAttention over a memory of another width, within a whole block."""
    case = transformer(8, heads=2, feedforward_size=12, memory_size=5, window=4)
    problem, options = Problem(case, given=False), {"batch_first": True, "dtype": torch.float64}
    problem.state[4][:] = lengths = [2, 3, 1, 3]
    module = torch.nn.MultiheadAttention(8, 2, kdim=5, vdim=5, **options)
    padding = torch.arange(3) >= torch.tensor(lengths)[:, None]

    def run(x, w, k, v, steps, memory, _):
        memory = memory + 0 * (k.sum() + v.sum())  # of no steps: their gradient is 0
        x1 = x + attended(w, norm(w, "norm1", x), problem.twin.attention, "attention.")[0]
        W_k, W_v = w["cross.W_kv"].chunk(2)
        weights = {
            "q_proj_weight": w["cross.W_q"],
            "k_proj_weight": W_k,
            "v_proj_weight": W_v,
            "in_proj_bias": torch.cat([w["cross.b_q"], w["cross.b_kv"]]),
            "out_proj.weight": w["cross.W_o"],
            "out_proj.bias": w["cross.b_o"],
        }
        assert set(weights) == set(dict(module.named_parameters()))
        query = norm(w, "norm_memory", x1)
        inputs = query, memory, memory
        y = torch.func.functional_call(
            module, weights, inputs, {"key_padding_mask": padding, "need_weights": False}
        )[0]
        return (x1 + y + feedforward(w, norm(w, "norm2", x1 + y), "gelu"),)

    check(problem, run)


def test_learned_positions_agree_with_an_embedding():
    problem = Problem(Case("Positions", (H,), {"steps": 16}))

    def run(x, w, steps):
        return (x + F.embedding(steps[:, None] + torch.arange(T), w["P"]),)

    check(problem, run)


def test_twins_of_cases_have_their_options():
    assert block((3, 4), taps=5).twin().taps == 5
    assert isinstance(attention(heads=2).twin(), reference.SelfAttention)
