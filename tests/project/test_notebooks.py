"""The course: each notebook runs in its small size, and its exercises check answers correctly."""

import base64
import re
import struct

import numpy as np
import pytest

from support.folders import ROOT

FOLDER = ROOT / "notebooks"

if not FOLDER.exists():
    pytest.skip("without the source tree, there are no notebooks", allow_module_level=True)

nbformat = pytest.importorskip("nbformat", reason="needed to read notebooks")
for needed in ("nbclient", "ipykernel", "matplotlib", "matplotlib_inline"):
    pytest.importorskip(needed, reason="needed to run notebooks")

from support.notebooks import answers, exercise_of, kernel_in, percent_cells, printed, run_notebook  # noqa: E402

WIDEST = 800  # pixels of a picture that a column of a notebook shows at full size

PATHS = sorted(FOLDER.glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def solutions_of(path):
    return answers((path.parent / "solutions" / f"{path.stem}.py").read_text("utf-8"))


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def kernel(tmp_path):
    """A kernel in the folder of the notebooks, with the settings of the small size."""
    settings = {"CRNN_NOTEBOOKS": "small", "IPYTHONDIR": str(tmp_path)}
    with kernel_in(FOLDER, settings) as kernel:
        yield kernel


# ------------------------------------------------------------------------------------ the notebooks


@pytest.mark.slow
@every_notebook
def test_a_notebook_runs_and_its_exercises_check_answers(path, kernel):
    run_notebook(kernel, read(path).cells, solutions_of(path))
    assert not kernel.unlabelled()


@every_notebook
def test_a_notebook_has_three_exercises_with_right_and_wrong_answers(path):
    numbers = [exercise_of(cell) for cell in code_of(read(path))]
    assert [number for number in numbers if number] == [1, 2, 3]
    solutions = solutions_of(path)
    assert list(solutions) == [1, 2, 3]
    assert all(wrong for _, wrong in solutions.values())


@every_notebook
def test_a_notebook_is_stored_after_one_run_from_top_to_bottom(path):
    cells = code_of(read(path))
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    for cell in cells:
        assert all(output.output_type != "error" for output in cell.outputs)
        assert not printed(cell.outputs, "stderr")
        number = exercise_of(cell)
        assert number is None or "not answered yet" in printed(cell.outputs)
        assert not re.search(r" at 0x[0-9a-f]{6}", str(cell.outputs)), "a memory address"


@every_notebook
def test_all_notebooks_have_one_form(path):
    notebook = read(path)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert notebook.cells[0].source.startswith(f"# {int(path.stem[:2])}. ")
    for part in ("You will learn", "## Exercises", "## Read on"):
        assert part in text
    assert not re.search(r"^\s*[%!]", "\n".join(cell.source for cell in code_of(notebook)), re.M)


@every_notebook
def test_pictures_fit_into_a_column(path):
    outputs = [output for cell in code_of(read(path)) for output in cell.outputs]
    pictures = [
        output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})
    ]
    assert pictures
    for picture in pictures:
        width, _ = struct.unpack(
            ">II", base64.b64decode(picture)[16:24]
        )  # from the first chunk of a PNG file
        assert width <= WIDEST


def test_every_solution_has_a_notebook():
    names = {path.stem for path in (FOLDER / "solutions").glob("*.py")}
    assert names == {path.stem for path in PATHS}


# ----------------------------------------------------------------------------- tests of these tests


def cells_of(text):
    """Return the code cells of a percent script; ``exercise-N`` is a tag."""
    make = nbformat.v4.new_code_cell
    return [make(s, metadata={"tags": [h]} if h else {}) for h, s in percent_cells(text)]


EXERCISE = """
# %%
from course import Wrong, answer_of, exercise

@exercise(1)
def check(answer):
    if answer_of(answer) != 4:
        raise Wrong("count again")
    return "two and two"

# %% exercise-1
def answer(): ...
check(answer)
"""
ANSWERS = """
# %% exercise-1
def answer(): return 4
check(answer)

# %% exercise-1 wrong: one too many
def answer(): return 5
check(answer)
"""


