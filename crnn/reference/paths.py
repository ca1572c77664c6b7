"""Sample paths of forecasts in plain Python: one path of one series, one step after another.

Letters: T steps, F inputs, P outputs of a step, L lags. Salinas et al., "DeepAR" (2017).
"""

from collections.abc import Callable, Sequence

import numpy as np

from crnn.reference.arrays import Array


def sample_path(
    model: Callable[[Array], Array],
    draw: Callable[[Array, int], float],
    x: Array,
    lags: Sequence[int],
    scale: float,
    *,
    indicators: bool = False,
) -> Array:
    """Return a path: a number is drawn at each step, and is an input of later steps.

    The last L inputs of step t are z_(t-l) / scale for each lag l; with indicators, the L inputs
    before them are 1 where z_(t-l) is there.

    Parameters
    ----------
    model : function
        From inputs (F,) to outputs (P,), one step after another, with a state of its own.
    draw : function
        From outputs (P,) and the number of the step to a random number.
    x : array (T, F)
        Inputs; where a lag leads to a number that was drawn, it takes their place.
    lags : sequence of L integers
        Lags in steps, at least 1.
    scale : float
        Scale of the series.
    indicators : bool, default False
        Whether there are indicators.

    Returns
    -------
    array (T,) of float64

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> double = lambda x: 2 * x[-1:]  # the only output is twice the last number
    >>> x = np.array([[1.0], [0.0], [0.0]])
    >>> crnn.reference.sample_path(double, lambda o, step: float(o[0]), x, [1], 1.0).tolist()
    [2.0, 4.0, 8.0]
    """
    L, path = len(lags), np.empty(len(x))
    for step, row in enumerate(x.copy()):
        for k, lag in enumerate(lags):
            if lag <= step:
                row[k - L] = path[step - lag] / scale
                if indicators:
                    row[k - 2 * L] = 1
        path[step] = draw(model(row), step)
    return path
