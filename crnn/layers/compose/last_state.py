"""A layer's last state as one vector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

import numpy as np

from crnn.common.arrays import Array
from crnn.common.choices import Merge, StateArrays
from crnn.common.nested import arrays_of, check_like, filled, filled_like
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.description import Widths
from crnn.layers.base.places import back_in, run_in
from crnn.layers.base.protocol import LayerLike
from crnn.layers.compose.base import Wrapper
from crnn.layers.compose.merging import merged, split

OF = get_args(StateArrays)


class Chosen(NamedTuple):
    """Which arrays of a state, by their numbers in `arrays_of`, and how they become one."""

    arrays: list[int]
    merge: Merge = "concat"


class LastStateTape(NamedTuple):
    """The layer's tape, the state for its form, what was chosen of it, and y for its shape."""

    layer: Any
    state: Any
    chosen: Chosen
    parts_of_y: list[Array]  # copies: they are multiplied with in backward, for "mul"

    @property
    def parts(self) -> dict[str, Any]:
        """The layer's."""
        return {"layer": self.layer}


class LastState(Wrapper):
    """The state of a layer at the end of each row, as one vector: (B, T, I) -> (B, H).

    Parameters
    ----------
    layer : layer
        Any that has a state. Its parameters have the names "layer.W_x", ...
    of : {"h", "c", "all"}, default "h"
        The last h (B, H) or the last c (B, H) of the recurrent layer; or all arrays of the state
        side by side, in their order: h and c of an LSTM are 2H numbers.

    Attributes
    ----------
    layer : layer
    of : str

    Raises
    ------
    TypeError
        If `layer` is not a layer.
    ValueError
        If `of` is unknown; from forward, if the layer has no state, or no such one.

    Notes
    -----
    Of a `Bidirectional` layer these are the last states of both directions, after the last step and
    after step 0, merged as its outputs are: side by side for "concat", (B, 2H), else (B, H). So
    each direction has read the whole row, which no step of the output shows: `Pool` of "last" finds
    a backward direction that has read one step. Keras returns this vector for
    ``Bidirectional(..., return_sequences=False)``.

    Of a `Sequential` it is the state of its last layer, which must have one: put a Dense or Dropout
    behind this layer instead. With "all" it is the states of all its layers. In a `Sequential` the
    layers behind this one get no lengths, mask or resets.

    Examples
    --------
    >>> import crnn, numpy as np
    >>> both = crnn.Bidirectional(crnn.LSTM(3, 8))
    >>> model = crnn.Sequential([crnn.LastState(both), crnn.Dense(16, 2)])
    >>> y, state = model(np.zeros((4, 7, 3), np.float32), lengths=[7, 3, 1, 5])
    >>> y.shape
    (4, 2)
    """

    keeps_time = keeps_features = False
    receptive_field, _tape = math.inf, LastStateTape
    _arguments = ("of",)

    def __init__(self, layer: LayerLike, of: StateArrays = "h") -> None:
        super().__init__(layer)
        if of not in OF:
            raise ValueError(f"of: expected one of {', '.join(map(repr, OF))}, got {of!r:.60}")
        self.of = of

    @property
    def output_size(self) -> int | None:
        """Width of h or c, as `of` says; None where it is not known."""
        widths = last_sizes(self.inner) if self.of != "all" else ()
        place = OF.index(self.of)
        return widths[place] if place < len(widths) else None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LastState:
        """A new layer; a configuration without `of` is of a time when it was always "all"."""
        return super().from_config({"of": "all", **config})

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths | None:
        inside, of = super()._widths(config), config.get("of", "all")
        if inside is None:
            return None
        if of == "all":
            return Widths(inside.input, sum(inside.state), inside.state, timeless=True)
        if len(inside.last) <= OF.index(of):
            raise ValueError(f"of: expected an array that the state of the layer has, got {of!r}")
        return Widths(inside.input, inside.last[OF.index(of)], inside.state, timeless=True)

    def _run(
        self, x: Any, state: Any, given: ForwardOptions, keep: bool
    ) -> tuple[Any, Any, LastStateTape]:
        _, after, tape = run_in(self, "layer", given.part(0), x, state, keep)
        arrays = arrays_of(after)
        if not arrays:
            raise ValueError(f"layer: expected one with a state, got {self.layer!r:.100}")
        if self.of == "all":
            chosen = Chosen(list(range(len(arrays))))
        else:
            chosen = _chosen(self.inner, after, self.of)
        flat = [_flat(arrays[i]) for i in chosen.arrays]
        return merged(flat, chosen.merge), after, LastStateTape(tape, after, chosen, flat)

    def _checked_dy(self, tape: Any, dy: Any) -> Any:
        check_like("dy", dy, merged(tape.parts_of_y, tape.chosen.merge))
        return dy

    def _back(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        dtype = tape.parts_of_y[0].dtype
        total = [np.array(part, dtype) for part in arrays_of(filled_like(tape.state, dstate))]
        if dy is not None:
            shares = split(np.asarray(dy, dtype), tape.parts_of_y, tape.chosen.merge)
            for i, share in zip(tape.chosen.arrays, shares, strict=True):
                total[i] += share.reshape(total[i].shape)
        return back_in(self, "layer", tape.layer, None, filled(tape.state, total))


def last_sizes(layer: Any) -> tuple[int, ...]:
    """Widths of h, and c, of the layer that another ends in, merged where it reads both ways."""
    if layer.stages:
        return last_sizes(layer.stages[-1])
    if layer.directions:
        one, *_ = layer.directions.values()
        return tuple((2 if layer.merge == "concat" else 1) * width for width in last_sizes(one))
    return tuple(layer.state_sizes) if layer.inner is None else last_sizes(layer.inner)


def _chosen(layer: Any, state: Any, of: str) -> Chosen:
    """Which arrays of the state of a layer are h, or c, of the recurrent layer that it ends in."""
    if layer.stages:
        last = layer.stages[-1]
        if not arrays_of(state[-1]):
            raise ValueError(
                "layer: expected a Sequential whose last layer has a state, got one that ends in "
                f"{last!r:.100}; put layers without a state behind the LastState"
            )
        before = sum(len(arrays_of(part)) for part in state[:-1])
        chosen = _chosen(last, state[-1], of)
        return chosen._replace(arrays=[before + i for i in chosen.arrays])
    if layer.directions:
        one, *_ = layer.directions.values()
        (i,) = _chosen(one, state[0], of).arrays
        return Chosen([i, len(arrays_of(state[0])) + i], layer.merge)
    if layer.inner is not None:
        return _chosen(layer.inner, state, of)
    if of == "c" and not (isinstance(state, tuple) and len(state) == 2):
        raise ValueError(f"of: expected 'h' or 'all' for a layer without c, {layer!r:.100}")
    return Chosen([OF.index(of)])


def _flat(array: Array) -> Array:
    """A copy with one axis besides that of the rows, of which there may be none."""
    return np.array(array).reshape(len(array), int(np.prod(array.shape[1:])))
