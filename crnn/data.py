"""Text as arrays: vocabularies, streams, lines, and the bundled corpora.

What `crnn.fit` goes through once an epoch is any iterable of ``(x, target)`` or
``(x, target, lengths)``. The classes here are such iterables, and whatever they shuffle depends on
nothing but the seed and the number of the epoch, which `fit` tells them with ``set_epoch``: so a
run can be taken up again in the middle of an epoch.

Letters: ``B`` sequences in a batch, ``T`` steps, ``K`` symbols.

    >>> vocabulary = Vocabulary.from_text("hello")
    >>> vocabulary
    Vocabulary(['e', 'h', 'l', 'o'])
    >>> ((x, target),) = TextStreams(vocabulary.encode("hello"), batch=1)
    >>> x
    array([[1, 0, 2, 2]])
    >>> vocabulary.decode(target[0])
    'ello'
"""

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module, resources
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn import _core
from crnn.layers.base import check_size

Symbols = NDArray[np.int64]

END_OF_LINE = "\n"

# Streams of the counter-based generator (crnn._core.random_uniform), apart from one another.
_SHUFFLE = int.from_bytes(b"shuffle")
_SPLIT = int.from_bytes(b"split")


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
            twice = next(s for s in listed if listed.count(s) > 1)
            raise ValueError(f"symbols: expected different ones, got {twice!r} twice")
        self.symbols = tuple(listed)
        self.unknown = unknown

    @classmethod
    def from_text(cls, text: Iterable[str], unknown: str | None = None) -> "Vocabulary":
        """Return the vocabulary of the symbols in a text, sorted.

        Parameters
        ----------
        text : str or iterable of str
            A string is read character by character.
        unknown : str, optional
            As for the class.
        """
        return cls(sorted(set(text)), unknown)

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

    def decode(self, numbers: ArrayLike) -> str:
        """Return the text of numbers (T,).

        Raises
        ------
        ValueError
            A number is not in 0 ... K-1.
        """
        array = np.asarray(numbers)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise ValueError(
                f"numbers: expected integers (T,), got {array.dtype} of shape {array.shape}"
            )
        if array.size and (array.min() < 0 or array.max() >= len(self)):
            raise ValueError(
                f"numbers: expected 0 to {len(self) - 1}, got {array.min()} to {array.max()}"
            )
        return "".join(self.symbols[number] for number in array)

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


class TextStreams:
    """One long text as parallel streams, to be read in windows with the state carried on.

    The text is cut into `batch` pieces of the same length, one a row; what does not fill a step of
    all rows is left out at the end. There is one item, ``(x (B, T), target (B, T))``, where the
    target is what comes next in the text; `crnn.fit` cuts it into windows (``tbptt``).

    Parameters
    ----------
    symbols : array (N,) of integers
        The text as `Vocabulary.encode` returns it. The arrays of the item are views of it.
    batch : int
        B, the number of streams, at most N - 1.

    Attributes
    ----------
    steps : int
        Valid steps in an epoch: B times T.
    """

    def __init__(self, symbols: ArrayLike, batch: int) -> None:
        text = np.asarray(symbols)
        if text.ndim != 1 or text.dtype.kind not in "iu":
            raise ValueError(
                f"symbols: expected integers (N,), got {text.dtype} of shape {text.shape}"
            )
        batch = check_size("batch", batch)
        if len(text) <= batch:
            raise ValueError(
                f"symbols: expected more than {batch} for a batch of {batch}, got {len(text)}"
            )
        steps = (len(text) - 1) // batch
        self.x = text[: steps * batch].reshape(batch, steps)
        self.target = text[1 : steps * batch + 1].reshape(batch, steps)
        self.steps = self.x.size

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        yield self.x, self.target


