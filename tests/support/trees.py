"""Copies of the source tree that tests change and build."""

import os
import shutil
import subprocess
import sys

from support.folders import ROOT

PARTS = ("crnn", "csrc", "tests", "setup.py", "pyproject.toml", "README.md", "CONTRIBUTING.md")
SCALAR = {"CRNN_SKIP_ISA": "avx2,avx512,neon"}  # the fastest build


def copy_tree(to):
    """Copy what a build and the tests need; return the copy's path."""
    ignored = shutil.ignore_patterns("build", "__pycache__", "*.so", "*.pyd", "*.o")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, to / part, ignore=ignored)
        else:
            shutil.copy(ROOT / part, to / part)
    return to


def run(tree, *arguments, fine=True, **environment):
    """Run Python in a tree, which is first on the path; return the output."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CFLAGS", "CC") and not name.startswith("CRNN_")
    }
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env=kept | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert (done.returncode == 0) == fine, done.stdout[-6000:]
    return done.stdout
