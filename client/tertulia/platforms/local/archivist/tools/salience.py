"""Which lines of a conversation tell most of it: a summary by extraction, in any script that the index can split.

A line is a sentence (Unicode's rules, UAX #29), or an entry of a list. Every line is judged by

- its words. A word tells as much as it is more frequent here than elsewhere in the user's history: p · ln(p / q), where
  p is the share of the messages read here that have it, and q the share of the user's other messages. (That is the
  word's part of the Kullback-Leibler divergence between the two.) The sum over a line's different words is divided by
  the root of its length, so that neither long nor short lines are preferred as such;
- what it is: a decision, a promise, a date or an amount, a question (`cues`);
- where it stands: in what was said first, or last.

Lines are then chosen one by one, the best first, each less welcome the more of its words were in one that was chosen
already (maximal marginal relevance), and shown in the order in which they were said.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tertulia.platforms.local.archivist.tools.cue_words import (
    DECISION,
    FIGURE,
    FUNCTION_WORDS,
    MONTH,
    PROMISE,
    QUESTION,
)
from tertulia.store.terms import Term
from tertulia.store.words import words

MAX_LINE = 300
"""The most characters of a line that are shown."""
_SPLIT = 600
"""How much of a line is judged: what goes on for longer is no sentence."""
_FEW_WORDS = 6
"""A line with fewer words is judged as if it had so many: "Agreed." tells nothing by itself."""
_CHOICES = 4_000
"""How many of the best lines are looked at when some are chosen."""
_SAME = 0.8
"""Two lines that have this share of the shorter one's words in common say the same."""
_DIVERSITY = 0.6
_DECIDED, _PROMISED, _FIGURES, _ASKED, _FIRST, _LAST = 0.45, 0.35, 0.2, 0.1, 0.25, 0.1
"""What it is worth, where the best words are worth 1."""

_KEPT = re.compile(r"^\s*(?:remember|note):\s*", re.IGNORECASE)
"""What had a note kept is no part of it."""
_FENCED = re.compile(r"^ {0,3}(```|~~~).*?(?:^ {0,3}\1[^\S\n]*$|\Z)", re.MULTILINE | re.DOTALL)
_QUOTATION = re.compile(r"^[ \t]*>.*$", re.MULTILINE)
_NO_SENTENCE = re.compile(r"^[ \t]*(?:#{1,6}[ \t].*|\|.*|[-=*_ ]{3,})$", re.MULTILINE)
_WRAPPED = re.compile(r"(?<=[\w,;)])[ \t]*\n[ \t]*(?=(\w))")
_BULLET = re.compile(r"^\s*(?:[-*•+–]|\d{1,3}[.)])\s+")
_ABBREVIATED = re.compile(
    r"(?:^|[\s(])(?:mr|mrs|ms|dr|prof|st|no|nr|inc|ltd|corp|vs|approx|ca|etc|e\.g|i\.e|z\.b|bzw|ggf|usw|sr|sra|[a-z])\.\s*$",
    re.IGNORECASE,
)
_ORDINAL = re.compile(r"(?:^|\s)\d{1,2}\.\s*$")


@dataclass(frozen=True, slots=True)
class Line:
    """A line: in which of the texts it stands, as the how-manieth, and its words, spelt as the index does."""

    source: int
    number: int
    text: str
    words: tuple[str, ...]
    terms: Mapping[str, str]
    """What of it may tell something, with how it is written here."""


def lines(text: str, source: int) -> Iterator[Line]:
    """Yield the lines of a text: no code, no quoted mail, no headings or tables."""
    for number, each in enumerate(_sentences(_prose(text))):
        split = [(each[word.start : word.end], word.folded) for word in words(each[:_SPLIT])]
        if len(split) > 1:
            yield Line(source, number, each, tuple(folded for _, folded in split), terms_of(each[:_SPLIT]))


def has(line: Line, term: Term) -> bool:
    """Whether a line has a word or phrase that was searched for."""
    sought = tuple(word.folded for word in term.words)
    for start in range(len(line.words) - len(sought) + 1):
        found = line.words[start : start + len(sought)]
        if found == sought or (
            term.prefix and found[:-1] == sought[:-1] and found[-1].startswith(sought[-1])
        ):
            return True
    return False


def shares(found: Iterable[Line]) -> tuple[Counter[str], int]:
    """Return for each term in how many texts it stands, and how many texts there are."""
    of: dict[int, set[str]] = {}
    for line in found:
        of.setdefault(line.source, set()).update(line.terms)
    return Counter(term for terms in of.values() for term in terms), len(of)


def weights(
    here: Mapping[str, int], size: int, elsewhere: Mapping[str, int], elsewhere_size: int
) -> dict[str, float]:
    """Return how much each term tells that stands in `here` of `size` texts, and in `elsewhere` of so many others.

    Little is known of a word where there are few others: twenty texts without any of the words are added to them.
    """
    found: dict[str, float] = {}
    for term, count in here.items():
        p, q = count / max(size, 1), (elsewhere.get(term, 0) + 0.5) / (elsewhere_size + 20)
        if p > q:
            found[term] = p * math.log(p / q)
    return found


