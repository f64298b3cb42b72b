"""Excerpts of conversations: how they begin, what is asked there, and which requests are pending."""

import json
from collections.abc import Mapping, Sequence

from tertulia.store import runs
from tertulia.store.database import Row, Transaction
from tertulia.vocabulary.models import Conversation, Excerpt, ParticipantRole, Run

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
    f"SELECT r.conversation_id, m.author, {_TEXT} FROM json_each(?) AS f"
    f" CROSS JOIN runs AS r ON r.conversation_id = f.value AND r.status IN ({runs.ACTIVE})"
    " CROSS JOIN messages AS m ON m.principal = r.principal AND m.conversation_id = r.conversation_id"
    " AND m.id = r.message_id WHERE r.principal = ? AND r.agent = ?"
)
_QUESTION = (
    f"SELECT m.conversation_id, m.author, {_TEXT} FROM messages AS m"
    " WHERE m.principal = ? AND m.conversation_id = ? AND m.id = ?"
)
_PENDING = (
    "SELECT conversation_id, id FROM requests WHERE principal = ? AND status = 'pending'"
    " AND conversation_id IN (SELECT value FROM json_each(?)) ORDER BY created_at, number"
)
_NEWEST_OF_OTHERS = (
    f"SELECT m.conversation_id, m.author, {_TEXT} FROM messages AS m WHERE m.principal = ? AND m.conversation_id = ?"
    " AND m.author <> ? ORDER BY m.position DESC LIMIT 1"
)


def of_asked(tx: Transaction, principal: str, me: str, found: Conversation, run: Run | None) -> Excerpt:
    """Return what is asked in a conversation, and nothing else of its excerpt; `run` is its newest."""
    question: Row | None = None
    if run is not None and run.status.active and run.agent == me:
        question = tx.one(_QUESTION, principal, found.id, run.message_id)
    if question is None and found.awaiting:
        question = tx.one(_NEWEST_OF_OTHERS, principal, found.id, me)
    return Excerpt() if question is None else Excerpt(asked_by=question[1], asked=question[2])


def of(tx: Transaction, principal: str, me: str, found: Sequence[Conversation]) -> Mapping[str, Excerpt]:
    """Return excerpts of conversations, by their ids; `me` is the caller's address."""
    untitled = [one.id for one in found if one.title is None]
    mine = [one.id for one in found if one.agent == me]
    openings: dict[str, str | None] = {}
    if untitled:
        openings = dict(tx.all(_OPENINGS, principal, json.dumps(untitled)))
    initiators: dict[str, str] = {}
    if mine:
        initiators = dict(tx.all(_INITIATORS, principal, json.dumps(mine), ParticipantRole.INITIATOR))
    ids = json.dumps([one.id for one in found])
    asked = {row[0]: row for row in tx.all(_ASKED, ids, principal, me)}
    requests: dict[str, list[str]] = {}
    for conversation_id, request_id in tx.all(_PENDING, principal, ids):
        requests.setdefault(conversation_id, []).append(request_id)

    def excerpt(one: Conversation) -> Excerpt:
        question = asked.get(one.id)
        if question is None and one.awaiting:
            question = tx.one(_NEWEST_OF_OTHERS, principal, one.id, me)
        asked_by, text = (None, None) if question is None else question[1:]
        return Excerpt(
            opening=openings.get(one.id),
            begun_by=initiators.get(one.id),
            asked_by=asked_by,
            asked=text,
            requests=requests.get(one.id, ()),
        )

    return {one.id: excerpt(one) for one in found}
