"""OpenCode: what `opencode export` writes, one object with the session's `info` and its `messages` in parts."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from tertulia.history.contents import file_label
from tertulia.history.formats import Reader
from tertulia.history.items import Item, Omission, UnreadableError, local_id
from tertulia.history.threads import REASONING, Part, ThreadBuilder, imported_thread
from tertulia.history.values import mapping, parse_time, sequence, text, without_empty
from tertulia.vocabulary.message_types import CONTEXT, NOTIFICATION, SUMMARY
from tertulia.vocabulary.models import Role

SOURCE = "opencode"
_STATE = {"step-start", "step-finish", "snapshot", "patch", "agent", "subtask", "retry", "compaction"}


class OpenCodeReader(Reader):
    """Reads an exported session."""

    @staticmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record is a session with its messages."""
        first = mapping(next(iter(sequence(record.get("messages"))), None))
        has_parts = "info" in first and isinstance(first.get("parts"), list)
        return "id" in mapping(record.get("info")) and (has_parts or record.get("messages") == [])

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages of a session."""
        info = mapping(record.get("info"))
        ref, parent = text(info.get("id")), text(info.get("parentID"))
        if ref is None or not isinstance(record.get("messages"), list):
            raise UnreadableError("a session has no `info` with an `id`, or no `messages`")
        thread = imported_thread(
            SOURCE,
            ref,
            title=text(info.get("title")),
            metadata=without_empty(
                folder=text(info.get("directory")),
                version=text(info.get("version")),
                subagent_of=None if parent is None else local_id(SOURCE, parent),
            ),
            created_at=parse_time(mapping(info.get("time")).get("created")) or self._origin.modified,
        )
        builder = ThreadBuilder(thread)
        for number, message in enumerate(map(mapping, record["messages"])):
            yield from _message(builder, number, message)


def _message(builder: ThreadBuilder, number: int, message: dict[str, Any]) -> Iterable[Item]:
    info = mapping(message.get("info"))
    name = text(info.get("id")) or f"message{number}"
    at = parse_time(mapping(info.get("time")).get("created"))
    role = Role.USER if info.get("role") == "user" else Role.ASSISTANT
    model = text(info.get("modelID")) or text(mapping(info.get("model")).get("modelID"))
    if role is Role.ASSISTANT and builder.update(model=model):
        yield builder.thread
    for place, part in enumerate(map(mapping, sequence(message.get("parts")))):
        part_name = f"{name}:{text(part.get('id')) or place}"
        kind, said = str(part.get("type")), text(part.get("text"))
        if kind == "text" and part.get("synthetic") is True:
            yield from builder.from_program(part_name, CONTEXT, said, at)
        elif kind == "text" and info.get("summary") is True:
            yield from builder.from_program(part_name, SUMMARY, said, at)
        elif kind == "text":
            yield from builder.message(
                part_name, role, said, at, model=model if role is Role.ASSISTANT else None
            )
        elif kind == "reasoning":
            yield REASONING
        elif kind == "tool":
            yield from _tool(builder, part, at, Part(name, place))
        elif kind == "file":
            label = file_label("file", part.get("filename"), part.get("mime"))
            yield from builder.message(part_name, role, label, at)
        elif kind not in _STATE:
            yield Omission("contents of unknown kinds")
    error = mapping(info.get("error"))
    if error:
        said = text(mapping(error.get("data")).get("message")) or text(error.get("name"))
        yield from builder.from_program(f"{name}:error", NOTIFICATION, said, at)


def _tool(
    builder: ThreadBuilder, part: Mapping[str, Any], at: datetime | None, place: Part
) -> Iterable[Item]:
    state, call_id = mapping(part.get("state")), text(part.get("callID"))
    time = mapping(state.get("time"))
    begun, ended = parse_time(time.get("start")) or at, parse_time(time.get("end")) or at
    yield from builder.tool_call(call_id, text(part.get("tool")) or "tool", state.get("input"), begun, place)
    output = state.get("output")
    returned = text(output) or text(state.get("error"))
    if returned is None and output:
        returned = json.dumps(output, ensure_ascii=False)
    if returned is not None:
        failed = state.get("status") == "error"
        yield from builder.tool_result(call_id, returned, ended, place, failed=failed)
