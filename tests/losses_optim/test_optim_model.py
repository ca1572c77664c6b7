"""An optimizer updates or freezes all parameters of its model, or raises."""

import numpy as np
import pytest

import crnn
from crnn.losses import cross_entropy
from crnn.training.fitting import fit
from crnn.training.trainer import Trainer

X = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("f")
TARGET = np.zeros((2, 4), int)


def stack():
    return crnn.Sequential([crnn.RNN(3, 4, seed=1), crnn.Dense(4, 4, seed=2)])


class Two(crnn.Layer):
    """A user-defined composition without `parts`."""

    def __init__(self):
        self.inside = [crnn.RNN(3, 4, seed=1)]

    param_views = property(lambda self: self._named("params"))
    grad_views = property(lambda self: self._named("grads"))

    def _named(self, what):
        return {
            f"{i}{name}": array
            for i, part in enumerate(self.inside)
            for name, array in getattr(part, what).items()
        }

    def forward(self, x, state=None, *, lengths=None, training=True):
        tapes = []
        for part in self.inside:
            x, _, tape = part.forward(x)
            tapes.append(tape)
        return x, None, tapes

    def backward(self, tape, dy, dstate=None):
        for part, one in zip(self.inside[::-1], tape[::-1], strict=True):
            dy, _ = part.backward(one, dy)
        return dy, None


def appended(model):
    model.layers.append(crnn.Dense(4, 5, seed=3))
    return "2.W, 2.b"


def inserted(model):
    model.layers.insert(1, crnn.LayerNorm(4))
    return "1.gain, 1.bias"


def replaced(model):
    model.layers[1] = crnn.Dense(4, 4, seed=2)
    return "1.W, 1.b"


def removed(model):
    del model.layers[1]
    return "1.W, 1.b"


def wrapped(model):
    model.layers[0] = crnn.Bidirectional(model.layers[0], merge="sum")
    return "0.backward.W_x"


CHANGES = [appended, inserted, replaced, removed, wrapped]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("freeze", [(), "*.b"])
def test_a_changed_model_is_an_error_that_names_the_parameters(change, freeze):
    model = stack()
    optimizer = crnn.optim.AdamW(model, weight_decay=0.1, freeze=freeze)
    optimizer.step()
    names = change(model)
    before, state = model.state_dict(), optimizer.state_dict()
    run = {"loss": cross_entropy, "optimizer": optimizer, "epochs": 1}
    for refused in (
        optimizer.step,
        lambda: fit(model, [(X, TARGET)], progress=False, **run),
    ):
        with pytest.raises(ValueError, match=f"optimizer: expected .* {names}.*make a new one"):
            refused()
        np.testing.assert_equal(model.state_dict(), before)
        np.testing.assert_equal(optimizer.state_dict(), state)
    crnn.optim.Adam(model, freeze=freeze).step()


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_between_trainer_and_run_or_within_is_refused(change):
    model, data = stack(), [(X, TARGET)] * 2
    run = Trainer(
        model, data, loss=cross_entropy, optimizer=crnn.optim.Adam(model), epochs=2
    )  # fmt: skip
    names = change(model)
    with pytest.raises(ValueError, match=f"optimizer: expected .* {names}"):
        run.run()


def test_parts_of_a_layer_of_ones_own_count_too():
    model = Two()
    optimizer = crnn.optim.SGD(model)
    optimizer.step()
    model.inside.append(crnn.RNN(4, 4, seed=2))
    with pytest.raises(ValueError, match="made without 1W_x, 1W_h, 1b: make a new one"):
        optimizer.step()
    model.inside.pop()
    optimizer.step()
    model.inside[0] = crnn.RNN(3, 4, seed=1)
    with pytest.raises(ValueError, match="made without 0W_x"):
        optimizer.step()


def test_an_optimizer_of_a_part_does_not_train_the_whole():
    model = stack()
    head = crnn.optim.SGD(model.layers[1])
    head.step()
    with pytest.raises(ValueError, match=r"made without 0\.W_x, 0\.W_h, 0\.b"):
        fit(model, [(X, TARGET)], loss=cross_entropy, optimizer=head, epochs=1, progress=False)
    frozen = crnn.optim.SGD(model, freeze="0.*")
    fit(model, [(X, TARGET)], loss=cross_entropy, optimizer=frozen, epochs=1, progress=False)


def test_layers_without_parameters_may_be_added_and_removed():
    model = stack()
    optimizer = crnn.optim.SGD(model)
    model.layers.insert(0, crnn.Dropout(0.5))
    optimizer.step()
    del model.layers[0]
    optimizer.step()
    assert optimizer.steps == 2


def test_tied_weights_have_both_names():
    embedding = crnn.Embedding(5, 4, seed=1)
    model = crnn.Sequential([embedding, crnn.RNN(4, 4, seed=2), crnn.TiedDense(embedding)])
    optimizer = crnn.optim.SGD(model)
    optimizer.step()
    x = np.zeros((1, 3), int)
    fit(model, [(x, x)], loss=cross_entropy, optimizer=optimizer, epochs=1, progress=False)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_layer_that_was_initialised_again_is_an_error(place):
    both = crnn.Bidirectional(crnn.GRU(3, 4, seed=1))
    model = crnn.Sequential([both, crnn.LSTM(8, 4, seed=1), crnn.Dense(4, 2, seed=1)])
    optimizer = crnn.optim.SGD(model)
    optimizer.step()
    part, arguments = (
        (both.backward_layer, {"input_size": 3, "hidden_size": 4, "reverse": True}),
        (model.layers[1], {"input_size": 8, "hidden_size": 4}),
        (model.layers[2], {"input_size": 4, "output_size": 2}),
    )[place]
    part.__init__(**arguments, seed=5)
    before = model.state_dict()
    with pytest.raises(ValueError, match=r"optimizer: expected .* made without .*make a new one"):
        optimizer.step()
    assert all(np.array_equal(before[name], array) for name, array in model.params.items())
    crnn.optim.SGD(model).step()
