"""Dilated causal convolutions, and the residual block of temporal convolutional networks.

S. Bai, J. Z. Kolter, V. Koltun, An empirical evaluation of generic convolutional and recurrent
networks for sequence modeling, arXiv:1803.01271 (2018). Weight normalisation: T. Salimans, D. P.
Kingma, arXiv:1602.07868 (2016).
"""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from crnn.reference.activations import activation
from crnn.reference.arrays import Array, Arrays, Named, Shapes, part
from crnn.reference.temporal import Part, PartShape, Temporal
from crnn.reference.training import dense, dense_backward


@dataclass(eq=False, kw_only=True)
class CausalConv(Temporal):
    """Causal convolution: a sum over the inputs of J steps, d steps apart.

    ::

        y_t = φ(b + Σ_j W_j x_{t−s_j}),    s_j = (J−1−j) d

    The inputs before the first step are the state, zeros by default. With weight normalisation W is
    computed from v and g: ``W_{·o·} = g_o v_{·o·} / |v_{·o·}|``, the norm over taps and inputs, or
    0 where v is 0.

    Parameters
    ----------
    taps : int, default 3
        J, the number of steps that are read.
    dilation : int, default 1
        d, the number of steps from one of them to the next.
    activation : str, optional
        Name of φ, one of `ACTIVATIONS`. None: the identity.
    weight_norm : bool, default False
        Use the parameters v and g in place of W.

    Methods
    -------
    shapes(input_size, hidden_size, bias=True)
        Shapes of the parameters.

    Notes
    -----
    The parameters are ``W (J, H, I)``, the oldest tap first, or ``v (J, H, I)`` and ``g (H,)``, and
    ``b (H,)``. The state is an array (B, (J-1)*d, I): the last inputs, the oldest first. The other
    methods are those of `Temporal`.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> conv = crnn.reference.CausalConv(taps=2, dilation=3)
    >>> params = {"W": np.array([10.0, 1.0]).reshape(2, 1, 1)}  # y_t = 10 x_{t-3} + x_t
    >>> y, state, tape = conv.forward(params, np.arange(1.0, 6.0).reshape(1, 5, 1))
    >>> y[0, :, 0], state[0, :, 0]
    (array([ 1.,  2.,  3., 14., 25.]), array([3., 4., 5.]))
    """

    taps: int = 3
    dilation: int = 1
    activation: str | None = None
    weight_norm: bool = False

    def __post_init__(self) -> None:
        self.phi = activation(self.activation or "identity")
        self.before = [j * self.dilation for j in range(self.taps)]  # first step that tap j reads

    def shapes(self, input_size: int, hidden_size: int, bias: bool = True) -> Shapes:
        """Return the shapes of the parameters; I and H are `input_size` and `hidden_size`."""
        kernel, H = (self.taps, hidden_size, input_size), (hidden_size,)
        weights: Shapes = {"v": kernel, "g": H} if self.weight_norm else {"W": kernel}
        return weights | ({"b": H} if bias else {})

    def state_shapes(self, w: Named) -> list[PartShape]:
        """Return the shape of the past inputs."""
        return [(self.before[-1], w["v" if self.weight_norm else "W"].shape[2])]

    def output_size(self, w: Named, x: Array) -> int:
        """Return H."""
        return int(w["v" if self.weight_norm else "W"].shape[1])

    def read(self, w: Named, x: Array, *state: Part) -> tuple[Array, list[Part], SimpleNamespace]:
        """Return y (n, H), the inputs that later steps read, and x with the past inputs."""
        W, seen, n = self._kernel(w), np.concatenate([*state, x]), len(x)
        taps = [seen[first : first + n] @ W_j.T for first, W_j in zip(self.before, W, strict=True)]
        y = self.phi(w.get("b", 0) + sum(taps))
        return y, [seen[n:]], SimpleNamespace(seen=seen, y=y)

    def read_backward(
        self, w: Named, dw: Named, kept: SimpleNamespace, dy: Array, dstate: Arrays
    ) -> tuple[Array, Arrays]:
        """Return the gradients of x and of the past inputs."""
        n, W = len(dy), self._kernel(w)
        da, dW, dseen = dy * self.phi.slope(kept.y), np.zeros_like(W), np.zeros_like(kept.seen)
        dseen[n:] = dstate[0]
        for j, first in enumerate(self.before):
            dW[j] = da.T @ kept.seen[first : first + n]
            dseen[first : first + n] += da @ W[j]
        self._add_kernel(w, dw, dW)
        if "b" in w:
            dw["b"] += da.sum(axis=0)
        past = len(dseen) - n
        return dseen[past:], [dseen[:past]]

    def _kernel(self, w: Named) -> Array:
        """Return W."""
        if not self.weight_norm:
            return w["W"]
        return np.asarray(w["g"][:, None] * _inverse_norm(w["v"]) * w["v"])

    def _add_kernel(self, w: Named, dw: Named, dW: Array) -> None:
        """Add the gradients of v and g, computed from that of W; or dW itself."""
        if not self.weight_norm:
            dw["W"] += dW
            return
        inverse = _inverse_norm(w["v"])
        unit = inverse * w["v"]
        dg = np.sum(dW * unit, axis=(0, 2), keepdims=True)
        dw["g"] += dg[0, :, 0]
        dw["v"] += w["g"][:, None] * inverse * (dW - dg * unit)


