"""Every cell agrees with the reference, for all number types, instruction sets and shapes."""

import copy
import functools
import gc
import re

import numpy as np
import pytest

import crnn
from crnn.layers.base.layer import Layer
from support.comparing import assert_close, assert_same_bits
from support.folders import ROOT
from support.running import copied, fill, leaves, like, valid_steps
from support.tables import CELLS, LAYERS, VARIED, every_cell

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}

# Differences of each variant from floats, zero states, a bias and full rows.
VARIANTS = {
    "plain": set(),
    "lengths": {"lengths"},
    "reverse": {"reverse"},
    "reverse-lengths": {"reverse", "lengths", "state"},
    "state": {"state"},
    "integers": {"integers"},
    "no-bias": {"no-bias"},
    "everything": {"lengths", "reverse", "state", "integers", "no-bias"},
}

# (B, T, I, H)
SHAPES = [
    (3, 4, 3, 5),
    (1, 4, 3, 5),
    (3, 1, 3, 5),
    (3, 4, 1, 5),
    (3, 4, 3, 1),
    (1, 1, 1, 1),
    (2, 3, 2, 17),
    (3, 0, 2, 5),
    (0, 3, 2, 5),
    (0, 0, 2, 5),
    # sizes around those of tiles: 3 or 7 rows, and 4 vectors of 1 to 16 columns
    (6, 2, 3, 15),
    (7, 3, 16, 16),
    (8, 3, 5, 33),
    (15, 2, 17, 4),
    (2, 2, 63, 63),
    (3, 2, 64, 64),
    (2, 2, 65, 65),
    (4, 1, 129, 130),
    # more tape rows than one block of the products over time (BLOCK_ROWS), also with lengths
    (40, 31, 3, 2),
]
LARGE = (16, 30, 70, 65)


def lengths_of(B, T):
    """Return lengths from 0 to T in an order that is not sorted."""
    return (np.arange(B) * 5 + 3 * (B > 1)) % (T + 1)


class Problem:
    """Parameters, inputs, and the results of the reference.

    All numbers can be represented in float32, so both number types have the same inputs.
    """

    def __init__(self, kind, variant, shape):
        B, T, I, H = shape
        rng, wants = np.random.default_rng([*shape, len(variant)]), VARIANTS[variant]
        twin = CELLS[kind].twin

        def draw(*size, scale=1.0):
            return rng.normal(0, scale, size).astype("float32")

        self.shape = shape
        self.options = {"bias": "no-bias" not in wants, "reverse": "reverse" in wants}
        shapes = twin.shapes(I, H, self.options["bias"])
        self.params = {
            name: draw(*size, scale=0.7 / np.sqrt(size[-1] if len(size) > 1 else 1))
            for name, size in shapes.items()
        }
        self.x = rng.integers(0, I, (B, T)) if "integers" in wants else draw(B, T, I)
        self.lengths = lengths_of(B, T) if "lengths" in wants else None
        parts = len(twin.state_names)
        self.state = self.dstate = None
        if "state" in wants:
            self.state = pack([draw(B, H) for _ in range(parts)])
        self.dy, self.dstate = draw(B, T, H), pack([draw(B, H) for _ in range(parts)])
        self.expected = self.twins_answer(twin)

    def twins_answer(self, twin):
        y, state, tape = twin.forward(
            self.params, self.x, self.state, self.lengths, self.options["reverse"]
        )
        dx, dstate, grads = twin.backward(self.params, tape, self.dy, self.dstate)
        return leaves(answer(y, state, tape, dx, dstate, grads))

    def layer(self, kind, dtype):
        layer = fresh(kind, *self.shape[2:], dtype, **self.options)
        layer.zero_grad()
        assert {name: array.shape for name, array in layer.params.items()} == {
            name: array.shape for name, array in self.params.items()
        }
        layer.load_state_dict(self.params)
        return layer

    def forward(self, layer):
        return layer.forward(self.x, self.state, lengths=self.lengths)

    def layers_answer(self, layer):
        y, state, tape = self.forward(layer)
        dx, dstate = layer.backward(tape, self.dy, self.dstate, trace=True)
        return leaves(answer(y, state, tape, dx, dstate, layer.grads))


