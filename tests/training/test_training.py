"""The training loop: updates, results and wrong arguments."""

import math

import numpy as np
import pytest

import crnn
from crnn.callbacks import Callback
from crnn.losses import cross_entropy, mse
from crnn.training.evaluation import count_updates, evaluate
from crnn.training.fitting import fit
from crnn.training.trainer import Trainer
from support.runs import K, Recorder, lines, network, rng, streams, trainer

# --------------------------------------------------------------------------------------- updates


def test_fit_is_the_loop_that_one_would_write():
    data = [
        (rng.integers(0, K, (2, 5)), rng.integers(0, K, (2, 5)), np.array(lengths))
        for lengths in ([5, 3], [0, 4], [1, 1])
    ]
    model, twin = network(), network()
    history = fit(
        model,
        data,
        loss=cross_entropy,
        optimizer=crnn.optim.SGD(model, lr=0.1),
        epochs=2,
        progress=False,
    )
    optimizer, means = crnn.optim.SGD(twin, lr=0.1), []
    for _ in range(2):
        total = 0.0
        for x, target, lengths in data:
            y, _, tape = twin.forward(x, lengths=lengths)
            loss, dy = cross_entropy(y, target, lengths)
            twin.backward(tape, dy)
            optimizer.step()
            total += loss * lengths.sum()
        means.append(total / 14)
    assert history.loss == means
    assert history.update == [3, 6]
    for name, array in twin.params.items():
        np.testing.assert_array_equal(model.params[name], array)


def test_windows_carry_the_state_on_and_cut_the_gradient():
    data = streams(length=41, batch_size=2)  # T = 20: windows of 8, 8 and 4
    model, twin = network(), network()
    options = {"loss": cross_entropy, "epochs": 1, "progress": False}
    history = fit(model, data, optimizer=crnn.optim.SGD(model, lr=0.1), tbptt=(8, 8), **options)
    optimizer, state, total = crnn.optim.SGD(twin, lr=0.1), None, 0.0
    for start in (0, 8, 16):
        window = slice(start, start + 8)
        y, state, tape = twin.forward(data.x[:, window], state)
        loss, dy = cross_entropy(y, data.target[:, window])
        twin.backward(tape, dy)
        optimizer.step()
        total += loss * dy.shape[0] * dy.shape[1]
    assert history.loss == [total / 40]
    for name, array in twin.params.items():
        np.testing.assert_array_equal(model.params[name], array)


def test_one_window_is_plain_backpropagation_to_the_last_bit():
    found = []
    for tbptt in (None, (66, 66), (1000, 1000)):
        model = network()
        optimizer = crnn.optim.Adam(model)
        options = {"loss": cross_entropy, "optimizer": optimizer, "epochs": 2, "progress": False}
        found.append(fit(model, streams(), tbptt=tbptt, **options).loss)
    assert found[0] == found[1] == found[2]


def test_windows_clip_lengths_and_skip_padding():
    seen = []

    def loss(y, target, lengths):
        seen.append((target.shape[1], lengths.tolist()))
        return cross_entropy(y, target, lengths)

    x = rng.integers(0, K, (3, 20))
    data = [
        (x, x, np.array([3, 9, 0])),
        (x, x, np.array([0, 0, 0])),
        (x[:0], x[:0], np.zeros(0, int)),
    ]
    run = trainer(network(), data, epochs=1, loss=loss, tbptt=(4, 4))
    run.run()
    assert seen == [(4, [3, 4, 0]), (4, [0, 4, 0]), (1, [0, 1, 0])]
    assert run.history.update == [3]


def test_items_without_valid_steps_are_no_updates():
    x = rng.integers(0, K, (2, 3))
    data = [(x, x, np.array([0, 0])), (x[:, :0], x[:, :0]), (x, x)]
    run = trainer(network(), data, epochs=1, tbptt=None)
    run.run()
    assert run.history.update == [1]
    assert count_updates(data) == 1


def test_a_target_for_each_row_counts_rows():
    class Last(crnn.LSTM):
        """Returns only the last state."""

        def forward(self, x, state=None, *, lengths=None, training=True):
            _, (h, c), tape = super().forward(x, state, lengths=lengths)
            return h, (h, c), tape

        def backward(self, tape, dy, dstate=None):
            return super().backward(tape, None, (dy, np.zeros_like(dy)))

    model = Last(2, K, seed=0)
    data = [(rng.normal(size=(B, 3, 2)), rng.integers(0, K, B)) for B in (2, 6)]
    expected = []

    def loss(y, target, lengths):
        value, dy = cross_entropy(y, target)
        expected.append(value * len(y))
        return value, dy

    optimizer = crnn.optim.SGD(model, lr=0.1)
    history = fit(model, data, loss=loss, optimizer=optimizer, epochs=1, progress=False)
    assert history.loss == [sum(expected) / 8]


def test_the_loss_goes_down_with_mse_too():
    x = rng.normal(size=(4, 10, 2))
    model = crnn.Sequential([crnn.RNN(2, 8, seed=0), crnn.Dense(8, 2, seed=1)])
    optimizer = crnn.optim.Adam(model, lr=0.03)
    data = [(x, np.roll(x, 1, axis=1))]
    history = fit(model, data, loss=mse, optimizer=optimizer, epochs=60, progress=False)
    assert history.loss[-1] < 0.3 * history.loss[0]


