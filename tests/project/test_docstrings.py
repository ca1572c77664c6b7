"""The docstrings: every example runs, and every public name has all its sections."""

import doctest
import importlib
import pkgutil
import sys

import pytest

import crnn
from support.docstrings import missing, public

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(crnn.__path__, "crnn.")
    if not module.name.endswith(("__main__", "_core"))
)


def failures(tests):
    """Return the differences between the output of examples and their docstrings."""
    report, runner = [], doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in tests:
        runner.run(test, out=report.append, clear_globs=True)
    return "".join(report)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, monkeypatch, tmp_path):
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    tests = doctest.DocTestFinder().find(module, extraglobs={"__name__": "__main__"})
    if "plotting" in name or any("matplotlib" in test.docstring for test in tests):
        pytest.importorskip("matplotlib")
    for library in ("pandas", "mido"):
        if any(library in test.docstring for test in tests):
            pytest.importorskip(library)
    try:
        assert failures(test for test in tests if test.examples) == ""
    finally:
        if pyplot := sys.modules.get("matplotlib.pyplot"):
            pyplot.close("all")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", public())
def test_public_names_are_documented(name):
    assert missing(name, public()[name]) == []


def test_what_is_missing_is_found():
    def function(x, y):
        """Return x.

        Parameters
        ----------
        x : int
        z : int

        Raises
        ------
        ValueError

        Returns
        -------
        int
        """

    assert missing("f", function) == [
        "f: sections out of order: ['Parameters', 'Raises', 'Returns']",
        "f: no example",
        "f: parameter y is not documented",
        "f: there is no parameter z",
    ]
    function.__doc__ = None
    assert missing("f", function) == ["f: no docstring"]
