"""Types and signatures of the recurrent layers have the options and defaults of the core."""

import inspect
from typing import get_args, get_type_hints

import pytest

import crnn
from support.tables import CELLS, every_cell


def options_type(layer):
    """Return the TypedDict of the options that the constructor passes to the core."""
    return get_args(get_type_hints(layer.__init__)["options"])[0]


@every_cell
def test_types_of_options_are_those_of_the_core(kind):
    layer = CELLS[kind].layer
    types = options_type(layer).__annotations__
    assert set(types) == set(layer(1, 1).options)
    declared = {}
    for base in reversed(layer.__mro__):
        declared |= vars(base).get("__annotations__", {})
    for name, one in types.items():
        if name not in (
            "dtype",
            "zoneout",
            "leak",
        ):  # dtype is a property of the core, zoneout a pair for the LSTM, leak any array
            assert declared[name] == f"Option[{one.__forward_arg__}]", name


@every_cell
def test_the_signature_shows_all_options_with_their_defaults(kind):
    layer = CELLS[kind].layer
    parameters = inspect.signature(layer).parameters
    made = layer(1, 1)
    keywords = {
        name: one.default for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY
    }
    assert [*parameters][:2] == ["input_size", "hidden_size"]
    assert [*parameters][-2:] == ["dtype", "seed"]
    assert set(parameters) == {"input_size", "hidden_size", *keywords} == {*made.config}
    assert keywords == {name: made.config[name] for name in keywords} | {"seed": None}
    assert layer(1, 1, **(keywords | {"seed": 3})).options == made.options


def test_help_shows_the_signature():
    text = str(inspect.signature(crnn.LSTM))
    assert "forget_bias: 'float' = 1.0" in text
    assert "reverse: 'bool' = False" in text
    assert "activation: 'Activation' = 'tanh'" in text


def test_subclasses_have_the_signature_of_their_constructor():
    class Same(crnn.LSTM):
        pass

    class Own(crnn.LSTM):
        def __init__(self, size, *, depth=2):
            super().__init__(size, size)

    class Under(Own):
        pass

    assert inspect.signature(Same) == inspect.signature(crnn.LSTM)
    assert str(inspect.signature(Own)) == str(inspect.signature(Under)) == "(size, *, depth=2)"
    assert repr(Own(3)).startswith("Own(3, 3, seed=")


def test_only_the_class_has_the_signature():
    layer = crnn.GRU(1, 1)
    assert not hasattr(layer, "__signature__")
    with pytest.raises(TypeError, match=r"GRU\(\) got an unexpected keyword argument 'peepholes'"):
        crnn.GRU(1, 1, peepholes=True)
