"""The compiler options of setup.py, and debugging symbols in the extension."""

import os
import re
import shutil

import pytest

from support.folders import ROOT
from support.trees import SCALAR, run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a compiler that is a shell script")

RECORDER = """#!/bin/sh
echo "$@" >>{log}
while [ "$1" != -o ]; do shift; done
: >"$2"
"""


def compiled(tmp_path, **environment):
    """Return the compiler arguments of each C file, from a build whose compiler is a recorder."""
    for part in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / part, tmp_path)
    for part in ("csrc", "crnn"):
        (tmp_path / part).symlink_to(ROOT / part)
    recorder, log = tmp_path / "cc", tmp_path / "log"
    recorder.write_text(RECORDER.format(log=log))
    recorder.chmod(0o755)
    build = ("build_ext", "--build-lib", "lib", "--build-temp", "objects")
    run(tmp_path, "setup.py", "--quiet", *build, CC=str(recorder), **environment)
    lines = [line.split() for line in log.read_text().splitlines()]
    units = [words for words in lines if "-c" in words]
    assert len(units) == len(
        [*ROOT.glob("csrc/core/*.c"), *ROOT.glob("csrc/binding/*.c"), "f32", "f64"]
    )
    return units


def symbols(words):
    """Return the last option about debugging symbols, which takes effect."""
    return [word for word in words if re.match(r"-g\d?$|-ggdb", word)][-1]


def test_a_release_build_has_no_debugging_symbols(tmp_path):
    """Also where Python itself was built with -g."""
    found = {symbols(words) for words in compiled(tmp_path, **SCALAR)}
    assert found == {"-g0"}


@pytest.mark.parametrize("flags", ["-g", "-O1 -ggdb3"])
def test_cflags_keep_debugging_symbols(flags, tmp_path):
    found = {symbols(words) for words in compiled(tmp_path, CFLAGS=flags, **SCALAR)}
    assert found == {flags.split()[-1]}


def test_a_sanitized_build_has_debugging_symbols(tmp_path):
    units = compiled(tmp_path, CRNN_SANITIZE="address", **SCALAR)
    assert {symbols(words) for words in units} == {"-g1"}
    assert all("-fsanitize=address,undefined" in words for words in units)
