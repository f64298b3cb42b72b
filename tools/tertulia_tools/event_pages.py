"""Reading a conversation by cursor, as `stream_conversation` does."""

from collections.abc import Sequence
from contextlib import aclosing

import anyio
from mcp_types import CallToolResult, InputRequiredResult
from pydantic import BaseModel, Field

from tertulia.client import Client
from tertulia.resources.conversations import EventPage
from tertulia.vocabulary.events import DELTAS, EventKind, JournalEntry
from tertulia.vocabulary.models import Request, Run
from tertulia_tools.host import Host
from tertulia_tools.quotes import Quoter, size
from tertulia_tools.results import (
    MAX_ITEMS,
    MAX_REPLY,
    PendingRequest,
    Result,
    answer,
    compact,
    requests_shown,
    shown_size,
)
from tertulia_tools.run_reports import next_step, wait_and_ask

MAX_VALUE = 500
"""The most characters of an event that is not text."""


class Happening(BaseModel):
    """Something that happened."""

    seq: int = Field(description="Of its last entry: neighbouring pieces of text are joined.")
    what: str
    text: str | None = None

    def line(self) -> str:
        """Return it in a line, or several where it is text."""
        return f"{self.seq} {self.what}" + ("" if self.text is None else f": {self.text}")


class StreamResult(Result):
    """What happened behind a cursor."""

    conversation_id: str
    run_id: str | None = None
    status: str = Field(description="Of the newest run; of the conversation while it has none.")
    events: list[Happening] = []
    pending: list[PendingRequest] = []
    cursor: str = Field(description="Pass it on to read what follows.")
    note: str | None = None
    next: str

    def lines(self) -> Sequence[str]:
        """Return the result's text, line by line."""
        run = "" if self.run_id is None else f" · {self.run_id}"
        lines = [f"{self.status} · {self.conversation_id}{run}"]
        if self.note is not None:
            lines.append(self.note)
        lines += [event.line() for event in self.events] or ["Nothing new."]
        lines += [request.line() for request in self.pending]
        return [*lines, f"Next: {self.next}", f"Cursor: {self.cursor}"]


async def stream(
    host: Host, conversation_id: str, cursor: str | None, wait_seconds: float | None
) -> CallToolResult | InputRequiredResult:
    """Wait until there is something behind `cursor` that the caller needs, and tell all of it that fits."""
    client = host.client
    await host.resumed_run()
    deadline = anyio.current_time() + (host.wait_seconds if wait_seconds is None else wait_seconds)
    news = await client.conversations.events(conversation_id, cursor=cursor)
    if not news.entries and not _answers(news.run, client.address):
        with host.waiting():
            await _anything(client, conversation_id, cursor, deadline)
        news = await client.conversations.events(conversation_id, cursor=cursor)
    if news.run is not None and _answers(news.run, client.address) and not news.more:
        _, question = await wait_and_ask(host, news.run, deadline)
        if question is not None:
            return question
        news = await client.conversations.events(conversation_id, cursor=cursor)
    quoter = Quoter()
    return answer(await _result(client, conversation_id, news, quoter), quoter)


async def _anything(client: Client, conversation_id: str, cursor: str | None, deadline: float) -> None:
    conversation = await client.conversations.get_stored(conversation_id)
    if (await client.conversations.events(conversation_id, cursor=cursor, limit=1)).entries:
        return  # it came between the first look and the second: nothing would wake us
    news = client.conversations.watch(conversation_id, after=conversation.last_seq)
    async with aclosing(news):
        with anyio.move_on_at(deadline):
            await anext(news)


