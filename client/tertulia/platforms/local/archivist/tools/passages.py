"""The passage of a message that is quoted: whole paragraphs or sentences, exactly as they were written."""

import re
from collections.abc import Iterable, Sequence

from tertulia.store.snippets import snippet
from tertulia.store.terms import Term, read
from tertulia.store.words import words

MAX_PASSAGE = 700
"""The most characters of a passage. A message of that length is quoted whole."""
_SPLIT = 30_000
"""How many characters of a message are searched for the words of a query."""
_PARAGRAPH = re.compile(r"\n\s*\n|\Z")
_SENTENCE = re.compile(r"(?<=[.!?。！？])[\s\"'”’)]+|\n|\Z")


def passage(text: str, query: str) -> str:
    """Return the passage of `text` that has most of the words of `query`.

    An ellipsis shows where a sentence was cut. If the words are far down in a very long message, return a snippet in
    one line, as a search shows it.
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
        if grown := _grown(spans, densest):
            return text[grown[0] : grown[1]].strip()
    start = max(0, densest - MAX_PASSAGE // 3)
    cut = text[start : start + MAX_PASSAGE]
    return ("…" if start else "") + cut.strip() + ("…" if start + MAX_PASSAGE < len(text) else "")


def _places(text: str, wanted: Sequence[Term]) -> list[int]:
    split = list(words(text))
    return [word.start for at, word in enumerate(split) if any(term.stands_at(split, at) for term in wanted)]


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
    """Return the part that has `place`, with as many parts after it as there is room for; None if it is too long."""
    for i, (start, end) in enumerate(spans):
        if start <= place < end:
            if end - start > MAX_PASSAGE:
                return None
            fitting = [further for _, further in spans[i:] if further - start <= MAX_PASSAGE]
            return start, max(fitting)
    return None
