"""Folders: the tests, the source tree, and the files that tests read."""

import os
from pathlib import Path

import crnn

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
FILES = TESTS / "support" / "files"
GOLDEN = FILES / "golden"  # results of PyTorch's layers: see golden.py
OLD = FILES / "old"  # files of earlier versions of crnn


def for_programs(**environment):
    """Return the environment of a new process that imports this crnn and `support`."""
    path = [TESTS, Path(crnn.__file__).parents[1], os.environ.get("PYTHONPATH")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(str(p) for p in path if p)} | environment
