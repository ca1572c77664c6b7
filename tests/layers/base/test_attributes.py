"""Arguments of constructors as attributes: they are checked when they are set, or cannot be set."""

import copy
import inspect
import pickle

import pytest

import crnn
from support.subjects import layers, seq2seqs

OTHERS = [
    crnn.Activation("tanh"),
    crnn.LastState(crnn.LSTM(2, 3, seed=1), of="c"),
    crnn.TCN(2, [3, 3], dropout=0.1, seed=1),
    crnn.TransformerBlock(4, 2, dropout=0.1, seed=1),
    crnn.TransformerBlock(4, 2, memory_size=3, seed=1),
    crnn.Positions(4, steps=5, seed=1),
]

#: Attributes that are layers, which compositions look up whenever they run.
PARTS = {"layer", "layers", "init", "encoder", "decoder", "model", "attention"}

#: Attributes that can be set, and another valid value.
SETTABLE = {
    "Ridge": {"alpha": 0.25},
    "RLS": {"forgetting": 0.5},
    "Dropout": {"p": 0.25, "variational": True, "seed": 2},
    "Activation": {"name": "relu"},
    "Pool": {"how": "max"},
    "LastState": {"of": "h"},
    "Checkpointed": {"every": 3},
    "TeacherForcing": {"probability": 0.25, "seed": 2},
}


def with_parts(layer):
    yield layer
    for part in layer.parts.values():
        yield from with_parts(part)


def every_layer():
    """Return a layer of each class, by the name of the class."""
    models = [one for one, *_ in (layers() | seq2seqs()).values()]
    found = [part for model in [*models, *OTHERS] for part in with_parts(model)]
    return {type(layer).__name__: layer for layer in found}


def rows():
    """Return the names of each class and of the arguments that its layers have as attributes."""
    found = []
    for name, layer in every_layer().items():
        for argument in inspect.signature(type(layer)).parameters:
            if argument not in PARTS and hasattr(layer, argument):
                found.append((name, argument))
    found.remove(("SequenceAutoencoder", "symbols"))  # describes the layer: may x be symbols?
    return found


def described(layer):
    return repr(layer), {name: array.tobytes() for name, array in layer.params.items()}


@pytest.mark.parametrize(("name", "argument"), rows())
def test_a_wrong_value_is_refused(name, argument):
    layer = every_layer()[name]
    before = described(layer)
    error = (ValueError, TypeError) if argument in SETTABLE.get(name, ()) else AttributeError
    for wrong in (object(), "no", -1.5, [None]):
        with pytest.raises(error, match=argument):
            setattr(layer, argument, wrong)
    assert described(layer) == before


@pytest.mark.parametrize(("name", "argument"), rows())
def test_what_can_be_set(name, argument):
    layer = every_layer()[name]
    if argument in SETTABLE.get(name, ()):
        value = SETTABLE[name][argument]
        setattr(layer, argument, value)
        assert getattr(layer, argument) == value
    else:
        with pytest.raises(AttributeError, match=argument):
            setattr(layer, argument, getattr(layer, argument, 1))


def test_all_rows_are_found():
    found = set(rows())
    assert {(name, argument) for name, own in SETTABLE.items() for argument in own} <= found
    assert {("Dense", "seed"), ("Reservoir", "seed"), ("LSTM", "chrono"), ("GRU", "seed")} <= found
    own = {name for name in crnn.__all__ if isinstance(getattr(crnn, name), type)}
    abstract = {"Layer", "Temporal"}
    classes = {name for name in own if issubclass(getattr(crnn, name), crnn.Layer)} - abstract
    assert classes <= every_layer().keys()


def test_settings_are_read_by_the_next_call():
    readout = crnn.Ridge(3, 1)
    readout.alpha = (0.5, 1)
    assert readout.alpha == (0.5, 1.0)
    with pytest.raises(ValueError, match=r"^alpha: expected a finite number of at least 0, got -1"):
        readout.alpha = -1
    online = crnn.RLS(3, 1)
    for wrong in (7, 0, "a", float("nan")):
        with pytest.raises(ValueError, match=r"^forgetting: expected a (finite )?number"):
            online.forgetting = wrong
    with pytest.raises(AttributeError, match=r"^alpha: cannot be set; make a new layer"):
        online.alpha = 2.0
    assert (online.alpha, online.forgetting) == (1.0, 1.0)


@pytest.mark.parametrize("name", ["Dense", "Reservoir", "LSTM", "Embedding", "Ridge", "RLS"])
def test_a_seed_is_that_of_the_weights(name):
    layer = every_layer()[name]
    seed = layer.seed
    with pytest.raises(AttributeError, match=r"^seed: cannot be set; make a new layer"):
        layer.seed = seed + 1
    for other in (layer, copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other.seed == seed
