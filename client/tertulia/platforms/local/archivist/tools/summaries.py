"""The tool that summarises: the most telling lines of a conversation, or of the messages that match a query."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

from tertulia.platforms.local.archivist.tools.results import (
    authors,
    characters_each,
    conversation_fields,
    line_fields,
    query_terms,
    reach_of,
    suggestion,
    title_fields,
    to_minute,
)
from tertulia.platforms.local.archivist.tools.salience import (
    Line,
    contains,
    scores,
    select,
    spellings,
    split_lines,
    term_weights,
    text_counts,
)
from tertulia.store import conversations
from tertulia.store.database import Transaction
from tertulia.store.extracts import (
    LISTED,
    Background,
    Extract,
    background,
    frequency,
    positions,
    spread,
    texts,
)
from tertulia.store.terms import Term
from tertulia.vocabulary.message_types import ARCHIVIST_TYPES

READ = 400
"""How many messages of a conversation are read."""
READ_MATCHES = 120
"""How many messages that match a query are read: the newest."""
_FEWEST, _MOST = 3, 10
"""How many lines a summary has at least, if there are as many, and at most."""
_COMPARED = 2_000
"""How many of the user's other messages the words are weighed against."""
_LOOKED_UP = 50
"""How many words are weighed: the most frequent."""
_ABOUT = 6
_ENOUGH = 4
"""In this many messages or more, a word must be in at least two of them to be what they are about."""
_MAX_AUTHORS = 6


@dataclass(frozen=True, slots=True)
class Analysis:
    """The lines of the messages that were read, and how telling each of their words is."""

    extracts: Sequence[Extract]
    lines: Sequence[Line]
    weights: Mapping[str, float]

    def about(self, most: int) -> list[str]:
        """Return the most telling words, as they are spelt in the lines, the most telling first."""
        counts, size = text_counts(self.lines)
        enough = 1 if size < _ENOUGH else 2
        telling = [term for term in self.weights if counts[term] >= enough]
        best = sorted(telling, key=lambda term: (-self.weights[term], term))
        return spellings(self.lines, best[: 3 * most])[:most]


def analyse(
    tx: Transaction, extracts: Sequence[Extract], others: Background, query: Sequence[Term] = ()
) -> Analysis:
    """Weigh the words of messages against the user's other messages.

    The words of the query by which the messages were found have no weight: all of them have these.
    """
    lines = [line for source, extract in enumerate(extracts) for line in split_lines(extract.text, source)]
    counts, size = text_counts(lines)
    for term in query:
        for word in term.words:
            counts.pop(word.folded, None)
    common = Counter(counts).most_common()
    candidates = [term for term, _ in sorted(common, key=lambda pair: (-pair[1], pair[0]))[:_LOOKED_UP]]
    elsewhere = {term: frequency(tx, term, others) for term in candidates}
    weights = term_weights(
        {term: counts[term] for term in candidates}, size, elsewhere, len(others.positions)
    )
    return Analysis(extracts, lines, weights)


def summarise(tx: Transaction, principal: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the most telling lines of the conversation `conversation_id`, or of what matches `query`.

    Raises:
        InvalidInputError: the query has no word to search for, or too many.
        NotFoundError: there is no such conversation.
    """
    reach = reach_of(principal, arguments)
    conversation_id, by_query = reach.conversation_id, reach.terms is not None
    fields: dict[str, Any] = {}
    if conversation_id is not None:
        fields = conversation_fields(conversations.get(tx, principal, conversation_id))
    most = READ_MATCHES if by_query else LISTED
    listed = positions(tx, reach, most + 1)
    picked = spread(listed[:most], READ_MATCHES if by_query else READ)
    result: dict[str, Any] = {
        **{name: fields[name] for name in ("conversation_id", "title", "archived") if name in fields},
        "messages": len(listed[:most]),
        "more": len(listed) > most,
        "read": len(picked),
        "lines": [],
    }
    if not picked:
        return result | suggestion(tx, principal, arguments)
    extracts = texts(tx, picked, characters_each(len(picked)))
    outside = None if by_query else conversation_id
    others = background(tx, principal, _COMPARED, outside=outside, exclude_types=ARCHIVIST_TYPES)
    query = query_terms(reach)
    analysis = analyse(tx, extracts, others, query)
    selected = [
        (extracts[line.source], line) for line in _select(analysis, query, arguments.get("lines", _MOST))
    ]
    known = sorted({extract.conversation_id for extract, _ in selected}) if by_query else []
    titles = {known_id: title_fields(tx, principal, known_id) for known_id in known}
    return result | {
        "first": to_minute(min(extract.at for extract in extracts)),
        "last": to_minute(max(extract.at for extract in extracts)),
        "authors": authors(extracts, _MAX_AUTHORS),
        "about": analysis.about(_ABOUT),
        "lines": [
            titles.get(extract.conversation_id, {}) | line_fields(extract, line) for extract, line in selected
        ],
    }


def _select(analysis: Analysis, query: Sequence[Term], most: int) -> Sequence[Line]:
    """Return the most telling lines, at most `most`; those with a term of the query, if there are enough of them."""
    naming = [line for line in analysis.lines if any(contains(line, term) for term in query)]
    candidates = naming if len(naming) >= _FEWEST else analysis.lines
    enough = min(most, max(_FEWEST, isqrt(2 * len(candidates))))
    return select(candidates, scores(candidates, analysis.weights, query), enough)