def test_old_gradients_do_no_harm():
    model, twin = network(), network()
    model.grads["0.W_x"] = 1e9
    for one in (model, twin):
        optimizer = crnn.optim.SGD(one)
        fit(one, streams(), loss=cross_entropy, optimizer=optimizer, epochs=1, progress=False)
    np.testing.assert_array_equal(model.params["0.W_x"], twin.params["0.W_x"])


def test_validation_is_the_mean_over_valid_steps_without_dropout():
    held_out = lines(count=7)
    run = trainer(network(dropout=0.5), lines(), epochs=2, validation=held_out)
    history = run.run()
    total = sum(
        cross_entropy(run.model(x, lengths=n)[0], t, n)[0] * n.sum() for x, t, n in held_out
    )
    assert history.val_loss[-1] == pytest.approx(total / held_out.steps, rel=1e-12)
    assert history.val_loss[-1] == evaluate(run.model, held_out, loss=cross_entropy)


def test_evaluation_in_windows_is_evaluation():
    model, data = network(), streams()
    whole = evaluate(model, data, loss=cross_entropy)
    assert evaluate(model, data, loss=cross_entropy, tbptt=(7, 7)) == pytest.approx(whole, rel=1e-6)


def test_set_epoch_is_called_before_each_pass():
    told = []

    class Data:
        def set_epoch(self, epoch):
            told.append(epoch)

        def __iter__(self):
            x = np.zeros((1, 2), int)
            yield x, x

    trainer(data=Data(), epochs=3, validation=Data()).run()
    assert told == [0, 0, 0, 1, 1, 2, 2]  # the first call checks the validation data


def test_callbacks_are_called_in_order():
    recorder = Recorder()
    run = trainer(data=lines(count=6), epochs=2, callbacks=[recorder])
    run.run()
    assert recorder.events == ["start", *["update", "update", "epoch"] * 2, "end"]
    assert len(run.history) == 2


def test_on_end_is_called_after_an_exception():
    class Fails(Callback):
        def on_update(self, run):
            raise ZeroDivisionError

    recorder = Recorder()
    with pytest.raises(ZeroDivisionError):
        trainer(callbacks=[recorder, Fails()]).run()
    assert recorder.events == ["start", "update", "end"]


def test_steps_of_an_item_may_have_no_lengths():
    x = rng.integers(0, K, (2, 5))
    for data in ([(x, x, None)], [[x.tolist(), x.tolist()]]):
        assert trainer(data=data, epochs=1).run().update == [1]


# -------------------------------------------------------------------------------- wrong arguments


def generator():
    x = np.zeros((1, 2), int)
    yield x, x


def ragged(*lengths):
    x = np.zeros((2, 8), int)
    return [(x, x, np.array(lengths))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs: expected an integer of at least 1"),
        ({"tbptt": 8}, r"tbptt: expected None or \(k1, k2\), got 8"),
        ({"tbptt": (8, 0)}, "k2: expected an integer of at least 1"),
        ({"data": []}, "data: expected items, got none"),
        (
            {"data": generator()},
            "data: expected items, got none. An iterator can be read only once",
        ),
        (
            {"data": [np.zeros(3)]},
            r"data: expected items \(x, target\) or .* got a list of arrays: write data=",
        ),
        ({"data": [(1,)]}, r"data: expected items \(x, target\) or .* got \(1,\)"),
        ({"data": ragged(1, 2, 3)}, r"lengths: expected .* \(B=2,\), got shape \(3,\)"),
        ({"data": ragged(1, 99)}, "lengths: expected integers from 0 to T=8, got 99 in row 1"),
        ({"data": ragged(-1, 2)}, "lengths: expected integers from 0 to T=8, got -1 in row 0"),
        (
            {"data": [(np.zeros((2, 3), int), np.zeros(2, int))]},
            r"data: expected x .* with tbptt, got shapes \(2, 3\) and \(2,\)",
        ),
        ({"validation": []}, "validation: expected items, got none"),
        (
            {"validation": [(np.zeros((2, 0), int), np.zeros((2, 0), int))]},
            "validation: expected data with valid steps, got none",
        ),
        (
            {"data": [(np.zeros((2, 0), int), np.zeros((2, 0), int))]},
            "data: expected data with valid steps, got none",
        ),
    ],
)
def test_wrong_arguments(options, message):
    model = network()
    before = model.state_dict()
    given = {"data": streams(), "epochs": 2, "tbptt": (8, 8)} | options
    with pytest.raises(ValueError, match=message):
        Trainer(
            model,
            given.pop("data"),
            loss=cross_entropy,
            optimizer=crnn.optim.SGD(model, lr=0.0),
            **given,
        ).run()
    for name, array in model.params.items():
        np.testing.assert_array_equal(array, before[name])


def test_a_loss_that_is_not_finite_stops_the_run_before_the_update():
    values = iter([1.0, math.nan])

    def loss(y, target, lengths):
        return next(values), np.ones_like(y)

    run = trainer(loss=loss)
    with pytest.raises(FloatingPointError, match="the loss is nan after 1 updates, in epoch 1"):
        run.run()
    assert run.position.update == 1
    assert all(np.isfinite(array).all() for array in run.model.params.values())
    run.state_dict()  # the state after the first update


def test_a_gradient_that_is_not_finite_stops_the_run():
    def loss(y, target, lengths):
        return 1.0, np.full_like(y, np.inf)

    model = network()
    before = model.state_dict()
    with pytest.raises(FloatingPointError, match="gradient"):
        trainer(model, loss=loss).run()
    np.testing.assert_array_equal(model.params["3.W"], before["3.W"])
