"""The tools that hold a conversation: create, send, follow, settle a request, cancel a run."""

import re
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, InputRequiredResult
from pydantic import Field

from tertulia.vocabulary.errors import InvalidInputError, NotFoundError
from tertulia.vocabulary.models import (
    Channel,
    Decision,
    MessageDraft,
    NewConversation,
    ParticipantRole,
    Role,
    Sent,
    SentAs,
    Settlement,
)
from tertulia.vocabulary.states import RequestStatus
from tertulia.vocabulary.untrusted import shown
from tertulia_tools.approvals import check_seen
from tertulia_tools.arguments import (
    ID_OR_URI,
    ConversationId,
    Data,
    IdempotencyKey,
    JsonObject,
    MessageMetadata,
    ParentId,
    ParticipantRoleName,
    RoleName,
)
from tertulia_tools.definition import ToolDefinition, Toolset, read_only_tool
from tertulia_tools.event_pages import StreamResult, stream
from tertulia_tools.host import host_of, possible
from tertulia_tools.quotes import Quoter
from tertulia_tools.results import answer as result_of
from tertulia_tools.run_reports import RunReport, WaitSeconds, run_and_wait, run_report

Agent = Annotated[str, Field(description="Who answers: an address from list_agents, like local:archivist.")]
_REQUEST_ID = re.compile("req_[0-9a-z]{1,40}")


async def create_conversation(
    ctx: Context[Any, Any],
    agent: Agent,
    title: Annotated[str | None, Field(description="Up to 200 characters, one line.")] = None,
    metadata: Annotated[
        JsonObject | None, Field(description="Keys and values of your own, kept with it.")
    ] = None,
    context: Annotated[
        JsonObject | None, Field(description="What the agent should know, where its platform takes it.")
    ] = None,
    entity_type: Annotated[
        Literal["user", "lead"] | None, Field(description="Whom the agent talks with: a user, or a lead.")
    ] = None,
    source: Annotated[str | None, Field(description="Where it comes from, like website.")] = None,
    source_ref: Annotated[str | None, Field(description="What it belongs to there, like a ticket.")] = None,
    participants: Annotated[
        dict[str, ParticipantRoleName] | None,
        Field(description="Who else takes part, by address: observer (reads) or mediator (writes, invites)."),
    ] = None,
    message: Annotated[
        str | None, Field(description="The first message. With it, this waits for the answer.")
    ] = None,
    wait_seconds: WaitSeconds = None,
    idempotency_key: IdempotencyKey = None,
) -> Annotated[CallToolResult, RunReport] | InputRequiredResult:
    """Create a conversation (thread, chat session) with an agent, with title and metadata, and send its first message.

    To just ask something, send_message with an agent is enough.
    """
    host = host_of(ctx)
    new = NewConversation(
        agent=agent,
        title=title,
        metadata=metadata,
        context=context,
        entity_type=entity_type,
        source=source,
        source_ref=source_ref,
        participants={address: ParticipantRole(role) for address, role in (participants or {}).items()},
    )
    if message is None:
        conversation = await host.client.conversations.create(new, idempotency_key=idempotency_key)
        created = RunReport(
            conversation_id=conversation.id,
            status=conversation.status,
            next=possible(host, "send_message with this conversation_id."),
        )
        return result_of(created, Quoter())

    async def begin(wait: bool) -> Sent:
        first = MessageDraft(text=message)
        return await host.client.runs.start(new, first, wait=wait, idempotency_key=idempotency_key)

    return await run_and_wait(host, begin, wait_seconds)


async def send_message(
    ctx: Context[Any, Any],
    text: Annotated[str | None, Field(description="The message, up to 1 MiB of text.")] = None,
    conversation_id: Annotated[
        str | None, ID_OR_URI, Field(description="The conversation to go on with.")
    ] = None,
    agent: Annotated[
        str | None, Field(description="Starts a new one with this agent; or who answers, where several can.")
    ] = None,
    data: Data = None,
    type: Annotated[str | None, Field(description="A kind of message that the platform knows.")] = None,
    role: Annotated[RoleName, Field(description="Whose voice it is: user by default.")] = "user",
    parent_id: ParentId = None,
    metadata: MessageMetadata = None,
    context: Annotated[
        JsonObject | None, Field(description="For this message, where the platform takes it.")
    ] = None,
    wait_seconds: WaitSeconds = None,
    idempotency_key: IdempotencyKey = None,
) -> Annotated[CallToolResult, RunReport] | InputRequiredResult:
    """Send a message to another agent and wait for its answer (ask, reply, chat, delegate).

    Give either conversation_id, or agent to start a new conversation. Returns the answer, or what there is of it when
    the time is up, or a request that needs approval (see confirm_tool); nothing is lost, and stream_conversation goes
    on. Repeating the identical call while it is unanswered does not send it twice. Where others wait for you
    (list_conversations, awaiting_me), it is your answer.
    """
    host = host_of(ctx)
    draft = MessageDraft(
        text=text,
        data=data,
        type=type,
        role=Role(role),
        parent_id=parent_id,
        metadata=metadata or {},
        context=context,
        agent=None if conversation_id is None else agent,
    )
    if conversation_id is None and agent is None:
        raise InvalidInputError(
            "Give either `conversation_id` or `agent`.",
            hint="list_agents shows the agents, list_conversations the conversations.",
        )

    async def begin(wait: bool) -> Sent:
        if conversation_id is not None:
            return await host.client.runs.send(
                conversation_id, draft, wait=wait, idempotency_key=idempotency_key
            )
        assert agent is not None
        return await host.client.runs.start(
            NewConversation(agent=agent), draft, join=True, wait=wait, idempotency_key=idempotency_key
        )

    return await run_and_wait(host, begin, wait_seconds)


