"""The translator, over characters and words: training, translating, attention, files."""

import numpy as np
import pytest

import crnn
from crnn.data import Vocabulary
from crnn.models import Translator
from crnn.models.networks import CELLS
from crnn.models.texts import held_apart
from crnn.storage import archive
from crnn.storage import models as storage_models

rng = np.random.default_rng(0)
TEXTS = ["".join(rng.choice(list("abcd"), length)) for length in rng.integers(1, 5, 400)]
REVERSALS = [(text, text[::-1]) for text in TEXTS]
NAMES = ["zero", "one", "two", "three", "four", "five"]
NUMBERS = [rng.integers(0, 6, length) for length in rng.integers(1, 4, 300)]
SPOKEN = [
    (" ".join(NAMES[digit] for digit in number), " ".join(map(str, number))) for number in NUMBERS
]
SMALL = {"hidden_size": 24, "embedding": 12, "seed": 3}
QUICK = {"epochs": 10, "batch_size": 10, "lr": 0.02, "progress": False}
ATTENTIONS = (None, "additive", "dot", "general")


@pytest.fixture(scope="module")
def reverser():
    model = Translator.for_pairs(REVERSALS, **SMALL)
    model.train(REVERSALS, **QUICK | {"epochs": 12})
    return model


@pytest.fixture(scope="module")
def speaker():
    model = Translator.for_pairs(SPOKEN, words=True, **SMALL)
    model.train(SPOKEN, **QUICK | {"lr": 0.01, "validation_split": 0})
    return model


def untrained(**options):
    return Translator.for_pairs(REVERSALS, **SMALL | {"hidden_size": 6} | options)


# ----------------------------------------------------------------------------------------- making


@pytest.mark.parametrize("cell", sorted(CELLS))
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_all_cells_and_attentions_train_and_translate(cell, attention, bidirectional):
    options = {"cell": cell, "attention": attention, "bidirectional": bidirectional}
    model = untrained(**options, layers=2)
    before = model.evaluate(REVERSALS[:20])
    history = model.train(REVERSALS[:40], epochs=2, batch_size=8, progress=False)
    assert history.loss[1] < history.loss[0]
    assert 0 <= before <= 1
    translations = model.translate(TEXTS[:9])
    assert len(translations) == 9
    assert set("".join(translations)) <= set("abcd\ufffd")
    again = untrained(**options, layers=2)
    assert again.network.params.keys() == model.network.params.keys()
    assert len(model.network.encoder.layers) == len(model.network.decoder.layers) == 2


def test_a_seed_decides_the_weights_and_each_layer_has_its_own():
    one, same, other = (untrained(layers=2, seed=seed).network.state_dict() for seed in (1, 1, 2))
    np.testing.assert_equal(one, same)
    assert not np.array_equal(one["encoder.0.forward.W_x"], other["encoder.0.forward.W_x"])
    halves = [one["decoder.1.W_h"], one["encoder.0.forward.W_h"], one["encoder.1.forward.W_h"]]
    assert not np.array_equal(halves[0], halves[1])
    assert not np.array_equal(halves[1], halves[2])


