"""Seq2Seq compared with PyTorch: its layers, the equations of attention, and autograd."""

import numpy as np
import pytest

import crnn
from support.comparing import assert_close
from support.running import fill
from support.seq2seqs import ends

torch = pytest.importorskip("torch")

from support.torch_twins import grads_from_torch, run, to_torch  # noqa: E402

KS, KT, E, H = 7, 6, 3, 4
LAYERS = {"rnn_tanh": crnn.RNN, "lstm": crnn.LSTM, "gru": crnn.GRU}


def tensors(model):
    """Return the parameters of all parts but encoder and decoder as tensors with gradients."""
    layers = ("encoder", "decoder")
    return {
        key: torch.tensor(array, requires_grad=True)
        for key, array in model.params.items()
        if key.partition(".")[0] not in layers
    }


def attend(w, h, y, lengths):
    """Return the contexts and attention weights of the queries h (B, P) over y (B, S, C)."""
    if "attention.v" in w:
        sums = y @ w["attention.W_key"].T + (h @ w["attention.W_query"].T)[:, None]
        scores = torch.tanh(sums) @ w["attention.v"]
    else:
        keys = y @ w["attention.W"].T if "attention.W" in w else y
        scores = (keys * h[:, None]).sum(2)
    valid = torch.arange(y.shape[1]) < torch.tensor(lengths)[:, None]
    # an empty source has NaN here, and weights of 0
    weights = torch.nan_to_num(torch.softmax(scores.masked_fill(~valid, -torch.inf), 1))
    return (weights[..., None] * y).sum(1), weights


def forward(w, encoder, decoder, source, target, lengths, attention, feeding):
    """Compute the equations of `crnn.reference.seq2seq` with PyTorch's layers."""
    embedded = w["target_embedding.W"][torch.tensor(target)]
    y, state = run(encoder, w["source_embedding.W"][torch.tensor(source)], None, lengths)
    if "bridge.W" in w:
        arrays = state if isinstance(state, tuple) else (state,)
        flat = torch.cat(arrays, 1) @ w["bridge.W"].T + w["bridge.b"]
        state = flat.split(H, 1) if isinstance(decoder, torch.nn.LSTM) else flat
    h = state[0] if isinstance(state, tuple) else state
    logits, rows = [], []
    for t in range(target.shape[1]):
        read, weights = embedded[:, t], None
        if attention and feeding:
            context, weights = attend(w, h, y, lengths)
            read = torch.cat([read, context], 1)
        steps, state = run(decoder, read[:, None], state)
        h = shown = steps[:, 0]
        if attention and not feeding:
            context, weights = attend(w, h, y, lengths)
        if attention:
            shown = torch.cat([h, context], 1)
            rows.append(weights)
        logits.append(shown @ w["output.W"].T + w["output.b"])
    return torch.stack(logits, 1), torch.stack(rows, 1) if rows else None


@pytest.mark.parametrize("feeding", [True, False], ids=["feeding", "whole"])
@pytest.mark.parametrize("attention", [None, "additive", "dot", "general"])
@pytest.mark.parametrize("kinds", [("gru", "gru"), ("lstm", "gru"), ("rnn_tanh", "lstm")])
def test_forward_and_backward(kinds, attention, feeding):
    make = [LAYERS[kind] for kind in kinds]
    width = E + H * bool(attention and feeding)
    model = crnn.Seq2Seq(
        make[0](E, H, dtype="float64"),
        make[1](width, H, dtype="float64"),
        source_symbols=KS,
        target_symbols=KT,
        attention=attention,
        input_feeding=feeding,
    )
    fill(model)
    assert (model.bridge is None) == (kinds[0] == kinds[1])
    rng = np.random.default_rng(0)
    B, S, T = 4, 5, 6
    source, target = rng.integers(0, KS, (B, S)), rng.integers(0, KT, (B, T))
    long, wide = ends(B, S), ends(B, T, 9)
    dlogits = rng.normal(size=(B, T, KT))

    logits, tape = model.forward(source, target, source_lengths=long, target_lengths=wide)
    model.backward(tape, dlogits)

    w = tensors(model)
    modules = [
        to_torch(getattr(model, part), kind) for part, kind in zip(SIDES, kinds, strict=True)
    ]
    found, weights = forward(w, *modules, source, target, long, attention, feeding)
    valid = (np.arange(T) < wide[:, None])[..., None]
    (found * torch.tensor(dlogits * valid)).sum().backward()

    assert_close(logits, found.detach().numpy() * valid, 1e-12)
    if attention:
        assert_close(tape.attention, weights.detach().numpy() * valid, 1e-12)
    expected = {key: tensor.grad.numpy() for key, tensor in w.items()}
    for part, module, kind in zip(SIDES, modules, kinds, strict=True):
        grads = grads_from_torch(module, kind)
        expected |= {f"{part}.{key}": grad for key, grad in grads.items()}
    assert expected.keys() == model.grads.keys()
    for key, grad in model.grads.items():
        assert_close(grad, expected[key], 1e-11, key)


SIDES = ("encoder", "decoder")


@pytest.mark.parametrize("attention", ["additive", "general"])
def test_two_directions_and_vectors(attention):
    """A bidirectional encoder of vectors; the gradient at the source is compared, too."""
    options = {"dtype": "float64"}
    both = crnn.Bidirectional(crnn.GRU(2, H, **options))
    model = crnn.Seq2Seq(both, crnn.GRU(E + 2 * H, H, **options), attention=attention)
    fill(model)
    rng = np.random.default_rng(0)
    B, S, T = 4, 5, 3
    source, target = rng.normal(size=(B, S, 2)), rng.normal(size=(B, T, E))
    long = ends(B, S)
    y, tape = model.forward(source, target, source_lengths=long)
    dy = rng.normal(size=y.shape)
    dsource = model.backward(tape, dy)

    w = tensors(model)
    modules = [to_torch(part, "gru") for part in (both.forward_layer, both.backward_layer)]
    x = torch.tensor(source, requires_grad=True)
    runs = [run(one, x, None, long, back) for one, back in zip(modules, (False, True), strict=True)]
    encoded = torch.cat([steps for steps, _ in runs], 2)
    flat = torch.cat([state for _, state in runs], 1)
    state = flat @ w["bridge.W"].T + w["bridge.b"]
    decoder, outputs = to_torch(model.decoder, "gru"), []
    for t in range(T):
        context, _ = attend(w, state, encoded, long)
        read = torch.cat([torch.tensor(target[:, t]), context], 1)
        steps, state = run(decoder, read[:, None], state)
        outputs.append(torch.cat([steps[:, 0], context], 1) @ w["output.W"].T + w["output.b"])
    found = torch.stack(outputs, 1)
    (found * torch.tensor(dy)).sum().backward()
    assert_close(y, found.detach().numpy(), 1e-12)
    assert_close(dsource, x.grad.numpy(), 1e-11)
    for part, module in zip(("forward", "backward"), modules, strict=True):
        for key, grad in grads_from_torch(module, "gru").items():
            assert_close(model.grads[f"encoder.{part}.{key}"], grad, 1e-11, key)
    for key, tensor in w.items():
        assert_close(model.grads[key], tensor.grad.numpy(), 1e-11, key)
