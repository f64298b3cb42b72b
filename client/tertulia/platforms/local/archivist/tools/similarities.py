"""The tool that names similar conversations: those in which the words stand that tell most of one.

FTS5's own vocabulary, and what APSW builds on it (`apsw.fts5.Table.more_like`), count every principal's words. Here all
is counted among the caller's own messages.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tertulia.platforms.local.archivist.tools.results import OWN, described, room
from tertulia.platforms.local.archivist.tools.salience import Line, terms_of, written
from tertulia.platforms.local.archivist.tools.summaries import Read, read_out
from tertulia.store import conversations
from tertulia.store.database import Transaction
from tertulia.store.extracts import (
    LISTED,
    Reach,
    background,
    having,
    positions,
    spread,
    texts,
    titled_with,
)
from tertulia.vocabulary.models import Conversation

READ = 200
"""How many messages of the conversation are read."""
TERMS = 16
"""How many of its words are looked for elsewhere."""
MATCHES = 1_000
"""How many of the newest messages that have such a word count."""
_COMPARED = 2_000
_TITLE = 2
"""How many messages a title counts for."""
_NAMED = 8
_SHARED = 5
_ENOUGH = 2
"""How many of the words a conversation must have to be similar; one may be chance."""


def similar(tx: Transaction, principal: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conversations that share most of what tells `conversation_id` apart, the most similar first.

    Raises:
        NotFoundError: there is no such conversation.
    """
    own = conversations.get(tx, principal, arguments["conversation_id"])
    reach = Reach(principal=principal, conversation_id=own.id, exclude_types=OWN)
    picked = spread(positions(tx, reach, LISTED), READ)
    behind = background(tx, principal, _COMPARED, outside=own.id, exclude_types=OWN)
    judgement = read_out(tx, texts(tx, picked, room(len(picked))), behind)
    weights = _weights(judgement, own)
    marks: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for term in sorted(weights, key=lambda each: (-weights[each], each))[:TERMS]:
        found = Counter(having(tx, principal, term, MATCHES, outside=own.id, exclude_types=OWN))
        for titled in titled_with(tx, principal, term, MATCHES):
            found[titled] += _TITLE
        rarity = math.log(1 + (len(behind.positions) + 1) / (1 + found.total()))
        for known, count in found.items():
            if known != own.id:
                marks[known][term] = weights[term] * rarity * (1 + math.log(count))
    enough = min(_ENOUGH, len(weights))
    ranked = sorted(
        (known for known, shared in marks.items() if len(shared) >= enough),
        key=lambda known: (-sum(marks[known].values()), known),
    )
    lines, title = judgement.lines, _title_terms(own)
    return {
        **{name: value for name, value in described(own).items() if name in {"conversation_id", "title"}},
        "about": written(lines, sorted(weights, key=lambda each: (-weights[each], each))[:TERMS], title),
        "similar": [
            described(conversations.get(tx, principal, known))
            | {"shared": _shared(judgement.lines, marks[known], title)}
            for known in ranked[:_NAMED]
        ],
        "more": len(ranked) > _NAMED,
    }


def _shared(lines: Sequence[Line], marks: Mapping[str, float], title: Mapping[str, str]) -> list[str]:
    return written(lines, sorted(marks, key=lambda term: (-marks[term], term)), title)[:_SHARED]


def _weights(judgement: Read, own: Conversation) -> dict[str, float]:
    """Return how much each word tells; those of the title as much as the best of the others."""
    best = max(judgement.weights.values(), default=1.0)
    return {**judgement.weights, **dict.fromkeys(_title_terms(own), best)}


def _title_terms(conversation: Conversation) -> Mapping[str, str]:
    return terms_of(conversation.title or "")