def test_vocabularies_are_those_of_each_side():
    model = Translator.for_pairs([("ba", "xz"), ("cb", "y")], **SMALL)
    assert model.source == Vocabulary("abc", unknown="\ufffd")
    assert model.target == Vocabulary("\nxyz", unknown="\ufffd")
    assert model.max_steps == 4
    model = Translator.for_pairs(
        [("a big", "B a"), ("a  small", "A")], words=True, min_count=2, **SMALL
    )
    assert model.source == Vocabulary(["a"], unknown="<unk>")
    assert model.target == Vocabulary(["\n"], unknown="<unk>")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"cell": "mlp"},
            ValueError,
            f"cell: expected one of {', '.join(sorted([*CELLS, 'transformer']))}, got",
        ),
        ({"attention": "loud"}, ValueError, "attention: expected"),
        (
            {"layers": 0},
            ValueError,
            "layers: expected an integer of at least 1.* got 0",
        ),
        (
            {"min_count": 0},
            ValueError,
            "min_count: expected an integer of at least 1.* got 0",
        ),
        ({"seed": -1}, ValueError, "seed: expected None or an integer from 0"),
        ({"hidden_size": 0}, ValueError, "hidden_size"),
    ],
)
def test_wrong_options(options, error, message):
    with pytest.raises(error, match=message):
        untrained(**options)


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        ([], ValueError, "pairs: expected at least one, got none"),
        (None, TypeError, "pairs: expected a list of pairs of strings, got None"),
        (["ab"], TypeError, "pairs: expected pairs of strings, got 'ab'"),
        ([("a", "b", "c")], TypeError, "pairs: expected pairs of strings, got "),
        ([("a", 1)], TypeError, "pairs: expected strings, got 1"),
        ([("a\nb", "c")], ValueError, r"pairs: expected texts of one line, got 'a\\nb'"),
    ],
)
def test_wrong_pairs(pairs, error, message):
    with pytest.raises(error, match=message):
        Translator.for_pairs(pairs, **SMALL)


def test_vocabularies_and_network_must_fit():
    model = untrained()
    message = "network: expected 6 source symbols and 6 target symbols, .* got 5 and 6"
    with pytest.raises(ValueError, match=message):
        Translator(model.target, model.target, model.network)
    with pytest.raises(ValueError, match=r"target: expected a vocabulary with '\\n'"):
        Translator(model.source, Vocabulary("abcdef"), model.network)
    with pytest.raises(
        ValueError,
        match=r"max_steps: expected an integer of at least 1.* got 0",
    ):
        Translator(model.source, model.target, model.network, max_steps=0)


# --------------------------------------------------------------------------------------- training


def test_characters_are_learned(reverser):
    assert reverser.evaluate(REVERSALS) == 1.0
    assert reverser.translate(["abcd", "ddba"]) == ["dcba", "abdd"]


def test_words_are_learned(speaker):
    assert speaker.evaluate(SPOKEN) == 1.0
    assert speaker.translate(["two  zero ", "five"]) == ["2 0", "5"]


def test_progress_shows_the_share_of_exact_translations(capfd):
    model = untrained()
    model.train(REVERSALS, **QUICK | {"epochs": 1})
    assert capfd.readouterr() == ("", "")
    model = untrained()
    history = model.train(REVERSALS, **QUICK | {"epochs": 1, "progress": True})
    _, out = held_apart(REVERSALS, 0.1, 0)
    start = f"epoch 1/1: loss {history.loss[0]:.3f}, validation {history.val_loss[0]:.3f}, "
    line = capfd.readouterr().out
    assert line.startswith(start)
    assert line.endswith(f" symbols/s, {model.evaluate(out):.1%} exactly right\n")


def test_nothing_need_be_held_out(capfd):
    history = untrained().train(REVERSALS[:1], epochs=1, validation_split=0)
    assert history.val_loss == [None]
    assert "exactly" not in capfd.readouterr().out


def test_what_is_held_out_is_not_trained_on():
    seen = []

    class Seeing(Translator):
        def batches(self, pairs, batch_size=32, seed=None):
            seen.append(pairs)
            return super().batches(pairs, batch_size, seed)

    model = untrained()
    Seeing(model.source, model.target, model.network).train(REVERSALS, **QUICK | {"epochs": 1})
    assert [len(pairs) for pairs in seen] == [360, 40]
    assert sorted(seen[0] + seen[1]) == sorted(REVERSALS)


@pytest.mark.parametrize(
    ("pairs", "options", "message"),
    [
        (
            REVERSALS,
            {"validation_split": 1},
            "validation_split: expected a share from 0 to below 1, got 1",
        ),
        (REVERSALS[:1], {}, "pairs: expected at least two, to hold one out, got 1"),
        ([], {}, "pairs: expected at least two, to hold one out, got 0"),
        (
            REVERSALS,
            {"epochs": 0},
            "epochs: expected an integer of at least 1.* got 0",
        ),
        (
            REVERSALS,
            {"batch_size": 0},
            "batch_size: expected an integer of at least 1.* got 0",
        ),
        (REVERSALS, {"lr": 0}, "lr: expected a positive number, got 0"),
    ],
)
def test_wrong_training(pairs, options, message):
    model = untrained()
    before = model.network.state_dict()
    with pytest.raises(ValueError, match=message):
        model.train(pairs, **QUICK | options)
    np.testing.assert_equal(model.network.state_dict(), before)


