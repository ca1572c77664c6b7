"""Positions: what tells attention in which order the steps came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

from numpy.typing import DTypeLike

from crnn.common.checks import check_dtype, check_product, check_seed, check_size
from crnn.layers.base import weights
from crnn.layers.base.attributes import Fixed
from crnn.layers.base.buffer import InOneBuffer, Shapes
from crnn.layers.base.description import Widths
from crnn.layers.base.nodes import Graph, Nodes, runs_unchanged
from crnn.layers.temporal.base import CoreTemporal, Described
from crnn.layers.temporal.transformer import DEVIATION

PositionKind = Literal["learned", "sinusoidal"]


class Positions(CoreTemporal, InOneBuffer):
    """Positions: y_t = x_t + P_t, t being counted from the beginning of the row.

    P is learned, or consists of sines and cosines of growing periods:

        P_t,2i = sin(t 10000^(-2i/H));   P_t,2i+1 = cos(t 10000^(-2i/H))

    Vaswani et al., "Attention is all you need" (2017). Only steps that are read count: masked ones
    do not, and after a reset t begins at 0 again.

    Parameters
    ----------
    size : int
        Number of inputs and of outputs H.
    steps : int, optional
        Number of positions: a row that reads more steps is refused. None: any number of steps, with
        ``kind="sinusoidal"`` alone.
    kind : {"learned", "sinusoidal"}, default "learned"
        Whether P is a parameter or a function. Sines and cosines are computed in double precision
        and rounded once.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters and outputs.
    seed : int, optional
        Seed of the initial P, which is normal with the standard deviation 0.02, as that of GPT-2.
        None draws a seed.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        P (steps, H); none with ``kind="sinusoidal"``.
    flat_params, flat_grads : ndarray
        The same numbers as one vector each; assigning copies into it.
    receptive_field : int
        1: a step of y depends on the same step of x alone.
    seed : int
        The seed that was used.

    Raises
    ------
    ValueError, TypeError
        If `steps` is None with ``kind="learned"``, or an argument is invalid. `forward`, a stream
        and generation raise ValueError for a row of more than `steps` steps, before anything has
        changed.

    See Also
    --------
    TransformerBlock : Its attention has rotary positions by default, which need no layer.

    Notes
    -----
    The state is an array (B,) of integers, the number of steps that each row has read. It has no
    gradient: None. Chunks of a sequence with the state passed on, and streams, give the bits of the
    whole. ``tape.y`` is the output.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer = crnn.Positions(2, kind="sinusoidal")
    >>> y, steps = layer(np.zeros((1, 3, 2)), np.array([10]))
    >>> y[0].round(2), steps
    (array([[-0.54, -0.84],
           [-1.  ,  0.  ],
           [-0.54,  0.84]], dtype=float32), array([13]))
    >>> crnn.Positions(2, steps=3)(np.zeros((1, 4, 2)))
    Traceback (most recent call last):
    ...
    ValueError: x: expected at most 3 steps in a row, as many as there are positions, got 4
    """

    _leading = ("size",)
    _arguments: ClassVar[tuple[str, ...]] = (*_leading, "steps", "kind", "dtype", "seed")
    size, seed = Fixed[int](), Fixed[int]()
    steps, kind = Fixed[int | None](), Fixed[PositionKind]()

    def __init__(
        self,
        size: int,
        steps: int | None = None,
        kind: PositionKind = "learned",
        *,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        shapes = self._shapes(size, steps, kind)
        steps = None if steps is None else check_size("steps", steps)
        vars(self).update(size=check_size("size", size), steps=steps, kind=kind)
        vars(self)["seed"] = check_seed(seed)
        self._lay_out(shapes, check_dtype(dtype), transposed=False)
        for name, shape in shapes.items():
            self.params[name] = DEVIATION * weights.normal(self.seed, weights.INPUT_STREAM, shape)

    @classmethod
    def _shapes(
        cls, size: int, steps: int | None = None, kind: PositionKind = "learned", **_: Any
    ) -> Shapes:
        H, kinds = check_size("size", size), get_args(PositionKind)
        if not isinstance(kind, str) or kind not in kinds:
            raise ValueError(f"kind: expected one of {kinds}, got {kind!r:.60}")
        if kind == "sinusoidal":
            return {}
        if steps is None:
            raise ValueError('steps: expected an integer with kind="learned", got None')
        n = check_size("steps", steps)
        check_product("size, steps", H, n)
        return {"P": (n, H)}

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        return Widths(config["size"], config["size"], counts=True)  # a number of steps is no vector

    input_size = property(lambda self: self.size)
    output_size = property(lambda self: self.size)
    receptive_field = 1

    @property
    def multiply_adds(self) -> int:
        """Number of multiply-adds of one step of one row: H."""
        return self.size

    watched = (*InOneBuffer.watched, "steps", "kind")

    def add_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        return self._nodes(graph, x, number) if runs_unchanged(self, Positions) else None

    def _describe(self, graph: Graph, x: int, number: int) -> Described:
        params, grads = self._flat.param_views, self._flat.trained_views(self._frozen)
        table = params.get("P"), grads.get("P")
        node = graph.add("positions", (x,), *table, self.steps or 0, False)
        return Described(node, node, {"y": node})
