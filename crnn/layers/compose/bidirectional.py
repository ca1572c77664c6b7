"""A recurrent layer and its mirror."""

from __future__ import annotations

import copy
import copyreg
from collections.abc import Mapping
from typing import Any, NamedTuple, cast, get_args

import numpy as np

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.choices import Merge
from crnn.common.nested import check_like, states_of
from crnn.layers.base import weights
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.description import Widths, build, describe, parameter_count, widths_of
from crnn.layers.base.layer import Layer, Temporal, check_layer
from crnn.layers.base.places import back_in, check_in, run_in
from crnn.layers.base.tapes import check_tape
from crnn.layers.compose.base import Composition, RunsParts
from crnn.layers.compose.merging import merged, split
from crnn.layers.compose.mirrored import Mirrored
from crnn.layers.recurrent.cells import Recurrent, cell_classes

MERGES = get_args(Merge)


class Bidirectional(_core.Bidirectional, Composition):
    """A recurrent layer and a mirror of it, which reads each row from its last step to its first.

    Schuster and Paliwal, "Bidirectional recurrent neural networks" (1997).

    Parameters
    ----------
    layer : RNN, LSTM, GRU, JANET, or another `Temporal` layer
        The one that reads forwards. The mirror has the same options and weights of its own, drawn
        from the layer's seed. A layer of your own need not know how to read backwards: its mirror
        is given each row the other way round.
    merge : {"concat", "sum", "mean", "mul"}, default "concat"
        How the outputs at each step become one: side by side, (B, T, 2H), or combined, (B, T, H).

    Attributes
    ----------
    forward_layer, backward_layer : recurrent layers
        Their parameters have the names "forward.W_x", "backward.W_x", ...
    merge : str

    Raises
    ------
    TypeError, ValueError
        If `layer` is not a recurrent one, is reversed itself, or `merge` is unknown.

    Notes
    -----
    The state is the pair (forward, backward) of states; a tape has the tapes `forward` and
    `backward`.
    """

    _leading = ("layer",)

    def __init__(self, layer: Temporal, merge: Merge = "concat") -> None:
        if type(self) is Bidirectional and isinstance(layer, Temporal) and not is_of_core(layer):
            self.__class__ = AnyBidirectional
            AnyBidirectional.__init__(cast(Any, self), layer, merge)
            return
        if not isinstance(layer, Recurrent):
            raise TypeError(
                f"layer: expected a recurrent layer ({', '.join(cell_classes())}), or another "
                f"crnn.Temporal in a Bidirectional itself, got {layer!r:.200}"
            )
        config = layer.config
        if config["reverse"]:
            raise ValueError(
                "layer: expected one with reverse=False; its mirror is the reversed one"
            )
        seed = weights.seed_of_part(config["seed"], weights.MIRROR_STREAM)
        mirror = type(layer).from_config(config | {"reverse": True, "seed": seed})
        super().__init__(cast(Any, layer), cast(Any, mirror), merge)

    directions = property(lambda self: self.parts)
    input_size = property(lambda self: layer_of(self.forward_layer).input_size)

    @property
    def output_size(self) -> int | None:
        """That of either layer, or twice as many where they are side by side."""
        size = layer_of(self.forward_layer).output_size
        return size if size is None or self.merge != "concat" else 2 * size

    symbols = property(lambda self: layer_of(self.forward_layer).symbols)
    reads_backwards = True

    def with_vectors(self, symbols: Array, which: int = 0) -> tuple[Layer, Array] | None:
        return self, np.eye(self.symbols or 0)[symbols]

    @property
    def parts(self) -> dict[str, Any]:
        return {"forward": self.forward_layer, "backward": self.backward_layer}

    @property
    def config(self) -> dict[str, Any]:
        return {"layer": describe(self.forward_layer), "merge": self.merge}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Bidirectional:
        layer = build(config["layer"])
        if not isinstance(layer, Temporal):
            raise ValueError(f"layer: expected a recurrent layer, got {type(layer).__name__}")
        return cls(layer, config["merge"])

    @classmethod
    def parameter_count(cls, config: Mapping[str, Any]) -> int:
        return 2 * parameter_count(config["layer"])

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths | None:
        one = widths_of(config["layer"])
        if one is None or one.output is None:
            return None
        sides = 2 if config["merge"] == "concat" else 1
        last = tuple(sides * width for width in one.last)
        return Widths(one.input, sides * one.output, 2 * one.state, last=last)

    def __repr__(self) -> str:
        merge = "" if self.merge == "concat" else f", merge={self.merge!r}"
        return f"{type(self).__name__}({self.forward_layer!r}{merge})"

    def __reduce__(self) -> tuple[Any, ...]:
        state = (self.forward_layer, self.backward_layer, self.merge, self.__dict__)
        return copyreg.__newobj__, (type(self),), state  # type: ignore[attr-defined]

    def __setstate__(self, state: tuple[Any, Any, Merge, dict[str, Any]]) -> None:
        forward_layer, backward_layer, merge, attributes = state
        _core.Bidirectional.__init__(self, forward_layer, backward_layer, merge)
        super().__setstate__(attributes)


