"""The tools that change conversations: title and metadata, state, deletion."""

from collections.abc import Sequence
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import Field

from tertulia.vocabulary.models import Conversation, ConversationChanges
from tertulia.vocabulary.states import TRANSITIONS, Status
from tertulia_tools.answering import ConversationId, IdempotencyKey
from tertulia_tools.browsing import StatusName
from tertulia_tools.definition import Definition, Toolset
from tertulia_tools.hosting import host_of
from tertulia_tools.quoting import Quoter
from tertulia_tools.results import MAX_JSON, Result, answer, compact


class Changed(Result):
    """A conversation after a change."""

    conversation_id: str
    status: str
    title: str | None = None
    archived: bool
    metadata: str | None = Field(default=None, description="JSON.")
    next: str | None = None

    def lines(self) -> Sequence[str]:
        """Return the result's text, line by line."""
        parts = [self.conversation_id, self.status, self.title or "(no title)"]
        lines = [" · ".join(parts) + (" · archived" if self.archived else "")]
        lines += [f"Metadata: {self.metadata}"] if self.metadata else []
        return [*lines, f"Next: {self.next}"] if self.next else lines


class Deleted(Result):
    """A conversation that is gone."""

    conversation_id: str
    status: str = "deleted"

    def lines(self) -> Sequence[str]:
        """Return the result's text, line by line."""
        return [f"{self.conversation_id} is deleted, with its messages and events."]


async def update_conversation(
    ctx: Context[Any, Any],
    conversation_id: ConversationId,
    title: Annotated[str | None, Field(description="A new title: up to 200 characters, one line.")] = None,
    metadata: Annotated[
        dict[str, Any] | None, Field(description="Merged key by key into what is there; null removes a key.")
    ] = None,
    archived: Annotated[bool | None, Field(description="true puts it away, false brings it back.")] = None,
    idempotency_key: IdempotencyKey = None,
) -> Annotated[CallToolResult, Changed]:
    """Change a conversation's title (rename), its metadata (tags, labels), or archive it."""
    changes = ConversationChanges(title=title, metadata=metadata, archived=archived)
    conversations = host_of(ctx).conversations
    return _changed(await conversations.update(conversation_id, changes, idempotency_key=idempotency_key))


async def update_status(
    ctx: Context[Any, Any],
    conversation_id: ConversationId,
    status: Annotated[
        StatusName, Field(description="completed ends it well; canceled, rejected, failed end it.")
    ],
    reason: Annotated[str | None, Field(description="Why; kept with the change.")] = None,
    idempotency_key: IdempotencyKey = None,
) -> Annotated[CallToolResult, Changed]:
    """Move a conversation to another state: complete, close, end, pause, reopen, cancel or reject it.

    submitted: open, rejected, canceled, failed. open: paused, input_required, completed, failed, canceled. paused and
    input_required: open, completed, failed, canceled. The others are final. An ending stops what is being answered.
    """
    conversations = host_of(ctx).conversations
    conversation = await conversations.update_status(
        conversation_id, Status(status), reason=reason, idempotency_key=idempotency_key
    )
    return _changed(conversation)


async def delete_conversation(
    ctx: Context[Any, Any], conversation_id: ConversationId, idempotency_key: IdempotencyKey = None
) -> Annotated[CallToolResult, Deleted]:
    """Delete a conversation for good, with its messages and events. This cannot be undone; archiving can."""
    await host_of(ctx).conversations.delete(conversation_id, idempotency_key=idempotency_key)
    return answer(Deleted(conversation_id=conversation_id), Quoter())


def _changed(conversation: Conversation) -> CallToolResult:
    quoter = Quoter()
    following = sorted(TRANSITIONS[conversation.status])
    result = Changed(
        conversation_id=conversation.id,
        status=conversation.status,
        title=None if conversation.title is None else quoter.line(conversation.title),
        archived=conversation.archived,
        metadata=quoter.quote(compact(conversation.metadata), MAX_JSON) if conversation.metadata else None,
        next=f"it can become {', '.join(following)}." if following else f"{conversation.status} is final.",
    )
    return answer(result, quoter)


MANAGING_TOOLS = (
    Definition(
        function=update_conversation,
        title="Change a conversation",
        toolset=Toolset.MANAGE,
        idempotent=True,
        open_world=True,
    ),
    Definition(
        function=update_status,
        title="Change a conversation's state",
        toolset=Toolset.MANAGE,
        destructive=True,
        open_world=True,
    ),
    Definition(
        function=delete_conversation,
        title="Delete a conversation",
        toolset=Toolset.MANAGE,
        destructive=True,
        idempotent=True,
        open_world=True,
    ),
)
