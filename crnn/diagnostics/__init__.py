"""Diagnostics of models: the reach of states and gradients, gates, and the influence of inputs.

=================== ===============================================================================
`state_jacobians`   ∂s_T/∂s_t of every step: norms, singular values, matrices
`memory_length`     the number of steps after which these norms fall below a fraction
`gradient_flow`     dL/dh_t, dL/dc_t and each step's term of dL/dW_h, of a traced backward pass
`gate_statistics`   how often each gate of each unit is shut or open
`input_saliency`    how strongly one output depends on each input step
`memory_capacity`   how many earlier inputs a linear readout recovers from the states
`receptive_field`   which output steps depend on which input steps, measured
`Watch`             a callback that records gradients during training and warns: `crnn.watch`
=================== ===============================================================================

Each function returns an object with the numbers, a method ``plot(ax=None)``, and a table:
``columns``, or ``to_frame()`` if pandas is installed. All functions accept any layer or
composition, and do not change the model.
"""

from crnn.diagnostics.capacity import MemoryCapacity, memory_capacity
from crnn.diagnostics.flow import GradientFlow, PartFlow, gradient_flow
from crnn.diagnostics.gates import GateStatistics, GateValues, gate_statistics
from crnn.diagnostics.jacobians import (
    ChainJacobians,
    MemoryLength,
    StateJacobians,
    memory_length,
    state_jacobians,
)
from crnn.diagnostics.receptive import ReceptiveField, receptive_field
from crnn.diagnostics.saliency import InputSaliency, input_saliency
from crnn.diagnostics.watching import TrainingWarning, Watch, watch

__all__ = [
    "ChainJacobians",
    "GateStatistics",
    "GateValues",
    "GradientFlow",
    "InputSaliency",
    "MemoryCapacity",
    "MemoryLength",
    "PartFlow",
    "ReceptiveField",
    "StateJacobians",
    "TrainingWarning",
    "Watch",
    "gate_statistics",
    "gradient_flow",
    "input_saliency",
    "memory_capacity",
    "memory_length",
    "receptive_field",
    "state_jacobians",
    "watch",
]
