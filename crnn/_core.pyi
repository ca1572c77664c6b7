"""Types of the C core. The public layers, which document them, are in crnn.layers."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Generic, Self, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import TypeVar, disjoint_base

_Array = NDArray[Any]

# The state as callers pass it, and as the layer returns it.
_GivenState_contra = TypeVar("_GivenState_contra", contravariant=True, default=Any)
_State_co = TypeVar("_State_co", covariant=True, default=Any)

@disjoint_base
class Recurrent(Generic[_GivenState_contra, _State_co]):
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def __call__(
        self,
        x: ArrayLike,
        state: _GivenState_contra | None = None,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        resets: ArrayLike | None = None,
    ) -> tuple[_Array, _State_co]: ...
    def forward(
        self,
        x: ArrayLike,
        state: _GivenState_contra | None = None,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        training: bool = True,
        call: int | None = None,
        first_row: int = 0,
        first_step: int = 0,
        layer: int = 0,
    ) -> tuple[_Array, _State_co, Tape]: ...
    def backward(
        self,
        tape: Tape,
        dy: ArrayLike | None,
        dstate: _GivenState_contra | None = None,
        *,
        trace: bool = False,
    ) -> tuple[_Array | None, _State_co]: ...
    def check_backward(self, tape: Any, dstate: Any, /) -> None: ...
    def stream(
        self, batch_size: int = 1, state: _GivenState_contra | None = None
    ) -> Stream[_State_co]: ...
    @property
    def input_size(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def output_size(self) -> int: ...
    @property
    def options(self) -> dict[str, Any]: ...
    @property
    def seed(self) -> int: ...
    @seed.setter
    def seed(self, value: int) -> None: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def gate_order(self) -> tuple[str, ...]: ...
    @property
    def param_views(self) -> dict[str, _Array]: ...
    @property
    def grad_views(self) -> dict[str, _Array]: ...
    @property
    def stochastic(self) -> bool: ...
    @property
    def _frozen(self) -> bool: ...
    @_frozen.setter
    def _frozen(self, value: bool) -> None: ...
    @property
    def _has_grads(self) -> bool: ...
    @property
    def flat_params(self) -> _Array: ...
    @flat_params.setter
    def flat_params(self, value: ArrayLike) -> None: ...
    @property
    def flat_grads(self) -> _Array: ...
    @flat_grads.setter
    def flat_grads(self, value: ArrayLike) -> None: ...

_WithH: TypeAlias = Recurrent[ArrayLike, _Array]
_WithHC: TypeAlias = Recurrent[Sequence[ArrayLike], tuple[_Array, _Array]]

class RNN(_WithH):
    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None: ...
    @classmethod
    def _outline(
        cls, input_size: int, hidden_size: int, **options: Any
    ) -> tuple[int, int, int]: ...

class LSTM(_WithHC):
    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None: ...
    @classmethod
    def _outline(
        cls, input_size: int, hidden_size: int, **options: Any
    ) -> tuple[int, int, int]: ...

class GRU(_WithH):
    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None: ...
    @classmethod
    def _outline(
        cls, input_size: int, hidden_size: int, **options: Any
    ) -> tuple[int, int, int]: ...

class JANET(_WithH):
    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None: ...
    @classmethod
    def _outline(
        cls, input_size: int, hidden_size: int, **options: Any
    ) -> tuple[int, int, int]: ...

class MinGRU(_WithH):
    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None: ...
    @classmethod
    def _outline(
        cls, input_size: int, hidden_size: int, **options: Any
    ) -> tuple[int, int, int]: ...

class MinLSTM(_WithH):
    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None: ...
    @classmethod
    def _outline(
        cls, input_size: int, hidden_size: int, **options: Any
    ) -> tuple[int, int, int]: ...

@final
class Buffer: ...

@final
class Tape:
    @property
    def read(self) -> NDArray[np.bool_]: ...
    @property
    def gates(self) -> Mapping[str, _Array]: ...
    @property
    def h(self) -> _Array: ...
    @property
    def c(self) -> _Array: ...
    @property
    def dh(self) -> _Array: ...
    @property
    def dc(self) -> _Array: ...
    @property
    def traced(self) -> bool: ...
    @traced.setter
    def traced(self, value: bool) -> None: ...
    @property
    def dgates(self) -> Mapping[str, _Array]: ...
    @property
    def W_h_terms(self) -> Mapping[str, tuple[_Array, _Array]]: ...
    @property
    def W_h_kept(self) -> _Array | None: ...

@final
class PairState(tuple[Any, Any]):
    __match_args__: Final = ("forward", "backward")
    n_fields: Final = 2
    n_sequence_fields: Final = 2
    n_unnamed_fields: Final = 0
    @property
    def forward(self) -> Any: ...
    @property
    def backward(self) -> Any: ...

@final
class Stream(Generic[_State_co]):
    def step(self, x: ArrayLike, /) -> _Array: ...
    def reset(self, rows: ArrayLike | None = None) -> None: ...
    def _generate(self, start: ArrayLike, searches: tuple[Search, ...], /) -> None: ...
    def _feed(self, start: ArrayLike, steps: int, x: ArrayLike | None, /) -> _Array: ...
    def _sample_paths(
        self,
        likelihood: int,
        x: ArrayLike,
        scales: ArrayLike,
        series: ArrayLike,
        lags: ArrayLike,
        indicators: bool,
        samples: int,
        gap: int,
        seed: int,
        /,
    ) -> tuple[_Array, tuple[int, int] | None]: ...
    @property
    def _symbols(self) -> int: ...
    @property
    def state(self) -> _State_co: ...
    @state.setter
    def state(self, value: Any) -> None: ...

@final
class PlanTape:
    @property
    def weights(self) -> _Array | None: ...
    def value(self, node: int, /) -> _Array | None: ...
    def read(self, node: int, /) -> _Array | None: ...
    def start(self, node: int, /) -> Any: ...
    def attention(self, node: int, /) -> _Array | None: ...
    def keeps(self, node: int, /) -> bool: ...
    def layer(self, node: int, vectors: _Array | None, /) -> Tape: ...

@final
class Plan:
    def __new__(
        cls, dtype: Any, nodes: tuple[Any, ...], states: Any, strict: bool = False
    ) -> Self: ...
    @property
    def stochastic(self) -> bool: ...
    def forward(
        self,
        x: Any,
        state: Any,
        lengths: Any,
        mask: Any,
        resets: Any,
        training: bool,
        call: int | None,
        first_row: int,
        first_step: int,
        filled: bool | None,
        keep: bool,
        memory: tuple[_Array, _Array, NDArray[np.int64] | None] | None = None,
        needs_dx: bool = True,
        /,
    ) -> Any: ...
    def backward(self, owner: Any, tape: PlanTape, dy: Any, dstate: Any, trace: bool, /) -> Any: ...
    def check(self, tape: PlanTape, dstate: Any, /) -> bool: ...
    def stream(
        self,
        batch_size: int,
        state: Any,
        memory: tuple[_Array, _Array, NDArray[np.int64] | None] | None = None,
        /,
    ) -> Stream[Any] | None: ...

@final
class Writing:
    def __new__(cls, layer: Any, /) -> Self: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...

@final
class Search:
    def __new__(
        cls,
        groups: int,
        symbols: int,
        max_steps: int,
        *,
        width: int = 1,
        beam: bool = False,
        stop: int | None = None,
        length_penalty: float = 0.0,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        first_group: int = 0,
        forced: ArrayLike | None = None,
    ) -> Search: ...
    def step(self, logits: ArrayLike, /) -> tuple[NDArray[np.int64], NDArray[np.intp]]: ...
    def result(self, n_best: int = 1) -> tuple[NDArray[np.int64], NDArray[np.float64]]: ...
    @property
    def done(self) -> bool: ...

def sgd(
    params: _Array,
    grads: _Array,
    velocity: _Array | None,
    scale: float,
    lr: float,
    momentum: float,
    /,
) -> None: ...
def rmsprop(
    params: _Array,
    grads: _Array,
    square: _Array,
    scale: float,
    lr: float,
    alpha: float,
    eps: float,
    /,
) -> None: ...
def adam(
    params: _Array,
    grads: _Array,
    m: _Array,
    v: _Array,
    scale: float,
    lr: float,
    weight_decay: float,
    beta1: float,
    beta2: float,
    eps: float,
    step: int,
    /,
) -> None: ...
def sum_squares(grads: _Array, /) -> float: ...
def cross_entropy(logits: _Array, targets: _Array, scale: float, /) -> tuple[float, _Array]: ...
def negative_log_likelihood(
    kind: int,
    outputs: _Array,
    targets: _Array,
    scales: _Array | None,
    weights: _Array | None,
    factor: float,
    /,
) -> tuple[float, _Array]: ...
def draw_observed(
    kind: int,
    outputs: _Array,
    scales: _Array | None,
    seed: int,
    series: _Array,
    samples: _Array,
    steps: _Array,
    /,
) -> _Array: ...
def gather_windows(
    store: _Array,
    places: _Array,
    scales: _Array,
    known: _Array | None,
    constants: _Array | None,
    lags: _Array,
    steps: int,
    age: bool,
    log_scale: bool,
    indicators: bool,
    dtype: Any,
    /,
) -> tuple[_Array, _Array, _Array, _Array]: ...
def sum_ranges(store: _Array, ranges: _Array, magnitudes: bool, /) -> tuple[_Array, _Array]: ...
def binary_cross_entropy(
    logits: _Array,
    targets: _Array,
    weights: _Array | None,
    positive: _Array | None,
    scale: float,
    /,
) -> tuple[float, _Array]: ...
def squared_error(y: _Array, target: _Array, scale: float, /) -> tuple[float, _Array]: ...
def dense_forward(x: _Array, W_t: _Array, b: _Array | None, /) -> _Array: ...
def dense_backward(
    x: _Array, W_t: _Array, dy: _Array, dW_t: _Array | None, db: _Array | None, /
) -> _Array: ...
def rowwise_forward(
    operation: tuple[Any, ...],
    flat_params: _Array | None,
    inputs: tuple[_Array, ...],
    valid: NDArray[np.bool_] | None,
    keep: bool,
    rest: bool,
    /,
) -> tuple[_Array, _Array | None]: ...
def rowwise_backward(
    operation: tuple[Any, ...],
    flat_params: _Array | None,
    inputs: tuple[_Array | None, ...],
    y: _Array | None,
    kept: _Array | None,
    valid: NDArray[np.bool_] | None,
    dy: _Array,
    flat_grads: _Array | None,
    /,
) -> tuple[_Array, ...]: ...
def pool_forward(
    how: str, x: _Array, valid: NDArray[np.bool_], /
) -> tuple[_Array, NDArray[np.int64] | None]: ...
def pool_backward(
    how: str,
    shape: tuple[int, ...],
    valid: NDArray[np.bool_],
    taken: NDArray[np.int64] | None,
    dy: _Array,
    /,
) -> _Array: ...
def embedding_backward(symbols: _Array, dy: _Array, dW: _Array, /) -> None: ...
def ordered_sum(
    rows: _Array,
    factors: _Array,
    n: int,
    starts: _Array | None,
    places: _Array | None,
    /,
) -> _Array: ...
def hessenberg_radius(a: _Array, /) -> float: ...
def ridge_sizes(features: int, outputs: int, /) -> tuple[int, int]: ...
def ridge_add(
    features: int,
    outputs: int,
    factor: NDArray[np.float64],
    rest: NDArray[np.float64],
    block: NDArray[np.float64],
    n: int,
    first: int,
    /,
) -> None: ...
def ridge_solve(
    features: int, outputs: int, factor: NDArray[np.float64], /
) -> NDArray[np.float64]: ...
def rls_begin(n: int, alpha: float, /) -> NDArray[np.float64]: ...
def rls_gains(
    forgetting: float,
    z: NDArray[np.float64],
    factor: NDArray[np.float64],
    extent: NDArray[np.float64],
    /,
) -> NDArray[np.float64]: ...
def kept(x: ArrayLike, /) -> _Array: ...
def release_memory() -> int: ...
def writers_after_fork() -> None: ...
def random_uniform(seed: int, stream: int, first: int, n: int, /) -> NDArray[np.float64]: ...
def isa() -> str: ...
def isa_available() -> tuple[str, ...]: ...
def unchanged(layers: list[Any], witness: tuple[Any, ...], /) -> bool: ...
def select_isa(name: str, /) -> None: ...
def num_threads() -> int: ...
def set_num_threads(n: int, /) -> None: ...