# ------------------------------------------------------------------------------------ translating


def test_texts_keep_their_places_in_any_batch(reverser):
    texts = [*TEXTS[:30], "", "  ", *TEXTS[30:40]]
    one_by_one = [reverser.translate([text])[0] for text in texts]
    assert one_by_one[30:32] == ["", ""]
    for batch_size in (1, 7, 64):
        assert reverser.translate(texts, batch_size=batch_size) == one_by_one
    assert reverser.translate([]) == []


def test_unknown_symbols_are_read(reverser, speaker):
    assert len(reverser.translate(["aXb"])) == 1
    np.testing.assert_array_equal(reverser.source.encode("aX"), [0, 4])
    assert len(speaker.translate(["two thousand"])) == 1
    assert reverser.evaluate([("ab", "bX"), ("ab", "ba")]) == 0.5


def test_rare_words_teach_the_unknown_one():
    rare = [(f"say rare{n} now", "now ? say") for n in range(80)]
    common = [(f"say {word} now", f"now {word} say") for word in ("this", "that") * 40]
    model = Translator.for_pairs([*rare, *common], words=True, min_count=2, **SMALL)
    model.train([*rare, *common], **QUICK)
    assert model.translate(["say nothing now", "say that now"]) == ["now ? say", "now that say"]


def test_a_translation_has_an_end(reverser):
    cut = Translator(reverser.source, reverser.target, reverser.network, max_steps=3)
    assert cut.translate(["abcd", "ab"]) == ["dcb", "ba"]
    assert cut.attention("abcd").target == ["d", "c", "b"]
    assert max(map(len, untrained().translate(TEXTS[:50]))) <= 8


def test_beams_find_likelier_translations(reverser):
    model = untrained()
    model.train(REVERSALS, **QUICK | {"epochs": 2})
    assert model.translate(TEXTS[:50], beam=1) == model.translate(TEXTS[:50])
    texts = {beam: model.translate(TEXTS[:50], beam=beam) for beam in (1, 5)}
    assert texts[1] != texts[5]
    score = {beam: score_of(model, TEXTS[:50], texts[beam]) for beam in texts}
    assert score[5] > score[1]
    assert reverser.translate(["abcd"], beam=4, length_penalty=1.0) == ["dcba"]


def score_of(model, texts, translations):
    """The log-probability of translations."""
    items = model.batches(list(zip(texts, translations, strict=True)), len(texts))
    loss = crnn.training.evaluate(
        crnn.TeacherForcing(model.network), items, loss=crnn.losses.cross_entropy
    )
    return -loss * items.steps


@pytest.mark.parametrize(
    ("texts", "options", "error", "message"),
    [
        ("abc", {}, TypeError, "texts: expected a list of texts, got a single one, 'abc'"),
        (None, {}, TypeError, "texts: expected a list of texts, got None"),
        ([1], {}, TypeError, "texts: expected strings, got 1"),
        (["a\nb"], {}, ValueError, r"texts: expected texts of one line, got 'a\\nb'"),
        (["a"], {"beam": 0}, ValueError, "beam: expected"),
        (["a"], {"batch_size": 0}, ValueError, "batch_size: expected an integer of at least 1"),
    ],
)
def test_what_cannot_be_translated(texts, options, error, message):
    with pytest.raises(error, match=message):
        untrained().translate(texts, **options)


# -------------------------------------------------------------------------------------- attention


