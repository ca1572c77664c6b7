"""Jacobians of states, compared with products of finite differences; the memory length."""

import copy

import numpy as np
import pytest

import crnn
from crnn.diagnostics import memory_length, state_jacobians
from support.comparing import assert_close, assert_same_bits
from support.displays import check_display
from support.running import fill, leaves
from support.stubs import Leaky, Times
from support.tables import CELLS, VARIED

pytestmark = pytest.mark.filterwarnings("error")

B, T, I, H, K = 3, 6, 3, 4, 5
LENGTHS = np.array([6, 0, 4])
STEP = 5e-7  # small: normalised sums are strongly curved where their variance is about 1e-5


# ------------------------------------------------------------------------------- finite differences


def flat(state):
    """Return all arrays of a state side by side, (B, S)."""
    return np.concatenate(
        [
            part.reshape(len(part), np.prod(part.shape[1:], dtype=int))
            for part in leaves(state).values()
        ],
        axis=1,
    )


def unflat(state, numbers):
    """Return numbers (B, S) in the structure of a state."""
    if isinstance(state, list | tuple):
        parts = []
        for part in state:
            size = flat(part).shape[1] if leaves(part) else 0
            parts.append(unflat(part, numbers[:, :size]))
            numbers = numbers[:, size:]
        return type(state)(parts)
    return None if state is None else numbers.reshape(state.shape)


def marks(seed=3):
    rng = np.random.default_rng(seed)
    mask, resets = rng.random((B, T)) < 0.8, rng.random((B, T)) < 0.2
    return {"lengths": LENGTHS, "mask": mask, "resets": resets}


def at_step(given, t):
    """Return the options for a run of step t alone."""
    one = {name: given[name][:, t : t + 1] for name in ("mask", "resets") if name in given}
    if "lengths" in given:
        one["lengths"] = np.clip(given["lengths"] - t, 0, 1)
    return one


def begun_anew(layer, state, given, t):
    """Return the state before step t of a layer that reads backwards, after a reset at t + 1."""
    cut = given["resets"][:, t + 1] & (t + 1 < given["lengths"])
    fresh = flat(layer(np.zeros((B, 0, layer.input_size)))[1])
    return unflat(state, np.where(cut[:, None], fresh, flat(state)))


def differences(layer, x, state=None, *, reverse=False, **given):
    """Return ∂s_T/∂s_t (B, T, S, S) as products of central differences of single steps."""
    state = layer(x[:, :0], state)[1]
    steps, single = range(x.shape[1])[:: -1 if reverse else 1], {}
    for t in steps:
        numbers, like = flat(state), state

        def after(numbers, t=t, like=like):
            before = unflat(like, numbers)
            if reverse and "resets" in given and t + 1 < x.shape[1]:
                before = begun_anew(layer, before, given, t)
            return flat(layer(x[:, t : t + 1], before, **at_step(given, t))[1])

        e = STEP * np.eye(numbers.shape[1])
        moved = [(after(numbers + unit) - after(numbers - unit)) / (2 * STEP) for unit in e]
        single[t] = np.stack(moved, axis=2)
        state = unflat(like, after(numbers))
    S = flat(state).shape[1]
    found, product = np.zeros((*x.shape[:2], S, S)), np.tile(np.eye(S), (len(x), 1, 1))
    for t in reversed(steps):
        found[:, t], product = product, product @ single[t]
    found[np.arange(x.shape[1]) >= given.get("lengths", np.full(len(x), T))[:, None]] = 0
    return found


def random_state(layer, x, seed=4):
    rng = np.random.default_rng(seed)
    like = layer(x[:, :0])[1]
    return unflat(like, rng.normal(size=flat(like).shape))


def floats(seed=1, features=I):
    return np.random.default_rng(seed).normal(size=(B, T, features))


def symbols(count=K, seed=1):
    return np.random.default_rng(seed).integers(0, count, (B, T))


def assert_agrees(found, expected):
    """Compare matrices, norms and singular values with matrices (B, T, S, S)."""
    values = np.linalg.svd(expected, compute_uv=False)
    assert_close(found.matrices, expected, 1e-6)
    assert_close(found.norms, values[:, :, 0], 1e-6)
    assert_close(found.singular_values, values[:, :, : found.singular_values.shape[2]], 1e-6)


def check(layer, x, reverse=False):
    """Check a call without options, and one with all of them."""
    for state, given in ((None, {}), (random_state(layer, x), marks())):
        found = state_jacobians(layer, x, state, singular_values=3, matrices=True, **given)
        assert list(found.parts) == [""]
        assert_agrees(found, differences(layer, x, state, reverse=reverse, **given))


