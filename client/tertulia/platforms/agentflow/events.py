"""AgentFlow's events in our words.

Each event is of a call; the answer is what the root call says. Tools and sub-agents are calls of their own, with a
start, deltas and an end of their own in the same stream: they become tool calls here, and never text of the answer.
What the vendor documents is lower-case types with `content`; older pages have upper case and `delta`. Both are read.
What `content` holds of an approval or a question is not documented, so that its fields are taken under several names.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from tertulia.platforms.agentflow.access import PLATFORM
from tertulia.platforms.agentflow.rows import WORDS
from tertulia.platforms.kit.http.streams import Frame
from tertulia.platforms.kit.http.values import table, text, words
from tertulia.vocabulary.events import Event, EventKind, JournalEntry
from tertulia.vocabulary.identifiers import named, shown
from tertulia.vocabulary.models import RequestDraft, RequestKind

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
NOTHING = frozenset({"[done]", "ping", "heartbeat", "keepalive", "keep-alive", "keep_alive"})
"""What says nothing; whether AgentFlow sends any of it is not documented."""

_NUMBERS = ("seq", "event_id", "sse_id")
_APPROVAL_ID = ("approval_id", "id", "request_id")
_QUESTION_ID = ("question_id", "id", "request_id")
_TOOL = ("tool_name", "name", "display_name", "tool", "tool_id")
_ARGUMENTS = ("arguments", "args", "parameters", "input", "tool_input")
_SAID = ("message", "prompt", "description", "reason", "question")
_QUESTION = ("question", "prompt", "text", "message", "content")
_REASONING = frozenset({"reasoning", "thinking"})
_LONGEST_QUOTE = 500
_LONGEST_QUESTION = 4_000
_MOST_HELD = 500
"""How many characters of what a tool or sub-agent says are held back at most, and for how many seconds."""
_HELD_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class UpstreamEvent:
    """One event as AgentFlow sends it. `number` rises within a conversation; `event_id` is the stream's own."""

    number: int | None
    event_id: str
    name: str
    call_id: str | None
    parent: str | None
    root: str | None
    content: Any
    metadata: Mapping[str, Any]
    payload: Any

    @property
    def of_root(self) -> bool:
        """Whether it is about the answer itself."""
        if self.root is not None and self.call_id is not None:
            return self.call_id == self.root
        return self.parent is None

    @property
    def upstream_id(self) -> str | None:
        """What tells it from every other event of its conversation, even if numbers began anew with each run."""
        return None if self.number is None else f"{self.root or ''}:{self.number}"

    def text(self) -> str | None:
        """Return its text."""
        return words(self.content, WORDS)

    def asked_id(self) -> str:
        """Return the id of the approval or question that it is about; that of its call where it has none."""
        about = _QUESTION_ID if self.name.startswith("question") else _APPROVAL_ID
        found = Fields(self).take(*about)
        return text(str(found) if isinstance(found, str | int) else self.call_id) or ""


def read(frame: Frame) -> UpstreamEvent:
    """Return what a frame says; one whose data is no object is kept as it is."""
    payload: Any
    try:
        payload = json.loads(frame.data)
    except (ValueError, RecursionError):
        payload = frame.data
    outer = table(payload)
    name = outer.get("type")
    if not isinstance(name, str):
        alone = payload.strip() if isinstance(payload, str) else ""
        name = alone if alone.lower() in NOTHING else frame.event
    content = outer.get("content")
    return UpstreamEvent(
        number=next((outer[key] for key in _NUMBERS if type(outer.get(key)) is int), None),
        event_id=frame.id,
        name=name.lower(),
        call_id=text(outer.get("call_id")),
        parent=text(outer.get("parent_call_id")),
        root=text(outer.get("root_call_id")),
        content=outer.get("delta") if content is None else content,
        metadata=table(outer.get("metadata")),
        payload=payload,
    )


