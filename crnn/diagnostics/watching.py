"""A callback that records the gradients of a training run and warns of problems."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import crnn._core as _core
from crnn.callbacks.base import Callback
from crnn.callbacks.run import Run
from crnn.common import notices
from crnn.common.arrays import Array
from crnn.common.checks import check_counted, check_flag, check_positive, check_real, check_size
from crnn.common.choices import Watched
from crnn.common.nested import map_state
from crnn.diagnostics.display import Axes, Display
from crnn.diagnostics.gates import values_of
from crnn.diagnostics.norms import norms as norms_of
from crnn.diagnostics.subject import RecurrentPart, recurrent_parts
from crnn.layers.base.adapted import layer_of, named_layers
from crnn.layers.base.arguments import options_of
from crnn.layers.base.calls import numbered
from crnn.layers.base.layer import check_layer
from crnn.layers.base.protocol import LayerLike
from crnn.layers.base.tapes import TapeSequence, request_trace

if TYPE_CHECKING:
    from crnn.training.tbptt import Piece, UpdatePass


_MARGIN = 0.1  # distance from an end of the range that counts as saturated, of the range
_SATURATED = 0.95  # fraction of saturated values of a candidate gate above which to warn
_GROWTH = 1e3  # growth of a gradient over a row above which to warn
_ROWS = 8  # largest number of rows of a batch that are examined
_SMALL = 32  # largest number of units for which all singular values are computed
_ITERATIONS = 16  # of the Lanczos method: the largest singular value to some tenths of a percent


class TrainingWarning(UserWarning):
    """Warning of a problem that `Watch` found in a training run.

    Examples
    --------
    >>> import warnings
    >>> import crnn
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", crnn.diagnostics.TrainingWarning)
    ...     # crnn.fit(model, ..., callbacks=[crnn.watch(model)]) stops at the first warning
    >>> issubclass(crnn.diagnostics.TrainingWarning, UserWarning)
    True
    """


class Watch(Display, Callback):
    """Callback that records gradients and gates as a model is trained: see `watch`.

    Parameters
    ----------
    model : layer
        The model that is trained.
    every : int
        Number of updates from one record to the next.
    fraction : float
        The gradient reaches a step if at least this fraction of its norm at the last output is
        left there.
    warn : bool
        Whether to issue warnings.

    Attributes
    ----------
    records : list of dict
        One for each recorded update: "update" (counted from 1) and "norm", the norm of the whole
        gradient. For each recurrent layer, with its place in front, as in "0.gradient":
        "gradient", the norm of its gradient, 0 if it is frozen; "reach", the number of steps that
        the gradient of a row's last output reaches back; "steps", the number of steps of a row
        (both medians over the rows); "growth", the norm of that gradient at the first step divided
        by that at the last. For each gate "f.saturated", the fraction of its values near the ends
        of their range, and, if the layer has W_h, "f.sigma", the largest singular value of its
        block; for a relu "h.off", the fraction of units that are 0 at every step.
    messages : list of str
        The texts of all warnings.
    columns : dict of str to list
        Table with one row per record; NaN where a record has no such value.

    Methods
    -------
    plot(ax=None, *, what="gradient")
        Plot one of the recorded quantities over the updates.
    to_frame()
        Return the table as a pandas DataFrame.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> model, x = crnn.GRU(2, 3, seed=0), np.ones((4, 6, 2))
    >>> watch = crnn.watch(model, every=2)
    >>> optimizer, data = crnn.optim.SGD(model, lr=0.1), [(x, np.zeros((4, 6, 3)))] * 5
    >>> history = crnn.fit(model, data, loss=crnn.losses.mse, optimizer=optimizer, epochs=1,
    ...                    callbacks=[watch], progress=False)
    >>> watch.columns["update"], len(watch.columns["z.saturated"]), watch.messages
    ([1, 3, 5], 3, [])
    """

    arguments = ("every", "fraction")

    def __init__(self, model: LayerLike, every: int, fraction: float, warn: bool) -> None:
        check_layer("model", model)
        self._model, self.every = model, check_size("every", every)
        self.fraction, self.warn = check_positive("fraction", fraction), check_flag("warn", warn)
        self.records: list[dict[str, float]] = []
        self.messages: list[str] = []
        self._suspected: set[str] = set()  # problems at the last record
        self._reported: set[str] = set()  # problems that were warned of

    @property
    def columns(self) -> dict[str, Any]:
        names = {name: None for record in self.records for name in record}
        return {name: [record.get(name, math.nan) for record in self.records] for name in names}

    def plot(self, ax: Axes | None = None, *, what: Watched = "gradient") -> Axes:
        """Plot one of the recorded quantities over the updates.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Axes to draw into. None: those of a new figure.
        what : {"gradient", "reach", "saturated", "sigma"}, default "gradient"
            The end of the names of the columns to draw.

        Returns
        -------
        matplotlib axes

        Raises
        ------
        ValueError
            If `what` is another name, or nothing is recorded under it.
        """
        from crnn.plotting import recorded

        styles: dict[Watched, dict[str, Any]] = {
            "gradient": {"ylabel": "norm of the gradient", "log": True},
            "reach": {"ylabel": "reach of the gradient (steps)"},
            "saturated": {"ylabel": "saturated values (fraction)"},
            "sigma": {
                "ylabel": "largest singular value of W_h",
                "hline": (1.0, "1: length is kept"),
            },
        }
        if what not in styles:
            raise ValueError(f"what: expected one of {', '.join(styles)}, got {what!r}")
        columns = self.columns
        curves = {
            name: (np.array(columns["update"]), np.array(values))
            for name, values in columns.items()
            if name.endswith(f".{what}") or name in (what, "norm" if what == "gradient" else what)
        }
        if not curves:
            raise ValueError(f"what: expected a recorded quantity, got {what!r} without records")
        axes = recorded(curves, ax, **styles[what])
        if what in ("reach", "saturated"):
            axes.set_ylim(bottom=0)
        return axes

    # ------------------------------------------------------------------------------- as a callback

    def on_start(self, run: Run) -> None:
        """Raise unless the run trains the model of this callback."""
        if run.model is not self._model:
            raise ValueError(
                "model: expected the model that is trained in watch(model), got another"
            )

    def on_backward(self, run: Run) -> None:
        """Record the gradients of every n-th update."""
        if run.position.update % self.every == 0 and run.update_pass is not None:
            self._record(run.update_pass, run.position.update + 1)

    def state_dict(self) -> dict[str, Any]:
        """Return all records and messages, and the problems that were suspected and reported."""
        return {
            "records": [dict(record) for record in self.records],
            "messages": list(self.messages),
            "suspected": sorted(self._suspected),
            "told": sorted(self._reported),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the records that `state_dict` returned."""
        records, messages = [dict(record) for record in state["records"]], list(state["messages"])
        for record in records:
            check_counted("update", record["update"])
            for name, value in record.items():
                check_real(name, value, finite=False)
        for text in (*messages, *state["suspected"], *state["told"]):
            if not isinstance(text, str):
                raise ValueError(f"messages, suspected, told: expected strings, got {text!r:.60}")
        suspected, reported = set(state["suspected"]), set(state["told"])
        self.records, self.messages = records, messages
        self._suspected, self._reported = suspected, reported

    # ---------------------------------------------------------------------------------- recording

    def _record(self, update_pass: UpdatePass, update: int) -> None:
        """Append the record of an update, and warn of problems."""
        record = {"update": update, "norm": _norm(_trained_grads(self._model))}
        problems: dict[str, str] = {}
        layers = dict(named_layers(self._model))
        for part, norms in _gradient_norms(self._model, update_pass):
            prefix = f"{part.place}." if part.place else ""
            values = {"gradient": _norm(_trained_grads(layers[part.place]))}
            values |= self._quantities(part, norms)
            record |= {prefix + name: value for name, value in values.items()}
            problems |= {prefix + name: text for name, text in self._problems(part, values)}
        self.records.append(record)
        self._warn(problems, update)

    def _quantities(self, part: RecurrentPart, norms: Array) -> dict[str, float]:
        """Return the recorded quantities of a recurrent layer, by name."""
        quantities = _reach(norms, part.read, part.layer.options["reverse"], self.fraction)
        gates, W_h, sigmas = part.layer.gate_order, part.layer.params.get("W_h"), {}
        if W_h is not None:
            largest = largest_singular_values(W_h, len(gates)).tolist()
            sigmas = dict(zip(gates, largest, strict=True))
        for gate, values in values_of(part, _MARGIN):
            quantities[f"{gate}.saturated"] = values.saturated
            if gate in sigmas:
                quantities[f"{gate}.sigma"] = sigmas[gate]
            if part.layer.gate_activations[gate] == "relu":
                quantities[f"{gate}.off"] = float(np.mean(values.low == 1))
        return quantities

    def _problems(
        self, part: RecurrentPart, quantities: Mapping[str, float]
    ) -> Iterator[tuple[str, str]]:
        """Yield the possible problems of a recurrent layer: name and text of each."""
        reach, steps = quantities["reach"], quantities["steps"]
        if 2 * (reach + 1) < steps:
            yield (
                "reach",
                f"{part.title}: the gradient reaches {reach:.0f} steps back "
                f"(beyond, less than {self.fraction:.0%} of it is left); "
                f"sequences have {steps:.0f}",
            )
        if quantities["growth"] > _GROWTH:
            yield (
                "growth",
                f"{part.title}: the gradient grows {quantities['growth']:.1e} times over "
                f"{steps:.0f} steps back in time; clip_norm limits the effect",
            )
        for name, value in quantities.items():
            gate, _, quantity = name.rpartition(".")
            if quantity == "saturated" and gate == part.layer.candidate and value > _SATURATED:
                yield (
                    name,
                    f"{part.title}: {value:.0%} of the values of {gate} lie at the ends of their "
                    "range, where hardly any gradient passes",
                )
            if quantity == "off" and value > 0.5:
                yield name, f"{part.title}: {value:.0%} of the units are 0 at every step"

    def _warn(self, problems: Mapping[str, str], update: int) -> None:
        """Warn, once each, of problems that also were in the record before."""
        for name, text in problems.items():
            if name in self._suspected and name not in self._reported:
                self._reported.add(name)
                self.messages.append(f"after {update} updates, {text}")
                if self.warn:
                    notices.warn(self.messages[-1], TrainingWarning)
        self._suspected = set(problems)


