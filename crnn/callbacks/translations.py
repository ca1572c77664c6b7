"""Callbacks that count how many texts a model gets exactly right during training."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crnn.callbacks.base import Callback
from crnn.callbacks.progress import Progress
from crnn.callbacks.run import Run
from crnn.common.checks import check_real

CHECKED = 1000  # largest number of pairs that are translated after each epoch


class ExactMatch(Callback):
    """Fraction of held-out pairs that a model gets exactly right, after each epoch.

    Parameters
    ----------
    evaluate : callable
        ``evaluate(pairs)`` returns the fraction of pairs that the model gets exactly right.
    pairs : sequence of (source, target)
        The first 1000 of them are evaluated. May be empty.

    Attributes
    ----------
    rates : list of float or None
        The fraction after each epoch; None without pairs.
    """

    def __init__(self, evaluate: Callable[[Sequence[Any]], float], pairs: Sequence[Any]) -> None:
        self.evaluate, self.pairs = evaluate, pairs[:CHECKED]
        self.rates: list[float | None] = []

    def on_epoch(self, run: Run) -> None:
        """Evaluate the model on the pairs."""
        self.rates.append(self.evaluate(self.pairs) if self.pairs else None)

    def state_dict(self) -> dict[str, Any]:
        return {"rates": list(self.rates)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        rates = list(state["rates"])
        for rate in rates:
            if rate is not None:
                check_real("rates", rate, 0)
        self.rates = rates


class TranslationProgress(Progress):
    """Progress in symbols of the targets, with the fraction of pairs that are exactly right.

    Parameters
    ----------
    exact : ExactMatch
        A callback of the same run that is called before this one.
    glimpse : callable, optional
        ``glimpse()`` returns a line to print after each epoch; see `Progress`.
    """

    def __init__(self, exact: ExactMatch, glimpse: Callable[[], str] | None = None) -> None:
        super().__init__(unit="symbol", glimpse=glimpse)
        self.exact = exact

    def line(self, run: Run) -> str:
        """Return the loss, the metrics and the exact matches of the last epoch as text."""
        rate = self.exact.rates[-1]
        right = "" if rate is None else f", {rate:.1%} exactly right"
        return f"{super().line(run)}{right}"
