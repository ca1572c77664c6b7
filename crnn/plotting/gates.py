"""Plot of the saturation of gates."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from crnn.plotting.arguments import Axes, Floats, check_same_shape, curves_of, numbers, pair_of
from crnn.plotting.axes import DARK, axes_of, look

_BOUND = "saturated at every step"
_MARKERS = "os^DvP"  # 6 markers and 7 colours make 42 combinations


def saturation(
    points: "Mapping[str, tuple[ArrayLike, ArrayLike]]", ax: "Axes | None" = None
) -> "Axes":
    """Draw the fractions of steps at which gates are saturated, one point per unit.

    A unit at the lower right is open at nearly all steps, a unit at the upper left is closed. The
    dotted diagonal has the units that are saturated at every step. The plot is from A. Karpathy,
    J. Johnson and L. Fei-Fei, "Visualizing and understanding recurrent networks" (2015).

    Parameters
    ----------
    points : mapping of names to pairs (high, low)
        For each gate two arrays (H,): the fractions of steps at which the activation of each unit
        is near the upper and near the lower end of its range. The names label the gates.
    ax : matplotlib axes, optional
        Axes to draw into; by default those of a new figure.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If `points` is empty, a pair has two shapes, or a value is not between 0 and 1.
    ImportError
        If matplotlib is not installed.

    See Also
    --------
    crnn.diagnostics.gate_statistics : Computes the fractions.

    Examples
    --------
    >>> import crnn
    >>> points = {"i": ([0.9, 0.1], [0.0, 0.8]), "f": ([0.5, 0.6], [0.1, 0.1])}  # 2 units
    >>> ax = crnn.plotting.saturation(points)
    >>> ax.get_xlabel()
    'fraction of steps at the upper end'
    """
    values = curves_of("points", points, "pairs (high, low) of arrays (H,)")
    fractions = {str(name): _pair(f"points[{name!r}]", value) for name, value in values.items()}
    longest = max(len(_BOUND), *map(len, fractions))
    axes = axes_of(ax, (4.8 + 0.085 * longest, 4.2))
    axes.plot([0, 1], [1, 0], ":", color=DARK, linewidth=1.2, label=_BOUND, zorder=1)
    for i, (name, (high, low)) in enumerate(fractions.items()):
        marker = _MARKERS[i % len(_MARKERS)]
        style: dict[str, Any] = {"color": look(i).color, "alpha": 0.45, "linewidths": 0}
        axes.scatter(high, low, 26, marker=marker, **style, label=name, zorder=2, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", anchor="W")
    axes.set_xlabel("fraction of steps at the upper end")
    axes.set_ylabel("fraction of steps at the lower end")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(False)
    _legend_beside(axes)
    return axes


def _legend_beside(axes: "Axes") -> None:
    """Add a legend to the right of the axes, outside of them."""
    handles, labels = axes.get_legend_handles_labels()
    entries = handles[1:] + handles[:1], labels[1:] + labels[:1]  # gates first
    where: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1, 1), "borderaxespad": 0.8}
    legend = axes.legend(*entries, **where, frameon=False)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)


def _pair(name: str, value: Any) -> tuple[Floats, Floats]:
    """Return the fractions at the upper and at the lower end, (H,) each, or raise."""
    pair = pair_of(name, value, "(high, low) of arrays (H,)")
    high, low = _fractions(f"{name}, high", pair[0]), _fractions(f"{name}, low", pair[1])
    check_same_shape(name, "high and low of one shape (H,)", high, low)
    return high, low


def _fractions(name: str, value: ArrayLike) -> Floats:
    """Return an argument as fractions (H,) from 0 to 1, or raise."""
    array = numbers(name, value, (1,), "a fraction for each unit (H,)", finite=True)
    if outside := int(((array < 0) | (array > 1)).sum()):
        raise ValueError(f"{name}: expected fractions from 0 to 1, got {outside} outside")
    return array
