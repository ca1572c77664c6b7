"""Plots of the dependence of outputs on inputs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crnn.plotting.arguments import Axes, Floats, numbers
from crnn.plotting.axes import (
    BLUE,
    DARK,
    MAP,
    ORANGE,
    PALE,
    WIDTH,
    axes_of,
    legend_below,
    legend_on_top,
    tidy,
    visible,
)
from crnn.plotting.text import gates_over_text, places

_EXPLAINED = "step whose output is explained"
_COLUMNS = 50  # largest number of characters in a line
_FEWEST = 20  # smallest number
_LOW = 2.2  # inches: lower axes get their colour bar at the top
_ROOM = 0.17  # inches: width of a word that is rotated by 90 degrees


def influence(
    matrix: ArrayLike, ax: "Axes | None" = None, *, label: str = "largest change of y"
) -> "Axes":
    """Draw the influence of each input step on each output step as a matrix of colours.

    The scale of the colours is logarithmic. Entries that are 0 are hatched.

    Parameters
    ----------
    matrix : array_like (T_out, T_in)
        Influence of input step t on output step s in ``matrix[s, t]``: at least 0; exactly 0 if the
        output does not depend on the input.
    ax : matplotlib axes, optional
        Axes to draw into; by default those of a new figure whose height depends on T_out / T_in.
    label : str, default "largest change of y"
        Label of the colour bar: the meaning of the values.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If `matrix` is no matrix of numbers, is empty, or has an entry that is negative or not
        finite.
    ImportError
        If matplotlib is not installed.

    See Also
    --------
    crnn.diagnostics.receptive_field : Measures the influence of the input steps.

    Examples
    --------
    >>> import crnn
    >>> ax = crnn.plotting.influence([[1.0, 0.0], [0.5, 1.0]])  # output step 0 ignores input step 1
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('input step', 'output step')
    """
    expected = "numbers (T_out, T_in) of at least 0"
    grid = numbers("matrix", matrix, (2,), expected, finite=True)
    if negative := int((grid < 0).sum()):
        raise ValueError(f"matrix: expected {expected}, got {negative} below 0")
    T_out, T_in = grid.shape
    axes = axes_of(ax, (WIDTH, float(np.clip(WIDTH * 0.8 * T_out / T_in, 1.8, 6.0))))
    if grid.any():
        _heat(axes, grid, label)
    if not grid.all():
        _hatch(axes)
    axes.set(xlim=(0.5, T_in + 0.5), ylim=(T_out + 0.5, 0.5))
    axes.locator_params(axis="x", integer=True, min_n_ticks=min(T_in, 2))
    axes.locator_params(axis="y", integer=True, min_n_ticks=min(T_out, 2))
    axes.set(xlabel="input step", ylabel="output step")
    axes.grid(False)
    if not grid.all():
        legend_below(axes)
    return axes


def _heat(axes: "Axes", grid: Floats, label: str) -> None:
    """Draw the entries above 0, and the colour bar."""
    from matplotlib.colors import LogNorm

    T_out, T_in = grid.shape
    above = grid[grid > 0]
    low, high = float(above.min()), float(above.max())
    scale = LogNorm(low if low < high else high / 10, high)
    ends = (0.5, T_in + 0.5, T_out + 0.5, 0.5)
    shown = np.ma.masked_equal(grid, 0)
    image = axes.imshow(
        shown, MAP, scale, aspect="auto", extent=ends, interpolation="nearest", zorder=2
    )
    low_axes = axes.bbox.height / axes.figure.dpi < _LOW
    where: dict[str, Any] = {"location": "top", "aspect": 50} if low_axes else {"pad": 0.02}
    axes.figure.colorbar(image, ax=axes, label=label, **where)


def _hatch(axes: "Axes") -> None:
    """Hatch the background, which is visible where an entry is 0."""
    from matplotlib.patches import Rectangle

    place: dict[str, Any] = {"transform": axes.transAxes, "zorder": 1}
    look: dict[str, Any] = {
        "facecolor": "white",
        "edgecolor": PALE,
        "hatch": "////",
        "linewidth": 0,
    }
    axes.add_patch(Rectangle((0, 0), 1, 1, **place, **look, label="0: no influence at all"))


def saliency(
    values: ArrayLike,
    ax: "Axes | None" = None,
    *,
    symbols: Sequence[str] | None = None,
    at: int | None = None,
) -> "Axes":
    """Draw the saliency of each input step: as colours of the text that was read, or as bars.

    Parameters
    ----------
    values : array_like (T,)
        Saliency of the input steps. Negative values get another colour than positive ones.
    ax : matplotlib axes, optional
        Axes to draw into; by default those of a new figure whose size depends on `symbols`.
    symbols : str of T characters or sequence of T str, optional
        Symbols that were read. If each is one character, the background of each character has the
        colour of its value. Otherwise the plot has bars with the symbols as labels; where not all
        labels fit, those of the largest magnitudes are written. None: bars without labels.
    at : int, optional
        Step, from 0 to T - 1, whose output the saliency explains. It is marked.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If `values` is not an array (T,) of finite numbers, the number of symbols is not T, or `at`
        is not between 0 and T - 1.
    ImportError
        If matplotlib is not installed.

    See Also
    --------
    crnn.diagnostics.input_saliency : Computes the saliency of a model.

    Examples
    --------
    >>> import crnn
    >>> ax = crnn.plotting.saliency([0.1, 0.7, 0.3], symbols="cat", at=2)
    >>> [text.get_text() for text in ax.texts]
    ['c', 'a', 't']
    """
    array = numbers("values", values, (1,), "one number per step (T,)", finite=True)
    T = len(array)
    if symbols is not None and len(symbols) != T:
        raise ValueError(f"symbols: expected {T} symbols, one per value, got {len(symbols)}")
    if at is not None and not 0 <= at < T:
        raise ValueError(f"at: expected a step from 0 to T - 1 = {T - 1}, got {at}")
    shown = None if symbols is None else [*map(str, symbols)]
    if shown is not None and all(len(symbol) == 1 for symbol in shown):
        return _over_text(array, "".join(shown), at, ax)
    axes = _bars(array, at, ax)
    if shown is not None:
        _write_words(axes, shown, array)
    return axes


def _over_text(values: Floats, text: str, at: int | None, ax: "Axes | None") -> "Axes":
    """Draw a text with the values as background colours; the character of step `at` is framed."""
    from matplotlib.patches import Rectangle

    columns = min(max(map(len, [*text.splitlines(keepends=True), " " * _FEWEST])), _COLUMNS)
    largest = float(np.abs(values).max()) or 1.0
    limits = (0.0 if values.min() >= 0 else -largest, largest)
    rows, across = places(text, columns)
    axes = axes_of(ax, (0.125 * columns + 1.25, 0.25 * (rows[-1] + 1) + 0.9))
    gates_over_text(text, values, axes, label="saliency", limits=limits, columns=columns)
    if at is not None:
        corner = (across[at] - 0.5, rows[at] - 0.5)
        look: dict[str, Any] = {"fill": False, "edgecolor": ORANGE, "linewidth": 2}
        axes.add_patch(Rectangle(corner, 1, 1, **look, clip_on=False, label=_EXPLAINED))
        axes.legend(loc="upper left", bbox_to_anchor=(0, 0), frameon=False, fontsize="small")
    return axes


def _bars(values: Floats, at: int | None, ax: "Axes | None") -> "Axes":
    """Draw one bar per step; bars below 0 have another colour."""
    axes = axes_of(ax, (WIDTH, 3.2))
    steps = np.arange(1, len(values) + 1)
    axes.bar(steps, values, width=0.8, color=np.where(values < 0, ORANGE, BLUE).tolist())
    axes.axhline(0, color=DARK, linewidth=0.8)
    axes.set_xlim(0.4, len(values) + 0.6)
    axes.locator_params(axis="x", min_n_ticks=1)
    tidy(axes, "input step", "saliency")
    if at is not None:
        style: dict[str, Any] = {"color": PALE, "linestyle": "--", "linewidth": 1.5}
        axes.axvline(at + 1, **style, zorder=0.5, label=_EXPLAINED)
        legend_on_top(axes)
    return axes


def _write_words(axes: "Axes", words: list[str], values: Floats) -> None:
    """Label as many bars with their words as fit, those of the largest magnitudes first."""
    width = axes.bbox.width / axes.figure.dpi  # inches
    distance = max(1, int(np.ceil(_ROOM * len(words) / width)))
    chosen: list[int] = []
    for step in np.argsort(-np.abs(values), kind="stable").tolist():
        if all(abs(step - other) >= distance for other in chosen):
            chosen.append(step)
    labels = ["".join(map(visible, words[step])) for step in chosen]
    axes.set_xticks([step + 1 for step in chosen], labels, rotation=90, parse_math=False)
    axes.set_xlabel("")
