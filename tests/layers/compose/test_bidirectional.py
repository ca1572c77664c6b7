"""Bidirectional in one call of the core, and by the methods of both layers."""

import copy
import pickle
import threading

import numpy as np
import pytest

import crnn
import crnn._core as _core
from crnn.layers.compose.bidirectional import Bidirectional, Pair
from crnn.layers.compose.planned import PlannedTape
from support.comparing import assert_same_bits
from support.planning import B, T, calls_of, results_of, steps_of
from support.running import leaves
from support.tables import CELLS, MERGES, every_cell

I, H = 3, 4


def pair_of(merge, kind="lstm", **options):
    """Return a layer that runs in one call of the core, and one of a subclass, which does not."""
    cell = CELLS[kind]
    planned = crnn.Bidirectional(cell(I, H, seed=1, dtype="float64", **options), merge)

    class Own(cell.layer):
        def forward(self, *given, **keywords):
            return super().forward(*given, **keywords)

        def __call__(self, *given, **keywords):
            return super().__call__(*given, **keywords)

    plain = crnn.Bidirectional(cell(I, H, seed=1, dtype="float64", **options), merge)
    for layer in (plain.forward_layer, plain.backward_layer):
        layer.__class__ = Own
    return planned, plain


def floats():
    return np.random.default_rng(0).normal(size=(B, T, I))


def symbols():
    return np.random.default_rng(0).integers(0, I, (B, T))


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("x", [floats(), symbols()], ids=["floats", "symbols"])
@pytest.mark.parametrize("steps", ["all", "lengths", "holes"])
@pytest.mark.parametrize("merge", MERGES)
def test_the_bits_of_a_call_by_the_methods_of_both_layers(merge, steps, x, filled):
    planned, plain = pair_of(merge, recurrent_dropout=0.3)
    options = {"filled": filled} | steps_of(steps)
    assert_same_bits(
        leaves(results_of(planned, x, **options)), leaves(results_of(plain, x, **options))
    )


@every_cell
def test_every_cell(kind):
    planned, plain = pair_of("concat", kind)
    found, expected = (
        results_of(each, floats(), lengths=[T, 2, 0, 5]) for each in (planned, plain)
    )
    assert_same_bits(leaves(found), leaves(expected))


@pytest.mark.parametrize("merge", MERGES)
def test_gradients_of_the_states_alone(merge):
    results = []
    for layer in pair_of(merge):
        _, state, tape = layer.forward(floats())
        back = layer.backward(tape, None, (state.forward, None))
        results.append(leaves((back, dict(layer.grads))))
    assert_same_bits(*results)


def test_the_tape_and_its_trace():
    tapes = []
    for layer in pair_of("mul"):
        y, _, tape = layer.forward(floats())
        layer.backward(tape, np.cos(y), trace=True)
        tapes.append(tape)
    assert type(tapes[0]) is PlannedTape
    assert repr(tapes[0]) == repr(tapes[1])
    for side in ("forward", "backward"):
        one, other = (getattr(tape, side) for tape in tapes)
        assert type(one) is _core.Tape
        assert_same_bits(one.dh, other.dh)
        assert one is getattr(tapes[0], side)
    assert set(tapes[0].parts) == {"forward", "backward"}
    with pytest.raises(AttributeError, match="gates"):
        _ = tapes[0].gates


def test_states_have_names():
    layer = crnn.Bidirectional(crnn.GRU(I, H))
    _, state, tape = layer.forward(floats())
    _, dstate = layer.backward(tape, None, state)
    assert type(layer(floats())[1]) is type(state) is type(dstate) is _core.PairState
    assert_same_bits(state.backward, state[1])
    assert pickle.loads(pickle.dumps(state)).forward.shape == (B, H)


def test_few_python_calls():
    layer = crnn.Bidirectional(crnn.GRU(I, H))
    x = floats()
    y, _, tape = layer.forward(x)
    assert calls_of(lambda: layer(x)) <= 3
    assert calls_of(lambda: layer.forward(x)) <= 9
    assert calls_of(lambda: layer.backward(tape, y)) <= 4


