"""Where a gradient goes on its way back through time, and what each step adds to that of W_h."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.choices import StateArray
from crnn.diagnostics.display import Axes, Display, by_row_and_step, stacked
from crnn.diagnostics.norms import norms
from crnn.layers.base.tapes import kept_in


class PartFlow:
    """The gradient in one recurrent layer.

    Attributes
    ----------
    dh : array (B, T, P)
        The total derivative dL/dh_t.
    dc : array (B, T, H), or None
        dL/dc_t of an LSTM.
    dgates : dict of str to array (B, T, H)
        dL/d of each gate's sum, before its activation.
    h_norms, c_norms : array (B, T)
        The norms of dh and dc over the units; c_norms is None where dc is.
    read : bool array (B, T)
        The steps that were read; at the others all of this is 0.
    """

    def __init__(self, pieces: list[_core.Tape], dh: list[Array]) -> None:
        self._pieces = pieces
        self.read = _joined([tape.read for tape in pieces])
        self.dh = _joined(dh)
        self.dc = _joined(dc) if (dc := _arranged("dc", pieces)) else None
        self.h_norms = norms(self.dh, 2)
        self.c_norms = None if self.dc is None else norms(self.dc, 2)

    @functools.cached_property
    def dgates(self) -> dict[str, Array]:
        shown = [tape.dgates for tape in self._pieces]
        return {gate: _joined([one[gate] for one in shown]) for gate in shown[0]}

    def by_step(self, what: StateArray = "h") -> Array:
        """(T,): the norm at each step, over rows and units; `what` is "h" or "c"."""
        return norms(self._of(what), (0, 2))

    def by_unit(self, what: StateArray = "h") -> Array:
        """(H,): the norm of each unit, over rows and steps."""
        return norms(self._of(what), (0, 1))

    def by_row(self, what: StateArray = "h") -> Array:
        """(B,): the norm of each row, over steps and units."""
        return norms(self._of(what), (1, 2))

    def __repr__(self) -> str:
        B, T, H = self.dh.shape
        return f"<{type(self).__name__}: dh of B={B} rows, T={T} steps, {H} units>"

    def _of(self, what: str) -> Array:
        found = {"h": self.dh, "c": self.dc}.get(what)
        if found is None:
            names = "'h' or 'c'" if self.dc is not None else "'h', its state is h alone"
            raise ValueError(f"what: expected {names}, got {what!r}")
        return found

    def share(self, t: int) -> Array:
        """The term of step t (from 0) in dL/dW_h = Σ_t Σ_rows ds_t h_{t-1}^T: (G*H, P)."""
        steps = self.read.shape[1]
        if not isinstance(t, (int, np.integer)) or not -steps <= t < steps:
            raise ValueError(f"t: expected a step from 0 to T - 1 = {steps - 1}, got {t!r}")
        piece, step = self._at(int(t) % steps)
        terms, kept = self._terms[piece]
        products = [
            d[:, step].T.astype(np.float64) @ h[:, step].astype(np.float64)
            for d, h in terms.values()
        ]
        term = np.concatenate(products)
        return np.asarray(term if kept is None else term * kept)

    @property
    def shares(self) -> Array:
        """The terms of all steps, (T, G*H, P): they add up to the gradient of W_h."""
        terms = self._terms[0][0].values()
        rows, columns = sum(d.shape[2] for d, _ in terms), next(h.shape[2] for _, h in terms)
        shares = np.zeros((self.read.shape[1], rows, columns))
        for t, share in enumerate(shares):
            share[...] = self.share(t)
        return shares

    @functools.cached_property
    def share_norms(self) -> Array:
        """(T,): the Frobenius norm of each step's term."""
        steps = range(self.read.shape[1])
        return np.array([norms(self.share(t), (0, 1)) for t in steps], np.float64)

    @functools.cached_property
    def row_share_norms(self) -> Array:
        """(B, T): the norm of each row's own part of each step's term."""
        return _joined([_row_norms(*terms) for terms in self._terms])

    @functools.cached_property
    def _terms(self) -> list[tuple[dict[str, tuple[Array, Array]], Array | None]]:
        return [(dict(tape.W_h_terms), tape.W_h_kept) for tape in self._pieces]

    def _at(self, t: int) -> tuple[int, int]:
        """The piece that a step lies in, and its place there."""
        for i, tape in enumerate(self._pieces):
            if t < (steps := tape.read.shape[1]):
                return i, t
            t -= steps
        raise AssertionError


def _arranged(name: str, pieces: list[_core.Tape]) -> list[Array] | None:
    """What tapes have of this name, arranged once; None where one of them has no such thing."""
    found = [getattr(tape, name, None) for tape in pieces]
    there = [array for array in found if array is not None]
    return there if there and len(there) == len(found) else None


