"""The tools that find and read conversations: get, list, search, messages."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import BaseModel, Field

from tertulia.conversations import Conversations
from tertulia.reading import Happenings
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import page_cursor, read_page_cursor, shown
from tertulia.vocabulary.models import (
    Conversation,
    ConversationQuery,
    Message,
    SearchHit,
    SearchQuery,
    SortKey,
)
from tertulia.vocabulary.states import Status
from tertulia_tools.answering import ConversationId
from tertulia_tools.definition import Definition, Toolset
from tertulia_tools.hosting import host_of
from tertulia_tools.quoting import Quoter, cleaned, fitting, size
from tertulia_tools.results import (
    MAX_ITEMS,
    MAX_JSON,
    MAX_REQUESTS,
    ConversationLine,
    PendingRequest,
    Result,
    answer,
    compact,
    fit,
    messages_counted,
    requests_shown,
    time_shown,
)
from tertulia_tools.streaming import Happening, newest

Cursor = Annotated[str | None, Field(description="From the page before; the first page, if left out.")]
StatusName = Literal[
    "submitted", "open", "paused", "input_required", "completed", "rejected", "canceled", "failed"
]
MOST_AWAITING = 5
"""How many ids of pending requests a list shows for each conversation."""
PAGE = 20
"""The most messages of a page, unless more are asked for."""
RECENT = 10
"""How many messages `get_conversation` includes at most."""
RECENT_EVENTS = 30
"""How many events it includes."""
MAX_SNIPPET = 300
MAX_DETAILS = 7_500
"""The share of all that `get_conversation` includes."""
ABOUT_A_MESSAGE = 250
"""How much of its share a message takes beside its text, at most."""
LEAST_OF_A_MESSAGE = 200
"""How much of each message there must be room for."""


class MessageShown(BaseModel):
    """A message."""

    message_id: str
    author: str
    role: str
    at: str | None = None
    type: str | None = None
    text: str | None = None
    data: str | None = Field(default=None, description="JSON.")

    def line(self) -> str:
        """Return the message with its heading."""
        heading = " · ".join(
            part for part in (self.message_id, self.type, f"{self.author} ({self.role})", self.at) if part
        )
        return "\n".join(part for part in (heading, self.text, self.data) if part)


class ConversationResult(Result):
    """One conversation."""

    conversation_id: str
    status: str
    title: str | None = None
    agent: str | None = None
    archived: bool | None = None
    metadata: str | None = Field(default=None, description="JSON.")
    message_count: int | None = None
    created_at: str | None = None
    updated_at: str | None = None
    run_id: str | None = Field(default=None, description="Of its newest run.")
    run_status: str | None = None
    pending: list[PendingRequest] = []
    messages: list[MessageShown] = []
    events: list[Happening] = []
    cursor: str | None = Field(default=None, description="For stream_conversation: what follows.")
    note: str | None = None

    def lines(self) -> Sequence[str]:
        """Return the result's text, line by line."""
        parts = [
            self.conversation_id,
            self.status,
            self.title or "(no title)",
            "archived" if self.archived else None,
            f"with {self.agent}" if self.agent else None,
            None if self.message_count is None else messages_counted(self.message_count),
            f"created {self.created_at}" if self.created_at else None,
            f"updated {self.updated_at}" if self.updated_at else None,
        ]
        lines = [" · ".join(part for part in parts if part)]
        if self.metadata is not None:
            lines.append(f"Metadata: {self.metadata}")
        if self.run_id is not None:
            lines.append(f"Newest run {self.run_id}: {self.run_status}")
        lines += [request.line() for request in self.pending]
        lines += [message.line() for message in self.messages]
        lines += [event.line() for event in self.events]
        lines += [self.note] if self.note else []
        return [*lines, f"Cursor: {self.cursor}"]


class ConversationList(Result):
    """A page of conversations."""

    conversations: list[ConversationLine]
    total: int | None = None
    next_cursor: str | None = None
    note: str | None = None

    def lines(self) -> Sequence[str]:
        """Return the result's text, line by line."""
        lines = [conversation.line() for conversation in self.conversations] or ["No conversation matches."]
        if self.total is not None:
            lines.append(f"{len(self.conversations)} of {self.total}")
        lines += [self.note] if self.note else []
        return [*lines, f"More: cursor {self.next_cursor}"] if self.next_cursor else lines


class Match(BaseModel):
    """A message that matches; a title, where message_id is missing."""

    conversation_id: str
    title: str | None = None
    status: str
    message_id: str | None = None
    author: str | None = None
    at: str | None = None
    snippet: str

    def line(self) -> str:
        """Return the match in two lines."""
        parts = (
            self.conversation_id,
            self.status,
            self.title,
            self.message_id or "title",
            self.author,
            self.at,
        )
        return " · ".join(part for part in parts if part) + f"\n  {self.snippet}"