# ------------------------------------------------------------------------------ recurrent layers


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", CELLS)
def test_every_cell(kind, reverse):
    layer = fill(CELLS[kind](I, H, dtype="float64", reverse=reverse))
    check(layer, floats(), reverse)
    check(layer, symbols(I), reverse)


SAMPLE = ["layer_norm", "clip", "learn_state", "zoneout", "zoneouts", "peepholes", "projected"]
SAMPLE += ["leak", "learn_leak", "hard", "output", "common-zoneout", "all"]


@pytest.mark.parametrize("name", [name for name in VARIED if name.partition("-")[2] in SAMPLE])
def test_options(name):
    check(fill(VARIED[name](I, H, dtype="float64", seed=7)), floats())


# ---------------------------------------------------------------------------------- compositions


def seq(*layers):
    return crnn.Sequential(list(layers))


def _gru(width=I, units=H):
    return crnn.GRU(width, units, dtype="float64", seed=1)


def _lstm(width=I, units=H):
    return crnn.LSTM(width, units, dtype="float64", seed=2)


def _dense(width=H):
    return crnn.Dense(width, 2, dtype="float64", seed=3)


STACKS = {
    "stack": (lambda: seq(_lstm(), crnn.Dropout(0.5), _gru(H, 3), _dense(3)), floats),
    "nested": (lambda: seq(seq(_gru(), crnn.LayerNorm(H, dtype="float64")), _gru(H)), floats),
    "embedded": (
        lambda: seq(crnn.Embedding(K, I, dtype="float64"), _gru(), _lstm(H, 2)),
        symbols,
    ),
    "residual": (lambda: crnn.Residual(crnn.JANET(I, I, dtype="float64")), floats),
    "checkpointed": (lambda: crnn.Checkpointed(seq(_lstm(), _gru(H, 2)), 4), floats),
    "pooled": (lambda: seq(_gru(), crnn.Pool("mean"), _dense()), floats),
}


@pytest.mark.parametrize("name", STACKS)
def test_layers_on_top_of_each_other_have_one_state(name):
    make, inputs = STACKS[name]
    check(fill(make()), inputs())


@pytest.mark.parametrize("stacked", [False, True])
def test_a_state_from_fixed_data(stacked):
    inside, top = fill(_gru()), fill(_gru(H, 2))
    first = crnn.Conditioned(inside, fill(crnn.Dense(2, H, dtype="float64")))
    layer, alone = (seq(first, top), seq(inside, top)) if stacked else (first, inside)
    x, fixed = floats(), np.random.default_rng(2).normal(size=(B, 2))
    _, start = layer((x[:, :0], fixed))
    options = {"singular_values": 2, "matrices": True}
    for state in (None, random_state(alone, x)):
        for given in ({}, marks()):
            found = state_jacobians(layer, (x, fixed), state, **options, **given)
            assert list(found.parts) == [""]
            begun = start if state is None else state
            assert_agrees(found, differences(alone, x, begun, **given))


def test_two_directions_are_two_blocks():
    layer, x = fill(crnn.Bidirectional(_lstm())), floats()
    for state, given in ((None, {}), (random_state(layer, x), marks())):
        found = state_jacobians(layer, x, state, matrices=True, singular_values=8, **given)
        assert list(found.parts) == ["forward", "backward"]
        ends = state or (None, None)
        there = differences(layer.forward_layer, x, ends[0], **given)
        back = differences(layer.backward_layer, x, ends[1], reverse=True, **given)
        assert_close(found.parts["forward"].matrices, there, 1e-6)
        assert_close(found.parts["backward"].matrices, back, 1e-6)
        whole = np.zeros((B, T, 4 * H, 4 * H))
        whole[:, :, : 2 * H, : 2 * H], whole[:, :, 2 * H :, 2 * H :] = there, back
        assert_agrees(found, whole)


