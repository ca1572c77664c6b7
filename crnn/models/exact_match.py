"""How many texts a translator gets exactly right while it is trained."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crnn.callbacks import Callback, Progress
from crnn.data.pairs import Pair
from crnn.position import check_real
from crnn.training import Trainer

if TYPE_CHECKING:
    from crnn.models.translator import Translator

CHECKED = 1000  # pairs at most that are translated after each epoch


class ExactMatch(Callback):
    """Translates pairs after each epoch, and counts those that are exactly right.

    Parameters
    ----------
    translator : Translator
    pairs : sequence of (source, target)
        The first 1000 of them are translated; there may be none.

    Attributes
    ----------
    rates : list of float or None
        The share that is right after each epoch; None without pairs.
    """

    def __init__(self, translator: "Translator", pairs: Sequence[Pair]) -> None:
        self.translator, self.pairs = translator, pairs[:CHECKED]
        self.rates: list[float | None] = []

    def on_epoch(self, run: Trainer) -> None:
        """Translate."""
        self.rates.append(self.translator.evaluate(self.pairs) if self.pairs else None)

    def state_dict(self) -> dict[str, Any]:
        return {"rates": list(self.rates)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        rates = list(state["rates"])
        for rate in rates:
            if rate is not None:
                check_real("rates", rate, 0)
        self.rates = rates


class TranslationProgress(Progress):
    """Progress in symbols of the targets, with the share of pairs that are exactly right.

    Parameters
    ----------
    exact : ExactMatch
        A callback of the same run that is told before this one.
    """

    def __init__(self, exact: ExactMatch) -> None:
        super().__init__(unit="symbol")
        self._exact = exact

    def line(self, run: Trainer) -> str:
        """Return the figures of the last epoch."""
        rate = self._exact.rates[-1]
        right = "" if rate is None else f", {rate:.1%} exactly right"
        return f"{super().line(run)}{right}"
