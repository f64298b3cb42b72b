"""A2A's tasks, messages and events, of versions 1.0 and 0.3, in one set of models, and those in our words.

1.0 says `TASK_STATE_INPUT_REQUIRED`, `ROLE_AGENT` and `{"text": …}` where 0.3 says `input-required`, `agent` and
`{"kind": "text", "text": …}`; either is read. The answer to a message is the text of its task's artifacts, which an
agent may extend or replace until the task has ended.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from tertulia.platforms.a2a.card import Version
from tertulia.platforms.kit.http.moments import moment
from tertulia.platforms.kit.http.streams import Frame
from tertulia.platforms.kit.http.values import parsed, table, tables, text
from tertulia.vocabulary.events import Event, EventKind, JournalEntry
from tertulia.vocabulary.models import (
    MessageRecord,
    RequestDraft,
    RequestKind,
    Role,
)
from tertulia.vocabulary.untrusted import shown

CONTINUE_TOOL = "continue_after_authorization"
"""What a person confirms after giving an agent the authorization that it asks for, elsewhere."""
TASK_ID = "task_id"
CONTEXT_ID = "context_id"
_LONGEST_QUOTE = 2000
_LONGEST_STEP = 200
_BLANK_LINE = "\n\n"


class TaskState(StrEnum):
    """Where a task stands, as 0.3 writes it."""

    SUBMITTED = "submitted"
    WORKING = "working"
    INPUT_REQUIRED = "input-required"
    AUTH_REQUIRED = "auth-required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    REJECTED = "rejected"

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self in {TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELED, TaskState.REJECTED}


WAITING = frozenset({TaskState.INPUT_REQUIRED, TaskState.AUTH_REQUIRED})
"""A task waits for somebody."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of content: one of the three."""

    text: str | None = None
    data: Any = None
    file: Mapping[str, Any] | None = None
    """What is known of a file: `name`, `media_type`, and `url` or the number of `bytes`. Its contents are not kept."""


