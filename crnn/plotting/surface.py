"""Plot of a loss over two parameters, with the paths of gradient descent."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.plotting.arguments import Axes, Floats, numbers
from crnn.plotting.axes import MAP, ORANGE, WIDTH, axes_of, legend_below

_ARROW = 0.04  # share of the window: shorter steps get no arrowhead


def loss_surface(
    x: ArrayLike,
    y: ArrayLike,
    losses: ArrayLike,
    ax: "Axes | None" = None,
    *,
    path: ArrayLike | None = None,
    clipped: ArrayLike | None = None,
    xlabel: str = "w",
    ylabel: str = "b",
    levels: int = 30,
) -> "Axes":
    """Draw a loss over two parameters, and the paths of gradient descent on it.

    Parameters
    ----------
    x : array_like (N,)
        Values of the parameter on the x axis, increasing.
    y : array_like (M,)
        Values of the parameter on the y axis, increasing.
    losses : array_like (M, N)
        Loss at (x[j], y[i]) in ``losses[i, j]``. Losses that are not finite are drawn like the
        largest finite loss.
    ax : matplotlib axes, optional
        Axes to draw into; by default those of a new figure.
    path : array_like (S, 2), optional
        Points (x, y) of gradient descent, in order.
    clipped : array_like (S, 2), optional
        Points (x, y) of gradient descent with gradient clipping, in order.
    xlabel, ylabel : str, default "w" and "b"
        Names of the parameters: labels of the axes.
    levels : int, default 30
        Number of colours, at least 2.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If a shape is wrong, `x` or `y` does not increase, no loss is finite, or `levels` is below
        2.
    ImportError
        If matplotlib is not installed.

    Notes
    -----
    The levels of the colours are the means of two sets, on a logarithmic scale of the loss: equal
    steps, and levels between which lie equal areas. A cliff then appears as dense contour lines,
    and small differences in a flat region remain visible. A step that leaves the window is cut off
    at its border; the legend has the number of points outside.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> x, y = np.linspace(-2, 2, 30), np.linspace(-1, 1, 20)
    >>> losses = x**2 + 4 * y[:, None] ** 2
    >>> ax = crnn.plotting.loss_surface(x, y, losses, path=[[-1.5, 0.8], [-1, 0.2], [-0.5, 0]])
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('w', 'b')
    """
    right, up = _increasing("x", x), _increasing("y", y)
    expected = f"an array (len(y), len(x)) = ({len(up)}, {len(right)})"
    grid = numbers("losses", losses, (2,), expected)
    if grid.shape != (len(up), len(right)):
        raise ValueError(f"losses: expected {expected}, got shape {grid.shape}")
    if levels < 2:
        raise ValueError(f"levels: expected at least 2, got {levels}")
    if not np.isfinite(grid).any():
        raise ValueError("losses: expected at least one finite number, got none")
    paths = [
        (_points(name, value), look)
        for name, value, look in (("path", path, _PLAIN), ("clipped", clipped, _CLIPPED))
        if value is not None
    ]
    axes = axes_of(ax, (WIDTH, 5.0))
    grid = np.where(np.isfinite(grid), grid, grid[np.isfinite(grid)].max())
    _fill(axes, right, up, grid, levels)
    window = _Window(right[0], up[0], right[-1], up[-1])
    for points, look in paths:
        _draw_path(axes, points, window, look)
    axes.set(xlim=(window.left, window.right), ylim=(window.bottom, window.top))
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if paths:
        legend_below(axes)
    return axes


class _Look(NamedTuple):
    """Label, colour, line style and marker of a path."""

    label: str
    color: str
    line: str
    marker: str


_PLAIN = _Look("gradient descent", ORANGE, "-", "o")
_CLIPPED = _Look("with clipping", "white", "--", "s")


class _Window(NamedTuple):
    """Rectangle that the axes show."""

    left: float
    bottom: float
    right: float
    top: float

    def contains(self, points: Floats) -> NDArray[np.bool_]:
        """Return a mask (N,) of the points (N, 2) inside."""
        low, high = self[:2], self[2:]
        return np.asarray(((points >= low) & (points <= high)).all(axis=-1))

    def on_border(self, point: Floats) -> bool:
        """Return whether a point lies on the border of the window."""
        return bool(np.any(np.isclose(self[:2], point)) or np.any(np.isclose(self[2:], point)))

    def part(self, begin: Floats, end: Floats) -> tuple[float, float] | None:
        """Return the part of the line between two points that lies inside, as fractions of it.

        None if the line lies outside. The method is that of Y.-D. Liang and B. A. Barsky, "A new
        concept and method for line clipping" (1984).
        """
        first, last = 0.0, 1.0
        for i in range(2):
            step = float(end[i] - begin[i])
            for bound, sign in ((self[i], 1), (self[i + 2], -1)):
                inside = sign * (float(begin[i]) - bound)  # distance; negative outside
                if step == 0:
                    if inside < 0:
                        return None
                elif sign * step > 0:
                    first = max(first, -inside / (sign * step))
                else:
                    last = min(last, -inside / (sign * step))
        return (first, last) if first <= last else None


def _increasing(name: str, value: ArrayLike) -> Floats:
    """Return an argument as an array (N,) of increasing numbers, or raise."""
    expected = "at least 2 increasing numbers"
    array = numbers(name, value, (1,), expected, finite=True)
    if len(array) < 2 or np.any(np.diff(array) <= 0):
        raise ValueError(f"{name}: expected {expected}, got {value!r:.100}")
    return array


def _points(name: str, value: ArrayLike) -> Floats:
    """Return the points (S, 2) of a path, or raise."""
    points = numbers(name, value, (2,), "points (S, 2)")
    if points.shape[1] != 2:
        raise ValueError(f"{name}: expected points (S, 2), got shape {points.shape}")
    return points


def _levels(losses: Floats, count: int) -> Floats:
    """Return the losses at which the colour changes: means of equal steps and of equal areas.

    Both are taken of log(height + base), where the height is measured from the lowest loss and base
    is the height that a tenth of the area does not reach. Without base the values close to the
    minimum would take most of the levels.
    """
    lowest = losses.min()
    height = losses - lowest
    if not height.any():
        return np.array([lowest - 0.5, lowest + 0.5])
    base = np.quantile(height, 0.1) or np.median(height[height > 0])
    share = np.linspace(0, 1, count + 1)
    areas = np.quantile(np.log(height + base), share)
    steps = areas[0] + share * (areas[-1] - areas[0])
    levels = lowest + np.exp((areas + steps) / 2) - base
    levels[0], levels[-1] = lowest, losses.max()  # exact, without the rounding errors above
    return np.unique(levels)


def _fill(axes: "Axes", x: Floats, y: Floats, losses: Floats, count: int) -> None:
    """Draw the surface, and a colour bar in which all colours have the same height."""
    from matplotlib.colors import BoundaryNorm

    levels = _levels(losses, count)
    norm = BoundaryNorm(levels, 256)
    filled = axes.contourf(x, y, losses, levels=levels, cmap=MAP, norm=norm)
    axes.contour(x, y, losses, levels=levels[1:-1], colors="black", linewidths=0.3, alpha=0.5)
    axes.grid(False)
    shown = levels[:: max(1, (len(levels) - 1) // 6)]
    bar = axes.figure.colorbar(
        filled, ax=axes, label="loss", pad=0.02, spacing="uniform", ticks=shown
    )
    bar.set_ticklabels([f"{value:.3g}".replace("-", "−") for value in shown])


def _draw_path(axes: "Axes", points: Floats, window: _Window, look: _Look) -> None:
    """Draw the points of a path and the steps between them, cut off at the window."""
    from matplotlib.patheffects import withStroke

    finite = np.isfinite(points).all(axis=1)
    inside = window.contains(points)
    outside = len(points) - int(inside.sum())
    usable = points[: len(points) if finite.all() else int(finite.argmin())]
    line, marked, steps = _clip(usable, window)
    edge = "white" if look.color != "white" else "black"
    around = [withStroke(linewidth=2.8, foreground=edge)]
    label = look.label + (f" ({outside} of {len(points)} points outside)" if outside else "")
    style: dict[str, Any] = {"color": look.color, "linestyle": look.line, "linewidth": 1.6}
    style |= {"marker": look.marker, "markersize": 5.5, "markevery": marked}
    style |= {"markeredgecolor": edge, "markeredgewidth": 0.8, "path_effects": around}
    axes.plot(*line.T, **style, label=label)
    head: dict[str, Any] = {"arrowstyle": "-|>", "facecolor": look.color, "edgecolor": edge}
    head |= {"linewidth": 0, "shrinkA": 0, "mutation_scale": 16}  # axes.plot drew the line
    for begin, end in steps:
        to_border = 0 if window.on_border(end) else 3.5  # points: room for the marker
        axes.annotate("", end, begin, arrowprops=head | {"shrinkB": to_border})


def _clip(points: Floats, window: _Window) -> tuple[Floats, list[int], list[Any]]:
    """Return the line of a path inside the window, the indices of its points, and the long steps.

    The line has NaN where it leaves the window. Long steps are the pairs (begin, end) that get an
    arrowhead.
    """
    line: list[Floats] = []
    marked: list[int] = []
    steps = []
    size = np.array([window.right - window.left, window.top - window.bottom])
    inside = window.contains(points)
    for i, point in enumerate(points):
        if inside[i]:
            marked.append(len(line))
            line.append(point)
        if i + 1 == len(points):
            break
        part = window.part(point, points[i + 1])
        if part is None:
            line.append(np.full(2, np.nan))
            continue
        begin, end = (point + share * (points[i + 1] - point) for share in part)
        if not inside[i]:
            line.append(begin)
        if not inside[i + 1]:
            line += [end, np.full(2, np.nan)]
        if np.linalg.norm((end - begin) / size) >= _ARROW:
            steps.append((begin, end))
    return np.array(line).reshape(-1, 2), marked, steps
