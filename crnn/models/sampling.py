"""Writing with a character model, symbol by symbol.

Letters: ``H`` hidden units, ``K`` symbols.
"""

import math

import numpy as np

import crnn._core as _core
from crnn.data import END_OF_LINE, Vocabulary
from crnn.layers.base.layer import Layer
from crnn.layers.compose.streams import stream_of


class Sampler:
    """Writes texts with a network; the weights are packed once.

    Parameters
    ----------
    vocabulary, network, lines
        Those of a `CharModel`. Later changes of the weights are not seen.
    """

    def __init__(self, vocabulary: Vocabulary, network: Layer, lines: bool) -> None:
        self._vocabulary, self._lines = vocabulary, lines
        self._end = int(vocabulary.encode(END_OF_LINE)[0]) if lines else None
        self._stream = stream_of(network, 1, None)

    def text(
        self, prime: str, length: int, temperature: float | None, seed: int, number: int = 0
    ) -> str:
        """Return one text; the parameters are those of `CharModel.sample`.

        Parameters
        ----------
        number : int
            Which text of the seed; each has random numbers of its own.
        """
        if length < 0:
            raise ValueError(f"length: expected at least 0, got {length}")
        if temperature is not None and not 0 <= temperature < math.inf:
            raise ValueError(f"temperature: expected a finite number from 0 up, got {temperature}")
        *before, symbol = self._vocabulary.encode(self._start(prime))
        self._stream.reset()
        for known in before:
            self._stream.step(np.array([known]))
        search = _core.Search(
            1,
            len(self._vocabulary),
            length,
            stop=self._end,
            temperature=temperature,
            seed=seed,
            first_group=number,
        )
        read = np.array([symbol])
        while not search.done:
            read, _ = search.step(self._stream.step(read))
        written = search.result()[0][0, 0]
        if self._lines:
            written = written[written != self._end]
        return prime + self._vocabulary.decode(written)

    def _start(self, prime: str) -> str:
        """Return what the network reads before it writes: at least one symbol."""
        if self._lines:
            return END_OF_LINE + prime
        return prime or (
            END_OF_LINE if END_OF_LINE in self._vocabulary else self._vocabulary.symbols[0]
        )
