"""Optimizers: they update the parameters of a model from its gradients.

The update rules are those of PyTorch. Gradients are clipped by value (`clip_value`) and then by
their norm over all parameters (`clip_norm`). The core updates each parameter in one pass over its
memory.
"""

from __future__ import annotations

import fnmatch
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

import crnn._core as _core
from crnn.common.arrays import Array, first_nonfinite, underflows
from crnn.common.checks import check_entry, check_fits, check_flag, check_names, check_number
from crnn.common.representation import arguments_of, value_text
from crnn.layers.base.layer import check_layer
from crnn.layers.base.owners import (
    Owner,
    addresses,
    check_ties,
    first_names,
    layout_of,
    owners_of,
    strong_reference,
    weak_reference,
)
from crnn.layers.base.parameters import writable
from crnn.layers.base.protocol import LayerLike

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop"]


def _frozen_names(freeze: str | Sequence[str], names: Mapping[str, str]) -> set[str]:
    """Return the first names of the parameters that match a pattern in `freeze`."""
    frozen: set[str] = set()
    patterns = [freeze] if isinstance(freeze, str) else freeze
    if not isinstance(patterns, list | tuple | set):
        raise TypeError(f"freeze: expected names or patterns of parameters, got {freeze!r:.60}")
    for pattern in patterns:
        matches = {names[name] for name in fnmatch.filter(names, pattern)}
        if not matches:
            raise ValueError(
                f"freeze: expected names or patterns of parameters, {', '.join(names)}; "
                f"{pattern!r} matches none"
            )
        frozen |= matches
    return frozen


