"""Vocabularies, streams, lines and corpora."""

import json

import numpy as np
import pytest

import crnn.data
from crnn.data import (
    Lines,
    TextStreams,
    Vocabulary,
    corpora,
    corpus,
    hold_out,
    lines_of,
    permutation,
)

# ------------------------------------------------------------------------------------- vocabulary


def test_vocabulary_numbers_the_sorted_symbols():
    vocabulary = Vocabulary.from_text("hello")
    assert vocabulary.symbols == ("e", "h", "l", "o")
    assert len(vocabulary) == 4
    assert "h" in vocabulary
    assert "x" not in vocabulary
    np.testing.assert_array_equal(vocabulary.encode("hello"), [1, 0, 2, 2, 3])
    assert vocabulary.encode("hello").dtype == np.int64
    assert vocabulary.decode([1, 0, 2, 2, 3]) == "hello"


def test_nothing_encodes_to_nothing():
    vocabulary = Vocabulary("ab")
    assert vocabulary.encode("").shape == (0,)
    assert vocabulary.decode([]) == ""


def test_encode_and_decode_undo_each_other_on_any_characters():
    text = "ß ∂L/∂h\t\x00\n\U0001f600 \ud800"
    vocabulary = Vocabulary.from_text(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_an_unknown_symbol_is_an_error_unless_a_symbol_represents_it():
    with pytest.raises(ValueError, match=r"text: .* got 'x', which is not one of its 2"):
        Vocabulary("ab").encode("abx")
    vocabulary = Vocabulary("ab", unknown="?")
    assert vocabulary.decode(vocabulary.encode("abxa")) == "ab?a"
    assert Vocabulary("a?b", unknown="?").symbols == ("a", "?", "b")


def test_symbols_may_be_words():
    vocabulary = Vocabulary.from_text(["to", "be", "or", "not", "to", "be"])
    assert vocabulary.symbols == ("be", "not", "or", "to")
    np.testing.assert_array_equal(vocabulary.encode(["not", "to"]), [1, 3])


def test_a_vocabulary_goes_through_json():
    vocabulary = Vocabulary.from_text('a"\n\ud800∂', unknown="?")
    again = Vocabulary(**json.loads(json.dumps(vocabulary.config)))
    assert again == vocabulary
    assert hash(again) == hash(vocabulary)
    assert again != Vocabulary("ab")


def test_its_repr_makes_it_again():
    for vocabulary in (Vocabulary("ab"), Vocabulary("ab", unknown="?")):
        assert eval(repr(vocabulary)) == vocabulary


def test_rare_symbols_are_left_out():
    words = ["c", "c", "c", "b", "b", "a", "a", "d"]
    assert Vocabulary.from_text(words, min_count=2).symbols == ("a", "b", "c")
    assert Vocabulary.from_text(words, max_size=2).symbols == ("a", "c")  # a and b are as frequent
    assert Vocabulary.from_text(words, "?", max_size=3).symbols == ("a", "c", "?")
    assert Vocabulary.from_text(words, "d", max_size=2).symbols == ("c", "d")
    assert Vocabulary.from_text(words, "?", max_size=1).symbols == ("?",)
    assert Vocabulary.from_text(words, "?", min_count=2, max_size=9).symbols == (*"abc", "?")
    with pytest.raises(ValueError, match="symbols: expected at least one, got none"):
        Vocabulary.from_text(words, min_count=4)
    with pytest.raises(ValueError, match="max_size: expected an integer of at least 1"):
        Vocabulary.from_text(words, max_size=0)


def test_words_are_decoded_with_spaces():
    vocabulary = Vocabulary.from_text(["to", "be"], unknown="...")
    assert vocabulary.decode(vocabulary.encode(["to", "be", "or"]), " ") == "to be ..."


@pytest.mark.parametrize("unknown", [None, "?", "\ud800"])
def test_a_vocabulary_in_a_file(tmp_path, unknown):
    vocabulary = Vocabulary.from_text('a"\n\ud800∂\x00', unknown=unknown)
    path = tmp_path / "vocabulary.json"
    path.write_text("old")
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary
    assert Vocabulary.load(path).symbols == vocabulary.symbols
    assert list(tmp_path.iterdir()) == [path]


def test_a_vocabulary_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "vocabulary.json"
    Vocabulary("ab").save(path)

    def full(file):
        raise OSError("no space")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        Vocabulary("cd").save(path)
    assert Vocabulary.load(path) == Vocabulary("ab")
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match="expected the name of a file, got a directory"):
        Vocabulary("ab").save(tmp_path)


