"""The documents: their code runs, their links and names exist, and every core file is listed."""

import contextlib
import inspect
import io
import re

import numpy as np
import pytest

import crnn
from support.folders import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "csrc" / "README.md"])

#: Not public names: the cell that CONTRIBUTING.md adds, a header, a mistake.
NO_NAMES = (".UGRNN", ".h", ".pc", ".pc.in", ".Linear")

if not DOCUMENTS:
    pytest.skip("the documents are not here, only an installed package", allow_module_level=True)


def run_blocks(document, least=3):
    """Run the code of a document; return its blocks and the lines that they print."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= least
    namespace, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in blocks:
            exec(block, namespace)
    return blocks, printed.getvalue().splitlines()


def test_the_code_of_sequences_runs():
    _, lines = run_blocks("docs/sequences.md")
    assert lines[:2] == ["(32, 24) (2, 16, 8)", "True"]
    assert "total" in lines[-1]


def test_the_code_of_layers_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks, lines = run_blocks("docs/layers.md")
    assert [line for line in lines if line in ("True", "False")] == ["True"] * 6
    code = [line for line in blocks[0].splitlines() if line.strip()]
    assert len(code) - code.index("class Smooth(crnn.Temporal):") <= 30


def test_the_code_of_translate_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    _, lines = run_blocks("docs/translate.md")
    assert lines == ["['71', '4']"]
    assert {path.name for path in tmp_path.iterdir()} == {"alignment.png", "digits"}


def test_the_code_of_seq2seq_runs():
    _, lines = run_blocks("docs/seq2seq.md")
    assert [line.split()[0] for line in lines] == ["without", "Dense(32,", "squared"]


def test_the_code_of_forecasting_prints_its_comments(tmp_path, monkeypatch):
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    blocks, lines = run_blocks("docs/forecasting.md")
    assert printed_as_promised(blocks, lines) == 12
    assert {path.name for path in tmp_path.iterdir()} == {"forecast.png", "sales.csv", "shops"}


def printed_as_promised(blocks, lines):
    """Return whether the comments behind calls of print are the lines that were printed."""
    promised = re.findall(r"^print\(.*\)  # (.+?)(?::.*)?$", "\n".join(blocks), re.MULTILINE)
    assert lines == promised
    return len(lines)


def test_the_code_of_reservoirs_prints_its_comments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks, lines = run_blocks("docs/reservoirs.md")
    assert printed_as_promised(blocks, lines) >= 20


def test_the_code_of_convolutions_prints_its_comments():
    blocks, lines = run_blocks("docs/convolution.md")
    assert printed_as_promised(blocks, lines) == 9


def test_the_code_of_attention_prints_its_comments():
    blocks, lines = run_blocks("docs/attention.md")
    assert printed_as_promised(blocks, lines) == 17


def test_the_code_of_labels_prints_its_comments(tmp_path, monkeypatch):
    pytest.importorskip("mido")
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    blocks, lines = run_blocks("docs/labels.md")
    assert printed_as_promised(blocks, lines) == 6


@pytest.mark.filterwarnings("ignore")
def test_the_table_of_reservoirs_names_reservoirpy_correctly():
    nodes = pytest.importorskip("reservoirpy.nodes", reason="the page compares with reservoirpy")
    text = (ROOT / "docs" / "reservoirs.md").read_text("utf-8")
    (block,) = re.findall(r"```py\n(.*?)```", text, re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(block, {"np": np, "crnn": crnn})
    assert printed_as_promised([block], printed.getvalue().splitlines()) == 2
    defaults = inspect.signature(nodes.Reservoir).parameters
    found = [defaults[name].default for name in ("lr", "sr", "rc_connectivity", "bias", "dtype")]
    assert found == [1.0, 1.0, 0.1, 0.0, np.float64]
    assert inspect.signature(nodes.Ridge).parameters["ridge"].default == 0.0


def test_the_code_of_diagnostics_runs(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    _, lines = run_blocks("docs/diagnostics.md")
    assert lines[0] == "(8, 100)"
    assert "True" in lines
    assert lines[-3:-1] == ["12 19", "0"]
    text = (ROOT / "docs" / "diagnostics.md").read_text("utf-8")
    begin, end = re.search(r"It prints `(.*?) … (.*?)`", text).groups()
    assert re.fullmatch(rf"{re.escape(begin)} \d+ {re.escape(end)}", lines[-1])
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == set(re.findall(r"\]\(images/(.*?)\)", text))


def test_the_code_of_the_readme_prints_its_comments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks, lines = run_blocks("README.md")
    promised = re.findall(r"^print\(.*\)  # (\w+)$", "\n".join(blocks), re.MULTILINE)
    assert promised == lines[: len(promised)] == ["True", "True"]
    assert lines[2].startswith("gradcheck ok")
    assert lines[-1] == "[5 1 4 1 3]"


def test_the_code_of_coming_from_runs():
    _, lines = run_blocks("docs/coming-from.md", least=1)
    assert lines == ["True"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_in_documents_exist(document):
    text = document.read_text("utf-8")
    for name in set(re.findall(r"(?<![\w/\"'.-])crnn((?:\.[A-Za-z_]\w*)+)", text)):
        value = crnn
        for part in name[1:].split("."):
            value = getattr(value, part, None)
        assert value is not None or name in NO_NAMES, f"{document.name}: crnn{name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_point_to_files(document):
    text = document.read_text("utf-8")
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_file_of_the_core_has_a_line():
    text = (ROOT / "csrc" / "README.md").read_text("utf-8")
    cells = "\n".join(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE))
    named = set(re.findall(r"`([\w/.]+)`", cells))
    core = {
        str(path.relative_to(ROOT / "csrc" / "core"))
        for path in (ROOT / "csrc" / "core").rglob("*")
        if path.suffix in (".c", ".h", ".inc", ".def")
    }
    folder = ROOT / "csrc" / "binding"
    binding = {path.name for path in folder.iterdir() if path.suffix in (".c", ".h", ".def")}
    assert named >= core | binding, f"without a line: {(core | binding) - named}"
    assert named <= core | binding, f"files that do not exist: {named - core - binding}"


def rows_of_contributing(section):
    """Return file -> names in backticks of the table of a section of CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    table = re.search(rf"^## {section}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[0]
    rows = re.findall(r"^\| `(csrc/.*?)` \| (.*) \|$", table, re.MULTILINE)
    return {file: re.findall(r"`(\w+)`", what) for file, what in rows}


def files_with(pattern, *folders):
    """Return the files of the C code in which a pattern occurs."""
    paths = (path for folder in folders for path in (ROOT / "csrc" / folder).rglob("*.*"))
    return {
        str(path.relative_to(ROOT))
        for path in paths
        if path.suffix in (".c", ".h", ".inc") and re.search(pattern, path.read_text("utf-8"))
    }


@pytest.mark.parametrize("section", ["Adding an operation", "Adding a kind of matrix"])
def test_names_in_the_steps_of_contributing_exist(section):
    rows = rows_of_contributing(section)
    assert len(rows) >= 7
    for file, names in rows.items():
        code = "" if "NAME" in file else (ROOT / file).read_text("utf-8")
        missing = [name for name in names if "NAME" not in name and name not in code]
        assert "NAME" in file or not missing, f"{file}: {missing}"


def test_contributing_lists_every_file_that_knows_an_operation():
    operation = (
        r"\b(CRNN_OP_|core_op_)(RECURRENT|SUM|ATTEND|ROWWISE|POOL|STATE|CHOOSE|CONV|HEADS|CROSS)\b"
    )
    known = files_with(f"(?i:{operation})", "core", "binding")
    known -= {"csrc/binding/plan_generate.c"}  # adds a choice to the plan of a stream
    listed = rows_of_contributing("Adding an operation").keys()
    own = {name for name in known if re.fullmatch(r"csrc/core/op_\w+\.c", name)}
    assert len(own) == 9
    assert known - own <= listed


def test_contributing_lists_every_file_that_knows_all_kinds_of_matrix():
    known = files_with(r"\b(CORE_MATRIX_KINDS|core_matrix_kind)\b", "core", "tests")
    known -= {"csrc/core/ops.c"}  # passes a kind on
    assert known <= rows_of_contributing("Adding a kind of matrix").keys()


def test_make_targets_in_the_documents_exist():
    text = "\n".join(document.read_text("utf-8") for document in DOCUMENTS)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in set(re.findall(r"`?make ([a-z]+)\b(?!`? (?:it|of|a|the))", text)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
