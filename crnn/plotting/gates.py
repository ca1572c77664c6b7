"""How often gates are saturated."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from crnn.plotting.arguments import Axes, Floats, check_same_shape, curves_of, numbers, pair_of
from crnn.plotting.axes import DARK, axes_of, look

_BOUND = "never in between"
_MARKERS = "os^DvP"  # six, so that with seven colours 42 gates are told apart


def saturation(
    points: "Mapping[str, tuple[ArrayLike, ArrayLike]]", ax: "Axes | None" = None
) -> "Axes":
    """Draw how often the units of gates lie at an end of their range: a point for each unit.

    The picture is that of Karpathy, Johnson and Fei-Fei, "Visualizing and understanding recurrent
    networks" (2015). Units at the lower right are open at nearly all steps, those at the upper left
    are shut; those on the diagonal are never in between.

    Parameters
    ----------
    points : mapping of names to pairs (high, low)
        For each gate two arrays (H,): the fraction of steps at which each unit lies near the upper
        end of its range, and that at which it lies near the lower end.
    ax : matplotlib axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If there is no gate, shapes do not fit, or a number is no fraction.
    """
    given = curves_of("points", points, "pairs (high, low) of arrays (H,)")
    found = {str(name): _pair(f"points[{name!r}]", value) for name, value in given.items()}
    longest = max(len(_BOUND), *map(len, found))
    axes = axes_of(ax, (4.8 + 0.085 * longest, 4.2))
    axes.plot([0, 1], [1, 0], ":", color=DARK, linewidth=1.2, label=_BOUND, zorder=1)
    for i, (name, (high, low)) in enumerate(found.items()):
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
    """Add a legend to the right of the axes, where no point can be."""
    handles, labels = axes.get_legend_handles_labels()
    entries = handles[1:] + handles[:1], labels[1:] + labels[:1]  # gates first
    where: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1, 1), "borderaxespad": 0.8}
    legend = axes.legend(*entries, **where, frameon=False)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)


def _pair(name: str, value: Any) -> tuple[Floats, Floats]:
    """Return the fractions at the upper and at the lower end, (H,) each."""
    pair = pair_of(name, value, "(high, low) of arrays (H,)")
    high, low = _fractions(f"{name}, high", pair[0]), _fractions(f"{name}, low", pair[1])
    check_same_shape(name, "high and low of one shape (H,)", high, low)
    return high, low


def _fractions(name: str, value: ArrayLike) -> Floats:
    array = numbers(name, value, (1,), "a fraction for each unit (H,)", finite=True)
    if wrong := int(((array < 0) | (array > 1)).sum()):
        raise ValueError(f"{name}: expected fractions from 0 to 1, got {wrong} that are not")
    return array
