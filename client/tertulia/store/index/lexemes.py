"""Words as PostgreSQL's full-text types have them: the tsvectors of a message, and the tsquery of a search.

Words are our own (`tertulia.store.words`), so that what is found is the same on every engine. Beside those of its text
a message has words that no text has:

- `~` and a scope (`tertulia.store.index.base.scope`);
- `~`, its principal's scope and a stretch of time, in four lengths;
- `&` and a digest of each two short words that stand side by side. An index that knows no places reads the words of
  each candidate for a phrase; short words are common, and phrases of them would have many. Where characters are words,
  all phrases are such.

A tsvector ends at a megabyte, and has 16,383 places in all and 255 of a word. So a long text has several, its parts.
The first also has the words of all others, without their places: what stands far apart is found, and a phrase where
it stands in one part.
"""

from __future__ import annotations

from collections import deque
from hashlib import sha256
from itertools import pairwise, product
from typing import TYPE_CHECKING
from zlib import crc32

from tertulia.store.index.base import Entry, scope
from tertulia.store.schema import POSITION_BITS
from tertulia.store.words import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tertulia.store.terms import Expression, Phrase

_LONGEST_WORD = 2_046
"""In bytes, of a lexeme."""
_DIGEST = 16
"""How many of them a longer word ends with that tell it from others."""
_PLACES, _TIMES, _BYTES = 16_383, 255, 900_000
"""How much a tsvector may have: places, places of one word, and bytes with some to spare."""
_LEAST = 2_048
"""How many words a part has at least, though one of them may have no more places there."""
OVERLAP = 64
"""How many words two parts share, so that a phrase stands in one of them."""
_SHORT = 4
"""How many characters a short word has at most."""
_MOST_CLOSE = 6
"""So many words that stand close are looked for in any order; more of them at one place, or in their order."""
_BITS = (26, 29, 32, 35)
"""How long the stretches of time are, in bits of a number of milliseconds: from 19 hours to 13 months."""
LEVELS = range(len(_BITS))
"""Numbers the lengths."""
_COVERED = 4
"""A span of time is searched by at most so many stretches."""


class Part:
    """Words of a text with their places, as many as a tsvector can have."""

    __slots__ = ("_last", "_place", "_size", "places")

    def __init__(self) -> None:
        self.places: dict[str, list[int]] = {}
        self._place = 0
        self._size = 0
        self._last: tuple[str, ...] = ()

    @property
    def has_bytes(self) -> bool:
        """Whether there is room for another word."""
        return self._size < _BYTES

    def has_room(self, spellings: Iterable[str]) -> bool:
        """Whether a word with these spellings can be put to the others."""
        return (
            self._place < _PLACES
            and self.has_bytes
            and (self._place < _LEAST or all(len(self.places.get(each, ())) < _TIMES for each in spellings))
        )

    def put(self, spellings: tuple[str, ...]) -> None:
        """Put a word after the last one."""
        self._place += 1
        self._size += 2 * len(spellings)
        for word in spellings:
            self.know(word).append(self._place)
        for before, word in product(self._last, spellings):
            if _are_short(before, word):
                self.know(_pair(before, word))
        self._last = spellings

    def know(self, word: str) -> list[int]:
        """Add a word without a place, unless it is known; return its places."""
        found = self.places.get(word)
        if found is None:
            self._size += 10 + (len(word) if word.isascii() else 4 * len(word))
            found = self.places[word] = []
        return found

    def vector(self, marks: Iterable[str]) -> str:
        """Return it as the text of a tsvector, with words that no text has."""
        found = [
            f"{_quoted(word)}:{','.join(map(str, places))}" if places else _quoted(word)
            for word, places in self.places.items()
        ]
        return " ".join([*found, *map(_quoted, marks)])


def split(text: str) -> tuple[int, Sequence[Part]]:
    """Return how many words a text has, and its parts."""
    parts = [Part()]
    recent = deque[tuple[str, ...]](maxlen=OVERLAP)
    count = 0
    for count, word in enumerate(words(text), 1):  # noqa: B007 (it is returned)
        spellings = tuple(map(cut, word.spellings))
        if not parts[-1].has_room(spellings):
            parts.append(Part())
            for each in recent:
                parts[-1].put(each)
        parts[-1].put(spellings)
        recent.append(spellings)
    for part in parts[1:]:
        for word in part.places:
            if parts[0].has_bytes:
                parts[0].know(word)
    return count, parts


