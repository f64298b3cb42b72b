"""Lists of conversations made here, from what a platform returned: the filters, orders and pages that it lacks."""

from collections.abc import Sequence
from typing import Any

from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import page_cursor, read_page_cursor
from tertulia.vocabulary.models import Conversation, ConversationQuery, Page, SortKey
from tertulia.vocabulary.states import Status

MAX_PAGE = 100


def fits(conversation: Conversation, query: ConversationQuery) -> bool:
    """Whether a conversation is one that the query's filters leave."""
    return (
        (not query.ids or conversation.id in query.ids)
        and query.agent in {None, conversation.agent}
        and (not query.statuses or conversation.status in query.statuses)
        and query.archived in {None, conversation.archived}
        and not (query.awaiting and conversation.status is not Status.INPUT_REQUIRED)
    )


def page(found: Sequence[Conversation], query: ConversationQuery) -> Page[Conversation]:
    """Return the page that a query asks for, of all the conversations of its instance.

    Raises:
        InvalidInputError: the cursor is not one of this query, or the limit is out of range.
    """
    if not 1 <= query.limit <= MAX_PAGE:
        raise InvalidInputError(f"`limit` is {query.limit}; it must be from 1 to {MAX_PAGE}.")
    identity: dict[str, Any] = {
        "instance": query.instance,
        "ids": sorted(query.ids),
        "agent": query.agent,
        "statuses": sorted(query.statuses),
        "archived": query.archived,
        "awaiting": query.awaiting,
        "sort": query.sort,
        "descending": query.descending,
    }
    fitting = [(_key(one, query.sort), one) for one in found if fits(one, query)]
    fitting.sort(key=lambda pair: pair[0], reverse=query.descending)
    rest = fitting
    if query.cursor is not None:
        last = tuple(read_page_cursor(query.cursor, identity))
        rest = [pair for pair in fitting if (pair[0] < last if query.descending else pair[0] > last)]
    shown = rest[: query.limit]
    return Page(
        items=[one for _, one in shown],
        next_cursor=page_cursor(identity, list(shown[-1][0])) if len(rest) > len(shown) else None,
        total=len(fitting),
    )


def _key(conversation: Conversation, sort: SortKey) -> tuple[str, str]:
    if sort is SortKey.TITLE:
        return conversation.title or "", conversation.id
    at = conversation.created_at if sort is SortKey.CREATED else conversation.updated_at
    return "" if at is None else at.isoformat(timespec="microseconds"), conversation.id
