"""Messages of a conversation in portions that fit into a result."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from tertulia.conversations import Conversations
from tertulia.vocabulary.identifiers import page_cursor, read_page_cursor
from tertulia.vocabulary.models import Message
from tertulia_tools.browsing import ABOUT_A_MESSAGE, MessageList, MessageShown
from tertulia_tools.quoting import Quoter, fitting
from tertulia_tools.results import MAX_ITEMS, MAX_JSON, compact, fit, time_shown

PAGE = 20
"""The most messages of a portion."""


async def message_page(
    conversations: Conversations,
    conversation_id: str,
    quoter: Quoter,
    *,
    limit: int = PAGE,
    cursor: str | None = None,
) -> MessageList:
    """Return a page of messages, oldest first; a message that is longer than a page comes in parts.

    The cursors are those of `list_messages`.
    """
    identity = {"list_messages": conversation_id}
    start, offset = (None, 0) if cursor is None else read_page_cursor(cursor, identity)
    page = await conversations.messages(conversation_id, cursor=start, limit=1 if offset else limit)
    messages = [] if offset else fit(message_shown(message, quoter) for message in page.items)
    if len(messages) < len(page.items):  # the cursor behind the last of those that are shown
        page = await conversations.messages(conversation_id, cursor=start, limit=max(1, len(messages)))
    following: list[Any] | None = None if page.next_cursor is None else [page.next_cursor, 0]
    note = None
    if not messages and page.items:
        long = page.items[0]
        text = long.text or ""
        end = offset + fitting(text[offset : offset + MAX_ITEMS], MAX_ITEMS - MAX_JSON - ABOUT_A_MESSAGE)
        messages = [message_shown(replace(long, text=text[offset:end]), quoter)]
        note = f"Characters {offset + 1:,} to {end:,} of the {len(text):,} of this message."
        if end < len(text):
            following = [start, end]
    return MessageList(
        conversation_id=conversation_id,
        messages=messages,
        total=page.total,
        next_cursor=None if following is None else page_cursor(identity, following),
        note=note,
    )


async def newest_messages(
    conversations: Conversations, conversation_id: str, quoter: Quoter, *, since: datetime | None, limit: int
) -> tuple[list[MessageShown], bool]:
    """Return the newest messages that fit into `limit`, oldest first, and whether those are all since then.

    Of the newest one there is at least the beginning.
    """
    page = await conversations.messages(conversation_id, limit=PAGE, newest_first=True)
    recent = [
        message
        for message in page.items
        if since is None or message.created_at is None or message.created_at >= since
    ]
    longest = limit - MAX_JSON - ABOUT_A_MESSAGE
    shown = fit((message_shown(message, quoter, longest) for message in recent), limit)
    complete = len(shown) == len(recent) and (len(recent) < len(page.items) or page.next_cursor is None)
    return shown[::-1], complete


def message_shown(message: Message, quoter: Quoter, limit: int | None = None) -> MessageShown:
    """Return a message as it is shown, its text cut at a size of `limit`."""
    return MessageShown(
        message_id=message.id,
        author=message.author,
        role=message.role,
        at=time_shown(message.created_at),
        type=message.type,
        text=None if message.text is None else quoter.quote(message.text, limit),
        data=None if message.data is None else quoter.quote(compact(message.data), MAX_JSON),
    )
