"""Optimizers: each step is one pass over every parameter, in the core.

The definitions are PyTorch's. Gradients are clipped entry by entry (`clip_value`), and then by
their norm, over all parameters together (`clip_norm`).
"""

from __future__ import annotations

import fnmatch
import itertools
import math
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

import crnn._core as _core
from crnn.common.arrays import Array, first_nonfinite, underflows
from crnn.common.checks import check_entry, check_fits, check_names, check_number
from crnn.layers.base.adapted import layer_of, named_layers
from crnn.layers.base.layer import Layer, check_layer
from crnn.layers.base.parameters import writable
from crnn.layers.base.protocol import LayerLike

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop"]


def _key(array: Array) -> tuple[int, tuple[int, ...]]:
    """What two views of one parameter have in common."""
    return array.ctypes.data, array.shape


def _names(params: Mapping[str, Array]) -> dict[str, str]:
    """For each parameter the first name that it has: a layer may stand in two places."""
    places: dict[tuple[int, tuple[int, ...]], str] = {}
    return {name: places.setdefault(_key(array), name) for name, array in params.items()}


class _Owner(NamedTuple):
    """The layer that has a parameter, as a function, and the parameter's name there."""

    layer: Callable[[], Any]  # None where the layer is not there any more
    name: str


def _owners(model: Any, params: Mapping[str, Array]) -> dict[str, _Owner]:
    """For each of these parameters of a model the innermost layer that has it."""
    places = {_key(array): _Owner(_held(model), name) for name, array in params.items()}
    for _, part in named_layers(model):
        for name, array in part.params.items():
            places[_key(array)] = _Owner(_held(part), name)
    return {name: places[_key(array)] for name, array in params.items()}


def _held(layer: Any) -> Callable[[], Any]:
    """A function that returns a layer, which it keeps alive."""
    return itertools.repeat(layer).__next__


def _watched(layer: Any) -> Callable[[], Any]:
    """A function that returns a layer, and None once nothing else keeps it alive."""
    try:
        return weakref.ref(layer)
    except TypeError:  # None, or of a class without weak references
        return _held(layer)


def _frozen(freeze: str | Sequence[str], names: Mapping[str, str]) -> set[str]:
    """The parameters that patterns match, by their first names."""
    frozen: set[str] = set()
    patterns = [freeze] if isinstance(freeze, str) else freeze
    if not isinstance(patterns, list | tuple | set):
        raise TypeError(f"freeze: expected names or patterns of parameters, got {freeze!r:.60}")
    for pattern in patterns:
        found = {names[name] for name in fnmatch.filter(names, pattern)}
        if not found:
            raise ValueError(
                f"freeze: expected names or patterns of parameters, {', '.join(names)}; "
                f"{pattern!r} matches none"
            )
        frozen |= found
    return frozen


def _check_ties(model: Any) -> None:
    """ValueError if a layer shares weights with one that is not in the model: none would learn."""
    parts = [part for _, part in named_layers(model)]
    for part in parts:
        shared = part.shares_weights_of
        if shared is not None and not any(shared is other for other in parts):
            raise ValueError(
                f"model: expected the embedding that {type(part).__name__} shares its weights with "
                f"to be a layer of the model, got {shared!r} outside of it"
            )


def _addresses(params: Mapping[str, Array]) -> dict[str, int]:
    """Where the arrays are in memory, by name; without empty ones."""
    return {name: array.ctypes.data for name, array in params.items() if array.size}


