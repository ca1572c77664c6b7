"""Benchmarks, without measuring time: the page of the results, and the check of ratios."""

import forecasting_speed
import paths
import pytest
import reservoirs
import sections
import seq2seq
from measuring import between_marks, update, write_page

PART = "<!-- seq2seq -->\n| 1 |\n<!-- end of seq2seq -->\n"


@pytest.fixture
def page(tmp_path):
    return tmp_path / "benchmark.md"


def test_a_page_that_is_written_again_keeps_the_other_part(page):
    write_page(page, "# old\n")
    assert page.read_text("utf-8") == "# old\n"
    update(page, "seq2seq", "| 1 |")
    assert page.read_text("utf-8") == "# old\n\n" + PART
    for _ in range(2):  # the second time must not add anything
        write_page(page, "# new\n")
        assert page.read_text("utf-8") == "# new\n\n" + PART


def test_a_page_that_is_written_again_keeps_all_parts(page):
    for name in ("seq2seq", "reservoirs"):
        update(page, name, "| 1 |")
    write_page(page, "# new\n")
    assert page.read_text("utf-8") == f"# new\n\n{PART}\n{PART.replace('seq2seq', 'reservoirs')}"


def test_the_tasks_of_a_section_are_those_that_it_measures():
    for script in (forecasting_speed, reservoirs, seq2seq):
        assert script.SECTION.script == script.__file__
        assert script.SECTION.tasks == tuple(script.TASKS)


def test_a_section_is_written_with_its_rows(monkeypatch, tmp_path, capsys):
    lines = iter([{"crnn": "1", "reservoirpy": "2"}, [1, "states", 0.5, 5.0, 10.0, True]])
    monkeypatch.setattr(sections, "from_worker", lambda script, cores: lines)
    monkeypatch.setattr(sections.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr("sys.argv", ["reservoirs.py", "--cores", "1", "--output", str(tmp_path)])
    sections.main(reservoirs.SECTION, "Compare.")
    text = (tmp_path / "benchmark.md").read_text("utf-8")
    assert "| states | 1 | 0.50 | 5.00 | 10.00 \\* |\n<!-- end of reservoirs -->" in text
    assert "reservoirpy 2" in capsys.readouterr().out


def test_libraries_that_differ_end_the_program():
    sections.check("states", 1e-6, 1e-5)
    for difference in (1e-4, float("nan")):
        with pytest.raises(SystemExit, match="states of the two libraries differ"):
            sections.check("states", difference, 1e-5)


def test_a_part_that_is_written_again_keeps_the_text_around_it(page):
    page.write_text(f"before\n{PART}after\n", "utf-8")
    update(page, "seq2seq", "| 2 |")
    assert page.read_text("utf-8") == f"before\n{PART.replace('1', '2')}after\n"
    assert "| 2 |" in between_marks(page, "seq2seq")


def test_a_part_alone(page):
    update(page, "seq2seq", "| 1 |")
    assert page.read_text("utf-8") == between_marks(page, "seq2seq") == PART


def test_a_part_without_its_end_is_not_overwritten(page):
    text = "before\n<!-- seq2seq -->\nafter\n"
    page.write_text(text, "utf-8")
    with pytest.raises(ValueError, match="substring"):
        update(page, "seq2seq", "| 1 |")
    assert page.read_text("utf-8") == text


# -------------------------------------------------------------------------------- a check of ratios

QUICK, SLOW, SHARED = (
    paths.Path("quick", int, int, 1.1),
    paths.Path("slow", int, int, 2.0),
    paths.Path("shared", int, int, 0.5, cores=2),
)


@pytest.fixture
def checked(monkeypatch, capsys, threads):
    """Return a function that returns the exit code and the output lines of a check of paths."""

    def run(*names, ratios=(), free=2):
        values, taken = iter(ratios), []

        def ratio(path, rounds):
            taken.append(path.name)
            return next(values)

        monkeypatch.setattr(paths, "GROUPS", [lambda cell: iter(names)])
        monkeypatch.setattr(paths, "ratio", ratio)
        monkeypatch.setattr(paths, "free_cores", lambda wanted: wanted <= free)
        code = paths.main(["--check", "--cells", "LSTM"])
        return code, taken, capsys.readouterr().out.splitlines()[1:]

    return run


def test_ratios_within_their_bounds_are_measured_once(checked):
    code, taken, lines = checked(QUICK, SLOW, ratios=[1.4 * 1.1, 2.5])
    assert (code, taken) == (0, ["quick", "slow"])
    assert lines[-1] == "0 above their bounds"


def test_the_smallest_of_several_ratios_counts(checked):
    code, taken, _ = checked(QUICK, ratios=[9.0, 3.0, 1.5])
    assert (code, taken) == (0, ["quick"] * 3)


def test_a_high_ratio_is_reported(checked):
    code, taken, lines = checked(QUICK, SLOW, ratios=[1.0, 3.0, 2.9, 2.81, 4.0])
    assert (code, taken) == (1, ["quick"] + ["slow"] * 4)
    assert lines[1].split() == ["LSTM", "slow", "2.810", "2.800", "above"]
    assert lines[-1] == "1 above their bounds"


def test_checks_that_need_busy_cores_are_skipped(checked):
    code, taken, lines = checked(SHARED, QUICK, ratios=[1.0], free=1)
    assert (code, taken) == (0, ["quick"])
    assert lines[0].endswith("skipped: 2 cores are not free")
    code, _, lines = checked(SLOW, ratios=[3.0] * 4, free=0)
    assert code == 0
    assert lines[0].endswith("skipped: other processes use the cores")


def test_the_tasks_of_forecasting_run(monkeypatch, threads):
    """crnn's side of them; a network of GluonTS with these sizes has 27,644 parameters."""
    monkeypatch.setattr(forecasting_speed, "BATCHES", 1)
    monkeypatch.setattr(forecasting_speed, "SAMPLES", 2)
    side = forecasting_speed.Crnn(1)
    assert abs(side.parameters / 27_644 - 1) < 0.05
    for method in forecasting_speed.TASKS.values():
        if method is not None:
            getattr(side, method)()
