"""Translator: generates a target text from a source text, learned from pairs of texts.

An encoder reads the symbols of the source (characters or words), and a decoder generates the
symbols of the target. By default the decoder has attention to the steps of the source.

Letters: ``S`` steps of a source, ``T`` steps of a target.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self, Unpack

import numpy as np
from numpy.typing import NDArray

from crnn.callbacks import Callback
from crnn.callbacks.history import History
from crnn.callbacks.translations import ExactMatch, TranslationProgress
from crnn.common.checks import check_flag, check_seed, check_size
from crnn.common.choices import AttentionScore, CellName, Merge, TranslatorName
from crnn.common.representation import never_raising
from crnn.data import END_OF_LINE, PairBatches, Vocabulary, pad
from crnn.data.pairs import Pair
from crnn.layers.base.weights import layer_seeds
from crnn.layers.compose.bidirectional import Bidirectional
from crnn.models.folder import InFolder, flag_of, saved_vocabulary, seq2seq_of
from crnn.models.networks import (
    CELLS,
    check_cell,
    recurrent_layers,
    stacked,
    transformer_layers,
)
from crnn.models.texts import (
    exact_share,
    held_apart,
    list_of_texts,
    separator,
    symbols_of,
    symbols_of_pairs,
    vocabulary_of,
)
from crnn.models.training import RunOptions, one_cycle
from crnn.seq2seq import Seq2Seq, TeacherForcing
from crnn.storage import archive
from crnn.training.trainer import Trainer


class Alignment(NamedTuple):
    """Attention weights of a translation, with the symbols of source and target.

    Parameters
    ----------
    weights : floats (T, S)
        The attention of each target step to the source steps; each row sums to one.
    source : list of S str
        The symbols of the text.
    target : list of T str
        The symbols of its translation, without the end.

    Examples
    --------
    >>> import crnn
    >>> model = crnn.models.Translator.for_pairs([("ab", "ba"), ("b", "b")], hidden_size=8, seed=0)
    >>> alignment = model.attention("ab")
    >>> alignment.source, alignment.weights.shape == (len(alignment.target), 2)
    (['a', 'b'], True)
    """

    weights: NDArray[Any]
    source: list[str]
    target: list[str]


class Translator(InFolder):
    """Translator: two vocabularies, and a network from source texts to target texts.

    Parameters
    ----------
    source : Vocabulary
        The vocabulary of the sources. A symbol that it lacks is read as its unknown symbol.
    target : Vocabulary
        The vocabulary of the targets, with the newline, which begins and ends a translation.
    network : Seq2Seq
        A network from symbols of `source` to symbols of `target`.
    words : bool, default False
        True: symbols are words, separated by spaces. False: symbols are characters.
    max_steps : int, default 200
        The largest number of symbols of a translation.

    Attributes
    ----------
    source, target, network, words, max_steps
        The arguments.

    Raises
    ------
    ValueError
        `target` has no newline, or the network has another number of symbols than a vocabulary.

    See Also
    --------
    for_pairs : make a translator with the symbols of pairs of texts.

    Notes
    -----
    The unknown symbol is ``<unk>`` for words and U+FFFD for characters. The network learns it from
    symbols that occur less than `min_count` times in the pairs of `for_pairs`. With ``min_count=1``
    it is not in the training data, so its learned vector keeps its initial value.

    Examples
    --------
    >>> import crnn
    >>> numbers = ["one", "two", "three", "four", "five", "six"]
    >>> pairs = [(name, str(number)) for number, name in enumerate(numbers, 1)] * 8
    >>> model = crnn.models.Translator.for_pairs(pairs, hidden_size=16, embedding=8, seed=0)
    >>> options = {"epochs": 12, "batch_size": 8, "lr": 0.03, "validation_split": 0}
    >>> history = model.train(pairs, **options, progress=False)
    >>> model.translate(["four", "two"])
    ['4', '2']
    >>> model.attention("four").weights.shape
    (1, 4)
    """

    _content = "translator"
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
                f"network: expected {expected[0]} source symbols and {expected[1]} target symbols, "
                f"as in the vocabularies, got {got[0]} and {got[1]}"
            )
        self.source, self.target, self.network = source, target, network
        self.words = check_flag("words", words)
        self.max_steps = check_size("max_steps", max_steps)
        self._end = int(target.encode([END_OF_LINE])[0])

    @classmethod
    def for_pairs(
        cls,
        pairs: Sequence[Pair],
        *,
        words: bool = False,
        min_count: int = 1,
        cell: TranslatorName = "gru",
        hidden_size: int = 128,
        layers: int = 1,
        heads: int = 4,
        embedding: int = 64,
        bidirectional: bool = True,
        attention: AttentionScore | None = "additive",
        seed: int | None = None,
    ) -> "Translator":
        """Return an untrained translator with the symbols of pairs of texts.

        Parameters
        ----------
        pairs : sequence of (source, target)
            The pairs for training and evaluation, texts without newlines. Twice the length of the
            longest target is the largest length of a translation.
        words : bool, default False
            As for the class.
        min_count : int, default 1
            Symbols that occur less often in the sources, or in the targets, are read as the unknown
            symbol of that vocabulary.
        cell : {"rnn", "lstm", "gru", "janet", "mingru", "minlstm", "transformer"}, default "gru"
            The class of the recurrent layers; "transformer": `crnn.TransformerBlock` and a last
            `crnn.LayerNorm`, where the blocks of the decoder read the output of the encoder as
            their memory.
        hidden_size : int, default 128
            H, the hidden units of each recurrent layer, or the features of each block.
        layers : int, default 1
            The number of recurrent layers, or blocks, of the encoder, and of the decoder.
        heads : int, default 4
            The heads of attention of a block, a divisor of H. Not read for recurrent layers.
        embedding : int, default 64
            The size of the learned vector of a symbol. Not read for "transformer", whose blocks
            read vectors of H features.
        bidirectional : bool, default True
            True: the encoder's layers read the source in both directions. The two outputs are
            concatenated; for dot attention, which needs the width of the decoder, they are added.
            In a block each step sees the whole source then, and otherwise the steps before it.
        attention : {"additive", "dot", "general"} or None, default "additive"
            The attention of a recurrent decoder, as for `crnn.Seq2Seq`. None: no attention. Not
            read for "transformer".
        seed : int, optional
            The seed of the initial weights. None draws a fresh seed.

        Returns
        -------
        Translator
            A translator whose network is a `crnn.Seq2Seq`.

        Raises
        ------
        TypeError, ValueError
            No pairs, values that are not pairs of one-line strings, an unknown `cell` or
            `attention`, or a size out of range.
        """
        sources, targets = symbols_of_pairs(pairs, words)
        source = vocabulary_of(sources, words, min_count)
        target = vocabulary_of(targets, words, min_count, [END_OF_LINE])
        count = check_size("layers", layers)
        seeds = layer_seeds(check_seed(seed), 2 * count + 1)
        check_cell(cell, (*CELLS, "transformer"))
        if cell == "transformer":
            blocks: dict[str, Any] = {
                "heads": heads,
                "causal": not check_flag("bidirectional", bidirectional),
            }
            encoder = transformer_layers(hidden_size, seeds[:count], **blocks)
            blocks = {"heads": heads, "memory_size": hidden_size}
            decoder = transformer_layers(hidden_size, seeds[count:-1], **blocks)
            attention = None
        else:
            sizes = embedding, hidden_size, bidirectional, attention
            encoder, decoder = _recurrent(cell, *sizes, seeds[:count], seeds[count:-1])
        network = Seq2Seq(
            stacked(encoder),
            stacked(decoder),
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
        """Train the network with Adam and a one-cycle learning rate.

        Parameters
        ----------
        pairs : sequence of (source, target)
            The pairs, texts without newlines.
        epochs : int, default 15
            The number of passes over the pairs.
        batch_size : int, default 32
            The pairs in an update; they are of similar length.
        lr : float, default 3e-3
            The largest learning rate, see `crnn.callbacks.OneCycle`.
        clip_norm : float, default 1.0
            The largest norm of the gradient; larger gradients are scaled down to it.
        validation_split : float, default 0.1
            The share of the pairs that is held out, at random, and evaluated after each epoch. 0:
            nothing is held out.
        seed : int, default 0
            The seed of the held-out pairs and of the order of the others.
        callbacks : sequence of Callback, default ()
            Further callbacks, see `crnn.callbacks`.
        progress : bool, default True
            Show progress: the loss, and the share of held-out pairs (at most 1000 of them) whose
            translation is exactly the target.

        Returns
        -------
        History
            The losses of each epoch in nats per symbol; the end of a target counts as a symbol.

        Raises
        ------
        TypeError, ValueError
            Values that are not pairs of one-line strings, too few pairs, or an option outside of
            its range. The parameters are unchanged.
        """
        train, held_out = held_apart(pairs, validation_split, seed)
        if check_flag("progress", progress):
            exact = ExactMatch(self.evaluate, held_out)
            callbacks = [*callbacks, exact, TranslationProgress(exact)]
        options = RunOptions(epochs=epochs, lr=lr, clip_norm=clip_norm, callbacks=callbacks)
        return self.trainer(train, held_out, batch_size=batch_size, seed=seed, **options).run()

    def trainer(
        self,
        pairs: Sequence[Pair],
        validation: Sequence[Pair],
        *,
        batch_size: int,
        seed: int,
        **options: Unpack[RunOptions],
    ) -> Trainer:
        """Return the run of `train`, before its first update, for pairs and held-out pairs.

        Parameters
        ----------
        pairs : sequence of (source, target)
            The pairs for training.
        validation : sequence of (source, target)
            The held-out pairs; it may be empty.
        batch_size, seed
            As for `train`.
        epochs, lr, clip_norm, callbacks
            As for `train`.

        Returns
        -------
        Trainer
            The run; its ``run()`` trains the network.
        """
        data = self.batches(pairs, batch_size, seed)
        held_out = self.batches(validation, batch_size) if validation else None
        return one_cycle(TeacherForcing(self.network), data, validation=held_out, **options)

    def batches(
        self, pairs: Sequence[Pair], batch_size: int = 32, seed: int | None = None
    ) -> PairBatches:
        """Return pairs as data for `crnn.fit` with ``crnn.TeacherForcing(network)``.

        Parameters
        ----------
        pairs : sequence of (source, target)
            The pairs, texts without newlines.
        batch_size : int, default 32
            The pairs in a batch.
        seed : int, optional
            The seed of the order. None: the order of their lengths.

        Returns
        -------
        PairBatches
            The batches.
        """
        sources, targets = symbols_of_pairs(pairs, self.words)
        return PairBatches(
            [self.source.encode(symbols) for symbols in sources],
            [self.target.encode(symbols) for symbols in targets],
            batch_size,
            start=self._end,
            stop=self._end,
            shuffle=seed is not None,
            seed=seed,
        )

    # ----------------------------------------------------------------------------- translating

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
            The texts, without newlines. The translation of an empty text, or of spaces alone, is
            empty.
        beam : int, default 1
            The number of partial translations that are kept at each step (beam search). 1: the most
            likely symbol is taken at each step.
        length_penalty : float, default 0.0
            For a beam: scores are divided by the length to this power. A value above 0 favours
            longer translations.
        batch_size : int, default 64
            The number of texts that are translated at a time. It does not change the result.

        Returns
        -------
        list of str
            The translation of each text, in the order of `texts`.

        Raises
        ------
        TypeError, ValueError
            Values that are not one-line strings, or an option outside of its range.
        """
        rows = [symbols_of("texts", text, self.words) for text in list_of_texts("texts", texts)]
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
        """Return the attention weights of the translation of a text.

        Parameters
        ----------
        text : str
            A text, without newlines and not empty.
        beam, length_penalty
            As for `translate`, which returns the same translation.

        Returns
        -------
        Alignment
            The weights (T, S), with the symbols of the text and of its translation.
            `crnn.plotting.plot_attention` draws them.

        Raises
        ------
        ValueError
            The network has no attention, or the text is empty.
        """
        if self.network.attention is None and self.network.memory_size is None:
            raise ValueError("attention: expected a network with attention, got one without")
        symbols = symbols_of("text", text, self.words)
        if not symbols:
            raise ValueError(f"text: expected a text with symbols, got {text!r}")
        (tokens,) = self._generate([symbols], beam, length_penalty)
        if not len(tokens):
            return Alignment(np.zeros((0, len(symbols))), symbols, [])
        source = self.source.encode(symbols)[None]
        target_in = np.concatenate([[self._end], tokens[:-1]])[None]
        _, tape = self.network.forward(source, target_in, training=False)
        target = [self.target.symbols[token] for token in tokens]
        return Alignment(np.array(tape.attention[0]), symbols, target)

    def evaluate(
        self,
        pairs: Sequence[Pair],
        *,
        beam: int = 1,
        length_penalty: float = 0.0,
        batch_size: int = 64,
    ) -> float:
        """Return the share of pairs whose translation is exactly the target.

        Parameters
        ----------
        pairs : sequence of (source, target)
            At least one pair. Spaces between words are not compared.
        beam, length_penalty, batch_size
            As for `translate`.

        Returns
        -------
        float
            The share, from 0 to 1.
        """
        _, targets = symbols_of_pairs(pairs, self.words)
        translations = self.translate(
            [source for source, _ in pairs],
            beam=beam,
            length_penalty=length_penalty,
            batch_size=batch_size,
        )
        return exact_share(targets, translations, self.words)

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
        (max_steps,) = archive.entries(tree, "max_length")
        words = flag_of(tree, "words")
        return cls(source, target, seq2seq_of(tree), words=words, max_steps=max_steps)

    @never_raising
    def __repr__(self) -> str:
        symbols = "words" if self.words else "characters"
        return (
            f"<Translator of {symbols}, {len(self.source)} to {len(self.target)} symbols, "
            f"by {self.network!r}>"
        )


def _recurrent(
    cell: CellName,
    embedding: int,
    hidden_size: int,
    bidirectional: bool,
    attention: AttentionScore | None,
    seeds: Sequence[int],
    decoder_seeds: Sequence[int],
) -> tuple[list[Any], list[Any]]:
    """Return the recurrent layers of the encoder and of the decoder."""
    merge = _merge(bidirectional, attention)
    width = 2 * hidden_size if merge == "concat" else hidden_size
    context = 0 if attention is None else width
    encoder = recurrent_layers(cell, embedding, hidden_size, seeds, between=width)
    decoder = recurrent_layers(cell, embedding + context, hidden_size, decoder_seeds)
    if merge is not None:
        encoder = [Bidirectional(layer, merge=merge) for layer in encoder]
    return encoder, decoder


def _merge(bidirectional: bool, attention: AttentionScore | None) -> Merge | None:
    """Return the merge of the encoder's two directions, None for one direction."""
    if not check_flag("bidirectional", bidirectional):
        return None
    return "sum" if attention == "dot" else "concat"  # dot needs the decoder's width
