"""Decoders whose layers have nodes, with attention: the core runs all steps in one call.

The results equal those of `crnn.seq2seq.stepwise`, which runs any decoder through its public
methods, up to rounding.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import crnn._core as _core
from crnn.common.arrays import Array, Lengths
from crnn.layers.attention.alignment import MemoryGradient
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.compose.planned import Expansion
from crnn.seq2seq.decoding import Decoded, DecodedGradient
from crnn.seq2seq.encoding import Encoding
from crnn.seq2seq.plans import DecoderPlan

if TYPE_CHECKING:
    from crnn.seq2seq.parts import Seq2SeqParts


def decoder_plan(model: Seq2SeqParts, layer: int = 0) -> DecoderPlan | None:
    """Return the plan of the decoder of a model with the number `layer`.

    None where the core cannot run the decoder in one call.
    """
    return model._plans.of(model, layer, False)


def generation_plan(model: Seq2SeqParts) -> DecoderPlan | None:
    """Return the plan of the decoder and the output layer of a model of symbols.

    None where the core cannot run both in one call.
    """
    return model._plans.of(model, 0, True)


class PlannedDecoderTape(NamedTuple):
    """Tape of a decoder that the core ran in one call."""

    core: Any
    plan: DecoderPlan
    options: ForwardOptions

    def check_backward(self, model: Seq2SeqParts) -> None:
        plan = decoder_plan(model, self.options.layer)
        if plan is None or not plan.core.check(self.core, None):
            raise ValueError(
                f"tape: expected one of a decoder like {model.decoder!r:.200}, "
                f"got one of another decoder: {self.core!r}"
            )

    def backward(self, model: Seq2SeqParts, doutputs: Array) -> DecodedGradient:
        plan = decoder_plan(model, self.options.layer)
        assert plan is not None
        gradients = plan.core.backward(model, self.core, doutputs, None, False)
        assert gradients is not None  # check_backward was called before
        dinputs, dstart, dkeys, dvalues = gradients
        if dkeys is None:
            return DecodedGradient(dinputs, None, dstart)
        return DecodedGradient(dinputs, MemoryGradient(dvalues, dkeys), dstart)

    def decoder_tape(self, model: Seq2SeqParts) -> Any:
        return self.plan.nodes.tape(Expansion(self.core, self.options))


def decode(
    model: Seq2SeqParts,
    target: Array,
    encoding: Encoding,
    lengths: Lengths,
    options: ForwardOptions,
) -> Decoded | None:
    """Run a decoder with input feeding over the steps of a target.

    The parameters are those of `crnn.seq2seq.decoding.decode`. The result is None where the core
    cannot run the decoder in one call.
    """
    plan, memory = decoder_plan(model, options.layer), encoding.memory
    if plan is None or memory is None:
        return None
    training, call, row = options.training, options.call or 0, options.first_row
    source = memory.keys, memory.values, memory.lengths
    result = plan.core.forward(
        target,
        encoding.state,
        lengths,
        None,  # mask
        None,  # resets
        training,
        call,
        row,
        0,  # first_step
        False,  # filled
        True,  # keep
        source,
        options.needs_dx is not False,
    )
    if result is None:
        return None
    outputs, _, tape = result
    made = PlannedDecoderTape(tape, plan, options._replace(lengths=lengths))
    return Decoded(outputs, tape.weights, target, made)


# --------------------------------------------------------------------------------------------------
# Generation
# --------------------------------------------------------------------------------------------------

#: Number of multiply-adds per step of one layer from which the rows are divided among threads.
SHARED_WORK = 1e5


def shares(model: Seq2SeqParts, rows: int) -> list[tuple[int, int]]:
    """Return how rows are divided among threads: the first row and the end of each share."""
    threads = min(_core.num_threads(), rows)
    if rows * model.decoder_output * model.decoder_output < SHARED_WORK:
        threads = 1
    ends = [rows * i // threads for i in range(threads + 1)] if threads else [0, 0]
    return list(itertools.pairwise(ends))


def generate_symbols(
    plan: DecoderPlan, encoding: Encoding, start: NDArray[np.int64], searches: Sequence[Any]
) -> None:
    """Run searches to their ends; each row of the encoding is the source of one group.

    Parameters
    ----------
    plan : DecoderPlan
        A `generation_plan`.
    encoding : Encoding
        The encoding of the sources.
    start : array (B,)
        The first input symbol of each row.
    searches : sequence of Search
        Searches over consecutive groups of rows; each may run on its own thread.
    """
    if not len(start):
        return
    memory = encoding.memory
    source = None if memory is None else (memory.keys, memory.values, memory.lengths)
    stream = plan.core.stream(len(start), encoding.state, source)
    assert stream is not None  # no part of a decoder reads backwards
    stream._generate(start, tuple(searches))
