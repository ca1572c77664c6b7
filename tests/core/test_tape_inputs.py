"""Arrays that are edited between forward and backward, and unusual forms of inputs.

A tape has its own copy of everything that backward reads: values, shapes and lengths. Booleans in
memory may be any byte, as for NumPy; integers 0 and 1 are accepted as booleans.
"""

import mmap

import numpy as np
import pytest

import crnn
import crnn._core as _core
from crnn.layers.base.arguments import options_of
from support.comparing import assert_same_bits
from support.running import copied, fill, gradients_like, leaves
from support.seq2seqs import KINDS, model_of
from support.tables import LAYERS, every_reading

B, T = 3, 5
LENGTHS = np.array([5, 2, 0])


def leave(*arrays):
    """Edit nothing."""


def spoil(*arrays):
    for array in arrays:
        array[...] = 0 if array.dtype.kind == "b" else 1


def reshape(*arrays):
    for array in arrays:
        if array.flags.c_contiguous:
            array.shape = (array.size, *(1,) * (array.ndim - 1))


def gradients(layer, x, edit, **given):
    """Return all gradients; `edit` is called with all arguments and results of forward."""
    arrays = {key: np.array(value) for key, value in given.items()}
    call = {"call": 3} if "call" in options_of(layer) else {}
    x = x.copy()
    layer.zero_grad()
    y, end, tape = layer.forward(x, None, **arrays, **call)
    dy, dend = gradients_like([y, end], np.random.default_rng(5))
    edit(x, y, *arrays.values())
    edit(*leaves(end).values())
    dx, dstate = layer.backward(tape, dy, dend)
    return copied({"dx": dx, "dstate": dstate, "grads": dict(layer.grads)})


def steps_for(layer):
    """Return the keyword arguments about steps that the layer takes, alone and together."""
    rng = np.random.default_rng(3)
    given = {
        "lengths": LENGTHS,
        "mask": rng.random((B, T)) < 0.7,
        "resets": rng.random((B, T)) < 0.3,
    }
    known = {key: value for key, value in given.items() if key in options_of(layer)}
    return [{}, {"lengths": LENGTHS}, known]


@pytest.mark.parametrize("edit", [spoil, reshape])
@every_reading
def test_edits_between_forward_and_backward(name, symbols, edit):
    layer = LAYERS[name].layer()
    x = LAYERS[name].inputs(B, T, symbols=symbols)
    for given in steps_for(layer):
        if "mask" in given and name.startswith("checkpointed"):
            given.pop("mask")  # a dropped output is not a repeated one
        expected = gradients(layer, x, leave, **given)
        assert_same_bits(gradients(layer, x, edit, **given), expected)


@pytest.mark.parametrize("edit", [spoil, reshape])
@pytest.mark.parametrize("name", KINDS)
def test_edits_between_forward_and_backward_of_models(name, edit):
    def walk(edit):
        model = model_of(name)
        source, target = KINDS[name].inputs(B, T, 4)
        lengths = LENGTHS.clip(1), np.array([4, 1, 2])
        logits, tape = model.forward(
            source, target, source_lengths=lengths[0], target_lengths=lengths[1], call=2
        )
        dlogits = np.random.default_rng(5).normal(size=logits.shape)
        edit(source, target, logits, *lengths)
        if model.attention is not None:
            edit(tape.attention)
        return copied({"dsource": model.backward(tape, dlogits), "grads": dict(model.grads)})

    assert_same_bits(walk(edit), walk(leave))


def test_initial_states_may_be_edited():
    layer = fill(crnn.LSTM(3, 4, dtype="float64"))
    x, state = np.ones((B, T, 3)), (np.full((B, 4), 0.5), np.full((B, 4), -0.5))
    found = []
    for edit in (leave, spoil, reshape):
        given = tuple(part.copy() for part in state)
        layer.zero_grad()
        y, _, tape = layer.forward(x, given)
        edit(*given)
        layer.backward(tape, np.ones_like(y))
        found.append(layer.flat_grads.copy())
    assert_same_bits(found[1:], [found[0]] * 2)


