"""Metrics: the quality of the outputs of a model, in common units.

A metric compares outputs y with targets at the valid steps. `crnn.fit` and `crnn.evaluate` take
metrics of two forms, as in ``metrics={"name": metric}``:

- a function ``f(y, target, lengths=None, *, weights=None)`` that returns ``(sum, weight)``: the
  weighted sum over the valid steps, and the sum of the weights. The metric over several batches is
  the total sum divided by the total weight. It does not depend on how the data are divided into
  batches;
- an object with the methods ``start()``, ``add(y, target, lengths, weights)`` and ``value()``, for
  values that are not means, such as F1. `Metric` is a base class for such objects.

Letters: ``B`` sequences in a batch, ``T`` steps, ``K`` classes or symbols, ``F`` features.
"""

from crnn.metrics.base import Metric, Total
from crnn.metrics.classes import accuracy, bits, confusion_matrix, exact_match, f1, perplexity
from crnn.metrics.forecasts import (
    coverage,
    crps,
    mase,
    msis,
    nd,
    quantile_loss,
    seasonal_error,
    wql,
)
from crnn.metrics.labels import (
    average_precision,
    calibration_error,
    jaccard,
    multilabel_accuracy,
    multilabel_f1,
    roc_auc,
)
from crnn.metrics.values import mae, nrmse

__all__ = [
    "Metric",
    "Total",
    "accuracy",
    "average_precision",
    "bits",
    "calibration_error",
    "confusion_matrix",
    "coverage",
    "crps",
    "exact_match",
    "f1",
    "jaccard",
    "mae",
    "mase",
    "msis",
    "multilabel_accuracy",
    "multilabel_f1",
    "nd",
    "nrmse",
    "perplexity",
    "quantile_loss",
    "roc_auc",
    "seasonal_error",
    "wql",
]
