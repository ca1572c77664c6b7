"""Convolutions in both directions: one call of the core, with the bits of a call for each layer."""

import numpy as np
import pytest

import crnn
from crnn.layers.compose import bidirectional
from support.comparing import assert_close, assert_same_bits
from support.running import copied, fill, forward_backward, like
from support.temporal_layers import TOLERANCES, random_steps

B, T, I = 6, 40, 3
LAYERS = {
    "conv": lambda **o: crnn.CausalConv(I, 5, 2, dilation=2, activation="tanh", **o),
    "conv-normed": lambda **o: crnn.CausalConv(I, 16, 9, weight_norm=True, **o),
    "block": lambda **o: crnn.TCNBlock(I, I, 2, dilation=3, **o),
    "block-skip": lambda **o: crnn.TCNBlock(I, 7, **o),
    "tcn": lambda **o: crnn.TCN(I, [4, 6], **o),
}
STEPS = {
    "full": (),
    "lengths": ("lengths",),
    "mask": ("lengths", "mask"),
    "holes": ("lengths", "mask", "resets"),
}
every_layer = pytest.mark.parametrize("name", LAYERS)
every_steps = pytest.mark.parametrize("steps", STEPS)


def model(name, merge="concat", dtype="float64"):
    return fill(crnn.Bidirectional(LAYERS[name](seed=1, dtype=dtype), merge))


def inputs(dtype="float64"):
    return np.random.default_rng(0).normal(size=(B, T, I)).astype(dtype)


def options(steps):
    return random_steps(np.random.default_rng(3), B, T, STEPS[steps])


def is_one_plan(layer):
    return layer._plan_of(layer._planned(), 0) is not None


def results(layer, x, state, **steps):
    found = forward_backward(layer, x, state, **steps)
    return found | copied({"called": layer(x, state, **steps)})


@every_layer
@every_steps
@pytest.mark.parametrize("merge", ["concat", "mul"])
def test_one_call_has_the_bits_of_two(name, steps, merge, dtype, monkeypatch, threads):
    """But for parameters where rows are cut: their gradients are summed in another order."""
    threads(2)
    x, given = inputs(dtype), options(steps)
    layer = model(name, merge, dtype)
    state = like(layer(x)[1], np.random.default_rng(1))
    assert is_one_plan(layer)
    found = results(layer, x, state, **given)
    monkeypatch.setattr(bidirectional, "planned_model", lambda *_: None)
    layer = model(name, merge, dtype)
    assert not is_one_plan(layer)
    wanted = results(layer, x, state, **given)
    for key, array in found.items():
        if steps == "holes" and key.startswith("grads.backward"):
            assert_close(array, wanted[key], TOLERANCES[dtype], key)
        else:
            assert_same_bits(array, wanted[key])


@every_layer
@pytest.mark.parametrize("steps", ["full", "holes"])
def test_gradients(name, steps):
    layer, x = model(name), inputs()[:, :12]
    given = random_steps(np.random.default_rng(3), B, 12, STEPS[steps])
    state = like(layer(x)[1], np.random.default_rng(1))
    report = crnn.gradcheck(layer, x, state, **given, tolerance=1e-7)
    assert report, str(report)


@every_layer
def test_a_model_around_it_is_one_plan(name):
    layer = model(name)
    embedding = crnn.Embedding(5, I, dtype="float64", seed=1)
    head = crnn.Dense(layer.output_size, 2, dtype="float64", seed=2)
    whole = crnn.Sequential([embedding, layer, head])
    assert whole._planned().planned(0) is not None
    x = np.random.default_rng(0).integers(0, 5, (B, T))
    given = options("mask")
    y, states = whole(x, **given)
    own = embedding(x)[0]
    inner, state = layer(own, **given)
    assert_same_bits([y, states[1]], [head(inner)[0], state])


def test_tapes_of_the_parts():
    """The tape of a model tells those of both directions, as if each had run alone."""
    layer, x = model("tcn"), inputs()
    y, _, tape = layer.forward(x, lengths=options("lengths")["lengths"])
    assert_same_bits(tape.forward.parts["0"].y.shape, (B, T, 4))
    assert_same_bits(tape.backward.layer.parts["1"].y.shape, (B, T, 6))
    assert "PairTape" in repr(tape)
    layer.zero_grad()
    dx, _ = layer.backward(tape, np.cos(y))
    again, _ = layer.backward(tape.layers, np.cos(y))
    assert_close(again, dx, 1e-12)


def test_layers_that_draw_numbers_run_by_themselves():
    """The numbers of a mirrored row are those of its own steps."""
    layer = fill(crnn.Bidirectional(crnn.TCNBlock(I, I, dropout=0.3, dtype="float64", seed=1)))
    assert not is_one_plan(layer)
    x = inputs()
    y, _, _ = layer.forward(x, call=1)
    assert np.abs(y - layer.forward(x, call=1, training=False)[0]).max() > 0.1
    assert_same_bits(layer.forward(x, call=1)[0], y)


def test_another_layer_inside_is_noticed():
    layer, x = model("block"), inputs()
    y, _ = layer(x)
    layer.backward_layer.params["conv1.g"] = 0
    other, _ = layer(x)
    assert_same_bits(other[..., :I], y[..., :I])
    assert (other != y).any()

    class Doubled(crnn.TCNBlock):
        def forward(self, *args, **given):
            y, state, tape = super().forward(*args, **given)
            return 2 * y, state, tape

    doubled = fill(crnn.Bidirectional(Doubled(I, I, 2, dilation=3, seed=1, dtype="float64")))
    assert not is_one_plan(doubled)
    assert_same_bits(doubled(x)[0], 2 * y)
