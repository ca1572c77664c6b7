"""Echo state networks that read their own outputs: generation, FORCE; copies and files.

Letters: B sequences, T steps, I inputs, H states, O outputs.
"""

import copy
import pickle
import signal

import numpy as np
import pytest

import crnn
from support.comparing import assert_close
from support.esns import F64, LOOPS, RNG, SERIES, H, O, Plain, reservoir, ridge, trained


def plain_future(esn, kind, series, steps):
    """Return what the loop in NumPy generates after a series."""
    plain = Plain(esn)
    plain.W, plain.bias = esn.readout.params["W"], esn.readout.params["b"]
    if kind == "feedback":
        for y in np.concatenate([np.zeros((1, O)), series[:-1]]):
            plain.state(np.zeros(0), y)
        return plain.run(np.zeros((steps, 0)), series[-1])
    for t, u in enumerate(series[:-1]):
        plain.state(u, u * (t > 0))
    u, outputs = series[-1], []
    for _ in range(steps):
        u = plain.run(u[None], u)[0]
        outputs.append(u)
    return np.array(outputs)


@pytest.mark.parametrize("kind", LOOPS)
def test_generation_is_a_loop_in_numpy(kind):
    esn = trained(kind)
    y = esn.generate(60, prime=SERIES)
    assert y.shape == (60, O)
    assert_close(y[:20], plain_future(esn, kind, SERIES, 20), 1e-6)
    rows = np.stack([SERIES, SERIES[::-1]])
    batch = esn.generate(60, prime=rows)
    assert batch.shape == (2, 60, O)
    np.testing.assert_array_equal(batch[0], y)
    np.testing.assert_array_equal(batch[1], esn.generate(60, prime=SERIES[::-1]))
    empty = esn.generate(3)
    assert empty.shape == (3, O)
    np.testing.assert_array_equal(empty, esn.generate(3, prime=SERIES[:0]))
    assert esn.generate(3, prime=SERIES[:1]).shape == (3, O)


@pytest.mark.parametrize("kind", ["input", "join", "feedback"])
def test_generation_continues_a_sine(kind):
    future = trained(kind).generate(30, prime=SERIES)
    t = np.arange(400, 430)
    expected = np.sin(t / 5)[:, None] * [1.0, 0.5] + [0.0, 0.3]
    assert np.abs(future - expected).max() < 0.1


@pytest.mark.parametrize("kind", LOOPS)
def test_the_loop_of_the_core_has_the_bits_of_single_steps(kind, monkeypatch):
    esn = trained(kind)
    y = esn.generate(50, prime=SERIES)
    monkeypatch.setattr("crnn.models.esn_running._core.Stream", int)
    np.testing.assert_array_equal(esn.generate(50, prime=SERIES), y)


def test_layers_of_two_dtypes_and_of_a_user_run_step_by_step():
    class Twice(crnn.Layer):
        keeps_features, receptive_field = True, 1
        input_size = output_size = H

        def forward(self, x, state=None, *, lengths=None, training=True):
            return 2 * x, None, None

        def backward(self, tape, dy, dstate=None):
            raise NotImplementedError

    single = reservoir(O, dtype="float32")
    for layer in (single, crnn.Sequential([reservoir(O), Twice()])):
        for join in (False, True):
            esn = crnn.ESN(layer, ridge(H + O * join, alpha=1e-8), join_input=join)
            esn.fit(SERIES[:-1], SERIES[1:], washout=50)
            assert np.abs(esn.generate(5, prime=SERIES) - esn.predict(SERIES)[-1]).max() < 2
            first = esn.generate(1, prime=SERIES)[0]
            assert_close(first, esn.predict(SERIES)[-1], 1e-6)


