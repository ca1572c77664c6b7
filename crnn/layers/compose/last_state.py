"""The last state of a layer as one vector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple, get_args

import numpy as np

from crnn.common.arrays import Array
from crnn.common.checks import check_choice
from crnn.common.choices import Merge, StateArrays
from crnn.common.nested import (
    arrays_of,
    check_like,
    check_no_counts,
    filled,
    filled_like,
    map_state,
)
from crnn.common.representation import tape_text
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.attributes import Checked
from crnn.layers.base.description import Widths
from crnn.layers.base.nodes import Graph, Nodes, runs_unchanged
from crnn.layers.base.places import backward_part, run_part
from crnn.layers.base.protocol import LayerLike
from crnn.layers.compose.base import Wrapper
from crnn.layers.compose.merging import merged, split

OF = get_args(StateArrays)


class Selection(NamedTuple):
    """Indices of the selected arrays of a state in `arrays_of`, and how they are merged."""

    arrays: list[int]
    merge: Merge = "concat"
    newest: bool = (
        False  # of arrays (B, D, P), which layers with delays have, those of the last step
    )


class LastStateTape(NamedTuple):
    """Tape of LastState: the tape of the layer, its last state, and the arrays merged to y."""

    layer: Any
    state: Any
    selection: Selection
    parts_of_y: list[Array]  # copies, which backward multiplies by for merge="mul"

    @property
    def parts(self) -> dict[str, Any]:
        """The tape of the layer inside."""
        return {"layer": self.layer}

    def __repr__(self) -> str:
        return tape_text(self)


class LastState(Wrapper):
    """Layer that returns the last state of another layer as one vector: (B, T, I) to (B, H).

    Parameters
    ----------
    layer : layer
        Any layer with a state. Its parameters have the names "layer.W_x", ...
    of : {"h", "c", "all"}, default "h"
        "h" or "c": the last h (B, H) or c (B, H) of the recurrent layer. "all": all arrays of the
        state side by side, in their order; for an LSTM h and c, (B, 2H), and with delays those of
        the last D steps, (B, 2*D*H).

    Attributes
    ----------
    layer : layer
        As passed.
    of : str
        As passed.

    Raises
    ------
    TypeError
        If `layer` is not a layer.
    ValueError
        If `of` is unknown. From forward: if the layer has no state, or its state has no such array.

    See Also
    --------
    Pool : Last, mean or largest output of each row.

    Notes
    -----
    For a `Bidirectional` layer, y has the last states of both layers, after the last step and after
    step 0, merged as its outputs are: (B, 2H) for "concat", else (B, H). Both layers have read the
    whole row then. ``Pool("last")`` takes an output at which the backward layer has read one step
    only. Keras returns the same vector for ``Bidirectional(..., return_sequences=False)``.

    For a `Sequential`, y is the last state of its last layer, which must have a state: put a Dense
    or Dropout after the LastState. With "all", y has the states of all its layers. In a
    `Sequential`, the layers after a LastState get no lengths, mask or resets.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> both = crnn.Bidirectional(crnn.LSTM(3, 8, seed=0))
    >>> model = crnn.Sequential([crnn.LastState(both), crnn.Dense(16, 2, seed=1)])
    >>> y, state = model(np.zeros((4, 7, 3)), lengths=[7, 3, 1, 5])
    >>> y.shape
    (4, 2)
    """

    keeps_time = keeps_features = False
    receptive_field, _tape = math.inf, LastStateTape
    _arguments = ("of",)
    of = Checked[StateArrays](partial(check_choice, choices=OF))

    def __init__(self, layer: LayerLike, of: StateArrays = "h") -> None:
        super().__init__(layer)
        self.of = of

    @property
    def output_size(self) -> int | None:
        """Width of h or c, depending on `of`; None if it is not known."""
        widths = last_sizes(self.inner) if self.of != "all" else ()
        place = OF.index(self.of)
        return widths[place] if place < len(widths) else None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LastState:
        """Make a layer from a configuration. Old configurations have no `of`, and mean "all"."""
        return super().from_config({"of": "all", **config})

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths | None:
        inner, of = super()._widths(config), config.get("of", "all")
        if inner is None:
            return None
        if of == "all":
            return Widths(inner.input, sum(inner.state), inner.state, timeless=True)
        if len(inner.last) <= OF.index(of):
            raise ValueError(f"of: expected an array of the state of the layer, got {of!r}")
        return Widths(inner.input, inner.last[OF.index(of)], inner.state, timeless=True)

    def _run(
        self, x: Any, state: Any, options: ForwardOptions, keep: bool
    ) -> tuple[Any, Any, LastStateTape]:
        _, after, tape = run_part(self, "layer", options.for_part(0), x, state, keep)
        selection, arrays = self._selection(after), arrays_of(after)
        flat = [_flat(_seen(arrays[i], selection)) for i in selection.arrays]
        return merged(flat, selection.merge), after, LastStateTape(tape, after, selection, flat)

    def _selection(self, state: Any) -> Selection:
        """Select arrays of a state of the layer."""
        count = len(arrays_of(state))
        if not count:
            raise ValueError(f"layer: expected one with a state, got {self.layer!r:.100}")
        if self.of == "all":
            _check_vectors(self.layer, state)
        return (
            Selection(list(range(count)))
            if self.of == "all"
            else _select(self.inner, state, self.of)
        )

    def add_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        if not runs_unchanged(self, LastState):
            return None
        inner = self._inner_nodes(graph, x, number)
        if inner is None:
            return None
        numbers: list[Any] = arrays_of(inner.form)
        if not all(map(graph.is_recurrent, numbers)):
            return None
        state: Any = map_state(graph.parts_of_state, inner.form)
        try:
            selection = self._selection(state)
        except ValueError:
            return None
        parts: list[Any] = arrays_of(state)
        if any(graph.layer_of_state(part).state_depth > 1 for part in parts):
            return None
        # the tape has the whole state; the last node is y
        order = sorted(range(len(parts)), key=lambda i: i in selection.arrays)
        nodes = {i: graph.add_state(parts[i]) for i in order}
        selected = [nodes[i] for i in selection.arrays]
        y = selected[0]
        for node in selected[1:]:
            y = graph.add("rowwise", (y, node), (selection.merge,), None, None)

        def tape(call: Any) -> LastStateTape:
            after = filled(state, [call.value(nodes[i]) for i in range(len(parts))])
            return LastStateTape(
                inner.tape(call), after, selection, list(map(call.value, selected))
            )

        return Nodes(y, inner.form, tape)

    watched = (*Wrapper.watched, "of")

    def _checked_dy(self, tape: Any, dy: Any) -> Any:
        check_like("dy", dy, merged(tape.parts_of_y, tape.selection.merge))
        return dy

    def _back(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        dtype = tape.parts_of_y[0].dtype
        total = [np.array(part, dtype) for part in arrays_of(filled_like(tape.state, dstate))]
        if dy is not None:
            dparts = split(np.asarray(dy, dtype), tape.parts_of_y, tape.selection.merge)
            for i, dpart in zip(tape.selection.arrays, dparts, strict=True):
                seen = _seen(total[i], tape.selection)
                seen += dpart.reshape(seen.shape)
        return backward_part(self, "layer", tape.layer, None, filled(tape.state, total))


def last_sizes(layer: Any) -> tuple[int, ...]:
    """Return the widths of h and c of the last layer inside, merged for both directions."""
    if layer.stages:
        return last_sizes(layer.stages[-1])
    if layer.directions:
        first, *_ = layer.directions.values()
        return tuple((2 if layer.merge == "concat" else 1) * width for width in last_sizes(first))
    return tuple(layer.state_sizes) if layer.inner is None else last_sizes(layer.inner)


def _select(layer: Any, state: Any, of: str) -> Selection:
    """Select h or c of the last recurrent layer inside from the state of a layer."""
    if layer.stages:
        last = layer.stages[-1]
        if not arrays_of(state[-1]):
            raise ValueError(
                "layer: expected a Sequential whose last layer has a state, got one that ends in "
                f"{last!r:.100}; put layers without a state after the LastState"
            )
        before = sum(len(arrays_of(part)) for part in state[:-1])
        selection = _select(last, state[-1], of)
        return selection._replace(arrays=[before + i for i in selection.arrays])
    if layer.directions:
        parts = zip(layer.directions.values(), state, strict=True)
        first, second = (_select(part, part_state, of) for part, part_state in parts)
        i = len(arrays_of(state[0])) + second.arrays[0]
        return Selection([*first.arrays, i], layer.merge, first.newest or second.newest)
    if layer.inner is not None:
        return _select(layer.inner, state, of)
    _check_vectors(layer, state)
    if of == "c" and not (isinstance(state, tuple) and len(state) == 2):
        raise ValueError(f"of: expected 'h' or 'all' for a layer without c, {layer!r:.100}")
    return Selection([OF.index(of)], newest=layer.state_depth > 1)


def _check_vectors(layer: Any, state: Any) -> None:
    check_no_counts("layer", layer, state, "; Pool('last') returns its last output")


def _seen(array: Array, selection: Selection) -> Array:
    """Return the part of an array of a state that y has: of each step, or of the last one."""
    return array[:, -1] if selection.newest and array.ndim == 3 else array


def _flat(array: Array) -> Array:
    """Return a copy of shape (B, width), also for B = 0."""
    return np.array(array).reshape(len(array), int(np.prod(array.shape[1:])))
