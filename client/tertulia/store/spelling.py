"""Correcting a search that finds nothing, from the words of the caller's own texts.

A word that stands in none of them is replaced by one that differs in a single letter: one too many, one missing, one
wrong, two exchanged. All of these are looked up in the index at once, which takes some 20 ms at a million messages; its
vocabulary would be too long to read, and has the words of other principals.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from tertulia.store.terms import MAX_LENGTH, Terms, quoted
from tertulia.store.words import words

_LENGTHS = range(3, 25)
"""Shorter words are near to too many others; longer ones are not words."""
_MOST = 2
"""How many words of a search are corrected."""
_SAMPLE = 20
_LOOKED_AT = 20_000
_BLOCK = 128
"""Unicode gives a script a block or more of this size: the letters near to those of a word are its alphabet."""

Texts = Callable[[str, int], Sequence[str]]
"""Returns some of the caller's texts that match an expression of FTS5, at most so many."""


def corrected(terms: Terms, texts: Texts) -> str | None:
    """Return the search with each unknown word replaced, or None if nothing is unknown or nothing is near."""
    unknown = [
        (term.start + word.start, term.start + word.end, word.folded)
        for group in terms.wanted
        for term in group
        if not term.prefix
        for word in term.words
        if not texts(quoted(word.folded), 1)
    ]
    if not 0 < len(unknown) <= _MOST:
        return None
    text = terms.text
    for start, end, folded in reversed(unknown):
        nearest = _nearest(folded, texts)
        if nearest is None:
            return None
        text = text[:start] + nearest + text[end:]
    return text if len(text) <= MAX_LENGTH else None


def _nearest(word: str, texts: Texts) -> str | None:
    """Return the near word that most of the newest texts have, as one of them writes it."""
    if len(word) not in _LENGTHS:
        return None
    near = variants(word)
    expression = " OR ".join(quoted(variant) for variant in sorted(near))
    found: Counter[str] = Counter()
    written: dict[str, str] = {}
    for text in texts(expression, _SAMPLE):
        here = {
            each.folded: text[each.start : each.end]
            for each in words(text[:_LOOKED_AT])
            if each.folded in near
        }
        found.update(here.keys())
        written = {**here, **written}
    return written[found.most_common(1)[0][0]] if found else None


def variants(word: str) -> set[str]:
    """Return what differs from `word` in one letter, or in the order of two."""
    halves = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    letters = _alphabet(word)
    return {
        *(left + right[1:] for left, right in halves if right),
        *(left + right[1] + right[0] + right[2:] for left, right in halves if len(right) > 1),
        *(left + letter + right[1:] for left, right in halves if right for letter in letters),
        *(left + letter + right for left, right in halves for letter in letters),
    } - {word}


def _alphabet(word: str) -> list[str]:
    blocks = {ord(letter) // _BLOCK for letter in word}
    near = (chr(block * _BLOCK + i) for block in sorted(blocks) for i in range(_BLOCK))
    return [
        letter
        for letter in near
        if letter.isalpha() and [found.folded for found in words(letter)] == [letter]
    ]
