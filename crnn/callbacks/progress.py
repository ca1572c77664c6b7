"""The progress of a run: a bar, or a line after each epoch."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Real
from typing import Any

from crnn.callbacks.base import Callback
from crnn.callbacks.run import Run


def open_bar(total: int | None, units: str, *, initial: int = 0) -> Any:
    """Return a bar of tqdm that is shown after two seconds.

    None where tqdm is not installed or standard error is no terminal.
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
    """Go through parts of a task with a bar, which is shown after two seconds.

    Parameters
    ----------
    parts : iterable
    units : str
        Name of the parts in the bar.
    of : object, optional
        Has as many entries as `parts`, which need not have a length.
    """
    counted: Any = parts if of is None else of
    bar = open_bar(len(counted) if hasattr(counted, "__len__") else None, units)
    try:
        for part in parts:
            yield part
            if bar is not None:
                bar.update()
    finally:
        if bar is not None:
            bar.close()


def _shown(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return those metrics that are numbers, as text with four digits."""
    numbers = {name: value for name, value in metrics.items() if isinstance(value, Real)}
    return {name: f"{float(value):.4g}" for name, value in numbers.items()}


def _listed(metrics: Mapping[str, Any]) -> list[str]:
    """Return names and values of those metrics that are numbers."""
    return [f"{name} {text}" for name, text in _shown(metrics).items()]


class Progress(Callback):
    """A bar where tqdm is installed and standard error is a terminal, else a line after each epoch.

    Parameters
    ----------
    unit : str
        What the steps are called.
    label, scale : str, float
        What the loss is called, and what it is multiplied by.
    glimpse : callable, optional
        ``glimpse()`` returns a line to print after each epoch, below the figures, which are then
        printed beside the bar as well: a text that the model writes, say.

    Notes
    -----
    Where the data have an attribute ``steps``, the valid steps in an epoch, the time left is shown
    from the start; else once the first epoch is over.
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
        self._last = 0  # steps of the epoch, at its last update

    def on_new_run(self, run: Run) -> None:
        """Forget how long an epoch of the run before was."""
        super().on_new_run(run)
        self._epoch_steps, self._last = None, 0

    def on_start(self, run: Run) -> None:
        """Open the bar. It shows itself after two seconds."""
        self._epoch_steps = getattr(run.data, "steps", None)
        total = self._epoch_steps and self._epoch_steps * (run.epochs - run.start.epoch)
        self._bar = open_bar(total, f"{self.unit}s", initial=self._done(run))

    def on_update(self, run: Run) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.set_description_str(f"epoch {run.position.epoch + 1}/{run.epochs}", False)
            figures = [f"{self.label} {run.mean_loss * self.scale:.3f}", *_listed(run.metrics)]
            self._bar.set_postfix_str(", ".join(figures), False)
            self._bar.update(self._done(run) - self._bar.n)
        self._last = run.position.steps

    def on_epoch(self, run: Run) -> None:
        """Print the epoch's figures where there is no bar to show them, and the glimpse."""
        if self._bar is None or self.glimpse is not None:
            self.write(self.line(run))
        if self.glimpse is not None:
            self.write(f"    {self.glimpse()}")
        if self._bar is not None and self._epoch_steps is None:
            self._learn_total(run)

    def on_end(self, run: Run) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def line(self, run: Run) -> str:
        """Return the figures of the last epoch."""
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
        """Print a line, above the bar where there is one."""
        if self._bar is None:
            print(text, flush=True)
        else:
            self._bar.write(text)

    def _done(self, run: Run) -> int:
        """Return the steps done, as far as it is known how many there were in earlier epochs."""
        epochs = run.position.epoch - run.start.epoch
        return epochs * (self._epoch_steps or 0) + run.position.steps

    def _learn_total(self, run: Run) -> None:
        """Tell the bar, at the end of the first epoch seen, how long it is."""
        self._epoch_steps = self._last
        unseen = self._done(run) - self._bar.n  # in epochs before the run was taken up again
        self._bar.initial += unseen
        self._bar.n += unseen
        self._bar.total = self._epoch_steps * (run.epochs - run.start.epoch)
