"""A layer's last state as one vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from crnn.common.arrays import Array
from crnn.common.nested import arrays_of, check_like, filled, filled_like
from crnn.layers.base.arguments import Given
from crnn.layers.base.description import Widths, build, opened, widths_of
from crnn.layers.base.places import back_in, check_in, run_in
from crnn.layers.base.tapes import ask_for_trace
from crnn.layers.compose.base import Wrapper
from crnn.layers.compose.bidirectional import Bidirectional
from crnn.layers.compose.sequential import Sequential

OF = ("h", "c", "all")


class Chosen(NamedTuple):
    """Which arrays of a state, by their numbers in `arrays_of`, and how they become one."""

    arrays: list[int]
    merge: str = "concat"


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

    many_to_one = True

    def __init__(self, layer: Any, of: str = "h") -> None:
        super().__init__(layer)
        if of not in OF:
            raise ValueError(f"of: expected one of {', '.join(map(repr, OF))}, got {of!r:.60}")
        self.of = of

    @property
    def config(self) -> dict[str, Any]:
        return super().config | {"of": self.of}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LastState:
        """A new layer; a configuration without `of` is of a time when it was always "all"."""
        return cls(build(config["layer"]), config.get("of", "all"))

    def __repr__(self) -> str:
        of = "" if self.of == "h" else f", of={self.of!r}"
        return f"{type(self).__name__}({self.layer!r}{of})"

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths | None:
        inside, of = super()._widths(config), config.get("of", "all")
        if inside is None:
            return None
        width = sum(inside.state) if of == "all" else _width(config["layer"], of)
        return Widths(inside.input, width, inside.state, timeless=True)

    def _run(self, x: Any, state: Any, given: Given, keep: bool) -> tuple[Any, Any, LastStateTape]:
        _, after, tape = run_in(self, "layer", given.part(0), x, state, keep)
        arrays = arrays_of(after)
        if not arrays:
            raise ValueError(f"layer: expected one with a state, got {self.layer!r:.100}")
        if self.of == "all":
            chosen = Chosen(list(range(len(arrays))))
        else:
            chosen = _chosen(self.layer, after, self.of)
        flat = [_flat(arrays[i]) for i in chosen.arrays]
        return _merged(flat, chosen.merge), after, LastStateTape(tape, after, chosen, flat)

    def check_backward(self, tape: Any, dstate: Any) -> None:
        if not isinstance(tape, LastStateTape):
            given = type(tape).__name__
            raise TypeError(f"tape: expected the one that forward returned, got {given}")
        check_in(self, "layer", tape.layer, dstate)

    def backward(
        self, tape: LastStateTape, dy: Any, dstate: Any = None, *, trace: bool = False
    ) -> tuple[Any, Any]:
        """dx, dstate; adds to the gradients of the layer. None stands for zeros."""
        self.check_backward(tape, dstate)
        check_like("dy", dy, _merged(tape.parts_of_y, tape.chosen.merge))
        if trace:
            ask_for_trace(tape)
        dtype = tape.parts_of_y[0].dtype
        total = [np.array(part, dtype) for part in arrays_of(filled_like(tape.state, dstate))]
        if dy is not None:
            shares = _split(np.asarray(dy, dtype), tape.parts_of_y, tape.chosen.merge)
            for i, share in zip(tape.chosen.arrays, shares, strict=True):
                total[i] += share.reshape(total[i].shape)
        return back_in(self, "layer", tape.layer, None, filled(tape.state, total))


def _chosen(layer: Any, state: Any, of: str) -> Chosen:
    """Which arrays of the state of a layer are h, or c, of the recurrent layer that it ends in."""
    if isinstance(layer, Sequential):
        if not arrays_of(state[-1]):
            raise ValueError(
                "layer: expected a Sequential whose last layer has a state, got one that ends in "
                f"{layer.layers[-1]!r:.100}; put layers without a state behind the LastState"
            )
        before = sum(len(arrays_of(part)) for part in state[:-1])
        last = _chosen(layer.layers[-1], state[-1], of)
        return last._replace(arrays=[before + i for i in last.arrays])
    if isinstance(layer, Bidirectional):
        (i,) = _chosen(layer.forward_layer, state[0], of).arrays
        return Chosen([i, len(arrays_of(state[0])) + i], layer.merge)
    inside = getattr(layer, "layer", None)
    if inside is not None:
        return _chosen(inside, state, of)
    if of == "c" and not (isinstance(state, tuple) and len(state) == 2):
        raise ValueError(f"of: expected 'h' or 'all' for a layer without c, {layer!r:.100}")
    return Chosen([OF.index(of)])


def _width(description: Any, of: str) -> int:
    """How wide y is, of a layer described, as `_chosen` chooses."""
    cls, config = opened(description)
    if issubclass(cls, Sequential):
        return _width(config["layers"][-1], of)
    if issubclass(cls, Bidirectional):
        return (2 if config["merge"] == "concat" else 1) * _width(config["layer"], of)
    if "layer" in config:
        return _width(config["layer"], of)
    widths = widths_of(description)
    if widths is None or len(widths.state) <= OF.index(of):
        raise ValueError(f"of: expected an array that the state of {cls.__name__} has, got {of!r}")
    return widths.state[OF.index(of)]


def _flat(array: Array) -> Array:
    """A copy with one axis besides that of the rows, of which there may be none."""
    return np.array(array).reshape(len(array), int(np.prod(array.shape[1:])))


def _merged(parts: list[Array], merge: str) -> Array:
    """One vector of several, as `Bidirectional` merges outputs."""
    if merge == "concat":
        return np.concatenate(parts, axis=1)
    first, second = parts
    if merge == "mul":
        return np.asarray(first * second)
    total = first + second
    return np.asarray(total * total.dtype.type(0.5) if merge == "mean" else total)


def _split(dy: Array, parts: list[Array], merge: str) -> list[Array]:
    """The gradients of the parts, from that of their merger."""
    if merge == "concat":
        return np.split(dy, np.cumsum([part.shape[1] for part in parts])[:-1], axis=1)
    if merge == "mul":
        return [dy * parts[1], dy * parts[0]]
    return [dy * 0.5, dy * 0.5] if merge == "mean" else [dy, dy]
