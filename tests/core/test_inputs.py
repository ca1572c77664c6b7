"""Results are bit-identical for any memory layout of the inputs and any values in the padding."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import crnn
from crnn import losses
from support.comparing import assert_same_bits
from support.running import (
    fill,
    first_call,
    forward_backward,
    gradients_like,
    leaves,
    like,
    valid_steps,
)
from support.tables import CELLS, DTYPES, LAYERS, READINGS, RECURRENT, K, every_cell, every_reading

pytestmark = pytest.mark.filterwarnings("error")

# Layers that also read (B, features), or (B,) symbols.
LEARNED = ("h0", "c0")  # the last state of rows without steps
WITHOUT_TIME = ["dense", "dense-no-bias", "embedding", "dropout", "layernorm", "residual-dense"]
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
INTEGERS += [">i4", ">u8"]
FLOATS = ["float16", "float32", "float64", "longdouble", ">f4", ">f8"]

# ------------------------------------------------------------- equal arrays in other memory layouts


def _along(axis, *where):
    """Return an index with slice(*where) along one axis, and everything along the others."""
    return (*(slice(None),) * axis, slice(*where))


def _strided(array, axis):
    """Return a view of every second element along an axis of an array with other values between."""
    shape = list(array.shape)
    shape[axis] *= 2
    wide = np.full(shape, np.nan if array.dtype.kind == "f" else 10**6, array.dtype)
    view = wide[_along(axis, None, None, 2)]
    view[...] = array
    return view


def _negative(array, axis):
    return np.flip(np.flip(array, axis).copy(), axis)


def _transposed(array, axis):
    """Return an equal array in which this axis is contiguous."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, axis, -1)), -1, axis)


def _sliced(array, axis):
    """Return a view of a wider array, with gaps between the rows."""
    wide = np.concatenate([array, array, array], axis)
    size = array.shape[axis]
    return wide[
        tuple(slice(size, 2 * size) if k == axis else slice(None) for k in range(wide.ndim))
    ]


def _unaligned(array, axis):
    buffer = np.empty(array.nbytes + 1, np.uint8)[1:]
    view = buffer.view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def _read_only(array, axis):
    array = array.copy()
    array.flags.writeable = False
    return array


def _list(array, axis):
    """Return nested lists, which have no dtype, and no length along an empty axis."""
    fits = array.dtype in (np.int64, np.float64) and array.size
    return array.tolist() if fits else array


