"""The part of a message that is worth quoting: exactly as it was written, from one paragraph or sentence to another."""

import re
from collections.abc import Iterable, Sequence

from tertulia.store.snippets import snippet
from tertulia.store.terms import Term, read
from tertulia.store.words import Word, words

MAX_PASSAGE = 700
"""The most characters of a passage. A message of no more is quoted whole."""
_SPLIT = 30_000
"""How much of a message is split into words to find what was sought."""
_PARAGRAPH = re.compile(r"\n\s*\n|\Z")
_SENTENCE = re.compile(r"(?<=[.!?。！？])[\s\"'”’)]+|\n|\Z")


def passage(text: str, query: str) -> str:
    """Return the passage of `text` in which most of what `query` seeks stands together.

    An ellipsis stands where a sentence had to be cut. What stands far down in a very long message is shown as a search
    shows it: in one line.
    """
    if len(text) <= MAX_PASSAGE:
        return text.strip()
    wanted = read(query).wanted
    places = _places(text[:_SPLIT], [term for group in wanted for term in group])
    if not places:
        return snippet(text, wanted)
    densest = max(
        places, key=lambda place: sum(place <= other < place + MAX_PASSAGE // 2 for other in places)
    )
    for parts in (_PARAGRAPH, _SENTENCE):
        spans = list(_spans(text, parts, around=densest))
        if found := _grown(spans, densest):
            return text[found[0] : found[1]].strip()
    start = max(0, densest - MAX_PASSAGE // 3)
    cut = text[start : start + MAX_PASSAGE]
    return ("…" if start else "") + cut.strip() + ("…" if start + MAX_PASSAGE < len(text) else "")


def _places(text: str, wanted: Sequence[Term]) -> list[int]:
    split = list(words(text))
    return [word.start for i, word in enumerate(split) if any(_stands(term, split, i) for term in wanted)]


def _stands(term: Term, split: Sequence[Word], at: int) -> bool:
    found = [word.folded for word in split[at : at + len(term.words)]]
    sought = [word.folded for word in term.words]
    if term.prefix and len(found) == len(sought):
        return found[:-1] == sought[:-1] and found[-1].startswith(sought[-1])
    return found == sought


def _spans(text: str, ends: re.Pattern[str], *, around: int) -> Iterable[tuple[int, int]]:
    """Yield the parts of `text` that lie within reach of `around`."""
    first = max(0, around - 2 * MAX_PASSAGE)
    start = 0 if first == 0 else (match.end() if (match := ends.search(text, first)) else first)
    for match in ends.finditer(text, start):
        yield start, match.start()
        start = match.end()
        if start > around + 2 * MAX_PASSAGE:
            return


def _grown(spans: Sequence[tuple[int, int]], place: int) -> tuple[int, int] | None:
    """Return the part that has `place`, with those behind it that there is room for; None if it is too long."""
    for i, (start, end) in enumerate(spans):
        if start <= place < end:
            if end - start > MAX_PASSAGE:
                return None
            fitting = [further for _, further in spans[i:] if further - start <= MAX_PASSAGE]
            return start, max(fitting)
    return None
