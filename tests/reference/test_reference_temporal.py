"""Convolutions, attention and positions of the NumPy reference: gradients, rows, states."""

import numpy as np
import pytest

from crnn import reference
from crnn.reference import transformer
from support.comparing import assert_close, assert_same_bits
from support.temporal import (
    RUNS,
    T_S,
    WHOLE,
    H,
    Problem,
    arrays,
    attention,
    every_case,
    every_causal_case,
    every_run,
    every_start,
    floats,
    packed,
    unpacked,
)
from support.twin_options import LENGTHS, MASK, RESETS, B, T


@every_case
@pytest.mark.parametrize(("run", "given"), [("full", False), ("holes", True)])
def test_gradients_are_the_finite_differences(name, run, given):
    Problem(name, given=given).check(**RUNS[run])


@pytest.mark.parametrize("name", ["conv-normed", "tcn-skip", "attention"])
@pytest.mark.parametrize("run", RUNS)
def test_gradients_are_the_finite_differences_in_every_run(name, run):
    Problem(name).check(**RUNS[run])


def begun(problem, row):
    """Return the state of a row at its beginning; its memory is that of the problem."""
    own = problem.twin.state_shapes(problem.params)
    memory = [part[[row]] for part in problem.state[len(own) :]]
    first = [np.zeros((1, *(n or 0 for n in s)), float if s else int) for s in own]
    return first + memory


def by_hand(problem, lengths=None, reverse=False, mask=None, resets=None):
    """Return y and the final state of each row, reading step by step in a plain loop."""
    lengths = [T] * B if lengths is None else lengths
    mask = np.ones((B, T), bool) if mask is None else mask
    resets = np.zeros((B, T), bool) if resets is None else resets
    y, ends = np.zeros_like(problem.dy), []
    for row in range(B):
        state = [part[[row]] for part in problem.state] or begun(problem, row)
        shown = np.zeros(problem.dy.shape[2])
        for number in range(lengths[row]):
            t = lengths[row] - 1 - number if reverse else number
            if resets[row, t] if not reverse else number and resets[row, t + 1]:
                state, shown = begun(problem, row), np.zeros_like(shown)
            if mask[row, t]:
                x = problem.x[[row], t : t + 1]
                one, end, _ = problem.twin.forward(problem.params, x, packed(state))
                state, shown = unpacked(end), one[0, 0]
            y[row, t] = shown
        ends.append(state)
    return y, ends


def known(part, steps):
    """Return the rows of a part (S, width) that were read, of a row that has read so many steps."""
    return part[max(len(part) - steps, 0) :] if part.ndim == 2 else part


@every_causal_case
@every_run
@every_start
def test_readings_are_what_a_plain_loop_does(name, run, given):
    problem = Problem(name, given=given)
    found, (y, ends) = problem.solve(**RUNS[run]), by_hand(problem, **RUNS[run])
    assert_close(found.y, y, 1e-13)
    for row, end in enumerate(ends):
        counted = len(end) > 2  # of attention, the third part is the number of steps
        for part, expected in zip(found.state, end, strict=True):
            steps = int(end[2][0]) if counted else len(np.atleast_1d(expected[0]))
            assert_close(known(part[row], steps), known(expected[0], steps), 1e-13)


