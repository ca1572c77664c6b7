"""Plot of the memory of a model."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crnn.plotting.arguments import Axes, Floats, curves_of, numbers
from crnn.plotting.axes import WIDTH, axes_of, legend_on_top, styled, tidy

_EXPECTED = "capacities (K,) from 0 to 1"


def memory_curve(curves: Any, ax: "Axes | None" = None) -> "Axes":
    """Draw how well a linear readout recovers the inputs of earlier steps.

    Parameters
    ----------
    curves : mapping of names to capacities, or capacities
        Each value is an array (K,), whose element k - 1 is the squared correlation for the delay k;
        or a result of `crnn.diagnostics.memory_capacity`. The names label the curves, with their
        sums. A value without a name is drawn without a label.
    ax : matplotlib axes, optional
        Axes to draw into; by default those of a new figure.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If `curves` is empty, or a curve is no array of numbers from 0 to 1.
    ImportError
        If matplotlib is not installed.

    See Also
    --------
    crnn.diagnostics.memory_capacity : Measures the capacities.

    Examples
    --------
    >>> import crnn
    >>> ax = crnn.plotting.memory_curve({"short": [1.0, 0.5, 0.0], "long": [1.0, 1.0, 0.75]})
    >>> ax.get_xlabel(), ax.get_legend_handles_labels()[1]
    ('delay k, in steps', ['short (1.50)', 'long (2.75)'])
    """
    values = curves if isinstance(curves, dict) else {"": curves}
    drawn = {
        str(name): _capacities(f"curves[{name!r}]" if name else "curves", value)
        for name, value in curves_of("curves", values, "capacities").items()
    }
    axes = axes_of(ax, (WIDTH, 3.6))
    for i, (name, curve) in enumerate(drawn.items()):
        label = f"{name} ({curve.sum():.2f})" if name else ""
        style = styled(i, np.ones(len(curve), bool))
        axes.plot(np.arange(1, len(curve) + 1), curve, **style, label=label)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.05)
    tidy(axes, "delay k, in steps", "squared correlation")
    if any(drawn):
        legend_on_top(axes)
    return axes


def _capacities(name: str, value: ArrayLike) -> Floats:
    """Return an argument as capacities (K,), or raise."""
    array = numbers(name, getattr(value, "capacities", value), (1,), _EXPECTED, finite=True)
    if outside := int(((array < 0) | (array > 1)).sum()):
        raise ValueError(f"{name}: expected {_EXPECTED}, got {outside} outside")
    return array
