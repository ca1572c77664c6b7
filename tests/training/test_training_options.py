"""Items with masks, resets and weights; accumulation; checkpoint_every; NaN and infinity."""

import math

import numpy as np
import pytest

import crnn
from crnn.callbacks import Callback
from crnn.layers.compose.pooling import Pool
from crnn.losses import cross_entropy, mse
from crnn.training.evaluation import count_updates, evaluate
from crnn.training.fitting import fit
from crnn.training.trainer import Trainer
from support.comparing import assert_close
from support.runs import K, Told, network, streams, trainer

rng = np.random.default_rng(4)
OFF = {"epochs": 1, "progress": False}


def batch(B=2, T=5, seed=0, **extras):
    draw = np.random.default_rng(seed)
    x, target = draw.normal(size=(B, T, 2)), draw.integers(0, K, (B, T))
    return (x, target, None, extras) if extras else (x, target)


# --------------------------------------------------------------------------------- the 4th entry


def test_masks_resets_and_weights_go_where_they_belong():
    mask, resets = rng.random((2, 5)) < 0.5, rng.random((2, 5)) < 0.5
    weights, seen = rng.random((2, 5)), []

    def loss(y, target, lengths, weights=None):
        seen.append(weights)
        return cross_entropy(y, target, lengths, weights=weights)

    model = Told()
    data = [batch(mask=mask, resets=resets, weights=weights), batch(seed=1)]
    options = {"loss": loss, "optimizer": crnn.optim.SGD(model)}
    history = fit(model, data, validation=data, tbptt=(3, 3), **options, **OFF)
    pieces = [slice(0, 3), slice(3, 5)]
    for told, given, steps in zip(model.told[:2], seen[:2], pieces, strict=True):
        np.testing.assert_array_equal(told[1], mask[:, steps])
        np.testing.assert_array_equal(told[2], resets[:, steps])
        np.testing.assert_array_equal(given, weights[:, steps])
    assert model.told[2][1] is model.told[2][2] is seen[2] is None
    assert [told[3] for told in model.told[:4]] == [0, 1, 2, 3]
    total = sum(
        value * w.sum()
        for (x, target), w in ((batch(), weights), (batch(seed=1), np.ones((2, 5))))
        for value in [cross_entropy(model.dense(x)[0], target, weights=w)[0]]
    )
    assert history.val_loss == [pytest.approx(total / (weights.sum() + 10), rel=1e-12)]


def test_history_with_weights_is_the_weighted_mean():
    weights = np.array([[1, 0, 2, 0.5, 1], [0, 0, 1, 3, 1]])
    lengths = np.array([3, 4])
    x, target = batch()
    model = Told()
    options = {"loss": cross_entropy, "optimizer": crnn.optim.SGD(model, 0.0)}
    data = [(x, target, lengths, {"weights": weights}), batch(seed=1)]
    history = fit(model, data, **options, **OFF)
    counts = [3 + 4, 10]  # sums of weights within the lengths
    values = [
        cross_entropy(model.dense(x)[0], target, lengths, weights=weights)[0],
        cross_entropy(model.dense(batch(seed=1)[0])[0], batch(seed=1)[1])[0],
    ]
    assert history.loss == [pytest.approx(np.average(values, weights=counts), rel=1e-12)]


