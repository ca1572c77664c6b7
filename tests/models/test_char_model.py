"""The character model: training, bits, sampling, files."""

import itertools
import math

import numpy as np
import pytest

import crnn
from crnn.data import Vocabulary, lines_of
from crnn.models import CharModel
from crnn.models.char_model import BITS
from crnn.models.networks import BLOCKS, CELLS
from crnn.storage import archive
from support.tables import CELLS as LAYERS

TEXT = "the cat sat on the mat and the rat ran at the cat.\n" * 30
NAMES = "\n".join(["ada", "bob", "cid", "dan", "eve", "fay", "gus", "hal", "ian", "joe"] * 3)
QUICK = {"epochs": 4, "batch_size": 4, "steps": 16, "lr": 0.03, "progress": False}


@pytest.fixture(scope="module")
def trained():
    model = CharModel.for_text(TEXT, hidden_size=24, embedding=8, seed=1)
    model.train(TEXT, **QUICK | {"epochs": 12})
    return model


@pytest.fixture(scope="module")
def liner():
    model = CharModel.for_text(NAMES, cell="gru", hidden_size=16, embedding=0, lines=True, seed=1)
    model.train(NAMES, **QUICK | {"epochs": 20})
    return model


# ---------------------------------------------------------------------------------------- making


@pytest.mark.parametrize("cell", sorted(CELLS))
@pytest.mark.parametrize("embedding", [0, 5])
def test_every_cell_can_be_stacked(cell, embedding):
    model = CharModel.for_text(
        TEXT, cell=cell, hidden_size=7, layers=2, embedding=embedding, seed=3
    )
    K = len(set(TEXT))
    names = [type(layer).__name__ for layer in model.network.layers]
    assert names == ["Embedding"] * bool(embedding) + [CELLS[cell].__name__] * 2 + ["Dense"]
    first, second = [layer for layer in model.network.layers if layer.has_state]
    assert (first.input_size, second.input_size) == (embedding or K, 7)
    assert first.seed != second.seed
    logits, _ = model.network(model.vocabulary.encode("the cat")[None])
    assert logits.shape == (1, 7, K)


@pytest.mark.parametrize(("cell", "last"), [("tcn", []), ("transformer", ["LayerNorm"])])
def test_blocks_can_be_stacked(cell, last):
    options = {"heads": 2, "taps": 2, "window": 5}
    model = CharModel.for_text(TEXT, cell=cell, hidden_size=8, layers=3, seed=3, **options)
    layers = model.network.layers
    name = {"tcn": "TCNBlock", "transformer": "TransformerBlock"}[cell]
    names = [type(layer).__name__ for layer in layers]
    assert names == ["Embedding", *[name] * 3, *last, "Dense"]
    if cell == "tcn":
        assert [(block.taps, block.dilation) for block in layers[1:4]] == [(2, 1), (2, 2), (2, 4)]
    else:
        assert {(block.heads, block.window) for block in layers[1:4]} == {(2, 5)}
    assert len({block.seed for block in layers[1:4]}) == 3
    with pytest.raises(ValueError, match=r"^embedding: expected None or hidden_size=8 for"):
        CharModel.for_text(TEXT, cell=cell, hidden_size=8, embedding=0)


def test_the_seed_decides_the_weights():
    def weights(seed):
        return CharModel.for_text("abc", hidden_size=4, seed=seed).network.params["1.W_h"]

    np.testing.assert_array_equal(weights(1), weights(1))
    assert (weights(1) != weights(2)).any()
    assert (weights(None) != weights(None)).any()


def test_all_cells_of_crnn_can_be_chosen():
    assert CELLS == {cell.layer.__name__.lower(): cell.layer for cell in LAYERS.values()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"cell": "mlp"},
            f"cell: expected one of {', '.join(sorted((*CELLS, *BLOCKS)))}, got 'mlp'",
        ),
        ({"hidden_size": 0}, "hidden_size: "),
        ({"layers": 0}, "layers: expected an integer of at least 1"),
        ({"embedding": -1}, "size: expected an integer of at least 1"),
        ({"text": ""}, "symbols: expected at least one, got none"),
    ],
)
def test_wrong_models(options, message):
    with pytest.raises(ValueError, match=message):
        CharModel.for_text(**{"text": "abc"} | options)


def test_lines_need_the_newline():
    with pytest.raises(ValueError, match=r"vocabulary: expected one with '\\n'"):
        CharModel(Vocabulary("ab"), crnn.LSTM(2, 2), lines=True)


# -------------------------------------------------------------------------------------- training


def test_training_makes_the_text_shorter(trained):
    assert trained.evaluate(TEXT) < 0.6
    assert CharModel.for_text(TEXT, hidden_size=24, seed=1).evaluate(TEXT) > 3


