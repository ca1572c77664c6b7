"""Text as streams and lines, and the bundled corpora."""

from collections.abc import Sequence
from importlib import import_module, resources

import numpy as np
from numpy.typing import ArrayLike

from crnn.common.arrays import described
from crnn.common.checks import check_size
from crnn.data.batches import Batches
from crnn.data.series import Streams
from crnn.data.vocabulary import Vocabulary

END_OF_LINE = "\n"


class TextStreams(Streams):
    """A long text as parallel streams, for training in windows with the state carried over.

    The text is cut into `batch_size` streams of the same length, one in each row; symbols at the
    end that would not fill one step of all rows are left out. There is one item, ``(x (B, T),
    target (B, T))``. The target of each symbol is the next symbol of the text. `crnn.fit` cuts the
    item into windows (``tbptt``).

    Parameters
    ----------
    symbols : array (N,) of integers
        The text, as `Vocabulary.encode` returns it. The arrays of the item are views of it.
    batch_size : int
        B, the number of streams, at most N - 1.

    Attributes
    ----------
    x, target : array (B, T) of integers
        The item.
    steps : int
        The number of valid steps in an epoch: B times T.

    Raises
    ------
    ValueError
        Symbols that are not integers (N,), or not more than `batch_size` of them.

    Examples
    --------
    >>> import crnn
    >>> vocabulary = crnn.data.Vocabulary.from_text("the cat sat")
    >>> streams = crnn.data.TextStreams(vocabulary.encode("the cat sat"), batch_size=2)
    >>> streams
    <TextStreams: 2 streams of 5 steps in 1 item>
    >>> ((x, target),) = streams
    >>> vocabulary.decode(x[0]), vocabulary.decode(target[0])
    ('the c', 'he ca')
    """

    def __init__(self, symbols: ArrayLike, batch_size: int) -> None:
        text = np.asarray(symbols)
        if text.ndim != 1 or text.dtype.kind not in "iu":
            raise ValueError(f"symbols: expected integers (N,), got {described(text)}")
        if len(text) <= check_size("batch_size", batch_size):
            raise ValueError(
                f"symbols: expected more than batch_size={batch_size}, got {len(text)}"
            )
        super().__init__(text, batch_size=batch_size)
        self.steps = self.x.size


class Lines(Batches):
    r"""Batches of text lines, each a sequence for a language model, shuffled in each epoch.

    The input of a line is the start symbol and its symbols; the target is its symbols and the stop
    symbol. An item is ``(x (B, T), target (B, T), lengths (B,))``, where T is the longest length in
    the batch and the padding is 0. The last batch of an epoch may be smaller.

    Parameters
    ----------
    lines : sequence of str
        The lines, without start and stop symbols. An empty line is a sequence of one step.
    vocabulary : Vocabulary
        A vocabulary with the symbols of all lines and with `start` and `stop`.
    batch_size : int, default 32
        B.
    start, stop : str, default newline
        The symbols before and after a line. One symbol may serve as both; no line may contain it.
    seed : int or None, default 0
        The order is a function of `seed` and the number of the epoch. None: keep the order of
        `lines`.

    Attributes
    ----------
    lengths : array (n,) of int64
        The steps of all lines, in the order of `lines`: one more than their symbols.
    steps : int
        The number of valid steps in an epoch.
    epoch : int
        The epoch, from 0, whose order the next iteration has.

    Raises
    ------
    ValueError
        No lines, a line with `start` or `stop` in it, or with an unknown symbol.

    Examples
    --------
    >>> import crnn
    >>> vocabulary = crnn.data.Vocabulary("\nabc")
    >>> lines = crnn.data.Lines(["ab", "c"], vocabulary, batch_size=2, seed=None)
    >>> lines
    <Lines: 2 lines in 1 batch of 2, not shuffled>
    >>> ((x, target, lengths),) = lines
    >>> x.tolist(), target.tolist(), lengths.tolist()
    ([[0, 1, 2], [0, 3, 0]], [[1, 2, 0], [3, 0, 0]], [3, 2])
    """

    _noun = ("line", "lines")

    def __init__(
        self,
        lines: Sequence[str],
        vocabulary: Vocabulary,
        batch_size: int = 32,
        *,
        start: str = END_OF_LINE,
        stop: str = END_OF_LINE,
        seed: int | None = 0,
    ) -> None:
        if not lines:
            raise ValueError("lines: expected at least one, got none")
        for line in lines:
            if start in line or stop in line:
                raise ValueError(
                    f"lines: expected lines without start ({start!r}) and stop ({stop!r}), "
                    f"got {line!r}"
                )
        encoded = [vocabulary.encode([start, *line, stop]) for line in lines]
        super().__init__(
            [line[:-1] for line in encoded],
            [line[1:] for line in encoded],
            batch_size,
            shuffle=seed is not None,
            seed=seed,
            bucket=False,
        )
        self.steps = int(self.lengths.sum())


def lines_of(text: str) -> list[str]:
    r"""Return the lines of a text, without empty lines and without spaces around the lines.

    Parameters
    ----------
    text : str
        A text whose lines end with newlines.

    Returns
    -------
    list of str
        The lines, in the order of the text.

    Examples
    --------
    >>> import crnn
    >>> crnn.data.lines_of("Ada \n\n  Bob\n")
    ['Ada', 'Bob']
    """
    lines = [line.strip() for line in text.split(END_OF_LINE)]
    return [line for line in lines if line]


def corpora() -> list[str]:
    """Return the names of the texts that `corpus` returns.

    Returns
    -------
    list of str
        The names, sorted.

    Examples
    --------
    >>> import crnn
    >>> crnn.data.corpora()
    ['dinosaurs', 'pydoc']
    """
    files = (resources.files("crnn.data") / "corpora").iterdir()
    names = [file.name.removesuffix(".txt") for file in files if file.name.endswith(".txt")]
    return sorted([*names, "pydoc"])


def corpus(name: str) -> str:
    """Return a text for examples and first experiments.

    Parameters
    ----------
    name : {"dinosaurs", "pydoc"}
        ``"dinosaurs"``: genus names of dinosaurs, one per line. ``"pydoc"``: the documentation
        topics of the running Python (``pydoc_data.topics`` of CPython), in the order of their keys,
        joined by newlines. These are some 465,000 characters, which differ a little between Python
        versions.

    Returns
    -------
    str
        The text.

    Raises
    ------
    ValueError
        Another name.
    ImportError
        This Python was installed without its documentation topics.

    Examples
    --------
    >>> import crnn
    >>> names = crnn.data.corpus("dinosaurs")
    >>> names.splitlines()[:2]
    ['Aardonyx', 'Abelisaurus']
    """
    if name not in corpora():
        raise ValueError(f"name: expected one of {', '.join(corpora())}, got {name!r}")
    if name == "pydoc":
        try:
            topics: dict[str, str] = import_module("pydoc_data.topics").topics
        except ImportError as error:
            raise ImportError("corpus 'pydoc' needs pydoc_data, which this Python lacks") from error
        return "\n".join(topics[key] for key in sorted(topics))
    return (resources.files("crnn.data") / "corpora" / f"{name}.txt").read_text(encoding="utf-8")