def _listed(names: Sequence[str]) -> str:
    """Return names as text: at most five, and the number of the others."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _check_limit(name: str, value: float | None) -> float | None:
    """Return None or a positive number, or raise."""
    if value is not None and not check_number(name, value, 0) > 0:
        raise ValueError(f"{name}: expected None or a positive number, got {value!r}")
    return value


#: Attributes that are not copied: a copy reads them from the copied model.
_NOT_COPIED = {"_params", "_grads", "_all_params", "_all_grads", "_parts", "_layout", "_updates"}

#: Entries of a state with this prefix have the number of updates of a parameter.
_UPDATES = "updates."


class Optimizer(ABC):
    """Base class of the optimizers: clipping, frozen parameters, saving, copies.

    A subclass defines `_update`. It lists its memory in `_memory`: the names of arrays that have
    the shapes of the parameters and are zero at first. It lists its additional constructor
    arguments in `_settings`.

    Parameters
    ----------
    model : layer
        The model whose parameters are updated from its gradients.
    lr : float
        Learning rate, at least 0.
    clip_norm : float or None
        Largest norm of the gradients: they are multiplied by min(1, clip_norm / (norm + 1e-6)),
        after `clip_value`. None: no clipping.
    clip_value : float, optional
        Every entry of a gradient is clipped to [-clip_value, clip_value], before `clip_norm`.
    freeze : str or sequence of str, default ()
        Names of parameters that this optimizer does not update, or patterns such as ``"0.*"``.
        Their gradients are computed, but excluded from all norms and not clipped; `step` sets them
        to zero as well. ``layer.trainable = False`` freezes whole layers, and saves this work.

    Attributes
    ----------
    lr : float
        Current learning rate. Schedules assign it during a run.
    given_lr : float
        The learning rate that the user last set: in the constructor, or by an assignment to `lr`
        outside of a run.
    steps : int
        Number of updates so far.
    epochs : int
        Number of epochs that `crnn.fit` has trained with this optimizer. The next `fit` continues
        both numbers, and with them the order of the data, the random masks and the schedules.

    Methods
    -------
    step()
        Clip the gradients, update the parameters and set the gradients to zero.
    clear_grads()
        Set all gradients to zero.
    grad_norm()
        Return the norm of all gradients.
    scale_grads(factor)
        Multiply all gradients by a factor.
    state_dict(), load_state_dict(state)
        Save and restore the state of the optimizer.

    Notes
    -----
    Layers with ``trainable = False`` are skipped: their gradients are neither read nor written, and
    no memory is made for them. The argument `freeze` fixes parameters for this optimizer alone;
    their gradients are computed all the same. Layers may be frozen and unfrozen between two steps:
    each `step` updates those that are trainable. Gradients that a layer has when it is frozen are
    set to zero once. Adam corrects the bias of each parameter's means by the number of its own
    updates.

    A copy (`copy.deepcopy`, `pickle`) belongs to the model that is copied together with it, as in
    ``copy.deepcopy((model, optimizer))``, and does not keep that model alive. An optimizer that is
    copied without its model has its memory, for `state_dict`, but `step` raises RuntimeError.

    Examples
    --------
    An optimizer that uses the signs of the gradients:

    >>> import numpy as np
    >>> import crnn
    >>> class SignSGD(crnn.optim.Optimizer):
    ...     def __init__(self, model, lr=1e-3, *, clip_norm=None):
    ...         super().__init__(model, lr, clip_norm=clip_norm)
    ...     def _update(self, updates, scale):
    ...         for param, grad in updates:
    ...             param -= self.lr * np.sign(grad)
    >>> SignSGD(crnn.Dense(2, 1, seed=0), lr=0.5)
    <SignSGD of 3 parameters: lr=0.5, 0 steps>
    """

    _memory: tuple[str, ...] = ()
    _settings: tuple[str, ...] = ()
    _copied = False

    def __init__(
        self,
        model: LayerLike,
        lr: float,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        freeze: str | Sequence[str] = (),
    ) -> None:
        if isinstance(model, Mapping) and "forward" not in model:
            raise TypeError(
                f"model: expected a layer, got a {type(model).__name__}: write "
                f"crnn.optim.{type(self).__name__}(model), not of model.params"
            )
        check_layer("model", model)
        check_ties(model)
        params = dict(model.params)
        names = first_names(params)
        first = dict.fromkeys(names.values())
        frozen = _frozen_names(freeze, names)
        self._model = strong_reference(model)
        self._owners = owners_of(model, {name: params[name] for name in first})
        self._frozen = frozen
        self._in_run = False
        self.steps = self.epochs = 0
        self._state: dict[str, Array] = {}
        self._counts: dict[str, int] = {}  # updates of each parameter after `_counted` steps
        self._counted = 0
        self._trained: list[str] = []  # of a copy: the parameters that were trained before
        self._set_arrays()
        self._check_trainable(model)
        self.lr = lr
        self.clip_norm = _check_limit("clip_norm", clip_norm)
        self.clip_value = _check_limit("clip_value", clip_value)

    def _set_arrays(self) -> None:
        """Set the arrays to update: parameters and gradients of the model by their first names.

        Frozen layers are skipped. New memory is zero.
        """
        owners = {name: (owner.layer(), owner.name) for name, owner in self._owners.items()}
        layers = {id(layer): layer for layer, _ in owners.values()}
        params = {key: layer.params for key, layer in layers.items()}
        grads = {key: layer.grads for key, layer in layers.items() if not layer._frozen}
        self._all_params = {
            name: params[id(layer)][local] for name, (layer, local) in owners.items()
        }
        self._all_grads = {
            name: grads[id(layer)][local]
            for name, (layer, local) in owners.items()
            if id(layer) in grads
        }
        self._grads = {
            name: grad for name, grad in self._all_grads.items() if name not in self._frozen
        }
        self._params = {name: self._all_params[name] for name in self._grads}
        self._updates: list[tuple[Array, ...]] | None = None
        for key, name in (
            (f"{part}.{name}", name) for part in self._memory for name in self._params
        ):
            if key not in self._state:
                self._state[key] = np.zeros_like(self._params[name])
                self._counts.setdefault(name, 0)
        if not self._copied:  # a copy must not keep the layers alive
            self._parts, self._layout = layout_of(self._model())

    def _follow_layers(self) -> None:
        """Notice layers that were frozen or unfrozen, and set the gradients of the former to 0."""
        before = self._all_grads
        self._count_updates()
        self._set_arrays()
        for name in before.keys() - self._all_grads.keys():
            before[name].fill(0)

    def _count_updates(self) -> None:
        """Add the steps since the last call to the updates of the parameters they have changed."""
        for name in self._params:
            self._counts[name] = self._counts.get(name, 0) + self.steps - self._counted
        self._counted = self.steps

    def _updates_of(self, name: str) -> int:
        """Return the number of updates of a parameter that is trained."""
        return self._counts.get(name, 0) + self.steps - self._counted

    def _check_trainable(self, model: LayerLike) -> None:
        """Raise ValueError if the model has parameters, and all of its layers are frozen."""
        if self._owners and not self._all_grads:
            raise ValueError(
                "model: expected one with a layer that is trainable, got "
                f"{type(model).__name__} in which all have trainable = False"
            )

    def _find_arrays(self) -> None:
        """Set the arrays of a copy from the layers that were copied with it.

        Raises
        ------
        RuntimeError
            If the model, or a layer of it, was not copied or was deleted since.
        """
        if not self._copied:
            return
        owners = {name: (owner.layer(), owner.name) for name, owner in self._owners.items()}
        missing = [name for name, (layer, _) in owners.items() if layer is None]
        if missing:
            raise RuntimeError(
                f"the model of this {type(self).__name__} does not exist (no parameter "
                f"{missing[0]}): the optimizer was copied or loaded without it. Copy both "
                "together, (model, optimizer), or make a new optimizer for the model and load this "
                "one's state_dict() into it"
            )
        if not hasattr(self, "_params"):
            self._set_arrays()
            for name in set(self._trained) - self._all_grads.keys():  # frozen since
                layer, local = owners[name]
                layer.grads[local].fill(0)

    def __getstate__(self) -> dict[str, Any]:
        if hasattr(self, "_params"):
            self._count_updates()
            self._trained = list(self._all_grads)
        state = {name: value for name, value in vars(self).items() if name not in _NOT_COPIED}
        owners = {name: (owner.layer(), owner.name) for name, owner in self._owners.items()}
        copied = {"_owners": owners, "_model": self._model(), "_copied": True, "_in_run": False}
        return state | copied

    def __setstate__(self, state: dict[str, Any]) -> None:
        earlier = {"_counts": {}, "_counted": 0, "_trained": []}  # of versions without them
        vars(self).update(earlier | writable(state), _updates=None)
        self._model = weak_reference(state["_model"])
        self._owners = {
            name: Owner(weak_reference(layer), local)
            for name, (layer, local) in state["_owners"].items()
        }

    def __repr__(self) -> str:
        arguments, _ = arguments_of(self)
        if "_lr" in vars(self):  # the current rate, which is that of a schedule in a run
            arguments["lr"] = self._lr
        texts = [
            f"{name}={value_text(value)}"
            for name, value in arguments.items()
            if value is not None and name not in ("model", "freeze")
        ]
        if "steps" in vars(self):
            texts.append(f"{self.steps:,} step{'' if self.steps == 1 else 's'}")
        listed = f": {', '.join(texts)}" if texts else ""
        return f"<{type(self).__name__}{self._parameters_text()}{listed}>"

    def _parameters_text(self) -> str:
        """Return how many parameters the model has, as text for `repr`."""
        try:
            sizes = {
                name: owner.layer().params[owner.name].size for name, owner in self._owners.items()
            }
            frozen = sum(
                sizes[name]
                for name, owner in self._owners.items()
                if name in self._frozen or owner.layer()._frozen
            )
        except Exception:  # the model was deleted, or the optimizer is not complete
            return " without a model"
        count = f"{sum(sizes.values()):,} parameters"
        return f" of {count}, {frozen:,} frozen" if frozen else f" of {count}"

    def check_model(self, model: LayerLike) -> None:
        """Check that this optimizer updates or freezes exactly the parameters of a model.

        Layers that were frozen or unfrozen since are noticed.

        Parameters
        ----------
        model : layer

        Raises
        ------
        ValueError
            If the model has parameters that the optimizer does not have, or lacks some: it is
            another model, or a layer was added, replaced or removed after the optimizer was made.
            If all layers are frozen.
        RuntimeError
            If the optimizer was copied without its model.
        """
        is_own = model is self._model()
        layout = None
        if self._copied:
            self._find_arrays()
        elif is_own:
            layout = layout_of(model)
            if layout[1] == self._layout:
                self._check_trainable(model)
                return
        known, current = addresses(self._all_params), addresses(model.params)
        shared = set(known.values()) & set(current.values())
        added = [name for name, address in current.items() if address not in shared]
        removed = [name for name, address in known.items() if address not in shared]
        if (added or removed) and not shared and not is_own:
            raise ValueError("optimizer: expected one made for this model, got one of another")
        if added:
            raise ValueError(
                f"optimizer: expected one that updates or freezes all parameters of the model, got "
                f"one made without {_listed(added)}: make a new one after layers were added or "
                "replaced"
            )
        if removed:
            raise ValueError(
                f"optimizer: expected one of the parameters of the model, got one that also has "
                f"{_listed(removed)}: make a new one after layers were removed"
            )
        if layout is not None or self._has_changed_flags():
            self._follow_layers()
        self._check_trainable(model)

    def _find_current(self) -> None:
        """Set the arrays of a copy, and notice layers that were frozen or unfrozen."""
        if self._copied:
            self._find_arrays()
        if self._has_changed_flags():
            self._follow_layers()

    def _has_changed_flags(self) -> bool:
        """Return whether layers were frozen or unfrozen since the arrays were set."""
        layers = ((name, owner.layer()) for name, owner in self._owners.items())
        return any(
            layer is not None and layer._frozen is (name in self._all_grads)
            for name, layer in layers
        )

    @property
    def lr(self) -> float:
        """Learning rate; may be assigned between steps."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = check_number("lr", value, 0)
        if not self._in_run:
            self.given_lr = self._lr

    @contextmanager
    def in_run(self) -> Iterator[None]:
        """Mark a training run: assignments to `lr` inside do not change `given_lr`.

        Yields
        ------
        None
        """
        before, self._in_run = self._in_run, True
        try:
            yield
        finally:
            self._in_run = before

    def settings(self) -> dict[str, Any]:
        """Return the class and the arguments by name, without the model and the learning rate.

        Returns
        -------
        dict
            "class" is the name of the class.
        """
        settings: dict[str, Any] = {"class": type(self).__name__}
        for name in ("clip_norm", "clip_value", *self._settings):
            settings[name] = getattr(self, name)
        return settings | {"freeze": sorted(self._frozen)}

    def grad_norm(self) -> float:
        """Return the Euclidean norm of all gradients that are not frozen, computed in float64.

        Returns
        -------
        float
        """
        self._find_current()
        return math.sqrt(math.fsum(map(_core.sum_squares, self._grads.values())))

    @underflows
    def scale_grads(self, factor: float) -> None:
        """Multiply all gradients by a factor, such as one over the number of summed batches.

        Parameters
        ----------
        factor : float
        """
        self._find_current()
        for grad in self._all_grads.values():
            grad *= factor

    def step(self) -> float:
        """Clip the gradients, update the parameters and set the gradients to zero.

        Returns
        -------
        norm : float
            Norm of the gradients that are not frozen, before any clipping.

        Raises
        ------
        FloatingPointError
            If a gradient is not finite. Nothing is changed then.
        ValueError
            If a layer of the model was added, replaced or removed after the optimizer was made, or
            all layers are frozen. Nothing is changed then.
        RuntimeError
            If the optimizer was copied without its model.
        """
        if self._copied:
            self._find_arrays()
        if (model := self._model()) is not None:
            self.check_model(model)
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
        self._fill_grads()
        return norm

    def clear_grads(self) -> None:
        """Set all gradients to zero, those of `freeze` included, but not those of frozen layers."""
        self._find_current()
        self._fill_grads()

    def _fill_grads(self) -> None:
        for grad in self._all_grads.values():
            grad.fill(0)

    def _arrays_of(self, name: str) -> tuple[Array, ...]:
        """Return a parameter, its gradient and its memory."""
        memory = [self._state[f"{part}.{name}"] for part in self._memory]
        return self._params[name], self._grads[name], *memory

    def _norm(self) -> float:
        """Return the norm of the gradients, or raise FloatingPointError.

        The norm is right also where its square is larger than the largest float64.
        """
        norm = math.sqrt(math.fsum(map(_core.sum_squares, self._grads.values())))
        if math.isfinite(norm):
            return norm
        if first := first_nonfinite(self._grads.items()):
            raise FloatingPointError(f"gradient of {first.name}: not finite, {first.number}")
        most = max(float(np.abs(grad).max(initial=0)) for grad in self._grads.values())
        return most * math.sqrt(
            math.fsum(float(np.square(grad / most).sum()) for grad in self._grads.values())
        )

    @abstractmethod
    def _update(self, updates: Sequence[tuple[Array, ...]], scale: float) -> None:
        """Update parameters and memory in place.

        Parameters
        ----------
        updates : sequence of tuple
            For each parameter: the parameter, its gradient, and its arrays of `_memory`.
        scale : float
            Factor of the gradients, from `clip_norm`.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the state that the next steps depend on, without the parameters.

        Returns
        -------
        dict
            The numbers "lr", "steps" and "epochs", and copies of the memory arrays by name. Of a
            parameter whose layer was frozen for a time, also "updates.NAME", the number of its
            updates.
        """
        if hasattr(self, "_params"):
            self._find_current()
            self._count_updates()
        keys = (f"{part}.{name}" for part in self._memory for name in self._owners)
        arrays = {key: self._state[key].copy() for key in keys if key in self._state}
        counts = self._counts if self._memory else {}
        late = {
            _UPDATES + name: counts[name]
            for name in self._owners
            if counts.get(name, self.steps) != self.steps
        }
        return {"lr": self.lr, "steps": self.steps, "epochs": self.epochs, **arrays, **late}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state_dict` returned.

        Parameters
        ----------
        state : mapping

        Raises
        ------
        ValueError
            If an entry is missing or unknown, or has another shape or a number that the dtype of
            its parameter cannot represent. Nothing is changed then.
        """
        if isinstance(state, Mapping):
            state = {"epochs": 0, **state}  # states of earlier versions have no epochs
        expected = self._expected_state(state)
        check_names("state_dict", expected, state)
        arrays = {
            name: check_fits(name, state[name], old)
            for name, old in expected.items()
            if isinstance(old, np.ndarray)
        }
        counts = {
            name: check_entry(name, state[name], ())
            for name, old in expected.items()
            if name in ("steps", "epochs") or name.startswith(_UPDATES)
        }
        for name, count in counts.items():
            if count.dtype.kind not in "iu" or count < 0:
                raise ValueError(f"{name}: expected an integer of at least 0, got {count}")
        lr = check_number("lr", float(check_entry("lr", state["lr"], ())), 0)
        self._lr, self.steps, self.epochs = lr, int(counts.pop("steps")), int(counts.pop("epochs"))
        self._state = {name: array for name, array in self._state.items() if name in arrays}
        for name, array in arrays.items():
            if name not in self._state:  # of a parameter that is frozen now
                self._state[name] = np.zeros_like(expected[name])
            self._state[name][...] = array
        named = {name.partition(".")[2] for name in self._state}
        self._counts = dict.fromkeys(named, self.steps)
        self._counts |= {name[len(_UPDATES) :]: int(count) for name, count in counts.items()}
        self._counted = self.steps
        self._updates = None

    def _expected_state(self, state: Any) -> dict[str, Any]:
        """Return the entries that a state must have, with arrays of the right shapes.

        A parameter whose layer is frozen may have memory, of the time when it was trained.
        """
        given = set(state) if isinstance(state, Mapping) else set()
        expected = {"lr": self.lr, "steps": self.steps, "epochs": self.epochs}
        if self._copied:
            try:
                self._find_arrays()
            except RuntimeError:  # there is no model: the state has to be one like this
                return expected | self._state
        for name, param in self._all_params.items():
            keys = [f"{part}.{name}" for part in self._memory]
            if name not in self._frozen and (name in self._params or given.intersection(keys)):
                expected |= dict.fromkeys(keys, param)
                expected |= {key: 0 for key in (_UPDATES + name,) if key in given}
        return expected


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Polyak 1964).

    The update is v = momentum * v + g; p -= lr * v, with the parameter p and its gradient g.

    Parameters
    ----------
    model : layer
        The model whose parameters are updated from its gradients.
    lr : float, default 1e-2
        Learning rate.
    clip_norm : float, optional
        Largest norm of the gradients: they are multiplied by min(1, clip_norm / (norm + 1e-6)),
        after `clip_value`. None: no clipping.
    momentum : float, default 0
        Fraction of the previous step that is added to this one, 0 <= momentum < 1.
    clip_value : float, optional
        Every entry of a gradient is clipped to [-clip_value, clip_value], before `clip_norm`.
    freeze : str or sequence of str, default ()
        Names of parameters that this optimizer does not update, or patterns such as ``"0.*"``.
        Their gradients are computed, but excluded from all norms and not clipped; `step` sets them
        to zero as well. ``layer.trainable = False`` freezes whole layers, and saves this work.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> model = crnn.Dense(2, 1, seed=0)
    >>> optimizer = crnn.optim.SGD(model, lr=0.5)
    >>> model.grads["b"][:] = 3.0
    >>> optimizer.step(), model.params["b"], model.grads["b"]  # the norm; b - 0.5 * 3; zero
    (3.0, array([-1.5], dtype=float32), array([0.], dtype=float32))
    >>> optimizer
    <SGD of 3 parameters: lr=0.5, momentum=0.0, 1 step>
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
        super().__init__(model, lr, clip_norm=clip_norm, clip_value=clip_value, freeze=freeze)

    def _update(self, updates: Sequence[tuple[Array, ...]], scale: float) -> None:
        for param, grad, *memory in updates:
            velocity = memory[0] if memory else None
            _core.sgd(param, grad, velocity, scale, self._lr, self.momentum)


class RMSprop(Optimizer):
    """RMSprop (G. Hinton, "Neural networks for machine learning", lecture 6, 2012).

    The update is s = alpha * s + (1 - alpha) * g**2; p -= lr * g / (sqrt(s) + eps), with the
    parameter p and its gradient g.

    Parameters
    ----------
    model : layer
        The model whose parameters are updated from its gradients.
    lr : float, default 1e-2
        Learning rate.
    clip_norm : float, optional
        Largest norm of the gradients: they are multiplied by min(1, clip_norm / (norm + 1e-6)),
        after `clip_value`. None: no clipping.
    alpha : float, default 0.99
        Decay rate of the mean of squared gradients, 0 <= alpha < 1.
    eps : float, default 1e-8
        Added to the divisor, which is then not 0.
    clip_value : float, optional
        Every entry of a gradient is clipped to [-clip_value, clip_value], before `clip_norm`.
    freeze : str or sequence of str, default ()
        Names of parameters that this optimizer does not update, or patterns such as ``"0.*"``.
        Their gradients are computed, but excluded from all norms and not clipped; `step` sets them
        to zero as well. ``layer.trainable = False`` freezes whole layers, and saves this work.

    Examples
    --------
    >>> import crnn
    >>> model = crnn.GRU(2, 3, seed=0)
    >>> optimizer = crnn.optim.RMSprop(model, lr=1e-3, clip_norm=1.0)
    >>> optimizer
    <RMSprop of 57 parameters: lr=0.001, clip_norm=1.0, alpha=0.99, eps=1e-08, 0 steps>
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
        super().__init__(model, lr, clip_norm=clip_norm, clip_value=clip_value, freeze=freeze)

    def _update(self, updates: Sequence[tuple[Array, ...]], scale: float) -> None:
        for param, grad, square in updates:
            _core.rmsprop(param, grad, square, scale, self._lr, self.alpha, self.eps)


class Adam(Optimizer):
    """Adam (D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", 2015).

    Parameters
    ----------
    model : layer
        The model whose parameters are updated from its gradients.
    lr : float, default 1e-3
        Learning rate.
    clip_norm : float, optional
        Largest norm of the gradients: they are multiplied by min(1, clip_norm / (norm + 1e-6)),
        after `clip_value`. None: no clipping.
    betas : (float, float), default (0.9, 0.999)
        Decay rates of the mean of gradients and of the mean of squared gradients, each in [0, 1).
    eps : float, default 1e-8
        Added to the divisor, which is then not 0.
    clip_value : float, optional
        Every entry of a gradient is clipped to [-clip_value, clip_value], before `clip_norm`.
    freeze : str or sequence of str, default ()
        Names of parameters that this optimizer does not update, or patterns such as ``"0.*"``.
        Their gradients are computed, but excluded from all norms and not clipped; `step` sets them
        to zero as well. ``layer.trainable = False`` freezes whole layers, and saves this work.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> model = crnn.GRU(2, 3, seed=0)
    >>> optimizer = crnn.optim.Adam(model, lr=0.01)
    >>> x, target = np.ones((4, 5, 2), "f"), np.zeros((4, 5, 3), "f")
    >>> losses = []
    >>> for _ in range(50):
    ...     y, state, tape = model.forward(x)
    ...     loss, dy = crnn.losses.mse(y, target)
    ...     dx, dstate = model.backward(tape, dy)
    ...     norm = optimizer.step()
    ...     losses.append(loss)
    >>> losses[-1] < losses[0] / 2, optimizer.steps
    (True, 50)
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
        super().__init__(model, lr, clip_norm=clip_norm, clip_value=clip_value, freeze=freeze)

    _weight_decay = 0.0
    decay_biases = True

    def _update(self, updates: Sequence[tuple[Array, ...]], scale: float) -> None:
        for name, (param, grad, m, v) in zip(self._params, updates, strict=True):
            decay = self._weight_decay if self.decay_biases or param.ndim > 1 else 0.0
            settings = (*self.betas, self.eps, self._updates_of(name))
            _core.adam(param, grad, m, v, scale, self._lr, decay, *settings)


class AdamW(Adam):
    """Adam with decoupled weight decay: p *= 1 - lr * weight_decay before each step.

    I. Loshchilov and F. Hutter, "Decoupled weight decay regularization" (2019).

    Parameters
    ----------
    model : layer
        The model whose parameters are updated from its gradients.
    lr : float, default 1e-3
        Learning rate.
    clip_norm : float, optional
        Largest norm of the gradients: they are multiplied by min(1, clip_norm / (norm + 1e-6)),
        after `clip_value`. None: no clipping.
    betas : (float, float), default (0.9, 0.999)
        Decay rates of the mean of gradients and of the mean of squared gradients, each in [0, 1).
    eps : float, default 1e-8
        Added to the divisor, which is then not 0.
    weight_decay : float, default 1e-2
        Decay of the parameters in each step, in units of the learning rate.
    decay_biases : bool, default True
        False: parameters with one axis (biases, gains, learned states) are not decayed.
    clip_value : float, optional
        Every entry of a gradient is clipped to [-clip_value, clip_value], before `clip_norm`.
    freeze : str or sequence of str, default ()
        Names of parameters that this optimizer does not update, or patterns such as ``"0.*"``.
        Their gradients are computed, but excluded from all norms and not clipped; `step` sets them
        to zero as well. ``layer.trainable = False`` freezes whole layers, and saves this work.

    Examples
    --------
    >>> import crnn
    >>> model = crnn.Sequential([crnn.Embedding(9, 4, seed=0), crnn.GRU(4, 3, seed=1)])
    >>> optimizer = crnn.optim.AdamW(model, weight_decay=0.1, decay_biases=False, freeze="0.*")
    >>> optimizer.settings()["freeze"], optimizer.settings()["weight_decay"]
    (['0.W'], 0.1)
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
        self.decay_biases = check_flag("decay_biases", decay_biases)
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
        """Decay of the parameters in each step, in units of the learning rate."""
        return self._weight_decay
