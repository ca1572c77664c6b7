"""The loop over the rows of a batch that convolutions, attention and positions share.

These layers have no recurrence: a step reads inputs of earlier steps, not their results. A batch is
cut into pieces (see `crnn.reference.reading`), which are independent of each other, and a layer
maps each piece as a whole. The *state* is what a later call must know of the steps that were read:
past inputs, keys and values, or the number of steps.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.reference.arrays import Array, Arrays, Named
from crnn.reference.reading import Reading

# The shape of a part of the state of a row: (S, H), or () for a number of steps. None in place of
# S: as many as were read.
PartShape = tuple[int | None, ...]
Part = NDArray[Any]


class Temporal(ABC):
    """Base class of layers that read earlier inputs, without a recurrence.

    A subclass defines `state_shapes`, `read` and `read_backward`, for one piece: a sequence without
    masked steps, from its beginning or from a state.

    Methods
    -------
    forward(params, x, state=None, lengths=None, reverse=False, *, mask=None, resets=None)
        Run the layer over whole sequences.
    backward(params, tape, dy, dstate=None)
        Compute the gradients.

    Notes
    -----
    A part of a state has its S rows in the order in which they were read, the newest last. It may
    be followed by parts that a call only reads, such as the memory of cross-attention: they are
    returned unchanged, and resets have no effect on them. Integers have no gradient: the gradient
    of a state has the parts of floats alone, in the same order. A state or a gradient of one part
    is an array, of several parts a tuple of arrays, of no part None.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> conv = crnn.reference.CausalConv(taps=2)
    >>> isinstance(conv, crnn.reference.Temporal)
    True
    >>> params = {"W": np.ones((2, 1, 1))}  # y_t = x_{t-1} + x_t
    >>> y, state, tape = conv.forward(params, np.ones((1, 4, 1)), resets=[[0, 0, 1, 0]])
    >>> y[0, :, 0]
    array([1., 2., 1., 2.])
    """

    @abstractmethod
    def state_shapes(self, w: Named) -> list[PartShape]:
        """Return the shape of each part of the state of a row."""

    @abstractmethod
    def read(self, w: Named, x: Array, *state: Part) -> tuple[Array, list[Part], Any]:
        """Read one piece.

        Parameters
        ----------
        w : dict of arrays
            The parameters.
        x : array (n, I)
            The steps in the order in which they are read.
        *state : arrays
            The parts of the state before the first step. Without any, zeros.

        Returns
        -------
        y : array (n, H)
        state : list of arrays
            The state after the last step, without parts that are only read. Parts of the shape
            (S, H) may have fewer rows, those that are known.
        kept : object
            What `read_backward` needs.
        """

    @abstractmethod
    def read_backward(
        self, w: Named, dw: Named, kept: Any, dy: Array, dstate: Arrays
    ) -> tuple[Array, Arrays]:
        """Return dx (n, I) and the gradients of the initial state, and add to those in `dw`.

        `dstate` has the gradients of the floats in the state that `read` returned, in their shapes.
        The gradients that are returned may have fewer rows than the parts of the initial state:
        those of the last rows, if the others have no effect.
        """

    def output_size(self, w: Named, x: Array) -> int:
        """Return the number of features of y."""
        return int(x.shape[2])

    def forward(
        self,
        params: Mapping[str, Array],
        x: ArrayLike,
        state: Any = None,
        lengths: ArrayLike | None = None,
        reverse: bool = False,
        *,
        mask: ArrayLike | None = None,
        resets: ArrayLike | None = None,
    ) -> tuple[Array, Any, SimpleNamespace]:
        """Run the layer over whole sequences.

        Parameters
        ----------
        params : dict of arrays
            Arrays of the shapes that `shapes` returns. Absent biases are zero.
        x : array (B, T, I) of floats
        state : array or tuple of arrays, optional
            The state before the first step, batch first. None: the beginning of a sequence.
        lengths : array (B,) of integers, optional
            Number of valid steps in each row, from 0 to T. Later values in `x` are never used.
            None: T.
        reverse : bool, default False
            Read each row from its own last step to its first.
        mask : array (B, T) of bools, optional
            A step where it is false is not read and does not count. None: all steps are read.
        resets : array (B, T) of bools, optional
            A row is cut before each step where it is true: nothing before it is read by later
            steps. None: no resets.

        Returns
        -------
        y : array (B, T, H)
            At a masked step the output of the last step read before it, zero if there is none; zero
            past the end of a row.
        state : as the argument
            The state after the last step of each row.
        tape : namespace
            What `backward` needs.
        """
        w, x = _floats(params), np.asarray(x, np.float64)
        reading = Reading(x.shape[:2], lengths, mask, resets, reverse)
        shapes = self.state_shapes(w)
        if state is None:
            state = tuple(_zeros(len(x), shape) for shape in shapes)
        parts = [np.asarray(part) for part in _unpacked(state)]
        own, read_only = parts[: len(shapes)], parts[len(shapes) :]
        starts = reading.starts(own, [np.zeros(part.shape[1:], part.dtype) for part in own])
        y, pieces, ends = np.zeros((*x.shape[:2], self.output_size(w, x))), [], []
        for piece, (row, t) in enumerate(zip(reading.rows, reading.times, strict=True)):
            start = [part[piece] for part in starts] + [part[row] for part in read_only]
            y[row, t], end, kept = self.read(w, x[row, t], *start)
            pieces.append(kept)
            ends.append(end)
        last = [ends[piece] for piece in reading.last]
        final = [_newest_last([end[k] for end in last], s) for k, s in enumerate(shapes)]
        tape = SimpleNamespace(x=x, state=parts, reading=reading, pieces=pieces, ends=ends)
        return reading.repeated(y), _packed(final + read_only), tape

    def backward(
        self,
        params: Mapping[str, Array],
        tape: SimpleNamespace,
        dy: ArrayLike | None,
        dstate: Any = None,
    ) -> tuple[Array, Any, Named]:
        """Compute the gradients of a forward pass.

        Parameters
        ----------
        params : dict of arrays
            As in `forward`.
        tape : namespace
            From `forward`.
        dy : array (B, T, H), or None
            ∂L/∂y. Values past the end of a row are never used. None: zeros.
        dstate : array or tuple of arrays, optional
            ∂L/∂state for the floats in the state that `forward` returned. None: zeros.

        Returns
        -------
        dx : array (B, T, I)
            Zero at masked steps and past the end of a row.
        dstate : array or tuple of arrays
            The gradient with respect to the floats in the initial state.
        grads : dict of arrays
            The gradient of every array in `params`.
        """
        w, x, reading = _floats(params), tape.x, tape.reading
        grads, dx = {name: np.zeros_like(array) for name, array in w.items()}, np.zeros_like(x)
        dshown = np.zeros((*x.shape[:2], self.output_size(w, x)))
        dshown = dshown if dy is None else reading.repeated_backward(dy)
        dstart = [np.zeros(part.shape) for part in tape.state if part.dtype.kind == "f"]
        passed = [np.asarray(part, np.float64) for part in _unpacked(dstate)]
        n_own = sum(bool(shape) for shape in self.state_shapes(w))
        for k, part in enumerate(passed[n_own:], n_own):
            dstart[k] += part  # a part that is only read is the same array before and after
        for piece, (row, t) in enumerate(zip(reading.rows, reading.times, strict=True)):
            dend = [np.zeros_like(part) for part in tape.ends[piece] if np.ndim(part)]
            if piece == reading.last[row]:
                for part, whole in zip(dend, passed[:n_own], strict=False):
                    part[:] = whole[row][len(whole[row]) - len(part) :]
            dx[row, t], found = self.read_backward(
                w, grads, tape.pieces[piece], dshown[row, t], dend
            )
            for k, part in enumerate(found):
                if k >= n_own or piece == reading.first[row]:
                    of_row = dstart[k][row]
                    of_row[len(of_row) - len(part) :] += part
        return dx, _packed(dstart), grads


def _floats(params: Mapping[str, Array]) -> Named:
    return {name: np.asarray(params[name], np.float64) for name in params}


def _zeros(B: int, shape: PartShape) -> Part:
    """Return a part of the state of B rows of which nothing was read."""
    return np.zeros([B, *(n or 0 for n in shape)], np.float64 if shape else np.int64)


def _newest_last(parts: Sequence[Part], shape: PartShape) -> Part:
    """Return a part of the state of all rows, with zeros before the rows that are known."""
    if not shape:
        return np.array(parts, np.int64)
    depth = max(map(len, parts), default=0) if shape[0] is None else shape[0]
    whole = np.zeros((len(parts), depth, *(n or 0 for n in shape[1:])))
    for of_row, part in zip(whole, parts, strict=True):
        of_row[depth - len(part) :] = part
    return whole


def _unpacked(state: Any) -> list[Any]:
    if state is None:
        return []
    return list(state) if isinstance(state, tuple | list) else [state]


def _packed(parts: Sequence[Part]) -> Any:
    return (tuple(parts) if len(parts) > 1 else parts[0]) if parts else None