class Reshapes:
    """An argument that reshapes another one while it is converted to an array."""

    def __init__(self, value, victim):
        self.value, self.victim = value, victim

    def __array__(self, dtype=None, copy=None):
        reshape(self.victim)
        return np.asarray(self.value, dtype)


@pytest.mark.parametrize("kind", ["forward", "backward"])
def test_arguments_that_edit_others_while_they_are_converted(kind):
    """Sizes are read once: a later conversion cannot change them."""
    layer = fill(crnn.GRU(3, 4, dtype="float64"))
    x, dy, dstate = np.ones((2, 6, 3)), np.ones((2, 6, 4)), np.ones((2, 4))
    y, _, tape = layer.forward(x, lengths=[6, 3])
    expected = layer.backward(tape, dy, dstate)
    if kind == "forward":
        found, _, _ = layer.forward(x, lengths=Reshapes([6, 3], x))
        assert_same_bits(found, y)
    else:
        assert_same_bits(layer.backward(tape, dy, Reshapes(dstate, dy)), expected)


class Spoils(Reshapes):
    """An argument that overwrites another one while it is converted to an array."""

    def __array__(self, dtype=None, copy=None):
        self.victim[...] = 77
        return np.asarray(self.value, dtype)


@pytest.mark.parametrize("edits", [Reshapes, Spoils])
@pytest.mark.parametrize("kind", [bool, np.int64, np.uint64, np.int8])
def test_masks_that_are_edited_while_others_are_converted(kind, edits):
    """A mask is copied before it is checked, so that no other code can edit it."""
    layer = fill(crnn.GRU(3, 4, dtype="float64"))
    rng = np.random.default_rng(2)
    x, mask, resets = rng.normal(size=(B, T, 3)), rng.random((B, T)) < 0.6, rng.random((B, T)) < 0.4
    expected, _, tape = layer.forward(x, mask=mask, resets=resets)
    victim = mask.astype(kind)
    found, _, other = layer.forward(x, mask=victim, resets=edits(resets.astype(kind), victim))
    assert_same_bits(found, expected)
    assert_same_bits(other.read, tape.read)
    found, _ = layer(x, mask=Reshapes(mask.astype(kind), x.copy()), resets=resets)
    assert_same_bits(found, expected)


def test_losses_read_their_sizes_once():
    logits, targets = np.zeros((4, 3)), np.zeros(4, np.int64)
    loss, d = _core.cross_entropy(logits, Reshapes(targets, logits), 1.0)
    assert loss == pytest.approx(4 * np.log(3))
    assert d.shape == (4, 3)
    dy, grads = np.ones((6, 2)), np.zeros((4, 2))
    with pytest.raises(ValueError, match=r"^dy: expected floats of shape \(rows=6, size=2\)"):
        _core.embedding_backward(Reshapes(np.arange(6) % 4, dy), dy, grads)
    assert not grads.any()


# -------------------------------------------------------------------------- which inputs are copied


def test_read_only_inputs_are_not_copied():
    frozen = np.frombuffer(np.ones(30, np.float32).tobytes(), np.float32).reshape(2, 5, 3)
    kept = _core.kept(np.ones((2, 5, 3)))
    for array in (frozen, kept, _core.kept(np.ones((64, 100, 16)))):
        assert array.base is None or not array.flags.writeable
        with pytest.raises(ValueError, match="WRITEABLE"):
            frozen.flags.writeable = True
    assert _core.kept(frozen) is frozen
    large = _core.kept(np.ones((64, 100, 16), np.float32))
    assert _core.kept(large) is large


