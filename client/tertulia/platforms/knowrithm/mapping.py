"""What Knowrithm's answers hold, read liberally, and what that is to us.

No body of a real answer is public. What is read here are the names that its SDK, its command line and its documentation
know; a list may stand under several of them, or be a text that holds JSON, as the command line takes it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from tertulia.platforms.kit.fields import field_of
from tertulia.platforms.kit.http.liberal import as_record, count_in, decoded, id_of
from tertulia.platforms.kit.http.moments import moment
from tertulia.platforms.kit.http.streams import Frame
from tertulia.platforms.kit.http.values import text
from tertulia.platforms.kit.numbered_pages import Record
from tertulia.vocabulary.events import Event, EventKind, JournalEntry
from tertulia.vocabulary.identifiers import conversation_id
from tertulia.vocabulary.models import (
    Analytics,
    ConversationRecord,
    MessageRecord,
    Rating,
    Role,
)
from tertulia.vocabulary.states import Status

PLATFORM = "Knowrithm"
STATUS, RESPONSE = "chat_status", "chat_response"
"""The events of a conversation's stream."""
_HEARTBEATS = frozenset({"heartbeat", "ping", "keepalive", "keep-alive"})
_ENDED = frozenset({"ended", "completed", "closed"})
_USERS = frozenset({"user", "human", "lead", "visitor"})
_CITED = ("citations", "cited_sources", "sources")
_LONGEST_STEP = 60


def conversation(record: Record, *, instance: str, agent: str | None) -> ConversationRecord | None:
    """Return what Knowrithm says of a conversation; None for one that is deleted."""
    word = str(record.get("status") or "active").lower()
    if word == "deleted" or record.get("deleted_at") or record.get("is_deleted") is True:
        return None
    archived = word == "archived" or record.get("is_archived") is True
    return ConversationRecord(
        id=conversation_id(instance, str(record["id"])),
        agent=agent,
        status=Status.COMPLETED if archived or word in _ENDED else Status.OPEN,
        title=field_of(record, "title", text),
        metadata=field_of(record, "metadata", lambda value: as_record(value) or {}),
        entity_type=field_of(record, "entity_type", lambda value: (text(value) or "").lower() or None),
        archived=archived,
        rating=field_of(record, "satisfaction_rating", _rating),
        message_count=count_in(record, "message_count", "total_messages"),
        created_at=moment(record.get("created_at") or record.get("started_at")),
        updated_at=moment(record.get("updated_at") or record.get("last_message_at")),
    )


def message(record: Record, *, conversation: str, agent: str) -> MessageRecord:
    """Return a message of a conversation, whose agent is `agent`."""
    role = role_of(record)
    citations = _citations(record)
    metadata = dict(as_record(record.get("metadata")) or {})
    for name in ("model_used", "processing_time"):
        if record.get(name) is not None:
            metadata.setdefault(name, record[name])
    return MessageRecord(
        id=str(record["id"]),
        conversation_id=conversation,
        author=role if role in {Role.USER, Role.SYSTEM} else agent,
        role=role,
        text=text_of(record),
        data={"citations": citations} if citations else None,
        metadata=metadata,
        created_at=moment(record.get("created_at")),
        rating=field_of(record, "rating", _rating),
    )


def role_of(record: Record) -> Role:
    """Return whose voice a message is: an agent's, where it is not said otherwise."""
    word = str(record.get("role") or record.get("sender") or "").lower()
    if word in _USERS:
        return Role.USER
    return Role(word) if word in set(Role) else Role.ASSISTANT


def text_of(record: Record) -> str | None:
    """Return the text of a message."""
    return next((said for key in ("content", "text", "message") if (said := text(record.get(key)))), None)


@dataclass(frozen=True, slots=True)
class Reply:
    """An agent's reply. `id` is the message's own, where it is told."""

    text: str
    id: str | None = None
    citations: Sequence[Any] = ()


def reply_of(row: Record) -> Reply | None:
    """Return the reply that a message of a conversation is; None for one that is none."""
    said = text_of(row) if role_of(row) is Role.ASSISTANT else None
    return None if said is None else Reply(said, str(row["id"]), _citations(row))


def reply_in(value: Any, *, asked: str | None = None) -> Reply | None:
    """Return the reply in the result of a task, or in an event; None for what has none of the known shapes.

    Nothing else is guessed at: the conversation's messages have the reply. `asked` is the id of the message that is
    answered; no reply has that.
    """
    outer = as_record(value) or {}
    for body in (value, *(outer.get(name) for name in _ENVELOPES)):
        fields = as_record(body) or {}
        shapes = (
            (body, _latest),
            (body, _text_or_message),
            *((fields.get(name), read) for name, read in _SHAPES),
        )
        found = next((reply for at, read in shapes if (reply := read(at)) is not None), None)
        if found is not None:
            own_id = found.id or id_of(fields.get("assistant_message_id"))
            return Reply(
                found.text, None if own_id == asked else own_id, found.citations or _citations(fields)
            )
    return None


def _message(value: Any) -> Reply | None:
    """Read a reply as a message: `{"id", "role", "content"}`, in which the role may be missing."""
    record = as_record(value)
    if record is None or ("role" in record and role_of(record) is not Role.ASSISTANT):
        return None
    said = text(record.get("content")) or text(record.get("text"))
    own_id = id_of(record.get("id")) or id_of(record.get("assistant_message_id"))
    return None if said is None else Reply(said, own_id, _citations(record))