def test_each_run_of_layers_in_one_direction_is_a_block():
    both, top = crnn.Bidirectional(_gru()), _gru(2 * H)
    layer = fill(seq(both, top, crnn.Pool(), _dense()))
    x, given = floats(), marks()
    found = state_jacobians(layer, x, matrices=True, **given)
    assert list(found.parts) == ["0.forward", "0.backward", "1..3"]
    y, _ = both(x, **given)
    blocks = [
        differences(both.forward_layer, x, **given),
        differences(both.backward_layer, x, reverse=True, **given),
        differences(top, y, **given),
    ]
    for part, block in zip(found.parts.values(), blocks, strict=True):
        assert_close(part.matrices, block, 1e-6)
    norms = [np.linalg.norm(block, 2, axis=(2, 3)) for block in blocks]
    assert_close(found.norms, np.max(norms, axis=0), 1e-6)
    conditioned = crnn.Conditioned(both, crnn.Dense(2, 2 * H))
    found = state_jacobians(conditioned, (x, np.ones((B, 2))))
    assert list(found.parts) == ["layer.forward", "layer.backward"]


def test_a_layer_that_reads_back_inside_others():
    back = crnn.GRU(H, 2, dtype="float64", seed=4, reverse=True)
    layer, x = fill(seq(_lstm(), back)), floats()
    found = state_jacobians(layer, x, **marks())
    assert list(found.parts) == ["0", "1"]
    y, _ = layer.layers[0](x, **marks())
    for part, expected in (
        (found.parts["0"], differences(layer.layers[0], x, **marks())),
        (found.parts["1"], differences(back, y, reverse=True, **marks())),
    ):
        assert_close(part.norms, np.linalg.norm(expected, 2, axis=(2, 3)), 1e-6)


# ------------------------------------------------------------------------------- layers of others


def test_a_layer_with_the_methods_of_a_layer_only():
    x = floats()
    found = state_jacobians(Times(), x, matrices=True)
    for t in range(T):
        expected = x[:, t + 1 :].prod(axis=1)[:, :, None] * np.eye(I)
        assert_close(found.matrices[:, t], expected, 1e-12)
    assert_close(state_jacobians(Times(), x[..., None]).norms, found.norms, 1e-12)  # (B, 3, 1)
    stacked = seq(Times(), fill(_gru()))
    assert_agrees(
        state_jacobians(stacked, x, matrices=True, singular_values=3), differences(stacked, x)
    )


def test_a_recurrent_layer_of_another_maker():
    layer, x = Leaky(I, seed=3), floats()
    check(layer, x)
    check(seq(layer, fill(_lstm())), x)


class Doubled(crnn.GRU):
    """Reads 2x; its backward returns three times the gradient of the initial state."""

    def __call__(self, x, state=None, **options):
        return super().__call__(2 * x, state, **options)

    def forward(self, x, state=None, **options):
        return super().forward(2 * x, state, **options)

    def backward(self, tape, dy, dstate=None, **options):
        dx, dbefore = super().backward(tape, dy, dstate, **options)
        return 2 * dx, 3 * dbefore


def test_overridden_methods_are_those_that_run():
    layer, x = fill(Doubled(I, H, dtype="float64", seed=0)), floats()
    plain = _gru()
    plain.load_state_dict(layer.state_dict())
    found, own = state_jacobians(layer, x).norms, state_jacobians(plain, 2 * x).norms
    assert_close(found, own * 3.0 ** np.arange(T)[::-1], 1e-12)


class Neighbours(Times):
    """A layer without a state: y is the mean of three steps."""

    def forward(self, x, state=None, *, training=True):
        wide = np.pad(x, ((0, 0), (1, 1), (0, 0)))
        return (wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]) / 3, None, None


def test_a_step_that_depends_on_other_steps_is_refused():
    with pytest.raises(ValueError, match="layer: expected one whose state is computed from the"):
        state_jacobians(seq(Neighbours(), _gru()), floats())


# ----------------------------------------------------------------------------------- known answers


def linear(W_h, dtype="float64"):
    layer = crnn.RNN(2, len(W_h), activation="identity", dtype=dtype, seed=0)
    layer.params["W_h"] = W_h
    return layer


def orthogonal(size=5):
    return np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))[0]


def test_an_orthogonal_linear_recurrence_keeps_everything():
    found = state_jacobians(linear(orthogonal()), np.ones((2, 300, 2)), singular_values=5)
    np.testing.assert_allclose(found.norms, 1, rtol=1e-12)
    np.testing.assert_allclose(found.singular_values, 1, rtol=1e-12)


