"""RevEng.AI's events and conversations in our words.

The names of the seventeen events and what stands around their data are in the vendor's SDK (`models/event_*.py`,
`models/sse_event_*_data.py`); their `data` is untyped there. The names of its fields are therefore taken in both
spellings, camelCase (as in AG-UI) and snake_case, and whatever is left over is kept as it came, under `raw`.

A conversation comes with all its events (`models/conversation_with_events.py`), whose `role` and `type` are numbers
that nothing public explains. So a message is an event that has words. Whose they are is told by the data where it says
so, else by the number that the first words have: a conversation begins with its user.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from tertulia.platforms.kit.fields import ContextFields, Fields, confirmation, field_of, read_arguments
from tertulia.platforms.kit.http.moments import moment
from tertulia.platforms.kit.http.streams import Frame
from tertulia.platforms.kit.http.values import parsed, table, tables, text, words
from tertulia.vocabulary.events import DELTAS, Event, EventKind, JournalEntry
from tertulia.vocabulary.identifiers import conversation_id
from tertulia.vocabulary.models import ConversationRecord, Message, RequestDraft, Role
from tertulia.vocabulary.states import Status

PLATFORM = "RevEng.AI"
ASSISTANT = "assistant"
"""The agent's name: RevEng.AI has one, without a name of its own."""
CONTEXT = ContextFields(PLATFORM, ("analysis_id", "function_id"), numbers=("analysis_id", "function_id"))
"""What the context of a conversation or message may name (`models/conversation_context.py` of the SDK)."""

RUN_STARTED = "RUN_STARTED"
RUN_FINISHED = "RUN_FINISHED"
RUN_ERROR = "RUN_ERROR"
RUN_CANCELLED = "RUN_CANCELLED"
CONFIRMATION_REQUIRED = "TOOL_CONFIRMATION_REQUIRED"
ENDS = frozenset({RUN_FINISHED, RUN_ERROR, RUN_CANCELLED})
_MOVING = frozenset({RUN_STARTED, CONFIRMATION_REQUIRED, "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", *ENDS})

_LONGEST_TITLE = 200
_SCALAR = "value"
"""Where `Fields` has data that is no object."""

_MESSAGE_ID = ("messageId", "message_id")
_CALL_ID = ("toolCallId", "tool_call_id", "callId", "call_id")
_TOOL = ("toolCallName", "tool_call_name", "toolName", "tool_name", "tool", "name")
_ARGUMENTS = ("arguments", "args", "toolInput", "tool_input", "input", "parameters")
_TEXT = ("text", "content", "message", _SCALAR)
_DELTA = ("delta", *_TEXT)
_ERROR = ("message", "error", "reason", "detail", _SCALAR)
_STEP = ("stepName", "step_name", "name", "step", _SCALAR)

_FIELDS: Mapping[str, tuple[EventKind, Mapping[str, tuple[str, ...]]]] = {
    "STEP_STARTED": (EventKind.STEP_STARTED, {"name": _STEP}),
    "STEP_FINISHED": (EventKind.STEP_FINISHED, {"name": _STEP}),
    "TEXT_MESSAGE_START": (EventKind.TEXT_MESSAGE_START, {"message_id": _MESSAGE_ID, "role": ("role",)}),
    "TEXT_MESSAGE_CONTENT": (EventKind.TEXT_MESSAGE_CONTENT, {"message_id": _MESSAGE_ID, "delta": _DELTA}),
    "TEXT_MESSAGE_END": (EventKind.TEXT_MESSAGE_END, {"message_id": _MESSAGE_ID, "text": _TEXT}),
    "TOOL_CALL_START": (
        EventKind.TOOL_CALL_START,
        {"tool_call_id": _CALL_ID, "tool": _TOOL, "arguments": _ARGUMENTS},
    ),
    "TOOL_CALL_ARGS_DELTA": (
        EventKind.TOOL_CALL_ARGS,
        {"tool_call_id": _CALL_ID, "delta": (*_DELTA, *_ARGUMENTS)},
    ),
    "TOOL_CALL_END": (EventKind.TOOL_CALL_END, {"tool_call_id": _CALL_ID}),
    "TOOL_CALL_PROGRESS": (
        EventKind.TOOL_CALL_PROGRESS,
        {"tool_call_id": _CALL_ID, "message": ("message", "progress", "status", "text", "content", _SCALAR)},
    ),
    "TOOL_CALL_RESULT": (
        EventKind.TOOL_CALL_RESULT,
        {
            "tool_call_id": _CALL_ID,
            "result": ("result", "content", "output", _SCALAR),
            "outcome": ("outcome", "status"),
        },
    ),
    "TITLE_UPDATED": (EventKind.TITLE_UPDATED, {"title": ("title", "name", "text", _SCALAR)}),
    "CONTEXT_COMPACTED": (EventKind.CONTEXT_COMPACTED, {}),
}
_TEXTS = frozenset({"message_id", "tool_call_id", "delta", "text", "name", "tool", "message", "title"})

