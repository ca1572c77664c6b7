"""The types of the public names, as mypy reports them in a user's program."""

import collections
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import crnn
from support.folders import ROOT

LINES = ROOT / "tests" / "support" / "user_lines.py"
ERROR = re.compile(r"user_lines\.py:(\d+): error: .* \[([a-z-]+)\]$")
MARK = re.compile(r"  # error: ([a-z-]+)$")


def found_by_mypy(cache):
    """Return the codes of the errors that mypy reports in `LINES`, by line number."""
    home = Path(crnn.__file__).parents[1]
    environment = dict(os.environ)
    if home == ROOT:  # otherwise crnn is installed, and mypy finds it
        environment["MYPYPATH"] = str(ROOT)
    options = ["--strict", "--config-file", ROOT / "pyproject.toml", "--cache-dir", cache]
    command = [sys.executable, "-m", "mypy", *options, "--no-error-summary", "--no-pretty", LINES]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode < 2, done.stdout + done.stderr
    found = collections.defaultdict(set)
    for line in done.stdout.splitlines():
        if match := ERROR.search(line):
            found[int(match[1])].add(match[2])
    return found


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
def test_mypy_finds_the_mistakes_of_users_and_no_others(tmp_path):
    cache = ROOT / ".mypy_cache" if (ROOT / ".mypy_cache").is_dir() else tmp_path
    text, found = LINES.read_text("utf-8").splitlines(), found_by_mypy(cache)
    marked = {i: match[1] for i, line in enumerate(text, 1) if (match := MARK.search(line))}
    assert len(marked) > 60
    missed = [text[i - 1] for i, code in marked.items() if code not in found[i]]
    assert missed == []
    wrong = [
        f"{text[i - 1]} [{code}]"
        for i, codes in found.items()
        if codes
        for code in codes - {marked.get(i)}
    ]
    assert wrong == []


def test_the_package_has_the_marker_of_types():
    assert (Path(crnn.__file__).parent / "py.typed").is_file()
    assert (Path(crnn.__file__).parent / "_core.pyi").is_file()
