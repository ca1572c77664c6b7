"""Plots of training runs, gates, gradients, attention weights and predictions.

=================================  =================================================================
Training run                       `loss_curve`, `recorded`, `singular_values`, `loss_surface`
Gates and states over a text       `gates_over_text`, `unit_over_text`
Attention weights of a decoder     `plot_attention`
Gradient norms over time           `gradient_against_distance`, `norms_by_step`
Saturation of gates                `saturation`
Dependence of y on the input       `saliency`, `influence`
Memory of a reservoir              `memory_curve`
Structure of a model               `unfolded`
Time series and its prediction     `series`
Music                              `piano_roll`
=================================  =================================================================

Each function draws into the matplotlib axes in its argument `ax`, or into a new figure of the width
of a notebook, and returns the axes. `save_loss_curve` and `save_attention` write image files.

matplotlib is imported when the first plot is drawn; ``pip install ".[plot]"`` in a checkout
installs it. The plots are legible for colour-blind readers and in greyscale: lines differ in colour
(the palette of Okabe and Ito, "Color universal design", 2008) and in line style, and the lightness
of the colour map for values, cividis, increases from the smallest to the largest value.
"""

from crnn.plotting.attention import plot_attention, save_attention
from crnn.plotting.confusion import confusion_matrix
from crnn.plotting.flow import gradient_against_distance, norms_by_step
from crnn.plotting.gates import saturation
from crnn.plotting.graph import unfolded
from crnn.plotting.inputs import influence, saliency
from crnn.plotting.memory import memory_curve
from crnn.plotting.music import piano_roll
from crnn.plotting.prediction import series
from crnn.plotting.surface import loss_surface
from crnn.plotting.text import gates_over_text, unit_over_text
from crnn.plotting.training import loss_curve, recorded, save_loss_curve, singular_values

__all__ = [
    "confusion_matrix",
    "gates_over_text",
    "gradient_against_distance",
    "influence",
    "loss_curve",
    "loss_surface",
    "memory_curve",
    "norms_by_step",
    "piano_roll",
    "plot_attention",
    "recorded",
    "saliency",
    "saturation",
    "save_attention",
    "save_loss_curve",
    "series",
    "singular_values",
    "unfolded",
    "unit_over_text",
]
