"""A copied optimizer belongs to the model that is copied with it."""

import copy
import gc
import io
import pickle

import joblib
import numpy as np
import pytest

import crnn
from crnn.models import SequenceAutoencoder
from crnn.training.trainer import Trainer
from support.comparing import assert_same_bits
from support.running import copied
from support.tables import H, I, K

B, T = 2, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(B, T, I))
SYMBOLS = RNG.integers(0, K, (B, T))


def belongs(optimizer, model):
    """Whether an optimizer belongs to this model."""
    try:
        optimizer.check_model(model)
    except (ValueError, RuntimeError):
        return False
    return True


def seq2seq():
    decoder = crnn.Sequential([crnn.GRU(I + H, H), crnn.Dropout(0.2)])
    symbols = {"source_symbols": K, "target_symbols": K}
    return crnn.Seq2Seq(crnn.GRU(I, H), decoder, attention="additive", **symbols)


def tied():
    embedding = crnn.Embedding(K, H)
    return crnn.Sequential([embedding, crnn.GRU(H, H), crnn.TiedDense(embedding)])


def twice():
    shared = crnn.Dense(I, I)
    return crnn.Sequential([shared, crnn.Residual(shared), crnn.RNN(I, H)])


MODELS = {
    "lstm": (lambda: crnn.LSTM(I, H, zoneout=0.2), X),
    "stack": (lambda: crnn.Sequential([crnn.GRU(I, H), crnn.Dropout(0.3), crnn.Dense(H, 2)]), X),
    "bidirectional": (lambda: crnn.Bidirectional(crnn.LSTM(I, H)), X),
    "tied": (tied, SYMBOLS),
    "twice": (twice, X),
    "checkpointed": (lambda: crnn.Checkpointed(crnn.LSTM(I, H), 2), X),
    "teacher": (lambda: crnn.TeacherForcing(seq2seq()), (SYMBOLS, SYMBOLS)),
    "autoencoder": (lambda: SequenceAutoencoder(crnn.GRU(I, H), crnn.GRU(I, H), 2), X),
}
OPTIMIZERS = {
    "sgd": lambda model: crnn.optim.SGD(model, momentum=0.9),
    "rmsprop": lambda model: crnn.optim.RMSprop(model, clip_norm=1.0),
    "adam": crnn.optim.Adam,
    "adamw": lambda model: crnn.optim.AdamW(model, freeze="*b", decay_biases=False),
}


def through_joblib(value):
    file = io.BytesIO()
    joblib.dump(value, file)
    file.seek(0)
    return joblib.load(file)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "pickle-0": lambda value: pickle.loads(pickle.dumps(value, 0)),
    "joblib": through_joblib,
    "twice": lambda value: copy.deepcopy(pickle.loads(pickle.dumps(value))),
}
every_copy = pytest.mark.parametrize("how", COPIES)
every_model = pytest.mark.parametrize("name", MODELS)


def update(model, optimizer, x):
    y, _, tape = model.forward(x)
    model.backward(tape, np.cos(y))
    return optimizer.step()


def made(name, optimizer="adam"):
    """A model, an optimizer that has done an update, and the input."""
    make, x = MODELS[name]
    model = make()
    pair = model, OPTIMIZERS[optimizer](model)
    update(*pair, x)
    return *pair, x


def everything(model, optimizer):
    return copied([dict(model.params), dict(model.grads), optimizer.state_dict()])


@every_copy
@every_model
@pytest.mark.parametrize("first", ["model", "optimizer"])
def test_copied_together(name, how, first):
    model, optimizer, x = made(name)
    if first == "model":
        other, its = COPIES[how]((model, optimizer))
    else:
        its, other = COPIES[how]((optimizer, model))
    assert belongs(its, other)
    assert not belongs(its, model)
    assert not belongs(optimizer, other)
    before = everything(model, optimizer)
    norm = update(other, its, x)
    assert norm > 0
    assert_same_bits(everything(model, optimizer), before)
    assert update(model, optimizer, x) == norm
    assert_same_bits(everything(other, its), everything(model, optimizer))


@pytest.mark.parametrize("kind", OPTIMIZERS)
@every_copy
def test_every_optimizer(kind, how):
    """Memory, numbers, frozen parameters and settings are copied."""
    model, optimizer, x = made("stack", kind)
    optimizer.lr = 0.25
    other, its = COPIES[how]({"a": model, "b": [optimizer]}).values()
    update(other, its[0], x)
    update(model, optimizer, x)
    assert_same_bits(everything(other, its[0]), everything(model, optimizer))