def test_options_that_a_model_does_not_take_are_errors():
    class Deaf(Told):
        def forward(self, x, state=None, *, lengths=None, training=True):
            return super().forward(x, state)

    data = [batch(mask=np.ones((2, 5), bool))]
    deaf = Deaf()
    run = {"loss": cross_entropy, "optimizer": crnn.optim.SGD(deaf)}
    with pytest.raises(ValueError, match=r"data: mask: expected none, the forward of Deaf takes"):
        fit(deaf, data, **run, **OFF)
    with pytest.raises(ValueError, match=r"data: mask: expected none"):
        evaluate(Deaf(), data, loss=cross_entropy)


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        ({"spam": 1}, r"data: the fourth entry .* mask, resets, weights, got \['spam'\]"),
        (3, "data: the fourth entry of an item: expected a mapping .* got 3"),
        ({"mask": np.ones((2, 4), bool)}, r"mask: expected shape \(B, T\) = \(2, 5\), got .* 4\)"),
        ({"resets": np.ones(2, bool)}, r"resets: expected shape \(B, T\) = \(2, 5\)"),
        ({"weights": np.ones((5, 2))}, r"weights: expected shape \(B, T\) = \(2, 5\)"),
    ],
)
def test_wrong_extras(extras, message):
    x, target = batch()
    model = Told()
    options = {"loss": cross_entropy, "optimizer": crnn.optim.SGD(model)}
    with pytest.raises(ValueError, match=message):
        fit(model, [(x, target, None, extras)], **options, **OFF)


def test_a_y_without_steps_has_no_lengths_and_counts_rows():
    seen, lengths = [], np.array([1, 5, 3])

    def loss(y, target, lengths):
        seen.append(lengths)
        return cross_entropy(y, target, lengths)

    model = Told(last=True)
    data = [
        (rng.normal(size=(B, 5, 2)), rng.integers(0, K, B), lengths[:B]) for B in (3, 1)
    ]  # fmt: skip
    options = {"loss": loss, "optimizer": crnn.optim.SGD(model, 0.0)}
    run = Trainer(model, data, validation=data, epochs=1, **options)
    run.run()
    assert seen == [None] * 4
    values = [cross_entropy(model.dense(x[:, -1])[0], t)[0] for x, t, _ in data]
    expected = pytest.approx(np.average(values, weights=[3, 1]), rel=1e-12)
    assert run.history.loss == [expected]
    assert run.history.val_loss == [expected]
    np.testing.assert_array_equal(
        model.told[0][0], lengths
    )  # the model gets them, the loss does not


def test_a_pooled_classifier_learns():
    x = rng.normal(size=(60, 7, 2))
    target = (x[:, :, 0].sum(axis=1) > 0).astype(int)
    lengths = np.full(60, 7)
    model = crnn.Sequential([crnn.GRU(2, 8, seed=0), Pool(), crnn.Dense(8, 2, seed=1)])
    options = {"loss": cross_entropy, "optimizer": crnn.optim.Adam(model, 0.02)}
    history = fit(model, [(x, target, lengths)], epochs=60, progress=False, **options)
    assert history.loss[-1] < 0.3 < history.loss[0]


def test_a_model_that_reads_a_pair_is_cut_along_x_alone():
    class Pair(Told):
        def forward(self, x, state=None, *, lengths=None, training=True):
            steps, fixed = x
            shapes.append((steps.shape, fixed.shape))
            return super().forward(steps + fixed[:, None], state)

    shapes, model = [], Pair()
    x, target = batch()
    options = {"loss": cross_entropy, "optimizer": crnn.optim.SGD(model)}
    fit(model, [((x, np.ones((2, 2))), target)], tbptt=(3, 3), **options, **OFF)
    assert shapes == [((2, 3, 2), (2, 2)), ((2, 2, 2), (2, 2))]


# ------------------------------------------------------------------------------------ accumulation


def ragged(sizes, seed=0):
    draw = np.random.default_rng(seed)
    return [
        (draw.integers(0, K, (B, 6)), draw.integers(0, K, (B, 6)), draw.integers(1, 7, B))
        for B in sizes
    ]


