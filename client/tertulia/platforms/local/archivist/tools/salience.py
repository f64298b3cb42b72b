"""Extractive summaries: which lines of messages tell most of them, in any script that the index can split into words.

A line is a sentence (Unicode's rules, UAX #29) or an entry of a list. Its score depends on

- its words. A word weighs more, the more frequent it is in the messages that are read than in the user's others:
  p · ln(p / q), where p is the share of the messages read that have it, and q its share of the other messages. (That is
  the word's part of the Kullback-Leibler divergence.) The sum over a line's different words is divided by the root of
  its length, so that neither long nor short lines are preferred;
- what it is: a decision, a promise, a date or an amount, a question (`cue_words`);
- where it is: in the first or the last message.

Lines are selected one by one, the best first. A line counts for less, the more of its words a selected line has
(maximal marginal relevance). The selected lines are shown in the order in which they were written.
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
"""How many characters of a line are scored: a longer one is no sentence."""
_FEW_WORDS = 6
"""A line with fewer words is scored as if it had this many: "Agreed." tells nothing by itself."""
_CHOICES = 4_000
"""How many of the best lines are considered in a selection."""
_SAME = 0.8
"""Two lines say the same if they share this part of the shorter one's words."""
_DIVERSITY = 0.6
_DECIDED, _PROMISED, _FIGURES, _ASKED, _FIRST, _LAST = 0.45, 0.35, 0.2, 0.1, 0.25, 0.1
"""What each of these adds to a score, where the best words add 1."""

_KEPT = re.compile(r"^\s*(?:remember|note):\s*", re.IGNORECASE)
"""The command that keeps a note is no part of the note."""
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
    """A line of one of several texts."""

    source: int
    """The number of its text."""
    number: int
    """Its number in the text."""
    text: str
    words: tuple[str, ...]
    """Its words, as the index folds them."""
    terms: Mapping[str, str]
    """Its words that may be telling, and their spelling in the line."""


def split_lines(text: str, source: int) -> Iterator[Line]:
    """Yield the lines of a text, without code, quoted mail, headings and tables."""
    for number, sentence in enumerate(_sentences(_prose(text))):
        folded = tuple(word.folded for word in words(sentence[:_SPLIT]))
        if len(folded) > 1:
            yield Line(source, number, sentence, folded, terms_in(sentence[:_SPLIT]))


def contains(line: Line, term: Term) -> bool:
    """Whether a line has a word or phrase of a query."""
    split = list(words(line.text[:_SPLIT]))
    return any(term.stands_at(split, at) for at in range(len(split)))


def text_counts(lines: Iterable[Line]) -> tuple[Counter[str], int]:
    """Return how many texts have each term, and how many texts there are."""
    by_text: dict[int, set[str]] = {}
    for line in lines:
        by_text.setdefault(line.source, set()).update(line.terms)
    return Counter(term for terms in by_text.values() for term in terms), len(by_text)


def term_weights(
    counts: Mapping[str, int], size: int, others: Mapping[str, int], others_size: int
) -> dict[str, float]:
    """Return the weight of each term that is in `counts` of `size` texts, and in `others` of `others_size` other texts.

    A few other texts say little about a word: twenty texts without any of the words are added to them.
    """
    weights: dict[str, float] = {}
    for term, count in counts.items():
        p, q = count / max(size, 1), (others.get(term, 0) + 0.5) / (others_size + 20)
        if p > q:
            weights[term] = p * math.log(p / q)
    return weights


def spellings(
    lines: Sequence[Line], terms: Sequence[str], title: Mapping[str, str] | None = None
) -> list[str]:
    """Return the terms as they are spelt most often in these lines, and in a title.

    Pairs of characters are joined to the words that they are parts of, as far as the lines show them.
    """
    forms: dict[str, Counter[str]] = {term: Counter() for term in terms}
    for spelt in (title or {}, *(line.terms for line in lines)):
        for term in spelt.keys() & forms.keys():
            forms[term][spelt[term]] += 1
    best = [counts.most_common(1)[0][0] if counts else term for term, counts in forms.items()]
    return _joined(best, "\n".join(line.text for line in lines))


def _joined(terms: Sequence[str], text: str) -> list[str]:
    """Join pairs of characters: a pair that is only ever part of a longer word is no word of its own."""
    words = list(terms)
    pairs = [term for term in words if len(term) == 2 and not term.isascii()]
    counts = {pair: text.count(pair) for pair in pairs}
    for pair in sorted(pairs, key=lambda pair: counts[pair]):
        if pair not in words:  # it has become part of a longer word
            continue
        for other in [word for word in words if word != pair and not word.isascii()]:
            before, after = other[-1] == pair[0], other[0] == pair[-1]
            whole = other + pair[1] if before else pair[0] + other
            if (before or after) and text.count(whole) >= counts[pair] > 0:
                if text.count(other) == counts[pair]:
                    words[words.index(other)] = whole
                words.remove(pair)
                break
    return words


