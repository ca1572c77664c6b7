"""``crnn forecast``: its files and its output, resuming, and errors of one line."""

import csv
import inspect
import io
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pandas", reason="pandas reads the files")

import crnn
from crnn import cli
from crnn.cli.forecast import ForecastRun, Settings, Source, content_of
from crnn.cli.run import digest_of
from crnn.data import Panel
from crnn.models import CharModel, DeepAR
from support.commands import numbers, rows, runner, steady, stopper

H = 5
FILES = ["backtest.csv", "checkpoint.npz", "history.csv", "loss.png"]
COLUMNS = ["--target", "sold", "--group", "store", "--time", "day", "--known", "price,open"]
COLUMNS += ["--static", "area", "--categories", "region"]
SMALL = ["--horizon", H, "--period", 7, "--likelihood", "negative-binomial", "--updates", 230]
SMALL += ["--hidden-size", 6, "--layers", 1, "--batch-size", 4, "--seed", 3]
HEADER = "day,store,region,area,price,open,sold\n"


def sales(stores=4, days=40, ahead=7):
    """Return lines of daily sales, which are missing at the end, where prices go on."""
    rng, lines = np.random.default_rng(0), []
    for store in range(stores):
        for t in range(days + ahead):
            day, price = np.datetime64("2024-01-01") + t, rng.uniform(1, 2)
            mean = (5 + 5 * store) * (1.5 + np.sin(2 * np.pi * t / 7)) / price
            sold = "" if t >= days or rng.random() < 0.05 else rng.poisson(mean)
            shop = f"store {store}, main street" if store == 2 else f"store {store}"
            region = "north" if store < 2 else "süd"
            lines.append(f'{day},"{shop}",{region},{10 + store},{price:.2f},{t % 2},{sold}\n')
    return lines


SALES = HEADER + "".join(sales())


@pytest.fixture
def run(capsys):
    return runner(capsys)


