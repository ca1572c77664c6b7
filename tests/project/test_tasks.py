"""Known results, trained (benchmarks/tasks.py): at a reduced size, or with CRNN_FULL_TASKS=1 whole.

The bounds have room: they hold for each of the first six seeds at the reduced sizes (of the copy,
three).
"""

import functools
import math
import os

import numpy as np
import pytest
import tasks
from characters import Characters
from problems import TASKS as MEMORIES
from problems import Adding, Copy, DrawnTask, Draws, Order, Pixels, Size

import crnn

TASKS = MEMORIES | {Characters.name: Characters}

FULL = os.environ.get("CRNN_FULL_TASKS") == "1"
DRAWN = [name for name, kind in TASKS.items() if issubclass(kind, DrawnTask)]
MUST = [
    (name, layer) for name, kind in TASKS.items() for layer, must in kind.layers.items() if must
]


def sized(name):
    kind = TASKS[name]
    if issubclass(kind, Pixels):
        pytest.importorskip("sklearn", reason="scikit-learn has the digits")
    return kind(kind.full if FULL else kind.quick)


def seeds(name):
    """Return the seeds: more than one where a run is short."""
    return (0, 1, 2) if name in ("adding", "rows") and not FULL else (0,)


@functools.cache
def trained(name, layer, seed):
    return tasks.train(sized(name), layer, seed)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layer"), MUST)
