"""A captioner: a vector in, a text out, in the language asked for.

A learned map of the vector, the features of an image, say, sets the state from which a decoder
writes, symbol by symbol.

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
from crnn.common.checks import check_array, check_seed, check_size
from crnn.common.choices import CellName
from crnn.data import END_OF_LINE, Batches, Vocabulary
from crnn.layers.base.weights import layer_seeds
from crnn.layers.pointwise.dense import Dense
from crnn.models.folder import InFolder, flag_of, saved_vocabulary, seq2seq_of
from crnn.models.networks import in_sequence, recurrent_layers
from crnn.models.texts import separator, several, share_right, symbols_of, vocabulary_of
from crnn.models.training import one_cycle
from crnn.seq2seq import Seq2Seq, TeacherForcing
from crnn.storage import archive


class Captioner(InFolder):
    """A vocabulary, and a network from vectors to its symbols.

    Parameters
    ----------
    vocabulary : Vocabulary
        It has the newline, which ends a caption, and a symbol for each language that begins one.
    network : Seq2Seq
        From vectors (n, F) to symbols of `vocabulary`.
    languages : sequence of str
        Each is asked for by the symbol ``<language>``. With none, a caption begins as it ends.
    words : bool
        Symbols are words, with spaces between them; otherwise characters.
    max_steps : int
        A caption is cut off after so many symbols.

    See Also
    --------
    for_captions : make a captioner of the usual form for captions.

    Notes
    -----
    A language is anything that a caption is asked for with, the style or the kind as well.

    Examples
    --------
    >>> import numpy as np
    >>> from crnn.models import Captioner
    >>> x = np.eye(3, dtype=np.float32).repeat(2, axis=0)
    >>> captions = ["red", "rojo", "green", "verde", "blue", "azul"]
    >>> languages = ["en", "es"] * 3
    >>> model = Captioner.for_captions(3, captions, languages, hidden_size=32, dropout=0, seed=0)
    >>> history = model.train(x, captions, languages, epochs=60, lr=0.02, progress=False)
    >>> model.caption(x[::2], "es")
    ['rojo', 'verde', 'azul']
    """

    _kind = "captioner"
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
        self.languages = tuple(_strings(several("languages", languages)))
        for symbol in (END_OF_LINE, *map(_symbol, self.languages)):
            if symbol not in vocabulary:
                raise ValueError(f"vocabulary: expected one with {symbol!r}, got {vocabulary!r}")
        if network.target_symbols != len(vocabulary):
            raise ValueError(
                f"network: expected one to the {len(vocabulary)} symbols of the vocabulary, "
                f"got one to {network.target_symbols}"
            )
        if not network.fixed:
            raise ValueError(
                "network: expected one whose encoder reads vectors (B, F), such as a Dense, "
                f"got {network.encoder!r:.100}"
            )
        self.vocabulary, self.network = vocabulary, network
        self.words, self.max_steps = bool(words), check_size("max_steps", max_steps)
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
            F.
        captions : sequence of str
            All that will be trained on or evaluated, of one line each. What is written is cut off
            at twice the length of the longest.
        languages : sequence of str, optional
            That of each caption.
        words : bool
            As for the class.
        min_count : int
            Symbols that occur less often are unknown.
        cell : {"rnn", "lstm", "gru", "janet"}
            The kind of recurrent layer.
        hidden_size, layers : int
            Units of a recurrent layer, and how many of them, one on top of the other.
        embedding : int
            Length of the vectors that stand for symbols.
        dropout : float
            Share of h that each step of the recurrent layers leaves out in training.
        seed : int, optional
            Of the initial weights and of what is left out; by default a fresh one.
        """
        rows = _rows(captions, words)
        tongues = sorted(set(_languages(languages, len(rows)) or ()))
        special = [END_OF_LINE, *map(_symbol, tongues)]
        vocabulary = vocabulary_of(rows, words, min_count, special)
        *seeds, first, last = layer_seeds(check_seed(seed), check_size("layers", layers) + 2)
        decoder = recurrent_layers(cell, embedding, hidden_size, seeds, recurrent_dropout=dropout)
        network = Seq2Seq(
            Dense(check_size("features", features), hidden_size, seed=first),
            in_sequence(decoder),
            target_symbols=len(vocabulary),
            seed=last,
        )
        longest = max(map(len, rows))
        return cls(vocabulary, network, tongues, words=words, max_steps=2 * max(1, longest))

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
        """Train the network, with Adam and a one-cycle learning rate.

        Parameters
        ----------
        features : (n, F) floats
        captions : n strings
        languages : n strings, or one for all, optional
            That of each caption, of a captioner that has languages.
        epochs : int
            How often to go through the captions.
        batch_size : int
            Captions in an update, of similar length.
        lr : float
            The peak of the one-cycle schedule, see `crnn.callbacks.OneCycle`.
        clip_norm : float
            Largest norm of a gradient.
        seed : int
            Decides the order.
        callbacks : sequence of Callback
        progress : bool
            Show progress.

        Returns
        -------
        History
            Losses in nats a symbol, the one that ends a caption included.
        """
        data = self.batches(features, captions, languages, batch_size, seed)
        callbacks = [*callbacks, Progress(unit="symbol")] if progress else callbacks
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
        batch_size : int
        seed : int, optional
            Decides the order. None: the shortest first.
        """
        vectors = self._features(features)
        rows = _rows(captions, self.words, len(vectors))
        targets = [np.append(self.vocabulary.encode(row), self._end) for row in rows]
        return CaptionBatches(
            vectors, targets, self._starts(languages, len(rows)), batch_size, seed
        )

    def _features(self, features: ArrayLike) -> Array:
        shape = ("n", ("F", self.network.source_width))
        return check_array("features", features, "floats", shape, kind_error=ValueError)

    def _starts(self, languages: str | Sequence[str] | None, n: int) -> NDArray[np.int64]:
        """The symbol (n,) that asks for each caption."""
        asked = [languages] * n if isinstance(languages, str) else _languages(languages, n)
        if asked is None and not self.languages:
            return np.full(n, self._end)
        expected = f"{n} of {', '.join(self.languages)}" if self.languages else "None"
        unknown = ["none"] if asked is None else sorted(set(asked) - set(self.languages))
        if asked is None or unknown:
            raise ValueError(f"languages: expected {expected}, got {', '.join(unknown)}")
        return self.vocabulary.encode([_symbol(language) for language in asked])

    # ------------------------------------------------------------------------------------- use

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
        features : (n, F) floats
        languages : str, or n of them, optional
            One for all, or one for each.
        beam : int
            How many beginnings of a caption are pursued at a time; with 1 the likeliest symbol is
            taken at each step.
        length_penalty : float
            With a beam: what the score is divided by is the length to this power; above 0 favours
            longer captions.
        """
        vectors = self._features(features)
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
        """Return the share of captions that are exactly right.

        Parameters
        ----------
        features : (n, F) floats
        captions : n strings
        languages, beam, length_penalty
            As for `caption`.
        """
        written = self.caption(features, languages, beam=beam, length_penalty=length_penalty)
        return share_right(_rows(captions, self.words, len(written)), written, self.words)

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
        languages, longest = archive.entries(tree, "languages", "max_length")
        vocabulary, words = saved_vocabulary(tree, "vocabulary"), flag_of(tree, "words")
        return cls(vocabulary, seq2seq_of(tree), languages, words=words, max_steps=longest)

    def __repr__(self) -> str:
        kind = "words" if self.words else "characters"
        tongues = f" in {', '.join(self.languages)}" if self.languages else ""
        return f"<Captioner in {kind}{tongues}, by {self.network!r}>"


