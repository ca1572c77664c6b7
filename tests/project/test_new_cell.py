"""The steps of CONTRIBUTING.md that add a cell, applied to a copy of the source tree."""

import ast
import re
import shutil
import struct
import sys
import sysconfig
from dataclasses import dataclass

import numpy as np
import pytest

from support.folders import ROOT
from support.trees import SCALAR, copy_tree, run

pytestmark = pytest.mark.slow

# A number, the file, the place in it, an explanation, and code that is indented like its fence.
STEP = re.compile(
    r"^\d+\. \*\*`(?P<path>[^`]+)`\*\*, (?P<place>at the end|a new file|after|before|in place of)"
    r"(?: `(?P<anchor>[^`]+)`)?.*?^(?P<indent> *)```\w*\n(?P<code>.*?)^ *```",
    re.MULTILINE | re.DOTALL,
)


# Tests with tables that contain a new cell.
MODULES = (
    "layers/recurrent/test_cells",
    "layers/recurrent/test_options",
    "layers/recurrent/test_signatures",
    "layers/test_gradients",
    "reference/test_reference",
    "common/test_choices",
    "common/test_errors",
)


@dataclass(frozen=True)
class Step:
    """Code for one file, and its place: next to a line, the anchor, if one is named."""

    path: str
    place: str
    anchor: str | None
    code: list[str]

    def apply(self, tree):
        file = tree / self.path
        assert file.exists() == (self.place != "a new file"), self.path
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        begin = end = len(lines)
        if self.anchor:
            (at,) = (i for i, line in enumerate(lines) if line.strip() == self.anchor)
            begin, end = at + (self.place == "after"), at + (self.place != "before")
        lines[begin:end] = self.code
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def steps():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("\n## Adding a cell\n")[2].partition("\n## ")[0]
    found = list(STEP.finditer(section))
    assert len(found) == len(re.findall(r"^\d+\. ", section, re.MULTILINE)) > 8
    for match in found:
        code = [line.removeprefix(match["indent"]) for line in match["code"].splitlines()]
        yield Step(match["path"], match["place"], match["anchor"], code)


def tree_with_cell(to):
    tree = copy_tree(to)
    for step in steps():
        step.apply(tree)
    return tree


def options_of(tree, layer):
    return set(run(tree, "-c", f"import crnn; print(*crnn.{layer}(2, 3).options)").split())


def test_the_steps_add_a_cell(tmp_path):
    """One test for everything that needs the build, because the build takes most of the time."""
    tree = tree_with_cell(tmp_path)
    run(tree, "setup.py", "--quiet", "build_ext", "--inplace", **SCALAR)
    found = run(tree, "-c", "import crnn; print(crnn.__file__, crnn.UGRNN(2, 3).gate_order)")
    assert found == f"{tree / 'crnn' / '__init__.py'} ('z', 'n')\n"
    assert options_of(tree, "UGRNN") == options_of(tree, "GRU") - {"reset"}
    check_symbols(tree)
    modules = [f"tests/{name}.py" for name in MODULES]
    choice = ("-p", "no:cacheprovider", "-k", "ugrnn or tables or UGRNN")
    passed = re.search(r"(\d+) passed", run(tree, "-m", "pytest", "-q", *choice, *modules))
    assert int(passed[1]) > 100


def code_of(path):
    """Return the text of a file without comments and docstrings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix not in (".py", ".pyi"):
        return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(getattr(node, "body", None), list):
            node.body = [part for part in node.body if not is_string(part)]
    return ast.unparse(tree)


def is_string(statement):
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def files(folder, *suffixes):
    paths = (ROOT / folder).rglob("*")
    return {path.relative_to(ROOT) for path in paths if path.suffix in suffixes}


def test_the_steps_name_every_place_that_knows_a_cell():
    """A JANET is in the code of these files and of no others."""
    code = files("csrc/core", ".c", ".h", ".inc", ".def") | files(
        "csrc/binding", ".c", ".h", ".def"
    )
    named = {step.path.replace("ugrnn", "janet") for step in steps()}
    found = {
        str(path)
        for path in code | files("crnn", ".py", ".pyi")
        if re.search(r"janet", code_of(ROOT / path), re.IGNORECASE)
    }
    assert found == {path for path in named if path.startswith(("csrc/", "crnn/"))}


def test_no_code_in_c_asks_which_cell_a_layer_has():
    cells = (ROOT / "csrc" / "core" / "cells.def").read_text(encoding="utf-8")
    names = "|".join(re.findall(r"^CRNN_CELL\((\w+)", cells, re.MULTILINE))
    for path in files("csrc/core", ".c", ".h", ".inc") | files("csrc/binding", ".c", ".h"):
        found = set(re.findall(rf"\bCRNN_(?:{names})\b", code_of(ROOT / path)))
        assert not found or path.name == "layer.h", f"{path}: {found}"


@pytest.mark.skipif(shutil.which("cc") is None, reason="calls the compiler by itself")
def test_a_cell_of_no_type_does_not_compile(tmp_path):
    """Such a cell was once treated as an LSTM."""
    tree = tree_with_cell(tmp_path)
    includes = [f"-I{path}" for path in (np.get_include(), sysconfig.get_path("include"))]
    command = ["cc", "-fsyntax-only", "-std=c11", *includes, "csrc/binding/options.c"]
    program = f"import subprocess, sys; sys.exit(subprocess.call({command}))"
    run(tree, "-c", program)
    types = tree / "csrc" / "binding" / "types.def"
    types.write_text(types.read_text(encoding="utf-8").replace("CRNN_TYPE(UGRNN", "// "))
    assert "TYPE_UGRNN" in run(tree, "-c", program, fine=False)


def sections(path):
    """Return the names of the sections of a 64-bit ELF file."""
    data = path.read_bytes()
    offset, size, count, names = struct.unpack_from("=Q10xHHH", data, 0x28)
    (strings,) = struct.unpack_from("=Q", data, offset + names * size + 0x18)
    for i in range(count):
        (name,) = struct.unpack_from("=I", data, offset + i * size)
        yield data[strings + name : data.index(b"\0", strings + name)].decode()


def check_symbols(tree):
    """Assert that a release build has no debugging symbols."""
    if sys.platform.startswith("linux"):
        (extension,) = (tree / "crnn").glob("_core*.so")
        found = list(sections(extension))
        assert ".text" in found
        assert not [name for name in found if name.startswith(".debug")]
