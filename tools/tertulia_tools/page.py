"""The tools of the page: `show_conversation`, which shows it in a host, and those that the page itself calls.

The page is for people, so that it gets texts as they were written, without marks, and requests as a whole. These stand
in the `_meta` of results only, which hosts do not hand to a model; what they may hand on reads like any other result.
Tools of the page wait for news, but ask the person nothing: the page does that.
"""

import hmac
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import anyio
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, TextContent
from pydantic import BaseModel, Field

from tertulia.client import Client
from tertulia.resources.conversations import EventPage
from tertulia.vocabulary.errors import NotAllowedError, TertuliaError
from tertulia.vocabulary.events import EventKind, JournalEntry
from tertulia.vocabulary.identifiers import digest
from tertulia.vocabulary.message_types import ARCHIVIST_TYPES
from tertulia.vocabulary.models import (
    Conversation,
    ConversationQuery,
    Decision,
    Message,
    MessageQuery,
    Request,
    RequestKind,
    SearchHit,
    SearchQuery,
    Settlement,
)
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.untrusted import clean_text, escaped, one_line
from tertulia_tools.approvals import digest_of
from tertulia_tools.arguments import ID_OR_URI, ConversationId, Cursor, IdempotencyKey, StatusName
from tertulia_tools.definition import ToolDefinition, Toolset, read_only_tool
from tertulia_tools.event_pages import wait_for_news
from tertulia_tools.host import Host, host_of
from tertulia_tools.quotes import Quoter
from tertulia_tools.results import Result, format_time
from tertulia_tools.results import answer as answer_of

PAGE_URI = "ui://tertulia/conversations"
"""The resource that a host shows; it is the file of the page."""
VIEW = "tertulia/view"
"""Where `_meta` has what the page shows."""
MAX_WAIT = 20
"""Hosts give a call of a page some seconds less than one of a model."""
MAX_LISTED = 50
MAX_TEXT = 50_000
"""The most characters of one message that the page gets."""
MAX_DATA = 10_000
"""And of its structured part."""
MAX_REPLY = 1_000_000
"""The most characters of an answer that is being written."""
MAX_REQUEST = 200_000
"""The longest request that the page shows, and then as a whole: a longer one cannot be decided on it."""
MAX_LINE = 300

_MESSAGES_CHANGED = frozenset(
    {
        EventKind.MESSAGE_ADDED,
        EventKind.MESSAGE_UPDATED,
        EventKind.MESSAGE_REMOVED,
        EventKind.RUN_STARTED,
        EventKind.RUN_FINISHED,
        EventKind.RUN_ERROR,
        EventKind.RUN_CANCELED,
        EventKind.RUN_INTERRUPTED,
    }
)
"""The kinds after which the page needs the messages again; else the answer that is being written is enough."""

View = dict[str, Any]


class PageResult(Result):
    """What a model reads where a host hands it a result that was meant for the page."""

    note: str = "For Tertulia's page alone."

    def lines(self) -> Sequence[str]:
        """Return the line of the text form."""
        return [self.note]


class Shown(BaseModel):
    """What a model reads of a conversation that its user sees: each word of it stands in every list of tools."""

    conversation_id: str


async def show_conversation(
    ctx: Context[Any, Any], conversation_id: Annotated[str, ID_OR_URI, Field(description="Its id.")]
) -> Annotated[CallToolResult, Shown]:
    """Show your user a conversation on a page, with Approve and Reject."""
    conversation = await host_of(ctx).client.conversations.get_stored(conversation_id)
    shown = Shown(conversation_id=conversation.id).model_dump()
    return CallToolResult(content=[TextContent(type="text", text=conversation.id)], structured_content=shown)


async def view_conversations(
    ctx: Context[Any, Any],
    query: Annotated[str | None, Field(description="Search everything for these words.")] = None,
    status: Annotated[StatusName | None, Field(description="Only in this state.")] = None,
    agent: Annotated[str | None, Field(description="Only with this agent.")] = None,
    archived: Annotated[bool, Field(description="true: only archived ones; false by default.")] = False,
    cursor: Cursor = None,
) -> Annotated[CallToolResult, PageResult]:
    """List or search conversations for the page; what awaits a person comes first."""
    client = host_of(ctx).client
    if query:
        search = SearchQuery(text=query, agent=agent, cursor=cursor, exclude_types=ARCHIVIST_TYPES, limit=25)
        found = await client.search.messages(search)
        return _viewed(
            {
                "hits": [_hit(hit) for hit in found.hits],
                "total": found.total,
                "suggestion": found.suggestion and one_line(found.suggestion),
                "next_cursor": found.next_cursor,
            }
        )
    pending = Counter(request.conversation_id for request in await client.runs.pending())
    listed = ConversationQuery(
        agent=agent,
        statuses=frozenset({Status(status)} if status else ()),
        archived=archived,
        limit=MAX_LISTED,
        cursor=cursor,
    )
    page = await client.conversations.list(listed)
    waiting = await client.conversations.list(
        ConversationQuery(awaiting=True, archived=None, limit=MAX_LISTED)
    )
    return _viewed(
        {
            "awaiting": [_conversation(each, pending) for each in waiting.items],
            "awaiting_total": waiting.total,
            "conversations": [_conversation(each, pending) for each in page.items],
            "total": page.total,
            "next_cursor": page.next_cursor,
        }
    )