class CaptionBatches(Batches):
    """Vectors with their captions in batches, as `crnn.TeacherForcing` trains on them.

    An item is ``((features (B, F), target_in (B, T)), target (B, T), lengths (B,))``.

    Parameters
    ----------
    features : array (n, F)
    targets : n arrays (T,)
        Symbols, with the one that ends a caption.
    starts : array (n,)
        The symbol that each is asked for with.
    batch_size : int
    seed : int or None
        Of the order. None: the shortest first.
    """

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


def _symbol(language: str) -> str:
    """The symbol that asks for a language."""
    return f"<{language}>"


def _rows(captions: Sequence[str], words: bool, n: int | None = None) -> list[list[str]]:
    """The symbols of captions, of which there must be n."""
    rows = [symbols_of("captions", text, words) for text in several("captions", captions)]
    if not rows:
        raise ValueError("captions: expected at least one, got none")
    if n is not None and len(rows) != n:
        raise ValueError(f"captions: expected n={n}, one for each vector, got {len(rows)}")
    return rows


def _languages(languages: Sequence[str] | None, n: int) -> list[str] | None:
    """One for each of n captions, or None."""
    if languages is None:
        return None
    asked = several("languages", languages)
    if len(asked) != n:
        raise ValueError(f"languages: expected {n}, one for each caption, got {len(asked)}")
    return _strings(asked)


def _strings(languages: list[str]) -> list[str]:
    """The languages themselves, or TypeError."""
    for language in languages:
        if not isinstance(language, str):
            raise TypeError(f"languages: expected strings, got {language!r:.60}")
    return languages
