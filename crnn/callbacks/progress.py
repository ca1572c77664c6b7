"""Progress of a run: a bar, or a line after each epoch."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Real
from typing import Any

from crnn.callbacks.base import Callback
from crnn.callbacks.run import Run


def open_bar(total: int | None, units: str, *, initial: int = 0) -> Any:
    """Return a tqdm bar that is shown after two seconds.

    None if tqdm is not installed or standard error is not a terminal.
    """
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    return tqdm(
        total=total,
        initial=initial,
        unit=f" {units}",
        unit_scale=True,
        delay=2,
        dynamic_ncols=True,
    )


def with_bar(parts: Iterable[Any], units: str, *, of: Any = None) -> Iterator[Any]:
    """Iterate over parts of a task with a bar that is shown after two seconds.

    Parameters
    ----------
    parts : iterable
    units : str
        Name of the parts in the bar.
    of : object, optional
        An object with as many entries as `parts`, for parts without a length.

    Yields
    ------
    object
        Each part.
    """
    sized: Any = parts if of is None else of
    bar = open_bar(len(sized) if hasattr(sized, "__len__") else None, units)
    try:
        for part in parts:
            yield part
            if bar is not None:
                bar.update()
    finally:
        if bar is not None:
            bar.close()


def _shown(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return the metrics that are numbers as text with four digits."""
    numbers = {name: value for name, value in metrics.items() if isinstance(value, Real)}
    return {name: f"{float(value):.4g}" for name, value in numbers.items()}


def _listed(metrics: Mapping[str, Any]) -> list[str]:
    """Return names and values of the metrics that are numbers, as text."""
    return [f"{name} {text}" for name, text in _shown(metrics).items()]


class Progress(Callback):
    """Show progress: a bar if tqdm is installed and standard error is a terminal, else lines.

    Without a bar a line is printed after each epoch.

    Parameters
    ----------
    unit : str, default "step"
        Name of the steps.
    label : str, default "loss"
        Name of the loss.
    scale : float, default 1
        Factor of the loss: ``1 / log(2)`` converts nats to bits.
    glimpse : callable, optional
        ``glimpse()`` returns a line to print after each epoch below the loss, for example a text
        that the model generated. The loss is then printed as a line even where there is a bar.

    Methods
    -------
    line(run)
        Return the line of the last epoch.
    write(text)
        Print a line.

    Notes
    -----
    If the data have an attribute ``steps``, the number of valid steps in an epoch, the bar shows
    the remaining time from the start; otherwise it does so after the first epoch.

    Examples
    --------
    >>> import crnn
    >>> crnn.callbacks.Progress(unit="symbol", label="nats per symbol")
    Progress(unit='symbol', label='nats per symbol')
    """

    def __init__(
        self,
        unit: str = "step",
        label: str = "loss",
        scale: float = 1.0,
        glimpse: Callable[[], str] | None = None,
    ) -> None:
        self.unit, self.label, self.scale, self.glimpse = unit, label, scale, glimpse
        self._epoch_steps: int | None = None
        self._bar: Any = None
        self._last = 0  # valid steps of the epoch up to its last update
        self._after: list[str] = []  # the loss and the metrics of the last validation

    def on_new_run(self, run: Run) -> None:
        """Reset the number of steps in an epoch."""
        super().on_new_run(run)
        self._epoch_steps, self._last, self._after = None, 0, []

    def on_start(self, run: Run) -> None:
        """Open the bar, which is shown after two seconds."""
        self._epoch_steps = getattr(run.data, "steps", None)
        total = self._epoch_steps and self._epoch_steps * (run.epochs - run.start.epoch)
        self._bar = open_bar(total, f"{self.unit}s", initial=self._done(run))

    def on_update(self, run: Run) -> None:
        """Update the bar."""
        if self._bar is not None:
            self._bar.set_description_str(f"epoch {run.position.epoch + 1}/{run.epochs}", False)
            self._show(run.mean_loss, run.metrics)
            self._bar.update(self._done(run) - self._bar.n)
        self._last = run.position.steps

    def on_epoch(self, run: Run) -> None:
        """Print the line of the epoch, unless a bar shows it, and the glimpse."""
        if self._bar is None or self.glimpse is not None:
            self.write(self.line(run))
        if self.glimpse is not None:
            self.write(f"    {self.glimpse()}")
        if self._bar is None:
            return
        row = run.history.rows()[-1]
        metrics = [name for name in row if f"val_{name}" in row and name != "loss"]
        if row["val_loss"] is not None:
            after = [f"validation {row['val_loss'] * self.scale:.3f}"]
            self._after = after + _listed({name: row[f"val_{name}"] for name in metrics})
        self._show(row["loss"], {name: row[name] for name in metrics})
        if self._epoch_steps is None:
            self._learn_total(run)

    def _show(self, loss: float, metrics: Mapping[str, Any]) -> None:
        """Show the loss and the metrics of an epoch, and those of the last validation."""
        figures = [f"{self.label} {loss * self.scale:.3f}", *_listed(metrics), *self._after]
        self._bar.set_postfix_str(", ".join(figures), False)

    def on_end(self, run: Run) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def line(self, run: Run) -> str:
        """Return the loss, the metrics and the speed of the last epoch as text.

        Parameters
        ----------
        run : Trainer

        Returns
        -------
        str
        """
        row = run.history.rows()[-1]
        parts = [f"epoch {row['epoch']}/{run.epochs}: {self.label} {row['loss'] * self.scale:.3f}"]
        if row["val_loss"] is not None:
            parts.append(f"validation {row['val_loss'] * self.scale:.3f}")
        metrics = {name: row[name] for name in row if f"val_{name}" in row and name != "loss"}
        for name, text in _shown(metrics).items():
            after = _shown({name: row[f"val_{name}"]})
            parts.append(f"{name} {text}" + "".join(f" (validation {v})" for v in after.values()))
        parts.append(f"{row['steps_per_second']:,.0f} {self.unit}s/s")
        return ", ".join(parts)

    def write(self, text: str) -> None:
        """Print a line, above the bar if there is one.

        Parameters
        ----------
        text : str
        """
        if self._bar is None:
            print(text, flush=True)
        else:
            self._bar.write(text)

    def _done(self, run: Run) -> int:
        """Return the number of steps done; epochs of unknown length are not counted."""
        epochs = run.position.epoch - run.start.epoch
        return epochs * (self._epoch_steps or 0) + run.position.steps

    def _learn_total(self, run: Run) -> None:
        """Set the length of the bar from the number of steps in the first epoch of this run."""
        self._epoch_steps = self._last
        unseen = self._done(run) - self._bar.n  # steps of epochs before the run was resumed
        self._bar.initial += unseen
        self._bar.n += unseen
        self._bar.total = self._epoch_steps * (run.epochs - run.start.epoch)