def test_bits_are_those_of_the_probabilities(trained):
    text = TEXT[:200]
    numbers = trained.vocabulary.encode(text)
    logits = trained.network(numbers[None, :-1])[0][0].astype(float)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    bits = -np.log2(shares[np.arange(199), numbers[1:]]).mean()
    assert trained.evaluate(text) == pytest.approx(bits, rel=1e-5)


def test_bits_of_lines_count_their_ends(liner):
    total = count = 0
    for line in ("ada", "eve"):
        numbers = liner.vocabulary.encode(f"\n{line}\n")
        logits = liner.network(numbers[None, :-1])[0][0].astype(float)
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        total -= np.log2(shares[np.arange(4), numbers[1:]]).sum()
        count += 4
    assert liner.evaluate("ada\n\n  eve ") == pytest.approx(total / count, rel=1e-5)


def test_what_is_held_out_is_not_trained_on():
    model = CharModel.for_text("abc", hidden_size=4, seed=1)
    history = model.train("ab" * 450 + "c" * 100, **QUICK, validation_split=0.1)
    assert history.loss[-1] < 1 < history.val_loss[-1]
    assert history.val_loss[-1] == pytest.approx(model.evaluate("c" * 100) / BITS, rel=1e-6)


def test_nothing_need_be_held_out():
    for model, text in (
        (CharModel.for_text("abab", hidden_size=4, seed=1), "ab" * 50),
        (CharModel.for_text("abab", hidden_size=4, lines=True, seed=1), "ab\nba\n"),
    ):
        assert model.train(text, **QUICK, validation_split=0).val_loss == [None] * 4


def test_a_seed_decides_the_order_of_lines_and_the_run(liner):
    def losses(seed):
        model = CharModel.for_text(NAMES, hidden_size=8, lines=True, seed=1)
        return model.train(NAMES, **QUICK, seed=seed).loss

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("abab", {}, "text: 4 characters are too few for a batch of 4 with 10% held out"),
        ("ab" * 9, {"validation_split": 0.01}, "too few for a batch of 4 with 1% held out"),
        (
            TEXT,
            {"validation_split": 1},
            "validation_split: expected a share from 0 to below 1, got 1",
        ),
        (TEXT, {"epochs": 0}, "epochs: expected an integer of at least 1"),
        (TEXT, {"steps": 0}, "steps: expected an integer of at least 1"),
        (TEXT, {"lr": 0}, "lr: expected a positive number"),
        (TEXT, {"clip_norm": 0}, "clip_norm: expected"),
        ("xyz" * 99, {}, "text: expected symbols of the vocabulary, got 'x'"),
    ],
)
def test_wrong_trainings(text, options, message):
    model = CharModel.for_text(TEXT, hidden_size=4, embedding=0, seed=1)
    before = model.network.state_dict()
    with pytest.raises(ValueError, match=message):
        model.train(text, **QUICK | options)
    np.testing.assert_equal(model.network.state_dict(), before)


def test_progress_can_be_shown_and_left_out(capfd):
    model = CharModel.for_text(TEXT, hidden_size=4, seed=1)
    model.train(TEXT, **QUICK)
    assert capfd.readouterr() == ("", "")
    history = model.train(TEXT, **QUICK | {"progress": True, "epochs": 1})
    bits, val_bits = BITS * history.loss[0], BITS * history.val_loss[0]
    start = f"epoch 1/1: bits per character {bits:.3f}, validation {val_bits:.3f}, "
    assert capfd.readouterr().out.startswith(start)


# -------------------------------------------------------------------------------------- sampling


def test_the_likeliest_text_is_the_one_learned(trained):
    for temperature in (1e-300, None):
        text = trained.sample("the cat sat", 20, temperature=temperature)
        assert text == "the cat sat on the mat and the "


def test_a_seed_decides_the_text(trained):
    one = trained.sample("the ", 100, seed=5)
    assert one == trained.sample("the ", 100, seed=5)
    assert one.startswith("the ")
    assert len(one) == 104
    assert one != trained.sample("the ", 100, seed=6)
    hot = [trained.sample("the ", 100, temperature=5.0) for _ in range(2)]
    assert hot[0] != hot[1]
    assert trained.sample("the ", 0) == "the "


def test_without_a_prime_a_text_begins_at_the_start_of_a_line(trained):
    assert trained.sample("", 7, temperature=None) == "the cat"
    no_newline = CharModel.for_text("ab", hidden_size=4, seed=1)
    assert len(no_newline.sample("", 9, seed=1)) == 9


