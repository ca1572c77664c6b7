"""DeepAR: forecasts of many related series by one network, as sampled futures.

Letters: n series, B windows in a batch, T = context + horizon steps, S samples, P parameters of
the likelihood.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self, get_args

import numpy as np

from crnn.callbacks import Callback, Cosine, KeepBest, Progress
from crnn.callbacks.history import History
from crnn.common.checks import (
    check_choice,
    check_count,
    check_flag,
    check_positive,
    check_probability,
    check_seed,
    check_size,
)
from crnn.common.choices import BlockName, CellName
from crnn.common.representation import never_raising
from crnn.data import Panel
from crnn.data.gathering import ScaleKind
from crnn.data.panel_checks import check_counts
from crnn.layers.base.layer import Layer
from crnn.layers.base.weights import layer_seeds
from crnn.layers.compose.joined import Joined
from crnn.layers.compose.sequential import Sequential
from crnn.layers.pointwise.dense import Dense
from crnn.layers.pointwise.dropout import Dropout
from crnn.layers.pointwise.embedding import Embedding
from crnn.losses.likelihoods import PARAMETERS, Likelihood
from crnn.models.backtest import (
    LEVELS,
    Backtest,
    Quantiles,
    scores_of,
    seasonal_errors,
    seasonal_naive,
)
from crnn.models.categories import WithCategories
from crnn.models.deepar_checks import check_samples, check_small_size, check_windows
from crnn.models.deepar_inputs import PanelInputs
from crnn.models.deepar_sampling import sample_paths
from crnn.models.deepar_windows import HeldOutWindows, TrainingWindows, Weights, window_loss
from crnn.models.folder import InFolder, network_of
from crnn.models.forecast import Forecast
from crnn.models.networks import BLOCKS, CELLS, block_layers, check_cell, recurrent_layers, stacked
from crnn.optim import Adam
from crnn.storage import archive
from crnn.training.trainer import Trainer

_HEADS, _TAPS = 4, 3  # of blocks
_VALIDATION_ROWS = 256  # windows of a batch of validation data


class DeepAR(InFolder):
    """DeepAR: one network that forecasts all series of a panel, by sampled futures.

    At each step the network reads earlier numbers of a series, and what is known about the step,
    and returns the parameters of a distribution of the number. A forecast draws a number, which is
    an input of later steps, and goes on: a path. All series share the network, so that a series
    with a short history, or with none, is forecast from what was learned from the others.

    Parameters
    ----------
    network : layer
        From inputs (B, T, I) to the P outputs of the likelihood: a layer with a state, such as a
        `crnn.Sequential`. With categories, it reads the pair (x, categories).
    inputs : PanelInputs
        What the network reads.
    likelihood : {"student_t", "gaussian", "negative_binomial"}, default "student_t"
        The distribution: of real numbers with single large ones, of real numbers, or of counts.
    seed : int, default 0
        Seed of the windows in training.

    Attributes
    ----------
    network, inputs, likelihood, seed
        The arguments.
    horizon, context : int
        Steps of a forecast in training, and steps before it that the network reads.
    lags : tuple of int
        Earlier steps whose numbers are inputs.

    Raises
    ------
    ValueError
        An unknown likelihood, or a network with another number of inputs or outputs.

    See Also
    --------
    for_panel : make a model for the series of a panel.

    Notes
    -----
    D. Salinas, V. Flunkert, J. Gasthaus and T. Januschowski, "DeepAR: Probabilistic forecasting
    with autoregressive recurrent networks" (2017). The inputs are those of GluonTS: lags, the
    logarithm of the scale, the calendar, covariates, and on request the age of the series. Other
    than there, the last layer reads the inputs, too: a number of the season before reaches the
    forecast unchanged. A missing number is read as 0 and has no loss.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> panel = crnn.data.Panel(10 + np.sin(np.arange(60) / 2) + 0.1 * rng.normal(size=(20, 60)))
    >>> model = crnn.models.DeepAR.for_panel(panel, 6, hidden_size=8, layers=1, seed=0)
    >>> history = model.train(panel, updates=20, progress=False)
    >>> forecast = model.predict(panel, samples=50)
    >>> forecast
    <Forecast: 50 samples of 6 steps of 20 series>
    >>> low, high = forecast.interval(0.8)
    >>> low.shape, bool((low < high).all())
    ((20, 6), True)
    """

    _content = "forecasting model"

    def __init__(
        self,
        network: Layer,
        inputs: PanelInputs,
        likelihood: Likelihood = "student_t",
        seed: int = 0,
    ) -> None:
        self.likelihood: Likelihood = check_choice("likelihood", likelihood, get_args(Likelihood))
        for name, got, expected in (
            ("input_size", network.input_size, inputs.input_size),
            ("output_size", network.output_size, PARAMETERS[self.likelihood]),
        ):
            if got not in (None, expected):
                raise ValueError(f"network: expected one with {name}={expected}, got {got}")
        if isinstance(network, WithCategories):
            sizes = [part.K for part in network.embeddings]
            expected_sizes = [len(one) for one in inputs.vocabularies]
            if sizes != expected_sizes:
                raise ValueError(
                    f"network: expected embeddings of {expected_sizes} categories, got {sizes}"
                )
        self.network, self.inputs, self.seed = network, inputs, check_seed(seed)

    horizon = property(lambda self: self.inputs.horizon)
    context = property(lambda self: self.inputs.context)
    lags = property(lambda self: self.inputs.lags)

    @classmethod
    def for_panel(
        cls,
        panel: Panel,
        horizon: int,
        *,
        context: int | None = None,
        period: int | None = None,
        lags: Sequence[int] | None = None,
        likelihood: Likelihood = "student_t",
        cell: CellName | BlockName = "lstm",
        hidden_size: int = 40,
        layers: int = 2,
        dropout: float = 0.1,
        scale: str | None = "mean",
        age: bool = False,
        seed: int | None = None,
    ) -> DeepAR:
        """Return an untrained model for the series of a panel.

        Parameters
        ----------
        panel : Panel
            The training data: scales, and the units of covariates, are computed from them.
        horizon : int
            H, the steps of a forecast in training. `predict` takes any number.
        context : int, optional
            Steps before a forecast that the network reads, and of which the scale of a series is
            the mean. None: the horizon.
        period : int, optional
            Steps of a season, such as 12 for months, 7 for days, or 24 for hours. None: no season.
        lags : sequence of int, optional
            Earlier steps whose numbers are inputs of a step. None: 1 ... 7, and the steps around
            one, two and three periods ago, see `crnn.models.deepar_inputs.default_lags`.
        likelihood : {"student_t", "gaussian", "negative_binomial"}, default "student_t"
            As for the class.
        cell : {"rnn", "lstm", "gru", "janet", "mingru", "minlstm", "tcn", "transformer"}, \
