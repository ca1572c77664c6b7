"""Plots of attention weights."""

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
    """Draw the attention weights of one sequence as a matrix of colours.

    Row t has the weights with which the decoder reads the source when it writes target symbol t.

    Parameters
    ----------
    weights : array_like (T, S)
        Attention weights from 0 to 1, such as ``tape.attention[0]`` of a `crnn.Seq2Seq`, without
        padding.
    source : sequence of S str
        Source symbols: characters or words. A string is a sequence of its characters.
    target : sequence of T str
        Target symbols.
    ax : matplotlib axes, optional
        Axes to draw into; by default those of a new figure whose size depends on S and T.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If the shape of `weights` is not (T, S), or T or S is 0.
    ImportError
        If matplotlib is not installed.

    See Also
    --------
    save_attention : Write the plot to an image file.

    Examples
    --------
    >>> import crnn
    >>> weights = [[0.9, 0.1, 0.0], [0.1, 0.2, 0.7]]  # 2 target symbols, 3 source symbols
    >>> ax = crnn.plotting.plot_attention(weights, source="abc", target=["A", "C"])
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('source', 'target')
    """
    grid = np.asarray(weights, np.float64)
    if grid.shape != (len(target), len(source)) or not grid.size:
        raise ValueError(
            f"weights: expected shape (T, S) = ({len(target)}, {len(source)}), the numbers of "
            f"target and source symbols (at least 1 each), got shape {grid.shape}"
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
    axes.grid(False)  # overrides the user's matplotlib style
    axes.figure.colorbar(image, ax=axes, label="weight", pad=0.02, aspect=max(5, len(target)))
    return axes


def save_attention(
    path: str | os.PathLike[str], weights: ArrayLike, source: Sequence[str], target: Sequence[str]
) -> None:
    """Write the plot of `plot_attention` to an image file; no window is opened.

    Parameters
    ----------
    path : str or path
        File to write. Its suffix selects the format (``.png``, ``.pdf``, ``.svg``, ...); without a
        suffix the format is PNG.
    weights : array_like (T, S)
        Attention weights from 0 to 1.
    source : sequence of S str
        Source symbols.
    target : sequence of T str
        Target symbols.

    Raises
    ------
    ValueError
        If the shape of `weights` is not (T, S), T or S is 0, `path` is a directory, or the suffix
        is no format of matplotlib.
    FileNotFoundError
        If the folder of `path` does not exist.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import os, tempfile
    >>> import crnn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "attention.png")
    ...     crnn.plotting.save_attention(path, [[0.9, 0.1], [0.2, 0.8]], "ab", "AB")
    ...     os.listdir(folder)
    ['attention.png']
    """
    size = _attention_size(source, target)
    save(path, size, lambda axes: plot_attention(weights, source, target, axes))


def _attention_size(source: Sequence[str], target: Sequence[str]) -> tuple[float, float]:
    """Return a figure size in inches at which the labels of the symbols do not overlap."""
    beside, above = 0.09 * _longest(target), 0.09 * _longest(source)
    return 0.22 * len(source) + beside + 1.6, max(0.22 * len(target) + above + 0.7, 1.8)


def _longest(symbols: Sequence[str]) -> int:
    """Return the largest number of characters of a symbol."""
    return max(map(len, symbols), default=0)
