"""The tools that show conversations: one conversation, or a list of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import Field

from tertulia.client import Client
from tertulia.vocabulary.models import Conversation, Excerpt, Page, SortKey
from tertulia_tools.arguments import (
    ID_OR_URI,
    AgentFilter,
    Archived,
    ConversationFilters,
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
)
from tertulia_tools.conversation_sections import ConversationResult, conversation_result
from tertulia_tools.definition import Toolset, read_only_tool
from tertulia_tools.host import host_of
from tertulia_tools.quotes import Quoter
from tertulia_tools.results import ConversationLine, Result, answer, count_of, fit

MAX_AWAITING = 5
"""How many ids of pending requests a list shows for each conversation."""


class ConversationList(Result):
    """A page of conversations."""

    conversations: list[ConversationLine]
    total: int | None = None
    next_cursor: str | None = None
    note: str | None = None

    def lines(self) -> Sequence[str]:
        """Return the lines of the text form."""
        lines = [self.note] if self.note else []
        if not self.conversations:
            return [*lines, "No conversation matches."]
        if self.total is not None:
            part = "" if len(self.conversations) == self.total else f"{len(self.conversations)} of "
            lines.append(part + count_of(self.total, "conversation"))
        lines += [f"More: cursor {self.next_cursor}"] if self.next_cursor else []
        return [*lines, *(conversation.line() for conversation in self.conversations)]


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
    cursor: Annotated[
        str | None, Field(description="With requests: reads on in the arguments of a long one.")
    ] = None,
) -> Annotated[CallToolResult, ConversationResult]:
    """Show one conversation: its state, title, agent, metadata and newest run; on demand its messages and more."""
    client = host_of(ctx).client
    quoter = Quoter()
    return answer(await conversation_result(client, conversation_id, include, quoter, cursor), quoter)


async def list_conversations(
    ctx: Context[Any, Any],
    instance: Instance = None,
    ids: Annotated[list[Annotated[str, ID_OR_URI]], Field(description="Only these.")] = [],  # noqa: B006 - pydantic copies it
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
    filters = ConversationFilters(
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
        filters.query(),
        ids=frozenset(ids),
        exclude_source=exclude_source,
        all_users=all_users,
        awaiting=awaiting_me,
        sort=SortKey(sort),
        descending=descending,
        limit=limit,
        cursor=cursor,
    )
    page, excerpts = await client.conversations.list_with_excerpts(query)

    def line_of(conversation: Conversation) -> ConversationLine:
        excerpt = excerpts.get(conversation.id, Excerpt())
        return ConversationLine.of(conversation, quoter, excerpt, excerpt.requests[:MAX_AWAITING])

    lines = fit(map(line_of, page.items))
    if len(lines) < len(page.items):  # read again, for the cursor after the last one that fits
        page = await client.conversations.list(replace(query, limit=len(lines)))
        lines = list(map(line_of, page.items))
    return answer(
        ConversationList(
            conversations=lines,
            total=page.total,
            next_cursor=page.next_cursor,
            note=_note(client, instance, page),
        ),
        quoter,
    )


def _note(client: Client, instance: str | None, page: Page[Conversation]) -> str | None:
    """Return notes on how many there are, where they are too many to be counted, and on what the list may lack."""
    notes = [] if page.more_than is None else [f"More than {page.more_than:,} match."]
    if page.from_index:
        notes.append(f"The platform of {instance} has no list: this is what is known here.")
    elif instance is None and client.remote_instances:
        others = ", ".join(client.remote_instances)
        notes.append(f"This is what is known here. These may hold more: {others} (pass one as `instance`).")
    return " ".join(notes) or None


CONVERSATION_TOOLS = (
    read_only_tool(get_conversation, "Show a conversation", Toolset.BROWSE),
    read_only_tool(list_conversations, "List conversations", Toolset.BROWSE, admin_arguments=["all_users"]),
)
