"""A translator: one text in, another out, learned from pairs of texts.

An encoder reads the symbols of the source, which are characters or words, a decoder writes those of
the target; by default it looks at the steps of the source while it writes (attention).

Letters: ``S`` steps of a source, ``T`` steps of a target.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self, Unpack

import numpy as np
from numpy.typing import NDArray

from crnn.callbacks import Callback
from crnn.callbacks.history import History
from crnn.callbacks.metrics import ExactMatch, TranslationProgress
from crnn.common.checks import check_seed, check_size
from crnn.common.choices import AttentionScore, CellName, Merge
from crnn.data import END_OF_LINE, PairBatches, Vocabulary, pad
from crnn.data.pairs import Pair
from crnn.layers.base.weights import layer_seeds
from crnn.layers.compose.bidirectional import Bidirectional
from crnn.models.folder import InFolder, flag_of, saved_vocabulary, seq2seq_of
from crnn.models.networks import in_sequence, recurrent_layers
from crnn.models.texts import (
    both_sides,
    held_apart,
    separator,
    several,
    share_right,
    symbols_of,
    vocabulary_of,
)
from crnn.models.training import RunOptions, one_cycle
from crnn.seq2seq import Seq2Seq, TeacherForcing
from crnn.storage import archive
from crnn.training.trainer import Trainer


class Alignment(NamedTuple):
    """Where a translator looked while it wrote.

    Attributes
    ----------
    weights : (T, S) floats
        Each row sums to one.
    source, target : lists of S and of T str
        The symbols of both sides: those of the text, and those of its translation without the end.
    """

    weights: NDArray[Any]
    source: list[str]
    target: list[str]


class Translator(InFolder):
    """Vocabularies of both sides, and a network from one to the other.

    Parameters
    ----------
    source, target : Vocabulary
        The target's has the newline, which begins and ends a translation. A symbol that a
        vocabulary lacks is read as its unknown one.
    network : Seq2Seq
        From symbols of `source` to symbols of `target`.
    words : bool
        Symbols are words, with spaces between them; otherwise characters.
    max_steps : int
        A translation is cut off after so many symbols.

    See Also
    --------
    for_pairs : make a translator of the usual form for pairs of texts.

    Notes
    -----
    Of unknown symbols the network knows only what it has seen of them: the unknown symbol, which is
    ``<unk>`` among words and U+FFFD among characters, stands in its training where a symbol is too
    rare for `for_pairs` (``min_count``), and otherwise nowhere.

    Examples
    --------
    >>> numbers = ["one", "two", "three", "four", "five", "six"]
    >>> pairs = [(name, str(number)) for number, name in enumerate(numbers, 1)] * 8
    >>> model = Translator.for_pairs(pairs, hidden_size=16, embedding=8, seed=0)
    >>> history = model.train(
    ...     pairs, epochs=20, batch_size=8, lr=0.02, validation_split=0, progress=False
    ... )
    >>> model.translate(["four", "two"])
    ['4', '2']
    >>> model.attention("four").weights.shape
    (1, 4)
    """

    _kind = "translator"
    network: Seq2Seq

    def __init__(
        self,
        source: Vocabulary,
        target: Vocabulary,
        network: Seq2Seq,
        *,
        words: bool = False,
        max_steps: int = 200,
    ) -> None:
        if END_OF_LINE not in target:
            raise ValueError(
                f"target: expected a vocabulary with {END_OF_LINE!r}, which ends a translation"
            )
        expected, got = (len(source), len(target)), (network.source_symbols, network.target_symbols)
        if expected != got:
            raise ValueError(
                f"network: expected one from {expected[0]} symbols to {expected[1]}, "
                f"as the vocabularies have them, got one from {got[0]} to {got[1]}"
            )
        self.source, self.target, self.network = source, target, network
        self.words, self.max_steps = bool(words), check_size("max_steps", max_steps)
        self._end = int(target.encode([END_OF_LINE])[0])

    @classmethod
    def for_pairs(
        cls,
        pairs: Sequence[Pair],
        *,
        words: bool = False,
        min_count: int = 1,
        cell: CellName = "gru",
        hidden_size: int = 128,
        layers: int = 1,
        embedding: int = 64,
        bidirectional: bool = True,
        attention: AttentionScore | None = "additive",
        seed: int | None = None,
    ) -> "Translator":
        """Return an untrained translator with the symbols of pairs of texts.

        Parameters
        ----------
        pairs : sequence of (source, target)
            All that will be trained on or evaluated, of one line each. Translations are cut off at
            twice the length of the longest target.
        words : bool
            As for the class.
        min_count : int
            Symbols that a side has less often are unknown.
        cell : {"rnn", "lstm", "gru", "janet"}
            The kind of recurrent layer.
        hidden_size, layers : int
            Units of a recurrent layer, and how many of them, one on top of the other, encoder and
            decoder have each.
        embedding : int
            Length of the vectors that stand for symbols.
        bidirectional : bool
            The encoder's layers read the source in both directions; what they give is joined, and
            with dot attention, which needs the decoder's width, added up.
        attention : {"additive", "dot", "general"} or None
            As for `Seq2Seq`.
        seed : int, optional
            Of the initial weights; by default a fresh one.
        """
        sources, targets = both_sides(pairs, words)
        source = vocabulary_of(sources, words, min_count)
        target = vocabulary_of(targets, words, min_count, [END_OF_LINE])
        count = check_size("layers", layers)
        seeds = layer_seeds(check_seed(seed), 2 * count + 1)
        merge = _merge(bidirectional, attention)
        width = 2 * hidden_size if merge == "concat" else hidden_size
        looked_at = 0 if attention is None else width
        encoder = recurrent_layers(cell, embedding, hidden_size, seeds[:count], between=width)
        decoder = recurrent_layers(cell, embedding + looked_at, hidden_size, seeds[count:-1])
        if merge is not None:
            encoder = [Bidirectional(layer, merge=merge) for layer in encoder]
        network = Seq2Seq(
            in_sequence(encoder),
            in_sequence(decoder),
            source_symbols=len(source),
            target_symbols=len(target),
            attention=attention,
            seed=seeds[-1],
        )
        longest = max(map(len, targets))
        return cls(source, target, network, words=words, max_steps=2 * max(1, longest))

    # -------------------------------------------------------------------------------- training

    def train(
        self,
        pairs: Sequence[Pair],
        *,
        epochs: int = 15,
        batch_size: int = 32,
        lr: float = 3e-3,
        clip_norm: float = 1.0,
        validation_split: float = 0.1,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
    ) -> History:
        """Train the network, with Adam and a one-cycle learning rate.

        Parameters
        ----------
        pairs : sequence of (source, target)
        epochs : int
            How often to go through the pairs.
        batch_size : int
            Pairs in an update, of similar length.
        lr : float
            The peak of the one-cycle schedule, see `crnn.callbacks.OneCycle`.
        clip_norm : float
            Largest norm of a gradient.
        validation_split : float
            Share of the pairs, drawn by the seed, that is only evaluated, after each epoch. 0 for
            none.
        seed : int
            Decides the order of the pairs.
        callbacks : sequence of Callback
        progress : bool
            Show progress: the loss, and the share of held-out pairs (of 1000 at most) that are
            translated exactly right.

        Returns
        -------
        History
            Losses in nats a symbol, the one that ends a target included.
        """
        trained_on, out = held_apart(pairs, validation_split, seed)
        if progress:
            exact = ExactMatch(self.evaluate, out)
            callbacks = [*callbacks, exact, TranslationProgress(exact)]
        options = RunOptions(epochs=epochs, lr=lr, clip_norm=clip_norm, callbacks=callbacks)
        return self.trainer(trained_on, out, batch_size=batch_size, seed=seed, **options).run()

    def trainer(
        self,
        pairs: Sequence[Pair],
        validation: Sequence[Pair],
        *,
        batch_size: int,
        seed: int,
        **options: Unpack[RunOptions],
    ) -> Trainer:
        """Return the run that `train` runs, on pairs and on held-out ones (or none)."""
        data = self.batches(pairs, batch_size, seed)
        rest = self.batches(validation, batch_size) if validation else None
        return one_cycle(TeacherForcing(self.network), data, validation=rest, **options)

    def batches(
        self, pairs: Sequence[Pair], batch_size: int = 32, seed: int | None = None
    ) -> PairBatches:
        """Return pairs as data for `crnn.fit` with ``crnn.TeacherForcing(network)``.

        Parameters
        ----------
        pairs : sequence of (source, target)
        batch_size : int
        seed : int, optional
            Decides the order. None: the shortest first.
        """
        sources, targets = both_sides(pairs, self.words)
        return PairBatches(
            [self.source.encode(symbols) for symbols in sources],
            [self.target.encode(symbols) for symbols in targets],
            batch_size,
            start=self._end,
            stop=self._end,
            shuffle=seed is not None,
            seed=seed,
        )

    # ------------------------------------------------------------------------------------- use

    def translate(
        self,
        texts: Sequence[str],
        *,
        beam: int = 1,
        length_penalty: float = 0.0,
        batch_size: int = 64,
    ) -> list[str]:
        """Return the translations of texts.

        Parameters
        ----------
        texts : sequence of str
            Of one line each. An empty one, or one of nothing but spaces, stays empty.
        beam : int
            How many beginnings of a translation are pursued at a time; with 1 the likeliest symbol
            is taken at each step.
        length_penalty : float
            With a beam: what the score is divided by is the length to this power; above 0 favours
            longer translations.
        batch_size : int
            Texts that are translated side by side.
        """
        rows = [symbols_of("texts", text, self.words) for text in several("texts", texts)]
        order = sorted((n for n in range(len(rows)) if rows[n]), key=lambda n: len(rows[n]))
        translations = [""] * len(rows)
        batch_size = check_size("batch_size", batch_size)
        for first in range(0, len(order), batch_size):
            numbers = order[first : first + batch_size]
            tokens = self._generate([rows[n] for n in numbers], beam, length_penalty)
            for number, row in zip(numbers, tokens, strict=True):
                translations[number] = self.target.decode(row, separator(self.words))
        return translations

    def _generate(
        self, rows: Sequence[Sequence[str]], beam: int, length_penalty: float
    ) -> list[NDArray[np.int64]]:
        """Return the symbols of the translations, without the end."""
        source, lengths = pad([self.source.encode(row) for row in rows])
        tokens, _ = self.network.generate(
            source,
            start=self._end,
            stop=self._end,
            max_steps=self.max_steps,
            source_lengths=lengths,
            beam=beam,
            length_penalty=length_penalty,
        )
        return [row[row != self._end] for row in tokens]

    def attention(self, text: str, *, beam: int = 1, length_penalty: float = 0.0) -> Alignment:
        """Return where the network looks while it translates a text.

        Parameters
        ----------
        text : str
            Not empty.
        beam, length_penalty
            As for `translate`, whose translation it is.

        Returns
        -------
        Alignment
            The weights (T, S), with the symbols of both sides. `crnn.plotting.plot_attention` draws
            them.

        Raises
        ------
        ValueError
            The network has no attention, or the text is empty.
        """
        if self.network.attention is None:
            raise ValueError("attention: expected a translator that has some, got one without")
        symbols = symbols_of("text", text, self.words)
        if not symbols:
            raise ValueError(f"text: expected a text with symbols, got {text!r}")
        (tokens,) = self._generate([symbols], beam, length_penalty)
        if not len(tokens):
            return Alignment(np.zeros((0, len(symbols))), symbols, [])
        source = self.source.encode(symbols)[None]
        target_in = np.concatenate([[self._end], tokens[:-1]])[None]
        _, tape = self.network.forward(source, target_in, training=False)
        written = [self.target.symbols[token] for token in tokens]
        return Alignment(np.array(tape.attention[0]), symbols, written)

    def evaluate(
        self,
        pairs: Sequence[Pair],
        *,
        beam: int = 1,
        length_penalty: float = 0.0,
        batch_size: int = 64,
    ) -> float:
        """Return the share of pairs that are translated exactly right.

        Parameters
        ----------
        pairs : sequence of (source, target)
            At least one. Words are compared, not the spaces between them.
        beam, length_penalty, batch_size
            As for `translate`.
        """
        _, targets = both_sides(pairs, self.words)
        translations = self.translate(
            [source for source, _ in pairs],
            beam=beam,
            length_penalty=length_penalty,
            batch_size=batch_size,
        )
        return share_right(targets, translations, self.words)

    # ----------------------------------------------------------------------------------- files

    def _tree(self) -> dict[str, Any]:
        return {
            "source": self.source.config,
            "target": self.target.config,
            "words": self.words,
            "max_length": self.max_steps,
        }

    @classmethod
    def _of_tree(cls, tree: Mapping[str, Any]) -> Self:
        source, target = saved_vocabulary(tree, "source"), saved_vocabulary(tree, "target")
        (longest,) = archive.entries(tree, "max_length")
        words = flag_of(tree, "words")
        return cls(source, target, seq2seq_of(tree), words=words, max_steps=longest)

    def __repr__(self) -> str:
        kind = "words" if self.words else "characters"
        return (
            f"<Translator of {kind}, {len(self.source)} to {len(self.target)} symbols, "
            f"by {self.network!r}>"
        )


def _merge(bidirectional: bool, attention: AttentionScore | None) -> Merge | None:
    """Say how the two directions of the encoder become one output, if there are two."""
    if not bidirectional:
        return None
    return "sum" if attention == "dot" else "concat"  # dot compares it with the decoder's output
