"""Open WebUI: the array of chats that it exports.

A chat's `history` has its messages, each with its parent, and the last one that is shown; others become branches. Older
exports have a list of `messages` alone.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tertulia.history.contents import content_text, file_label
from tertulia.history.formats import Reader
from tertulia.history.formats.tree import branching
from tertulia.history.items import Item, UnreadableError
from tertulia.history.threads import ThreadBuilder, imported_thread
from tertulia.history.values import mapping, parse_time, sequence, text, without_empty
from tertulia.vocabulary.models import Role

SOURCE = "open-webui"
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM, "tool": Role.TOOL}


class OpenWebUIReader(Reader):
    """Reads an export, in which each record is a chat."""

    @staticmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record is a chat with its messages."""
        chat = mapping(record.get("chat"))
        return "messages" in mapping(chat.get("history")) or ("id" in record and "messages" in chat)

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages on all paths, that which is shown last."""
        chat = mapping(record.get("chat"))
        ref = text(record.get("id")) or text(chat.get("id"))
        if ref is None:
            raise UnreadableError("a chat has no `id`")
        models = [each for each in map(text, sequence(chat.get("models"))) if each is not None]
        times = (record.get("created_at"), chat.get("timestamp"))
        thread = imported_thread(
            SOURCE,
            ref,
            title=text(record.get("title")) or text(chat.get("title")),
            metadata=without_empty(model=", ".join(models), tags=sequence(chat.get("tags"))),
            created_at=next(filter(None, map(parse_time, times)), self._origin.modified),
            archived=record.get("archived") is True,
        )
        builder = ThreadBuilder(thread)
        history = mapping(chat.get("history"))
        messages = {name: mapping(message) for name, message in mapping(history.get("messages")).items()}
        if messages:
            parents = {name: text(message.get("parentId")) for name, message in messages.items()}
            leaf = text(history.get("currentId"))
            yield from branching(builder, parents, leaf, lambda name: _message(builder, name, messages[name]))
            return
        for number, message in enumerate(map(mapping, sequence(chat.get("messages")))):
            yield from _message(builder, text(message.get("id")) or f"message{number}", message)


def _message(builder: ThreadBuilder, name: str, message: Mapping[str, Any]) -> Iterable[Item]:
    role = _ROLES.get(str(message.get("role")), Role.SYSTEM)
    files = [
        file_label(
            "file", each.get("name") or mapping(each.get("file")).get("filename"), None, each.get("size")
        )
        for each in map(mapping, sequence(message.get("files")))
    ]
    said = "\n".join(each for each in (content_text(message.get("content")), *files) if each)
    model = text(message.get("model")) if role is Role.ASSISTANT else None
    yield from builder.message(name, role, said, parse_time(message.get("timestamp")), model=model)
