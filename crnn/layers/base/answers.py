"""What others ask about a layer: the attributes of `crnn.Layer`, which documents them."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any

#: The answers of a layer that gives none of its own.
DEFAULTS: dict[str, Any] = {
    "input_size": None,
    "output_size": None,
    "symbols": None,
    "keeps_features": False,
    "keeps_time": True,
    "has_state": False,
    "state_sizes": (),
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


def of_inner(name: str) -> Any:
    """The answer of `inner` to the same question."""
    return property(lambda self: getattr(self.inner, name))
