"""Files of models: a model, its vocabulary and its training run are saved in one folder."""

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
    """Base class of models that are saved in a folder; subclasses define what is saved."""

    #: The name of the model in its file, for error messages.
    _content: ClassVar[str]
    network: Layer

    @abstractmethod
    def _tree(self) -> dict[str, Any]:
        """Return the arguments of the model other than the network, for `archive.write`."""

    @classmethod
    @abstractmethod
    def _of_tree(cls, tree: Mapping[str, Any]) -> Self:
        """Return the model of a tree; an invalid tree may raise any exception."""

    def save(
        self, directory: str | os.PathLike[str], training: Mapping[str, Any] | None = None
    ) -> None:
        """Write the model into a directory, which is created if it does not exist.

        Parameters
        ----------
        directory : str or path
            The name of the directory. The file in it is ``checkpoint.npz``.
        training : mapping, optional
            The state of the training run, for `load_training`. None: the model alone.

        Raises
        ------
        ValueError
            `directory` is an empty string.
        """
        check_path(directory)
        Path(directory).mkdir(parents=True, exist_ok=True)
        tree = {"network": storage_models.model_tree(self.network), "training": training}
        archive.write(Path(directory, CHECKPOINT), self._content, self._tree() | tree)

    @classmethod
    def load(
        cls, directory: str | os.PathLike[str], classes: Mapping[str, type[Layer]] | None = None
    ) -> Self:
        """Read a model that `save` wrote.

        Parameters
        ----------
        directory : str or path
            The name of the directory.
        classes : mapping from str to class, optional
            Layer classes outside of crnn, by name, as for `crnn.load`.

        Returns
        -------
        model
            The model in the directory.

        Raises
        ------
        FileNotFoundError
            The directory has no file of a model.
        ValueError
            The file is damaged or contains another model, or `directory` is an empty string.
        """
        return cls.load_training(directory, classes)[0]

    @classmethod
    def load_training(
        cls, directory: str | os.PathLike[str], classes: Mapping[str, type[Layer]] | None = None
    ) -> tuple[Self, dict[str, Any] | None]:
        """Read a model and the state of its training run.

        Parameters
        ----------
        directory : str or path
            The name of the directory.
        classes : mapping from str to class, optional
            Layer classes outside of crnn, by name, as for `crnn.load`.

        Returns
        -------
        model
            The model in the directory.
        training : dict or None
            The state that was saved with the model; None if it was saved without one.

        Raises
        ------
        FileNotFoundError, ValueError
            As for `load`.
        """
        checked_classes = storage_models.check_classes(classes)
        tree = cls.read_tree(directory)
        with archive.blaming(Path(directory, CHECKPOINT)), with_classes(checked_classes):
            model, (training,) = cls._of_tree(tree), archive.entries(tree, "training")
            if not isinstance(training, dict | None):
                raise ValueError(f"training: expected a dictionary, got {training!r:.100}")
            return model, training

    @classmethod
    def read_tree(cls, directory: str | os.PathLike[str]) -> dict[str, Any]:
        """Read the tree of a model and of its training run.

        Parameters
        ----------
        directory : str or path
            The name of the directory.

        Returns
        -------
        dict
            The tree in the file.

        Raises
        ------
        FileNotFoundError
            The directory has no file of a model.
        OSError, ValueError
            The file cannot be read.
        """
        path = Path(check_path(directory), CHECKPOINT)
        try:
            return archive.read(path, cls._content)
        except (FileNotFoundError, NotADirectoryError):
            message = f"{directory}: no {CHECKPOINT} in this directory"
            raise FileNotFoundError(message) from None


def saved_vocabulary(tree: Mapping[str, Any], name: str) -> Vocabulary:
    """Return the vocabulary that a tree has under a name."""
    (config,) = archive.entries(tree, name)
    return Vocabulary.from_config(config)


def flag_of(tree: Mapping[str, Any], name: str) -> bool:
    """Return the truth value that a tree has under a name."""
    (value,) = archive.entries(tree, name)
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected true or false, got {value!r:.100}")
    return value


def network_of(tree: Mapping[str, Any]) -> Layer:
    """Return the network of a tree."""
    return storage_models.build_model(*archive.entries(tree, "network"))


def seq2seq_of(tree: Mapping[str, Any]) -> Seq2Seq:
    """Return the network of a tree; raise ValueError unless it is a Seq2Seq."""
    network = network_of(tree)
    if not isinstance(network, Seq2Seq):
        raise ValueError(f"expected a Seq2Seq, got a {type(network).__name__}")
    return network
