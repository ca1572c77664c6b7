"""What a sequence-to-sequence model is made of: its parts, how they fit, how it is described.

Letters: C units of the encoder's output, P of the decoder's, E numbers that stand for a symbol of
the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter, is_
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

import crnn._core as _core
from crnn.common.checks import check_dtype, check_seed
from crnn.common.choices import AttentionScore
from crnn.common.nested import arrays_of
from crnn.layers.attention.alignment import Attention, check_kind
from crnn.layers.base import weights
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.arguments import EVALUATION
from crnn.layers.base.buffer import Shapes, count_of
from crnn.layers.base.description import Widths, widths_of
from crnn.layers.base.layer import as_dtype, check_layer
from crnn.layers.base.places import run_part
from crnn.layers.base.protocol import LayerLike, Part
from crnn.layers.compose.base import Composition, Runner
from crnn.layers.pointwise.dense import Dense
from crnn.layers.pointwise.embedding import Embedding
from crnn.seq2seq import checks
from crnn.seq2seq.bridge import bridge_for, bridge_sizes, last_h
from crnn.seq2seq.levels import Levels
from crnn.seq2seq.reader import Reader, Readers

NEW_PARTS = ("source_embedding", "target_embedding", "bridge", "attention", "output")
"""Those that a model makes, in the order in which their seeds are numbered."""


class EncoderDecoder(Composition):
    """What is made of an encoder, a decoder and other arguments, and describes itself by them."""

    _leading: ClassVar[tuple[str, ...]] = ("encoder", "decoder")
    _layers = ("encoder", "decoder")

    encoder: Part
    decoder: Part


PARTS = (*NEW_PARTS[:2], "encoder", "decoder", *NEW_PARTS[2:])
_parts_of = attrgetter(*PARTS)


class Whole:
    """What is known of the parts of a model as long as they are these.

    Attributes
    ----------
    key : tuple
        The parts, None where there is none.
    parts : dict
        Those that are there, by name.
    shapes : tuple
        Names and shapes of all parameters.
    drawing : list of Runner
        Of the parts whose forward takes `call`.
    """

    def __init__(self, key: tuple[Any, ...]) -> None:
        self.key = key
        there = {name: part for name, part in zip(PARTS, key, strict=True) if part is not None}
        self.parts = {name: layer_of(part) for name, part in there.items()}
        self.shapes = tuple(
            (f"{place}.{name}", array.shape)
            for place, part in self.parts.items()
            for name, array in part.params.items()
        )
        self.drawing = [one for one in map(Runner, there.values()) if one.takes_call]

    def __reduce__(self) -> Any:
        return Whole, ((None,) * len(PARTS),)  # a copy has other parts


class Seq2SeqParts(_core.Seq2Seq, EncoderDecoder):
    """The parts of a `Seq2Seq`, which documents the arguments."""

    source_embedding: Embedding | None = None
    target_embedding: Embedding | None = None
    bridge: Dense | None = None
    attention: Attention | None = None

    def __init__(
        self,
        encoder: LayerLike,
        decoder: LayerLike,
        *,
        source_symbols: int | None = None,
        target_symbols: int | None = None,
        attention: AttentionScore | None = None,
        input_feeding: bool = True,
        dtype: DTypeLike | None = None,
        seed: int | None = None,
    ) -> None:
        check_layer("encoder", encoder)
        check_layer("decoder", decoder)
        self.decoder_width = checks.check_decoder(decoder)
        self.source_symbols = checks.check_symbol_count("source_symbols", source_symbols)
        self.target_symbols = checks.check_symbol_count("target_symbols", target_symbols)
        if attention is not None:
            check_kind(attention)
        self.input_feeding, self.seed = bool(input_feeding), check_seed(seed)
        kind = dtype_of(encoder, decoder) if dtype is None else check_dtype(dtype)
        self.encoder, self.decoder = as_dtype(encoder, kind), as_dtype(decoder, kind)
        self._readers, self._levels = Readers(), Levels()
        self._make_parts(attention, kind)

    def _make_parts(self, kind: AttentionScore | None, dtype: np.dtype[Any]) -> None:
        """The parts between encoder and decoder, and after them."""
        self.source_width = self._source_width()
        if self.source_symbols is not None:
            options = self._options("source_embedding", dtype)
            self.source_embedding = Embedding(self.source_symbols, self.source_width, **options)
        C, state = self._probe_encoder(kind, dtype)
        self.decoder_output, self.start_like = self._probe_decoder(dtype)
        if self.fixed and not (self.source_width and self.source_symbols is None):
            raise ValueError(
                "encoder: expected one with a state, or that makes one vector of a sequence, for "
                f"symbols without attention, got {self.encoder!r:.100}"
            )
        self.bridge = bridge_for(state, self.start_like, **self._options("bridge", dtype))
        if kind is not None:
            options = self._options("attention", dtype)
            self.attention = Attention(kind, self.decoder_output, C, **options)
        self.target_width = self._target_width(C)
        if self.target_symbols is not None:
            options = self._options("target_embedding", dtype)
            self.target_embedding = Embedding(self.target_symbols, self.target_width, **options)
        read = self.decoder_output + (0 if kind is None else C)
        given = self.target_symbols or self.target_width
        self.output = Dense(read, given, **self._options("output", dtype))

    def _options(self, part: str, dtype: np.dtype[Any]) -> dict[str, Any]:
        """dtype and seed of a new part."""
        seed = weights.seed_of_part(self.seed, weights.PARTS_STREAM, NEW_PARTS.index(part))
        return {"dtype": dtype, "seed": seed}

    def _source_width(self) -> int:
        """I; 0 for an encoder with an embedding of its own."""
        width = checks.check_encoder(self.encoder)
        if width is None and (self.own_symbols is None or self.source_symbols is not None):
            raise ValueError(
                "encoder: expected a layer that reads vectors and says how long they are "
                f"(input_size), got {self.encoder!r:.100}"
            )
        return width or 0

    def _probe_encoder(self, kind: AttentionScore | None, dtype: np.dtype[Any]) -> tuple[int, Any]:
        """C, and what reaches the decoder besides attention, of one row."""
        keeps_time = layer_of(self.encoder).keeps_time
        if kind is not None and not keeps_time:
            raise ValueError(
                "encoder: expected one that keeps the time axis, at whose steps attention looks, "
                f"got {self.encoder!r:.100}"
            )
        width = self.source_width
        one = np.zeros((1, 1, width), dtype) if width else np.zeros((1, 1), np.int64)
        y, state, _ = run_part(self, "encoder", EVALUATION, one, None, False)
        C, pooled = int(y.shape[-1]), not keeps_time
        self.fixed = kind is None and not pooled and not arrays_of(state)
        self.one_vector = pooled or self.fixed
        return C, np.zeros((1, C), dtype) if self.one_vector else state

    def _probe_decoder(self, dtype: np.dtype[Any]) -> tuple[int, Any]:
        """P, and a state of one row."""
        one = np.zeros((1, 1, self.decoder_width), dtype)
        y, state, _ = run_part(self, "decoder", EVALUATION, one, None, False)
        if not arrays_of(state):
            raise ValueError(f"decoder: expected one with a state, got {self.decoder!r:.100}")
        return int(y.shape[-1]), state

    def _target_width(self, C: int) -> int:
        """E."""
        if not self.feeds:
            return self.decoder_width
        h = last_h(self.start_like)
        if h.shape != (1, self.decoder_output):
            raise ValueError(
                "decoder: expected an output as wide as its last h, because either asks for a "
                f"context with input feeding, got {self.decoder_output} and {h.shape[1]}"
            )
        if self.decoder_width <= C:
            raise ValueError(
                f"decoder: expected an input wider than the context, C={C} numbers, which is "
                f"joined to it with input feeding, got {self.decoder_width}"
            )
        return self.decoder_width - C

    @classmethod
    def parameter_count(cls, config: Mapping[str, Any]) -> int:
        names = {"source_symbols", "target_symbols", "attention", "input_feeding"}
        options = {name: config[name] for name in names & config.keys()}
        widths = widths_of(config["encoder"]), widths_of(config["decoder"])
        return new_parameter_count(*widths, **options) + super().parameter_count(config)

    @property
    def parts(self) -> dict[str, Any]:
        return self._whole().parts

    @property
    def feeds(self) -> bool:
        """Whether the context is joined to the decoder's input."""
        return self.input_feeding and self.attention is not None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of parameters and outputs."""
        return self.output.dtype

    @property
    def output_size(self) -> int:
        """K of the target's symbols, or E."""
        return self.output.output_size

    @property
    def own_symbols(self) -> int | None:
        """K of the embedding that the encoder begins with, if it has one of its own."""
        encoder = layer_of(self.encoder)
        return encoder.symbols if encoder.input_size is None else None

    @property
    def source_reader(self) -> Reader:
        """Embedding and encoder."""
        return self._readers.of("source", self.source_embedding, self.encoder)

    @property
    def target_reader(self) -> Reader:
        """Embedding and decoder, where no context comes between them."""
        return self._readers.of("target", self.target_embedding, self.decoder)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What a model must have in common with the one that made a tape."""
        kind = None if self.attention is None else self.attention.kind
        return type(self).__name__, kind, self.feeds, self._whole().shapes

    @property
    def stochastic(self) -> bool:
        """Whether any of the parts draws random numbers in training that depend on `call`."""
        for runner in self._whole().drawing:
            if runner.from_outside or runner.layer.stochastic:
                return True
        return False

    def _whole(self) -> Whole:
        """What is known of the parts: found once, and again where one of them is another one."""
        parts = _parts_of(self)
        whole: Whole | None = self.__dict__.get("_known")
        if whole is None or not all(map(is_, whole.key, parts)):
            whole = self._known = Whole(parts)
        return whole

    @property
    def _own_config(self) -> dict[str, Any]:
        return {
            "source_symbols": self.source_symbols,
            "target_symbols": self.target_symbols,
            "attention": None if self.attention is None else self.attention.kind,
            "input_feeding": self.input_feeding,
            "dtype": self.dtype.name,
            "seed": self.seed,
        }


def new_parameter_count(
    encoder: Widths | None,
    decoder: Widths | None,
    source_symbols: int | None = None,
    target_symbols: int | None = None,
    attention: AttentionScore | None = None,
    input_feeding: bool = True,
) -> int:
    """How many parameters the `NEW_PARTS` of a Seq2Seq have.

    At the least, where a width is not known: of a user's class.
    """
    Ks = checks.check_symbol_count("source_symbols", source_symbols) or 0
    Kt = checks.check_symbol_count("target_symbols", target_symbols) or 0
    if encoder is None or decoder is None or encoder.output is None or decoder.output is None:
        return Ks + 3 * Kt
    C, P = encoder.output, decoder.output
    one_vector = encoder.timeless or (attention is None and not encoder.state)
    bridge = bridge_sizes([C] if one_vector else list(encoder.state), list(decoder.state))
    context = 0 if attention is None else C
    width = max(0, (decoder.input or 0) - (context if input_feeding else 0))
    new: list[Shapes] = []
    if Ks and encoder.input:
        new.append(Embedding._shapes(Ks, encoder.input))
    if Kt and width:
        new.append(Embedding._shapes(Kt, width))
    if bridge is not None:
        new.append(Dense._shapes(*bridge))
    if attention is not None:
        new.append(Attention._shapes(attention, P, C))
    if Kt or width:
        new.append(Dense._shapes(P + context, Kt or width))
    return sum(map(count_of, new))


def dtype_of(*layers: Any) -> np.dtype[Any]:
    """The type of the parameters of the first layer that has any."""
    for layer in layers:
        for array in layer.params.values():
            return check_dtype(array.dtype)
    return np.dtype("float32")
