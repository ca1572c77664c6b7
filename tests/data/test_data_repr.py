"""The repr of data classes: one short line, without reading data."""

import numpy as np
import pytest

import crnn
from crnn.data import (
    Batches,
    Lines,
    PairBatches,
    Panel,
    Standardizer,
    Streams,
    Table,
    TextStreams,
    Vocabulary,
    from_frame,
)

ROWS, NUMBERS = [[1, 2], [3], [4, 5, 6], [7]], [0, 1, 2, 3]
X = np.zeros((200, 5, 1))
MANY = np.broadcast_to(np.float32(0), (10**6, 5, 1))
STEPS = np.ones((200, 5), bool)
SEED = 2**64 - 1


class Part(Batches):
    """A subclass: its own name is in the repr."""


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            Batches(ROWS, NUMBERS, 3),
            "<Batches: 4 sequences in 2 batches of 3, bucketed, shuffled with seed 0>",
        ),
        (
            Batches(ROWS, NUMBERS, 3, bucket=False, drop_last=True, seed=5),
            "<Batches: 4 sequences in 1 batch of 3, shuffled with seed 5>",
        ),
        (
            Batches(ROWS, NUMBERS, shuffle=False, bucket=True),
            "<Batches: 4 sequences in 1 batch of 32, sorted by length>",
        ),
        (
            Batches([[1]], [0], shuffle=False, mask=[[True]]),
            "<Batches: 1 sequence in 1 batch of 32, not shuffled, with mask>",
        ),
        (
            Batches(X, X, mask=STEPS, resets=STEPS, weights=STEPS),
            "<Batches: 200 sequences in 7 batches of 32, shuffled with seed 0, "
            "with mask, resets and weights>",
        ),
        (Part(X, X), "<Part: 200 sequences in 7 batches of 32, shuffled with seed 0>"),
        (
            PairBatches(ROWS, ROWS, 3, start=8, stop=9),
            "<PairBatches: 4 pairs in 2 batches of 3, bucketed, shuffled with seed 0>",
        ),
        (
            PairBatches([[1]], [[1]], start=8, stop=9, shuffle=False, bucket=False),
            "<PairBatches: 1 pair in 1 batch of 32, not shuffled>",
        ),
        (
            Lines(["ab", "", "b"], Vocabulary("\nab"), 2),
            "<Lines: 3 lines in 2 batches of 2, shuffled with seed 0>",
        ),
        (
            Lines(["a"], Vocabulary("\nab"), seed=None),
            "<Lines: 1 line in 1 batch of 32, not shuffled>",
        ),
        (
            Streams(X[:, 0], batch_size=4, steps=20),
            "<Streams: 4 streams of 49 steps in 3 items of 20 steps>",
        ),
        (
            Streams(X[:, 0], batch_size=199, mask=STEPS[:, 0], weights=STEPS[:, 0]),
            "<Streams: 199 streams of 1 step in 1 item, with mask and weights>",
        ),
        (
            Streams(X[:, 0], X[:, 0], batch_size=1, steps=1),
            "<Streams: 1 stream of 200 steps in 200 items of 1 step>",
        ),
        (TextStreams(np.arange(9), 2), "<TextStreams: 2 streams of 4 steps in 1 item>"),
        (Panel(X[:, 0, 0, None]), "<Panel: 200 series of 1 step>"),
        (Standardizer(), "Standardizer()"),
        (Standardizer().fit(np.ones((3, 2))), "<Standardizer: 2 features>"),
        (Standardizer().fit(np.ones(3)), "<Standardizer: 1 feature>"),
        (Table(X[:, 0]), "<Table: x (200, 1)>"),
        (
            Table(X[:, 0], X[:, 0], STEPS[:, 0], STEPS[:, 0]),
            "<Table: x (200, 1), target (200, 1), mask (200,), weights (200,)>",
        ),
        (
            Table(
                [X[:9, 0], X[:2, 0]],
                [X[:9, 0], X[:2, 0]],
                [STEPS[:9, 0], STEPS[:2, 0]],
                [STEPS[:9, 0], STEPS[:2, 0]],
                ["a", "b"],
            ),
            "<Table: 2 sequences, x (T, 1), target (T, 1), mask (T,), weights (T,), T from 2 to 9>",
        ),
        (Vocabulary("ab", unknown="?"), "Vocabulary(['a', 'b', '?'], unknown='?')"),
        (
            Vocabulary([chr(code) for code in range(32, 127)]),
            "<Vocabulary: 95 symbols ' ', '!', '\"', '#', '$', '%', '&', \"'\", ...>",
        ),
        (
            Vocabulary([f"word{n}" for n in range(9999)], unknown="<unk>"),
            "<Vocabulary: 10000 symbols 'word0', 'word1', 'word2', 'word3', ..., unknown='<unk>'>",
        ),
        (
            Vocabulary(["a" * 500]),
            f"<Vocabulary: 1 symbol '{'a' * 39}>",
        ),
    ],
)
def test_reprs(data, expected):
    assert repr(data) == str(data) == expected
    assert len(expected) <= 100


def test_reprs_are_short_for_any_data():
    """Also for seeds of 20 digits, symbols of any length, and symbols with line ends."""
    for data in (
        Batches(MANY, MANY, 9, seed=SEED),
        Batches([[1]] * 9999, [0] * 9999, seed=SEED, weights=[1] * 9999),
        PairBatches(ROWS, ROWS, start=1, stop=2, seed=SEED),
        Vocabulary([f"{n}\n\r\u2028" * 99 for n in range(99)], unknown="\n" * 999),
        Vocabulary("\n"),
    ):
        assert len(repr(data)) <= 120
        assert repr(data).isprintable()


def test_a_repr_reads_no_data():
    """The arrays may be memory-mapped files."""

    class Unreadable(np.ndarray):
        def __getitem__(self, key):
            raise AssertionError("read")

        def __array__(self, *args, **kwargs):
            raise AssertionError("read")

    streams, batches = Streams(X[:, 0], batch_size=4), Batches(X, X)
    table = Table(X[:, 0].view(Unreadable))
    streams.x, streams.target = (a.view(Unreadable) for a in (streams.x, streams.target))
    batches._x.array = batches._x.array.view(Unreadable)
    assert repr(streams) == "<Streams: 4 streams of 49 steps in 1 item>"
    assert repr(batches).startswith("<Batches: 200 sequences in 7 batches of 32, ")
    assert repr(table) == "<Table: x (200, 1)>"


@pytest.mark.parametrize(
    "data",
    [
        *(cls.__new__(cls) for cls in (Batches, PairBatches, Lines, Streams, TextStreams)),
        Vocabulary.__new__(Vocabulary),
        Table(None, groups=[]),
        Table([], groups=["a"]),
        Table("no array"),
    ],
)
def test_reprs_of_incomplete_objects_do_not_raise(data):
    """A debugger may show an object whose constructor has raised an exception."""
    assert type(data).__name__ in repr(data)


def test_the_repr_of_a_table_from_a_frame():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"who": ["a", "a", "b"], "x": [1, None, 3], "y": [0, 1, 0]})
    options = {"target": "y", "group": "who", "missing": "mask"}
    assert repr(from_frame(frame, **options)) == (
        "<Table: 2 sequences, x (T, 1), target (T, 1), mask (T,), weights (T,), T from 1 to 2>"
    )


def test_a_long_vocabulary_in_the_repr_of_a_model():
    text = "".join(map(chr, range(32, 127)))
    model = crnn.models.CharModel.for_text(text, hidden_size=2, seed=0)
    assert "'%', '&', \"'\", ...>, Sequential(" in repr(model)
