"""The result of `get_conversation`: the state of a conversation, and the sections that the caller asks for."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from tertulia.client import Client
from tertulia.resources.conversations import Standing
from tertulia.vocabulary.errors import ConflictError
from tertulia.vocabulary.identifiers import COUNT, page_cursor, read_page_cursor
from tertulia.vocabulary.models import Branch, Conversation, Excerpt, MessageQuery, Request
from tertulia.vocabulary.resumption import resumption
from tertulia_tools.approvals import arguments_part, digest_of, needs_digest
from tertulia_tools.event_pages import EventLine, newest_event_lines
from tertulia_tools.messages import MESSAGE_OVERHEAD, MessageView, message_views
from tertulia_tools.quotes import Quoter, json_size
from tertulia_tools.results import (
    MAX_REQUESTS,
    PendingRequest,
    Result,
    asked_line,
    compact,
    count_of,
    fit,
    fit_lines,
    format_time,
    join_parts,
    participant_lines,
    pending_requests,
    quote_feedback,
)

MAX_DETAILS = 7_500
"""The share of all sections together, with the metadata and the context."""
MAX_MESSAGES = 10
"""How many messages a result shows at most."""
MIN_MESSAGE_TEXT = 200
"""The fewest characters that each of these messages has for its text."""
MAX_EVENTS = 30
"""How many events a result shows at most."""
ARGUMENTS_OVERHEAD = 1_000
"""The most that a part of a request's arguments takes beside them."""
MAX_BRANCHES = 20
"""How many branches a result shows at most."""


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
    awaiting: str | None = Field(
        default=None, description="The message of yours that the other side waits for."
    )
    pending: list[PendingRequest] = []
    participants: list[str] = []
    branches: list[str] = []
    messages: list[MessageView] = []
    events: list[EventLine] = []
    next_cursor: str | None = Field(default=None, description="Of long arguments of a request.")
    cursor: str | None = Field(default=None, description="For stream_conversation: what follows.")
    note: str | None = None

    def lines(self) -> Sequence[str]:
        """Return the lines of the text form."""
        heading = join_parts(
            self.conversation_id,
            self.status,
            self.title or "(no title)",
            "archived" if self.archived else None,
            f"with {self.agent}" if self.agent else None,
            None if self.message_count is None else count_of(self.message_count, "message"),
            f"created {self.created_at}" if self.created_at else None,
            f"updated {self.updated_at}" if self.updated_at else None,
            f"with a {self.entity_type}" if self.entity_type else None,
            f"from {self.source}" if self.source else None,
            f"reference {self.source_ref}" if self.source_ref else None,
            f"rated {self.rating}" if self.rating else None,
            self.feedback,
            f"awaiting {self.awaiting}" if self.awaiting else None,
        )
        lines = [heading, f"Cursor: {self.cursor}"]
        lines += [self.note] if self.note else []
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
        if self.next_cursor is not None:
            lines.append(
                f"Arguments: get_conversation (include requests, cursor {self.next_cursor}) reads on."
            )
        return [*lines, *(event.line() for event in self.events)]


@dataclass(frozen=True, slots=True)
class SectionSource:
    """What a section reads: the conversation, the quoter of the result, and the section's share of characters."""

    client: Client
    conversation: Conversation
    quoter: Quoter
    share: int
    cursor: str | None


Section = Callable[[ConversationResult, SectionSource], Awaitable[Sequence[str]]]
"""Fills its fields of a result, and returns notes on what it leaves out."""


async def conversation_result(
    client: Client,
    conversation_id: str,
    include: Sequence[str],
    quoter: Quoter,
    cursor: str | None = None,
) -> ConversationResult:
    """Return the result for a conversation, with the sections in `include`."""
    standing = await client.conversations.standing(conversation_id)
    conversation = standing.conversation
    result = _state(standing, quoter)
    documents = bool(conversation.metadata) + bool(conversation.context)
    share = MAX_DETAILS // (len(set(include)) + documents or 1)
    if conversation.metadata:
        result.metadata = quoter.quote(compact(conversation.metadata), share)
    if conversation.context:
        result.context = quoter.quote(compact(conversation.context), share)
    source = SectionSource(client, conversation, quoter, share, cursor)
    resumed_by = resumption(conversation)
    notes = [] if resumed_by is None else [f"Where it came from, it goes on with: {resumed_by}"]
    for name, fill_section in SECTIONS.items():
        if name in include:
            notes += await fill_section(result, source)
    result.note = " ".join(notes) or None
    return result


def _state(standing: Standing, quoter: Quoter) -> ConversationResult:
    """Return the result without any section."""
    conversation, run = standing.conversation, standing.run
    return ConversationResult(
        conversation_id=conversation.id,
        status=conversation.status,
        title=quoter.optional_line(conversation.title),
        agent=quoter.optional_name(conversation.agent),
        archived=True if conversation.archived else None,
        message_count=conversation.message_count,
        created_at=format_time(conversation.created_at),
        updated_at=format_time(conversation.updated_at),
        run_id=None if run is None else run.id,
        run_status=None if run is None else run.status,
        awaiting=_awaited(conversation, standing.excerpt, quoter),
        entity_type=quoter.optional_name(conversation.entity_type),
        source=quoter.optional_name(conversation.source),
        source_ref=quoter.optional_name(conversation.source_ref),
        rating=None if conversation.rating is None else conversation.rating.value,
        feedback=quote_feedback(conversation.rating, quoter),
        cursor=standing.cursor,
    )


