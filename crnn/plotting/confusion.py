"""The picture of a confusion matrix."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crnn.common.figures import Axes
from crnn.plotting.arguments import numbers
from crnn.plotting.axes import DARK, MAP, axes_of

_WRITTEN = 20  # classes up to which each cell has its number


def confusion_matrix(
    matrix: ArrayLike, ax: "Axes | None" = None, *, names: Sequence[str] | None = None
) -> "Axes":
    """Draw a confusion matrix: a row for each target, a column for each predicted class.

    The colour of a cell is its share of the row, so that rare classes are as visible as frequent
    ones. Up to 20 classes each cell shows its count.

    Parameters
    ----------
    matrix : (K, K) numbers of at least 0
        As `crnn.metrics.confusion_matrix` returns it: row k counts the steps with the target k.
    ax : matplotlib axes, optional
        Where to draw; by default a new figure whose size grows with K.
    names : K strings, optional
        Names of the classes; by default their numbers.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        A matrix that is not square or has a negative entry, another number of names.

    Examples
    --------
    >>> import crnn
    >>> ax = crnn.plotting.confusion_matrix([[9, 1], [2, 8]], names=["cat", "dog"])
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('predicted', 'target')
    """
    counts = numbers("matrix", matrix, (2,), "a matrix (K, K) of counts", finite=True)
    K = len(counts)
    if counts.shape != (K, K) or (counts < 0).any():
        raise ValueError(
            f"matrix: expected counts (K, K) of at least 0, got shape {counts.shape}, "
            f"smallest {counts.min():g}"
        )
    labels = [str(k) for k in range(K)] if names is None else [str(name) for name in names]
    if len(labels) != K:
        raise ValueError(f"names: expected K={K} names, got {len(labels)}")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    longest = max(map(len, labels))
    side = min(3.2 + 0.42 * K, 11) + min(0.06 * longest, 2)
    axes = axes_of(ax, (side + 1, side))
    image = axes.imshow(shares, cmap=MAP, vmin=0, vmax=1, aspect="auto")
    style: dict[str, Any] = {"parse_math": False}
    axes.set_xticks(range(K), labels, rotation=90 if longest > 2 and K > 4 else 0, **style)
    axes.set_yticks(range(K), labels, **style)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted", ylabel="target")
    axes.spines[:].set_visible(False)
    axes.grid(False)  # the user's style may have one
    if K <= _WRITTEN:
        _write(axes, counts, shares)
    axes.figure.colorbar(image, ax=axes, label="share of the target", pad=0.02)
    return axes


def _write(axes: "Axes", counts: Any, shares: Any) -> None:
    """Write the counts into the cells, in a colour that is visible on that of the cell."""
    for (row, column), count in np.ndenumerate(counts):
        text = f"{count:.0f}" if float(count).is_integer() else f"{count:.3g}"
        colour = DARK if shares[row, column] > 0.5 else "white"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