class Matches(Result):
    """A page of matches."""

    matches: list[Match]
    order: str | None = None
    total: int | None = None
    suggestion: str | None = None
    next_cursor: str | None = None

    def lines(self) -> Sequence[str]:
        """Return the result's text, line by line."""
        lines = [match.line() for match in self.matches]
        if not lines:
            lines.append(
                "Nothing matches." + (f" Did you mean: {self.suggestion}" if self.suggestion else "")
            )
        else:
            lines.append(f"{self.order}" + (f", {self.total} in all" if self.total is not None else ""))
        return [*lines, f"More: cursor {self.next_cursor}"] if self.next_cursor else lines


class MessageList(Result):
    """A page of messages."""

    conversation_id: str
    messages: list[MessageShown]
    total: int | None = None
    next_cursor: str | None = None
    note: str | None = None

    def lines(self) -> Sequence[str]:
        """Return the result's text, line by line."""
        lines = [
            self.conversation_id + ("" if self.total is None else f" · {messages_counted(self.total)} in all")
        ]
        lines += [message.line() for message in self.messages]
        lines += [self.note] if self.note else []
        return [*lines, f"More: cursor {self.next_cursor}"] if self.next_cursor else lines


async def get_conversation(
    ctx: Context[Any, Any],
    conversation_id: ConversationId,
    include: Annotated[
        list[Literal["messages", "events", "requests"]],
        Field(
            description="Also: messages (the last, 10 at most), events (the last), requests (what awaits a decision)."
        ),
    ] = [],  # noqa: B006 - pydantic copies it
) -> Annotated[CallToolResult, ConversationResult]:
    """Show one conversation: its state, title, agent, metadata and newest run; on demand messages, events, requests."""
    conversations = host_of(ctx).conversations
    quoter = Quoter()
    conversation = await conversations.get(conversation_id)
    run = await conversations.latest_run(conversation_id)
    result = ConversationResult(
        conversation_id=conversation.id,
        status=conversation.status,
        title=None if conversation.title is None else quoter.line(conversation.title),
        agent=conversation.agent,
        archived=True if conversation.archived else None,
        message_count=conversation.message_count,
        created_at=time_shown(conversation.created_at),
        updated_at=time_shown(conversation.updated_at),
        run_id=None if run is None else run.id,
        run_status=None if run is None else run.status,
        cursor=await conversations.cursor(conversation_id, conversation.last_seq),
    )
    share = MAX_DETAILS // (len(set(include)) + bool(conversation.metadata) or 1)
    notes: list[str] = []
    if conversation.metadata:
        result.metadata = quoter.quote(compact(conversation.metadata), share)
    if "requests" in include:
        pending = await conversations.pending(conversation_id)
        result.pending, notes = requests_shown(pending, quoter, max(share, MAX_REQUESTS))
    if "messages" in include:
        most = min(RECENT, share // (ABOUT_A_MESSAGE + LEAST_OF_A_MESSAGE))
        page = await conversations.messages(conversation_id, limit=most, newest_first=True)
        limit = share // max(1, len(page.items)) - ABOUT_A_MESSAGE
        result.messages = [message_shown(message, quoter, limit) for message in reversed(page.items)]
        if page.next_cursor or any(size(message.text or "") > limit for message in page.items):
            notes.append("list_messages has all messages, and the whole of each.")
    if "events" in include:
        recent = await _recent_events(conversations, conversation_id, conversation.last_seq)
        result.events, complete = newest(recent.entries, quoter, share)
        if not complete or conversation.last_seq > RECENT_EVENTS:
            notes.append("stream_conversation without a cursor reads all events.")
    result.note = " ".join(notes) or None
    return answer(result, quoter)


async def list_conversations(
    ctx: Context[Any, Any],
    instance: Annotated[
        str | None, Field(description="Only of this instance, as its platform has them.")
    ] = None,
    agent: Annotated[str | None, Field(description="Only with this agent (instance:name).")] = None,
    status: Annotated[list[StatusName], Field(description="Only in one of these states.")] = [],  # noqa: B006
    archived: Annotated[
        Literal["no", "yes", "both"],
        Field(description="no (default): without archived ones; yes: only those."),
    ] = "no",
    awaiting_me: Annotated[
        bool, Field(description="true: only those that await a decision; false by default.")
    ] = False,
    sort: Annotated[
        Literal["updated_at", "created_at", "title"],
        Field(description="updated_at by default."),
    ] = "updated_at",
    descending: Annotated[
        bool, Field(description="true by default: newest, or last in the alphabet, first.")
    ] = True,
    limit: Annotated[int, Field(ge=1, le=50, description="1 to 50; 20 by default.")] = 20,
    cursor: Cursor = None,
) -> Annotated[CallToolResult, ConversationList]:
    """List conversations (threads, chats, history), the most recently updated first, with filters and pages.

    Without an instance: everything known here. To find one by its words, use search_conversations.
    """
    conversations = host_of(ctx).conversations
    quoter = Quoter()
    query = ConversationQuery(
        instance=instance,
        agent=agent,
        statuses=frozenset(Status(name) for name in status),
        archived={"no": False, "yes": True, "both": None}[archived],
        awaiting=awaiting_me,
        sort=SortKey(sort),
        descending=descending,
        limit=limit,
        cursor=cursor,
    )
    page = await conversations.list(query)
    awaiting: dict[str, list[str]] = {}
    for request in await conversations.pending():
        awaiting.setdefault(request.conversation_id, []).append(request.id)

    def shown_of(found: Conversation) -> ConversationLine:
        return ConversationLine.of(found, quoter, awaiting.get(found.id, ())[:MOST_AWAITING])

    lines = fit(map(shown_of, page.items))
    if len(lines) < len(page.items):  # the cursor behind the last of those that are shown
        page = await conversations.list(replace(query, limit=len(lines)))
        lines = list(map(shown_of, page.items))
    return answer(
        ConversationList(conversations=lines, total=page.total, next_cursor=page.next_cursor), quoter
    )


async def search_conversations(
    ctx: Context[Any, Any],
    query: Annotated[
        str,
        Field(description='All words must occur. "quoted phrase", prefix*, -without and OR are understood.'),
    ],
    instance: Annotated[str | None, Field(description="Only in this instance.")] = None,
    agent: Annotated[str | None, Field(description="Only in conversations with this agent.")] = None,
    since: Annotated[str | None, Field(description="From this date on: 2026-11-21, or with a time.")] = None,
    until: Annotated[
        str | None, Field(description="Up to and including this date, or before this time.")
    ] = None,
    limit: Annotated[int, Field(ge=1, le=25, description="1 to 25; 10 by default.")] = 10,
    cursor: Cursor = None,
) -> Annotated[CallToolResult, Matches]:
    """Search all conversations in full text (find, look up, recall, remember): messages and titles, with snippets.

    Newest first; the best matches first where there are few.
    """
    conversations = host_of(ctx).conversations
    quoter = Quoter()
    search = SearchQuery(
        text=query,
        instance=instance,
        agent=agent,
        since=None if since is None else _moment("since", since, end_of_day=False),
        until=None if until is None else _moment("until", until, end_of_day=True),
        limit=limit,
        cursor=cursor,
    )
    found = await conversations.search(search)
    matches = fit(_match(hit, quoter) for hit in found.hits)
    if len(matches) < len(found.hits):  # the cursor behind the last of those that are shown
        found = await conversations.search(replace(search, limit=len(matches)))
        matches = [_match(hit, quoter) for hit in found.hits]
    result = Matches(
        matches=matches,
        order=None if not found.hits else "best first" if found.ranked else "newest first",
        total=found.total,
        suggestion=None if found.suggestion is None else cleaned(found.suggestion),
        next_cursor=found.next_cursor,
    )
    return answer(result, quoter)


async def list_messages(
    ctx: Context[Any, Any],
    conversation_id: ConversationId,
    limit: Annotated[int, Field(ge=1, le=100, description="1 to 100; 20 by default.")] = 20,
    cursor: Cursor = None,
) -> Annotated[CallToolResult, MessageList]:
    """Read the messages of a conversation (transcript, history), oldest first, in pages; long ones in several."""
    quoter = Quoter()
    page = await message_page(host_of(ctx).conversations, conversation_id, quoter, limit=limit, cursor=cursor)
    return answer(page, quoter)


async def message_page(
    conversations: Conversations,
    conversation_id: str,
    quoter: Quoter,
    *,
    limit: int = PAGE,
    cursor: str | None = None,
) -> MessageList:
    """Return a page of messages, oldest first; a message that is longer than a page comes in parts."""
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


def _match(hit: SearchHit, quoter: Quoter) -> Match:
    return Match(
        conversation_id=hit.conversation_id,
        title=None if hit.conversation_title is None else quoter.line(hit.conversation_title),
        status=hit.status,
        message_id=hit.message_id,
        author=hit.author,
        at=time_shown(hit.at),
        snippet=quoter.line(hit.snippet, MAX_SNIPPET),
    )


async def _recent_events(conversations: Conversations, conversation_id: str, last_seq: int) -> Happenings:
    start = await conversations.cursor(conversation_id, max(0, last_seq - RECENT_EVENTS))
    return await conversations.events(conversation_id, cursor=start)


def _moment(name: str, text: str, *, end_of_day: bool) -> datetime:
    try:
        if len(text) == len("2026-11-21"):
            day = date.fromisoformat(text)
            return datetime.combine(day + timedelta(days=1) if end_of_day else day, time.min, UTC)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(
            f"`{name}` is not a date: {shown(text, 40)}.", valid=["2026-11-21", "2026-11-21T14:30:00Z"]
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


BROWSING_TOOLS = tuple(
    Definition(
        function=function,
        title=title,
        toolset=Toolset.BROWSE,
        read_only=True,
        idempotent=True,
        open_world=open_world,
    )
    for function, title, open_world in (
        (get_conversation, "Show a conversation", True),
        (list_conversations, "List conversations", True),
        (search_conversations, "Search conversations", False),
        (list_messages, "Read messages", True),
    )
)