def is_of_core(layer: Any) -> bool:
    """Whether a layer is one of the core, with methods of its own or not."""
    return isinstance(layer, _core.Recurrent)


class BidirectionalTape(NamedTuple):
    """The tapes of both directions, and copies of their outputs."""

    forward: Any
    backward: Any
    outputs: list[Array]

    @property
    def parts(self) -> dict[str, Any]:
        """Both tapes."""
        return {"forward": self.forward, "backward": self.backward}


class AnyBidirectional(RunsParts, Bidirectional):
    """`Bidirectional` of a layer that is not one of the core; made by calling that."""

    forward_layer: Any = None
    backward_layer: Any = None
    merge: Any = "concat"

    def __init__(self, layer: Temporal, merge: Merge = "concat") -> None:
        check_layer("layer", layer)
        if layer.reads_backwards or not layer.keeps_time:
            raise ValueError(
                "layer: expected one that reads forwards and keeps the time axis; its mirror is "
                f"the reversed one, got {layer!r:.200}"
            )
        if merge not in MERGES:
            raise ValueError(f"merge: expected {', '.join(map(repr, MERGES))}, got {merge!r:.60}")
        self.forward_layer, self.merge = layer, merge
        self.backward_layer = Mirrored(_twin(layer))

    def __repr__(self) -> str:
        return super().__repr__().replace(type(self).__name__, "Bidirectional", 1)

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self),), self.__dict__  # type: ignore[attr-defined]

    __setstate__ = Layer.__setstate__

    def _run(self, x: Any, state: Any, given: ForwardOptions, keep: bool) -> tuple[Any, Any, Any]:
        before = states_of("state", state, 2)
        one, first, tape = run_in(self, "forward_layer", given.part(0), x, before[0], keep)
        other, last, mirrored = run_in(self, "backward_layer", given.part(1), x, before[1], keep)
        outputs = [np.array(one), np.array(other)] if keep else [one, other]
        y = merged(outputs, self.merge)
        return y, _core.PairState((first, last)), BidirectionalTape(tape, mirrored, outputs)

    def check_backward(self, tape: Any, dstate: Any) -> None:
        check_tape(tape, BidirectionalTape)
        first, last = states_of("dstate", dstate, 2)
        check_in(self, "forward_layer", tape.forward, first)
        check_in(self, "backward_layer", tape.backward, last)

    def _back(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        """dx, (dstate, dstate)."""
        first, last = states_of("dstate", dstate, 2)
        dys: list[Any] = [None, None]
        if dy is not None:
            check_like("dy", dy, merged(tape.outputs, self.merge))
            dys = split(np.asarray(dy, tape.outputs[0].dtype), tape.outputs, self.merge)
        dx, dfirst = back_in(self, "forward_layer", tape.forward, dys[0], first)
        other, dlast = back_in(self, "backward_layer", tape.backward, dys[1], last)
        return None if dx is None else dx + other, _core.PairState((dfirst, dlast))


def _twin(layer: Any) -> Any:
    """A layer like another, with weights of its own where its configuration makes them."""
    config = layer.config
    if not config:
        return copy.deepcopy(layer)
    if isinstance(config.get("seed"), int):
        config = config | {"seed": weights.seed_of_part(config["seed"], weights.MIRROR_STREAM)}
    return type(layer).from_config(config)
