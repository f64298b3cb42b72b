"""The tools that change a conversation: its properties, its state, or whether it exists."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import Field

from tertulia.client import Client
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.models import Conversation, ConversationChanges, ParticipantRole, Rating
from tertulia.vocabulary.states import TRANSITIONS, Status
from tertulia_tools.arguments import ConversationId, IdempotencyKey, StatusName
from tertulia_tools.definition import ToolDefinition, Toolset
from tertulia_tools.host import host_of
from tertulia_tools.quotes import Quoter
from tertulia_tools.results import (
    MAX_JSON,
    Result,
    answer,
    compact,
    join_parts,
    participant_lines,
    quote_feedback,
)


class ChangedConversation(Result):
    """A conversation after a change."""

    conversation_id: str
    status: str
    title: str | None = None
    archived: bool
    metadata: str | None = Field(default=None, description="JSON.")
    rating: int | None = None
    feedback: str | None = None
    participants: list[str] = []
    next: str | None = None

    def lines(self) -> Sequence[str]:
        """Return the lines of the text form."""
        heading = join_parts(
            self.conversation_id,
            self.status,
            self.title or "(no title)",
            "archived" if self.archived else None,
            f"rated {self.rating}" if self.rating else None,
            self.feedback,
        )
        lines = [f"Next: {self.next}"] if self.next else []
        lines += [f"Participant {participant}" for participant in self.participants]
        lines += [f"Metadata: {self.metadata}"] if self.metadata else []
        return [*lines, heading]


class DeletedConversation(Result):
    """A deleted conversation, or a deleted branch of one."""

    conversation_id: str
    status: str = "deleted"
    branch: str | None = None
    note: str

    def lines(self) -> Sequence[str]:
        """Return the lines of the text form."""
        what = f"The branch {self.branch} of {self.conversation_id}" if self.branch else self.conversation_id
        return [f"{what} is {self.status}. {self.note}"]


async def update_conversation(
    ctx: Context[Any, Any],
    conversation_id: ConversationId,
    title: Annotated[str | None, Field(description="A new title: up to 200 characters, one line.")] = None,
    generate_title: Annotated[
        bool, Field(description="true: have a title made of what was said; false by default.")
    ] = False,
    seed_message: Annotated[
        str | None, Field(description="For generate_title: make it of this text instead.")
    ] = None,
    force: Annotated[
        bool, Field(description="For generate_title: also if there is a title; false by default.")
    ] = False,
    metadata: Annotated[
        dict[str, Any] | None, Field(description="Merged key by key into what is there; null removes a key.")
    ] = None,
    context: Annotated[
        dict[str, Any] | None, Field(description="Merged like metadata, where the platform takes it.")
    ] = None,
    archived: Annotated[bool | None, Field(description="true puts it away, false brings it back.")] = None,
    participants: Annotated[
        dict[str, Literal["observer", "mediator", "none"]] | None,
        Field(description="By address: observer (reads), mediator (writes, invites); none lets one go."),
    ] = None,
    restore: Annotated[
        bool, Field(description="true: bring it back after it was deleted, where its platform can.")
    ] = False,
    idempotency_key: IdempotencyKey = None,
) -> Annotated[CallToolResult, ChangedConversation]:
    """Change a conversation's title (rename, or have one made), metadata (tags), context, participants; archive it."""
    client = host_of(ctx).client
    changes = ConversationChanges(title=title, metadata=metadata, context=context, archived=archived)
    roles = {
        address: None if role == "none" else ParticipantRole(role)
        for address, role in (participants or {}).items()
    }
    if (seed_message is not None or force) and not generate_title:
        raise InvalidInputError(
            "`seed_message` and `force` go with `generate_title`.", valid=["generate_title"]
        )
    if title is not None and generate_title:
        raise InvalidInputError("Give either `title` or `generate_title`.", valid=["title", "generate_title"])
    changed = (title, metadata, context, archived, participants)
    if not (generate_title or restore or any(value is not None for value in changed)):
        raise InvalidInputError(
            "There is nothing to change.",
            valid=["title", "generate_title", "metadata", "context", "archived", "participants", "restore"],
            hint="Give at least one of these.",
        )
    steps: dict[str, Callable[[str | None], Awaitable[object]]] = {}
    if restore:
        steps["restore"] = lambda key: client.conversations.restore(conversation_id, idempotency_key=key)
    if changes != ConversationChanges() or not (restore or generate_title or roles):
        steps["update"] = lambda key: client.conversations.update(
            conversation_id, changes, idempotency_key=key
        )
    if generate_title:
        steps["generate_title"] = lambda key: client.conversations.generate_title(
            conversation_id, seed_message=seed_message, force=force, idempotency_key=key
        )
    if roles:
        steps["invite"] = lambda key: client.conversations.invite(conversation_id, roles, idempotency_key=key)
    for name, take_step in steps.items():
        # A key stands for one change: each of several steps gets a key of its own.
        several = idempotency_key is not None and len(steps) > 1
        await take_step(f"{idempotency_key} {name}" if several else idempotency_key)
    changed = await client.conversations.get_stored(conversation_id)
    return await _changed_conversation(client, changed, show_participants=bool(roles))


