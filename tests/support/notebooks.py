"""Helpers to test notebooks: read a solutions file, and run cells in a kernel."""

import contextlib
import os
import re

from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from support.folders import TESTS

# Code that runs before the first cell of a notebook. Warnings are errors, but not the warnings that
# other packages raise about Python or about each other.
BEFORE = f"""
import sys as _sys, warnings as _warnings

_warnings.simplefilter("error")
for _kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
    _warnings.filterwarnings("ignore", category=_kind)
    _warnings.filterwarnings("error", category=_kind, module=r"(__main__|crnn|course)\\b")

_sys.path.append({str(TESTS)!r})
from support import figures as _figures
_sys.path.pop()
_figures.watch()
"""


def percent_cells(text):
    """Return the cells of a percent script: (text after ``# %%``, source)."""
    parts = re.split(r"^# %%(.*)$", text, flags=re.MULTILINE)
    heads, bodies = parts[1::2], parts[2::2]
    return [(head.strip(), body.strip("\n")) for head, body in zip(heads, bodies, strict=True)]


def answers(text):
    """Return the answers of a file: {1: (right, {"forgets the bias": wrong, ...}), ...}."""
    right, wrong = {}, {}
    for head, source in percent_cells(text):
        match = re.fullmatch(r"exercise-(\d+)(?: wrong: (.+))?", head)
        assert match, f"not the head of an answer: {head!r}"
        number, mistake = int(match[1]), match[2]
        table, key = (wrong.setdefault(number, {}), mistake) if mistake else (right, number)
        assert key not in table, f"twice: {head!r}"
        table[key] = source
    assert wrong.keys() <= right.keys(), "wrong answers without a right one"
    return {number: (source, wrong.get(number, {})) for number, source in right.items()}


def exercise_of(cell):
    """Return the number of the exercise that a cell answers, or None."""
    for tag in cell.metadata.get("tags", []):
        if match := re.fullmatch(r"exercise-(\d+)", tag):
            return int(match[1])
    return None


def printed(outputs, name="stdout"):
    """Return the text that outputs contain for a stream."""
    return "".join(o["text"] for o in outputs if o["output_type"] == "stream" and o["name"] == name)


class Kernel:
    """Kernel of a notebook, which runs cells in one process."""

    def __init__(self, client):
        self._client = client

    def run(self, source):
        """Run a cell and return its output; raise if it raises or warns."""
        cell = new_code_cell(source)
        self._client.execute_cell(cell, 0)
        assert not printed(cell.outputs, "stderr"), f"on standard error, by\n{source}"
        return printed(cell.outputs)

    def unlabelled(self):
        """Return the axes without labels in the figures drawn so far."""
        return self.run("print(*_figures.unlabelled, sep='\\n')").strip()


@contextlib.contextmanager
def kernel_in(folder, settings, timeout=120):
    """Yield a new kernel in a folder, with these environment variables."""
    client = NotebookClient(
        new_notebook(cells=[new_code_cell("")]),
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    with client.setup_kernel(env=environment | settings):
        kernel = Kernel(client)
        kernel.run(BEFORE)
        yield kernel


def run_exercise(kernel, number, original, right, wrong):
    """Check the output for the original cell (unanswered), each wrong answer, and the right one."""
    output = kernel.run(original)
    assert f"Exercise {number}: not answered yet." in output, f"reported as answered: {output}"
    for mistake, source in wrong.items():
        output = kernel.run(source)
        assert f"Exercise {number} is not right yet" in output, f"{mistake}: {output}"
        assert "raised NameError" not in output, f"{mistake}: {output}"
    output = kernel.run(right)
    assert f"Exercise {number} is right" in output, output


def run_notebook(kernel, cells, solutions):
    """Run the code of a notebook from top to bottom, each exercise with all its answers."""
    for cell in cells:
        number = exercise_of(cell)
        if cell.cell_type == "code" and number is None:
            kernel.run(cell.source)
        elif cell.cell_type == "code":
            run_exercise(kernel, number, cell.source, *solutions[number])
