"""What a list of conversations is asked for: what the wire has filters for, and what is looked at here instead.

The wire's filters are those of the documentation: `agent_id`, `status`, `search`, `created_after`, `created_before`.
They only narrow down what comes; a time is asked for with a margin, since whether it includes its bound is not told.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from tertulia.platforms.kit.paging import fits
from tertulia.vocabulary.models import ConversationQuery, ConversationRecord
from tertulia.vocabulary.states import Status

_MARGIN = timedelta(seconds=1)
_POSSIBLE = frozenset({Status.OPEN, Status.COMPLETED})


def wire_filters(query: ConversationQuery) -> Mapping[str, Any] | None:
    """Return what the wire can be asked for, the agent aside; None where nothing at Knowrithm fits the query."""
    possible = query.statuses & _POSSIBLE if query.statuses else _POSSIBLE
    if not possible or query.awaiting or (query.archived is True and Status.COMPLETED not in possible):
        return None
    status = (
        "archived" if query.archived is True else "active" if possible == frozenset({Status.OPEN}) else None
    )
    return between(query.created_after, query.created_before) | ({} if status is None else {"status": status})


def between(after: datetime | None, before: datetime | None) -> dict[str, Any]:
    """Return the filters for a time of creation."""
    bounds = {
        "created_after": None if after is None else after - _MARGIN,
        "created_before": None if before is None else before + _MARGIN,
    }
    return {name: at.isoformat() for name, at in bounds.items() if at is not None}


def may_fit(conversation: ConversationRecord, query: ConversationQuery) -> bool:
    """Whether a conversation is one that the query leaves, as far as Knowrithm tells; the store may know more of it."""
    told = replace(
        query,
        agent=query.agent if conversation.agent else None,
        created_after=query.created_after if conversation.created_at else None,
        created_before=query.created_before if conversation.created_at else None,
    )
    return fits(conversation, told)
