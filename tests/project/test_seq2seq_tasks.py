"""Sequences to sequences, trained (benchmarks/pairs.py): reduced, or with CRNN_FULL_TASKS=1 whole.

The bounds have room: they hold for each of the first four seeds at the reduced sizes.
"""

import os
import re
from datetime import date

import numpy as np
import pytest
import tasks
from pairs import TASKS

from crnn.models import SequenceAutoencoder

FULL = os.environ.get("CRNN_FULL_TASKS") == "1"
NEEDED = {
    "dates": "babel",
    "dates-transformer": "babel",
    "captions": "sklearn",
    "autoencoder": "sklearn",
}
MUST = [
    (name, layer) for name, kind in TASKS.items() for layer, must in kind.layers.items() if must
]


def sized(name, full=FULL):
    kind = TASKS[name]
    if name in NEEDED:
        pytest.importorskip(NEEDED[name], reason="the data are there")
    return kind(kind.full if full else kind.quick)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layer"), MUST)
def test_models_reach_their_goals(name, layer):
    row = tasks.train(sized(name), layer)
    assert row.result < row.task.size.bar, row.curve
    assert row.curve[-1] < row.task.size.bar < row.curve[0]


def test_validation_pairs_are_not_in_the_training_data():
    for name in ("dates", "addition"):
        task = sized(name)
        _, (curve,), (test,) = task.data(seed=1)
        pairs = task.all_pairs(1)
        texts = [text for text, _ in pairs]
        rows = task.texts.rows
        assert len(set(texts)) == len(texts) == rows + len(curve) + len(test)
        assert pairs[rows:] == curve + test
        assert not set(texts[:rows]) & {text for text, _ in curve + test}


def test_dates_equal_their_translations():
    pairs = sized("dates", full=True).pairs(600, 0)
    assert pairs == sized("dates", full=True).pairs(600, 0)
    years = set()
    for text, iso in pairs:
        day = date.fromisoformat(iso)
        assert {day.day, day.year} <= set(map(int, re.findall(r"\d+", text))), text
        years.add(day.year)
    assert min(years) < 1920
    assert max(years) > 2080
    assert {1900 <= year < 2100 for year in years} == {True}
    marks = {"de": r"\d\. \w", "pl": "niedziela", "en": r"\w \d+, ", "pt": r"\d de \w+ de"}
    assert all(any(re.search(mark, text) for text, _ in pairs) for mark in marks.values())


def test_sums_are_right_and_of_all_lengths():
    pairs = sized("addition", full=True).pairs(3000, 0)
    seen = set()
    for question, result in pairs:
        a, b = map(int, question[::-1].split("+"))
        assert a + b == int(result)
        assert (a, b) not in seen
        seen |= {(a, b), (b, a)}
    sizes = [tuple(map(len, question.split("+"))) for question, _ in pairs]
    assert {(i, j) for i in (1, 2, 3) for j in (1, 2, 3)} == set(sizes)
    short = [place for place, size in enumerate(sizes) if max(size) < 3]
    assert abs(np.mean(short) / len(pairs) - 0.5) < 0.1  # in random order


def test_captions_of_an_image_are_in_one_half_only():
    data, (x_out, names_out, languages_out) = pytest.importorskip("sklearn") and __import__(
        "captions"
    ).halves(1)
    assert len(x_out) == len(names_out) == len(languages_out) == 3 * 359
    assert not {row.tobytes() for row in data[0]} & {row.tobytes() for row in x_out}
    assert {name for name, language in zip(*data[1:], strict=True) if language == "Spanish"} == {
        *["cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve"]
    }


def test_codes_are_from_a_model_that_was_trained_without_labels():
    task = sized("autoencoder")
    data, (x, y, x_out, y_out), _ = task.data(0)
    for read, target in data:
        np.testing.assert_array_equal(read, target)
    model = task.model("GRU", 0)
    assert isinstance(model, SequenceAutoencoder)
    assert model.encode(x_out).shape == (len(y_out), 16)
    assert (len(x), x.shape[1:]) == (len(y), (8, 8))


def test_the_page_has_a_line_for_each_layer(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    kind = TASKS["addition"]
    monkeypatch.setattr(kind, "quick", kind.quick._replace(epochs=1))
    monkeypatch.setattr(kind, "quick_texts", kind.quick_texts._replace(rows=200))
    assert (
        tasks.main(["addition", "--quick", "--output", str(tmp_path)]) == 1
    )  # too little training to reach the goal
    page = (tmp_path / "tasks.md").read_text("utf-8")
    assert len(re.findall(r"^\| addition \| LSTM \| ", page, re.MULTILINE)) == 1
    assert "no, but required" in page
    assert "B = 16, peak rate" in page
    assert page in capsys.readouterr().out
