"""The parts of a `repr` of a data class: one short line that needs no data."""

from collections.abc import Iterable


def counted(count: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun: "1 line", "2 lines"."""
    return f"{count} {singular if count == 1 else plural or singular + 's'}"


def with_names(names: Iterable[str]) -> str:
    """Return the end of a `repr` that names optional arrays, "" without any."""
    *first, last = [*names] or [""]
    together = f"{', '.join(first)} and {last}" if first else last
    return f", with {together}" if together else ""