@functools.lru_cache(None)
def fresh(kind, I, H, dtype, bias, reverse):
    """Return a cached layer, because drawing orthogonal weights takes most of the time."""
    return CELLS[kind](I, H, dtype=dtype, bias=bias, reverse=reverse, seed=0)


@functools.lru_cache(None)
def problem(kind, variant, shape):
    return Problem(kind, variant, shape)


def pack(parts):
    return parts[0] if len(parts) == 1 else tuple(parts)


def answer(y, state, tape, dx, dstate, grads):
    named = {"y": y, "state": state, "gates": tape.gates, "dx": dx, "dstate": dstate}
    named["grads"] = dict(grads)
    traced = {name: getattr(tape, name, None) for name in ("h", "c", "dh", "dc", "dgates")}
    return named | traced


# ------------------------------------------------------------------------------------- the oracle


@every_cell
@pytest.mark.parametrize("variant", VARIANTS)
def test_cells_agree_with_the_reference(kind, variant, dtype, isa):
    for shape in SHAPES:
        compare(kind, variant, shape, dtype)


@every_cell
def test_large_cells_agree_with_the_reference(kind, dtype, isa):
    """The sizes are large enough for several threads."""
    compare(kind, "reverse-lengths", LARGE, dtype)


def compare(kind, variant, shape, dtype):
    task = problem(kind, variant, shape)
    found = task.layers_answer(task.layer(kind, dtype))
    assert list(found) == list(task.expected)
    for name, array in found.items():
        assert array.dtype == dtype
        assert_close(array, task.expected[name], TOLERANCE[dtype], f"{name} of (B,T,I,H)={shape}")


@every_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_has_no_effect(kind, reverse, dtype):
    """y, dx and traces are 0 at padding; for a row of length 0 the state passes unchanged."""
    B, T, I, H = 5, 4, 3, 17
    rng = np.random.default_rng(0)
    layer, lengths = CELLS[kind](I, H, dtype=dtype, reverse=reverse, seed=1), [2, 0, 4, 0, 1]
    _, end, _ = layer.forward(np.zeros((B, T, I)))
    state, dend = like(end, rng), like(end, rng)
    y, end, tape = layer.forward(rng.normal(size=(B, T, I)), state, lengths=lengths)
    dx, dstate = layer.backward(tape, rng.normal(size=(B, T, H)), dend, trace=True)
    past = ~valid_steps(lengths, T)
    for name, array in leaves(answer(y, None, tape, dx, None, {})).items():
        assert not array[past].any(), name
        assert array[~past].any(axis=-1).all(), name
    nothing = np.equal(lengths, 0)
    for given, got in ((state, end), (dend, dstate)):
        for one, other in zip(leaves(given).values(), leaves(got).values(), strict=True):
            np.testing.assert_array_equal(one[nothing], other[nothing])


# --------------------------------------------------------------------------------- walking a tape


@every_cell
@pytest.mark.parametrize("variant", ["plain", "integers", "reverse-lengths"])
def test_backward_can_run_twice_and_gradients_add_up(kind, variant, dtype, isa):
    task = problem(kind, variant, (8, 3, 5, 33))
    layer = task.layer(kind, dtype)
    y, _, tape = task.forward(layer)
    tape_before = copied([tape.gates, tape.h])
    first = copied(layer.backward(tape, task.dy, task.dstate))
    once = copied(layer.grads)
    y[...] = np.nan  # the tape does not use the array of y
    second = copied(layer.backward(tape, task.dy, task.dstate))
    assert_same_bits(second, first)
    assert_same_bits([tape.gates, tape.h], tape_before)
    for name, grad in layer.grads.items():
        assert_close(grad, 2 * once[name], TOLERANCE[dtype], name)


@every_cell
def test_a_layer_in_two_places(kind):
    """A layer may have several tapes, and backward may use them in any order."""
    task, other = problem(kind, "lengths", (8, 3, 5, 33)), problem(kind, "plain", (3, 4, 5, 33))
    layer = task.layer(kind, "float64")
    alone = copied(layer.backward(task.forward(layer)[2], task.dy, task.dstate))
    first, second, unused = (one.forward(layer)[2] for one in (task, other, task))
    del unused
    layer.backward(second, other.dy, other.dstate)
    assert_same_bits(layer.backward(first, task.dy, task.dstate), alone)


