"""The names that options accept: their types are equal to what the code accepts."""

import re
from typing import get_args

import pytest

import crnn
from crnn.common import choices
from crnn.models.networks import CELLS
from support.tables import CELLS as LAYERS

ACTIVATIONS = [
    (layer, name)
    for layer in dict.fromkeys(cell.layer for cell in LAYERS.values())
    for name in layer(1, 1).options
    if name.endswith("activation")
]


def refusal(make, name):
    """Return the names that the error for an unknown name of an option lists."""
    with pytest.raises(ValueError, match=f"^{name}: expected ") as error:
        make(**{name: "none such"})
    return set(re.findall(r"'(\w+)'", str(error.value).partition(", got")[0]))


@pytest.mark.parametrize(("layer", "option"), ACTIVATIONS)
def test_activations_are_those_of_the_core(layer, option):
    names = get_args(choices.Activation)
    assert refusal(lambda **options: layer(1, 1, **options), option) == set(names)
    for name in names:
        assert layer(1, 1, **{option: name}).options[option] == name


def test_places_of_the_reset_gate_are_those_of_the_core():
    assert refusal(lambda **options: crnn.GRU(1, 1, **options), "reset") == set(
        get_args(choices.Reset)
    )
    for name in get_args(choices.Reset):
        assert crnn.GRU(1, 1, reset=name).reset == name


def test_merges_are_those_of_the_core():
    names = get_args(choices.Merge)
    layer = crnn.GRU(1, 1)
    assert refusal(lambda **options: crnn.Bidirectional(layer, **options), "merge") == set(names)
    for name in names:
        assert crnn.Bidirectional(layer, merge=name).merge == name


def test_tables_of_cells_are_complete():
    assert set(get_args(choices.CellName)) == set(CELLS)
