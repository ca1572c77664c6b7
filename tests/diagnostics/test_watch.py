"""crnn.watch: a run with it has the same results; its records and its warnings."""

import math
import warnings

import numpy as np
import pytest

import crnn
from crnn.callbacks import Callback
from crnn.diagnostics import TrainingWarning
from crnn.diagnostics.watching import largest_singular_values
from crnn.losses import cross_entropy, mse
from crnn.training.trainer import Trainer
from support.comparing import assert_same_bits
from support.displays import check_display
from support.running import fill
from support.runs import StopAt, lines, network, numbers, streams, trainer

pytestmark = pytest.mark.filterwarnings("error")

B, T, I, H = 4, 9, 3, 5


class Gradients(Callback):
    """Records the gradients of each update."""

    def __init__(self):
        self.seen = []

    def on_backward(self, run):
        assert run.update_pass is not None
        self.seen.append({name: grad.copy() for name, grad in run.model.grads.items()})


def series(items=3, many_to_one=False, steps=T, size=2, seed=0):
    rng = np.random.default_rng(seed)
    shape = (B, size) if many_to_one else (B, steps, size)
    lengths = [np.array([steps, 2, 0, steps - 1])] * items
    return [(rng.normal(size=(B, steps, I)), rng.normal(size=shape), ends) for ends in lengths]


def pairs(items=3):
    rng = np.random.default_rng(0)
    return [
        (
            (rng.integers(0, 5, (B, 6)), rng.integers(0, 4, (B, 7)), np.array([6, 3, 1, 6])),
            rng.integers(0, 4, (B, 7)),
            np.array([7, 2, 5, 1]),
        )
        for _ in range(items)
    ]


def seq(*layers):
    return crnn.Sequential(list(layers))


def _stack(**options):
    layers = crnn.LSTM(I, H, seed=1, **options), crnn.Dropout(0.3, seed=2), crnn.GRU(H, 4, seed=3)
    return seq(*layers, crnn.Dense(4, 2, seed=4))


def _translating():
    encoder = crnn.Bidirectional(crnn.GRU(4, 3, seed=1))
    decoder = seq(crnn.LSTM(4 + 6, 5, seed=2), crnn.Dropout(0.2, seed=3))
    options = {"source_symbols": 5, "target_symbols": 4, "attention": "additive", "seed": 0}
    model = crnn.Seq2Seq(encoder, decoder, **options)
    return crnn.TeacherForcing(model, probability=0.5, seed=7)


def _tied():
    embedding = crnn.Embedding(4, 5, seed=1)
    return seq(embedding, crnn.GRU(5, 5, seed=2), crnn.TiedDense(embedding))


def _many_to_one():
    pooled = crnn.Bidirectional(crnn.LSTM(I, 4, seed=1)), crnn.Pool("mean")
    return seq(*pooled, crnn.Dense(8, 2, seed=2))


def _checkpointed():
    return seq(crnn.Checkpointed(crnn.GRU(I, H, seed=1), 4), crnn.Dense(H, 2, seed=2))


RUNS = {
    "plain": (_stack, series, mse, {}),
    "drops": (lambda: _stack(recurrent_dropout=0.3, zoneout=0.2), series, mse, {}),
    "one layer": (lambda: crnn.JANET(I, 2, seed=1), series, mse, {}),
    "symbols": (_tied, lines, cross_entropy, {}),
    "many to one": (_many_to_one, lambda: series(many_to_one=True), mse, {}),
    "tbptt": (_stack, series, mse, {"tbptt": (4, 4)}),
    "tbptt short": (_stack, series, mse, {"tbptt": (4, 2)}),
    "tbptt long": (_stack, series, mse, {"tbptt": (4, 7)}),
    "stateful": (network, streams, cross_entropy, {"tbptt": (8, 11), "stateful": True}),
    "accumulate": (_stack, lambda: series(5), mse, {"accumulate": 2}),
    "checkpoint every": (_stack, series, mse, {"checkpoint_every": 4}),
    "checkpointed inside": (_checkpointed, series, mse, {}),
    "translation": (_translating, pairs, cross_entropy, {}),
    "no recurrent part": (lambda: crnn.Dense(I, 2, seed=1), series, mse, {"tbptt": (4, 2)}),
}


