"""Residual blocks of causal convolutions, and stacks of these: temporal convolutional networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import is_
from typing import Any, ClassVar, NoReturn, Self

from numpy.typing import DTypeLike

from crnn.common.checks import check_flag, check_probability, check_seed, check_size
from crnn.layers.base import weights
from crnn.layers.base.attributes import Fixed, FixedPart
from crnn.layers.base.buffer import Shapes, count_of
from crnn.layers.base.description import Widths
from crnn.layers.base.layer import Layer, Temporal
from crnn.layers.base.nodes import Graph, Nodes, runs_unchanged
from crnn.layers.base.protocol import LayerLike
from crnn.layers.compose.base import Composition
from crnn.layers.compose.sequential import Sequential
from crnn.layers.pointwise.dense import Dense
from crnn.layers.temporal.base import CoreTemporal, Described
from crnn.layers.temporal.convolution import CausalConv


class TCNBlock(CoreTemporal, Composition):
    """Residual block of two causal convolutions: y = relu(z_2 + r).

    z_1 = drop(relu(conv1(x))), z_2 = drop(relu(conv2(z_1))), and r = x, or a linear map of x if
    the widths differ. Bai, Kolter and Koltun, "An empirical evaluation of generic convolutional and
    recurrent networks for sequence modeling" (2018).

    Parameters
    ----------
    input_size, hidden_size : int
        Number of inputs I, and of outputs H.
    taps : int, default 3
        J, the number of steps that each convolution reads.
    dilation : int, default 1
        d, the distance between these steps.
    weight_norm : bool, default True
        Whether the convolutions have weight normalisation, see `CausalConv`.
    dropout : float, default 0.0
        Probability that an element of z_1 and of z_2 is set to 0 in training.
    variational : bool, default False
        Whether dropout sets the same units to 0 at all steps of a row, as whole channels.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters and outputs.
    seed : int, optional
        Seed of the initial weights and of dropout. None draws a seed.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        "conv1.v" (J, H, I), "conv1.g" (H,), "conv1.b", "conv2.v" (J, H, H), ..., and if I and H
        differ "skip.W" (H, I) and "skip.b"; without weight normalisation "conv1.W" in place of v
        and g.
    conv1, conv2 : CausalConv
    skip : Dense or None
    receptive_field : int
        1 + 2 (J - 1) d, the number of steps of x on which a step of y depends.
    seed : int
        The seed that was used.

    Raises
    ------
    ValueError, TypeError
        If a size is below 1, `dropout` is no probability below 1, or another argument is invalid.

    See Also
    --------
    TCN : A stack of blocks with growing dilations.

    Notes
    -----
    The state is the list of the states of both convolutions: their last inputs (B, (J-1) d, I) and
    (B, (J-1) d, H). ``tape.conv1`` and ``tape.conv2`` are the outputs of the convolutions, before
    dropout, and ``tape.y`` is the output.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> block = crnn.TCNBlock(3, 8, dilation=4, seed=0)
    >>> y, state = block(np.ones((2, 10, 3)))
    >>> y.shape, [part.shape for part in state], block.receptive_field
    ((2, 10, 8), [(2, 8, 3), (2, 8, 8)], 17)
    """

    _leading = ("input_size", "hidden_size", "taps")
    _arguments: ClassVar[tuple[str, ...]] = (
        *_leading,
        "dilation",
        "weight_norm",
        "dropout",
        "variational",
        "dtype",
        "seed",
    )
    dropout, variational, seed = Fixed[float](), Fixed[bool](), Fixed[int]()
    conv1, conv2 = FixedPart[CausalConv](), FixedPart[CausalConv]()
    skip = FixedPart[Dense | None]()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        taps: int = 3,
        *,
        dilation: int = 1,
        weight_norm: bool = True,
        dropout: float = 0.0,
        variational: bool = False,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        vars(self).update(
            dropout=check_probability("dropout", dropout),
            variational=check_flag("variational", variational),
            seed=check_seed(seed),
        )
        seeds = weights.layer_seeds(self.seed, 5)
        I, H = input_size, hidden_size
        options: dict[str, Any] = {"dilation": dilation, "activation": "relu", "dtype": dtype}
        options["weight_norm"] = weight_norm
        vars(self).update(
            conv1=CausalConv(I, H, taps, seed=seeds[0], **options),
            conv2=CausalConv(H, H, taps, seed=seeds[1], **options),
            skip=Dense(I, H, dtype=dtype, seed=seeds[2]) if I != H else None,
        )
        self._drop_seeds = seeds[3:]

    input_size = property(lambda self: self.conv1.input_size)
    hidden_size = property(lambda self: self.conv1.hidden_size)
    output_size = property(lambda self: self.conv1.hidden_size)
    taps = property(lambda self: self.conv1.taps)
    dilation = property(lambda self: self.conv1.dilation)
    weight_norm = property(lambda self: self.conv1.weight_norm)
    dtype = property(lambda self: self.conv1.dtype)

    @property
    def parts(self) -> dict[str, Layer]:
        """The layers with parameters, by the prefix of the names of these."""
        parts: dict[str, Layer] = {"conv1": self.conv1, "conv2": self.conv2}
        return parts if self.skip is None else parts | {"skip": self.skip}

    @property
    def config(self) -> dict[str, Any]:
        return super().config | {"dtype": self.dtype.name}

    def _shown(self) -> dict[str, Any]:
        return self.config

    @classmethod
    def _counted(cls, config: Mapping[str, Any]) -> list[Shapes]:
        """Return the shapes of the parameters of all parts."""
        I, H = config["input_size"], config["hidden_size"]
        options = {"taps": config.get("taps", 3), "weight_norm": config.get("weight_norm", True)}
        parts = [CausalConv._shapes(I, H, **options), CausalConv._shapes(H, H, **options)]
        return parts if I == H else [*parts, Dense._shapes(I, H)]

    @classmethod
    def parameter_count(cls, config: Mapping[str, Any]) -> int:
        return sum(map(count_of, cls._counted(config)))

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        I, H = config["input_size"], config["hidden_size"]
        D = (config.get("taps", 3) - 1) * config.get("dilation", 1)
        return Widths(I, H, (D * I, D * H), last=(I, H))

    @property
    def receptive_field(self) -> int:
        """Number of steps of x on which a step of y depends: 1 + 2 (J - 1) d."""
        return self.conv1.receptive_field + self.conv2.receptive_field - 1

    @property
    def state_depth(self) -> int:
        """Number of steps of which each array of the state has values: (J - 1) d."""
        return self.conv1.state_depth

    watched = ("dropout", "variational", "seed", "conv1", "conv2", "skip")
    runs_reversed = property(lambda self: self.dropout == 0)

    def add_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        if not runs_unchanged(self, TCNBlock) or not all(
            runs_unchanged(part, cls)
            for part, cls in zip(self.parts.values(), (CausalConv, CausalConv, Dense), strict=False)
        ):
            return None
        return self._nodes(graph, x, number)

    def _describe(self, graph: Graph, x: int, number: int) -> Described:
        convolutions, forms, z = list[int](), list[Any](), x
        graph.filled = False
        for conv, seed in zip((self.conv1, self.conv2), self._drop_seeds, strict=True):
            part = conv._describe(graph, z, number)
            convolutions.append(part.value)
            forms.append(part.form)
            z = graph.add_drop(part.value, self.dropout, self.variational, seed, number)
        r = x if self.skip is None else self.skip.add_to(graph, x)
        y = graph.add("rowwise", (z, r), ("relu_sum",), None, None)
        graph.answer(y)
        names = {"conv1": convolutions[0], "conv2": convolutions[1], "y": y}
        return Described(y, tuple(forms), names)

    def fold(self) -> TCNBlock:
        """Return a block without weight normalisation that computes the same.

        Returns
        -------
        TCNBlock
            See `CausalConv.fold`.
        """
        folded = type(self)(**self.config | {"weight_norm": False})
        parts = self.parts | {"conv1": self.conv1.fold(), "conv2": self.conv2.fold()}
        for name, part in parts.items():
            for key, array in part.params.items():
                folded.params[f"{name}.{key}"] = array
        return folded


class TCN(Sequential, Temporal):
    """Temporal convolutional network: a stack of residual blocks with growing dilations.

    Parameters
    ----------
    input_size : int
        Number of inputs I.
    hidden_sizes : list of int
        Number of outputs of each block.
    taps : int, default 3
        J, the number of steps that each convolution reads.
    dilations : list of int, optional
        Distance between these steps, for each block. None: 1, 2, 4, 8, ...
    weight_norm, dropout, variational, dtype
        As for `TCNBlock`.
    seed : int, optional
        Seed from which those of the blocks follow. None draws a seed.

    Attributes
    ----------
    layers : list of TCNBlock
    receptive_field : int
        1 + 2 (J - 1) Σ d, the number of steps of x on which a step of y depends.
    seed : int
        The seed that was used.

    Raises
    ------
    ValueError, TypeError
        If there is no block, the lists have different lengths, or an argument of a block is
        invalid.

    See Also
    --------
    TCN.covering : A stack whose receptive field has at least a given number of steps.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> tcn = crnn.TCN(3, [16, 16, 16], seed=0)
    >>> tcn(np.ones((2, 20, 3)))[0].shape, tcn.receptive_field
    ((2, 20, 16), 29)
    """

    _leading = ("input_size", "hidden_sizes", "taps")
    _arguments: ClassVar[tuple[str, ...]] = (
        *_leading,
        "dilations",
        "weight_norm",
        "dropout",
        "variational",
        "dtype",
        "seed",
    )
    seed = Fixed[int]()

    def __init__(
        self,
        input_size: int,
        hidden_sizes: Sequence[int],
        taps: int = 3,
        *,
        dilations: Sequence[int] | None = None,
        weight_norm: bool = True,
        dropout: float = 0.0,
        variational: bool = False,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        sizes, distances = _levels(hidden_sizes, dilations)
        vars(self)["seed"] = check_seed(seed)
        options: dict[str, Any] = {"weight_norm": weight_norm, "dropout": dropout, "dtype": dtype}
        options["variational"] = variational
        seeds = weights.layer_seeds(self.seed, len(sizes))
        super().__init__(
            [
                TCNBlock(I, H, taps, dilation=d, seed=own, **options)
                for I, H, d, own in zip(
                    [input_size, *sizes[:-1]], sizes, distances, seeds, strict=True
                )
            ]
        )
        self._dilations = None if dilations is None else distances
        self._made = tuple(self.layers)

    @classmethod
    def covering(
        cls, input_size: int, hidden_size: int, steps: int, taps: int = 3, **options: Any
    ) -> Self:
        """Return the smallest stack whose receptive field has at least so many steps.

        Parameters
        ----------
        input_size, hidden_size : int
            Number of inputs, and of outputs of every block.
        steps : int
            Number of steps of x, at least 1, on which a step of y is to depend.
        taps : int, default 3
            J, at least 2.
        **options
            Other arguments of `TCN`, but for `dilations`: these are 1, 2, 4, ...

        Returns
        -------
        TCN

        Raises
        ------
        ValueError, TypeError
            If `steps` is below 1, or `taps` below 2.

        Examples
        --------
        >>> import crnn
        >>> tcn = crnn.TCN.covering(3, 16, steps=100)
        >>> len(tcn), tcn.receptive_field
        (5, 125)
        """
        steps, taps = check_size("steps", steps), check_size("taps", taps)
        if taps < 2:
            raise ValueError(f"taps: expected at least 2, got {taps}")
        blocks = 1
        while 1 + 2 * (taps - 1) * (2**blocks - 1) < steps:
            blocks += 1
        return cls(input_size, [hidden_size] * blocks, taps, **options)

    hidden_sizes = property(lambda self: [block.hidden_size for block in self.layers])
    taps = property(lambda self: self.layers[0].taps)
    weight_norm = property(lambda self: self.layers[0].weight_norm)
    dropout = property(lambda self: self.layers[0].dropout)
    variational = property(lambda self: self.layers[0].variational)
    dtype = property(lambda self: self.layers[0].dtype)

    @property
    def dilations(self) -> list[int] | None:
        """As passed: a list with an integer for each block, or None."""
        return self._dilations

    def append(self, layer: LayerLike) -> NoReturn:
        """Raise AttributeError: a TCN has the blocks that it was made with.

        Parameters
        ----------
        layer : layer
            Ignored. A `Sequential` of the TCN and this layer takes both.
        """
        raise AttributeError(
            f"append: a TCN has the blocks that it was made with; write crnn.Sequential([tcn, "
            f"{layer!r:.60}])"
        )

    def fold(self) -> TCN:
        """Return a TCN without weight normalisation that computes the same.

        Returns
        -------
        TCN
            See `CausalConv.fold`.

        Examples
        --------
        >>> import crnn
        >>> list(crnn.TCN(3, [3], seed=0).fold().params)
        ['0.conv1.W', '0.conv1.b', '0.conv2.W', '0.conv2.b']
        """
        folded = type(self)(**self.config | {"weight_norm": False})
        for block, own in zip(folded.layers, self.layers, strict=True):
            for name, array in own.fold().params.items():
                block.params[name] = array
        return folded

    @property
    def config(self) -> dict[str, Any]:
        if not (len(self.layers) == len(self._made) and all(map(is_, self.layers, self._made))):
            raise ValueError(
                "layers: expected the blocks that the TCN was made with, got others; put them into "
                "a crnn.Sequential"
            )
        return {name: getattr(self, name) for name in self._arguments} | {"dtype": self.dtype.name}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls(**config)

    def _shown(self) -> dict[str, Any]:
        return self.config

    __repr__ = Layer.__repr__
    __repr__.__doc__ = None

    @classmethod
    def parameter_count(cls, config: Mapping[str, Any]) -> int:
        sizes, _ = _levels(config["hidden_sizes"], config.get("dilations"))
        pairs = zip([config["input_size"], *sizes[:-1]], sizes, strict=True)
        options = {name: config[name] for name in ("taps", "weight_norm") if name in config}
        return sum(
            TCNBlock.parameter_count({"input_size": I, "hidden_size": H} | options)
            for I, H in pairs
        )

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        sizes, distances = _levels(config["hidden_sizes"], config.get("dilations"))
        inputs, taps = [config["input_size"], *sizes[:-1]], config.get("taps", 3)
        state = [
            (taps - 1) * d * width
            for *pair, d in zip(inputs, sizes, distances, strict=True)
            for width in pair
        ]
        return Widths(inputs[0], sizes[-1], tuple(state), last=(inputs[-1], sizes[-1]))


def _levels(hidden_sizes: Any, dilations: Any) -> tuple[list[int], list[int]]:
    """Return the sizes and the dilations of the blocks, checked."""
    if not isinstance(hidden_sizes, (list, tuple)) or not hidden_sizes:
        raise TypeError(
            f"hidden_sizes: expected a list of at least one integer, got {hidden_sizes!r:.100}"
        )
    sizes = [check_size(f"hidden_sizes[{i}]", size) for i, size in enumerate(hidden_sizes)]
    if dilations is None:
        return sizes, [2**i for i in range(len(sizes))]
    if not isinstance(dilations, (list, tuple)) or len(dilations) != len(sizes):
        raise ValueError(
            f"dilations: expected None or a list of {len(sizes)} integers, one for each block, got "
            f"{dilations!r:.100}"
        )
    return sizes, [check_size(f"dilations[{i}]", d) for i, d in enumerate(dilations)]