@pytest.mark.parametrize(
    ("cell", "embedding"),
    [*itertools.product(sorted(CELLS), [0, 5]), *((block, None) for block in BLOCKS)],
)
def test_sampling_step_by_step_has_the_probabilities_of_the_whole(cell, embedding):
    model = CharModel.for_text(
        "abcdef", cell=cell, hidden_size=6, layers=2, embedding=embedding, heads=3, window=9, seed=2
    )
    for name, array in model.network.params.items():
        array[...] = np.random.default_rng(len(name)).normal(size=array.shape)
    text = model.sample("abc", 40, seed=3)
    numbers = model.vocabulary.encode(text)
    logits, _ = model.network(numbers[None, :-1])
    uniform = crnn._core.random_uniform(3, int.from_bytes(b"sample"), 0, 40)
    shares = np.exp(logits[0, 2:].astype(float)).cumsum(axis=1)
    drawn = (shares <= uniform[:, None] * shares[:, -1:]).sum(axis=1)
    np.testing.assert_array_equal(drawn, numbers[3:])


def test_any_network_can_write():
    inside = crnn.Sequential([crnn.GRU(3, 5, seed=1), crnn.LayerNorm(5)])
    network = crnn.Sequential([inside, crnn.Residual(crnn.RNN(5, 5, seed=2)), crnn.Dense(5, 3)])
    model = CharModel(Vocabulary("abc"), network)
    text = model.sample("a", 30, temperature=None)
    logits, _ = network(model.vocabulary.encode(text)[None, :-1])
    np.testing.assert_array_equal(logits[0].argmax(-1), model.vocabulary.encode(text)[1:])


def test_a_line_ends_where_the_model_ends_it(liner):
    lines = liner.invent(200, 30, temperature=0.5, seed=1)
    assert lines == liner.invent(200, 30, temperature=0.5, seed=1)
    assert lines[:7] == liner.invent(7, 30, temperature=0.5, seed=1)
    assert len(set(lines)) > 5
    assert sum(line in lines_of(NAMES) for line in lines) > 100
    assert not any("\n" in line for line in lines)
    assert liner.sample("a", 30, temperature=None) == "ada"
    assert liner.invent(3, 30, temperature=None, seed=1) == 3 * [
        liner.sample("", 30, temperature=None)
    ]
    assert max(map(len, liner.invent(50, 2, temperature=9.0, seed=1))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prime": "?"}, "text: expected symbols of the vocabulary, got '\\?'"),
        ({"max_steps": -1}, "max_steps: expected at least 0, got -1"),
        ({"temperature": -1}, "temperature: expected a positive number, or None .*, got -1"),
        ({"temperature": math.nan}, "temperature: expected a positive number, or None .*, got nan"),
        ({"seed": -1}, "seed: "),
    ],
)
def test_wrong_samples(trained, arguments, message):
    with pytest.raises(ValueError, match=message):
        trained.sample(**arguments)


# ----------------------------------------------------------------------------------------- files


def test_a_model_comes_back_from_its_folder(trained, liner, tmp_path):
    for model in (trained, liner):
        model.save(tmp_path / "new" / "folder")
        again = CharModel.load(str(tmp_path / "new" / "folder"))
        assert repr(again) == repr(model)
        assert again.lines == model.lines
        assert again.sample("a", 50, seed=1) == model.sample("a", 50, seed=1)


def test_folders_without_a_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path.name}: no checkpoint\.npz in this"):
        CharModel.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nowhere: no checkpoint\.npz in this"):
        CharModel.load(tmp_path / "nowhere")
    path = tmp_path / "checkpoint.npz"
    crnn.save(path, crnn.LSTM(2, 3))
    with pytest.raises(
        ValueError, match="expected a file with a character model, got a file with a"
    ):
        CharModel.load(tmp_path)
    archive.write(path, "character model", {"vocabulary": {"symbols": []}})
    with pytest.raises(ValueError, match=r"checkpoint\.npz: cannot be read: symbols: expected at"):
        CharModel.load(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"checkpoint\.npz: cannot be read"):
        CharModel.load(tmp_path)


def test_a_frozen_part_stays_in_training_and_in_a_folder(tmp_path):
    model = CharModel.for_text(TEXT, hidden_size=8, embedding=4, seed=1)
    model.network[0].trainable = model.network[1].trainable = False
    before = model.network.state_dict()
    model.train(TEXT, **QUICK | {"epochs": 1})
    changed = {
        name for name, array in model.network.params.items() if (array != before[name]).any()
    }
    assert changed == {"2.W", "2.b"}
    model.save(tmp_path)
    loaded = CharModel.load(tmp_path)
    assert [layer.trainable for layer in loaded.network] == [False, False, True]
