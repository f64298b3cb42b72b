"""Events of a conversation by cursor: the lines that results show of them, and the work of `stream_conversation`."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import anyio
from mcp_types import CallToolResult, InputRequiredResult
from pydantic import BaseModel, Field

from tertulia.client import Client
from tertulia.resources.conversations import EventPage
from tertulia.vocabulary.events import DELTAS, MESSAGES, EventKind, JournalEntry
from tertulia.vocabulary.models import Request, Run
from tertulia_tools.host import Host, possible
from tertulia_tools.quotes import Quoter, json_size
from tertulia_tools.results import (
    MAX_ITEMS,
    MAX_REPLY,
    PendingRequest,
    PendingRequests,
    Result,
    answer,
    compact,
    item_size,
    pending_requests,
)
from tertulia_tools.run_reports import next_step, wait_and_ask

MAX_SAID = 1_000
"""The most characters of an added message; list_messages has the whole of it."""
MAX_VALUE = 500
"""The most characters of an event's value, unless the event is a piece of text."""


class EventLine(BaseModel):
    """An event, or several neighbouring pieces of one text."""

    seq: int = Field(description="Of its last entry: neighbouring pieces of text are joined.")
    what: str
    text: str | None = None

    def line(self) -> str:
        """Return the line of the text form; a text may continue over several lines."""
        return f"{self.seq} {self.what}" + ("" if self.text is None else f": {self.text}")


class StreamResult(Result):
    """The events after a cursor."""

    conversation_id: str
    run_id: str | None = None
    status: str = Field(description="Of the newest run; of the conversation while it has none.")
    cursor: str = Field(description="Pass it on to read what follows.")
    next: str | None = None
    note: str | None = None
    events: list[EventLine] = []
    pending: list[PendingRequest] = []

    def lines(self) -> Sequence[str]:
        """Return the lines of the text form."""
        run = "" if self.run_id is None else f" · {self.run_id}"
        lines = [f"{self.status} · {self.conversation_id}{run}", f"Cursor: {self.cursor}"]
        lines += [f"Next: {self.next}"] if self.next else []
        lines += [self.note] if self.note else []
        lines += [event.line() for event in self.events] or ["Nothing new."]
        return [*lines, *(request.line() for request in self.pending)]


async def stream(
    host: Host, conversation_id: str, cursor: str | None, wait_seconds: float | None
) -> CallToolResult | InputRequiredResult:
    """Wait for events after `cursor` that the caller needs, and return as many as fit."""
    client = host.client
    await host.resume()
    deadline = anyio.current_time() + (host.wait_seconds if wait_seconds is None else wait_seconds)
    page = await client.conversations.events(conversation_id, cursor=cursor)
    if not page.entries and not _others_answer(page.run, client.address):
        with host.wait_scope():
            async with host.report_silence(
                f"Waiting for news in {conversation_id}", at_once=deadline > anyio.current_time()
            ):
                await wait_for_news(client, conversation_id, cursor, deadline)
        page = await client.conversations.events(conversation_id, cursor=cursor)
    if page.run is not None and _others_answer(page.run, client.address) and not page.more:
        _, question = await wait_and_ask(host, page.run, deadline)
        if question is not None:
            return question
        page = await client.conversations.events(conversation_id, cursor=cursor)
    quoter = Quoter()
    return answer(await _result(host, conversation_id, page, quoter), quoter)


async def wait_for_news(client: Client, conversation_id: str, cursor: str | None, deadline: float) -> None:
    """Wait until an event follows the cursor, or for the deadline."""
    conversation = await client.conversations.get_stored(conversation_id)
    if (await client.conversations.events(conversation_id, cursor=cursor, limit=1)).entries:
        return  # an event came since the caller's first read, and the watch would not report it
    changes = client.conversations.watch(conversation_id, after=conversation.last_seq)
    async with aclosing(changes):
        with anyio.move_on_at(deadline):
            await anext(changes)


async def _result(host: Host, conversation_id: str, page: EventPage, quoter: Quoter) -> StreamResult:
    client = host.client
    shown = event_lines(page.entries, quoter, page.texts)
    cursor, more = await cursor_after(client, conversation_id, page, shown)
    run = page.run
    requests: Sequence[Request] = () if run is None or more else await client.runs.pending(conversation_id)
    pending = pending_requests(requests, quoter, agent=run and run.agent)
    notes = pending.notes
    if sum(map(item_size, [*shown.items, *pending.items])) > MAX_ITEMS:  # one piece of text can be that long
        pending, notes, more = PendingRequests([], []), [], True
    if more:
        notes.append("This is not all of it: read on with the cursor.")
        following = "stream_conversation with this cursor: there is more already."
    elif run is None:
        following = possible(host, "send_message starts an answer.")
    else:
        following = next_step(host, run, requests)
    status = (await client.conversations.get_stored(conversation_id)).status if run is None else run.status
    return StreamResult(
        conversation_id=conversation_id,
        run_id=None if run is None else run.id,
        status=status,
        events=shown.items,
        pending=pending.items,
        cursor=cursor,
        note=" ".join(notes) or None,
        next=following,
    )


