"""Reading a search as a person types it. The language is described in `tertulia.store.search`.

Whatever is typed becomes terms: what is no operator is text. A term reaches the index as phrases of words that are
spelt as the index spells them; `tertulia.store.index` turns them into what its engine understands.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tertulia.store.database import storable
from tertulia.store.words import Word, camel_case_parts, fold, words
from tertulia.vocabulary.errors import InvalidInputError

MAX_LENGTH = 1_000
"""The longest search, in characters."""
_SHORTEST_PREFIX = 3
"""In bytes of UTF-8: three Latin letters, two Cyrillic ones, one Hangul syllable. For a shorter one the index merges a
large part of itself before it yields the first match."""

_GERSHAYIM = r'(?<=[\u05d0-\u05ea])"(?=[\u05d0-\u05ea])'
"""Within a Hebrew word it is a letter's mark and no quote."""
_PIECE = re.compile(
    rf"""(?P<minus>(?<!\S)-(?=["\w]))?(?:"(?P<phrase>(?:[^"]|{_GERSHAYIM})*)"|(?P<chunk>(?:[^\s"]|{_GERSHAYIM})+))"""
)
_PREFIX = re.compile(r"[^*]*\w\*")
_HASH = re.compile(r"(?=.*[0-9])(?=.*[a-f])[0-9a-f]{7,}", re.IGNORECASE)
"""What may be the beginning of a commit's name, of a digest, of an id: seven digits at least, as git shows them."""
_SNAKE = re.compile(r"[^\W_]+(?:_[^\W_]+)+")
_TYPED = str.maketrans({"\0": " ", "“": '"', "”": '"', "„": '"'})


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words, spelt as the index spells them, that stand side by side in this order."""

    words: tuple[str, ...]
    prefix: bool = False
    """The last is the beginning of a word."""
    close: bool = False
    """The order is any, and as many places as there are words, or fewer, have them all."""


Alternatives = Sequence[Phrase]
"""Phrases of which a text must have one."""


@dataclass(frozen=True, slots=True)
class Expression:
    """What a text must have: of each of `every` one phrase, and of `unwanted` none."""

    every: Sequence[Alternatives]
    unwanted: Alternatives = ()


@dataclass(frozen=True, slots=True)
class Term:
    """A word, or words that must stand side by side; `start` is where in the search."""

    start: int
    text: str
    words: Sequence[Word]
    prefix: bool = False
    excluded: bool = False
    operator: bool = False
    """It is an OR, if there is something on both sides."""
    joined: str | None = None
    """Another spelling of the whole: `maxretrycount` of `max_retry_count`."""
    parts: tuple[str, ...] = ()
    """The words that a name such as `HTTPResponse` consists of; close to each other, they are it too."""

    @property
    def phrases(self) -> Alternatives:
        """The phrases by which the index finds the term."""
        found = [Phrase(tuple(word.folded for word in self.words), prefix=self.prefix)]
        if self.joined is not None:
            found.append(Phrase((self.joined,)))
        if self.parts:
            found.append(Phrase(self.parts, close=True))
        return found

    def stands_at(self, split: Sequence[Word], at: int) -> bool:
        """Whether the term is found at the word `at` of a text that was split."""
        here = split[at : at + len(self.words)]
        spellings = [word.spellings for word in here]
        wanted = [word.folded for word in self.words]
        if self.prefix and len(here) == len(wanted):
            last = wanted.pop()
            found = any(spelling.startswith(last) for spelling in spellings.pop())
        else:
            found = len(here) == len(wanted)
        whole = found and all(word in of for word, of in zip(wanted, spellings, strict=True))
        return whole or any(
            spelling in split[at].spellings for spelling in (self.joined, *self.parts[:1]) if spelling
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """A search that was read: one of each group in `wanted` must be there, and none of `unwanted`."""

    text: str
    wanted: Sequence[Sequence[Term]]
    unwanted: Sequence[Term]

    @property
    def words_wanted(self) -> str:
        """The words that are looked for, without operators."""
        return " ".join(term.text.rstrip("*") for group in self.wanted for term in group)

    @property
    def expression(self) -> Expression:
        """What a text must have that the search finds."""
        return Expression([_phrases(group) for group in self.wanted], _phrases(self.unwanted))

    @property
    def with_flags(self) -> str:
        """The search with what it leaves out as text: `"-Wall"` for `-Wall`."""
        text = self.text
        for term in reversed(self.flags):
            end = term.start + len(term.text)
            text = f'{text[: term.start - 1]}"-{term.text}"{text[end:]}'
        return text

    @property
    def flags(self) -> Sequence[Term]:
        """What is left out and could as well be a flag of a command: no phrase."""
        return [term for term in self.unwanted if _may_be_flag(term, self.text)]


def having(text: str) -> Expression:
    """Return what a text must have that contains the words of `text`, side by side."""
    return Expression([[Phrase(tuple(word.folded for word in words(text)))]])


def read(search: str) -> Terms:
    """Read a search.

    Raises:
        InvalidInputError: it has no word to look for, or is too long.
    """
    text = storable(search).translate(_TYPED)
    if len(text) > MAX_LENGTH:
        raise InvalidInputError(
            f"`query` has {len(text):,} characters; at most {MAX_LENGTH:,} are possible.",
            hint="Search for a few words that the message must have.",
        )
    terms = [term for term in map(_term, _PIECE.finditer(text)) if term.words]
    if all(term.excluded and _may_be_flag(term, text) for term in terms):
        terms = [replace(term, excluded=False) for term in terms]
    groups = _groups(terms)
    if not groups:
        raise InvalidInputError(
            "`query` has no word to look for.",
            hint="Give at least one word; punctuation is not searched.",
        )
    return Terms(text, groups, [term for term in terms if term.excluded])


def _phrases(terms: Iterable[Term]) -> Alternatives:
    return [phrase for term in terms for phrase in term.phrases]


def _may_be_flag(term: Term, text: str) -> bool:
    return text[term.start - 1] == "-"


def _term(piece: re.Match[str]) -> Term:
    excluded = piece["minus"] is not None
    if piece["phrase"] is not None:
        return Term(piece.start("phrase"), piece["phrase"], tuple(words(piece["phrase"])), excluded=excluded)
    start, text = piece.start("chunk"), piece["chunk"]
    found = tuple(words(text))
    prefix = bool(found) and _PREFIX.fullmatch(text) is not None
    parts: list[str] = []
    if len(found) == 1 and not prefix:
        parts = [fold(part) for part in camel_case_parts(text[found[0].start : found[0].end])]
    return Term(
        start,
        text,
        found,
        prefix=(prefix and len(found[-1].folded.encode()) >= _SHORTEST_PREFIX)
        or _HASH.fullmatch(text) is not None,
        excluded=excluded,
        operator=text == "OR" and not excluded,
        joined="".join(word.folded for word in found) if _SNAKE.fullmatch(text) else None,
        parts=tuple(parts) if len(parts) > 1 else (),
    )


def _groups(terms: Sequence[Term]) -> list[list[Term]]:
    groups: list[list[Term]] = []
    joins = False
    for i, term in enumerate(terms):
        if term.excluded:
            continue
        if joins:
            groups[-1].append(term)
            joins = False
        elif term.operator and _stands(terms[:i][-1:]) and _stands(terms[i + 1 : i + 2]):
            joins = True
        else:
            groups.append([term])
    return groups


def _stands(neighbour: Sequence[Term]) -> bool:
    return bool(neighbour) and not neighbour[0].excluded
