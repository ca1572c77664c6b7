"""The docstrings of the core, which `help` shows: their form, and their examples."""

import doctest
import inspect

import pytest

import crnn
import crnn._core as _core
from support.docstrings import SECTIONS, parameters, sections

TYPES = {name: value for name, value in vars(_core).items() if inspect.isclass(value)}
METHODS = {
    f"{name}.{one}": member
    for name, value in TYPES.items()
    for one, member in vars(value).items()
    if inspect.ismethoddescriptor(member)
    and not isinstance(member, type(object.__init__))
    and one not in ("__new__", "__reduce__", "__replace__")
}
GETTERS = {
    f"{name}.{one}": member
    for name, value in TYPES.items()
    for one, member in vars(value).items()
    if inspect.isgetsetdescriptor(member) or inspect.ismemberdescriptor(member)
}
FUNCTIONS = {name: value for name, value in vars(_core).items() if inspect.isbuiltin(value)}
RUN = ("__call__", "forward", "backward", "check_backward")
SHOWN = [f"Recurrent.{name}" for name in (*RUN, "stream")]


@pytest.mark.parametrize("name", [*TYPES, *METHODS, *GETTERS, *FUNCTIONS])
def test_everything_has_a_docstring(name):
    value = (TYPES | METHODS | GETTERS | FUNCTIONS)[name]
    text = inspect.getdoc(value)
    first, *rest = text.splitlines()
    assert len(first) <= 100
    assert first.endswith(".")
    assert not rest or not rest[0]


@pytest.mark.parametrize("name", [*METHODS, *FUNCTIONS])
def test_signatures_are_in_the_docstrings(name):
    value = (METHODS | FUNCTIONS)[name]
    if not name.endswith(("__enter__", "__exit__")):
        assert inspect.signature(value) is not None


@pytest.mark.parametrize("name", SHOWN)
def test_the_methods_that_a_user_calls(name):
    text = inspect.getdoc(METHODS[name])
    parts = sections(text)
    order = [part for part in parts if part]
    assert order == sorted(order, key=SECTIONS.index)
    documented = [
        one.strip()
        for line in parts["Parameters"].splitlines()
        if line and not line.startswith(" ")
        for one in line.split(" : ")[0].split(",")
    ]
    assert documented == parameters(METHODS[name])
    if not name.endswith("check_backward"):
        assert {"Returns", "Raises", "Examples"} <= parts.keys()
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("name", SHOWN)
def test_examples(name):
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(METHODS[name]), {}, name, None, 0)
    result = doctest.DocTestRunner().run(test)
    assert result.failed == 0
    assert result.attempted >= 5 or name.endswith("check_backward")


@pytest.mark.parametrize("layer", [crnn.RNN, crnn.LSTM, crnn.GRU, crnn.JANET])
def test_layers_show_them(layer):
    """The docstring of __call__ is not the default of Python, "Call self as a function."."""
    for name in RUN:
        assert getattr(layer, name) is getattr(_core.Recurrent, name)
    assert list(inspect.signature(layer.__call__).parameters) == [
        "self", "x", "state", "lengths", "mask", "resets",
    ]  # fmt: skip
