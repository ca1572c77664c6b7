"""The axes of matplotlib, for annotations: matplotlib is imported when a picture is drawn."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
else:
    Axes = Any
