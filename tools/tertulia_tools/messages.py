"""The tools that list, add, change and rate messages."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import BaseModel, Field

from tertulia.client import Client
from tertulia.vocabulary.identifiers import COUNT, Shape, page_cursor, read_page_cursor
from tertulia.vocabulary.models import Message, MessageChanges, MessageDraft, MessageQuery, Page, Rating, Role
from tertulia_tools.arguments import (
    ConversationId,
    Cursor,
    Data,
    IdempotencyKey,
    JsonObject,
    MessageId,
    MessageMetadata,
    ParentId,
    RoleName,
)
from tertulia_tools.definition import ToolDefinition, Toolset, read_only_tool
from tertulia_tools.host import Host, host_of, possible
from tertulia_tools.quotes import Quoter, fitting_length
from tertulia_tools.results import (
    MAX_ITEMS,
    MAX_JSON,
    Result,
    answer,
    compact,
    count_of,
    fit,
    format_time,
    join_parts,
    quote_feedback,
)
from tertulia_tools.sources import with_sources

MAX_PAGE = 100
_PLACE: Shape = [str | None, COUNT, COUNT]
"""What a cursor holds: see `message_page`."""
"""The most messages of a page; what there is room for usually ends it before."""
MAX_NAMED_BRANCHES = 5
MESSAGE_OVERHEAD = 400
"""The most characters that a message takes beside its text."""


class MessageView(BaseModel):
    """A message in a result."""

    message_id: str
    author: str
    role: str
    at: str | None = None
    type: str | None = None
    text: str | None = None
    data: str | None = Field(default=None, description="JSON.")
    metadata: str | None = Field(default=None, description="JSON.")
    rating: int | None = None
    feedback: str | None = None
    parent_id: str | None = Field(default=None, description="Where that is not the message before.")

    def line(self) -> str:
        """Return the message below its heading, as the text form shows it."""
        heading = join_parts(self.message_id, self.type, f"{self.author} ({self.role})", self.at)
        about = [
            f"Metadata: {self.metadata}" if self.metadata else None,
            f"Rated {self.rating}" if self.rating else None,
            self.feedback,
            f"Follows {self.parent_id}" if self.parent_id else None,
        ]
        return "\n".join(part for part in (heading, self.text, self.data, *about) if part)


class MessageList(Result):
    """A page of messages."""

    conversation_id: str
    messages: list[MessageView]
    total: int | None = None
    next_cursor: str | None = None
    note: str | None = None

    def lines(self) -> Sequence[str]:
        """Return the lines of the text form."""
        total = None if self.total is None else count_of(self.total, "message")
        lines = [join_parts(self.conversation_id, total)]
        lines += [f"More: cursor {self.next_cursor}"] if self.next_cursor else []
        lines += [self.note] if self.note else []
        return [*lines, *(message.line() for message in self.messages)]


class MessageResult(Result):
    """A message after a change. It shows the first words only, since the caller knows the message."""

    conversation_id: str
    message_id: str
    text: str | None = Field(default=None, description="Its first words.")
    metadata: str | None = Field(default=None, description="JSON.")
    rating: int | None = None
    feedback: str | None = None
    branch: str | None = None
    next: str | None = None

    def lines(self) -> Sequence[str]:
        """Return the lines of the text form."""
        return [
            join_parts(self.conversation_id, f"branch {self.branch}" if self.branch else None),
            *([f"Next: {self.next}"] if self.next else []),
            join_parts(
                self.message_id,
                self.text,
                f"metadata {self.metadata}" if self.metadata else None,
                f"rated {self.rating}" if self.rating else None,
                self.feedback,
            ),
        ]


async def list_messages(
    ctx: Context[Any, Any],
    conversation_id: ConversationId,
    branch: Annotated[
        str | None,
        Field(description="From get_conversation (include branches); the one written on last, if left out."),
    ] = None,
    limit: Annotated[
        int, Field(ge=1, le=100, description="1 to 100 (default); as many as there is room for.")
    ] = MAX_PAGE,
    cursor: Cursor = None,
) -> Annotated[CallToolResult, MessageList]:
    """Read the messages of a conversation (transcript, history), oldest first, in pages; long ones in several."""
    quoter = Quoter()
    page = await message_page(
        host_of(ctx).client, conversation_id, quoter, branch=branch, limit=limit, cursor=cursor
    )
    return answer(page, quoter)


async def message_page(
    client: Client,
    conversation_id: str,
    quoter: Quoter,
    *,
    branch: str | None = None,
    limit: int = MAX_PAGE,
    cursor: str | None = None,
) -> MessageList:
    """Return a page of messages, oldest first. A message that is longer than a page comes in parts.

    The cursor of a page holds the client's cursor, the offset in the text of the first message, and how many messages
    came before it.
    """
    identity = {"list_messages": conversation_id} | ({} if branch is None else {"branch": branch})
    start, offset, before = (None, 0, 0) if cursor is None else read_page_cursor(cursor, identity, _PLACE)

    async def read(count: int) -> Page[Message]:
        query = MessageQuery(cursor=start, limit=count, branch=branch)
        page = await client.messages.list(conversation_id, query)
        return replace(page, items=list(map(with_sources, page.items)))

    page = await read(1 if offset else limit)
    messages = [] if offset else fit(message_views(page.items, quoter))
    if len(messages) < len(page.items):  # read again, for the cursor after the last one that fits
        page = await read(max(1, len(messages)))
    shown = before + max(1, len(messages))
    following: list[Any] | None = None if page.next_cursor is None else [page.next_cursor, 0, shown]
    notes: list[str] = []
    if not messages and page.items:
        text = page.items[0].text or ""
        room = MAX_ITEMS - MAX_JSON - MESSAGE_OVERHEAD
        end = offset + fitting_length(text[offset : offset + MAX_ITEMS], room)
        messages = [message_view(replace(page.items[0], text=text[offset:end]), quoter)]
        notes.append(f"Characters {offset + 1:,} to {end:,} of the {len(text):,} of this message.")
        if end < len(text):
            following = [start, end, before]
    if following is not None and page.total is not None and (left := page.total - following[2]) > 0:
        notes.append(f"{count_of(left, 'message')} more: read on with the cursor.")
    if page.branched and cursor is None and branch is None:
        notes += await _note_on_branches(client, conversation_id)
    return MessageList(
        conversation_id=conversation_id,
        messages=messages,
        total=page.total,
        next_cursor=None if following is None else page_cursor(identity, following),
        note=" ".join(notes) or None,
    )


async def _note_on_branches(client: Client, conversation_id: str) -> Sequence[str]:
    """Return a note on the other branches of a conversation in the store."""
    others = [branch.id for branch in await client.conversations.branches(conversation_id)]
    if len(others) < 2:
        return ()
    named = ", ".join(others[-MAX_NAMED_BRANCHES:])
    return [
        f"It has {len(others)} branches ({named}): this is the one written on last, and list_messages with branch"
        " reads another."
    ]


def message_views(
    messages: Sequence[Message], quoter: Quoter, limit: int | None = None
) -> Iterator[MessageView]:
    """Yield the views of consecutive messages, with each text cut to `limit`."""
    previous_id = messages[0].parent_id if messages else None
    for message in messages:
        yield message_view(message, quoter, limit, previous_id=previous_id)
        previous_id = message.id


def message_view(
    message: Message, quoter: Quoter, limit: int | None = None, *, previous_id: str | None = None
) -> MessageView:
    """Return the view of a message, with its text cut to `limit`; `previous_id` is the message shown before it."""
    message = with_sources(message)
    return MessageView(
        message_id=quoter.name(message.id),
        author=quoter.name(message.author),
        role=message.role,
        at=format_time(message.created_at),
        type=quoter.optional_name(message.type),
        text=None if message.text is None else quoter.quote(message.text, limit),
        data=None if message.data is None else quoter.quote(compact(message.data), MAX_JSON),
        metadata=quoter.quote(compact(message.metadata), MAX_JSON) if message.metadata else None,
        rating=None if message.rating is None else message.rating.value,
        feedback=quote_feedback(message.rating, quoter),
        parent_id=None if message.parent_id == previous_id else quoter.optional_name(message.parent_id),
    )


async def add_message(
    ctx: Context[Any, Any],
    conversation_id: ConversationId,
    text: Annotated[str | None, Field(description="What it says.")] = None,
    data: Data = None,
    role: Annotated[RoleName, Field(description="Whose voice it is: user by default.")] = "user",
    type: Annotated[str | None, Field(description="A kind of message that the platform knows.")] = None,
    parent_id: ParentId = None,
    metadata: MessageMetadata = None,
    idempotency_key: IdempotencyKey = None,
) -> Annotated[CallToolResult, MessageResult]:
    """Add a message to a conversation without having it answered (append, note, import).

    send_message has one answered.
    """
    draft = MessageDraft(
        text=text, data=data, role=Role(role), type=type, parent_id=parent_id, metadata=metadata or {}
    )
    host = host_of(ctx)
    message = await host.client.messages.add(conversation_id, draft, idempotency_key=idempotency_key)
    return _changed_message(host, message, "send_message goes on behind it, and has that answered.")


async def update_message(
    ctx: Context[Any, Any],
    conversation_id: ConversationId,
    message_id: MessageId,
    text: Annotated[
        str | None, Field(description="A new text. Where the platform has branches, this begins one.")
    ] = None,
    metadata: Annotated[
        JsonObject | None, Field(description="Merged key by key into what is there; null removes a key.")
    ] = None,
    idempotency_key: IdempotencyKey = None,
) -> Annotated[CallToolResult, MessageResult]:
    """Change a message's text (edit, correct) or its metadata. The old text stays readable on its branch."""
    changes = MessageChanges(text=text, metadata=metadata)
    host = host_of(ctx)
    changed = await host.client.messages.update(
        conversation_id, message_id, changes, idempotency_key=idempotency_key
    )
    next_step = "list_messages shows the conversation with it."
    if changed.id != message_id:
        next_step = (
            f"it is {changed.id} now, on a branch of its own; send_message goes on behind it; get_conversation"
            " (include branches) shows the others."
        )
    return _changed_message(host, changed, next_step)


