"""Training with frozen layers: `fit`, windows, accumulation, checkpoints, resuming, unfreezing."""

import numpy as np
import pytest

import crnn
from crnn.callbacks import Callback
from crnn.layers.base.adapted import frozen_names
from crnn.layers.base.trainable import NO_TAPE
from support.comparing import assert_same_bits
from support.running import copied

B, T, I, H = 4, 12, 3, 5


def head(seed=7):
    return [crnn.GRU(H, 4, seed=seed), crnn.Dense(4, 2, seed=seed + 1)]


def model():
    return crnn.Sequential([crnn.LSTM(I, H, seed=1), crnn.LayerNorm(H), *head()])


def data(items=3):
    rng = np.random.default_rng(0)
    return [
        (rng.normal(size=(B, T, I)).astype("f"), rng.normal(size=(B, T, 2)).astype("f"))
        for _ in range(items)
    ]


def fit(layer, items, epochs=3, lr=0.05, **options):
    optimizer = crnn.optim.Adam(layer, lr=lr, clip_norm=1.0)
    loss = crnn.losses.mse
    options |= {"loss": loss, "optimizer": optimizer, "epochs": epochs, "progress": False}
    return crnn.fit(layer, items, **options)


def freeze_body(layer):
    layer[0].trainable = layer[1].trainable = False
    return layer


