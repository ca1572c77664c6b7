"""Defaults of the attributes that describe a layer. The docstring of `crnn.Layer` explains them."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any

#: Value of each attribute for a layer that does not set it.
DEFAULTS: dict[str, Any] = {
    "input_size": None,
    "output_size": None,
    "symbols": None,
    "keeps_features": False,
    "keeps_time": True,
    "has_state": False,
    "state_sizes": (),
    "state_depth": 1,
    "reads_backwards": False,
    "receptive_field": math.inf,
    "sequence_input": None,
    "stochastic": False,
    "answers_masked": None,
    "parts": MappingProxyType({}),
    "stages": (),
    "directions": MappingProxyType({}),
    "merge": None,
    "inner": None,
    "adds_input": False,
    "once": (),
    "tape_after_backward": False,
    "shares_weights_of": None,
    "trained_through": None,
}


def from_inner(name: str) -> Any:
    """Return a property with the value that the attribute of this name has in `inner`."""
    return property(lambda self: getattr(self.inner, name))
