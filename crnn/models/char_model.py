"""A character language model, which tells what symbol may come next.

Recurrent layers read the symbols of a text, a Dense layer gives a score for every symbol that may
come next. The model is judged in bits per character: how long the text would be if it were stored
with the model's probabilities (the cross-entropy to base 2).

Letters: ``T`` steps, ``H`` hidden units, ``K`` symbols.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, Unpack

import numpy as np

from crnn.callbacks import Callback, Progress
from crnn.callbacks.history import History
from crnn.common.checks import check_seed, check_size
from crnn.common.choices import CellName
from crnn.data import END_OF_LINE, Lines, TextStreams, Vocabulary, hold_out, lines_of
from crnn.generation.feedback import generate
from crnn.layers.base.layer import Layer
from crnn.layers.base.weights import layer_seeds
from crnn.layers.compose.sequential import Sequential
from crnn.layers.compose.streams import stream_of
from crnn.layers.pointwise.dense import Dense
from crnn.layers.pointwise.embedding import Embedding
from crnn.losses import cross_entropy
from crnn.models.folder import InFolder, flag_of, network_of, saved_vocabulary
from crnn.models.networks import recurrent_layers
from crnn.models.training import RunOptions, one_cycle
from crnn.training.evaluation import evaluate
from crnn.training.trainer import Trainer

BITS = 1 / math.log(2)  # in a nat

_STEPS = 64  # of a window in which a text is evaluated
_ROW = 1000  # characters at least in each of several streams that are evaluated side by side


class CharModel(InFolder):
    """A vocabulary, and a network over its symbols.

    Parameters
    ----------
    vocabulary : Vocabulary
        K symbols, each a character.
    network : layer
        From symbols (B, T) to logits (B, T, K).
    lines : bool
        Each line of a text is a sequence of its own, as names are; otherwise the text is one long
        sequence. With lines, the vocabulary must have the newline.

    See Also
    --------
    for_text : make a model of the usual form for a text.

    Examples
    --------
    >>> text = "hello " * 50
    >>> model = CharModel.for_text(text, cell="rnn", hidden_size=8, seed=0)
    >>> history = model.train(text, epochs=40, batch_size=2, steps=10, lr=0.1, progress=False)
    >>> model.evaluate(text) < 0.1  # bits per character
    True
    >>> model.sample("he", max_steps=9, temperature=None)
    'hello hello'
    """

    _kind = "character model"

    def __init__(self, vocabulary: Vocabulary, network: Layer, lines: bool = False) -> None:
        if lines and END_OF_LINE not in vocabulary:
            raise ValueError(f"vocabulary: expected one with {END_OF_LINE!r}, which ends a line")
        self.vocabulary = vocabulary
        self.network = network
        self.lines = bool(lines)

    @classmethod
    def for_text(
        cls,
        text: str,
        *,
        cell: CellName = "lstm",
        hidden_size: int = 256,
        layers: int = 1,
        embedding: int | None = None,
        lines: bool = False,
        seed: int | None = None,
    ) -> "CharModel":
        """Return an untrained model with the symbols of a text.

        Parameters
        ----------
        text : str
            All that will be trained on or evaluated.
        cell : {"rnn", "lstm", "gru", "janet"}
            The kind of recurrent layer.
        hidden_size, layers : int
            H, and how many recurrent layers, one on top of the other.
        embedding : int, optional
            Length of the vectors that stand for symbols, learned; by default H. With 0 the first
            recurrent layer reads the symbols themselves (one-hot rows, at the cost of a row
            look-up): on texts of some 100,000 characters a little worse.
        lines : bool
            As for the class.
        seed : int, optional
            Of the initial weights; by default a fresh one.
        """
        vocabulary = Vocabulary.from_text(text + END_OF_LINE * lines)
        K = len(vocabulary)
        embedding = hidden_size if embedding is None else embedding
        first, last, *seeds = layer_seeds(check_seed(seed), check_size("layers", layers) + 2)
        embeddings = [Embedding(K, embedding, seed=first)] if embedding else []
        stack = recurrent_layers(cell, embedding or K, hidden_size, seeds)
        network = Sequential([*embeddings, *stack, Dense(hidden_size, K, seed=last)])
        return cls(vocabulary, network, lines)

    def train(
        self,
        text: str,
        *,
        epochs: int = 12,
        batch_size: int = 32,
        steps: int = 64,
        lr: float = 6e-3,
        clip_norm: float = 1.0,
        validation_split: float = 0.1,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
    ) -> History:
        """Train the model, with Adam and a one-cycle learning rate.

        Parameters
        ----------
        text : str
        epochs : int
            How often to go through the text.
        batch_size : int
            Streams that the text is cut into; with lines, how many of them are in an update.
        steps : int
            T of an update: the state goes on from one window to the next, the gradient does not go
            back. Lines are taken whole.
        lr : float
            The peak of the one-cycle schedule, see `crnn.callbacks.OneCycle`.
        clip_norm : float
            Largest norm of a gradient.
        validation_split : float
            Share of the text that is only evaluated, after each epoch: its end, or lines drawn by
            the seed. 0 for none.
        seed : int
            Decides the order of lines.
        callbacks : sequence of Callback
        progress : bool
            Show progress, in bits per character.

        Returns
        -------
        History
            Losses in nats: divide by log(2) for bits.
        """
        callbacks = [*callbacks, BitsProgress()] if progress else callbacks
        options = RunOptions(epochs=epochs, lr=lr, clip_norm=clip_norm, callbacks=callbacks)
        return self.trainer(
            text,
            batch_size=batch_size,
            steps=steps,
            validation_split=validation_split,
            seed=seed,
            **options,
        ).run()

    def trainer(
        self,
        text: str,
        *,
        batch_size: int,
        steps: int,
        validation_split: float,
        seed: int,
        **options: Unpack[RunOptions],
    ) -> Trainer:
        """Return the run that `train` runs. The parameters are the same."""
        if not 0 <= validation_split < 1:
            raise ValueError(
                f"validation_split: expected a share from 0 to below 1, got {validation_split!r}"
            )
        steps = check_size("steps", steps)
        if self.lines:
            lines, out = hold_out(lines_of(text), validation_split, seed)
            data = Lines(lines, self.vocabulary, batch_size, seed=seed)
            validation = Lines(out, self.vocabulary, batch_size, seed=None) if out else None
            return one_cycle(self.network, data, validation=validation, **options)
        end = len(text) - round(validation_split * len(text))
        if end <= batch_size or (validation_split and len(text) - end < 2):
            raise ValueError(
                f"text: {len(text)} characters are too few for a batch of {batch_size} "
                f"with {validation_split:.0%} held out"
            )
        streams = TextStreams(self.vocabulary.encode(text[:end]), batch_size)
        rest = self._streams(text[end:], batch_size) if validation_split else None
        windows = steps, steps
        return one_cycle(self.network, streams, tbptt=windows, validation=rest, **options)

    def evaluate(self, text: str, batch_size: int = 32) -> float:
        """Return the bits per character of a text.

        Parameters
        ----------
        text : str
            At least two characters. With lines, what is predicted includes the end of each line.
        batch_size : int
            At most so many pieces of the text, of 1000 characters or more, are read side by side,
            each from a zero state; with lines, so many lines.
        """
        if self.lines:
            lines = Lines(lines_of(text), self.vocabulary, batch_size, seed=None)
            return BITS * evaluate(self.network, lines, cross_entropy)
        streams = self._streams(text, batch_size)
        return BITS * evaluate(self.network, streams, cross_entropy, tbptt=(_STEPS, _STEPS))

    def _streams(self, text: str, batch_size: int) -> TextStreams:
        rows = max(1, min(check_size("batch_size", batch_size), len(text) // _ROW))
        return TextStreams(self.vocabulary.encode(text), rows)

    def sample(
        self,
        prime: str = "",
        max_steps: int = 500,
        *,
        temperature: float | None = 1.0,
        seed: int | None = None,
    ) -> str:
        """Write text.

        Parameters
        ----------
        prime : str
            What the text begins with. Without one, the model goes on from the start of a line.
        max_steps : int
            How many characters to add at most; with lines, the end of the line ends the text.
        temperature : float or None, default 1.0
            What the logits are divided by: below 1 likelier symbols get likelier still; at 1 the
            probabilities are the model's. None: the likeliest is always taken.
        seed : int, optional
            The same seed gives the same text. By default a fresh one.

        Returns
        -------
        str
            `prime` and what follows it.
        """
        return self._write(prime, 1, max_steps, temperature, check_seed(seed))[0]

    def invent(
        self, count: int, max_steps: int, *, temperature: float | None = 1.0, seed: int
    ) -> list[str]:
        """Return `count` texts of a seed, each of at most `max_steps` characters."""
        return self._write("", count, max_steps, temperature, seed)

    def _write(
        self, prime: str, count: int, max_steps: int, temperature: float | None, seed: int
    ) -> list[str]:
        """Return texts that begin with `prime`; each has random numbers of its own."""
        if max_steps < 0:
            raise ValueError(f"max_steps: expected at least 0, got {max_steps}")
        *before, last = self.vocabulary.encode(self._start(prime))
        stream = stream_of(self.network, count, None)
        for symbol in before:  # a whole sequence at once is rounded otherwise
            stream.step(np.full(count, symbol))
        written = generate(
            self.network,
            np.full(count, last),
            max(1, max_steps),
            state=stream.state,
            stop=self._end if self.lines else None,
            temperature=temperature,
            seed=seed,
        )[:, :max_steps]
        texts = [row[row != self._end] if self.lines else row for row in written]
        return [prime + self.vocabulary.decode(text) for text in texts]

    def _start(self, prime: str) -> str:
        """Return what the network reads before it writes: at least one symbol."""
        if self.lines:
            return END_OF_LINE + prime
        return prime or (
            END_OF_LINE if END_OF_LINE in self.vocabulary else self.vocabulary.symbols[0]
        )

    @property
    def _end(self) -> int:
        """The number of the symbol that ends a line."""
        return int(self.vocabulary.encode(END_OF_LINE)[0])

    def _tree(self) -> dict[str, Any]:
        return {"vocabulary": self.vocabulary.config, "lines": self.lines}

    @classmethod
    def _of_tree(cls, tree: Mapping[str, Any]) -> Self:
        vocabulary, network = saved_vocabulary(tree, "vocabulary"), network_of(tree)
        y, _ = network(np.zeros((1, 1), np.int64))
        if np.shape(y) != (1, 1, len(vocabulary)):
            raise ValueError(
                f"network: expected logits of shape (1, 1, K={len(vocabulary)}) for one symbol, "
                f"got shape {np.shape(y)}"
            )
        return cls(vocabulary, network, flag_of(tree, "lines"))

    def __repr__(self) -> str:
        lines = ", lines=True" if self.lines else ""
        return f"CharModel({self.vocabulary!r}, {self.network!r}{lines})"


class BitsProgress(Progress):
    """Progress in bits per character; the argument is that of `Progress`."""

    def __init__(self, glimpse: Callable[[], str] | None = None) -> None:
        super().__init__("character", "bits per character", BITS, glimpse)