@pytest.mark.parametrize("weighted", [False, True])
def test_accumulated_items_are_one_batch(weighted):
    data = ragged([2, 3, 1, 4, 2])
    if weighted:
        data = [(*each, {"weights": rng.random(each[0].shape)}) for each in data]
    together = []
    for group in (data[:2], data[2:4], data[4:]):
        arrays = [np.concatenate(column) for column in zip(*[e[:3] for e in group], strict=True)]
        if weighted:
            arrays.append({"weights": np.concatenate([each[3]["weights"] for each in group])})
        together.append(tuple(arrays))
    found = []
    for items, accumulate in ((data, 2), (together, 1)):
        model = network().astype("float64")
        run = Trainer(
            model, items, loss=cross_entropy, epochs=3, accumulate=accumulate,
            optimizer=crnn.optim.Adam(model, 0.01, clip_norm=0.1),
        )  # fmt: skip
        run.run()
        found.append((run, model))
    (one, first), (two, second) = found
    assert one.history.update == two.history.update == [3, 6, 9]
    assert one.history.loss == pytest.approx(two.history.loss, rel=1e-12)
    assert one.norm == pytest.approx(two.norm, rel=1e-9)
    for name, array in first.params.items():
        assert_close(array, second.params[name], 1e-9, name)
    assert count_updates(data, accumulate=2) == 3


def test_rows_are_counted_on_within_an_update():
    model = Told()
    options = {"loss": cross_entropy, "optimizer": crnn.optim.SGD(model)}
    empty = (np.zeros((4, 0, 2)), np.zeros((4, 0), int))
    data = [batch(B, seed=B) for B in (2, 3)] + [empty] + [batch(B, seed=B) for B in (1, 4, 5)]
    fit(model, data, accumulate=2, **options, **OFF)
    assert [told[3:] for told in model.told] == [(0, 0), (0, 2), (1, 0), (1, 1), (2, 0)]


@pytest.mark.parametrize("update", [1, 2, 3, 4])
def test_a_run_that_accumulates_is_resumed(tmp_path, update):
    def run(callbacks=()):
        model = network(dropout=0.3)
        return Trainer(
            model, ragged([2, 3, 1, 4, 2]), loss=cross_entropy, epochs=2, accumulate=2,
            optimizer=crnn.optim.Adam(model, 0.01), callbacks=callbacks,
        )  # fmt: skip

    class Save(Callback):
        def on_update(self, run):
            if run.position.update == update:
                run.save(tmp_path / "run.npz")

    whole, again = run([Save()]), run()
    whole.run()
    again.resume(tmp_path / "run.npz")
    again.run()
    np.testing.assert_equal(again.model.state_dict(), whole.model.state_dict())
    assert again.history.loss == whole.history.loss


@pytest.mark.parametrize("options", [{"tbptt": (2, 2)}, {"stateful": True}])
def test_accumulation_does_not_go_with_windows(options):
    with pytest.raises(ValueError, match=r"accumulate: expected 1 with tbptt or stateful"):
        trainer(accumulate=2, **({"tbptt": None} | options))


# --------------------------------------------------------------------------------- checkpoint_every


@pytest.mark.parametrize("tbptt", [None, (8, 8)])
def test_checkpoints_in_time_change_nothing(tbptt):
    found = []
    for every in (None, 3):
        model = network().astype("float64")
        optimizer = crnn.optim.Adam(model)
        options = {"loss": cross_entropy, "optimizer": optimizer, "epochs": 2, "progress": False}
        history = fit(model, streams(60), tbptt=tbptt, checkpoint_every=every, **options)
        found.append((model.state_dict(), history.loss))
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-12)
    for name, array in found[0][0].items():
        assert_close(found[1][0][name], array, 1e-10, name)


@pytest.mark.parametrize("tbptt", [(8, 3), (8, 9)])
def test_checkpoints_in_time_do_not_go_with_another_k2(tbptt):
    with pytest.raises(ValueError, match="checkpoint_every: expected None where k1 and k2 differ"):
        trainer(tbptt=tbptt, checkpoint_every=4)
    with pytest.raises(ValueError, match="checkpoint_every: expected an integer of at least 1"):
        trainer(checkpoint_every=0)


# ---------------------------------------------------------------------------------- not finite


