"""What happened to conversations, apart from what was said: beginnings, changes of state, and what was decided."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from tertulia.store.database import Transaction, from_datetime, to_datetime
from tertulia.vocabulary.events import EventKind
from tertulia.vocabulary.models import Decision
from tertulia.vocabulary.states import Status

_EVER, _NEVER = -(1 << 62), 1 << 62
STARTED = "started"
"""What happened when a conversation came into being; everything else is a `Status` or a decision."""

# As in the schema's partial indexes, to the letter: SQLite uses them for no other condition.
_KINDS = "j.kind IN ('status_changed', 'tool_confirmation_resolved')"
# What every conversation goes through whenever it is answered, or asks something, is no milestone.
_TELLING = f"""
CASE j.kind WHEN '{EventKind.STATUS_CHANGED}' THEN
    j.data ->> 'status' <> '{Status.INPUT_REQUIRED}' AND (j.data ->> 'status' <> '{Status.OPEN}'
    OR coalesce(j.data ->> 'before', '') NOT IN ('{Status.SUBMITTED}', '{Status.INPUT_REQUIRED}'))
ELSE j.data ->> 'decision' IN ('{Decision.APPROVE}', '{Decision.REJECT}') END
"""


@dataclass(frozen=True, slots=True)
class Milestone:
    """Something that happened to a conversation."""

    at: datetime
    conversation_id: str
    title: str | None
    agent: str | None
    what: str
    about: str | None = None
    """What was approved or rejected; why a state was left."""


def milestones(
    tx: Transaction,
    principal: str,
    *,
    among: Collection[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    most: int,
) -> list[Milestone]:
    """Return the newest milestones from `since` and before `until`, newest first; of some conversations, if `among`."""
    start = _EVER if since is None else from_datetime(since)
    end = _NEVER if until is None else from_datetime(until)
    if among is None:
        conversations, events, only = "conversations AS c", "journal AS j", []
    else:
        conversations = "json_each(?) AS f CROSS JOIN conversations AS c ON c.id = f.value"
        events = "json_each(?) AS f CROSS JOIN journal AS j ON j.conversation_id = f.value"
        only = [json.dumps(sorted(among))]
    began = tx.all(
        f"SELECT c.created_at, c.id, c.title, c.agent FROM {conversations}"
        " WHERE c.principal = ? AND c.created_at >= ? AND c.created_at < ? ORDER BY c.created_at DESC LIMIT ?",
        *only,
        principal,
        start,
        end,
        most,
    )
    happened = tx.all(
        "SELECT j.at, c.id, c.title, c.agent, coalesce(j.data ->> 'status', j.data ->> 'decision'),"
        f" coalesce(r.prompt, j.data ->> 'reason') FROM {events}"
        " CROSS JOIN conversations AS c ON c.principal = j.principal AND c.id = j.conversation_id"
        " LEFT JOIN requests AS r ON r.id = j.data ->> 'request_id' AND r.principal = j.principal"
        f" WHERE j.principal = ? AND {_KINDS} AND j.at >= ? AND j.at < ? AND {_TELLING} ORDER BY j.at DESC LIMIT ?",
        *only,
        principal,
        start,
        end,
        most,
    )
    found = [Milestone(to_datetime(at), known, title, agent, STARTED) for at, known, title, agent in began]
    found += [
        Milestone(to_datetime(at), known, title, agent, what, about)
        for at, known, title, agent, what, about in happened
    ]
    return sorted(found, key=lambda each: each.at, reverse=True)[:most]
