"""Plot of music: which keys of a piano sound in each step."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crnn.plotting.arguments import Axes, Floats, numbers
from crnn.plotting.axes import BLUE, MAP, ORANGE, PALE, WIDTH, axes_of, legend_below

_OCTAVE = 12
_NAMES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"]
_FEWEST = 12  # keys that are shown at least
_FULL = 24  # keys up to which each white key has its name


def piano_roll(
    roll: ArrayLike,
    ax: "Axes | None" = None,
    *,
    probabilities: ArrayLike | None = None,
    start: int = 0,
    lowest: int = 21,
) -> "Axes":
    """Draw a piano roll: a bar for each note, time from left to right, high notes at the top.

    Keys above and below all notes are left out.

    Parameters
    ----------
    roll : array_like (T, K) of 0 and 1
        Which of K keys sound in each step. A key that sounds in consecutive steps is one bar.
    ax : matplotlib axes, optional
        Axes to draw into; by default those of a new figure.
    probabilities : array_like (T, K), optional
        Predicted probability of each key, from 0 to 1; NaN at steps without a prediction. They are
        drawn as colours, and the notes as frames.
    start : int, default 0
        First step that was generated, 0 to T. From there on notes have another colour, and a dotted
        line marks the step if it is above 0.
    lowest : int, default 21
        Number in MIDI of the first key; 21 is A0, the first one of a piano, and 60 is the middle C,
        C4.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If a shape is wrong, `roll` has other values than 0 and 1 or no step, a probability is not
        between 0 and 1, or `start` is not between 0 and T.
    ImportError
        If matplotlib is not installed.

    See Also
    --------
    crnn.data.read_midi : Reads a MIDI file as a piano roll.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> roll = np.zeros((4, 88))
    >>> roll[:2, 39] = roll[2:, 43] = 1  # C4 for two steps, then E4
    >>> ax = crnn.plotting.piano_roll(roll)
    >>> ax.get_xlabel(), [label.get_text() for label in ax.get_yticklabels()][2:5]
    ('step', ['C4', 'D4', 'E4'])
    """
    notes = numbers("roll", roll, (2,), "a piano roll (T, K) of 0 and 1", finite=True)
    if ((notes != 0) & (notes != 1)).any():
        raise ValueError("roll: expected 0 and 1, got other numbers; sample probabilities first")
    T = len(notes)
    if not 0 <= start <= T:
        raise ValueError(f"start: expected a step from 0 to T={T}, got {start}")
    p = None if probabilities is None else _probabilities(probabilities, notes.shape)
    first, last = _shown_keys(notes if p is None else np.maximum(notes, np.nan_to_num(p) > 0.05))
    axes = axes_of(ax, (WIDTH, float(np.clip(1.2 + 0.085 * (last - first), 2.4, 6.0))))
    if p is not None:
        _colours(axes, p, lowest)
    _bars(axes, notes, start, lowest, frames=p is not None)
    if 0 < start < T:
        axes.axvline(start, color=PALE, linestyle=":", linewidth=1.5)
    axes.set(xlim=(0, T), ylim=(lowest + first - 0.5, lowest + last - 0.5))
    _label(axes, range(lowest + first, lowest + last))
    if 0 < start < T and p is None:
        legend_below(axes)
    return axes


def _probabilities(value: ArrayLike, shape: tuple[int, ...]) -> Floats:
    """Return probabilities of the shape of the roll, or raise."""
    expected = f"probabilities of the shape of the roll, {shape}"
    p = numbers("probabilities", value, (2,), expected)
    if p.shape != shape:
        raise ValueError(f"probabilities: expected {expected}, got shape {p.shape}")
    if ((p < 0) | (p > 1)).any():
        raise ValueError(f"probabilities: expected {expected}, from 0 to 1, got others")
    return p


def _shown_keys(sounding: Floats) -> tuple[int, int]:
    """Return the first key that is shown, and the one after the last."""
    K = sounding.shape[1]
    keys = np.flatnonzero(sounding.any(axis=0))
    low, high = (int(keys[0]), int(keys[-1])) if keys.size else (K // 2, K // 2)
    missing = max(_FEWEST - (high - low + 1), 2)  # at least one free key on each side
    first = max(low - (missing + 1) // 2, 0)
    return first, min(high + missing // 2, K - 1) + 1


def _colours(axes: "Axes", p: Floats, lowest: int) -> None:
    """Draw the probabilities, and the colour bar."""
    T, K = p.shape
    ends = (0, T, lowest - 0.5, lowest + K - 0.5)
    image = axes.imshow(
        np.ma.masked_invalid(p.T),
        MAP,
        vmin=0,
        vmax=1,
        aspect="auto",
        origin="lower",
        extent=ends,
        interpolation="nearest",
    )
    axes.figure.colorbar(image, ax=axes, label="probability", pad=0.02)


def _bars(axes: "Axes", notes: Floats, start: int, lowest: int, *, frames: bool) -> None:
    """Draw a bar, or a frame, for each note; notes that last beyond `start` are divided there."""
    parts = [("given", BLUE, notes.copy()), ("generated", ORANGE, notes.copy())]
    parts[0][2][start:] = 0
    parts[1][2][:start] = 0
    if not start:  # nothing is distinguished
        parts = [("notes", BLUE, notes)]
    for label, colour, part in parts:
        if not part.any():
            continue
        change = np.diff(part, axis=0, prepend=0, append=0)
        keys, begins = np.nonzero(change.T == 1)
        ends = np.nonzero(change.T == -1)[1]
        look: dict[str, Any] = {"facecolor": "none", "edgecolor": "white", "linewidth": 1.3}
        if not frames:
            look = {"facecolor": colour, "edgecolor": "white", "linewidth": 0.4}
        axes.barh(keys + lowest, ends - begins, 0.86, begins, label=label, zorder=3, **look)


def _label(axes: "Axes", keys: range) -> None:
    """Name the white keys of a small range, and each C of a large one; shade the black keys."""
    names = {key: f"{_NAMES[key % _OCTAVE]}{key // _OCTAVE - 1}" for key in keys}
    black = [key for key, name in names.items() if "♯" in name]
    shown = [key for key in keys if key not in black and (len(keys) <= _FULL or not key % _OCTAVE)]
    axes.set_yticks(shown, [names[key] for key in shown])
    for key in black:
        axes.axhspan(key - 0.5, key + 0.5, color="black", alpha=0.05, linewidth=0, zorder=0)
    axes.set(xlabel="step", ylabel="key")
    axes.locator_params(axis="x", integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(False)  # overrides the user's matplotlib style
