"""Type of matplotlib's axes for annotations, without an import of matplotlib at run time."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
else:
    Axes = Any
