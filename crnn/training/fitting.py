"""Training: `fit` is the function for every day.

`Trainer`, which it runs, can be stopped after any update, put into a file and taken up again.

Letters: ``B`` sequences in a batch, ``T`` steps, ``K`` classes or symbols.
"""

import os
from collections.abc import Sequence
from contextlib import suppress

from crnn.callbacks import Callback, Progress
from crnn.callbacks.history import History
from crnn.layers.base.layer import Layer
from crnn.metrics.base import Metrics
from crnn.optim import Optimizer
from crnn.training.trainer import Trainer
from crnn.training.windows import Data, Loss


def fit(
    model: Layer,
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
    """Train a model.

    Parameters
    ----------
    model : layer
        What `optimizer` updates. Its gradients are set to zero at the start.
    data : iterable of (x, target), (x, target, lengths) or (x, target, lengths, extras)
        Gone through once an epoch: a list, or an object with ``__iter__`` (and, if its order
        changes, ``set_epoch``). x is (B, T, ...), or for a model that reads several arrays, a tuple
        of them; lengths is (B,) or None, of the steps of x (for a `crnn.TeacherForcing` those of
        the target). Memory-mapped arrays are read window by window. extras is a mapping with any of
        ``mask`` and ``resets``, (B, T), which the model's forward is told, and ``weights``, (B, T),
        which the loss is: a step that is masked still has a loss unless its weight is 0.
    loss : callable
        ``loss(y, target, lengths)`` returns the mean over the valid steps and its gradient with
        respect to y, as the functions in `crnn.losses` do. With weights it is given
        ``weights=...``; where y has no time axis, (B, K), lengths are None. A mean that is divided
        by something else, by the sum of class weights, say, is returned as a `crnn.losses.Mean`;
        crnn's own losses do so. A plain number counts as the mean over the valid steps.
    optimizer : optimizer of `crnn.optim`
        Made for `model`.
    epochs : int
        How often to go through `data`. A new `fit` with the same optimizer goes on where the one
        before ended: n more epochs, with the order of data, the random masks and the schedules of
        later epochs, numbered on in the history.
    tbptt : (k1, k2), optional
        Truncated backpropagation through time: each item is cut into windows of k1 steps, with the
        state carried on from one to the next; each window is one update, from its own losses, taken
        back through the last k2 steps. For k2 < k1 the losses before these train the head alone:
        the layers of a Sequential behind the last one that has a state. For k2 > k1 the gradient
        goes on into the k2 - k1 steps before the window, as they were computed; so it does from the
        last window of an item, which may be shorter than k1. Memory depends on k1 and k2, not on T.
        By default an item is one window.
    stateful : bool, default False
        Each item goes on where the one before it ended, row b in row b: streams longer than memory,
        from an iterator. The state is zero at the start of each epoch. For k2 > k1 the gradient
        reaches back into earlier items; exactly so where all but the last are of one length (else a
        piece of a window may be left out, never more than k2 steps be taken).
    accumulate : int, default 1
        Items for one update: the gradient is that of the mean over all of them, sum(w loss) /
        sum(w), as if they were one batch, in the memory of one item. The last update of an epoch
        may have fewer. Not together with `tbptt` or `stateful`.
    checkpoint_every : int, optional
        Keep the state of every n-th step alone on the way forward and compute the steps between
        again on the way back: the same gradients in less memory, for about a third more time (see
        `crnn.Checkpointed`). Not where k1 and k2 differ.
    validation : iterable, optional
        Like `data`; evaluated after every epoch, in the same windows. Unless they are an iterator
        they are gone through once before the first update, and mistakes are found then.
    metrics : mapping of str to metric, optional
        What else to compute, as ``{"accuracy": crnn.metrics.accuracy}``: a metric is a function
        ``f(y, target, lengths, weights=...)`` that returns (sum, weight), or an object with
        ``start()``, ``add(y, target, lengths, weights)`` and ``value()``; see `crnn.metrics`. Each
        has two columns in the history, "name" and "val_name": over the outputs of the epoch's
        training passes, which are those before each update and with dropout, and over the
        validation data after the epoch (None without).
    callbacks : sequence of Callback
        Told in this order at the start, after each update and each epoch, and at the end; see
        `crnn.callbacks` for schedules of the learning rate, early stopping, the best parameters and
        checkpoints. Callbacks that write checkpoints come last, and first at the end. A callback
        that was used in a run before begins afresh.
    progress : bool
        Show a bar where tqdm is installed and standard error is a terminal (once the run takes more
        than two seconds), else print a line after each epoch.
    resume : str or path, optional
        A file that the callback `crnn.callbacks.Checkpoint` writes. Where it is there, the run is
        taken up from it, with the numbers of a run that was never stopped, to the last bit, up to
        its old end; where it is not, the run begins. So the same line starts a run and goes on with
        it. Other `epochs`, another learning rate of the optimizer, other options of the model and
        arguments of callbacks are taken up, with a `crnn.training.ResumeWarning`; other data,
        batches, windows, losses and optimizers are refused.

    Returns
    -------
    History
        A row for each epoch.

    Raises
    ------
    ValueError
        Items of another form, data that give nothing (an exhausted iterator), options that do not
        go together, a model with layers that the optimizer was made without; a file of a run that
        cannot be read or resumed with these arguments.
    FloatingPointError
        The loss or a gradient is not finite. The message names update, epoch and the layer where it
        began. The parameters are those after the last good update, the gradients zero.
    KeyboardInterrupt
        On Ctrl-C, after the current update; a second Ctrl-C does not wait.

    Notes
    -----
    Layers that draw random numbers are told ``call``, the number of updates done, and
    ``first_row``, how many rows of the same update came in earlier items.

    Examples
    --------
    The lecture's four symbols: after ``h`` comes ``e``, after the first ``l`` another one, after
    the second an ``o``.

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
        callbacks=[*callbacks, Progress()] if progress else callbacks,
    )
    if resume is not None:
        with suppress(FileNotFoundError):  # then the run begins; a file that cannot be read is not
            trainer.resume(resume)
    return trainer.run()
