"""AgentFlow's conversations, messages and events in our words, and a message in AgentFlow's.

Each event is of a call; the answer is what the root call says. Tools and sub-agents are calls of their own, with a
start, deltas and an end of their own in the same stream: they become tool calls, and never text of the answer.
What the vendor documents is lower-case types with `content`; older pages have upper case and `delta`. Both are read.
What `content` holds of an approval or a question is not documented, so that its fields are taken under several names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tertulia.platforms.base import RunContext
from tertulia.platforms.kit.fields import (
    ContextFields,
    Fields,
    came_with,
    confirmation,
    field_of,
    read_arguments,
)
from tertulia.platforms.kit.http.moments import moment
from tertulia.platforms.kit.http.streams import Frame
from tertulia.platforms.kit.http.values import parsed, table, tables, text, whole_number, words
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.events import Event, EventKind, JournalEntry
from tertulia.vocabulary.identifiers import conversation_id
from tertulia.vocabulary.models import (
    ConversationRecord,
    Message,
    MessageRecord,
    RequestDraft,
    RequestKind,
    Role,
)
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.unknown import UNKNOWN
from tertulia.vocabulary.untrusted import shown

PLATFORM = "AgentFlow"
Record = Mapping[str, Any]
"""A conversation, a message, an agent or an approval, as AgentFlow returns it."""

START = "start"
DELTA = "delta"
END = "end"
ERROR = "error"
CANCELED = frozenset({"canceled", "cancelled"})
SNAPSHOT = "conversation_update"
APPROVAL_REQUIRED = "approval_required"
QUESTION_ASKED = "question_asked"
ASKING = {APPROVAL_REQUIRED: RequestKind.CONFIRMATION, QUESTION_ASKED: RequestKind.QUESTION}
SETTLED = {"approval_resolved": RequestKind.CONFIRMATION, "question_answered": RequestKind.QUESTION}

CONTEXT = ContextFields(
    PLATFORM,
    "attachment_ids knowledge_bases retrieval_options skills artifacts context_refs prompt_blocks memory_policy model "
    "temperature max_tokens top_p max_turns reasoning_effort enable_planning selected_tools client_timezone "
    "session_context verbose".split(),
)
"""What can be set for an answer: the other fields of a message's body (the vendor's reference of the chat call)."""

_KEEP_ALIVES = frozenset({"[done]", "ping", "heartbeat", "keepalive", "keep-alive", "keep_alive"})
"""What says nothing; whether AgentFlow sends any of it is not documented."""
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}
_WORDS = ("text", "content", "message", "response", "answer", "result", "output")
"""Where text stands in what the vendor documents only as an object."""
_NUMBERS = ("seq", "event_id", "sse_id")
_REQUEST_ID = {
    RequestKind.CONFIRMATION: ("approval_id", "id", "request_id"),
    RequestKind.QUESTION: ("question_id", "id", "request_id"),
}
_CALL_ID = ("tool_call_id", "call_id")
_TOOL = ("tool_name", "name", "display_name", "tool", "tool_id")
_ARGUMENTS = ("arguments", "args", "parameters", "input", "tool_input")
_REASON = ("message", "prompt", "description", "reason", "question")
_QUESTION = ("question", "prompt", "text", "message", "content")
_REASONING = frozenset({"reasoning", "thinking"})
_LONGEST_QUESTION = 4_000
_MOST_HELD = 500
"""How many characters of what a tool or sub-agent says are held back at most, and for how many seconds."""
_HELD_SECONDS = 0.5


def chat_body(context: RunContext, defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a message is sent as, with the settings of instance, conversation and message, in turn.

    Its id is the key under which AgentFlow takes it once.
    """
    conversation, message = context.conversation, context.message
    chosen = {**defaults, **(conversation.context or {}), **(context.message_context or {})}
    origin = {"source": conversation.source, "source_id": conversation.source_ref}
    return {
        **{name: value for name, value in chosen.items() if name in CONTEXT.names},
        **{name: value for name, value in origin.items() if value is not None},
        **({"source_metadata": message.metadata} if message.metadata else {}),
        "message": message.text,
        "message_id": message.id,
        "stream": True,
    }


