"""What results of the archivist's tools have in common: how a conversation, a message and a moment stand in them."""

from collections.abc import Mapping, Sequence
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import Any

from tertulia.platforms.local.archivist.wording import line
from tertulia.store.extracts import Extract
from tertulia.vocabulary.models import Conversation

COMMAND = "archivist.command"
"""The type of a message that told the archivist to do something."""
ANSWER = "archivist.answer"
OWN = frozenset({COMMAND, ANSWER})
_MAX_TITLE = 100
_MAX_READ = 200_000
"""How many characters are read at once, of several messages together."""
_SHORTEST_READ, _LONGEST_READ = 500, 4_000
"""How many of each, at least and at most."""


def described(conversation: Conversation) -> dict[str, Any]:
    """Return a conversation as results have it."""
    fields = {
        "conversation_id": conversation.id,
        "title": None if conversation.title is None else titled(conversation.title),
        "status": conversation.status,
        "archived": conversation.archived,
        "agent": conversation.agent,
        "messages": conversation.message_count,
        "updated": None if conversation.updated_at is None else minute(conversation.updated_at),
    }
    return {name: value for name, value in fields.items() if value is not None}


def titled(title: str) -> str:
    """Return a title as results have it."""
    return line(title, _MAX_TITLE)


def minute(at: datetime) -> str:
    """Return a moment as results have it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def span(arguments: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """Return the moments from and before which something happened, of days in UTC of which the last is included."""
    since, until = (
        None if arguments.get(name) is None else datetime.fromisoformat(arguments[name]).replace(tzinfo=UTC)
        for name in ("since", "until")
    )
    if until is not None:
        # The last day there is has none behind it.
        until = until + timedelta(days=1) if until.year < MAXYEAR else until.replace(hour=23)
    return since, until


def room(messages: int) -> int:
    """Return how much is read of each of so many messages."""
    return min(_LONGEST_READ, max(_SHORTEST_READ, _MAX_READ // max(messages, 1)))


def authors(extracts: Sequence[Extract], most: int) -> list[str]:
    """Return who wrote these, in the order in which they first did."""
    return [line(author, 60) for author in dict.fromkeys(each.author for each in extracts)][:most]
