"""Reservoirs: recurrent layers whose random weights are fixed."""

from __future__ import annotations

import inspect
from numbers import Real
from typing import Any, ClassVar, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

import crnn._core as _core
from crnn.common.arrays import Array, Floats
from crnn.common.checks import check_array, check_dtype, check_real, check_seed, check_size
from crnn.common.choices import Activation, Topology
from crnn.common.spectral import spectral_radius as radius_of
from crnn.layers.base import weights
from crnn.layers.base.protocol import Option
from crnn.layers.recurrent.cells import RNN
from crnn.layers.recurrent.topologies import (
    draw,
    draw_bias,
    draw_inputs,
    entries_in_blocks,
    rounded_density,
)


class Reservoir(RNN):
    """Fixed random recurrent layer of an echo state network: h' = (1−a)∘h + a∘φ(W_x x + W_h h + b).

    Jaeger, "The echo state approach to analysing and training recurrent neural networks" (2001).
    The weights are drawn once and are not trained; a readout such as `Ridge` is fitted to the
    states. Everything else is as for an `RNN` with a leak.

    Parameters
    ----------
    input_size, hidden_size : int
        Number of inputs I and of hidden units H.
    spectral_radius : float, default 0.9
        Spectral radius of W_h at first, at least 0. Below 1 the states usually forget the initial
        state; the closer to 1, the longer the memory. 0: W_h is 0.
    input_scaling : float or array_like (I,), default 1.0
        Range of W_x, for all inputs or for each: uniform in (-input_scaling, input_scaling), and
        for "cycle" one of both ends, at least 0. Small inputs leave the units in the linear range
        of φ.
    bias_scaling : float, default 0.0
        Range of b, likewise. With 0 and an odd φ such as tanh, the states are odd functions of the
        inputs, and a readout cannot fit their squares; 0.2 is usual where it has to.
    leak : float or array_like (H,), default 1.0
        a, for all units or for each: 0 < a <= 1. A unit with a small a changes slowly.
    noise : float, default 0
        In training (``forward``, but not a call of the layer), numbers that are uniform in
        (-noise, noise) are added to the sum inside of φ, at every step: ν of Jaeger, who uses 1e-8
        to 1e-5. It makes a readout less dependent on small differences of the states.
    density : float, default 0.1
        Share of the entries of W_h that are not 0, above 0 and at most 1. Units are connected in
        blocks of 16 x 16, whose products are fast. Each block of units reads as many blocks as read
        it, so many that a unit reads at least 48 units or all. The density is therefore rounded up;
        fewer than 64 units are always dense, "orthogonal" also some numbers up to 111. `repr` shows
        the rounded density, which makes the same weights. "cycle" does not use it.
    topology : {"random", "orthogonal", "cycle"}, default "random"
        "random": uniform weights, in blocks that are drawn by permutations. "orthogonal": an
        orthogonal matrix times `spectral_radius`, which keeps all directions of the state equally
        long. "cycle": a ring, in which each unit reads the unit before it with the weight
        `spectral_radius`; W_x has random signs in place of uniform numbers (Rodan and Tiňo,
        "Minimum complexity echo state network", 2011).
    activation : str, default "tanh"
        φ, as for `RNN`. "identity" makes a linear reservoir.
    delays : int or tuple of one int, default 1
        d: W_h reads the state of d steps before, as for `RNN`. The reservoir then consists of d
        interleaved ones, and is as fast. Several delays are not supported.
    reverse : bool, default False
        Read each row from its last valid step to its first, as for `RNN`.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters, outputs and states.
    seed : int, optional
        Seed of the weights, which are the same on every machine. None draws a seed.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        W_x (H, I), W_h (H, H), b (H,).
    trainable : bool
        False: the weights are fixed, and backward computes no gradients of them. True: the layer is
        trained as an `RNN`, and zeros of W_h may change, too.
    spectral_radius, effective_radius : float
        Of W_h and of (1−a)I + aW_h, as W_h is now. Each is computed when it is read, which takes
        about a second for H = 1000.
    input_scaling : float or tuple of I floats
        As passed, like `bias_scaling`, `density` and `topology`.
    input_size, hidden_size, output_size : int
        I, H and H.
    dtype : dtype
        As passed.
    leak, noise, delays : float, float, int
        As passed; a leak of each unit as a tuple of H floats.
    seed : int
        The seed that was used.

    Methods
    -------
    __call__(x, state=None, *, lengths=None, mask=None, resets=None)
        Run the reservoir; return the states h (B, T, H) and the last one (B, H).
    forward, backward, stream, state_dict, load_state_dict, astype, summary
        As for `RNN`. ``summary()`` counts the blocks of W_h that are not 0 as multiply-adds.

    Raises
    ------
    ValueError, TypeError
        If a size is below 1 or too large for memory, a scaling, the spectral radius, the density,
        the leak or the seed is out of its range, an option is unknown, or a weight is above the
        range of the dtype.

    See Also
    --------
    RNN : The same layer with trainable weights.
    Ridge : A readout by linear least squares.
    crnn.diagnostics.memory_capacity : How many earlier inputs the states determine.

    Notes
    -----
    A linear reservoir forgets its initial state if and only if `effective_radius` is below 1. With
    tanh and without a leak, a largest singular value of W_h below 1 is sufficient; in practice, a
    spectral radius of about 1 is used (Lukoševičius, "A practical guide to applying echo state
    networks", 2012). W_h is scaled once, in float64, and then rounded to the dtype, which changes
    the radius by about 1e-7 in float32.

    Products skip blocks of W_h that are 0, and their results have the bits of products with the
    zeros. They pay from H = 64 on. A call packs the blocks first, which takes as long as some tens
    of steps; a stream packs them once.

    Each block of 16 units reads the blocks ``c[i + s]``, where i is its place in a random order of
    the blocks, c another order, and s takes different random values, the same for all blocks. The
    groups do not depend on the width of vectors, so a seed has the same weights on every
    instruction set. Orthogonal matrices are made of random rotations of pairs of rows; with zeros,
    they have an orthogonal matrix in each of several groups of blocks.

    A ring of H linear units with the weight r has the memory capacity H − (1 − r^2H) if the states
    determine the inputs; the signs of W_x are drawn until they do.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> reservoir = crnn.Reservoir(1, 100, input_scaling=0.1, leak=0.9, seed=0)
    >>> reservoir
    Reservoir(1, 100, input_scaling=0.1, leak=0.9, density=0.5714285714285714, seed=0)
    >>> round(reservoir.spectral_radius, 6), reservoir.effective_radius < 0.92
    (0.9, True)
    >>> u = np.random.default_rng(0).uniform(-1, 1, (1, 500, 1))
    >>> h, last = reservoir(u)
    >>> target = np.roll(u, 3, axis=1)  # the input three steps before
    >>> readout = crnn.Ridge(100, 1).fit(h, target, washout=100)
    >>> float(crnn.metrics.nrmse(readout(h[:, 100:])[0], target[:, 100:])) < 0.1
    True
    """

    _initial: ClassVar[dict[str, Any]] = {
        "spectral_radius": 0.9,
        "input_scaling": 1.0,
        "bias_scaling": 0.0,
        "density": 0.1,
        "topology": "random",
    }

    input_scaling: Option[float | tuple[float, ...]]
    bias_scaling: Option[float]
    density: Option[float]
    topology: Option[Topology]
    _radius: float  # `spectral_radius` as passed

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        spectral_radius: float = 0.9,
        input_scaling: ArrayLike = 1.0,
        bias_scaling: float = 0.0,
        leak: ArrayLike = 1.0,
        noise: float = 0.0,
        density: float = 0.1,
        topology: Topology = "random",
        activation: Activation = "tanh",
        delays: int | tuple[int] = 1,
        reverse: bool = False,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        seed = check_seed(seed)
        options: dict[str, Any] = {"activation": activation, "leak": leak, "noise": noise}
        options |= {"delays": _check_delays(delays), "reverse": reverse, "dtype": dtype}
        _core.RNN._outline(input_size, hidden_size, **options)  # raises if one is invalid
        input_size, hidden_size = int(input_size), int(hidden_size)
        initial = {
            "spectral_radius": check_real("spectral_radius", spectral_radius, 0.0),
            "input_scaling": _check_scaling(input_scaling, input_size),
            "bias_scaling": check_real("bias_scaling", bias_scaling, 0.0),
            "density": _check_density(density),
            "topology": _check_topology(topology),
        }
        drawn = {}
        if weights.are_drawn():
            drawn = _drawn(initial, input_size, hidden_size, check_dtype(dtype), seed)
        _core.RNN.__init__(self, input_size, hidden_size, **options)
        self.params.update(drawn)
        self.__dict__.update(initial, _radius=initial["spectral_radius"])
        self._keep_seed(seed)
        self.trainable = False

    def __setattr__(self, name: str, value: Any) -> None:
        if name in {*self._initial, "effective_radius"}:
            raise AttributeError(f"{name}: cannot be set; make a new layer, or change its params")
        super().__setattr__(name, value)

    @property
    def spectral_radius(self) -> float:
        """The spectral radius of W_h as it is now."""
        return radius_of(self.params["W_h"])

    @property
    def effective_radius(self) -> float:
        """The spectral radius of (1−a)I + aW_h as W_h is now, with a per unit as a diagonal."""
        leak = np.asarray(1.0 if self.leak is None else self.leak, np.float64).reshape(-1, 1)
        return radius_of((1 - leak) * np.eye(self.hidden_size) + leak * self.params["W_h"])

    @property
    def multiply_adds(self) -> int:
        """Number of multiply-adds of one step of one row, without blocks of W_h that are 0."""
        return self.params["W_x"].size + entries_in_blocks(self.params["W_h"])

    @property
    def config(self) -> dict[str, Any]:
        given = {**vars(self), **self.options, "spectral_radius": self._radius, "seed": self.seed}
        sizes = {name: getattr(self, name) for name in self._leading}
        return sizes | {name: given[name] for name in self._defaults if name not in sizes}

    @property
    def _defaults(self) -> dict[str, Any]:
        parameters = inspect.signature(Reservoir).parameters.values()
        return {parameter.name: parameter.default for parameter in parameters}

    def _shown(self) -> dict[str, Any]:
        density = rounded_density(self.topology, self.hidden_size, self.density)
        return super()._shown() | {"density": density}