@every_causal_case
@every_start
@pytest.mark.parametrize("size", [1, 4])
def test_chunks_have_the_results_and_gradients_of_the_whole(name, given, size):
    whole = Problem(name, given=given)
    expected = whole.solve(mask=MASK, resets=RESETS)
    state, tapes, y = packed(whole.state), [], []
    for first in range(0, T, size):
        chunk = slice(first, first + size)
        out, state, tape = whole.twin.forward(
            whole.params, whole.x[:, chunk], state, mask=MASK[:, chunk], resets=RESETS[:, chunk]
        )
        tapes.append((chunk, tape))
        y.append(out)
    # A chunk that begins with masked steps shows zeros there: it does not know the last output.
    assert_close(np.concatenate(y, axis=1)[MASK], expected.y[MASK], 1e-13)
    for part, other in zip(unpacked(state), expected.state, strict=True):
        assert_close(part, other, 1e-13)

    dy = expected.tape.reading.repeated_backward(whole.dy)  # at steps that were read
    grads = {key: np.zeros_like(array) for key, array in whole.params.items()}
    dstate, dx = packed(whole.dstate(packed(expected.state))), np.zeros_like(whole.x)
    for chunk, tape in reversed(tapes):
        dx[:, chunk], dstate, found = whole.twin.backward(whole.params, tape, dy[:, chunk], dstate)
        for key, grad in found.items():
            grads[key] += grad
    assert_close(dx, expected.dx, 1e-12)
    for key, grad in grads.items():
        assert_close(grad, expected.grads[key], 1e-12, key)
    for part, other in zip(unpacked(dstate), expected.dstate, strict=True):
        assert_close(part, other, 1e-12)


# ---------------------------------------------------------------------------------- properties


def spoil_unknown(problem):
    """Write NaN into the parts of a state that have no meaning."""
    n_own = len(problem.twin.state_shapes(problem.params))
    if n_own == 3:  # attention: the slots before those that were read
        k, v, steps = problem.state[:3]
        unknown = np.arange(k.shape[1]) < np.c_[k.shape[1] - steps]
        k[unknown] = v[unknown] = np.nan
    if len(problem.state) == n_own + 2 and n_own in (0, 3):
        memory, lengths = problem.state[n_own:]
        memory[np.arange(memory.shape[1]) >= np.c_[lengths]] = np.nan


@every_case
@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
def test_steps_that_are_not_read_have_no_effect(name, reverse):
    """NaN in padding, at masked steps, past a memory's end, and in states that are not there."""
    options = RUNS["holes"] | {"reverse": reverse}
    clean, dirty = Problem(name), Problem(name)
    past = np.arange(T) >= np.c_[LENGTHS]
    dirty.x[past | ~MASK] = dirty.dy[past] = np.nan
    spoil_unknown(dirty)
    expected, found = clean.solve(**options), dirty.solve(**options)
    wanted = arrays(expected)
    for key, array in arrays(found).items():
        if not key.startswith("state"):
            np.testing.assert_array_equal(array, wanted[key], err_msg=key)
    assert not found.y[past].any()
    assert not found.dx[past | ~MASK].any()


@every_causal_case
def test_later_steps_have_no_effect(name):
    clean, dirty = Problem(name), Problem(name)
    dirty.x[:, 4:] = np.nan
    with np.errstate(invalid="ignore"):
        y, expected = dirty.forward()[0], clean.forward()[0]
    np.testing.assert_array_equal(y[:, :4], expected[:, :4])
    assert np.isnan(y[:, 4:]).any(axis=2).all()


@every_case
def test_whole_layers_read_later_steps(name):
    """A layer that is not causal is the only one whose first output depends on the last step."""
    one, other = Problem(name), Problem(name)
    other.x[:, -1] = one.x[:, 0]
    same = np.isclose(one.forward()[0][:, 0], other.forward()[0][:, 0]).all()
    assert same == (name not in WHOLE)


@every_case
@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
def test_nothing_before_a_reset_is_read(name, reverse):
    clean, dirty = Problem(name, given=False), Problem(name, given=False)
    resets = np.zeros((B, T), bool)
    resets[:, 2] = True
    dirty.x[:, :2] = np.nan
    with np.errstate(invalid="ignore"):
        found, _, _ = dirty.forward(resets=resets, reverse=reverse)
    clean.x, clean.dy = clean.x[:, 2:], clean.dy[:, 2:]
    expected, _, _ = clean.forward(reverse=reverse)
    np.testing.assert_array_equal(found[:, 2:], expected)


