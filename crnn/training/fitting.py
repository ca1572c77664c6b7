"""Training: `fit`.

`fit` runs a `Trainer`, which can be stopped after any update, saved to a file and resumed.

Letters: ``B`` sequences in a batch, ``T`` steps, ``K`` classes or symbols.
"""

import os
from collections.abc import Sequence
from contextlib import suppress

from crnn.callbacks import Callback, Progress
from crnn.callbacks.history import History
from crnn.common.checks import check_flag
from crnn.layers.base.protocol import LayerLike
from crnn.metrics.base import Metrics
from crnn.optim import Optimizer
from crnn.training.trainer import Trainer
from crnn.training.windows import Data, Loss


def fit(
    model: LayerLike,
    data: Data,
    *,
    loss: Loss,
    optimizer: Optimizer,
    epochs: int,
    tbptt: tuple[int, int] | None = None,
    stateful: bool = False,
    accumulate: int = 1,
    checkpoint_every: int | None = None,
    validation: Data | None = None,
    metrics: Metrics | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
    resume: str | os.PathLike[str] | None = None,
) -> History:
    """Train a model and return the history of the run.

    Parameters
    ----------
    model : layer
        The model that `optimizer` updates. Its gradients are set to zero at the start. Layers with
        ``trainable = False`` stay as they are; those before the first trainable layer cost no more
        than in a prediction.
    data : iterable of (x, target), (x, target, lengths) or (x, target, lengths, extras)
        Read once per epoch: a list, or an object with ``__iter__`` (and with ``set_epoch`` if its
        order changes from epoch to epoch). x is (B, T, ...), or a tuple of arrays for a model that
        reads several arrays. lengths is (B,) or None: the number of valid steps of each row of x
        (for a `crnn.TeacherForcing` of the target). Memory-mapped arrays are read window by window.
        extras is a mapping with any of "mask" and "resets", (B, T), for the model's forward pass,
        and "weights", (B, T), for the loss. A masked step has a loss unless its weight is 0.
    loss : callable
        ``loss(y, target, lengths)`` returns the mean over the valid steps and its gradient with
        respect to y, as the functions of `crnn.losses` do. If items have weights it is called with
        ``weights=...``; for y (B, K), without steps, lengths are None. A mean with another divisor,
        such as the sum of class weights, has to be returned as a `crnn.losses.Mean`, as crnn's own
        losses do. A plain float counts as the mean over the valid steps.
    optimizer : optimizer of `crnn.optim`
        Made for `model`.
    epochs : int
        Number of passes over the data. A new run with the same optimizer continues the previous
        one: it has `epochs` more epochs, with the order of data, the random masks, the schedules
        and the epoch numbers of later epochs.
    tbptt : (k1, k2), optional
        Truncated backpropagation through time. Each item is cut into windows of k1 steps, and the
        state is carried from one window to the next. Each window gives one update: the gradient of
        its losses, computed over the last k2 steps. For k2 < k1 the losses before these steps train
        only the head: the layers of a Sequential after the last layer with a state. For k2 > k1 the
        gradient also reaches the k2 - k1 steps before the window, with the values that were
        computed then. The last window of an item may be shorter than k1. The memory depends on k1
        and k2, not on T. None: an item is one window.
    stateful : bool, default False
        True: each item continues the item before it, row b continues row b. This trains on streams
        longer than the memory, from an iterator. The state is zero at the start of each epoch. For
        k2 > k1 the gradient also reaches earlier items. This is exact if all items but the last
        one have the same length; otherwise fewer than k2 steps may be used.
    accumulate : int, default 1
        Number of items for one update. The gradient is that of the mean over all of them,
        sum(w loss) / sum(w), as if they were one batch, with the memory of one item. The last
        update of an epoch may have fewer items. Must be 1 with `tbptt` or `stateful`.
    checkpoint_every : int, optional
        The forward pass stores the state of every n-th step, and the backward pass computes the
        steps between them again: the same gradients in less memory, and about a third more time
        (see `crnn.Checkpointed`). Not possible if k1 and k2 differ. None: all steps are stored.
    validation : iterable, optional
        Data like `data`, evaluated after every epoch in the same windows. They are read once and
        checked before the first update, unless they are an iterator.
    metrics : mapping of str to metric, optional
        Further values to compute, such as ``{"accuracy": crnn.metrics.accuracy}``. A metric is a
        function ``f(y, target, lengths, weights=...)`` that returns (sum, weight), or an object
        with ``start()``, ``add(y, target, lengths, weights)`` and ``value()``; see `crnn.metrics`.
        Each metric has two columns in the history. "name" is computed from the outputs of the
        training passes, which come before each update and have dropout. "val_name" is computed on
        the validation data after the epoch (None without validation data).
    callbacks : sequence of Callback, default ()
        Called in this order at the start, after each update and each epoch, and at the end; see
        `crnn.callbacks` for schedules of the learning rate, early stopping, the best parameters and
        checkpoints. Callbacks that save the run are called last, and first at the end. A callback
        that was used in an earlier run is reset.
    progress : bool, default True
        True: show a bar if tqdm is installed and standard error is a terminal (after two seconds),
        otherwise print a line after each epoch.
    resume : str or path, optional
        A file that the callback `crnn.callbacks.Checkpoint` writes. If it exists, the run is
        resumed from it and continues to the end that it had, with results that are bit-identical
        to those of a run without interruption. If it does not exist, a new run begins. Different
        `epochs`, learning rates, options of the model and arguments of callbacks are used, with a
        `crnn.training.ResumeWarning`. Different data, batches, windows, losses and optimizers are
        errors.

    Returns
    -------
    History
        A table with one row per epoch.

    Raises
    ------
    ValueError, TypeError
        If items have another form, the data are empty (an exhausted iterator), options exclude each
        other, the model has layers that the optimizer was made without, all layers are frozen, or
        the run in the file cannot be resumed with these arguments.
    FloatingPointError
        If the loss or a gradient is not finite. The message names the update, the epoch and the
        layer in which it began. The model keeps the parameters of the update before, and its
        gradients are zero.
    KeyboardInterrupt
        On Ctrl-C, after the current update. A second Ctrl-C is raised immediately.

    Warns
    -----
    crnn.training.ResumeWarning
        If a run is resumed with other arguments.

    See Also
    --------
    crnn.Trainer : The run as an object.
    crnn.evaluate : Loss and metrics on data.

    Notes
    -----
    Layers that draw random numbers receive ``call``, the number of updates done, and
    ``first_row``, the number of rows in earlier items of the same update.

    Examples
    --------
    The model learns the word "hello": after ``h`` comes ``e``, after the first ``l`` another ``l``,
    after the second one an ``o``.

    >>> import crnn
    >>> from crnn.data import TextStreams, Vocabulary
    >>> vocabulary = Vocabulary.from_text("hello")
    >>> streams = TextStreams(vocabulary.encode("hello"), batch_size=1)
    >>> model = crnn.Sequential([crnn.RNN(4, 8, seed=0), crnn.Dense(8, 4, seed=1)])
    >>> history = crnn.fit(model, streams, loss=crnn.losses.cross_entropy, epochs=60,
    ...                    optimizer=crnn.optim.Adam(model, lr=0.05), progress=False)
    >>> logits, _ = model(vocabulary.encode("hell")[None])
    >>> vocabulary.decode(logits[0].argmax(axis=-1))
    'ello'
    """
    trainer = Trainer(
        model,
        data,
        loss=loss,
        optimizer=optimizer,
        epochs=epochs,
        tbptt=tbptt,
        stateful=stateful,
        accumulate=accumulate,
        checkpoint_every=checkpoint_every,
        validation=validation,
        metrics=metrics,
        callbacks=[*callbacks, Progress()] if check_flag("progress", progress) else callbacks,
    )
    if resume is not None:
        with suppress(FileNotFoundError):  # a new run begins; an unreadable file is an error
            trainer.resume(resume)
    return trainer.run()
