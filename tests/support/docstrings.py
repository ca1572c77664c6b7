"""Program that lists what is missing in the docstrings of public names, by numpydoc's sections."""

import importlib
import inspect
import itertools
import re
from typing import get_args, get_type_hints, is_typeddict

#: The modules whose `__all__` is public.
PUBLIC = (
    "crnn",
    "crnn.callbacks",
    "crnn.data",
    "crnn.diagnostics",
    "crnn.losses",
    "crnn.metrics",
    "crnn.models",
    "crnn.optim",
    "crnn.plotting",
    "crnn.reference",
    "crnn.training",
)

#: The sections, in their order.
SECTIONS = (
    "Parameters",
    "Attributes",
    "Methods",
    "Returns",
    "Yields",
    "Raises",
    "Warns",
    "See Also",
    "Notes",
    "Examples",
)


def public():
    """Return the public classes and functions by their full names."""
    found, seen = {}, set()
    for name in PUBLIC:
        module = importlib.import_module(name)
        for one in module.__all__:
            value = getattr(module, one)
            if callable(value) and id(value) not in seen:
                seen.add(id(value))
                found[f"{name}.{one}"] = value
    return found


def methods(value):
    """Return the public methods and properties that the class itself defines, by name."""
    return {
        name: member
        for name, member in vars(value).items()
        if not name.startswith("_")
        and isinstance(member, property | classmethod | staticmethod | type(methods))
    }


def sections(docstring):
    """Return the text of each section; the key "" has the text before the first one."""
    lines, found, current = inspect.cleandoc(docstring or "").splitlines(), {"": []}, ""
    for line, below in itertools.zip_longest(lines, lines[1:], fillvalue=""):
        if line and re.fullmatch("-+", below) and len(below) == len(line):
            current = line
            found[current] = []
        elif not (re.fullmatch("-+", line) and not found[current] and current):
            found[current].append(line)
    return {name: "\n".join(text) for name, text in found.items()}


def named(text):
    """Return the parameters that a section documents."""
    names = []
    for line in text.splitlines():
        if line and not line.startswith((" ", ".")):
            names += [one.strip().lstrip("*") for one in line.split(" : ")[0].split(",")]
    return names


def parameters(value):
    """Return the parameters of a class or function, without self; **options as their names."""
    names = []
    for name, one in inspect.signature(value).parameters.items():
        options = options_of(value) if one.kind is one.VAR_KEYWORD else None
        names += [name] if options is None else options.__annotations__
    return [name for name in names if name != "self"]


def options_of(value):
    """The TypedDict of **options, or None."""
    plain = (
        inspect.isfunction(value) or inspect.isbuiltin(value) or inspect.ismethoddescriptor(value)
    )
    function = (
        value if plain else value.__init__ if inspect.isclass(value) else type(value).__call__
    )
    unpacked = [get_args(hint)[0] for hint in get_type_hints(function).values() if get_args(hint)]
    return next((one for one in unpacked if is_typeddict(one)), None)


def missing(name, value):
    """Return the faults of a docstring as sentences."""
    own = value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__
    text = own or ""
    if not text.strip():
        return [f"{name}: no docstring"]
    parts, order = sections(text), [part for part in sections(text) if part]
    wrong = []
    unknown = [part for part in order if part not in SECTIONS]
    if unknown:
        wrong.append(f"{name}: unknown sections {unknown}")
    elif order != sorted(order, key=SECTIONS.index):
        wrong.append(f"{name}: sections out of order: {order}")
    if ">>> " not in parts.get("Examples", ""):
        wrong.append(f"{name}: no example")
    if "+SKIP" in text:
        wrong.append(f"{name}: an example that is skipped")
    return wrong + undocumented(name, value, parts)


def undocumented(name, value, parts):
    """Return parameters without documentation, and documented parameters that do not exist."""
    try:
        taken = parameters(value)
    except (TypeError, ValueError):
        return []
    documented = named(parts.get("Parameters", ""))
    wrong = [f"{name}: parameter {one} is not documented" for one in taken if one not in documented]
    return wrong + [
        f"{name}: there is no parameter {one}" for one in documented if one not in taken
    ]


def main():
    """Print what is missing, for names that begin with the argument."""
    import sys

    start = sys.argv[1] if len(sys.argv) > 1 else ""
    for name, value in public().items():
        where = getattr(value, "__module__", "")
        if name.startswith(start) or where.startswith(start):
            print(*missing(name, value), sep="\n")


if __name__ == "__main__":
    main()