@pytest.mark.parametrize("how", ["writeable", "owner", "view", "base", "mapped"])
def test_writable_inputs_are_copied(how):
    array = np.ones((2, 5, 3))
    if how == "mapped":
        array = np.frombuffer(mmap.mmap(-1, 240), np.float64).reshape(2, 5, 3)
    given = array.view() if how == "base" else array
    writer = array if how == "base" else array.view()
    if how != "writeable":
        given.flags.writeable = False
    kept = _core.kept(given)
    if how == "owner":
        given.flags.writeable = True
        writer = given
    before = kept.copy()
    writer[...] = 7
    assert_same_bits(kept, before)
    assert not kept.flags.writeable


# ----------------------------------------------------------------------------------------- booleans

BYTES = [2, 128, 255]


@pytest.mark.parametrize("byte", BYTES)
@every_reading
def test_every_byte_but_zero_is_true(name, symbols, byte):
    layer = LAYERS[name].layer()
    x = LAYERS[name].inputs(B, T, symbols=symbols)
    known = options_of(layer) & {"mask", "resets"}
    if name.startswith("checkpointed"):
        known -= {"mask"}
    for word in sorted(known):
        plain = np.random.default_rng(4).random((B, T)) < 0.6
        odd = (plain * np.uint8(byte)).view(bool)
        assert_same_bits(
            gradients(layer, x, leave, **{word: odd}), gradients(layer, x, leave, **{word: plain})
        )
        assert_same_bits(layer(x, **{word: odd}), layer(x, **{word: plain}))


#: Every integer dtype, also in the other byte order, and memory layouts.
INTEGERS = [
    *(lambda mask, code=code: mask.astype(code) for code in "bBhHiIlLqQ"),
    lambda mask: mask.astype(np.dtype(np.int32).newbyteorder()),
    lambda mask: np.asfortranarray(mask, np.int16),
    lambda mask: np.repeat(mask, 2, axis=1).astype(np.int64)[:, ::2],
    lambda mask: np.frombuffer(b"?" + mask.astype("i4").tobytes(), "i4", offset=1).reshape(B, T),
    lambda mask: mask.astype(int).tolist(),
]


@every_reading
def test_integers_0_and_1_are_accepted_as_booleans(name, symbols):
    layer = LAYERS[name].layer()
    x = LAYERS[name].inputs(B, T, symbols=symbols)
    known = options_of(layer) & {"mask", "resets"}
    if name.startswith("checkpointed"):
        known -= {"mask"}
    for word in sorted(known):
        plain = np.random.default_rng(4).random((B, T)) < 0.6
        expected = gradients(layer, x, leave, **{word: plain}), layer(x, **{word: plain})
        for kind in (np.int64, np.uint8):
            mask = {word: plain.astype(kind)}
            assert_same_bits((gradients(layer, x, leave, **mask), layer(x, **mask)), expected)


@pytest.mark.parametrize("make", INTEGERS)
@pytest.mark.parametrize("word", ["mask", "resets"])
def test_every_type_of_integers_may_be_a_mask(make, word):
    x, plain = np.ones((B, T, 3)), np.random.default_rng(4).random((B, T)) < 0.6
    for layer in (fill(crnn.LSTM(3, 4)), crnn.Checkpointed(fill(crnn.RNN(3, 4)), T)):
        assert_same_bits(layer(x, **{word: make(plain)}), layer(x, **{word: plain}))


def test_a_mask_of_no_steps():
    for layer in (crnn.RNN(2, 3), crnn.Dense(2, 3), crnn.Checkpointed(crnn.RNN(2, 3), 2)):
        for mask in ([[], []], np.ones((2, 0), bool), np.ones((2, 0), int)):
            assert layer(np.ones((2, 0, 2)), mask=mask)[0].shape == (2, 0, 3)


@pytest.mark.parametrize("byte", BYTES)
def test_a_mask_of_odd_bytes_is_shown_as_booleans(byte):
    layer = crnn.RNN(2, 3)
    odd = np.full((2, 6), byte, np.uint8).view(bool)
    tape = layer.forward(np.ones((2, 6, 2)), mask=odd, resets=odd)[2]
    assert tape.read.view(np.uint8).max() == 1
    assert tape.read.all()