def watch(
    model: LayerLike, every: int = 100, *, fraction: float = 0.01, warn: bool = True
) -> Watch:
    """Return a callback that records gradients as a model is trained, and warns of problems.

    At every n-th update, after the backward pass and before the step of the optimizer, it records
    the norms of the gradients, the largest singular value of W_h for each gate and, for up to 8
    rows of the batch, how saturated the gates are and how many steps the gradient of the last
    output reaches back. For this a copy of the model runs these rows again, with a backward pass
    from the last output alone. Parameters and results are bit-identical to those of a run without
    the callback.

    Parameters
    ----------
    model : layer
        The model that `crnn.fit` trains.
    every : int, default 100
        Record the first update and every n-th after it. A record takes about as long as an update
        of 32 rows, for very small models as long as five; at the default a run is at most a few
        percent slower.
    fraction : float, default 0.01
        The gradient reaches a step if at least this fraction of its norm at the last output is
        left there.
    warn : bool, default True
        Issue a `TrainingWarning`, once for each problem that is in two consecutive records. False:
        the texts are stored in `messages` only.

    Returns
    -------
    Watch
        Pass it to ``crnn.fit(..., callbacks=[watch])``. Then it is a table, ``watch.columns``, and
        draws plots, ``watch.plot(what="reach")``.

    Raises
    ------
    TypeError, ValueError
        If the model is not a layer, `every` is below 1, or the fraction is not positive; in `fit`,
        if it trains another model.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> model, x = crnn.RNN(1, 2, seed=0), np.ones((4, 20, 1))
    >>> model.params["W_h"] = 0.1 * np.eye(2)  # the gradient vanishes
    >>> watch = crnn.watch(model, every=1, warn=False)
    >>> optimizer, data = crnn.optim.SGD(model, lr=1e-3), [(x, np.zeros((4, 20, 2)))] * 3
    >>> history = crnn.fit(model, data, loss=crnn.losses.mse, optimizer=optimizer, epochs=1,
    ...                    callbacks=[watch], progress=False)
    >>> watch.messages[0].split(";")[1]
    ' sequences have 20'
    """
    return Watch(model, every, fraction, warn)