def _text_or_message(value: Any) -> Reply | None:
    """Read a reply as its bare text, or as a message."""
    value = decoded(value)
    if isinstance(value, str):
        return Reply(value) if value.strip() else None
    return _message(value)


def _latest(value: Any) -> Reply | None:
    """Read a reply as the last of some messages, oldest first."""
    value = decoded(value)
    messages = cast("list[Any]", value) if isinstance(value, list) else []
    return next((reply for one in reversed(messages) if (reply := _message(one)) is not None), None)


_ENVELOPES = ("result", "data")
_SHAPES: Sequence[tuple[str, Callable[[Any], Reply | None]]] = (
    ("messages", _latest),
    ("assistant_message", _text_or_message),
    ("ai_message", _text_or_message),
    ("reply", _text_or_message),
    ("answer", _text_or_message),
    ("response", _text_or_message),
    ("message", _message),  # a bare text there is about the call ("Chat processed")
)
"""Where a reply stands, and how it is written there; an answer may also be a reply itself, without a name."""


@dataclass(frozen=True, slots=True)
class UpstreamEvent:
    """An event of a conversation's stream."""

    name: str
    data: str
    fields: Record | None
    """The object in `data`; None where it is none."""

    def belongs_to(self, own_ids: Mapping[str, Any]) -> bool | None:
        """Whether it is about our message; None where it does not say. Anybody may write in the conversation."""
        fields = self.fields or {}
        same = {
            name: fields[name] == own_id
            for name, own_id in own_ids.items()
            if own_id is not None and fields.get(name) is not None
        }
        if same.get("conversation_id") is False:
            return False
        if same.get("task_id") or same.get("message_id"):
            return True
        # A reply may name its own message there, while the status names the one that was sent.
        if as_record(fields.get("message")) or "content" in fields:
            same.pop("message_id", None)
        return False if {"task_id", "message_id"} & same.keys() else None


def read(frame: Frame) -> UpstreamEvent | None:
    """Return the event in a frame; None for a heartbeat."""
    if frame.event in _HEARTBEATS:
        return None
    return UpstreamEvent(frame.event, frame.data, as_record(frame.data))


class EventMapper:
    """Maps how far an answer is, and its reply, onto events. `entries` are the journal's of earlier attempts."""

    def __init__(self, run_id: str, entries: Sequence[JournalEntry]) -> None:
        self._run_id = run_id
        self._step: str | None = None
        for entry in entries:
            if entry.kind is EventKind.STEP_STARTED:
                self._step = str(entry.data.get("name"))
            elif entry.kind is EventKind.STEP_FINISHED:
                self._step = None

    def step(self, word: str | None) -> Sequence[Event]:
        """Map what a task says of itself: each word is a step, from when it is first told to the next; None ends it."""
        word = None if word is None else word[:_LONGEST_STEP]
        if word in {self._step, ""}:
            return ()
        before, self._step = self._step, word
        ended = [] if before is None else [Event(EventKind.STEP_FINISHED, {"name": before})]
        return [*ended, *([] if word is None else [Event(EventKind.STEP_STARTED, {"name": word})])]

    def reply(self, reply: Reply) -> Sequence[Event]:
        """Map a reply, which comes as a whole and ends the last step."""
        about = {"message_id": reply.id or f"m_{self._run_id.removeprefix('run_')}"}
        whole = {"text": reply.text, **({"citations": reply.citations} if reply.citations else {})}
        return [
            *self.step(None),
            Event(EventKind.TEXT_MESSAGE_START, about, f"{self._run_id}:start"),
            Event(EventKind.TEXT_MESSAGE_END, {**about, **whole}, f"{self._run_id}:end"),
        ]


def analytics(body: Any) -> Analytics:
    """Return the figures about a conversation (README of the SDK, "Analytics").

    Knowrithm counts messages without regard to roles: where it tells no more than that, they are counted as `total`.
    What has no place of its own stays in `details`, as it came.
    """
    outer = as_record(body) or {}
    for key in ("analytics", "data", "result"):
        outer = as_record(outer.get(key)) or outer
    details = {name: dict(inner) if (inner := as_record(value)) else value for name, value in outer.items()}
    counted = _taken(details, "message_statistics", "total_messages")
    by_role = {
        role: int(count)
        for role in ("user", "assistant")
        if (count := _taken(details, "message_statistics", f"{role}_messages")) is not None
    }
    if counted is not None and counted != sum(by_role.values()):
        by_role = {**by_role, "total": int(counted)}
    minutes = _taken(details, "conversation_flow", "duration_minutes")
    rating = _taken(details, "quality_metrics", "satisfaction_rating")
    return Analytics(
        messages=by_role,
        duration_seconds=None if minutes is None else minutes * 60,
        rating=rating,
        ratings=None if rating is None else 1,
        computed=False,
        details={name: value for name, value in details.items() if value not in ({}, None)},
    )


def _taken(details: dict[str, Any], group: str, name: str) -> float | None:
    """Take a figure out of its group; one that is no figure stays there."""
    place = cast("dict[str, Any]", details[group]) if isinstance(details.get(group), dict) else {}
    value = place.get(name)
    try:
        figure = None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
    if figure is not None:
        del place[name]
    return figure


def _rating(value: Any) -> Rating | None:
    return Rating(value=value) if type(value) is int and 1 <= value <= 5 else None


def _citations(record: Record) -> Sequence[Any]:
    for place in (record, as_record(record.get("metadata")) or {}):
        for name in _CITED:
            if isinstance(place.get(name), list) and place[name]:
                return cast("list[Any]", place[name])
    return ()