def test_every_file_cut_short_is_refused(tmp_path):
    path = tmp_path / "vocabulary.json"
    Vocabulary("ab∂", unknown="?").save(path)
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=r"vocabulary\.json: cannot be read"):
            Vocabulary.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"symbols": "ab"}, "the symbols are not a list"),
        ({"symbols": ["a", 1]}, "symbols: expected strings, got 1"),
        ({"symbols": ["a", "a"]}, "symbols: expected distinct symbols, got 'a' twice"),
        ({"symbols": []}, "symbols: expected at least one"),
        ({"unknown": 3}, "or the unknown symbol is not a string"),
        ({"version": 2}, "written in version 2, expected 1"),
        ({"format": "else"}, "not a file with a vocabulary"),
        (None, "not a file with a vocabulary"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, change, message):
    path = tmp_path / "vocabulary.json"
    tree = {"format": "crnn vocabulary", "version": 1, "symbols": ["a"], "unknown": None}
    path.write_text(json.dumps(tree))
    assert Vocabulary.load(path) == Vocabulary("a")
    path.write_text(json.dumps(None if change is None else tree | change))
    with pytest.raises(ValueError, match=message):
        Vocabulary.load(path)
    with pytest.raises(FileNotFoundError):
        Vocabulary.load(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    ("symbols", "error", "message"),
    [
        ("", ValueError, "symbols: expected at least one, got none"),
        ("aba", ValueError, "symbols: expected distinct symbols, got 'a' twice"),
        ([1, 2], TypeError, "symbols: expected strings, got 1"),
    ],
)
def test_wrong_symbols(symbols, error, message):
    with pytest.raises(error, match=message):
        Vocabulary(symbols)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([0, 2], "numbers: expected 0 to 1, got 0 to 2"),
        ([-1], "numbers: expected 0 to 1, got -1 to -1"),
        ([0.5], r"numbers: expected integers \(T,\), got float64 of shape \(1,\)"),
        ([[0]], r"numbers: expected integers \(T,\), got int64 of shape \(1, 1\)"),
    ],
)
def test_wrong_numbers(numbers, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary("ab").decode(numbers)


# ---------------------------------------------------------------------------------------- streams


def test_streams_go_on_row_by_row():
    streams = TextStreams(np.arange(11), batch_size=3)
    ((x, target),) = streams
    np.testing.assert_array_equal(x, [[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    np.testing.assert_array_equal(target, x + 1)
    assert len(streams) == 1
    assert streams.steps == 9
    assert len(list(streams)) == 1  # a second iteration


def test_streams_do_not_copy_the_text():
    text = np.arange(100)
    ((x, target),) = TextStreams(text, batch_size=4)
    assert np.shares_memory(x, text)
    assert np.shares_memory(target, text)


@pytest.mark.parametrize(
    ("text", "batch", "message"),
    [
        (np.arange(3), 3, "symbols: expected more than batch_size=3, got 3"),
        (np.zeros((2, 2), int), 1, r"symbols: expected integers \(N,\), got int64 of shape"),
        (np.zeros(4), 1, r"symbols: expected integers \(N,\), got float64"),
        (np.arange(3), 0, "batch_size: expected an integer of at least 1"),
    ],
)
def test_wrong_streams(text, batch, message):
    with pytest.raises(ValueError, match=message):
        TextStreams(text, batch)


# ------------------------------------------------------------------------------------------ lines


def test_lines_have_start_stop_and_lengths():
    vocabulary = Vocabulary.from_text("ab^$")
    lines = Lines(["ab", "", "b"], vocabulary, 2, start="^", stop="$", seed=None)
    (x, target, lengths), (x2, target2, lengths2) = lines
    np.testing.assert_array_equal(lengths, [3, 1])
    assert [vocabulary.decode(row[:n]) for row, n in zip(x, lengths, strict=True)] == ["^ab", "^"]
    assert [vocabulary.decode(r[:n]) for r, n in zip(target, lengths, strict=True)] == ["ab$", "$"]
    assert not x[1, 1:].any()
    np.testing.assert_array_equal(lengths2, [2])
    assert vocabulary.decode(x2[0]) == "^b"
    assert vocabulary.decode(target2[0]) == "b$"
    assert len(lines) == 2
    assert lines.steps == 6


def test_the_order_of_lines_is_a_function_of_seed_and_epoch():
    names = [f"{n:02}" for n in range(50)]
    vocabulary = Vocabulary.from_text("0123456789\n")

    def order(seed, epoch):
        lines = Lines(names, vocabulary, 7, seed=seed)
        lines.set_epoch(epoch)
        rows = [vocabulary.decode(row[1:]) for x, _, _ in lines for row in x]
        assert sorted(rows) == names
        return rows

    assert order(1, 3) == order(1, 3)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4
    assert order(None, 0) == order(None, 1) == names


@pytest.mark.parametrize(
    ("lines", "batch", "message"),
    [
        ([], 1, "lines: expected at least one, got none"),
        (["a\nb"], 1, r"lines: expected lines without start .* got 'a\\nb'"),
        (["x"], 1, "text: expected symbols of the vocabulary, got 'x'"),
        (["a"], 0, "batch_size: expected an integer of at least 1"),
    ],
)
def test_wrong_lines(lines, batch, message):
    with pytest.raises(ValueError, match=message):
        Lines(lines, Vocabulary("ab\n"), batch)


def test_the_lines_of_a_text():
    assert lines_of("one\n\n  two \n\tthree") == ["one", "two", "three"]
    assert lines_of(" \n") == []


def test_hold_out_splits_by_the_seed():
    lines = [str(n) for n in range(40)]
    train, out = hold_out(lines, 0.1, seed=1)
    assert len(out) == 4
    assert sorted(train + out, key=int) == lines
    assert (train, out) == hold_out(lines, 0.1, seed=1)
    assert out != hold_out(lines, 0.1, seed=2)[1]
    assert hold_out(lines, 0, seed=1) == (lines, [])
    assert len(hold_out(["a", "b"], 0.99, seed=1)[0]) == 1
    with pytest.raises(ValueError, match="lines: expected at least two, got 1"):
        hold_out(["a"], 0.1, seed=1)
    with pytest.raises(ValueError, match="share: expected a number from 0 to below 1, got 1"):
        hold_out(lines, 1, seed=1)


def test_permutations_are_pure_and_apart():
    one = permutation(1000, 5, 6, 7)
    np.testing.assert_array_equal(one, permutation(1000, 5, 6, 7))
    np.testing.assert_array_equal(np.sort(one), np.arange(1000))
    for other in ((4, 6, 7), (5, 7, 7), (5, 6, 8)):
        assert (one == permutation(1000, *other)).mean() < 0.02
    assert permutation(0, 1, 1).shape == (0,)


# ---------------------------------------------------------------------------------------- corpora


def test_the_dinosaurs_are_genus_names_one_per_line():
    text = corpus("dinosaurs")
    names = text.splitlines()
    assert len(names) >= 400
    assert names == sorted(set(names))
    assert all(name.isascii() and name.isalpha() and name.istitle() for name in names)
    assert text.endswith("\n")


def test_pydoc_is_the_documentation_of_python():
    from pydoc_data.topics import topics

    text = corpus("pydoc")
    assert len(text) == sum(map(len, topics.values())) + len(topics) - 1
    assert text.startswith(topics[min(topics)])


def test_a_python_without_its_topics(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("crnn.data.text.import_module", missing)
    with pytest.raises(
        ImportError, match="corpus 'pydoc' needs pydoc_data, which this Python lacks"
    ):
        corpus("pydoc")


def test_an_unknown_corpus_is_an_error():
    assert corpora() == ["dinosaurs", "pydoc"]
    with pytest.raises(ValueError, match=r"expected one of dinosaurs, pydoc, got '\.\./data'"):
        corpus("../data")


# ------------------------------------------------------------------------------------- the package


def test_all_names_exist_and_are_sorted():
    assert crnn.data.__all__ == sorted(crnn.data.__all__, key=lambda n: (not n.isupper(), n))
    assert all(hasattr(crnn.data, name) for name in crnn.data.__all__)
