"""Where things are: the tests, the tree that they stand in, files that tests read."""

import os
from pathlib import Path

import crnn

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
FILES = TESTS / "support" / "files"
GOLDEN = FILES / "golden"  # numbers of PyTorch's layers: see golden.py
OLD = FILES / "old"  # what earlier versions of crnn saved


def for_programs(**environment):
    """The environment of a new process that imports crnn, from where it is here, and `support`."""
    path = [TESTS, Path(crnn.__file__).parents[1], os.environ.get("PYTHONPATH")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(str(p) for p in path if p)} | environment
