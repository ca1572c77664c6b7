"""Losses: the value and the gradient in one call, averaged over the valid steps.

Padding is not read, and its gradient is 0. With weights the mean is the weighted mean, divided by
the sum of the weights; steps of weight 0 are not read either.

The value is a `Mean`: a float that also has the sum of the weights, so that means over several
batches can be combined into the mean over all of them.
"""

from crnn.losses.classes import binary_cross_entropy, cross_entropy
from crnn.losses.likelihoods import gaussian_nll, negative_binomial_nll, student_t_nll
from crnn.losses.mean import Mean
from crnn.losses.values import mse, quantile

__all__ = [
    "Mean",
    "binary_cross_entropy",
    "cross_entropy",
    "gaussian_nll",
    "mse",
    "negative_binomial_nll",
    "quantile",
    "student_t_nll",
]
