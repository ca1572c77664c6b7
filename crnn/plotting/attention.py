"""Where a decoder looked."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crnn.common.figures import Axes
from crnn.plotting.axes import MAP, axes_of, save, visible


def plot_attention(
    weights: ArrayLike, source: Sequence[str], target: Sequence[str], ax: "Axes | None" = None
) -> "Axes":
    """Draw where a decoder looked: a row for each symbol written, a column for each one read.

    Parameters
    ----------
    weights : array (T, S)
        From 0 to 1, for instance ``tape.attention[0]`` without padding.
    source : S strings
        The symbols read, characters or words; a text serves for its characters.
    target : T strings
        The symbols written.
    ax : matplotlib axes, optional
        Where to draw; by default a new figure of the right size.

    Returns
    -------
    matplotlib axes
    """
    grid = np.asarray(weights, np.float64)
    if grid.shape != (len(target), len(source)) or not grid.size:
        raise ValueError(
            f"weights: expected shape (T, S) = ({len(target)}, {len(source)}), as many as there "
            f"are symbols (at least one of each), got shape {grid.shape}"
        )
    axes = axes_of(ax, _attention_size(source, target))
    image = axes.imshow(grid, cmap=MAP, vmin=0, vmax=1, aspect="auto")
    upright = 90 if _longest(source) > 1 else 0
    labels: dict[str, Any] = {"family": "monospace", "fontsize": 9, "parse_math": False}
    axes.set_xticks(range(len(source)), [*map(visible, source)], rotation=upright, **labels)
    axes.set_yticks(range(len(target)), [*map(visible, target)], **labels)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    axes.xaxis.set_label_position("top")
    axes.set(xlabel="source", ylabel="target")
    axes.spines[:].set_visible(False)
    axes.grid(False)  # whatever the style of the user says
    axes.figure.colorbar(image, ax=axes, label="weight", pad=0.02, aspect=max(5, len(target)))
    return axes


def save_attention(
    path: str | os.PathLike[str], weights: ArrayLike, source: Sequence[str], target: Sequence[str]
) -> None:
    """Draw `plot_attention` into an image file, without a window on any screen.

    Parameters
    ----------
    path : str or path
        Its ending tells the format.
    weights, source, target
        As for `plot_attention`.
    """
    size = _attention_size(source, target)
    save(path, size, lambda axes: plot_attention(weights, source, target, axes))


def _attention_size(source: Sequence[str], target: Sequence[str]) -> tuple[float, float]:
    """Return inches in which every symbol has a place of its own."""
    beside, above = 0.09 * _longest(target), 0.09 * _longest(source)
    return 0.22 * len(source) + beside + 1.6, max(0.22 * len(target) + above + 0.7, 1.8)


def _longest(symbols: Sequence[str]) -> int:
    return max(map(len, symbols), default=0)