def run_of(name, callbacks, clip_norm=0.05):
    make, data, loss, options = RUNS[name]
    model = make()
    optimizer = crnn.optim.Adam(model, lr=0.01, clip_norm=clip_norm)
    watches = [
        callback(model) if callback is not Gradients else callback() for callback in callbacks
    ]
    return Trainer(
        model, data(), loss=loss, optimizer=optimizer, epochs=2, callbacks=watches, **options
    ), watches


@pytest.mark.parametrize("name", RUNS)
def test_a_watched_run_is_the_same_to_the_last_bit(name):
    alone, (plain,) = run_of(name, [Gradients])
    alone.run()
    watched, (watch, seen) = run_of(
        name, [lambda model: crnn.watch(model, every=1, warn=False), Gradients]
    )
    watched.run()
    assert_same_bits(seen.seen, plain.seen)
    np.testing.assert_equal(numbers(watched), numbers(alone))
    assert [record["update"] for record in watch.records] == list(range(1, len(seen.seen) + 1))
    for record, grads in zip(watch.records, seen.seen, strict=True):
        total = math.sqrt(sum(float((grad.astype("f8") ** 2).sum()) for grad in grads.values()))
        assert record["norm"] == pytest.approx(total, rel=1e-5)
        assert all(math.isfinite(value) for value in record.values())
    reaches = [key for key in watch.records[0] if key.endswith("reach")]
    assert len(reaches) == sum(name.endswith("W_h") for name in watched.model.params)


def test_every_nth_update():
    for every, expected in ((1, [1, 2, 3, 4, 5, 6]), (4, [1, 5]), (100, [1])):
        run, (watch,) = run_of("plain", [lambda model, every=every: crnn.watch(model, every)])
        run.run()
        assert [record["update"] for record in watch.records] == expected


def test_what_is_recorded_of_a_layer():
    layer = crnn.LSTM(I, 2, seed=1)
    data, seen = series(1, steps=6), Gradients()
    watch = crnn.watch(layer, every=1, fraction=0.2, warn=False)
    before = layer.state_dict()
    optimizer = crnn.optim.SGD(layer, lr=0.1)
    crnn.fit(
        layer,
        data,
        loss=mse,
        optimizer=optimizer,
        epochs=1,
        callbacks=[watch, seen],
        progress=False,
    )
    (record,) = watch.records
    gates = [f"{gate}.{kind}" for gate in "ifgo" for kind in ("saturated", "sigma")]
    assert list(record) == ["update", "norm", "gradient", "reach", "steps", "growth", *gates]
    assert record["norm"] == record["gradient"]
    twin = crnn.LSTM(I, 2)
    twin.load_state_dict(before)
    x, target, lengths = data[0]
    y, _, tape = twin.forward(x, lengths=lengths)
    _, dy = mse(y, target, lengths)
    last = np.zeros_like(dy)
    for row, end in enumerate(lengths):
        if end:
            last[row, end - 1] = dy[row, end - 1]
    twin.backward(tape, last, trace=True)
    reaches, growths = [], []
    for row, end in enumerate(lengths):
        if end:
            back = np.linalg.norm(tape.dh[row, :end], axis=1)[::-1]
            reaches.append(max(k for k in range(end) if back[k] >= 0.2 * back[0]))
            growths.append(back[-1] / back[0])
    assert record["reach"] == np.median(reaches)
    assert record["growth"] == pytest.approx(np.median(growths), rel=1e-5)
    assert record["steps"] == np.median(lengths[lengths > 0])
    for i, gate in enumerate("ifgo"):
        block = before["W_h"][2 * i : 2 * i + 2]
        assert record[f"{gate}.sigma"] == pytest.approx(np.linalg.norm(block, 2), rel=1e-5)


def test_a_window_in_pieces_has_the_record_of_the_whole():
    records = []
    for tbptt in (None, (6, 6), (6, 2)):  # the last one in pieces of 4 and 2 steps
        layer = crnn.LSTM(I, 2, seed=1)
        watch = crnn.watch(layer, fraction=0.2, warn=False)
        crnn.fit(
            layer, series(1, steps=6), loss=mse, optimizer=crnn.optim.SGD(layer, lr=0.1), epochs=1,
            callbacks=[watch], progress=False, tbptt=tbptt,
        )  # fmt: skip
        (record,) = watch.records
        records.append({name: record[name] for name in ("reach", "steps", "growth", "f.saturated")})
    assert records[0]["growth"] > 0
    for record in records[1:]:
        assert record == pytest.approx(records[0], rel=1e-5)


