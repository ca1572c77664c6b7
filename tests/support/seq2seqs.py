"""Sequence-to-sequence models of all kinds, their inputs, and helpers of their tests.

Letters: B rows, S and T steps of source and target, I features of the source.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import crnn
from support.running import copied, fill

KS, KT, I, WIDTH = 5, 4, 2, 2  # K of source and target, I, and E
# Parameters are this large so that attention weights differ: otherwise the gradients are too small
# to be compared with differences.
SCALE = 1.0


@dataclass(frozen=True)
class Kind:
    """A description of a model: its layers for any dtype, and its options."""

    encoder: Callable[[str], object]
    decoder: Callable[[str, int], object]  # arguments: dtype, input_size
    context: int = 0  # C of the context in the decoder's input
    source_symbols: int | None = KS
    target_symbols: int | None = KT
    attention: str | None = None
    input_feeding: bool = True
    scale: float = SCALE

    def model(self, dtype="float64", seed=0):
        """Return a model whose parameters are all random, biases included."""
        decoder = self.decoder(dtype, WIDTH + self.context)
        made = crnn.Seq2Seq(
            self.encoder(dtype),
            decoder,
            source_symbols=self.source_symbols,
            target_symbols=self.target_symbols,
            attention=self.attention,
            input_feeding=self.input_feeding,
            seed=3,
        )
        return fill(made, seed, self.scale)

    def inputs(self, B, S, T, dtype="float64", seed=1):
        """Return source and target."""
        rng = np.random.default_rng(seed)
        vectors = lambda *shape: rng.normal(size=shape).astype(dtype)  # noqa: E731
        source = vectors(B, S, I) if self.source_symbols is None else rng.integers(0, KS, (B, S))
        target = (
            vectors(B, T, WIDTH) if self.target_symbols is None else rng.integers(0, KT, (B, T))
        )
        return source, target


def _gru(dtype, width=I, units=3, **options):
    return crnn.GRU(width, units, dtype=dtype, seed=1, **options)


def _lstm(dtype, width=I, units=3, **options):
    return crnn.LSTM(width, units, dtype=dtype, seed=2, **options)


def _both(dtype):
    return crnn.Bidirectional(crnn.GRU(I, 2, dtype=dtype, seed=1))


def _stack(dtype, width=I):
    layers = [crnn.GRU(width, 2, dtype=dtype, seed=4), crnn.Dropout(0.3, seed=5)]
    return crnn.Sequential([*layers, crnn.LSTM(2, 3, dtype=dtype, seed=6)])


def _residual(dtype, width):
    inner = crnn.Residual(crnn.JANET(3, 3, dtype=dtype, seed=8))
    return crnn.Sequential([crnn.RNN(width, 3, dtype=dtype, seed=7), inner])


def _no_state(dtype, units=3):
    return crnn.Dense(I, units, dtype=dtype, seed=9)


def _learned(dtype, width):
    return _lstm(dtype, width, learn_state=True, recurrent_dropout=0.3)


def _pooled(dtype):
    return crnn.Sequential([_gru(dtype), crnn.Pool("mean")])


def _own_table(dtype):
    return crnn.Sequential([crnn.Embedding(KS, 2, dtype=dtype, seed=1), _gru(dtype, 2)])


def _delayed(make, delays):
    return lambda dtype, width=I: make(dtype, width, delays=delays)


def _delayed_stack(dtype, width=I):
    layers = [_gru(dtype, width, delays=3), _lstm(dtype, 3, 2, delays=(2, 1), learn_state=True)]
    return crnn.Sequential(layers)


def _projected(dtype, width):
    return crnn.LSTM(width, 4, proj_size=3, dtype=dtype, seed=3)


def _tcn(dtype, width=I, units=5):
    return crnn.TCN(width, [units, 3], 2, dtype=dtype, seed=4)


def _block(dtype, seed, size=6, **options):
    return crnn.TransformerBlock(size, 3, feedforward_size=5, dtype=dtype, seed=seed, **options)


def _blocks(dtype):
    return crnn.Sequential([_no_state(dtype, 6), _block(dtype, 1, causal=False)])


def _readers(dtype, width, memory=6, **options):
    blocks = [_block(dtype, seed, memory_size=memory, **options) for seed in (2, 3)]
    return crnn.Sequential([crnn.Dense(width, 6, dtype=dtype, seed=9), *blocks])


def _gru_and_reader(dtype, width):
    reader = crnn.Residual(_block(dtype, 2, memory_size=4, window=3))
    return crnn.Sequential([_gru(dtype, width, 6), reader, crnn.Dropout(0.3, seed=5)])


KINDS = {
    "plain": Kind(_gru, _gru),
    "bridged": Kind(_lstm, _gru),
    "pooled": Kind(_pooled, _gru),
    "two-directions": Kind(_both, _stack),
    "additive": Kind(_gru, _gru, 3, attention="additive"),
    "dot": Kind(_lstm, _lstm, 3, attention="dot"),
    "general": Kind(_both, _gru, 4, attention="general"),
    "additive-whole": Kind(_both, _lstm, attention="additive", input_feeding=False),
    "dot-whole": Kind(_gru, _gru, attention="dot", input_feeding=False),
    "general-whole": Kind(_stack, _stack, attention="general", input_feeding=False),
    "stacked": Kind(_stack, _stack, 3, attention="general"),
    "residual": Kind(_gru, _residual, 3, attention="general"),
    "no-state": Kind(_no_state, _learned, 3, attention="additive"),
    "no-state-whole": Kind(_no_state, _learned, attention="dot", input_feeding=False),
    "projected": Kind(_gru, _projected, 3, attention="general"),
    "own-table": Kind(_own_table, _gru, 3, attention="additive"),
    "vectors": Kind(_gru, _gru, 0, None, None),
    "vectors-additive": Kind(_both, _lstm, 4, None, None, attention="additive"),
    "vectors-whole": Kind(_gru, _gru, 0, None, KT, attention="dot", input_feeding=False),
    "delay": Kind(_delayed(_gru, 2), _delayed(_gru, 2), 3, attention="additive"),
    "delays": Kind(_delayed(_lstm, (1, 3)), _delayed(_gru, (2, 1)), 3, attention="general"),
    "delays-plain": Kind(_delayed(_lstm, 2), _delayed(_lstm, (1, 2))),
    "delays-stacked": Kind(_delayed_stack, _delayed_stack, 2, attention="dot"),
    "delays-whole": Kind(_delayed_stack, _delayed_stack, attention="dot", input_feeding=False),
    "delays-vectors": Kind(_gru, _delayed(_lstm, 4), 3, None, None, attention="additive"),
    "symbols-to-vectors": Kind(_gru, _gru, 3, KS, None, attention="general"),
    "tcn": Kind(_tcn, _tcn),
    "tcn-gru": Kind(_tcn, _gru, 3, attention="additive"),
    "tcn-whole": Kind(_tcn, _tcn, attention="dot", input_feeding=False),
    "tcn-vectors": Kind(_gru, _tcn, 0, None, None),
    "blocks": Kind(_blocks, _readers, scale=0.5),
    "blocks-vectors": Kind(_blocks, lambda *a: _readers(*a, window=2), 0, None, None, scale=0.5),
    "blocks-mixed": Kind(_both, _gru_and_reader, scale=0.5),
    "blocks-of-a-gru": Kind(_gru, lambda *a: _readers(*a, memory=3, dropout=0.2), scale=0.5),
}
# The encoder of "own-table" has the embedding: symbols, although source_symbols is None.
OWN_TABLE = "own-table"


def model_of(name, dtype="float64", seed=0):
    """Return the model of a kind."""
    kind = KINDS[name]
    if name != OWN_TABLE:
        return kind.model(dtype, seed)
    options = {"target_symbols": KT, "attention": kind.attention, "seed": 3}
    decoder = kind.decoder(dtype, WIDTH + kind.context)
    return fill(crnn.Seq2Seq(kind.encoder(dtype), decoder, **options), seed, SCALE)


def ends(B, steps, seed=2):
    """Return random lengths (B,); with at least two rows, one of them is 0 and one is `steps`."""
    lengths = np.random.default_rng(seed).integers(0, steps + 1, B)
    lengths[: 2 if B > 1 else 0] = (0, steps)[: len(lengths)]
    return lengths


def forward_and_backward(model, source, target, dlogits=None, *, call=0, **options):
    """Return the results of a forward and a backward pass by name; gradients start at 0."""
    model.zero_grad()
    logits, tape = model.forward(source, target, call=call, **options)
    if dlogits is None:
        dlogits = np.random.default_rng(5).normal(size=logits.shape).astype(logits.dtype)
    dsource = model.backward(tape, dlogits)
    found = {"logits": logits, "dsource": dsource, "grads": dict(model.grads)}
    if model.attention is not None or model.memory_size is not None:
        found["attention"] = tape.attention
    return copied(found)
