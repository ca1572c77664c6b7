"""The sums of the gates, ``s = W_x x + W_h h + b``, forward and backward.

With layer normalisation the two products are normalised separately before they are added, each over
all gates that are computed together:

::

    s = gain_x∘N(W_x x) + gain_h∘N(W_h h) + b,    N(a) = (a − mean a) / √(var a + 1e-5)

J. L. Ba, J. R. Kiros, G. E. Hinton, Layer normalization, arXiv:1607.06450 (2016), equations 20-25.
The biases of the two normalisations are one parameter here, b. A layer is normalised if its
parameters contain gains.
"""

from collections.abc import Sequence

import numpy as np

from crnn.reference.arrays import Array, Arrays, Blocks, Named

EPSILON = 1e-5


def products(w: Blocks, side: str, gates: Sequence[str], v: Array) -> Arrays:
    """Return ``W v`` of every gate; `side` is "x" or "h"."""
    return [v @ vars(w)[f"W_{side}{gate}"].T for gate in gates]


def product(w: Blocks, side: str, gates: Sequence[str], v: Array) -> Blocks:
    """Return ``W v`` of every gate under the names of the gates, normalised over these gates."""
    gains = [f"gain_{side}{gate}" for gate in gates]
    parts = normed(w, gains, *products(w, side, gates, v))
    return Blocks(**dict(zip(gates, parts, strict=True)))


def product_backward(w: Blocks, dw: Blocks, side: str, ds: Named, v: Array) -> Array:
    """Add dW = ds vᵀ of `product` to ``dw``, and return dv = Wᵀ ds."""
    gains = [f"gain_{side}{gate}" for gate in ds]
    parts = normed_backward(w, dw, gains, list(ds.values()), *products(w, side, list(ds), v))
    dv = np.zeros_like(v)
    for gate, part in zip(ds, parts, strict=True):
        vars(dw)[f"W_{side}{gate}"] += part.T @ v
        dv += part @ vars(w)[f"W_{side}{gate}"]  # every gate uses v, so its gradients are summed
    return dv


def sums(w: Blocks, gates: Sequence[str], x: Array, h: Array | None = None) -> Blocks:
    """Return ``W_x x + W_h h + b`` of every gate, under the names of the gates.

    Without h: ``W_x x + b``.
    """
    of_x = vars(product(w, "x", gates, x))
    of_h = dict.fromkeys(gates, 0.0) if h is None else vars(product(w, "h", gates, h))
    return Blocks(**{gate: of_x[gate] + of_h[gate] + vars(w)["b_" + gate] for gate in gates})


def sums_backward(
    w: Blocks, dw: Blocks, ds: Named, x: Array, h: Array | None = None
) -> tuple[Array, Array]:
    """Add the gradients of `sums` to ``dw``, and return dx and dh; ``ds`` maps gates to ∂L/∂s.

    Without h, dh is empty.
    """
    for gate, ds_gate in ds.items():
        vars(dw)["b_" + gate] += ds_gate.sum(axis=0)
    dx = product_backward(w, dw, "x", ds, x)
    return dx, np.empty(0) if h is None else product_backward(w, dw, "h", ds, h)


def normed(w: Blocks, gains: Sequence[str], *parts: Array) -> Arrays:
    """Return gain∘N(a), a being `parts` side by side; without such gains return `parts`."""
    if gains[0] not in vars(w):
        return list(parts)
    n = np.split(standardised(np.hstack(parts)), len(parts), axis=1)
    return [vars(w)[gain] * part for gain, part in zip(gains, n, strict=True)]


def normed_backward(
    w: Blocks, dw: Blocks, gains: Sequence[str], ds: Arrays, *parts: Array
) -> Arrays:
    """Add the gradients of the gains of `normed` to ``dw``, and return those of `parts`."""
    if gains[0] not in vars(w):
        return ds
    a = np.hstack(parts)
    n, dn = standardised(a), np.hstack(ds)
    for gain, part in zip(gains, np.split((dn * n).sum(axis=0), len(gains)), strict=True):
        vars(dw)[gain] += part
    dn = dn * np.concatenate([vars(w)[gain] for gain in gains])
    # An entry of a also changes the mean and the variance of its row: hence these two terms.
    through_row = dn.mean(axis=1, keepdims=True) + n * (dn * n).mean(axis=1, keepdims=True)
    return np.split((dn - through_row) / deviation(a), len(parts), axis=1)


def standardised(a: Array) -> Array:
    """Return N(a): every row minus its mean, divided by its standard deviation."""
    return np.asarray((a - a.mean(axis=1, keepdims=True)) / deviation(a))


def deviation(a: Array) -> Array:
    """Return the standard deviation (rows, 1) of every row; `EPSILON` keeps it above 0."""
    return np.asarray(np.sqrt(a.var(axis=1, keepdims=True) + EPSILON))
