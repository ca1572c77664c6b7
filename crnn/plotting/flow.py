"""What becomes of a gradient on its way back through time."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.plotting.arguments import Axes, Floats, curves_of, numbers
from crnn.plotting.axes import WIDTH, axes_of, legend_on_top, look, styled, tidy

_NAMES = ("by_distance", "norms", "h_norms")  # where an object has its norms
_BAND = (10, 90)  # percent of the rows


def gradient_against_distance(curves: Any, ax: "Axes | None" = None) -> "Axes":
    """Draw norms of gradients against the distance from the last step, on a logarithmic axis.

    Parameters
    ----------
    curves : mapping of names to norms, or norms alone
        Norms at the steps 1 to T: an array (T,); or (B, T), of which the median over the rows is
        drawn, in a band from the 10th to the 90th percentile. An object will do that has them: as
        ``by_distance``, which ends with the last step that is read, also of a layer that reads
        backwards, or as ``norms`` or ``h_norms``. One that has several ``parts``, such as what
        `crnn.diagnostics.state_jacobians` and `crnn.diagnostics.gradient_flow` return, has a curve
        for each part.
    ax : matplotlib axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If there is no curve, or what stands for one is not norms, or has none above 0.

    Notes
    -----
    Zeros at the end of a row are padding: the distance is counted from the last step before them.
    Where a norm is so small or so large that its type cannot hold it, nothing is drawn.
    """
    given = curves_of("curves", curves if isinstance(curves, Mapping) else {"": curves}, "norms")
    apart = [one for name, value in given.items() for one in _parts(str(name), value)]
    found = {name: _curve(name, value) for name, value in apart}
    axes = axes_of(ax, (WIDTH, 4.0))
    axes.set_yscale("log")
    for i, (name, curve) in enumerate(found.items()):
        _draw(axes, name, curve, i)
    of_states = all(hasattr(value, "norms") for value in given.values())
    ylabel = "norm of ∂s_T/∂s_t" if of_states else "norm of the gradient"
    axes.set_xlim(left=0)
    tidy(axes, "distance T − t, in steps back", ylabel)
    if any(found):
        legend_on_top(axes)
    return axes


def norms_by_step(curves: Mapping[str, ArrayLike], ax: "Axes | None" = None) -> "Axes":
    """Draw norms step by step, on a logarithmic axis.

    Parameters
    ----------
    curves : mapping of names to arrays (T,)
        Norms at the steps 1 to T, which may be more for one curve than for another.
    ax : matplotlib axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If there is no curve, or what stands for one is not norms.

    Notes
    -----
    Zeros, which a logarithmic axis does not have, are left out, as is what is not finite. The
    legend names a curve of which nothing is left.
    """
    given = curves_of("curves", curves, "norms (T,)")
    found = {str(name): _norms(f"curves[{name!r}]", value) for name, value in given.items()}
    axes = axes_of(ax, (WIDTH, 4.0))
    axes.set_yscale("log")
    for i, (name, norms) in enumerate(found.items()):
        there = (norms > 0) & np.isfinite(norms)
        shown = np.where(there, norms, np.nan)
        label = name if there.any() else f"{name} (nothing above 0)"
        axes.plot(np.arange(1, len(norms) + 1), shown, **styled(i, there), label=label)
    axes.set_xlim(left=0.5)
    tidy(axes, "step t", "norm")
    legend_on_top(axes)
    return axes


def _norms(name: str, value: ArrayLike) -> Floats:
    """Return norms (T,)."""
    norms = numbers(name, value, (1,), "norms (T,) of at least one step")
    if wrong := int((norms < 0).sum()):
        raise ValueError(f"{name}: expected norms, 0 or more, got {wrong} below 0")
    return norms


class _Curve(NamedTuple):
    """What is drawn: the median of each distance, the ends of the band, and the least number."""

    middle: Floats
    low: Floats
    high: Floats
    rows: int
    tiny: float

    @property
    def there(self) -> NDArray[np.bool_]:
        """Which distances have a median that its type can hold."""
        return np.asarray((self.middle >= self.tiny) & np.isfinite(self.middle))


def _parts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what is a curve of its own: of an object with several parts each, with its name."""
    parts = getattr(value, "parts", None)
    if not isinstance(parts, Mapping) or not parts:
        yield name, value
        return
    for place, part in parts.items():
        yield f"{name} {place}".strip() if len(parts) > 1 else name, part


def _curve(name: str, value: Any) -> _Curve:
    """Return the norms of one curve by distance."""
    where = f"curves[{name!r}]" if name else "curves"
    held = next((getattr(value, one) for one in _NAMES if hasattr(value, one)), value)
    kind = np.asarray(held).dtype
    norms = numbers(where, held, (1, 2), "norms (T,) or (B, T), or an object that has some")
    if wrong := int((~(norms >= 0)).sum()):
        raise ValueError(f"{where}: expected norms, 0 or more, got {wrong} that are not")
    tiny = float(np.finfo(kind if kind.kind == "f" else np.float64).tiny)
    if not np.any((norms >= tiny) & np.isfinite(norms)):
        raise ValueError(f"{where}: expected norms of which some are above 0, got none")
    rows = np.stack([*_by_distance(np.atleast_2d(norms), getattr(value, "lengths", None))])
    rows = rows[:, ~np.isnan(rows).all(axis=0)]
    with np.errstate(invalid="ignore"):  # between numbers too large there is no middle
        low, middle, high = np.nanpercentile(rows, (_BAND[0], 50, _BAND[1]), axis=0)
    return _Curve(middle, low, high, len(rows), tiny)


def _by_distance(norms: Floats, lengths: ArrayLike | None) -> Iterator[Floats]:
    """Each row from its last step to its first; NaN where it has no more steps."""
    for row, length in zip(norms, _lengths(norms, lengths), strict=True):
        steps = np.trim_zeros(row, "b")[::-1][:length]
        yield np.concatenate([steps, np.full(len(row) - len(steps), np.nan)])


def _lengths(norms: Floats, lengths: ArrayLike | None) -> NDArray[Any]:
    """Return how many steps each row has, at most: T where it is not known."""
    if lengths is None or np.shape(lengths) != (len(norms),):
        return np.full(len(norms), norms.shape[1])
    return np.asarray(lengths)


def _draw(axes: "Axes", name: str, curve: _Curve, i: int) -> None:
    """Draw a curve, and a band where it is of several rows."""
    distance = np.arange(len(curve.middle))[curve.there]
    middle, low, high = (values[curve.there] for values in curve[:3])
    axes.plot(distance, middle, **styled(i, np.ones(len(distance), bool)), label=name or None)
    if curve.rows > 1:
        floor = np.where(low >= curve.tiny, low, middle.min())  # there is no 0 on the axis
        axes.fill_between(distance, floor, high, color=look(i).color, alpha=0.18, linewidth=0)