@pytest.mark.slow
def test_exercises_are_run_with_all_answers(kernel):
    cells, right = cells_of(EXERCISE), answers(ANSWERS)
    run_notebook(kernel, cells, right)
    assert kernel.run("print(answer())") == "4\n"
    for old, new, seen in [
        ("5", "4", "one too many"),
        ("4", "3", "count again"),
        ("5", "five", "NameError"),
    ]:
        with pytest.raises(AssertionError, match=seen):
            run_notebook(kernel, cells, answers(ANSWERS.replace(old, new)))
    with pytest.raises(AssertionError, match="reported as answered"):
        run_notebook(kernel, cells_of(EXERCISE.replace("...", "return 4")), right)


@pytest.mark.slow
def test_a_kernel_raises_on_warnings_and_errors(kernel):
    from nbclient.exceptions import CellExecutionError

    assert kernel.run("import os; print(os.environ['CRNN_NOTEBOOKS'], os.getcwd())").split() == [
        "small",
        str(FOLDER),
    ]
    for source in (
        "1 / 0",
        "import warnings\nwarnings.warn('so')",
        "import warnings\nwarnings.warn('so', DeprecationWarning)",
        "import numpy as np\nnp.log(np.zeros(1))",
    ):
        with pytest.raises(CellExecutionError):
            kernel.run(source)
    with pytest.raises(AssertionError, match="standard error"):
        kernel.run("import sys\nprint('so', file=sys.stderr)")


FIGURES = {
    "ax.plot([1, 2])": "the x axis",
    "ax.plot([1, 2]); ax.set_xlabel('t')": "the y axis",
    "ax.plot([1, 2]); ax.set_xlabel('t'); ax.set_ylabel('h')": "",
    "ax.imshow([[1, 2]]); ax.set_axis_off()": "",
    "ax.set_axis_off(); fig.colorbar(ax.imshow([[1, 2]]))": "a scale of colours",
    "ax.set_axis_off(); fig.colorbar(ax.imshow([[1, 2]]), label='c')": "",
    "ax.bar(['i', 'f'], [1, 2]); ax.set_ylabel('share')": "",
    "ax.plot([1, 2]); ax.set_xticks([0, 1], ['i', 'tanh(c)']); ax.set_ylabel('share')": "",
    "ax.plot([1, 2]); ax.set_xticks([0, 1], [1, 2]); ax.set_ylabel('share')": "the x axis",
    "ax.loglog([1, 99], [1, 99]); ax.set_xlabel('n')": "the y axis",
    "ax.set(xlabel='t', ylabel='h'); ax.twinx().plot([1, 2])": "the y axis",
    "fig.clf(); a = fig.subplots(2, 2); a[1, 0].set(xlabel='t', ylabel='h')": "x axis\ny axis",
    "fig.clf(); fig.subplots(2, 2); fig.supxlabel('t'); fig.supylabel('h')": "",
    "fig.clf(); a = fig.subplots(2); a[1].set(xlabel='t'); a[0].set_ylabel('h')": "y axis",
    "fig.clf(); a = fig.subplots(2); [b.set_ylabel('h') for b in a]; a[1].set_xlabel('t')": "",
}


@pytest.mark.slow
@pytest.mark.parametrize("show", ["", "plt.show()"], ids=["left open", "shown"])
def test_axes_without_labels_are_reported(kernel, show):
    kernel.run("from matplotlib import pyplot as plt")
    for source, wanted in FIGURES.items():
        kernel.run(f"_figures.unlabelled.clear(); fig, ax = plt.subplots()\n{source}\n{show}")
        unlabelled = kernel.unlabelled()
        assert bool(unlabelled) == bool(wanted), source
        assert all(part in unlabelled for part in wanted.split("\n")), source


def test_contents_of_a_solutions_file():
    right, wrong = (f"def answer(): return {n}\ncheck(answer)" for n in (4, 5))
    assert answers('"""A docstring."""\n' + ANSWERS) == {1: (right, {"one too many": wrong})}
    for text, what in {
        ANSWERS + ANSWERS: "twice",
        ANSWERS.replace("exercise-1\n", "exercise 1\n"): "not the head",
        ANSWERS.replace("exercise-1 wrong", "exercise-2 wrong"): "without a right one",
    }.items():
        with pytest.raises(AssertionError, match=what):
            answers(text)


# ----------------------------------------------------------------------------- the package `course`


@pytest.fixture
def course(monkeypatch):
    """The package that all notebooks import."""
    monkeypatch.syspath_prepend(FOLDER)
    return pytest.importorskip("course")


