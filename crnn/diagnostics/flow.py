"""The gradient at each step of backpropagation through time, and each step's term of dL/dW_h."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.choices import StateArray
from crnn.common.representation import never_raising
from crnn.diagnostics.display import Axes, Display, by_row_and_step, stacked
from crnn.diagnostics.norms import norms
from crnn.layers.base.tapes import recurrent_tapes


class PartFlow:
    """The gradient in one recurrent layer: a part of `GradientFlow`.

    Parameters
    ----------
    pieces : list of tapes
        The tapes of the layer, in the order of time, after a backward pass with a trace.
    dh : list of arrays (B, T, P)
        dL/dh_t of each tape.

    Attributes
    ----------
    dh : array (B, T, P)
        The total derivative dL/dh_t.
    dc : array (B, T, H), or None
        The total derivative dL/dc_t of an LSTM; None for other cells.
    dgates : dict of str to array (B, T, H)
        The derivative with respect to the sum of each gate, before its activation.
    h_norms : float64 array (B, T)
        Norm of dh over the units.
    c_norms : float64 array (B, T), or None
        Norm of dc over the units; None where dc is.
    read : bool array (B, T)
        True at the steps that were read. At the other steps all gradients are 0.
    shares : float64 array (T, G*H, K*P), or None
        The term of each step in dL/dW_h. Their sum is the gradient of W_h. None if the layer has no
        W_h.
    share_norms : float64 array (T,), or None
        Frobenius norm of the term of each step.
    row_share_norms : float64 array (B, T), or None
        Frobenius norm of the contribution of each row to the term of each step.

    Methods
    -------
    by_step(what="h"), by_unit(what="h"), by_row(what="h")
        Norms of dh or dc for each step, unit or row.
    share(t)
        The term of one step in dL/dW_h.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> model = crnn.Sequential([crnn.LSTM(3, 5, seed=0), crnn.GRU(5, 4, seed=1)])
    >>> y, _, tape = model.forward(np.ones((2, 7, 3)))
    >>> _ = model.backward(tape, np.ones_like(y), trace=True)
    >>> part = crnn.diagnostics.gradient_flow(tape)["0"]
    >>> part
    <PartFlow: dh of B=2 rows, T=7 steps, 5 units>
    >>> sorted(part.dgates), part.by_step("c").shape, part.share(6).shape
    (['f', 'g', 'i', 'o'], (7,), (20, 5))
    """

    def __init__(self, pieces: list[_core.Tape], dh: list[Array]) -> None:
        self._pieces = pieces
        self.read = _joined([tape.read for tape in pieces])
        self.dh = _joined(dh)
        self.dc = _joined(dc) if (dc := _from_all("dc", pieces)) else None
        self.h_norms = norms(self.dh, 2)
        self.c_norms = None if self.dc is None else norms(self.dc, 2)

    @functools.cached_property
    def dgates(self) -> dict[str, Array]:
        """Derivatives (B, T, H) with respect to the sums of the gates, by letter."""
        dgates = [tape.dgates for tape in self._pieces]
        return {gate: _joined([one[gate] for one in dgates]) for gate in dgates[0]}

    def by_step(self, what: StateArray = "h") -> Array:
        """Return the norm at each step, over rows and units.

        Parameters
        ----------
        what : {"h", "c"}, default "h"
            Whether to use dL/dh_t or dL/dc_t.

        Returns
        -------
        float64 array (T,)
        """
        return norms(self._of(what), (0, 2))

    def by_unit(self, what: StateArray = "h") -> Array:
        """Return the norm of each unit, over rows and steps.

        Parameters
        ----------
        what : {"h", "c"}, default "h"
            Whether to use dL/dh_t or dL/dc_t.

        Returns
        -------
        float64 array (P,) or (H,)
        """
        return norms(self._of(what), (0, 1))

    def by_row(self, what: StateArray = "h") -> Array:
        """Return the norm of each row, over steps and units.

        Parameters
        ----------
        what : {"h", "c"}, default "h"
            Whether to use dL/dh_t or dL/dc_t.

        Returns
        -------
        float64 array (B,)
        """
        return norms(self._of(what), (1, 2))

    @never_raising
    def __repr__(self) -> str:
        B, T, H = self.dh.shape
        return f"<{type(self).__name__}: dh of B={B} rows, T={T} steps, {H} units>"

    def _of(self, what: str) -> Array:
        """Return dh or dc."""
        array = {"h": self.dh, "c": self.dc}.get(what)
        if array is None:
            names = "'h' or 'c'" if self.dc is not None else "'h', because the state is h alone"
            raise ValueError(f"what: expected {names}, got {what!r}")
        return array

    def share(self, t: int) -> Array:
        """Return the term of step t in dL/dW_h = Σ_t Σ_rows ds_t h_{t-1}^T.

        Parameters
        ----------
        t : int
            The step, counted from 0; negative numbers count from the end.

        Returns
        -------
        float64 array (G*H, K*P)

        Raises
        ------
        ValueError
            If there is no step t, or the layer has no W_h.
        """
        if not self._has_W_h:
            raise ValueError("share: expected the gradient of a layer with W_h, got one without")
        steps = self.read.shape[1]
        if not isinstance(t, (int, np.integer)) or not -steps <= t < steps:
            raise ValueError(f"t: expected a step from 0 to T - 1 = {steps - 1}, got {t!r}")
        piece, step = self._locate(int(t) % steps)
        terms, kept = self._terms[piece]
        products = [
            d[:, step].T.astype(np.float64) @ h[:, step].astype(np.float64)
            for d, h in terms.values()
        ]
        term = np.concatenate(products)
        return np.asarray(term if kept is None else term * kept)

    @property
    def _has_W_h(self) -> bool:
        return bool(self._terms[0][0])

    @property
    def shares(self) -> Array | None:
        """Terms of all steps (T, G*H, K*P); their sum is the gradient of W_h. None without W_h."""
        if not self._has_W_h:
            return None
        terms = self._terms[0][0].values()
        rows, columns = sum(d.shape[2] for d, _ in terms), next(h.shape[2] for _, h in terms)
        shares = np.zeros((self.read.shape[1], rows, columns))
        for t, share in enumerate(shares):
            share[...] = self.share(t)
        return shares

    @functools.cached_property
    def share_norms(self) -> Array | None:
        """Frobenius norm (T,) of the term of each step; None without W_h."""
        if not self._has_W_h:
            return None
        steps = range(self.read.shape[1])
        return np.array([norms(self.share(t), (0, 1)) for t in steps], np.float64)

    @functools.cached_property
    def row_share_norms(self) -> Array | None:
        """Frobenius norm (B, T) of each row's part of the term of each step; None without W_h."""
        if not self._has_W_h:
            return None
        return _joined([_row_norms(*terms) for terms in self._terms])

    @functools.cached_property
    def _terms(self) -> list[tuple[dict[str, tuple[Array, Array]], Array | None]]:
        """For each tape the factors ds (B, T, H) and h of each gate, and the mask of W_h."""
        return [(dict(tape.W_h_terms), tape.W_h_kept) for tape in self._pieces]

    def _locate(self, t: int) -> tuple[int, int]:
        """Return the number of the piece that contains step t, and the step within the piece."""
        for i, tape in enumerate(self._pieces):
            if t < (steps := tape.read.shape[1]):
                return i, t
            t -= steps
        raise AssertionError