def test_layers_reach_their_goals(name, layer):
    bar = sized(name).size.bar
    for seed in seeds(name):
        row = trained(name, layer, seed)
        assert row.result < bar, f"seed {seed}: {row.curve}"
        assert row.curve[-1] < 1.5 * bar < row.curve[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adding", "skips", "order"])
def test_the_plain_rnn_is_no_better_than_guessing(name):
    for seed in seeds(name):
        row = trained(name, "RNN", seed)
        assert row.result > 0.7 * row.task.guess, f"seed {seed}: {row.curve}"


@pytest.mark.slow
def test_janet_with_chrono_remembers_what_the_lstm_does_not():
    lstm, janet = (trained("copy", layer, 0).result for layer in ("LSTM", "JANET chrono"))
    assert janet < 0.6 * lstm


@pytest.mark.parametrize("name", DRAWN)
def test_batches_are_functions_of_seed_epoch_and_update(name):
    task = TASKS[name](TASKS[name].quick)

    def epoch(number, seed=0):
        draws = Draws(task, seed)
        draws.set_epoch(number)
        return list(draws)

    first, again, later, other = epoch(0), epoch(0), epoch(1), epoch(0, seed=1)
    assert len(first) == len(Draws(task, 0))
    for (x, target), (x_again, target_again) in zip(first, again, strict=True):
        np.testing.assert_array_equal(x, x_again)
        np.testing.assert_array_equal(target, target_again)
    drawn = [x.tobytes() for some in (first, later, other) for x, _ in some]
    assert len(set(drawn)) == len(drawn)


def test_targets_are_correct():
    """Each row of x contains its target."""
    x, target = Adding(Adding.quick).draw(np.random.default_rng(0), 50)
    for row, wanted in zip(x, target, strict=True):
        numbers = row[row[:, 1] == 1, 0]
        assert len(numbers) == 2
        assert wanted == pytest.approx(numbers.sum())
        assert row[: len(row) // 2, 1].sum() == 1
    x, target = Copy(Copy.quick).draw(np.random.default_rng(0), 50)
    for row, wanted in zip(x, target, strict=True):
        assert row[:10].tolist() == wanted[-10:].tolist()
        assert set(row[:10]) <= set(range(1, 9))
        assert np.flatnonzero(row == 9).tolist() == [Copy.quick.steps + 9]
        assert not row[10 : Copy.quick.steps + 9].any()
        assert not wanted[:-10].any()
        assert len(row) == Copy.quick.steps + 20
    x, target = Order(Order.full).draw(np.random.default_rng(0), 200)
    for row, wanted in zip(x, target, strict=True):
        places = np.flatnonzero(row < 2)
        assert len(places) == 2
        assert 10 <= places[0] <= 20
        assert 50 <= places[1] <= 60
        assert ["XX", "XY", "YX", "YY"][wanted] == "".join("XY"[row[place]] for place in places)
        assert (row[0], row[-1]) == (6, 7)


def test_the_measure_of_guessing_is_correct():
    """It is the measure of the best answer that does not depend on x, over many rows."""
    rng = np.random.default_rng(1)
    task = Adding(Adding.full)
    _, target = task.draw(rng, 20_000)
    assert task.judge(lambda x: (np.ones_like(target), None), (None, target)) == pytest.approx(
        task.guess, rel=0.03
    )
    task = Copy(Copy.full)
    x, target = task.draw(rng, 100)
    blind = np.full((*target.shape, 9), -50.0)
    blind[:, :-10, 0] = 50  # blanks are predictable, the symbols after the sign are not
    blind[:, -10:, 1:] = 50
    assert task.judge(lambda x: (blind, None), (x, target)) == pytest.approx(task.guess, rel=1e-6)
    task = Order(Order.full)
    x, target = task.draw(rng, 20_000)
    always = np.eye(4)[np.zeros(len(x), int)]
    assert task.judge(lambda x: (always, None), (x, target)) == pytest.approx(task.guess, rel=0.03)


def test_the_page_has_a_line_for_each_layer(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Order, "quick", Order.quick._replace(steps=20, epochs=2))
    pytest.importorskip("matplotlib")
    status = tasks.main(["order", "--quick", "--output", str(tmp_path)])
    page = (tmp_path / "tasks.md").read_text("utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| order")]
    assert [line.split(" | ")[1] for line in lines] == list(Order.layers)
    assert status == ("no, but required" in page)
    assert (tmp_path / "images/tasks.png").stat().st_size > 10_000
    assert page in capsys.readouterr().out


def test_a_second_run_has_the_same_numbers():
    task = Order(Order.quick._replace(steps=20, epochs=2))
    rows = [tasks.train(task, "GRU chrono", seed=3) for _ in range(2)]
    assert rows[0].curve == rows[1].curve
    assert rows[0].result == rows[1].result


def test_sizes_of_layers_differ_only_in_what_they_name():
    own = {"GRU": {"hidden_size": 9, "rate": 0.5}}
    size = Order.quick._replace(own=own)
    assert size.of("LSTM") == size
    assert size.of("GRU") == size._replace(hidden_size=9, rate=0.5)
    assert Order(size).rates == "peak rate 0.01 (GRU 0.5)"
    assert Order(size).model("GRU", 0).layers[0].hidden_size == 9
    assert Order(size).model("LSTM", 0).layers[0].hidden_size == size.hidden_size
    for kind in TASKS.values():
        for size in (kind.full, kind.quick):
            assert set(size.own) <= set(kind.layers)
            assert all(set(fields) <= set(Size._fields) for fields in size.own.values())


def test_the_result_of_several_runs_is_their_median(monkeypatch):
    results = iter([0.3, 0.1, 0.2])

    def train(task, layer, seed, progress):
        return tasks.Row(task, layer, [0, 1], [1.0, seed], next(results), 2.0, 77)

    monkeypatch.setattr(tasks, "train", train)
    monkeypatch.setattr(Order, "runs", 3)
    row = tasks.train_all(Order(Order.quick), "GRU chrono", seed=5)
    assert (row.result, row.curve, row.seconds, row.runs) == (0.2, [1.0, 7], 6.0, 3)
    (line,) = tasks.table([row])[2:]
    assert "| 24 | 77 | 1 | wrong answers, median of 3 | 20.0% |" in line


def test_characters_are_those_of_one_text():
    task = Characters(Characters.quick)
    first, held_out = task.halves()
    assert first + held_out == task.text
    assert len(held_out) == 5000
    vocabulary = crnn.data.Vocabulary.from_text(task.text)
    data, (streams,), _ = task.data(0)
    for text, each in ((first, data), (held_out, streams)):
        ((x, target),) = each
        np.testing.assert_array_equal(x[:, 1:], target[:, :-1])
        assert "".join(vocabulary.decode(row) for row in x) == text[: x.size]
    full = Characters(Characters.full)
    assert full.text == crnn.data.corpus("pydoc")
    assert 3 < full.guess < math.log(len(set(full.text)))


def test_models_of_characters_have_about_the_same_number_of_parameters():
    task = Characters(Characters.full)
    counts = {
        layer: sum(param.size for param in task.model(layer, 0).params.values())
        for layer in task.layers
    }
    assert max(counts.values()) < 1.04 * min(counts.values()), counts


def test_an_unknown_task_is_named(capsys):
    with pytest.raises(SystemExit):
        tasks.main(["adding", "subtracting"])
    assert "'subtracting'" in capsys.readouterr().err
