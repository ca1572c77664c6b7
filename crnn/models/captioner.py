"""Captioner: generates a text from a vector, in a requested language.

A linear map of the vector, such as the features of an image, is the initial state of a decoder,
which generates the text symbol by symbol.

Letters: ``n`` vectors, ``F`` features, ``H`` hidden units, ``T`` steps of a caption.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.callbacks import Callback, Progress
from crnn.callbacks.history import History
from crnn.common.arrays import Array
from crnn.common.checks import check_array, check_flag, check_seed, check_size
from crnn.common.choices import CellName
from crnn.common.representation import never_raising
from crnn.data import END_OF_LINE, Batches, Vocabulary
from crnn.layers.base.weights import layer_seeds
from crnn.layers.pointwise.dense import Dense
from crnn.models.folder import InFolder, flag_of, saved_vocabulary, seq2seq_of
from crnn.models.networks import recurrent_layers, stacked
from crnn.models.texts import exact_share, list_of_texts, separator, symbols_of, vocabulary_of
from crnn.models.training import one_cycle
from crnn.seq2seq import Seq2Seq, TeacherForcing
from crnn.storage import archive


class Captioner(InFolder):
    """Captioner: a vocabulary, and a network from vectors to captions.

    Parameters
    ----------
    vocabulary : Vocabulary
        A vocabulary with the newline, which ends a caption, and a start symbol ``<language>`` for
        each language.
    network : Seq2Seq
        A network from vectors (n, F) to symbols of `vocabulary`.
    languages : sequence of str, default ()
        The languages. A caption begins with the symbol of its language; without languages it begins
        with the newline.
    words : bool, default False
        True: symbols are words, separated by spaces. False: symbols are characters.
    max_steps : int, default 200
        The largest number of symbols of a caption.

    Attributes
    ----------
    vocabulary, network, languages, words, max_steps
        The arguments.

    Raises
    ------
    ValueError
        The vocabulary lacks a symbol, or the network has another number of symbols or does not read
        vectors.

    See Also
    --------
    for_captions : make a captioner with the symbols of captions.

    Notes
    -----
    A language may be any property of a caption that can be chosen, such as its style.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> x = np.eye(3, dtype=np.float32).repeat(2, axis=0)
    >>> texts, names = ["red", "rojo", "green", "verde", "blue", "azul"], ["en", "es"] * 3
    >>> options = {"hidden_size": 32, "dropout": 0, "seed": 0}
    >>> model = crnn.models.Captioner.for_captions(3, texts, names, **options)
    >>> history = model.train(x, texts, names, epochs=30, lr=0.02, progress=False)
    >>> model.caption(x[::2], "es")
    ['rojo', 'verde', 'azul']
    """

    _content = "captioner"
    network: Seq2Seq

    def __init__(
        self,
        vocabulary: Vocabulary,
        network: Seq2Seq,
        languages: Sequence[str] = (),
        *,
        words: bool = False,
        max_steps: int = 200,
    ) -> None:
        self.languages = tuple(_checked_strings(list_of_texts("languages", languages)))
        for symbol in (END_OF_LINE, *map(_start_symbol, self.languages)):
            if symbol not in vocabulary:
                raise ValueError(f"vocabulary: expected one with {symbol!r}, got {vocabulary!r}")
        if network.target_symbols != len(vocabulary):
            raise ValueError(
                f"network: expected target_symbols={len(vocabulary)}, the size of the vocabulary, "
                f"got {network.target_symbols}"
            )
        if not network.fixed:
            raise ValueError(
                "network: expected an encoder that reads vectors (B, F), such as a Dense, "
                f"got {network.encoder!r:.100}"
            )
        self.vocabulary, self.network = vocabulary, network
        self.words = check_flag("words", words)
        self.max_steps = check_size("max_steps", max_steps)
        self._end = int(vocabulary.encode([END_OF_LINE])[0])

    @classmethod
    def for_captions(
        cls,
        features: int,
        captions: Sequence[str],
        languages: Sequence[str] | None = None,
        *,
        words: bool = False,
        min_count: int = 1,
        cell: CellName = "gru",
        hidden_size: int = 128,
        layers: int = 1,
        embedding: int = 32,
        dropout: float = 0.2,
        seed: int | None = None,
    ) -> Captioner:
        """Return an untrained captioner with the symbols of captions.

        Parameters
        ----------
        features : int
            F, the length of a vector.
        captions : sequence of str
            The captions for training and evaluation, without newlines. Twice the length of the
            longest one is the largest length of a generated caption.
        languages : sequence of str, optional
            The language of each caption. None: captions have no language.
        words : bool, default False
            As for the class.
        min_count : int, default 1
            Symbols that occur less often are read as the unknown symbol.
        cell : {"rnn", "lstm", "gru", "janet", "mingru", "minlstm"}, default "gru"
            The class of the recurrent layers.
        hidden_size : int, default 128
            H, the hidden units of each recurrent layer.
        layers : int, default 1
            The number of recurrent layers; each reads the output of the one before.
        embedding : int, default 32
            The size of the learned vector of a symbol.
        dropout : float, default 0.2
            The share of h that is dropped in each step of the recurrent layers, in training; for
            cells without W_h, the share of the input of each layer.
        seed : int, optional
            The seed of the initial weights and of dropout. None draws a fresh seed.

        Returns
        -------
        Captioner
            A captioner whose network is a `crnn.Seq2Seq`.

        Raises
        ------
        ValueError
            No captions, another number of languages than of captions, an unknown `cell`, or a size
            out of range.
        """
        rows = _caption_symbols(captions, words)
        names = sorted(set(_checked_languages(languages, len(rows)) or ()))
        special = [END_OF_LINE, *map(_start_symbol, names)]
        vocabulary = vocabulary_of(rows, words, min_count, special)
        *seeds, first, last = layer_seeds(check_seed(seed), check_size("layers", layers) + 2)
        decoder = recurrent_layers(cell, embedding, hidden_size, seeds, dropout=dropout)
        network = Seq2Seq(
            Dense(check_size("features", features), hidden_size, seed=first),
            stacked(decoder),
            target_symbols=len(vocabulary),
            seed=last,
        )
        longest = max(map(len, rows))
        return cls(vocabulary, network, names, words=words, max_steps=2 * max(1, longest))

    # -------------------------------------------------------------------------------- training

    def train(
        self,
        features: ArrayLike,
        captions: Sequence[str],
        languages: Sequence[str] | None = None,
        *,
        epochs: int = 15,
        batch_size: int = 64,
        lr: float = 1e-2,
        clip_norm: float = 1.0,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
    ) -> History:
        """Train the network with Adam and a one-cycle learning rate.

        Parameters
        ----------
        features : floats (n, F)
            The vectors.
        captions : sequence of n str
            The caption of each vector, without newlines.
        languages : sequence of n str, or str for all captions, optional
            The language of each caption; needed if the captioner has languages.
        epochs : int, default 15
            The number of passes over the captions.
        batch_size : int, default 64
            The captions in an update; they are of similar length.
        lr : float, default 1e-2
            The largest learning rate, see `crnn.callbacks.OneCycle`.
        clip_norm : float, default 1.0
            The largest norm of the gradient; larger gradients are scaled down to it.
        seed : int, default 0
            The seed of the order of the captions.
        callbacks : sequence of Callback, default ()
            Further callbacks, see `crnn.callbacks`.
        progress : bool, default True
            Show progress.

        Returns
        -------
        History
            The loss of each epoch in nats per symbol; the end of a caption counts as a symbol.

        Raises
        ------
        TypeError, ValueError
            Vectors of another length, captions or languages of another number, an unknown language,
            or an option outside of its range. The parameters are unchanged.
        """
        data = self.batches(features, captions, languages, batch_size, seed)
        if check_flag("progress", progress):
            callbacks = [*callbacks, Progress(unit="symbol")]
        model = TeacherForcing(self.network)
        return one_cycle(
            model, data, epochs=epochs, lr=lr, clip_norm=clip_norm, callbacks=callbacks
        ).run()

    def batches(
        self,
        features: ArrayLike,
        captions: Sequence[str],
        languages: Sequence[str] | None = None,
        batch_size: int = 64,
        seed: int | None = None,
    ) -> CaptionBatches:
        """Return captions as data for `crnn.fit` with ``crnn.TeacherForcing(network)``.

        Parameters
        ----------
        features, captions, languages
            As for `train`.
        batch_size : int, default 64
            The captions in a batch.
        seed : int, optional
            The seed of the order. None: the order of their lengths.

        Returns
        -------
        CaptionBatches
            The batches.
        """
        vectors = self._checked_features(features)
        rows = _caption_symbols(captions, self.words, len(vectors))
        targets = [np.append(self.vocabulary.encode(row), self._end) for row in rows]
        return CaptionBatches(
            vectors, targets, self._starts(languages, len(rows)), batch_size, seed
        )

    def _checked_features(self, features: ArrayLike) -> Array:
        shape = ("n", ("F", self.network.source_width))
        return check_array("features", features, "floats", shape, kind_error=ValueError)

    def _starts(self, languages: str | Sequence[str] | None, n: int) -> NDArray[np.int64]:
        """Return the start symbol of each of n captions."""
        names = [languages] * n if isinstance(languages, str) else _checked_languages(languages, n)
        if names is None and not self.languages:
            return np.full(n, self._end)
        expected = f"{n} of {', '.join(self.languages)}" if self.languages else "None"
        unknown = ["none"] if names is None else sorted(set(names) - set(self.languages))
        if names is None or unknown:
            raise ValueError(f"languages: expected {expected}, got {', '.join(unknown)}")
        return self.vocabulary.encode([_start_symbol(language) for language in names])

    # ------------------------------------------------------------------------------ captioning

    def caption(
        self,
        features: ArrayLike,
        languages: str | Sequence[str] | None = None,
        *,
        beam: int = 1,
        length_penalty: float = 0.0,
    ) -> list[str]:
        """Return a caption for each vector.

        Parameters
        ----------
        features : floats (n, F)
            The vectors.
        languages : str, or sequence of n str, optional
            One language for all captions, or the language of each; needed if the captioner has
            languages.
        beam : int, default 1
            The number of partial captions that are kept at each step (beam search). 1: the most
            likely symbol is taken at each step.
        length_penalty : float, default 0.0
            For a beam: scores are divided by the length to this power. A value above 0 favours
            longer captions.

        Returns
        -------
        list of n str
            The captions.

        Raises
        ------
        TypeError, ValueError
            Vectors of another length, languages of another number, an unknown language, or an
            option outside of its range.
        """
        vectors = self._checked_features(features)
        tokens, _ = self.network.generate(
            vectors,
            start=self._starts(languages, len(vectors)),
            stop=self._end,
            max_steps=self.max_steps,
            beam=beam,
            length_penalty=length_penalty,
        )
        between = separator(self.words)
        return [self.vocabulary.decode(row[row != self._end], between) for row in tokens]

    def evaluate(
        self,
        features: ArrayLike,
        captions: Sequence[str],
        languages: str | Sequence[str] | None = None,
        *,
        beam: int = 1,
        length_penalty: float = 0.0,
    ) -> float:
        """Return the share of captions that the captioner generates exactly.

        Parameters
        ----------
        features : floats (n, F)
            The vectors.
        captions : sequence of n str
            The expected captions. Spaces between words are not compared.
        languages, beam, length_penalty
            As for `caption`.

        Returns
        -------
        float
            The share, from 0 to 1.
        """
        generated = self.caption(features, languages, beam=beam, length_penalty=length_penalty)
        expected = _caption_symbols(captions, self.words, len(generated))
        return exact_share(expected, generated, self.words)

    # ----------------------------------------------------------------------------------- files

    def _tree(self) -> dict[str, Any]:
        return {
            "vocabulary": self.vocabulary.config,
            "languages": list(self.languages),
            "words": self.words,
            "max_length": self.max_steps,
        }

    @classmethod
    def _of_tree(cls, tree: Mapping[str, Any]) -> Self:
        languages, max_steps = archive.entries(tree, "languages", "max_length")
        vocabulary, words = saved_vocabulary(tree, "vocabulary"), flag_of(tree, "words")
        return cls(vocabulary, seq2seq_of(tree), languages, words=words, max_steps=max_steps)

    @never_raising
    def __repr__(self) -> str:
        symbols = "words" if self.words else "characters"
        languages = f" in {', '.join(self.languages)}" if self.languages else ""
        return f"<Captioner in {symbols}{languages}, by {self.network!r}>"


class CaptionBatches(Batches):
    """Batches of vectors with their captions, in the form that `crnn.TeacherForcing` trains on.

    An item is ``((features (B, F), target_in (B, T)), target (B, T), lengths (B,))``.

    Parameters
    ----------
    features : array (n, F)
        The vectors.
    targets : list of n arrays (T,)
        The symbols of each caption, with the end symbol.
    starts : array (n,) of int64
        The start symbol of each caption.
    batch_size : int
        B.
    seed : int or None
        The seed of the order. None: the order of their lengths.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> model = crnn.models.Captioner.for_captions(3, ["red", "blue"], hidden_size=8, seed=0)
    >>> model.batches(np.eye(2, 3), ["red", "blue"], seed=0)
    <CaptionBatches: 2 captions in 1 batch of 64, bucketed, shuffled with seed 0>
    """

    _noun = ("caption", "captions")

    def __init__(
        self,
        features: Array,
        targets: Sequence[Array],
        starts: NDArray[np.int64],
        batch_size: int,
        seed: int | None,
    ) -> None:
        self._features, self._starts = features, starts
        numbers = np.arange(len(features))
        super().__init__(
            targets, numbers, batch_size, shuffle=seed is not None, seed=seed, bucket=True
        )

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for target, number, lengths in super().__iter__():
            target_in = np.concatenate([self._starts[number, None], target[:, :-1]], axis=1)
            yield (self._features[number], target_in), target, lengths


def _start_symbol(language: str) -> str:
    """Return the start symbol of captions in a language."""
    return f"<{language}>"


def _caption_symbols(captions: Sequence[str], words: bool, n: int | None = None) -> list[list[str]]:
    """Return the symbols of each caption; raise ValueError unless there are n captions."""
    rows = [symbols_of("captions", text, words) for text in list_of_texts("captions", captions)]
    if not rows:
        raise ValueError("captions: expected at least one, got none")
    if n is not None and len(rows) != n:
        raise ValueError(f"captions: expected n={n}, one for each vector, got {len(rows)}")
    return rows


def _checked_languages(languages: Sequence[str] | None, n: int) -> list[str] | None:
    """Return the language of each of n captions, or None."""
    if languages is None:
        return None
    names = list_of_texts("languages", languages)
    if len(names) != n:
        raise ValueError(f"languages: expected {n}, one for each caption, got {len(names)}")
    return _checked_strings(names)


def _checked_strings(languages: list[str]) -> list[str]:
    """Return the languages; raise TypeError unless all are strings."""
    for language in languages:
        if not isinstance(language, str):
            raise TypeError(f"languages: expected strings, got {language!r:.60}")
    return languages