@dataclass(eq=False, kw_only=True)
class TCNBlock(Temporal):
    """Residual block of two causal convolutions, the block of Bai et al. without dropout.

    ::

        z_1 = φ(conv_1 x),    z_2 = φ(conv_2 z_1),    y = φ(z_2 + r),    φ = relu

    r is x or, where the widths differ, ``W_skip x + b_skip``.

    Parameters
    ----------
    taps : int, default 3
        J, the number of steps that each convolution reads.
    dilation : int, default 1
        d, the number of steps from one of them to the next.
    weight_norm : bool, default True
        Whether the convolutions have the parameters v and g in place of W.

    Methods
    -------
    shapes(input_size, hidden_size, bias=True)
        Shapes of the parameters.

    Notes
    -----
    The parameters are those of `CausalConv` with "conv1." and "conv2." in front, and, where I is
    not H, ``skip.W (H, I)`` and ``skip.b (H,)``. The state is a pair: the last inputs of the first
    convolution, (B, (J-1)*d, I), and of the second, (B, (J-1)*d, H). The other methods are those of
    `Temporal`.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> block = crnn.reference.TCNBlock(taps=2, weight_norm=False)
    >>> params = {"conv1.W": np.ones((2, 1, 1)), "conv2.W": np.ones((2, 1, 1))}
    >>> y, state, tape = block.forward(params, np.array([1.0, 0.0, 0.0, 0.0]).reshape(1, 4, 1))
    >>> y[0, :, 0]  # 1, 2, 1 of the convolutions, and x
    array([2., 2., 1., 0.])
    """

    taps: int = 3
    dilation: int = 1
    weight_norm: bool = True

    def __post_init__(self) -> None:
        self.phi = activation("relu")
        self.conv = CausalConv(
            taps=self.taps,
            dilation=self.dilation,
            activation="relu",
            weight_norm=self.weight_norm,
        )

    def shapes(self, input_size: int, hidden_size: int, bias: bool = True) -> Shapes:
        """Return the shapes of the parameters; I and H are `input_size` and `hidden_size`."""
        shapes: Shapes = {}
        for name, width in {"conv1": input_size, "conv2": hidden_size}.items():
            of_conv = self.conv.shapes(width, hidden_size, bias)
            shapes |= {f"{name}.{key}": shape for key, shape in of_conv.items()}
        if input_size != hidden_size:
            shapes |= {"skip.W": (hidden_size, input_size)}
            shapes |= {"skip.b": (hidden_size,)} if bias else {}
        return shapes

    def state_shapes(self, w: Named) -> list[PartShape]:
        """Return the shapes of the past inputs of both convolutions."""
        return [self.conv.state_shapes(part(w, name))[0] for name in ("conv1", "conv2")]

    def output_size(self, w: Named, x: Array) -> int:
        """Return H."""
        return self.conv.output_size(part(w, "conv2"), x)

    def read(self, w: Named, x: Array, *state: Part) -> tuple[Array, list[Part], SimpleNamespace]:
        """Return y (n, H), the inputs that later steps read, and what backward needs."""
        z1, end1, conv1 = self.conv.read(part(w, "conv1"), x, state[0])
        z2, end2, conv2 = self.conv.read(part(w, "conv2"), z1, state[1])
        y = self.phi(z2 + (dense(part(w, "skip"), x) if "skip.W" in w else x))
        return y, end1 + end2, SimpleNamespace(x=x, y=y, conv1=conv1, conv2=conv2)

    def read_backward(
        self, w: Named, dw: Named, kept: SimpleNamespace, dy: Array, dstate: Arrays
    ) -> tuple[Array, Arrays]:
        """Return the gradients of x and of the past inputs of both convolutions."""
        conv, w1, w2, e = self.conv, part(w, "conv1"), part(w, "conv2"), dy * self.phi.slope(kept.y)
        dz1, dpast2 = conv.read_backward(w2, part(dw, "conv2"), kept.conv2, e, dstate[1:])
        dx, dpast1 = conv.read_backward(w1, part(dw, "conv1"), kept.conv1, dz1, dstate[:1])
        if "skip.W" not in w:
            return dx + e, dpast1 + dpast2
        dskip, grads = dense_backward(part(w, "skip"), kept.x, e)
        for name, grad in grads.items():
            dw[f"skip.{name}"] += grad
        return dx + dskip, dpast1 + dpast2


def _inverse_norm(v: Array) -> Array:
    """Return 1 / |v|, the norm over taps and inputs, (1, H, 1); 0 where v is 0."""
    norm = np.sqrt(np.sum(v**2, axis=(0, 2), keepdims=True))
    return np.asarray(np.divide(1, norm, out=np.zeros_like(norm), where=norm != 0))
