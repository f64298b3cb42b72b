"""Qwen Code: `~/.qwen/projects/*/chats/*.jsonl`.

A line is a message with content in the parts of Gemini's API, which names its parent: what was taken back and written
anew becomes a branch. (Earlier versions wrote Gemini CLI's format.)
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from tertulia.history.contents import kind_of
from tertulia.history.formats import Origin, Reader
from tertulia.history.formats.gemini_parts import read_parts, said_in
from tertulia.history.formats.tree import Branches
from tertulia.history.items import Item, Omission, UnreadableError
from tertulia.history.threads import ThreadBuilder, imported_thread
from tertulia.history.values import mapping, parse_time, text, without_empty
from tertulia.vocabulary.models import Role

SOURCE = "qwen-code"
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "tool_result": Role.TOOL}


class QwenReader(Reader):
    """Reads a session file."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._builder: ThreadBuilder | None = None
        self._branches = Branches()

    @staticmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record is a message in parts with its session."""
        has_parts = isinstance(mapping(record.get("message")).get("parts"), list)
        return {"uuid", "sessionId"} <= record.keys() and (has_parts or "systemPayload" in record)

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages of a line."""
        builder = self._started(record)
        kind, at = kind_of(record), parse_time(record.get("timestamp"))
        name, message = text(record.get("uuid")) or f"line{line}", mapping(record.get("message"))
        with self._branches.at(builder, name, text(record.get("parentUuid"))):
            if kind == "system":
                title = text(mapping(record.get("systemPayload")).get("customTitle"))
                if title is not None and builder.update(title=title):
                    yield builder.thread
                yield Omission("notices of the program")
            elif kind not in _ROLES or not isinstance(message.get("parts"), list):
                raise UnreadableError("a line has no `type` that is known, or no `message` with `parts`")
            else:
                yield from self._message(builder, name, _ROLES[kind], record, at)

    def _message(
        self, builder: ThreadBuilder, name: str, role: Role, record: dict[str, Any], at: datetime | None
    ) -> Iterable[Item]:
        parts, model = record["message"]["parts"], text(record.get("model"))
        if model is not None and builder.update(model=model):
            yield builder.thread
        if role is Role.USER and (said_in(parts) or "").startswith("<system-reminder>"):
            yield Omission("context")
            return
        yield from read_parts(builder, name, role, parts, at, model=model)

    def _started(self, record: dict[str, Any]) -> ThreadBuilder:
        if self._builder is None:
            thread = imported_thread(
                SOURCE,
                text(record.get("sessionId")) or self._origin.stem,
                metadata=without_empty(
                    folder=text(record.get("cwd")),
                    git_branch=text(record.get("gitBranch")),
                    version=text(record.get("version")),
                ),
                created_at=parse_time(record.get("timestamp")) or self._origin.modified,
            )
            self._builder = ThreadBuilder(thread)
        return self._builder
