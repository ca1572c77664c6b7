"""Resumed runs with truncated BPTT, including the tapes of earlier windows."""

import numpy as np
import pytest

import crnn
from crnn.losses import cross_entropy
from crnn.storage import archive
from crnn.training.trainer import Trainer
from support.runs import Recorder, StopAt


def network():
    return crnn.Sequential(
        [
            crnn.Embedding(4, 5, seed=1),
            crnn.LSTM(5, 5, seed=2),
            crnn.Dropout(0.3, seed=3),
            crnn.GRU(5, 3, seed=4),
            crnn.Dense(3, 4, seed=5),
        ]
    )


def symbols(T=50, items=2):
    draw = np.random.default_rng(3)
    steps = [(draw.integers(0, 4, (3, T)), draw.integers(0, 4, (3, T))) for _ in range(items)]
    return [(x, target, np.array([T, T - 9, T // 2])) for x, target in steps]


def run_of(model, tbptt, stateful, callbacks=()):
    data = [each[:2] for each in symbols()] if stateful else symbols()
    return Trainer(
        model, data, loss=cross_entropy, optimizer=crnn.optim.Adam(model, 1e-2), epochs=2,
        tbptt=tbptt, stateful=stateful, callbacks=callbacks,
    )  # fmt: skip


@pytest.mark.parametrize("tbptt", [(8, 8), (8, 3), (8, 11), (8, 30)])
@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("update", [1, 4, 7, 8, 9, 15])
def test_a_resumed_run_is_the_same_run(tmp_path, tbptt, stateful, update):
    recorder, first, second = Recorder(), Recorder(), Recorder()
    whole = run_of(network(), tbptt, stateful, [recorder])
    whole.run()
    run = run_of(network(), tbptt, stateful, [first, StopAt(update)])
    with pytest.raises(KeyboardInterrupt):
        run.run()
    run.save(tmp_path / "run.npz")
    again = run_of(network(), tbptt, stateful, [second])
    again.model.params["1.W_h"] = 0.0
    again.resume(tmp_path / "run.npz")
    again.run()
    assert first.losses + second.losses == recorder.losses
    np.testing.assert_equal(again.model.state_dict(), whole.model.state_dict())
    assert again.history.loss == whole.history.loss


def test_a_state_whose_tapes_do_not_fit_changes_nothing(tmp_path):
    run = run_of(network(), (8, 11), False, [StopAt(3)])
    with pytest.raises(KeyboardInterrupt):
        run.run()
    state = run.state_dict()
    state["tapes"][0]["params"] = {}
    other = run_of(network(), (8, 11), False)
    before = other.model.state_dict()
    with pytest.raises(ValueError, match="missing"):
        other.load_state_dict(state)
    np.testing.assert_equal(other.model.state_dict(), before)
    archive.write(tmp_path / "x.npz", "training run", state | {"tapes": [1]})
    with pytest.raises(ValueError, match=r"x\.npz: cannot be read"):
        other.resume(tmp_path / "x.npz")