OPTIONS = {
    "plain": {},
    "tbptt": {"tbptt": (4, 4)},
    "tbptt-head": {"tbptt": (6, 3)},
    "tbptt-further": {"tbptt": (3, 7)},
    "stateful": {"tbptt": (3, 7), "stateful": True},
    "accumulate": {"accumulate": 2},
    "checkpoints": {"checkpoint_every": 5},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_frozen_body_is_a_map_of_the_data(name):
    """The head learns as it does alone, from the outputs of the body: to the last bit."""
    layer, options = freeze_body(model()), OPTIONS[name]
    before, body = copied(dict(layer.params)), layer[:2]
    items, state = [], None
    for x, target in data():
        y, after = body(x, state)
        state = after if "stateful" in options else None
        items.append((y, target))
    alone = crnn.Sequential(head())
    history, expected = fit(layer, data(), **options), fit(alone, items, **options)
    assert history.loss == expected.loss
    for key, array in layer.params.items():
        place, name = key.split(".", 1)
        if place in "01":
            assert array.tobytes() == before[key].tobytes(), key
        else:
            assert array.tobytes() == alone.params[f"{int(place) - 2}.{name}"].tobytes(), key
    assert not layer[0]._has_grads
    assert not layer[1]._has_grads


def test_frozen_layers_in_the_middle_and_at_the_end():
    for chosen in (1, 2, 3):
        layer = model()
        layer[chosen].trainable = False
        before = copied(dict(layer.params))
        fit(layer, data())
        for key, array in layer.params.items():
            assert (array.tobytes() == before[key].tobytes()) == key.startswith(f"{chosen}."), key
        assert not layer[chosen]._has_grads


def test_fit_keeps_no_tape_of_the_frozen_layers():
    class Look(Callback):
        def on_backward(self, run):
            (piece,) = run.update_pass.pieces
            found.append([tape is NO_TAPE for tape in piece.tape])

    found, layer = [], freeze_body(model())
    fit(layer, data(1), epochs=1, callbacks=[Look()])
    assert found == [[True, True, False, False]]


class Unfreeze(Callback):
    """Make all layers trainable after some updates."""

    def __init__(self, after):
        self.after = after

    def on_update(self, run):
        if run.position.update == self.after:
            run.model.trainable = True


@pytest.mark.parametrize("name", OPTIONS)
def test_layers_that_are_unfrozen_in_a_run_are_trained(name):
    layer = freeze_body(model())
    before = copied(dict(layer[0].params))
    fit(layer, data(), callbacks=[Unfreeze(1)], **OPTIONS[name])
    assert layer.trainable
    assert not frozen_names(layer)
    assert all((layer[0].params[key] != before[key]).any() for key in before)


def run_of(layer, epochs, name, callbacks=()):
    optimizer = crnn.optim.Adam(layer, lr=0.05)
    options = OPTIONS[name] | {"loss": crnn.losses.mse, "callbacks": callbacks}
    return crnn.Trainer(layer, data(), optimizer=optimizer, epochs=epochs, **options)


class Stop(Callback):
    def __init__(self, update):
        self.update = update

    def on_update(self, run):
        if run.position.update == self.update:
            run.stop()


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_resumed_run_freezes_the_same_layers(name, stop, tmp_path):
    """Layers are unfrozen after update 2; the run is stopped before, at or after it."""
    whole = freeze_body(model())
    run_of(whole, 3, name, [Unfreeze(2)]).run()
    layer = freeze_body(model())
    first = run_of(layer, 3, name, [Unfreeze(2), Stop(stop)])
    first.run()
    first.stopped, first._stopped_by = False, None
    first.save(tmp_path / "run")
    again = freeze_body(model())
    resumed = run_of(again, 3, name, [Unfreeze(2)])
    if stop >= 2:
        with pytest.warns(crnn.training.ResumeWarning, match="frozen layers: \\[\\] as in the"):
            resumed.resume(tmp_path / "run")
    else:
        resumed.resume(tmp_path / "run")
    assert frozen_names(again) == (["0", "1"] if stop < 2 else [])
    resumed.run()
    assert_same_bits(dict(again.params), dict(whole.params))


def test_a_state_that_cannot_be_loaded_changes_no_flag():
    layer = freeze_body(model())
    run = run_of(layer, 2, "plain")
    state = run_of(model(), 2, "plain").state_dict()
    for wrong in (["9"], "0", ["0", "1", "2", "3"]):
        with pytest.raises(ValueError, match=r"frozen: expected names|one with a layer that is"):
            run.load_state_dict(state | {"frozen": wrong})
        assert frozen_names(layer) == ["0", "1"]
    del state["frozen"]  # as in files of earlier versions
    with pytest.raises(ValueError, match=r"m\.0\.W_x"):  # it has memory of all parameters
        run.load_state_dict({**state, "optimizer": {**state["optimizer"], "m.0.W_x": np.ones(1)}})
    assert frozen_names(layer) == ["0", "1"]


def test_nothing_to_train_is_an_error():
    layer = model()
    optimizer = crnn.optim.SGD(layer)
    layer.trainable = False
    before = copied(dict(layer.params))
    options = {"loss": crnn.losses.mse, "optimizer": optimizer, "epochs": 1, "progress": False}
    with pytest.raises(ValueError, match="expected one with a layer that is trainable"):
        crnn.fit(layer, data(1), **options)
    assert_same_bits(copied(dict(layer.params)), before)


def test_a_gradient_that_is_not_finite_is_that_of_a_trained_layer():
    layer = freeze_body(model())

    def loss(y, target, lengths=None):
        return 1.0, np.full_like(y, np.inf)

    optimizer = crnn.optim.SGD(layer)
    options = {"loss": loss, "optimizer": optimizer, "epochs": 1, "progress": False}
    with pytest.raises(FloatingPointError, match=r"the gradient of [23]\."):
        crnn.fit(layer, data(1), **options)
    assert not layer[0]._has_grads


@pytest.mark.parametrize("part", ["encoder", "decoder", "attention", "target_embedding"])
def test_a_part_of_a_sequence_to_sequence_model(part):
    encoder, decoder = crnn.GRU(4, 8, seed=0), crnn.GRU(12, 8, seed=1)
    options = {"source_symbols": 6, "target_symbols": 6, "attention": "additive", "seed": 2}
    translator = crnn.Seq2Seq(encoder, decoder, **options)
    translator.parts[part].trainable = False
    before, rng = copied(dict(translator.params)), np.random.default_rng(0)
    source, target = rng.integers(0, 6, (3, 5)), rng.integers(0, 6, (3, 4))
    optimizer, loss = crnn.optim.SGD(translator, lr=0.5), crnn.losses.cross_entropy
    crnn.fit(
        crnn.TeacherForcing(translator, probability=0.5, seed=1),
        [((source, target), target)],
        **{"loss": loss, "optimizer": optimizer, "epochs": 2, "progress": False},
    )
    for key, array in translator.params.items():
        assert (array.tobytes() == before[key].tobytes()) == key.startswith(f"{part}."), key
    assert not translator.parts[part]._has_grads


def test_watch_and_gradient_flow_look_through_frozen_layers():
    layer = freeze_body(model())
    watch = crnn.diagnostics.watch(layer, every=1, warn=False)
    fit(layer, data(), epochs=1, callbacks=[watch])
    record = watch.records[-1]
    assert record["0.gradient"] == 0.0
    assert record["2.gradient"] > 0
    assert record["0.reach"] >= 0
    assert not layer[0]._has_grads
    x = data(1)[0][0]
    flows = []
    for trainable in (True, False):
        layer[0].trainable = trainable
        y, _, tape = layer.forward(x)
        layer.backward(tape, np.ones_like(y), trace=True)
        flow = crnn.diagnostics.gradient_flow(tape)
        flows.append({place: part.h_norms for place, part in flow.parts.items()})
    assert_same_bits(*flows)


def test_a_forward_of_a_user_is_not_asked_for_less():
    """Its ``**options`` go to layers that have no argument `needs_dx`."""

    class Scaled(crnn.Sequential):
        def forward(self, x, state=None, **options):
            y, after, tape = self.layers[0].forward(2 * x, state, **options)
            return y, after, tape

        def backward(self, tape, dy, dstate=None, *, trace=False):
            dx, dbefore = self.layers[0].backward(tape, dy, dstate)
            return 2 * dx, dbefore

    layer = Scaled([crnn.GRU(I, 2, seed=0)])
    before = copied(dict(layer.params))
    fit(layer, data(1), epochs=1)
    assert (layer.params["0.W_h"] != before["0.W_h"]).any()
