"""The tool that summarises: the telling lines of a conversation, or of what was said about something."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

from tertulia.platforms.local.archivist.tools.results import (
    OWN,
    authors,
    described,
    minute,
    room,
    span,
    titled,
)
from tertulia.platforms.local.archivist.tools.salience import (
    MAX_LINE,
    Line,
    chosen,
    has,
    judged,
    lines,
    shares,
    weights,
    written,
)
from tertulia.platforms.local.archivist.wording import line
from tertulia.store import conversations
from tertulia.store.database import Transaction
from tertulia.store.extracts import (
    LISTED,
    Background,
    Extract,
    Reach,
    background,
    frequency,
    positions,
    spread,
    texts,
)
from tertulia.store.search import search
from tertulia.store.terms import Term, Terms, read
from tertulia.vocabulary.models import SearchQuery

READ = 400
"""How many messages of a conversation are read."""
READ_MATCHES = 120
"""How many messages that match a search are read: the newest."""
_FEWEST, _MOST = 3, 10
"""How many lines there are, if the conversation has so many."""
_COMPARED = 2_000
"""With how many of the user's other messages."""
_LOOKED_UP = 50
"""How many of the words: the most frequent."""
_ABOUT = 6
_ENOUGH = 4
"""Of so many messages, what is much spoken about stands in two at least."""
_MAX_AUTHORS = 6


@dataclass(frozen=True, slots=True)
class Read:
    """What was read of a conversation or of what matched, and how much each word of it tells."""

    extracts: Sequence[Extract]
    lines: Sequence[Line]
    weights: Mapping[str, float]

    def about(self, most: int) -> list[str]:
        """Return the words that tell most, the most telling first, as they are written here."""
        here, size = shares(self.lines)
        enough = 1 if size < _ENOUGH else 2
        telling = [term for term in self.weights if here[term] >= enough]
        best = sorted(telling, key=lambda term: (-self.weights[term], term))
        return written(self.lines, best[: 3 * most])[:most]


def read_out(
    tx: Transaction, extracts: Sequence[Extract], behind: Background, besides: Sequence[Term] = ()
) -> Read:
    """Judge the words of what was read by what stands `behind` it.

    What all of it was found by (`besides`) tells nothing.
    """
    found = [each for source, extract in enumerate(extracts) for each in lines(extract.text, source)]
    here, size = shares(found)
    for term in besides:
        for word in term.words:
            here.pop(word.folded, None)
    common = Counter(here).most_common()
    candidates = [term for term, _ in sorted(common, key=lambda pair: (-pair[1], pair[0]))[:_LOOKED_UP]]
    elsewhere = {term: frequency(tx, term, behind) for term in candidates}
    weight = weights({term: here[term] for term in candidates}, size, elsewhere, len(behind.positions))
    return Read(extracts, found, weight)


def summarise(tx: Transaction, principal: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the telling lines of the conversation `conversation_id`, or of what matches `query`; see `telling`.

    Raises:
        InvalidInputError: the query has no word to look for, or too many.
        NotFoundError: there is no such conversation.
    """
    own_id, query = arguments.get("conversation_id"), arguments.get("query")
    since, until = span(arguments)
    terms = None if query is None else read(query)
    found: dict[str, Any] = {} if own_id is None else described(conversations.get(tx, principal, own_id))
    reach = Reach(
        principal=principal,
        conversation_id=own_id,
        terms=terms,
        since=since,
        until=until,
        exclude_types=OWN,
    )
    most = LISTED if terms is None else READ_MATCHES
    listed = positions(tx, reach, most + 1)
    picked = spread(listed[:most], READ if terms is None else READ_MATCHES)
    result: dict[str, Any] = {
        **{name: found[name] for name in ("conversation_id", "title", "archived") if name in found},
        "messages": len(listed[:most]),
        "more": len(listed) > most,
        "read": len(picked),
        "lines": [],
    }
    if not picked:
        return result | suggestion(tx, principal, arguments, query)
    extracts = texts(tx, picked, room(len(picked)))
    behind = background(
        tx, principal, _COMPARED, outside=own_id if terms is None else None, exclude_types=OWN
    )
    sought = wanted(terms)
    judgement = read_out(tx, extracts, behind, sought)
    naming = [each for each in judgement.lines if any(has(each, term) for term in sought)]
    # Few lines name what a message is about; the others beside them say the rest.
    candidates = naming if len(naming) >= _FEWEST else judgement.lines
    told = chosen(
        candidates,
        judged(candidates, judgement.weights, sought),
        min(arguments.get("lines", _MOST), max(_FEWEST, isqrt(2 * len(candidates)))),
    )
    known = [] if terms is None else sorted({extracts[each.source].conversation_id for each in told})
    named = {each: name_of(tx, principal, each) for each in known}
    return result | {
        "first": minute(min(each.at for each in extracts)),
        "last": minute(max(each.at for each in extracts)),
        "authors": authors(extracts, _MAX_AUTHORS),
        "about": judgement.about(_ABOUT),
        "lines": [
            named.get(extracts[each.source].conversation_id, {}) | line_of(extracts[each.source], each)
            for each in told
        ],
    }


def line_of(extract: Extract, told: Line) -> dict[str, Any]:
    """Return a line of a message as results have it."""
    return {
        "message_id": extract.message_id,
        "author": line(extract.author, 60),
        "at": minute(extract.at),
        "text": line(told.text, MAX_LINE),
    }


def name_of(tx: Transaction, principal: str, own_id: str) -> dict[str, Any]:
    """Return a conversation's id and title, as results have them."""
    title = conversations.get(tx, principal, own_id).title
    return {"conversation_id": own_id} | ({} if title is None else {"title": titled(title)})


def suggestion(
    tx: Transaction, principal: str, arguments: Mapping[str, Any], query: str | None
) -> dict[str, Any]:
    """Return what else a search for words that finds nothing may have meant."""
    if query is None:
        return {}
    since, until = span(arguments)
    own_id = arguments.get("conversation_id")
    meant = search(
        tx,
        principal,
        SearchQuery(text=query, conversation_id=own_id, since=since, until=until, limit=1, exclude_types=OWN),
    ).suggestion
    return {} if meant is None else {"suggestion": meant}


def wanted(terms: Terms | None) -> Sequence[Term]:
    """Return the words and phrases of a search that are looked for."""
    return [] if terms is None else [term for group in terms.wanted for term in group]
