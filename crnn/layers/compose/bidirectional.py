"""A recurrent layer and its mirror."""

from __future__ import annotations

import copyreg
from collections.abc import Mapping
from typing import Any, cast

import crnn._core as _core
from crnn.layers.base import weights
from crnn.layers.base.description import Widths, build, describe, parameter_count, widths_of
from crnn.layers.compose.base import Composition
from crnn.layers.recurrent.cells import Recurrent, cell_classes


class Bidirectional(_core.Bidirectional, Composition):
    """A recurrent layer and a mirror of it, which reads each row from its last step to its first.

    Schuster and Paliwal, "Bidirectional recurrent neural networks" (1997).

    Parameters
    ----------
    layer : RNN, LSTM, GRU or JANET
        The one that reads forwards. The mirror has the same options and weights of its own, drawn
        from the layer's seed.
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

    def __init__(self, layer: Recurrent, merge: str = "concat") -> None:
        if not isinstance(layer, Recurrent):
            raise TypeError(
                f"layer: expected a recurrent layer ({', '.join(cell_classes())}), "
                f"got {layer!r:.200}"
            )
        config = layer.config
        if config["reverse"]:
            raise ValueError(
                "layer: expected one with reverse=False; its mirror is the reversed one"
            )
        seed = weights.seed_of_part(config["seed"], weights.MIRROR_STREAM)
        mirror = type(layer).from_config(config | {"reverse": True, "seed": seed})
        super().__init__(cast(Any, layer), cast(Any, mirror), merge)

    @property
    def parts(self) -> dict[str, Any]:
        return {"forward": self.forward_layer, "backward": self.backward_layer}

    @property
    def config(self) -> dict[str, Any]:
        return {"layer": describe(self.forward_layer), "merge": self.merge}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Bidirectional:
        layer = build(config["layer"])
        if not isinstance(layer, Recurrent):
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
        return Widths(one.input, sides * one.output, 2 * one.state)

    def __repr__(self) -> str:
        merge = "" if self.merge == "concat" else f", merge={self.merge!r}"
        return f"{type(self).__name__}({self.forward_layer!r}{merge})"

    def __reduce__(self) -> tuple[Any, ...]:
        state = (self.forward_layer, self.backward_layer, self.merge, self.__dict__)
        return copyreg.__newobj__, (type(self),), state  # type: ignore[attr-defined]

    def __setstate__(self, state: tuple[Any, Any, str, dict[str, Any]]) -> None:
        forward_layer, backward_layer, merge, attributes = state
        _core.Bidirectional.__init__(self, forward_layer, backward_layer, merge)
        super().__setstate__(attributes)
