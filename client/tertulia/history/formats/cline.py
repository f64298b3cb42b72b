"""Cline and Roo Code: `tasks/ID/api_conversation_history.json` in the editor's storage.

It is an array of messages of Anthropic's Messages API. What the user wrote stands between tags, among what the program
put in; calls of tools are blocks, or stand in the assistant's text. The task's id is the name of its folder.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from tertulia.history.formats import Origin, Reader
from tertulia.history.formats.wrapped import split_message
from tertulia.history.items import Item, UnreadableError
from tertulia.history.threads import ThreadBuilder, imported_thread
from tertulia.history.values import mapping, parse_time, sequence, text
from tertulia.vocabulary.message_types import CONTEXT
from tertulia.vocabulary.models import Role

SOURCE = "cline"
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT}
_TYPED = ("task", "feedback", "answer", "user_message")
_WRAPPED: Mapping[str, str | None] = {
    **dict.fromkeys(_TYPED),
    "environment_details": CONTEXT,
    "explicit_instructions": CONTEXT,
    "file_content": CONTEXT,
    "hook_context": CONTEXT,
}
_SIGNS = ("<task>", "<environment_details>", "[TASK RESUMPTION]")
_PROGRAM = ("[TASK RESUMPTION]", "[ERROR]", "# task_progress")
_HISTORY = "api_conversation_history"


class ClineReader(Reader):
    """Reads the history of a task."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        ref = origin.folder if origin.stem == _HISTORY and origin.folder else origin.stem
        self._builder = ThreadBuilder(
            imported_thread(SOURCE, ref, created_at=_task_time(ref) or origin.modified)
        )
        self._number = 0

    @staticmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record is a message of the user with the tags of a task."""
        said = [text(mapping(block).get("text")) or "" for block in sequence(record.get("content"))]
        return record.get("role") == "user" and any(each.lstrip().startswith(_SIGNS) for each in said)

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages of a message."""
        role = _ROLES.get(str(record.get("role")))
        if role is None:
            raise UnreadableError("a message has no `role` that is known")
        number, self._number = self._number, self._number + 1
        name, at, content = f"message{number}", parse_time(record.get("ts")), record.get("content")
        if role is Role.USER:
            message = split_message(content, _WRAPPED, _type_of)
            yield from message.from_program(self._builder, name, at)
            content = message.typed
        yield from self._builder.blocks(name, role, content, at)


def _type_of(said: str) -> str | None:
    """Return the type of a text between no tags: a result of a tool begins `[read_file for 'a.py'] Result:`."""
    is_result = said.startswith("[") and "] Result:" in said.partition("\n")[0]
    return CONTEXT if is_result or said.startswith(_PROGRAM) else None


def _task_time(ref: str) -> datetime | None:
    """Return the time in a task's id: Cline numbers them by milliseconds."""
    return parse_time(int(ref)) if ref.isascii() and ref.isdecimal() and len(ref) == 13 else None
