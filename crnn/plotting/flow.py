"""Plots of gradient norms over time."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.plotting.arguments import Axes, Floats, curves_of, numbers
from crnn.plotting.axes import WIDTH, axes_of, legend_on_top, look, styled, tidy

_ATTRIBUTES = ("by_distance", "norms", "h_norms")  # norms of an object; the first is used
_BAND = (10, 90)  # percentiles over the rows


def gradient_against_distance(curves: Any, ax: "Axes | None" = None) -> "Axes":
    """Draw gradient norms against the distance from the last step, on a logarithmic axis.

    Parameters
    ----------
    curves : mapping of names to norms, or norms
        Each value is one of

        - an array (T,): the norms at steps 1 to T;
        - an array (B, T): the plot shows the median over the rows, and a band from the 10th to the
          90th percentile;
        - an object with such an array as its attribute ``by_distance``, ``norms`` or ``h_norms``
          (the first of them that it has), such as a part of a result of `crnn.diagnostics`. The
          order of ``by_distance`` is the order in which the layer reads the steps;
        - an object with several ``parts``, such as the results of
          `crnn.diagnostics.state_jacobians` and `crnn.diagnostics.gradient_flow`: each part is a
          curve.

        The names label the curves. A value without a name is drawn without a label.
    ax : matplotlib axes, optional
        Axes to draw into; by default those of a new figure.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If `curves` is empty, or a curve is no array of norms, has a norm below 0, or has no norm
        above 0.
    ImportError
        If matplotlib is not installed.

    Notes
    -----
    Zeros at the end of a row are padding: the distance is counted from the last step before them.
    Norms that underflow or overflow in their dtype are not drawn.

    Examples
    --------
    >>> import crnn
    >>> curves = {"LSTM": [0.5, 0.7, 1.0], "RNN": [0.01, 0.1, 1.0]}
    >>> ax = crnn.plotting.gradient_against_distance(curves)
    >>> ax.get_xlabel(), ax.get_yscale()
    ('distance T − t, in steps back', 'log')
    """
    values = curves_of("curves", curves if isinstance(curves, Mapping) else {"": curves}, "norms")
    parts = [part for name, value in values.items() for part in _parts(str(name), value)]
    drawn = {name: _curve(name, value) for name, value in parts}
    axes = axes_of(ax, (WIDTH, 4.0))
    axes.set_yscale("log")
    for i, (name, curve) in enumerate(drawn.items()):
        _draw(axes, name, curve, i)
    of_states = all(hasattr(value, "norms") for value in values.values())
    ylabel = "norm of ∂s_T/∂s_t" if of_states else "norm of the gradient"
    axes.set_xlim(left=0)
    tidy(axes, "distance T − t, in steps back", ylabel)
    if any(drawn):
        legend_on_top(axes)
    return axes


def norms_by_step(curves: Mapping[str, ArrayLike], ax: "Axes | None" = None) -> "Axes":
    """Draw norms against the step, on a logarithmic axis.

    Parameters
    ----------
    curves : mapping of names to arrays (T,)
        Norms at steps 1 to T. T may differ between the curves. The names label the curves.
    ax : matplotlib axes, optional
        Axes to draw into; by default those of a new figure.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If `curves` is empty, or a curve is no array (T,) of norms or has a norm below 0.
    ImportError
        If matplotlib is not installed.

    Notes
    -----
    Zeros and values that are not finite are not drawn. A curve without any other value appears in
    the legend only.

    Examples
    --------
    >>> import crnn
    >>> ax = crnn.plotting.norms_by_step({"h": [1.0, 2.0, 4.0], "c": [1.0, 3.0, 9.0]})
    >>> ax.get_xlabel(), ax.get_ylabel(), len(ax.lines)
    ('step t', 'norm', 2)
    """
    values = curves_of("curves", curves, "norms (T,)")
    drawn = {str(name): _norms(f"curves[{name!r}]", value) for name, value in values.items()}
    axes = axes_of(ax, (WIDTH, 4.0))
    axes.set_yscale("log")
    for i, (name, norms) in enumerate(drawn.items()):
        positive = (norms > 0) & np.isfinite(norms)
        shown = np.where(positive, norms, np.nan)
        label = name if positive.any() else f"{name} (no value above 0)"
        axes.plot(np.arange(1, len(norms) + 1), shown, **styled(i, positive), label=label)
    axes.set_xlim(left=0.5)
    tidy(axes, "step t", "norm")
    legend_on_top(axes)
    return axes


def _norms(name: str, value: ArrayLike) -> Floats:
    """Return an argument as norms (T,), or raise."""
    norms = numbers(name, value, (1,), "norms (T,) of at least one step")
    if negative := int((norms < 0).sum()):
        raise ValueError(f"{name}: expected norms of at least 0, got {negative} below 0")
    return norms


class _Curve(NamedTuple):
    """Percentiles of the norms at each distance.

    Attributes
    ----------
    middle, low, high : arrays (N,)
        Median, 10th and 90th percentile at distances 0 to N - 1.
    rows : int
        Number of rows.
    tiny : float
        Smallest normal number of the dtype of the norms.
    """

    middle: Floats
    low: Floats
    high: Floats
    rows: int
    tiny: float

    @property
    def drawn(self) -> NDArray[np.bool_]:
        """Mask of the distances whose median neither underflows nor overflows."""
        return np.asarray((self.middle >= self.tiny) & np.isfinite(self.middle))


def _parts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield each curve of an argument with its name: the parts of an object, or the value."""
    parts = getattr(value, "parts", None)
    if not isinstance(parts, Mapping) or not parts:
        yield name, value
        return
    for part_name, part in parts.items():
        yield f"{name} {part_name}".strip() if len(parts) > 1 else name, part