async def _result(client: Client, conversation_id: str, news: EventPage, quoter: Quoter) -> StreamResult:
    events, used = happenings(news.entries, quoter)
    cursor, more = news.cursor, news.more
    if used < len(news.entries):
        cursor, more = (
            await client.conversations.cursor(conversation_id, news.entries[used - 1].seq),
            True,
        )
    run = news.run
    requests: Sequence[Request] = () if run is None or more else await client.runs.pending(conversation_id)
    pending, notes = requests_shown(requests, quoter)
    if sum(map(shown_size, [*events, *pending])) > MAX_ITEMS:  # one piece of text can be that long
        pending, notes, more = [], [], True
    if more:
        notes.append("This is not all of it: read on with the cursor.")
        following = "stream_conversation with this cursor: there is more already."
    elif run is None:
        following = "send_message starts an answer."
    else:
        following = next_step(run, requests, me=client.address)
    status = (await client.conversations.get_stored(conversation_id)).status if run is None else run.status
    return StreamResult(
        conversation_id=conversation_id,
        run_id=None if run is None else run.id,
        status=status,
        events=events,
        pending=pending,
        cursor=cursor,
        note=" ".join(notes) or None,
        next=following,
    )


def happenings(
    entries: Sequence[JournalEntry], quoter: Quoter, limit: int = MAX_REPLY
) -> tuple[list[Happening], int]:
    """Return as many entries as fit into `limit`, but at least one, as they are shown, and how many those are."""
    groups: list[list[JournalEntry]] = []
    used = length = 0
    for entry in entries:
        joins = bool(groups) and entry.kind in DELTAS and entry.kind is groups[-1][0].kind
        if entry.kind not in _SILENT:
            length += size(str(entry.data.get("delta"))) if joins else shown_size(_happening([entry], quoter))
        if used and length > limit:
            break
        used += 1
        if joins:
            groups[-1].append(entry)
        elif entry.kind not in _SILENT:
            groups.append([entry])
    return [_happening(group, quoter) for group in groups], used


def newest(entries: Sequence[JournalEntry], quoter: Quoter, limit: int) -> tuple[list[Happening], bool]:
    """Return the last of these entries, as many as fit into `limit`, as they are shown, and whether all did."""
    start = 0
    while True:
        told, used = happenings(entries[start:], quoter, limit)
        left_out = len(entries) - start - used
        if not left_out:
            return told, start == 0
        start += (left_out + 1) // 2


def _happening(group: Sequence[JournalEntry], quoter: Quoter) -> Happening:
    kind = group[0].kind
    return Happening(seq=group[-1].seq, what=_NAMES.get(kind, kind), text=_text(group, quoter) or None)


_SILENT = frozenset({EventKind.TEXT_MESSAGE_START, EventKind.TEXT_MESSAGE_END, EventKind.TOOL_CALL_END})
"""Kinds that tell a reader nothing: they only bracket others."""
_NAMES = {EventKind.TEXT_MESSAGE_CONTENT: "text"}
_OURS = (
    "request_id",
    "tool_call_id",
    "message_id",
    "decision",
    "outcome",
    "author",
    "role",
    "agent",
    "participant",
)
"""Keys whose values are ids and words of ours, not text that others wrote."""


def _text(group: Sequence[JournalEntry], quoter: Quoter) -> str:
    """Return what neighbouring entries of one kind say: our own words as they are, those of others quoted."""
    entry = group[0]
    if entry.kind in DELTAS:
        return quoter.quote("".join(str(piece.data.get("delta", "")) for piece in group))
    if entry.kind is EventKind.STATUS_CHANGED:
        reason = entry.data.get("reason")
        said = f" {quoter.line(str(reason), MAX_VALUE)}" if reason else ""
        return f"{entry.data.get('before')} -> {entry.data.get('status')}{said}"
    ours = [str(entry.data[key]) for key in _OURS if entry.data.get(key)]
    theirs = {
        key: value for key, value in entry.data.items() if key not in _OURS and value not in (None, {}, "")
    }
    if len(theirs) == 1:
        (only,) = theirs.values()
        shown = only if isinstance(only, str) else compact(only)
    else:
        shown = compact(theirs) if theirs else ""
    return " ".join([*ours, quoter.line(shown, MAX_VALUE)] if shown else ours)


def _answers(run: Run | None, me: str) -> bool:
    """Whether an answer is being produced, by somebody else than the caller."""
    return run is not None and run.status.active and run.agent != me