class _Thing:
    """An object that is not an array, but can be converted to one."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array if dtype is None else self.array.astype(dtype)


LAYOUTS = {
    "plain": lambda array, axis: array.copy(),
    "strided": _strided,
    "negative": _negative,
    "transposed": _transposed,
    "sliced": _sliced,
    "unaligned": _unaligned,
    "fortran": lambda array, axis: np.asfortranarray(array),
    "swapped": lambda array, axis: array.astype(array.dtype.newbyteorder()),
    "read-only": _read_only,
    "list": _list,
    "thing": lambda array, axis: _Thing(array),
}


class Layout:
    """A memory layout drawn by hypothesis; `of` returns an equal array (or state) in it."""

    def __init__(self, draw):
        self.names = draw(st.lists(st.sampled_from(sorted(LAYOUTS)), max_size=2))
        self.axis = draw(st.integers(0, 2))

    def of(self, value):
        if value is None:
            return None
        if isinstance(value, tuple | list):
            return type(value)(self.of(part) for part in value)
        for name in self.names:
            if isinstance(value, np.ndarray):
                value = LAYOUTS[name](value, self.axis % value.ndim)
        return value

    def __repr__(self):
        return f"{self.names} along {self.axis}"


layouts = st.composite(Layout)()
dtypes = st.sampled_from(DTYPES)


def lengths_for(B, T, seed=0):
    return np.random.default_rng(seed).integers(0, T + 1, B)


@every_reading
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_in_every_layer(name, symbols, layout, dtype):
    subject = LAYERS[name]
    layer = subject.layer(dtype)
    for shape in ((3, 4), (1, 4), (3, 1), (0, 4), (3, 0)):
        plain = subject.inputs(*shape, dtype, symbols)
        compare_layouts(layer, plain, LAYOUTS[layout])
        if name in WITHOUT_TIME and shape[1]:
            compare_layouts(layer, plain[:, 0].copy(), LAYOUTS[layout])


def compare_layouts(layer, plain, layout):
    """Compare the results of x and dy whose layout is changed along each axis in turn."""
    options = first_call(layer)
    y, end, tape = layer.forward(plain, **options)
    dy, dend = gradients_like([y, end], np.random.default_rng(2))
    expected = layer.backward(tape, dy, dend)
    for axis in range(dy.ndim):
        found_y, found_end, found = layer.forward(layout(plain, axis % plain.ndim), **options)
        assert_same_bits([found_y, found_end], [y, end])
        assert_same_bits(layer.backward(found, layout(dy, axis), dend), expected)


@every_cell
@settings(max_examples=30)
@given(data=st.data(), reverse=st.booleans(), symbols=st.booleans())
def test_layouts_in_every_cell(kind, data, reverse, symbols):
    """All arguments at once, with sizes that are and are not multiples of the tiles."""
    B, T = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 5))
    inputs, hidden = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 40))
    dtype = data.draw(dtypes)
    layer = fill(CELLS[kind](inputs, hidden, dtype=dtype, reverse=reverse))
    rng = np.random.default_rng(4)
    floats = rng.normal(size=(B, T, inputs)).astype(dtype)
    x = rng.integers(0, inputs, (B, T)) if symbols else floats
    y, end = layer(x)
    state, (dy, dend) = like(end, rng), gradients_like([y, end], rng)
    lengths = lengths_for(B, T)
    found = []
    for of in ([data.draw(layouts).of for _ in range(5)], [np.copy] + 4 * [lambda same: same]):
        y, end, tape = layer.forward(of[0](x), of[1](state), lengths=of[2](lengths))
        layer.zero_grad()
        back = layer.backward(tape, of[3](dy), of[4](dend), trace=True)
        found.append([y, end, back, tape.dh, {k: grad.copy() for k, grad in layer.grads.items()}])
    assert_same_bits(*found)


@every_cell
def test_zero_strides(kind, dtype, isa):
    """Views of np.broadcast_to: one row for all, one step for all, one number for all."""
    layer = fill(CELLS[kind](3, 17, dtype=dtype))
    shape, rng = (9, 4, 3), np.random.default_rng(0)
    y, end = layer(np.zeros(shape))
    for small in ((1, 1, 3), (9, 1, 3), (1, 4, 3), (1, 1, 1), (1, 1), (1, 4)):
        one = rng.integers(0, 3, small) if len(small) == 2 else rng.normal(size=small).astype(dtype)
        x = np.broadcast_to(one, shape[: len(small)])
        dy = np.broadcast_to(like(y, rng)[:1, :1], y.shape)
        dend = tuple(np.broadcast_to(part[:1], part.shape) for part in leaves(end).values())
        dend = dend[0] if len(dend) == 1 else dend
        found = []
        for of in (lambda same: same, lambda same: np.array(same, order="C")):
            layer.zero_grad()
            y, end, tape = layer.forward(of(x))
            back = layer.backward(tape, of(dy), dend)
            found.append([y, end, back, layer.flat_grads.copy()])
        assert_same_bits(*found)


@every_reading
@pytest.mark.parametrize("other", FLOATS)
def test_other_float_types_are_cast(name, symbols, other, dtype):
    """x, dy and states of any float dtype are converted to that of the layer."""
    subject = LAYERS[name]
    layer = subject.layer(dtype)
    x, rng = subject.inputs(3, 4, dtype, symbols), np.random.default_rng(0)
    y, end = layer(x)
    values = {"x": x, "state": like(end, rng), "dy": like(y, rng)}
    values["dstate"] = gradients_like(layer(x, values["state"])[1], rng)  # a cache has grown
    drawn = {key: cast(value, "float16") for key, value in values.items()}

    def run(type_):
        layer.zero_grad()
        given = {key: cast(value, type_) for key, value in drawn.items()}
        y, end, tape = layer.forward(given["x"], given["state"], **first_call(layer))
        back = layer.backward(tape, given["dy"], given["dstate"])
        return [y, end, back, {key: grad.copy() for key, grad in layer.grads.items()}]

    found, expected = run(other), run(dtype)
    if not name.startswith(("dropout", "activation")):  # without a dtype: y has that of x
        assert_same_bits(found, expected)


def cast(value, dtype):
    if isinstance(value, tuple | list):
        return type(value)(cast(part, dtype) for part in value)
    return value if value is None or value.dtype.kind in "iu" else value.astype(dtype)


@pytest.mark.parametrize("width", INTEGERS)
@pytest.mark.parametrize(("name", "symbols"), [pair for pair in READINGS if pair[1]])
def test_integers_of_every_width(name, symbols, width):
    """Symbols and lengths."""
    subject, lengths = LAYERS[name], np.array([3, 0, 4, 1])
    layer, x = subject.layer(), subject.inputs(4, 4, symbols=symbols)
    expected = forward_backward(layer, x, lengths=lengths)
    found = forward_backward(layer, x.astype(width), lengths=lengths.astype(width))
    assert_same_bits(found, expected)
    big = x.astype(width)
    big[~valid_steps(lengths, 4)] = np.iinfo(width).max
    assert_same_bits(forward_backward(layer, big, lengths=list(map(int, lengths))), expected)


@pytest.mark.parametrize("width", INTEGERS)
@every_cell
def test_integers_of_every_width_in_streams(kind, width):
    layer = fill(CELLS[kind](5, 3))
    x = np.array([4, 0, 2])
    found, expected = layer.stream(3), layer.stream(3)
    assert_same_bits(found.step(x.astype(width)), expected.step(x))
    for stream, rows in ((found, np.array([2, 0], width)), (expected, [0, 2])):
        stream.reset(rows)
    assert_same_bits(found.state, expected.state)


@settings(max_examples=40)
@given(x=layouts, y=layouts, lengths=layouts, dtype=dtypes)
def test_layouts_in_the_losses(x, y, lengths, dtype):
    rng, ends = np.random.default_rng(0), np.array([3, 0, 4, 1])
    scores, goal = (rng.normal(size=(4, 4, 20)).astype(dtype) for _ in range(2))
    classes = rng.integers(0, 20, (4, 4))
    for loss, target in ((losses.cross_entropy, classes), (losses.mse, goal)):
        found = loss(x.of(scores), y.of(target), lengths.of(ends))
        assert_same_bits(found, loss(scores, target, ends))
        assert_same_bits(loss(x.of(scores), y.of(target)), loss(scores, target))


# ------------------------------------------------------------------------------------------ padding


JUNK = {"nan": (np.nan, -1), "inf": (-np.inf, -(2**63)), "1e30": (1e30, 10**9)}
every_junk = pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)


def dirty_copy(array, lengths, junk):
    """Return the array with `junk` in the padding: a float, or an invalid symbol."""
    array = array.copy()
    array[~valid_steps(lengths, array.shape[1])] = junk[array.dtype.kind == "i"]
    return array


def assert_same_but_for_padding(found, expected, lengths, zero):
    """Assert equal bits; of y and dx in valid steps only, or with `zero` also in the padding."""
    assert list(found) == list(expected)
    for name in ("y", "dx"):
        if name in found and not zero and found[name].ndim > 2:
            valid = valid_steps(lengths, found[name].shape[1])
            found[name], expected[name] = found[name][valid], expected[name][valid]
    assert_same_bits(found, expected)


@every_reading
@every_junk
@pytest.mark.parametrize("lengths", [[2, 0, 5, 1], [0, 0, 0, 0]], ids=["some", "none"])
def test_junk_in_the_padding_of_every_layer(name, symbols, junk, lengths, dtype):
    subject = LAYERS[name]
    layer, x = subject.layer(dtype), subject.inputs(4, 5, dtype, symbols)
    expected = forward_backward(layer, x, lengths=lengths)
    dirty = dirty_copy(x, lengths, junk)

    def spoil(dy):
        if dy.ndim > 2:
            dy[...] = dirty_copy(dy, lengths, junk)

    found = forward_backward(layer, dirty, lengths=lengths, spoil=spoil)
    assert_same_but_for_padding(found, expected, lengths, zero=name in RECURRENT)
    called = layer(dirty, lengths=lengths)
    for found_y, expected_y in zip(called, layer(x, lengths=lengths), strict=True):
        if name in RECURRENT:
            assert_same_bits(found_y, expected_y)
    if math.fsum(lengths) == 0 and not name.startswith(
        "pool"
    ):  # whose result depends on rows without steps
        of_steps = {key for key in found if key.startswith("grads") and key[-2:] not in LEARNED}
        assert not any(found[key].any() for key in of_steps)


@every_cell
@every_junk
@pytest.mark.parametrize("symbols", [False, True], ids=["floats", "symbols"])
@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
def test_junk_in_the_padding_of_every_cell(kind, junk, symbols, reverse, dtype, isa):
    """With more rows than a tile has, and different lengths."""
    B, T, inputs = 11, 6, 5
    layer = fill(CELLS[kind](inputs, 17, dtype=dtype, reverse=reverse))
    rng, lengths = np.random.default_rng(0), lengths_for(B, T, seed=1)
    x = rng.integers(0, inputs, (B, T)) if symbols else rng.normal(size=(B, T, inputs))
    expected = forward_backward(layer, x, lengths=lengths)

    def spoil(dy):
        dy[...] = dirty_copy(dy, lengths, junk)

    dirty = dirty_copy(x, lengths, junk)
    assert_same_bits(forward_backward(layer, dirty, lengths=lengths, spoil=spoil), expected)


@every_junk
@pytest.mark.parametrize("lengths", [[2, 0, 5, 1], [0, 0, 0, 0]], ids=["some", "none"])
def test_junk_in_the_padding_of_the_losses(junk, lengths, dtype):
    rng = np.random.default_rng(0)
    scores, goal = (rng.normal(size=(4, 5, K)).astype(dtype) for _ in range(2))
    for loss, target in (
        (losses.cross_entropy, rng.integers(0, K, (4, 5))),
        (losses.mse, goal),
    ):
        expected = loss(scores, target, lengths)
        dirty = [dirty_copy(array, lengths, junk) for array in (scores, target)]
        found = loss(*dirty, lengths)
        assert_same_bits(found, expected)
        assert not found[1][~valid_steps(lengths, 5)].any()
        if sum(lengths) == 0:
            assert found[0] == 0
            assert not found[1].any()


def test_errors_of_array_conversions_are_raised():
    """An error in __array__ of an argument is raised, for every argument."""

    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise ZeroDivisionError("inside __array__")

    layer = crnn.LSTM(2, 3)
    for call in (lambda: layer(Broken()), lambda: layer(np.zeros((1, 1, 2)), lengths=Broken())):
        with pytest.raises((TypeError, ZeroDivisionError), match="inside __array__"):
            call()
