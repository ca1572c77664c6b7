"""Callback that saves a run to a file from which it can be resumed."""

import time
from typing import ClassVar

from crnn.callbacks.base import Callback
from crnn.callbacks.run import Run
from crnn.common.checks import check_positive, check_size
from crnn.storage.files import Path, check_path


class Checkpoint(Callback):
    """Save the whole run to a file at intervals, and at the end of the run.

    ``crnn.fit(..., resume=path)`` and `crnn.Trainer.resume` continue the run from the file. The
    results are bit-identical to those of a run that was not interrupted. Each file replaces the
    previous one in one step, so that a process that is killed leaves a complete file.

    Parameters
    ----------
    path : str or path
        The file.
    updates : int, optional
        Save after every `updates` updates.
    epochs : int, optional
        Save after every `epochs` epochs. 1 if neither `updates` nor `seconds` is set.
    seconds : float, optional
        Save after an update if this time in seconds has passed since the last file.

    Methods
    -------
    write(run)
        Write the file; a subclass may write other files instead.

    Notes
    -----
    The run is also saved when it ends, for example after Ctrl-C or an exception.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import crnn
    >>> data = [(np.ones((1, 3, 2)), np.ones((1, 3, 1)))]
    >>> def train(path):
    ...     model = crnn.Dense(2, 1, seed=0)
    ...     return crnn.fit(model, data, loss=crnn.losses.mse, epochs=3, progress=False,
    ...                     optimizer=crnn.optim.SGD(model, lr=0.1), resume=path,
    ...                     callbacks=[crnn.callbacks.Checkpoint(path)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "run.npz")
    ...     trained, resumed = train(path), train(path)
    >>> resumed.seconds == trained.seconds  # the second call only read the finished run
    True
    """

    saves: ClassVar[bool] = True

    def __init__(
        self,
        path: Path,
        *,
        updates: int | None = None,
        epochs: int | None = None,
        seconds: float | None = None,
    ) -> None:
        check_path(path)
        self.path = path
        if (updates, epochs, seconds) == (None, None, None):
            epochs = 1
        self.updates = None if updates is None else check_size("updates", updates)
        self.epochs = None if epochs is None else check_size("epochs", epochs)
        self.seconds = None if seconds is None else check_positive("seconds", seconds)
        self._written = time.monotonic()

    def on_start(self, run: Run) -> None:
        """Start the clock for `seconds`."""
        self._written = time.monotonic()

    def on_update(self, run: Run) -> None:
        """Save the run if `updates` or `seconds` have passed."""
        due = self.updates is not None and run.position.update % self.updates == 0
        if self.seconds is not None and time.monotonic() - self._written >= self.seconds:
            due = True
        if due:
            self._write(run)

    def on_epoch(self, run: Run) -> None:
        """Save the run if `epochs` have passed."""
        if self.epochs is not None and run.position.epoch % self.epochs == 0:
            self._write(run)

    def on_end(self, run: Run) -> None:
        """Save the run, unless a callback was interrupted: the last file stays valid then."""
        if run.callbacks_complete:
            self._write(run)

    def write(self, run: Run) -> None:
        """Write the file. A subclass may write other files instead.

        Parameters
        ----------
        run : Trainer
        """
        run.save(self.path)

    def _write(self, run: Run) -> None:
        self.write(run)
        self._written = time.monotonic()
