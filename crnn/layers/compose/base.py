"""Layers made of layers. All of them speak the one protocol, so any may stand inside any other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from crnn.common.arrays import Array
from crnn.layers.base.arguments import (
    Given,
    answers_masked,
    is_stochastic,
)
from crnn.layers.base.description import Widths, build, describe, widths_of
from crnn.layers.base.layer import Layer, check_layer
from crnn.layers.base.parameters import WithoutBuffer
from crnn.layers.base.places import shown


class Composition(Layer):
    """A layer whose parameters are those of its parts, under dotted names."""

    @property
    def parts(self) -> dict[str, Layer]:
        """The layers this one is made of, by the name that stands before the dot."""
        return {}

    @property
    def answers_masked(self) -> bool:
        """Whether y at masked steps is made of outputs that a part gives there."""
        return any(map(answers_masked, self.parts.values()))

    def place_of(self, key: Any) -> str:
        """Name a part, and show it, for an error that it raises: ``"layer, LSTM(3, 8)"``.

        Parameters
        ----------
        key : str
            The attribute that holds the part.
        """
        return f"{key}, {shown(getattr(self, key))}"

    def _nested(self, what: str) -> dict[str, Array]:
        return {
            f"{prefix}.{name}": array
            for prefix, part in self.parts.items()
            for name, array in getattr(part, what).items()
        }

    @property
    def stochastic(self) -> bool:
        """Whether any of the parts draws random numbers in training that depend on `call`."""
        return any(map(is_stochastic, self.parts.values()))

    @property
    def param_views(self) -> dict[str, Array]:
        return self._nested("params")

    @property
    def grad_views(self) -> dict[str, Array]:
        return self._nested("grads")

    flat_params, flat_grads = WithoutBuffer(), WithoutBuffer()

    def _convert(self, dtype: np.dtype[Any]) -> None:
        for part in self.parts.values():
            part._convert(dtype)


class RunsParts(Composition):
    """A composition that hands the arguments of forward on to its parts, in `_run`."""

    @abstractmethod
    def _run(self, x: Any, state: Any, given: Given, keep: bool) -> tuple[Any, Any, Any]:
        """y, state, tape; without `keep` in evaluation, and the tape means nothing."""

    def __call__(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        mask: Any = None,
        resets: Any = None,
        filled: bool = False,
    ) -> tuple[Any, Any]:
        """y, state: evaluation, keeps nothing. The arguments are those of `forward`."""
        given = Given(lengths, mask, resets, training=False, filled=filled or None)
        y, after, _ = self._run(x, state, given, keep=False)
        return y, after

    def forward(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        mask: Any = None,
        resets: Any = None,
        training: bool = True,
        call: int | None = None,
        first_row: int = 0,
        first_step: int = 0,
        layer: int = 0,
        filled: bool = False,
    ) -> tuple[Any, Any, Any]:
        """y, state, tape. Each part gets those of the arguments that it knows.

        Parameters
        ----------
        x, state
            As the parts take them.
        lengths : (B,) integers, optional
            Steps of each row that are there.
        mask : (B, T) booleans, optional
            False: a step that is not read, whatever stands there; the state is carried. A
            recurrent layer repeats its output, which layers behind it read; before it y is 0.
        resets : (B, T) booleans, optional
            True: the state starts anew before this step.
        training : bool, default True
            False: nothing is dropped.
        call : int, optional
            Number of this call. None: the next one of `calls`, where the parts draw anything.
        first_row, first_step, layer : int, default 0
            Number of the first row and the first step of x, and of this layer in what it is a part
            of: they decide, with `call` and the parts' seeds, what is dropped. Parts are numbered
            from `layer`.
        filled : bool, default False
            True: x at masked steps is the output of a layer before, which layers of single steps
            read. Compositions pass it.
        """
        counts = self.call_number(call, training), first_row, first_step, layer
        given = Given(lengths, mask, resets, training, *counts, filled or None)
        return self._run(x, state, given, keep=True)


class Wrapper(RunsParts):
    """A composition of one layer, which is all that it is made of."""

    _leading = ("layer",)

    def __init__(self, layer: Any) -> None:
        check_layer("layer", layer)
        self.layer = layer

    @property
    def parts(self) -> dict[str, Any]:
        return {"layer": self.layer}

    @property
    def config(self) -> dict[str, Any]:
        return {"layer": describe(self.layer)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls(build(config["layer"]))

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths | None:
        return widths_of(config["layer"])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.layer!r})"
