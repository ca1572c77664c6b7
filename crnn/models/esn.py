"""Echo state networks: a fixed random recurrent layer, and a readout fitted by least squares.

Letters: ``B`` sequences, ``T`` steps, ``I`` inputs, ``H`` states, ``O`` outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike

from crnn.common.arrays import Array
from crnn.common.checks import (
    check_array,
    check_count,
    check_flag,
    check_lengths,
    check_product,
    check_size,
    valid_steps,
)
from crnn.common.representation import never_raising
from crnn.layers.base.adapted import layer_of, stepwise_obstacle
from crnn.layers.base.description import Widths, build, describe, widths_of
from crnn.layers.base.layer import Layer, check_layer
from crnn.layers.base.protocol import LayerLike
from crnn.layers.compose.joined import Joined
from crnn.layers.compose.sequential import Sequential
from crnn.layers.pointwise.ridge import Ridge
from crnn.layers.pointwise.rls import RLS
from crnn.models.esn_data import (
    Given,
    TeacherForced,
    check_none,
    determination,
    inputs_array,
    inputs_list,
    inputs_of,
    sizes_of,
)
from crnn.models.esn_params import clone_of, flat_params, is_fitted, regressor_tags, set_params
from crnn.models.esn_running import closed_loop, driven, force, predict_list, run_loop
from crnn.training.nonfinite import check_finite, shifted, steps_read
from crnn.training.predicting import outputs_of, predict
from crnn.training.readouts import Features, fit_states
from crnn.training.windows import Item


class ESN(Sequential):
    """Echo state network: a reservoir, which is not trained, and a readout, which is fitted.

    The states h of the reservoir, a fixed random recurrent layer, are computed once; the readout
    y = W h + b is the solution of a least squares problem. Outputs may be fed back to the
    reservoir, and the network may generate its own input.

    Parameters
    ----------
    reservoir : layer
        A `crnn.Reservoir`, or any recurrent layer or `crnn.Sequential` of such (a deep reservoir).
        It reads I inputs, and with `feedback` O outputs behind them: its input_size is I + O.
        Without `feedback`, it may also read backwards or remove the time axis, as
        ``crnn.LastState(reservoir)`` does for one target per sequence.
    readout : Ridge or RLS
        It reads the H outputs of the reservoir, and with `join_input` I inputs behind them.
    feedback : bool, default False
        Join the output of the step before to the input: the target in `fit`, 0 at the first step,
        and the network's own output in `predict` and `generate`. I may be 0: the network then has
        no other input.
    join_input : bool, default False
        Let the readout read [h, x] in place of h.

    Attributes
    ----------
    reservoir, readout : layers
        As passed.
    feedback, join_input : bool
        As passed.

    Methods
    -------
    fit(x, y, lengths=None, *, washout=0, folds=None)
        Fit the readout.
    fit_force(x, y, lengths=None, *, washout=0, every=1)
        Train an RLS while its own output is fed back (FORCE).
    predict(x, lengths=None, *, state=None, output=None)
        Return the outputs.
    score(x, y, lengths=None, *, washout=0)
        Return the coefficient of determination R².
    generate(steps, prime=None)
        Return a sequence of which each output is the next input.
    get_params(deep=True), set_params(**params)
        Read and change the arguments, as in scikit-learn.

    Raises
    ------
    TypeError
        If `reservoir` is no layer, or `readout` is no Ridge or RLS, or an option is no bool.
    ValueError
        If the sizes do not fit: with `feedback` the reservoir must read at least O features, and
        the readout must read H, or H + I, features; or if the reservoir cannot run step by step
        with `feedback`; or if there is no input to join.

    See Also
    --------
    Reservoir, Ridge, RLS : The parts.
    fit_readout : The readout of any `crnn.Sequential`.

    Notes
    -----
    An ESN is a `crnn.Sequential` of two layers, with the methods of all layers; with `feedback`,
    ``esn(x)`` reads [input, output of the step before] (B, T, I + O). `crnn.save` stores the
    options and the weights.

    The network, output feedback and the washout are those of Jaeger, "The echo state approach to
    analysing and training recurrent neural networks" (2001).

    x is (B, T, I), or a list of sequences (T_i, I) of different lengths, or a single sequence
    (T, I) of floats; y has the same form, with O in place of I. If the reservoir removes the time
    axis, y is (B, O). `predict` returns the form of x. Without feedback, x may be symbols (B, T),
    if the reservoir reads these.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> series = np.sin(np.arange(400) / 5)[:, None]
    >>> esn = crnn.ESN(crnn.Reservoir(1, 100, input_scaling=0.5, seed=0),
    ...                crnn.Ridge(100, 1, alpha=1e-6))
    >>> esn = esn.fit(series[:-1], series[1:], washout=50)  # one step ahead
    >>> esn.score(series[:-1], series[1:], washout=50) > 0.999
    True
    >>> future = esn.generate(20, prime=series)
    >>> future.shape, bool(np.abs(future[:, 0] - np.sin(np.arange(400, 420) / 5)).max() < 0.1)
    ((20, 1), True)
    """

    feedback: bool
    join_input: bool
    _leading = ("reservoir", "readout")
    _names = ("reservoir", "readout")

    def __init__(
        self,
        reservoir: LayerLike,
        readout: Ridge | RLS,
        *,
        feedback: bool = False,
        join_input: bool = False,
    ) -> None:
        check_layer("reservoir", reservoir)
        if not isinstance(readout, Ridge | RLS):
            raise TypeError(f"readout: expected a crnn.Ridge or a crnn.RLS, got {readout!r:.100}")
        feedback = check_flag("feedback", feedback)
        vars(self).update(feedback=feedback, join_input=check_flag("join_input", join_input))
        inputs = inputs_of(reservoir, readout, self.feedback)
        width = layer_of(reservoir).output_size
        front: Any = reservoir
        if self.join_input:
            if not inputs or not layer_of(reservoir).keeps_time:
                raise ValueError(
                    "join_input: expected False for a reservoir without other inputs than the "
                    f"outputs, or without a time axis, got {reservoir!r:.100}"
                )
            front, width = Joined(reservoir, inputs), None if width is None else width + inputs
        if width not in (None, readout.input_size):
            joined = " + I" if self.join_input else ""
            raise ValueError(
                f"readout: expected input_size = H{joined} = {width}, as the reservoir has, got "
                f"{readout!r:.100}"
            )
        super().__init__([front, readout])

    def __setattr__(self, name: str, value: Any) -> None:
        if name in {"reservoir", "readout", "feedback", "join_input"}:
            raise AttributeError(f"{name}: cannot be set; call set_params({name}=...)")
        super().__setattr__(name, value)

    @property
    def reservoir(self) -> Any:
        """The layer whose states the readout reads."""
        return self.layers[0].layer if self.join_input else self.layers[0]

    @property
    def readout(self) -> Any:
        """The last layer, a Ridge or an RLS."""
        return self.layers[1]

    def append(self, layer: LayerLike) -> NoReturn:
        """Raise TypeError: an ESN has two layers.

        Parameters
        ----------
        layer : layer
            Not used.
        """
        raise TypeError("append: an ESN has two layers; put it into a crnn.Sequential")

    # ------------------------------------------------------------------------------ description

    @property
    def config(self) -> dict[str, Any]:
        return {
            "reservoir": describe(self.reservoir),
            "readout": describe(self.readout),
            "feedback": self.feedback,
            "join_input": self.join_input,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        parts = {name: build(config[name]) for name in cls._leading}
        return cls(**(dict(config) | parts))

    @classmethod
    def parameter_count(cls, config: Mapping[str, Any]) -> int:
        return super(Sequential, cls).parameter_count(config)

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths | None:
        first, last = widths_of(config["reservoir"]), widths_of(config["readout"])
        if first is None or last is None:
            return None
        return Widths(first.input, last.output, first.state, first.timeless)

    def _shown(self) -> dict[str, Any]:
        return self.get_params(deep=False)

    __repr__ = never_raising(Layer.__repr__)

    # ------------------------------------------------------------------------------ parameters

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments of the constructor.

        Parameters
        ----------
        deep : bool, default True
            Also return the arguments of the reservoir and of the readout, with the names
            "reservoir__leak", "readout__alpha" and so on. Layers inside have names such as
            "reservoir__0__leak".

        Returns
        -------
        dict of str to object

        Examples
        --------
        >>> import crnn
        >>> esn = crnn.ESN(crnn.Reservoir(1, 50, leak=0.3, seed=0), crnn.Ridge(50, 1))
        >>> esn.get_params()["reservoir__leak"], esn.get_params()["readout__alpha"]
        (0.3, 1e-06)
        """
        own = {name: getattr(self, name) for name in (*self._leading, "feedback", "join_input")}
        return own | (flat_params(own) if check_flag("deep", deep) else {})

    def set_params(self, **params: Any) -> Self:
        """Change arguments of the constructor, in place.

        A part whose arguments change is made anew, with the same seed. The readout then has to be
        fitted again; if H changes, it gets the new size. ``readout__alpha`` of a fitted Ridge alone
        changes its weights at once, by `Ridge.solve`. A Ridge that was loaded from a file has its
        weights alone, and raises ValueError; set the attribute `alpha` of the readout before the
        next fit.

        Parameters
        ----------
        **params
            Values by the names of `get_params`.

        Returns
        -------
        ESN
            The network itself.

        Raises
        ------
        ValueError, TypeError
            If a name is unknown or a value is invalid. Nothing has changed then.

        Examples
        --------
        >>> import crnn
        >>> esn = crnn.ESN(crnn.Reservoir(1, 50, leak=0.3, seed=0), crnn.Ridge(50, 1))
        >>> esn.set_params(reservoir__leak=0.5, readout__alpha=1e-3).get_params()["reservoir__leak"]
        0.5
        """
        set_params(self, params)
        return self

    def __sklearn_clone__(self) -> Self:
        """Return a copy without a fit, for `sklearn.base.clone`."""
        copied: Self = clone_of(self)
        return copied

    def __sklearn_tags__(self) -> Any:
        """Return the tags of a regressor, for scikit-learn, which alone calls this."""
        return regressor_tags()

    # ------------------------------------------------------------------------------ fitting

    def fit(
        self,
        x: Any,
        y: Any,
        lengths: ArrayLike | None = None,
        *,
        washout: int = 0,
        folds: int | None = None,
    ) -> Self:
        """Fit the readout to targets; forget earlier data.

        The states are computed window by window as in `crnn.fit_readout`, with the noise of the
        reservoir, if it has any.

        Parameters
        ----------
        x : array (B, T, I) or (T, I), list of arrays, or None
            Inputs; the class describes the forms. None with `feedback` and I = 0.
        y : array (B, T, O) or (T, O), or list of arrays
            Targets.
        lengths : integers (B,), optional
            Number of valid steps of each row of an array. None: all T steps.
        washout : int, default 0
            Number of steps at the beginning of each sequence that are left out, because they depend
            on the initial state.
        folds : int, optional
            Number of folds for cross-validation, as for `crnn.fit_readout`.

        Returns
        -------
        ESN
            The network itself.

        Raises
        ------
        TypeError, ValueError
            If an argument has a wrong type, shape or value; if a number of x or y is not finite; if
            no step is left behind the washout; if the Ridge cannot be solved. The network has not
            changed then.
        RuntimeError
            If another thread fits the readout. This call has changed nothing then.
        """
        features = (TeacherForced if self.feedback else Features)(self[:1])
        fit_states(features, self.readout, Given(self, x, y, lengths, features), washout, folds)
        return self

    def fit_force(
        self,
        x: Any,
        y: Any,
        lengths: ArrayLike | None = None,
        *,
        washout: int = 0,
        every: int = 1,
    ) -> Self:
        """Train an RLS readout online while its own output is fed back: FORCE learning.

        Sussillo and Abbott, "Generating coherent patterns of activity from chaotic neural networks"
        (2009). At each step the reservoir reads the network's own output of the step before, and
        the RLS then learns the target. Training goes on from the present weights and P of the RLS.

        Parameters
        ----------
        x : array (B, T, I) or (T, I), or None
            Inputs. None if I = 0.
        y : array (B, T, O) or (T, O)
            Targets.
        lengths : integers (B,), optional
            Number of valid steps of each row. None: all T steps.
        washout : int, default 0
            Number of steps before the first update.
        every : int, default 1
            Number of steps from one update to the next.

        Returns
        -------
        ESN
            The network itself.

        Raises
        ------
        TypeError, ValueError
            If the network has no feedback or its readout is no RLS, or an argument has a wrong
            type, shape or value. The network has not changed then.
        FloatingPointError
            If a number would overflow. The network has not changed then.
        RuntimeError
            If another thread trains the readout.

        Examples
        --------
        >>> import crnn
        >>> import numpy as np
        >>> series = np.sin(np.arange(3000) / 5)[:, None]
        >>> reservoir = crnn.Reservoir(1, 100, spectral_radius=1.5, leak=0.3, seed=0)
        >>> esn = crnn.ESN(reservoir.astype("float64"), crnn.RLS(100, 1), feedback=True)
        >>> future = esn.fit_force(None, series).generate(50, prime=series)
        >>> bool(np.abs(future[:, 0] - np.sin(np.arange(3000, 3050) / 5)).max() < 0.1)
        True
        """
        if not self.feedback or not isinstance(self.readout, RLS):
            raise TypeError(
                "fit_force: expected a network with feedback=True and a crnn.RLS as its readout, "
                f"got {self!r:.200}"
            )
        washout, every = check_count("washout", washout, 62), check_size("every", every)
        for name, value in (("x", x), ("y", y)):
            if isinstance(value, list):
                raise TypeError(f"{name}: expected an array, got a list: use pad and lengths")
        given = Given(self, x, y, lengths, Features(self.layers[0]))
        (item,) = given
        check_finite("x", item.x, steps_read(item), given.located)
        B, T = item.target.shape[:2]
        longest = min(T, B) and (T if item.lengths is None else int(item.lengths.max()))
        if longest <= washout:
            raise ValueError(
                f"washout: expected fewer than the {longest} steps of the longest sequence, got "
                f"{washout}"
            )
        force(self, item, washout, every)
        return self

    # ------------------------------------------------------------------------------ running

    def predict(
        self,
        x: Any,
        lengths: ArrayLike | None = None,
        *,
        state: Any = None,
        output: ArrayLike | None = None,
    ) -> Any:
        """Return the outputs; with `feedback`, they are fed back.

        Parameters
        ----------
        x : array (B, T, I) or (T, I), or list of arrays
            Inputs; the class describes the forms.
        lengths : integers (B,), optional
            Number of valid steps of each row of an array. None: all T steps.
        state : state, optional
            Initial state, as returned by ``esn(x)``, for arrays. None stands for zeros.
        output : floats (B, O), optional
            With `feedback`, the output of the step before the first one, which is needed with
            `state`. None stands for zeros.

        Returns
        -------
        array (B, T, O), (T, O) or (B, O), or list of arrays (T, O)
            Outputs in the form of x; 0 behind the end of a row. If a number of x is not finite,
            outputs from this step on may be NaN, as with every layer.

        Raises
        ------
        TypeError, ValueError
            If the readout has not been fitted; if an argument has a wrong type, shape or value; if
            with `feedback` a `state` comes without an `output`.
        """
        self._check_fitted()
        if isinstance(x, list):
            check_none("for a list of sequences", lengths=lengths, state=state, output=output)
            sequences = inputs_list(self, x)
            return predict_list(self, sequences) if self.feedback else predict(self, sequences)
        array, single = inputs_array(self, x)
        if lengths is not None:
            lengths = check_lengths(lengths, array.shape)
        if not self.feedback:
            check_none("without feedback", output=output)
        if self.feedback:
            y = closed_loop(self, array, lengths, state, output)
        elif lengths is None and state is None:
            y = predict(self, array)
        else:
            target = np.broadcast_to(np.int8(0), array.shape[:2])
            y = outputs_of(self, Item(array, target, lengths), state)
        return y[0] if single and self.keeps_time else y

    def score(self, x: Any, y: Any, lengths: ArrayLike | None = None, *, washout: int = 0) -> float:
        """Return the coefficient of determination R² of the predictions, as scikit-learn does.

        ::

            R² = mean over outputs of  1 - Σ (y - ŷ)² / Σ (y - mean of y)²

        Parameters
        ----------
        x, y, lengths
            As for `fit`; with `feedback`, the outputs are fed back as in `predict`.
        washout : int, default 0
            Number of steps at the beginning of each sequence that are left out.

        Returns
        -------
        float
            At most 1. An output that is constant has 1 if it is predicted exactly, else 0.

        Raises
        ------
        TypeError, ValueError
            If the readout has not been fitted; if an argument has a wrong type, shape or value, or
            a number of x is not finite; if an output is not, such as in a closed loop that leaves
            the range of its data; if no step is left.
        """
        washout, features = check_count("washout", washout, 62), Features(self.layers[0])
        errors, targets, rows = [], [], 0
        given = Given(self, x, y, lengths, features)
        for item in given:
            located = shifted(given.located, rows, 0)
            features.check(item, located)
            predicted = self.predict(item.x, item.lengths)
            check_finite("outputs", predicted, steps_read(item), located)
            rows += len(predicted)
            kept = np.ones(predicted.shape[:-1], bool)
            if self.keeps_time:
                if item.lengths is not None:
                    kept = valid_steps(item.lengths, kept.shape)
                kept, _ = features.kept(kept, None, washout, None)
            target = np.asarray(item.target, np.float64)[kept]
            targets.append(target)
            errors.append(predicted[kept] - target)
        return determination(np.concatenate(errors), np.concatenate(targets), washout)

    def generate(self, steps: int, prime: ArrayLike | None = None) -> Array:
        """Return a sequence of which each output is the input of the next step.

        Parameters
        ----------
        steps : int
            Number of steps, at least 1.
        prime : floats (T, I) or (B, T, I), optional
            A sequence that drives the reservoir first; the output after it is the first one that is
            returned. With `feedback`, the outputs that are fed back are taken from it, too: each
            step of the prime, and later each output, is both the next input and the output of the
            step before. If I = 0, it is a sequence of outputs (T, O). None: one row begins with the
            state zero and an input of 0.

        Returns
        -------
        array (steps, O), or (B, steps, O) for a prime of B rows
            Outputs; they may be NaN if a number of the prime is not finite.

        Raises
        ------
        TypeError, ValueError
            If the readout has not been fitted; if outputs are no inputs, because I is not O, or not
            0 with `feedback`; if the reservoir cannot run step by step; or if an argument has a
            wrong type, shape or value.

        Notes
        -----
        All steps run in the core, if all layers are layers of crnn of one dtype. Ctrl-C ends them.
        """
        self._check_fitted()
        steps, outputs = check_size("steps", steps), self.readout.output_size
        inputs = self._external
        if inputs not in ((0, outputs) if self.feedback else (outputs,)):
            raise ValueError(
                f"generate: expected a network whose I inputs are its O={outputs} outputs, got "
                f"I={inputs}: use predict(x), which reads the inputs from x"
            )
        if prime is None:
            given, single = np.zeros((1, 0, outputs)), True
            start = np.zeros((1, outputs))
        else:
            given = check_array("prime", prime, "floats", *reversed(sizes_of("I", outputs)))
            given, single = (given[None], True) if given.ndim == 2 else (given, False)
            start = given[:, -1] if given.shape[1] else np.zeros((len(given), outputs))
        obstacle = stepwise_obstacle(self.reservoir)
        if obstacle is not None:
            raise ValueError(
                f"generate: expected a reservoir that runs step by step, got "
                f"{self.reservoir!r:.100}{obstacle}"
            )
        check_product("steps", max(len(given), 1), steps, outputs)
        if not len(given):
            return np.zeros((0, steps, outputs), self.readout.dtype)
        y = run_loop(self, start, steps, None, driven(self, given))
        return y[0] if single else y

    # ------------------------------------------------------------------------------ arguments

    @property
    def _external(self) -> int | None:
        """Return I, the number of inputs without outputs that are fed back."""
        return inputs_of(self.reservoir, self.readout, self.feedback)

    def _check_fitted(self) -> None:
        """Raise ValueError if the readout has its initial weights."""
        if not is_fitted(self.readout):
            raise ValueError(
                f"readout: expected one that is fitted: call fit(x, y) first, got {self.readout!r}"
            )