def test_layers_that_read_backwards_start_from_their_first_output():
    layer = crnn.Bidirectional(crnn.RNN(I, 3, activation="identity", seed=0))
    layer.forward_layer.params["W_h"] = 0.5 * np.eye(3)
    layer.backward_layer.params["W_h"] = 0.25 * np.eye(3)
    watch = crnn.watch(layer, warn=False)
    rng = np.random.default_rng(0)
    data = [(rng.normal(size=(B, 20, I)), rng.normal(size=(B, 20, 6)))]
    optimizer = crnn.optim.SGD(layer, lr=1e-6)
    crnn.fit(
        layer, data, loss=mse, optimizer=optimizer, epochs=1, callbacks=[watch], progress=False
    )
    (record,) = watch.records
    assert record["forward.reach"] == 6  # 2**-6 = 0.016
    assert record["backward.reach"] == 3  # 4**-3 = 0.016
    assert record["forward.growth"] == pytest.approx(0.5**19, rel=1e-4)


# ----------------------------------------------------------------------------------------- warnings


def fitted(model, epochs=4, steps=40, callbacks=(), **options):
    """Return a watch over updates that hardly change the parameters."""
    watch = crnn.watch(model, every=1, **options)
    data = [item[:2] for item in series(1, steps=steps, size=model.output_size)]
    optimizer, called = crnn.optim.SGD(model, lr=1e-30), [watch, *callbacks]
    crnn.fit(
        model, data, loss=mse, optimizer=optimizer, epochs=epochs, callbacks=called, progress=False
    )
    return watch


def vanishing():
    layer = crnn.RNN(I, H, seed=0)
    layer.params["W_h"] = 0.3 * np.eye(H)
    return layer


def test_a_vanishing_gradient_warns_once_after_two_records():
    with pytest.warns(TrainingWarning) as caught:
        watch = fitted(vanishing())
    (message,) = watch.messages
    assert [str(one.message) for one in caught] == [message]
    assert message.startswith("after 2 updates, RNN: the gradient reaches ")
    assert message.endswith(" steps back (beyond, less than 1% of it is left); sequences have 40")
    with pytest.warns(TrainingWarning, match="less than 20% of it"):
        fitted(vanishing(), fraction=0.2)
    assert not fitted(vanishing(), epochs=1).messages  # one record is not enough


def test_a_long_memory_does_not_warn():
    layer = crnn.LSTM(I, H, forget_bias=5.0, seed=0)
    messages = fitted(layer, warn=False).messages
    assert not [message for message in messages if "reaches" in message or "grows" in message]


def test_without_warnings_there_are_messages():
    watch = fitted(vanishing(), warn=False)
    assert len(watch.messages) == 1


def test_growth_saturation_and_dead_units():
    layer = crnn.RNN(I, H, activation="identity", seed=0)
    layer.params["W_h"] = 1.3 * np.eye(H)
    (message,) = fitted(layer, warn=False).messages
    assert "the gradient grows" in message
    assert "times over 40 steps back in time; clip_norm limits" in message
    layer = crnn.GRU(I, H, seed=0)
    layer.params["b"][-H:] = 40
    messages = fitted(layer, warn=False).messages
    assert any("GRU: 100% of the values of n lie at the ends" in one for one in messages)
    layer = crnn.LSTM(I, H, forget_bias=30.0, seed=0)  # saturated, because the user sets this bias
    watch = fitted(layer, warn=False)
    assert watch.columns["f.saturated"][0] == 1
    assert not [message for message in watch.messages if "ends of" in message]
    layer = crnn.RNN(I, H, activation="relu", seed=0)
    layer.params["b"][:4] = -100
    messages = fitted(layer, warn=False).messages
    assert any("RNN: 80% of the units are 0 at every step" in one for one in messages)


def test_a_warning_points_at_the_line_that_trains():
    with pytest.warns(TrainingWarning) as seen:
        fitted(vanishing())
    assert {warning.filename for warning in seen} == {__file__}


