"""The command: its files, output and exit codes, and that Ctrl-C loses nothing."""

import inspect
import io
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import crnn
from crnn import cli
from crnn.cli import characters as module
from crnn.cli import run as run_module
from crnn.cli.characters import CharRun, Settings, Source
from crnn.models import CharModel
from support.commands import numbers as numbers_of
from support.commands import rows, runner, steady, stopper

TEXT = "the cat sat on the mat and the rat ran at the cat.\n" * 40
SMALL = [
    "--hidden-size",
    "12",
    "--embedding",
    "6",
    "--batch-size",
    "4",
    "--steps",
    "16",
    "--epochs",
    "3",
]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(crnn.__file__).parents[1])}
FILES = ["checkpoint.npz", "history.csv", "loss.png", "samples.txt"]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Shorten the samples at the end of a run."""
    monkeypatch.setattr(module, "WRITTEN", 100)
    monkeypatch.setattr(module, "INVENTED", 20)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


@pytest.fixture
def run(capsys):
    return runner(capsys)


def numbers(folder):
    return numbers_of(CharModel, folder)


# ------------------------------------------------------------------------------------------- runs


def test_the_files_and_the_output_of_a_run(run, text, tmp_path):
    code, out, err = run("train", text, "-o", tmp_path / "a" / "run", *SMALL, "--seed", 5)
    assert (code, err) == (0, "")
    folder = tmp_path / "a" / "run"
    assert sorted(os.listdir(folder)) == FILES
    lines = out.splitlines()
    assert lines[0].startswith("1 x LSTM 12, ")
    assert lines[0].endswith("on text.txt: 2,040 characters, 14 symbols")
    assert lines[1].startswith("epoch 1/3: bits per character ")
    assert lines[5].startswith("epoch 3/3: bits per character ")
    assert lines[6].startswith("    ")
    assert lines[7].startswith("Done in ")
    assert lines[7].endswith("checkpoint.npz, history.csv, loss.png, samples.txt")
    assert len(lines) == 8

    table = rows(folder)
    assert [row["epoch"] for row in table] == ["1", "2", "3"]
    first = table[0]
    assert first["python"] == platform.python_version()
    assert first["crnn"] == crnn.__version__
    assert (first["text"], first["characters"], first["symbols"]) == ("text.txt", "2040", "14")
    assert (first["seed"], first["cell"], first["hidden_size"]) == ("5", "lstm", "12")
    assert first["peak_lr"] == "0.006"
    assert float(first["lr"]) < 0.006
    for name in ("", "val_"):
        loss = float(first[f"{name}loss"])
        assert float(first[f"{name}bits"]) == pytest.approx(loss / np.log(2))

    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    samples = (folder / "samples.txt").read_text(encoding="utf-8")
    assert samples.startswith("temperature 0.5\n\n")
    assert "\n\ntemperature 0.8\n\n" in samples


CHOICES = ["rnn", "lstm", "gru", "janet", "mingru", "minlstm", "tcn", "transformer"]


@pytest.mark.parametrize("cell", CHOICES)
def test_every_cell_trains_and_samples(run, text, tmp_path, cell):
    own = {"tcn": ("--taps", 2), "transformer": ("--heads", 2, "--window", 7)}
    options = ("--cell", cell, "--layers", 2, *own.get(cell, ()))
    if cell in ("tcn", "transformer"):
        options += ("--embedding", 12, "--hidden-size", 12)
    code, _, _ = run("train", text, "-o", tmp_path, *SMALL, *options)
    assert code == 0
    code, out, err = run("train", text, "-o", tmp_path, *SMALL, *options, "--resume")
    assert (code, err) == (0, ""), (out, err)
    sample = ("sample", tmp_path, "--prime", "the ", "--max-steps", 40, "--seed", 1)
    code, out, err = run(*sample, "--temperature", 0.5)
    assert (code, err) == (0, "")
    assert out.startswith("the ")
    assert len(out) == 4 + 40 + 1
    assert out == run(*sample, "--temperature", 0.5)[1]


def test_lines_are_invented_and_counted(run, tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(f"name{n:03}" for n in range(100)), encoding="utf-8")
    code, out, err = run("train", path, "-o", tmp_path / "run", *SMALL, "--lines")
    assert (code, err) == (0, "")
    counts = [line for line in out.splitlines() if line.startswith("temperature")]
    assert len(counts) == 2
    assert "temperature 0.8: 20 lines generated, " in counts[1]
    assert counts[1].endswith("distinct")
    samples = (tmp_path / "run" / "samples.txt").read_text(encoding="utf-8")
    assert counts[0] in samples
    assert counts[1] in samples
    assert rows(tmp_path / "run")[0]["lines"] == "True"
    code, out, _ = run("sample", tmp_path / "run", "--prime", "name0")
    assert code == 0
    assert out.startswith("name0")


def test_the_share_of_new_lines_is_right(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("a\nb\n\n c \n", encoding="utf-8")
    one = CharRun(
        tmp_path / "run", Source(path=str(path)), Settings(hidden_size=4, lines=True, batch_size=2)
    )
    one.model.invent = lambda *a, **k: ["a", "b", "x", "x", "xy"]
    messages, samples = one._lines()
    assert messages[0] == "temperature 0.5: 5 lines generated, 60.0% new, 80.0% distinct"
    assert samples[0].splitlines()[2:] == ["x", "xy"]


def test_a_corpus_has_its_defaults(run, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(run_module, "carry_out", lambda run: begun.append(run) or 0)
    assert run("train", "--corpus", "dinosaurs", "-o", tmp_path, "--hidden-size", 8) == (0, "", "")
    (one,) = begun
    assert one.settings == Settings(lines=True, hidden_size=8, embedding=32, batch_size=16)
    assert one.data == crnn.data.corpus("dinosaurs")


def test_the_demo_has_the_default_settings(run, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(run_module, "carry_out", lambda run: begun.append(run) or 0)
    assert run("demo", "-o", tmp_path) == (0, "", "")
    assert run("train", "--corpus", "pydoc", "-o", tmp_path) == (0, "", "")
    demo, train = begun
    assert demo.settings == train.settings == Settings()
    assert demo.source == train.source
    assert demo.settings.cell == "lstm"
    values = {
        "hidden_size": 256,
        "batch_size": 32,
        "steps": 64,
        "lr": 6e-3,
        "clip_norm": 1.0,
        "epochs": 12,
    }
    assert values.items() <= vars(demo.settings).items()
    assert demo.trainer._tbptt == (64, 64)
    assert demo.trainer.data.x.shape == (32, (len(demo.data) * 9 // 10 - 1) // 32)


def test_the_defaults_are_those_of_the_model_and_every_setting_is_handed_on():
    settings, parameters = Settings(), {}
    for function in (CharModel.for_text, CharModel.train):
        handed = settings.parameters_of(function)
        known = inspect.signature(function).parameters
        parameters |= {name: (value, known[name].default) for name, value in handed.items()}
    assert set(parameters) == set(Settings.names())
    assert all(value == default for value, default in parameters.values())


def test_config_and_version(run):
    code, out, err = run("config")
    assert (code, err) == (0, "")
    assert crnn._core.isa() in out
    assert run("--version") == (0, f"crnn {crnn.__version__}\n", "")


def test_the_help_has_the_defaults(run):
    code, out, _ = run("train", "--help")
    assert code == 0
    for default in ("256", "12", "0.006", "lstm", "1.0"):
        assert f"(default: {default})" in " ".join(out.split())


def test_without_matplotlib_a_line_says_what_to_install(run, text, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, out, err = run("train", text, "-o", tmp_path / "run", *SMALL)
    assert (code, err) == (0, "")
    message = 'No loss.png: plots require matplotlib: pip install ".[plot]" in a checkout of crnn'
    assert message in out.splitlines()
    assert sorted(os.listdir(tmp_path / "run")) == [name for name in FILES if name != "loss.png"]


def test_characters_outside_of_the_encoding_of_the_terminal(monkeypatch, text, tmp_path):
    Path(text).write_text(TEXT.replace("cat", "chât"), encoding="utf-8")
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert cli.main(["train", text, "-o", str(tmp_path), *SMALL]) == 0
    assert cli.main(["sample", str(tmp_path), "--prime", "the chât"]) == 0
    assert b"the ch?t" in terminal.buffer.getvalue()


# ------------------------------------------------------------------------- interrupted and resumed


@pytest.fixture
def stop_at(monkeypatch):
    return stopper(monkeypatch, CharRun)


@pytest.mark.parametrize("lines", [[], ["--lines"]])
@pytest.mark.parametrize("update", [1, 7, 20])
def test_a_resumed_run_is_the_same_run(run, text, tmp_path, stop_at, lines, update, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "the parts"
    assert run("train", text, "-o", whole, *SMALL, *lines)[0] == 0
    stop_at(update)
    code, _, err = run("train", text, "-o", parts, *SMALL, *lines)
    assert code == 130
    assert f"{update} updates. Resume with: crnn train -o '{parts}' --resume" in err
    assert len(err.splitlines()) == 1
    stop_at(-1)
    code, out, _ = run("train", "-o", parts, "--resume")
    assert code == 0
    assert f", {update} updates\n" in out
    np.testing.assert_equal(numbers(parts), numbers(whole))
    for name in ("samples.txt",):
        assert (parts / name).read_text() == (whole / name).read_text()
    assert steady(rows(parts)) == steady(rows(whole))


def wait_for(path, process, seconds=60):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for another process on Windows")
def test_a_real_ctrl_c_and_a_real_resume(run, text, tmp_path):
    long = ["--hidden-size", "24", "--batch-size", "2", "--steps", "4", "--epochs", "2"]
    assert run("train", text, "-o", tmp_path / "whole", *long)[0] == 0
    parts = tmp_path / "parts"
    command = [sys.executable, "-m", "crnn.cli", "train", text, "-o", str(parts), *long]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    wait_for(parts / "checkpoint.npz", process)  # the first of two epochs has ended
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the run was over before the signal came")
    assert process.returncode == 130
    assert err.startswith("Stopped and saved after 1 of 2 epochs, ")
    assert len(err.splitlines()) == 1
    assert run("train", "-o", parts, "--resume")[0] == 0
    np.testing.assert_equal(numbers(parts), numbers(tmp_path / "whole"))


def test_a_second_ctrl_c_leaves_the_last_checkpoint(run, text, tmp_path, stop_at, monkeypatch):
    stop_at(40)  # in the second epoch
    save = CharModel.save

    def interrupted(self, folder, training=None):
        if training["trainer"]["position"]["update"] == 40:
            raise KeyboardInterrupt
        save(self, folder, training)

    monkeypatch.setattr(CharModel, "save", interrupted)
    assert run("train", text, "-o", tmp_path, *SMALL)[0] == 130
    assert numbers(tmp_path)[2]["epoch"] == 1
    assert sorted(os.listdir(tmp_path)) == ["checkpoint.npz", "text.txt"]


def test_an_update_that_was_broken_off_is_not_saved(run, text, tmp_path, stop_at, monkeypatch):
    stop_at(5)

    def broken(self):
        raise RuntimeError("the run was interrupted during an update")

    monkeypatch.setattr(crnn.training.Trainer, "state_dict", broken)
    code, _, err = run("train", text, "-o", tmp_path, *SMALL)
    assert code == 130
    assert err.startswith("Stopped without saving: the run was interrupted")
    assert not (tmp_path / "checkpoint.npz").exists()


def test_ctrl_c_before_there_is_anything_to_save(run, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "show_config", interrupted)
    assert run("config") == (130, "", "")


def test_a_run_saves_itself_within_long_epochs(run, text, tmp_path, stop_at, monkeypatch):
    monkeypatch.setattr(run_module, "SAVE_SECONDS", 1e-9)
    seen = []
    save = CharModel.save

    def counted(self, folder, training=None):
        seen.append(training["trainer"]["position"]["update"])
        save(self, folder, training)

    monkeypatch.setattr(CharModel, "save", counted)
    assert run("train", text, "-o", tmp_path, *SMALL)[0] == 0
    assert seen[:3] == [1, 2, 3]


def test_a_finished_run_can_be_resumed_and_replaced(run, text, tmp_path):
    assert run("train", text, "-o", tmp_path / "run", *SMALL)[0] == 0
    before = numbers(tmp_path / "run")
    code, out, _ = run("train", "-o", tmp_path / "run", "--resume")
    assert code == 0
    assert "Resumed after 3 of 3 epochs" in out
    np.testing.assert_equal(numbers(tmp_path / "run"), before)
    assert run("train", text, "-o", tmp_path / "run", *SMALL, "--seed", 9)[0] == 0
    assert rows(tmp_path / "run")[0]["seed"] == "9"


def test_an_unfinished_run_is_not_replaced_by_mistake(run, text, tmp_path, stop_at):
    folder = tmp_path / "run"
    stop_at(3)
    assert run("train", text, "-o", folder, *SMALL)[0] == 130
    before = (folder / "checkpoint.npz").read_bytes()
    code, out, err = run("train", text, "-o", folder, *SMALL)
    assert (code, out) == (2, "")
    assert err == (
        f"crnn: error: {folder}: contains an unfinished run. Add --resume to continue it, "
        f"or choose another folder\n"
    )
    assert (folder / "checkpoint.npz").read_bytes() == before


def test_the_text_may_have_moved(run, text, tmp_path, stop_at):
    folder = tmp_path / "run"
    stop_at(3)
    assert run("train", text, "-o", folder, *SMALL)[0] == 130
    stop_at(-1)
    moved = Path(text).rename(tmp_path / "moved.txt")
    code, _, err = run("train", "-o", folder, "--resume")
    assert (code, err) == (2, f"crnn: error: {text}: No such file or directory\n")
    assert run("train", moved, "-o", folder, "--resume", *SMALL)[0] == 0


# ------------------------------------------------------------------------------------------ errors


@pytest.fixture
def broken(tmp_path):
    """Folder of wrong files and folders."""
    (tmp_path / "empty.txt").write_text(" \n", encoding="utf-8")
    (tmp_path / "short.txt").write_text("hello", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 100)
    (tmp_path / "good.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "line.txt").write_text("one\n", encoding="utf-8")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "checkpoint.npz").write_bytes(b"PK")
    (tmp_path / "nothing").mkdir()
    CharModel.for_text("abc", hidden_size=4, seed=1).save(tmp_path / "model")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "crnn: error: the following arguments are required: COMMAND"),
        ("fly", "crnn: error: argument COMMAND: invalid choice: 'fly' "),
        ("train good.txt", "crnn train: error: the following arguments are required: -o/--output"),
        ("train -o out", "crnn: error: expected TEXT, --corpus or --resume, got none of them"),
        (
            "train good.txt --corpus pydoc -o out",
            "crnn: error: expected either TEXT or --corpus, got both",
        ),
        ("train --corpus latin -o out", "crnn train: error: argument --corpus: invalid choice"),
        ("train none.txt -o out", "crnn: error: {tmp}none.txt: No such file or directory"),
        ("train nothing -o out", "crnn: error: {tmp}nothing: Is a directory"),
        ("train empty.txt -o out", "crnn: error: {tmp}empty.txt: expected a text, got an empty"),
        ("train latin.txt -o out", "crnn: error: {tmp}latin.txt: expected a text in UTF-8: "),
        ("train short.txt -o out", "crnn: error: text: 5 characters are too few for a batch of 32"),
        ("train line.txt -o out --lines", "crnn: error: lines: expected at least two, got 1"),
        ("train good.txt -o good.txt", "crnn: error: good.txt: File exists"),
        (
            "train good.txt -o out --cell mlp",
            "crnn train: error: argument --cell: expected "
            "gru|janet|lstm|mingru|minlstm|rnn|tcn|transformer, got 'mlp'",
        ),
        (
            "train good.txt -o out --taps 2",
            "crnn: error: taps: expected this option with cell tcn alone, got 2 with cell lstm",
        ),
        (
            "train good.txt -o out --cell tcn --window 8",
            "crnn: error: window: expected this option with cell transformer alone, got 8 with",
        ),
        (
            "train good.txt -o out --hidden-size 0",
            "crnn train: error: argument --hidden-size: expected an integer of at least 1, got '0'",
        ),
        (
            "train good.txt -o out --embedding -1",
            "crnn train: error: argument --embedding: expected an integer of at least 0, got '-1'",
        ),
        (
            "train good.txt -o out --epochs two",
            "crnn train: error: argument --epochs: expected an integer of at least 1, got 'two'",
        ),
        (
            "train good.txt -o out --lr nan",
            "crnn train: error: argument --lr: expected a positive number, got 'nan'",
        ),
        (
            "train good.txt -o out --seed 18446744073709551616",
            "crnn train: error: argument --seed: expected an integer from 0 to 184467",
        ),
        ("train good.txt -o out --hidden-size 999999999", "crnn: error: "),
        ("train -o nothing --resume", "crnn: error: nothing: no checkpoint.npz in this directory"),
        ("train -o none --resume", "crnn: error: none: no checkpoint.npz in this directory"),
        ("train -o damaged --resume", "crnn: error: damaged/checkpoint.npz: cannot be read: "),
        (
            "train -o model --resume",
            "crnn: error: model/checkpoint.npz: contains a model without a training run to resume",
        ),
        ("sample nothing", "crnn: error: nothing: no checkpoint.npz in this directory"),
        ("sample damaged", "crnn: error: damaged/checkpoint.npz: cannot be read: BadZipFile"),
        (
            "sample model --prime X",
            "crnn: error: text: expected symbols of the vocabulary, got 'X'",
        ),
        (
            "sample model --temperature -1",
            "crnn sample: error: argument --temperature: expected a positive number",
        ),
        ("sample model --max-steps -1", "crnn: error: max_steps: expected at least 0, got -1"),
        (
            "sample model --seed x",
            "crnn sample: error: argument --seed: expected an integer from 0 to",
        ),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="paths and the system's messages are written otherwise")
def test_errors_are_one_line(run, broken, monkeypatch, line, message):
    monkeypatch.chdir(broken)
    code, out, err = run(*line.split())
    assert (code, out) == (2, "")
    assert err.startswith(message.replace("{tmp}", f"{broken}/"))
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hidden-size", "13"], "hidden_size: expected 12, the value of the run, got 13"),
        (["--lines"], "lines: expected False, the value of the run, got True"),
        (["--cell", "gru"], "cell: expected 'lstm', the value of the run, got 'gru'"),
        (["--corpus", "pydoc"], "corpus pydoc: expected the text of the run, got other data"),
    ],
)
def test_a_run_is_resumed_with_equal_settings(run, text, tmp_path, options, message):
    assert run("train", text, "-o", tmp_path / "run", *SMALL)[0] == 0
    before = (tmp_path / "run" / "checkpoint.npz").read_bytes()
    code, out, err = run("train", "-o", tmp_path / "run", "--resume", *options)
    assert (code, out, err) == (2, "", f"crnn: error: {message}\n")
    assert (tmp_path / "run" / "checkpoint.npz").read_bytes() == before


def test_training_that_diverges_is_an_error(run, text, tmp_path):
    code, _, err = run(
        "train", text, "-o", tmp_path / "run", *SMALL, "--lr", 1e38, "--clip-norm", 1e38
    )
    assert code == 2
    assert err.startswith("crnn: error: ")
    assert len(err.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="a closed pipe is another error on Windows")
def test_a_reader_that_closes_the_pipe():
    end, pipe = os.pipe()
    os.close(end)
    done = subprocess.run(
        [sys.executable, "-m", "crnn.cli", "config"],
        stdout=pipe,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        timeout=60,
    )
    os.close(pipe)
    assert (done.returncode, done.stderr) == (1, "")