_SPOKEN = ("content", "text", "message", "delta")
_RESULT = ("content", "result", "output")
_PIECE = "delta"
_OF_A_TOOL = frozenset(
    {"toolCallId", "tool_call_id", "toolCallName", "tool_call_name", "toolName", "tool_name"}
)
_NUMBERS = ("role", "type", "tokens_used")


@dataclass(frozen=True, slots=True)
class UpstreamEvent:
    """One event of a conversation as RevEng.AI sends it. `number` is its `event_id`, which rises."""

    number: int | None
    name: str
    run: str | None
    """Their id of the run it belongs to."""
    data: Any

    def text(self) -> str | None:
        """Return what an end of a run says."""
        names = _ERROR if self.name == RUN_ERROR else ("text", "content", _SCALAR)
        return _optional_text(Fields(self.data).take(*names))

    @property
    def tool_call_id(self) -> str | None:
        """Their id of the tool call that it is about, where it says so."""
        return _optional_text(_call(self.data).take(*_CALL_ID))

    def moves_on(self, tool_call_id: str | None) -> bool:
        """Whether this shows that the run does not wait any more for the confirmation of that tool call."""
        if self.name == "TOOL_CALL_RESULT":
            return self.tool_call_id in {None, tool_call_id}
        return self.name in _MOVING


def read(frame: Frame) -> UpstreamEvent:
    """Return what a frame says; one whose data is no object as documented is kept as it is."""
    payload = parsed(frame.data)
    outer = table(payload)
    number = outer.get("event_id")
    if not isinstance(number, int):
        number = int(frame.id) if frame.id.isdecimal() else None
    return UpstreamEvent(
        number,
        text(outer.get("type")) or frame.event,
        text(outer.get("source_run_id")),
        outer.get("data") if isinstance(payload, dict) else frame.data,
    )