@every_case
@pytest.mark.parametrize("sizes", [(0, 5), (4, 0), (1, 1)])
def test_smallest_shapes(name, sizes):
    problem = Problem(name, sizes=sizes)
    found = problem.solve()
    assert found.y.shape == problem.dy.shape
    assert found.dx.shape == problem.x.shape
    if 0 in sizes:
        n_own = len(problem.twin.state_shapes(problem.params))
        counted = n_own == 3
        for k, (part, first) in enumerate(zip(found.state, problem.state, strict=True)):
            for row in range(len(part)):
                steps = int(problem.state[2][row]) if counted and k < 2 else T_S * T_S
                assert_close(known(part[row], steps), known(first[row], steps), 0)
        assert not any(grad.any() for grad in found.grads.values())


@every_case
def test_gradients_that_are_not_passed_are_zeros(name):
    problem = Problem(name)
    y, state, tape = problem.forward()
    zeros = [np.zeros_like(part) for part in floats(unpacked(state))]
    expected = problem.twin.backward(problem.params, tape, np.zeros_like(y), packed(zeros))
    found = problem.twin.backward(problem.params, tape, None)
    for one, other in zip(found, expected, strict=True):
        assert_same_bits(one, other)
    assert not found[0].any()


# -------------------------------------------------------------------------------- the equations


def test_a_kernel_of_weight_norm_has_the_norm_g():
    problem = Problem("conv-normed")
    plain = reference.CausalConv(dilation=2)
    v, g = problem.params["v"], problem.params["g"]
    W = np.stack([g[o] * v[:, o] / np.linalg.norm(v[:, o]) for o in range(H)], axis=1)
    y, _, _ = plain.forward({"W": W, "b": problem.params["b"]}, problem.x, problem.state[0])
    assert_close(problem.forward()[0], y, 1e-14)
    np.testing.assert_allclose(np.sqrt(np.sum(W**2, axis=(0, 2))), np.abs(g))


def test_a_kernel_of_zeros_stays_zero():
    problem = Problem("conv-normed")
    problem.params["v"][:, 1] = 0
    found = problem.solve()
    np.testing.assert_array_equal(
        found.y[:, :, 1], np.full_like(found.y[:, :, 1], problem.params["b"][1])
    )
    assert found.grads["g"][1] == 0
    assert not found.grads["v"][:, 1].any()
    assert found.grads["v"][:, 0].any()


@pytest.mark.parametrize("window", [1, 2, 4])
def test_a_window_reaches_so_many_steps(window):
    problem = Problem(attention(heads=2, window=window), given=False)
    moved = Problem(attention(heads=2, window=window), given=False)
    moved.x[:, 1] += 1
    changed = ~np.isclose(problem.forward()[0], moved.forward()[0], rtol=0, atol=1e-12).all((0, 2))
    assert list(np.flatnonzero(changed)) == [t for t in range(1, T) if t - 1 < window]


@pytest.mark.parametrize("name", ["attention", "attention-window", "attention-whole"])
def test_weights_are_softmax_of_scores(name):
    """The means of v with these weights are c; they are 0 where a step is not seen."""
    problem = Problem(name)
    found = problem.solve(lengths=LENGTHS, mask=MASK)
    p = problem.twin.weights(found.tape)
    S = problem.state[0].shape[1] if problem.state else 0
    assert p.shape == (B, problem.twin.heads, T, S + T)
    read = MASK & (np.arange(T) < np.c_[LENGTHS])
    np.testing.assert_allclose(
        p.sum(axis=3), np.broadcast_to(read[:, None], p.shape[:3]), atol=1e-14
    )
    assert not p[..., S:][np.broadcast_to(~read[:, None, None], p[..., S:].shape)].any()
    v = problem.x @ problem.params["W_qkv"][2 * H :].T + problem.params["b_qkv"][2 * H :]
    v = np.concatenate([problem.state[1], v], axis=1) if problem.state else v
    heads = np.stack(np.split(v, problem.twin.heads, axis=2), axis=1)
    c = np.concatenate(list(np.swapaxes(p @ heads, 0, 1)), axis=2)
    y = c @ problem.params["W_o"].T + problem.params["b_o"]
    assert_close(found.y[read], y[read], 1e-13)