def conversation(instance: str, record: Record, agent: str | None) -> ConversationRecord:
    """Return what a record says of a conversation. `is_active` is all that AgentFlow tells of its state.

    A source goes with messages, so that a conversation without one may still be given it: null does not say that it has
    none.
    """
    metadata = record.get("metadata")
    source_ref = text(record.get("source_ref_id")) or text(record.get("source_id"))
    return ConversationRecord(
        id=conversation_id(instance, text(record["id"]) or ""),
        agent=agent,
        status=Status.COMPLETED if record.get("is_active") is False else Status.OPEN,
        title=field_of(record, "title", text),
        metadata=table(metadata) if isinstance(metadata, Mapping) else UNKNOWN,
        source=text(record.get("source")) or UNKNOWN,
        source_ref=source_ref or UNKNOWN,
        message_count=whole_number(record.get("message_count")),
        created_at=moment(record.get("created_at")),
        updated_at=moment(record.get("updated_at")),
    )


def message(own_id: str, place: int, record: Record, author: str) -> MessageRecord:
    """Return a message; one without an id has its place in the conversation for one."""
    role = _ROLES.get(_role(record), Role.TOOL)
    return MessageRecord(
        id=text(record.get("id")) or str(place),
        conversation_id=own_id,
        author=role if role in {Role.USER, Role.SYSTEM} else author,
        role=role,
        text=words(record.get("content"), _WORDS),
        created_at=moment(record.get("timestamp")),
    )


@dataclass(frozen=True, slots=True)
class Exchange:
    """A message that was sent and its answer, as AgentFlow keeps them."""

    arrived: bool = False
    """Whether the conversation has the message."""
    reply: str | None = None
    reply_id: str | None = None


def exchange(records: Sequence[Record], message: Message, *, known: int = 0) -> Exchange:
    """Find a message that was sent, and its answer: all that the assistant says up to the next message of a user.

    It is found by its id, if AgentFlow keeps that, or else by its text, after the first `known` messages.
    """
    place = next((n for n, record in enumerate(records) if record.get("id") == message.id), None)
    if place is None and message.text:
        alike = (
            n
            for n, record in enumerate(records)
            if n >= known and _role(record) == "user" and record.get("content") == message.text
        )
        place = next(alike, None)
    if place is None:
        return Exchange()
    parts: list[str] = []
    reply_id = None
    for record in records[place + 1 :]:
        if _role(record) == "user":
            break
        part = words(record.get("content"), _WORDS) if _role(record) == "assistant" else None
        if part is not None:
            parts.append(part)
            reply_id = text(record.get("id"))
    return Exchange(True, "\n\n".join(parts) or None, reply_id)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a watch says of a conversation: its messages, or the mere text of the answer."""

    messages: Sequence[Record]
    answer: str | None
    working: bool | None
    """Whether an answer is being produced; None where the snapshot does not say so."""


def snapshot(content: Any) -> Snapshot:
    """Return what a durable snapshot holds."""
    outer = table(content)
    inner = table(outer.get("conversation"))
    messages = tables(outer.get("messages")) or tables(inner.get("messages"))
    flags = (outer.get("has_active_generation"), inner.get("has_active_generation"))
    working = next((flag for flag in flags if isinstance(flag, bool)), None)
    return Snapshot(messages, None if messages else words(content, ("text", "content")), working)


@dataclass(frozen=True, slots=True)
class UpstreamEvent:
    """One event as AgentFlow sends it. `number` rises within a conversation; `event_id` is the stream's own."""

    name: str
    content: Any
    number: int | None = None
    event_id: str = ""
    call_id: str | None = None
    parent: str | None = None
    root: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    payload: Any = None

    @property
    def of_root(self) -> bool:
        """Whether it is about the answer itself."""
        if self.root is not None and self.call_id is not None:
            return self.call_id == self.root
        return self.parent is None

    @property
    def is_end(self) -> bool:
        """Whether the answer ends with it."""
        return self.of_root and self.name in {END, ERROR, *CANCELED}

    @property
    def upstream_id(self) -> str | None:
        """What tells it from every other event of its conversation, even if numbers began anew with each run."""
        return None if self.number is None else f"{self.root or ''}:{self.number}"

    def text(self) -> str | None:
        """Return its text."""
        return words(self.content, _WORDS)

    def fields(self) -> Fields:
        """Return its fields: those of `content`, of what is nested there, and of `metadata`."""
        content = table(self.content)
        nested = table(content.get("approval")) or table(content.get("question"))
        merged = {**self.metadata, **content, **nested}
        for name in ("approval", "question"):
            if isinstance(merged.get(name), Mapping):
                del merged[name]
        if isinstance(self.content, str):
            merged["message"] = self.content
        return Fields(merged)

    def request_id(self, kind: RequestKind) -> str:
        """Return the id of the approval or question that it is about; that of its call where it has none."""
        found = self.fields().take(*_REQUEST_ID[kind])
        return text(str(found) if isinstance(found, str | int) else self.call_id) or ""


