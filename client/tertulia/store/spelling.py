"""Correcting a search that finds little or nothing, from the words of the caller's own texts.

A word that stands in none of them is replaced by one that differs in a single letter: one too many, one missing, one
wrong, two exchanged. Which of these stand in any text at all, the index knows; the caller's texts are then asked for
those few.

A longer word may differ in two. All that differ in two are too many to be looked up, so words are looked for that begin
like it, but for one letter at most; of those that differ in two, the one counts that most of the caller's newest texts
have.

A word that a few texts have may be a slip as well, if it is no name with figures in it and `_OFTENER` times as many
have the near one.

The index's own vocabulary (which `apsw.fts5.Table.query_suggest` and `closest_tokens` read) would be too long to read
as a whole, and has the words of other principals: what it has says where to look, and nothing more.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice
from math import ceil
from typing import Protocol

from tertulia.store.terms import MAX_LENGTH, Alternatives, Phrase, Terms
from tertulia.store.words import different_words, words

_LENGTHS = range(3, 25)
"""Shorter words are near to too many others; longer ones are not words."""
_MOST, _MOST_WORDS = 4, 60
"""How many words of a search are corrected, and of how many: longer ones are pasted, and each word is asked for."""
_OFTENER = 4
_TWICE = 6
"""How long a word must be to have two letters wrong: of a shorter one too little is left."""
_BEGINNINGS = (2 / 3, 2 / 5)
"""How much of such a word is taken for its beginning: less of it only where more finds nothing."""
_SHORTEST_BEGINNING = 4
_SAMPLE, _SAMPLE_TWICE = 20, 60
"""How many texts are looked at, where one letter may be wrong, and where two may be;"""
_LOOKED_AT, _LOOKED_AT_TWICE = 20_000, 5_000
"""and how many characters of each."""
_BLOCK = 128
"""Unicode gives a script a block or more of this size: the letters near to those of a word are its alphabet."""
_REMEMBERED = 64
_MOST_SCRIPTS = 2
"""The most scripts of a word that is corrected: more of them have no common alphabet."""
_MOST_VARIANTS = 2_000
"""The most words that are looked up for one."""


class Texts(Protocol):
    """The texts of a caller, and the vocabulary of the index that has them."""

    def own_count(self, phrases: Alternatives, most: int) -> int:
        """Return how many of the caller's texts have one of these phrases, at most so many."""
        ...

    def owns(self, least: int) -> bool:
        """Whether the caller has so many texts at least, or may have."""
        ...

    def own_texts(self, phrases: Alternatives, most: int) -> Sequence[str]:
        """Return some of the caller's texts that have one of these phrases, the newest, at most so many."""
        ...

    def known(self, words: Collection[str], *, beginnings: bool = False) -> Collection[str]:
        """Return those of these words (or beginnings of words) that anybody's texts have; perhaps others too."""
        ...


def corrected(terms: Terms, texts: Texts, *, found: int = 0) -> str | None:
    """Return the search with each unknown word replaced that is near to one, or None if nothing is.

    A word that any others may follow (`invoic*`) is unknown if nothing begins so. Where the search has `found` matches,
    a word that no more texts have counts as unknown too.
    """
    unknown: list[tuple[int, int, str, int]] = []
    counts: dict[Phrase, int] = {}
    if sum(len(term.words) for group in terms.wanted for term in group) > _MOST_WORDS:
        return None
    for group in terms.wanted:
        for term in group:
            for place, word in enumerate(term.words, 1):
                ends = term.prefix and place == len(term.words)
                phrase = Phrase((word.folded,), prefix=ends)
                if phrase not in counts:
                    counts[phrase] = texts.own_count([phrase], found + 1)
                known = counts[phrase]
                if not known or (known <= found and not ends and _may_be_slip(word.folded)):
                    unknown.append((term.start + word.start, term.start + word.end, word.folded, known))
    if not 0 < len(unknown) <= _MOST:
        return None
    nearest = {folded: _nearest(folded, texts, known * _OFTENER) for *_, folded, known in unknown}
    text = terms.text
    for start, end, folded, _ in reversed(unknown):
        text = text[:start] + (nearest[folded] or text[start:end]) + text[end:]
    return text if text != terms.text and len(text) <= MAX_LENGTH else None


def _may_be_slip(word: str) -> bool:
    return len(word) >= _TWICE - 1 and word.isalpha()


