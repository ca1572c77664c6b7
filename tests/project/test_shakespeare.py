"""A small GPT on a text (benchmarks/shakespeare.py), at a reduced size."""

import math

import numpy as np
import pytest
import shakespeare

from crnn.data import corpus

UPDATES = 7


@pytest.fixture
def text(monkeypatch):
    for name, value in {"LAYERS": 1, "HEADS": 2, "WIDTH": 16, "T": 24, "BLOCK": 3}.items():
        monkeypatch.setattr(shakespeare, name, value)
    return shakespeare.Text(corpus("dinosaurs")[:6000], seed=3, updates=UPDATES)


def test_epochs_are_the_updates_in_their_order(text):
    windows = text.train
    batches = []
    for epoch in range(3):
        windows.set_epoch(epoch)
        batches += list(windows)
        assert len(windows) == (3, 3, 1)[epoch]
    assert len(batches) == UPDATES
    assert len({x.tobytes() for x, _ in batches}) == UPDATES
    symbols = windows.symbols.tobytes()
    for x, target in batches:
        assert x.shape == target.shape == (shakespeare.B, 24)
        np.testing.assert_array_equal(x[:, 1:], target[:, :-1])
        assert all(row.tobytes() in symbols for row in x)
    windows.set_epoch(1)
    again = [x for x, _ in windows]
    np.testing.assert_array_equal(again, [x for x, _ in batches[3:6]])


def test_the_held_out_text_is_read_once(text):
    x, target = (np.concatenate(parts) for parts in zip(*text.held_out, strict=True))
    end = len(text.train.symbols)
    letters = text.vocabulary.encode(corpus("dinosaurs")[:6000])
    np.testing.assert_array_equal(x.ravel(), letters[end : end + x.size])
    np.testing.assert_array_equal(target.ravel(), letters[end + 1 : end + 1 + x.size])
    assert len(letters) - end - 1 - x.size < 24
    assert end == 5400


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_both_libraries_have_the_same_losses(text, positions):
    pytest.importorskip("torch")
    made = shakespeare.contenders(text, ["crnn", "torch"], 1, UPDATES, positions)
    first = made["crnn"].nats()
    seconds = shakespeare.train(made, UPDATES)
    assert {name: len(turns) for name, turns in seconds.items()} == {"crnn": 3, "torch": 3}
    ours, theirs = (each.nats() for each in made.values())
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert ours < first - 0.01
    assert first == pytest.approx(math.log(len(text.vocabulary)), abs=0.1)


def test_models_that_differ_end_the_program(text, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(shakespeare.Torch, "logits", lambda self, x: np.zeros((*x.shape, 1)))
    with pytest.raises(SystemExit, match="logits of the two libraries differ"):
        shakespeare.contenders(text, ["crnn", "torch"], seed=1, updates=UPDATES)


def test_the_program_prints_losses_and_times(text, monkeypatch, tmp_path, capsys, threads):
    monkeypatch.setattr(shakespeare, "keep_to", lambda cores: None)
    path = tmp_path / "input.txt"
    path.write_text(corpus("dinosaurs")[:6000], "utf-8")
    assert shakespeare.main([str(path), "--updates", "4", "--only", "crnn"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["4", "updates", "crnn"]
    assert lines[2].startswith("crnn ")
