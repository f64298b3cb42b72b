"""pi and OpenClaw: `~/.pi/agent/sessions/*/*.jsonl` and `~/.openclaw/agents/*/sessions/*.jsonl`, versions 1 to 3.

The first line is the session's head; the others are entries that name their parents, so that what was tried in another
way is a branch. The end of the file is where the session went on last.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from tertulia.history.contents import content_text, kind_of
from tertulia.history.formats import Origin, Reader
from tertulia.history.formats.tree import Branches
from tertulia.history.items import Item, Omission, UnreadableError
from tertulia.history.threads import REASONING, Part, ThreadBuilder, imported_thread
from tertulia.history.values import mapping, parse_time, sequence, text, without_empty
from tertulia.vocabulary.message_types import COMMAND_OUTPUT, CONTEXT, SUMMARY
from tertulia.vocabulary.models import Role

SOURCE = "pi"
_ENTRIES = {"compaction", "branch_summary", "model_change", "thinking_level_change", "session_info"}
_SUMMARIES = {"compaction", "branch_summary"}


class PiReader(Reader):
    """Reads a session file."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._builder: ThreadBuilder | None = None
        self._branches = Branches()

    @staticmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record is the head of a session, or one of its entries."""
        kind = kind_of(record)
        if kind == "session":
            return "id" in record and "timestamp" in record
        if kind == "message":
            return "role" in mapping(record.get("message"))
        return kind in _ENTRIES and "timestamp" in record

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages of an entry."""
        kind, at = kind_of(record), parse_time(record.get("timestamp"))
        if kind == "session":
            self._begin(record, at)
            return
        builder = self._started(at)
        name = text(record.get("id")) or f"line{line}"
        # Version 1 had no ids: each entry follows the one before it.
        parent = text(record.get("parentId")) if "id" in record else self._branches.latest
        with self._branches.at(builder, name, parent):
            yield from self._entry(builder, kind, name, record, at)

    def _entry(
        self, builder: ThreadBuilder, kind: str, name: str, record: dict[str, Any], at: datetime | None
    ) -> Iterable[Item]:
        if kind == "message":
            yield from _message(builder, name, mapping(record.get("message")), at)
        elif kind in _SUMMARIES:
            yield from builder.from_program(name, SUMMARY, text(record.get("summary")), at)
        elif kind == "custom_message":
            yield from builder.from_program(name, CONTEXT, content_text(record.get("content")), at)
        else:
            title = text(record.get("name")) if kind == "session_info" else None
            model = text(record.get("modelId")) if kind == "model_change" else None
            if builder.update(title=title, model=model):
                yield builder.thread

    def _begin(self, head: dict[str, Any], at: datetime | None) -> None:
        if self._builder is None:
            thread = imported_thread(
                SOURCE,
                text(head.get("id")) or self._origin.stem,
                metadata=without_empty(
                    folder=text(head.get("cwd")), forked_from=text(head.get("parentSession"))
                ),
                created_at=at or self._origin.modified,
            )
            self._builder = ThreadBuilder(thread)

    def _started(self, at: datetime | None) -> ThreadBuilder:
        if self._builder is None:
            self._begin({}, at)
        assert self._builder is not None
        return self._builder


def _message(
    builder: ThreadBuilder, name: str, message: dict[str, Any], at: datetime | None
) -> Iterable[Item]:
    role, content = str(message.get("role")), message.get("content")
    if role == "user":
        yield from builder.blocks(name, Role.USER, content, at)
    elif role == "assistant":
        yield from _answer(builder, name, message, at)
    elif role == "toolResult":
        yield from builder.tool_result(
            text(message.get("toolCallId")),
            content_text(content),
            at,
            Part(name),
            name=text(message.get("toolName")),
            failed=message.get("isError") is True,
        )
    elif role == "bashExecution":
        yield from builder.command(f"{name}:command", f"! {message.get('command')}", at, titles=False)
        yield from builder.from_program(name, COMMAND_OUTPUT, text(message.get("output")), at)
    elif role in {"branchSummary", "compactionSummary"}:
        yield from builder.from_program(name, SUMMARY, text(message.get("summary")), at)
    elif role in {"custom", "hookMessage"}:
        yield from builder.from_program(name, CONTEXT, content_text(content), at)
    else:
        raise UnreadableError("a message has no `role` that is known")


def _answer(
    builder: ThreadBuilder, name: str, message: dict[str, Any], at: datetime | None
) -> Iterable[Item]:
    model = text(message.get("model"))
    if builder.update(model=model):
        yield builder.thread
    said: list[object] = []
    calls: list[tuple[int, Mapping[str, Any]]] = []
    for place, block in enumerate(map(mapping, sequence(message.get("content")))):
        match kind_of(block):
            case "thinking":
                yield REASONING
            case "toolCall":
                calls.append((place, block))
            case "text" | "image":
                said.append(block)
            case _:
                yield Omission("contents of unknown kinds")
    yield from builder.message(name, Role.ASSISTANT, content_text(said), at, model=model)
    for place, call in calls:
        yield from builder.tool_call(
            text(call.get("id")),
            text(call.get("name")) or "tool",
            call.get("arguments"),
            at,
            Part(name, place),
        )
