"""The table of the smoke tests."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from support import smoke
from support.folders import ROOT, TESTS


def all_collected(config):
    """Return whether pytest collected all tests."""
    folders = {Path(config.invocation_params.dir, argument).resolve() for argument in config.args}
    some = any(config.getoption(name, None) for name in ("ignore", "ignore_glob", "lf"))
    return folders <= {ROOT, TESTS} and not some


def test_every_name_in_the_table_matches_a_test(pytestconfig):
    if not all_collected(pytestconfig):
        pytest.skip("not all tests were collected")
    assert pytestconfig.stash[smoke.IDLE] == []


def test_names_match_only_their_cases(monkeypatch):
    monkeypatch.setattr(smoke, "CASES", {"a/test_b.py": ["test_c[1-*]", "test_d", "test_[e]"]})
    marked = []

    def item(name, file="a/test_b.py"):
        return SimpleNamespace(
            name=name, path=TESTS / file, add_marker=lambda mark: marked.append((name, mark))
        )

    names = ["test_c[1-2]", "test_c[2-1-3]", "test_c", "test_d[0]", "test_e"]
    idle = smoke.mark([*map(item, names), item("test_d", "test_b.py")])
    assert marked == [("test_c[1-2]", "smoke")]
    assert idle == ["a/test_b.py::test_d", "a/test_b.py::test_[e]"]