@pytest.mark.parametrize("rho", [0.2, 0.9, 1.01, 6.0])
def test_powers_beyond_what_floats_hold(rho):
    layer = linear(rho * orthogonal(), "float64")
    layer.params["W_x"] = 0
    layer.params["b"] = 0
    steps = 1000
    found = state_jacobians(layer, np.ones((1, steps, 2)), matrices=True)
    distance = np.arange(steps)[::-1]
    with np.errstate(all="ignore"):
        expected = np.float64(rho) ** distance
    normal = (expected > 1e-300) & (expected < np.inf)
    np.testing.assert_allclose(found.norms[0, normal], expected[normal], rtol=1e-12)
    assert np.all(found.norms[0, expected == np.inf] == np.inf)
    assert np.all(found.norms[0, expected == 0] == 0)
    assert {0.2: expected[0] == 0, 6.0: expected[0] == np.inf}.get(rho, True)
    known = np.linalg.norm(found.matrices[0, -9:], 2, axis=(1, 2))
    np.testing.assert_allclose(known, found.norms[0, -9:], rtol=1e-12)


def test_a_chaotic_network_is_no_foreign_one():
    layer = fill(crnn.RNN(2, 16, dtype="float64", seed=0), scale=2.0)
    found = state_jacobians(layer, np.random.default_rng(0).normal(size=(2, 400, 2)))
    assert found.norms[0, 0] > 1e10


def test_float32_is_computed_in_float64():
    layer = fill(crnn.LSTM(I, H, dtype="float32"))
    wide = layer.astype("float64")
    x = floats().astype("float32")
    found = state_jacobians(layer, x, matrices=True)
    assert found.matrices.dtype == found.norms.dtype == np.float64
    assert_same_bits(
        found.matrices, state_jacobians(wide, x.astype("float64"), matrices=True).matrices
    )


def test_a_reset_makes_earlier_derivatives_zero():
    resets = np.zeros((B, T), bool)
    resets[:, 3] = True
    norms = state_jacobians(fill(_gru()), floats(), resets=resets).norms
    assert np.all(norms[:, :3] == 0)
    assert np.all(norms[:, 3:] > 0)
    mask = np.ones((B, T), bool)
    mask[:, 4] = False
    norms = state_jacobians(fill(_gru()), floats(), mask=mask).norms
    np.testing.assert_array_equal(norms[:, 3], norms[:, 4])


@pytest.mark.parametrize("sizes", [(0, T), (B, 0), (0, 0)])
@pytest.mark.parametrize("make", [_gru, lambda: crnn.Bidirectional(_lstm()), STACKS["stack"][0]])
def test_no_rows_and_no_steps(make, sizes):
    layer = make()
    found = state_jacobians(layer, np.zeros((*sizes, I)), matrices=True, singular_values=2)
    S = flat(layer(np.zeros((*sizes, I)))[1]).shape[1]
    assert found.norms.shape == sizes
    assert found.matrices.shape == (*sizes, S, S)
    assert found.singular_values.shape == (*sizes, 2)
    assert np.isnan(found.memory()).all()


def test_the_same_in_blocks(monkeypatch):
    layer, x = fill(_lstm()), floats()
    whole = state_jacobians(layer, x, matrices=True, **marks()).matrices
    monkeypatch.setattr("crnn.diagnostics.chains._BLOCK_BYTES", 1)  # byte: a step at a time
    assert_same_bits(state_jacobians(layer, x, matrices=True, **marks()).matrices, whole)


def test_layer_and_arguments_do_not_change():
    layer = fill(STACKS["stack"][0]())
    for grad in layer.grads.values():
        grad[...] = 7
    x, state, given = floats(), random_state(layer, floats()), marks()
    before = copy.deepcopy((dict(layer.params), dict(layer.grads), x, state, given))
    first = state_jacobians(layer, x, state, **given).norms
    memory_length(layer, x, state, **given)
    assert_same_bits((dict(layer.params), dict(layer.grads), x, state, given), before)
    assert_same_bits(state_jacobians(layer, x, state, **given).norms, first)
    assert state_jacobians(layer, x).matrices is None
    assert state_jacobians(layer, x).singular_values is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_shown_without_a_warning(bad):
    layer = crnn.RNN(I, H, activation="identity", dtype="float64", seed=0)
    layer.params["W_h"][0, 0] = bad
    norms = state_jacobians(layer, floats()).norms
    assert np.all(norms[:, -1] == 1)
    assert not np.isfinite(norms[:, :-1]).any()


# ---------------------------------------------------------------------------------------- memory


