"""What Knowrithm's answers hold, read liberally, and what that is to us.

No body of a real answer is public. What is read here are the names that its SDK, its command line and its documentation
know; a list may stand under several of them, or be a text that holds JSON, as the command line takes it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from tertulia.platforms.kit.http.moments import moment
from tertulia.platforms.kit.http.streams import Frame
from tertulia.platforms.kit.http.values import text
from tertulia.platforms.kit.numbered_pages import NumberedPage, Record
from tertulia.vocabulary.events import Event, EventKind, JournalEntry
from tertulia.vocabulary.identifiers import conversation_id
from tertulia.vocabulary.models import Analytics, ConversationRecord, Message, Rating, Role
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.unknown import UNKNOWN, Unknown

PLATFORM = "Knowrithm"
STATUS, RESPONSE = "chat_status", "chat_response"
"""The events of a conversation's stream."""
_HEARTBEATS = frozenset({"heartbeat", "ping", "keepalive", "keep-alive"})
_LISTS = ("items", "data", "results")
_ENDED = frozenset({"ended", "completed", "closed"})
_USERS = frozenset({"user", "human", "lead", "visitor"})
_CITED = ("citations", "cited_sources", "sources")
_LONGEST_STEP = 60

T = TypeVar("T")


def as_record(value: Any) -> Record | None:
    """Return an object, which may have come as a text; None for anything else."""
    value = _decoded(value)
    return cast(Record, value) if isinstance(value, Mapping) else None


def as_page(body: Any, name: str, *, number: int, asked: int) -> NumberedPage | None:
    """Return page `number` of a list, of which `asked` entries were asked for; None for what is no list."""
    found = _listed(body, (name, *_LISTS))
    if found is None:
        return None
    records = [record for record in map(as_record, found) if record is not None and _id(record.get("id"))]
    figures = _paging(body)
    size = _number(figures, "per_page", "page_size", "limit") or asked
    size = size if len(found) <= size else max(asked, len(found))
    total = _number(figures, "total", "total_items", "total_count")
    pages = _number(figures, "pages", "total_pages", "page_count")
    has_next = next(
        (figures[key] for key in ("has_next", "has_more") if isinstance(figures.get(key), bool)), None
    )
    if has_next is not None:
        more = bool(has_next)
    elif pages is not None:
        more = number < pages
    elif total is not None:
        more = number * size < total
    else:
        more = bool(found)
    # A server may put fewer on a page than it was asked for; as many as a page has that is not the last.
    return NumberedPage(records, len(found) if more and found else size, total, more and bool(found))


def nested_record(body: Any, name: str) -> Record | None:
    """Return the record in an answer: below its name, below `data` and the like, or the answer itself."""
    outer = as_record(body)
    if outer is None:
        return None
    for key in (name, "data", "result", "response"):
        inner = as_record(outer.get(key))
        if inner is not None and (found := nested_record(inner, name)) is not None:
            return found
    return outer if _id(outer.get("id")) else None


def conversation(record: Record, *, instance: str, agent: str | None) -> ConversationRecord | None:
    """Return what Knowrithm says of a conversation; None for one that is deleted."""
    word = str(record.get("status") or "active").lower()
    if word == "deleted" or record.get("deleted_at") or record.get("is_deleted") is True:
        return None
    archived = word == "archived" or record.get("is_archived") is True

    def said(name: str, read: Callable[[Any], T]) -> T | Unknown:
        return read(record[name]) if name in record else UNKNOWN

    return ConversationRecord(
        id=conversation_id(instance, str(record["id"])),
        agent=agent,
        status=Status.COMPLETED if archived or word in _ENDED else Status.OPEN,
        title=said("title", text),
        metadata=said("metadata", lambda value: as_record(value) or {}),
        entity_type=said("entity_type", lambda value: (text(value) or "").lower() or None),
        archived=archived,
        rating=said("satisfaction_rating", _rating),
        message_count=_number(record, "message_count", "total_messages"),
        created_at=moment(record.get("created_at") or record.get("started_at")),
        updated_at=moment(record.get("updated_at") or record.get("last_message_at")),
    )


def message(record: Record, *, conversation: str, agent: str) -> Message:
    """Return a message of a conversation, whose agent is `agent`."""
    role = role_of(record)
    citations = _citations(record)
    metadata = dict(as_record(record.get("metadata")) or {})
    for name in ("model_used", "processing_time"):
        if record.get(name) is not None:
            metadata.setdefault(name, record[name])
    return Message(
        id=str(record["id"]),
        conversation_id=conversation,
        author=role if role in {Role.USER, Role.SYSTEM} else agent,
        role=role,
        text=text_of(record),
        data={"citations": citations} if citations else None,
        metadata=metadata,
        created_at=moment(record.get("created_at")),
        rating=_rating(record.get("rating")),
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
            own_id = found.id or _id(fields.get("assistant_message_id"))
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
    own_id = _id(record.get("id")) or _id(record.get("assistant_message_id"))
    return None if said is None else Reply(said, own_id, _citations(record))


def _text_or_message(value: Any) -> Reply | None:
    """Read a reply as its bare text, or as a message."""
    value = _decoded(value)
    if isinstance(value, str):
        return Reply(value) if value.strip() else None
    return _message(value)


def _latest(value: Any) -> Reply | None:
    """Read a reply as the last of some messages, oldest first."""
    value = _decoded(value)
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


def _decoded(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _listed(body: Any, names: Sequence[str]) -> Sequence[Any] | None:
    body = _decoded(body)
    if isinstance(body, list):
        return cast("list[Any]", body)
    outer = as_record(body)
    if outer is None:
        return None
    found = (_listed(outer[name], names) for name in names if outer.get(name) is not None)
    return next((listed for listed in found if listed is not None), None)


def _paging(body: Any) -> dict[str, Any]:
    outer = as_record(body) or {}
    figures: dict[str, Any] = {}
    for key in ("data", "meta", "pagination"):
        inner = as_record(outer.get(key))
        if inner is not None:
            figures |= {**inner, **_paging(inner)}
    return {**outer, **figures}


def _number(record: Record, *names: str) -> int | None:
    for name in names:
        value = record.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return None


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


def _id(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(value)


def _rating(value: Any) -> Rating | None:
    return Rating(value=value) if type(value) is int and 1 <= value <= 5 else None


def _citations(record: Record) -> Sequence[Any]:
    for place in (record, as_record(record.get("metadata")) or {}):
        for name in _CITED:
            if isinstance(place.get(name), list) and place[name]:
                return cast("list[Any]", place[name])
    return ()
