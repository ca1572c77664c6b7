"""Sizes of runs, and the style of figures."""

import os
from typing import TypeVar

Size = TypeVar("Size")

# Okabe and Ito (2008): colour-blind people can distinguish them. Dark and light ones alternate.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))


def size(full: Size, small: Size) -> Size:
    """Return `full`, or `small` where the environment says ``CRNN_NOTEBOOKS=small``.

    With the small sizes each notebook runs in seconds, which is enough to test its code. The texts
    describe the results of the full sizes.
    """
    return small if os.environ.get("CRNN_NOTEBOOKS") == "small" else full


def style() -> None:
    """Set the style of figures: legible at the width of a notebook, in greyscale and in colour."""
    from cycler import cycler
    from matplotlib import pyplot as plt

    plt.rcParams.update(
        {
            "axes.grid": True,
            "axes.prop_cycle": cycler(color=COLOURS) + cycler(linestyle=LINES),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "figure.constrained_layout.use": True,
            "figure.dpi": 90,
            "figure.figsize": (7.5, 3.8),
            "font.size": 11,
            "grid.alpha": 0.3,
            "image.cmap": "cividis",
            "legend.frameon": False,
        }
    )