def scores(lines: Sequence[Line], weights: Mapping[str, float], query: Sequence[Term] = ()) -> list[float]:
    """Return the score of each line. Those with a term of the query score higher than those without."""
    by_words = [
        sum(weights.get(term, 0.0) for term in line.terms) / math.sqrt(max(len(line.words), _FEW_WORDS))
        for line in lines
    ]
    best = max(by_words, default=0.0) or 1.0
    sources = [line.source for line in lines]
    first, last = min(sources, default=0), max(sources, default=0)
    result: list[float] = []
    for line, line_score in zip(lines, by_words, strict=True):
        score = line_score / best
        if line.terms:
            text = line.text[:_SPLIT]
            score += _DECIDED * (DECISION.search(text) is not None)
            score += _PROMISED * (PROMISE.search(text) is not None)
            score += _FIGURES * (FIGURE.search(text) is not None)
            score += _ASKED * (QUESTION.search(text) is not None)
            score += _FIRST * (line.source == first) + _LAST * (line.source == last)
            score *= min(1.0, (len(line.terms) + 1) / 4)
        result.append(score + any(contains(line, term) for term in query))
    return result


def select(lines: Sequence[Line], scored: Sequence[float], most: int) -> list[Line]:
    """Return the best lines by score, at most `most` and none like another, in the order in which they were written."""
    left: list[int] = sorted(range(len(lines)), key=lambda i: (-scored[i], i))[:_CHOICES]
    selected: list[int] = []
    likeness = dict.fromkeys(left, 0.0)
    while left and len(selected) < most:
        best = max(left, key=lambda i: (scored[i] - _DIVERSITY * likeness[i], -i))
        selected.append(best)
        for i in left:
            likeness[i] = max(likeness[i], _likeness(lines[i], lines[best]))
        left = [i for i in left if i != best and likeness[i] < _SAME]
    return [lines[i] for i in sorted(selected, key=lambda i: (lines[i].source, lines[i].number))]


def _likeness(one: Line, other: Line) -> float:
    if not one.terms or not other.terms:
        return 1.0 if one.words == other.words else 0.0
    return len(one.terms.keys() & other.terms.keys()) / min(len(one.terms), len(other.terms))


def _prose(text: str) -> str:
    text = _KEPT.sub("", text)
    for excluded in (_FENCED, _QUOTATION, _NO_SENTENCE):
        text = excluded.sub("\n", text)
    return _WRAPPED.sub(lambda match: " " if match[1].islower() else "\n", text)


def _sentences(text: str) -> Iterator[str]:
    """Yield the sentences of each paragraph and each entry of a list, without marks of emphasis."""
    from apsw import unicode

    kept = ""
    for part in unicode.sentence_iter(text):
        if kept and not _continues(kept, part):
            if sentence := _bare(kept):
                yield sentence
            kept = ""
        kept += part
    if sentence := _bare(kept):
        yield sentence


def _continues(sentence: str, after: str) -> bool:
    """Whether a sentence does not end where it seems to: at an abbreviation, or at a German "10. September"."""
    if len(sentence) > _SPLIT or sentence.endswith("\n"):
        return False
    ordinal = _ORDINAL.search(sentence) is not None and MONTH.match(after) is not None
    return ordinal or _ABBREVIATED.search(sentence) is not None


def _bare(text: str) -> str:
    return " ".join(_BULLET.sub("", text).replace("**", "").replace("__", "").split())


def terms_in(text: str) -> dict[str, str]:
    """Return the telling words of a text with their spellings; pairs of characters in scripts without spaces."""
    terms: dict[str, str] = {}
    before = None
    for word in words(text):
        if len(word.folded) == 1 and not word.folded.isascii() and word.folded.isalpha():
            if before is not None and before.end == word.start:
                terms.setdefault(before.folded + word.folded, text[before.start : word.end])
            before = word
            continue
        before = None
        if len(word.folded) > 1 and word.folded not in FUNCTION_WORDS and not _bare_number(word.folded):
            terms.setdefault(word.folded, text[word.start : word.end])
    return terms


def _bare_number(word: str) -> bool:
    return word.isdecimal() and len(word) < 4
