"""The training run of the models of texts."""

from collections.abc import Sequence
from typing import TypedDict

from crnn.callbacks import Callback, OneCycle
from crnn.common.checks import check_positive, check_size
from crnn.layers.base.protocol import LayerLike
from crnn.losses import cross_entropy
from crnn.optim import Adam
from crnn.training.evaluation import count_updates
from crnn.training.trainer import Trainer
from crnn.training.windows import Data


class RunOptions(TypedDict):
    """Options that the `trainer` method of a model passes to `one_cycle`."""

    epochs: int
    lr: float
    clip_norm: float
    callbacks: Sequence[Callback]


def one_cycle(
    model: LayerLike,
    data: Data,
    *,
    epochs: int,
    lr: float,
    clip_norm: float,
    callbacks: Sequence[Callback],
    tbptt: tuple[int, int] | None = None,
    validation: Data | None = None,
) -> Trainer:
    """Return a run that minimises the cross-entropy with Adam and a one-cycle learning rate.

    Parameters
    ----------
    model, data, epochs, callbacks, tbptt, validation
        As for `crnn.fit`.
    lr : float
        The largest learning rate, see `crnn.callbacks.OneCycle`.
    clip_norm : float
        The largest norm of the gradient; larger gradients are scaled down to it.

    Returns
    -------
    Trainer
        The run, before its first update.
    """
    epochs, lr = check_size("epochs", epochs), check_positive("lr", lr)
    updates = epochs * count_updates(data, tbptt, model=model)
    return Trainer(
        model,
        data,
        loss=cross_entropy,
        optimizer=Adam(model, lr=lr, clip_norm=clip_norm),
        epochs=epochs,
        tbptt=tbptt,
        validation=validation,
        callbacks=[OneCycle(lr, total=updates), *callbacks],
    )
