"""Pages made here, from what a platform returned whole: the filters, orders and pages that it lacks."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import COUNT, page_cursor, read_page_cursor
from tertulia.vocabulary.models import (
    Conversation,
    ConversationQuery,
    ConversationRecord,
    MessageQuery,
    Page,
    SortKey,
)
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.text import check_limit
from tertulia.vocabulary.unknown import UNKNOWN
from tertulia.vocabulary.values import same_json

MAX_PAGE = 100

T = TypeVar("T")


def fits(conversation: ConversationRecord, query: ConversationQuery) -> bool:
    """Whether the query's filters leave a conversation; a field that is UNKNOWN passes its filter."""
    return (
        (not query.ids or conversation.id in query.ids)
        and query.agent in {None, conversation.agent}
        and (not query.statuses or conversation.status in query.statuses)
        and _passes(conversation.source, query.source)
        and (query.exclude_source is None or query.exclude_source != conversation.source)
        and _passes(conversation.source_ref, query.source_ref)
        and _passes(conversation.entity_type, query.entity_type)
        and _has_metadata(conversation, query.metadata)
        and (query.created_after is None or _created(conversation) >= query.created_after)
        and (query.created_before is None or _created(conversation) < query.created_before)
        and _passes(conversation.archived, query.archived)
        and not (
            query.awaiting and conversation.status is not Status.INPUT_REQUIRED and not conversation.awaiting
        )
    )


def _passes(said: object, wanted: object) -> bool:
    return wanted is None or said is UNKNOWN or said == wanted


def _has_metadata(conversation: ConversationRecord, wanted: Mapping[str, Any]) -> bool:
    metadata = conversation.metadata
    if metadata is UNKNOWN:
        return True
    return all(key in metadata and same_json(metadata[key], value) for key, value in wanted.items())


def page_identity(query: ConversationQuery) -> dict[str, Any]:
    """Return what a page's cursor belongs to: all of the query but where the page begins and how long it is."""
    return {name: value for name, value in asdict(query).items() if name not in {"cursor", "limit"}} | {
        "ids": sorted(query.ids),
        "statuses": sorted(query.statuses),
    }


def page(found: Sequence[Conversation], query: ConversationQuery) -> Page[Conversation]:
    """Return the page that a query asks for, of all the conversations of its instance.

    Raises:
        InvalidInputError: the cursor is not one of this query, or the limit is out of range.
    """
    check_limit(query.limit, MAX_PAGE)
    identity = page_identity(query)
    fitting = [(_key(one, query.sort), one) for one in found if fits(one, query)]
    fitting.sort(key=lambda pair: pair[0], reverse=query.descending)
    rest = fitting
    if query.cursor is not None:
        last = tuple(read_page_cursor(query.cursor, identity, [str, str]))
        rest = [pair for pair in fitting if (pair[0] < last if query.descending else pair[0] > last)]
    shown = rest[: query.limit]
    return Page(
        items=[one for _, one in shown],
        next_cursor=page_cursor(identity, list(shown[-1][0])) if len(rest) > len(shown) else None,
        total=len(fitting),
    )


def message_page(
    found: Sequence[T], query: MessageQuery, *, native_id: str, id_of: Callable[[T], str], platform: str
) -> tuple[Sequence[T], str | None]:
    """Return the page of messages that a query asks for, of all that a conversation has, and the next page's cursor.

    `found` has the messages in the platform's own form, oldest first.

    Raises:
        InvalidInputError: the cursor is not one of this query, its message is gone, or the limit is out of range.
    """
    check_limit(query.limit, MAX_PAGE)
    identity: dict[str, Any] = {"messages": native_id, "newest_first": query.newest_first}
    if query.branch is not None:
        identity["branch"] = query.branch
    rest = found[::-1] if query.newest_first else found
    if query.cursor is not None:
        last = read_page_cursor(query.cursor, identity, str)
        ids = [id_of(one) for one in rest]
        if last not in ids:
            raise InvalidInputError(
                f"The message after which this cursor stands is not in the history any more at {platform}.",
                hint="Leave the cursor out for the first page.",
            )
        rest = rest[ids.index(last) + 1 :]
    page = rest[: query.limit]
    return page, page_cursor(identity, id_of(page[-1])) if len(rest) > len(page) else None


@dataclass(frozen=True, slots=True)
class Stretch(Generic[T]):
    """What a platform returned of a conversation's messages from some number on, oldest first."""

    rows: Sequence[T]
    total: int | None
    """How many messages the conversation has; None where that is not told."""
    more: bool
    """Whether there are messages after these."""


async def message_window(
    query: MessageQuery,
    *,
    native_id: str,
    count: Callable[[], Awaitable[int]],
    read: Callable[[int, int], Awaitable[Stretch[T]]],
) -> tuple[Stretch[T], int, str | None]:
    """Return the messages of the page that a query asks for, oldest first, and the next page's cursor.

    The second value is the number of the first of them. `count` returns how many messages there are; `read` returns
    those from a number on, as many as are asked for.

    Raises:
        InvalidInputError: the cursor is not one of this query, or the limit is out of range.
    """
    check_limit(query.limit, MAX_PAGE)
    identity = {"messages": native_id, "newest_first": query.newest_first}
    place = None if query.cursor is None else read_page_cursor(query.cursor, identity, COUNT)
    if query.newest_first:
        end = await count() if place is None else place
        start = max(0, end - query.limit)
        nothing: Stretch[T] = Stretch((), 0, more=False)
        stretch = await read(start, end - start) if end else nothing
        following = start
    else:
        start = place or 0
        stretch = await read(start, query.limit)
        following = start + len(stretch.rows) if stretch.more else 0
    return stretch, start, page_cursor(identity, following) if following else None


def _created(conversation: ConversationRecord) -> datetime:
    return datetime.min.replace(tzinfo=UTC) if conversation.created_at is None else conversation.created_at


def _key(conversation: Conversation, sort: SortKey) -> tuple[str, str]:
    if sort is SortKey.TITLE:
        return conversation.title or "", conversation.id
    at = conversation.created_at if sort is SortKey.CREATED else conversation.updated_at
    return "" if at is None else at.isoformat(timespec="microseconds"), conversation.id
