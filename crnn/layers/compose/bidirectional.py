"""Bidirectional layers: two recurrent layers that read the same rows in both directions."""

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
from crnn.common.representation import never_raising, tape_text
from crnn.layers.base import weights
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.description import Widths, build, describe, parameter_count, widths_of
from crnn.layers.base.layer import Layer, Temporal, check_layer
from crnn.layers.base.places import backward_part, check_part, run_part
from crnn.layers.base.tapes import check_tape
from crnn.layers.compose.base import Composition, RunsParts
from crnn.layers.compose.merging import merged, split
from crnn.layers.compose.mirrored import Mirrored
from crnn.layers.recurrent.cells import Recurrent, cell_classes

MERGES = get_args(Merge)


class Bidirectional(_core.Bidirectional, Composition):
    """Bidirectional layer: one layer reads each row forwards, another one backwards.

    Schuster and Paliwal, "Bidirectional recurrent neural networks" (1997).

    Parameters
    ----------
    layer : RNN, LSTM, GRU, JANET, or another `Temporal` layer
        The layer that reads forwards. The backward layer is a second layer with the same options.
        Its initial weights are drawn from a seed that is computed from the seed of `layer`. A class
        of your own needs no option for the direction: its copy gets each row in reverse order.
    merge : {"concat", "sum", "mean", "mul"}, default "concat"
        How the outputs of both layers are merged at each step. "concat": side by side, (B, T, 2H).
        The others: elementwise sum, mean or product, (B, T, H).

    Attributes
    ----------
    forward_layer, backward_layer : recurrent layers
        Their parameters have the names "forward.W_x", ..., and "backward.W_x", ...
    merge : str
        As passed.

    Raises
    ------
    TypeError, ValueError
        If `layer` is no recurrent layer, or reads backwards itself, or `merge` is unknown.

    See Also
    --------
    LastState : Last states of both layers as one vector for each row.

    Notes
    -----
    The state is the pair (forward, backward) of the states of both layers: the state after the last
    valid step, and the state after step 0. The tapes of both layers are ``tape.forward`` and
    ``tape.backward``. A bidirectional layer cannot run step by step.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer = crnn.Bidirectional(crnn.LSTM(3, 8, seed=0))
    >>> y, (forward, backward) = layer(np.ones((2, 5, 3)), lengths=[5, 2])
    >>> y.shape, backward[0].shape
    ((2, 5, 16), (2, 8))
    >>> bool((y[:, 0, 8:] == backward[0]).all())  # the backward layer ends at step 0
    True
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
                "layer: expected one with reverse=False; the backward layer is made from it"
            )
        seed = weights.seed_of_part(config["seed"], weights.MIRROR_STREAM)
        backward_layer = type(layer).from_config(config | {"reverse": True, "seed": seed})
        super().__init__(cast(Any, layer), cast(Any, backward_layer), merge)

    directions = property(lambda self: self.parts)
    input_size = property(lambda self: layer_of(self.forward_layer).input_size)

    @property
    def output_size(self) -> int | None:
        """Features of y: those of one layer, or of both for "concat"."""
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
        inner = widths_of(config["layer"])
        if inner is None or inner.output is None:
            return None
        sides = 2 if config["merge"] == "concat" else 1
        last = tuple(sides * width for width in inner.last)
        return Widths(inner.input, sides * inner.output, 2 * inner.state, last=last)

    @never_raising
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
    """Return whether a layer is an instance of a class of the core, or of a subclass."""
    return isinstance(layer, _core.Recurrent)


class BidirectionalTape(NamedTuple):
    """Tapes of both layers, and copies of their outputs."""

    forward: Any
    backward: Any
    outputs: list[Array]

    @property
    def parts(self) -> dict[str, Any]:
        """The tapes of both layers, by name."""
        return {"forward": self.forward, "backward": self.backward}

    @never_raising
    def __repr__(self) -> str:
        return tape_text(self)


class AnyBidirectional(RunsParts, Bidirectional):
    """Bidirectional layer around a layer that is not of the core. `Bidirectional` makes it."""

    forward_layer: Any = None
    backward_layer: Any = None
    merge: Any = "concat"

    def __init__(self, layer: Temporal, merge: Merge = "concat") -> None:
        check_layer("layer", layer)
        if layer.reads_backwards or not layer.keeps_time:
            raise ValueError(
                "layer: expected one that reads forwards and keeps the time axis; the backward "
                f"layer is made from it, got {layer!r:.200}"
            )
        if merge not in MERGES:
            raise ValueError(f"merge: expected {', '.join(map(repr, MERGES))}, got {merge!r:.60}")
        self.forward_layer, self.merge = layer, merge
        self.backward_layer = Mirrored(_second(layer))

    @never_raising
    def __repr__(self) -> str:
        return super().__repr__().replace(type(self).__name__, "Bidirectional", 1)

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self),), self.__dict__  # type: ignore[attr-defined]

    __setstate__ = Layer.__setstate__

    def _run(self, x: Any, state: Any, options: ForwardOptions, keep: bool) -> tuple[Any, Any, Any]:
        starts = states_of("state", state, 2)
        both = [
            run_part(self, key, options.for_part(i), x, starts[i], keep)
            for i, key in enumerate(("forward_layer", "backward_layer"))
        ]
        outputs = [np.array(y) if keep else y for y, _, _ in both]
        (_, forward, forward_tape), (_, backward, backward_tape) = both
        tape = BidirectionalTape(forward_tape, backward_tape, outputs)
        return merged(outputs, self.merge), _core.PairState((forward, backward)), tape

    def check_backward(self, tape: Any, dstate: Any) -> None:
        check_tape(tape, BidirectionalTape)
        forward, backward = states_of("dstate", dstate, 2)
        check_part(self, "forward_layer", tape.forward, forward)
        check_part(self, "backward_layer", tape.backward, backward)

    def _back(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        dends = states_of("dstate", dstate, 2)
        dys: list[Any] = [None, None]
        if dy is not None:
            check_like("dy", dy, merged(tape.outputs, self.merge))
            dys = split(np.asarray(dy, tape.outputs[0].dtype), tape.outputs, self.merge)
        dx, forward = backward_part(self, "forward_layer", tape.forward, dys[0], dends[0])
        dx2, backward = backward_part(self, "backward_layer", tape.backward, dys[1], dends[1])
        return None if dx is None else dx + dx2, _core.PairState((forward, backward))


def _second(layer: Any) -> Any:
    """Return a layer with the same configuration, and another seed if it has one."""
    config = layer.config
    if not config:
        return copy.deepcopy(layer)
    if isinstance(config.get("seed"), int):
        config = config | {"seed": weights.seed_of_part(config["seed"], weights.MIRROR_STREAM)}
    return type(layer).from_config(config)