def _from_all(name: str, pieces: list[_core.Tape]) -> list[Array] | None:
    """Return an attribute of all tapes; None unless all of them have it."""
    arrays = [getattr(tape, name, None) for tape in pieces]
    present = [array for array in arrays if array is not None]
    return present if present and len(present) == len(arrays) else None


def _joined(parts: list[Array]) -> Array:
    """Return arrays (B, T, ...) joined along T."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _row_norms(terms: dict[str, tuple[Array, Array]], kept: Array | None) -> Array:
    """Return the norm of the outer product ds h^T of each row at each step, (B, T)."""
    by_gate = []
    for i, (d, h) in enumerate(terms.values()):
        if kept is None:
            by_gate.append(norms(d, 2) * norms(h, 2))
        else:
            H = d.shape[2]
            factors = np.square(kept[i * H : (i + 1) * H], dtype=np.float64)
            by_gate.append(norms(d * np.sqrt(np.square(h, dtype=np.float64) @ factors.T), 2))
    return norms(np.stack(by_gate), 0)


_PART_ATTRIBUTES = frozenset(
    ("dh", "dc", "dgates", "h_norms", "c_norms", "read", "by_step", "by_unit", "by_row")
).union(("share", "shares", "share_norms", "row_share_norms"))
"""Attributes of the only part that a `GradientFlow` with one part has, too."""


class GradientFlow(Display):
    """Result of `gradient_flow`.

    Parameters
    ----------
    parts : dict of str to PartFlow
        The gradients in each recurrent layer, by its place.

    Attributes
    ----------
    parts : dict of str to PartFlow
        The recurrent layers by place: "" if the layer is the whole model, else "0", "1.forward",
        "encoder", ...
    columns : dict of str to array
        Table with one row per part, row and step that was read: "part", "row", "step", "dh", "dc"
        (if a part is an LSTM) and "dW_h" (if a part has W_h), the norms of the gradients.

    Methods
    -------
    plot(ax=None)
        Plot the norms of the gradients over the steps.
    to_frame()
        Return the table as a pandas DataFrame.

    Notes
    -----
    ``flow["0"]`` is the part at place "0". A flow with only one part has the attributes and methods
    of this part: ``flow.h_norms``, ``flow.shares``.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> model = crnn.Sequential([crnn.GRU(3, 5, seed=0), crnn.Dense(5, 2, seed=1)])
    >>> y, _, tape = model.forward(np.ones((2, 7, 3)))
    >>> _ = model.backward(tape, np.ones_like(y), trace=True)
    >>> flow = crnn.diagnostics.gradient_flow(tape)
    >>> flow
    <GradientFlow: 14 x (part, row, step, dh, dW_h)>
    >>> list(flow.parts), flow.share_norms.shape
    (['0'], (7,))
    """

    def __init__(self, parts: dict[str, PartFlow]) -> None:
        self.parts = parts

    def __getitem__(self, place: str) -> PartFlow:
        if place not in self.parts:
            raise KeyError(f"expected one of {', '.join(map(repr, self.parts))}, got {place!r}")
        return self.parts[place]

    def __getattr__(self, name: str) -> Any:
        if name not in _PART_ATTRIBUTES:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if len(self.parts) != 1:
            raise AttributeError(
                f"{name}: expected a flow of one part, got the parts "
                f"{', '.join(map(repr, self.parts))}; use flow[place].{name}"
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
            if part.row_share_norms is not None:
                table |= {"dW_h": part.row_share_norms[at]}
            tables.append(table)
        return stacked(tables)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the norms of dL/dh_t, dL/dc_t and of each step's term of dL/dW_h over the steps.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Axes to draw into. None: those of a new figure.

        Returns
        -------
        matplotlib axes
        """
        from crnn.plotting import norms_by_step

        curves = {}
        for place, part in self.parts.items():
            before = f"{place}: " if place else ""
            curves[f"{before}dL/dh_t"] = part.by_step("h")
            if part.dc is not None:
                curves[f"{before}dL/dc_t"] = part.by_step("c")
            if part.share_norms is not None:
                curves[f"{before}term of dL/dW_h"] = part.share_norms
        return norms_by_step(curves, ax)


