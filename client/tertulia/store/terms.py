"""Reading a search as a person types it. The language is described in `tertulia.store.search`.

Whatever is typed becomes terms: what is no operator is text. A term reaches the index as a quoted string, so nothing
in it can be syntax there.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tertulia.store.database import storable
from tertulia.store.words import Word, words
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
_TYPED = str.maketrans({"\0": " ", "“": '"', "”": '"', "„": '"'})


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

    @property
    def expression(self) -> str:
        """The term in FTS5's syntax."""
        return quoted(self.text) + ("*" if self.prefix else "")


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
    def expression(self) -> str:
        """The search in FTS5's syntax."""
        found = every(self.wanted)
        return f"({found}) NOT ({either(self.unwanted)})" if self.unwanted else found


def quoted(text: str) -> str:
    """Return `text` as a string of FTS5's syntax."""
    return '"' + text.replace('"', '""') + '"'


def either(terms: Iterable[Term]) -> str:
    """Return the expression, in FTS5's syntax, that matches where one of the terms does."""
    return " OR ".join(term.expression for term in terms)


def every(groups: Iterable[Iterable[Term]]) -> str:
    """Return the expression, in FTS5's syntax, that matches where a term of each group does."""
    return " AND ".join(f"({either(group)})" for group in groups)


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
    groups = _groups(terms)
    if not groups:
        raise InvalidInputError(
            "`query` has no word to look for.",
            hint="Give at least one word. `-word` only leaves out what other words find; punctuation is not searched.",
        )
    return Terms(text, groups, [term for term in terms if term.excluded])


def _term(piece: re.Match[str]) -> Term:
    excluded = piece["minus"] is not None
    if piece["phrase"] is not None:
        return Term(piece.start("phrase"), piece["phrase"], tuple(words(piece["phrase"])), excluded=excluded)
    start, text = piece.start("chunk"), piece["chunk"]
    found = tuple(words(text))
    prefix = bool(found) and _PREFIX.fullmatch(text) is not None
    return Term(
        start,
        text,
        found,
        prefix=prefix and len(found[-1].folded.encode()) >= _SHORTEST_PREFIX,
        excluded=excluded,
        operator=text == "OR" and not excluded,
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