def test_force_learning_continues_a_sine():
    series = np.sin(np.arange(3000) / 5)[:, None]
    layer = crnn.Reservoir(1, 100, spectral_radius=1.5, leak=0.3, seed=0, **F64)
    esn = crnn.ESN(layer, crnn.RLS(100, 1), feedback=True)
    plain = copy.deepcopy(esn)
    assert esn.fit_force(None, series, washout=3, every=2) is esn
    future = esn.generate(300, prime=series)
    assert np.abs(future[:, 0] - np.sin(np.arange(3000, 3300) / 5)).max() < 0.15
    stream, learner, y = plain.reservoir.stream(1), plain.readout, np.zeros((1, 1))
    for t in range(3000):
        h = stream.step(y)
        y = learner(h)[0]
        if t >= 3 and t % 2 == 1:
            learner.step(h, series[t][None])
    np.testing.assert_array_equal(learner.params["W"], esn.readout.params["W"])
    rows = np.stack([series[:200], series[200:400]])
    esn.fit_force(None, rows, [200, 100])  # it goes on
    before = esn.readout.params["W"].copy()
    for error, message, options in (
        (ValueError, "washout: expected fewer than the 40 steps of the", {"washout": 40}),
        (ValueError, "washout: expected fewer than the 9 steps", {"lengths": [9], "washout": 10}),
        (ValueError, "washout: expected fewer than the 0 steps", {"lengths": [0]}),
        (ValueError, "washout: expected fewer than the 0 steps", {"y": series[None][:0]}),
        (ValueError, "y: expected finite numbers .* got nan", {"y": series[:40] * np.nan}),
        (TypeError, "y: expected an array, got a list", {"y": [series[:40]]}),
        (TypeError, "x: expected an array, got a list", {"x": [series[:40]]}),
    ):
        with pytest.raises(error, match="^" + message):
            esn.fit_force(**({"x": None, "y": series[:40]} | options))
    np.testing.assert_array_equal(esn.readout.params["W"], before)


def test_ctrl_c_in_force_changes_nothing(monkeypatch):
    layer = crnn.Reservoir(1, 20, seed=0, **F64)
    esn = crnn.ESN(layer, crnn.RLS(20, 1), feedback=True).fit_force(None, SERIES[:, :1])
    before = esn.state_dict()
    step, count = crnn.RLS.step, []

    def interrupted(*arguments):
        count.append(1)
        if len(count) == 5:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(crnn.RLS, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        esn.fit_force(None, SERIES[:, :1])
    for name, array in before.items():
        np.testing.assert_array_equal(esn.params[name], array)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no interval timers")
def test_ctrl_c_ends_a_generation():
    def interrupt(*_):
        raise KeyboardInterrupt

    esn, before = trained("feedback"), signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            esn.generate(100_000_000, prime=SERIES)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# ----------------------------------------------------------------------------------- as a layer


@pytest.mark.parametrize("kind", LOOPS)
def test_save_load_copies_and_gradients(kind, tmp_path):
    esn = trained(kind)
    crnn.save(tmp_path / "esn.npz", esn)
    copies = (
        crnn.load(tmp_path / "esn.npz"),
        copy.deepcopy(esn),
        pickle.loads(pickle.dumps(esn)),
        eval(repr(esn), vars(crnn)).fit(
            *((None, SERIES) if kind == "feedback" else (SERIES[:-1], SERIES[1:])), washout=50
        ),
    )
    future = esn.generate(5, prime=SERIES)
    for other in copies:
        assert type(other) is crnn.ESN
        assert repr(other) == repr(esn)
        np.testing.assert_array_equal(other.generate(5, prime=SERIES), future)
    x = RNG.normal(size=(2, 6, esn.input_size))
    assert crnn.gradcheck(esn, x, lengths=[6, 2]).ok
    inside = crnn.Sequential([esn, crnn.Dense(O, 1, **F64)])
    assert_close(inside(x)[0], inside[1](esn(x)[0])[0], 1e-12)
    crnn.save(tmp_path / "inside.npz", inside)
    np.testing.assert_array_equal(crnn.load(tmp_path / "inside.npz")(x)[0], inside(x)[0])