def _curve(name: str, value: Any) -> _Curve:
    """Return the percentiles of one curve by distance."""
    where = f"curves[{name!r}]" if name else "curves"
    array = next((getattr(value, name) for name in _ATTRIBUTES if hasattr(value, name)), value)
    dtype = np.asarray(array).dtype
    norms = numbers(where, array, (1, 2), "norms (T,) or (B, T), or an object that has them")
    if invalid := int((~(norms >= 0)).sum()):
        raise ValueError(f"{where}: expected norms of at least 0, got {invalid} below 0 or NaN")
    tiny = float(np.finfo(dtype if dtype.kind == "f" else np.float64).tiny)
    if not np.any((norms >= tiny) & np.isfinite(norms)):
        raise ValueError(f"{where}: expected at least one norm above 0, got none")
    rows = np.stack([*_by_distance(np.atleast_2d(norms), getattr(value, "lengths", None))])
    rows = rows[:, ~np.isnan(rows).all(axis=0)]
    with np.errstate(invalid="ignore"):  # inf - inf in the interpolation
        low, middle, high = np.nanpercentile(rows, (_BAND[0], 50, _BAND[1]), axis=0)
    return _Curve(middle, low, high, len(rows), tiny)


def _by_distance(norms: Floats, lengths: ArrayLike | None) -> Iterator[Floats]:
    """Yield each row in reverse order from its last valid step; NaN after its first step."""
    for row, length in zip(norms, _lengths(norms, lengths), strict=True):
        steps = np.trim_zeros(row, "b")[::-1][:length]
        yield np.concatenate([steps, np.full(len(row) - len(steps), np.nan)])


def _lengths(norms: Floats, lengths: ArrayLike | None) -> NDArray[Any]:
    """Return the largest number of valid steps of each row: T where `lengths` is unknown."""
    if lengths is None or np.shape(lengths) != (len(norms),):
        return np.full(len(norms), norms.shape[1])
    return np.asarray(lengths)


def _draw(axes: "Axes", name: str, curve: _Curve, i: int) -> None:
    """Draw the median, and for several rows the band of percentiles."""
    distance = np.arange(len(curve.middle))[curve.drawn]
    middle, low, high = (values[curve.drawn] for values in curve[:3])
    axes.plot(distance, middle, **styled(i, np.ones(len(distance), bool)), label=name or None)
    if curve.rows > 1:
        floor = np.where(low >= curve.tiny, low, middle.min())  # the axis is logarithmic
        axes.fill_between(distance, floor, high, color=look(i).color, alpha=0.18, linewidth=0)
