"""Texts as symbols: characters, or words separated by spaces."""

from collections.abc import Iterable, Sequence, Sized

from crnn.common.checks import check_seed
from crnn.data import END_OF_LINE, Vocabulary, hold_out
from crnn.data.pairs import Pair

UNKNOWN_WORD, UNKNOWN_CHARACTER = "<unk>", "\N{REPLACEMENT CHARACTER}"


def list_of_texts(name: str, texts: Iterable[str]) -> list[str]:
    """Return texts as a list; raise TypeError for a single text."""
    if isinstance(texts, str):  # a string is iterable, too: its characters would be taken as texts
        raise TypeError(f"{name}: expected a list of texts, got a single one, {texts!r:.60}")
    if not isinstance(texts, Iterable):
        raise TypeError(f"{name}: expected a list of texts, got {texts!r:.60}")
    return list(texts)


def symbols_of(name: str, text: str, words: bool) -> list[str]:
    """Return the words or characters of a text, an empty list for a text of spaces alone."""
    if not isinstance(text, str):
        raise TypeError(f"{name}: expected strings, got {text!r:.60}")
    if END_OF_LINE in text:
        raise ValueError(f"{name}: expected texts of one line, got {text!r:.60}")
    return text.split() if words or not text.strip() else list(text)


def separator(words: bool) -> str:
    """Return the separator of the symbols of a text."""
    return " " if words else ""


def exact_share(expected: Iterable[Sequence[str]], texts: Iterable[str], words: bool) -> float:
    """Return the share of texts that have exactly the expected symbols."""
    between = separator(words)
    exact = [between.join(row) == text for row, text in zip(expected, texts, strict=True)]
    return sum(exact) / len(exact)


def symbols_of_pairs(pairs: Sequence[Pair], words: bool) -> tuple[list[list[str]], list[list[str]]]:
    """Return the symbols of each source and the symbols of each target."""
    if not isinstance(pairs, Sized):
        raise TypeError(f"pairs: expected a list of pairs of strings, got {pairs!r:.60}")
    if not len(pairs):
        raise ValueError("pairs: expected at least one, got none")
    for pair in pairs:
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise TypeError(f"pairs: expected pairs of strings, got {pair!r:.60}")
    sources, targets = ([symbols_of("pairs", pair[i], words) for pair in pairs] for i in (0, 1))
    return sources, targets


def vocabulary_of(
    rows: Iterable[Iterable[str]], words: bool, min_count: int, special: Sequence[str] = ()
) -> Vocabulary:
    """Return the vocabulary of texts, with `special` symbols first and the unknown one last."""
    unknown = UNKNOWN_WORD if words else UNKNOWN_CHARACTER
    all_symbols = (symbol for row in rows for symbol in row)
    symbols = Vocabulary.from_text(all_symbols, unknown, min_count=min_count).symbols
    return Vocabulary([*special, *symbols], unknown)


def held_apart(pairs: Sequence[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Split pairs into a list for training and a held-out list, as `Translator.train` does."""
    if not 0 <= share < 1:
        raise ValueError(f"validation_split: expected a share from 0 to below 1, got {share!r}")
    if len(pairs) < 2 and share:
        raise ValueError(f"pairs: expected at least two, to hold one out, got {len(pairs)}")
    return hold_out(pairs, share, check_seed(seed))