class Fields:
    """The fields of an event about an approval or a question: of `content`, of what is nested there, of `metadata`."""

    def __init__(self, happened: UpstreamEvent) -> None:
        content = table(happened.content)
        nested = table(content.get("approval")) or table(content.get("question"))
        self._left: dict[str, Any] = {**happened.metadata, **content, **nested}
        for name in ("approval", "question"):
            if isinstance(self._left.get(name), Mapping):
                del self._left[name]
        if isinstance(happened.content, str):
            self._left["message"] = happened.content

    def take(self, *names: str) -> Any:
        """Return the first of the fields that is there and not null, and take it away."""
        for name in names:
            if self._left.get(name) is not None:
                return self._left.pop(name)
        return None

    def rest(self) -> dict[str, Any]:
        """Return what nobody has taken."""
        return {name: value for name, value in self._left.items() if value is not None}


class EventMapper:
    """What a run's events mean, one after the other; `entries` are what earlier attempts told of them."""

    def __init__(self, message_id: str, entries: Sequence[JournalEntry] = ()) -> None:
        self.said = False
        """Whether there was any text of the answer."""
        self._message_id = message_id
        self._open = False
        self._children: dict[str, bool] = {}
        """The calls that were told, and whether they have ended."""
        self._held: dict[str, list[str]] = {}
        self._held_since = 0.0
        for entry in entries:
            call_id = str(entry.data.get("tool_call_id", ""))
            if entry.kind is EventKind.TEXT_MESSAGE_START:
                self._open = True
            elif entry.kind in {EventKind.TEXT_MESSAGE_CONTENT, EventKind.SNAPSHOT}:
                self._open = self.said = True
            elif entry.kind is EventKind.TOOL_CALL_START:
                self._children[call_id] = False
            elif entry.kind is EventKind.TOOL_CALL_RESULT:
                self._children[call_id] = True

    def events(self, happened: UpstreamEvent) -> list[Event]:
        """Return an event as we journal it. The first of what it becomes has its id, so that it is entered once."""
        told = self._of_root(happened) if happened.of_root else self._of_child(happened)
        if told is None:
            told = [Event(EventKind.RAW, {"name": happened.name, "payload": happened.payload})]
        return [
            *([] if happened.name == DELTA and not happened.of_root else self.held()),
            *(
                Event(event.kind, event.data, _part(happened.upstream_id, number))
                for number, event in enumerate(told)
            ),
        ]

    def snapshot(self, answer: str) -> list[Event]:
        """Return what replaces the text that was shown of the answer."""
        self.said = True
        return [*self.held(), *self._opened(), Event(EventKind.SNAPSHOT, {**self._about, "text": answer})]

    def closed(self, answer: str | None) -> list[Event]:
        """Return the end of the answer; its text, where there is one, overrides what was told of it."""
        told = self.held()
        if answer:
            told += self._opened()
        if self._open:
            self._open = False
            told.append(
                Event(EventKind.TEXT_MESSAGE_END, {**self._about, **({"text": answer} if answer else {})})
            )
        return told

    def held(self) -> list[Event]:
        """Return what was held back of what tools and sub-agents say."""
        held, self._held = self._held, {}
        return [
            Event(EventKind.TOOL_CALL_PROGRESS, {"tool_call_id": call_id, "message": "".join(parts)})
            for call_id, parts in held.items()
        ]

    def _of_root(self, happened: UpstreamEvent) -> list[Event] | None:
        if happened.name == START:
            return []
        if happened.name != DELTA:
            return None
        piece = happened.text()
        if piece is None:
            return []
        if str(happened.metadata.get("content_type", "")).lower() in _REASONING:
            return [Event(EventKind.REASONING, {"delta": piece})]
        self.said = True
        return [*self._opened(), Event(EventKind.TEXT_MESSAGE_CONTENT, {**self._about, "delta": piece})]

    def _of_child(self, happened: UpstreamEvent) -> list[Event] | None:
        if happened.name not in {START, DELTA, END, ERROR} or happened.call_id is None:
            return None
        call_id = happened.call_id
        about = {"tool_call_id": call_id}
        begun = self._begun(happened)
        if happened.name == DELTA:
            return [*begun, *self._hold(call_id, happened.text())]
        if happened.name == START:
            return begun
        self._children[call_id] = True
        outcome = "ok" if happened.name == END else "error"
        return [
            *begun,
            Event(EventKind.TOOL_CALL_END, about),
            Event(EventKind.TOOL_CALL_RESULT, {**about, "result": happened.content, "outcome": outcome}),
        ]

    def _begun(self, happened: UpstreamEvent) -> list[Event]:
        call_id = happened.call_id or ""
        if call_id in self._children:
            return []
        self._children[call_id] = False
        fields = Fields(happened) if happened.name == START else None
        tool = text(happened.metadata.get("display_name"))
        if fields is not None:
            tool = tool or text(fields.take(*_TOOL))
        data: dict[str, Any] = {"tool_call_id": call_id, "tool": tool or "tool"}
        if happened.parent is not None and happened.parent != happened.root:
            data["parent_tool_call_id"] = happened.parent
        told = [Event(EventKind.TOOL_CALL_START, data)]
        given = None if fields is None else fields.take(*_ARGUMENTS)
        if isinstance(given, Mapping):
            told.append(Event(EventKind.TOOL_CALL_ARGS, {"tool_call_id": call_id, "arguments": given}))
        return told

    def _hold(self, call_id: str, piece: str | None) -> list[Event]:
        """Hold back a piece, for a sub-agent says as much as an agent does; return what was held for long enough."""
        if piece is None:
            return []
        if not self._held:
            self._held_since = time.monotonic()
        self._held.setdefault(call_id, []).append(piece)
        much = sum(map(len, self._held[call_id])) >= _MOST_HELD
        return self.held() if much or time.monotonic() - self._held_since >= _HELD_SECONDS else []

    def _opened(self) -> list[Event]:
        if self._open:
            return []
        self._open = True
        return [Event(EventKind.TEXT_MESSAGE_START, {**self._about, "role": "assistant"})]

    @property
    def _about(self) -> dict[str, str]:
        return {"message_id": self._message_id}