def _nearest(word: str, texts: Texts, least: int) -> str | None:
    """Return the near word that most of the newest texts have, `least` of them at least, as one of them writes it."""
    if len(word) not in _LENGTHS or _scripts(word) > _MOST_SCRIPTS or (least and not texts.owns(least)):
        return None
    near = texts.known(variants(word))
    if near:
        phrases = [Phrase((each,)) for each in sorted(near)]
        found = _written(texts.own_texts(phrases, max(_SAMPLE, least)), _LOOKED_AT, near.__contains__, least)
        if found is not None:
            return found
    return None if least or len(word) < _TWICE else _nearest_of_two(word, texts)


def _nearest_of_two(word: str, texts: Texts) -> str | None:
    """Return the word that differs in two letters and that most of the newest texts have, as one of them writes it."""
    for part in _BEGINNINGS:
        beginning = word[: max(_SHORTEST_BEGINNING, ceil(len(word) * part))]
        near = {each for each in variants(beginning) if len(each) >= _SHORTEST_BEGINNING} | {beginning}
        phrases = [Phrase((each,), prefix=True) for each in _shortest(texts.known(near, beginnings=True))]
        if phrases:
            sample = texts.own_texts(phrases, _SAMPLE_TWICE)
            found = _written(sample, _LOOKED_AT_TWICE, lambda other: _differ_in_two(word, other), 1)
            if found is not None:
                return found
    return None


def _shortest(beginnings: Iterable[str]) -> list[str]:
    """Return those of these beginnings that have no other for their beginning."""
    found: list[str] = []
    for each in sorted(beginnings):
        if not found or not each.startswith(found[-1]):
            found.append(each)
    return found


def _written(found: Sequence[str], longest: int, is_near: Callable[[str], bool], least: int) -> str | None:
    """Return the word of these texts that is near and that most of them have, as the newest of them writes it.

    Less than `least` of them are too few.
    """
    counted: Counter[str] = Counter()
    written: dict[str, str] = {}
    known: dict[str, bool] = {}
    for text in found:
        here: dict[str, str] = {}
        for typed, spellings in different_words(text[:longest]):
            for spelling in spellings:
                if spelling not in known:
                    known[spelling] = is_near(spelling)
                if known[spelling]:
                    here.setdefault(spelling, typed if spelling == spellings[0] else spelling)
        counted.update(here.keys())
        written = {**here, **written}
    ((word, count),) = counted.most_common(1) or [("", 0)]
    return written[word] if count > 0 and count >= least else None


def _differ_in_two(one: str, other: str) -> bool:
    """Whether one word becomes the other by two changes: of a letter, or of the order of two neighbours."""
    if abs(len(one) - len(other)) > 2 or len(other) < _TWICE - 1 or len(set(one) ^ set(other)) > 4:
        return False
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before_that, before, row = before, row, [i]
        for j, another in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != another))
            if i > 1 < j and letter == other[j - 2] and one[i - 2] == another:
                cost = min(cost, before_that[j - 2] + 1)
            row.append(cost)
        if min(row) > 2:
            return False
    return row[-1] <= 2


def variants(word: str) -> set[str]:
    """Return what differs from `word` in one letter, or in the order of two: `_MOST_VARIANTS` of them at most."""
    halves = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    letters = _alphabet(word)
    all_variants: Iterator[str] = chain(
        (left + right[1:] for left, right in halves if right),
        (left + right[1] + right[0] + right[2:] for left, right in halves if len(right) > 1),
        (left + letter + right[1:] for left, right in halves if right for letter in letters),
        (left + letter + right for left, right in halves for letter in letters),
    )
    return set(islice(all_variants, _MOST_VARIANTS)) - {word}


def _alphabet(word: str) -> str:
    return "".join(map(_letters, sorted({ord(letter) // _BLOCK for letter in word})))


@lru_cache(_REMEMBERED)
def _letters(block: int) -> str:
    """Return the letters of a block that the index knows as such."""
    return "".join(
        letter
        for letter in map(chr, range(block * _BLOCK, (block + 1) * _BLOCK))
        if letter.isalpha() and [found.folded for found in words(letter)] == [letter]
    )


def _scripts(word: str) -> int:
    """Return how many scripts the letters of a word are of, by which the names of letters begin in Unicode."""
    return len({unicodedata.name(letter, "").partition(" ")[0] for letter in word if letter.isalpha()})