def marks(entry: Entry) -> Iterator[str]:
    """Yield the words that no text has, by which a message is found."""
    for each in entry.scopes.split():
        yield f"~{each}"
    for level in LEVELS:
        yield _stretch(entry.principal, level, entry.position >> shift(level))


def query(expression: Expression) -> str:
    """Return the tsquery of an expression."""
    every = [any_of(map(phrase_query, group)) for group in expression.every]
    unwanted = any_of(map(phrase_query, expression.unwanted))
    return all_of(*every, unwanted and f"!{unwanted}")


def phrase_query(phrase: Phrase) -> str:
    """Return the tsquery of a phrase."""
    if phrase.close:
        return any_of(_around(lexemes(phrase)))
    quoted = list(map(_quoted, lexemes(phrase)))
    if phrase.prefix:
        quoted[-1] += ":*"
    whole = phrase.words[:-1] if phrase.prefix else phrase.words
    pairs = dict.fromkeys(_quoted(_pair(*pair)) for pair in pairwise(whole) if _are_short(*pair))
    found = " <-> ".join(quoted)
    return all_of(f"({found})" if len(quoted) > 1 else found, *pairs)


def lexemes(phrase: Phrase) -> list[str]:
    """Return the words of a phrase as lexemes; the last may be the beginning of one."""
    found = list(map(cut, phrase.words))
    if phrase.prefix:
        found[-1] = beginning(phrase.words[-1])
    return found


def _around(close: Sequence[str]) -> Iterator[str]:
    """Yield how words may stand that stand close, by which of them is first: as many places have the others too."""
    if len(close) > _MOST_CLOSE:
        yield _side_by_side(close, 0)
        yield _side_by_side(close, 1)
        return
    for number, first in enumerate(map(_quoted, close)):
        others = [_quoted(word) for other, word in enumerate(close) if other != number]
        after = [any_of(f"{first} <{gap}> {word}" for gap in range(len(close))) for word in others]
        # Within a phrase, an AND means that both begin at the same place.
        yield after[0] if len(after) == 1 else f"({first} <0> {all_of(*after)})"


def _side_by_side(words: Iterable[str], gap: int) -> str:
    return f"({f' <{gap}> '.join(map(_quoted, words))})"


def scope_query(scopes: Iterable[str]) -> str:
    """Return the tsquery of what has one of these scopes."""
    return any_of(_quoted(f"~{each}") for each in scopes)


def stretch_query(principal: str, level: int, numbers: Iterable[int]) -> str:
    """Return the tsquery of a principal's messages in some stretches of time of one length."""
    return any_of(_quoted(_stretch(principal, level, number)) for number in numbers)


def span_query(principal: str, first: int, last: int) -> str:
    """Return the tsquery of the shortest stretches that cover a span of positions; "" if it is too long."""
    for level in LEVELS:
        numbers = range(first >> shift(level), (last >> shift(level)) + 1)
        if len(numbers) <= _COVERED:
            return stretch_query(principal, level, numbers)
    return ""


def any_of(queries: Iterable[str]) -> str:
    """Join queries, of which one must match; "" if there is none."""
    given = list(queries)
    return f"({' | '.join(given)})" if len(given) > 1 else "".join(given)


def all_of(*queries: str) -> str:
    """Join the queries that are not empty, all of which must match."""
    given = [query for query in queries if query]
    return given[0] if len(given) == 1 else f"({' & '.join(given)})"


def shift(level: int) -> int:
    """Return how many of its last bits a position loses to become the number of its stretch."""
    return POSITION_BITS + _BITS[level]


def _quoted(word: str) -> str:
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"


def cut(word: str) -> str:
    """Return a word as a lexeme has it: of one that is too long, the beginning and a digest."""
    start = beginning(word)
    return start if start == word else f"{start}{sha256(word.encode()).hexdigest()[:_DIGEST]}"


def beginning(word: str) -> str:
    """Return a word, or as much of it as a lexeme has as it is."""
    if len(word) * 4 <= _LONGEST_WORD:
        return word
    return word.encode()[: _LONGEST_WORD - _DIGEST].decode(errors="ignore")


def _are_short(one: str, other: str) -> bool:
    return len(one) <= _SHORT and len(other) <= _SHORT


def _pair(one: str, other: str) -> str:
    """Return the word for two that stand side by side: some others have the same one."""
    return f"&{crc32(f'{one} {other}'.encode()) & 0x3FFFF:x}"


def _stretch(principal: str, level: int, number: int) -> str:
    return f"~{scope(principal)}{level}{number:x}"