def asked(happened: UpstreamEvent) -> RequestDraft:
    """Return what an approval or a question wants to know; a person sees all that came with it."""
    fields = Fields(happened)
    kind = ASKING[happened.name]
    own_id = happened.asked_id()
    fields.take(*(_QUESTION_ID if kind is RequestKind.QUESTION else _APPROVAL_ID))
    call_id = text(fields.take("tool_call_id", "call_id"))
    if call_id is None and not happened.of_root:
        call_id = happened.call_id
    return draft(kind, own_id, call_id, fields)


def draft(kind: RequestKind, own_id: str, call_id: str | None, fields: Fields) -> RequestDraft:
    """Return a request from the fields of what asks for it."""
    if kind is RequestKind.QUESTION:
        question = words(fields.take(*_QUESTION), WORDS) or ""
        return RequestDraft(
            kind=kind,
            prompt=f"{PLATFORM} asks: {shown(question, _LONGEST_QUESTION)}.{_rest(fields)}",
            tool_call_id=call_id,
            upstream_id=own_id,
        )
    tool = text(fields.take(*_TOOL))
    arguments = fields.take(*_ARGUMENTS)
    said = words(fields.take(*_SAID), WORDS)
    prompt = f"{PLATFORM} asks to run {'a tool' if tool is None else named(tool)}."
    if said is not None:
        prompt += f" It says: {shown(said, _LONGEST_QUOTE)}."
    return RequestDraft(
        kind=kind,
        prompt=prompt + _rest(fields),
        tool=tool,
        arguments=_arguments(arguments),
        tool_call_id=call_id,
        upstream_id=own_id,
    )


def listed(approval: Mapping[str, Any], own_id: str) -> RequestDraft:
    """Return the request for an approval that is listed as pending."""
    happened = UpstreamEvent(None, "", APPROVAL_REQUIRED, None, "", None, approval, {}, approval)
    fields = Fields(happened)
    fields.take(*_APPROVAL_ID)
    return draft(RequestKind.CONFIRMATION, own_id, text(fields.take("tool_call_id", "call_id")), fields)


def _rest(fields: Fields) -> str:
    rest = fields.rest()
    rest.pop("content_type", None)
    return f" It came with: {shown(json.dumps(rest, ensure_ascii=False), _LONGEST_QUOTE)}." if rest else ""


def _arguments(value: Any) -> Mapping[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {"arguments": value}
    if value is None or isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value or {})
    return {"arguments": value}


def _part(upstream_id: str | None, number: int) -> str | None:
    return upstream_id if not number or upstream_id is None else f"{upstream_id}.{number}"