def read(frame: Frame) -> UpstreamEvent | None:
    """Return the event of a frame; one whose data is no object is kept as it is. None for a keep-alive."""
    payload: Any = parsed(frame.data)
    if payload is None:
        payload = frame.data
    outer = table(payload)
    name = outer.get("type")
    if not isinstance(name, str):
        alone = payload.strip() if isinstance(payload, str) else ""
        name = alone if alone.lower() in _KEEP_ALIVES else frame.event
    if name.lower() in _KEEP_ALIVES:
        return None
    content = outer.get("content")
    return UpstreamEvent(
        name=name.lower(),
        content=outer.get("delta") if content is None else content,
        number=next((outer[key] for key in _NUMBERS if type(outer.get(key)) is int), None),
        event_id=frame.id,
        call_id=text(outer.get("call_id")),
        parent=text(outer.get("parent_call_id")),
        root=text(outer.get("root_call_id")),
        metadata=table(outer.get("metadata")),
        payload=payload,
    )


class EventMapper:
    """Maps the events of one run, one after the other; `entries` are what earlier attempts journalled of them."""

    def __init__(
        self, message_id: str, entries: Sequence[JournalEntry] = (), clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.streamed = False
        """Whether there was text of the answer, and that in pieces only."""
        self._about = {"message_id": message_id}
        self._clock = clock
        self._open = False
        self._shown: str | None = None
        self._children: dict[str, bool] = {}
        """The calls of tools and sub-agents that were journalled, and whether they have ended."""
        self._held: dict[str, list[str]] = {}
        self._held_since = 0.0
        for entry in entries:
            call_id = str(entry.data.get("tool_call_id", ""))
            if entry.kind is EventKind.TEXT_MESSAGE_START:
                self._open = True
            elif entry.kind in {EventKind.TEXT_MESSAGE_CONTENT, EventKind.SNAPSHOT}:
                self._open = self.streamed = True
            elif entry.kind is EventKind.TOOL_CALL_START:
                self._children[call_id] = False
            elif entry.kind is EventKind.TOOL_CALL_RESULT:
                self._children[call_id] = True

    def events(self, event: UpstreamEvent) -> list[Event]:
        """Return an event as we journal it. The first of what it becomes has its id, so that it is entered once."""
        mapped = self._of_root(event) if event.of_root else self._of_child(event)
        if mapped is None:
            mapped = [Event(EventKind.RAW, {"name": event.name, "payload": event.payload})]
        return [
            *([] if event.name == DELTA and not event.of_root else self.held()),
            *(
                Event(part.kind, part.data, _part_id(event.upstream_id, number))
                for number, part in enumerate(mapped)
            ),
        ]

    def snapshot(self, answer: str) -> list[Event]:
        """Return what replaces the text that was shown of the answer; nothing, if that is the same."""
        if answer == self._shown:
            return []
        self._shown = answer
        self.streamed = False
        return [*self.held(), *self._opened(), Event(EventKind.SNAPSHOT, {**self._about, "text": answer})]

    def closed(self, answer: str | None) -> list[Event]:
        """Return the end of the answer; its text, where there is one, overrides what was journalled of it."""
        mapped = self.held()
        if answer:
            mapped += self._opened()
        if self._open:
            self._open = False
            ending = {**self._about, **({"text": answer} if answer else {})}
            mapped.append(Event(EventKind.TEXT_MESSAGE_END, ending))
        return mapped

    def held(self) -> list[Event]:
        """Return what was held back of what tools and sub-agents say."""
        held, self._held = self._held, {}
        return [
            Event(EventKind.TOOL_CALL_PROGRESS, {"tool_call_id": call_id, "message": "".join(parts)})
            for call_id, parts in held.items()
        ]

    def _of_root(self, event: UpstreamEvent) -> list[Event] | None:
        if event.name == START:
            return []
        if event.name != DELTA:
            return None
        piece = event.text()
        if piece is None:
            return []
        if str(event.metadata.get("content_type", "")).lower() in _REASONING:
            return [Event(EventKind.REASONING, {"delta": piece})]
        self.streamed = True
        return [*self._opened(), Event(EventKind.TEXT_MESSAGE_CONTENT, {**self._about, "delta": piece})]

    def _of_child(self, event: UpstreamEvent) -> list[Event] | None:
        if event.name not in {START, DELTA, END, ERROR} or event.call_id is None:
            return None
        begun = self._begun(event, event.call_id)
        if event.name == START:
            return begun
        if event.name == DELTA:
            return [*begun, *self._hold(event.call_id, event.text())]
        self._children[event.call_id] = True
        about = {"tool_call_id": event.call_id}
        outcome = "ok" if event.name == END else "error"
        return [
            *begun,
            Event(EventKind.TOOL_CALL_END, about),
            Event(EventKind.TOOL_CALL_RESULT, {**about, "result": event.content, "outcome": outcome}),
        ]

    def _begun(self, event: UpstreamEvent, call_id: str) -> list[Event]:
        if call_id in self._children:
            return []
        self._children[call_id] = False
        fields = event.fields() if event.name == START else Fields(None)
        tool = text(event.metadata.get("display_name")) or text(fields.take(*_TOOL))
        data: dict[str, Any] = {"tool_call_id": call_id, "tool": tool or "tool"}
        if event.parent is not None and event.parent != event.root:
            data["parent_tool_call_id"] = event.parent
        begun = [Event(EventKind.TOOL_CALL_START, data)]
        arguments = fields.take(*_ARGUMENTS)
        if isinstance(arguments, Mapping):
            begun.append(Event(EventKind.TOOL_CALL_ARGS, {"tool_call_id": call_id, "arguments": arguments}))
        return begun

    def _hold(self, call_id: str, piece: str | None) -> list[Event]:
        """Hold back a piece, for a sub-agent says as much as an agent does; return what was held for long enough."""
        if piece is None:
            return []
        if not self._held:
            self._held_since = self._clock.now()
        self._held.setdefault(call_id, []).append(piece)
        much = sum(map(len, self._held[call_id])) >= _MOST_HELD
        return self.held() if much or self._clock.now() - self._held_since >= _HELD_SECONDS else []

    def _opened(self) -> list[Event]:
        if self._open:
            return []
        self._open = True
        return [Event(EventKind.TEXT_MESSAGE_START, {**self._about, "role": "assistant"})]


def request(event: UpstreamEvent) -> RequestDraft:
    """Return what an approval or a question asks a person, who sees all that came with it."""
    kind = ASKING[event.name]
    return _request(kind, event, event.request_id(kind), None if event.of_root else event.call_id)


def listed_request(approval: Record, own_id: str) -> RequestDraft:
    """Return the request for an approval that AgentFlow lists as pending."""
    return _request(RequestKind.CONFIRMATION, UpstreamEvent(APPROVAL_REQUIRED, approval), own_id, None)


def _request(kind: RequestKind, event: UpstreamEvent, own_id: str, call_id: str | None) -> RequestDraft:
    fields = event.fields()
    fields.take(*_REQUEST_ID[kind])
    fields.take("content_type")
    call_id = text(fields.take(*_CALL_ID)) or call_id
    if kind is RequestKind.QUESTION:
        question = words(fields.take(*_QUESTION), _WORDS) or ""
        return RequestDraft(
            kind=kind,
            prompt=f"{PLATFORM} asks: {shown(question, _LONGEST_QUESTION)}.{came_with(fields.rest())}",
            tool_call_id=call_id,
            upstream_id=own_id,
        )
    return confirmation(
        PLATFORM,
        text(fields.take(*_TOOL)),
        read_arguments(fields.take(*_ARGUMENTS)),
        said=words(fields.take(*_REASON), _WORDS),
        rest=fields.rest(),
        tool_call_id=call_id,
        upstream_id=own_id,
    )


def _role(record: Record) -> str:
    role = record.get("role")
    return role.lower() if isinstance(role, str) else ""


def _part_id(upstream_id: str | None, number: int) -> str | None:
    return upstream_id if not number or upstream_id is None else f"{upstream_id}.{number}"
