"""See inside: how far states and gradients reach, what gates do, what an output looked at.

=================== ===============================================================================
`state_jacobians`   ∂s_T/∂s_t of every step: norms, singular values, matrices
`memory_length`     after how many steps that falls below a fraction
`gradient_flow`     dL/dh_t, dL/dc_t and each step's own term of dL/dW_h, of a traced backward pass
`gate_statistics`   how often each gate of each unit is shut, or open
`input_saliency`    which inputs moved one output
`receptive_field`   which inputs reach which outputs, measured
`Watch`             a callback that looks at a training run, and warns in words: `crnn.watch`
=================== ===============================================================================

Each function returns an object that holds the numbers, draws itself with ``plot(ax=None)``, and is
a table: ``columns``, or ``to_frame()`` where pandas is installed. All of them take any layer or
composition; nothing of the model is changed.
"""

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
    "MemoryLength",
    "PartFlow",
    "ReceptiveField",
    "StateJacobians",
    "TrainingWarning",
    "Watch",
    "gate_statistics",
    "gradient_flow",
    "input_saliency",
    "memory_length",
    "receptive_field",
    "state_jacobians",
    "watch",
]