def _norm(arrays: Any) -> float:
    """Return the common norm of arrays."""
    return math.sqrt(sum(float(np.vdot(array, array)) for array in arrays))


def _trained_grads(layer: LayerLike) -> Iterable[Array]:
    """Return the gradients of a layer without those of frozen parts, which have no gradients."""
    return layer_of(layer)._trained_grads.values()


def _gradient_norms(model: Any, update_pass: UpdatePass) -> list[tuple[RecurrentPart, Array]]:
    """Return the recurrent layers of a copy of the model, with the norms (B, T) of dL/dh_t.

    L is the part of the loss that depends on the last output of each of up to `_ROWS` rows, or on
    the first output for layers that read backwards. A copy of the model runs these rows, so the
    training run does not change, and the cost is a fraction of that of an update.
    """
    B = len(update_pass.dy)
    rows = np.unique(np.linspace(0, B - 1, min(B, _ROWS)).round().astype(np.intp))
    copied, dy = copy.deepcopy(model), np.asarray(update_pass.dy)[rows]
    tapes = [_tape_of_rows(copied, piece, rows) for piece in update_pass.pieces]
    recurrent = [part for _, part in named_layers(copied) if isinstance(part, _core.Recurrent)]
    parts: list[RecurrentPart] = []
    norms: dict[str, Array] = {}
    for backwards in sorted({bool(part.options["reverse"]) for part in recurrent}):
        _run_backward(copied, update_pass.pieces, tapes, _of_one_output(dy, backwards))
        # Layers with checkpoints have complete tapes only after backward.
        parts = list(recurrent_parts(copied, TapeSequence(tapes)))
        for part in parts:
            if part.layer.options["reverse"] == backwards:
                pieces = [norms_of(tape.dh, 2) for tape in part.pieces]
                norms[part.place] = np.concatenate(pieces, axis=1)
    return [(part, norms[part.place]) for part in parts]


