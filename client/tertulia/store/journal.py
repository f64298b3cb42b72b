"""The journal: what happened in each conversation, in `seq` order, without a gap."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from tertulia.store.database import Transaction, encode, storable, to_datetime
from tertulia.vocabulary.entry import safe_event_data
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.events import DELTAS, Event, EventKind, JournalEntry
from tertulia.vocabulary.identifiers import Cursor
from tertulia.vocabulary.models import Run
from tertulia.vocabulary.states import Status

_CONTENT_FREE = frozenset(
    {
        "message_id",
        "tool_call_id",
        "request_id",
        "author",
        "role",
        "agent",
        "status",
        "before",
        "decision",
        "retryable",
        "rating",
    }
)
"""The fields of an event that an entry keeps where contents are not kept."""
_AT_ONCE = 100
"""How many entries one statement writes."""
LONGEST_DELTA = 4_000
"""The most characters of text that one entry holds: a reader pages by entries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alongside:
    """What changes in a conversation with what its journal tells: one statement writes both."""

    added_at: int | None = None
    """The time of a message that was added, and is not counted yet."""
    status: Status | None = None
    """The conversation's new status."""


NOTHING = Alongside()


@dataclass(frozen=True, slots=True)
class Appended:
    """How a conversation is after its journal was appended to: its newest `seq`, and its status."""

    seq: int
    status: Status


def append(
    tx: Transaction,
    principal: str,
    conversation_id: str,
    events: Iterable[Event],
    run_id: str | None = None,
    alongside: Alongside = NOTHING,
) -> Appended:
    """Append events to a conversation's journal, and change what happens `alongside`.

    An event whose upstream id is in the journal already is left out. Where contents are not kept, an entry only says
    what kind of thing happened and to what (`withheld` is true then).
    """
    keeps_content = tx.keeps_content(conversation_id)
    told: list[tuple[EventKind, str, str | None]] = []
    for happened in _new(tx, principal, conversation_id, events):
        event = happened if keeps_content else _outline(happened)
        upstream_id = event.upstream_id
        for data in _pieces(event):
            told.append((event.kind, encode(safe_event_data(data)), upstream_id))
            upstream_id = None
    appended = _number(tx, principal, conversation_id, len(told), alongside)
    seq = appended.seq
    rows = [
        (principal, conversation_id, number, kind, data, run_id, upstream_id, tx.at)
        for number, (kind, data, upstream_id) in enumerate(told, seq - len(told) + 1)
    ]
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        places = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * len(some))
        tx.run(f"INSERT INTO journal VALUES {places}", *chain.from_iterable(some))
    if told:
        tx.touched.add(conversation_id)
    return appended


def _number(
    tx: Transaction, principal: str, conversation_id: str, count: int, alongside: Alongside
) -> Appended:
    """Make room for so many entries at the end of a journal, and change what happens alongside."""
    changed, values = "last_seq = last_seq + ?", [count]
    if alongside.added_at is not None:
        changed += ", message_count = message_count + 1"
    if alongside.status is not None:
        changed += ", status = ?, updated_at = ?"
        values += [alongside.status, tx.at]
    elif alongside.added_at is not None:
        changed += ", updated_at = CASE WHEN updated_at < ? THEN ? ELSE updated_at END"
        values += [alongside.added_at] * 2
    row = tx.one(
        f"UPDATE conversations SET {changed} WHERE principal = ? AND id = ? RETURNING last_seq, status",
        *values,
        principal,
        conversation_id,
    )
    assert row is not None, "a journal belongs to a known conversation"
    return Appended(int(row[0]), Status(row[1]))


def _new(tx: Transaction, principal: str, conversation_id: str, events: Iterable[Event]) -> list[Event]:
    """Return the events that the journal does not have, each once."""
    found = [
        event if event.upstream_id is None else replace(event, upstream_id=_name(event.upstream_id))
        for event in events
    ]
    named = {event.upstream_id for event in found if event.upstream_id is not None}
    if not named:
        return found
    rows = tx.all(
        "SELECT upstream_id FROM journal WHERE principal = ? AND conversation_id = ?"
        " AND upstream_id IS NOT NULL AND upstream_id IN (SELECT value FROM json_each(?))",
        principal,
        conversation_id,
        encode(sorted(named)),
    )
    seen = {name for (name,) in rows}
    new: list[Event] = []
    for event in found:
        if event.upstream_id is None or event.upstream_id not in seen:
            new.append(event)
            seen.add(event.upstream_id)
    return new


def _name(upstream_id: str) -> str:
    """Return an id as the journal has it."""
    return storable(upstream_id).replace("\0", "\ufffd")


def read(
    tx: Transaction,
    principal: str,
    conversation_id: str,
    after: int,
    *,
    limit: int = 500,
    run_id: str | None = None,
) -> list[JournalEntry]:
    """Return up to `limit` entries after `after`, oldest first; of one run only, if `run_id` is given."""
    only, values = ("", []) if run_id is None else (" AND run_id = ?", [run_id])
    rows = tx.all(
        "SELECT seq, kind, data, at, run_id FROM journal"
        f" WHERE principal = ? AND conversation_id = ? AND seq > ?{only} ORDER BY seq LIMIT ?",
        principal,
        conversation_id,
        after,
        *values,
        limit,
    )
    return [
        JournalEntry(seq=seq, kind=EventKind(kind), data=json.loads(data), at=to_datetime(at), run_id=run)
        for seq, kind, data, at, run in rows
    ]