def gradient_flow(tape: Any) -> GradientFlow:
    r"""Return the gradient at every step of a backward pass, and each step's term of dL/dW_h.

    The gradient of the recurrent weights is a sum over the steps at which they were used,

    .. math:: \frac{\partial L}{\partial W_h} = \sum_{t=1}^{T}
              \frac{\partial L}{\partial s_t} h_{t-1}^\top

    where s are the sums of the gates. If the term of a step is small, this step has little effect
    on what the weights learn (Werbos, "Backpropagation through time", 1990; Pascanu, Mikolov and
    Bengio, "On the difficulty of training recurrent neural networks", 2013).

    Parameters
    ----------
    tape : tape
        The tape of any layer or composition, after ``layer.backward(tape, dy, trace=True)``.

    Returns
    -------
    GradientFlow
        One part for each recurrent layer, with ``h_norms`` and ``c_norms`` (B, T), norms by step,
        unit and row, and ``shares`` (T, G*H, K*P), whose sum is the gradient that this backward
        pass added to ``grads["W_h"]``.

    Raises
    ------
    ValueError
        If the tape contains no trace of a recurrent layer.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer = crnn.LSTM(3, 5, dtype="float64", seed=0)
    >>> y, _, tape = layer.forward(np.ones((2, 7, 3)))
    >>> _ = layer.backward(tape, np.ones_like(y), trace=True)
    >>> flow = crnn.diagnostics.gradient_flow(tape)
    >>> flow.h_norms.shape, np.allclose(flow.shares.sum(axis=0), layer.grads["W_h"])
    ((2, 7), True)
    """
    kept = list(recurrent_tapes(tape))
    parts = {
        one.place: PartFlow(one.tapes, dh) for one in kept if (dh := _from_all("dh", one.tapes))
    }
    if not parts:
        lacks = "tape of a recurrent layer" if not kept else "trace"
        raise ValueError(
            "tape: expected the tape of a recurrent layer or of a composition with one, after "
            f"backward(tape, dy, trace=True), got {type(tape).__name__}, which contains no {lacks}"
        )
    return GradientFlow(parts)
