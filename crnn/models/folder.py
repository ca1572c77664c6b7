"""Models in folders: a model, its vocabulary and the run that trains it are saved together."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from crnn.data import Vocabulary
from crnn.layers.base.description import with_classes
from crnn.layers.base.layer import Layer
from crnn.seq2seq import Seq2Seq
from crnn.storage import archive
from crnn.storage import models as storage_models
from crnn.storage.files import check_path

CHECKPOINT = "checkpoint.npz"


class InFolder(ABC):
    """A model that is saved in a folder; subclasses define what is saved."""

    _kind: ClassVar[str]
    network: Layer

    @abstractmethod
    def _tree(self) -> dict[str, Any]:
        """Return what else than the network `_of_tree` needs, for `archive.write`."""

    @classmethod
    @abstractmethod
    def _of_tree(cls, tree: Mapping[str, Any]) -> Self:
        """Return the model; a wrong tree may raise any exception."""

    def save(
        self, directory: str | os.PathLike[str], training: Mapping[str, Any] | None = None
    ) -> None:
        """Write the model into a directory, which is made where there is none.

        Parameters
        ----------
        directory : str or path
        training : mapping, optional
            The state of the run that trains the model, for `load_training`.

        Raises
        ------
        ValueError
            `directory` is empty.
        """
        check_path(directory)
        Path(directory).mkdir(parents=True, exist_ok=True)
        tree = {"network": storage_models.model_tree(self.network), "training": training}
        archive.write(Path(directory, CHECKPOINT), self._kind, self._tree() | tree)

    @classmethod
    def load(
        cls, directory: str | os.PathLike[str], classes: Mapping[str, type[Layer]] | None = None
    ) -> Self:
        """Read a model that `save` wrote.

        Parameters
        ----------
        directory : str or path
        classes : mapping from str to class, optional
            As for `crnn.load`.

        Raises
        ------
        FileNotFoundError
            There is none in the directory.
        ValueError
            The file is damaged or of another kind, or `directory` is empty.
        """
        return cls.load_training(directory, classes)[0]

    @classmethod
    def load_training(
        cls, directory: str | os.PathLike[str], classes: Mapping[str, type[Layer]] | None = None
    ) -> tuple[Self, dict[str, Any] | None]:
        """Read a model and the state of its run that was saved with it, or None."""
        known = storage_models.check_classes(classes)
        tree = cls.read_tree(directory)
        with archive.blaming(Path(directory, CHECKPOINT)), with_classes(known):
            model, (training,) = cls._of_tree(tree), archive.entries(tree, "training")
            if not isinstance(training, dict | None):
                raise ValueError(f"training: expected a dictionary, got {training!r:.100}")
            return model, training

    @classmethod
    def read_tree(cls, directory: str | os.PathLike[str]) -> dict[str, Any]:
        """Read the tree of a model and of its run.

        Raises
        ------
        FileNotFoundError
            There is no file, and nothing else of its name.
        OSError, ValueError
            There is one, and it cannot be read.
        """
        path = Path(check_path(directory), CHECKPOINT)
        try:
            return archive.read(path, cls._kind)
        except (FileNotFoundError, NotADirectoryError):
            message = f"{directory}: no {CHECKPOINT} in this directory"
            raise FileNotFoundError(message) from None


def saved_vocabulary(tree: Mapping[str, Any], name: str) -> Vocabulary:
    """Return the vocabulary under a name of a tree."""
    (config,) = archive.entries(tree, name)
    return Vocabulary.from_config(config)


def flag_of(tree: Mapping[str, Any], name: str) -> bool:
    """Return the truth value under a name of a tree."""
    (value,) = archive.entries(tree, name)
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected true or false, got {value!r:.100}")
    return value


def network_of(tree: Mapping[str, Any]) -> Layer:
    """Return the network of a tree."""
    return storage_models.build_model(*archive.entries(tree, "network"))


def seq2seq_of(tree: Mapping[str, Any]) -> Seq2Seq:
    """Return the network of a tree, which must be a Seq2Seq."""
    network = network_of(tree)
    if not isinstance(network, Seq2Seq):
        raise ValueError(f"expected a Seq2Seq, got a {type(network).__name__}")
    return network