def test_a_tape_of_another_merge_is_refused():
    layer, other = (crnn.Bidirectional(crnn.GRU(I, H, seed=1), merge) for merge in ("sum", "mean"))
    for run in (other.backward, other.check_backward):
        with pytest.raises(ValueError, match="with merge 'mean', got merge 'sum'"):
            run(layer.forward(floats())[2], None)


def test_replaced_methods_are_noticed():
    planned, _ = pair_of("concat")
    y, _ = planned(floats())
    called = []

    def forward(*given, **options):
        called.append(options)
        return crnn.LSTM.forward(planned.backward_layer, *given, **options)

    planned.backward_layer.forward = forward
    found, _, tape = planned.forward(floats())
    assert called
    assert_same_bits(found, y)
    assert type(tape) is not PlannedTape
    del planned.backward_layer.forward
    assert type(planned.forward(floats())[2]) is PlannedTape


def test_parts_that_are_made_anew():
    planned, _ = pair_of("concat")
    y, _, tape = planned.forward(floats())
    planned.backward_layer.__init__(I, H, reverse=True, dtype="float64", seed=8)
    other, _ = planned(floats())
    assert_same_bits(other[..., :H], y[..., :H])
    assert_same_bits(other[..., H:], planned.backward_layer(floats())[0])
    planned.forward_layer.__init__(I, H + 1, dtype="float64")
    with pytest.raises(ValueError, match=r"^tape: expected one of a layer like this"):
        planned.backward(tape, y)
    assert planned(floats())[0].shape == (B, T, 2 * H + 1)


def test_its_parts_cannot_be_assigned():
    layer = crnn.Bidirectional(crnn.GRU(I, H))
    for name in ("forward_layer", "backward_layer", "merge"):
        with pytest.raises(AttributeError):
            setattr(layer, name, getattr(layer, name))


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_copies(copied):
    layer, _ = pair_of("mul")
    y, _, tape = layer.forward(floats())
    other = copied(layer)
    assert_same_bits(other(floats())[0], y)
    other.backward(tape, y)
    assert (other.forward_layer is layer.forward_layer) == (copied is copy.copy)
    assert layer.grads["forward.W_x"].any() == (copied is copy.copy)


def test_pickles_of_earlier_versions():
    """Their state was a tuple; that of a class for layers of users had attributes."""
    layer = crnn.Bidirectional(crnn.GRU(I, H, seed=1), "sum")
    parts = layer.forward_layer, layer.backward_layer, "sum"
    names = "forward_layer", "backward_layer", "merge"
    for state in ((*parts, {"note": 3}), dict(zip(names, parts, strict=True)) | {"note": 3}):
        other = Bidirectional.__new__(Bidirectional)
        other.__setstate__(state)
        assert other.note == 3
        assert_same_bits(other(floats())[0], layer(floats())[0])
        assert vars(pickle.loads(pickle.dumps(other))).keys() == {"_pair", "note"}


def test_two_threads_may_not_add_to_the_same_gradients():
    inside, done, errors = threading.Event(), threading.Event(), []
    layer, _ = pair_of("concat")
    y, _, tape = layer.forward(floats())

    def hold():
        with _core.Writing(layer.backward_layer):
            inside.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    try:
        with pytest.raises(RuntimeError, match="another thread"):
            layer.backward(tape, y)
    finally:
        done.set()
        thread.join()
    assert not errors
    assert not layer.grads["forward.W_x"].any()


def test_a_pair_is_replaced_as_a_whole():
    layer = crnn.Bidirectional(crnn.GRU(I, H, seed=1))
    model = crnn.Sequential([layer, crnn.Activation("tanh")])
    before = model(floats())[0]
    layer._pair = Pair(layer.forward_layer, layer.backward_layer, "sum")
    assert layer.merge == "sum"
    assert model(floats())[0].shape == (B, T, H)
    assert before.shape == (B, T, 2 * H)
