"""What the full-text index takes for a word, and under which spellings it finds one.

`words` reads what is indexed, and also queries, snippets and suggestions, so that these never disagree with what is
found. It splits as Unicode does, and takes names apart which Unicode joins: `config.py`, `user_name` and `std::sort`
are several words. Hangul is read syllable by syllable, as Chinese is, since particles are written onto a noun.

A word stands at one place of the text, so that phrases count as people do, but may have several spellings there:

- `Acme's` is `acmes` and `acme`; `l'API` is `lapi` and `api`.
- `getUserById` is `getuserbyid`, and also each of its parts.
- `v3.2.1` is `3.2.1`, and also `3.2`, `v3.2` and so on, and each of its numbers. So are dates, prices and addresses.
- `C++` and `C#` are `c++` and `c#`, and also `c`.

Letters lose case, accents and marks; `ø`, `ł`, `ß`, `æ` and their like become what is typed in their place.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import lru_cache
from io import BytesIO
from itertools import chain
from typing import NamedTuple, Protocol, cast

_ALNUM = r"[^\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]"
"""Letters and digits of ASCII; whatever is not ASCII is left to Unicode's rules."""
_RUN = re.compile(
    rf"""[A-Za-z](?:\+\+|\#)(?![+#]|{_ALNUM})|{_ALNUM}+(?:(?:[.']|,(?=\d)|"(?=[\u05d0-\u05ea])){_ALNUM}+)*"""
)
_APOSTROPHE = re.compile("['’ʼ＇‘]")
_PART = re.compile("[^._:·．＿：]+")
_NUMBERED = re.compile(r"[^\W\d_]*\d+")
_HANGUL = re.compile("[\uac00-\ud7a3]|[^\uac00-\ud7a3]+")
_MARKS = re.compile(
    "[\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed\u0711\u0730-\u074a"
    '\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f\u00ad\u200b-\u200f\u2060\ufe00-\ufe0f\U0001f3fb-\U0001f3ff"״׳\\s]'
)
"""Accents and points, tones of skin, and what nobody sees. The vowels of Indic scripts and the voicing of Japanese are
no marks."""
_LETTERS = str.maketrans(
    {
        **dict.fromkeys("đðɗ", "d"),
        **dict.fromkeys("ħ", "h"),
        **dict.fromkeys("ı", "i"),
        **dict.fromkeys("ł", "l"),
        **dict.fromkeys("ŋ", "n"),
        **dict.fromkeys("øɵ", "o"),
        **dict.fromkeys("ŧ", "t"),
        **dict.fromkeys("ƙ", "k"),
        **dict.fromkeys("ɓƀ", "b"),
        "æ": "ae",
        "œ": "oe",
        "þ": "th",
    }
)
"""Letters that Unicode does not decompose."""
_REMEMBERED, _LONGEST_REMEMBERED = 1 << 14, 48
_MOST_NUMBERS = 8
_PIECE = 1 << 16
"""The tokenizer reads a text in pieces of about so many bytes."""


class ReadableBytes(Protocol):
    """What is read in pieces."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most so many; none at the end."""
        ...


class Word(NamedTuple):
    """A word, where it stands in the text, and how the index spells it."""

    start: int
    end: int
    folded: str
    """The word as a whole."""
    others: tuple[str, ...] = ()
    """What else it is found by at the same place."""

    @property
    def spellings(self) -> tuple[str, ...]:
        """All that it is found by."""
        return (self.folded, *self.others)


def words(text: str) -> Iterator[Word]:
    """Yield the words of `text` in order: what Unicode calls words, and single characters of Chinese, Thai and such."""
    for found in _RUN.finditer(text):
        start = found.start()
        for part in _parts_of_run(found.group()):
            yield Word(start + part[0], start + part[1], part[2][0], part[2][1:])