@every_cell
def test_a_tape_outlives_its_layer_and_its_input(kind):
    task = problem(kind, "reverse-lengths", (8, 3, 5, 33))
    layer = copy.deepcopy(task.layer(kind, "float64"))
    other = copy.deepcopy(layer)
    expected = copied(layer.backward(task.forward(layer)[2], task.dy, task.dstate))
    tape = layer.forward(task.x.astype("float64"), task.state, lengths=task.lengths.copy())[2]
    del layer
    gc.collect()
    assert_same_bits(other.backward(tape, task.dy, task.dstate), expected)


@every_cell
def test_dy_none_is_zeros(kind, dtype, isa):
    task = problem(kind, "reverse-lengths", (8, 3, 5, 33))
    layer = task.layer(kind, dtype)
    found = []
    for dy in (None, np.zeros_like(task.dy)):
        layer.zero_grad()
        _, _, tape = task.forward(layer)
        result = layer.backward(tape, dy, task.dstate)
        found.append(copied([result, dict(layer.grads)]))
    assert any(array.any() for array in found[0].values())
    for name, array in found[0].items():  # -0 and 0 are the same here
        np.testing.assert_array_equal(array, found[1][name], err_msg=name)


@every_cell
def test_a_trace_exists_only_if_requested(kind):
    task = problem(kind, "plain", (3, 4, 3, 5))
    layer = task.layer(kind, "float64")
    _, _, tape = task.forward(layer)
    layer.backward(tape, task.dy, task.dstate)
    pair = len(CELLS[kind].twin.state_names) == 2
    for name in ("dgates", "W_h_terms", "dh", "dc") if pair else ("dgates", "W_h_terms", "dh"):
        with pytest.raises(AttributeError, match="trace=True"):
            getattr(tape, name)
    layer.backward(tape, task.dy, task.dstate, trace=True)
    traced = tape.dh.copy()
    layer.backward(tape, 2 * task.dy, None)  # without trace: the earlier trace is kept
    assert_same_bits(tape.dh, traced)
    layer.backward(tape, None, None, trace=True)
    assert not tape.dh.any()
    if not pair:
        for name in ("c", "dc"):
            with pytest.raises(
                AttributeError, match=f"^{name}: expected the tape of a cell with the state"
            ):
                getattr(tape, name)


# ------------------------------------------------------------------------- what layers are made of

MERGED = {
    "concat": lambda one, two: np.concatenate([one, two], axis=2),
    "sum": np.add,
    "mean": lambda one, two: (one + two) / 2,
    "mul": np.multiply,
}


@every_cell
@pytest.mark.parametrize("merge", MERGED)
@pytest.mark.parametrize("ends", [None, [2, 0, 4]], ids=["full", "lengths"])
def test_bidirectional_is_both_directions_merged(kind, merge, ends):
    layer = fill(crnn.Bidirectional(CELLS[kind](3, 5, dtype="float64"), merge))
    x, twin, found = np.random.default_rng(0).normal(size=(3, 4, 3)), CELLS[kind].twin, []
    for part, reverse in ((layer.forward_layer, False), (layer.backward_layer, True)):
        found.append(twin.forward(part.params, x, lengths=ends, reverse=reverse)[:2])
    y, states = layer(x, lengths=ends)
    assert isinstance(states, tuple)
    assert_close(y, MERGED[merge](found[0][0], found[1][0]), 1e-12)
    expected = leaves([state for _, state in found])
    for name, array in leaves(list(states)).items():
        assert_close(array, expected[name], 1e-12, name)


def test_compositions_are_their_parts(dtype):
    rng = np.random.default_rng(0)
    x, ends = rng.normal(size=(3, 4, 3)).astype(dtype), [2, 0, 4]
    first, second = (fill(crnn.GRU(3, 3, dtype=dtype, seed=seed)) for seed in (1, 2))
    middle, states = first(x, lengths=ends)
    y, last = second(middle, states, lengths=ends)
    found, found_states = crnn.Sequential([first, second])(x, [None, states], lengths=ends)
    assert isinstance(found_states, list)
    assert_same_bits([found, found_states], [y, [states, last]])
    y, last = first(x, states, lengths=ends)
    there = valid_steps(ends, 4)[:, :, None]
    assert_same_bits(
        crnn.Residual(first)(x, states, lengths=ends), (np.where(there, x + y, y), last)
    )


