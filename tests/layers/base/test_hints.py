"""Errors for names of other libraries explain what to write in crnn."""

import copy
import pickle
import re

import pytest

import crnn
from crnn.layers.base.hints import ATTRIBUTES, OPTIONS

LAYERS = [
    crnn.LSTM(2, 3, seed=0),
    crnn.Dense(2, 3),
    crnn.Sequential([crnn.GRU(2, 3), crnn.Dense(3, 2)]),
    crnn.Bidirectional(crnn.RNN(2, 3)),
    crnn.Dropout(0.5),
    crnn.Seq2Seq(crnn.GRU(2, 2), crnn.GRU(2, 2), source_symbols=3, target_symbols=3),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes(layer, name):
    assert not hasattr(layer, name)
    with pytest.raises(AttributeError) as raised:
        getattr(layer, name)
    own = f"{type(layer).__name__!r} object has no attribute {name!r}: "
    assert str(raised.value) == own + ATTRIBUTES[name]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_other_names_have_the_usual_error(layer):
    name = type(layer).__name__
    with pytest.raises(AttributeError, match=f"'{name}' object has no attribute 'evaal'$"):
        layer.evaal()
    assert not hasattr(layer, "__array__")
    copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))


@pytest.mark.parametrize("name", ["fit", "partial_fit"])
def test_an_rls_learns_by_steps(name):
    with pytest.raises(AttributeError, match=r"step\(h, target\) .* crnn\.fit_readout\("):
        getattr(crnn.RLS(5, 2), name)
    assert "crnn.fit_readout" not in ATTRIBUTES["fit"]


def test_an_attribute_of_a_subclass_counts():
    class Model(crnn.Sequential):
        def fit(self):
            return "fitted"

        @property
        def predict(self):
            return self.missing_part

    model = Model([crnn.Dense(2, 3)])
    assert model.fit() == "fitted"
    with pytest.raises(AttributeError, match="no attribute 'missing_part'"):
        _ = model.predict


@pytest.mark.parametrize("cell", [crnn.RNN, crnn.LSTM, crnn.GRU, crnn.JANET])
@pytest.mark.parametrize("name", OPTIONS)
def test_options(cell, name):
    with pytest.raises(TypeError) as raised:
        cell(2, 3, **{name: 2})
    hint = OPTIONS[name].format(name=f"crnn.{cell.__name__}")
    assert str(raised.value) == f"{name}: not an argument of {cell.__name__}: {hint}"


def test_other_options_have_the_usual_error():
    with pytest.raises(TypeError, match=r"LSTM\(\) got an unexpected keyword argument 'layers'"):
        crnn.LSTM(2, 3, layers=2)


def test_the_hints_are_right():
    """Every name of crnn in a hint exists."""
    texts = [*ATTRIBUTES.values(), *(text.format(name="crnn.LSTM") for text in OPTIONS.values())]
    layer = crnn.GRU(2, 3)
    for text in texts:
        for name in re.findall(r"\bcrnn((?:\.\w+)+)", text):
            value = crnn
            for part in name[1:].split("."):
                value = getattr(value, part)
        for name in re.findall(r"\b(?:model|layer)\.(\w+)", text):
            assert hasattr(LAYERS[2], name) or hasattr(layer, name), text
    options = crnn.LSTM(2, 3).options | crnn.GRU(2, 3).options | {"forget_bias": 1.0}
    for text in OPTIONS.values():
        for name in re.findall(r"write (\w+)=", text):
            assert name in options, text
