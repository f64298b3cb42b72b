"""The part of a text that shows why it was found.

FTS5's own `snippet()` splits the whole text into words twice: a second for a message of a megabyte. Here the words are
looked up as they were typed, and only what surrounds them is split; where they are spelt otherwise (accents, other
spaces between them), the first `_SPLIT` characters are.
"""

import re
from collections.abc import Sequence

from tertulia.store.terms import Term
from tertulia.store.words import fold, words

WIDTH = 220
"""How long a snippet is, in characters, without the ellipses."""
_BEFORE = 60
"""How much of it stands before the first match, if there is so much."""
_REACH = 1_000
"""How much of the text is looked at on either side, to have enough when runs of spaces have become one."""
_BEGINNING = 20_000
"""Long enough for most texts, and for most places that are worth showing."""
_SPLIT = 5_000
_LONGEST_WORD = 64
_TRIES = 50
_TO_A_SPACE = 24
_SPACE = re.compile(r"\s+")


def snippet(text: str, groups: Sequence[Sequence[Term]]) -> str:
    """Return about `WIDTH` characters of `text`, in one line, around as many of the terms as stand together.

    An ellipsis shows what is left out before and after.
    """
    if len(text) <= WIDTH:
        return _SPACE.sub(" ", text).strip()
    terms = [term for group in groups for term in group]
    places = _as_typed(text[:_BEGINNING], terms) or _as_typed(text, terms) or _folded(text[:_SPLIT], terms)
    return _cut(text, _densest(places))


def _as_typed(text: str, terms: Sequence[Term]) -> list[int]:
    lowered = text.lower()
    places = (_spelt(text, lowered, term) for term in terms)
    return sorted(place for place in places if place is not None)


def _spelt(text: str, lowered: str, term: Term) -> int | None:
    """Return where the term stands as it was typed."""
    first, last = term.words[0], term.words[-1]
    needle = term.text[first.start : last.end].lower()
    place = -1
    for _ in range(_TRIES):
        place = lowered.find(needle, place + 1)
        if place < 0:
            return None
        if _bounded(text, place, place + len(needle), term.prefix):
            return place
    return None


def _bounded(text: str, start: int, end: int, prefix: bool) -> bool:
    """Whether words begin at `start` and end at `end`: no `art` in `start`."""
    if all(not outside or outside.isspace() for outside in (text[start - 1 : start], text[end : end + 1])):
        return True
    from_ = max(0, start - _LONGEST_WORD)
    nearby = list(words(text[from_ : end + _LONGEST_WORD]))
    start, end = start - from_, end - from_
    if any(word.start == start for word in nearby) and (prefix or any(word.end == end for word in nearby)):
        return True
    typed = fold(text[from_ + start : from_ + end])
    return any(word.start <= start and end <= word.end and typed in word.others for word in nearby)


def _folded(text: str, terms: Sequence[Term]) -> list[int]:
    """Return where the first of the terms stands, however it is spelt."""
    split = list(words(text))
    for at, word in enumerate(split):
        if any(term.stands_at(split, at) for term in terms):
            return [word.start]
    return []


def _densest(places: Sequence[int]) -> int:
    def followers(place: int) -> int:
        return sum(place <= other < place + WIDTH - _BEFORE for other in places)

    return max(places, key=followers, default=0)


def _cut(text: str, place: int) -> str:
    before = _SPACE.sub(" ", text[max(0, place - _REACH) : place]).lstrip()
    after = _SPACE.sub(" ", text[place : place + _REACH]).rstrip()
    room = max(_BEFORE, WIDTH - len(after))
    head = (
        before if len(before) <= room else before[_break(before, len(before) - room + _TO_A_SPACE) :].lstrip()
    )
    room = WIDTH - len(head)
    tail = after if len(after) <= room else after[: _break(after, room)].rstrip()
    begins = len(head) == len(before) and place <= _REACH
    ends = len(tail) == len(after) and place + _REACH >= len(text)
    return ("" if begins else "…") + head + tail + ("" if ends else "…")


def _break(text: str, at: int) -> int:
    """Return a place not far before `at` where `text` can be cut: a space, or between what people see as characters."""
    space = text.rfind(" ", max(0, at - _TO_A_SPACE), at + 1)
    if space > 0:
        return space
    from apsw import unicode

    place = max(0, at - _TO_A_SPACE)
    while (further := unicode.grapheme_next_break(text, place)) <= at:
        place = further
    return place
