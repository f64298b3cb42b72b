"""Copilot CLI: `~/.copilot/session-state/ID/events.jsonl`.

A line is an event with its `data`. A call of a tool stands in the `assistant.message` that asks for it and again where
it is carried out.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from tertulia.history.contents import content_text, file_label
from tertulia.history.formats import Origin, Reader
from tertulia.history.items import Item, Omission
from tertulia.history.threads import REASONING, Part, ThreadBuilder, imported_thread
from tertulia.history.values import mapping, parse_time, sequence, text, without_empty
from tertulia.vocabulary.message_types import INTERRUPTION, NOTIFICATION, SUMMARY
from tertulia.vocabulary.models import Role

SOURCE = "copilot-cli"
_SAID = {"user.message", "assistant.message", "system.message"}
_TOOLS = {"tool.execution_start", "tool.execution_complete"}
_NOTICES = {"session.error": NOTIFICATION, "session.warning": NOTIFICATION, "abort": INTERRUPTION}
_USERS = {None, "user", "interactive"}


class CopilotReader(Reader):
    """Reads the events of a session."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._builder: ThreadBuilder | None = None

    @staticmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record is an event of a session."""
        kind = str(record.get("type"))
        known = kind in _SAID or kind in _TOOLS or kind.startswith("session.")
        return known and isinstance(record.get("data"), dict) and "id" in record

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages of an event."""
        kind, data = str(record.get("type")), mapping(record.get("data"))
        at, name = parse_time(record.get("timestamp")), text(record.get("id")) or f"line{line}"
        if kind == "session.start":
            self._begin(data, at)
        builder = self._started(at)
        if kind in _SAID:
            yield from _said(builder, kind, name, data, at)
        elif kind in _TOOLS:
            yield from _tool(builder, kind, data, at)
        elif kind in {"session.model_change", "session.title_changed"}:
            title, model = text(data.get("title")), text(data.get("newModel"))
            if builder.update(title=title, model=model):
                yield builder.thread
        elif kind == "session.compaction_complete":
            yield from builder.from_program(name, SUMMARY, text(data.get("summaryContent")), at)
        elif kind in _NOTICES:
            said = text(data.get("message")) or text(data.get("reason")) or kind
            yield from builder.from_program(name, _NOTICES[kind], said, at)
        elif kind == "assistant.reasoning":
            yield REASONING
        elif kind == "session.info":
            yield Omission("notices of the program")

    def _begin(self, data: dict[str, Any], at: datetime | None) -> None:
        if self._builder is None:
            context = mapping(data.get("context"))
            stem = self._origin.folder if self._origin.stem == "events" else self._origin.stem
            thread = imported_thread(
                SOURCE,
                text(data.get("sessionId")) or stem,
                metadata=without_empty(
                    folder=text(context.get("cwd")),
                    git_branch=text(context.get("branch")),
                    model=text(data.get("selectedModel")),
                    version=text(data.get("copilotVersion")),
                ),
                created_at=parse_time(data.get("startTime")) or at or self._origin.modified,
            )
            self._builder = ThreadBuilder(thread)

    def _started(self, at: datetime | None) -> ThreadBuilder:
        if self._builder is None:
            self._begin({}, at)
        assert self._builder is not None
        return self._builder


def _said(
    builder: ThreadBuilder, kind: str, name: str, data: dict[str, Any], at: datetime | None
) -> Iterable[Item]:
    content = data.get("content")
    if kind == "system.message":
        yield Omission("context")
        return
    if kind == "assistant.message":
        if text(data.get("reasoningText")) or text(data.get("reasoningOpaque")):
            yield REASONING
        model = text(data.get("model")) or text(builder.thread.conversation.metadata.get("model"))
        said = content_text(content)
        yield from builder.message(text(data.get("messageId")) or name, Role.ASSISTANT, said, at, model=model)
        for place, call in enumerate(map(mapping, sequence(data.get("toolRequests")))):
            yield from _call(builder, call, at, Part(name, place))
        return
    labels = [
        file_label("file", each.get("displayName") or each.get("path"))
        for each in map(mapping, sequence(data.get("attachments")))
    ]
    said = "\n".join(each for each in (content_text(content), *labels) if each)
    if data.get("source") in _USERS:
        yield from builder.message(name, Role.USER, said, at)
    else:
        yield from builder.from_program(name, NOTIFICATION, said, at)


def _call(builder: ThreadBuilder, call: Mapping[str, Any], at: datetime | None, part: Part) -> Iterable[Item]:
    call_id = text(call.get("toolCallId"))
    name = text(call.get("name")) or text(call.get("toolName")) or "tool"
    # The same call stands in two events: its id is the part that it is.
    yield from builder.tool_call(
        call_id, name, call.get("arguments"), at, part if call_id is None else Part(call_id)
    )


def _tool(builder: ThreadBuilder, kind: str, data: dict[str, Any], at: datetime | None) -> Iterable[Item]:
    call_id = text(data.get("toolCallId"))
    if kind == "tool.execution_start":
        yield from _call(builder, data, at, Part("start"))
        return
    result = data.get("result")
    content = mapping(result).get("content", result)
    returned = content_text(content) or text(mapping(data.get("error")).get("message"))
    if returned is None and content:
        returned = json.dumps(content, ensure_ascii=False)
    failed = data.get("success") is False
    yield from builder.tool_result(call_id, returned, at, Part(f"{call_id}:complete"), failed=failed)
