"""The same layers in PyTorch, with conversions between the conventions of both libraries.

- PyTorch has two biases in every sum. crnn's ``b`` is the input's (``bias_ih``); the recurrent one
  (``bias_hh``) is zero but for the GRU's gate n, where it is ``b_hn``.
- PyTorch's GRU computes ``h' = (1-z) n + z h``, crnn ``h' = (1-z) h + z n``. As 1 - σ(s) = σ(-s),
  the rows of z change their sign.

Gates are otherwise in the same order. PyTorch has no GRU with reset before, and no JANET.
"""

import numpy as np
import torch

from crnn import reference

# kind -> (class in PyTorch, its options, the twin in NumPy)
KINDS = {
    "rnn_tanh": (torch.nn.RNN, {"nonlinearity": "tanh"}, reference.RNN("tanh")),
    "rnn_relu": (torch.nn.RNN, {"nonlinearity": "relu"}, reference.RNN("relu")),
    "lstm": (torch.nn.LSTM, {}, reference.LSTM()),
    "gru": (torch.nn.GRU, {}, reference.GRU("after")),
}


def to_torch(layer_or_params, kind):
    """Return a PyTorch module (batch first) with the weights of a layer, or of its `params`."""
    params = getattr(layer_or_params, "params", layer_or_params)
    (rows, input_size), hidden_size = params["W_x"].shape, params["W_h"].shape[1]
    make, options, _ = KINDS[kind]
    arrays = {"weight_ih_l0": _signed(params["W_x"], kind)}
    arrays["weight_hh_l0"] = _signed(params["W_h"], kind)
    if "b" in params:
        arrays["bias_ih_l0"] = _signed(params["b"], kind)
        arrays["bias_hh_l0"] = np.zeros(rows)
        if kind == "gru":
            arrays["bias_hh_l0"][2 * hidden_size :] = params["b_hn"]
    module = make(input_size, hidden_size, bias="b" in params, batch_first=True, **options)
    module.to(torch.from_numpy(np.empty(0, params["W_x"].dtype)).dtype)
    module.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    return module


def grads_from_torch(module, kind):
    """Return the gradients of a module as a dict with crnn's names and conventions."""
    found = {name: _grad(param) for name, param in module.named_parameters()}
    grads = {"W_x": _signed(found["weight_ih_l0"], kind)}
    grads["W_h"] = _signed(found["weight_hh_l0"], kind)
    if "bias_ih_l0" in found:
        grads["b"] = _signed(found["bias_ih_l0"], kind)
        if kind == "gru":
            grads["b_hn"] = found["bias_hh_l0"][2 * module.hidden_size :].copy()
    return grads


def run(module, x, state=None, lengths=None, reverse=False):
    """Run a module on a tensor x (B, T, I); return y (B, T, H) and the state, batch first.

    Every row runs alone, on its own steps and, for `reverse`, turned around: PyTorch's packed
    sequences allow no row of length 0.
    """
    B, T, _ = x.shape
    pair = isinstance(module, torch.nn.LSTM)
    if state is None:
        zeros = x.new_zeros(B, module.hidden_size)
        state = (zeros, zeros) if pair else zeros
    parts = list(state) if pair else [state]
    y, last = [], [[] for _ in parts]
    for row, length in enumerate([T] * B if lengths is None else lengths):
        steps = [part[row : row + 1] for part in parts]
        out = x.new_zeros(1, 0, module.hidden_size)
        if length:
            flip = (1,) if reverse else ()
            first = tuple(part[None] for part in steps)
            turned = x[row : row + 1, :length].flip(flip)
            out, end = module(turned, first if pair else first[0])
            out, steps = out.flip(flip), [part[0] for part in (end if pair else [end])]
        y.append(torch.nn.functional.pad(out, (0, 0, 0, T - length)))
        for whole, part in zip(last, steps, strict=True):
            whole.append(part)
    last = [torch.cat(part) for part in last]
    return torch.cat(y), tuple(last) if pair else last[0]


def forward_backward(module, kind, x, state, dy, dstate, lengths=None, reverse=False):
    """Run forward and backward on NumPy arrays; states are tuples of arrays, (h,) or (h, c).

    Returns a dict of NumPy arrays: y, state, dx, dstate, grads.
    """
    x = torch.tensor(x, requires_grad=True)
    state = [torch.tensor(part, requires_grad=True) for part in state]
    module.zero_grad()
    first = state[0] if len(state) == 1 else tuple(state)
    y, end = run(module, x, first, lengths, reverse)
    end = [end] if len(state) == 1 else end
    outputs = (y, *end)
    loss = sum((a * torch.tensor(b)).sum() for a, b in zip(outputs, (dy, *dstate), strict=True))
    loss.backward()
    return {
        "y": y.detach().numpy(),
        "state": tuple(part.detach().numpy() for part in end),
        "dx": _grad(x),
        "dstate": tuple(_grad(part) for part in state),
        "grads": grads_from_torch(module, kind),
    }


def _grad(tensor):
    """Return the gradient of a tensor, zeros where it was never used (no row has a step)."""
    return (torch.zeros_like(tensor) if tensor.grad is None else tensor.grad).numpy()


def _signed(array, kind):
    """Return a copy, with the sign of the rows of z changed for the GRU (its own inverse)."""
    array = np.array(array)
    if kind == "gru":
        rows = len(array) // 3
        array[rows : 2 * rows] *= -1
    return array