def test_a_run_from_its_beginning_begins_the_records_anew():
    model = vanishing()
    watch = crnn.watch(model, every=2, warn=False)
    x = np.ones((B, 40, I), "float32")
    for _ in range(2):
        crnn.fit(model, [(x, np.zeros((B, 40, H)))] * 5, loss=mse, epochs=1, callbacks=[watch],
                 optimizer=crnn.optim.SGD(model, lr=1e-6), progress=False)  # fmt: skip
        assert watch.columns["update"] == [1, 3, 5]


def test_a_layer_without_a_gradient_does_not_warn():
    layer = crnn.RNN(I, H, seed=0)
    x = np.ones((B, 40, I), "float32")
    y, _ = layer(x)
    watch = crnn.watch(layer, every=1, warn=False)
    adam = crnn.optim.Adam(layer)
    crnn.fit(layer, [(x, y)] * 3, loss=mse, optimizer=adam, epochs=1, callbacks=[watch],
             progress=False)  # fmt: skip
    assert math.isnan(watch.columns["reach"][0])
    assert not watch.messages


def test_warnings_name_the_place_of_the_layer():
    model = seq(crnn.Embedding(4, I, seed=0), vanishing(), crnn.Dense(H, 4, seed=0))
    watch = crnn.watch(model, every=1, warn=False)
    rng = np.random.default_rng(0)
    data = [(rng.integers(0, 4, (B, 50)), rng.integers(0, 4, (B, 50)))]
    crnn.fit(
        model, data, loss=cross_entropy, optimizer=crnn.optim.SGD(model, 1e-6), epochs=3,
        callbacks=[watch], progress=False,
    )  # fmt: skip
    assert watch.messages[0].startswith("after 2 updates, 1 (RNN): the gradient reaches")


# ------------------------------------------------------------------------------------ resumed runs


@pytest.mark.parametrize("update", [1, 2, 5, 9, 13])
def test_a_resumed_run_records_the_same(tmp_path, update):
    def watched(model, callbacks=()):
        watch = crnn.watch(model, every=2, fraction=0.5, warn=False)
        return trainer(model, callbacks=[watch, *callbacks]), watch

    whole, expected = watched(network(dropout=0.3))
    whole.run()
    run, _ = watched(network(dropout=0.3), [StopAt(update)])
    with pytest.raises(KeyboardInterrupt):
        run.run()
    run.save(tmp_path / "run.npz")
    again, watch = watched(network(seed=7, dropout=0.3))
    again.model.layers[1].seed = run.model.layers[1].seed
    again.resume(tmp_path / "run.npz")
    again.run()
    np.testing.assert_equal(numbers(again), numbers(whole))
    assert watch.records == expected.records
    assert watch.messages == expected.messages
    assert watch.state_dict() == expected.state_dict()


def test_a_warning_is_not_repeated_after_resuming():
    watch = fitted(vanishing(), warn=False)
    other = crnn.watch(vanishing(), every=1)
    other.load_state_dict(watch.state_dict())
    assert other.messages == watch.messages
    other._warn(dict.fromkeys(watch.state_dict()["suspected"], "again"), 5)
    assert other.messages == watch.messages
    state = watch.state_dict()
    state["records"][0]["norm"] = -1
    assert watch.records[0]["norm"] > 0  # a snapshot
    before = other.state_dict()
    for wrong in ({}, {"records": 1, "messages": [], "suspected": [], "told": []}):
        with pytest.raises((KeyError, TypeError)):
            other.load_state_dict(wrong)
        assert other.state_dict() == before


# ------------------------------------------------------------------------------ on_backward, errors


def test_another_model_than_the_runs():
    model, other = _stack(), _stack()
    optimizer = crnn.optim.SGD(model, lr=0.1)
    before = model.state_dict()
    with pytest.raises(ValueError, match="model: expected the model that is trained"):
        crnn.fit(
            model, series(), loss=mse, optimizer=optimizer, epochs=1,
            callbacks=[crnn.watch(other)], progress=False,
        )  # fmt: skip
    assert_same_bits(model.state_dict(), before)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_callback_that_raises_leaves_everything_as_it_was(error):
    class Raises(Callback):
        def on_backward(self, run):
            assert any(grad.any() for grad in run.model.grads.values())
            assert run.update_pass.dy.any()
            raise error("enough")

    model = _stack()
    before = model.state_dict()
    run = Trainer(
        model, series(), loss=mse, optimizer=crnn.optim.Adam(model, 0.1), epochs=1,
        callbacks=[Raises()],
    )  # fmt: skip
    with pytest.raises(error, match="enough"):
        run.run()
    assert_same_bits(model.state_dict(), before)
    assert not any(grad.any() for grad in model.grads.values())
    assert run.update_pass is None
    assert run.position.update == 0


