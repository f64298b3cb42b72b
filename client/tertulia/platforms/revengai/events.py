"""RevEng.AI's events in our words.

The names of the seventeen events and what stands around their data are in the vendor's SDK (`models/event_*.py`,
`models/sse_event_*_data.py`); their `data` is untyped there. The names of its fields are therefore taken in both
spellings, camelCase (as in AG-UI) and snake_case, and whatever is left over is kept as it came, under `raw`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from tertulia.platforms.kit.http.streams import Frame
from tertulia.vocabulary.events import DELTAS, Event, EventKind, JournalEntry
from tertulia.vocabulary.identifiers import shown
from tertulia.vocabulary.models import RequestDraft, RequestKind

RUN_STARTED = "RUN_STARTED"
RUN_FINISHED = "RUN_FINISHED"
RUN_ERROR = "RUN_ERROR"
RUN_CANCELLED = "RUN_CANCELLED"
CONFIRMATION_REQUIRED = "TOOL_CONFIRMATION_REQUIRED"
ENDS = frozenset({RUN_FINISHED, RUN_ERROR, RUN_CANCELLED})
_MOVING = frozenset({RUN_STARTED, CONFIRMATION_REQUIRED, "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", *ENDS})

_LONGEST_TITLE = 200
_LONGEST_QUOTE = 500
_SCALAR = "value"
"""Where data stands that is no object."""

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
    payload: Any
    try:
        payload = json.loads(frame.data)
    except (ValueError, RecursionError):
        payload = None
    if not isinstance(payload, dict):
        return UpstreamEvent(int(frame.id) if frame.id.isdecimal() else None, frame.event, None, frame.data)
    outer = cast(dict[str, Any], payload)
    number, name, run = outer.get("event_id"), outer.get("type"), outer.get("source_run_id")
    if not isinstance(number, int):
        number = int(frame.id) if frame.id.isdecimal() else None
    return UpstreamEvent(
        number,
        name if isinstance(name, str) else frame.event,
        run if isinstance(run, str) else None,
        outer.get("data"),
    )


class Fields:
    """Untyped data, of which each field is taken once, under whichever of its names it has."""

    def __init__(self, data: Any) -> None:
        self._left: dict[str, Any] = (
            dict(cast(Mapping[str, Any], data))
            if isinstance(data, Mapping)
            else {}
            if data is None
            else {_SCALAR: data}
        )

    def take(self, *names: str) -> Any:
        """Return the first of the fields that is there and not null, and None where none is."""
        for name in names:
            if self._left.get(name) is not None:
                return self._left.pop(name)
        return None

    def rest(self) -> dict[str, Any]:
        """Return what nobody has taken."""
        return self._left


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

    def event(self, happened: UpstreamEvent) -> Event:
        """Return an event as we journal it; one that nobody here knows is `RAW`."""
        upstream_id = None if happened.number is None else str(happened.number)
        raw = Event(EventKind.RAW, {"name": happened.name, "payload": happened.data}, upstream_id)
        if happened.name not in _FIELDS:
            return raw
        kind, names = _FIELDS[happened.name]
        fields = Fields(happened.data)
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

    def request(self, happened: UpstreamEvent) -> RequestDraft:
        """Return what is asked with a confirmation that is required; a person sees all that came with it."""
        fields = _call(happened.data)
        call_id = _optional_text(fields.take(*_CALL_ID))
        tool = _optional_text(fields.take(*_TOOL)) or self._tools.get(call_id or "")
        arguments = _arguments(fields.take(*_ARGUMENTS))
        if arguments is None:
            arguments = _arguments(self._arguments.get(call_id or "")) or {}
        said = _optional_text(fields.take("message", "prompt", "description", "reason", "question"))
        rest = {name: value for name, value in fields.rest().items() if value is not None}
        prompt = f"RevEng.AI asks to run {'a tool' if tool is None else tool}."
        if said:
            prompt += f" It says: {shown(said, _LONGEST_QUOTE)}."
        if rest:
            prompt += f" It came with: {shown(json.dumps(rest, ensure_ascii=False), _LONGEST_QUOTE)}."
        return RequestDraft(
            kind=RequestKind.CONFIRMATION,
            prompt=prompt,
            tool=tool,
            arguments=arguments,
            tool_call_id=call_id,
            upstream_id=str(happened.number),
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


def _arguments(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {"arguments": value} if value else None
    if value is None or isinstance(value, Mapping):
        return cast("Mapping[str, Any] | None", value)
    return {"arguments": value}


def _optional_text(value: Any) -> str | None:
    return None if value is None else _text(value) or None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
