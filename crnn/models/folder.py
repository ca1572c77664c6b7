"""Models in folders: what a model with its vocabulary, and the run that trains it, are saved in."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crnn import checkpoint

CHECKPOINT = "checkpoint.npz"


def write(directory: str | os.PathLike[str], kind: str, tree: Mapping[str, Any]) -> None:
    """Write a tree into a directory, which is made where there is none.

    Parameters
    ----------
    directory : str or path
    kind, tree
        As for `crnn.checkpoint.write`.
    """
    Path(directory).mkdir(parents=True, exist_ok=True)
    checkpoint.write(Path(directory, CHECKPOINT), kind, tree)


@contextmanager
def reading(directory: str | os.PathLike[str], kind: str) -> Iterator[dict[str, Any]]:
    """The tree that `write` wrote, and ValueError for whatever is wrong with what it says.

    Raises
    ------
    FileNotFoundError
        There is none in the directory.
    ValueError
        The file is damaged or of another kind, or what is made of the tree inside raises.
    """
    path = Path(directory, CHECKPOINT)
    if not path.exists():
        raise FileNotFoundError(f"{directory}: no {CHECKPOINT} in this directory")
    tree = checkpoint.read(path, kind)
    with checkpoint.blaming(path):
        yield tree