@dataclass(frozen=True, slots=True)
class EventLines:
    """The lines of some journal entries, and how many entries they stand for, hidden ones included."""

    items: list[EventLine]
    entry_count: int


def event_lines(
    entries: Sequence[JournalEntry], quoter: Quoter, texts: Mapping[str, str], limit: int = MAX_REPLY
) -> EventLines:
    """Return the lines of as many of the first entries as fit into `limit`, but of one at least.

    `texts` has the texts of added and changed messages.
    """
    groups: list[list[JournalEntry]] = []
    count = length = 0
    for entry in entries:
        joins = bool(groups) and entry.kind in DELTAS and entry.kind is groups[-1][0].kind
        if entry.kind not in _HIDDEN_KINDS:
            length += (
                json_size(str(entry.data.get("delta")))
                if joins
                else item_size(_event_line([entry], quoter, texts))
            )
        if count and length > limit:
            break
        count += 1
        if joins:
            groups[-1].append(entry)
        elif entry.kind not in _HIDDEN_KINDS:
            groups.append([entry])
    return EventLines([_event_line(group, quoter, texts) for group in groups], count)


def newest_event_lines(
    entries: Sequence[JournalEntry], quoter: Quoter, limit: int, texts: Mapping[str, str]
) -> EventLines:
    """Return the lines of as many of the last entries as fit into `limit`."""
    start = 0
    while True:
        shown = event_lines(entries[start:], quoter, texts, limit)
        left_out = len(entries) - start - shown.entry_count
        if not left_out:
            return shown
        start += (left_out + 1) // 2


async def cursor_after(
    client: Client, conversation_id: str, page: EventPage, shown: EventLines
) -> tuple[str, bool]:
    """Return the cursor after those entries of a page that are shown, and whether more entries follow it."""
    if shown.entry_count == len(page.entries):
        return page.cursor, page.more
    last = page.entries[shown.entry_count - 1]
    return await client.conversations.cursor(conversation_id, last.seq), True


def _event_line(group: Sequence[JournalEntry], quoter: Quoter, texts: Mapping[str, str]) -> EventLine:
    kind = group[0].kind
    text = _text(group, quoter)
    said = texts.get(group[0].data["message_id"]) if kind in MESSAGES else None
    if said is not None:
        text += f" {quoter.quote(said, MAX_SAID)}"
    return EventLine(seq=group[-1].seq, what=_KIND_NAMES.get(kind, kind), text=text or None)


_HIDDEN_KINDS = frozenset({EventKind.TEXT_MESSAGE_START, EventKind.TEXT_MESSAGE_END, EventKind.TOOL_CALL_END})
"""Kinds that no line is made of: they only mark where another event begins or ends."""
_KIND_NAMES = {EventKind.TEXT_MESSAGE_CONTENT: "text"}
_NAMES = (
    "request_id",
    "tool_call_id",
    "message_id",
    "decision",
    "by",
    "channel",
    "outcome",
    "author",
    "role",
    "agent",
    "participant",
)
"""The keys of an event whose values are ids, names and words for states."""
_LABELS = {"by": "by ", "channel": "through "}
"""What stands before a value that would not be understood by itself."""


def _text(group: Sequence[JournalEntry], quoter: Quoter) -> str:
    """Return the text of neighbouring entries of one kind, with every untrusted value quoted."""
    entry = group[0]
    if entry.kind in DELTAS:
        return quoter.quote("".join(str(piece.data.get("delta", "")) for piece in group))
    if entry.kind is EventKind.STATUS_CHANGED:
        reason = entry.data.get("reason")
        quoted = f" {quoter.line(str(reason), MAX_VALUE)}" if reason else ""
        before, status = (quoter.name(str(entry.data.get(key))) for key in ("before", "status"))
        return f"{before} -> {status}{quoted}"
    named = [key for key in _NAMES if entry.data.get(key)]
    names = [f"{_LABELS.get(key, '')}{quoter.name(str(entry.data[key]))}" for key in named]
    others = {
        key: value for key, value in entry.data.items() if key not in _NAMES and value not in (None, {}, "")
    }
    if not others:
        return " ".join(names)
    only = next(iter(others.values())) if len(others) == 1 else others
    shown = only if isinstance(only, str) else compact(only)
    return " ".join([*names, quoter.line(shown, MAX_VALUE)] if shown else names)


def _others_answer(run: Run | None, caller: str) -> bool:
    """Return whether somebody else than the caller is producing an answer."""
    return run is not None and run.status.active and run.agent != caller