def _listed(names: Sequence[str]) -> str:
    """Some names, the first few of many."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _layout(model: Any) -> tuple[list[Any], list[Any]]:
    """The layers of a model, and what changes wherever its parameters may have become others.

    These are the identities of its layers and of their buffers, and the addresses of the arrays of
    a user's layers. The optimizer keeps the buffers alive, so that an identity is not given twice.
    """
    parts, left = [], [model if isinstance(model, Layer) else layer_of(model)]
    marks: list[Any] = []
    while left:
        part = left.pop()
        parts.append(part)
        if inside := part.parts:
            left += inside.values()
        if (flat := part.__dict__.get("_flat")) is not None:
            marks.append(id(flat.params))
        elif isinstance(part, _core.Recurrent):
            marks.append(id(part.flat_params))
        if not type(part).__module__.startswith("crnn."):
            marks.append(_addresses(part.params))
    return parts, [*map(id, parts), *marks]


def _limit(name: str, value: float | None) -> float | None:
    """None or a positive number."""
    if value is not None and not check_number(name, value, 0) > 0:
        raise ValueError(f"{name}: expected None or a positive number, got {value!r}")
    return value


#: What a copy of an optimizer finds anew in the model.
_OF_MODEL = {"_params", "_grads", "_all_params", "_all_grads", "_parts", "_layout", "_updates"}


class Optimizer(ABC):
    """What the optimizers share: parameters and gradients of a model, clipping, saving.

    Subclasses name their memory, arrays like the parameters that are zero at first, in `_memory`,
    their other arguments in `_settings`, and give `_update`.

    A copy (`copy.deepcopy`, `pickle`) belongs to the model that is copied with it, as in
    ``copy.deepcopy((model, optimizer))``. It does not keep that model alive. Copied without its
    model, it has the memory alone, for `state_dict`; `step` raises RuntimeError.

    Attributes
    ----------
    steps : int
        Updates done.
    epochs : int
        Epochs that `crnn.fit` has done with it. A new `fit` continues both numbers: the order of
        the data, what is dropped and the schedules go on where the run before ended.
    given_lr : float
        The learning rate last given by the user: to the constructor, or assigned outside of a run.
    """

    _memory: tuple[str, ...] = ()
    _settings: tuple[str, ...] = ()
    _copied = False

    def __init__(
        self,
        model: LayerLike,
        lr: float,
        clip_norm: float | None,
        clip_value: float | None = None,
        freeze: str | Sequence[str] = (),
    ) -> None:
        check_layer("model", model)
        _check_ties(model)
        params, grads = dict(model.params), dict(model.grads)
        names = _names(params)
        first = dict.fromkeys(names.values())
        frozen = _frozen(freeze, names)
        self._model = _held(model)
        self._owners = _owners(model, {name: params[name] for name in first})
        self._frozen = frozen
        self._in_run = False
        self._take(params, grads)
        self.lr = lr
        self._updates: list[tuple[Array, ...]] | None = None
        self.clip_norm = _limit("clip_norm", clip_norm)
        self.clip_value = _limit("clip_value", clip_value)
        self.steps = self.epochs = 0
        self._state = {
            f"{memory}.{name}": np.zeros_like(array)
            for memory in self._memory
            for name, array in self._params.items()
        }

    def _take(self, params: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
        """Work on these arrays, of all parameters by their first names."""
        self._all_params = {name: params[name] for name in self._owners}
        self._all_grads = [grads[name] for name in self._owners]
        trained = [name for name in self._owners if name not in self._frozen]
        self._params = {name: params[name] for name in trained}
        self._grads = {name: grads[name] for name in trained}
        if not self._copied:  # the parts are kept, so that ids are theirs
            self._parts, self._layout = _layout(self._model())

    def _find(self) -> None:
        """Find the arrays of the model, where this is a copy.

        Raises
        ------
        RuntimeError
            If the model, or a layer of it, is not there.
        """
        if not self._copied:
            return
        owners = {name: (owner.layer(), owner.name) for name, owner in self._owners.items()}
        missing = [name for name, (layer, _) in owners.items() if layer is None]
        if missing:
            raise RuntimeError(
                f"the model of this {type(self).__name__} is not there (its parameter {missing[0]} "
                "is missing): the optimizer was copied or loaded without it. Copy both together, "
                "(model, optimizer), or make a new optimizer for the model and load this one's "
                "state_dict() into it"
            )
        if not hasattr(self, "_params"):
            params = {name: layer.params[own] for name, (layer, own) in owners.items()}
            self._take(params, {name: layer.grads[own] for name, (layer, own) in owners.items()})

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name not in _OF_MODEL}
        owners = {name: (owner.layer(), owner.name) for name, owner in self._owners.items()}
        copied = {"_owners": owners, "_model": self._model(), "_copied": True, "_in_run": False}
        return state | copied

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(writable(state), _updates=None)
        self._model = _watched(state["_model"])
        self._owners = {
            name: _Owner(_watched(layer), own) for name, (layer, own) in state["_owners"].items()
        }

    def check_model(self, model: LayerLike) -> None:
        """Check that this optimizer updates or freezes exactly the parameters of a model.

        Raises
        ------
        ValueError
            The model has others as well, or lacks some: it is another one, or a layer was added,
            replaced or removed after the optimizer was made.
        RuntimeError
            The optimizer was copied without its model.
        """
        if self._copied:
            self._find()
        elif model is self._model() and _layout(model)[1] == self._layout:
            return
        known, there = _addresses(self._all_params), _addresses(model.params)
        shared = set(known.values()) & set(there.values())
        added = [name for name, address in there.items() if address not in shared]
        removed = [name for name, address in known.items() if address not in shared]
        if (added or removed) and not shared and model is not self._model():
            raise ValueError("optimizer: expected one made for this model, got one of another")
        if added:
            raise ValueError(
                f"optimizer: expected one that updates or freezes all parameters of the model, got "
                f"one made without {_listed(added)}: make a new one after layers were added or "
                "replaced"
            )
        if removed:
            raise ValueError(
                f"optimizer: expected one of the parameters of the model, got one that has also "
                f"{_listed(removed)}: make a new one after layers were removed"
            )

    def _check_own_model(self) -> None:
        """`check_model` of the model it was made for, where that may have changed."""
        model = self._model()
        if self._copied:  # which keeps neither the model nor its parts alive
            if model is not None:
                self.check_model(model)
            return
        parts, layout = _layout(model)
        if layout != self._layout:
            self.check_model(model)
            self._parts, self._layout = parts, layout

    @property
    def lr(self) -> float:
        """The learning rate; may be assigned between steps."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = check_number("lr", value, 0)
        if not self._in_run:
            self.given_lr = self._lr

    @contextmanager
    def in_run(self) -> Iterator[None]:
        """While a run goes on: what is assigned to `lr` then is a schedule's, not given."""
        before, self._in_run = self._in_run, True
        try:
            yield
        finally:
            self._in_run = before

    def settings(self) -> dict[str, Any]:
        """Return the class and the arguments by name, without the model and the learning rate."""
        settings: dict[str, Any] = {"class": type(self).__name__}
        for name in ("clip_norm", "clip_value", *self._settings):
            settings[name] = getattr(self, name)
        return settings | {"freeze": sorted(self._frozen)}

    def grad_norm(self) -> float:
        """Euclidean norm of all gradients that are not frozen together, in float64."""
        if self._copied:
            self._find()
        return math.sqrt(math.fsum(map(_core.sum_squares, self._grads.values())))

    @underflows
    def scale_grads(self, factor: float) -> None:
        """Multiply all gradients, as where those of several batches were added up."""
        self._find()
        for grad in self._all_grads:
            grad *= factor

    def step(self) -> float:
        """Clip, update the parameters, set the gradients to zero.

        Returns
        -------
        norm : float
            Norm of the gradients before any clipping, frozen parameters left out.

        Raises
        ------
        FloatingPointError
            If a gradient is not finite. Nothing has changed then.
        ValueError
            If the model has other parameters than when the optimizer was made: a layer was added,
            replaced or removed. Nothing has changed then.
        RuntimeError
            If the model is not there: the optimizer was copied without it.
        """
        if self._copied:
            self._find()
        self._check_own_model()
        norm = clipped = self._norm()
        with np.errstate(under="ignore"):
            if self.clip_value is not None:
                for grad in self._grads.values():
                    np.clip(grad, -self.clip_value, self.clip_value, out=grad)
                clipped = norm if self.clip_norm is None else self._norm()
            scale = 1.0 if self.clip_norm is None else min(1.0, self.clip_norm / (clipped + 1e-6))
            self.steps += 1
            if self._updates is None:
                self._updates = list(map(self._arrays_of, self._params))
            self._update(self._updates, scale)
        self.clear_grads()
        return norm

    def clear_grads(self) -> None:
        """Set all gradients to zero, those of frozen parameters too."""
        if self._copied:
            self._find()
        for grad in self._all_grads:
            grad.fill(0)

    def _arrays_of(self, name: str) -> tuple[Array, ...]:
        """A parameter, its gradient and its memory."""
        memory = [self._state[f"{part}.{name}"] for part in self._memory]
        return self._params[name], self._grads[name], *memory

    def _norm(self) -> float:
        """The norm, also where its square is beyond float64, or FloatingPointError."""
        norm = math.sqrt(math.fsum(map(_core.sum_squares, self._grads.values())))
        if math.isfinite(norm):
            return norm
        if found := first_nonfinite(self._grads.items()):
            raise FloatingPointError(f"gradient of {found.name}: not finite, {found.number}")
        most = max(float(np.abs(grad).max(initial=0)) for grad in self._grads.values())
        return most * math.sqrt(
            math.fsum(float(np.square(grad / most).sum()) for grad in self._grads.values())
        )

    @abstractmethod
    def _update(self, updates: Sequence[tuple[Array, ...]], scale: float) -> None:
        """Change each parameter in place: of (parameter, gradient, memory ...), and the memory.

        Gradients are to be multiplied by `scale`.
        """

    def state_dict(self) -> dict[str, Any]:
        """What the next steps depend on besides the parameters: numbers and copies of arrays."""
        arrays = {name: array.copy() for name, array in self._state.items()}
        return {"lr": self.lr, "steps": self.steps, "epochs": self.epochs, **arrays}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned.

        Raises
        ------
        ValueError
            If an entry is missing, unknown or misshapen, or has a number beyond the type of its
            parameter. Nothing is loaded then.
        """
        if isinstance(state, Mapping):
            state = {"epochs": 0, **state}  # those of earlier versions have none
        check_names("state_dict", self.state_dict(), state)
        arrays = {name: check_fits(name, state[name], old) for name, old in self._state.items()}
        counts = {name: check_entry(name, state[name], ()) for name in ("steps", "epochs")}
        for name, count in counts.items():
            if count.dtype.kind not in "iu" or count < 0:
                raise ValueError(f"{name}: expected an integer of at least 0, got {count}")
        lr = check_number("lr", float(check_entry("lr", state["lr"], ())), 0)
        self._lr, self.steps, self.epochs = lr, int(counts["steps"]), int(counts["epochs"])
        for name, array in arrays.items():
            self._state[name][...] = array


class SGD(Optimizer):
    """Stochastic gradient descent: v = momentum * v + g; p -= lr * v.

    Parameters
    ----------
    model : layer
        Whose `params` are updated from its `grads`.
    lr : float, default 1e-2
        Learning rate.
    momentum : float, default 0
        Share of the last step that is taken again, 0 <= momentum < 1 (Polyak 1964).
    clip_norm : float, optional
        Gradients are multiplied by min(1, clip_norm / (norm + 1e-6)), after `clip_value`.
    clip_value : float, optional
        Every entry of a gradient is brought into [-clip_value, clip_value], before `clip_norm`.
    freeze : str or sequence of str, optional
        Names of parameters that are not updated, or patterns of them such as ``"0.*"``. Their
        gradients are in no norm and are not clipped; `step` sets them to zero as well.
    """

    _settings = ("momentum",)

    def __init__(
        self,
        model: LayerLike,
        lr: float = 1e-2,
        *,
        clip_norm: float | None = None,
        momentum: float = 0.0,
        clip_value: float | None = None,
        freeze: str | Sequence[str] = (),
    ) -> None:
        self.momentum = check_number("momentum", momentum, 0, 1)
        self._memory = ("velocity",) if self.momentum else ()
        super().__init__(model, lr, clip_norm, clip_value, freeze)

    def _update(self, updates: Sequence[tuple[Array, ...]], scale: float) -> None:
        for param, grad, *memory in updates:
            velocity = memory[0] if memory else None
            _core.sgd(param, grad, velocity, scale, self._lr, self.momentum)


class RMSprop(Optimizer):
    """s = alpha * s + (1 - alpha) * g**2; p -= lr * g / (sqrt(s) + eps): Hinton (2012).

    Parameters
    ----------
    model : layer
    lr : float, default 1e-2
    alpha : float, default 0.99
        How slowly the mean of squares forgets, 0 <= alpha < 1.
    eps : float, default 1e-8
        Keeps the division from 0.
    clip_norm, clip_value, freeze
        As in SGD.
    """

    _memory = ("square",)
    _settings = ("alpha", "eps")

    def __init__(
        self,
        model: LayerLike,
        lr: float = 1e-2,
        *,
        clip_norm: float | None = None,
        alpha: float = 0.99,
        eps: float = 1e-8,
        clip_value: float | None = None,
        freeze: str | Sequence[str] = (),
    ) -> None:
        self.alpha = check_number("alpha", alpha, 0, 1)
        self.eps = check_number("eps", eps, 0)
        super().__init__(model, lr, clip_norm, clip_value, freeze)

    def _update(self, updates: Sequence[tuple[Array, ...]], scale: float) -> None:
        for param, grad, square in updates:
            _core.rmsprop(param, grad, square, scale, self._lr, self.alpha, self.eps)


class Adam(Optimizer):
    """Kingma and Ba, "Adam: a method for stochastic optimization" (2015).

    Parameters
    ----------
    model : layer
    lr : float, default 1e-3
    betas : (float, float), default (0.9, 0.999)
        How slowly the means of gradients and of their squares forget; each in [0, 1).
    eps : float, default 1e-8
        Keeps the division from 0.
    clip_norm, clip_value, freeze
        As in SGD.
    """

    _memory = ("m", "v")
    _settings: tuple[str, ...] = ("betas", "eps")

    def __init__(
        self,
        model: LayerLike,
        lr: float = 1e-3,
        *,
        clip_norm: float | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        clip_value: float | None = None,
        freeze: str | Sequence[str] = (),
    ) -> None:
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"betas: expected a pair of numbers, got {betas!r}")
        first, second = (check_number(f"betas[{i}]", betas[i], 0, 1) for i in range(2))
        self.betas = first, second
        self.eps = check_number("eps", eps, 0)
        super().__init__(model, lr, clip_norm, clip_value, freeze)

    _weight_decay = 0.0
    decay_biases = True

    def _update(self, updates: Sequence[tuple[Array, ...]], scale: float) -> None:
        settings = (*self.betas, self.eps, self.steps)
        for param, grad, m, v in updates:
            decay = self._weight_decay if self.decay_biases or param.ndim > 1 else 0.0
            _core.adam(param, grad, m, v, scale, self._lr, decay, *settings)


class AdamW(Adam):
    """Adam with decoupled weight decay: p *= 1 - lr * weight_decay before each step.

    Loshchilov and Hutter, "Decoupled weight decay regularization" (2019).

    Parameters
    ----------
    model, lr, clip_norm, betas, eps, clip_value, freeze
        As in Adam.
    weight_decay : float, default 1e-2
    decay_biases : bool, default True
        False leaves out all parameters with one axis: biases, gains, learned states.
    """

    _settings = ("betas", "eps", "weight_decay", "decay_biases")

    def __init__(
        self,
        model: LayerLike,
        lr: float = 1e-3,
        *,
        clip_norm: float | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        decay_biases: bool = True,
        clip_value: float | None = None,
        freeze: str | Sequence[str] = (),
    ) -> None:
        self._weight_decay = check_number("weight_decay", weight_decay, 0)
        self.decay_biases = bool(decay_biases)
        super().__init__(
            model,
            lr,
            clip_norm=clip_norm,
            betas=betas,
            eps=eps,
            clip_value=clip_value,
            freeze=freeze,
        )

    @property
    def weight_decay(self) -> float:
        """Share of each parameter taken away a step, times lr."""
        return self._weight_decay
