"""Character language model: the probabilities of the next character of a text.

Recurrent layers read the symbols of a text, and a Dense layer computes a logit for every symbol
that may come next. The measure is bits per character, the cross-entropy to base 2: the length of
the text if it were compressed with the probabilities of the model.

Letters: ``T`` steps, ``H`` hidden units, ``K`` symbols.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, Unpack

import numpy as np

from crnn.callbacks import Callback, Progress
from crnn.callbacks.history import History
from crnn.common.checks import check_flag, check_seed, check_size
from crnn.common.choices import BlockName, CellName
from crnn.common.representation import never_raising
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
from crnn.models.networks import BLOCKS, CELLS, block_layers, check_cell, recurrent_layers
from crnn.models.training import RunOptions, one_cycle
from crnn.training.evaluation import evaluate
from crnn.training.trainer import Trainer

BITS = 1 / math.log(2)  # in a nat

_STEPS = 64  # steps of a window in which a text is evaluated
_SHORTEST = 1000  # characters of a stream, if a text is evaluated in several parallel streams


class CharModel(InFolder):
    """Character language model: a vocabulary, and a network from symbols to logits.

    Parameters
    ----------
    vocabulary : Vocabulary
        K symbols, each a single character.
    network : layer
        A layer from symbols (B, T) to logits (B, T, K).
    lines : bool, default False
        True: each line of a text is a separate sequence, for lists of names, for example; the
        vocabulary must have the newline. False: a text is one long sequence.

    Attributes
    ----------
    vocabulary, network, lines
        The arguments.

    Raises
    ------
    ValueError
        `lines` is True, and the vocabulary has no newline.

    See Also
    --------
    for_text : make a model with the symbols of a text.

    Examples
    --------
    >>> import crnn
    >>> text = "hello " * 20
    >>> model = crnn.models.CharModel.for_text(text, cell="rnn", hidden_size=8, seed=0)
    >>> history = model.train(text, epochs=20, batch_size=2, steps=10, lr=0.1, progress=False)
    >>> model.evaluate(text) < 0.1  # bits per character
    True
    >>> model.sample("he", max_steps=9, temperature=None)
    'hello hello'
    """

    _content = "character model"

    def __init__(self, vocabulary: Vocabulary, network: Layer, lines: bool = False) -> None:
        lines = check_flag("lines", lines)
        if lines and END_OF_LINE not in vocabulary:
            raise ValueError(f"vocabulary: expected one with {END_OF_LINE!r}, which ends a line")
        self.vocabulary = vocabulary
        self.network = network
        self.lines = lines

    @classmethod
    def for_text(
        cls,
        text: str,
        *,
        cell: CellName | BlockName = "lstm",
        hidden_size: int = 256,
        layers: int = 1,
        embedding: int | None = None,
        heads: int = 4,
        taps: int = 3,
        window: int = 256,
        lines: bool = False,
        seed: int | None = None,
    ) -> "CharModel":
        """Return an untrained model with the symbols of a text.

        Parameters
        ----------
        text : str
            The text for training and evaluation: it must have all symbols of these.
        cell : {"rnn", "lstm", "gru", "janet", "mingru", "minlstm", "tcn", "transformer"}, \