@pytest.mark.parametrize("beam", [1, 3])
def test_attention_is_that_of_the_translation(reverser, beam):
    weights, source, target = reverser.attention("abcd", beam=beam)
    assert (source, target) == (list("abcd"), list("dcba"))
    assert weights.shape == (4, 4)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    (((x, target_in, _), _, _),) = reverser.batches([("abcd", "dcba")])
    _, tape = reverser.network.forward(x, target_in, training=False)
    np.testing.assert_array_equal(weights, tape.attention[0, :4])


def test_attention_shows_words_and_what_is_unknown(speaker):
    weights, source, target = speaker.attention(" two thousand")
    assert source == ["two", "thousand"]
    assert weights.shape == (len(target), 2)
    assert " ".join(target) == speaker.translate(["two thousand"])[0]


def test_an_empty_translation_has_no_attention():
    model = untrained()
    model.network.params["output.b"][0] = 100.0  # the stop is the likeliest first symbol
    assert model.translate(["ab"]) == [""]
    weights, source, target = model.attention("ab")
    assert (weights.shape, source, target) == ((0, 2), ["a", "b"], [])


def test_errors_of_attention(reverser):
    with pytest.raises(ValueError, match="attention: expected a network with attention, got"):
        untrained(attention=None).attention("ab")
    with pytest.raises(ValueError, match="text: expected a text with symbols, got ' '"):
        reverser.attention(" ")
    with pytest.raises(TypeError, match=r"text: expected strings, got \['ab'\]"):
        reverser.attention(["ab"])


# ------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_translator_comes_back_from_its_folder(tmp_path, attention):
    model = untrained(attention=attention, cell="lstm")
    model.save(tmp_path / "new" / "folder", {"epoch": 3})
    again, training = Translator.load_training(str(tmp_path / "new" / "folder"))
    assert training == {"epoch": 3}
    assert repr(again) == repr(model)
    assert again.translate(TEXTS[:20]) == model.translate(TEXTS[:20])
    assert (again.source, again.target) == (model.source, model.target)
    assert (again.words, again.max_steps) == (False, 8)


def test_words_come_back(speaker, tmp_path):
    speaker.save(tmp_path)
    assert Translator.load(tmp_path).translate(["one  two"]) == ["1 2"]


def test_large_vocabularies_come_back(tmp_path):
    pairs = [(f"a{n}", f"b{n}") for n in range(9000)]
    Translator.for_pairs(pairs, words=True, hidden_size=2, embedding=1).save(tmp_path)
    assert len(Translator.load(tmp_path).target) == 9002


def test_folders_without_a_translator(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path.name}: no checkpoint\.npz in this"):
        Translator.load(tmp_path)
    path = tmp_path / "checkpoint.npz"
    crnn.save(path, crnn.LSTM(2, 3))
    with pytest.raises(
        ValueError, match="expected a file with a translator, got a file with a model"
    ):
        Translator.load(tmp_path)
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"checkpoint\.npz: cannot be read"):
        Translator.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": {"symbols": ["a"], "unknown": None}}, "network: expected 1 source symbols"),
        ({"target": {"symbols": 3, "unknown": None}}, "read"),
        ({"max_length": "x"}, "max_steps: expected an integer"),
        ({"network": storage_models.model_tree(crnn.LSTM(2, 3))}, "expected a Seq2Seq, got a LSTM"),
        ({"network": None}, "read"),
    ],
)
def test_files_with_wrong_entries(tmp_path, change, message):
    untrained().save(tmp_path)
    path = tmp_path / "checkpoint.npz"
    archive.write(path, "translator", archive.read(path, "translator") | change)
    with pytest.raises(ValueError, match=rf"checkpoint\.npz: cannot be .*{message}"):
        Translator.load(tmp_path)


@pytest.mark.parametrize("place", [0.1, 0.4, 0.8, 0.98])
def test_a_damaged_file_is_refused(tmp_path, place):
    untrained().save(tmp_path)
    path = tmp_path / "checkpoint.npz"
    content = path.read_bytes()
    path.write_bytes(content[: int(place * len(content))])
    with pytest.raises(ValueError, match=r"checkpoint\.npz: cannot be read"):
        Translator.load(tmp_path)