def memory(*factors, lengths=None, fraction=0.01, **given):
    """Return the memory of steps with these Jacobians, in the order of x; the first is not used."""
    x = np.array(factors, np.float64).reshape(1, -1, 1)
    return memory_length(Times(), x, lengths=lengths, fraction=fraction, **given).steps.tolist()


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ((9, 0.5, 0.5, 0.5), [np.inf]),  # 1/8 at the farthest
        ((9, 0.1, 0.1, 0.1), [3]),  # 1, 0.1, 0.01 counts as not below, 0.001
        ((9, 0.1, 0.1, 0.09), [2]),
        ((9, 0.1, 0.001, 0.5), [2]),
        ((9, 0.05, 100, 0.001), [3]),  # 1, 0.001, 0.1, 0.005: falls, rises, falls
        ((9, 0.01, 50, 0.001), [3]),  # 1, 0.001, 0.05, 0.0005
        ((9, 2, 50, 0.001), [np.inf]),  # 1, 0.001, 0.05, 0.1
        ((9, 3, 2, 2), [np.inf]),
        ((9, 0, 0, 0), [1]),
        ((9,), [np.inf]),
        ((), [np.nan]),
    ],
)
def test_memory_by_hand(factors, expected):
    np.testing.assert_array_equal(memory(*factors), expected)


def test_memory_of_other_fractions():
    assert memory(9, 0.5, 0.5, 0.5, 0.5, fraction=0.3) == [2]
    assert memory(9, 0.5, 0.5, 0.5, 0.5, fraction=0.25) == [3]
    assert memory(9, 2, 2, 2, fraction=5) == [np.inf]
    found = state_jacobians(Times(), np.full((2, 5, 1), 0.5))
    assert found.memory(0.3).tolist() == [2, 2]
    assert found.memory().tolist() == [np.inf, np.inf]


def test_memory_of_rows_that_end():
    W_h = np.diag([0.3, 0.2])
    found = memory_length(linear(W_h), np.ones((4, 8, 2)), lengths=[8, 0, 3, 5], fraction=0.05)
    np.testing.assert_array_equal(found.steps, [3, np.nan, np.inf, 3])  # 1, .3, .09, .027
    assert found.fraction == 0.05
    np.testing.assert_array_equal(found.columns["length"], [8, 0, 3, 5])
    layer = crnn.RNN(2, 2, activation="identity", dtype="float64", reverse=True)
    layer.params["W_h"] = W_h
    found = memory_length(layer, np.ones((4, 8, 2)), lengths=[8, 0, 3, 5], fraction=0.05)
    np.testing.assert_array_equal(found.steps, [3, np.nan, np.inf, 3])


def test_the_longer_memory_of_two_directions_counts():
    layer = crnn.Bidirectional(crnn.RNN(2, 2, activation="identity", dtype="float64"))
    layer.forward_layer.params["W_h"] = 0.3 * np.eye(2)
    layer.backward_layer.params["W_h"] = 0.6 * np.eye(2)
    found = memory_length(layer, np.ones((1, 20, 2)))
    assert found.steps.tolist() == [10]  # 0.6**9 = 0.0101
    assert found.jacobians.parts["forward"].memory(0.01).tolist() == [4]


def test_distances_from_the_end():
    x = np.cumsum(np.ones((2, 5, 1)), axis=1)  # 1, 2, 3, 4, 5
    layer = fill(crnn.GRU(1, 2, dtype="float64", reverse=True))
    found = state_jacobians(layer, x, lengths=[5, 3]).parts[""]
    assert found.back.tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, -1, -1]]
    np.testing.assert_array_equal(found.by_distance[0], found.norms[0, ::-1])
    np.testing.assert_array_equal(found.by_distance[1, 2:], found.norms[1, 2::-1])
    assert found.by_distance[1, :2].tolist() == [0, 0]
    found = state_jacobians(fill(_gru(1)), x, lengths=[5, 3]).parts[""]
    assert found.back.tolist() == [[4, 3, 2, 1, 0], [2, 1, 0, -1, -1]]
    np.testing.assert_array_equal(found.by_distance[1, 2:], found.norms[1, :3])


# -------------------------------------------------------------------------------- tables, pictures


def test_tables_and_pictures():
    layer = fill(crnn.Bidirectional(_gru()))
    found = state_jacobians(layer, floats(), lengths=LENGTHS)
    check_display(found)
    columns = found.columns
    assert columns["part"].tolist() == ["forward"] * 10 + ["backward"] * 10
    for part, row, step, norm in zip(
        *(columns[name] for name in ("part", "row", "step", "norm")), strict=True
    ):
        assert norm == found.parts[part].norms[row, step]
    assert columns["steps_back"][-4:].tolist() == [0, 1, 2, 3]
    check_display(state_jacobians(fill(_gru()), floats()))
    check_display(memory_length(linear(0.5 * np.eye(2)), np.ones((2, 20, 2))))
    check_display(memory_length(fill(_gru()), floats(), lengths=LENGTHS))


