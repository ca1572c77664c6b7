"""Snapshots of a run in a file, from which it can be taken up again."""

import math
import time
from typing import ClassVar

from crnn.callbacks.base import Callback
from crnn.callbacks.run import Run
from crnn.common.checks import check_positive, check_size
from crnn.storage.files import Path, check_path


class Checkpoint(Callback):
    """Writes the whole run to a file now and then, and at its end.

    ``crnn.fit(..., resume=path)`` takes the run up from there, and `Trainer.resume`; the numbers
    are those of a run that was never stopped, to the last bit. Each file replaces the one before it
    in one step, so whoever is killed, at any moment, leaves the last good one.

    Parameters
    ----------
    path : str or path
    updates, epochs : int, optional
        Write after so many updates, or epochs.
    seconds : float, optional
        Write after an update, when so much time has passed since the last file.

    Notes
    -----
    Without any of these it writes after each epoch. It also writes when the run ends, however it
    ends: after Ctrl-C, for example.
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
        self.seconds = math.inf if seconds is None else check_positive("seconds", seconds)
        self._written = time.monotonic()

    def on_start(self, run: Run) -> None:
        """Count the seconds from here."""
        self._written = time.monotonic()

    def on_update(self, run: Run) -> None:
        """Write if it is due."""
        due = self.updates is not None and run.position.update % self.updates == 0
        if due or time.monotonic() - self._written >= self.seconds:
            self._write(run)

    def on_epoch(self, run: Run) -> None:
        """Write if it is due."""
        if self.epochs is not None and run.position.epoch % self.epochs == 0:
            self._write(run)

    def on_end(self, run: Run) -> None:
        """Write, unless a callback was broken off: then the last file is right."""
        if run.settled:
            self._write(run)

    def write(self, run: Run) -> None:
        """Write the file. A subclass may write another one in its place."""
        run.save(self.path)

    def _write(self, run: Run) -> None:
        self.write(run)
        self._written = time.monotonic()