async def update_status(
    ctx: Context[Any, Any],
    conversation_id: ConversationId,
    status: Annotated[
        StatusName, Field(description="completed ends it well; canceled, rejected, failed end it.")
    ],
    reason: Annotated[str | None, Field(description="Why; kept with the change.")] = None,
    rating: Annotated[
        int | None, Field(ge=1, le=5, description="With an ending: 1 (poor) to 5 (excellent).")
    ] = None,
    feedback: Annotated[str | None, Field(description="With a rating: what was good or bad.")] = None,
    idempotency_key: IdempotencyKey = None,
) -> Annotated[CallToolResult, ChangedConversation]:
    """Move a conversation to another state: complete, close, end (and rate), pause, reopen, cancel or reject it.

    submitted: open, rejected, canceled, failed. open: paused, input_required, completed, failed, canceled. paused and
    input_required: open, completed, failed, canceled. The others are final. An ending stops what is being answered.
    """
    if feedback is not None and rating is None:
        raise InvalidInputError("`feedback` goes with a `rating` from 1 to 5.", valid=["rating"])
    client = host_of(ctx).client
    conversation = await client.conversations.update_status(
        conversation_id,
        Status(status),
        reason=reason,
        rating=None if rating is None else Rating(value=rating, feedback=feedback),
        idempotency_key=idempotency_key,
    )
    return await _changed_conversation(client, conversation, show_states=True)


async def delete_conversation(
    ctx: Context[Any, Any],
    conversation_id: ConversationId,
    branch: Annotated[str | None, Field(description="Only this branch, from get_conversation.")] = None,
    idempotency_key: IdempotencyKey = None,
) -> Annotated[CallToolResult, DeletedConversation]:
    """Delete a conversation for good, with its messages and events. This cannot be undone; archiving can."""
    client = host_of(ctx).client
    if branch is not None:
        await client.conversations.remove_branch(conversation_id, branch, idempotency_key=idempotency_key)
        note = "Messages that other branches have as well are still there."
    else:
        await client.conversations.delete(conversation_id, idempotency_key=idempotency_key)
        note = "Its messages and events are gone."
        if client.offers(conversation_id, Feature.RESTORE):
            note = "Its platform keeps it: update_conversation (restore) brings it back."
    quoter = Quoter()
    deleted = DeletedConversation(
        conversation_id=conversation_id, branch=quoter.optional_name(branch), note=note
    )
    return answer(deleted, quoter)


async def _changed_conversation(
    client: Client,
    conversation: Conversation,
    *,
    show_participants: bool = False,
    show_states: bool = False,
) -> CallToolResult:
    quoter = Quoter()
    states = sorted(TRANSITIONS[conversation.status])
    following = f"it can become {', '.join(states)}." if states else f"{conversation.status} is final."
    participants = await client.conversations.participants(conversation.id) if show_participants else ()
    result = ChangedConversation(
        conversation_id=conversation.id,
        status=conversation.status,
        title=quoter.optional_line(conversation.title),
        archived=conversation.archived,
        metadata=quoter.quote(compact(conversation.metadata), MAX_JSON) if conversation.metadata else None,
        rating=None if conversation.rating is None else conversation.rating.value,
        feedback=quote_feedback(conversation.rating, quoter),
        participants=participant_lines(participants, quoter),
        next=following if show_states else None,
    )
    return answer(result, quoter)


CONVERSATION_CHANGE_TOOLS = (
    ToolDefinition(
        function=update_conversation,
        title="Change a conversation",
        toolset=Toolset.MANAGE,
        idempotent=True,
    ),
    ToolDefinition(
        function=update_status,
        title="Change a conversation's state",
        toolset=Toolset.MANAGE,
        destructive=True,
    ),
    ToolDefinition(
        function=delete_conversation,
        title="Delete a conversation",
        toolset=Toolset.MANAGE,
        destructive=True,
        idempotent=True,
        admin=True,
    ),
)
