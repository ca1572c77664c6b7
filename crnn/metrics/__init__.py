"""Metrics: how good outputs are, in the units that people compare models by.

A metric compares outputs y with targets at the valid steps. There are two forms, and
``crnn.fit(..., metrics={"name": metric})``, `crnn.evaluate` and user code take both:

- a function ``f(y, target, lengths=None, *, weights=None)`` that returns ``(sum, weight)``: the sum
  over the valid steps, each times its weight, and the sum of the weights. The metric over several
  batches is the quotient of the totals, so it does not depend on how the data are batched;
- an object with ``start()``, ``add(y, target, lengths, weights)`` and ``value()``, for values that
  are no mean, such as F1. `Metric` is the base of the ones here.

Letters: ``B`` sequences in a batch, ``T`` steps, ``K`` classes or symbols, ``F`` features.
"""

from crnn.metrics.base import Metric, Total
from crnn.metrics.classes import accuracy, bits, confusion_matrix, exact_match, f1, perplexity
from crnn.metrics.values import mae

__all__ = [
    "Metric",
    "Total",
    "accuracy",
    "bits",
    "confusion_matrix",
    "exact_match",
    "f1",
    "mae",
    "perplexity",
]
