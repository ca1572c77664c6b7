"""The layers: recurrent ones, those that work step by step, and compositions of layers.

All modules are imported together, so that every class of theirs is known by name to `load`.
"""

from crnn.layers import (  # noqa: F401
    checkpointed,
    composition,
    conditioned,
    dense,
    pooling,
    recurrent,
    tied,
)
