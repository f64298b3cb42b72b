"""What the archivist's tools share: their queries from the arguments, and the fields of their results."""

from collections.abc import Mapping, Sequence
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import Any

from tertulia.platforms.local.archivist.tools.salience import MAX_LINE, Line
from tertulia.platforms.local.archivist.wording import one_line
from tertulia.store import conversations
from tertulia.store.database import Transaction
from tertulia.store.extracts import Extract, Reach
from tertulia.store.search import search
from tertulia.store.terms import Term, read
from tertulia.vocabulary.message_types import ARCHIVIST_TYPES
from tertulia.vocabulary.models import Conversation, SearchQuery

_MAX_TITLE = 100
_MAX_READ = 200_000
"""The most characters that are read at once, of all messages together."""
_SHORTEST_READ, _LONGEST_READ = 500, 4_000
"""The fewest and the most characters that are read of each message."""


def conversation_fields(conversation: Conversation) -> dict[str, Any]:
    """Return the fields of a conversation."""
    fields = {
        "conversation_id": conversation.id,
        "title": None if conversation.title is None else short_title(conversation.title),
        "status": conversation.status,
        "archived": conversation.archived,
        "agent": conversation.agent,
        "messages": conversation.message_count,
        "updated": None if conversation.updated_at is None else to_minute(conversation.updated_at),
    }
    return {name: value for name, value in fields.items() if value is not None}


def short_title(title: str) -> str:
    """Return a title in one line, shortened."""
    return one_line(title, _MAX_TITLE)


def to_minute(at: datetime) -> str:
    """Return a time in UTC, to the minute."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def time_range(arguments: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """Return the times from and before which a message counts, for the days `since` to `until` in UTC."""
    since, until = (
        None if arguments.get(name) is None else datetime.fromisoformat(arguments[name]).replace(tzinfo=UTC)
        for name in ("since", "until")
    )
    if until is not None:
        # No day comes after the last day that a datetime can have.
        until = until + timedelta(days=1) if until.year < MAXYEAR else until.replace(hour=23)
    return since, until


def characters_each(messages: int) -> int:
    """Return how many characters are read of each of so many messages."""
    return min(_LONGEST_READ, max(_SHORTEST_READ, _MAX_READ // max(messages, 1)))


def authors(extracts: Sequence[Extract], most: int) -> list[str]:
    """Return the authors of messages, in the order of their first messages."""
    return [one_line(author, 60) for author in dict.fromkeys(extract.author for extract in extracts)][:most]


def line_fields(extract: Extract, line: Line) -> dict[str, Any]:
    """Return the fields of a line of a message."""
    return {
        "message_id": extract.message_id,
        "author": one_line(extract.author, 60),
        "at": to_minute(extract.at),
        "text": one_line(line.text, MAX_LINE),
    }


def title_fields(tx: Transaction, principal: str, conversation_id: str) -> dict[str, Any]:
    """Return a conversation's id and title."""
    title = conversations.get(tx, principal, conversation_id).title
    return {"conversation_id": conversation_id} | ({} if title is None else {"title": short_title(title)})


def search_query(arguments: Mapping[str, Any], limit: int) -> SearchQuery:
    """Return the search for a tool's `query`."""
    since, until = time_range(arguments)
    return SearchQuery(
        text=arguments["query"],
        conversation_id=arguments.get("conversation_id"),
        since=since,
        until=until,
        limit=limit,
        exclude_types=ARCHIVIST_TYPES,
    )


def reach_of(principal: str, arguments: Mapping[str, Any]) -> Reach:
    """Return which messages a tool reads, by its arguments.

    Raises:
        InvalidInputError: the query has no word to search for, or too many.
    """
    since, until = time_range(arguments)
    query = arguments.get("query")
    return Reach(
        principal=principal,
        conversation_id=arguments.get("conversation_id"),
        terms=None if query is None else read(query),
        since=since,
        until=until,
        exclude_types=ARCHIVIST_TYPES,
    )


def query_terms(reach: Reach) -> Sequence[Term]:
    """Return the words and phrases that a tool searches for."""
    return [] if reach.terms is None else [term for group in reach.terms.wanted for term in group]


def suggestion(tx: Transaction, principal: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the correction of a query that matches nothing, if there is one."""
    if "query" not in arguments:
        return {}
    corrected = search(tx, principal, search_query(arguments, 1)).suggestion
    return {} if corrected is None else {"suggestion": corrected}
