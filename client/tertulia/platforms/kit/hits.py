"""Searches of platforms that find conversations, not messages: the filters that they lack, and the hits."""

from collections.abc import Sequence
from datetime import UTC, datetime

from tertulia.vocabulary.models import ConversationRecord, SearchHit, SearchQuery

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def is_filtered(query: SearchQuery) -> bool:
    """Whether a search asks for more than a text."""
    return any((query.agent, query.conversation_id, query.since, query.until))


def fits(conversation: ConversationRecord, query: SearchQuery) -> bool:
    """Whether a conversation is one that the search's filters leave."""
    return (
        query.agent in {None, conversation.agent}
        and query.conversation_id in {None, conversation.id}
        and (query.since is None or _moved_at(conversation) >= query.since)
        and (query.until is None or _moved_at(conversation) < query.until)
    )


def hits(found: Sequence[ConversationRecord]) -> list[SearchHit]:
    """Return a hit for each conversation: its title."""
    return [SearchHit.of_title(conversation, _moved_at(conversation)) for conversation in found]


def _moved_at(conversation: ConversationRecord) -> datetime:
    return conversation.updated_at or conversation.created_at or _LONG_AGO
