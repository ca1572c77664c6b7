"""The page of the benchmarks, which two scripts write: neither takes the other's part away."""

import pytest
from compare import write_page
from measuring import between_marks, update

PART = "<!-- seq2seq -->\n| 1 |\n<!-- end of seq2seq -->\n"


@pytest.fixture
def page(tmp_path):
    return tmp_path / "benchmark.md"


def test_a_page_written_anew_keeps_the_other_part(page):
    write_page(page, "# old\n")
    assert page.read_text("utf-8") == "# old\n"
    update(page, "seq2seq", "| 1 |")
    assert page.read_text("utf-8") == "# old\n\n" + PART
    for _ in range(2):  # and nothing grows
        write_page(page, "# new\n")
        assert page.read_text("utf-8") == "# new\n\n" + PART


def test_a_part_written_anew_keeps_what_is_around_it(page):
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