default "lstm"
            The class of the recurrent layers; or blocks of convolutions (`crnn.TCNBlock`), or of
            self-attention (`crnn.TransformerBlock`).
        hidden_size : int, default 256
            H, the hidden units of each layer, or the outputs of each block.
        layers : int, default 1
            The number of layers or blocks; each reads the output of the one before.
        embedding : int, optional
            The size of the learned vector of a symbol. None: H, the only size that blocks read. 0:
            the first recurrent layer reads the symbols without an embedding (as one-hot rows),
            which gives a slightly higher loss on texts of some 100,000 characters.
        heads, window : int, default 4, 256
            For "transformer": the heads of attention, a divisor of H, and how many steps a step
            sees.
        taps : int, default 3
            For "tcn": the steps that a convolution reads. The dilations are 1, 2, 4, ...
        lines : bool, default False
            As for the class.
        seed : int, optional
            The seed of the initial weights. None draws a fresh seed.

        Returns
        -------
        CharModel
            A model whose network is a `crnn.Sequential`.

        Raises
        ------
        ValueError
            An empty text, an unknown `cell`, or a size out of range.
        """
        vocabulary = Vocabulary.from_text(text + END_OF_LINE * lines)
        K = len(vocabulary)
        embedding = hidden_size if embedding is None else embedding
        first, last, *seeds = layer_seeds(check_seed(seed), check_size("layers", layers) + 2)
        check_cell(cell, (*CELLS, *BLOCKS))
        if cell in BLOCKS and embedding != hidden_size:
            raise ValueError(
                f"embedding: expected None or hidden_size={hidden_size} for {cell!r}, whose blocks "
                f"read as many features as they return, got {embedding!r:.60}"
            )
        if cell == "tcn" or cell == "transformer":
            stack = block_layers(cell, hidden_size, seeds, heads=heads, taps=taps, window=window)
        else:
            stack = recurrent_layers(cell, embedding or K, hidden_size, seeds)
        embeddings = [Embedding(K, embedding, seed=first)] if embedding else []
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
        """Train the model with Adam and a one-cycle learning rate.

        Parameters
        ----------
        text : str
            The text. All of its symbols must be in the vocabulary.
        epochs : int, default 12
            The number of passes over the text.
        batch_size : int, default 32
            The number of parallel streams that the text is cut into; with `lines`, the number of
            lines in an update.
        steps : int, default 64
            The steps of an update (truncated BPTT): the state is carried from a window to the next,
            the gradient is not. With `lines`, an update has whole lines.
        lr : float, default 6e-3
            The largest learning rate, see `crnn.callbacks.OneCycle`.
        clip_norm : float, default 1.0
            The largest norm of the gradient; larger gradients are scaled down to it.
        validation_split : float, default 0.1
            The share of the text that is held out and evaluated after each epoch: the end of the
            text, or random lines with `lines`. 0: nothing is held out.
        seed : int, default 0
            With `lines`: the seed of the held-out lines and of their order in training.
        callbacks : sequence of Callback, default ()
            Further callbacks, see `crnn.callbacks`.
        progress : bool, default True
            Show progress in bits per character.

        Returns
        -------
        History
            The losses of each epoch in nats; divide by log(2) for bits.

        Raises
        ------
        ValueError
            A symbol outside of the vocabulary, a text that is too short for `batch_size`, or an
            option outside of its range. The parameters are unchanged.
        """
        if check_flag("progress", progress):
            callbacks = [*callbacks, BitsProgress()]
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
        """Return the run of `train`, before its first update, for the same arguments.

        Parameters
        ----------
        text : str
            As for `train`.
        batch_size, steps, validation_split, seed
            As for `train`.
        epochs, lr, clip_norm, callbacks
            As for `train`.

        Returns
        -------
        Trainer
            The run; its ``run()`` trains the model.
        """
        if not 0 <= validation_split < 1:
            raise ValueError(
                f"validation_split: expected a share from 0 to below 1, got {validation_split!r}"
            )
        steps = check_size("steps", steps)
        if self.lines:
            lines, held_out = hold_out(lines_of(text), validation_split, seed)
            data = Lines(lines, self.vocabulary, batch_size, seed=seed)
            rest = Lines(held_out, self.vocabulary, batch_size, seed=None) if held_out else None
            return one_cycle(self.network, data, validation=rest, **options)
        end = len(text) - round(validation_split * len(text))
        if end <= batch_size or (validation_split and len(text) - end < 2):
            raise ValueError(
                f"text: {len(text)} characters are too few for a batch of {batch_size} "
                f"with {validation_split:.0%} held out"
            )
        streams = TextStreams(self.vocabulary.encode(text[:end]), batch_size)
        validation = self._streams(text[end:], batch_size) if validation_split else None
        windows = steps, steps
        return one_cycle(self.network, streams, tbptt=windows, validation=validation, **options)

    def evaluate(self, text: str, batch_size: int = 32) -> float:
        """Return the bits per character of a text.

        Parameters
        ----------
        text : str
            At least two characters. With `lines`, the end of each line is predicted, too, and
            counts as a character.
        batch_size : int, default 32
            The largest number of parallel streams. The text is cut into streams of at least 1000
            characters, each read from a zero state. With `lines`, the number of lines in a batch.

        Returns
        -------
        float
            The mean of -log2 p over the predicted characters.

        Raises
        ------
        ValueError
            A symbol outside of the vocabulary, or a text that is too short.
        """
        if self.lines:
            lines = Lines(lines_of(text), self.vocabulary, batch_size, seed=None)
            return BITS * float(evaluate(self.network, lines, loss=cross_entropy))
        streams = self._streams(text, batch_size)
        windows = _STEPS, _STEPS
        return BITS * float(evaluate(self.network, streams, loss=cross_entropy, tbptt=windows))

    def _streams(self, text: str, batch_size: int) -> TextStreams:
        count = max(1, min(check_size("batch_size", batch_size), len(text) // _SHORTEST))
        return TextStreams(self.vocabulary.encode(text), count)

    def sample(
        self,
        prime: str = "",
        max_steps: int = 500,
        *,
        temperature: float | None = 1.0,
        seed: int | None = None,
    ) -> str:
        """Return a text that the model generates.

        Parameters
        ----------
        prime : str, default ""
            The beginning of the text. The model continues it; with "" it begins at the start of a
            line.
        max_steps : int, default 500
            The largest number of characters to add. With `lines`, the text ends at the end of its
            line.
        temperature : float or None, default 1.0
            The divisor of the logits: below 1 it makes likely symbols more likely, at 1 the
            probabilities are those of the model. None: always take the most likely symbol.
        seed : int, optional
            The seed of the random choices: the same seed gives the same text. None draws a fresh
            seed.

        Returns
        -------
        str
            `prime` and the generated characters.

        Raises
        ------
        ValueError
            A symbol of `prime` is not in the vocabulary, or an option is outside of its range.
        """
        return self._write(prime, 1, max_steps, temperature, check_seed(seed))[0]

    def invent(
        self, count: int, max_steps: int, *, temperature: float | None = 1.0, seed: int
    ) -> list[str]:
        """Return several generated texts.

        Parameters
        ----------
        count : int
            The number of texts.
        max_steps : int
            The largest number of characters of a text.
        temperature : float or None, default 1.0
            As for `sample`.
        seed : int
            The seed of the random choices. The first texts do not depend on `count`.

        Returns
        -------
        list of str
            The texts.
        """
        return self._write("", count, max_steps, temperature, seed)

    def _write(
        self, prime: str, count: int, max_steps: int, temperature: float | None, seed: int
    ) -> list[str]:
        """Return texts that begin with `prime`, each with separate random numbers."""
        if max_steps < 0:
            raise ValueError(f"max_steps: expected at least 0, got {max_steps}")
        *earlier, last = self.vocabulary.encode(self._start(prime))
        stream = stream_of(self.network, count, None)
        for symbol in earlier:  # forward over the whole prime would round differently
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
        """Return the symbols that the network reads before it generates: at least one."""
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

    @never_raising
    def __repr__(self) -> str:
        lines = ", lines=True" if self.lines else ""
        return f"CharModel({self.vocabulary!r}, {self.network!r}{lines})"


class BitsProgress(Progress):
    """Progress in bits per character.

    Parameters
    ----------
    glimpse : callable, optional
        As for `crnn.callbacks.Progress`.
    """

    def __init__(self, glimpse: Callable[[], str] | None = None) -> None:
        super().__init__("character", "bits per character", BITS, glimpse)