async def rate_message(
    ctx: Context[Any, Any],
    conversation_id: ConversationId,
    message_id: MessageId,
    rating: Annotated[int, Field(ge=1, le=5, description="1 (poor) to 5 (excellent).")],
    feedback: Annotated[str | None, Field(description="Why.")] = None,
    idempotency_key: IdempotencyKey = None,
) -> Annotated[CallToolResult, MessageResult]:
    """Rate a message from 1 to 5, with feedback (thumbs up, score an answer). The last rating counts."""
    host = host_of(ctx)
    rated = await host.client.messages.rate(
        conversation_id,
        message_id,
        Rating(value=rating, feedback=feedback),
        idempotency_key=idempotency_key,
    )
    return _changed_message(host, rated, "get_analytics counts it in.")


def _changed_message(host: Host, message: Message, next_step: str) -> CallToolResult:
    quoter = Quoter()
    said = message.text or (compact(message.data) if message.data is not None else None)
    result = MessageResult(
        conversation_id=message.conversation_id,
        message_id=quoter.name(message.id),
        text=quoter.optional_line(said),
        metadata=quoter.quote(compact(message.metadata), MAX_JSON) if message.metadata else None,
        rating=None if message.rating is None else message.rating.value,
        feedback=quote_feedback(message.rating, quoter),
        branch=quoter.optional_name(message.branch),
        next=possible(host, next_step),
    )
    return answer(result, quoter)


MESSAGE_LIST_TOOLS = (read_only_tool(list_messages, "Read messages", Toolset.BROWSE),)
MESSAGE_CHANGE_TOOLS = (
    ToolDefinition(function=add_message, title="Add a message", toolset=Toolset.MANAGE),
    ToolDefinition(function=update_message, title="Change a message", toolset=Toolset.MANAGE),
    ToolDefinition(function=rate_message, title="Rate a message", toolset=Toolset.MANAGE, idempotent=True),
)
