"""The options of the NumPy reference: finite differences, plain loops, PyTorch, onnxruntime."""

import numpy as np
import pytest

from support.comparing import assert_close
from support.twin_options import (
    LENGTHS,
    MASK,
    NAMES,
    RUNS,
    B,
    H,
    I,
    P,
    Problem,
    T,
    every_case,
    every_cell,
    every_run,
    make,
)
from support.twins import packed, unpacked

# ------------------------------------------------------------------------- finite differences


@every_case
def test_gradients_are_the_finite_differences(kind, name):
    Problem(make(kind, name)).check(**RUNS["holes"], **NAMES)


@every_cell
@every_run
def test_gradients_of_every_reading(kind, run):
    for name in ("plain", "everything"):
        Problem(make(kind, name), given=name == "plain").check(**RUNS[run], **NAMES)


@every_cell
def test_gradients_without_bias_and_in_evaluation(kind):
    problem = Problem(make(kind, "everything"), bias=False, given=False)
    assert not [name for name in problem.params if name.startswith("b")]
    problem.check(training=False, **RUNS["holes"])


@every_cell
@pytest.mark.parametrize("name", ["zoneout", "everything"])
def test_traces_are_the_gradients_of_the_rest(kind, name):
    """∂L/∂h_t and ∂L/∂c_t are dstate of a run over the steps after t, plus dy_t for h."""
    problem = Problem(make(kind, name))
    whole = problem.solve(training=False)
    for t in range(T - 1):
        state = packed([vars(whole.tape)[part][:, t] for part in problem.cell.state_names])
        rest = problem.cell.forward(problem.params, problem.x[:, t + 1 :], state, training=False)
        dy, dend = problem.dy[:, t + 1 :], packed(problem.dstate)
        _, dstate, _ = problem.cell.backward(problem.params, rest[2], dy, dend)
        expected = list(unpacked(dstate))
        expected[0] = expected[0] + problem.dy[:, t]
        for part, array in zip(problem.cell.state_names, expected, strict=True):
            assert_close(vars(whole.tape)["d" + part][:, t], array, 1e-13)


# ------------------------------------------------------------------------- masks and resets


def by_hand(problem, lengths=None, mask=None, resets=None, reverse=False):
    """Return the states of all steps, computed for one row and one step at a time."""
    cell, params = problem.cell, problem.params
    lengths = [T] * B if lengths is None else lengths
    mask = np.ones((B, T), bool) if mask is None else mask
    resets = np.zeros((B, T), bool) if resets is None else resets
    sizes = cell.state_sizes(H)
    learned = [
        params.get(name + "0", np.zeros(shape))[None]
        for name, shape in zip(cell.state_names, cell.state_shapes(H), strict=True)
    ]
    tracks, ends = [np.zeros((B, T, size)) for size in sizes], []
    for row in range(B):
        state = [part[[row]] for part in problem.state] if problem.state else learned
        shown = [np.zeros(size) for size in sizes]
        for number in range(lengths[row]):
            t = lengths[row] - 1 - number if reverse else number
            if resets[row, t] if not reverse else number and resets[row, t + 1]:
                state, shown = learned, [np.zeros(size) for size in sizes]
            if mask[row, t]:
                x = problem.x[[row], t : t + 1]
                _, end, _ = cell.forward(params, x, packed(state), training=False)
                state = unpacked(end)
                shown = [np.atleast_2d(part[0])[-1] for part in state]
            for track, part in zip(tracks, shown, strict=True):
                track[row, t] = part
        ends.append(state)
    return tracks, [np.concatenate(parts) for parts in zip(*ends, strict=True)]


@every_cell
@every_run
@pytest.mark.parametrize("given", [True, False], ids=["given", "learned"])
@pytest.mark.parametrize("name", ["everything", "everything-delays"])
def test_readings_are_what_a_plain_loop_does(kind, name, run, given):
    problem = Problem(make(kind, name), given=given)
    result = problem.solve(**RUNS[run], training=False)
    tracks, state = by_hand(problem, **RUNS[run])
    np.testing.assert_allclose(result.y, tracks[0], rtol=0, atol=1e-14)
    for name, track in zip(problem.cell.state_names, tracks, strict=True):
        np.testing.assert_allclose(vars(result.tape)[name], track, rtol=0, atol=1e-14)
    for found, expected in zip(result.state, state, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


@every_cell
@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
def test_masked_steps_and_padding_are_not_read(kind, reverse):
    """dy past the end of a row is not read; at masked steps gates and gradients are 0."""
    options = RUNS["holes"] | {"reverse": reverse}
    clean, dirty = Problem(make(kind)), Problem(make(kind))
    past = np.arange(T) >= np.c_[LENGTHS]
    dirty.x[past | ~MASK] = dirty.dy[past] = np.nan
    expected, found = clean.solve(**options), dirty.solve(**options)
    for one, other in ((found.y, expected.y), (found.dx, expected.dx)):
        np.testing.assert_array_equal(one, other)
    for name, grad in found.grads.items():
        np.testing.assert_array_equal(grad, expected.grads[name])
    traces = [vars(found.tape)["d" + name] for name in clean.cell.state_names]
    for array in (found.dx, *found.tape.gates.values(), *traces):
        assert not array[past | ~MASK].any()
        assert array[~past & MASK].any(axis=-1).all()
    for part, first in zip(found.state, clean.state, strict=True):  # the row without steps
        np.testing.assert_array_equal(part[2], first[2])


@every_cell
def test_a_reset_before_the_first_step_throws_the_state_away(kind):
    resets = np.zeros((B, T), bool)
    resets[0, 0] = True
    for reverse in (False, True):
        options = {"resets": resets, "reverse": reverse}
        problem = Problem(make(kind))
        found, plain = problem.solve(**options), problem.solve(reverse=reverse)
        same = [np.array_equal(found.y[row], plain.y[row]) for row in range(B)]
        assert same == [reverse, True, True, True]  # a reversed layer reads no step after the cut
        assert found.dstate[0][0].any() == reverse


# ------------------------------------------------------------------------- parameters


def test_parameters_have_their_order_and_shapes():
    rows = 3 * H
    expected = {
        "W_x": (rows, I), "W_h": (rows, P), "b": (rows,), "p_i": (H,), "p_o": (H,),
        "gain_x": (rows,), "gain_h": (rows,), "gain_c": (H,), "b_c": (H,),
        "W_p": (P, H), "h0": (P,), "c0": (H,),
    }  # fmt: skip
    assert list(make("lstm", "everything").shapes(I, H).items()) == list(expected.items())
    assert list(make("lstm", "peepholes").shapes(I, H, False)) == [
        "W_x",
        "W_h",
        "p_i",
        "p_f",
        "p_o",
    ]
    assert list(make("gru", "everything").shapes(I, H)) == [
        "W_x", "W_h", "b", "b_hn", "gain_x", "gain_h", "h0",
    ]  # fmt: skip
    assert make("lstm", "coupled").gate_order == ("i", "g", "o")
    assert set(make("lstm").shapes(I, H)) == {"W_x", "W_h", "b"}


def test_coupled_gates_share_one():
    problem = Problem(make("lstm", "coupled"))
    _, _, tape = problem.forward()
    assert set(tape.gates) == {"i", "g", "o"}
    c_old = np.concatenate([problem.state[1][:, None], tape.c[:, :-1]], axis=1)
    i, g = tape.gates["i"], tape.gates["g"]
    np.testing.assert_allclose(tape.c, (1 - i) * c_old + i * g, atol=1e-14)