async def _fill_participants(result: ConversationResult, source: SectionSource) -> Sequence[str]:
    participants = await source.client.conversations.participants(source.conversation.id)
    result.participants = participant_lines(participants, source.quoter, source.share)
    return _left_out(len(participants) - len(result.participants), "participants")


async def _fill_branches(result: ConversationResult, source: SectionSource) -> Sequence[str]:
    branches = await source.client.conversations.branches(source.conversation.id)
    lines = [_branch_line(branch, source.quoter) for branch in branches[-MAX_BRANCHES:]]
    result.branches = fit_lines(lines[::-1], source.share)[::-1]
    return _left_out(len(branches) - len(result.branches), "older branches")


async def _fill_requests(result: ConversationResult, source: SectionSource) -> Sequence[str]:
    requests = await source.client.runs.pending(source.conversation.id)
    long_ones = [request for request in requests if needs_digest(request)]
    share = max(source.share, MAX_REQUESTS)
    if source.cursor is None:
        pending = pending_requests(requests, source.quoter, share, agent=source.conversation.agent)
        result.pending = pending.items
        if long_ones:
            result.next_cursor = _arguments_cursor(long_ones[0])
        return pending.notes
    request_id, start = read_page_cursor(
        source.cursor, _arguments_identity(source.conversation.id), [str, COUNT]
    )
    request = next((each for each in requests if each.id == request_id), None)
    if request is None:
        raise ConflictError(f"The request {request_id} is not pending any more.", request_id=request_id)
    part = arguments_part(request, start, share - ARGUMENTS_OVERHEAD)
    shown = PendingRequest.of(request, source.quoter, share, agent=source.conversation.agent)
    shown.arguments = source.quoter.quote(part.text)
    shown.note = f"Characters {part.start + 1:,} to {part.end:,} of the {part.length:,} of its arguments."
    result.pending = [shown]
    if part.is_last:
        shown.digest = digest_of(request)
        following = long_ones[long_ones.index(request) + 1 :] if request in long_ones else []
        result.next_cursor = _arguments_cursor(following[0]) if following else None
    else:
        result.next_cursor = _arguments_cursor(request, part.end)
    return []


async def _fill_messages(result: ConversationResult, source: SectionSource) -> Sequence[str]:
    count = min(MAX_MESSAGES, source.share // (MESSAGE_OVERHEAD + MIN_MESSAGE_TEXT))
    newest = MessageQuery(limit=count, newest_first=True)
    page = await source.client.messages.list(source.conversation.id, newest)
    limit = source.share // max(1, len(page.items)) - MESSAGE_OVERHEAD
    views = list(message_views(page.items[::-1], source.quoter, limit))
    result.messages = fit(views[::-1], source.share)[::-1]
    if (
        page.next_cursor
        or len(result.messages) < len(views)
        or any(json_size(message.text or "") > limit for message in page.items)
    ):
        return ["list_messages has all messages, and the whole of each."]
    return []


async def _fill_events(result: ConversationResult, source: SectionSource) -> Sequence[str]:
    conversation_id, last_seq = source.conversation.id, source.conversation.last_seq
    start = await source.client.conversations.cursor(conversation_id, max(0, last_seq - MAX_EVENTS))
    recent = await source.client.conversations.events(conversation_id, cursor=start)
    newest = newest_event_lines(recent.entries, source.quoter, source.share, recent.texts)
    result.events = newest.items
    if newest.entry_count < len(recent.entries) or last_seq > MAX_EVENTS:
        return ["stream_conversation without a cursor reads all events."]
    return []


SECTIONS: Mapping[str, Section] = {
    "participants": _fill_participants,
    "branches": _fill_branches,
    "requests": _fill_requests,
    "messages": _fill_messages,
    "events": _fill_events,
}
"""The sections, in the order of their notes."""


def _arguments_identity(conversation_id: str) -> dict[str, str]:
    return {"arguments": conversation_id}


def _arguments_cursor(request: Request, start: int = 0) -> str:
    return page_cursor(_arguments_identity(request.conversation_id), [request.id, start])


def _awaited(conversation: Conversation, excerpt: Excerpt, quoter: Quoter) -> str | None:
    """Return what the other side of a conversation waits for; None if it waits for nothing."""
    asked = asked_line(excerpt, quoter)
    if asked is None and not conversation.awaiting:
        return None
    return "a message of yours" + (f": {asked}" if asked else "")


def _branch_line(branch: Branch, quoter: Quoter) -> str:
    begun = format_time(branch.created_at)
    instead = f", instead of {quoter.name(branch.parted_from)}" if branch.parted_from else ""
    return f"{quoter.name(branch.id)}{instead}" + (f", since {begun}" if begun else "")


def _left_out(count: int, what: str) -> Sequence[str]:
    return [f"{count} {what} are not shown."] if count > 0 else []
