"""Data for training: text, series, sequences of different lengths, tables.

`crnn.fit` iterates once per epoch over its data: any iterable of ``(x, target)``, ``(x, target,
lengths)`` or ``(x, target, lengths, {"mask": ..., "resets": ..., "weights": ...})``. The classes
of this module are such iterables. `fit` calls their ``set_epoch`` before each epoch; the order of
their items depends only on the seed and the number of the epoch. A run can therefore be resumed in
the middle of an epoch.

========================  ==========================================================================
one long series           `Streams` (the state is carried from item to item), `windows`
text                      `Vocabulary`, `TextStreams`, `Lines`, `lines_of`, `corpus`, `corpora`
many sequences            `Batches`, `pad`
pairs of sequences        `PairBatches`, `read_pairs`
later targets             `delayed`
many series to forecast   `Panel`, `calendar`
files and data frames     `read_csv`, `from_frame`, `Table`
held-out data, order      `split`, `hold_out`, `permutation`
scaling                   `Standardizer`
computed series           `mackey_glass`, `narma`
music                     `read_piano_rolls`, `read_midi`, `write_midi`
========================  ==========================================================================

A series (N,) of floats has one feature and is read as (N, 1). A series (N,) of integers holds
symbols or classes, and a series (N,) of booleans is a mask: these keep their shape.

Letters: ``B`` sequences in a batch, ``T`` steps, ``K`` symbols, ``N`` steps of a series or rows of
a table, ``n`` sequences, ``F`` features.

    >>> from crnn.data import TextStreams, Vocabulary
    >>> vocabulary = Vocabulary.from_text("hello")
    >>> vocabulary
    Vocabulary(['e', 'h', 'l', 'o'])
    >>> ((x, target),) = TextStreams(vocabulary.encode("hello"), batch_size=1)
    >>> x
    array([[1, 0, 2, 2]])
    >>> vocabulary.decode(target[0])
    'ello'
"""

from crnn.data.batches import Batches, pad
from crnn.data.generated import mackey_glass, narma
from crnn.data.music import read_midi, read_piano_rolls, write_midi
from crnn.data.order import hold_out, permutation, split
from crnn.data.pairs import PairBatches, read_pairs
from crnn.data.panel import Panel
from crnn.data.panel_tables import AbsentRowsWarning
from crnn.data.scaling import Standardizer
from crnn.data.series import Streams, delayed, windows
from crnn.data.tables import Table, from_frame, read_csv
from crnn.data.text import END_OF_LINE, Lines, TextStreams, corpora, corpus, lines_of
from crnn.data.times import calendar
from crnn.data.vocabulary import Vocabulary

__all__ = [
    "END_OF_LINE",
    "AbsentRowsWarning",
    "Batches",
    "Lines",
    "PairBatches",
    "Panel",
    "Standardizer",
    "Streams",
    "Table",
    "TextStreams",
    "Vocabulary",
    "calendar",
    "corpora",
    "corpus",
    "delayed",
    "from_frame",
    "hold_out",
    "lines_of",
    "mackey_glass",
    "narma",
    "pad",
    "permutation",
    "read_csv",
    "read_midi",
    "read_pairs",
    "read_piano_rolls",
    "split",
    "windows",
    "write_midi",
]