def _tape_of_rows(model: Any, piece: Piece, rows: NDArray[np.intp]) -> Any:
    """Return the tape of a forward pass over some rows of a piece."""
    x = piece.item.x
    x_of_rows = tuple(part[rows] for part in x) if isinstance(x, tuple) else x[rows]
    options = {name: value[rows] for name, value in piece.item.options.items()}
    accepted = options_of(model)
    options |= {name: count for name, count in piece.counts.items() if name in accepted}
    state = map_state(lambda part: part[rows], piece.state)
    with numbered(piece.counts["call"]):
        _, _, tape = model.forward(x_of_rows, state, **options)
    return tape


def _run_backward(model: Any, pieces: list[Piece], tapes: list[Any], dy: Array) -> None:
    """Run backward through all pieces from dy (B, T, ...), with a trace."""
    dstate: Any = None
    end = sum(piece.steps for piece in pieces)
    for piece, tape in zip(reversed(pieces), reversed(tapes), strict=True):
        begin = end - piece.steps
        request_trace(tape)
        _, dstate = model.backward(tape, dy if len(pieces) == 1 else dy[:, begin:end], dstate)
        end = begin


def _of_one_output(dy: Array, first: bool) -> Array:
    """Return dy (B, T, ...) with only the last (or first) step of each row that is not 0."""
    if dy.ndim < 3 or not dy.size:
        return dy
    nonzero = np.asarray(dy.reshape(*dy.shape[:2], -1).any(axis=2))
    steps = nonzero.argmax(axis=1) if first else dy.shape[1] - 1 - nonzero[:, ::-1].argmax(axis=1)
    single, rows = np.zeros_like(dy), np.arange(len(dy))
    single[rows, steps] = dy[rows, steps]
    return single


def _reach(norms: Array, read: Array, backwards: bool, fraction: float) -> dict[str, float]:
    """Return how many steps back a gradient reaches, the number of steps, and its growth.

    Medians over the rows whose gradient is not 0; NaN without such rows.
    """
    if backwards:
        norms, read = norms[:, ::-1], read[:, ::-1]
    by_row = []
    for row, row_read in zip(norms, read, strict=True):
        values = row[row_read]
        nonzero = np.flatnonzero(values > 0)
        if len(nonzero):
            back = values[: nonzero[-1] + 1][::-1]  # from the step at which the gradient starts
            reach = np.flatnonzero(back >= fraction * back[0])[-1]
            by_row.append((reach, len(values), back[-1] / back[0]))
    medians = np.median(by_row, axis=0) if by_row else np.full(3, np.nan)
    return dict(zip(("reach", "steps", "growth"), map(float, medians), strict=True))


def largest_singular_values(W_h: Array, gates: int) -> NDArray[np.float64]:
    """Return the largest singular value of each gate's block of W_h (G*H, P): (G,).

    For large blocks it is computed within a Krylov space (Golub and Kahan, "Calculating the
    singular values and pseudo-inverse of a matrix", 1965). The start vector is always the same, so
    that a resumed run records the same numbers.
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