def different_words(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the words of `text` in order, but each once only: as it is written, and its spellings."""
    for run in dict.fromkeys(_RUN.findall(text)):
        for start, end, spellings in _parts_of_run(run):
            yield run[start:end], spellings


_Part = tuple[int, int, tuple[str, ...]]
"""A word with its place in a run and its spellings, the whole word first."""


def _parts_of_run(run: str) -> Iterable[_Part]:
    if len(run) <= _LONGEST_REMEMBERED:
        return _of_short_run(run)
    return _parts(run) if run.isascii() else _by_unicode(run)


@lru_cache(_REMEMBERED)
def _of_short_run(run: str) -> tuple[_Part, ...]:
    return _parts(run) if run.isascii() else tuple(_by_unicode(run))


def _by_unicode(run: str) -> Iterator[_Part]:
    # At the first use and not before: `tools/list` is answered without it.
    from apsw import unicode

    split = unicode.word_iter_with_offsets(run, 0, emoji=True, regional_indicator=True)
    for offset, _, word in cast("Iterator[tuple[int, int, str]]", split):
        parts = _parts(word) if len(word) > _LONGEST_REMEMBERED else _of_short_word(word)
        if offset == 0:
            yield from parts
        else:
            for start, end, spellings in parts:
                yield offset + start, offset + end, spellings


def _parts(word: str) -> tuple[_Part, ...]:
    if word[-1] in "+#":
        letter = word[0].lower()
        return ((0, len(word), (letter + word[1:], letter)),)
    if word.isalnum() and word.isascii():
        return ((0, len(word), _spellings(word)),)
    split = [(part.start(), part.group()) for part in _HANGUL.finditer(word)]
    found = ((offset, each) for offset, part in split for each in _joined(part))
    return tuple((offset + start, offset + end, spellings) for offset, (start, end, spellings) in found)


_of_short_word = lru_cache(_REMEMBERED)(_parts)


class _SpellingsOfRuns(dict[str, tuple[tuple[str, ...], ...]]):
    """What the index takes in for each word of a run, by the run; those of short ones are remembered.

    A dictionary, because looking up a word that is there then takes no step of Python.
    """

    def __missing__(self, run: str) -> tuple[tuple[str, ...], ...]:
        spellings = tuple(part[2] for part in _parts_of_run(run))
        if len(run) <= _LONGEST_REMEMBERED:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[run] = spellings
        return spellings


_SPELLINGS = _SpellingsOfRuns()


def _joined(word: str) -> Iterator[_Part]:
    """Yield the words in one that dots, colons or underscores may join."""
    parts = [(part.start(), part.end(), part.group()) for part in _PART.finditer(word)]
    if not any(len(part) > 1 or part.isdecimal() for *_, part in parts):  # U.S.A.
        parts = [(0, len(word), word)]
    at = 0
    while at < len(parts):
        start, end, part = parts[at]
        at += 1
        numbers = [part]
        if _NUMBERED.fullmatch(part.replace(",", "")):
            while at < len(parts) and parts[at][2][0].isdecimal() and word[end] == ".":
                numbers.append(parts[at][2])
                end = parts[at][1]
                at += 1
        spellings = _numbered(numbers) if len(numbers) > 1 else _spellings(part)
        if spellings[0]:
            yield start, end, spellings


def _numbered(parts: list[str]) -> tuple[str, ...]:
    """Return the spellings of a version, a date, a decimal number: its beginnings, with and without its name."""
    parts = [fold(part.replace(",", "")) for part in parts]
    number = parts[0].lstrip("".join(filter(str.isalpha, parts[0])))
    name = parts[0][: len(parts[0]) - len(number)]
    beginnings = [
        ".".join([number, *parts[1:count]]) for count in range(2, min(len(parts), _MOST_NUMBERS) + 1)
    ]
    whole = ".".join([number if name == "v" else parts[0], *parts[1:]])
    named = [name + beginning for beginning in beginnings] if name else []
    names = [name] if len(name) > 1 else []
    others = dict.fromkeys((*beginnings, *named, *parts, number, *names))
    return whole, *(other for other in others if other != whole)


def _spellings(word: str) -> tuple[str, ...]:
    """Return how the index spells a word: as a whole, and its parts of more than one letter."""
    folded = fold(word)
    if folded.isalnum() and word[1:] in (folded[1:], ""):
        return (folded,)
    parts = _APOSTROPHE.split(word)
    if len(parts) == 1:
        others = dict.fromkeys(map(fold, camel_case_parts(word)))
    else:
        owner = ["".join(parts[:-1])] if parts[-1] in ("s", "S") else []
        long = [part for part in (*owner, *parts) if len(part) > 1]
        others = dict.fromkeys(fold(part) for whole in long for part in (whole, *camel_case_parts(whole)))
    return folded, *(other for other in others if other and other != folded)


def fold(word: str) -> str:
    """Return a word without case, accents, marks and punctuation."""
    if word.isascii():
        folded = word.lower()
    else:
        plain = _MARKS.sub("", unicodedata.normalize("NFKD", word.casefold()).casefold())
        folded = unicodedata.normalize("NFC", plain.translate(_LETTERS))
    return folded if folded.isalnum() else _APOSTROPHE.sub("", folded).replace(",", "").replace(".", "")


def camel_case_parts(word: str) -> list[str]:
    """Return the parts of more than one letter of a name such as `getUserById`; nothing of a word of one part."""
    if word[1:].islower() or word.islower() or word.isupper():
        return []
    starts = [0, *(at for at in range(1, len(word)) if _begins_part(word, at))]
    parts = [word[start:end] for start, end in zip(starts, [*starts[1:], len(word)], strict=True)]
    if parts[-1].endswith("s") and parts[-1][:-1].isupper():  # the plural of an abbreviation: APIs
        parts[-1] = parts[-1][:-1]
    elif len(parts) == 1:
        return []
    return [part for part in parts if len(part) > 1]


def _begins_part(word: str, at: int) -> bool:
    before, here, after = word[at - 1], word[at], word[at + 1 :]
    return here.isupper() and (not before.isupper() or (after[:1].islower() and after != "s"))


def tokenizer(
    _connection: object, _arguments: list[str]
) -> Callable[[bytes, int, str | None], Iterator[tuple[str, ...]]]:
    """Make a tokenizer, for APSW to register."""
    return tokenizer_of(lambda _: None)


def tokenizer_of(
    stored: Callable[[bytes], AbstractContextManager[ReadableBytes] | None],
) -> Callable[[bytes, int, str | None], Iterator[tuple[str, ...]]]:
    """Make a tokenizer that reads what `stored` opens for a reference to a long text, and every other text itself."""
    from apsw import FTS5_TOKENIZE_QUERY

    def tokenize(utf8: bytes, flags: int, _locale: str | None) -> Iterator[tuple[str, ...]]:
        if flags & FTS5_TOKENIZE_QUERY:  # spelt as the index spells already: `tertulia.store.terms`
            return ((spelling,) for spelling in utf8.decode().split())
        stream = stored(utf8)
        if stream is None and len(utf8) <= _PIECE:
            return _indexed(utf8.decode(errors="replace"))
        return in_pieces(stream or BytesIO(utf8))

    def in_pieces(stream: AbstractContextManager[ReadableBytes]) -> Iterator[tuple[str, ...]]:
        # One piece and one word at a time: what is long is never there as a whole.
        with stream as opened:
            for piece in _pieces(opened):
                yield from _indexed(piece)

    return tokenize


def _indexed(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the spellings of each word of a text."""
    return chain.from_iterable(map(_SPELLINGS.__getitem__, _RUN.findall(text)))


def _pieces(stream: ReadableBytes) -> Iterator[str]:
    """Yield a text in pieces, parted between words."""
    rest = stream.read(_PIECE)
    while read := stream.read(_PIECE):
        end = max(rest.rfind(b" "), rest.rfind(b"\n"))
        if end < len(rest) // 2:  # no blank for long: between two characters at least
            end = len(rest) - 1
            while end > 0 and rest[end] & 0xC0 == 0x80:
                end -= 1
        yield rest[:end].decode(errors="replace")
        rest = rest[end:] + read
    yield rest.decode(errors="replace")
