"""Data for training: text, series, sequences of different lengths, tables.

What `crnn.fit` goes through once an epoch is any iterable of ``(x, target)``, ``(x, target,
lengths)`` or ``(x, target, lengths, {"mask": ..., "resets": ..., "weights": ...})``. The classes
here are such iterables, and whatever they shuffle depends on nothing but the seed and the number of
the epoch, which `fit` tells them with ``set_epoch``: so a run can be taken up again in the middle
of an epoch.

========================  ==========================================================================
one long series           `Streams` (the state goes on from item to item), `windows`
text                      `Vocabulary`, `TextStreams`, `Lines`, `lines_of`, `corpus`
many sequences            `Batches`, `pad`
pairs of sequences        `PairBatches`, `read_pairs`
later targets             `delayed`
files and frames          `read_csv`, `from_frame`
to hold out, to scale     `split`, `hold_out`, `Standardizer`
========================  ==========================================================================

A series (N,) of floats has one feature, so it is read as (N, 1). A series (N,) of integers is one
of symbols or classes, and one of booleans a mask: these stay as they are.

Letters: ``B`` sequences in a batch, ``T`` steps, ``K`` symbols, ``N`` steps of a series or rows of
a table, ``n`` sequences, ``F`` features.

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
from crnn.data.order import hold_out, permutation, split
from crnn.data.pairs import PairBatches, read_pairs
from crnn.data.scaling import Standardizer
from crnn.data.series import Streams, delayed, windows
from crnn.data.tables import Table, from_frame, read_csv
from crnn.data.text import END_OF_LINE, Lines, TextStreams, corpora, corpus, lines_of
from crnn.data.vocabulary import Vocabulary

__all__ = [
    "END_OF_LINE",
    "Batches",
    "Lines",
    "PairBatches",
    "Standardizer",
    "Streams",
    "Table",
    "TextStreams",
    "Vocabulary",
    "corpora",
    "corpus",
    "delayed",
    "from_frame",
    "hold_out",
    "lines_of",
    "pad",
    "permutation",
    "read_csv",
    "read_pairs",
    "split",
    "windows",
]
