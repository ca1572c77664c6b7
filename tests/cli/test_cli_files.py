"""The command with false checkpoints, empty paths, and files that cannot be read."""

import math
import os
import stat

import numpy as np
import pytest

import crnn
from crnn import cli, plotting
from crnn.callbacks import Checkpoint, KeepBest
from crnn.cli import characters as module
from crnn.cli.characters import CharRun, Settings, Source
from crnn.cli.forecast import ForecastRun
from crnn.cli.translate import Settings as TranslatorSettings
from crnn.cli.translate import TranslatorRun
from crnn.data import Vocabulary, read_csv, read_pairs
from crnn.models import CharModel, DeepAR, Translator
from crnn.storage import archive
from support.commands import runner, stopper

TEXT = "the cat sat on the mat and the rat ran at the cat.\n" * 20
PAIRS = "".join(f"{'ab' * (n % 5 + 1)}{n}\t{n}{'ba' * (n % 5 + 1)}\n" for n in range(30))
SMALL = ["--hidden-size", "8", "--embedding", "4", "--batch-size", "4", "--epochs", "3"]
STEPS = ["--steps", "8"]
SALES = "x\n" + "".join(f"{n * n % 7}\n" for n in range(40))
FORECAST = ["--target", "x", "--horizon", "3", "--hidden-size", "8", "--layers", "1"]
FORECAST += ["--batch-size", "4", "--updates", "250"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="files of other kinds are others there")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(module, "WRITTEN", 20)
    monkeypatch.setattr(module, "INVENTED", 5)


