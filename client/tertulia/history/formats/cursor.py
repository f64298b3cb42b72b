"""Cursor: `~/.cursor/projects/*/agent-transcripts/ID/ID.jsonl`, the transcripts of its agent.

A line is a message, whose `message` has content as Anthropic's Messages API does. What the user wrote stands in
`<user_query>`, among what the editor put in. The lines have neither ids nor times: those of the file count, and a
message is known by its place.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tertulia.history.formats import Origin, Reader
from tertulia.history.formats.wrapped import split_message
from tertulia.history.items import Item, UnreadableError
from tertulia.history.threads import ThreadBuilder, imported_thread
from tertulia.history.values import mapping
from tertulia.vocabulary.message_types import CONTEXT, NOTIFICATION
from tertulia.vocabulary.models import Role

SOURCE = "cursor"
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT}
_WRAPPED = {
    "user_query": None,
    "attached_files": CONTEXT,
    "open_and_recently_viewed_files": CONTEXT,
    "user_info": CONTEXT,
    "git_status": CONTEXT,
    "rules": CONTEXT,
    "agent_skills": CONTEXT,
    "project_layout": CONTEXT,
    "additional_data": CONTEXT,
    "manually_attached_skills": CONTEXT,
    "system_reminder": CONTEXT,
    "timestamp": CONTEXT,
    "system_notification": NOTIFICATION,
}


class CursorReader(Reader):
    """Reads a transcript."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        thread = imported_thread(SOURCE, origin.stem, created_at=origin.modified)
        self._builder = ThreadBuilder(thread)

    @staticmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record is a message with its content one level down."""
        has_content = isinstance(mapping(record.get("message")).get("content"), list | str)
        return str(record.get("role")) in _ROLES and has_content and "type" not in record

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages of a line."""
        role = _ROLES.get(str(record.get("role")))
        if role is None or "content" not in mapping(record.get("message")):
            raise UnreadableError("a message has no `role` that is known, or no `message` with `content`")
        content: object = record["message"]["content"]
        name = f"line{line}"
        if role is Role.ASSISTANT:
            yield from self._builder.blocks(name, role, content, None)
            return
        message = split_message(content, _WRAPPED)
        yield from message.from_program(self._builder, name, None)
        yield from self._builder.blocks(name, role, message.typed, None)
