"""Files and functions of C stay short enough to be read at once."""

import pytest

from support.folders import ROOT

CODE = sorted(
    path for path in (ROOT / "csrc").rglob("*") if path.suffix in {".c", ".h", ".inc", ".def"}
)
MOST_LINES, MOST_OF_A_FUNCTION = 600, 60


def functions(text):
    """Yield (first line, lines) of each function: they begin and end in column 0."""
    first, head = None, ""
    for number, line in enumerate(text.splitlines(), 1):
        if first is None and line[:1].isalpha():
            first, head = number, ""
        if first is not None:
            head += line
            if line.startswith("}"):
                body = head[: head.index("{")]
                if "(" in body and "=" not in body:
                    yield first, number - first + 1
                first = None
            elif line.endswith(";") and "{" not in head:
                first = None


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(ROOT / "csrc").as_posix())
def test_sizes(path):
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    long = [entry for entry in functions(text) if entry[1] > MOST_OF_A_FUNCTION]
    assert long == []


def test_functions_are_found():
    text = (ROOT / "csrc" / "core" / "plan.c").read_text("utf-8")
    found = dict(functions(text))
    place = text.splitlines().index("void crnn_plan_run(const crnn_plan *given) {") + 1
    assert found[place] > 5
    assert dict(functions("int f(int a,\n      int b) {\n" + "    a++;\n" * 60 + "}\n")) == {1: 63}
