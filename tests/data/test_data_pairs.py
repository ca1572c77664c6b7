"""Pairs of texts in files, and pairs of sequences in batches."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn.data import PairBatches, read_pairs
from crnn.data.pairs import text_lines

START, STOP = 7, 8

symbols = st.lists(st.integers(0, 6), max_size=5)
pairs_lists = st.lists(st.tuples(symbols, symbols), min_size=1, max_size=40)


def batches(pairs, batch, **options):
    sources, targets = zip(*pairs, strict=True)
    return PairBatches(sources, targets, batch, start=START, stop=STOP, **options)


def unpacked(data):
    """The pairs of all batches, without padding, start and stop."""
    pairs = []
    for (source, target_in, source_lengths), target, lengths in data:
        rows = zip(source, target_in, source_lengths, target, lengths, strict=True)
        for x, y_in, x_length, y, length in rows:
            assert y_in[0] == START
            assert y[length - 1] == STOP
            np.testing.assert_array_equal(y_in[1:length], y[: length - 1])
            padding = np.concatenate([x[x_length:], y_in[length:], y[length:]])
            assert not padding.any()
            pairs.append((x[:x_length].tolist(), y[: length - 1].tolist()))
    return pairs


# ---------------------------------------------------------------------------------------- batches


@given(pairs_lists, st.integers(1, 9), st.booleans(), st.booleans())
def test_every_pair_comes_once_between_start_and_stop(pairs, batch, shuffle, bucket):
    data = batches(pairs, batch, shuffle=shuffle, bucket=bucket)
    assert sorted(unpacked(data)) == sorted((list(x), list(y)) for x, y in pairs)
    items = list(data)
    assert len(items) == len(data) == -(-len(pairs) // batch)
    assert data.steps == sum(int(lengths.sum()) for _, _, lengths in items)
    for (source, target_in, source_lengths), target, lengths in items:
        assert source.shape == (len(lengths), source_lengths.max())
        assert target.shape == target_in.shape == (len(lengths), lengths.max())
        assert {a.dtype for a in (source, target_in, target, lengths, source_lengths)} == {
            np.dtype(np.int64)
        }


def test_without_shuffling_and_buckets_pairs_come_as_they_are():
    pairs = [([1, 2, 3], [4]), ([1], [2, 3]), ([], [])]
    assert unpacked(batches(pairs, 2, shuffle=False, bucket=False)) == pairs
    assert unpacked(batches(pairs, 2, shuffle=False)) == [pairs[2], pairs[1], pairs[0]]


def test_batches_are_of_similar_length():
    rng = np.random.default_rng(0)
    pairs = [([1] * n, [2] * n) for n in rng.integers(1, 40, 640)]
    spread = {
        bucket: sum(np.ptp(lengths) for _, _, lengths in batches(pairs, 16, bucket=bucket))
        for bucket in (True, False)
    }
    assert spread[True] < spread[False] / 5


def test_an_epoch_has_its_order_and_a_seed_its_epochs():
    pairs = [([n], [n]) for n in range(7)] * 5
    data = batches(pairs, 4, seed=3)
    orders = []
    for epoch in (0, 1, 0):
        data.set_epoch(epoch)
        orders.append(unpacked(data))
    assert orders[0] == orders[2] != orders[1]
    assert orders[0] == unpacked(batches(pairs, 4, seed=3)) != unpacked(batches(pairs, 4, seed=4))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([], []), {}, ValueError, "sources: expected at least one, got none"),
        (([[1]], []), {}, ValueError, "targets: expected 1, one for each source, got 0"),
        (([[1.5]], [[1]]), {}, ValueError, r"sources: expected arrays \(T,\) of integers, got fl"),
        (([[1]], [[[1]]]), {}, ValueError, r"targets: .* got int64 of shape \(1, 1\)"),
        (
            ([[1]], [[1]]),
            {"batch_size": 0},
            ValueError,
            "batch_size: expected an integer of at least 1",
        ),
        (([[1]], [[1]]), {"stop": -1}, ValueError, "stop: expected an integer from 0"),
        (([[1]], [[1]]), {"start": None}, TypeError, "start: expected an integer from 0"),
        (([[1]], [[1]]), {"seed": -1}, ValueError, "seed: "),
    ],
)
def test_what_makes_no_batches(arguments, options, error, message):
    with pytest.raises(error, match=message):
        PairBatches(*arguments, **{"start": START, "stop": STOP} | options)


# ------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize(
    "content",
    [
        "one\t1\ntwo words \té\n",
        "one\t1\r\ntwo words \té",
        "\ufeffone\t1\n\n \t\n  \ntwo words \té\n\n",
    ],
)
def test_pairs_are_read_as_they_are(tmp_path, content):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(content.encode())
    assert read_pairs(path) == [("one", "1"), ("two words ", "é")]


def test_only_newlines_end_a_line(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_bytes("a\u2028b\tc\x0bd\x85\n".encode())
    assert read_pairs(path) == [("a\u2028b", "c\x0bd\x85")]


TATOEBA = "Go.\tVe.\tCC-BY 2.0 (France) #1 & #2\nHi.\tHola.\tCC-BY 2.0 (France) #3 & #4\n"


def test_further_columns_are_left_out(tmp_path):
    path = tmp_path / "spa.txt"
    path.write_text(TATOEBA, encoding="utf-8")
    assert read_pairs(path) == [("Go.", "Ve."), ("Hi.", "Hola.")]
    assert read_pairs(path, (1, 0)) == [("Ve.", "Go."), ("Hola.", "Hi.")]
    path.write_text("1276\tGo.\t3029\tVe.\n1277\tHi.\t3030\tHola.\n", encoding="utf-8")
    assert read_pairs(path, columns=[1, 3]) == [("Go.", "Ve."), ("Hi.", "Hola.")]
    message = "line 1: .* in columns 1 and 4 from 0, got 4 columns"
    with pytest.raises(ValueError, match=message):
        read_pairs(path, columns=(1, 4))
    for columns in (1, (1,), (0, 1, 2), (0, -1), ("a", "b"), (0, 1.0)):
        with pytest.raises(ValueError, match="columns: expected two integers of at least 0"):
            read_pairs(path, columns)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected pairs of texts, got an empty file"),
        (b"\n \n", "expected pairs of texts, got an empty file"),
        (b"a\tb\n\nno tab here\n", "line 3: expected two texts with a tab between them, got no ta"),
        (b"a\tb\nc\td\te\n", r"line 2: expected 2 columns as in the lines before, got 3: 'c\\td"),
        (b"a\tb\tc\nd\te\n", "line 2: expected 3 columns as in the lines before, got 2"),
        (
            b"a\tb\na\t \n",
            "line 2: expected two texts with a tab between them, got an empty target",
        ),
        (b"\tb\n", "line 1: expected two texts with a tab between them, got an empty source"),
        (b"a\tb\ncaf\xe9\tb\n", "line 2: expected a text in UTF-8: 'utf-8' codec can't decode"),
        (b"a\tb\n\xff\xfea\x00", "line 2: expected a text in UTF-8"),
    ],
)
def test_errors_of_damaged_files_name_the_line(tmp_path, content, message):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"pairs\.tsv: {message}"):
        read_pairs(path)


def test_files_that_do_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_pairs(tmp_path / "none.tsv")


def test_lines_of_a_stream_keep_their_spaces():
    assert [*text_lines(io.BytesIO(b" a \r\n\n\tb"), "x")] == [" a ", "", "\tb"]
