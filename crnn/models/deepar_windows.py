"""Windows of a panel as training data and as validation data of forecasts.

Letters: B windows in a batch, T = context + horizon steps, H steps of the horizon.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

import crnn._core as _core
from crnn.common.arrays import Array, Floats
from crnn.common.checks import check_choice
from crnn.data import Panel
from crnn.data.representation import counted
from crnn.losses import Mean, gaussian_nll, negative_binomial_nll, student_t_nll
from crnn.losses.likelihoods import Likelihood
from crnn.models.deepar_inputs import PanelInputs

Integers = NDArray[np.int64]
Weights: TypeAlias = Literal["length", "scale"]

EPOCH = 100  # updates between two validations

#: Stream of the counter-based generator (`crnn._core.random_uniform`).
_WINDOWS = int.from_bytes(b"windows")
_LOSSES = {
    "gaussian": gaussian_nll,
    "student_t": student_t_nll,
    "negative_binomial": negative_binomial_nll,
}


def window_loss(
    y: ArrayLike,
    target: Array,
    lengths: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    likelihood: Likelihood,
) -> tuple[Mean, Array]:
    """Return the negative log-likelihood of windows, and its gradient.

    Parameters
    ----------
    y : floats (B, T, P)
        Outputs of a network.
    target : array (B, T, 2)
        Numbers, and the scale of each.
    lengths, weights
        As for `crnn.losses.gaussian_nll`.
    likelihood : {"gaussian", "student_t", "negative_binomial"}
        The distribution.

    Returns
    -------
    loss : Mean
        Mean over the observed steps.
    dy : array like y
        Gradient.
    """
    numbers, scales = target[..., 0], target[..., 1]
    return _LOSSES[likelihood](y, numbers, lengths, weights=weights, scale=scales)


class WindowBatches:
    """Base class of batches of windows, as `crnn.fit` reads them.

    Parameters
    ----------
    inputs : PanelInputs
    panel : Panel
        The series.
    """

    def __init__(self, inputs: PanelInputs, panel: Panel) -> None:
        self._inputs, self._panel = inputs, panel
        self._gather = inputs.gatherer(panel, least=inputs.horizon)
        self._categories = inputs.categories(panel)

    def _batch(self, rows: Integers, starts: Integers) -> tuple[Any, ...]:
        """Return windows as an item: `starts` are the first steps of the forecasts."""
        inputs = self._inputs
        begins = starts - inputs.context
        scales = inputs.scale(self._panel, rows, begins, starts)
        windows = self._gather(rows, begins, inputs.context + inputs.horizon, scales)
        target = np.empty((*windows.target.shape, 2))
        target[..., 0], target[..., 1] = windows.target, scales[:, None]
        x: Any = windows.x
        if self._categories is not None:
            x = windows.x, self._categories[rows]
        return x, target, windows.lengths, {"weights": windows.weights}


class TrainingWindows(WindowBatches):
    """Windows of a panel, drawn at random: a function of the seed, the update and the row.

    The first step of the forecast of a window is any step of a series with H steps from there on:
    there may be fewer steps before it than the context, or none. A series of fewer than H steps has
    one window, that begins with it.

    Parameters
    ----------
    inputs : PanelInputs
    panel : Panel
        The series.
    updates : int
        Batches of the whole run.
    batch_size : int
        B.
    seed : int
        Seed of the windows.
    weights : {"length", "scale"}
        Whether all windows are equally likely, so that long series have more of them, or a series
        is drawn with a probability proportional to its scale, and then any of its windows.
    epoch : int, default 100
        Batches between two validations.

    Raises
    ------
    ValueError
        No series has a number.
    """

    def __init__(
        self,
        inputs: PanelInputs,
        panel: Panel,
        *,
        updates: int,
        batch_size: int,
        seed: int,
        weights: Weights = "length",
        epoch: int = EPOCH,
    ) -> None:
        super().__init__(inputs, panel)
        self.updates, self.batch_size, self.seed = updates, batch_size, seed
        self._per_epoch, self._epoch = epoch, 0
        there = np.array([not bool(np.isnan(series).all()) for series in panel.series])
        if not there.any():
            raise ValueError("panel: expected a number in the training part of a series, got none")
        self._counts = np.where(there, np.maximum(panel.lengths - inputs.horizon, 0) + 1, 0)
        shares = self._counts.astype(np.float64)
        if check_choice("weights", weights, ("length", "scale")) == "scale":
            shares = np.where(there, self._whole_scales(), 0)
        self._limits = np.cumsum(shares) / shares.sum()

    def _whole_scales(self) -> Floats:
        """Return the scale of each series."""
        rows, zeros = np.arange(len(self._panel)), np.zeros(len(self._panel), np.int64)
        return self._inputs.scale(self._panel, rows, zeros, self._panel.lengths)

    @property
    def epochs(self) -> int:
        """Number of epochs of the run."""
        return -(-self.updates // self._per_epoch)

    def set_epoch(self, epoch: int) -> None:
        """Let the next pass return the batches of an epoch.

        Parameters
        ----------
        epoch : int
            Number of epochs done.
        """
        self._epoch = epoch

    def __len__(self) -> int:
        return min(self._per_epoch, max(self.updates - self._epoch * self._per_epoch, 0))

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        first = self._epoch * self._per_epoch
        return (self._batch(*self.places(update)) for update in range(first, first + len(self)))

    def places(self, update: int) -> tuple[Integers, Integers]:
        """Return the series of each window of an update, and the first step of its forecast.

        Parameters
        ----------
        update : int
            Number of updates done.

        Returns
        -------
        rows, starts : arrays (B,) of int64
        """
        B = self.batch_size
        uniform = _core.random_uniform(self.seed, _WINDOWS, 2 * B * update, 2 * B).reshape(B, 2)
        rows = np.searchsorted(self._limits, uniform[:, 0], side="right").astype(np.int64)
        rows = np.minimum(rows, np.flatnonzero(self._counts)[-1])
        return rows, (uniform[:, 1] * self._counts[rows]).astype(np.int64)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}: {counted(self.updates, 'batch', 'batches')} of "
            f"{self.batch_size} windows, seed {self.seed}>"
        )


class HeldOutWindows(WindowBatches):
    """The last windows of each series, in order; the loss is that of the horizon alone.

    Parameters
    ----------
    inputs : PanelInputs
    panel : Panel
        The series, with the held-out steps at their ends.
    windows : int
        How many windows of H steps of each series; those that the series has not are left out.
    batch_size : int
        B.

    Raises
    ------
    ValueError
        No series has as many steps, or none has a number there.
    """

    def __init__(self, inputs: PanelInputs, panel: Panel, windows: int, batch_size: int) -> None:
        super().__init__(inputs, panel)
        self.batch_size = batch_size
        parts: Sequence[Integers] = [
            panel.lengths - k * inputs.horizon for k in range(windows, 0, -1)
        ]
        rows, starts = np.tile(np.arange(len(panel)), windows), np.concatenate(parts)
        last = panel.last(windows * inputs.horizon).reshape(len(panel), windows, inputs.horizon)
        observed = ~np.isnan(last).all(axis=2).T.ravel()
        self._rows, self._starts = (each[observed & (starts >= 0)] for each in (rows, starts))
        if not len(self._rows):
            raise ValueError(
                f"validation_windows: expected a series with numbers in its last {windows} x "
                f"{inputs.horizon} steps, got none; 0 holds nothing out"
            )

    def __len__(self) -> int:
        return -(-len(self._rows) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for first in range(0, len(self._rows), self.batch_size):
            part = slice(first, first + self.batch_size)
            x, target, lengths, extras = self._batch(self._rows[part], self._starts[part])
            steps = np.arange(target.shape[1])
            ahead = steps >= (lengths - self._inputs.horizon)[:, None]
            yield x, target, lengths, {"weights": extras["weights"] * ahead}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {counted(len(self._rows), 'window')}>"
