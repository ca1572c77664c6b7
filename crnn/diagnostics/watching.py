"""A callback that looks at the gradients of a training run, and says in words what is wrong."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import crnn._core as _core
from crnn.callbacks.base import Callback
from crnn.callbacks.run import Run
from crnn.common import notices
from crnn.common.arrays import Array
from crnn.common.checks import check_counted, check_positive, check_real, check_size
from crnn.common.choices import Watched
from crnn.common.nested import map_state
from crnn.diagnostics.display import Axes, Display
from crnn.diagnostics.gates import values_of
from crnn.diagnostics.norms import norms as norms_of
from crnn.diagnostics.subject import Part, parts_of
from crnn.layers.base.adapted import walk
from crnn.layers.base.arguments import options_of
from crnn.layers.base.calls import numbered
from crnn.layers.base.layer import check_layer
from crnn.layers.base.protocol import LayerLike
from crnn.layers.base.tapes import Pieces, ask_for_trace

if TYPE_CHECKING:
    from crnn.training.truncated import Piece, UpdatePass


_MARGIN = 0.1  # of a gate's range: what counts as saturated
_SATURATED = 0.95  # of a gate's values, from which on it is said
_GROWTH = 1e3  # of a gradient on its way back
_ROWS = 8  # of a batch, that are looked at
_SMALL = 32  # units up to which singular values are computed in full, else
_ITERATIONS = 16  # of the method of Lanczos: the largest to some tenths of a percent


class TrainingWarning(UserWarning):
    """What `Watch` has to say about a run."""


class Watch(Callback, Display):
    """See `watch`, which makes it.

    Attributes
    ----------
    records : list of dict
        One for each update looked at: "update" (from 1), "norm" of the whole gradient, and for each
        recurrent layer, its place in front: "gradient", the norm of its own; "reach", how many
        steps back the gradient of a row's last output is felt, "steps", how many there are (both
        medians over the rows), "growth", how many times larger it is at the first step than at the
        last; and for each gate "f.saturated", the fraction of its values near the ends of its
        range, and "f.sigma", the largest singular value of its block of W_h.
    messages : list of str
        What there was to warn of.
    """

    arguments = ("every", "fraction")

    def __init__(self, model: LayerLike, every: int, fraction: float, warn: bool) -> None:
        check_layer("model", model)
        self._model, self.every = model, check_size("every", every)
        self.fraction, self.warn = check_positive("fraction", fraction), bool(warn)
        self.records: list[dict[str, float]] = []
        self.messages: list[str] = []
        self._suspected: set[str] = set()  # at the last record
        self._told: set[str] = set()

    @property
    def columns(self) -> dict[str, Any]:
        names = {name: None for record in self.records for name in record}
        return {name: [record.get(name, math.nan) for record in self.records] for name in names}

    def plot(self, ax: Axes | None = None, *, what: Watched = "gradient") -> Axes:
        """One of the things recorded, over the updates.

        Parameters
        ----------
        ax : matplotlib axes, optional
        what : {"gradient", "reach", "saturated", "sigma"}
            The ending of the columns to draw.
        """
        from crnn.plotting import recorded

        looks: dict[Watched, dict[str, Any]] = {
            "gradient": {"ylabel": "norm of the gradient", "log": True},
            "reach": {"ylabel": "reach of the gradient (steps)"},
            "saturated": {"ylabel": "saturated values (fraction)"},
            "sigma": {
                "ylabel": "largest singular value of W_h",
                "hline": (1.0, "1: length is kept"),
            },
        }
        if what not in looks:
            raise ValueError(f"what: expected one of {', '.join(looks)}, got {what!r}")
        columns = self.columns
        curves = {
            name: (np.array(columns["update"]), np.array(values))
            for name, values in columns.items()
            if name.endswith(f".{what}") or name in (what, "norm" if what == "gradient" else what)
        }
        if not curves:
            raise ValueError("what: expected something that was recorded, but nothing was yet")
        axes = recorded(curves, ax, **looks[what])
        if what in ("reach", "saturated"):
            axes.set_ylim(bottom=0)
        return axes

    # ------------------------------------------------------------------------------- as a callback

    def on_start(self, run: Run) -> None:
        """Check that it is the model's run."""
        if run.model is not self._model:
            raise ValueError("model: expected watch(model) of the model that is trained")

    def on_backward(self, run: Run) -> None:
        """Look at every n-th update's gradients."""
        if run.position.update % self.every == 0 and run.update_pass is not None:
            self._record(run.update_pass, run.position.update + 1)

    def state_dict(self) -> dict[str, Any]:
        """Return all records, and what was said."""
        return {
            "records": [dict(record) for record in self.records],
            "messages": list(self.messages),
            "suspected": sorted(self._suspected),
            "told": sorted(self._told),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        records, messages = [dict(record) for record in state["records"]], list(state["messages"])
        for record in records:
            check_counted("update", record["update"])
            for name, value in record.items():
                check_real(name, value, finite=False)
        for word in (*messages, *state["suspected"], *state["told"]):
            if not isinstance(word, str):
                raise ValueError(f"messages, suspected, told: expected words, got {word!r:.60}")
        suspected, told = set(state["suspected"]), set(state["told"])
        self.records, self.messages = records, messages
        self._suspected, self._told = suspected, told

    # ------------------------------------------------------------------------------------ looking

    def _record(self, update_pass: UpdatePass, update: int) -> None:
        record = {"update": update, "norm": _norm(self._model.grads.values())}
        suspicions: dict[str, str] = {}
        own = dict(walk(self._model))
        for part, norms in _probed(self._model, update_pass):
            before = f"{part.place}." if part.place else ""
            found = {"gradient": _norm(own[part.place].grads.values())}
            found |= self._measured(part, norms)
            record |= {before + name: value for name, value in found.items()}
            suspicions |= {before + name: text for name, text in self._doubts(part, found)}
        self.records.append(record)
        self._say(suspicions, update)

    def _measured(self, part: Part, norms: Array) -> dict[str, float]:
        """What is recorded of a recurrent layer."""
        found = _reached(norms, part.read, part.layer.options["reverse"], self.fraction)
        sigmas = largest_singular_values(part.layer.params["W_h"], len(part.layer.gate_order))
        for (gate, values), sigma in zip(values_of(part, _MARGIN), sigmas, strict=True):
            found |= {f"{gate}.saturated": values.saturated, f"{gate}.sigma": float(sigma)}
            if part.layer.gate_activations[gate] == "relu":
                found[f"{gate}.off"] = float(np.mean(values.low == 1))
        return found

    def _doubts(self, part: Part, found: Mapping[str, float]) -> Iterator[tuple[str, str]]:
        """What may be wrong with a recurrent layer: a name for it, and words."""
        reach, steps = found["reach"], found["steps"]
        if 2 * (reach + 1) < steps:
            yield (
                "reach",
                f"{part.title}: the gradient reaches {reach:.0f} steps back "
                f"(beyond, less than {self.fraction:.0%} of it is left); "
                f"sequences have {steps:.0f}",
            )
        if found["growth"] > _GROWTH:
            yield (
                "growth",
                f"{part.title}: the gradient grows {found['growth']:.1e} times over "
                f"{steps:.0f} steps on its way back; clip_norm bounds what that does",
            )
        for name, value in found.items():
            gate, _, kind = name.rpartition(".")
            if kind == "saturated" and gate == part.layer.candidate and value > _SATURATED:
                yield (
                    name,
                    f"{part.title}: {value:.0%} of the values of {gate} lie at the ends of their "
                    "range, where hardly any gradient passes",
                )
            if kind == "off" and value > 0.5:
                yield name, f"{part.title}: {value:.0%} of the units are 0 at every step"

    def _say(self, suspicions: Mapping[str, str], update: int) -> None:
        """Warn, once, of what was so at two records in a row."""
        for name, text in suspicions.items():
            if name in self._suspected and name not in self._told:
                self._told.add(name)
                self.messages.append(f"after {update} updates, {text}")
                if self.warn:
                    notices.warn(self.messages[-1], TrainingWarning)
        self._suspected = set(suspicions)


def watch(
    model: LayerLike, every: int = 100, *, fraction: float = 0.01, warn: bool = True
) -> Watch:
    """A callback that looks at gradients as a model is trained, and warns in words.

    At every n-th update, after the backward pass and before the optimizer's step, it records the
    norms of the gradients, the largest singular value of W_h gate by gate, and, of some rows of the
    batch, how saturated the gates are and how far back the gradient of the last output is felt: for
    that a copy of the model runs these rows once more, and walks back from the last output alone.
    Parameters and results are those of a run without it, to the last bit.

    Parameters
    ----------
    model : layer
        The model that `crnn.fit` trains.
    every : int, default 100
        Look at the first update and at every n-th after it. One look takes about as long as an
        update of 32 rows, of very small models as five: at the default a run is at most a few
        percent slower.
    fraction : float, default 0.01
        How much of a gradient must be left for it to be felt.
    warn : bool, default True
        Issue what there is to say as a `TrainingWarning`, once each, when it was so at two looks in
        a row. False: it is in `messages` alone.

    Returns
    -------
    Watch
        Give it to ``crnn.fit(..., callbacks=[watch])``; then it is a table, ``watch.columns``, and
        pictures, ``watch.plot(what="reach")``.

    Raises
    ------
    TypeError, ValueError
        For a model that is no layer, an `every` below 1, a fraction that is not positive; from
        `fit`, if it trains another model.

    Examples
    --------
    >>> watch = crnn.watch(model, every=10)                        # doctest: +SKIP
    >>> crnn.fit(model, data, ..., callbacks=[watch])              # doctest: +SKIP
    TrainingWarning: after 21 updates, 0 (RNN): the gradient reaches 12 steps back
    (beyond, less than 1% of it is left); sequences have 100
    """
    return Watch(model, every, fraction, warn)


def _norm(arrays: Any) -> float:
    return math.sqrt(sum(float(np.vdot(array, array)) for array in arrays))


def _probed(model: Any, update_pass: UpdatePass) -> list[tuple[Part, Array]]:
    """The recurrent layers of a copy of the model, each with the norms (B, T) of dL/dh_t.

    L is the part of the loss that is due to the last output of each of some rows; for layers that
    read backwards, to its first. A copy is run, on these rows: so nothing of the run itself is
    touched, and it costs a fraction of an update.
    """
    B = len(update_pass.dy)
    rows = np.unique(np.linspace(0, B - 1, min(B, _ROWS)).round().astype(np.intp))
    copied, dy = copy.deepcopy(model), np.asarray(update_pass.dy)[rows]
    tapes = [_again(copied, piece, rows) for piece in update_pass.pieces]
    inside = [part for _, part in walk(copied) if isinstance(part, _core.Recurrent)]
    parts: list[Part] = []
    norms: dict[str, Array] = {}
    for backwards in sorted({bool(part.options["reverse"]) for part in inside}):
        _walk_back(copied, update_pass.pieces, tapes, _of_one_output(dy, backwards))
        parts = list(parts_of(copied, Pieces(tapes)))  # what is checkpointed has some only now
        for part in parts:
            if part.layer.options["reverse"] == backwards:
                pieces = [norms_of(tape.dh, 2) for tape in part.pieces]
                norms[part.place] = np.concatenate(pieces, axis=1)
    return [(part, norms[part.place]) for part in parts]


def _again(model: Any, piece: Piece, rows: NDArray[np.intp]) -> Any:
    """The tape of some rows of a piece."""
    x = piece.item.x
    some = tuple(part[rows] for part in x) if isinstance(x, tuple) else x[rows]
    options = {name: value[rows] for name, value in piece.item.options.items()}
    known = options_of(model)
    options |= {name: count for name, count in piece.counts.items() if name in known}
    state = map_state(lambda part: part[rows], piece.state)
    with numbered(piece.counts["call"]):
        _, _, tape = model.forward(some, state, **options)
    return tape


def _walk_back(model: Any, pieces: list[Piece], tapes: list[Any], dy: Array) -> None:
    """Backward through all pieces, of dy (B, T, ...), with a trace."""
    dstate: Any = None
    end = sum(piece.steps for piece in pieces)
    for piece, tape in zip(reversed(pieces), reversed(tapes), strict=True):
        begin = end - piece.steps
        ask_for_trace(tape)
        _, dstate = model.backward(tape, dy if len(pieces) == 1 else dy[:, begin:end], dstate)
        end = begin


def _of_one_output(dy: Array, first: bool) -> Array:
    """dy (B, T, ...) with all but the last, or the first, of each row's gradients 0."""
    if dy.ndim < 3 or not dy.size:
        return dy
    some = np.asarray(dy.reshape(*dy.shape[:2], -1).any(axis=2))
    at = some.argmax(axis=1) if first else dy.shape[1] - 1 - some[:, ::-1].argmax(axis=1)
    one, rows = np.zeros_like(dy), np.arange(len(dy))
    one[rows, at] = dy[rows, at]
    return one


def _reached(norms: Array, read: Array, backwards: bool, fraction: float) -> dict[str, float]:
    """How many steps back a gradient is felt, of how many, and how many times it has grown there.

    Medians over the rows to which some gradient comes; NaN where none does.
    """
    if backwards:
        norms, read = norms[:, ::-1], read[:, ::-1]
    found = []
    for row, there in zip(norms, read, strict=True):
        values = row[there]
        felt = np.flatnonzero(values > 0)
        if len(felt):
            back = values[: felt[-1] + 1][::-1]  # from where it begins
            reach = np.flatnonzero(back >= fraction * back[0])[-1]
            found.append((reach, len(values), back[-1] / back[0]))
    medians = np.median(found, axis=0) if found else np.full(3, np.nan)
    return dict(zip(("reach", "steps", "growth"), map(float, medians), strict=True))


def largest_singular_values(W_h: Array, gates: int) -> NDArray[np.float64]:
    """Of each gate's block of W_h (G*H, P): (G,).

    Of large ones within what products with a few vectors span, always from the same one, so that
    runs that are taken up again record the same numbers (Golub and Kahan 1965).
    """
    blocks = np.ascontiguousarray(W_h).reshape(gates, -1, W_h.shape[1])
    if W_h.shape[1] <= _SMALL:
        return np.linalg.svd(blocks, compute_uv=False)[:, 0].astype(np.float64)
    v = np.random.default_rng(0).standard_normal((gates, W_h.shape[1], 1)).astype(W_h.dtype)
    basis = v / np.linalg.norm(v, axis=1, keepdims=True)
    for _ in range(_ITERATIONS):
        v = blocks.transpose(0, 2, 1) @ (blocks @ basis[:, :, -1:])
        v -= basis @ (basis.transpose(0, 2, 1) @ v)
        v /= np.maximum(np.linalg.norm(v, axis=1, keepdims=True), np.finfo(v.dtype).tiny)
        basis = np.concatenate([basis, v], axis=2)
    spanned = blocks @ np.linalg.qr(basis)[0]
    return np.linalg.svd(spanned, compute_uv=False)[:, 0].astype(np.float64)
