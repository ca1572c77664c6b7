"""``crnn translate``: its files, output and plots, and that Ctrl-C loses nothing."""

import inspect
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import crnn
from crnn import cli
from crnn.cli.translate import Settings, TranslatorRun
from crnn.models import CharModel, Translator
from support.commands import numbers, rows, runner, steady, stopper

rng = np.random.default_rng(0)
TEXTS = ["".join(rng.choice(list("añc"), length)) for length in rng.integers(1, 6, 150)]
PAIRS = [(text, text[::-1].upper()) for text in TEXTS]
SHORT = ["--hidden-size", "16", "--batch-size", "10", "--epochs", "2", "--lr", "0.02"]
SMALL = [*SHORT, "--embedding", 8]
FILES = ["checkpoint.npz", "held-out.tsv", "history.csv", "loss.png"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(crnn.__file__).parents[1])}


@pytest.fixture
def run(capsys):
    return runner(capsys)


@pytest.fixture
def stop_at(monkeypatch):
    return stopper(monkeypatch, TranslatorRun)


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS), encoding="utf-8")
    return path


@pytest.fixture
def reads(monkeypatch):
    """Return a function that sets the standard input of the command."""

    def reads(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii"))

    return reads


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of an untrained translator."""
    folder = tmp_path_factory.mktemp("translator")
    Translator.for_pairs(PAIRS, hidden_size=6, embedding=4, seed=1).save(folder)
    return folder


# --------------------------------------------------------------------------------------- training


def test_the_files_and_the_output_of_a_run(run, pairs, tmp_path):
    place = tmp_path / "a" / "run"
    code, out, err = run("translate", "train", pairs, "-o", place, *SMALL, "--seed", 5)
    assert (code, err) == (0, "")
    assert sorted(os.listdir(place)) == FILES
    lines = out.splitlines()
    assert lines[0].startswith("bidirectional 1 x GRU 16 to 1 x GRU 16 with additive attention, ")
    assert lines[0].endswith("on pairs.tsv: 150 pairs, 4 source symbols, 5 target symbols")
    assert lines[1].startswith("epoch 1/2: loss ")
    assert lines[1].endswith("% exactly right")
    assert " -> " in lines[2]
    assert lines[5].startswith("Exact translations of 15 held-out pairs: ")
    assert lines[6].startswith("Done in ")
    assert len(lines) == 7

    table = rows(place)
    assert [row["epoch"] for row in table] == ["1", "2"]
    assert (table[0]["pairs"], table[0]["source_symbols"]) == ("150", "4")
    assert (table[0]["seed"], table[0]["cell"], table[0]["attention"]) == ("5", "gru", "additive")
    assert all(0 <= float(row["exact"]) <= 1 for row in table)
    assert lines[5].endswith(f"pairs: {float(table[1]['exact']):.1%}")

    model = Translator.load(place)
    held_out = (place / "held-out.tsv").read_text(encoding="utf-8").splitlines()
    columns = [line.split("\t") for line in held_out]
    assert len(columns) == 15
    assert {(a, b) for a, b, _ in columns} <= set(PAIRS)
    assert [c for _, _, c in columns] == model.translate([a for a, _, _ in columns])


def test_the_options_determine_the_model(run, tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("a b\tb a\nc b\tb c\nb\tb\n" * 5, encoding="utf-8")
    options = ["--words", "--no-bidirectional", "--attention", "none", "--layers", "2"]
    options += ["--cell", "lstm", "--min-count", "6"]
    code, out, _ = run("translate", "train", path, "-o", tmp_path / "run", *SMALL, *options)
    assert code == 0
    assert out.startswith("2 x LSTM 16 to 2 x LSTM 16 with no attention, ")
    model = Translator.load(tmp_path / "run")
    assert model.words
    assert model.network.attention is None
    assert isinstance(model.network.encoder.layers[1], crnn.LSTM)
    assert model.source.symbols == ("b", "<unk>")


@pytest.mark.parametrize("attention", ["additive", "dot", "general"])
def test_every_attention_can_be_chosen(run, pairs, tmp_path, attention):
    options = ["--attention", attention, "--epochs", "1"]
    assert run("translate", "train", pairs, "-o", tmp_path, *SMALL, *options)[0] == 0
    assert Translator.load(tmp_path).network.attention.kind == attention


def test_a_transformer_translates_and_resumes(run, reads, pairs, tmp_path, stop_at):
    options = [*SHORT, "--cell", "transformer", "--layers", 2, "--heads", 2]
    whole, place = tmp_path / "whole", tmp_path / "run"
    code, out, err = run("translate", "train", pairs, "-o", whole, *options)
    assert (code, err) == (0, "")
    assert out.startswith("bidirectional 2 x TRANSFORMER 16 to 2 x TRANSFORMER 16, ")
    stop_at(5)
    run("translate", "train", pairs, "-o", place, *options)
    code, _, err = run("translate", "train", pairs, "-o", place, *options, "--resume")
    assert (code, err) == (0, "")
    model = Translator.load(place)
    assert [layer.heads for layer in model.network.decoder[:2]] == [2, 2]
    np.testing.assert_array_equal(
        model.network.output.params["W"], Translator.load(whole).network.output.params["W"]
    )
    plot = tmp_path / "plot.png"
    reads("añc\nca\n".encode())
    code, out, _ = run("translate", place, "--beam", 2, "--attention-plot", plot)
    assert code == 0
    assert len(out.splitlines()) == 2
    assert plot.read_bytes().startswith(b"\x89PNG")
    code, _, err = run("translate", "train", pairs, "-o", place, *options, "--heads", 4, "--resume")
    assert code != 0
    assert "heads" in err


def test_the_help_has_the_defaults(run):
    code, out, _ = run("translate", "train", "--help")
    assert code == 0
    assert out.startswith("usage: crnn translate train ")
    assert "additive|dot|general|none" in out
    for default in ("128", "gru", "additive"):
        assert f"(default: {default})" in " ".join(out.split())
    code, out, _ = run("translate", "--help")
    assert code == 0
    assert out.startswith("usage: crnn translate [-h] ")
    assert "--attention-plot FILE.png" in out
    assert "crnn translate train --help" in out
    assert "translate train: train a translator" in " ".join(run("--help")[1].split())


def test_only_the_first_argument_is_a_command(run, reads, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(folder, tmp_path / "train").parent)
    for line in (["./train"], ["--beam", "1", "train"]):
        reads(b"a\n")
        assert run("translate", *line)[0] == 0
    err = run("translate", "train", "--beam", "1")[2]
    assert err.startswith("crnn translate train: error: the following arguments are required: -o")


def test_the_defaults_are_those_of_the_model():
    parameters = {
        name: parameter.default
        for method in (Translator.for_pairs, Translator.train)
        for name, parameter in inspect.signature(method).parameters.items()
    }
    settings = {name: getattr(Settings(), name) for name in Settings.names() if name != "seed"}
    assert settings == {name: parameters[name] for name in settings}


def test_every_setting_is_passed_on():
    settings = Settings()
    functions = Translator.for_pairs, Translator.train
    handed = {name for function in functions for name in settings.parameters_of(function)}
    assert handed == set(Settings.names())


@pytest.mark.parametrize("update", [1, 14, 20])
def test_a_resumed_run_is_the_same_run(run, pairs, tmp_path, stop_at, update):
    whole, parts = tmp_path / "whole", tmp_path / "the parts"
    assert run("translate", "train", pairs, "-o", whole, *SMALL)[0] == 0
    stop_at(update)
    code, _, err = run("translate", "train", pairs, "-o", parts, *SMALL)
    assert code == 130
    assert f"{update} updates. Resume with: crnn translate train -o '{parts}' --resume" in err
    assert len(err.splitlines()) == 1
    code, _, err = run("translate", "train", pairs, "-o", parts, *SMALL)
    assert (code, err.startswith(f"crnn: error: {parts}: contains an unfinished run")) == (2, True)
    stop_at(-1)
    code, out, _ = run("translate", "train", "-o", parts, "--resume")
    assert code == 0
    assert f", {update} updates\n" in out
    np.testing.assert_equal(numbers(Translator, parts), numbers(Translator, whole))
    assert (parts / "held-out.tsv").read_text() == (whole / "held-out.tsv").read_text()
    assert steady(rows(parts)) == steady(rows(whole))


def test_a_second_ctrl_c_during_callbacks_leaves_the_last_checkpoint(
    run, pairs, tmp_path, monkeypatch
):
    evaluate, calls = Translator.evaluate, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(self, *arguments)

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run("translate", "train", pairs, "-o", whole, *SMALL)[0] == 0
    monkeypatch.setattr(Translator, "evaluate", interrupted)
    code, _, err = run("translate", "train", pairs, "-o", parts, *SMALL)
    assert code == 130
    assert err.startswith("Stopped without saving: a callback was interrupted")
    monkeypatch.undo()
    assert run("translate", "train", "-o", parts, "--resume")[0] == 0
    np.testing.assert_equal(numbers(Translator, parts), numbers(Translator, whole))
    assert steady(rows(parts)) == steady(rows(whole))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hidden-size", "17"], "hidden_size: expected 16, the value of the run, got 17"),
        (["--words"], "words: expected False, the value of the run, got True"),
        (["--attention", "none"], "attention: expected 'additive', the value of the run, got"),
        (["other.tsv"], "other.tsv: expected the file of the run, got other data"),
    ],
)
def test_a_run_is_resumed_with_equal_settings(run, pairs, tmp_path, options, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("other.tsv").write_text("a\tb\n" * 40, encoding="utf-8")
    assert run("translate", "train", pairs, "-o", "run", *SMALL)[0] == 0
    before = Path("run", "checkpoint.npz").read_bytes()
    code, out, err = run("translate", "train", "-o", "run", "--resume", *options)
    assert (code, out) == (2, "")
    assert err.startswith(f"crnn: error: {message}")
    assert Path("run", "checkpoint.npz").read_bytes() == before


# ------------------------------------------------------------------------------------ translating


def test_each_line_is_translated_to_one_line(run, reads, folder):
    model = Translator.load(folder)
    reads("añc\n\n  \nc x\r\nñ".encode())
    code, out, err = run("translate", folder)
    assert (code, err) == (0, "")
    texts = ["añc", "", "  ", "c x", "ñ"]
    assert out == "".join(f"{text}\n" for text in model.translate(texts))
    reads(b"")
    assert run("translate", folder) == (0, "", "")


def test_long_inputs_are_translated_in_blocks(run, reads, folder, monkeypatch):
    lines = "\n".join(TEXTS) + "\n"
    reads(lines.encode())
    whole = run("translate", folder)
    monkeypatch.setattr(cli.translate, "BLOCK", 7)
    reads(lines.encode())
    assert run("translate", folder) == whole
    assert whole[1].count("\n") == len(TEXTS)


def test_at_a_terminal_each_line_is_translated_at_once(run, reads, folder, monkeypatch):
    reads("añ\nc\n".encode())
    seen = []
    monkeypatch.setattr(
        Translator, "translate", lambda self, lines, **o: seen.append(lines) or ["x"] * len(lines)
    )
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert run("translate", folder) == (0, "x\nx\n", "")
    assert seen == [["añ"], ["c"]]


def test_the_beam_and_its_penalty_are_passed_on(run, reads, folder):
    model = Translator.load(folder)
    reads("\n".join(TEXTS).encode())
    code, out, _ = run("translate", folder, "--beam", 4, "--length-penalty", 0.7)
    assert code == 0
    assert out.splitlines() == model.translate(TEXTS, beam=4, length_penalty=0.7)
    assert out.splitlines() != model.translate(TEXTS)


def test_the_alignment_of_the_first_line_is_drawn(run, reads, folder, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(cli.translate.plotting, "save_attention", lambda *a: drawn.append(a))
    reads("\nañc\nc\n".encode())
    picture = tmp_path / "picture.png"
    assert run("translate", folder, "--attention-plot", picture, "--beam", 2)[0] == 0
    ((path, weights, source, target),) = drawn
    assert (path, source) == (str(picture), ["a", "ñ", "c"])
    expected = Translator.load(folder).attention("añc", beam=2)
    assert target == expected.target
    np.testing.assert_array_equal(weights, expected.weights)


def test_the_attention_plot_is_an_image(run, reads, pairs, tmp_path):
    assert run("translate", "train", pairs, "-o", tmp_path / "run", *SMALL)[0] == 0
    reads("añc\n".encode())
    picture = tmp_path / "picture.png"
    code, out, err = run("translate", tmp_path / "run", "--attention-plot", picture)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 1
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_output_is_utf8_on_every_system(folder, tmp_path):
    model = Translator.load(folder)
    done = subprocess.run(
        [sys.executable, "-m", "crnn.cli", "translate", str(folder)],
        input="ñañ\n".encode(),
        capture_output=True,
        env=ENVIRONMENT | {"PYTHONIOENCODING": "latin-1"},
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode("utf-8").splitlines() == model.translate(["ñañ"])


# ----------------------------------------------------------------------------------------- errors


@pytest.fixture
def broken(tmp_path):
    """Folder of wrong files and folders."""
    (tmp_path / "one.tsv").write_text("a\tb\n", encoding="utf-8")
    (tmp_path / "empty.tsv").write_text("\n", encoding="utf-8")
    (tmp_path / "bad.tsv").write_text("a\tb\nc\td\te\n", encoding="utf-8")
    (tmp_path / "latin.tsv").write_bytes(b"a\tb\ncaf\xe9\tb\n")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "checkpoint.npz").write_bytes(b"PK")
    CharModel.for_text("abc", hidden_size=4, seed=1).save(tmp_path / "characters")
    Translator.for_pairs(PAIRS, hidden_size=4, embedding=4, attention=None).save(tmp_path / "blind")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "crnn translate: error: the following arguments are required: DIR"),
        ("train x.tsv", "crnn translate train: error: the following arguments are required: -o"),
        ("train -o out", "crnn: error: expected PAIRS or --resume, got none of them"),
        ("train none.tsv -o out", "crnn: error: {tmp}none.tsv: No such file or directory"),
        ("train empty.tsv -o out", "crnn: error: {tmp}empty.tsv: expected pairs of texts, got an"),
        ("train bad.tsv -o out", "crnn: error: {tmp}bad.tsv: line 2: expected 2 columns as in"),
        ("train latin.tsv -o out", "crnn: error: {tmp}latin.tsv: line 2: expected a text in UTF-8"),
        ("train one.tsv -o out", "crnn: error: pairs: expected at least two, to hold one out"),
        (
            "train one.tsv -o out --attention loud",
            "crnn translate train: error: argument --attention: expected "
            "additive|dot|general|none, got 'loud'",
        ),
        (
            "train one.tsv -o out --embedding 0",
            "crnn translate train: error: argument --embedding: expected an integer of at least 1",
        ),
        ("train -o nothing --resume", "crnn: error: nothing: no checkpoint.npz in this directory"),
        ("train -o damaged --resume", "crnn: error: damaged/checkpoint.npz: cannot be read: "),
        (
            "train -o blind --resume",
            "crnn: error: blind/checkpoint.npz: contains a model without a training run to resume",
        ),
        ("nothing", "crnn: error: nothing: no checkpoint.npz in this directory"),
        ("damaged", "crnn: error: damaged/checkpoint.npz: cannot be read: BadZipFile"),
        (
            "characters",
            "crnn: error: characters/checkpoint.npz: cannot be read: expected a file with a "
            "translator, got a file with a character model",
        ),
        ("blind --beam 0", "crnn translate: error: argument --beam: expected an integer of at"),
        ("blind --beam 2000000000000", "crnn: error: not enough memory\n"),
        ("blind --length-penalty x", "crnn translate: error: argument --length-penalty: "),
        ("blind --attention-plot a.png", "crnn: error: attention: expected a network with"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="paths and the system's messages are written otherwise")
def test_errors_are_one_line(run, reads, broken, monkeypatch, line, message):
    monkeypatch.chdir(broken)
    reads(b"abc\n")
    code, out, err = run("translate", *line.split())
    assert (code, out) == (2, "")
    assert err.startswith(message.replace("{tmp}", f"{broken}/"))
    assert len(err.splitlines()) == 1


def test_input_that_is_not_utf8(run, reads, folder, tmp_path):
    reads(b"a\ncaf\xe9\n")
    code, _, err = run("translate", folder)
    assert code == 2
    assert err.startswith("crnn: error: standard input: line 2: expected a text in UTF-8: ")
    reads(b"\n")
    picture = tmp_path / "picture.png"
    code, _, err = run("translate", folder, "--attention-plot", picture)
    assert (code, err) == (2, f"crnn: error: {picture}: expected a line to translate, got none\n")
    assert not picture.exists()


def test_plots_require_matplotlib(run, reads, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    reads("añ\n".encode())
    code, out, err = run("translate", folder, "--attention-plot", tmp_path / "picture.png")
    assert (code, out) == (2, "")
    assert 'pip install ".[plot]"' in err


def test_training_that_diverges_is_an_error(run, pairs, tmp_path):
    options = ["--lr", "1e38", "--clip-norm", "1e38"]
    code, _, err = run("translate", "train", pairs, "-o", tmp_path / "run", *SMALL, *options)
    assert code == 2
    assert err.startswith("crnn: error: ")
    assert len(err.splitlines()) == 1
