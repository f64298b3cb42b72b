"""Excerpts of conversations for lists: how they begin, and what is asked there."""

import json
from collections.abc import Mapping, Sequence

from tertulia.store import runs
from tertulia.store.database import Row, Transaction
from tertulia.vocabulary.models import Conversation, Excerpt, ParticipantRole

MAX_EXCERPT = 300
"""The most characters of a text in an excerpt."""
_TEXT = f"substr(coalesce(m.text, m.unindexed), 1, {MAX_EXCERPT})"
_OPENINGS = (
    f"SELECT f.value, (SELECT {_TEXT} FROM messages AS m WHERE m.principal = ? AND m.conversation_id = f.value"
    " AND coalesce(m.text, m.unindexed) IS NOT NULL ORDER BY m.position LIMIT 1) FROM json_each(?) AS f"
)
_INITIATORS = (
    "SELECT conversation_id, address FROM participants WHERE principal = ?"
    " AND conversation_id IN (SELECT value FROM json_each(?)) AND role = ?"
)
_ASKED = (
    f"SELECT r.conversation_id, m.author, {_TEXT} FROM runs AS r CROSS JOIN messages AS m"
    " ON m.principal = r.principal AND m.conversation_id = r.conversation_id AND m.id = r.message_id"
    f" WHERE r.principal = ? AND r.conversation_id IN (SELECT value FROM json_each(?))"
    f" AND r.status IN ({runs.ACTIVE}) AND r.agent = ?"
)
_NEWEST_OF_OTHERS = (
    f"SELECT m.conversation_id, m.author, {_TEXT} FROM messages AS m WHERE m.principal = ? AND m.conversation_id = ?"
    " AND m.author <> ? ORDER BY m.position DESC LIMIT 1"
)


def of(tx: Transaction, principal: str, me: str, found: Sequence[Conversation]) -> Mapping[str, Excerpt]:
    """Return excerpts of conversations, by their ids; `me` is the caller's address."""
    untitled = [one.id for one in found if one.title is None]
    mine = [one.id for one in found if one.agent == me]
    openings: dict[str, str | None] = dict(tx.all(_OPENINGS, principal, json.dumps(untitled)))
    initiators: dict[str, str] = dict(
        tx.all(_INITIATORS, principal, json.dumps(mine), ParticipantRole.INITIATOR)
    )
    ids = json.dumps([one.id for one in found])
    asked = {row[0]: row for row in tx.all(_ASKED, principal, ids, me)}
    return {
        one.id: _excerpt(
            openings.get(one.id),
            initiators.get(one.id),
            asked.get(one.id) or (tx.one(_NEWEST_OF_OTHERS, principal, one.id, me) if one.awaiting else None),
        )
        for one in found
    }


def _excerpt(opening: str | None, begun_by: str | None, asked: Row | None) -> Excerpt:
    asked_by, question = (None, None) if asked is None else asked[1:]
    return Excerpt(opening=opening, begun_by=begun_by, asked_by=asked_by, asked=question)
