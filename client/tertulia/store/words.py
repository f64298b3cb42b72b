"""What the full-text index takes for a word.

`words` is the tokenizer of the index (`words` in `tertulia.store.schema`), and what reads queries, snippets and
suggestions, so that these never disagree with what is found. It splits as Unicode does, except that it takes names
apart which Unicode joins: `config.py`, `example.com`, `user_name` and `std::sort` are found by each of their parts. Not
abbreviations and numbers: `U.S.A.` is `usa`, `3.14` stays whole.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

_PART = re.compile("[^._:．＿：]+")


class Word(NamedTuple):
    """A word, where it stands in the text, and how the index spells it: no case, accents or punctuation."""

    start: int
    end: int
    folded: str


def words(text: str) -> Iterator[Word]:
    """Yield the words of `text` in order: what Unicode calls words, and single characters of Chinese, Thai and such."""
    # At the first use and not before: `tools/list` is answered without it.
    from apsw import unicode

    split = unicode.word_iter_with_offsets(text, 0, emoji=True, regional_indicator=True)
    for start, end, word in cast("Iterator[tuple[int, int, str]]", split):
        if word.isalnum():
            parts = ((start, end, word),)
        else:
            parts = tuple((start + from_, start + to, part) for from_, to, part in _parts(word))
        for from_, to, part in parts:
            plain = part.isascii() and part.isalnum()
            folded = part.lower() if plain else unicode.casefold(unicode.strip(part))
            if folded:
                yield Word(from_, to, folded)


def _parts(word: str) -> list[tuple[int, int, str]]:
    parts = [(part.start(), part.end(), part.group()) for part in _PART.finditer(word)]
    if any(len(part) > 1 and not part.isdecimal() for _, _, part in parts):
        return parts
    return [(0, len(word), word)]


def tokenizer(
    _connection: object, _arguments: list[str]
) -> Callable[[bytes, int, str | None], Iterator[Word]]:
    """Make the tokenizer, for APSW to register."""

    def tokenize(utf8: bytes, _flags: int, _locale: str | None) -> Iterator[Word]:
        # Offsets in characters, though FTS5 counts bytes: it keeps none, and nothing here asks it for snippets.
        # One word at a time: a list of all words takes fifty times the memory of a long text.
        return words(utf8.decode(errors="replace"))

    return tokenize
