"""Dropout of the NumPy reference: the generator, and every mask computed by plain loops."""

import numpy as np
import pytest

import crnn._core as _core
from crnn import reference
from support.comparing import assert_close
from support.philox import VECTORS, philox
from support.twin_options import (
    CELLS,
    LENGTHS,
    MASK,
    NAMES,
    RESETS,
    RUNS,
    B,
    H,
    Problem,
    T,
    every_cell,
    every_cell_with_W_h,
    make,
)
from support.twins import packed, unpacked

RECURRENT_DROPOUT, ZONEOUT_H, ZONEOUT_C, WEIGHT_DROP = 1, 2, 3, 4  # `kind`, as in the core


@pytest.mark.parametrize(("counter", "key", "answer"), VECTORS)
def test_philox_has_the_known_answers(counter, key, answer):
    counter, key, answer = ([int(w, 16) for w in text.split()] for text in (counter, key, answer))
    found = reference.philox([np.uint64(w) for w in key], [np.uint64(w) for w in counter])
    assert [int(word) for word in found] == answer


def test_philox_is_the_cores():
    seed, stream, count = 0x123456789ABCDEF0, 0xFEDCBA9876543210, 50
    key, names = ([word & 0xFFFFFFFF, word >> 32] for word in (seed, stream))
    block = np.arange(count, dtype=np.uint64)
    zero, words = np.uint64(0), [np.uint64(word) for word in names]
    a, b, c, d = reference.philox([np.uint64(word) for word in key], [block, zero, *words])
    doubles = [
        ((high << np.uint64(32) | low) >> np.uint64(11)) / 2**53 for high, low in ((a, b), (c, d))
    ]
    expected = _core.random_uniform(seed, stream, 0, 2 * count)
    np.testing.assert_array_equal(np.stack(doubles, axis=1).ravel(), expected)


def number(kind, row, step, unit, *, seed, call, layer):
    """Return the number of the generator, computed with Python integers."""

    def halves(word):
        return word & 0xFFFFFFFF, word >> 32

    key = philox(halves(seed), (*halves(call), layer, kind))[:2]
    return philox(key, (unit // 4, step, *halves(row)))[unit % 4]


KEYS = [
    {"seed": 0, "call": 0, "layer": 0},
    {"seed": 2**64 - 1, "call": 2**33 + 5, "layer": 2**32 - 1},
]


@pytest.mark.parametrize("key", KEYS, ids=["zeros", "large"])
def test_numbers_have_their_names(key):
    rows, units = [0, 3, 2**32 - 1, 2**40], range(9)
    draws = reference.Draws(**key)
    for kind, step in ((0, 0), (3, 2**31)):
        found = draws.numbers(kind, np.c_[rows], step, np.array(units))
        expected = [[number(kind, row, step, unit, **key) for unit in units] for row in rows]
        assert found.tolist() == expected
    for p in (0.0, 0.25, 0.3, 0.9999):
        found = draws.hits(p, 2, np.c_[rows], 1, np.array(units))
        limit = int(np.floor(p * 2**32))
        expected = [[number(2, row, 1, unit, **key) < limit for unit in units] for row in rows]
        assert found.tolist() == expected


def test_as_many_are_dropped_as_asked_for():
    hits = reference.Draws(seed=4).hits(0.3, 1, np.arange(300)[:, None], 0, np.arange(400))
    assert abs(hits.mean() - 0.3) < 5 * np.sqrt(0.21 / hits.size)
    mask = reference.Draws(seed=4).mask(0.3, 1, np.arange(300)[:, None], 0, np.arange(400))
    np.testing.assert_array_equal(mask, np.where(hits, 0, 1 / 0.7))


def dropped(p, kind, row, step, unit):
    key = {name: NAMES[name] for name in ("seed", "call", "layer")}
    return number(kind, row, step, unit, **key) < int(p * 2**32)


def with_masks(shape, p, entry):
    return np.array([(not entry(*i)) / (1 - p) for i in np.ndindex(shape)]).reshape(shape)


@every_cell_with_W_h
def test_weight_drop_is_a_sparser_W_h(kind):
    problem = Problem(make(kind, "weight_drop"))
    found = problem.forward(**NAMES)
    W_h = problem.params["W_h"]
    mask = with_masks(W_h.shape, 0.4, lambda j, k: dropped(0.4, WEIGHT_DROP, k, 0, j))
    assert 0 < np.count_nonzero(mask) < mask.size
    problem.params["W_h"] = W_h * mask
    assert_close(found[0], problem.forward(make(kind))[0], 1e-14)


@every_cell_with_W_h
def test_recurrent_dropout_is_one_sparser_h_a_row(kind):
    """``W_h (m∘h)`` is (W_h with its columns times m) h: each row has another W_h."""
    problem = Problem(make(kind, "recurrent_dropout"))
    y, _, _ = problem.forward(**NAMES)
    mask = with_masks(
        (B, H), 0.4, lambda row, k: dropped(0.4, RECURRENT_DROPOUT, NAMES["first_row"] + row, 0, k)
    )
    assert 0 < np.count_nonzero(mask) < mask.size
    for row in range(B):
        params = problem.params | {"W_h": problem.params["W_h"] * mask[row]}
        state = packed([part[[row]] for part in problem.state])
        alone, _, _ = make(kind).forward(params, problem.x[[row]], state)
        assert_close(y[[row]], alone, 1e-14)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, "zoneout") for kind in CELLS] + [("lstm", "zoneout-pair")]
)
@pytest.mark.parametrize("training", [True, False])
def test_zoneout_keeps_the_old_state(kind, name, training):
    problem = Problem(make(kind, name))
    _, end, tape = problem.forward(**NAMES, training=training)
    state = problem.state
    for t in range(T):
        x = problem.x[:, t : t + 1]
        new = unpacked(make(kind).forward(problem.params, x, packed(state))[1])
        after = []
        for k, p in enumerate(problem.cell.zoneouts):
            d = np.full((B, H), p)
            if training:
                for row, unit in np.ndindex(B, H):
                    seen = NAMES["first_row"] + row
                    d[row, unit] = dropped(p, (ZONEOUT_H, ZONEOUT_C)[k], seen, t, unit)
            after.append(d * state[k] + (1 - d) * new[k])
        state = after
        for part, expected in zip(problem.cell.state_names, state, strict=True):
            assert_close(vars(tape)[part][:, t], expected, 1e-13)
    for found, expected in zip(unpacked(end), state, strict=True):
        assert_close(found, expected, 1e-13)


@every_cell
def test_a_row_drops_the_same_units_in_any_batch(kind):
    problem = Problem(make(kind, "everything"))
    y, _, _ = problem.forward(**RUNS["holes"], **NAMES)
    for row in range(B):
        options = NAMES | {"first_row": NAMES["first_row"] + row, "lengths": [LENGTHS[row]]}
        state = packed([part[[row]] for part in problem.state])
        alone, _, _ = problem.cell.forward(
            problem.params, problem.x[[row]], state,
            mask=MASK[[row]], resets=RESETS[[row]], **options,
        )  # fmt: skip
        np.testing.assert_allclose(alone, y[[row]], rtol=0, atol=1e-14)


@every_cell_with_W_h
def test_evaluation_drops_nothing(kind):
    cell = CELLS[kind](recurrent_dropout=0.5, weight_drop=0.5)
    problem = Problem(cell)
    plain = problem.forward(make(kind))[0]
    np.testing.assert_array_equal(problem.forward(training=False)[0], plain)
    assert (problem.forward()[0] != plain).any()
    assert (problem.forward()[0] != problem.forward(call=1)[0]).any()
