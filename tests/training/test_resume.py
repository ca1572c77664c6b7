"""A run that was interrupted and resumed has the results of a run without interruption."""

import signal
import threading

import numpy as np
import pytest

from crnn.callbacks import Callback
from crnn.storage import archive
from support.runs import Recorder, StopAt, lines, network, numbers, streams, trainer

# ----------------------------------------------------------------------- interrupted and resumed


@pytest.mark.parametrize("data", [streams, lines])
@pytest.mark.parametrize("update", [1, 5, 9, 10, 13])
def test_a_resumed_run_is_the_same_run(tmp_path, data, update):
    recorder = Recorder()
    whole = trainer(data=data(), validation=data(), callbacks=[recorder])
    whole.run()

    first, second = Recorder(), Recorder()
    run = trainer(data=data(), validation=data(), callbacks=[first, StopAt(update)])
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert run.position.update == update
    archive.write(tmp_path / "run.npz", "training", run.state_dict())

    again = trainer(network(seed=7, dropout=0.3), data(), validation=data(), callbacks=[second])
    again.model.layers[1].seed = run.model.layers[1].seed  # dropout's, which is no parameter
    again.load_state_dict(archive.read(tmp_path / "run.npz", "training"))
    again.run()
    np.testing.assert_equal(numbers(again), numbers(whole))
    assert first.losses + second.losses == recorder.losses
    assert first.rates + second.rates == recorder.rates


def test_a_state_is_a_snapshot():
    class Keep(Callback):
        def on_update(self, run):
            if run.position.update == 12:
                self.state = run.state_dict()

    keep = Keep()
    whole = trainer(callbacks=[keep])
    whole.run()
    again = trainer(network(seed=2, dropout=0.3))
    again.model.layers[1].seed = whole.model.layers[1].seed
    again.load_state_dict(keep.state)
    again.run()
    np.testing.assert_equal(numbers(again), numbers(whole))


def test_a_stopped_run_can_continue_without_a_file():
    whole, run = trainer(), trainer(callbacks=[StopAt(3)])
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        run.run()
    run.run()
    np.testing.assert_equal(numbers(run), numbers(whole))


def test_a_run_stopped_while_it_validates_validates_again():
    class Stops:
        def __init__(self):
            self.passes = 0

        def __iter__(self):
            self.passes += 1
            if self.passes == 3:  # the first pass checks the data before the run
                signal.raise_signal(signal.SIGINT)
            return iter(streams(batch_size=2))

    whole, run = trainer(validation=streams(batch_size=2)), trainer(validation=Stops())
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert (run.position.epoch, len(run.history)) == (1, 1)
    again = trainer(network(seed=3, dropout=0.3), validation=streams(batch_size=2))
    again.model.layers[1].seed = run.model.layers[1].seed
    again.load_state_dict(run.state_dict())
    again.run()
    np.testing.assert_equal(numbers(again), numbers(whole))


def test_ctrl_c_in_a_callback_does_not_skip_other_callbacks():
    recorder = Recorder()
    run = trainer(callbacks=[StopAt(epoch=1), recorder])
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert recorder.events[-2:] == ["epoch", "end"]
    assert run.position.epoch == 1


def test_ctrl_c_at_the_very_end_is_not_lost():
    run = trainer(callbacks=[StopAt(epoch=3)])
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert len(run.history) == 3


def test_a_second_ctrl_c_does_not_wait():
    class Twice(Callback):
        def on_update(self, run):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("the second one came to nothing")

    run = trainer(callbacks=[Twice()])
    with pytest.raises(KeyboardInterrupt):
        run.run()
    run.state_dict()  # between two updates


def test_an_update_broken_off_is_not_saved():
    run = trainer()
    step = run.optimizer.step

    def broken():
        step()
        raise KeyboardInterrupt

    run.optimizer.step = broken
    with pytest.raises(KeyboardInterrupt):
        run.run()
    with pytest.raises(RuntimeError, match="interrupted during an update"):
        run.state_dict()


def test_the_handler_of_ctrl_c_is_put_back():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    trainer(epochs=1).run()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_user_is_left_alone():
    pressed = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        trainer(epochs=1, callbacks=[StopAt(2)]).run()
    finally:
        signal.signal(signal.SIGINT, before)
    assert pressed == [signal.SIGINT]


def test_a_run_in_another_thread():
    run = trainer(epochs=1)
    thread = threading.Thread(target=run.run)
    thread.start()
    thread.join()
    assert len(run.history) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"position": {"spam": 1}},
        {"history": {}},
        {"history": {"epoch": [1]}},
        {"model": {}},
        {"optimizer": {}},
    ],
)
def test_a_wrong_state_changes_nothing(change):
    run, other = trainer(), trainer(network(seed=4))
    run.run()
    before = numbers(other)
    with pytest.raises(ValueError, match="expected"):
        other.load_state_dict(run.state_dict() | change)
    np.testing.assert_equal(numbers(other), before)
    with pytest.raises(ValueError, match=r"state: expected the result of Trainer.state_dict"):
        other.load_state_dict({})