class Lines:
    """Lines of text as sequences of their own, in batches with lengths, shuffled each epoch.

    A line goes in behind the start symbol, and the stop symbol is the last one to predict. An item
    is ``(x (B, T), target (B, T), lengths (B,))`` with T the longest length in its batch; padding
    is 0. The last batch of an epoch may be smaller.

    Parameters
    ----------
    lines : sequence of str
        Without the start and stop symbols. An empty line is a sequence of one step.
    vocabulary : Vocabulary
        With the symbols of all lines and with `start` and `stop`.
    batch : int
        B.
    start, stop : str
        Newlines by default, which no line can contain: one symbol serves as both.
    seed : int or None
        The order is a function of `seed` and the number of the epoch. None keeps the lines in the
        order given.

    Attributes
    ----------
    steps : int
        Valid steps in an epoch.
    """

    def __init__(
        self,
        lines: Sequence[str],
        vocabulary: Vocabulary,
        batch: int = 32,
        *,
        start: str = END_OF_LINE,
        stop: str = END_OF_LINE,
        seed: int | None = 0,
    ) -> None:
        self.batch = check_size("batch", batch)
        if not lines:
            raise ValueError("lines: expected at least one, got none")
        for line in lines:
            if start in line or stop in line:
                raise ValueError(
                    f"lines: expected none that contains start ({start!r}) or stop ({stop!r}), "
                    f"got {line!r}"
                )
        self._lines = [vocabulary.encode([start, *line, stop]) for line in lines]
        self.steps = sum(len(line) - 1 for line in self._lines)
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, whose order the next iteration has."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self._lines) // self.batch)

    def __iter__(self) -> Iterator[tuple[Symbols, Symbols, Symbols]]:
        order = np.arange(len(self._lines))
        if self.seed is not None:
            order = permutation(len(order), self.seed, _SHUFFLE, self.epoch)
        for first in range(0, len(order), self.batch):
            yield _pad([self._lines[number] for number in order[first : first + self.batch]])


def _pad(lines: list[Symbols]) -> tuple[Symbols, Symbols, Symbols]:
    """Turn encoded lines, start and stop included, into x, target and lengths."""
    lengths = np.array([len(line) - 1 for line in lines], np.int64)
    x = np.zeros((len(lines), lengths.max()), np.int64)
    target = np.zeros_like(x)
    for row, (line, length) in enumerate(zip(lines, lengths, strict=True)):
        x[row, :length] = line[:-1]
        target[row, :length] = line[1:]
    return x, target, lengths


def lines_of(text: str) -> list[str]:
    """Return the lines of a text, without the space around them and without empty ones."""
    lines = [line.strip() for line in text.split(END_OF_LINE)]
    return [line for line in lines if line]


def permutation(n: int, seed: int, stream: int, number: int = 0) -> NDArray[np.intp]:
    """Return an order (n,) of 0 ... n-1 that depends on nothing but the arguments.

    Parameters
    ----------
    n : int
        How many.
    seed, stream : int
        Which sequence of random numbers.
    number : int
        Which of the orders that come one after the other in it.
    """
    return np.argsort(_core.random_uniform(seed, stream, number * n, n), kind="stable")


def hold_out(lines: Sequence[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Split lines into those to train on and those held out, chosen at random.

    Parameters
    ----------
    lines : sequence of str
        At least two, unless the share is 0.
    share : float
        How much to hold out, from 0 to below 1; more than 0 is at least one line, and one is left.
    seed : int
        The choice is a function of it.

    Returns
    -------
    train, held_out : lists of str
        Each in the order of `lines`.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share: expected a number from 0 to below 1, got {share!r}")
    if share == 0:
        return list(lines), []
    if len(lines) < 2:
        raise ValueError(f"lines: expected at least two, got {len(lines)}")
    count = min(max(1, round(share * len(lines))), len(lines) - 1)
    out = set(permutation(len(lines), seed, _SPLIT)[:count].tolist())
    train = [line for number, line in enumerate(lines) if number not in out]
    return train, [line for number, line in enumerate(lines) if number in out]


def corpora() -> list[str]:
    """Return the names that `corpus` knows."""
    files = (resources.files("crnn") / "corpora").iterdir()
    names = [file.name.removesuffix(".txt") for file in files if file.name.endswith(".txt")]
    return sorted([*names, "pydoc"])


def corpus(name: str) -> str:
    """Return a text to try things on.

    Parameters
    ----------
    name : {"dinosaurs", "pydoc"}
        ``"dinosaurs"`` is a list of genus names, one a line. ``"pydoc"`` is what the running
        Python says about itself: the documentation topics that come with CPython
        (``pydoc_data.topics``), in the order of their keys, joined by newlines; some 465,000
        characters, a little different from version to version.

    Raises
    ------
    ValueError
        There is no such corpus.
    ImportError
        This Python was installed without its documentation topics.
    """
    if name not in corpora():
        raise ValueError(f"name: expected one of {', '.join(corpora())}, got {name!r}")
    if name == "pydoc":
        try:
            topics: dict[str, str] = import_module("pydoc_data.topics").topics
        except ImportError as error:
            raise ImportError("this Python has no pydoc_data, the text of corpus pydoc") from error
        return "\n".join(topics[key] for key in sorted(topics))
    return (resources.files("crnn") / "corpora" / f"{name}.txt").read_text(encoding="utf-8")
