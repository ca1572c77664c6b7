"""gradcheck accepts every layer of crnn, and reports wrong gradients."""

import numpy as np
import pytest

import crnn
from crnn.layers.base.arguments import options_of
from support.running import fill, forward_backward, leaves, like
from support.tables import CELLS, LAYERS, VARIED, H, I, every_cell, every_layer, every_reading

B, T = 3, 4
LENGTHS = {"full": None, "lengths": [2, 0, 4]}
every_length = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
LIMIT = 1e-7


def assert_right(layer, x, state=None, **options):
    report = crnn.gradcheck(layer, x, state, **options)
    assert report.max_error < LIMIT, f"\n{report}"
    assert report.ok
    return {row.name: row for row in report.rows}


@every_reading
@every_length
def test_every_layer(name, symbols, lengths):
    subject = LAYERS[name]
    layer, x = subject.layer(seed=3), subject.inputs(B, T, symbols=symbols)
    assert_found(layer, x, lengths=lengths)


EVERYTHING = {
    "mask": np.array([[True, False, True, True], [False, True, True, False], [True] * 4]),
    "resets": np.array([[False] * 4, [False, False, True, False], [False, True, False, False]]),
    "call": 3,
    "first_row": 2,
    "first_step": 5,
}


@every_reading
def test_every_layer_with_masks_and_resets(name, symbols):
    subject = LAYERS[name]
    layer, x = subject.layer(seed=3), subject.inputs(B, T, symbols=symbols)
    options = {key: EVERYTHING[key] for key in EVERYTHING.keys() & options_of(layer)}
    if options:
        assert_found(layer, x, **options)


@pytest.mark.parametrize("name", VARIED)
@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["full", "everything"])
def test_every_option(name, options):
    layer = fill(VARIED[name](I, H, dtype="float64", seed=7), 3)
    assert_found(layer, np.random.default_rng(1).normal(size=(B, T, I)), **options)


def assert_found(layer, x, **options):
    """Check that all gradients are right, and that none is missing."""
    state = like(layer.forward(x, **options)[1], np.random.default_rng(1))
    rows = assert_right(layer, x, state, **options)
    if learns(layer):  # without a state, so that the learned one has a gradient
        report = crnn.gradcheck(layer, x, **options)
        of_rest = {row.name: row for row in report.rows if not row.name.startswith("state")}
        assert all(row.error < LIMIT for row in of_rest.values()), f"\n{report}"
    assert set(layer.params) <= set(rows)
    assert ("x" in rows) is (x.dtype.kind == "f")
    found = forward_backward(layer, x, **options)
    if any(part.dtype.kind == "i" for part in leaves(state).values()):  # nothing was read before
        found = {key: array for key, array in found.items() if not key.startswith("dstate")}
    assert all(array.any() for array in found.values()), "a gradient of zero proves nothing"


def learns(layer):
    return any(name.rpartition(".")[2] in ("h0", "c0") for name in layer.params)


@every_cell
@every_length
def test_every_cell_on_every_instruction_set(kind, lengths, isa):
    layer = fill(CELLS[kind](I, 17, dtype="float64", reverse=lengths is not None))
    x = np.random.default_rng(0).normal(size=(B, T, I))
    _, end = layer(x)
    assert_right(layer, x, like(end, np.random.default_rng(1)), lengths=lengths)


@every_layer
def test_a_float32_layer_is_checked_in_float64(name):
    subject = LAYERS[name]
    layer = subject.layer("float32")
    before, x = layer.state_dict(), subject.inputs(B, T, "float32")
    assert_right(layer, x, like(layer(x)[1], np.random.default_rng(1)))
    for key, array in layer.params.items():
        np.testing.assert_array_equal(array, before[key])
        assert not layer.grads[key].any()


@pytest.mark.parametrize("shape", [(B, 1, I), (1, T, I), (0, T, I), (B, 0, I), (0, 0, I)])
@every_cell
def test_smallest_shapes(kind, shape):
    for hidden in (1, H):
        layer = fill(CELLS[kind](I, hidden, dtype="float64"))
        assert_right(layer, np.random.default_rng(0).normal(size=shape))


# ---------------------------------------------------------------------------- what must be found


def spoiled(cell, place):
    """Return a layer whose gradient is wrong by one percent in one element, at `place`."""
    base = type(cell(1, 1))

    class Wrong(base):
        def backward(self, tape, dy, dstate=None, **options):
            before = {key: grad.copy() for key, grad in self.grads.items()}
            dx, dstate = super().backward(tape, dy, dstate, **options)
            arrays = {"x": dx} | dict(zip(("state", "c"), parts_of(dstate), strict=False))
            if place in arrays:
                arrays[place].flat[np.argmax(np.abs(arrays[place]))] *= 1.01
            else:
                added = self.grads[place] - before[place]
                where = np.unravel_index(np.argmax(np.abs(added)), added.shape)
                self.grads[place][where] += 0.01 * added[where]
            return dx, dstate

    return Wrong


def parts_of(state):
    return state if isinstance(state, tuple) else (state,)


PLACES = [
    (kind, place) for kind, cell in CELLS.items() for place in [*cell(1, 1).params, "x", "state"]
]


@pytest.mark.parametrize(("kind", "place"), PLACES)
def test_one_percent_in_one_entry_is_reported(kind, place):
    layer = fill(spoiled(CELLS[kind], place)(I, H, dtype="float64", **CELLS[kind].options))
    report = crnn.gradcheck(layer, np.random.default_rng(0).normal(size=(B, T, I)))
    assert not report.ok
    names = {"state": ("state", "state[0]")}.get(place, (place,))
    wrong = [row for row in report.rows if row.error > report.tolerance]
    assert [row.name in names for row in wrong] == [True]
    assert wrong[0].analytic / wrong[0].numeric == pytest.approx(1.01, rel=1e-6)
    assert "WRONG" in str(report)


@every_cell
def test_an_error_inside_a_composition_is_reported(kind):
    """Compositions, also Bidirectional in C, call an overridden backward."""
    cell = CELLS[kind]

    def broken():
        return spoiled(cell, "W_x")(I, I, **cell.options)

    for layer, name in (
        (crnn.Sequential([crnn.Dense(I, I), broken()]), "1.W_x"),
        (crnn.Residual(broken()), "layer.W_x"),
        (crnn.Bidirectional(broken()), "forward.W_x"),
    ):
        report = crnn.gradcheck(fill(layer), np.random.default_rng(0).normal(size=(B, T, I)))
        assert name in [row.name for row in report.rows if row.error > report.tolerance]