def nan_at(place, value=np.nan):
    """A model in which the output of one layer is not finite."""
    model = network()
    nested = crnn.Sequential([model.layers[0], crnn.Sequential(model.layers[1:])])
    dict(nested.params)[place][...] = value
    return nested


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("0.W_h", r"parameter W_h of layer 0, LSTM\(4, 5, seed=0\) is not finite"),
        ("1.1.b", r"parameter b of layer 1\.1, GRU\(5, 3, seed=2\) is not finite"),
        ("1.2.W", r"parameter W of layer 1\.2, Dense\(3, 4, seed=3\) is not finite"),
    ],
)
def test_the_layer_with_a_parameter_that_is_not_finite_is_named(place, message):
    with pytest.raises(
        FloatingPointError, match=rf"the loss is nan after 0 updates, in epoch 1: the {message}"
    ):
        trainer(nan_at(place)).run()


def test_the_layer_whose_output_is_not_finite_is_named():
    layers = [crnn.RNN(2, 3, activation="relu", seed=0), crnn.RNN(3, 3, seed=1)]
    model = crnn.Sequential([*layers, crnn.Dense(3, 2, seed=2)])
    model.params["0.W_h"] = 1e30  # it explodes in two steps
    model.params["0.b"] = 1.0
    before = model.state_dict()
    data = [(np.zeros((2, 6, 2)), np.zeros((2, 6, 2)))]
    options = {"loss": mse, "optimizer": crnn.optim.SGD(model)}
    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match=r"the output of layer 0, RNN\(2, 3, activation="),
    ):
        fit(model, data, **options, **OFF)
    np.testing.assert_equal(model.state_dict(), before)


@pytest.mark.parametrize(
    ("x", "target", "message"),
    [(np.nan, 0.0, "the input x is not finite"), (0.0, np.inf, "the target is not finite")],
)
def test_data_that_are_not_finite_are_named(x, target, message):
    model = crnn.LSTM(2, 2)
    data = [(np.full((1, 3, 2), x), np.full((1, 3, 2), target))]
    with pytest.raises(FloatingPointError, match=message):
        fit(model, data, loss=mse, optimizer=crnn.optim.SGD(model), **OFF)


def test_the_layer_where_a_gradient_stops_being_finite_is_named():
    class Breaks(crnn.LayerNorm):
        def backward(self, tape, dy, dstate=None):
            dx, _ = super().backward(tape, dy)
            return dx * np.inf, None

    model = crnn.Sequential(
        [crnn.LSTM(2, 4, seed=0), crnn.Sequential([crnn.RNN(4, 4, seed=1), Breaks(4)])]
    )
    before = model.state_dict()
    data = [(rng.normal(size=(2, 3, 2)), rng.normal(size=(2, 3, 4)))]
    run = Trainer(model, data, loss=mse, optimizer=crnn.optim.Adam(model), epochs=1)
    with (
        np.errstate(all="ignore"),
        pytest.raises(
            FloatingPointError,
            match=r"a gradient is not finite after 0 updates, in epoch 1: "
            r"the gradient of 1\.0\.b of layer 1\.0, RNN\(4, 4, seed=1\) is nan at \(0,\)",
        ),
    ):
        run.run()
    np.testing.assert_equal(model.state_dict(), before)
    assert not any(grad.any() for grad in model.grads.values())
    assert (run.position.update, run.optimizer.steps) == (0, 0)
    run.state_dict()


def test_a_run_continues_after_its_data_are_corrected():
    values = iter([math.nan])

    def loss(y, target, lengths):
        value, dy = cross_entropy(y, target, lengths)
        return next(values, value), dy

    whole, run = trainer(), trainer(loss=loss)
    whole.run()
    with pytest.raises(FloatingPointError, match="it is the loss itself"):
        run.run()
    run.run()
    np.testing.assert_equal(run.model.state_dict(), whole.model.state_dict())