@pytest.fixture
def judged(course, capsys):
    """Return a function that returns the output of a check of squares for an answer."""

    @course.exercise(2)
    def check(square, *others):
        """Check a square."""
        x = np.array([1.0, -2.0])
        course.check_close("square(x)", course.answer_of(square, x), x**2)
        return "squares"

    def judge(*answers):
        assert check(*answers) is None
        return capsys.readouterr().out

    assert (check.__name__, check.__doc__) == ("check", "Check a square.")
    return judge


def test_a_right_answer(judged):
    assert judged(lambda x: x * x) == "Exercise 2 is right: squares\n"
    assert judged(lambda x: [1, 4]) == "Exercise 2 is right: squares\n"


@pytest.mark.parametrize("nothing", [None, ...], ids=str)
def test_no_answer(judged, nothing):
    for arguments in [(nothing,), (lambda x: nothing,), (lambda x: x**2, nothing)]:
        assert judged(*arguments) == "Exercise 2: not answered yet.\n"


@pytest.mark.parametrize(
    ("wrong", "message"),
    {
        lambda x: -x * x: "the largest difference from the expected numbers is 8",
        lambda x: x * np.nan: "the largest difference from the expected numbers is nan",
        lambda x: x[:1]: "expected shape (2,), got shape (1,)",
        lambda x: (x**2)[None]: "expected shape (2,), got shape (1, 2)",
        lambda x: ["1", "4"]: "expected numbers, got <U1",
        lambda x: x**2 + 1e-7: "the largest difference from the expected numbers is 1e-07",
        lambda x: x + "a": "your code raised ",
        lambda x, y: x: "missing 1 required positional argument",
        lambda x: {}[3]: "your code raised KeyError: 3",
        lambda x: [x, x[:1]]: "expected one array of numbers, got a list of 2 parts",
        lambda x: {1: 4}: "expected one array of numbers, got a dict",
        4: "expected a function, got 4",
    }.items(),
)
def test_a_wrong_answer(judged, wrong, message):
    text = judged(wrong)
    assert text.startswith("Exercise 2 is not right yet: ")
    assert message in text


def test_an_error_of_the_check_is_not_reported_as_a_wrong_answer(course, capsys):
    @course.exercise(3)
    def check(function):
        return str(len(course.answer_of(function, 1)))

    check(lambda x: x)
    output = capsys.readouterr().out
    assert output.startswith("Exercise 3 is not right yet: your answer does not have the form")
    assert "TypeError" in output
    assert "your code raised" not in output

    @course.exercise(3)
    def hands_in(function):
        def helper():
            raise course.Wrong("a wrong call")

        return course.answer_of(function, helper)

    hands_in(lambda helper: helper())
    assert capsys.readouterr().out == "Exercise 3 is not right yet: a wrong call\n"


def test_an_answer_of_one_number(course):
    for answer in (2, 2.0, np.float32(2), np.array(2), True):
        assert course.number_of("n", answer) == float(answer)
    for answer, message in [
        ([2.0], "one number, got an array of shape (1,)"),
        (np.zeros(1), "shape (1,)"),
        ("2", "a number, got <U1"),
        (1j, "a number, got complex128"),
        ({}, "got a dict"),
        ([1, [2]], "got a list of 2 parts"),
    ]:
        with pytest.raises(course.Wrong, match=re.escape(message)):
            course.number_of("n", answer)


def test_close_to_none_and_to_zero(course):
    course.check_close("a", [], [])
    course.check_close("a", 0, 0.0)
    course.check_close("a", True, 1)
    course.check_close("a", 1001, 1000, tolerance=1e-3)
    for answer, expected in [(1e-8, 0), (np.inf, 1), ([1, np.nan], [1, 2]), (1002, 1000)]:
        with pytest.raises(course.Wrong):
            course.check_close("a", answer, expected, tolerance=1e-3 if expected else 1e-9)


@pytest.mark.parametrize(("value", "wanted"), [("small", 1), ("full", 9), (None, 9)])
def test_sizes(course, monkeypatch, value, wanted):
    if value is None:
        monkeypatch.delenv("CRNN_NOTEBOOKS", raising=False)
    else:
        monkeypatch.setenv("CRNN_NOTEBOOKS", value)
    assert course.size(9, 1) == wanted