@pytest.fixture
def stop_at(monkeypatch):
    return stopper(monkeypatch, ForecastRun)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "sales.csv"
    path.write_text(SALES, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder with a file, and with the folder "run" of a finished run."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "sales.csv").write_text(SALES, encoding="utf-8")
    line = ["forecast", "train", folder / "sales.csv", "-o", folder / "run", *COLUMNS, *SMALL]
    assert cli.main(list(map(str, line))) == 0
    return folder


def panel_of(path, **changes):
    options = {"target": "sold", "group": "store", "time": "day", "known": ["price", "open"]}
    options |= {"static": "area", "categories": "region"}
    return Panel.read_csv(path, **options | changes)


# --------------------------------------------------------------------------------------- training


def test_the_files_and_the_output_of_a_run(run, file, tmp_path):
    place = tmp_path / "a" / "run"
    code, out, err = run("forecast", "train", file, "-o", place, *COLUMNS, *SMALL)
    assert (code, err) == (0, "")
    assert sorted(os.listdir(place)) == FILES
    lines = out.splitlines()
    missing = int(np.isnan(panel_of(file).numbers).sum())
    assert lines[0].startswith("1 x LSTM 6, ")
    assert f"on sales.csv: 4 series, {len(panel_of(file).numbers)} steps, " in lines[0]
    assert all(
        line.startswith(f"epoch {i}/3: nats per number") for i, line in enumerate(lines[1:4], 1)
    )
    assert lines[4:6] == ["Backtest of the held-out windows:", f"4 series, 1 x {H} steps"]
    assert lines[6].split() == ["DeepAR", "seasonal", "naive"]
    assert lines[-1].startswith("Done in ")

    table = rows(place)
    assert [row["update"] for row in table] == ["100", "200", "230"]
    first = table[0]
    assert (first["file"], first["series"], first["target"]) == ("sales.csv", "4", "sold")
    assert first["missing_numbers"] == str(missing)
    assert (first["cell"], first["known"]) == ("lstm", "('price', 'open')")
    assert all(float(row["val_loss"]) > 0 for row in table)

    model = DeepAR.load(place)
    report = model.backtest(panel_of(file), windows=1)
    assert lines[5:-1] == repr(report).splitlines()
    with open(place / "backtest.csv", newline="", encoding="utf-8") as opened:
        found = {row["metric"]: row for row in csv.DictReader(opened)}
    for name in ("DeepAR", "seasonal naive"):
        assert float(found["wql"][name]) == report[name]["wql"]
        assert float(found[f"coverage 80%, step {H}"][name]) == report.coverage(name)[-1]


def test_the_model_is_that_of_the_best_epoch_and_of_python(run, file, tmp_path, monkeypatch):
    line = ["forecast", "train", file, "-o", tmp_path / "run", *COLUMNS, *SMALL, "--lr", 0.05]
    assert run(*line)[0] == 0
    panel = panel_of(file)
    model = DeepAR.for_panel(
        panel, H, period=7, likelihood="negative_binomial", hidden_size=6, layers=1, seed=3
    )
    history = model.train(panel, updates=230, batch_size=4, lr=0.05, progress=False)
    assert int(np.argmin(history.val_loss)) < 2  # the last epoch is not the best one
    found = DeepAR.load(tmp_path / "run")
    np.testing.assert_equal(found.network.state_dict(), model.network.state_dict())


def test_every_option_determines_the_model(run, tmp_path):
    path = tmp_path / "sales.csv"
    text = "".join(f"{t}.{t}\t{t % 3},5\n".replace(".", ",") for t in range(60))
    path.write_bytes(("\ufeffx\té\n" + text.replace(",5", ",5")).encode("utf-16"))
    options = {"target": "é", "delimiter": "\\t", "decimal": ",", "encoding": "utf-16"}
    options |= {"horizon": 4, "context": 6, "period": 3, "lags": "1,5,2", "likelihood": "student-t"}
    options |= {"cell": "gru", "hidden-size": 5, "layers": 3, "dropout": 0.25, "scale": "none"}
    options |= {"age": True}
    options |= {"updates": 3, "batch-size": 2, "lr": 0.01, "clip-norm": 1, "weights": "scale"}
    options |= {"validation-windows": 2, "seed": 9}
    line = [word for name, value in options.items() for word in (f"--{name}", value)]
    line.remove(True)  # of --age
    code, out, err = run("forecast", "train", path, "-o", tmp_path / "run", *line)
    assert (code, err) == (0, "")
    assert "1 series, 2 x 4 steps" in out
    model, training = DeepAR.load_training(tmp_path / "run")
    assert (model.horizon, model.context, model.lags, model.seed) == (4, 6, (5, 2, 1), 9)
    assert model.likelihood == "student_t"
    below = model.network.layers[0].layer.layers
    assert [type(layer).__name__ for layer in below].count("GRU") == 3
    assert model.inputs.scale.kind is None
    values = ForecastRun.settings_of(model)
    assert values["dropout"] == 0.25
    settings = Settings(**training["settings"])
    settings.check_model(values)
    assert {name.replace("_", "-") for name in Settings.names()} == options.keys() | {
        "group",
        "time",
        "known",
        "static",
        "categories",
    }
    assert all(
        getattr(settings, name) != getattr(Settings(target="x", horizon=1), name)
        for name in Settings.names()
        if name.replace("_", "-") in options.keys() - {"likelihood"}
    )
    assert run("forecast", "predict", tmp_path / "run", path)[0] == 0


@pytest.mark.parametrize("cell", ["tcn", "transformer"])
def test_blocks_are_trained_and_resumed(run, file, tmp_path, cell):
    options = [*COLUMNS, *SMALL, "--updates", 2, "--hidden-size", 8, "--layers", 2, "--cell", cell]
    code, _, err = run("forecast", "train", file, "-o", tmp_path / "run", *options)
    assert (code, err) == (0, "")
    code, out, err = run("forecast", "train", file, "-o", tmp_path / "run", *options, "--resume")
    assert (code, err) == (0, "")
    assert "Resumed after 1 of 1 epochs, 2 updates" in out


def test_the_defaults_are_those_of_the_model():
    functions = (Panel.read_csv, DeepAR.for_panel, DeepAR.train)
    parameters = {
        name: parameter.default
        for function in functions
        for name, parameter in inspect.signature(function).parameters.items()
    }
    settings = Settings(target="x", horizon=1)
    own = {"target": "x", "horizon": 1, "seed": 0}
    expected = {name: own.get(name, parameters[name]) for name in Settings.names()}
    assert {name: getattr(settings, name) for name in Settings.names()} == expected


def test_every_setting_is_passed_on():
    settings = Settings(target="x", horizon=1)
    functions = (Panel.read_csv, DeepAR.for_panel, DeepAR.trainer)
    handed = {name for function in functions for name in settings.parameters_of(function)}
    assert handed == set(Settings.names())


def test_nothing_held_out(run, file, tmp_path):
    options = [*COLUMNS, *SMALL, "--updates", 2, "--validation-windows", 0]
    code, out, err = run("forecast", "train", file, "-o", tmp_path / "run", *options)
    assert (code, err) == (0, "")
    assert "No backtest, because no windows were held out" in out
    assert "backtest.csv" not in os.listdir(tmp_path / "run")


def test_the_help(run):
    code, out, _ = run("forecast", "train", "--help")
    out = " ".join(out.split())
    assert code == 0
    assert out.startswith("usage: crnn forecast train ")
    assert "gaussian|student-t|negative-binomial" in out
    for default in ("40", "lstm", "student-t", "5000", "0.001"):
        assert f"(default: {default})" in out
    assert "a plot of the loss and a backtest" in out
    for command in ("test", "predict"):
        assert run("forecast", command, "--help")[1].startswith(f"usage: crnn forecast {command} ")
    assert "(default: 0.1,0.5,0.9)" in " ".join(run("forecast", "predict", "--help")[1].split())
    assert "forecast train, forecast test, forecast predict" in " ".join(run("--help")[1].split())


# --------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("update", [1, 150, 230])
def test_a_resumed_run_is_the_same_run(run, file, tmp_path, stop_at, trained, update):
    parts = tmp_path / "the parts"
    stop_at(update)
    code, _, err = run("forecast", "train", file, "-o", parts, *COLUMNS, *SMALL)
    assert code == 130
    assert f"{update} updates. Resume with: crnn forecast train -o '{parts}' --resume" in err
    assert len(err.splitlines()) == 1
    code, _, err = run("forecast", "train", file, "-o", parts, *COLUMNS, *SMALL)
    assert (code, err.startswith(f"crnn: error: {parts}: contains an unfinished run")) == (2, True)
    stop_at(-1)
    code, out, _ = run("forecast", "train", "-o", parts, "--resume")
    assert code == 0
    assert f", {update} updates\n" in out
    np.testing.assert_equal(numbers(DeepAR, parts), numbers(DeepAR, trained / "run"))
    assert (parts / "backtest.csv").read_text() == (trained / "run" / "backtest.csv").read_text()
    assert steady(rows(parts)) == steady(rows(trained / "run"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hidden-size", "17"], "hidden_size: expected 6, the value of the run, got 17"),
        (["--horizon", "7"], f"horizon: expected {H}, the value of the run, got 7"),
        (["--target", "price"], "target: expected 'sold', the value of the run, got 'price'"),
        (["--known", "price"], "known: expected ('price', 'open'), the value of the run, got ('pr"),
        (["other.csv"], "other.csv: expected the file of the run, got other data"),
    ],
)
def test_a_run_is_resumed_with_equal_settings(
    run, trained, tmp_path, options, message, monkeypatch
):
    shutil.copytree(trained / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    Path("other.csv").write_text(SALES.replace("süd", "sud"), encoding="utf-8")
    before = Path("run", "checkpoint.npz").read_bytes()
    code, out, err = run("forecast", "train", "-o", "run", "--resume", *options)
    assert (code, out) == (2, "")
    assert err.startswith(f"crnn: error: {message}")
    assert Path("run", "checkpoint.npz").read_bytes() == before


def test_the_file_may_have_moved(run, trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    moved = tmp_path / "moved.csv"
    moved.write_text(SALES, encoding="utf-8")
    assert run("forecast", "train", moved, "-o", tmp_path / "run", "--resume")[0] == 0


PARTS = [
    {"series": [[1.0, 3.0], [3.0]]},
    {"series": [[1.0], [2.0, 3.0]], "known": [[1.0], [2.0, 3.0]]},
    {"known": [[1.0, 2.0], [4.0]]},
    {"known": None},
    {"static": [1.0, 3.0]},
    {"categories": ["a", "c"]},
    {"times": ("2024-01-02", np.timedelta64(1, "D"))},
    {"times": ("2024-01-01", np.timedelta64(2, "D"))},
    {"names": ["p", "r"]},
    {"columns": {"target": "t"}},
]


@pytest.mark.parametrize("change", PARTS, ids=str)
def test_the_hash_of_the_data_depends_on_all_parts(change):
    parts = {
        "series": [[1.0, 2.0], [3.0]],
        "known": [[1.0, 2.0], [3.0]],
        "static": [1.0, 2.0],
        "categories": ["a", "b"],
        "times": ("2024-01-01", np.timedelta64(1, "D")),
        "names": ["p", "q"],
    }
    digests = {digest_of(content_of(Panel(**made))) for made in (parts, parts, parts | change)}
    assert len(digests) == 2


# ------------------------------------------------------------------------------------ forecasting


def table_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_predictions_are_those_of_the_model(run, trained):
    code, out, err = run(
        "forecast",
        "predict",
        trained / "run",
        trained / "sales.csv",
        "--quantiles",
        ".25,.5,.975",
        "--samples",
        30,
        "--steps",
        6,
        "--seed",
        4,
    )
    assert (code, err) == (0, "")
    panel = panel_of(trained / "sales.csv")
    model = DeepAR.load(trained / "run")
    forecast = model.predict(panel, steps=6, samples=30, seed=4)
    table = table_of(out)
    assert list(table[0]) == ["series", "step", "time", "mean", "0.25", "0.5", "0.975"]
    assert [row["series"] for row in table] == np.repeat(panel.names, 6).tolist()
    assert [row["step"] for row in table] == list("123456") * 4
    assert [row["time"] for row in table] == forecast.times.ravel().astype(str).tolist()
    for name in ("0.25", "0.5", "0.975"):
        found = np.array([row[name] for row in table], np.float32).reshape(4, 6)
        np.testing.assert_array_equal(found, forecast.quantile(float(name)))
    np.testing.assert_array_equal([np.float32(r["mean"]) for r in table], forecast.mean.ravel())
    assert run("forecast", "predict", trained / "run", trained / "sales.csv")[1] != out


def test_other_series_are_forecast(run, trained, tmp_path):
    path = tmp_path / "new.csv"
    lines = [line.replace("store 1", "store 9") for line in sales() if "store 1" in line]
    empty = [f"2024-01-0{t},new,north,12,1.5,1,\n" for t in range(1, 8)]
    path.write_text(HEADER + "".join(lines + empty), encoding="utf-8")
    code, out, err = run("forecast", "predict", trained / "run", path)
    assert (code, err) == (0, "")
    table = table_of(out)
    assert [row["series"] for row in table] == ["store 9"] * H + ["new"] * H
    assert table[H]["time"] == "2024-01-01"


def test_without_times_there_is_no_column_for_them(run, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("x\n" + "\n".join(map(str, range(30))), encoding="utf-8")
    options = ["--target", "x", "--horizon", 2, "--updates", 2]
    assert run("forecast", "train", path, "-o", tmp_path / "run", *options)[0] == 0
    _, out, _ = run("forecast", "predict", tmp_path / "run", path)
    assert out.splitlines()[0] == "series,step,mean,0.1,0.5,0.9"
    assert out.count("\n") == 3


def test_a_test_compares_the_last_windows(run, trained, tmp_path):
    panel, model = panel_of(trained / "sales.csv"), DeepAR.load(trained / "run")
    line = ["forecast", "test", trained / "run", trained / "sales.csv"]
    assert run(*line) == (0, f"{model.backtest(panel)!r}\n", "")
    report = model.backtest(panel, windows=3, samples=20, seed=2)
    code, out, err = run(*line, "--windows", 3, "--samples", 20, "--seed", 2)
    assert (code, out) == (0, f"{report!r}\n")
    assert err == "crnn: note: the network was trained on the first 2 of 3 windows\n"
    other = tmp_path / "other.csv"
    other.write_text(SALES.replace("store 1", "store 9"), encoding="utf-8")
    code, _, err = run("forecast", "test", trained / "run", other, "--windows", 3)
    assert (code, err) == (0, "")


def test_absent_rows_are_counted(run, tmp_path):
    days = np.datetime64("2024-01-01") + np.arange(40)
    lines = [f"{day},{i % 5}\n" for i, day in enumerate(days) if i not in (3, 4, 20)]
    path = tmp_path / "sales.csv"
    path.write_text("day,sold\n" + "".join(lines), encoding="utf-8")
    options = ["--target", "sold", "--time", "day", "--horizon", 4, "--updates", 2]
    code, out, err = run("forecast", "train", path, "-o", tmp_path / "run", *options)
    assert code == 0
    note = "crnn: note: sales.csv: 3 of 40 steps have no row and became missing numbers, the first"
    assert err.startswith(f"{note} one at 2024-01-04, before series '0': {path}: line 5")
    assert "1 series, 40 steps, 3 missing numbers" in out
    assert run("forecast", "predict", tmp_path / "run", path)[2].startswith(note)
    code, out, err = run("forecast", "test", tmp_path / "run", path)
    assert (code, err.startswith(note), err.count("\n")) == (0, True, 1)


def test_the_output_is_utf8(run, trained, monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    path = trained / "greek.csv"
    path.write_text(SALES.replace("store 1", "Αθήνα"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stdout)
    assert cli.main(["forecast", "predict", str(trained / "run"), str(path)]) == 0
    assert "Αθήνα,1,2024" in stdout.buffer.getvalue().decode("utf-8")


# ----------------------------------------------------------------------------------------- errors

TRAIN = " ".join(map(str, [*COLUMNS, *SMALL]))


@pytest.fixture
def broken(trained, tmp_path):
    """Folder of wrong files and folders."""
    shutil.copytree(trained / "run", tmp_path / "run")
    lines = sales()
    files = {
        "good": lines,
        "empty": [],
        "wrong": [lines[0].replace(",10,", ",ten,"), *lines[1:]],
        "half": [lines[0].rsplit(",", 1)[0] + ",2.5\n", *lines[1:]],
        "order": [lines[1], lines[0], *lines[2:]],
        "twice": [lines[0], *lines],
        "zone": [lines[0].replace(",", "T00:00Z,", 1), *lines[1:]],
        "short": [line for i, line in enumerate(lines) if i % 47 < 42],
        "region": [line.replace("north", "east") for line in lines],
        "price": [lines[0].replace(",0,", ",,", 1), *lines[1:]],
        "few": [line for i, line in enumerate(lines) if i % 47 in (0, 40, 41, 42, 43, 44, 45, 46)],
    }
    for name, some in files.items():
        (tmp_path / f"{name}.csv").write_text(HEADER + "".join(some), encoding="utf-8")
    (tmp_path / "latin.csv").write_bytes(SALES.encode("latin-1"))
    (tmp_path / "semicolon.csv").write_text(SALES.replace(",", ";"), encoding="utf-8")
    (tmp_path / "nothing").mkdir()
    CharModel.for_text("abc", hidden_size=4, seed=1).save(tmp_path / "characters")
    DeepAR.load(trained / "run").save(tmp_path / "alone")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "crnn forecast: error: the following arguments are required: COMMAND"),
        ("fly", "crnn forecast: error: argument COMMAND: invalid choice: 'fly' "),
        ("train good.csv", "crnn forecast train: error: the following arguments are required: -o"),
        ("train -o out", "crnn: error: expected FILE.csv or --resume, got none of them"),
        ("train good.csv -o out", "crnn: error: target: expected --target, got none"),
        ("train good.csv -o out --target sold", "crnn: error: horizon: expected --horizon, got n"),
        (
            "train good.csv -o out --horizon 0",
            "crnn forecast train: error: argument --horizon: expected an integer of at least 1",
        ),
        (
            "train good.csv -o out --known price,price",
            "crnn forecast train: error: argument --known: expected distinct names of columns",
        ),
        ("train good.csv -o out --known ,", "crnn forecast train: error: argument --known: expect"),
        ("train good.csv -o out --lags 1,x", "crnn forecast train: error: argument --lags: expect"),
        ("train good.csv -o out --lags 0", "crnn forecast train: error: argument --lags: expected"),
        ("train good.csv -o out --dropout 1", "crnn forecast train: error: argument --dropout: ex"),
        (
            "train good.csv -o out --likelihood poisson",
            "crnn forecast train: error: argument --likelihood: expected "
            "gaussian|student-t|negative-binomial, got 'poisson'",
        ),
        (
            "train good.csv -o out --delimiter ;;",
            "crnn forecast train: error: argument --delimiter: expected one character, or \\t for",
        ),
        (
            "train good.csv -o out --horizon 5 --target sale",
            "crnn: error: target: expected a column of ['day', 'store', 'region', 'area', ",
        ),
        ("train none.csv -o out {t}", "crnn: error: {tmp}none.csv: No such file or directory"),
        ("train nothing -o out {t}", "crnn: error: {tmp}nothing: Is a directory"),
        ("train empty.csv -o out {t}", "crnn: error: {tmp}empty.csv: expected rows below the col"),
        ("train latin.csv -o out {t}", "crnn: error: {tmp}latin.csv: expected a text in UTF-8: "),
        (
            "train wrong.csv -o out {t}",
            "crnn: error: {tmp}wrong.csv: line 2, column 'area': expected a finite number, got 'te",
        ),
        (
            "train half.csv -o out {t}",
            "crnn: error: series 'store 0', column 'sold', step 0: expected a whole number of at "
            "least 0, got 2.5",
        ),
        (
            "train order.csv -o out {t}",
            "crnn: error: times: series 'store 0': {tmp}order.csv: line 3, column 'day': expected "
            "times in ascending order, got 2024-01-01 after 2024-01-02",
        ),
        (
            "train twice.csv -o out {t}",
            "crnn: error: times: series 'store 0': {tmp}twice.csv: line 3, column 'day': expected "
            "times in ascending order, got 2024-01-01 twice",
        ),
        ("train zone.csv -o out {t}", "crnn: error: {tmp}zone.csv: line 2, column 'day': expected"),
        ("train semicolon.csv -o out {t}", "crnn: error: target: expected a column of ['day;store"),
        (
            "train price.csv -o out {t}",
            "crnn: error: known: series 'store 0', column 'open', step 0: expected a finite number",
        ),
        ("train good.csv -o good.csv {t}", "crnn: error: good.csv: File exists"),
        ("train -o nothing --resume", "crnn: error: nothing: no checkpoint.npz in this directory"),
        (
            "train -o alone --resume",
            "crnn: error: alone/checkpoint.npz: contains a model without a training run to resume",
        ),
        ("predict nothing good.csv", "crnn: error: nothing: no checkpoint.npz in this directory"),
        (
            "predict characters good.csv",
            "crnn: error: characters/checkpoint.npz: cannot be read: expected a file with a "
            "forecasting model, got a file with a character model",
        ),
        (
            "predict alone good.csv",
            "crnn: error: alone/checkpoint.npz: expected a run of crnn forecast train, which has",
        ),
        ("predict run", "crnn forecast predict: error: the following arguments are required: FILE"),
        ("predict run none.csv", "crnn: error: {tmp}none.csv: No such file or directory"),
        (
            "predict run short.csv",
            "crnn: error: known: series 'store 0': expected numbers of at least T + H = 40 + 5 st",
        ),
        (
            "predict run good.csv --steps 8",
            "crnn: error: known: series 'store 0': expected numbers of at least T + H = 40 + 8 "
            "steps in the columns 'price', 'open', got 47: the first missing step is 47",
        ),
        (
            "predict run region.csv",
            "crnn: error: categories: series 'store 0', column 'region': expected one of the 2 "
            "categories of the training data, got 'east'",
        ),
        (
            "predict run half.csv",
            "crnn: error: series 'store 0', column 'sold', step 0: expected a whole number",
        ),
        ("predict run good.csv --samples 0", "crnn forecast predict: error: argument --samples: "),
        ("predict run good.csv --steps 0", "crnn forecast predict: error: argument --steps: expe"),
        ("predict run good.csv --quantiles 2", "crnn forecast predict: error: argument --quantil"),
        ("predict run good.csv --quantiles x", "crnn forecast predict: error: argument --quantil"),
        (
            "predict run good.csv --samples 1000000000000",
            "crnn: error: samples: expected an integer from 1 to 2**31 - 1, got 1000000000000",
        ),
        (
            "test run good.csv --windows 9",
            "crnn: error: windows: expected at most 8, as the longest series has 40 steps, and wi",
        ),
        ("test run good.csv --windows 0", "crnn forecast test: error: argument --windows: expect"),
        ("test run good.csv --seed x", "crnn forecast test: error: argument --seed: expected an"),
        (
            "test run few.csv",
            "crnn: error: known: series 'store 0': {tmp}few.csv: line 3, column 'day': expected a "
            "row for each step, because covariates have no gaps, got none for 2024-01-02 before",
        ),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="paths and the system's messages are written otherwise")
def test_errors_are_one_line(run, broken, monkeypatch, line, message):
    monkeypatch.chdir(broken)
    code, out, err = run("forecast", *line.replace("{t}", TRAIN).split())
    assert (code, out) == (2, "")
    assert err.startswith(message.replace("{tmp}", f"{broken}/"))
    assert len(err.splitlines()) == 1
    assert not Path("out").exists()


def test_a_file_without_pandas(run, file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    line = ["forecast", "train", file, "-o", tmp_path / "run", *COLUMNS, *SMALL]
    code, out, err = run(*line)
    assert (code, out) == (2, "")
    assert err.startswith("crnn: error: read_csv() needs pandas: pip install")


def test_settings_that_do_not_fit_the_model_are_refused(trained):
    model = DeepAR.load(trained / "run")
    values = ForecastRun.settings_of(model)
    good = Settings(**DeepAR.load_training(trained / "run")[1]["settings"])
    good.check_model(values)
    for change in ({"lags": (1, 2)}, {"context": 4}, {"known": ()}, {"period": 6}, {"seed": 1}):
        (name,) = change
        wrong = Settings(**{n: getattr(good, n) for n in Settings.names()} | change)
        with pytest.raises(ValueError, match=f"settings: {name}: expected "):
            wrong.check_model(values)


def test_a_source_without_a_path_is_refused():
    with pytest.raises(ValueError, match="path: expected the name of a file"):
        Source("")
    assert crnn.cli.forecast.Source("a/b.csv").path == "a/b.csv"