def written(found: Sequence[Line], terms: Sequence[str], title: Mapping[str, str] | None = None) -> list[str]:
    """Return the terms as they are written most often in these lines, or in a title that has them.

    Pairs of characters become the words they are parts of, as far as that shows: a pair that only ever stands where a
    more frequent one goes on is no word.
    """
    forms: dict[str, Counter[str]] = {term: Counter() for term in terms}
    for each in (title or {}, *(line.terms for line in found)):
        for term in each.keys() & forms.keys():
            forms[term][each[term]] += 1
    best = [counted.most_common(1)[0][0] if counted else term for term, counted in forms.items()]
    return _joined(best, "\n".join(line.text for line in found))


def _joined(terms: Sequence[str], text: str) -> list[str]:
    words = list(terms)
    pairs = [term for term in words if len(term) == 2 and not term.isascii()]
    counts = {pair: text.count(pair) for pair in pairs}
    for pair in sorted(pairs, key=lambda each: counts[each]):
        if pair not in words:  # it has become part of a longer word
            continue
        for other in [word for word in words if word != pair and not word.isascii()]:
            before, behind = other[-1] == pair[0], other[0] == pair[-1]
            whole = other + pair[1] if before else pair[0] + other
            if (before or behind) and text.count(whole) >= counts[pair] > 0:
                if text.count(other) == counts[pair]:
                    words[words.index(other)] = whole
                words.remove(pair)
                break
    return words


def judged(found: Sequence[Line], weight: Mapping[str, float], sought: Sequence[Term] = ()) -> list[float]:
    """Return how much each of these lines tells; those that have what was sought come before those that do not."""
    by_words = [
        sum(weight.get(term, 0.0) for term in line.terms) / math.sqrt(max(len(line.words), _FEW_WORDS))
        for line in found
    ]
    best = max(by_words, default=0.0) or 1.0
    sources = [line.source for line in found]
    first, last = min(sources, default=0), max(sources, default=0)
    marks: list[float] = []
    for line, own in zip(found, by_words, strict=True):
        mark = own / best
        if line.terms:
            text = line.text[:_SPLIT]
            mark += _DECIDED * (DECISION.search(text) is not None)
            mark += _PROMISED * (PROMISE.search(text) is not None)
            mark += _FIGURES * (FIGURE.search(text) is not None)
            mark += _ASKED * (QUESTION.search(text) is not None)
            mark += _FIRST * (line.source == first) + _LAST * (line.source == last)
            mark *= min(1.0, (len(line.terms) + 1) / 4)
        marks.append(mark + (1.0 if any(has(line, term) for term in sought) else 0.0))
    return marks


def chosen(found: Sequence[Line], marks: Sequence[float], most: int) -> list[Line]:
    """Return at most so many lines, of the best and not twice the same, in the order in which they were said."""
    left: list[int] = sorted(range(len(found)), key=lambda i: (-marks[i], i))[:_CHOICES]
    taken: list[int] = []
    likeness = dict.fromkeys(left, 0.0)
    while left and len(taken) < most:
        best = max(left, key=lambda i: (marks[i] - _DIVERSITY * likeness[i], -i))
        taken.append(best)
        for i in left:
            likeness[i] = max(likeness[i], _likeness(found[i], found[best]))
        left = [i for i in left if i != best and likeness[i] < _SAME]
    return [found[i] for i in sorted(taken, key=lambda i: (found[i].source, found[i].number))]


def _likeness(one: Line, other: Line) -> float:
    if not one.terms or not other.terms:
        return 1.0 if one.words == other.words else 0.0
    return len(one.terms.keys() & other.terms.keys()) / min(len(one.terms), len(other.terms))


def _prose(text: str) -> str:
    text = _KEPT.sub("", text)
    for left_out in (_FENCED, _QUOTATION, _NO_SENTENCE):
        text = left_out.sub("\n", text)
    return _WRAPPED.sub(lambda match: " " if match[1].islower() else "\n", text)


def _sentences(text: str) -> Iterator[str]:
    """Yield the sentences of each paragraph or entry of a list, without marks of emphasis at either end."""
    from apsw import unicode

    kept = ""
    for each in unicode.sentence_iter(text):
        if kept and not _goes_on(kept, each):
            if sentence := _bare(kept):
                yield sentence
            kept = ""
        kept += each
    if sentence := _bare(kept):
        yield sentence


def _goes_on(sentence: str, behind: str) -> bool:
    """Whether a sentence that seems to end does not: at an abbreviation, or a German "10. September"."""
    if len(sentence) > _SPLIT or sentence.endswith("\n"):
        return False
    ordinal = _ORDINAL.search(sentence) is not None and MONTH.match(behind) is not None
    return ordinal or _ABBREVIATED.search(sentence) is not None


def _bare(text: str) -> str:
    return " ".join(_BULLET.sub("", text).replace("**", "").replace("__", "").split())


def terms_of(text: str) -> dict[str, str]:
    """Return what of a text may tell something: words, and pairs of characters where words are not parted by spaces."""
    found: dict[str, str] = {}
    before = None
    for word in words(text):
        if len(word.folded) == 1 and not word.folded.isascii() and word.folded.isalpha():
            if before is not None and before.end == word.start:
                found.setdefault(before.folded + word.folded, text[before.start : word.end])
            before = word
            continue
        before = None
        if len(word.folded) > 1 and word.folded not in FUNCTION_WORDS and not _bare_number(word.folded):
            found.setdefault(word.folded, text[word.start : word.end])
    return found


def _bare_number(word: str) -> bool:
    return word.isdecimal() and len(word) < 4
