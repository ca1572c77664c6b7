"""Pictures of training and of what goes on inside a layer.

=================================  =================================================================
training                           `loss_curve`, `recorded`, `singular_values`, `loss_surface`
a text                             `gates_over_text`, `unit_over_text`
where a decoder looks              `plot_attention`
what gradients become in time      `gradient_against_distance`, `norms_by_step`
how often gates are saturated      `saturation`
what an output looked at           `saliency`, `influence`
how a model is made                `unfolded`
a series and what was predicted    `series`
=================================  =================================================================

Each function draws into the axes that it is given, or into a new figure as wide as a notebook, and
returns the axes. ``save_loss_curve`` and ``save_attention`` draw into files.

matplotlib is imported when a picture is drawn; it comes with ``pip install "crnn[plot]"``. Colours
are told apart by the colour-blind and in greyscale: lines differ in form too (the colours are those
of Okabe and Ito, 2008), and the map for values, cividis, grows lighter throughout.
"""

from crnn.plotting.attention import plot_attention, save_attention
from crnn.plotting.confusion import confusion_matrix
from crnn.plotting.flow import gradient_against_distance, norms_by_step
from crnn.plotting.gates import saturation
from crnn.plotting.graph import unfolded
from crnn.plotting.inputs import influence, saliency
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
    "norms_by_step",
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