class EventMapper:
    """What a run's events mean. It knows what later events refer to: the message, the tools and their arguments."""

    def __init__(self, entries: Sequence[JournalEntry] = ()) -> None:
        self.said = False
        """Whether there was any text of the answer."""
        self._message_id = ""
        self._tools: dict[str, str] = {}
        self._arguments: dict[str, str] = {}
        for entry in entries:
            self._note(entry.kind, entry.data)

    def event(self, event: UpstreamEvent) -> Event:
        """Return an event as we journal it; one that nobody here knows is `RAW`."""
        upstream_id = None if event.number is None else str(event.number)
        raw = Event(EventKind.RAW, {"name": event.name, "payload": event.data}, upstream_id)
        if event.name not in _FIELDS:
            return raw
        kind, names = _FIELDS[event.name]
        fields = Fields(event.data)
        data: dict[str, Any] = {}
        for ours, theirs in names.items():
            value = fields.take(*theirs)
            if value is not None:
                data[ours] = _text(value) if ours in _TEXTS else value
        if "message_id" in names:
            data.setdefault("message_id", self._message_id)
        if kind is EventKind.TEXT_MESSAGE_END and not data.get("text"):
            data.pop("text", None)  # the whole text overrides its pieces: nothing must not
        if kind is EventKind.TITLE_UPDATED:
            data["title"] = " ".join(data.get("title", "").split())[:_LONGEST_TITLE]
            if not data["title"]:
                return raw
        if kind in DELTAS:
            data.setdefault("delta", "")
        elif fields.rest():
            data["raw"] = fields.rest()
        self._note(kind, data)
        return Event(kind, data, upstream_id)

    def request(self, event: UpstreamEvent) -> RequestDraft:
        """Return what is asked with a confirmation that is required."""
        fields = _call(event.data)
        call_id = _optional_text(fields.take(*_CALL_ID))
        tool = _optional_text(fields.take(*_TOOL)) or self._tools.get(call_id or "")
        arguments = read_arguments(fields.take(*_ARGUMENTS))
        if arguments is None:
            arguments = read_arguments(self._arguments.get(call_id or ""))
        return confirmation(
            PLATFORM,
            tool,
            arguments,
            said=_optional_text(fields.take("message", "prompt", "description", "reason", "question")),
            rest=fields.rest(),
            tool_call_id=call_id,
            upstream_id=str(event.number),
        )

    def _note(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        call_id = str(data.get("tool_call_id", ""))
        if "message_id" in data and kind is EventKind.TEXT_MESSAGE_START:
            self._message_id = str(data["message_id"])
        elif kind is EventKind.TEXT_MESSAGE_CONTENT or kind is EventKind.TEXT_MESSAGE_END:
            self.said = self.said or bool(data.get("delta") or data.get("text"))
        elif kind is EventKind.TOOL_CALL_START:
            self._tools[call_id] = str(data.get("tool", ""))
            self._arguments[call_id] = _text(data.get("arguments", ""))
        elif kind is EventKind.TOOL_CALL_ARGS:
            self._arguments[call_id] = self._arguments.get(call_id, "") + str(data.get("delta", ""))


def _call(data: Any) -> Fields:
    """Return the fields of an event about a tool call, also where they stand in an object of their own."""
    fields = Fields(data)
    call = fields.take("toolCall", "tool_call", "function")
    if not isinstance(call, Mapping):
        return fields
    nested = dict(cast(Mapping[str, Any], call))
    return Fields({"call_id": nested.pop("id", None), **nested, **fields.rest()})


def _optional_text(value: Any) -> str | None:
    return None if value is None else _text(value) or None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def events(record: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the events of a conversation, oldest first."""
    return sorted(
        (event for event in tables(record.get("events")) if isinstance(event.get("event_id"), int)),
        key=_number,
    )


def newest(record: Mapping[str, Any]) -> int:
    """Return the highest number of an event that a conversation has; 0 for a new one."""
    return max(map(_number, events(record)), default=0)


def has_text(record: Mapping[str, Any], words: str, *, after: int) -> bool:
    """Whether an event behind number `after` holds exactly this text, wherever in its data."""
    return any(_holds(event.get("data"), words) for event in events(record) if _number(event) > after)


def conversation(record: Mapping[str, Any], *, instance: str) -> ConversationRecord:
    """Return a conversation; it has neither states nor metadata."""
    return ConversationRecord(
        id=conversation_id(instance, record["conversation_uuid"]),
        agent=f"{instance}:{ASSISTANT}",
        status=Status.OPEN,
        title=field_of(record, "title", text),
        context=field_of(record, "context", lambda said: table(said) or None),
        created_at=moment(record.get("created_at")),
        updated_at=moment(record.get("updated_at")),
    )


def messages(record: Mapping[str, Any], *, instance: str) -> list[Message]:
    """Return the messages of a conversation, oldest first; their ids are the numbers of their (first) events."""
    own_id = conversation_id(instance, record["conversation_uuid"])
    result: list[Message] = []
    users: Any = None
    pieces = False
    for event in events(record):
        data: Any = event.get("data")
        if users is None:
            users = event.get("role")
        role = _role(data, users=event.get("role") == users)
        said = words(data, _RESULT if role is Role.TOOL else _SPOKEN)
        if said is None:
            continue
        piece = isinstance(data, Mapping) and _PIECE in data
        if piece and pieces and result[-1].role is role:
            begun = result[-1]
            result[-1] = replace(
                begun, text=f"{begun.text}{said}", metadata=_with_tokens(begun.metadata, event)
            )
            continue
        pieces = piece
        result.append(
            Message(
                id=str(event["event_id"]),
                conversation_id=own_id,
                author="user" if role is Role.USER else f"{instance}:{ASSISTANT}",
                role=role,
                text=said,
                data=_beside_words(data),
                metadata={name: event[name] for name in _NUMBERS if name in event},
                created_at=moment(event.get("created_at")),
            )
        )
    return result


def _with_tokens(metadata: Mapping[str, Any], event: Mapping[str, Any]) -> Mapping[str, Any]:
    spent = metadata.get("tokens_used"), event.get("tokens_used")
    both = [tokens for tokens in spent if isinstance(tokens, int)]
    return {**metadata, "tokens_used": sum(both)} if both else metadata


def _number(event: Mapping[str, Any]) -> int:
    return int(event["event_id"])


def _role(data: Any, *, users: bool) -> Role:
    fields = table(data)
    if not _OF_A_TOOL.isdisjoint(fields):
        return Role.TOOL
    for said in (fields.get("role"), table(fields.get("message")).get("role")):
        if isinstance(said, str) and said in set(Role):
            return Role(said)
    return Role.USER if users else Role.ASSISTANT


def _beside_words(data: Any) -> Mapping[str, Any] | None:
    if not isinstance(data, Mapping):
        return None
    fields = cast(Mapping[str, Any], data)
    only_words = len(fields) == 1 and isinstance(next(iter(fields.values())), str)
    return None if only_words or _PIECE in fields else fields


def _holds(value: Any, words: str) -> bool:
    if isinstance(value, Mapping):
        return any(_holds(part, words) for part in cast(Mapping[str, Any], value).values())
    if isinstance(value, list):
        return any(_holds(part, words) for part in cast("list[Any]", value))
    return value == words
