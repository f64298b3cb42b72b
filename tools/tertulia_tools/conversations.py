"""The tools that show conversations: one, or a list."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import Field

from tertulia.client import Client
from tertulia.resources.conversations import EventPage
from tertulia.vocabulary.models import Branch, Conversation, MessageQuery, Run, SortKey
from tertulia_tools.arguments import (
    AgentFilter,
    Archived,
    ConversationId,
    CreatedAfter,
    CreatedBefore,
    Cursor,
    EntityTypeFilter,
    Instance,
    MetadataFilter,
    Source,
    SourceRef,
    Statuses,
    query_of,
)
from tertulia_tools.definition import Definition, Toolset
from tertulia_tools.event_pages import Happening, newest
from tertulia_tools.host import host_of
from tertulia_tools.messages import ABOUT_A_MESSAGE, MessageShown, messages_shown
from tertulia_tools.quotes import Quoter, size
from tertulia_tools.results import (
    MAX_REQUESTS,
    ConversationLine,
    PendingRequest,
    Result,
    answer,
    compact,
    feedback_shown,
    fit,
    messages_counted,
    requests_shown,
    time_shown,
)

MOST_AWAITING = 5
"""How many ids of pending requests a list shows for each conversation."""
RECENT = 10
"""How many messages `get_conversation` includes at most."""
RECENT_EVENTS = 30
"""How many events it includes."""
MAX_DETAILS = 7_500
"""The share of all that `get_conversation` includes."""
MOST_SHOWN = 20
"""How many participants or branches it includes at most."""
LEAST_OF_A_MESSAGE = 200
"""How much of each message there must be room for."""


class ConversationResult(Result):
    """One conversation."""

    conversation_id: str
    status: str
    title: str | None = None
    agent: str | None = None
    archived: bool | None = None
    metadata: str | None = Field(default=None, description="JSON.")
    context: str | None = Field(default=None, description="JSON.")
    entity_type: str | None = None
    source: str | None = None
    source_ref: str | None = None
    rating: int | None = None
    feedback: str | None = None
    message_count: int | None = None
    created_at: str | None = None
    updated_at: str | None = None
    run_id: str | None = Field(default=None, description="Of its newest run.")
    run_status: str | None = None
    awaiting: bool | None = Field(default=None, description="The other side waits for a message of yours.")
    pending: list[PendingRequest] = []
    participants: list[str] = []
    branches: list[str] = []
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
            f"with a {self.entity_type}" if self.entity_type else None,
            f"from {self.source}" if self.source else None,
            f"reference {self.source_ref}" if self.source_ref else None,
            f"rated {self.rating}" if self.rating else None,
            self.feedback,
            "awaiting a message of yours" if self.awaiting else None,
        ]
        lines = [" · ".join(part for part in parts if part)]
        if self.metadata is not None:
            lines.append(f"Metadata: {self.metadata}")
        if self.context is not None:
            lines.append(f"Context: {self.context}")
        if self.run_id is not None:
            lines.append(f"Newest run {self.run_id}: {self.run_status}")
        lines += [request.line() for request in self.pending]
        lines += [f"Participant {participant}" for participant in self.participants]
        lines += [f"Branch {branch}" for branch in self.branches]
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


async def get_conversation(
    ctx: Context[Any, Any],
    conversation_id: ConversationId,
    include: Annotated[
        list[Literal["messages", "events", "requests", "participants", "branches"]],
        Field(
            description="Also: messages (the last, 10 at most), events (the last), requests (what awaits a decision),"
            " participants, branches."
        ),
    ] = [],  # noqa: B006 - pydantic copies it
) -> Annotated[CallToolResult, ConversationResult]:
    """Show one conversation: its state, title, agent, metadata and newest run; on demand its messages and more."""
    client = host_of(ctx).client
    quoter = Quoter()
    conversation = await client.conversations.get(conversation_id)
    run = await client.runs.latest(conversation_id)
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
        awaiting=True if is_awaited(client, conversation, run) else None,
        entity_type=conversation.entity_type,
        source=None if conversation.source is None else quoter.line(conversation.source),
        source_ref=None if conversation.source_ref is None else quoter.line(conversation.source_ref),
        rating=None if conversation.rating is None else conversation.rating.value,
        feedback=feedback_shown(conversation.rating, quoter),
        cursor=await client.conversations.cursor(conversation_id, conversation.last_seq),
    )
    kept = bool(conversation.metadata) + bool(conversation.context)
    share = MAX_DETAILS // (len(set(include)) + kept or 1)
    notes: list[str] = []
    if conversation.metadata:
        result.metadata = quoter.quote(compact(conversation.metadata), share)
    if conversation.context:
        result.context = quoter.quote(compact(conversation.context), share)
    if "participants" in include:
        everybody = await client.conversations.participants(conversation_id)
        result.participants = [
            f"{quoter.line(each.address)} ({each.role})" for each in everybody[:MOST_SHOWN]
        ]
        notes += _left_out(len(everybody), "participants")
    if "branches" in include:
        lines = await client.conversations.branches(conversation_id)
        result.branches = [_branch(each) for each in lines[-MOST_SHOWN:]]
        notes += _left_out(len(lines), "older branches")
    if "requests" in include:
        pending = await client.runs.pending(conversation_id)
        result.pending, notes = requests_shown(pending, quoter, max(share, MAX_REQUESTS))
    if "messages" in include:
        most = min(RECENT, share // (ABOUT_A_MESSAGE + LEAST_OF_A_MESSAGE))
        page = await client.messages.list(conversation_id, MessageQuery(limit=most, newest_first=True))
        limit = share // max(1, len(page.items)) - ABOUT_A_MESSAGE
        result.messages = list(messages_shown(page.items[::-1], quoter, limit))
        if page.next_cursor or any(size(message.text or "") > limit for message in page.items):
            notes.append("list_messages has all messages, and the whole of each.")
    if "events" in include:
        recent = await _recent_events(client, conversation_id, conversation.last_seq)
        result.events, complete = newest(recent.entries, quoter, share)
        if not complete or conversation.last_seq > RECENT_EVENTS:
            notes.append("stream_conversation without a cursor reads all events.")
    result.note = " ".join(notes) or None
    return answer(result, quoter)


async def list_conversations(
    ctx: Context[Any, Any],
    instance: Instance = None,
    ids: Annotated[list[str], Field(description="Only these.")] = [],  # noqa: B006 - pydantic copies it
    agent: AgentFilter = None,
    status: Statuses = [],  # noqa: B006
    source: Source = None,
    exclude_source: Annotated[str | None, Field(description="None from this source.")] = None,
    source_ref: SourceRef = None,
    entity_type: EntityTypeFilter = None,
    metadata: MetadataFilter = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    all_users: Annotated[
        bool,
        Field(description="true: of all users, where you may; needs source_ref."),
    ] = False,
    archived: Archived = "no",
    awaiting_me: Annotated[
        bool, Field(description="true: only what awaits a decision or message of yours.")
    ] = False,
    sort: Annotated[
        Literal["updated_at", "created_at", "title"],
        Field(description="updated_at by default."),
    ] = "updated_at",
    descending: Annotated[bool, Field(description="true (default): newest, or last letters, first.")] = True,
    limit: Annotated[int, Field(ge=1, le=50, description="1 to 50; 20 by default.")] = 20,
    cursor: Cursor = None,
) -> Annotated[CallToolResult, ConversationList]:
    """List conversations (threads, chats, history, inbox), the most recently updated first, with filters and pages.

    Without an instance: everything known here. To find one by its words, use search_conversations.
    """
    client = host_of(ctx).client
    quoter = Quoter()
    filters = query_of(
        instance=instance,
        agent=agent,
        status=status,
        source=source,
        source_ref=source_ref,
        entity_type=entity_type,
        metadata=metadata,
        created_after=created_after,
        created_before=created_before,
        archived=archived,
    )
    query = replace(
        filters,
        ids=frozenset(ids),
        exclude_source=exclude_source,
        all_users=all_users,
        awaiting=awaiting_me,
        sort=SortKey(sort),
        descending=descending,
        limit=limit,
        cursor=cursor,
    )
    page = await client.conversations.list(query)
    awaiting: dict[str, list[str]] = {}
    for request in await client.runs.pending():
        awaiting.setdefault(request.conversation_id, []).append(request.id)

    def shown_of(found: Conversation) -> ConversationLine:
        return ConversationLine.of(found, quoter, awaiting.get(found.id, ())[:MOST_AWAITING])

    lines = fit(map(shown_of, page.items))
    if len(lines) < len(page.items):  # the cursor behind the last of those that are shown
        page = await client.conversations.list(replace(query, limit=len(lines)))
        lines = list(map(shown_of, page.items))
    return answer(
        ConversationList(
            conversations=lines,
            total=page.total,
            next_cursor=page.next_cursor,
            note=_whence(client, instance, from_index=page.from_index),
        ),
        quoter,
    )


def _whence(client: Client, instance: str | None, *, from_index: bool) -> str | None:
    """Say what a list may lack."""
    if from_index:
        return f"The platform of {instance} has no list: this is what is known here."
    if instance is None and client.remote_instances:
        others = ", ".join(client.remote_instances)
        return f"This is what is known here. These may hold more: {others} (pass one as `instance`)."
    return None


def is_awaited(client: Client, conversation: Conversation, run: Run | None) -> bool:
    """Whether the other side of a conversation waits for a message of the caller's."""
    mine = run is not None and run.status.active and run.agent == client.address
    return mine or conversation.awaiting


def _branch(branch: Branch) -> str:
    begun = time_shown(branch.created_at)
    instead = f", instead of {branch.parted_from}" if branch.parted_from else ""
    return f"{branch.id}{instead}" + (f", since {begun}" if begun else "")


def _left_out(count: int, what: str) -> list[str]:
    return [f"{count - MOST_SHOWN} {what} are not shown."] if count > MOST_SHOWN else []


async def _recent_events(client: Client, conversation_id: str, last_seq: int) -> EventPage:
    start = await client.conversations.cursor(conversation_id, max(0, last_seq - RECENT_EVENTS))
    return await client.conversations.events(conversation_id, cursor=start)


BROWSING_TOOLS = tuple(
    Definition(
        function=function,
        title=title,
        toolset=Toolset.BROWSE,
        read_only=True,
        idempotent=True,
        open_world=True,
    )
    for function, title in (
        (get_conversation, "Show a conversation"),
        (list_conversations, "List conversations"),
    )
)
