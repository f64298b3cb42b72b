"""Claude.ai's export of one's data: `conversations.json` in a zip archive.

A conversation has its `chat_messages` in order, each with `text` and, in exports since 2024, `content` in blocks of
Anthropic's Messages API. Where messages name their parents and the conversation its last one, other paths (edited
questions, answers that were made again) are counted and left out.
"""

from collections.abc import Iterable
from typing import Any

from tertulia.history.formats import Origin
from tertulia.history.formats.tree import path
from tertulia.history.records import Found, LeftOut, UnreadableError
from tertulia.history.telling import EventMapper, from_elsewhere
from tertulia.history.values import mapping, present, sequence, text, when
from tertulia.vocabulary.models import Role

SOURCE = "claude.ai"
_ROLES = {"human": Role.USER, "user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}


class ClaudeAIReader:
    """Reads conversations; each is one record."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    def take(self, record: dict[str, Any], line: int) -> Iterable[Found]:
        """Yield the messages of a conversation."""
        ref = text(record.get("uuid"))
        if ref is None or not isinstance(record.get("chat_messages"), list):
            raise UnreadableError("a conversation has no `uuid` or no `chat_messages`")
        thread = from_elsewhere(
            SOURCE,
            ref,
            title=text(record.get("name")),
            metadata=present(
                model=text(record.get("model")),
                project=text(record.get("project_uuid")) or text(mapping(record.get("project")).get("name")),
                summary=text(record.get("summary")),
            ),
            created_at=when(record.get("created_at")) or self._origin.modified,
        )
        telling = EventMapper(thread)
        said = [mapping(message) for message in record["chat_messages"]]
        leaf = text(record.get("current_leaf_message_uuid"))
        if leaf is not None and all(text(message.get("uuid")) for message in said):
            parents = {message["uuid"]: text(message.get("parent_message_uuid")) for message in said}
            shown_path = set(path(parents, leaf))
            if len(shown_path) < len(said):
                yield LeftOut("messages on other branches", len(said) - len(shown_path))
            said = [message for message in said if message["uuid"] in shown_path]
        for number, message in enumerate(said):
            yield from _message(telling, number, message)

    def end(self) -> Iterable[Found]:
        """Yield nothing: a conversation is told when it is read."""
        return ()


def _message(telling: EventMapper, number: int, message: dict[str, Any]) -> Iterable[Found]:
    role = _ROLES.get(str(message.get("sender")))
    if role is None:
        raise UnreadableError(f"message {number + 1} of a conversation has no `sender` that is known")
    name, at = text(message.get("uuid")) or f"message{number}", when(message.get("created_at"))
    files = [present(name=text(mapping(file).get("file_name"))) for file in sequence(message.get("files"))]
    metadata = present(attachments=[file for file in files if file])
    content = sequence(message.get("content")) or text(message.get("text")) or ""
    yield from telling.blocks(name, role, content, at, **metadata)
    for place, attached in enumerate(map(mapping, sequence(message.get("attachments")))):
        about = present(
            name=text(attached.get("file_name")),
            type=text(attached.get("file_type")),
            size=attached.get("file_size"),
        )
        extracted = text(attached.get("extracted_content"))
        if extracted is not None:
            yield from telling.attach(f"{name}:attachment{place}", extracted, about, at)