# -------------------------------------------------------------------------------------- wrong calls


def pair_model():
    parts = crnn.GRU(2, 3, seed=0), crnn.GRU(2, 3, seed=0)
    return crnn.Seq2Seq(*parts, source_symbols=4, target_symbols=4, seed=0)


X = floats()
WRONG = [
    ((None, X), TypeError, "layer: expected a layer, got None"),
    ((crnn.GRU, X), TypeError, "layer: expected a layer, got .*a class"),
    ((crnn.Dense(I, 2), X), ValueError, r"layer: expected one with a state, got Dense\("),
    ((pair_model(), X), TypeError, "layer: expected a layer that reads one input, got a Seq2Seq"),
    (
        (crnn.TeacherForcing(pair_model()), (symbols(4), symbols(4))),
        ValueError,
        "layer: expected one with a state, got TeacherForcing.*its encoder has one",
    ),
    ((_gru(), None), TypeError, r"x: expected floats of shape \(B, T, I=3\) .*, got object"),
    ((_gru(), 1.0), ValueError, r"x: expected .*, got float64 of shape \(\)"),
    ((_gru(), X[0]), ValueError, r"x: expected .*, got float64 of shape \(6, 3\)"),
    ((_gru(), X[:, :, :2]), ValueError, r"x: expected .*, got float64 of shape \(3, 6, 2\)"),
    ((_gru(), X > 0), TypeError, "x: expected .*, got bool"),
    ((_gru(), X + 0j), TypeError, "x: expected .*, got complex128"),
    ((_gru(), (X, X[0])), TypeError, "x: expected"),
    ((_gru(), [[1.0], [2.0, 3.0]]), TypeError, "x: expected an array"),
    ((_gru(), symbols(9)), ValueError, "x: expected symbols from 0 to I-1=2"),
    ((_gru(), X, "a"), TypeError, r"state: expected floats of shape \(B=3, H=4\), got <U1"),
    ((_gru(), X, X[:1, 0]), ValueError, r"state: expected .*\(B=3, H=4\), got .*\(1, 3\)"),
    ((_lstm(), X, X[:, 0]), (TypeError, ValueError), "state: expected"),
    ((seq(_gru()), X, X[:, 0]), ValueError, "state: expected None or a list of 1 states, got nd"),
    ((crnn.Conditioned(_gru(), _dense()), X), TypeError, "x: expected the pair"),
]


@pytest.mark.parametrize("function", [state_jacobians, memory_length])
@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_wrong_arguments(function, arguments, error, message):
    with pytest.raises(error, match=message):
        function(*arguments)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lengths": [1]}, ValueError, r"lengths: expected .*\(B=3,\), got .*\(1,\)"),
        ({"lengths": [1.0, 2.0, 3.0]}, TypeError, "lengths: expected integers .*, got float64"),
        ({"lengths": [1, 2, 9]}, ValueError, "lengths: expected integers from 0 to 6, got 9"),
        ({"mask": np.ones((3, 3), bool)}, ValueError, r"mask: expected .*, got .*\(3, 3\)"),
        ({"mask": np.ones((3, 6))}, TypeError, "mask: expected booleans, .*, got float64"),
        ({"resets": True}, ValueError, r"resets: expected booleans, .*, got .*\(\)"),
        ({"singular_values": -1}, ValueError, "singular_values: expected .* at least 0, got -1"),
        ({"singular_values": 1.5}, ValueError, "singular_values: expected .*, got 1.5"),
        ({"singular_values": None}, ValueError, "singular_values: expected .*, got None"),
    ],
)
def test_wrong_options(options, error, message):
    with pytest.raises(error, match=message):
        state_jacobians(_gru(), X, **options)


@pytest.mark.parametrize("fraction", [0, -1, np.nan, np.inf, "a", None])
def test_wrong_fractions(fraction):
    for call in (
        lambda: memory_length(_gru(), X, fraction=fraction),
        lambda: state_jacobians(_gru(), X).memory(fraction),
    ):
        with pytest.raises(
            ValueError, match=f"fraction: expected a positive number, got {fraction!r}"
        ):
            call()


def test_a_layer_that_cannot_be_float64():
    layer = Times()
    layer.params = {"w": np.ones(3, np.float32)}
    message = (
        "layer: expected a layer of float64 parameters, or one with a method astype, got float32"
    )
    with pytest.raises(TypeError, match=message):
        state_jacobians(layer, X)
