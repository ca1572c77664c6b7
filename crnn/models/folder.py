"""Models in folders: what a model with its vocabulary, and the run that trains it, are saved in."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from crnn import checkpoint
from crnn.seq2seq import Seq2Seq

CHECKPOINT = "checkpoint.npz"


class InFolder:
    """A model that is saved in a folder; it says what of it is."""

    _kind: ClassVar[str]

    def _tree(self) -> dict[str, Any]:
        """What `_of_tree` makes the same model of, as `crnn.checkpoint.write` takes it."""
        raise NotImplementedError

    @classmethod
    def _of_tree(cls, tree: Mapping[str, Any]) -> Self:
        """The model; whatever is wrong with the tree may raise anything."""
        raise NotImplementedError

    def save(
        self, directory: str | os.PathLike[str], training: Mapping[str, Any] | None = None
    ) -> None:
        """Write the model into a directory, which is made where there is none.

        Parameters
        ----------
        directory : str or path
        training : mapping, optional
            What belongs to the run that trains the model, for `load_training`.
        """
        Path(directory).mkdir(parents=True, exist_ok=True)
        tree = self._tree() | {"training": training}
        checkpoint.write(Path(directory, CHECKPOINT), self._kind, tree)

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Self:
        """Read a model that `save` wrote.

        Raises
        ------
        FileNotFoundError
            There is none in the directory.
        ValueError
            The file is damaged or of another kind.
        """
        return cls.load_training(directory)[0]

    @classmethod
    def load_training(cls, directory: str | os.PathLike[str]) -> tuple[Self, dict[str, Any] | None]:
        """Read a model and what was saved with it of the run that trained it."""
        path = Path(directory, CHECKPOINT)
        if not path.exists():
            raise FileNotFoundError(f"{directory}: no {CHECKPOINT} in this directory")
        tree = checkpoint.read(path, cls._kind)
        with checkpoint.blaming(path):
            return cls._of_tree(tree), tree["training"]


def seq2seq_of(tree: Mapping[str, Any]) -> Seq2Seq:
    """The network of a tree, which must be a Seq2Seq."""
    network = checkpoint.build_model(tree["network"])
    if not isinstance(network, Seq2Seq):
        raise ValueError(f"expected a Seq2Seq, got a {type(network).__name__}")
    return network
