"""The export of a Claude.ai account: `conversations.json` in a zip archive.

A conversation has its `chat_messages` in order, each with `text` and, in exports since 2024, `content` in blocks of
Anthropic's Messages API. If the messages name their parents and the conversation names its last message, the messages
on other paths (edited questions, regenerated answers) are counted and left out.
"""

from collections.abc import Iterable
from typing import Any

from tertulia.history.formats import Reader
from tertulia.history.formats.tree import path
from tertulia.history.items import Item, Omission, UnreadableError
from tertulia.history.threads import ThreadBuilder, imported_thread
from tertulia.history.values import mapping, parse_time, sequence, text, without_empty
from tertulia.vocabulary.models import Role

SOURCE = "claude.ai"
_ROLES = {"human": Role.USER, "user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}


class ClaudeAIReader(Reader):
    """Reads an export, in which each record is a conversation."""

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages on the path that Claude.ai shows."""
        ref = text(record.get("uuid"))
        if ref is None or not isinstance(record.get("chat_messages"), list):
            raise UnreadableError("a conversation has no `uuid` or no `chat_messages`")
        thread = imported_thread(
            SOURCE,
            ref,
            title=text(record.get("name")),
            metadata=without_empty(
                model=text(record.get("model")),
                project=text(record.get("project_uuid")) or text(mapping(record.get("project")).get("name")),
                summary=text(record.get("summary")),
            ),
            created_at=parse_time(record.get("created_at")) or self._origin.modified,
        )
        builder = ThreadBuilder(thread)
        messages = [mapping(message) for message in record["chat_messages"]]
        leaf = text(record.get("current_leaf_message_uuid"))
        if leaf is not None and all(text(message.get("uuid")) for message in messages):
            parents = {message["uuid"]: text(message.get("parent_message_uuid")) for message in messages}
            shown_path = set(path(parents, leaf))
            if len(shown_path) < len(messages):
                yield Omission("messages on other branches", len(messages) - len(shown_path))
            messages = [message for message in messages if message["uuid"] in shown_path]
        for number, message in enumerate(messages):
            yield from _message(builder, number, message)


def _message(builder: ThreadBuilder, number: int, message: dict[str, Any]) -> Iterable[Item]:
    role = _ROLES.get(str(message.get("sender")))
    if role is None:
        raise UnreadableError(f"message {number + 1} of a conversation has no `sender` that is known")
    name, at = text(message.get("uuid")) or f"message{number}", parse_time(message.get("created_at"))
    files = [
        without_empty(name=text(mapping(file).get("file_name"))) for file in sequence(message.get("files"))
    ]
    metadata = without_empty(attachments=[file for file in files if file])
    content = sequence(message.get("content")) or text(message.get("text")) or ""
    yield from builder.blocks(name, role, content, at, **metadata)
    for place, attached in enumerate(map(mapping, sequence(message.get("attachments")))):
        about = without_empty(
            name=text(attached.get("file_name")),
            type=text(attached.get("file_type")),
            size=attached.get("file_size"),
        )
        extracted = text(attached.get("extracted_content"))
        if extracted is not None:
            yield from builder.attachment(f"{name}:attachment{place}", extracted, about, at)