def _joined(parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _row_norms(terms: dict[str, tuple[Array, Array]], kept: Array | None) -> Array:
    """The norm of each row's outer product at each step, (B, T)."""
    found = []
    for i, (d, h) in enumerate(terms.values()):
        if kept is None:
            found.append(norms(d, 2) * norms(h, 2))
        else:
            H = d.shape[2]
            factors = np.square(kept[i * H : (i + 1) * H], dtype=np.float64)
            found.append(norms(d * np.sqrt(np.square(h, dtype=np.float64) @ factors.T), 2))
    return norms(np.stack(found), 0)


_SHOWN = frozenset(
    ("dh", "dc", "dgates", "h_norms", "c_norms", "read", "by_step", "by_unit", "by_row")
).union(("share", "shares", "share_norms", "row_share_norms"))
"""What a flow of one part shows as its own."""


class GradientFlow(Display):
    """What `gradient_flow` found.

    Attributes
    ----------
    parts : dict of str to PartFlow
        The recurrent layers by place: "" for a layer alone, "0", "1.forward", "encoder", ...

    Notes
    -----
    ``flow["0"]`` is a part. Where there is one alone, its attributes are those of the flow:
    ``flow.h_norms``, ``flow.shares``.
    """

    def __init__(self, parts: dict[str, PartFlow]) -> None:
        self.parts = parts

    def __getitem__(self, place: str) -> PartFlow:
        if place not in self.parts:
            raise KeyError(f"expected one of {', '.join(map(repr, self.parts))}, got {place!r}")
        return self.parts[place]

    def __getattr__(self, name: str) -> Any:
        if name not in _SHOWN:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if len(self.parts) != 1:
            raise AttributeError(
                f"{name}: ask one of the parts for it, flow[place], with place one of "
                f"{', '.join(map(repr, self.parts))}"
            )
        return getattr(next(iter(self.parts.values())), name)

    @property
    def columns(self) -> dict[str, Any]:
        tables = []
        for place, part in self.parts.items():
            table, at = by_row_and_step(place, part.read)
            table |= {"dh": part.h_norms[at]}
            if part.c_norms is not None:
                table |= {"dc": part.c_norms[at]}
            tables.append(table | {"dW_h": part.row_share_norms[at]})
        return stacked(tables)

    def plot(self, ax: Axes | None = None) -> Axes:
        """The norms of dL/dh_t and dL/dc_t, and of each step's term of dL/dW_h, step by step."""
        from crnn.plotting import norms_by_step

        curves = {}
        for place, part in self.parts.items():
            before = f"{place}: " if place else ""
            curves[f"{before}dL/dh_t"] = part.by_step("h")
            if part.dc is not None:
                curves[f"{before}dL/dc_t"] = part.by_step("c")
            curves[f"{before}term of dL/dW_h"] = part.share_norms
        return norms_by_step(curves, ax)


def gradient_flow(tape: Any) -> GradientFlow:
    r"""Follow a gradient back through time: its norm at every step, and what each step adds.

    The gradient of the recurrent weights is a sum over the steps at which they were used,

    .. math:: \frac{\partial L}{\partial W_h} = \sum_{t=1}^{T}
              \frac{\partial L}{\partial s_t} h_{t-1}^\top

    (s the gates' sums), so a step whose term is small teaches them little (Werbos 1990; Pascanu,
    Mikolov and Bengio 2013).

    Parameters
    ----------
    tape : tape
        Of any layer or composition, after ``layer.backward(tape, dy, trace=True)``.

    Returns
    -------
    GradientFlow
        With a part for each recurrent layer: ``h_norms`` and ``c_norms`` (B, T), by step, by unit
        and by row; ``shares`` (T, G*H, P), which add up to ``grads["W_h"]`` of that walk.

    Raises
    ------
    ValueError
        If no recurrent layer has kept a trace in this tape.

    Examples
    --------
    >>> import numpy as np
    >>> layer = crnn.LSTM(3, 5, dtype="float64", seed=0)
    >>> y, _, tape = layer.forward(np.ones((2, 7, 3)))
    >>> _ = layer.backward(tape, np.ones_like(y), trace=True)
    >>> flow = gradient_flow(tape)
    >>> flow.h_norms.shape, np.allclose(flow.shares.sum(axis=0), layer.grads["W_h"])
    ((2, 7), True)
    """
    kept = list(kept_in(tape))
    parts = {
        one.place: PartFlow(one.pieces, dh) for one in kept if (dh := _arranged("dh", one.pieces))
    }
    if not parts:
        why = "no recurrent layer has a tape in it" if not kept else "there is no trace in it"
        raise ValueError(
            "tape: expected that of a recurrent layer or of a composition with one, after "
            f"backward(tape, dy, trace=True), got {type(tape).__name__}: {why}"
        )
    return GradientFlow(parts)