def test_rotary_positions_are_turned_complex_numbers():
    rng = np.random.default_rng(0)
    a, t = rng.normal(size=(5, 2, 6)), np.array([0, 1, 7, 1000, 10**7])
    turns = np.exp(1j * t[:, None] * 10000.0 ** (-np.arange(3) / 3))
    expected = (a[..., :3] + 1j * a[..., 3:]) * turns[:, None]
    found = transformer.rotated(a, t)
    assert_close(found[..., :3] + 1j * found[..., 3:], expected, 1e-14)
    assert_close(transformer.rotated(found, -t), a, 1e-14)


def test_scores_depend_on_distances_alone():
    problem = Problem("attention", given=False)
    nothing = np.zeros((B, 0, H))
    far = problem.twin.forward(
        problem.params, problem.x, (nothing, nothing, np.array([0, 5, 1000, 10**5]))
    )
    assert_close(far[0], problem.forward()[0], 1e-10)
    np.testing.assert_array_equal(far[1][2], np.array([0, 5, 1000, 10**5]) + T)


def test_a_memory_without_steps_gives_the_bias():
    problem = Problem("transformer-memory", given=False)
    assert problem.state[4][3] == 0
    y, _, _ = problem.forward()
    without, _, _ = problem.twin.forward(problem.params, problem.x)
    assert_close(y[3], without[3], 1e-15)
    problem.params["cross.b_o"][:] = 0
    plain = reference.TransformerBlock(heads=2, window=3)
    expected, _, _ = plain.forward(problem.params, problem.x)
    assert_close(problem.forward()[0][3], expected[3], 1e-15)
    y, _, tape = problem.forward()
    dmemory = problem.twin.backward(problem.params, tape, problem.dy)[1][2]
    assert [list(steps.any(axis=1)) for steps in dmemory] == [
        [True, True, False], [True, True, True], [True, False, False], [False, False, False],
    ]  # fmt: skip


def test_sinusoidal_positions_are_their_formula():
    twin = reference.Positions(kind="sinusoidal")
    y, steps, _ = twin.forward({}, np.zeros((2, 4, 5)), np.array([0, 7]))
    for row, first in enumerate((0, 7)):
        for t in range(4):
            for i in range(3):
                angle = (first + t) / 10000 ** (2 * i / 5)
                pair = [np.sin(angle), np.cos(angle)][: 5 - 2 * i]
                np.testing.assert_allclose(y[row, t, 2 * i : 2 * i + 2], pair, atol=1e-15)
    assert list(steps) == [4, 11]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: reference.SelfAttention(window=0), "window: expected .* got 0"),
        (lambda: reference.SelfAttention(window=2, causal=False), "window: expected .* got 2"),
        (lambda: reference.TransformerBlock(activation="tanh"), "activation: .* got 'tanh'"),
        (lambda: reference.CausalConv(activation="sin"), "activation: .* got 'sin'"),
        (lambda: reference.Positions(kind="rotary"), "kind: .* got 'rotary'"),
        (lambda: reference.Positions(), "steps: .* got None"),
    ],
)
def test_wrong_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", ["learned", "sinusoidal"])
def test_positions_end(kind):
    twin, x = reference.Positions(steps=4, kind=kind), np.zeros((1, 3, 2))
    params = {"P": np.ones((4, 2))} if kind == "learned" else {}
    _, steps, _ = twin.forward(params, x)
    twin.forward(params, x, steps, lengths=[1])
    with pytest.raises(ValueError, match="x: expected at most 4 steps in a row, got 6"):
        twin.forward(params, x, steps)
