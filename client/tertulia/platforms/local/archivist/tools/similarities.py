"""The tool that finds similar conversations: those that have the most telling words of one.

FTS5's vocabulary, and with it `apsw.fts5.Table.more_like`, counts the words of all principals. This module counts
those of the caller's messages only.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from tertulia.platforms.local.archivist.tools.results import (
    characters_each,
    conversation_fields,
    title_fields,
)
from tertulia.platforms.local.archivist.tools.salience import spellings, terms_in
from tertulia.platforms.local.archivist.tools.summaries import Analysis, analyse
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
from tertulia.vocabulary.message_types import ARCHIVIST_TYPES
from tertulia.vocabulary.models import Conversation

READ = 200
"""How many messages of the conversation are read."""
TERMS = 16
"""How many of its words are searched for in other conversations."""
MATCHES = 1_000
"""How many messages with such a word count: the newest."""
_COMPARED = 2_000
_TITLE = 2
"""How many messages a title counts as."""
_NAMED = 8
_SHARED = 5
_ENOUGH = 2
"""How many of the words a similar conversation must have: one may be chance."""


def similar(tx: Transaction, principal: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conversations that share most of the telling words of `conversation_id`, the most similar first.

    Raises:
        NotFoundError: there is no such conversation.
    """
    target = conversations.get(tx, principal, arguments["conversation_id"])
    reach = Reach(principal=principal, conversation_id=target.id, exclude_types=ARCHIVIST_TYPES)
    picked = spread(positions(tx, reach, LISTED), READ)
    others = background(tx, principal, _COMPARED, outside=target.id, exclude_types=ARCHIVIST_TYPES)
    analysis = analyse(tx, texts(tx, picked, characters_each(len(picked))), others)
    weights = _weights(analysis, target)
    scores: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for term in _best_first(weights)[:TERMS]:
        counts = Counter(
            having(tx, principal, term, MATCHES, outside=target.id, exclude_types=ARCHIVIST_TYPES)
        )
        for titled in titled_with(tx, principal, term, MATCHES):
            counts[titled] += _TITLE
        rarity = math.log(1 + (len(others.positions) + 1) / (1 + counts.total()))
        for conversation_id, count in counts.items():
            if conversation_id != target.id:
                scores[conversation_id][term] = weights[term] * rarity * (1 + math.log(count))
    enough = min(_ENOUGH, len(weights))
    totals = {
        conversation_id: sum(by_term.values())
        for conversation_id, by_term in scores.items()
        if len(by_term) >= enough
    }
    ranked = _best_first(totals)
    title = terms_in(target.title or "")
    return {
        **title_fields(tx, principal, target.id),
        "about": spellings(analysis.lines, _best_first(weights)[:TERMS], title),
        "similar": [
            conversation_fields(conversations.get(tx, principal, conversation_id))
            | {"shared": spellings(analysis.lines, _best_first(scores[conversation_id]), title)[:_SHARED]}
            for conversation_id in ranked[:_NAMED]
        ],
        "more": len(ranked) > _NAMED,
    }


def _best_first(scores: Mapping[str, float]) -> list[str]:
    return sorted(scores, key=lambda name: (-scores[name], name))


def _weights(analysis: Analysis, target: Conversation) -> dict[str, float]:
    """Return the weight of each word; those of the title weigh as much as the best of the others."""
    best = max(analysis.weights.values(), default=1.0)
    return {**analysis.weights, **dict.fromkeys(terms_in(target.title or ""), best)}
