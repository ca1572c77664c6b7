"""The repr of objects: one line, which does not raise."""

import numpy as np
import pytest

import crnn
from crnn.callbacks.history import History
from crnn.common.representation import value_text


def instances():
    """Each public class that can have instances, made without its constructor."""
    for name in sorted(crnn.__all__):
        value = getattr(crnn, name)
        if isinstance(value, type) and not getattr(value, "__abstractmethods__", None):
            yield pytest.param(value, id=name)


@pytest.mark.parametrize("cls", instances())
def test_objects_without_init_have_a_repr(cls):
    instance = cls.__new__(cls)
    assert repr(instance)
    assert "\n" not in repr(instance)
    assert not hasattr(instance, "no_such_attribute")


def test_a_value_is_one_line():
    assert "\n" not in value_text(np.eye(9))
    history = History(metrics=[f"metric {i}" for i in range(100)])
    assert len(repr(history)) < 160
