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
    """One long text as parallel streams, to be read in windows with the state carried on.

    The text is cut into `batch_size` pieces of the same length, one a row; symbols at the end that
    do not fill a step of all rows are left out. There is one item, ``(x (B, T), target (B, T))``,
    where the target is what comes next in the text; `crnn.fit` cuts it into windows (``tbptt``).

    Parameters
    ----------
    symbols : array (N,) of integers
        The text as `Vocabulary.encode` returns it. The arrays of the item are views of it.
    batch_size : int
        B, the number of streams, at most N - 1.

    Attributes
    ----------
    steps : int
        Valid steps in an epoch: B times T.
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
    batch_size : int
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
                    f"lines: expected none that contains start ({start!r}) or stop ({stop!r}), "
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
    """Return the lines of a text, without the space around them and without empty ones."""
    lines = [line.strip() for line in text.split(END_OF_LINE)]
    return [line for line in lines if line]


def corpora() -> list[str]:
    """Return the names that `corpus` knows."""
    files = (resources.files("crnn.data") / "corpora").iterdir()
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
    return (resources.files("crnn.data") / "corpora" / f"{name}.txt").read_text(encoding="utf-8")
