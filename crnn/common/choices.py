"""The names that options accept, as types: type checkers and the checks of arguments read them.

The recurrent options are the core's; tests hold their types here equal to what it accepts.
"""

from typing import Literal, TypeAlias

#: Activation functions of recurrent layers.
Activation: TypeAlias = Literal["tanh", "sigmoid", "hard_sigmoid", "relu", "softsign", "identity"]
#: Activation functions of the layer Activation.
PointwiseActivation: TypeAlias = Literal[Activation, "gelu", "gelu_exact", "silu"]
#: Where the reset gate of a GRU is applied.
Reset: TypeAlias = Literal["after", "before"]
#: How the units of a reservoir are connected.
Topology: TypeAlias = Literal["random", "orthogonal", "cycle"]
#: How the outputs of both directions become one.
Merge: TypeAlias = Literal["concat", "sum", "mean", "mul"]
#: How `Pool` makes one vector of a sequence.
Pooling: TypeAlias = Literal["last", "mean", "max"]
#: Which arrays of the last state `LastState` returns.
StateArrays: TypeAlias = Literal["h", "c", "all"]
#: Scores of attention.
AttentionScore: TypeAlias = Literal["additive", "dot", "general"]
#: Recurrent layers of the ready-made models.
CellName: TypeAlias = Literal["rnn", "lstm", "gru", "janet", "mingru", "minlstm"]
BlockName: TypeAlias = Literal["tcn", "transformer"]
#: Layers of `Translator`.
TranslatorName: TypeAlias = Literal[CellName, "transformer"]
#: How data are split.
SplitBy: TypeAlias = Literal["time", "sequence"]
#: How missing values of a table are handled.
Missing: TypeAlias = Literal["error", "drop", "interpolate", "forward", "mask"]
#: How the Mackey-Glass equation is solved.
Integration: TypeAlias = Literal["euler", "rk4"]
#: What a root mean square error is divided by.
ErrorScale: TypeAlias = Literal["std", "mean"]
#: How the saliency of inputs is computed.
SaliencyMethod: TypeAlias = Literal["gradient", "occlusion"]
#: Arrays of a state of which gradients are shown.
StateArray: TypeAlias = Literal["h", "c"]
#: Whether the best epoch has the lowest or the highest value.
BestMode: TypeAlias = Literal["min", "max"]
#: Quantities that `crnn.watch` records.
Watched: TypeAlias = Literal["gradient", "reach", "saturated", "sigma"]
