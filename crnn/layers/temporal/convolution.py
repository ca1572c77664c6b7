"""Causal convolutions over the steps of sequences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import DTypeLike

from crnn.common.checks import check_dtype, check_flag, check_product, check_seed, check_size
from crnn.layers.base import weights
from crnn.layers.base.attributes import Fixed
from crnn.layers.base.buffer import InOneBuffer, Shapes
from crnn.layers.base.description import Widths
from crnn.layers.base.nodes import Graph, Nodes, runs_unchanged
from crnn.layers.temporal.base import CoreTemporal, Described

ConvActivation = Literal["relu", "tanh"]

#: Longest past of a convolution, (J - 1) d: a state has so many steps.
MOST_PAST = 2**20


def check_past(taps: int, dilation: int) -> None:
    """Raise ValueError if a convolution reads steps that lie too far back."""
    if (taps - 1) * dilation > MOST_PAST:
        raise ValueError(
            f"taps, dilation: expected (taps - 1) * dilation of at most {MOST_PAST}, got "
            f"{(taps - 1) * dilation}"
        )


class CausalConv(CoreTemporal, InOneBuffer):
    """Dilated causal convolution: y_t = φ(b + Σ_j W_j x_{t - (J-1-j) d}), j from 0 to J-1.

    A step reads itself and earlier steps, never later ones. Only steps that are read count: with a
    mask, a step before masked steps and the step after them are neighbours.

    Parameters
    ----------
    input_size, hidden_size : int
        Number of inputs I, and of outputs H.
    taps : int, default 3
        J, the number of steps that one step reads, at least 1. 1: a Dense with a state of no steps.
    dilation : int, default 1
        d, the distance between the steps that are read, at least 1.
    activation : {None, "relu", "tanh"}, default None
        φ. None: the identity.
    weight_norm : bool, default False
        Whether W is g v / |v|, with a gain g and a norm over the taps and inputs of each output:
        Salimans and Kingma, "Weight normalization" (2016).
    bias : bool, default True
        Whether the layer has a bias b.
    reverse : bool, default False
        Whether rows are read from their last step to their first: then a step reads later ones.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters and outputs.
    seed : int, optional
        Seed of the initial W, which is uniform: with variance 2 / (I J) for "relu" (He et al.,
        "Delving deep into rectifiers", 2015), else 2 / ((I + H) J) (Glorot and Bengio, 2010). g is
        the norm of v at first, so that W = v. None draws a seed.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        W (J, H, I), the oldest tap first, and b (H,); with ``weight_norm`` v (J, H, I) and g (H,)
        in place of W. The initial b is 0.
    flat_params, flat_grads : ndarray
        The same numbers as one vector each; assigning copies into it.
    receptive_field : int
        1 + (J - 1) d, the number of steps of x on which a step of y depends.
    seed : int
        The seed that was used.

    Raises
    ------
    ValueError, TypeError
        If a size is below 1, (J - 1) d is above 2**20, or another argument is invalid.

    See Also
    --------
    TCNBlock, TCN : Residual blocks of convolutions, and stacks of these.

    Notes
    -----
    The state is an array (B, D, I) with D = (J - 1) d: the last inputs of each row, the oldest
    first. Zeros stand for steps that do not exist. ``tape.y`` is the output.

    Dilated convolutions in time: van den Oord et al., "WaveNet: a generative model for raw audio"
    (2016).

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer = crnn.CausalConv(1, 1, taps=2, dilation=3)
    >>> layer.params["W"] = [[[1.0]], [[10.0]]]  # y_t = x_{t-3} + 10 x_t
    >>> y, state = layer(np.arange(1.0, 6.0).reshape(1, 5, 1))
    >>> y[0, :, 0]
    array([10., 20., 30., 41., 52.], dtype=float32)
    >>> state[0, :, 0], layer.receptive_field
    (array([3., 4., 5.], dtype=float32), 4)
    """

    _leading = ("input_size", "hidden_size", "taps")
    _arguments: ClassVar[tuple[str, ...]] = (
        *_leading,
        "dilation",
        "activation",
        "weight_norm",
        "bias",
        "reverse",
        "dtype",
        "seed",
    )
    input_size, hidden_size = Fixed[int](), Fixed[int]()
    taps, dilation, seed = Fixed[int](), Fixed[int](), Fixed[int]()
    activation = Fixed[ConvActivation | None]()
    weight_norm, bias, reverse = Fixed[bool](), Fixed[bool](), Fixed[bool]()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        taps: int = 3,
        *,
        dilation: int = 1,
        activation: ConvActivation | None = None,
        weight_norm: bool = False,
        bias: bool = True,
        reverse: bool = False,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        given = {"weight_norm": weight_norm, "bias": bias, "reverse": reverse}
        flags = {name: check_flag(name, value) for name, value in given.items()}
        shapes = self._shapes(input_size, hidden_size, taps, **flags)
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "taps": taps}
        sizes = {name: check_size(name, value) for name, value in sizes.items()}
        dilation = check_size("dilation", dilation)
        check_past(sizes["taps"], dilation)
        names = get_args(ConvActivation)
        if activation is not None and activation not in names:
            raise ValueError(f"activation: expected None or one of {names}, got {activation!r:.60}")
        options = {"dilation": dilation, "activation": activation, "seed": check_seed(seed)}
        vars(self).update(sizes | options | flags)
        self._lay_out(shapes, check_dtype(dtype), transposed=False)
        self._draw()

    def _draw(self) -> None:
        """Draw the initial weights."""
        I, H, J = self.input_size, self.hidden_size, self.taps
        fans = I * J if self.activation == "relu" else (I + H) * J / 2
        limit = math.sqrt(3 * (2 if self.activation == "relu" else 1) / fans)
        W = weights.uniform(self.seed, weights.INPUT_STREAM, (J, H, I), limit)
        if self.weight_norm:
            self.params["v"] = W
            self.params["g"] = np.sqrt((self.params["v"].astype(float) ** 2).sum(axis=(0, 2)))
        else:
            self.params["W"] = W

    @classmethod
    def _shapes(
        cls,
        input_size: int,
        hidden_size: int,
        taps: int = 3,
        *,
        weight_norm: bool = False,
        bias: bool = True,
        **_: Any,
    ) -> Shapes:
        I, H = check_size("input_size", input_size), check_size("hidden_size", hidden_size)
        J = check_size("taps", taps)
        check_product("input_size, hidden_size, taps", I, H, J)
        own: Shapes = {"v": (J, H, I), "g": (H,)} if weight_norm else {"W": (J, H, I)}
        return own | ({"b": (H,)} if bias else {})

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        I, D = config["input_size"], (config.get("taps", 3) - 1) * config.get("dilation", 1)
        return Widths(I, config["hidden_size"], (D * I,), last=(I,))

    @property
    def output_size(self) -> int:
        """Number of outputs: H."""
        return self.hidden_size

    @property
    def reads_backwards(self) -> bool:
        """Whether a step of y depends on later steps of x: with ``reverse``."""
        return self.reverse

    @property
    def receptive_field(self) -> int:
        """Number of steps of x on which a step of y depends: 1 + (J - 1) d."""
        return 1 + (self.taps - 1) * self.dilation

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Widths of the arrays of the state: I."""
        return (self.input_size,)

    @property
    def state_depth(self) -> int:
        """Number of steps of which the state has values: (J - 1) d."""
        return (self.taps - 1) * self.dilation

    @property
    def multiply_adds(self) -> int:
        """Number of multiply-adds of one step of one row."""
        return self.taps * self.hidden_size * self.input_size

    watched = (*InOneBuffer.watched, "dilation", "activation", "reverse")
    runs_reversed = property(lambda self: not self.reverse)

    def add_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        return self._nodes(graph, x, number) if runs_unchanged(self, CausalConv) else None

    def _describe(self, graph: Graph, x: int, number: int) -> Described:
        params, grads = self._flat.param_views, self._flat.trained_views(self._frozen)
        W = "v" if self.weight_norm else "W"
        arrays = (views.get(name) for views in (params, grads) for name in (W, "b", "g"))
        options = self.dilation, self.activation or "identity", self.reverse or graph.reverse
        node = graph.add("conv", (x,), *arrays, *options)
        return Described(node, node, {"y": node})

    def fold(self) -> CausalConv:
        """Return a layer without weight normalisation that computes the same.

        Returns
        -------
        CausalConv
            With the parameters W = g v / |v| and b.

        Examples
        --------
        >>> import crnn
        >>> layer = crnn.CausalConv(2, 3, weight_norm=True, seed=0)
        >>> list(layer.params), list(layer.fold().params)
        (['v', 'g', 'b'], ['W', 'b'])
        """
        folded = type(self)(**self.config | {"weight_norm": False})
        if self.weight_norm:
            v, g = self.params["v"], self.params["g"]
            norm = np.sqrt((v.astype(float) ** 2).sum(axis=(0, 2), keepdims=True))
            folded.params["W"] = v * np.divide(
                g[:, None], norm, out=np.zeros_like(norm), where=norm > 0
            )
        else:
            folded.params["W"] = self.params["W"]
        if self.bias:
            folded.params["b"] = self.params["b"]
        return folded
