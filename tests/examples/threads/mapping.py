"""Threads' records and events in the words of the vocabulary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tertulia.platforms.kit.fields import Fields, confirmation, read_arguments
from tertulia.platforms.kit.http.moments import moment
from tertulia.platforms.kit.http.streams import Frame
from tertulia.platforms.kit.http.values import parsed, table, tables, text, words
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.identifiers import conversation_id
from tertulia.vocabulary.models import (
    ConversationRecord,
    Decision,
    MessageRecord,
    Request,
    RequestDraft,
    RequestKind,
    Role,
    Settlement,
)
from tertulia.vocabulary.states import Status
from tests.examples.threads.wire import PLATFORM, Record

ASSISTANT_ID = "assistant_id"
TITLE = "title"
END = "end"
_ROLES = {"human": Role.USER, "ai": Role.ASSISTANT, "tool": Role.TOOL, "system": Role.SYSTEM}


@dataclass(frozen=True, slots=True)
class UpstreamEvent:
    """One event of a run as Threads sends it. `id` is opaque: it is given back as it came."""

    id: str | None
    name: str
    data: Any


def read(frame: Frame) -> UpstreamEvent:
    """Return what a frame says."""
    return UpstreamEvent(frame.id or None, frame.event, parsed(frame.data))


def events(event: UpstreamEvent) -> list[Event]:
    """Return an event as the journal has it; one that nobody here knows is `RAW`."""
    data = table(event.data)
    if event.name == "messages" and data.get("type") == "tool":
        return [Event(EventKind.TOOL_CALL_RESULT, _result(data))]
    if event.name == "messages" and data.get("type") == "ai":
        return [*_text(data), *_calls(data)]
    if event.name == "updates":
        return [Event(EventKind.STEP_FINISHED, {"name": node}) for node in data]
    if event.name in {"metadata", "error"}:  # the state tells both, too
        return []
    return [Event(EventKind.RAW, {"name": event.name, "payload": event.data})]


def _text(data: Record) -> list[Event]:
    delta = words(data.get("content"), ["text"])
    about = {"message_id": data.get("id") or ""}
    return [] if delta is None else [Event(EventKind.TEXT_MESSAGE_CONTENT, {**about, "delta": delta})]


def _calls(data: Record) -> list[Event]:
    calls: list[Event] = []
    for call in tables(data.get("tool_calls")):
        about = {"tool_call_id": call.get("id") or "", "tool": call.get("name") or ""}
        calls.append(
            Event(EventKind.TOOL_CALL_START, {**about, "arguments": read_arguments(call.get("args")) or {}})
        )
    return calls


def _result(data: Record) -> dict[str, Any]:
    outcome = {"outcome": data["status"]} if data.get("status") else {}
    return {"tool_call_id": data.get("tool_call_id") or "", "result": data.get("content"), **outcome}


def latest(runs: Sequence[Record], run_id: str) -> Record | None:
    """Return a message's run: the one that it began, or the last that resumed that. `runs` has the newest first."""
    found: Record | None = None
    for run in reversed(runs):
        if run["run_id"] == run_id:
            found = run
        elif found is not None:
            if not table(run.get("kwargs")).get("command"):
                break  # another message's
            found = run
    return found


def request(interrupt: Record, assistant_id: str) -> RequestDraft:
    """Return what a person is asked: whether a tool may run, or a question in words."""
    upstream_id = str(interrupt.get("id"))
    data = {ASSISTANT_ID: assistant_id}
    fields = Fields(interrupt.get("value"), alone="question")
    action = Fields(fields.take("action"))
    tool = text(action.take("name"))
    if tool is None:
        prompt = (
            words(interrupt.get("value"), ["question", "description"]) or f"{PLATFORM} asks for an answer."
        )
        return RequestDraft(kind=RequestKind.QUESTION, prompt=prompt, upstream_id=upstream_id, data=data)
    draft = confirmation(
        PLATFORM,
        tool,
        read_arguments(action.take("args")),
        said=text(fields.take("description")),
        rest={**fields.rest(), **action.rest()},
        tool_call_id=None,
        upstream_id=upstream_id,
    )
    return replace(draft, data=data)


def resumption(request: Request, settlement: Settlement) -> Record:
    """Return the body that resumes a run with a person's decision."""
    value: Any = settlement.answer
    if request.kind is RequestKind.CONFIRMATION:
        if settlement.decision is Decision.REJECT:
            value = {"type": "reject", "message": settlement.reason}
        elif settlement.arguments is not None:
            value = {"type": "edit", "args": settlement.arguments}
        else:
            value = {"type": "approve"}
    return {
        ASSISTANT_ID: request.data[ASSISTANT_ID],
        "command": {"resume": {request.upstream_id: value}},
        "multitask_strategy": "reject",
    }


def interrupts(state: Record) -> Mapping[str, Record]:
    """Return what waits for a person, by id."""
    return {str(one.get("id")): one for one in tables(state.get("interrupts"))}


def conversation(thread: Record, *, instance: str, agent: str | None) -> ConversationRecord:
    """Return a conversation. Threads has no title: that is kept in the metadata."""
    fields = Fields(thread.get("metadata"))
    title = text(fields.take(TITLE))
    fields.take(ASSISTANT_ID)
    return ConversationRecord(
        id=conversation_id(instance, thread["thread_id"]),
        agent=agent,
        status=Status.OPEN,
        title=title,
        metadata=fields.rest(),
        created_at=moment(thread.get("created_at")),
        updated_at=moment(thread.get("updated_at")),
    )


def messages(state: Record, *, own_id: str, agent: str | None) -> list[MessageRecord]:
    """Return the messages of a thread's state, oldest first."""
    return [
        MessageRecord(
            id=str(one.get("id")),
            conversation_id=own_id,
            author="user" if one.get("type") == "human" else agent or PLATFORM,
            role=_ROLES.get(str(one.get("type")), Role.ASSISTANT),
            text=words(one.get("content"), ["text"]),
            data={"tool_calls": one["tool_calls"]} if one.get("tool_calls") else None,
        )
        for one in tables(table(state.get("values")).get("messages"))
    ]


def reply(state: Record, message_id: str) -> str | None:
    """Return the text that answers a message: what the assistant said after it."""
    said: list[str] | None = None
    for one in tables(table(state.get("values")).get("messages")):
        if one.get("id") == message_id:
            said = []
        elif said is not None and one.get("type") == "ai":
            said.append(words(one.get("content"), ["text"]) or "")
    return "\n\n".join(piece for piece in said or () if piece) or None