@every_copy
@every_model
def test_a_copy_without_its_model_raises(name, how):
    model, optimizer, _ = made(name)
    alone = COPIES[how](optimizer)
    gc.collect()
    before, kept = everything(model, optimizer), copied(alone.state_dict())
    for touch in (alone.step, alone.grad_norm, lambda: alone.scale_grads(2.0)):
        with pytest.raises(RuntimeError, match="the model of this Adam does not exist"):
            touch()
    assert not belongs(alone, model)
    assert_same_bits(everything(model, optimizer), before)
    assert_same_bits(alone.state_dict(), kept)
    with pytest.raises(RuntimeError, match="does not exist"):
        crnn.fit(model, [(X, X)], loss=crnn.losses.mse, optimizer=alone, epochs=1, progress=False)
    again = crnn.optim.Adam(model)  # the remedy that the message names
    again.load_state_dict(alone.state_dict())
    assert_same_bits(again.state_dict(), optimizer.state_dict())
    with pytest.raises(RuntimeError, match="does not exist"):
        COPIES[how](alone).step()


def test_a_copy_raises_after_its_model_was_deleted():
    model, optimizer, x = made("stack")
    other, its = copy.deepcopy((model, optimizer))
    update(other, its, x)
    part = other.layers[0]
    del other
    gc.collect()
    with pytest.raises(RuntimeError, match=r"does not exist \(no parameter 2.W\)"):
        its.step()
    assert part.params.keys() == model.layers[0].params.keys()


def test_an_optimizer_that_was_made_keeps_its_layers():
    layers = [crnn.GRU(I, H), crnn.Dense(H, 2)]
    optimizer = crnn.optim.Adam(crnn.Sequential(layers))
    gc.collect()
    assert update(crnn.Sequential(layers), optimizer, X) > 0
    layers, its = copy.deepcopy((layers, optimizer))  # without the Sequential that it was made for
    gc.collect()
    assert update(crnn.Sequential(layers), its, X) > 0
    model = seq2seq()
    optimizer = crnn.optim.Adam(crnn.TeacherForcing(model))
    other, its = copy.deepcopy((model, optimizer))
    assert update(crnn.TeacherForcing(other), its, (SYMBOLS, SYMBOLS)) > 0


def test_a_shallow_copy_is_of_the_same_model():
    model, optimizer, x = made("lstm")
    other = copy.copy(optimizer)
    assert belongs(other, model)
    before = model.state_dict()
    assert update(model, other, x) > 0
    assert any((before[name] != array).any() for name, array in model.params.items())


class Holder:
    """A model and an optimizer with references to each other."""

    def __init__(self, model, optimizer):
        self.model, self.optimizer, model.optimizer = model, optimizer, optimizer


class Remembers(crnn.callbacks.Callback):
    """A callback that holds a model and an optimizer."""

    def __init__(self, model, optimizer):
        self.model, self.optimizer = model, optimizer


@every_copy
@pytest.mark.parametrize("kind", [Holder, Remembers])
def test_objects_that_hold_both(kind, how):
    model, optimizer, x = made("stack")
    other = COPIES[how](kind(model, optimizer))
    before = everything(model, optimizer)
    assert update(other.model, other.optimizer, x) > 0
    assert_same_bits(everything(model, optimizer), before)


@every_copy
def test_a_model_that_holds_its_optimizer(how):
    model, optimizer, x = made("stack")
    model.optimizer = optimizer
    other = COPIES[how](model)
    assert update(other, other.optimizer, x) > 0


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_a_trainer(how):
    """The copy of a run, with callbacks, trains the copy of its model."""
    model, data = crnn.Sequential([crnn.LSTM(I, H), crnn.Dense(H, I)]), [(X, X)]
    optimizer = crnn.optim.Adam(model)
    best = crnn.callbacks.EarlyStopping(2)
    options = {"loss": crnn.losses.mse, "epochs": 3, "callbacks": (best,)}
    run = Trainer(model, data, optimizer=optimizer, **options)
    other = COPIES[how](run)
    before = everything(model, optimizer)
    other.run()
    assert_same_bits(everything(model, optimizer), before)
    assert other.optimizer.steps == 3
    run.run()
    assert_same_bits(other.model.params, run.model.params)