async def view_conversation(
    ctx: Context[Any, Any],
    conversation_id: ConversationId,
    cursor: Annotated[
        str | None, Field(description="From the view before: what has changed since; waits for it.")
    ] = None,
    before: Annotated[str | None, Field(description="From a view: the messages before its first.")] = None,
    wait_seconds: Annotated[
        float, Field(ge=0, le=MAX_WAIT, description="0 to 20 seconds; 0 by default.")
    ] = 0,
) -> Annotated[CallToolResult, PageResult]:
    """Read a conversation for the page, or what has changed in it."""
    host = host_of(ctx)
    client = host.client
    if before is not None:
        return _viewed(await _messages(client, conversation_id, before))
    if cursor is None:
        state = await _state(host, conversation_id)
        return _viewed({**state, **await _messages(client, conversation_id)})
    events = await client.conversations.events(conversation_id, cursor=cursor)
    if not events.entries and wait_seconds:
        with host.wait_scope():
            await wait_for_news(client, conversation_id, cursor, anyio.current_time() + wait_seconds)
        events = await client.conversations.events(conversation_id, cursor=cursor)
    return _viewed(await _news(host, conversation_id, events))


async def view_decide(
    ctx: Context[Any, Any],
    request_id: Annotated[str, Field(description="From a view.")],
    decision: Annotated[Literal["approve", "reject", "answer"], Field(description="The person's.")],
    proof: Annotated[str, Field(description="From the view that showed the request as a whole.")],
    reason: Annotated[str | None, Field(description="Why; the other agent is told.")] = None,
    answer: Annotated[str | None, Field(description="The answer to a question.")] = None,
    idempotency_key: IdempotencyKey = None,
) -> Annotated[CallToolResult, PageResult]:
    """Decide what a person has decided on the page."""
    host = host_of(ctx)
    request = await host.client.runs.request(request_id)
    if not hmac.compare_digest(proof.encode(), _proof(host, request).encode()):
        raise NotAllowedError(
            "Only the page decides here, and only about what it has shown.",
            hint="confirm_tool is for everybody else.",
            request_id=request_id,
        )
    settlement = Settlement(decision=Decision(decision), reason=reason, answer=answer, by_person=True)
    await host.client.runs.respond(request_id, settlement, idempotency_key=idempotency_key)
    return _viewed({})


def _viewed(view: View) -> CallToolResult:
    result = answer_of(PageResult(), Quoter())
    result.meta = {VIEW: view}
    return result


async def _news(host: Host, conversation_id: str, events: EventPage) -> View:
    """Return what the page needs after some events: a piece of the answer, or what they may have changed."""
    entries = events.entries
    if not entries:
        return {"cursor": events.cursor}
    if not events.more and {entry.kind for entry in entries} == {EventKind.TEXT_MESSAGE_CONTENT}:
        pieces = "".join(str(entry.data.get("delta", "")) for entry in entries)
        return {"append": clean_text(pieces), "cursor": events.cursor}
    state: View = {**await _state(host, conversation_id), "doing": _doing(entries)}
    # The state's cursor may stand after events that came since: they count as well.
    since = await host.client.conversations.events(conversation_id, cursor=events.cursor)
    changed = any(entry.kind in _MESSAGES_CHANGED for entry in (*entries, *since.entries))
    if changed or events.more:
        state |= await _messages(host.client, conversation_id)
    return state


async def _state(host: Host, conversation_id: str) -> View:
    """Return all of a conversation but its messages, which are read later than the cursor.

    What happens meanwhile is shown twice at worst, and then read again.
    """
    client = host.client
    conversation = await client.conversations.get_stored(conversation_id)
    run = await client.runs.latest(conversation_id)
    seq, reply, requests = conversation.last_seq, None, ()
    if run is not None and run.status.active:
        outcome = await client.runs.result(run)
        run, seq, requests = outcome.run, outcome.seq, outcome.pending  # it may have ended since
        reply = clean_text(outcome.reply[:MAX_REPLY]) if run.status.active else None
        conversation = await client.conversations.get_stored(conversation_id)  # not older than the cursor
    state: View = {
        "conversation": _conversation(conversation, {conversation_id: len(requests)}),
        "run": None,
        "pending": [_request(host, request, run and run.agent) for request in requests],
        "read_only": view_decide.__name__ in host.withheld,
        "cursor": await client.conversations.cursor(conversation_id, seq),
    }
    if run is not None:
        state["run"] = {
            "status": run.status,
            "agent": run.agent and one_line(run.agent),
            "reply": reply,
            "error": run.error and one_line(run.error),
        }
    return state


