"""The parts of a sequence-to-sequence model: how they are made, checked and described.

Letters: C units of the encoder's output, P units of the decoder's output, E features of the vector
that the decoder reads at each step of the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter, is_
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from crnn.common.checks import check_dtype, check_flag, check_seed
from crnn.common.choices import AttentionScore
from crnn.common.nested import arrays_of, check_no_counts
from crnn.layers.attention.alignment import Attention, check_kind
from crnn.layers.base import weights
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.arguments import EVALUATION
from crnn.layers.base.attributes import Fixed
from crnn.layers.base.buffer import Shapes, count_of
from crnn.layers.base.description import Widths, widths_of
from crnn.layers.base.layer import as_dtype, check_layer
from crnn.layers.base.places import run_part
from crnn.layers.base.protocol import LayerLike, Part
from crnn.layers.compose.base import Composition, Runner
from crnn.layers.pointwise.dense import Dense
from crnn.layers.pointwise.embedding import Embedding
from crnn.seq2seq import checks
from crnn.seq2seq.bridge import bridge_for, bridge_sizes, handed_on, last_h
from crnn.seq2seq.memories import memory_size, with_memory
from crnn.seq2seq.plans import DecoderPlans
from crnn.seq2seq.reader import Reader, Readers

#: The parts that a model makes, in the order in which their seeds are numbered.
NEW_PARTS = ("source_embedding", "target_embedding", "bridge", "attention", "output")


class EncoderDecoder(Composition):
    """Base of compositions whose constructor takes an encoder, a decoder and other arguments."""

    _leading: ClassVar[tuple[str, ...]] = ("encoder", "decoder")
    _layers = ("encoder", "decoder")

    encoder: Part
    decoder: Part


PARTS = (*NEW_PARTS[:2], "encoder", "decoder", *NEW_PARTS[2:])
_parts_of = attrgetter(*PARTS)


class PartsCache:
    """Values derived from the parts of a model, valid while the parts are the same objects.

    Parameters
    ----------
    key : tuple
        The parts, None for each that the model does not have.

    Attributes
    ----------
    key : tuple
        The parts, None for each that the model does not have.
    parts : dict
        The parts that the model has, by name.
    shapes : tuple
        Names and shapes of all parameters.
    drawing : list of Runner
        Runners of the parts whose forward takes `call`.
    """

    def __init__(self, key: tuple[Any, ...]) -> None:
        self.key = key
        pairs = zip(PARTS, key, strict=True)
        present = {name: part for name, part in pairs if part is not None}
        self.parts = {name: layer_of(part) for name, part in present.items()}
        self.shapes = tuple(
            (f"{place}.{name}", array.shape)
            for place, part in self.parts.items()
            for name, array in part.params.items()
        )
        self.drawing = [runner for runner in map(Runner, present.values()) if runner.takes_call]

    def __reduce__(self) -> Any:
        return PartsCache, ((None,) * len(PARTS),)  # a copy of the model has other parts


class Seq2SeqParts(EncoderDecoder):
    """Base of `Seq2Seq`: makes and describes its parts. `Seq2Seq` documents the arguments."""

    source_embedding: Embedding | None = None
    target_embedding: Embedding | None = None
    bridge: Dense | None = None
    attention: Attention | None = None
    source_symbols, target_symbols = Fixed[int | None](), Fixed[int | None]()
    input_feeding, seed = Fixed[bool](), Fixed[int]()

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
        sizes = {"source_symbols": source_symbols, "target_symbols": target_symbols}
        vars(self).update({k: checks.check_symbol_count(k, size) for k, size in sizes.items()})
        if attention is not None:
            check_kind(attention)
        self.memory_size = memory_size(decoder)
        if self.memory_size is not None and attention is not None:
            raise ValueError(
                "attention: expected None for a decoder with memory_size, whose layers have "
                f"attention of their own, got {attention!r}"
            )
        feeding, seed = check_flag("input_feeding", input_feeding), check_seed(seed)
        vars(self).update(input_feeding=feeding, seed=seed)
        parts_dtype = dtype_of(encoder, decoder) if dtype is None else check_dtype(dtype)
        self.encoder, self.decoder = as_dtype(encoder, parts_dtype), as_dtype(decoder, parts_dtype)
        self._readers, self._plans = Readers(), DecoderPlans()
        self._make_parts(attention, parts_dtype)

    def _make_parts(self, score: AttentionScore | None, dtype: np.dtype[Any]) -> None:
        """Make the embeddings, the bridge, the attention and the output layer."""
        self.source_width = self._source_width()
        if self.source_symbols is not None:
            options = self._options("source_embedding", dtype)
            self.source_embedding = Embedding(self.source_symbols, self.source_width, **options)
        C, state = self._probe_encoder(score, dtype)
        self.decoder_output, self.start_like = self._probe_decoder(dtype)
        if score is None and self.memory_size is None:
            _check_numbers("decoder", self.decoder, self.start_like)
        if self.fixed and not (self.source_width and self.source_symbols is None):
            raise ValueError(
                "encoder: expected a layer with a state, or one that returns one vector per "
                f"sequence, for symbols without attention, got {self.encoder!r:.100}"
            )
        if score is None and self.memory_size is None:
            check_no_counts("decoder", self.decoder, self.start_like, "; use attention")
        self.bridge = bridge_for(state, self.start_like, **self._options("bridge", dtype))
        if score is not None:
            options = self._options("attention", dtype)
            self.attention = Attention(score, self.decoder_output, C, **options)
        self.target_width = self._target_width(C)
        if self.target_symbols is not None:
            options = self._options("target_embedding", dtype)
            self.target_embedding = Embedding(self.target_symbols, self.target_width, **options)
        input_size = self.decoder_output + (0 if score is None else C)
        output_size = self.target_symbols or self.target_width
        self.output = Dense(input_size, output_size, **self._options("output", dtype))

    def _options(self, part: str, dtype: np.dtype[Any]) -> dict[str, Any]:
        """Return dtype and seed of a new part."""
        seed = weights.seed_of_part(self.seed, weights.PARTS_STREAM, NEW_PARTS.index(part))
        return {"dtype": dtype, "seed": seed}

    def _source_width(self) -> int:
        """Return I, or 0 for an encoder that begins with an embedding."""
        width = checks.check_encoder(self.encoder)
        if width is None and (self.encoder_symbols is None or self.source_symbols is not None):
            raise ValueError(
                "encoder: expected a layer that reads vectors of a fixed size (input_size), "
                f"got {self.encoder!r:.100}"
            )
        return width or 0

    def _probe_encoder(self, score: AttentionScore | None, dtype: np.dtype[Any]) -> tuple[int, Any]:
        """Return C, and the state or vector of one row from which the decoder starts."""
        keeps_time = layer_of(self.encoder).keeps_time
        reads_steps = score is not None or self.memory_size is not None
        if reads_steps and not keeps_time:
            raise ValueError(
                "encoder: expected a layer that keeps the time axis, which attention needs, "
                f"got {self.encoder!r:.100}"
            )
        width = self.source_width
        one = np.zeros((1, 1, width), dtype) if width else np.zeros((1, 1), np.int64)
        y, state, _ = run_part(self, "encoder", EVALUATION, one, None, False)
        C, pooled, state = int(y.shape[-1]), not keeps_time, handed_on(state)
        if not reads_steps and not pooled:
            _check_numbers("encoder", self.encoder, state)
        if self.memory_size not in (None, C):
            raise ValueError(
                f"decoder: expected memory_size={C}, the features of the encoder's output, got "
                f"{self.memory_size}"
            )
        self.fixed = not reads_steps and not pooled and not arrays_of(state)
        self.one_vector = pooled or self.fixed
        return C, np.zeros((1, C), dtype) if self.one_vector else state

    def _probe_decoder(self, dtype: np.dtype[Any]) -> tuple[int, Any]:
        """Return P, and a state of one row."""
        one = np.zeros((1, 1, self.decoder_width), dtype)
        memory = np.zeros((1, 1, self.memory_size or 0), dtype)
        start = with_memory(self.decoder, memory, None)
        y, state, _ = run_part(self, "decoder", EVALUATION, one, start, False)
        if not arrays_of(state):
            raise ValueError(f"decoder: expected one with a state, got {self.decoder!r:.100}")
        return int(y.shape[-1]), state

    def _target_width(self, C: int) -> int:
        """Return E."""
        if not self.feeds_context:
            return self.decoder_width
        check_no_counts("decoder", self.decoder, self.start_like, "; use input_feeding=False")
        h = last_h(self.start_like)
        if h.shape != (1, self.decoder_output):
            raise ValueError(
                "decoder: expected an output with as many units as its last h, because input "
                "feeding computes the context from either, "
                f"got {self.decoder_output} and {h.shape[1]}"
            )
        if self.decoder_width <= C:
            raise ValueError(
                f"decoder: expected an input_size above C={C}, because with input feeding its "
                f"input includes the context of C features, got {self.decoder_width}"
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
        return self._parts_cache().parts

    @property
    def feeds_context(self) -> bool:
        """Whether the input of the decoder includes the context (input feeding)."""
        return self.input_feeding and self.attention is not None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of parameters and outputs."""
        return self.output.dtype

    @property
    def output_size(self) -> int:
        """Width of the logits: K of the target's symbols, or E for vectors."""
        return self.output.output_size

    @property
    def encoder_symbols(self) -> int | None:
        """K of the embedding with which the encoder begins, None without one."""
        encoder = layer_of(self.encoder)
        return encoder.symbols if encoder.input_size is None else None

    @property
    def source_reader(self) -> Reader:
        """Reader of the source: its embedding, if any, and the encoder."""
        return self._readers.of("source", self.source_embedding, self.encoder)

    @property
    def target_reader(self) -> Reader:
        """Reader of the target: its embedding, if any, and the decoder, without input feeding."""
        return self._readers.of("target", self.target_embedding, self.decoder)

    @property
    def identity(self) -> tuple[Any, ...]:
        """Key that is equal for models that can use each other's tapes."""
        score = None if self.attention is None else self.attention.kind
        return type(self).__name__, score, self.feeds_context, self._parts_cache().shapes

    @property
    def stochastic(self) -> bool:
        """Whether a part draws random numbers that depend on `call`, in training."""
        for runner in self._parts_cache().drawing:  # any() would be slower
            if runner.from_outside or runner.layer.stochastic:
                return True
        return False

    def _parts_cache(self) -> PartsCache:
        """Return the cache, made anew if one of the parts is another object."""
        parts = _parts_of(self)
        cache: PartsCache | None = self.__dict__.get("_cache")
        if cache is None or not all(map(is_, cache.key, parts)):
            cache = self._cache = PartsCache(parts)
        return cache

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