@every_cell
@pytest.mark.parametrize("ends", [None, [2, 0, 4]], ids=["full", "lengths"])
@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
def test_an_embedding_before_a_cell_agrees_with_its_vectors(kind, ends, reverse, dtype):
    """Some symbols occur several times, others never."""
    rng = np.random.default_rng(0)
    table = fill(crnn.Embedding(9, 6, dtype=dtype))
    layer = fill(CELLS[kind](6, 17, dtype=dtype, reverse=reverse))
    symbols, found = rng.integers(0, 7, (3, 4)), []
    _, state = layer(table(symbols)[0])
    state, dstate, dy = like((state, state, np.zeros((3, 4, 17), dtype)), rng)

    def with_gradients(y, end, back):
        grads = [copied(part.grads) for part in (table, layer)]
        table.zero_grad()
        layer.zero_grad()
        return leaves([y, end, back, grads])

    vectors, _, table_tape = table.forward(symbols, lengths=ends)
    y, end, tape = layer.forward(vectors, state, lengths=ends)
    dvectors, back = layer.backward(tape, dy, dstate)
    table.backward(table_tape, dvectors)
    found.append(with_gradients(y, end, back))
    whole = crnn.Sequential([table, layer])
    y, ends_found, tape = whole.forward(symbols, [None, state], lengths=ends)
    assert_same_bits(whole(symbols, [None, state], lengths=ends), (y, ends_found))
    assert tuple(tape[1].gates) == layer.gate_order
    dx, back = whole.backward(tape, dy, [None, dstate])
    assert dx is None
    assert ends_found[0] is back[0] is None
    found.append(with_gradients(y, ends_found[1], back[1]))
    expected, found = found
    assert list(found) == list(expected)
    for name, array in found.items():
        assert_close(array, expected[name], TOLERANCE[dtype], name)


@pytest.mark.parametrize("ends", [None, [2, 0, 4]], ids=["full", "lengths"])
def test_pointwise_layers_are_their_definitions(ends, dtype):
    rng = np.random.default_rng(0)
    x, symbols = rng.normal(size=(3, 4, 6)), rng.integers(0, 6, (3, 4))
    dense, norm = fill(crnn.Dense(6, 20, dtype=dtype)), fill(crnn.LayerNorm(6, dtype=dtype))
    table = fill(crnn.Embedding(6, 20, dtype=dtype))
    spread = np.sqrt(x.var(axis=2, keepdims=True) + norm.eps)
    normal = (x - x.mean(axis=2, keepdims=True)) / spread
    valid = np.ones((3, 4), bool) if ends is None else valid_steps(ends, 4)
    for layer, given, expected in (
        (dense, x, x @ dense.params["W"].T + dense.params["b"]),
        (norm, x, norm.params["gain"] * normal + norm.params["bias"]),
        (table, symbols, table.params["W"][symbols]),
    ):
        y, state = layer(given, lengths=ends)
        assert state is None
        assert y.dtype == dtype
        assert_close(y[valid], expected[valid], TOLERANCE[dtype])


# ------------------------------------------------------------------------------------- the tables


def test_tables_are_complete():
    """The tables of support/tables.py have every cell of the core and every layer class."""
    cells_def = ROOT / "csrc" / "core" / "cells.def"
    rows = re.findall(r"^CRNN_CELL\((\w+),", cells_def.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(CELLS) == sorted(row.lower() for row in rows)
    classes = {cls for cls in Layer.registry.values() if cls.__module__.startswith("crnn.layers")}
    made = {type(part) for subject in LAYERS.values() for part in parts_of(subject.make("float32"))}
    shown = {cls for cls in classes if getattr(crnn, cls.__name__, None) is cls}
    # elsewhere: the input of a Conditioned is a pair, and an RLS has float64 alone
    assert shown - {Layer, crnn.Temporal, crnn.Conditioned, crnn.RLS} <= made
    for kind, cell in CELLS.items():
        varied = {
            name for other in VARIED.values() if other.layer is cell.layer for name in other.options
        }
        own = {"bias", "reverse", "dtype"}
        assert cell(1, 1).options.keys() - own - cell.options.keys() <= varied, kind


def parts_of(layer):
    yield layer
    for part in getattr(layer, "parts", {}).values():
        yield from parts_of(part)
