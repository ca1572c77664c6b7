"""Symbols and their numbers."""

import json
import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.common.arrays import described
from crnn.common.checks import check_size
from crnn.storage.archive import blaming
from crnn.storage.files import read_bytes, replacing

Symbols = NDArray[np.int64]

_FORMAT, _VERSION = "crnn vocabulary", 1


class Vocabulary:
    """The symbols of a text, numbered from 0.

    Parameters
    ----------
    symbols : iterable of str
        All different. A character model's symbols are single characters.
    unknown : str, optional
        The symbol that stands for every other one; added in last place where `symbols` lacks it. By
        default an unknown symbol is an error.

    Raises
    ------
    ValueError
        No symbols, or one that is there twice.
    TypeError
        A symbol that is not a string.
    """

    def __init__(self, symbols: Iterable[str], unknown: str | None = None) -> None:
        listed = list(symbols)
        if unknown is not None and unknown not in listed:
            listed.append(unknown)
        for symbol in listed:
            if not isinstance(symbol, str):
                raise TypeError(f"symbols: expected strings, got {symbol!r}")
        if not listed:
            raise ValueError("symbols: expected at least one, got none (is the text empty?)")
        self._numbers = {symbol: number for number, symbol in enumerate(listed)}
        if len(self._numbers) < len(listed):
            twice = next(symbol for symbol, count in Counter(listed).items() if count > 1)
            raise ValueError(f"symbols: expected different ones, got {twice!r} twice")
        self.symbols = tuple(listed)
        self.unknown = unknown

    @classmethod
    def from_text(
        cls,
        text: Iterable[str],
        unknown: str | None = None,
        *,
        min_count: int = 1,
        max_size: int | None = None,
    ) -> "Vocabulary":
        """Return the vocabulary of the symbols in a text, sorted.

        Parameters
        ----------
        text : str or iterable of str
            A string is read character by character; for words give ``text.split()``.
        unknown : str, optional
            As for the class. Needed to encode symbols that the following leave out.
        min_count : int
            Leave out symbols that occur less often.
        max_size : int, optional
            K at most, the unknown symbol included: the most frequent ones are kept, of equally
            frequent ones those that are sorted first.

        Examples
        --------
        >>> words = "to be or not to be".split()
        >>> Vocabulary.from_text(words, unknown="?", min_count=2)
        Vocabulary(['be', 'to', '?'], unknown='?')
        """
        min_count = check_size("min_count", min_count)
        room = None if max_size is None else check_size("max_size", max_size)
        counts = Counter(text)
        known = [s for s in counts if counts[s] >= min_count and s != unknown]
        if room is not None:
            known = sorted(sorted(known), key=counts.__getitem__, reverse=True)  # keeps ties sorted
            known = known[: room - (unknown is not None)]
        if unknown is not None and unknown in counts:
            known.append(unknown)
        return cls(sorted(known), unknown)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Read a vocabulary that `save` wrote.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ValueError
            The file is damaged, or not one of a vocabulary.
        """
        content = read_bytes(path)
        with blaming(path):
            tree = json.loads(content)
            if not isinstance(tree, dict) or tree.get("format") != _FORMAT:
                raise ValueError("not the file of a vocabulary")
            if tree.get("version") != _VERSION:
                raise ValueError(f"written in version {tree.get('version')!r}, expected {_VERSION}")
            return cls.from_config({name: tree.get(name) for name in ("symbols", "unknown")})

    @classmethod
    def from_config(cls, config: Any) -> "Vocabulary":
        """Return the vocabulary of a `config`, which may come from a file.

        Raises
        ------
        ValueError, TypeError
            It is none.
        """
        if not isinstance(config, dict) or not config.keys() <= {"symbols", "unknown"}:
            raise ValueError(f"expected the symbols of a vocabulary, got {config!r:.100}")
        symbols, unknown = config.get("symbols"), config.get("unknown")
        if not isinstance(symbols, list) or not isinstance(unknown, str | None):
            raise ValueError("the symbols are not a list, or the unknown one is not a string")
        return cls(symbols, unknown)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary to a file that `load` reads: JSON, whose ending is ``.json``.

        A file that is there is replaced in one step, when the new one is complete on disk.
        """
        tree = {"format": _FORMAT, "version": _VERSION, **self.config}
        with replacing(path) as file:
            file.write(json.dumps(tree, indent=1).encode("ascii"))

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make the same vocabulary, as JSON can hold them."""
        return {"symbols": list(self.symbols), "unknown": self.unknown}

    def encode(self, text: Iterable[str]) -> Symbols:
        """Return the numbers (T,) of the symbols of a text.

        Raises
        ------
        ValueError
            A symbol is unknown and the vocabulary has none that stands for it.
        """
        numbers = self._numbers
        if self.unknown is not None:
            other = numbers[self.unknown]
            return np.array([numbers.get(symbol, other) for symbol in text], np.int64)
        try:
            return np.array([numbers[symbol] for symbol in text], np.int64)
        except KeyError as error:
            raise ValueError(
                f"text: expected symbols of the vocabulary, got {error.args[0]!r}, "
                f"which is not one of its {len(self)}"
            ) from None

    def decode(self, numbers: ArrayLike, separator: str = "") -> str:
        """Return the text of numbers (T,).

        Parameters
        ----------
        numbers : (T,) integers
        separator : str
            What stands between two symbols; a space for words.

        Raises
        ------
        ValueError
            A number is not in 0 ... K-1.
        """
        array = np.asarray(numbers)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise ValueError(f"numbers: expected integers (T,), got {described(array)}")
        if array.size and (array.min() < 0 or array.max() >= len(self)):
            raise ValueError(
                f"numbers: expected 0 to {len(self) - 1}, got {array.min()} to {array.max()}"
            )
        return separator.join(self.symbols[number] for number in array)

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._numbers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.config == other.config

    def __hash__(self) -> int:
        return hash((self.symbols, self.unknown))

    def __repr__(self) -> str:
        unknown = "" if self.unknown is None else f", unknown={self.unknown!r}"
        return f"Vocabulary({list(self.symbols)}{unknown})"