@pytest.fixture
def run(capsys):
    return runner(capsys)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Folders of interrupted runs of a character model and of a translator."""
    folder, patch = tmp_path_factory.mktemp("begun"), pytest.MonkeyPatch()
    patch.setattr(module, "WRITTEN", 20)
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    (folder / "pairs.tsv").write_text(PAIRS, encoding="utf-8")
    (folder / "sales.csv").write_text(SALES, encoding="utf-8")
    commands = {
        "train": (CharRun, ["train", folder / "text.txt", *SMALL, *STEPS]),
        "translate": (TranslatorRun, ["translate", "train", folder / "pairs.tsv", *SMALL]),
        "forecast": (ForecastRun, ["forecast", "train", folder / "sales.csv", *FORECAST]),
    }
    for name, (kind, arguments) in commands.items():
        with pytest.MonkeyPatch.context() as patch:
            stopper(patch, kind)(5)
            code = cli.main([*map(str, arguments), "-o", str(folder / name)])
            assert code == 130
    return folder


KINDS = {
    "train": ("character model", ["train"]),
    "translate": ("translator", ["translate", "train"]),
    "forecast": ("forecasting model", ["forecast", "train"]),
}
MODELS = {"train": CharModel, "translate": Translator, "forecast": DeepAR}


def lying(begun, tmp_path, name, path, value):
    """Return a folder whose checkpoint has a false value at a path in the tree of the run."""
    tree = MODELS[name].read_tree(begun / name)
    tree["training"] = inside = dict(tree["training"])
    *where, last = path
    for key in where:
        inside[key] = dict(inside[key])
        inside = inside[key]
    inside[last] = value
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    archive.write(folder / "checkpoint.npz", KINDS[name][0], tree)
    return folder


def refused(run, *arguments):
    """Run the command, check that it fails, and return the line of its error."""
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("crnn")
    return err


# ------------------------------------------------------------------------------ false settings

WHOLE = (0, -1, 1.0, 1.5, math.nan, math.inf, "1", None, True, [1], {}, 10**30)
REAL = (0, -1.0, math.nan, math.inf, "1", None, True, [1], {})
FLAG = (1, "yes", None, [], 0.0)
LIES = [
    *(
        (name, value)
        for name in ("hidden_size", "layers", "epochs", "batch_size")
        for value in WHOLE
    ),
    *(("seed", value) for value in WHOLE[1:]),
    *((name, 10**7) for name in ("hidden_size", "layers", "embedding", "batch_size")),
    *((name, 2**62) for name in ("hidden_size", "layers", "embedding", "batch_size")),
    *((name, value) for name in ("lr", "clip_norm") for value in REAL),
    *(("embedding", value) for value in (-1, 1.0, "1", True, [1], 5)),
    *(("cell", value) for value in ("mlp", "gru ", 1, None, [], "rnn", "janet")),
    *((name, 2) for name in ("layers", "epochs")),
    ("lr", 0.5),
    ("spam", 1),
]
CHARACTERS = [
    *(("steps", value) for value in (*WHOLE, 4)),
    *(("lines", value) for value in (*FLAG, True)),
    *(("clip_norm", value) for value in (0.5,)),
]
TRANSLATIONS = [
    *(("min_count", value) for value in WHOLE),
    *((name, value) for name in ("words", "bidirectional") for value in FLAG),
    *(("attention", value) for value in ("spam", 1, True, [], "dot", None)),
    ("words", True),
    ("bidirectional", False),
]
FORECASTS = [
    *((name, value) for name in ("horizon", "updates") for value in WHOLE[:-1]),
    *((name, value) for name in ("period", "context") for value in WHOLE if value is not None),
    *((name, value) for name in ("horizon", "updates") for value in (4, 10**30)),
    *(("lags", value) for value in (1, "1", (), [1], (1, 1), (0,), (1.5,), (True,), (2, 3))),
    *((name, value) for name in ("known", "static", "categories") for value in (None, "x", ("x",))),
    *(("target", value) for value in (None, "", " ", 1, ("x",))),
    *((name, value) for name in ("group", "time", "encoding") for value in ("", 1, ("x",))),
    *((name, value) for name in ("delimiter", "decimal") for value in ("", ";;", None, 1)),
    *((name, value) for name in ("likelihood", "weights", "scale") for value in ("spam", 1, [])),
    *(("likelihood", value) for value in ("gaussian", "student-t")),
    *(("dropout", value) for value in (-0.1, 1, 1.0, math.nan, "0", None)),
    *(("validation_windows", value) for value in (-1, 1.0, None, 2**31)),
]


@pytest.mark.parametrize(
    ("name", "lie"),
    [("train", lie) for lie in LIES + CHARACTERS]
    + [("translate", lie) for lie in LIES + TRANSLATIONS]
    + [("forecast", lie) for lie in LIES + FORECASTS if lie != ("batch_size", 10**7)],
)
def test_false_settings_are_an_error_of_one_line(run, begun, tmp_path, monkeypatch, name, lie):
    """No source is opened before, unless the settings could be those of another run."""
    folder = lying(begun, tmp_path, name, ("settings", lie[0]), lie[1])
    before = (folder / "checkpoint.npz").read_bytes()
    possible = [
        ("clip_norm", 0.5),
        ("batch_size", 10**7),
        ("batch_size", 2**62),
        ("steps", 4),
        ("min_count", 10**30),
    ]
    kind = {"train": CharRun, "translate": TranslatorRun, "forecast": ForecastRun}[name]
    if lie not in possible:
        monkeypatch.setattr(kind, "_read", lambda self: pytest.fail("it was opened"))
    monkeypatch.setattr(kind, "_make_model", lambda self: pytest.fail("it was built"))
    err = refused(run, *KINDS[name][1], "-o", folder, "--resume")
    named = "epochs" if lie == ("updates", 4) else lie[0]
    assert lie in possible or named in err
    assert (folder / "checkpoint.npz").read_bytes() == before


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("path", "value"),
    [
        *((("source", "path"), value) for value in ("", 3, None, [], True, "/nowhere", "a\0b")),
        *((("source",), value) for value in (None, [], 3, {}, {"spam": 1})),
        *((("settings",), value) for value in (None, [], {}, "x")),
        *((("digest",), value) for value in (None, "0" * 64, 3)),
        *((("trainer",), value) for value in (None, [], {}, 3)),
        *((("trainer", "position"), value) for value in (None, {}, [1])),
        *((("trainer", "position", "epoch"), value) for value in (math.nan, -1, 99, "1", None)),
        *((("trainer", "history"), value) for value in (None, {}, {"epoch": [1]})),
        *((("trainer", "callbacks"), value) for value in (None, {}, [1])),
        *((("trainer", "optimizer"), value) for value in (None, {}, [1])),
        *((("trainer", "arguments"), value) for value in (None, [1], {"epochs": 3})),
        *((("trainer", name), value) for name in ("stopped", "tapes") for value in (None, 3)),
    ],
)
def test_other_false_values_are_an_error_of_one_line(run, begun, tmp_path, name, path, value):
    folder = lying(begun, tmp_path, name, path, value)
    refused(run, *KINDS[name][1], "-o", folder, "--resume")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kind", ["device", "fifo", "directory"])
def test_a_source_that_is_no_file_is_refused(run, begun, tmp_path, name, kind):
    path = {"device": "/dev/zero", "fifo": tmp_path / "fifo", "directory": tmp_path}[kind]
    if kind == "fifo":
        os.mkfifo(path)
    folder = lying(begun, tmp_path, name, ("source", "path"), str(path))
    assert str(path) in refused(run, *KINDS[name][1], "-o", folder, "--resume")
    options = FORECAST if name == "forecast" else []
    assert str(path) in refused(run, *KINDS[name][1], path, *options, "-o", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_folders_with_true_values_are_resumed(run, begun, tmp_path):
    for name, (_, command) in KINDS.items():
        known = ("updates", 250) if name == "forecast" else ("epochs", 3)
        folder = lying(begun, tmp_path, name, ("settings", known[0]), known[1])
        assert run(*command, "-o", folder, "--resume")[0] == 0


def test_the_default_of_embedding_equals_the_hidden_size(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    one = CharRun(
        tmp_path / "run", Source(str(tmp_path / "text.txt")), Settings(hidden_size=4, batch_size=2)
    )
    values = CharRun.settings_of(one.model)
    one.settings.check_model(values)
    Settings(hidden_size=4, embedding=4).check_model(values)
    with pytest.raises(ValueError, match="embedding: expected 4"):
        Settings(hidden_size=4, embedding=0).check_model(values)


@pytest.mark.parametrize("attention", [None, "dot", "general", "additive"])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, True)])
def test_the_settings_of_a_translator_are_read_from_it(tmp_path, attention, layers, bidirectional):
    (tmp_path / "pairs.tsv").write_text(PAIRS, encoding="utf-8")
    settings = TranslatorSettings(
        hidden_size=4, embedding=3, layers=layers, bidirectional=bidirectional, attention=attention
    )
    source = TranslatorRun.source_class(str(tmp_path / "pairs.tsv"))
    one = TranslatorRun(tmp_path / "run", source, settings)
    settings.check_model(TranslatorRun.settings_of(one.model))


# ------------------------------------------------------------------------ unreadable checkpoints


def unreadable(kind, path, begun):
    """Replace a checkpoint by something that cannot be read."""
    good = (begun / "train" / "checkpoint.npz").read_bytes()
    if kind == "flipped":
        flipped = bytearray(good)
        flipped[len(good) // 2] ^= 1
        path.write_bytes(flipped)
    elif kind == "cut":
        path.write_bytes(good[:-100])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "other":
        path.write_bytes((begun / "translate" / "checkpoint.npz").read_bytes())
    elif kind == "model":
        crnn.save(path, crnn.RNN(2, 3))
    elif kind == "directory":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "fifo":
        os.mkfifo(path)


@pytest.mark.parametrize(
    "kind", ["flipped", "cut", "empty", "other", "model", "directory", "loop", "fifo"]
)
@pytest.mark.parametrize("command", ["train", "demo"])
def test_a_checkpoint_that_cannot_be_read_is_not_overwritten(run, begun, tmp_path, kind, command):
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "checkpoint.npz"
    unreadable(kind, path, begun)
    before = os.lstat(path)
    arguments = [begun / "text.txt", *SMALL, *STEPS] if command == "train" else []
    err = refused(run, command, *arguments, "-o", folder)
    assert "checkpoint.npz" in err
    after = os.lstat(path)
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert os.listdir(folder) == ["checkpoint.npz"]


@pytest.mark.parametrize("path", [("settings",), ("trainer", "position"), ("source",)])
def test_a_run_whose_record_cannot_be_read_is_not_overwritten(run, begun, tmp_path, path):
    folder = lying(begun, tmp_path, "train", path, {"spam": 1})
    before = (folder / "checkpoint.npz").read_bytes()
    err = refused(run, "train", begun / "text.txt", *SMALL, *STEPS, "-o", folder)
    assert "Move the file, or choose another folder" in err
    assert (folder / "checkpoint.npz").read_bytes() == before


def test_the_demo_does_not_overwrite_an_unfinished_run(run, begun):
    before = (begun / "train" / "checkpoint.npz").read_bytes()
    assert "an unfinished run. Add --resume" in refused(run, "demo", "-o", begun / "train")
    assert (begun / "train" / "checkpoint.npz").read_bytes() == before


def test_a_model_without_a_run_is_no_unfinished_run(run, begun, tmp_path):
    CharModel.for_text("abc", hidden_size=4).save(tmp_path / "run")
    code, _, _ = run("train", begun / "text.txt", *SMALL, *STEPS, "-o", tmp_path / "run")
    assert code == 0


# ------------------------------------------------------------------------------------------ paths


@pytest.mark.parametrize(
    "line",
    [
        ["train", "", "-o", "x"],
        ["train", "text.txt", "-o", ""],
        ["train", "--resume", "-o", ""],
        ["sample", ""],
        ["demo", "-o", ""],
        ["translate", ""],
        ["translate", "x", "--attention-plot", ""],
        ["translate", "train", "", "-o", "x"],
        ["translate", "train", "pairs.tsv", "-o", ""],
        ["forecast", "train", "", "-o", "x"],
        ["forecast", "train", "sales.csv", "-o", ""],
        ["forecast", "predict", "", "sales.csv"],
        ["forecast", "test", "x", ""],
    ],
)
def test_an_empty_path_is_refused_by_name(run, tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    err = refused(run, *line)
    names = {"train": "TEXT|-o/--output", "sample": "DIR", "demo": "-o/--output"}
    names |= {"translate": "DIR|PAIRS|-o/--output|--attention-plot"}
    names |= {"forecast": "DIR|FILE.csv|-o/--output"}
    assert any(f"argument {name}: expected a path" in err for name in names[line[0]].split("|"))
    assert os.listdir(tmp_path) == []


def history():
    return crnn.callbacks.history.History()


@pytest.mark.parametrize(
    "use",
    [
        lambda: crnn.save("", crnn.RNN(2, 3)),
        lambda: crnn.load(""),
        lambda: CharModel.for_text("abc", hidden_size=4).save(""),
        lambda: CharModel.load(""),
        lambda: Translator.load(""),
        lambda: Vocabulary("abc").save(""),
        lambda: Vocabulary.load(""),
        lambda: read_csv(""),
        lambda: read_pairs(""),
        lambda: history().to_csv(""),
        lambda: KeepBest(""),
        lambda: Checkpoint(""),
        lambda: plotting.save_attention("", np.ones((1, 1)), "a", "b"),
        lambda: plotting.save_loss_curve("", history()),
        lambda: Source(""),
        lambda: CharRun("", Source(corpus="pydoc"), Settings()),
    ],
)
def test_empty_paths_are_refused_by_name(tmp_path, monkeypatch, use):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"path: expected .*, got an empty string"):
        use()
    assert os.listdir(tmp_path) == []


def test_the_path_of_a_plot_is_checked(tmp_path):
    pytest.importorskip("matplotlib")
    weights = np.ones((1, 2))
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ValueError, match="folder: expected the name of a file, got a directory"):
        plotting.save_attention(folder, weights, "ab", "c")
    with pytest.raises(FileNotFoundError, match="its folder does not exist"):
        plotting.save_attention(tmp_path / "none" / "x.png", weights, "ab", "c")
    plotting.save_attention(tmp_path / "plain", weights, "ab", "c")
    plotting.save_attention(tmp_path / "x.svg", weights, "ab", "c")
    assert sorted(os.listdir(tmp_path)) == ["folder", "plain", "x.svg"]
    assert (tmp_path / "plain").read_bytes().startswith(b"\x89PNG")
    assert stat.S_ISDIR(os.stat(folder).st_mode)


def test_an_attention_plot_that_cannot_be_written_is_refused_at_once(
    run, begun, tmp_path, monkeypatch
):
    class Silent:
        buffer = property(lambda self: pytest.fail("standard input was read"))
        isatty = staticmethod(lambda: False)

    monkeypatch.setattr("sys.stdin", Silent())
    for path in (tmp_path, tmp_path / "none" / "x.png"):
        err = refused(run, "translate", begun / "translate", "--attention-plot", path)
        assert str(path) in err
    assert os.listdir(tmp_path) == []
