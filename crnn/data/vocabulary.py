"""Symbols of texts and their numbers."""

import json
import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.common.arrays import described
from crnn.common.checks import check_size
from crnn.common.representation import never_raising
from crnn.data.representation import counted
from crnn.storage.archive import blaming
from crnn.storage.files import read_bytes, replacing

Symbols = NDArray[np.int64]

_FORMAT, _VERSION = "crnn vocabulary", 1
_COMPLETE, _FIRST = 100, 40  # the longest repr with all symbols; characters of the first ones


class Vocabulary:
    """Vocabulary: the symbols of a text, numbered from 0.

    Parameters
    ----------
    symbols : iterable of str
        K distinct symbols, in the order of their numbers. The symbols of a character model are
        single characters.
    unknown : str, optional
        The symbol that represents all symbols outside of the vocabulary. It is appended if
        `symbols` lacks it. None: to encode a symbol outside of the vocabulary is an error.

    Attributes
    ----------
    symbols : tuple of K str
        All symbols, in the order of their numbers.
    unknown : str or None
        The symbol that represents all others.
    config : dict
        The arguments of a vocabulary equal to this one.

    Raises
    ------
    ValueError
        No symbols, or the same symbol twice.
    TypeError
        A symbol that is not a string.

    See Also
    --------
    from_text : make the vocabulary of a text.

    Examples
    --------
    >>> import crnn
    >>> vocabulary = crnn.data.Vocabulary.from_text("hello")
    >>> vocabulary
    Vocabulary(['e', 'h', 'l', 'o'])
    >>> vocabulary.encode("hole")
    array([1, 3, 2, 0])
    >>> vocabulary.decode([1, 3, 2, 0])
    'hole'
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
            raise ValueError(f"symbols: expected distinct symbols, got {twice!r} twice")
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
        """Return the vocabulary of the symbols of a text, in sorted order.

        Parameters
        ----------
        text : str or iterable of str
            The symbols of the text. Those of a string are its characters; for words pass
            ``text.split()``.
        unknown : str, optional
            As for the class. It represents the symbols that `min_count` and `max_size` leave out.
        min_count : int, default 1
            Leave out symbols that occur less often.
        max_size : int, optional
            The largest K, the unknown symbol included: the most frequent symbols are kept.
            Equally frequent symbols are taken in sorted order. None: no limit.

        Returns
        -------
        Vocabulary
            The vocabulary, with the unknown symbol in last place if the text lacks it.

        Raises
        ------
        ValueError
            No symbol is left, or an option is below 1.

        Examples
        --------
        >>> import crnn
        >>> words = "to be or not to be".split()
        >>> crnn.data.Vocabulary.from_text(words, unknown="?", min_count=2)
        Vocabulary(['be', 'to', '?'], unknown='?')
        """
        min_count = check_size("min_count", min_count)
        limit = None if max_size is None else check_size("max_size", max_size)
        counts = Counter(text)
        kept = [s for s in counts if counts[s] >= min_count and s != unknown]
        if limit is not None:
            kept = sorted(sorted(kept), key=counts.__getitem__, reverse=True)  # keeps ties sorted
            kept = kept[: limit - (unknown is not None)]
        if unknown is not None and unknown in counts:
            kept.append(unknown)
        return cls(sorted(kept), unknown)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Read a vocabulary from a file that `save` wrote.

        Parameters
        ----------
        path : str or path
            The name of the file.

        Returns
        -------
        Vocabulary
            The vocabulary in the file.

        Raises
        ------
        FileNotFoundError
            The file does not exist.
        ValueError
            The file is damaged, or does not contain a vocabulary.
        """
        content = read_bytes(path)
        with blaming(path):
            tree = json.loads(content)
            if not isinstance(tree, dict) or tree.get("format") != _FORMAT:
                raise ValueError("not a file with a vocabulary")
            if tree.get("version") != _VERSION:
                raise ValueError(f"written in version {tree.get('version')!r}, expected {_VERSION}")
            return cls.from_config({name: tree.get(name) for name in ("symbols", "unknown")})

    @classmethod
    def from_config(cls, config: Any) -> "Vocabulary":
        """Return the vocabulary of a `config`, which may come from a file.

        Parameters
        ----------
        config : dict
            The `config` of a vocabulary.

        Returns
        -------
        Vocabulary
            A vocabulary equal to the one that `config` was taken from.

        Raises
        ------
        ValueError, TypeError
            `config` does not describe a vocabulary.
        """
        if not isinstance(config, dict) or not config.keys() <= {"symbols", "unknown"}:
            raise ValueError(f"expected the symbols of a vocabulary, got {config!r:.100}")
        symbols, unknown = config.get("symbols"), config.get("unknown")
        if not isinstance(symbols, list) or not isinstance(unknown, str | None):
            raise ValueError("the symbols are not a list, or the unknown symbol is not a string")
        return cls(symbols, unknown)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary to a JSON file that `load` reads.

        An existing file is replaced in one step, when the new file is complete on disk.

        Parameters
        ----------
        path : str or path
            The name of the file, usually with the ending ``.json``.
        """
        tree = {"format": _FORMAT, "version": _VERSION, **self.config}
        with replacing(path) as file:
            file.write(json.dumps(tree, indent=1).encode("ascii"))

    @property
    def config(self) -> dict[str, Any]:
        """Arguments of a vocabulary equal to this one, in types that JSON can store."""
        return {"symbols": list(self.symbols), "unknown": self.unknown}

    def encode(self, text: Iterable[str]) -> Symbols:
        """Return the numbers of the symbols of a text.

        Parameters
        ----------
        text : str or iterable of str
            T symbols. Those of a string are its characters.

        Returns
        -------
        array (T,) of int64
            The number of each symbol, from 0 to K-1.

        Raises
        ------
        ValueError
            A symbol is not in the vocabulary, and `unknown` is None.
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
        """Return the text of symbol numbers.

        Parameters
        ----------
        numbers : array (T,) of integers
            The numbers of the symbols.
        separator : str, default ""
            The text between two symbols; a space for words.

        Returns
        -------
        str
            The symbols, joined by the separator.

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

    @never_raising
    def __repr__(self) -> str:
        name = type(self).__name__
        if len(self) < _COMPLETE:
            unknown = "" if self.unknown is None else f", unknown={self.unknown!r}"
            complete = f"{name}({list(self.symbols)}{unknown})"
            if len(complete) <= _COMPLETE:
                return complete
        first = [f"{symbol!r:.{_FIRST}}" for symbol in self.symbols[:_FIRST]]
        while len(", ".join(first)) > _FIRST:
            first.pop()
        more = [] if len(first) == len(self) else ["..."]
        unknown = "" if self.unknown is None else f", unknown={self.unknown!r:.20}"
        symbols = f"{counted(len(self), 'symbol')} {', '.join(first + more)}"
        return f"<{name}: {symbols}{unknown}>"