async def _messages(client: Client, conversation_id: str, before: str | None = None) -> View:
    """Return the newest messages, oldest first, or those before a cursor; a note where the platform gives none."""
    query = MessageQuery(limit=MAX_LISTED, newest_first=True, cursor=before)
    try:
        page = await client.messages.list(conversation_id, query)
    except TertuliaError as error:
        note = " ".join(part for part in (str(error), error.hint) if part)
        return {"messages": [], "earlier": None, "note": one_line(note)}
    return {
        "messages": [_message(client, message) for message in reversed(page.items)],
        "earlier": page.next_cursor,
    }


def _message(client: Client, message: Message) -> View:
    text = clean_text(message.text or "")
    data = None if message.data is None else _json(message.data)
    return {
        "id": message.id,
        "author": one_line(message.author),
        "own": message.author in {client.address, client.principal},
        "role": message.role,
        "type": message.type and one_line(message.type),
        "text": text[:MAX_TEXT],
        "data": data and data[:MAX_DATA],
        "left_out": max(0, len(text) - MAX_TEXT) + (max(0, len(data) - MAX_DATA) if data else 0),
        "at": format_time(message.created_at),
    }


def _request(host: Host, request: Request, agent: str | None) -> View:
    """Return a request as a whole; one that is too long to be shown like that has no proof."""
    confirmation = request.kind is RequestKind.CONFIRMATION
    arguments = _json(request.arguments) if confirmation else None
    fits = len(arguments or "") + len(request.tool or "") + len(request.prompt) <= MAX_REQUEST
    return {
        "id": request.id,
        "kind": request.kind,
        "agent": agent and one_line(agent),
        "prompt": escaped(request.prompt[:MAX_TEXT]),
        "tool": request.tool and escaped(request.tool[:MAX_TEXT]),
        "arguments": arguments if fits else None,
        "digest": digest_of(request) if confirmation else None,
        "declined": request.declined,
        "proof": _proof(host, request) if fits else None,
    }


def _proof(host: Host, request: Request) -> str:
    """Return what shows that somebody was shown this very request by the page's tools."""
    shown = {"id": request.id, "tool": request.tool, "prompt": request.prompt, "arguments": request.arguments}
    return host.proof(digest(shown))


def _conversation(conversation: Conversation, pending: Mapping[str, int]) -> View:
    return {
        "id": conversation.id,
        "title": conversation.title and one_line(conversation.title)[:MAX_LINE],
        "agent": conversation.agent and one_line(conversation.agent),
        "status": conversation.status,
        "archived": conversation.archived,
        "updated_at": format_time(conversation.updated_at),
        "pending": pending.get(conversation.id, 0),
        "awaiting": conversation.awaiting,
    }


def _hit(hit: SearchHit) -> View:
    return {
        "conversation_id": hit.conversation_id,
        "title": hit.conversation_title and one_line(hit.conversation_title)[:MAX_LINE],
        "message_id": hit.message_id,
        "author": hit.author and one_line(hit.author),
        "snippet": one_line(hit.snippet),
        "at": format_time(hit.at) if hit.at.year > 1 else None,
    }


def _doing(entries: Sequence[JournalEntry]) -> View | None:
    """Return what the agent does beside writing, by the last event that says so."""
    for entry in reversed(entries):
        if entry.kind is EventKind.TOOL_CALL_START:
            return {"tool": one_line(str(entry.data.get("tool", "")))[:MAX_LINE]}
        if entry.kind is EventKind.REASONING:
            return {"tool": None}
        if entry.kind in {EventKind.TOOL_CALL_RESULT, EventKind.TEXT_MESSAGE_CONTENT}:
            return None
    return None


def _json(value: Mapping[str, Any]) -> str:
    """Return a value as JSON in lines, with an escape for each character that nobody sees."""
    return escaped(json.dumps(value, ensure_ascii=False, indent=2))


_FOR_THE_PAGE = {"ui": {"visibility": ["app"]}}
PAGE_TOOLS = (
    read_only_tool(show_conversation, "Show a page", Toolset.PAGE, meta={"ui": {"resourceUri": PAGE_URI}}),
    read_only_tool(view_conversations, "List conversations (page)", Toolset.PAGE, meta=_FOR_THE_PAGE),
    read_only_tool(view_conversation, "Read a conversation (page)", Toolset.PAGE, meta=_FOR_THE_PAGE),
    ToolDefinition(
        function=view_decide,
        title="Decide (page)",
        toolset=Toolset.PAGE,
        destructive=True,
        meta=_FOR_THE_PAGE,
    ),
)
