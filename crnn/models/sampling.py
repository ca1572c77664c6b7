"""Writing with a character model, symbol by symbol.

Letters: ``H`` hidden units, ``K`` symbols.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn import _core
from crnn.data import END_OF_LINE, Vocabulary
from crnn.layers.base import Layer
from crnn.layers.composition import Sequential

_SAMPLE = int.from_bytes(b"sample")  # stream of the counter-based generator


class Sampler:
    """Writes texts with a network; the weights are packed once.

    Parameters
    ----------
    vocabulary, network, lines
        Those of a `CharModel`. Later changes of the weights are not seen.
    """

    def __init__(self, vocabulary: Vocabulary, network: Layer, lines: bool) -> None:
        self._vocabulary, self._lines = vocabulary, lines
        self._end = vocabulary.encode(END_OF_LINE)[0] if lines else -1
        self._layers: list[Any]
        self._layers = network.layers if isinstance(network, Sequential) else [network]
        self._streams = [
            layer.stream(1) if hasattr(layer, "stream") else None for layer in self._layers
        ]
        self._states: list[Any] = []

    def text(self, prime: str, length: int, temperature: float, seed: int, number: int = 0) -> str:
        """Return one text; the parameters are those of `CharModel.sample`.

        Parameters
        ----------
        number : int
            Which text of the seed; each has random numbers of its own.
        """
        if length < 0:
            raise ValueError(f"length: expected at least 0, got {length}")
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature: expected a finite number from 0 up, got {temperature}")
        *before, symbol = self._vocabulary.encode(self._start(prime))
        self._reset()
        for known in before:
            self._step(known)
        written: list[int] = []
        for u in _core.random_uniform(seed, _SAMPLE, number << 32, length):
            symbol = draw(self._step(symbol), temperature, u)
            if symbol == self._end:
                break
            written.append(symbol)
        return prime + self._vocabulary.decode(np.array(written, np.int64))

    def _start(self, prime: str) -> str:
        """Return what the network reads before it writes: at least one symbol."""
        if self._lines:
            return END_OF_LINE + prime
        return prime or (
            END_OF_LINE if END_OF_LINE in self._vocabulary else self._vocabulary.symbols[0]
        )

    def _reset(self) -> None:
        self._states = [None] * len(self._layers)
        for stream in self._streams:
            if stream is not None:
                stream.reset()

    def _step(self, symbol: int) -> NDArray[Any]:
        """Read one symbol and return the logits (K,) of the next."""
        x: Any = np.array([symbol])
        for number, (layer, stream) in enumerate(zip(self._layers, self._streams, strict=True)):
            if stream is not None:
                x = stream.step(x)
            else:
                y, self._states[number] = layer(x[:, None], self._states[number])
                x = y[:, 0]
        return np.asarray(x[0])


def draw(logits: NDArray[Any], temperature: float, u: float) -> int:
    """Return a symbol drawn with probabilities softmax(logits / temperature).

    Parameters
    ----------
    logits : array (K,)
    temperature : float
        From 0, which takes the likeliest.
    u : float
        A random number, uniform in [0, 1).
    """
    best = int(np.argmax(logits))
    if temperature == 0:
        return best
    if np.isinf(logits[best]):  # as likely as each other, and all others not at all
        shares = (logits == logits[best]).cumsum().astype(np.float64)
    else:
        shares = np.exp((logits.astype(np.float64) - logits[best]) / temperature).cumsum()
    return min(int(np.searchsorted(shares, u * shares[-1], side="right")), len(logits) - 1)