async def stream_conversation(
    ctx: Context[Any, Any],
    conversation_id: ConversationId,
    cursor: Annotated[
        str | None, Field(description="From an earlier result; from the beginning, if left out.")
    ] = None,
    wait_seconds: WaitSeconds = None,
) -> Annotated[CallToolResult, StreamResult] | InputRequiredResult:
    """Read what happened in a conversation after a cursor, and wait for more: follow, poll or resume an answer.

    Returns at the end of the answer, at the first request that needs approval, or when the time is up. Reports progress
    meanwhile. Works for answers that another process began, and after a restart.
    """
    return await stream(host_of(ctx), conversation_id, cursor, wait_seconds)


async def confirm_tool(
    ctx: Context[Any, Any],
    request_id: Annotated[str, Field(description="From a pending request, like req_….")],
    decision: Annotated[
        Literal["approve", "reject", "answer"],
        Field(description="approve or reject a tool; answer (or reject) a question."),
    ],
    reason: Annotated[str | None, Field(description="Why; the other agent is told.")] = None,
    answer: Annotated[str | None, Field(description="The answer to a question.")] = None,
    arguments: Annotated[
        JsonObject | None,
        Field(description="Run the tool with these arguments instead, where the platform allows it."),
    ] = None,
    digest: Annotated[
        str | None, Field(description="Of long arguments, as get_conversation (include requests) gives it.")
    ] = None,
    wait_seconds: WaitSeconds = None,
    idempotency_key: IdempotencyKey = None,
) -> Annotated[CallToolResult, RunReport] | InputRequiredResult:
    """Approve or reject a tool that another agent wants to run, or answer its question; then wait for its answer.

    Ask your user before approving: the tool runs with their rights. Settles exactly the request that was shown.
    """
    host = host_of(ctx)
    if not _REQUEST_ID.fullmatch(request_id):
        raise NotFoundError(
            f"There is no request {shown(request_id)}: its id looks like `req_7k2mq9x4ab1c3d5e`.",
            hint="list_conversations (awaiting_me) shows what awaits a decision.",
        )

    async def begin(_wait: bool) -> Sent:
        settlement = Settlement(
            decision=Decision(decision),
            reason=reason,
            answer=answer,
            arguments=arguments,
            channel=Channel.HOST,
        )
        request = await host.client.runs.request(request_id)
        if arguments is None:
            check_seen(request, settlement.decision, digest)
        run = await host.client.runs.respond(request_id, settlement, idempotency_key=idempotency_key)
        conversation = await host.client.conversations.get_stored(run.conversation_id)
        pending = request.status is RequestStatus.PENDING
        return Sent(conversation=conversation, run=run, sent_as=SentAs.BEGUN if pending else SentAs.SETTLED)

    return await run_and_wait(host, begin, wait_seconds)


async def cancel_run(
    ctx: Context[Any, Any], conversation_id: ConversationId, idempotency_key: IdempotencyKey = None
) -> Annotated[CallToolResult, RunReport]:
    """Stop the answer that is being produced in a conversation (cancel, abort, interrupt). What came of it stays."""
    host = host_of(ctx)
    run = await host.client.runs.cancel(conversation_id, idempotency_key=idempotency_key)
    quoter = Quoter()
    return result_of(run_report(host, await host.client.runs.result(run), quoter), quoter)


RUN_TOOLS = (
    ToolDefinition(function=create_conversation, title="Create a conversation", toolset=Toolset.TALK),
    ToolDefinition(
        function=send_message,
        title="Send a message",
        toolset=Toolset.TALK,
        meta={"anthropic/alwaysLoad": True},
    ),
    read_only_tool(stream_conversation, "Follow a conversation", Toolset.TALK),
    ToolDefinition(
        function=confirm_tool,
        title="Approve or reject a tool",
        toolset=Toolset.TALK,
        destructive=True,
        meta={"anthropic/requiresUserInteraction": True},
    ),
    ToolDefinition(
        function=cancel_run,
        title="Stop an answer",
        toolset=Toolset.TALK,
        destructive=True,
        idempotent=True,
    ),
)
