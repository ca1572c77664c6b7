"""Each example runs, and reaches the result that it states."""

import runpy
import sys

import numpy as np
import pytest

from support.folders import ROOT

FOLDER = ROOT / "examples"

if not FOLDER.exists():
    pytest.skip("the examples are not here, only an installed package", allow_module_level=True)


def main(name):
    """Return the main function of an example, from a fresh module."""
    return runpy.run_path(str(FOLDER / f"{name}.py"))["main"]


def test_every_example_has_a_test():
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in FOLDER.glob("*.py")} <= tested


WRONG = [
    ("mackey_glass", ["--networks", "0"], "--networks: expected an integer of at least 1, got 0"),
    ("mackey_glass", ["--units", "2.5"], "--units: expected an integer of at least 1, got 2.5"),
    ("mackey_glass", ["--alpha", "nan"], "--alpha: expected a finite number of at least 0, got"),
    ("narma", ["--networks", "0"], "--networks: expected an integer above 0, got 0"),
    ("narma", ["--steps", "20"], "--steps: expected an integer above 100, got 20"),
    ("speakers", ["lost"], "folder: expected one with the file JapaneseVowels_TRAIN.ts, got lost"),
]


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that runs a program: its exit code, with its message, and its output."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        return stop.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(("name", "arguments", "message"), WRONG)
def test_wrong_arguments_are_errors_of_use(run, name, arguments, message):
    code, _, errors = run(name, *arguments)
    assert code not in (0, None)
    assert message in f"{code} {errors}"


@pytest.mark.parametrize("name", ["speakers", "mackey_glass", "narma"])
def test_help(run, name):
    code, shown, _ = run(name, "--help")
    assert code == 0
    assert shown.startswith("usage: ")


@pytest.mark.slow
def test_digits():
    pytest.importorskip("sklearn", reason="scikit-learn has the digits")
    accuracies = main("digits")()
    assert len(accuracies) == 3
    assert np.mean(accuracies) >= 0.985


@pytest.mark.slow
def test_tagging():
    both, left = main("tagging")(n=1000, epochs=15)
    assert both > 0.97
    assert left < 0.85


def test_tagging_has_the_right_tags():
    tags_of = runpy.run_path(str(FOLDER / "tagging.py"))["tags_of"]
    expected = {"a": "o", "(": "x", ")": "x", "()": "pp", "a(a)a": "opipo", ")(": "xx"}
    expected |= {"((a)": "xpip", "(a))a": "pipxo", "(()a)": "pppip"}
    for text, tags in expected.items():
        assert "".join("oipx"[tag] for tag in tags_of(text)) == tags, text


@pytest.mark.slow
def test_echo():
    far, near = main("echo")(k=6, steps=2000)
    assert far > 0.95
    assert near < 0.9


@pytest.mark.slow
def test_names():
    bits, written = main("names")(epochs=6)
    assert bits < 2.8
    assert len(written) == 10
    assert all(name.isalpha() for name in written)


@pytest.mark.slow
def test_conditioned():
    pytest.importorskip("sklearn", reason="scikit-learn has the digits")
    assert main("conditioned")(epochs=8) > 0.9


@pytest.mark.slow
def test_dates(tmp_path):
    pytest.importorskip("babel", reason="Babel has the dates")
    pytest.importorskip("matplotlib")
    options = {
        "n": 2000,
        "held_out": 200,
        "epochs": 5,
        "languages": ["en", "de"],
        "hidden_size": 48,
    }
    assert main("dates")(**options, picture=tmp_path / "alignment.png") > 0.95
    assert (tmp_path / "alignment.png").stat().st_size > 5000


@pytest.mark.slow
def test_addition():
    assert main("addition")(n=3500, held_out=300, batch_size=16, digits=2, hidden_size=64) > 0.85


@pytest.mark.slow
def test_captions():
    pytest.importorskip("sklearn", reason="scikit-learn has the digits")
    assert main("captions")(epochs=8, hidden_size=64) > 0.9


@pytest.mark.slow
def test_autoencoder():
    pytest.importorskip("sklearn", reason="scikit-learn has the digits")
    assert main("autoencoder")(epochs=30, hidden_size=64) > 0.88


def test_mackey_glass():
    errors = main("mackey_glass")(units=150, steps=2000, alpha=1e-10, networks=2, runs=10)
    assert max(errors) < 0.1


def test_narma():
    errors, shifted = main("narma")(units=150, steps=1500, networks=2)
    assert max(errors) < 0.32
    assert shifted > 0.37


def test_speakers(tmp_path):
    rng, example = np.random.default_rng(0), runpy.run_path(str(FOLDER / "speakers.py"))
    for part, count in (("TRAIN", 60), ("TEST", 30)):
        lines = ["@equallength false", "@data"]
        for number in range(count):
            speaker, steps = number % 3, int(rng.integers(7, 30))
            means = np.cos(speaker * np.array([[1], [2], [3]]))
            channels = means + rng.normal(scale=0.5, size=(3, steps))
            text = [",".join(f"{value:.4f}" for value in channel) for channel in channels]
            lines.append(":".join([*text, str(speaker + 1)]))
        (tmp_path / f"JapaneseVowels_{part}.ts").write_text("\n".join(lines), "utf-8")
    recordings, speakers = example["read"](tmp_path / "JapaneseVowels_TEST.ts")
    assert [recording.shape[1] for recording in recordings] == [3] * 30
    assert speakers.tolist() == [0, 1, 2] * 10
    assert max(example["main"](tmp_path, hidden_size=100)) <= 3
    if example["find"]() is not None:
        assert max(example["main"]()) <= 4