_ALL = 2**62
"""More entries than a run can have."""


def read_all(tx: Transaction, principal: str, run: Run) -> list[JournalEntry]:
    """Return all entries of one run, after the message that it answers."""
    return read(tx, principal, run.conversation_id, run.first_seq, limit=_ALL, run_id=run.id)


def replace_data(
    tx: Transaction, principal: str, conversation_id: str, changed: Iterable[JournalEntry]
) -> None:
    """Replace the data of entries; the entries keep their places and times."""
    for entry in changed:
        tx.run(
            "UPDATE journal SET data = ? WHERE principal = ? AND conversation_id = ? AND seq = ?",
            encode(safe_event_data(entry.data)),
            principal,
            conversation_id,
            entry.seq,
        )
    tx.touched.add(conversation_id)


def cursor(tx: Transaction, principal: str, conversation_id: str, epoch: str, seq: int) -> Cursor:
    """Return the cursor that stands after entry `seq` (0: before the first)."""
    return Cursor(epoch, conversation_id, seq, _stamp(tx, principal, conversation_id, seq) or 0)


def newest(tx: Transaction, principal: str, conversation_id: str, epoch: str) -> Cursor:
    """Return the cursor that stands after a conversation's newest entry."""
    row = tx.one(
        "SELECT c.last_seq, j.at FROM conversations AS c LEFT JOIN journal AS j ON j.principal = c.principal"
        " AND j.conversation_id = c.id AND j.seq = c.last_seq WHERE c.principal = ? AND c.id = ?",
        principal,
        conversation_id,
    )
    assert row is not None, "a journal belongs to a known conversation"
    return Cursor(epoch, conversation_id, row[0], row[1] or 0)


def check(tx: Transaction, principal: str, cursor: Cursor) -> None:
    """Check that the entry before a cursor is still the one that was there when the cursor was made.

    Raises:
        InvalidInputError: the store was replaced by an older copy of itself.
    """
    if cursor.seq == 0:
        return
    stamp = _stamp(tx, principal, cursor.conversation_id, cursor.seq)
    if stamp is None or stamp & 0xFFFFFFFF != cursor.stamp:
        raise InvalidInputError(
            "This cursor is from a later state of the store, which has since been restored from an older copy.",
            hint="Leave the cursor out to read from the beginning.",
            conversation_id=cursor.conversation_id,
        )


def reply_text(entries: Sequence[JournalEntry]) -> str:
    """Return the answer's text from a run's entries: a final text, or the sum of the deltas."""
    return "\n\n".join(text for text in _texts(entries).values() if text)


def rest_of_text(entries: Sequence[JournalEntry], whole: str) -> list[Event]:
    """Return the events that tell a reader of a run's entries the rest of its last text, which `whole` continues."""
    last = next(reversed(_texts(entries).items()), None)
    if last is None or not last[1] or last[1] == whole or not whole.startswith(last[1]):
        return []
    about = {"message_id": last[0]}
    rest = {**about, "delta": whole.removeprefix(last[1])}
    return [Event(EventKind.TEXT_MESSAGE_CONTENT, rest), Event(EventKind.TEXT_MESSAGE_END, about)]


def _texts(entries: Sequence[JournalEntry]) -> dict[str, str]:
    """Return the texts of a run's entries by the id of their message, in order."""
    texts: dict[str, list[str]] = {}
    for entry in entries:
        key = str(entry.data.get("message_id", ""))
        if entry.kind is EventKind.TEXT_MESSAGE_CONTENT:
            texts.setdefault(key, []).append(str(entry.data.get("delta", "")))
        elif entry.kind is EventKind.TEXT_MESSAGE_END and entry.data.get("text") is not None:
            texts[key] = [str(entry.data["text"])]
        elif entry.kind is EventKind.SNAPSHOT:
            texts = {key: [str(entry.data.get("text", ""))]}
    return {key: "".join(parts) for key, parts in texts.items()}


def _stamp(tx: Transaction, principal: str, conversation_id: str, seq: int) -> int | None:
    row = tx.one(
        "SELECT at FROM journal WHERE principal = ? AND conversation_id = ? AND seq = ?",
        principal,
        conversation_id,
        seq,
    )
    return None if row is None else int(row[0])


def _outline(event: Event) -> Event:
    kept = {name: value for name, value in event.data.items() if name in _CONTENT_FREE}
    return event if len(kept) == len(event.data) else replace(event, data={**kept, "withheld": True})


def _pieces(event: Event) -> Iterable[Mapping[str, Any]]:
    delta = event.data.get("delta")
    if event.kind not in DELTAS or not isinstance(delta, str) or len(delta) <= LONGEST_DELTA:
        yield event.data
    else:
        for start in range(0, len(delta), LONGEST_DELTA):
            yield {**event.data, "delta": delta[start : start + LONGEST_DELTA]}