@dataclass(frozen=True, slots=True)
class AgentMessage:
    """A message in a task, or in place of one."""

    id: str
    role: Role
    parts: Sequence[Part]
    task_id: str | None = None
    context_id: str | None = None

    @property
    def text(self) -> str:
        """Its text."""
        return "\n".join(part.text for part in self.parts if part.text)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A part of a task's answer."""

    id: str
    parts: Sequence[Part]

    @property
    def text(self) -> str:
        """Its text; an agent that streams sends it in many parts."""
        return "".join(part.text for part in self.parts if part.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusUpdate:
    """A task's new state."""

    task_id: str
    context_id: str | None
    state: TaskState
    message: AgentMessage | None
    at: datetime | None

    @property
    def question_id(self) -> str:
        """What identifies the question that the task waits on."""
        if self.message is not None and self.message.id:
            return self.message.id
        return f"{self.task_id} {'' if self.at is None else self.at.isoformat()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(StatusUpdate):
    """A task as it is now."""

    artifacts: Sequence[Artifact] = ()
    history: Sequence[AgentMessage] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactUpdate:
    """An artifact that is new, replaced, or extended (`append`)."""

    task_id: str
    context_id: str | None
    artifact: Artifact
    append: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """An error in place of an event."""

    message: str | None


UpstreamEvent = Task | AgentMessage | StatusUpdate | ArtifactUpdate | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingMessage:
    """A message of ours: the first of a task, or one into the task that waits for it."""

    id: str
    text: str | None
    data: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    context_id: str | None
    task_id: str | None = None


def outgoing(message: OutgoingMessage, version: Version) -> Mapping[str, Any]:
    """Return a message as a version writes it."""
    old = version is Version.V03
    parts: list[Mapping[str, Any]] = []
    if message.text is not None:
        parts.append({"kind": "text", "text": message.text} if old else {"text": message.text})
    if message.data is not None:
        parts.append({"kind": "data", "data": message.data} if old else {"data": message.data})
    written = {
        "messageId": message.id,
        "role": "user" if old else "ROLE_USER",
        "parts": parts,
        "contextId": message.context_id,
        "taskId": message.task_id,
        "metadata": dict(message.metadata) or None,
        "kind": "message" if old else None,
    }
    return {name: value for name, value in written.items() if value is not None}


def read(frame: Frame) -> UpstreamEvent | None:
    """Return the event of a frame; None for one that says nothing."""
    body = table(parsed(frame.data))
    error = body.get("error")
    if error is not None:
        return Failure(text(table(error).get("message")))
    return event(body.get("result"))


def event(result: Any) -> UpstreamEvent | None:
    """Return what a result says: in 1.0 an object under the name of what it is, in 0.3 one with its `kind`."""
    found = table(result)
    if (named := found.get("task")) is not None or found.get("kind") == "task":
        return task(found if named is None else named)
    if (named := found.get("message")) is not None or found.get("kind") == "message":
        return _message(found if named is None else named)
    if (named := found.get("statusUpdate")) is not None or found.get("kind") == "status-update":
        return _status_update(table(found if named is None else named))
    if (named := found.get("artifactUpdate")) is not None or found.get("kind") == "artifact-update":
        return _artifact_update(table(found if named is None else named))
    return None


def task(value: Any) -> Task | None:
    """Return a task; None for what is none."""
    found = table(value)
    task_id = text(found.get("id"))
    if task_id is None:
        return None
    state, message, at = _status(found.get("status"))
    history = [_message(one) for one in tables(found.get("history"))]
    return Task(
        task_id=task_id,
        context_id=text(found.get("contextId")),
        state=state,
        message=message,
        at=at,
        artifacts=[_artifact(one) for one in tables(found.get("artifacts"))],
        history=[one for one in history if one is not None],
    )


def _status_update(found: Mapping[str, Any]) -> StatusUpdate | None:
    task_id = text(found.get("taskId"))
    if task_id is None:
        return None
    state, message, at = _status(found.get("status"))
    return StatusUpdate(
        task_id=task_id, context_id=text(found.get("contextId")), state=state, message=message, at=at
    )


def _artifact_update(found: Mapping[str, Any]) -> ArtifactUpdate | None:
    task_id = text(found.get("taskId"))
    if task_id is None:
        return None
    return ArtifactUpdate(
        task_id=task_id,
        context_id=text(found.get("contextId")),
        artifact=_artifact(table(found.get("artifact"))),
        append=found.get("append") is True,
    )


def _status(value: Any) -> tuple[TaskState, AgentMessage | None, datetime | None]:
    status = table(value)
    said = (text(status.get("state")) or "").removeprefix("TASK_STATE_").lower().replace("_", "-")
    # A state that nobody here knows is not final: whoever follows the task looks again.
    state = TaskState(said) if said in set(TaskState) else TaskState.WORKING
    return state, _message(status.get("message")), moment(status.get("timestamp"))


def _message(value: Any) -> AgentMessage | None:
    found = table(value)
    if not found:
        return None
    role = (text(found.get("role")) or "").removeprefix("ROLE_").lower()
    return AgentMessage(
        text(found.get("messageId")) or "",
        Role.USER if role == "user" else Role.ASSISTANT,
        [_part(one) for one in tables(found.get("parts"))],
        text(found.get("taskId")),
        text(found.get("contextId")),
    )


def _artifact(found: Mapping[str, Any]) -> Artifact:
    return Artifact(text(found.get("artifactId")) or "", [_part(one) for one in tables(found.get("parts"))])


def _part(found: Mapping[str, Any]) -> Part:
    if isinstance(found.get("text"), str):
        return Part(text=text(found["text"]))
    if "data" in found:
        return Part(data=found["data"])
    old = table(found.get("file"))
    url = text(found.get("url")) or text(old.get("uri"))
    raw = text(found.get("raw")) or text(old.get("bytes"))
    about: dict[str, Any] = {
        "name": text(found.get("filename")) or text(old.get("name")),
        "media_type": text(found.get("mediaType")) or text(old.get("mimeType")),
        "url": url,
        "bytes": None if raw is None or url is not None else len(raw.rstrip("=")) * 3 // 4,
    }
    return Part(file={name: value for name, value in about.items() if value is not None})


class AnswerMapper:
    """Maps what is told of a task's artifacts to events that bring the shown text up to theirs.

    `entries` are what earlier attempts journalled.
    """

    def __init__(self, message_id: str, entries: Sequence[JournalEntry] = ()) -> None:
        self._about = {"message_id": message_id}
        self._artifacts: dict[str, list[Part]] = {}
        self._opened = False
        self._shown = ""
        for entry in entries:
            if entry.kind is EventKind.TEXT_MESSAGE_START:
                self._opened = True
            elif entry.kind is EventKind.TEXT_MESSAGE_CONTENT:
                self._shown += str(entry.data.get("delta", ""))
            elif entry.kind is EventKind.SNAPSHOT:
                self._shown = str(entry.data.get("text", ""))

    def update(self, update: ArtifactUpdate) -> list[Event]:
        """Return what an artifact adds to the text, or replaces in it."""
        artifact = update.artifact
        known = self._artifacts.get(artifact.id)
        if known is None or not update.append:
            self._artifacts[artifact.id] = [*artifact.parts]
            return self._brought_up()
        ends_the_text = artifact.id == next(reversed(self._artifacts)) and any(part.text for part in known)
        known += artifact.parts
        return self._added(artifact.text) if ends_the_text else self._brought_up()

    def replace(self, artifacts: Sequence[Artifact]) -> list[Event]:
        """Return what makes the shown text that of a task's artifacts, which replace all that were told."""
        self._artifacts = {artifact.id: [*artifact.parts] for artifact in artifacts}
        return self._brought_up()

    def answer(self, message: AgentMessage | None) -> tuple[str, Mapping[str, Any] | None]:
        """Return the text and the structured part of the whole answer: the artifacts, and what was said at the end."""
        artifacts = [Artifact(own_id, parts) for own_id, parts in self._artifacts.items()]
        return whole_answer(artifacts, message)

    def closed(self, answer: str) -> list[Event]:
        """Return the end of the answer, whose text replaces what was shown."""
        if not answer:
            return []
        return [*self._open(), Event(EventKind.TEXT_MESSAGE_END, {**self._about, "text": answer})]

    def _brought_up(self) -> list[Event]:
        whole = _joined([Artifact(own_id, parts) for own_id, parts in self._artifacts.items()])
        if whole.startswith(self._shown):
            return self._added(whole[len(self._shown) :])
        self._shown = whole
        return [*self._open(), Event(EventKind.SNAPSHOT, {**self._about, "text": whole})]

    def _added(self, delta: str) -> list[Event]:
        if not delta:
            return []
        self._shown += delta
        return [*self._open(), Event(EventKind.TEXT_MESSAGE_CONTENT, {**self._about, "delta": delta})]

    def _open(self) -> list[Event]:
        events = [] if self._opened else [Event(EventKind.TEXT_MESSAGE_START, self._about)]
        self._opened = True
        return events


def whole_answer(
    artifacts: Sequence[Artifact], message: AgentMessage | None
) -> tuple[str, Mapping[str, Any] | None]:
    """Return the text and the structured part of an answer.

    What an agent says at the end belongs to it, unless an artifact has the same words.
    """
    said = _joined(artifacts)
    ending = "" if message is None else message.text
    if ending and ending not in said:
        said = _BLANK_LINE.join(filter(None, (said, ending)))
    parts = [part for artifact in artifacts for part in artifact.parts]
    return said, structured([*parts, *(() if message is None else message.parts)])


def structured(parts: Sequence[Part]) -> Mapping[str, Any] | None:
    """Return the data and the files among the parts; None where there are neither. One object alone is itself."""
    data = [part.data for part in parts if part.data is not None]
    files = [part.file for part in parts if part.file is not None]
    if len(data) == 1 and not files and isinstance(data[0], dict):
        return table(data[0])
    found = {"data": data, "files": files}
    return {name: value for name, value in found.items() if value} or None


def step(update: StatusUpdate) -> list[Event]:
    """Return what an agent says while it works."""
    said = "" if update.message is None else " ".join(update.message.text.split())
    if not said:
        return []
    return [Event(EventKind.STEP_STARTED, {"name": said[:_LONGEST_STEP]}, update.question_id)]


def request(update: StatusUpdate, agent: str) -> RequestDraft:
    """Return what a person is asked: the agent's question, or whether an authorization was given elsewhere."""
    said = _question(update.message)
    data = {TASK_ID: update.task_id, CONTEXT_ID: update.context_id}
    if update.state is TaskState.INPUT_REQUIRED:
        prompt = said or f"{agent} waits for input, and does not say which."
        return RequestDraft(
            kind=RequestKind.QUESTION, prompt=prompt, upstream_id=update.question_id, data=data
        )
    quoted = f" It says: {shown(said, _LONGEST_QUOTE)}." if said else ""
    return RequestDraft(
        kind=RequestKind.CONFIRMATION,
        prompt=f"{agent} needs an authorization before it continues.{quoted} Give it where the agent says, never here: "
        "no password, key or token belongs into an answer. Approve once it is given; reject to stop the task.",
        tool=CONTINUE_TOOL,
        upstream_id=update.question_id,
        data=data,
    )


def _question(message: AgentMessage | None) -> str:
    """Return what a question says, its structured part (choices, a schema) as JSON."""
    if message is None:
        return ""
    found = structured(message.parts)
    written = "" if found is None else json.dumps(found, ensure_ascii=False)
    return _BLANK_LINE.join(filter(None, (message.text, written)))


def messages(found: Task, *, conversation_id: str, agent: str, user: str) -> list[MessageRecord]:
    """Return the messages of a task; its answer has the task's id. A task's messages have no times of their own."""

    def message(said: AgentMessage) -> MessageRecord:
        return MessageRecord(
            id=said.id,
            conversation_id=conversation_id,
            author=user if said.role is Role.USER else agent,
            role=said.role,
            text=said.text or None,
            data=structured(said.parts),
            created_at=found.at,
        )

    # What an agent said while it worked stands in the history too: only what somebody replied to was a message.
    followed = zip(found.history, [*found.history[1:], None], strict=True)
    told = [
        message(said)
        for said, reply in followed
        if said.id and (said.role is Role.USER or (reply is not None and reply.role is Role.USER))
    ]
    answer, data = whole_answer(found.artifacts, found.message if found.state.final else None)
    if (answer or data) and found.state.final and answer not in {one.text for one in told if answer}:
        told.append(
            MessageRecord(
                id=found.task_id,
                conversation_id=conversation_id,
                author=agent,
                role=Role.ASSISTANT,
                text=answer or None,
                data=data,
                created_at=found.at,
            )
        )
    return told


def _joined(artifacts: Sequence[Artifact]) -> str:
    return _BLANK_LINE.join(filter(None, (artifact.text for artifact in artifacts)))