def _check_numbers(name: str, layer: Any, state: Any) -> None:
    """Raise ValueError for a state of one row whose arrays have no numbers."""
    arrays = arrays_of(state)
    if arrays and not any(array.size for array in arrays):
        raise ValueError(
            f"{name}: expected a layer whose state has numbers, got {layer!r:.100}; use attention"
        )


def new_parameter_count(
    encoder: Widths | None,
    decoder: Widths | None,
    source_symbols: int | None = None,
    target_symbols: int | None = None,
    attention: AttentionScore | None = None,
    input_feeding: bool = True,
) -> int:
    """Return the number of parameters of the `NEW_PARTS` of a Seq2Seq.

    A lower bound where a width is unknown, because the encoder or decoder is of a user's class.
    """
    K_source = checks.check_symbol_count("source_symbols", source_symbols) or 0
    K_target = checks.check_symbol_count("target_symbols", target_symbols) or 0
    if encoder is None or decoder is None or encoder.output is None or decoder.output is None:
        return K_source + 3 * K_target
    C, P = encoder.output, decoder.output
    one_vector = encoder.timeless or (attention is None and not encoder.state)
    state = () if encoder.counts else encoder.state  # neither handed on nor mapped
    start = () if decoder.counts else decoder.state
    bridge = bridge_sizes([C] if one_vector else list(state), list(start))
    context = 0 if attention is None else C
    width = max(0, (decoder.input or 0) - (context if input_feeding else 0))
    new: list[Shapes] = []
    if K_source and encoder.input:
        new.append(Embedding._shapes(K_source, encoder.input))
    if K_target and width:
        new.append(Embedding._shapes(K_target, width))
    if bridge is not None:
        new.append(Dense._shapes(*bridge))
    if attention is not None:
        new.append(Attention._shapes(attention, P, C))
    if K_target or width:
        new.append(Dense._shapes(P + context, K_target or width))
    return sum(map(count_of, new))


def dtype_of(*layers: Any) -> np.dtype[Any]:
    """Return the dtype of the first layer that has parameters, float32 without one."""
    for layer in layers:
        for array in layer.params.values():
            return check_dtype(array.dtype)
    return np.dtype("float32")