default "lstm"
            The class of the layers; or blocks of convolutions (`crnn.TCNBlock`), or of
            self-attention (`crnn.TransformerBlock`), behind a Dense.
        hidden_size : int, default 40
            The hidden units of each layer, or the outputs of each block.
        layers : int, default 2
            The number of layers; each reads the output of the one before.
        dropout : float, default 0.1
            The share of the outputs of each layer but the last that the next one does not read, in
            training.
        scale : {"mean"} or None, default "mean"
            The unit of the numbers of a window: the mean of their sizes, or 1 + their mean for
            counts. None: 1, for series of one size.
        age : bool, default False
            Whether the time since a series began is an input: for series with a course of life,
            such as the sales of new products. Where all series begin at the same time, the network
            learns what happened at each time of the past, and forecasts are worse.
        seed : int, optional
            The seed of the initial weights, of dropout and of the windows. None draws a fresh seed.

        Returns
        -------
        DeepAR
            A model whose network is a `crnn.Sequential` of the layers, joined with the inputs, and
            a `crnn.Dense`; with embeddings where there are categories.

        Raises
        ------
        TypeError, ValueError
            `panel` is no Panel, an unknown name, a size out of range, or numbers that are no counts
            for the negative binomial distribution.
        """
        if not isinstance(panel, Panel):
            raise TypeError(f"panel: expected a crnn.data.Panel, got {type(panel).__name__}")
        check_choice("likelihood", likelihood, get_args(Likelihood))
        check_cell(cell, (*CELLS, *BLOCKS))
        if scale is not None:
            check_choice("scale", scale, ("mean",))
        counts = likelihood == "negative_binomial"
        if counts:
            check_counts(panel)
        kind: ScaleKind | None = None if scale is None else "count" if counts else "mean"
        inputs = PanelInputs.fit(
            panel, horizon, context=context, period=period, lags=lags, scale=kind, age=age
        )
        seed = check_seed(seed)
        network = _network(
            inputs,
            cell,
            hidden_size,
            check_size("layers", layers),
            dropout,
            PARAMETERS[likelihood],
            seed,
        )
        return cls(network, inputs, likelihood, seed)

    # -------------------------------------------------------------------------------- training

    def train(
        self,
        panel: Panel,
        *,
        updates: int = 5000,
        batch_size: int = 32,
        lr: float = 1e-3,
        clip_norm: float = 10.0,
        weights: Weights = "length",
        validation_windows: int = 1,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
    ) -> History:
        """Train the network with Adam, and keep the parameters that are best on the last windows.

        Each batch has windows of random series at random steps. The loss is the negative
        log-likelihood of the observed numbers of context and horizon. The learning rate falls by
        half a cosine wave to 0.

        Parameters
        ----------
        panel : Panel
            The series.
        updates : int, default 5000
            The number of updates; an epoch, after which the network is validated, has 100.
        batch_size : int, default 32
            The windows in an update.
        lr : float, default 1e-3
            The first learning rate, see `crnn.callbacks.Cosine`.
        clip_norm : float, default 10.0
            The largest norm of the gradient; larger gradients are scaled down to it.
        weights : {"length", "scale"}, default "length"
            "length": all windows are equally likely. "scale": a series is drawn with a probability
            proportional to its scale, so that large series count more.
        validation_windows : int, default 1
            How many windows of H steps at the end of each series are held out. The parameters of
            the epoch with the lowest loss there are kept. 0: all numbers are used for training, and
            the last parameters are kept.
        callbacks : sequence of Callback, default ()
            Further callbacks, see `crnn.callbacks`.
        progress : bool, default True
            Show progress.

        Returns
        -------
        History
            The loss of each epoch in nats per observed step; the validation loss is that of the
            horizon alone.

        Raises
        ------
        TypeError, ValueError
            A panel with other columns than the training data, an unknown category, numbers that are
            no counts, too short series, or an option outside of its range. The parameters are
            unchanged.
        """
        if check_flag("progress", progress):
            callbacks = [*callbacks, Progress()]
        return self.trainer(
            panel,
            updates=updates,
            batch_size=batch_size,
            lr=lr,
            clip_norm=clip_norm,
            weights=weights,
            validation_windows=validation_windows,
            callbacks=callbacks,
        ).run()

    def trainer(
        self,
        panel: Panel,
        *,
        updates: int = 5000,
        batch_size: int = 32,
        lr: float = 1e-3,
        clip_norm: float = 10.0,
        weights: Weights = "length",
        validation_windows: int = 1,
        callbacks: Sequence[Callback] = (),
    ) -> Trainer:
        """Return the run of `train`, before its first update: it can be saved and resumed.

        Parameters
        ----------
        panel, updates, batch_size, lr, clip_norm, weights, validation_windows, callbacks
            As for `train`.

        Returns
        -------
        Trainer
            The run; its ``run()`` trains the network.

        Raises
        ------
        TypeError, ValueError
            As for `train`.
        """
        self._check(panel, 0)
        held_out = check_count("validation_windows", validation_windows, 31)
        check_windows("validation_windows", held_out, self.horizon, panel, self.horizon)
        validation, best = None, list[Callback]()
        if held_out:
            validation = HeldOutWindows(self.inputs, panel, held_out, _VALIDATION_ROWS)
            best.append(KeepBest())
        data = TrainingWindows(
            self.inputs,
            panel.until(held_out * self.horizon),
            updates=check_small_size("updates", updates),
            batch_size=check_small_size("batch_size", batch_size),
            seed=self.seed,
            weights=weights,
        )
        return Trainer(
            self.network,
            data,
            loss=partial(window_loss, likelihood=self.likelihood),
            optimizer=Adam(self.network, lr=lr, clip_norm=clip_norm),
            epochs=data.epochs,
            validation=validation,
            callbacks=[Cosine(check_positive("lr", lr), total=data.updates), *best, *callbacks],
        )

    def _check(self, panel: Any, ahead: int) -> None:
        """Raise unless a panel has all that the model reads."""
        self.inputs.check(panel, ahead)
        if self.likelihood == "negative_binomial":
            check_counts(panel)
        self.inputs.categories(panel)

    # ------------------------------------------------------------------------------ forecasts

    def predict(
        self, panel: Panel, *, steps: int | None = None, samples: int = 100, seed: int = 0
    ) -> Forecast:
        """Return sampled futures of the steps after the end of each series.

        Parameters
        ----------
        panel : Panel
            The series, which may be others than those of the training. Covariates go on beyond
            their ends. Numbers that are missing at an end are sampled before; a series without
            numbers is forecast from its covariates, static numbers and categories.
        steps : int, optional
            H, the steps of the forecast; it may be larger than that of the training. None: the
            horizon.
        samples : int, default 100
            S, the number of paths.
        seed : int, default 0
            The seed of the samples. A path depends on this, the name of the series and the number
            of the path: equal seeds give forecasts that differ only by what the model reads, as for
            other prices.

        Returns
        -------
        Forecast
            The same bits for any number of threads, and for any subset and order of the series.

        Raises
        ------
        TypeError, ValueError
            A panel with other columns than the training data, covariates that end too early, an
            unknown category, numbers that are no counts, or an option outside of its range.
        FloatingPointError
            The network returns numbers that are not finite.
        """
        steps = self.horizon if steps is None else check_small_size("steps", steps)
        samples, seed = check_small_size("samples", samples), check_seed(seed)
        self._check(panel, steps)
        check_samples(samples, len(panel), steps)
        times = None if panel.starts is None else panel.future_times(steps)
        paths = sample_paths(
            self.network,
            self.inputs,
            self.likelihood,
            panel,
            steps=steps,
            samples=samples,
            seed=seed,
        )
        return Forecast(paths, panel.names, times, panel)

    def backtest(
        self,
        panel: Panel,
        *,
        windows: int = 1,
        stride: int | None = None,
        samples: int = 100,
        seed: int = 0,
    ) -> Backtest:
        """Return metrics of forecasts of the last windows of each series.

        The model is not trained again: train it without these windows.

        Parameters
        ----------
        panel : Panel
            The series.
        windows : int, default 1
            W, how many windows of H steps.
        stride : int, optional
            Steps between two windows. None: the horizon.
        samples : int, default 100
            S, the number of paths of a forecast.
        seed : int, default 0
            The seed of the samples.

        Returns
        -------
        Backtest
            A table: wQL, ND, NRMSE, MASE, MSIS, and the coverage of intervals, of the model and of
            the seasonal naive forecast. A window that begins before its series is left out.

        Raises
        ------
        TypeError, ValueError
            As for `predict`, or if no number of the windows is observed.
        """
        W, H = check_small_size("windows", windows), self.horizon
        stride = H if stride is None else check_small_size("stride", stride)
        self._check(panel, 0)
        check_windows("windows", W, stride, panel, H)
        parts: dict[str, list[Quantiles]] = {"DeepAR": [], "seasonal naive": []}
        truths, errors = [], []
        for skip in range(0, W * stride, stride):
            past = panel.until(skip + H)
            forecast = self.predict(past, samples=samples, seed=seed)
            parts["DeepAR"].append(Quantiles(forecast.quantile(LEVELS), forecast.mean))
            series, period = past.series, self.inputs.period
            parts["seasonal naive"].append(seasonal_naive(series, H, period or 1))
            whole = panel.lengths >= skip + H  # other series begin inside of the window
            truths.append(np.where(whole[:, None], panel.last(H, skip=skip), np.nan))
            errors.append(seasonal_errors(series, period))
        truth, scale = np.concatenate(truths), np.concatenate(errors)
        if np.isnan(truth).all():
            raise ValueError("windows: expected numbers in the last windows of a series, got none")
        scores = {}
        for name, some in parts.items():
            levels = np.concatenate([one.levels for one in some], axis=1)
            mean = np.concatenate([one.mean for one in some])
            scores[name] = scores_of(Quantiles(levels, mean), truth, scale)
        return Backtest(scores, W, H, len(panel))

    # ----------------------------------------------------------------------------------- files

    def _tree(self) -> dict[str, Any]:
        return {"inputs": self.inputs.config, "likelihood": self.likelihood, "seed": self.seed}

    @classmethod
    def _of_tree(cls, tree: Mapping[str, Any]) -> Self:
        inputs, likelihood, seed = archive.entries(tree, "inputs", "likelihood", "seed")
        return cls(network_of(tree), PanelInputs.from_config(inputs), likelihood, seed)

    @never_raising
    def __repr__(self) -> str:
        inputs = f"{self.inputs!r}".removeprefix("<PanelInputs: ").removesuffix(">")
        return f"<{type(self).__name__}: {self.likelihood}, {inputs}, by {self.network!r}>"


def _network(
    inputs: PanelInputs,
    cell: CellName | BlockName,
    hidden_size: int,
    layers: int,
    dropout: float,
    outputs: int,
    seed: int,
) -> Layer:
    """Return the network of a model."""
    check_probability("dropout", dropout)
    sizes = inputs.vector_sizes
    *seeds, first, last, drop = layer_seeds(seed, layers + 3 + len(sizes))
    seeds, vector_seeds = seeds[:layers], seeds[layers:]
    width = inputs.input_size + sum(size for _, size in sizes)
    stack: list[Any]
    if cell == "tcn" or cell == "transformer":
        steps = inputs.context + inputs.horizon
        stack = [Dense(width, hidden_size, seed=first)]
        stack += block_layers(cell, hidden_size, seeds, heads=_HEADS, taps=_TAPS, window=steps)
        begin = 2
    else:
        stack = recurrent_layers(cell, width, hidden_size, seeds)
        begin = 1
    if dropout:
        for i, place in enumerate(range(begin, begin + layers - 1)):
            stack.insert(place + i, Dropout(dropout, seed=(drop + i) % 2**64))
    joined = Joined(stacked(stack), width)  # the last layer reads the inputs, too
    network = Sequential([joined, Dense(hidden_size + width, outputs, seed=last)])
    if not sizes:
        return network
    vectors = [
        Embedding(K, size, seed=one) for (K, size), one in zip(sizes, vector_seeds, strict=True)
    ]
    return WithCategories(network, vectors)