def _drawn(
    initial: dict[str, Any], I: int, H: int, dtype: np.dtype[Any], seed: int
) -> dict[str, Array]:
    """Return the weights by name, in a dtype that represents them, or raise."""
    topology, scaling = initial["topology"], initial["input_scaling"]
    scalings = np.broadcast_to(np.asarray(scaling, np.float64), I)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        made = {
            "input_scaling": ("W_x", draw_inputs(topology, scalings, H, seed)),
            "spectral_radius": (
                "W_h",
                draw(topology, initial["spectral_radius"], initial["density"], H, seed),
            ),
            "bias_scaling": ("b", draw_bias(initial["bias_scaling"], H, seed)),
        }
        return {name: _fitting(cause, array, dtype) for cause, (name, array) in made.items()}


def _fitting(cause: str, array: Floats, dtype: np.dtype[Any]) -> Array:
    """Return weights in a dtype, or raise an error that names the option that made them."""
    converted = array.astype(dtype)
    if not np.isfinite(converted).all():
        raise ValueError(f"{cause}: expected weights in the range of {dtype}, got larger ones")
    return converted


def _check_scaling(scaling: Any, inputs: int) -> float | tuple[float, ...]:
    """Return a number of at least 0, or a tuple of one for each input, or raise."""
    if isinstance(scaling, (Real, str)):
        return check_real("input_scaling", scaling, 0.0)
    numbers = check_array("input_scaling", scaling, "real numbers", (), (("I", inputs),))
    checked = tuple(check_real("input_scaling", one, 0.0) for one in numbers.ravel().tolist())
    return checked if numbers.ndim else checked[0]


def _check_density(density: Any) -> float:
    number = check_real("density", density)
    if not 0 < number <= 1:
        raise ValueError(f"density: expected 0 < density <= 1, got {density!r:.60}")
    return number


def _check_topology(topology: Any) -> Topology:
    names = get_args(Topology)
    if not isinstance(topology, str) or topology not in names:
        raise ValueError(f"topology: expected one of {', '.join(names)}, got {topology!r:.60}")
    return cast(Topology, topology)


def _check_delays(delays: Any) -> int:
    """Return the only delay, or raise."""
    one = delays[0] if isinstance(delays, (tuple, list)) and len(delays) == 1 else delays
    if isinstance(one, (tuple, list, bool)):
        raise (TypeError if isinstance(one, bool) else ValueError)(
            f"delays: expected one integer of at least 1, got {delays!r:.60}"
        )
    return check_size("delays", one)