def test_a_warning_made_an_error_leaves_everything_as_it_was():
    class Keeps(Callback):
        def on_update(self, run):
            self.kept = run.model.state_dict()

    model, keeps = vanishing(), Keeps()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TrainingWarning, match="after 2 updates"):
            fitted(model, callbacks=[keeps])
    assert not any(grad.any() for grad in model.grads.values())
    assert_same_bits(model.state_dict(), keeps.kept)


def test_between_updates_no_pass_is_stored():
    class Looks(Callback):
        def on_update(self, run):
            assert run.update_pass is None
            assert not any(grad.any() for grad in run.model.grads.values())

        on_start = on_epoch = on_end = on_update

    run, _ = run_of("plain", [lambda model: Looks(), Gradients])
    run.run()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None,), TypeError, "model: expected a layer, got None"),
        ((crnn.GRU,), TypeError, "model: expected a layer, got .*a class"),
        ((_stack(), 0), ValueError, "every: expected an integer of at least 1.*, got 0"),
        ((_stack(), 1.5), TypeError, "every: expected an integer of at least 1, got 1.5"),
        ((_stack(), None), TypeError, "every: expected an integer of at least 1, got None"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        crnn.watch(*arguments)


@pytest.mark.parametrize("fraction", [0, -1, math.nan, "a", None])
def test_wrong_fractions(fraction):
    with pytest.raises(ValueError, match=f"fraction: expected a positive number, got {fraction!r}"):
        crnn.watch(_stack(), fraction=fraction)


# -------------------------------------------------------------------------------- singular values


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("H", "P"), [(1, 1), (7, 7), (33, 33), (40, 100), (128, 128), (300, 40)])
def test_largest_singular_values(H, P, dtype):
    rng = np.random.default_rng(H)
    W_h = rng.normal(size=(3 * H, P)).astype(dtype)
    W_h[:H] *= 1e-3
    expected = np.linalg.svd(W_h.reshape(3, H, P), compute_uv=False)[:, 0]
    found = largest_singular_values(W_h, 3)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0.01)
    assert_same_bits(largest_singular_values(W_h, 3), found)
    strided = np.asfortranarray(W_h)
    assert_same_bits(largest_singular_values(strided, 3), found)


@pytest.mark.parametrize("size", [1, 8, 64, 200])
def test_orthogonal_and_zero_matrices(size):
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))[0]
    W_h = np.concatenate([q, 0.25 * q, np.zeros((size, size))])
    found = largest_singular_values(W_h, 3)
    np.testing.assert_allclose(found, [1, 0.25, 0], rtol=1e-6, atol=1e-30)


# -------------------------------------------------------------------------------- tables, pictures


def test_tables_and_pictures():
    run, (watch,) = run_of("plain", [lambda model: crnn.watch(model, every=2, warn=False)])
    with pytest.raises(ValueError, match="what: expected a recorded quantity, got 'gradient'"):
        watch.plot()
    assert watch.columns == {}
    assert repr(watch) == "<Watch: 0 x ()>"
    run.run()
    check_display(watch)
    for what in ("gradient", "reach", "saturated", "sigma"):
        check_display(watch, what=what)
    assert watch.columns["update"] == [1, 3, 5]
    assert watch.columns["0.reach"] == [record["0.reach"] for record in watch.records]
    with pytest.raises(ValueError, match=r"what: expected one of gradient, reach, .* got 'loss'"):
        watch.plot(what="loss")


def test_columns_of_records_that_differ():
    watch = crnn.watch(fill(_stack()))
    watch.records += [{"update": 1, "norm": 1.0}, {"update": 2, "norm": 2.0, "0.reach": 3.0}]
    check_display(watch, what="reach")
    assert math.isnan(watch.columns["0.reach"][0])
