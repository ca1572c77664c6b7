"""Bidirectional layers: two recurrent layers that read the same rows in both directions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import cached_property
from operator import attrgetter
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike

import crnn._core as _core
from crnn.common.arrays import Array, underflows
from crnn.common.checks import check_array
from crnn.common.choices import Merge
from crnn.common.representation import never_raising
from crnn.layers.base import weights
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.description import Widths, build, describe, parameter_count, widths_of
from crnn.layers.base.layer import Layer, Temporal, check_layer
from crnn.layers.base.nodes import Graph, Nodes, runs_unchanged
from crnn.layers.base.places import backward_part, check_part, run_part
from crnn.layers.compose.merging import merged, split
from crnn.layers.compose.mirrored import Mirrored
from crnn.layers.compose.planned import Planned, PlannedTape, RunsPlanned, Stages, planned_model
from crnn.layers.recurrent.base import Recurrent
from crnn.layers.recurrent.cells import cell_classes

MERGES = get_args(Merge)

_unchanged = _core.unchanged


class Pair:
    """What a Bidirectional is made of. It is replaced as a whole, and copied without its plans.

    Parameters
    ----------
    forward, backward : layers
    merge : str
    """

    def __init__(self, forward: Any, backward: Any, merge: Merge) -> None:
        self.forward, self.backward, self.merge = forward, backward, merge
        self.plans: Plans | None = None

    def __reduce__(self) -> Any:
        return Pair, (self.forward, self.backward, self.merge)


class Plans(Stages):
    """The plans of a Bidirectional, by its number in a model; None: it has none."""

    def __init__(self, pair: Pair) -> None:
        super().__init__([pair.forward, pair.backward])
        self.pair, self.made = pair, dict[int, Planned | None]()


class PairTape:
    """Tapes of both layers of a Bidirectional.

    Parameters
    ----------
    pair : Pair
        What the Bidirectional is made of.
    tapes : list
        The tapes of the forward and the backward layer.
    outputs : function
        Returns their outputs.
    """

    def __init__(self, pair: Pair, tapes: list[Any], outputs: Callable[[], list[Array]]) -> None:
        self.forward, self.backward = tapes
        self.outputs, self.merge = outputs, pair.merge
        first, second = [y.shape for y in outputs()]
        #: The shape of y.
        self.shape = *first[:-1], first[-1] + (second[-1] if pair.merge == "concat" else 0)
        self._of = ""
        if all(isinstance(tape, _core.Tape) for tape in tapes):
            cells = pair.forward._core_type, pair.backward._core_type
            self._of = f" of {cells[0].__name__} and {cells[1].__name__}"

    @property
    def parts(self) -> dict[str, Any]:
        """The tapes of both layers, by name."""
        return {"forward": self.forward, "backward": self.backward}

    @never_raising
    def __repr__(self) -> str:
        B, T, F = self.shape
        return f"<PairTape{self._of}: B={B}, T={T}, F={F}, merge {self.merge!r}>"


class Bidirectional(RunsPlanned):
    """Bidirectional layer: one layer reads each row forwards, another one backwards.

    Schuster and Paliwal, "Bidirectional recurrent neural networks" (1997).

    Parameters
    ----------
    layer : RNN, LSTM, GRU, JANET, MinGRU, MinLSTM, or another `Temporal` layer
        The layer that reads forwards. The backward layer is a second layer with the same options,
        which is frozen if this one is.
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
        if isinstance(layer, Recurrent):
            backward_layer = _reversed(layer)
        elif isinstance(layer, Temporal) and not isinstance(layer, _core.Recurrent):
            check_layer("layer", layer)
            if layer.reads_backwards or not layer.keeps_time:
                raise ValueError(
                    "layer: expected one that reads forwards and keeps the time axis; the backward "
                    f"layer is made from it, got {layer!r:.200}"
                )
            backward_layer = Mirrored(_second(layer))
        else:
            raise TypeError(
                f"layer: expected a recurrent layer ({', '.join(cell_classes())}), or another "
                f"crnn.Temporal, got {layer!r:.200}"
            )
        if merge not in MERGES:
            names = ", ".join(map(repr, MERGES[:-1]))
            raise ValueError(f"merge: expected {names} or {MERGES[-1]!r}, got {merge!r:.60}")
        backward_layer.trainable = layer.trainable
        self._pair = Pair(layer, backward_layer, merge)

    @cached_property  # which __init__ sets
    def _pair(self) -> Pair:
        raise RuntimeError("the layer has no parts: its __init__ was not called")

    forward_layer = property(attrgetter("_pair.forward"))
    backward_layer = property(attrgetter("_pair.backward"))
    merge = property(attrgetter("_pair.merge"))

    directions = property(lambda self: self.parts)
    input_size = property(lambda self: layer_of(self.forward_layer).input_size)

    @property
    def output_size(self) -> int | None:
        """Features of y: those of one layer, or of both for "concat"."""
        size = layer_of(self.forward_layer).output_size
        return size if size is None or self.merge != "concat" else 2 * size

    symbols = property(lambda self: layer_of(self.forward_layer).symbols)
    reads_backwards = True

    @property
    def receptive_field(self) -> float:
        """Number of steps of x on which a step of y depends: those before it and those after it."""
        parts = map(layer_of, (self.forward_layer, self.backward_layer))
        return sum(part.receptive_field for part in parts) - 1

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

    def __getstate__(self) -> dict[str, Any]:
        return {"_pair": self._pair, **self.__dict__}

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 4:  # of a pickle with a layer of the core
            state = {"_pair": Pair(*state[:3]), **state[3]}
        elif isinstance(state, dict) and "_pair" not in state:  # or with another layer
            names = "forward_layer", "backward_layer", "merge"
            state = {"_pair": Pair(*(state.pop(name) for name in names)), **state}
        super().__setstate__(state)

    def add_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        if not runs_unchanged(self, Bidirectional):
            return None
        pair = self._pair
        graph.embedding = None  # both layers read its vectors
        filled = graph.filled
        first = graph.add_reader(x, lambda read: pair.forward.add_nodes(graph, read, number))
        graph.filled = filled  # x has not changed
        second = graph.add_reader(x, lambda read: pair.backward.add_nodes(graph, read, number))
        if first is None or second is None:
            return None
        sources = first.value, second.value
        node = graph.add("rowwise", sources, (pair.merge,), None, None)
        return Nodes(
            node,
            _core.PairState((first.form, second.form)),
            lambda call: PairTape(
                pair,
                [first.tape(call), second.tape(call)],
                lambda: list(map(call.value, sources)),
            ),
        )

    watched = ("_pair",)

    def _planned(self) -> Plans:
        pair = self._pair
        plans, layers = pair.plans, [pair.forward, pair.backward]
        if plans is None or not _unchanged(layers, plans.witness):
            plans = pair.plans = Plans(pair)
        return plans

    def _plan_of(self, plans: Plans, number: Any) -> Planned | None:
        """Return the plan with a number."""
        if type(number) is not int or not 0 <= number < 2**32:
            return None
        if number not in plans.made:
            plans.made[number] = planned_model(self, number)
        return plans.made[number]

    def _at_once(
        self, x: Any, state: Any, lengths: Any, mask: Any, resets: Any, filled: Any
    ) -> tuple[Any, Any] | None:
        plans = self._planned()
        planned = plans.made.get(0) or self._plan_of(plans, 0)
        if planned is None:
            return None
        result: tuple[Any, Any] | None = planned.evaluate(
            x, state, lengths, mask, resets, False, None, 0, 0, filled, False
        )
        return result

    def _run(self, x: Any, state: Any, options: ForwardOptions, keep: bool) -> tuple[Any, Any, Any]:
        plans = self._planned()
        planned, pair = self._plan_of(plans, options.layer), plans.pair
        if planned is not None:
            result: tuple[Any, Any, Any] | None = planned.run(x, state, options, keep)
            if result is not None:
                return result
        if keep and isinstance(x, np.ndarray) and x.dtype.kind == "f":
            x = _core.kept(x)  # one copy for both layers
        starts, both = _both("state", state), list[Any]()
        for i, key in enumerate(("forward_layer", "backward_layer")):
            own = options if isinstance(pair.forward, Recurrent) else options.for_part(i)
            both.append(run_part(self, key, own, x, starts[i], keep))
        (y, forward, forward_tape), (y2, backward, backward_tape) = both
        outputs = _floats([y, y2], getattr(pair.forward, "dtype", np.float32), pair.merge, keep)
        tape = PairTape(pair, [forward_tape, backward_tape], lambda: outputs)
        return merged(outputs, pair.merge), _core.PairState((forward, backward)), tape

    def check_backward(self, tape: Any, dstate: Any) -> None:
        if type(tape) is PlannedTape:
            planned = self._plan_of(self._planned(), tape.planned.number)
            if planned is not None and planned.core.check(tape.core, dstate):
                return
            tape = tape.layers
        merge = self.merge
        if not isinstance(tape, PairTape):
            raise TypeError(f"tape: expected the PairTape that forward returned, got {tape!r:.200}")
        if tape.merge != merge:
            raise ValueError(
                f"tape: expected one of a layer with merge {merge!r}, got merge {tape.merge!r}"
            )
        forward, backward = _both("dstate", dstate)
        check_part(self, "forward_layer", tape.forward, forward)
        check_part(self, "backward_layer", tape.backward, backward)

    def backward(
        self, tape: Any, dy: ArrayLike | None, dstate: Any = None, *, trace: bool = False
    ) -> tuple[Any, Any]:
        if type(tape) is PlannedTape:
            planned = self._plan_of(self._planned(), tape.planned.number)
            result: tuple[Any, Any] | None = None
            if planned is not None:
                result = planned.backward(self, tape, dy, dstate, trace)
            if result is not None:
                return result
            tape = tape.layers
        return super().backward(tape, dy, dstate, trace=trace)

    def _checked_dy(self, tape: Any, dy: Any) -> list[Any]:
        """Return the gradients of the outputs of both layers."""
        if dy is None:
            return [None, None]
        dy = check_array("dy", dy, "floats", tape.shape)
        outputs = tape.outputs()
        return split(np.asarray(dy, outputs[0].dtype), outputs, tape.merge)

    def _back(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        dends = _both("dstate", dstate)
        dx, forward = backward_part(self, "forward_layer", tape.forward, dy[0], dends[0])
        dx2, backward = backward_part(self, "backward_layer", tape.backward, dy[1], dends[1])
        return None if dx is None or dx2 is None else dx + dx2, _core.PairState((forward, backward))


#: The class of layers around layers that are not of the core, in pickles of earlier versions.
AnyBidirectional = Bidirectional


def _both(name: str, given: Any) -> tuple[Any, Any]:
    """Return the states of both layers."""
    if given is None:
        return None, None
    if not isinstance(given, list | tuple) or len(given) != 2:
        raise TypeError(
            f"{name}: expected None or the pair (forward, backward) of states, got {given!r:.200}"
        )
    return given[0], given[1]


@underflows
def _floats(outputs: list[Any], dtype: Any, merge: Merge, copy: bool) -> list[Array]:
    """Return outputs as floats of one type, float64 if one of them is."""
    arrays = list(map(np.asarray, outputs))
    for array in arrays:
        if array.dtype.kind not in "fiub":
            raise TypeError(f"y: expected real numbers from both layers, got {array.dtype}")
    axes = slice(2 if merge == "concat" else None)
    if arrays[0].shape[axes] != arrays[1].shape[axes]:
        raise ValueError(
            f"y: expected the same shape from both layers for merge {merge!r}, got shapes "
            f"{arrays[0].shape} and {arrays[1].shape}"
        )
    if any(array.dtype == np.float64 for array in arrays):
        dtype = np.float64
    return [array.astype(dtype, copy=copy) for array in arrays]


def _reversed(layer: Any) -> Any:
    """Return a recurrent layer with the same options that reads backwards, with another seed."""
    config = layer.config
    if config["reverse"]:
        raise ValueError(
            "layer: expected one with reverse=False; the backward layer is made from it"
        )
    seed = weights.seed_of_part(config["seed"], weights.MIRROR_STREAM)
    return type(layer).from_config(config | {"reverse": True, "seed": seed})


def _second(layer: Any) -> Any:
    """Return a layer with the same configuration, and another seed if it has one."""
    config = layer.config
    if not config:
        return copy.deepcopy(layer)
    if isinstance(config.get("seed"), int):
        config = config | {"seed": weights.seed_of_part(config["seed"], weights.MIRROR_STREAM)}
    return type(layer).from_config(config)
