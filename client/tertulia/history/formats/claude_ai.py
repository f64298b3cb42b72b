"""The export of a Claude.ai account: `conversations.json` in a zip archive, with `projects.json` and `memories.json`.

A conversation has its `chat_messages` in order, each with `text` and, in exports since 2024, `content` in blocks of
Anthropic's Messages API. If the messages name their parents, other paths than the one to the conversation's
`current_leaf_message_uuid` (edited questions, regenerated answers) become branches. A project is a conversation that
has its instructions and documents; so is what Claude remembers.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tertulia.history.contents import content_text, file_label
from tertulia.history.formats import Reader
from tertulia.history.formats.tree import branching
from tertulia.history.items import Item, UnreadableError
from tertulia.history.threads import ThreadBuilder, imported_thread
from tertulia.history.values import mapping, parse_time, sequence, text, without_empty
from tertulia.vocabulary.identifiers import digest
from tertulia.vocabulary.message_types import MEMORY
from tertulia.vocabulary.models import Role

SOURCE = "claude.ai"
_ROLES = {"human": Role.USER, "user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}


class ClaudeAIReader(Reader):
    """Reads an export, in which each record is a conversation, a project, or what Claude remembers."""

    @staticmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record is a conversation, a project or what Claude remembers."""
        return "chat_messages" in record or _is_project(record) or "conversations_memory" in record

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages on all paths, that which Claude.ai shows last."""
        if _is_project(record):
            yield from self._project(record)
        elif "conversations_memory" in record:
            yield from self._memories(record)
        else:
            yield from self._conversation(record)

    def _conversation(self, record: dict[str, Any]) -> Iterable[Item]:
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
        named = {name: message for message in messages if (name := text(message.get("uuid"))) is not None}
        if len(named) == len(messages) and any(message.get("parent_message_uuid") for message in messages):
            parents = {name: text(message.get("parent_message_uuid")) for name, message in named.items()}
            leaf = text(record.get("current_leaf_message_uuid"))
            yield from branching(builder, parents, leaf, lambda name: _message(builder, name, named[name]))
            return
        for number, message in enumerate(messages):
            yield from _message(builder, text(message.get("uuid")) or f"message{number}", message)

    def _project(self, record: dict[str, Any]) -> Iterable[Item]:
        ref = text(record.get("uuid"))
        if ref is None:
            raise UnreadableError("a project has no `uuid`")
        at = parse_time(record.get("created_at")) or self._origin.modified
        name = text(record.get("name"))
        about = without_empty(project=ref, description=text(record.get("description")))
        thread = imported_thread(SOURCE, f"project:{ref}", title=name, metadata=about, created_at=at)
        builder = ThreadBuilder(thread)
        instructions = text(record.get("prompt_template"))
        yield from builder.message("instructions", Role.SYSTEM, instructions, at)
        for number, document in enumerate(map(mapping, sequence(record.get("docs")))):
            content, about = text(document.get("content")), without_empty(name=text(document.get("filename")))
            yield from builder.attachment(
                text(document.get("uuid")) or f"document{number}",
                content or file_label("file", about.get("name")),
                about,
                parse_time(document.get("created_at")) or at,
            )

    def _memories(self, record: dict[str, Any]) -> Iterable[Item]:
        account = text(record.get("account_uuid")) or "account"
        about = imported_thread(
            SOURCE, f"memories:{account}", title="Memories of Claude", created_at=self._origin.modified
        )
        builder = ThreadBuilder(about)
        remembered = {
            "conversations": record["conversations_memory"],
            **mapping(record.get("project_memories")),
        }
        for name, said in remembered.items():
            message_id = f"memory:{name}:{digest({'said': said})[:12]}"
            yield from builder.message(message_id, Role.ASSISTANT, content_text(said), None, type=MEMORY)


def _is_project(record: Mapping[str, Any]) -> bool:
    return "prompt_template" in record and isinstance(record.get("docs"), list)


def _message(builder: ThreadBuilder, name: str, message: dict[str, Any]) -> Iterable[Item]:
    sender = text(message.get("sender")) or "unknown"
    role, at = _ROLES.get(sender, Role.SYSTEM), parse_time(message.get("created_at"))
    attached = [mapping(each) for each in sequence(message.get("attachments"))]
    files = [_about(mapping(file)) for file in sequence(message.get("files"))]
    bare = [_about(each) for each in attached if text(each.get("extracted_content")) is None]
    labels = [
        file_label("file", *(each.get(key) for key in ("name", "type", "size"))) for each in files + bare
    ]
    metadata: dict[str, Any] = without_empty(attachments=[file for file in files if file])
    if sender not in _ROLES:
        metadata["author"] = sender
    blocks = [{"type": "text", "text": label} for label in labels]
    content = sequence(message.get("content"))
    if not _says_something(content):
        content = [*content, {"type": "text", "text": text(message.get("text")) or ""}]
    yield from builder.blocks(name, role, [*content, *blocks], at, **metadata)
    for place, each in enumerate(attached):
        extracted = text(each.get("extracted_content"))
        if extracted is not None:
            yield from builder.attachment(f"{name}:attachment{place}", extracted, _about(each), at)


def _says_something(content: list[Any]) -> bool:
    return any(mapping(block).get("type") != "text" or text(mapping(block).get("text")) for block in content)


def _about(file: Mapping[str, Any]) -> dict[str, Any]:
    return without_empty(
        name=text(file.get("file_name")), type=text(file.get("file_type")), size=file.get("file_size")
    )
